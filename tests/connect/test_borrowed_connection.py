"""`connector.connect`: a connection in a program's own hands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.servers.raw import RawServer, read_request, response
from yarl import URL

import wherry

Start = Callable[..., Awaitable[RawServer]]


async def test_a_held_connection_takes_a_place_until_it_is_given_back(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(b"ok"))

    server = await raw_server(script)
    connector = wherry.TCPConnector(limit=1)
    async with wherry.ClientSession(connector=connector) as session:
        request = wherry.ClientRequest("GET", URL(server.url), session=session)
        held = await connector.connect(request, [], wherry.ClientTimeout(sock_connect=5))
        assert not held.closed
        assert held.transport is not None
        waiting = asyncio.create_task(session._request("GET", server.url))
        await asyncio.sleep(0)
        assert connector.stats().waiting == 1
        held.release()
        assert held.closed
        async with await waiting as reply:
            assert await reply.read() == b"ok"
        again = await connector.connect(request)
        again.close()
        await server.until(lambda s: s.lost == 1)
    assert server.connections == 1
