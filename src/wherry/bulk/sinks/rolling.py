"""Sinks that write shards: one open file at a time, ended when it has its size.

A `ShardWriter` knows a format: it takes pages, writes what waits, ends a file.  `RollingSink` knows
when: it hands the disk's work to one thread of its own, one piece at a time, so that the loop never
waits for a disk and whoever is cancelled meanwhile leaves no file in the middle of a write.  Names,
links and stores are `place`'s.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, ParamSpec, TypeVar

from wherry.bulk.results import Page
from wherry.bulk.sinks.base import Shard, Sink
from wherry.bulk.sinks.destination import Destination, destination_at, local_path
from wherry.client.download.disk_thread import finished
from wherry.redaction import shown_url

__all__ = ("ROLL", "BytesWriter", "RollingSink", "ShardWriter")

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Bytes of one shard, if nobody says otherwise.
ROLL: Final = 128 << 20
# A body above this is encoded in the thread: it takes longer than the way there and back.
_INLINE: Final = 32 << 10


class ShardWriter(ABC):
    """Writes one shard.  `take` may run on the loop; the rest runs in the sink's thread."""

    # Bytes that may wait in memory before they are written.
    flush_at: int = 1 << 20

    def __init__(self, path: Path, name: str) -> None:
        self.path: Path = path
        self.name: str = name
        self.count: int = 0  # pages
        self.size: int = 0  # bytes that are written
        self.waiting: int = 0  # bytes that are not

    @abstractmethod
    def take(self, page: Page) -> str:
        """Take a page; what stands behind the # of its place."""

    @abstractmethod
    def write(self) -> None:
        """Write what waits."""

    @abstractmethod
    def end(self) -> None:
        """Write the rest, and see that all of it outlives a power cut."""

    @abstractmethod
    def abandon(self) -> None:
        """Close what is open."""


class BytesWriter(ShardWriter):
    """Writes a shard that is a row of records, each of them bytes; positions are offsets."""

    count: int
    size: int
    waiting: int

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        self._file: BinaryIO | None = None
        self._chunks: list[bytes] = []

    def beginning(self) -> bytes:
        """What comes before the first page."""
        return b""

    @abstractmethod
    def encode(self, page: Page) -> bytes:
        """A page as it stands in the file."""

    def take(self, page: Page) -> str:
        encoded = self.encode(page)
        if not self.count:
            self._append(self.beginning())
        position = self.size + self.waiting
        self._append(encoded)
        self.count += 1
        return str(position)

    def _append(self, data: bytes) -> None:
        self._chunks.append(data)
        self.waiting += len(data)

    def write(self) -> None:
        if self._file is None:
            self._file = self.path.open("xb", buffering=0)
        data = memoryview(b"".join(self._chunks))
        self._chunks.clear()
        self.size += len(data)
        self.waiting = 0
        while data:
            data = data[self._file.write(data) :]

    def end(self) -> None:
        self.write()
        assert self._file is not None
        os.fsync(self._file.fileno())
        self.abandon()

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Worker:
    """A thread for the disk, which does one thing at a time."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="wherry-sink")

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """What the function gives; whoever is cancelled waits until it is through."""
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._executor, partial(function, *args, **kwargs))
        return await finished(job)

    def end(self) -> None:
        """End the thread, which has nothing to do."""
        self._executor.shutdown()


class RollingSink(Sink):
    """A sink that writes shards into a folder.

    Files have the mode that the process's umask leaves (0644 mostly): what is fetched is meant to
    be read by others.  `umask 077` keeps it to oneself.

    Args:
        place: The folder, as a path or a URL of fsspec's (`s3://bucket/pages`).
        roll: Bytes after which a shard is ended, 128 MiB.
        storage_options: What fsspec is told of the place.
    """

    suffix: ClassVar[str]

    def __init__(
        self,
        place: str | os.PathLike[str],
        *,
        roll: int = ROLL,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(roll, int) or roll < 1:
            raise ValueError(f"roll= is a number of bytes above 0, not {roll!r}")
        self.place: str = os.fspath(place)
        self.roll: int = roll
        self._options = storage_options
        self._run = ""
        self._number = 0
        self._where: Destination | None = None
        self._worker: Worker | None = None
        self._writer: ShardWriter | None = None
        self._ended: list[Shard] = []
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown_url(self.place)!r})"

    @property
    def where(self) -> str:
        folder = local_path(self.place)
        place = shown_url(self.place) if folder is None else os.path.realpath(folder)
        return f"{type(self).__name__}({place!r})"

    @abstractmethod
    def new_writer(self, path: Path, name: str) -> ShardWriter:
        """What writes a shard of this kind."""

    def shard_name(self, run: str, number: int) -> str:
        """The final name of a shard."""
        return f"{run}-{number:05}{self.suffix}"

    async def open(self, run: str) -> None:
        if self._worker is not None:
            raise RuntimeError(f"{self!r} is open already")
        where, worker = destination_at(self.place, self._options), Worker()
        try:
            await worker.run(where.open, run)
        except BaseException:
            await worker.run(where.close)
            worker.end()
            raise
        self._run, self._number = run, 0
        self._where, self._worker = where, worker

    def _open(self) -> tuple[Destination, Worker]:
        if self._where is None or self._worker is None:
            raise RuntimeError(f"{self!r} is not open")
        return self._where, self._worker

    async def add(self, page: Page) -> str:
        where, worker = self._usable()
        writer = self._writer
        if writer is None:
            name = self.shard_name(self._run, self._number)
            writer = self._writer = self.new_writer(where.path(where.aside(name)), name)
            self._number += 1
        if len(page.body) > _INLINE:
            position = await worker.run(writer.take, page)
        else:
            position = writer.take(page)
        if writer.waiting >= writer.flush_at:
            await self._on_disk(writer.write)
        if writer.size + writer.waiting >= self.roll:
            await self._end_shard()
        return f"{writer.name}#{position}"

    def _usable(self) -> tuple[Destination, Worker]:
        if self._failure is not None:
            raise OSError(f"{self!r} could not write before: {self._failure}") from self._failure
        return self._open()

    async def _on_disk(self, step: Callable[[], None]) -> None:
        """Do a step that leaves the shard useless if it fails."""
        try:
            await self._open()[1].run(step)
        except Exception as exc:
            self._failure = exc
            raise

    async def _end_shard(self) -> None:
        writer = self._writer
        if writer is None or not writer.count:  # or its only page could not be encoded
            return
        where = self._open()[0]
        # Kept until it has ended: a cancelled call waits, and must find it here.
        await self._on_disk(partial(self._finish, where, writer))

    def _finish(self, where: Destination, writer: ShardWriter) -> None:
        writer.end()
        self._writer = None
        aside = where.aside(writer.name)
        self._ended.append(Shard(writer.name, aside, writer.count, writer.size))

    async def prepare(self) -> list[Shard]:
        self._usable()
        await self._end_shard()
        return list(self._ended)

    async def publish(self, shards: Sequence[Shard]) -> None:
        where, worker = self._open()
        await worker.run(self._publish_all, where, shards)
        published = {shard.name for shard in shards}
        self._ended = [shard for shard in self._ended if shard.name not in published]

    def _publish_all(self, where: Destination, shards: Sequence[Shard]) -> None:
        for shard in shards:
            self.publish_shard(where, shard)
        where.settle()

    def publish_shard(self, where: Destination, shard: Shard) -> None:
        """Show one shard."""
        where.publish(shard.temporary, shard.name, shard.bytes)

    async def present(self, shards: Sequence[Shard]) -> Collection[str]:
        where, worker = self._open()

        def found() -> set[str]:
            return {shard.name for shard in shards if where.exists(shard.name)}

        return await worker.run(found)

    async def discard(self) -> None:
        await self._discard(None)

    async def _discard(self, run: str | None) -> None:
        where, worker = self._open()
        writer, self._writer = self._writer, None
        self._ended, self._failure = [], None

        def drop() -> None:
            if writer is not None:
                writer.abandon()
            for temporary in where.leftovers(run):
                self.drop_shard(where, temporary)
            if run is None:
                where.sweep()

        await worker.run(drop)

    def drop_shard(self, where: Destination, temporary: str) -> None:
        """Remove a shard that was not published."""
        where.drop(temporary)

    async def close(self) -> None:
        if self._where is None or self._worker is None:
            return
        where, worker = self._where, self._worker
        try:
            await self._discard(self._run)
        finally:
            self._where = self._worker = None
            try:
                await worker.run(where.close)
            finally:
                worker.end()

    @property
    def full(self) -> bool:
        size = sum(shard.bytes for shard in self._ended)
        if self._writer is not None:
            size += self._writer.size + self._writer.waiting
        return size >= self.roll
