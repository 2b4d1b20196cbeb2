"""The pool under any order of events: nothing is lost, nothing leaks, limits hold, whoever can be
served is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.pool.pool import Pool
from wherry.connect.route import Origin, Route
from wherry.errors import ClientConnectionError, ClientConnectorError, ServerDisconnectedError
from wherry.types import ConnectionKey, HttpVersion11, HttpVersion20

PLACES_OF_HTTP2 = 3


class FakeConnection:
    """A connection as the pool sees one: it has places, which exchanges take and give back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, places: int) -> None:
        self.loop = loop
        self.places = self.capacity = places
        self.reserved = 0
        self.at_a_time: int | None = None
        self.busy = 0
        self.exchanges = 0
        self.route: Any = None
        self.timings: Any = None
        self.owner: Any = None
        self.idle_since = 0.0
        self.version = HttpVersion11 if places == 1 else HttpVersion20
        self.open = True
        self.retiring = False
        self.transport = None
        self.ended = loop.create_future()

    @property
    def is_idle(self) -> bool:
        return not self.busy

    def is_usable(self) -> bool:
        return self.open and not self.retiring and self.capacity > 0

    def start(self) -> None:
        assert self.is_usable()
        self.capacity -= 1
        self.busy += 1
        self.exchanges += 1

    def finish(self) -> None:
        self.busy -= 1
        if self.open and not self.retiring:
            self.capacity += 1
            if self.owner is not None:
                self.owner.connection_available(self)
        elif self.retiring and not self.busy:
            self.close()

    def retire(self) -> None:
        self.retiring = True
        self.capacity = 0
        if not self.busy:
            self.close()

    def close(self) -> None:
        if self.open:
            self.open = False
            self.capacity = 0
            self.loop.call_soon(self.lost)

    abort = close

    def lost(self) -> None:
        self.open = False
        self.capacity = 0
        self.busy = 0
        if not self.ended.done():
            self.ended.set_result(None)
            owner, self.owner = self.owner, None
            if owner is not None:
                owner.connection_lost(self)

    async def wait_closed(self) -> None:
        await asyncio.shield(self.ended)


class Start:
    """Starts a request's exchange before its task runs; `how` says when the answer comes, if it can
    start at all.
    """

    def __init__(self, working: list[FakeConnection], how: str) -> None:
        self.working = working
        self.how = how
        self.connection: FakeConnection | None = None

    def __call__(self, connection: Any, waiter: asyncio.Future[Any]) -> None:
        if self.how == "cannot":
            raise ClientConnectionError("not started")
        connection.start()
        self.connection = connection
        self.working.append(connection)
        if self.how == "at once":
            waiter.set_result(None)
        else:
            connection.loop.call_soon(lambda: waiter.done() or waiter.set_result(None))


# How a request's exchange starts: by its own task, or before that.
HOWS = st.sampled_from(["", "at once", "soon", "cannot"])


class PoolMachine(RuleBasedStateMachine):
    """Requests come, are cancelled and end; dials succeed and fail; servers hang up; idle
    connections grow old.
    """

    @initialize(
        limit=st.integers(0, 4),
        limit_per_host=st.integers(0, 3),
        force_close=st.booleans(),
        http2=st.booleans(),
    )
    def begin(self, limit: int, limit_per_host: int, force_close: bool, http2: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self.complain)
        self.complaints: list[dict[str, Any]] = []
        self.dials: list[tuple[ConnectRequest, asyncio.Future[FakeConnection]]] = []
        self.made: list[FakeConnection] = []
        self.places = PLACES_OF_HTTP2 if http2 else 1
        protocols = ("h2c",) if http2 else ("http/1.1",)
        self.routes = [
            Route(Origin("http", f"h{number}.test", 80), protocols=protocols) for number in range(3)
        ]
        self.pool = Pool(
            self.loop,
            self.dial,
            limit=limit,
            limit_per_host=limit_per_host,
            keepalive_timeout=1e6,
            force_close=force_close,
        )
        self.waiting: list[asyncio.Task[FakeConnection]] = []
        self.working: list[FakeConnection] = []

    def complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(context)

    async def dial(self, connect_request: ConnectRequest) -> Any:
        future: asyncio.Future[FakeConnection] = self.loop.create_future()
        entry = (connect_request, future)
        self.dials.append(entry)
        try:
            return await future
        finally:
            if entry in self.dials:
                self.dials.remove(entry)

    def settle(self) -> None:
        async def turns() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    async def request(self, route: Route, how: str) -> FakeConnection:
        start = Start(self.working, how) if how else None
        connection: Any = self.pool.take(route)
        if connection is None:
            try:
                connection = await self.pool.acquire(ConnectRequest(route, start=start))
            except BaseException:
                if start is not None and start.connection is not None:
                    start.connection.close()  # as an exchange of HTTP/1 does that is given up
                    start.connection.lost()
                raise
        assert connection.route == route
        if start is None or start.connection is None:
            connection.start()
            self.working.append(connection)
        return connection

    @rule(number=st.integers(0, 2), count=st.integers(1, 5), how=HOWS)
    def connect_request(self, number: int, count: int, how: str) -> None:
        for _ in range(count):
            self.waiting.append(self.loop.create_task(self.request(self.routes[number], how)))
        self.settle()

    @rule(number=st.integers(0, 2), turns=st.integers(0, 4), how=HOWS)
    def ask_and_give_up(self, number: int, turns: int, how: str) -> None:
        """Before the dial has begun, while it begins, and after."""

        async def run() -> None:
            task = self.loop.create_task(self.request(self.routes[number], how))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            self.waiting.append(task)

        self.loop.run_until_complete(run())
        self.settle()

    @rule(place=st.integers(0, 50))
    def cancel(self, place: int) -> None:
        pending = [task for task in self.waiting if not task.done()]
        if pending:
            pending[place % len(pending)].cancel()
        self.settle()

    @rule(place=st.integers(0, 50), settle=st.booleans())
    def dial_succeeds(self, place: int, settle: bool) -> None:
        pending = [future for _, future in self.dials if not future.done()]
        if pending:
            connection = FakeConnection(self.loop, self.places)
            self.made.append(connection)
            pending[place % len(pending)].set_result(connection)
        if settle:
            self.settle()

    @rule(place=st.integers(0, 50))
    def dial_fails(self, place: int) -> None:
        pending = [future for _, future in self.dials if not future.done()]
        if pending:
            key = ConnectionKey("h", 80, False, True, None, None, None)
            pending[place % len(pending)].set_exception(
                ClientConnectorError(key, OSError(111, "refused"))
            )
        self.settle()

    @rule(place=st.integers(0, 50), cancelled=st.integers(0, 50))
    def exchange_ends(self, place: int, cancelled: int) -> None:
        if self.working:
            self.working.pop(place % len(self.working)).finish()
            # Whoever was handed the place may give up before it runs.
            pending = [task for task in self.waiting if not task.done()]
            if pending and cancelled < len(pending):
                pending[cancelled].cancel()
        self.settle()

    @rule(place=st.integers(0, 50), cancelled=st.integers(0, 50))
    def server_hangs_up(self, place: int, cancelled: int) -> None:
        alive = [connection for connection in self.made if connection.open]
        # Whoever stands in line may have given up in the turn in which a place becomes free.
        pending = [task for task in self.waiting if not task.done()]
        if pending and cancelled < len(pending):
            pending[cancelled].cancel()
        if alive:
            connection = alive[place % len(alive)]
            connection.lost()
            self.working = [other for other in self.working if other is not connection]
        self.settle()

    @rule()
    def idle_connections_expire(self) -> None:
        keepalive, self.pool.keepalive_timeout = self.pool.keepalive_timeout, 0.0
        if self.pool._expiry is not None:
            self.pool._expiry.cancel()
        self.pool._close_expired()
        self.pool.keepalive_timeout = keepalive
        self.settle()

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.settle()
        pool = self.pool
        self.working = [connection for connection in self.working if connection.busy]
        route_pools = list(pool.route_pools.values())
        alive = [connection for connection in self.made if connection.open]
        owned = [connection for route_pool in route_pools for connection in route_pool.connections]
        # opened = closed + idle + at work
        assert len(owned) == len(set(map(id, owned)))
        assert {id(connection) for connection in alive} == {
            id(connection) for connection in owned if connection.open
        }
        assert pool.connection_limits.taken == sum(route_pool.size for route_pool in route_pools)
        assert (
            not pool.connection_limits.limit
            or pool.connection_limits.taken <= pool.connection_limits.limit
        )
        for route in self.routes:
            size = sum(route_pool.size for route_pool in route_pools if route_pool.route == route)
            assert (
                not pool.connection_limits.limit_per_host
                or size <= pool.connection_limits.limit_per_host
            )
        for connection in alive:
            assert connection.reserved == 0
            assert 0 <= connection.capacity <= connection.places
            free = pool.route_pools[connection.route].free
            assert free.count(connection) <= 1
            # A place that nobody uses can be found again.
            assert (connection.capacity > 0) == (connection in free) or pool.force_close
        # No waiter is lost: it has a dial under way, or stands in line and there is no room.
        pending = sum(not task.done() for task in self.waiting)
        assert pending == sum(len(route_pool.waiters) for route_pool in route_pools)
        for route_pool in route_pools:
            if not route_pool.waiters:
                continue
            assert not any(
                connection.is_usable()
                for connection in route_pool.connections
                if not pool.force_close
            )
            assert route_pool.dialling + route_pool.queued or route_pool.multiplexes is not False
            if not route_pool.dialling:
                assert not pool.connection_limits.has(route_pool.route.origin)
            if route_pool.queued:
                assert not pool.connection_limits.has(route_pool.route.origin)
        assert not self.complaints

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        for _, future in self.dials:
            if not future.done():
                future.cancel()
        closing = self.loop.create_task(self.pool.close())
        self.settle()
        self.loop.run_until_complete(closing)
        self.settle()
        assert all(task.done() for task in self.waiting)
        for task in self.waiting:
            assert (
                task.cancelled()
                or task.exception() is None
                or isinstance(task.exception(), ClientConnectionError)
            )
        assert not any(connection.open for connection in self.made)
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()
        assert not self.complaints


PoolMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)
TestPool = PoolMachine.TestCase


async def test_a_dial_that_is_given_up_before_it_began_gives_its_place_back() -> None:
    loop = asyncio.get_running_loop()
    made: list[FakeConnection] = []

    async def dial(connect_request: ConnectRequest) -> Any:
        made.append(FakeConnection(loop, 1))
        return made[-1]

    pool = Pool(loop, dial, limit=1)
    held: Any = await pool.acquire(ConnectRequest(Route(Origin("http", "a.test", 80))))
    held.start()
    waiting = asyncio.create_task(pool.acquire(ConnectRequest(Route(Origin("http", "b.test", 80)))))
    await asyncio.sleep(0)
    waiting.cancel()
    held.lost()
    for _ in range(5):
        await asyncio.sleep(0)
    assert pool.connection_limits.taken == 0
    again: Any = await pool.acquire(ConnectRequest(Route(Origin("http", "b.test", 80))))
    again.start()
    await pool.close()


async def test_a_server_that_ends_each_connection_at_once_is_not_dialled_for_ever() -> None:
    """Each ends after the pool gave it away, and before the request's task could begin."""
    loop = asyncio.get_running_loop()
    dials = 0

    async def dial(_: ConnectRequest) -> Any:
        nonlocal dials
        dials += 1
        connection = FakeConnection(loop, 1)
        loop.call_soon(connection.lost)
        return connection

    pool = Pool(loop, dial)
    with pytest.raises(
        ServerDisconnectedError, match=r"http://a\.test:80 takes no request"
    ) as caught:
        await asyncio.wait_for(pool.acquire(ConnectRequest(Route(Origin("http", "a.test", 80)))), 5)
    assert caught.value.resend_safe
    assert (dials, pool.stats().open) == (1, 0)
    await pool.close()


async def test_exchanges_that_can_start_at_once_start_together_before_their_tasks_run() -> None:
    loop = asyncio.get_running_loop()
    made: list[FakeConnection] = []
    working: list[FakeConnection] = []
    told: list[str] = []

    async def dial(connect_request: ConnectRequest) -> Any:
        made.append(FakeConnection(loop, 1))
        return made[-1]

    async def request(name: str) -> None:
        start = Start(working, "soon")
        carrier = await pool.acquire(ConnectRequest(route, start=start))
        assert carrier is start.connection
        told.append(name)

    pool = Pool(loop, dial, limit=3)
    route = Route(Origin("http", "a.test", 80))
    for connection in [await pool.acquire(ConnectRequest(route)) for _ in range(3)]:
        connection.start()  # type: ignore[call-arg]
    tasks = [asyncio.create_task(request(name)) for name in "abc"]
    await asyncio.sleep(0)
    for connection in made:
        connection.finish()
    tasks[1].cancel()  # it was given a place, and began nothing: that goes to nobody
    assert not working
    await asyncio.gather(*tasks, return_exceptions=True)
    assert working == [made[0], made[2]]
    assert told == ["a", "c"]
    assert pool.take(route) is made[1]
    await pool.close()


async def test_two_pools_may_have_one_route_and_share_nothing() -> None:
    """A route remembers where its connections are; each pool has its own all the same."""
    loop = asyncio.get_running_loop()
    made: list[FakeConnection] = []

    async def dial(_: ConnectRequest) -> Any:
        made.append(FakeConnection(loop, 1))
        return made[-1]

    route = Route(Origin("http", "a.test", 80))
    pools = [Pool(loop, dial) for _ in range(2)]
    taken: list[Any] = [await pool.acquire(ConnectRequest(route)) for pool in pools]
    for connection in taken:
        connection.start()
    for connection in taken:
        connection.finish()
    for pool, connection in zip(pools, taken, strict=True):
        assert pool.take(route) is connection
        assert pool.take(route) is None
        pool.put_back(connection)
        assert pool.stats().idle == 1
    await pools[0].close()
    again: Any = pools[1].take(route)
    assert again is taken[1]
    assert again.open
    again.start()
    again.finish()
    await pools[1].close()
    assert not any(connection.open for connection in made)
