"""WebSockets over HTTP/3 (RFC 9220): with hypercorn, and with an aioquic server that a test scripts."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.authority import CertificateFiles
from tests.servers.process import free_port

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

import pylsqpack
from tests.servers.http3 import Http3Server, Peer, headers, http3_server, response

from wherry.protocol.http3.frames import DATA, HEADERS, ErrorCode, FrameReader, frame

OK = (b":status", b"200")
# SETTINGS_ENABLE_CONNECT_PROTOCOL is 1.
SETTINGS = b"\x00" + frame(0x04, b"\x08\x01")


@pytest.fixture
async def session(client_tls: ssl.SSLContext) -> Any:
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
async def server(certificate_files: CertificateFiles) -> AsyncIterator[Http3Server]:
    """A server that sends the SETTINGS of a test."""
    async with http3_server(lambda *_: None, certificate_files) as server:
        server.early = True
        server.settings = SETTINGS
        yield server


def fields_of(request: bytes) -> dict[bytes, bytes]:
    block = next(
        bytes(data) for kind, data in FrameReader().receive(request, 65536) if kind == HEADERS
    )
    return dict(pylsqpack.Decoder(0, 0).feed_header(0, block)[1])


def data_of(request: bytes) -> bytes:
    found = FrameReader().receive(request, 65536)
    return b"".join(bytes(data) for kind, data in found if kind == DATA)


def message(text: bytes, opcode: int = 1) -> bytes:
    """A short frame of the server's."""
    return bytes((0x80 | opcode, len(text))) + text


def unmasked(data: bytes) -> list[tuple[int, bytes]]:
    """The client's short frames."""
    frames = []
    while data:
        size = data[1] & 0x7F
        mask, body = data[2:6], data[6 : 6 + size]
        frames.append((data[0] & 0xF, bytes(c ^ mask[i % 4] for i, c in enumerate(body))))
        data = data[6 + size :]
    return frames


# --- with a real server ---------------------------------------------------------------------------

APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})
        return
    assert scope["type"] == "websocket", scope
    await receive()
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
"""


@pytest.fixture
async def hypercorn(certificate_files: CertificateFiles, tmp_path: Path) -> AsyncIterator[int]:
    """Its UDP port, which its TCP side names by Alt-Svc."""
    (tmp_path / "echo.py").write_text(APP)
    port, tcp = free_port(socket.SOCK_DGRAM), free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hypercorn", "echo:app", "--quic-bind", f"127.0.0.1:{port}"),
        *("--certfile", certificate_files.chain, "--keyfile", certificate_files.key),
        *("--bind", f"127.0.0.1:{tcp}"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(1000):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", tcp)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield port
    finally:
        process.kill()
        await process.wait()


async def test_messages_go_both_ways(session: Any, hypercorn: int) -> None:
    large = bytes(range(256)) * 1024
    url = f"wss://localhost:{hypercorn}/"
    async with session.get(f"https://localhost:{hypercorn}/") as got:
        assert (got.version, await got.read()) == ((3, 0), b"plain")

    async def talk(number: int) -> None:
        async with session.ws_connect(url, protocols=("chat",)) as ws:
            assert ws._response.version == (3, 0)
            assert ws.protocol == "chat"
            await ws.send_str(f"hello {number}")
            assert await ws.receive_str() == f"hello {number}"
            await ws.send_bytes(large)
            assert await ws.receive_bytes() == large

    await asyncio.gather(*(talk(number) for number in range(4)))
    # All on one connection, which carries requests as before.
    async with session.get(f"https://localhost:{hypercorn}/") as got:
        assert await got.read() == b"plain"
    assert session.connector.stats().opened == 1


# --- on the wire ----------------------------------------------------------------------------------


async def test_what_the_request_says(session: Any, server: Http3Server) -> None:
    """RFC 9220 3, RFC 8441 4 and 5."""
    seen: list[dict[bytes, bytes]] = []

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        if not seen:
            seen.append(fields_of(request))
            peer.send(stream_id, headers(OK), fin=False)
        for opcode, body in unmasked(data_of(request))[peer.answered :]:
            peer.answered += 1
            ends = opcode == 8
            peer.send(stream_id, frame(DATA, message(body, opcode)), fin=ends)

    server.script = script
    async with session.ws_connect(server.url("/chat?x").replace("https", "wss")) as ws:
        await ws.send_str("one")
        assert await ws.receive_str() == "one"
    assert ws.close_code == 1000
    (fields,) = seen
    assert fields[b":method"] == b"CONNECT"
    assert fields[b":protocol"] == b"websocket"
    assert fields[b":scheme"] == b"https"
    assert fields[b":path"] == b"/chat?x"
    assert fields[b":authority"] == f"localhost:{server.port}".encode()
    assert fields[b"sec-websocket-version"] == b"13"
    assert not fields.keys() & {b"sec-websocket-key", b"connection", b"upgrade", b"host"}


async def test_it_waits_for_the_servers_settings(session: Any, server: Http3Server) -> None:
    """RFC 9220 3: not before the server has said that it takes that."""
    server.quiet = True
    opened = asyncio.Event()

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        opened.set()
        peer.send(stream_id, headers(OK) + frame(DATA, message(b"hi")), fin=False)

    server.script = script
    task = asyncio.ensure_future(session.ws_connect(server.url().replace("https", "wss")))
    while not (server.peers and session.connector.stats().open):
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not opened.is_set()
    server.peers[0].uni(SETTINGS)
    ws = await task
    assert await ws.receive_str() == "hi"
    ws._channel.abort()
    await ws.close()


@pytest.mark.parametrize("settings", [b"\x00" + frame(0x04, b""), b"\x00" + frame(4, b"\x08\x00")])
@pytest.mark.parametrize("late", [False, True])
async def test_a_server_that_does_not_offer_it(
    session: Any, server: Http3Server, settings: bytes, late: bool
) -> None:
    server.settings = settings
    server.script = lambda peer, stream_id, _: peer.send(stream_id, response(b"fine"))
    if not late:
        async with session.get(server.url()) as got:
            assert await got.read() == b"fine"
    for _ in range(2):
        with pytest.raises(wherry.ClientConnectionError, match="does not offer extended CONNECT"):
            await session.ws_connect(server.url().replace("https", "wss"))
    async with session.get(server.url()) as got:
        assert await got.read() == b"fine"
    assert len(server.peers) == 1
    assert session.connector.stats().busy == 0


@pytest.mark.parametrize("how", ["cancel", "close", "goaway", "end"])
async def test_one_that_waits_for_settings_can_end(
    session: Any, server: Http3Server, how: str
) -> None:
    server.quiet = True
    task = asyncio.ensure_future(session.ws_connect(server.url().replace("https", "wss")))
    while not (server.peers and session.connector.stats().busy):
        await asyncio.sleep(0)
    peer = server.peers[0]
    if how == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.connector.stats().busy == 0
        return
    if how == "close":
        await session.close()
    elif how == "goaway":
        # No SETTINGS before it: that is a fault of the server's.
        peer.uni(b"\x00" + frame(0x07, b"\x00"))
    else:
        # What was never sent may go again on another connection, which ends as this one.
        while not task.done():
            for each in server.peers:
                each.close(error_code=0x100)
            await asyncio.wait((task,), timeout=0.01)
    with pytest.raises(wherry.ClientError):
        await task


async def test_headers_on_a_tunnel_are_a_fault(session: Any, server: Http3Server) -> None:
    """RFC 9114 4.4: nothing but DATA once a tunnel is there."""

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, headers((b"x", b"y")) if data_of(request) else headers(OK), fin=False)

    server.script = script
    ws = await session.ws_connect(server.url().replace("https", "wss"))
    await ws.send_str("go")
    got = await ws.receive()
    assert got.type in {wherry.WSMsgType.ERROR, wherry.WSMsgType.CLOSED}
    await server.until(lambda: server.ends)
    assert server.ends[0][0] == ErrorCode.FRAME_UNEXPECTED
    await ws.close()


async def test_a_refusal_has_a_body(session: Any, server: Http3Server) -> None:
    server.script = lambda peer, stream_id, _: (
        (None if peer.answered else peer.send(stream_id, response(b"no", status=403)))
        or setattr(peer, "answered", 1)
    )
    with pytest.raises(wherry.WSServerHandshakeError) as refused:
        await session.ws_connect(server.url().replace("https", "wss"))
    assert refused.value.status == 403
    assert session.connector.stats().busy == 0


async def test_a_length_means_nothing_on_a_tunnel(session: Any, server: Http3Server) -> None:
    """RFC 9110 9.3.6."""
    server.script = lambda peer, stream_id, _: peer.send(
        stream_id,
        headers(OK, (b"content-length", b"1")) + frame(DATA, message(b"hello")),
        fin=False,
    )
    ws = await session.ws_connect(server.url().replace("https", "wss"))
    assert await ws.receive_str() == "hello"
    ws._channel.abort()
    await server.until(lambda: server.resets)
    assert {code for _, _, code in server.resets} == {ErrorCode.REQUEST_CANCELLED}
    await ws.close()


async def test_a_slow_reader_holds_the_server_back(session: Any, server: Http3Server) -> None:
    """Nobody takes what comes: the server's bytes stay with it."""
    size = 60_000
    piece = bytes((0x82, 126)) + size.to_bytes(2) + bytes(size)
    server.script = lambda peer, stream_id, _: peer.send(
        stream_id, headers(OK) + frame(DATA, piece) * 200, fin=False
    )
    ws = await session.ws_connect(server.url().replace("https", "wss"), max_msg_size=0)
    (connection,) = session.connector.pool.all_connections()
    while connection.capacity:
        await asyncio.sleep(0.01)
    assert server.peers[0].unsent
    for _ in range(30):
        assert len(await ws.receive_bytes()) == size
    ws._channel.abort()
    await ws.close()


async def test_it_goes_by_http3_where_a_connection_is_there(
    certificate_files: CertificateFiles,
    client_tls: ssl.SSLContext,
    server: Http3Server,
    quic_has_time: None,
) -> None:
    """Where TCP is allowed too: as over HTTP/2, on a connection that is known to take it."""

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        if fields_of(request)[b":method"] == b"GET":
            peer.send(stream_id, response(b"plain"))
        else:
            peer.send(stream_id, headers(OK) + frame(DATA, message(b"hi")), fin=False)

    server.script = script
    connector = wherry.TCPConnector(protocols=("h3", "http/1.1"), ssl=client_tls)
    assert connector.alternatives is not None
    connector.alternatives.tries_all = True
    async with wherry.ClientSession(connector=connector) as session:
        async with session.get(server.url()) as got:
            assert (got.version, await got.read()) == ((3, 0), b"plain")
        ws = await session.ws_connect(server.url().replace("https", "wss"))
        assert ws._response.version == (3, 0)
        assert await ws.receive_str() == "hi"
        ws._channel.abort()
        await ws.close()
        assert connector.stats().opened == 1
