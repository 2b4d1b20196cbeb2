"""What a cassette leaves out: secrets by the names they go under, wherever they stand.

Pure: takes what goes over the wire and gives what may be kept.  A secret that a request has, in a
field or in its query, is looked for in all that belongs to the exchange: servers repeat what they
were told, in links, redirects and bodies.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

from yarl import URL

from wherry.redaction import is_secret_name

__all__ = ("FILTERED", "SecretFilter")

FILTERED = "FILTERED"
# What is shorter is part of too many other words to be looked for by its value.
_SHORTEST_VALUE = 8
_VALUE = r"[^&;#\s\"'<>\\]*"


class SecretFilter:
    """Leaves out secret fields, parameters and members.

    Args:
        fields: Names of header fields, in lower case.
        names: Names of parameters: in URLs, in forms, and of members in JSON at any depth.
        paths: Where in JSON there are more: names joined by dots, `*` for any name or place.
    """

    __slots__ = ("_assignment", "_fields", "_member", "_names", "_part", "_paths")

    def __init__(self, fields: Iterable[str], names: Iterable[str], paths: Iterable[str]) -> None:
        self._fields = frozenset(fields)
        self._names = frozenset(names)
        self._paths = [path.removeprefix("$.").split(".") for path in paths]
        spelled = {
            spelling for name in self._names for spelling in (name, quote(name), quote_plus(name))
        }
        either = "|".join(sorted(map(re.escape, spelled), key=len, reverse=True))
        self._assignment = re.compile(rf"(?<![\w%-])({either})=({_VALUE})").sub if spelled else None
        # Where JSON comes line by line, or in events, and where it is cut off.
        member = rf'("(?:{either})"\s*:\s*)("(?:[^"\\]|\\.)*"|[^\s,}}\]]+)'
        self._member = re.compile(member).sub if spelled else None
        # RFC 7578: a part of a form, its fields and its content.
        part = rf'(\bname="?(?:{either})"?(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n)(.*?)(?=\r\n--)'
        self._part = re.compile(part, re.DOTALL).sub if spelled else None

    def secrets_of(self, url: URL | None, fields: Iterable[tuple[str, str]]) -> set[str]:
        """The values that what is kept must not have: those of the query and of the fields.

        Args:
            url: The request's URL; None where the fields are a response's.
            fields: Names and values.
        """
        found: set[str] = set()
        if url is not None:
            found.update(value for name, value in url.query.items() if name in self._names)
        for name, value in fields:
            lower = name.lower()
            if lower not in self._fields and (url is None or not is_secret_name(name)):
                continue
            found.add(value)
            if lower in ("authorization", "proxy-authorization"):
                scheme, _, credentials = value.partition(" ")
                found.add(credentials.strip())
                if scheme.lower() == "basic":
                    found.add(_password_of(credentials))
            elif lower in ("cookie", "set-cookie"):
                pairs = value.split(";")[: 1 if lower == "set-cookie" else None]
                found.update(pair.partition("=")[2].strip() for pair in pairs)
        return {value for value in found if len(value) >= _SHORTEST_VALUE}

    def url(self, url: URL, secrets: Iterable[str] = ()) -> str:
        """A request's URL."""
        if self._names.intersection(url.query):
            url = url.with_query(
                [
                    (name, FILTERED if name in self._names else value)
                    for name, value in url.query.items()
                ]
            )
        return _without(str(url), secrets)

    def fields(
        self,
        pairs: Iterable[tuple[str, str]],
        dropped: Iterable[str] = (),
        secrets: Iterable[str] = (),
    ) -> list[list[str]]:
        """Header fields: without the secret ones, and without what others repeat of them."""
        leave = self._fields | frozenset(dropped)
        return [
            [name, self.text(value, secrets)] for name, value in pairs if name.lower() not in leave
        ]

    def request_fields(
        self, pairs: Iterable[tuple[str, str]], dropped: Iterable[str], secrets: Iterable[str]
    ) -> list[list[str]]:
        """Those of a request, without all that are secret by their names: nothing plays them."""
        kept = [(name, value) for name, value in pairs if not is_secret_name(name)]
        return self.fields(kept, dropped, secrets)

    def text(self, text: str, secrets: Iterable[str] = ()) -> str:
        """Any text: a field's value, a form, a message."""
        if self._assignment is not None:
            text = self._assignment(rf"\1={FILTERED}", text)
        return _without(text, secrets)

    def body(self, body: bytes, secrets: Iterable[str] = ()) -> bytes:
        """A body without content coding; every byte is as it was if there is nothing to hide."""
        if not body or not (self._names or self._paths or secrets):
            return body
        text = body.decode("utf-8", "surrogateescape")
        filtered = self._json(text, secrets)
        if filtered is None:
            filtered = self.text(text, secrets)
            if self._part is not None and self._member is not None:
                filtered = self._member(rf'\1"{FILTERED}"', filtered)
                filtered = self._part(rf"\g<1>{FILTERED}", filtered)
        return filtered.encode("utf-8", "surrogateescape")

    def _json(self, text: str, secrets: Iterable[str]) -> str | None:
        """The text if it is JSON, filtered; None if it is none."""
        if text.lstrip("\ufeff \t\r\n")[:1] not in ("{", "["):
            return None
        try:
            value = json.loads(text.removeprefix("\ufeff"))
            clean = self._clean(value, secrets)
            for path in self._paths:
                clean = _blanked(clean, path)
            return text if clean == value else json.dumps(clean, ensure_ascii=False)
        except (ValueError, RecursionError):
            return None

    def _clean(self, value: Any, secrets: Iterable[str]) -> Any:
        if isinstance(value, str):
            return self.text(value, secrets)
        if isinstance(value, list):
            return [self._clean(each, secrets) for each in value]
        if isinstance(value, dict):
            return {
                self.text(name, secrets): FILTERED
                if name in self._names
                else self._clean(each, secrets)
                for name, each in value.items()
            }
        return value


def _password_of(credentials: str) -> str:
    """What stands behind the colon of Basic credentials (RFC 7617 2); "" where they are none."""
    try:
        octets = base64.b64decode(credentials, validate=True)
    except ValueError:
        return ""
    return octets.partition(b":")[2].decode("utf-8", "replace")


def _blanked(value: Any, path: list[str]) -> Any:
    """JSON whose member at `path` is hidden, where there is one."""
    if not path:
        return FILTERED
    name, *rest = path
    if isinstance(value, dict):
        return {
            key: _blanked(each, rest) if name in ("*", key) else each for key, each in value.items()
        }
    if isinstance(value, list):
        return [
            _blanked(each, rest) if name in ("*", str(at)) else each
            for at, each in enumerate(value)
        ]
    return value


def _without(text: str, secrets: Iterable[str]) -> str:
    """The text without these values, as they are and as a URL or JSON would have them."""
    for secret in sorted(secrets, key=len, reverse=True):
        for spelling in {
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            json.dumps(secret)[1:-1],
        }:
            text = text.replace(spelling, FILTERED)
    return text
