"""DNS over HTTPS: the messages, and unbound as the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wherry
from wherry.connect.dns_message import TYPE_A, TYPE_AAAA, question, read_answer
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


def test_answers_of_another_implementation_are_read() -> None:
    reply = dnslib.DNSRecord.parse(question("a.test", TYPE_A)).reply()
    reply.add_answer(*dnslib.RR.fromZone("a.test. 60 CNAME b.test.\nb.test. 30 A 127.0.0.1\nb.test. 20 A 127.0.0.2"))
    answer = read_answer(reply.pack(), TYPE_A)
    assert answer.addresses == ["127.0.0.1", "127.0.0.2"]
    assert (answer.code, answer.ttl) == (0, 20)
    assert read_answer(reply.pack(), TYPE_AAAA).addresses == []


@given(st.binary(max_size=200))
def test_hostile_answers_are_value_errors(data: bytes) -> None:
    try:
        answer = read_answer(data, TYPE_A)
    except ValueError:
        return
    assert len(answer.addresses) <= 512


@given(st.data())
def test_answers_that_are_cut_or_changed_never_do_more_than_fail(data: st.DataObject) -> None:
    reply = dnslib.DNSRecord.parse(question("a.test", TYPE_A)).reply()
    reply.add_answer(*dnslib.RR.fromZone("a.test. 60 A 127.0.0.1"))
    packed = bytearray(reply.pack())
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        read_answer(bytes(packed[: data.draw(st.integers(0, len(packed)))]), TYPE_A)


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
    async with wherry.ClientSession(connector=wherry.TCPConnector(resolver=names, family=socket.AF_INET)) as session:
        await session.get("http://six.test:1/")


class DohSession:
    def __init__(self, unbound, context: ssl.SSLContext) -> None:
        self.names = DoHResolver(f"https://localhost:{unbound.https}/dns-query", addresses=["127.0.0.1"], ssl=context)
        self.session = wherry.ClientSession(connector=wherry.TCPConnector(resolver=self.names))

    async def __aenter__(self) -> tuple[DoHResolver, wherry.ClientSession]:
        return self.names, self.session

    async def __aexit__(self, *exc: object) -> None:
        await self.session.close()
        await self.names.close()


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
