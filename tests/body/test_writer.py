"""The body's writer: the promised length, compression, progress."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
from tests.zstandard import zstd

from wherry.body.payload.body_writer import BodyWriter, UploadTracker
from wherry.body.payload.encoders import compression_of
from wherry.errors import ClientPayloadError, UploadAbortedError


class Transport:
    unsent = 0

    def get_write_buffer_size(self):
        return self.unsent

    def is_closing(self):
        return False


class Exchange:
    def __init__(self):
        self.connection = self
        self.transport = Transport()
        self.sent = b""
        self.drains = 0
        self.ended = None

    def send(self, data):
        self.sent += bytes(data)

    async def drain(self):
        self.drains += 1

    def end(self, trailers=()):
        self.ended = trailers


async def test_a_body_of_the_promised_length():
    exchange = Exchange()
    writer = BodyWriter(exchange, 6)
    await writer.write(b"abc")
    await writer.write(b"")
    await writer.write(memoryview(b"de"))
    await writer.write_eof(b"f")
    await writer.write_eof()
    assert exchange.sent == b"abcdef"
    assert exchange.ended == ()
    assert writer.output_size == 6


async def test_more_than_was_promised_is_not_sent():
    exchange = Exchange()
    writer = BodyWriter(exchange, 4)
    await writer.write(b"abc")
    with pytest.raises(ClientPayloadError, match="more than the 4 bytes"):
        await writer.write(b"de")
    assert exchange.sent == b"abc"


async def test_less_than_was_promised_does_not_end():
    exchange = Exchange()
    writer = BodyWriter(exchange, 4)
    await writer.write(b"abc")
    with pytest.raises(ClientPayloadError, match="ended 1 bytes before the 4"):
        await writer.write_eof()
    assert exchange.ended is None


async def test_nothing_is_written_after_the_end():
    writer = BodyWriter(Exchange())
    await writer.write_eof()
    with pytest.raises(ClientPayloadError):
        await writer.write(b"x")


async def test_it_waits_for_a_slow_peer():
    exchange = Exchange()
    writer = BodyWriter(exchange)
    for _ in range(10):
        await writer.write(bytes(40000))
    assert exchange.drains == 5


@pytest.mark.parametrize(
    ("coding", "undo"),
    [
        ("gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("br", brotli.decompress),
        ("zstd", zstd.decompress),
    ],
)
async def test_compression(coding, undo):
    exchange = Exchange()
    writer = BodyWriter(exchange, compress=coding)
    body = [b"hello ", b"x" * 100000, b"world"]
    for piece in body:
        await writer.write(piece)
    await writer.write_eof()
    assert undo(exchange.sent) == b"".join(body)
    exchange = Exchange()
    writer = BodyWriter(exchange)
    writer.enable_compression(coding)
    await writer.write_eof(b"x")
    assert undo(exchange.sent) == b"x"


def test_a_length_cannot_be_promised_of_what_is_compressed():
    with pytest.raises(ValueError, match="promised"):
        BodyWriter(Exchange(), 3, compress="gzip")
    with pytest.raises(ValueError, match="promised"):
        BodyWriter(Exchange(), 3).enable_compression()


def test_what_compress_means():
    assert compression_of(None) is compression_of(False) is None
    assert compression_of(True) == "deflate"
    assert compression_of("zstd") == "zstd"
    with pytest.raises(ValueError, match="lzw"):
        compression_of("lzw")


async def test_a_hook_gets_each_piece():
    seen = []

    async def hook(chunk):
        seen.append(chunk)

    writer = BodyWriter(Exchange(), on_chunk_sent=hook)
    await writer.write(memoryview(b"ab"))
    await writer.write_eof(b"c")
    assert seen == [b"ab", b"c"]


async def test_a_tracker_follows_what_the_system_has_taken():
    exchange = Exchange()
    tracker = UploadTracker()
    tracker.bind()
    tracker.start_attempt()
    writer = BodyWriter(exchange, tracker=tracker)
    assert tracker.bytes_written == 0
    await writer.write(bytes(100))
    exchange.transport.unsent = 40
    assert tracker.bytes_written == 60
    exchange.transport.unsent = 0
    assert tracker.bytes_written == 100
    await writer.write_eof()
    tracker.finish_attempt()
    assert not tracker.upload_complete.done()
    tracker.finalize()
    await tracker.upload_complete
    assert tracker.attempts == 1
    with pytest.raises(RuntimeError, match="one request"):
        tracker.bind()


async def test_a_tracker_tells_of_the_last_attempt():
    tracker = UploadTracker()
    tracker.start_attempt()
    tracker.fail_attempt(ValueError("first"))
    tracker.start_attempt()
    tracker.finish_attempt(7)
    tracker.finalize()
    await tracker.upload_complete
    assert tracker.attempts == 2
    assert tracker.bytes_written == 7


async def test_a_tracker_gets_the_error():
    tracker = UploadTracker()
    tracker.start_attempt()
    tracker.fail_attempt(OSError("gone"))
    tracker.finalize()
    with pytest.raises(OSError, match="gone"):
        await tracker.upload_complete
    tracker = UploadTracker()
    tracker.finalize()
    with pytest.raises(UploadAbortedError):
        await tracker.upload_complete


def test_a_tracker_needs_a_loop():
    with pytest.raises(RuntimeError):
        UploadTracker()
