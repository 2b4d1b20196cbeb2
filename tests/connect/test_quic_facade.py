"""HTTP/3 by qh3's facade alone, where its core has other names than are known here."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from tests.servers.authority import CertificateFiles
from tests.servers.http_servers import Caddy

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from tests.servers.http3 import Http3Server, Peer, http3_server, response

from wherry.protocol.http3 import quic_engine
from wherry.protocol.http3.frames import DATA, ErrorCode, FrameReader


@pytest.fixture
async def session(client_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(quic_engine, "Engine", quic_engine.FacadeEngine)
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        yield session


def test_the_facade_is_for_a_qh3_that_nobody_knows() -> None:
    """A contract: this qh3 has all that is used of its core."""
    assert quic_engine.engine_class() is quic_engine.QuicEngine
    assert quic_engine.engine_class(core=SimpleNamespace()) is quic_engine.FacadeEngine
    assert quic_engine.engine_class(facade=SimpleNamespace) is quic_engine.FacadeEngine  # type: ignore[arg-type]


async def test_caddy_answers(session: Any, caddy: Caddy) -> None:
    body = os.urandom(2_000_000)
    (caddy.files / "facade").write_bytes(body)
    url = f"https://localhost:{caddy.tls}"

    async def ask(path: str) -> bytes:
        async with session.get(url + path) as got:
            assert got.version == (3, 0)
            read: bytes = await got.read()
            return read

    assert await ask("/files/facade") == body
    # More than a connection may ever open at first.
    for _ in range(6):
        assert await asyncio.gather(*(ask("/x") for _ in range(50))) == [b"HTTP/3.0 GET /x"] * 50
    assert session.connector.stats().opened <= 3
    (connection, *_) = session.connector.pool.all_connections()
    connection.close()
    assert await ask("/x") == b"HTTP/3.0 GET /x"  # resumed


async def test_bodies_resets_and_ends(session: Any, certificate_files: CertificateFiles) -> None:
    def echo(peer: Peer, stream_id: int, request: bytes) -> None:
        found = FrameReader().receive(request, 2**20)
        body = b"".join(data for kind, data in found if kind == DATA)
        peer.send(stream_id, response(hashlib.sha256(body).hexdigest().encode()))

    async with http3_server(echo, certificate_files) as server:
        body = os.urandom(700_000)
        async with session.post(server.url(), data=body) as got:
            assert await got.text() == hashlib.sha256(body).hexdigest()
        server.script = lambda peer, stream_id, _: peer.reset(stream_id, ErrorCode.INTERNAL_ERROR)
        with pytest.raises(wherry.ServerDisconnectedError, match="H3_INTERNAL_ERROR"):
            await session.post(server.url(), data=b"x")
        await cancelled(session, server)

        def goodbye(peer: Peer, stream_id: int, request: bytes) -> None:
            peer._quic.close(ErrorCode.EXCESSIVE_LOAD, reason_phrase="enough")
            peer.transmit()

        server.script = goodbye
        with pytest.raises(wherry.ServerDisconnectedError, match="EXCESSIVE_LOAD"):
            await session.post(server.url(), data=b"x")


async def cancelled(session: Any, server: Http3Server) -> None:
    asked = asyncio.Event()
    server.script = lambda *_: asked.set()
    task = asyncio.ensure_future(session.get(server.url()))
    await asked.wait()
    task.cancel()
    await asyncio.wait((task,))
    await server.until(lambda: server.resets)
    assert {code for _, _, code in server.resets} == {ErrorCode.REQUEST_CANCELLED}


async def test_certificates_are_checked(session: Any, certificate_files: CertificateFiles) -> None:
    other = ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode())
    async with http3_server(lambda *_: None, certificate_files) as server:
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await session.get(server.url(), ssl=other)
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await session.get(server.url(), server_hostname="elsewhere.test")
