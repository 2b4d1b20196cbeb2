"""A long and fast way: windows grow until the peer never waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from tests.servers.http2 import Http2Servers

from wherry.body.stream.reader import StreamReader
from wherry.protocol.heads import RequestHead
from wherry.protocol.http2.connection import Http2Connection
from wherry.protocol.http2.flow_control import FlowOptions

MIB = 2**20
DELAY = 0.025  # each way: a round trip of 50 ms


class Relay:
    """Passes bytes on in both directions after a delay, however many are on the way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.ensure_future(self._pass(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await source.read(MIB):
            loop.call_later(DELAY, target.write, data)
        await asyncio.sleep(DELAY)  # the way of the end is as long
        target.close()
        with contextlib.suppress(ConnectionError):
            await target.wait_closed()

    async def close(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)


@pytest.fixture
async def far_port(http2_servers: Http2Servers) -> AsyncIterator[int]:
    (http2_servers.www / "hundred").write_bytes(bytes(100 * MIB))
    assert http2_servers.nginx.plain_port is not None
    relay = Relay(http2_servers.nginx.plain_port)
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await relay.close()


async def fetch_hundred(port: int, flow: FlowOptions) -> tuple[float, int]:
    """Seconds for 100 MiB, and the window in the end."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Http2Connection(loop, flow=flow), "127.0.0.1", port
    )
    reader = StreamReader(MIB)
    begin = time.monotonic()
    exchange = connection.start(RequestHead("GET", "http", "localhost", "/hundred"), reader)
    await exchange.receive_head()
    size = 0
    async for piece in reader.iter_any():
        size += len(piece)
    seconds = time.monotonic() - begin
    assert size == 100 * MIB
    window = connection._reader._tuner.target
    connection.close()
    await connection.wait_closed()
    return seconds, window


async def test_a_hundred_mebibytes_over_a_long_way_are_not_held_back_by_windows(
    far_port: int,
) -> None:
    """With windows that stay at 512 KiB they would take ten seconds, a window a round trip."""
    seconds, window = await fetch_hundred(far_port, FlowOptions())
    assert window >= 4 * MIB
    assert seconds < 8
