"""`Cookie`: one cookie as a jar keeps it, and how it is written into a Cookie field.

Knows a cookie's own state; which of many are sent is the index's and the jar's affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, Morsel
from typing import Any

from wherry.cookies.parse import OwnMorsel, ReceivedMorsel, build_morsel, quote
from wherry.protocol.grammar import has_control
from wherry.protocol.heads import has_bytes
from wherry.types import LooseCookies

__all__ = ("Cookie", "CookieKey", "check_line", "coded_for_sending", "loose_pairs", "morsel_of")

# What makes two cookies one (RFC 6265bis 5.7 step 23); the domain is the index's key.
CookieKey = tuple[str, str, bool]

_BAD_NAME = re.compile(r"[\x00-\x20\x7f=;,\"]").search


class Cookie:
    """A stored cookie.

    Args:
        name: Its name.
        value: Its value as a program reads it, without quotes and escapes.
        coded: Its value as it came.
        sent: Its value as it goes out.
        domain: The host or domain that it belongs to, "" for a cookie that goes everywhere.
        host_only: It goes to exactly that host.
        path: Its path.
        secure: It goes to secure origins only.
        expires: When it ends, seconds since 1970; infinity for the end of the session.
        attributes: The attributes as they were given, lower-case names.
        received: A server set it.
    """

    __slots__ = (
        "attributes",
        "coded",
        "created",
        "domain",
        "expires",
        "host_only",
        "name",
        "pair",
        "path",
        "queued",
        "received",
        "secure",
        "sent",
        "used",
        "value",
    )

    def __init__(
        self,
        name: str,
        value: str,
        coded: str,
        sent: str,
        *,
        domain: str,
        host_only: bool,
        path: str,
        secure: bool,
        expires: float,
        attributes: Mapping[str, Any],
        received: bool,
    ) -> None:
        self.name: str = name
        self.value: str = value
        self.coded: str = coded
        self.sent: str = sent
        # As it stands in a Cookie field (RFC 6265bis 5.8.3: without a name, the value alone).
        self.pair: str = f"{name}={sent}" if name else sent
        self.domain: str = domain
        self.host_only: bool = host_only
        self.path: str = path
        self.secure: bool = secure
        self.expires: float = expires
        self.attributes: Mapping[str, Any] = attributes
        self.received: bool = received
        # Order of creation and of last use, counted by the jar; when its expiry queue looks at it
        # next.
        self.created: int = 0
        self.used: int = 0
        self.queued: float = float("inf")

    def renew(self, other: Cookie) -> None:
        """Take what `other`, the same cookie set again, says; the place in the order stays (5.7
        step 23).
        """
        self.value, self.coded, self.sent, self.pair = (
            other.value,
            other.coded,
            other.sent,
            other.pair,
        )
        self.secure, self.expires = other.secure, other.expires
        self.attributes, self.received = other.attributes, other.received

    @property
    def key(self) -> CookieKey:
        return (self.path, self.name, self.host_only)

    def morsel(self) -> Morsel[str]:
        """The cookie with its attributes, as a program sees it."""
        empty = ReceivedMorsel() if self.received else OwnMorsel()
        morsel = build_morsel(empty, self.name, self.value, self.coded, self.attributes)
        dict.__setitem__(morsel, "domain", self.domain)
        dict.__setitem__(morsel, "path", self.path)
        return morsel

    def bare_morsel(self) -> Morsel[str]:
        """Name and value alone, coded as they are sent."""
        return build_morsel(OwnMorsel(), self.name, self.value, self.sent, {})


def loose_pairs(cookies: LooseCookies) -> Iterable[tuple[str, Any]]:
    """The names and values of whatever a program may pass as cookies.

    Raises:
        TypeError: It is neither a mapping nor pairs.
    """
    if isinstance(cookies, Morsel):
        return ((cookies.key, cookies),)
    if isinstance(cookies, Mapping):
        return cookies.items()
    if isinstance(cookies, (str, bytes)) or not isinstance(cookies, Iterable):
        raise TypeError(f"cookies= takes a mapping or pairs, not {type(cookies).__name__}")
    return cookies


def morsel_of(name: str, value: Any) -> Morsel[str]:
    """A program's cookie as a `Morsel`, quoted where its value needs it.

    Raises:
        CookieError: The name or the value cannot be sent in a Cookie field.
    """
    if isinstance(value, Morsel):
        # The mapping's name is what a program looked at when it chose the cookie; the Morsel's own
        # is sent.
        morsel = value
        if morsel.key is None:
            raise CookieError(f"the Morsel given for cookie {name!r} was never set")
    else:
        text = str(value)
        morsel = build_morsel(OwnMorsel(), name, text, quote(text), {})
    if (_BAD_NAME(morsel.key) or not has_bytes(morsel.key)) and not isinstance(
        morsel, ReceivedMorsel
    ):
        raise CookieError(f"illegal cookie name {morsel.key!r}")
    return morsel


def _unsendable(text: str) -> bool:
    return has_control(text) or not has_bytes(text)


def check_line(line: str) -> str:
    """The line as it is, if it can be the value of a field.

    Raises:
        CookieError: It has control characters, or half a surrogate pair.
    """
    if _unsendable(line):
        raise CookieError("a cookie has control characters, or half a surrogate pair")
    return line


def coded_for_sending(morsel: Morsel[str], *, quoting: bool) -> str:
    """The value of `morsel` as a Cookie field has it.

    Args:
        morsel: The cookie.
        quoting: Quote what a program set where it needs it (RFC 2109); without, the plain value
            goes out.

    Raises:
        CookieError: The value has control characters that nothing escapes, or half a surrogate
            pair.
    """
    if isinstance(morsel, ReceivedMorsel):
        # RFC 6265bis 5.8.3: what the server sent goes back unchanged.
        sent = morsel.coded_value
    elif not quoting:
        sent = morsel.value
    elif morsel.coded_value[:1] == '"':
        sent = morsel.coded_value
    else:
        sent = quote(str(morsel.value))
    if _unsendable(sent):
        raise CookieError(
            f"the value of cookie {morsel.key!r} has control characters, or half a surrogate pair"
        )
    return sent
