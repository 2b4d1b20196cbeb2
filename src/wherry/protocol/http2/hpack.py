"""HPACK (RFC 7541): the compression of header fields, with a table at each end of a connection.

`HeaderDecoder` undoes a server's blocks and `HeaderEncoder` makes ours.  Both remember whole blocks
for as long as the table that gives them their meaning stays as it is, so the blocks of a busy
connection cost one look-up.  Knows fields and tables; neither which fields HTTP/2 allows nor
frames.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable

from wherry.protocol.heads import FieldBlock
from wherry.protocol.http2.hpack_tables import (
    STATIC_FIELDS,
    STATIC_INDEX,
    STATIC_NAME_INDEX,
    HuffmanError,
    decode_huffman,
)

Field = tuple[bytes, bytes]

DEFAULT_TABLE_SIZE = 4096
# RFC 7541 4.1: what an entry counts besides its bytes.
ENTRY_OVERHEAD = 32
# How many fields are passed over after a list's limit, so that one that is too long ends its stream
# alone; where more come, the connection ends.
MOST_PASSED_OVER = 1024
# How much is remembered: strings and blocks longer than this are not, and a full memory is emptied.
_MEMO_ITEM_SIZE = 512
_MEMO_ITEMS = 256
# RFC 7541 7.1.3: never let a guess be tested against these by the size of what we send.
_SECRET_NAMES = frozenset({b"authorization", b"proxy-authorization"})
_SECRET_COOKIE_SIZE = 20
# RFC 9113 8.2.2: these speak of an HTTP/1 connection.  Host is :authority here.
_NOT_SENT = frozenset(
    {
        "connection",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    }
)


class HpackError(ValueError):
    """A header block cannot be decoded: the connection's two tables differ from here on (RFC 9113
    4.3).
    """


class HeaderListTooLarge(ValueError):
    """A header list is larger than what is allowed; the table is as it must be."""


class TooManyFields(HeaderListTooLarge):
    """A header list has more fields than allowed; the table is as it must be."""


class HeaderListFlood(ValueError):
    """A header list goes on and on after its limit; the table is not as it must be."""


class HeaderDecoder:
    """Decodes a server's header blocks, with the table that they share.

    Args:
        max_list_size: The size of a header list at most, in bytes (RFC 9113 6.5.2's way of
            counting).
        max_table_size: What SETTINGS_HEADER_TABLE_SIZE told the peer, in bytes.
    """

    __slots__ = ("_limit", "_max_size", "_size", "_strings", "_table", "max_list_size", "stable")

    def __init__(
        self, max_list_size: int = 65536, max_table_size: int = DEFAULT_TABLE_SIZE
    ) -> None:
        self.max_list_size: int = max_list_size
        self._table: deque[Field] = deque()  # the newest first: index 62
        self._size = 0
        self._max_size = max_table_size
        self._limit = max_table_size
        self._strings: dict[bytes, bytes] = {}
        # Whether the block decoded last left the table as it was, so that the same bytes mean the
        # same again.
        self.stable: bool = True

    def decode(
        self, block: bytes, max_size: int | None = None, max_fields: int = sys.maxsize
    ) -> tuple[Field, ...]:
        """The fields of one header block.

        Args:
            block: Its bytes.
            max_size: The size of the list at most, in bytes; `max_list_size` by default.
            max_fields: How many fields it may have.

        Raises:
            HpackError: It is malformed.
            HeaderListTooLarge: It is too long; for the table's sake alone it was read to its end.
            HeaderListFlood: That end is too far.
        """
        if max_size is None:
            max_size = self.max_list_size
        try:
            return self._decode(block, max_size, max_fields)
        except IndexError:
            raise HpackError(
                "an index is not in the table, or the block ends inside a field"
            ) from None
        except HuffmanError as exc:
            raise HpackError(str(exc)) from exc

    def _decode(self, block: bytes, max_size: int, max_fields: int) -> tuple[Field, ...]:
        """Read field by field: each call saved here is saved for each field of each response."""
        fields: list[Field] = []
        table = self._table
        position = list_size = 0
        end = len(block)
        fresh = self.stable = True
        while position < end:
            octet = block[position]
            position += 1
            if octet & 0x80:  # 6.1: indexed
                index = octet & 0x7F
                if index == 0x7F:
                    index, position = _integer(block, position, index)
                if not index:
                    raise HpackError("index 0 is used")
                field = STATIC_FIELDS[index] if index < 62 else table[index - 62]
            elif octet & 0xE0 == 0x20:  # 6.3: the table's size
                if not fresh:
                    raise HpackError("the table's size changes after a field")
                position = self._size_update(block, position, octet & 0x1F)
                continue
            else:  # 6.2: a literal, to be indexed or not
                prefix = 0x3F if octet & 0x40 else 0x0F
                index = octet & prefix
                if index == prefix:
                    index, position = _integer(block, position, prefix)
                if not index:
                    name, position = self._string(block, position)
                else:
                    name = STATIC_FIELDS[index][0] if index < 62 else table[index - 62][0]
                value, position = self._string(block, position)
                field = (name, value)
                if octet & 0x40:
                    self._insert(field)
            fresh = False
            list_size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if list_size > max_size or len(fields) == max_fields:
                self._pass_over(block, position)
                raise (
                    TooManyFields(f"more than {max_fields} header fields")
                    if list_size <= max_size
                    else HeaderListTooLarge(f"more than {max_size} bytes of header fields")
                )
            fields.append(field)
        return tuple(fields)

    def _pass_over(self, block: bytes, position: int) -> None:
        """Do what the rest of a block does to the table, and nothing else.

        Raises:
            HeaderListFlood: It has too many fields.
        """
        end = len(block)
        for _ in range(MOST_PASSED_OVER):
            if position >= end:
                return
            octet = block[position]
            prefix = 0x7F if octet & 0x80 else 0x3F if octet & 0x40 else 0x0F
            if octet & 0xE0 == 0x20:
                raise HpackError("the table's size changes after a field")
            index = octet & prefix
            position += 1
            if index == prefix:
                index, position = _integer(block, position, prefix)
            if octet & 0x80:
                self._field(index)
            elif octet & 0x40:
                if index:
                    name = self._field(index)[0]
                else:
                    name, position = self._string(block, position)
                value, position = self._string(block, position)
                self._insert((name, value))
            else:
                if index:
                    self._field(index)
                else:
                    position = _after_string(block, position)
                position = _after_string(block, position)
        if position < end:
            raise HeaderListFlood(
                f"a header block has {MOST_PASSED_OVER} fields and more after its limit"
            )

    def _field(self, index: int) -> Field:
        if not index:
            raise HpackError("index 0 is used")
        return STATIC_FIELDS[index] if index < 62 else self._table[index - 62]

    def _string(self, block: bytes, position: int) -> tuple[bytes, int]:
        octet = block[position]
        position += 1
        size = octet & 0x7F
        if size == 0x7F:
            size, position = _integer(block, position, size)
        end = position + size
        if end > len(block):
            raise HpackError("the block ends inside a string")
        data = block[position:end]
        if octet & 0x80:
            text = self._strings.get(data)
            if text is None:
                text = decode_huffman(data)
                if size <= _MEMO_ITEM_SIZE:
                    if len(self._strings) >= _MEMO_ITEMS:
                        self._strings.clear()
                    self._strings[data] = text
            data = text
        return data, end

    def _insert(self, field: Field) -> None:
        self.stable = False
        self._table.appendleft(field)
        self._size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        if self._size > self._limit:
            self._evict()

    def _size_update(self, block: bytes, position: int, size: int) -> int:
        """Take a dynamic table size update, and give back where it ends."""
        if size == 0x1F:
            size, position = _integer(block, position, size)
        if size > self._max_size:
            raise HpackError(
                f"the table's size becomes {size}, more than the {self._max_size} that we allow"
            )
        self.stable = False
        self._limit = size
        self._evict()
        return position

    def _evict(self) -> None:
        """RFC 7541 4.3, 4.4: an entry that is larger than the table empties it."""
        table = self._table
        while self._size > self._limit:
            name, value = table.pop()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def _integer(block: bytes, position: int, value: int) -> tuple[int, int]:
    """An integer that goes on after its prefix (RFC 7541 5.1); no honest one is longer than five
    octets.
    """
    for shift in (0, 7, 14, 21, 28):
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
    raise HpackError("an integer is too long")


def _after_string(block: bytes, position: int) -> int:
    """Where a string literal ends (RFC 7541 5.2)."""
    size = block[position] & 0x7F
    position += 1
    if size == 0x7F:
        size, position = _integer(block, position, size)
    if position + size > len(block):
        raise HpackError("the block ends inside a string")
    return position + size


def encode_integer(value: int, prefix: int, first: int) -> bytes:
    """An integer with a prefix that is all ones at `prefix`, in an octet whose other bits are
    `first`.
    """
    if value < prefix:
        return bytes((first | value,))
    octets = bytearray((first | prefix,))
    value -= prefix
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def encode_string(data: bytes) -> bytes:
    """A string literal as it is: the Huffman code would save a few bytes once and cost time on
    every request.
    """
    return encode_integer(len(data), 0x7F, 0) + data


def lower_fields(pairs: Iterable[tuple[str, str]]) -> list[Field]:
    """Fields as HTTP/2 has them: names in lower case, none that speaks of a connection (RFC 9113
    8.2).
    """
    fields: list[Field] = []
    for name, value in pairs:
        name = name.lower()
        if name in _NOT_SENT or (name == "te" and value.strip().lower() != "trailers"):
            continue
        data = value.strip(" \t").encode("utf-8", "surrogateescape")
        key = name.encode()
        if name == "cookie":
            # RFC 9113 8.2.3: in crumbs, so that each cookie is compressed by itself.
            fields += [(key, crumb) for crumb in data.split(b"; ") if crumb]
        else:
            fields.append((key, data))
    return fields


class HeaderEncoder:
    """Encodes requests' header blocks, with the table that they share.

    What requests share goes into the table at once; a field of one request does when it is seen a
    second time.
    """

    __slots__ = (
        "_blocks",
        "_fields",
        "_index",
        "_inserted",
        "_limit",
        "_seen",
        "_size",
        "_table",
        "_update",
        "era",
        "repeatable",
    )

    def __init__(self) -> None:
        self._table: deque[Field] = deque()  # the newest first
        self._index: dict[Field, int] = {}  # -> how many entries had been inserted with it
        self._inserted = 0
        self._size = 0
        self._limit = DEFAULT_TABLE_SIZE
        self._update: list[int] = []  # sizes to tell before the next field (6.3)
        # What was encoded, for as long as the table stays: an insertion moves every index.
        self._blocks: dict[tuple[str, str, str, FieldBlock], tuple[bytes, bytes]] = {}
        self._fields: dict[tuple[str, str], bytes] = {}
        self._seen: dict[Field, None] = {}
        # Whether the block encoded last means the same again, for as long as `era` stays the same
        # object.
        self.repeatable: bool = False
        self.era: object = object()

    def resize(self, peer_limit: int) -> None:
        """Follow the peer's SETTINGS_HEADER_TABLE_SIZE; we never keep more than the default."""
        limit = min(peer_limit, DEFAULT_TABLE_SIZE)
        if limit == self._limit:
            return
        # RFC 7541 4.2: the smallest size since the last block is told, then the last one.
        self._update = [*(size for size in self._update[:1] if size < limit), limit]
        self._limit = limit
        self._evict()
        self._forget()

    def encode(
        self,
        method: str,
        scheme: str,
        authority: str,
        path: str,
        shared: FieldBlock,
        fields: Iterable[tuple[str, str]],
    ) -> bytes:
        """A request's header block: the pseudo-header fields, then `shared`, then `fields`."""
        key = (method, scheme, authority, shared)
        self.repeatable = True
        block = self._blocks.get(key)
        if block is None:
            return self._encode_anew(key, path, fields)
        if not fields:
            return b"%b%b%b" % (block[0], _path(path), block[1])
        own = []
        for pair in fields:
            data = self._fields.get(pair)
            if data is None:
                return self._encode_anew(key, path, fields)
            own.append(data)
        return b"%b%b%b%b" % (block[0], _path(path), block[1], b"".join(own))

    def encode_fields(self, fields: Iterable[Field]) -> bytes:
        """A block of any fields (trailers, extended CONNECT's); the table stays as it is."""
        return self._size_updates() + b"".join(
            [self._encode(field, insert=False) for field in fields]
        )

    def _encode_anew(
        self, key: tuple[str, str, str, FieldBlock], path: str, fields: Iterable[tuple[str, str]]
    ) -> bytes:
        """Encode field by field, in the order of sending: each index counts what this block
        inserted so far.
        """
        self.repeatable = False
        method, scheme, authority, shared = key
        inserted = self._inserted
        updates = self._size_updates()
        front = b"".join(
            (
                self._encode((b":method", method.encode()), insert=False),
                self._encode((b":scheme", scheme.encode()), insert=False),
                self._encode((b":authority", authority.encode()), insert=True),
            )
        )
        common = shared.encoded_http2
        if common is None:
            common = shared.encoded_http2 = lower_fields(shared.pairs)
        back = b"".join([self._encode(field, insert=True) for field in common])
        own = [
            b"".join(
                [
                    self._encode(field, insert=self._seen_before(field))
                    for field in lower_fields((pair,))
                ]
            )
            for pair in fields
        ]
        if self._inserted == inserted:
            if len(self._blocks) >= _MEMO_ITEMS:
                self._blocks.clear()
            self._blocks[key] = (front, back)
            for pair, data in zip(fields, own, strict=True):
                if len(self._fields) >= _MEMO_ITEMS:
                    self._fields.clear()
                self._fields[pair] = data
        return b"".join((updates, front, _path(path), back, *own))

    def _seen_before(self, field: Field) -> bool:
        if field in self._seen:
            return True
        if len(self._seen) >= _MEMO_ITEMS:
            self._seen.clear()
        self._seen[field] = None
        return False

    def _encode(self, field: Field, *, insert: bool) -> bytes:
        index = STATIC_INDEX.get(field)
        if index is None and (number := self._index.get(field)) is not None:
            index = 62 + self._inserted - number
        if index is not None:
            return encode_integer(index, 0x7F, 0x80)
        name, value = field
        index = STATIC_NAME_INDEX.get(name, 0)
        size = len(name) + len(value) + ENTRY_OVERHEAD
        if name in _SECRET_NAMES or (name == b"cookie" and len(value) < _SECRET_COOKIE_SIZE):
            first = encode_integer(index, 0x0F, 0x10)
        elif insert and size <= self._limit // 2:
            first = encode_integer(index, 0x3F, 0x40)
            self._insert(field, size)
        else:
            first = encode_integer(index, 0x0F, 0x00)
        return b"%b%b%b" % (first, b"" if index else encode_string(name), encode_string(value))

    def _insert(self, field: Field, size: int) -> None:
        self._inserted += 1
        self._index[field] = self._inserted
        self._table.appendleft(field)
        self._size += size
        self._evict()
        self._forget()

    def _evict(self) -> None:
        while self._size > self._limit:
            field = self._table.pop()
            self._size -= len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            del self._index[field]

    def _forget(self) -> None:
        self._blocks.clear()
        self._fields.clear()
        self.era = object()

    def _size_updates(self) -> bytes:
        sizes, self._update = self._update, []
        return b"".join([encode_integer(size, 0x1F, 0x20) for size in sizes])


def _path(path: str) -> bytes:
    """:path, never indexed: it differs from request to request."""
    data = path.encode("utf-8", "surrogateescape")
    return b"\x04%c%b" % (len(data), data) if len(data) < 0x7F else b"\x04" + encode_string(data)
