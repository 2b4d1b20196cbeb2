"""Bytes that a connection lends: they stay in its buffer, and are copied once, in the pieces that
the reader wants.

A copy less, and no large pieces of memory that come and go (docs/decisions/bodies.md).
"""

from __future__ import annotations

from wherry.body.stream.stream_take import StreamTake

__all__ = ("ZeroCopyStream",)


class ZeroCopyStream(StreamTake):
    """A stream that can be lent to: it is `receive_buffer`'s Borrower."""

    __slots__ = ()

    total_raw_bytes: int

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
