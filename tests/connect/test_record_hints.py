"""HTTPS records (RFC 9460) that say, before the first request, that an origin speaks HTTP/3."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.servers.authority import CertificateFiles

import wherry
from wherry.abc import AbstractResolver
from wherry.connect.alt_svc import Alternative, AltSvcStore, parse_alt_svc
from wherry.connect.dns.https_records import HttpsRecord
from wherry.connect.route import Origin, Route

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from tests.servers.http3 import Http3Server, http3_server, response


class Names(AbstractResolver):
    """Everything is on this machine; `records` says what the DNS says of an origin."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.records: Callable[[], Any] = list
        self.answer: asyncio.Event | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        address = {"host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0}
        return [{"hostname": host, "flags": socket.AI_NUMERICHOST, **address}]

    async def https_records(self, host: str, port: int = 443) -> list[HttpsRecord]:
        self.asked.append((host, port))
        if self.answer is not None:
            await self.answer.wait()
        found: list[HttpsRecord] = self.records()
        return found

    async def close(self) -> None:
        pass


class Tcp:
    """Speaks HTTP/1.1, and says nothing of HTTP/3."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntcp")
        writer.close()


@pytest.fixture
async def tcp(server_tls: ssl.SSLContext) -> AsyncIterator[Tcp]:
    server = Tcp()
    listener = await asyncio.start_server(server, "127.0.0.1", 0, ssl=server_tls)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()


@pytest.fixture
async def quic(
    certificate_files: CertificateFiles, quic_has_time: None
) -> AsyncIterator[Http3Server]:
    async with http3_server(
        lambda peer, stream_id, _: peer.send(stream_id, response(b"quic")), certificate_files
    ) as server:
        yield server


@pytest.fixture
async def names() -> Names:
    return Names()


@pytest.fixture
async def session(names: Names, client_tls: ssl.SSLContext, patient: None) -> Any:
    connector = wherry.TCPConnector(
        protocols=("h3", "http/1.1"), ssl=client_tls, resolver=names, ttl_dns_cache=None
    )
    async with wherry.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a twentieth of a second may pass."""
    monkeypatch.setattr("wherry.connect.https_record_hints.PATIENCE", 30.0)


async def ask(session: Any, tcp: Tcp, host: str = "localhost") -> str:
    async with session.get(f"https://{host}:{tcp.port}/") as got:
        text: str = await got.text()
        return text


def record(port: int | None, *protocols: str, target: str = "", ttl: int = 60) -> HttpsRecord:
    return HttpsRecord(1, target, protocols, port, ttl=ttl)


@pytest.mark.parametrize("target", ["", "localhost"])
async def test_the_first_request_goes_by_http3(
    session: Any, names: Names, tcp: Tcp, quic: Http3Server, target: str
) -> None:
    names.records = lambda: [
        record(None, "http/1.1"),
        record(quic.port, "h2", "h3", target=target),
        record(1, "h3"),
    ]
    assert [await ask(session, tcp) for _ in range(3)] == ["quic"] * 3
    assert names.asked == [("localhost", tcp.port)]
    assert tcp.connections == 0


async def test_requests_at_once_ask_once(
    session: Any, names: Names, tcp: Tcp, quic: Http3Server
) -> None:
    names.records = lambda: [record(quic.port, "h3")]
    assert await asyncio.gather(*(ask(session, tcp) for _ in range(20))) == ["quic"] * 20
    assert len(names.asked) == 1
    assert len(quic.peers) == 1


def refuse() -> list[HttpsRecord]:
    raise OSError(None, "no such server")


def too_slow() -> list[HttpsRecord]:
    raise TimeoutError


@pytest.mark.parametrize("records", [list, refuse, too_slow, lambda: [record(1, "h2")]])
async def test_without_a_record_it_is_tcp_and_nobody_is_asked_again(
    session: Any, names: Names, tcp: Tcp, records: Any
) -> None:
    names.records = records
    assert [await ask(session, tcp) for _ in range(3)] == ["tcp"] * 3
    assert len(names.asked) == 1


async def test_a_late_answer_serves_later_requests(
    session: Any,
    names: Names,
    tcp: Tcp,
    quic: Http3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wherry.connect.https_record_hints.PATIENCE", 0.001)
    names.records = lambda: [record(quic.port, "h3")]
    names.answer = asyncio.Event()
    assert [await ask(session, tcp) for _ in range(2)] == ["tcp"] * 2
    names.answer.set()
    while not len(session.connector.alternatives):
        await asyncio.sleep(0)
    assert await ask(session, tcp) == "quic"
    assert len(names.asked) == 1


async def test_what_nobody_can_say_is_not_asked(session: Any, names: Names, tcp: Tcp) -> None:
    """An address, http, and what has a proxy."""
    assert await ask(session, tcp, "127.0.0.1") == "tcp"
    for url, proxy in (
        ("http://localhost:1/", None),
        ("https://localhost:1/", "http://127.0.0.1:9"),
    ):
        with pytest.raises(wherry.ClientConnectionError):
            await session.get(url, proxy=proxy)
    assert names.asked == []


async def test_a_connector_without_h3_asks_nothing(
    names: Names, tcp: Tcp, client_tls: ssl.SSLContext
) -> None:
    connector = wherry.TCPConnector(ssl=client_tls, resolver=names)
    async with wherry.ClientSession(connector=connector) as session:
        assert await ask(session, tcp) == "tcp"
    assert names.asked == []


@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_an_answer_that_never_comes_holds_nobody(
    session: Any, names: Names, tcp: Tcp, how: str
) -> None:
    names.answer = asyncio.Event()
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(ask(session, tcp))
    while not names.asked:
        await asyncio.sleep(0)
    if how == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await session.close()
    else:
        await session.close()
        with pytest.raises(wherry.ClientConnectionError, match="Connector is closed"):
            await task
    assert asyncio.all_tasks() == before


def test_what_a_record_says_holds_for_its_time() -> None:
    store = AltSvcStore()
    key = store.key(Route(Origin("https", "a.test", 443)))
    there = Alternative("a.test", 443, "HTTPS record")
    assert store.may_ask(key, 0.0)
    store.learn_record(key, there, 60, 0.0)
    assert not store.may_ask(key, 59.0)
    assert store.find(key, 59.0) == there
    assert store.find(key, 60.0) is None
    assert store.may_ask(key, 60.0)
    # The origin's own word counts for more.
    store.learn(key, key.origin, parse_alt_svc(['h3="b.test:443"; ma=100']), 60.0)
    store.learn_record(key, there, 60, 61.0)
    assert store.find(key, 61.0) == Alternative("b.test", 443)
    store.clear()
    assert store.may_ask(key, 61.0)
    store.learn_record(key, None, 60, 61.0)
    assert not store.may_ask(key, 62.0)
    store.network_changed()
    assert store.may_ask(key, 62.0)


def test_a_record_does_not_end_a_pause() -> None:
    store = AltSvcStore()
    key = store.key(Route(Origin("https", "a.test", 443)))
    there = Alternative("a.test", 443, "HTTPS record")
    store.learn_record(key, there, 60, 0.0)
    store.failed(key, 1.0)
    assert not store.may_ask(key, 100.0)
    store.learn_record(key, there, 60, 100.0)
    assert store.find(key, 100.0) is None
    assert store.find(key, 301.0) is None  # its time has ended meanwhile
    assert store.may_ask(key, 301.0)
