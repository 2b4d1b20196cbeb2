"""RateLimitMiddleware and ConcurrencyLimit."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
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
    (places,) = limit._places.values()
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
    assert not any(places.locked() for places in limit._places.values())


@pytest.mark.parametrize(
    "options", [{"rate": 0}, {"rate": 1, "period": 0}, {"rate": 1, "burst": 0}]
)
def test_impossible_numbers_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match="positive"):
        RateLimitMiddleware(**options)
    with pytest.raises(ValueError, match="at least one"):
        ConcurrencyLimit(0)
