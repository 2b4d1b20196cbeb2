"""`wherry.sync` beside the clients without asyncio: CPU microseconds a request.

    python -m benchmarks.sync [--rounds 3] [--clients wherry requests]

Each client runs in a fresh process, the rounds are interleaved, and what counts is the median.
Three cells: calls without a session, one session, and one session for 16 threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.scenarios import UNLIKE, Scenario, nginx

CLIENTS = ("wherry", "urllib3", "httpx", "niquests", "requests")
CELLS = {"calls": "calls without a session", "session": "one session", "threads": "16 threads"}
# Calls without a session are few: some clients make a TLS context for each.
REQUESTS = {"calls": 150, "session": 1_500, "threads": 1_500}
THREADS = 16
Get = Callable[[str], Any]


def getters(client: str) -> tuple[Get, Get]:
    """(a call without a session, a call of one session), each with its JSON read."""
    if client == "wherry":
        sync = import_module("wherry.sync")
        session = sync.Session()
        return lambda url: sync.get(url).json(), lambda url: session.get(url).json()
    module = import_module(client)
    if client == "urllib3":
        pool = module.PoolManager(maxsize=THREADS)
        return lambda url: module.request("GET", url).json(), lambda url: pool.request(
            "GET", url
        ).json()
    session = module.Client() if client == "httpx" else module.Session()
    return lambda url: module.get(url).json(), lambda url: session.get(url).json()


def measure(client: str, cell: str, base: str) -> float:
    """CPU microseconds of this process for a request."""
    alone, kept = getters(client)
    get = alone if cell == "calls" else kept
    numbers = count(int(time.time()))

    def fetch(_: int) -> None:
        number = next(numbers)
        get(f"{base}users/{number}?page={number}")

    def run(total: int) -> None:
        if cell != "threads":
            for at in range(total):
                fetch(at)
            return
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fetch, range(total)))

    total = REQUESTS[cell]
    run(total // 10)
    begun = time.process_time()
    run(total)
    return (time.process_time() - begun) / total * 1e6


def in_a_process(client: str, cell: str, url: str) -> float | None:
    """The same in a fresh process; None where the client is not there."""
    command = [sys.executable, "-m", "benchmarks.sync", "--one", client, cell, url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    try:
        return float(json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        print(f"  {client}: {(done.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", nargs="*", default=CLIENTS)
    parser.add_argument("--cells", nargs="*", default=list(CELLS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)), flush=True)
        return
    found: dict[tuple[str, str], list[float]] = {}
    with nginx() as server:
        url = server.urls(Scenario("sync", "", 1, 1, UNLIKE))[0]
        for _ in range(options.rounds):
            for cell in options.cells:
                for client in options.clients:
                    value = in_a_process(client, cell, url)
                    if value is not None:
                        found.setdefault((client, cell), []).append(value)
    print("| without asyncio, us CPU a request | " + " | ".join(options.clients) + " |")
    print("|---" * (len(options.clients) + 1) + "|")
    for cell in options.cells:
        values = [found.get((client, cell)) for client in options.clients]
        cells = ["-" if each is None else f"{statistics.median(each):.0f}" for each in values]
        print(f"| {CELLS[cell]} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
