"""What workers do: part a list of URLs, or fetch a partition."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.bulk.checkpoint import Outcome
from wherry.bulk.cluster.manifests import ManifestCheckpoint, Start
from wherry.bulk.cluster.parted_inputs import PartedInput, Source, lines_of, read_handed
from wherry.bulk.cluster.report import Counts
from wherry.bulk.cluster.shared_folder import SharedFolder
from wherry.bulk.cluster.task_runner import Channel, Task
from wherry.bulk.fetcher import Fetcher
from wherry.bulk.hosts import Job
from wherry.bulk.results import Result
from wherry.bulk.sinks.base import Sink


class FailedBefore(Exception):
    """Why a URL failed, as a manifest has it: its worker was lost before it could say so."""


@dataclass(slots=True)
class SplitTask(Task):
    """Parts some lists of URLs.

    Args:
        shared: Where the parts go.
        parted: The input they are parts of.
        sources: The lists, by their numbers.
    """

    shared: SharedFolder
    parted: PartedInput
    sources: Mapping[int, Source]

    async def run(self, channel: Channel) -> int:
        count = 0
        for number, source in self.sources.items():
            if not await asyncio.to_thread(self.parted.is_split, number):
                count += await asyncio.to_thread(self.parted.split, lines_of(source), number)
            channel.progress += 1
            if channel.stopping.is_set():
                break
        return count


@dataclass(slots=True)
class FetchTask(Task):
    """Fetches the URLs of one partition.

    Args:
        shared: Where the run's files are.
        parted: The input.
        start: Which start this is.
        sink: Where pages go.
        options: Of the `Fetcher`.
        delivered: Results that the program has of this partition since it was called.
        settle: Seconds between this start's last request and its successor's first.
        handed: Lists of what other partitions began.
        own: Whether the partition's own URLs are fetched; else only what it was handed.
    """

    shared: SharedFolder
    parted: PartedInput
    start: Start
    sink: Sink
    options: Mapping[str, Any]
    delivered: int = 0
    settle: float = 0.0
    handed: Sequence[str] = ()
    own: bool = True

    async def run(self, channel: Channel) -> Counts:
        """Fetch what is left.

        Raises:
            FileNotFoundError: The folder is another one here.
        """
        channel.settle = self.settle
        await asyncio.to_thread(self._check_place)
        checkpoint = await asyncio.to_thread(
            ManifestCheckpoint, self.shared, self.start, channel.may_go_on
        )
        try:
            async with Fetcher(**self.options, checkpoint=checkpoint) as fetcher:
                fetching = asyncio.ensure_future(self._fetch(fetcher, checkpoint, channel))
                stopping = asyncio.ensure_future(channel.stopping.wait())
                try:
                    await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    fetcher.drain()
                    await asyncio.wait({fetching})
                finally:
                    stopping.cancel()
                    if not fetching.done():
                        fetching.cancel()
                    await asyncio.wait({fetching})
                fetching.result()
        finally:
            counts = checkpoint.counts
            checkpoint.close()
        return counts

    def _check_place(self) -> None:
        """A folder of the same name on another machine is another folder."""
        told = self.shared.read("run.json")
        if told is None or json.loads(told)["run"] != self.start.run:
            raise FileNotFoundError(
                f"{self.shared!r} is another folder on this node than where the program runs: name "
                "one that all nodes share, or a URL of fsspec's"
            )

    async def _fetch(
        self, fetcher: Fetcher, checkpoint: ManifestCheckpoint, channel: Channel
    ) -> None:
        told = 0
        results = fetcher.fetch(self._jobs(), into=self.sink)
        try:
            async for result in results:
                if not told:
                    # By now it is known what was committed before.
                    told = await self._tell_again(checkpoint, channel)
                channel.progress += 1
                await channel.put(result)
        finally:
            await results.aclose()
        if not told:
            await self._tell_again(checkpoint, channel)

    async def _tell_again(self, checkpoint: ManifestCheckpoint, channel: Channel) -> int:
        """Give what a worker before committed and could not give any more."""
        for row in checkpoint.recent[self.delivered :]:
            await channel.put(_result_of(row))
        checkpoint.recent.clear()
        return 1

    async def _jobs(self) -> AsyncIterator[Any]:
        """The partition's URLs; a job where another partition has begun."""
        partition = self.start.partition
        for name in self.handed:
            for each in await asyncio.to_thread(read_handed, self.shared, name):
                job = Job(each.url, trusted=False)  # no secret goes where a redirect leads
                job.target, job.hops = each.target, each.hops
                yield job
        if not self.own:
            return
        for name in await asyncio.to_thread(self.parted.pieces, partition):
            for url in await asyncio.to_thread(self.parted.read, name):
                yield url


def _result_of(row: Outcome) -> Result:
    error = None if row.error is None else FailedBefore(row.error)
    return Result(row.url, row.status, row.bytes, error, row.attempts, row.place)
