"""``wherry fetch``: many downloads at once, retried and resumed, with a table and a report at the
end.
"""

from __future__ import annotations

import asyncio
import codecs
import io
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from yarl import URL

import wherry
from wherry.cli import show, streams
from wherry.cli.arguments import RequestArguments, UsageProblem, parse_url
from wherry.cli.bars import Bars
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


def list_lines(content: bytes) -> Iterator[str]:
    """The lines of a list: UTF-8, or UTF-16 where a byte order mark says so.

    Raises:
        UsageProblem: It is neither.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8")
    except UnicodeDecodeError as exc:
        number = content.count(b"\n", 0, exc.start) + 1
        raise UsageProblem(f"line {number} of the list is no {exc.encoding}") from None
    # A list that was put together of several has marks inside.
    return iter(io.StringIO(text.replace("\ufeff", ""), newline=None))


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
    return 1 if report.failed or any(job.error for job in jobs) else 0


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
    remaining = iter(jobs)
    connector = wherry.TCPConnector(limit=plan.concurrency, limit_per_host=plan.per_host)
    with Bars(files=len(jobs)) as bars:
        async with wherry.ClientSession(connector=connector, trust_env=True) as session:

            async def work() -> None:
                for job in remaining:
                    await _fetch(session, job, plan, bars)
                    ended.append(job)
                    bars.file_done(job.size)
                    report.add(job)

            async with asyncio.TaskGroup() as group:
                for _ in range(min(plan.concurrency, len(jobs))):
                    group.create_task(work())


async def _fetch(session: wherry.ClientSession, job: Job, plan: Plan, bars: Bars) -> None:
    """One download with its tries; what becomes of it stands in `job`.

    Whatever goes wrong is this download's: the others go on.
    """
    bar = bars.bar(job.file)
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
                    progress=bar.advance,
                    # As `wget -c`; --no-continue is there for those who know better.
                    trust_length=plan.resume,
                    **options,
                )
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                job.error = "it was given up"  # not by us
                return
            except Exception as exc:
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
        bar.end()


def _download_options(wanted: RequestArguments) -> dict[str, Any]:
    options = wanted.options
    del options["allow_redirects"]
    return options


def _print_table(jobs: list[Job], known: int, seconds: float) -> None:
    """A line for each of `jobs`, and how many of all that are known are done."""
    if streams.output_is_closed():
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
        note = Text(show.plain(job.error or ""), "red")
        if job.resumed_from and job.resumed_from == job.size:
            note = Text("was there already")
        elif job.resumed_from:
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
        f"{len(jobs) - failed} of {known} downloads, {total / 1e6:.1f} MB in {seconds:.2f} s"
    )
