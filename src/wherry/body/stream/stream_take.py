"""What is taken out of a body that has arrived: decoded as far as it is asked for, and cut to the
wanted size.

`StreamTake` is the reader's side of a stream, below the ways of reading: it brings bytes into a
buffer, through the decoder if there is one, and takes them from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from wherry.body.stream.decoders import Decoder
from wherry.body.stream.stream_feed import StreamFeed
from wherry.errors import ClientPayloadError

__all__ = ("StreamTake",)

# Decoding goes to a thread when more input than this waits and more output than that is wanted:
# less takes under a millisecond, about what the trip to a thread costs the loop.
OFFLOAD_INPUT: Final = 2**16
OFFLOAD_OUTPUT: Final = 2**17
# How many decoded bytes one step of reading everything makes, and the most that is made without
# suspending.
DECODE_STEP: Final = 2**20


class StreamTake(StreamFeed):
    """The reader's side of a body's stream."""

    __slots__ = ()

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
        return not self._ready and self._exception is None and self._drained()

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
        if self._buffer is None:
            self._buffer = deque(raw)
        else:
            self._buffer.extend(raw)
        self._ready = self._size

    def _decode(self, decoder: Decoder, want: int, offload: bool) -> None:
        want = 0 if self._dropped else min(want, DECODE_STEP)
        while self._ready < want and self._job is None:
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
                if self._marks:
                    piece = raw.pop(0)
                else:
                    piece = raw[0] if len(raw) == 1 else b"".join(raw)
                    self._raw = None
                self._held = len(piece)
            room = want - self._ready
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

    def _put_back(self, data: bytes) -> None:
        """Let what was taken be read again."""
        if not data or self._dropped:
            return
        lent = self._lent
        if lent is not None:
            self._lent = None
            self._raw = [bytes(lent)]
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
