"""Ten thousand requests to a server that fails in every way, cancelled at random: all places come back."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import pytest

import wherry

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
            {"cut head": WHOLE[:20], "cut body": WHOLE[:-2], "garbage": b"\0\1\2 not http\r\n\r\n"}.get(fault, b"")
        )
        if fault == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_every_place_comes_back(serve, server_context, client_context, tls: bool) -> None:
    total, tasks_at_once = (1_000, 40) if tls else (10_000, 60)
    faulty = Faulty(seed=7)
    dice = random.Random(11)
    complaints = []
    port = await serve(faulty, backlog=200, **({"ssl": server_context} if tls else {}))
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
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

    async with wherry.ClientSession(connector=connector, timeout=wherry.ClientTimeout(total=30)) as session:
        await asyncio.gather(*(work(session, total // tasks_at_once) for _ in range(tasks_at_once)))
        async with asyncio.timeout(5):
            while connector.pool._closing or connector.pool._dials or faulty.open != connector.stats().open:
                await asyncio.sleep(0.001)
        stats = connector.stats()
        assert sum(results.values()) >= total - tasks_at_once
        assert results["whole"] > total / 3
        assert results["cancelled"] > 0
        assert {"ServerDisconnectedError", "ClientPayloadError"} <= set(results)
        # opened = closed + idle, on both sides
        assert stats.open == stats.idle == faulty.open <= 20
        assert stats.waiting == 0
        assert connector.pool._size == stats.open
    assert not complaints
