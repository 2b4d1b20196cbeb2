"""Whether a URL may set a cookie, and what is stored then: RFC 6265bis 5.7 as a function of values.

It knows what the cookie says and who sets it; what the jar holds already, and which origins count
as secure, is the jar's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from yarl import URL

from wherry.cookies.cookie import Cookie
from wherry.cookies.match import (
    LONGEST_NAME,
    default_path,
    domain_match,
    is_public_suffix,
    prefix_allows,
)
from wherry.cookies.parse import MAX_LIFETIME, expiry
from wherry.redaction import HIDDEN

__all__ = ("Offered", "admitted")

_NEVER = float("inf")


class Offered(NamedTuple):
    """A cookie as it is set; what the names say is in `Cookie`.

    Args:
        name: Its name.
        value: Its value as a program reads it.
        coded: Its value as it came.
        sent: Its value as it goes out.
        attributes: Lower-case names and values.
        received: A server sets it: the rules for responses hold.
    """

    name: str
    value: str
    coded: str
    sent: str
    attributes: Mapping[str, Any]
    received: bool

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}={HIDDEN}>"


def admitted(offered: Offered, url: URL, host: str, now: float) -> Cookie | None:
    """The cookie that `url` may set; None if it may not.

    Args:
        offered: The cookie.
        url: Who sets it; without a host it is the program itself, for all hosts.
        host: The URL's host, "" for none.
        now: The present, in seconds since 1970.
    """
    name, value, coded, sent, attributes, received = offered
    domain = _domain_attribute(attributes)
    if received and (attributes.get("domain") or "")[-1:] == "." and not host.endswith("."):
        return None  # no host of that name is this one, or below it (RFC 6265bis 5.1.3)
    if len(domain) > LONGEST_NAME:
        return None  # no host lies under it
    if domain and received and is_public_suffix(domain):
        if domain != host:
            return None
        domain = ""
    if domain and host and not domain_match(host, domain):
        return None
    secure = bool(attributes.get("secure"))
    given_path = attributes.get("path")
    host_only = not domain and bool(host)
    ends = expiry(attributes, now)
    if received:
        if not prefix_allows(name, value, secure=secure, host_only=host_only, path=given_path):
            return None
        if ends is not None:
            ends = min(ends, now + MAX_LIFETIME)
    return Cookie(
        name,
        value,
        coded,
        sent,
        domain=domain or host,
        host_only=host_only,
        path=given_path if given_path and given_path[0] == "/" else default_path(url.raw_path),
        secure=secure,
        expires=_NEVER if ends is None else ends,
        attributes=attributes,
        received=received,
    )


def _domain_attribute(attributes: Mapping[str, Any]) -> str:
    """The Domain that a cookie is for, "" for the host that set it.

    One dot before it means nothing (5.6.3); with a dot after it, it is no host's name, and counts
    as absent in what a program says itself.
    """
    domain = attributes.get("domain")
    if not domain or domain[-1] == ".":
        return ""
    return str(domain[1:] if domain[0] == "." else domain).lower()
