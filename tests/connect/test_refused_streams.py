"""A server that bears fewer streams than it announces refuses the others (RFC 9113 5.1.2, 8.7): no
request is lost to that, and the pool learns how many it bears.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop
from tests.protocol.frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    OK,
    RST,
    SETTINGS,
    Peer,
    frame,
    word,
)

from wherry import ClientSession, ServerDisconnectedError, TCPConnector

LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]


class Overloaded:
    """Speaks HTTP/2 in the clear; bears `bears()` streams at a time, each for two turns."""

    def __init__(self, bears: Callable[[], int]) -> None:
        self.connections = self.refused = self.served = 0
        self._bears = bears
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        under_way: set[int] = set()
        loop = asyncio.get_running_loop()

        def answer(stream: int) -> None:
            under_way.discard(stream)
            self.served += 1
            writer.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88"))

        writer.write(frame(SETTINGS))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(24)
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3]))
                stream = int.from_bytes(head[5:9])
                if head[3] == HEADERS and len(under_way) < self._bears():
                    under_way.add(stream)
                    loop.call_later(0.002, answer, stream)
                elif head[3] == HEADERS:
                    self.refused += 1
                    writer.write(frame(RST, 0, stream, word(7)))
        writer.close()


@contextlib.asynccontextmanager
async def served(
    bears: Callable[[], int], **options: Any
) -> AsyncIterator[tuple[Overloaded, ClientSession]]:
    peer = Overloaded(bears)
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    connector = TCPConnector(protocols=("h2c",), **options)
    async with ClientSession(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connector=connector
    ) as session:
        yield peer, session
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("bears", [1, 3, 10])
def test_no_request_is_lost_to_refusals(
    new_loop: Callable[[], asyncio.AbstractEventLoop], limit: int, bears: int
) -> None:
    async def main() -> None:
        async with served(lambda: bears, limit=limit) as (peer, session):
            for method in ("GET", "POST"):
                async with asyncio.timeout(30):
                    found = await asyncio.gather(
                        *(session.request(method, "/", data=b"x") for _ in range(90))
                    )
                assert [response.status for response in found] == [200] * 90
            assert peer.served == 180
            assert peer.connections <= limit
            assert peer.refused <= 180, "each of a crowd once, and then hardly any"

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def test_who_is_refused_alone_goes_by_another_connection() -> None:
    answers = iter([0, 0, 0, 1, 1, 1])
    async with served(lambda: next(answers)) as (peer, session):
        assert (await session.get("/")).status == 200
        assert (peer.connections, peer.refused) == (4, 3)


async def test_a_server_that_takes_nothing_is_an_error_at_last() -> None:
    async with served(lambda: 0) as (peer, session):
        with pytest.raises(ServerDisconnectedError, match="REFUSED_STREAM"):
            await session.get("/")
        assert peer.refused == 10
        assert session.connector.stats().busy == 0


# --- frame by frame ---------------------------------------------------------------------------------


async def crowd(peer: Peer, size: int) -> list[Any]:
    exchanges = [peer.get()[0] for _ in range(size)]
    await peer.heard()
    return exchanges


async def test_what_was_answered_before_the_refusals_came_counts_as_borne() -> None:
    peer = Peer()
    exchanges = await crowd(peer, 10)
    done = [peer.head(exchange.stream_id, OK, end=True) for exchange in exchanges[:4]]
    refused = [frame(RST, 0, exchange.stream_id, word(7)) for exchange in exchanges[4:]]
    peer.say(*done, *refused)
    assert all(exchange.unprocessed for exchange in exchanges[4:])
    assert (peer.connection.at_a_time, peer.connection.capacity) == (4, 4)
    peer.connection.carry_at_a_time(9)
    assert peer.connection.at_a_time == 4
    peer.connection.carry_at_a_time(2)
    assert (peer.connection.at_a_time, peer.connection.capacity) == (2, 2)


async def test_a_server_that_bears_more_again_gets_more() -> None:
    peer = Peer()
    first, second = await crowd(peer, 2)
    peer.say(frame(RST, 0, second.stream_id, word(7)), peer.head(first.stream_id, OK, end=True))
    assert peer.connection.at_a_time == 1
    for _ in range(3):
        [exchange] = await crowd(peer, 1)
        assert peer.connection.capacity == 0
        peer.say(peer.head(exchange.stream_id, OK, end=True))
    assert peer.connection.at_a_time == 2
    assert peer.connection.capacity == 2
