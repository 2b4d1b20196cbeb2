"""A response's fields as the client and the program need them, made once for each head and on first
touch.
"""

from __future__ import annotations

from multidict import CIMultiDict, CIMultiDictProxy

from wherry.body.media_types import is_json_type
from wherry.protocol.heads import HeadFacts, ResponseHead
from wherry.types import RawHeaders

# Letters of a field's name that is remembered for the life of the process.
LONGEST_REMEMBERED = 64
_names: dict[bytes, str] = {}


def decode_name(name: bytes) -> str:
    """A field's name as text; the usual ones come from a cache."""
    text = _names.get(name)
    if text is None:
        text = name.decode("utf-8", "surrogateescape")
        # Peers choose them: the memory that they can fill is bounded.
        if len(_names) < 2048 and len(name) <= LONGEST_REMEMBERED:
            _names[name] = text
    return text


def derive(head: ResponseHead) -> HeadFacts:
    """Look once through the fields for those that the client itself must know."""
    set_cookies: list[str] | None = None
    codings: list[str] = []
    is_json = False
    for name, value in head.raw:
        length = len(name)
        if length == 10 and name.lower() == b"set-cookie":
            if set_cookies is None:
                set_cookies = []
            set_cookies.append(value.decode("utf-8", "surrogateescape"))
        elif length == 16 and name.lower() == b"content-encoding":
            codings.append(value.decode("latin-1"))
        elif length == 12 and value == b"application/json" and name.lower() == b"content-type":
            is_json = True
    facts = head.facts = HeadFacts(set_cookies, ", ".join(codings) if codings else None, is_json)
    return facts


def decoded_fields(raw: RawHeaders) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(
        CIMultiDict(
            [(decode_name(name), value.decode("utf-8", "surrogateescape")) for name, value in raw]
        )
    )


def type_matches(actual: str, expected: str | None) -> bool:
    if expected is None:
        return True
    if expected == "application/json":
        return is_json_type(actual)
    return expected in actual
