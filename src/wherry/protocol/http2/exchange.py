"""One stream of HTTP/2 as an `Exchange`, and as a `Tunnel` after an extended CONNECT (RFC 8441).

An exchange keeps what belongs to its stream: windows, the body that waits to be sent, how much has
come.  The connection reads and writes; see `Http2Carrier`.
"""

from __future__ import annotations

from abc import abstractmethod

from wherry.protocol.http2.frames import ErrorCode
from wherry.protocol.multiplexing import StreamConnection, StreamExchange


class Http2Carrier(StreamConnection["Http2Exchange"]):
    """What exchanges ask of the connection that carries them."""

    __slots__ = ()

    @abstractmethod
    def reset(self, exchange: Http2Exchange, code: ErrorCode) -> None:
        """End a stream by RST_STREAM."""

    @abstractmethod
    def replenish(self, exchange: Http2Exchange) -> None:
        """Let the peer send more: the reader goes on."""


class Http2Exchange(StreamExchange):
    """One request and its response on a stream of HTTP/2.

    `Http2Connection.start` sets what is not in `StreamExchange`.
    """

    __slots__ = ("beside", "receive_window", "send_window")

    connection: Http2Carrier

    beside: int  # how many streams were open when this one was, itself among them
    receive_window: int
    send_window: int

    def unsent(self) -> int:
        # Where the windows hold this stream back, what others write tells nothing of it.
        return self.backlog_size or super().unsent()

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            if not self.state.ended:
                self.connection.replenish(self)
