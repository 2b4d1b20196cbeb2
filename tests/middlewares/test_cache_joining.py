"""Equal requests at the same time: one goes out, and the others are served from its answer (RFC
9111 4).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import Asked, Peer, Reply, reply

import wherry
from wherry.middlewares.cache import CacheMiddleware
from wherry.middlewares.cache_storage import CacheStorage, MemoryCacheStorage, SQLiteCacheStorage


class Gate:
    """Answers that wait: each request is counted when it comes, and answered when the gate
    opens.
    """

    def __init__(self, answer: Callable[[Asked, int], Reply]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.came = asyncio.Condition()
        self.open = asyncio.Event()

    async def __call__(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        number = len(self.asked)
        async with self.came:
            self.came.notify_all()
        await self.open.wait()
        return self.answer(asked, number)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20), self.came:
            await self.came.wait_for(lambda: len(self.asked) >= count)


def kept(_: Asked, number: int) -> Reply:
    return reply(200, str(number), {"Cache-Control": "max-age=60"})


def unkept(_: Asked, number: int) -> Reply:
    return reply(200, str(number), {"Cache-Control": "no-store"})


async def get(client: wherry.ClientSession, url: str, **options: Any) -> tuple[str, str | None]:
    async with client.get(url, **options) as response:
        return await response.text(), response.headers.get("Cache-Status")


async def waits(count: int, cache: CacheMiddleware) -> None:
    """Until `count` requests wait for another."""
    async with asyncio.timeout(20):
        while sum(len(lead.done._waiters) for lead in cache._flights._leads.values()) < count:  # type: ignore[attr-defined]
            await asyncio.sleep(0)


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> CacheStorage:
    return (
        MemoryCacheStorage()
        if request.param == "memory"
        else SQLiteCacheStorage(tmp_path / "cache.db")
    )


async def test_one_of_equal_requests_goes_out(
    peer: Any, session: Any, storage: CacheStorage
) -> None:
    gate = Gate(kept)
    server: Peer = await peer(gate)
    async with CacheMiddleware(storage) as cache:
        client = session(middlewares=(cache,))
        tasks = [asyncio.create_task(get(client, server.url())) for _ in range(10)]
        await waits(9, cache)
        gate.open.set()
        answers = await asyncio.gather(*tasks)
    assert [body for body, _ in answers] == ["1"] * 10
    assert sorted(status or "" for _, status in answers) == [
        "",
        *["wherry; fwd=miss; collapsed"] * 9,
    ]
    assert len(gate.asked) == 1


async def test_a_validation_is_shared_too(
    peer: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0

    class Clock:
        time = staticmethod(lambda: time.time() + ahead)

    monkeypatch.setattr("wherry.middlewares.cache.time", Clock)

    def answer(asked: Asked, number: int) -> Reply:
        fields = {"Cache-Control": "max-age=60", "ETag": '"1"'}
        return (
            reply(304, b"", fields)
            if "If-None-Match" in asked.headers
            else reply(200, str(number), fields)
        )

    gate = Gate(answer)
    gate.open.set()
    server: Peer = await peer(gate)
    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache,))
        await get(client, server.url())
        ahead = 100.0
        gate.open.clear()
        tasks = [asyncio.create_task(get(client, server.url())) for _ in range(5)]
        await waits(4, cache)
        gate.open.set()
        answers = await asyncio.gather(*tasks)
    assert [body for body, _ in answers] == ["1"] * 5
    assert sorted(str(status) for _, status in answers) == [
        *["wherry; fwd=stale; collapsed"] * 4,
        "wherry; fwd=stale; fwd-status=304",
    ]
    assert len(gate.asked) == 2


async def test_an_answer_that_is_not_kept_holds_up_nobody_twice(peer: Any, session: Any) -> None:
    gate = Gate(unkept)
    server: Peer = await peer(gate)
    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache,))
        tasks = [asyncio.create_task(get(client, server.url())) for _ in range(5)]
        await waits(4, cache)
        gate.open.set()
        assert sorted(await asyncio.gather(*tasks)) == [
            (str(number), None) for number in range(1, 6)
        ]
        # From now on it is known that waiting is in vain: all go at once.
        gate.open.clear()
        tasks = [asyncio.create_task(get(client, server.url())) for _ in range(5)]
        await gate.until(10)
        gate.answer = kept
        gate.open.set()
        await asyncio.gather(*tasks)
        assert (await get(client, server.url()))[1] == "wherry; hit"


async def test_a_large_answer_streams_to_each(peer: Any, session: Any) -> None:
    gate = Gate(lambda _, number: reply(200, str(number) * 100, {"Cache-Control": "max-age=60"}))
    server: Peer = await peer(gate)
    async with CacheMiddleware(max_body=50) as cache:
        client = session(middlewares=(cache,))
        tasks = [asyncio.create_task(get(client, server.url())) for _ in range(3)]
        await waits(2, cache)
        gate.open.set()
        assert sorted(await asyncio.gather(*tasks)) == [
            (str(number) * 100, None) for number in (1, 2, 3)
        ]


async def test_a_failure_is_that_ones_own(peer: Any, session: Any) -> None:
    gate = Gate(kept)
    server: Peer = await peer(gate)

    async def first_fails(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        response = await handler(request)
        if (await response.read()) == b"1":
            raise wherry.ClientPayloadError("the first one")
        return response

    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache, first_fails))
        tasks = [asyncio.create_task(get(client, server.url())) for _ in range(4)]
        await waits(3, cache)
        gate.open.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], wherry.ClientPayloadError)
    assert sorted(str(answer[0]) for answer in answers[1:]) == ["2", "3", "4"]  # type: ignore[index]


async def test_who_waits_goes_in_the_place_of_who_is_cancelled(peer: Any, session: Any) -> None:
    gate = Gate(kept)
    server: Peer = await peer(gate)
    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache,))
        tasks = [asyncio.create_task(get(client, server.url())) for _ in range(6)]
        await waits(5, cache)
        await gate.until(1)
        tasks[3].cancel()  # who waits may leave, too
        tasks[0].cancel()
        await asyncio.wait((tasks[0], tasks[3]))
        await waits(3, cache)
        await gate.until(2)
        gate.open.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [
            True,
            False,
            False,
            True,
            False,
            False,
        ]
        assert {answer[0] for answer in answers if isinstance(answer, tuple)} == {"2"}
        assert len(gate.asked) == 2
        assert not len(cache._flights)


async def test_a_time_limit_of_who_goes_first_is_not_the_others(peer: Any, session: Any) -> None:
    gate = Gate(kept)
    server: Peer = await peer(gate)
    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache,))
        hasty = asyncio.create_task(
            get(client, server.url(), timeout=wherry.ClientTimeout(total=2))
        )
        await gate.until(1)
        patient = asyncio.create_task(get(client, server.url()))
        await waits(1, cache)
        with pytest.raises(TimeoutError):
            await hasty
        await gate.until(2)
        gate.open.set()
        assert (await patient)[0] == "2"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"Accept-Language": "de"}, {"Accept-Language": "en"}),
        ({"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}),
        ({"Cookie": "a=1"}, {}),
        ({}, {"Cache-Control": "no-cache"}),
        ({}, {"Cache-Control": "max-age=0"}),
        ({}, {"Cache-Control": "no-store"}),
        ({}, {"Range": "bytes=0-1"}),
    ],
)
async def test_requests_that_differ_do_not_wait(
    peer: Any, session: Any, one: dict[str, str], other: dict[str, str]
) -> None:
    gate = Gate(kept)
    server: Peer = await peer(gate)
    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache,))
        tasks = [
            asyncio.create_task(get(client, server.url(), headers=headers))
            for headers in (one, other)
        ]
        await gate.until(2)
        gate.open.set()
        assert {body for body, _ in await asyncio.gather(*tasks)} == {"1", "2"}


async def test_who_waited_for_another_variant_goes_by_itself(peer: Any, session: Any) -> None:
    def answer(asked: Asked, number: int) -> Reply:
        return reply(
            200, asked.headers["X-Kind"], {"Cache-Control": "max-age=60", "Vary": "X-Kind"}
        )

    gate = Gate(answer)
    server: Peer = await peer(gate)
    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache,))
        kinds = ["a", "b", "a", "b"]
        tasks = [
            asyncio.create_task(get(client, server.url(), headers={"X-Kind": kind}))
            for kind in kinds
        ]
        await waits(3, cache)
        gate.open.set()
        assert [body for body, _ in await asyncio.gather(*tasks)] == kinds


async def test_a_request_within_a_request_does_not_wait_for_it(peer: Any, session: Any) -> None:
    gate = Gate(kept)
    gate.open.set()
    server: Peer = await peer(gate)
    depth = 0

    async def ask_first(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        nonlocal depth
        depth += 1
        if depth == 1:
            async with request.session.get(request.url) as inner:
                assert await inner.text() == "1"
        return await handler(request)

    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache, ask_first))
        async with asyncio.timeout(20):
            assert (await get(client, server.url()))[0] == "2"


async def test_listeners_hear_who_went_and_who_was_served(peer: Any, session: Any) -> None:
    heard: list[str] = []
    config = wherry.TraceConfig()
    for name in ("on_cache_hit", "on_cache_miss"):

        async def note(_: Any, __: Any, ___: Any, name: str = name) -> None:
            heard.append(name)

        getattr(config, name).append(note)
    gate = Gate(kept)
    server: Peer = await peer(gate)
    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache,), trace_configs=[config])
        tasks = [asyncio.create_task(get(client, server.url())) for _ in range(3)]
        await waits(2, cache)
        gate.open.set()
        await asyncio.gather(*tasks)
    assert heard == ["on_cache_miss", "on_cache_hit", "on_cache_hit"]
