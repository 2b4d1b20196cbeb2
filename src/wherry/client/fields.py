"""Response fields that the API gives in parsed form: Content-Disposition and Link."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from multidict import MultiDict, MultiDictProxy
from yarl import URL

from wherry.body.disposition import content_disposition_filename, parse_content_disposition

# RFC 8288 3: <target>; name=value; name="quoted", with commas between links and inside quotes and targets.
_LINK = re.compile(r'\s*<([^>]*)>\s*((?:;\s*(?:[^",;]|"(?:[^"\\]|\\.)*")*)*)\s*(?:,|$)')
_PARAMETER = re.compile(r';\s*([^\s=;,"]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^";,]*)))?')


class ContentDisposition(NamedTuple):
    """A Content-Disposition field (RFC 6266): its type, its parameters, and the file name they mean."""

    type: str | None
    parameters: Mapping[str, str]
    filename: str | None


def parse_content_disposition_field(value: str) -> ContentDisposition:
    kind, parameters = parse_content_disposition(value)
    return ContentDisposition(kind, parameters, content_disposition_filename(parameters))


def parse_links(value: str, base: URL) -> MultiDictProxy[MultiDictProxy[str | URL]]:
    """Link values by relation (RFC 8288); a link without `rel` is kept under its URL.

    Args:
        value: The field's value, several lines joined by commas.
        base: What relative targets are relative to.
    """
    links: MultiDict[MultiDictProxy[str | URL]] = MultiDict()
    for target, rest in _LINK.findall(value):
        link: MultiDict[str | URL] = MultiDict()
        for name, quoted, token in _PARAMETER.findall(rest):
            link.add(name, re.sub(r"\\(.)", r"\1", quoted) or token.strip())
        key = str(link.get("rel", target))
        link.add("url", base.join(URL(target)))
        links.add(key, MultiDictProxy(link))
    return MultiDictProxy(links)
