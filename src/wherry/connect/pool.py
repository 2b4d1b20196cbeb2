"""The pool: which connection carries which request.

It keeps connections by route, makes room for new ones within the limits, and lets requests wait in line.  A
waiter takes whatever comes first, a freed connection or its own dial; the loser of that race is kept for the next
request.  A freed place goes to its next user inside the read that ended the exchange before it (`handover`): that
keeps the slowest request near the median.  The pool opens no socket itself (`dial` does) and never learns which
protocol a connection speaks: it counts places (`Connection.capacity`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic

from wherry.connect.ask import ConnectAsk, ConnectTimings, dial_error, ended_at_once
from wherry.connect.handover import Handover
from wherry.connect.lane import Lane, Negotiated, PoolStats, Undertaker, Waiter, wait_for_all
from wherry.connect.line import PATIENCE, Line
from wherry.connect.room import Room
from wherry.connect.route import Route
from wherry.errors import ClientConnectionError
from wherry.protocol.connection import Connection
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
        dial: Callable[[ConnectAsk], Awaitable[Connection]],
        *,
        limit: int = 100,
        limit_per_host: int = 0,
        keepalive_timeout: float | None = 15.0,
        force_close: bool = False,
    ) -> None:
        self._loop = loop
        self._dial = dial
        self.room = Room(limit, limit_per_host)
        self.keepalive_timeout = keepalive_timeout
        self.force_close = force_close
        self.closed = False
        self._lanes: dict[Route, Lane] = {}
        self._negotiated = Negotiated()
        self._line = Line()
        self._handover = Handover(loop)
        self._dials: set[asyncio.Task[None]] = set()
        self._closing: set[Connection] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._review: asyncio.TimerHandle | None = None
        self._opened = 0
        self._reused = 0

    # --- taking ---------------------------------------------------------------------------------------------

    def take(self, route: Route) -> Connection | None:
        """A connection that can start an exchange now, or None.

        Whoever takes a connection starts an exchange on it before anything else runs, or gives it back by
        `put_back`.
        """
        lane: Lane | None = route.lane
        if lane is None or lane.forgotten:
            lane = self._lanes.get(route)
            if lane is None:
                return None
            route.lane = lane
        return None if lane.waiters else self._take_free(lane)  # first come, first served

    def _take_free(self, lane: Lane) -> Connection | None:
        free = lane.free
        while free:
            connection = free[-1]
            places = connection.capacity - connection.promised
            if places <= 1 or self.force_close:
                free.pop()
            if places < 1:
                continue
            if connection.is_usable():
                self._reused += 1
                return connection
            if free and free[-1] is connection:
                free.pop()
            connection.retire()
        return None

    def carries_tunnels(self, route: Route) -> bool:
        """Whether there is a connection on `route` that takes an upgrade beside its other exchanges."""
        lane = self._lanes.get(route)
        return lane is not None and any(made.carries_tunnels and made.is_usable() for made in lane.connections)

    def put_back(self, connection: Connection) -> None:
        """Give back what was taken, and on which nothing was started."""
        if connection.owner is self and connection.capacity > 0:
            self.connection_available(connection)

    async def acquire(self, ask: ConnectAsk) -> Connection:
        """A connection for `ask.route`, waiting in line or dialling as needed.

        If `ask.start` was called meanwhile, it carries the request's exchange already, and the head is there.

        Raises:
            ClientConnectionError: The pool is closed, or no connection could be made.
        """
        route = ask.route
        while True:
            if self.closed:
                raise ClientConnectionError("Connector is closed")
            lane = self._lanes.get(route)
            if lane is None:
                lane = self._lanes[route] = Lane(route, not self.force_close and self._negotiated.multiplexes(route))
            elif not lane.waiters and (free := self._take_free(lane)) is not None:
                return free
            waiter = Waiter(lane, ask, self._loop.create_future(), monotonic())
            lane.waiters.append(waiter)
            self._dial_or_queue(waiter)
            try:
                if waiter.queued and ask.observer is not None:
                    await ask.observer.connection_queued_start()
                connection: Connection = await waiter.future
            except BaseException:
                self._leave(waiter)
                raise
            if waiter.carrier is not None:
                return waiter.carrier
            connection.promised -= 1
            if connection.timings is not ask.timings:  # another's connection came first: the steps of ours do not count
                if waiter.dial is not None:
                    ask.timings = ConnectTimings()  # our own dial goes on, and tells the old ones
                ask.timings.queued = monotonic() - waiter.since
            if connection.is_usable():
                return connection
            if not (connection.exchanges or self.closed):  # who dials again and again may do so for ever
                raise ended_at_once(ask)
            if connection.is_idle:  # others may be at work on one that only has no place left
                connection.close()

    def _leave(self, waiter: Waiter) -> None:
        """A waiter gives up, or its dial failed: what was meant for it goes to the next."""
        lane, future = waiter.lane, waiter.future
        if waiter.carrier is not None:
            return  # whoever started the exchange ends it
        if future.done() and not future.cancelled() and future.exception() is None:
            connection = future.result()
            connection.promised -= 1
            self.put_back(connection)
            return
        self._serve(waiter)
        lane.give_up(waiter)
        self._forget(lane)

    def _serve(self, waiter: Waiter) -> None:
        """Take a waiter out of its lane, and out of the line."""
        lane = waiter.lane
        if waiter in lane.waiters:
            lane.waiters.remove(waiter)
        if waiter.queued:
            self._line.leave(waiter)

    # --- making room ----------------------------------------------------------------------------------------

    def _dial_or_queue(self, waiter: Waiter) -> None:
        lane = waiter.lane
        if lane.expects_places:
            return  # the connection that is being made may carry this request too
        # Where somebody stands in line nothing is idle: it would have made room for them.
        if self.room.is_full() and (self.room.limit_per_host or not self._line):
            self._evict_idle(PATIENCE if lane.size else 0.0)
        if self.room.has(lane.route.origin):
            self._start_dial(waiter)
        else:
            self._line.append(waiter)

    def _start_dial(self, waiter: Waiter) -> None:
        lane = waiter.lane
        lane.dialling += 1
        self.room.take(lane.route.origin)
        dial = self._loop.create_task(self._dial_for(waiter))
        if dial.done():
            return  # an eager task that failed at once
        waiter.dial = dial
        self._dials.add(dial)
        dial.add_done_callback(lambda done: self._dial_ended(waiter, done))

    def _dial_ended(self, waiter: Waiter, dial: asyncio.Task[None]) -> None:
        self._dials.discard(dial)
        if waiter.dial is dial:
            # Cancelled before its first step, so nothing of it ran and its place is still taken.
            self._dial_failed(waiter)

    def _dial_failed(self, waiter: Waiter) -> None:
        lane = waiter.lane
        lane.dialling -= 1
        waiter.dial = None
        lane.multiplexes = False  # those who waited for this dial do not wait for one another too
        self._release_place(lane)
        self._dial_for_the_rest(lane)
        self._forget(lane)

    async def _dial_for(self, waiter: Waiter) -> None:
        lane = waiter.lane
        waiter.ask.route = self._negotiated.way(lane.route)
        try:
            connection = await self._dial(waiter.ask)
        except BaseException as exc:
            if waiter in lane.waiters and not waiter.future.done() and (error := dial_error(waiter.ask, exc)):
                self._serve(waiter)
                waiter.future.set_exception(error)
            self._dial_failed(waiter)
            if not isinstance(exc, Exception):
                raise
            return
        lane.dialling -= 1
        waiter.dial = None
        if self.closed:
            connection.abort()
            self._release_place(lane)
            return
        connection.route = lane.route
        lane.route.lane = lane
        connection.owner = self
        lane.connections.add(connection)
        self._opened += 1
        lane.multiplexes = connection.version.major > 1 and not self.force_close
        self._negotiated.learn(lane, connection)
        self.connection_available(connection)
        self._dial_for_the_rest(lane)

    def _dial_for_the_rest(self, lane: Lane) -> None:
        """Waiters who counted on a dial or a connection that is gone get one of their own, as far as there is room."""
        if self.closed:
            return
        for waiter in tuple(lane.waiters):
            if len(lane.waiters) <= lane.dialling + lane.queued or lane.expects_places:
                return
            if not waiter.queued and waiter.dial is None:
                self._dial_or_queue(waiter)

    def _evict_idle(self, seconds: float) -> bool:
        """Close the connection that has been idle longest, whatever its route, to make room.

        Args:
            seconds: How long it must have been idle, lest it be in demand again at once.
        """
        idle = (
            (made, lane) for lane in self._lanes.values() for made in lane.free if made.is_idle and not made.promised
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
        """Somebody waits beside an idle connection: see later whether that has been for too long."""
        if self._review is None:
            self._review = self._loop.call_later(PATIENCE, self._make_room)

    def _make_room(self) -> None:
        self._review = None
        while not self.closed and self.room.is_full() and (first := self._line.first(self.room.admits)) is not None:
            if not self._line.is_due(first, monotonic(), self._reused):
                self._look_again()
                return
            if not self._evict_idle(PATIENCE if first.lane.size else 0.0):
                return

    def _retire(self, connection: Connection, lane: Lane) -> None:
        """Close an idle connection; its place is free at once, for it carries nothing any more."""
        lane.connections.discard(connection)
        if connection in lane.free:  # one with places left is there while it is at work, too
            lane.free.remove(connection)
        self._close_in_background(connection)
        self._release_place(lane)

    def _close_in_background(self, connection: Connection) -> None:
        connection.owner = Undertaker(self._closing)
        self._closing.add(connection)
        connection.close()

    def _release_place(self, lane: Lane) -> None:
        self.room.give_back(lane.route.origin)
        self._fill()

    def _fill(self) -> None:
        """Let the waiters who stand first in line dial, as far as there is room."""
        while self._line and not self.closed and not self.room.is_full():
            waiter = self._line.first(self.room.admits)
            if waiter is None:
                return
            self._line.leave(waiter)
            if not waiter.future.done():
                waiter.ask.timings.queued = monotonic() - waiter.since
                self._start_dial(waiter)

    # --- ConnectionOwner: what connections report -----------------------------------------------------------

    def connection_available(self, connection: Connection) -> None:
        lane: Lane | None = connection.route.lane
        if lane is None or lane.forgotten or self.closed:
            connection.close()
            return
        if self.force_close and connection.exchanges:
            connection.retire()
            return
        waiters = lane.waiters
        if connection.version is HttpVersion11:
            # By far the most usual: nobody waits for anything, or the first in line waits for this.
            line = self._line.waiters
            if not waiters and not line:
                lane.free.append(connection)
                connection.idle_since = monotonic()
                if self._expiry is None and self.keepalive_timeout is not None:
                    self._expiry = self._loop.call_later(self.keepalive_timeout, self._close_expired)
                return
            if waiters and line and waiters[0] is line[0] and not (waiter := line[0]).future.done():
                del waiters[0], line[0]
                self._hand(connection, waiter)
                return
        while waiters and connection.capacity > connection.promised:
            waiter = waiters[0]
            if waiter.future.done():
                self._serve(waiter)
                continue
            if self._line and connection.is_idle and self.room.is_full() and self._goes_elsewhere(waiter):
                self._retire(connection, lane)
                self._dial_for_the_rest(lane)
                return
            self._serve(waiter)
            self._hand(connection, waiter)
            if self.force_close:
                return
        if connection.capacity <= connection.promised:
            return
        if not waiters and connection.is_idle and not connection.promised and self._someone_needs_room(lane):
            self._retire(connection, lane)
            return
        if connection not in lane.free:
            lane.free.append(connection)
        connection.idle_since = monotonic()
        if self._expiry is None and self.keepalive_timeout is not None:
            self._expiry = self._loop.call_later(self.keepalive_timeout, self._close_expired)

    def _hand(self, connection: Connection, waiter: Waiter) -> None:
        """Give a place to a waiter who has left the line for it."""
        if waiter.queued:
            waiter.queued = False
            waiter.lane.queued -= 1
        if connection.exchanges:
            self._reused += 1
        self._handover.give(connection, waiter, self.put_back)

    def connection_lost(self, connection: Connection) -> None:
        lane = self._lanes.get(connection.route)
        if lane is None or connection not in lane.connections:
            return
        lane.connections.discard(connection)
        if connection in lane.free:
            lane.free.remove(connection)
        self._release_place(lane)
        self._dial_for_the_rest(lane)
        self._forget(lane)

    def protocol_refused(self, connection: Connection) -> bool:
        if not self._negotiated.step_down(connection.route):
            return False
        if (lane := self._lanes.get(connection.route)) is not None:
            lane.step_down()
            self._dial_for_the_rest(lane)
        return True

    def exchanges_refused(self, connection: Connection, carried: int) -> None:
        self._negotiated.allow(connection.route, carried, self._lanes.get(connection.route))

    def _goes_elsewhere(self, waiter: Waiter) -> bool:
        """Whether the place of the connection that `waiter` would get is due to the first in line."""
        first = next(iter(self._line))
        elsewhere = first.lane is not waiter.lane and self.room.admits(first.lane.route.origin)
        return elsewhere and self._line.deserves(first, waiter.lane, monotonic(), self._reused, waiter.since)

    def _someone_needs_room(self, lane: Lane) -> bool:
        """Whether another route's waiter should have the place of a connection of `lane` that is idle now."""
        if not self._line or not (self.room.is_full() or self.room.limit_per_host):
            return False
        own = lane.route.origin
        for waiter in self._line:
            origin = waiter.lane.route.origin
            if origin == own:
                return True
            if self.room.admits(origin):
                if self._line.deserves(waiter, lane, monotonic(), self._reused):
                    return True
                self._look_again()
                return False
        return False

    def _forget(self, lane: Lane) -> None:
        if not lane.size and not lane.waiters and self._lanes.get(lane.route) is lane:
            del self._lanes[lane.route]
            lane.forgotten = True
            lane.route.lane = None  # they held each other

    # --- growing old, and the end ---------------------------------------------------------------------------

    def _close_expired(self) -> None:
        self._expiry = None
        timeout = self.keepalive_timeout
        if timeout is None:
            return
        now = monotonic()
        earliest: float | None = None
        for lane in list(self._lanes.values()):
            for connection in tuple(lane.free):
                if not connection.is_idle or connection.promised:
                    continue
                if connection.idle_since + timeout <= now:
                    self._retire(connection, lane)
                elif earliest is None or connection.idle_since < earliest:
                    earliest = connection.idle_since
            self._forget(lane)
        if earliest is not None and not self.closed:
            self._expiry = self._loop.call_later(earliest + timeout - now, self._close_expired)

    def all_connections(self) -> Iterator[Connection]:
        """Every connection that is open, closing ones too."""
        for lane in self._lanes.values():
            yield from lane.connections
        yield from self._closing

    def stats(self) -> PoolStats:
        """Counts of what is and what was; see `PoolStats`."""
        return PoolStats.of(self._lanes.values(), self._opened, self._reused)

    def shut(self) -> list[Connection]:
        """Begin the end: nobody waits any more, dials stop, connections close.  Gives back those to wait for."""
        if self.closed:
            return list(self.all_connections())
        self.closed = True
        for timer in filter(None, (self._expiry, self._review)):
            timer.cancel()
        self._expiry = self._review = None
        self._line.clear()
        for lane in self._lanes.values():
            for waiter in lane.waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(ClientConnectionError("Connector is closed"))
            lane.waiters.clear()
        for dial in self._dials:
            dial.cancel()
        connections = list(self.all_connections())
        for connection in connections:
            connection.close()
        return connections

    async def close(self, timeout: float = 2.0) -> None:
        """Close everything and return when every transport is closed.

        Args:
            timeout: Seconds after which transports that did not end in order are cut.
        """
        connections = self.shut()
        if self._dials:
            await asyncio.wait(self._dials)
        await wait_for_all(connections, timeout)
        self._lanes.clear()
