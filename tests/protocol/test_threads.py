"""Event loops in threads of their own: what the process keeps for all of them gives each its own
bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hpack
import hpack.huffman
import hpack.huffman_constants
import pytest
from tests.protocol.frames import END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame, settings
from tests.servers.raw import read_request, response
from yarl import URL

import wherry
from wherry.connect.tls import transport as tls_transport
from wherry.protocol.http1.connection import Http1Connection
from wherry.protocol.http2 import hpack_tables
from wherry.protocol.http2.connection import Http2Connection
from wherry.protocol.http2.frames import PREFACE, unpack_header

THREADS = 8
REQUESTS = 12


@pytest.fixture
def often_switched() -> Iterator[None]:
    """Threads that take turns a thousand times as often as they usually do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], Any]) -> list[Any]:
    """Let threads begin `work` together, each with its number; the first failure is raised."""
    start = threading.Barrier(THREADS)

    def one(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as threads:
        return [
            done.result() for done in [threads.submit(one, number) for number in range(THREADS)]
        ]


async def _answer_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            path = (await read_request(reader)).split(b" ", 2)[1]
            writer.write(response(path * 400, fields=f"X-Path: {path.decode()}\r\n"))
    writer.close()


async def _answer_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each path comes back in a field, Huffman-coded, and as the body."""
    encoder, decoder = hpack.Encoder(), hpack.Decoder()
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        assert await reader.readexactly(len(PREFACE)) == PREFACE
        writer.write(settings())
        while True:
            size, _, stream = unpack_header(await reader.readexactly(9))
            payload = await reader.readexactly(size >> 8)
            if size & 0xFF == HEADERS:
                path = dict(decoder.decode(payload))[":path"]
                block = encoder.encode([(":status", "200"), ("x-path", path)])
                writer.write(frame(HEADERS, END_HEADERS, stream, block))
                writer.write(
                    frame(0, 0, stream, path.encode()) + frame(0, END_STREAM, stream, path.encode())
                )
            elif size & 0xFF == SETTINGS and payload:
                writer.write(frame(SETTINGS, 1))
    writer.close()


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    ("protocols", "answer", "times"),
    [(("http/1.1",), _answer_http1, 400), (("h2c",), _answer_http2, 2)],
)
@pytest.mark.usefixtures("often_switched")
def test_loops_in_threads_get_their_own_answers(
    protocols: tuple[str, ...], answer: Answer, times: int
) -> None:
    async def main(number: int) -> None:
        rng = random.Random(number)
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def ask(session: wherry.ClientSession) -> None:
            path = f"/{number}-" + "".join(
                rng.choices("abcdefghijklmnopqrstuvwxyzABCDEFGH~!$()*,;:@_'+", k=600)
            )
            async with session.get(URL(url + path, encoded=True)) as reply:
                assert reply.headers["X-Path"] == path
                assert await reply.text() == path * times

        async with wherry.ClientSession(
            connector=wherry.TCPConnector(protocols=protocols)
        ) as session:
            for _ in range(REQUESTS):
                await asyncio.gather(*(ask(session) for _ in range(3)))
        server.close()

    in_threads(lambda number: asyncio.run(main(number)))


def _huffman(text: bytes) -> bytes:
    """By another implementation."""
    constants = hpack.huffman_constants
    coded: bytes = hpack.huffman.HuffmanEncoder(
        constants.REQUEST_CODES, constants.REQUEST_CODES_LENGTH
    ).encode(text)
    return coded


@pytest.mark.usefixtures("often_switched")
def test_threads_that_decode_for_the_first_time_together_decode_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 7541 appendix B: whoever comes second never sees half a table."""
    texts = [bytes(random.Random(seed).choices(range(256), k=300)) for seed in range(THREADS)]
    coded = [_huffman(text) for text in texts]
    for _ in range(5):
        hpack_tables._code.cache_clear()
        monkeypatch.setattr(hpack_tables, "_steps", {})
        assert in_threads(lambda number: hpack_tables.decode_in_python(coded[number])) == texts


@pytest.mark.usefixtures("often_switched")
def test_the_compiled_decoder_is_nobodys_but_the_callers() -> None:
    text = b"a value that is long enough for the compiled decoder " * 40
    coded = _huffman(text)

    def work(number: int) -> None:
        for _ in range(200):
            assert hpack_tables.decode_huffman(coded) == text

    in_threads(work)


@pytest.mark.parametrize("kind", [Http1Connection, Http2Connection])
def test_loops_of_one_thread_share_no_buffer(kind: type[Http1Connection | Http2Connection]) -> None:
    """One of them may go on in another thread: then two threads would receive into the same
    memory.
    """
    loops = [asyncio.new_event_loop() for _ in range(2)]
    first, again, second = (kind(loop) for loop in (loops[0], loops[0], loops[1]))
    assert first._buffer is again._buffer
    assert first._buffer is not second._buffer
    assert tls_transport._receive_buffer(loops[0]) is not tls_transport._receive_buffer(loops[1])
    for loop in loops:
        loop.close()


def test_a_loop_that_goes_on_in_another_thread_keeps_its_bytes() -> None:
    """Two loops are begun in one thread; then they download side by side, one of them in another
    thread.
    """
    begun: list[tuple[asyncio.AbstractEventLoop, wherry.ClientSession, str, asyncio.Server]] = []

    async def begin(mark: bytes) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await read_request(reader)
                    writer.write(response(mark * 3_000_000))
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        session = wherry.ClientSession()
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        begun.append((asyncio.get_running_loop(), session, url, server))
        async with session.get(url) as reply:
            await reply.read()

    async def go_on(session: wherry.ClientSession, url: str, mark: bytes) -> None:
        for _ in range(4):
            async with session.get(url) as reply:
                async for piece in reply.content.iter_chunked(65536):
                    assert piece == mark * len(piece)

    async def end(session: wherry.ClientSession, server: asyncio.Server) -> None:
        await session.close()
        server.close()
        await asyncio.sleep(0)

    marks = [b"a", b"b"]
    for mark in marks:
        asyncio.new_event_loop().run_until_complete(begin(mark))
    with ThreadPoolExecutor(2) as threads:
        done = [
            threads.submit(loop.run_until_complete, go_on(session, url, mark))
            for (loop, session, url, _), mark in zip(begun, marks, strict=True)
        ]
        for each in done:
            each.result()
    for loop, session, _, server in begun:
        loop.run_until_complete(end(session, server))
        loop.close()
