"""Every way of reading, by what a reader that knows all of it would give.

For each coding, however its bytes are cut and whenever a read is given up: a read is done as soon as
what has come is enough for it, gives what the reference gives, and takes nothing if it is cancelled.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any, NamedTuple

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.body import compression_backends
from wherry.body.stream.decoders import decoder_for
from wherry.body.stream.reader import StreamReader

zstd = compression_backends.zstd()


class Coding(NamedTuple):
    """How pieces of a body are packed so that each can be unpacked when it has come, and a reference
    that unpacks as much as can be.
    """

    pack: Callable[[list[bytes]], list[bytes]]
    unpacker: Callable[[], Callable[[bytes], bytes]]


def _zlib(wbits: int) -> Coding:
    def pack(pieces: list[bytes]) -> list[bytes]:
        packer = zlib.compressobj(wbits=wbits)
        packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
        return [*packed, packer.flush()]

    return Coding(pack, lambda: zlib.decompressobj(wbits=wbits).decompress)


def _brotli(pieces: list[bytes]) -> list[bytes]:
    packer = brotli.Compressor()
    return [*(packer.process(piece) + packer.flush() for piece in pieces), packer.finish()]


def _zstd(pieces: list[bytes]) -> list[bytes]:
    packer = zstd.ZstdCompressor()
    flush = packer.FLUSH_BLOCK
    return [*(packer.compress(piece, mode=flush) for piece in pieces), packer.flush()]


GZIP = _zlib(31)


def _twice_unpacker() -> Callable[[bytes], bytes]:
    outer, inner = GZIP.unpacker(), GZIP.unpacker()
    return lambda data: inner(outer(data))


CODINGS = {
    "identity": Coding(lambda pieces: pieces, lambda: lambda data: data),
    "gzip": GZIP,
    "deflate": _zlib(15),
    "br": Coding(_brotli, lambda: brotli.Decompressor().process),
    "zstd": Coding(_zstd, lambda: zstd.ZstdDecompressor().decompress),
    "gzip, gzip": Coding(lambda pieces: GZIP.pack(GZIP.pack(pieces)), _twice_unpacker),
}


class Reference:
    """What has come, unpacked, and how much of it was read."""

    def __init__(self, unpack: Callable[[bytes], bytes]) -> None:
        self._unpack = unpack
        self.ended = False
        self.left = b""

    def feed(self, raw: bytes) -> None:
        if raw:
            self.left += self._unpack(raw)

    def expected(self, method: str, argument: Any) -> bytes | int | None:
        """What a read must give: these bytes, up to so many of what is left, or nothing yet."""
        left = self.left
        if method in {"readline", "readuntil"}:
            at = left.find(argument)
            if at >= 0:
                return left[: at + len(argument)]
            return left if self.ended else None
        if method == "readexactly":
            return left[:argument] if len(left) >= argument else left if self.ended else None
        if method == "whole":
            return left if self.ended else None
        if not left:
            return b"" if self.ended else None
        return argument if method == "read" else len(left)


def start(reader: StreamReader, method: str, argument: Any) -> Coroutine[Any, Any, Any]:
    if method == "readline":
        return reader.readline(max_line_length=2**20)
    if method == "readuntil":
        return reader.readuntil(argument, max_size=2**20)
    if method == "readany":
        return reader.readany()
    if method == "readchunk":
        return reader.readchunk()
    if method == "whole":
        return reader.read()
    return reader.readexactly(argument) if method == "readexactly" else reader.read(argument)


READS = st.one_of(
    st.just(("readline", b"\n")),
    st.tuples(st.just("readuntil"), st.sampled_from([b"\n", b"ab", b"a\n", b"aaa"])),
    st.tuples(st.just("readexactly"), st.integers(1, 40)),
    st.tuples(st.just("read"), st.integers(1, 40)),
    st.just(("readany", None)),
    st.just(("readchunk", None)),
    st.just(("whole", None)),
)
# A read, and how many times more may come for it before it is cancelled.
STEPS = st.lists(st.tuples(READS, st.integers(0, 3)), min_size=1, max_size=12)
BODIES = st.lists(
    st.text(st.sampled_from("ab\n"), max_size=12).map(str.encode)
    | st.integers(1, 300).map(lambda size: b"a" * size),
    min_size=1,
    max_size=6,
)


async def settle(reader: StreamReader) -> None:
    """Let everything happen that needs no more of the body, what is decoded in a thread as well."""
    for _ in range(3):
        await asyncio.sleep(0)
        while (job := reader._job) is not None:
            await asyncio.wait([job])
            await asyncio.sleep(0)


class Comparison:
    """A stream and its reference, fed with the same bytes."""

    def __init__(self, coding: str, raw: list[bytes], limit: int, chunked: bool) -> None:
        self.reader = StreamReader(limit)
        self.reader.decoder = decoder_for(coding) if coding != "identity" else None
        self.reference = Reference(CODINGS[coding].unpacker())
        self._coming = iter(raw)
        self._chunked = chunked

    async def come(self) -> None:
        """The next piece comes, or the end."""
        piece = next(self._coming, None)
        if piece:
            self.reader.feed_data(piece)
            if self._chunked:
                self.reader.chunk_ended()
            self.reference.feed(piece)
        elif piece is None and not self.reference.ended:
            self.reader.feed_eof()
            self.reference.ended = True
        await settle(self.reader)

    async def read(self, method: str, argument: Any, patience: int) -> None:
        """One read, for which so many pieces may come before it is cancelled."""
        task = asyncio.ensure_future(start(self.reader, method, argument))
        await settle(self.reader)
        while patience and not task.done():
            self.check_that_it_may_wait(method, argument)
            await self.come()
            patience -= 1
        if task.done():
            self.check(method, argument, task)
        else:
            self.check_that_it_may_wait(method, argument)
            task.cancel()
            await asyncio.wait([task])

    def check_that_it_may_wait(self, method: str, argument: Any) -> None:
        expected = self.reference.expected(method, argument)
        assert expected is None, f"{method} waits for {expected!r}, which is here"

    def check(self, method: str, argument: Any, task: asyncio.Task[Any]) -> None:
        reference = self.reference
        try:
            got = task.result()
        except asyncio.IncompleteReadError as exc:
            assert method == "readexactly"
            assert reference.ended
            got = exc.partial
        if method == "readchunk":
            got, boundary = got
            if boundary and not got:
                return
        expected = reference.expected(method, argument)
        assert expected is not None, f"{method} gives {got!r} too early"
        if isinstance(expected, bytes):
            assert got == expected, method
        else:
            assert 1 <= len(got) <= expected, method
            assert reference.left.startswith(got), method
        reference.left = reference.left[len(got) :]


async def compare(
    coding: str, raw: list[bytes], steps: list[Any], limit: int, chunked: bool
) -> None:
    compared = Comparison(coding, raw, limit, chunked)
    for (method, argument), patience in steps:
        await compared.read(method, argument, patience)
    await compared.read("whole", None, len(raw) + 1)
    assert compared.reference.ended
    assert compared.reference.left == b""
    assert compared.reader.at_eof()


def cut(raw: list[bytes], cuts: list[int]) -> list[bytes]:
    whole = b"".join(raw)
    places = sorted({0, len(whole), *(at for at in cuts if at < len(whole))})
    return [whole[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("coding", CODINGS)
@settings(max_examples=60)
@given(
    body=BODIES,
    cuts=st.none() | st.lists(st.integers(1, 400), max_size=8),
    steps=STEPS,
    limit=st.sampled_from([1, 4, 64, 2**16]),
    chunked=st.booleans(),
)
def test_every_read_gives_what_the_reference_gives(
    coding: str,
    body: list[bytes],
    cuts: list[int] | None,
    steps: list[Any],
    limit: int,
    chunked: bool,
) -> None:
    raw = CODINGS[coding].pack(body)
    pieces = raw if cuts is None else cut(raw, cuts)
    asyncio.run(compare(coding, pieces, steps, limit, chunked))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("method", ["readline", "readexactly", "readany", "readchunk", "whole"])
def test_bytes_one_by_one(coding: str, method: str) -> None:
    raw = CODINGS[coding].pack([b"first\nsecond ", b"line\n", b"third"])
    step = (method, {"readline": b"\n", "readexactly": 4}.get(method))
    for patience in (0, 1, 5):
        asyncio.run(
            compare(
                coding,
                cut(raw, list(range(400))),
                [(step, patience)] * (8 if patience else 400),
                16,
                False,
            )
        )


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("limit", [1024, 2**18])
async def test_a_line_longer_than_the_limit_is_here_when_its_end_is(
    coding: str, limit: int
) -> None:
    """The body is live: nothing follows the line for a long time."""
    line = b"x" * (limit + limit // 2) + b"\n"
    raw = CODINGS[coding].pack([line, b"more"])
    reader = StreamReader(limit)
    reader.decoder = decoder_for(coding) if coding != "identity" else None
    reader.feed_data(raw[0])
    async with asyncio.timeout(20):
        assert await reader.readline() == line
    if coding != "gzip, gzip":  # whose outer coding the first piece only begins
        reader.feed_data(b"".join(raw[1:]))
        reader.feed_eof()
        assert await reader.readline() == b"more"
