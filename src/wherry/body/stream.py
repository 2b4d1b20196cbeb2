"""The stream of a response's body: bytes are pushed in by a connection and pulled out by the program.

What arrives is kept raw, at most twice `limit` bytes of it, and decoded only when it is read and only as far
as was asked for, so that no compression ratio takes more memory than the reader wanted.  The stream knows its
decoder and who to stop when it is full; it must never know requests, responses or time: a timeout comes in
from outside, by `set_exception`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from wherry.errors import ClientPayloadError
from wherry.protocol.connection import Exchange, FlowControl
from wherry.types import RawHeaders

__all__ = (
    "EMPTY_PAYLOAD",
    "AsyncStreamIterator",
    "ChunkTupleAsyncStreamIterator",
    "EmptyStreamReader",
    "EofStream",
    "LineTooLong",
    "StreamReader",
)

log = logging.getLogger("wherry.client")

DEFAULT_LIMIT: Final = 2**16
# Decoding goes to a thread when more input than this waits and more output than that is wanted: less takes
# under a millisecond, about what the trip to a thread costs the loop.
OFFLOAD_INPUT: Final = 2**16
OFFLOAD_OUTPUT: Final = 2**17
# How many decoded bytes one step of reading everything makes, and the most that is made without suspending.
DECODE_STEP: Final = 2**20

_T = TypeVar("_T")


class LineTooLong(ClientPayloadError, ValueError):
    """A line, or what ends with a separator, is longer than the limit."""


class PullDecoder(Protocol):
    """What the stream needs of a content coding; `wherry.body.coding` has them."""

    needs_input: bool

    def decode(self, data: bytes, max_length: int) -> bytes:
        """Take `data` in and give at most `max_length` bytes; while not `needs_input`, b"" gives more."""

    def finish(self) -> None:
        """Raise ClientPayloadError if the coding has not ended."""


class EofStream(Exception):
    """A queue or stream has ended."""


class AsyncStreamIterator(Generic[_T]):
    """Calls a reading method until it gives b"" or raises `EofStream`."""

    __slots__ = ("read_func",)

    def __init__(self, read_func: Callable[[], Awaitable[_T]]) -> None:
        self.read_func = read_func

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


class StreamReader:
    """A body that is read as it arrives.

    Iterating over it gives lines; `iter_chunked`, `iter_any` and `iter_chunks` give pieces.

    Args:
        protocol: Who is paused and resumed.  An int in this place is the limit.
        limit: Above twice this many bytes held, the connection is paused; below it, it is resumed.
        timer: Taken for compatibility; timeouts come by `set_exception`.
        loop: Taken for compatibility; the running loop is used.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_callbacks",
        "_cursor",
        "_decoded",
        "_eof",
        "_eof_waiter",
        "_exception",
        "_held",
        "_high_water",
        "_job",
        "_low_water",
        "_marks",
        "_offset",
        "_paused",
        "_raw",
        "_ready",
        "_size",
        "_splits",
        "_waiter",
        "_whole",
        "decoder",
        "flow",
        "max_size",
        "total_raw_bytes",
        "trailers",
    )

    def __init__(
        self,
        protocol: FlowControl | int | None = None,
        limit: int = DEFAULT_LIMIT,
        *,
        timer: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.flow: FlowControl | None
        if isinstance(protocol, int):
            limit = protocol
            self.flow = None
        else:
            self.flow = protocol
        self._low_water = limit
        self._high_water = limit * 2
        self.decoder: PullDecoder | None = None
        self.max_size: int | None = None
        self.total_raw_bytes = 0
        self.trailers: RawHeaders = ()
        self._raw: list[bytes] | None = None
        self._buffer: deque[bytes] | None = None
        self._offset = 0  # how much of the buffer's first piece was read
        self._size = 0  # bytes held: raw, in the decoder, and in the buffer
        self._ready = 0  # bytes in the buffer
        self._held = 0  # bytes in the decoder
        self._cursor = 0  # decoded bytes that were read
        self._decoded = 0  # bytes that came out of the decoder
        self._marks: deque[int] | None = None  # where HTTP chunks end, in raw bytes
        self._splits: deque[int] | None = None  # the same in decoded bytes
        self._eof = False
        self._paused = False
        self._whole = False
        self._exception: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._eof_waiter: asyncio.Future[None] | None = None
        self._job: asyncio.Future[bytes] | None = None
        self._callbacks: list[Callable[[], object]] | None = None

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

    # --- the connection's side ------------------------------------------------------------------------------

    def feed_data(self, data: bytes, size: int = 0) -> None:
        """Take in a piece of the body as it came from the wire."""
        assert not self._eof, "feed_data after feed_eof"
        length = len(data)
        if not length or self._exception is not None:
            return
        self.total_raw_bytes += length
        self._size += length
        raw = self._raw
        if raw is None:
            raw = self._raw = [data]
        else:
            raw.append(data)
        if self._whole:
            if self.max_size is not None and self.total_raw_bytes > self.max_size:
                self._fail(self._too_large())
            return
        if self._waiter is not None:
            self._wake()
        if not self._paused and (self._size > self._high_water or len(raw) > self._high_water >> 4):
            self._pause()

    def feed_eof(self) -> None:
        """The framing has ended: nothing follows."""
        self._eof = True
        if self._waiter is not None:
            self._wake()
        if self._eof_waiter is not None:
            _wake_future(self._eof_waiter)
        flow = self.flow
        if flow is not None:
            # The flow is the exchange, which holds this stream: a cycle that only the collector would undo.
            self.flow = None
            if self._paused:
                self._paused = False
                flow.resume_reading()
        if self._callbacks:
            callbacks, self._callbacks = self._callbacks, None
            for callback in callbacks:
                _call(callback)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """End the stream with `exc`: whoever reads now or later gets it; what was not read is dropped."""
        if exc_cause is not None and exc.__cause__ is None:
            exc.__cause__ = exc_cause
        self._exception = exc
        self._callbacks = None
        self._raw = self._buffer = self._marks = self._splits = None
        self._size = self._ready = self._held = self._offset = 0
        self.flow = None
        self._paused = False
        if self._waiter is not None:
            self._wake()
        if self._eof_waiter is not None:
            _wake_future(self._eof_waiter)

    def begin_http_chunk_receiving(self) -> None:
        """An HTTP/1.1 chunk begins.

        Raises:
            RuntimeError: Data came before the first chunk.
        """
        if self._marks is None:
            if self.total_raw_bytes:
                raise RuntimeError("an HTTP chunk begins after data that was in none")
            self._marks = deque()
            self._splits = deque()

    def end_http_chunk_receiving(self) -> None:
        """An HTTP/1.1 chunk ended; `readchunk` tells where.

        Raises:
            RuntimeError: No chunk had begun.
        """
        marks = self._marks
        if marks is None:
            if self._exception is not None:
                return
            raise RuntimeError("an HTTP chunk ends that had not begun")
        if self.total_raw_bytes == (marks[-1] if marks else 0):
            return
        marks.append(self.total_raw_bytes)
        if not self._paused and len(marks) > max(4, self._low_water >> 4):
            self._pause()
        if self._waiter is not None and not self._whole:
            self._wake()

    def chunk_ended(self) -> None:
        """An HTTP/1.1 chunk ended, said by a connection that does not tell where chunks begin."""
        if self._marks is None and self._exception is None:
            self._marks = deque()
            self._splits = deque()
        self.end_http_chunk_receiving()

    def _pause(self) -> None:
        flow = self.flow
        if flow is not None:
            self._paused = True
            flow.pause_reading()

    def _wake(self) -> None:
        waiter = self._waiter
        self._waiter = None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- facts ----------------------------------------------------------------------------------------------

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
        return self._eof and self._exhausted()

    def _exhausted(self) -> bool:
        return not self._ready and self._drained()

    def _drained(self) -> bool:
        """Whether all that has arrived is in the buffer, or was read."""
        return not self._raw and self._job is None and (self.decoder is None or self.decoder.needs_input)

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """How many held bytes resume the connection, and how many pause it."""
        return self._low_water, self._high_water

    def set_read_chunk_size(self, n: int) -> None:
        """Raise the limits so that pieces of `n` bytes can be gathered."""
        if n > self._low_water:
            self._low_water = n
            self._high_water = n * 2
            self._resume_if_low()

    def on_eof(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the last byte has arrived, at once if it has."""
        if self._eof:
            _call(callback)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    async def wait_eof(self) -> None:
        """Wait until the last byte has arrived; somebody else must read when the body is large."""
        if self._eof:
            return
        assert self._eof_waiter is None, "wait_eof() is awaited twice"
        self._eof_waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._eof_waiter = None
        if not self._eof:
            self._check()

    # --- the program's side ---------------------------------------------------------------------------------

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

    def take_whole(self) -> bytes | None:
        """All of the body, if it has arrived, nothing was read and it is quickly decoded; else None.

        Raises:
            ClientPayloadError: The body is not whole, cannot be decoded, or is larger than `max_size`.
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
        if self._size > OFFLOAD_INPUT and self.decoder is not None:
            return None
        self._pull(DECODE_STEP, offload=False)
        return self._take(-1) if self._drained() else None

    async def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes, at least one unless the body has ended; everything when `n` is negative.

        Raises:
            ClientPayloadError: The body is not whole, cannot be decoded, or is larger than `max_size`.
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
            self._pull(self._high_water)
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
        while missing:
            block = await self.read(missing)
            if not block:
                raise asyncio.IncompleteReadError(b"".join(blocks), n)
            blocks.append(block)
            missing -= len(block)
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
            self._pull(self._low_water)
            while self._buffer:
                first = self._buffer[0]
                if not got:
                    at = first.find(separator, self._offset)
                    if at >= 0:
                        line = self._take(at + length - self._offset)
                        if len(line) > limit:
                            raise LineTooLong(f"a line of more than {limit} bytes: {line[:100]!r}...")
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
            await self._wait("readuntil")

    async def readchunk(self) -> tuple[bytes, bool]:
        """(data, end_of_http_chunk): the flag is True where an HTTP/1.1 chunk ends; (b"", False) is the end."""
        self._check()
        while True:
            self._pull(self._low_water)
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
        """What is there now, at most `n` bytes of it; of an encoded body as much as the limits allow.

        Raises:
            RuntimeError: A coroutine is waiting for data.
        """
        self._check()
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("read_nowait() called while a coroutine is waiting for data")
        self._pull(self._high_water if n < 0 else n, offload=False)
        return self._take(n) if self._ready else b""

    def unread_data(self, data: bytes) -> None:
        """Put `data` back, to be read next; deprecated."""
        warnings.warn("unread_data() is deprecated", DeprecationWarning, stacklevel=2)
        if not data:
            return
        self._pull(self._low_water, offload=False)
        buffer = self._buffer
        if buffer is None:
            buffer = self._buffer = deque()
        if self._offset:
            buffer[0] = buffer[0][self._offset :]
            self._offset = 0
        buffer.appendleft(data)
        self._size += len(data)
        self._ready += len(data)
        self._cursor -= len(data)

    # --- inside ---------------------------------------------------------------------------------------------

    def _check(self) -> None:
        exc = self._exception
        if exc is not None:
            # Without this each raise of the same object would add to its traceback.
            raise exc.with_traceback(None)

    async def _wait(self, reader: str) -> None:
        """Wait until something has changed."""
        if self._waiter is not None:
            raise RuntimeError(f"{reader}() called while another coroutine is already waiting for incoming data")
        self._resume_if_low()
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None
        self._check()

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
            self._pull(sys.maxsize)
            return self._take(-1) if self._ready else b""
        blocks: list[bytes] = []
        while True:
            self._pull(DECODE_STEP)
            if self._ready:
                blocks.append(self._take(-1))
            elif self._eof and self._exhausted():
                return b"".join(blocks)
            else:
                await self._wait("read")

    def _pull(self, want: int, *, offload: bool = True) -> None:
        """Bring what has arrived into the buffer, decoding until `want` bytes are there."""
        if self.decoder is not None:
            self._decode(self.decoder, want, offload)
            return
        raw = self._raw
        if not raw:
            return
        if self.max_size is not None and self.total_raw_bytes > self.max_size:
            self._fail(self._too_large())
            self._check()
        self._raw = None
        if self._buffer is None:
            self._buffer = deque(raw)
        else:
            self._buffer.extend(raw)
        self._ready = self._size

    def _decode(self, decoder: PullDecoder, want: int, offload: bool) -> None:
        while self._ready < want and self._job is None:
            piece = b""
            if decoder.needs_input:
                raw = self._raw
                if not raw:
                    if self._eof and self.total_raw_bytes:
                        try:
                            decoder.finish()
                        except ClientPayloadError as exc:
                            self._fail(exc)
                            self._check()
                    return
                if self._marks:
                    piece = raw.pop(0)
                else:
                    piece = raw[0] if len(raw) == 1 else b"".join(raw)
                    self._raw = None
                self._held = len(piece)
            room = want - self._ready
            if self.max_size is not None:
                room = min(room, self.max_size - self._decoded + 1)
            if offload and self._held > OFFLOAD_INPUT and room > OFFLOAD_OUTPUT:
                loop = asyncio.get_running_loop()
                self._job = job = loop.run_in_executor(None, decoder.decode, piece, min(room, DECODE_STEP))
                job.add_done_callback(self._decoded_aside)
                return
            try:
                data = decoder.decode(piece, room)
            except ClientPayloadError as exc:
                self._fail(exc)
                self._check()
            self._take_decoded(decoder, data)
            self._check()

    def _decoded_aside(self, job: asyncio.Future[bytes]) -> None:
        """The thread has decoded a step."""
        self._job = None
        if job.cancelled():
            return
        exc = job.exception()
        if self._exception is None:
            assert self.decoder is not None
            if exc is not None:
                self._fail(exc)
            else:
                self._take_decoded(self.decoder, job.result())
        self._wake()

    def _take_decoded(self, decoder: PullDecoder, data: bytes) -> None:
        if data:
            if self._buffer is None:
                self._buffer = deque()
            self._buffer.append(data)
            self._size += len(data)
            self._ready += len(data)
            self._decoded += len(data)
            if self.max_size is not None and self._decoded > self.max_size:
                self._fail(self._too_large())
                return
        if decoder.needs_input:
            self._size -= self._held
            self._held = 0
            marks = self._marks
            if marks:
                # How far the decoder has come, in raw bytes.
                consumed = self.total_raw_bytes - (self._size - self._ready)
                splits = self._splits
                assert splits is not None
                while marks and marks[0] <= consumed:
                    marks.popleft()
                    if self._decoded != (splits[-1] if splits else self._cursor):
                        splits.append(self._decoded)

    def _take(self, n: int) -> bytes:
        """Take `n` bytes, or all, out of the buffer."""
        buffer = self._buffer
        if not buffer:
            return b""
        offset = self._offset
        if n < 0 or n >= self._ready:
            if offset:
                buffer[0] = buffer[0][offset:]
                self._offset = 0
            data = buffer[0] if len(buffer) == 1 else b"".join(buffer)
            buffer.clear()
        else:
            first = buffer[0]
            end = offset + n
            if end < len(first):
                data = first[offset:end]
                self._offset = end
            elif end == len(first):
                data = first[offset:] if offset else first
                buffer.popleft()
                self._offset = 0
            else:
                data = self._gather(buffer, n)
        length = len(data)
        self._size -= length
        self._ready -= length
        self._cursor += length
        if self._marks:
            splits = self._splits if self.decoder is not None else self._marks
            while splits and splits[0] < self._cursor:
                splits.popleft()
        if self._paused:
            self._resume_if_low()
        return data

    def _gather(self, buffer: deque[bytes], n: int) -> bytes:
        """Take `n` bytes that lie in several pieces."""
        pieces = [buffer.popleft()[self._offset :]]
        n -= len(pieces[0])
        while n >= len(buffer[0]):
            pieces.append(buffer.popleft())
            n -= len(pieces[-1])
            if not n:
                break
        if n:
            pieces.append(buffer[0][:n])
        self._offset = n
        return b"".join(pieces)

    def _resume_if_low(self) -> None:
        if (
            self._paused
            and self._size < self._low_water
            and (self._marks is None or len(self._marks) < max(2, self._low_water >> 5))
        ):
            self._resume()

    def _resume(self) -> None:
        self._paused = False
        if self.flow is not None:
            self.flow.resume_reading()

    def _too_large(self) -> ClientPayloadError:
        return ClientPayloadError(f"the body is larger than max_body_size={self.max_size}")

    def _fail(self, exc: BaseException) -> None:
        """The stream itself found the body bad: the rest is of no use to anyone."""
        flow = self.flow
        self.set_exception(exc)
        if isinstance(flow, Exchange):
            flow.cancel()
            # Cancelling reports back here; the reason is what was found first.
            self._exception = exc


def _wake_future(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:
        log.exception("error in a callback at the end of a body")


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

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Nothing can fail."""

    def set_read_chunk_size(self, n: int) -> None:
        """There are no limits to set."""

    def unread_data(self, data: bytes) -> None:
        """Nothing can be put back into what all share."""

    def take_whole(self) -> bytes | None:
        """Nothing, which is all there is."""
        return b""


EMPTY_PAYLOAD: Final[StreamReader] = EmptyStreamReader()
