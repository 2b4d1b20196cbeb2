"""From a payload to an exchange: counts, compresses and holds the body to the length that was
promised.

`BodyWriter` has the face that payloads write to.  Framing is the protocol's; this room sees bytes
only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from wherry.body.payload.encoders import Encoder, encoder_for
from wherry.errors import ClientPayloadError, UploadAbortedError
from wherry.protocol.connection import Exchange
from wherry.protocol.heads import FieldPairs

__all__ = ("BodyWriter", "UploadTracker")

# After this many bytes the writer waits until the peer takes more.
DRAIN_AFTER: Final = 2**16
# Larger pieces are compressed in a thread.
OFFLOAD_INPUT: Final = 2**15

Bytes = bytes | bytearray | memoryview


class BodyWriter:
    """Writes a streamed body to an exchange.

    Args:
        exchange: Where the body goes.
        content_length: What the head promised; None for a body whose length is not known.
        compress: A content coding to apply ("gzip", "deflate", "br", "zstd"), None for none.
        on_chunk_sent: Awaited with each piece, as the payload gave it, before it is sent.
        tracker: Is told how much was written.

    Raises:
        ValueError: `compress` is unknown or not installed, or comes together with a length.
    """

    __slots__ = (
        "_encoder",
        "_ended",
        "_exchange",
        "_on_chunk_sent",
        "_undrained",
        "accepted",
        "buffer_size",
        "length",
        "on_body_write",
        "output_size",
        "promised",
    )

    def __init__(
        self,
        exchange: Exchange,
        content_length: int | None = None,
        *,
        compress: str | None = None,
        on_chunk_sent: Callable[[bytes], Awaitable[None]] | None = None,
        tracker: UploadTracker | None = None,
    ) -> None:
        if compress is not None and content_length is not None:
            raise ValueError(
                "the length of a body that is compressed on the way cannot be promised"
            )
        self._exchange = exchange
        self._encoder: Encoder | None = None if compress is None else encoder_for(compress)
        self._on_chunk_sent = on_chunk_sent
        self._ended = False
        self._undrained = 0
        self.promised: int | None = content_length
        self.length = content_length  # what is left of the promise
        self.accepted: int = 0  # bytes that the payload gave
        self.output_size: int = 0  # bytes that were sent, after compression and without framing
        self.buffer_size: int = 0
        self.on_body_write: Callable[[int, int], None] | None = None
        if tracker is not None:
            tracker.begin_attempt(self)

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport below, None where there is none to see."""
        return self._exchange.connection.transport

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Apply a content coding from here on.

        Raises:
            ValueError: The coding is unknown, or a length was promised.
        """
        if self.promised is not None:
            raise ValueError(
                "the length of a body that is compressed on the way cannot be promised"
            )
        self._encoder = encoder_for(encoding, strategy=strategy)

    def enable_chunking(self) -> None:
        """Do nothing: framing follows from what the head promised."""

    async def write(self, chunk: Bytes, *, drain: bool = True) -> None:
        """Send a piece of the body, and wait when the peer is slower.

        What is sent is the piece as it is now: the program may use a buffer of its own again when
        this returns, though a transport keeps what the peer does not take yet.

        Raises:
            ClientPayloadError: The body is longer than was promised; nothing of this piece was
                sent.
            ClientConnectionResetError: The connection is gone.
        """
        if self._ended:
            raise ClientPayloadError("the body has ended, nothing can be written to it")
        if self._on_chunk_sent is not None:
            await self._on_chunk_sent(bytes(chunk))
        # Its items may be of several bytes, and may not stand side by side.
        if isinstance(chunk, memoryview):
            chunk = chunk.cast("B") if chunk.c_contiguous else bytes(chunk)
        await self._write(chunk, drain=drain, given=True)

    async def write_own(self, chunk: Bytes) -> None:
        """The same for a piece that nobody will change any more; it is not copied."""
        if self._on_chunk_sent is not None or self._ended:
            await self.write(chunk)
        else:
            await self._write(chunk, drain=True, given=False)

    async def _write(self, chunk: Bytes, *, drain: bool, given: bool) -> None:
        size = len(chunk)
        if not size:
            return
        self.accepted += size
        if self._encoder is not None:
            chunk = await self._compressed(self._encoder, chunk, size)
            if not chunk:
                return
        elif given and not _is_constant(chunk):
            chunk = bytes(chunk)
        self._send(chunk)
        if self.on_body_write is not None:
            self.on_body_write(size, self.output_size)
        if drain and self._undrained > DRAIN_AFTER:
            await self.drain()

    async def _compressed(self, encoder: Encoder, chunk: Bytes, size: int) -> bytes:
        if size <= OFFLOAD_INPUT:
            return encoder.compress(chunk)
        return await asyncio.get_running_loop().run_in_executor(None, encoder.compress, chunk)

    def _send(self, chunk: Bytes) -> None:
        size = chunk.nbytes if isinstance(chunk, memoryview) else len(chunk)
        if self.length is not None:
            if size > self.length:
                # RFC 9112 6.3: what exceeds the length would be taken for the next request.
                raise ClientPayloadError(
                    f"the body has more than the {self.promised} bytes that its Content-Length "
                    "promised"
                )
            self.length -= size
        self._exchange.send(chunk)
        self.output_size = self._exchange.written = self.output_size + size
        self._undrained += size

    async def drain(self) -> None:
        """Wait until the peer takes more."""
        self._undrained = 0
        await self._exchange.drain()

    async def write_eof(self, chunk: bytes = b"", *, trailers: FieldPairs = ()) -> None:
        """End the body, with a last piece if there is one.

        Raises:
            ClientPayloadError: The body is not as long as was promised.
        """
        if self._ended:
            return
        if chunk:
            await self.write(chunk, drain=False)
        if self._encoder is not None:
            rest = self._encoder.flush()
            if rest:
                self._send(rest)
        if self.length:
            raise ClientPayloadError(
                f"the body ended {self.length} bytes before the {self.promised} that its "
                "Content-Length promised"
            )
        self._ended = True
        self._exchange.end(trailers)
        await self._exchange.drain()


def _is_constant(chunk: Bytes) -> bool:
    return type(chunk) is bytes or (isinstance(chunk, memoryview) and type(chunk.obj) is bytes)


class UploadTracker:
    """Follows the upload of one request: pass it as `upload_tracker`, read it while the request
    runs.

    `attempts` counts how often the body was begun, redirects and retries included.
    `upload_complete` is a future: done when the body of the last attempt was sent in full, else it
    gets the error that stopped it.

    Raises:
        RuntimeError: There is no running event loop.
    """

    def __init__(self) -> None:
        self.attempts: int = 0
        self.upload_complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bound = False
        self._finished = False
        self._over = False
        self._error: BaseException | None = None
        self._writer: BodyWriter | None = None
        self._written = 0

    @property
    def bytes_written(self) -> int:
        """How many of the body's bytes, as the payload gave them, the operating system has taken.

        An estimate where the body is compressed: the part of the output that is out, applied to the
        input.
        """
        writer = self._writer
        if writer is not None and writer.output_size:
            transport = writer.transport
            if transport is not None and not transport.is_closing():
                out = max(0, writer.output_size - transport.get_write_buffer_size())
                self._written = max(self._written, writer.accepted * out // writer.output_size)
        return self._written

    def bind(self) -> None:
        """Note that the request begins.

        Raises:
            RuntimeError: The tracker has followed another request.
        """
        if self._bound:
            raise RuntimeError(
                "an UploadTracker follows one request, and this one is already bound to its own"
            )
        self._bound = True

    def start_attempt(self, has_body: bool = True) -> None:
        """The request is about to be sent, for the first or another time; the connection may not be
        there yet.
        """
        self.attempts += 1
        self._writer = None
        self._written = 0
        self._finished = not has_body
        self._error = None

    def begin_attempt(self, writer: BodyWriter) -> None:
        """`writer` has begun to send the body."""
        self._writer = writer

    def finish_attempt(self, written: int | None = None) -> None:
        """Note that the body was sent in full.

        Args:
            written: Its size, where it was sent without a writer.
        """
        self._finished = True
        if self._writer is not None:
            written = self._writer.accepted
        self._written = written or 0
        self._writer = None
        if self._over:
            self._settle()

    def fail_attempt(self, exc: BaseException | None) -> None:
        """The body was not sent in full; `exc` is None where the attempt was given up."""
        self._error = exc
        self._written = self.bytes_written
        self._writer = None
        if self._over:
            self._settle()

    def give_up(self) -> None:
        """The call has failed; of a request that it never became nothing will be sent."""
        if not self._bound:
            self._bound = True
            self.finalize()

    def finalize(self) -> None:
        """Note that the request has returned or failed, and no other attempt follows."""
        self._over = True
        if self._writer is None:
            self._settle()

    def _settle(self) -> None:
        future = self.upload_complete
        if future.done():
            return
        if self._finished:
            future.set_result(None)
            return
        future.set_exception(
            self._error or UploadAbortedError("the request's body was not sent in full")
        )
        # Whoever only asks done() must not be told that nobody looked at the exception.
        future.exception()
