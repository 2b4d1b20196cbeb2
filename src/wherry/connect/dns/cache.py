"""Names: what resolvers found is remembered here, asked for once, and put in the order to try.

Knows resolvers and time, and who is notified of look-ups; never sockets.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from types import MappingProxyType

from wherry.connect.connect_request import ConnectObserver
from wherry.connect.dns.resolver import AbstractResolver, ResolveResult
from wherry.protocol.debug_log import DNS

Key = tuple[str, int]


class Entry:
    """A host's addresses in the order to try them.

    Args:
        addresses: What the resolver gave.
        expires: The moment (loop time) after which they are not fresh any more, None for never.
    """

    __slots__ = ("addresses", "expires", "refused")

    def __init__(self, addresses: list[ResolveResult], expires: float | None) -> None:
        self.addresses: list[ResolveResult] = addresses
        self.expires: float | None = expires
        # Addresses that could not be connected to, the latest failure last.
        self.refused: list[str] = []

    def next_order(self) -> list[ResolveResult]:
        """The addresses to try now; each call begins with another one of each family, so that load
        spreads.
        """
        order = self.addresses
        if len(order) > 1:
            self.addresses = rotate(order)
        if self.refused:
            rank = {host: place for place, host in enumerate(self.refused, 1)}
            order = sorted(order, key=lambda result: rank.get(result["host"], 0))
        return list(order)


def rotate(results: list[ResolveResult]) -> list[ResolveResult]:
    """The first result of each family goes to the last place that its family holds.

    The families keep their places: which of them comes first is the system's choice (RFC 6724).
    """
    by_family: dict[int, list[ResolveResult]] = {}
    for result in results:
        by_family.setdefault(result["family"], []).append(result)
    queues = {family: iter([*members[1:], members[0]]) for family, members in by_family.items()}
    return [next(queues[result["family"]]) for result in results]


def time_to_live(results: list[ResolveResult], most: float | None) -> float | None:
    """For how many seconds an answer is fresh: as long as the one of its addresses that holds the
    shortest time, and `most` at most; None for ever.
    """
    ttls = [max(result["ttl"], 0.0) for result in results if "ttl" in result]
    return min(ttls if most is None else [*ttls, most], default=None)


class DNSCache:
    """Resolves through a resolver, and remembers.

    Args:
        resolver: Who is asked.
        family: The address family to ask for, `socket.AF_UNSPEC` for both.
        enabled: Whether anything is remembered at all.
        ttl: Seconds that an answer is fresh at most, None for no such limit.  One that says itself
            how long it holds (`ResolveResult`'s `ttl`) is fresh no longer than that.
        stale: Seconds after `ttl` in which the old answer is still given out, while it is asked for
            anew.
        max_size: Hosts that are remembered; past that the one unused longest is forgotten.
    """

    def __init__(
        self,
        resolver: AbstractResolver,
        *,
        family: int = socket.AF_UNSPEC,
        enabled: bool = True,
        ttl: float | None = 10.0,
        stale: float = 0.0,
        max_size: int = 1000,
    ) -> None:
        self.resolver = resolver
        self.enabled = enabled
        self._family = socket.AddressFamily(family)
        self._ttl = ttl
        self._stale = stale
        self._max_size = max_size
        self._entries: dict[Key, Entry] = {}  # the one used last stands last
        self._lookups: dict[Key, asyncio.Task[Entry]] = {}
        self._waiting: dict[asyncio.Task[Entry], int] = {}  # how many wait for each

    @property
    def hosts(self) -> Mapping[Key, list[ResolveResult]]:
        """What is remembered, by (host, port); read-only."""
        return MappingProxyType(
            {key: list(entry.addresses) for key, entry in self._entries.items()}
        )

    def clear(self, key: Key | None = None) -> None:
        """Forget one host, or all."""
        if key is None:
            self._entries.clear()
        else:
            self._entries.pop(key, None)

    def mark_failed(self, host: str, port: int, address: str) -> None:
        """`address` could not be connected to: it is tried last from now on."""
        entry = self._entries.get((host, port))
        if entry is not None and len(entry.addresses) > 1:
            if address in entry.refused:
                entry.refused.remove(address)
            entry.refused.append(address)

    def mark_good(self, host: str, port: int, address: str) -> None:
        """`address` was connected to."""
        entry = self._entries.get((host, port))
        if entry is not None and address in entry.refused:
            entry.refused.remove(address)

    async def resolve(
        self, host: str, port: int, observer: ConnectObserver | None = None
    ) -> list[ResolveResult]:
        """The addresses of `host` in the order to try them.

        Raises:
            OSError: There are none.
        """
        key = (host, port)
        if not self.enabled:
            return await self._ask_alone(key, observer)
        entry = self._entries.get(key)
        if entry is not None:
            now = asyncio.get_running_loop().time()
            if entry.expires is None or now < entry.expires + self._stale:
                self._entries[key] = self._entries.pop(key)
                if entry.expires is not None and now >= entry.expires and key not in self._lookups:
                    self._begin_lookup(key)
                if DNS.on:
                    DNS.say("%s is remembered", host)
                if observer is not None:
                    await observer.dns_cache_hit(host)
                return entry.next_order()
            del self._entries[key]
        if observer is None:
            return (await self._join(key)).next_order()
        if key in self._lookups:
            await observer.dns_cache_hit(host)
            return (await self._join(key)).next_order()
        await observer.dns_cache_miss(host)
        await observer.dns_resolve_start(host)
        entry = await self._join(key)
        await observer.dns_resolve_end(host)
        return entry.next_order()

    async def _ask_alone(self, key: Key, observer: ConnectObserver | None) -> list[ResolveResult]:
        if observer is None:
            return await self._ask(key)
        await observer.dns_resolve_start(key[0])
        results = await self._ask(key)
        await observer.dns_resolve_end(key[0])
        return results

    async def _ask(self, key: Key) -> list[ResolveResult]:
        host, port = key
        if DNS.on:
            DNS.say("asks %s for %s", type(self.resolver).__name__, host)
        try:
            results = await self.resolver.resolve(host, port, family=self._family)
        except OSError as exc:
            if DNS.on:
                DNS.say("%s has no address: %s", host, exc)
            raise
        except UnicodeError as exc:
            # Most resolvers encode the name, and some do not expect one with an empty or a long
            # label (RFC 1035 2.3.4).  Another ValueError may be a guard's, and is the program's.
            raise OSError(None, f"{host[:300]!r} is no name that can be looked up: {exc}") from exc
        if not results:
            raise OSError(None, f"{host} has no address")
        try:
            for result in results:
                _ = result["host"], result["family"]
            if DNS.on:
                DNS.say("%s is %s", host, ", ".join(result["host"] for result in results))
            return list(results)
        except (TypeError, KeyError, ValueError) as exc:
            raise OSError(None, f"the resolver gave no addresses: {exc!r}") from exc

    async def _join(self, key: Key) -> Entry:
        """The result of the look-up under way, or of a new one.  Giving up leaves it to the others
        who wait; the last of them ends it, lest later requests join one that hangs.
        """
        task = self._lookups.get(key)
        if task is None:
            task = self._begin_lookup(key)
        if not task.done():
            # Not `shield`: of that, who is cancelled cannot be told from a look-up that is, and
            # where a look-up fails that nobody waits for any more, newer Pythons tell the loop's
            # exception handler.
            self._waiting[task] = self._waiting.get(task, 0) + 1
            try:
                await asyncio.wait((task,))
            finally:
                self._leave(key, task)
        if task.cancelled():
            raise OSError(None, f"the look-up of {key[0]} was stopped")
        return task.result()

    def _leave(self, key: Key, task: asyncio.Task[Entry]) -> None:
        left = self._waiting.pop(task) - 1
        if left:
            self._waiting[task] = left
        elif not task.done():
            task.cancel()
            if self._lookups.get(key) is task:
                del self._lookups[key]

    def _begin_lookup(self, key: Key) -> asyncio.Task[Entry]:
        task = asyncio.get_running_loop().create_task(self._look_up(key))
        if task.done():
            return task  # an eager one that asked nobody: who comes next asks anew
        self._lookups[key] = task
        task.add_done_callback(lambda done: self._lookup_done(key, done))
        return task

    async def _look_up(self, key: Key) -> Entry:
        results = await self._ask(key)
        now = asyncio.get_running_loop().time()
        seconds = time_to_live(results, self._ttl)
        entry = Entry(results, None if seconds is None else now + seconds)
        old = self._entries.pop(key, None)
        if old is not None:
            known = {result["host"] for result in results}
            entry.refused = [address for address in old.refused if address in known]
        self._entries[key] = entry
        if len(self._entries) > self._max_size:
            del self._entries[next(iter(self._entries))]
        return entry

    def _lookup_done(self, key: Key, task: asyncio.Task[Entry]) -> None:
        if self._lookups.get(key) is task:
            del self._lookups[key]
        if not task.cancelled():
            # Whoever waits has it; a refresh that failed in the background has nobody to tell.
            task.exception()

    def shut(self) -> list[asyncio.Task[Entry]]:
        """Stop every look-up; gives back the tasks to wait for."""
        lookups = list(self._lookups.values())
        for task in lookups:
            task.cancel()
        return lookups
