"""Requests of a cache that are under way: who may wait for whom, and whose answer is out of date.

Nothing is sent or kept here.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

# What tells which requests one answer may serve.
Group = tuple[Any, ...]
# Of how many URLs it is remembered that their answers may not be kept, so that nobody waits for one
# in vain.
_MAX_PASSED = 1024


class Flight:
    """A request that is on its way, and whose answer may be kept.

    Equal requests may wait for it.  Once an unsafe request to the same URL has succeeded it is
    `outdated`: what it brings tells of a state that is gone (RFC 9111 4.4).
    """

    __slots__ = ("cancelled", "done", "group", "key", "outdated")

    def __init__(self, key: str, group: Group | None) -> None:
        self.key: str = key
        self.group: Group | None = group
        self.done: asyncio.Event = asyncio.Event()
        self.cancelled: bool = False
        self.outdated: bool = False


# The flights that the running task is within: a middleware's own request never waits for the one
# that it serves.
leading: ContextVar[tuple[Flight, ...]] = ContextVar("wherry_cache_leading", default=())


class Flights:
    """All that are under way, by key."""

    def __init__(self) -> None:
        self._leads: dict[Group, Flight] = {}
        self._by_key: dict[str, set[Flight]] = {}
        # The URLs whose last answer was not kept.
        self._passed: dict[str, None] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def lead(self, group: Group) -> Flight | None:
        """Whom a request of `group` may wait for."""
        return self._leads.get(group)

    def begin(self, key: str, group: Group | None = None) -> Flight:
        """Set out; equal requests, which are of the same `group`, wait for it."""
        flight = Flight(key, group)
        if group is not None:
            self._leads[group] = flight
        self._by_key.setdefault(key, set()).add(flight)
        return flight

    def land(self, flight: Flight) -> None:
        """It is over; whoever waited may look.  Nothing happens the second time."""
        self._unlist(flight)
        flights = self._by_key.get(flight.key)
        if flights is not None:
            flights.discard(flight)
            if not flights:
                del self._by_key[flight.key]
        flight.done.set()

    def outdate(self, key: str) -> None:
        """What is under way for `key` may be kept no more, and nobody may join it."""
        for flight in self._by_key.get(key, ()):
            flight.outdated = True
            self._unlist(flight)

    def _unlist(self, flight: Flight) -> None:
        if flight.group is not None and self._leads.get(flight.group) is flight:
            del self._leads[flight.group]

    # Where waiting was in vain.

    def was_passed(self, key: str) -> bool:
        """Whether the last answer was not kept."""
        return key in self._passed

    def note_passed(self, key: str) -> None:
        """Nobody need wait for an answer here."""
        if len(self._passed) >= _MAX_PASSED:
            del self._passed[next(iter(self._passed))]
        self._passed[key] = None

    def forget_passed(self, key: str) -> None:
        """The next answer may be another."""
        self._passed.pop(key, None)
