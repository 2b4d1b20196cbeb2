"""The cookie-date algorithm of RFC 6265bis 5.1.1: what a cookie's ``Expires`` says, as browsers
read it.

Pure: text in, seconds since 1970 out.  It is lenient on purpose, since servers write dates in every
form.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

__all__ = ("parse_cookie_date",)

# Everything that is not a delimiter: %x09 / %x20-2F / %x3B-40 / %x5B-60 / %x7B-7E.
_TOKEN = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
# Each field may be followed by anything that does not go on with a digit.
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])").match
_DAY = re.compile(r"([0-9]{1,2})(?![0-9])").match
_YEAR = re.compile(r"([0-9]{2,4})(?![0-9])").match
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        start=1,
    )
}


def parse_cookie_date(text: str) -> float | None:
    """The moment that a cookie-date names, in seconds since 1970, or None where it names none.

    Args:
        text: The value of an ``Expires`` attribute.
    """
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _moment(text)


def _moment(text: str) -> float | None:
    clock: tuple[int, int, int] | None = None
    day: int | None = None
    month: int | None = None
    year: int | None = None
    for token in _TOKEN.findall(text):
        if clock is None and (found := _TIME(token)):
            clock = (int(found[1]), int(found[2]), int(found[3]))
        elif day is None and (found := _DAY(token)):
            day = int(found[1])
        elif month is None and (number := _MONTHS.get(token[:3].lower())):
            month = number
        elif year is None and (found := _YEAR(token)):
            year = int(found[1])
    if clock is None or day is None or month is None or year is None:
        return None
    if year <= 69:
        year += 2000
    elif year <= 99:
        year += 1900
    if year < 1601:
        return None
    try:
        # A day or an hour that no calendar has (31 February, 24:00) is no date (the last step of
        # 5.1.1).
        return datetime(year, month, day, *clock, tzinfo=UTC).timestamp()
    except ValueError:
        return None


# Servers stamp many responses with the same second; a date is no secret, so it may be remembered.
_LONGEST_REMEMBERED = 64
_remembered = lru_cache(maxsize=256)(_moment)
