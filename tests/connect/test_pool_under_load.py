"""The pool with many requests and few places: limits hold, nobody starves, cancels leave nothing
behind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from tests.servers.raw import RawServer, read_request, response

import wherry

Start = Callable[..., Awaitable[RawServer]]


async def _echo_path(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        request = await read_request(reader)
        path = request.split(b" ", 2)[1]
        if random.random() < 0.3:
            await asyncio.sleep(0)
        writer.write(response(path))


async def test_a_thousand_requests_through_ten_connections(raw_server: Start) -> None:
    """S001-86"""
    server = await raw_server(_echo_path)
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=10)) as session:

        async def one(at: int) -> None:
            async with session.get(f"{server.url}/{at}") as reply:
                assert await reply.text() == f"/{at}"

        await asyncio.gather(*[one(at) for at in range(1000)])
        stats = session.connector.stats()  # type: ignore[union-attr]
    assert server.connections == 10, "never more sockets than places, and each one used again"
    assert stats.opened == 10
    assert stats.reused == 990


@pytest.mark.parametrize("seed", range(4))
async def test_cancels_at_random_points_leave_nothing_behind(raw_server: Start, seed: int) -> None:
    server = await raw_server(_echo_path)
    choose = random.Random(seed)
    connector = wherry.TCPConnector(limit=10)
    async with wherry.ClientSession(connector=connector) as session:

        async def one(at: int) -> None:
            async with session.get(f"{server.url}/{at}") as reply:
                assert await reply.text() == f"/{at}"

        tasks = []
        for at in range(500):
            tasks.append(asyncio.create_task(one(at)))
            if choose.random() < 0.5:
                choose.choice(tasks).cancel()
            if choose.random() < 0.2:
                await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {type(None), asyncio.CancelledError}

        # The pool still serves, and each connection gets the answer to its own question.
        await asyncio.gather(*[one(at) for at in range(100)])
        stats = connector.stats()
        assert stats.waiting == 0
        assert stats.busy == 0
        assert stats.open <= 10
        await server.until(lambda s: s.connections - s.lost == stats.open)
    await server.until(lambda s: s.connections == s.lost)


async def test_waiters_are_served_first_come_first_served(raw_server: Start) -> None:
    order: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            order.append(request.split(b" ", 2)[1])
            writer.write(response(b"ok"))

    server = await raw_server(script)
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=1)) as session:

        async def one(at: int) -> None:
            async with session.get(f"{server.url}/{at}") as reply:
                await reply.read()

        await asyncio.gather(*[one(at) for at in range(50)])
    assert order == [f"/{at}".encode() for at in range(50)]


async def test_one_slow_host_does_not_starve_the_others(raw_server: Start) -> None:
    gate = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await gate.wait()
            writer.write(response(b"slow"))

    slow_server = await raw_server(slow)
    fast_server = await raw_server(_echo_path)
    connector = wherry.TCPConnector(limit=10, limit_per_host=5)
    async with wherry.ClientSession(connector=connector) as session:
        held = [asyncio.create_task(session._request("GET", slow_server.url)) for _ in range(20)]
        await slow_server.until(lambda s: s.connections == 5)
        for at in range(20):
            async with session.get(f"{fast_server.url}/{at}") as reply:
                assert await reply.text() == f"/{at}"
        gate.set()
        for task in held:
            async with await task as reply:
                assert await reply.text() == "slow"
    assert slow_server.connections == 5


async def test_a_place_goes_to_a_host_without_any(raw_server: Start) -> None:
    """An idle connection of one host makes room for the first one of another."""
    servers = [await raw_server(_echo_path) for _ in range(6)]
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=2)) as session:

        async def one(at: int) -> None:
            async with session.get(f"{servers[at % 6].url}/{at}") as reply:
                assert await reply.text() == f"/{at}"

        for at in range(12):
            await one(at)
        await asyncio.gather(*[one(at) for at in range(120)])
        assert session.connector.stats().open <= 2  # type: ignore[union-attr]


async def test_a_response_that_is_forgotten_gives_its_place_back(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nx")
        await reader.read()

    server = await raw_server(script)
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=1)) as session:
        for _ in range(3):
            reply = await session.get(server.url)
            assert reply.status == 200
            del reply
    assert server.connections == 3


async def test_a_short_rest_is_read_over_and_a_long_one_closes(raw_server: Start) -> None:
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            size = 2**30 if b"/long" in request else 1000
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nx" % size)
            if size == 1000:
                await gate.wait()
                writer.write(b"x" * 999)

    server = await raw_server(script)
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=1)) as session:
        async with session.get(server.url + "/short"):
            pass
        gate.set()
        for path in ("/short", "/long", "/short"):
            async with session.get(server.url + path) as reply:
                assert reply.status == 200
                if path == "/short":
                    assert len(await reply.read()) == 1000
    assert server.connections == 2, "only the long rest cost a connection"


async def test_force_close_uses_each_connection_once(raw_server: Start) -> None:
    server = await raw_server(_echo_path)
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(force_close=True, limit=2)
    ) as session:
        for at in range(5):
            async with session.get(f"{server.url}/{at}") as reply:
                assert await reply.text() == f"/{at}"
    assert server.connections == 5
    assert all(b"Connection: close" in bytes(request) for request in server.received)


async def test_idle_connections_expire(raw_server: Start) -> None:
    server = await raw_server(_echo_path)
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(keepalive_timeout=0.05)
    ) as session:
        async with session.get(server.url) as reply:
            await reply.read()
        await server.until(lambda s: s.lost == 1)
        assert session.connector.stats().open == 0  # type: ignore[union-attr]
        async with session.get(server.url) as reply:
            await reply.read()
    assert server.connections == 2


async def test_requests_that_go_from_host_to_host_keep_their_connections(raw_server: Start) -> None:
    """Many hosts share the places evenly; connections are not closed for whoever happens to stand
    first in line.
    """
    servers = [await raw_server(_echo_path) for _ in range(5)]
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=10)) as session:

        async def walk(start: int) -> None:
            for at in range(start, start + 20):
                async with session.get(f"{servers[at % 5].url}/{at}") as reply:
                    assert await reply.text() == f"/{at}"

        await asyncio.gather(*[walk(start) for start in range(100)])
        stats = session.connector.stats()  # type: ignore[union-attr]
    assert stats.waiting == 0
    assert stats.opened < 250, "2,000 requests, 10 places"


async def test_patience_ends(raw_server: Start) -> None:
    """A waiter whose route has a busy connection gets the place of one that nobody uses, after a
    while.
    """
    gate = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            if not gate.is_set():
                gate.set()
                await reader.read()  # the first request is never answered
            writer.write(response(b"second"))

    slow_server, other = await raw_server(slow), await raw_server(_echo_path)
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=2)) as session:
        stuck = asyncio.create_task(session._request("GET", slow_server.url))
        await gate.wait()
        async with session.get(other.url + "/idle") as reply:
            assert await reply.text() == "/idle"
        # Both places are taken, one of them is idle.
        async with session.get(slow_server.url) as reply:
            assert await reply.text() == "second"
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
