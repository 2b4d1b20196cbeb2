"""OAuth2ClientCredentials: one token for many, to nobody else."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.client.conftest import Asked, Peer, Reply, reply

from wherry import BasicAuth, ClientSession
from wherry.middlewares.oauth2 import OAuth2ClientCredentials, OAuth2Error
from wherry.testing import LocalServer


class Issuer:
    """A token endpoint."""

    def __init__(self, **answer: Any) -> None:
        self.issued = 0
        self.answer = {"token_type": "Bearer", "expires_in": 3600, **answer}
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, _: Asked) -> Reply:
        await self.gate.wait()
        self.issued += 1
        body = {"access_token": f"token-{self.issued}", **self.answer}
        if self.status != 200:
            body = {"error": "invalid_client", "error_description": "who are you"}
        return reply(self.status, json.dumps(body), {"Content-Type": "application/json"})


def bearer(server: Peer) -> list[str | None]:
    return [asked.headers.get("Authorization") for asked in server.asked]


async def test_the_token_is_fetched_once_and_kept(peer: Any, session: Any) -> None:
    issuer = Issuer()
    tokens, api = await peer(issuer), await peer()
    oauth = OAuth2ClientCredentials(
        tokens.url("/token"), "my:id", "se cret", scope=["a", "b"], extra={"audience": "x"}
    )
    client = session(middlewares=(oauth,))
    for _ in range(2):
        async with client.get(api.url()) as response:
            assert response.status == 200
    assert bearer(api) == ["Bearer token-1"] * 2
    (asked,) = tokens.asked
    assert asked.method == "POST"
    assert asked.headers["Authorization"] == BasicAuth("my%3Aid", "se+cret").encode()
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["a b"],
        "audience": ["x"],
    }


async def test_the_client_may_say_who_it_is_in_the_body(peer: Any, session: Any) -> None:
    tokens, api = await peer(Issuer()), await peer()
    oauth = OAuth2ClientCredentials(tokens.url(), "id", "secret", auth_method="post")
    async with session(middlewares=(oauth,)).get(api.url()):
        pass
    assert "Authorization" not in tokens.asked[0].headers
    assert parse_qs(tokens.asked[0].body.decode())["client_secret"] == ["secret"]


async def test_many_waiters_share_one_fetch(peer: Any, session: Any) -> None:
    issuer = Issuer()
    issuer.gate.clear()
    tokens, api = await peer(issuer), await peer()
    client = session(middlewares=(OAuth2ClientCredentials(tokens.url(), "id", "secret"),))

    async def get() -> int:
        async with client.get(api.url()) as response:
            return response.status

    tasks = [asyncio.create_task(get()) for _ in range(20)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # who fetches for all may leave
    issuer.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1:] == [200] * 19
    assert issuer.issued <= 2
    assert len(set(bearer(api))) == 1


async def test_a_token_about_to_end_is_renewed(
    peer: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer(expires_in="100")
    tokens, api = await peer(issuer), await peer()
    oauth = OAuth2ClientCredentials(tokens.url(), "id", "secret", leeway=30)
    client = session(middlewares=(oauth,))
    async with client.get(api.url()):
        pass
    left = oauth._ends_at - asyncio.get_running_loop().time()
    assert 60 < left <= 70
    oauth._ends_at -= left
    async with client.get(api.url()):
        pass
    assert bearer(api) == ["Bearer token-1", "Bearer token-2"]


async def test_a_refused_token_is_renewed_once(peer: Any, session: Any) -> None:
    tokens = await peer(Issuer())
    api: Peer = await peer(
        lambda asked: reply(200 if asked.headers["Authorization"] == "Bearer token-2" else 401)
    )
    client = session(middlewares=(OAuth2ClientCredentials(tokens.url(), "id", "secret"),))
    async with client.post(api.url(), data=b"body") as response:
        assert response.status == 200
    assert [asked.body for asked in api.asked] == [b"body", b"body"]
    api.answer = lambda _: reply(401)
    async with client.get(api.url()) as response:
        assert response.status == 401
    assert len(api.asked) == 4


@pytest.mark.parametrize("refusal", [b"", b"no" * 10, b"x" * 300_000])
@pytest.mark.parametrize("renewal", ["works", "fails"])
async def test_a_renewal_needs_no_second_connection(
    peer: Any, session: Any, refusal: bytes, renewal: str
) -> None:
    """The token comes from the same server, over the one connection that its own 401 holds."""
    issuer = Issuer()

    async def answer(asked: Asked) -> Reply:
        if asked.target == "/token":
            if issuer.issued and renewal == "fails":
                issuer.status = 500
            return await issuer(asked)
        good = asked.headers["Authorization"] == "Bearer token-2"
        return reply(200, b"there") if good else reply(401, refusal)

    server: Peer = await peer(answer)
    oauth = OAuth2ClientCredentials(server.url("/token"), "id", "secret")
    client = session(limit=1, middlewares=(oauth,))
    async with asyncio.timeout(8):
        for _ in range(2):
            if renewal == "fails":
                with pytest.raises(OAuth2Error):
                    await client.get(server.url("/api"))
            else:
                async with client.get(server.url("/api")) as response:
                    assert await response.read() == b"there"
        async with client.get(server.url("/token"), middlewares=()) as response:
            assert response.status in (200, 500)  # nothing has leaked: there is room


def test_the_token_belongs_to_no_event_loop(wherry_server: LocalServer) -> None:
    """A second `asyncio.run` goes on with the same object, after a first in which many waited."""
    fetched = 0

    class Counted(OAuth2ClientCredentials):
        async def _fetch(self, session: Any) -> tuple[str, float]:
            nonlocal fetched
            fetched += 1
            await asyncio.sleep(0)
            return f"token-{fetched}", 3600.0

    oauth = Counted("http://127.0.0.1/token", "id", "secret")

    async def crowd(*, anew: bool) -> None:
        if anew:
            oauth._ends_at = 0.0
        async with ClientSession(middlewares=(oauth,)) as client:

            async def one() -> None:
                async with client.get(wherry_server.url("/get")) as response:
                    told = (await response.json())["headers"]
                    sent = {name.lower(): value for name, value in told.items()}
                    assert sent["authorization"] == f"Bearer token-{fetched}"

            await asyncio.gather(*(one() for _ in range(5)))

    for anew in (False, True, False, True):
        asyncio.run(crowd(anew=anew))
    assert fetched == 3


async def test_the_token_goes_to_its_origins_only(peer: Any, session: Any) -> None:
    tokens, thief = await peer(Issuer()), await peer()
    api: Peer = await peer(lambda _: reply(302, "", {"Location": thief.url()}))
    client = session(middlewares=(OAuth2ClientCredentials(tokens.url(), "id", "secret"),))
    async with client.get(api.url()) as response:
        assert response.status == 200
    assert bearer(thief) == [None]
    oauth = OAuth2ClientCredentials(
        tokens.url(), "id", "secret", origins=[api.url("/any"), thief.url()]
    )
    async with session(middlewares=(oauth,)).get(api.url()) as response:
        assert response.status == 200
    assert bearer(thief)[1:] == ["Bearer token-2"]


async def test_an_error_of_the_endpoint_is_clear_and_holds_no_secret(
    peer: Any, session: Any
) -> None:
    issuer = Issuer()
    issuer.status = 401
    tokens, api = await peer(issuer), await peer()
    client = session(middlewares=(OAuth2ClientCredentials(tokens.url(), "id", "s3cret"),))
    with pytest.raises(OAuth2Error, match="status 401, invalid_client who are you") as caught:
        await client.get(api.url())
    assert caught.value.error == "invalid_client"
    assert "s3cret" not in str(caught.value)
    assert not api.asked


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, "not json"),
        reply(200, "[]"),
        reply(200, '{"access_token": 5}'),
        reply(200, '{"access_token": "t", "token_type": "mac"}'),
        reply(302, "", {"Location": "http://127.0.0.1:1/"}),
        reply(500, "x" * 300_000),
        reply(200, '{"access_token": "' + "t" * 300_000 + '"}'),
    ],
)
async def test_what_is_no_token_is_an_error(peer: Any, session: Any, answer: Reply) -> None:
    tokens, api = await peer(lambda _: answer), await peer()
    client = session(middlewares=(OAuth2ClientCredentials(tokens.url(), "id", "secret"),))
    with pytest.raises(OAuth2Error):
        await client.get(api.url())


def test_a_secret_goes_to_no_plain_endpoint() -> None:
    with pytest.raises(ValueError, match="https"):
        OAuth2ClientCredentials("http://tokens.example/", "id", "secret")
    with pytest.raises(ValueError, match="auth_method"):
        OAuth2ClientCredentials("https://tokens.example/", "id", "secret", auth_method="jwt")
