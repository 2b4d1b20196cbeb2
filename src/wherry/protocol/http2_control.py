"""The frames that steer an HTTP/2 connection, and what they leave behind: SETTINGS, GOAWAY, windows, resets.

`Control` is the state, `FRAME_ACTIONS` says what each type of frame does to a connection.  A busy connection seldom
comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from wherry.protocol.http2_frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
    code_name,
    ping,
    read_goaway,
    read_settings,
    read_word,
)

if TYPE_CHECKING:
    from wherry.protocol.http2_reading import Reader

# What `Control.expecting` may be besides 0.
FIRST_SETTINGS: Final = 1
MORE_OF_A_BLOCK: Final = 2
# How many reset streams are remembered.
_RESET_MEMORY = 1000
# A server that says nothing of its limit has none; numbers stay small enough to reckon with.
_MOST_STREAMS = 2**31 - 1


class Control:
    """What a server's frames said of the connection as a whole.

    Args:
        max_streams: Streams at a time, until the server says how many.
        max_block_size: A header block at most, in bytes, over however many frames.
    """

    __slots__ = (
        "_block",
        "_block_flags",
        "_block_stream",
        "_continuations",
        "connect_protocol",
        "draining",
        "ended",
        "expecting",
        "goaway",
        "last_stream_id",
        "max_block_size",
        "max_streams",
        "settings_seen",
    )

    def __init__(self, max_streams: int, max_block_size: int) -> None:
        self.max_streams = max_streams
        self.max_block_size = max_block_size
        self.expecting = FIRST_SETTINGS  # RFC 9113 3.4
        self.settings_seen = False
        self.connect_protocol = False
        self.draining = False  # no new streams
        self.ended = False  # nothing that comes is looked at
        self.goaway = ""  # what the server said
        self.last_stream_id = 2**31 - 1
        self._block = bytearray()
        self._block_stream = 0
        self._block_flags = 0
        self._continuations = 0

    def begin_block(self, stream_id: int, flags: int, payload: bytes) -> None:
        """HEADERS without END_HEADERS: only CONTINUATION may follow (RFC 9113 6.10)."""
        self.expecting = MORE_OF_A_BLOCK
        self._block_stream = stream_id
        self._block_flags = flags
        self._continuations = 0
        self._block += payload

    def continue_block(self, payload: bytes, flags: int) -> tuple[int, bytes] | None:
        """CONTINUATION: the flags and bytes of the whole block with the last one.

        Raises:
            ConnectionFault: The block, or the number of its frames, grows past all reason.
        """
        self._block += payload
        self._continuations += 1
        # An honest block fills its frames: what its size needs, and a few for good measure.
        if len(self._block) > self.max_block_size or self._continuations > 8 + len(self._block) // 1024:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"a header block of {len(self._block)} bytes in {self._continuations} CONTINUATION frames",
            )
        if not flags & END_HEADERS:
            return None
        block = bytes(self._block)
        self._block.clear()
        self.expecting = 0
        return self._block_flags, block

    @property
    def block_stream(self) -> int:
        return self._block_stream


class ClosedStreams:
    """Which streams we reset, for what the peer sent before it knew (RFC 9113 5.1, "closed")."""

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        self._windows: dict[int, int] = {}

    def remember(self, stream_id: int, window: int) -> None:
        """A stream is reset, and `window` bytes of DATA may still come on it."""
        if len(self._windows) >= _RESET_MEMORY:
            del self._windows[next(iter(self._windows))]
        self._windows[stream_id] = window

    def look_up(self, stream_id: int, next_id: int, name: str, size: int) -> None:
        """A frame comes on a stream that is not open.

        Raises:
            ConnectionFault: It cannot be ignored.
        """
        if not stream_id & 1 or stream_id >= next_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{name} on stream {stream_id}, which nobody opened")
        window = self._windows.get(stream_id)
        if window is None:
            if name in {"DATA", "HEADERS"}:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"{name} on stream {stream_id}, which has ended")
        elif size > window:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"DATA passes the window of stream {stream_id}")
        else:
            self._windows[stream_id] = window - size


def check_expected(control: Control, data: memoryview | bytes, kind: int, flags: int, stream_id: int) -> None:
    """A frame comes where only one type may.

    Raises:
        ConnectionFault: It is another.
    """
    if control.expecting == FIRST_SETTINGS:
        if kind == SETTINGS and not flags & ACK:
            return
        if bytes(data[:5]) == b"HTTP/":
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"the server speaks HTTP/1: {bytes(data[:64])!r}")
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR, f"the server does not begin with SETTINGS: {bytes(data[:32])!r}"
        )
    if kind != CONTINUATION or stream_id != control.block_stream:
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR,
            f"a frame of type {kind} on stream {stream_id} inside the header block of stream {control.block_stream}",
        )


def _on_settings(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
    if flags & ACK:
        if payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS with ACK and a payload")
        reader.bear()
        return
    control, sender = reader.control, reader.sender
    first = not control.settings_seen
    if first:
        # RFC 9113 6.5.2: without a limit there is none.
        control.max_streams = _MOST_STREAMS
    else:
        reader.bear()
    for key, value in read_settings(payload):
        if key == Setting.HEADER_TABLE_SIZE:
            sender.encoder.resize(value)
        elif key == Setting.MAX_CONCURRENT_STREAMS:
            control.max_streams = min(value, _MOST_STREAMS)
        elif key == Setting.INITIAL_WINDOW_SIZE:
            sender.resize_windows(value, list(reader.streams.values()))
        elif key == Setting.MAX_FRAME_SIZE:
            sender.frame_size = value
        elif key == Setting.ENABLE_CONNECT_PROTOCOL:
            if control.connect_protocol and not value:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_ENABLE_CONNECT_PROTOCOL is taken back")
            control.connect_protocol = bool(value)
    sender.write(SETTINGS_ACK)
    control.settings_seen = True
    if control.expecting:
        control.expecting = 0
    reader.connection.settings_applied(first)


def _on_ping(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"PING on stream {stream_id}")
    if len(payload) != 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
    if flags & ACK:
        reader.measured(payload)
        return
    reader.bear()
    reader.sender.write(ping(payload, ACK))


def _on_goaway(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"GOAWAY on stream {stream_id}")
    last, code, debug = read_goaway(payload)
    control = reader.control
    if last > control.last_stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"GOAWAY raises its last stream to {last}")
    reader.bear()
    control.last_stream_id = last
    control.draining = True
    control.goaway = f"GOAWAY {code_name(code)}"
    if debug:
        control.goaway += f" {debug[:100]!r}"
    if code == ErrorCode.HTTP_1_1_REQUIRED:
        reader.connection.give_way()
    reader.connection.give_back(last, control.goaway)


def _on_window_update(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    increment = read_word(payload, "WINDOW_UPDATE") & 0x7FFFFFFF
    if not stream_id:
        if not increment:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        reader.bear()
        reader.sender.widen_connection(increment)
        return
    exchange = reader.streams.get(stream_id)
    if exchange is None:
        reader.look_up_closed(stream_id, "WINDOW_UPDATE", 0)
        return
    if not increment:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
    reader.bear()
    reader.sender.widen_stream(exchange, increment)


def _on_rst_stream(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    code = read_word(payload, "RST_STREAM")
    exchange = reader.streams.get(stream_id)
    if exchange is None:
        reader.look_up_closed(stream_id, "RST_STREAM", 0)
        return
    reader.bear()
    reader.connection.stream_reset(exchange, code, code_name(code))


def _on_priority(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    """RFC 9113 5.3.2: nothing but its form counts."""
    if not stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
    reader.bear()
    if len(payload) != 5:
        raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")


def _on_push_promise(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, and SETTINGS_ENABLE_PUSH is 0")  # RFC 9113 6.6


def _on_continuation(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    control = reader.control
    if not control.expecting:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"CONTINUATION on stream {stream_id} without HEADERS")
    whole = control.continue_block(payload, flags)
    if whole is not None:
        reader.header_block(stream_id, *whole)


FRAME_ACTIONS: Final[dict[int, Callable[[Reader, int, int, bytes], None]]] = {
    PRIORITY: _on_priority,
    RST_STREAM: _on_rst_stream,
    SETTINGS: _on_settings,
    PUSH_PROMISE: _on_push_promise,
    PING: _on_ping,
    GOAWAY: _on_goaway,
    WINDOW_UPDATE: _on_window_update,
    CONTINUATION: _on_continuation,
}
