"""Digest authentication (RFC 7616, and RFC 2069 for old servers): values in, a field value out.

It knows challenges, algorithms and the arithmetic of the answer.  It does no I/O, keeps no
counters, and does not know which origin asked: to whom credentials may be shown is decided by who
calls it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import quote as percent_encode

from wherry.auth.challenge import Challenge, parse_params
from wherry.errors import ClientError
from wherry.protocol.grammar import has_control, quoted

Hash = Callable[[bytes], str]


def _hash(name: str) -> Hash | None:
    """The hexadecimal hash function of this name, None where OpenSSL has none."""
    try:
        hashlib.new(name, usedforsecurity=False)
    except ValueError:
        return None
    return lambda data: hashlib.new(name, data, usedforsecurity=False).hexdigest()


# Strongest first.  RFC 7616 3.2 has MD5, SHA-256 and SHA-512-256; the others are met in the field.
_NAMES = (
    ("SHA-512-256", "sha512_256"),
    ("SHA-512", "sha512"),
    ("SHA512", "sha512"),
    ("SHA-256", "sha256"),
    ("SHA256", "sha256"),
    ("SHA", "sha1"),
    ("MD5", "md5"),
)
_HASHES: dict[str, Hash] = {
    name: _known for name, openssl in _NAMES if (_known := _hash(openssl)) is not None
}
_STRENGTH = {name: len(_NAMES) - place for place, (name, _) in enumerate(_NAMES)}
SUPPORTED_ALGORITHMS = tuple(sorted((*_HASHES, *(f"{name}-SESS" for name in _HASHES))))

_PLAIN_NAME = re.compile(r"[\x20-\x7e]*")
# Bodies up to this size are hashed for auth-int where plain auth is offered too.
CHEAP_BODY = 1024 * 1024


class DigestChallenge(NamedTuple):
    """A Digest challenge that can be answered.

    Args:
        realm: The realm, unquoted.
        nonce: The server's nonce.
        algorithm: As the server wrote it; "" where it wrote none, which means MD5.
        qops: What quality of protection it offers, known ones only; () is RFC 2069's form.
        opaque: To be sent back; None where none came.
        domain: The protection space as URI references (RFC 7616 3.3).
        stale: Whether only the nonce was refused.
        userhash: Whether the user's name is to be hashed (RFC 7616 3.4.4).
        charset: The encoding of name and password; "" where the server did not say.
    """

    realm: str
    nonce: str
    algorithm: str = ""
    qops: tuple[str, ...] = ()
    opaque: str | None = None
    domain: tuple[str, ...] = ()
    stale: bool = False
    userhash: bool = False
    charset: str = ""

    @property
    def _base(self) -> str:
        return (self.algorithm or "MD5").upper().removesuffix("-SESS")

    @property
    def is_session(self) -> bool:
        return self.algorithm.upper().endswith("-SESS")

    @property
    def hash(self) -> Hash:
        return _HASHES[self._base]

    @property
    def strength(self) -> int:
        return _STRENGTH[self._base]

    @property
    def encoding(self) -> str:
        """UTF-8, unless the server asks for ISO-8859-1, which it did before RFC 7616 gave the
        parameter its meaning.
        """
        return "latin-1" if self.charset.lower() in {"iso-8859-1", "latin1", "latin-1"} else "utf-8"


def read_challenge(challenge: Challenge) -> DigestChallenge | None:
    """The Digest challenge in `challenge`, or None when it is of another kind or cannot be
    answered.

    It cannot be answered without a realm and a nonce, nor when the algorithm or every qop is
    unknown.
    """
    if challenge.scheme != "digest":
        return None
    params = challenge.params
    algorithm = params.get("algorithm", "")
    if not algorithm.isascii() or any(map(has_control, params.values())):
        # What cannot be sent back cannot be answered; HTTP/2 lets control characters through.
        return None
    if (algorithm or "MD5").upper().removesuffix("-SESS") not in _HASHES:
        return None
    offered = [qop.strip().lower() for qop in params.get("qop", "").split(",") if qop.strip()]
    qops = tuple(qop for qop in ("auth", "auth-int") if qop in offered)
    if (offered and not qops) or "realm" not in params or not params.get("nonce"):
        return None
    return DigestChallenge(
        params["realm"],
        params["nonce"],
        algorithm,
        qops,
        params.get("opaque"),
        tuple(params.get("domain", "").split()),
        params.get("stale", "").lower() == "true",
        params.get("userhash", "").lower() == "true",
        params.get("charset", ""),
    )


def choose_challenge(challenges: Iterable[Challenge]) -> DigestChallenge | None:
    """The strongest Digest challenge that can be answered; among equals the server's first (RFC
    7616 3.7).
    """
    known = [
        digest for challenge in challenges if (digest := read_challenge(challenge)) is not None
    ]
    return max(known, key=lambda digest: digest.strength, default=None)


def choose_qop(qops: tuple[str, ...], body_size: int | None) -> str:
    """The quality of protection to use: "auth-int", "auth", or "" for RFC 2069's form.

    The body's hash is taken along when the server can check it and it costs little.

    Args:
        qops: What the server offers.
        body_size: Bytes of the request's body; None when that is not known before it is read.
    """
    if "auth-int" in qops and (
        "auth" not in qops or (body_size is not None and body_size <= CHEAP_BODY)
    ):
        return "auth-int"
    return "auth" if "auth" in qops else ""


class DigestAnswer(NamedTuple):
    """An answer, and what is needed to check the server's own (RFC 7616 3.5).

    Args:
        value: For the Authorization field.
        nonce: The nonce that was answered.
        proof: Makes what the server's `rspauth` must be, of the response's body where `qop` covers
            it; None where it has no meaning.
        qop: What the answer covers, and the proof with it.
        cnonce: The client's nonce.
        nc: The nonce count, as sent.
    """

    value: str
    nonce: str
    proof: Callable[[bytes], str] | None
    qop: str
    cnonce: str
    nc: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to the nonce {self.nonce!r}, nc={self.nc}>"


def respond(
    challenge: DigestChallenge,
    login: str,
    password: str,
    method: str,
    uri: str,
    *,
    qop: str = "auth",
    body: bytes = b"",
    count: int = 1,
    cnonce: str | None = None,
) -> DigestAnswer:
    """Answer a challenge.

    Args:
        challenge: What the server asks.
        login: The user's name.
        password: The password.
        method: The request's method.
        uri: The request target as it is sent: the path and query, encoded.
        qop: See `choose_qop`.
        body: The request's body, for "auth-int".
        count: How many requests have used this nonce, this one included.
        cnonce: The client's nonce; a random one by default.

    Raises:
        ClientError: Name or password have letters that the server's charset has not.
    """
    hashed, encoding = challenge.hash, challenge.encoding
    nonce = challenge.nonce
    cnonce = secrets.token_urlsafe(24) if cnonce is None else cnonce
    nc = f"{count:08x}"
    # RFC 7616 4: in Normalization Form C.
    login, password = unicodedata.normalize("NFC", login), unicodedata.normalize("NFC", password)
    try:
        secret = (login.encode(encoding), _octets(challenge.realm), password.encode(encoding))
    except UnicodeEncodeError:
        # Without its cause, which holds the password.
        raise ClientError(
            f"the server takes name and password in {encoding.upper()}, which cannot write them"
        ) from None
    a1 = hashed(b":".join(secret))
    if challenge.is_session:
        a1 = hashed(_octets(f"{a1}:{nonce}:{cnonce}"))

    def signed(asker: str, content: bytes) -> str:
        entity = f":{hashed(content)}" if qop == "auth-int" else ""
        a2 = hashed(_octets(f"{asker}:{uri}{entity}"))
        middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
        return hashed(_octets(f"{a1}:{middle}:{a2}"))

    fields = [
        _username(challenge, login),
        f"realm={quoted(challenge.realm)}",
        f"nonce={quoted(nonce)}",
        f"uri={quoted(uri)}",
        f'response="{signed(method, body)}"',
    ]
    if challenge.algorithm:
        fields.append(f"algorithm={challenge.algorithm}")
    if challenge.opaque is not None:
        fields.append(f"opaque={quoted(challenge.opaque)}")
    if qop:
        fields.append(f"qop={qop}, nc={nc}")
    if qop or challenge.is_session:
        # RFC 2069 had no sessions; without its nonce a server could not check one.
        fields.append(f"cnonce={quoted(cnonce)}")
    if challenge.userhash:
        fields.append("userhash=true")
    proof = (lambda content: signed("", content)) if qop else None
    return DigestAnswer(f"Digest {', '.join(fields)}", nonce, proof, qop, cnonce, nc)


def _octets(text: str) -> bytes:
    """What a server sent, as it sent it: bytes that are no UTF-8 came as surrogates (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


def _username(challenge: DigestChallenge, login: str) -> str:
    if challenge.userhash:
        hashed = challenge.hash(login.encode(challenge.encoding) + b":" + _octets(challenge.realm))
        return f'username="{hashed}"'
    if challenge.encoding == "latin-1":
        # Fields go out in UTF-8 with surrogate escapes: these stand for the bytes themselves.
        return f"username={quoted(login.encode('latin-1').decode('utf-8', 'surrogateescape'))}"
    if challenge.charset and _PLAIN_NAME.fullmatch(login) is None:
        # RFC 7616 3.4, RFC 8187.
        return f"username*=UTF-8''{percent_encode(login, safe='!#$&+-.^_`|~')}"
    return f"username={quoted(login)}"


class AuthenticationInfo(NamedTuple):
    """What Authentication-Info says (RFC 7616 3.5).

    Args:
        nextnonce: The nonce to use from now on, or None.
        rspauth: The server's proof that it knows the password, or None.
        qop: What the proof covers.
        cnonce: The client's nonce that it answers, or None.
        nc: The nonce count that it answers, or None.
    """

    nextnonce: str | None
    rspauth: str | None
    qop: str
    cnonce: str | None
    nc: str | None


def read_authentication_info(value: str) -> AuthenticationInfo:
    """Read an Authentication-Info field; what is broken reads as absent."""
    params = parse_params(value)
    return AuthenticationInfo(
        params.get("nextnonce") or None,
        params.get("rspauth"),
        params.get("qop", "").lower(),
        params.get("cnonce"),
        params.get("nc"),
    )


def proves(answer: DigestAnswer, info: AuthenticationInfo, body: bytes = b"") -> bool:
    """Whether the server's proof, where there is one, is right for `answer`.

    Args:
        answer: What was sent.
        info: What came back.
        body: The response's content as it was sent, for "auth-int".
    """
    if info.rspauth is None or answer.proof is None or info.qop not in {answer.qop, ""}:
        return True
    if info.cnonce is not None and info.cnonce != answer.cnonce:
        return False
    return hmac.compare_digest(_octets(info.rspauth.lower()), answer.proof(body).encode())
