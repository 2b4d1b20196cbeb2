"""A place on a connection that is spoken for is used or comes back, whatever happens meanwhile."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.client.http2_peer import Http2Side

import wherry
from wherry import ClientRequest, ClientResponse, ClientSession, TCPConnector, TraceConfig
from wherry.connect.pool.exchange_reservation import Reservation
from wherry.connect.pool.pool import Pool
from wherry.protocol.http1.connection import Http1Connection
from wherry.protocol.http2.connection import Http2Connection

LOOPS: list[tuple[Callable[[], asyncio.AbstractEventLoop], bool]] = [
    (asyncio.SelectorEventLoop, False),
    (uvloop.new_event_loop, False),
]
if sys.version_info >= (3, 12):
    LOOPS.append((asyncio.SelectorEventLoop, True))
# More turns of the loop than any request here takes; each case ends when its request does.
MOST_TURNS = 2000


class Keeper:
    """Counts what comes back."""

    def __init__(self) -> None:
        self.back: list[Any] = []

    def put_back(self, connection: Any) -> None:
        assert connection.reserved == 0
        self.back.append(connection)


class Place:
    reserved = 0


def test_a_reservation_ends_once() -> None:
    keeper, connection = Keeper(), Place()
    place = Reservation(connection, keeper)
    assert connection.reserved == 1
    assert "held" in repr(place)
    assert place.use() is connection
    assert connection.reserved == 0
    with pytest.raises(RuntimeError, match="already"):
        place.use()
    place.give_back()  # it was used in vain
    place.give_back()
    assert keeper.back == [connection]
    assert "given back" in repr(place)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("error", [None, ValueError, asyncio.CancelledError, KeyboardInterrupt])
def test_leaving_gives_back_what_was_not_used(
    used: bool, error: type[BaseException] | None
) -> None:
    keeper, connection = Keeper(), Place()
    with (
        pytest.raises(error) if error else contextlib.nullcontext(),
        Reservation(connection, keeper) as place,
    ):
        if used:
            place.use()
        if error is not None:
            raise error
    assert connection.reserved == 0
    assert keeper.back == ([] if used else [connection])


def test_nothing_else_counts_reserved_places() -> None:
    """A count that several modules keep by hand is one that somebody forgets."""
    source = Path(wherry.__file__).parent
    changed = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AugAssign):
                targets = [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and target.attr == "reserved":
                    is_start = isinstance(node, ast.Assign) and ast.unparse(node.value) == "0"
                    if not is_start:
                        changed.add(path.relative_to(source).as_posix())
    assert changed == {"connect/pool/exchange_reservation.py"}


class Peer:
    """A server whose answers to /held wait for `gate`."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.gate = asyncio.Event()
        self.held = asyncio.Event()
        self.port = 0

    async def answer(self, method: str, target: str, fields: Any, body: bytes) -> Any:
        if target == "/held":
            self.held.set()
            await self.gate.wait()
        return 200, [], b"whole"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            if self.version == "HTTP/2":
                await Http2Side(reader, writer, self.answer).run()
            while self.version == "HTTP/1.1":
                head = await reader.readuntil(b"\r\n\r\n")
                if b"Content-Length: 5" in head:
                    await reader.readexactly(5)
                await self.answer("", head.split(b" ")[1].decode(), None, b"")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
        writer.transport.abort()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve until the session, which is inside this, has closed its connections."""
        ended = asyncio.Event()
        open_now = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_now
            open_now += 1
            try:
                await self.serve(reader, writer)
            finally:
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
                open_now -= 1
                ended.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            self.gate.set()
            server.close()
            async with asyncio.timeout(30):
                while open_now:
                    ended.clear()
                    await ended.wait()


async def pause() -> None:
    await asyncio.sleep(0)


class Slow(ClientRequest):
    """Waits before it is sent and after."""

    async def send(self, conn: Any) -> ClientResponse:
        await pause()
        response = await super().send(conn)
        await pause()
        return response


class SlowAnswer(ClientResponse):
    async def start(self, connection: Any) -> ClientResponse:
        await pause()
        response = await super().start(connection)
        await pause()
        return response


SIGNALS = [
    "on_request_start",
    "on_connection_queued_start",
    "on_connection_queued_end",
    "on_connection_create_start",
    "on_connection_create_end",
    "on_connection_reuseconn",
    "on_request_headers_sent",
    "on_request_end",
]


def listening(fails_at: str | None = None) -> TraceConfig:
    config = TraceConfig()

    def listener(name: str) -> Callable[..., Awaitable[None]]:
        async def heard(*_: Any) -> None:
            await pause()
            if name == fails_at:
                raise ZeroDivisionError(name)

        return heard

    for name in SIGNALS:
        getattr(config, name).append(listener(name))
    return config


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "listened to": {"trace_configs": None},
    "own request": {"request_class": Slow},
    "own response": {"response_class": SlowAnswer},
    "own both, listened to": {
        "request_class": Slow,
        "response_class": SlowAnswer,
        "trace_configs": None,
    },
}


def session_for(spoken: str, way: str, fails_at: str | None = None) -> ClientSession:
    options = dict(WAYS[way])
    if "trace_configs" in options:
        options["trace_configs"] = [listening(fails_at)]
    protocols = ("h2c",) if spoken == "HTTP/2" else ("http/1.1",)
    return ClientSession(connector=TCPConnector(limit=1, protocols=protocols), **options)


def pool_of(session: ClientSession) -> Any:
    return session.connector.pool  # type: ignore[union-attr]


async def nothing_leaked(session: ClientSession, url: str) -> None:
    """No place is spoken for, and the only one there may be can still be had."""
    pool = pool_of(session)
    async with asyncio.timeout(30):
        async with session.get(url) as response:
            assert await response.read() == b"whole"
        while pool.stats().dialling or pool.stats().closing or pool.stats().busy:
            await asyncio.sleep(0)
    assert [made.reserved for made in pool.all_connections()] == [0] * pool.stats().open
    assert pool.connection_limits.taken == pool.stats().open
    assert pool.stats().waiting == 0


async def given_up_after(task: asyncio.Task[Any], turns: int) -> bool:
    """Cancel `task` after so many turns of the loop; whether it was done before."""
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    was_done = task.done()
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        assert task.exception() is None or was_done
    return was_done


def run(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    eager: bool,
    main: Callable[[], Awaitable[None]],
) -> None:
    async def start() -> None:
        if eager:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await main()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(start())


@pytest.mark.parametrize(("new_loop", "eager"), LOOPS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spoken", ["HTTP/1.1", "HTTP/2"])
def test_a_request_that_is_cancelled_at_any_await_leaks_no_place(
    spoken: str, way: str, new_loop: Any, eager: bool
) -> None:
    async def main() -> None:
        peer = Peer(spoken)
        async with peer.running() as url, session_for(spoken, way) as session:

            async def one() -> None:
                async with session.post(url + "/", data=b"small") as response:
                    await response.read()

            for turns in range(MOST_TURNS):
                task = asyncio.get_running_loop().create_task(one())
                if await given_up_after(task, turns):
                    break
                await nothing_leaked(session, url + "/")
            else:
                raise AssertionError("the request never ended")
            await nothing_leaked(session, url + "/")

    run(new_loop, eager, main)


@pytest.mark.parametrize(("new_loop", "eager"), LOOPS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spoken", ["HTTP/1.1", "HTTP/2"])
def test_a_request_that_waited_and_is_cancelled_while_it_is_served_leaks_no_place(
    spoken: str, way: str, new_loop: Any, eager: bool
) -> None:
    """The connection that it waits for comes free; it is cancelled so many turns later."""

    async def main() -> None:
        peer = Peer(spoken)
        async with peer.running() as url, session_for(spoken, way) as session:
            # One exchange for each connection, so that HTTP/2 has people waiting too.
            pool = pool_of(session)

            async def one(path: str) -> None:
                async with session.get(url + path) as response:
                    await response.read()

            for turns in range(MOST_TURNS):
                peer.gate.clear()
                peer.held.clear()
                first = asyncio.get_running_loop().create_task(one("/held"))
                async with asyncio.timeout(30):
                    await peer.held.wait()
                for connection in pool.all_connections():
                    connection.carry_at_a_time(1)
                task = asyncio.get_running_loop().create_task(one("/"))
                for _ in range(5):
                    await asyncio.sleep(0)
                peer.gate.set()
                ended = await given_up_after(task, turns)
                async with asyncio.timeout(30):
                    await first
                await nothing_leaked(session, url + "/")
                if ended:
                    break
            else:
                raise AssertionError("the request never ended")

    run(new_loop, eager, main)


@pytest.mark.parametrize("spoken", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("way", [way for way in WAYS if "trace_configs" in WAYS[way]])
@pytest.mark.parametrize("signal", SIGNALS)
async def test_a_listener_that_fails_leaks_no_place(signal: str, way: str, spoken: str) -> None:
    peer = Peer(spoken)
    async with peer.running() as url, session_for(spoken, way, signal) as session:
        for _ in range(3):
            answers = await asyncio.gather(
                *(session.post(url + "/", data=b"small") for _ in range(3)), return_exceptions=True
            )
            for answer in answers:  # not each step happens each time
                if isinstance(answer, BaseException):
                    assert isinstance(answer, ZeroDivisionError)
                else:
                    answer.close()
        pool = pool_of(session)
        async with asyncio.timeout(30):
            while pool.stats().dialling or pool.stats().closing or pool.stats().waiting:
                await asyncio.sleep(0)
        assert all(made.reserved == 0 for made in pool.all_connections())
        assert pool.connection_limits.taken == pool.stats().open


def tasks_of(name: str) -> list[asyncio.Task[Any]]:
    return [
        task for task in asyncio.all_tasks() if name in getattr(task.get_coro(), "__qualname__", "")
    ]


def failing(step: str) -> type[ClientRequest]:
    """A request whose class fails at one step of sending itself."""

    class Failing(ClientRequest):
        async def send(self, conn: Any) -> ClientResponse:
            if self.url.path == "/":
                return await super().send(conn)
            if step == "before":
                raise ZeroDivisionError
            if step == "released":
                conn.release()
                raise ZeroDivisionError
            if step == "released and awaited":
                conn.release()
                await pause()
                conn.release()
                raise ZeroDivisionError
            if step == "closed":
                conn.close()
                raise ZeroDivisionError
            if step == "its task":
                # Whoever ends all tasks of the program ends the one that is to send this, before
                # its first step.
                sending = asyncio.ensure_future(super().send(conn))
                while not sending.done() and not (new := tasks_of("sent_by_class.")):
                    await pause()
                for task in new:
                    task.cancel()
                await asyncio.wait([sending])
                if not sending.cancelled() and sending.exception() is None:
                    sending.result().close()
                raise ZeroDivisionError
            await super().send(conn)
            raise ZeroDivisionError

    return Failing


@pytest.mark.parametrize("spoken", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize(
    "step", ["before", "released", "released and awaited", "closed", "its task", "after"]
)
@pytest.mark.parametrize("other_waits", [False, True])
async def test_a_class_that_fails_while_it_sends_leaks_no_place(
    spoken: str, step: str, other_waits: bool
) -> None:
    """Also where the only place is what a request to another host waits for."""
    peer, other = Peer(spoken), Peer(spoken)
    protocols = ("h2c",) if spoken == "HTTP/2" else ("http/1.1",)
    async with (
        peer.running() as url,
        other.running() as elsewhere,
        ClientSession(
            connector=TCPConnector(limit=1, protocols=protocols), request_class=failing(step)
        ) as session,
    ):
        for _ in range(3):
            async with asyncio.timeout(30):
                sending = asyncio.create_task(session.get(url + "/fails"))
                await pause()
                if other_waits:
                    waiting = asyncio.create_task(session.get(elsewhere + "/"))
                with pytest.raises(ZeroDivisionError):
                    await sending
                if other_waits:
                    async with await waiting as response:
                        assert await response.read() == b"whole"
            await nothing_leaked(session, url + "/")


@pytest.mark.parametrize(("new_loop", "eager"), LOOPS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spoken", ["HTTP/1.1", "HTTP/2"])
def test_nothing_runs_between_the_taking_of_a_place_and_the_start_on_it(
    spoken: str, way: str, new_loop: Any, eager: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool counts nothing in between: another task would find the same place."""
    taken: set[Any] = set()
    checked = 0

    def noting(method: Any) -> Any:
        def take(self: Any, *args: Any) -> Any:
            got = method(self, *args)
            if got is not None:
                taken.add(got)
                asyncio.get_running_loop().call_soon(taken.clear)  # once anything else has run
            return got

        return take

    def checking(method: Any) -> Any:
        def start(self: Any, *args: Any) -> Any:
            nonlocal checked
            checked += 1
            assert self in taken, "something ran in between"
            return method(self, *args)

        return start

    for cls, name in ((Pool, "take"), (Pool, "_take_free"), (Reservation, "use")):
        monkeypatch.setattr(cls, name, noting(getattr(cls, name)))
    for protocol in (Http1Connection, Http2Connection):
        monkeypatch.setattr(protocol, "start", checking(protocol.start))

    async def main() -> None:
        peer = Peer(spoken)
        async with peer.running() as url, session_for(spoken, way) as session:

            async def one() -> None:
                async with session.post(url + "/", data=b"small") as response:
                    assert await response.read() == b"whole"

            for _ in range(3):
                await asyncio.gather(*(one() for _ in range(4)))

    run(new_loop, eager, main)
    assert checked == 12
