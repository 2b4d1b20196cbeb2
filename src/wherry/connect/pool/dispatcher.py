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
from time import monotonic

from wherry.connect.pool.exchange_reservation import Reservation
from wherry.connect.pool.route_pool import Waiter


class EarlyDispatcher:
    """Gives places to those who waited for them.

    Args:
        loop: The event loop.
    """

    __slots__ = ("_given", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._given: list[tuple[Reservation, Waiter]] = []

    def give(self, place: Reservation, waiter: Waiter) -> None:
        """`waiter` has left every queue for `place`, and gets it."""
        if waiter.connect_request.start is None or waiter.dial is not None:
            waiter.future.set_result(place)
            return
        if not self._given:
            self._loop.call_soon(self._start)
        self._given.append((place, waiter))

    def _start(self) -> None:
        given, self._given = self._given, []
        for place, waiter in given:
            if waiter.future.done():  # cancelled meanwhile
                place.give_back()
            elif place.connection.is_usable():
                _begin(place, waiter)
            else:
                waiter.future.set_result(place)


def _begin(place: Reservation, waiter: Waiter) -> None:
    connect_request, connection = waiter.connect_request, place.connection
    assert connect_request.start is not None
    waiter.carrier = connection
    if connection.timings is not connect_request.timings:
        connect_request.timings.queued = monotonic() - waiter.since
    try:
        connect_request.start(place.use(), waiter.future)
    except Exception as exc:
        place.give_back()
        waiter.future.set_exception(exc)
