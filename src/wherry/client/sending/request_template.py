"""Requests as programs usually make them: what all of one method and origin have in common is built
once; the rest of each is its target, a few fields of its own and a body that is at hand.

The long way (`ClientRequest` and `wire_head`) takes everything.  This one takes what needs no
second look, and says None to all else: fields of the engine, a Cookie beside the jar's, credentials
that are given twice.  What it takes it sends as the long way would, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any

from wherry.auth.basic import BasicAuth
from wherry.body.payload.base import Payload
from wherry.client.headers.validation import (
    ENGINE_FIELDS,
    check_field,
    field_pairs,
    known_name,
    target_of,
)
from wherry.client.middleware import Auth
from wherry.client.request import ClientRequest, PreparedRequest, RequestShape
from wherry.client.sending.redirect_rules import Leg
from wherry.connect.route import Route
from wherry.protocol.heads import RequestHead
from wherry.types import LooseHeaders

# Methods whose requests are often the same but for what they carry.
USUAL_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Sets of shared fields that requests say anew; a program has one or two.
_MOST_VARIANTS = 16

# A value that needs no second look; `check_field` is for the others.
_is_plain_value = re.compile(r"[\t\x20-\x7e]*+").fullmatch
_NO_NAMES: frozenset[str] = frozenset()


def own_fields(headers: LooseHeaders, fields: list[tuple[str, str]]) -> set[str] | None:
    """Put a request's own fields into `fields`, checked.

    Returns:
        Their names in lower case; None where the engine must read one of them, or must not send it.
    """
    names = set()
    for pair in field_pairs(headers):
        name, value = pair
        lower = known_name(name)
        if lower is None or type(value) is not str or _is_plain_value(value) is None:
            try:
                lower = check_field(name, value)
            except (ValueError, TypeError):
                return None  # the long way says why
        if lower in ENGINE_FIELDS:
            return None
        names.add(lower)
        fields.append((name, value))
    return names


def _add_secrets(
    fields: list[tuple[str, str]], told: AbstractSet[str], cookies: str, auth: Auth | None
) -> bool:
    """Add the jar's cookies and the credentials; False where a field has `told` others already."""
    if cookies:
        if "cookie" in told:
            return False
        fields.append(("Cookie", cookies))
    if auth is not None:
        if type(auth) is not BasicAuth or "authorization" in told:
            return False
        fields.append(("Authorization", auth.encode()))
    return True


def _body_at_hand(payload: Payload, fields: list[tuple[str, str]], *, told: bool) -> bytes | None:
    """The body, whose type goes to `fields` unless a field has `told` it; None where it is not at
    hand, or says more of itself.
    """
    content_type = payload.sole_type
    if content_type is None or _is_plain_value(content_type) is None:
        return None
    if not told:
        fields.append(("Content-Type", content_type))
    return payload.at_hand


class RequestTemplate:
    """What all usual requests of one method to one origin have in common.

    Args:
        shape: What makes the requests that programs see.
        route: Its way.
        head: What is sent for it.
        auth: The session's credentials, where they may go there.
    """

    __slots__ = ("_auth", "_head", "_names", "_route", "_shape", "_variants")

    def __init__(
        self, shape: RequestShape, route: Route, head: RequestHead, auth: Auth | None
    ) -> None:
        self._shape = shape
        self._route = route
        self._head = head
        self._names = shape.names
        self._auth = auth
        # By the names of shared fields that a request says itself.
        self._variants: dict[frozenset[str], RequestTemplate] = {}

    @staticmethod
    def fits(shape: RequestShape, route: Route, head: RequestHead) -> bool:
        """Whether requests like this one can be made from a template: nothing but the start line
        and Content-Length follows from path, query and body.
        """
        usual = not (head.streamed or head.close or head.expect_continue or head.upgrade)
        # RFC 9110 11.7.2: what is meant for a proxy goes no further than that.
        told_proxy = bool(route.hops) and "proxy-authorization" in shape.names
        at_proxy = route.forward is not None or told_proxy
        return usual and head.version is None and shape.is_usual and not at_proxy

    def prepare(self, leg: Leg, session: Any, cookies: str, traces: Any) -> PreparedRequest | None:
        """The request of `leg`, with its route and its head.

        Args:
            leg: A leg that is trusted, of this method and to this origin.
            session: Whose request it is.
            cookies: The jar's Cookie line for it.
            traces: Who listens.

        Returns:
            None where it needs the long way.
        """
        fields: list[tuple[str, str]] = []
        shared, template = self._names, self
        names: frozenset[str] | set[str] = _NO_NAMES
        if leg.headers:
            own = own_fields(leg.headers, fields)
            if own is None or (self._route.hops and "proxy-authorization" in own):
                return None
            names = own
            if not shared.isdisjoint(names):
                template = self._variant(shared & names)
        auth = leg.auth if leg.auth is not None else self._auth
        if (cookies or auth is not None) and not _add_secrets(
            fields, names | shared, cookies, auth
        ):
            return None
        payload, body = leg.data, None
        if payload is not None:
            told = "content-type" in names or "content-type" in shared
            body = _body_at_hand(payload, fields, told=told)
            if body is None:
                return None
        prepared = object.__new__(PreparedRequest)
        prepared.text = text = leg.text
        target = target_of(leg.url) if text is None else text[text.find("/", 8) :]
        prepared.route = template._route
        prepared.head = template._head.from_template(target, fields, body)
        prepared.traces = traces
        prepared.template = template
        prepared.leg = leg
        prepared.method = leg.method
        prepared.session = session
        prepared.auth = auth
        prepared.timeout = prepared.made = None
        return prepared

    def show(self, prepared: PreparedRequest) -> ClientRequest:
        """The request that was prepared, as programs see it."""
        return self._shape.make(prepared)

    def _variant(self, replaced: frozenset[str]) -> RequestTemplate:
        """The template for requests that say these shared fields themselves."""
        variant = self._variants.get(replaced)
        if variant is None:
            shape, block = self._shape.without(replaced)
            head = self._head.from_template("", (), None)
            head.shared, head.template = block, None
            variant = RequestTemplate(shape, self._route, head, self._auth)
            if len(self._variants) >= _MOST_VARIANTS:
                self._variants.clear()
            self._variants[replaced] = variant
        return variant
