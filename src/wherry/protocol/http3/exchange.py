"""One stream of HTTP/3 as an `Exchange`, and as a `Tunnel` after an extended CONNECT (RFC 9220).

An exchange keeps what belongs to its stream: how far the response has come, and the body that waits
to be sent.  The connection reads and writes; see `Http3Carrier`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque

from wherry.errors import (
    BadHttpMessage,
    ClientConnectionError,
    ClientConnectionResetError,
    ClientPayloadError,
    ServerDisconnectedError,
)
from wherry.protocol.connection import BodySink, Connection, Tunnel, TunnelReceiver
from wherry.protocol.heads import FieldPairs
from wherry.protocol.http3.frames import ErrorCode, FrameReader
from wherry.protocol.limits import Limits
from wherry.protocol.stream_tunnel import StreamTunnel, TunnelledExchange, tunnel_of


class Http3Carrier(Connection):
    """What exchanges ask of the connection that carries them."""

    __slots__ = ()

    @abstractmethod
    def send_body(self, exchange: Http3Exchange, data: memoryview | None) -> None:
        """Send a piece of a body, None for its end."""

    @abstractmethod
    def unsent(self, exchange: Http3Exchange) -> int:
        """How many bytes of a request wait for credit, congestion or their turn."""

    @abstractmethod
    def reset(self, exchange: Http3Exchange, code: ErrorCode) -> None:
        """End a stream in both directions."""

    @abstractmethod
    def reader_resumed(self, exchange: Http3Exchange) -> None:
        """A reader that had paused goes on."""


class Http3Exchange(TunnelledExchange):
    """One request and its response on a stream.

    Args:
        connection: Its connection.
        sink: Where the response's body goes.
        reused: Whether the connection had carried another exchange before.
        bodyless: The response has no body whatever its fields say: the request is HEAD.
        tunnelled: The request is an extended CONNECT.
        limits: What the response's head and trailers may hold.
    """

    __slots__ = (
        "backlog",
        "bodyless",
        "expected",
        "frames",
        "interim",
        "limits",
        "paused",
        "received",
        "request_ended",
        "stream_id",
        "trailers_seen",
        "trailers_to_send",
        "withheld",
        "writers",
    )

    connection: Http3Carrier

    def __init__(
        self,
        connection: Http3Carrier,
        sink: BodySink,
        reused: bool,
        *,
        bodyless: bool,
        tunnelled: bool,
        limits: Limits,
    ) -> None:
        super().__init__(connection, sink, reused)
        self.limits: Limits = limits
        self.stream_id: int = -1
        self.bodyless: bool = bodyless
        self.tunnelled = tunnelled
        self.tunnel: StreamTunnel | None = None
        self.frames: FrameReader | None = None  # once something of the response came
        self.paused: bool = False
        self.withheld: int = 0  # bytes that came while the reader was paused
        self.received: int = 0  # bytes of the response's body
        self.expected: int = -1  # what Content-Length said
        self.interim: int = 0
        self.trailers_seen: bool = False
        self.backlog: deque[memoryview] | None = None  # what the engine has not been given yet
        self.backlog_size: int = 0
        self.ending: bool = False  # the request's body is whole, in the backlog or sent
        self.request_ended: bool = (
            False  # the engine has its last byte, or the server wants no more
        )
        self.trailers_to_send: FieldPairs = ()
        self.writers: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        state = "complete" if self.complete else "failed" if self.error is not None else "open"
        return f"<Http3Exchange stream={self.stream_id} {state}>"

    def send(self, data: bytes | bytearray | memoryview) -> None:
        self._check_writable()
        if data and not self.request_ended:
            self.connection.send_body(
                self, memoryview(data if isinstance(data, bytes) else bytes(data))
            )

    async def drain(self) -> None:
        while self.backlog_size and not self.complete and self.error is None:
            waiter = self.connection.loop.create_future()
            if self.writers is None:
                self.writers = []
            self.writers.append(waiter)
            try:
                await waiter
            finally:
                self.writers.remove(waiter)
        if self.error is not None:
            raise self.error

    def unsent(self) -> int:
        return self.connection.unsent(self)

    def end(self, trailers: FieldPairs = ()) -> None:
        if self.ending:
            return
        self._check_writable()
        self.ending = True
        self.trailers_to_send = trailers
        self.connection.send_body(self, None)

    def _check_writable(self) -> None:
        if self.error is not None:
            raise self.error
        if self.complete:
            raise ClientConnectionResetError(
                "Cannot send more of a request whose response is complete"
            )
        if self.ending:
            raise RuntimeError("the request's body has ended")

    def drop_backlog(self) -> None:
        """Nothing more of the request's body will be sent."""
        self.backlog = None
        self.backlog_size = 0
        self.wake_writers()

    def wake_writers(self) -> None:
        """The backlog is out, or the exchange is over."""
        for waiter in self.writers or ():
            if not waiter.done():
                waiter.set_result(None)
        if self.tunnel is not None:
            self.tunnel.backlog_changed()

    def fail(self, exc: BaseException) -> None:
        if self.complete or self.error is not None:
            return
        super().fail(exc)
        self.drop_backlog()

    def failure(self, reason: str, cause: BaseException | None) -> BaseException:
        """What to fail with, by how far the response had come."""
        error: BaseException
        if self.head is not None:
            error = ClientPayloadError(
                f"Response payload is not completed: {reason} after {self.received} bytes of the "
                "body"
            )
        elif isinstance(cause, BadHttpMessage):
            return cause
        else:
            error = ServerDisconnectedError(f"Server disconnected: {reason} without a response")
        error.__cause__ = cause
        return error

    def cancel(self) -> None:
        if not self.complete:
            self.fail(ClientConnectionError("Connection closed"))
            self.connection.reset(self, ErrorCode.REQUEST_CANCELLED)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            if self.withheld:
                self.withheld = 0
                self.connection.reader_resumed(self)

    def upgrade(self, receiver: TunnelReceiver) -> Tunnel:
        return tunnel_of(self, receiver)

    @property
    def is_tunnel(self) -> bool:
        """Whether the server has agreed to a tunnel: nothing but DATA goes on the stream."""
        return self.tunnelled and self.head is not None and 200 <= self.head.status < 300
