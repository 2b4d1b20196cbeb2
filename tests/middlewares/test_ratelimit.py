"""RateLimitMiddleware and ConcurrencyLimit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.conftest import Asked, Peer, Reply, reply
from yarl import URL

import wherry
from wherry.middlewares.ratelimit import ConcurrencyLimit, RateLimitMiddleware, TokenBuckets

A, B = URL("http://a"), URL("http://b")


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    buckets = TokenBuckets(interval=0.5, burst=3)
    assert [buckets.take(A, 10.0) for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    assert buckets.take(B, 10.0) == 0
    assert buckets.take(A, 11.0) == 0.5
    assert [buckets.take(A, 100.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_token_can_be_put_back() -> None:
    buckets = TokenBuckets(interval=1, burst=1)
    assert [buckets.take(A, 0), buckets.take(A, 0)] == [0, 1]
    buckets.put_back(A)
    buckets.put_back(B)
    assert buckets.take(A, 0) == 1


def test_idle_origins_are_forgotten() -> None:
    buckets = TokenBuckets(interval=1, burst=1)
    for number in range(5000):
        buckets.take(URL(f"http://h{number}"), float(number))
    assert len(buckets._full_at) <= 1024


async def test_requests_wait_for_their_turn(peer: Any, session: Any) -> None:
    server: Peer = await peer()
    passed: list[str] = []

    async def note(request: Any, handler: Any) -> Any:
        passed.append(request.url.path)
        return await handler(request)

    client = session(middlewares=(RateLimitMiddleware(100, burst=2), note))
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def get(path: str) -> None:
        async with client.get(server.url(path)):
            pass

    await asyncio.gather(*(get(f"/{number}") for number in range(6)))
    assert loop.time() - begun >= 0.04
    assert passed == [f"/{number}" for number in range(6)]


async def test_a_cancelled_wait_gives_its_turn_back(peer: Any, session: Any) -> None:
    server: Peer = await peer()
    middleware = RateLimitMiddleware(1, period=3600)
    client = session(middlewares=(middleware,))
    async with client.get(server.url()):
        pass
    with pytest.raises(TimeoutError):
        await client.get(server.url(), timeout=wherry.ClientTimeout(total=0.02))
    now = asyncio.get_running_loop().time()
    assert middleware._buckets.take(URL(server.url()).origin(), now) <= 3600


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when there is nothing else to do."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def ideal(arrivals: list[tuple[int, float | None]], interval: int, burst: int) -> dict[int, float]:
    """When each request goes: in order, as soon as there is a token; who has left takes none.

    Args:
        arrivals: (when it comes, when it gives up), in order.
        interval: Seconds in which one token comes.
        burst: How many tokens there are at most.
    """
    went: dict[int, float] = {}
    full_at = free_at = 0.0
    for number, (came, leaves) in enumerate(arrivals):
        # The queue is FIFO: nobody goes before whoever goes before it.
        at = max(came, free_at, full_at - interval * (burst - 1))
        if leaves is None or at < leaves:
            went[number] = at
            full_at = max(full_at, at) + interval
            free_at = at
    return went


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.none() | st.integers(0, 40).map(lambda wait: wait + 0.5)),
        max_size=25,
    ),
    st.integers(1, 7),
    st.integers(1, 4),
)
def test_whoever_leaves_the_line_the_others_go_as_an_ideal_line_lets_them(
    plan: list[tuple[int, float | None]], interval: int, burst: int
) -> None:
    plan = sorted(plan, key=lambda row: row[0])
    middleware = RateLimitMiddleware(1, period=interval, burst=burst)
    went: dict[int, float] = {}
    loop = VirtualLoop()

    async def handle(request: Any) -> None:
        went[request.number] = loop.time()

    async def one(number: int, came: int, patience: float | None) -> None:
        request = SimpleNamespace(url=URL("http://h/"), number=number)
        await asyncio.sleep(came + number * 1e-7)  # timers of one moment fire in any order
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await middleware(request, handle)  # type: ignore[arg-type]

    async def everybody() -> None:
        await asyncio.gather(*(one(number, *row) for number, row in enumerate(plan)))

    with contextlib.closing(loop):
        loop.run_until_complete(everybody())
    leaving = [(came, None if wait is None else came + wait) for came, wait in plan]
    expected = ideal(leaving, interval, burst)
    assert went.keys() == expected.keys()
    assert all(abs(went[number] - expected[number]) < 1e-4 for number in went)
    assert not middleware._queues


async def test_who_is_cancelled_when_its_turn_has_come_hands_it_on() -> None:
    middleware = RateLimitMiddleware(1, period=3600)
    went: list[int] = []

    async def go(number: int) -> None:
        async def handle(_: Any) -> Any:
            went.append(number)

        await middleware(SimpleNamespace(url=URL("http://h/")), handle)  # type: ignore[arg-type]

    await go(0)
    tasks = [asyncio.create_task(go(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    (line,) = middleware._queues.values()
    middleware._buckets.put_back(URL("http://h"))  # a token comes
    line.serve()
    tasks[0].cancel()
    await tasks[1]
    assert went == [0, 2]
    assert tasks[0].cancelled()
    assert not middleware._queues


def test_the_limits_belong_to_no_event_loop() -> None:
    rate, places = RateLimitMiddleware(1000, burst=1), ConcurrencyLimit(1)

    async def handle(_: Any) -> Any:
        await asyncio.sleep(0)
        return SimpleNamespace(on_settled=lambda settle: settle())

    async def crowd() -> None:
        request: Any = SimpleNamespace(url=URL("http://h/"))

        async def one() -> None:
            await rate(request, lambda same: places(same, handle))

        await asyncio.gather(*(one() for _ in range(5)))

    for _ in range(3):
        asyncio.run(crowd())


class Gate:
    """A server that answers when it is told to, and knows how many wait."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Condition()
        self.waiting = self.most = self.seen = 0

    async def __call__(self, _: Asked) -> Reply:
        async with self.reached:
            self.waiting += 1
            self.seen += 1
            self.most = max(self.most, self.waiting)
            self.reached.notify_all()
        await self.open.wait()
        self.waiting -= 1
        return reply(200, b"x" * 200_000)


async def test_no_more_than_the_limit_are_on_their_way(peer: Any, session: Any) -> None:
    gate = Gate()
    server: Peer = await peer(gate)
    client = session(middlewares=(ConcurrencyLimit(3),))

    async def get() -> int:
        async with client.get(server.url()) as response:
            return len(await response.read())

    tasks = [asyncio.create_task(get()) for _ in range(10)]
    async with gate.reached:
        await gate.reached.wait_for(lambda: gate.seen == 3)
    gate.open.set()
    assert await asyncio.gather(*tasks) == [200_000] * 10
    assert gate.most == 3


@pytest.mark.parametrize("ending", ["read", "release", "close", "forget", "error"])
async def test_the_place_is_held_until_the_body_is_done(
    peer: Any, session: Any, ending: str
) -> None:
    length = "900000" if ending == "error" else "200000"
    server: Peer = await peer(lambda _: reply(200, b"x" * 200_000, {"Content-Length": length}))
    limit = ConcurrencyLimit(1)
    client = session(middlewares=(limit,))
    response = await client.get(server.url())
    (places,) = limit._semaphores.values()
    assert places.locked()
    match ending:
        case "read":
            await response.read()
        case "release":
            response.release()
        case "close":
            response.close()
        case "error":
            for task in server.tasks:
                task.cancel()
            with pytest.raises(wherry.ClientPayloadError):
                await response.read()
        case "forget":
            del response
            gc.collect()
    assert not places.locked()


async def test_a_failed_request_gives_its_place_back(peer: Any, session: Any) -> None:
    server: Peer = await peer(lambda _: reply(0))
    limit = ConcurrencyLimit(1, per_origin=False)
    client = session(middlewares=(limit,))
    for _ in range(2):
        with pytest.raises(wherry.ServerDisconnectedError):
            await client.get(server.url())
    assert not any(places.locked() for places in limit._semaphores.values())


@pytest.mark.parametrize(
    "options",
    [{"rate": 0}, {"rate": 1, "period": 0}, {"rate": 1, "burst": 0},
     {"rate": math.nan}, {"rate": math.inf}, {"rate": 1, "period": math.nan}, {"rate": 1, "period": math.inf},
     {"rate": -1}, {"rate": 1, "burst": math.nan}]
)  # fmt: skip
def test_impossible_numbers_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match="positive"):
        RateLimitMiddleware(**options)
    with pytest.raises(ValueError, match="at least one"):
        ConcurrencyLimit(0)
