"""The sending half of an HTTP/3 connection: heads, bodies as the engine takes them, and the control
stream.

The engine copies what it is given, so it is given little ahead of what it can send; the rest of a
body waits in its exchange, and whoever waits takes turns.  Reads nothing.
"""

from __future__ import annotations

from collections import deque

from wherry.protocol.heads import RequestHead
from wherry.protocol.http3.exchange import Http3Exchange
from wherry.protocol.http3.frames import (
    CONTROL_STREAM,
    DATA,
    DECODER_STREAM,
    ENCODER_STREAM,
    PRIORITY_UPDATE,
    Setting,
    frame,
    settings_frame,
    varint,
)
from wherry.protocol.http3.headers import connect_frame, request_frame, trailers_frame
from wherry.protocol.http3.quic_engine import QuicEngine

# What the engine may hold of one stream before the next piece waits, in bytes.
HIGH_WATER = 256 * 1024
# What goes out as one DATA frame, and in one turn of a stream, in bytes.
PIECE = 64 * 1024
# The numbers of our three unidirectional streams (RFC 9000 2.1).
_CONTROL, _ENCODER, _DECODER = 2, 6, 10


class Sender:
    """What goes out on one connection.

    Args:
        engine: Its QUIC.
    """

    __slots__ = ("_engine", "waiting")

    def __init__(self, engine: QuicEngine) -> None:
        self._engine = engine
        # Exchanges whose bodies wait until the engine has sent more, in the order of their turns.
        self.waiting: dict[Http3Exchange, None] = {}

    def open_control_streams(self, max_section_size: int) -> None:
        """RFC 9114 6.2.1 and RFC 9204 4.2: the control stream with SETTINGS, and QPACK's two."""
        settings = {
            Setting.QPACK_MAX_TABLE_CAPACITY: 0,
            Setting.MAX_FIELD_SECTION_SIZE: max_section_size,
            Setting.QPACK_BLOCKED_STREAMS: 0,
        }
        send = self._engine.send
        send(_CONTROL, varint(CONTROL_STREAM) + settings_frame(settings), False)
        send(_ENCODER, varint(ENCODER_STREAM), False)
        send(_DECODER, varint(DECODER_STREAM), False)

    def update_priority(self, exchange: Http3Exchange, priority: bytes) -> None:
        """RFC 9218 7.2: on the control stream, the stream that is meant and the Priority field."""
        update = frame(PRIORITY_UPDATE, varint(exchange.stream_id) + priority)
        self._engine.send(_CONTROL, update, False)

    def open(self, exchange: Http3Exchange, head: RequestHead) -> None:
        """Send a request's head, and its body when it is at hand."""
        data = connect_frame(head) if exchange.tunnelled else request_frame(head)
        body = head.body
        rest = b""
        if body:
            if len(body) <= PIECE:
                data = b"".join((data, varint(DATA), varint(len(body)), body))
            else:
                rest = body
        exchange.sent = True
        fin = not rest and not head.streamed and not exchange.tunnelled
        if fin:
            exchange.ending = exchange.request_ended = True
        self._engine.send(exchange.stream_id, data, fin)
        if rest:
            exchange.ending = not head.streamed
            self.send_body(exchange, memoryview(rest))
        elif exchange.backlog or (exchange.ending and not fin):
            self._advance(exchange, HIGH_WATER)  # its body came while it waited for its stream

    def send_body(self, exchange: Http3Exchange, data: memoryview | None) -> None:
        """Send a piece of a body, or its end, as far as the engine takes it; the rest waits."""
        if exchange.request_ended:
            return
        if data is not None:
            if exchange.backlog is None:
                exchange.backlog = deque()
            exchange.backlog.append(data)
            exchange.backlog_size += len(data)
        if exchange not in self.waiting and exchange.stream_id >= 0:
            self._advance(exchange, HIGH_WATER)

    def _advance(self, exchange: Http3Exchange, quantum: int) -> None:
        engine, stream_id, backlog = self._engine, exchange.stream_id, exchange.backlog
        while backlog:
            if quantum <= 0 or engine.unsent(stream_id) >= HIGH_WATER:
                self.waiting[exchange] = None
                return
            piece = backlog[0]
            if len(piece) > PIECE:
                backlog[0] = piece[PIECE:]
                piece = piece[:PIECE]
            else:
                backlog.popleft()
            size = len(piece)
            quantum -= size
            exchange.backlog_size -= size
            last = exchange.ending and not backlog and not exchange.trailers_to_send
            exchange.request_ended = last
            if not engine.send(stream_id, b"".join((varint(DATA), varint(size), piece)), last):
                self.stop(exchange)
                return
        if exchange.ending and not exchange.request_ended:
            exchange.request_ended = True
            trailers = exchange.trailers_to_send
            engine.send(stream_id, trailers_frame(trailers) if trailers else b"", True)
        exchange.wake_writers()

    def advance_waiting(self) -> bool:
        """Datagrams went out: give the engine more of what waits; whether it was given any."""
        waiting = self.waiting
        engine = self._engine
        moved = False
        for exchange in tuple(waiting):
            if engine.unsent(exchange.stream_id) < HIGH_WATER:
                del waiting[exchange]
                self._advance(exchange, PIECE)
                moved = True
        return moved

    def stop(self, exchange: Http3Exchange) -> None:
        """The server wants no more of the request's body (RFC 9000 3.5); its response may go on."""
        exchange.request_ended = True
        self.waiting.pop(exchange, None)
        exchange.drop_backlog()

    def forget(self, exchange: Http3Exchange) -> None:
        """The exchange is over: it sends nothing more."""
        self.waiting.pop(exchange, None)
