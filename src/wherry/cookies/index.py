"""`CookieIndex`: stored cookies by domain, their end of life, their limits, and the choice for one
request.

Pure data: no URL and no text of a header field is read here.  A lookup touches the cookies of the
host and of the domains above it, never the others.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from enum import IntEnum
from itertools import count

from wherry.cookies.cookie import Cookie, CookieKey
from wherry.cookies.match import parents

__all__ = ("Change", "CookieIndex")

_NEVER = float("inf")


class Change(IntEnum):
    """What an addition means for requests to come."""

    NONE = 0
    # The same cookies go to the same places with another value.
    VALUE = 1
    # Other cookies go, or in another order.
    CHOICE = 2


class CookieIndex:
    """Cookies, found by the host that they go to.

    Args:
        max_cookies: How many it holds in all.
        max_per_domain: How many of one domain; cookies without a domain, which are the program's
            own, not counted.

    What is full gives up a sixth of a domain's cookies, or an eleventh of all, so that the sorting
    is paid once for many additions: 150 of 180 stay, and 3,000 of 3,300.
    """

    __slots__ = (
        "_clock",
        "_domains",
        "_due",
        "_secure",
        "max_cookies",
        "max_per_domain",
        "next_expiry",
        "size",
    )

    def __init__(self, max_cookies: int, max_per_domain: int) -> None:
        self.max_cookies: int = max_cookies
        self.max_per_domain: int = max_per_domain
        self.size: int = 0
        # No cookie ends before this moment.
        self.next_expiry: float = _NEVER
        self._domains: dict[str, dict[CookieKey, Cookie]] = {}
        # (when to look, creation, cookie): a cookie that lives longer by then is queued again.
        self._due: list[tuple[float, int, Cookie]] = []
        self._secure: dict[str, set[Cookie]] = {}
        self._clock = count(1)

    def __iter__(self) -> Iterator[Cookie]:
        """All cookies: host by host, longest path first, then oldest first."""
        for bucket in self._domains.values():
            yield from sorted(bucket.values(), key=_sending_order)

    def by_age(self) -> list[Cookie]:
        """All cookies, oldest first."""
        return sorted(
            (cookie for bucket in self._domains.values() for cookie in bucket.values()),
            key=_creation,
        )

    def domains(self) -> Iterable[str]:
        """The domains that have cookies, "" for those that go everywhere."""
        return self._domains.keys()

    def of_domain(self, domain: str) -> Iterable[Cookie]:
        """The cookies of exactly this domain."""
        bucket = self._domains.get(domain)
        return () if bucket is None else bucket.values()

    def add(self, cookie: Cookie) -> Change:
        """Store `cookie`, or renew the one that it replaces."""
        bucket = self._domains.get(cookie.domain, {})
        stored = bucket.get(cookie.key)
        if stored is not None:
            change = Change.NONE if stored.sent == cookie.sent else Change.VALUE
            if stored.secure != cookie.secure:
                change = Change.CHOICE
                self._note_secure(stored, cookie.secure)
            stored.renew(cookie)
            stored.used = next(self._clock)
            self._watch(stored)
            return change
        if not self._make_place(bucket, cookie):
            return Change.NONE
        self._domains.setdefault(cookie.domain, {})[cookie.key] = cookie
        cookie.used = cookie.created = next(self._clock)
        self.size += 1
        self._note_secure(cookie, cookie.secure)
        self._watch(cookie)
        return Change.CHOICE

    def discard(self, cookie: Cookie) -> bool:
        """Drop the stored cookie that is the same as `cookie`; returns whether there was one."""
        bucket = self._domains.get(cookie.domain)
        stored = None if bucket is None else bucket.pop(cookie.key, None)
        if stored is None:
            return False
        if not bucket:
            del self._domains[stored.domain]
        self.size -= 1
        self._note_secure(stored, False)
        stored.queued = -_NEVER
        return True

    def clear(self) -> None:
        """Drop everything."""
        self.size = 0
        self.next_expiry = _NEVER
        self._domains.clear()
        self._secure.clear()
        self._due.clear()

    def expire(self, now: float) -> bool:
        """Drop what has ended by `now`, in seconds since 1970; returns whether something had."""
        due = self._due
        dropped = False
        while due and due[0][0] <= now:
            when, _, cookie = heapq.heappop(due)
            if when != cookie.queued:
                continue
            cookie.queued = _NEVER
            if cookie.expires <= now:
                dropped |= self.discard(cookie)
            else:
                self._watch(cookie)
        self.next_expiry = due[0][0] if due else _NEVER
        return dropped

    def for_host(self, host: str, *, secure: bool, shared_only: bool) -> list[Cookie]:
        """The cookies that may go to `host`, whatever the path, in the order in which they are
        sent.

        Args:
            host: The request's host.
            secure: Whether Secure cookies may go.
            shared_only: Only cookies without a domain.
        """
        found = list(self.of_domain(""))
        if not shared_only and host:
            found += self.of_domain(host)
            for domain in parents(host):
                found += [cookie for cookie in self.of_domain(domain) if not cookie.host_only]
        if not secure:
            found = [cookie for cookie in found if not cookie.secure]
        found.sort(key=_sending_order)
        return found

    def note_use(self, cookies: Iterable[Cookie]) -> None:
        """These are sent: they stay longer than others."""
        used = next(self._clock)
        for cookie in cookies:
            cookie.used = used

    def secure_named(self, name: str) -> Collection[Cookie]:
        """The Secure cookies of this name, of all domains."""
        return self._secure.get(name, ())

    def _note_secure(self, cookie: Cookie, secure: bool) -> None:
        """Keep the register of Secure cookies by name."""
        if secure:
            self._secure.setdefault(cookie.name, set()).add(cookie)
        elif (same_name := self._secure.get(cookie.name)) is not None:
            same_name.discard(cookie)
            if not same_name:
                del self._secure[cookie.name]

    def _watch(self, cookie: Cookie) -> None:
        """See to it that `cookie` is looked at when it ends.  One that is looked at earlier needs
        nothing.
        """
        when = cookie.expires
        if when >= cookie.queued:
            return
        cookie.queued = when
        if len(self._due) > 2 * self.size + 64:
            # More dead entries than living ones.
            self._due = [entry for entry in self._due if entry[0] == entry[2].queued]
            heapq.heapify(self._due)
        heapq.heappush(self._due, (when, next(self._clock), cookie))
        self.next_expiry = min(self.next_expiry, when)

    def _make_place(self, bucket: dict[CookieKey, Cookie], new: Cookie) -> bool:
        """Keep the limits before `new` is added to `bucket` (RFC 6265bis 5.7, last paragraphs).

        The longest unused go; a domain's plain ones before its Secure ones, which give way to
        another Secure one alone.

        Returns:
            False if there is no place for it.
        """
        if new.domain and len(bucket) >= self.max_per_domain:
            leaving = [cookie for cookie in bucket.values() if not cookie.secure]
            if not leaving and new.secure:
                leaving = list(bucket.values())
            if not leaving:
                return False  # also where the limit is 0
            excess = len(bucket) + 1 - self.max_per_domain + self.max_per_domain // 6
        elif self.size >= self.max_cookies:
            leaving = [
                cookie for domain in self._domains if domain for cookie in self.of_domain(domain)
            ]
            excess = self.size - self.max_cookies + max(1, self.max_cookies // 11)
        else:
            return True
        leaving.sort(key=_last_use)
        for cookie in leaving[:excess]:
            self.discard(cookie)
        return self.max_cookies > 0 or not new.domain


def _sending_order(cookie: Cookie) -> tuple[int, int]:
    """Longest path first, then oldest first (RFC 6265bis 5.8.3)."""
    return (-len(cookie.path), cookie.created)


def _creation(cookie: Cookie) -> int:
    return cookie.created


def _last_use(cookie: Cookie) -> int:
    return cookie.used
