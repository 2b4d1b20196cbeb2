"""The heartbeat on lines that are slow: bytes that leave or come are a sign of life, silence is
none.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as socket_module
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve

import wherry
from wherry import ClientSession, ClientWSTimeout, TCPConnector, WSMsgType
from wherry.client.websocket.heartbeat import Heartbeat
from wherry.protocol.ping_checks import KeepAlive
from wherry.protocol.tcp_progress import LineProgress
from wherry.protocol.write_gate import WriteGate
from wherry.testing import LocalServer

needs_counts = pytest.mark.skipif(
    sys.platform != "linux", reason="nothing tells what has left the system's buffer"
)


@contextlib.asynccontextmanager
async def slow_line(
    to: int, *, up: int = 0, down: int = 0, every: float = 0.02
) -> AsyncIterator[int]:
    """A line to the port `to` that lets so many bytes pass `every` so many seconds (0 for all at
    once); the port of its near end.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(most or 65536):
                    writer.write(data)
                    await writer.drain()
                    if most:
                        await asyncio.sleep(every)
        finally:
            writer.transport.abort()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await asyncio.open_connection("127.0.0.1", to, limit=1024)
        tasks.add(asyncio.create_task(carry(reader, far[1], up)))
        tasks.add(asyncio.create_task(carry(far[0], writer, down)))

    near = socket_module.create_server(("127.0.0.1", 0))
    near.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 8192)
    server = await asyncio.start_server(connect, sock=near, limit=1024)
    async with server:
        yield near.getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=["tcp", "tls"])
async def server(
    request: pytest.FixtureRequest, server_tls: ssl.SSLContext
) -> AsyncIterator[tuple[str, int]]:
    """Says how long each message is, or sends as much as it is asked for; (scheme, port)."""

    async def answer(connection: ServerConnection) -> None:
        with contextlib.suppress(wherry.ClientError):
            async for message in connection:
                await connection.send(
                    str(len(message)) if isinstance(message, bytes) else b"x" * int(message)
                )

    tls = server_tls if request.param == "tls" else None
    async with serve(answer, "127.0.0.1", 0, ssl=tls, max_size=None, ping_interval=None) as made:
        port = next(iter(made.sockets)).getsockname()[1]
        yield ("wss" if tls else "ws"), port


async def in_loop(name: str, main: Callable[[], Awaitable[Any]]) -> None:
    """Run the client: here, or by uvloop in a thread."""
    if name == "asyncio":
        await main()
    else:
        await asyncio.to_thread(uvloop.run, main())


@needs_counts
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_large_message_leaves_by_a_slow_line(
    server: tuple[str, int], client_tls: ssl.SSLContext, loop: str
) -> None:
    """The ping waits behind it, in the transport or in the system's buffer."""
    scheme, port = server
    size = 1_000_000

    async def main() -> None:
        connector = TCPConnector(ssl=client_tls)
        async with (
            asyncio.timeout(60),
            ClientSession(connector=connector) as session,
            session.ws_connect(f"{scheme}://127.0.0.1:{near}/", heartbeat=0.3) as socket,
        ):
            await socket.send_bytes(bytes(size))
            assert (await socket.receive()).data == str(size)

    async with slow_line(port, up=16384) as near:
        await in_loop(loop, main)


@needs_counts
async def test_over_http2_too(wherry_tls_server: LocalServer) -> None:
    port = wherry_tls_server.port
    connector = TCPConnector(ssl=wherry_tls_server.client_context, protocols=("h2", "http/1.1"))
    async with (
        slow_line(port, up=16384) as near,
        asyncio.timeout(60),
        ClientSession(connector=connector) as session,
    ):
        async with session.get(f"https://127.0.0.1:{near}/get") as response:
            assert response.version == (2, 0)
        async with session.ws_connect(
            f"wss://127.0.0.1:{near}/ws/echo", heartbeat=0.3, timeout=ClientWSTimeout(ws_close=0.1)
        ) as socket:
            await socket.send_bytes(bytes(1_000_000))
            assert len(await socket.receive_bytes()) == 1_000_000


@needs_counts
async def test_a_message_that_comes_by_a_slow_line(
    server: tuple[str, int], client_tls: ssl.SSLContext
) -> None:
    """By TLS a record of 16 KiB is nothing until it is whole, and here that takes longer."""
    scheme, port = server
    async with (
        slow_line(port, down=1000, every=0.03) as near,
        asyncio.timeout(60),
        ClientSession(connector=TCPConnector(ssl=client_tls)) as session,
        session.ws_connect(
            f"{scheme}://127.0.0.1:{near}/", heartbeat=0.2, timeout=ClientWSTimeout(ws_close=0.1)
        ) as socket,
    ):
        await socket.send_str("40000")
        assert len(await socket.receive_bytes()) == 40_000


@pytest.mark.parametrize("reads", [True, False])
async def test_a_peer_that_hangs_is_dead_though_its_system_takes_what_is_sent(
    raw_server: Any, reads: bool
) -> None:
    from tests.client.test_websocket_hostile import switching

    over = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(switching(await reader.readuntil(b"\r\n\r\n")))
        if not reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await over.wait()
            return
        while await reader.read(65536):
            pass  # it takes everything, and says nothing

    server = await raw_server(script)
    async with asyncio.timeout(30), ClientSession() as session:
        socket = await session.ws_connect(f"ws://127.0.0.1:{server.port}/", heartbeat=0.1)

        async def chatter() -> None:
            while True:
                await socket.send_bytes(b"x" * 100 if reads else bytes(1 << 20))
                await asyncio.sleep(0.005)

        chattering = asyncio.create_task(chatter())
        message = await socket.receive()
        assert message.type is WSMsgType.ERROR
        assert isinstance(message.data, wherry.ServerTimeoutError)
        over.set()
        with pytest.raises(wherry.ClientConnectionResetError):
            await chattering


class Peer:
    """What a heartbeat asks of its channel; `steps` are what the line has done at each look."""

    def __init__(self, steps: list[LineProgress]) -> None:
        self.heard_at = 0.0
        self.write_gate = WriteGate()
        self.is_paused = False
        self.pings = 0
        self.steps = iter(steps)
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    def send(self, opcode: int, payload: Any) -> None:
        self.pings += 1

    def progress(self) -> LineProgress:
        return next(self.steps)

    def fail(self, error: BaseException) -> None:
        self.failed.set_result(error)


@pytest.mark.parametrize(
    ("steps", "pings"),
    [
        ([LineProgress(), LineProgress()], 1),
        # Nothing waits: what leaves at once proves nothing.
        ([LineProgress(left=1), LineProgress(left=2)], 1),
        ([LineProgress(left=1, waiting=True), LineProgress(left=1, waiting=True)], 1),
        ([LineProgress(left=n, waiting=True) for n in (1, 2, 3, 3)], 3),
        ([LineProgress(unsent=n) for n in (300, 200, 100, 100)], 3),
        ([LineProgress(unsent=n) for n in (100, 200)], 1),
        ([LineProgress(unsent=100, resumed=n) for n in (0, 1, 2, 2)], 3),
        ([LineProgress(came=n) for n in (0, 1, 2, 3, 3)], 4),
    ],
)
async def test_what_counts_as_a_sign_of_life(steps: list[LineProgress], pings: int) -> None:
    peer = Peer(steps)
    Heartbeat(peer, asyncio.get_running_loop(), 0.01).start()
    async with asyncio.timeout(10):
        error = await peer.failed
    assert isinstance(error, wherry.ServerTimeoutError)
    assert peer.pings == pings


async def test_no_ping_goes_where_the_peer_takes_nothing() -> None:
    peer = Peer([LineProgress(unsent=n) for n in (300, 200, 100, 100)])
    peer.write_gate.paused = True
    Heartbeat(peer, asyncio.get_running_loop(), 0.01).start()
    async with asyncio.timeout(10):
        await peer.failed
    assert peer.pings == 0


@pytest.mark.parametrize(
    ("steps", "pings"),
    [
        ([LineProgress(), LineProgress()], 1),
        ([LineProgress(left=n) for n in (1, 2)], 1),
        ([LineProgress(left=n, waiting=True) for n in (1, 2, 3, 3)], 3),
        ([LineProgress(unsent=n) for n in (300, 200, 100, 100)], 3),
    ],
)
async def test_the_pings_of_http2_wait_for_what_leaves_as_well(
    steps: list[LineProgress], pings: int
) -> None:
    asked = 0
    looks = iter(steps)
    given_up = asyncio.Event()

    def ask() -> None:
        nonlocal asked
        asked += 1

    alive = KeepAlive(
        asyncio.get_running_loop(),
        0.001,
        0.001,
        ask,
        given_up.set,
        lambda: next(looks),
        lambda: 0.0,
    )
    async with asyncio.timeout(10):
        await given_up.wait()
    assert asked == pings
    alive.stop()
