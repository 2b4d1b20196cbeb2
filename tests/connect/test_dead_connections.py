"""A path that drops packets says nothing: an HTTP/2 connection on which nothing comes any more is
given up, and one whose server is only slow is not (RFC 9113 6.7).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import hpack
import pytest
import uvloop
from tests.protocol.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    OK,
    PING,
    RST,
    SETTINGS,
    Peer,
    frame,
)

from wherry import ClientSession, ClientTimeout, TCPConnector
from wherry.protocol import ping_checks
from wherry.protocol.http2 import connection as http2_connection
from wherry.protocol.http2.flow_control import FlowOptions

from .conftest import on
from .giving_up import WAYS, by_total

CHECK = b"wherry-c"
LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]


class Http2Peer:
    """A server of HTTP/2 in the clear that notes each frame, by connection.

    A connection in `mute` is as good as dead: what comes on it is read and never answered.  The
    path `/slow` is never answered, `/begin` gets a head and no body.
    """

    def __init__(self) -> None:
        self.frames: list[list[tuple[int, int, bytes]]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.mute: set[int] = set()
        self.changed = asyncio.Condition()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, decoder = len(self.frames), hpack.Decoder()
        self.frames.append([])
        self.writers.append(writer)
        writer.write(frame(SETTINGS))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(24)
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3]))
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9])
                self.frames[number].append((kind, stream, payload))
                path = dict(decoder.decode(payload))[":path"] if kind == HEADERS else ""
                if number not in self.mute:
                    self._answer(writer, kind, flags, stream, payload, path)
                async with self.changed:
                    self.changed.notify_all()
        writer.close()

    def _answer(
        self,
        writer: asyncio.StreamWriter,
        kind: int,
        flags: int,
        stream: int,
        payload: bytes,
        path: str,
    ) -> None:
        if kind == PING and not flags & ACK:
            writer.write(frame(PING, ACK, 0, payload))
        if kind == HEADERS and path != "/slow":
            ends = 0 if path == "/begin" else END_STREAM
            writer.write(frame(HEADERS, ends | END_HEADERS, stream, hpack.Encoder().encode(OK)))

    async def until(self, seen: Callable[[], Any]) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(seen)

    def count(self, number: int, kind: int) -> int:
        return sum(noted[0] == kind for noted in self.frames[number])


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[Http2Peer, ClientSession]]:
    peer = Http2Peer()
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    connector = TCPConnector(protocols=("h2c",), **options)
    async with ClientSession(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connector=connector
    ) as session:
        yield peer, session
    server.close()
    for writer in peer.writers:
        writer.close()
    await server.wait_closed()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("give_up", WAYS)
def test_one_request_alone_is_lost_to_a_dead_connection(
    new_loop: Callable[[], asyncio.AbstractEventLoop], give_up: Any
) -> None:
    async def main() -> None:
        async with served() as (peer, session):
            async with session.get("/") as response:
                assert response.status == 200
            peer.mute.add(0)
            await give_up(session)
            for _ in range(3):
                async with session.get("/", timeout=ClientTimeout(total=5)) as response:
                    assert response.status == 200
            assert len(peer.frames) == 2
            await peer.until(lambda: peer.count(0, RST))
            assert [noted for noted in peer.frames[0] if noted[0] in {RST, PING}] == [
                (RST, 3, b"\0\0\0\x08"),
                (PING, 0, CHECK),
            ]

    on(new_loop, main)


async def test_a_body_that_stops_for_ever_puts_its_connection_in_doubt() -> None:
    async with served() as (peer, session):
        async with session.get("/begin", timeout=ClientTimeout(sock_read=0.2)) as response:
            peer.mute.add(0)
            with pytest.raises(TimeoutError):
                await response.read()
        async with session.get("/", timeout=ClientTimeout(total=5)):
            assert len(peer.frames) == 2


async def test_requests_that_waited_for_the_dead_connection_go_by_another() -> None:
    """Many at once: none of those that begin after the first was given up is lost."""
    async with served() as (peer, session):
        await session.get("/")
        peer.mute.add(0)
        lost = await asyncio.gather(
            *(session.get("/", timeout=ClientTimeout(total=0.2)) for _ in range(12)),
            return_exceptions=True,
        )
        assert [type(error) for error in lost] == [TimeoutError] * 12
        found = await asyncio.gather(
            *(session.get("/", timeout=ClientTimeout(total=5)) for _ in range(12))
        )
        assert [response.status for response in found] == [200] * 12
        assert peer.count(0, PING) == 1, "one question for all of them"


async def test_where_the_limit_has_room_for_one_the_next_waits_until_it_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ping_checks, "ANSWER_SECONDS", 0.2)
    async with served(limit=1) as (peer, session):
        await session.get("/")
        peer.mute.add(0)
        await by_total(session)
        async with session.get("/", timeout=ClientTimeout(total=5)) as response:
            assert response.status == 200
        assert len(peer.frames) == 2
        assert session.connector.stats().open == 1


async def test_a_server_that_is_only_slow_keeps_its_connection() -> None:
    async with served(limit=1) as (peer, session):
        for given_up in range(4):
            async with session.get("/") as response:
                assert response.status == 200
            assert (len(peer.frames), peer.count(0, PING)) == (1, given_up)
            with pytest.raises(TimeoutError):
                await session.get("/slow", timeout=ClientTimeout(total=0.2))


async def test_nothing_starts_before_the_answer_and_then_it_goes_on() -> None:
    async with served(limit=1) as (peer, session):
        await session.get("/")
        peer.mute.add(0)
        await by_total(session)
        next_one = asyncio.ensure_future(session.get("/"))
        await peer.until(lambda: peer.count(0, PING))
        assert peer.count(0, HEADERS) == 2
        assert not next_one.done()
        peer.mute.clear()
        peer.writers[0].write(frame(PING, ACK, 0, CHECK))
        assert (await next_one).status == 200
        assert (len(peer.frames), peer.count(0, HEADERS)) == (1, 3)


async def test_who_gives_up_while_something_comes_asks_nothing() -> None:
    async with served() as (peer, session):
        for _ in range(3):
            async with session.get("/begin") as response:
                response.close()
        await session.get("/")
        assert (len(peer.frames), peer.count(0, PING)) == (1, 0)


# --- frame by frame ---------------------------------------------------------------------------------


def give_up(monkeypatch: pytest.MonkeyPatch, exchange: Any) -> None:
    monkeypatch.setattr(http2_connection, "SILENCE", 0.0)
    exchange.cancel()
    monkeypatch.setattr(http2_connection, "SILENCE", 1e9)


async def test_what_is_under_way_goes_on_and_the_connection_ends_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ping_checks, "ANSWER_SECONDS", 0.01)
    peer = Peer()
    (first, _), (other, sink) = peer.get(), peer.get()
    await peer.heard()
    give_up(monkeypatch, first)
    assert peer.connection.capacity == 0
    assert "doubt" in repr(peer.connection)
    while not peer.connection.is_draining:
        await asyncio.sleep(0)
    peer.say(peer.head(3, OK), peer.data(3, b"late", end=True))
    assert (other.complete, sink.data) == (True, b"late")
    assert peer.transport.aborted, "nobody is there for an orderly end"
    await peer.connection.wait_closed()


async def test_an_answer_behind_much_else_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own, which a busy machine does not hurry."""
    clock = itertools.count(0, 4)
    monkeypatch.setattr(ping_checks, "monotonic", lambda: next(clock) / 100)
    monkeypatch.setattr(ping_checks, "ANSWER_SECONDS", 0.01)
    looks = 0

    def heard_at() -> float:
        nonlocal looks
        looks += 1
        return float("inf")

    lost = asyncio.get_running_loop().create_future()
    ping_checks.PeerCheck(asyncio.get_running_loop(), heard_at, 0.1, lambda: lost.set_result(None))
    await lost
    assert looks == 3, "something came, so it looked again at 0.04 and 0.08 s; and not for ever"


async def test_a_silent_peer_without_exchanges_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(flow=FlowOptions(ping_timeout=0.01))
    exchange, _ = peer.get()
    await peer.heard()
    give_up(monkeypatch, exchange)
    await peer.connection.wait_closed()
    assert peer.transport.aborted


async def test_answers_that_nobody_asked_for_are_frames_to_no_purpose() -> None:
    peer = Peer(flow=FlowOptions(max_noise=10, noise_period=1000.0))
    exchange, _ = peer.get()
    peer.say(*(frame(PING, ACK, 0, CHECK) for _ in range(20)))
    assert exchange.error is not None
    assert "to no purpose" in str(exchange.error)
