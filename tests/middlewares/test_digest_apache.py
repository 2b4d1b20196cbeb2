"""DigestAuthMiddleware against Apache httpd's mod_auth_digest."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from tests.servers.apache import Apache
from yarl import URL

import wherry
from wherry import BasicAuth, DigestAuthMiddleware


@pytest.fixture
def guarded(apache: Apache) -> URL:
    return URL(f"http://127.0.0.1:{apache.port}/digest/index.txt")


@pytest.mark.parametrize("folder", ["digest", "once"])
async def test_apache_takes_our_answers(apache: Apache, session: Any, folder: str) -> None:
    """S001-13, S001-14"""
    url = URL(f"http://127.0.0.1:{apache.port}/{folder}/index.txt")
    client = session(middlewares=(DigestAuthMiddleware(apache.user, apache.password),))
    for query in ("", "?a=b&c=%2F%22+d", "?;=%3F&&"):
        async with client.get(URL(f"{url}{query}", encoded=True)) as response:
            assert (response.status, await response.text()) == (200, "guarded\n")
    async with client.post(url, data=b"a body") as response:
        assert response.status != 401


async def test_one_challenge_serves_many_requests(
    apache: Apache, session: Any, guarded: URL
) -> None:
    tries: list[int] = []

    async def count(request: Any, handler: Any) -> Any:
        response = await handler(request)
        tries.append(response.status)
        return response

    client = session(middlewares=(DigestAuthMiddleware(apache.user, apache.password), count))
    async with client.get(guarded):
        pass

    async def get() -> int:
        async with client.get(guarded) as response:
            return response.status

    assert set(await asyncio.gather(*(get() for _ in range(20)))) == {200}
    assert tries == [401] + [200] * 21


async def test_a_nonce_that_has_ended_is_renewed(apache: Apache, session: Any) -> None:
    """The kept nonce is made another: Apache, which writes the time into its nonces, says
    stale=true.
    """
    url = URL(f"http://127.0.0.1:{apache.port}/once/index.txt")
    digest = DigestAuthMiddleware(apache.user, apache.password)
    client = session(middlewares=(digest,))
    async with client.get(url) as response:
        assert response.status == 200
    ((origin, challenge),) = digest._challenges.items()
    digest._challenges[origin] = challenge._replace(nonce=challenge.nonce[:-1] + "!")
    told: list[Any] = []

    async def watch(request: Any, handler: Any) -> Any:
        response = await handler(request)
        told.append((response.status, "stale=true" in response.headers.get("WWW-Authenticate", "")))
        return response

    async with client.get(url, middlewares=(digest, watch)) as response:
        assert response.status == 200
    assert told == [(401, True), (200, False)]


async def test_a_name_in_utf_8(apache: Apache, session: Any, guarded: URL) -> None:
    client = session(middlewares=(DigestAuthMiddleware(apache.name, apache.password),))
    async with client.get(guarded) as response:
        assert (response.status, await response.text()) == (200, "guarded\n")


async def test_apache_refuses_a_wrong_password(apache: Apache, session: Any, guarded: URL) -> None:
    """S001-18"""
    client = session(middlewares=(DigestAuthMiddleware(apache.user, "wrong"),))
    async with client.get(guarded) as response:
        assert response.status == 401
    async with session(auth=BasicAuth(apache.user, apache.password.replace(":", ""))).get(
        guarded
    ) as response:
        assert response.status == 401


async def test_over_tls_and_http_2(apache: Apache, ca: Any) -> None:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    digest = DigestAuthMiddleware(apache.user, apache.password)
    async with (
        wherry.ClientSession(
            connector=wherry.TCPConnector(ssl=context), middlewares=(digest,)
        ) as client,
        client.get(f"https://localhost:{apache.tls}/digest/index.txt") as response,
    ):
        assert (response.status, await response.text()) == (200, "guarded\n")
