"""``wherry demo``: real requests, on the embedded server or on a site, and a table of what
happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text
from yarl import URL

import wherry
from wherry import testing
from wherry.cli import show
from wherry.cli.progress_bars import Bars

_DOWNLOAD = 50_000_000


@dataclass(slots=True)
class Step:
    """One line of the table: times in seconds."""

    name: str
    status: str
    seconds: float
    opened: int
    reused: int
    exchanges: int = 0
    note: str = ""

    def saw(self, response: wherry.ClientResponse) -> None:
        """Take note of a response and of the redirects before it."""
        chain = (*response.history, response)
        self.exchanges += len(chain)
        self.status = " ".join(str(each.status) for each in chain)


class Demonstration:
    """The main job: steps on one session, each measured.

    Args:
        session: What makes the requests.
        connector: Its connector, which counts connections.
    """

    def __init__(self, session: wherry.ClientSession, connector: wherry.TCPConnector) -> None:
        self.session = session
        self.connector = connector
        self.steps: list[Step] = []

    @contextlib.asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Step]:
        """Measure what is done in the block; it fills in the status."""
        before = self.connector.stats()
        step = Step(name, "", 0.0, 0, 0)
        began = time.perf_counter()
        yield step
        step.seconds = time.perf_counter() - began
        after = self.connector.stats()
        step.opened, step.reused = after.opened - before.opened, after.reused - before.reused
        self.steps.append(step)

    async def get(self, url: URL, name: str) -> None:
        async with self.step(name) as step, self.session.get(url) as response:
            content = await response.read()
            step.saw(response)
            step.note = f"{len(content)} bytes, {response.content_type}"

    async def post(self, url: URL) -> None:
        async with (
            self.step("POST JSON") as step,
            self.session.post(url, json={"boat": "wherry"}) as response,
        ):
            step.saw(response)
            step.note = f"the server saw {(await response.json())['json']}"

    async def cookies(self, base: URL) -> None:
        url = base.with_path("/cookies/set").with_query(oar="1")
        async with (
            self.step("cookie set, and sent back") as step,
            self.session.get(url) as response,
        ):
            step.saw(response)
            step.note = f"the server saw {(await response.json())['cookies']}"

    async def download(self, url: URL) -> None:
        with tempfile.TemporaryDirectory() as place, Bars() as bars:
            bar = bars.bar("download")
            async with self.step("streamed download") as step, self.session.get(url) as response:
                result = await response.download(Path(place) / "body", progress=bar.advance)
                step.saw(response)
            step.note = f"{result.size / 1e6:.1f} MB, {result.size / 1e6 / step.seconds:.0f} MB/s"

    async def many(self, url: URL, requests: int, at_once: int) -> None:
        """`requests` of them, never more than `at_once` together."""
        statuses: dict[int, int] = {}
        times: list[float] = []
        remaining = iter(range(requests))

        async def work() -> None:
            for _ in remaining:
                began = time.perf_counter()
                async with self.session.get(url) as response:
                    await response.read()
                    statuses[response.status] = statuses.get(response.status, 0) + 1
                times.append(time.perf_counter() - began)

        async with (
            self.step(f"{requests} requests, {at_once} at a time") as step,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(at_once):
                group.create_task(work())
        step.exchanges = requests
        step.status = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
        times.sort()
        p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
        step.note = (
            f"{requests / step.seconds:.0f} a second; p50 {_ms(statistics.median(times))}, p99 "
            f"{_ms(p99)}"
        )


async def run_demo(url: URL | None, requests: int | None, at_once: int | None) -> int:
    """Run the main job on `url`, or on the embedded server.

    Raises:
        ClientError: A request failed.
    """
    console = Console(highlight=False)
    began = time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        if url is None:
            server = await stack.enter_async_context(testing.LocalServer())
            base = URL(server.url("/"))
        connector = wherry.TCPConnector()
        # The embedded server is at an IP address, whose cookies are refused by default.
        jar = wherry.CookieJar(unsafe=url is None)
        session = await stack.enter_async_context(
            wherry.ClientSession(connector=connector, cookie_jar=jar)
        )
        demonstration = Demonstration(session, connector)
        if url is None:
            console.print(
                f"wherry {wherry.__version__} on the embedded server at {base}", markup=False
            )
            await _local_steps(demonstration, base, requests or 500, at_once or 50)
        else:
            console.print(show.plain(f"wherry {wherry.__version__} on {url}"), markup=False)
            await _site_steps(demonstration, url, requests or 500, at_once or 50)
        stats = connector.stats()
    console.print(_table(demonstration.steps))
    console.print(
        f"{sum(step.exchanges for step in demonstration.steps)} exchanges over {stats.opened} "
        "connections "
        f"in {time.perf_counter() - began:.2f} s"
    )
    return 0


async def _local_steps(
    demonstration: Demonstration, base: URL, requests: int, at_once: int
) -> None:
    await demonstration.get(base.with_path("/get"), "GET")
    await demonstration.get(base.with_path("/gzip"), "GET, compressed")
    await demonstration.post(base.with_path("/post"))
    await demonstration.get(base.with_path("/redirect/2"), "two redirects")
    await demonstration.cookies(base)
    await demonstration.download(base.with_path(f"/bytes/{_DOWNLOAD}"))
    await demonstration.many(base.with_path("/get"), requests, at_once)


async def _site_steps(demonstration: Demonstration, url: URL, requests: int, at_once: int) -> None:
    await demonstration.get(url, "GET")
    await demonstration.get(url, "GET again")
    await demonstration.download(url)
    await demonstration.many(url, requests, at_once)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _table(steps: list[Step]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (
        ("step", "left"),
        ("status", "left"),
        ("time", "right"),
        ("opened", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("reused", justify="right")
    table.add_column("what happened", overflow="fold")
    for step in steps:
        note = Text(show.plain(step.note))
        table.add_row(
            step.name, step.status, _ms(step.seconds), str(step.opened), str(step.reused), note
        )
    return table
