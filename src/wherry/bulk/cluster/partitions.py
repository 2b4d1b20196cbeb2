"""Whose a URL is: the partition of its host.

Every URL of a host is in one partition, and one worker has a partition at any time; so whatever
that worker does to be polite to a host holds for the whole cluster.  Pure, and the same on every
machine, Python and day: what is done is found again by it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from yarl import URL

# `example.org` mostly redirects to `www.example.org` or back, and is the same machine.
_ALIAS: Final = "www."


def host_of(url: str) -> str:
    """The host of a URL as it is parted by: lower case, without port and without `www.`.

    What has no host is given as it is: it belongs somewhere, and fails there.
    """
    scheme, _, rest = url.strip().partition("://")
    if not rest:
        return scheme
    authority = rest
    for end in "/?#\\":
        authority = authority.partition(end)[0]
    host = authority.rpartition("@")[2].lower()
    # RFC 3986 3.2.2: the colons of an IPv6 address are inside brackets.
    host = host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if not host.isascii() or "%" in host:
        host = _ascii(host)
    return host.rstrip(".").removeprefix(_ALIAS)


def _ascii(host: str) -> str:
    """A host of other letters as it is asked for (IDNA)."""
    try:
        return URL.build(scheme="http", host=host).raw_host or host
    except ValueError:
        return host


def partition_of(url: str, count: int) -> int:
    """Whose a URL is, from 0 to `count` - 1.

    Args:
        url: Any text; what is no URL has a partition too.
        count: How many partitions there are.
    """
    return _slot(host_of(url)) % count


# Lists of URLs have runs of the same host.
@lru_cache(maxsize=65536)
def _slot(host: str) -> int:
    # Not `hash()`: it is another one in each process.
    return int.from_bytes(blake2b(host.encode("utf-8", "surrogatepass"), digest_size=8).digest())
