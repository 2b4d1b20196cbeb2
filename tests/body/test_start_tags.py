"""The start tags of pages: as `html.parser` finds them on ordinary pages, in linear time on all."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.steps import steps

from wherry.body.html_start_tags import start_tags

NAMES = ("a", "area", "base")
SPACE = st.sampled_from([" ", "\n", "\t ", "  "])
VALUE = st.text("abä/?.&;# ", max_size=8) | st.sampled_from(
    ["&amp;", "&#47;", "x&copy;y", "a>b", "<a>"]
)
QUOTED = st.builds("{0}{1}{0}".format, st.sampled_from(["'", '"']), VALUE)
UNQUOTED = st.text("abcä.?#", min_size=1, max_size=6)
ATTRIBUTE = st.builds(
    "{}{}{}".format,
    SPACE,
    st.sampled_from(["href", "HREF", "rel", "x-y", "title"]),
    st.just("") | st.builds("={}".format, QUOTED | UNQUOTED),
)
START = st.builds(
    "<{}{}{}>".format,
    st.sampled_from(["a", "A", "area", "base", "p", "abbr", "h1"]),
    st.lists(ATTRIBUTE, max_size=3).map("".join),
    st.sampled_from(["", " ", " /"]),
)
PIECE = START | st.sampled_from(
    [
        "text", "1 < 2", "a > b", "</a>", "</p >", "<!-- <a href=no> -->", "<!DOCTYPE html>", "<?xml v?>",
        "<script>if (a<b) '<a href=no>'</script>", "<style>a > b {}</STYLE>", "&lt;a href=no&gt;", "<!-- - -- -->",
    ]
)  # fmt: skip


class Other(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in NAMES:
            said: dict[str, str] = {}
            for name, value in attrs:
                said.setdefault(name, value or "")
            self.found.append((tag, said))


@given(st.lists(PIECE, max_size=8).map("".join))
def test_ordinary_pages_have_the_tags_that_html_parser_finds(page: str) -> None:
    other = Other()
    other.feed(page)
    other.close()
    assert list(start_tags(page, NAMES)) == other.found


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("<a href=1 href=2>", [{"href": "1"}]),
        ("<a href = '1'rel=x/>", [{"href": "1", "rel": "x/"}]),
        ("<a/href=1/x>", [{"href": "1/x"}]),
        ("<a =b=c>", [{"=b": "c"}]),
        ("<a href='x", []),
        ("<!--><a>", [{}]),
        ("<!-- <a>", []),
        ("<scrIPT><a></SCRIPT><a>", [{}]),
        ("<script><a>", []),
        (f"<a href='{'x' * 70_000}'><a>", [{}]),
        ("<a <a <a>", [{"<a": ""}]),
        (f"<a href=&#{'9' * 5000};>", [{"href": f"&#{'9' * 5000};"}]),
    ],
)
def test_odd_tags(page: str, found: list[dict[str, str]]) -> None:
    assert [said for _, said in start_tags(page, {"a"})] == found


@pytest.mark.parametrize(
    "word",
    ["<a ", "<!--", "</", "<?", "<", "<a href='", "<a b", "<a =", "<script", "<script>", "<style>", "a='", "&amp;"],
)  # fmt: skip
def test_twice_the_page_costs_twice_the_steps(word: str) -> None:
    def read(data: bytes) -> None:
        list(start_tags(data.decode(), NAMES))

    for beginning in ("", "<a href=", "<script>"):
        few, many = (steps(read, (beginning + word * times).encode()) for times in (500, 1000))
        assert many <= 2.2 * few + 50
