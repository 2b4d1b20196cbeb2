"""The life of a connection of HTTP/3: thousands of requests on one, another address on the way, and a
server that knows nothing of it any more.
"""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.authority import CertificateFiles
from tests.servers.http_servers import Caddy

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from tests.servers.http3 import Http3Server, Peer, headers, http3_server, response

from wherry.protocol.http3.frames import DATA, frame

SOURCES = str(Path(wherry.__file__).parent / "*")


@pytest.fixture
async def session(client_tls: ssl.SSLContext) -> Any:
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls, limit=1)
    async with wherry.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
async def server(certificate_files: CertificateFiles) -> AsyncIterator[Http3Server]:
    async with http3_server(
        lambda peer, stream_id, _: peer.send(stream_id, response(b"hello")), certificate_files
    ) as server:
        yield server


async def test_thousands_of_requests_leave_nothing_behind(session: Any, caddy: Caddy) -> None:
    url = f"https://localhost:{caddy.tls}/x"

    async def ask(count: int) -> None:
        for _ in range(count):
            async with session.get(url) as got:
                assert await got.read() == b"HTTP/3.0 GET /x"

    def held() -> int:
        gc.collect()
        found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, SOURCES)])
        return sum(row.size for row in found.statistics("filename"))

    tracemalloc.start()
    try:
        await asyncio.gather(*(ask(30) for _ in range(20)))
        before = held()
        await asyncio.gather(*(ask(100) for _ in range(20)))
        assert held() - before < 50_000
    finally:
        tracemalloc.stop()
    stats = session.connector.stats()
    assert (stats.opened, stats.open, stats.idle) == (1, 1, 1)
    (connection,) = session.connector.pool.all_connections()
    assert connection.exchanges == 2600
    assert not connection.streams


class Nat(asyncio.DatagramProtocol):
    """A router that gives a connection another address of its own when it is told to."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._client: Any = None
        self._inside: Any = None
        self._outside: Any = None
        self.sent_from: set[int] = set()

    def connection_made(self, transport: Any) -> None:
        self._inside = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._client = address
        self._outside.sendto(data)
        self.sent_from.add(self._outside.get_extra_info("sockname")[1])

    async def rebind(self) -> None:
        """From now on the server sees another port; what comes to the old one is lost."""
        nat = self

        class Outside(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, address: Any) -> None:
                nat._inside.sendto(data, nat._client)

        old = self._outside
        self._outside, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Outside, remote_addr=self._server
        )
        if old is not None:
            old.close()

    def close(self) -> None:
        self._outside.close()
        self._inside.close()


async def test_another_address_on_the_way_is_not_noticed(session: Any, server: Http3Server) -> None:
    """RFC 9000 9.3.3: a router forgot the connection, and gives it another port."""
    body = os.urandom(200_000)
    server.script = lambda peer, stream_id, _: peer.send(stream_id, response(body))
    transport, nat = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Nat(server.port), local_addr=("127.0.0.1", 0)
    )
    await nat.rebind()
    url = f"https://localhost:{transport.get_extra_info('sockname')[1]}/"
    try:
        for _ in range(3):
            async with session.get(url) as got:
                assert await got.read() == body
            await nat.rebind()
        assert len(nat.sent_from) == 3
        assert len(server.peers) == 1
        assert session.connector.stats().opened == 1
    finally:
        nat.close()


async def test_a_server_that_knows_nothing_any_more_says_so(
    session: Any, server: Http3Server
) -> None:
    """RFC 9000 10.3: a stateless reset ends the connection at once."""
    asked = asyncio.Event()

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, headers((b":status", b"200")) + frame(DATA, b"first"), fin=False)
        asked.set()

    server.script = script
    async with session.get(server.url()) as got:
        assert await got.content.readany() == b"first"
        await asked.wait()
        (peer,) = server.peers
        quic = peer._quic
        tokens = [cid.stateless_reset_token for cid in quic._host_cids]
        address = quic._network_paths[0].addr
        for token in tokens:
            # Looks like a packet with a short header, and ends with the token.
            peer._transport.sendto(b"\x40" + os.urandom(40) + token, address)
        with pytest.raises(wherry.ClientPayloadError):
            await got.read()
    server.script = lambda peer, stream_id, _: peer.send(stream_id, response(b"again"))
    async with session.get(server.url()) as got:
        assert await got.read() == b"again"
    assert len(server.peers) == 2
