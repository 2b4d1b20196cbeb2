"""QPACK (RFC 9204): field sections in HTTP/3, without a dynamic table.

We announce a table of 0 bytes, so a server may refer to the static table only: a block means the
same for ever, none has to wait for another, and there is nothing to remember.  `decode` undoes a
server's blocks, `encode_fields` makes ours, and `EncoderStream` and `DecoderStream` check that the
server keeps to this on its two QPACK streams.  Knows fields; neither which of them HTTP/3 allows
nor frames.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from wherry.protocol.heads import FieldBlock
from wherry.protocol.http2.hpack import ENTRY_OVERHEAD, encode_integer, lower_fields
from wherry.protocol.http2.hpack_tables import HuffmanError, decode_huffman

Field = tuple[bytes, bytes]

# RFC 9204 4.5.1: no entry of a dynamic table is needed, and the base is 0.
SECTION_PREFIX: Final = b"\x00\x00"
# RFC 9204 4.1.1: integers have up to 62 bits.
_LARGEST = 2**62 - 1
# RFC 9204 7.1.3: an intermediary must not put these into a table.
_SECRET_NAMES = frozenset({b"authorization", b"proxy-authorization"})

# RFC 9204 appendix A.
STATIC_FIELDS: Final[tuple[Field, ...]] = (
    (b":authority", b""),
    (b":path", b"/"),
    (b"age", b"0"),
    (b"content-disposition", b""),
    (b"content-length", b"0"),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"referer", b""),
    (b"set-cookie", b""),
    (b":method", b"CONNECT"),
    (b":method", b"DELETE"),
    (b":method", b"GET"),
    (b":method", b"HEAD"),
    (b":method", b"OPTIONS"),
    (b":method", b"POST"),
    (b":method", b"PUT"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"103"),
    (b":status", b"200"),
    (b":status", b"304"),
    (b":status", b"404"),
    (b":status", b"503"),
    (b"accept", b"*/*"),
    (b"accept", b"application/dns-message"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"accept-ranges", b"bytes"),
    (b"access-control-allow-headers", b"cache-control"),
    (b"access-control-allow-headers", b"content-type"),
    (b"access-control-allow-origin", b"*"),
    (b"cache-control", b"max-age=0"),
    (b"cache-control", b"max-age=2592000"),
    (b"cache-control", b"max-age=604800"),
    (b"cache-control", b"no-cache"),
    (b"cache-control", b"no-store"),
    (b"cache-control", b"public, max-age=31536000"),
    (b"content-encoding", b"br"),
    (b"content-encoding", b"gzip"),
    (b"content-type", b"application/dns-message"),
    (b"content-type", b"application/javascript"),
    (b"content-type", b"application/json"),
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"content-type", b"image/gif"),
    (b"content-type", b"image/jpeg"),
    (b"content-type", b"image/png"),
    (b"content-type", b"text/css"),
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-type", b"text/plain"),
    (b"content-type", b"text/plain;charset=utf-8"),
    (b"range", b"bytes=0-"),
    (b"strict-transport-security", b"max-age=31536000"),
    (b"strict-transport-security", b"max-age=31536000; includesubdomains"),
    (b"strict-transport-security", b"max-age=31536000; includesubdomains; preload"),
    (b"vary", b"accept-encoding"),
    (b"vary", b"origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-xss-protection", b"1; mode=block"),
    (b":status", b"100"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"302"),
    (b":status", b"400"),
    (b":status", b"403"),
    (b":status", b"421"),
    (b":status", b"425"),
    (b":status", b"500"),
    (b"accept-language", b""),
    (b"access-control-allow-credentials", b"FALSE"),
    (b"access-control-allow-credentials", b"TRUE"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-allow-methods", b"get"),
    (b"access-control-allow-methods", b"get, post, options"),
    (b"access-control-allow-methods", b"options"),
    (b"access-control-expose-headers", b"content-length"),
    (b"access-control-request-headers", b"content-type"),
    (b"access-control-request-method", b"get"),
    (b"access-control-request-method", b"post"),
    (b"alt-svc", b"clear"),
    (b"authorization", b""),
    (b"content-security-policy", b"script-src 'none'; object-src 'none'; base-uri 'none'"),
    (b"early-data", b"1"),
    (b"expect-ct", b""),
    (b"forwarded", b""),
    (b"if-range", b""),
    (b"origin", b""),
    (b"purpose", b"prefetch"),
    (b"server", b""),
    (b"timing-allow-origin", b"*"),
    (b"upgrade-insecure-requests", b"1"),
    (b"user-agent", b""),
    (b"x-forwarded-for", b""),
    (b"x-frame-options", b"deny"),
    (b"x-frame-options", b"sameorigin"),
)
_INDEXED = {field: encode_integer(index, 0x3F, 0xC0) for index, field in enumerate(STATIC_FIELDS)}
_NAMED: dict[bytes, int] = {}
for _index, (_name, _) in enumerate(STATIC_FIELDS):
    _NAMED.setdefault(_name, _index)


class QpackError(ValueError):
    """A field section cannot be decoded: QPACK_DECOMPRESSION_FAILED (RFC 9204 6)."""


class SectionTooLarge(ValueError):
    """A field section is larger than what is allowed; its stream alone has to end."""


class TooManyFields(SectionTooLarge):
    """The same by the number of its fields."""


class QpackStreamError(ValueError):
    """The server says something on a QPACK stream that it may not (RFC 9204 6)."""


# --- what a server sends --------------------------------------------------------------------------


def decode(block: bytes, max_size: int = 65536, max_fields: int = sys.maxsize) -> tuple[Field, ...]:
    """The fields of one encoded field section (RFC 9204 4.5).

    Args:
        block: Its bytes.
        max_size: The section's size at most, in bytes (RFC 9114 4.2.2's way of counting).
        max_fields: How many fields it may have.

    Raises:
        QpackError: It is malformed, or refers to a dynamic table.
        SectionTooLarge: It is too large; nothing was kept, so nothing else suffers.
    """
    fields: list[Field] = []
    size = 0
    end = len(block)
    try:
        position = _after_prefix(block)
        while position < end:
            octet = block[position]
            position += 1
            if octet & 0x80:  # 4.5.2: indexed
                index, position = _integer(block, position, octet, 0x3F)
                field = _static(index, octet & 0x40)
            elif octet & 0x40:  # 4.5.4: literal with name reference
                index, position = _integer(block, position, octet, 0x0F)
                name = _static(index, octet & 0x10)[0]
                value, position = _string(block, position, 7)
                field = name, value
            elif octet & 0x20:  # 4.5.6: literal with literal name
                name, position = _string(block, position - 1, 3)
                value, position = _string(block, position, 7)
                field = name, value
            else:
                raise QpackError("a field line refers to an entry after the base")
            size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if size > max_size:
                raise SectionTooLarge(f"a header section of more than {max_size} bytes")
            if len(fields) >= max_fields:
                raise TooManyFields(f"more than {max_fields} header fields")
            fields.append(field)
    except IndexError:
        raise QpackError("the block ends inside a field line") from None
    except HuffmanError as exc:
        raise QpackError(str(exc)) from exc
    return tuple(fields)


def _after_prefix(block: bytes) -> int:
    """Where the field lines begin (RFC 9204 4.5.1); no entry may be needed, for there are none."""
    needed, position = _integer(block, 1, block[0], 0xFF)
    if needed:
        raise QpackError(f"the block needs entries of a dynamic table: {needed}")
    octet = block[position]
    _, position = _integer(block, position + 1, octet, 0x7F)
    if octet & 0x80:  # 4.5.1.2: the base would be negative
        raise QpackError("the block's base is negative")
    return position


def _static(index: int, is_static: int) -> Field:
    if not is_static:
        raise QpackError(f"a field line refers to entry {index} of a dynamic table")
    if index >= len(STATIC_FIELDS):
        raise QpackError(f"there is no entry {index} in the static table")
    return STATIC_FIELDS[index]


def _integer(block: bytes, position: int, octet: int, prefix: int) -> tuple[int, int]:
    """An integer whose first octet is `octet`, and where it ends (RFC 9204 4.1.1)."""
    value = octet & prefix
    if value < prefix:
        return value, position
    for shift in range(0, 63, 7):
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            if value > _LARGEST:
                break
            return value, position
    raise QpackError("an integer is too long")


def _string(block: bytes, position: int, bits: int) -> tuple[bytes, int]:
    """A string literal with a length prefix of so many bits, above which stands H (RFC 9204
    4.1.2).
    """
    octet = block[position]
    size, position = _integer(block, position + 1, octet, (1 << bits) - 1)
    end = position + size
    if end > len(block):
        raise QpackError("the block ends inside a string")
    data = block[position:end]
    return (decode_huffman(data) if octet & 1 << bits else data), end


class EncoderStream:
    """The server's encoder stream (RFC 9204 4.3): with a table of 0 bytes it has nothing to say."""

    __slots__ = ()

    def receive(self, data: bytes) -> None:
        """Check what came.

        Raises:
            QpackStreamError: It is more than a capacity of 0.
        """
        for octet in data:
            # 4.3.1: Set Dynamic Table Capacity is 001 and five bits.
            if octet != 0x20:
                raise QpackStreamError("the server writes to a table that it was not given")


class DecoderStream:
    """The server's decoder stream (RFC 9204 4.4): our blocks refer to no table, so all that it may
    say is that it gave a stream up.
    """

    __slots__ = ("_inside", "_size")

    def __init__(self) -> None:
        self._inside = False  # an integer that goes on
        self._size = 0

    def receive(self, data: bytes) -> None:
        """Check what came.

        Raises:
            QpackStreamError: It is anything but Stream Cancellation.
        """
        for octet in data:
            if self._inside:
                self._size += 1
                if self._size > 9:
                    raise QpackStreamError("an integer is too long")
                self._inside = octet >= 0x80
            elif octet & 0xC0 == 0x40:
                self._size = 0
                self._inside = octet & 0x3F == 0x3F
            else:
                raise QpackStreamError("the server confirms entries that were never sent")


# --- what we send ---------------------------------------------------------------------------------


def encode_fields(fields: Iterable[Field]) -> bytes:
    """Field lines: from the static table where they stand there, else literals.

    Strings go out as they are: the Huffman code would save a few bytes and cost time on every
    request.
    """
    return b"".join([_INDEXED.get(field) or _literal(field) for field in fields])


def _literal(field: Field) -> bytes:
    name, value = field
    secret = name in _SECRET_NAMES
    index = _NAMED.get(name)
    if index is not None:
        start = encode_integer(index, 0x0F, 0x70 if secret else 0x50)
    else:
        start = encode_integer(len(name), 0x07, 0x30 if secret else 0x20) + name
    return start + encode_integer(len(value), 0x7F, 0) + value


def encode_path(path: str) -> bytes:
    """The field line of :path, which is another one for nearly every request."""
    value = path.encode("utf-8", "surrogateescape")
    size = len(value)
    # The static table's entry 1 is ":path: /".
    if size < 0x7F:
        return b"\x51%c%b" % (size, value) if path != "/" else b"\xc1"
    return b"\x51" + encode_integer(size, 0x7F, 0) + value


def encode_shared(block: FieldBlock) -> bytes:
    """The field lines of what many requests share, encoded once."""
    encoded = block.encoded_http3
    if encoded is None:
        encoded = block.encoded_http3 = encode_fields(lower_fields(block.pairs))
    return encoded
