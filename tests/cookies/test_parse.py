"""Set-Cookie fields as browsers read them (RFC 6265bis 5.6)."""

import copy
import http.cookies
import pickle
from collections.abc import Callable
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cookies import parse_set_cookie
from wherry.cookies.parse import MAX_PAIR_LENGTH, expiry, parse_one, quote, unquote


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("a=b", "a", "b"),
        ("a=b; Path=/", "a", "b"),
        (" a \t= b ;", "a", "b"),
        ("a=", "a", ""),
        ("a=b=c==", "a", "b=c=="),
        ('a="b c"', "a", '"b c"'),
        ('a="b;c"', "a", '"b'),
        ('a={"k":1,"l":[2]}', "a", '{"k":1,"l":[2]}'),
        ("a=b, c=d", "a", "b, c=d"),
        ("name[0](x)@y=1", "name[0](x)@y", "1"),
        ("naïve=schön", "naïve", "schön"),
        ("a=b\tc", "a", "b\tc"),
        ("path=x; Path=/y", "path", "x"),
        ("lonely", "", "lonely"),
        ("=value", "", "value"),
    ],
)
def test_names_and_values_stay_as_sent(field: str, name: str, value: str) -> None:
    parsed = parse_one(field)
    assert parsed is not None
    assert (parsed.name, parsed.value) == (name, value)


@pytest.mark.parametrize(
    "field", ["", ";", "=", " = ; Path=/", "a=b\x00", "a\x01=b", "a=b; Path=/\x7f", "a=b\r\nX: y"]
)
def test_fields_that_browsers_ignore(field: str) -> None:
    assert parse_one(field) is None


def test_a_pair_of_more_than_4096_octets_is_ignored() -> None:
    assert parse_one("a=" + "x" * (MAX_PAIR_LENGTH - 1)) is not None
    assert parse_one("a=" + "x" * MAX_PAIR_LENGTH) is None
    assert parse_one("a=" + "é" * (MAX_PAIR_LENGTH // 2)) is None


def test_an_attribute_of_more_than_1024_octets_is_ignored_and_the_cookie_is_not() -> None:
    parsed = parse_one("a=b; Path=/" + "x" * 1024 + "; Secure")
    assert parsed is not None
    assert parsed.attributes == {"secure": True}


def test_attributes_in_any_case_and_the_last_one_wins() -> None:
    parsed = parse_one(
        "a=b; PATH=/x; path=/y; sEcUrE=no; httponly; SameSite=Lax; Partitioned; Domain="
    )
    assert parsed is not None
    assert parsed.attributes == {
        "path": "/y",
        "secure": True,
        "httponly": True,
        "samesite": "Lax",
        "partitioned": True,
        "domain": "",
    }


def test_what_rfc_6265bis_does_not_know_is_not_kept() -> None:
    noise = "; ".join(f"x{number}={number}" for number in range(2000))
    for field in (
        f"a=b; {noise}",
        f"a=b; Path=/; {noise}; =; ; comment=c; version=1; Priority=High; é=1",
    ):
        parsed = parse_one(field)
        assert parsed is not None
        assert (parsed.name, parsed.value) == ("a", "b")
        assert set(parsed.attributes) <= {"path"}


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_attributes_are_known_ones_whatever_comes(pairs: list[tuple[str, str]]) -> None:
    parsed = parse_one("a=b; Domain=x.test; " + ";".join(f"{name}={text}" for name, text in pairs))
    known = {
        "domain",
        "expires",
        "max-age",
        "path",
        "samesite",
        "secure",
        "httponly",
        "partitioned",
    }
    assert parsed is None or set(parsed.attributes) <= known


def test_a_time_that_is_none_does_not_hide_the_one_before() -> None:
    parsed = parse_one(
        "a=b; Max-Age=5; Max-Age=soon; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Expires=never"
    )
    assert parsed is not None
    assert parsed.attributes["max-age"] == "5"
    assert parsed.attributes["expires"].startswith("Wed")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"max-age": "10"}, 110.0),
        ({"max-age": "0"}, float("-inf")),
        ({"max-age": "-1"}, float("-inf")),
        ({"max-age": "-" + "9" * 1000}, float("-inf")),
        ({"max-age": "9" * 1000}, 100.0 + 10**11),
        ({"max-age": "0" * 30 + "10"}, 110.0),
        ({"max-age": "+5"}, None),
        ({"max-age": "5.5"}, None),
        ({"max-age": "٥"}, None),
        ({"max-age": ""}, None),
        ({"max-age": 10}, 110.0),
        ({"max-age": "x", "expires": "Thu, 01 Jan 1970 00:01:00 GMT"}, 60.0),
        ({"max-age": "1", "expires": "Thu, 01 Jan 1970 00:01:00 GMT"}, 101.0),
        ({"expires": "nonsense"}, None),
        ({"expires": 5}, 105.0),
    ],
)
def test_max_age_wins_and_absurd_times_are_bounded(
    attributes: dict[str, object], expected: float | None
) -> None:
    assert expiry(attributes, 100.0) == expected


def test_response_cookies_are_morsels_with_their_attributes() -> None:
    """S001-55"""
    cookies = parse_set_cookie(
        [
            'a="x\\073y"; Path=/p; Domain=example.com; Secure; HttpOnly; SameSite=Strict; Max-Age=5; Partitioned',
            "b=2",
        ]
    )
    assert isinstance(cookies, SimpleCookie)
    morsel = cookies["a"]
    assert isinstance(morsel, Morsel)
    assert (morsel.key, morsel.value, morsel.coded_value) == ("a", "x;y", '"x\\073y"')
    assert morsel["path"] == "/p"
    assert morsel["domain"] == "example.com"
    assert morsel["samesite"] == "Strict"
    assert morsel["max-age"] == "5"
    assert morsel["secure"] is True
    assert morsel["httponly"] is True
    assert morsel["partitioned"] is True
    assert "Partitioned" in morsel.OutputString()
    assert cookies["b"]["partitioned"] == ""
    assert type(morsel.copy()) is type(morsel)
    assert morsel.copy() == morsel


def test_the_last_of_two_cookies_of_one_name_is_shown_and_odd_names_are_kept() -> None:
    cookies = parse_set_cookie(["a=1", "a=2; Path=/x", "b[c]=3", "path=4", "nameless"])
    assert {name: morsel.value for name, morsel in cookies.items()} == {
        "a": "2",
        "b[c]": "3",
        "path": "4",
    }


@given(st.text(alphabet=st.characters(max_codepoint=0xFF), max_size=60))
def test_unquote_undoes_the_quoting_of_http_cookies(value: str) -> None:
    """S001-62, S001-63"""
    coded = http.cookies._quote(value)  # type: ignore[attr-defined]
    assert unquote(coded) == value or coded == value
    assert unquote(quote(value)) == value or quote(value) == value


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), Morsel.copy]
)
def test_cookies_stay_what_they_are_when_copied_and_pickled(again: Callable[[Any], Any]) -> None:
    """Patched releases of http.cookies refuse to load a tab, or what an escape stood for."""
    for field in ('a="x\\012y"; Partitioned; Path=/a\tb', "b=1\t2; SameSite=a\tb", "odd[]=é"):
        (morsel,) = parse_set_cookie([field]).values()
        kept = again(morsel) if again is not Morsel.copy else morsel.copy()
        assert kept == morsel
        assert type(kept) is type(morsel)
        assert dict(kept) == dict(morsel)
    cookies = parse_set_cookie(["a=1\t2", "b=3"])
    if again is not Morsel.copy:
        assert again(cookies) == cookies


@given(st.text(max_size=200))
def test_no_field_fails(field: str) -> None:
    parsed = parse_one(field)
    cookies = parse_set_cookie([field])
    assert len(cookies) == (parsed is not None and bool(parsed.name))
