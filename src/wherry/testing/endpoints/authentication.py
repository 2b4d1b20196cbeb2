"""Endpoints behind a password: Basic (RFC 7617) and Digest (RFC 7616)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any

from wherry.testing.asgi_framework import Answer, Request, Routes, json_answer, problem

REALM = "wherry tests"
_HASHES: dict[str, Callable[[bytes], Any]] = {
    "MD5": hashlib.md5,
    "SHA": hashlib.sha1,
    "SHA-256": hashlib.sha256,
    "SHA-512": hashlib.sha512,
}
_PARAMETER = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
# Nonces are signed instead of kept, so that the server stays without state.
_KEY = secrets.token_bytes(16)


def add_authentication(routes: Routes) -> None:
    routes.add("/basic-auth/{user}/{password}", _basic)
    routes.add("/digest-auth/{qop}/{user}/{password}", _digest)
    routes.add("/digest-auth/{qop}/{user}/{password}/{algorithm}", _digest)


def _welcome(user: str) -> Answer:
    return json_answer({"authenticated": True, "user": user})


def _refusal(challenge: str) -> Answer:
    refusal = problem(401, "who are you?")
    refusal.fields.append(("www-authenticate", challenge))
    return refusal


async def _basic(request: Request, user: str, password: str) -> Answer:
    scheme, _, told = request.field("authorization").partition(" ")
    try:
        pair = base64.b64decode(told, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    if scheme.lower() == "basic" and hmac.compare_digest(
        pair.encode(), f"{user}:{password}".encode()
    ):
        return _welcome(user)
    return _refusal(f'Basic realm="{REALM}", charset="UTF-8"')


def _signature(random: str) -> str:
    return hmac.new(_KEY, random.encode(), "sha256").hexdigest()[:16]


async def _digest(
    request: Request, qop: str, user: str, password: str, algorithm: str = "MD5"
) -> Answer:
    algorithm = algorithm.upper()
    if qop not in ("auth", "auth-int", "none") or algorithm.removesuffix("-SESS") not in _HASHES:
        return problem(
            404,
            "qop is auth, auth-int or none; the algorithm MD5, SHA, SHA-256 or SHA-512, or one "
            "-sess",
        )
    scheme, _, told = request.field("authorization").partition(" ")
    if scheme.lower() == "digest":
        given = {name: quoted or plain for name, quoted, plain in _PARAMETER.findall(told)}
        if _is_right(request, given, (qop, user, password, algorithm)):
            return _welcome(user)
    random = secrets.token_hex(8)
    asked = "" if qop == "none" else f', qop="{qop}"'
    return _refusal(
        f'Digest realm="{REALM}", nonce="{random}{_signature(random)}", '
        f"algorithm={algorithm}{asked}"
    )


def _is_right(request: Request, given: dict[str, str], expected: tuple[str, str, str, str]) -> bool:
    """RFC 7616 3.4.1: whether the answer to the challenge is the one that the password gives."""
    qop, user, password, algorithm = expected
    make = _HASHES[algorithm.removesuffix("-SESS")]

    def digest(*parts: str) -> str:
        return str(make(":".join(parts).encode()).hexdigest())

    nonce = given.get("nonce", "")
    target = request.url.split("//", 1)[1]
    target = target[target.index("/") :]
    if (
        given.get("username") != user
        or nonce[16:] != _signature(nonce[:16])
        or given.get("uri") != target
    ):
        return False
    first = digest(user, REALM, password)
    if algorithm.endswith("-SESS"):
        first = digest(first, nonce, given.get("cnonce", ""))
    second = [request.method, target]
    if qop == "auth-int":
        second.append(str(make(request.body).hexdigest()))
    middle = (
        [nonce]
        if qop == "none"
        else [nonce, given.get("nc", ""), given.get("cnonce", ""), given.get("qop", "")]
    )
    return hmac.compare_digest(digest(first, *middle, digest(*second)), given.get("response", ""))
