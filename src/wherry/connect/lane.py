"""What the pool keeps for one route: its connections, who waits for one, and the counts that users see."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from wherry.connect.ask import ConnectAsk
from wherry.connect.route import Route
from wherry.protocol.connection import Connection
from wherry.types import HttpVersion11

# Of how many routes it is remembered what ALPN chose.
NEGOTIATIONS_KEPT = 1024
# Nearly every pool meets no server that refuses what it is offered, and keeps no dictionary of its own for that.
_AS_GIVEN: dict[Route, Route] = {}


class Waiter:
    """One request that stands in line for a connection."""

    __slots__ = ("ask", "carrier", "dial", "future", "lane", "queued", "since")

    def __init__(self, lane: Lane, ask: ConnectAsk, future: asyncio.Future[Any], since: float) -> None:
        self.lane = lane
        self.ask = ask
        self.future = future
        self.since = since
        self.dial: asyncio.Task[None] | None = None
        self.carrier: Connection | None = None  # where the exchange has been started already
        self.queued = False  # stands in the pool's line for room


class Lane:
    """All that the pool has for one route."""

    __slots__ = ("connections", "dialling", "forgotten", "free", "multiplexes", "queued", "route", "waiters")

    def __init__(self, route: Route, multiplexes: bool | None) -> None:
        self.route = route
        self.connections: set[Connection] = set()
        self.free: list[Connection] = []  # with places to give; the freshest last
        self.waiters: deque[Waiter] = deque()
        self.dialling = 0
        self.forgotten = False  # the pool has another lane for the route now, or none
        self.queued = 0
        # Whether this route's connections carry many exchanges: None until the first one told.
        self.multiplexes = multiplexes

    @property
    def size(self) -> int:
        return len(self.connections) + self.dialling

    def step_down(self) -> None:
        """The server wants HTTP/1.1: what speaks something else carries its exchanges to their end, and no more."""
        self.multiplexes = False
        for connection in tuple(self.connections):
            if connection.version > HttpVersion11:
                connection.retire()


class Negotiated:
    """What ALPN chose on routes that offered a choice, and which servers want less than that."""

    __slots__ = ("_chosen", "_ways")

    def __init__(self) -> None:
        self._chosen: dict[Route, bool] = {}
        self._ways = _AS_GIVEN

    def way(self, route: Route) -> Route:
        """`route` as it is dialled: without the protocols that its server refused."""
        return self._ways.get(route, route)

    def step_down(self, route: Route) -> bool:
        """The server wants HTTP/1.1 (RFC 9113 7): whether it will get that from now on."""
        if "http/1.1" not in route.protocols:
            return False
        if self._ways is _AS_GIVEN or len(self._ways) >= NEGOTIATIONS_KEPT:
            self._ways = {}
        self._ways[route] = route.offering("http/1.1")
        return True

    def multiplexes(self, route: Route) -> bool | None:
        """Whether connections of `route` carry many exchanges, as far as that is known before one is there."""
        route = self.way(route)
        if route.is_tls:
            return self._chosen.get(route) if "h2" in route.protocols else False
        return "h2c" in route.protocols

    def learn(self, route: Route, multiplexes: bool) -> None:
        if "h2" in route.protocols:
            if len(self._chosen) >= NEGOTIATIONS_KEPT:
                self._chosen.clear()
            self._chosen[route] = multiplexes


class PoolStats:
    """What the pool has done and has: counts.

    Args:
        open: Connections now.
        idle: Of these, the ones without an exchange.
        waiting: Requests in line.
        opened: Connections ever opened.
        reused: Requests that got a connection which had carried another before.
        by_route: (open, idle, waiting) by route.
    """

    __slots__ = ("by_route", "idle", "open", "opened", "reused", "waiting")

    def __init__(self, opened: int, reused: int, by_route: dict[str, tuple[int, int, int]]) -> None:
        self.opened = opened
        self.reused = reused
        self.by_route = by_route
        self.open = sum(row[0] for row in by_route.values())
        self.idle = sum(row[1] for row in by_route.values())
        self.waiting = sum(row[2] for row in by_route.values())

    @classmethod
    def of(cls, lanes: Iterable[Lane], opened: int, reused: int) -> PoolStats:
        """Count what `lanes` have now."""
        rows: dict[str, tuple[int, int, int]] = {}
        for lane in lanes:
            # Routes to one origin may differ in TLS, or in the proxies on the way.
            name = " -> ".join(map(str, (*lane.route.hops, lane.route.origin)))
            others = rows.get(name, (0, 0, 0))
            rows[name] = (
                others[0] + len(lane.connections),
                others[1] + sum(connection.is_idle for connection in lane.connections),
                others[2] + len(lane.waiters),
            )
        return cls(opened, reused, rows)

    @property
    def busy(self) -> int:
        return self.open - self.idle

    def __repr__(self) -> str:
        return (
            f"<PoolStats open={self.open} idle={self.idle} busy={self.busy} waiting={self.waiting} "
            f"opened={self.opened} reused={self.reused}>"
        )


class Undertaker:
    """Owns connections that are on their way out."""

    __slots__ = ("_closing",)

    def __init__(self, closing: set[Connection]) -> None:
        self._closing = closing

    def connection_available(self, connection: Connection) -> None:
        connection.close()

    def connection_lost(self, connection: Connection) -> None:
        self._closing.discard(connection)

    def protocol_refused(self, connection: Connection) -> bool:
        return False


async def wait_for_all(connections: list[Connection], timeout: float) -> None:
    """Return when every one of `connections` is closed; those that are not after `timeout` seconds are cut."""
    if not connections:
        return
    waits = [asyncio.ensure_future(connection.wait_closed()) for connection in connections]
    _, pending = await asyncio.wait(waits, timeout=timeout)
    if pending:
        for connection in connections:
            connection.abort()
        await asyncio.wait(pending)
