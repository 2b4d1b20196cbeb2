"""Tunnels through proxies that are a few lines each, good and hostile."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme
import uvloop

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.dial import dial_stream
from wherry.connect.dial_settings import DialSettings, hop_key
from wherry.connect.dns.cache import DNSCache
from wherry.connect.dns.resolver import AbstractResolver, ResolveResult
from wherry.connect.handshake_stream import HandshakeStream
from wherry.connect.proxy.proxy_argument import proxy_hops
from wherry.connect.proxy.tunnel import open_tunnel
from wherry.connect.route import Origin, ProxyHop, Route
from wherry.connect.tls.contexts import Fingerprint, selected_protocol
from wherry.connect.tls.start_tls import start_tls
from wherry.errors import (
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
)

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ORIGIN = Origin("http", "origin.test", 8080)


class Names(AbstractResolver):
    """A resolver that knows the names it is given, and what it was asked."""

    def __init__(self, **names: str) -> None:
        self.names = {name.replace("_", "."): address for name, address in names.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError(None, f"no such name: {host}")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=10 if ":" in address else 2,
                proto=0,
                flags=0,
            )
            for address in self.names[host].split()
        ]

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def serve(peer: Peer, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that speaks `peer` with each client; at the end nothing of it is left."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await peer(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def tunnel(
    hops: tuple[ProxyHop, ...],
    *,
    origin: Origin = ORIGIN,
    names: Names | None = None,
    sock_connect: float | None = 5.0,
    allow: Callable[..., bool] | None = None,
) -> HandshakeStream:
    settings = DialSettings(
        asyncio.get_running_loop(), DNSCache(names or Names()), allow_address=allow
    )
    route = Route(origin, hops)
    connect_request = ConnectRequest(route, sock_connect)

    async def first(hop: ProxyHop) -> HandshakeStream:
        return await dial_stream(hop.host, hop.port, settings, connect_request, key=hop_key(hop))

    return await open_tunnel(route, hops, first, settings, connect_request)


def answers(data: bytes, *, stay: bool = False) -> Peer:
    """A proxy that reads a request's head and says `data`."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        if stay:
            await reader.read()

    return peer


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)


def connecting(targets: dict[str, int], seen: list[bytes] | None = None) -> Peer:
    """An HTTP proxy that opens tunnels to ports of this machine."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        port = targets[head.split()[1].decode()]
        writer.write(b"HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n")
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
                sink.close()

        try:
            await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))
        finally:
            up_writer.transport.abort()

    return peer


async def test_a_tunnel_carries_bytes_after_connect() -> None:
    """S001-118; RFC 9110 9.3.6: Content-Length in the answer to CONNECT means nothing."""
    seen: list[bytes] = []
    async with serve(echo) as end, serve(connecting({"origin.test:8080": end}, seen)) as port:
        stream = await tunnel(proxy_hops(f"http://u:p@127.0.0.1:{port}"))
        stream.write(b"hello")
        assert await stream.read(5) == b"hello"
        stream.abort()
    assert seen[0].startswith(
        b"CONNECT origin.test:8080 HTTP/1.1\r\nHost: origin.test:8080\r\nProxy-Authorization: Ba"
    )


async def test_interim_answers_come_before_the_real_one() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
    async with serve(answers(interim + b"HTTP/1.0 200\r\n\r\n", stay=True)) as port:
        stream = await tunnel(proxy_hops(f"http://127.0.0.1:{port}"))
        stream.abort()


async def test_a_refused_connect_tells_status_reason_and_fields() -> None:
    """S001-133: 407 with what came; the error names the proxy and shows no password."""
    refusal = b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 3\r\n\r\nno!"
    async with serve(answers(refusal)) as port:
        with pytest.raises(ClientHttpProxyError) as caught:
            await tunnel(proxy_hops(f"http://user:s3cret@127.0.0.1:{port}"))
    error = caught.value
    assert (error.status, error.message) == (407, "Who are you")
    assert error.headers is not None
    assert error.headers["proxy-authenticate"] == "Basic realm=x"
    assert f"http://127.0.0.1:{port}" in str(error)
    assert error.request_info.method == "CONNECT"
    assert "s3cret" not in f"{error} {error!r} {error.__dict__}"


HOSTILE_HTTP = [
    (b"", "closed"),
    (b"HTTP/1.1 200 OK\r\nA: 1\r\n", "closed"),
    (b"\x05\x00garbage\r\n\r\n", "status line"),
    (b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n", "header field"),
    (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, "within"),
    (b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 1000 + b"\r\n", "fields"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "interim"),
    (
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse",
        "before anything",
    ),
]


@pytest.mark.parametrize(
    ("data", "reason"), HOSTILE_HTTP, ids=[reason for _, reason in HOSTILE_HTTP]
)
async def test_a_broken_answer_to_connect_is_a_proxy_error(data: bytes, reason: str) -> None:
    async with serve(answers(data)) as port:
        with pytest.raises(ClientProxyConnectionError, match=reason) as caught:
            await tunnel(proxy_hops(f"http://user:s3cret@127.0.0.1:{port}"))
    assert f"http://127.0.0.1:{port} towards origin.test:8080" in str(caught.value)
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
    assert "s3cret" not in f"{caught.value} {caught.value!r}"


async def test_an_endless_answer_ends() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"x" * 10_000)
            await writer.drain()

    async with serve(endless) as port:
        with pytest.raises(ClientProxyConnectionError, match="within"):
            await tunnel(proxy_hops(f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize("scheme", ["http", "https", "socks4", "socks5"])
async def test_a_silent_proxy_runs_into_sock_connect(scheme: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serve(silent) as port:
        with pytest.raises(ConnectionTimeoutError, match=f"127.0.0.1:{port}"):
            await tunnel(
                proxy_hops(f"{scheme}://127.0.0.1:{port}"),
                names=Names(origin_test="192.0.2.1"),
                sock_connect=0.05,
            )


async def test_an_unreachable_proxy_is_a_proxy_error() -> None:
    """S001-134"""
    async with serve(echo) as port:
        pass
    with pytest.raises(ClientProxyConnectionError, match=f"socks5://127.0.0.1:{port}"):
        await tunnel(proxy_hops(f"socks5://user:s3cret@127.0.0.1:{port}"))
    with pytest.raises(ClientProxyConnectionError, match=r"http://nowhere\.test:80"):
        await tunnel(proxy_hops("http://nowhere.test"))


async def test_a_cancelled_handshake_leaves_no_connection() -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        left.set()

    async with serve(silent) as port:
        task = asyncio.create_task(tunnel(proxy_hops(f"http://127.0.0.1:{port}")))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(left.wait(), 5)


# --- SOCKS ----------------------------------------------------------------------------------------


def says(*turns: tuple[int, bytes], seen: bytearray | None = None) -> Peer:
    """A SOCKS proxy that reads so many bytes (-1: whatever comes) and answers, turn by turn."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size, data in turns:
            got = await (reader.read(1000) if size < 0 else reader.readexactly(size))
            if seen is not None:
                seen.extend(got)
            writer.write(data)
        await writer.drain()

    return peer


@pytest.mark.parametrize(
    ("scheme", "turns", "reason"),
    [
        ("socks5", [(3, b"\x05\xff")], "credentials"),
        ("socks5", [(3, b"\x05\x00"), (-1, b"\x05\x05")], "refused"),
        ("socks5", [(3, b"\x05")], "closed"),
        ("socks5", [(3, b"HTTP/1.1 400 Bad Request\r\n\r\n")], "no SOCKS5"),
        ("socks5h", [(3, b"\x05\x00"), (-1, b"\x05\x00\x00\x01\x00")], "closed"),
        ("socks4", [(9, b"\x00\x5b" + bytes(6))], "rejected"),
        ("socks4a", [(-1, b"SSH-2.0-x")], "no SOCKS4"),
        ("socks4", [(9, b"\x00\x5a")], "closed"),
    ],
)
async def test_socks_refusals_name_the_hop(
    scheme: str, turns: list[tuple[int, bytes]], reason: str
) -> None:
    """S000-17, S000-20"""
    async with serve(says(*turns)) as port:
        with pytest.raises(ClientProxyConnectionError, match=reason) as caught:
            await tunnel(
                proxy_hops(f"{scheme}://127.0.0.1:{port}"), names=Names(origin_test="192.0.2.1")
            )
    assert f"{scheme}://127.0.0.1:{port} towards origin.test:8080" in str(caught.value)


BOUND = b"\x05\x00\x00\x01" + bytes(6)


async def test_names_are_resolved_where_the_scheme_says() -> None:
    """S000-16"""
    for scheme, asked in (("socks5", ["origin.test"]), ("socks5h", [])):
        names, seen = Names(origin_test="2001:db8::1 192.0.2.7"), bytearray()
        async with serve(says((3, b"\x05\x00"), (-1, BOUND), seen=seen)) as port:
            (await tunnel(proxy_hops(f"{scheme}://127.0.0.1:{port}"), names=names)).abort()
        assert names.asked == asked
        assert (b"origin.test" in seen) is not bool(asked)
        assert (bytes([192, 0, 2, 7]) in seen) is bool(asked)
    for scheme, asked in (("socks4", ["origin.test"]), ("socks4a", [])):
        names, seen = Names(origin_test="2001:db8::1 192.0.2.7"), bytearray()
        async with serve(says((-1, b"\x00\x5a" + bytes(6)), seen=seen)) as port:
            (await tunnel(proxy_hops(f"{scheme}://me@127.0.0.1:{port}"), names=names)).abort()
        assert names.asked == asked
        assert b"me\x00" in seen
        assert (b"origin.test" in seen) is not bool(asked)


async def test_a_name_without_a_usable_address_is_told() -> None:
    async with serve(says((3, b"\x05\x00"))) as port:
        with pytest.raises(ClientProxyConnectionError, match="no address"):
            await tunnel(
                proxy_hops(f"socks4://127.0.0.1:{port}"), names=Names(origin_test="2001:db8::1")
            )
        with pytest.raises(ClientProxyConnectionError, match="not found"):
            await tunnel(proxy_hops(f"socks5://127.0.0.1:{port}"))


# --- chains and TLS -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_each_hop_is_told_only_its_own_credentials_and_the_next_hop() -> None:
    """S000-15, S000-18"""
    one: list[bytes] = []
    two: list[bytes] = []
    async with (
        serve(echo) as end,
        serve(connecting({"origin.test:8080": end}, two)) as second,
        serve(connecting({"second.test:81": second}, one)) as first,
    ):
        stream = await tunnel(
            proxy_hops([f"http://a:one@127.0.0.1:{first}", "http://b:two@second.test:81"])
        )
        stream.write(b"through both")
        assert await stream.read(12) == b"through both"
        stream.abort()
    assert one[0].startswith(b"CONNECT second.test:81 ")
    assert two[0].startswith(b"CONNECT origin.test:8080 ")
    assert b"YTpvbmU=" in one[0]
    assert b"YTpvbmU=" not in two[0]
    assert b"Yjp0d28=" in two[0]
    assert b"Yjp0d28=" not in one[0]


async def test_the_error_names_the_hop_that_failed() -> None:
    """S000-20"""
    async with (
        serve(says((3, b"\x05\x00"), (-1, b"\x05\x02"))) as second,
        serve(connecting({"second.test:1080": second})) as first,
    ):
        with pytest.raises(
            ClientProxyConnectionError, match=r"socks5h://second\.test:1080 towards"
        ) as caught:
            await tunnel(proxy_hops([f"http://127.0.0.1:{first}", "socks5h://second.test"]))
        assert caught.value.host == "second.test"
        assert str(first) not in str(caught.value)


def test_tls_in_tls_in_tls_on_both_loops(authority: trustme.CA) -> None:
    """S000-19, S001-130: two https:// hops and an origin of TLS."""

    async def main() -> None:
        server, client = server_context(authority), client_context(authority)
        async with (
            serve(echo, server) as end,
            serve(connecting({"origin.test:8443": end}), server) as second,
            serve(connecting({"localhost:444": second}), server) as first,
        ):
            stream = await tunnel(
                proxy_hops(
                    [f"https://127.0.0.1:{first}", "https://localhost:444"], proxy_ssl=client
                ),
                origin=Origin("https", "origin.test", 8443),
            )
            await stream.start_tls(client, "localhost", 5.0)
            data = bytes(range(256)) * 4000
            stream.write(data)
            assert await stream.read(len(data)) == data
            stream.abort()

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())


async def test_an_origin_that_fails_inside_the_tls_of_a_proxy_tells_why(
    authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    """S001-130: on every Python; up to 3.12.1 asyncio's own TLS inside TLS ended in a TypeError."""
    server, client = server_context(authority), client_context(authority)
    async with (
        serve(echo, server) as end,
        serve(connecting({"origin.test:8443": end}), server) as port,
    ):
        origin = Origin("https", "origin.test", 8443)
        stream = await tunnel(
            proxy_hops(f"https://127.0.0.1:{port}", proxy_ssl=client), origin=origin
        )
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate"):
            await stream.start_tls(ssl.create_default_context(), "localhost", 5.0)
        stream = await tunnel(
            proxy_hops(f"https://127.0.0.1:{port}", proxy_ssl=client), origin=origin
        )
        with pytest.raises(ssl.SSLCertVerificationError, match="match"):
            await stream.start_tls(client, "another.test", 5.0)
    async with (
        serve(answers(b""), None) as end,
        serve(connecting({"origin.test:8443": end}), server) as port,
    ):
        stream = await tunnel(
            proxy_hops(f"https://127.0.0.1:{port}", proxy_ssl=client), origin=origin
        )
        stream.write(b"\r\n\r\n")
        with pytest.raises(OSError):
            await stream.start_tls(client, "localhost", 5.0)
    assert not caplog.records


async def test_one_context_serves_a_proxy_and_an_origin_of_http2(authority: trustme.CA) -> None:
    """S001-131: HTTP/2 is offered to the origin and never to the proxy, whoever came first."""
    context = client_context(authority)
    server = server_context(authority)
    server.set_alpn_protocols(["h2", "http/1.1"])
    settings = DialSettings(asyncio.get_running_loop(), DNSCache(Names()))
    connect_request = ConnectRequest(Route(ORIGIN), 5.0)
    for _ in range(2):
        async with (
            serve(echo, server) as end,
            serve(connecting({"origin.test:8443": end}), server) as port,
            serve(echo, server) as other,
        ):
            route = Route(
                Origin("https", "origin.test", 8443),
                proxy_hops(f"https://127.0.0.1:{port}", None, None, context),
            )

            async def first(hop: ProxyHop) -> HandshakeStream:
                return await dial_stream(
                    hop.host, hop.port, settings, connect_request, key=hop_key(hop)
                )

            stream = await open_tunnel(route, route.hops, first, settings, connect_request)
            assert selected_protocol(stream.transport) == "http/1.1"
            key = hop_key(route.hops[0])
            options = {"ssl_option": context, "server_hostname": "localhost", "key": key}
            await start_tls(
                stream, settings, connect_request, protocols=("h2", "http/1.1"), **options
            )
            assert selected_protocol(stream.transport) == "h2"
            stream.abort()
            stream = await dial_stream("127.0.0.1", other, settings, connect_request, key=key)
            await start_tls(
                stream, settings, connect_request, protocols=("http/1.1",), chosen=True, **options
            )
            assert selected_protocol(stream.transport) == "http/1.1"
            stream.abort()


async def test_the_certificate_of_a_proxy_is_checked(authority: trustme.CA) -> None:
    """S001-129: and a failure is the proxy's, not the origin's."""
    async with serve(echo, server_context(authority)) as port:
        with pytest.raises(ClientProxyConnectionError, match="certificate verify failed") as caught:
            await tunnel(proxy_hops(f"https://127.0.0.1:{port}", proxy_ssl=True))
        assert f"https://127.0.0.1:{port}" in str(caught.value)
        with pytest.raises(ClientProxyConnectionError, match="showed a certificate"):
            await tunnel(proxy_hops(f"https://127.0.0.1:{port}", proxy_ssl=Fingerprint(bytes(32))))


async def test_a_plain_proxy_behind_https_is_a_proxy_error() -> None:
    async with serve(says((-1, b"HTTP/1.1 400 Bad Request\r\n\r\n"))) as port:
        with pytest.raises(ClientProxyConnectionError):
            await tunnel(proxy_hops(f"https://127.0.0.1:{port}", proxy_ssl=False))


async def test_a_proxy_that_speaks_first_cannot_write_into_the_origins_tls(
    authority: trustme.CA,
) -> None:
    async with serve(answers(b"HTTP/1.1 200 OK\r\n\r\n\x15\x03\x03\x00\x02\x01\x00")) as port:
        with pytest.raises(ClientProxyConnectionError, match="before anything"):
            await tunnel(
                proxy_hops(f"http://127.0.0.1:{port}"), origin=Origin("https", "origin.test", 443)
            )


async def test_every_failure_is_a_client_error() -> None:
    assert issubclass(ClientProxyConnectionError, ClientConnectorError)
    assert issubclass(ClientHttpProxyError, ClientError)
