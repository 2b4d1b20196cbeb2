"""Credit over HTTP/3, both ways: what a reader that pauses may hold, who waits for it and who does not,
and an upload that waits until the server takes more (RFC 9000 4).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
from tests.servers.authority import CertificateFiles
from tests.servers.http_servers import Caddy

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from tests.servers.http3 import Http3Server, Peer, headers, http3_server, response

from wherry.protocol.http3 import connection as http3_connection
from wherry.protocol.http3.frames import DATA, frame

MIB = 2**20


@pytest.fixture
async def session(client_tls: ssl.SSLContext) -> Any:
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls, limit=1)
    async with wherry.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
async def server(certificate_files: CertificateFiles) -> AsyncIterator[Http3Server]:
    async with http3_server(lambda *_: None, certificate_files) as server:
        yield server


def both_at_once(bodies: dict[bytes, bytes]) -> Any:
    """A script that answers when as many requests have come as there are bodies."""
    waiting: list[int] = []

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        waiting.append(stream_id)
        if len(waiting) == len(bodies):
            # The order of the streams is that of the requests.
            for stream, body in zip(sorted(waiting), bodies.values(), strict=True):
                peer._quic.send_stream_data(
                    stream, headers((b":status", b"200")) + frame(DATA, body), True
                )
            peer.transmit()

    return script


async def test_a_paused_reader_does_not_stop_the_others(session: Any, server: Http3Server) -> None:
    """Two bodies come at once; whoever reads the second one first gets it, and then the first."""
    slow, quick = os.urandom(5 * MIB), os.urandom(2 * MIB)
    server.script = both_at_once({b"slow": slow, b"quick": quick})
    first, second = await asyncio.gather(
        session.get(server.url("/slow")), session.get(server.url("/quick"))
    )
    (connection,) = session.connector.pool.all_connections()
    async with first, second:
        assert await second.read() == quick
        assert connection.capacity == 0  # the first one's reader holds more than its window
        assert len(server.peers) == 1
        assert await first.read() == slow
    assert connection.capacity > 0


async def test_what_paused_readers_hold_is_bounded(
    session: Any, server: Http3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others get on as long as it is little; then the connection waits for its reader."""
    monkeypatch.setattr(http3_connection, "MAX_WITHHELD", MIB)
    slow, quick = bytes(6 * MIB), bytes(4 * MIB)
    server.script = both_at_once({b"slow": slow, b"quick": quick})
    first, second = await asyncio.gather(
        session.get(server.url("/slow")), session.get(server.url("/quick"))
    )
    (connection,) = session.connector.pool.all_connections()
    async with first, second:
        rest = asyncio.ensure_future(second.read())
        while not connection._holds_back:
            await asyncio.sleep(0)
        exchange = connection.streams[0]
        # One event of the engine's may go beyond: 64 KiB.
        assert MIB <= exchange.withheld <= MIB + 65536
        assert not rest.done()
        assert await first.read() == slow
        assert await rest == quick


async def test_a_reader_that_goes_on_while_another_pauses_is_served(
    session: Any, server: Http3Server
) -> None:
    """Both pause, nothing is taken; the second one goes on, and the first one need not."""
    slow, quick = bytes(4 * MIB), bytes(2 * MIB)
    server.script = both_at_once({b"slow": slow, b"quick": quick})
    first, second = await asyncio.gather(
        session.get(server.url("/slow")), session.get(server.url("/quick"))
    )
    (connection,) = session.connector.pool.all_connections()
    async with first, second:
        while not connection._holds_back:
            await asyncio.sleep(0)
        assert await second.read() == quick
        assert await first.read() == slow


async def test_readers_that_pause_cost_little_memory(session: Any, caddy: Caddy) -> None:
    """Eight bodies of 64 MiB, of which nobody reads more than the beginning: measured, engine and
    all, on one connection.
    """
    with (caddy.files / "much").open("wb") as file:
        file.truncate(64 * MIB)
    process = psutil.Process()
    url = f"https://localhost:{caddy.tls}/files/much"
    async with session.get(f"https://localhost:{caddy.tls}/x") as got:
        await got.read()
    before = process.memory_info().rss
    found = await asyncio.gather(*(session.get(url) for _ in range(8)))
    (connection,) = session.connector.pool.all_connections()
    try:
        for got in found:
            await got.content.readexactly(1000)
        while not connection._holds_back:
            await asyncio.sleep(0.01)
        # What is under way goes into the engine's window, and no further.
        settled, last = 0, -1
        while settled < 5:
            await asyncio.sleep(0.05)
            now = process.memory_info().rss
            settled, last = (settled + 1, now) if abs(now - last) < MIB else (0, now)
        assert last - before < 64 * MIB
        for other in found[1:]:
            other.close()
        read = 0
        async for piece in found[0].content.iter_chunked(MIB):
            read += len(piece)
        assert read == 64 * MIB - 1000
    finally:
        for got in found:
            got.close()


async def test_an_upload_waits_for_credit(session: Any, server: Http3Server) -> None:
    """RFC 9000 4.1: no more than the server said goes out, and what waits here is bounded too."""
    sent = 0
    withheld = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 4 * MIB:
            sent += 2**16
            yield bytes(2**16)

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        quic = peer._quic
        peer.requests[stream_id] = b""
        if not withheld.is_set():
            # From here on the server grants nothing, until it is told to.
            quic._write_stream_limits = lambda **_: None
            quic._write_connection_limits = lambda **_: None
            withheld.set()
        elif server.received >= 4 * MIB:
            server.early = False
            peer.send(stream_id, response(b"done"))

    server.early = True
    server.script = script
    task = asyncio.ensure_future(session.post(server.url(), data=source()))
    await withheld.wait()
    (connection,) = session.connector.pool.all_connections()
    (peer,) = server.peers
    last = -1
    while not connection.streams[0].backlog_size or sent != last:
        last = sent
        await asyncio.sleep(0.05)
    assert server.received <= 2 * MIB  # aioquic grants 1 MiB to begin with
    assert sent - server.received < MIB
    for name in ("_write_stream_limits", "_write_connection_limits"):
        delattr(peer._quic, name)
    peer._quic.send_ping(1)
    peer.transmit()
    async with await task as got:
        assert await got.read() == b"done"
    assert sent == 4 * MIB
