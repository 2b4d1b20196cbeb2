"""What each type of frame that steers an HTTP/2 connection does to it (RFC 9113 6).

DATA and HEADERS are the `Reader`'s own; a busy connection seldom comes here.
"""

from __future__ import annotations

from typing import Final

from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.http2.frames import (
    ACK,
    CONTINUATION,
    GOAWAY,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    ErrorCode,
    ServerSettings,
    Setting,
    code_name,
    ping,
    read_goaway,
    read_settings,
    read_word,
)
from wherry.protocol.http2.receiver import FrameAction, Reader

# A server that says nothing of its limit has none; numbers stay small enough to reckon with.
_MOST_STREAMS = 2**31 - 1
# How many bytes of settings, and how many streams whose windows move, count as much as a frame.
_SETTINGS_A_UNIT = 32 * 6
_STREAMS_A_UNIT = 16


def _on_settings(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
    if flags & ACK:
        if payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS with ACK and a payload")
        reader.count_no_progress()
        return
    control = reader.control
    first = not control.settings_seen
    settings = read_settings(payload)
    if cost := _settings_cost(reader, len(payload), settings, first):
        reader.count_no_progress(cost)
    if first:
        # RFC 9113 6.5.2: without a limit there is none.
        control.max_streams = _MOST_STREAMS
    _apply(reader, settings)
    reader.sender.write(SETTINGS_ACK)
    control.settings_seen = True
    if control.expecting:
        control.expecting = 0
    reader.connection.settings_applied(first)


def _settings_cost(reader: Reader, size: int, settings: ServerSettings, first: bool) -> int:
    """As how many frames that move nothing on SETTINGS counts: by what it costs to read them all,
    and to move the windows of all streams.
    """
    cost = size // _SETTINGS_A_UNIT
    window = settings.last.get(Setting.INITIAL_WINDOW_SIZE)
    if window is not None and window != reader.sender.initial_window:
        cost += len(reader.streams) // _STREAMS_A_UNIT
    return cost if first else cost + 1


def _apply(reader: Reader, settings: ServerSettings) -> None:
    """Of each setting the last one holds; of the table's sizes the smallest counts too (RFC 7541
    4.2).
    """
    control, sender, last = reader.control, reader.sender, settings.last
    if settings.smallest_table is not None:
        sender.encoder.resize(settings.smallest_table)
        sender.encoder.resize(last[Setting.HEADER_TABLE_SIZE])
    if Setting.MAX_CONCURRENT_STREAMS in last:
        control.max_streams = min(last[Setting.MAX_CONCURRENT_STREAMS], _MOST_STREAMS)
    if Setting.INITIAL_WINDOW_SIZE in last:
        sender.resize_windows(last[Setting.INITIAL_WINDOW_SIZE], list(reader.streams.values()))
    if Setting.MAX_FRAME_SIZE in last:
        sender.frame_size = last[Setting.MAX_FRAME_SIZE]
    connect_protocol = last.get(Setting.ENABLE_CONNECT_PROTOCOL)
    if connect_protocol is not None:
        if control.connect_protocol and not connect_protocol:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "SETTINGS_ENABLE_CONNECT_PROTOCOL is taken back"
            )
        control.connect_protocol = bool(connect_protocol)


def _on_ping(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"PING on stream {stream_id}")
    if len(payload) != 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
    if flags & ACK:
        reader.measured(payload)
        return
    reader.count_no_progress()
    reader.sender.write(ping(payload, ACK))


def _on_goaway(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"GOAWAY on stream {stream_id}")
    last, code, debug = read_goaway(payload)
    control = reader.control
    if last > control.last_stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"GOAWAY raises its last stream to {last}")
    reader.count_no_progress()
    control.last_stream_id = last
    control.goaway = f"GOAWAY {code_name(code)}"
    if debug:
        control.goaway += f" {debug[:100]!r}"
    if code == ErrorCode.HTTP_1_1_REQUIRED:
        reader.connection.give_way()
    reader.connection.give_back(last, control.goaway, orderly=code == ErrorCode.NO_ERROR)


def _on_window_update(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    increment = read_word(payload, "WINDOW_UPDATE") & 0x7FFFFFFF
    if not stream_id:
        if not increment:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        reader.count_no_progress()
        reader.sender.widen_connection(increment)
        return
    exchange = reader.streams.get(stream_id)
    if exchange is None:
        reader.look_up_closed(stream_id, "WINDOW_UPDATE", 0)
        return
    if not increment:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
    reader.count_no_progress()
    reader.sender.widen_stream(exchange, increment)


def _on_rst_stream(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    code = read_word(payload, "RST_STREAM")
    exchange = reader.streams.get(stream_id)
    if exchange is None:
        reader.look_up_closed(stream_id, "RST_STREAM", 0)
        return
    reader.count_no_progress()
    reader.connection.stream_reset(exchange, code, code_name(code))


def _on_priority(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    """PRIORITY is checked for its form and ignored (RFC 9113 5.3.2)."""
    if not stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
    reader.count_no_progress()
    if len(payload) != 5:
        raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")


def _on_push_promise(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    # RFC 9113 6.6.
    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, and SETTINGS_ENABLE_PUSH is 0")


def _on_continuation(reader: Reader, stream_id: int, flags: int, payload: bytes) -> None:
    control = reader.control
    if not control.expecting:
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR, f"CONTINUATION on stream {stream_id} without HEADERS"
        )
    whole = control.continue_block(payload, flags)
    if whole is not None:
        reader.header_block(stream_id, *whole)


FRAME_ACTIONS: Final[dict[int, FrameAction]] = {
    PRIORITY: _on_priority,
    RST_STREAM: _on_rst_stream,
    SETTINGS: _on_settings,
    PUSH_PROMISE: _on_push_promise,
    PING: _on_ping,
    GOAWAY: _on_goaway,
    WINDOW_UPDATE: _on_window_update,
    CONTINUATION: _on_continuation,
}
