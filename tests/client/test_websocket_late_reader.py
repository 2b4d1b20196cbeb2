"""A program that reads a WebSocket late hears all that the server said, its close code included:
nothing of our own goes out meanwhile that a server which has gone would answer by a reset.

The server runs in a thread.  Its sockets have buffers of set sizes: what it says last lies in its
own system's buffer, where a reset destroys it, while the client does not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket as socket_module
import ssl
import struct
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self

import pytest
import uvloop
from tests.client.test_last_words import switching
from tests.protocol.websocket_cases import BINARY, PING, close, frame

import wherry
from wherry import ClientSession, ServerTimeoutError, TCPConnector, WSMsgType
from wherry.client.websocket import channel as channel_module
from wherry.client.websocket.heartbeat import Heartbeat
from wherry.protocol import receive_buffer
from wherry.testing import LocalServer

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="nothing tells what lies in the system's buffer"
)
MESSAGE = frame(BINARY, bytes(1000))
TOO_MANY = 300  # messages; more than a channel keeps


class Farewell:
    """A server that says `first`; when the client says so, it says `last` and closes its socket.

    Args:
        first: What it says after the handshake.
        last: What it says last; it is not to be received at once.
        tls: Its context, None for plain TCP.
    """

    def __init__(self, first: bytes, last: bytes, tls: ssl.SSLContext | None) -> None:
        self._first = first
        self._last = last
        self._tls = tls
        self._listener = socket_module.create_server(("127.0.0.1", 0))
        # What is accepted inherits it.
        self._listener.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_SNDBUF, 1 << 20)
        self.go_on = threading.Event()
        self.gone = threading.Event()
        self.unsent = 0  # bytes that its system had still to send when it had closed
        self._thread = threading.Thread(target=self._run)

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()
        return f"{'ws' if self._tls is None else 'wss'}://{host}:{port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.go_on.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        connection: Any
        connection, _ = self._listener.accept()
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += connection.recv(65536)
            connection.sendall(switching(asked) + self._first)
            assert self.go_on.wait(60)
            connection.sendall(self._last)
            queue = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
            (self.unsent,) = struct.unpack("i", queue)
        finally:
            connection.close()
            self.gone.set()


@pytest.fixture(params=["tcp", "tls"])
def tls(request: pytest.FixtureRequest, server_tls: ssl.SSLContext) -> ssl.SSLContext | None:
    return None if request.param == "tcp" else server_tls


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    return asyncio.run if request.param == "asyncio" else uvloop.run


def buffer_of(size: int) -> Callable[[Any], socket_module.socket]:
    """Sockets that receive about so many bytes which nobody reads."""

    def make(address: Any) -> socket_module.socket:
        sock = socket_module.socket(*address[:3])
        sock.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, size)
        return sock

    return make


@contextlib.asynccontextmanager
async def opened(
    server: Farewell,
    client_tls: ssl.SSLContext,
    heartbeat: float | None = None,
    buffer: int = 16384,
) -> AsyncIterator[wherry.ClientWebSocketResponse]:
    connector = TCPConnector(ssl=client_tls, socket_factory=buffer_of(buffer))
    async with asyncio.timeout(60), ClientSession(connector=connector) as session:
        yield await session.ws_connect(server.url, heartbeat=heartbeat)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def write_until_it_fails(socket: wherry.ClientWebSocketResponse) -> None:
    """The loop does not run meanwhile; the systems at both ends may need a while."""
    with pytest.raises(wherry.ClientConnectionResetError):
        for _ in range(10_000):
            await socket.send_str("are you there")
            time.sleep(0.001)


class Beats:
    """How often a heartbeat's timer fired, and how often it asked."""

    def __init__(self) -> None:
        self.ticks = 0
        self.questions = 0


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beats]:
    beats = Beats()
    tick, ask = Heartbeat._tick, Heartbeat._ask

    def counted_tick(self: Heartbeat) -> None:
        beats.ticks += 1
        tick(self)

    def counted_ask(self: Heartbeat, before: Any) -> None:
        beats.questions += 1
        ask(self, before)

    monkeypatch.setattr(Heartbeat, "_tick", counted_tick)
    monkeypatch.setattr(Heartbeat, "_ask", counted_ask)
    return beats


def beat_every(seconds: float, socket: wherry.ClientWebSocketResponse) -> None:
    """Let the heartbeat of a socket be of so many seconds, from now on."""
    heartbeat = socket._channel.heartbeat
    assert heartbeat is not None
    heartbeat.stop()
    heartbeat._seconds = seconds
    heartbeat.start()


async def while_three_beats_pass(socket: wherry.ClientWebSocketResponse, beats: Beats) -> None:
    """Which a program spends with something else than reading."""
    before = beats.ticks
    beat_every(0.01, socket)
    await until(lambda: beats.ticks >= before + 3)
    beat_every(60, socket)


async def hear_all(socket: wherry.ClientWebSocketResponse, count: int) -> None:
    """Hear `count` messages, and the server's close code."""
    for _ in range(count):
        assert (await socket.receive()).type is WSMsgType.BINARY
    message = await socket.receive()
    assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4004, "bad token")
    assert socket.close_code == 4004
    assert socket.exception() is None


def test_a_heartbeat_takes_nothing_from_a_program_that_reads_late(
    tls: Any, client_tls: ssl.SSLContext, run: Any, beats: Beats
) -> None:
    async def main(server: Farewell) -> None:
        async with opened(server, client_tls, heartbeat=60) as socket:
            await until(lambda: socket._channel.is_paused)
            server.go_on.set()
            await until(server.gone.is_set)
            await while_three_beats_pass(socket, beats)
            assert beats.questions == 0
            await hear_all(socket, TOO_MANY + 100)

    with Farewell(MESSAGE * TOO_MANY, MESSAGE * 100 + close(4004, b"bad token"), tls) as server:
        run(main(server))
    assert server.unsent > 50_000


def test_answers_to_pings_wait_while_the_program_is_behind(
    tls: Any, client_tls: ssl.SSLContext, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "LATE_PONG_SECONDS", 60.0)

    async def main(server: Farewell) -> None:
        async with opened(server, client_tls) as socket:
            await until(lambda: socket._channel.is_paused)
            server.go_on.set()
            await until(server.gone.is_set)
            await hear_all(socket, TOO_MANY + 101)

    last = frame(PING, b"1") + MESSAGE + frame(PING, b"2") + MESSAGE * 100
    with Farewell(MESSAGE * TOO_MANY, last + close(4004, b"bad token"), tls) as server:
        run(main(server))
    assert server.unsent > 50_000


async def test_the_last_ping_is_answered_when_the_program_has_read(
    raw_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "LATE_PONG_SECONDS", 60.0)
    stopped = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(switching(await reader.readuntil(b"\r\n\r\n")))
        for _ in range(2):
            writer.write(MESSAGE * TOO_MANY)
            await stopped.wait()
            stopped.clear()
            writer.write(frame(PING, b"1") + frame(PING, b"2") + MESSAGE)
            answer = await reader.readexactly(7)
            assert (answer[:2], answer[6] ^ answer[2]) == (b"\x8a\x81", ord("2"))
        writer.write(close(4004, b"bad token"))
        await reader.read()
        writer.close()

    server = await raw_server(script)
    async with asyncio.timeout(60), ClientSession() as session:
        socket = await session.ws_connect(f"ws://127.0.0.1:{server.port}/")
        channel = socket._channel
        for _ in range(2):
            await until(lambda: channel.is_paused)
            stopped.set()
            for _ in range(TOO_MANY + 1):
                assert (await socket.receive()).type is WSMsgType.BINARY
            timer = channel._late_pong_timer
            assert timer is not None
            timer.cancel()
            channel._answer()  # its time has come
            assert channel._late_pong_timer is None
        await hear_all(socket, 0)


async def test_a_dead_peer_is_found_once_the_program_reads_again(
    raw_server: Any, beats: Beats
) -> None:
    pings = b""
    over = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal pings
        writer.write(switching(await reader.readuntil(b"\r\n\r\n")))
        writer.write(MESSAGE * TOO_MANY)
        pings = await reader.read()
        writer.close()
        over.set()

    server = await raw_server(script)
    async with asyncio.timeout(60), ClientSession() as session:
        socket = await session.ws_connect(f"ws://127.0.0.1:{server.port}/", heartbeat=60)
        channel = socket._channel
        await until(lambda: channel.is_paused)
        await while_three_beats_pass(socket, beats)
        assert beats.questions == 0
        channel.heard_at = 0.0
        for number in range(TOO_MANY):
            assert (await socket.receive()).type is WSMsgType.BINARY
            if not number:
                assert channel.is_paused
            elif not channel.is_paused:
                assert channel.heard_at > 0  # a whole time of silence begins
        beat_every(0.01, socket)
        message = await socket.receive()
        assert message.type is WSMsgType.ERROR
        assert isinstance(message.data, ServerTimeoutError)
        assert socket.close_code == 1006
        await over.wait()
    assert pings[:2] == b"\x89\x80"


async def test_nothing_is_asked_over_http2_either_while_the_program_does_not_read(
    wherry_tls_server: LocalServer, beats: Beats
) -> None:
    port = wherry_tls_server.port
    connector = TCPConnector(ssl=wherry_tls_server.client_context, protocols=("h2", "http/1.1"))
    async with asyncio.timeout(60), ClientSession(connector=connector) as session:
        async with session.get(f"https://127.0.0.1:{port}/get") as response:
            assert response.version == (2, 0)
        async with session.ws_connect(f"wss://127.0.0.1:{port}/ws/echo", heartbeat=60) as socket:
            for _ in range(TOO_MANY):
                await socket.send_bytes(bytes(1000))
            await until(lambda: socket._channel.is_paused)
            await while_three_beats_pass(socket, beats)
            assert beats.questions == 0
            for _ in range(TOO_MANY):
                assert len(await socket.receive_bytes()) == 1000


def test_all_that_the_socket_holds_is_heard_after_a_failed_write(
    tls: Any, client_tls: ssl.SSLContext, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large it is: what is read is bounded by what the system keeps."""
    monkeypatch.setattr(receive_buffer, "MOST_REMAINING", 1)
    monkeypatch.setattr(receive_buffer, "BUFFER_SIZE", 1000)

    async def main(server: Farewell) -> None:
        async with opened(server, client_tls, buffer=200_000) as socket:
            await until(lambda: socket._channel.is_paused)
            server.go_on.set()
            await until(server.gone.is_set)
            await write_until_it_fails(socket)
            await hear_all(socket, TOO_MANY + 5)

    with Farewell(MESSAGE * TOO_MANY, MESSAGE * 5 + close(4004, b"bad token"), tls) as server:
        run(main(server))


def test_a_heartbeat_that_is_due_when_a_write_has_failed_lets_the_last_words_be_heard(
    tls: Any, client_tls: ssl.SSLContext, run: Any
) -> None:
    async def main(server: Farewell) -> None:
        async with opened(server, client_tls, heartbeat=60) as socket:
            channel = socket._channel
            heartbeat = channel.heartbeat
            assert heartbeat is not None
            server.go_on.set()
            assert server.gone.wait(10)
            await write_until_it_fails(socket)
            channel.heard_at -= 100
            heartbeat._tick()
            await hear_all(socket, 1)

    with Farewell(b"", MESSAGE + close(4004, b"bad token"), tls) as server:
        run(main(server))
