"""``make soak MINUTES=60``: the client on real sockets for long: nginx, haproxy, caddy, squid, and a
relay that stalls, cuts and resets.  Every body is compared; memory, descriptors, tasks and latency
are written down over time, as a table and as a plot.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import trustme
from tests.servers.authority import client_context, write_certificate
from tests.servers.fixtures import NAMES, open_directory, running
from tests.servers.http_servers import Caddy
from tests.servers.nginx import Nginx
from tests.servers.pki import Pki
from tests.servers.process import free_port
from tests.servers.proxies import ProxyFarm
from tests.servers.tls_fronts import Haproxy

import wherry

from .origins import body_of

_FILES = {"small": 100, "middle": 20_000, "large": 300_000}
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLES = 40


class Way(NamedTuple):
    """One way to the files.

    Args:
        name: For people.
        url: Where they are.
        proxy: Through what.
        protocols: What is spoken.
        faulty: Whether requests may fail.
    """

    name: str
    url: str
    proxy: str | None = None
    protocols: tuple[str, ...] = ("h2", "http/1.1")
    faulty: bool = False


class Sample(NamedTuple):
    """What was measured at one moment, of the time since the one before it."""

    seconds: float
    requests: int
    failed: int
    memory: float
    descriptors: int
    tasks: int
    median: float
    slowest: float


# --- the relay ------------------------------------------------------------------------------------


def relay(port: int, target: int) -> None:
    """Carry bytes between two ports, badly, until it is ended."""
    asyncio.run(_relay(port, target))


async def _relay(port: int, target: int) -> None:
    dice = random.Random(1)

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(dice.choice((1, 100, 65_536, 65_536))):
            chance = dice.random()
            if chance < 0.002:
                sink.transport.abort()
                return
            if chance < 0.004:
                data = data[: len(data) // 2]
                sink.write(data)
                break
            if chance < 0.02:
                await asyncio.sleep(dice.random() / 2)
            sink.write(data)
            await sink.drain()
        sink.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            to, back = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(copy(reader, back), copy(to, writer), return_exceptions=True)
            back.close()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    await server.serve_forever()


# --- the servers ----------------------------------------------------------------------------------


@contextlib.contextmanager
def servers() -> Iterator[tuple[list[Way], Any]]:
    """All of them, and a context that trusts them."""
    authority = trustme.CA()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_directory())
        files = write_certificate(authority, authority.issue_cert(*NAMES), folder)
        nginx = stack.enter_context(running(Nginx, files))
        haproxy = stack.enter_context(running(Haproxy, files, nginx.port))
        caddy = stack.enter_context(running(Caddy, files))
        for name, size in _FILES.items():
            for where in (nginx.files, caddy.files):
                (Path(where) / name).write_bytes(body_of(name, size))
        farm = ProxyFarm(stack.enter_context(open_directory()), Pki().authority)
        stack.callback(farm.close)
        bad = free_port()
        process = multiprocessing.get_context("spawn").Process(
            target=relay, args=(bad, nginx.port), daemon=True
        )
        process.start()
        stack.callback(process.terminate)
        secured = "https://127.0.0.1"
        ways = [
            Way("nginx", nginx.url("/files/")),
            Way("nginx, HTTP/2", f"{secured}:{nginx.http2}/files/"),
            Way("haproxy, TLS", f"{secured}:{haproxy.port}/files/"),
            Way("haproxy, HTTP/2", f"{secured}:{haproxy.http2}/files/"),
            Way("caddy, HTTP/2", f"{secured}:{caddy.tls}/files/"),
            Way("caddy, HTTP/3", f"https://localhost:{caddy.tls}/files/", protocols=("h3",)),
            Way("squid", nginx.url("/files/"), proxy=farm.squid.url),
            Way("relay with faults", f"http://127.0.0.1:{bad}/files/", faulty=True),
        ]
        yield ways, client_context(authority)


# --- the program ----------------------------------------------------------------------------------


class Soak:
    """Requests by all ways, and what they did to the process.

    Args:
        ways: Where the files are.
        context: What trusts the servers.
        seconds: How long.
        tasks: Requests at a time, for each way.
    """

    def __init__(self, ways: list[Way], context: Any, seconds: float, tasks: int) -> None:
        self._ways = ways
        self._context = context
        self._seconds = seconds
        self._tasks = tasks
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.samples: list[Sample] = []
        self._latencies: list[float] = []
        self._ended = False

    async def run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            working = []
            for way in self._ways:
                connector = wherry.TCPConnector(
                    ssl=self._context, protocols=way.protocols, limit=self._tasks
                )
                session = await stack.enter_async_context(
                    wherry.ClientSession(
                        connector=connector,
                        proxy=way.proxy,
                        timeout=wherry.ClientTimeout(total=600, sock_connect=300),
                    )
                )
                working += [
                    asyncio.create_task(self._work(session, way, number))
                    for number in range(self._tasks)
                ]
            await self._measure()
            self._ended = True
            await asyncio.gather(*working)

    async def _work(self, session: wherry.ClientSession, way: Way, number: int) -> None:
        dice = random.Random(f"{way.name} {number}")
        while not self._ended:
            name = dice.choice(("small", "small", "middle", "large"))
            began = time.perf_counter()
            self.requests[way.name] += 1
            try:
                async with session.get(way.url + name) as response:
                    content = await response.read()
            except (wherry.ClientError, TimeoutError) as exc:
                self.errors[f"{way.name}: {type(exc).__name__}"] += 1
                self.failed[way.name] += 1
                if not way.faulty:
                    self.wrong.append(f"{way.name}: {exc!r}")
                continue
            self._latencies.append(time.perf_counter() - began)
            if response.status != 200 or content != body_of(name, _FILES[name]):
                self.wrong.append(f"{way.name} {name}: {response.status}, {len(content)} bytes")

    async def _measure(self) -> None:
        began = time.monotonic()
        for number in range(1, _SAMPLES + 1):
            due = began + self._seconds * number / _SAMPLES
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            latencies, self._latencies = sorted(self._latencies), []
            gc.collect()
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
            self.samples.append(
                Sample(
                    time.monotonic() - began,
                    self.requests.total(),
                    self.failed.total(),
                    resident / 2**20,
                    len(os.listdir("/proc/self/fd")),
                    len(asyncio.all_tasks()),
                    statistics.median(latencies) if latencies else 0.0,
                    latencies[int(len(latencies) * 0.99)] if latencies else 0.0,
                )
            )


# --- what is told ---------------------------------------------------------------------------------


def table(soak: Soak) -> str:
    """What was measured over time, then by way, as Markdown."""
    lines = [
        "| minutes | requests | failed | MiB | descriptors | tasks | median ms | 99 % ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {s.seconds / 60:.1f} | {s.requests:,} | {s.failed:,} | {s.memory:.1f} "
        f"| {s.descriptors} | {s.tasks} | {s.median * 1000:.1f} | {s.slowest * 1000:.1f} |"
        for s in soak.samples[:: _SAMPLES // 10] + soak.samples[-1:]
    ]
    lines += ["", "| way | requests | failed |", "| --- | --- | --- |"]
    lines += [
        f"| {way} | {count:,} | {soak.failed[way]:,} |" for way, count in soak.requests.items()
    ]
    lines += ["", *(f"- {count:,} {what}" for what, count in soak.errors.most_common())]
    return "\n".join(lines)


def plot(samples: list[Sample]) -> str:
    """Memory, descriptors and latency over time, as an SVG."""
    curves = (
        ("memory, MiB", "#1565c0", [s.memory for s in samples]),
        ("descriptors", "#2e7d32", [float(s.descriptors) for s in samples]),
        ("median latency, ms", "#c62828", [s.median * 1000 for s in samples]),
    )
    parts = [
        (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 420" font-family="sans-serif"'
            ' font-size="12"><rect width="640" height="420" fill="white"/>'
        )
    ]
    end = samples[-1].seconds
    for row, (name, colour, values) in enumerate(curves):
        top, most = 20 + row * 130, max(values) * 1.1 or 1.0
        points = " ".join(
            f"{60 + 560 * s.seconds / end:.1f},{top + 100 - 100 * value / most:.1f}"
            for s, value in zip(samples, values, strict=True)
        )
        parts.append(
            f'<text x="60" y="{top - 5}" fill="{colour}">{name}</text>'
            f'<path d="M60 {top} V{top + 100} H620" fill="none" stroke="#888"/>'
            f'<text x="55" y="{top + 8}" text-anchor="end">{most:.0f}</text>'
            f'<text x="55" y="{top + 100}" text-anchor="end">0</text>'
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
    parts.append(f'<text x="620" y="412" text-anchor="end">{end / 60:.0f} minutes</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--tasks", type=int, default=4, help="requests at a time, for each way")
    parser.add_argument("--plot", type=Path, help="where the plot goes, an SVG")
    arguments = parser.parse_args()
    with servers() as (ways, context):
        soak = Soak(ways, context, arguments.minutes * 60, arguments.tasks)
        asyncio.run(soak.run())
    print(table(soak))
    if arguments.plot is not None:
        arguments.plot.write_text(plot(soak.samples))
    for wrong in soak.wrong[:20]:
        print("WRONG:", wrong)
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
