"""The cookie-date algorithm of RFC 6265bis 5.1.1."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cookies.date import parse_cookie_date


def moment(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wed, 21 Oct 2026 07:28:00 GMT", moment(2026, 10, 21, 7, 28)),
        ("Wednesday, 21-Oct-26 07:28:00 GMT", moment(2026, 10, 21, 7, 28)),
        ("Wed Oct 21 07:28:00 2026", moment(2026, 10, 21, 7, 28)),
        ("Wed, 21-Oct-2026 07:28:00 -0000", moment(2026, 10, 21, 7, 28)),
        ("21 October 2026 7:2:3", moment(2026, 10, 21, 7, 2, 3)),
        # "2026" is no day of the month, so it is the year and "21" is the day.
        ("2026 oct 21 07:28:00", moment(2026, 10, 21, 7, 28)),
        ("07:28:00 21/OCT/2026", moment(2026, 10, 21, 7, 28)),
        ("07:28:00GMT 21 oct 2026x", moment(2026, 10, 21, 7, 28)),
        ("1 Jan 70 00:00:00", 0.0),
        ("1 Jan 69 00:00:00", moment(2069, 1, 1)),
        ("1 Jan 99 00:00:00", moment(1999, 1, 1)),
        ("1 Jan 100 00:00:00", None),
        ("1 Jan 1600 00:00:00", None),
        ("1 Jan 1601 00:00:00", moment(1601, 1, 1)),
        ("31 Dec 9999 23:59:59", moment(9999, 12, 31, 23, 59, 59)),
        ("31 Feb 2026 00:00:00", None),
        ("29 Feb 2024 00:00:00", moment(2024, 2, 29)),
        ("32 Jan 2026 00:00:00", None),
        ("0 Jan 2026 00:00:00", None),
        ("1 Jan 2026 24:00:00", None),
        ("1 Jan 2026 00:60:00", None),
        ("1 Jan 2026 00:00:60", None),
        ("1 Jan 2026 00:00:001", None),
        ("1 Jan 2026", None),
        ("1 Foo 2026 00:00:00", None),
        ("Jan 2026 00:00:00", None),
        ("123 Jan 26 00:00:00", None),
        ("1 Jan 20266 00:00:00", None),
        ("", None),
        ("0", None),
        ("Session", None),
    ],
)
def test_dates_are_read_as_browsers_do(text: str, expected: float | None) -> None:
    assert parse_cookie_date(text) == expected


def test_a_token_of_three_digits_is_a_year_not_a_day() -> None:
    # "123" is no day, so it is the year, and 123 is before 1601.
    assert parse_cookie_date("123 1 Jan 00:00:00") is None


@given(st.datetimes(datetime(1970, 1, 1), datetime(2069, 12, 31)))  # noqa: DTZ001
def test_every_common_form_names_the_same_moment(when: datetime) -> None:
    when = when.replace(microsecond=0, tzinfo=UTC)
    for form in (
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %d %H:%M:%S %Y",
        "%Y %b %d %H:%M:%S",
    ):
        assert parse_cookie_date(when.strftime(form)) == when.timestamp()


@given(st.text())
def test_no_text_fails(text: str) -> None:
    result = parse_cookie_date(text)
    assert result is None or isinstance(result, float)
