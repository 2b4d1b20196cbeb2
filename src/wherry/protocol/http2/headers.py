"""What a header section of HTTP/2 may hold (RFC 9113 8): from a block's bytes to a response's
status and fields.

Whole sections are remembered by their block for as long as the compression state gives it the same
meaning.
"""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple

from wherry.protocol.grammar import LOWER_TCHAR
from wherry.protocol.heads import ResponseHead
from wherry.protocol.http1.encoding import Limits
from wherry.protocol.http2.frames import ConnectionFault, ErrorCode, StreamFault
from wherry.protocol.http2.hpack import Field, HeaderDecoder, HeaderListTooLarge, HpackError
from wherry.types import HttpVersion20, RawHeaders

# RFC 9113 8.2.1, and RFC 9110 5.1: a token without upper case.
_is_name = re.compile(f"[{LOWER_TCHAR}]+".encode()).fullmatch
_bad_value = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z").search
_is_status = re.compile(rb"[1-9][0-9][0-9]").fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch
# RFC 9113 8.2.2.
_FORBIDDEN = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_MEMO_BLOCK_SIZE = 2048
_MEMO_ITEMS = 64


class Section(NamedTuple):
    """A response's header section.

    Args:
        head: The response's head.
        length: Content-Length, -1 where there is none.
    """

    head: ResponseHead
    length: int


class FieldReader:
    """Reads the header and trailer sections of one connection.

    Args:
        limits: How many fields, and how large, a section may have.
    """

    __slots__ = ("_decoder", "_limits", "_sections")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._decoder = HeaderDecoder(limits.max_head_size)
        self._sections: dict[bytes, Section] = {}

    def header_section(self, block: bytes) -> Section:
        """The section at a response's beginning.

        Raises:
            StreamFault: The response is malformed, or its section too large.
            ConnectionFault: The block cannot be decoded.
        """
        section = self._sections.get(block)
        if section is None:
            fields = self._decode(block)
            section = self._check(fields)
            if self._decoder.stable and len(block) <= _MEMO_BLOCK_SIZE:
                if len(self._sections) >= _MEMO_ITEMS:
                    self._sections.clear()
                self._sections[block] = section
        return section

    def trailer_section(self, block: bytes) -> RawHeaders:
        """The section after a response's body (RFC 9113 8.1): no pseudo-header fields.

        Raises:
            StreamFault: It is malformed, or too large.
            ConnectionFault: The block cannot be decoded.
        """
        fields = self._decode(block)
        self._check_fields(fields, 0)
        return fields

    def skip(self, block: bytes) -> None:
        """Decode for the table's sake alone; nobody wants the fields.

        Raises:
            ConnectionFault: The block cannot be decoded.
        """
        with contextlib.suppress(StreamFault):
            self._decode(block)

    def _decode(self, block: bytes) -> tuple[Field, ...]:
        decoder = self._decoder
        try:
            return decoder.decode(block)
        except HpackError as exc:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR, f"a header block cannot be decoded: {exc}"
            ) from exc
        except HeaderListTooLarge as exc:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"the response has {exc}") from exc
        finally:
            if not decoder.stable and self._sections:
                self._sections.clear()

    def _check(self, fields: tuple[Field, ...]) -> Section:
        if not fields or fields[0][0] != b":status":
            raise _malformed("the response's header section does not begin with :status")
        status = fields[0][1]
        if not _is_status(status):
            raise _malformed(f"the response's :status is {status[:32]!r}")
        if status == b"101":
            # RFC 9113 8.6.
            raise _malformed("the response's :status is 101, which HTTP/2 does not have")
        length = self._check_fields(fields, 1)
        return Section(ResponseHead(int(status), "", HttpVersion20, fields[1:]), length)

    def _check_fields(self, fields: tuple[Field, ...], start: int) -> int:
        """Check ordinary fields, and give back Content-Length or -1."""
        limits = self._limits
        if len(fields) - start > limits.max_headers:
            raise _malformed(f"the response has more than {limits.max_headers} header fields")
        length = -1
        for name, value in fields[start:]:
            if not _is_name(name):
                raise _malformed(f"the response has a field named {name[:64]!r}")
            if name in _FORBIDDEN or (name == b"te" and value != b"trailers"):
                raise _malformed(
                    f"the response has the field {name.decode()!r}, which HTTP/2 does not have"
                )
            if _bad_value(value):
                raise _malformed(
                    f"the response's field {name.decode()!r} has the value {value[:64]!r}"
                )
            if len(value) > limits.max_field_size or len(name) > limits.max_line_size:
                raise _malformed(
                    f"the header field {name[:64]!r} has more than {limits.max_field_size} bytes"
                )
            if name == b"content-length":
                if not _is_length(value) or length not in (-1, int(value)):
                    raise _malformed(f"the response's content-length is {value[:64]!r}")
                length = int(value)
        return length


def _malformed(message: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, message)
