"""What an idle connection and a session may hold, by what Python allocates."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.servers.raw import RawServer, response

import wherry

# In a process of its own: what other tests have loaded, patched or left behind is not counted.  The
# server is bare sockets in a thread, so little but the client is.
PROGRAM = """
import asyncio, gc, json, socket, threading, tracemalloc
import wherry

COUNT = 200
listener = socket.create_server(("127.0.0.1", 0), backlog=COUNT)
url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
peers = []

def answer(count):
    accepted = [listener.accept()[0] for _ in range(count)]
    peers.extend(accepted)
    for peer in accepted:
        peer.recv(65536)
    for peer in accepted:
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")

def serve():
    answer(1)
    answer(COUNT)

def allocated():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]

async def main():
    threading.Thread(target=serve, daemon=True).start()
    async with wherry.ClientSession() as session:  # what is loaded at first use is loaded
        async with session.get(url) as response:
            await response.read()
    tracemalloc.start()
    before = allocated()
    sessions = [wherry.ClientSession() for _ in range(COUNT)]
    a_session = (allocated() - before) / COUNT
    for session in sessions:
        await session.close()
    connector = wherry.TCPConnector(limit=0)
    async with wherry.ClientSession(connector=connector) as session:
        before = allocated()
        responses = await asyncio.gather(*[session.get(url) for _ in range(COUNT)])
        for response in responses:
            await response.read()
        del response
        responses.clear()
        assert connector.stats().idle == COUNT
        print(json.dumps({"session": a_session, "idle connection": (allocated() - before) / COUNT}))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def held() -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    environment.pop("PYTHONASYNCIODEBUG", None)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@pytest.mark.parametrize(("what", "kibibytes"), [("session", 5), ("idle connection", 10)])
def test_memory_is_within_its_bound(held: dict[str, float], what: str, kibibytes: int) -> None:
    assert held[what] <= kibibytes * 1024


async def test_a_closed_session_leaves_nothing_to_the_collector(
    raw_server: Callable[..., Awaitable[RawServer]],
) -> None:
    """Programs that make a session for each request would pay for it."""
    server = await raw_server([response(), response()])

    async def use() -> weakref.ref[Any]:
        async with wherry.ClientSession() as session:
            await (await session.get(server.url)).read()
            await (await session.post(server.url, json={})).read()
        return weakref.ref(session)

    gc.collect()
    gc.disable()
    try:
        session = await use()
        assert session() is None
    finally:
        gc.enable()
