"""TLS of the simulation's peers: the real OpenSSL, over memory.

Keys are Ed25519, and RSA for QUIC: their signatures have one size, so that a run follows from its seed byte for
byte, however random what OpenSSL draws is.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .network import Peer, Stream

NAMES = (
    *("h0.one.test", "h1.one.test", "h2.two.test"),
    *("p0.proxy.test", "p1.proxy.test", "p2.proxy.test", "auth.test"),
)
OTHER_NAMES = ("other.test",)
_RECORD = 65_536


class Certificate(NamedTuple):
    """A certificate and its key, and who signed it, as PEM."""

    chain: bytes
    key: bytes
    authority: bytes


@cache
def certificate(names: tuple[str, ...], kind: str = "Ed25519") -> Certificate:
    """A certificate for some names, of a kind of key whose signatures all have one size."""
    key = _authority()[0]
    leaf: Any = Ed25519PrivateKey.generate()
    if kind == "RSA":
        leaf = rsa.generate_private_key(65537, 2048)
    made = _signed(leaf, "leaf", key, "authority").add_extension(
        x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
    )
    pem = made.sign(key, None).public_bytes(serialization.Encoding.PEM)
    return Certificate(pem, _key_pem(leaf), _authority()[1])


@cache
def _authority() -> tuple[Ed25519PrivateKey, bytes]:
    key = Ed25519PrivateKey.generate()
    made = _signed(key, "authority", key, "authority").add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        ),
        False,
    )
    made = made.add_extension(
        x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
    )
    return key, made.sign(key, None).public_bytes(serialization.Encoding.PEM)


def _signed(key: Any, name: str, signer: Ed25519PrivateKey, by: str) -> x509.CertificateBuilder:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(by))
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2090, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )


def _key_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem


@cache
def server_context(
    protocols: tuple[str, ...], names: tuple[str, ...] = NAMES, version: str = "1.3"
) -> ssl.SSLContext:
    """A peer's context: what it offers by ALPN, whom its certificate names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if version == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    chain, key, _ = certificate(names)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        Path(file.name).write_bytes(chain + key)
        context.load_cert_chain(file.name)
    context.set_alpn_protocols(list(protocols))
    return context


@cache
def client_context() -> ssl.SSLContext:
    """What trusts the simulation's peers."""
    return ssl.create_default_context(cadata=_authority()[1].decode())


class TlsStream:
    """A peer's end inside TLS, as `Stream` is one outside.

    Args:
        below: What it is on; TLS goes inside TLS.
        context: The peer's.
        name: Who receives what comes out of it.
    """

    def __init__(self, below: Stream | TlsStream, context: ssl.SSLContext, name: str) -> None:
        self.below = below
        self.transport = below.transport
        self.name = name
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ended = False

    async def handshake(self) -> None:
        """Raises ConnectionError where TLS does not come about."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
            except ssl.SSLError as exc:
                await self._flush()
                raise ConnectionAbortedError(103, str(exc)) from exc
            else:
                await self._flush()
                return
            if self._ended:
                raise ConnectionAbortedError(103, "the client ended the handshake")

    @property
    def protocol(self) -> str | None:
        """What ALPN chose."""
        return self._tls.selected_alpn_protocol()

    @property
    def resumed(self) -> bool:
        return bool(self._tls.session_reused)

    async def some(self) -> bytes:
        """What has come; b"" at the end, be it an orderly one or not."""
        while not self._ended:
            try:
                data = self._tls.read(_RECORD)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
                continue
            except ssl.SSLError:
                break
            if not data:
                break
            self.transport.network.on_received(self.name, self, data)
            return data
        self._ended = True
        return b""

    def send(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as exc:
            raise ConnectionResetError(104, str(exc)) from exc
        self.below.send(self._outgoing.read())

    async def write(self, data: bytes) -> None:
        if data:
            self.send(data)
        await self.drained()

    async def drained(self) -> None:
        await self.below.drained()

    def end(self) -> None:
        """Say close_notify."""
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        with contextlib.suppress(ConnectionError):
            self.below.send(self._outgoing.read())

    def close(self) -> None:
        self.end()
        self.below.close()

    def cut(self, *, within: bool) -> None:
        """End without close_notify, as anybody on the way can.

        Args:
            within: In the midst of a record.
        """
        if within:
            self._tls.write(b"what is never read")
            record = self._outgoing.read()
            self.below.send(record[: len(record) // 2])
        self.below.close()

    def reset(self) -> None:
        self.below.reset()

    async def _more(self) -> None:
        data = await self.below.some()
        if not data:
            self._ended = True
        self._incoming.write(data)

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self.below.write(data)


class Secured:
    """A peer behind TLS: ALPN says which.

    Args:
        context: The peer's.
        name: Who receives what is inside.
        peers: By what ALPN chose; None is for none.
        noted: Learns of each handshake whether it was resumed.
    """

    def __init__(
        self, context: ssl.SSLContext, name: str, peers: dict[str | None, Any], noted: Any
    ) -> None:
        self._context = context
        self._name = name
        self._peers = peers
        self._noted = noted

    async def __call__(self, stream: Stream) -> None:
        tls = TlsStream(stream, self._context, self._name)
        await tls.handshake()
        self._noted("resumed" if tls.resumed else "new", tls.protocol)
        peer: Peer = self._peers[tls.protocol]
        try:
            await peer(tls)  # type: ignore[arg-type]
        finally:
            tls.close()
