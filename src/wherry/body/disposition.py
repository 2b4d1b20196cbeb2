"""The Content-Disposition field: written for parts of a form (RFC 7578), read as RFC 6266 and 2231
say.

Pure functions over strings.  What a peer sends is read leniently where clients do, with a warning;
what is written can never break out of its quotes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from wherry.body.media_types import known_charset
from wherry.protocol.grammar import has_control, is_token, quoted, unescaped

__all__ = (
    "BadContentDispositionHeader",
    "BadContentDispositionParam",
    "content_disposition_filename",
    "content_disposition_header",
    "parse_content_disposition",
)

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Where an item ends, or a value in quotes begins.
_MARK: Final = re.compile(r';|=\s*+"')
# A quote that ends a value: one that no backslash escapes, before a semicolon or the end.
_CLOSING: Final = re.compile(r'(?:[^"\\]++|\\.|"(?!\s*+(?:;|\Z)))*"(?=\s*+(?:;|\Z))', re.DOTALL)
_CONTINUED: Final = re.compile(r"(.+?)\*(\d{1,4})(\*?)\Z")

# The warnings tell nothing of what came: Python remembers each text of a warning for the life of
# the process.
_NOT_UNDERSTOOD: Final = "a Content-Disposition field cannot be understood; it is passed over"
_EMPTY: Final = "a Content-Disposition field has an empty parameter"
_PASSED_OVER: Final = (
    "a parameter of a Content-Disposition field cannot be understood; it is passed over"
)


class BadContentDispositionHeader(RuntimeWarning):
    """A Content-Disposition field cannot be understood."""


class BadContentDispositionParam(RuntimeWarning):
    """A parameter of a Content-Disposition field cannot be understood, and is passed over."""


def content_disposition_header(
    disptype: str, quote_fields: bool = True, _charset: str = "utf-8", **params: str
) -> str:
    r"""The value of a Content-Disposition field.

    Args:
        disptype: "form-data", "attachment" ...
        quote_fields: Percent-encode file names, and use ext-values (RFC 8187) for what else is not
            ASCII but not in a form, where RFC 7578 4.2 has plain UTF-8.  False sends file names as
            UTF-8 too, as browsers do; CR and LF are percent-encoded all the same.
        params: Parameters in order.

    Raises:
        ValueError: The type or a parameter's name is no token.

    >>> content_disposition_header("form-data", name="a", filename="x y.txt")
    'form-data; name="a"; filename="x%20y.txt"'
    >>> content_disposition_header("form-data", False, name="naïve")
    'form-data; name="naïve"'
    """
    if not is_token(disptype or ""):
        raise ValueError(f"not a content disposition type: {disptype!r}")
    pieces = [disptype]
    for name, value in params.items():
        if not is_token(name or ""):
            raise ValueError(f"not a content disposition parameter: {name!r}")
        plain = not quote_fields or (disptype == "form-data" and name.lower() != "filename")
        pieces.append(_parameter(name, value, plain, _charset))
    return "; ".join(pieces)


def _parameter(name: str, value: str, plain: bool, charset: str) -> str:
    if plain:
        # RFC 7578 4.2 and the WHATWG's form submission: line ends cannot stand in a field.  They
        # are encoded.
        text = _CONTROL.sub(lambda match: f"%{ord(match[0]):02X}", value)
        return f"{name}={quoted(text)}"
    if name.lower() == "filename":
        return f'{name}="{quote(value, "", encoding=charset)}"'
    if value.isascii() and not has_control(value):
        return f"{name}={quoted(value)}"
    return f"{name}*={charset}''{quote(value, '', encoding=charset)}"


def parse_content_disposition(header: str | None) -> tuple[str | None, dict[str, str]]:
    """Take the value of a Content-Disposition `header` apart.

    Returns:
        The type in lower case and the parameters; (None, {}) for what cannot be understood.
        Ext-values ("name*") are decoded, continuations ("name*0") are left for
        `content_disposition_filename`.
    """
    if not header:
        return None, {}
    disptype, _, rest = header.partition(";")
    disptype = disptype.strip()
    if not is_token(disptype):
        warnings.warn(BadContentDispositionHeader(_NOT_UNDERSTOOD), stacklevel=2)
        return None, {}
    params: dict[str, str] = {}
    items = _split(rest)
    if not all(item.strip() for item in items):
        # An empty parameter, most often a semicolon at the end.
        warnings.warn(BadContentDispositionHeader(_EMPTY), stacklevel=2)
    for item in items:
        if not item.strip():
            continue
        name, equals, value = item.partition("=")
        name = name.strip().lower()
        if not equals or name in params:
            warnings.warn(BadContentDispositionHeader(_NOT_UNDERSTOOD), stacklevel=2)
            return None, {}
        try:
            params[name] = _parameter_value(name, value.strip())
        except ValueError:
            if "*" in name or not is_token(name):
                warnings.warn(BadContentDispositionParam(_PASSED_OVER), stacklevel=2)
                continue
            warnings.warn(BadContentDispositionHeader(_NOT_UNDERSTOOD), stacklevel=2)
            return None, {}
    return disptype.lower(), params


def _split(text: str) -> list[str]:
    """Split at semicolons outside of quotes.

    A quote counts only where a value begins, and ends only before a semicolon or the end: some
    senders put bare quotes into file names.
    """
    if not text:
        return []
    if '"' not in text:
        return text.split(";")
    items: list[str] = []
    at = start = 0
    closes = True
    while (mark := _MARK.search(text, at)) is not None:
        at = mark.end()
        if mark[0] == ";":
            items.append(text[start : mark.start()])
            start = at
        elif closes:
            closing = _CLOSING.match(text, at)
            if closing is None:
                # Then no later value ends in a quote either: what was read once need not be read
                # again.
                closes = False
            else:
                at = closing.end()
    items.append(text[start:])
    return items


def _parameter_value(name: str, value: str) -> str:
    if not is_token(name):
        raise ValueError(name)
    in_quotes = len(value) >= 2 and value[0] == value[-1] == '"'
    if _CONTINUED.match(name) or not name.endswith("*"):
        if in_quotes:
            text = unescaped(value[1:-1])
            # A path in front of a file name comes from old browsers; its root must not be taken for
            # one.
            return text if _CONTINUED.match(name) else text.lstrip("\\/")
        if not is_token(value):
            raise ValueError(value)
        return value
    # RFC 8187 3.2: charset'language'percent-encoded
    if value.count("'") != 2 or not is_token(value):
        raise ValueError(value)
    return _decode_extended(value)


def _decode_extended(value: str) -> str:
    """Decode ``charset'language'percent-encoded``; ValueError where that cannot be done."""
    charset, _, text = value.split("'", 2)
    known = known_charset(charset or "utf-8")
    if known is None:
        raise ValueError("unknown charset")
    return unquote_to_bytes(text).decode(known)


def content_disposition_filename(params: Mapping[str, str], name: str = "filename") -> str | None:
    """The file name among a Content-Disposition's parameters, put together where it came in parts.

    Args:
        params: As `parse_content_disposition` gives them.
        name: Another parameter of that kind.
    """
    # RFC 6266 4.3: the ext-value comes before the plain one.
    for key in (f"{name}*", name):
        if key in params:
            return params[key]
    parts: dict[int, tuple[str, bool]] = {}
    for key, value in params.items():
        match = _CONTINUED.match(key)
        if match and match[1] == name and match[2] == str(int(match[2])):
            parts[int(match[2])] = (value, bool(match[3]))
    pieces: list[tuple[str, bool]] = []
    while len(pieces) in parts:
        pieces.append(parts[len(pieces)])
    return _join_continued(pieces) if pieces else None


def _join_continued(pieces: list[tuple[str, bool]]) -> str | None:
    """Put continuations together (RFC 2231 4.1): the first tells the charset, and each whether it
    is encoded.
    """
    first, encoded = pieces[0]
    charset = ""
    if encoded and first.count("'") >= 2:
        charset, _, first = first.split("'", 2)
    elif not any(mark for _, mark in pieces):
        return "".join(value for value, _ in pieces)
    known = known_charset(charset or "utf-8")
    if known is None:
        return None
    parts = [_octets(first, encoded)]
    parts += [_octets(value, mark) for value, mark in pieces[1:]]
    try:
        return b"".join(parts).decode(known)
    except ValueError:
        return None


def _octets(value: str, encoded: bool) -> bytes:
    # Bytes that were no UTF-8 came as surrogates, and are what they were again.
    octets = value.encode("utf-8", "surrogateescape")
    return unquote_to_bytes(octets) if encoded else octets
