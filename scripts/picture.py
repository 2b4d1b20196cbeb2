"""Writes docs/demo.svg: the terminal after ``make demo``, as the README shows it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from wherry.cli import demo, show

PICTURE = Path(__file__).parents[1] / "docs" / "demo.svg"


@contextlib.contextmanager
def no_bars() -> Iterator[Any]:
    yield SimpleNamespace(add_task=lambda *_, **__: 0, update=lambda *_, **__: None)


def main() -> None:
    console = Console(record=True, width=112, highlight=False, force_terminal=True)
    demo.Console = lambda **_: console  # type: ignore[assignment,misc]
    show.progress_bars = no_bars  # type: ignore[assignment]
    console.print("$ make demo", style="bold")
    asyncio.run(demo.run_demo(None, None, None))
    # The picture must not fetch its letters from a third party.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", console.export_svg(title="wherry"), flags=re.DOTALL)
    PICTURE.write_text(svg.replace("Fira Code", "ui-monospace, DejaVu Sans Mono"), "utf-8")


if __name__ == "__main__":
    main()
