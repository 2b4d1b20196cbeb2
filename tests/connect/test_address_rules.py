"""Literal addresses in every spelling, and the guard for untrusted URLs."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from wherry.connect.connector import TCPConnector
from wherry.connect.dns.address_guard import (
    is_canonical,
    is_literal,
    parse_literal,
    public_addresses_only,
    takes,
)
from wherry.connect.route import ProxyHop
from wherry.errors import ClientConnectorAddressBlocked, ClientConnectorError, InvalidUrlClientError

LOOPBACK_SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7F.0.0.1",
    "0177.0.0.01",
    "127.0.0.1.",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
]


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
def test_every_spelling_of_loopback_is_refused(host: str) -> None:
    assert is_literal(host)
    address = parse_literal(host)
    assert address is not None
    assert not public_addresses_only(address)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001:db8::1",
        "2001:0:7f00:1::",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_is_not_public_is_refused(host: str) -> None:
    assert not public_addresses_only(ipaddress.ip_address(host))


@pytest.mark.parametrize(
    "host",
    [
        "1.1.1.1",
        "93.184.216.34",
        "8.8.8.8",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_what_is_public_is_allowed(host: str) -> None:
    assert public_addresses_only(ipaddress.ip_address(host))


EDGES = [
    "9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0",
    "172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255",
    "192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255",
    "1.0.0.0 192.31.196.1 192.52.193.1 192.175.48.1 2001:200::1 2001:db9::1 2620:4f:8000::1 3ffe:ffff::1 2000::1",
]


@pytest.mark.parametrize("host", " ".join(EDGES).split())
def test_the_neighbours_of_what_is_not_public_are_public(host: str) -> None:
    """The registry's blocks and no more, on every release of Python."""
    assert public_addresses_only(ipaddress.ip_address(host))


@pytest.mark.parametrize(
    "host",
    [
        "192.0.0.9",
        "192.0.0.170",
        "2001:1::1",
        "2001:20::1",
        "2001:1ff:ffff::1",
        "4000::1",
        "1fff::1",
        "64:ff9b::a00:1",
        "8000::1",
        "5f00::1",
    ],
)
def test_what_releases_of_python_do_not_agree_on_is_refused(host: str) -> None:
    assert not public_addresses_only(ipaddress.ip_address(host))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}", "0x{:x}", "0{:o}", "0X{:X}"]))
def test_numeric_spellings_mean_what_the_system_takes_them_for(number: int, form: str) -> None:
    host = form.format(number)
    address = parse_literal(host)
    assert address is not None
    assert str(address) == socket.inet_ntoa(socket.inet_aton(host))


@given(st.ip_addresses())
def test_canonical_literals_are_themselves(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert is_literal(str(address))
    assert is_canonical(str(address))
    assert parse_literal(str(address)) == address


@pytest.mark.parametrize(
    "host", ["example.com", "localhost", "1.2.3.4.example", "0x7f.example", "a", "1a"]
)
def test_names_are_not_literals(host: str) -> None:
    assert not is_literal(host)


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0177.0.0.1", "256.1.1.1", "1.2.3", "01.2.3.4", "127.0.0.1."]
)
async def test_a_spelling_that_programs_read_differently_is_an_invalid_url(get, host: str) -> None:
    async with TCPConnector() as connector:
        with pytest.raises(InvalidUrlClientError):
            await get(connector, f"http://{host}:1/")


@pytest.mark.parametrize("allow", [None, public_addresses_only])
async def test_a_literal_that_is_no_address_is_never_taken_for_a_name(get, allow) -> None:
    """The system would be asked for it, and nobody would ask the guard about what the system says."""
    async with TCPConnector(allow_address=allow) as connector:
        with pytest.raises(InvalidUrlClientError, match="not an IP address"):
            await get(connector, "http://[v1.a:b]:1/")


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h", "socks4"])
async def test_the_guard_is_asked_about_proxies(get, scheme: str) -> None:
    proxy = ProxyHop(scheme, "127.0.0.1", 1)
    async with TCPConnector(allow_address=public_addresses_only) as connector:
        with pytest.raises(ClientConnectorAddressBlocked, match=r"refused 127\.0\.0\.1") as caught:
            await get(connector, "http://8.8.8.8/", hops=(proxy,))
        assert (caught.value.host, caught.value.port) == ("127.0.0.1", 1)


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
async def test_the_guard_is_asked_about_literals(get, host: str) -> None:
    async with TCPConnector(allow_address=public_addresses_only) as connector:
        url = f"http://[{host}]:1/" if ":" in host else f"http://{host}:1/"
        with pytest.raises(ClientConnectorAddressBlocked) as caught:
            await get(connector, url)
        assert isinstance(caught.value, ClientConnectorError)
        assert "allow_address refused" in str(caught.value)
        assert caught.value.port == 1


async def test_the_guard_is_asked_about_every_resolved_address(get, serve, resolver) -> None:
    port = await serve()
    asked = []

    def allow(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        asked.append(str(address))
        return str(address) == "127.0.0.1"

    async with TCPConnector(
        allow_address=allow, resolver=resolver("127.0.0.2", "127.0.0.1")
    ) as connector:
        answer = await get(connector, f"http://name.test:{port}/")
        assert answer.connection.transport.get_extra_info("peername")[0] == "127.0.0.1"
    assert sorted(asked) == ["127.0.0.1", "127.0.0.2"]


async def test_a_name_that_changes_its_address_is_asked_about_again(get, serve, resolver) -> None:
    """DNS rebinding: what was allowed once is not allowed for ever."""
    names = resolver("127.0.0.1")
    port = await serve()
    blocked = {"127.0.0.1"}
    async with TCPConnector(
        allow_address=lambda address: str(address) not in blocked,
        resolver=names,
        use_dns_cache=False,
        force_close=True,
    ) as connector:
        blocked.clear()
        assert (await get(connector, f"http://name.test:{port}/")).status == 200
        blocked.add("127.0.0.1")
        with pytest.raises(ClientConnectorAddressBlocked):
            await get(connector, f"http://name.test:{port}/")


async def test_a_guard_that_fails_lets_nothing_through(get, serve) -> None:
    port = await serve()

    def allow(address: object) -> bool:
        raise ZeroDivisionError

    async with TCPConnector(allow_address=allow) as connector:
        with pytest.raises(ZeroDivisionError):
            await get(connector, f"http://127.0.0.1:{port}/")
        assert connector.stats().open == 0


async def test_a_plain_request_by_a_proxy_is_tunnelled_under_a_guard() -> None:
    """A forwarding proxy would resolve the name itself, unasked."""
    from wherry.connect.route import ProxyHop

    hops = (ProxyHop("http", "proxy.test", 3128),)
    async with (
        TCPConnector(allow_address=public_addresses_only) as guarded,
        TCPConnector() as open_one,
    ):
        assert not guarded.route_for(URL("http://a.test/"), hops=hops).absolute_form
        assert open_one.route_for(URL("http://a.test/"), hops=hops).absolute_form


@pytest.mark.parametrize(
    "text", ["127.0.0.1 x", "127.0.0.1\n", " 127.0.0.1", "1 2", "", "0x", "08"]
)
def test_what_a_resolver_reads_past_its_end_is_no_address(text: str) -> None:
    """inet_aton takes whatever follows a blank."""
    assert parse_literal(text) is None


def test_a_guard_that_is_a_coroutine_function_is_refused_and_leaves_nothing() -> None:
    closed = []

    class Later:
        def __await__(self) -> object:
            raise AssertionError("nobody waits for it")

        def close(self) -> None:
            closed.append(self)

    async def guard(address: object) -> bool:
        return True

    address = ipaddress.ip_address("8.8.8.8")
    for refused in (guard, lambda address: Later()):
        with pytest.raises(TypeError, match="coroutine"):
            takes(refused, address)  # type: ignore[arg-type]
    assert closed == [], "only a coroutine is known to be closed so"
    assert takes(lambda address: True, address) is True
    assert takes(lambda address: "", address) is False  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("server", "client", "public"),
    [
        ("8.8.8.8", "9.9.9.9", True),
        ("10.0.0.1", "9.9.9.9", False),
        ("8.8.8.8", "10.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", False),
    ],
)
def test_a_teredo_address_is_as_public_as_both_that_are_in_it(
    server: str, client: str, public: bool
) -> None:
    """RFC 4380 4: the server's address, and the client's with its bits turned."""
    number = (
        0x20010000 << 96
        | int(ipaddress.IPv4Address(server)) << 64
        | (int(ipaddress.IPv4Address(client)) ^ 0xFFFFFFFF)
    )
    assert public_addresses_only(ipaddress.IPv6Address(number)) is public
