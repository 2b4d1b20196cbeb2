"""The receiving half of an HTTP/3 connection: from streams' bytes to frames, and from frames to
exchanges (RFC 9114 4.1, 6.2, 7.2).

`Receiver` keeps what must be remembered between reads, and leaves the life and death of streams to
`Http3Connection`.
"""

from __future__ import annotations

from abc import abstractmethod

from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.http2.flow_control import FrameFloodLimit
from wherry.protocol.http3.exchange import Http3Carrier, Http3Exchange
from wherry.protocol.http3.frames import (
    CANCEL_PUSH,
    CONTROL_STREAM,
    DATA,
    DECODER_STREAM,
    ENCODER_STREAM,
    GOAWAY,
    HEADERS,
    KNOWN_TYPES,
    PUSH_PROMISE,
    PUSH_STREAM,
    SETTINGS,
    ErrorCode,
    FrameReader,
    FrameTooLarge,
    Setting,
    read_id,
    read_settings,
    read_varint,
)
from wherry.protocol.http3.headers import FieldReader
from wherry.protocol.http3.qpack import DecoderStream, EncoderStream, QpackStreamError
from wherry.protocol.limits import MAX_INTERIM_RESPONSES
from wherry.protocol.stream_tunnel import EarlySink

# A frame on the control stream at most, in bytes: no honest SETTINGS is longer.
_MAX_CONTROL_FRAME = 16 * 1024
# Frames that move no request on, in so many seconds at most.
_MAX_NOISE, _NOISE_PERIOD = 1000, 10.0
# What the server's unidirectional streams may be, and how often: once each.
_CRITICAL = {CONTROL_STREAM: "control", ENCODER_STREAM: "encoder", DECODER_STREAM: "decoder"}
_UNKNOWN = -1


class StreamKeeper(Http3Carrier):
    """What the receiving half asks of its connection: the life and death of streams."""

    __slots__ = ()

    @abstractmethod
    def finish(self, exchange: Http3Exchange) -> None:
        """The response is whole: free its stream."""

    @abstractmethod
    def stream_broken(self, exchange: Http3Exchange, fault: StreamFault) -> None:
        """The server broke the rules of one stream."""

    @abstractmethod
    def going_away(self, first_unprocessed: int) -> None:
        """GOAWAY: this request stream and those after it will not be processed (RFC 9114 5.2)."""

    @abstractmethod
    def settings_arrived(self) -> None:
        """The server's SETTINGS are here: tunnels may have waited for them."""

    @abstractmethod
    def hold_back(self, exchange: Http3Exchange) -> None:
        """A paused reader has as much as it may get."""

    @abstractmethod
    def stop_sending(self, stream_id: int, code: ErrorCode) -> None:
        """Nobody reads a stream of the server's."""


class _ServerStream:
    """A unidirectional stream of the server's: what it is, once that is known."""

    __slots__ = ("kind", "start")

    def __init__(self) -> None:
        self.kind: int | None = None
        self.start = b""


class Receiver:
    """What comes in on one connection.

    Args:
        connection: Whose streams it feeds.
        window: How many bytes a stream may get whose reader has paused.
    """

    __slots__ = (
        "_connection",
        "_control",
        "_decoder_stream",
        "_encoder_stream",
        "_flood_limit",
        "_sections",
        "_server_streams",
        "_taken",
        "_window",
        "goaway",
        "settings",
        "streams",
    )

    def __init__(self, connection: StreamKeeper, window: int) -> None:
        self._connection = connection
        self._window = window
        self._sections = FieldReader()
        self._control = FrameReader()
        self._encoder_stream = EncoderStream()
        self._decoder_stream = DecoderStream()
        self._server_streams: dict[int, _ServerStream] = {}
        self._taken: set[int] = set()  # types of critical streams that the server has opened
        self._flood_limit = FrameFloodLimit(_MAX_NOISE, _NOISE_PERIOD, connection.loop.time())
        self.streams: dict[int, Http3Exchange] = connection.streams
        #: The server's SETTINGS, once they are here.
        self.settings: dict[int, int] | None = None
        #: What the server's last GOAWAY named.
        self.goaway: int | None = None

    @property
    def offers_tunnels(self) -> bool:
        """Whether the server takes extended CONNECT (RFC 9220 3)."""
        settings = self.settings
        return settings is not None and settings.get(Setting.ENABLE_CONNECT_PROTOCOL) == 1

    # --- request streams --------------------------------------------------------------------------

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        """What came on a stream.

        Raises:
            ConnectionFault: The server broke the rules of the connection.
        """
        exchange = self.streams.get(stream_id)
        if exchange is None:
            if stream_id & 3 == 3:
                self._server_stream(stream_id, data, fin)
            elif stream_id & 1:
                raise ConnectionFault(
                    ErrorCode.STREAM_CREATION_ERROR, "the server opened a bidirectional stream"
                )
            return  # what was under way on a stream that we gave up
        if exchange.touched is not None:
            exchange.touched()
        try:
            if not (fin and exchange.frames is None and self._whole_response(exchange, data)):
                self._response_data(exchange, data, fin)
        except FrameTooLarge as exc:
            fault = StreamFault(ErrorCode.EXCESSIVE_LOAD, f"the response has {exc}")
            self._connection.stream_broken(exchange, fault)
        except StreamFault as fault:
            self._connection.stream_broken(exchange, fault)

    def _whole_response(self, exchange: Http3Exchange, data: bytes) -> bool:
        """Take a response that has come at once: HEADERS, then DATA or nothing.  Whether it was one
        of these, and right; whatever else it is goes the way of pieces, which says what is wrong.
        """
        size = len(data)
        try:
            length = data[1]
            if length < 64:
                start = 2
            elif length < 128:  # as `read_varint` does it, which would be a call more
                length, start = (length & 0x3F) << 8 | data[2], 3
            else:
                length, start = read_varint(data, 1)
            end = body = start + length
            if data[0] != HEADERS or length > exchange.limits.max_head_size or exchange.tunnelled:
                return False
            if end != size:
                length, body = data[end + 1], end + 2
                if length >= 64:
                    length, body = read_varint(data, end + 1)
                if data[end] != DATA or not length or body + length != size:
                    return False
        except IndexError:
            return False
        head, expected, _ = self._sections.header_section(data[start:end], exchange.limits)
        status = head.status
        if exchange.bodyless or status in {204, 304}:
            expected = 0
        received = size - body
        if status < 200 or received != expected >= 0:
            return False
        exchange.received, exchange.expected = received, expected
        exchange.head_arrived(head)
        if received and exchange.error is None:
            exchange.sink.feed_data(data[body:])
        if exchange.error is None:
            self._connection.finish(exchange)
        return True

    def _response_data(self, exchange: Http3Exchange, data: bytes, fin: bool) -> None:
        frames = exchange.frames
        if frames is None:
            frames = exchange.frames = FrameReader()
        for kind, payload in frames.receive(data, exchange.limits.max_head_size):
            if kind == DATA:
                self._data(exchange, payload)
            elif kind == HEADERS:
                self._headers(exchange, payload)
            else:
                self._other(kind)
            if exchange.error is not None:
                return  # somebody who was told gave it up
        if fin:
            self._response_end(exchange, frames)

    def _data(self, exchange: Http3Exchange, payload: bytes) -> None:
        if exchange.head is None or exchange.trailers_seen:
            where = "before the response's" if exchange.head is None else "after the"
            what = "header section" if exchange.head is None else "trailer section"
            raise ConnectionFault(ErrorCode.FRAME_UNEXPECTED, f"DATA came {where} {what}")
        if not payload:
            self._count_no_progress()
            return
        received = exchange.received = exchange.received + len(payload)
        if received > exchange.expected >= 0:
            raise StreamFault(
                ErrorCode.MESSAGE_ERROR, f"the body is longer than {exchange.expected} bytes"
            )
        exchange.sink.feed_data(payload)
        if exchange.paused:
            exchange.withheld += len(payload)
            if exchange.withheld >= self._window:
                self._connection.hold_back(exchange)

    def _headers(self, exchange: Http3Exchange, block: bytes) -> None:
        if exchange.trailers_seen or exchange.is_tunnel:
            # RFC 9114 4.1, 4.4.
            before = "trailer section" if exchange.trailers_seen else "beginning of a tunnel"
            raise ConnectionFault(ErrorCode.FRAME_UNEXPECTED, f"HEADERS came after the {before}")
        if exchange.head is not None:
            exchange.trailers = self._sections.trailer_section(block, exchange.limits)
            exchange.trailers_seen = True
            return
        head, length, _ = self._sections.header_section(block, exchange.limits)
        status = head.status
        if status >= 200:
            exchange.expected = 0 if exchange.bodyless or status in {204, 304} else length
            if exchange.tunnelled:
                self._tunnel_answered(exchange, status)
            exchange.head_arrived(head)
            return
        exchange.interim += 1
        if exchange.interim > MAX_INTERIM_RESPONSES:
            raise StreamFault(
                ErrorCode.EXCESSIVE_LOAD, f"more than {MAX_INTERIM_RESPONSES} interim responses"
            )
        if exchange.informational is not None:
            exchange.informational(head)

    @staticmethod
    def _tunnel_answered(exchange: Http3Exchange, status: int) -> None:
        if 200 <= status < 300:
            exchange.expected = -1  # RFC 9110 9.3.6: a length means nothing here
            exchange.sink = EarlySink(exchange)
        else:
            exchange.end()

    def _other(self, kind: int) -> None:
        if kind not in KNOWN_TYPES:
            self._count_no_progress()  # RFC 9114 9: unknown types are ignored
        elif kind == PUSH_PROMISE:
            # RFC 9114 7.2.5: we never said that it may push.
            raise ConnectionFault(ErrorCode.ID_ERROR, "the server pushes without being allowed to")
        else:
            raise ConnectionFault(
                ErrorCode.FRAME_UNEXPECTED, f"a frame of type {kind:#x} on a request stream"
            )

    def _response_end(self, exchange: Http3Exchange, frames: FrameReader) -> None:
        if frames.is_inside:
            # RFC 9114 7.1.
            raise ConnectionFault(ErrorCode.FRAME_ERROR, "a stream ends inside a frame")
        if exchange.head is None:
            raise StreamFault(
                ErrorCode.MESSAGE_ERROR, "the server ended the stream without a response"
            )
        # RFC 9114 4.1.2.  A response to HEAD, a 204 and a 304 may name a length and have no body.
        if exchange.received < exchange.expected:
            raise StreamFault(
                ErrorCode.MESSAGE_ERROR, f"the body is shorter than {exchange.expected} bytes"
            )
        self._connection.finish(exchange)

    def _count_no_progress(self) -> None:
        if not self._flood_limit.allows(self._connection.loop.time()):
            raise ConnectionFault(
                ErrorCode.EXCESSIVE_LOAD,
                f"more than {_MAX_NOISE} frames to no purpose in {_NOISE_PERIOD:g} seconds",
            )

    # --- the server's own streams -----------------------------------------------------------------

    def _server_stream(self, stream_id: int, data: bytes, fin: bool) -> None:
        stream = self._server_streams.get(stream_id)
        if stream is None:
            stream = self._server_streams[stream_id] = _ServerStream()
        if stream.kind is None:
            stream.start += data
            try:
                kind, position = read_varint(stream.start, 0)
            except IndexError:
                if fin:  # RFC 9114 6.2: it may end before its type is whole
                    del self._server_streams[stream_id]
                return
            data, stream.start = stream.start[position:], b""
            self._begin(stream, stream_id, kind)
        self._critical_data(stream.kind, data)
        if fin:
            self.server_stream_ended(stream_id)

    def _begin(self, stream: _ServerStream, stream_id: int, kind: int) -> None:
        if kind == PUSH_STREAM:
            raise ConnectionFault(ErrorCode.ID_ERROR, "the server pushes without being allowed to")
        if kind not in _CRITICAL:
            # RFC 9114 6.2: unknown types are not read.
            stream.kind = _UNKNOWN
            self._count_no_progress()
            self._connection.stop_sending(stream_id, ErrorCode.STREAM_CREATION_ERROR)
            return
        if kind in self._taken:
            raise ConnectionFault(
                ErrorCode.STREAM_CREATION_ERROR, f"a second {_CRITICAL[kind]} stream"
            )
        self._taken.add(kind)
        stream.kind = kind

    def _critical_data(self, kind: int | None, data: bytes) -> None:
        try:
            if kind == CONTROL_STREAM:
                for frame_kind, payload in self._control.receive(data, _MAX_CONTROL_FRAME):
                    self._control_frame(frame_kind, payload)
            elif kind == ENCODER_STREAM:
                self._encoder_stream.receive(data)
            elif kind == DECODER_STREAM:
                self._decoder_stream.receive(data)
        except FrameTooLarge as exc:
            raise ConnectionFault(ErrorCode.EXCESSIVE_LOAD, f"{exc} on the control stream") from exc
        except QpackStreamError as exc:
            code = (
                ErrorCode.QPACK_ENCODER_STREAM_ERROR
                if kind == ENCODER_STREAM
                else ErrorCode.QPACK_DECODER_STREAM_ERROR
            )
            raise ConnectionFault(code, str(exc)) from exc

    def server_stream_ended(self, stream_id: int) -> None:
        """A stream of the server's was ended or reset.

        Raises:
            ConnectionFault: It was one that must not end (RFC 9114 6.2.1, RFC 9204 4.2).
        """
        stream = self._server_streams.pop(stream_id, None)
        if stream is not None and stream.kind in _CRITICAL:
            raise ConnectionFault(
                ErrorCode.CLOSED_CRITICAL_STREAM,
                f"the server ended its {_CRITICAL[stream.kind]} stream",
            )

    def _control_frame(self, kind: int, payload: bytes) -> None:
        if self.settings is None:
            if kind != SETTINGS:
                raise ConnectionFault(
                    ErrorCode.MISSING_SETTINGS, "the control stream does not begin with SETTINGS"
                )
            self.settings = read_settings(payload)
            self._connection.settings_arrived()
        elif kind not in KNOWN_TYPES:
            self._count_no_progress()
        elif kind == GOAWAY:
            self._goaway(read_id(payload, "GOAWAY"))
        elif kind == CANCEL_PUSH:
            read_id(payload, "CANCEL_PUSH")
            # RFC 9114 7.2.3: there is no push that it could mean.
            raise ConnectionFault(ErrorCode.ID_ERROR, "CANCEL_PUSH of a push that never was")
        else:
            raise ConnectionFault(
                ErrorCode.FRAME_UNEXPECTED, f"a frame of type {kind:#x} on the control stream"
            )

    def _goaway(self, stream_id: int) -> None:
        if stream_id & 3:
            raise ConnectionFault(ErrorCode.ID_ERROR, f"GOAWAY names stream {stream_id}")
        if self.goaway is not None and stream_id > self.goaway:
            raise ConnectionFault(
                ErrorCode.ID_ERROR, f"GOAWAY names stream {stream_id} after {self.goaway}"
            )
        self.goaway = stream_id
        self._connection.going_away(stream_id)
