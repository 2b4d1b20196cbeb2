"""`MessageSignatures`: signs requests (RFC 9421), as crawlers say who they are.

What is signed is a text made of a request's parts; who signs it is a function of the program's, so
keys stay where they are.  Nothing here knows cryptography but the digest of the content (RFC 9530).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from yarl import URL

from wherry.client.headers.validation import check_field
from wherry.client.origin import authority_of, origin_of, origins_of
from wherry.errors import ClientError
from wherry.middlewares.structured_fields import (
    dictionary_of,
    parameters_of,
    parameters_text,
    strict,
)

if TYPE_CHECKING:
    from multidict import CIMultiDict, CIMultiDictProxy

    from wherry.client.middleware import ClientHandlerType
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

Signer = Callable[[bytes], bytes]

# RFC 9421 2.2: parts of a request that are no fields.
_DERIVED: Mapping[str, Callable[[str, URL], str]] = {
    "@method": lambda method, url: method,
    "@target-uri": lambda method, url: str(url.with_fragment(None)),
    "@authority": lambda method, url: authority_of(origin_of(url)).lower(),
    "@scheme": lambda method, url: url.scheme,
    "@request-target": lambda method, url: url.raw_path_qs,
    "@path": lambda method, url: url.raw_path or "/",
    "@query": lambda method, url: f"?{url.raw_query_string}",
}
_QUERY_PARAM, _STATUS = "@query-param", "@status"
# Parameters of fields, and of parts that are none (2.1, 2.2.8, 2.4).
_OF_FIELDS = frozenset({"sf", "key", "bs", "tr", "req"})
_OF_PARTS = frozenset({"req"})
# What the WHATWG's application/x-www-form-urlencoded leaves as it is; a blank is %20 here (2.2.8).
_FORM_SAFE = "*-._"


class SignedMessage(NamedTuple):
    """A request or a response, as far as signatures tell of it.

    Attributes:
        fields: The header fields.
        method: A request's method.
        url: The URL that it asks.
        status: A response's status; None for requests.
        trailers: The trailer fields.
    """

    fields: CIMultiDict[str] | CIMultiDictProxy[str]
    method: str = ""
    url: URL = URL()
    status: int | None = None
    trailers: CIMultiDict[str] | CIMultiDictProxy[str] | None = None


class Component(NamedTuple):
    """A part of a message that is signed.

    Attributes:
        name: Of a field, in lower case, or of a part that begins with "@".
        parameters: What is said of it, as it is written: ``{"key": '"a"'}``.
    """

    name: str
    parameters: Mapping[str, str]

    def __str__(self) -> str:
        return f'"{self.name}"{parameters_text(self.parameters)}'

    @classmethod
    def of(cls, text: str) -> Component:
        """Read ``content-type``, ``example;key="a"``, ``@query-param;name="q"``, quoted or not.

        Raises:
            ValueError: There is no such part, or it has no such parameter.
        """
        name, semicolon, rest = text.partition(";")
        name = name.strip('"').lower()
        parameters = parameters_of(semicolon + rest)
        known = _OF_FIELDS
        if name == _QUERY_PARAM:
            known = _OF_PARTS | {"name"}
            if not parameters.get("name", "").startswith('"'):
                raise ValueError(f'{name} wants ;name="..." (RFC 9421 2.2.8)')
        elif name == _STATUS:
            known = frozenset()
        elif name in _DERIVED:
            known = _OF_PARTS
        elif name.startswith("@"):
            parts = ", ".join((*_DERIVED, _QUERY_PARAM, _STATUS))
            raise ValueError(f"there is no {name} to be signed; there are {parts}")
        else:
            check_field(name, "")
        if not parameters.keys() <= known:
            raise ValueError(f"{text}: {name} has {', '.join(sorted(known)) or 'no parameters'}")
        if "bs" in parameters and not parameters.keys().isdisjoint({"sf", "key"}):
            raise ValueError(f"{text}: bytes have no structure (RFC 9421 2.1.3)")
        return cls(name, parameters)

    def value(self, message: SignedMessage, request: SignedMessage | None) -> str:
        """What is signed of it.

        Args:
            message: The message that is signed.
            request: The request that a response answers, for ``;req``.

        Raises:
            ClientError: It is not there, or not what its parameters say.
        """
        if "req" in self.parameters:
            if request is None or message.status is None:
                raise ClientError(
                    f"{self} is of the request that a response answers (RFC 9421 2.4)"
                )
            message = request
        if self.name == _STATUS and message.status is not None:
            return str(message.status)
        if self.name.startswith("@"):
            if message.status is not None or self.name == _STATUS:
                raise ClientError(f"{self} is no part of this message (RFC 9421 2.2)")
            if self.name == _QUERY_PARAM:
                return self._query_param(message.url)
            return _DERIVED[self.name](message.method, message.url)
        return self._field(message)

    def _field(self, message: SignedMessage) -> str:
        fields = message.trailers if "tr" in self.parameters else message.fields
        values = [] if fields is None else fields.getall(self.name, [])
        if not values:
            raise ClientError(f"{_shown(message)}: there is no field {self} to be signed")
        values = [value.strip(" \t") for value in values]
        if "bs" in self.parameters:
            lines = [value.encode("utf-8", "surrogateescape") for value in values]
            return ", ".join(f":{base64.b64encode(line).decode()}:" for line in lines)
        whole = ", ".join(values)
        try:
            if "key" in self.parameters:
                key = _unquoted(self.parameters["key"])
                return str(dictionary_of(whole)[key])
            return strict(whole) if "sf" in self.parameters else whole
        except KeyError:
            raise ClientError(f"{_shown(message)}: there is no {self} to be signed") from None
        except ValueError as exc:
            raise ClientError(f"{_shown(message)}: {self} is {exc}") from exc

    def _query_param(self, url: URL) -> str:
        wanted = unquote(_unquoted(self.parameters["name"]), errors="replace")
        pairs = parse_qsl(url.raw_query_string, keep_blank_values=True, errors="replace")
        values = [value for name, value in pairs if name == wanted]
        if len(values) != 1:
            raise ClientError(
                f"{origin_of(url)}: {len(values)} parameters of the query are {self}, where one "
                "can be signed (RFC 9421 2.2.8)"
            )
        return quote(values[0], safe=_FORM_SAFE).replace("~", "%7E")


def _shown(message: SignedMessage) -> str:
    if message.status is not None:
        return f"a response of status {message.status}"
    return f"{message.method} {message.url.origin()}"


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def hmac_sha256(secret: bytes) -> Signer:
    """A signer with a shared `secret` (RFC 9421 3.3.3)."""
    return lambda data: hmac.digest(secret, data, "sha256")


def signature_base(
    components: Iterable[str | Component],
    params: Mapping[str, str | int],
    message: SignedMessage,
    request: SignedMessage | None = None,
) -> tuple[str, str]:
    """(what is signed, the value of Signature-Input for it): RFC 9421 2.5 and 4.1.

    Args:
        components: What is signed, as `MessageSignatures` is told.
        params: The signature's parameters, in order.
        message: The request or response.
        request: The request that a response answers, for what is ``;req``.

    Raises:
        ClientError: What is to be signed is not there.
        ValueError: There is no such part of a message.
    """
    named = [part if isinstance(part, Component) else Component.of(part) for part in components]
    lines = [f"{part}: {part.value(message, request)}" for part in named]
    told = "".join(f";{name}={_parameter(value)}" for name, value in params.items())
    inner = f"({' '.join(map(str, named))}){told}"
    lines.append(f'"@signature-params": {inner}')
    return "\n".join(lines), inner


def _parameter(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class MessageSignatures:
    """Signs every request.

    A signature is no secret and names its host: it goes along wherever the request goes, made anew
    for each hop and try, unless `origins` says where.

    Args:
        signer: Signs bytes: ``key.sign`` of an Ed25519 key of `cryptography`, or
            `hmac_sha256(secret)`.  An ECDSA signature is r and s one after the other, 32 bytes each
            for P-256, and not DER (RFC 9421 3.3.4); RSA-PSS has a salt of 64 bytes (3.3.1).
        keyid: What the other side knows the key by.
        components: What is signed: names of fields, and of parts ("@method", "@target-uri",
            "@authority", "@scheme", "@request-target", "@path", "@query", and with a name
            ``@query-param;name="q"``).  Fields may be signed in their strict form (``;sf``), one
            member of a dictionary alone (``;key="a"``), or as bytes (``;bs``).  For
            "content-digest" the field is made where it is missing.
        alg: The algorithm's name, where it is to be told.
        tag: What the signature is for ("web-bot-auth").
        expires: Seconds after which it does not count any more, None for ever.
        nonce: Whether each signature has a number of its own.
        label: Its name in the fields.
        origins: To whom signatures go; None for everybody.

    Raises:
        ValueError: A name cannot be sent, or is given twice.
    """

    def __init__(
        self,
        signer: Signer,
        keyid: str,
        components: Iterable[str] = ("@method", "@authority", "@path", "@query"),
        *,
        alg: str | None = None,
        tag: str | None = None,
        expires: int | None = None,
        nonce: bool = False,
        label: str = "sig1",
        origins: str | URL | Iterable[str | URL] | None = None,
    ) -> None:
        self._components = tuple(Component.of(text) for text in components)
        names = {(part.name, frozenset(part.parameters.items())) for part in self._components}
        if len(names) != len(self._components):
            raise ValueError("what is signed is named once (RFC 9421 2)")
        for part in self._components:
            if part.name == _STATUS or not part.parameters.keys().isdisjoint({"req", "tr"}):
                raise ValueError(f"there is no {part} in a request")
        self._makes_digest = "content-digest" in {part.name for part in self._components}
        for text in (keyid, alg or "", tag or ""):
            if not (text.isascii() and text.isprintable()):
                raise ValueError("a parameter of a signature is ASCII (RFC 9651 3.3.3)")
        check_field(label, "")
        self._signer = signer
        self._keyid = keyid
        self._alg = alg
        self._tag = tag
        self._expires = expires
        self._nonce = nonce
        self._label = label.lower()
        self._origins = origins_of(origins)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} by {self._keyid!r}>"

    def _params(self, now: int) -> dict[str, str | int]:
        params: dict[str, str | int] = {"created": now}
        if self._expires is not None:
            params["expires"] = now + self._expires
        params["keyid"] = self._keyid
        if self._nonce:
            params["nonce"] = secrets.token_urlsafe(32)
        named = {"alg": self._alg, "tag": self._tag}
        return params | {name: value for name, value in named.items() if value is not None}

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request`, signed.

        Raises:
            ClientError: A field that is to be signed is not there.
        """
        if self._origins is not None and origin_of(request.url) not in self._origins:
            return await handler(request)
        headers = request.headers
        if self._makes_digest and "Content-Digest" not in headers:
            payload = request.payload
            body = b"" if payload is None else await payload.as_bytes()
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            headers["Content-Digest"] = f"sha-256=:{digest}:"
        params = self._params(int(time.time()))
        message = SignedMessage(headers, request.method, request.url)
        base, told = signature_base(self._components, params, message)
        signature = self._signer(base.encode("utf-8", "surrogateescape"))
        headers["Signature-Input"] = f"{self._label}={told}"
        headers["Signature"] = f"{self._label}=:{base64.b64encode(signature).decode()}:"
        return await handler(request)
