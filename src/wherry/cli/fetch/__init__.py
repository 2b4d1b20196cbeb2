"""``wherry fetch``: many downloads at once, retried and resumed, with a table and a report at the
end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from yarl import URL

import wherry
from wherry.bulk.retry_rules import may_pass, pause_before
from wherry.bulk.robots import RobotsRefused
from wherry.cli import show, standard_streams
from wherry.cli.argument_values import RequestArguments
from wherry.cli.fetch.politeness import Politeness, RateLimit
from wherry.cli.fetch.url_lists import Job
from wherry.cli.progress_bars import Bar, Bars
from wherry.private_files import open_private
from wherry.protocol.grammar import http_date

PARTIAL = 2  # the exit status where some downloads failed, and some did not
# A longer table hides what matters: it has only what did not go as it should.
_LONGEST_TABLE = 40


@dataclass(slots=True)
class Plan:
    """How the downloads are made.

    Args:
        directory: Where the files go.
        concurrency: Downloads at once.
        per_host: Connections to one host at once.
        retries: Further tries of a download that failed in a way that may pass.
        resume: Go on with what broke off.
        connections: Connections for one large file.
        report: A file for one line of JSON for each download.
        rate: Bytes a second for all of them together; None for no limit.
        wait: Seconds between two downloads from one host, from half of it to one and a half.
        robots: Heed what robots.txt forbids, and its Crawl-delay.
        timestamping: Fetch only what is newer than the file, and give it the server's time.
        options: Headers, proxies and limits of every request.
    """

    directory: Path
    concurrency: int = 8
    per_host: int = 4
    retries: int = 2
    resume: bool = True
    connections: int = 1
    report: Path | None = None
    rate: int | None = None
    wait: float = 0.0
    robots: bool = False
    timestamping: bool = False
    options: RequestArguments = field(default_factory=lambda: RequestArguments(URL()))


async def run_fetch(jobs: list[Job], plan: Plan) -> int:
    """Make every download; 0 if all are there, 2 if some are, 1 if none is.

    Raises:
        OSError: The directory or the report cannot be written.
    """
    plan.directory.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    _tell_who_limits(jobs, plan)
    report = Report(plan.report)
    ended: list[Job] = []
    try:
        await _fetch_all(jobs, plan, report, ended)
    except asyncio.CancelledError:
        _print_table(ended, len(jobs), time.perf_counter() - began)
        show.note(f"interrupted with {len(jobs) - len(ended)} left; the same command goes on")
        raise
    finally:
        report.close()
    _print_table(jobs, len(jobs), time.perf_counter() - began)
    failed = sum(job.error is not None for job in jobs)
    if failed == len(jobs) or report.failed:
        return 1
    return PARTIAL if failed else 0


class Report:
    """A file with a line of JSON for each download, or none.

    A disk that is full costs the report, and not the downloads that are still to come.

    Args:
        path: The file; None for no report.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        # URLs may have tokens in them.
        self._file: IO[bytes] | None = None if path is None else open_private_file(path)
        self.failed: bool = False

    def add(self, job: Job) -> None:
        if self._file is None or self.failed:
            return
        try:
            self._file.write(json.dumps(asdict(job)).encode() + b"\n")
        except OSError as exc:
            self.failed = True
            show.fail(f"the report ends here: {show.describe(exc)}")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def open_private_file(path: Path) -> IO[bytes]:
    """A file of its owner's, whose lines are there as soon as they are written."""
    return os.fdopen(open_private(path), "wb", buffering=0)


def _tell_who_limits(jobs: list[Job], plan: Plan) -> None:
    """Say so where --per-host allows fewer downloads at once than -n does."""
    wanted = min(plan.concurrency, len(jobs))
    hosts = Counter(URL(job.url).origin() for job in jobs)
    possible = sum(min(count, plan.per_host) for count in hosts.values())
    if possible < wanted:
        show.note(
            f"{possible} downloads at once, not {wanted}: --per-host {plan.per_host} is below "
            f"-n {plan.concurrency}"
        )


async def _fetch_all(jobs: list[Job], plan: Plan, report: Report, ended: list[Job]) -> None:
    """Make every download, some at once; `ended` has those that are done, in their order."""
    connector = wherry.TCPConnector(limit=plan.concurrency, limit_per_host=plan.per_host)
    with Bars(files=len(jobs)) as bars:
        async with wherry.ClientSession(connector=connector, trust_env=True) as session:
            fetching = _Fetching(session, plan, bars)

            async def work(of_host: Iterator[Job]) -> None:
                for job in of_host:
                    await fetching.fetch(job)
                    ended.append(job)
                    bars.file_done(job.size)
                    report.add(job)

            hosts: dict[URL, list[Job]] = {}
            for job in jobs:
                hosts.setdefault(URL(job.url).origin(), []).append(job)
            try:
                async with asyncio.TaskGroup() as group:
                    for of_host in hosts.values():
                        left = iter(of_host)
                        # Who waits for a crowded host holds back nobody else.
                        for _ in range(min(plan.per_host, len(of_host))):
                            group.create_task(work(left))
            finally:
                await fetching.close()


class _Fetching:
    """What all downloads of one command share.

    Args:
        session: Sends the requests.
        plan: How the downloads are made.
        bars: Where their progress is drawn.
    """

    def __init__(self, session: wherry.ClientSession, plan: Plan, bars: Bars) -> None:
        self._session = session
        self._plan = plan
        self._bars = bars
        self._places = asyncio.Semaphore(plan.concurrency)
        self._rate = None if plan.rate is None else RateLimit(plan.rate)
        self._options = _download_options(plan.options)
        agents = [value for name, value in plan.options.headers if name.lower() == "user-agent"]
        self._politeness = Politeness(
            session, plan.wait, plan.robots, agents[-1] if agents else "wherry", self._options
        )

    async def close(self) -> None:
        await self._politeness.close()

    async def fetch(self, job: Job) -> None:
        """One download with its tries and mirrors; what becomes of it stands in `job`.

        Whatever goes wrong is this download's: the others go on.
        """
        for url in (job.url, *job.mirrors):
            try:
                await self._politeness.ask(URL(url))
            except RobotsRefused as exc:
                job.error = str(exc)
                continue
            except Exception as exc:
                job.error = show.describe(exc)
                continue
            async with self._places:
                if await self._try(job, url):
                    return

    async def _try(self, job: Job, url: str) -> bool:
        """Download from one place, as often as it may help; False if another place may help."""
        bar = self._bars.bar(job.file)
        began = time.perf_counter()
        tries = 0
        try:
            while True:
                tries += 1
                job.attempts += 1
                job.error = None
                try:
                    await self._download(job, url, bar)
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        raise
                    job.error = "it was given up"  # not by us
                    return True
                except Exception as exc:
                    if self._stays(job, exc):
                        return True
                    job.error = show.describe(exc)
                    if tries > self._plan.retries or not may_pass(exc):
                        return False
                    headers = getattr(exc, "headers", None) or {}
                    await asyncio.sleep(pause_before(tries - 1, headers.get("Retry-After")))
                else:
                    return True
        finally:
            job.seconds = round(job.seconds + time.perf_counter() - began, 6)
            bar.end()

    async def _download(self, job: Job, url: str, bar: Bar) -> None:
        """One try."""
        plan = self._plan
        path = plan.directory / job.file
        if "/" in job.file:
            path.parent.mkdir(parents=True, exist_ok=True)
        options = self._options
        heads: list[str] = []
        if plan.timestamping:
            options = _newer_than(path, options, heads)
        resume = plan.resume and not plan.timestamping
        result = await self._session.download(
            url,
            path,
            resume=resume,
            # A file of the user's own stays, unless the list is to begin anew.
            replace=not resume,
            connections=plan.connections,
            digest=job.checksum,
            progress=bar.advance,
            pace=None if self._rate is None else self._rate.took,
            # As `wget -c`; --no-continue is there for those who know better.
            trust_length=plan.resume,
            **options,
        )
        job.status, job.size, job.resumed_from = 200, result.size, result.resumed_from
        if result.resumed_from and result.resumed_from == result.size:
            job.note = "was there already"
        elif result.resumed_from:
            job.note = f"went on from {result.resumed_from}"
        if heads and (when := http_date(heads[-1])) is not None:
            os.utime(path, (when, when))

    def _stays(self, job: Job, exc: BaseException) -> bool:
        """Whether a download failed because the file is as new as the server's."""
        if isinstance(exc, wherry.ClientResponseError):
            job.status = exc.status
            if exc.status == 304 and self._plan.timestamping:
                try:
                    size = (self._plan.directory / job.file).stat().st_size
                except OSError:
                    return False  # there is no file that could be as new
                job.size = job.resumed_from = size
                job.note = "is no older than the server's"
                return True
        return False


def _newer_than(path: Path, options: dict[str, Any], heads: list[str]) -> dict[str, Any]:
    """Options of a request for what is newer than a file; `heads` gets the server's time."""

    async def note(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        response = await handler(request)
        if "Last-Modified" in response.headers:
            heads.append(response.headers["Last-Modified"])
        return response

    headers = list(options["headers"])
    with contextlib.suppress(OSError):
        headers.append(("If-Modified-Since", formatdate(path.stat().st_mtime, usegmt=True)))
    return {**options, "headers": headers, "middlewares": (note,)}


def _download_options(wanted: RequestArguments) -> dict[str, Any]:
    options = wanted.options
    del options["allow_redirects"]
    return options


def _print_table(jobs: list[Job], known: int, seconds: float) -> None:
    """A line for each of `jobs`, and how many of all that are known are done."""
    if standard_streams.output_is_closed():
        return  # the files are what was asked for
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for name in ("bytes", "tries", "time"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    shown = (
        jobs
        if len(jobs) <= _LONGEST_TABLE
        else [job for job in jobs if job.error or job.attempts > 1]
    )
    for job in shown:
        note = Text(show.plain(job.error), "red") if job.error else Text(job.note or "")
        # Never markup: what a server said, and what names it chose, must not colour, link or break
        # anything.
        table.add_row(
            Text(show.plain(job.file)),
            str(job.size),
            str(job.attempts),
            f"{job.seconds:.2f} s",
            note,
        )
    if shown:
        console.print(table)
    failed = sum(job.error is not None for job in jobs)
    total = sum(job.size for job in jobs)
    console.print(
        f"{len(jobs) - failed} of {known} downloads, {total / 1e6:.1f} MB in {seconds:.2f} s"
    )
