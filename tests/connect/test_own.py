"""Connectors of a program's own that override what aiohttp's connectors dial by."""

from __future__ import annotations

import asyncio
import gc
import ssl
from typing import Any

import pytest
from tests.servers.origin import running_origin
from tests.servers.pki import Pki
from tests.servers.proxies import ProxyFarm

from wherry import (
    BaseConnector,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientProxyConnectionError,
    ClientSession,
    ConnectionTimeoutError,
    Fingerprint,
    ServerFingerprintMismatch,
    TCPConnector,
)


class Counting(TCPConnector):
    """Looks at what is dialled and lets the usual way do it."""

    async def _wrap_create_connection(self, *args: Any, req: Any, **kwargs: Any) -> Any:
        self.seen = [*getattr(self, "seen", []), (req.url.scheme, kwargs["addr_infos"][0][4][1], bool(kwargs["ssl"]))]
        return await super()._wrap_create_connection(*args, req=req, **kwargs)


class Holder(asyncio.Protocol):
    """What such libraries put on a transport: it holds the writer, without which the transport is closed."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer


class ByStreams(TCPConnector):
    """Opens its connections by asyncio's streams; TLS is left to whoever called, or made by it."""

    makes_tls = False

    async def _wrap_create_connection(self, *_args: Any, addr_infos: Any, ssl: Any = None, **kwargs: Any) -> Any:
        host, port = addr_infos[0][4][:2]
        options = {"ssl": ssl, "server_hostname": kwargs["server_hostname"]} if ssl and self.makes_tls else {}
        _, writer = await asyncio.open_connection(host, port, **options)
        holder = Holder(writer)
        writer.transport.set_protocol(holder)
        return writer.transport, holder


class StreamsWithTls(ByStreams):
    makes_tls = True


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("make", [Counting, ByStreams, StreamsWithTls])
async def test_what_a_wrapping_connector_dials_carries_requests(make: Any, scheme: str, pki: Pki) -> None:
    async with running_origin(pki.server) as origin, ClientSession(connector=make(ssl=pki.client())) as session:
        for _ in range(3):
            async with session.get(origin.url(scheme)) as response:
                assert response.status == 200
                await response.read()
            gc.collect()
        assert session.connector is not None
        assert session.connector.stats().opened == 1
        if make is Counting:
            assert session.connector.seen == [(scheme, response.url.port, scheme == "https")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [ByStreams, StreamsWithTls])
async def test_certificates_are_checked_on_its_connections(make: Any, pki: Pki) -> None:
    async with running_origin(pki.server) as origin, ClientSession(connector=make()) as session:
        with pytest.raises(ClientConnectorCertificateError):
            await session.get(origin.url("https"))
        with pytest.raises(ServerFingerprintMismatch):
            await session.get(origin.url("https"), ssl=Fingerprint(b"0" * 32))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_of_the_request_is_reached_through_it(scheme: str, pki: Pki, proxies: ProxyFarm) -> None:
    async with running_origin(pki.server) as origin:
        connector = Counting(ssl=pki.client())
        async with ClientSession(connector=connector) as session:
            for proxy in (proxies.squid.url, [proxies.squid.url, proxies.microsocks.url]):
                async with session.get(origin.url(scheme), proxy=proxy) as response:
                    assert response.status == 200
                assert connector.seen[-1][1:] == (proxies.squid.port, False)


class TrustingProxy(TCPConnector):
    """As aiobotocore's: the proxy has a context of its own, and never sees the origin's."""

    proxy_context: ssl.SSLContext | None = None

    def _update_proxy_auth_header_and_build_proxy_req(self, req: Any) -> Any:
        proxy_req = super()._update_proxy_auth_header_and_build_proxy_req(req)
        if self.proxy_context is not None:
            proxy_req._ssl = self.proxy_context
        return proxy_req


async def test_a_connector_gives_tls_proxies_a_context_of_their_own(pki: Pki, proxies: ProxyFarm) -> None:
    stranger = ssl.create_default_context()
    async with running_origin(pki.server) as origin:
        for mine, theirs, fails_at_proxy in ((stranger, pki.client(), True), (pki.client(), stranger, False)):
            connector = TrustingProxy(ssl=theirs)
            connector.proxy_context = mine
            async with ClientSession(connector=connector) as session:
                with pytest.raises(ClientConnectorError) as caught:
                    await session.get(origin.url("https"), proxy=proxies.haproxy.url)
            assert isinstance(caught.value, ClientProxyConnectionError) is fails_at_proxy
        connector = TrustingProxy(ssl=pki.client())
        connector.proxy_context = pki.client()
        async with (
            ClientSession(connector=connector) as session,
            session.get(origin.url("https"), proxy=proxies.haproxy.url) as response,
        ):
            assert response.status == 200


class Elsewhere(BaseConnector):
    """Makes whole connections, wherever the URL leads."""

    port = 0

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        assert timeout.sock_connect == 30
        assert req.url.host == "no-such-host.test"
        _, protocol = await self._loop.create_connection(self._factory, "127.0.0.1", self.port)
        return protocol


class Logged(TCPConnector):
    """Lets the usual way make the connection."""

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        self.made = getattr(self, "made", 0) + 1
        return await super()._create_connection(req, traces, timeout)


async def test_a_connector_that_makes_whole_connections(pki: Pki) -> None:
    async with running_origin(pki.server) as origin:
        elsewhere = Elsewhere()
        elsewhere.port = origin.plain_port
        async with ClientSession(connector=elsewhere) as session:
            for _ in range(2):
                async with session.get("http://no-such-host.test/") as response:
                    assert response.status == 200
        logged = Logged(ssl=pki.client())
        async with ClientSession(connector=logged) as session:
            for scheme in ("http", "https", "http", "https"):
                async with session.get(origin.url(scheme)) as response:
                    assert response.status == 200
        assert logged.made == 2


class Prepared(TCPConnector):
    """Does something of its own before a connection is taken."""

    async def connect(self, req: Any, traces: Any = None, timeout: Any = None) -> Any:
        self.asked = [*getattr(self, "asked", []), req.url.path]
        return await super().connect(req, traces, timeout)


async def test_a_connector_that_overrides_connect(pki: Pki) -> None:
    async with running_origin(pki.server) as origin:
        connector = Prepared()
        async with ClientSession(connector=connector) as session, session.get(origin.url("http")) as response:
            assert response.status == 200
        assert connector.asked == ["/"]


class Unlucky(TCPConnector):
    failure: BaseException | None = None

    async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        return await super()._wrap_create_connection(*args, **kwargs)


class OwnError(Exception):
    """A library's own."""


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (OwnError("no"), OwnError),
        (ConnectionRefusedError(111, "refused"), ClientConnectorError),
        (TimeoutError(), ConnectionTimeoutError),
        (ssl.SSLError(1, "bad"), ClientConnectorError),
    ],
)
async def test_what_its_code_raises_costs_no_place(failure: Exception, kind: type[Exception], pki: Pki) -> None:
    async with running_origin(pki.server) as origin:
        connector = Unlucky(limit=1)
        async with ClientSession(connector=connector) as session:
            connector.failure = failure
            with pytest.raises(kind):
                await session.get(origin.url("http"))
            connector.failure = None
            async with session.get(origin.url("http")) as response:
                assert response.status == 200
