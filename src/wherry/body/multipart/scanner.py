"""Where the parts of a multipart begin and end (RFC 2046 5.1): a scanner over bytes that come in
pieces.

It holds no more than one piece and a boundary, and knows nothing of what the parts mean.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from wherry.errors import ClientPayloadError
from wherry.protocol.grammar import has_control_bytes, is_token_bytes

__all__ = ("BadMultipart", "Scanner", "State")

# Blanks between a boundary and its line end are allowed; so many of them are no longer taken for a
# boundary.
MOST_PADDING: Final = 200
PIECE: Final = 2**16


class BadMultipart(ClientPayloadError, ValueError):
    """A multipart body is cut short, or is not what RFC 2046 describes."""


class UnknownEncoding(BadMultipart, RuntimeError):
    """A part says that it is encoded in a way that nobody here knows; a RuntimeError by the API's
    word.
    """


class State(enum.Enum):
    """Where a scanner stands."""

    PREAMBLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    CLOSED = enum.auto()


class Scanner:
    """Splits a multipart into heads and bodies.

    Args:
        read: ``await read(size)`` gives up to `size` bytes, b"" at the end.
        boundary: Without the dashes.
        state: BODY where the head of a part was read already.
    """

    __slots__ = ("_buffer", "_clear", "_delimiter", "_ended", "_invented", "_read", "state")

    def __init__(
        self,
        read: Callable[[int], Awaitable[bytes]],
        boundary: bytes,
        state: State = State.PREAMBLE,
    ) -> None:
        self._read = read
        self._delimiter = b"\r\n--" + boundary
        self._ended = False
        self._clear = 0  # so many bytes of the buffer are known to be no boundary
        self.state: State = state
        # A boundary begins with the line end before it; at the very start, and right after a head,
        # there may be none, so one is put there that is not part of any body.
        self._buffer = bytearray(b"\r\n")
        self._invented = 2

    async def _fill(self) -> None:
        if self._ended:
            raise BadMultipart(
                f"the multipart ended before its last boundary {self._delimiter[2:]!r}--"
            )
        piece = await self._read(PIECE)
        if piece:
            self._buffer += piece
        else:
            self._ended = True

    async def body(self, size: int) -> bytes:
        """Up to `size` bytes of the part (or of the preamble); b"" when its end was passed.

        Raises:
            BadMultipart: The data ended first.
        """
        buffer = self._buffer
        while self.state is State.BODY or self.state is State.PREAMBLE:
            if self._clear > self._invented:
                if self._invented:
                    del buffer[: self._invented]
                    self._clear -= self._invented
                    self._invented = 0
                length = min(size, self._clear)
                piece = bytes(memoryview(buffer)[:length])
                del buffer[:length]
                self._clear -= length
                if not self._clear and buffer.startswith(self._delimiter):
                    self._pass_boundary()  # who asks at_eof() is told at once
                return piece
            at = buffer.find(self._delimiter, self._clear)
            if at == 0:
                if self._pass_boundary():
                    return b""
                if self._clear:
                    continue
            elif at > 0 and at == self._invented:
                # An empty body: the boundary has a line end of its own.
                del buffer[:at]
                self._invented = self._clear = 0
                continue
            else:
                self._clear = max(0, at if at > 0 else len(buffer) - len(self._delimiter) + 1)
                if self._clear > self._invented:
                    continue
            await self._fill()
        return b""

    def _pass_boundary(self) -> bool:
        """Look at what follows the boundary that the buffer begins with, and pass it if it is
        one.
        """
        buffer = self._buffer
        at = len(self._delimiter)
        size = len(buffer)
        closing = buffer[at : at + 2] == b"--"
        if closing:
            at += 2
        elif size < at + 2 and not self._ended:
            return False
        limit = at + MOST_PADDING
        while at < size and buffer[at] in b" \t" and at < limit:
            at += 1
        rest = bytes(buffer[at : at + 2])
        if rest == b"\r\n" or rest[:1] == b"\n":
            at += 2 if rest == b"\r\n" else 1
        elif rest in {b"", b"\r"} and not self._ended:
            return False
        elif rest not in {b"", b"\r"}:
            # A longer boundary that begins like this one, or just data.
            self._clear = len(self._delimiter)
            return False
        # A boundary at the very end is one: it ends its part, and who asks for the next one is told
        # that there is none.
        del buffer[:at]
        self._invented = 0
        self.state = State.CLOSED if closing else State.HEAD
        return True

    async def head(self, max_field_size: int, max_headers: int) -> CIMultiDictProxy[str]:
        """The header fields of the part that begins here.

        Raises:
            BadMultipart: A field is malformed or longer than `max_field_size`, or there are more
                than `max_headers`.
        """
        fields: list[tuple[bytes, bytes]] = []
        while line := await self._line(max_field_size):
            if line[:1] in {b" ", b"\t"} and fields:
                # RFC 5322 2.2.3: a folded field goes on.
                name, value = fields[-1]
                value = value + b" " + line.strip()
                if len(value) > max_field_size:
                    raise BadMultipart(
                        f"a header field of a part is longer than {max_field_size} bytes"
                    )
                fields[-1] = (name, value)
                continue
            name, colon, value = line.partition(b":")
            if not colon or not is_token_bytes(name):
                raise BadMultipart(f"not a header field of a part: {line[:100]!r}")
            if len(fields) == max_headers:
                raise BadMultipart(f"a part has more than {max_headers} header fields")
            fields.append((name, value.strip()))
        for name, value in fields:
            if has_control_bytes(value):
                raise BadMultipart(
                    f"a control character in the header field {name[:100]!r} of a part: "
                    f"{value[:100]!r}"
                )
        self._buffer[:0] = b"\r\n"
        self._invented = 2
        self._clear = 0
        self.state = State.BODY
        decoded = [
            (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
            for name, value in fields
        ]
        return CIMultiDictProxy(CIMultiDict(decoded))

    async def _line(self, limit: int) -> bytes:
        buffer = self._buffer
        while (at := buffer.find(b"\n")) < 0:
            if len(buffer) > limit:
                break
            await self._fill()
        if at > limit or at < 0:
            raise BadMultipart(f"a header field of a part is longer than {limit} bytes")
        line = bytes(buffer[:at])
        del buffer[: at + 1]
        return line.removesuffix(b"\r")
