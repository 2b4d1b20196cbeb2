"""A line on a terminal that says how a run goes: `Fetcher(progress=Bar())`.  Needs rich."""

from __future__ import annotations

import contextlib
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from wherry.bulk.report import Report


class Bar:
    """Draws a report whenever it is called with one; as a context manager it leaves the last line.

    Args:
        total: How many URLs there are; None where nobody knows.
        console: Where it is drawn, by default standard error.  Nothing is where that is no
            terminal.
    """

    def __init__(self, total: int | None = None, console: Console | None = None) -> None:
        console = Console(stderr=True) if console is None else console
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the terminal has gone
            self._progress.stop()

    def __call__(self, report: Report) -> None:
        """Draw a report."""
        done = report.pages + report.failed + report.known
        parts = [f"{report.pages} pages", decimal(report.bytes)]
        if report.seconds:
            parts.append(f"{report.pages / report.seconds:.0f}/s")
        if report.failed:
            parts.append(f"{report.failed} failed")
        parts += [f"{report.active} under way", f"{report.queued} wait", f"{report.hosts} hosts"]
        self._progress.update(self._task, completed=done, description=", ".join(parts))
        with contextlib.suppress(OSError):
            self._progress.refresh()
