"""The process that is killed: fetches a list, or crawls a tree, into JSON lines with a checkpoint.

``python -m tests.bulk.kill_child PORT FOLDER COUNT MODE STEP``: dies by its own hand at step STEP of
what it does with pages and commits (0 for never); the other kills come from outside, at any moment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from wherry.bulk import Fetcher, Jsonl
from wherry.bulk.checkpoint import Checkpoint


class Steps:
    """Counts what was done, and ends the process at one of them."""

    def __init__(self, last: int) -> None:
        self._left = last

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


STEPS = Steps(0)


class Dying(Jsonl):
    """A sink that may be the last thing the process sees."""

    async def add(self, page):
        place = await super().add(page)
        STEPS.step()
        return place

    async def prepare(self):
        shards = await super().prepare()
        STEPS.step()
        return shards

    async def publish(self, shards):
        STEPS.step()
        for shard in shards:
            await super().publish([shard])
            STEPS.step()

    async def discard(self):
        STEPS.step()
        await super().discard()


class DyingCheckpoint(Checkpoint):
    def prepared(self, *arguments):
        super().prepared(*arguments)
        STEPS.step()

    def _settle(self):
        super()._settle()
        STEPS.step()  # in the middle of the transaction


def links(page):
    """A tree: page n has the links 2n + 1 and 2n + 2."""
    number, count = int(page.url.rpartition("/")[2]), int(page.body)
    return [f"/{child}" for child in (2 * number + 1, 2 * number + 2) if child < count]


async def main(port: int, folder: Path, count: int, mode: str) -> None:
    def url(number: int) -> str:
        return f"http://127.0.0.1:{port}/{number}"

    async with Fetcher(
        checkpoint=folder / "run.sqlite",
        in_flight=6,
        per_host=6,
        commit_every=0.01,
        retries=0,
        follow=links if mode == "crawl" else None,
    ) as fetcher:
        urls = [url(0)] if mode == "crawl" else map(url, range(count))
        async for _ in fetcher.fetch(urls, into=Dying(folder / "pages", roll=500)):
            pass


if __name__ == "__main__":
    port, folder, count, mode, last = sys.argv[1:]
    STEPS = Steps(int(last))
    import wherry.bulk.fetcher

    wherry.bulk.fetcher.Checkpoint = DyingCheckpoint
    asyncio.run(main(int(port), Path(folder), int(count), mode))
