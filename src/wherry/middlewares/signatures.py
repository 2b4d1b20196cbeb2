"""`MessageSignatures`: signs requests (RFC 9421), as crawlers say who they are.

What is signed is a text made of a request's parts; who signs it is a function of the program's, so
keys stay where they are.  Nothing here knows cryptography but the digest of the content (RFC 9530).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from yarl import URL

from wherry.client.headers.validation import check_field
from wherry.client.origin import authority_of, origin_of, origins_of
from wherry.errors import ClientError

if TYPE_CHECKING:
    from multidict import CIMultiDict

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


def hmac_sha256(secret: bytes) -> Signer:
    """A signer with a shared secret (RFC 9421 3.3.3)."""
    return lambda data: hmac.digest(secret, data, "sha256")


def signature_base(
    components: Sequence[str],
    params: Mapping[str, str | int],
    method: str,
    url: URL,
    fields: CIMultiDict[str],
) -> tuple[str, str]:
    """(what is signed, the value of Signature-Input for it): RFC 9421 2.5 and 4.1.

    Args:
        components: Names of fields, and of the parts that begin with "@".
        params: The signature's parameters, in order.
        method: The method.
        url: The URL that is asked.
        fields: The header fields that are sent.

    Raises:
        ClientError: A field that is to be signed is not there.
    """
    lines = []
    for name in components:
        derive = _DERIVED.get(name)
        if derive is not None:
            value = derive(method, url)
        else:
            values = fields.getall(name, ())
            if not values:
                raise ClientError(f"{method} {url.origin()}: there is no field {name} to be signed")
            value = ", ".join(each.strip(" \t") for each in values)
        lines.append(f'"{name}": {value}')
    told = "".join(f";{name}={_parameter(value)}" for name, value in params.items())
    named = " ".join(f'"{name}"' for name in components)
    inner = f"({named}){told}"
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
            `hmac_sha256(secret)`.
        keyid: What the other side knows the key by.
        components: What is signed: names of fields, and of parts ("@method", "@target-uri",
            "@authority", "@scheme", "@request-target", "@path", "@query").  For "content-digest"
            the field is made where it is missing.
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
        self._components = tuple(name.lower() for name in components)
        if len(set(self._components)) != len(self._components):
            raise ValueError("what is signed is named once (RFC 9421 2)")
        for name in self._components:
            if name.startswith("@") and name not in _DERIVED:
                raise ValueError(
                    f"there is no {name} to be signed; there are {', '.join(_DERIVED)}"
                )
            if not name.startswith("@"):
                check_field(name, "")
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
        if "content-digest" in self._components and "Content-Digest" not in headers:
            payload = request.payload
            body = b"" if payload is None else await payload.as_bytes()
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            headers["Content-Digest"] = f"sha-256=:{digest}:"
        params = self._params(int(time.time()))
        base, told = signature_base(self._components, params, request.method, request.url, headers)
        signature = self._signer(base.encode("utf-8", "surrogateescape"))
        headers["Signature-Input"] = f"{self._label}={told}"
        headers["Signature"] = f"{self._label}=:{base64.b64encode(signature).decode()}:"
        return await handler(request)
