"""The links of an HTML page, for `Fetcher(follow=links_of)`.

A plain function of a page, which can be pickled, so that it may run in other processes.
"""

from __future__ import annotations

from typing import Final

from yarl import URL

from wherry.body.html_start_tags import start_tags
from wherry.bulk.hosts import joined
from wherry.bulk.results import Page

_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})


def links_of(page: Page) -> list[str]:
    """The http and https links of an HTML page, each once, without fragments; none of another page.

    What says `rel="nofollow"` is left out.

    Args:
        page: The page; relative links are relative to its `final_url`, or to its `<base>`.
    """
    kind = page.headers.get("Content-Type", "text/html").partition(";")[0].strip().lower()
    if kind not in _HTML:
        return []
    said_base, hrefs = _hrefs(page.text())
    base = URL(page.final_url)
    links: dict[str, None] = {}
    for href in [said_base or "", *hrefs]:
        link = joined(base, href)
        if link is None:
            continue  # a person wrote it
        if href is said_base:
            base = URL(link)
        elif href:
            links[link] = None
    return list(links)


def _hrefs(text: str) -> tuple[str | None, list[str]]:
    """(what `<base>` says, what may be followed)."""
    base: str | None = None
    found = []
    for tag, attributes in start_tags(text, {"a", "area", "base"}):
        href = attributes.get("href")
        if href is None:
            continue
        if tag == "base":
            base = href.strip() if base is None else base
        elif "nofollow" not in attributes.get("rel", "").lower().split():
            found.append(href.strip())
    return base, found


def links_within_host(page: Page) -> list[str]:
    """Those of `links_of` that lead to the host that the page is of.

    Args:
        page: The page.
    """
    host = URL(page.final_url).raw_host
    return [link for link in links_of(page) if URL(link).raw_host == host]
