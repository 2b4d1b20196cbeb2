"""TLS: whose certificates are trusted, how a context comes about, and how a session is taken up
again.

Contexts are made at first use, in a thread (reading the trust store takes some 20 ms), once for the
process.  Knows nothing of sockets or routes; what it gives is put into an event loop's own TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import ssl
import sys
import threading
import time
import warnings
from collections import OrderedDict
from hashlib import sha256
from typing import Any
from weakref import WeakSet

from wherry.errors import (
    ClientConnectorCertificateError,
    ClientConnectorSSLError,
    ClientSSLError,
    ServerFingerprintMismatch,
)
from wherry.types import ConnectionKey

try:
    import truststore
except ImportError:
    truststore = None  # type: ignore[assignment,unused-ignore]

DEFAULT_PROTOCOLS = ("http/1.1",)
# Hosts whose TLS session is kept; each may hold some 30 KiB of OpenSSL's memory.
MAX_SESSIONS = 64
# Seconds in which one session is taken up again and again before a newer one is asked for.
SESSION_REUSE = 60.0


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


SSL_ALLOWED_TYPES = (bool, ssl.SSLContext, Fingerprint, type(None))


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
        raise TypeError(
            f"ssl should be a bool, an SSLContext or a Fingerprint, got {merged!r} instead."
        )
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
    keylog = os.environ.get("SSLKEYLOGFILE")
    if keylog and not sys.flags.ignore_environment and not context.keylog_filename:
        context.keylog_filename = keylog
    return context


def offered(protocols: tuple[str, ...]) -> tuple[str, ...]:
    """What a handshake must offer by ALPN; () leaves it to the context, which suits HTTP/1.1 alone."""
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


# --- sessions that are taken up again -------------------------------------------------------------


class Resumable:
    """What is kept of the last handshakes with one host.

    Asking OpenSSL for a session costs as much as half a handshake, so one that was taken up lately
    is taken again.  Not for long: who reuses a ticket can be recognized by it (RFC 8446 C.4).
    """

    __slots__ = ("asked", "session", "wrapped")

    def __init__(self, wrapped: ssl.SSLObject) -> None:
        self.wrapped = wrapped
        self.session: ssl.SSLSession | None = None
        self.asked = 0.0

    def succeed(self, wrapped: ssl.SSLObject) -> None:
        """Another handshake went well: if it had to begin from nothing, the old session is of no
        use any more.
        """
        self.wrapped = wrapped
        if not wrapped.session_reused:
            self.session = None

    def last_session(self) -> ssl.SSLSession | None:
        """The session to take up; TLS 1.3 sends it after the handshake, so it is asked for as late
        as can be.
        """
        now = time.monotonic()
        if self.session is None or now - self.asked > SESSION_REUSE:
            self.session, self.asked = self.wrapped.session, now
        return self.session


# Contexts whose ALPN was set here.
_alpn_set: WeakSet[ssl.SSLContext] = WeakSet()


class ResumingContext(ssl.SSLContext):
    """Wraps a context so that an event loop's TLS takes up the last session with each host (RFC
    8446 2.2).

    Loops call `wrap_bio` and cannot be told of sessions; this one is the inner context's, with a
    session.  The inner context stays as it is and may be changed by its owner at any time.

    Args:
        inner: The context.
        names: What is offered by ALPN, () for what `inner` offers.  It is set when a handshake
            begins: one context may serve an origin of HTTP/2 and the proxy on the way to it, which
            is spoken to in HTTP/1.1.
    """

    inner: ssl.SSLContext
    names: tuple[str, ...]
    _hosts: OrderedDict[str, Resumable]

    def __new__(cls, inner: ssl.SSLContext, names: tuple[str, ...] = ()) -> ResumingContext:  # noqa: PYI034
        self = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        self.inner = inner
        self.names = names
        self._hosts = OrderedDict()
        return self

    def __init__(self, inner: ssl.SSLContext, names: tuple[str, ...] = ()) -> None:
        """Everything is done in `__new__`, where the base class wants it."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """The inner context's TLS object, with the host's last session where there is one."""
        known = self._hosts.get(str(server_hostname))
        if session is None and known is not None:
            session = known.last_session()
        # What an earlier handshake offered must not stay for one that wants HTTP/1.1 alone.
        if names := self.names or (DEFAULT_PROTOCOLS if self.inner in _alpn_set else ()):
            self.inner.set_alpn_protocols(names)
            _alpn_set.add(self.inner)
        try:
            return self.inner.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        except ValueError:
            if session is None:
                raise
            return self.inner.wrap_bio(incoming, outgoing, server_side, server_hostname)

    def remember(self, server_hostname: str, wrapped: ssl.SSLObject) -> None:
        """The handshake succeeded: its session may be taken up by the next one."""
        known = self._hosts.get(server_hostname)
        if known is not None:
            known.succeed(wrapped)
            self._hosts.move_to_end(server_hostname)
            return
        self._hosts[server_hostname] = Resumable(wrapped)
        if len(self._hosts) > MAX_SESSIONS:
            self._hosts.popitem(last=False)

    def forget(self, server_hostname: str) -> None:
        """The handshake failed: the next one begins from nothing."""
        self._hosts.pop(server_hostname, None)

    def resumed(self) -> dict[str, bool]:
        """Whether the last handshake with each host took up a session."""
        return {host: bool(known.wrapped.session_reused) for host, known in self._hosts.items()}


class Sessions:
    """The resuming contexts of one connector, by the contexts that they wrap."""

    __slots__ = ("_contexts",)

    def __init__(self) -> None:
        self._contexts: dict[tuple[ssl.SSLContext, tuple[str, ...]], ResumingContext] = {}

    def resuming(self, context: ssl.SSLContext, names: tuple[str, ...] = ()) -> ResumingContext:
        """`context` with memory.  Programs that make a context a request do not make us keep them
        all.

        Args:
            context: The context.
            names: What is to be offered by ALPN, () for what the context offers.
        """
        key = (context, names)
        found = self._contexts.get(key)
        if found is None:
            found = self._contexts[key] = ResumingContext(context, names)
            if len(self._contexts) > MAX_SESSIONS:
                del self._contexts[next(iter(self._contexts))]
        return found

    def clear(self) -> None:
        self._contexts.clear()


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
