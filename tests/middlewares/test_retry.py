"""RetryMiddleware: what is tried again, when, and how often."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.conftest import Peer, Reply, reply
from yarl import URL

import wherry
from wherry.middlewares.retry import (
    RetryBudget,
    RetryEvent,
    RetryMiddleware,
    backoff_limit,
    retry_after,
)


def failing(times: int, status: int = 503, headers: Any = ()) -> Any:
    left = [times]

    def answer(_: Any) -> Reply:
        left[0] -= 1
        return reply(status, "later", headers) if left[0] >= 0 else reply(200, "now")

    return answer


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which take no time here."""
    seen: list[float] = []
    sleep = asyncio.sleep

    async def note(delay: float) -> None:
        seen.append(delay)
        await sleep(0)

    monkeypatch.setattr("wherry.middlewares.retry.asyncio.sleep", note)
    return seen


async def test_a_status_that_passes_is_tried_again(
    peer: Any, session: Any, waits: list[float]
) -> None:
    server: Peer = await peer(failing(2))
    client = session(middlewares=(RetryMiddleware(attempts=3, backoff=1, jitter=False),))
    async with client.get(server.url()) as response:
        assert (response.status, await response.text()) == (200, "now")
    assert waits == [1, 2]


async def test_the_last_response_is_returned(peer: Any, session: Any, waits: list[float]) -> None:
    server: Peer = await peer(failing(9))
    async with session(middlewares=(RetryMiddleware(attempts=3),)).get(server.url()) as response:
        assert (response.status, await response.text()) == (503, "later")
    assert len(server.asked) == 3
    assert len(waits) == 2


@pytest.mark.parametrize(
    ("method", "status", "options", "tries"),
    [
        ("GET", 404, {}, 1),
        ("GET", 429, {}, 3),
        ("PUT", 500, {}, 3),
        ("DELETE", 502, {}, 3),
        ("POST", 503, {}, 1),
        ("POST", 503, {"methods": {"POST"}}, 3),
        ("POST", 503, {"methods": "post"}, 3),
        ("P", 503, {"methods": "POST"}, 1),
        ("PATCH", 503, {}, 1),
        ("GET", 418, {"statuses": {418}}, 3),
        ("GET", 503, {"attempts": 1}, 1),
    ],
)
async def test_which_requests_are_tried_again(
    peer: Any, session: Any, waits: list[float], method: str, status: int, options: Any, tries: int
) -> None:
    server: Peer = await peer(failing(9, status))
    async with session(middlewares=(RetryMiddleware(**options),)).request(
        method, server.url()
    ) as response:
        assert response.status == status
    assert len(server.asked) == tries
    assert len(waits) == tries - 1


async def test_a_body_is_sent_again_if_it_can_be(
    peer: Any, session: Any, waits: list[float]
) -> None:
    server: Peer = await peer(failing(1))
    client = session(middlewares=(RetryMiddleware(),))

    async def stream() -> AsyncIterator[bytes]:
        yield b"once"

    async with client.put(server.url(), data=stream()) as response:
        assert response.status == 503
    server.answer = failing(1)
    async with client.put(server.url(), data=b"twice") as response:
        assert response.status == 200
    assert [asked.body for asked in server.asked] == [b"once", b"twice", b"twice"]
    assert len(waits) == 1


@pytest.mark.parametrize(("method", "tries"), [("GET", 3), ("POST", 1)])
async def test_a_request_that_may_have_arrived_must_be_idempotent(
    peer: Any, session: Any, waits: list[float], method: str, tries: int
) -> None:
    server: Peer = await peer(lambda _: reply(0))
    with pytest.raises(wherry.ServerDisconnectedError):
        await session(middlewares=(RetryMiddleware(attempts=3),)).request(method, server.url())
    assert len(server.asked) == tries


async def test_a_request_of_which_nothing_was_sent_may_be_any(
    session: Any, waits: list[float]
) -> None:
    reserved = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = reserved.sockets[0].getsockname()[1]
    reserved.close()
    with pytest.raises(wherry.ClientConnectorError):
        await session(middlewares=(RetryMiddleware(attempts=3),)).post(
            f"http://127.0.0.1:{port}/", data=b"x"
        )
    assert len(waits) == 2


async def test_a_wrong_certificate_is_final(peer: Any, session: Any, waits: list[float]) -> None:
    server: Peer = await peer(tls=True)
    client = session(middlewares=(RetryMiddleware(),))
    with pytest.raises(wherry.ClientConnectorCertificateError):
        await client.get(server.url(host="not-in-the-certificate.test"))
    assert not waits


async def test_retry_after_sets_the_wait(peer: Any, session: Any, waits: list[float]) -> None:
    server: Peer = await peer(failing(1, 429, {"Retry-After": "7"}))
    client = session(middlewares=(RetryMiddleware(),), timeout=wherry.ClientTimeout(total=100))
    async with client.get(server.url()) as response:
        assert response.status == 200
    server.answer = failing(1, 503, {"Retry-After": formatdate(time.time() + 20, usegmt=True)})
    async with client.get(server.url()) as response:
        assert response.status == 200
    assert waits[0] == 7
    assert 17 < waits[1] <= 20


async def test_a_retry_after_too_far_off_ends_the_tries(
    peer: Any, session: Any, waits: list[float]
) -> None:
    server: Peer = await peer(failing(1, 503, {"Retry-After": "3600"}))
    async with session(middlewares=(RetryMiddleware(),)).get(server.url()) as response:
        assert response.status == 503
    server.answer = failing(1, 503, {"Retry-After": "3600"})
    again = RetryMiddleware(respect_retry_after=False)
    async with session(middlewares=(again,)).get(server.url()) as response:
        assert response.status == 200
    assert len(waits) == 1


async def test_a_wait_beyond_the_total_timeout_is_not_begun(
    peer: Any, session: Any, waits: list[float]
) -> None:
    server: Peer = await peer(failing(1, 503, {"Retry-After": "5"}))
    client = session(middlewares=(RetryMiddleware(),))
    async with client.get(server.url(), timeout=wherry.ClientTimeout(total=4)) as response:
        assert response.status == 503
    assert not waits


async def test_the_total_timeout_holds_during_a_wait(peer: Any, session: Any) -> None:
    async def silent(_: Any) -> Reply:
        if len(server.asked) > 1:
            await asyncio.Event().wait()
        return reply(503)

    server: Peer = await peer(silent)
    client = session(middlewares=(RetryMiddleware(backoff=0.01),))
    with pytest.raises(TimeoutError):
        await client.get(server.url(), timeout=wherry.ClientTimeout(total=0.6))
    assert len(server.asked) == 2


async def test_the_budget_spares_a_dying_server(
    peer: Any, session: Any, waits: list[float]
) -> None:
    server: Peer = await peer(lambda _: reply(503))
    budget = RetryBudget(ratio=0.1, capacity=5)
    client = session(middlewares=(RetryMiddleware(attempts=5, budget=budget),))
    for _ in range(100):
        async with client.get(server.url()) as response:
            assert response.status == 503
    # 5 at hand, and one for every 10 requests; without a budget it would be 500 in all.
    assert 105 <= len(server.asked) <= 115


async def test_no_budget_is_no_bound(peer: Any, session: Any, waits: list[float]) -> None:
    server: Peer = await peer(lambda _: reply(503))
    client = session(middlewares=(RetryMiddleware(attempts=3, budget=None),))
    for _ in range(20):
        async with client.get(server.url()):
            pass
    assert len(server.asked) == 60


async def test_each_try_is_told_and_traced(peer: Any, session: Any, waits: list[float]) -> None:
    server: Peer = await peer(failing(1))
    told: list[RetryEvent] = []
    traced: list[Any] = []

    async def on_retry(event: RetryEvent) -> None:
        told.append(event)

    async def on_request_retry(_: Any, __: Any, params: wherry.TraceRequestRetryParams) -> None:
        traced.append(params)

    config = wherry.TraceConfig()
    config.on_request_retry.append(on_request_retry)
    client = session(middlewares=(RetryMiddleware(on_retry=on_retry),), trace_configs=[config])
    async with client.get(server.url()) as response:
        assert response.status == 200
    assert [
        (event.attempt, event.response.status, event.delay) for event in told if event.response
    ] == [(1, 503, waits[0])]
    assert [(params.attempt, params.exception) for params in traced] == [(2, None)]


async def test_a_dropped_response_gives_its_place_back(
    peer: Any, session: Any, waits: list[float]
) -> None:
    server: Peer = await peer(
        lambda _: reply(503 if len(server.asked) == 1 else 200, b"x" * 500_000)
    )
    async with session(limit=1, middlewares=(RetryMiddleware(),)).get(server.url()) as response:
        assert len(await response.read()) == 500_000


# --- policy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 60),
        ("Wed Oct 21 07:28:00 2015", 60),
        ("Wed, 21 Oct 2015 07:26:00 GMT", 0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 400, 999999999999.0),
    ],
)
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    now = 1445412480 - 60.0  # a minute before 07:28
    assert retry_after(value, now) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_read_without_an_error(value: str) -> None:
    seconds = retry_after(value, 0.0)
    assert seconds is None or seconds >= 0


def test_the_backoff_doubles_up_to_its_cap() -> None:
    assert [backoff_limit(attempt, 0.5, 3) for attempt in (1, 2, 3, 4, 10_000)] == [0.5, 1, 2, 3, 3]


def test_the_budget_is_for_each_origin() -> None:
    budget = RetryBudget(ratio=0.5, capacity=1)
    a, b = URL("http://a"), URL("http://b")
    assert (budget.withdraw(a), budget.withdraw(a), budget.withdraw(b)) == (True, False, True)
    budget.deposit(a)
    assert not budget.withdraw(a)
    budget.deposit(a)
    assert budget.withdraw(a)
    for number in range(3000):
        budget.withdraw(URL(f"http://h{number}"))
    assert len(budget._tokens) <= 1024


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"backoff": -1},
        {"max_backoff": -1},
        {"backoff": math.nan},
        {"max_backoff": math.nan},
        {"backoff": "1"},
    ],
)
def test_impossible_numbers_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        RetryMiddleware(**options)
    with pytest.raises(ValueError, match="negative"):
        RetryBudget(ratio=-1)
