"""What may be sent: the rules for methods, targets, and names and values of header fields (RFC 9110
5.1, 5.5, 9.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

from yarl import URL

from wherry.errors import InvalidUrlClientError
from wherry.protocol.grammar import has_control, is_token
from wherry.protocol.heads import FieldBlock, has_bytes
from wherry.types import LooseHeaders

# RFC 9112 3.2: it ends with a space.
_NO_TARGET = re.compile(r"[\x00-\x20\x7f]")
# RFC 9110 9.2.2: to send such a request twice does what sending it once does.
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
# Fields that the engine makes or must read itself.
ENGINE_FIELDS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"}
)
# Fields that carry a secret of one origin, and must not follow a redirect to another (RFC 9110
# 15.4).
SECRET_FIELDS = frozenset({"authorization", "cookie", "proxy-authorization"})
# What belongs to one origin: its secrets, its name, and what was signed for one of its targets (RFC
# 9421, RFC 9449).
ORIGIN_FIELDS = SECRET_FIELDS | {"dpop", "host", "signature", "signature-input"}

_known_names: dict[str, str] = {}
# The lower-case form of a name that was checked before, else None.
known_name: Final = _known_names.get
_known_methods: dict[str, str] = {}


def check_method(method: str) -> str:
    """The method in upper case.

    Raises:
        ValueError: It is not a token (RFC 9110 9.1).
        TypeError: It is not a str.
    """
    if not isinstance(method, str):
        raise TypeError(f"a method must be str, not {type(method).__name__}: {method!r}")
    upper = _known_methods.get(method)
    if upper is None:
        if not is_token(method):
            raise ValueError(f"Method cannot contain non-token characters {method!r:.100}")
        upper = method.upper()
        if len(_known_methods) < 64 and len(method) <= 64:
            _known_methods[str(method)] = upper
    return upper


def is_engines(lower: str, value: str) -> bool:
    """Whether the engine makes this field, or must read it; other expectations than this one are
    sent as they are.
    """
    return lower in ENGINE_FIELDS and (lower != "expect" or value.strip().lower() == "100-continue")


def target_of(url: URL) -> str:
    """The path and query of `url` as they are sent.

    Raises:
        InvalidUrlClientError: They have a space, a control character, or what has no bytes (RFC
            9112 3.2).
    """
    target = url.raw_path_qs
    if _NO_TARGET.search(target) is not None or not (target.isascii() or has_bytes(target)):
        raise InvalidUrlClientError(
            url, f"{target!r} has what cannot be sent unless it is percent-encoded"
        )
    return target


def check_field(name: str, value: str) -> str:
    """The lower-case name of a field that may be sent.

    Raises:
        ValueError: The name is no token, or the value holds CR, LF, NUL, another control character
            (RFC 9110 5.5), or half a surrogate pair.
        TypeError: One of them is not a str.
    """
    lower = _known_names.get(name)
    if lower is None:
        if not isinstance(name, str):
            raise TypeError(
                f"the name of a header field must be str, not {type(name).__name__}: {name!r}"
            )
        if not is_token(name):
            raise ValueError(f"Invalid header field name {name!r}: not a token")
        lower = name.lower()
        # A program may send on what a peer chose: the memory that it can fill is bounded.
        if len(_known_names) < 2048 and len(name) <= 64:
            _known_names[str(name)] = lower
    if not isinstance(value, str):
        mend = ": leave the field out" if value is None else ""
        raise TypeError(
            f"the value of header field {name} must be str, not {type(value).__name__}{mend}"
        )
    if not (value.isascii() or has_bytes(value)):
        raise ValueError(f"the value of header field {name} holds half a surrogate pair")
    if has_control(value):
        raise ValueError(
            "Newline, carriage return, null byte or another control character detected in the "
            "value of header field "
            f"{name}; this may be header injection"
            f"{'' if has_control(value.strip()) else ': take off what ends it, by strip()'}"
        )
    return lower


def field_pairs(headers: LooseHeaders) -> Iterable[tuple[str, str]]:
    """The pairs of any form of `headers=` that the API takes.

    Raises:
        TypeError: It is of none.
    """
    # A dict first: asking the abstract class costs more than all the rest.
    if type(headers) is dict or isinstance(headers, Mapping):
        return cast("Iterable[tuple[str, str]]", headers.items())
    if isinstance(headers, (str, bytes)) or not isinstance(headers, Iterable):
        raise TypeError(f"headers= takes a mapping or pairs, not {type(headers).__name__}")
    return headers


def without_proxy_credentials(
    shared: FieldBlock, fields: list[tuple[str, str]]
) -> tuple[FieldBlock, list[tuple[str, str]]]:
    """The fields without those that are for a proxy only."""
    if "proxy-authorization" in shared.names:
        shared = FieldBlock(
            pair for pair in shared.pairs if pair[0].lower() != "proxy-authorization"
        )
    return shared, [pair for pair in fields if pair[0].lower() != "proxy-authorization"]
