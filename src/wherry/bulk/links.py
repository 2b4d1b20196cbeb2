"""The links of an HTML page, for `Fetcher(follow=links_of)`.

A plain function of a page, which can be pickled, so that it may run in other processes.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

from yarl import URL

from wherry.bulk.hosts import joined
from wherry.bulk.results import Page

_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base: str | None = None
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"a", "area", "base"}:
            return
        said = dict(attrs)
        href = said.get("href")
        if href is None:
            return
        if tag == "base":
            if self.base is None:
                self.base = href.strip()
        elif "nofollow" not in (said.get("rel") or "").lower().split():
            self.found.append(href.strip())


def links_of(page: Page) -> list[str]:
    """The http and https links of an HTML page, each once, without fragments; none of another page.

    What says `rel="nofollow"` is left out.

    Args:
        page: The page; relative links are relative to its `final_url`, or to its `<base>`.
    """
    kind = page.headers.get("Content-Type", "text/html").partition(";")[0].strip().lower()
    if kind not in _HTML:
        return []
    parser = _Links()
    parser.feed(page.text())
    parser.close()
    base = URL(page.final_url)
    links: dict[str, None] = {}
    for href in [parser.base or "", *parser.found]:
        link = joined(base, href)
        if link is None:
            continue  # a person wrote it
        if href is parser.base:
            base = URL(link)
        elif href:
            links[link] = None
    return list(links)


def links_within_host(page: Page) -> list[str]:
    """Those of `links_of` that lead to the host that the page is of.

    Args:
        page: The page.
    """
    host = URL(page.final_url).raw_host
    return [link for link in links_of(page) if URL(link).raw_host == host]
