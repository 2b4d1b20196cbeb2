"""`sock_read` and a request's body: a stuck upload ends, a slow one goes on, and the response's head
is where reading begins, whatever is still to be sent.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop
from tests.protocol.frames import SETTINGS, frame
from tests.servers.raw import RawServer

import wherry
from wherry import ClientSession, ClientTimeout, TCPConnector

Start = Callable[..., Awaitable[RawServer]]
LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
MUCH = 64 * 2**20


async def _deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


async def _without_window(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/2: takes what comes, and never lets a stream send more than its first window."""
    writer.write(frame(SETTINGS))
    while await reader.read(2**16):
        pass


class Endless:
    """A body without end; it notes how it ended all the same."""

    def __init__(self, pause: float = 0.0, *, size: int = 2**16, pieces: int = -1) -> None:
        self.ended = asyncio.Event()
        self._pause = pause
        self._size = size
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while self._pieces:
                self._pieces -= 1
                yield b"x" * self._size
                await asyncio.sleep(self._pause)
        finally:
            self.ended.set()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("body", ["generator", "file", "bytes"])
@pytest.mark.parametrize("protocol", ["http/1.1", "h2c"])
def test_a_stuck_upload_is_bounded(
    new_loop: Callable[[], asyncio.AbstractEventLoop], body: str, protocol: str
) -> None:
    async def main() -> None:
        endless = Endless()
        data: Any = {"generator": endless, "file": io.BytesIO(b"x" * MUCH), "bytes": b"x" * MUCH}
        handlers = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            handlers.add(task := asyncio.current_task())
            try:
                await (_deaf if protocol == "http/1.1" else _without_window)(reader, writer)
            finally:
                handlers.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with (
            asyncio.timeout(20),
            ClientSession(
                connector=TCPConnector(protocols=(protocol,)), timeout=ClientTimeout(sock_read=0.2)
            ) as session,
        ):
            with pytest.raises(wherry.SocketTimeoutError, match="nothing of the request was taken"):
                await session.put(url, data=data[body])
            if body == "generator":
                await endless.ended.wait()
            assert session.connector.stats().busy == 0
        for task in handlers:
            task.cancel()
        server.close()
        while handlers:
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def test_an_upload_that_moves_slowly_goes_on() -> None:
    """However long it takes: the peer takes a little, again and again."""
    took = 0.0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal took
        clock = asyncio.get_running_loop().time
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            began = clock()
            for _ in range(16):
                await reader.readexactly(2**17)
                await asyncio.sleep(0.1)
            took = clock() - began
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    # Without these the operating system takes megabytes at once, and tells nothing of them.
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**15)

    def small(address: Any) -> socket.socket:
        sock = socket.socket(*address[:3])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**15)
        return sock

    server = await asyncio.start_server(script, sock=listener)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    async with ClientSession(
        connector=TCPConnector(socket_factory=small), timeout=ClientTimeout(sock_read=0.8)
    ) as session:
        for data in (b"x" * 2**21, io.BytesIO(b"x" * 2**21)):
            async with session.put(url, data=data) as response:
                assert response.status == 200
            assert took > 1.5
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("protocol", ["http/1.1", "h2c"])
async def test_a_program_that_is_slow_with_its_own_body_is_let_alone(
    start_echo: Any, protocol: str
) -> None:
    url = await start_echo(protocol)
    async with ClientSession(
        connector=TCPConnector(protocols=(protocol,)), timeout=ClientTimeout(sock_read=0.1)
    ) as session:
        body = Endless(0.25, size=10, pieces=3)
        async with session.put(url, data=body) as response:
            assert response.status == 200


async def test_from_the_head_on_it_runs_whatever_is_still_sent(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        while await reader.read(2**16):
            pass

    server = await raw_server(script)
    body = Endless(0.01, size=10)
    async with ClientSession(timeout=ClientTimeout(sock_read=0.2)) as session:
        async with session.put(server.url, data=body) as response:
            with pytest.raises(wherry.SocketTimeoutError, match=r"nothing came for 0\.2 s"):
                await response.read()
        await body.ended.wait()
        await server.until(lambda s: s.lost == 1)


async def test_an_answer_that_comes_beside_the_upload_keeps_it_alive(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            writer.write(b"x")
            await asyncio.sleep(0.05)

    server = await raw_server(script)
    body = Endless(0.4, size=10)
    async with ClientSession(timeout=ClientTimeout(sock_read=0.3)) as session:
        async with session.put(server.url, data=body) as response:
            assert await response.read() == b"x" * 12
        await body.ended.wait()


@pytest.mark.parametrize("protocol", ["http/1.1", "h2c"])
async def test_after_the_upload_the_silence_of_the_server_counts(
    raw_server: Start, protocol: str
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if protocol == "h2c":
            writer.write(frame(SETTINGS))
        while await reader.read(2**16):
            pass

    server = await raw_server(script)
    async with ClientSession(
        connector=TCPConnector(protocols=(protocol,)), timeout=ClientTimeout(sock_read=0.1)
    ) as session:
        with pytest.raises(wherry.SocketTimeoutError, match=r"nothing came for 0\.1 s"):
            await session.put(server.url, data=Endless(0.15, size=10, pieces=2))


@pytest.fixture
def start_echo(raw_server: Start) -> Callable[[str], Awaitable[str]]:
    """A server that answers once a request has ended, in either protocol."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readexactly(3)) != b"PRI":
            await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        writer.write(frame(SETTINGS))
        await reader.readexactly(21)
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3]))
            if head[3] == 0 and head[4] & 1:
                writer.write(frame(1, 5, int.from_bytes(head[5:9]), b"\x88"))

    async def start(protocol: str) -> str:
        server = await raw_server(script)
        return server.url

    return start
