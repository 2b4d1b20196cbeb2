"""A parser of HTTP/1 responses in plain Python, for where llhttp's cannot be imported.

It has the names and the callbacks of httptools, and takes and refuses what llhttp does: RFC 9112
to the letter.  What it costs shows only where there is no compiled one.  Knows nothing of
connections and exchanges.
"""

from __future__ import annotations

import re
from typing import Any

# RFC 9112 4; llhttp knows these versions, whatever of them is wanted.
_STATUS_LINE = re.compile(rb"HTTP/(0\.9|1\.[01]|2\.0) (\d{3})(?: ([^\r\n]*))?")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELD_LINE = re.compile(rb"(%s):[ \t]*([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
# RFC 9112 7.1 and 7.1.1: the size, and extensions without blanks.
_QUOTED = rb"\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e\x80-\xff])*\""
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)(?:;%s(?:=(?:%s|%s)?)?)*" % (_TOKEN, _TOKEN, _QUOTED))
# How the first piece of such a line may look.
_STATUS_BEGINS = re.compile(rb"H(?:T(?:T(?:P(?:/[^\n]*)?)?)?)?")
_FIELD_BEGINS = re.compile(rb"\r|%s(?::[\t\x20-\x7e\x80-\xff]*\r?)?" % _TOKEN)
_CHUNK_BEGINS = re.compile(rb"[0-9A-Fa-f]+(?:;[\t\x20-\x7e\x80-\xff]*)?\r?")
_END_BEGINS = re.compile(rb"\r")
_NO_BODY = frozenset({100, 102, 103, 204, 304})
_LARGEST = 2**64 - 1


class HttpParserError(Exception):
    """The bytes are no response."""


class HttpParserCallbackError(HttpParserError):
    """A callback failed: its error is the context of this one."""


class HttpParserUpgrade(Exception):
    """What follows the head is of another protocol; its place is the argument."""


class HttpResponseParser:
    """Calls `protocol` for what it finds in the bytes that it is fed.

    Args:
        protocol: Has on_message_begin, on_status, on_header, on_headers_complete, on_body,
            on_chunk_complete and on_message_complete.
    """

    __slots__ = (
        "_chunked",
        "_close",
        "_failed",
        "_keep_alive",
        "_left",
        "_length",
        "_line",
        "_protocol",
        "_searched",
        "_state",
        "_status",
        "_switches",
        "_to_end",
        "_transfer",
        "_upgrade",
        "_version",
    )

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._state = self._between
        self._failed: HttpParserError | None = None
        self._line = bytearray()  # what came of a line that has not ended
        self._searched = 0
        self._version = b"0.0"
        self._status = 0
        self._forget()

    def _forget(self) -> None:
        self._length: int | None = None
        self._transfer = self._chunked = self._to_end = False
        self._close = self._keep_alive = self._switches = self._upgrade = False
        self._left = 0

    # --- what it is asked -------------------------------------------------------------------------

    def get_status_code(self) -> int:
        return self._status

    def get_http_version(self) -> str:
        return self._version.decode()

    def should_upgrade(self) -> bool:
        """Whether the response switches to a protocol that it names."""
        return self._upgrade and self._switches and self._status == 101

    def should_keep_alive(self) -> bool:
        """Whether another message may follow on the connection."""
        stays = not self._close if self._version == b"1.1" else self._keep_alive
        return stays and not self._needs_end()

    def _needs_end(self) -> bool:
        """Whether only the connection's end tells the end of the body (RFC 9112 6.3)."""
        if self._status // 100 == 1 or self._status in _NO_BODY:
            return False
        if self._transfer and not self._chunked:
            return True
        return not self._chunked and self._length is None

    # --- bytes ------------------------------------------------------------------------------------

    def feed_data(self, data: bytes | bytearray | memoryview) -> None:
        """Parse what has come.

        Raises:
            HttpParserError: It is no response, or a callback failed.
            HttpParserUpgrade: What follows is of another protocol.
        """
        if self._failed is not None:
            raise self._failed
        data = bytes(data)
        at, size = 0, len(data)
        try:
            while at < size:
                at = self._state(data, at)
        except HttpParserError as exc:
            self._failed = exc
            raise
        except HttpParserUpgrade:
            raise
        except Exception as exc:
            self._failed = HttpParserCallbackError(f"a callback failed: {exc!r}")
            raise self._failed from exc

    def _whole_line(
        self, data: bytes, at: int, begins: re.Pattern[bytes]
    ) -> tuple[bytes | None, int]:
        """A line without its end, and the place behind it; None while it has not ended.

        What came first of it must match `begins`, so that what is no such line fails at once.
        """
        line = self._line
        end = data.find(b"\n", at)
        if end < 0:
            if not line and begins.fullmatch(data, at) is None:
                raise HttpParserError(f"no line begins like this: {data[at : at + 64]!r}")
            line += data[at:]
            self._check_line(line[self._searched :])
            # A CR at the end may be of the end.
            self._searched = len(line) - line.endswith(b"\r")
            return None, len(data)
        line += data[at : end + 1]
        whole = bytes(line)
        line.clear()
        self._searched = 0
        if whole[-2:-1] != b"\r" or whole.find(b"\r") != len(whole) - 2:
            raise HttpParserError("a line does not end with CRLF")
        return whole[:-2], end + 1

    def _check_line(self, part: bytearray) -> None:
        """Refuse at once what no line's beginning can be: a CR before more of the line."""
        if 0 <= part.find(b"\r") < len(part) - 1:
            raise HttpParserError("a line does not end with CRLF")

    # --- states: each takes bytes from a place on, and gives the place behind them ----------------

    def _between(self, data: bytes, at: int) -> int:
        if data[at] in b"\r\n":
            return at + 1
        self._forget()
        self._state = self._status_line
        self._protocol.on_message_begin()
        return at

    def _closed(self, data: bytes, at: int) -> int:
        if data[at] in b"\r\n":
            return at + 1
        raise HttpParserError("data after a message that closes the connection")

    def _status_line(self, data: bytes, at: int) -> int:
        line, at = self._whole_line(data, at, _STATUS_BEGINS)
        if line is None:
            return at
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise HttpParserError(f"this is no status line: {line[:64]!r}")
        self._version, status, reason = found.groups()
        self._status = int(status)
        if reason is not None:
            self._protocol.on_status(reason)
        self._state = self._head_line
        return at

    def _head_line(self, data: bytes, at: int) -> int:
        line, at = self._whole_line(data, at, _FIELD_BEGINS)
        if line is None:
            return at
        if line:
            self._protocol.on_header(*self._field(line))
            return at
        return self._head_ended(at)

    def _field(self, line: bytes) -> tuple[bytes, bytes]:
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise HttpParserError(f"this is no line of a head: {line[:64]!r}")
        name, value = found.groups()
        lower = name.lower()
        if lower == b"content-length":
            self._take_length(value.rstrip(b" \t"))
        elif lower == b"transfer-encoding":
            if self._length is not None:
                raise HttpParserError("Transfer-Encoding beside Content-Length")
            if not value:
                raise HttpParserError("Transfer-Encoding is empty")
            self._transfer = True
            self._chunked = value.rpartition(b",")[2].strip(b" \t").lower() == b"chunked"
        elif lower in {b"connection", b"proxy-connection"}:
            for option in value.lower().split(b","):
                option = option.strip(b" \t")
                self._close |= option == b"close"
                self._keep_alive |= option == b"keep-alive"
                self._switches |= option == b"upgrade"
        elif lower == b"upgrade":
            self._upgrade = True
        return name, value

    def _take_length(self, value: bytes) -> None:
        if self._transfer or self._length is not None:
            raise HttpParserError("Content-Length beside Transfer-Encoding, or twice")
        if not value.isdigit():
            raise HttpParserError(f"Content-Length is no number: {value[:64]!r}")
        digits = value.lstrip(b"0")
        if len(digits) > 20 or int(digits or b"0") > _LARGEST:
            raise HttpParserError("Content-Length is too large")
        self._length = int(digits or b"0")

    def _head_ended(self, at: int) -> int:
        status, length = self._status, self._length
        self._protocol.on_headers_complete()
        if status == 101:
            self._message_ended()
            if not self.should_upgrade():
                raise HttpParserError("a switch to no protocol")
            raise HttpParserUpgrade(at)
        if status in _NO_BODY:
            self._message_ended()
        elif self._chunked:
            self._state = self._chunk_line
        elif self._transfer or self._needs_end():
            self._state = self._until_end
        elif not length:
            self._message_ended()
        else:
            self._left = length
            self._state = self._counted
        return at

    def _counted(self, data: bytes, at: int) -> int:
        piece = data[at : at + self._left]
        self._left -= len(piece)
        self._protocol.on_body(piece)
        if not self._left:
            self._message_ended()
        return at + len(piece)

    def _until_end(self, data: bytes, at: int) -> int:
        self._protocol.on_body(data[at:])
        return len(data)

    def _chunk_line(self, data: bytes, at: int) -> int:
        line, at = self._whole_line(data, at, _CHUNK_BEGINS)
        if line is None:
            return at
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise HttpParserError(f"this is no size of a chunk: {line[:64]!r}")
        digits = found[1].lstrip(b"0")
        if len(digits) > 16:
            raise HttpParserError("a chunk is too large")
        self._left = int(digits or b"0", 16)
        self._state = self._chunk if self._left else self._trailer_line
        return at

    def _chunk(self, data: bytes, at: int) -> int:
        piece = data[at : at + self._left]
        self._left -= len(piece)
        self._protocol.on_body(piece)
        if not self._left:
            self._state = self._chunk_end
        return at + len(piece)

    def _chunk_end(self, data: bytes, at: int) -> int:
        line, at = self._whole_line(data, at, _END_BEGINS)
        if line is None:
            return at
        if line:
            raise HttpParserError("a chunk does not end with CRLF")
        self._protocol.on_chunk_complete()
        self._state = self._chunk_line
        return at

    def _trailer_line(self, data: bytes, at: int) -> int:
        line, at = self._whole_line(data, at, _FIELD_BEGINS)
        if line is None:
            return at
        if line:
            self._protocol.on_header(*self._field(line))
        else:
            self._protocol.on_chunk_complete()
            self._message_ended()
        return at

    def _message_ended(self) -> None:
        stays = self.should_keep_alive()
        self._state = self._between if stays or self.should_upgrade() else self._closed
        self._protocol.on_message_complete()
