"""A job on a cluster, from the program's side: its files, its thread, its results.

`ClusterJob` runs the driver in a thread of its own, so that a program that takes its time with a
result, or never looks at one, keeps no worker from being heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from yarl import URL

from wherry.bulk.checkpoint import CheckpointError
from wherry.bulk.cluster.driver import Driver, Outcome
from wherry.bulk.cluster.engine import Engine
from wherry.bulk.cluster.manifests import Start
from wherry.bulk.cluster.parted_inputs import (
    PartedInput,
    Source,
    find_sources,
    fingerprint,
    handed_lists,
    lines_of,
    urls_among,
)
from wherry.bulk.cluster.report import ClusterReport, Counts
from wherry.bulk.cluster.shared_folder import SharedFolder, shared_folder_at
from wherry.bulk.cluster.split_and_fetch_tasks import FetchTask, SplitTask
from wherry.bulk.fetcher import Fetcher
from wherry.bulk.results import Result
from wherry.bulk.sinks.base import Sink

_FOLDER: Final = "_wherry"  # readers of data sets pass over what begins so
_PER_SLOT: Final = 4  # partitions: so that those of a dead node spread over the others
_WAITING: Final = 20_000  # results that the program has not taken
# Bytes of lists that are parted here: to start workers would take longer.
_SMALL: Final = 64 * 2**20
# Starts of workers for one call of the program.
_STARTS: Final = 1_000_000
# What has no meaning for a part of a job, or cannot be sent to a node.
_REFUSED: Final = {
    "checkpoint": "the manifests beside the output are the checkpoint",
    "connector": "a connector cannot be sent to a node: say connector_options=",
    "follow": "links lead to other partitions' hosts: collect them in on_response, for a next run",
    "max_pages": "no partition knows what the others have",
    "metrics": "each partition has a process of its own",
    "progress": "take the results as they come",
}


class RunInProgress(CheckpointError):
    """Another program works on the same run now."""


@dataclass(slots=True)
class _Run:
    """What is known of a run, as `run.json` has it.

    Args:
        run: Its name.
        partitions: How many partitions it has, for good.
        calls: How often the program was called.
        generation: Which input it has.
        input: What that input is; "" for an iterable.
    """

    run: str
    partitions: int
    calls: int = 0
    generation: int = 0
    input: str = ""


class ClusterJob:
    """A job on a cluster: a context manager, and an iterator of its results.

    Args:
        engine: The cluster; it is joined and left.
        urls: A path, pattern or URL of files of URLs, a line each; or the URLs, of any iterable.
        into: Where pages go: a place that all nodes share.
        checkpoint: Where the manifests go, a folder or a URL of fsspec's; `_wherry` in the sink's
            place by default.
        partitions: How many partitions a new run has; 4 for each processor of the cluster by
            default.
        lease: Seconds that a worker goes on unheard, and that a partition of a lost node waits.
        attempts: Starts without headway until a partition is given up.
        options: Of the `Fetcher` of each partition.

    Raises:
        TypeError: An option has no meaning on a cluster.
        ValueError: A number is out of its range, or the sink's place is not known.
    """

    def __init__(
        self,
        engine: Engine,
        urls: str | os.PathLike[str] | Iterable[str | URL],
        into: Sink,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        partitions: int | None = None,
        lease: float = 30.0,
        attempts: int = 4,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if partitions is not None and partitions < 1:
            raise ValueError(f"partitions is at least 1, not {partitions}")
        if not 0 < lease < float("inf"):
            raise ValueError(f"lease is a positive number of seconds, not {lease}")
        if attempts < 1:
            raise ValueError(f"attempts is at least 1, not {attempts}")
        self._options = dict(options or {})
        for name, why in _REFUSED.items():
            if name in self._options:
                raise TypeError(f"{name}= is not for clusters: {why}")
        Fetcher(**self._options)  # what is wrong with them is told here, not by each node
        self._engine = engine
        self._urls = urls
        self._sink = _found_anywhere(into)
        self._shared = shared_folder_at(
            _checkpoint_of(self._sink) if checkpoint is None else str(checkpoint)
        )
        self._partitions = partitions
        self._lease = lease
        self._attempts = attempts
        rate = self._options.get("rate_per_host")
        self._settle = 0.0 if rate is None else 1 / rate
        self.report: ClusterReport = ClusterReport()
        self._began = 0.0
        self._starts: dict[int, int] = {}
        self._delivered: dict[int, int] = {}
        # What the program's thread and the driver's share.
        self._results: deque[Result] = deque()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._running: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._driver: Driver | None = None

    # --- the program's side -----------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._engine.prepare()
        self._began = time.monotonic()
        self._thread = threading.Thread(
            target=self._in_thread, name="wherry-cluster", args=(self._run,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, loop, running = self._thread, self._loop, self._running
        if thread is None:
            return
        if loop is not None and running is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(running.cancel)
        thread.join()

    def __iter__(self) -> Iterator[Result]:
        """What became of each URL, as it is known.

        Raises:
            CheckpointError: The run's files cannot be used.
            OSError: The input or the run's files cannot be read, or there is no cluster.
        """
        while True:
            with self._news:
                self._news.wait_for(self._has_news)
                if not self._results:
                    break
                results = list(self._results)
                self._results.clear()
            yield from results
        if self._failure is not None:
            raise self._failure

    def run(self, on_result: Callable[[Result], object] | None) -> ClusterReport:
        """Do all of it, and say what became of it.

        Args:
            on_result: Called with each result, here.

        Raises:
            CheckpointError: As the results do.
            OSError: As the results do.
        """
        with self:
            for result in self:
                if on_result is not None:
                    on_result(result)
        return self.report

    def _has_news(self) -> bool:
        return bool(self._results) or self._thread is None or self._ended

    @property
    def owners(self) -> dict[int, str]:
        """The node that has each partition now."""
        return {} if self._driver is None else self._driver.owners

    # --- the driver's thread ----------------------------------------------------------------------

    def _in_thread(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._running = asyncio.ensure_future(run())
            await self._running

        try:
            try:
                asyncio.run(main())
            except BaseExceptionGroup as group:
                if len(group.exceptions) > 1:
                    raise
                raise group.exceptions[0] from None
        except asyncio.CancelledError:
            pass  # the program has left
        except BaseException as exc:
            self._failure = exc
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _room(self) -> int:
        return max(0, min(1000, _WAITING - len(self._results)))

    def _deliver(self, partition: int, results: list[Result]) -> None:
        if not results:
            return
        self._delivered[partition] = self._delivered.get(partition, 0) + len(results)
        with self._news:
            self._results.extend(results)
            self._news.notify_all()

    async def _run(self) -> None:
        lock = _Lock(self._shared, self._lease)
        await lock.take()
        keeping = asyncio.ensure_future(lock.keep())
        try:
            await self._engine.connect()
            try:
                await self._run_locked()
            finally:
                await self._engine.leave()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await asyncio.to_thread(lock.release)
            self.report.seconds = time.monotonic() - self._began

    async def _run_locked(self) -> None:
        nodes = await self._engine.nodes()
        run = await asyncio.to_thread(self._open_run, max(1, sum(nodes.values())))
        parted = await self._part(run, max(1, sum(nodes.values())))
        handed = await asyncio.to_thread(handed_lists, self._shared)
        numbers = {
            number
            for number in range(run.partitions)
            if not await asyncio.to_thread(parted.is_empty, number)
        }
        values: dict[int, Counts] = {}
        failures: dict[int, str] = {}
        begun: set[str] = set()
        while todo := sorted((numbers | handed.keys()) - failures.keys()):
            outcome = await self._round(run, parted, todo, numbers, handed)
            values |= outcome.values
            failures |= outcome.failures
            self._count(outcome)
            # What was handed over meanwhile; it ends, as each URL has so many redirects.
            begun.update(*handed.values())
            there = await asyncio.to_thread(handed_lists, self._shared)
            handed = {
                number: new
                for number, names in there.items()
                if (new := [name for name in names if name not in begun])
            }
            numbers = set()
            if handed:
                await asyncio.sleep(self._settle)  # between a host's last request and its next
        for counts in values.values():
            self.report.add(counts)
        self.report.failed_partitions = dict(sorted(failures.items()))

    async def _round(
        self,
        run: _Run,
        parted: PartedInput,
        todo: list[int],
        own: set[int],
        handed: Mapping[int, list[str]],
    ) -> Outcome:
        """Fetch the URLs of some partitions, and what others have handed to them."""

        def task(number: int) -> FetchTask:
            self._starts[number] = self._starts.get(number, 0) + 1
            first = run.calls * _STARTS
            start = Start(run.run, number, first + self._starts[number], first, run.partitions)
            return FetchTask(
                self._shared, parted, start, self._sink, self._options,
                self._delivered.get(number, 0), self._settle, handed.get(number, ()), number in own,
            )  # fmt: skip

        driver = self._driver = Driver(
            self._engine, task, self._deliver, self._room, self._lease, self._attempts, self._settle
        )
        return await driver.run(todo)

    def _count(self, outcome: Outcome) -> None:
        self.report.starts += outcome.starts
        self.report.lost += outcome.lost
        self.report.moved += outcome.moved

    def _open_run(self, slots: int) -> _Run:
        """The run of this folder; a new one if there is none."""
        known = self._shared.read("run.json")
        if known is None:
            run = _Run(secrets.token_hex(4), self._partitions or _PER_SLOT * slots)
        else:
            try:
                run = _Run(**json.loads(known))
            except (ValueError, TypeError) as exc:
                raise CheckpointError(f"{self._shared!r} has no run.json of ours: {exc}") from exc
        run.calls += 1
        self._shared.write("run.json", json.dumps(asdict(run)).encode())
        return run

    async def _part(self, run: _Run, slots: int) -> PartedInput:
        """The input, parted; that of an earlier call if it is the same."""
        sources: list[Source] = []
        told = ""
        if isinstance(self._urls, (str, os.PathLike)):
            sources = await asyncio.to_thread(find_sources, [os.fspath(self._urls)])
            told = fingerprint(sources)
        if not told or run.input != told:
            run.generation, run.input = run.generation + 1, told
            content = json.dumps(asdict(run)).encode()
            await asyncio.to_thread(self._shared.write, "run.json", content)
        parted = PartedInput(self._shared, run.generation, run.partitions)
        if told:
            await self._split(parted, sources, slots)
        else:
            texts = (str(each) for each in self._urls)  # type: ignore[union-attr]
            await asyncio.to_thread(parted.split, urls_among(texts), 0)
        return parted

    async def _split(self, parted: PartedInput, sources: list[Source], slots: int) -> None:
        """Part the lists, on the nodes.

        Raises:
            OSError: A list cannot be read.
        """
        left = {number: each for number, each in enumerate(sources) if not parted.is_split(number)}
        if sum(each.size for each in left.values()) <= _SMALL:
            for number, source in left.items():
                await asyncio.to_thread(parted.split, lines_of(source), number)
            return
        readers = min(len(left), _PER_SLOT * slots)
        shares = [
            dict(each for index, each in enumerate(left.items()) if index % readers == number)
            for number in range(readers)
        ]
        driver = Driver(
            self._engine,
            lambda number: SplitTask(self._shared, parted, shares[number]),
            lambda number, items: None,
            lambda: 1,
            self._lease,
            self._attempts,
        )
        outcome = await driver.run(list(range(readers)))
        self._count(outcome)
        for failure in outcome.failures.values():
            raise OSError(f"the input cannot be read: {failure}")


def _checkpoint_of(sink: Sink) -> str:
    """Where the manifests of a sink's output go."""
    place = getattr(sink, "place", None)
    if isinstance(place, str):
        return f"{place.rstrip('/')}/{_FOLDER}"
    raise ValueError(f"say checkpoint=: {sink!r} does not tell where its pages go")


def _found_anywhere(sink: Sink) -> Sink:
    """The sink with a place that does not depend on the working directory, which nodes have not."""
    place = getattr(sink, "place", None)
    if isinstance(place, str) and "://" not in place:
        sink = copy(sink)
        sink.place = str(Path(place).absolute())  # type: ignore[attr-defined]
    return sink


class _Lock:
    """Sees that one program at a time works on a run.

    Clocks of machines differ, so no time of day is compared: who finds a lock looks whether it
    changes within a lease.  A dead program's workers have ended by then, too.

    Args:
        shared: Where the run's files are.
        lease: Seconds.
    """

    def __init__(self, shared: SharedFolder, lease: float) -> None:
        self._shared = shared
        self._lease = lease
        self._name = secrets.token_hex(8)
        self._beats = 0
        self._ended = False
        # A thread that writes goes on when who waits for it is cancelled.
        self._writing = threading.Lock()

    def _write(self) -> None:
        with self._writing:
            if not self._ended:
                self._beats += 1
                self._shared.write("driver.json", json.dumps([self._name, self._beats]).encode())

    async def take(self) -> None:
        """Take the lock.

        Raises:
            RunInProgress: Somebody has it.
        """
        before = await asyncio.to_thread(self._shared.read, "driver.json")
        if before is not None:
            # It is written four times in a lease.
            await asyncio.sleep(self._lease + 0.5)
            now = await asyncio.to_thread(self._shared.read, "driver.json")
            if now is not None and now != before:
                raise RunInProgress(f"another program works on {self._shared!r}")
        await asyncio.to_thread(self._write)

    async def keep(self) -> None:
        """Renew the lock until this is cancelled."""
        while True:
            await asyncio.sleep(self._lease / 4)
            await asyncio.to_thread(self._write)

    def release(self) -> None:
        """Give the lock back, if it is still ours."""
        with self._writing:
            self._ended = True
            told = self._shared.read("driver.json")
            if told is not None and json.loads(told)[0] == self._name:
                self._shared.remove("driver.json")
