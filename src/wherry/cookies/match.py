"""Which cookies may be stored from, and sent to, which URL: RFC 6265bis 5.1 and 5.7 as functions of
values.

Pure but for the public suffix list, which is read once when the first Domain attribute asks for it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

_PublicSuffixList: Any
try:
    from publicsuffixlist import PublicSuffixList as _PublicSuffixList
except ImportError:  # the extra "psl" is not installed
    _PublicSuffixList = None

__all__ = (
    "default_path",
    "domain_match",
    "is_ip_address",
    "is_localhost",
    "is_public_suffix",
    "parents",
    "path_match",
    "prefix_allows",
)


# Letters of a name that is remembered: DNS has none that is longer (RFC 1035 2.3.4).  Peers choose
# them, so what they can fill is bounded in bytes too.
LONGEST_NAME = 255


def is_ip_address(host: str) -> bool:
    """Whether `host` is an IPv4 or IPv6 address and no name."""
    return len(host) <= LONGEST_NAME and _is_ip_address(host)


@lru_cache(maxsize=1024)
def _is_ip_address(host: str) -> bool:
    # A name's last label is never a number, and only IPv6 addresses have colons: most hosts end
    # here.
    if ":" not in host and not host[-1:].isdigit():
        return False
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_localhost(host: str) -> bool:
    """Whether the name always means this machine (RFC 6761 6.3), so that plain HTTP to it counts as
    secure.
    """
    return host == "localhost" or host.endswith(".localhost")


def domain_match(host: str, domain: str) -> bool:
    """Whether `host` is `domain` or lies under it; an address only matches itself (5.1.3)."""
    if host == domain:
        return True
    return bool(domain) and host.endswith(f".{domain}") and not is_ip_address(host)


def parents(host: str) -> Iterator[str]:
    """The domains that `host` lies under, nearest first; none for an address."""
    if is_ip_address(host):
        return
    dot = host.find(".")
    while dot != -1:
        yield host[dot + 1 :]
        dot = host.find(".", dot + 1)


def default_path(request_path: str) -> str:
    """The Path of a cookie that came without one: the directory of the request (5.1.4)."""
    if not request_path.startswith("/"):
        return "/"
    return request_path[: request_path.rfind("/")] or "/"


def path_match(request_path: str, path: str) -> bool:
    """Whether a cookie with this Path goes along with the request (5.1.4)."""
    if not request_path.startswith(path):
        return False
    return len(request_path) == len(path) or path.endswith("/") or request_path[len(path)] == "/"


def prefix_allows(
    name: str, value: str, *, secure: bool, host_only: bool, path: str | None
) -> bool:
    """Whether the promise that a name's prefix makes is kept (4.1.3, 5.7 steps 20 to 22).

    Args:
        name: The cookie's name; without one, the value must not look like a name with a prefix.
        value: The cookie's value.
        secure: Whether it has the attribute Secure.
        host_only: Whether it came without a Domain attribute.
        path: The Path attribute as sent, None without one.
    """
    start = (name or value)[:9].lower()
    if start.startswith("__host-"):
        return bool(name) and secure and host_only and path == "/"
    if start.startswith("__secure-"):
        return bool(name) and secure
    return True


_list: Any = None


@lru_cache(maxsize=4096)
def is_public_suffix(domain: str) -> bool:
    """Whether anybody may register names under `domain`, so that no cookie may be set for it.

    Without the extra ``psl``, only names of a single label are known to be such.
    """
    global _list  # noqa: PLW0603
    if "." not in domain:
        return True
    if _PublicSuffixList is None:
        return False
    if _list is None:
        _list = _PublicSuffixList()
    return bool(_list.is_public(domain))
