"""BearerToken, ApiKey and IdempotencyKeys: to whom, how often, and what is shown of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.conftest import Asked, Peer, reply
from yarl import URL

import wherry
from wherry import RetryMiddleware
from wherry.middlewares.oauth2 import OAuth2ClientCredentials
from wherry.middlewares.tokens_and_keys import ApiKey, BearerToken, IdempotencyKeys

MINE = "Sesame"


@pytest.mark.parametrize("kind", ["text", "function", "coroutine function"])
async def test_a_bearer_token_is_sent_to_its_origin_alone(
    peer: Any, session: Any, kind: str
) -> None:
    thief: Peer = await peer()
    api: Peer = await peer(
        lambda asked: (
            reply(302, "", {"Location": thief.url("/")}) if asked.target == "/go" else reply()
        )
    )
    asked_for = 0

    def give() -> str:
        nonlocal asked_for
        asked_for += 1
        return MINE

    async def give_later() -> str:
        await asyncio.sleep(0)
        return give()

    source: Any = {"text": MINE, "function": give, "coroutine function": give_later}[kind]
    bearer = BearerToken(source)
    client = session(middlewares=(bearer,))
    for target in ("/", "/go", "/"):
        async with client.get(api.url(target)) as response:
            assert response.status == 200
    assert {asked.headers["Authorization"] for asked in api.asked} == {f"Bearer {MINE}"}
    assert "Authorization" not in thief.asked[0].headers
    assert asked_for == (kind != "text")
    assert MINE not in repr(bearer)


@pytest.mark.parametrize("size", [0, 300_000])
async def test_a_refused_token_is_asked_for_once_by_all(peer: Any, session: Any, size: int) -> None:
    """Over one connection: the refusal does not hold it."""
    tokens = iter(f"token-{number}" for number in range(100))
    api: Peer = await peer(
        lambda asked: reply(
            200 if asked.headers["Authorization"] == "Bearer token-1" else 401, b"x" * size
        )
    )
    client = session(limit=1, middlewares=(BearerToken(lambda: next(tokens)),))

    async def one() -> int:
        async with client.post(api.url(), data=b"body") as response:
            await response.read()
            return int(response.status)

    async with asyncio.timeout(9):
        assert await asyncio.gather(*(one() for _ in range(5))) == [200] * 5
    assert next(tokens) == "token-2"
    api.answer = lambda _: reply(401)
    async with client.get(api.url()) as response:
        assert response.status == 401


async def test_a_source_that_fails_leaks_nothing(peer: Any, session: Any) -> None:
    api: Peer = await peer(lambda _: reply(401, b"x" * 100_000))
    given: list[Any] = ["a", RuntimeError("no")]

    def give() -> Any:
        token = given.pop(0)
        if isinstance(token, Exception):
            raise token
        return token

    client = session(limit=1, middlewares=(BearerToken(give),))
    with pytest.raises(RuntimeError, match="no"):
        await client.get(api.url())
    for bad in ("", None, "a\nb", "\ud800"):
        given.append(bad)
        client = session(limit=1, middlewares=(BearerToken(give),))
        with pytest.raises((TypeError, ValueError)):
            await client.get(api.url())
    async with client.get(api.url(), middlewares=()) as response:
        assert response.status == 401


@pytest.mark.parametrize("where", [{"header": "X-Mine"}, {"query": "mine"}])
async def test_a_key_goes_where_it_belongs_and_is_not_shown(
    peer: Any, session: Any, where: dict[str, str]
) -> None:
    thief: Peer = await peer(lambda _: reply(404))
    api: Peer = await peer(
        lambda asked: (
            reply(302, "", {"Location": thief.url("/")}) if "go" in asked.target else reply(403)
        )
    )
    key = ApiKey(MINE, **where)  # type: ignore[arg-type]
    client = session(middlewares=(key,))
    async with client.get(api.url("/a?b=c")) as response:
        with pytest.raises(wherry.ClientResponseError) as caught:
            response.raise_for_status()
    for shown in (
        str(response.url),
        str(caught.value),
        repr(caught.value),
        repr(response),
        repr(key),
    ):
        assert MINE not in shown
    asked: Asked = api.asked[0]
    if "header" in where:
        assert (asked.headers["X-Mine"], asked.target) == (MINE, "/a?b=c")
    else:
        assert asked.target == f"/a?b=c&mine={MINE}"
    async with client.get(api.url("/go")) as response:
        assert response.status == 404
    assert "X-Mine" not in thief.asked[0].headers
    assert MINE not in thief.asked[0].target


def test_a_key_that_cannot_be_sent_is_refused() -> None:
    for options in ({}, {"header": "X", "query": "x"}):
        with pytest.raises(ValueError, match="header or into the query"):
            ApiKey(MINE, **options)
    with pytest.raises(ValueError, match="X"):
        ApiKey("a\r\nb", header="X")
    with pytest.raises(ValueError, match="not a token"):
        IdempotencyKeys(header="a b")


async def test_all_tries_of_a_request_have_one_key(peer: Any, session: Any) -> None:
    server: Peer = await peer(lambda _: reply(503))
    retry = RetryMiddleware(attempts=3, backoff=0, methods=("GET", "POST"))
    client = session(middlewares=(IdempotencyKeys(), retry))
    for _ in range(2):
        async with client.post(server.url(), data=b"x") as response:
            assert response.status == 503
    async with client.get(server.url()) as response:
        assert response.status == 503
    async with client.post(server.url(), headers={"Idempotency-Key": '"own"'}) as response:
        assert response.status == 503
    keys = [asked.headers.get("Idempotency-Key") for asked in server.asked]
    assert keys[0] == keys[1] == keys[2] != keys[3] == keys[4] == keys[5]
    assert keys[0] is not None
    assert keys[0].startswith('"')
    assert keys[6:9] == [None] * 3
    assert set(keys[9:]) == {'"own"'}


@pytest.mark.parametrize(
    "origins",
    ["https://api.example/v1", URL("https://API.example:443"), ["https://api.example"]],
)
def test_one_origin_is_one_and_not_its_letters(origins: Any) -> None:
    for made in (
        BearerToken(MINE, origins=origins),
        ApiKey(MINE, query="key", origins=origins),
        OAuth2ClientCredentials("https://t.example", "id", MINE, origins=origins),
    ):
        assert made._origins == {URL("https://api.example")}


def test_one_method_is_one_and_not_its_letters() -> None:
    assert IdempotencyKeys("post")._methods == {"POST"}
    assert IdempotencyKeys(["post", "Put"])._methods == {"POST", "PUT"}
