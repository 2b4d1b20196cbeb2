"""DNS messages (RFC 1035 4): a question, and the records in its answer.  Pure."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

TYPE_A = 1
TYPE_AAAA = 28
TYPE_SVCB = 64
TYPE_HTTPS = 65
NXDOMAIN = 3
_TYPE_CNAME = 5
_CLASS_IN = 1
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_OPCODE = 0x7800
_TRUNCATED = 0x0200
_HEADER = struct.Struct("!6H")
_KIND = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
# How many bytes a record of a type has, where that is fixed.
_SIZES = {TYPE_A: 4, TYPE_AAAA: 16}
_AAAA = TYPE_AAAA.to_bytes(2)
MAX_RECORDS = 512
# RFC 1035 2.3.4: 255 bytes with the root's.
_MAX_NAME = 254

# A name as its labels in lower case (RFC 4343).
Name = tuple[bytes, ...]


class Answer(NamedTuple):
    """The addresses that a DNS server gave, and for how long they hold.

    Args:
        code: The response code (RFC 1035 4.1.1), 0 for no error.
        addresses: The addresses, numeric, each once.
        ttl: Seconds that the shortest-lived of what leads to them may be kept; 0 without any.
    """

    code: int
    addresses: list[str]
    ttl: int


def question(name: str, kind: int) -> bytes:
    """A recursive question for `name`'s records of `kind`; its id is 0, which HTTP caches like (RFC
    8484 4.1).

    Raises:
        ValueError: The name is not one that DNS can carry.
    """
    encoded = bytearray()
    for label in name.rstrip(".").encode("ascii").split(b"."):
        if not 0 < len(label) < 64:
            raise ValueError(f"{name!r} is no name for DNS: a label has 1 to 63 bytes")
        encoded += bytes((len(label),)) + label
    if len(encoded) > _MAX_NAME:
        raise ValueError(f"{name!r} is no name for DNS: it has more than 253 bytes")
    return (
        _HEADER.pack(0, _RECURSION_DESIRED, 1, 0, 0, 0)
        + bytes(encoded)
        + b"\0"
        + _KIND.pack(kind, _CLASS_IN)
    )


class Record(NamedTuple):
    """One record of an answer.

    Args:
        value: Its bytes, as they stand in the message.
        ttl: Seconds that it may be kept.
    """

    value: bytes
    ttl: int


def read_answer(data: bytes, asked: bytes) -> Answer:
    """The addresses in the answer to a question.

    Args:
        data: The answer.
        asked: The question, as `question` made it.

    Raises:
        ValueError: `data` is no answer, not one to this question, or not whole.
    """
    code, records, ttl = read_records(data, asked)
    family = socket.AF_INET6 if asked[-4:-2] == _AAAA else socket.AF_INET
    addresses = [socket.inet_ntop(family, record.value) for record in records]
    return Answer(code, list(dict.fromkeys(addresses)), ttl)


def read_records(data: bytes, asked: bytes) -> tuple[int, list[Record], int]:
    """The records in the answer to a question, in their order.

    Those of other names count only where CNAMEs lead to them; the server followed these.

    Args:
        data: The answer.
        asked: The question, as `question` made it.

    Returns:
        The response code, the records, and for how many seconds all of it holds, 0 without any.

    Raises:
        ValueError: `data` is no answer, not one to this question, or not whole.
    """
    try:
        number, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
        if not flags & _RESPONSE or flags & _OPCODE or number:
            raise ValueError("a DNS message that is no answer to a question of ours")
        code = flags & 0x000F
        if flags & _TRUNCATED:
            raise ValueError("a DNS message that is truncated")  # RFC 2181 9: it is not to be used
        if questions > 1 or answers > MAX_RECORDS:
            raise ValueError(f"a DNS message of {questions} questions and {answers} answers")
        name, kind, _ = _read_question(asked, _HEADER.size)
        offset = _HEADER.size
        if questions:
            *about, offset = _read_question(data, offset)
            if about != [name, kind]:
                raise ValueError("a DNS message that answers another question")
        elif not code:
            raise ValueError("a DNS message that does not say what it answers")
        records, ttl = _records_of(data, offset, answers, name, kind)
    except struct.error as exc:
        raise ValueError("a DNS message that ends too early") from exc
    return code, records, ttl


def _read_question(data: bytes, offset: int) -> tuple[Name, int, int]:
    name, offset = _read_name(data, offset)
    kind, family = _KIND.unpack_from(data, offset)
    if family != _CLASS_IN:
        raise ValueError(f"a DNS message of class {family}")
    return name, kind, offset + _KIND.size


def _records_of(
    data: bytes, offset: int, count: int, name: Name, kind: int
) -> tuple[list[Record], int]:
    """The records of `name`, and for how many seconds they hold."""
    aliases: dict[Name, tuple[Name, int]] = {}
    found: list[tuple[Name, Record]] = []
    for _ in range(count):
        owner, offset = _read_name(data, offset)
        what, family, ttl, length = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size
        value = data[offset : offset + length]
        if len(value) != length:
            raise ValueError("a DNS message that ends inside a record")
        if ttl >= 1 << 31:
            ttl = 0  # RFC 2181 8
        if family == _CLASS_IN and what == kind:
            if length != _SIZES.get(kind, length):
                raise ValueError(f"a DNS message with an address of {length} bytes")
            found.append((owner, Record(value, ttl)))
        elif family == _CLASS_IN and what == _TYPE_CNAME:
            target, end = _read_name(data, offset)
            if end != offset + length:
                raise ValueError("a DNS message with a CNAME that is longer than its record")
            aliases.setdefault(owner, (target, ttl))
        offset += length
    # Where the aliases lead, from name to name; who comes back to where it was has been everywhere.
    names: dict[Name, None] = {name: None}
    ttls: list[int] = []
    while name in aliases and aliases[name][0] not in names:
        name, ttl = aliases[name]
        names[name] = None
        ttls.append(ttl)
    used = [record for owner, record in found if owner in names]
    return used, min(*ttls, *(record.ttl for record in used), 2**31) if used else 0


def _read_name(data: bytes, offset: int) -> tuple[Name, int]:
    """The name at `offset`, and where it ends there; the rest of it may lie before (RFC 1035
    4.1.4).
    """
    labels: list[bytes] = []
    end = size = 0
    start = offset
    while True:
        if offset >= len(data):
            raise ValueError("a DNS message that ends inside a name")
        length = data[offset]
        if length & 0xC0 == 0xC0:
            if offset + 1 >= len(data):
                raise ValueError("a DNS message that ends inside a name")
            end = end or offset + 2
            offset = (length & 0x3F) << 8 | data[offset + 1]
            if offset >= start:
                raise ValueError("a DNS message with a name that does not point back")
            start = offset
            continue
        if length & 0xC0:
            raise ValueError("a DNS message with a label of unknown kind")
        offset += 1
        if not length:
            return tuple(labels), end or offset
        size += 1 + length
        if size > _MAX_NAME:
            raise ValueError("a DNS message with a name of more than 253 bytes")
        label = data[offset : offset + length]
        if len(label) != length:
            raise ValueError("a DNS message that ends inside a name")
        labels.append(label.lower())
        offset += length
