"""What users see of HTTP/3: signals, timings, counts, and when its engine loads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import _environ
from tests.servers.authority import CertificateFiles

import wherry
from wherry.connect.alt_svc import AltSvcStore
from wherry.connect.route import Origin, Route

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from tests.servers.http3 import Http3Server, Peer, http3_server, response


def hello(peer: Peer, stream_id: int, request: bytes) -> None:
    peer.send(stream_id, response(b"hello"))


@pytest.fixture
async def server(certificate_files: CertificateFiles) -> AsyncIterator[Http3Server]:
    async with http3_server(hello, certificate_files) as server:
        yield server


def listen() -> tuple[wherry.TraceConfig, list[Any]]:
    """A config, and what its QUIC signals are given."""
    seen: list[Any] = []

    async def take(session: Any, context: Any, params: Any) -> None:
        seen.append(params)

    config = wherry.TraceConfig()
    config.on_quic_handshake_start.append(take)
    config.on_quic_handshake_end.append(take)
    return config, seen


async def test_the_handshake_is_a_signal_and_a_time(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    config, seen = listen()
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with wherry.ClientSession(connector=connector, trace_configs=[config]) as session:
        for first in (True, False):
            async with session.get(server.url()) as got:
                assert await got.read() == b"hello"
                timings = got.timings
                assert timings is not None
                assert timings.tls is None
                assert (timings.quic is not None) is first
                assert timings.connect == timings.quic
        stats = connector.stats()
        assert (stats.by_protocol, stats.opened, stats.reused) == ({"HTTP/3": 1}, 1, 1)
    assert seen == [
        wherry.TraceQuicHandshakeStartParams("localhost", server.port, "prior knowledge"),
        wherry.TraceQuicHandshakeEndParams("localhost", server.port, None),
    ]


async def test_a_handshake_that_fails_says_why(client_tls: ssl.SSLContext) -> None:
    config, seen = listen()
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    async with wherry.ClientSession(connector=connector, trace_configs=[config]) as session:
        with pytest.raises(wherry.ClientConnectorError) as failure:
            await session.get(f"https://127.0.0.1:{port}/")
    assert [params.port for params in seen] == [port, port]
    assert seen[1].exception is failure.value


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One who speaks HTTP/1.1 alone."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    writer.close()


@pytest.mark.usefixtures("quic_has_time")
@pytest.mark.parametrize("answers", [False, True])
async def test_a_race_says_who_won_and_why(
    answers: bool,
    server: Http3Server,
    client_tls: ssl.SSLContext,
    server_tls: ssl.SSLContext,
) -> None:
    config, seen = listen()
    listener = await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=server_tls)
    port = listener.sockets[0].getsockname()[1]
    connector = wherry.TCPConnector(protocols=("h3", "http/1.1"), ssl=client_tls)
    store = connector.alternatives
    assert store is not None
    origin = Origin("https", "localhost", port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
    there = server.port if answers else nobody
    from wherry.connect.alt_svc import Advertised

    key = store.key(Route(origin, ssl=client_tls))
    store.learn(key, origin, [Advertised("h3", "", there, 60, False)], 0.0)
    store._entries[key].expires = float("inf")
    async with wherry.ClientSession(connector=connector, trace_configs=[config]) as session:
        async with session.get(f"https://localhost:{port}/") as got:
            assert got.version == ((3, 0) if answers else (1, 1))
            assert got.timings is not None
            assert (got.timings.quic is None, got.timings.tls is None) == (not answers, answers)
        name = "HTTP/3" if answers else "HTTP/1.1"
        assert connector.stats().by_protocol == {name: 1}
    listener.close()
    started, ended = seen
    assert started == wherry.TraceQuicHandshakeStartParams("localhost", there, "Alt-Svc")
    assert (ended.host, ended.port) == ("localhost", there)
    assert (ended.exception is None) is answers


async def test_opentelemetry_names_the_protocol(
    server: Http3Server, client_tls: ssl.SSLContext
) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="needs the extra opentelemetry")
    from tests.integrations.test_opentelemetry import Telemetry

    telemetry = Telemetry()
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with (
        wherry.ClientSession(connector=connector, trace_configs=[telemetry.config]) as session,
        session.get(server.url()),
    ):
        pass
    (span,) = telemetry.spans
    assert span.attributes is not None
    assert span.attributes["network.protocol.version"] == "3"


def test_the_engine_loads_off_the_loop(tmp_path: Path) -> None:
    """Its first import takes a tenth of a second, in which nothing else would run."""
    script = textwrap.dedent(
        """
        import asyncio, socket, sys, threading
        import wherry

        seen = []

        class Watch:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "qh3":
                    seen.append(threading.current_thread() is threading.main_thread())
                return None

        async def main():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
                closed.bind(("127.0.0.1", 0))
                port = closed.getsockname()[1]
            connector = wherry.TCPConnector(protocols=("h3",))
            sys.meta_path.insert(0, Watch())
            async with wherry.ClientSession(connector=connector) as session:
                async def ask():
                    try:
                        await session.get(f"https://127.0.0.1:{port}/")
                    except wherry.ClientConnectorError:
                        pass
                await asyncio.gather(*(ask() for _ in range(5)))

        asyncio.run(main())
        assert seen and not any(seen), seen
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        check=False,
        capture_output=True,
        timeout=60,
        env=_environ(),
    )
    assert done.returncode == 0, done.stderr.decode()


# --- origins of which nothing is known ------------------------------------------------------------


def test_where_all_are_tried_a_failure_is_remembered_all_the_same() -> None:
    store = AltSvcStore(max_size=2)
    route = Route(Origin("https", "a.test", 8443), protocols=("h2", "http/1.1"))
    key = store.key(route)
    assert store.find(key, 0.0) is None
    store.tries_all = True
    found = store.find(key, 0.0)
    assert found is not None
    assert (found.host, found.port, found.known_by) == ("a.test", 8443, "a guess")
    assert not len(store)
    store.failed(key, 0.0)
    assert store.find(key, 299.0) is None
    assert store.find(key, 301.0) == found
    store.failed(key, 301.0)
    assert store.find(key, 301.0 + 599.0) is None
    for port in range(3):
        store.failed(store.key(Route(Origin("https", "b.test", port + 1))), 0.0)
    assert len(store) == 2


@pytest.mark.usefixtures("quic_has_time")
async def test_an_origin_that_misdirects_by_http3_is_left_alone(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext, server_tls: ssl.SSLContext
) -> None:
    """421 by HTTP/3 from an origin that was only tried: TCP's answer counts, and QUIC rests."""

    def misdirected(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, response(status=421))

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):  # until a port is free for TCP and for UDP
            listener = await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=server_tls)
            port = listener.sockets[0].getsockname()[1]
            try:
                server = await stack.enter_async_context(
                    http3_server(misdirected, certificate_files, port=port)
                )
                break
            except OSError:
                listener.close()
        await _ask_who_misdirects(server, client_tls)
        listener.close()


async def _ask_who_misdirects(server: Http3Server, client_tls: ssl.SSLContext) -> None:
    connector = wherry.TCPConnector(protocols=("h3", "http/1.1"), ssl=client_tls)
    assert connector.alternatives is not None
    connector.alternatives.tries_all = True
    async with wherry.ClientSession(connector=connector) as session:
        for _ in range(2):
            async with session.get(server.url()) as got:
                assert (got.status, got.version) == (204, (1, 1))
    assert len(server.peers) == 1
