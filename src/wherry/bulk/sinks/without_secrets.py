"""What of a page is written, for all sinks: URLs and fields without secrets, and JSON.

A request's credentials are no part of what it brought: they are left out, and a URL's user and
password too.  A response's fields are kept as they came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from wherry.bulk.results import Page
from wherry.redaction import is_secret_name

__all__ = ("as_json", "clean", "field_pairs", "json_line", "public_request_fields", "public_url")

# RFC 3986 3.2.1
_USERINFO: Final = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")


def public_url(url: str) -> str:
    """The URL without user and password."""
    return _USERINFO.sub(r"\1", url) if "@" in url else url


def clean(text: str) -> str:
    """The text without what no UTF-8 can say, which stands for bytes that were none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def field_pairs(page: Page) -> list[tuple[str, str]]:
    """The response's fields, in their order; what is no UTF-8 is read as ISO 8859-1."""
    return [(_field_text(name), _field_text(value)) for name, value in page.raw_headers]


def _field_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def public_request_fields(page: Page) -> Iterator[tuple[str, str]]:
    """The request's fields, but for those that hold what lets somebody in."""
    return (pair for pair in page.request_headers.items() if not is_secret_name(pair[0]))


def json_line(row: dict[str, Any], url: str) -> bytes:
    """A line of JSON Lines.

    Raises:
        TypeError: It cannot be JSON.
    """
    text = as_json(row, url)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can say in ASCII only
        return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def as_json(value: Any, url: str) -> str:
    """JSON, without line ends.

    Raises:
        TypeError: It cannot be JSON.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as exc:
        raise TypeError(f"what on_response gave for {public_url(url)} is no JSON: {exc}") from exc
