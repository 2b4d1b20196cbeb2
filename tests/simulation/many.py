"""Many seeds on all cores, and what they were together.

The processes import what they run by its module's name.  That must not be ``__main__``: from Python
3.14 on they do not begin as copies of this one, and import no package's main program (multiprocessing).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from .checks import Report, Variation
from .programs import run

_CHUNK = 50
_MOST_BROKEN = 20


def _run_chunk(variation: Variation, first: int, last: int) -> tuple[Report, list[str]]:
    """Run some seeds: what they were together, and what was broken."""
    total, broken = Report(first), []
    for seed in range(first, last):
        try:
            total.add(run(seed, variation))
        except Exception as exc:
            broken.append("".join(traceback.format_exception(exc, limit=-3)))
    return total, broken


def run_many(first: int, count: int, workers: int, variation: Variation) -> int:
    """Run seeds in processes and print what they were: 1 if one was broken, else 0."""
    began, broken = time.perf_counter(), 0
    total = Report(0)
    starts = range(first, first + count, _CHUNK)
    ends = [min(start + _CHUNK, first + count) for start in starts]
    with ProcessPoolExecutor(workers) as pool:
        told = began
        for report, faults in _in_pool(pool, partial(_run_chunk, variation), starts, ends):
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
