"""The ways in which a request is given up that gets no answer, for the tests of silent servers."""

from __future__ import annotations

import asyncio

import pytest

from wherry import ClientSession, ClientTimeout


async def by_total(session: ClientSession) -> None:
    with pytest.raises(TimeoutError):
        await session.get("/", timeout=ClientTimeout(total=0.2))


async def by_sock_read(session: ClientSession) -> None:
    with pytest.raises(TimeoutError):
        await session.post("/", data=b"x", timeout=ClientTimeout(sock_read=0.2))


async def by_the_program(session: ClientSession) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await session.get("/")


async def by_cancelling(session: ClientSession) -> None:
    task = asyncio.ensure_future(session.get("/"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


WAYS = (by_total, by_sock_read, by_the_program, by_cancelling)
