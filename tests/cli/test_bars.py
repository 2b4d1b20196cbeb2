"""Progress bars: how often they are drawn, what they show, and what they cost."""

from __future__ import annotations

import asyncio
import io
import re

from rich.console import Console

from wherry.cli.progress_bars import Bars


class Clock:
    """A clock that stands still between two steps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Screen(io.StringIO):
    """A terminal that takes its time to draw."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock = clock
        self.seconds = seconds

    def write(self, text: str) -> int:
        self.clock.now += self.seconds
        return super().write(text)


def terminal(file: io.StringIO) -> Console:
    return Console(file=file, force_terminal=True, width=100, height=30, color_system=None)


async def fetch(bars: Bars, clock: Clock, files: int, step: float) -> None:
    """Many small files, one after the other."""
    for number in range(files):
        bar = bars.bar(f"file-{number}")
        for size in (1000, 2000):
            bar.advance(size, 2000)
            clock.now += step
        bar.end()
        bars.file_done(2000)


async def test_they_are_drawn_ten_times_a_second_at_most():
    clock = Clock()
    with Bars(terminal(io.StringIO()), 5000, clock=clock) as bars:
        await fetch(bars, clock, 5000, 0.0001)  # a second of them
    assert 5 <= bars.drawn <= 11


async def test_drawing_takes_a_twentieth_of_the_time_at_most():
    """A slow terminal is drawn on less often."""
    clock = Clock()
    screen = Screen(clock, 0.05)
    with Bars(terminal(screen), 20_000, clock=clock) as bars:
        began = clock.now
        before = bars.drawn
        await fetch(bars, clock, 20_000, 0.001)
        passed = clock.now - began
    assert bars.drawn - before >= 3
    idle = 20_000 * 2 * 0.001
    assert passed - idle <= passed / 10


async def test_what_is_told_between_two_drawings_is_drawn_soon():
    """The last thing that was told is not left out while a server is silent."""
    screen = io.StringIO()
    with Bars(terminal(screen), 2) as bars:
        bars.file_done(10)
        bars.file_done(20)
        drawn = asyncio.Event()
        draw = bars._progress.draw

        def tell() -> None:
            draw()
            drawn.set()

        bars._progress.draw = tell
        await asyncio.wait_for(drawn.wait(), 10)
        assert "2 of 2 files, 30 bytes" in screen.getvalue()


async def test_the_bar_over_all_shows_files_done_of_files_known():
    clock, screen = Clock(), io.StringIO()
    with Bars(terminal(screen), 500, clock=clock) as bars:
        for _ in range(125):
            bars.file_done(1_000_000)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).strip().split("all ")[-1]
    assert "125 of 500 files, 125.0 MB" in last
    # A quarter of forty letters.
    assert last.split(" ")[0] == "\u2501" * 10


async def test_a_bar_comes_with_the_first_bytes_and_goes_with_its_file():
    clock, screen = Clock(), io.StringIO()
    with Bars(terminal(screen), 2, clock=clock) as bars:
        waits, comes = bars.bar("waits"), bars.bar("comes[red]\x1b[31m")
        comes.advance(1, None)
        assert "waits" not in screen.getvalue()
        assert "comes[red]\ufffd[31m" in screen.getvalue()
        comes.end()
        comes.end()
        waits.end()
        clock.now += 10
        bars.file_done(1)
        assert len(bars._progress.tasks) == 1


async def test_nothing_is_drawn_where_there_is_no_terminal():
    screen = io.StringIO()
    with Bars(Console(file=screen), 3) as bars:
        await fetch(bars, Clock(), 3, 0)
    assert screen.getvalue() == ""
    assert bars.drawn == 0


class Gone(io.StringIO):
    """A terminal that hangs up."""

    hung_up = False

    def write(self, text: str) -> int:
        if self.hung_up:
            raise OSError(5, "Input/output error")
        return super().write(text)


async def test_a_terminal_that_has_gone_ends_nothing():
    clock, screen = Clock(), Gone()
    with Bars(terminal(screen), 3, clock=clock) as bars:
        screen.hung_up = True
        clock.now += 10
        await fetch(bars, clock, 3, 1)
