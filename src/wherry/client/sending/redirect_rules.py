"""Where a redirect leads, and what may go there: every rule of it, in one pure function.

A `Leg` is one request of a chain of redirects.  `next_leg` takes a leg and the response that came
and gives the next leg, or None.  A secret that is dropped on the way to another origin stays
dropped for the rest of the chain, even when a later leg returns (RFC 9110 15.4, 11.4; the WHATWG
Fetch standard 4.4).

Why for the rest of the chain?  Who controls one leg controls all that follow.  If a secret came
back when the chain does, a.test -> evil.test -> a.test/log?... would let evil.test choose where
a.test's secret is shown, and with which query.

What is a secret, and whose it is:

- Fields that a request or the session gives (Authorization, Cookie, ...) and `auth=` belong to the
  origin of the first URL: scheme, host and port.  `Leg.trusted` says whether they may still go.
- Credentials in a Location belong to the origin that it names, until the chain leaves that.
- Entries of ~/.netrc belong to the host that they name, whoever leads there; `Leg.left` has the
  hosts that were left, and whose entries are not taken up again.
- Cookies of the jar go by the jar's own rules (RFC 6265bis 5.8.3), leg by leg.
- Client certificates and pins (`ssl=`) hold for the first origin: `Leg.keeps_tls`.

The handshake of a WebSocket goes where its redirects lead, as a request does.  ws and http name the
same server there (RFC 6455 3, 11.1.1), and so do wss and https: a Location may use either word, and
the next leg keeps the word that the program used.  Origins are compared after that, so ws after wss
is another origin as http after https is, and gets no secret.

The body has rules of its own: 303, and 301 and 302 after a POST, turn into a GET without content,
and every field that told of the content goes with it.
"""

from __future__ import annotations

from typing import Any

from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.client.headers.validation import ORIGIN_FIELDS, field_pairs
from wherry.client.middleware import Auth
from wherry.client.origin import origin_of, url_of
from wherry.client.plain_urls import plain_location
from wherry.errors import (
    ClientPayloadError,
    InvalidUrlRedirectClientError,
    NonHttpUrlRedirectClientError,
)
from wherry.types import LooseHeaders

REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_SECURE = frozenset({"https", "wss"})
_WS_SCHEMES = {"http": "ws", "https": "wss"}
_HTTP_SCHEMES = {"ws": "http", "wss": "https"}
# RFC 9110 15.4: fields that tell of content go when the content goes; so do all that begin with
# "content-" (8, 14.4), and what a method that changes things is told (the Idempotency-Key, and what
# covers the content: RFC 9421 7.2.8).
_CONTENT_FIELDS = frozenset(
    {
        "digest",
        "expect",
        "idempotency-key",
        "last-modified",
        "repr-digest",
        "signature",
        "signature-input",
        "trailer",
        "transfer-encoding",
    }
)


class Leg:
    """One station: what is sent where, and whether the secrets of the first station still go along.

    Args:
        method: The method.
        url: Where to, without credentials; or a text that is one already (`plain_urls`), `text`.
        headers: The request's own fields.
        data: The body, or None.
        auth: The credentials for this leg, or what writes them; the URL itself has none any more.
        trusted: Whether session-wide secrets (fields, `auth=`, cookies of the request) may be sent.
        left: Hosts whose own credentials (those of ~/.netrc) were dropped on the way.
        keeps_tls: Whether what the request said of TLS holds: of its first origin, and of no other.

    Attributes:
        history: The responses that led here, first to last.
    """

    __slots__ = (
        "_url",
        "auth",
        "data",
        "headers",
        "history",
        "keeps_tls",
        "left",
        "method",
        "text",
        "trusted",
    )

    def __init__(
        self,
        method: str,
        url: URL | str,
        headers: LooseHeaders | None,
        data: Any,
        auth: Auth | None,
        trusted: bool = True,
        left: frozenset[str] = frozenset(),
        keeps_tls: bool = True,
    ) -> None:
        self.method: str = method
        self.text: str | None = url if type(url) is str else None
        self._url = url
        self.headers: LooseHeaders | None = headers
        self.data: Any = data
        self.auth: Auth | None = auth
        self.trusted: bool = trusted
        self.left: frozenset[str] = left
        self.keeps_tls: bool = keeps_tls
        self.history: tuple[Any, ...] = ()

    @property
    def url(self) -> URL:
        url = self._url
        if isinstance(url, str):
            self._url = url = URL(url)
        return url

    @url.setter
    def url(self, url: URL) -> None:
        """A policy sends the same to another place of the same host: no secret is dropped."""
        self._url, self.text = url, None


def split_credentials(url: URL) -> tuple[BasicAuth | None, URL]:
    """The credentials in a URL, and the URL without them: they are neither shown nor sent in it
    (RFC 9110 4.2.4).

    They go out in ISO-8859-1 where that can write them, as they always did, and else in UTF-8 (RFC
    7617 2.1).

    Raises:
        ValueError: The name holds a colon (RFC 7617 2).
    """
    auth = BasicAuth.from_url(url)
    if auth is not None and not _fits_latin1(auth.login + auth.password):
        auth = BasicAuth(auth.login, auth.password, "utf-8")
    return auth, url.with_user(None)


def _fits_latin1(text: str) -> bool:
    return text.isascii() or max(text) <= "\xff"


def redirect_method(method: str, status: int) -> str:
    """The method of the next request (RFC 9110 15.4.2 to 15.4.4)."""
    if status == 303 and method != "HEAD":
        return "GET"
    if status in (301, 302) and method == "POST":
        return "GET"
    return method


def redirect_url(base: URL, location: str, *, requote: bool = True, handshake: bool = False) -> URL:
    """The absolute URL that a Location means (RFC 9110 10.2.2).

    Args:
        base: The URL that was asked.
        location: The field's value.
        requote: Whether what no URL may hold is quoted.
        handshake: Whether a WebSocket is being opened, and the Location may say ws and wss.

    Raises:
        InvalidUrlRedirectClientError: It is no URL, or has no host.
        NonHttpUrlRedirectClientError: It is neither http nor https.
    """
    try:
        target = url_of(location, mend=requote)
        joined = url_of(location, base, mend=requote)
    except ValueError as exc:
        raise InvalidUrlRedirectClientError(
            location,
            f"Server attempted redirecting to a location that does not look like a URL: {exc}",
        ) from exc
    if joined.scheme not in ("http", "https") and not (
        handshake and joined.scheme in _HTTP_SCHEMES
    ):
        raise NonHttpUrlRedirectClientError(joined)
    # "http:path" has a scheme and is relative all the same; "http://" has room for a host, and none
    # in it.
    has_room = target.scheme and location.partition(":")[2].startswith("//")
    if not (target if has_room else joined).raw_host:
        raise InvalidUrlRedirectClientError(target, "Invalid redirect URL origin: it has no host")
    if handshake:
        words = _WS_SCHEMES if base.scheme in _HTTP_SCHEMES else _HTTP_SCHEMES
        joined = joined.with_scheme(words.get(joined.scheme, joined.scheme))
    if base.raw_fragment and not joined.raw_fragment:
        joined = joined.with_fragment(base.fragment)
    return joined


def next_leg(
    leg: Leg,
    sent_to: URL | str,
    status: int,
    location: str | None,
    *,
    requote: bool = True,
    handshake: bool = False,
) -> Leg | None:
    """The leg after `leg`, or None when the response is not a redirect that can be followed.

    Args:
        leg: What was sent.
        sent_to: The URL of the request as it went out, to which Location is relative; or a text
            that is one already (`plain_urls`).
        status: The response's status.
        location: Its Location, or None.
        requote: Whether what no URL may hold is quoted (`requote_redirect_url`).
        handshake: Whether a WebSocket is being opened.

    Raises:
        InvalidUrlRedirectClientError: Location is not a URL.
        NonHttpUrlRedirectClientError: Location has another scheme.
        ClientPayloadError: The body would have to be sent again and cannot be.
    """
    if status not in REDIRECT_STATUSES or not location:
        return None
    method = redirect_method(leg.method, status)
    if isinstance(sent_to, str):
        text = plain_location(sent_to, location)
        if text is not None:
            # The same origin: whatever was for that goes along.
            data, headers = None, leg.headers
            if leg.data is not None or status == 303 or method != leg.method:
                data, dropped = _content_after(leg, method, status, text)
                headers = _kept(headers, dropped)
            return Leg(method, text, headers, data, leg.auth, leg.trusted, leg.left, leg.keeps_tls)
        sent_to = URL(sent_to)
    url = redirect_url(sent_to, location, requote=requote, handshake=handshake)
    data, dropped = _content_after(leg, method, status, url)
    auth, trusted, left, keeps_tls = leg.auth, leg.trusted, leg.left, leg.keeps_tls
    if origin_of(url) != origin_of(sent_to):
        dropped |= ORIGIN_FIELDS
        auth, trusted = None, False
        keeps_tls = keeps_tls and is_upgrade(sent_to, url)
        left |= {sent_to.raw_host or ""}
        if sent_to.scheme in _SECURE and url.scheme not in _SECURE:
            left |= {url.raw_host or ""}
    if url.raw_user is not None or url.raw_password is not None:
        # Those of the new URL supersede: who redirects knows them already.
        try:
            auth, url = split_credentials(url)
        except ValueError as exc:
            raise InvalidUrlRedirectClientError(url.with_user(None), str(exc)) from exc
        dropped |= {"authorization"}
    headers = _kept(leg.headers, dropped)
    return Leg(method, url, headers, data, auth, trusted, left, keeps_tls)


def _content_after(
    leg: Leg, method: str, status: int, url: URL | str
) -> tuple[Any, frozenset[str]]:
    """The body that goes along, and the fields that do not because they told of it.

    Raises:
        ClientPayloadError: The body would have to be sent again and cannot be.
    """
    # RFC 9110 15.4.4: what a 303 asks for is a retrieval, whatever the method was.
    if method != leg.method or status == 303:
        return None, _CONTENT_FIELDS
    data = leg.data
    if data is not None and not data.replayable:
        raise ClientPayloadError(
            f"Cannot follow redirect with a consumed request body ({status} to {url}). "
            "Use bytes, a seekable file-like object, or set allow_redirects=False."
        )
    return data, frozenset()


def _kept(headers: LooseHeaders | None, dropped: frozenset[str]) -> Any:
    """The fields that go along; nothing is made of them where all do."""
    if not headers or not dropped:
        return headers
    without_content = dropped.issuperset(_CONTENT_FIELDS)
    return [
        (name, value)
        for name, value in field_pairs(headers)
        if (lower := name.lower()) not in dropped
        and not (without_content and lower.startswith("content-"))
    ]


def is_upgrade(old: URL, new: URL) -> bool:
    """Whether a host asks for TLS in place of none, each at its usual port.

    What a request for http said of TLS can only have been meant for that.
    """
    return (
        (old.scheme, new.scheme) in {("http", "https"), ("ws", "wss")}
        and old.raw_host == new.raw_host
        and old.is_default_port()
        and new.is_default_port()
    )
