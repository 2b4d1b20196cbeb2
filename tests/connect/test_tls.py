"""TLS: trust, names, fingerprints, client certificates, ALPN and sessions that are taken up
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import pickle
import socket
import ssl
import threading
import warnings
from binascii import hexlify, unhexlify
from typing import Any

import certifi
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wherry.client.options import RequestOptions
from wherry.connect.connector import TCPConnector
from wherry.connect.tls import contexts as tls
from wherry.connect.tls.contexts import Fingerprint, make_context
from wherry.connect.tls.transport import TlsTransport
from wherry.errors import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientSSLError,
    FingerprintMismatch,
    ServerFingerprintMismatch,
)

UTC = dt.UTC


def server_with(cert: trustme.LeafCert, **changes: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    for name, value in changes.items():
        setattr(context, name, value)
    return context


def sha256_of(context_port: tuple[str, int]) -> bytes:
    pem = ssl.get_server_certificate(context_port)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()


def digest_of(leaf: trustme.LeafCert) -> bytes:
    return hashlib.sha256(
        ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    ).digest()


# --- what is refused by default, and the knob that accepts it -------------------------------------


async def test_checks_are_strict_by_default(get, serve, server_context) -> None:
    """S001-103: an authority that the system does not know is refused."""
    port = await serve(ssl=server_context)
    async with TCPConnector() as connector:
        with pytest.raises(ClientConnectorCertificateError) as caught:
            await get(connector, f"https://localhost:{port}/")
    error = caught.value
    assert isinstance(error, ssl.CertificateError)
    assert isinstance(error, ClientSSLError)
    assert (error.host, error.port, error.ssl) == ("localhost", port, True)
    assert "unable to get local issuer certificate" in str(error)


async def test_errors_show_what_the_request_said_and_go_to_other_processes(
    get, serve, server_context
) -> None:
    """A connector's context has no name that helps a reader, and cannot be pickled."""
    port = await serve(ssl=server_context)
    own = ssl.create_default_context()
    for connector_says, request_says, shown in ((own, True, True), (True, own, repr(own))):
        async with TCPConnector(ssl=connector_says) as connector:
            with pytest.raises(ClientConnectorCertificateError) as caught:
                await get(connector, f"https://localhost:{port}/", ssl=request_says)
        error = caught.value
        assert error.ssl is True
        assert error.args[0].ssl is request_says
        assert error.errno == ssl.SSL_ERROR_SSL
        assert error.strerror is not None
        assert "CERTIFICATE_VERIFY_FAILED" in error.strerror
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.host) == (type(error), str(error), "localhost")
        assert again.args[0].ssl == shown
        assert again.errno == error.errno


async def test_checks_can_be_relaxed(get, serve, server_context) -> None:
    """S001-104"""
    port = await serve(ssl=server_context)
    async with TCPConnector(ssl=False) as connector:
        assert (await get(connector, f"https://localhost:{port}/")).status == 200
    async with TCPConnector() as connector:
        assert (await get(connector, f"https://localhost:{port}/", ssl=False)).status == 200


async def test_a_context_on_the_request_and_on_the_connector(
    get, serve, server_context, client_context
) -> None:
    """S001-105, S001-106, S002-03"""
    port = await serve(ssl=server_context)
    async with TCPConnector(ssl=client_context) as connector:
        assert (await get(connector, f"https://localhost:{port}/")).status == 200
    async with TCPConnector() as connector:
        assert (
            await get(connector, f"https://localhost:{port}/", ssl=client_context)
        ).status == 200
        with pytest.raises(ClientSSLError):
            await get(connector, f"https://localhost:{port}/")


async def test_a_requests_ssl_wins_over_the_connectors(
    get, serve, server_context, client_context
) -> None:
    """S001-116"""
    port = await serve(ssl=server_context)
    async with TCPConnector(ssl=Fingerprint(b"x" * 32)) as connector:
        assert (
            await get(connector, f"https://localhost:{port}/", ssl=client_context)
        ).status == 200
        with pytest.raises(ServerFingerprintMismatch):
            await get(connector, f"https://localhost:{port}/")
    async with TCPConnector(ssl=False) as connector:
        with pytest.raises(ClientSSLError):
            await get(connector, f"https://localhost:{port}/", ssl=ssl.create_default_context())


def self_signed(*names: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def bad_server(ca: trustme.CA, kind: str, tmp_path) -> ssl.SSLContext:
    now = dt.datetime.now(UTC)
    day = dt.timedelta(days=1)
    if kind == "expired":
        return server_with(
            ca.issue_cert("localhost", not_before=now - 3 * day, not_after=now - day)
        )
    if kind == "not yet valid":
        return server_with(
            ca.issue_cert("localhost", not_before=now + day, not_after=now + 3 * day)
        )
    if kind == "wrong host":
        return server_with(ca.issue_cert("other.example"))
    if kind == "wrong address":
        return server_with(ca.issue_cert("10.0.0.1"))
    if kind == "unknown authority":
        return server_with(trustme.CA().issue_cert("localhost"))
    if kind == "missing intermediate":
        leaf = ca.create_child_ca().issue_cert("localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain = tmp_path / "leaf.pem"
        chain.write_bytes(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
        context.load_cert_chain(chain)
        return context
    assert kind == "self-signed"
    certificate, private = self_signed("localhost")
    (tmp_path / "self.pem").write_bytes(certificate + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "self.pem")
    return context


BAD = {
    "expired": "certificate has expired",
    "not yet valid": "not yet valid",
    "wrong host": "mismatch",
    "wrong address": "mismatch",
    "unknown authority": "unable to get local issuer certificate",
    "missing intermediate": "unable to get local issuer certificate",
    "self-signed": "self-signed certificate",
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_certificate_is_refused_and_can_be_accepted(
    get, serve, ca, client_context, tmp_path, kind
) -> None:
    """S001-108, S001-109, S001-110: the right class, its documented bases, and the knobs."""
    context = bad_server(ca, kind, tmp_path)
    port = await serve(ssl=context)
    async with TCPConnector(ssl=client_context) as connector:
        url = f"https://localhost:{port}/"
        with pytest.raises(ClientSSLError) as caught:
            await get(connector, url)
        error = caught.value
        assert type(error) is ClientConnectorCertificateError
        assert isinstance(error, ssl.CertificateError)
        assert isinstance(error, ssl.SSLError)
        assert isinstance(error.certificate_error, ssl.SSLCertVerificationError)
        assert error.ssl is True
        assert BAD[kind] in str(error)
        assert f"localhost:{port}" in str(error)
        assert (await get(connector, url, ssl=False)).status == 200
        fingerprint = Fingerprint(await asyncio.to_thread(sha256_of, ("localhost", port)))
        assert (await get(connector, url, ssl=fingerprint)).status == 200
        if kind == "wrong host":
            assert (await get(connector, url, server_hostname="other.example")).status == 200
        assert connector.stats().busy == 0


async def test_an_ip_address_in_the_certificate_is_matched(get, serve, ca, client_context) -> None:
    port = await serve(ssl=server_with(ca.issue_cert("127.0.0.1")))
    async with TCPConnector(ssl=client_context) as connector:
        assert (await get(connector, f"https://127.0.0.1:{port}/")).status == 200
        with pytest.raises(ClientConnectorCertificateError):
            await get(connector, f"https://localhost:{port}/")


async def test_a_name_with_a_last_dot_is_checked_without_it(
    get, serve, server_context, client_context, resolver
) -> None:
    port = await serve(ssl=server_context)
    async with TCPConnector(ssl=client_context, resolver=resolver("127.0.0.1")) as connector:
        assert (await get(connector, f"https://localhost.:{port}/")).status == 200


def answer_in_a_thread(listener: socket.socket, context: ssl.SSLContext) -> None:
    """asyncio's servers do not send the alert that says which version they want; blocking ones
    do.
    """
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with (
            contextlib.suppress(OSError),
            sock,
            context.wrap_socket(sock, server_side=True) as wrapped,
        ):
            wrapped.recv(4096)
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


async def test_tls_1_0_is_refused_and_can_be_accepted(get, ca, client_context) -> None:
    """S001-107: no certificate was in question, so it is ClientConnectorSSLError, an
    ssl.SSLError.
    """
    server = server_with(ca.issue_cert("localhost"))
    server.set_ciphers("ALL:@SECLEVEL=0")
    server.options &= ~(ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        server.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        server.maximum_version = ssl.TLSVersion.TLSv1
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    thread = threading.Thread(target=answer_in_a_thread, args=(listener, server))
    thread.start()
    try:
        async with TCPConnector(ssl=client_context) as connector:
            for option in (True, False):
                with pytest.raises(ClientConnectorSSLError) as caught:
                    await get(connector, f"https://localhost:{port}/", ssl=option)
                assert isinstance(caught.value, ssl.SSLError)
                assert isinstance(caught.value, ClientSSLError)
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.load_verify_locations(cadata=trust_of(client_context))
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning, match="TLSv1"):
                old.minimum_version = ssl.TLSVersion.TLSv1
            assert (await get(connector, f"https://localhost:{port}/", ssl=old)).status == 200
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def trust_of(context: ssl.SSLContext) -> bytes:
    return b"".join(context.get_ca_certs(binary_form=True))


async def test_tls_to_a_plain_port_is_an_ssl_error(get, serve) -> None:
    async def answer(reader, writer) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    port = await serve(answer)
    async with TCPConnector() as connector:
        with pytest.raises(ClientConnectorSSLError) as caught:
            await get(connector, f"https://127.0.0.1:{port}/")
        assert f"127.0.0.1:{port}" in str(caught.value)


async def test_a_peer_that_hangs_up_in_the_handshake_is_a_connector_error(get, serve) -> None:
    async def answer(reader, writer) -> None:
        await reader.read(1)

    port = await serve(answer)
    async with TCPConnector() as connector:
        with pytest.raises(ClientConnectorError) as caught:
            await get(connector, f"https://127.0.0.1:{port}/")
        assert "TLS handshake" in str(caught.value)


def test_a_context_with_certifis_bundle() -> None:
    """S001-111"""
    context = ssl.create_default_context(cafile=certifi.where())
    assert context.get_ca_certs()


async def test_client_certificates(get, serve, ca, client_context, tmp_path) -> None:
    """S001-112, S002-04: load_cert_chain, with a CA bundle."""
    server = server_with(ca.issue_cert("localhost"), verify_mode=ssl.CERT_REQUIRED)
    ca.configure_trust(server)

    async def answer(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        subject = writer.get_extra_info("peercert")["subjectAltName"][0][1].encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(subject), subject))
        await reader.read()

    port = await serve(answer, ssl=server)
    bundle, pem = tmp_path / "ca.pem", tmp_path / "client.pem"
    ca.cert_pem.write_to_path(bundle)
    ca.issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(pem)
    mine = ssl.create_default_context(cafile=str(bundle))
    mine.load_cert_chain(str(pem))
    async with TCPConnector() as connector:
        assert (
            await get(connector, f"https://localhost:{port}/", ssl=mine)
        ).body == b"me@example.com"


# --- fingerprints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 16, 20, 31, 33, 64])
def test_only_sha256_is_a_fingerprint(length: int) -> None:
    """S001-113: MD5 and SHA-1 are refused, and whatever else has not 32 bytes."""
    with pytest.raises(ValueError, match="SHA-256"):
        Fingerprint(b"0" * length)


def test_fingerprints_are_values() -> None:
    assert Fingerprint(b"a" * 32) == Fingerprint(b"a" * 32)
    assert hash(Fingerprint(b"a" * 32)) == hash(Fingerprint(b"a" * 32))
    assert Fingerprint(b"a" * 32) != Fingerprint(b"b" * 32)
    assert Fingerprint(b"a" * 32).fingerprint == b"a" * 32


async def test_a_mismatch_tells_expected_got_host_and_port(get, serve, ca) -> None:
    """S001-113"""
    leaf = ca.issue_cert("localhost")
    port = await serve(ssl=server_with(leaf))
    async with TCPConnector(ssl=Fingerprint(b"\0" * 32)) as connector:
        with pytest.raises(FingerprintMismatch) as caught:
            await get(connector, f"https://localhost:{port}/")
        error = caught.value
        assert (error.expected, error.got, error.host, error.port) == (
            b"\0" * 32,
            digest_of(leaf),
            "localhost",
            port,
        )
        assert connector.stats().open == 0


async def test_a_matching_fingerprint_is_enough(get, serve, ca) -> None:
    """S001-114, S001-115: of the DER form; from hexadecimal by unhexlify; whoever signed it."""
    leaf = ca.issue_cert("other.example")
    port = await serve(ssl=server_with(leaf))
    right = Fingerprint(unhexlify(hexlify(digest_of(leaf))))
    async with TCPConnector(ssl=right) as connector:
        assert (await get(connector, f"https://localhost:{port}/")).status == 200
    async with TCPConnector() as connector:
        assert (await get(connector, f"https://localhost:{port}/", ssl=right)).status == 200
        # Plain connections have no certificate.
        plain = await serve()
        assert (await get(connector, f"http://localhost:{plain}/", ssl=right)).status == 200


async def test_one_of_several_addresses_may_have_the_certificate(get, serve, ca, resolver) -> None:
    good, bad = ca.issue_cert("localhost"), ca.issue_cert("localhost")
    port = await serve(ssl=server_with(bad))
    await serve(ssl=server_with(good), host="127.0.0.2", port=port)
    names = resolver("127.0.0.1", "127.0.0.2")
    async with TCPConnector(
        ssl=Fingerprint(digest_of(good)), resolver=names, force_close=True
    ) as connector:
        for _ in range(3):
            answer = await get(connector, f"https://localhost:{port}/")
            assert answer.status == 200
    async with TCPConnector(ssl=Fingerprint(b"0" * 32), resolver=names) as connector:
        with pytest.raises(ServerFingerprintMismatch):
            await get(connector, f"https://localhost:{port}/")


async def test_an_address_whose_connection_ends_with_its_handshake_is_not_the_last(
    get, serve, server_context, client_context, resolver, monkeypatch
) -> None:
    port = await serve(ssl=server_context)
    await serve(ssl=server_context, host="127.0.0.2", port=port)
    shake, ended = TlsTransport._shake, []

    def shake_and_end(self: TlsTransport) -> None:
        shake(self)
        if self._secured and not ended:
            ended.append(self.get_extra_info("peername")[0])
            self.eof_received()
            self.below.abort()

    monkeypatch.setattr(TlsTransport, "_shake", shake_and_end)
    names = resolver("127.0.0.1", "127.0.0.2")
    async with TCPConnector(ssl=client_context, resolver=names) as connector:
        assert (await get(connector, f"https://localhost:{port}/")).status == 200
    assert ended == ["127.0.0.1"]


# --- contexts -------------------------------------------------------------------------------------


def test_default_contexts() -> None:
    verified = make_context(verified=True)
    assert verified.verify_mode == ssl.CERT_REQUIRED
    assert verified.check_hostname
    assert verified.minimum_version >= ssl.TLSVersion.TLSv1_2
    relaxed = make_context(verified=False)
    assert relaxed.verify_mode == ssl.CERT_NONE
    assert not relaxed.check_hostname
    assert relaxed.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("verified", [True, False])
def test_sslkeylogfile_is_honoured(monkeypatch, tmp_path, verified) -> None:
    path = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    assert make_context(verified=verified).keylog_filename == str(path)


async def test_contexts_are_made_once_and_off_the_loop(monkeypatch) -> None:
    made = []

    def make(*, verified: bool, protocols: tuple[str, ...]) -> ssl.SSLContext:
        made.append(threading.current_thread())
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(tls, "make_context", make)
    monkeypatch.setattr(tls, "_contexts", {})
    contexts = await asyncio.gather(*(tls.context_for(True, ("http/1.1",)) for _ in range(10)))
    assert len(set(map(id, contexts))) == 1
    assert len(made) == 1
    assert made[0] is not threading.main_thread()
    assert await tls.context_for(False, ("http/1.1",)) is not contexts[0]
    assert await tls.context_for(Fingerprint(b"0" * 32), ("http/1.1",)) is await tls.context_for(
        False, ("http/1.1",)
    )


async def test_alpn_offers_the_connectors_protocols(
    get, serve, server_context, client_context
) -> None:
    server_context.set_alpn_protocols(["http/1.1"])
    port = await serve(ssl=server_context)
    async with TCPConnector() as connector:
        answer = await get(connector, f"https://localhost:{port}/", ssl=False)
        assert tls.selected_protocol(answer.connection.transport) == "http/1.1"
    async with TCPConnector(protocols=("h2", "http/1.1"), ssl=client_context) as connector:
        answer = await get(connector, f"https://localhost:{port}/")
        assert answer.version == (1, 1)


async def test_a_protocol_that_was_not_offered_is_refused(
    get, serve, server_context, client_context
) -> None:
    server_context.set_alpn_protocols(["spdy/3"])
    client_context.set_alpn_protocols(["spdy/3"])
    port = await serve(ssl=server_context)
    async with TCPConnector(ssl=client_context) as connector:
        with pytest.raises(ClientConnectorSSLError, match="spdy/3"):
            await get(connector, f"https://localhost:{port}/")


# --- the deprecated forms -------------------------------------------------------------------------


async def test_deprecated_parameters_still_work(client_context) -> None:
    with pytest.warns(DeprecationWarning, match="verify_ssl"):
        connector = TCPConnector(verify_ssl=False)
    assert connector._ssl is False
    with pytest.warns(DeprecationWarning, match="ssl_context"):
        connector = TCPConnector(ssl_context=client_context)
    assert connector._ssl is client_context
    with pytest.warns(DeprecationWarning, match="fingerprint"):
        connector = TCPConnector(fingerprint=b"0" * 32)
    assert connector._ssl == Fingerprint(b"0" * 32)
    with (
        pytest.warns(DeprecationWarning, match="verify_ssl"),
        pytest.raises(ValueError, match="mutually exclusive"),
    ):
        TCPConnector(verify_ssl=False, ssl=client_context)
    with pytest.raises(TypeError, match="ssl should be"):
        TCPConnector(ssl="yes")


def test_a_request_and_a_connector_read_the_deprecated_parameters_alike(client_context) -> None:
    def said(**options: Any) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return RequestOptions(**options).ssl, [str(warning.message) for warning in caught]

    assert said(verify_ssl=False) == (False, ["verify_ssl is deprecated, use ssl=False instead"])
    assert said(verify_ssl=True) == (True, []), "it says what is so anyway"
    assert said(ssl_context=client_context) == (
        client_context,
        ["ssl_context is deprecated, use ssl=context instead"],
    )
    assert said(fingerprint=b"0" * 32)[0] == Fingerprint(b"0" * 32)
    with (
        pytest.warns(DeprecationWarning, match="verify_ssl"),
        pytest.raises(ValueError, match="mutually exclusive"),
    ):
        RequestOptions(verify_ssl=False, ssl=client_context)
    with pytest.raises(TypeError, match="ssl should be"):
        RequestOptions(ssl="yes")
