"""`CookieJar`: a session's cookies by the rules of RFC 6265bis.

Decides what is taken from a response and what goes with a request; the index finds it, `match` says
what fits.  A request's Cookie line is kept until the jar changes or a cookie ends, so a session in
steady state looks it up.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.cookies import BaseCookie, Morsel, SimpleCookie
from os import PathLike
from types import MappingProxyType
from typing import Any

from yarl import URL

from wherry.cookies.abc import AbstractCookieJar, ClearCookiePredicate
from wherry.cookies.aiohttp_view import CookiesByPlace, LiveCookies
from wherry.cookies.cookie import Cookie, coded_for_sending, loose_pairs, morsel_of
from wherry.cookies.cookie_header import joined, within_limits
from wherry.cookies.index import Change, CookieIndex
from wherry.cookies.match import domain_match, is_ip_address, is_localhost, path_match
from wherry.cookies.parse import OwnCookies, ReceivedMorsel, parse_one, unquote
from wherry.cookies.storage_rules import Offered, admitted
from wherry.types import LooseCookies, StrOrURL

__all__ = (
    "MAX_COOKIES",
    "MAX_COOKIES_PER_DOMAIN",
    "MAX_COOKIES_PER_REQUEST",
    "MAX_LINE_LENGTH",
    "CookieJar",
)

# How many cookies a jar holds, how many of one domain (RFC 6265bis 6.1 wants 3000 and 50 at least),
# and how many one response may set.
MAX_COOKIES = 3_300
MAX_COOKIES_PER_DOMAIN = 180
_MAX_COOKIES_PER_RESPONSE = 50
# What a request carries at most, in cookies and in octets: servers refuse longer field lines.
MAX_COOKIES_PER_REQUEST = 150
MAX_LINE_LENGTH = 8190

# Lines that are remembered at once, of all hosts and paths: at most this many times MAX_LINE_LENGTH
# of memory.
_MAX_LINES_KEPT = 4096
_FIELD_NAME_OCTETS = len("Cookie: ")
_NO_URL = URL()
_NO_ORIGINS: frozenset[URL] = frozenset()


class _HostLines:
    """The Cookie lines of one host: one for all paths if no cookie has a path, else by path.

    They are good while the jar's `values` is the number that is noted here.
    """

    __slots__ = ("by_path", "cookies", "has_paths", "plain", "values")

    def __init__(self, cookies: list[Cookie], has_paths: bool) -> None:
        self.cookies = cookies
        self.has_paths = has_paths
        self.plain: str | None = None
        self.by_path: dict[str, str] = {}
        self.values = -1


class CookieJar(AbstractCookieJar):
    """Keeps cookies as browsers do.

    Values that a server sent go back exactly as they came.  Values that a program sets are quoted
    where they need it.  Cookies of hosts that are IP addresses are refused unless `unsafe`.  Secure
    cookies go to https, wss and localhost.  With the extra ``psl``, Domain attributes that name a
    public suffix are refused.

    Args:
        unsafe: Take cookies of hosts that are IP addresses.
        quote_cookie: Quote values that a program sets, and that need it, as RFC 2109 does; False
            sends them as is.
        treat_as_secure_origin: One or more origins that get Secure cookies without TLS too.
        loop: Unused; a jar needs no loop.
        max_cookies: How many cookies it holds; when it is full, the longest unused eleventh goes.
        max_cookies_per_domain: How many of one domain; when they are so many, the longest unused
            sixth goes, and plain ones before Secure ones.
        max_cookies_per_request: How many go with one request, the most specific first.
        max_line_length: How many octets the Cookie line of one request has at most, its name
            included.
    """

    def __init__(
        self,
        *,
        unsafe: bool = False,
        quote_cookie: bool = True,
        treat_as_secure_origin: StrOrURL | Iterable[StrOrURL] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        max_cookies: int = MAX_COOKIES,
        max_cookies_per_domain: int = MAX_COOKIES_PER_DOMAIN,
        max_cookies_per_request: int = MAX_COOKIES_PER_REQUEST,
        max_line_length: int = MAX_LINE_LENGTH,
    ) -> None:
        super().__init__(loop=loop)
        self._unsafe = unsafe
        self._quote_cookie = quote_cookie
        if isinstance(treat_as_secure_origin, str | URL):
            treat_as_secure_origin = (treat_as_secure_origin,)
        self._secure_origins = _NO_ORIGINS
        if treat_as_secure_origin:
            self._secure_origins = frozenset(
                URL(origin).origin() for origin in treat_as_secure_origin
            )
        self._max_per_request = max_cookies_per_request
        self._max_line = max_line_length - _FIELD_NAME_OCTETS
        self._index = CookieIndex(max_cookies, max_cookies_per_domain)
        self._lines: dict[tuple[str | None, str, int | None], _HostLines] = {}
        self._kept = 0
        # Counts the changes of stored values; lines of an older count are made anew.
        self._values = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Send the hot path through what a subclass overrides, so that its rule holds for every
        request.
        """
        super().__init_subclass__(**kwargs)
        if "filter_cookies" in cls.__dict__ and "cookie_header" not in cls.__dict__:
            cls.cookie_header = AbstractCookieJar.cookie_header  # type: ignore[method-assign]
        if "update_cookies" in cls.__dict__ and "update_cookies_from_headers" not in cls.__dict__:
            cls.update_cookies_from_headers = (  # type: ignore[method-assign]
                AbstractCookieJar.update_cookies_from_headers
            )
        if "update_cookies_from_headers" in cls.__dict__ and "store" not in cls.__dict__:
            cls.store = AbstractCookieJar.store  # type: ignore[method-assign]

    @property
    def unsafe(self) -> bool:
        return self._unsafe

    @property
    def quote_cookie(self) -> bool:
        return self._quote_cookie

    @property
    def treat_as_secure_origin(self) -> frozenset[URL]:
        return self._secure_origins

    @property
    def cookies(self) -> Mapping[tuple[str, str], SimpleCookie]:
        """The cookies by (domain, path without its last slash), each domain's longest paths
        first; a view of what the jar holds at each look.
        """
        return MappingProxyType(LiveCookies(self._by_place))

    def _by_place(self) -> dict[tuple[str, str], SimpleCookie]:
        self._expire()
        found: dict[tuple[str, str], SimpleCookie] = {}
        for cookie in self._index:
            group = found.setdefault((cookie.domain, cookie.path.rstrip("/")), OwnCookies())
            # Where a host-only cookie stands beside one for the whole domain, the host's own is
            # shown.
            if cookie.host_only or cookie.name not in group:
                dict.__setitem__(group, cookie.name, cookie.morsel())
        return found

    @property
    def _cookies(self) -> CookiesByPlace:
        """What programs look at, keep and empty under its private name in aiohttp."""
        return CookiesByPlace(self)

    @_cookies.setter
    def _cookies(self, cookies: Mapping[Any, SimpleCookie]) -> None:
        self.clear()
        for place, group in cookies.items():
            domain = place[0] if isinstance(place, tuple) else place
            self.update_cookies(
                group, URL.build(scheme="https", host=domain) if domain else _NO_URL
            )

    @property
    def host_only_cookies(self) -> frozenset[tuple[str, str, str]]:
        """(domain, path without its last slash, name) of the cookies that go to exactly one
        host.
        """
        self._expire()
        return frozenset((c.domain, c.path.rstrip("/"), c.name) for c in self._index if c.host_only)

    def __iter__(self) -> Iterator[Morsel[str]]:
        self._expire()
        return iter([cookie.morsel() for cookie in self._index])

    def __len__(self) -> int:
        self._expire()
        return self._index.size

    # --- sending ----------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether there is no cookie for any URL."""
        return not self._index.size

    def cookie_header(self, url: URL) -> str:
        """The Cookie field's value for a request to `url`, "" for none."""
        index = self._index
        if not index.size:
            return ""
        if index.next_expiry <= time.time():
            self._expire()
        lines = self._lines.get((url.raw_host, url.scheme, url.explicit_port))
        if lines is None or lines.values != self._values:
            lines = self._lines_for(url, lines)
        if lines.plain is not None:
            return lines.plain
        path = url.raw_path
        line = lines.by_path.get(path)
        if line is None:
            self._keep_one_more()
            line = lines.by_path[path] = self._join(self._for_path(lines.cookies, path))
        return line

    def cookie_header_without_shared(self, url: URL) -> str:
        """The Cookie field's value of the cookies that have a domain, "" for none."""
        if type(self).cookie_header is not CookieJar.cookie_header:
            return self.cookie_header(url)  # a rule of the program's own
        cookies = [cookie for cookie in self._candidates(url) if cookie.domain]
        return self._join(self._for_path(cookies, url.raw_path))

    def filter_cookies(self, request_url: URL = _NO_URL) -> BaseCookie[str]:
        """The cookies to send with a request for `request_url`, in the order in which they are
        sent.

        A mapping has one cookie of a name: the one of the nearest domain, with the longest path.
        The Cookie line of a request has them all.
        """
        if not isinstance(request_url, URL):
            warnings.warn(
                "filter_cookies wants a yarl.URL, a str is deprecated",
                DeprecationWarning,
                stacklevel=2,
            )
            request_url = URL(request_url)
        filtered: BaseCookie[str] = OwnCookies()
        if not self._index.size:
            return filtered
        self._expire()
        chosen: dict[str, Cookie] = {}
        for cookie in self._for_path(self._candidates(request_url), request_url.raw_path):
            known = chosen.get(cookie.name)
            if known is None or len(cookie.domain) > len(known.domain):
                chosen[cookie.name] = cookie
        for cookie in within_limits(list(chosen.values()), self._max_per_request, self._max_line):
            dict.__setitem__(filtered, cookie.name, cookie.bare_morsel())
        return filtered

    def _lines_for(self, url: URL, lines: _HostLines | None) -> _HostLines:
        """Make the lines of the URL's host, or make them anew with other values."""
        if lines is None:
            cookies = self._candidates(url)
            has_paths = any(cookie.path != "/" for cookie in cookies)
            lines = _HostLines(cookies if has_paths else self._for_path(cookies, "/"), has_paths)
            self._keep_one_more()
            self._lines[url.raw_host, url.scheme, url.explicit_port] = lines
        lines.values = self._values
        lines.by_path.clear()
        if not lines.has_paths:
            lines.plain = self._join(lines.cookies)
        return lines

    def _join(self, cookies: list[Cookie]) -> str:
        return joined(cookies, self._max_per_request, self._max_line)

    def _keep_one_more(self) -> None:
        """Count a line that will be remembered; when there are too many, forget them all."""
        self._kept += 1
        if self._kept > _MAX_LINES_KEPT:
            self._forget_lines()

    def _forget_lines(self) -> None:
        """Forget the Cookie lines that were kept: the jar has changed."""
        self._lines.clear()
        self._kept = 0

    def _candidates(self, url: URL) -> list[Cookie]:
        """The cookies that may go to the URL's host, whatever its path."""
        host = url.raw_host or ""
        return self._index.for_host(
            host,
            secure=self._is_secure(url, host),
            shared_only=not self._unsafe and is_ip_address(host),
        )

    def _for_path(self, cookies: list[Cookie], path: str) -> list[Cookie]:
        """Those that match the path; a cookie without a domain gives way to one of the same name
        that has one.
        """
        path = path or "/"
        found = [cookie for cookie in cookies if path_match(path, cookie.path)]
        if any(not cookie.domain for cookie in found):
            names = {cookie.name for cookie in found if cookie.domain}
            found = [cookie for cookie in found if cookie.domain or cookie.name not in names]
        self._index.note_use(found)
        return found

    def _is_secure(self, url: URL, host: str) -> bool:
        """Whether Secure cookies may go to `url`, and come from it."""
        if url.scheme in {"https", "wss"} or is_localhost(host):
            return True
        return bool(self._secure_origins) and url.absolute and url.origin() in self._secure_origins

    # --- taking -----------------------------------------------------------------------------------

    def store(self, values: Sequence[str], url: URL) -> None:
        """Take the cookies of a response.

        Args:
            values: The values of its Set-Cookie fields, in order.
            url: Where the response came from.
        """
        host = url.raw_host
        if not host or (not self._unsafe and is_ip_address(host)):
            return
        now = time.time()
        taken = 0
        for field in values:
            parsed = parse_one(field)
            if parsed is not None:
                taken += 1
                if taken > _MAX_COOKIES_PER_RESPONSE:
                    break
                name, value, attributes = parsed
                self._take(
                    Offered(name, unquote(value), value, value, attributes, True), url, host, now
                )

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Take the cookies of the Set-Cookie `headers` that a response from `response_url` had."""
        self.store(headers, response_url)

    def update_cookies(self, cookies: LooseCookies, response_url: URL = _NO_URL) -> None:
        """Take a program's cookies.

        Args:
            cookies: Names and values: a mapping, pairs, or a `SimpleCookie` whose Morsels have
                attributes.
            response_url: The host (and path) that they belong to.  Without it, a cookie without a
                Domain attribute goes with every request.

        Raises:
            CookieError: A name or value cannot be sent.
        """
        host = response_url.raw_host or ""
        if host and not self._unsafe and is_ip_address(host):
            return
        now = time.time()
        for key, given in loose_pairs(cookies):
            morsel = morsel_of(key, given)
            sent = coded_for_sending(morsel, quoting=self._quote_cookie)
            received = bool(host) and isinstance(morsel, ReceivedMorsel)
            # A copy, since the caller may change its Morsel afterwards.
            attributes = {attribute: text for attribute, text in morsel.items() if text}
            offered = Offered(
                morsel.key, morsel.value, morsel.coded_value, sent, attributes, received
            )
            self._take(offered, response_url, host, now)

    def _take(self, offered: Offered, url: URL, host: str, now: float) -> None:
        """Store one cookie, or drop the one that it ends, if `url` may set it (RFC 6265bis 5.7)."""
        cookie = admitted(offered, url, host, now)
        if cookie is None:
            return
        if (
            cookie.received
            and not self._is_secure(url, host)
            and (cookie.secure or self._covers_secure_one(cookie))
        ):
            return
        self._put(cookie, now)

    def _put(self, cookie: Cookie, now: float) -> None:
        """Store `cookie`, or drop the stored one if it has ended."""
        index = self._index
        if index.next_expiry <= now:
            self._expire()
        if cookie.expires <= now:
            if index.discard(cookie):
                self._forget_lines()
            return
        change = index.add(cookie)
        if change is Change.VALUE:
            self._values += 1
        elif change is Change.CHOICE:
            self._forget_lines()

    def _covers_secure_one(self, cookie: Cookie) -> bool:
        """Whether a Secure cookie stands where one from an insecure origin wants to (5.7 step
        18).
        """
        same_name = self._index.secure_named(cookie.name)
        return bool(same_name) and any(
            (
                domain_match(stored.domain, cookie.domain)
                or domain_match(cookie.domain, stored.domain)
            )
            and path_match(cookie.path, stored.path)
            for stored in same_name
        )

    # --- dropping ---------------------------------------------------------------------------------

    def clear(self, predicate: ClearCookiePredicate | None = None) -> None:
        """Drop all cookies, or those for which `predicate`, called with each one's Morsel, is
        true.
        """
        if predicate is None:
            self._index.clear()
            self._forget_others()
        else:
            self._expire()
            for cookie in [cookie for cookie in self._index if predicate(cookie.morsel())]:
                self._index.discard(cookie)
        self._forget_lines()

    def clear_domain(self, domain: str) -> None:
        """Drop the cookies of `domain` and of the domains under it."""
        index = self._index
        domain = domain.removeprefix(".").lower()
        for known in [known for known in index.domains() if domain_match(known, domain)]:
            for cookie in list(index.of_domain(known)):
                index.discard(cookie)
        self._forget_lines()
        self._forget_others(domain)

    def _expire(self) -> None:
        """Drop the cookies whose time has ended."""
        if self._index.next_expiry <= (now := time.time()) and self._index.expire(now):
            self._forget_lines()

    # --- files ------------------------------------------------------------------------------------

    def save(self, file_path: str | PathLike[str]) -> None:
        """Write the cookies to `file_path`, as JSON that only the user may read (mode 0600)."""
        self._expire()
        from wherry.cookies import storage

        storage.write(file_path, storage.to_json(self._index.by_age()))

    def load(self, file_path: str | PathLike[str]) -> None:
        """Replace the cookies by those in `file_path`, JSON that `save` or aiohttp's jar wrote.

        Raises:
            ValueError: The file is something else (pickles are never read); the jar is unchanged
                then.
        """
        from wherry.cookies import storage

        self._replace(storage.from_json(storage.read(file_path)))

    def save_cookies_txt(self, file_path: str | PathLike[str]) -> None:
        """Write the cookies to `file_path`, a Netscape cookies.txt, which curl and wget read."""
        self._expire()
        from wherry.cookies import storage

        storage.write(file_path, storage.to_netscape(self._index.by_age()))

    def load_cookies_txt(self, file_path: str | PathLike[str]) -> None:
        """Replace the cookies by those of `file_path`, a Netscape cookies.txt.

        A line that is none of that format is named in a warning; the others count.

        Raises:
            ValueError: No line is of that format; the jar is unchanged then.
        """
        from wherry.cookies import storage

        self._replace(storage.from_netscape(storage.read(file_path, in_lines=True)))

    def _replace(self, cookies: list[Cookie]) -> None:
        self._index.clear()
        self._forget_lines()
        now = time.time()
        for cookie in cookies:
            if self._unsafe or not is_ip_address(cookie.domain):
                self._put(cookie, now)
