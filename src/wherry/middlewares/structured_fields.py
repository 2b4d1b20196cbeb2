"""Structured Fields (RFC 9651) in their one strict form, as signatures need them: text to text.

It knows the grammar and nothing of any field.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_BARE = re.compile(
    r"(?P<decimal>-?[0-9]{1,12}\.[0-9]{1,3})"
    r"|(?P<integer>-?[0-9]{1,15})"
    r'|(?P<string>"(?:[ !#-\[\]-~]|\\["\\])*")'
    r"|(?P<token>[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*)"
    r"|:(?P<bytes>[A-Za-z0-9+/]*={0,2}):"
    r"|(?P<boolean>\?[01])"
    r"|(?P<date>@-?[0-9]{1,15})"
    r'|(?P<display>%"(?:[ !#$&-~]|%[0-9a-f]{2})*")'
)
_TRUE = "?1"


class Member:
    """A member of a list or dictionary: its value, and its parameters, as they are written.

    Args:
        value: An item without its parameters, or an inner list.
        parameters: Their names and values, in order.
    """

    __slots__ = ("parameters", "value")

    def __init__(self, value: str, parameters: Mapping[str, str]) -> None:
        self.value: str = value
        self.parameters: Mapping[str, str] = parameters

    def __str__(self) -> str:
        return self.value + parameters_text(self.parameters)


def parameters_text(parameters: Mapping[str, str]) -> str:
    """Parameters as they are written (RFC 9651 4.1.1.2)."""
    return "".join(
        f";{name}" if value == _TRUE else f";{name}={value}" for name, value in parameters.items()
    )


def dictionary_of(text: str) -> dict[str, Member]:
    """The members of a dictionary (RFC 9651 4.2.2).

    Raises:
        ValueError: The text is none.
    """
    members: dict[str, Member] = {}
    scan = _Scan(text)
    while scan.goes_on(first=not members):
        key = scan.take(_KEY)
        members[key] = scan.member() if scan.skip("=") else Member(_TRUE, scan.parameters())
    return members


def list_of(text: str) -> list[Member]:
    """The members of a list (RFC 9651 4.2.1).

    Raises:
        ValueError: The text is none.
    """
    members: list[Member] = []
    scan = _Scan(text)
    while scan.goes_on(first=not members):
        members.append(scan.member())
    return members


def parameters_of(text: str) -> dict[str, str]:
    """What follows an item: ``;a;b=1``.

    Raises:
        ValueError: It is something else.
    """
    scan = _Scan(text)
    parameters = scan.parameters()
    scan.end()
    return parameters


def strict(text: str) -> str:
    """A field's value in its strict form (RFC 9421 2.1.1): of a dictionary, a list or an item.

    Which of them it is need not be known.  A list whose members are no tokens, or come more than
    once, is no dictionary; else both are written alike.

    Raises:
        ValueError: It is none of them.
    """
    try:
        members = list_of(text)
    except ValueError:
        return ", ".join(
            key + (parameters_text(member.parameters) if member.value == _TRUE else f"={member}")
            for key, member in dictionary_of(text).items()
        )
    return ", ".join(map(str, members))


class _Scan:
    """Reads a text from left to right."""

    __slots__ = ("_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = text.strip(" ")
        self._at = 0

    def _refuse(self) -> ValueError:
        return ValueError(f"no structured field (RFC 9651): {self._text[self._at :][:40]!r}")

    def skip(self, mark: str) -> bool:
        """Pass `mark`, if it comes next."""
        found = self._text.startswith(mark, self._at)
        if found:
            self._at += len(mark)
        return found

    def _blanks(self, kinds: str) -> None:
        while self._at < len(self._text) and self._text[self._at] in kinds:
            self._at += 1

    def end(self) -> None:
        """Nothing may follow."""
        if self._at < len(self._text):
            raise self._refuse()

    def goes_on(self, *, first: bool) -> bool:
        """Whether there is another member, after a comma if it is not the first."""
        if first:
            return self._at < len(self._text)
        self._blanks(" \t")
        if self._at == len(self._text):
            return False
        if not self.skip(","):
            raise self._refuse()
        self._blanks(" \t")
        if self._at == len(self._text):
            raise self._refuse()
        return True

    def take(self, pattern: re.Pattern[str]) -> str:
        """What matches."""
        found = pattern.match(self._text, self._at)
        if found is None:
            raise self._refuse()
        self._at = found.end()
        return found[0]

    def member(self) -> Member:
        """An item, or an inner list."""
        if not self.skip("("):
            return self._item()
        items: list[str] = []
        while True:
            self._blanks(" ")
            if self.skip(")"):
                return Member(f"({' '.join(items)})", self.parameters())
            if items and self._text[self._at - 1] != " ":
                raise self._refuse()
            items.append(str(self._item()))

    def _item(self) -> Member:
        return Member(self._bare(), self.parameters())

    def parameters(self) -> dict[str, str]:
        """The parameters that come next; none, perhaps."""
        found = {}
        while self.skip(";"):
            self._blanks(" ")
            name = self.take(_KEY)
            found[name] = self._bare() if self.skip("=") else _TRUE
        return found

    def _bare(self) -> str:
        found = _BARE.match(self._text, self._at)
        if found is None:
            raise self._refuse()
        kind, text = found.lastgroup, found[0]
        if kind == "integer":
            text = str(int(text))
        elif kind == "decimal":
            whole, _, part = text.partition(".")
            sign = "-" if whole[0] == "-" else ""
            text = f"{sign}{int(whole.lstrip('-'))}.{part.rstrip('0') or '0'}"
        elif kind == "bytes":
            text = self._again(found["bytes"])
        elif kind == "date":
            text = f"@{int(text[1:])}"
        self._at = found.end()
        return text

    def _again(self, encoded: str) -> str:
        """Bytes with the padding that they should have."""
        try:
            data = base64.b64decode(encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4))
        except binascii.Error:
            raise self._refuse() from None
        return f":{base64.b64encode(data).decode()}:"
