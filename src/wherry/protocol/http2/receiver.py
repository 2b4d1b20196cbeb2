"""The receiving half of an HTTP/2 connection: from bytes to frames, and from frames to exchanges.

`Reader` cuts frames by hand, acts at once on the two that every response is made of, and leaves the
others to `frame_handlers`.  It keeps what must be remembered between reads; it writes by way of
`Sender` and leaves the life and death of streams to `Http2Connection`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import cast

from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.heads import ResponseHead
from wherry.protocol.http2.exchange import Http2Carrier, Http2Exchange
from wherry.protocol.http2.flow_control import FlowOptions, FrameFloodLimit, WindowTuner
from wherry.protocol.http2.frames import (
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER_SIZE,
    HEADERS,
    MAX_STREAM_ID,
    PADDED,
    PRIORITY_FLAG,
    ErrorCode,
    ping,
    unpack_header,
    unpadded,
    window_update,
)
from wherry.protocol.http2.header_reading import FieldReader
from wherry.protocol.http2.sender import Sender
from wherry.protocol.http2.state import ClosedStreams, Control, check_expected
from wherry.protocol.limits import MAX_INTERIM_RESPONSES, Limits
from wherry.protocol.states import CLOSED
from wherry.protocol.stream_tunnel import EarlySink

# A read up to this size is copied whole: slices of bytes are cheaper than those of a view.
_COPY_SIZE = 16 * 1024
_MEASURE = b"wherry-w"
ALIVE = b"wherry-k"
CHECK = b"wherry-c"

# By its stream, its flags and its payload.
FrameAction = Callable[["Reader", int, int, bytes], None]


class StreamKeeper(Http2Carrier):
    """What the receiving half asks of its connection: the life and death of streams."""

    __slots__ = ()

    control: Control
    sender: Sender
    next_id: int

    @abstractmethod
    def settings_applied(self, first: bool) -> None:
        """Follow the server's SETTINGS: they are in force from here on."""

    @abstractmethod
    def give_back(self, last_stream_id: int, reason: str, *, orderly: bool) -> None:
        """GOAWAY: streams after the last one were not and will not be processed (RFC 9113 6.8)."""

    @abstractmethod
    def give_way(self) -> bool:
        """Follow HTTP_1_1_REQUIRED (RFC 9113 7); whether new connections here speak HTTP/1.1."""

    @abstractmethod
    def stream_reset(self, exchange: Http2Exchange, code: int, name: str) -> None:
        """The server has ended one stream by RST_STREAM."""

    @abstractmethod
    def finish(self, exchange: Http2Exchange) -> None:
        """The response is whole: free its stream."""

    @abstractmethod
    def stream_broken(self, stream_id: int, fault: StreamFault) -> None:
        """The peer broke the rules of one stream."""

    @abstractmethod
    def broken(self, fault: ConnectionFault) -> None:
        """The peer broke the rules of the connection."""

    @abstractmethod
    def peer_answered(self) -> bool:
        """The peer answered the PING that followed a request given up in silence; False if there
        was none.
        """


def _ignore(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    """RFC 9113 5.5: frames of unknown types mean nothing; too many of them are a flood."""
    reader.count_no_progress()


class Reader:
    """What comes in on one connection.

    Args:
        connection: Whose streams it feeds.
        actions: What frames other than DATA and HEADERS do, by type.
        limits: What a server may send in a response's head.
        flow: Windows and flood limits.
    """

    __slots__ = (
        "_actions",
        "_connection",
        "_fields",
        "_flood_limit",
        "_flow",
        "_limits",
        "_loop",
        "_rest",
        "_tuner",
        "_wanted",
        "closed",
        "control",
        "sender",
        "streams",
        "window",
    )

    def __init__(
        self,
        connection: StreamKeeper,
        actions: dict[int, FrameAction],
        limits: Limits,
        flow: FlowOptions,
    ) -> None:
        self._connection = connection
        self._actions = actions
        self._loop = connection.loop
        self._flow = flow
        self._limits = limits
        self._fields = FieldReader()
        self._rest = bytearray()  # the beginning of a frame whose end has not come
        self._wanted = 0  # how long it will be
        self._tuner = WindowTuner(flow.initial_window, flow.max_window)
        self._flood_limit = FrameFloodLimit(
            flow.max_noise, flow.noise_period, connection.loop.time()
        )
        self.control: Control = connection.control
        self.sender: Sender = connection.sender
        self.streams: dict[int, Http2Exchange] = connection.streams
        self.closed: ClosedStreams = ClosedStreams()
        self.window: int = DEFAULT_WINDOW  # what the peer may still send on all streams together

    @property
    def connection(self) -> StreamKeeper:
        return self._connection

    def let_go(self) -> None:
        """The connection is over: nothing here holds it, or an exchange of its, any more."""
        self._connection = cast("StreamKeeper", None)
        self._tuner.stop()

    def receive(self, data: memoryview | bytes) -> None:
        connection = self._connection
        if connection is None or connection.state is CLOSED:
            return
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._wanted:
                return
            data = bytes(rest)
            rest.clear()
        elif len(data) <= _COPY_SIZE:
            data = bytes(data)
        try:
            position = self._frames(connection, data)
        except ConnectionFault as fault:
            connection.broken(fault)
        else:
            if position < len(data):
                rest += data[position:]

    def _frames(self, connection: StreamKeeper, data: memoryview | bytes) -> int:
        """Act on the frames that are whole; gives where the one begins that is not."""
        position, size = 0, len(data)
        control = self.control
        while True:
            start = position + FRAME_HEADER_SIZE
            if start > size:
                self._wanted = FRAME_HEADER_SIZE
                return position
            word, flags, stream_id = unpack_header(data, position)
            end = start + (word >> 8)
            kind = word & 0xFF
            stream_id &= MAX_STREAM_ID
            if control.expecting:
                check_expected(control, data, kind, flags, stream_id)
            if end - start > DEFAULT_FRAME_SIZE:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {end - start} bytes")
            if end > size:
                self._wanted = end - position
                return position
            try:
                if kind == DATA:
                    self._data(stream_id, flags, data, start, end)
                elif kind == HEADERS:
                    self._headers(stream_id, flags, bytes(data[start:end]))
                else:
                    action = self._actions.get(kind, _ignore)
                    action(self, stream_id, flags, bytes(data[start:end]))
            except StreamFault as fault:
                connection.stream_broken(stream_id, fault)
            if connection.state is CLOSED:
                return size  # what follows belongs to nobody
            position = end

    def _data(
        self, stream_id: int, flags: int, data: memoryview | bytes, start: int, end: int
    ) -> None:
        size = end - start
        window = self.window = self.window - size
        whole = self._flow.connection_window
        if window < 0:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, f"DATA passes the connection's window by {-window}"
            )
        if window * 2 < whole:
            # Whoever reads slowly holds back its own stream, never the others.
            self.window = whole
            self.sender.write(window_update(0, whole - window))
        payload = bytes(data[start:end])
        if flags & PADDED:
            payload = unpadded(payload, flags, "DATA")
        exchange = self.streams.get(stream_id)
        if exchange is None:
            self.look_up_closed(stream_id, "DATA", size)
            return
        window = exchange.receive_window = exchange.receive_window - size
        if window < 0:
            raise StreamFault(
                ErrorCode.FLOW_CONTROL_ERROR, f"DATA passes the stream's window by {-window}"
            )
        if exchange.head is None:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, "DATA came before the response's header section"
            )
        if payload:
            received = exchange.received = exchange.received + len(payload)
            if received > exchange.expected >= 0:
                raise StreamFault(
                    ErrorCode.PROTOCOL_ERROR, f"the body is longer than {exchange.expected} bytes"
                )
            exchange.sink.feed_data(payload)
        elif not flags & END_STREAM:
            self.count_no_progress()
        if flags & END_STREAM:
            self._connection.finish(exchange)
        elif not exchange.paused and window * 2 <= self._tuner.target:
            self.replenish(exchange)

    def _headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if flags & (PADDED | PRIORITY_FLAG):
            payload = unpadded(payload, flags, "HEADERS")
        if flags & END_HEADERS:
            self.header_block(stream_id, flags, payload)
        else:
            exchange = self.streams.get(stream_id)
            if exchange is None:
                self.look_up_closed(stream_id, "HEADERS", 0)
            limits = self._limits if exchange is None else exchange.limits
            self.control.begin_block(stream_id, flags, payload, limits.max_head_size)

    def header_block(self, stream_id: int, flags: int, block: bytes) -> None:
        """A whole header block: a response's head, an interim response, or trailers (RFC 9113
        8.1).
        """
        exchange = self.streams.get(stream_id)
        if exchange is None:
            self.look_up_closed(stream_id, "HEADERS", 0)
            self._fields.skip(block)
            return
        if exchange.head is not None:
            exchange.trailers = self._fields.trailer_section(block, exchange.limits)
            if not flags & END_STREAM:
                raise StreamFault(
                    ErrorCode.PROTOCOL_ERROR, "a trailer section does not end its stream"
                )
            self._connection.finish(exchange)
            return
        head, length, _ = self._fields.header_section(block, exchange.limits)
        status = head.status
        if status < 200:
            self._interim(exchange, head, flags)
            return
        exchange.expected = 0 if exchange.bodyless or status in {204, 304} else length
        if exchange.tunnelled:
            if 200 <= status < 300:
                exchange.expected = -1
                exchange.sink = EarlySink(exchange)
            else:
                exchange.end()
        exchange.head_arrived(head)
        if flags & END_STREAM:
            self._connection.finish(exchange)
        elif exchange.touched is not None:
            exchange.touched()

    def _interim(self, exchange: Http2Exchange, head: ResponseHead, flags: int) -> None:
        if flags & END_STREAM:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, f"the interim response {head.status} ends its stream"
            )
        exchange.interim += 1
        if exchange.interim > MAX_INTERIM_RESPONSES:
            raise StreamFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"more than {MAX_INTERIM_RESPONSES} interim responses"
            )
        if exchange.informational is not None:
            exchange.informational(head)
        if exchange.touched is not None:
            exchange.touched()

    def count_no_progress(self, cost: int = 1) -> None:
        """Count a frame that brings no request nearer to its end: too many are a flood.

        Args:
            cost: How many small ones it costs as much as.

        Raises:
            ConnectionFault: There were too many of them.
        """
        if self.sender.data_frames:
            self._flood_limit.credit(2 * self.sender.data_frames)
            self.sender.data_frames = 0
        if not self._flood_limit.allows(self._loop.time(), cost):
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"more than {self._flow.max_noise} frames to no purpose in "
                f"{self._flow.noise_period:g} seconds",
            )

    def look_up_closed(self, stream_id: int, name: str, size: int) -> None:
        """A frame on a stream that is not open: return where it may be ignored (RFC 9113 5.1).

        Raises:
            ConnectionFault: It may not.
        """
        self.closed.look_up(stream_id, self._connection.next_id, name, size)
        if not size:
            self.count_no_progress()

    def measured(self, payload: bytes) -> None:
        """A PING of ours was answered: measure with it, or note that the peer lives."""
        stream = self._tuner.measured
        if payload == _MEASURE and isinstance(stream, Http2Exchange):
            self._tuner.finish(stream.received)
        elif payload != ALIVE and not (payload == CHECK and self._connection.peer_answered()):
            self.count_no_progress()

    def replenish(self, exchange: Http2Exchange) -> None:
        """Let the peer send more on a stream whose reader keeps up."""
        tuner = self._tuner
        window = exchange.receive_window
        if window * 2 > tuner.target or exchange.stream_id not in self.streams:
            return
        exchange.receive_window = tuner.target
        self.sender.write(window_update(exchange.stream_id, tuner.target - window))
        if tuner.begin(exchange, exchange.received):
            self.sender.write(ping(_MEASURE))
