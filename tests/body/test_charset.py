"""Media types and charset names, as they are and as they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.body.media_types import (
    bom_encoding,
    is_json_type,
    known_charset,
    parse_mimetype,
    text_type,
)


@pytest.mark.parametrize(
    ("value", "parts", "parameters"),
    [
        ("", ("", "", ""), {}),
        ("*", ("*", "*", ""), {}),
        ("text/plain", ("text", "plain", ""), {}),
        ("Text/HTML ; Charset=UTF-8", ("text", "html", ""), {"charset": "UTF-8"}),
        ("application/problem+json", ("application", "problem", "json"), {}),
        (
            'multipart/mixed; boundary="a;b\\"c"; x=y',
            ("multipart", "mixed", ""),
            {"boundary": 'a;b"c', "x": "y"},
        ),
        ("text/plain;;a=b; ;c", ("text", "plain", ""), {"a": "b", "c": ""}),
        ('text/plain; a="open', ("text", "plain", ""), {"a": "open"}),
        ("nonsense", ("nonsense", "", ""), {}),
    ],
)
def test_parse_mimetype(value, parts, parameters):
    parsed = parse_mimetype(value)
    assert parsed[:3] == parts
    assert dict(parsed.parameters) == parameters


def test_the_essence_has_no_parameters():
    assert parse_mimetype("application/problem+json; a=b").essence == "application/problem+json"
    assert parse_mimetype("text/plain").essence == "text/plain"


@given(st.text())
def test_any_text_is_taken(value):
    parse_mimetype(value)
    known_charset(value)
    is_json_type(value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((None, None), ("text/plain; charset=utf-8", "utf-8")),
        ((None, "latin-1"), ("text/plain; charset=latin-1", "latin-1")),
        (("text/html", None), ("text/html", "utf-8")),
        (("text/html; charset=koi8-r", None), ("text/html; charset=koi8-r", "koi8-r")),
        (("text/html; charset=koi8-r", "utf-8"), ("text/html; charset=koi8-r", "utf-8")),
    ],
)
def test_the_type_and_the_encoding_of_a_text_follow_from_one_another(said, told):
    assert text_type(*said) == told


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("UTF8", "utf-8"),
        ("utf-16", "utf-16"),
        ("Windows-1252", "cp1252"),
        ("'latin-1'", "iso8859-1"),
        ("base64", None),
        ("rot13", None),
        ("nonsense", None),
        ("a\0b", None),
        ("", None),
        (None, None),
    ],
)
def test_names_of_charsets(name, known):
    assert known_charset(name) == known


def test_byte_order_marks():
    assert bom_encoding(b"\xff\xfe\x00\x00") == "utf-32"
    assert bom_encoding(b"\xff\xfea\x00") == "utf-16"
    assert bom_encoding(b"\xef\xbb\xbfa") == "utf-8-sig"
    assert bom_encoding(b"abc") is None
    assert bom_encoding(b"") is None


@pytest.mark.parametrize(
    "value", ["application/json", "application/json;x=y", "application/a+json", "a/b+c+json"]
)
def test_json_types(value):
    assert is_json_type(value)


@pytest.mark.parametrize(
    "value", ["", "text/json", "image/svg+xml", "application/json+xml", "text/json+x"]
)
def test_other_types(value):
    assert not is_json_type(value)
