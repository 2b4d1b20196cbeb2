"""From benchmarks/results.md: the tables in README.md and docs/performance.md, and their plots.

The README has what most readers ask first, and docs/figures.svg the first scenario;
docs/performance.md and docs/benchmarks.svg have everything.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The plot: pixels of a bar, of the names before it, and of the longest one.
BAR, NAMES, LONGEST = 16, 130, 420
EDGE = 10
# Dark letters on a light ground of their own: they are read on a dark page too.
STYLE = (
    "text{font:12px sans-serif;fill:#333}.title{font-weight:bold;fill:#111}"
    ".paper{fill:#fafafa}.own{fill:#1b6f8f}.other{fill:#9fb0b8}"
)
# Whose figures the README has, as far as they are there.
WELL_KNOWN = ("wherry", "pyreqwest", "aiohttp", "curl_cffi", "niquests", "httpx")
_PLACE = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- /figures -->)", re.DOTALL)

Table = list[list[str]]


def tables(text: str) -> list[Table]:
    """The tables of a page, as rows of cells; the first row is the head."""
    found: list[Table] = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in block.splitlines()
        ]
        found.append([row for row in rows if set("".join(row)) - set("-:")])
    return found


def summary(table: Table) -> str:
    """The table for the README: the well-known clients, and the scenarios that nearly all of them
    take part in.
    """
    head, *rows = table
    columns = [0, 1, *(head.index(client) for client in WELL_KNOWN if client in head)]
    lines = [[head[at] for at in columns], ["---"] * len(columns)]
    for title, *cells in ([row[at] for at in columns] for row in rows):
        if cells.count("- / -") < 2:
            lines.append([title, *map(_first_of_each, cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _first_of_each(cell: str) -> str:
    """Of several figures a loop, the first: "11/15, 24, +0.0 / 10/12, 20, +0.0" becomes "11/15 /
    10/12".
    """
    return " / ".join(loop.partition(",")[0] for loop in cell.split(" / "))


def first_number(cell: str) -> float | None:
    """The figure of the first loop in a cell, the p99 where there are two percentiles, None where
    there is none.
    """
    number = re.match(r"([\d.]+)(?:/([\d.]+))?", cell)
    return float(number[2] or number[1]) if number else None


def what_a_bar_is(unit: str) -> str:
    """The unit of a bar: of "p50/p99 ms, us CPU" it is the p99.

    >>> what_a_bar_is("us CPU a request"), what_a_bar_is("p50/p99 ms, us CPU")
    ('us CPU a request', 'p99, ms')
    """
    percentiles = re.match(r"p50/p99 (\w+)", unit)
    return f"p99, {percentiles[1]}" if percentiles else unit.partition(",")[0]


def plot(table: Table) -> str:
    """Bars for each scenario, one a client: the shorter the better."""
    clients = table[0][2:]
    shapes: list[str] = []
    y = 0
    for title, unit, *cells in table[1:]:
        y += 30
        bar = f"{title} ({what_a_bar_is(unit)})"
        shapes.append(f'<text x="{EDGE}" y="{y}" class="title">{escape(bar)}</text>')
        numbers = zip(clients, map(first_number, cells), strict=True)
        bars = [(client, value) for client, value in numbers if value is not None]
        longest = max((value for _, value in bars), default=1.0) or 1.0
        for client, value in bars:
            y += BAR + 2
            width = max(1.0, value / longest * LONGEST)
            kind = "own" if client == "wherry" else "other"
            shapes.append(
                f'<text x="{NAMES - 8}" y="{y}" text-anchor="end">{escape(client)}</text>'
            )
            shapes.append(
                f'<rect x="{NAMES}" y="{y - 11}" width="{width:.1f}" height="{BAR - 3}" '
                f'class="{kind}"/>'
            )
            shapes.append(f'<text x="{NAMES + width + 6:.1f}" y="{y}">{value:g}</text>')
    width, height = NAMES + LONGEST + 80, y + 16
    size = f'viewBox="0 0 {width} {height}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n'
        f'<path d="M0 0h{width}v{height}H0z" class="paper"/>\n'
    )
    return head + "\n".join(shapes) + "\n</svg>\n"


def fill(page: str, content: str) -> str:
    """The page with `content` between its two marks.

    Raises:
        ValueError: It has no such marks.
    """
    filled, count = _PLACE.subn(lambda _: f"\n{content.strip()}\n\n", page)
    if count != 1:
        raise ValueError("the page has no place for figures")
    return filled


def main(root: Path = ROOT) -> None:
    text = (root / "benchmarks" / "results.md").read_text("utf-8").partition("\n")[2]
    table = tables(text)[0]
    (root / "docs" / "benchmarks.svg").write_text(plot(table), "utf-8")
    (root / "docs" / "figures.svg").write_text(plot(table[:2]), "utf-8")
    note = text.partition("|")[0]
    for name, content in (
        (
            "README.md",
            (
                f"![{table[1][0]}, on asyncio: the shorter the better](docs/figures.svg)\n\n"
                f"{note.strip()}\n\n{summary(table)}"
            ),
        ),
        (
            "docs/performance.md",
            f"{text.strip()}\n\n![The same as bars, on asyncio](benchmarks.svg)",
        ),
    ):
        page = root / name
        page.write_text(fill(page.read_text("utf-8"), content), "utf-8")


if __name__ == "__main__":
    main()
