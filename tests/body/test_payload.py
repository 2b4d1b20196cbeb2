"""Payloads: what every kind of body knows of itself, and what it writes."""

from __future__ import annotations

import array
import asyncio
import errno
import gzip
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.body.payload import memory as payload
from wherry.body.payload.memory import get_payload
from wherry.body.payload.progress import ProgressPayload
from wherry.body.stream.reader import StreamReader
from wherry.errors import ClientPayloadError

from .conftest import Sink


async def written(body: payload.Payload, length: int | None = None) -> bytes:
    sink = Sink()
    await body.write_with_length(sink, length)
    return sink.data


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "näme.txt"
    path.write_bytes(b"0123456789" * 100000)
    return path


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
async def test_bytes(value):
    body = get_payload(value)
    assert body.size == 3
    assert body.content_type == "application/octet-stream"
    assert body.headers == {"Content-Type": "application/octet-stream"}
    assert body.at_hand == b"abc"
    assert body.replayable
    assert body.autoclose
    assert body.decode() == "abc"
    assert await body.as_bytes() == b"abc"
    assert await written(body) == await written(body) == b"abc"
    assert await written(body, 2) == b"ab"


async def test_a_memoryview_of_wide_items_counts_bytes():
    value = memoryview(array.array("I", [1, 2, 3]))
    body = get_payload(value)
    assert body.size == 12
    assert await written(body) == value.tobytes()
    assert await written(body, 5) == value.tobytes()[:5]


async def test_large_bytes_are_written_in_pieces():
    value = os.urandom(3 * 2**20)
    body = get_payload(value)
    assert body.at_hand is None
    sink = Sink()
    await body.write(sink)
    assert sink.data == value
    assert max(map(len, sink.pieces)) <= 2**18


def test_what_is_no_bytes_is_refused():
    with pytest.raises(TypeError, match="not int"):
        payload.BytesPayload(1)
    with pytest.raises(payload.LookupError):
        get_payload(object())


async def test_text():
    """S001-09"""
    body = get_payload("héllo")
    assert body.content_type == "text/plain; charset=utf-8"
    assert body.encoding == "utf-8"
    assert body.at_hand == "héllo".encode()
    assert body.size == 6
    body = get_payload("héllo", content_type="text/html; charset=latin-1")
    assert body.at_hand == "héllo".encode("latin-1")
    assert body.content_type == "text/html; charset=latin-1"
    body = get_payload("x", encoding="koi8-r")
    assert body.content_type == "text/plain; charset=koi8-r"
    assert get_payload(io.StringIO("äb")).at_hand == "äb".encode()


async def test_json():
    """S001-08"""
    body = payload.JsonPayload({"a": "é"})
    assert body.content_type == "application/json"
    assert json.loads(body.at_hand) == {"a": "é"}
    body = payload.JsonPayload([1], dumps=lambda value: "custom")
    assert body.at_hand == b"custom"
    body = payload.JsonBytesPayload([1], dumps=lambda value: b"custom")
    assert body.at_hand == b"custom"
    assert body.content_type == "application/json"


async def test_a_binary_file(path):
    with path.open("rb") as file:
        body = get_payload(file)
        assert isinstance(body, payload.BufferedReaderPayload)
        assert body.size == 1000000
        assert body.filename == "näme.txt"
        assert body.content_type == "text/plain"
        assert body.headers["Content-Disposition"] == 'attachment; filename="n%C3%A4me.txt"'
        assert not body.autoclose
        first = await written(body)
        assert first == path.read_bytes()
        assert body.replayable
        assert body.size == 1000000
        assert await written(body) == first
        assert await written(body, 15) == b"012345678901234"
        assert await body.as_bytes() == first
        await body.close()
        assert file.closed
    assert not body.replayable
    with pytest.raises(ClientPayloadError, match="consumed"):
        body.rewind()


@pytest.mark.parametrize("cached", [True, False])
async def test_a_file_is_sent_from_where_it_stood(path, cached, monkeypatch):
    if not cached:
        monkeypatch.setattr("wherry.body.payload.files._preadv", None)
    with path.open("rb") as file:
        file.read(10)
        body = get_payload(file)
        assert body.size == 999990
        assert await written(body) == path.read_bytes()[10:]
        assert await written(body) == path.read_bytes()[10:]


async def test_a_file_that_grows_is_sent_as_far_as_was_promised(path):
    with path.open("rb") as file:
        body = get_payload(file)
        size = body.size

        class Growing(Sink):
            async def write(self, chunk):
                await super().write(chunk)
                with path.open("ab") as more:
                    more.write(b"more")

        sink = Growing()
        await body.write(sink)
        assert len(sink.data) == size


async def test_a_raw_file_and_one_open_for_both(path):
    for mode, buffering in (("rb", 0), ("r+b", -1)):
        with path.open(mode, buffering=buffering) as file:
            body = get_payload(file)
            assert body.size == 1000000
            assert await written(body) == path.read_bytes()


async def test_a_pipe_has_no_size_and_is_sent_once():
    read, write = os.pipe()
    os.write(write, b"from a pipe")
    os.close(write)
    with os.fdopen(read, "rb") as file:
        body = get_payload(file)
        assert body.size is None
        assert body.replayable
        assert await written(body) == b"from a pipe"
        assert not body.replayable
        with pytest.raises(ClientPayloadError, match="consumed"):
            await written(body)


async def test_a_file_inside_of_another_is_sent_by_its_own_bytes(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"inside" * 100))
    with gzip.open(path) as file:
        body = get_payload(file)
        assert body.size is None
        assert await written(body) == b"inside" * 100
        assert await written(body) == b"inside" * 100


async def test_a_bytesio():
    file = io.BytesIO(b"0123456789")
    file.seek(3)
    body = get_payload(file)
    assert body.size == 7
    assert body.autoclose
    assert await written(body) == await written(body) == b"3456789"
    assert await body.as_bytes() == b"3456789"
    assert body.decode() == "3456789"
    await body.close()
    assert not file.closed


async def test_a_text_file_in_the_encoding_that_is_sent_goes_as_it_is(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("zeile\r\nzwei ä\n".encode())
    with path.open(encoding="utf-8") as file:
        body = get_payload(file)
        assert isinstance(body, payload.TextIOPayload)
        assert body.content_type == "text/plain; charset=utf-8"
        assert body.size == len(path.read_bytes())
        assert await written(body) == path.read_bytes()
        assert await written(body) == path.read_bytes()
        assert await body.as_bytes() == path.read_bytes()


async def test_a_text_file_in_another_encoding_is_encoded_anew(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("zeile ä".encode("latin-1"))
    with path.open(encoding="latin-1") as file:
        body = get_payload(file)
        assert body.size is None
        assert await written(body) == "zeile ä".encode()
        assert await written(body) == "zeile ä".encode()
        body = get_payload(file, content_type="text/plain; charset=utf-16")
        file.seek(0)
        assert (await body.as_bytes()).decode("utf-16") == "zeile ä"


async def test_an_async_generator_is_sent_once_and_closed():
    closed = []

    async def pieces():
        try:
            for n in range(3):
                yield b"%d" % n
        finally:
            closed.append(True)

    body = get_payload(pieces())
    assert body.size is None
    assert body.replayable
    assert await written(body) == b"012"
    assert closed == [True]
    assert not body.replayable
    with pytest.raises(ClientPayloadError, match=r"async_generator.*consumed"):
        await written(body)


async def test_an_async_generator_is_closed_when_the_writing_fails():
    closed = []

    async def pieces():
        try:
            yield b"x"
        finally:
            closed.append(True)

    class Broken:
        async def write(self, chunk):
            raise ConnectionResetError

    body = get_payload(pieces())
    with pytest.raises(ConnectionResetError):
        await body.write(Broken())
    assert closed == [True]
    assert not body.replayable


async def test_an_iterable_that_begins_anew_can_be_sent_again():
    class Pieces:
        def __aiter__(self):
            async def pieces():
                yield b"a"
                yield bytearray(b"b")

            return pieces()

    body = get_payload(Pieces())
    assert await written(body) == await written(body) == b"ab"
    assert body.replayable


async def test_as_bytes_keeps_what_can_be_read_once():
    async def pieces():
        yield b"a"
        yield b"b"

    body = get_payload(pieces())
    with pytest.raises(TypeError):
        body.decode()
    assert await body.as_bytes() == b"ab"
    assert await body.as_bytes() == b"ab"
    assert body.decode() == "ab"
    assert body.replayable
    assert await written(body) == await written(body) == b"ab"


async def test_text_from_an_async_generator_is_refused():
    async def pieces():
        yield "text"

    with pytest.raises(TypeError, match="bytes, not str"):
        await written(get_payload(pieces()))


async def test_a_download_becomes_an_upload():
    reader = StreamReader(2**16)
    reader.feed_data(b"abc")
    reader.feed_eof()
    body = get_payload(reader)
    assert isinstance(body, payload.StreamReaderPayload)
    assert await written(body) == b"abc"


async def test_a_streamer_still_works():
    with pytest.warns(DeprecationWarning, match="streamer"):

        @payload.streamer
        async def body(writer, word):
            await writer.write(word)

    assert await written(get_payload(body(b"word"))) == b"word"


class Point:
    pass


async def test_a_user_registers_a_class(monkeypatch):
    monkeypatch.setattr("wherry.body.payload.base.PAYLOAD_REGISTRY", payload.PayloadRegistry())

    @payload.payload_type(Point)
    class PointPayload(payload.Payload):
        def decode(self, encoding="utf-8", errors="strict"):
            return "point"

        async def write(self, writer):
            await writer.write(b"point")

    body = get_payload(Point(), headers={"X": "y"})
    assert type(body) is PointPayload
    assert body.size is None
    assert body.headers == {"Content-Type": "application/octet-stream", "X": "y"}
    assert await body.as_bytes() == b"point"
    assert await written(body, 2) == b"po"
    assert get_payload(body) is body


def test_order_of_registered_classes():
    registry = payload.PayloadRegistry()
    registry.register(payload.BytesPayload, bytes)
    assert type(registry.get(b"x")) is payload.BytesPayload

    class First(payload.BytesPayload):
        pass

    registry.register(First, bytes, order=payload.Order.try_first)
    assert type(registry.get(b"x")) is First
    with pytest.raises(ValueError):
        registry.register(First, bytes, order="soon")


def test_the_type_follows_from_the_file_name():
    assert get_payload(b"x", content_type=None, filename="x.png").content_type == "image/png"
    assert get_payload(b"x", content_type=None).content_type == "application/octet-stream"


def test_header_fields_cannot_be_injected():
    body = get_payload(b"x", headers={"X-A": "a\r\nX-B: b"})
    with pytest.raises(ValueError, match="control character"):
        _ = body._binary_headers


@given(value=st.binary(max_size=2000), skip=st.integers(0, 50), limit=st.integers(0, 3000))
async def test_a_length_clips(value, skip, limit):
    file = io.BytesIO(value)
    file.seek(min(skip, len(value)))
    assert await written(get_payload(file), limit) == value[skip:][:limit]


async def test_progress_is_told(path):
    told = []
    with path.open("rb") as file:
        body = ProgressPayload(file, lambda *now: told.append(now))
        assert body.size == 1000000
        assert body.content_type == "text/plain"
        assert body.replayable
        assert not body.autoclose
        assert await written(body) == path.read_bytes()
        assert told[0] == (0, 1000000)
        assert told[-1] == (1000000, 1000000)
        assert await written(body) == path.read_bytes()
        assert told.count((0, 1000000)) == 2
        await body.close()
        assert file.closed
    body = ProgressPayload("hällo", told.append)
    assert await body.as_bytes() == "hällo".encode()
    assert body.decode() == "hällo"


async def test_a_length_stops_an_endless_body():
    class Endless(payload.Payload):
        def decode(self, encoding="utf-8", errors="strict"):
            return ""

        async def write(self, writer):
            while True:
                await writer.write(b"abc")

    assert await written(Endless(None), 7) == b"abcabca"


async def test_a_file_system_that_cannot_tell_what_is_cached_is_asked_once(path, monkeypatch):
    asked = []

    def refuse(*args):
        asked.append(args)
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr("wherry.body.payload.files._preadv", refuse)
    with path.open("rb") as file:
        assert await written(get_payload(file)) == path.read_bytes()
    assert len(asked) == 1


async def test_a_disk_that_must_be_waited_for_is_read_in_a_thread(path, monkeypatch):
    import threading

    threads = []
    pread = os.pread

    def slow(*args):
        threads.append(threading.current_thread())
        return pread(*args)

    def not_cached(*args):
        raise BlockingIOError(errno.EAGAIN, "not cached")

    monkeypatch.setattr("wherry.body.payload.files._preadv", not_cached)
    monkeypatch.setattr("os.pread", slow)
    with path.open("rb") as file:
        assert await written(get_payload(file)) == path.read_bytes()
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("kind", ["bytesio", "gzip"])
async def test_a_writing_that_was_given_up_does_not_disturb_the_next(tmp_path, kind):
    data = os.urandom(10**6)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(data, 1))

    class Stuck(Sink):
        async def write(self, chunk):
            await super().write(chunk)
            await asyncio.sleep(0)

    with gzip.open(path) if kind == "gzip" else io.BytesIO(data) as file:
        body = get_payload(file)
        first = asyncio.ensure_future(body.write(Stuck()))
        await asyncio.sleep(0)
        second = Stuck()
        writing = asyncio.ensure_future(body.write(second))
        await asyncio.sleep(0)
        first.cancel()
        await writing
        assert second.data == data


async def test_an_empty_file(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    with path.open("rb") as file:
        body = get_payload(file)
        assert body.size == 0
        assert await written(body) == b""
        assert await body.as_bytes() == b""
