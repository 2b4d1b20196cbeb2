"""What a cache reads in header fields: directives, ages and dates; and the response that it keeps.

Pure functions and values.  What cannot be read counts as absent or as stale, and raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping

from wherry.protocol.grammar import decimal, elements, match_token, read_string
from wherry.types import RawHeaders

Headers = MultiMapping[str]

# Real servers leave quotes out where a token would not do.
_BARE = re.compile(r"[^\s,;]*+")
# RFC 9111 1.2.2: larger numbers count as this one.
FOREVER = 2**31

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = "|".join(_MONTHS)
_TIME = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
# RFC 9110 5.6.7: three forms, and no other, though in any case.
# (form, the groups of day, month, year, hour, minute, second)
_DATES = (
    (
        re.compile(
            rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{{2}}) ({_MONTH}) ([0-9]{{4}}) {_TIME} GMT",
            re.IGNORECASE,
        ),
        (1, 2, 3, 4, 5, 6),
    ),
    (
        re.compile(
            r"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday), "
            rf"([0-9]{{2}})-({_MONTH})-([0-9]{{2}}) {_TIME} GMT",
            re.IGNORECASE,
        ),
        (1, 2, 3, 4, 5, 6),
    ),
    (
        re.compile(
            rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ({_MONTH}) ([0-9]{{2}}| [0-9]) {_TIME} ([0-9]{{4}})",
            re.IGNORECASE,
        ),
        (2, 1, 6, 3, 4, 5),
    ),
)
# A year of two digits from here on is one of the last century.
_CENTURY_TURNS = 69


class StoredResponse(NamedTuple):
    """A response that is kept.

    Args:
        status: The status code; 206 for a part, whose Content-Range is among the fields.
        reason: The reason phrase.
        headers: The fields, without those that belong to one exchange.
        body: The content, its codings undone.
        asked_at: When the request was sent.
        came_at: When the response arrived.
        variant: What of the request selected it: lower-case names of fields, and hashes of their
            values.  Names that begin with a colon stand for what is no field (`cache_key`).
    """

    status: int
    reason: str
    headers: RawHeaders
    body: bytes
    asked_at: float
    came_at: float
    variant: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}, {len(self.body)} bytes>"

    def fields(self) -> CIMultiDictProxy[str]:
        """The header fields by name."""
        return fields_of(self.headers)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return (
            len(self.body) + sum(len(name) + len(value) + 64 for name, value in self.headers) + 512
        )


def fields_of(raw: RawHeaders) -> CIMultiDictProxy[str]:
    """Header fields by name."""
    return CIMultiDictProxy(
        CIMultiDict([(name.decode("latin-1"), _text(value)) for name, value in raw])
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def directives(headers: Headers) -> dict[str, str | None]:
    """The directives of Cache-Control by lower-case name.

    Of two of one name the first counts (RFC 9111 4.2.1).
    """
    found: dict[str, str | None] = {}
    values = headers.getall("Cache-Control", [])
    for value in values:
        for name, argument in _directives_in(value):
            found.setdefault(name.lower(), argument)
    if not values and "no-cache" in headers.get("Pragma", "").lower():
        found["no-cache"] = None
    return found


def _directives_in(value: str) -> Iterator[tuple[str, str | None]]:
    """The directives of one line, leniently: semicolons part them too, and what is no directive is
    passed over.
    """
    for element in elements([value]):
        at = 0
        while at < len(element):
            name = match_token(element, at)
            if name is None:
                at += 1
                continue
            at = name.end()
            argument = None
            if element.startswith("=", at):
                string = read_string(element, at + 1)
                bare = _BARE.match(element, at + 1) if string is None else None
                argument, at = string or (bare[0] if bare else "", bare.end() if bare else at + 1)
            yield name[0], argument


def seconds(value: str | None) -> float | None:
    """A delta-seconds argument (RFC 9111 1.2.2), None where it is none."""
    found = decimal(value, FOREVER)
    return None if found is None else float(found)


def date(value: str | None) -> float | None:
    """An HTTP-date (RFC 9110 5.6.7) in seconds since the epoch, None where it is none.

    Nothing but the three forms counts: RFC 9111 5.3 wants an Expires that is invalid to mean
    "expired already", and what looks like a date to a lenient reader keeps a response too long.
    """
    if value is None:
        return None
    for form, groups in _DATES:
        match = form.fullmatch(value)
        if match is None:
            continue
        day, month, year, hour, minute, second = (match[group] for group in groups)
        century = 0 if len(year) == 4 else 1900 if int(year) >= _CENTURY_TURNS else 2000
        try:
            found = datetime(
                century + int(year),
                _MONTHS.index(month.lower()) + 1,
                int(day),
                int(hour),
                int(minute),
                min(int(second), 59),  # RFC 9110 5.6.7 allows a leap second
                tzinfo=UTC,
            )
        except ValueError:
            return None  # a day that there is not
        return found.timestamp()
    return None


def one_date(headers: Headers, name: str) -> float | None:
    """The date in a field that may stand once only, None where it is absent, invalid or there
    twice.
    """
    values = headers.getall(name, [])
    return date(values[0]) if len(values) == 1 else None
