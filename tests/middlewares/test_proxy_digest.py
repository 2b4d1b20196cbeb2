"""ProxyDigestAuthMiddleware: a scripted proxy that checks every answer, and squid's own Digest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from tests.client.conftest import Asked, Peer, Reply, reply
from tests.middlewares.test_digest import Guard
from tests.servers.origin import running_origin
from tests.servers.pki import Pki
from tests.servers.process import needed
from tests.servers.proxies import DIGEST_HELPER, PLAIN_PASSWORD, USER, ProxyFarm

import wherry
from wherry import ClientError, ClientSession, ProxyDigestAuthMiddleware


class GuardedProxy(Guard):
    """Demands Digest as a proxy does, and answers for the origin itself."""

    def __call__(self, asked: Asked) -> Reply:
        fields = CIMultiDict(asked.headers)
        fields["Authorization"] = fields.pop("Proxy-Authorization", "")
        status, pairs, body = super().__call__(asked._replace(headers=fields))
        if status == 401:
            return 407, [("Proxy-Authenticate", value) for _, value in pairs], body
        return status, [], body


def digest() -> ProxyDigestAuthMiddleware:
    return ProxyDigestAuthMiddleware("user", "secret")


@pytest.mark.parametrize("qop", ["auth", "auth-int", ""])
async def test_a_forwarding_proxy_is_answered(peer: Any, session: Any, qop: str) -> None:
    guard = GuardedProxy("SHA-256", qop)
    proxy: Peer = await peer(guard)
    client = session(proxy=proxy.url(), middlewares=(digest(),))
    async with client.post("http://far.test/a%20b?c=%2F", data=b"the body") as response:
        assert (response.status, await response.read()) == (200, b"welcome the body")
    for number in range(2):
        async with client.get(f"http://other.test:81/{number}") as response:
            assert response.status == 200
    assert guard.schemes == ["", "Digest", "Digest", "Digest"]
    assert not any("Authorization" in asked.headers for asked in proxy.asked)


async def test_wrong_credentials_end_with_the_407(peer: Any, session: Any) -> None:
    guard = GuardedProxy()
    proxy: Peer = await peer(guard)
    client = session(proxy=proxy.url(), middlewares=(ProxyDigestAuthMiddleware("user", "wrong"),))
    async with client.get("http://far.test/") as response:
        assert response.status == 407
    assert guard.schemes == ["", "Digest"]


async def test_a_nonce_that_has_ended_is_renewed(peer: Any, session: Any) -> None:
    guard = GuardedProxy()
    proxy: Peer = await peer(guard)
    client = session(proxy=proxy.url(), middlewares=(digest(),))
    for _ in range(2):
        async with client.get("http://far.test/") as response:
            assert response.status == 200
        guard.valid.clear()
    assert guard.schemes == ["", "Digest", "Digest", "Digest"]


async def test_no_other_proxy_and_no_origin_sees_an_answer(peer: Any, session: Any) -> None:
    home, other, origin = GuardedProxy(), GuardedProxy(), GuardedProxy()
    at_home, elsewhere, there = [await peer(guard) for guard in (home, other, origin)]
    client = session(middlewares=(digest(),))
    async with client.get("http://far.test/", proxy=at_home.url()) as response:
        assert response.status == 200
    async with client.get("http://far.test/", proxy=elsewhere.url()) as response:
        assert response.status == 407
    # Without a proxy a 407 is the origin's own affair.
    async with client.get(there.url()) as response:
        assert response.status == 407
    assert (other.schemes, origin.schemes) == ([""], [""])


async def test_a_proxy_with_credentials_of_its_own_is_left_alone(peer: Any, session: Any) -> None:
    guard = GuardedProxy()
    proxy: Peer = await peer(guard)
    client = session(middlewares=(digest(),))
    async with client.get("http://far.test/", proxy=proxy.url(user="ann:pass")) as response:
        assert response.status == 407
    assert guard.schemes == ["Basic"]


async def test_a_body_that_is_used_up_cannot_be_sent_again(peer: Any, session: Any) -> None:
    async def pieces() -> Any:
        yield b"once"

    proxy: Peer = await peer(GuardedProxy())
    client = session(proxy=proxy.url(), middlewares=(digest(),))
    with pytest.raises(ClientError, match="cannot be sent again"):
        await client.post("http://far.test/", data=pieces())


async def test_the_name_and_the_password_are_checked() -> None:
    for login, password in ((None, "x"), ("x", None), ("a:b", "x")):
        with pytest.raises(ValueError, match="not allowed"):
            ProxyDigestAuthMiddleware(login, password)
    assert "secret" not in repr(digest())


async def test_squid_takes_our_answers(proxies: ProxyFarm, peer: Any) -> None:
    needed("squid's digest_file_auth", DIGEST_HELPER if Path(DIGEST_HELPER).exists() else None)
    origin: Peer = await peer(lambda asked: reply(200, asked.target))
    tries: list[int] = []

    async def count(request: Any, handler: Any) -> Any:
        response = await handler(request)
        tries.append(response.status)
        return response

    way = f"http://127.0.0.1:{proxies.squid_auth.port}"
    user = ProxyDigestAuthMiddleware(USER, PLAIN_PASSWORD)
    async with ClientSession(proxy=way, middlewares=(user, count)) as client:
        async with client.get(origin.url("/first?a=b")) as response:
            assert (response.status, await response.text()) == (200, "/first?a=b")

        async def get(number: int) -> int:
            async with client.put(origin.url(f"/{number}"), data=b"body") as response:
                return response.status

        assert set(await asyncio.gather(*(get(number) for number in range(10)))) == {200}
    assert tries == [407] + [200] * 11
    assert not any("Proxy-Authorization" in asked.headers for asked in origin.asked)


@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_squid_opens_tunnels_for_our_answers(
    proxies: ProxyFarm, pki: Pki, scheme: str
) -> None:
    needed("squid's digest_file_auth", DIGEST_HELPER if Path(DIGEST_HELPER).exists() else None)
    way = f"http://127.0.0.1:{proxies.squid_auth.port}"
    user = ProxyDigestAuthMiddleware(USER, PLAIN_PASSWORD)
    async with running_origin(pki.server) as origin:
        connector = wherry.TCPConnector(ssl=pki.client())
        async with ClientSession(proxy=way, middlewares=(user,), connector=connector) as client:

            async def talk() -> None:
                if scheme == "wss":
                    async with client.ws_connect(origin.url("wss", "/")) as socket:
                        await socket.send_str("x")
                        assert await socket.receive_str() == "echo x"
                    return
                async with client.put(origin.url("https", "/a"), data="body") as response:
                    assert (await response.json())["secure"] is True

            await talk()
            await asyncio.gather(*(talk() for _ in range(5)))
        assert not any(name.startswith("proxy-") for fields in origin.requests for name in fields)
        connector = wherry.TCPConnector(ssl=pki.client())
        wrong = ProxyDigestAuthMiddleware(USER, "wrong")
        async with ClientSession(proxy=way, middlewares=(wrong,), connector=connector) as client:
            for _ in range(2):
                with pytest.raises(wherry.ClientHttpProxyError) as caught:
                    await client.get(origin.url("https", "/a"))
                assert caught.value.status == 407


async def test_a_tunnel_is_asked_for_with_the_answer(raw_server: Any) -> None:
    """The answer names CONNECT and its target, counts each use of a nonce, and goes to this proxy
    alone.
    """
    guard = GuardedProxy()
    heads: list[Asked] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = CIMultiDict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        asked = Asked("CONNECT", head.split(" ")[1], fields, b"")
        heads.append(asked)
        status, pairs, _ = guard(asked)
        lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())
        writer.close()

    server, other = await raw_server(script), await raw_server(script)
    middleware = digest()
    async with ClientSession(middlewares=(middleware,)) as client:
        for proxy in (server, server, other):
            with pytest.raises(wherry.ClientError):  # the tunnel leads nowhere, or was refused
                await client.get("https://far.test:444/", proxy=proxy.url)
    assert [asked.target for asked in heads] == ["far.test:444"] * 4
    assert guard.schemes == ["", "Digest", "Digest", ""]
    assert len(guard.counts) == 2  # both answers were good, and neither was a replay
