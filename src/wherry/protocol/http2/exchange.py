"""One stream of HTTP/2 as an `Exchange`, and as a `Tunnel` after an extended CONNECT (RFC 8441).

An exchange keeps what belongs to its stream: windows, the body that waits to be sent, how much has
come.  The connection reads and writes; see `Http2Carrier`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import Any

from wherry.errors import (
    BadHttpMessage,
    ClientConnectionError,
    ClientConnectionResetError,
    ClientOSError,
    ClientPayloadError,
    ServerDisconnectedError,
)
from wherry.protocol.connection import (
    BodySink,
    Connection,
    Exchange,
    FlowControl,
    Tunnel,
    TunnelReceiver,
)
from wherry.protocol.heads import FieldPairs
from wherry.protocol.http2.frames import ErrorCode
from wherry.protocol.limits import Limits

# A tunnel's writer is told to pause when this much waits for the peer's window.
TUNNEL_HIGH_WATER = 64 * 1024


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


class Http2Exchange(Exchange):
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
        "backlog_size",
        "beside",
        "bodyless",
        "ending",
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
        "tunnel",
        "tunnelled",
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
        self.limits = limits
        self.stream_id = 0
        self.beside = 0  # how many streams were open when this one was, itself among them
        self.bodyless = bodyless
        self.tunnelled = tunnelled
        self.tunnel: Http2Tunnel | None = None
        self.receive_window = 0
        self.send_window = 0
        self.paused = False
        self.received = 0  # bytes of the response's body, padding left out
        self.expected = -1  # what Content-Length said
        self.interim = 0
        self.backlog: deque[memoryview] | None = None  # what the peer's windows do not let out yet
        self.backlog_size = 0
        self.ending = False  # the request's body is whole, in the backlog or sent
        self.request_ended = False  # END_STREAM is out
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
        head = self.head
        if not self.tunnelled or head is None or not 200 <= head.status < 300:
            raise RuntimeError("this exchange did not switch protocols")
        early = self.sink
        if self.error is not None and not (isinstance(early, EarlySink) and early.holds_anything):
            raise self.error
        self.tunnel = Http2Tunnel(self, receiver)
        self.sink = self.tunnel
        if isinstance(early, EarlySink):
            early.pass_on(self.tunnel)
        if self.error is not None:
            self.tunnel.set_exception(self.error)  # it had something to say before that
        return self.tunnel


class EarlySink:
    """Keeps what comes on a tunnel before somebody reads it; the stream is paused, so a window's
    worth at most.
    """

    __slots__ = ("_ended", "_pieces", "flow")

    def __init__(self, flow: FlowControl) -> None:
        self.flow: FlowControl | None = flow
        self._pieces: list[bytes] = []
        self._ended = False
        flow.pause_reading()

    @property
    def holds_anything(self) -> bool:
        """Whether something came."""
        return bool(self._pieces)

    def feed_data(self, data: bytes) -> None:
        self._pieces.append(data)

    def feed_eof(self) -> None:
        self._ended = True

    def chunk_ended(self) -> None:
        """HTTP/2 has no chunks."""

    def set_exception(self, exc: BaseException) -> None:
        """The exchange keeps it, and `upgrade` raises it."""

    def pass_on(self, sink: BodySink) -> None:
        """Give everything to `sink`, in order."""
        if self.flow is not None:
            self.flow.resume_reading()
        for piece in self._pieces:
            sink.feed_data(piece)
        if self._ended:
            sink.feed_eof()


class Http2Tunnel(Tunnel):
    """A stream's bytes, raw: DATA frames both ways.  It is the exchange's sink and feeds the
    receiver.
    """

    __slots__ = ("_closing", "_exchange", "_lost", "_paused", "_receiver", "flow")

    def __init__(self, exchange: Http2Exchange, receiver: TunnelReceiver) -> None:
        self._exchange = exchange
        self._receiver = receiver
        self._closing = False
        self._paused = False
        self._lost = False
        self.flow: FlowControl | None = exchange

    @property
    def transport(self) -> asyncio.Transport | None:
        return None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._exchange.send(data)
        self.backlog_changed()

    def pause_reading(self) -> None:
        self._exchange.pause_reading()

    def resume_reading(self) -> None:
        self._exchange.resume_reading()

    def is_closing(self) -> bool:
        exchange = self._exchange
        return self._closing or exchange.ending or exchange.complete or exchange.error is not None

    def close(self) -> None:
        if not self.is_closing():
            # In the next turn: what is being read may hold the peer's end, and servers trip over a
            # frame after it.
            self._closing = True
            self._exchange.connection.loop.call_soon(self._end_stream)

    def _end_stream(self) -> None:
        exchange = self._exchange
        if not (exchange.ending or exchange.complete or exchange.error is not None):
            exchange.end()

    def leave(self) -> None:
        # As browsers do: there are servers (hypercorn 0.18) that have forgotten the stream by now
        # without ending it, and would end the whole connection over one more DATA frame.
        # RST_STREAM harms nobody.
        self._exchange.cancel()

    def abort(self) -> None:
        self._exchange.cancel()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        transport = self._exchange.connection.transport
        return default if transport is None else transport.get_extra_info(name, default)

    @property
    def unsent(self) -> int:
        return self._exchange.backlog_size

    def backlog_changed(self) -> None:
        """Tell the receiver when to stop writing and when to go on."""
        full = self._exchange.backlog_size > TUNNEL_HIGH_WATER
        if full != self._paused and not self._lost:
            self._paused = full
            if full:
                self._receiver.pause_writing()
            else:
                self._receiver.resume_writing()

    # --- the exchange's sink ----------------------------------------------------------------------

    def feed_data(self, data: bytes) -> None:
        self._receiver.data_received(data)

    def feed_eof(self) -> None:
        self._receiver.eof_received()
        self._end(None)

    def chunk_ended(self) -> None:
        """HTTP/2 has no chunks."""

    def set_exception(self, exc: BaseException) -> None:
        self._end(exc)

    def _end(self, exc: BaseException | None) -> None:
        if not self._lost:
            self._lost = True
            self._receiver.connection_lost(exc)
