"""What has arrived of a body and was not read yet: the side of a stream that a connection feeds.

`StreamFeed` keeps what comes as it came.  It stops the connection when it is full and lets it go on
when there is room; it knows the limits and who waits, but not how anything is taken out
(`stream_take`).

Back-pressure.  A stream counts what it holds: raw bytes, bytes in the decoder, decoded bytes that
nobody has read.  Above twice its limit it calls `flow.pause_reading`, below the limit
`flow.resume_reading`.  What that means is the protocol's matter: HTTP/1.1 stops reading its socket,
so TCP stops the peer; HTTP/2 stops widening the stream's window.  The gap between the two marks
keeps a reader that is as fast as its peer from pausing at every piece.

Raw bytes are counted, not decoded ones, because a stream decodes only as far as it is asked
(`decoders`): a small compressed body can be a large one, and must not be made so before somebody
wants it.  A body that is read whole (`read`, `json`) is not paused, since its reader wants all of
it; `max_size` is what bounds it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from wherry.body.stream.decoders import Decoder
from wherry.errors import ClientPayloadError
from wherry.protocol.connection import Exchange, FlowControl
from wherry.types import RawHeaders

__all__ = ("StreamFeed",)

log: logging.Logger = logging.getLogger("wherry.client")

DEFAULT_LIMIT: Final = 2**18
# So many pieces of a body that is read whole are put together.
COMPACT_PIECES: Final = 1024


class StreamFeed:
    """The connection's side of a body's stream.

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
        "_dropped",
        "_eof",
        "_eof_waiter",
        "_exception",
        "_held",
        "_high_water",
        "_job",
        "_lent",
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
        self._dropped = False  # what came will not be read
        self._waiter: asyncio.Future[None] | None = None
        self._eof_waiter: asyncio.Future[None] | None = None
        self._job: asyncio.Future[bytes] | None = None
        self._callbacks: list[Callable[[], object]] | None = None

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
        if self._buffer is None:
            self._buffer = deque()
        self._buffer.append(b"".join(raw))
        raw.clear()
        self._ready = self._size

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
        self._raw = self._buffer = self._marks = self._splits = self._lent = None
        self._size = self._ready = self._held = self._offset = 0
        self._dropped = True
        self.set_exception(exc)

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
        if self._whole:
            return  # nobody will ask
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
            and (self._marks is None or len(self._marks) < max(2, self._low_water >> 5))
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
        if keep and self._buffer:
            buffer, offset, ready = self._buffer, self._offset, self._ready
            self.drop(exc)
            self._buffer, self._offset, self._ready, self._size = buffer, offset, ready, ready
        else:
            self.drop(exc)
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
