"""What a run has done so far: a `Report` of counters, and the same as a text file for Prometheus.

Counts only; nothing here knows what is counted.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Report:
    """The counters of a run: of this start only, not of earlier ones with the same checkpoint.

    Args:
        read: URLs that came in, links that were found included.
        known: URLs that an earlier start had done, or that came a second time.
        pages: Pages that are there.
        failed: URLs that failed for good.
        duplicates: Pages whose body was there already.
        requests: Requests that were sent, redirects and further tries included.
        retries: Further tries.
        redirects: Redirects that were followed.
        bytes: Bytes of the bodies, decoded.
        committed: Results that were committed.
        robots_refused: URLs that robots.txt forbids.
        queued: URLs that wait, in memory and on disk.
        spilled: Those of them that are on disk.
        active: URLs that are being fetched.
        hosts: Hosts that are known now.
        statuses: Answers by status code.
        errors: URLs that failed, by the name of the error.
        started: When the run began, in seconds since the epoch.
        seconds: How long it has taken.
    """

    read: int = 0
    known: int = 0
    pages: int = 0
    failed: int = 0
    duplicates: int = 0
    requests: int = 0
    retries: int = 0
    redirects: int = 0
    bytes: int = 0
    committed: int = 0
    robots_refused: int = 0
    queued: int = 0
    spilled: int = 0
    active: int = 0
    hosts: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.time)
    seconds: float = 0.0


COUNTERS = {
    "read": "URLs that came in",
    "known": "URLs that were done before, or came a second time",
    "pages": "pages that are there",
    "failed": "URLs that failed for good",
    "duplicates": "pages whose body was there already",
    "requests": "requests that were sent",
    "retries": "further tries",
    "redirects": "redirects that were followed",
    "bytes": "bytes of the bodies, decoded",
    "committed": "results that were committed",
    "robots_refused": "URLs that robots.txt forbids",
}
GAUGES = {
    "queued": "URLs that wait",
    "spilled": "URLs that wait on disk",
    "active": "URLs that are being fetched",
    "hosts": "hosts that are known now",
    "seconds": "seconds that the run has taken",
}


def prometheus(report: Report) -> str:
    """The counters in Prometheus' text format (version 0.0.4)."""
    lines: list[str] = []

    def metric(name: str, kind: str, text: str, values: list[tuple[str, float]]) -> None:
        full = f"wherry_bulk_{name}" + ("_total" if kind == "counter" else "")
        lines.extend((f"# HELP {full} {text}", f"# TYPE {full} {kind}"))
        lines.extend(f"{full}{labels} {value:.17g}" for labels, value in values)

    for name, text in COUNTERS.items():
        metric(name, "counter", text, [("", getattr(report, name))])
    for name, text in GAUGES.items():
        metric(name, "gauge", text, [("", getattr(report, name))])
    metric(
        "responses",
        "counter",
        "answers by status code",
        [(f'{{status="{status}"}}', count) for status, count in sorted(report.statuses.items())],
    )
    metric(
        "errors",
        "counter",
        "URLs that failed, by the name of the error",
        [(f'{{error="{name}"}}', count) for name, count in sorted(report.errors.items())],
    )
    return "\n".join(lines) + "\n"


def write_prometheus(report: Report, path: Path) -> None:
    """Write the counters where the node exporter's textfile collector reads them: never half.

    Raises:
        OSError: It cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(prometheus(report), "utf-8")
    aside.replace(path)
