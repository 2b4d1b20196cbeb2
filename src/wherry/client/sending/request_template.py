"""Requests of one kind: they differ in path, query and body, and what else there is of them is
built once.

Pure: which requests are of one kind, and how the next is made of the last.  Whether session and jar
still say the same as they did then, the builder knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from yarl import URL

from wherry.body.payload.memory import Payload
from wherry.client.headers.validation import target_of
from wherry.client.request import ClientRequest
from wherry.types import LooseHeaders

# Methods whose requests are often the same but for what they carry.
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# With more fields or query arguments of its own a request is built afresh.
_MAX_PAIRS = 8

Key = tuple[Any, ...]


def plain_key(given: Iterable[Any], *parts: Any) -> Key | None:
    """What a request with these mappings is found by; None unless they are small dictionaries of
    plain text.

    Values of other types may be equal and yet be written otherwise: 1, 1.0 and True.
    """
    key = list(given)
    for part in parts:
        if part:
            if type(part) is not dict or len(part) > _MAX_PAIRS:
                return None
            for pair in part.items():
                if type(pair[1]) is not str or not isinstance(pair[0], str):
                    return None
                key.append(pair)
        key.append(None)
    return tuple(key)


def template_key_of(
    method: str, url: URL, headers: LooseHeaders | None, payload: Payload | None
) -> Key | None:
    """What requests of one kind have in common; None for those that are built one by one."""
    if method not in _METHODS or url.raw_user is not None or url.raw_password is not None:
        return None
    content_type = None
    if payload is not None:
        content_type = payload.sole_type
        if content_type is None or payload.at_hand is None:
            return None
    return plain_key((method, url.scheme, url.raw_authority, content_type), headers)


class RequestTemplate:
    """One request, without its body, as the pattern of the next of its kind.

    Args:
        request: A request with what is sent for it (`_ready`); it stays as it is.
    """

    __slots__ = ("_head", "_route", "built")

    def __init__(self, request: ClientRequest) -> None:
        assert request._ready is not None
        self.built = built = request.copy()
        self._route, head = request._ready
        self._head = head.as_template()
        built._body = built._ready = None

    @staticmethod
    def fits(request: ClientRequest) -> bool:
        """Whether nothing but the start line and Content-Length follows from path, query and
        body.
        """
        assert request._ready is not None
        route, head = request._ready
        usual = (
            not (head.streamed or head.close or head.expect_continue or head.upgrade)
            and head.version is None
        )
        return (
            usual and request._engine is None and request._headers is None and route.forward is None
        )

    def request(self, url: URL, payload: Payload | None) -> ClientRequest:
        """The request of this kind for `url`, with `payload`."""
        made = self.built.copy()
        made.original_url = url
        made.url = url.with_fragment(None) if url.raw_fragment else url
        made._body = payload
        body = None if payload is None else payload.at_hand
        made._ready = self._route, self._head.from_template(target_of(made.url), body)
        return made
