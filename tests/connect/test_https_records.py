"""HTTPS and SVCB records (RFC 9460): what is read, what is refused, and what is bounded."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from typing import Any

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.connect.dns import https_records
from wherry.connect.dns.https_records import (
    HttpsRecord,
    https_question,
    in_order,
    parse_record,
    read_https_records,
)

from .test_doh import reply_to
from .test_doh_hostile import Resolving, http, resolving  # noqa: F401 (a fixture)


def param(key: int, value: bytes) -> bytes:
    return key.to_bytes(2) + len(value).to_bytes(2) + value


def record(priority: int, *params: bytes, target: bytes = b"\0") -> bytes:
    return priority.to_bytes(2) + target + b"".join(params)


FOO = b"\x03foo\x07example\x03com\x00"
H2 = param(1, b"\x02h2")


@pytest.mark.parametrize(
    ("data", "read"),
    [  # RFC 9460 appendix D.1 and D.2
        (b"\0\0" + FOO, HttpsRecord(0, "foo.example.com")),
        (record(1), HttpsRecord(1, "", ("http/1.1",))),
        (
            record(16, param(3, b"\0\x35"), target=FOO),
            HttpsRecord(16, "foo.example.com", ("http/1.1",), 53),
        ),
        (
            record(1, param(667, b"hello"), target=FOO),
            HttpsRecord(1, "foo.example.com", ("http/1.1",)),
        ),
        (
            record(
                1,
                param(
                    6,
                    ipaddress.ip_address("2001:db8::1").packed
                    + ipaddress.ip_address("2001:db8::53:1").packed,
                ),
                target=FOO,
            ),
            HttpsRecord(
                1, "foo.example.com", ("http/1.1",), None, ("2001:db8::1", "2001:db8::53:1")
            ),
        ),
        (
            record(
                16,
                param(0, b"\0\x01\0\x04"),
                param(1, b"\x02h2\x05h3-19"),
                param(4, bytes((192, 0, 2, 1))),
                target=b"\x03foo\x07example\x03org\x00",
            ),
            HttpsRecord(16, "foo.example.org", ("h2", "h3-19", "http/1.1"), None, ("192.0.2.1",)),
        ),
        (
            record(1, param(1, b"\x08f\\oo,bar\x02h2"), target=FOO),
            HttpsRecord(1, "foo.example.com", ("f\\oo,bar", "h2", "http/1.1")),
        ),
        (record(1, H2, param(2, b"")), HttpsRecord(1, "", ("h2",))),
        (record(3, param(5, b"\0\1x")), HttpsRecord(3, "", ("http/1.1",), None, (), b"\0\1x")),
        # An alias' parameters mean nothing, whatever they are.
        (record(0, b"\xff\xff\xff", target=FOO), HttpsRecord(0, "foo.example.com")),
        (record(1, target=b"\x03F.O\0"), HttpsRecord(1, "f\\046o", ("http/1.1",))),
    ],
)
def test_what_a_record_says(data: bytes, read: HttpsRecord) -> None:
    assert parse_record(data) == read


@pytest.mark.parametrize(
    "data",
    [
        record(1, param(0, b"\0\x09"), param(9, b"?")),
        record(1, param(2, b"")),  # contradicts itself: no protocol is left
        record(1, param(3, b"\0\0")),
    ],
)
def test_a_record_that_cannot_be_used_is_left_out(data: bytes) -> None:
    assert parse_record(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\1",
        b"\0\1\3fo",
        b"\0\1\xc0\x0c",  # a target is never compressed
        b"\0\1" + b"\x40" + b"x" * 64 + b"\0",
        b"\0\1" + b"\x3fx" * 1 + b"x" * 62 + (b"\x3f" + b"x" * 63) * 3 + b"\0",
        record(1, b"\0"),
        record(1, b"\0\1\0"),
        record(1, b"\0\1\0\3\2h"),
        record(1, H2, H2),
        record(1, param(3, b"\0\1"), H2),
        record(1, param(1, b"")),
        record(1, param(1, b"\0")),
        record(1, param(1, b"\3h2")),
        record(1, param(1, b"\2h2\0")),
        record(1, H2, param(2, b"x")),
        record(1, param(3, b"")),
        record(1, param(3, b"\1")),
        record(1, param(3, b"\1\2\3")),
        record(1, param(4, b"")),
        record(1, param(4, b"\1\2\3")),
        record(1, param(6, b"\1\2\3\4")),
        record(1, param(0, b"")),
        record(1, param(0, b"\0\1\0"), H2),
        record(1, param(0, b"\0\0"), H2),
        record(1, param(0, b"\0\1\0\1"), H2),
        record(1, param(0, b"\0\3\0\1"), H2, param(3, b"\0\1")),
        record(1, param(0, b"\0\3"), H2),
    ],
)
def test_what_is_malformed_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"HTTPS record"):
        parse_record(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\0\1\0", b"\0\1\0\0\1", b"\0\2\1a\0\0\4"]))
def test_whatever_comes_is_read_or_refused(data: bytes, begin: bytes) -> None:
    try:
        read = parse_record(begin + data)
    except ValueError:
        return
    if read is not None:
        assert len(read.protocols) <= https_records.MAX_PROTOCOLS
        assert len(read.hints) <= 2 * https_records.MAX_HINTS
        assert read.target.isascii()


def test_lists_are_bounded() -> None:
    read = parse_record(
        record(
            1,
            param(1, b"".join(b"\2%02d" % at for at in range(99))),
            param(4, b"\1\2\3\4" * 9999),
            target=FOO,
        )
    )
    assert read is not None
    assert len(read.protocols) == https_records.MAX_PROTOCOLS
    assert len(read.hints) == https_records.MAX_HINTS
    many = [HttpsRecord(at, "") for at in range(500, 0, -1)]
    assert [each.priority for each in in_order(many)] == [*range(1, 33)]


QUESTION = https_question("a.test")


def answer(*records: bytes, ttl: int = 60) -> bytes:
    """An answer of another implementation, with these records."""
    reply = dnslib.DNSRecord.parse(QUESTION).reply()
    for data in records:
        reply.add_answer(dnslib.RR("a.test", 65, ttl=ttl, rdata=dnslib.RD(data)))
    return bytes(reply.pack())


def test_records_of_another_implementation_are_read_in_order() -> None:
    zone = (
        "a.test. 60 HTTPS 2 . alpn=h2 port=8443\n"
        "a.test. 60 HTTPS 1 cdn.test. alpn=h3,h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1\n"
        "b.test. 60 HTTPS 1 . alpn=h2"
    )
    code, records = read_https_records(reply_to(QUESTION, zone), QUESTION)
    assert code == 0
    assert records == [
        HttpsRecord(
            1,
            "cdn.test",
            ("h3", "h2", "http/1.1"),
            None,
            ("2001:db8::1", "192.0.2.1"),
            ttl=60,
        ),
        HttpsRecord(2, "", ("h2", "http/1.1"), 8443, ttl=60),
    ]


def test_one_malformed_record_spoils_the_set() -> None:
    """RFC 9460 2.2"""
    with pytest.raises(ValueError, match="HTTPS record"):
        read_https_records(answer(record(1, H2), record(2, param(1, b"\0"))), QUESTION)


def test_aliases_alone_count_where_there_are_some() -> None:
    """RFC 9460 2.4.2"""
    _, records = read_https_records(answer(record(1, H2), record(0, target=FOO)), QUESTION)
    assert [each.target for each in records] == ["foo.example.com"]


@pytest.mark.parametrize(
    ("port", "name"), [(443, "a.test."), (8443, "_8443._https.a.test."), (80, "_80._https.a.test.")]
)
def test_another_port_is_part_of_the_name(port: int, name: str) -> None:
    asked = dnslib.DNSRecord.parse(https_question("a.test", port))
    assert (str(asked.q.qname), asked.q.qtype) == (name, 65)


@given(st.data())
def test_an_answer_that_was_changed_is_read_or_refused(data: st.DataObject) -> None:
    message = bytearray(answer(record(1, H2, param(4, b"\1\2\3\4")), record(2, target=FOO)))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        read_https_records(bytes(message), QUESTION)


# --- asked for over HTTPS ---------------------------------------------------------------------------


def zone_of(lines: str) -> Callable[[bytes, Any], bytes]:
    """Answers each question with the lines of its name."""

    def serve(asked: bytes, _: Any) -> bytes:
        name = str(dnslib.DNSRecord.parse(asked).q.qname)
        own = "\n".join(line for line in lines.splitlines() if line.startswith(name + " "))
        return http(reply_to(asked, own))

    return serve


async def test_aliases_are_followed_and_the_shortest_time_holds(resolving: Resolving) -> None:  # noqa: F811
    resolver, _ = await resolving(
        zone_of(
            "a.test. 30 HTTPS 0 b.test.\nb.test. 60 HTTPS 0 c.test.\nc.test. 90 HTTPS 1 . alpn=h3"
        )
    )
    assert await resolver.https_records("a.test") == [
        HttpsRecord(1, "", ("h3", "http/1.1"), ttl=30)
    ]
    assert await resolver.https_records("nothing.test") == []
    assert await resolver.https_records("localhost") == []


async def test_aliases_without_end_are_given_up(resolving: Resolving) -> None:  # noqa: F811
    resolver, server = await resolving(
        zone_of("a.test. 30 HTTPS 0 b.test.\nb.test. 30 HTTPS 0 a.test.\nn.test. 30 HTTPS 0 .")
    )
    assert await resolver.https_records("a.test") == []
    assert len(server.heads) == 9
    assert await resolver.https_records("n.test") == []


async def test_what_cannot_be_read_is_an_error(resolving: Resolving) -> None:  # noqa: F811
    resolver, _ = await resolving(lambda asked, _: http(answer(record(1, param(1, b"\0")))))
    with pytest.raises(OSError, match=r"could not be asked for a\.test: an HTTPS record"):
        await resolver.https_records("a.test")
    with pytest.raises(OSError, match="no name for DNS"):
        await resolver.https_records("x" * 64)
    await resolver.close()
    with pytest.raises(OSError, match="closed"):
        await resolver.https_records("a.test")
