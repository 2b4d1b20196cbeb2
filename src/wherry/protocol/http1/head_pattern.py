"""A response's head in one look: a regular expression that is the grammar of the usual final
answer.

What it matches is an answer that llhttp takes as well, and as the same: RFC 9112 4 and 5 without
any leniency.  All that is rare or doubtful it does not match: HTTP/1.0, interim answers, 204 and
304, Transfer-Encoding, a length or a type that is said twice, a Connection that says anything but
keep-alive, line ends without CR.  That is for the parser, which gets the same bytes.

Pure and linear: lines are told apart by their first bytes, what stands in a line is matched
possessively, and a head that fails after some lines cannot match with fewer of them, for a line
begins with a letter and the end with CR.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from wherry.protocol.grammar import TCHAR
from wherry.protocol.heads import HeadFacts, ResponseHead
from wherry.types import HttpVersion11, RawHeaders

# More lines than these are the parser's to count.
MOST_LINES = 128

_TCHAR = TCHAR.encode()
# RFC 9110 5.5: field-vchar, SP and HTAB.
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
# The names that are looked for begin with these letters.
_OWN_FIRST = rb"CKPSTckpst"
_OTHER_FIRST = rb"!#$%&'*+\-.^_`|~0-9ABD-JL-OQRU-Zabd-jl-oqru-z"
_OWN = (
    rb"connection|content-(?:length|type|encoding)|keep-alive|proxy-connection|set-cookie"
    rb"|transfer-encoding"
)
# The kinds of lines.  No line is of two kinds: were there one, a head that does not match would be
# tried in every combination of them.
LINES = (
    rb"[%b][%b]*+:%b" % (_OTHER_FIRST, _TCHAR, _VALUE),
    rb"(?i:content-length):(?(3)(?!))[\t ]*+([0-9]{1,18}+)[\t ]*+",
    rb"(?i:content-type):(?(4)(?!))[\t ]*+(%b)" % _VALUE,
    rb"(?i:content-encoding):(?(5)(?!))[\t ]*+(%b)" % _VALUE,
    rb"(?i:set-cookie)(:)%b" % _VALUE,
    rb"(?i:connection):[\t ]*+(?i:keep-alive)[\t ]*+",
    rb"(?i:keep-alive):(?(7)(?!))[\t ]*+(%b)" % _VALUE,
    rb"(?!(?i:%b):)[%b][%b]*+:%b" % (_OWN, _OWN_FIRST, _TCHAR, _VALUE),
)
# Groups: 1 status, 2 reason, 3 length, 4 type, 5 coding, 6 a sign of cookies, 7 keep-alive.  Each
# may be there once, but for 6.  No group stands in a possessive repetition: Python 3.11.0 to 3.11.4
# could lose it there.
match_head: Callable[[bytes], re.Match[bytes] | None] = re.compile(
    rb"HTTP/1\.1 (?!204|304)([2-5][0-9][0-9]) (%b)\r\n(?:(?:%b)\r\n){0,%d}\r\n"
    % (_VALUE, b"|".join(LINES), MOST_LINES)
).match
_find_cookies = re.compile(rb"\n(?i:set-cookie):[\t ]*+([^\r]*+)").findall

# What a status line has besides its reason: "HTTP/1.1 200 " and CRLF.
STATUS_LINE = 15
_NO_FACTS = HeadFacts(None, None, False)
_JSON_FACTS = HeadFacts(None, None, True)


@lru_cache(256)
def _finder(name: bytes) -> Callable[[bytes, int], re.Match[bytes] | None]:
    """Finds the first line of a head that matched with this name; no value holds a line's end."""
    return re.compile(rb"\r\n(?i:%b):[\t ]*+([^\r]*+)" % re.escape(name)).search


class MatchedHead(ResponseHead):
    """A head that matched: its field lines are made when somebody asks for them.

    Args:
        data: The head's bytes.
        groups: What `match_head` has found in it.
    """

    __slots__ = ("_data", "_fields_at")

    raw: RawHeaders
    keep_alive: float | None
    shown: Any

    def __init__(self, data: bytes, groups: tuple[Any, ...]) -> None:
        # `raw` stays unset: `__getattr__` makes it.
        status, reason, _, content_type, coding, cookies, _ = groups
        self.status: int = 200 if status == b"200" else int(status)
        self.reason: str = "OK" if reason == b"OK" else reason.decode("utf-8", "surrogateescape")
        self.version = HttpVersion11
        self.keep_alive = self.shown = None
        self._data = data
        self._fields_at = STATUS_LINE + len(reason)
        if coding is None and cookies is None:
            self.facts = _JSON_FACTS if content_type == b"application/json" else _NO_FACTS
        else:
            self.facts: HeadFacts = self._facts(content_type, coding, cookies)

    def _facts(
        self, content_type: bytes | None, coding: bytes | None, cookies: bytes | None
    ) -> HeadFacts:
        return HeadFacts(
            None
            if cookies is None
            else [
                value.rstrip(b" \t").decode("utf-8", "surrogateescape")
                for value in _find_cookies(self._data)
            ],
            None if coding is None else coding.rstrip(b" \t").decode("latin-1"),
            content_type == b"application/json",
        )

    def get(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower case), or None; the others stay as they
        are.
        """
        found = _finder(name)(self._data, self._fields_at - 2)
        return None if found is None else found[1].rstrip(b" \t")

    def text_pairs(self) -> list[tuple[str, str]]:
        """Names and values, decoded together: no character goes over a line's end."""
        lines = self._data[self._fields_at : -4].decode("utf-8", "surrogateescape").split("\r\n")
        return [
            (name, value.strip(" \t")) for name, _, value in [line.partition(":") for line in lines]
        ]

    def __getattr__(self, name: str) -> RawHeaders:
        # Python comes here only for a slot that was not filled.
        if name == "raw":
            lines = self._data[self._fields_at : -4].split(b"\r\n")
            self.raw = raw = tuple(
                [
                    (field, value.strip(b" \t"))
                    for field, _, value in [line.partition(b":") for line in lines]
                    if field
                ]
            )
            return raw
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
