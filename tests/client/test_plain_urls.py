"""A URL that is sent as the text that it is: what yarl would make of it, or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

import wherry
from wherry.client.headers.validation import target_of
from wherry.client.plain_urls import is_plain_target

ORIGINS = [
    *("http://h.test", "https://h.test", "http://h.test:81", "http://h.test:80", "http://[::1]"),
    *("http://127.0.0.1:8080", "https://xn--bcher-kva.test", "http://user@h.test", "HTTP://h.test"),
    *("http://H.test", "http://b\xfccher.test", "http://h.test.", "http://u:p@h.test", "http:/"),
    *("http://", "https:/", "ws://h.test", "ftp://h.test", "//h.test", "http://[fe80::1%25eth0]"),
]
CHARACTERS = st.one_of(
    st.sampled_from("/.?&=#%+;:@ab~-_'()*!$,"),
    st.characters(max_codepoint=0x17F),
    st.sampled_from(["%41", "%2F", "..", "/../", "/./", "?", "\\", "\ud800", "\u2028", "\r\n"]),
)
TARGETS = st.lists(CHARACTERS, max_size=12).map(lambda parts: "/" + "".join(parts))
PLAIN = st.text("/.?&=+;:@ab1~-_'()*!$,", max_size=12).map(lambda text: "/" + text)
TEXTS = st.text(st.one_of(st.characters(max_codepoint=0x17F), st.sampled_from("ab &=+%#;:/?@")))
VALUES: st.SearchStrategy[Any] = st.one_of(
    TEXTS, st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.none()
)
PARAMS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.dictionaries(TEXTS, VALUES, max_size=3),
    st.dictionaries(TEXTS, st.lists(TEXTS, max_size=2), max_size=2),
    TEXTS,
)


def by_yarl(session: wherry.ClientSession, text: str, params: Any) -> Any:
    url = session._builder.resolve_url(text)
    return url.extend_query(params) if params else url


@settings(max_examples=400, deadline=None)
@given(origin=st.sampled_from(ORIGINS), target=st.one_of(TARGETS, PLAIN), params=PARAMS)
def test_a_text_is_taken_as_it_is_only_where_yarl_says_the_same(
    origin: str, target: str, params: Any
) -> None:
    async def main() -> None:
        async with wherry.ClientSession() as session:
            for known in ORIGINS:
                try:
                    session._builder.resolve_url(known + "/")
                except (wherry.ClientError, ValueError):
                    continue
            text = origin + target
            plain = session._builder.plain_url(text, params)
            if plain is None:
                return
            expected = by_yarl(session, text, params)
            found = URL(plain)
            assert found == expected
            assert str(found) == str(expected)
            assert found.raw_fragment == ""
            assert (found.raw_user, found.raw_password) == (None, None)
            at = plain.find("/", 8)
            assert plain[at:] == target_of(expected)
            assert plain[:at] == f"{expected.scheme}://{expected.raw_authority}"
            assert list(found.query.items()) == list(expected.query.items())

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "params", "plain"),
    [
        ("http://h.test/a/b-1.json?c=d&e=f+g", None, "http://h.test/a/b-1.json?c=d&e=f+g"),
        ("http://h.test/", {"a b": "c d", "n": -5}, "http://h.test/?a+b=c+d&n=-5"),
        (
            "http://h.test/a?b=c",
            {"d": "2026-11-30T23:15:34Z"},
            "http://h.test/a?b=c&d=2026-11-30T23:15:34Z",
        ),
        ("http://h.test/a?b", {"c": "d/e:f"}, "http://h.test/a?b&c=d/e:f"),
        ("http://h.test/a", {"b": True}, None),
        ("http://h.test/a", {"b": "c&d"}, None),
        ("http://h.test/a/../b", None, None),
        ("http://h.test/a%20b", None, None),
        ("http://h.test/a#b", None, None),
        ("http://h.test/a?", None, None),
        ("http://h.test/a\r\nX: y", None, None),
        ("http://h.test/a\n", None, None),
        ("http://h.test", None, None),
        ("http://other.test/a", None, None),
        ("http://h.test@other.test/a", None, None),
        ("http://h.test\\@other.test/a", None, None),
    ],
)
async def test_which_texts_are_taken(text: str, params: Any, plain: str | None) -> None:
    async with wherry.ClientSession() as session:
        session._builder.resolve_url("http://h.test/")
        assert session._builder.plain_url(text, params) == plain


def test_the_grammar_ends_where_the_text_does() -> None:
    assert is_plain_target("http://h/a", 8) is not None
    assert is_plain_target("http://h/a\n", 8) is None


async def test_a_response_and_its_request_have_their_urls() -> None:
    """Made on first touch, and again the same object."""
    async with wherry.ClientSession() as session:
        session._builder.resolve_url("http://h.test/")
        from wherry.client.options import NO_OPTIONS
        from wherry.client.sending.redirect_rules import Leg

        leg = Leg("GET", "http://h.test/a?b=c", None, None, None)
        request = session._builder.build(leg, NO_OPTIONS, None).request
        assert "url" not in request.__dict__
        assert request.url == request.original_url == URL("http://h.test/a?b=c")
        assert request.url is request.url
        copy = request.copy()
        copy.url = URL("http://other.test/")
        assert copy.original_url == request.url
