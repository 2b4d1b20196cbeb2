"""TLS sessions over HTTP/3: what is resumed and what is not, and requests that go along with the
handshake (RFC 9001 4.6, RFC 8470).
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from tests.servers.authority import CertificateFiles
from tests.servers.http_servers import Caddy

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from tests.servers.http3 import Http3Server, Peer, http3_server, response


@pytest.fixture
def tickets() -> dict[bytes, Any]:
    """What the server remembers of sessions."""
    return {}


@pytest.fixture
async def server(
    certificate_files: CertificateFiles, tickets: dict[bytes, Any]
) -> AsyncIterator[Http3Server]:
    async with http3_server(hello, certificate_files, tickets=tickets) as server:
        yield server


def hello(peer: Peer, stream_id: int, request: bytes) -> None:
    peer.answered += 1
    peer.send(stream_id, response(b"hello"))


def session_with(client_tls: ssl.SSLContext, **options: Any) -> wherry.ClientSession:
    options.setdefault("ssl", client_tls)
    connector = wherry.TCPConnector(protocols=("h3",), limit=1, **options)
    return wherry.ClientSession(connector=connector)


async def ask(session: Any, url: str, **options: Any) -> Any:
    """The engine of the connection that answered; that connection is closed then."""
    method = options.pop("method", "GET")
    async with session.request(method, url, **options) as got:
        assert got.version == (3, 0)
        assert await got.read() in {b"hello", b"HTTP/3.0 GET /x"}
    return end(session)


def end(session: Any) -> Any:
    (connection,) = session.connector.pool.all_connections()
    connection.close()
    return connection._engine


async def test_a_session_is_resumed(server: Http3Server, client_tls: ssl.SSLContext) -> None:
    async with session_with(client_tls) as session:
        resumed = [(await ask(session, server.url())).resumed for _ in range(3)]
    assert resumed == [False, True, True]
    assert not any(peer._quic.tls.early_data_accepted for peer in server.peers)


async def test_caddy_resumes_too(caddy: Caddy, client_tls: ssl.SSLContext) -> None:
    url = f"https://localhost:{caddy.tls}/x"
    async with session_with(client_tls) as session:
        found = [await ask(session, url) for _ in range(2)]
        assert [engine.resumed for engine in found] == [False, True]
    async with session_with(client_tls, early_data=True) as session:
        found = []
        for _ in range(3):
            async with session.get(url) as got:  # the ticket comes before the second answer
                await got.read()
            found.append(await ask(session, url))
        assert [engine.resumed for engine in found] == [False, True, True]
        assert [engine.took_early for engine in found] == [False, True, True]


@pytest.mark.parametrize("early_data", [False, True])
async def test_a_session_belongs_to_all_it_was_trusted_under(
    server: Http3Server, ca: trustme.CA, client_tls: ssl.SSLContext, early_data: bool
) -> None:
    """Who checked less, or under other authorities, leaves nothing to who checks more."""
    other = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    untrusted = ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode())
    url = server.url()
    async with session_with(client_tls, early_data=early_data) as session:
        assert not (await ask(session, url, ssl=False)).resumed
        assert (await ask(session, url, ssl=False)).resumed
        assert not (await ask(session, url)).resumed
        assert not (await ask(session, url, ssl=other)).resumed
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await ask(session, url, ssl=untrusted)
        assert (await ask(session, url)).resumed
        # The same context trusts somebody else besides: another policy.
        client_tls.load_verify_locations(cadata=trustme.CA().cert_pem.bytes().decode())
        assert not (await ask(session, url)).resumed
        # Another name is another certificate.
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await ask(session, url, server_hostname="elsewhere.test")


async def test_a_fingerprint_is_looked_at_each_time(
    server: Http3Server, certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    pem = certificate_files.chain.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 26])
    fingerprint = wherry.Fingerprint(hashlib.sha256(der).digest())
    async with session_with(client_tls, ssl=fingerprint, early_data=True) as session:
        for _ in range(2):
            assert not (await ask(session, server.url())).resumed


async def test_resumption_can_be_left_out(server: Http3Server, client_tls: ssl.SSLContext) -> None:
    async with session_with(client_tls, tls_resumption=False, early_data=True) as session:
        for _ in range(2):
            assert not (await ask(session, server.url())).resumed


async def test_safe_requests_go_along_with_the_handshake(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    """And others wait for its end, on the same connection."""
    seen: list[tuple[bytes, bool]] = []

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        seen.append((request[-3:], peer._quic._handshake_complete))
        peer.send(stream_id, response(b"hello"))

    async with session_with(client_tls, early_data=True) as session:
        engine = await ask(session, server.url())
        assert not engine.took_early
        server.script = script

        async def pieces() -> AsyncIterator[bytes]:
            yield b"1234"
            yield b"56789"

        async def post(data: Any) -> bytes:
            async with session.post(server.url(), data=data) as got:
                body: bytes = await got.read()
                return body

        async def get() -> bytes:
            async with session.get(server.url()) as got:
                body: bytes = await got.read()
                return body

        assert await asyncio.gather(get(), post(b"abc"), post(pieces()), get()) == [b"hello"] * 4
        assert end(session).took_early
    assert len(server.peers) == 2
    assert sorted(done for _, done in seen) == [False, False, True, True]
    assert {last for last, done in seen if done} == {b"abc", b"789"}


async def test_early_data_that_is_refused_goes_again_by_itself(
    server: Http3Server, client_tls: ssl.SSLContext, tickets: dict[bytes, Any]
) -> None:
    """RFC 9001 4.6.2: the server has forgotten the session; the handshake is a full one."""
    async with session_with(client_tls, early_data=True) as session:
        await ask(session, server.url())
        tickets.clear()
        engine = await ask(session, server.url())
        assert (engine.resumed, engine.took_early) == (False, False)
        assert (await ask(session, server.url())).took_early
    assert [peer.answered for peer in server.peers] == [1, 1, 1]


@pytest.mark.parametrize("how_often", [1, 2])
@pytest.mark.parametrize("whole", [False, True])
async def test_too_early_is_asked_again_once(
    server: Http3Server, client_tls: ssl.SSLContext, how_often: int, whole: bool
) -> None:
    """RFC 8470 5.2."""
    async with session_with(client_tls, early_data=True) as session:
        await ask(session, server.url())

        def script(peer: Peer, stream_id: int, request: bytes) -> None:
            peer.answered += 1
            if peer.answered > how_often:
                peer.send(stream_id, response(b"hello"))
                return
            said = response(b"not yet", (b"content-length", b"7"), status=425)
            if not whole:
                peer.send(stream_id, said[:-1], fin=False)
            peer.send(stream_id, said if whole else said[-1:])

        server.script = script
        for _ in range(2):
            async with session.get(server.url()) as got:
                assert (got.status, await got.read()) == (
                    (200, b"hello") if how_often == 1 else (425, b"not yet")
                )
            if how_often == 2:
                break
        assert end(session).took_early
    assert len(server.peers) == 2
    assert server.peers[1].answered == (3 if how_often == 1 else 2)


async def test_the_answer_to_what_was_not_early_is_taken(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    async with session_with(client_tls, early_data=True) as session:
        await ask(session, server.url())
        server.script = lambda peer, stream_id, _: peer.send(
            stream_id, response(b"never", status=425)
        )
        async with session.post(server.url(), data=b"x") as got:
            assert (got.status, await got.read()) == (425, b"never")


async def test_another_server_under_the_same_address_is_checked(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    """A certificate that is not to be trusted: the early request does not hide it."""
    async with session_with(client_tls, early_data=True) as session:
        await ask(session, server.url())
        leaf = trustme.CA().issue_cert("localhost")
        from aioquic.tls import load_pem_private_key, load_pem_x509_certificates

        configuration = server.quic._configuration
        configuration.certificate = load_pem_x509_certificates(leaf.cert_chain_pems[0].bytes())[0]
        configuration.private_key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
        server.quic._session_ticket_fetcher = lambda _: None
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await ask(session, server.url())
    assert [peer.answered for peer in server.peers] == [1] + [0] * (len(server.peers) - 1)


async def test_nobody_answers_the_early_handshake(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    async with session_with(client_tls, early_data=True) as session:
        await ask(session, server.url())
        port = server.port
        server.vanish()
        await asyncio.sleep(0)  # the socket closes in the next turn
        silent.bind(("127.0.0.1", port))
        with pytest.raises(TimeoutError):
            await session.get(server.url(), timeout=wherry.ClientTimeout(sock_connect=0.3))
        # A system that says at once that nobody is there.
        silent.close()
        with pytest.raises(wherry.ClientConnectorError):
            await session.get(server.url())
        assert not session.connector.stats().open
