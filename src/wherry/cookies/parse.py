"""From the values of Set-Cookie fields to cookies, as browsers read them (RFC 6265bis 5.6).

Pure: it knows what a field says, and neither who sent it nor what a jar does with it.  Values stay
as they were sent, quotes included; `Morsel` and `SimpleCookie` appear where a program looks at
them.  What http.cookies checks and quotes has changed in patch releases of Python, so nothing here
relies on either.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from http.cookies import Morsel, SimpleCookie
from typing import Any, NamedTuple, TypeVar

from wherry.cookies.date import parse_cookie_date
from wherry.protocol.grammar import has_control
from wherry.redaction import HIDDEN

__all__ = (
    "MAX_ATTRIBUTE_LENGTH",
    "MAX_LIFETIME",
    "MAX_PAIR_LENGTH",
    "OwnCookies",
    "OwnMorsel",
    "ReceivedMorsel",
    "SetCookie",
    "build_morsel",
    "expiry",
    "parse_one",
    "parse_set_cookie",
    "quote",
    "set_cookie_pairs",
    "unquote",
)

# Octets of a cookie's name and value together (RFC 6265bis 5.6); what is larger is ignored.
MAX_PAIR_LENGTH = 4096
# Octets of one attribute's value; a larger attribute is ignored, its cookie is not.
MAX_ATTRIBUTE_LENGTH = 1024
# Seconds that a received cookie may live at most: 400 days (RFC 6265bis 5.5).
MAX_LIFETIME = 400 * 86400

_FLAGS = frozenset({"secure", "httponly", "partitioned"})
# RFC 6265bis 5.6: a server may write anything behind a cookie, and what has no meaning is not kept.
_VALUED = frozenset({"domain", "expires", "max-age", "path", "samesite"})
_MAX_AGE = re.compile(rf"-?[0-9]{{1,{MAX_ATTRIBUTE_LENGTH}}}").fullmatch
_ESCAPE = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)
_BLANKS = " \t"
# What a value may consist of without quotes (RFC 2109's token, and the colon).
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~:]+").fullmatch
# What stands between quotes as it is; other characters of Latin-1 are escaped, those above go as
# they are.
_PLAIN_IN_QUOTES = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~: ()/<=>?@[]{}")
_QUOTED = {
    number: f"\\{number:03o}" for number in range(256) if chr(number) not in _PLAIN_IN_QUOTES
}
_QUOTED.update({ord('"'): '\\"', ord("\\"): "\\\\"})


class OwnMorsel(Morsel[str]):
    """A cookie as wherry shows it to programs, the same on every Python.

    It has the attribute ``partitioned`` (`Morsel` has it from 3.14 on), and copies and pickles hold
    whatever a cookie may hold: some patch releases refuse to load a value with a tab.
    """

    _reserved = {**Morsel._reserved, "partitioned": "Partitioned"}  # type: ignore[attr-defined]  # noqa: RUF012
    _reserved_defaults = dict.fromkeys(_reserved, "")
    _flags = Morsel._flags | {"partitioned"}  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        """Without its value, which is often all that protects a session; `OutputString` has it."""
        return f"<{type(self).__name__}: {self.key}={HIDDEN}>"

    def __eq__(self, other: object) -> bool:
        """As Morsels are compared; an attribute that only one kind of them has and that was not
        given makes no difference.
        """
        if not isinstance(other, Morsel):
            return NotImplemented
        mine, others = (
            {name: value for name, value in each.items() if value} for each in (self, other)
        )
        return (self.key, self.value, self.coded_value, mine) == (
            other.key, other.value, other.coded_value, others,
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> OwnMorsel:
        """A copy of the same kind: a received cookie stays one."""
        return _restored(type(self), dict(self), self.__dict__)

    def __copy__(self) -> OwnMorsel:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), dict(self), self.__dict__)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()


class ReceivedMorsel(OwnMorsel):
    """A cookie that a server sent: its coded value goes back as it came, and the rules for
    responses hold for it.
    """


class OwnCookies(SimpleCookie):
    """Cookies by their names, whose repr does not show their values."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {' '.join(f'{name}={HIDDEN}' for name in self)}>"


def _restored(
    kind: type[OwnMorsel], attributes: dict[str, Any], state: dict[str, Any]
) -> OwnMorsel:
    morsel = kind()
    dict.update(morsel, attributes)
    morsel.__dict__.update(state)
    return morsel


class SetCookie(NamedTuple):
    """One Set-Cookie field.

    Args:
        name: The cookie's name, "" for a field that has none.
        value: The value as it was sent, with its quotes.
        attributes: Those that are known, by lower-case names, values as sent; the flags secure,
            httponly and partitioned are True.
    """

    name: str
    value: str
    attributes: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}={HIDDEN}>"


def parse_one(field: str) -> SetCookie | None:
    """One field's cookie, or None where a browser would ignore the field (RFC 6265bis 5.6)."""
    # RFC 6265bis 5.6: a field with a control character but the tab is ignored as a whole.
    if has_control(field):
        return None
    pair, *rest = field.split(";")
    name, equals, value = pair.partition("=")
    if equals:
        name = name.strip(_BLANKS)
    else:
        # A pair without "=" is the value of a cookie without a name.
        name, value = "", name
    value = value.strip(_BLANKS)
    if not (name or value) or not _fits(name, value, MAX_PAIR_LENGTH):
        return None
    attributes: dict[str, Any] = {}
    for part in rest:
        key, _, text = part.partition("=")
        key = key.strip(_BLANKS).lower()
        if key in _FLAGS:
            attributes[key] = True
            continue
        if key not in _VALUED:
            continue
        text = text.strip(_BLANKS)
        if _fits(text, "", MAX_ATTRIBUTE_LENGTH) and (
            key not in attributes or _says_something(key, text)
        ):
            attributes[key] = text
    return SetCookie(name, value, attributes)


def _says_something(key: str, text: str) -> bool:
    """Whether a repeated attribute replaces the one before: 5.6.1 and 5.6.2 ignore times that are
    none.
    """
    if key == "max-age":
        return _MAX_AGE(text) is not None
    return key != "expires" or parse_cookie_date(text) is not None


def _fits(first: str, second: str, limit: int) -> bool:
    """Whether both texts together have at most `limit` octets in UTF-8."""
    length = len(first) + len(second)
    if length * 4 <= limit:
        return True
    if length > limit:
        return False
    return len((first + second).encode("utf-8", "surrogatepass")) <= limit


def expiry(attributes: Mapping[str, Any], now: float) -> float | None:
    """When a cookie with these attributes ends, in seconds since 1970; None for the end of the
    session.

    Max-Age wins over Expires; a value that says nothing counts as absent; Max-Age of 0 or less is
    the earliest time there is (RFC 6265bis 5.6.2, 5.7).

    Args:
        attributes: Lower-case names and values, a `Morsel` for example.
        now: The present, in seconds since 1970.
    """
    max_age = attributes.get("max-age")
    if isinstance(max_age, str):
        max_age = int(max_age) if _MAX_AGE(max_age) else None
    if max_age is not None:
        # Three thousand years are enough; a number of a thousand digits is no float.
        return float("-inf") if max_age <= 0 else now + min(max_age, 10**11)
    expires = attributes.get("expires")
    if not expires:
        return None
    if isinstance(expires, str):
        return parse_cookie_date(expires)
    # http.cookies lets a program say how many seconds lie ahead.
    return now + float(expires)


def unquote(value: str) -> str:
    r"""A value without the quotes and escapes that RFC 2109 knows: ``"a\073b\""`` is ``a;b"``."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    inner = value[1:-1]
    if "\\" not in inner:
        return inner
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)) if found[1] else found[2], inner)


def quote(value: str) -> str:
    r"""A value in quotes and with escapes where RFC 2109 needs them: ``a;b"`` is ``"a\073b\""``."""
    if _NEEDS_NO_QUOTES(value):
        return value
    return f'"{value.translate(_QUOTED)}"'


_M = TypeVar("_M", bound=OwnMorsel)


def build_morsel(
    morsel: _M, name: str, value: str, coded: str, attributes: Mapping[str, Any]
) -> _M:
    """Fill a new `morsel`, odd names and all: the checks of `Morsel.set` are for those who write
    cookies.
    """
    # Not by __setstate__, which checks on some patch releases and does not on others.
    morsel.__dict__.update(_key=name, _value=value, _coded_value=coded)
    known = morsel._reserved
    for key, text in attributes.items():
        if key in known:
            dict.__setitem__(morsel, key, text)
    return morsel


def set_cookie_pairs(values: Iterable[str]) -> list[tuple[str, Morsel[str]]]:
    """(name, cookie) of a response's cookies that have a name, in order; several may have the same.

    Args:
        values: The values of the response's Set-Cookie fields, in order.
    """
    pairs: list[tuple[str, Morsel[str]]] = []
    for field in values:
        parsed = parse_one(field)
        if parsed is not None and parsed.name:
            name, value, attributes = parsed
            pairs.append(
                (name, build_morsel(ReceivedMorsel(), name, unquote(value), value, attributes))
            )
    return pairs


def parse_set_cookie(values: Iterable[str]) -> SimpleCookie:
    """The cookies of a response, as `ClientResponse.cookies` shows them.

    A cookie without a name is left out, since a mapping of names cannot show it; of two with the
    same name the last stays.

    Args:
        values: The values of the response's Set-Cookie fields, in order.
    """
    cookies = OwnCookies()
    for name, morsel in set_cookie_pairs(values):
        dict.__setitem__(cookies, name, morsel)
    return cookies
