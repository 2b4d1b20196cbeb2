"""Time limits: each expiry raises its class and says what was waited for; the next request
works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from tests.servers.raw import RawServer, read_request, response

import wherry
from wherry.client.timeouts import Deadline, DeadlineWheel

Start = Callable[..., Awaitable[RawServer]]
SOON = 0.05
# Long enough for the head, on a busy machine too.
IN_THE_BODY = 1.0


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.005)


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    await reader.read()


async def test_total_while_the_head_is_awaited(raw_server: Start) -> None:
    server = await raw_server(_silent)
    async with wherry.ClientSession() as session:
        with pytest.raises(
            TimeoutError, match=r"0\.05 seconds in all passed for GET http://127.0.0.1"
        ) as caught:
            await session.get(server.url, timeout=wherry.ClientTimeout(total=SOON))
        assert not isinstance(caught.value, wherry.ServerTimeoutError)
        await server.until(lambda s: s.lost == 1)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("server_is", [_half, _drip])
async def test_total_while_the_body_is_read(raw_server: Start, server_is: Any) -> None:
    server = await raw_server(server_is)
    async with (
        wherry.ClientSession() as session,
        session.get(server.url, timeout=wherry.ClientTimeout(total=IN_THE_BODY)) as reply,
    ):
        assert reply.status == 200
        with pytest.raises(TimeoutError, match="in all passed"):
            await reply.read()
    await server.until(lambda s: s.lost == 1)


@pytest.mark.parametrize("at_a_time", [1, 100])
async def test_total_does_not_wait_for_what_came_to_be_read(
    raw_server: Start, at_a_time: int
) -> None:
    """Who takes small steps would hear of it after all that lies in the buffer."""

    async def plenty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 10_000)
        await reader.read()

    server = await raw_server(plenty)
    async with (
        wherry.ClientSession() as session,
        session.get(server.url, timeout=wherry.ClientTimeout(total=IN_THE_BODY)) as reply,
    ):
        assert await reply.content.read(at_a_time)
        await server.until(lambda s: s.lost == 1)
        with pytest.raises(TimeoutError, match="in all passed"):
            await reply.content.read(at_a_time)


async def test_total_leaves_a_whole_body_alone(raw_server: Start) -> None:
    server = await raw_server([response(b"x" * 100)])
    async with (
        wherry.ClientSession() as session,
        session.get(server.url, timeout=wherry.ClientTimeout(total=IN_THE_BODY)) as reply,
    ):
        assert await reply.content.read(1) == b"x"
        passed = asyncio.Event()
        asyncio.get_running_loop().call_later(IN_THE_BODY * 1.1, passed.set)
        await passed.wait()
        assert len(await reply.content.read()) == 99


async def test_total_inside_a_middleware(raw_server: Start) -> None:
    async def wait(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        await asyncio.Event().wait()
        return await handler(request)

    server = await raw_server([response()])
    async with wherry.ClientSession(middlewares=(wait,)) as session:
        with pytest.raises(TimeoutError, match="in all passed"):
            await session.get(server.url, timeout=wherry.ClientTimeout(total=SOON))


async def test_total_over_redirects(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await asyncio.sleep(0.01)
            writer.write(response(b"", status="302 Found", fields="Location: /again\r\n"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        with pytest.raises(TimeoutError, match="in all passed"):
            await session.get(
                server.url, timeout=wherry.ClientTimeout(total=0.1), max_redirects=10_000
            )


async def test_total_while_in_line_for_a_connection(raw_server: Start) -> None:
    server = await raw_server(_silent)
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=1)) as session:
        first = asyncio.create_task(session._request("GET", server.url))
        await server.until(lambda s: s.connections == 1)
        with pytest.raises(TimeoutError, match="in all passed"):
            await session.get(server.url, timeout=wherry.ClientTimeout(total=SOON))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_connect_while_in_line(raw_server: Start) -> None:
    server = await raw_server(_silent)
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=1)) as session:
        first = asyncio.create_task(session._request("GET", server.url))
        await server.until(lambda s: s.connections == 1)
        with pytest.raises(wherry.ConnectionTimeoutError, match=r"127\.0\.0\.1"):
            await session.get(server.url, timeout=wherry.ClientTimeout(connect=SOON))
        first.cancel()
        await asyncio.wait([first])


@pytest.mark.parametrize("server_is", [_silent, _half])
async def test_sock_read(raw_server: Start, server_is: Any) -> None:
    server = await raw_server(server_is)
    async with wherry.ClientSession(timeout=wherry.ClientTimeout(sock_read=SOON)) as session:
        with pytest.raises(
            wherry.SocketTimeoutError, match=r"reading data from socket: nothing came for 0\.05 s"
        ):
            async with session.get(server.url) as reply:
                await reply.read()
        await server.until(lambda s: s.lost == 1)


async def test_sock_read_lets_a_slow_drip_pass(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for _ in range(20):
            writer.write(b"x")
            await asyncio.sleep(0.02)

    server = await raw_server(script)
    limits = wherry.ClientTimeout(sock_read=0.2)
    async with wherry.ClientSession(timeout=limits) as session, session.get(server.url) as reply:
        assert await reply.read() == b"x" * 20


@pytest.mark.parametrize("part", ["interim responses", "head", "trailers"])
async def test_sock_read_counts_whatever_comes(raw_server: Start, part: str) -> None:
    gaps = {
        "interim responses": [b"HTTP/1.1 102 Processing\r\n\r\n"] * 8
        + [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        "head": [
            b"HTTP/1.1 200 OK\r\n",
            *(b"X-%d: a\r\n" % number for number in range(8)),
            b"Content-Length: 0\r\n\r\n",
        ],
        "trailers": [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            *(b"X-%d: a\r\n" % number for number in range(8)),
            b"\r\n",
        ],
    }

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in gaps[part]:
            writer.write(piece)
            await asyncio.sleep(0.13)

    server = await raw_server(script)
    timeout = wherry.ClientTimeout(total=10, sock_read=0.8)
    async with wherry.ClientSession(timeout=timeout) as session, session.get(server.url) as reply:
        assert await reply.read() == b""


async def test_sock_read_does_not_run_while_the_program_does_not_read(raw_server: Start) -> None:
    size = 8 * 2**20

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(b"x" * size)
        await writer.drain()

    server = await raw_server(script)
    async with (
        wherry.ClientSession(
            timeout=wherry.ClientTimeout(sock_read=0.1), read_bufsize=2**12
        ) as session,
        session.get(server.url) as reply,
    ):
        await asyncio.sleep(0.3)
        assert len(await reply.read()) == size


async def test_a_number_is_the_total(raw_server: Start) -> None:
    server = await raw_server(_silent)
    async with wherry.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await session.get(server.url, timeout=SOON)
        for bad in ("5", b"5", object(), []):
            with pytest.raises(ValueError, match=r"please use 'timeout=ClientTimeout\(\.\.\.\)'"):
                await session.get(server.url, timeout=bad)


@pytest.mark.parametrize("bad", [100, 0.5, 0, True, "5", b"5", object(), [], (1, 2)])
async def test_a_sessions_limits_say_which_they_are(bad: Any) -> None:
    # A pair is what requests takes, and the message says how it is written here.
    with pytest.raises(
        ValueError, match=r"please use 'timeout=ClientTimeout\((\.\.\.|total=.+|sock_\w+=.+)\)'"
    ):
        wherry.ClientSession(timeout=bad)


@pytest.mark.parametrize("name", ["total", "connect", "sock_read", "sock_connect"])
@pytest.mark.parametrize("bad", ["5", b"5", [], object(), float("nan"), 1j, 10**400])
def test_limits_that_are_none(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is a number of seconds or None, not "):
        wherry.ClientTimeout(**{name: bad})


async def test_none_is_no_limit(raw_server: Start) -> None:
    server = await raw_server([response(b"ok")])
    async with wherry.ClientSession(timeout=None) as session:
        assert session.timeout == wherry.ClientTimeout()
        async with session.get(server.url) as reply:
            assert await reply.read() == b"ok"


def test_the_defaults_and_evolve() -> None:
    from wherry.client.timeouts import DEFAULT_TIMEOUT

    assert (DEFAULT_TIMEOUT.total, DEFAULT_TIMEOUT.sock_connect) == (300, 30)
    changed = attrs.evolve(wherry.ClientTimeout(total=5), sock_read=1)
    assert (changed.total, changed.sock_read, changed.ceil_threshold) == (5, 1, 5)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        changed.total = 3  # type: ignore[misc]


async def test_a_cancel_is_a_cancel_though_a_limit_is_set(raw_server: Start) -> None:
    arrived = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await reader.read()

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        task = asyncio.create_task(
            session._request("GET", server.url, timeout=wherry.ClientTimeout(total=60))
        )
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda s: s.lost == 1)


async def test_a_limit_inside_a_limit_of_the_program(raw_server: Start) -> None:
    server = await raw_server(_silent)
    async with wherry.ClientSession() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await session.get(server.url, timeout=wherry.ClientTimeout(total=60))


async def test_the_wheel_keeps_one_timer_and_lets_go_of_what_ended() -> None:
    loop = asyncio.get_running_loop()
    wheel = DeadlineWheel(loop)
    expired: list[int] = []
    done = asyncio.Event()
    now = asyncio.get_running_loop().time()
    deadlines = [
        Deadline(now + 0.02 + at / 10_000, lambda at=at: expired.append(at)) for at in range(100)
    ]
    last = Deadline(now + 0.06, done.set)
    for deadline in [*reversed(deadlines), last]:
        wheel.add(deadline)
    for deadline in deadlines[::2]:
        wheel.discard(deadline)
    await done.wait()
    assert expired
    assert sorted(expired) == list(range(1, 100, 2))
    assert not wheel._active
    wheel.close()


def _time_runs_out(session: wherry.ClientSession) -> None:
    for deadline in list(session._defaults.wheel._active):
        deadline.expire()


@pytest.mark.parametrize("first", ["the program", "the deadline"])
@pytest.mark.parametrize(
    "options", [{}, {"headers": {"X": "1"}, "allow_redirects": False}], ids=["ready", "built"]
)
async def test_a_cancellation_in_the_turn_of_the_total_limit_is_not_lost(
    raw_server: Start, first: str, options: dict[str, Any]
) -> None:
    server = await raw_server(_silent)
    async with wherry.ClientSession(timeout=wherry.ClientTimeout(total=100)) as session:
        asking = asyncio.ensure_future(session.request("GET", server.url, **options))
        await server.until(lambda s: s.connections == 1)
        ends = [asking.cancel, lambda: _time_runs_out(session)]
        for end in ends if first == "the program" else reversed(ends):
            end()
        await asyncio.wait([asking])
        assert asking.cancelled()


@pytest.mark.parametrize("first", ["the outer", "the total"])
async def test_an_outer_limit_in_the_turn_of_the_total_limit_ends_as_its_own(
    raw_server: Start, first: str
) -> None:
    server = await raw_server(_silent)
    async with wherry.ClientSession(timeout=wherry.ClientTimeout(total=100)) as session:
        limit = asyncio.timeout(100)

        async def ask() -> bool:
            task = asyncio.current_task()
            assert task is not None
            with pytest.raises(TimeoutError):
                async with limit:
                    await session.get(server.url)
            return task.cancelling() == 0

        asking = asyncio.ensure_future(ask())
        await server.until(lambda s: s.connections == 1)
        ends = [limit._on_timeout, lambda: _time_runs_out(session)]  # type: ignore[attr-defined]
        for end in ends if first == "the outer" else reversed(ends):
            end()
        assert await asking
        assert limit.expired()


async def test_the_total_limit_takes_its_cancellation_back_if_a_middleware_kept_it(
    raw_server: Start,
) -> None:
    server = await raw_server(_silent)

    async def stubborn(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        try:
            return await handler(request)
        except asyncio.CancelledError:
            if fails:
                raise wherry.ClientError("instead") from None
            return wherry.ClientResponse.from_parts(request, 200, "OK", (), b"kept")

    task = asyncio.current_task()
    assert task is not None
    async with wherry.ClientSession(
        middlewares=(stubborn,), timeout=wherry.ClientTimeout(total=SOON)
    ) as session:
        fails = False
        async with session.get(server.url) as reply:
            assert await reply.read() == b"kept"
        assert task.cancelling() == 0
        fails = True
        with pytest.raises(wherry.ClientError, match="instead"):
            await session.get(server.url)
        assert task.cancelling() == 0
