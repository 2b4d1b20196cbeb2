"""HTTP/3 frames (RFC 9114 7): their numbers, how ours are written, and how a server's are cut.

Pure: bytes in, values out.  Whatever is wrong with a frame becomes a `ConnectionFault` or a
`StreamFault` that names the error code and says what came.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from wherry.protocol.faults import ConnectionFault

# Frame types.
DATA: Final = 0x00
HEADERS: Final = 0x01
CANCEL_PUSH: Final = 0x03
SETTINGS: Final = 0x04
PUSH_PROMISE: Final = 0x05
GOAWAY: Final = 0x07
MAX_PUSH_ID: Final = 0x0D
# RFC 9218 7.2, of a request stream.
PRIORITY_UPDATE: Final = 0xF0700
# RFC 9114 7.2.8: HTTP/2's, of which HTTP/3 has none.
HTTP2_TYPES: Final = frozenset({0x02, 0x06, 0x08, 0x09})
# Those that mean something here; all others are ignored (RFC 9114 9).
KNOWN_TYPES: Final = HTTP2_TYPES | {
    DATA,
    HEADERS,
    CANCEL_PUSH,
    SETTINGS,
    PUSH_PROMISE,
    GOAWAY,
    MAX_PUSH_ID,
}

# Types of unidirectional streams (RFC 9114 6.2, RFC 9204 4.2).
CONTROL_STREAM: Final = 0x00
PUSH_STREAM: Final = 0x01
ENCODER_STREAM: Final = 0x02
DECODER_STREAM: Final = 0x03

_LARGEST_VARINT: Final = 2**62 - 1


class ErrorCode(IntEnum):
    """Why a stream or a connection was ended (RFC 9114 8.1, RFC 9204 6)."""

    NO_ERROR = 0x100
    GENERAL_PROTOCOL_ERROR = 0x101
    INTERNAL_ERROR = 0x102
    STREAM_CREATION_ERROR = 0x103
    CLOSED_CRITICAL_STREAM = 0x104
    FRAME_UNEXPECTED = 0x105
    FRAME_ERROR = 0x106
    EXCESSIVE_LOAD = 0x107
    ID_ERROR = 0x108
    SETTINGS_ERROR = 0x109
    MISSING_SETTINGS = 0x10A
    REQUEST_REJECTED = 0x10B
    REQUEST_CANCELLED = 0x10C
    REQUEST_INCOMPLETE = 0x10D
    MESSAGE_ERROR = 0x10E
    CONNECT_ERROR = 0x10F
    VERSION_FALLBACK = 0x110
    QPACK_DECOMPRESSION_FAILED = 0x200
    QPACK_ENCODER_STREAM_ERROR = 0x201
    QPACK_DECODER_STREAM_ERROR = 0x202


class Setting(IntEnum):
    """What SETTINGS may set (RFC 9114 7.2.4.1, RFC 9204 5, RFC 9220 3, RFC 9297 2.1.1)."""

    QPACK_MAX_TABLE_CAPACITY = 0x01
    MAX_FIELD_SECTION_SIZE = 0x06
    QPACK_BLOCKED_STREAMS = 0x07
    ENABLE_CONNECT_PROTOCOL = 0x08
    H3_DATAGRAM = 0x33


# RFC 9114 7.2.4.1: HTTP/2's, which must not be sent.
_HTTP2_SETTINGS = frozenset({0x00, 0x02, 0x03, 0x04, 0x05})
_BOOLEAN_SETTINGS = frozenset({Setting.ENABLE_CONNECT_PROTOCOL, Setting.H3_DATAGRAM})


def code_name(code: int) -> str:
    """An error code for a person."""
    try:
        known = ErrorCode(code)
    except ValueError:
        return f"error code {code:#x}"
    return known.name if known.name.startswith("QPACK") else f"H3_{known.name}"


# --- integers -------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A variable-length integer (RFC 9000 16)."""
    if value < 64:
        return bytes((value,))
    if value < 16384:
        return (value | 0x4000).to_bytes(2)
    if value < 1 << 30:
        return (value | 0x80000000).to_bytes(4)
    if value > _LARGEST_VARINT:
        raise ValueError(f"{value} does not fit into a variable-length integer")
    return (value | 0xC000000000000000).to_bytes(8)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer, and where it ends.

    Raises:
        IndexError: The data ends before it does.
    """
    octet = data[position]
    size = 1 << (octet >> 6)
    if size == 1:
        return octet, position + 1
    end = position + size
    if end > len(data):
        raise IndexError(end)
    return int.from_bytes(data[position:end]) & ((1 << (8 * size - 2)) - 1), end


# --- what we send ---------------------------------------------------------------------------------


def frame(kind: int, payload: bytes) -> bytes:
    return varint(kind) + varint(len(payload)) + payload


def settings_frame(settings: dict[Setting, int]) -> bytes:
    return frame(
        SETTINGS, b"".join([varint(key) + varint(value) for key, value in settings.items()])
    )


# --- what a server sends --------------------------------------------------------------------------


def read_settings(payload: bytes) -> dict[int, int]:
    """What a SETTINGS frame sets (RFC 9114 7.2.4).

    Raises:
        ConnectionFault: It is malformed, sets something twice or something of HTTP/2.
    """
    settings: dict[int, int] = {}
    position = 0
    try:
        while position < len(payload):
            key, position = read_varint(payload, position)
            value, position = read_varint(payload, position)
            if key in settings:
                raise ConnectionFault(ErrorCode.SETTINGS_ERROR, f"setting {key:#x} came twice")
            if key in _HTTP2_SETTINGS:
                raise ConnectionFault(
                    ErrorCode.SETTINGS_ERROR, f"setting {key:#x} is one of HTTP/2's"
                )
            if key in _BOOLEAN_SETTINGS and value > 1:
                raise ConnectionFault(
                    ErrorCode.SETTINGS_ERROR, f"setting {key:#x} is {value}, not 0 or 1"
                )
            settings[key] = value
    except IndexError:
        raise ConnectionFault(ErrorCode.FRAME_ERROR, "SETTINGS ends inside a setting") from None
    return settings


def read_id(payload: bytes, name: str) -> int:
    """The one integer that a frame is made of (GOAWAY, CANCEL_PUSH).

    Raises:
        ConnectionFault: It is not there, or not alone.
    """
    try:
        value, end = read_varint(payload, 0)
    except IndexError:
        end = -1
        value = 0
    if end != len(payload):
        raise ConnectionFault(ErrorCode.FRAME_ERROR, f"{name} is not one integer: {payload[:32]!r}")
    return value


class FrameTooLarge(ValueError):
    """A frame that would have to be kept whole is larger than what is allowed."""


class FrameReader:
    """Cuts one stream into frames.

    DATA comes in pieces as it arrives, other known frames come whole, and the payload of unknown
    ones is dropped without being kept.
    """

    __slots__ = ("_kind", "_left", "_rest", "_wanted")

    def __init__(self) -> None:
        self._rest = bytearray()  # the beginning of a frame that is kept whole
        self._wanted = 0  # how long it will be, as far as that is known
        self._kind = DATA
        self._left = 0  # what is to come of a frame that is not kept

    def receive(self, data: bytes, max_size: int) -> list[tuple[int, bytes]]:
        """The frames that `data` completes, as (type, payload): pieces of DATA, whole frames, and
        ``b""`` for each unknown frame.

        Args:
            data: What came on the stream.
            max_size: How large a known frame other than DATA may be, in bytes.

        Raises:
            FrameTooLarge: One is larger; its stream cannot be read any further.
        """
        found: list[tuple[int, bytes]] = []
        position = 0
        size = len(data)
        if self._left:
            position = min(self._left, size)
            self._left -= position
            if self._kind == DATA:
                if position == size:
                    return [(DATA, data)] if data else found
                found.append((DATA, data[:position]))
        elif self._rest:
            self._rest += data
            size = len(self._rest)
            if size < self._wanted:
                return found
            data = bytes(self._rest)
            self._rest.clear()
        self._cut(data, position, max_size, found)
        return found

    def _cut(
        self, data: bytes, position: int, max_size: int, found: list[tuple[int, bytes]]
    ) -> None:
        size = len(data)
        while position < size:
            start = position
            try:
                kind, position = read_varint(data, position)
                length, position = read_varint(data, position)
            except IndexError:
                self._rest += data[start:]
                self._wanted = 0
                return
            end = position + length
            if kind == DATA:
                found.append((DATA, data[position:end]))
            elif kind not in KNOWN_TYPES:
                found.append((kind, b""))
            elif length > max_size:
                raise FrameTooLarge(f"a frame of type {kind:#x} and {length} bytes")
            elif end > size:
                self._rest += data[start:]
                self._wanted = end - start
                return
            else:
                found.append((kind, data[position:end]))
            if end > size:
                self._kind = kind
                self._left = end - size
                return
            position = end

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun and has not ended."""
        return bool(self._left or self._rest)
