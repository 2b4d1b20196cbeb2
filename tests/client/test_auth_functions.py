"""`auth=` with a function or a middleware: called like any, and kept to the origin like a password."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import wherry
from wherry import BasicAuth

from .conftest import Peer, reply
from .test_authentication import BASIC, sent


def by_key(request: wherry.ClientRequest) -> None:
    request.headers["X-Key"] = f"k {request.method} {request.url.path}"


async def later(request: wherry.ClientRequest) -> wherry.ClientRequest:
    await asyncio.sleep(0)
    by_key(request)
    return request


class Key:
    """As requests' own kind: an object that is called, and gives the request back."""

    def __call__(self, request: wherry.ClientRequest) -> wherry.ClientRequest:
        by_key(request)
        return request


async def as_middleware(
    request: wherry.ClientRequest, handler: wherry.ClientHandlerType
) -> wherry.ClientResponse:
    by_key(request)
    return await handler(request)


def keys(server: Peer) -> list[str | None]:
    return [asked.headers.get("X-Key") for asked in server.asked]


@pytest.mark.parametrize("auth", [by_key, later, Key(), as_middleware])
@pytest.mark.parametrize("where", ["request", "session"])
async def test_a_function_writes_the_credentials(
    peer: Any, session: Any, auth: Any, where: str
) -> None:
    server: Peer = await peer()
    client = session(auth=auth if where == "session" else None)
    assert client.auth is (auth if where == "session" else None)
    said = {"auth": auth} if where == "request" else {}
    for _ in range(2):
        async with client.post(server.url("/a"), json=[], **said):
            pass
    assert keys(server) == ["k POST /a", "k POST /a"]
    assert [asked.body for asked in server.asked] == [b"[]", b"[]"]


async def test_a_requests_credentials_take_the_place_of_the_sessions(
    peer: Any, session: Any
) -> None:
    server: Peer = await peer()
    client = session(auth=by_key)
    async with client.get(server.url(), auth=BasicAuth("me", "mine")):
        pass
    async with session(auth=BasicAuth("me", "mine")).get(server.url(), auth=by_key):
        pass
    assert sent(server) == [BASIC, None]
    assert keys(server) == [None, "k GET /"]


@pytest.mark.parametrize("where", ["request", "session"])
@pytest.mark.parametrize("auth", [later, as_middleware])
async def test_a_function_is_not_called_for_another_origin_nor_back_from_there(
    peer: Any, session: Any, where: str, auth: Any
) -> None:
    """As Basic authentication, for the rest of the chain."""
    other: Peer = await peer()
    server: Peer = await peer()
    ways = {
        "/": reply(302, "", {"Location": "/on"}),
        "/on": reply(307, "", {"Location": other.url("/x")}),
        "/end": reply(),
    }
    server.answer = lambda asked: ways[asked.target]
    other.answer = lambda _: reply(302, "", {"Location": server.url("/end")})
    client = session(auth=auth if where == "session" else None)
    async with client.get(server.url(), **({"auth": auth} if where == "request" else {})):
        pass
    assert keys(server) == ["k GET /", "k GET /on", None]
    assert keys(other) == [None]


async def test_a_sessions_function_is_for_the_origin_of_its_base_url(
    peer: Any, session: Any
) -> None:
    server, other = await peer(), await peer()
    client = session(base_url=server.url(), auth=by_key)
    async with client.get("a"), client.get(other.url()):
        pass
    assert keys(server) == ["k GET /a"]
    assert keys(other) == [None]
    # Nor does a path that turns out to be a host take the request's own along.
    async with session(base_url=server.url()).get(f"//127.0.0.1:{other.port}/", auth=by_key):
        pass
    assert keys(other) == [None, None]


async def test_what_a_function_writes_is_seen_by_middlewares(peer: Any, session: Any) -> None:
    """So that a cache keeps the answers of two users apart."""
    server: Peer = await peer(
        lambda asked: reply(
            200, asked.headers["Authorization"], {"Cache-Control": "private, max-age=60"}
        )
    )
    client = session(middlewares=(wherry.CacheMiddleware(wherry.MemoryCacheStorage()),))
    for user in ("ann", "bob", "ann"):
        async with client.get(server.url(), auth=wherry.BearerToken(user)) as response:
            assert await response.text() == f"Bearer {user}"
    assert sent(server) == ["Bearer ann", "Bearer bob"]


async def test_a_middleware_as_auth_may_ask_twice(wherry_server: Any, session: Any) -> None:
    digest = wherry.DigestAuthMiddleware("ann", "secret")
    url = wherry_server.url("/digest-auth/auth/ann/secret/SHA-256")
    async with session().get(url, auth=digest) as response:
        assert response.status == 200


async def test_a_function_writes_the_credentials_of_a_handshake(
    wherry_server: Any, session: Any
) -> None:
    seen: list[str] = []
    url = wherry_server.url("/ws/echo", scheme="ws")
    async with session().ws_connect(url, auth=lambda request: seen.append(request.method)):
        pass
    assert seen == ["GET"]


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        (Key, "auth=Key is a class: give an object"),
        (("me", "mine"), "BasicAuth\\(login, password\\); or a function"),
        (lambda: None, "is called with \\(request\\), or"),
        (lambda a, b, c: None, "is called with \\(request\\), or"),
        (lambda _: "Bearer t", "returns nothing or the same, not str"),
    ],
)
async def test_credentials_that_are_none_say_what_would_be(
    peer: Any, session: Any, auth: Any, message: str
) -> None:
    server: Peer = await peer()
    with pytest.raises(TypeError, match=message):
        await session().get(server.url(), auth=auth)
    with pytest.raises(TypeError, match=message):
        await session(auth=auth).get(server.url())
    assert not server.asked


async def test_a_function_beside_other_credentials_is_an_error(peer: Any, session: Any) -> None:
    server: Peer = await peer()
    with pytest.raises(ValueError, match="Cannot combine AUTH"):
        await session().get(server.url(user="me:mine"), auth=by_key)
    assert not server.asked
