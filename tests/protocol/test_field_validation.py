"""The fields of HTTP/2's and HTTP/3's responses: one look at all of them says what a look at each
does.
"""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from wherry.protocol import multiplexed_response_fields
from wherry.protocol.limits import DEFAULT_LIMITS, Limits
from wherry.protocol.multiplexed_response_fields import LONGEST_USUAL, MOST_USUAL, check_fields

NAMES = st.one_of(
    st.sampled_from(
        [
            *(b"content-length", b"server", b"date", b"x", b"te", b"set-cookie", b"x" * 64),
            *(b"connection", b"upgrade", b"X", b"", b":status", b"a b", b"x" * 65, b"a\n"),
        ]
    ),
    st.binary(max_size=3),
)
VALUES = st.one_of(
    st.sampled_from(
        [b"", b"5", b"05", b"+5", b"6", b"trailers", b"a b", b" a", b"a ", b"\ta", b"a\t", b" "]
    ),
    st.sampled_from([b"a\nb", b"\n", b"a\r\nb", b"\x7f", b"\xff", b"a\tb", b"9" * 19, b"x" * 40]),
    st.binary(max_size=4),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)
LIMITS = st.sampled_from(
    [DEFAULT_LIMITS, Limits(8190, 30, 128), Limits(8, 8190, 128), Limits(64, 40, 3)]
)
GOOD = ((b"content-length", b"5"), (b"server", b"nginx"), (b"x", b"y z"), (b"set-cookie", b""))


def outcome(fields: Any, start: int, limits: Limits) -> Any:
    try:
        return check_fields(fields, start, limits, "HTTP/2", ValueError)
    except ValueError as exc:
        return str(exc)


@settings(max_examples=600, deadline=None)
@given(fields=FIELDS, start=st.integers(0, 1), limits=LIMITS)
@example(((b"server", b"a\nb"), (b"server", b"")), 0, DEFAULT_LIMITS)
@example(((b"content-length", b"5"), (b"content-length", b"05")), 0, DEFAULT_LIMITS)
@example(((b"content-length", b"5"), (b"content-length", b"6")), 0, DEFAULT_LIMITS)
def test_one_look_at_all_says_what_a_look_at_each_does(
    fields: tuple[tuple[bytes, bytes], ...], start: int, limits: Limits
) -> None:
    outcome(GOOD, 0, DEFAULT_LIMITS)  # their names are known
    with mock.patch.object(multiplexed_response_fields, "_plain_length", return_value=None):
        expected = outcome(fields, start, limits)
    assert outcome(fields, start, limits) == expected
    assert outcome(fields, start, limits) == expected


def test_usual_fields_are_looked_at_once() -> None:
    """Or the test above compares the long way with itself; counted, for it is about work."""
    multiplexed_response_fields._usual_names.clear()
    many = tuple((b"x-%d" % number, b"value %d" % number) for number in range(50))
    check_fields(many, 0, DEFAULT_LIMITS, "HTTP/2", ValueError)
    calls = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event == "c_call"

    sys.setprofile(count)
    try:
        check_fields(many, 0, DEFAULT_LIMITS, "HTTP/2", ValueError)
    finally:
        sys.setprofile(None)
    assert calls < 2 * len(many)


def test_names_that_peers_choose_take_no_memory_without_end() -> None:
    for number in range(3 * MOST_USUAL):
        check_fields(((b"n-%d" % number, b"x"),), 0, DEFAULT_LIMITS, "HTTP/2", ValueError)
        check_fields(((b"n" * (LONGEST_USUAL + 1), b"x"),), 0, DEFAULT_LIMITS, "HTTP/2", ValueError)
    assert len(multiplexed_response_fields._usual_names) <= MOST_USUAL
    assert max(map(len, multiplexed_response_fields._usual_names)) <= LONGEST_USUAL
