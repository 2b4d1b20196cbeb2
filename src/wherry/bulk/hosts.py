"""Hosts, and the jobs that wait for them.

A `Job` is a URL on its way; a `Host` is what is known of one server: who waits, how many are asked
for now, when it may be asked again, and whether it is alive.  Values and rules only: the time is
an argument, and nothing here knows a session or an event loop.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from yarl import URL

import wherry
from wherry.client.origin import origin_of
from wherry.client.plain_urls import is_plain_target

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class HostDown(wherry.ClientConnectionError):
    """A host was given up: it could not be reached many times, or asked to be left alone."""


class Job:
    """A URL that is to be fetched.

    Args:
        url: What was asked for, in the one form that yarl gives it.
        depth: How many links led there; 0 for the input.
        trusted: Whether the secrets of the session may go there.
    """

    __slots__ = ("allowed", "attempts", "depth", "hops", "target", "trusted", "url")

    def __init__(self, url: str, depth: int = 0, trusted: bool = True) -> None:
        self.url: str = url
        self.target: str = url  # where its redirects led so far
        self.depth: int = depth
        self.trusted: bool = trusted
        self.attempts: int = 0
        self.hops: int = 0
        self.allowed: bool = False  # robots.txt was asked for it a moment ago


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a host that cannot be reached is left alone.

    Args:
        after: Connections that fail in a row until the host rests, 5 by default.
        pause: Seconds of the first rest, 5 by default; each further one is twice as long.  After a
            rest the host is tried by one request alone.
        trips: Rests after which it is given up, 3 by default: what waits for it fails at once.
        dead_for: Seconds until a host that was given up is tried again, 600 by default.
    """

    after: int = 5
    pause: float = 5.0
    trips: int = 3
    dead_for: float = 600.0


class Host:
    """One server: a name, and a port that is not the usual one.

    Args:
        name: `example.com`, or `example.com:8080`.
        number: A number of its own, for what of its queue is on disk.
    """

    __slots__ = (
        "active",
        "dead_until",
        "delay",
        "failures",
        "held",
        "listed",
        "name",
        "next_at",
        "number",
        "origins",
        "queue",
        "rests_until",
        "spilled",
        "strikes",
        "trips",
        "waiting",
    )

    def __init__(self, name: str, number: int) -> None:
        self.name: str = name
        self.number: int = number
        self.origins: list[str] = []  # texts by which it is found
        self.queue: deque[Job] = deque()
        self.spilled: int = 0  # jobs on disk, behind those of `queue`
        self.active: int = 0  # jobs that are being fetched
        self.waiting: int = 0  # jobs that wait for a further try
        self.listed: bool = False  # it stands in the ring of those that are ready, or will be woken
        self.held: bool = False  # nothing of it may start: its robots.txt is asked for
        self.delay: float = 0.0  # seconds between two starts that its robots.txt asks for
        self.next_at: float = 0.0  # when the next may start, by its rate
        self.rests_until: float = 0.0  # when it may be asked again, by its own wish
        self.dead_until: float = 0.0
        self.failures: int = 0  # connections that failed in a row
        self.trips: int = 0  # rests since it was last reached
        self.strikes: int = 0  # answers in a row that asked for a rest

    def __repr__(self) -> str:
        queued = len(self.queue) + self.spilled
        return f"<Host {self.name} queued={queued} active={self.active} waiting={self.waiting}>"

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits for it, and nothing of it is under way."""
        return not (
            self.queue or self.spilled or self.active or self.waiting or self.listed or self.held
        )

    def may_be_asked(self, now: float) -> bool:
        """Whether neither its rate, nor a rest, nor its death speaks against it."""
        return max(self.next_at, self.rests_until, self.dead_until) <= now

    def reached(self) -> None:
        """It gave an answer that asks for no rest."""
        self.failures = self.trips = self.strikes = 0

    def unreachable(self, breaker: Breaker, now: float) -> None:
        """A connection to it failed."""
        self.failures += 1
        if self.failures < breaker.after and not self.trips:
            return
        self.failures = 0
        self.trips += 1
        if self.trips >= breaker.trips:
            self.trips = breaker.trips - 1  # one failure more gives it up anew
            self.rests_until = 0.0
            self.dead_until = now + breaker.dead_for
        else:
            self.rests_until = max(self.rests_until, now + breaker.pause * 2.0 ** (self.trips - 1))

    def rest(self, seconds: float, now: float, longest: float) -> None:
        """It asks for a rest; for one that is too long, it is given up until then."""
        if self.rests_until <= now:
            self.strikes += 1  # those that were under way together count once
        if seconds > longest:
            self.dead_until = max(self.dead_until, now + seconds)
        else:
            self.rests_until = max(self.rests_until, now + seconds)


def origin_end(url: str) -> int:
    """Where the origin of a URL in its one form ends, and its path begins."""
    end = url.find("/", 8)
    return len(url) if end < 0 else end


def origin_text(url: str) -> str:
    """The origin of a URL in its one form: its scheme, host and port.

    The name and password that a URL may have are no part of it (RFC 6454 4): a peer could make
    endless origins of them.
    """
    origin = url[: origin_end(url)]
    if "@" not in origin:
        return origin
    scheme, _, authority = origin.partition("://")
    return f"{scheme}://{authority.rpartition('@')[2]}"


def canonical(text: str | URL) -> str:
    """A URL in the form that yarl gives it, without its fragment.

    Raises:
        InvalidURL: It is no URL of http or https.
    """
    try:
        url = URL(text.strip() if isinstance(text, str) else text)
        if url.scheme not in _DEFAULT_PORTS or not url.raw_host:
            raise wherry.InvalidURL(text, "it is no URL of http or https")
        url.port  # noqa: B018 - made on first touch, and broken then
    except wherry.InvalidURL:
        raise
    except (ValueError, TypeError, IndexError) as exc:
        raise wherry.InvalidURL(str(text), str(exc)) from exc
    if url.raw_fragment:
        url = url.with_fragment(None)
    if url.explicit_port is not None and url.is_default_port():
        url = url.with_port(None)
    text = str(url)
    end = len(url.scheme) + 3 + len(url.raw_authority)
    # RFC 9110 4.2.3: an empty path is "/".
    return text if text[end : end + 1] == "/" else f"{text[:end]}/{text[end:]}"


def joined(base: URL, text: str | URL) -> str | None:
    """Where a link leads, in the one form of URLs; None where it is no URL of http or https.

    A peer writes it, and yarl fails in many ways with what is none.
    """
    try:
        return canonical(base.join(URL(text)))
    except (ValueError, TypeError, IndexError):
        return None


def name_of(origin: str) -> str:
    """The name of a host by its origin: http and https of their usual ports are one server."""
    url = origin_of(URL(origin))
    host = url.raw_host or ""
    return host if url.explicit_port is None else f"{host}:{url.port}"


class Hosts:
    """All hosts that something waits for, and those that were asked a moment ago.

    Args:
        most: How many may be known that have something to do; when there are so many, the input
            has to wait.  As many again are remembered that must be left alone for a while.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_name: dict[str, Host] = {}
        # Those that have nothing to do and may not be asked yet.  They take nobody's room: a peer
        # that names enough dead hosts would hold up the input for as long as they are dead.  The
        # one put aside longest ago comes first.
        self._aside: OrderedDict[str, Host] = OrderedDict()
        # By the text of a URL before its path.
        self._by_origin: dict[str, Host] = {}
        self._numbers = 0
        self._sweep_at = min(1024, most)

    def __len__(self) -> int:
        return len(self._by_name)

    def job(self, text: str | URL) -> Job:
        """A job for a URL, in its one form.

        Raises:
            InvalidURL: It is no URL of http or https.
        """
        if type(text) is str:
            end = text.find("/", 8)
            # What was looked at before needs no second look.
            if end > 0 and text[:end] in self._by_origin and is_plain_target(text, end):
                return Job(text)
        return Job(canonical(text))

    def of(self, url: str, now: float) -> Host:
        """The host of a URL in its one form."""
        origin = origin_text(url)
        host = self._by_origin.get(origin)
        if host is None:
            host = self._new(origin, now)
        return host

    def _new(self, origin: str, now: float) -> Host:
        if len(self._by_name) >= self._sweep_at:
            self.sweep(now)
        name = name_of(origin)
        host = self._by_name.get(name)
        if host is None:
            host = self._aside.pop(name) if name in self._aside else self._made(name)
            self._by_name[name] = host
        host.origins.append(origin)
        self._by_origin[origin] = host
        return host

    def _made(self, name: str) -> Host:
        self._numbers += 1
        return Host(name, self._numbers)

    def has_room(self, now: float) -> bool:
        """Whether one more may be known."""
        if len(self._by_name) < self._most:
            return True
        self.sweep(now)
        return len(self._by_name) < self._most

    def sweep(self, now: float) -> None:
        """Forget who is idle; put aside who only must be left alone, if there is no room."""
        quiet = [host for host in self._by_name.values() if host.is_quiet]
        is_full = len(self._by_name) >= self._most
        if is_full:
            for host in [host for host in self._aside.values() if host.may_be_asked(now)]:
                del self._aside[host.name]
        for host in quiet:
            if not host.may_be_asked(now):
                if not is_full:
                    continue
                self._aside[host.name] = host
            del self._by_name[host.name]
            for origin in host.origins:
                del self._by_origin[origin]
            host.origins.clear()
        while len(self._aside) > self._most:
            self._aside.popitem(last=False)
        self._sweep_at = min(max(1024, 2 * len(self._by_name)), max(self._most, 1024))
