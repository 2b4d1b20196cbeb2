"""`Memory`: keeps pages in a list, for tests and small jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from wherry.bulk.results import Page
from wherry.bulk.sinks.base import Shard, Sink


class Memory(Sink):
    """Keeps pages in memory.

    Args:
        size: Pages in one shard, 1000 by default.
    """

    def __init__(self, size: int = 1000) -> None:
        self.pages: list[Page] = []  # those that are published
        self._size = size
        self._run = ""
        self._count = 0
        self._aside: list[Page] = []
        self._prepared: dict[str, list[Page]] = {}
        self._published: set[str] = set()

    async def open(self, run: str) -> None:
        self._run = run

    async def add(self, page: Page) -> str:
        self._aside.append(page)
        return f"{self._name()}#{len(self._aside) - 1}"

    def _name(self) -> str:
        return f"{self._run}-{self._count:05}"

    async def prepare(self) -> list[Shard]:
        if not self._aside:
            return []
        name, pages = self._name(), self._aside
        self._prepared[name] = pages
        self._aside = []
        self._count += 1
        return [Shard(name, f".{name}", len(pages), sum(len(page.body) for page in pages))]

    async def publish(self, shards: Sequence[Shard]) -> None:
        for shard in shards:
            self.pages += self._prepared.pop(shard.name, ())
            self._published.add(shard.name)

    async def present(self, shards: Sequence[Shard]) -> Collection[str]:
        return {shard.name for shard in shards} & self._published

    async def discard(self) -> None:
        self._aside = []
        self._prepared.clear()

    async def close(self) -> None:
        await self.discard()

    @property
    def full(self) -> bool:
        return len(self._aside) >= self._size
