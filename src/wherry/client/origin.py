"""What the origin of a URL is: the question that every rule about secrets asks, and what Host and
:authority say.
"""

from __future__ import annotations

import re

from yarl import URL

from wherry.errors import InvalidUrlClientError
from wherry.protocol.heads import has_bytes

_ZONE = re.compile(r"%[^\]]*")
_NO_HOST = re.compile(r"[\x00-\x20\x7f]")


def origin_of(url: URL) -> URL:
    """The origin of a URL in one form (RFC 6454 4): a port that the scheme implies is left out."""
    origin = url.origin()
    return (
        origin.with_port(None)
        if origin.explicit_port is not None and origin.is_default_port()
        else origin
    )


def base_origin_of(url: URL) -> URL:
    """The origin that a session's `base_url` is compared by: a WebSocket is asked of the same
    server (RFC 6455 3).
    """
    if url.scheme in ("ws", "wss"):
        url = url.with_scheme("https" if url.scheme == "wss" else "http")
    return origin_of(url)


def url_of(text: str, base: URL | None = None, *, encoded: bool = False) -> URL:
    """The URL that a peer wrote: in Location, Link, a challenge or a document.

    Args:
        text: A URL, or a reference.
        base: What a reference is relative to (RFC 3986 5).
        encoded: Whether `text` is to be taken as it is, without being quoted anew.

    Raises:
        ValueError: It is no URL, whatever yarl says of it (an IndexError of
            ``https://[::1]:43@/``, for example).
    """
    try:
        url = URL(text, encoded=encoded)
        # A reference may begin with a host (RFC 3986 4.2): then it lacks the scheme only.
        if base is not None and not (url.absolute and url.scheme):
            url = base.join(url)
        # Made on first touch, and broken then.
        _ = url.raw_host, url.port
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, RecursionError) as exc:
        raise ValueError(f"{text[:200]!r} is no URL: {exc}") from exc
    return url


def authority_of(url: URL) -> str:
    """Host and port as they are sent; what an IPv6 zone is called here is nobody else's business
    (RFC 6874 4).

    Raises:
        InvalidUrlClientError: They have a space, a control character, or what has no bytes (RFC
            3986 3.2.2).
    """
    authority = url.host_port_subcomponent or ""
    if _NO_HOST.search(authority) is not None or not (authority.isascii() or has_bytes(authority)):
        raise InvalidUrlClientError(url, f"{authority!r} is no host")
    return _ZONE.sub("", authority) if authority[:1] == "[" and "%" in authority else authority
