"""``python -m tests.simulation``: many seeds on all cores, one with its story, or one made short."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from .checks import Report, Variation
from .programs import run
from .shrink import FEATURES, shrink

_CHUNK = 50
_MOST_BROKEN = 20


def _chunk(variation: Variation, first: int, last: int) -> tuple[Report, list[str]]:
    """Run some seeds: what they were together, and what was broken."""
    total, broken = Report(first), []
    for seed in range(first, last):
        try:
            total.add(run(seed, variation))
        except Exception as exc:
            broken.append("".join(traceback.format_exception(exc, limit=-3)))
    return total, broken


def _many(first: int, count: int, workers: int, variation: Variation) -> int:
    began, broken = time.perf_counter(), 0
    total = Report(0)
    starts = range(first, first + count, _CHUNK)
    ends = [min(start + _CHUNK, first + count) for start in starts]
    with ProcessPoolExecutor(workers) as pool:
        told = began
        for report, faults in _in_pool(pool, partial(_chunk, variation), starts, ends):
            total.add(report)
            for fault in faults:
                broken += 1
                print(fault)
            if time.perf_counter() - told > 60:
                told = time.perf_counter()
                print(_summary(total, told - began, broken), flush=True)
            if broken >= _MOST_BROKEN:
                pool.shutdown(cancel_futures=True)
                break
    print(_summary(total, time.perf_counter() - began, broken))
    return 1 if broken else 0


def _in_pool(
    pool: ProcessPoolExecutor, work: partial[tuple[Report, list[str]]], starts: range,
    ends: list[int],
) -> Iterator[tuple[Report, list[str]]]:  # fmt: skip
    # A night's seeds are not all handed over at once.
    step = 200
    for at in range(0, len(starts), step):
        yield from pool.map(work, starts[at : at + step], ends[at : at + step])


def _summary(total: Report, took: float, broken: int) -> str:
    return (
        f"{total.runs} seeds in {took:.1f} s ({total.runs / took:.1f} a second), "
        f"{total.seconds / 3600:.1f} simulated hours, {len(total.seen)} states visited: "
        f"{total.requests} requests, {total.answered} answered, {total.failed} failed, "
        f"{total.cancelled} cancelled, {total.faults} faults of the network, {broken} broken"
    )


def _one(seed: int, variation: Variation) -> int:
    try:
        report = run(seed, variation)
    except Exception as exc:
        traceback.print_exception(exc)
        print("\n".join(getattr(exc, "story", ())))
        return 1
    print("\n".join(report.story))
    for what, count in sorted(report.seen.items()):
        print(f"{count:6} {what}")
    return 0


def _until_broken(first: int, count: int) -> int:
    """One after the other, until one fails: prints how many that took, and how it failed."""
    for seed in range(first, first + count):
        try:
            run(seed)
        except Exception as exc:
            print(seed - first + 1, f"{type(exc).__name__}: {exc}".replace("\n", " "))
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and tell its story")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="find this one's shortest run")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--until-broken", action="store_true", help="stop at the first failure")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", help="of one seed's run only these actions: 0.1,2.0")
    parser.add_argument("--without", default="", help=f"leave out some of {','.join(FEATURES)}")
    arguments = parser.parse_args()
    # Sets of texts have an order that follows from this.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    keep = frozenset(arguments.keep.split(",")) if arguments.keep else None
    variation = Variation(keep, frozenset(filter(None, arguments.without.split(","))))
    if arguments.until_broken:
        return _until_broken(arguments.first, arguments.seeds)
    if arguments.shrink is not None:
        shortest, how = shrink(arguments.shrink)
        print(f"{how}\npython -m tests.simulation --seed {arguments.shrink} {shortest.arguments()}")
        return 1
    if arguments.seed is not None:
        return _one(arguments.seed, variation)
    return _many(arguments.first, arguments.seeds, arguments.workers, variation)


if __name__ == "__main__":
    sys.exit(main())
