"""Media types and character sets: what a Content-Type header says, and what a byte order mark says.

Pure functions over strings and bytes.  Which encoding a response's text is in is decided in the client room.
"""

from __future__ import annotations

import codecs
import functools
from typing import NamedTuple

from multidict import MultiDict, MultiDictProxy

__all__ = ("MimeType", "bom_encoding", "is_json_type", "known_charset", "parse_mimetype", "text_type")

# The longer marks first: UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class MimeType(NamedTuple):
    """A media type in its parts: ``type/subtype+suffix; parameters``, names in lower case."""

    type: str
    subtype: str
    suffix: str
    parameters: MultiDictProxy[str]

    @property
    def essence(self) -> str:
        """``type/subtype+suffix`` without the parameters."""
        return f"{self.type}/{self.subtype}{'+' if self.suffix else ''}{self.suffix}"


@functools.lru_cache(maxsize=256)
def parse_mimetype(value: str) -> MimeType:
    """Take a Content-Type value apart (RFC 9110 8.3.1); what does not look like one gives empty parts.

    >>> parsed = parse_mimetype('application/problem+json; charset="utf-8"')
    >>> parsed.type, parsed.subtype, parsed.suffix, parsed.parameters["charset"]
    ('application', 'problem', 'json', 'utf-8')
    """
    essence, _, rest = value.partition(";")
    essence = essence.strip().lower()
    if essence == "*":
        essence = "*/*"
    main, _, sub = essence.partition("/")
    sub, _, suffix = sub.partition("+")
    parameters: MultiDict[str] = MultiDict()
    for item in _split_parameters(rest):
        name, _, text = item.partition("=")
        name = name.strip().lower()
        if name:
            parameters.add(name, _unquote(text.strip()))
    return MimeType(main, sub, suffix, MultiDictProxy(parameters))


def _split_parameters(text: str) -> list[str]:
    """Split at the semicolons that are in no quoted string."""
    if '"' not in text:
        return text.split(";") if text else []
    items: list[str] = []
    start = 0
    quoted = escaped = False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\" and quoted:
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == ";" and not quoted:
            items.append(text[start:at])
            start = at + 1
    items.append(text[start:])
    return items


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text
    text = text[1:-1] if text.endswith('"') and len(text) > 1 else text[1:]
    if "\\" not in text:
        return text
    chars: list[str] = []
    escaped = False
    for char in text:
        if char == "\\" and not escaped:
            escaped = True
        else:
            chars.append(char)
            escaped = False
    return "".join(chars)


@functools.lru_cache(maxsize=256)
def known_charset(name: str | None) -> str | None:
    """The name by which Python knows a text encoding, or None if it knows none of that name."""
    if not name:
        return None
    try:
        info = codecs.lookup(name.strip(" '\""))
        # Codecs such as "base64" or "rot13" are no text encodings: bytes.decode() refuses them, if not for b"".
        b"a".decode(info.name, "replace")
    except (LookupError, ValueError):
        return None
    return info.name


def text_type(content_type: str | None, encoding: str | None) -> tuple[str, str]:
    """(content type, encoding) of a text that is sent; what is not said follows from the other, or is UTF-8."""
    if encoding is None:
        encoding = "utf-8"
        if content_type is not None:
            encoding = parse_mimetype(content_type).parameters.get("charset", encoding)
    if content_type is None:
        content_type = f"text/plain; charset={encoding}"
    return content_type, encoding


def bom_encoding(body: bytes) -> str | None:
    """The encoding that a byte order mark at the start of `body` tells; decoding with it drops the mark."""
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return encoding
    return None


@functools.lru_cache(maxsize=256)
def is_json_type(content_type: str) -> bool:
    """Whether it is ``application/json``, or of any type with the ``+json`` suffix (RFC 6839 3.1)."""
    parsed = parse_mimetype(content_type)
    if parsed.suffix:
        return parsed.suffix.rpartition("+")[2] == "json"  # RFC 6838 4.2.8: what follows the last plus
    return parsed.type == "application" and parsed.subtype == "json"
