"""One stream of HTTP/2 as an `Exchange`, and as a `Tunnel` after an extended CONNECT (RFC 8441).

An exchange keeps what belongs to its stream: windows, the body that waits to be sent, how much has
come.  The connection reads and writes; see `Http2Carrier`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque

from wherry.errors import (
    BadHttpMessage,
    ClientConnectionError,
    ClientConnectionResetError,
    ClientOSError,
    ClientPayloadError,
    ServerDisconnectedError,
)
from wherry.protocol.connection import BodySink, Connection, Tunnel, TunnelReceiver
from wherry.protocol.heads import FieldPairs
from wherry.protocol.http2.frames import ErrorCode
from wherry.protocol.limits import Limits
from wherry.protocol.stream_tunnel import StreamTunnel, TunnelledExchange, tunnel_of


class Http2Carrier(Connection):
    """What exchanges ask of the connection that carries them."""

    __slots__ = ()

    @property
    @abstractmethod
    def writing_paused(self) -> bool:
        """The transport is full."""

    @abstractmethod
    def send_body(self, exchange: Http2Exchange, data: memoryview | None) -> None:
        """Send a piece of a body, None for its end."""

    @abstractmethod
    def reset(self, exchange: Http2Exchange, code: ErrorCode) -> None:
        """End a stream by RST_STREAM."""

    @abstractmethod
    def replenish(self, exchange: Http2Exchange) -> None:
        """Let the peer send more: the reader goes on."""


class Http2Exchange(TunnelledExchange):
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
        "beside",
        "bodyless",
        "expected",
        "interim",
        "limits",
        "paused",
        "receive_window",
        "received",
        "request_ended",
        "send_window",
        "stream_id",
        "trailers_to_send",
        "writers",
    )

    connection: Http2Carrier

    def __init__(
        self,
        connection: Http2Carrier,
        sink: BodySink,
        reused: bool,
        *,
        bodyless: bool,
        tunnelled: bool,
        limits: Limits,
    ) -> None:
        super().__init__(connection, sink, reused)
        self.limits: Limits = limits
        self.stream_id: int = 0
        self.beside: int = 0  # how many streams were open when this one was, itself among them
        self.bodyless: bool = bodyless
        self.tunnelled = tunnelled
        self.tunnel: StreamTunnel | None = None
        self.receive_window: int = 0
        self.send_window: int = 0
        self.paused: bool = False
        self.received: int = 0  # bytes of the response's body, padding left out
        self.expected: int = -1  # what Content-Length said
        self.interim: int = 0
        self.backlog: deque[memoryview] | None = None  # what the peer's windows do not let out yet
        self.backlog_size: int = 0
        self.ending: bool = False  # the request's body is whole, in the backlog or sent
        self.request_ended: bool = False  # END_STREAM is out
        self.trailers_to_send: FieldPairs = ()
        self.writers: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        state = "complete" if self.complete else "failed" if self.error is not None else "open"
        return f"<Http2Exchange stream={self.stream_id} {state}>"

    def send(self, data: bytes | bytearray | memoryview) -> None:
        self._check_writable()
        if data:
            self.connection.send_body(
                self, memoryview(data if isinstance(data, bytes) else bytes(data))
            )

    async def drain(self) -> None:
        connection = self.connection
        while (
            (self.backlog_size or connection.writing_paused)
            and not self.complete
            and self.error is None
        ):
            waiter = connection.loop.create_future()
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
        # Where the windows hold this stream back, what others write tells nothing of it.
        return self.backlog_size or super().unsent()

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

    def wake_writers(self) -> None:
        """The backlog is out, or the exchange is over."""
        if self.writers:
            for waiter in self.writers:
                if not waiter.done():
                    waiter.set_result(None)
        if self.tunnel is not None:
            self.tunnel.backlog_changed()

    def fail(self, exc: BaseException) -> None:
        if self.complete or self.error is not None:
            return
        super().fail(exc)
        self.backlog = None
        self.backlog_size = 0
        self.wake_writers()

    def failure(self, reason: str, cause: BaseException | None) -> BaseException:
        """What to fail with, by how far the response had come."""
        error: BaseException
        if self.head is not None:
            error = ClientPayloadError(
                f"Response payload is not completed: {reason} after {self.received} bytes of the "
                "body" + (f" ({cause!r})" if isinstance(cause, OSError) else "")
            )
        elif isinstance(cause, BadHttpMessage):
            return cause
        elif isinstance(cause, OSError):
            error = ClientOSError(cause.errno, f"{cause.strerror or cause} ({reason})")
        elif cause is not None:
            error = ClientConnectionError(f"{cause!r} ({reason})")
        else:
            error = ServerDisconnectedError(f"Server disconnected: {reason} without a response")
        error.__cause__ = cause
        return error

    def cancel(self) -> None:
        if not self.complete:
            self.fail(ClientConnectionError("Connection closed"))
            self.connection.reset(self, ErrorCode.CANCEL)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            if not self.complete and self.error is None:
                self.connection.replenish(self)

    def upgrade(self, receiver: TunnelReceiver) -> Tunnel:
        return tunnel_of(self, receiver)
