"""HTTP/3 by prior knowledge: what goes well, and everything that a server may do wrong (RFC 9114)."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import random
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
import trustme
import uvloop
from tests.servers.authority import CertificateFiles, client_context

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from tests.servers.http3 import (
    SETTINGS,
    Http3Server,
    Peer,
    headers,
    http3_server,
    response,
)

from wherry.protocol.http3.frames import DATA, HEADERS, ErrorCode, frame, varint

OK = (b":status", b"200")


@pytest.fixture
async def session(client_tls: ssl.SSLContext) -> Any:
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
async def server(certificate_files: CertificateFiles) -> AsyncIterator[Http3Server]:
    """A server whose script a test replaces."""
    async with http3_server(hello, certificate_files) as server:
        yield server


def hello(peer: Peer, stream_id: int, request: bytes) -> None:
    peer.send(stream_id, response(b"hello"))


# --- what goes well -------------------------------------------------------------------------------


async def test_a_response_comes_by_http3(session: Any, server: Http3Server) -> None:
    async with session.get(server.url()) as got:
        assert (got.version, got.status, await got.read()) == ((3, 0), 200, b"hello")
    assert len(server.peers) == 1
    async with session.get(server.url()) as got:
        assert await got.read() == b"hello"
    assert len(server.peers) == 1


async def test_many_requests_share_one_connection(session: Any, server: Http3Server) -> None:
    """RFC 9000 4.6: the limit of streams counts all that ever were, so it must be followed."""

    async def one() -> bytes:
        async with session.get(server.url()) as got:
            body: bytes = await got.read()
            return body

    for _ in range(3):
        assert await asyncio.gather(*(one() for _ in range(120))) == [b"hello"] * 120
    assert len(server.peers) <= 3


@pytest.mark.parametrize("size", [0, 1, 100, 70_000, 1_000_000])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_arrives_whole(
    session: Any, server: Http3Server, size: int, streamed: bool
) -> None:
    body = os.urandom(size)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, size, 50_000):
            yield body[at : at + 50_000]

    def echo(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, response(b"", (b"x-sum", digest(request).encode())))

    server.script = echo
    async with session.post(server.url(), data=pieces() if streamed else body) as got:
        assert got.headers["x-sum"] == hashlib.sha256(body).hexdigest()


def digest(request: bytes) -> str:
    from wherry.protocol.http3.frames import FrameReader

    found = FrameReader().receive(request, 2**20)
    return hashlib.sha256(b"".join(data for kind, data in found if kind == DATA)).hexdigest()


async def test_a_large_response_comes_whole(session: Any, server: Http3Server) -> None:
    body = os.urandom(3_000_000)
    server.script = lambda peer, stream_id, _: peer.send(
        stream_id, response(body, (b"content-length", b"3000000"))
    )
    async with session.get(server.url()) as got:
        assert await got.read() == body


async def test_interim_responses_and_trailers(session: Any, server: Http3Server) -> None:
    """RFC 9114 4.1; and frames, settings and streams of unknown types are ignored (9)."""

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.uni(varint(0x21) + b"whatever")
        peer.send(stream_id, headers((b":status", b"103"), (b"link", b"</x>")), fin=False)
        peer.send(stream_id, frame(0x21, b"grease") + headers(OK, (b"x", b"y")), fin=False)
        peer.send(stream_id, frame(DATA, b"body") + frame(0x40, b""), fin=False)
        peer.send(stream_id, headers((b"x-sum", b"1")) + frame(0x21, b""))

    server.script = script
    async with session.get(server.url()) as got:
        assert (got.headers["x"], await got.read()) == ("y", b"body")
        assert got.trailers["x-sum"] == "1"


@pytest.mark.parametrize("status", [200, 204, 304])
async def test_a_response_without_a_body_may_name_a_length(
    session: Any, server: Http3Server, status: int
) -> None:
    """RFC 9114 4.1.2: to HEAD, and with 204 and 304."""
    server.script = lambda peer, stream_id, _: peer.send(
        stream_id, response(b"", (b"content-length", b"10"), status=status)
    )
    method = "HEAD" if status == 200 else "GET"
    async with session.request(method, server.url()) as got:
        assert (got.status, await got.read()) == (status, b"")


async def test_a_server_may_answer_early(session: Any, server: Http3Server) -> None:
    """RFC 9114 4.1: the response is kept although the server wants no more of the request."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += 100_000
            yield bytes(100_000)

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        server.early = False
        peer.stop(stream_id, ErrorCode.NO_ERROR)
        peer.send(stream_id, response(b"enough", status=413))

    server.early = True
    server.script = script
    async with session.post(server.url(), data=endless()) as got:
        assert (got.status, await got.read()) == (413, b"enough")
    assert sent < 200_000_000
    async with session.get(server.url()) as got:
        assert got.status == 413
    assert len(server.peers) == 1


async def test_a_cancelled_request_resets_its_stream(session: Any, server: Http3Server) -> None:
    asked = asyncio.Event()
    server.script = lambda *_: asked.set()
    task = asyncio.ensure_future(session.get(server.url()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(lambda: server.resets)
    assert server.resets == [("StopSendingReceived", 0, ErrorCode.REQUEST_CANCELLED)]
    server.script = hello
    async with session.get(server.url()) as got:
        assert await got.read() == b"hello"
    assert len(server.peers) == 1


# --- back-pressure --------------------------------------------------------------------------------


async def test_a_slow_reader_holds_the_server_back(session: Any, server: Http3Server) -> None:
    size = 48 * 1024 * 1024
    server.script = lambda peer, stream_id, _: peer.send(
        stream_id, headers(OK) + frame(DATA, bytes(size))
    )
    async with session.get(server.url()) as got:
        (connection,) = session.connector.pool.all_connections()
        while connection.capacity:
            await asyncio.sleep(0.01)
        # Whoever asks now gets a connection of its own.
        server.script = hello
        async with session.get(server.url()) as other:
            assert await other.read() == b"hello"
        assert len(server.peers) == 2
        assert server.peers[0].unsent > size / 2
        read = 0
        async for piece in got.content.iter_chunked(2**20):
            read += len(piece)
        assert read == size
    assert connection.capacity > 0


async def test_a_slow_server_holds_the_upload_back(session: Any, server: Http3Server) -> None:
    sent = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * 2**20:
            sent += 2**16
            yield bytes(2**16)

    stopped = asyncio.Event()

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        transport = server.quic._transport
        transport._loop._remove_reader(transport._sock_fd)
        stopped.set()

    server.early = True
    server.script = script
    task = asyncio.ensure_future(session.post(server.url(), data=source()))
    await stopped.wait()
    last = -1
    while sent != last:
        last = sent
        await asyncio.sleep(0.1)
    assert sent < 8 * 2**20
    task.cancel()
    await asyncio.wait((task,))


# --- what a server does wrong ---------------------------------------------------------------------


def on_stream(data: bytes, *, fin: bool = True) -> Any:
    return lambda peer, stream_id, _: peer.send(stream_id, data, fin=fin)


def on_control(data: bytes) -> Any:
    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(3, data, fin=False)

    return script


def on_uni(data: bytes, *, fin: bool = False) -> Any:
    return lambda peer, *_: peer.uni(data, fin=fin)


CONNECTION_FAULTS = {
    "data before the head": (on_stream(frame(DATA, b"x")), ErrorCode.FRAME_UNEXPECTED),
    "data after an interim response": (
        on_stream(headers((b":status", b"103")) + frame(DATA, b"x")),
        ErrorCode.FRAME_UNEXPECTED,
    ),
    "data after the trailers": (
        on_stream(headers(OK) + headers((b"x", b"y")) + frame(DATA, b"x")),
        ErrorCode.FRAME_UNEXPECTED,
    ),
    "a head after the trailers": (
        on_stream(headers(OK) + headers((b"x", b"y")) + headers((b"x", b"y"))),
        ErrorCode.FRAME_UNEXPECTED,
    ),
    "settings on a request": (on_stream(frame(4, b"")), ErrorCode.FRAME_UNEXPECTED),
    "goaway on a request": (on_stream(frame(7, b"\x00")), ErrorCode.FRAME_UNEXPECTED),
    "cancel_push on a request": (on_stream(frame(3, b"\x00")), ErrorCode.FRAME_UNEXPECTED),
    "max_push_id on a request": (on_stream(frame(13, b"\x00")), ErrorCode.FRAME_UNEXPECTED),
    "http/2's ping on a request": (on_stream(frame(6, b"\x00")), ErrorCode.FRAME_UNEXPECTED),
    "a push promise": (on_stream(frame(5, b"\x00\x00\x00")), ErrorCode.ID_ERROR),
    "an end inside a frame": (on_stream(headers(OK)[:-1]), ErrorCode.FRAME_ERROR),
    "an end inside a frame's head": (on_stream(headers(OK) + b"\x00"), ErrorCode.FRAME_ERROR),
    "a dynamic table": (
        on_stream(frame(HEADERS, b"\x02\x00\x80")),
        ErrorCode.QPACK_DECOMPRESSION_FAILED,
    ),
    "settings twice": (on_control(frame(4, b"")), ErrorCode.FRAME_UNEXPECTED),
    "data on the control stream": (on_control(frame(DATA, b"x")), ErrorCode.FRAME_UNEXPECTED),
    "a head on the control stream": (on_control(headers(OK)), ErrorCode.FRAME_UNEXPECTED),
    "max_push_id by the server": (on_control(frame(13, b"\x00")), ErrorCode.FRAME_UNEXPECTED),
    "cancel_push of nothing": (on_control(frame(3, b"\x00")), ErrorCode.ID_ERROR),
    "goaway without an id": (on_control(frame(7, b"")), ErrorCode.FRAME_ERROR),
    "goaway with two": (on_control(frame(7, b"\x00\x00")), ErrorCode.FRAME_ERROR),
    "goaway of a server's stream": (on_control(frame(7, b"\x03")), ErrorCode.ID_ERROR),
    "goaway that grows": (
        on_control(frame(7, b"\x08") + frame(7, b"\x0c")),
        ErrorCode.ID_ERROR,
    ),
    "a frame too large": (on_control(varint(4) + varint(2**30)), ErrorCode.EXCESSIVE_LOAD),
    "frames to no purpose": (on_control(frame(0x21, b"") * 1100), ErrorCode.EXCESSIVE_LOAD),
    "empty data to no purpose": (
        on_stream(headers(OK) + frame(DATA, b"") * 1100, fin=False),
        ErrorCode.EXCESSIVE_LOAD,
    ),
    "a second control stream": (on_uni(SETTINGS), ErrorCode.STREAM_CREATION_ERROR),
    "a push stream": (on_uni(b"\x01\x00"), ErrorCode.ID_ERROR),
    "an insert into no table": (on_uni(b"\x02\xc0\x00"), ErrorCode.QPACK_ENCODER_STREAM_ERROR),
    "an acknowledgement of nothing": (on_uni(b"\x03\x80"), ErrorCode.QPACK_DECODER_STREAM_ERROR),
    "the control stream ends": (
        lambda peer, *_: peer.send(3, b"", fin=True),
        ErrorCode.CLOSED_CRITICAL_STREAM,
    ),
    "the control stream is reset": (
        lambda peer, *_: peer.reset(3, 0x100),
        ErrorCode.CLOSED_CRITICAL_STREAM,
    ),
    "the encoder stream ends": (on_uni(b"\x02", fin=True), ErrorCode.CLOSED_CRITICAL_STREAM),
    "our control stream is stopped": (
        lambda peer, *_: peer.stop(2, 0x100),
        ErrorCode.CLOSED_CRITICAL_STREAM,
    ),
    "a bidirectional stream": (
        lambda peer, *_: peer.send(1, b"x", fin=False),
        ErrorCode.STREAM_CREATION_ERROR,
    ),
}


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
async def test_a_fault_of_the_connection_ends_it(
    session: Any, server: Http3Server, name: str
) -> None:
    """RFC 9114 8: with its code; who asks next gets a new connection."""
    script, code = CONNECTION_FAULTS[name]
    server.script = script
    with pytest.raises((wherry.ClientError, wherry.BadHttpMessage)):
        async with session.post(server.url(), data=b"x") as got:
            await got.read()
    await server.until(lambda: server.ends)
    assert [end[0] for end in server.ends] == [code]
    server.script = hello
    async with session.get(server.url()) as got:
        assert await got.read() == b"hello"
    assert len(server.peers) == 2


@pytest.mark.parametrize("data", [frame(7, b"\x00"), headers(OK), frame(0x21, b"")])
async def test_the_control_stream_begins_with_settings(
    session: Any, server: Http3Server, data: bytes
) -> None:
    server.quiet = True
    server.script = on_uni(b"\x00" + data)
    with pytest.raises((wherry.ClientError, wherry.BadHttpMessage), match="SETTINGS"):
        await session.post(server.url(), data=b"x")
    await server.until(lambda: server.ends)
    assert server.ends[0][0] == ErrorCode.MISSING_SETTINGS


STREAM_FAULTS = {
    "no head": b"",
    "no status": headers((b"x", b"y")),
    "101": headers((b":status", b"101")),
    "upper case": headers(OK, (b"X", b"y")),
    "connection": headers(OK, (b"connection", b"close")),
    "too short": response(b"abc", (b"content-length", b"4")),
    "too long": response(b"abcde", (b"content-length", b"4")),
    "two lengths": response(b"abcd", (b"content-length", b"4"), (b"content-length", b"5")),
    "pseudo-fields in trailers": response(b"x") + headers(OK),
    "too many fields": headers(OK, *((b"x", b"y") for _ in range(200))),
    "too many interim responses": headers((b":status", b"103")) * 40 + response(b"x"),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
async def test_a_malformed_response_ends_its_stream_alone(
    session: Any, server: Http3Server, name: str
) -> None:
    """RFC 9114 4.1.2."""
    server.script = on_stream(STREAM_FAULTS[name])
    with pytest.raises((wherry.ClientError, wherry.BadHttpMessage)):
        async with session.post(server.url(), data=b"x") as got:
            await got.read()
    server.script = hello
    async with session.get(server.url()) as got:
        assert await got.read() == b"hello"
    assert len(server.peers) == 1


async def test_a_head_has_a_limit(session: Any, server: Http3Server) -> None:
    server.script = on_stream(varint(HEADERS) + varint(2**30) + bytes(1000), fin=False)
    with pytest.raises((wherry.ClientError, wherry.BadHttpMessage), match="1073741824 bytes"):
        await session.get(server.url())
    await server.until(lambda: server.resets)
    assert server.resets[0] == ("StopSendingReceived", 0, ErrorCode.EXCESSIVE_LOAD)


async def test_a_stream_that_is_reset(session: Any, server: Http3Server) -> None:
    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, headers(OK) + frame(DATA, b"abc"), fin=False)
        asyncio.get_running_loop().call_later(0.05, peer.reset, stream_id, ErrorCode.INTERNAL_ERROR)

    server.script = script
    with pytest.raises(wherry.ClientPayloadError, match="H3_INTERNAL_ERROR after 3 bytes"):
        async with session.get(server.url()) as got:
            await got.read()


async def test_a_rejected_request_is_sent_again(session: Any, server: Http3Server) -> None:
    """RFC 9114 4.1.1: H3_REQUEST_REJECTED says that nothing was done about it."""

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        server.script = hello
        peer.reset(stream_id, ErrorCode.REQUEST_REJECTED)

    server.script = script
    async with session.post(server.url(), data=b"x") as got:
        assert await got.read() == b"hello"


async def test_goaway_sends_what_was_not_processed_elsewhere(
    session: Any, server: Http3Server
) -> None:
    """RFC 9114 5.2."""
    async with session.get(server.url()) as got:
        await got.read()

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        server.script = hello
        peer.send(3, frame(7, varint(stream_id)), fin=False)

    server.script = script
    async with session.post(server.url(), data=b"x") as got:
        assert await got.read() == b"hello"
    assert len(server.peers) == 2
    await server.until(lambda: server.ends)
    assert server.ends[0][0] == ErrorCode.NO_ERROR


async def test_goaway_lets_what_is_under_way_end(session: Any, server: Http3Server) -> None:
    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(3, frame(7, varint(stream_id + 4)), fin=False)
        peer.send(stream_id, response(b"last"))

    server.script = script
    for count in (1, 2):
        async with session.get(server.url()) as got:
            assert await got.read() == b"last"
        assert len(server.peers) == count


async def test_a_server_that_closes(session: Any, server: Http3Server) -> None:
    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.close(error_code=ErrorCode.INTERNAL_ERROR, reason_phrase="no more")

    server.script = script
    with pytest.raises(wherry.ServerDisconnectedError, match="H3_INTERNAL_ERROR: no more"):
        await session.post(server.url(), data=b"x")


# --- life and death -------------------------------------------------------------------------------


async def test_a_slow_answer_outlives_the_idle_time_out(
    session: Any, certificate_files: CertificateFiles
) -> None:
    """RFC 9000 10.1.2: a PING says that somebody waits."""

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        asyncio.get_running_loop().call_later(2.5, hello, peer, stream_id, request)

    async with (
        http3_server(script, certificate_files, idle_timeout=1.5) as server,
        session.get(server.url()) as got,
    ):
        assert await got.read() == b"hello"


async def test_nobody_listens(session: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(wherry.ClientConnectorError, match=r"UDP.*refused"):
        await session.get(f"https://127.0.0.1:{port}")


async def test_nobody_answers(session: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(wherry.ConnectionTimeoutError, match="no answer"):
            await session.get(url, timeout=wherry.ClientTimeout(sock_connect=0.2))


async def test_closing_leaves_nothing_behind(
    client_tls: ssl.SSLContext, server: Http3Server
) -> None:
    def sockets() -> set[Any]:
        return {found.laddr for found in psutil.Process().net_connections("udp")}

    before = sockets()
    tasks = asyncio.all_tasks()
    async with (
        wherry.ClientSession(
            connector=wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
        ) as session,
        session.get(f"https://127.0.0.1:{server.port}/") as got,
    ):
        await got.read()
        assert len(sockets() - before) == 1
    assert sockets() == before
    assert asyncio.all_tasks() == tasks
    await server.until(lambda: server.ends)
    assert server.ends == [(ErrorCode.NO_ERROR, "")]


async def test_closing_fails_what_is_under_way(
    client_tls: ssl.SSLContext, server: Http3Server
) -> None:
    asked = asyncio.Event()
    server.script = lambda *_: asked.set()
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        task = asyncio.ensure_future(session.get(server.url()))
        await asked.wait()
    with pytest.raises(wherry.ClientConnectionError):
        await task


# --- trust ----------------------------------------------------------------------------------------


async def asked(server: Http3Server, host: str = "localhost", **options: Any) -> bytes:
    connector = wherry.TCPConnector(protocols=("h3",))
    async with (
        wherry.ClientSession(connector=connector) as session,
        session.get(f"https://{host}:{server.port}/", **options) as got,
    ):
        body: bytes = await got.read()
        return body


async def test_an_unknown_authority_is_refused(server: Http3Server) -> None:
    with pytest.raises(wherry.ClientConnectorCertificateError, match="certificate verify failed"):
        await asked(server)
    with pytest.raises(wherry.ClientConnectorCertificateError, match="certificate verify failed"):
        await asked(server, ssl=client_context(trustme.CA()))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_certificates_names_count(
    server: Http3Server, client_tls: ssl.SSLContext, host: str
) -> None:
    assert await asked(server, host, ssl=client_tls) == b"hello"
    assert await asked(server, host, ssl=client_tls, server_hostname="origin.test") == b"hello"
    with pytest.raises(wherry.ClientConnectorCertificateError):
        await asked(server, host, ssl=client_tls, server_hostname="other.test")


async def test_no_checks_where_none_are_wanted(server: Http3Server) -> None:
    assert await asked(server, ssl=False) == b"hello"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert await asked(server, ssl=context) == b"hello"


async def test_a_fingerprint_alone_decides(
    server: Http3Server, certificate_files: CertificateFiles
) -> None:
    pem = certificate_files.chain.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 25])
    right = hashlib.sha256(der).digest()
    assert await asked(server, ssl=wherry.Fingerprint(right)) == b"hello"
    with pytest.raises(wherry.ServerFingerprintMismatch) as caught:
        await asked(server, ssl=wherry.Fingerprint(bytes(32)))
    assert caught.value.got == right


def no_tls13(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def any_name(context: ssl.SSLContext) -> None:
    context.check_hostname = False


def revocation(context: ssl.SSLContext) -> None:
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


@pytest.mark.parametrize("change", [no_tls13, any_name, revocation])
async def test_a_context_that_cannot_be_carried_over_is_refused(
    server: Http3Server, client_tls: ssl.SSLContext, change: Any
) -> None:
    change(client_tls)
    with pytest.raises(wherry.ClientConnectorSSLError, match="cannot be used for HTTP/3"):
        await asked(server, ssl=client_tls)
    assert not server.peers


async def test_a_context_of_another_class_is_refused(server: Http3Server) -> None:
    class Own(ssl.SSLContext):
        pass

    with pytest.raises(wherry.ClientConnectorSSLError, match="checks by itself"):
        await asked(server, ssl=Own(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises(wherry.ClientConnectorSSLError, match="no authority"):
        await asked(server, ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


async def test_a_server_without_h3(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    async with http3_server(hello, certificate_files, alpn_protocols=["hq"]) as server:
        with pytest.raises(wherry.ClientConnectorSSLError, match="h3"):
            await asked(server, ssl=client_tls)


# --- where HTTP/3 does not go ---------------------------------------------------------------------


async def test_never_through_a_proxy(session: Any, server: Http3Server) -> None:
    with pytest.raises(wherry.ClientConnectorError, match="socks5, socks5h and masque"):
        await session.get(server.url(), proxy="http://127.0.0.1:9")
    assert not server.peers


async def test_only_with_https(session: Any, server: Http3Server) -> None:
    with pytest.raises(wherry.ClientConnectorError, match="https origins only"):
        await session.get(f"http://localhost:{server.port}/")


async def test_without_the_extra_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.connect.base_connector.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"wherry\[http3\]"):
        wherry.TCPConnector(protocols=("h3",))


# --- sockets, loops and networks ------------------------------------------------------------------


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_on_every_loop(
    new_loop: Any, certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    async def main() -> None:
        connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
        async with (
            http3_server(hello, certificate_files) as server,
            wherry.ClientSession(connector=connector) as session,
        ):
            for _ in range(3):
                async with session.post(server.url(), data=bytes(200_000)) as got:
                    assert await got.read() == b"hello"
            assert len(server.peers) == 1

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def test_a_loop_that_watches_no_sockets_takes_none_of_the_program(
    client_tls: ssl.SSLContext, server: Http3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows' Proactor makes its own; see test_quic_carried."""

    def add_reader(*_: Any) -> None:
        raise NotImplementedError

    connector = wherry.TCPConnector(
        protocols=("h3",), ssl=client_tls, socket_factory=lambda info: socket.socket(*info[:2])
    )
    async with wherry.ClientSession(connector=connector) as session:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", add_reader)
        with pytest.raises(wherry.ClientConnectorError, match="socket_factory"):
            await session.get(f"https://127.0.0.1:{server.port}/")


async def test_sockets_are_made_and_bound_as_the_connector_says(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    made = []

    def factory(info: Any) -> socket.socket:
        made.append(info)
        return socket.socket(info[0], info[1], info[2])

    connector = wherry.TCPConnector(
        protocols=("h3",), ssl=client_tls, local_addr=("127.0.0.2", 0), socket_factory=factory
    )
    async with (
        wherry.ClientSession(connector=connector) as session,
        session.get(server.url()) as got,
    ):
        assert got.connection is None or got.connection.transport is not None
        (connection,) = connector.pool.all_connections()
        assert connection.transport is not None
        assert connection.transport.get_extra_info("sockname")[0] == "127.0.0.2"
        assert connection.transport.get_extra_info("peername")[1] == server.port
    assert {info[1] for info in made} == {socket.SOCK_DGRAM}


async def test_addresses_that_are_not_allowed_are_not_dialled(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    connector = wherry.TCPConnector(
        protocols=("h3",), ssl=client_tls, allow_address=lambda address: False
    )
    async with wherry.ClientSession(connector=connector) as session:
        with pytest.raises(wherry.ClientConnectorAddressBlocked):
            await session.get(server.url())
    assert not server.peers


async def test_a_server_that_falls_silent_is_given_up(
    session: Any, server: Http3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9002 6.2: probes that nobody answers, well before the idle time-out."""
    monkeypatch.setattr("wherry.protocol.http3.connection._MAX_PROBES", 3)
    monkeypatch.setattr("wherry.protocol.http3.connection._MAX_SILENCE", 0.2)
    async with session.get(server.url()) as got:
        await got.read()
    server.vanish()
    # Its port is taken by somebody who says nothing.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        await asyncio.sleep(0)
        silent.bind(("127.0.0.1", server.port))
        with pytest.raises(wherry.ServerDisconnectedError, match="has not answered"):
            await session.post(server.url(), data=b"x")


async def test_a_server_that_is_gone_is_noticed(session: Any, server: Http3Server) -> None:
    """The system says that nobody has the port."""
    async with session.get(server.url()) as got:
        await got.read()
    server.vanish()
    await asyncio.sleep(0)
    with pytest.raises(wherry.ServerDisconnectedError, match="refused"):
        await session.post(server.url(), data=b"x")


class Relay(asyncio.DatagramProtocol):
    """A bad network: loses, doubles and delays datagrams, both ways."""

    def __init__(self, port: int, seed: int) -> None:
        self.server = ("127.0.0.1", port)
        self.client: Any = None
        self.chance = random.Random(seed)
        self.transport: Any = None
        self.lost = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if address == self.server:
            target = self.client
        else:
            self.client, target = address, self.server
        kind = self.chance.random()
        if kind < 0.04:
            self.lost += 1
            return
        send = self.transport.sendto
        if kind < 0.08:
            send(data, target)
        if kind < 0.2:
            asyncio.get_running_loop().call_later(0.01, self._late, data, target)
        else:
            send(data, target)

    def _late(self, data: bytes, target: Any) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, target)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_bad_network_loses_nothing(session: Any, server: Http3Server, seed: int) -> None:
    body = os.urandom(400_000)

    def echo(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, response(body, (b"x-sum", digest(request).encode())))

    server.script = echo
    transport, relay = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Relay(server.port, seed), local_addr=("127.0.0.1", 0)
    )
    url = f"https://127.0.0.1:{transport.get_extra_info('sockname')[1]}/"
    try:
        for _ in range(3):
            async with session.post(url, data=body) as got:
                assert got.headers["x-sum"] == hashlib.sha256(body).hexdigest()
                assert await got.read() == body
        assert relay.lost
    finally:
        transport.close()


def test_the_systems_authorities(
    ca: trustme.CA, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE and SSL_CERT_DIR count, as for OpenSSL."""
    from wherry.connect.quic.certificate_trust import _system_trust

    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "0123abcd.0").write_bytes(ca.cert_pem.bytes())
    (tmp_path / "dir" / "README").write_bytes(b"x")
    other = trustme.CA().cert_pem.bytes()
    (tmp_path / "file.pem").write_bytes(other)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "dir"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "file.pem"))
    trust = _system_trust(ssl.create_default_context())
    assert trust.verified
    assert ca.cert_pem.bytes().strip() in trust.authorities
    assert other.strip() in trust.authorities
    assert b"x\n" not in trust.authorities.splitlines(keepends=True)


class Two(wherry.abc.AbstractResolver):
    """A name with two addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("silent", [True, False])
async def test_the_next_address_is_tried(
    server: Http3Server, client_tls: ssl.SSLContext, silent: bool
) -> None:
    """RFC 8305: when the first one is refused, or silent for a while."""
    connector = wherry.TCPConnector(
        protocols=("h3",),
        ssl=client_tls,
        resolver=Two("127.0.0.2", "127.0.0.1"),
        happy_eyeballs_delay=0.05,
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if silent:
            sock.bind(("127.0.0.2", server.port))
        async with (
            wherry.ClientSession(connector=connector) as session,
            session.get(f"https://origin.test:{server.port}/") as got,
        ):
            assert await got.read() == b"hello"
    assert len(server.peers) == 1


async def test_a_dial_can_be_cancelled_at_any_step(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    def sockets() -> set[Any]:
        return {found.laddr for found in psutil.Process().net_connections("udp")}

    before, tasks = sockets(), asyncio.all_tasks()
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        for turns in range(30):
            task = asyncio.ensure_future(session.get(f"https://127.0.0.1:{server.port}/"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
        async with session.get(f"https://127.0.0.1:{server.port}/") as got:
            assert await got.read() == b"hello"
    assert sockets() == before
    assert asyncio.all_tasks() == tasks


async def test_an_unused_connection_is_closed_in_time(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls, keepalive_timeout=0.05)
    async with wherry.ClientSession(connector=connector) as session:
        async with session.get(server.url()) as got:
            await got.read()
        await server.until(lambda: server.ends)
        assert server.ends == [(ErrorCode.NO_ERROR, "")]
        async with session.get(server.url()) as got:
            assert await got.read() == b"hello"
    assert len(server.peers) == 2


async def test_one_request_a_connection_where_that_is_wanted(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls, force_close=True)
    async with wherry.ClientSession(connector=connector) as session:
        for count in (1, 2):
            async with session.get(server.url()) as got:
                assert await got.read() == b"hello"
            assert len(server.peers) == count


async def test_an_error_of_ours_ends_the_connection(
    session: Any, server: Http3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a connection whose reading has failed, and the loop is told why."""

    def fails(*arguments: object) -> None:
        raise ZeroDivisionError

    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with session.get(server.url()) as got:
        assert await got.read() == b"hello"
    (connection,) = session.connector.pool.all_connections()
    monkeypatch.setattr(type(connection), "finish", fails)
    with pytest.raises(wherry.ClientError):
        async with session.get(server.url()) as got:
            await got.read()
    assert isinstance(told[0]["exception"], ZeroDivisionError)
    assert not list(session.connector.pool.all_connections())
    monkeypatch.undo()
    async with session.get(server.url()) as got:
        assert await got.read() == b"hello"


async def test_many_requests_leave_nothing_behind(session: Any, server: Http3Server) -> None:
    """What a request takes is given back: nothing grows with the number of requests."""
    server.script = lambda peer, stream_id, request: peer.send(stream_id, response(b"x"))

    async def ask(times: int) -> None:
        for _ in range(times):
            async with session.get(server.url()) as got:
                assert await got.read() == b"x"

    def objects() -> Counter[str]:
        gc.collect()
        kinds = map(type, gc.get_objects())
        return Counter(kind.__name__ for kind in kinds if str(kind.__module__).startswith("wherry"))

    await asyncio.gather(*[ask(2) for _ in range(16)])
    before = objects()
    await asyncio.gather(*[ask(20) for _ in range(16)])
    (connection,) = session.connector.pool.all_connections()
    assert connection.exchanges == 352
    assert not connection.streams
    grown = {name: count for name, count in (objects() - before).items() if count > 16}
    assert not grown
