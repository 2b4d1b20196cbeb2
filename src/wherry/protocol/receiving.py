"""The buffer into which all connections of a thread receive, and who may leave bytes in it for a while.

get_buffer, recv and buffer_updated follow one another without anything in between, so one buffer does for all, and
receiving takes no memory.  What was received of a large body may be lent to a reader that waits for it: the reader
copies it piece by piece as it wants it, or at the latest when the buffer is needed again.
"""

from __future__ import annotations

import sys
import threading
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from wherry.protocol.connection import BodySink

BUFFER_SIZE = 256 * 1024
# What is read at most from a connection that is lost.
MOST_HEARD = 1024 * 1024

_buffers = threading.local()
# A proactor loop keeps a read outstanding while others run, so there each connection needs a buffer of its own.
_READS_ARE_SYNCHRONOUS = sys.platform != "win32"


class Borrower(BodySink, Protocol):
    """A body's sink that can be lent to; sinks need not be."""

    def lend(self, data: memoryview, stop: bool) -> bool:
        """Take a piece of the body that stays where it is until `keep_lent`, or say False and leave it.

        Args:
            data: The piece.
            stop: Pause the connection until the reader has taken from it.
        """

    def keep_lent(self) -> bool:
        """The buffer is needed: copy what was not read, and tell whether there was anything."""


class ReceiveBuffer:
    """Memory to receive into.

    Args:
        size: In bytes.
        lends: Whether nothing is received before whoever was waiting could run.
    """

    __slots__ = ("borrower", "lends", "view")

    def __init__(self, size: int, lends: bool) -> None:
        self.view = memoryview(bytearray(size))
        self.lends = lends
        self.borrower: Borrower | None = None

    def take_back(self) -> Borrower | None:
        """Let the buffer be written to; gives who had not read what was lent."""
        borrower, self.borrower = self.borrower, None
        return borrower if borrower is not None and borrower.keep_lent() else None


def receive_buffer() -> ReceiveBuffer:
    """The thread's buffer."""
    if not _READS_ARE_SYNCHRONOUS:
        return ReceiveBuffer(64 * 1024, lends=False)
    try:
        return cast("ReceiveBuffer", _buffers.shared)
    except AttributeError:
        _buffers.shared = ReceiveBuffer(BUFFER_SIZE, lends=True)
        return cast("ReceiveBuffer", _buffers.shared)


def hear_out(transport: Any, receive: Callable[[memoryview], None]) -> None:
    """Give `receive` what lies unread in the socket of a transport that could not write.

    Args:
        transport: One of asyncio's own, without TLS; others are left alone, for they may have closed their socket.
        receive: Is called with each piece.
    """
    sock = None if transport is None else transport.get_extra_info("socket")
    if not isinstance(sock, TransportSocket) or transport.get_extra_info("ssl_object") is not None:
        return
    with suppress(OSError), sock.dup() as unread:
        heard = 0
        while heard < MOST_HEARD and (data := unread.recv(BUFFER_SIZE)):
            heard += len(data)
            receive(memoryview(data))
