"""A web site in a thread of its own that sees whether anybody is impolite to a host, and a job on a
cluster that a node is killed under.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.bulk.site import Loopback

from wherry.bulk import Jsonl, Page, Result
from wherry.bulk.cluster.engine import Engine
from wherry.bulk.cluster.job_handle import ClusterJob
from wherry.bulk.cluster.manifests import manifests
from wherry.bulk.cluster.partitions import partition_of
from wherry.bulk.cluster.report import ClusterReport
from wherry.bulk.cluster.shared_folder import shared_folder_at
from wherry.bulk.sinks.base import shard_of

POISON = "poison.test"


class Watcher:
    """Answers every URL after a moment; knows who was asked when, and how many at once."""

    def __init__(self, delay: float = 0.02) -> None:
        self.delay = delay
        self.asked: Counter[str] = Counter()
        self.when: dict[str, list[float]] = defaultdict(list)
        self.last: dict[str, float] = {}  # when each URL was asked for last
        self.most: Counter[str] = Counter()
        self.port = 0
        # Answers that a host gives until `release`: so nobody is through before a node is killed.
        self.gate: int | None = None
        self.redirects: dict[str, str] = {}  # from a host and path to a URL
        self._active: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def release(self) -> None:
        """Answer whatever is asked for."""
        self.gate = None

    def catch_up(self) -> None:
        """Return when all is read that was sent before: on a busy machine our thread may be late."""

        async def some_turns() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(some_turns(), self._loop).result()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

        async def connected(reader, writer):
            task = asyncio.current_task()
            self._connections.add(task)
            try:
                await self._answer(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass
            finally:
                self._connections.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _answer(self, reader, writer) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            host = head.lower().partition(b"\r\nhost: ")[2].split(b"\r\n")[0].decode()
            host = host.partition(":")[0]
            url = f"http://{host}:{self.port}{path}"
            self.asked[url] += 1
            self.last[url] = time.monotonic()
            self.when[host].append(self.last[url])
            self._active[host] += 1
            self.most[host] = max(self.most[host], self._active[host])
            try:
                # Who dies meanwhile asks for nothing any more.
                number = len(self.when[host])
                if await _ended_within(reader, self.delay):
                    return
                while self.gate is not None and number > self.gate:
                    if await _ended_within(reader, 0.05):
                        return
            finally:
                self._active[host] -= 1
            if (target := self.redirects.get(host + path)) is not None:
                writer.write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n".encode())
                writer.write(b"Content-Length: 0\r\n\r\n")
                continue
            body = f"this is {path} of {host}".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    def least_gap(self, count: int) -> float:
        """The least seconds in which a host was asked `count` times."""
        return min(
            (
                times[place + count - 1] - times[place]
                for times in self.when.values()
                for place in range(len(times) - count + 1)
            ),
            default=float("inf"),
        )


async def _ended_within(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Whether the client goes away; it says nothing before it has its answer."""
    try:
        async with asyncio.timeout(seconds):
            return not await reader.read(1)
    except TimeoutError:
        return False


class Poisoned(Jsonl):
    """A sink that cannot take the pages of one host."""

    async def add(self, page: Page) -> str:
        if POISON in page.url:
            raise RuntimeError("this page is poison")
        return await super().add(page)


class Nodes(ABC):
    """A local cluster whose nodes can be killed."""

    partitions: int

    @property
    @abstractmethod
    def address(self) -> str:
        """Where the cluster is joined."""

    @abstractmethod
    def renew(self) -> None:
        """See that there is a node in place of one that was killed."""

    @abstractmethod
    def engine(self) -> Engine:
        """The cluster, for one job."""

    @abstractmethod
    def kill(self, node: str) -> None:
        """Kill a node, with all that runs on it."""

    @abstractmethod
    def close(self) -> None:
        """End the cluster."""

    def may_kill(self, node: str) -> bool:
        """Whether a node is none that the program is on."""
        return True


def job_by_command(
    watcher: Watcher, folder: Path, *where: str, env: Mapping[str, str] | None = None
) -> None:
    """Run `wherry fetch` on a cluster, and run it again: nothing is asked for a second time."""
    lists = folder / "urls.txt"
    lists.write_text("".join(f"http://127.0.0.1:{watcher.port}/{page}\n" for page in range(50)))
    command = [
        sys.executable, "-m", "wherry.cli", "fetch", "-i", str(lists), "--into",
        f"jsonl:{folder / 'out'}", *where,
    ]  # fmt: skip
    for said in ("50 of 50 pages", "0 of 0 pages"):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
    assert "50 were there before" in done.stdout
    assert set(watcher.asked.values()) == {1}


@dataclass
class Killed:
    """What became of a job whose node was killed."""

    urls: list[str]
    results: list[Result]
    report: ClusterReport
    watcher: Watcher
    committed: set[str]  # when the node was killed
    at: float  # when that was
    asked: set[str]  # by then
    owned: set[int]  # the partitions of the dead node
    partitions: int
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def poisoned(self) -> set[str]:
        """The URLs of the poisoned partition, if there is one."""
        if not any(POISON in url for url in self.urls):
            return set()
        number = self.partition(f"http://{POISON}/")
        return {url for url in self.urls if self.partition(url) == number}

    @property
    def twice(self) -> set[str]:
        """The URLs that were asked for more than once."""
        asked = {url for url, count in self.watcher.asked.items() if count > 1}
        return asked - self.poisoned

    @property
    def at_risk(self) -> set[str]:
        """What was under way on the dead node: asked for, and not committed."""
        asked = self.asked - self.committed
        return {url for url in asked if self.partition(url) in self.owned}

    def partition(self, url: str) -> int:
        return partition_of(url, self.partitions)


def committed(place: Any, partitions: int, pages: Path) -> set[str]:
    """The URLs that the manifests have, and whose shards are visible."""
    return {
        row.url
        for number in range(partitions)
        for manifest in manifests(place, f"done/{number:06}")
        for row in manifest.outcomes
        if row.place is None or (pages / shard_of(row.place)).exists()
    }


def job_with_a_kill(
    nodes: Nodes,
    folder: Path,
    watcher: Watcher,
    *,
    hosts: int = 12,
    pages: int = 24,
    rate: float = 10.0,
    poison: bool = True,
    after: float = 0.3,
    lease: float = 60.0,
) -> Killed:
    """Run a job, and kill a node when a part of it is done.

    Args:
        nodes: The cluster.
        folder: For the lists and the pages.
        watcher: The site.
        hosts: How many hosts there are.
        pages: How many pages each has.
        rate: Requests a second to each.
        poison: Whether one host's pages cannot be kept.
        after: The part of the URLs of a partition there that are done by then.
        lease: Seconds that a worker goes on unheard; a busy machine must not outlast it, for then
            a living node's worker is lost as well.
    """
    partitions = nodes.partitions
    names = [f"host{number}.test" for number in range(hosts)] + [POISON] * poison
    urls = [f"http://{name}:{watcher.port}/{page}" for page in range(pages) for name in names]
    lists = folder / "lists"
    lists.mkdir()
    for number in range(3):
        (lists / f"{number}.txt").write_text("# a list\n" + "\n".join(urls[number::3]) + "\n")
    job = ClusterJob(
        nodes.engine(),
        str(lists / "*.txt"),
        Poisoned(folder / "pages"),
        partitions=partitions,
        lease=lease,
        attempts=2,
        options={
            "per_host": 1,
            "rate_per_host": rate,
            "retries": 0,
            "commit_every": 0.3,
            "connector_options": {"resolver": Loopback()},
        },
    )
    place = shared_folder_at(str(folder / "pages" / "_wherry"))
    began = time.monotonic()
    results: list[Result] = []
    before: set[str] | None = None
    at = 0.0
    watcher.gate = max(1, round(0.85 * pages))
    sizes = Counter(partition_of(url, partitions) for url in urls)
    done: Counter[int] = Counter()
    poisoned = partition_of(f"http://{POISON}/", partitions) if poison else None
    with job as running:
        for result in running:
            results.append(result)
            number = partition_of(result.url, partitions)
            done[number] += 1
            owners = running.owners
            victim = owners.get(number)
            if (
                before is None
                and victim is not None
                and number != poisoned  # so that there is something to lose
                and nodes.may_kill(victim)
                and after * sizes[number] <= done[number] < sizes[number]
            ):
                owned = {each for each, node in owners.items() if node == victim}
                before = committed(place, partitions, folder / "pages")
                at = time.monotonic()
                nodes.kill(victim)
                # What it had sent is read; another worker begins after half a second at the least.
                time.sleep(0.2)
                watcher.catch_up()
                asked = set(watcher.asked)
                watcher.release()
    assert before is not None
    killed = Killed(
        urls, results, job.report, watcher, before, at, asked, owned, partitions,
        time.monotonic() - began,
    )  # fmt: skip
    _judge(killed)
    return killed


def _judge(killed: Killed) -> None:
    """Note what should not have happened."""
    problems, watcher, poisoned = killed.problems, killed.watcher, killed.poisoned
    done = Counter(result.url for result in killed.results if result.ok)
    missing = set(killed.urls) - poisoned - done.keys()
    if missing:
        problems.append(f"{len(missing)} URLs are not done: {sorted(missing)[:3]}")
    if more := [url for url, count in done.items() if count > 1]:
        problems.append(f"{len(more)} results came twice: {more[:3]}")
    if errors := [result for result in killed.results if result.error]:
        problems.append(f"{len(errors)} URLs failed: {errors[0]}")
    if set(killed.report.failed_partitions) != {killed.partition(url) for url in poisoned}:
        problems.append(f"these partitions failed: {killed.report.failed_partitions}")
    if impolite := {host: count for host, count in watcher.most.items() if count > 1}:
        problems.append(f"hosts were asked for more than one URL at once: {impolite}")
    if again := {url for url in killed.committed if watcher.last[url] > killed.at}:
        problems.append(f"{len(again)} URLs that were committed were asked for again")
    if others := killed.twice - killed.at_risk:
        problems.append(f"asked for twice, and not under way there: {sorted(others)[:3]}")
    if not killed.report.lost:
        problems.append("nobody noticed that a node was lost")
