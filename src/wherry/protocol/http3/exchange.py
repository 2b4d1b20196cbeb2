"""One stream of HTTP/3 as an `Exchange`, and as a `Tunnel` after an extended CONNECT (RFC 9220).

An exchange keeps what belongs to its stream: how far the response has come, and the body that waits
to be sent.  The connection reads and writes; see `Http3Carrier`.
"""

from __future__ import annotations

from abc import abstractmethod

from wherry.protocol.http3.frames import ErrorCode, FrameReader
from wherry.protocol.multiplexing import StreamConnection, StreamExchange


class Http3Carrier(StreamConnection["Http3Exchange"]):
    """What exchanges ask of the connection that carries them."""

    __slots__ = ()

    @abstractmethod
    def unsent(self, exchange: Http3Exchange) -> int:
        """How many bytes of a request wait for credit, congestion or their turn."""

    @abstractmethod
    def reset(self, exchange: Http3Exchange, code: ErrorCode) -> None:
        """End a stream in both directions."""

    @abstractmethod
    def reader_resumed(self, exchange: Http3Exchange) -> None:
        """A reader that had paused goes on."""


class Http3Exchange(StreamExchange):
    """One request and its response on a stream of HTTP/3.

    `Http3Connection.start` sets what is not in `StreamExchange`.
    """

    __slots__ = ("frames", "trailers_seen", "withheld")

    connection: Http3Carrier

    frames: FrameReader | None  # once something of the response came
    trailers_seen: bool
    withheld: int  # bytes that came while the reader was paused

    def unsent(self) -> int:
        return self.connection.unsent(self)

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            self.withheld = 0
            self.connection.reader_resumed(self)

    @property
    def is_tunnel(self) -> bool:
        """Whether the server has agreed to a tunnel: nothing but DATA goes on the stream."""
        return self.tunnelled and self.head is not None and 200 <= self.head.status < 300
