"""Alternative services (RFC 7838): what is read, what is kept, and what is tried."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.authority import CertificateFiles

import wherry
from wherry.connect.alt_svc import (
    DEFAULT_MAX_AGE,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Alternative,
    AltSvcStore,
    parse_alt_svc,
    usable,
)
from wherry.connect.route import Origin, Route

ORIGIN = Origin("https", "a.test", 443)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('h3=":443"', [("h3", "", 443, DEFAULT_MAX_AGE, False)]),
        ('h3=":443"; ma=60; persist=1', [("h3", "", 443, 60, True)]),
        ('h3=":443";MA=60;v="46,43"', [("h3", "", 443, 60, False)]),
        ('h3=":443"; persist=2', [("h3", "", 443, DEFAULT_MAX_AGE, False)]),
        ('h3="b.test:8"', [("h3", "b.test", 8, DEFAULT_MAX_AGE, False)]),
        ('h3="[::1]:8"', [("h3", "::1", 8, DEFAULT_MAX_AGE, False)]),
        ('w%3Dx="a:1"', [("w=x", "a", 1, DEFAULT_MAX_AGE, False)]),
        (
            'h2=":1", h3=":2"',
            [("h2", "", 1, DEFAULT_MAX_AGE, False), ("h3", "", 2, DEFAULT_MAX_AGE, False)],
        ),
        ('h3=":443"; ma=99999999999999999999', [("h3", "", 443, 30 * DEFAULT_MAX_AGE, False)]),
        ("clear", []),
        ("Clear", []),
        ("", []),
        ("h3", []),
        ("h3=:443", []),
        ('h3 =":443"', []),
        ('h3="443"', []),
        ('h3=":0"', []),
        ('h3=":65536"', []),
        ('h3=":-1"', []),
        ('h3=":²"', []),
        ('h3="a b:1"', []),
        ('h3="[::g]:1"', []),
        ('h3="user@a:1"', []),
        ('h3=":443"; ma=x', []),
        ('h3=":443" ma=1', []),
        ('h3=":443', []),
    ],
)
def test_the_field(field: str, expected: list[Any]) -> None:
    assert parse_alt_svc([field]) == expected


def test_clear_wins_over_other_lines_and_fields_are_bounded() -> None:
    assert parse_alt_svc(['h3=":443"', "clear"]) == []
    assert len(parse_alt_svc([", ".join(['h3=":443"'] * 1000)])) == 16


@given(st.text(max_size=60) | st.text('h3=":4;, ma1"', max_size=40))
def test_any_field_is_borne(field: str) -> None:
    for found in parse_alt_svc([field, f'h3="{field}"', f'h3=":1"; {field}']):
        assert 0 < found.port < 65536
        assert found.max_age >= 0


def test_an_unprivileged_port_does_not_speak_for_a_privileged_one() -> None:
    """RFC 7838 9.1."""
    said = parse_alt_svc(['h2=":1", h3=":8443", h3="b.test:8443"'])
    assert usable(said, ORIGIN) == ("h3", "b.test", 8443, DEFAULT_MAX_AGE, False)
    assert usable(said, Origin("https", "a.test", 8000)) == said[1]
    assert usable(parse_alt_svc(['h3-29=":443"']), ORIGIN) is None


def learnt(store: AltSvcStore, field: str, now: float = 0.0, key: str = "k") -> None:
    store.learn(key, ORIGIN, parse_alt_svc([field]), now)


def test_what_is_learnt_is_fresh_for_as_long_as_it_says() -> None:
    store = AltSvcStore()
    learnt(store, 'h3=":443"; ma=60')
    assert store.find("k", 59.9) == Alternative("a.test", 443)
    assert store.find("other", 0.0) is None
    assert store.find("k", 60.0) is None
    assert len(store) == 0


@pytest.mark.parametrize("field", ["clear", 'h2=":443"', 'h3=":443"; ma=0'])
def test_a_new_field_replaces_the_old_one(field: str) -> None:
    store = AltSvcStore()
    learnt(store, 'h3=":443"')
    learnt(store, field)
    assert store.find("k", 0.0) is None


def test_what_failed_is_left_alone_longer_each_time() -> None:
    store = AltSvcStore()
    learnt(store, f'h3=":443"; ma={30 * 24 * 3600}')
    now, pause = 0.0, FIRST_PAUSE
    for _ in range(5):
        store.failed("k", now)
        store.failed("k", now + 1)  # many requests may meet one failure
        assert store.find("k", now + pause - 1) is None
        learnt(store, f'h3=":443"; ma={30 * 24 * 3600}', now)  # saying it again changes nothing
        assert store.find("k", now + pause - 1) is None
        now += pause
        assert store.find("k", now) == Alternative("a.test", 443)
        pause *= 2
    store.succeeded("k")
    store.failed("k", now)
    assert store.find("k", now + FIRST_PAUSE) == Alternative("a.test", 443)


def test_a_pause_has_an_end() -> None:
    store = AltSvcStore()
    learnt(store, 'h3=":443"')
    now = 0.0
    for _ in range(40):
        learnt(store, 'h3=":443"', now)
        store.failed("k", now)
        now += LONGEST_PAUSE
        learnt(store, 'h3=":443"', now)
        assert store.find("k", now) is not None
    assert math.isfinite(now)


def test_the_store_is_bounded() -> None:
    store = AltSvcStore(max_size=3)
    for key in "abcd":
        learnt(store, 'h3=":443"', key=key)
    assert len(store) == 3
    assert store.find("a", 0.0) is None
    store.clear()
    assert len(store) == 0


def test_a_new_network_forgets_what_does_not_persist() -> None:
    """RFC 7838 2.2."""
    store = AltSvcStore()
    learnt(store, 'h3=":443"; persist=1', key="kept")
    learnt(store, 'h3=":443"', key="dropped")
    store.failed("kept", 0.0)
    store.network_changed()
    assert store.find("kept", 0.0) is not None
    assert store.find("dropped", 0.0) is None


# --- with servers ---------------------------------------------------------------------------------


class TcpServer:
    """HTTPS by TCP, which says where HTTP/3 is spoken."""

    def __init__(self) -> None:
        self.field = ""
        self.port = 0
        self.requests = 0
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                field = f"Alt-Svc: {self.field}\r\n" if self.field else ""
                writer.write(f"HTTP/1.1 200 OK\r\n{field}Content-Length: 3\r\n\r\ntcp".encode())
        writer.close()


@pytest.fixture
async def tcp(server_tls: ssl.SSLContext) -> AsyncIterator[TcpServer]:
    server = TcpServer()
    listener = await asyncio.start_server(server, "127.0.0.1", 0, ssl=server_tls)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()


@pytest.fixture
async def session(client_tls: ssl.SSLContext) -> Any:
    pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
    connector = wherry.TCPConnector(protocols=("h3", "http/1.1"), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        yield session


async def ask(session: Any, server: TcpServer, **options: Any) -> str:
    async with session.get(f"https://127.0.0.1:{server.port}/", **options) as got:
        text: str = await got.text()
        return text


@pytest.fixture
async def quic(certificate_files: CertificateFiles, quic_has_time: None) -> AsyncIterator[Any]:
    pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")
    from tests.servers.http3 import http3_server, response

    def script(peer: Any, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, response(b"quic", *server.fields, status=server.status))

    async with http3_server(script, certificate_files) as server:
        server.fields, server.status = (), 200  # type: ignore[attr-defined]
        yield server


async def test_an_alternative_is_learnt_and_used(session: Any, tcp: TcpServer, quic: Any) -> None:
    tcp.field = f'h3=":{quic.port}"'
    assert [await ask(session, tcp) for _ in range(4)] == ["tcp", "quic", "quic", "quic"]
    assert len(quic.peers) == 1


async def test_an_alternative_may_be_on_another_host(
    session: Any, tcp: TcpServer, quic: Any
) -> None:
    """RFC 7838 2: its certificate must be the origin's."""
    tcp.field = f'h3="localhost:{quic.port}"'
    assert [await ask(session, tcp) for _ in range(2)] == ["tcp", "quic"]


async def test_clear_ends_it(session: Any, tcp: TcpServer, quic: Any) -> None:
    tcp.field = f'h3=":{quic.port}"'
    quic.fields = ((b"alt-svc", b"clear"),)
    assert [await ask(session, tcp) for _ in range(2)] == ["tcp", "quic"]
    tcp.field = ""
    assert await ask(session, tcp) == "tcp"


async def test_421_ends_it_and_is_not_seen(session: Any, tcp: TcpServer, quic: Any) -> None:
    """RFC 7838 6."""
    tcp.field = f'h3=":{quic.port}"'
    quic.status = 421
    assert [await ask(session, tcp) for _ in range(2)] == ["tcp", "tcp"]
    assert len(quic.peers) == 1


async def test_unchecked_answers_teach_nothing(tcp: TcpServer, quic: Any, session: Any) -> None:
    """RFC 7838 2.1."""
    tcp.field = f'h3=":{quic.port}"'
    assert [await ask(session, tcp, ssl=False) for _ in range(3)] == ["tcp"] * 3
    assert not quic.peers


async def test_what_was_learnt_under_one_policy_is_not_used_under_another(
    tcp: TcpServer, quic: Any, session: Any, client_tls_with_cert: ssl.SSLContext
) -> None:
    tcp.field = f'h3=":{quic.port}"'
    assert await ask(session, tcp) == "tcp"
    tcp.field = ""
    assert await ask(session, tcp, ssl=client_tls_with_cert) == "tcp"
    assert await ask(session, tcp) == "quic"


async def test_a_connector_without_h3_learns_nothing(
    tcp: TcpServer, quic: Any, client_tls: ssl.SSLContext
) -> None:
    tcp.field = f'h3=":{quic.port}"'
    connector = wherry.TCPConnector(ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        assert [await ask(session, tcp) for _ in range(2)] == ["tcp", "tcp"]
    assert not quic.peers


@contextlib.contextmanager
def udp_port(*, silent: bool) -> Any:
    """A port where nobody answers, or nobody is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        if silent:
            yield port
            return
    yield port


@pytest.mark.parametrize("silent", [True, False])
async def test_where_udp_does_not_work_the_caller_sees_nothing(
    session: Any, tcp: TcpServer, silent: bool
) -> None:
    with udp_port(silent=silent) as port:
        tcp.field = f'h3=":{port}"'
        assert await ask(session, tcp) == "tcp"
        started = time.monotonic()
        assert await ask(session, tcp) == "tcp"
        assert time.monotonic() - started < 5
        assert (tcp.requests, tcp.connections) == (2, 2)
        # And it is not tried again for a while.
        assert [await ask(session, tcp) for _ in range(3)] == ["tcp"] * 3
        assert tcp.connections == 2


async def test_early_data_that_nobody_answers_goes_by_tcp(
    tcp: TcpServer,
    certificate_files: CertificateFiles,
    client_tls: ssl.SSLContext,
    quic_has_time: None,
) -> None:
    """RFC 8470 4: early data may be sent twice; the caller sees nothing of it."""
    pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")
    from tests.servers.http3 import http3_server, response

    connector = wherry.TCPConnector(
        protocols=("h3", "http/1.1"), ssl=client_tls, limit=2, early_data=True
    )
    tickets: dict[bytes, Any] = {}
    async with (
        wherry.ClientSession(connector=connector) as session,
        http3_server(
            lambda peer, stream, _: peer.send(stream, response(b"quic")),
            certificate_files,
            tickets=tickets,
        ) as quic,
    ):
        tcp.field = f'h3=":{quic.port}"'
        assert await ask(session, tcp) == "tcp"

        def end() -> bool:
            (found,) = (c for c in connector.pool.all_connections() if c.version.major == 3)
            found.close()
            return bool(found._engine.took_early)

        for early in (False, True):
            assert await ask(session, tcp) == "quic"
            assert end() is early
        before = tcp.requests
        quic.vanish()
        assert await ask(session, tcp) == "tcp"
        assert tcp.requests == before + 1
        assert await ask(session, tcp) == "tcp"
        assert not any(c.version.major == 3 for c in connector.pool.all_connections())


async def test_an_alternative_with_another_certificate_is_not_used(
    session: Any, tcp: TcpServer
) -> None:
    pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")
    import trustme
    from tests.servers.authority import write_certificate
    from tests.servers.fixtures import open_directory
    from tests.servers.http3 import http3_server

    other = trustme.CA()
    with open_directory() as directory:
        files = write_certificate(other, other.issue_cert("127.0.0.1"), directory)
        async with http3_server(lambda *_: None, files) as quic:
            tcp.field = f'h3=":{quic.port}"'
            assert [await ask(session, tcp) for _ in range(3)] == ["tcp"] * 3
            assert tcp.connections == 2


async def test_an_error_right_after_the_handshake_goes_unseen(
    session: Any, tcp: TcpServer, quic: Any
) -> None:
    tcp.field = f'h3=":{quic.port}"'
    quic.script = lambda peer, *_: peer.close(error_code=0x102, reason_phrase="")
    assert [await ask(session, tcp) for _ in range(3)] == ["tcp"] * 3
    assert len(quic.peers) == 1


async def test_when_both_fail_the_error_is_that_of_tcp(session: Any, tcp: TcpServer) -> None:
    with udp_port(silent=False) as port:
        tcp.field = f'h3=":{port}"; ma=100'
        assert await ask(session, tcp) == "tcp"
        with udp_port(silent=False) as gone:
            connector = session.connector
            (key,) = connector.alternatives._entries
            tcp.port = gone
            connector.alternatives._entries[(Origin("https", "127.0.0.1", gone), *key[1:])] = (
                connector.alternatives._entries.pop(key)
            )
            with pytest.raises(wherry.ClientConnectorError) as caught:
                await ask(session, tcp)
    assert "UDP" not in str(caught.value)


async def test_never_round_a_proxy(session: Any, tcp: TcpServer, quic: Any) -> None:
    tcp.field = f'h3=":{quic.port}"'
    assert await ask(session, tcp) == "tcp"
    with pytest.raises(wherry.ClientProxyConnectionError):
        await ask(session, tcp, proxy="http://127.0.0.1:9")
    assert not quic.peers


async def test_a_cancelled_race_leaves_nothing(session: Any, tcp: TcpServer) -> None:
    with udp_port(silent=True) as port:
        tcp.field = f'h3=":{port}"'
        assert await ask(session, tcp) == "tcp"
        before = asyncio.all_tasks()
        for turns in range(12):
            task = asyncio.ensure_future(ask(session, tcp))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
        session.connector.alternatives.clear()
        assert await ask(session, tcp) == "tcp"
        for _ in range(200):
            if asyncio.all_tasks() <= before | {asyncio.current_task()}:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail(repr(asyncio.all_tasks() - before))


async def test_a_server_that_answers_nonsense_by_udp_is_left_alone(
    session: Any, tcp: TcpServer
) -> None:
    class Nonsense(asyncio.DatagramProtocol):
        transport: Any

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            self.transport.sendto(b"\x40nonsense", address)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Nonsense, local_addr=("127.0.0.1", 0)
    )
    try:
        tcp.field = f'h3=":{transport.get_extra_info("sockname")[1]}"'
        assert [await ask(session, tcp) for _ in range(4)] == ["tcp"] * 4
        assert tcp.connections == 2
    finally:
        transport.close()


async def test_many_requests_at_once_share_what_was_learnt(
    session: Any, tcp: TcpServer, quic: Any
) -> None:
    tcp.field = f'h3=":{quic.port}"'
    await ask(session, tcp)
    assert await asyncio.gather(*(ask(session, tcp) for _ in range(30))) == ["quic"] * 30
    assert len(quic.peers) == 1


@pytest.mark.parametrize("protocols", [("h3",), ("h3", "h3"), ["h3"]])
async def test_h3_alone_is_prior_knowledge(
    protocols: Any, quic: Any, client_tls: ssl.SSLContext
) -> None:
    connector = wherry.TCPConnector(protocols=protocols, ssl=client_tls)
    assert connector.alternatives is None
    async with (
        wherry.ClientSession(connector=connector) as session,
        session.get(f"https://127.0.0.1:{quic.port}/") as got,
    ):
        assert await got.text() == "quic"


# --- kept, and forgotten ---------------------------------------------------------------------------


def key_of(host: str = "a.test", port: int = 443, **options: Any) -> Any:
    return AltSvcStore.key(Route(Origin("https", host, port), **options))


def filled(clock: Any) -> AltSvcStore:
    store = AltSvcStore(clock=clock)
    for host, field in (
        ("a.test", 'h3=":443"; ma=60'),
        ("b.test", 'h3="c.test:8443"; ma=600; persist=1'),
        ("::1", 'h3="[::2]:443"; ma=600'),
    ):
        key = key_of(host)
        store.learn(key, key.origin, parse_alt_svc([field]), clock())
    return store


def test_what_was_learnt_outlives_the_program(tmp_path: Path) -> None:
    file = tmp_path / "alternatives.json"
    store = filled(lambda: 1000.0)
    own = key_of("own.test", ssl=ssl.create_default_context())
    store.learn(own, own.origin, parse_alt_svc(['h3=":443"']), 1000.0)
    store.tries_all = True
    store.failed(key_of("guess.test"), 1000.0)
    store.save(file)
    assert file.stat().st_mode & 0o777 == 0o600
    again = AltSvcStore(clock=lambda: 5.0)
    key = key_of("gone.test")
    again.learn(key, key.origin, parse_alt_svc(['h3=":443"']), 5.0)
    again.load(file)
    # Neither what a context vouched for, nor what was only tried; and the rest is replaced.
    assert len(again) == 3
    assert again.find(key_of("a.test"), 5.0) == Alternative("a.test", 443)
    assert again.find(key_of("b.test"), 5.0 + 590) == Alternative("c.test", 8443)
    assert again.find(key_of("::1"), 5.0) == Alternative("::2", 443)
    assert again.find(key_of("a.test"), 5.0 + 61) is None
    again.network_changed()
    assert again.find(key_of("b.test"), 5.0) is not None
    assert again.find(key_of("::1"), 5.0) is None


def test_what_has_ended_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alternatives.json"
    filled(lambda: 1000.0).save(file)
    today = time.time()
    monkeypatch.setattr(time, "time", lambda: today + 120)
    store = AltSvcStore(clock=lambda: 5.0)
    store.load(file)
    assert len(store) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.clear(),
        lambda data: data.update(version=2),
        lambda data: data["alternatives"].append([]),
        lambda data: data["alternatives"][0].update(port=0),
        lambda data: data["alternatives"][0].update(port=True),
        lambda data: data["alternatives"][0].update(host="a b"),
        lambda data: data["alternatives"][0].update(host=None),
        lambda data: data["alternatives"][0].update(origin=["http", "a.test", 80]),
        lambda data: data["alternatives"][0].update(port=8443),
        lambda data: data["alternatives"][0].update(expires="soon"),
        lambda data: data["alternatives"][0].update(networks={"4": "nowhere"}),
        lambda data: data["alternatives"][0].pop("server_hostname"),
    ],
)
def test_another_file_is_refused_and_changes_nothing(tmp_path: Path, change: Any) -> None:
    file = tmp_path / "alternatives.json"
    store = filled(lambda: 1000.0)
    store.save(file)
    data = json.loads(file.read_bytes())
    data["alternatives"][0].update(port=444)
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"alternatives\.json is not a file of alternatives"):
        store.load(file)
    assert store.find(key_of("a.test"), 1000.0) == Alternative("a.test", 443)


@given(st.binary(max_size=60))
def test_any_file_is_borne(tmp_path_factory: Any, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(data)
    with pytest.raises(ValueError, match="is not a file of alternatives"):
        AltSvcStore().load(file)


def test_times_of_a_file_are_bounded(tmp_path: Path) -> None:
    file = tmp_path / "alternatives.json"
    filled(lambda: 1000.0).save(file)
    data = json.loads(file.read_bytes())
    for record, expires in zip(data["alternatives"], ("NaN", "Infinity", "1e300"), strict=True):
        record["expires"] = float(expires)
    file.write_text(json.dumps(data))
    store = AltSvcStore()
    store.load(file)
    assert not len(store)


@pytest.mark.parametrize(
    ("before", "after", "is_new"),
    [
        ("192.0.2.1", "192.0.2.1", False),
        ("192.0.2.1", "198.51.100.7", True),
        ("192.0.2.1", "2001:db8::1", False),
        ("2001:db8::1", "2001:db8::abcd:1", False),
        ("2001:db8::1", "2001:db8:1::1", True),
        ("fe80::1%eth0", "fe80::2%wlan0", False),
    ],
)
def test_a_connection_from_another_address_is_another_network(
    before: str, after: str, is_new: bool
) -> None:
    store = filled(lambda: 0.0)
    for host in ("a.test", "b.test"):
        store.connected_from(key_of(host), before)
        store.failed(key_of(host), 0.0)
        store.connected_from(key_of(host), after)
    assert len(store) == (2 if is_new else 3)
    # A pause belongs to the network that it was met on.
    assert (store.find(key_of("b.test"), 1.0) is not None) is is_new
    store.connected_from(key_of("unknown.test"), after)


async def test_what_is_learnt_is_forgotten_with_the_cookies(
    client_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    """RFC 7838 9.4: a server may tell users apart by it."""
    connector = wherry.TCPConnector(protocols=("h3", "http/1.1"), ssl=client_tls)
    store = connector.alternatives
    assert store is not None

    def learn() -> None:
        for host in ("a.test", "www.a.test", "xa.test"):
            key = key_of(host)
            store.learn(key, key.origin, parse_alt_svc(['h3=":443"']), 0.0)
        assert len(store) == 3

    for jar in (wherry.CookieJar(), wherry.DummyCookieJar()):
        async with wherry.ClientSession(
            connector=connector, cookie_jar=jar, connector_owner=False
        ) as session:
            learn()
            session.cookie_jar.clear(lambda cookie: False)
            assert len(store) == 3
            session.cookie_jar.clear_domain("a.test")
            assert [key.origin.host for key in store._entries] == ["xa.test"]
            learn()
            session.cookie_jar.clear()
            assert not len(store)
            if isinstance(jar, wherry.CookieJar):
                # Cookies of a file are no reason to forget: a program loads both.
                learn()
                jar.save(tmp_path / "cookies.json")
                jar.load(tmp_path / "cookies.json")
                assert len(store) == 3
            assert "_forgotten_with" not in jar.__getstate__()  # it can be pickled as before
    await connector.close()


def test_a_jar_keeps_nothing_alive() -> None:
    jar, store = wherry.CookieJar(), AltSvcStore()
    jar.forget_with(store)
    jar.forget_with(store)
    assert len(jar._forgotten_with) == 1
    del store
    gc.collect()
    jar.clear()
    jar.clear_domain("a.test")
    jar.forget_with(AltSvcStore())
    assert len(jar._forgotten_with) == 1
