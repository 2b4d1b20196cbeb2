"""What a header section of HTTP/3 may hold (RFC 9114 4): a response's status and fields out of a
block, and a block out of a request's head.

Without a dynamic table a block means the same on every connection, so whole sections are remembered
by their bytes.
"""

from __future__ import annotations

from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.heads import FieldPairs, RequestHead, ResponseHead
from wherry.protocol.http2.hpack import lower_fields
from wherry.protocol.http3.frames import HEADERS, ErrorCode, frame
from wherry.protocol.http3.qpack import (
    SECTION_PREFIX,
    Field,
    QpackError,
    SectionTooLarge,
    TooManyFields,
    decode,
    encode_fields,
    encode_path,
    encode_shared,
)
from wherry.protocol.limits import Limits
from wherry.protocol.multiplexed_response_fields import check_fields, check_status
from wherry.protocol.multiplexing import NO_TABLE, Section, SectionReader, origin_form
from wherry.types import HttpVersion30, RawHeaders

_MOST_STARTS = 64
# Stands in `RequestHead.encoded_http2` beside a block of ours: the one state that there is.
_STATELESS = object()


# --- responses ------------------------------------------------------------------------------------


class FieldReader(SectionReader):
    """Reads the header and trailer sections of one connection."""

    __slots__ = ()

    _decoder = NO_TABLE

    def _section(self, block: bytes, limits: Limits) -> Section:
        fields = _fields_of(block, limits, pseudo=1)
        status = check_status(fields, "HTTP/3", _malformed)
        length = check_fields(fields, 1, limits, "HTTP/3", _malformed)
        return Section(ResponseHead(status, "", HttpVersion30, fields[1:]), length, limits)

    @staticmethod
    def trailer_section(block: bytes, limits: Limits) -> RawHeaders:
        """The section after a response's body (RFC 9114 4.1): no pseudo-header fields.

        Raises:
            StreamFault: It is malformed, or too large.
            ConnectionFault: The block cannot be decoded.
        """
        fields = _fields_of(block, limits)
        check_fields(fields, 0, limits, "HTTP/3", _malformed)
        return fields


def _fields_of(block: bytes, limits: Limits, pseudo: int = 0) -> tuple[Field, ...]:
    try:
        return decode(block, limits.max_head_size, limits.max_headers + pseudo)
    except TooManyFields as exc:
        raise _malformed(limits.too_many()) from exc
    except SectionTooLarge as exc:
        raise _malformed(f"the response has {exc}") from exc
    except QpackError as exc:
        raise ConnectionFault(
            ErrorCode.QPACK_DECOMPRESSION_FAILED, f"a header block cannot be decoded: {exc}"
        ) from exc


def _malformed(message: str) -> StreamFault:
    return StreamFault(ErrorCode.MESSAGE_ERROR, message)


# --- requests -------------------------------------------------------------------------------------


def request_frame(head: RequestHead) -> bytes:
    """The HEADERS frame of a request; a head that is sent again and again is encoded once."""
    kept = head.encoded_http2
    if kept is not None and kept[0] is _STATELESS:
        return kept[1]
    method, target, shared = head.method, head.target, head.shared
    is_connect = method == "CONNECT"
    key = method, head.scheme, target if is_connect else head.authority
    path = b"" if is_connect else encode_path(target if target[:1] == "/" else origin_form(target))
    pieces = [
        _STARTS.get(key) or _start_of(key),
        path,
        shared.encoded_http3 or encode_shared(shared),
    ]
    fields = head.fields
    if head.content_length is not None:
        fields = (*fields, ("content-length", str(head.content_length)))
    if head.expect_continue:
        fields = (*fields, ("expect", "100-continue"))
    if fields:
        pieces.append(encode_fields(lower_fields(fields)))
    block = b"".join(pieces)
    size = len(block)
    if 64 <= size < 16384:  # as `frame` does it, in one step
        encoded = b"\x01%b%b" % ((size | 0x4000).to_bytes(2), block)
    else:
        encoded = frame(HEADERS, block)
    head.encoded_http2 = _STATELESS, encoded
    return encoded


# How requests of one method to one origin begin.
_STARTS: dict[tuple[str, str, str], bytes] = {}


def _start_of(key: tuple[str, str, str]) -> bytes:
    """The prefix, and the pseudo-header fields without the path (RFC 9114 4.3.1; for CONNECT
    4.4).
    """
    method, scheme, authority = key
    fields: list[Field] = [(b":method", method.encode())]
    if method == "CONNECT":
        fields.append((b":authority", _octets(authority)))
    else:
        fields += [(b":scheme", scheme.encode()), (b":authority", _octets(authority))]
    if len(_STARTS) >= _MOST_STARTS:
        _STARTS.clear()
    start = _STARTS[key] = SECTION_PREFIX + encode_fields(fields)
    return start


def connect_frame(head: RequestHead) -> bytes:
    """The HEADERS frame of an extended CONNECT (RFC 9220 3, RFC 8441 4, 5), without the key that
    only HTTP/1.1 has.
    """
    assert head.upgrade is not None
    pseudo: list[Field] = [
        (b":method", b"CONNECT"),
        (b":protocol", head.upgrade.encode()),
        (b":scheme", head.scheme.encode()),
        (b":authority", _octets(head.authority)),
        (b":path", _octets(origin_form(head.target))),
    ]
    fields = [
        pair
        for pair in (*head.shared.pairs, *head.fields)
        if pair[0].lower() != "sec-websocket-key"
    ]
    return frame(
        HEADERS, SECTION_PREFIX + encode_fields(pseudo) + encode_fields(lower_fields(fields))
    )


def trailers_frame(trailers: FieldPairs) -> bytes:
    """The HEADERS frame after a request's body."""
    return frame(HEADERS, SECTION_PREFIX + encode_fields(lower_fields(trailers)))


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
