"""The body's stream: every way of reading, back-pressure, ends and failures."""

from __future__ import annotations

import asyncio
import gc
import gzip
import weakref
import zlib

import pytest

from wherry.body.stream.decoders import decoder_for
from wherry.body.stream.reader import EMPTY_PAYLOAD, LineTooLong, StreamReader
from wherry.errors import ClientPayloadError


class Flow:
    def __init__(self) -> None:
        self.paused = False
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.paused = True
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.paused = False
        self.calls.append("resume")


def stream(*pieces: bytes, limit: int = 2**16, eof: bool = True) -> StreamReader:
    reader = StreamReader(limit)
    reader.flow = Flow()
    for piece in pieces:
        reader.feed_data(piece)
    if eof:
        reader.feed_eof()
    return reader


def test_a_body_that_is_there_is_taken_without_suspending():
    assert stream(b"one").take_whole() == b"one"
    assert stream(b"one", b"two").take_whole() == b"onetwo"
    assert stream().take_whole() == b""
    assert stream(b"one", eof=False).take_whole() is None


def test_taking_the_whole_leaves_the_stream_at_its_end():
    reader = stream(b"one")
    reader.take_whole()
    assert reader.at_eof()
    assert reader.total_bytes == 3


async def test_read_waits_for_the_end_and_wakes_once():
    reader = stream(b"a", eof=False)
    task = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0)
    for piece in (b"b", b"c"):
        reader.feed_data(piece)
        await asyncio.sleep(0)
        assert not task.done()
    reader.feed_eof()
    assert await task == b"abc"
    assert await reader.read() == b""
    assert reader.at_eof()


async def test_read_everything_lifts_the_limit():
    reader = stream(b"x" * 100, limit=10, eof=False)
    flow = reader.flow
    assert flow.paused
    task = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0)
    assert not flow.paused
    reader.feed_data(b"y" * 1000)
    assert not flow.paused
    reader.feed_eof()
    assert await task == b"x" * 100 + b"y" * 1000


async def test_read_n_gives_at_most_n_over_piece_borders():
    reader = stream(b"abc", b"def", b"ghi")
    assert await reader.read(2) == b"ab"
    assert await reader.read(5) == b"cdefg"
    assert await reader.read(0) == b""
    assert await reader.read(100) == b"hi"
    assert await reader.read(100) == b""


async def test_the_connection_is_paused_above_twice_the_limit_and_resumed_below_it():
    reader = stream(eof=False, limit=10)
    flow = reader.flow
    reader.feed_data(b"x" * 20)
    assert flow.calls == []
    reader.feed_data(b"x")
    reader.feed_data(b"x")
    assert flow.calls == ["pause"]
    assert await reader.read(10) == b"x" * 10
    assert flow.calls == ["pause"]
    await reader.read(3)
    assert flow.calls == ["pause", "resume"]


async def test_a_flood_of_tiny_pieces_pauses_too():
    reader = stream(eof=False, limit=2**16)
    for _ in range(2**14):
        reader.feed_data(b"x")
    assert reader.flow.paused
    assert len(await reader.readany()) == 2**14
    assert not reader.flow.paused


def test_the_end_resumes_and_lets_go_of_the_connection():
    reader = stream(b"x" * 100, limit=10, eof=False)
    flow = reader.flow
    reader.feed_eof()
    assert flow.calls == ["pause", "resume"]
    assert reader.flow is None


async def test_readany_gives_what_is_there():
    reader = stream(b"abc", b"def", eof=False)
    assert await reader.readany() == b"abcdef"
    task = asyncio.ensure_future(reader.readany())
    await asyncio.sleep(0)
    reader.feed_data(b"x")
    assert await task == b"x"
    reader.feed_eof()
    assert await reader.readany() == b""


async def test_readexactly():
    reader = stream(b"abc", b"def")
    assert await reader.readexactly(4) == b"abcd"
    assert await reader.readexactly(0) == b""
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await reader.readexactly(5)
    assert caught.value.partial == b"ef"
    assert caught.value.expected == 5


@pytest.mark.parametrize("cut", range(1, 12))
async def test_readuntil_finds_a_separator_over_any_piece_border(cut):
    body = b"ab\r\ncd\r\n\r\nef"
    reader = stream(*(body[at : at + cut] for at in range(0, len(body), cut)))
    assert await reader.readuntil(b"\r\n") == b"ab\r\n"
    assert await reader.readuntil(b"\r\n\r\n") == b"cd\r\n\r\n"
    assert await reader.readuntil(b"\r\n") == b"ef"
    assert await reader.readuntil(b"\r\n") == b""


async def test_lines():
    reader = stream(b"one\ntw", b"o\nthree")
    assert [line async for line in reader] == [b"one\n", b"two\n", b"three"]


async def test_a_line_too_long_is_an_error():
    reader = stream(b"x" * 30 + b"\n", limit=10)
    with pytest.raises(LineTooLong):
        await reader.readline()
    reader = stream(b"xxxxx\n", limit=10)
    with pytest.raises(ValueError, match="more than 3 bytes"):
        await reader.readline(max_line_length=3)
    reader = stream(b"xx", b"xx", b"xx", eof=False)
    with pytest.raises(LineTooLong):
        await reader.readline(max_line_length=5)


async def test_an_empty_separator_is_refused():
    with pytest.raises(ValueError):
        await stream(b"x").readuntil(b"")


async def test_readchunk_tells_where_http_chunks_end():
    reader = stream(eof=False)
    reader.begin_http_chunk_receiving()
    reader.feed_data(b"ab")
    reader.feed_data(b"cd")
    reader.end_http_chunk_receiving()
    reader.begin_http_chunk_receiving()
    reader.feed_data(b"ef")
    assert await reader.readchunk() == (b"abcd", True)
    assert await reader.readchunk() == (b"ef", False)
    reader.end_http_chunk_receiving()
    reader.feed_eof()
    assert await reader.readchunk() == (b"", True)
    assert await reader.readchunk() == (b"", False)


async def test_chunk_ends_need_no_beginning_call():
    reader = stream(b"ab", eof=False)
    reader.chunk_ended()
    reader.feed_data(b"c")
    reader.chunk_ended()
    reader.feed_eof()
    assert [piece async for piece in reader.iter_chunks()] == [(b"ab", True), (b"c", True)]


async def test_without_http_chunks_the_flag_is_never_set():
    assert [piece async for piece in stream(b"ab", b"c").iter_chunks()] == [
        (b"ab", False),
        (b"c", False),
    ]


async def test_iter_chunked_and_iter_any():
    assert [piece async for piece in stream(b"abc", b"de").iter_chunked(2)] == [b"ab", b"cd", b"e"]
    assert [piece async for piece in stream(b"abc", b"de").iter_any()] == [b"abcde"]


async def test_read_nowait():
    reader = stream(b"abc", eof=False)
    assert reader.read_nowait(2) == b"ab"
    assert reader.read_nowait() == b"c"
    assert reader.read_nowait() == b""
    task = asyncio.ensure_future(reader.read(1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="waiting"):
        reader.read_nowait()
    reader.feed_eof()
    assert await task == b""


@pytest.mark.parametrize("method", ["read", "readany", "readline", "readchunk"])
async def test_two_readers_at_once_are_told(method):
    reader = stream(eof=False)
    task = asyncio.ensure_future(reader.read(1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another coroutine is already waiting"):
        await getattr(reader, method)()
    reader.feed_eof()
    await task


async def test_a_cancelled_read_loses_nothing():
    reader = stream(eof=False)
    task = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0)
    reader.feed_data(b"abc")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    reader.feed_eof()
    assert await reader.read() == b"abc"


@pytest.mark.parametrize("method", ["read", "readany", "readline", "readchunk"])
async def test_an_exception_wakes_the_reader_and_stays(method):
    reader = stream(eof=False)
    task = asyncio.ensure_future(getattr(reader, method)())
    await asyncio.sleep(0)
    reader.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await task
    with pytest.raises(ValueError, match="broken"):
        await getattr(reader, method)()
    assert isinstance(reader.exception(), ValueError)


async def test_an_exception_raised_often_does_not_grow():
    reader = stream(eof=False)
    reader.set_exception(ValueError("broken"))
    depths = []
    for _ in range(5):
        try:
            await reader.read()
        except ValueError as exc:
            depth, tb = 0, exc.__traceback__
            while tb is not None:
                depth, tb = depth + 1, tb.tb_next
            depths.append(depth)
    assert len(set(depths)) == 1


async def test_callbacks_at_the_end():
    seen = []
    reader = stream(eof=False)
    reader.on_eof(lambda: seen.append("before"))
    waiter = asyncio.ensure_future(reader.wait_eof())
    await asyncio.sleep(0)
    reader.feed_eof()
    reader.on_eof(lambda: seen.append("after"))
    await waiter
    assert seen == ["before", "after"]
    await reader.wait_eof()


async def test_wait_eof_gets_the_exception():
    reader = stream(eof=False)
    waiter = asyncio.ensure_future(reader.wait_eof())
    await asyncio.sleep(0)
    reader.set_exception(ValueError("broken"))
    with pytest.raises(ValueError):
        await waiter


async def test_unread_data_comes_first():
    reader = stream(b"abcdef")
    assert await reader.read(3) == b"abc"
    with pytest.warns(DeprecationWarning, match="unread_data"):
        reader.unread_data(b"bc")
    assert await reader.read() == b"bcdef"


async def test_a_limit_on_the_size_fails_the_moment_it_is_passed():
    reader = stream(b"12345", eof=False)
    reader.max_size = 8
    task = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0)
    reader.feed_data(b"6789")
    with pytest.raises(ClientPayloadError, match="max_body_size=8"):
        await task
    reader = stream(b"12345678")
    reader.max_size = 8
    assert await reader.read() == b"12345678"


async def test_the_empty_payload():
    assert EMPTY_PAYLOAD.at_eof()
    assert await EMPTY_PAYLOAD.read() == b""
    assert await EMPTY_PAYLOAD.readline() == b""
    assert [piece async for piece in EMPTY_PAYLOAD.iter_chunked(10)] == []
    with pytest.raises(asyncio.IncompleteReadError):
        await EMPTY_PAYLOAD.readexactly(1)


class Inflate:
    """A decoder of a few lines, to test the stream apart from the codings."""

    def __init__(self) -> None:
        self.inner = zlib.decompressobj()
        self.needs_input = True

    def decode(self, data: bytes, max_length: int) -> bytes:
        out = self.inner.decompress(self.inner.unconsumed_tail + data, max_length)
        self.needs_input = not self.inner.unconsumed_tail and len(out) < max_length
        return out

    def whole(self, data: bytes, max_length: int) -> bytes | None:
        return None

    def finish(self) -> None:
        if not self.inner.eof:
            raise ClientPayloadError("cut short")


def encoded(body: bytes, *, size: int = 2**16, cut: int = 0, limit: int = 2**16) -> StreamReader:
    data = zlib.compress(body)
    data = data[: len(data) - cut]
    reader = stream(*(data[at : at + size] for at in range(0, len(data), size)), limit=limit)
    reader.decoder = Inflate()
    return reader


async def test_an_encoded_body_is_decoded_as_it_is_read():
    body = b"".join(b"%d," % n for n in range(20000))
    assert encoded(body).take_whole() == body
    assert await encoded(body, size=7).read() == body
    assert b"".join([piece async for piece in encoded(body).iter_chunked(1000)]) == body
    assert b"".join([piece async for piece in encoded(body).iter_any()]) == body


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("put_back", [False, True])
async def test_a_short_encoded_body_ends_once_it_was_read(coding, put_back):
    """It is decoded in one step; what reads on finds the end, and not a body without its coding."""
    body = b"hello" * 1000
    data = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    for method in ("read", "readany", "readline", "readchunk"):
        reader = stream(data)
        reader.decoder = decoder_for(coding)
        assert await reader.read() == body
        if put_back:
            reader.put_back(body)
            assert await reader.read() == body
        assert await getattr(reader, method)() in {b"", (b"", False), (b"", True)}
        assert reader.at_eof()


async def test_decoding_stops_where_the_reader_stops():
    reader = encoded(bytes(2**26))
    assert await reader.read(1000) == bytes(1000)
    assert reader.total_bytes <= 2000
    assert not reader.at_eof()


async def test_a_large_encoded_body_is_decoded_in_a_thread():
    import random

    body = random.Random(1).randbytes(2**20)
    reader = encoded(body, size=2**18)
    assert reader.take_whole() is None
    task = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0)
    assert reader._job is not None
    assert await task == body


async def test_a_read_cancelled_while_a_thread_decodes_loses_nothing():
    import random

    body = random.Random(1).randbytes(2**20)
    reader = encoded(body, size=2**18)
    task = asyncio.ensure_future(reader.readany())
    reader.set_read_chunk_size(2**20)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await reader.read() == body


async def test_a_coding_cut_short_is_an_error_whatever_the_framing_says():
    with pytest.raises(ClientPayloadError, match="cut short"):
        encoded(b"hello" * 100, cut=3).take_whole()
    with pytest.raises(ClientPayloadError, match="cut short"):
        await encoded(b"hello" * 100, cut=3).read()
    with pytest.raises(ClientPayloadError, match="cut short"):
        async for _ in encoded(b"hello" * 100, cut=3).iter_chunked(10):
            pass


async def test_a_limit_on_the_size_counts_decoded_bytes():
    reader = encoded(bytes(2**26))
    reader.max_size = 1000
    with pytest.raises(ClientPayloadError, match="max_body_size"):
        await reader.read()
    assert reader.total_bytes <= 1001
    reader = encoded(bytes(1000))
    reader.max_size = 1000
    assert await reader.read() == bytes(1000)


async def test_chunk_ends_of_an_encoded_body():
    data = zlib.compress(b"hello world" * 10)
    reader = stream(eof=False)
    reader.decoder = Inflate()
    for piece in (data[:5], data[5:]):
        reader.begin_http_chunk_receiving()
        reader.feed_data(piece)
        reader.end_http_chunk_receiving()
    reader.feed_eof()
    pieces = [piece async for piece in reader.iter_chunks()]
    assert b"".join(data for data, _ in pieces) == b"hello world" * 10
    assert pieces[-1][1] is True


def test_a_stream_is_freed_without_the_collector():
    gc.disable()
    try:
        reader = stream(b"x")
        ref = weakref.ref(reader)
        reader.take_whole()
        del reader
        assert ref() is None
    finally:
        gc.enable()


async def test_a_body_that_comes_byte_by_byte_takes_little_more_memory_than_its_size():
    import tracemalloc

    reader = stream(eof=False)
    task = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0)
    tracemalloc.start()
    try:
        for _ in range(200000):
            reader.feed_data(bytes([1, 2]))
            reader.chunk_ended()
        reader.feed_eof()
        assert await task == b"\1\2" * 200000
        assert tracemalloc.get_traced_memory()[1] < 3 * 400000
    finally:
        tracemalloc.stop()


async def test_what_grows_large_is_decoded_in_a_thread_however_little_came():
    reader = encoded(bytes(2**24))
    assert reader.total_raw_bytes < 2**16
    task = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0)
    assert reader._job is not None
    assert await task == bytes(2**24)


async def test_a_large_read_of_an_encoded_body_comes_in_steps():
    reader = encoded(bytes(2**24))
    assert 0 < len(await reader.read(2**30)) <= 2**20
    assert await reader.readexactly(2**23) == bytes(2**23)


def test_a_stream_is_one_class_that_has_a_buffer_where_it_needs_one() -> None:
    """Not a row of classes derived from one another; a body that is taken whole has none."""
    from wherry.body.stream.body_buffer import NOTHING_READY, BodyBuffer

    assert StreamReader.__mro__ == (StreamReader, object)
    taken_whole, in_pieces = StreamReader(16), StreamReader(16)
    for reader in (taken_whole, in_pieces):
        reader.feed_data(b"a body")
        reader.feed_eof()
    assert taken_whole.take_whole() == b"a body"
    assert taken_whole._buffer is NOTHING_READY
    assert in_pieces.read_nowait(1) == b"a"
    assert type(in_pieces._buffer) is BodyBuffer
    in_pieces.put_back(b"a")
    taken_whole.put_back(b"a body")
    assert [in_pieces.read_nowait(), taken_whole.read_nowait()] == [b"a body"] * 2
    # All streams share it.
    assert (NOTHING_READY.size, list(NOTHING_READY.pieces), NOTHING_READY.offset) == (0, [], 0)
