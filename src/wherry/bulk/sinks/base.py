"""What a sink is: where pages go, in two phases, so that a checkpoint and the output never
disagree.

Pages are written aside (`add`), made safe (`prepare`), and shown at once (`publish`).  Whoever is
killed in between finds out by `present` which of them are there, and fetches the others again.
A sink knows pages and places; it never knows a session or a checkpoint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from wherry.bulk.results import Page


@dataclass(frozen=True, slots=True)
class Shard:
    """Pages that become visible together.

    Args:
        name: Its final name, below the sink's place.
        temporary: Its name until it is published.
        count: How many pages it has.
        bytes: Its size.
    """

    name: str
    temporary: str
    count: int
    bytes: int


def shard_of(place: str) -> str:
    """The name of the shard that a place (`shard#offset`, or the shard alone) is in."""
    return place.partition("#")[0]


class Sink(ABC):
    """Where pages go.

    Calls never overlap: each is awaited before the next.  The order is `open`, `present` and
    `discard` for what a dead run left, then any number of `add` with `prepare` and `publish` in
    between, at last `close`.  `prepare` and `publish` come before `close` even if no page did.
    """

    @property
    def where(self) -> str | None:
        """Where the pages are, for a checkpoint that must not be gone on with into another place;
        None where that cannot be said.
        """
        return None

    @abstractmethod
    async def open(self, run: str) -> None:
        """Begin.

        Args:
            run: The name of this start, `stem.number`: every start of one checkpoint has the same
                stem and a number of its own, and no other checkpoint has the stem.  Names of shards
                contain it, so that they collide nowhere.

        Raises:
            OSError: Nothing can be written there.
        """

    @abstractmethod
    async def add(self, page: Page) -> str:
        """Write a page aside, where nobody sees it.

        Returns:
            The place that it will have: `shard#offset`, or the shard's name alone.
        """

    @abstractmethod
    async def prepare(self) -> list[Shard]:
        """End what was written aside and make it safe (fsync); nothing is visible yet.

        Returns:
            All shards that were written since the last time; none if there are no pages.
        """

    @abstractmethod
    async def publish(self, shards: Sequence[Shard]) -> None:
        """Make prepared shards visible, and that safe; those that are visible stay so."""

    @abstractmethod
    async def present(self, shards: Sequence[Shard]) -> Collection[str]:
        """The names of those shards, of a dead run's, that are visible."""

    @abstractmethod
    async def discard(self) -> None:
        """Remove what is aside and was not published: this start's, and what dead starts with the
        same stem left.
        """

    @abstractmethod
    async def close(self) -> None:
        """End; what was not published is removed."""

    @property
    def full(self) -> bool:
        """Whether what is aside has the size of a shard: time to prepare and publish."""
        return False
