"""From a place that came free to the exchange that takes it.

A request's task would wake for its connection, start the exchange, and sleep again until the
answer.  So exchanges that need no more than a connection are started here, before their task runs:
all those together that one turn of the event loop found places for, when it has read what there
was.  Their tasks wake once, with the answer.

Why not at once, in the call that freed the connection?  That call is made in the middle of a read,
with the parser on the stack.  And one read often frees several places (HTTP/2): started together,
their heads leave in one write.  `call_soon` puts the start behind the reads of this turn and before
the tasks that they woke.

What can go wrong in between is settled in `_start`: the waiter may have been cancelled (the place
goes back), or the connection may have ended (the task gets it as it is, finds it dead and takes
another).  A waiter that has a dial of its own under way is served the plain way, because its task
must look after the dial.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from wherry.connect.pool.route_pool import Waiter
from wherry.protocol.connection import Connection


class EarlyDispatcher:
    """Gives places to those who waited for them.

    Args:
        loop: The event loop.
    """

    __slots__ = ("_given", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._given: list[tuple[Connection, Waiter]] = []

    def give(
        self, connection: Connection, waiter: Waiter, put_back: Callable[[Connection], None]
    ) -> None:
        """A place on `connection` is promised to `waiter`, who has left every queue for it.

        Args:
            connection: The connection.
            waiter: Who waited.
            put_back: Takes a connection back on which nothing was started; not kept, lest it hold
                the pool.
        """
        connection.reserved += 1
        if waiter.connect_request.start is None or waiter.dial is not None:
            waiter.future.set_result(connection)
            return
        if not self._given:
            self._loop.call_soon(self._start, put_back)
        self._given.append((connection, waiter))

    def _start(self, put_back: Callable[[Connection], None]) -> None:
        given, self._given = self._given, []
        for connection, waiter in given:
            if waiter.future.done():  # cancelled meanwhile
                connection.reserved -= 1
                put_back(connection)
            elif connection.is_usable():
                connection.reserved -= 1
                _begin(connection, waiter, put_back)
            else:
                waiter.future.set_result(connection)


def _begin(connection: Connection, waiter: Waiter, put_back: Callable[[Connection], None]) -> None:
    connect_request = waiter.connect_request
    assert connect_request.start is not None
    waiter.carrier = connection
    if connection.timings is not connect_request.timings:
        connect_request.timings.queued = monotonic() - waiter.since
    try:
        connect_request.start(connection, waiter.future)
    except Exception as exc:
        put_back(connection)
        waiter.future.set_exception(exc)
