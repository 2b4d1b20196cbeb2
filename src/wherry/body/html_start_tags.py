"""The start tags of an HTML page: what a page links to stands in them.

Not a parser of HTML: no tree comes of it.  `html.parser` of several Pythons takes time that grows
with the square of a hostile page, and this reads each character a bounded number of times.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator
from typing import Final

__all__ = ("start_tags",)

# A longer tag is none: whoever reads pages of others keeps no more of them than that.
_LONGEST_TAG: Final = 1 << 16
_NAME: Final = re.compile(r"[a-zA-Z][^\s/>]*")
_SPACE: Final = re.compile(r"[\s/]*")
# One attribute's name; an equals sign may be its first character (HTML 13.2.5.32).
_ATTRIBUTE: Final = re.compile(r"=?[^\s/>=]*")
_EQUALS: Final = re.compile(r"\s*=\s*")
_UNQUOTED: Final = re.compile(r"[^\s>]*")
# Elements whose contents are text up to their end tag, whatever it looks like.
_TEXT: Final = frozenset({"script", "style"})


def start_tags(page: str, names: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(name, attributes) of each start tag of a page that has one of these names.

    Names are in lower case, and of an attribute that is there twice the first counts.  What is in
    comments, scripts and style sheets is passed over, and so is a tag that does not end.

    Args:
        page: HTML.
        names: The names, in lower case.
    """
    # Lower case may be longer than what it is of: only ASCII's letters are changed.
    position, folded = 0, None
    while (position := page.find("<", position)) >= 0:
        position += 1
        found = _NAME.match(page, position, position + _LONGEST_TAG)
        if found is None:
            position = _behind_markup(page, position)
            continue
        name = found[0].lower()
        position, attributes = _attributes(page, found.end(), position + _LONGEST_TAG)
        if attributes is None:
            continue
        if name in names:
            yield name, attributes
        if name in _TEXT:
            folded = page.translate(_LOWER) if folded is None else folded
            end = folded.find(f"</{name}", position)
            position = len(page) if end < 0 else end


_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _behind_markup(page: str, position: int) -> int:
    """Where to go on behind a `<` that no start tag begins with."""
    if page.startswith(("!-->", "!--->"), position):
        return page.index(">", position)
    if page.startswith("!--", position):
        end = page.find("-->", position + 3)
    elif page.startswith(("!", "?", "/"), position):
        end = page.find(">", position)
    else:
        return position
    # What does not end goes on to the end of the page (HTML 13.2.5.44).
    return len(page) if end < 0 else end


def _attributes(page: str, position: int, limit: int) -> tuple[int, dict[str, str] | None]:
    """(where the tag ends, its attributes), from behind its name; None if it does not end."""
    said: dict[str, str] = {}
    limit = min(limit, len(page))
    while True:
        position = _end(_SPACE, page, position, limit)
        if position >= limit:
            return limit, None
        if page[position] == ">":
            return position + 1, said
        start = position
        position = _end(_ATTRIBUTE, page, position, limit)
        name, value = page[start:position].lower(), ""
        equals = _EQUALS.match(page, position, limit)
        if equals is not None:
            position = equals.end()
            quote = page[position : position + 1]
            if quote in {'"', "'"}:
                start, position = position + 1, page.find(quote, position + 1, limit)
                if position < 0:
                    return limit, None
                value = page[start:position]
                position += 1
            else:
                start, position = position, _end(_UNQUOTED, page, position, limit)
                value = page[start:position]
        said.setdefault(name, _unescaped(value))


def _unescaped(value: str) -> str:
    try:
        return html.unescape(value)
    except ValueError:  # a character's number of thousands of digits
        return value


def _end(pattern: re.Pattern[str], page: str, position: int, limit: int) -> int:
    found = pattern.match(page, position, limit)
    return position if found is None else found.end()
