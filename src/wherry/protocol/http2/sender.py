"""The sending half of an HTTP/2 connection: header blocks, bodies within the peer's windows, one
write a turn.

`Sender` collects what a turn of the loop has to say and hands it to the transport in one piece.  A
body that the windows do not let out waits in its exchange; those that wait take turns.  Reads
nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque

from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.heads import RequestHead
from wherry.protocol.http2.exchange import Http2Exchange
from wherry.protocol.http2.flow_control import widen
from wherry.protocol.http2.frames import (
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    ErrorCode,
    headers_frames,
    pack_header,
)
from wherry.protocol.http2.hpack import HeaderEncoder, lower_fields
from wherry.protocol.multiplexing import origin_form

# What is collected before it is written without waiting for the turn's end.
FLUSH_SIZE = 64 * 1024
# What one exchange may send before the next that waits has its turn.
QUANTUM = 64 * 1024


class Sender:
    """Writes frames: heads at once, bodies as far as the windows let them.

    Args:
        loop: The event loop.
    """

    __slots__ = (
        "_loop",
        "_out",
        "_scheduled",
        "_size",
        "_stalled",
        "data_frames",
        "encoder",
        "frame_size",
        "initial_window",
        "paused",
        "transport",
        "window",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.encoder: HeaderEncoder = HeaderEncoder()
        self.frame_size: int = DEFAULT_FRAME_SIZE  # what the peer takes
        self.window: int = DEFAULT_WINDOW  # of the connection
        self.initial_window: int = DEFAULT_WINDOW  # of a new stream
        self.paused: bool = False  # the transport's buffer is full
        self.data_frames: int = 0  # sent, and not yet credited to the peer's flood limit
        self._out: list[bytes | memoryview] = []
        self._size = 0
        self._scheduled = False
        # Exchanges that wait for the connection's window or the transport, in the order of their
        # turns.
        self._stalled: dict[Http2Exchange, None] = {}

    # --- the turn's output ------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data` with whatever else this turn has to send."""
        self._out.append(data)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand everything to the transport now."""
        self._scheduled = False
        out = self._out
        transport = self.transport
        if not out or transport is None:
            return
        self._out = []
        self._size = 0
        if not transport.is_closing():
            transport.write(out[0] if len(out) == 1 else b"".join(out))

    # --- requests ---------------------------------------------------------------------------------

    def open(self, exchange: Http2Exchange, head: RequestHead) -> None:
        """Send a request's head, and its body when it is at hand."""
        exchange.send_window = self.initial_window
        body = head.body
        encoder = self.encoder
        encoded = head.encoded_http2
        if encoded is not None and encoded[0] is encoder.era:
            block = encoded[1]
        elif exchange.tunnelled:
            block = self._connect_block(head)
        else:
            block = self._request_block(head)
            if encoder.repeatable:
                head.encoded_http2 = (encoder.era, block)
        exchange.sent = True
        flags = END_HEADERS
        if not body and not head.streamed and not exchange.tunnelled:
            flags |= END_STREAM
            exchange.ending = exchange.request_ended = True
        size = len(block)
        if size <= self.frame_size:
            self.write(pack_header(size << 8 | HEADERS, flags, exchange.stream_id) + block)
        else:
            self.write(
                headers_frames(exchange.stream_id, block, flags & END_STREAM, self.frame_size)
            )
        if body:
            exchange.ending = not head.streamed
            self.send_body(exchange, memoryview(body))

    def _request_block(self, head: RequestHead) -> bytes:
        fields = head.fields
        if head.content_length is not None:
            fields = (*fields, ("content-length", str(head.content_length)))
        if head.expect_continue:
            fields = (*fields, ("expect", "100-continue"))
        target = head.target
        if head.method == "CONNECT":  # RFC 9113 8.5
            pseudo = ((":method", "CONNECT"), (":authority", target))
            return self.encoder.encode_fields(lower_fields((*pseudo, *head.shared.pairs, *fields)))
        if target[:1] != "/":
            target = origin_form(target)
        return self.encoder.encode(
            head.method, head.scheme, head.authority, target, head.shared, fields
        )

    def _connect_block(self, head: RequestHead) -> bytes:
        """RFC 8441 4 and 5: CONNECT with :protocol, and without the key that only HTTP/1.1 has."""
        assert head.upgrade is not None
        pairs = [
            pair
            for pair in (*head.shared.pairs, *head.fields)
            if pair[0].lower() != "sec-websocket-key"
        ]
        pseudo = (
            (":method", "CONNECT"),
            (":protocol", head.upgrade),
            (":scheme", head.scheme),
            (":authority", head.authority),
            (":path", head.target),
        )
        return self.encoder.encode_fields(lower_fields((*pseudo, *pairs)))

    def send_body(self, exchange: Http2Exchange, data: memoryview | None) -> None:
        """Send a piece of a body, or its end, as far as the windows allow; the rest waits."""
        if data is not None:
            if exchange.backlog is None:
                exchange.backlog = deque()
            exchange.backlog.append(data)
            exchange.backlog_size += len(data)
        if not exchange.request_ended and exchange.stream_id:
            self._advance(exchange, None)

    def _advance(self, exchange: Http2Exchange, quantum: int | None) -> None:
        """Send what one exchange has and may; None leaves it waiting for one of its windows or its
        next turn.
        """
        backlog = exchange.backlog
        stream_id = exchange.stream_id
        while backlog:
            room = min(exchange.send_window, self.window)
            if self.paused or room <= 0 or (quantum is not None and quantum <= 0):
                if exchange.send_window > 0:
                    self._stalled[exchange] = None
                return
            piece = backlog[0]
            size = min(len(piece), room, self.frame_size)
            if size == len(piece):
                backlog.popleft()
            else:
                backlog[0] = piece[size:]
                piece = piece[:size]
            last = exchange.ending and not backlog and not exchange.trailers_to_send
            if last:
                exchange.request_ended = True
            exchange.backlog_size -= size
            exchange.send_window -= size
            self.window -= size
            self.data_frames += 1
            if quantum is not None:
                quantum -= size
            self.write(pack_header(size << 8 | DATA, END_STREAM if last else 0, stream_id))
            self._out.append(piece)
            self._size += size
            if self._size >= FLUSH_SIZE:
                self.flush()
        if exchange.ending and not exchange.request_ended:
            exchange.request_ended = True
            if exchange.trailers_to_send:
                block = self.encoder.encode_fields(lower_fields(exchange.trailers_to_send))
                self.write(headers_frames(stream_id, block, END_STREAM, self.frame_size))
            else:
                self.write(pack_header(DATA, END_STREAM, stream_id))
        if not self.paused:
            exchange.wake_writers()

    def _advance_stalled(self) -> None:
        stalled = self._stalled
        while stalled and not self.paused and self.window > 0:
            exchange = next(iter(stalled))
            del stalled[exchange]
            self._advance(exchange, QUANTUM if stalled else None)

    def forget(self, exchange: Http2Exchange) -> None:
        """Drop what an exchange that is over had still to send."""
        self._stalled.pop(exchange, None)

    # --- what the peer and the transport allow ----------------------------------------------------

    def widen_connection(self, increment: int) -> None:
        """WINDOW_UPDATE on stream 0.

        Raises:
            ConnectionFault: The window passes its maximum.
        """
        window = widen(self.window, increment)
        if window is None:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR,
                f"WINDOW_UPDATE takes the connection's window past 2**31-1 by {increment}",
            )
        self.window = window
        self._advance_stalled()

    def widen_stream(self, exchange: Http2Exchange, increment: int) -> None:
        """WINDOW_UPDATE on a stream.

        Raises:
            StreamFault: The window passes its maximum.
        """
        window = widen(exchange.send_window, increment)
        if window is None:
            raise StreamFault(
                ErrorCode.FLOW_CONTROL_ERROR,
                f"WINDOW_UPDATE takes the stream's window past 2**31-1 by {increment}",
            )
        exchange.send_window = window
        if exchange.backlog:
            self._advance(exchange, None if not self._stalled else QUANTUM)

    def resize_windows(self, initial: int, exchanges: list[Http2Exchange]) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE: every stream's window moves by the difference (RFC 9113
        6.9.2).

        Raises:
            ConnectionFault: A window passes its maximum.
        """
        difference = initial - self.initial_window
        self.initial_window = initial
        for exchange in exchanges:
            window = widen(exchange.send_window, difference)
            if window is None:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR,
                    f"SETTINGS_INITIAL_WINDOW_SIZE {initial} is too much for a stream",
                )
            exchange.send_window = window
        for exchange in exchanges:
            if exchange.backlog:
                self._advance(exchange, None)

    def resume(self) -> None:
        """Go on with bodies that waited: the transport takes more."""
        self.paused = False
        self._advance_stalled()
