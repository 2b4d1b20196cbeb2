"""What an idle connection and a session may hold, by what Python allocates."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

import wherry

COUNT = 100
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def allocated() -> Iterator[Callable[[], int]]:
    def now() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield now
    tracemalloc.stop()


@pytest.fixture
def answers_all_at_once() -> Iterator[str]:
    """A server of bare sockets, so that little but the client is counted: COUNT requests wait for the last one."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=COUNT)
    peers: list[socket.socket] = []

    def answer(count: int) -> None:
        accepted = [listener.accept()[0] for _ in range(count)]
        peers.extend(accepted)
        for peer in accepted:
            peer.recv(65536)
        for peer in accepted:
            peer.sendall(OK)

    def serve() -> None:
        answer(1)
        answer(COUNT)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    thread.join(5)
    for sock in (listener, *peers):
        sock.close()


async def test_a_session_holds_six_kibibytes_at_most(allocated: Callable[[], int]) -> None:
    await wherry.ClientSession().close()  # what is loaded at first use is loaded
    before = allocated()
    sessions = [wherry.ClientSession() for _ in range(COUNT)]
    assert (allocated() - before) / COUNT <= 6 * 1024
    for session in sessions:
        await session.close()


async def test_an_idle_connection_holds_ten_kibibytes_at_most(
    answers_all_at_once: str, allocated: Callable[[], int]
) -> None:
    connector = wherry.TCPConnector(limit=0, force_close=False)
    async with wherry.ClientSession(connector=connector) as session:
        first = await session.get(answers_all_at_once)
        await first.read()
        # The first one is taken again by nobody: the server answers it once.
        for connection in list(connector.pool.all_connections()):
            connection.close()
            await connection.wait_closed()
        before = allocated()
        responses = await asyncio.gather(*[session.get(answers_all_at_once) for _ in range(COUNT)])
        for response in responses:
            await response.read()
        del response
        responses.clear()
        assert connector.stats().idle == COUNT
        assert (allocated() - before) / COUNT <= 10 * 1024
