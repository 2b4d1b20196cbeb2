"""The raw bytes after a 101, as programs reach them through `response.connection`."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from wherry import ClientConnectionResetError, ClientSession, DataQueue, EofStream

SWITCH = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
ASK = {"Connection": "Upgrade", "Upgrade": "tcp"}
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Lines:
    """Puts each line into a queue; ends after a line that says so, and fails on one that is
    wrong.
    """

    def __init__(self, queue: DataQueue[bytes]) -> None:
        self.queue = queue
        self.held = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        *lines, self.held = (self.held + data).split(b"\n")
        for line in lines:
            if line == b"wrong":
                raise ValueError("a wrong line")
            self.queue.feed_data(line, len(line))
            if line == b"end":
                self.queue.feed_eof()
                return True, self.held
        return False, b""

    def feed_eof(self) -> None:
        self.queue.feed_eof()


@asynccontextmanager
async def upgraded(talk: Talk) -> AsyncIterator[Any]:
    """The 101 of a server that goes on with `talk`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, ClientSession() as session:
        yield await session.get(url, headers=ASK)


def listen(response: Any) -> tuple[Any, DataQueue[bytes]]:
    protocol = response.connection.protocol
    queue: DataQueue[bytes] = DataQueue(asyncio.get_running_loop())
    protocol.set_parser(Lines(queue), queue)
    protocol.force_close()
    return protocol, queue


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SWITCH + b"early\nhal")
    writer.write(b"f\n")
    while line := await reader.readline():
        writer.write(line)


async def test_a_101_has_no_body_and_what_came_with_it_goes_to_the_parser() -> None:
    async with upgraded(echo) as response:
        assert response.status == 101
        assert await response.read() == b""
        protocol, queue = listen(response)
        assert protocol is response.connection.protocol
        assert [await queue.read(), await queue.read()] == [b"early", b"half"]
        response.connection.transport.write(b"said\n")
        await protocol._drain_helper()
        assert await queue.read() == b"said"
        response.connection.transport.write_eof()
        with pytest.raises(EofStream):
            await queue.read()


async def test_the_parser_says_where_its_protocol_ends() -> None:
    async with upgraded(echo) as response:
        protocol, queue = listen(response)
        protocol.transport.write(b"end\nmore\n")
        assert [line async for line in queue] == [b"early", b"half", b"end"]


async def test_a_parser_that_fails_closes_the_connection_and_tells_the_payload() -> None:
    async with upgraded(echo) as response:
        protocol, queue = listen(response)
        protocol.transport.write(b"wrong\n")
        assert [await queue.read(), await queue.read()] == [b"early", b"half"]
        with pytest.raises(ValueError, match="a wrong line"):
            await queue.read()
        assert not protocol.connected
        with pytest.raises(ClientConnectionResetError):
            await protocol._drain_helper()


async def test_a_reader_that_pauses_gets_nothing_until_it_resumes() -> None:
    async with upgraded(echo) as response:
        protocol, queue = listen(response)
        await queue.read()
        await queue.read()
        protocol.pause_reading()
        assert protocol._reading_paused
        protocol.transport.write(b"later\n")
        assert not queue
        protocol.resume_reading()
        assert await queue.read() == b"later"


@pytest.mark.parametrize("end", ["close", "release", "forget"])
async def test_the_stream_ends_with_its_response(end: str) -> None:
    gone = asyncio.Event()

    async def until_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SWITCH)
        await reader.read()
        gone.set()

    async with upgraded(until_end) as response:
        protocol, _ = listen(response)
        if end == "forget":
            del response
            gc.collect()
        else:
            getattr(response, end)()
        await asyncio.wait_for(gone.wait(), 5)
        assert not protocol.connected


async def test_connect_names_the_tunnels_end_and_carries_its_bytes() -> None:
    """RFC 9112 3.2.3; as with aiohttp"""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 Established\r\n\r\n" + await reader.readline())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(await reader.readexactly(5))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    end = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        server,
        ClientSession() as session,
        session.request("CONNECT", f"http://{end}/path?q") as response,
    ):
        assert await response.content.readline() == f"CONNECT {end} HTTP/1.1\r\n".encode()
        response.connection.transport.write(b"bytes")
        assert await response.content.read() == b"bytes"
