"""A connection of HTTP/3 whose handshake is under way: it resumes a session, so requests that may
be replayed go out at once, as early data (0-RTT, RFC 9001 4.6, RFC 8470).

Whoever sees the network can send such data again, so it is for safe methods without a body only;
every other exchange waits here for the handshake's end.  A server that answers 425 (Too Early) gets
the request once more, when the handshake is over.  Knows nothing of sockets and certificates: who
made the connection says by `EarlyStart.check` whether the server is the one that was wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wherry.errors import ClientConnectionError
from wherry.protocol.faults import StreamFault
from wherry.protocol.heads import RequestHead, ResponseHead
from wherry.protocol.http3.exchange import Http3Exchange
from wherry.protocol.http3.frames import ErrorCode

# RFC 9110 9.2.1; TRACE has no use here.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_TOO_EARLY = 425


class EarlyStart:
    """What becomes of a connection that is used before its handshake is over.

    Args:
        seconds: How long the handshake may take from here on.
        check: Called when it is over; raises a ClientConnectionError where the server is not the
            right one.
        failed: Called where it has not succeeded.
    """

    __slots__ = ("check", "failed", "seconds", "timer")

    def __init__(
        self, seconds: float, check: Callable[[], None], failed: Callable[[], None]
    ) -> None:
        self.seconds: float = seconds
        self.check: Callable[[], None] = check
        self.failed: Callable[[], None] = failed
        self.timer: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, late: Callable[[], None]) -> None:
        """Start the clock: `late` is called if the handshake is not over in time."""
        self.timer = loop.call_later(self.seconds, late)

    def over(self) -> str | None:
        """The handshake has succeeded: check the server.

        Returns:
            Why the connection is of no use all the same, None if it is good.
        """
        self.stop()
        try:
            self.check()
        except ClientConnectionError as exc:
            return str(exc)
        return None

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class TooEarly(StreamFault):
    """The server will not act upon early data."""


class EarlyExchange(Http3Exchange):
    """A request that began before the handshake's end, as early data or when it was over."""

    __slots__ = ("again",)

    #: What to send once more if the server says 425; None where that was done, or has no use.
    again: RequestHead | None

    def head_arrived(self, head: ResponseHead) -> None:
        if head.status == _TOO_EARLY and self.again is not None:
            raise TooEarly(ErrorCode.REQUEST_CANCELLED, "the server took it as early data")
        super().head_arrived(head)


def may_be_early(head: RequestHead) -> bool:
    """Whether a request does no harm that is replayed (RFC 8470 4)."""
    return (
        head.method in _SAFE_METHODS
        and not head.body
        and not head.streamed
        and head.upgrade is None
    )
