"""A read of a whole body that was given up: it can be done again, and holds no connection."""

from __future__ import annotations

import asyncio
import gzip

import pytest

import wherry
from wherry.errors import ClientConnectionError

BODY = bytes(range(256)) * 40


@pytest.fixture
def halves(raw_server):
    """Starts a server that sends the second half of a body when `more` is set, and sets `left` when
    its client has gone.
    """

    async def start(coding: str, framing: str):
        more, left = asyncio.Event(), asyncio.Event()
        data = gzip.compress(BODY) if coding else BODY
        middle = len(data) // 2

        def framed(piece: bytes) -> bytes:
            return b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunks" else piece

        async def peer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            head = "HTTP/1.1 200 OK\r\n" + coding
            head += (
                "Transfer-Encoding: chunked\r\n"
                if framing == "chunks"
                else f"Content-Length: {len(data)}\r\n"
            )
            writer.write(head.encode() + b"\r\n" + framed(data[:middle]))
            ended = asyncio.ensure_future(reader.read(1))
            going_on = asyncio.ensure_future(more.wait())
            await asyncio.wait((ended, going_on), return_when=asyncio.FIRST_COMPLETED)
            going_on.cancel()
            if not ended.done():
                writer.write(framed(data[middle:]) + (b"0\r\n\r\n" if framing == "chunks" else b""))
            await asyncio.wait((ended,))
            left.set()

        return await raw_server(peer), more, left

    return start


async def given_up(response: wherry.ClientResponse) -> None:
    """Begin a read, and cancel it when the first half is here and it waits for the other."""
    task = asyncio.ensure_future(response.read())
    while not response.content.total_raw_bytes:
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("framing", ["chunks", "length"])
@pytest.mark.parametrize("coding", ["", "Content-Encoding: gzip\r\n"])
async def test_a_read_that_was_given_up_can_be_done_again(session, halves, coding, framing):
    url, more, _ = await halves(coding, framing)
    async with session.get(url) as response:
        await given_up(response)
        await given_up(response)
        more.set()
        assert await response.read() == BODY
        assert await response.read() == BODY
    assert session.connector.stats().idle == 1
    await session.close()  # the server's script waits for that


@pytest.mark.parametrize("framing", ["chunks", "length"])
async def test_the_end_of_its_context_closes_the_connection_at_once(session, halves, framing):
    url, _, left = await halves("", framing)
    async with session.get(url) as response:
        await given_up(response)
    assert response.closed
    assert response.connection is None
    await left.wait()
    assert session.connector.stats().open == 0


@pytest.mark.parametrize("framing", ["chunks", "length"])
async def test_outside_a_context_it_closes_the_response(session, halves, framing):
    """Who keeps the cancelled task keeps the response: that must not hold a connection."""
    url, _, left = await halves("", framing)
    response = await session.get(url)
    await given_up(response)
    assert response.closed
    with pytest.raises(ClientConnectionError):
        await response.read()
    await left.wait()


async def test_a_body_is_kept_though_a_listener_is_cancelled(answer):
    waiting = asyncio.Event()
    tracing = wherry.TraceConfig()

    async def hear(*_):
        waiting.set()
        await asyncio.get_running_loop().create_future()

    tracing.on_response_chunk_received.append(hear)
    url = await answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
    async with wherry.ClientSession(trace_configs=[tracing]) as session, session.get(url) as got:
        task = asyncio.ensure_future(got.read())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await got.read() == b"body"
