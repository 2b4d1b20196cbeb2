"""WebSocket frames (RFC 6455 5): a reader and a writer that know bytes and messages, and do no I/O.

`FrameReader.receive` takes whatever arrived and gives the messages that it completes; what breaks
the protocol ends it with an error that says how to close.  `FrameWriter.encode` gives a frame's
bytes, masked, as a client sends them.  HTTP/1.1 and HTTP/2 (RFC 8441) carry the same frames, so
neither is known here.
"""

from __future__ import annotations

import codecs
import os
import struct
import sys
from collections.abc import Iterator
from typing import Any

from wherry.errors import WebSocketError
from wherry.protocol.websocket.deflate import Deflater, Inflater
from wherry.protocol.websocket.masking import Buffer, fastest_mask
from wherry.protocol.websocket.messages import (
    WSCloseCode,
    WSMessage,
    WSMessageTextBytes,
    WSMsgType,
    may_be_sent,
)

MAX_CONTROL_PAYLOAD = 125
# Once so many bytes have come out of compressed messages of one read, or so many messages, the
# others wait until they are asked for.
STALL_SIZE = 256 * 1024
STALL_MESSAGES = 1024
# Pieces of a message below this size are put together at once: each object of its own would cost
# more than it holds.
SMALL_PIECE = 4096
# Set in an opcode that is sent: the payload is compressed already.
PACKED = 0x40

_FIN = 0x80
_RSV1 = 0x40
_OTHER_RSV = 0x30
_CONTROL = 0x08
_MASKED = 0x80
_FINAL_TEXT = _FIN | 0x1
_FINAL_BINARY = _FIN | 0x2
_TEXT = WSMsgType.TEXT
_BINARY = WSMsgType.BINARY
_CONTROLS = {int(kind): kind for kind in (WSMsgType.CLOSE, WSMsgType.PING, WSMsgType.PONG)}
_PACKED = {int(kind) | PACKED for kind in (_TEXT, _BINARY)}
_KEYS_AT_ONCE = 64

_pack_small = struct.Struct("!BB4s").pack
_pack_middle = struct.Struct("!BBH4s").pack
_pack_large = struct.Struct("!BBQ4s").pack
_new_message = tuple.__new__
_utf8_decoder = codecs.getincrementaldecoder("utf-8")

Message = WSMessage | WSMessageTextBytes


class FrameReader:
    """What a server sends, frame by frame.

    After `receive`, `eventful` tells whether there is more to see than messages of data: `error` is
    set when the server broke the protocol, and ends the reader; `controls` tells how many of the
    messages are PING, PONG or CLOSE; `stalled` is True when more is at hand than should be held at
    once, and ``receive(b"")`` gives more of it.  `unfinished` is what is held of a message whose
    end is to come, in bytes after inflation.

    Args:
        max_size: The largest message, in bytes after inflation; 0 for no limit.
        inflater: Undoes compression, where that was agreed on.
        decode_text: Whether TEXT is checked and given as str; else it is given as the bytes that
            came.
    """

    __slots__ = (
        "_closed",
        "_compressed",
        "_decode_text",
        "_decoder",
        "_final",
        "_idle",
        "_inflated",
        "_inflater",
        "_left",
        "_max_size",
        "_opcode",
        "_pending",
        "_pieces",
        "controls",
        "error",
        "eventful",
        "stalled",
        "unfinished",
    )

    def __init__(
        self, max_size: int = 0, inflater: Inflater | None = None, *, decode_text: bool = True
    ) -> None:
        self.error: WebSocketError | None = None
        self.controls: int = 0
        self.stalled: bool = False
        self.eventful: bool = False
        # Between two messages, and nothing to tell of: the next read is most likely one whole
        # frame.
        self._idle = True
        self._max_size = max_size or sys.maxsize - 1
        self._inflater = inflater
        self._decode_text = decode_text
        # What is too short to be understood yet: part of a frame's head or of a control frame.
        self._pending = b""
        self._closed = False
        # The message under way: 0 where there is none.
        self._opcode = 0
        self._compressed = False
        self._pieces: list[Any] = []
        self.unfinished: int = 0
        self._decoder: Any = None
        # The data frame under way: payload bytes to come, and whether it is the message's last.
        self._left = 0
        self._final = False
        self._inflated = 0

    def receive(self, data: bytes) -> list[Message]:
        """Take what arrived; give the messages that are whole now, in order."""
        if self._idle and len(data) > 4:
            # What most reads are: one frame that is one message.
            first = data[0]
            length = data[1]
            body = 2
            if length == 126:
                length = data[2] << 8 | data[3]
                body = 4
            if (
                body + length == len(data)
                and length <= self._max_size
                and (body == 2 or length > MAX_CONTROL_PAYLOAD)
            ):
                if first == _FINAL_BINARY:
                    return [_new_message(WSMessage, (_BINARY, data[body:], ""))]
                if first == _FINAL_TEXT and self._decode_text:
                    try:
                        return [_new_message(WSMessage, (_TEXT, str(data[body:], "utf-8"), ""))]
                    except UnicodeDecodeError:
                        pass  # the general way says what is wrong
        return self._receive(data)

    def _receive(self, data: bytes) -> list[Message]:
        """What `receive` does where the short way for one whole frame does not fit."""
        messages: list[Message] = []
        self.controls = self._inflated = 0
        self.stalled = False
        if self._pending:
            data = self._pending + data
            self._pending = b""
        if not self._closed:
            try:
                start = self._read(data, messages)
            except WebSocketError as exc:
                self.error = exc
                self._end()
            else:
                if start < len(data) and not self._closed:
                    self._pending = data[start:]
        self.eventful = bool(self.controls or self.stalled or self.error is not None)
        self._idle = not (self.eventful or self._closed or self._opcode or self._pending)
        return messages

    def _read(self, data: bytes, messages: list[Message]) -> int:
        """Append the messages in `data`; how much of it is used up."""
        start, end = 0, len(data)
        while start < end and len(messages) < STALL_MESSAGES:
            if self._left:
                start = self._take(data, start, end, messages)
                if self.stalled:
                    break
                continue
            if end - start < 2:
                break
            first = data[start]
            length = data[start + 1]
            plain = (first == _FINAL_BINARY or first == _FINAL_TEXT) and not self._opcode  # noqa: PLR1714, SIM109
            if not plain or length > 127:
                self._check(first, length)
            body = start + 2
            if length > MAX_CONTROL_PAYLOAD:
                body += 2 if length == 126 else 8
                if body > end:
                    break
                length = _long_length(length, data[start + 2 : body])
            stop = body + length
            if plain and stop <= end:
                if length > self._max_size:
                    raise self._too_big(length)
                payload = data[body:stop]
                messages.append(
                    _new_message(WSMessage, (_BINARY, payload, ""))
                    if first == _FINAL_BINARY
                    else self._text(payload)
                )
                start = stop
            elif not first & _CONTROL:
                self._open(first, length, messages)
                start = body
            elif stop > end:
                break
            else:
                messages.append(self._control(first & 0x0F, data[body:stop]))
                self.controls += 1
                # RFC 6455 5.5.1: nothing counts that follows a Close frame.
                start = end if self._closed else stop
        self.stalled = self.stalled or (start < end and len(messages) >= STALL_MESSAGES)
        return start

    def _text(self, payload: bytes) -> Message:
        """A text message that one frame carries."""
        if not self._decode_text:
            return _new_message(WSMessageTextBytes, (_TEXT, payload, ""))
        try:
            return _new_message(WSMessage, (_TEXT, payload.decode(), ""))
        except UnicodeDecodeError as exc:
            raise _no_text(exc) from exc

    def _check(self, first: int, second: int) -> None:
        """Everything that the first two bytes of a frame must hold to (RFC 6455 5.2 to 5.5)."""
        opcode = first & 0x0F
        if first & _OTHER_RSV:
            raise _broken("Received frame with non-zero reserved bits")
        if second & _MASKED:
            raise _broken("a server must not mask its frames")
        if opcode & _CONTROL:
            _check_control(first, second, opcode)
            return
        if opcode > WSMsgType.BINARY:
            raise _broken(f"Unexpected opcode={opcode!r}")
        if opcode == WSMsgType.CONTINUATION:
            if not self._opcode:
                raise _broken("Continuation frame for non started message")
        elif self._opcode:
            raise _broken(f"The opcode in non-fin frame is expected to be zero, got {opcode!r}")
        if first & _RSV1 and (self._inflater is None or opcode == WSMsgType.CONTINUATION):
            # RFC 7692 6.1: the bit belongs to the first frame of a message, if compression was
            # agreed on.
            raise _broken("Received frame with non-zero reserved bits")

    def _open(self, first: int, length: int, messages: list[Message]) -> None:
        """A data frame begins whose payload is not here as a whole, or that is not a message by
        itself.
        """
        if first & 0x0F:
            self._opcode = first & 0x0F
            self._compressed = bool(first & _RSV1)
            if self._decode_text and self._opcode == _TEXT:
                self._decoder = _utf8_decoder()
        if not self._compressed and self.unfinished + length > self._max_size:
            raise self._too_big(self.unfinished + length)
        self._final = bool(first & _FIN)
        self._left = length
        if not length and self._final:
            messages.append(self._finish())

    def _take(self, data: bytes, start: int, end: int, messages: list[Message]) -> int:
        """Take the payload of the data frame under way; where it ends in `data`."""
        stop = min(start + self._left, end)
        piece = data[start:stop]
        self._left -= stop - start
        if self._compressed:
            assert self._inflater is not None
            piece = self._inflater.feed(piece, self._max_size - self.unfinished)
            self._inflated += len(piece)
        self._keep(piece)
        if not self._left and self._final:
            messages.append(self._finish())
            self.stalled = self._inflated > STALL_SIZE and stop < end
        return stop

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of the message under way; text is decoded here, so it fails where it stops
        being UTF-8.
        """
        self.unfinished += len(piece)
        kept = piece if self._decoder is None else self._decode_piece(piece)
        pieces = self._pieces
        if pieces and len(pieces[-1]) + len(kept) < SMALL_PIECE:
            pieces[-1] += kept
        else:
            pieces.append(kept)

    def _decode_piece(self, piece: bytes, final: bool = False) -> str:
        try:
            text: str = self._decoder.decode(piece, final)
        except UnicodeDecodeError as exc:
            raise _no_text(exc) from exc
        return text

    def _finish(self) -> Message:
        """The message under way is whole."""
        if self._compressed:
            assert self._inflater is not None
            self._keep(self._inflater.end(self._max_size - self.unfinished))
        if self._decoder is not None:
            self._decode_piece(b"", True)
            text = "".join(self._pieces)
            self._reset()
            return WSMessage(_TEXT, text, "")
        payload = b"".join(self._pieces)
        opcode = self._opcode
        self._reset()
        return (
            WSMessage(_BINARY, payload, "")
            if opcode == _BINARY
            else WSMessageTextBytes(_TEXT, payload, "")
        )

    def _reset(self) -> None:
        self._opcode = self.unfinished = self._left = 0
        self._compressed = self._final = False
        self._pieces = []
        self._decoder = None

    def _end(self) -> None:
        """Ignore whatever arrives from now on (after a Close frame or an error)."""
        self._closed = True
        self._pending = b""
        self._reset()

    def _control(self, opcode: int, payload: bytes) -> Message:
        kind = _CONTROLS[opcode]
        if kind is not WSMsgType.CLOSE:
            return WSMessage(kind, payload, "")
        if not payload:
            self._end()
            return WSMessage(kind, 0, "")
        if len(payload) == 1:
            raise _broken("Invalid close frame: half a code")
        code = int.from_bytes(payload[:2], "big")
        if not may_be_sent(code):
            raise _broken(f"Invalid close code: {code}")
        reason = _decode(payload[2:])
        self._end()
        return WSMessage(kind, code, reason)

    def _too_big(self, size: int) -> WebSocketError:
        return WebSocketError(
            WSCloseCode.MESSAGE_TOO_BIG,
            f"Message size {size} exceeds limit {self._max_size}",
        )


def _check_control(first: int, second: int, opcode: int) -> None:
    """What the first two bytes of a control frame must hold to (RFC 6455 5.5)."""
    if opcode not in _CONTROLS:
        raise _broken(f"Unexpected opcode={opcode!r}")
    if first & _RSV1:
        raise _broken("Received frame with non-zero reserved bits")
    if not first & _FIN:
        raise _broken("Received fragmented control frame")
    if second > MAX_CONTROL_PAYLOAD:
        raise _broken(f"Control frame payload cannot be larger than {MAX_CONTROL_PAYLOAD} bytes")


def _long_length(indicator: int, digits: bytes) -> int:
    """A payload's length from its extended form, which must be the shortest one (RFC 6455 5.2)."""
    length = int.from_bytes(digits, "big")
    if length < 126 or (indicator == 127 and length < 65536):
        raise _broken(f"a length of {length} is not in its shortest form")
    if length >> 63:
        raise _broken("a length has its highest bit set")
    return length


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise _no_text(exc) from exc


def _broken(message: str) -> WebSocketError:
    return WebSocketError(WSCloseCode.PROTOCOL_ERROR, message)


def _no_text(cause: UnicodeDecodeError) -> WebSocketError:
    return WebSocketError(WSCloseCode.INVALID_TEXT, f"Invalid UTF-8 text message: {cause.reason}")


class FrameWriter:
    """What a client sends: frames, each masked with a key of its own.

    Args:
        deflater: Compresses messages, where that was agreed on.
    """

    __slots__ = ("_keys", "_mask", "deflater")

    def __init__(self, deflater: Deflater | None = None) -> None:
        self.deflater: Deflater | None = deflater
        self._mask = fastest_mask()
        self._keys: Iterator[tuple[bytes]] = iter(())

    def encode(self, opcode: int, payload: Buffer, compress: int | None = None) -> bytes:
        """The bytes of one frame, which is a whole message.

        Args:
            opcode: A data or a control opcode, not CONTINUATION; a data opcode may have `PACKED`
                set.
            payload: Its payload; text as UTF-8.
            compress: 0 sends the message as it is, anything else compresses it if that was agreed
                on.

        Raises:
            ValueError: A control frame's payload has more than 125 bytes, or the opcode cannot be
                sent.
        """
        first = _FIN | opcode
        if opcode != _TEXT and opcode != _BINARY:  # noqa: PLR1714
            if opcode not in _CONTROLS and opcode not in _PACKED:
                raise ValueError(f"a frame of opcode {opcode:#x} cannot be sent")
            if opcode in _CONTROLS and len(payload) > MAX_CONTROL_PAYLOAD:
                raise ValueError(
                    f"a control frame carries {MAX_CONTROL_PAYLOAD} bytes, not {len(payload)}"
                )
        elif self.deflater is not None and compress != 0:
            payload = self.deflater.compress(payload)
            first |= _RSV1
        entry = next(self._keys, None)
        if entry is None:
            self._keys = struct.iter_unpack("4s", os.urandom(4 * _KEYS_AT_ONCE))
            entry = next(self._keys)
        (key,) = entry
        length = len(payload)
        if length <= MAX_CONTROL_PAYLOAD:
            head = _pack_small(first, _MASKED | length, key)
        elif length < 65536:
            head = _pack_middle(first, _MASKED | 126, length, key)
        else:
            head = _pack_large(first, _MASKED | 127, length, key)
        return head + self._mask(payload, key)

    def encode_close(self, code: int, reason: bytes = b"") -> bytes:
        """The bytes of a Close frame.

        Raises:
            ValueError: The code must not be sent (RFC 6455 7.4), or the reason is too long or no
                UTF-8.
        """
        if not may_be_sent(code):
            raise ValueError(f"close code {code} must not be sent over the wire")
        if len(reason) > MAX_CONTROL_PAYLOAD - 2:
            raise ValueError(f"a Close frame has room for a reason of 123 bytes, not {len(reason)}")
        reason.decode()
        return self.encode(WSMsgType.CLOSE, code.to_bytes(2, "big") + reason)
