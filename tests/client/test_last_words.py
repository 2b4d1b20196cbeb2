"""What a server says last is heard, though the client writes before it reads: over WebSockets, raw
streams and plain exchanges, by TCP and TLS, on every event loop.

The servers run in threads and the clients wait for them without letting their loop run: so the last
words, and the end, are there before the client writes, and it writes before it reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket as socket_module
import ssl
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import uvloop
from tests.protocol.websocket_cases import BINARY, close, frame
from tests.servers.raw import until_all_has_come

import wherry
from wherry import ClientSession, DataQueue, EofStream, WSMsgType
from wherry.client.websocket.channel import HIGH_WATER
from wherry.protocol.websocket.handshake import accept_for

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux says whether all that was sent has come"
)
RESET = struct.pack("ii", 1, 0)


class LastWords:
    """A server that answers the handshake, takes one read more, says its last words and is gone.

    Args:
        words: What it says last.
        tls: Its context, None for plain TCP.
        reset: Whether it ends by a reset.
        head: What it answers in place of the handshake of a WebSocket; b"" for nothing.
        before: What it says first; then it waits for `may_go_on`.
    """

    def __init__(
        self,
        words: bytes,
        tls: ssl.SSLContext | None,
        reset: bool,
        head: bytes | None = None,
        before: bytes = b"",
    ) -> None:
        self._words = words
        self._tls = tls
        self._reset = reset
        self._head = head
        self._before = before
        self.may_go_on = threading.Event()
        self._listener = socket_module.create_server(("127.0.0.1", 0))
        self.gone = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def authority(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        try:
            plain, _ = self._listener.accept()
            plain.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
            connection: Any = plain
            if self._tls is not None:
                connection = self._tls.wrap_socket(plain, server_side=True)
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += connection.recv(65536)
            if self._head != b"":
                connection.sendall(self._head or switching(asked))
                connection.recv(65536)
            if self._before:
                connection.sendall(self._before)
                assert self.may_go_on.wait(10)
            connection.sendall(self._words)
            until_all_has_come(connection)
            if self._reset:
                connection.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_LINGER, RESET)
            connection.close()
        finally:
            self.gone.set()


def switching(asked: bytes) -> bytes:
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", asked)
    accept = accept_for(key[1].decode()) if key is not None else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


@pytest.fixture(params=["tcp", "tls"])
def tls(request: pytest.FixtureRequest, server_tls: ssl.SSLContext) -> ssl.SSLContext | None:
    return None if request.param == "tcp" else server_tls


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    return asyncio.run if request.param == "asyncio" else uvloop.run


@contextlib.asynccontextmanager
async def opened(server: LastWords, client_tls: ssl.SSLContext, by_tls: bool) -> Any:
    scheme = "wss" if by_tls else "ws"
    connector = wherry.TCPConnector(ssl=client_tls)
    async with asyncio.timeout(10), ClientSession(connector=connector) as session:
        yield await session.ws_connect(f"{scheme}://{server.authority}/")


async def write_until_it_fails(socket: wherry.ClientWebSocketResponse) -> None:
    """The first frame draws a reset, which a later one meets; the loop does not run meanwhile."""
    limit = time.monotonic() + 10
    with pytest.raises(wherry.ClientConnectionResetError):
        while time.monotonic() < limit:
            await socket.send_str("are you there")
            time.sleep(0.0005)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("before", [b"", frame(BINARY, bytes(1000)) * 20])
def test_the_close_code_of_a_server_that_has_gone_is_heard(
    tls: Any, client_tls: ssl.SSLContext, run: Any, reset: bool, before: bytes
) -> None:
    async def main(server: LastWords) -> None:
        async with opened(server, client_tls, tls is not None) as socket:
            await socket.send_str("a bad token")
            assert server.gone.wait(10)
            await write_until_it_fails(socket)
            for _ in range(20 if before else 0):
                assert len(await socket.receive_bytes()) == 1000
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (
                WSMsgType.CLOSE,
                4004,
                "bad token",
            )
            assert socket.close_code == 4004
            assert socket.exception() is None
            assert (await socket.receive()).type is WSMsgType.CLOSED

    with LastWords(before + close(4004, b"bad token"), tls, reset) as server:
        run(main(server))


@contextlib.asynccontextmanager
async def all_at_once(words: bytes, tls: ssl.SSLContext | None, *, right: bool = True) -> Any:
    """A server that switches, says its last words and ends, all in one turn of its loop."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(switching(asked if right else b"") + words)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{'ws' if tls is None else 'wss'}://{host}:{port}/"


@pytest.mark.parametrize("writes", [False, True])
def test_an_end_that_comes_together_with_the_switch_hides_nothing(
    tls: Any, client_tls: ssl.SSLContext, run: Any, writes: bool
) -> None:
    """Over TLS all three may be in one read: the end must wait for who takes the tunnel."""

    async def main() -> None:
        words = frame(BINARY, bytes(1000)) * 3 + close(4004, b"bad token")
        async with (
            asyncio.timeout(10),
            all_at_once(words, tls) as url,
            ClientSession(connector=wherry.TCPConnector(ssl=client_tls)) as session,
        ):
            socket = await session.ws_connect(url)
            if writes:
                await socket.send_str("hello")
            for _ in range(3):
                assert len(await socket.receive_bytes()) == 1000
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (
                WSMsgType.CLOSE,
                4004,
                "bad token",
            )
            assert socket.close_code == 4004

    run(main())


def test_an_end_that_comes_together_with_a_switch_that_is_refused_leaves_nothing(
    tls: Any, client_tls: ssl.SSLContext, run: Any
) -> None:
    async def main() -> None:
        connector = wherry.TCPConnector(ssl=client_tls)
        async with (
            asyncio.timeout(10),
            all_at_once(b"", tls, right=False) as url,
            ClientSession(connector=connector) as session,
        ):
            with pytest.raises(wherry.WSServerHandshakeError):
                await session.ws_connect(url)
            await session.close()  # which waits for every transport
            assert connector.stats().open == 0

    run(main())


def test_a_program_that_closes_instead_of_receiving_finds_the_code(
    tls: Any, client_tls: ssl.SSLContext, run: Any
) -> None:
    async def main(server: LastWords, lost: bool) -> None:
        async with opened(server, client_tls, tls is not None) as socket:
            await socket.send_str("a bad token")
            assert server.gone.wait(10)
            await write_until_it_fails(socket)
            while lost and not socket._channel.lost:
                await asyncio.sleep(0)
            await socket.close()
            assert socket.close_code == 4004

    for lost in (False, True):
        with LastWords(close(4004), tls, reset=False) as server:
            run(main(server, lost))


def test_what_lies_behind_messages_that_nobody_took_is_heard(
    tls: Any, client_tls: ssl.SSLContext, run: Any
) -> None:
    """Reading is stopped then; the last words are in the socket, or half decrypted."""

    async def main(server: LastWords) -> None:
        async with opened(server, client_tls, tls is not None) as socket:
            await socket.send_str("a bad token")
            while not socket._channel.is_paused:
                await asyncio.sleep(0.001)
            server.may_go_on.set()
            assert server.gone.wait(10)
            await write_until_it_fails(socket)
            while not socket._channel.lost:
                await asyncio.sleep(0)
            sizes = [len(await socket.receive_bytes()) for _ in range(9)]
            assert sizes == [50_000] * 6 + [1000] * 3
            assert (await socket.receive()).data == 4004
            assert socket.exception() is None

    # Enough to stop reading at; what comes behind it is little, and fits into any kernel's buffer.
    before = frame(BINARY, bytes(50_000)) * 6
    words = frame(BINARY, bytes(1000)) * 3 + close(4004)
    assert len(before) > HIGH_WATER
    with LastWords(words, tls, reset=False, before=before) as server:
        run(main(server))


class Whole:
    """A parser that gives all that came, at the end."""

    def __init__(self, queue: DataQueue[bytes]) -> None:
        self.queue = queue
        self.came = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.came += data
        return False, b""

    def feed_eof(self) -> None:
        self.queue.feed_data(self.came, len(self.came))
        self.queue.feed_eof()


@pytest.mark.parametrize("paused", [False, True])
def test_a_raw_stream_hears_the_last_words(
    tls: Any, client_tls: ssl.SSLContext, run: Any, paused: bool
) -> None:
    async def main(server: LastWords) -> None:
        scheme = "http" if tls is None else "https"
        connector = wherry.TCPConnector(ssl=client_tls)
        async with asyncio.timeout(10), ClientSession(connector=connector) as session:
            headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
            response = await session.get(f"{scheme}://{server.authority}/", headers=headers)
            protocol = response.connection.protocol
            queue: DataQueue[bytes] = DataQueue(asyncio.get_running_loop())
            parser = Whole(queue)
            protocol.set_parser(parser, None)
            if paused:
                protocol.pause_reading()
            protocol.transport.write(b"something wrong")
            assert server.gone.wait(10)
            for _ in range(3):
                protocol.transport.write(b"and more of it")
            assert await queue.read() == b"no: that was wrong"
            with pytest.raises(EofStream):
                await queue.read()

    head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    with LastWords(b"no: that was wrong", tls, reset=False, head=head) as server:
        run(main(server))


def test_an_answer_to_half_an_upload_is_heard(
    tls: Any, client_tls: ssl.SSLContext, run: Any
) -> None:
    """By every loop, and over TLS."""

    async def main(server: LastWords) -> None:
        async def body() -> Any:
            yield b"x" * 1000
            assert server.gone.wait(10)
            for _ in range(5):
                yield b"x" * 1000

        scheme = "http" if tls is None else "https"
        connector = wherry.TCPConnector(ssl=client_tls)
        async with (
            asyncio.timeout(10),
            ClientSession(connector=connector) as session,
            session.post(f"{scheme}://{server.authority}/", data=body()) as response,
        ):
            assert response.status == 413
            assert await response.read() == b"too large"

    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large"
    with LastWords(answer, tls, reset=False, head=b"") as server:
        run(main(server))


class Http2LastWords(LastWords):
    """The same by HTTP/2 in the clear: `ending` says what ends the stream behind the last words.

    Args:
        words: What it says last.
        ending: "reset" is RST_STREAM, "gone" the end of the connection, "early" RST_STREAM in one
            piece with the response's head.
    """

    def __init__(self, words: bytes, ending: str) -> None:
        super().__init__(words, None, reset=False)
        self._ending = ending
        self._said = False

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection, contextlib.suppress(ConnectionError):
            connection.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
            side = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            side.local_settings = h2.settings.Settings(
                client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
            )
            side.initiate_connection()
            connection.sendall(side.data_to_send())
            while True:
                for event in side.receive_data(connection.recv(65536)):
                    self._take(side, event)
                connection.sendall(side.data_to_send())
                if self._said:
                    until_all_has_come(connection)
                    break
            if self._ending != "gone":
                self.gone.set()
                while connection.recv(65536):
                    pass  # the client ends it
        self.gone.set()

    def _take(self, side: Any, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            side.send_headers(event.stream_id, [(":status", "200")])
        if not isinstance(
            event,
            h2.events.RequestReceived if self._ending == "early" else h2.events.DataReceived,
        ):
            return
        side.send_data(event.stream_id, self._words)
        if self._ending != "gone":
            side.reset_stream(event.stream_id)
        self._said = True


@pytest.mark.parametrize("ending", ["reset", "gone", "early"])
def test_the_close_code_is_heard_over_http2(run: Any, ending: str) -> None:
    async def main(server: LastWords) -> None:
        connector = wherry.TCPConnector(protocols=("h2c",))
        async with asyncio.timeout(10), ClientSession(connector=connector) as session:
            socket = await session.ws_connect(f"ws://{server.authority}/")
            if ending != "early":
                await socket.send_str("a bad token")
                await asyncio.sleep(0)  # a turn's frames go out together, when it ends
                await asyncio.sleep(0)
                assert server.gone.wait(10)
                with contextlib.suppress(wherry.ClientConnectionResetError):
                    for _ in range(5):
                        await socket.send_str("are you there")
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.CLOSE, 4004)
            assert socket.close_code == 4004
            assert (await socket.receive()).type is WSMsgType.CLOSED

    with Http2LastWords(close(4004), ending) as server:
        run(main(server))
