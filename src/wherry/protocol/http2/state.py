"""The frames that steer an HTTP/2 connection, and what they leave behind: SETTINGS, GOAWAY,
windows, resets.

`Control` is the state; what each type of frame does to it is `frame_handlers`' to say.
"""

from __future__ import annotations

from typing import Final

from wherry.protocol.faults import ConnectionFault
from wherry.protocol.http2.frames import ACK, CONTINUATION, END_HEADERS, SETTINGS, ErrorCode
from wherry.redaction import shown_head

# What `Control.expecting` may be besides 0.
FIRST_SETTINGS: Final = 1
MORE_OF_A_BLOCK: Final = 2
# How many reset streams are remembered.
_RESET_MEMORY = 1000


class Control:
    """What a server's frames said of the connection as a whole.

    Args:
        max_streams: Streams at a time, until the server says how many.
        max_block_size: A header block at most, in bytes, over however many frames.
    """

    __slots__ = (
        "_block",
        "_block_flags",
        "_block_limit",
        "_block_stream",
        "_continuations",
        "connect_protocol",
        "expecting",
        "goaway",
        "last_stream_id",
        "max_block_size",
        "max_streams",
        "settings_seen",
    )

    def __init__(self, max_streams: int, max_block_size: int) -> None:
        self.max_streams: int = max_streams
        self.max_block_size: int = max_block_size
        self.expecting: int = FIRST_SETTINGS  # RFC 9113 3.4
        self.settings_seen: bool = False
        self.connect_protocol: bool = False
        self.goaway: str = ""  # what the server said
        self.last_stream_id: int = 2**31 - 1
        self._block = bytearray()
        self._block_stream = 0
        self._block_flags = 0
        self._block_limit = max_block_size
        self._continuations = 0

    def begin_block(self, stream_id: int, flags: int, payload: bytes, max_size: int) -> None:
        """HEADERS without END_HEADERS: only CONTINUATION may follow (RFC 9113 6.10)."""
        self.expecting = MORE_OF_A_BLOCK
        self._block_stream = stream_id
        self._block_flags = flags
        self._continuations = 0
        self._block_limit = max_size
        self._block += payload

    def continue_block(self, payload: bytes, flags: int) -> tuple[int, bytes] | None:
        """CONTINUATION: the flags and bytes of the whole block with the last one.

        Raises:
            ConnectionFault: The block, or the number of its frames, grows past all reason.
        """
        self._block += payload
        self._continuations += 1
        # An honest block fills its frames: what its size needs, and a few for good measure.
        if (
            len(self._block) > self._block_limit
            or self._continuations > 8 + len(self._block) // 1024
        ):
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"a header block of {len(self._block)} bytes in {self._continuations} CONTINUATION "
                "frames",
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
        """Judge a frame on a stream that is not open: return where it may be ignored.

        Raises:
            ConnectionFault: It cannot be ignored.
        """
        if not stream_id & 1 or stream_id >= next_id:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"{name} on stream {stream_id}, which nobody opened"
            )
        window = self._windows.get(stream_id)
        if window is None:
            if name in {"DATA", "HEADERS"}:
                raise ConnectionFault(
                    ErrorCode.STREAM_CLOSED, f"{name} on stream {stream_id}, which has ended"
                )
        elif size > window:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, f"DATA passes the window of stream {stream_id}"
            )
        else:
            self._windows[stream_id] = window - size


def check_expected(
    control: Control, data: memoryview | bytes, kind: int, flags: int, stream_id: int
) -> None:
    """Refuse a frame where only one type may come.

    Raises:
        ConnectionFault: It is another.
    """
    if control.expecting == FIRST_SETTINGS:
        if kind == SETTINGS and not flags & ACK:
            return
        if bytes(data[:5]) == b"HTTP/":
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                f"the server speaks HTTP/1: {shown_head(bytes(data))!r}",
            )
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR,
            f"the server does not begin with SETTINGS: {bytes(data[:32])!r}",
        )
    if kind != CONTINUATION or stream_id != control.block_stream:
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR,
            f"a frame of type {kind} on stream {stream_id} inside the header block of stream "
            f"{control.block_stream}",
        )
