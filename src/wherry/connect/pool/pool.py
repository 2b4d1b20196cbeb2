"""The pool: which connection carries which request.

It keeps connections by route, makes room for new ones within the limits, and lets requests wait in
a queue.  A waiter takes whatever comes first, a freed connection or its own dial; the loser of that
race is kept for the next request.  A freed place goes to its next user inside the read that ended
the exchange before it (`dispatcher`): that keeps the slowest request near the median.  The pool
opens no socket itself (`dial` does).  It counts places (`Connection.capacity`), so one code serves
HTTP/1.1 and HTTP/2; HTTP/1.1 has a short way through it, for it is by far the most usual.

The problem.  Requests to many routes share a few connections, and each connection serves one
route.  A request may wait for a connection of its own route to come free, or for a place to dial
one.  Which of these comes first nobody can know, so a waiter stands in two queues at once: the one
of its route pool (for a freed connection) and, where it would need a place, the `WaitQueue` of the
whole pool.  What serves it takes it out of both.

Three rules hold everything together.  Who changes this file must keep them:

1. No await between `take` and `Connection.start`.  `take` counts nothing; the start does.  A task
   that suspended in between could find the last stream of an HTTP/2 connection gone, and if it
   were cancelled, nobody would know of its HTTP/1.1 connection any more.  Where something must be
   awaited (a listener, a custom class), a `Reservation` keeps the place meanwhile, and cannot be
   left without either using the place or giving it back.
2. A connection is found in at most one way: in `RoutePool.free`, reserved for a waiter, or carrying
   exchanges.  `put_back` is how a place comes back on which nothing was started.  (HTTP/2 with
   places left is free and at work.)
3. Each place that `ConnectionLimits` gave is given back exactly once: when the connection is lost,
   is retired, or its dial has failed.  Giving it back lets the next in the `WaitQueue` dial.

Tests: a state machine (`tests/connect/test_pool_machine.py`) checks the rules after each step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic

from wherry.connect.connect_request import ConnectRequest, ConnectTimings, dial_error, ended_at_once
from wherry.connect.pool.connection_limits import ConnectionLimits
from wherry.connect.pool.dispatcher import EarlyDispatcher
from wherry.connect.pool.exchange_reservation import Reservation
from wherry.connect.pool.route_pool import (
    Negotiated,
    PoolStats,
    Retirement,
    RoutePool,
    Waiter,
    wait_for_all,
)
from wherry.connect.pool.wait_queue import ROUTE_GRACE, WaitQueue
from wherry.connect.route import Origin, Route, shown_route
from wherry.errors import ClientConnectionError
from wherry.protocol.connection import Connection
from wherry.protocol.debug_log import POOL, look_up_levels
from wherry.types import HttpVersion11


class Pool:
    """Connections by route, within limits.

    Args:
        loop: The event loop.
        dial: Makes a new connection.
        limit: Connections at most, 0 for no limit.
        limit_per_host: Connections at most to one (host, port, is_ssl), 0 for no limit.
        keepalive_timeout: Seconds that an unused connection is kept, None for ever.
        force_close: Connections carry one exchange each.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dial: Callable[[ConnectRequest], Awaitable[Connection]],
        *,
        limit: int = 100,
        limit_per_host: int = 0,
        keepalive_timeout: float | None = 15.0,
        force_close: bool = False,
    ) -> None:
        look_up_levels()
        self._loop = loop
        self._dial = dial
        self.connection_limits: ConnectionLimits = ConnectionLimits(limit, limit_per_host)
        self.keepalive_timeout = keepalive_timeout
        self.force_close = force_close
        self.closed: bool = False
        self.route_pools: dict[Route, RoutePool] = {}
        self._negotiated = Negotiated()
        self._wait_queue = WaitQueue()
        self._dispatcher = EarlyDispatcher(loop)
        # Dicts: an empty one takes 64 bytes, an empty set 216, and most pools of a program that
        # makes many sessions stay empty.
        self._dials: dict[asyncio.Task[None], None] = {}
        self._closing: dict[Connection, None] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._review: asyncio.TimerHandle | None = None
        self._starting = False  # a dial is being started, which an eager task does at once
        self._opened = 0
        self._reused = 0

    # --- taking -----------------------------------------------------------------------------------

    def take(self, route: Route) -> Connection | None:
        """A connection that can start an exchange now, or None.

        Whoever takes a connection starts an exchange on it before anything else runs, or gives it
        back by `put_back`.
        """
        route_pool: RoutePool | None = route.route_pool
        if route_pool is None or route_pool.forgotten or route_pool.pool is not self:
            route_pool = self.route_pools.get(route)
            if route_pool is None:
                return None
            route.route_pool = route_pool
        # First come, first served.
        return None if route_pool.waiters else self._take_free(route_pool)

    def _take_free(self, route_pool: RoutePool) -> Connection | None:
        if route_pool.contexts and route_pool.demands_more():
            for kept in tuple(route_pool.connections):
                kept.retire()
        free = route_pool.free
        while free:
            connection = free[-1]
            places = connection.capacity - connection.reserved
            if places <= 1 or self.force_close:
                free.pop()
            if places < 1:
                continue
            if connection.is_usable():
                self._reused += 1
                if POOL.on:
                    POOL.say("#%s to %s is used again", connection.number, route_pool.route.origin)
                return connection
            if POOL.on:
                POOL.say("#%s is over: its server has ended it", connection.number)
            if free and free[-1] is connection:
                free.pop()
            connection.retire()
        return None

    def carries_tunnels(self, route: Route) -> bool:
        """Whether there is a connection on `route` that takes an upgrade beside its other
        exchanges.
        """
        route_pool = self.route_pools.get(route)
        return route_pool is not None and any(
            made.carries_tunnels and made.is_usable() for made in route_pool.connections
        )

    def put_back(self, connection: Connection) -> None:
        """Give back what was taken, and on which nothing was started."""
        if connection.owner is self and connection.capacity > 0:
            self.connection_available(connection)

    async def acquire(self, connect_request: ConnectRequest) -> Connection:
        """A connection for `connect_request.route`, waiting in the queue or dialling as needed.

        If `connect_request.start` was called meanwhile, it carries the request's exchange already,
        and the head is there.

        Raises:
            ClientConnectionError: The pool is closed, or no connection could be made.
        """
        route = connect_request.route
        if asyncio.get_running_loop() is not self._loop:
            raise ClientConnectionError(
                "The connector belongs to another event loop; make one in each loop"
            )
        while True:
            if self.closed:
                raise ClientConnectionError("Connector is closed")
            route_pool = self.route_pools.get(route)
            if route_pool is None:
                route_pool = self.route_pools[route] = RoutePool(
                    route, not self.force_close and self._negotiated.multiplexes(route), self
                )
            elif not route_pool.waiters and (free := self._take_free(route_pool)) is not None:
                return free
            waiter = Waiter(route_pool, connect_request, self._loop.create_future(), monotonic())
            place = await self._wait(waiter)
            if place is None:
                assert waiter.carrier is not None
                return waiter.carrier
            connection = place.use()
            # another's connection came first: the steps of ours do not count.
            if connection.timings is not connect_request.timings:
                if waiter.dial is not None:
                    # Our own dial goes on, and tells the old ones.
                    connect_request.timings = ConnectTimings()
                connect_request.timings.queued = monotonic() - waiter.since
            if connection.is_usable():
                return connection
            # Who dials again and again may do so for ever.
            if not (connection.exchanges or self.closed):
                raise ended_at_once(connect_request)
            if connection.is_idle:  # others may be at work on one that only has no place left
                connection.close()

    async def _wait(self, waiter: Waiter) -> Reservation | None:
        """The place that comes for `waiter`; None where its exchange was started on one, and the
        head is there.
        """
        observer = waiter.connect_request.observer
        waiter.route_pool.waiters.append(waiter)
        self._dial_or_queue(waiter)
        try:
            if waiter.queued and observer is not None:
                await observer.connection_queued_start()
            return await waiter.future
        except BaseException:
            self._leave(waiter)
            raise

    def _leave(self, waiter: Waiter) -> None:
        """A waiter gives up, or its dial failed: what was meant for it goes to the next."""
        route_pool, future = waiter.route_pool, waiter.future
        if waiter.carrier is not None:
            return  # whoever started the exchange ends it
        if future.done() and not future.cancelled() and future.exception() is None:
            place = future.result()
            assert place is not None
            place.give_back()
            return
        future.cancel()  # lest the dispatcher, who may have a place for it, starts its exchange
        self._serve(waiter)
        route_pool.give_up(waiter)
        self._forget(route_pool)

    def _serve(self, waiter: Waiter) -> None:
        """Take a waiter out of its route pool, and out of the `WaitQueue`."""
        route_pool = waiter.route_pool
        if waiter in route_pool.waiters:
            route_pool.waiters.remove(waiter)
        if waiter.queued:
            self._wait_queue.leave(waiter)

    # --- making room ------------------------------------------------------------------------------

    def _dial_or_queue(self, waiter: Waiter) -> None:
        route_pool = waiter.route_pool
        if route_pool.expects_places:
            if POOL.on:
                POOL.say("a request waits for the dial of another to %s", route_pool.route.origin)
            return  # the connection that is being made may carry this request too
        origin = route_pool.route.counted
        if not self.connection_limits.admits(origin):
            if route_pool.size >= self.connection_limits.taken_by(origin):
                self._queue(waiter)  # by far the most usual: all are of this route
                return
            # Only a place of the same host helps: an idle connection by another way, or with other
            # TLS.
            self._evict_idle(0.0, origin)
        # Where somebody waits in the queue nothing is idle: it would have made room for them.
        elif self.connection_limits.is_full() and (
            self.connection_limits.limit_per_host or not self._wait_queue
        ):
            self._evict_idle(ROUTE_GRACE if route_pool.size else 0.0)
        if self.connection_limits.has(origin):
            self._start_dial(waiter)
        else:
            self._queue(waiter)

    def _queue(self, waiter: Waiter) -> None:
        self._wait_queue.append(waiter)
        if POOL.on:
            limits, origin = self.connection_limits, waiter.route_pool.route.counted
            POOL.say(
                "a request waits for a place: %s taken of limit=%s, %s to %s of limit_per_host=%s",
                limits.taken, limits.limit, limits.taken_by(origin), origin, limits.limit_per_host,
            )  # fmt: skip

    def _start_dial(self, waiter: Waiter) -> None:
        route_pool = waiter.route_pool
        look_up_levels()
        if POOL.on:
            POOL.say("dials %s", shown_route(route_pool.route))
        route_pool.dialling += 1
        self.connection_limits.take(route_pool.route.counted)
        self._starting = True
        try:
            dial = self._loop.create_task(self._dial_for(waiter))
        finally:
            self._starting = False
        waiter.dial = dial
        self._dials[dial] = None
        dial.add_done_callback(lambda done: self._dial_ended(waiter, done))

    def _dial_ended(self, waiter: Waiter, dial: asyncio.Task[None]) -> None:
        self._dials.pop(dial, None)
        if waiter.dial is dial:
            # Cancelled before its first step, so nothing of it ran and its place is still taken.
            self._dial_failed(waiter)

    def _dial_failed(self, waiter: Waiter) -> None:
        route_pool = waiter.route_pool
        route_pool.dialling -= 1
        waiter.dial = None
        # Those who waited for this dial do not wait for one another too.
        route_pool.multiplexes = False
        self._release_place(route_pool.route)
        self._dial_for_the_rest(route_pool)
        self._forget(route_pool)

    async def _dial_for(self, waiter: Waiter) -> None:
        route_pool = waiter.route_pool
        waiter.connect_request.route = self._negotiated.way(route_pool.route)
        try:
            if self._starting:
                # An eager task, perhaps inside the call that ends another connection: the socket of
                # that is closed when the call is over.
                await asyncio.sleep(0)
            connection = await self._dial(waiter.connect_request)
        except BaseException as exc:
            if POOL.on:
                POOL.say("the dial of %s failed: %s", shown_route(route_pool.route), exc)
            if (
                waiter in route_pool.waiters
                and not waiter.future.done()
                and (error := dial_error(waiter.connect_request, exc))
            ):
                self._serve(waiter)
                waiter.future.set_exception(error)
            self._dial_failed(waiter)
            if not isinstance(exc, Exception):
                raise
            return
        route_pool.dialling -= 1
        waiter.dial = None
        if self.closed:
            connection.abort()
            self._release_place(route_pool.route)
            return
        connection.route = route_pool.route
        route_pool.route.route_pool = route_pool
        connection.owner = self
        route_pool.connections.add(connection)
        self._opened += 1
        route_pool.multiplexes = connection.version.major > 1 and not self.force_close
        self._negotiated.learn(route_pool, connection)
        if POOL.on:
            POOL.say(
                "#%s to %s is new, by HTTP/%s",
                connection.number, shown_route(route_pool.route), connection.version.major,
            )  # fmt: skip
        self.connection_available(connection)
        self._dial_for_the_rest(route_pool)

    def _dial_for_the_rest(self, route_pool: RoutePool) -> None:
        """Waiters who counted on a dial or a connection that is gone get one of their own, as far
        as there is room.
        """
        if self.closed:
            return
        for waiter in tuple(route_pool.waiters):
            if (
                len(route_pool.waiters) <= route_pool.dialling + route_pool.queued
                or route_pool.expects_places
            ):
                return
            if not waiter.queued and waiter.dial is None:
                self._dial_or_queue(waiter)

    def _evict_idle(self, seconds: float, origin: Origin | None = None) -> bool:
        """Close the connection that has been idle longest, whatever its route, to make room.

        Args:
            seconds: How long it must have been idle, lest it be in demand again at once.
            origin: Whose place it must have, None for anybody's.
        """
        idle = (
            (made, route_pool)
            for route_pool in self.route_pools.values()
            if origin is None or route_pool.route.counted == origin
            for made in route_pool.free
            if made.is_idle and not made.reserved
        )
        oldest = min(idle, key=lambda pair: pair[0].idle_since, default=None)
        if oldest is None:
            return False
        if seconds and monotonic() - oldest[0].idle_since < seconds:
            self._look_again()
            return False
        self._retire(*oldest)
        return True

    def _look_again(self) -> None:
        """Somebody waits beside an idle connection: see later whether that has been for too
        long.
        """
        if self._review is None:
            self._review = self._loop.call_later(ROUTE_GRACE, self._make_place)

    def _make_place(self) -> None:
        self._review = None
        while (
            not self.closed
            and self.connection_limits.is_full()
            and not self._closing  # else there will be room in a moment
            and (first := self._wait_queue.first(self.connection_limits.admits)) is not None
        ):
            if not self._wait_queue.is_due(first, monotonic(), self._reused):
                self._look_again()
                return
            if not self._evict_idle(ROUTE_GRACE if first.route_pool.size else 0.0):
                return

    def _retire(self, connection: Connection, route_pool: RoutePool) -> None:
        """Close an idle connection; its place is free when it is closed."""
        if POOL.on:
            POOL.say(
                "#%s is closed, idle for %.1f s", connection.number,
                monotonic() - connection.idle_since,
            )  # fmt: skip
        route_pool.connections.discard(connection)
        if connection in route_pool.free:  # one with places left is there while it is at work, too
            route_pool.free.remove(connection)
        self._closing[connection] = None
        Retirement(self._loop, connection, self._retired).begin()

    def _retired(self, connection: Connection) -> None:
        """A connection that was retired is closed: its place goes to the first in the queue."""
        self._closing.pop(connection, None)
        self._release_place(connection.route)
        if self._wait_queue and self._review is None:
            self._make_place()  # for the next one

    def _release_place(self, route: Route) -> None:
        self.connection_limits.give_back(route.counted)
        self._fill()

    def _fill(self) -> None:
        """Let the waiters who are first in the queue dial, as far as there is room."""
        while self._wait_queue and not self.closed and not self.connection_limits.is_full():
            waiter = self._wait_queue.first(self.connection_limits.admits)
            if waiter is None:
                return
            self._wait_queue.leave(waiter)
            if not waiter.future.done():
                waiter.connect_request.timings.queued = monotonic() - waiter.since
                self._start_dial(waiter)

    # --- ConnectionOwner: what connections report -------------------------------------------------

    def connection_available(self, connection: Connection) -> None:
        route_pool: RoutePool | None = connection.route.route_pool
        if route_pool is None or route_pool.pool is not self:
            # Another pool has the same route, and was the last to use it.
            route_pool = self.route_pools.get(connection.route)
        if route_pool is None or route_pool.forgotten or self.closed:
            connection.close()
            return
        if POOL.on:
            POOL.say("#%s can carry a request", connection.number)
        if self.force_close and connection.exchanges:
            connection.retire()
            return
        if (
            route_pool.waiters
            or self._wait_queue.waiters
            or connection.version is not HttpVersion11
        ):
            self._share_out(connection, route_pool)
            return
        # By far the most usual: nobody waits for anything, and it carried one exchange.
        route_pool.free.append(connection)
        connection.idle_since = monotonic()
        if self._expiry is None and self.keepalive_timeout is not None:
            self._expiry = self._loop.call_later(self.keepalive_timeout, self._close_expired)

    def _share_out(self, connection: Connection, route_pool: RoutePool) -> None:
        """Give what a connection can carry to those who wait, and keep the rest of it."""
        waiters, wait_queue = route_pool.waiters, self._wait_queue.waiters
        if connection.version is HttpVersion11 and (
            waiters
            and wait_queue
            and waiters[0] is wait_queue[0]
            and not (waiter := wait_queue[0]).future.done()
        ):
            # The most usual under load: the first in the queue waits for this.
            del waiters[0], wait_queue[0]
            self._hand(connection, waiter)
            return
        if waiters and not self._serve_waiters(connection, route_pool):
            return
        if connection.capacity <= connection.reserved:
            return
        if (
            not waiters
            and connection.is_idle
            and not connection.reserved
            and self._someone_needs_place(route_pool)
        ):
            self._retire(connection, route_pool)
            return
        if connection not in route_pool.free:
            route_pool.free.append(connection)
        connection.idle_since = monotonic()
        if self._expiry is None and self.keepalive_timeout is not None:
            self._expiry = self._loop.call_later(self.keepalive_timeout, self._close_expired)

    def _serve_waiters(self, connection: Connection, route_pool: RoutePool) -> bool:
        """Give the places of `connection` to those who wait for its route, in their order; whether
        it may be kept after that.
        """
        waiters = route_pool.waiters
        while waiters and connection.capacity > connection.reserved:
            waiter = waiters[0]
            if waiter.future.done():
                self._serve(waiter)
                continue
            if self._wait_queue and connection.is_idle and self._goes_elsewhere(waiter):
                self._retire(connection, route_pool)
                self._dial_for_the_rest(route_pool)
                return False
            self._serve(waiter)
            self._hand(connection, waiter)
            if self.force_close:
                return False
        return True

    def _hand(self, connection: Connection, waiter: Waiter) -> None:
        """Give a place to a waiter who has left the queue for it."""
        if POOL.on:
            POOL.say(
                "#%s goes to a request that waited %.3f s", connection.number,
                monotonic() - waiter.since,
            )  # fmt: skip
        if waiter.queued:
            waiter.queued = False
            waiter.route_pool.queued -= 1
        if connection.exchanges:
            self._reused += 1
        self._dispatcher.give(Reservation(connection, self), waiter)

    def connection_lost(self, connection: Connection) -> None:
        route_pool = self.route_pools.get(connection.route)
        if route_pool is None or connection not in route_pool.connections:
            return
        if POOL.on:
            POOL.say("#%s is gone", connection.number)
        route_pool.connections.discard(connection)
        if connection in route_pool.free:
            route_pool.free.remove(connection)
        self._release_place(route_pool.route)
        self._dial_for_the_rest(route_pool)
        self._forget(route_pool)

    def protocol_refused(self, connection: Connection) -> bool:
        if not self._negotiated.step_down(connection.route):
            return False
        if (route_pool := self.route_pools.get(connection.route)) is not None:
            route_pool.step_down()
            self._dial_for_the_rest(route_pool)
        return True

    def exchanges_refused(self, connection: Connection, carried: int) -> None:
        self._negotiated.allow(connection.route, carried, self.route_pools.get(connection.route))

    def _goes_elsewhere(self, waiter: Waiter) -> bool:
        """Whether the place of the connection that `waiter` would get is due to the first in the
        queue who could have it.
        """
        limits, own = self.connection_limits, waiter.route_pool
        is_full = limits.is_full()
        if not (is_full or limits.limit_per_host):
            return False
        for first in self._wait_queue:
            if first.route_pool is own:
                return False
            origin = first.route_pool.route.counted
            if origin == own.route.counted or (is_full and limits.admits(origin)):
                return self._wait_queue.deserves(
                    first, own, monotonic(), self._reused, waiter.since
                )
        return False

    def _someone_needs_place(self, route_pool: RoutePool) -> bool:
        """Whether another route's waiter should have the place of a connection of `route_pool` that
        is idle now.
        """
        if not self._wait_queue or not (
            self.connection_limits.is_full() or self.connection_limits.limit_per_host
        ):
            return False
        own = route_pool.route.counted
        for waiter in self._wait_queue:
            origin = waiter.route_pool.route.counted
            if origin == own:
                return True
            if self.connection_limits.admits(origin):
                if self._wait_queue.deserves(waiter, route_pool, monotonic(), self._reused):
                    return True
                self._look_again()
                return False
        return False

    def _forget(self, route_pool: RoutePool) -> None:
        if (
            not route_pool.size
            and not route_pool.waiters
            and self.route_pools.get(route_pool.route) is route_pool
        ):
            del self.route_pools[route_pool.route]
            route_pool.forgotten = True
            if route_pool.route.route_pool is route_pool:
                route_pool.route.route_pool = None  # they held each other

    # --- growing old, and the end -----------------------------------------------------------------

    def _close_expired(self) -> None:
        look_up_levels()
        self._expiry = None
        timeout = self.keepalive_timeout
        if timeout is None:
            return
        now = monotonic()
        earliest: float | None = None
        for route_pool in list(self.route_pools.values()):
            for connection in tuple(route_pool.free):
                if not connection.is_idle or connection.reserved:
                    continue
                if connection.idle_since + timeout <= now:
                    self._retire(connection, route_pool)
                elif earliest is None or connection.idle_since < earliest:
                    earliest = connection.idle_since
            self._forget(route_pool)
        if earliest is not None and not self.closed:
            self._expiry = self._loop.call_later(earliest + timeout - now, self._close_expired)

    def all_connections(self) -> Iterator[Connection]:
        """Every connection that is open, closing ones too."""
        for route_pool in self.route_pools.values():
            yield from route_pool.connections
        yield from self._closing

    def stats(self) -> PoolStats:
        """Counts of what is and what was; see `PoolStats`."""
        return PoolStats.of(self.route_pools.values(), self._closing, self._opened, self._reused)

    def __repr__(self) -> str:
        limits = self.connection_limits
        state = "closed" if self.closed else "open"
        return (
            f"<{type(self).__name__} {state} limit={limits.limit} "
            f"limit_per_host={limits.limit_per_host} places_taken={limits.taken} {self.stats()}>"
        )

    def shut(self) -> list[Connection]:
        """Begin the end: nobody waits any more, dials stop, connections close.  Gives back those to
        wait for.
        """
        if self.closed:
            return list(self.all_connections())
        self.closed = True
        if POOL.on:
            POOL.say("closes: %s", self.stats())
        for timer in filter(None, (self._expiry, self._review)):
            timer.cancel()
        self._expiry = self._review = None
        self._wait_queue.clear()
        for route_pool in self.route_pools.values():
            for waiter in route_pool.waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(ClientConnectionError("Connector is closed"))
            route_pool.waiters.clear()
        for dial in self._dials:
            dial.cancel()
        connections = list(self.all_connections())
        for connection in connections:
            connection.close()
        return connections

    def drain(self) -> list[Connection]:
        """Begin an end that breaks nothing off: no exchange starts any more, what is idle closes
        now, and everything else when its last exchange has ended.  Gives back what was idle.
        """
        self.closed = True
        for timer in filter(None, (self._expiry, self._review)):
            timer.cancel()
        self._expiry = self._review = None
        connections = list(self.all_connections())
        idle = [connection for connection in connections if connection.is_idle]
        for connection in connections:
            connection.retire()
        return idle

    async def close(self, timeout: float = 2.0) -> None:
        """Close everything and return when every transport is closed.

        Args:
            timeout: Seconds after which transports that did not end in order are cut.
        """
        connections = self.shut()
        if self._dials:
            await asyncio.wait(self._dials)
        await wait_for_all(connections, timeout)
        self.route_pools.clear()
