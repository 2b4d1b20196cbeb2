"""DNS over HTTPS: the messages, and unbound as the server."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import socket
import ssl

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wherry
from wherry.connect.dns.message import TYPE_A, TYPE_AAAA, question, read_answer
from wherry.resolver import DoHResolver


def test_the_question_is_what_another_implementation_reads() -> None:
    """RFC 8484 4.1: the id is 0."""
    read = dnslib.DNSRecord.parse(question("www.example.com", TYPE_AAAA))
    assert str(read.q.qname) == "www.example.com."
    assert dnslib.QTYPE[read.q.qtype] == "AAAA"
    assert read.header.id == 0
    assert read.header.rd == 1


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["abcdefgh"] * 40), "ä.test"])
def test_a_name_that_dns_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        question(name, TYPE_A)


QUESTION = question("a.test", TYPE_A)


def reply_to(asked: bytes, zone: str = "", **header: int) -> bytes:
    """An answer of another implementation, with the records of `zone`."""
    reply = dnslib.DNSRecord.parse(asked).reply()
    if zone:
        reply.add_answer(*dnslib.RR.fromZone(zone))
    for name, value in header.items():
        setattr(reply.header, name, value)
    return bytes(reply.pack())


def test_answers_of_another_implementation_are_read() -> None:
    zone = "a.test. 60 CNAME b.test.\nb.test. 30 A 127.0.0.1\nb.test. 20 A 127.0.0.2"
    assert read_answer(reply_to(QUESTION, zone), QUESTION) == (0, ["127.0.0.1", "127.0.0.2"], 20)
    six = question("a.test", TYPE_AAAA)
    assert read_answer(reply_to(six, zone), six) == (0, [], 0)


@pytest.mark.parametrize(
    ("zone", "addresses"),
    [
        ("b.test. 60 A 192.0.2.1", []),
        ("b.test. 60 A 192.0.2.1\na.test. 60 A 192.0.2.2", ["192.0.2.2"]),
        ("a.test. 9 CNAME a.test.\na.test. 9 A 192.0.2.1", ["192.0.2.1"]),
        ("a.test. 9 CNAME b.test.\nb.test. 9 CNAME a.test.\nc.test. 9 A 192.0.2.1", []),
        ("c.test. 9 A 192.0.2.1\nb.test. 9 CNAME c.test.\na.test. 9 CNAME b.test.", ["192.0.2.1"]),
        ("a.test. 9 A 192.0.2.1\na.test. 9 A 192.0.2.1", ["192.0.2.1"]),
        ("a.test. 9 CH A 192.0.2.1", []),
        ("A.TEST. 9 A 192.0.2.1", ["192.0.2.1"]),
    ],
    ids=[
        "another name",
        "one of two",
        "to itself",
        "a loop",
        "any order",
        "twice",
        "another class",
        "upper case",
    ],
)
def test_only_what_the_aliases_of_the_name_lead_to_is_its_address(
    zone: str, addresses: list[str]
) -> None:
    assert read_answer(reply_to(QUESTION, zone), QUESTION).addresses == addresses


def test_a_chain_of_aliases_may_be_as_long_as_a_message_allows() -> None:
    chain = [f"n{at}.test. 5 CNAME n{at + 1}.test." for at in range(500)]
    zone = "\n".join(["a.test. 7 CNAME n0.test.", *reversed(chain), "n500.test. 9 A 192.0.2.7"])
    assert read_answer(reply_to(QUESTION, zone), QUESTION) == (0, ["192.0.2.7"], 5)


@pytest.mark.parametrize(
    ("ttl", "kept"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)]
)
def test_a_time_that_would_be_negative_is_none(ttl: int, kept: int) -> None:
    """RFC 2181 8"""
    assert read_answer(reply_to(QUESTION, f"a.test. {ttl} A 192.0.2.1"), QUESTION).ttl == kept


GOOD = reply_to(QUESTION, "a.test. 60 A 192.0.2.1")
RECORD = b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"


def with_name(name: bytes) -> bytes:
    """An answer whose record is that of `name`, which lies at byte 24."""
    return b"\0\0\x81\x80\0\1\0\1\0\0\0\0" + QUESTION[12:] + name + RECORD


@pytest.mark.parametrize(
    "message",
    [
        b"",
        GOOD[:11],
        GOOD[:-1],
        QUESTION,
        reply_to(QUESTION, "a.test. 60 A 192.0.2.1", id=7),
        reply_to(QUESTION, "a.test. 60 A 192.0.2.1", tc=1),
        reply_to(QUESTION, "a.test. 60 A 192.0.2.1", opcode=4),
        reply_to(question("b.test", TYPE_A), "b.test. 60 A 192.0.2.1"),
        reply_to(question("a.test", TYPE_AAAA), "a.test. 60 AAAA ::1"),
        GOOD.replace(QUESTION[-4:], b"\0\1\0\3", 1),
        b"\0\0\x81\x80\0\0\0\1\0\0\0\0\1a\4test\0" + RECORD,
        b"\0\0\x81\x80\0\2\0\1\0\0\0\0" + QUESTION[12:] * 2 + b"\xc0\x0c" + RECORD,
        with_name(b"\xc0\x18"),
        with_name(b"\1b\xc0\x18"),
        with_name(b"\xc0\x40"),
        with_name(b"\xff\xff"),
        with_name(b"\x40a"),
        with_name(b"\x3f" + b"x" * 63) * 5,
        with_name(b"".join(b"\x3f" + b"x" * 63 for _ in range(4)) + b"\0"),
        with_name(b"\xc0\x0c")[:-5] + b"\5\xc0\0\2\1\1",
        with_name(b"\xc0\x0c")[:-5] + b"\0",
        with_name(b"\xc0\x0c").replace(b"\0\1\0\0\0\0", b"\x27\x10\0\0\0\0", 1),
    ],
    ids=lambda message: message.hex()[:80],
)
def test_what_is_not_the_whole_answer_to_the_question_is_refused(message: bytes) -> None:
    assert (
        read_answer(GOOD, QUESTION)
        == read_answer(with_name(b"\xc0\x0c"), QUESTION)
        == (0, ["192.0.2.1"], 60)
    )
    with pytest.raises(ValueError):
        read_answer(message, QUESTION)


LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)


@given(
    NAME,
    st.lists(st.tuples(st.ip_addresses(v=6), st.integers(0, 2**31 - 1)), max_size=20),
    st.lists(NAME, max_size=3),
)
def test_another_implementations_answers_are_read_as_they_were_meant(name, rows, aliases) -> None:
    asked = question(name, TYPE_AAAA)
    reply = dnslib.DNSRecord.parse(asked).reply()
    chain = list(dict.fromkeys([name, *aliases]))
    for owner, target in itertools.pairwise(chain):
        reply.add_answer(
            dnslib.RR(owner, dnslib.QTYPE.CNAME, ttl=2**31 - 1, rdata=dnslib.CNAME(target))
        )
    for address, ttl in rows:
        reply.add_answer(
            dnslib.RR(
                chain[-1], dnslib.QTYPE.AAAA, ttl=ttl, rdata=dnslib.AAAA(tuple(address.packed))
            )
        )
    answer = read_answer(bytes(reply.pack()), asked)
    assert [ipaddress.ip_address(address) for address in answer.addresses] == list(
        dict.fromkeys(at for at, _ in rows)
    )
    assert answer.ttl == min((ttl for _, ttl in rows), default=0)


@given(st.binary(max_size=200))
def test_hostile_answers_are_value_errors(data: bytes) -> None:
    for start in (b"", with_name(b"")[: -len(RECORD)]):
        try:
            answer = read_answer(start + data, QUESTION)
        except ValueError:
            continue
        assert len(answer.addresses) <= 512


@given(st.data())
def test_answers_that_are_cut_or_changed_never_do_more_than_fail(data: st.DataObject) -> None:
    packed = bytearray(GOOD)
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        read_answer(bytes(packed[: data.draw(st.integers(0, len(packed)))]), QUESTION)


async def test_unbound_is_asked(unbound, nginx, client_tls: ssl.SSLContext) -> None:
    async with DohSession(unbound, client_tls) as (names, session):
        rows = await names.resolve("origin.test", 80, socket.AF_UNSPEC)
        assert [row["host"] for row in rows] == ["::1", "127.0.0.1"]
        rows = await names.resolve("two.test", 80, socket.AF_INET)
        assert sorted(row["host"] for row in rows) == ["127.0.0.1", "127.0.0.2"]
        async with session.get(f"http://origin.test:{nginx.port}/json") as response:
            assert response.status == 200
        with pytest.raises(wherry.ClientConnectorDNSError, match="does not exist"):
            await session.get(f"http://absent.test:{nginx.port}/")
        with pytest.raises(wherry.ClientConnectorDNSError, match="no address"):
            await only_ipv4(names)
    with pytest.raises(OSError, match="closed"):
        await names.resolve("origin.test")


async def only_ipv4(names: DoHResolver) -> None:
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(resolver=names, family=socket.AF_INET)
    ) as session:
        await session.get("http://six.test:1/")


class DohSession:
    def __init__(self, unbound, context: ssl.SSLContext) -> None:
        self.names = DoHResolver(
            f"https://localhost:{unbound.https}/dns-query", addresses=["127.0.0.1"], ssl=context
        )
        self.session = wherry.ClientSession(connector=wherry.TCPConnector(resolver=self.names))

    async def __aenter__(self) -> tuple[DoHResolver, wherry.ClientSession]:
        return self.names, self.session

    async def __aexit__(self, *exc: object) -> None:
        await self.session.close()
        await self.names.close()


async def test_an_answer_says_how_long_it_holds(unbound, client_tls) -> None:
    async with DohSession(unbound, client_tls) as (names, _):
        rows = await names.resolve("origin.test", 80, socket.AF_UNSPEC)
        assert rows
        assert all(0 < row["ttl"] <= 3600 for row in rows)


async def test_questions_at_once_are_one(unbound, nginx, client_tls) -> None:
    """The connector's cache stands before this resolver as before any other."""
    async with DohSession(unbound, client_tls) as (names, session):
        asked = []
        resolve = names.resolve

        async def counted(*args, **kwargs):
            asked.append(args)
            return await resolve(*args, **kwargs)

        names.resolve = counted

        async def get() -> int:
            async with session.get(f"http://origin.test:{nginx.port}/json") as response:
                return response.status

        assert await asyncio.gather(*(get() for _ in range(5))) == [200] * 5
        assert len(asked) == 1


async def test_a_server_that_does_not_speak_it_is_a_dns_error(nginx, client_tls) -> None:
    names = DoHResolver(f"https://localhost:{nginx.tls13}/json", ssl=client_tls)
    async with wherry.ClientSession(connector=wherry.TCPConnector(resolver=names)) as session:
        with pytest.raises(wherry.ClientConnectorDNSError, match="answered"):
            await session.get("http://origin.test/")
    await names.close()


async def test_a_server_that_is_not_trusted_is_a_dns_error(unbound) -> None:
    names = DoHResolver(f"https://localhost:{unbound.https}/dns-query")
    with pytest.raises(OSError, match="certificate"):
        await names.resolve("origin.test")
    await names.close()


@pytest.mark.parametrize("url", ["http://dns.test/dns-query", "dns.test", "https://"])
def test_only_https_will_do(url: str) -> None:
    with pytest.raises(ValueError):
        DoHResolver(url)
