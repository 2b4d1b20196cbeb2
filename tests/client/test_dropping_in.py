"""What programs, and the libraries that instrument them, do with aiohttp's objects beside their
documented use: the same happens here.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import gc
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any, ClassVar, Generic, TypeVar
from unittest import mock

import pytest
import wrapt
from multidict import CIMultiDict, CIMultiDictProxy
from tests.client.conftest import reply
from websockets.asyncio.server import serve as serve_websocket
from yarl import URL

import wherry
from wherry import (
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DigestAuthMiddleware,
    TCPConnector,
)
from wherry.body.stream.reader import EmptyStreamReader
from wherry.client.session_defaults import SessionDefaults

T = TypeVar("T")

# --- what is open outlives its session and its connector ------------------------------------------


async def echo(websocket: Any) -> None:
    async for message in websocket:
        await websocket.send(message)


async def all_closed(pool: Any) -> None:
    await asyncio.gather(*(each.wait_closed() for each in pool.all_connections()))
    assert pool.stats().open == 0


async def test_a_websocket_outlives_a_detached_session() -> None:
    async with serve_websocket(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        session = ClientSession()
        websocket = await session.ws_connect(f"ws://127.0.0.1:{port}/")
        assert session.connector is not None
        pool = session.connector.pool
        session.detach()
        del session
        gc.collect()
        for _ in range(3):
            await websocket.send_str("ahoy")
            assert await websocket.receive_str(timeout=20) == "ahoy"
        assert pool.stats().busy == 1
        await websocket.close()
        await all_closed(pool)


async def test_a_body_outlives_a_detached_session(peer, session) -> None:
    body = b"x" * 3_000_000
    server = await peer(lambda asked: reply(200, body if asked.target == "/big" else b"small"))
    client = session()
    pool = client.connector.pool
    async with client.get(server.url("/small")) as response:
        await response.read()
    response = await client.get(server.url("/big"))
    client.detach()
    gc.collect()
    assert await response.read() == body
    await all_closed(pool)  # nobody can use the connection any more


async def test_a_body_outlives_a_connector_that_nobody_holds(peer, version) -> None:
    body = b"x" * 3_000_000
    server = await peer(lambda _: reply(200, body))
    protocols = ("h2c",) if version == "HTTP/2" else ("http/1.1",)
    client = ClientSession(
        connector=TCPConnector(protocols=protocols),
        connector_owner=False,
        timeout=ClientTimeout(total=60),
    )
    response = await client.get(server.url())
    await client.close()
    del client
    gc.collect()
    assert await response.read() == body


# --- streams and jars of a program's own ----------------------------------------------------------


class OnlyRead:
    """All that a stand-in for a body needs to have."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body


class Overriding(EmptyStreamReader):
    """As mocks derive theirs from the stream that is always at its end."""

    async def read(self, n: int = -1) -> bytes:
        return b'{"a": 1}'


@pytest.mark.parametrize("made", ["by parts", "by hand", "by the network"])
@pytest.mark.parametrize("stream", [lambda: OnlyRead(b'{"a": 1}'), Overriding])
@pytest.mark.parametrize(
    "own", [(), (wherry.CacheMiddleware(),), (DigestAuthMiddleware("a", "b"),)]
)
async def test_a_stream_of_the_programs_own_needs_only_read(
    peer, session, made: str, stream: Any, own: Any
) -> None:
    async def mock(request: ClientRequest, handler: Any) -> ClientResponse:
        if made == "by hand":
            response = request.session._response_class(
                request.method, request.url, session=request.session
            )
            response.status, response.reason = 200, "OK"
            response._headers = CIMultiDictProxy(
                CIMultiDict({"Content-Type": "application/json", "Cache-Control": "max-age=9"})
            )
        elif made == "by parts":
            response = ClientResponse.from_parts(
                request, 200, "OK", ((b"Content-Type", b"application/json"),)
            )
        else:
            response = await handler(request)
        response.content = stream()
        return response

    server = await peer(lambda _: reply(200, b"[]", {"Content-Type": "application/json"}))
    async with session(middlewares=(*own, mock)) as client:
        for _ in range(2):
            async with client.get(server.url()) as response:
                assert await response.json() == {"a": 1}
                assert await response.read() == b'{"a": 1}'
            response = await client.get(server.url())
            response.release()
            response = await client.get(server.url())
            response.close()
            response.raise_for_status()


async def test_a_wrapper_round_the_stream_is_read_to_its_end(peer, session) -> None:
    body = b"x" * 300_000

    class Counted:
        seen = 0

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def read(self, n: int = -1) -> bytes:
            data: bytes = await self._stream.read(n)
            Counted.seen += len(data)
            return data

    class Response(ClientResponse):
        async def start(self, connection: Any) -> ClientResponse:
            await super().start(connection)
            self.content = Counted(self.content)  # type: ignore[assignment]
            return self

    server = await peer(lambda _: reply(200, body))
    async with session(response_class=Response) as client:
        for _ in range(2):
            async with client.get(server.url()) as response:
                assert await response.read() == body
        assert client.connector is not None
        assert client.connector.stats().opened == 1
    assert Counted.seen == 2 * len(body)


# --- what aiohttp refuses, and what it has by default ---------------------------------------------


async def pieces() -> Any:
    yield b"abc"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "options",
    [
        {"data": pieces},
        {"data": b"abc", "chunked": True},
        {"data": b"abc", "compress": True},
        {"data": b"abc", "compress": "gzip"},
    ],
)
@pytest.mark.parametrize("where", ["request", "session"])
async def test_chunks_that_a_program_announces_itself_are_refused(
    peer, session, method: str, options: dict[str, Any], where: str
) -> None:
    server = await peer()
    if callable(options["data"]):
        options = {**options, "data": options["data"]()}
    coding = {"transfer-encoding": "Chunked"}
    async with session(headers=coding if where == "session" else None) as client:
        with pytest.raises(ValueError, match="Transfer-Encoding: chunked"):
            await client.request(
                method, server.url(), headers=coding if where == "request" else None, **options
            )
        assert server.asked == []


async def test_the_websocket_class_is_a_class_by_default(session) -> None:
    assert session()._ws_response_class is wherry.ClientWebSocketResponse


# --- methods of classes that are replaced, and put back -------------------------------------------


@pytest.fixture(params=["set", "monkeypatch", "mock", "wrapt"])
def replacing(request: pytest.FixtureRequest) -> Iterator[Any]:
    """`with replacing(cls, name, wrap):` puts `wrap(original)` there, as one of these does."""

    @contextlib.contextmanager
    def replaced(cls: type, name: str, wrap: Any) -> Iterator[None]:
        original = getattr(cls, name)
        if request.param == "set":
            setattr(cls, name, wrap(original))
            yield
            setattr(cls, name, original)
        elif request.param == "monkeypatch":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(cls, name, wrap(original))
                yield
        elif request.param == "mock":
            with mock.patch.object(cls, name, wrap(original)):
                yield
        else:
            wrapped = wrapt.FunctionWrapper(
                vars(cls)[name],
                lambda original, instance, args, kwargs: wrap(
                    lambda _self, *a, **k: original(*a, **k)
                )(instance, *args, **kwargs),
            )
            setattr(cls, name, wrapped)
            yield
            setattr(cls, name, original)

    return replaced


def counting(seen: list[str], word: str) -> Any:
    def wrap(original: Any) -> Any:
        async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(word)
            return await original(self, *args, **kwargs)

        return method

    return wrap


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("GET", {}),
    ("GET", {"headers": {"X-A": "b"}, "params": {"a": "b"}}),
    ("POST", {"json": {}}),
    ("POST", {"data": {"a": "b"}}),
    ("GET", {"auth": wherry.BasicAuth("a", "b")}),
]


@pytest.mark.parametrize("middlewares", [0, 1])
async def test_a_replaced_send_or_start_is_called_from_then_on(
    peer, session, replacing, middlewares: int
) -> None:
    async def through(request: Any, handler: Any) -> Any:
        return await handler(request)

    server = await peer(lambda _: reply(200, b"ok"))
    before = session(middlewares=(through,) * middlewares)
    seen: list[str] = []

    async def ask(client: ClientSession) -> list[str]:
        seen.clear()
        for method, options in REQUESTS:
            async with client.request(method, server.url(), **options) as response:
                assert await response.read() == b"ok"
        return list(seen)

    assert await ask(before) == []
    with replacing(ClientRequest, "send", counting(seen, "send")):
        assert await ask(before) == ["send"] * 5
        assert await ask(session()) == ["send"] * 5
        with replacing(ClientResponse, "start", counting(seen, "start")):
            assert await ask(before) == ["send", "start"] * 5
    with replacing(ClientResponse, "start", counting(seen, "start")):
        assert await ask(before) == ["start"] * 5
        assert await ask(session()) == ["start"] * 5
    assert await ask(before) == []
    assert SessionDefaults.is_plain
    assert not SessionDefaults.starts_responses


async def test_a_replaced_method_of_a_class_of_the_programs_own_is_called(
    peer, session, replacing
) -> None:
    class Request(ClientRequest):
        async def send(self, conn: Any) -> ClientResponse:
            return await super().send(conn)

    class Response(ClientResponse):
        async def start(self, connection: Any) -> ClientResponse:
            return await super().start(connection)

    server = await peer(lambda _: reply(200, b"ok"))
    seen: list[str] = []
    client = session(request_class=Request, response_class=Response)
    for cls, name in ((Request, "send"), (Response, "start"), (ClientRequest, "send")):
        with replacing(cls, name, counting(seen, name)):
            async with client.get(server.url()) as response:
                assert await response.read() == b"ok"
        assert seen == [name]
        seen.clear()


async def test_replaced_methods_of_connectors_are_called(peer, session, replacing) -> None:
    server = await peer(lambda _: reply(200, b"ok"))
    client = session()
    seen: list[str] = []
    for name in ("connect", "_create_connection", "_create_direct_connection", "_resolve_host"):
        async with client.get(server.url(host="a.test")) as response:
            await response.read()
        with replacing(TCPConnector, name, counting(seen, name)):
            for new in (client, session()):
                async with new.get(server.url(host=f"{name.strip('_')}.test")) as response:
                    assert await response.read() == b"ok"
                    assert seen, name
                seen.clear()
                async with new.get(server.url(host=f"{name.strip('_')}.test")) as response:
                    assert await response.read() == b"ok"
                assert seen == (["connect"] if name == "connect" else [])
                seen.clear()
    async with client.get(server.url(host="b.test")) as response:
        await response.read()
    assert seen == []


async def test_a_replaced_init_sees_each_request(peer, session, replacing) -> None:
    server = await peer()
    seen: list[str] = []

    def wrap(original: Any) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            seen.append(self.method)
            self.update_headers({**self.headers, "X-Is-Ssl": str(self.is_ssl())})

        return method

    async with session() as client:
        await client.get(server.url())
        with replacing(ClientRequest, "__init__", wrap):
            for _ in range(2):
                await client.get(server.url())
            await client.post(server.url(), data=b"abc")
        await client.get(server.url())
    assert seen == ["GET", "GET", "POST"]
    assert [asked.headers.get("X-Is-Ssl") for asked in server.asked] == [
        None, "False", "False", "False", None,
    ]  # fmt: skip
    assert server.asked[3].body == b"abc"


async def test_requests_without_tls_where_is_ssl_says_so(peer, session, replacing) -> None:
    """As mock servers take https URLs to themselves."""
    server = await peer(lambda asked: reply(200, asked.headers["Host"]))

    async def here(self: Any, host: str, port: int, traces: Any = None) -> Any:
        return [{"hostname": host, "host": "127.0.0.1", "port": server.port,
                 "family": 2, "proto": 0, "flags": 0}]  # fmt: skip

    client = session()
    with (
        replacing(ClientRequest, "is_ssl", lambda _: lambda _self: False),
        replacing(TCPConnector, "_resolve_host", lambda _: here),
    ):
        for url in ("https://far.test/", "https://far.test:8443/", "http://near.test/"):
            async with client.get(url) as response:
                assert await response.text() == url.split("/")[2]
    assert ClientRequest("GET", URL("https://a.test/")).is_ssl()
    assert not ClientRequest._routed_by_class


def test_classes_may_be_abstract_too_and_have_types() -> None:
    class Request(ClientRequest, abc.ABC):
        """Derived from both."""

    class Response(ClientResponse, Generic[T]):
        """Derived from both."""

    assert issubclass(Request, ClientRequest)
    assert issubclass(Response[int].__origin__, ClientResponse)  # type: ignore[attr-defined]


# --- a connector of another kind ------------------------------------------------------------------


class Proxy(wrapt.ObjectProxy):  # type: ignore[misc]
    """As ddtrace wraps a session's connector."""

    asked: ClassVar[list[str]] = []

    async def connect(self, req: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(str(req.url.path))
        return await self.__wrapped__.connect(req, *args, **kwargs)


class Delegate:
    """It has what aiohttp asks a connector for, and nothing else."""

    allowed_protocol_schema_set = TCPConnector.allowed_protocol_schema_set
    asked = Proxy.asked
    force_close = False
    _timeout_ceil_threshold = 5.0

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._loop = inner._loop

    @property
    def closed(self) -> bool:
        return bool(self._inner.closed)

    def close(self) -> Any:
        return self._inner.close()

    connect = Proxy.connect

    @property
    def __wrapped__(self) -> Any:
        return self._inner


@pytest.mark.parametrize("kind", [Proxy, Delegate])
async def test_a_connector_put_on_a_session_is_asked_for_each_request(
    peer, session, kind: Any
) -> None:
    server = await peer(lambda asked: reply(200, asked.body))
    async with session() as client:
        await client.get(server.url("/before"))
        plain = client._connector
        Proxy.asked.clear()
        client._connector = kind(plain)
        for _ in range(2):
            async with client.get(server.url("/a")) as response:
                assert await response.read() == b""
        async with client.post(server.url("/b"), data=b"body") as response:
            assert await response.read() == b"body"
        assert Proxy.asked == ["/a", "/a", "/b"]
        assert plain.stats().opened == 1
        client._connector = plain
        await client.get(server.url("/after"))
        assert Proxy.asked == ["/a", "/a", "/b"]
        client._connector = kind(plain)
    assert plain.closed


# --- methods of requests that are overridden ------------------------------------------------------


class Signing(ClientRequest):
    """As programs order, sign and throttle what they send."""

    written: ClassVar[list[int | None]] = []

    def update_headers(self, headers: Any) -> None:
        super().update_headers(headers)
        self.headers["X-First"] = self.method
        self.headers.popall("User-Agent", None)

    def update_auth(self, auth: Any, trust_env: bool = False) -> None:
        if auth is None:
            self.headers["Authorization"] = "Signed"
        else:
            super().update_auth(auth, trust_env)

    def update_body_from_data(self, body: Any, _stacklevel: int = 3) -> None:
        super().update_body_from_data(body.upper() if isinstance(body, bytes) else body)
        if body is not None:
            self.headers["X-Length"] = self.headers.get("Content-Length", "none")

    async def write_bytes(self, writer: Any, conn: Any, content_length: Any = None) -> None:
        self.written.append(content_length)
        assert conn.transport is not None
        await super().write_bytes(writer, conn, content_length)


async def test_methods_that_build_a_request_are_called_where_they_are_overridden(
    peer, session
) -> None:
    server = await peer(lambda asked: reply(200, asked.body))

    async def changing(request: Any, handler: Any) -> Any:
        if request.url.path == "/changed":
            await request.update_body(b"other")
        return await handler(request)

    async with session(
        request_class=Signing, headers={"X-Own": "1"}, middlewares=(changing,)
    ) as client:
        Signing.written.clear()
        for path, options, body in (
            ("/none", {}, b""),
            ("/some", {"data": b"abc"}, b"ABC"),
            ("/pieces", {"data": pieces()}, b"abc"),
            ("/json", {"json": {"a": 1}}, b'{"a": 1}'),
            ("/changed", {"data": b"abc"}, b"OTHER"),
            ("/auth", {"auth": wherry.BasicAuth("a", "b"), "headers": {"X-Own": "2"}}, b""),
        ):
            async with client.post(server.url(path), **options) as response:
                assert await response.read() == body
    lengths = [3, None, 8, 5]
    assert Signing.written == lengths
    for asked in server.asked:
        assert asked.headers["X-First"] == "POST"
        assert "User-Agent" not in asked.headers
    assert [asked.headers["Authorization"] for asked in server.asked[:-1]] == ["Signed"] * 5
    assert server.asked[-1].headers["Authorization"] == wherry.BasicAuth("a", "b").encode()
    assert [asked.headers["X-Own"] for asked in server.asked] == ["1"] * 5 + ["2"]
    assert [asked.headers.get("X-Length") for asked in server.asked] == [
        None, "3", "none", "8", "5", None,
    ]  # fmt: skip


# --- errors of connectors and resolvers of a program's own ----------------------------------------


class Failing(wherry.abc.AbstractResolver):
    """As programs bound their look-ups, and refuse hosts."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> Any:
        raise self._error

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("timeout", [ClientTimeout(), ClientTimeout(connect=9, sock_connect=9)])
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), wherry.ConnectionTimeoutError),
        (TimeoutError("too slow"), wherry.ConnectionTimeoutError),
        (TimeoutError(110, "timed out"), wherry.ClientConnectorDNSError),
        (OSError(None, "no such name"), wherry.ClientConnectorDNSError),
        (ValueError("an inner address"), ValueError),
        (LookupError("not here"), LookupError),
        (UnicodeError("label too long"), wherry.ClientConnectorDNSError),
    ],
)
async def test_a_resolvers_errors_pass_through(
    error: Exception, kind: type[Exception], cached: bool, timeout: ClientTimeout
) -> None:
    connector = TCPConnector(resolver=Failing(error), use_dns_cache=cached)
    async with ClientSession(connector=connector, timeout=timeout) as client:
        for ask in (client.get, client.post, client.ws_connect):
            with pytest.raises(Exception) as caught:
                await ask("http://a.test/")
            assert type(caught.value) is kind


async def test_a_timeout_of_an_overridden_method_is_one_of_the_connection() -> None:
    class Late(TCPConnector):
        async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
            raise TimeoutError

    class Slow(TCPConnector):
        async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
            async with asyncio.timeout(0):
                await asyncio.sleep(5)

    class Direct(TCPConnector):
        async def _create_direct_connection(self, *args: Any, **kwargs: Any) -> Any:
            raise TimeoutError("own limit")

    class Stuck(TCPConnector):
        async def _resolve_host(self, *args: Any, **kwargs: Any) -> Any:
            raise TimeoutError("own limit")

    for cls in (Late, Slow, Direct, Stuck):
        async with ClientSession(connector=cls()) as client:
            for method in ("GET", "POST"):
                with pytest.raises(wherry.ConnectionTimeoutError, match=r"http://a\.test"):
                    await client.request(method, "http://a.test/?token=1")


# --- answers that nobody asked for ----------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n", b"?"])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("when", ["at once", "kept"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("body", [None, b"abc", pieces])
async def test_a_connection_that_was_answered_before_it_was_asked_is_not_used(
    answer: bytes, ends: bool, when: str, method: str, body: Any
) -> None:
    asked: list[bytes] = []
    early = asyncio.Event()
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        is_first = connections == 1
        with (
            contextlib.suppress(asyncio.IncompleteReadError, ConnectionError),
            contextlib.closing(writer),
        ):
            while True:
                if is_first and (when == "at once" or asked):
                    writer.write(answer)
                    early.set()
                    if ends:
                        return
                head = await reader.readuntil(b"\r\n\r\n")
                if b"chunked" in head:
                    head += await reader.readuntil(b"0\r\n\r\n")
                elif b"Content-Length: 3" in head:
                    head += await reader.readexactly(3)
                asked.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with ClientSession(timeout=ClientTimeout(total=10)) as client:
        if when == "kept":
            async with client.get(url) as response:
                assert await response.text() == "ok"
            await early.wait()
        data = body() if callable(body) else body
        async with client.request(method, url, data=data) as response:
            assert (response.status, await response.text()) == (200, "ok")
        assert client.connector is not None
        assert client.connector.stats().open == 1
    server.close()
    assert connections == 2
    assert len(asked) == (2 if when == "kept" else 1)
    if body is not None:
        assert b"abc" in asked[-1]


class OtherJar:
    """What aiohttp asks of a jar, and nothing else."""

    def __init__(self) -> None:
        self.kept: SimpleCookie = SimpleCookie()

    def update_cookies(self, cookies: Any, response_url: URL | None = None) -> None:
        for name, value in dict(cookies).items():
            self.kept[name] = value

    def filter_cookies(self, request_url: URL) -> SimpleCookie:
        return self.kept


async def test_a_jar_of_another_kind_keeps_the_cookies(peer, session) -> None:
    server = await peer(
        lambda _: reply(200, b"", [("Set-Cookie", "a=b; Path=/"), ("Set-Cookie", "c=d")])
    )
    jar = OtherJar()
    async with session(cookie_jar=jar, cookies={"x": "y"}) as client:
        assert client.cookie_jar is jar
        for _ in range(2):
            await client.get(server.url(), cookies={"own": "1"})
        await client.get(server.url())
    first, second, third = (set(asked.headers["Cookie"].split("; ")) for asked in server.asked)
    assert first == {"x=y", "own=1"}
    assert second == {"x=y", "a=b", "c=d", "own=1"}
    assert third == {"x=y", "a=b", "c=d"}


async def test_private_names_of_sessions_and_responses_are_there(session: Any, peer: Any) -> None:
    """Libraries for tests and caches look at these."""
    from wherry.compat.aiohttp.private_names import SESSION_NAMES

    client = session(headers={"X-A": "b"}, base_url="http://h.test/a/")
    for name, own in SESSION_NAMES.items():
        assert getattr(client, name) is getattr(client._defaults, own)
        setattr(client, name, getattr(client, name))
    client._response_class = wherry.ClientResponse
    assert client._build_url("b") == URL("http://h.test/a/b")
    assert client._prepare_headers({"X-C": "d"}) == CIMultiDict({"X-A": "b", "X-C": "d"})
    server = await peer(lambda _: reply(200, "x" * 4))
    response = await session().get(server.url("/"))
    assert not response._released
    await response.read()
    response.release()
    assert (response._closed, response._released) == (True, True)
    response._released = True
    response = wherry.ClientResponse("GET", URL("http://h.test/"))
    response._closed = True
    assert (response.closed, response._released) == (True, True)
