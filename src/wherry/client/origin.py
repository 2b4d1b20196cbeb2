"""What the origin of a URL is: the question that every rule about secrets asks, and what Host and
:authority say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from yarl import URL

from wherry.errors import InvalidUrlClientError
from wherry.protocol.heads import has_bytes
from wherry.redaction import shown_reason

_ZONE = re.compile(r"%[^\]]*")
# RFC 3986, appendix B.
_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*+:)?(?P<authority>//[^/?#\\]*+)?(?P<rest>.*+)", re.DOTALL
)
_JOINABLE = frozenset({"http", "https", "ws", "wss"})
_BLANKS = " \t"
# RFC 3986 2: what must be percent-encoded outside the authority.
_NOT_IN_A_URL = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")
_NOT_IN_A_REQUEST = re.compile(rb"[^\x21-\x7e]")
_NO_HOST = re.compile(r"[\x00-\x20\x7f]")


def origin_of(url: URL) -> URL:
    """The origin of a URL in one form (RFC 6454 4): a port that the scheme implies is left out."""
    origin = url.origin()
    return (
        origin.with_port(None)
        if origin.explicit_port is not None and origin.is_default_port()
        else origin
    )


def origins_of(origins: str | URL | Iterable[str | URL] | None) -> frozenset[URL] | None:
    """The origins of URLs; of one alone, too, which is no collection of letters.

    Raises:
        ValueError: One has no origin.
    """
    if origins is None:
        return None
    if isinstance(origins, (str, URL)):
        origins = (origins,)
    return frozenset(origin_of(URL(origin)) for origin in origins)


def base_origin_of(url: URL) -> URL:
    """The origin that a session's `base_url` is compared by: a WebSocket is asked of the same
    server (RFC 6455 3).
    """
    if url.scheme in ("ws", "wss"):
        url = url.with_scheme("https" if url.scheme == "wss" else "http")
    return origin_of(url)


def url_of(text: str, base: URL | None = None, *, mend: bool = True) -> URL:
    """The URL that a peer wrote: in Location, Link, a challenge or a document.

    What is percent-encoded stays as it was sent, for "%26" and "&" differ (RFC 3986 2.2), and so do
    bytes outside ASCII, percent-encoded.

    Args:
        text: A URL, or a reference.
        base: What a reference is relative to (RFC 3986 5).
        mend: Whether what no URL may hold ("<", a "%" without digits) is quoted; if not, what no
            request could carry is quoted alone.

    Raises:
        ValueError: It is no URL, whatever yarl says of it (an IndexError of
            ``https://[::1]:43@/``, for example).  It does not quote the URL, and has no cause
            that does: a password may stand in it.
    """
    try:
        url = _reference(text, _NOT_IN_A_URL if mend else _NOT_IN_A_REQUEST)
        # A reference may begin with a host (RFC 3986 4.2): then it lacks the scheme only.
        if base is not None and not (url.absolute and url.scheme):
            url = base.join(url)
        # Made on first touch, and broken then.
        _ = url.raw_host, url.port
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, RecursionError) as exc:
        raise ValueError(shown_reason(exc)) from None
    return url


def _reference(text: str, unwanted: re.Pattern[bytes]) -> URL:
    """The URL or reference that `text` is; its host is made ready for DNS, the rest is quoted."""
    match = _PARTS.match(text.strip(_BLANKS))
    assert match is not None  # every part may be absent
    scheme, authority, rest = match["scheme"] or "", match["authority"], match["rest"]
    # Fields are read as UTF-8, and what is none survives as surrogates.
    octets = rest.encode("utf-8", "surrogateescape")
    rest = unwanted.sub(_percent_encoded, octets).decode("ascii")
    if not authority:
        return URL(f"{scheme}{authority or ''}{rest}", encoded=True)
    origin = URL(f"{scheme}{authority}")
    if origin.scheme in _JOINABLE:
        return origin.join(URL(rest, encoded=True)) if rest else origin
    # yarl joins nothing to a scheme that it does not know: "slack://team/room" would be "/room".
    return URL(f"{origin}{rest}", encoded=True)


def _percent_encoded(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


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
