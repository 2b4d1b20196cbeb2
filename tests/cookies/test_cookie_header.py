"""A request's own cookies beside the session's, and the quoting rule."""

import http.cookies
from http.cookies import CookieError, Morsel, SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from wherry.cookies import CookieJar, merge_cookie_lines, parse_set_cookie, request_cookie_line
from wherry.cookies.parse import OwnMorsel, build_morsel, quote


def test_a_request_without_cookies_has_the_sessions_line() -> None:
    assert request_cookie_line("a=1; b=2", None) == "a=1; b=2"
    assert request_cookie_line("a=1", {}) == "a=1"
    assert request_cookie_line("", {}) == ""


def test_the_requests_names_win() -> None:
    assert request_cookie_line("a=1; b=2; a=3", {"a": "x"}) == "b=2; a=x"
    assert request_cookie_line("a=1", {"b": "2", "c": "3"}) == "a=1; b=2; c=3"


def test_every_kind_of_cookies_is_taken() -> None:
    morsel: Morsel[str] = Morsel()
    morsel.set("m", "v", "v")
    assert request_cookie_line("", {"a": "1", "m": morsel}) == "a=1; m=v"
    assert request_cookie_line("", [("a", "1"), ("m", morsel)]) == "a=1; m=v"
    assert request_cookie_line("", SimpleCookie({"a": "1"})) == "a=1"
    assert request_cookie_line("", morsel) == "m=v"
    assert request_cookie_line("", {"n": 5}) == "n=5"  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain", "plain"),
        ("a;b", r'"a\073b"'),
        ("a,b", r'"a\054b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("a\tb", r'"a\011b"'),
        ("a\nb", r'"a\012b"'),
        ("é", r'"\351"'),
    ],
)
def test_values_are_quoted_by_octal_escapes(value: str, quoted: str) -> None:
    """S001-62"""
    assert request_cookie_line("", {"a": value}) == f"a={quoted}"


def quoted_by_http_cookies(value: str) -> str:
    """Patched releases of http.cookies refuse control characters, escaped or not: only their
    quoting is asked.
    """
    return http.cookies._quote(value)  # type: ignore[attr-defined,no-any-return]


@given(st.text())
def test_text_beyond_latin_1_is_quoted_as_http_cookies_does(value: str) -> None:
    assert quote(value) == quoted_by_http_cookies(value)


@given(st.text(alphabet=st.characters(max_codepoint=0xFF)))
def test_quoting_agrees_with_http_cookies_and_no_value_breaks_the_line(value: str) -> None:
    """S001-62, S001-63"""
    line = request_cookie_line("", {"a": value})
    assert line == "a=" + quoted_by_http_cookies(value)
    assert not set(line) & set("\r\n\0;,")
    assert parse_set_cookie([line])["a"].value == value


def test_without_quoting_values_go_as_they_are() -> None:
    """S001-64"""
    assert request_cookie_line("", {"a": 'x "y", z'}, quote_cookie=False) == 'a=x "y", z'


@pytest.mark.parametrize("name", ["a;b", "a=b", "a b", "a\r\nX", "a,b", "a\ud800"])
def test_names_that_would_break_the_line_are_refused(name: str) -> None:
    with pytest.raises(CookieError):
        request_cookie_line("", {name: "1"})


def test_control_characters_are_refused_where_nothing_escapes_them() -> None:
    with pytest.raises(CookieError):
        request_cookie_line("", {"a": "1\r\nX-Evil: 1"}, quote_cookie=False)
    with pytest.raises(CookieError, match="surrogate"):
        request_cookie_line("", {"a": "\ud800"})


CONTROLS = [chr(number) for number in (*range(9), *range(10, 32), 127)]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda one: f"{ord(one):02x}")
def test_no_control_character_goes_out_on_any_way(control: str) -> None:
    """The same on every release of Python: refused without quoting, escaped with it, and no name
    takes one.
    """
    value = f"1{control}X-Evil: 1"
    with pytest.raises(CookieError, match="control characters"):
        request_cookie_line("", {"a": value}, quote_cookie=False)
    with pytest.raises(CookieError, match="control characters"):
        CookieJar(quote_cookie=False).update_cookies({"a": value}, URL("http://example.com/"))
    odd = build_morsel(OwnMorsel(), "a", value, value, {})
    with pytest.raises(CookieError, match="control characters"):
        request_cookie_line("", odd, quote_cookie=False)
    escaped = f'a="1\\{ord(control):03o}X-Evil: 1"'
    assert request_cookie_line("", {"a": value}) == escaped
    assert request_cookie_line("", odd) == escaped
    jar = CookieJar()
    jar.update_cookies({"a": value}, URL("http://example.com/"))
    assert jar.filter_cookies(URL("http://example.com/"))["a"].value == value
    with pytest.raises(CookieError):
        request_cookie_line("", {f"a{control}": "1"})
    with pytest.raises(CookieError):
        request_cookie_line("", build_morsel(OwnMorsel(), f"a{control}", "1", "1", {}))


def test_a_morsel_that_was_never_set_is_refused() -> None:
    with pytest.raises(CookieError):
        request_cookie_line("", {"a": Morsel()})


def test_what_a_server_sent_goes_back_unchanged() -> None:
    cookies = parse_set_cookie(['a={"k": 1}', 'b="q"'])
    assert request_cookie_line("", cookies) == 'a={"k": 1}; b="q"'
    assert request_cookie_line("", cookies, quote_cookie=False) == 'a={"k": 1}; b="q"'


def test_with_a_url_the_attributes_of_a_response_are_obeyed() -> None:
    cookies = parse_set_cookie(
        [
            "a=1; Domain=example.com",
            "b=2; Domain=other.org",
            "c=3; Secure",
            "d=4; Max-Age=0",
            "e=5; Path=/x",
            "f=6",
        ]
    )
    assert request_cookie_line("", cookies, url=URL("http://www.example.com/")) == "a=1; f=6"
    assert (
        request_cookie_line("", cookies, url=URL("https://other.org/x/y")) == "b=2; c=3; e=5; f=6"
    )


def test_lines_merge_by_name() -> None:
    assert merge_cookie_lines("a=1;b=2", "b=3") == "a=1; b=3"
    assert merge_cookie_lines("", "b=3") == "b=3"
    assert merge_cookie_lines("a=1", "") == "a=1"
