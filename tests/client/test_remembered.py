"""What peers choose and the process remembers for its life: bounded in bytes, not in number alone."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable

import pytest
from yarl import URL

from wherry.body import disposition, media_types
from wherry.body.disposition import parse_content_disposition
from wherry.body.media_types import is_json_type, known_charset, parse_mimetype
from wherry.client.headers import response_headers, validation
from wherry.client.headers.response_headers import decode_name
from wherry.client.headers.validation import check_field
from wherry.cookies.date import parse_cookie_date
from wherry.cookies.jar import CookieJar
from wherry.cookies.match import is_ip_address

LONG = 8000
USES: dict[str, Callable[[str], object]] = {
    "media types": lambda text: parse_mimetype(f"text/plain; x={text}"),
    "JSON types": lambda text: is_json_type(f"text/{text}"),
    "charsets": known_charset,
    "short charsets": lambda text: known_charset(text[:20]),
    "names of fields that came": lambda text: decode_name(text.encode()),
    "names of fields that go": lambda text: check_field(text, "x"),
    "dates of cookies": parse_cookie_date,
    "domains of cookies": lambda text: CookieJar().update_cookies_from_headers(
        [f"a=b; domain={text[:900]}.test"], URL("http://a.test/")
    ),
    "hosts of cookies": lambda text: is_ip_address(f"{text}.1"),
    "dispositions": lambda text: parse_content_disposition(f"attachment; {text}"),
}


@pytest.mark.parametrize("use", USES)
def test_long_values_of_peers_are_not_kept(use: str) -> None:
    call = USES[use]
    with warnings.catch_warnings():
        # As a program has it: Python notes each text of a warning that it has shown.
        warnings.simplefilter("default")
        warnings.showwarning = lambda *_, **__: None  # type: ignore[assignment]
        call("warm" * (LONG // 4))
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(500):
                call(f"{number:06}" + "x" * LONG)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < 250_000  # kept whole they would be 4 MB


def test_short_values_are_still_remembered() -> None:
    assert parse_mimetype("text/plain; charset=x-remembered") is parse_mimetype(
        "text/plain; charset=x-remembered"
    )
    assert decode_name(b"X-Remembered") is decode_name(b"X-Remembered")
    check_field("X-Remembered", "x")
    assert "X-Remembered" in validation._known_names
    assert len(response_headers._names) <= 2048


def test_a_bad_disposition_is_told_of_without_its_text() -> None:
    with pytest.warns(disposition.BadContentDispositionHeader) as caught:
        parse_content_disposition("attachment; secret")
    assert "secret" not in str(caught[0].message)


def test_charsets_are_found_without_asking_the_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`codecs.lookup` keeps every name that it was asked for, known or not."""
    monkeypatch.setattr(media_types.codecs, "lookup", None)
    assert known_charset("ISO_8859-1:1987") == "iso8859-1"
    assert known_charset("no-such-charset") is None
