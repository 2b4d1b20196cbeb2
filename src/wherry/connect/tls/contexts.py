"""TLS: whose certificates are trusted, and how a context comes about.

Contexts are made at first use, in a thread (reading the trust store takes some 20 ms), once for the
process.  A context that a program made is never changed.  Knows nothing of sockets or routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

from wherry.errors import (
    ClientConnectorCertificateError,
    ClientConnectorSSLError,
    ClientSSLError,
    ServerFingerprintMismatch,
)
from wherry.types import ConnectionKey

truststore: Any = None
if sys.platform in {"win32", "darwin"}:
    with contextlib.suppress(ImportError):
        import truststore

DEFAULT_PROTOCOLS = ("http/1.1",)


class Fingerprint:
    """Trusts one certificate: the one with this SHA-256, whoever signed it.

    Args:
        fingerprint: The SHA-256 of the certificate in DER form, 32 bytes.

    Raises:
        ValueError: The length is another one; MD5 and SHA-1 are broken and refused.
    """

    __slots__ = ("_fingerprint",)

    def __init__(self, fingerprint: bytes) -> None:
        if len(fingerprint) in {16, 20}:
            raise ValueError(
                "MD5 and SHA-1 are not safe; give the certificate's SHA-256 (32 bytes)"
            )
        if len(fingerprint) != 32:
            raise ValueError(f"a fingerprint is a SHA-256 of 32 bytes, not of {len(fingerprint)}")
        self._fingerprint = bytes(fingerprint)

    @property
    def fingerprint(self) -> bytes:
        return self._fingerprint

    def check(self, transport: asyncio.BaseTransport) -> None:
        """Compare with the certificate that the peer showed; plain transports pass.

        Raises:
            ServerFingerprintMismatch: It is another one.
        """
        if not transport.get_extra_info("sslcontext"):
            return
        import hmac
        from hashlib import sha256

        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        got = sha256(certificate or b"").digest()
        if not hmac.compare_digest(got, self._fingerprint):
            peer = transport.get_extra_info("peername")
            host, port = peer[:2] if isinstance(peer, tuple) else (str(peer or ""), 0)
            raise ServerFingerprintMismatch(self._fingerprint, got, host, port)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return hash((Fingerprint, self._fingerprint))

    def __repr__(self) -> str:
        return f"Fingerprint({self._fingerprint.hex()})"


# What `ssl=` takes: whether certificates are checked, or by what.
SSLOption: TypeAlias = bool | ssl.SSLContext | Fingerprint
SSL_ALLOWED_TYPES = (bool, ssl.SSLContext, Fingerprint, type(None))


def wrong_ssl(given: object) -> TypeError:
    """What to raise for an `ssl=` of no kind that there is."""
    mend = ""
    if isinstance(given, str | bytes | os.PathLike):
        mend = "  A file of certificates goes into ssl.create_default_context(cafile=...)"
    return TypeError(
        f"ssl should be SSLContext, Fingerprint, or bool, got {given!r:.200} instead.{mend}"
    )


def one_ssl(
    option: Any,
    verify_ssl: bool | None,
    ssl_context: Any,
    fingerprint: bytes | None,
    stacklevel: int,
) -> Any:
    """One `ssl=` out of it and its three deprecated forms; None means True.

    Args:
        option: What was said by `ssl=`.
        verify_ssl: Deprecated: False for `ssl=False`.
        ssl_context: Deprecated: `ssl=context`.
        fingerprint: Deprecated: `ssl=Fingerprint(fingerprint)`.
        stacklevel: Whom warnings name, as a caller of `warnings.warn` in the caller's place would
            say.

    Raises:
        ValueError: More than one is given.
        TypeError: TLS cannot be set up with it.
    """
    given: list[Any] = [] if option is True or option is None else [option]
    for old, new, value in (
        ("verify_ssl", "ssl=False", False if verify_ssl is False else None),
        ("ssl_context", "ssl=context", ssl_context),
        (
            "fingerprint",
            "ssl=Fingerprint(fingerprint)",
            None if fingerprint is None else Fingerprint(fingerprint),
        ),
    ):
        if value is not None:
            warnings.warn(
                f"{old} is deprecated, use {new} instead",
                DeprecationWarning,
                stacklevel=stacklevel + 1,
            )
            given.append(value)
    if len(given) > 1:
        raise ValueError(
            "verify_ssl, ssl_context, fingerprint and ssl parameters are mutually exclusive"
        )
    merged = given[0] if given else True
    if not isinstance(merged, SSL_ALLOWED_TYPES):
        raise wrong_ssl(merged)
    return merged


# --- contexts -------------------------------------------------------------------------------------


def make_context(
    *, verified: bool, protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
) -> ssl.SSLContext:
    """A client context: TLS 1.2 or newer, ALPN for `protocols`, SSLKEYLOGFILE honoured.  Reads
    files: not for a loop.

    Args:
        verified: Whether certificates are checked, against the system's authorities.
        protocols: ALPN identifiers (RFC 7301) in order of wish.
    """
    keylog = None if sys.flags.ignore_environment else os.environ.get("SSLKEYLOGFILE")
    if keylog:
        from wherry.private_files import make_private

        with contextlib.suppress(OSError):
            make_private(keylog)  # who has it reads all that was sent; ssl makes it too, for all
    if verified and truststore is not None and sys.platform in {"win32", "darwin"}:
        # Only there has the system a store that OpenSSL cannot read; elsewhere each handshake would
        # read files anew.
        context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    elif verified:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    if (names := alpn_names(protocols)) is not None:
        context.set_alpn_protocols(names)
    if keylog and not context.keylog_filename:
        context.keylog_filename = keylog
    return context


def offered(protocols: tuple[str, ...]) -> tuple[str, ...]:
    """What a handshake must offer by ALPN; () leaves it to the context, which suits HTTP/1.1
    alone.
    """
    # Which protocols are spoken is the connector's to say; a context cannot be asked what it
    # offers.
    return () if protocols == DEFAULT_PROTOCOLS else tuple(alpn_names(protocols) or ())


def alpn_names(protocols: tuple[str, ...]) -> list[str] | None:
    """What is offered by ALPN: "h2c" is HTTP/2 without TLS and has no name there (RFC 9113 3.1)."""
    names = [name for name in protocols if name != "h2c"]
    return names or None


_contexts: dict[tuple[bool, tuple[str, ...]], ssl.SSLContext] = {}
_contexts_lock = threading.Lock()


def _shared_context(verified: bool, protocols: tuple[str, ...]) -> ssl.SSLContext:
    key = (verified, protocols)
    with _contexts_lock:
        context = _contexts.get(key)
        if context is None:
            context = _contexts[key] = make_context(verified=verified, protocols=protocols)
        return context


async def context_for(ssl_option: Any, protocols: tuple[str, ...]) -> ssl.SSLContext:
    """The context for what a user said by `ssl=`.

    Args:
        ssl_option: True, False, an SSLContext or a Fingerprint.
        protocols: ALPN identifiers in order of wish.
    """
    if isinstance(ssl_option, ssl.SSLContext):
        return ssl_option
    # A fingerprint alone decides: the certificate may be signed by anyone, for any name.
    verified = ssl_option is True or ssl_option is None
    context = _contexts.get((verified, protocols))
    if context is None:
        loop = asyncio.get_running_loop()
        context = await loop.run_in_executor(None, _shared_context, verified, protocols)
    return context


# --- a context of the program's, with other protocols by ALPN -------------------------------------

# What of a context's policy can be seen; a TLS object gets a copy of it when it is made.
_POLICY = (
    "verify_mode",
    "verify_flags",
    "options",
    "minimum_version",
    "maximum_version",
    "post_handshake_auth",
    "hostname_checks_common_name",
)
# The type of the record that a ClientHello is in (RFC 8446 B.1).
_HANDSHAKE = 22
# Extensions of a ClientHello that differ from one to the next, or that are ours to choose (RFC 8446
# 4.2, RFC 7685).
_ALPN, _PADDING, _SESSION_TICKET, _KEY_SHARE = 16, 21, 35, 51
_CHANGING = frozenset({_ALPN, _PADDING, _SESSION_TICKET, _KEY_SHARE})


def policy_of(context: ssl.SSLContext) -> tuple[Any, ...]:
    """What a context demands of a peer now, as far as it can be seen: its owner may change it at
    any time.
    """
    return (context.check_hostname, *(getattr(context, name) for name in _POLICY))


# What decides who is let in, as OpenSSL's numbers: `ssl` makes an enum of them at each look, and
# this is looked at for each request.
# Before `object` come OpenSSL's class and the standard library's own, also where truststore has put
# its own into that one's place.
_plain: Any = ssl.SSLContext.__mro__[-3]
_base: Any = ssl.SSLContext.__mro__[-2]
_verify_mode = _base.verify_mode.__get__
_check_hostname = _base.check_hostname.__get__
_verify_flags = _base.verify_flags.__get__
_minimum_version = _base.minimum_version.__get__


def demands_of(context: ssl.SSLContext) -> tuple[Any, ...]:
    """Whom a context lets in now, as far as that can be seen."""
    if type(context) is not _plain:
        return policy_of(context)  # it may answer for another one
    return (
        _verify_mode(context),
        _check_hostname(context),
        _verify_flags(context),
        _minimum_version(context),
    )


class AlpnContext(ssl.SSLContext):
    """Offers other protocols by ALPN than a context of the program's, and is that context in all
    else.

    A context belongs to who made it, and cannot be copied; ALPN can be set on contexts only.  So a
    TLS object is made here, where ALPN and the policy that can be seen are set, and is given to the
    program's context before it says its first word.  Certificates, authorities, ciphers and the key
    log are looked up there from then on.

    Args:
        inner: The program's context.
        names: What to offer.
    """

    inner: ssl.SSLContext
    _seen: tuple[tuple[Any, ...], Any]
    _is_faithful: bool

    def __new__(cls, inner: ssl.SSLContext, names: tuple[str, ...]) -> AlpnContext:  # noqa: PYI034
        with warnings.catch_warnings():
            # Whether an old version of TLS is a good idea was between the program and its own
            # context.
            warnings.simplefilter("ignore", DeprecationWarning)
            self = super().__new__(cls, inner.protocol)
        self.inner = inner
        self.sslobject_class = inner.sslobject_class
        self.set_alpn_protocols(names)
        self._seen = (), None
        self._is_faithful = False
        return self

    def __init__(self, inner: ssl.SSLContext, names: tuple[str, ...]) -> None:
        """Everything is done in `__new__`, where the base class wants it."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """A TLS object of the program's context that offers other protocols.

        Where the context has settings that cannot be carried over (its curves, say), what it offers
        by ALPN is its own affair: no setting of the program's is ever lost.
        """
        # Its curves, say, the program may set at any time, and only the hello tells of them.
        theirs = first_words(self.inner.wrap_bio, "localhost") if self._can_follow() else b""
        seen = policy_of(self.inner), hello_says(theirs) if theirs else None
        if seen != self._seen:
            self._follow(seen)
        if not self._is_faithful:
            return self.inner.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        made = self._wrap(incoming, outgoing, server_hostname)
        if session is not None:
            made.session = session
        return made

    def _wrap(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_hostname: str | bytes | None
    ) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, False, server_hostname)
        made.context = self.inner
        return made

    def _can_follow(self) -> bool:
        """Whether the context makes TLS objects as all do; truststore's has a way of its own."""
        return type(self.inner).wrap_bio is ssl.SSLContext.wrap_bio

    def _follow(self, seen: tuple[tuple[Any, ...], Any]) -> None:
        """Take over the policy, and see whether that makes the same ClientHello but for ALPN."""
        self._seen, self._is_faithful = seen, False
        policy, theirs = seen
        if theirs is None:
            return
        try:
            self._set(policy)
        except ValueError:
            return  # a context for one version of TLS lets nobody change that
        ours = first_words(lambda *given: self._wrap(given[0], given[1], given[3]), "localhost")
        self._is_faithful = bool(ours) and theirs == hello_says(ours)

    def _set(self, seen: tuple[Any, ...]) -> None:
        # True goes with no verify_mode but CERT_REQUIRED, which may come only now.
        self.check_hostname = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for name, value in zip(_POLICY, seen[1:], strict=True):
                if getattr(self, name) != value:
                    setattr(self, name, value)
        self.check_hostname: bool = seen[0]


def first_words(wrap: Callable[..., ssl.SSLObject], server_hostname: str) -> bytes:
    """The ClientHello that a context would send; nothing where it cannot make one."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLError):
        wrap(ssl.MemoryBIO(), outgoing, False, server_hostname).do_handshake()
    words = outgoing.read()
    return words if words[:1] == bytes([_HANDSHAKE]) else b""  # else it is an alert


def hello_says(record: bytes) -> tuple[bytes, dict[int, bytes]]:
    """What a ClientHello asks for (RFC 8446 4.1.2): cipher suites, and the extensions that do not
    change each time.

    Args:
        record: The hello as one record, as OpenSSL writes it.
    """
    at = 5 + 4 + 2 + 32  # the record's header, the message's, the version, and the random bytes
    at += 1 + record[at]  # the session's id
    size = int.from_bytes(record[at : at + 2])
    ciphers = record[at + 2 : at + 2 + size]
    at += 2 + size
    at += 1 + record[at] + 2  # compression, and how long the extensions are
    extensions = {}
    while at < len(record):
        kind, size = int.from_bytes(record[at : at + 2]), int.from_bytes(record[at + 2 : at + 4])
        if kind not in _CHANGING:
            extensions[kind] = record[at + 4 : at + 4 + size]
        at += 4 + size
    return ciphers, extensions


# --- failure --------------------------------------------------------------------------------------


def client_error(key: ConnectionKey, exc: ssl.SSLError | ssl.CertificateError) -> ClientSSLError:
    """What a caller meets when TLS failed with `exc`."""
    if isinstance(exc, ssl.CertificateError):
        return ClientConnectorCertificateError(key, exc)
    return ClientConnectorSSLError(key, exc)


def selected_protocol(transport: asyncio.BaseTransport) -> str | None:
    """The ALPN identifier that the server chose, None for none."""
    ssl_object = transport.get_extra_info("ssl_object")
    if ssl_object is None:
        return None
    with contextlib.suppress(NotImplementedError):
        chosen: str | None = ssl_object.selected_alpn_protocol()
        return chosen
    return None
