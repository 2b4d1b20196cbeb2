"""A path that drops packets says nothing: an HTTP/3 connection on which nothing comes any more is
given up, and one whose server is only slow is not (RFC 9000 10.1.2, RFC 9114).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psutil
import pytest
import uvloop
from tests.servers.authority import CertificateFiles

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from aioquic.tls import Epoch
from tests.servers.http3 import Http3Server, Peer, headers, http3_server, response

from wherry import ClientSession, ClientTimeout
from wherry.protocol.http3 import connection as http3_connection
from wherry.protocol.http3.frames import DATA, frame

from .giving_up import WAYS, by_total

LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
SOON = ClientTimeout(total=5)


def script(peer: Peer, stream_id: int, request: bytes) -> None:
    """`POST` is never answered, `PUT` gets a head and no body, `GET` all of it."""
    if b"\xd4" in request[:8]:  # :method POST in QPACK's static table (RFC 9204 A, 20)
        return
    if b"\xd5" in request[:8]:
        peer.send(stream_id, headers((b":status", b"200")), fin=False)
    else:
        peer.send(stream_id, response(b"hello"))


class Path(asyncio.DatagramProtocol):
    """The way to a server.  Datagrams of clients in `dead` are counted, and nothing passes."""

    def __init__(self, port: int) -> None:
        self.server = ("127.0.0.1", port)
        self.backs: dict[Any, socket.socket] = {}
        self.dead: set[Any] = set()
        self.dropped = 0
        self.transport: Any = None
        self.url = ""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.url = f"https://localhost:{transport.get_extra_info('sockname')[1]}/"

    def datagram_received(self, data: bytes, address: Any) -> None:
        if address in self.dead:
            self.dropped += 1
            return
        if address not in self.backs:
            self.backs[address] = back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.setblocking(False)
            back.connect(self.server)
            asyncio.get_running_loop().add_reader(back, self._back, back, address)
        self.backs[address].send(data)

    def _back(self, back: socket.socket, client: Any) -> None:
        data = back.recv(65535)
        if client not in self.dead:
            self.transport.sendto(data, client)

    def die(self) -> None:
        """Nothing passes any more on the connections that there are."""
        self.dead.update(self.backs)

    def close(self) -> None:
        self.transport.close()
        for back in self.backs.values():
            asyncio.get_running_loop().remove_reader(back)
            back.close()


@contextlib.asynccontextmanager
async def served(
    files: CertificateFiles, tls: ssl.SSLContext, **options: Any
) -> AsyncIterator[tuple[Http3Server, Path, ClientSession]]:
    async with http3_server(script, files) as server:
        _, path = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Path(server.port), local_addr=("127.0.0.1", 0)
        )
        connector = wherry.TCPConnector(protocols=("h3",), ssl=tls, **options)
        try:
            async with ClientSession(path.url, connector=connector) as session:
                yield server, path, session
        finally:
            path.close()
            await asyncio.sleep(0)  # for the sockets


def connections(session: ClientSession) -> list[Any]:
    return list(session.connector.pool.all_connections())  # type: ignore[union-attr]


async def fetch(session: ClientSession) -> None:
    async with session.get("/", timeout=SOON) as response:
        assert await response.read() == b"hello"


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("give_up", WAYS)
def test_one_request_alone_is_lost_to_a_dead_connection(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    give_up: Callable[[ClientSession], Awaitable[None]],
    certificate_files: CertificateFiles,
    client_tls: ssl.SSLContext,
) -> None:
    async def main() -> None:
        async with served(certificate_files, client_tls) as (server, path, session):
            await fetch(session)
            path.die()
            await give_up(session)
            (first,) = connections(session)
            assert (first.capacity, "in doubt" in repr(first)) == (0, True)
            for _ in range(3):
                await fetch(session)
            assert len(server.peers) == 2

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def test_none_of_many_that_begin_later_is_lost(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    async with served(certificate_files, client_tls) as (server, path, session):
        await fetch(session)
        path.die()
        lost = await asyncio.gather(
            *(session.get("/", timeout=ClientTimeout(total=0.2)) for _ in range(12)),
            return_exceptions=True,
        )
        assert [type(error) for error in lost] == [TimeoutError] * 12
        await asyncio.gather(*(fetch(session) for _ in range(12)))
        assert len(server.peers) >= 2


async def test_where_the_limit_has_room_for_one_the_next_waits_until_it_is_given_up(
    certificate_files: CertificateFiles,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http3_connection, "ANSWER_SECONDS", 0.2)
    async with served(certificate_files, client_tls, limit=1) as (server, path, session):
        await fetch(session)
        path.die()
        await by_total(session)
        await fetch(session)
        assert len(server.peers) == 2
        assert session.connector.stats().open == 1  # type: ignore[union-attr]


async def test_a_connection_that_nobody_answers_on_ends_after_what_is_under_way(
    certificate_files: CertificateFiles,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http3_connection, "ANSWER_SECONDS", 0.05)
    async with served(certificate_files, client_tls) as (_, path, session):
        await fetch(session)
        path.die()
        other = asyncio.ensure_future(session.get("/", timeout=ClientTimeout(total=1)))
        await by_total(session)
        (connection,) = connections(session)
        while not connection.is_draining:
            await asyncio.sleep(0.01)
        assert not other.done()
        with pytest.raises(TimeoutError):
            await other
        await connection.wait_closed()
        assert not connections(session)


async def test_a_server_that_is_only_slow_keeps_its_connection(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    async with served(certificate_files, client_tls, limit=1) as (server, _, session):
        for _ in range(3):
            await fetch(session)
            with pytest.raises(TimeoutError):
                await session.post("/", timeout=ClientTimeout(total=0.3))
        await fetch(session)
        assert len(server.peers) == 1


async def test_a_body_that_stops_for_ever_puts_its_connection_in_doubt(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    async with served(certificate_files, client_tls) as (server, path, session):
        async with session.put("/", timeout=ClientTimeout(sock_read=0.3)) as response:
            path.die()
            with pytest.raises(TimeoutError):
                await response.read()
        await fetch(session)
        assert len(server.peers) == 2


async def test_who_gives_up_while_something_comes_asks_nothing(
    certificate_files: CertificateFiles,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http3_connection, "SILENCE", 60.0)
    async with served(certificate_files, client_tls) as (server, _, session):
        for _ in range(3):
            async with session.put("/") as response:
                (connection,) = connections(session)
                response.close()
                assert connection.capacity > 0
        await fetch(session)
        assert len(server.peers) == 1


async def test_nothing_starts_before_something_comes_and_then_it_goes_on(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    async with served(certificate_files, client_tls, limit=1) as (server, path, session):
        await fetch(session)
        path.die()
        await by_total(session)
        (connection,) = connections(session)
        begun = connection.exchanges
        dropped = path.dropped
        next_one = asyncio.ensure_future(fetch(session))
        while path.dropped == dropped:
            await asyncio.sleep(0.01)  # until the PING goes once more
        assert (connection.exchanges, next_one.done()) == (begun, False)
        path.dead.clear()
        await next_one
        assert (len(server.peers), connection.exchanges) == (1, begun + 1)
        assert "in doubt" not in repr(connection)


# --- sock_read, on which the doubt often hangs ----------------------------------------------------


async def test_sock_read_counts_from_whatever_came_last(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    """The head, pieces of it, and trailers; each of them later than the one before by less than the
    limit, and all together by more.
    """
    head = headers((b":status", b"200"), (b"x-long", b"x" * 400))
    parts = [head[:10], head[10:200], head[200:], response(b"a")[-3:], headers((b"x-sum", b"1"))]

    def slowly(peer: Peer, stream_id: int, request: bytes) -> None:
        async def send() -> None:
            for part in parts:
                await asyncio.sleep(0.25)
                peer.send(stream_id, part, fin=part is parts[-1])

        tasks.append(asyncio.ensure_future(send()))

    tasks: list[asyncio.Task[None]] = []
    timeout = ClientTimeout(total=10, sock_read=0.8)
    async with served(certificate_files, client_tls) as (server, _, session):
        server.script = slowly
        async with session.get("/", timeout=timeout) as got:
            assert await got.read() == b"a"
            assert got.trailers["x-sum"] == "1"
        await asyncio.gather(*tasks)


async def test_a_stuck_upload_is_bounded_by_sock_read(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    async with served(certificate_files, client_tls) as (_, path, session):
        await fetch(session)
        path.die()
        tracker = wherry.UploadTracker()
        with pytest.raises(wherry.SocketTimeoutError, match="nothing of the request was taken"):
            await session.post(
                "/",
                data=bytes(4_000_000),
                timeout=ClientTimeout(total=10, sock_read=0.3),
                upload_tracker=tracker,
            )
        assert tracker.bytes_written < 4_000_000


# --- PING while nothing is asked ------------------------------------------------------------------


async def test_a_quiet_connection_is_kept_alive_by_ping(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    """`ping_interval` holds for HTTP/3: the server's idle time-out passes unnoticed."""
    options = wherry.Http2Options(ping_interval=0.2, ping_timeout=60)
    async with served(certificate_files, client_tls, http2=options) as (server, _, session):
        await fetch(session)
        (peer,) = server.peers
        space = peer._quic._spaces[Epoch.ONE_RTT]
        before = space.largest_received_packet
        while space.largest_received_packet < before + 6:  # PINGs, and ACKs of their ACKs
            await asyncio.sleep(0.05)
        await fetch(session)
        assert len(server.peers) == 1


async def test_a_quiet_connection_that_is_dead_is_found_by_ping(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    options = wherry.Http2Options(ping_interval=0.1, ping_timeout=0.4)
    async with served(certificate_files, client_tls, http2=options) as (server, path, session):
        await fetch(session)
        path.die()
        while connections(session):
            await asyncio.sleep(0.02)
        # A request under way ends too, and is sent again by another connection if it may be.
        await fetch(session)
        assert len(server.peers) == 2


# --- another address of ours ----------------------------------------------------------------------


def from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the system gives other sockets another address of ours."""
    from wherry.connect.quic import dial

    usual = dial.open_socket
    monkeypatch.setattr(
        dial,
        "open_socket",
        lambda address, family, local=None, made=None: usual(
            address, family, ("127.0.0.2", 0), made
        ),
    )


def v4(**options: Any) -> dict[str, Any]:
    return {"family": socket.AF_INET, **options}


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is ours on Linux only")
@pytest.mark.parametrize("says_so", [False, True])
async def test_a_connection_moves_to_another_address(
    certificate_files: CertificateFiles,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    says_so: bool,
) -> None:
    """RFC 9000 9: nothing comes any more at the old one, or the system says that there is no way
    out; a body that is under way goes on.
    """
    body = bytes(range(256)) * 2000
    async with served(certificate_files, client_tls, **v4()) as (server, path, session):
        await fetch(session)
        (connection,) = connections(session)
        asked = asyncio.Event()

        def half(peer: Peer, stream_id: int, request: bytes) -> None:
            peer.send(stream_id, headers((b":status", b"200")) + frame(DATA, body[:7]), fin=False)
            server.script = rest
            asked.set()

        def rest(peer: Peer, stream_id: int, request: bytes) -> None:
            peer.send(stream_id - 4, frame(DATA, body[7:]))
            peer.send(stream_id, response(b"hello"))

        server.script = half
        async with session.get("/") as got:
            assert await got.content.readexactly(7) == body[:7]
            from_elsewhere(monkeypatch)
            path.die()
            if says_so:
                connection.transport._failed(OSError(errno.ENETUNREACH, "Network is unreachable"))
            await fetch(session)
            assert await got.content.read() == body[7:]
        assert connection.transport.get_extra_info("sockname")[0] == "127.0.0.2"
        assert connections(session) == [connection]
        assert len(server.peers) == 1
        assert len(path.backs) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is ours on Linux only")
async def test_a_connection_that_may_not_move_is_replaced(
    certificate_files: CertificateFiles,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 9000 18.2, disable_active_migration: an idempotent request goes by another connection,
    and its caller sees nothing.
    """
    async with served(certificate_files, client_tls, **v4()) as (server, path, session):
        await fetch(session)
        (connection,) = connections(session)
        connection._engine._quic._tls.remote_transport_parameters.disable_active_migration = True
        from_elsewhere(monkeypatch)
        path.die()
        await fetch(session)
        assert len(server.peers) == 2
        assert connections(session) != [connection]


async def test_where_our_address_is_the_same_nothing_moves(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    async with served(certificate_files, client_tls, **v4()) as (_, path, session):
        await fetch(session)
        (connection,) = connections(session)
        before = connection.transport.get_extra_info("sockname")
        assert not connection.transport._move()
        await fetch(session)
        assert connection.transport.get_extra_info("sockname") == before
        assert len(path.backs) == 1


async def test_a_closed_session_leaves_nothing(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    """No task, no socket, no timer; and the server hears of it (RFC 9114 5.3)."""
    process = psutil.Process()
    loop: Any = asyncio.get_running_loop()

    def timers() -> int:
        return sum(
            not handle.cancelled() and handle._callback.__module__.startswith("wherry.")
            for handle in loop._scheduled
        )

    options = wherry.Http2Options(ping_interval=5)
    async with http3_server(script, certificate_files) as server:
        tasks, sockets = asyncio.all_tasks(), process.net_connections("udp")
        connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls, http2=options)
        async with ClientSession(server.url(), connector=connector) as session:
            await fetch(session)
            await asyncio.gather(*(fetch(session) for _ in range(5)))
            with pytest.raises(TimeoutError):
                await session.post("/", data=b"x", timeout=ClientTimeout(total=0.05))
            assert timers()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks
        assert process.net_connections("udp") == sockets
        assert not timers()
        await server.until(lambda: server.ends)
        assert {code for code, _ in server.ends} == {0x100}
