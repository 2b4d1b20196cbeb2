"""A stream of HTTP/2 (RFC 8441) or HTTP/3 (RFC 9220) as a `Tunnel`, after an extended CONNECT: DATA
frames both ways, nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

from wherry.errors import ClientConnectionResetError
from wherry.protocol.connection import BodySink, Exchange, FlowControl, Tunnel, TunnelReceiver

# A tunnel's writer is told to pause when this much waits for the peer.
TUNNEL_HIGH_WATER = 64 * 1024


class TunnelledExchange(Exchange):
    """What a tunnel sees of its exchange.

    `tunnelled` tells whether the request is an extended CONNECT, `tunnel` is what became of that,
    `ending` tells whether all that is to be sent was handed over, and `backlog_size` bytes of it
    wait for the peer.
    """

    __slots__ = ("backlog_size", "ending", "tunnel", "tunnelled")

    tunnelled: bool
    tunnel: StreamTunnel | None
    ending: bool
    backlog_size: int


def tunnel_of(exchange: TunnelledExchange, receiver: TunnelReceiver) -> StreamTunnel:
    """The tunnel that an exchange has become; what has come already goes first.

    Raises:
        RuntimeError: The server did not agree to it.
        Exception: What ended the exchange before anything came.
    """
    head = exchange.head
    if not exchange.tunnelled or head is None or not 200 <= head.status < 300:
        raise RuntimeError("this exchange did not switch protocols")
    early = exchange.sink
    if exchange.error is not None and not (isinstance(early, EarlySink) and early.holds_anything):
        raise exchange.error
    tunnel = exchange.tunnel = StreamTunnel(exchange, receiver)
    exchange.sink = tunnel
    if isinstance(early, EarlySink):
        early.pass_on(tunnel)
    if exchange.error is not None:
        tunnel.set_exception(exchange.error)  # it had something to say before that
    return tunnel


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
        """No stream has chunks."""

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


class StreamTunnel(Tunnel):
    """A stream's bytes, raw: DATA frames both ways.  It is the exchange's sink and feeds the
    receiver.
    """

    __slots__ = ("_closing", "_exchange", "_lost", "_paused", "_receiver", "flow")

    def __init__(self, exchange: TunnelledExchange, receiver: TunnelReceiver) -> None:
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
        return self._closing or exchange.ending or exchange.state.ended

    def close(self) -> None:
        if not self.is_closing():
            # In the next turn: what is being read may hold the peer's end, and servers trip over a
            # frame after it.
            self._closing = True
            self._exchange.connection.loop.call_soon(self._end_stream)

    def _end_stream(self) -> None:
        exchange = self._exchange
        if not (exchange.ending or exchange.state.ended):
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
        """No stream has chunks."""

    def set_exception(self, exc: BaseException) -> None:
        self._end(exc)

    def _end(self, exc: BaseException | None) -> None:
        if not self._lost:
            self._lost = True
            self._receiver.connection_lost(exc)
