"""Whose certificates QUIC takes: what a program said by `ssl=`, carried over to an engine that sees
no `ssl.SSLContext`.

The authorities go over as data.  What cannot be carried over is refused with the reason, never left
out: a policy that a context has must hold, or there is no connection.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path
from typing import Any

from wherry.connect.tls.contexts import Fingerprint, context_for, policy_of
from wherry.protocol.http3.quic_engine import QuicTrust

# How OpenSSL names the certificates of a directory (openssl-rehash(1)).
_is_hashed = re.compile(r"[0-9a-f]{8}\.[0-9]+").fullmatch
# What Python's own default contexts set, and QUIC's verifier does of itself.
_CARRIED_FLAGS = (
    ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    | getattr(ssl.VerifyFlags, "VERIFY_X509_PARTIAL_CHAIN", 0)
    | ssl.VerifyFlags.VERIFY_X509_STRICT
)
_system: QuicTrust | None = None
# The authorities of programs' contexts, which seldom change, by what can be seen of them.
_UNVERIFIED = QuicTrust(False, b"")


class CannotCarry(Exception):
    """A context has a policy that QUIC's TLS cannot be told."""


async def trust_for(ssl_option: Any) -> QuicTrust:
    """What `ssl=` means for QUIC.

    Args:
        ssl_option: True, False, an SSLContext or a Fingerprint.

    Raises:
        CannotCarry: An SSLContext says more than can be carried over.
    """
    global _system  # noqa: PLW0603
    if ssl_option is False or isinstance(ssl_option, Fingerprint):
        # A fingerprint alone decides: the certificate may be signed by anyone, for any name.
        return _UNVERIFIED
    if isinstance(ssl_option, ssl.SSLContext):
        return trust_of_context(ssl_option)
    if _system is None:
        context = await context_for(True, ("http/1.1",))
        loop = asyncio.get_running_loop()
        _system = await loop.run_in_executor(None, _system_trust, context)
    return _system


def trust_of_context(context: ssl.SSLContext) -> QuicTrust:
    """The authorities of a program's context.

    Raises:
        CannotCarry: It demands what cannot be seen or said.
    """
    if type(context) is not ssl.SSLContext:
        raise CannotCarry(f"a {type(context).__module__}.{type(context).__name__} checks by itself")
    if context.maximum_version not in {
        ssl.TLSVersion.MAXIMUM_SUPPORTED,
        ssl.TLSVersion.TLSv1_3,
    } or context.options & getattr(ssl, "OP_NO_TLSv1_3", 0):
        raise CannotCarry("it does not allow TLS 1.3, which QUIC is made of")
    if context.keylog_filename:
        raise CannotCarry("it logs its keys")
    if context.verify_mode == ssl.CERT_NONE:
        return _UNVERIFIED
    if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        raise CannotCarry("it checks certificates, but not whose they are")
    if context.verify_flags & ~_CARRIED_FLAGS:
        raise CannotCarry("it has verify_flags beyond the usual: revocation lists, say")
    stats = context.cert_store_stats()
    if stats["crl"] or stats["x509"] != stats["x509_ca"]:
        raise CannotCarry("it trusts a certificate that is no authority, or has a revocation list")
    authorities = context.get_ca_certs(binary_form=True)
    if not authorities:
        raise CannotCarry("no authority can be read from it: a directory (capath) cannot be seen")
    return QuicTrust(True, _pem(authorities))


def _system_trust(context: ssl.SSLContext) -> QuicTrust:
    """The system's authorities, as OpenSSL finds them: a file, and a directory that it reads as it
    needs to.  SSL_CERT_FILE and SSL_CERT_DIR count.
    """
    assert policy_of(context)[0]  # the name is checked
    found = dict.fromkeys(_pem_of(context))
    paths = ssl.get_default_verify_paths()
    for directory in (paths.capath or "").split(":"):
        if not directory or not Path(directory).is_dir():
            continue
        for path in sorted(Path(directory).iterdir()):
            if _is_hashed(path.name) and path.is_file():
                found[path.read_bytes()] = None
    return QuicTrust(True, b"\n".join(found))


def _pem_of(context: ssl.SSLContext) -> list[bytes]:
    try:
        return [_pem([der]) for der in context.get_ca_certs(binary_form=True)]
    except NotImplementedError:  # truststore's, on Windows and macOS
        return [_pem([der]) for der in ssl.create_default_context().get_ca_certs(binary_form=True)]


def _pem(certificates: list[bytes]) -> bytes:
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode()
