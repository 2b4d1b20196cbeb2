"""HTTPS and SVCB records (RFC 9460): where a service is, and what it speaks there.  Pure.

A client learns from them, before it connects, that an origin speaks HTTP/2 or HTTP/3, on which port
and under which name.  What a server says is bounded here, and a set with one malformed record is
none (2.2): who connects then does as if there were no such records.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final, NamedTuple

from wherry.connect.dns.message import TYPE_HTTPS, question, read_records

MANDATORY, ALPN, NO_DEFAULT_ALPN, PORT, IPV4HINT, ECH, IPV6HINT = range(7)
_KNOWN: Final = frozenset(range(7))
# Of one answer, and of one record: what is more than that is left out.
MAX_RECORDS: Final = 32
MAX_PROTOCOLS: Final = 16
MAX_HINTS: Final = 16
# How often an alias may lead to another.
MAX_ALIASES: Final = 8
# The longest name, its root included (RFC 1035 2.3.4).
_MAX_NAME: Final = 255


class HttpsRecord(NamedTuple):
    """One HTTPS record: where a service is, and which protocols it speaks there.

    Args:
        priority: The lowest is to be tried first; 0 is an alias: ask about `target` instead.
        target: A name in lower case, without the dot at its end; "" is the name that was asked for.
            Bytes that are no letter, digit, hyphen or underscore are escaped as in zone files.
        protocols: What ALPN may choose, the default ("http/1.1") included unless the record leaves
            it out.
        port: The port, None for the one that was asked for.
        hints: Addresses of `target`, to begin with before it is resolved.
        ech: Keys for Encrypted Client Hello, as they came; b"" without.
        ttl: Seconds that the record may be kept.
    """

    priority: int
    target: str
    protocols: tuple[str, ...] = ()
    port: int | None = None
    hints: tuple[str, ...] = ()
    ech: bytes = b""
    ttl: int = 0


def https_question(host: str, port: int = 443) -> bytes:
    """A question for the HTTPS records of an https origin.

    Raises:
        ValueError: The name is not one that DNS can carry.
    """
    # RFC 9460 9.1, 2.3: another port is part of the name.
    return question(host if port == 443 else f"_{port}._https.{host}", TYPE_HTTPS)


def read_https_records(data: bytes, asked: bytes) -> tuple[int, list[HttpsRecord]]:
    """The response code, and the records in an answer in the order to try them.

    Records that require what is not known here are left out (RFC 9460 8).  Where there are aliases,
    they alone count (2.4.2).

    Args:
        data: The answer.
        asked: The question, as `https_question` made it.

    Raises:
        ValueError: `data` is no whole answer to this question, or one of its records is malformed.
    """
    code, records, ttl = read_records(data, asked)
    parsed = [parse_record(record.value, ttl) for record in records]
    return code, in_order(filter(None, parsed))


def in_order(records: Iterable[HttpsRecord]) -> list[HttpsRecord]:
    """The records to use, the one to try first in front."""
    ordered = sorted(records, key=lambda record: record.priority)
    if ordered and not ordered[0].priority:
        ordered = [record for record in ordered if not record.priority]
    return ordered[:MAX_RECORDS]


async def follow_aliases(
    name: str, ask: Callable[[str], Awaitable[list[HttpsRecord]]]
) -> list[HttpsRecord]:
    """The records that serve, where aliases lead to others (RFC 9460 2.4.2), eight at most.

    Args:
        name: What is asked for first.
        ask: Gives the records of a name, as `in_order` does.
    """
    ttl = 2**31
    for _ in range(MAX_ALIASES + 1):
        records = await ask(name)
        if not records:
            return []
        ttl = min(ttl, records[0].ttl)
        if records[0].priority:
            return [record._replace(ttl=ttl) for record in records]
        name = records[0].target
        # An alias to "." says that there is no such service (RFC 9460 2.5.1).
        if not name or "\\" in name:
            return []
    return []


def wire_record(priority: int, target: str, parameters: Iterable[tuple[int, bytes]]) -> bytes:
    """A record's value, of what another reader made of it: for `parse_record`, which checks it.

    Raises:
        ValueError: It cannot have been one.
    """
    name = b""
    for label in filter(None, target.rstrip(".").split(".")):
        octets = label.encode("ascii")
        if len(octets) > 63 or b"\\" in octets:
            raise ValueError("an HTTPS record whose target is no name")
        name += bytes([len(octets)]) + octets
    values = b"".join(
        key.to_bytes(2) + len(value).to_bytes(2) + value for key, value in sorted(parameters)
    )
    return priority.to_bytes(2) + name + b"\0" + values


def parse_record(data: bytes, ttl: int = 0) -> HttpsRecord | None:
    """What one record says; None for one that requires what is not known here.

    Args:
        data: The record's value.
        ttl: Seconds that it may be kept.

    Raises:
        ValueError: It is malformed.
    """
    priority = _number(data[:2])
    target, offset = _read_target(data, 2)
    if not priority:
        return HttpsRecord(0, target, ttl=ttl)  # RFC 9460 2.4.2: its parameters mean nothing
    values = dict(_parameters(data, offset))
    _check_mandatory(values)
    protocols = _protocols(values)
    port = _number(values[PORT]) if PORT in values else None
    hints = (
        *_addresses(values, IPV6HINT, socket.AF_INET6, 16),
        *_addresses(values, IPV4HINT, socket.AF_INET, 4),
    )
    required = values.get(MANDATORY, b"")
    unknown = {_number(required[at : at + 2]) for at in range(0, len(required), 2)} - _KNOWN
    if unknown or protocols is None or port == 0:
        return None
    return HttpsRecord(priority, target, protocols, port, hints, values.get(ECH, b""), ttl)


def _number(value: bytes) -> int:
    if len(value) != 2:
        raise ValueError(f"an HTTPS record with a number of {len(value)} bytes")
    return int.from_bytes(value)


def _read_target(data: bytes, offset: int) -> tuple[str, int]:
    """A name that is never compressed (RFC 9460 2.2)."""
    labels: list[str] = []
    start = offset
    while True:
        if offset >= len(data):
            raise ValueError("an HTTPS record that ends inside its target")
        length = data[offset]
        offset += 1
        if not length:
            return ".".join(labels), offset
        label = data[offset : offset + length]
        offset += length
        if length > 63 or len(label) != length or offset - start >= _MAX_NAME:
            raise ValueError("an HTTPS record whose target is no name")
        labels.append("".join(map(_character, label.lower())))


def _character(code: int) -> str:
    if 97 <= code <= 122 or 48 <= code <= 57 or code in b"-_":
        return chr(code)
    return f"\\{code:03}"


def _parameters(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    before = -1
    while offset < len(data):
        key, size = _number(data[offset : offset + 2]), _number(data[offset + 2 : offset + 4])
        offset += 4
        if key <= before:
            raise ValueError("an HTTPS record whose parameters are not in order")
        value = data[offset : offset + size]
        if len(value) != size:
            raise ValueError("an HTTPS record that ends inside a parameter")
        yield key, value
        before = key
        offset += size


def _check_mandatory(values: dict[int, bytes]) -> None:
    """RFC 9460 8: in order, each once and there, and never itself."""
    required = values.get(MANDATORY)
    if required is None:
        return
    keys = [_number(required[at : at + 2]) for at in range(0, len(required), 2)]
    if not keys or MANDATORY in keys or keys != sorted(set(keys)) or not values.keys() >= {*keys}:
        raise ValueError(
            "an HTTPS record whose mandatory parameters are not there, or not in order"
        )


def _protocols(values: dict[int, bytes]) -> tuple[str, ...] | None:
    """What ALPN may choose (RFC 9460 7.1); None where the record contradicts itself."""
    if values.get(NO_DEFAULT_ALPN):
        raise ValueError("an HTTPS record whose no-default-alpn has a value")
    found: dict[str, None] = {}
    value = values.get(ALPN)
    offset = 0
    while value is not None and (offset < len(value) or not value):
        size = value[offset] if value else 0
        name = value[offset + 1 : offset + 1 + size]
        if not size or len(name) != size:
            raise ValueError("an HTTPS record whose protocols are not whole")
        offset += 1 + size
        found[name.decode("latin-1")] = None
    if NO_DEFAULT_ALPN not in values:
        found["http/1.1"] = None  # RFC 9460 9.1: the default of HTTPS
    elif value is None:
        return None
    return tuple(found)[:MAX_PROTOCOLS]


def _addresses(
    values: dict[int, bytes], key: int, family: socket.AddressFamily, size: int
) -> list[str]:
    value = values.get(key)
    if value is None:
        return []
    if not value or len(value) % size:
        raise ValueError(f"an HTTPS record with {len(value)} bytes of addresses")
    offsets = range(0, min(len(value), MAX_HINTS * size), size)
    return [socket.inet_ntop(family, value[offset : offset + size]) for offset in offsets]
