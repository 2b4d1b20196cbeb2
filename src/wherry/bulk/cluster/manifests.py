"""What is done, for all nodes to read: a file for each commit of a partition, beside the output.

A manifest says which shards a commit has and which URLs are in them.  It is written whole, before
the shards are visible.  Only the last one of a partition can be in doubt then: whoever takes the
partition over asks the sink which of its shards are there, and writes it anew without the others.
The worker that has a partition looks things up in a database of its own, made of the manifests.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.bulk.checkpoint import Checkpoint, CheckpointError, Outcome
from wherry.bulk.cluster.parted_inputs import Handed, hand_over
from wherry.bulk.cluster.partitions import partition_of
from wherry.bulk.cluster.report import Counts
from wherry.bulk.cluster.shared_folder import SharedFolder
from wherry.bulk.sinks.base import Shard, shard_of


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a partition's worker.

    Args:
        run: The name of the run: all its starts have it.
        partition: The partition.
        number: Above that of all starts before.
        since: The number of the first start since the program was called.
        partitions: How many partitions the run has.
    """

    run: str
    partition: int
    number: int
    since: int
    partitions: int = 1

    @property
    def name(self) -> str:
        """As sinks want it: the partition is the stem, and the start the number."""
        return f"{self.run}-{self.partition:06}.{self.number}"

    @property
    def folder(self) -> str:
        """Where the partition's manifests are."""
        return f"done/{self.partition:06}"


@dataclass(slots=True)
class Manifest:
    """One commit: its shards, and what became of its URLs."""

    name: str
    shards: list[Shard]
    outcomes: list[Outcome]

    def encode(self) -> bytes:
        """As it is written."""
        shards = [[each.name, each.temporary, each.count, each.bytes] for each in self.shards]
        rows = [
            [row.url, row.error, row.place, row.digest, row.status, row.bytes, row.attempts]
            + ([row.handed, row.hops, row.came] if row.handed or row.came else [])
            for row in self.outcomes
        ]
        text = json.dumps({"shards": shards, "urls": rows}, separators=(",", ":"))
        return gzip.compress(text.encode("ascii"), compresslevel=1, mtime=0)

    @staticmethod
    def decode(name: str, content: bytes) -> Manifest:
        """What was written.

        Raises:
            CheckpointError: It is no manifest.
        """
        try:
            told: dict[str, Any] = json.loads(gzip.decompress(content))
            shards = [Shard(*row) for row in told["shards"]]
            return Manifest(name, shards, [Outcome(*row) for row in told["urls"]])
        except (ValueError, KeyError, TypeError, EOFError, OSError) as exc:
            raise CheckpointError(f"{name} is no manifest of a run: {exc}") from exc


def manifests(shared: SharedFolder, folder: str) -> Iterator[Manifest]:
    """A partition's manifests, in their order."""
    for name in shared.names(folder):
        content = shared.read(f"{folder}/{name}")
        if content is not None:
            yield Manifest.decode(f"{folder}/{name}", content)


class ManifestCheckpoint(Checkpoint):
    """A checkpoint of one partition, kept as manifests.

    Args:
        shared: Where the manifests are.
        start: Whose it is.
        may_commit: Whether the partition is still ours.

    Raises:
        CheckpointError: A manifest cannot be read.
    """

    def __init__(self, shared: SharedFolder, start: Start, may_commit: Callable[[], bool]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="wherry-partition-")
        super().__init__(Path(self._folder.name) / "done.sqlite")
        self._shared = shared
        self._start = start
        self._may_commit = may_commit
        self._commits = 0
        self._last: Manifest | None = None
        # What was committed since the program was called, in its order.
        self.recent: list[Outcome] = []
        self.counts: Counts = Counts()
        for manifest in manifests(shared, start.folder):
            self._settle_last()
            self._last = manifest
            super().prepared(manifest.shards, manifest.outcomes)
            self.was_used = True

    def begin(self) -> str:
        return self._start.name

    def owns(self, url: str) -> bool:
        start = self._start
        return partition_of(url, start.partitions) == start.partition % start.partitions

    async def recover(
        self, present: Callable[[Sequence[Shard]], Awaitable[Collection[str]]] | None
    ) -> None:
        last = self._last
        if last is None:
            return
        visible = set() if present is None else set(await present(last.shards))

        async def known(_: Sequence[Shard]) -> Collection[str]:
            return visible

        await super().recover(known)
        if not visible.issuperset(shard.name for shard in last.shards):
            last.shards = [shard for shard in last.shards if shard.name in visible]
            last.outcomes = [
                row for row in last.outcomes if row.place is None or shard_of(row.place) in visible
            ]
            self._shared.write(last.name, last.encode())
        self._count_last()

    def prepared(
        self,
        shards: Sequence[Shard],
        outcomes: Sequence[Outcome],
        found: Sequence[tuple[str, int, bool]] = (),
    ) -> None:
        if not self._may_commit():
            raise CheckpointError("the partition is another worker's by now")
        self._commits += 1
        commit = f"{self._start.number:012}-{self._commits:08}"
        handed = [Handed(each.url, each.handed, each.hops) for each in outcomes if each.handed]
        # First: what a manifest says to be handed over is there for who takes it.
        hand_over(
            self._shared, handed, self._start.partitions, f"{self._start.partition:06}-{commit}"
        )
        name = f"{self._start.folder}/{commit}.json.gz"
        self._last = Manifest(name, list(shards), list(outcomes))
        self._shared.write(name, self._last.encode())
        super().prepared(shards, outcomes, found)

    def committed(self) -> None:
        super().committed()
        self._count_last()

    def _settle_last(self) -> None:
        """The manifest before is committed: there is a later one."""
        if self._last is not None:
            super().committed()
            self._count_last()

    def _count_last(self) -> None:
        last, self._last = self._last, None
        if last is None:
            return
        number = int(last.name.rpartition("/")[2].partition("-")[0])
        if number >= self._start.since and number < self._start.number:
            self.recent += (row for row in last.outcomes if row.handed is None)
        counts = self.counts
        for row in last.outcomes:
            if row.handed is not None:
                continue  # it counts where it ends
            counts.urls += 1
            if row.status is not None:
                counts.statuses[row.status] += 1
            if row.error is None:
                counts.pages += 1
                counts.bytes += row.bytes
            else:
                counts.errors[row.error.partition(":")[0]] += 1

    def close(self) -> None:
        super().close()
        self._folder.cleanup()
