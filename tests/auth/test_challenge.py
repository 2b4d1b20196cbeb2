"""Reading challenges out of field values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.auth.challenge import Challenge, parse_challenges, parse_params
from wherry.protocol.grammar import quoted

CASES = {
    "one": (['Digest realm="a", nonce="b"'], [("digest", None, {"realm": "a", "nonce": "b"})]),
    "names in any case": (
        ['DIGEST Realm="a", NONCE=b'],
        [("digest", None, {"realm": "a", "nonce": "b"})],
    ),
    "several in one field": (
        ['Basic realm="x, y", Digest realm="a", nonce="b", Bearer'],
        [
            ("basic", None, {"realm": "x, y"}),
            ("digest", None, {"realm": "a", "nonce": "b"}),
            ("bearer", None, {}),
        ],
    ),
    "several fields": (
        ["Negotiate", 'Digest realm="a"'],
        [("negotiate", None, {}), ("digest", None, {"realm": "a"})],
    ),
    "token68": (
        ['NTLM TlRMTVNTUAAC==, Digest realm="a"'],
        [("ntlm", "TlRMTVNTUAAC==", {}), ("digest", None, {"realm": "a"})],
    ),
    "a comma and a scheme's name inside quotes": (
        ['Digest realm="Basic realm=\\"z\\", Digest", nonce="b"'],
        [("digest", None, {"realm": 'Basic realm="z", Digest', "nonce": "b"})],
    ),
    "escapes": ([r'Digest realm="a\"b\\c\d"'], [("digest", None, {"realm": 'a"b\\cd'})]),
    "blanks round equals": (
        ['Digest realm = "a" ,nonce= b'],
        [("digest", None, {"realm": "a", "nonce": "b"})],
    ),
    "empty elements": (
        [', ,Digest realm="a",, nonce="b",'],
        [("digest", None, {"realm": "a", "nonce": "b"})],
    ),
    "an empty first parameter": (
        ['Digest opaque=, realm="a"'],
        [("digest", None, {"opaque": "", "realm": "a"})],
    ),
    "the first of two": (['Digest realm="a", realm="b"'], [("digest", None, {"realm": "a"})]),
    "a string without end": (
        ['Basic realm="x", Digest realm="a'],
        [("basic", None, {"realm": "x"})],
    ),
    "parameters of nothing": (['realm="a"'], []),
    "nothing": ([""], []),
}


@pytest.mark.parametrize("case", CASES)
def test_challenges_are_told_apart(case: str) -> None:
    values, expected = CASES[case]
    assert parse_challenges(values) == [Challenge(*each) for each in expected]


def test_parameters_without_a_scheme() -> None:
    assert parse_params('nextnonce="a b", nc=00000001') == {"nextnonce": "a b", "nc": "00000001"}
    assert parse_params('nextnonce="a') == {}
    assert parse_params("") == {}


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,8}\Z"), st.text(max_size=30), max_size=5))
def test_what_is_quoted_reads_back(params: dict[str, str]) -> None:
    params = {name: value.replace("\n", "").replace("\r", "") for name, value in params.items()}
    line = "X " + ", ".join(f"{name}={quoted(value)}" for name, value in params.items())
    assert parse_challenges([line]) == [Challenge("x", None, params)]


@given(st.lists(st.text(alphabet='Dig =,"\\ab\t', max_size=60), max_size=3))
def test_any_text_is_read_without_an_error(values: list[str]) -> None:
    for challenge in parse_challenges(values):
        assert challenge.scheme == challenge.scheme.lower()


def test_a_long_hostile_value_takes_linear_time() -> None:
    parse_challenges(
        ['Digest realm="' + '\\"' * 50_000, "a " * 50_000, "," * 100_000, "a=" * 50_000]
    )
