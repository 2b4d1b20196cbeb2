"""What a program may give by mistake: it is refused at once and in words, and no connection is lost
over it.
"""

from __future__ import annotations

import array
import asyncio
import math
import socket
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any

import pytest
from tests.servers.raw import RawServer, read_request, response
from yarl import URL

import wherry
from wherry.abc import AbstractResolver

Start = Callable[..., Awaitable[RawServer]]

NO_SECONDS = [("5", TypeError), (b"5", TypeError), ([], TypeError), (1j, TypeError), (object(), TypeError),
              (math.nan, ValueError), (10**400, ValueError)]  # fmt: skip
NO_NUMBER = [("5", TypeError), (b"5", TypeError), ([1], TypeError), (math.nan, ValueError)]


async def ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(response(b"ok"))


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Half an answer to /half, then nothing; whole ones to all else."""
    while True:
        request = await read_request(reader)
        if not request.startswith(b"GET /half "):
            writer.write(response(b"ok"))
            continue
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await reader.read()


@pytest.mark.parametrize("name", ["total", "connect", "sock_read", "sock_connect"])
@pytest.mark.parametrize(("value", "error"), NO_SECONDS)
def test_a_time_limit_that_is_no_number_is_refused_where_it_is_given(
    name: str, value: Any, error: type
) -> None:
    with pytest.raises(error, match=name):
        wherry.ClientTimeout(**{name: value})


@pytest.mark.parametrize("value", [None, 0, 1, True, 2.5, math.inf, Fraction(1, 2), 10**30, -1])
def test_a_time_limit_is_any_real_number(value: Any) -> None:
    assert wherry.ClientTimeout(total=value).total == value


@pytest.mark.parametrize(
    "name", ["keepalive_timeout", "ttl_dns_cache", "happy_eyeballs_delay", "ssl_shutdown_timeout"]
)
@pytest.mark.parametrize(("value", "error"), NO_SECONDS)
async def test_a_connector_refuses_times_that_are_no_numbers(
    name: str, value: Any, error: type
) -> None:
    """A time that is NaN among an event loop's timers keeps the others from firing."""
    with pytest.raises(error, match=name):
        wherry.TCPConnector(**{name: value})


@pytest.mark.parametrize("name", ["limit", "limit_per_host", "dns_cache_max_size"])
@pytest.mark.parametrize(("value", "error"), NO_NUMBER)
async def test_a_connector_refuses_limits_that_are_no_numbers(
    name: str, value: Any, error: type
) -> None:
    with pytest.raises(error, match=name):
        wherry.TCPConnector(**{name: value})


@pytest.mark.parametrize(
    "name", ["read_bufsize", "max_body_size", "max_line_size", "max_field_size", "max_headers"]
)
@pytest.mark.parametrize(("value", "error"), NO_NUMBER)
async def test_sizes_that_are_no_numbers_are_refused_before_anything_is_sent(
    raw_server: Start, name: str, value: Any, error: type
) -> None:
    server = await raw_server(ok)
    async with wherry.ClientSession() as session:
        options: Any = {name: value}
        with pytest.raises(error):
            await session.get(server.url, **options)
    with pytest.raises(error):
        async with wherry.ClientSession(**options) as session:
            await session.get(server.url)
    assert server.connections == 0


async def test_no_body_has_less_than_nothing(raw_server: Start) -> None:
    server = await raw_server(ok)
    async with wherry.ClientSession() as session:
        with pytest.raises(ValueError, match="max_body_size is 0 or more"):
            await session.get(server.url, max_body_size=-1)


async def test_read_bufsize_may_be_a_float(raw_server: Start) -> None:
    """S001-24"""
    server = await raw_server(ok)
    async with wherry.ClientSession(read_bufsize=1e3) as session:  # type: ignore[arg-type]
        async with session.get(server.url) as reply:
            assert reply.content.get_read_buffer_limits() == (1000, 2000)
        async with session.get(server.url, read_bufsize=2e3) as reply:
            assert reply.content.get_read_buffer_limits() == (2000, 4000)


async def test_iterators_of_fields_last_for_all_hops(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(b"", status="307 Elsewhere", fields="Location: /there\r\n"))
        writer.write(response(await read_request(reader)))

    server = await raw_server(script)
    async with (
        wherry.ClientSession() as session,
        session.post(
            server.url,
            headers=iter([("X-Own", "1")]),
            cookies=iter([("a", "b")]),
            skip_auto_headers=iter(["Accept"]),
        ) as reply,
    ):
        asked = await reply.text()
    assert "X-Own: 1\r\n" in asked
    assert "Cookie: a=b\r\n" in asked
    assert "Accept: " not in asked


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), asyncio.CancelledError(), wherry.ClientConnectionError("no")]
)
async def test_a_response_class_that_fails_costs_no_place(
    raw_server: Start, error: BaseException
) -> None:
    class Failing(wherry.ClientResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise error

        def __del__(self) -> None:
            """There is nothing to give up."""

    server = await raw_server(half)
    async with wherry.TCPConnector(limit=1) as connector:
        async with wherry.ClientSession(
            connector=connector, connector_owner=False, response_class=Failing
        ) as session:
            with pytest.raises(type(error)):
                await session.get(server.url + "/half")
        async with (
            wherry.ClientSession(connector=connector, connector_owner=False) as session,
            session.get(server.url, timeout=10) as reply,
        ):
            assert await reply.text() == "ok"


@pytest.mark.parametrize("method", ["GE T", "GET\r\nX: y", "G\ud800", None, b"GET"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_method_that_a_middleware_set_is_checked(
    raw_server: Start, method: Any, streamed: bool
) -> None:
    async def change(request: wherry.ClientRequest, handler: Any) -> wherry.ClientResponse:
        request.method = method
        answer: wherry.ClientResponse = await handler(request)
        return answer

    async def pieces() -> Any:
        yield b"body"

    server = await raw_server(ok)
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=1)) as session:
        for _ in range(2):
            with pytest.raises((ValueError, TypeError), match=r"[Mm]ethod"):
                await session.post(
                    server.url, data=pieces() if streamed else b"body", middlewares=[change]
                )
        async with session.get(server.url, timeout=10) as reply:
            assert await reply.text() == "ok"


async def test_an_upgrade_is_a_field_like_others(raw_server: Start) -> None:
    server = await raw_server(ok)
    async with wherry.ClientSession() as session:
        for wrong in ("h2c\r\nX-Evil: 1", "\ud800"):
            with pytest.raises(ValueError, match="Upgrade"):
                await session.get(server.url, upgrade=wrong)
    assert server.connections == 0


@pytest.mark.parametrize("host", ["a b", "a\r\nX-Evil:8", "a\ud800b"])
async def test_a_host_that_is_none_is_refused(host: str, tmp_path: Any) -> None:
    """With encoded=True a URL may hold anything, and a connector may ask no resolver about it."""
    url = URL.build(scheme="http", host=host, path="/", encoded=True)
    async with wherry.ClientSession(
        connector=wherry.UnixConnector(str(tmp_path / "none"))
    ) as session:
        for method in ("GET", "POST"):
            with pytest.raises(wherry.InvalidURL):
                await session.request(method, url)


async def test_the_error_of_a_url_that_cannot_be_written_can_be() -> None:
    url = URL("http://example.org:port/", encoded=True)
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.InvalidURL) as caught:
            await session.get(url)
    assert "port" in str(caught.value)
    assert "InvalidUrlClientError" in repr(caught.value)


@pytest.mark.parametrize("end", ["close", "detach"])
@pytest.mark.parametrize("limit", [{"total": 0.2}, {"sock_read": 0.2}])
async def test_time_limits_hold_although_the_session_is_closed(
    raw_server: Start, end: str, limit: dict[str, float]
) -> None:
    """With a connector that others own, what is under way goes on, and so do its limits."""
    server = await raw_server(half)
    async with wherry.TCPConnector() as connector:
        session = wherry.ClientSession(connector=connector, connector_owner=False)
        reply = await session.get(server.url + "/half", timeout=wherry.ClientTimeout(**limit))
        reading = asyncio.ensure_future(reply.read())
        await asyncio.sleep(0)
        if end == "close":
            await session.close()
        else:
            session.detach()
        async with asyncio.timeout(20):
            with pytest.raises(TimeoutError, match=r"0\.2"):
                await reading


class _Cancelled(AbstractResolver):
    """Waits for what was cancelled, once for each name."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:
        self.asked += 1
        assert self.asked < 10, "it is asked for ever"
        waiter = asyncio.get_running_loop().create_future()
        waiter.cancel()
        return await waiter  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("cached", [True, False])
async def test_a_resolver_that_waits_for_what_was_cancelled_fails_the_request(cached: bool) -> None:
    resolver = _Cancelled()
    connector = wherry.TCPConnector(limit=1, resolver=resolver, use_dns_cache=cached)
    async with wherry.ClientSession(connector=connector) as session:
        for _ in range(2):
            async with asyncio.timeout(20):
                with pytest.raises(wherry.ClientConnectionError):
                    await session.get("http://example.test/")
        assert session.connector is not None
        assert session.connector.stats().waiting == 0
    assert resolver.asked == 2


@pytest.mark.parametrize("step", ["on_connection_create_start", "on_connection_create_end"])
@pytest.mark.parametrize("cancels", ["itself", "its task"])
async def test_a_listener_that_is_cancelled_while_connecting_fails_the_request(
    raw_server: Start, step: str, cancels: str
) -> None:
    async def listen(*_: Any) -> None:
        if cancels == "itself":
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    server = await raw_server(ok)
    config = wherry.TraceConfig()
    getattr(config, step).append(listen)
    async with wherry.TCPConnector(limit=1) as connector:
        async with wherry.ClientSession(
            connector=connector, connector_owner=False, trace_configs=[config]
        ) as session:
            async with asyncio.timeout(20):
                with pytest.raises(wherry.ClientConnectionError):
                    await session.get(server.url)
        async with (
            wherry.ClientSession(connector=connector, connector_owner=False) as session,
            session.get(server.url, timeout=10) as reply,
        ):
            assert await reply.text() == "ok"


class _Silent(AbstractResolver):
    """Never says anything."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("protocols", [("http/1.1",), ("h2", "http/1.1")])
@pytest.mark.parametrize("requests", [1, 2, 5])
async def test_requests_that_give_up_together_leave_no_dial_behind(
    raw_server: Start, requests: int, protocols: tuple[str, ...]
) -> None:
    """The first one's dial goes on for the others; the last one ended none, and it kept its place
    for ever.
    """
    server = await raw_server(ok)
    connector = wherry.TCPConnector(limit=1, resolver=_Silent(), protocols=protocols)
    async with wherry.ClientSession(connector=connector) as session:
        asking = [
            asyncio.ensure_future(
                session.get("https://silent.test/", timeout=wherry.ClientTimeout())
            )
            for _ in range(requests)
        ]
        while connector.stats().waiting < requests:
            await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        async with session.get(server.url, timeout=10) as reply:
            assert await reply.text() == "ok"


async def test_a_guard_that_is_a_coroutine_function_lets_nothing_through(raw_server: Start) -> None:
    """What it gives is true, whatever it would say."""

    async def guard(_address: Any) -> bool:
        return False

    server = await raw_server(ok)
    connector = wherry.TCPConnector(allow_address=guard)  # type: ignore[arg-type]
    async with wherry.ClientSession(connector=connector) as session:
        with pytest.raises(TypeError, match="allow_address"):
            await session.get(server.url)
    assert server.connections == 0


async def test_a_socket_of_the_wrong_kind_is_closed(raw_server: Start) -> None:
    made = []

    def factory(_info: Any) -> socket.socket:
        made.append(socket.socket(type=socket.SOCK_DGRAM))
        return made[-1]

    server = await raw_server(ok)
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(limit=1, socket_factory=factory)
    ) as session:
        for _ in range(2):
            with pytest.raises(ValueError, match="Stream"):
                await session.get(server.url)
    assert [each.fileno() for each in made] == [-1, -1]


@pytest.mark.parametrize("limit", [{}, {"sock_read": 60}])
async def test_a_body_that_is_read_in_another_event_loop_is_an_error(
    raw_server: Start, limit: dict[str, float]
) -> None:
    """It would never hear of what comes here."""
    server = await raw_server(half)
    async with (
        wherry.ClientSession() as session,
        session.get(server.url + "/half", timeout=wherry.ClientTimeout(**limit)) as reply,
    ):
        assert await reply.content.readexactly(4) == b"half"

        def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="different loop"):
                asyncio.run(asyncio.wait_for(reply.content.readany(), 20))

        await asyncio.to_thread(elsewhere)


ODD_VIEWS = [
    memoryview(array.array("I", [1, 2, 3])),
    memoryview(b"a.b.c.d.")[::2],
    memoryview(bytes(range(12))).cast("B", (3, 4)),
    memoryview(array.array("d")),
]


@pytest.mark.parametrize(
    "view", ODD_VIEWS, ids=["items of four bytes", "not side by side", "two dimensions", "empty"]
)
async def test_memory_that_is_no_row_of_bytes_is_sent_as_its_bytes(
    raw_server: Start, view: memoryview
) -> None:
    """A chunk's size counts bytes: in items it told the server of less than came."""

    async def pieces() -> Any:
        yield b"<"
        yield view
        yield b">"

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.write(response(b"ok"))

    server = await raw_server(script)
    sent = bytes(view)
    chunk = b"%x\r\n%b\r\n" % (len(sent), sent) if sent else b""
    async with wherry.ClientSession() as session:
        for data in (pieces(), view):
            async with session.post(server.url, data=data, chunked=True, timeout=10) as reply:
                assert await reply.text() == "ok"
    received = bytes(server.received[0])
    assert b"\r\n\r\n1\r\n<\r\n" + chunk + b"1\r\n>\r\n0\r\n\r\n" in received
    assert received.endswith(b"\r\n\r\n" + chunk + b"0\r\n\r\n")


async def test_a_large_body_that_is_no_row_of_bytes(raw_server: Start) -> None:
    server = await raw_server(ok)
    body = memoryview(bytes(range(256)) * 16384)[::2]
    async with (
        wherry.ClientSession() as session,
        session.post(server.url, data=body, timeout=10) as reply,
    ):
        assert await reply.text() == "ok"
    assert bytes(server.received[0]).endswith(bytes(body))


@pytest.mark.parametrize("name", ["limits", "http2"])
@pytest.mark.parametrize("value", [8190, "8190", (1, 2, 3)])
async def test_a_connector_refuses_options_of_another_kind(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        wherry.TCPConnector(**{name: value})
