"""Connectors: their parameters, their routes, their limits, and what they tell."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from yarl import URL

import wherry
from wherry.connect import connector as module
from wherry.connect.base_connector import MAX_ROUTES
from wherry.connect.connector import BaseConnector, NamedPipeConnector, TCPConnector, UnixConnector
from wherry.connect.pool.route_pool import HostStats, PoolStats
from wherry.connect.route import Origin, ProxyHop
from wherry.connect.tls.contexts import Fingerprint
from wherry.protocol.connection import ConnectionState


def test_a_connector_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop: make a TCPConnector"):
        TCPConnector()


async def test_defaults() -> None:
    """S001-87, S001-91"""
    async with TCPConnector() as connector:
        assert connector.limit == 100
        assert connector.limit_per_host == 0
        assert connector.force_close is False
        assert connector.family == socket.AF_UNSPEC
        assert connector.use_dns_cache
        assert not connector.closed
        assert connector._loop is asyncio.get_running_loop()
        assert connector.allowed_protocol_schema_set == {"", "http", "https", "ws", "wss", "tcp"}
        assert connector.pool.keepalive_timeout == 15.0
        assert connector.cached_hosts == {}
    assert connector.closed


async def test_every_documented_parameter_is_taken() -> None:
    async with TCPConnector(
        verify_ssl=True,
        fingerprint=None,
        use_dns_cache=False,
        ttl_dns_cache=3,
        dns_cache_max_size=5,
        family=socket.AF_INET,
        ssl_context=None,
        ssl=False,
        local_addr=("127.0.0.1", 0),
        resolver=None,
        keepalive_timeout=1,
        force_close=False,
        limit=3,
        limit_per_host=2,
        enable_cleanup_closed=True,
        loop=asyncio.get_running_loop(),
        timeout_ceil_threshold=5,
        happy_eyeballs_delay=None,
        interleave=2,
        socket_factory=None,
        ssl_shutdown_timeout=0.5,
    ) as connector:
        assert (connector.limit, connector.limit_per_host) == (3, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"force_close": True, "keepalive_timeout": 3},
        {"protocols": ()},
        {"protocols": ("http/3",)},
        {"limit": -1},
    ],
)
async def test_parameters_that_make_no_sense_are_refused(options) -> None:
    with pytest.raises(ValueError):
        TCPConnector(**options)


async def test_named_pipes_need_the_proactor_loop() -> None:
    """S001-102"""
    with pytest.raises(RuntimeError, match="proactor"):
        NamedPipeConnector(r"\\.\pipe\name")


# --- routes ---------------------------------------------------------------------------------------


async def test_an_endpoint_is_host_port_and_tls() -> None:
    """S001-90"""
    async with TCPConnector() as connector:

        def route(text: str, **options):
            return connector.route_for(URL(text), **options)

        assert route("http://a.test/x?y") is route("http://a.test:80/z")
        assert route("http://a.test/") == route("ws://a.test/")
        assert route("https://a.test/") == route("wss://a.test/")
        assert route("http://A.TEST/") == route("http://a.test/")
        assert route("http://a.test/") != route("https://a.test/")
        assert route("http://a.test/") != route("http://a.test:81/")
        assert route("http://a.test/") != route("http://b.test/")
        assert route("https://a.test/") != route("https://a.test/", ssl=False)
        assert route("https://a.test/") != route("https://a.test/", server_hostname="b")
        assert route("https://a.test/", ssl=Fingerprint(b"0" * 32)) == route(
            "https://a.test/", ssl=Fingerprint(b"0" * 32)
        )
        # What is said of TLS does not part plain connections.
        assert route("http://a.test/") == route("http://a.test/", ssl=False)
        assert route("http://u:p@a.test/").origin == Origin("http", "a.test", 80)
        with pytest.raises(TypeError, match="ssl should be"):
            route("https://a.test/", ssl="no")


async def test_routes_through_proxies() -> None:
    http, https, socks = (
        ProxyHop("http", "p", 3128),
        ProxyHop("https", "q", 443, ssl=False),
        ProxyHop("socks5", "s", 1080),
    )
    async with TCPConnector() as connector:
        forward = connector.route_for(URL("http://a.test/"), hops=(socks, http))
        assert (forward.origin, forward.hops, forward.absolute_form) == (
            Origin("http", "p", 3128),
            (socks,),
            True,
        )
        over_tls = connector.route_for(URL("http://a.test/"), hops=(https,))
        assert (over_tls.origin, over_tls.ssl, over_tls.is_tls) == (
            Origin("https", "q", 443),
            False,
            True,
        )
        for url in ("https://a.test/", "wss://a.test/", "ws://a.test/"):
            tunnel = connector.route_for(URL(url), hops=(http,))
            assert (tunnel.origin.host, tunnel.hops, tunnel.absolute_form) == (
                "a.test",
                (http,),
                False,
            )
        assert not connector.route_for(URL("http://a.test/"), hops=(http, socks)).absolute_form


async def test_routes_of_a_crawler_do_not_pile_up() -> None:
    async with TCPConnector() as connector:
        for number in range(MAX_ROUTES + 10):
            connector.route_for(URL(f"http://h{number}.test/"))
        assert len(connector._routes) <= MAX_ROUTES


async def test_websockets_speak_http_1_1() -> None:
    async with TCPConnector(protocols=("h2", "http/1.1")) as connector:
        assert connector.route_for(URL("https://a.test/")).protocols == ("h2", "http/1.1")
        assert connector.route_for(URL("wss://a.test/")).protocols == ("http/1.1",)


# --- limits ---------------------------------------------------------------------------------------


class Gate:
    """A server that answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.now = 0
        self.most = 0

    async def answer(self, reader, writer) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            while await reader.readline():
                await reader.readuntil(b"\r\n\r\n")
                await self.open.wait()
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except asyncio.IncompleteReadError:
            pass
        finally:
            self.now -= 1


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"limit": 3}, 3),
        ({"limit": 0}, 120),
        ({}, 100),
        ({"limit_per_host": 2}, 2),
        ({"limit": 5, "limit_per_host": 9}, 5),
    ],
)
async def test_limits_hold(get, serve, options, most) -> None:
    """S001-86 to 89"""
    gate = Gate()
    port = await serve(gate.answer)
    async with TCPConnector(**options) as connector:
        tasks = [
            asyncio.create_task(get(connector, f"http://127.0.0.1:{port}/")) for _ in range(120)
        ]
        while gate.now < most:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        stats = connector.stats()
        assert (gate.now, stats.busy, stats.waiting) == (most, most, 120 - most)
        gate.open.set()
        assert {answer.status for answer in await asyncio.gather(*tasks)} == {204}
        assert gate.most == most
        stats = connector.stats()
        assert (stats.opened, stats.reused, stats.idle, stats.waiting) == (
            most,
            120 - most,
            most,
            0,
        )
        assert list(stats.by_route) == [f"http://127.0.0.1:{port}"]


async def test_stats_and_repr_show_where_requests_stand(get, serve) -> None:
    """Dialling, active, waiting, idle, closing: for each host, and of each connection."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.read()
        writer.close()

    port = await serve(slow)
    host = f"http://127.0.0.1:{port}"
    async with TCPConnector(limit_per_host=1) as connector:
        tasks = [asyncio.ensure_future(get(connector, host + "/")) for _ in range(3)]
        await asyncio.sleep(0)
        stats = connector.stats()
        assert (stats.dialling, stats.open, stats.waiting, stats.closing) == (1, 0, 3, 0)
        await asked.wait()
        [connection] = connector.pool.all_connections()
        assert connection.state is ConnectionState.ACTIVE
        assert connector.stats().by_host == {host: HostStats(open=1, waiting=2)}
        assert "open=1 idle=0 busy=1 waiting=2 dialling=0 closing=0" in repr(connector.stats())
        assert f"{host}: open=1 waiting=2" in repr(connector.stats())
        assert "limit_per_host=1 places_taken=1 <PoolStats" in repr(connector.pool)
        shown = repr(connection)
        assert f"{host}> active exchanges=1 peer=('127.0.0.1', {port})" in shown
        for task in tasks[1:]:
            task.cancel()
        answer.set()
        await tasks[0]
        assert connection.state is ConnectionState.IDLE
        assert "> idle exchanges=1 for 0." in repr(connection)
        assert connector.stats().by_host == {host: HostStats(open=1, idle=1)}
        connector.pool._evict_idle(0.0)
        assert connection.state is ConnectionState.CLOSED
        assert connector.stats().by_host == {host: HostStats(closing=1)}
        assert "closed" in repr(connection)
    assert "<Pool closed" in repr(connector.pool)


def test_repr_shows_the_hosts_where_most_wait() -> None:
    hosts = {f"http://h{at}:80": HostStats(open=1, waiting=at) for at in range(9)}
    shown = repr(PoolStats(0, 0, {}, hosts))
    assert "http://h8:80: open=1 waiting=8; http://h7:80" in shown
    assert shown.endswith("h4:80: open=1 waiting=4; and 4 hosts more>")


@pytest.mark.parametrize("options", [{"limit": None}, {"limit_per_host": None}])
async def test_none_is_no_limit(options) -> None:
    async with TCPConnector(**options) as connector:
        assert getattr(connector, next(iter(options))) == 0


async def test_stats_count_every_route_to_an_origin(
    get, serve, server_context, client_context
) -> None:
    port = await serve(ssl=server_context)
    url = f"https://localhost:{port}/"
    async with TCPConnector(ssl=client_context) as connector:
        await get(connector, url)
        await get(connector, url, ssl=False)
        stats = connector.stats()
        assert (stats.open, stats.idle, stats.opened) == (2, 2, 2)
        assert stats.by_route == {f"https://localhost:{port}": (2, 2, 0)}


async def test_limit_per_host_is_of_each_host(get, serve) -> None:
    """S001-89, S001-90"""
    gate = Gate()
    port, other = await serve(gate.answer), await serve(gate.answer)
    async with TCPConnector(limit_per_host=2) as connector:
        tasks = [
            asyncio.create_task(get(connector, f"http://127.0.0.1:{to}/"))
            for to in (port, other) * 5
        ]
        while gate.now < 4:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert gate.now == 4
        gate.open.set()
        await asyncio.gather(*tasks)


async def test_connections_are_kept_and_forgotten(get, serve) -> None:
    port = await serve()
    async with TCPConnector(keepalive_timeout=0.5) as connector:
        first = await get(connector, f"http://127.0.0.1:{port}/")
        second = await get(connector, f"http://127.0.0.1:{port}/")
        assert first.body == second.body
        await first.connection.wait_closed()
        third = await get(connector, f"http://127.0.0.1:{port}/")
        assert third.body != first.body


async def test_force_close_opens_a_connection_a_request(get, serve) -> None:
    port = await serve()
    async with TCPConnector(force_close=True) as connector:
        assert connector.force_close
        bodies = [(await get(connector, f"http://127.0.0.1:{port}/")).body for _ in range(3)]
        assert len(set(bodies)) == 3
        assert connector.stats().opened == 3


# --- the end --------------------------------------------------------------------------------------


async def test_closing_fails_whoever_waits_and_whoever_comes(get, serve) -> None:
    gate = Gate()
    port = await serve(gate.answer)
    connector = TCPConnector(limit=1)
    tasks = [asyncio.create_task(get(connector, f"http://127.0.0.1:{port}/")) for _ in range(3)]
    while not gate.now:
        await asyncio.sleep(0)
    await connector.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(
        isinstance(result, Exception) and "closed" in str(result).lower() for result in results
    )
    with pytest.raises(Exception, match="Connector is closed"):
        await get(connector, f"http://127.0.0.1:{port}/")
    await connector.close()


async def test_close_works_without_await(get, serve) -> None:
    port = await serve()
    connector = TCPConnector()
    answer = await get(connector, f"http://127.0.0.1:{port}/")
    connector.close()
    assert connector.closed
    await answer.connection.wait_closed()
    assert answer.connection.transport is None


async def test_who_closes_a_connector_again_sees_the_end_too(
    get, serve, server_context, client_context
) -> None:
    """S001-139: the TLS shutdown of a close that nobody waited for is waited for by the next."""
    port = await serve(ssl=server_context)
    connector = TCPConnector(ssl=client_context)
    answer = await get(connector, f"https://localhost:{port}/")
    connector.close()
    assert answer.connection.transport is not None
    await asyncio.gather(connector.close(), connector.close())
    assert answer.connection.transport is None
    await connector.close()


@pytest.mark.parametrize("timeout", [0.05, 0, None])
async def test_closing_tls_ends_in_bounded_time_with_a_peer_that_does_not_answer(
    get, serve, server_context, client_context, timeout
) -> None:
    """A TCP relay that stops relaying: close_notify is never answered."""
    inner = await serve(ssl=server_context)
    stopped = asyncio.Event()

    async def relay(reader, writer) -> None:
        from_inner, to_inner = await asyncio.open_connection("127.0.0.1", inner)

        async def up() -> None:
            while data := await reader.read(65536):
                if not stopped.is_set():
                    to_inner.write(data)

        async def down() -> None:
            while data := await from_inner.read(65536):
                writer.write(data)

        try:
            await asyncio.gather(up(), down())
        finally:
            to_inner.transport.abort()

    port = await serve(relay)
    connector = TCPConnector(ssl=client_context, ssl_shutdown_timeout=timeout)
    if timeout is None:
        connector._close_timeout = 0.05
    answer = await get(connector, f"https://localhost:{port}/")
    stopped.set()
    await asyncio.wait_for(connector.close(), 2.5)
    assert answer.connection.transport is None


async def test_close_notify_is_sent_and_waited_for(
    get, serve, server_context, client_context
) -> None:
    """S001-139: when close() returns, the server has seen an orderly end."""
    ended: list[object] = []

    async def answer(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        try:
            ended.append(await reader.read())
        except Exception as exc:
            ended.append(exc)

    port = await serve(answer, ssl=server_context)
    connector = TCPConnector(ssl=client_context)
    await get(connector, f"https://localhost:{port}/")
    await connector.close()
    for _ in range(10):
        await asyncio.sleep(0)
    assert ended == [b""]


async def test_abort_ssl_cuts(get, serve, server_context, client_context) -> None:
    port = await serve(ssl=server_context)
    connector = TCPConnector(ssl=client_context)
    answer = await get(connector, f"https://localhost:{port}/")
    await connector.close(abort_ssl=True)
    assert answer.connection.transport is None


async def test_the_default_resolver_is_closed_with_the_connector(resolver) -> None:
    own = TCPConnector()
    names = own._resolver
    await own.close()
    with pytest.raises(OSError, match="closed"):
        await names.resolve("a")
    given = resolver()
    async with TCPConnector(resolver=given):
        pass
    assert not given.closed


async def test_an_unclosed_connector_warns_once_and_closes_its_sockets(get, serve) -> None:
    port = await serve()
    loop = asyncio.get_running_loop()
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.set_debug(True)
    try:
        connector = TCPConnector()
        answer = await get(connector, f"http://127.0.0.1:{port}/")
        with pytest.warns(ResourceWarning, match="Unclosed connector") as warned:
            del connector
    finally:
        loop.set_debug(False)
    assert len(warned) == 1
    assert [context["message"] for context in contexts] == ["Unclosed connector"]
    assert any("test_an_unclosed" in frame.name for frame in contexts[0]["source_traceback"])
    await answer.connection.wait_closed()


async def test_with_is_deprecated() -> None:
    with pytest.warns(DeprecationWarning, match="async with"), BaseConnector() as connector:
        pass
    assert connector.closed
    async with UnixConnector("/x") as connector:
        assert connector.limit == 100


async def test_limits_on_heads_can_be_set(get, serve) -> None:
    from wherry.protocol.http1.connection import Limits

    async with TCPConnector(limits=Limits(max_headers=3)) as connector:
        assert connector.limits.max_headers == 3
        connector.limits = Limits(max_headers=7)
        port = await serve()
        answer = await get(connector, f"http://127.0.0.1:{port}/")
        assert answer.connection._limits.max_headers == 7


def test_names_of_the_module() -> None:
    assert set(module.__all__) <= set(dir(module))
    assert ssl


def test_what_programs_subclass_has_its_module() -> None:
    assert wherry.abc.AbstractResolver in wherry.ThreadedResolver.__mro__
    assert wherry.abc.AbstractCookieJar in wherry.CookieJar.__mro__
    assert wherry.connector.TCPConnector is wherry.TCPConnector
    assert {"host", "port", "family"} <= set(wherry.abc.ResolveResult.__annotations__)
