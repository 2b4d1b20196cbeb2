"""What a large crawl takes, by a model; and the model against the real scheduler in virtual time.

    python -m benchmarks.scale              # the check: model and simulation side by side
    python -m benchmarks.scale --paper      # the model for 100 nodes and 10 billion URLs

The model is a fluid.  A partition's hosts share what it can fetch, equally, and none takes more
than its rate: so all hosts that have URLs left have had the same number of requests, and the small
ones are through first.  `docs/scale.md` says what follows from it.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from wherry.bulk.backlog_on_disk import Overflow
from wherry.bulk.cluster.partitions import partition_of
from wherry.bulk.hosts import Host, Job
from wherry.bulk.scheduler import Scheduler, SchedulerLimits


@dataclass(frozen=True)
class Case:
    """A crawl.

    Args:
        name: What it is.
        hosts: How many hosts there are.
        urls: How many URLs, about.
        tail: The exponent of the hosts' sizes: the smaller, the larger the largest.
        rate: Requests a second to a host.
        per_host: Requests to a host at once.
        in_flight: Requests of a partition at once.
        latency: Seconds of one request, on average.
        partitions: How many partitions there are.
    """

    name: str
    hosts: int
    urls: int
    tail: float
    rate: float
    per_host: int
    in_flight: int
    latency: float
    partitions: int


CASES = [
    Case("many small hosts", 4000, 40_000, 3.0, 1.0, 2, 50, 0.5, 4),
    Case("usual sizes", 2000, 40_000, 1.3, 1.0, 2, 50, 0.5, 4),
    Case("one large host", 500, 20_000, 0.9, 2.0, 2, 50, 0.5, 4),
    Case("slow servers", 2000, 40_000, 1.3, 5.0, 1, 100, 2.0, 4),
    Case("few in flight", 2000, 40_000, 1.3, 1.0, 2, 10, 0.5, 4),
]


def sizes_of(case: Case, chance: random.Random) -> list[int]:
    """How many URLs each host has: a Pareto law, cut to the mean that is asked for."""
    raw = [chance.paretovariate(case.tail) for _ in range(case.hosts)]
    scale = case.urls / sum(raw)
    return [max(1, round(each * scale)) for each in raw]


# --- the model ------------------------------------------------------------------------------------


def predicted(sizes: Sequence[int], case: Case) -> tuple[float, float]:
    """Seconds until half of a partition's URLs are fetched, and until all are."""
    own = min(case.rate, case.per_host / case.latency)  # what one host lets itself be asked
    whole = case.in_flight / case.latency  # what the partition can do
    clock = served = fetched = 0.0
    half = 0.0
    total = sum(sizes)
    ordered = sorted(sizes)
    for place, size in enumerate(ordered):
        left = len(ordered) - place
        step = size - served
        if step <= 0:
            continue
        share = min(own, whole / left)
        amount = step * left
        if not half and fetched + amount >= total / 2:
            half = clock + (total / 2 - fetched) / left / share
        clock += step / share
        fetched += amount
        served = size
    # The first request of a host waits for nobody, and the last takes its time.
    return half, clock - 1 / own + case.latency


def predicted_spread(sizes: Sequence[int], partitions: int) -> float:
    """The standard deviation of the partitions' sizes, as a part of their mean."""
    total = sum(sizes)
    return math.sqrt((partitions - 1) * sum(size * size for size in sizes)) / total


# --- the simulation -------------------------------------------------------------------------------


def simulated(sizes: dict[str, int], case: Case, chance: random.Random) -> tuple[float, float]:
    """The same by the real scheduler, in virtual time: latencies are random, queues spill."""
    scheduler = Scheduler(
        SchedulerLimits(case.per_host, 1 / case.rate, buffer=2000, hosts=10**6), Overflow()
    )
    # As lists of URLs come: each host's URLs here and there among the others'.
    urls = [f"http://{name}/{number}" for name, size in sizes.items() for number in range(size)]
    chance.shuffle(urls)
    for url in urls:
        scheduler.add(Job(url), 0.0)
    now = half = 0.0
    done = number = 0
    under_way: list[tuple[float, int, Host]] = []
    while done < len(urls):
        while scheduler.active < case.in_flight:
            taken = scheduler.take(now)
            if taken is None:
                break
            number += 1
            latency = case.latency * chance.uniform(0.5, 1.5)
            heapq.heappush(under_way, (now + latency, number, taken[1]))
        times = [under_way[0][0]] if under_way else []
        later = scheduler.next_time()
        if later is not None and scheduler.active < case.in_flight:
            times.append(later)
        now = max(now, min(times))
        if under_way and under_way[0][0] <= now:
            scheduler.finished(heapq.heappop(under_way)[2], now)
            done += 1
            if not half and 2 * done >= len(urls):
                half = now
        else:
            scheduler.rouse(now)
    return half, now


def check(cases: Sequence[Case], seed: int) -> float:
    """Print both for each case; gives the largest error, as a part."""
    worst = 0.0
    print(
        f"{'case':18} {'partition':>9} {'URLs':>7} {'half: model':>12} {'simulated':>10}"
        f" {'all: model':>11} {'simulated':>10} {'error':>6}"
    )
    for case in cases:
        chance = random.Random(f"{seed} {case.name}")
        sizes = sizes_of(case, chance)
        parts: list[dict[str, int]] = [{} for _ in range(case.partitions)]
        for number, size in enumerate(sizes):
            name = f"host{number}.example"
            parts[partition_of(f"http://{name}/", case.partitions)][name] = size
        for number, part in enumerate(parts):
            half, whole = predicted(list(part.values()), case)
            half_there, whole_there = simulated(part, case, chance)
            error = whole / whole_there - 1
            worst = max(worst, abs(error), abs(half / half_there - 1))
            count = sum(part.values())
            print(
                f"{case.name:18} {number:9} {count:7} {half:10.0f} s {half_there:8.0f} s"
                f" {whole:9.0f} s {whole_there:8.0f} s {error:6.1%}"
            )
        loads = [sum(part.values()) for part in parts]
        there = statistics.pstdev(loads) / statistics.mean(loads)
        print(
            f"{case.name:18}  partitions differ by {there:.1%}; "
            f"{predicted_spread(sizes, case.partitions):.1%} expected"
        )
    print(f"the largest error is {worst:.1%}")
    return worst


# --- on paper -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paper:
    """A cluster and what it shall fetch; what is assumed is here, and nowhere else."""

    nodes: int = 100
    cores: int = 8
    urls: float = 1e10
    hosts: float = 5e7
    tail: float = 1.3
    largest: float = 1e5  # URLs of one host that are taken at most
    rate: float = 1.0
    per_core: float = 400.0  # pages a second: TLS, decoding, WARC
    in_flight: int = 100
    latency: float = 0.8
    wire: float = 30e3  # bytes of a page as it comes
    stored: float = 25e3  # and as it is stored
    line: float = 125e6  # bytes a second that a node receives
    node_hour: float = 0.34  # dollars
    stored_month: float = 0.023  # dollars for a gigabyte
    put: float = 5e-6  # dollars
    commit_every: float = 60.0


def on_paper(paper: Paper) -> None:
    """Print what the model says of it."""
    partitions = 4 * paper.nodes * paper.cores
    # Quantiles of a Pareto law that is cut at `largest`, scaled to the mean.
    count = 20_000
    raw = [(1 - (number + 0.5) / count) ** (-1 / paper.tail) for number in range(count)]
    scale = paper.urls / paper.hosts / statistics.mean(raw)
    for _ in range(50):
        cut = [min(each * scale, paper.largest) for each in raw]
        scale *= paper.urls / paper.hosts / statistics.mean(cut)
    cut = [min(each * scale, paper.largest) for each in raw]
    limits = {
        "processors": paper.nodes * paper.cores * paper.per_core,
        "in flight": partitions * paper.in_flight / paper.latency,
        "lines": paper.nodes * paper.line / paper.wire,
        "hosts' rates, all hosts": paper.hosts * paper.rate,
    }
    whole = min(limits["processors"], limits["in flight"], limits["lines"])
    weight = paper.hosts / count
    clock = served = fetched = 0.0
    marks: dict[float, float] = {}
    for place, size in enumerate(cut):
        left = (count - place) * weight
        step = size - served
        if step <= 0:
            continue
        share = min(paper.rate, whole / left)
        clock += step / share
        fetched += step * left
        served = size
        for mark in (0.5, 0.9, 0.99, 0.999):
            if fetched >= mark * paper.urls and mark not in marks:
                marks[mark] = clock
    spread = math.sqrt((partitions - 1) * weight * sum(size * size for size in cut)) / paper.urls
    print(
        f"{partitions} partitions, {paper.urls / partitions / 1e6:.1f} million URLs and "
        f"{paper.hosts / partitions:.0f} hosts each; their sizes differ by {spread:.0%}"
    )
    for name, limit in limits.items():
        print(f"  {name}: {limit:,.0f} pages a second")
    for mark, seconds in marks.items():
        print(f"  {mark:.1%} are there after {seconds / 3600:.1f} hours")
    print(f"  all are there after {clock / 3600:.1f} hours")
    print(
        f"  without a limit for one host ({max(raw) * scale:,.0f} URLs in the largest of {count} "
        f"classes): {max(raw) * scale / paper.rate / 86400:.0f} days"
    )
    hours = marks[0.999] / 3600
    print(
        f"  DNS: {paper.hosts / hours / 3600:,.0f} look-ups a second, "
        f"{paper.hosts / hours / 3600 / paper.nodes:,.0f} on a node"
    )
    gigabytes = paper.urls * paper.stored / 1e9
    commits = partitions * hours * 3600 / paper.commit_every
    print(
        f"  stored: {gigabytes / 1e3:,.0f} TB, {gigabytes * paper.stored_month:,.0f} $ a month; "
        f"{gigabytes * 1e9 / (128 * 2**20) / 1e6:.1f} million full shards, "
        f"{commits / 1e6:.1f} million commits: {2 * commits * paper.put:,.0f} $"
    )
    print(f"  nodes: {paper.nodes * paper.node_hour * hours:,.0f} $ for {hours:.0f} hours")


def pace() -> None:
    """Print how fast URLs are parted here."""
    urls = [f"https://host{number % 5000}.example/page/{number}" for number in range(200_000)]
    began = time.process_time()
    for url in urls:
        partition_of(url, 3200)
    print(f"parted here: {len(urls) / (time.process_time() - began):,.0f} URLs for a second of CPU")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.paper:
        on_paper(Paper())
        pace()
        return 0
    return 1 if check(CASES, asked.seed) > 0.1 else 0


if __name__ == "__main__":
    raise SystemExit(main())
