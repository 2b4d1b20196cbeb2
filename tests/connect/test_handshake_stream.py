"""Wires: reading by bytes and by separators, TLS over anything, and handing the transport over."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

import pytest
import uvloop

from wherry.connect.handshake_stream import HIGH_WATER, HandshakeStream


async def open_stream(port: int, factory: Any = HandshakeStream) -> HandshakeStream:
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(lambda: factory(loop), "127.0.0.1", port)
    return stream


def says(data: bytes):
    async def answer(reader, writer) -> None:
        writer.write(data)
        await writer.drain()
        await reader.read()

    return answer


async def test_reads_by_size_and_by_separator(serve) -> None:
    stream = await open_stream(await serve(says(b"abcHTTP/1.1 200\r\n\r\nrest")))
    assert await stream.read(3) == b"abc"
    assert await stream.read_until(b"\r\n\r\n") == b"HTTP/1.1 200\r\n\r\n"
    assert await stream.read(4) == b"rest"
    assert stream.peer[0] == "127.0.0.1"
    assert stream.ssl_object is None
    stream.close()


async def test_a_separator_in_two_pieces_is_found(serve) -> None:
    turn = asyncio.Event()

    async def answer(reader, writer) -> None:
        writer.write(b"head\r\n")
        await turn.wait()
        writer.write(b"\r\nx")
        await reader.read()

    stream = await open_stream(await serve(answer))
    assert await stream.read(1) == b"h"
    turn.set()
    assert await stream.read_until(b"\r\n\r\n") == b"ead\r\n\r\n"
    stream.abort()


async def test_a_peer_that_never_sends_the_separator_is_bounded(serve) -> None:
    stream = await open_stream(await serve(says(b"x" * 5000)))
    with pytest.raises(ValueError, match="within 4096 bytes"):
        await stream.read_until(b"\r\n\r\n", 4096)
    stream.abort()


async def test_a_wire_that_nobody_reads_stops_its_peer(serve) -> None:
    stream = await open_stream(await serve(says(b"x" * (4 * 1024 * 1024))))
    while not stream._paused:
        await asyncio.sleep(0)
    assert len(stream._buffer) < HIGH_WATER + 512 * 1024
    assert len(await stream.read(1024 * 1024)) == 1024 * 1024
    stream.abort()


async def test_a_peer_that_closes_early_is_a_connection_error(serve) -> None:
    async def answer(reader, writer) -> None:
        writer.write(b"ab")
        writer.close()

    stream = await open_stream(await serve(answer))
    with pytest.raises(ConnectionError, match="closed"):
        await stream.read(3)
    with pytest.raises(ConnectionError):
        stream.write(b"x")


class Taker:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")

    def feed(self, data: bytes) -> None:
        self.events.append(data)


class TakerProtocol(Taker, asyncio.Protocol):
    def __init__(self, got: asyncio.Future[bytes]) -> None:
        super().__init__()
        self.got = got

    def data_received(self, data: bytes) -> None:
        self.got.set_result(data)


async def test_the_transport_and_what_is_left_are_handed_over(serve) -> None:
    async def answer(reader, writer) -> None:
        writer.write(b"headmore")
        writer.write(await reader.readexactly(4))
        await reader.read()

    stream = await open_stream(await serve(answer))
    assert await stream.read(4) == b"head"
    while len(stream._buffer) < 4:
        await asyncio.sleep(0)
    taker = TakerProtocol(asyncio.get_running_loop().create_future())
    stream.hand_over(taker)
    assert taker.events == ["made", b"more"]
    stream.transport.write(b"ping")
    assert await taker.got == b"ping"
    stream.abort()


async def test_bytes_from_before_tls_never_count_as_bytes_from_inside(
    serve, client_context
) -> None:
    stream = await open_stream(await serve(says(b"injected")))
    while not stream._buffer:
        await asyncio.sleep(0)
    with pytest.raises(ConnectionError, match="before the TLS handshake"):
        await stream.start_tls(client_context, "localhost")


class Refusing(asyncio.SelectorEventLoop):
    """A loop that upgrades no transport, as some do with those that are TLS already."""

    async def start_tls(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("transport is not supported by start_tls()")


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def others_end() -> None:
    """Until what serves connections has ended."""
    current = asyncio.current_task()
    await asyncio.wait_for(
        asyncio.gather(*(task for task in asyncio.all_tasks() if task is not current)), 5
    )
    await asyncio.sleep(0)  # uvloop closes the sockets a turn after it said so


async def tls_inside_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """S001-130: an echo server behind TLS, behind a TLS relay."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(reader, writer)

    inner = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context)
    inner_port = inner.sockets[0].getsockname()[1]

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", inner_port)
        await asyncio.gather(relay(reader, to_writer), relay(to_reader, writer))

    outer = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=server_context)
    stream = await open_stream(outer.sockets[0].getsockname()[1])
    await stream.start_tls(client_context, "localhost", 5, 1)
    first = stream.ssl_object
    await stream.start_tls(client_context, "localhost", 5, 1)
    assert stream.ssl_object is not None
    assert stream.ssl_object is not first
    big = bytes(range(256)) * 2000
    stream.write(big)
    assert await stream.read(len(big)) == big
    closed = asyncio.get_running_loop().create_future()

    class Last(Taker, asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            closed.set_result(exc)

    stream.hand_over(Last())
    stream.close()
    await asyncio.wait_for(closed, 20)
    inner.close()
    outer.close()
    await others_end()


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop, Refusing])
def test_tls_inside_tls(new_loop, server_context, client_context) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(tls_inside_tls(server_context, client_context))


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop, Refusing])
def test_a_certificate_that_is_not_trusted_closes_the_wire(new_loop, server_context) -> None:
    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=server_context)
        stream = await open_stream(server.sockets[0].getsockname()[1])
        with pytest.raises(ssl.SSLCertVerificationError):
            await stream.start_tls(ssl.create_default_context(), "localhost")
        assert stream.transport.is_closing()
        server.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
