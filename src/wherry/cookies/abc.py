"""What a session asks of a cookie jar, and the jar that keeps nothing.

A custom jar subclasses `AbstractCookieJar` and implements `clear`, `clear_domain`,
`update_cookies`, `filter_cookies`, ``__iter__`` and ``__len__``; what a request needs beyond that
follows from these.
"""

from __future__ import annotations

import asyncio
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from http.cookies import BaseCookie, Morsel, SimpleCookie
from types import MappingProxyType
from typing import Any, Protocol

from yarl import URL

from wherry.cookies.cookie import check_line
from wherry.cookies.parse import set_cookie_pairs
from wherry.types import LooseCookies

__all__ = ("AbstractCookieJar", "ClearCookiePredicate", "DummyCookieJar")

ClearCookiePredicate = Callable[["Morsel[str]"], bool]
_NO_URL = URL()


class Forgettable(Protocol):
    """What a server may know a user by."""

    def clear(self) -> None:
        """Forget all."""

    def clear_domain(self, domain: str) -> None:
        """Forget what is of `domain` and of the domains under it."""


class AbstractCookieJar(Sized, Iterable["Morsel[str]"]):
    """Where a session keeps its cookies.

    A jar without cookies has the length 0 and is a jar all the same: compare with None, never test
    its truth.

    Args:
        loop: Kept for programs that pass one; no jar needs a running loop.
    """

    # What is forgotten together with the cookies, as long as it lives.
    _forgotten_with: tuple[weakref.ref[Forgettable], ...] = ()

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop

    @property
    def unsafe(self) -> bool:
        """Whether cookies of hosts that are IP addresses are taken."""
        return False

    @property
    def quote_cookie(self) -> bool:
        """Whether values that a program sets are quoted where they need it."""
        return True

    @property
    def treat_as_secure_origin(self) -> frozenset[URL]:
        """Origins to which Secure cookies are sent even without TLS."""
        return frozenset()

    @property
    def cookies(self) -> Mapping[tuple[str, str], SimpleCookie]:
        """The cookies by (domain, path)."""
        found: dict[tuple[str, str], SimpleCookie] = {}
        for morsel in self:
            group = found.setdefault((morsel["domain"], morsel["path"].rstrip("/")), SimpleCookie())
            dict.__setitem__(group, morsel.key, morsel)
        return MappingProxyType(found)

    @property
    def host_only_cookies(self) -> frozenset[tuple[str, str, str]]:
        """(domain, path, name) of the cookies that go to exactly one host."""
        return frozenset()

    @abstractmethod
    def clear(self, predicate: ClearCookiePredicate | None = None) -> None:
        """Drop all cookies, or those for which `predicate` is true."""

    @abstractmethod
    def clear_domain(self, domain: str) -> None:
        """Drop the cookies of `domain` and of the domains under it."""

    def forget_with(self, other: Forgettable) -> None:
        """Have `other` forgotten together with the cookies: by it, too, a server may know a user
        again.

        Args:
            other: Is cleared when all cookies are, and for a domain when that domain's are; it is
                not kept alive by this.
        """
        known = [ref for ref in self._forgotten_with if ref() is not None and ref() is not other]
        self._forgotten_with = (*known, weakref.ref(other))

    def _forget_others(self, domain: str | None = None) -> None:
        """All cookies were dropped, or those of `domain`."""
        for ref in self._forgotten_with:
            other = ref()
            if other is None:
                continue
            if domain is None:
                other.clear()
            else:
                other.clear_domain(domain)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_forgotten_with"}

    @abstractmethod
    def update_cookies(self, cookies: LooseCookies, response_url: URL = _NO_URL) -> None:
        """Take `cookies`, as if a response from `response_url` had set them."""

    @abstractmethod
    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        """The cookies to send with a request for `request_url`."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Take the cookies of the Set-Cookie `headers` that a response from `response_url` had."""
        if headers and (cookies := set_cookie_pairs(headers)):
            self.update_cookies(cookies, response_url)

    def store(self, values: Sequence[str], url: URL) -> None:
        """Take the cookies of a response; what the session calls.

        Args:
            values: The values of its Set-Cookie fields, in order.
            url: Where the response came from.
        """
        self.update_cookies_from_headers(values, url)

    def cookie_header(self, url: URL) -> str:
        """The Cookie field's value for a request to `url`, "" for none; what the session calls."""
        cookies = self.filter_cookies(url)
        if not cookies:
            return ""
        return check_line(
            "; ".join([f"{morsel.key}={morsel.coded_value}" for morsel in cookies.values()])
        )

    def cookie_header_without_shared(self, url: URL) -> str:
        """The same without the cookies that go to every host, where the jar tells them apart."""
        return self.cookie_header(url)


class DummyCookieJar(AbstractCookieJar):
    """A jar that takes nothing and sends nothing."""

    def __iter__(self) -> Iterator[Morsel[str]]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def clear(self, predicate: ClearCookiePredicate | None = None) -> None:
        """Drop no cookies, for there are none."""
        if predicate is None:
            self._forget_others()

    def clear_domain(self, domain: str) -> None:
        """Drop no cookies, for there are none."""
        self._forget_others(domain)

    def update_cookies(self, cookies: LooseCookies, response_url: URL = _NO_URL) -> None:
        """Take nothing."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Take nothing."""

    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        """No cookies."""
        return SimpleCookie()

    def store(self, values: Sequence[str], url: URL) -> None:
        """Take nothing."""

    def cookie_header(self, url: URL) -> str:
        """No cookies."""
        return ""


class ForeignJar(AbstractCookieJar):
    """A jar of another kind, which has what aiohttp asks of one: `filter_cookies` and
    `update_cookies`.

    Args:
        given: The jar.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given

    def __getattr__(self, name: str) -> Any:
        return getattr(self.given, name)

    def __iter__(self) -> Iterator[Morsel[str]]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)

    @property
    def quote_cookie(self) -> bool:
        """As the jar says, if it does."""
        return bool(getattr(self.given, "quote_cookie", True))

    def clear(self, predicate: ClearCookiePredicate | None = None) -> None:
        """Let the jar do so."""
        self.given.clear(predicate)
        if predicate is None:
            self._forget_others()

    def clear_domain(self, domain: str) -> None:
        """Let the jar do so."""
        self.given.clear_domain(domain)
        self._forget_others(domain)

    def update_cookies(self, cookies: LooseCookies, response_url: URL = _NO_URL) -> None:
        """Let the jar do so."""
        self.given.update_cookies(cookies, response_url)

    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        """What the jar has for a URL."""
        found: BaseCookie[str] = self.given.filter_cookies(request_url)
        return found

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Let the jar do so, if it can."""
        own = getattr(self.given, "update_cookies_from_headers", None)
        if own is None:
            super().update_cookies_from_headers(headers, response_url)
        else:
            own(headers, response_url)


def as_jar(jar: Any) -> AbstractCookieJar:
    """A jar of any kind as one of ours.

    Raises:
        TypeError: It is a file's name, or cookies.
    """
    if not hasattr(jar, "filter_cookies"):
        raise TypeError(
            f"cookie_jar= takes a CookieJar, not {type(jar).__name__}: say cookies= for cookies, "
            "and CookieJar.load(path) for those in a file"
        )
    return jar if isinstance(jar, AbstractCookieJar) else ForeignJar(jar)
