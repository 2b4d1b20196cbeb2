"""``wherry fetch``: many downloads at once, retried and resumed, with a table and a report at the
end.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from yarl import URL

import wherry
from wherry.cli import show
from wherry.cli.arguments import RequestArguments, UsageProblem, parse_url
from wherry.middlewares.retry import retry_after
from wherry.private_files import open_private

# RFC 9110 15: what may go away by itself.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE = 60.0
# A longer table hides what matters: it has only what did not go as it should.
_LONGEST_TABLE = 40
# In bytes; a number may be added.
_LONGEST_NAME = 200
_UNSAFE = re.compile(r"[^\w.\-+@=,()\[\] ]")


@dataclass(slots=True)
class Job:
    """One download, and what became of it."""

    url: str
    file: str
    status: int | None = None
    size: int = 0
    resumed_from: int = 0
    attempts: int = 0
    seconds: float = 0.0
    error: str | None = None


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
        options: Headers, proxies and limits of every request.
    """

    directory: Path
    concurrency: int = 8
    per_host: int = 4
    retries: int = 2
    resume: bool = True
    connections: int = 1
    report: Path | None = None
    options: RequestArguments = field(default_factory=lambda: RequestArguments(URL()))


def read_list(urls: Iterable[str], lines: Iterable[str] = ()) -> list[Job]:
    """Downloads of `urls`, and of a list's lines; empty lines and those that begin with # are left
    out.

    Raises:
        UsageProblem: A line has no URL, or there is none at all.
    """
    found = [parse_url(text) for text in urls]
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                found.append(parse_url(text))
            except UsageProblem as exc:
                raise UsageProblem(f"line {number} of the list: {exc}") from exc
    if not found:
        raise UsageProblem("there are no URLs: name them, or a list of them with -i FILE")
    taken: Counter[str] = Counter()
    return [Job(str(url), _unique(file_name(url), taken)) for url in found]


def file_name(url: URL) -> str:
    """The last segment of the path, safe in any directory; the host where there is none."""
    name = _UNSAFE.sub("_", url.name or "").strip(". ")
    return _shortened(name or _UNSAFE.sub("_", url.host or "") or "download")


def _shortened(name: str) -> str:
    """At most 200 bytes of it, for file systems take 255; its suffix is kept."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 16:
        stem, dot, suffix = name, "", ""
    room = _LONGEST_NAME - len(f"{dot}{suffix}".encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + suffix


def _unique(name: str, taken: Counter[str]) -> str:
    """The same list gives the same names each time: downloads are gone on with by name."""
    candidate = name
    stem, dot, suffix = name.partition(".")
    # On some systems names that differ in case only are one file.
    while taken[candidate.lower()]:
        taken[name.lower()] += 1
        candidate = f"{stem}-{taken[name.lower()]}{dot}{suffix}"
    taken[candidate.lower()] += 1
    return candidate


def pause_before(attempt: int, asked: str | None) -> float:
    """Seconds to wait before a further try: doubled each time, or what the server asks for (in
    seconds, or by a date that is to come), at most a minute.
    """
    seconds = retry_after(asked, time.time())
    if seconds:
        return min(seconds, _LONGEST_PAUSE)
    return min(0.25 * 2.0**attempt, _LONGEST_PAUSE)


def may_pass(exc: BaseException) -> bool:
    """Whether a further try may go better."""
    if isinstance(exc, wherry.ClientResponseError):
        return exc.status in _TRANSIENT
    return isinstance(exc, (wherry.ClientConnectionError, wherry.ClientPayloadError, TimeoutError))


async def run_fetch(jobs: list[Job], plan: Plan) -> int:
    """Make every download; 1 if any failed.

    Raises:
        OSError: The directory or the report cannot be written.
    """
    plan.directory.mkdir(parents=True, exist_ok=True)
    remaining = iter(jobs)
    ended: list[Job] = []
    began = time.perf_counter()
    connector = wherry.TCPConnector(limit=plan.concurrency, limit_per_host=plan.per_host)
    # URLs may have tokens in them.
    report = None
    if plan.report is not None:
        report = os.fdopen(open_private(plan.report), "w", encoding="utf-8")
    try:
        with show.progress_bars() as bars:
            overall = bars.add_task(f"0 of {len(jobs)}", total=None)
            async with wherry.ClientSession(connector=connector, trust_env=True) as session:

                async def work() -> None:
                    for job in remaining:
                        await _fetch(session, job, plan, bars)
                        ended.append(job)
                        bars.update(
                            overall, description=f"{len(ended)} of {len(jobs)}", advance=job.size
                        )
                        if report is not None:
                            report.write(json.dumps(asdict(job)) + "\n")
                            report.flush()

                async with asyncio.TaskGroup() as group:
                    for _ in range(min(plan.concurrency, len(jobs))):
                        group.create_task(work())
    except asyncio.CancelledError:
        _print_table(ended, time.perf_counter() - began)
        show.note(f"interrupted with {len(jobs) - len(ended)} left; the same command goes on")
        raise
    finally:
        if report is not None:
            report.close()
    _print_table(jobs, time.perf_counter() - began)
    return 1 if any(job.error for job in jobs) else 0


async def _fetch(session: wherry.ClientSession, job: Job, plan: Plan, bars: Progress) -> None:
    """One download with its tries; what becomes of it stands in `job`."""
    task = bars.add_task(show.plain(job.file), total=None)
    began = time.perf_counter()
    options = _download_options(plan.options)
    try:
        while True:
            job.attempts += 1
            job.error = None
            try:
                result = await session.download(
                    job.url,
                    plan.directory / job.file,
                    resume=plan.resume,
                    # A file of the user's own stays, unless the list is to begin anew.
                    replace=not plan.resume,
                    connections=plan.connections,
                    progress=lambda size, total: bars.update(task, completed=size, total=total),
                    **options,
                )
            except (wherry.ClientError, TimeoutError, OSError, ValueError) as exc:
                job.error = show.describe(exc)
                if isinstance(exc, wherry.ClientResponseError):
                    job.status = exc.status
                if job.attempts > plan.retries or not may_pass(exc):
                    return
                headers = getattr(exc, "headers", None) or {}
                await asyncio.sleep(pause_before(job.attempts - 1, headers.get("Retry-After")))
            else:
                job.status, job.size, job.resumed_from = 200, result.size, result.resumed_from
                return
    finally:
        job.seconds = round(time.perf_counter() - began, 6)
        bars.remove_task(task)


def _download_options(wanted: RequestArguments) -> dict[str, Any]:
    options = wanted.options
    del options["allow_redirects"]
    return options


def _print_table(jobs: list[Job], seconds: float) -> None:
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
        note = Text(show.plain(job.error or ""), "red")
        if job.resumed_from:
            note = Text(f"went on from {job.resumed_from}")
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
        f"{len(jobs) - failed} of {len(jobs)} downloads, {total / 1e6:.1f} MB in {seconds:.2f} s"
    )
