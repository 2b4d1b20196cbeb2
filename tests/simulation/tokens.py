"""Secrets of the simulation: each is a marked token that belongs to somebody, and all that any peer
receives is searched for them, as it comes and inside TLS, HPACK, QPACK and Base64.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

_MARK = b"tokenmark"
_PLAIN = re.compile(rb"tokenmark\.(\d+)\.")
#: The mark in Base64, where a text begins with it, as a Basic login does.
_ENCODED = re.compile(re.escape(base64.b64encode(_MARK)) + rb"([A-Za-z0-9+/]{4,}={0,2})")
# A token is not longer than this, however it is written.
_LONGEST = 120


class Secrets:
    """Who may see what, and who saw something that he may not.

    Attributes:
        leaks: What came to whom it does not belong.
        seen: How often a token came where it belongs.
    """

    def __init__(self) -> None:
        self._owners: list[tuple[str, frozenset[str]]] = []
        self._tails: dict[object, bytes] = {}
        self.relays: set[str] = set()  # who sees what goes to others in the clear
        self.leaks: list[str] = []
        self.seen = 0

    def token(self, what: str, owners: Iterable[str]) -> str:
        """A new secret.

        Args:
            what: What it is, for people.
            owners: Who may receive it.
        """
        self._owners.append((what, frozenset(owners)))
        return f"tokenmark.{len(self._owners) - 1}."

    def received(self, who: str, stream: object, data: bytes) -> None:
        """Search what came to somebody on a connection."""
        tail = self._tails.get(stream, b"")
        whole = tail + data
        self._tails[stream] = whole[-_LONGEST:]
        if b"tokenm" not in whole and b"dG9rZW5tYXJr" not in whole:
            return
        self.look(who, whole)

    def look(self, who: str, data: bytes) -> None:
        """Search something that is whole."""
        for found in _PLAIN.finditer(data):
            self._judge(who, int(found[1]))
        for found in _ENCODED.finditer(data):
            text = found[1][: len(found[1]) // 4 * 4]
            for inside in _PLAIN.finditer(_MARK + base64.b64decode(text)):
                self._judge(who, int(inside[1]))

    def _judge(self, who: str, number: int) -> None:
        if number >= len(self._owners):
            return  # cut in the midst of its number
        what, owners = self._owners[number]
        if who in owners or (who in self.relays and "a proxy in the clear" in owners):
            self.seen += 1
        else:
            self.leaks.append(f"{who} received {what}, which belongs to {sorted(owners)}")
