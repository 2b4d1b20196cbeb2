"""What a header section of HTTP/2 may hold (RFC 9113 8): from a block's bytes to a response's
status and fields.

Whole sections are remembered by their block for as long as the compression state gives it the same
meaning.
"""

from __future__ import annotations

import contextlib

from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.heads import ResponseHead
from wherry.protocol.http2.frames import ErrorCode
from wherry.protocol.http2.hpack import (
    Field,
    HeaderDecoder,
    HeaderListFlood,
    HeaderListTooLarge,
    HpackError,
    TooManyFields,
)
from wherry.protocol.limits import Limits
from wherry.protocol.multiplexed_response_fields import check_fields, check_status
from wherry.protocol.multiplexing import Section, SectionReader
from wherry.types import HttpVersion20, RawHeaders

# Of a section that nobody waits for, nothing is kept.
_NOTHING = Limits(0, 0, 0)


class FieldReader(SectionReader):
    """Reads the header and trailer sections of one connection."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        super().__init__()
        self._decoder: HeaderDecoder = HeaderDecoder()

    def _section(self, block: bytes, limits: Limits) -> Section:
        fields = self._decode(block, limits, pseudo=1)
        status = check_status(fields, "HTTP/2", _malformed)
        length = check_fields(fields, 1, limits, "HTTP/2", _malformed)
        return Section(ResponseHead(status, "", HttpVersion20, fields[1:]), length, limits)

    def trailer_section(self, block: bytes, limits: Limits) -> RawHeaders:
        """The section after a response's body (RFC 9113 8.1): no pseudo-header fields.

        Raises:
            StreamFault: It is malformed, or too large.
            ConnectionFault: The block cannot be decoded.
        """
        fields = self._decode(block, limits)
        check_fields(fields, 0, limits, "HTTP/2", _malformed)
        return fields

    def skip(self, block: bytes) -> None:
        """Decode for the table's sake alone; nobody wants the fields.

        Raises:
            ConnectionFault: The block cannot be decoded.
        """
        with contextlib.suppress(StreamFault):
            self._decode(block, _NOTHING)

    def _decode(self, block: bytes, limits: Limits, pseudo: int = 0) -> tuple[Field, ...]:
        decoder = self._decoder
        try:
            return decoder.decode(block, limits.max_head_size, limits.max_headers + pseudo)
        except TooManyFields as exc:
            raise _malformed(limits.too_many()) from exc
        except HeaderListFlood as exc:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(exc)) from exc
        except HpackError as exc:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR, f"a header block cannot be decoded: {exc}"
            ) from exc
        except HeaderListTooLarge as exc:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"the response has {exc}") from exc
        finally:
            if not decoder.stable and self._sections:
                self._sections.clear()


def _malformed(message: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, message)
