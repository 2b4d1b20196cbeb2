"""Progress on a terminal: a bar for each file that comes, and one for all of them.

Drawing a screen of bars costs milliseconds, and a fast server ends hundreds of files a second.  So
what is told is only noted, and drawn at most ten times a second; less often where drawing would
take more than a twentieth of the time.  Nothing is drawn where standard error is no terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final, Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wherry.cli import show

_INTERVAL: Final = 0.1  # seconds between two drawings, at least
_SHARE: Final = 20  # drawing takes one part of so many


class _Amount(DownloadColumn):
    """How much has come: of a file its bytes, of all together the files and their bytes."""

    def render(self, task: Task) -> Text:
        if "size" in task.fields:
            files = f"{task.completed:.0f} of {task.total:.0f} files"
            return Text(f"{files}, {decimal(task.fields['size'])}", "progress.download")
        return super().render(task)


class _Speed(ProgressColumn):
    """Bytes a second of a file."""

    def render(self, task: Task) -> Text:
        speed = None if "size" in task.fields else task.finished_speed or task.speed
        return Text(f"{decimal(int(speed))}/s" if speed else "", "progress.data.speed")


class _Still(Progress):
    """It draws when it is told to, and not whenever a row comes or goes."""

    def refresh(self) -> None:
        """Nothing: see `draw`."""

    def draw(self) -> None:
        if not self.disable:
            self.live.refresh()


class Bar:
    """The bar of one file; it shows when the first bytes have come.

    Args:
        bars: Where it is drawn.
        name: The file's name.
    """

    __slots__ = ("_bars", "name", "size", "task", "total")

    def __init__(self, bars: Bars, name: str) -> None:
        self._bars = bars
        self.name: str = name
        self.size: int = 0
        self.total: int | None = None
        self.task: TaskID | None = None

    def advance(self, size: int, total: int | None) -> None:
        """So many bytes are here, of `total` if that is known."""
        self.size, self.total = size, total
        self._bars.changed(self)

    def end(self) -> None:
        """The file is done, or has failed."""
        self._bars.remove(self)


class Bars:
    """Bars on a terminal, as a context manager inside a running event loop.

    Args:
        console: Where they are drawn; standard error by default.
        files: How many files there are to be; None for no bar over all.
        shown: False draws nothing anywhere.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        console: Console | None = None,
        files: int | None = None,
        *,
        shown: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console: Console = show.errors() if console is None else console
        self.drawn: int = 0
        self._clock = clock
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._shown = shown and self.console.is_terminal
        self._open: dict[Bar, None] = {}
        self._done = 0
        self._size = 0
        self._progress = _Still(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Amount(),
            _Speed(),
            TimeRemainingColumn(),
            console=self.console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._shown,
        )
        self._all = (
            None
            if files is None or not self._shown
            else self._progress.add_task("all", total=files, size=0)
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._shown:
            self._note()
        self._shown = False
        with contextlib.suppress(OSError):  # the terminal has gone
            self._progress.stop()

    def bar(self, name: str) -> Bar:
        """A bar for a file."""
        return Bar(self, name)

    def changed(self, bar: Bar) -> None:
        """A file has grown."""
        if self._shown:
            self._open[bar] = None
            self._draw()

    def remove(self, bar: Bar) -> None:
        """A file is not coming any more."""
        self._open.pop(bar, None)
        if bar.task is not None:
            self._progress.remove_task(bar.task)
            bar.task = None

    def file_done(self, size: int) -> None:
        """One file of all is done, with so many bytes."""
        self._done += 1
        self._size += size
        if self._shown:
            self._draw()

    def _draw(self) -> None:
        """Draw, or see that it is done when the time has come."""
        now = self._clock()
        if now < self._next:
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._next - now, self._draw_later)
            return
        self._note()
        try:
            self._progress.draw()
        except OSError:
            self._shown = False  # the terminal has gone, and the downloads go on
        self.drawn += 1
        took = self._clock() - now
        self._next = now + took + max(_INTERVAL, (_SHARE - 1) * took)

    def _draw_later(self) -> None:
        self._timer = None
        if self._shown:
            self._draw()

    def _note(self) -> None:
        """Tell rich what has come since the last time."""
        for bar in self._open:
            if bar.task is None:
                bar.task = self._progress.add_task(show.plain(bar.name), total=None)
            self._progress.update(bar.task, completed=bar.size, total=bar.total)
        if self._all is not None:
            self._progress.update(self._all, completed=self._done, size=self._size)
