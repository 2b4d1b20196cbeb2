"""What the origin of a URL is: the question that every rule about secrets asks, and what Host and :authority say."""

from __future__ import annotations

import re

from yarl import URL

_ZONE = re.compile(r"%[^\]]*")


def origin_of(url: URL) -> URL:
    """The origin of a URL in one form (RFC 6454 4): a port that the scheme implies is left out."""
    origin = url.origin()
    return origin.with_port(None) if origin.explicit_port is not None and origin.is_default_port() else origin


def authority_of(url: URL) -> str:
    """Host and port as they are sent; what an IPv6 zone is called here is nobody else's business (RFC 6874 4)."""
    authority = url.host_port_subcomponent or ""
    return _ZONE.sub("", authority) if authority[:1] == "[" and "%" in authority else authority
