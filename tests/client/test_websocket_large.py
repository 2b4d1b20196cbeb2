"""Large messages under permessage-deflate: compressed in a thread, in order with all others, and
whole.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

import wherry
from wherry import ClientSession, WSMsgType
from wherry.client.websocket.threaded_compression import LARGE
from wherry.protocol.websocket.deflate import Deflater


@pytest.fixture(params=["takeover", "no takeover"])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A server that tells the length and the first byte of what comes; it inflates all of it."""
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

    async def tell(connection: ServerConnection) -> None:
        async for message in connection:
            assert isinstance(message, (bytes, str))
            await connection.send(f"{len(message)} {message[:1]!r}")

    terms = [
        ServerPerMessageDeflateFactory(client_no_context_takeover=request.param == "no takeover")
    ]
    async with serve(
        tell, "127.0.0.1", 0, extensions=terms, compression=None, max_size=None
    ) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as made:
        yield made


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """In which thread messages of which length were compressed."""
    seen: dict[int, int] = {}
    compress = Deflater.compress

    def note(self: Deflater, data: Any) -> bytes:
        seen[len(data)] = threading.get_ident()
        return compress(self, data)

    monkeypatch.setattr(Deflater, "compress", note)
    return seen


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Compressing a large message waits for this."""
    gate = threading.Event()
    compress = Deflater.compress

    def wait(self: Deflater, data: Any) -> bytes:
        if len(data) >= LARGE:
            assert gate.wait(10)
        return compress(self, data)

    monkeypatch.setattr(Deflater, "compress", wait)
    return gate


async def test_only_large_messages_leave_the_loop(
    session: ClientSession, url: str, threads: dict[int, int]
) -> None:
    async with session.ws_connect(url, compress=15) as socket:
        for size in (10, LARGE - 1, LARGE, LARGE * 3, 11):
            for send in (
                socket.send_bytes(b"b" * size),
                socket.send_str("s" * size),
                socket.send_frame(b"f" * size, WSMsgType.BINARY),
                socket.send_frame(b"t" * size, WSMsgType.TEXT),
            ):
                await send
                assert (await socket.receive_str()).split()[0] == str(size)
            assert (threads[size] == threading.get_ident()) == (size < LARGE)


async def test_what_is_sent_behind_a_large_message_comes_behind_it(
    session: ClientSession, url: str, held: threading.Event
) -> None:
    async with session.ws_connect(url, compress=15) as socket:
        sizes = [LARGE, 5, LARGE + 1, 6, 7]
        tasks = [asyncio.create_task(socket.send_bytes(b"x" * size)) for size in sizes]
        tasks.append(asyncio.create_task(socket.send_bytes(b"x" * 8, compress=0)))
        pong = asyncio.create_task(socket.ping())  # control frames wait for nothing
        await pong
        assert not any(task.done() for task in tasks)
        held.set()
        await asyncio.gather(*tasks)
        assert [int((await socket.receive_str()).split()[0]) for _ in range(6)] == [*sizes, 8]


async def test_a_send_that_is_cancelled_leaves_the_stream_whole(
    session: ClientSession, url: str, held: threading.Event
) -> None:
    async with session.ws_connect(url, compress=15) as socket:
        task = asyncio.create_task(socket.send_bytes(b"x" * LARGE))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.set()
        await socket.send_bytes(b"x" * 9)
        assert [(await socket.receive_str()).split()[0] for _ in range(2)] == [str(LARGE), "9"]


async def test_a_cancelled_send_that_fails_is_nobodys_error(
    url: str, held: threading.Event
) -> None:
    """Nothing is said to the loop, neither of the task nor of its exception, on any Python."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    async with ClientSession() as session:
        socket = await session.ws_connect(url, compress=15)
        tasks = [
            asyncio.create_task(socket.send_bytes(b"x" * size)) for size in (LARGE, LARGE + 1, 5)
        ]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        sending = set(socket._channel.large._sending)  # type: ignore[attr-defined, union-attr]
        assert len(sending) == 3
        await socket.close()
        held.set()
        await asyncio.wait(sending)
    del sending, tasks, socket
    gc.collect()
    await asyncio.sleep(0)
    assert said == []


async def test_nothing_follows_a_close_frame(
    session: ClientSession, url: str, held: threading.Event
) -> None:
    socket = await session.ws_connect(url, compress=15)
    tasks = [asyncio.create_task(socket.send_bytes(b"x" * size)) for size in (LARGE, 5)]
    await asyncio.sleep(0)
    await socket.close()
    held.set()
    for task in tasks:
        with pytest.raises(wherry.ClientConnectionResetError):
            await task
    assert socket.close_code == 1000


async def test_bytes_are_taken_when_they_are_given(
    session: ClientSession, url: str, held: threading.Event
) -> None:
    async with session.ws_connect(url, compress=15) as socket:
        data = bytearray(b"x" * LARGE)
        for send in (socket.send_bytes(data), socket.send_frame(data, WSMsgType.TEXT)):  # type: ignore[arg-type]
            task = asyncio.create_task(send)
            await asyncio.sleep(0)
            data[0] ^= 1
            held.set()
            await task
            data[0] ^= 1
            assert (await socket.receive_str()).endswith("'x'")
