"""Response fields that the API gives in parsed form: Content-Disposition and Link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from multidict import MultiDict, MultiDictProxy
from yarl import URL

from wherry.body.disposition import content_disposition_filename, parse_content_disposition

# RFC 9110 5.6.4: a quoted string; the other quotes are such by no rule, and yet there are servers that write them.
_QUOTED = re.compile(r"(?s)([\"'])(.*)\1\Z")


class ContentDisposition(NamedTuple):
    """A Content-Disposition field (RFC 6266): its type, its parameters, and the file name they mean."""

    type: str | None
    parameters: Mapping[str, str]
    filename: str | None


def parse_content_disposition_field(value: str) -> ContentDisposition:
    kind, parameters = parse_content_disposition(value)
    return ContentDisposition(kind, MappingProxyType(parameters), content_disposition_filename(parameters))


def parse_links(values: Iterable[str], base: URL) -> MultiDictProxy[MultiDictProxy[str | URL]]:
    """Link values by relation (RFC 8288 3); a link without `rel` is kept under its URL.

    Args:
        values: The field's lines.
        base: What relative targets are relative to.
    """
    links: MultiDict[MultiDictProxy[str | URL]] = MultiDict()
    for value in values:
        for item in _split(value, ","):
            target, closed, rest = item.strip().partition(">")
            if not target.startswith("<") or not closed:
                continue
            link: MultiDict[str | URL] = MultiDict()
            for parameter in _split(rest, ";")[1:]:
                name, _, text = parameter.partition("=")
                if name.strip():
                    link.add(name.strip().lower(), _unquoted(text.strip()))
            key = str(link.get("rel") or target[1:])
            try:
                link.add("url", base.join(URL(target[1:])))
            except ValueError:
                continue  # no URL, no link
            links.add(key, MultiDictProxy(link))
    return MultiDictProxy(links)


def _split(text: str, separator: str) -> list[str]:
    """Split at separators that are in no quoted string and in no target; one pass, whatever a server sends."""
    items: list[str] = []
    start = 0
    until = ""  # what ends the string or the target that the place is in
    escaped = False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif until:
            escaped = char == "\\" and until == '"'
            until = "" if char == until else until
        elif char == separator:
            items.append(text[start:at])
            start = at + 1
        elif char in '"<':
            until = '"' if char == '"' else ">"
    items.append(text[start:])
    return items


def _unquoted(text: str) -> str:
    quoted = _QUOTED.match(text)
    return re.sub(r"\\(.)", r"\1", quoted[2]) if quoted is not None else text
