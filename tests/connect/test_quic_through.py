"""QUIC through proxies that carry UDP: SOCKS5's UDP ASSOCIATE (RFC 1928) and MASQUE (RFC 9298)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.authority import CertificateFiles
from tests.servers.http_servers import Caddy
from tests.servers.process import free_port

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

from wherry.connect.quic.through_proxy import Capsules, unwrapped
from wherry.protocol.http3.frames import read_varint, varint


@pytest.fixture
async def session(client_tls: ssl.SSLContext) -> Any:
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        yield session


class Udp(asyncio.DatagramProtocol):
    """A UDP socket whose datagrams go to `got`."""

    def __init__(self, got: Callable[[bytes, Any], None]) -> None:
        self.got = got
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got(data, addr)

    @classmethod
    async def to(cls, got: Callable[[bytes, Any], None], port: int) -> Udp:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_datagram_endpoint(
            lambda: cls(got), remote_addr=("127.0.0.1", port)
        )
        return made


# --- SOCKS5 ---------------------------------------------------------------------------------------


class Socks:
    """A SOCKS5 proxy with nothing but UDP ASSOCIATE."""

    def __init__(
        self, *, user: bytes = b"", reply: int = 0, relay: str = "0.0.0.0", named: bytes = b""
    ) -> None:
        self.user = user
        self.relay = named or b"\x01" + socket.inet_aton(relay)
        self.reply = reply
        self.asked: list[tuple[int, bytes, int]] = []
        self.controls: list[asyncio.StreamWriter] = []
        self.ended = asyncio.Event()
        self.port = 0
        self._sockets: list[Any] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Socks]:
        server = await asyncio.start_server(self, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for transport in self._sockets:
                transport.close()
            for writer in self.controls:
                writer.close()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.controls.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            _, count = await reader.readexactly(2)
            methods = await reader.readexactly(count)
            if self.user:
                assert 2 in methods
                writer.write(b"\x05\x02")
                _, length = await reader.readexactly(2)
                name = await reader.readexactly(length)
                password = await reader.readexactly((await reader.readexactly(1))[0])
                good = name + b":" + password == self.user
                writer.write(b"\x01\x00" if good else b"\x01\x01")
                if not good:
                    return
            else:
                writer.write(b"\x05\x00")
            assert await reader.readexactly(3) == b"\x05\x03\x00"
            assert await reader.readexactly(7) == b"\x01" + bytes(6)
            if self.reply:
                writer.write(bytes([5, self.reply, 0, 1]) + bytes(6))
                return
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(
                lambda: Udp(self._from_client), local_addr=("127.0.0.1", 0)
            )
            self._sockets.append(transport)
            self._relay = transport
            port = transport.get_extra_info("sockname")[1]
            writer.write(b"\x05\x00\x00" + self.relay + port.to_bytes(2))
            await reader.read()
            self.ended.set()

    def _from_client(self, data: bytes, addr: Any) -> None:
        kind = data[3]
        size = {1: 4, 4: 16}.get(kind) or 1 + data[4]
        host, rest = data[4 : 4 + size], data[4 + size :]
        port = int.from_bytes(rest[:2])
        self.asked.append((kind, host, port))
        header = data[: 6 + size]

        async def pass_on() -> None:
            if not hasattr(self, "_out"):
                self._out = await Udp.to(
                    lambda back, _: self._relay.sendto(header + back, addr), port
                )
                self._sockets.append(self._out.transport)
            self._out.transport.sendto(rest[2:])

        self._task = asyncio.ensure_future(pass_on())


@pytest.mark.parametrize(
    ("scheme", "kind"), [("socks5", 1), ("socks5h", 3)], ids=["socks5", "socks5h"]
)
async def test_requests_go_through_socks5(
    session: Any, caddy: Caddy, scheme: str, kind: int
) -> None:
    body = os.urandom(300_000)
    (caddy.files / "through").write_bytes(body)
    async with Socks(user=b"me:secret").serving() as socks:
        proxy = f"{scheme}://me:secret@127.0.0.1:{socks.port}"
        for path, expected in (("/x", b"HTTP/3.0 GET /x"), ("/files/through", body)):
            async with session.get(f"https://localhost:{caddy.tls}{path}", proxy=proxy) as got:
                assert got.version == (3, 0)
                assert await got.read() == expected
        host = {1: bytes([127, 0, 0, 1]), 3: b"\x09localhost"}[kind]
        assert set(socks.asked) == {(kind, host, caddy.tls)}
        assert len(socks.controls) == 1
        await session.connector.close()
        await socks.ended.wait()  # the relay is given back


async def test_a_relay_that_ends_ends_the_connection(session: Any, caddy: Caddy) -> None:
    """RFC 1928 7; the next request gets a relay of its own."""
    url = f"https://localhost:{caddy.tls}/x"
    for _ in range(2):
        async with Socks().serving() as socks:
            proxy = f"socks5h://127.0.0.1:{socks.port}"
            async with session.get(url, proxy=proxy) as got:
                assert await got.read() == b"HTTP/3.0 GET /x"
            (connection,) = session.connector.pool.all_connections()
            socks.controls[0].close()
            while list(session.connector.pool.all_connections()):
                await asyncio.sleep(0.01)
            assert connection.transport is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"user": b"me:other"}, "refused the user name or the password"),
        ({"reply": 7}, "does not know this command"),
    ],
)
async def test_a_socks_proxy_may_refuse(session: Any, options: dict[str, Any], match: str) -> None:
    async with Socks(**options).serving() as socks:
        proxy = f"socks5h://me:secret@127.0.0.1:{socks.port}"
        with pytest.raises(wherry.ClientProxyConnectionError, match=match):
            await session.get("https://localhost:9/", proxy=proxy)


@pytest.mark.parametrize(
    ("relay", "blocked"),
    [
        ({"relay": "127.0.0.2"}, "127.0.0.2"),
        # The same, as IPv6 writes it.
        ({"named": b"\x04" + bytes(10) + b"\xff\xff\x7f\x00\x00\x02"}, "::ffff:127.0.0.2"),
        ({"relay": "127.0.0.1"}, ""),
        # The address of the proxy is meant; names are not resolved.
        ({"relay": "0.0.0.0"}, ""),
        ({"named": b"\x03\x0bexample.org"}, ""),
    ],
)
async def test_allow_address_is_asked_about_the_relay(
    client_tls: ssl.SSLContext, caddy: Caddy, relay: dict[str, Any], blocked: str
) -> None:
    """Else a proxy names any address, and UDP is sent there."""

    def allow(address: Any) -> bool:
        return str(address) == "127.0.0.1"

    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls, allow_address=allow)
    url = f"https://127.0.0.1:{caddy.tls}/x"
    async with Socks(**relay).serving() as socks, wherry.ClientSession(connector=connector) as own:
        proxy = f"socks5://127.0.0.1:{socks.port}"
        if not blocked:
            async with own.get(url, proxy=proxy) as response:
                assert response.version == (3, 0)
            return
        with pytest.raises(wherry.ClientConnectorAddressBlocked, match="UDP relay") as caught:
            await own.get(url, proxy=proxy)
        assert blocked in str(caught.value)
        assert not socks.asked  # no datagram came
        await asyncio.wait_for(socks.ended.wait(), 30)  # and the way to the proxy is closed


@contextlib.asynccontextmanager
async def dante(program: str, directory: Path) -> AsyncIterator[int]:
    """Dante's port."""
    port = free_port()
    user = "root" if os.getuid() == 0 else "nobody"
    config = directory / "danted.conf"
    config.write_text(
        f"""
logoutput: {directory}/danted.log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: udpassociate udpreply connect }}
"""
    )
    process = await asyncio.create_subprocess_exec(
        *(program, "-f", config, "-p", directory / "danted.pid"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(400):  # until it listens
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def own_socks() -> AsyncIterator[int]:
    async with Socks().serving() as socks:
        yield socks.port


async def test_dante_carries_it(session: Any, caddy: Caddy, tmp_path: Path) -> None:
    """Where a release has no dante, our own proxy stands in."""
    program = shutil.which("danted", path=f"{os.environ['PATH']}:/usr/sbin")
    async with own_socks() if program is None else dante(program, tmp_path) as port:
        proxy = f"socks5://127.0.0.1:{port}"
        for _ in range(2):
            async with session.get(f"https://localhost:{caddy.tls}/x", proxy=proxy) as got:
                assert await got.read() == b"HTTP/3.0 GET /x"
        assert session.connector.stats().opened == 1
        await session.connector.close()


@given(st.binary(max_size=300))
def test_any_datagram_of_a_relay_is_borne(data: bytes) -> None:
    payload = unwrapped(data)
    assert payload is None or data.endswith(payload)


# --- MASQUE ---------------------------------------------------------------------------------------


class Masque:
    """What both proxies have: the target's socket, and capsules."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.fields: list[dict[str, str]] = []
        self.status = 200
        self.streams: dict[Any, Any] = {}
        self.port = 0

    def asked(self, fields: dict[str, str]) -> tuple[str, int]:
        assert fields[":method"] == "CONNECT"
        assert fields[":protocol"] == "connect-udp"
        assert fields["capsule-protocol"] == "?1"
        self.paths.append(fields[":path"])
        self.fields.append(fields)
        host, port = fields[":path"].rstrip("/").split("/")[-2:]
        return host, int(port)


def capsule(data: bytes) -> bytes:
    return b"\0" + varint(len(data) + 1) + b"\0" + data


class Http2Masque(asyncio.Protocol):
    """A MASQUE proxy by HTTP/2, on h2."""

    def __init__(self, shared: Masque) -> None:
        self.shared = shared
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1},
        )
        self.capsules: dict[int, Capsules] = {}
        self.udp: dict[int, Udp] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.h2.initiate_connection()
        transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                fields = {name.decode(): value.decode() for name, value in event.headers}
                task = asyncio.ensure_future(self.open(event.stream_id, fields))
                self.tasks.add(task)
            elif isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                for payload in self.capsules[event.stream_id].receive(event.data):
                    self.udp[event.stream_id].transport.sendto(payload)
        self.transport.write(self.h2.data_to_send())

    async def open(self, stream_id: int, fields: dict[str, str]) -> None:
        _, port = self.shared.asked(fields)
        self.capsules[stream_id] = Capsules()
        self.udp[stream_id] = await Udp.to(lambda data, _: self.back(stream_id, data), port)
        self.h2.send_headers(stream_id, [(":status", str(self.shared.status))])
        # Capsules of types that nobody knows are skipped (RFC 9297 3.2).
        self.h2.send_data(stream_id, varint(0x1234) + varint(3) + b"abc")
        self.transport.write(self.h2.data_to_send())
        self.shared.streams[stream_id] = self

    def back(self, stream_id: int, data: bytes) -> None:
        with contextlib.suppress(Exception):  # the client may have ended it
            self.h2.send_data(stream_id, capsule(data))
            self.transport.write(self.h2.data_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        for udp in self.udp.values():
            udp.transport.close()


class Http3Masque(QuicConnectionProtocol):
    """The same by HTTP/3, on aioquic."""

    def __init__(self, *args: Any, shared: Masque, **options: Any) -> None:
        super().__init__(*args, **options)
        self.shared = shared
        self.http = H3Connection(self._quic)
        self.capsules: dict[int, Capsules] = {}
        self.udp: dict[int, Udp] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        shared.streams[self] = self

    def quic_event_received(self, event: Any) -> None:
        for happened in self.http.handle_event(event):
            if isinstance(happened, HeadersReceived):
                fields = {name.decode(): value.decode() for name, value in happened.headers}
                self.capsules[happened.stream_id] = Capsules()
                self.tasks.add(asyncio.ensure_future(self.open(happened.stream_id, fields)))
            elif isinstance(happened, DataReceived):
                for payload in self.capsules[happened.stream_id].receive(happened.data):
                    self.udp[happened.stream_id].transport.sendto(payload)

    async def open(self, stream_id: int, fields: dict[str, str]) -> None:
        _, port = self.shared.asked(fields)
        self.udp[stream_id] = await Udp.to(lambda data, _: self.back(stream_id, data), port)
        self.http.send_headers(stream_id, [(b":status", str(self.shared.status).encode())])
        self.transmit()

    def back(self, stream_id: int, data: bytes) -> None:
        with contextlib.suppress(Exception):
            self.http.send_data(stream_id, capsule(data), end_stream=False)
            self.transmit()

    def end(self) -> None:
        for udp in self.udp.values():
            udp.transport.close()
        for handle in (self._transmit_task, self._timer):
            if handle is not None:
                handle.cancel()


@pytest.fixture(params=["HTTP/2", "HTTP/3"])
async def masque(
    request: pytest.FixtureRequest,
    server_tls: ssl.SSLContext,
    certificate_files: CertificateFiles,
    quic_has_time: None,
) -> AsyncIterator[Masque]:
    shared = Masque()
    loop = asyncio.get_running_loop()
    if request.param == "HTTP/2":
        server_tls.set_alpn_protocols(["h2"])
        server = await loop.create_server(
            lambda: Http2Masque(shared), "127.0.0.1", 0, ssl=server_tls
        )
        shared.port = server.sockets[0].getsockname()[1]
        yield shared
        for stream in shared.streams.values():
            stream.transport.abort()
        server.close()
        return
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(str(certificate_files.chain), str(certificate_files.key))
    quic: Any = await serve(
        "127.0.0.1",
        0,
        configuration=configuration,
        create_protocol=lambda *args, **options: Http3Masque(*args, shared=shared, **options),
    )
    shared.port = quic._transport.get_extra_info("sockname")[1]
    yield shared
    for side in shared.streams.values():
        side.end()
    quic._transport.abort()


async def test_requests_go_through_masque(session: Any, caddy: Caddy, masque: Masque) -> None:
    body = os.urandom(200_000)
    (caddy.files / "masque").write_bytes(body)
    proxy = f"masque+https://me:secret@127.0.0.1:{masque.port}"
    for path, expected in (("/x", b"HTTP/3.0 GET /x"), ("/files/masque", body)):
        async with session.get(f"https://localhost:{caddy.tls}{path}", proxy=proxy) as got:
            assert got.version == (3, 0)
            assert await got.read() == expected
    assert masque.paths == [f"/.well-known/masque/udp/localhost/{caddy.tls}/"]
    assert masque.fields[0]["proxy-authorization"] == "Basic bWU6c2VjcmV0"
    assert session.connector.stats().opened == 1
    async with session.post(f"https://localhost:{caddy.tls}/up", data=body, proxy=proxy) as got:
        assert await got.read() == b"HTTP/3.0 POST /up"


async def test_a_masque_proxy_may_refuse(session: Any, masque: Masque) -> None:
    masque.status = 403
    proxy = f"masque+https://127.0.0.1:{masque.port}"
    with pytest.raises(wherry.ClientProxyConnectionError, match="answered 403"):
        await session.get("https://localhost:9/", proxy=proxy)


async def test_other_kinds_of_proxies_carry_no_quic(session: Any) -> None:
    for proxy, match in (
        ("http://127.0.0.1:9", "socks5, socks5h and masque"),
        (["socks5://127.0.0.1:9", "socks5://127.0.0.1:9"], "one proxy at most"),
    ):
        with pytest.raises(wherry.ClientConnectorError, match=match):
            await session.get("https://localhost:9/", proxy=proxy)


async def test_masque_carries_nothing_but_http3(client_tls: ssl.SSLContext) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientProxyConnectionError, match="HTTP/3 alone"):
            await session.get("https://localhost:9/", proxy="masque+https://127.0.0.1:9")


@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 0, 5, 0x1234]), st.binary(max_size=200)), max_size=8),
    st.lists(st.integers(1, 50), max_size=40),
)
def test_capsules_come_in_any_pieces(parts: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(varint(kind) + varint(len(data) + 1) + b"\0" + data for kind, data in parts)
    reader, found, at = Capsules(), [], 0
    for size in [*cuts, len(stream)]:
        found += reader.receive(stream[at : at + size])
        at += size
    assert found == [data for kind, data in parts if kind == 0]


@given(st.lists(st.binary(max_size=64), max_size=10))
def test_any_capsules_are_borne(pieces: list[bytes]) -> None:
    reader = Capsules()
    with contextlib.suppress(ValueError):
        for piece in pieces:
            reader.receive(piece)
    assert read_varint(varint(7), 0) == (7, 1)
