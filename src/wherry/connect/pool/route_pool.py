"""What the pool keeps for one route: its connections, who waits for one, and the counts that users
see.
"""

from __future__ import annotations

import asyncio
import operator
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, NamedTuple

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.pool.exchange_reservation import Reservation
from wherry.connect.route import Route, shown_route
from wherry.connect.tls.contexts import demands_of
from wherry.protocol.connection import Connection
from wherry.types import HttpVersion11

# Of how many routes it is remembered what ALPN chose.
NEGOTIATIONS_KEPT = 1024
# For how many seconds it is remembered that a server ends its connections after so many exchanges.
ALLOWANCE_SECONDS = 60.0
# A connection that was retired has so many seconds to close before it is cut.
RETIREMENT_SECONDS = 1.0
# `repr` shows so many hosts, those first where most wait.
HOSTS_SHOWN = 5
# Nearly every pool meets no server that refuses what it is offered, and keeps no dictionary of its
# own for that.
_AS_GIVEN: dict[Route, Route] = {}


class Waiter:
    """One request that waits in the queue for a connection."""

    __slots__ = ("carrier", "connect_request", "dial", "future", "queued", "route_pool", "since")

    def __init__(
        self,
        route_pool: RoutePool,
        connect_request: ConnectRequest,
        future: asyncio.Future[Reservation | None],
        since: float,
    ) -> None:
        self.route_pool: RoutePool = route_pool
        self.connect_request: ConnectRequest = connect_request
        # Done with a place, or with None when the head of an exchange begun at once is here.
        self.future: asyncio.Future[Reservation | None] = future
        self.since: float = since
        self.dial: asyncio.Task[None] | None = None
        self.carrier: Connection | None = None  # where the exchange has been started already
        self.queued: bool = False  # stands in the pool's line for room


class RoutePool:
    """The connections of one route, and who waits for one.

    Args:
        route: The route.
        multiplexes: Whether its connections carry many exchanges, None where that is not known.
        pool: The pool.  A route remembers the route pool that used it last, whosever that is.
    """

    __slots__ = (
        "allowance",
        "connections",
        "contexts",
        "demands",
        "dialling",
        "forgotten",
        "free",
        "left",
        "multiplexes",
        "pool",
        "queued",
        "route",
        "waiters",
    )

    def __init__(self, route: Route, multiplexes: bool | None, pool: object = None) -> None:
        self.pool: object = pool
        self.route: Route = route
        self.connections: set[Connection] = set()
        # What `ssl=` contexts of the program's demand, which may change while connections are kept.
        self.contexts: tuple[ssl.SSLContext, ...] = route.contexts
        self.demands: list[Any] = [demands_of(context) for context in self.contexts]
        self.free: list[Connection] = []  # with places to give; the freshest last
        self.waiters: deque[Waiter] = deque()
        self.dialling: int = 0
        self.left: tuple[Waiter, ...] = ()  # who gave up, and whose dial went on for others
        self.forgotten: bool = False  # the pool has another route pool for the route now, or none
        self.queued: int = 0
        # Whether this route's connections carry many exchanges: None until the first one told.
        self.multiplexes = multiplexes
        # How many exchanges a connection carries before its server ends it, where there is such a
        # number.
        self.allowance: int | None = None

    def __repr__(self) -> str:
        return (
            f"<RoutePool {self.route} open={len(self.connections)} free={len(self.free)} "
            f"dialling={self.dialling} waiting={len(self.waiters)}>"
        )

    @property
    def size(self) -> int:
        return len(self.connections) + self.dialling

    @property
    def expects_places(self) -> bool:
        """Whether the connections that are being made may carry all who wait for no others."""
        if self.multiplexes is False or not self.dialling:
            return False
        places = min(filter(None, (self.allowance, self.at_a_time)), default=None)
        return places is None or len(self.waiters) - self.queued <= self.dialling * places

    @property
    def at_a_time(self) -> int | None:
        """How many exchanges a connection bears at a time where the server refused more, as far as
        the ones that are open know.
        """
        known = (connection.at_a_time for connection in self.connections)
        return min(filter(None, known), default=None)

    def demands_more(self) -> bool:
        """Whether a context of the program's demands something else than when this was asked last:
        what was let in before must not be trusted any more.
        """
        before, self.demands = self.demands, [demands_of(context) for context in self.contexts]
        return before != self.demands

    def give_up(self, waiter: Waiter) -> None:
        """`waiter` is out of the queue; dials that nobody is left for end, and give their room
        back.
        """
        left = [other for other in (*self.left, waiter) if other.dial is not None]
        for _ in range(min(self.dialling - len(self.waiters), len(left))):
            dial = left.pop().dial
            if dial is not None:
                dial.cancel()
        self.left = tuple(left)

    def step_down(self) -> None:
        """The server wants HTTP/1.1: what speaks something else carries its exchanges to their end,
        and no more.
        """
        self.multiplexes = False
        for connection in tuple(self.connections):
            if connection.version > HttpVersion11:
                connection.retire()


class Negotiated:
    """What ALPN chose on routes that offered a choice, and which servers want, or allow, less than
    that.
    """

    __slots__ = ("_allowances", "_chosen", "_ways")

    def __init__(self) -> None:
        self._chosen: dict[Route, bool] = {}
        self._ways = _AS_GIVEN
        self._allowances: dict[Route, tuple[int, float]] | None = None

    def allow(self, route: Route, carried: int, route_pool: RoutePool | None) -> None:
        """A server ended a connection after `carried` exchanges and refused others: no other is to
        carry more.
        """
        known = self._allowance(route)
        allowance = max(carried if known is None else min(carried, known), 1)
        if self._allowances is None or len(self._allowances) >= NEGOTIATIONS_KEPT:
            self._allowances = {}
        self._allowances[route] = allowance, monotonic() + ALLOWANCE_SECONDS
        if route_pool is not None:
            route_pool.allowance = allowance

    def _allowance(self, route: Route) -> int | None:
        if not self._allowances or (known := self._allowances.get(route)) is None:
            return None
        allowance, until = known
        if monotonic() < until:
            return allowance
        del self._allowances[route]
        return None

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
        """Whether connections of `route` carry many exchanges, as far as that is known before one
        is there.
        """
        route = self.way(route)
        if route.protocols == ("h3",):
            return True
        if route.is_tls:
            chooses = "h2" in route.protocols or "h3" in route.protocols
            return self._chosen.get(route) if chooses else False
        return "h2c" in route.protocols

    def learn(self, route_pool: RoutePool, connection: Connection) -> None:
        """A connection of `route_pool` was made, and `route_pool.multiplexes` is known; what else
        is known holds for it.
        """
        route = route_pool.route
        if "h2" in route.protocols or "h3" in route.protocols:
            if len(self._chosen) >= NEGOTIATIONS_KEPT:
                self._chosen.clear()
            self._chosen[route] = bool(route_pool.multiplexes)
        if (at_a_time := route_pool.at_a_time) is not None:
            connection.carry_at_a_time(at_a_time)
        route_pool.allowance = self._allowance(route)
        if route_pool.allowance is not None:
            connection.carry_at_most(route_pool.allowance)


class HostStats(NamedTuple):
    """What the pool has for one host: counts.

    Args:
        open: Connections that can carry requests, or do.
        idle: Of these, the ones without an exchange.
        waiting: Requests that have no connection yet.
        dialling: Connections that are being made.
        closing: Connections that still have their place, on their way out.
    """

    open: int = 0
    idle: int = 0
    waiting: int = 0
    dialling: int = 0
    closing: int = 0

    def plus(self, other: HostStats) -> HostStats:
        return HostStats(*map(operator.add, self, other))

    def __str__(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self._asdict().items() if count)


class PoolStats:
    """What the pool has done and has: counts.

    Args:
        opened: Connections ever opened.
        reused: Requests that got a connection which had carried another before.
        by_route: (open, idle, waiting) by route: the proxies on the way, and the origin.
        by_host: `HostStats` by what `limit_per_host` counts.
        by_protocol: Connections by what they speak: "HTTP/1.1", "HTTP/2", "HTTP/3".
    """

    __slots__ = (
        "by_host",
        "by_protocol",
        "by_route",
        "closing",
        "dialling",
        "idle",
        "open",
        "opened",
        "reused",
        "waiting",
    )

    closing: int
    dialling: int
    idle: int
    open: int
    waiting: int

    def __init__(
        self,
        opened: int,
        reused: int,
        by_route: dict[str, tuple[int, int, int]],
        by_host: dict[str, HostStats],
        by_protocol: dict[str, int] | None = None,
    ) -> None:
        self.opened: int = opened
        self.reused: int = reused
        self.by_route: dict[str, tuple[int, int, int]] = by_route
        self.by_host: dict[str, HostStats] = by_host
        self.by_protocol: dict[str, int] = by_protocol or {}
        whole = HostStats()
        for row in by_host.values():
            whole = whole.plus(row)
        self.open, self.idle, self.waiting, self.dialling, self.closing = whole

    @classmethod
    def of(
        cls,
        route_pools: Iterable[RoutePool],
        closing: Iterable[Connection],
        opened: int,
        reused: int,
    ) -> PoolStats:
        """Count what `route_pools` have now, and those that have left them to be closed."""
        by_route: dict[str, HostStats] = {}
        by_host: dict[str, HostStats] = {}
        by_protocol: dict[str, int] = {}
        for route_pool in route_pools:
            row = HostStats(
                len(route_pool.connections),
                sum(connection.is_idle for connection in route_pool.connections),
                len(route_pool.waiters),
                route_pool.dialling,
            )
            # Routes to one origin may differ in TLS, or in the proxies on the way.
            name = shown_route(route_pool.route)
            by_route[name] = by_route.get(name, HostStats()).plus(row)
            host = str(route_pool.route.counted)
            by_host[host] = by_host.get(host, HostStats()).plus(row)
            for connection in route_pool.connections:
                spoken = _protocol(connection)
                by_protocol[spoken] = by_protocol.get(spoken, 0) + 1
        for connection in closing:
            host = str(connection.route.counted)
            by_host[host] = by_host.get(host, HostStats()).plus(HostStats(closing=1))
        routes = {name: (row.open, row.idle, row.waiting) for name, row in by_route.items()}
        return cls(opened, reused, routes, by_host, by_protocol)

    @property
    def busy(self) -> int:
        return self.open - self.idle

    def __repr__(self) -> str:
        rows = sorted(self.by_host.items(), key=lambda row: (-row[1].waiting, -row[1].open))
        hosts = "".join(f"; {host}: {row}" for host, row in rows[:HOSTS_SHOWN])
        more = f"; and {len(rows) - HOSTS_SHOWN} hosts more" if len(rows) > HOSTS_SHOWN else ""
        return (
            f"<PoolStats open={self.open} idle={self.idle} busy={self.busy} waiting={self.waiting} "
            f"dialling={self.dialling} closing={self.closing} opened={self.opened} "
            f"reused={self.reused}{hosts}{more}>"
        )


def _protocol(connection: Connection) -> str:
    """The protocol's name, as people write it."""
    major, minor = connection.version
    return f"HTTP/{major}.{minor}" if major < 2 else f"HTTP/{major}"


class Retirement:
    """Owns a connection that was idle and is on its way out: its place is free when it is closed.

    An idle connection has nothing to say any more, so its end waits for no word of the peer's
    (RFC 8446 6.1 lets it); who wants its place waits a turn of the event loop, not a round trip.

    Args:
        loop: The event loop.
        connection: The connection.
        ended: Called once, when its place is free.
    """

    __slots__ = ("_connection", "_ended", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        ended: Callable[[Connection], None],
    ) -> None:
        self._connection = connection
        self._ended: Callable[[Connection], None] | None = ended
        self._timer = loop.call_later(RETIREMENT_SECONDS, self._cut)

    def begin(self) -> None:
        """Close the connection."""
        connection = self._connection
        connection.owner = self
        skip = getattr(connection.transport, "skip_closing_handshake", None)
        if skip is not None:
            skip()
        connection.close()

    def _cut(self) -> None:
        # What it wrote last does not go out, or a custom transport tells nobody of its end.
        self._connection.abort()
        self.connection_lost(self._connection)

    def connection_available(self, connection: Connection) -> None:
        connection.close()

    def connection_lost(self, connection: Connection) -> None:
        self._timer.cancel()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(connection)

    def protocol_refused(self, connection: Connection) -> bool:
        return False

    def exchanges_refused(self, connection: Connection, carried: int) -> None:
        pass


async def wait_for_all(connections: list[Connection], timeout: float) -> None:
    """Return when every one of `connections` is closed; those that are not after `timeout` seconds
    are cut.
    """
    if not connections:
        return
    waits = [asyncio.ensure_future(connection.wait_closed()) for connection in connections]
    _, pending = await asyncio.wait(waits, timeout=timeout)
    if pending:
        for connection in connections:
            connection.abort()
        await asyncio.wait(pending)
