"""Fields that a response gives in parsed form: Link and Content-Disposition."""

from __future__ import annotations

import time

import pytest
from yarl import URL

from wherry.client.headers.disposition_and_link import parse_content_disposition_field, parse_links

BASE = URL("http://h.test/d/p?q=1")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('<a>; rel="next"', [("next", "http://h.test/d/a")]),
        ("<a>; rel=next", [("next", "http://h.test/d/a")]),
        ("<a>; rel='next'", [("next", "http://h.test/d/a")]),
        ("<?p=2>; REL=next", [("next", "http://h.test/d/p?p=2")]),
        ("<//o.test/x>; rel=up", [("up", "http://o.test/x")]),
        (
            '<a,b>; title="x; y, z"; rel=x, <c>; rel=x',
            [("x", "http://h.test/d/a,b"), ("x", "http://h.test/d/c")],
        ),
        ("<a>; rel=x,", [("x", "http://h.test/d/a")]),
        ("<a>", [("a", "http://h.test/d/a")]),
        ("<a>; rel", [("a", "http://h.test/d/a")]),
        ("<http://[bad>; rel=x, <a>; rel=y", [("y", "http://h.test/d/a")]),
        ("nonsense", []),
        ("", []),
    ],
)
def test_links(value: str, found: list[tuple[str, str]]) -> None:
    """RFC 8288 3"""
    assert [(rel, str(link["url"])) for rel, link in parse_links([value], BASE).items()] == found


def test_a_link_keeps_its_parameters() -> None:
    [link] = parse_links(
        [r'<a>; rel=x; title="say \"hi\""; hreflang=en; hreflang=de'], BASE
    ).values()
    assert link["title"] == 'say "hi"'
    assert link.getall("hreflang") == ["en", "de"]


@pytest.mark.parametrize(
    "value",
    [
        "<a>;" + " " * 8000 + '"',
        "<" * 8000,
        "<a>" + "; " * 4000 + '"',
        "<a>;x=" + '"a"' * 2700 + '"',
    ],
)
def test_a_hostile_link_takes_no_time(value: str) -> None:
    began = time.process_time()
    parse_links([value], BASE)
    assert time.process_time() - began < 1


def test_a_line_that_is_broken_is_alone_in_it() -> None:
    assert list(parse_links(['<a>; rel="x', "<b", "<c>; rel=y"], BASE)) == ['"x', "y"]


def test_a_content_disposition_does_not_change() -> None:
    field = parse_content_disposition_field("attachment; filename=a; filename*=UTF-8''b")
    assert (field.type, field.filename, dict(field.parameters)) == (
        "attachment",
        "b",
        {"filename": "a", "filename*": "b"},
    )
    with pytest.raises(TypeError):
        field.parameters["filename"] = "c"  # type: ignore[index]
