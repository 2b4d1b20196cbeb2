"""Client tracing over real sockets: which signals come, with what, in which order; beside aiohttp's
own.
"""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import attr
import pytest
from multidict import CIMultiDict
from tests.client.conftest import Peer, reply
from yarl import URL

import wherry
from wherry.client.tracing import signals as tracing
from wherry.errors import ClientConnectorError, ClientResponseError, TooManyRedirects
from wherry.testing import LocalServer

SIGNALS = [name for name in dir(aiohttp.TraceConfig) if name.startswith("on_")]


class Server:
    """Answers by path; keeps the heads of the requests."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                await self.gate.wait()
                path = head.split(b" ")[1]
                if path.startswith(b"/redirect"):
                    writer.write(
                        b"HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n"
                    )
                elif path == b"/loop":
                    writer.write(
                        b"HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n"
                    )
                elif path == b"/break":
                    break
                elif path == b"/bad":
                    writer.write(b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n")
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    fake = Server()
    listener = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = listener.sockets[0].getsockname()[1]
    yield fake
    listener.close()
    await listener.wait_closed()


def recorder(library: Any, seen: list[tuple[str, Any]], names: list[str] = SIGNALS) -> Any:
    """A TraceConfig whose every signal is written down."""
    config = library.TraceConfig()
    for name in names:

        async def note(session: Any, context: Any, params: Any, name: str = name) -> None:
            seen.append((name, params))

        getattr(config, name).append(note)
    return config


Scenario = Callable[[Any, Any, Server], Awaitable[None]]


async def plain(library: Any, session: Any, server: Server) -> None:
    async with session.get(server.url()) as response:
        await response.read()


async def by_name(library: Any, session: Any, server: Server) -> None:
    for _ in range(2):
        async with session.get(
            server.url(host="localhost"), headers={"Connection": "close"}
        ) as response:
            await response.read()


async def reuse(library: Any, session: Any, server: Server) -> None:
    for _ in range(2):
        async with session.get(server.url()) as response:
            await response.read()


async def redirect(library: Any, session: Any, server: Server) -> None:
    async with session.get(server.url("/redirect")) as response:
        await response.read()


async def redirect_not_followed(library: Any, session: Any, server: Server) -> None:
    async with session.get(server.url("/redirect"), allow_redirects=False) as response:
        await response.read()


async def body(library: Any, session: Any, server: Server) -> None:
    async with session.post(server.url(), data=b"12345") as response:
        await response.read()


async def unread(library: Any, session: Any, server: Server) -> None:
    async with session.get(server.url()):
        pass


async def broken(library: Any, session: Any, server: Server) -> None:
    with pytest.raises(library.ServerDisconnectedError):
        await session.post(server.url("/break"))


async def bad_status(library: Any, session: Any, server: Server) -> None:
    with pytest.raises(library.ClientResponseError):
        await session.get(server.url("/bad"), raise_for_status=True)


async def too_many(library: Any, session: Any, server: Server) -> None:
    with pytest.raises(library.TooManyRedirects):
        await session.get(server.url("/loop"), max_redirects=3)


async def refused(library: Any, session: Any, server: Server) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(library.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{bound.getsockname()[1]}/")


async def cancelled(library: Any, session: Any, server: Server) -> None:
    server.gate.clear()
    task = asyncio.ensure_future(session.get(server.url()))
    while not server.heads:
        await asyncio.sleep(0)
    server.heads.clear()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.gate.set()


@pytest.mark.parametrize(
    "scenario",
    [
        plain,
        by_name,
        reuse,
        redirect,
        redirect_not_followed,
        body,
        unread,
        broken,
        bad_status,
        too_many,
        refused,
        cancelled,
    ],
)
async def test_signals_come_as_from_aiohttp(server: Server, scenario: Scenario) -> None:
    """S001-73, S001-82"""
    seen: dict[str, list[tuple[str, Any]]] = {}
    for library in (aiohttp, wherry):
        notes = seen[library.__name__] = []
        async with library.ClientSession(trace_configs=[recorder(library, notes)]) as session:
            await scenario(library, session, server)
    assert [name for name, _ in seen["wherry"]] == [name for name, _ in seen["aiohttp"]]
    for (_, ours), (_, theirs) in zip(seen["wherry"], seen["aiohttp"], strict=True):
        assert type(ours).__name__ == type(theirs).__name__
        facts = attr.asdict(theirs, recurse=False)
        assert list(vars(ours)) == list(facts)
        for key in ("method", "chunk", "host"):
            if key in facts:
                assert getattr(ours, key) == facts[key]
        if "url" in facts and scenario is not refused:
            assert ours.url == facts["url"]


async def test_the_whole_order_of_a_request_with_a_redirect(server: Server) -> None:
    """S001-82"""
    seen: list[tuple[str, Any]] = []
    async with (
        wherry.ClientSession(trace_configs=[recorder(wherry, seen)]) as session,
        session.get(server.url("/redirect", host="localhost")) as response,
    ):
        await response.read()
    assert [name for name, _ in seen] == [
        "on_request_start",
        "on_connection_create_start",
        "on_dns_cache_miss",
        "on_dns_resolvehost_start",
        "on_dns_resolvehost_end",
        "on_connection_create_end",
        "on_request_headers_sent",
        "on_request_redirect",
        "on_connection_reuseconn",
        "on_request_headers_sent",
        "on_request_end",
        "on_response_chunk_received",
    ]
    start, end = seen[0][1], seen[-2][1]
    assert start.method == "GET"
    assert start.url.path == "/redirect"
    assert end.url.path == "/end"
    assert end.response is response
    assert isinstance(end.headers, CIMultiDict)
    assert seen[-1][1].chunk == b"body"


async def test_requests_with_a_stream_each_share_a_connection() -> None:
    """S001-82"""
    seen: list[tuple[str, Any]] = []
    names = [*SIGNALS, "on_stream_start"]
    async with LocalServer(tls=True) as local:
        connector = wherry.TCPConnector(ssl=local.client_context, protocols=("h2", "http/1.1"))
        async with wherry.ClientSession(
            connector=connector, trace_configs=[recorder(wherry, seen, names)]
        ) as session:
            for _ in range(2):
                async with session.get(local.url("/get")) as response:
                    await response.read()
                    assert response.version == (2, 0)
    assert [name for name, _ in seen] == [
        "on_request_start",
        "on_connection_create_start",
        "on_connection_create_end",
        "on_stream_start",
        "on_request_headers_sent",
        "on_request_end",
        "on_response_chunk_received",
        "on_request_start",
        "on_connection_reuseconn",
        "on_stream_start",
        "on_request_headers_sent",
        "on_request_end",
        "on_response_chunk_received",
    ]
    assert [params.stream_id for name, params in seen if name == "on_stream_start"] == [1, 3]


async def test_a_cache_says_what_it_answers(peer: Callable[..., Awaitable[Peer]]) -> None:
    seen: list[tuple[str, Any]] = []
    config = recorder(wherry, seen, ["on_cache_hit", "on_cache_miss", "on_request_headers_sent"])
    kept = await peer(lambda _: reply(body="x", headers={"Cache-Control": "max-age=60"}))
    async with (
        wherry.CacheMiddleware() as cache,
        wherry.ClientSession(trace_configs=[config], middlewares=[cache]) as session,
    ):
        for headers in ({}, {}, {"Cache-Control": "no-cache"}):
            async with session.get(kept.url(), headers=headers) as response:
                assert await response.text() == "x"
    assert [(name, getattr(params, "stale", None)) for name, params in seen] == [
        ("on_cache_miss", False),
        ("on_request_headers_sent", None),
        ("on_cache_hit", None),
        ("on_cache_miss", True),
        ("on_request_headers_sent", None),
    ]
    assert seen[0][1].url == URL(kept.url())


async def test_a_request_that_waits_for_room_says_so(server: Server) -> None:
    """S001-82"""
    seen: list[tuple[str, Any]] = []
    server.gate.clear()
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(limit=1), trace_configs=[recorder(wherry, seen)]
    ) as session:

        async def one(path: str) -> None:
            async with session.get(server.url(path)) as response:
                await response.read()

        first = asyncio.ensure_future(one("/1"))
        while not server.heads:
            await asyncio.sleep(0)
        second = asyncio.ensure_future(one("/2"))
        while "on_connection_queued_start" not in [name for name, _ in seen]:
            await asyncio.sleep(0)
        assert "on_connection_queued_end" not in [name for name, _ in seen]
        server.gate.set()
        await asyncio.gather(first, second)
    names = [name for name, _ in seen]
    assert names.count("on_connection_queued_start") == names.count("on_connection_queued_end") == 1
    at = names.index("on_connection_queued_end")
    assert names[at + 1 : at + 3] == ["on_connection_reuseconn", "on_request_headers_sent"]


async def test_a_wait_that_is_given_up_leaves_the_pool_whole(server: Server) -> None:
    async def fail(session: Any, context: Any, params: Any) -> None:
        raise RuntimeError("a listener fails")

    config = wherry.TraceConfig()
    config.on_connection_queued_start.append(fail)
    server.gate.clear()
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(limit=1), trace_configs=[config]
    ) as session:
        first = asyncio.ensure_future(session.get(server.url()))
        while not server.heads:
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="a listener fails"):
            await session.get(server.url())
        server.gate.set()
        (await first).release()
        async with session.get(server.url()) as response:
            assert response.status == 200


async def test_a_failure_ends_the_request_with_its_exception(server: Server) -> None:
    """S001-82"""
    seen: list[tuple[str, Any]] = []
    async with wherry.ClientSession(trace_configs=[recorder(wherry, seen)]) as session:
        with pytest.raises(TooManyRedirects) as caught:
            await session.get(server.url("/loop"), max_redirects=2)
        assert seen[-1][0] == "on_request_exception"
        assert seen[-1][1].exception is caught.value
        with pytest.raises(ClientResponseError):
            await session.get(server.url("/bad"), raise_for_status=True)
        assert seen[-1][1].exception.status == 500


async def test_a_time_limit_is_told_as_such(server: Server) -> None:
    seen: list[tuple[str, Any]] = []
    server.gate.clear()
    async with wherry.ClientSession(trace_configs=[recorder(wherry, seen)]) as session:
        with pytest.raises(TimeoutError):
            await session.get(server.url(), timeout=wherry.ClientTimeout(total=0.05))
    server.gate.set()
    assert seen[-1][0] == "on_request_exception"
    assert isinstance(seen[-1][1].exception, TimeoutError)


async def test_a_dead_connection_is_told_as_a_retry(server: Server) -> None:
    seen: list[tuple[str, Any]] = []
    async with wherry.ClientSession(
        trace_configs=[recorder(wherry, seen, ["on_request_retry"])]
    ) as session:
        await plain(wherry, session, server)
        # The server closes the kept connection instead of answering, and then the new one.
        with pytest.raises(wherry.ServerDisconnectedError):
            await session.get(server.url("/break"))
    ((_, params),) = seen
    assert (params.attempt, params.method) == (2, "GET")
    assert isinstance(params.exception, wherry.ServerDisconnectedError)


async def test_what_a_listener_adds_on_a_retry_is_sent(server: Server) -> None:
    """OpenTelemetry's context of the second try, for one."""

    async def mark(session: Any, context: Any, params: Any) -> None:
        params.headers["X-Try"] = str(params.attempt)

    async def pass_on(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        return await handler(request)

    for middlewares in ((), (pass_on,)):
        config = wherry.TraceConfig()
        config.on_request_retry.append(mark)
        async with wherry.ClientSession(trace_configs=[config], middlewares=middlewares) as session:
            await plain(wherry, session, server)
            server.heads.clear()
            with pytest.raises(wherry.ServerDisconnectedError):
                await session.get(server.url("/break"))
        assert [b"X-Try: 2" in head for head in server.heads] == [False, True]


# --- configs and contexts -------------------------------------------------------------------------


async def test_without_configs_a_request_has_no_traces(server: Server) -> None:
    """S001-74"""
    async with wherry.ClientSession() as session:
        assert session.trace_configs == []
        async with session.get(server.url(), trace_request_ctx={"a": 1}) as response:
            assert await response.read() == b"body"


async def test_several_configs_and_subclasses_in_order_with_a_context_each(server: Server) -> None:
    """S001-75, S001-76, S001-77"""
    calls: list[tuple[str, str, Any, Any, Any]] = []

    class Audit(wherry.TraceConfig):
        def __init__(self, label: str) -> None:
            super().__init__()
            self.label = label
            self.on_request_start.append(self.start)
            self.on_request_end.append(self.end)

        async def start(self, session: Any, context: Any, params: Any) -> None:
            context.label = self.label
            calls.append(("start", self.label, session, context, params))

        async def end(self, session: Any, context: Any, params: Any) -> None:
            assert context.label == self.label
            calls.append(("end", self.label, session, context, params))

    async with wherry.ClientSession(trace_configs=[Audit("a"), Audit("b")]) as session:
        for _ in range(2):
            async with session.get(server.url()):
                pass
    assert [(step, label) for step, label, *_ in calls] == [
        ("start", "a"),
        ("start", "b"),
        ("end", "a"),
        ("end", "b"),
    ] * 2
    assert all(call[2] is session for call in calls)
    assert all(type(call[3]) is SimpleNamespace for call in calls)
    assert isinstance(calls[0][4], tracing.TraceRequestStartParams)
    assert len({id(call[3]) for call in calls}) == 4


async def test_the_context_comes_from_the_factory_with_the_requests_own_data(
    server: Server,
) -> None:
    """S001-79, S001-80, S001-81"""
    made: list[Any] = []

    class Context:
        def __init__(self, trace_request_ctx: Any = None) -> None:
            self.data = trace_request_ctx

    async def start(session: Any, context: Context, params: Any) -> None:
        made.append((params.method, context.data))

    config = wherry.TraceConfig(trace_config_ctx_factory=Context)  # type: ignore[arg-type]
    config.on_request_start.append(start)
    async with wherry.ClientSession(trace_configs=[config]) as session:
        verbs = ("get", "options", "head", "post", "put", "patch", "delete")
        for verb in verbs:
            async with getattr(session, verb)(server.url(), trace_request_ctx=verb):
                pass
        async with session.request("PROPFIND", server.url(), trace_request_ctx="propfind"):
            pass
    assert made == [(verb.upper(), verb) for verb in (*verbs, "propfind")]
    assert wherry.TraceConfig().trace_config_ctx("x") == SimpleNamespace(trace_request_ctx="x")


async def test_a_session_freezes_its_configs() -> None:
    config = wherry.TraceConfig()
    async with wherry.ClientSession(trace_configs=[config]):
        with pytest.raises(RuntimeError):
            config.on_request_start.append(lambda *_: asyncio.sleep(0))


def test_a_signal_cannot_be_replaced() -> None:
    config = wherry.TraceConfig()
    with pytest.raises(AttributeError, match="on_request_end"):
        config.on_request_end = None  # type: ignore[assignment]
    assert {name for name in dir(aiohttp.TraceConfig) if name.startswith("on_")} <= set(
        dir(wherry.TraceConfig)
    )


async def test_fields_that_a_listener_adds_are_sent(server: Server) -> None:
    async def inject(session: Any, context: Any, params: Any) -> None:
        assert params.headers["X-Default"] == "session"
        assert params.headers["X-Own"] == "request"
        params.headers["traceparent"] = "00-abc"
        params.headers["X-Own"] = "listener"

    config = wherry.TraceConfig()
    config.on_request_start.append(inject)
    defaults = {"X-Default": "session", "X-Own": "session"}
    own = {"X-Own": "request"}
    async with (
        wherry.ClientSession(trace_configs=[config], headers=defaults) as session,
        session.get(server.url("/redirect"), headers=own),
    ):
        pass
    assert len(server.heads) == 2
    for head in server.heads:
        assert b"traceparent: 00-abc\r\n" in head
        assert head.count(b"X-Own: ") == 1
        assert b"X-Own: listener\r\n" in head
        assert head.count(b"X-Default: ") == 1
    assert own == {"X-Own": "request"}


async def test_what_listeners_do_to_one_request_holds_for_that_one(server: Server) -> None:
    """A plain GET that is built once is sent as it was built only while no listener changes what it
    is made of.
    """
    step = ""
    seen: list[Any] = []

    async def begin(session: Any, context: Any, params: Any) -> None:
        if step == "own":
            params.headers["X-Own"] = "1"
        elif step == "session":
            session.headers["X-Session"] = "1"
        elif step == "cookie":
            session.cookie_jar.update_cookies({"a": "b"}, URL(server.url()))

    async def sent(session: Any, context: Any, params: Any) -> None:
        seen.append(dict(params.headers))
        params.headers["X-Late"] = "1"

    config = wherry.TraceConfig()
    config.on_request_start.append(begin)
    config.on_request_headers_sent.append(sent)
    async with wherry.ClientSession(
        trace_configs=[config], cookie_jar=wherry.CookieJar(unsafe=True)
    ) as session:
        for step in ("", "", "own", "", "session", "", "cookie", ""):  # noqa: B007  (the listeners read it)
            async with session.get(server.url()) as response:
                assert response.request_info.headers["Host"] == f"127.0.0.1:{server.port}"
    wanted = [
        set(),
        set(),
        {"X-Own"},
        set(),
        {"X-Session"},
        {"X-Session"},
        *[{"X-Session", "Cookie"}] * 2,
    ]
    usual = {"Host", "Accept", "Accept-Encoding", "User-Agent"}
    assert [fields.keys() - usual for fields in seen] == wanted
    sent_names = [
        {line.split(b":")[0].decode() for line in head.split(b"\r\n")[1:] if line}
        for head in server.heads
    ]
    assert [names - usual for names in sent_names] == wanted


async def test_configs_that_join_later_are_heard(server: Server) -> None:
    seen: list[tuple[str, Any]] = []
    async with wherry.ClientSession() as session:
        await plain(wherry, session, server)
        session.trace_configs.append(recorder(wherry, seen))
        await plain(wherry, session, server)
    assert [name for name, _ in seen] == [
        "on_request_start",
        "on_connection_reuseconn",
        "on_request_headers_sent",
        "on_request_end",
        "on_response_chunk_received",
    ]


async def test_configs_of_aiohttp_are_heard(server: Server) -> None:
    """Instrumentation that was written for aiohttp makes aiohttp's own."""
    seen: list[tuple[str, Any]] = []
    async with wherry.ClientSession(trace_configs=[recorder(aiohttp, seen)]) as session:
        await plain(wherry, session, server)
        with pytest.raises(wherry.ServerDisconnectedError):  # a retry is a signal of ours alone
            await session.get(server.url("/break"))
    names = [name for name, _ in seen]
    assert (names[0], names[-1]) == ("on_request_start", "on_request_exception")


async def test_middlewares_see_a_traced_request_afresh(server: Server) -> None:
    seen: list[tuple[str, Any]] = []
    count = 0

    async def number(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        nonlocal count
        count += 1
        if count % 2:
            request.headers["X-Number"] = str(count)
        return await handler(request)

    names = ["on_request_headers_sent"]
    async with wherry.ClientSession(
        trace_configs=[recorder(wherry, seen, names)], middlewares=(number,)
    ) as session:
        for _ in range(4):
            await plain(wherry, session, server)
    assert [params.headers.get("X-Number") for _, params in seen] == ["1", None, "3", None]
    assert [b"X-Number" in head for head in server.heads] == [True, False, True, False]


async def test_a_traced_request_leaves_no_cycle(server: Server) -> None:
    async def listen(session: Any, context: Any, params: Any) -> None: ...

    config = wherry.TraceConfig()
    for name in SIGNALS:
        getattr(config, name).append(listen)
    async with wherry.ClientSession(trace_configs=[config]) as session:
        await plain(wherry, session, server)
        gc.collect()
        gc.disable()
        try:
            async with session.get(server.url()) as response:
                await response.read()
            forgotten = weakref.ref(response)
            del response
            assert forgotten() is None
        finally:
            gc.enable()


async def test_a_plain_function_that_fails_as_a_listener_leaks_no_connection(
    server: Server,
) -> None:
    def fail(session: Any, context: Any, params: Any) -> Any:
        raise ValueError("broken listener")

    config = wherry.TraceConfig()
    config.on_connection_reuseconn.append(fail)
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(limit=1), trace_configs=[config]
    ) as session:
        await plain(wherry, session, server)
        for _ in range(2):
            with pytest.raises(ValueError, match="broken listener"):
                await session.get(server.url())


async def test_a_listener_that_fails_fails_the_request_and_who_began_sees_the_end(
    server: Server,
) -> None:
    seen: list[tuple[str, Any]] = []
    names = ["on_request_start", "on_request_exception"]

    async def fail(session: Any, context: Any, params: Any) -> None:
        raise ValueError("broken listener")

    middle = wherry.TraceConfig()
    middle.on_request_start.append(fail)
    configs = [recorder(wherry, seen, names), middle, recorder(wherry, seen, names)]
    async with wherry.ClientSession(trace_configs=configs) as session:
        with pytest.raises(ValueError, match="broken listener"):
            await session.get(server.url())
    assert [name for name, _ in seen] == ["on_request_start", "on_request_exception"]


async def test_credentials_of_a_url_are_not_told(server: Server) -> None:
    seen: list[tuple[str, Any]] = []
    async with (
        wherry.ClientSession(trace_configs=[recorder(wherry, seen)]) as session,
        session.get(f"http://user:secret@127.0.0.1:{server.port}/"),
    ):
        pass
    assert "secret" not in repr([params.url for _, params in seen if hasattr(params, "url")])
    assert b"Authorization: Basic" in server.heads[0]


def test_the_names_are_aiohttps() -> None:
    for name in aiohttp.tracing.__all__:
        theirs = getattr(aiohttp.tracing, name)
        ours = getattr(tracing, name)
        if name != "TraceConfig":
            assert list(ours._names) == [field.name for field in attr.fields(theirs)]


def test_what_is_told_never_changes() -> None:
    told = tracing.TraceDnsCacheHitParams("example.org")
    assert (
        told
        == tracing.TraceDnsCacheHitParams(host="example.org")
        != tracing.TraceDnsCacheMissParams("example.org")
    )
    assert repr(told) == "TraceDnsCacheHitParams(host='example.org')"
    assert len({told, told}) == 1
    for change in (lambda: setattr(told, "host", "other"), lambda: delattr(told, "host")):
        with pytest.raises(AttributeError, match="never changes"):
            change()
    for wrong in ((), ("a", "b")):
        with pytest.raises(TypeError, match="takes host"):
            tracing.TraceDnsCacheHitParams(*wrong)


async def test_a_refused_connection_is_told(server: Server) -> None:
    seen: list[tuple[str, Any]] = []
    async with wherry.ClientSession(trace_configs=[recorder(wherry, seen)]) as session:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(ClientConnectorError):
                await session.get(URL(f"http://127.0.0.1:{bound.getsockname()[1]}/"))
    assert [name for name, _ in seen] == [
        "on_request_start",
        "on_connection_create_start",
        "on_request_exception",
    ]


@pytest.mark.parametrize("signal", [name for name in SIGNALS if name != "on_dns_cache_hit"])
async def test_a_listener_that_fails_leaks_no_connection(server: Server, signal: str) -> None:
    """Whatever listener fails, its request fails, and the connection's place is free again."""
    broken = False

    async def fail(session: Any, context: Any, params: Any) -> None:
        nonlocal broken
        if broken:
            broken = False
            await asyncio.sleep(0)
            raise ValueError("broken listener")

    config = wherry.TraceConfig()
    getattr(config, signal).append(fail)
    connector = wherry.TCPConnector(limit=1)
    timeout = wherry.ClientTimeout(total=20)
    async with wherry.ClientSession(
        trace_configs=[config], connector=connector, timeout=timeout
    ) as session:
        if signal == "on_connection_reuseconn":
            await plain(wherry, session, server)
        held = None
        if "queued" in signal:
            server.gate.clear()
            held = asyncio.ensure_future(session.get(server.url()))
            while not server.heads:
                await asyncio.sleep(0)
        broken = True
        path = {"on_request_redirect": "/redirect", "on_request_exception": "/break"}.get(
            signal, "/"
        )
        host = "localhost" if "dns" in signal else "127.0.0.1"
        failing = asyncio.ensure_future(session.post(server.url(path, host=host), data=b"12345"))
        if held is not None:
            for _ in range(5):
                await asyncio.sleep(0)
            server.gate.set()
            (await held).release()
        # A listener within a step that has an error of its own is that error's cause.
        with pytest.raises((ValueError, wherry.ClientError), match="broken listener"):
            await (await failing).read()
        assert not broken
        for _ in range(2):
            await plain(wherry, session, server)


@pytest.mark.parametrize(
    "signal",
    [
        "on_connection_reuseconn",
        "on_connection_create_end",
        "on_request_headers_sent",
        "on_request_end",
    ],
)
async def test_a_request_that_is_cancelled_in_a_listener_leaks_no_connection(
    server: Server, signal: str
) -> None:
    entered = asyncio.Event()
    armed = False

    async def hang(session: Any, context: Any, params: Any) -> None:
        if armed:
            entered.set()
            await asyncio.Event().wait()

    config = wherry.TraceConfig()
    getattr(config, signal).append(hang)
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(limit=1), trace_configs=[config]
    ) as session:
        if signal == "on_connection_reuseconn":
            await plain(wherry, session, server)
        armed = True
        task = asyncio.ensure_future(session.get(server.url()))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        armed = False
        async with asyncio.timeout(20):
            await plain(wherry, session, server)
