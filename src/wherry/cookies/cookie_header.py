"""The Cookie line of one request: the jar's cookies, as many as fit, and the request's own.

Pure functions over text and cookies.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from http.cookies import Morsel

from yarl import URL

from wherry.cookies.cookie import Cookie, coded_for_sending, loose_pairs, morsel_of
from wherry.cookies.match import default_path, domain_match, is_localhost, path_match
from wherry.cookies.parse import expiry
from wherry.types import LooseCookies

__all__ = ("joined", "merge_cookie_lines", "request_cookie_line", "within_limits")


def joined(cookies: list[Cookie], most: int, octets: int) -> str:
    """The line of a jar's cookies, within limits; see `within_limits`."""
    line = "; ".join([cookie.pair for cookie in cookies])
    if _octets(line) <= octets and len(cookies) <= most:
        return line
    return "; ".join([cookie.pair for cookie in within_limits(cookies, most, octets)])


def within_limits(cookies: list[Cookie], most: int, octets: int) -> list[Cookie]:
    """As many as one request may carry, in their order; one that is too long lets shorter ones
    pass.

    The program's own go first, then those of the nearest domain: who fills a domain above cannot
    push them out.

    Args:
        cookies: Those that match, in the order in which they are sent.
        most: How many there may be.
        octets: How long their line may be.
    """
    room = octets + 2
    kept: set[Cookie] = set()
    for cookie in sorted(cookies, key=_nearness):
        if len(kept) >= most:
            break
        length = _octets(cookie.pair) + 2
        if length <= room:
            room -= length
            kept.add(cookie)
    return [cookie for cookie in cookies if cookie in kept]


def _nearness(cookie: Cookie) -> tuple[bool, int]:
    return (bool(cookie.domain), -len(cookie.domain))


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def merge_cookie_lines(weaker: str, stronger: str) -> str:
    """Both lines' cookies in one line; of the weaker only those whose names the stronger has
    not.
    """
    if not weaker or not stronger:
        return weaker or stronger
    names = {pair.partition("=")[0].strip() for pair in stronger.split(";")}
    kept = [
        pair for part in weaker.split(";") if (pair := part.strip()).partition("=")[0] not in names
    ]
    return "; ".join([*kept, stronger])


def request_cookie_line(
    session_line: str,
    cookies: LooseCookies | None,
    *,
    quote_cookie: bool = True,
    url: URL | None = None,
    secure_origins: Collection[URL] = (),
) -> str:
    """The Cookie line of a request that has cookies of its own.

    Args:
        session_line: The jar's line for the request, "" for none.
        cookies: The request's own: a mapping, pairs, a `SimpleCookie`, or a `Morsel`.  Their names
            win.
        quote_cookie: Quote values that need it; False sends them as they are.
        url: Where the request goes.  With it, a Morsel's attributes Domain, Path, Secure, Max-Age
            and Expires are obeyed, so that the cookies of a response can be passed on as they are.
        secure_origins: Where Secure cookies go without TLS too.

    Raises:
        CookieError: A name or value cannot be sent.
    """
    if not cookies:
        return session_line
    own: dict[str, str] = {}
    for name, given in loose_pairs(cookies):
        morsel = morsel_of(name, given)
        if url is None or not isinstance(given, Morsel) or _may_go(morsel, url, secure_origins):
            own[morsel.key] = f"{morsel.key}={coded_for_sending(morsel, quoting=quote_cookie)}"
    return merge_cookie_lines(session_line, "; ".join(own.values()))


def _may_go(morsel: Morsel[str], url: URL, secure_origins: Collection[URL]) -> bool:
    """Whether the attributes of a Morsel let it go to `url`."""
    host = url.raw_host or ""
    domain = (morsel["domain"] or "").removeprefix(".").lower()
    if domain and not domain.endswith(".") and not domain_match(host, domain):
        return False
    path = morsel["path"]
    if path and not path_match(url.raw_path or "/", path if path[0] == "/" else default_path(path)):
        return False
    by_tls = url.scheme in {"https", "wss"}
    if morsel["secure"] and not (
        by_tls or is_localhost(host) or (secure_origins and url.origin() in secure_origins)
    ):
        return False
    now = time.time()
    ends = expiry(morsel, now)
    return ends is None or ends > now
