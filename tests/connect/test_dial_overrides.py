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
from yarl import URL

from wherry import (
    BaseConnector,
    ClientConnectorAddressBlocked,
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientProxyConnectionError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    Fingerprint,
    ServerFingerprintMismatch,
    TCPConnector,
    public_addresses_only,
)
from wherry.testing import LocalServer


class Counting(TCPConnector):
    """Looks at what is dialled and lets the usual way do it."""

    async def _wrap_create_connection(self, *args: Any, req: Any, **kwargs: Any) -> Any:
        self.seen = [
            *getattr(self, "seen", []),
            (req.url.scheme, kwargs["addr_infos"][0][4][1], bool(kwargs["ssl"])),
        ]
        return await super()._wrap_create_connection(*args, req=req, **kwargs)


class Holder(asyncio.Protocol):
    """What such libraries put on a transport: it holds the writer, without which the transport is
    closed.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer


class ByStreams(TCPConnector):
    """Opens its connections by asyncio's streams; TLS is left to whoever called, or made by it."""

    makes_tls = False

    async def _wrap_create_connection(
        self, *_args: Any, addr_infos: Any, ssl: Any = None, **kwargs: Any
    ) -> Any:
        host, port = addr_infos[0][4][:2]
        options = (
            {"ssl": ssl, "server_hostname": kwargs["server_hostname"]}
            if ssl and self.makes_tls
            else {}
        )
        _, writer = await asyncio.open_connection(host, port, **options)
        holder = Holder(writer)
        writer.transport.set_protocol(holder)
        return writer.transport, holder


class StreamsWithTls(ByStreams):
    makes_tls = True


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("make", [Counting, ByStreams, StreamsWithTls])
async def test_what_a_wrapping_connector_dials_carries_requests(
    make: Any, scheme: str, pki: Pki
) -> None:
    async with (
        running_origin(pki.server) as origin,
        ClientSession(connector=make(ssl=pki.client())) as session,
    ):
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
async def test_a_proxy_of_the_request_is_reached_through_it(
    scheme: str, pki: Pki, proxies: ProxyFarm
) -> None:
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


async def test_a_connector_gives_tls_proxies_a_context_of_their_own(
    pki: Pki, proxies: ProxyFarm
) -> None:
    stranger = ssl.create_default_context()
    async with running_origin(pki.server) as origin:
        for mine, theirs, fails_at_proxy in (
            (stranger, pki.client(), True),
            (pki.client(), stranger, False),
        ):
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
        async with (
            ClientSession(connector=connector) as session,
            session.get(origin.url("http")) as response,
        ):
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
async def test_what_its_code_raises_costs_no_place(
    failure: Exception, kind: type[Exception], pki: Pki
) -> None:
    async with running_origin(pki.server) as origin:
        connector = Unlucky(limit=1)
        async with ClientSession(connector=connector) as session:
            connector.failure = failure
            with pytest.raises(kind):
                await session.get(origin.url("http"))
            connector.failure = None
            async with session.get(origin.url("http")) as response:
                assert response.status == 200


# --- who looks at hosts, and at each request ------------------------------------------------------


class Guarded(TCPConnector):
    """As programs guard themselves: each address is looked at before it is dialled, each request's
    host as well.
    """

    def __init__(self, **options: Any) -> None:
        self.hosts: list[str] = []
        self.paths: list[str] = []
        super().__init__(**options)

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        self.paths.append(req.url.path)
        return await super().connect(req, traces, timeout)

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> Any:
        results = await super()._resolve_host(host, port, traces=traces)
        self.hosts.append(host)
        if any(result["host"] == "127.0.0.2" for result in results):
            raise PermissionError("not there")
        if host == "127.0.0.3":
            raise LookupError("nor there")
        return results


async def test_an_overridden_look_up_is_asked_for_names_and_for_literal_addresses(pki: Pki) -> None:
    async with running_origin(pki.server) as origin, ClientSession(connector=Guarded()) as session:
        url = URL(origin.url("http"))
        for host in ("127.0.0.1", "localhost"):
            async with session.get(url.with_host(host)) as response:
                assert response.status == 200
        with pytest.raises(ClientConnectorDNSError, match="not there"):
            await session.get(url.with_host("127.0.0.2"))
        with pytest.raises(LookupError, match="nor there"):
            await session.get(url.with_host("127.0.0.3"))
        assert session.connector.hosts == ["127.0.0.1", "localhost", "127.0.0.2", "127.0.0.3"]  # type: ignore[union-attr]


async def test_methods_may_be_put_on_one_connector_and_taken_off(pki: Pki) -> None:
    """Guards and tests do so, also after requests were made."""
    calls: list[str] = []

    async def guard(host: str, port: int, traces: Any = None) -> Any:
        calls.append(host)
        if host == "localhost":
            raise PermissionError("not there")
        return await TCPConnector._resolve_host(connector, "127.0.0.1", port, traces)

    async def late(*_args: Any) -> Any:
        raise TimeoutError

    async def dial(*args: Any, **options: Any) -> Any:
        calls.append("dial")
        return await TCPConnector._wrap_create_connection(connector, *args, **options)

    connector = TCPConnector(force_close=True)
    async with running_origin(pki.server) as origin, ClientSession(connector=connector) as session:
        url = URL(origin.url("http"))

        async def connect_request(host: str, **options: Any) -> int:
            async with session.get(url.with_host(host), **options) as response:
                return response.status

        assert await connect_request("127.0.0.1") == 200
        connector._resolve_host = guard  # type: ignore[method-assign]
        assert (
            await connect_request("127.0.0.1") == await connect_request("no.such.name.test") == 200
        )
        with pytest.raises(ClientConnectorDNSError, match="not there"):
            await connect_request("localhost")
        assert calls == ["127.0.0.1", "no.such.name.test", "localhost"]
        connector._wrap_create_connection = dial  # type: ignore[method-assign]
        assert await connect_request("127.0.0.1") == 200
        assert calls[3:] == ["127.0.0.1", "dial"]
        connector.connect = late  # type: ignore[method-assign]
        with pytest.raises(ConnectionTimeoutError):
            await connect_request("127.0.0.1", timeout=ClientTimeout(connect=5))
        del connector.connect, connector._resolve_host, connector._wrap_create_connection
        assert await connect_request("127.0.0.1") == await connect_request("localhost") == 200
        assert len(calls) == 5


async def test_an_overridden_look_up_and_allow_address_both_count(pki: Pki) -> None:
    class Misled(TCPConnector):
        async def _resolve_host(self, host: str, port: int, traces: Any = None) -> Any:
            return await super()._resolve_host("127.0.0.1", port, traces)

    async with running_origin(pki.server) as origin:
        url = URL(origin.url("http")).with_host("8.8.8.8")
        async with ClientSession(connector=Misled()) as session, session.get(url) as response:
            assert response.status == 200
        async with ClientSession(connector=Misled(allow_address=public_addresses_only)) as session:
            with pytest.raises(ClientConnectorAddressBlocked, match=r"127\.0\.0\.1"):
                await session.get(url)


async def test_an_overridden_connect_is_asked_for_each_request(pki: Pki) -> None:
    async with running_origin(pki.server) as origin, ClientSession(connector=Guarded()) as session:
        for path in ("/1", "/2", "/2"):
            async with session.get(URL(origin.url("http")).with_path(path)) as response:
                await response.read()
        connector = session.connector
        assert connector.paths == ["/1", "/2", "/2"]  # type: ignore[union-attr]
        assert connector.hosts == ["127.0.0.1"]  # type: ignore[union-attr]
        assert connector.stats().opened == 1  # type: ignore[union-attr]


async def test_an_overridden_direct_connection_is_tried_again_by_its_class(pki: Pki) -> None:
    class Stubborn(TCPConnector):
        tries = 0

        async def _create_direct_connection(self, *args: Any, **options: Any) -> Any:
            self.tries += 1
            if self.tries == 1:
                return await self._create_direct_connection(*args, **options)
            return await super()._create_direct_connection(*args, **options)

    connector = Stubborn(ssl=pki.client())
    async with running_origin(pki.server) as origin, ClientSession(connector=connector) as session:
        for _ in range(2):
            async with session.get(origin.url("https")) as response:
                assert response.status == 200
                await response.read()
        assert connector.tries == 2


# --- transports that push -------------------------------------------------------------------------


class Pushing(asyncio.Transport):
    """As programs' stand-ins for a network do it: it keeps what is written, and pushes bytes at its
    protocol.
    """

    def __init__(self, protocol: Any, pieces: list[bytes], failure: Exception | None) -> None:
        super().__init__()
        self.protocol = protocol
        self.pieces = pieces
        self.failure = failure
        self.written = b""
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)
        asyncio.get_running_loop().call_soon(self.push)

    def push(self) -> None:
        for piece in self.pieces:
            self.protocol.data_received(piece)
        if self.failure is not None:
            self.protocol.set_exception(self.failure)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class Pushed(BaseConnector):
    pieces: list[bytes]
    failure: Exception | None = None
    made: Pushing

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        protocol = self._factory()
        self.made = Pushing(protocol, self.pieces, self.failure)
        protocol.connection_made(self.made)
        return protocol


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_transport_that_pushes_its_bytes_carries_requests(scheme: str) -> None:
    connector = Pushed()
    body = b"x" * 700_000
    connector.pieces = [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body),
        body[:400_000],
        body[400_000:],
    ]
    async with ClientSession(connector=connector) as session:
        for _ in range(2):
            async with session.get(f"{scheme}://anywhere/a") as response:
                assert await response.read() == body
        assert connector.made.written.count(b"GET /a HTTP/1.1\r\n") == 2
        assert connector.stats().opened == 1
    assert connector.made.closing


async def test_what_such_a_transport_fails_with_is_raised_at_the_request() -> None:
    connector = Pushed()
    connector.pieces, connector.failure = [], LookupError("the application's own")
    async with ClientSession(connector=connector) as session:
        with pytest.raises(LookupError, match="the application's own"):
            await session.get("http://anywhere/")


# --- what programs look into, and turn at ---------------------------------------------------------


async def test_private_names_show_the_pool_and_turn_its_limits() -> None:
    ripe = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline() != b"":
            await reader.readuntil(b"\r\n\r\n")
            await ripe.wait()
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as server,
        ClientSession() as session,
    ):
        connector: Any = session.connector
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert (connector._limit, connector._limit_per_host, connector._force_close) == (
            100,
            0,
            False,
        )
        asking = [asyncio.ensure_future(session.get(url))]
        while not connector._acquired:
            await asyncio.sleep(0)
        connector._limit = connector._limit_per_host = 1
        asking.append(asyncio.ensure_future(session.get(url)))
        while not connector._waiters:
            await asyncio.sleep(0)
        assert [len(busy) for busy in connector._acquired_per_host.values()] == [1]
        assert not connector._conns
        ripe.set()
        for response in await asyncio.gather(*asking):
            assert response.status == 204
        assert [len(free) for free in connector._conns.values()] == [1]
        assert connector.stats().opened == 1
        connector._limit_per_host = 0
        connector.pool.shut()
        assert not connector._acquired


def test_a_connector_closes_after_its_event_loop() -> None:
    """As fsspec does where no loop runs any more."""

    async def connect_request() -> ClientSession:
        session = ClientSession()
        async with LocalServer() as server, session.get(server.url("/get")) as response:
            await response.read()
        return session

    session = asyncio.run(connect_request())
    connector: Any = session.connector
    assert len(connector._close()) == 1
    assert session.closed


def test_overriding_what_is_never_called_is_told() -> None:
    with pytest.warns(RuntimeWarning, match=r"Deaf\._get_ssl_context will not be called"):

        class Deaf(TCPConnector):
            def _get_ssl_context(self, req: Any) -> Any:
                return None


async def test_what_a_connector_changes_of_a_request_while_it_dials_is_sent() -> None:
    """As programs give each connection another name, or send as aiohttp-asgi-connector does."""
    sent = []

    class Masking(Pushed):
        async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
            req.headers["User-Agent"] = "someone else"

            async def send(conn: Any) -> Any:
                response = await type(req).send(req, conn)
                # It is written, and nobody waits for the answer yet.
                sent.append(conn.protocol.transport.written)
                return response

            if req.method == "POST":
                req.send = send
            return await super()._create_connection(req, traces, timeout)

    connector = Masking(force_close=True)
    connector.pieces = [b"HTTP/1.1 204 No Content\r\n\r\n"]
    async with ClientSession(connector=connector) as session:
        for method in ("GET", "POST"):
            async with session.request(method, "http://anywhere/") as response:
                assert response.status == 204
            assert b"User-Agent: someone else\r\n" in connector.made.written
    assert sent == [connector.made.written]
