"""The tests' certificate authority, as files for the servers and as contexts for Python."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import trustme

NAMES = ("localhost", "127.0.0.1", "::1", "origin.test")


class CertificateFiles(NamedTuple):
    """A certificate as servers read it."""

    key: Path
    chain: Path
    both: Path
    authority: Path


def write_certificate(ca: trustme.CA, leaf: trustme.LeafCert, directory: Path) -> CertificateFiles:
    """Write key, chain and authority; readable by servers that give up root's rights."""
    files = CertificateFiles(
        directory / "server.key",
        directory / "server.crt",
        directory / "server.pem",
        directory / "ca.pem",
    )
    leaf.private_key_pem.write_to_path(files.key)
    files.chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    leaf.private_key_and_cert_chain_pem.write_to_path(files.both)
    ca.cert_pem.write_to_path(files.authority)
    for path in files:
        path.chmod(0o644)
    return files


def server_context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def client_context(ca: trustme.CA, identity: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """A context that trusts the authority, and shows `identity` to servers that ask for a
    certificate.
    """
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if identity is not None:
        identity.configure_cert(context)
    return context
