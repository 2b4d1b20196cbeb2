"""DNS messages (RFC 1035 4): a question for addresses, and the addresses in an answer.  Pure."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

TYPE_A = 1
TYPE_AAAA = 28
NXDOMAIN = 3
_CLASS_IN = 1
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
MAX_RECORDS = 512


class Answer(NamedTuple):
    """What a server said.

    Args:
        code: The response code (RFC 1035 4.1.1), 0 for no error.
        addresses: The addresses, numeric.
        ttl: Seconds that the shortest-lived of them may be kept; 0 without any.
    """

    code: int
    addresses: list[str]
    ttl: int


def question(name: str, kind: int) -> bytes:
    """A recursive question for `name`'s records of `kind`; its id is 0, which HTTP caches like (RFC 8484 4.1).

    Raises:
        ValueError: The name is not one that DNS can carry.
    """
    labels = name.rstrip(".").encode("ascii").split(b".")
    encoded = bytearray()
    for label in labels:
        if not 0 < len(label) < 64:
            raise ValueError(f"{name!r} is no name for DNS: a label has 1 to 63 bytes")
        encoded += bytes((len(label),)) + label
    if len(encoded) > 254:
        raise ValueError(f"{name!r} is no name for DNS: it has more than 253 bytes")
    return (
        _HEADER.pack(0, _RECURSION_DESIRED, 1, 0, 0, 0) + bytes(encoded) + b"\0" + struct.pack("!HH", kind, _CLASS_IN)
    )


def read_answer(data: bytes, kind: int) -> Answer:
    """The addresses of `kind` in an answer, CNAMEs passed over: the server followed them.

    Raises:
        ValueError: `data` is no answer.
    """
    try:
        _, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
        if not flags & _RESPONSE:
            raise ValueError("a DNS message that is no answer")
        if questions > 1 or answers > MAX_RECORDS:
            raise ValueError(f"a DNS message of {questions} questions and {answers} answers")
        place = _HEADER.size
        for _ in range(questions):
            place = _after_name(data, place) + 4
        addresses: list[str] = []
        ttls: list[int] = []
        for _ in range(answers):
            place = _after_name(data, place)
            found, family, ttl, length = _RECORD.unpack_from(data, place)
            place += _RECORD.size
            value = data[place : place + length]
            if len(value) != length:
                raise ValueError("a DNS message that ends inside a record")
            place += length
            if found == kind and family == _CLASS_IN:
                addresses.append(socket.inet_ntop(socket.AF_INET6 if kind == TYPE_AAAA else socket.AF_INET, value))
                ttls.append(ttl)
    except struct.error as exc:
        raise ValueError("a DNS message that ends too early") from exc
    return Answer(flags & 0x000F, addresses, min(ttls, default=0))


def _after_name(data: bytes, place: int) -> int:
    """Where the name at `place` ends; a pointer (RFC 1035 4.1.4) ends it and need not be followed."""
    while True:
        if place >= len(data):
            raise ValueError("a DNS message that ends inside a name")
        length = data[place]
        if length & 0xC0 == 0xC0:
            return place + 2
        if length & 0xC0:
            raise ValueError("a DNS message with a label of unknown kind")
        place += 1 + length
        if not length:
            return place
