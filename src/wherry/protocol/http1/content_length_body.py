"""A large body of known length: its bytes are counted, not parsed, and lent, not copied.

The parser copies what it is given, a read at a time.  A body whose length is known needs no parser:
whatever comes belongs to it until so many bytes are in.  And a reader that waits for them already
can copy them out of the receive buffer itself (`Borrower.lend`), so that each byte is copied once.
The loan ends when the buffer is needed for the next read: see `receive_buffer`.
"""

from __future__ import annotations

from typing import cast

from wherry.protocol.connection import BodySink
from wherry.protocol.http1.read_pacing import ReadPacer
from wherry.protocol.receive_buffer import Borrower, ReceiveBuffer

# The least that must be left of a body for its bytes to be counted, and for them to be lent.
COUNT_FROM = 256 * 1024
# A smaller read is copied at once.
ZERO_COPY_FROM = 32 * 1024


class CountedBody:
    """Counts what is left of a body, and gives what comes to its sink.

    Args:
        buffer: What the connection receives into.
        pacer: Lets the connection rest while much is left.
    """

    __slots__ = ("_borrower", "_buffer", "_pacer", "_reads_ahead", "_sink", "left")

    def __init__(self, buffer: ReceiveBuffer, pacer: ReadPacer) -> None:
        self._buffer = buffer
        self._pacer = pacer
        self._sink: BodySink | None = None
        self._borrower: Borrower | None = None
        # The event loop reads again before who was waiting could run (libuv does).
        self._reads_ahead = False
        #: Bytes that have not come.
        self.left: int = 0

    def begin(self, sink: BodySink, left: int) -> None:
        """From here on, `left` bytes belong to the body."""
        self.left = left
        self._sink = sink
        self._borrower = (
            cast("Borrower", sink)
            if left >= COUNT_FROM and self._buffer.lends and hasattr(sink, "lend")
            else None
        )

    def take(self, data: memoryview) -> int:
        """Give `data` to the sink, as far as it belongs to the body.

        Returns:
            How many bytes are left; below zero, so many at the end of `data` are not the body's.
        """
        sink = self._sink
        assert sink is not None
        size = len(data)
        self.left = left = self.left - size
        if left <= 0:
            self.leave()
            sink.feed_data(bytes(data[: size + left]))
            return left
        borrower = self._borrower
        full = size == len(self._buffer.view)
        # A loop that reads ahead does so after a read that left no room.
        if (
            size >= ZERO_COPY_FROM
            and borrower is not None
            and borrower.lend(data, full and self._reads_ahead)
        ):
            self._buffer.borrower = borrower
            if full:
                self._pacer.rested = False
            elif left >= COUNT_FROM:
                self._pacer.rest(size)
        else:
            sink.feed_data(bytes(data))
        return left

    def was_late(self, borrower: Borrower) -> None:
        """`borrower` had not read what was lent when the buffer was needed."""
        if borrower is self._borrower:
            self._reads_ahead = True

    def lend_no_more(self) -> None:
        """Copy what comes from now on: it does not stay in the buffer."""
        self._borrower = None

    def leave(self) -> None:
        """Let go of the sink: the body is whole, or given up."""
        self._borrower = self._sink = None
