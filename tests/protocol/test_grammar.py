"""The grammar that fields share: what it takes, what it leaves, and that it reads nothing twice."""

from __future__ import annotations

import contextlib
import datetime as dt
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from tests.steps import steps
from yarl import URL

from wherry.auth.challenge import parse_challenges
from wherry.body.disposition import content_disposition_filename, parse_content_disposition
from wherry.body.media_types import _read as read_mimetype
from wherry.client.headers.disposition_and_link import parse_links
from wherry.cookies.parse import parse_one
from wherry.middlewares.cache_policy import directives
from wherry.protocol.grammar import (
    decimal,
    elements,
    has_control,
    http_date,
    is_token,
    is_token_bytes,
    quoted,
    read_parameters,
    read_string,
    split,
)
from wherry.protocol.heads import ResponseHead
from wherry.protocol.websocket.handshake import WSHandshakeError, agreed_deflate
from wherry.types import HttpVersion11


@pytest.mark.parametrize("text", ["a", "!#$%&'*+-.^_`|~09azAZ"])
def test_tokens(text):
    assert is_token(text)
    assert is_token_bytes(text.encode())


@pytest.mark.parametrize(
    "text", ["", "a b", "a\n", "a\0", "ä", "²", 'a"', "a,", "(", "a/b", "a:b", "a=b", "\ud800"]
)
def test_what_is_no_token(text):
    assert not is_token(text)
    assert not is_token_bytes(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('""', ("", 2)),
        ('"a b", c', ("a b", 5)),
        (r'"a\"b"', ('a"b', 6)),
        (r'"\\"', ("\\", 4)),
        ('"a', None),
        ('"a\\"', None),
        ('"', None),
        ("a", None),
        ("", None),
    ],
)
def test_quoted_strings(text, found):
    assert read_string(text, 0) == found


@given(st.text())
def test_what_is_quoted_reads_back(text):
    written = quoted(text)
    assert read_string(written, 0) == (text, len(written))


@given(st.lists(st.text(st.characters(exclude_characters=',"')), min_size=1))
def test_without_strings_it_splits_as_python_does(parts):
    assert split(",".join(parts), ",") == ",".join(parts).split(",")


@given(st.text(alphabet='a,;"\\ <>'), st.sampled_from(",;"), st.booleans())
def test_what_is_split_joins_to_what_it_was(text, separator, links):
    assert separator.join(split(text, separator, links=links)) == text


@given(st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs")))))
def test_elements_of_quoted_strings(values):
    assert elements([", ".join(map(quoted, values)), ""]) == [quoted(value) for value in values]


def test_empty_elements_are_passed_over():
    assert elements([" , a ,,b\t,", "", "c"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "found", "rest"),
    [
        ("", [], ""),
        (";a", [("a", None)], ""),
        ("; a = b ;c", [("a", "b"), ("c", None)], ""),
        (';a="x;\\"y"; b', [("a", 'x;"y'), ("b", None)], ""),
        (";a;", [("a", None)], ";"),
        (";a x", [("a", None)], " x"),
        (";a=", [], ";a="),
        (';a="x', [], ';a="x'),
        ("a=b", [], "a=b"),
    ],
)
def test_parameters(text, found, rest):
    got, end = read_parameters(text, 0)
    assert got == found
    assert text[end:] == rest


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("00012", 12),
        ("100", 100),
        ("101", 100),
        ("9" * 5000, 100),
        ("0" * 5000 + "7", 7),
        ("", None),
        (None, None),
        ("²", None),
        ("٣", None),
        ("+1", None),
        ("-1", None),
        ("1_0", None),
        (" 1", None),
        ("1\n", None),
        ("0x1", None),
    ],
)
def test_numbers(text, number):
    assert decimal(text, 100) == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480.0),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 1445412480.0),
        ("Wed Oct 21 07:28:00 2015", 1445412480.0),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 99:99:99 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999", None),
        ("Wed, ²1 Oct 2015 07:28:00 GMT", None),
        ("x" * 10**6, None),
        ("", None),
        (None, None),
    ],
)
def test_dates(text, seconds):
    assert http_date(text) == seconds


@given(st.text(alphabet=st.sampled_from("MonTueJanDec0123456789:,+- GMT")) | st.text())
def test_any_text_is_a_date_or_none(text):
    found = http_date(text)
    assert found is None or dt.datetime.fromtimestamp(found, dt.UTC).year < 10_000


@given(st.text())
def test_control_characters_are_those_that_end_or_command(text):
    assert has_control(text) == any(
        (char < " " and char != "\t") or char == "\x7f" for char in text
    )


# --- what a peer writes costs what it is long -----------------------------------------------------


def head(value: str) -> ResponseHead:
    return ResponseHead(101, "", HttpVersion11, ((b"Sec-WebSocket-Extensions", value.encode()),))


def extensions(value: str) -> None:
    with contextlib.suppress(WSHandshakeError):
        agreed_deflate(head(value), 15)


def disposition(value: str) -> None:
    content_disposition_filename(parse_content_disposition(value)[1])


READERS = {
    "content-disposition": disposition,
    "sec-websocket-extensions": extensions,
    "link": lambda value: parse_links([value], URL("http://a.test/")),
    "challenges": lambda value: parse_challenges([value]),
    "cache-control": lambda value: directives(CIMultiDict({"Cache-Control": value})),
    "content-type": read_mimetype,
    "set-cookie": parse_one,
    "list": lambda value: elements([value]),
    "date": http_date,
    "number": lambda value: decimal(value, 10),
}
# What made some reader of some client slow: runs of one thing, and what begins again and again
# without an end.
PIECES = [
    '"', "\\", '\\"', "=", ";", ",", " ", "\t", "a", "1", "<", ">", "'", "%", '="', '=" ', '; a="', '; a="\\', "a=b,",
    'a="b",', "a ", "a = ", ";a", "; a=b", "a, ", '" ', '"\t', "permessage-deflate, ", "x; y, ", "<a>; rel=b, ",
    "filename*0=a; ", 'a="b" ', "Basic ", "Digest a=b, ", '=\t"a', "*", "a*1=b;", ";;", "\0", "ä", "[", "(", "a b ",
]  # fmt: skip


def seconds_of_cpu(read, value) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        read(value)
        best = min(best, time.thread_time() - began)
    return best


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("start", ["", "attachment; a=", "a; b="])
def test_twice_as_much_costs_twice_the_steps(name, start):
    read = READERS[name]
    for piece in PIECES:
        small, large = start + piece * 200, start + piece * 400
        read(small)
        assert steps(read, large) <= 2.2 * steps(read, small) + 60, piece


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", READERS)
def test_what_the_regular_expressions_do_is_linear_too(name):
    """Steps of Python do not show what `re` does: 64 KiB took seconds where a pattern began anew at
    each quote.
    """
    read = READERS[name]
    for start in ("", "attachment; a="):
        for piece in PIECES:
            value = start + piece * (2**16 // len(piece))
            # Linear readers need a few milliseconds; what is quadratic takes some hundred times as
            # long.
            assert seconds_of_cpu(read, value) < 0.5, piece
