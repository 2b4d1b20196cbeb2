"""Requests through real proxies: every kind, with and without credentials, and chains; each hop's
log proves the way.

The table runs on asyncio's loop and on uvloop, with an origin in the clear and over TLS.
"""

from __future__ import annotations

import asyncio
import sys
from types import FrameType
from typing import Any

import psutil
import pytest
import uvloop
from tests.servers.http2 import SMALL, Http2Servers
from tests.servers.origin import Origin, running_origin
from tests.servers.pki import Pki
from tests.servers.proxies import PASSWORD, PLAIN_PASSWORD, USER, ProxyFarm, RealProxy

import wherry
from wherry import BasicAuth, ClientSession, TCPConnector
from wherry.connect.dns.resolver import AbstractResolver, ResolveResult

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
# They forward one plain request a connection.
CLOSES_EACH = {"tinyproxy", "tinyproxy-auth"}
TARGETS = ("http", "https", "ws", "wss")

# (name in the farm, scheme to speak)
OPEN = [
    ("tinyproxy", "http"),
    ("squid", "http"),
    ("haproxy", "https"),
    ("squid_tls", "https"),
    ("dante", "socks4"),
    ("ssh", "socks4a"),
    ("dante", "socks5"),
    ("dante", "socks5h"),
    ("microsocks", "socks5"),
    ("microsocks", "socks5h"),
]
GUARDED = [
    ("tinyproxy_auth", "http"),
    ("squid_auth", "http"),
    ("stunnel", "https"),
    ("squid_tls_auth", "https"),
    ("dante_auth", "socks5"),
    ("dante_auth", "socks5h"),
    ("microsocks_auth", "socks5"),
    ("microsocks_auth", "socks5h"),
]
CHAINS = [
    [("tinyproxy", "http"), ("microsocks", "socks5")],
    [("haproxy", "https"), ("squid_tls_auth", "https")],
    [("dante", "socks4"), ("tinyproxy_auth", "http")],
    [("microsocks_auth", "socks5h"), ("squid_tls_auth", "https"), ("tinyproxy_auth", "http")],
    [("squid_auth", "http"), ("stunnel", "https"), ("dante_auth", "socks5")],
    [("haproxy", "https"), ("squid_tls", "https"), ("dante", "socks4")],
]


def names(way: Any) -> str:
    return (
        "-".join(f"{name}:{scheme}" for name, scheme in way)
        if isinstance(way, list)
        else ":".join(way)
    )


async def talk(session: ClientSession, origin: Origin, scheme: str, proxy: Any) -> None:
    """Two exchanges with the origin; the answers are its own."""
    url = origin.url(scheme, "/a?b=1")
    if scheme in {"ws", "wss"}:
        for text in ("one", "two"):
            async with session.ws_connect(url, proxy=proxy) as socket:
                await socket.send_str(text)
                assert await socket.receive_str() == f"echo {text}"
        return
    for body in ("one", "two"):
        # tinyproxy closes after each answer and does not say so: PUT may be sent again.
        async with session.put(url, data=body, proxy=proxy) as response:
            assert response.status == 200, await response.text()
            answer = await response.json()
        assert answer == {
            "path": "/a?b=1",
            "method": "PUT",
            "body": body,
            "secure": scheme == "https",
        }


def go(loop: str, pki: Pki, hops: list[tuple[RealProxy, Any]], scheme: str) -> None:
    """Talk to an origin through `hops`, (proxy, what to write for it), and look at every log."""

    last = hops[-1][0].behind or hops[-1][0]

    async def main() -> int:
        async with running_origin(pki.server) as origin:
            connector = TCPConnector(ssl=pki.client())
            written = [way for _, way in hops]
            async with ClientSession(
                connector=connector, auth=BasicAuth("origin", "secret")
            ) as session:
                await talk(session, origin, scheme, written if len(written) > 1 else written[0])
                if scheme == "https" or (scheme == "http" and last.name not in CLOSES_EACH):
                    assert connector.stats().opened == 1, "the way is kept and taken again"
            assert not open_to(hops[0][0]), "a closed session leaves nothing open"
            assert len(origin.requests) == 2
            for fields in origin.requests:
                assert not [name for name in fields if name.startswith("proxy-")], fields
                assert fields["authorization"] == "Basic b3JpZ2luOnNlY3JldA=="
            return origin.tls_port if scheme in {"https", "wss"} else origin.plain_port

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        port = runner.run(main())
    ends = [proxy.port for proxy, _ in hops[1:]] + [port]
    for (proxy, _), end in zip(hops, ends, strict=True):
        if proxy.behind is not None:
            # TLS in front only carries bytes; that it was passed shows in its own log, whither in
            # the other's.
            proxy.assert_logs("127.0.0.1:")
        (proxy.behind or proxy).assert_logs(str(end))


each_way = pytest.mark.parametrize(
    ("loop", "scheme"),
    [
        *((loop, scheme) for loop in LOOPS for scheme in TARGETS),
        ("asyncio", "wss"),
        ("uvloop", "ws"),
    ],
)


@each_way
@pytest.mark.parametrize("kind", OPEN, ids=names)
def test_every_kind_of_proxy(
    proxies: ProxyFarm, pki: Pki, kind: tuple[str, str], scheme: str, loop: str
) -> None:
    """S000-04 to 06, S000-14, S000-16, S001-117, S001-118, S001-123, S001-129, S001-130,
    S001-132
    """
    proxy = proxies.get(*kind)
    go(loop, pki, [(proxy, proxy.url)], scheme)


@each_way
@pytest.mark.parametrize("kind", GUARDED, ids=names)
def test_every_kind_of_proxy_with_credentials(
    proxies: ProxyFarm, pki: Pki, kind: tuple[str, str], scheme: str, loop: str
) -> None:
    """S000-07 to 09, S000-17, S001-119, S001-120, S001-132: in the URL, or as a pair that wins."""
    proxy = proxies.get(*kind)
    assert proxy.credentials is not None
    user, password = proxy.credentials
    written: Any = proxy.url_with(proxy.credentials)
    if loop == "uvloop":
        written = (proxy.url_with(("nobody", "nothing")), BasicAuth(user, password, "utf-8"))
    go(loop, pki, [(proxy, written)], scheme)


@each_way
@pytest.mark.parametrize("chain", CHAINS, ids=names)
def test_chains_of_two_and_three(
    proxies: ProxyFarm, pki: Pki, chain: list[tuple[str, str]], scheme: str, loop: str
) -> None:
    """S000-10, S000-11, S000-15, S000-18, S000-19"""
    members = [proxies.get(*kind) for kind in chain]
    go(loop, pki, [(proxy, proxy.url_with(proxy.credentials)) for proxy in members], scheme)


async def test_the_session_has_a_default_proxy_and_a_request_overrides_it(
    proxies: ProxyFarm, pki: Pki
) -> None:
    """S001-121, S001-122: and the default's credentials stay with the default."""
    default, other = proxies.tinyproxy_auth, proxies.squid_auth
    auth = BasicAuth(USER, PLAIN_PASSWORD)
    async with running_origin(pki.server) as origin:
        url = origin.url("http")
        async with ClientSession(proxy=default.url, proxy_auth=auth) as session:
            async with session.get(url) as response:
                assert response.status == 200
            async with session.get(url, proxy=other.url) as response:
                assert response.status == 407
            async with session.get(url, proxy=other.url, proxy_auth=auth) as response:
                assert response.status == 200
        async with (
            ClientSession(proxy_auth=auth) as session,
            session.get(url, proxy=other.url) as response,
        ):
            assert response.status == 200
        async with (
            ClientSession(proxy=default.url) as session,
            session.get(url, proxy_auth=auth) as response,
        ):
            assert response.status == 200
        default.assert_logs(str(origin.plain_port))
        other.assert_logs(str(origin.plain_port))


@pytest.mark.parametrize(("name", "scheme"), GUARDED, ids=lambda value: value)
async def test_wrong_credentials(proxies: ProxyFarm, pki: Pki, name: str, scheme: str) -> None:
    """S000-17, S001-133: 407 for https, the 407 itself for http; SOCKS says no; and no error shows
    the password.
    """
    proxy = proxies.get(name, scheme)
    async with (
        running_origin(pki.server) as origin,
        ClientSession(connector=TCPConnector(ssl=pki.client())) as session,
    ):
        url = proxy.url_with(("user", "wr0ng-s3cret"))
        if scheme in {"http", "https"}:
            async with session.get(origin.url("http"), proxy=url) as response:
                # tinyproxy answers wrong credentials by 401, as it were an origin.
                assert response.status in {401, 407}
            with pytest.raises(wherry.ClientHttpProxyError) as caught:
                await session.get(origin.url("https"), proxy=url)
            assert caught.value.status in {401, 407}
        else:
            with pytest.raises(wherry.ClientProxyConnectionError) as caught:
                await session.get(origin.url("http"), proxy=url)
        assert proxy.url in str(caught.value)
        assert "wr0ng" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
        assert not origin.requests


async def test_an_origin_that_a_proxy_cannot_reach(proxies: ProxyFarm, pki: Pki) -> None:
    """S000-20: the error names the hop and what it said."""
    async with running_origin(pki.server) as origin:
        dead = origin.url("https")
    async with ClientSession() as session:
        for proxy, kind, reason in (
            (proxies.squid, wherry.ClientHttpProxyError, "503"),
            (proxies.dante, wherry.ClientProxyConnectionError, "refused"),
            (proxies.microsocks, wherry.ClientProxyConnectionError, "refused"),
        ):
            with pytest.raises(kind, match=reason) as caught:
                await session.get(dead, proxy=proxy.url)
            assert proxy.url in str(caught.value)


async def test_http_through_a_forwarding_proxy_shares_a_connection_across_origins(
    proxies: ProxyFarm, pki: Pki
) -> None:
    """S001-117: absolute form; and other credentials take another connection."""
    proxy = proxies.squid
    async with (
        running_origin(pki.server) as one,
        running_origin(pki.server) as two,
        ClientSession() as session,
    ):
        for origin in (one, two, one):
            async with session.get(origin.url("http"), proxy=proxy.url) as response:
                assert await response.json()
        assert session.connector.stats().opened == 1
        async with session.get(one.url("http"), proxy=proxy.url_with(("a", "b"))) as response:
            assert response.status == 200
        assert session.connector.stats().opened == 2
        proxy.assert_logs(f"GET http://127.0.0.1:{two.plain_port}/")


class OneName(AbstractResolver):
    """Knows `origin.test` and nothing else."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        if host != "origin.test":
            raise OSError(None, f"the client does not know {host}")
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


async def test_names_are_resolved_by_the_proxy_where_the_scheme_says(
    proxies: ProxyFarm, pki: Pki
) -> None:
    """S000-16, S001-117: `localhost` is known to the proxy, `origin.test` only to the client."""
    connector = TCPConnector(resolver=OneName(), ssl=pki.client())
    async with running_origin(pki.server) as origin, ClientSession(connector=connector) as session:
        for proxy in (proxies.ssh, proxies.get("dante", "socks5h")):
            async with session.get(
                origin.url("https", host="localhost"), proxy=proxy.url
            ) as response:
                assert response.status == 200
        for scheme in ("socks4", "socks5"):
            proxy = proxies.get("dante", scheme)
            async with session.get(
                origin.url("https", host="origin.test"), proxy=proxy.url
            ) as response:
                assert response.status == 200
            with pytest.raises(wherry.ClientProxyConnectionError, match="does not know localhost"):
                await session.get(origin.url("https", host="localhost"), proxy=proxy.url)
        async with session.get(
            origin.url("http", host="localhost"), proxy=proxies.squid.url
        ) as response:
            assert response.status == 200


async def test_contexts_of_proxy_and_origin_can_differ(proxies: ProxyFarm, pki: Pki) -> None:
    """S001-129 to 131: one context serves both, or `proxy_ssl=` has its own."""
    stranger = Pki()
    both = pki.client()
    stranger.authority.configure_trust(both)
    async with running_origin(stranger.server) as origin, ClientSession() as session:
        url = origin.url("https")
        for proxy in (proxies.squid_tls.url, proxies.haproxy.url):
            async with session.get(
                url, proxy=proxy, ssl=stranger.client(), proxy_ssl=pki.client()
            ) as response:
                assert response.status == 200
            async with session.get(url, proxy=proxy, ssl=both) as response:
                assert response.status == 200
            with pytest.raises(wherry.ClientProxyConnectionError, match="certificate"):
                await session.get(url, proxy=proxy, ssl=stranger.client())
            with pytest.raises(wherry.ClientConnectorCertificateError):
                await session.get(url, proxy=proxy, ssl=pki.client())
            with pytest.raises(wherry.ClientProxyConnectionError, match="certificate"):
                await session.get(origin.url("http"), proxy=proxy, ssl=stranger.client())


async def test_http2_through_tunnels(
    proxies: ProxyFarm, http2_servers: Http2Servers, pki: Pki
) -> None:
    """ALPN is the origin's matter, and a tunnel carries as many streams as it allows."""
    ways: list[Any] = [
        proxies.squid.url,
        proxies.squid_tls.url,
        proxies.get("dante", "socks5h").url,
    ]
    ways.append([proxies.haproxy.url, proxies.microsocks.url])
    for way in ways:
        connector = TCPConnector(ssl=pki.client(), protocols=("h2", "http/1.1"))
        async with ClientSession(connector=connector, proxy=way) as session:

            async def get(session: ClientSession = session) -> Any:
                async with session.get(
                    f"https://localhost:{http2_servers.nghttpd.tls_port}/small"
                ) as response:
                    return response.version, await response.read()

            assert await asyncio.gather(*(get() for _ in range(20))) == [((2, 0), SMALL)] * 20
            assert connector.stats().opened == 1


def open_to(proxy: RealProxy) -> list[Any]:
    """This process's connections to a proxy."""
    return [
        one
        for one in psutil.Process().net_connections("tcp4")
        if one.raddr and one.raddr.port == proxy.port
    ]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_cancelled_anywhere_on_its_way_leaves_nothing(
    proxies: ProxyFarm, pki: Pki, loop: str
) -> None:
    """Through TLS, a tunnel, and TLS inside it, at any moment."""
    first = proxies.haproxy
    chain = [first.url, proxies.microsocks_auth.url_with((USER, PASSWORD))]

    async def main() -> None:
        async with running_origin(pki.server) as origin:
            url = origin.url("https")
            async with ClientSession(
                connector=TCPConnector(ssl=pki.client()), proxy=chain
            ) as session:
                for step in range(40):
                    task = asyncio.create_task(session._request("GET", url))
                    for _ in range(step):
                        await asyncio.sleep(0.0002 * (step % 3))
                    task.cancel()
                    (outcome,) = await asyncio.gather(task, return_exceptions=True)
                    if not isinstance(outcome, asyncio.CancelledError):
                        assert isinstance(outcome, wherry.ClientResponse), outcome
                        await outcome.read()
                async with session.get(url) as response:
                    assert await response.json()
                assert session.connector.stats().waiting == 0
                assert session.connector.stats().busy == 0
            assert not open_to(first)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


async def test_the_environment(
    proxies: ProxyFarm, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S001-124 to 126; and a proxy of https:// in the environment is used."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxies.tinyproxy_auth.url_with((USER, PLAIN_PASSWORD)))
    monkeypatch.setenv("https_proxy", proxies.squid_tls.url)
    async with running_origin(pki.server) as origin:
        async with ClientSession(
            connector=TCPConnector(ssl=pki.client()), trust_env=True
        ) as session:
            for scheme in ("http", "https"):
                async with session.get(origin.url(scheme)) as response:
                    assert response.status == 200
            monkeypatch.setenv("https_proxy", "socks5h://127.0.0.1:1")
            with pytest.raises(wherry.ClientProxyConnectionError):
                await session.get(origin.url("https"))
            monkeypatch.setenv("no_proxy", f"127.0.0.1:{origin.tls_port}")
            async with session.get(origin.url("https")) as response:
                assert response.status == 200
        # A tunnel is logged when it ends.
        proxies.tinyproxy_auth.assert_logs(str(origin.plain_port))
        proxies.squid_tls.assert_logs(str(origin.tls_port))
        monkeypatch.delenv("no_proxy")
        connector = TCPConnector(ssl=pki.client())
        async with (
            ClientSession(connector=connector) as session,
            session.get(origin.url("https")) as response,
        ):
            assert response.status == 200


async def test_a_tunnel_once_made_costs_no_more_than_a_direct_connection(
    proxies: ProxyFarm, pki: Pki
) -> None:
    """Counted in calls of ours, which do not depend on what else the machine does: within 5 % of
    direct HTTPS.
    """
    async with running_origin(pki.server) as origin:
        counts = []
        for proxy in (
            None,
            proxies.squid.url,
            proxies.microsocks.url,
            [proxies.squid.url, proxies.dante.url],
        ):
            async with ClientSession(
                connector=TCPConnector(ssl=pki.client()), proxy=proxy
            ) as session:
                counts.append(await calls_a_request(session, origin.url("https")))
    assert max(counts) <= 1.05 * counts[0], counts


async def calls_a_request(session: ClientSession, url: str) -> int:
    """Calls in and out of the client's code that a request takes at least."""
    count = 0

    def seen(frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal count
        if event in {"call", "c_call"} and "/wherry/" in frame.f_code.co_filename:
            count += 1

    counts = []
    for _ in range(30):
        count = 0
        sys.setprofile(seen)
        try:
            async with session.get(url) as response:
                await response.json()
        finally:
            sys.setprofile(None)
        counts.append(count)
    return min(counts)


async def test_a_user_and_a_password_of_any_characters(proxies: ProxyFarm, pki: Pki) -> None:
    """S000-07: percent-encoded in the URL, or in BasicAuth."""
    proxy = proxies.microsocks_auth
    async with running_origin(pki.server) as origin, ClientSession() as session:
        for written in (proxy.url_with((USER, PASSWORD)), (proxy.url, BasicAuth(USER, PASSWORD))):
            async with session.get(origin.url("http"), proxy=written) as response:
                assert response.status == 200
