"""What programs, and the libraries that instrument them, do with aiohttp's objects beside their
documented use: the same happens here.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from tests.client.conftest import reply
from websockets.asyncio.server import serve as serve_websocket

from wherry import ClientSession, ClientTimeout, TCPConnector

# --- what is open outlives its session and its connector ------------------------------------------


async def echo(websocket: Any) -> None:
    async for message in websocket:
        await websocket.send(message)


async def all_closed(pool: Any) -> None:
    await asyncio.gather(*(each.wait_closed() for each in pool.all_connections()))
    assert pool.stats().open == 0


async def test_a_websocket_outlives_a_detached_session() -> None:
    async with serve_websocket(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        session = ClientSession()
        websocket = await session.ws_connect(f"ws://127.0.0.1:{port}/")
        assert session.connector is not None
        pool = session.connector.pool
        session.detach()
        del session
        gc.collect()
        for _ in range(3):
            await websocket.send_str("ahoy")
            assert await websocket.receive_str(timeout=5) == "ahoy"
        assert pool.stats().busy == 1
        await websocket.close()
        await all_closed(pool)


async def test_a_body_outlives_a_detached_session(peer, session) -> None:
    body = b"x" * 3_000_000
    server = await peer(lambda asked: reply(200, body if asked.target == "/big" else b"small"))
    client = session()
    pool = client.connector.pool
    async with client.get(server.url("/small")) as response:
        await response.read()
    response = await client.get(server.url("/big"))
    client.detach()
    gc.collect()
    assert await response.read() == body
    await all_closed(pool)  # nobody can use the connection any more


async def test_a_body_outlives_a_connector_that_nobody_holds(peer, version) -> None:
    body = b"x" * 3_000_000
    server = await peer(lambda _: reply(200, body))
    protocols = ("h2c",) if version == "HTTP/2" else ("http/1.1",)
    client = ClientSession(
        connector=TCPConnector(protocols=protocols),
        connector_owner=False,
        timeout=ClientTimeout(total=10),
    )
    response = await client.get(server.url())
    await client.close()
    del client
    gc.collect()
    assert await response.read() == body
