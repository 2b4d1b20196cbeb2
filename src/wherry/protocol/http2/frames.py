"""HTTP/2 frames (RFC 9113 4 and 6): their numbers, how ours are written, and how a server's
payloads are read.

Pure: bytes in, values out.  Whatever is wrong with a frame becomes a `ConnectionFault` or a
`StreamFault` that names the error code and says what came.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from wherry.protocol.faults import ConnectionFault

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_SIZE: Final = 9
DEFAULT_FRAME_SIZE: Final = 16384
MAX_FRAME_SIZE: Final = 2**24 - 1
DEFAULT_WINDOW: Final = 65535
MAX_WINDOW: Final = 2**31 - 1
MAX_STREAM_ID: Final = 2**31 - 1

# Frame types.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
PRIORITY_UPDATE: Final = 16

# Flags.
ACK: Final = 0x01
END_STREAM: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
PRIORITY_FLAG: Final = 0x20


class ErrorCode(IntEnum):
    """Why a stream or a connection was ended (RFC 9113 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """What a SETTINGS frame may set (RFC 9113 6.5.2, RFC 8441 3)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8


def code_name(code: int) -> str:
    """An error code for a person."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error code {code:#x}"


# The length and the type are one word: length << 8 | type.
_header = struct.Struct(">IBI")
unpack_header: Final = _header.unpack_from
pack_header: Final = _header.pack
_pack_setting = struct.Struct(">HI").pack
_unpack_settings = struct.Struct(">HI").iter_unpack
_pack_word_frame = struct.Struct(">IBII").pack


def settings_frame(settings: dict[Setting, int]) -> bytes:
    payload = b"".join([_pack_setting(key, value) for key, value in settings.items()])
    return pack_header(len(payload) << 8 | SETTINGS, 0, 0) + payload


SETTINGS_ACK: Final = pack_header(SETTINGS, ACK, 0)


def window_update(stream_id: int, increment: int) -> bytes:
    return _pack_word_frame(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    return _pack_word_frame(4 << 8 | RST_STREAM, 0, stream_id, code)


def priority_update(stream_id: int, priority: bytes) -> bytes:
    """RFC 9218 7.1: on stream 0, the stream that is meant and the Priority field."""
    payload = stream_id.to_bytes(4) + priority
    return pack_header(len(payload) << 8 | PRIORITY_UPDATE, 0, 0) + payload


def ping(payload: bytes, flags: int = 0) -> bytes:
    return pack_header(8 << 8 | PING, flags, 0) + payload


def goaway(code: ErrorCode, message: str = "") -> bytes:
    """A GOAWAY frame; its last stream is 0, for the server has opened none."""
    payload = struct.pack(">II", 0, code) + message.encode()[:200]
    return pack_header(len(payload) << 8 | GOAWAY, 0, 0) + payload


def headers_frames(stream_id: int, block: bytes, flags: int, max_size: int) -> bytes:
    """HEADERS, and CONTINUATION where the block is longer than one frame may be."""
    size = len(block)
    if size <= max_size:
        return pack_header(size << 8 | HEADERS, flags | END_HEADERS, stream_id) + block
    pieces = [pack_header(max_size << 8 | HEADERS, flags, stream_id), block[:max_size]]
    for start in range(max_size, size, max_size):
        piece = block[start : start + max_size]
        last = END_HEADERS if start + max_size >= size else 0
        pieces += (pack_header(len(piece) << 8 | CONTINUATION, last, stream_id), piece)
    return b"".join(pieces)


# RFC 9113 6.5.2 and RFC 8441 3: what a setting may be, and the error of any other value.
_ALLOWED: Final[dict[int, tuple[int, int, ErrorCode]]] = {
    Setting.ENABLE_PUSH: (0, 0, ErrorCode.PROTOCOL_ERROR),  # of a server
    Setting.INITIAL_WINDOW_SIZE: (0, MAX_WINDOW, ErrorCode.FLOW_CONTROL_ERROR),
    Setting.MAX_FRAME_SIZE: (DEFAULT_FRAME_SIZE, MAX_FRAME_SIZE, ErrorCode.PROTOCOL_ERROR),
    Setting.ENABLE_CONNECT_PROTOCOL: (0, 1, ErrorCode.PROTOCOL_ERROR),
}


class ServerSettings(NamedTuple):
    """What one SETTINGS frame says.

    Args:
        last: The last value of each: those before it were never in force for anything that is sent.
        smallest_table: The smallest SETTINGS_HEADER_TABLE_SIZE, which must be acknowledged even if
            a larger one follows (RFC 7541 4.2); None where there is none.
    """

    last: dict[int, int]
    smallest_table: int | None


def read_settings(payload: bytes) -> ServerSettings:
    """The settings of a server, each checked by itself.

    Raises:
        ConnectionFault: One has a value that it may not have.
    """
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    last: dict[int, int] = {}
    smallest: int | None = None
    for key, value in _unpack_settings(payload):
        allowed = _ALLOWED.get(key)
        if allowed is not None and not allowed[0] <= value <= allowed[1]:
            raise ConnectionFault(allowed[2], f"SETTINGS_{Setting(key).name} is {value}")
        if key == 1 and (smallest is None or value < smallest):
            smallest = value
        last[key] = value
    return ServerSettings(last, smallest)


def read_goaway(payload: bytes) -> tuple[int, int, bytes]:
    """Last stream, error code and debug data."""
    if len(payload) < 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
    last, code = struct.unpack_from(">II", payload)
    return last & MAX_STREAM_ID, code, payload[8:]


def read_word(payload: bytes, name: str) -> int:
    """The one number in the payload of RST_STREAM and WINDOW_UPDATE."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{name} of {len(payload)} bytes")
    return int.from_bytes(payload, "big")


def unpadded(payload: bytes, flags: int, name: str) -> bytes:
    """The payload of DATA or HEADERS without padding and priority (RFC 9113 6.1, 6.2)."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{name} is padded and empty")
        start = 1
        end -= payload[0]
    if flags & PRIORITY_FLAG and name == "HEADERS":
        start += 5
    if start > len(payload):
        raise ConnectionFault(
            ErrorCode.FRAME_SIZE_ERROR, f"{name} of {len(payload)} bytes ends before its fields"
        )
    if end < start:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{name} has more padding than payload")
    return payload[start:end]
