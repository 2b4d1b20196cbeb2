"""Which URLs are of one origin: the question that every rule about secrets asks."""

from __future__ import annotations

from yarl import URL


def origin_of(url: URL) -> URL:
    """The origin of a URL in one form (RFC 6454 4): a port that the scheme implies is left out."""
    origin = url.origin()
    return origin.with_port(None) if origin.explicit_port is not None and origin.is_default_port() else origin
