"""Large bodies of known length: counted instead of parsed, lent instead of copied, and read with
rests.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.servers.raw import RawServer, read_request, response

import wherry
from wherry.body.stream.reader import StreamReader
from wherry.protocol.heads import RequestHead
from wherry.protocol.http1.connection import Http1Connection
from wherry.protocol.http1.content_length_body import COUNT_FROM, ZERO_COPY_FROM
from wherry.protocol.http1.read_pacing import REST_YIELD, RESTLESS_READS

Start = Callable[..., Awaitable[RawServer]]
MIB = 2**20
both_loops = pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main, 30))


def body_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(2**16 + seed) * (size // 2**16) + bytes([seed]) * 7


def length(data: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)


# --- over real sockets ----------------------------------------------------------------------------


@both_loops
@pytest.mark.parametrize("tls", [False, True])
def test_bodies_that_come_at_once_in_one_thread_do_not_mix(
    new_loop: Any, tls: bool, server_tls: Any, client_tls: Any
) -> None:
    """All connections of a thread receive into one buffer; one reader is slow, one asks for odd
    pieces.
    """
    bodies = {f"/{seed}": body_of(seed, 4 * MIB) for seed in range(1, 6)}

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            path = (await read_request(reader)).split()[1].decode()
            writer.write(length(bodies[path]) + bodies[path])

    async def read(session: wherry.ClientSession, url: str, path: str, size: int) -> None:
        for _ in range(2):
            found = hashlib.sha256()
            async with session.get(url + path) as reply:
                async for piece in reply.content.iter_chunked(size):
                    assert len(piece) <= size
                    found.update(piece)
                    if path == "/1":
                        await asyncio.sleep(0)
            assert found.digest() == hashlib.sha256(bodies[path]).digest()

    async def main() -> None:
        server = await RawServer(script).start(server_tls if tls else None)
        sizes = (65536, 65536, 1000, 77777, MIB)
        try:
            async with wherry.ClientSession(
                connector=wherry.TCPConnector(ssl=client_tls)
            ) as session:
                url = server.url.replace("127.0.0.1", "localhost")
                await asyncio.gather(
                    *[read(session, url, p, n) for p, n in zip(bodies, sizes, strict=True)]
                )
        finally:
            await server.stop()
        # They are used again; but one that comes free while another is being dialled goes to
        # whoever waits for that.
        assert server.connections < 2 * len(bodies)

    run(new_loop, main())


@both_loops
def test_the_other_ways_of_reading(new_loop: Any) -> None:
    data = body_of(9, 3 * MIB)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader):
            writer.write(length(data) + data)

    async def main() -> None:
        server = await RawServer(script).start()
        async with wherry.ClientSession() as session:
            async with session.get(server.url) as reply:
                assert await reply.read() == data
            async with session.get(server.url) as reply:
                assert b"".join([piece async for piece in reply.content.iter_any()]) == data
            async with session.get(server.url) as reply:
                assert b"".join([piece async for piece, _ in reply.content.iter_chunks()]) == data
            async with session.get(server.url, read_bufsize=2**24) as reply:
                found = [await reply.content.readexactly(MIB), await reply.content.read(10)]
                found += [
                    await reply.content.readuntil(data[2 * MIB : 2 * MIB + 20]),
                    await reply.content.read(),
                ]
                assert b"".join(found) == data
        await server.stop()

    run(new_loop, main())


@both_loops
def test_the_end_of_a_counted_body(new_loop: Any) -> None:
    """Cut off, with a surplus, and with a connection that is not to be kept."""
    data = body_of(3, MIB)
    closing = length(data).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answers = [
        length(data) + data[:-1],
        length(data) + data + b"X",
        closing + data,
        length(data) + data,
    ]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        answer = answers.pop(0)
        writer.write(answer)
        if answer[-1:] != b"X" and len(answer) > len(length(data) + data) - 1:
            await reader.read(1)

    async def fetch(session: wherry.ClientSession, url: str) -> bytes:
        async with session.get(url) as reply:
            return b"".join([piece async for piece in reply.content.iter_chunked(65536)])

    async def main() -> None:
        server = await RawServer(script).start()
        async with wherry.ClientSession() as session:
            with pytest.raises(wherry.ClientPayloadError, match="not completed"):
                await fetch(session, server.url)
            for _ in range(3):
                assert await fetch(session, server.url) == data
        await server.stop()
        assert server.connections == 4

    run(new_loop, main())


@both_loops
def test_giving_up_in_the_middle(new_loop: Any) -> None:
    data = body_of(4, 8 * MIB)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(length(data) + data)
        await writer.drain()

    async def main() -> None:
        server = await RawServer(script).start()
        async with wherry.ClientSession() as session:
            async with session.get(server.url) as reply:
                for _ in range(5):
                    await reply.content.read(65536)
            with pytest.raises(wherry.ClientConnectionError):
                await reply.content.read(65536)
            await server.until(lambda s: s.lost == 1)

            async with session.get(server.url) as reply:
                await reply.content.read(65536)
                reading = asyncio.ensure_future(reply.content.readexactly(len(data)))
                await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
                assert reading.cancelled()
            await server.until(lambda s: s.lost == 2)
            async with session.get(server.url) as reply:
                assert len(await reply.read()) == len(data)
        await server.stop()

    run(new_loop, main())


@both_loops
def test_sock_read_holds_for_a_body_that_is_lent(new_loop: Any) -> None:
    data = body_of(5, 2 * MIB)
    done = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(length(data) + data[:-10])
        await done.wait()

    async def main() -> None:
        server = await RawServer(script).start()
        limits = wherry.ClientTimeout(sock_read=0.1)
        async with (
            wherry.ClientSession(timeout=limits) as session,
            session.get(server.url) as reply,
        ):
            got = 0
            with pytest.raises(wherry.SocketTimeoutError):
                async for piece in reply.content.iter_chunked(65536):
                    got += len(piece)
            assert len(data) - MIB < got <= len(data) - 10
        done.set()
        await server.stop()

    run(new_loop, main())


async def test_a_body_limit_and_a_coding_hold(raw_server: Start) -> None:
    data = body_of(6, 2 * MIB)
    server = await raw_server([length(data) + data])
    async with (
        wherry.ClientSession() as session,
        session.get(server.url, max_body_size=MIB) as reply,
    ):
        with pytest.raises(wherry.ClientPayloadError, match="max_body_size"):
            async for _ in reply.content.iter_chunked(65536):
                pass


# --- the connection alone -------------------------------------------------------------------------


class FakeTransport:
    """Keeps what is asked of a transport."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.facts: dict[str, Any] = {}

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return "close" in self.calls

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.calls.append("close")

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.facts.get(name, default)


class Bench:
    """A connection with a body of 64 MiB under way, on a transport that is none."""

    def __init__(self, *, limit: int = 2**18) -> None:
        self.transport = FakeTransport()
        self.connection = Http1Connection(asyncio.get_running_loop())
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        self.stream = StreamReader(limit)
        self.exchange = self.connection.start(RequestHead("GET", "http", "h", "/"), self.stream)
        self.receive(length(bytes(64 * MIB)))

    def receive(self, data: bytes) -> None:
        buffer = self.connection.get_buffer(-1)
        buffer[: len(data)] = data
        self.connection.buffer_updated(len(data))
        buffer[: len(data)] = bytes(len(data)) if self.connection._buffer.borrower is None else data

    async def read(self, size: int, data: bytes) -> bytes:
        """Receive `data` while a reader waits."""
        reading = asyncio.ensure_future(self.stream.read(size))
        await asyncio.sleep(0)
        self.receive(data)
        return await reading


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    # A rest ends when the test says so.
    monkeypatch.setattr("wherry.protocol.http1.read_pacing.REST_SECONDS", 3600)
    return Bench()


async def test_a_rest_ends_and_does_not_undo_a_pause(bench: Bench) -> None:
    piece = b"x" * REST_YIELD
    assert await bench.read(2**18, piece) == piece
    assert bench.transport.calls == ["pause"]
    bench.connection.pause_reading()  # the reader is full meanwhile
    bench.connection._pacer.wake()
    assert bench.transport.calls == ["pause"]
    bench.connection.resume_reading()
    assert bench.transport.calls == ["pause", "resume"]


async def test_a_pause_that_ends_in_a_rest_does_not_end_it(bench: Bench) -> None:
    await bench.read(2**18, b"x" * REST_YIELD)
    bench.connection.pause_reading()
    bench.connection.resume_reading()
    assert bench.transport.calls == ["pause"]
    bench.connection._pacer.wake()
    assert bench.transport.calls == ["pause", "resume"]


async def test_a_connection_that_is_closed_in_its_rest_stays_closed(bench: Bench) -> None:
    await bench.read(2**18, b"x" * REST_YIELD)
    bench.exchange.cancel()
    bench.connection._pacer.wake()
    bench.connection.connection_lost(None)
    bench.connection._pacer.wake()
    assert bench.transport.calls == ["pause", "close"]


async def test_rests_that_gain_nothing_are_left_out_for_a_while(bench: Bench) -> None:
    small = b"x" * ZERO_COPY_FROM
    for _ in range(2):
        await bench.read(2**18, small)
        assert bench.transport.calls == ["pause"]
    bench.connection._pacer.wake()
    bench.transport.calls.clear()
    for _ in range(RESTLESS_READS):
        await bench.read(2**18, small)
        assert not bench.transport.calls
    await bench.read(2**18, small)
    assert bench.transport.calls == ["pause"]


async def test_no_rest_near_the_end_nor_after_small_or_full_reads(bench: Bench) -> None:
    await bench.read(2**18, b"x" * (ZERO_COPY_FROM - 1))
    full = bytes(len(bench.connection.get_buffer(-1)))
    await bench.read(2**18, full)
    bench.connection._counted.left = COUNT_FROM + ZERO_COPY_FROM - 1
    await bench.read(2**18, b"x" * ZERO_COPY_FROM)
    assert not bench.transport.calls


async def test_no_rest_over_tls(bench: Bench) -> None:
    bench.transport.facts["ssl_object"] = object()
    await bench.read(2**18, b"x" * REST_YIELD)
    assert not bench.transport.calls


async def test_a_loop_that_reads_ahead_is_stopped_after_a_full_read(bench: Bench) -> None:
    """As libuv does: it reads on while the buffer is filled, before any task runs."""
    full = b"y" * len(bench.connection.get_buffer(-1))
    reading = asyncio.ensure_future(bench.stream.read(65536))
    await asyncio.sleep(0)
    bench.receive(full)
    bench.receive(full)  # what was lent must not change under the reader
    assert await reading == full[:65536]
    while bench.stream._size:
        assert await bench.stream.read(2**18) in {full[65536:], full}
    assert not bench.transport.calls
    assert await bench.read(65536, full) == full[:65536]
    assert bench.transport.calls == ["pause", "resume"]


async def test_a_download_copies_each_byte_once(bench: Bench) -> None:
    """What a large body costs, in steps: each read is lent, wakes the reader once, and is copied
    by nobody but the reader, in the pieces that it wants.
    """
    full = b"z" * len(bench.connection.get_buffer(-1))
    piece, reads = 65536, 32
    kept, fed, lent, waited, calls = 0, 0, 0, 0, 0
    ours = str(Path(wherry.__file__).parent)

    def count(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal kept, fed, lent, waited, calls
        if event == "call" and frame.f_code.co_filename.startswith(ours):
            name = frame.f_code.co_name
            calls += 1
            fed += name == "feed_data"
            lent += name == "lend"
            kept += name == "_keep_raw"
            waited += name == "_wake"

    got = 0
    pieces = bench.stream.iter_chunked(piece)
    reading = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    bench.receive(b"first".ljust(ZERO_COPY_FROM, b"z"))
    assert (await reading)[:5] == b"first"
    sys.setprofile(count)
    try:
        for _ in range(reads):
            reading = asyncio.ensure_future(anext(pieces))
            await asyncio.sleep(0)
            bench.receive(full)
            got += len(await reading)
            while bench.stream._size:
                got += len(await anext(pieces))
    finally:
        sys.setprofile(None)
    assert got == reads * len(full)
    assert (fed, kept, lent, waited) == (0, 0, reads, reads)
    # Three for each piece, and what a read itself takes.
    assert calls <= reads * (3 * len(full) // piece + 24)


PIECES = st.lists(
    st.tuples(st.integers(1, 3 * ZERO_COPY_FROM), st.booleans(), st.integers(0, 4)), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, sizes=st.lists(st.integers(1, 2**18), min_size=1))
def test_what_is_lent_is_what_is_read(
    pieces: list[tuple[int, bool, int]], sizes: list[int]
) -> None:
    """Whoever waits or not, however much is read between two pieces, and whatever lies in the
    buffer afterwards.
    """

    async def main() -> None:
        bench = Bench()
        sent, got, at = bytearray(), bytearray(), 0
        for number, (size, waits, reads) in enumerate(pieces):
            data = random.Random(number).randbytes(size)
            sent += data
            if waits and not bench.stream._size:
                got += await bench.read(sizes[at % len(sizes)], data)
            else:
                bench.receive(data)
            for _ in range(reads):
                at += 1
                if bench.stream._size:
                    got += await bench.stream.read(sizes[at % len(sizes)])
        bench.connection.get_buffer(-1)[:] = bytes(len(bench.connection.get_buffer(-1)))
        while bench.stream._size:
            got += await bench.stream.readany()
        assert got == sent
        assert bench.stream.total_bytes == len(sent)

    asyncio.run(main())


async def test_a_known_head_after_a_counted_body(raw_server: Start) -> None:
    """The parser is a new one then: small answers and large ones follow one another on a
    connection.
    """
    data = body_of(7, MIB)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(9):
            await read_request(reader)
            writer.write(length(data) + data if number % 3 == 0 else response(b"ok"))
            await writer.drain()

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        for number in range(9):
            async with session.get(server.url) as reply:
                assert await reply.read() == (data if number % 3 == 0 else b"ok")


async def test_a_full_reader_whose_answer_came_in_one_read_stops_no_other(
    raw_server: Start,
) -> None:
    body = b"x" * 6_000

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader):
            writer.write(response(body))

    server = await raw_server(script)
    timeout = wherry.ClientTimeout(sock_read=20)
    async with wherry.ClientSession(read_bufsize=1024, timeout=timeout) as session:
        first = await session.get(server.url)
        async with session.get(server.url) as second:
            assert await second.read() == body
        assert await first.read() == body
