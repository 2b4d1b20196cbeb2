"""The grammar that header fields share (RFC 9110 5.5, 5.6): tokens, strings, parameters, lists.

Pure, and linear in what it is given: a repetition of characters is possessive, and of a group's
alternatives no two begin alike, so nothing is read twice.  (A possessive group would say so better,
but Python 3.11.0 to 3.11.4 match it wrongly.)  It knows no field by its name; what a field means,
and how lenient its reader is, belongs to the room that reads it.  Cookies have a grammar of their
own (RFC 6265bis 5.6: no quoted strings, dates in any form) and take only `has_control` from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

# RFC 9110 5.6.2: what a token is made of, for use inside of a character class.
LOWER_TCHAR = r"!#$%&'*+\-.^_`|~0-9a-z"
TCHAR = f"{LOWER_TCHAR}A-Z"

_is_token = re.compile(f"[{TCHAR}]+").fullmatch
_is_token_bytes = re.compile(f"[{TCHAR}]+".encode()).fullmatch
# RFC 9110 5.5: a value has no control character but the tab.  CR, LF and NUL would end the field.
_has_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_has_control_bytes = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_BLANKS = re.compile(r"[ \t]*+")
_EQUALS = re.compile(r"[ \t]*+=[ \t]*+")
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_SPECIAL = re.compile(r'(["\\])')

# A token at a place in a text.
match_token: Final = re.compile(f"[{TCHAR}]++").match
# RFC 9110 5.6.4: a quoted string at a place in a text; group 1 is what stands in it, escaped still.
# HTTP/2 lets control characters through: who sends back what stands here asks `has_control` first.
match_quoted: Final = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*)"', re.DOTALL).match

# An element up to the separator that is in no quoted string; a string without its end takes all.
_STRING = r'"(?:[^"\\]++|\\.?)*(?:"|\Z)'
_ELEMENTS = {
    separator: re.compile(rf'(?:[^{separator}"]++|{_STRING})*', re.DOTALL).match
    for separator in (",", ";")
}
# In Link (RFC 8288 3) a target in angle brackets is one piece as well.
_LINKS = {
    separator: re.compile(rf'(?:[^{separator}"<]++|{_STRING}|<[^>]*+(?:>|\Z))*', re.DOTALL).match
    for separator in (",", ";")
}
# No date that anybody sends is longer, with a comment that names its zone.
_LONGEST_DATE = 100


def is_token(text: str) -> bool:
    """Whether `text` is a token (RFC 9110 5.6.2): a method, a field's name, a parameter's name."""
    return _is_token(text) is not None


def is_token_bytes(data: bytes) -> bool:
    """Whether `data` is a token."""
    return _is_token_bytes(data) is not None


def has_control(text: str) -> bool:
    """Whether `text` has a character that no field's value may have (RFC 9110 5.5)."""
    return _has_control(text) is not None


def has_control_bytes(data: bytes) -> bool:
    """Whether `data` has a byte that no field's value may have."""
    return _has_control_bytes(data) is not None


def quoted(text: str) -> str:
    """`text` as a quoted string (RFC 9110 5.6.4); it must have no control characters.

    >>> quoted('a"b')
    '"a\\\\"b"'
    """
    return f'"{_SPECIAL.sub(_backslash, text)}"'


def _backslash(match: re.Match[str]) -> str:
    return f"\\{match[1]}"


def unescaped(text: str) -> str:
    """What stands in a quoted string, its quoted pairs undone.

    A backslash at the very end escapes nothing, and goes.
    """
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def read_string(text: str, at: int) -> tuple[str, int] | None:
    """(the value of the quoted string that begins at `at`, the place after it); None where none is
    there.
    """
    found = match_quoted(text, at)
    return None if found is None else (unescaped(found[1]), found.end())


def skip_blanks(text: str, at: int) -> int:
    """The place after optional white space (RFC 9110 5.6.3)."""
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def skip_equals(text: str, at: int) -> int | None:
    """The place after an equals sign and the blanks round it, which senders should not write; None
    where none is.
    """
    found = _EQUALS.match(text, at)
    return None if found is None else found.end()


def split(text: str, separator: str, *, links: bool = False) -> list[str]:
    """`text` in pieces at the separators that are in no quoted string, as `str.split` gives them.

    Args:
        text: A field's value.
        separator: "," or ";".
        links: Whether what stands in angle brackets is kept together too (RFC 8288 3).
    """
    if '"' not in text and not (links and "<" in text):
        return text.split(separator)
    element = (_LINKS if links else _ELEMENTS)[separator]
    items: list[str] = []
    at, size = 0, len(text)
    while True:
        found = element(text, at)
        end = at if found is None else found.end()
        items.append(text[at:end])
        if end >= size:
            return items
        at = end + 1


def elements(values: Iterable[str]) -> list[str]:
    """The elements of a field that is a list (RFC 9110 5.6.1), over all its lines; empty ones are
    passed over.
    """
    return [item for value in values for part in split(value, ",") if (item := part.strip(" \t"))]


def read_parameters(text: str, at: int) -> tuple[list[tuple[str, str | None]], int]:
    """The parameters that begin at `at`, each after a semicolon (RFC 9110 5.6.6), and the place
    after the last one.

    A parameter without a value has None.  Reading ends where the grammar does: whoever calls sees
    what is there.
    """
    found: list[tuple[str, str | None]] = []
    while True:
        start = skip_blanks(text, at)
        if not text.startswith(";", start):
            return found, at
        name = match_token(text, skip_blanks(text, start + 1))
        if name is None:
            return found, at
        end = name.end()
        value = None
        after = skip_equals(text, end)
        if after is not None:
            string = read_string(text, after)
            token = match_token(text, after) if string is None else None
            if string is not None:
                value, end = string
            elif token is not None:
                value, end = token[0], token.end()
            else:
                return found, at
        at = end
        found.append((name[0], value))


def decimal(text: str | None, most: int) -> int | None:
    """The number that `text` is, `most` if it is larger; None where it is no number.

    A number is ASCII digits and nothing else (1*DIGIT).  `int` takes signs, blanks, underscores and
    the digits of every script, and refuses thousands of them.

    >>> decimal("0012", 100), decimal("9" * 5000, 100), decimal("²", 100), decimal("+1", 100)
    (12, 100, None, None)
    """
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    return most if len(digits) > len(str(most)) else min(int(digits), most)


def http_date(text: str | None) -> float | None:
    """An HTTP-date (RFC 9110 5.6.7) in seconds since 1970.

    None where it is none, or names a moment that no calendar has.
    """
    if text is None or len(text) > _LONGEST_DATE or not text.isascii():
        return None
    try:
        found = parsedate_to_datetime(text)
        # RFC 9110 5.6.7: asctime's form names no zone, and means UTC.
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
