"""``wherry fetch --into``: pages into a sink, by `wherry.bulk` on this machine or on a cluster.

A thin face: it says what the options mean to `Fetcher` and to the engines, and prints what came of
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from wherry.bulk import CheckpointError, Fetcher, Result, Sink
from wherry.bulk.cluster.job_handle import ClusterJob
from wherry.cli import show, standard_streams
from wherry.cli.argument_values import RequestArguments, UsageProblem, parse_url
from wherry.cli.fetch import PARTIAL, open_private_file
from wherry.cli.fetch.url_lists import is_wanted, without_marks

# What a download has, and a page in a sink has not.
FOR_FILES = {
    "output": "-o",
    "connections": "--connections",
    "no_continue": "--no-continue",
    "checksum": "--checksum",
    "limit_rate": "--limit-rate",
    "timestamping": "--timestamping",
    "output_template": "--output-template",
}


@dataclass(slots=True)
class BulkPlan:
    """How pages are fetched into a sink.

    Args:
        sink: Where they go.
        checkpoint: What knows what is done; None for nobody on one machine, and for the sink's
            place on a cluster.
        ray: The address of a cluster of Ray's, or "auto".
        dask: The address of a cluster of Dask's, or "local".
        report: A file for one line of JSON for each URL.
        fetcher: Arguments of the `Fetcher`.
    """

    sink: Sink
    checkpoint: str | None = None
    ray: str | None = None
    dask: str | None = None
    report: Path | None = None
    fetcher: dict[str, Any] = field(default_factory=dict)


def fetcher_options(given: dict[str, Any], request: RequestArguments) -> dict[str, Any]:
    """What the command's options are to a `Fetcher`.

    Raises:
        UsageProblem: One has no meaning there.
    """
    session = {name: value for name, value in request.options.items() if name != "allow_redirects"}
    session["trust_env"] = True
    timeout = session.pop("timeout")
    options: dict[str, Any] = {
        "in_flight": given["concurrency"],
        "per_host": given["per_host"],
        "retries": given["retries"],
        "robots": given["robots"],
        "session_options": session,
    }
    if given["wait"]:
        options["rate_per_host"] = 1 / given["wait"]
    if timeout.total is not None:
        options["timeout"] = timeout
    if given["user_agent"] is not None:
        options["user_agent"] = given["user_agent"]
    if (tls := session.pop("ssl")) is not True:
        session["ssl"] = tls  # for the hosts that were named, as of a download
    return options


def listed(
    urls: Sequence[str], lines: IO[bytes] | None, accept: Sequence[str], reject: Sequence[str]
) -> Iterator[str]:
    """The URLs that are named, and those of a list, read as they are wanted.

    What is no URL comes as it is, and fails by itself.
    """
    for text in urls:
        yield from _wanted(text, accept, reject)
    for raw in lines or ():
        line = without_marks(raw.decode("utf-8", "replace")).strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("{"):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # it fails as what it is
                line = str(json.loads(line)["url"])
        yield from _wanted(line, accept, reject)


def _wanted(text: str, accept: Sequence[str], reject: Sequence[str]) -> Iterator[str]:
    try:
        url = parse_url(text)
    except UsageProblem:
        yield text
        return
    if is_wanted(url, accept, reject):
        yield str(url)


class _Told:
    """Counts results, and writes the report."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else open_private_file(path)
        self.pages = self.failed = self.bytes = 0

    def add(self, result: Result) -> None:
        if result.ok:
            self.pages += 1
            self.bytes += result.bytes
        else:
            self.failed += 1
            if self.failed <= 10:
                show.note(f"{result.url}: {show.describe(result.error or OSError())}")
        if self._file is not None:
            row = {
                "url": result.url,
                "status": result.status,
                "bytes": result.bytes,
                "attempts": result.attempts,
                "place": result.place,
                "error": None if result.error is None else show.describe(result.error),
            }
            self._file.write(json.dumps(row).encode() + b"\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def end(self, seconds: float, before: int = 0) -> int:
        """Say what became of all; gives the exit status."""
        if not standard_streams.output_is_closed():
            known = f", {before} were there before" if before else ""
            Console(highlight=False).print(
                f"{self.pages} of {self.pages + self.failed} pages, {self.bytes / 1e6:.1f} MB in "
                f"{seconds:.2f} s{known}"
            )
        if not self.failed:
            return 0
        return PARTIAL if self.pages or before else 1


async def run_here(urls: Iterable[str], plan: BulkPlan) -> int:
    """Fetch on this machine; 0 if all pages are there, 2 if some are, 1 if none is.

    Raises:
        OSError: The sink, the checkpoint or the report cannot be written.
    """
    told = _Told(plan.report)
    try:
        async with Fetcher(checkpoint=plan.checkpoint, **plan.fetcher) as fetcher:
            async for result in fetcher.fetch(urls, into=plan.sink):
                told.add(result)
            report = fetcher.report
    except CheckpointError as exc:
        raise OSError(str(exc)) from exc
    finally:
        told.close()
    return told.end(report.seconds, report.known)


async def run_on_cluster(urls: Iterable[str], plan: BulkPlan) -> int:
    """The same on a cluster; the engine's extra must be installed.

    Raises:
        OSError: There is no cluster, or its files cannot be written.
        ImportError: The engine is not installed.
    """
    job = _job(urls, plan)
    told = _Told(plan.report)
    try:
        with job as running:
            results = iter(running)
            # In a thread, so that Ctrl-C is heard.
            while (result := await asyncio.to_thread(next, results, None)) is not None:
                told.add(result)
    except CheckpointError as exc:
        raise OSError(str(exc)) from exc
    finally:
        told.close()
    report = job.report
    for number, error in report.failed_partitions.items():
        show.fail(f"partition {number} was given up: {error.strip().splitlines()[-1]}")
    if report.lost or report.moved:
        show.note(f"{report.lost} workers were lost, {report.moved} partitions moved")
    status = told.end(report.seconds, report.urls - told.pages - told.failed)
    return status if report.ok else status or PARTIAL


def _job(urls: Iterable[str], plan: BulkPlan) -> ClusterJob:
    options = {"checkpoint": plan.checkpoint, **plan.fetcher}
    try:
        if plan.ray is not None:
            from wherry.bulk import ray

            return ray.job(urls, plan.sink, address=plan.ray, **options)
        from wherry.bulk import dask

        return dask.job(urls, plan.sink, address=plan.dask or "local", **options)
    except ModuleNotFoundError as exc:
        extra = "dask" if plan.ray is None else "ray"
        raise ModuleNotFoundError(
            f"this needs the extra {extra}: pip install 'wherry[{extra}]'", name=exc.name
        ) from exc
