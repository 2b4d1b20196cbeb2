"""The snippets and sentences of "Client Middleware", each under its own name."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import logging
from typing import Any

import pytest
from yarl import URL

import wherry
from wherry import (
    BytesPayload,
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
    ServerDisconnectedError,
)

from .conftest import Asked, Peer, Reply, reply

_LOGGER = logging.getLogger(__name__)


async def test_an_async_function_is_a_middleware(peer: Any, session: Any) -> None:
    """S001-30"""
    server: Peer = await peer()

    async def my_middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        request.headers["X-Mine"] = "1"
        response = await handler(request)
        assert isinstance(response, ClientResponse)
        return response

    typed: ClientMiddlewareType = my_middleware
    async with session(middlewares=(typed,)).get(server.url()) as resp:
        assert resp.status == 200
    assert server.asked[0].headers["X-Mine"] == "1"


async def test_a_callable_object_is_a_middleware(peer: Any, session: Any) -> None:
    """S001-31"""
    server: Peer = await peer()

    class Counter:
        calls = 0

        async def __call__(
            self, request: ClientRequest, handler: ClientHandlerType
        ) -> ClientResponse:
            self.calls += 1
            return await handler(request)

    counter = Counter()
    async with session(middlewares=[counter]).get(server.url()):
        pass
    assert counter.calls == 1


def named(name: str, log: list[str]) -> ClientMiddlewareType:
    async def middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        log.append(f"enter {name}")
        try:
            return await handler(request)
        finally:
            log.append(f"exit {name}")

    return middleware


async def test_session_middlewares_meet_every_request(peer: Any, session: Any) -> None:
    """S001-32"""
    server: Peer = await peer()
    log: list[str] = []
    client = session(middlewares=(named("s", log),))
    for _ in range(2):
        async with client.get(server.url()):
            pass
    assert log == ["enter s", "exit s"] * 2


async def test_request_middlewares_meet_that_request_only(peer: Any, session: Any) -> None:
    """S001-33: and they take the place of the session's."""
    server: Peer = await peer()
    log: list[str] = []
    client = session(middlewares=(named("s", log),))
    async with client.get(server.url(), middlewares=(named("r", log),)), client.get(server.url()):
        pass
    assert log == ["enter r", "exit r", "enter s", "exit s"]


async def test_the_order_is_that_of_an_onion(peer: Any, session: Any) -> None:
    """S001-34, S001-35"""
    log: list[str] = []

    def answer(_: Asked) -> Reply:
        log.append("request")
        return reply()

    server: Peer = await peer(answer)
    async with session(middlewares=(named("1", log), named("2", log))).get(server.url()):
        pass
    assert log == ["enter 1", "enter 2", "request", "exit 2", "exit 1"]


async def test_they_run_on_each_retry_of_the_client_with_a_fresh_request(
    peer: Any, session: Any
) -> None:
    """S001-36, S001-37"""
    seen: list[str | None] = []

    def answer(_: Asked) -> Reply:
        return reply(0) if len(server.asked) == 2 else reply()

    server: Peer = await peer(answer)

    async def mark(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        seen.append(request.headers.get("X-Mark"))
        request.headers["X-Mark"] = "set"
        return await handler(request)

    client = session(middlewares=(mark,))
    for _ in range(2):  # the second finds that the kept connection is dead, and is sent again
        async with client.get(server.url()):
            pass
    assert len(server.asked) == 3
    assert seen == [None, None, None]


async def test_they_run_on_each_hop_of_a_redirect(peer: Any, session: Any) -> None:
    server: Peer = await peer(
        lambda asked: reply(302, "", {"Location": "/end"}) if asked.target == "/" else reply()
    )
    seen: list[str] = []

    async def watch(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        seen.append(request.url.path)
        return await handler(request)

    async with session(middlewares=(watch,)).get(server.url()):
        pass
    assert seen == ["/", "/end"]


async def auth_retry_middleware(
    request: ClientRequest, handler: ClientHandlerType
) -> ClientResponse:
    # Try up to 3 authentication methods
    for attempt in range(3):
        if attempt == 0:
            # First attempt: use API key
            request.headers["X-API-Key"] = "my-api-key"
        elif attempt == 1:
            # Second attempt: use Bearer token
            request.headers["Authorization"] = "Bearer fallback-token"
        else:
            # Third attempt: use hash-based signature
            secret_key = "my-secret-key"
            url_path = str(request.url.path)
            signature = hashlib.sha256(f"{url_path}{secret_key}".encode()).hexdigest()
            request.headers["X-Signature"] = signature

        # Send the request
        response = await handler(request)

        # If successful or not an auth error, return immediately
        if response.status != 401:
            return response

    # Return the last response if all retries are exhausted
    return response


@pytest.mark.parametrize("accepted", [1, 2, 3, 4])
async def test_the_bounded_for_loop_tries_three_ways(
    peer: Any, session: Any, accepted: int
) -> None:
    """S001-38, S001-39"""
    server: Peer = await peer(
        lambda _: reply(200 if len(server.asked) >= accepted else 401, "who?")
    )
    async with session(middlewares=(auth_retry_middleware,)).get(server.url("/path")) as resp:
        assert resp.status == (200 if accepted < 4 else 401)
        assert await resp.text() == "who?"
    signature = hashlib.sha256(b"/pathmy-secret-key").hexdigest()
    fields = [
        ("X-API-Key", "my-api-key"),
        ("Authorization", "Bearer fallback-token"),
        ("X-Signature", signature),
    ]
    for number, asked in enumerate(server.asked):
        assert [asked.headers.get(name) for name, _ in fields] == [
            value if place <= number else None for place, (_, value) in enumerate(fields)
        ]
    assert len(server.asked) == min(accepted, 3)


class RetryMiddleware:
    def __init__(self, max_retries: int = 3):
        self.max_retries = max_retries

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        retry_count = 0

        # Always have clear exit conditions
        while retry_count <= self.max_retries:
            # Send the request
            response = await handler(request)

            # Exit conditions
            if 200 <= response.status < 400 or retry_count >= self.max_retries:
                return response

            # Retry logic for different status codes
            if response.status in (401, 429, 500, 502, 503, 504):
                retry_count += 1
                _LOGGER.debug(f"Retrying request (attempt {retry_count}/{self.max_retries})")  # noqa: G004
                continue

            # For any other status code, don't retry
            return response

        # Safety return (should never reach here)
        return response


@pytest.mark.parametrize(
    ("status", "tries"),
    [*((code, 4) for code in (401, 429, 500, 502, 503, 504)), (404, 1), (403, 1), (200, 1)],
)
async def test_the_while_loop_retries_some_statuses(
    peer: Any, session: Any, status: int, tries: int
) -> None:
    """S001-40, S001-41, S001-42"""
    server: Peer = await peer(lambda _: reply(status, "the last"))
    async with session(middlewares=(RetryMiddleware(),)).get(server.url()) as resp:
        assert (resp.status, await resp.text()) == (status, "the last")
    assert len(server.asked) == tries


async def test_dropped_responses_do_not_hold_the_pool(peer: Any, session: Any) -> None:
    """S001-43: bodies far beyond any buffer, and room for one connection."""
    server: Peer = await peer(
        lambda _: reply(503 if len(server.asked) < 3 else 200, b"x" * 1_000_000)
    )
    client = session(limit=1, middlewares=(RetryMiddleware(),))
    async with client.get(server.url()) as resp:
        assert len(await resp.read()) == 1_000_000
    assert len(server.asked) == 3


async def test_a_response_that_was_read_survives_the_next_try(peer: Any, session: Any) -> None:
    server: Peer = await peer(lambda _: reply(200, b"%d" % len(server.asked) * 100_000))
    kept: list[ClientResponse] = []

    async def twice(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        first = await handler(request)
        await first.read()
        kept.append(first)
        return await handler(request)

    async with session(limit=1, middlewares=(twice,)).get(server.url()) as resp:
        assert (await resp.read())[:1] == b"2"
    assert (await kept[0].read())[:1] == b"1"


async def test_parallel_tries_do_not_disturb_one_another(peer: Any, session: Any) -> None:
    server: Peer = await peer(lambda _: reply(200, b"y" * 200_000))
    other: list[ClientResponse] = []

    async def both(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        first, second = await asyncio.gather(handler(request), handler(request))
        other.append(second)
        return first

    async with session(middlewares=(both,)).get(server.url()) as resp:
        assert len(await resp.read()) == len(await other[0].read()) == 200_000


async def content_type_middleware(
    request: ClientRequest, handler: ClientHandlerType
) -> ClientResponse:
    # Examine URL path to determine content-type
    if request.url.path.endswith(".json"):
        request.headers["Content-Type"] = "application/json"
    elif request.url.path.endswith(".xml"):
        request.headers["Content-Type"] = "application/xml"

    # Add custom headers based on HTTP method
    if request.method == "POST":
        request.headers["X-Request-ID"] = f"post-{id(request)}"

    return await handler(request)


async def test_headers_are_changed_by_path_and_method(peer: Any, session: Any) -> None:
    """S001-44"""
    server: Peer = await peer()
    client = session(middlewares=(content_type_middleware,))
    async with (
        client.get(server.url("/a.json")),
        client.get(server.url("/a.xml")),
        client.get(server.url("/a")),
    ):
        pass
    async with client.post(server.url("/a.json"), data=b"{}"):
        pass
    types = [asked.headers.get("Content-Type") for asked in server.asked]
    assert types == ["application/json", "application/xml", None, "application/json"]
    assert [asked.headers.get("X-Request-ID", "")[:5] for asked in server.asked] == [
        "",
        "",
        "",
        "post-",
    ]
    assert server.asked[3].headers.getall("Content-Type") == ["application/json"]


async def test_an_inner_request_without_middlewares(peer: Any, session: Any) -> None:
    """S001-45"""
    server: Peer = await peer()
    logs: Peer = await peer()

    async def log_middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        async with request.session.post(
            logs.url("/log", host="logapi.example"),
            json={"url": str(request.url)},
            middlewares=(),  # This prevents infinite recursion
        ) as resp:
            assert resp.status == 200

        return await handler(request)

    async with session(middlewares=(log_middleware,)).get(server.url("/x")):
        pass
    assert [asked.body for asked in logs.asked] == [b'{"url": "%b"}' % server.url("/x").encode()]
    assert len(server.asked) == 1


async def test_a_check_of_the_host_prevents_recursion(peer: Any, session: Any) -> None:
    """S001-46"""
    server: Peer = await peer()
    logs: Peer = await peer()

    async def log_middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if request.url.host != "logapi.example":  # Avoid infinite recursion
            async with request.session.post(
                logs.url("/log", host="logapi.example"), json={"url": str(request.url)}
            ) as resp:
                assert resp.status == 200

        return await handler(request)

    async with session(middlewares=(log_middleware,)).get(server.url("/x")):
        pass
    assert (len(server.asked), len(logs.asked)) == (1, 1)


async def test_without_either_it_meets_its_own_requests(peer: Any, session: Any) -> None:
    """S001-47"""
    server: Peer = await peer()
    depth = 0

    async def recursive(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        nonlocal depth
        depth += 1
        if depth < 5:
            async with request.session.get(server.url("/inner")):
                pass
        return await handler(request)

    async with session(middlewares=(recursive,)).get(server.url()):
        pass
    assert depth == 5
    assert len(server.asked) == 5


# --- what a middleware may do besides -------------------------------------------------------------


async def test_url_method_and_body_may_be_changed(peer: Any, session: Any) -> None:
    server: Peer = await peer()

    async def change(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        request.method = "PUT"
        request.url = request.url.with_path("/other").with_query(a="b")
        await request.update_body(b"another body")
        return await handler(request)

    async with session(middlewares=(change,)).post(server.url(), json={"a": 1}):
        pass
    asked = server.asked[0]
    assert (asked.method, asked.target, asked.body) == ("PUT", "/other?a=b", b"another body")
    assert asked.headers["Content-Length"] == "12"
    assert asked.headers.getall("Content-Type") == ["application/json"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{}", "application/json"),
        ("{}", "application/json"),
        (io.BytesIO(b"{}"), "application/json"),
        ({"a": "b"}, "application/x-www-form-urlencoded"),
        (wherry.FormData({"a": "b"}), "application/x-www-form-urlencoded"),
        (BytesPayload(b"{}", content_type="text/x"), "text/x"),
        (None, None),
    ],
)
async def test_another_body_keeps_the_type_unless_it_says_its_own(
    peer: Any, session: Any, body: Any, told: str | None
) -> None:
    """A middleware that wraps or signs JSON sends JSON, as with aiohttp; a form or a payload says
    what it is.
    """
    server: Peer = await peer()

    async def change(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        await request.update_body(body)
        return await handler(request)

    async with session(middlewares=(change,)).post(server.url(), json={"a": 1}):
        pass
    assert server.asked[0].headers.getall("Content-Type", []) == ([told] if told else [])


async def test_another_host_takes_its_own_route_and_name(peer: Any, session: Any) -> None:
    server, other = await peer(), await peer()

    async def elsewhere(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        assert request.headers["Host"]
        request.url = URL(other.url("/there", host="b.test"))
        return await handler(request)

    async with session(middlewares=(elsewhere,)).get(server.url()):
        pass
    assert not server.asked
    assert other.asked[0].headers.getall("Host") == [f"b.test:{other.port}"]


async def test_a_middleware_may_answer_by_itself(session: Any) -> None:
    async def canned(request: ClientRequest, _: ClientHandlerType) -> ClientResponse:
        return ClientResponse.from_parts(
            request, 200, "OK", ((b"Content-Type", b"application/json"),), b'{"a": 1}'
        )

    async with session(middlewares=(canned,)).get("http://nowhere.invalid/") as resp:
        assert await resp.json() == {"a": 1}
        assert resp.closed
        assert resp.url == URL("http://nowhere.invalid/")


async def test_errors_and_cancelling_pass_through(peer: Any, session: Any) -> None:
    log: list[str] = []
    server: Peer = await peer(lambda _: reply(0))
    with pytest.raises(ServerDisconnectedError):
        await session(middlewares=(named("a", log),)).get(server.url())
    assert log == ["enter a", "exit a"]

    async def refuse(_: ClientRequest, __: ClientHandlerType) -> ClientResponse:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await session(middlewares=(refuse,)).get(server.url())

    reached = asyncio.Event()

    async def silent(_: Asked) -> Reply:
        reached.set()
        await asyncio.Event().wait()
        return reply()

    slow: Peer = await peer(silent)
    log.clear()
    client = session(limit=1, middlewares=(named("a", log),))
    task = asyncio.create_task(client.get(slow.url())._coro)
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["enter a", "exit a"]
    slow.answer = lambda _: reply()
    async with client.get(slow.url()) as resp:  # the place was given back
        assert resp.status == 200


async def test_a_response_that_nobody_keeps_gives_its_place_back(peer: Any, session: Any) -> None:
    server: Peer = await peer(lambda _: reply(200, b"z" * 500_000))

    async def drop(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        await handler(request)
        gc.collect()
        return ClientResponse.from_parts(request, 204, "No Content", ())

    client = session(limit=1, middlewares=(drop,))
    for _ in range(2):
        async with client.get(server.url()) as resp:
            assert resp.status == 204


def test_the_types_are_offered() -> None:
    """S001-30"""
    for name in (
        "ClientHandlerType",
        "ClientMiddlewareType",
        "ClientRequest",
        "DigestAuthMiddleware",
    ):
        assert name in wherry.__all__


async def test_a_middleware_that_changes_nothing_sends_what_is_sent_without_it(
    peer: Any, session: Any
) -> None:
    server: Peer = await peer()

    async def nothing(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        return await handler(request)

    async def look(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        assert request.headers["Host"]
        return await handler(request)

    for middlewares in ((), (nothing,), (look,), (nothing, look)):
        client = session(middlewares=middlewares, headers={"X-Default": "1"}, cookies={"a": "b"})
        for _ in range(3):
            async with client.get(server.url("/p?q=1", host="a.test")):
                pass
    assert len(server.asked) == 12
    assert all(
        list(asked.headers.items()) == list(server.asked[0].headers.items())
        for asked in server.asked
    )
    assert server.asked[0].headers["Cookie"] == "a=b"


@pytest.mark.parametrize("change", ["method", "url", "headers", "body", "ssl", "attribute"])
async def test_a_change_holds_for_one_request_only(peer: Any, session: Any, change: str) -> None:
    server: Peer = await peer()
    on = True

    async def sometimes(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if on:
            match change:
                case "method":
                    request.method = "DELETE"
                case "url":
                    request.url = request.url.with_path("/other")
                case "headers":
                    request.headers["X-More"] = "1"
                case "body":
                    await request.update_body(b"x")
                case "ssl":
                    request.ssl = False
                case "attribute":
                    request.chunked = None
        return await handler(request)

    client = session(middlewares=(sometimes,))
    for turn in range(4):
        on = turn % 2 == 0
        async with client.get(server.url("/")):
            pass
    first, second, *rest = server.asked
    assert rest == [first, second]
    assert (first != second) is (change not in {"ssl", "attribute"})
    assert (second.method, second.target, second.body) == ("GET", "/", b"")
