"""HTTP/2 through the session: negotiated, shared, and otherwise like HTTP/1.1 in everything."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import json
import random
from collections.abc import AsyncIterator, Callable

import pytest
from tests.servers.http2 import LARGE, MODEST, SERVER_NAMES, SMALL, Http2Server, Http2Servers
from tests.servers.pki import Pki
from tests.servers.proxies import ProxyFarm

import wherry
from wherry import ClientSession, TCPConnector

HttpVersion11, HttpVersion20 = (1, 1), (2, 0)


@pytest.fixture(params=SERVER_NAMES)
def server(request: pytest.FixtureRequest, http2_servers: Http2Servers) -> Http2Server:
    found: Http2Server = getattr(http2_servers, request.param)
    return found


@pytest.fixture
async def session(pki: Pki) -> AsyncIterator[ClientSession]:
    connector = TCPConnector(ssl=pki.client(), protocols=("h2", "http/1.1"), http2=MODEST)
    async with ClientSession(connector=connector) as made:
        yield made


def stats(session: ClientSession) -> object:
    return session.connector.pool.stats()


async def test_alpn_chooses_http2_and_requests_share_one_connection(
    session: ClientSession, server: Http2Server
) -> None:
    """While the first answer of ALPN is awaited nobody else dials."""

    async def get(path: str) -> tuple[object, bytes]:
        async with session.get(f"https://localhost:{server.tls_port}{path}") as response:
            return response.version, await response.read()

    results = await asyncio.gather(*(get("/small") for _ in range(20)))
    assert results == [(HttpVersion20, SMALL)] * 20
    # Which takes eight streams at a time.
    assert stats(session).opened == 1 or server.name == "nginx"
    results = await asyncio.gather(*(get("/large") for _ in range(12)))
    assert [hashlib.sha256(body).digest() for _, body in results] == [
        hashlib.sha256(LARGE).digest()
    ] * 12


async def test_prior_knowledge(server: Http2Server) -> None:
    """RFC 9113 3.3"""
    if server.plain_port is None:
        assert server.name == "nghttpd"  # it speaks one of both
        return
    async with ClientSession(connector=TCPConnector(protocols=("h2c",))) as session:
        for _ in range(2):
            async with session.get(f"http://localhost:{server.plain_port}/small") as response:
                assert response.version == HttpVersion20
                assert await response.read() == SMALL
        assert stats(session).opened == 1


async def test_a_server_without_http2_is_spoken_to_in_http1(pki: Pki) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    pki.server.set_alpn_protocols(["http/1.1"])
    running = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=pki.server)
    port = running.sockets[0].getsockname()[1]
    connector = TCPConnector(ssl=pki.client(), protocols=("h2", "http/1.1"))
    async with ClientSession(connector=connector) as session:

        async def get() -> object:
            async with session.get(f"https://localhost:{port}/") as response:
                return response.version, await response.text()

        assert await asyncio.gather(*(get() for _ in range(5))) == [(HttpVersion11, "ok")] * 5
        assert connector.pool.stats().opened == 5
        route = next(iter(connector.pool.route_pools))
        assert connector.pool._negotiated.multiplexes(route) is False
    running.close()
    await running.wait_closed()


@pytest.mark.parametrize("name", ["haproxy", "caddy", "hypercorn"])
async def test_uploads_of_every_kind(
    session: ClientSession, http2_servers: Http2Servers, name: str
) -> None:
    url = f"https://localhost:{getattr(http2_servers, name).tls_port}/upload"

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(LARGE), 300_000):
            yield LARGE[at : at + 300_000]

    for data in (LARGE, pieces()):
        async with session.post(url, data=data) as response:
            assert (response.version, await response.text()) == (HttpVersion20, str(len(LARGE)))
    async with session.post(url, json={"a": 1}) as response:
        assert await response.text() == str(len(json.dumps({"a": 1})))
    async with session.put(url, data=b"x" * 70000, compress="gzip") as response:
        assert int(await response.text()) < 70000
    async with session.post(url, data=b"abc", expect100=True) as response:
        assert await response.text() == "3"


async def test_head_and_trailers_and_streaming(
    session: ClientSession, http2_servers: Http2Servers
) -> None:
    base = f"https://localhost:{http2_servers.nghttpd.tls_port}"
    async with session.head(f"{base}/large") as response:
        assert (response.content_length, await response.read()) == (len(LARGE), b"")
    async with session.get(f"{base}/large") as response:
        digest = hashlib.sha256()
        async for piece in response.content.iter_chunked(50_000):
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(LARGE).digest()
    assert stats(session).opened == 1


async def test_a_response_left_unread_gives_its_stream_back(
    session: ClientSession, server: Http2Server
) -> None:
    url = f"https://localhost:{server.tls_port}"
    for _ in range(12):
        response = await session.get(f"{url}/large")
        response.close()
    async with session.get(f"{url}/small") as response:
        assert await response.read() == SMALL
    assert stats(session).opened == 1


async def test_cancelled_and_timed_out_requests_hurt_nobody(
    session: ClientSession, server: Http2Server
) -> None:
    url = f"https://localhost:{server.tls_port}"
    async with session.get(f"{url}/small") as response:
        await response.read()

    # Apache ends the whole connection when a stream is reset whose head it has not sent yet, so
    # heads first.
    heads = asyncio.Barrier(7)

    async def get() -> tuple[int, int]:
        async with session.get(f"{url}/large") as response:
            await heads.wait()
            return response.status, len(await response.read())

    tasks = [asyncio.ensure_future(get()) for _ in range(6)]
    await heads.wait()
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert results[1::2] == [(200, len(LARGE))] * 3
    assert stats(session).opened == 1


@pytest.mark.parametrize("limits", [{"sock_read": 0.05}, {"total": 0.05}])
@pytest.mark.parametrize("answer", [b"", b"\0\0\1\1\4\0\0\0\3\x88"], ids=["silence", "a head"])
async def test_a_time_limit_ends_the_stream(answer: bytes, limits: dict[str, float]) -> None:
    """The server hears of it, and the stream's place is free."""
    reset = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0\0\4\0\0\0\0\0")
        await reader.readexactly(24)
        while data := await reader.readexactly(9):
            body = await reader.readexactly(int.from_bytes(data[:3]))
            if data[3] == 1:
                writer.write(b"\0\0\1\1\5\0\0\0\1\x88" if data[8] == 1 else answer)
            elif data[3] == 3:
                reset.set_result((data[8], body[3]))
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, ClientSession(connector=TCPConnector(protocols=("h2c",))) as session:
        await session.get(url)  # the connection is there, so that all the time goes to the stream
        with pytest.raises(TimeoutError):
            async with session.get(url, timeout=wherry.ClientTimeout(**limits)) as response:
                await response.read()
        async with asyncio.timeout(20):
            assert await reset == (3, 8)  # CANCEL
        assert stats(session).busy == 0


async def test_whatever_becomes_of_requests_their_streams_are_free_again(
    server: Http2Server, pki: Pki
) -> None:
    """Read, left early, too slow, silent for too long, cancelled: all at once, on few
    connections.
    """
    base = f"https://localhost:{server.tls_port}"
    dice = random.Random(5)
    ends: set[str] = set()

    async def one() -> None:
        kind = dice.choice(["small", "large", "left", "late", "silent"])
        limits = {
            "late": {"total": 0.05 * dice.random()},
            "silent": {"sock_read": 0.005 * dice.random()},
        }
        limit = wherry.ClientTimeout(**limits.get(kind, {"total": 20}))
        try:
            async with session.get(
                f"{base}/{'small' if kind == 'small' else 'large'}", timeout=limit
            ) as response:
                if kind == "left":
                    await response.content.read(dice.randrange(1, 100_000))
                else:
                    assert len(await response.read()) == len(SMALL if kind == "small" else LARGE)
            ends.add(kind)
        except (TimeoutError, wherry.ClientError) as exc:
            ends.add(type(exc).__name__)

    async def work() -> None:
        for _ in range(10):
            task = asyncio.ensure_future(one())
            if dice.random() < 0.2:
                await asyncio.sleep(0.02 * dice.random())
                task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    connector = TCPConnector(ssl=pki.client(), protocols=("h2", "http/1.1"), http2=MODEST, limit=4)
    async with ClientSession(connector=connector) as session:
        await asyncio.gather(*(work() for _ in range(10)))
        assert "small" in ends
        # Debian 12's Apache ends connections whose streams were reset, each once.
        for _ in range(connector.limit):
            with contextlib.suppress(wherry.ClientError):
                async with session.get(f"{base}/large") as response:
                    assert await response.read() == LARGE
                break
        else:
            pytest.fail("no request comes whole")
        assert stats(session).busy == stats(session).waiting == 0
        assert all(made.is_idle and not made.reserved for made in connector.pool.all_connections())


async def test_closing_the_session_ends_connections_in_order(server: Http2Server, pki: Pki) -> None:
    async with ClientSession(
        connector=TCPConnector(ssl=pki.client(), protocols=("h2",))
    ) as session:
        response = await session.get(f"https://localhost:{server.tls_port}/large")
        [connection] = session.connector.pool.all_connections()
    assert connection.transport is None
    with pytest.raises(wherry.ClientError):
        await response.read()


async def test_many_more_requests_than_streams_are_all_answered(
    http2_servers: Http2Servers, pki: Pki
) -> None:
    """nginx takes eight at a time and ends each connection after a hundred: waits, further
    connections, GOAWAY.
    """
    connector = TCPConnector(ssl=pki.client(), protocols=("h2", "http/1.1"), limit=2)
    async with ClientSession(connector=connector) as session:
        url = f"https://localhost:{http2_servers.nginx.tls_port}/small"

        async def get() -> bytes:
            async with session.get(url) as response:
                return await response.read()

        assert await get() == SMALL  # its limit is known
        for _ in range(3):
            assert set(await asyncio.gather(*(get() for _ in range(150)))) == {SMALL}
        assert connector.pool.stats().open <= 2


# --- WebSocket ------------------------------------------------------------------------------------


# Closed, and still in a program's hands: nothing may depend on when they are collected.
closed_sockets: list[wherry.ClientWebSocketResponse] = []


async def talk(session: ClientSession, url: str) -> object:
    """Messages of several sizes there and back; the version they took."""
    async with session.ws_connect(url) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await socket.send_bytes(LARGE)
        assert await socket.receive_bytes() == LARGE
        closed_sockets.append(socket)
        return socket._response.version


async def test_a_websocket_is_a_stream_where_the_server_offers_that(
    session: ClientSession, http2_servers: Http2Servers
) -> None:
    """RFC 8441"""
    port = http2_servers.hypercorn.tls_port
    async with session.get(f"https://localhost:{port}/small") as response:
        await response.read()
    assert await talk(session, f"wss://localhost:{port}/chat") == HttpVersion20
    versions = await asyncio.gather(
        *(talk(session, f"wss://localhost:{port}/chat") for _ in range(5))
    )
    assert versions == [HttpVersion20] * 5
    async with session.get(f"https://localhost:{port}/small") as response:
        assert await response.read() == SMALL
    assert stats(session).opened == 1


async def test_a_websocket_goes_by_http1_where_nobody_offers_more(
    session: ClientSession, http2_servers: Http2Servers
) -> None:
    port = http2_servers.hypercorn.tls_port
    # Nothing is known of it yet.
    assert await talk(session, f"wss://localhost:{port}/chat") == HttpVersion11


async def test_a_websocket_by_prior_knowledge(http2_servers: Http2Servers) -> None:
    async with ClientSession(connector=TCPConnector(protocols=("h2c",))) as session:
        assert (
            await talk(session, f"ws://localhost:{http2_servers.hypercorn.plain_port}/chat")
            == HttpVersion20
        )
        with pytest.raises(wherry.ClientConnectionError, match="does not offer extended CONNECT"):
            await session.ws_connect(f"ws://localhost:{http2_servers.nginx.plain_port}/chat")


async def test_a_websocket_that_is_closed_is_no_response_left_open() -> None:
    """A server that never answers Close, and a loop that warns of responses which nobody closed."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0\6\4\0\0\0\0\0\0\10\0\0\0\1")  # SETTINGS_ENABLE_CONNECT_PROTOCOL
        await reader.readexactly(24)
        while (await reader.read(65536)).find(b"websocket") < 0:
            pass
        writer.write(b"\0\0\1\1\4\0\0\0\1\x88")
        await reader.read(-1)
        writer.close()

    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, ClientSession(connector=TCPConnector(protocols=("h2c",))) as session:
        socket = await session.ws_connect(url, timeout=wherry.ClientWSTimeout(ws_close=0.01))
        await socket.close()
        del socket
        gc.collect()
        assert stats(session).busy == 0
    assert complaints == []


# --- through proxies ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tinyproxy", "squid", "squid_tls", "microsocks", "dante"])
async def test_alpn_chooses_http2_at_the_end_of_a_tunnel(
    session: ClientSession, http2_servers: Http2Servers, proxies: ProxyFarm, name: str
) -> None:
    """The proxy carries bytes; what is spoken through it the origin chooses."""
    proxy = getattr(proxies, name)
    url = f"https://localhost:{http2_servers.caddy.tls_port}/large"

    async def get() -> tuple[object, int]:
        async with session.get(url, proxy=proxy.url) as response:
            return response.version, len(await response.read())

    assert await asyncio.gather(*(get() for _ in range(5))) == [(HttpVersion20, len(LARGE))] * 5
    assert stats(session).opened == 1


async def test_a_connector_asks_quiet_connections_for_a_sign_of_life() -> None:
    """RFC 9113 6.7; a server that answers its SETTINGS and nothing else is given up."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    flow = wherry.Http2Options(ping_interval=0.01, ping_timeout=0.05)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with ClientSession(connector=TCPConnector(protocols=("h2c",), http2=flow)) as session:
        with pytest.raises(wherry.ServerDisconnectedError, match="did not answer PING"):
            await session.get(url)
    server.close()
    await server.wait_closed()


class Stingy:
    """Speaks HTTP/2 in the clear, and ends each connection after `allows()` requests: GOAWAY, the
    others undone.
    """

    def __init__(self, allows: Callable[[], int], *, announced: bool, early: bool) -> None:
        self.connections = self.answered = 0
        self._allows = allows
        self._announced = announced
        self._early = early
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        allowed, streams = self._allows(), list[bytes]()
        settings = b"\0\3" + allowed.to_bytes(4) if self._announced else b""
        writer.write(bytes((0, 0, len(settings), 4, 0, 0, 0, 0, 0)) + settings)
        try:
            await reader.readexactly(24)
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3]))
                if head[3] == 1 and len(streams) < allowed:
                    streams.append(head[5:9])
                    if len(streams) == allowed:
                        task = asyncio.ensure_future(self._end(writer, streams))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                    else:
                        self._answer(writer, head[5:9])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _end(self, writer: asyncio.StreamWriter, streams: list[bytes]) -> None:
        goaway = b"\0\0\10\7\0\0\0\0\0" + streams[-1] + bytes(4)
        if self._early:
            writer.write(goaway)
            await writer.drain()
        self._answer(writer, streams[-1])
        if not self._early:
            writer.write(goaway)

    def _answer(self, writer: asyncio.StreamWriter, stream: bytes) -> None:
        self.answered += 1
        writer.write(b"\0\0\1\1\4" + stream + b"\x88" + b"\0\0\2\0\1" + stream + b"ok")


@pytest.mark.parametrize("limit", [100, 10, 1])
@pytest.mark.parametrize("early", [False, True], ids=["after the answer", "before it"])
@pytest.mark.parametrize("announced", [False, True], ids=["without a word", "announced"])
async def test_a_server_that_allows_one_request_a_connection_answers_all_of_a_hundred(
    limit: int, early: bool, announced: bool
) -> None:
    """Each is undone on a shared connection once at most: its ten tries are not used up (RFC 9113
    6.8, 8.7).
    """
    stingy = Stingy(lambda: 1, announced=announced, early=early)
    server = await asyncio.start_server(stingy, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    connector = TCPConnector(protocols=("h2c",), limit=limit)
    async with (
        server,
        ClientSession(connector=connector, timeout=wherry.ClientTimeout(total=30)) as session,
    ):

        async def get() -> bytes:
            async with session.get(url) as response:
                return await response.read()

        assert await asyncio.gather(*(get() for _ in range(100))) == [b"ok"] * 100
        assert stingy.connections == stingy.answered == 100


async def test_a_server_that_allows_now_more_and_now_fewer_answers_all() -> None:
    chance = random.Random(5)
    stingy = Stingy(lambda: chance.randint(1, 5), announced=False, early=False)
    server = await asyncio.start_server(stingy, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    connector = TCPConnector(protocols=("h2c",), limit=10)
    async with (
        server,
        ClientSession(connector=connector, timeout=wherry.ClientTimeout(total=30)) as session,
    ):

        async def get() -> bytes:
            async with session.get(url) as response:
                return await response.read()

        assert await asyncio.gather(*(get() for _ in range(200))) == [b"ok"] * 200
        assert stingy.connections <= 200


async def test_that_a_server_ended_a_connection_early_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is replaced while it serves is no rule for the next."""
    now = [0.0]
    monkeypatch.setattr("wherry.connect.pool.route_pool.monotonic", lambda: now[0])
    allowed = [2]
    stingy = Stingy(lambda: allowed[0], announced=False, early=False)
    server = await asyncio.start_server(stingy, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, ClientSession(connector=TCPConnector(protocols=("h2c",))) as session:

        async def get() -> bytes:
            async with session.get(url) as response:
                return await response.read()

        async def connections_for(requests: int) -> int:
            before = stats(session).opened
            assert await asyncio.gather(*(get() for _ in range(requests))) == [b"ok"] * requests
            return int(stats(session).opened - before)

        assert await connections_for(10) == 5
        allowed[0] = 1000
        now[0] = 30
        assert await connections_for(10) == 5
        now[0] = 100
        assert await connections_for(10) == 1
