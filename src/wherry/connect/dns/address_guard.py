"""Which addresses may be connected to: spellings of literal addresses, and a guard for untrusted
URLs.  Pure.

Programs that fetch untrusted URLs must not be led into their own network (SSRF), neither by a
literal address in an odd spelling nor by a name that resolves to one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Coroutine

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
AllowAddress = Callable[[IPAddress], bool]

_CANONICAL_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?=\d)|\Z)){4}", re.ASCII)
# What inet_aton takes beyond that: fewer parts, octal, hexadecimal.
_NUMERIC_IPV4 = re.compile(
    r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?", re.ASCII
)

# RFC 6052 2.1: IPv4 addresses behind a translator; the second block is for local use (RFC 8215).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# IANA's special-purpose registries.  Not `is_global` and its kin: what they say has changed in
# patch releases.
_NOT_PUBLIC_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # RFC 1122: this network
            "10.0.0.0/8",  # RFC 1918: private
            "100.64.0.0/10",  # RFC 6598: shared behind a provider's translator
            "127.0.0.0/8",  # RFC 1122: loopback
            "169.254.0.0/16",  # RFC 3927: link-local
            "172.16.0.0/12",  # RFC 1918
            "192.0.0.0/24",  # RFC 6890: protocol assignments
            "192.0.2.0/24",  # RFC 5737: documentation
            "192.88.99.0/24",  # RFC 7526: 6to4 relays, given up
            "192.168.0.0/16",  # RFC 1918
            "198.18.0.0/15",  # RFC 2544: benchmarks
            "198.51.100.0/24",  # RFC 5737
            "203.0.113.0/24",  # RFC 5737
            "224.0.0.0/3",  # RFC 1112: multicast, reserved, broadcast
        ),
    )
)
# RFC 4291 2.4, and IANA: nothing outside this block has been given out as public unicast.
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = (
    # RFC 2928: protocol assignments (Teredo is looked at before).
    ipaddress.IPv6Network("2001::/23"),
    ipaddress.IPv6Network("2001:db8::/32"),  # RFC 3849: documentation
    ipaddress.IPv6Network("3fff::/20"),  # RFC 9637: documentation
)


def is_literal(host: str) -> bool:
    """Whether `host` is an address already, in whatever spelling; a name is to be resolved."""
    return ":" in host or _NUMERIC_IPV4.fullmatch(host) is not None


def is_canonical(host: str) -> bool:
    """Whether a literal has the one spelling that everybody reads alike: four decimal parts, or
    IPv6.
    """
    return ":" in host or _CANONICAL_IPV4.fullmatch(host) is not None


def parse_literal(host: str) -> IPAddress | None:
    """The address that a literal stands for, as the system's resolver would read it; None if it is
    none.
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if _NUMERIC_IPV4.fullmatch(host) is None:
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


def takes(allow: AllowAddress, address: IPAddress) -> bool:
    """Whether a guard takes `address`.

    Raises:
        TypeError: It is a coroutine function: what that gives is no answer, and would let every
            address through.
    """
    answer: object = allow(address)
    if hasattr(answer, "__await__"):
        if isinstance(answer, Coroutine):
            answer.close()
        raise TypeError(
            "allow_address answers at once with True or False; it cannot be a coroutine function"
        )
    return bool(answer)


def public_addresses_only(address: IPAddress) -> bool:
    """Whether `address` is on the public internet: for
    `TCPConnector(allow_address=public_addresses_only)`.

    Private, loopback, link-local, shared (RFC 6598), multicast, reserved and documentation
    addresses are not; nor is an IPv6 address that leads to such an IPv4 address (mapped, 6to4,
    Teredo, NAT64).
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_V4)
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is None and address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if embedded is not None:
        return public_addresses_only(embedded)
    if address.teredo is not None:
        return all(public_addresses_only(part) for part in address.teredo)
    return (
        address.scope_id is None
        and address in _GIVEN_OUT
        and not any(address in block for block in _NOT_PUBLIC_V6)
    )
