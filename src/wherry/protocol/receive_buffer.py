"""The buffer into which the connections of an event loop receive, and who may leave bytes in it for
a while.

get_buffer, recv and buffer_updated follow one another without anything in between, so one buffer
does for all that one loop reads, and receiving takes no memory.  What was received of a large body
may be lent to a reader that waits for it: the reader copies it piece by piece as it wants it, or at
the latest when the buffer is needed again.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from wherry.protocol.connection import BodySink

BUFFER_SIZE = 256 * 1024
# What is read at most from a connection that is lost, unless its socket holds more.
MOST_REMAINING = 1024 * 1024

_Made = TypeVar("_Made")

# A proactor loop keeps a read outstanding while others run, so there each connection needs a buffer
# of its own.
_READS_ARE_SYNCHRONOUS = sys.platform != "win32"


class Borrower(BodySink, Protocol):
    """A body's sink that can be lent to; sinks need not be."""

    def lend(self, data: memoryview, stop: bool) -> bool:
        """Take a piece of the body that stays where it is until `keep_lent`, or say False and leave
        it.

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
        self.view: memoryview[int] = memoryview(bytearray(size))
        self.lends: bool = lends
        self.borrower: Borrower | None = None

    def take_back(self) -> Borrower | None:
        """Let the buffer be written to; gives who had not read what was lent."""
        borrower, self.borrower = self.borrower, None
        return borrower if borrower is not None and borrower.keep_lent() else None


class OnePerLoop(threading.local, Generic[_Made]):
    """What all connections of an event loop share, and those of no other loop.

    A thread is not enough to tell them apart: a loop may be run in one thread now and in another
    later, beside the next loop of the first, and two threads would receive into one buffer.  What
    is found without a lock is that of the loop which asked last in this thread; a loop that comes
    back gets another.

    Args:
        make: Makes what is shared.
    """

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._loop = 0
        self._made: _Made | None = None

    def of(self, loop: asyncio.AbstractEventLoop) -> _Made:
        """What the connections of `loop` share."""
        # The number alone: who holds what was made (a connection) holds its loop as well, and the
        # number is not given to another loop before.
        if self._made is None or self._loop != id(loop):
            self._made, self._loop = self._make(), id(loop)
        return self._made


_buffers = OnePerLoop(lambda: ReceiveBuffer(BUFFER_SIZE, lends=True))


def receive_buffer(loop: asyncio.AbstractEventLoop) -> ReceiveBuffer:
    """The buffer for a new connection of `loop`."""
    return _buffers.of(loop) if _READS_ARE_SYNCHRONOUS else ReceiveBuffer(64 * 1024, lends=False)


def read_remaining(transport: Any, receive: Callable[[memoryview], None]) -> None:
    """Give `receive` what lies unread in the socket of a transport that could not write.

    To be called within `connection_lost`, while the socket is open still.

    Args:
        transport: One of asyncio's or uvloop's own, or one that can `hear_out` what is below it;
            others are left alone, for they may have closed their socket.
        receive: Is called with each piece.
    """
    if transport is None:
        return
    hear_out = getattr(transport, "hear_out", None)
    if hear_out is not None:
        hear_out(receive)
        return
    sock = transport.get_extra_info("socket")
    known = isinstance(sock, TransportSocket) or type(transport).__module__ == "uvloop.loop"
    if not known or sock is None or transport.get_extra_info("ssl_object") is not None:
        return
    with suppress(OSError), sock.dup() as unread:
        received = 0
        most = max(MOST_REMAINING, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
        while received < most and (data := unread.recv(BUFFER_SIZE)):
            received += len(data)
            receive(memoryview(data))
