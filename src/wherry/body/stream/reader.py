"""The stream of a response's body: bytes are pushed in by a connection and pulled out by the
program.

What arrives is kept raw, at most twice `limit` bytes of it, and decoded only when it is read and
only as far as was asked for, so that no compression ratio takes more memory than the reader
wanted.  The stream knows its decoder and who to stop when it is full; it must never know requests,
responses or time: a timeout comes in from outside, by `set_exception`.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from wherry.body.stream.stream_feed import DEFAULT_LIMIT
from wherry.body.stream.stream_take import DECODE_STEP, OFFLOAD_INPUT
from wherry.body.stream.zero_copy import ZeroCopyStream
from wherry.errors import ClientPayloadError

__all__ = (
    "EMPTY_PAYLOAD",
    "AsyncStreamIterator",
    "ChunkTupleAsyncStreamIterator",
    "EmptyStreamReader",
    "EofStream",
    "LineTooLong",
    "StreamReader",
)

_T = TypeVar("_T")


class LineTooLong(ClientPayloadError, ValueError):
    """A line, or what ends with a separator, is longer than the limit."""


class EofStream(Exception):
    """A queue or stream has ended."""


class AsyncStreamIterator(Generic[_T]):
    """Calls a reading method until it gives b"" or raises `EofStream`."""

    __slots__ = ("read_func",)

    def __init__(self, read_func: Callable[[], Awaitable[_T]]) -> None:
        self.read_func: Callable[[], Awaitable[_T]] = read_func

    def __aiter__(self) -> AsyncStreamIterator[_T]:
        return self

    async def __anext__(self) -> _T:
        try:
            piece = await self.read_func()
        except EofStream:
            raise StopAsyncIteration from None
        if piece == b"":
            raise StopAsyncIteration
        return piece


class ChunkTupleAsyncStreamIterator:
    """Calls `StreamReader.readchunk` until the end."""

    __slots__ = ("_stream",)

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream

    def __aiter__(self) -> ChunkTupleAsyncStreamIterator:
        return self

    async def __anext__(self) -> tuple[bytes, bool]:
        piece = await self._stream.readchunk()
        if piece == (b"", False):
            raise StopAsyncIteration
        return piece


class StreamReader(ZeroCopyStream):
    """A body that is read as it arrives.

    Iterating over it gives lines; `iter_chunked`, `iter_any` and `iter_chunks` give pieces.

    Args:
        protocol: Who is paused and resumed.  An int in this place is the limit.
        limit: Above twice this many bytes held, the connection is paused; below it, it is resumed.
        timer: Taken for compatibility; timeouts come by `set_exception`.
        loop: Taken for compatibility; the running loop is used.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        facts = [type(self).__name__]
        if self._size:
            facts.append(f"{self._size} bytes")
        if self._eof:
            facts.append("eof")
        if self._low_water != DEFAULT_LIMIT:
            facts.append(f"low={self._low_water} high={self._high_water}")
        if self._waiter is not None:
            facts.append(f"w={self._waiter!r}")
        if self._exception is not None:
            facts.append(f"e={self._exception!r}")
        return f"<{' '.join(facts)}>"

    # --- facts ------------------------------------------------------------------------------------

    @property
    def total_bytes(self) -> int:
        """How many bytes of the body there were so far, after decoding."""
        return self.total_raw_bytes if self.decoder is None else self._decoded

    @property
    def total_compressed_bytes(self) -> int | None:
        """How many encoded bytes arrived; None for a body without a content coding."""
        return None if self.decoder is None else self.total_raw_bytes

    def exception(self) -> BaseException | None:
        """What ended the stream, if it did not end well."""
        return self._exception

    def is_eof(self) -> bool:
        """Whether the last byte has arrived."""
        return self._eof

    def at_eof(self) -> bool:
        """Whether the last byte has arrived and was read."""
        return self._eof and not self._ready and self._drained()

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """How many held bytes resume the connection, and how many pause it."""
        return self._low_water, self._high_water

    def set_read_chunk_size(self, n: int) -> None:
        """Raise the limits so that pieces of `n` bytes can be gathered."""
        if n > self._low_water:
            self._low_water = n
            self._high_water = n * 2
            self._resume_if_low()

    # --- the program's side -----------------------------------------------------------------------

    def __aiter__(self) -> AsyncStreamIterator[bytes]:
        return AsyncStreamIterator(self.readline)

    def iter_chunked(self, n: int) -> AsyncStreamIterator[bytes]:
        """Iterate over pieces of at most `n` bytes."""
        self.set_read_chunk_size(n)
        return AsyncStreamIterator(lambda: self.read(n))

    def iter_any(self) -> AsyncStreamIterator[bytes]:
        """Iterate over the pieces as they arrive."""
        return AsyncStreamIterator(self.readany)

    def iter_chunks(self) -> ChunkTupleAsyncStreamIterator:
        """Iterate over what `readchunk` gives: (data, end_of_http_chunk)."""
        return ChunkTupleAsyncStreamIterator(self)

    def beginning(self, size: int) -> bytes:
        """At most `size` bytes of the body's beginning, as far as they have arrived and nothing was
        read; they stay to be read.
        """
        raw = self._raw
        if raw is None or self._cursor or self._buffer is not None or self._exception is not None:
            return b""
        if self.decoder is None:
            return b"".join(raw[:size])[:size]
        if not self._eof or self._size > OFFLOAD_INPUT:
            return b""
        return (self.decoder.whole(b"".join(raw), DECODE_STEP) or b"")[:size]

    def take_whole(self) -> bytes | None:
        """All of the body, if it has arrived, nothing was read and it is quickly decoded; else
        None.

        Raises:
            ClientPayloadError: The body is not whole, cannot be decoded, or is larger than
                `max_size`.
        """
        if not self._eof or self._exception is not None or self._cursor or self._buffer is not None:
            return None
        raw = self._raw
        if self.decoder is None and self.max_size is None:
            self._raw = self._marks = self._splits = None
            self._cursor = self._size
            self._size = 0
            if not raw:
                return b""
            return raw[0] if len(raw) == 1 else b"".join(raw)
        decoder = self.decoder
        if decoder is not None:
            if self._size > OFFLOAD_INPUT:
                return None
            if raw and self.max_size is None:
                data = raw[0] if len(raw) == 1 else b"".join(raw)
                body = decoder.whole(data, DECODE_STEP)
                if body is not None:
                    self._raw = self._marks = self._splits = None
                    self._size = 0
                    self._cursor = self._decoded = len(body)
                    return body
        self._pull(DECODE_STEP, offload=False)
        self._raise()
        return self._take(-1) if self._drained() else None

    async def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes, at least one unless the body has ended; everything when `n` is negative.

        Raises:
            ClientPayloadError: The body is not whole, cannot be decoded, or is larger than
                `max_size`.
            RuntimeError: Another coroutine is reading.
        """
        self._check()
        if n < 0:
            return await self._read_all()
        if not n:
            return b""
        if n > self._low_water:
            self.set_read_chunk_size(n)
        while True:
            if self._lent is not None:
                return self._take_lent(self._lent, n)
            self._pull(n)
            if self._ready:
                return self._take(n)
            if self._eof and self._exhausted():
                return b""
            await self._wait("read")

    async def readany(self) -> bytes:
        """What has arrived, waiting for it if there is nothing; b"" at the end."""
        self._check()
        while True:
            if self._lent is not None:
                return self._take_lent(self._lent, len(self._lent))
            self._pull(max(self._high_water, 1))
            if self._ready:
                return self._take(-1)
            if self._eof and self._exhausted():
                return b""
            await self._wait("readany")

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` bytes.

        Raises:
            asyncio.IncompleteReadError: The body ended before; `partial` has what there was.
        """
        self._check()
        if n <= 0:
            return b""
        blocks: list[bytes] = []
        missing = n
        try:
            while missing:
                block = await self.read(missing)
                if not block:
                    break
                blocks.append(block)
                missing -= len(block)
        except BaseException:
            self._put_back(b"".join(blocks))
            raise
        if missing:
            raise asyncio.IncompleteReadError(b"".join(blocks), n)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        r"""One line, its ``\n`` included.

        Args:
            max_line_length: In bytes; twice the stream's limit by default.

        Raises:
            LineTooLong: The line is longer.
        """
        return await self.readuntil(max_size=max_line_length)

    async def readuntil(self, separator: bytes = b"\n", *, max_size: int | None = None) -> bytes:
        """All bytes up to and with `separator`, or what is left when the body ends without it.

        Raises:
            ValueError: The separator is empty.
            LineTooLong: There are more than `max_size` bytes (twice the stream's limit by default).
        """
        if not separator:
            raise ValueError("the separator must have at least one byte")
        self._check()
        limit = max_size or self._high_water
        length = len(separator)
        got = bytearray()
        while True:
            self._pull(max(self._low_water, 1))
            while self._buffer:
                first = self._buffer[0]
                if not got:
                    at = first.find(separator, self._offset)
                    if at >= 0:
                        line = self._take(at + length - self._offset)
                        if len(line) > limit:
                            raise LineTooLong(
                                f"a line of more than {limit} bytes: {line[:100]!r}..."
                            )
                        return line
                seen = len(got)
                got += memoryview(first)[self._offset :] if self._offset else first
                # The separator may begin in what was taken before.
                at = got.find(separator, max(0, seen - length + 1))
                if at >= 0:
                    del got[at + length :]
                self._take(len(got) - seen)
                if len(got) > limit:
                    raise LineTooLong(f"a line of more than {limit} bytes: {bytes(got[:100])!r}...")
                if at >= 0:
                    return bytes(got)
            if self._eof and self._exhausted():
                return bytes(got)
            await self._wait_for_line(got)

    async def _wait_for_line(self, got: bytearray) -> None:
        """Wait for more of a line; a line of which the end is missing is none: `read` gives it."""
        if self._holds_more():
            return  # its end may be here already: the network need not say another word
        try:
            await self._wait("readuntil")
        except BaseException:
            self._put_back(bytes(got))
            raise

    async def readchunk(self) -> tuple[bytes, bool]:
        """(data, end_of_http_chunk): the flag is True where an HTTP/1.1 chunk ends; (b"", False) is
        the end.
        """
        self._check()
        while True:
            self._pull(max(self._low_water, 1))
            splits = self._splits if self.decoder is not None else self._marks
            while splits:
                at = splits.popleft()
                if at == self._cursor:
                    return b"", True
                if at > self._cursor:
                    return self._take(at - self._cursor), True
            if self._buffer:
                return self._take(len(self._buffer[0]) - self._offset), False
            if self._eof and self._exhausted():
                return b"", False
            await self._wait("readchunk")

    def read_nowait(self, n: int = -1) -> bytes:
        """What is there now, at most `n` bytes of it; of an encoded body as much as the limits
        allow.

        Raises:
            RuntimeError: A coroutine is waiting for data.
        """
        self._check()
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("read_nowait() called while a coroutine is waiting for data")
        self._pull(self._high_water if n < 0 else n, offload=False)
        if self._ready:
            return self._take(n)
        self._check()
        return b""

    def unread_data(self, data: bytes) -> None:
        """Put `data` back, to be read next; deprecated."""
        warnings.warn("unread_data() is deprecated", DeprecationWarning, stacklevel=2)
        self.put_back(data)

    def put_back(self, data: bytes) -> None:
        """Let `data`, which was read, be read again."""
        self._put_back(data)

    async def _read_all(self) -> bytes:
        whole = self.take_whole()
        if whole is not None:
            return whole
        if self.decoder is None:
            # Nothing is looked at before the end: one wake-up, however many pieces come.
            while not self._eof:
                if self._waiter is not None:
                    await self._wait("read")
                self._whole = True
                if self._paused:
                    self._resume()
                try:
                    await self._wait("read")
                finally:
                    self._whole = False
            self._check()
            self._pull(sys.maxsize)
            return self._take(-1) if self._ready else b""
        blocks: list[bytes] = []
        try:
            while True:
                self._pull(DECODE_STEP)
                if self._ready:
                    blocks.append(self._take(-1))
                elif self._eof and self._exhausted():
                    return b"".join(blocks)
                else:
                    await self._wait("read")
        except BaseException:
            # What came is there for who reads piece by piece.
            self._put_back(b"".join(blocks))
            raise


class EmptyStreamReader(StreamReader):
    """The body of a response that has none: shared by all of them, and always at its end."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0)
        self._eof = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def feed_data(self, data: bytes, size: int = 0) -> None:
        """Nothing is taken in."""

    def feed_eof(self) -> None:
        """It has ended already."""

    def set_exception(
        self, exc: BaseException | type[BaseException], exc_cause: BaseException | None = None
    ) -> None:
        """Nothing can fail."""

    def drop(self, exc: BaseException) -> None:
        """Nothing can fail."""

    def set_read_chunk_size(self, n: int) -> None:
        """There are no limits to set."""

    def unread_data(self, data: bytes) -> None:
        """Nothing can be put back into what all share."""

    def take_whole(self) -> bytes | None:
        """Nothing, which is all there is."""
        return b""


EMPTY_PAYLOAD: Final[StreamReader] = EmptyStreamReader()
