"""Authentication challenges (RFC 9110 11.3): what a WWW-Authenticate or Proxy-Authenticate field
holds.

Values in, values out.  One field may hold several challenges, and their commas are those of their
parameters too; what belongs to which is told by the grammar alone: a token before "=" is a
parameter, any other begins a challenge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from wherry.protocol.grammar import match_token, read_string, skip_equals

_SEPARATORS = re.compile(r"[ \t,]*+")
_TOKEN68 = re.compile(r"[ \t]++([A-Za-z0-9\-._~+/]++=*+)[ \t]*+(?=,|\Z)")
# Real servers leave quotes out where a token would not do (a nonce that ends in "=", a URI).
_BARE = re.compile(r'[^\x00-\x20\x7f,"]*+')


class Challenge(NamedTuple):
    """One challenge.

    Args:
        scheme: The scheme's name in lower case.
        token68: What some schemes have in the place of parameters, else None.
        params: The parameters by their names in lower case, unquoted; of two of one name the first
            counts.
    """

    scheme: str
    token68: str | None
    params: dict[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Every challenge of these field values, in their order; where a value is broken its rest is
    passed over.
    """
    found: list[Challenge] = []
    for value in values:
        _parse_value(value, found)
    return found


def parse_params(value: str) -> dict[str, str]:
    """The parameters of a field that holds nothing else, as Authentication-Info does (RFC 9110
    11.6.3).
    """
    found: list[Challenge] = []
    _parse_value(f"- {value}", found)
    return found[0].params if len(found) == 1 else {}


def _parse_value(value: str, found: list[Challenge]) -> None:
    current: Challenge | None = None
    at = 0
    while True:
        at = _end(_SEPARATORS, value, at)
        token = match_token(value, at)
        if token is None:
            return
        equals = skip_equals(value, token.end())
        if equals is None:
            at = token.end()
            token68 = _TOKEN68.match(value, at)
            if token68 is not None and not _is_scheme(value, token68):
                at = token68.end()
                current = Challenge(token[0].lower(), token68[1], {})
            else:
                current = Challenge(token[0].lower(), None, {})
            found.append(current)
            continue
        parameter, at = _parameter(value, equals)
        if current is None or parameter is None:
            # A string without its end: what stands in it cannot be told from what stands after it.
            if current is not None:
                found.pop()
            return
        current.params.setdefault(token[0].lower(), parameter)


def _is_scheme(value: str, token68: re.Match[str]) -> bool:
    """Whether what looks like a token68 is a parameter with an empty value: ``Digest opaque=,
    realm=...``.
    """
    return value[token68.end(1) - 1] == "=" and value[
        token68.start(1) : token68.end(1) - 1
    ].lower() in {
        "opaque",
        "realm",
        "domain",
    }


def _parameter(value: str, at: int) -> tuple[str | None, int]:
    if value.startswith('"', at):
        return read_string(value, at) or (None, at)
    bare = _BARE.match(value, at)
    assert bare is not None  # it matches nothing too
    return bare[0], bare.end()


def _end(pattern: re.Pattern[str], value: str, at: int) -> int:
    match = pattern.match(value, at)
    return at if match is None else match.end()
