"""Resolvers, and what is remembered of them."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.connect.connector import TCPConnector
from wherry.connect.dns import resolver as resolver_module
from wherry.connect.dns.cache import DNSCache, Entry, rotate
from wherry.connect.dns.resolver import (
    AsyncResolver,
    DefaultResolver,
    ResolveResult,
    ThreadedResolver,
)
from wherry.errors import ClientConnectorDNSError


def result(host: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return ResolveResult(hostname="h", host=host, port=80, family=family, proto=0, flags=0)


class Observer:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __getattr__(self, name: str):
        async def note(host: str = "") -> None:
            self.seen.append(name)

        return note


# --- the cache ------------------------------------------------------------------------------------


async def test_resolutions_are_cached(get, serve, resolver) -> None:
    """S001-92"""
    port = await serve()
    names = resolver("127.0.0.1")
    async with TCPConnector(resolver=names, force_close=True) as connector:
        for _ in range(3):
            await get(connector, f"http://name.test:{port}/")
        assert names.asked == [("name.test", port)]
        assert [row["host"] for row in connector.cached_hosts["name.test", port]] == ["127.0.0.1"]
        connector.clear_dns_cache("name.test", port)
        assert not connector.cached_hosts
        await get(connector, f"http://name.test:{port}/")
        assert len(names.asked) == 2
        connector.clear_dns_cache()
        assert not connector.cached_hosts
        with pytest.raises(ValueError, match="either both"):
            connector.clear_dns_cache("name.test")


@pytest.mark.parametrize("ttl", [10, 3])
async def test_an_answer_is_kept_for_its_time(monkeypatch, resolver, ttl) -> None:
    """S001-93, S001-94: ten seconds, or ttl_dns_cache."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    names = resolver("127.0.0.1")
    async with (
        TCPConnector(resolver=names)
        if ttl == 10
        else TCPConnector(resolver=names, ttl_dns_cache=ttl) as connector
    ):
        cache = connector._names
        await cache.resolve("a", 80)
        now += ttl - 0.01
        await cache.resolve("a", 80)
        assert len(names.asked) == 1
        now += 0.02
        await cache.resolve("a", 80)
        assert len(names.asked) == 2


@pytest.mark.parametrize(
    ("ttls", "most", "kept"),
    [
        ([3], 10, 3),
        ([300], 10, 10),
        ([300, 2, None], 10, 2),
        ([None, None], 10, 10),
        ([0], 10, 0),
        ([0, 60], None, 0),
        ([60], None, 60),
        ([-5], 10, 0),
        ([2**31], 0.5, 0.5),
        ([0.25], 10, 0.25),
    ],
)
async def test_an_answer_is_kept_as_long_as_it_says_itself(
    monkeypatch, resolver, ttls, most, kept
) -> None:
    """The address that holds the shortest counts, and `ttl_dns_cache` is the most."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    names = resolver(*(f"127.0.0.{at}" for at, _ in enumerate(ttls, 1)))
    resolve = names.resolve

    async def with_times(*args: Any, **options: Any) -> list[ResolveResult]:
        results = await resolve(*args, **options)
        for result, ttl in zip(results, ttls, strict=True):
            if ttl is not None:
                result["ttl"] = ttl
        return results

    names.resolve = with_times
    async with TCPConnector(resolver=names, ttl_dns_cache=most) as connector:
        cache = connector._names
        await cache.resolve("a", 80)
        if kept:
            now += kept - 0.01
            await cache.resolve("a", 80)
        assert len(names.asked) == 1
        now += 0.02
        await cache.resolve("a", 80)
        assert len(names.asked) == 2


async def test_an_answer_can_be_kept_for_ever(monkeypatch, resolver) -> None:
    loop = asyncio.get_running_loop()
    names = resolver("127.0.0.1")
    cache = DNSCache(names, ttl=None)
    await cache.resolve("a", 80)
    later = loop.time() + 1e9
    monkeypatch.setattr(loop, "time", lambda: later)
    await cache.resolve("a", 80)
    assert len(names.asked) == 1


async def test_without_the_cache_each_connection_resolves(get, serve, resolver) -> None:
    """S001-95"""
    port = await serve()
    names = resolver("127.0.0.1")
    async with TCPConnector(resolver=names, use_dns_cache=False, force_close=True) as connector:
        assert not connector.use_dns_cache
        for _ in range(3):
            await get(connector, f"http://name.test:{port}/")
    assert len(names.asked) == 3


async def test_lookups_of_one_name_at_once_are_one(resolver) -> None:
    names = resolver("127.0.0.1")
    names.gate = asyncio.Event()
    cache = DNSCache(names)
    tasks = [asyncio.create_task(cache.resolve("a", 80)) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    names.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(rows[0]["host"] == "127.0.0.1" for rows in results[1:])
    assert len(names.asked) == 1


async def test_a_failed_lookup_fails_for_all_and_is_not_remembered(resolver) -> None:
    names = resolver("127.0.0.1")
    names.gate = asyncio.Event()
    names.error = OSError(None, "no")
    cache = DNSCache(names)
    tasks = [asyncio.create_task(cache.resolve("a", 80)) for _ in range(3)]
    await asyncio.sleep(0)
    names.gate.set()
    assert all(
        isinstance(error, OSError) for error in await asyncio.gather(*tasks, return_exceptions=True)
    )
    names.error = None
    assert await cache.resolve("a", 80)


async def test_a_stale_answer_is_used_while_it_is_refreshed(monkeypatch, resolver) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    names = resolver("127.0.0.1")
    cache = DNSCache(names, ttl=10, stale=5)
    await cache.resolve("a", 80)
    monkeypatch.setattr(loop, "time", lambda: now)
    now += 11
    names.gate = asyncio.Event()
    names.addresses = ["127.0.0.9"]
    for _ in range(3):
        assert (await cache.resolve("a", 80))[0]["host"] == "127.0.0.1"
    names.gate.set()
    while cache._lookups:  # eager tasks may have ended
        await asyncio.sleep(0)
    assert len(names.asked) == 2
    assert (await cache.resolve("a", 80))[0]["host"] == "127.0.0.9"
    now += 16
    names.addresses = ["127.0.0.10"]
    assert (await cache.resolve("a", 80))[0]["host"] == "127.0.0.10"


async def test_a_refresh_that_fails_keeps_the_old_answer_for_its_stale_time(
    monkeypatch, resolver
) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    names = resolver("127.0.0.1")
    cache = DNSCache(names, ttl=10, stale=5)
    await cache.resolve("a", 80)
    monkeypatch.setattr(loop, "time", lambda: now)
    now += 11
    names.error = OSError(None, "down")
    assert await cache.resolve("a", 80)
    while cache._lookups:  # eager tasks may have ended
        await asyncio.sleep(0)
    assert await cache.resolve("a", 80)
    now += 5
    with pytest.raises(OSError, match="down"):
        await cache.resolve("a", 80)


async def test_the_cache_is_bounded(resolver) -> None:
    names = resolver("127.0.0.1")
    cache = DNSCache(names, max_size=3)
    for name in "abcd":
        await cache.resolve(name, 80)
    assert [host for host, _ in cache.hosts] == ["b", "c", "d"]


async def test_observers_hear_of_hits_and_misses(resolver) -> None:
    observer = Observer()
    cache = DNSCache(resolver("127.0.0.1"))
    await cache.resolve("a", 80, observer)
    await cache.resolve("a", 80, observer)
    assert observer.seen == [
        "dns_cache_miss",
        "dns_resolve_start",
        "dns_resolve_end",
        "dns_cache_hit",
    ]


@pytest.mark.parametrize("first", ["the program", "the lookup"])
async def test_a_cancellation_in_the_turn_that_stops_the_lookup_is_not_lost(
    resolver, first
) -> None:
    names = resolver("127.0.0.1")
    names.gate = asyncio.Event()
    cache = DNSCache(names, ttl=10)
    asking = asyncio.create_task(cache.resolve("name.test", 80))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (lookup,) = cache._lookups.values()
    for end in (
        (asking.cancel, lookup.cancel) if first == "the program" else (lookup.cancel, asking.cancel)
    ):
        end()
    await asyncio.wait([asking, lookup])
    assert lookup.cancelled()
    assert asking.cancelled()


async def test_a_lookup_that_fails_when_nobody_waits_any_more_is_nobodys_error(resolver) -> None:
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    names = resolver("127.0.0.1")
    names.gate = asyncio.Event()
    names.error = OSError(None, "no")
    cache = DNSCache(names, ttl=10)
    asking = asyncio.create_task(cache.resolve("name.test", 80))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    lookups = list(cache._lookups.values())
    asking.cancel()
    await asyncio.wait([asking])
    names.gate.set()
    await asyncio.wait(lookups)
    del lookups, asking
    gc.collect()
    await asyncio.sleep(0)
    assert said == []


async def test_closing_stops_lookups(get, resolver) -> None:
    names = resolver("127.0.0.1")
    names.gate = asyncio.Event()
    connector = TCPConnector(resolver=names)
    task = asyncio.create_task(get(connector, "http://name.test:1/"))
    while not names.asked:
        await asyncio.sleep(0)
    await connector.close()
    with pytest.raises(Exception, match="closed"):
        await task
    assert not names.closed  # it is its owner's


# --- the order ------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["1.0.0.1", "1.0.0.2", "1.0.0.3", "::1", "::2"]), unique=True))
def test_rotation_keeps_every_address_and_the_families_places(hosts: list[str]) -> None:
    rows = [result(host) for host in hosts]
    turned = rows
    for _ in range(len(rows) or 1):
        before = turned
        turned = rotate(turned)
        assert [row["family"] for row in turned] == [row["family"] for row in rows]
        assert sorted(row["host"] for row in turned) == sorted(hosts)
        if len({row["family"] for row in rows}) == 1 and len(rows) > 1:
            assert [row["host"] for row in turned] == [
                row["host"] for row in (*before[1:], before[0])
            ]


def test_load_spreads_and_failed_addresses_go_to_the_back() -> None:
    entry = Entry([result("1.0.0.1"), result("1.0.0.2"), result("1.0.0.3")], None)
    assert [entry.next_order()[0]["host"] for _ in range(4)] == [
        "1.0.0.1",
        "1.0.0.2",
        "1.0.0.3",
        "1.0.0.1",
    ]
    entry.refused = ["1.0.0.2"]
    for _ in range(4):
        assert entry.next_order()[-1]["host"] == "1.0.0.2"


async def test_an_address_that_refused_is_tried_last(get, serve, resolver) -> None:
    """A failed address goes to the back, and comes forward again when it answers."""
    port = await serve()
    names = resolver("127.0.0.2", "127.0.0.1")
    async with TCPConnector(
        resolver=names, force_close=True, happy_eyeballs_delay=None
    ) as connector:
        await get(connector, f"http://name.test:{port}/")
        for _ in range(4):
            order = await connector._names.resolve("name.test", port)
            assert [row["host"] for row in order] == ["127.0.0.1", "127.0.0.2"]
        connector._names.mark_good("name.test", port, "127.0.0.2")
        firsts = {(await connector._names.resolve("name.test", port))[0]["host"] for _ in range(2)}
        assert firsts == {"127.0.0.1", "127.0.0.2"}


# --- failure --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        [],
        None,
        [{"host": "not-an-address", "port": 1}],
        [{"port": 1}],
        [{"host": None}],
        [{"host": "127.0.0.1", "family": socket.AF_INET}],
        [{"host": "127.0.0.1", "family": socket.AF_INET, "port": None}],
        7,
    ],
)
async def test_answers_that_are_empty_or_wrong_are_dns_errors(get, resolver, answer) -> None:
    names = resolver()

    async def resolve(*args, **kwargs):
        return answer

    names.resolve = resolve
    async with TCPConnector(resolver=names) as connector:
        with pytest.raises(ClientConnectorDNSError) as caught:
            await get(connector, "http://name.test:81/")
        assert (caught.value.host, caught.value.port) == ("name.test", 81)
        assert "name.test" in str(caught.value)


async def test_a_name_that_is_unknown_is_a_dns_error(get) -> None:
    async with TCPConnector(resolver=ThreadedResolver()) as connector:
        with pytest.raises(ClientConnectorDNSError) as caught:
            await get(connector, "http://no-such-name.invalid/")
        assert isinstance(caught.value.os_error, socket.gaierror)


async def test_the_family_is_kept_to(get, resolver) -> None:
    async with TCPConnector(resolver=resolver("127.0.0.1"), family=socket.AF_INET6) as connector:
        assert connector.family == socket.AF_INET6
        with pytest.raises(ClientConnectorDNSError, match="family"):
            await get(connector, "http://name.test:81/")


# --- real resolvers -------------------------------------------------------------------------------


class DnsServer(asyncio.DatagramProtocol):
    """A name server on loopback (dnslib reads and writes the messages)."""

    def __init__(self, records: dict[tuple[str, str], list[str]]) -> None:
        self.records = records
        self.asked: list[tuple[str, str]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        request = dnslib.DNSRecord.parse(data)
        name, kind = str(request.q.qname).rstrip("."), dnslib.QTYPE[request.q.qtype]
        self.asked.append((name, kind))
        reply = request.reply()
        rows = self.records.get((name, kind), [])
        if not rows and not any(known == name for known, _ in self.records):
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        for row in rows:
            reply.add_answer(*dnslib.RR.fromZone(f"{name}. 60 {kind} {row}"))
        self.transport.sendto(reply.pack(), address)


@pytest.fixture
async def name_server() -> AsyncIterator[tuple[DnsServer, int]]:
    records = {
        ("both.test", "A"): ["127.0.0.1", "127.0.0.2"],
        ("both.test", "AAAA"): ["::1"],
        ("four.test", "A"): ["127.0.0.1"],
    }
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: DnsServer(records), local_addr=("127.0.0.1", 0)
    )
    yield protocol, transport.get_extra_info("sockname")[1]
    transport.close()


async def test_async_resolver_asks_the_servers_it_is_given(name_server, get, serve) -> None:
    """S001-96: nameservers, and aiodns' other options."""
    server, dns_port = name_server
    port = await serve()
    names = AsyncResolver(nameservers=[f"127.0.0.1:{dns_port}"], timeout=2, tries=1)
    async with TCPConnector(resolver=names) as connector:
        assert (await get(connector, f"http://four.test:{port}/")).status == 200
        assert ("four.test", "A") in server.asked
        with pytest.raises(ClientConnectorDNSError):
            await get(connector, f"http://nowhere.test:{port}/")
    rows = await names.resolve("both.test", 80, socket.AF_UNSPEC)
    assert {row["host"] for row in rows} >= {"127.0.0.1", "127.0.0.2"}
    rows = await names.resolve("both.test", 80, socket.AF_INET)
    assert sorted(row["host"] for row in rows) == ["127.0.0.1", "127.0.0.2"]
    assert {row["port"] for row in rows} == {80}
    assert {row["ttl"] for row in rows} == {60}
    # Of the hosts file nothing says how long it holds.
    assert all("ttl" not in row for row in await names.resolve("localhost", 80))
    await names.close()
    with pytest.raises(OSError, match="closed"):
        await names.resolve("both.test")


async def test_async_resolver_gives_https_records(name_server) -> None:
    """RFC 9460, by aiodns: aliases, ports and parameters as DNS over HTTPS gives them."""
    server, dns_port = name_server
    server.records |= {
        ("h3.test", "HTTPS"): [
            "2 far.test. alpn=h2",
            "1 . alpn=h3,h2 port=8443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
        ],
        ("_8443._https.h3.test", "HTTPS"): ["1 . alpn=h3 no-default-alpn"],
        ("alias.test", "HTTPS"): ["0 h3.test."],
        ("gone.test", "HTTPS"): ["0 ."],
        ("loop.test", "HTTPS"): ["0 loop.test."],
    }
    names = AsyncResolver(nameservers=[f"127.0.0.1:{dns_port}"], timeout=2, tries=1)
    first, second = await names.https_records("h3.test")
    assert (first.priority, first.target, first.port) == (1, "", 8443)
    assert first.protocols == ("h3", "h2", "http/1.1")
    assert set(first.hints) == {"192.0.2.1", "2001:db8::1"}
    assert (second.target, second.protocols, second.ttl) == ("far.test", ("h2", "http/1.1"), 60)
    assert [record.protocols for record in await names.https_records("h3.test", 8443)] == [("h3",)]
    assert await names.https_records("alias.test") == [first, second]
    for nothing in ("gone.test", "loop.test", "four.test", "nowhere.test", "localhost"):
        assert await names.https_records(nothing) == []
    assert ("localhost", "HTTPS") not in server.asked
    server.transport.close()
    with pytest.raises(OSError, match=r"other\.test"):
        await names.https_records("other.test")
    await names.close()
    with pytest.raises(OSError, match="closed"):
        await names.https_records("h3.test")


async def test_nameservers_may_be_given_by_place(name_server) -> None:
    _, dns_port = name_server
    names = AsyncResolver(None, [f"127.0.0.1:{dns_port}"])
    assert await names.resolve("four.test", 1)
    await names.close()


async def test_threaded_resolver_asks_the_system(get) -> None:
    names = ThreadedResolver()
    rows = await names.resolve("localhost", 8080, socket.AF_INET)
    assert rows[0]["host"] == "127.0.0.1"
    assert rows[0]["port"] == 8080
    assert rows[0]["hostname"] == "localhost"
    await names.close()


async def test_without_aiodns_it_says_so_and_the_rest_works(monkeypatch) -> None:
    """S001-98"""
    monkeypatch.setattr(resolver_module, "AIODNS_INSTALLED", False)
    with pytest.raises(RuntimeError, match="aiodns"):
        AsyncResolver()
    assert await ThreadedResolver().resolve("localhost")


def test_the_default_resolver_follows_what_is_installed() -> None:
    assert DefaultResolver is (AsyncResolver if find_spec("aiodns") else ThreadedResolver)
