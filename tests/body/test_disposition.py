"""Content-Disposition: the cases of RFC 6266's test suite, RFC 2231, and what clients meet
besides.
"""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.body.disposition import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    content_disposition_filename,
    content_disposition_header,
    parse_content_disposition,
)


@pytest.mark.parametrize(
    ("header", "kind", "filename"),
    [
        ("inline", "inline", None),
        ("ATTACHMENT", "attachment", None),
        ('attachment; filename="foo.html"', "attachment", "foo.html"),
        ('attachment; FILENAME="foo.html"', "attachment", "foo.html"),
        ("attachment; filename=foo.html", "attachment", "foo.html"),
        ('attachment; filename="f\\oo.html"', "attachment", "foo.html"),
        ('attachment; filename="\\"quoting\\" tested.html"', "attachment", '"quoting" tested.html'),
        (
            'attachment; filename="Here\'s a semicolon;.html"',
            "attachment",
            "Here's a semicolon;.html",
        ),
        ('attachment; foo="bar"; filename="foo.html"', "attachment", "foo.html"),
        ('attachment; filename="foo-ä.html"', "attachment", "foo-ä.html"),
        ('attachment; filename="/foo.html"', "attachment", "foo.html"),
        ("attachment; filename*=iso-8859-1''foo-%E4.html", "attachment", "foo-ä.html"),
        ("attachment; filename*=UTF-8''foo-%c3%a4-%e2%82%ac.html", "attachment", "foo-ä-€.html"),
        ("attachment; filename*=''foo", "attachment", "foo"),
        ("attachment; filename*=UTF-8'en'a%20b", "attachment", "a b"),
        (
            "attachment; filename=\"foo-ae.html\"; filename*=UTF-8''foo-%c3%a4.html",
            "attachment",
            "foo-ä.html",
        ),
        (
            "attachment; filename*=UTF-8''foo-%c3%a4.html; filename=\"foo-ae.html\"",
            "attachment",
            "foo-ä.html",
        ),
        ('attachment; filename*0="foo."; filename*1="html"', "attachment", "foo.html"),
        ('attachment; filename*1="b"; filename*0="a"', "attachment", "ab"),
        (
            "attachment; filename*0*=UTF-8''foo-%c3%a4; filename*1=\".html\"",
            "attachment",
            "foo-ä.html",
        ),
        ("attachment; filename*0*=UTF-8''%c3; filename*1*=%a4", "attachment", "ä"),
        ('attachment; filename*0="foo"; filename*01="bar"', "attachment", "foo"),
        ('attachment; filename*1="foo."; filename*2="html"', "attachment", None),
        ("attachment; filename*0*=nonsense''x; filename*1=y", "attachment", None),
        ("attachment; xfilename=foo.html", "attachment", None),
        ('inline; filename="x;y" ; z=1', "inline", "x;y"),
    ],
)
def test_fields_that_are_understood(header, kind, filename):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, params = parse_content_disposition(header)
    assert found == kind
    assert content_disposition_filename(params) == filename


@pytest.mark.parametrize("header", [None, ""])
def test_no_field(header):
    assert parse_content_disposition(header) == (None, {})


@pytest.mark.parametrize(
    "header",
    [
        '"attachment"',
        "attach ment",
        "; filename=x",
        "attachment; filename",
        "attachment; filename=foo bar.html",
        'attachment; filename="a"b.html"; x',
        'attachment; filename="foo.html"; filename="bar.html"',
        'attachment; filename="open',
    ],
)
def test_fields_that_are_not(header):
    with pytest.warns(BadContentDispositionHeader):
        assert parse_content_disposition(header) == (None, {})


@pytest.mark.parametrize(
    "param", ["filename*=UTF-8''%FF", "filename*=nonsense''x", "filename*=\"UTF-8''foo\"", "=x"]
)
def test_parameters_that_are_passed_over(param):
    with pytest.warns(BadContentDispositionParam):
        assert parse_content_disposition(f"attachment; {param}; a=b") == ("attachment", {"a": "b"})


def test_an_empty_parameter_is_passed_over():
    with pytest.warns(BadContentDispositionHeader):
        assert parse_content_disposition("attachment; filename=foo.html ;") == (
            "attachment",
            {"filename": "foo.html"},
        )


@given(st.text())
def test_any_text_is_taken(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for header in (
            text,
            f"attachment; {text}",
            f'attachment; filename="{text}"',
            f"attachment; filename*0*={text}",
        ):
            _, params = parse_content_disposition(header)
            content_disposition_filename(params)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_what_is_written_is_read(name):
    for quoted in (True, False):
        value = content_disposition_header("attachment", quoted, name=name)
        assert "\r" not in value
        _, params = parse_content_disposition(value)
        # The root of a path is taken off where it stands in quotes.
        assert content_disposition_filename(params, "name") in {name, name.lstrip("\\/")}


@pytest.mark.parametrize("wrong", ["", "a b", "a;b", "a\n", "ä"])
def test_what_is_no_token_is_refused(wrong):
    with pytest.raises(ValueError, match="not a content disposition"):
        content_disposition_header(wrong)
    with pytest.raises(ValueError, match="not a content disposition"):
        content_disposition_header("attachment", **{wrong: "x"})
