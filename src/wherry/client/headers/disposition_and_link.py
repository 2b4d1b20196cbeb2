"""Response fields that the API gives in parsed form: Content-Disposition and Link."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from multidict import MultiDict, MultiDictProxy
from yarl import URL

from wherry.body.disposition import content_disposition_filename, parse_content_disposition
from wherry.client.origin import url_of
from wherry.protocol.grammar import split, unescaped


class ContentDisposition(NamedTuple):
    """A Content-Disposition field (RFC 6266): its type, its parameters, and the file name they
    mean.
    """

    type: str | None
    parameters: Mapping[str, str]
    filename: str | None


def parse_content_disposition_field(value: str) -> ContentDisposition:
    kind, parameters = parse_content_disposition(value)
    return ContentDisposition(
        kind, MappingProxyType(parameters), content_disposition_filename(parameters)
    )


def parse_links(values: Iterable[str], base: URL) -> MultiDictProxy[MultiDictProxy[str | URL]]:
    """Link values by relation (RFC 8288 3); a link without `rel` is kept under its URL.

    Args:
        values: The field's lines.
        base: What relative targets are relative to.
    """
    links: MultiDict[MultiDictProxy[str | URL]] = MultiDict()
    for value in values:
        for item in split(value, ",", links=True):
            target, closed, rest = item.strip().partition(">")
            if not target.startswith("<") or not closed:
                continue
            link: MultiDict[str | URL] = MultiDict()
            for parameter in split(rest, ";", links=True)[1:]:
                name, _, text = parameter.partition("=")
                name = name.strip().lower()
                if name and name != "url":  # that one is the target, whatever a server calls so
                    link.add(name, _unquoted(text.strip()))
            key = str(link.get("rel") or target[1:])
            try:
                link.add("url", url_of(target[1:], base))
            except ValueError:
                continue  # no URL, no link
            links.add(key, MultiDictProxy(link))
    return MultiDictProxy(links)


def _unquoted(text: str) -> str:
    # Single quotes are none by any rule (RFC 9110 5.6.4), and yet there are servers that write
    # them.
    if len(text) > 1 and text[0] in "\"'" and text[-1] == text[0]:
        return unescaped(text[1:-1])
    return text
