"""permessage-deflate (RFC 7692): the payloads of messages, compressed and inflated, in bounded
steps.

It knows zlib and the limits that were agreed on; frames and negotiation are the matter of its
neighbours.
"""

from __future__ import annotations

import zlib
from typing import Any

from wherry.errors import WebSocketError
from wherry.protocol.websocket.messages import WSCloseCode

# What every message's stream ends with, and what is left out on the wire (RFC 7692 7.2.1).
TAIL = b"\x00\x00\xff\xff"
# zlib refuses to make raw deflate streams with a window of 2**8; it reads them with the next size.
SMALLEST_WINDOW = 9
# How often a stream may end inside one piece of a message: honest peers end it once.
MAX_STREAM_ENDS = 16


class Inflater:
    """Undoes the compression of what a peer sends.

    Args:
        window_bits: The peer's window, as a power of two, 8 to 15.
        takeover: Whether the window lives on from message to message.
    """

    __slots__ = ("_bits", "_stream", "_takeover")

    def __init__(self, window_bits: int = 15, takeover: bool = True) -> None:
        self._bits = -max(window_bits, SMALLEST_WINDOW)
        self._takeover = takeover
        self._stream: Any = None

    def feed(self, data: bytes, room: int) -> bytes:
        """Inflate a piece of a message.

        Args:
            data: The piece.
            room: How many bytes may come out.

        Raises:
            WebSocketError: With 1009 if more would come out, with 1007 if it is not deflate.
        """
        stream = self._stream
        if stream is None:
            stream = self._stream = zlib.decompressobj(self._bits)
        try:
            out: bytes = stream.decompress(data, room + 1)
            if stream.eof:
                out += self._after_end(stream, room - len(out))
        except zlib.error as exc:
            raise WebSocketError(
                WSCloseCode.INVALID_TEXT, f"the compressed message is broken: {exc}"
            ) from exc
        if len(out) > room:
            raise WebSocketError(
                WSCloseCode.MESSAGE_TOO_BIG, "Decompressed message exceeds size limit"
            )
        return out

    def _after_end(self, stream: Any, room: int) -> bytes:
        """RFC 7692 7.2.3.4: a block with BFINAL set ends a stream, and the message may go on after
        it.
        """
        out: bytes = b""
        for _ in range(MAX_STREAM_ENDS):
            rest = stream.unused_data
            self._stream = None
            if not rest or len(out) > room:
                return out
            stream = self._stream = zlib.decompressobj(self._bits)
            out += stream.decompress(rest, max(room - len(out), 0) + 1)
            if not stream.eof:
                return out
        raise zlib.error(f"more than {MAX_STREAM_ENDS} streams in one message")

    def end(self, room: int) -> bytes:
        """What is left of the message, which is whole now."""
        # Without a stream the message ended with its stream, and there is no block to close.
        out = b"" if self._stream is None else self.feed(TAIL, room)
        if not self._takeover:
            self._stream = None
        return out


class Deflater:
    """Compresses messages.

    Args:
        window_bits: Our window, as a power of two, 9 to 15.
        takeover: Whether the window lives on from message to message.
    """

    __slots__ = ("_bits", "_stream", "_takeover")

    def __init__(self, window_bits: int = 15, takeover: bool = True) -> None:
        self._bits = window_bits
        self._takeover = takeover
        self._stream: Any = None

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """The compressed form of one message."""
        stream = self._stream
        if stream is None:
            stream = zlib.compressobj(zlib.Z_BEST_SPEED, zlib.DEFLATED, -self._bits)
            if self._takeover:
                self._stream = stream
        packed: bytes = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        # RFC 7692 7.2.3.6: an empty message is one empty block, whatever the stream has to say.
        return packed.removesuffix(TAIL) or b"\x00"
