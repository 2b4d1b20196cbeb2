"""HTTP/2 with servers that others wrote: raw connections, no session."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.servers.http2 import LARGE, MODEST, SERVER_NAMES, SMALL, Http2Server, Http2Servers
from tests.servers.pki import Pki

from wherry.body.stream.reader import StreamReader
from wherry.errors import ClientConnectionError, ServerDisconnectedError
from wherry.protocol.connection import Exchange
from wherry.protocol.heads import FieldBlock, RequestHead, ResponseHead
from wherry.protocol.http2.connection import Http2Connection

SHARED = FieldBlock(
    [("User-Agent", "wherry"), ("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate")]
)


@pytest.fixture(params=SERVER_NAMES)
def server(request: pytest.FixtureRequest, http2_servers: Http2Servers) -> Http2Server:
    found: Http2Server = getattr(http2_servers, request.param)
    return found


@pytest.fixture(params=["tls", "plain"])
async def connection(
    request: pytest.FixtureRequest, server: Http2Server, pki: Pki
) -> AsyncIterator[Http2Connection]:
    loop = asyncio.get_running_loop()
    context: ssl.SSLContext | None = None
    port = server.plain_port
    if request.param == "tls":
        port = server.tls_port
        context = ssl.create_default_context()
        pki.authority.configure_trust(context)
        context.set_alpn_protocols(["h2"])
    if port is None:
        context = ssl.create_default_context()
        pki.authority.configure_trust(context)
        context.set_alpn_protocols(["h2"])
        port = server.tls_port
    _, made = await loop.create_connection(
        lambda: Http2Connection(loop, flow=MODEST),
        "127.0.0.1",
        port,
        ssl=context,
        server_hostname="localhost" if context else None,
    )
    yield made
    made.close()
    await asyncio.wait_for(made.wait_closed(), 5)


def begin(
    connection: Http2Connection, path: str, method: str = "GET", **options: Any
) -> tuple[Exchange, StreamReader]:
    reader = StreamReader()
    scheme = "https" if connection.transport.get_extra_info("sslcontext") else "http"
    return connection.start(
        RequestHead(method, scheme, "localhost", path, SHARED, **options), reader
    ), reader


async def fetch(
    connection: Http2Connection, path: str, method: str = "GET", **options: Any
) -> tuple[ResponseHead, bytes]:
    exchange, reader = begin(connection, path, method, **options)
    return await exchange.receive_head(), await reader.read()


async def test_requests_follow_one_another(connection: Http2Connection) -> None:
    for _ in range(3):
        head, body = await fetch(connection, "/small")
        assert (head.status, body) == (200, SMALL)
    assert connection.is_idle


async def test_many_requests_share_the_connection(
    connection: Http2Connection, server: Http2Server
) -> None:
    await fetch(connection, "/small")  # the server's SETTINGS are in
    room = connection.capacity
    assert room == 8 or server.name != "nginx"
    paths = ["/small", "/large"] * min(room // 2, 20)
    results = await asyncio.gather(*(fetch(connection, path) for path in paths))
    assert [body for _, body in results] == [LARGE if path == "/large" else SMALL for path in paths]
    assert connection.is_idle


async def test_a_body_goes_up(connection: Http2Connection, server: Http2Server) -> None:
    path = "/upload" if server.counts_uploads else "/small"
    head, body = await fetch(connection, path, "POST", body=LARGE, content_length=len(LARGE))
    if server.name != "apache":  # its default answer to POST for a file differs
        assert head.status == 200
    if server.counts_uploads:
        assert body == str(len(LARGE)).encode()


async def test_a_streamed_body_goes_up(connection: Http2Connection, server: Http2Server) -> None:
    exchange, reader = begin(
        connection, "/upload" if server.counts_uploads else "/small", "POST", streamed=True
    )
    for at in range(0, len(LARGE), 100_000):
        exchange.send(LARGE[at : at + 100_000])
        await exchange.drain()
        if exchange.complete:
            break
    else:
        exchange.end()
    await exchange.receive_head()
    body = await reader.read()
    if server.counts_uploads:
        assert body == str(len(LARGE)).encode()


async def test_head_has_no_body(connection: Http2Connection) -> None:
    head, body = await fetch(connection, "/small", "HEAD")
    assert (head.status, body) == (200, b"")


async def test_a_paused_reader_holds_nobody_else_up(connection: Http2Connection) -> None:
    exchange, reader = begin(connection, "/large")
    await exchange.receive_head()
    for _ in range(5):
        assert (await fetch(connection, "/small"))[1] == SMALL
    # 2 MiB do not fit into what is kept for a reader that does not read.
    assert not exchange.complete
    assert await reader.read() == LARGE


async def test_a_cancelled_request_leaves_the_connection_whole(
    connection: Http2Connection, request: pytest.FixtureRequest
) -> None:
    exchanges = [begin(connection, "/large")[0] for _ in range(4)]
    # Apache ends the connection when a stream is reset before its head is out.
    for exchange in exchanges:
        await exchange.receive_head()
    for exchange in exchanges:
        exchange.cancel()
        assert exchange.complete or isinstance(exchange.error, ClientConnectionError)
    try:
        assert (await fetch(connection, "/large"))[1] == LARGE
    except ServerDisconnectedError as exc:
        # Apache 2.4.68 answers resets so, Debian 12's without its updates; 2.4.71 does not.
        if "apache" not in request.node.name or "GOAWAY COMPRESSION_ERROR" not in str(exc):
            raise
    assert connection.is_idle


async def test_nghttpd_sends_trailers(http2_servers: Http2Servers, pki: Pki) -> None:
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context()
    pki.authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    port = http2_servers.nghttpd.tls_port
    _, connection = await loop.create_connection(
        lambda: Http2Connection(loop), "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    exchange, reader = begin(connection, "/small")
    assert await reader.read() == SMALL
    assert exchange.trailers == ((b"x-sum", b"1"),)
    connection.close()
    await connection.wait_closed()


async def test_nginx_ends_a_connection_gracefully(http2_servers: Http2Servers) -> None:
    """After `keepalive_requests` it sends GOAWAY: what it processed comes, the rest may be sent
    again.
    """
    loop = asyncio.get_running_loop()
    port = http2_servers.nginx.plain_port
    _, connection = await loop.create_connection(lambda: Http2Connection(loop), "127.0.0.1", port)
    answered = 0
    while connection.is_usable():
        batch = [begin(connection, "/small") for _ in range(min(connection.capacity, 8))]
        for exchange, reader in batch:
            try:
                await exchange.receive_head()
            except ClientConnectionError:
                assert exchange.unprocessed
            else:
                assert await reader.read() == SMALL
                answered += 1
    assert answered == 100
    await asyncio.wait_for(connection.wait_closed(), 5)
