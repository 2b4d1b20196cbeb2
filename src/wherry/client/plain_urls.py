"""URLs that are texts already: what yarl would write as it stands needs no URL object to be sent.

A target of a grammar that is narrower than RFC 3986's, behind an origin that was looked at before,
is what yarl makes of it, character for character: nothing in it is percent-encoded or must be, no
segment begins with a dot, and there is no fragment.  All else goes by yarl.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any, Final

from yarl import URL

_SAFE = r"A-Za-z0-9\-._~!$'()*,/:@"
# At a place in a text, to its end: a path, and a query that is not empty.
is_plain_target: Final = re.compile(
    rf"(?:/(?!\.)[A-Za-z0-9\-._~!$'()*,:@&+;=]*+)+(?:\?[{_SAFE}?&+;=]*[{_SAFE}?+;=])?"
).fullmatch
_is_plain_query = re.compile(rf"[{_SAFE}? &=]*+").fullmatch


def plain_query(params: Any) -> str | None:
    """A query of a dictionary of plain texts and numbers, as yarl writes it; None for all else."""
    if type(params) is not dict:
        return None
    parts = []
    for name, value in params.items():
        if type(name) is not str or (type(value) is not str and type(value) is not int):
            return None
        parts.append(f"{name}={value}")
    query = "&".join(parts)
    # One look at all: whoever brings "&" or "=" along makes more of them than there are arguments.
    count = len(parts)
    if query.count("=") != count or query.count("&") != count - 1 or _is_plain_query(query) is None:
        return None
    return query.replace(" ", "+")


def plain_origin(text: str, url: URL) -> str | None:
    """The part of `text` before its path, if it is what yarl says of `url`, made of `text`."""
    origin = text[: text.find("/", 8)]
    plain = url.raw_user is None and url.raw_password is None and url.scheme in ("http", "https")
    return origin if plain and origin == f"{url.scheme}://{url.raw_authority}" else None


def plain_location(text: str, location: str) -> str | None:
    """The text of the URL that a Location means, where it is of the same origin and plain.

    Args:
        text: The URL that was asked, plain too.
        location: The field's value.

    Returns:
        None for all else: that is for a reading of every rule (`redirect_rules.redirect_url`).
    """
    origin = text[: text.find("/", 8)]
    location = location.removeprefix(origin)
    # RFC 3986 4.2: what begins with two slashes begins with a host.
    if location[:2] == "//" or is_plain_target(location) is None:
        return None
    return origin + location


class UrlWhenAsked(ABC):
    """An attribute that is a URL, made when somebody asks for it, and kept."""

    _name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        url = self.made_for(instance)
        if url is None:
            raise AttributeError(
                f"{type(instance).__name__!r} object has no attribute {self._name!r}",
                name=self._name,
                obj=instance,
            )
        instance.__dict__[self._name] = url
        return url

    @abstractmethod
    def made_for(self, instance: Any) -> URL | None:
        """The URL, None where there is nothing that it could be made of."""


class UrlOfText(UrlWhenAsked):
    """A URL of a request that was made of a text."""

    def made_for(self, instance: Any) -> URL | None:
        text = instance.__dict__.get("_text")
        return None if text is None else URL(text)
