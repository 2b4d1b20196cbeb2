"""Ten thousand requests to a server that fails in every way, cancelled at random: all places come
back.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import pytest

import wherry
from wherry.connect.dial import dial_route

FAULTS = (
    "none",
    "none",
    "none",
    "none",
    "none",
    "none",
    "silence",
    "cut head",
    "cut body",
    "reset",
    "garbage",
    "surplus",
    "late",
)
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef"


class Faulty:
    """A server that answers as its dice say; it counts the connections that are open."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.open = 0
        self.opened = 0
        self.answered = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.opened += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                if not await self.answer(writer):
                    return
                self.answered += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1

    async def answer(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        fault = self.dice.choice(FAULTS)
        if fault == "none":
            writer.write(WHOLE)
            return True
        if fault == "late":
            writer.write(WHOLE[:10])
            await asyncio.sleep(0)
            writer.write(WHOLE[10:])
            return True
        if fault == "surplus":
            writer.write(WHOLE + WHOLE)
            return True
        writer.write(
            {
                "cut head": WHOLE[:20],
                "cut body": WHOLE[:-2],
                "garbage": b"\0\1\2 not http\r\n\r\n",
            }.get(fault, b"")
        )
        if fault == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


NO_STREAMS = b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\0"  # SETTINGS_MAX_CONCURRENT_STREAMS 0
GOAWAY = b"\0\0\0\4\0\0\0\0\0" + b"\0\0\10\7\0\0\0\0\0" + bytes(8)
ENDS = {
    "reset": reset,
    "end": lambda writer: writer.close(),
    "408": lambda writer: writer.write(
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    ),
    "no streams": lambda writer: writer.write(NO_STREAMS),
    "goaway": lambda writer: writer.write(GOAWAY),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("protocol", ["http/1.1", "h2c"])
async def test_a_connection_that_ends_before_it_is_taken_costs_no_place(
    serve, monkeypatch: pytest.MonkeyPatch, protocol: str, end: str
) -> None:
    """Listeners may take their time between the dial and the request, and the server may end it all
    in that time.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ENDS[end](writer)
        await reader.read()

    async def dial_and_dawdle(*args) -> object:
        connection = await dial_route(*args)
        async with asyncio.timeout(20):
            while connection.is_usable():
                await asyncio.sleep(0.001)
        return connection

    monkeypatch.setattr("wherry.connect.dial.dial_route", dial_and_dawdle)
    connector = wherry.TCPConnector(limit=2, protocols=(protocol,))
    url = f"http://127.0.0.1:{await serve(answer)}/"
    async with wherry.ClientSession(
        connector=connector, timeout=wherry.ClientTimeout(total=10)
    ) as session:
        for _ in range(3):
            with pytest.raises(wherry.ServerDisconnectedError, match="takes no request"):
                await session.get(url)
        assert connector.pool.connection_limits.taken == 0


async def test_a_server_that_allows_no_streams_keeps_no_place(serve) -> None:
    """RFC 9113 5.1.2: who refuses every request keeps its connections open, and they are of use to
    nobody.
    """

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(NO_STREAMS)
        await reader.readexactly(24)
        while True:
            length = int.from_bytes(await reader.readexactly(3))
            kind, _, *stream = await reader.readexactly(6)
            await reader.readexactly(length)
            if kind == 1:
                writer.write(b"\0\0\4\3\0" + bytes(stream) + b"\0\0\0\7")

    connector = wherry.TCPConnector(limit=2, protocols=("h2c",))
    url = f"http://127.0.0.1:{await serve(refuse)}/"
    async with wherry.ClientSession(
        connector=connector, timeout=wherry.ClientTimeout(total=20)
    ) as session:
        with pytest.raises(
            wherry.ServerDisconnectedError, match=r"REFUSED_STREAM|takes no request"
        ):
            await session.get(url)
        async with asyncio.timeout(20):
            while connector.stats().open:
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_every_place_comes_back(serve, server_context, client_context, tls: bool) -> None:
    total, tasks_at_once = (1_000, 40) if tls else (10_000, 60)
    faulty = Faulty(seed=7)
    dice = random.Random(11)
    complaints = []
    port = await serve(faulty, backlog=200, **({"ssl": server_context} if tls else {}))
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context["message"])
    )
    results: dict[str, int] = {}
    connector = wherry.TCPConnector(limit=20, ssl=client_context)
    url = f"{'https' if tls else 'http'}://localhost:{port}/"

    async def one(session: wherry.ClientSession) -> str:
        try:
            async with session.get(url) as response:
                if dice.random() < 0.1:
                    return "left"
                assert await response.read() == b"abcdef"
                return "whole"
        except wherry.ClientError as exc:
            return type(exc).__name__

    async def work(session: wherry.ClientSession, count: int) -> None:
        for _ in range(count):
            task = asyncio.create_task(one(session))
            if dice.random() < 0.1:
                for _ in range(dice.randrange(6)):
                    await asyncio.sleep(0)
                task.cancel()
            try:
                result = await task
            except asyncio.CancelledError:
                result = "cancelled"
            results[result] = results.get(result, 0) + 1

    async with wherry.ClientSession(
        connector=connector, timeout=wherry.ClientTimeout(total=30)
    ) as session:
        await asyncio.gather(*(work(session, total // tasks_at_once) for _ in range(tasks_at_once)))
        async with asyncio.timeout(20):
            while (
                connector.pool._closing
                or connector.pool._dials
                or faulty.open != connector.stats().open
            ):
                await asyncio.sleep(0.001)
        stats = connector.stats()
        assert sum(results.values()) >= total - tasks_at_once
        assert results["whole"] > total / 3
        assert results["cancelled"] > 0
        assert {"ServerDisconnectedError", "ClientPayloadError"} <= set(results)
        # opened = closed + idle, on both sides
        assert stats.open == stats.idle == faulty.open <= 20
        assert stats.waiting == 0
        assert connector.pool.connection_limits.taken == stats.open
    assert not complaints
