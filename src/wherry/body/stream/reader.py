"""The stream of a response's body: bytes are pushed in by a connection and pulled out by the
program.

What arrives is kept raw, at most twice `limit` bytes of it, and decoded only when it is read and
only as far as was asked for, so that no compression ratio takes more memory than the reader
wanted.  The stream knows its decoder and who to stop when it is full; it must never know requests,
responses or time: a timeout comes in from outside, by `set_exception`.

Back-pressure.  A stream counts what it holds: raw bytes, bytes in the decoder, decoded bytes that
nobody has read.  Above twice its limit it calls `flow.pause_reading`, below the limit
`flow.resume_reading`.  What that means is the protocol's matter: HTTP/1.1 stops reading its socket,
so TCP stops the peer; HTTP/2 stops widening the stream's window.  The gap between the two marks
keeps a reader that is as fast as its peer from pausing at every piece.

Raw bytes are counted, not decoded ones, because a stream decodes only as far as it is asked
(`decoders`): a small compressed body can be a large one, and must not be made so before somebody
wants it.  A body that is read whole (`read`, `json`) is not paused, since its reader wants all of
it; `max_size` is what bounds it.

Lending.  Of a large body without coding a connection may lend what lies in its own buffer: it is
copied once, in the pieces that the reader wants (docs/decisions/bodies.md).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from wherry.body.stream.body_buffer import NOTHING_READY, BodyBuffer, ChunkMarks
from wherry.body.stream.decoders import Decoder
from wherry.body.stream.iterators import (
    AsyncStreamIterator,
    ChunkTupleAsyncStreamIterator,
    EofStream,
)
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

log: logging.Logger = logging.getLogger("wherry.client")

DEFAULT_LIMIT: Final = 2**18
# So many pieces of a body that is read whole are put together.
COMPACT_PIECES: Final = 1024
# Decoding goes to a thread when more input than this waits and more output than that is wanted:
# less takes under a millisecond, about what the trip to a thread costs the loop.
OFFLOAD_INPUT: Final = 2**16
OFFLOAD_OUTPUT: Final = 2**17
# How many decoded bytes one step of reading everything makes, and the most that is made without
# suspending.
DECODE_STEP: Final = 2**20


class LineTooLong(ClientPayloadError, ValueError):
    """A line, or what ends with a separator, is longer than the limit."""


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
        "_chunks",
        "_cursor",
        "_decoded",
        "_dropped",
        "_eof",
        "_eof_waiter",
        "_exception",
        "_held",
        "_high_water",
        "_job",
        "_lent",
        "_low_water",
        "_paused",
        "_raw",
        "_size",
        "_waiter",
        "_whole",
        "decoder",
        "ended",
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
        self.decoder: Decoder | None = None
        self.max_size: int | None = None
        self.total_raw_bytes: int = 0
        self.trailers: RawHeaders = ()
        #: The moment (time.monotonic) of the body's end, None before that.
        self.ended: float | None = None
        self._raw: list[bytes] | None = None
        # What lies with the connection; then there is nothing else.
        self._lent: memoryview | None = None
        self._buffer = NOTHING_READY
        self._size = 0  # bytes held: raw, in the decoder, and in the buffer
        self._held = 0  # bytes in the decoder
        self._cursor = 0  # decoded bytes that were read
        self._decoded = 0  # bytes that came out of the decoder
        self._chunks: ChunkMarks | None = None
        self._eof = False
        self._paused = False
        self._whole = False
        self._exception: BaseException | None = None
        self._dropped = False  # what came will not be read
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

    # --- the connection's side: what comes -------------------------------------------------------

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
            elif len(raw) == COMPACT_PIECES:
                self._keep_raw(raw)
            return
        if self._waiter is not None:
            self._wake()
        if not self._paused and (self._size > self._high_water or len(raw) > self._high_water >> 4):
            self._pause()

    def _keep_raw(self, raw: list[bytes]) -> None:
        """Many pieces become one: a peer that sends byte by byte must not take fifty bytes of
        memory for each.
        """
        if self._buffer is NOTHING_READY:
            self._buffer = BodyBuffer()
        self._buffer.append(b"".join(raw))
        raw.clear()

    def feed_eof(self) -> None:
        """The framing has ended: nothing follows."""
        self._eof = True
        self.ended = monotonic()
        if self._waiter is not None:
            self._wake()
        if self._eof_waiter is not None:
            _wake_future(self._eof_waiter)
        flow = self.flow
        if flow is not None:
            # The flow is the exchange, which holds this stream: a cycle that only the collector
            # would undo.
            self.flow = None
            if self._paused:
                self._paused = False
                flow.resume_reading()
        if self._callbacks:
            callbacks, self._callbacks = self._callbacks, None
            for callback in callbacks:
                _call(callback)

    def set_exception(
        self, exc: BaseException | type[BaseException], exc_cause: BaseException | None = None
    ) -> None:
        """End the stream with `exc`: what came before is readable, then whoever reads gets it."""
        if isinstance(exc, type):
            exc = exc()
        if exc_cause is not None and exc.__cause__ is None:
            exc.__cause__ = exc_cause
        self._exception = exc
        self._callbacks = None
        lent = self._lent
        if lent is not None:
            # It lies in a buffer of the connection's, which goes its own way from here.
            self._lent = None
            self._raw = [bytes(lent)]
        self.flow = None
        self._paused = False
        if self._waiter is not None:
            self._wake()
        if self._eof_waiter is not None:
            _wake_future(self._eof_waiter)

    def drop(self, exc: BaseException) -> None:
        """End the stream with `exc`, and forget what was not read: nobody wants it, or it is of no
        use.
        """
        self._raw = self._chunks = self._lent = None
        self._buffer = NOTHING_READY
        self._size = self._held = 0
        self._dropped = True
        if self._eof and self._waiter is None:
            # Nobody is left to be told: the end has told them.
            self._exception, self._callbacks = exc, None
        else:
            self.set_exception(exc)

    def begin_http_chunk_receiving(self) -> None:
        """An HTTP/1.1 chunk begins.

        Raises:
            RuntimeError: Data came before the first chunk.
        """
        if self._chunks is None:
            if self.total_raw_bytes:
                raise RuntimeError("an HTTP chunk begins after data that was in none")
            self._chunks = ChunkMarks()

    def end_http_chunk_receiving(self) -> None:
        """An HTTP/1.1 chunk ended; `readchunk` tells where.

        Raises:
            RuntimeError: No chunk had begun.
        """
        chunks = self._chunks
        if self._whole:
            return  # nobody will ask
        if chunks is None:
            if self._exception is not None:
                return
            raise RuntimeError("an HTTP chunk ends that had not begun")
        if not chunks.end(self.total_raw_bytes):
            return
        if not self._paused and len(chunks.raw) > max(4, self._low_water >> 4):
            self._pause()
        if self._waiter is not None and not self._whole:
            self._wake()

    def chunk_ended(self) -> None:
        """An HTTP/1.1 chunk ended, said by a connection that does not tell where chunks begin."""
        if self._chunks is None and self._exception is None:
            self._chunks = ChunkMarks()
        self.end_http_chunk_receiving()

    def lend(self, data: memoryview, stop: bool) -> bool:
        """Take in a piece that stays where it is; False if nobody waits for it, or it must be
        decoded or kept.

        Args:
            data: The piece; `keep_lent` must be called before it is changed or anything else is
                fed.
            stop: Pause the connection until the reader has taken from it.
        """
        if (
            self._waiter is None
            or self._size
            or self._whole
            or self.decoder is not None
            or self.max_size is not None
            or self._exception is not None
        ):
            return False
        self._lent = data
        self._size = size = len(data)
        self.total_raw_bytes += size
        self._wake()
        if not self._paused and (stop or size > self._high_water):
            self._pause()
        return True

    def keep_lent(self) -> bool:
        """Copy what was lent and not read; whether there was anything."""
        if self._lent is None:
            return False
        self._pull(0)
        return True

    # --- stopping the connection, and waking who waits --------------------------------------------

    def _pause(self) -> None:
        flow = self.flow
        if flow is not None:
            self._paused = True
            flow.pause_reading()

    def _resume_if_low(self) -> None:
        if (
            self._paused
            and self._size < self._low_water
            and (self._chunks is None or len(self._chunks.raw) < max(2, self._low_water >> 5))
        ):
            self._resume()

    def _resume(self) -> None:
        self._paused = False
        if self.flow is not None:
            self.flow.resume_reading()

    def _wake(self) -> None:
        waiter = self._waiter
        self._waiter = None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- the end ----------------------------------------------------------------------------------

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
            self._raise()

    def _check(self) -> None:
        """Raise what ended the stream, once all that came before is read."""
        if self._exception is not None and not self._size:
            self._raise()

    def _raise(self) -> None:
        exc = self._exception
        if exc is not None:
            # Without this each raise of the same object would add to its traceback.
            raise exc.with_traceback(None)

    def _too_large(self) -> ClientPayloadError:
        return ClientPayloadError(f"the body is larger than max_body_size={self.max_size}")

    def _fail(self, exc: BaseException, *, keep: bool = False) -> None:
        """The stream itself found the body bad: the rest is of no use to anyone; `keep` what is
        decoded already.
        """
        flow = self.flow
        buffer = self._buffer
        if keep and buffer.size:
            self.drop(exc)
            self._buffer, self._size = buffer, buffer.size
        else:
            self.drop(exc)
        if isinstance(flow, Exchange):
            flow.cancel()
            # Cancelling reports back here; the reason is what was found first.
            self._exception = exc

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
        return self._eof and not self._buffer.size and self._drained()

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
        if (
            raw is None
            or self._cursor
            or self._buffer is not NOTHING_READY
            or self._exception is not None
        ):
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
        if (
            not self._eof
            or self._exception is not None
            or self._cursor
            or self._buffer is not NOTHING_READY
        ):
            return None
        raw = self._raw
        if self.decoder is None and self.max_size is None:
            self._raw = self._chunks = None
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
                    self._raw = self._chunks = None
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
            if self._buffer.size:
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
            if self._buffer.size:
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
            buffer = self._buffer
            while buffer.pieces:
                first, offset = buffer.pieces[0], buffer.offset
                if not got:
                    at = first.find(separator, offset)
                    if at >= 0:
                        line = self._take(at + length - offset)
                        if len(line) > limit:
                            raise LineTooLong(
                                f"a line of more than {limit} bytes: {line[:100]!r}..."
                            )
                        return line
                seen = len(got)
                got += memoryview(first)[offset:] if offset else first
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
            chunks = self._chunks
            ends = None if chunks is None else chunks.ends(encoded=self.decoder is not None)
            while ends:
                at = ends.popleft()
                if at == self._cursor:
                    return b"", True
                if at > self._cursor:
                    return self._take(at - self._cursor), True
            buffer = self._buffer
            if buffer.pieces:
                return self._take(len(buffer.pieces[0]) - buffer.offset), False
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
        if self._buffer.size:
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
            return self._take(-1) if self._buffer.size else b""
        blocks: list[bytes] = []
        try:
            while True:
                self._pull(DECODE_STEP)
                if self._buffer.size:
                    blocks.append(self._take(-1))
                elif self._eof and self._exhausted():
                    return b"".join(blocks)
                else:
                    await self._wait("read")
        except BaseException:
            # What came is there for who reads piece by piece.
            self._put_back(b"".join(blocks))
            raise

    # --- bringing what came into the buffer, decoded as far as it is asked for -------------------

    async def _wait(self, reader: str) -> None:
        """Wait until something has changed; the end of a broken stream is no change that could
        come.
        """
        if self._exception is not None and self._job is None:
            self._raise()
        if self._waiter is not None:
            raise RuntimeError(
                f"{reader}() called while another coroutine is already waiting for incoming data"
            )
        # Of the connection's own loop: who reads in another one is told so, and does not wait for
        # ever.
        loop: asyncio.AbstractEventLoop = (
            getattr(self.flow, "loop", None) or asyncio.get_running_loop()
        )
        self._resume_if_low()
        self._waiter = waiter = loop.create_future()
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None

    def _exhausted(self) -> bool:
        """Whether all has been read, and nothing was wrong with it."""
        return not self._buffer.size and self._exception is None and self._drained()

    def _drained(self) -> bool:
        """Whether all that has arrived is in the buffer, or was read."""
        return (
            not self._raw
            and self._lent is None
            and self._job is None
            and (self.decoder is None or self.decoder.needs_input)
        )

    def _holds_more(self) -> bool:
        """Whether more can be brought into the buffer now, without a word from the network."""
        return self._job is None and not self._dropped and not self._drained()

    def _pull(self, want: int, *, offload: bool = True) -> None:
        """Bring what has arrived into the buffer, decoding until `want` bytes are there."""
        if self.decoder is not None:
            self._decode(self.decoder, want, offload)
            return
        lent = self._lent
        if lent is not None:
            self._lent = None
            self._raw = [bytes(lent)]
        raw = self._raw
        if not raw:
            return
        if self.max_size is not None and self.total_raw_bytes > self.max_size:
            self._fail(self._too_large())
            self._check()
        self._raw = None
        if self._buffer is NOTHING_READY:
            self._buffer = BodyBuffer()
        self._buffer.extend(raw, self._size - self._buffer.size)

    def _decode(self, decoder: Decoder, want: int, offload: bool) -> None:
        want = 0 if self._dropped else min(want, DECODE_STEP)
        while self._buffer.size < want and self._job is None:
            piece = b""
            if decoder.needs_input:
                raw = self._raw
                if not raw:
                    if self._eof and self.total_raw_bytes:
                        try:
                            decoder.finish()
                        except ClientPayloadError as exc:
                            self._fail(exc, keep=True)
                            self._check()
                    return
                if self._chunks is not None and self._chunks.raw:
                    piece = raw.pop(0)
                else:
                    piece = raw[0] if len(raw) == 1 else b"".join(raw)
                    self._raw = None
                self._held = len(piece)
            room = want - self._buffer.size
            if self.max_size is not None:
                room = min(room, self.max_size - self._decoded + 1)
            # A piece that goes on after a whole step is large too, in what it holds.
            if offload and room > OFFLOAD_OUTPUT and (self._held > OFFLOAD_INPUT or not piece):
                loop = asyncio.get_running_loop()
                self._job = job = loop.run_in_executor(
                    None, decoder.decode, piece, min(room, DECODE_STEP)
                )
                job.add_done_callback(self._decoded_aside)
                return
            try:
                data = decoder.decode(piece, room)
            except ClientPayloadError as exc:
                self._fail(exc, keep=True)
                self._check()
                return
            self._take_decoded(decoder, data)
            self._check()

    def _decoded_aside(self, job: asyncio.Future[bytes]) -> None:
        """The thread has decoded a step."""
        self._job = None
        if job.cancelled():
            return
        exc = job.exception()
        if not self._dropped:
            assert self.decoder is not None
            if exc is not None:
                self._fail(exc, keep=True)
            else:
                self._take_decoded(self.decoder, job.result())
        self._wake()

    def _take_decoded(self, decoder: Decoder, data: bytes) -> None:
        if data:
            if self._buffer is NOTHING_READY:
                self._buffer = BodyBuffer()
            self._buffer.append(data)
            self._size += len(data)
            self._decoded += len(data)
            if self.max_size is not None and self._decoded > self.max_size:
                self._fail(self._too_large())
                return
        if decoder.needs_input:
            self._size -= self._held
            self._held = 0
            if self._chunks is not None:
                # How far the decoder has come, in raw bytes.
                consumed = self.total_raw_bytes - (self._size - self._buffer.size)
                self._chunks.decoder_came_to(consumed, self._decoded, self._cursor)

    def _take(self, n: int) -> bytes:
        """Take `n` bytes, or all, out of the buffer."""
        data = self._buffer.take(n)
        length = len(data)
        self._size -= length
        self._cursor += length
        if self._chunks is not None and self._chunks.raw:
            self._chunks.forget_before(self._cursor, encoded=self.decoder is not None)
        if self._paused:
            self._resume_if_low()
        return data

    def _put_back(self, data: bytes) -> None:
        """Let what was taken be read again."""
        if not data or self._dropped:
            return
        lent = self._lent
        if lent is not None:
            self._lent = None
            self._raw = [bytes(lent)]
        if self._buffer is NOTHING_READY:
            self._buffer = BodyBuffer()
        self._buffer.put_back(data)
        self._size += len(data)
        self._cursor -= len(data)

    def _take_lent(self, lent: memoryview, n: int) -> bytes:
        """Take at most `n` bytes of what was lent."""
        if n < len(lent):
            data = bytes(lent[:n])
            self._lent = lent[n:]
        else:
            data = bytes(lent)
            self._lent = None
            n = len(data)
        self._size -= n
        self._cursor += n
        if self._paused:
            self._resume_if_low()
        return data


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
