"""Links of pages, the line on a terminal, and the example that crawls."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console
from tests.bulk.site import answer
from tests.bulk.test_results import page

from wherry.bulk import links_of, links_within_host
from wherry.bulk.progress_bar import Bar
from wherry.bulk.report import Report

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("html", "links"),
    [
        ('<a href="/x">', ["http://a.test/x"]),
        ("<A HREF=' y#top '>z</A><area href=y>", ["http://a.test/d/y"]),
        ('<a href="//b.test">', ["http://b.test/"]),
        ('<a rel="me nofollow" href="/x"><a href="mailto:a@b"><a href="javascript:x"><a>', []),
        ('<base href="https://c.test/e/"><a href="x">', ["https://c.test/e/x"]),
        ('<base href="ftp://c.test/"><a href="x">', ["http://a.test/d/x"]),
        ('<a href="http://[::1"><a href="">', []),
        (
            '<base href="http://[::1]:43@/"><a href="http://[::1]:43@/"><a href="/x">',
            ["http://a.test/x"],
        ),
        ("<a href='&#47;%7e?a=1&amp;b'>", ["http://a.test/~?a=1&b"]),
        ("<!-- <a href=/x> --><script><a href=/y></script>", []),
        ("<a href=/x", []),
    ],
)
def test_links(html, links):
    assert links_of(page("http://a.test/d/page", html.encode())) == links


def test_links_within_the_host_of_the_page():
    found = page("http://a.test/", b"<a href=/x><a href=http://b.test/y><a href=https://a.test/z>")
    assert links_within_host(found) == ["http://a.test/x", "https://a.test/z"]


def test_what_is_not_html_has_no_links():
    text = page("http://a.test/", b"<a href=/x>")
    from multidict import CIMultiDict, CIMultiDictProxy

    text.headers = CIMultiDictProxy(CIMultiDict({"content-type": "text/plain; charset=utf-8"}))
    assert links_of(text) == []


def test_a_line_says_how_it_goes():
    terminal = Console(file=io.StringIO(), force_terminal=True, width=200)
    with Bar(10, terminal) as bar:
        bar(Report(pages=3, failed=1, bytes=2000, active=2, seconds=1.0))
    assert "3 pages, 2.0 kB, 3/s, 1 failed, 2 under way" in terminal.file.getvalue()
    nothing = Console(file=io.StringIO())
    with Bar(console=nothing) as bar:
        bar(Report())
    assert nothing.file.getvalue() == ""


PAGES = 2000


def tree(asked) -> bytes:
    """A page with the links of its children in a tree, and one that robots.txt forbids."""
    number = int(asked.path[1:] or 0)
    links = "".join(f"<a href='/{child}'>" for child in (2 * number + 1, 2 * number + 2))
    return answer(
        f"<html>{links}<a href=/private/{number}>".encode(), "200 OK", "Content-Type: text/html"
    )


async def test_the_example_crawls_2000_pages_and_goes_on_after_a_kill(site, tmp_path):
    site.scripts = {f"/{number}": tree for number in ["", *range(2 * PAGES + 5)]}
    site.scripts["/robots.txt"] = answer(b"User-agent: *\nDisallow: /private/")
    environ = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "crawler.py")]
    command += [f"http://127.0.0.1:{site.port}/", f"jsonl:{tmp_path / 'pages'}", "100000"]

    async def crawl() -> tuple[int | None, bytes]:
        nonlocal process
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=environ, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        return process.returncode, said

    process: asyncio.subprocess.Process | None = None
    reply, left = site.reply, 700

    async def reply_and_kill(asked):
        nonlocal left
        left -= 1
        if left == 0 and process is not None:
            process.kill()
        return await reply(asked)

    site.reply = reply_and_kill
    assert (await crawl())[0] == -9
    status, said = await crawl()
    assert (status, b"pages" in said) == (0, True)
    urls = [
        json.loads(line)["url"]
        for path in tmp_path.glob("pages/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len(urls) == len(set(urls)) == PAGES
    assert not [path for path in site.paths() if "private" in path]
    assert site.paths().count("/robots.txt") == 2
