"""Limits hold until a connection is really closed, and an idle connection never stands in the way
of a request that could have its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from tests.client.http2_peer import Http2Side

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.connector import TCPConnector
from wherry.connect.pool import route_pool
from wherry.connect.pool.pool import Pool
from wherry.connect.route import Origin, ProxyHop, Route

from .conftest import Serve, fetch, on
from .test_pool_machine import FakeConnection

LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
# asyncio's loop is tried with eager tasks too, where there are any.
LOOPS_AND_EAGERNESS = [(loop, False) for loop in LOOPS] + (
    [(asyncio.SelectorEventLoop, True)] if sys.version_info >= (3, 12) else []
)


class Counting(TCPConnector):
    """Counts the sockets that are open whenever a new one is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(socket_factory=self.make, **options)
        self.sockets: list[Any] = []
        self.most = 0

    def make(self, info: Any) -> Any:
        sock = socket.socket(*info[:3])
        self.sockets.append(sock)
        self.most = max(self.most, sum(each.fileno() >= 0 for each in self.sockets))
        return sock


async def hold_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers once, and never says close_notify: it does not read any more."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("way", ["direct", "https proxy"])
@pytest.mark.parametrize("limits", [{"limit": 1}, {"limit": 3}])
@pytest.mark.parametrize(("new_loop", "eager"), LOOPS_AND_EAGERNESS)
def test_the_limit_holds_while_peers_do_not_answer_close_notify(
    new_loop, eager, limits, way, server_context
) -> None:
    async def main() -> None:
        if eager:  # tasks run as soon as they are made, which may be inside a connection's end
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        serve = Serve()
        hops = ()
        if way == "https proxy":
            proxy = await serve(tunnel_to_hold, ssl=server_context)
            hops = (ProxyHop("https", "localhost", proxy, ssl=False),)
        ports = [await serve(hold_tls, ssl=server_context) for _ in range(24)]
        connector = Counting(**limits, ssl_shutdown_timeout=60.0)
        async with asyncio.timeout(20):
            for some in (ports[:12], ports[12:]):
                await asyncio.gather(
                    *(
                        fetch(connector, f"https://localhost:{port}/", ssl=False, hops=hops)
                        for port in some
                    )
                )
                assert connector.pool.connection_limits.taken <= limits["limit"]
        assert connector.most == limits["limit"]
        await connector.close(abort_ssl=True)
        await serve.stop()

    on(new_loop, main)


async def tunnel_to_hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    theirs, back = await asyncio.open_connection(
        "127.0.0.1", int(head.split()[1].rpartition(b":")[2])
    )
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)

    try:
        await asyncio.gather(pass_on(reader, back), pass_on(theirs, writer))
    finally:
        back.transport.abort()


# --- an idle connection by another way ----------------------------------------------------------


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP proxy that answers by itself, or opens a tunnel and answers inside."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"CONNECT"):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy")


@pytest.mark.parametrize("keepalive", [None, 15.0])
@pytest.mark.parametrize("change", ["ssl", "server_hostname", "user", "proxy", "direct"])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_an_idle_connection_by_another_way_makes_room_at_limit_per_host(
    new_loop, change, keepalive, server_context, client_context
) -> None:
    async def main() -> None:
        serve = Serve()
        origin = await serve(ssl=server_context)
        plain = await serve()
        proxies = [await serve(tunnel_to_hold) for _ in range(2)]

        def users(name: str, proxy: int = 0) -> tuple[ProxyHop, ...]:
            return (ProxyHop("http", "127.0.0.1", proxies[proxy], name, "x"),)

        url = f"https://localhost:{origin}/"
        ways: list[dict[str, Any]]
        if change == "ssl":
            ways = [{"ssl": False}, {"ssl": client_context}]
        elif change == "server_hostname":
            ways = [{"ssl": False}, {"ssl": False, "server_hostname": "x.test"}]
        elif change == "user":
            ways = [{"ssl": False, "hops": users(name)} for name in "abcd"]
        elif change == "proxy":
            ways = [{"ssl": False, "hops": users("a", 0)}, {"ssl": False, "hops": users("a", 1)}]
        else:
            ways = [{}, {"hops": (ProxyHop("http", "127.0.0.1", await serve(forward)),)}]
            url = f"http://127.0.0.1:{plain}/"
        async with TCPConnector(limit_per_host=1, keepalive_timeout=keepalive) as connector:
            async with asyncio.timeout(10):
                for _ in range(2):
                    for way in ways:
                        assert (await fetch(connector, url, **way)).status == 200
                        assert connector.stats().open == 1
                # Together they go one after the other, and none is forgotten.
                answers = await asyncio.gather(*(fetch(connector, url, **way) for way in ways * 3))
            assert {answer.status for answer in answers} == {200}
            assert connector.stats().open <= 1
        await serve.stop()

    on(new_loop, main)


async def test_a_websocket_does_not_wait_for_an_idle_http2_connection() -> None:
    """Another protocol is another route; the idle connection of the first is closed for it."""
    loop = asyncio.get_running_loop()
    pool = Pool(loop, made_by(loop, [3, 1]), limit_per_host=1, keepalive_timeout=None)
    origin = Origin("https", "h.test", 443)
    first: Any = await pool.acquire(ConnectRequest(Route(origin, protocols=("h2", "http/1.1"))))
    first.start()
    first.finish()
    assert first.is_idle
    async with asyncio.timeout(20):
        second: Any = await pool.acquire(ConnectRequest(Route(origin)))
    assert not first.open
    assert second.open
    second.start()
    second.finish()
    await pool.close()


def made_by(loop: asyncio.AbstractEventLoop, places: list[int]) -> Callable[..., Awaitable[Any]]:
    left = iter(places)

    async def dial(connect_request: ConnectRequest) -> Any:
        return FakeConnection(loop, next(left))

    return dial


async def test_a_busy_route_does_not_keep_the_hosts_only_place_for_ever() -> None:
    """Whoever has waited longer, by another way to the same host, has his turn."""
    loop = asyncio.get_running_loop()
    pool = Pool(loop, made_by(loop, [1] * 20), limit_per_host=1)
    origin = Origin("https", "h.test", 443)
    busy, other = Route(origin), Route(origin, ssl=False)
    current: Any = await pool.acquire(ConnectRequest(busy))
    current.start()
    waits = asyncio.ensure_future(pool.acquire(ConnectRequest(other)))
    await asyncio.sleep(0)
    for waiter in pool._wait_queue:
        waiter.since -= 1.0  # it has waited for a second
    for _ in range(5):
        following = asyncio.ensure_future(pool.acquire(ConnectRequest(busy)))
        await asyncio.sleep(0)
        current.finish()
        await asyncio.wait([waits, following], return_when=asyncio.FIRST_COMPLETED, timeout=5)
        if waits.done():
            break
        current = following.result()
        current.start()
    assert waits.done()
    following.cancel()
    await asyncio.wait([following])
    await pool.close()


@pytest.mark.parametrize("limit_per_host", [1, 2])
async def test_the_limit_per_host_is_the_origins_through_a_forwarding_proxy(
    serve, limit_per_host
) -> None:
    """Six hosts through one proxy go side by side, as through tunnels; each keeps to its limit."""
    at_work: dict[bytes, int] = {}
    most: dict[bytes, int] = {}
    together = asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                host = (await reader.readuntil(b"\r\n\r\n")).split(b"ost: ")[1].split()[0]
                at_work[host] = at_work.get(host, 0) + 1
                most[host] = max(most.get(host, 0), at_work[host])
                if sum(at_work.values()) == 6 * limit_per_host:
                    together.set()
                await together.wait()
                at_work[host] -= 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    hops = (ProxyHop("http", "127.0.0.1", await serve(proxy)),)
    async with TCPConnector(limit_per_host=limit_per_host) as connector:
        async with asyncio.timeout(10):
            await asyncio.gather(
                *(fetch(connector, f"http://h{n % 6}.test/", hops=hops) for n in range(30))
            )
        assert connector.stats().opened == 6 * limit_per_host
    assert set(most.values()) == {limit_per_host}


async def test_hosts_share_connections_to_a_forwarding_proxy_where_none_is_limited(serve) -> None:
    hops = (ProxyHop("http", "127.0.0.1", await serve(forward)),)
    async with TCPConnector() as connector:
        for number in range(4):
            assert (await fetch(connector, f"http://h{number}.test/", hops=hops)).body == b"proxy"
        assert connector.stats().opened == 1


# --- retiring -----------------------------------------------------------------------------------


async def test_a_connection_that_does_not_end_gives_its_place_back_all_the_same(
    monkeypatch,
) -> None:
    """A custom transport may tell nobody; then the place is free after a moment."""
    monkeypatch.setattr(route_pool, "RETIREMENT_SECONDS", 0.01)

    class Mute(FakeConnection):
        aborted = False

        def close(self) -> None:
            self.open = False

        def abort(self) -> None:
            self.open = False
            self.aborted = True

    loop = asyncio.get_running_loop()
    made: list[Mute] = []

    async def dial(connect_request: ConnectRequest) -> Any:
        made.append(Mute(loop, 1))
        return made[-1]

    pool = Pool(loop, dial, limit=1)
    for name in ("a", "b", "c"):
        async with asyncio.timeout(20):
            got: Any = await pool.acquire(ConnectRequest(Route(Origin("http", name, 80))))
        got.start()
        got.finish()
    assert [each.aborted for each in made] == [True, True, False]
    assert pool.connection_limits.taken == 1
    for each in made:
        each.lost()
    await pool.close()


async def test_many_who_wait_do_not_close_more_than_they_need() -> None:
    loop = asyncio.get_running_loop()
    made: list[FakeConnection] = []

    async def dial(connect_request: ConnectRequest) -> Any:
        made.append(FakeConnection(loop, 1))
        return made[-1]

    pool = Pool(loop, dial, limit=4)
    for name in "abcd":
        got: Any = await pool.acquire(ConnectRequest(Route(Origin("http", name, 80))))
        got.start()
        got.finish()
    news = await asyncio.gather(
        *(pool.acquire(ConnectRequest(Route(Origin("http", name, 80)))) for name in "xy")
    )
    assert [each.open for each in made] == [False, False, True, True, True, True]
    assert pool.stats().open == 4
    assert len(news) == 2
    await pool.close()


async def test_a_connection_without_a_place_left_stays_for_those_who_are_at_work_on_it() -> None:
    """A place on HTTP/2 was promised, and is gone (GOAWAY) before its task runs: it looks for
    another, and the exchanges under way go on.
    """
    loop = asyncio.get_running_loop()
    pool = Pool(loop, made_by(loop, [2, 2]), limit=1)
    route = Route(Origin("http", "h.test", 80), protocols=("h2c",))
    shared: Any = await pool.acquire(ConnectRequest(route))
    shared.start()
    assert pool.take(route) is shared
    shared.start()
    late = asyncio.ensure_future(pool.acquire(ConnectRequest(route)))
    await asyncio.sleep(0)
    shared.finish()  # its place goes to the one who waits
    assert shared.reserved == 1
    shared.retire()  # GOAWAY, while the other exchange is under way
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert shared.open, "others are at work on it"
    assert shared.busy == 1
    assert shared.reserved == 0
    assert not late.done()
    shared.finish()
    async with asyncio.timeout(20):
        other: Any = await late
    assert other is not shared
    assert not shared.open
    await pool.close()


async def test_an_idle_connection_that_is_of_no_use_is_closed() -> None:
    """The other half of that: nobody is at work on it, so its place must not be lost."""
    loop = asyncio.get_running_loop()
    pool = Pool(loop, made_by(loop, [1, 1]), limit=1)
    route = Route(Origin("http", "h.test", 80))
    first: Any = await pool.acquire(ConnectRequest(route))
    first.start()
    late = asyncio.ensure_future(pool.acquire(ConnectRequest(route)))
    await asyncio.sleep(0)
    first.finish()
    first.capacity = 0  # the server has said something that nobody asked for
    async with asyncio.timeout(20):
        second: Any = await late
    assert second is not first
    assert not first.open
    await pool.close()
    gc.collect()


@pytest.mark.parametrize("way", ["in use", "promised"])
async def test_a_multiplexed_connection_that_others_use_makes_no_room(serve, way) -> None:
    """It has places left, so it is among those that are free, and is not idle all the same."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def exchange(method: str, target: str, fields: Any, body: bytes) -> Any:
        asked.set()
        if target == "/slow":
            await answer.wait()
        return 200, [], b"whole"

    async def serve_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Http2Side(reader, writer, exchange).run()

    one, other = await serve(serve_http2), await serve(serve_http2)
    async with TCPConnector(protocols=("h2c",), limit=1) as connector:
        pool = connector.pool
        await fetch(connector, f"http://127.0.0.1:{one}/")
        [connection] = pool.all_connections()
        if way == "promised":
            connection.reserved += 1
            assert not pool._evict_idle(0.0)
            connection.reserved -= 1
            assert pool._evict_idle(0.0)
            return
        first = asyncio.create_task(fetch(connector, f"http://127.0.0.1:{one}/slow"))
        asked.clear()
        await asked.wait()
        assert connection.capacity > 0
        pool.keepalive_timeout = 0.0
        pool._close_expired()
        assert connection.is_usable()
        second = asyncio.create_task(fetch(connector, f"http://127.0.0.1:{other}/"))
        await asyncio.sleep(0)
        assert not pool._evict_idle(0.0)
        # One that ends beside it gives its place back, and the other host waits on.
        assert (await fetch(connector, f"http://127.0.0.1:{one}/")).connection is connection
        answer.set()
        assert (await first).body == b"whole"
        assert (await second).body == b"whole"
