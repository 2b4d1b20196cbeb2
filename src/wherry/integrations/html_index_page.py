"""What an index page lists: the links below its own URL.  Pure; a file system's `ls` uses it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urldefrag, urljoin, urlsplit

from wherry.body.html_start_tags import start_tags

__all__ = ("links_below",)

# In running text: what looks like a URL, without the mark that ends the sentence.
_IN_TEXT: Final = re.compile(r"https?://[-A-Za-z0-9@:%_+.~#?&/=]+")


def links_below(
    page: str, final_url: str, asked: str, *, in_text: bool = True, same_scheme: bool = True
) -> list[str]:
    """The URLs below `asked` that a page names, sorted.

    Args:
        page: HTML.
        final_url: The page's own URL, where redirects led.
        asked: The URL that was asked for: what is found begins with it.
        in_text: Also what looks like a URL in the page's text.
        same_scheme: Not what has another scheme than `asked`.
    """
    hrefs: list[str] = []
    said_base: str | None = None
    for tag, attributes in start_tags(page, {"a", "base"}):
        href = attributes.get("href", "").strip()
        if tag == "a" and href:
            hrefs.append(href)
        elif tag == "base" and said_base is None:
            said_base = href
    base = urljoin(final_url, said_base) if said_base else _folder(final_url)
    links = [urljoin(base, href) for href in hrefs]
    if in_text:
        links += _IN_TEXT.findall(page)
    prefix, own = _folder(asked), _folder(final_url)
    found = set()
    for link in links:
        link = urldefrag(link).url
        for folder in (prefix, own):
            rest = _below(link, folder, same_scheme=same_scheme)
            if rest is not None:
                found.add(_scheme_of(link, prefix) + rest)
                break
    return sorted(found)


def _folder(url: str) -> str:
    """The URL of a folder: a server that shows `/files` lists what is in `/files/`."""
    url = urldefrag(url).url.partition("?")[0]
    return url if url.endswith("/") else f"{url}/"


def _below(link: str, folder: str, *, same_scheme: bool) -> str | None:
    """What of a link follows the folder's URL; None if it is not below it."""
    if not same_scheme:
        link, folder = (text.partition("://")[2] for text in (link, folder))
    if not link.startswith(folder):
        return None
    rest = link[len(folder) :]
    # `?C=N;O=D` sorts the page; ".." was resolved, and what is left of it would lead upwards.
    if not rest or rest.startswith("?") or ".." in rest.partition("?")[0].split("/"):
        return None
    return rest


def _scheme_of(link: str, prefix: str) -> str:
    return f"{urlsplit(link).scheme}://{prefix.partition('://')[2]}"
