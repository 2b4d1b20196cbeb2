"""WebSockets against real servers: aiohttp.web, websockets and hypercorn, in the clear and over
TLS.
"""

from __future__ import annotations

import array
import asyncio
import gc
import json
import ssl
import warnings
import weakref
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import trustme
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from tests.servers.application import serving
from websockets.asyncio.server import ServerConnection, serve
from yarl import URL

import wherry
from wherry import ClientSession, TCPConnector, WSMsgType, WSServerHandshakeError
from wherry.protocol.websocket.messages import WSMessageTextBytes
from wherry.testing import LocalServer

SIZES = (0, 1, 125, 126, 4096, 65535, 65536, 300_000)


SEEN = web.AppKey("seen", list)
CODES = web.AppKey("codes", list)


async def echo(request: web.Request) -> web.StreamResponse:
    """Says it back; some words make it do other things."""
    if "Upgrade" not in request.headers:
        return web.Response(text="kept", headers={"Cache-Control": "max-age=60"})
    socket = web.WebSocketResponse(protocols=("chat", "superchat"), autoping=False)
    await socket.prepare(request)
    request.app[SEEN].append(request.headers.copy())
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            if message.data == "close":
                await socket.close(code=4001, message=b"bye")
            elif message.data == "ping":
                await socket.ping(b"are you there")
                pong = await socket.receive()
                await socket.send_str(f"{pong.type.name} {pong.data.decode()}")
            elif message.data == "drop":
                request.transport.abort()
            else:
                await socket.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.PING:
            await socket.pong(message.data)
    request.app[CODES].append(socket.close_code)
    return socket


async def redirect(request: web.Request) -> web.Response:
    to = request.query.get("to", "http://HOST/ws").replace("HOST", request.host)
    raise web.HTTPFound(to, headers={"Set-Cookie": "on_the_way=1"})


class Site:
    """aiohttp.web with an echo at /ws."""

    def __init__(self) -> None:
        self.headers: list[Any] = []
        self.codes: list[int] = []
        self.port = self.tls_port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def tls_url(self) -> str:
        return f"wss://127.0.0.1:{self.tls_port}/ws"


@pytest.fixture
async def site(server_tls: ssl.SSLContext) -> AsyncIterator[Site]:
    found = Site()
    app = web.Application()
    app[SEEN] = found.headers
    app[CODES] = found.codes
    app.router.add_get("/ws", echo)
    app.router.add_get("/redirect", redirect)
    async with serving(app, server_tls, shutdown_timeout=0.1) as ports:
        found.port, found.tls_port = ports
        yield found


async def say_back(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.fixture
async def websockets_url() -> AsyncIterator[str]:
    async with serve(say_back, "127.0.0.1", 0, max_size=None, subprotocols=["chat"]) as server:  # type: ignore[list-item]
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


@pytest.fixture(params=["aiohttp", "websockets", "hypercorn"])
def url(
    request: pytest.FixtureRequest, site: Site, websockets_url: str, wherry_server: LocalServer
) -> str:
    urls = {
        "aiohttp": site.url,
        "websockets": websockets_url,
        "hypercorn": wherry_server.url("/ws/echo", scheme="ws"),
    }
    return urls[request.param]


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as made:
        yield made


# --- every server ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [0, 15, 9])
async def test_messages_of_every_size_come_back(
    session: ClientSession, url: str, compress: int
) -> None:
    """S001-01"""
    async with session.ws_connect(url, protocols=("chat",), compress=compress) as socket:
        assert socket.protocol == "chat"
        for size in SIZES:
            data = bytes(index % 251 for index in range(size))
            await socket.send_bytes(data)
            assert await socket.receive_bytes(timeout=20) == data
            text = ("Grüße, " * size)[:size]
            await socket.send_str(text)
            assert await socket.receive_str(timeout=20) == text
        await socket.send_json({"a": [1, 2]})
        assert await socket.receive_json() == {"a": [1, 2]}
    assert socket.closed
    assert socket.close_code == 1000
    assert socket.exception() is None


async def test_many_messages_in_flight_keep_their_order(session: ClientSession, url: str) -> None:
    async with session.ws_connect(url, protocols=["chat"]) as socket:

        async def send() -> None:
            for number in range(500):
                await socket.send_str(f"{number} " * 50)

        sender = asyncio.create_task(send())
        for number in range(500):
            assert (await socket.receive_str()).startswith(f"{number} ")
        await sender


async def test_subprotocols_named_among_the_headers_are_offered_too(websockets_url: str) -> None:
    """As kubernetes_asyncio asks for its channels."""
    async with ClientSession(headers={"Sec-WebSocket-Protocol": "x, chat"}) as session:
        for own in ({}, {"sec-websocket-protocol": "chat"}):
            async with session.ws_connect(websockets_url, headers=own) as socket:
                assert socket.protocol == "chat"


async def test_the_transport_is_found_under_its_private_names(
    session: ClientSession, url: str
) -> None:
    socket: Any = await session._ws_connect(url, protocols=["chat"])
    assert socket._conn.transport.get_extra_info("peername")[0] == "127.0.0.1"
    assert socket._writer.transport is socket._conn.protocol.transport
    assert not socket._conn.closed
    assert socket._conn.protocol._payload is None
    await socket.close()
    assert socket._conn.closed


async def test_uvloop(wherry_server: LocalServer) -> None:
    def run() -> bytes:
        async def main() -> bytes:
            async with (
                ClientSession() as session,
                session.ws_connect(
                    wherry_server.url("/ws/echo", scheme="ws"), heartbeat=5
                ) as socket,
            ):
                await socket.send_bytes(b"x" * 100_000)
                return await socket.receive_bytes(timeout=20)

        return uvloop.run(main())

    assert len(await asyncio.to_thread(run)) == 100_000


# --- handshakes -----------------------------------------------------------------------------------


@pytest.fixture
async def lax_session() -> AsyncIterator[ClientSession]:
    """Keeps cookies of an address too."""
    async with ClientSession(cookie_jar=wherry.CookieJar(unsafe=True)) as made:
        yield made


@pytest.mark.filterwarnings("ignore:Inheritance class")
async def test_what_a_session_does_with_requests_it_does_with_the_handshake(site: Site) -> None:
    class Marking(ClientSession):
        def request(self, method: str, url: Any, **kwargs: Any) -> Any:
            kwargs["headers"] = {**(kwargs.get("headers") or {}), "X-Outer": "1"}
            return super().request(method, url, **kwargs)

        async def _request(self, method: str, str_or_url: Any, **kwargs: Any) -> Any:
            kwargs["headers"] = {**kwargs["headers"], "X-Inner": "1"}
            return await super()._request(method, str_or_url, **kwargs)

    async with Marking() as session, session.ws_connect(site.url) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    [headers] = site.headers
    assert (headers["X-Outer"], headers["X-Inner"]) == ("1", "1")


async def test_the_handshake_carries_what_was_asked(lax_session: ClientSession, site: Site) -> None:
    """S001-04: cookies are shared with handshakes."""
    session = lax_session
    session.cookie_jar.update_cookies({"crumb": "1"}, URL(site.url).with_scheme("http"))
    async with session.ws_connect(
        site.url,
        protocols=["x", "superchat"],
        origin="http://example.org",
        headers={"X-Mine": "yes"},
        params={"q": "1"},
        auth=wherry.BasicAuth("user", "pass"),
    ) as socket:
        assert socket.protocol == "superchat"
        assert socket.get_extra_info("peername") == ("127.0.0.1", site.port)
        assert socket.get_extra_info("nothing", 5) == 5
    assert socket.get_extra_info("peername", 5) == 5
    [headers] = site.headers
    assert headers["Cookie"] == "crumb=1"
    assert headers["Origin"] == "http://example.org"
    assert headers["X-Mine"] == "yes"
    assert headers["Authorization"].startswith("Basic ")
    assert headers["Sec-WebSocket-Version"] == "13"
    assert headers["Connection"] == "Upgrade"
    assert headers["Upgrade"] == "websocket"
    assert "Sec-WebSocket-Extensions" not in headers


async def test_a_redirect_of_the_handshake_is_followed_and_its_cookies_kept(
    lax_session: ClientSession, site: Site
) -> None:
    """S001-04"""
    async with lax_session.ws_connect(f"http://127.0.0.1:{site.port}/redirect") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    assert site.headers[0]["Cookie"] == "on_the_way=1"


@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize(
    "to", ["/ws", "ws://HOST/ws", "WS://HOST/ws", "//HOST/ws", "http://HOST/ws"]
)
async def test_a_redirect_may_say_ws_and_be_relative(
    session: ClientSession, site: Site, scheme: str, to: str
) -> None:
    url = URL(f"{scheme}://127.0.0.1:{site.port}/redirect").with_query(to=to)
    async with session.ws_connect(url, headers={"Authorization": "Bearer mine"}) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    assert socket._response.url == URL(f"{scheme}://127.0.0.1:{site.port}/ws")
    assert site.headers[0]["Authorization"] == "Bearer mine"


async def test_a_redirect_to_another_server_takes_no_secret_along(
    site: Site, client_tls: ssl.SSLContext
) -> None:
    connector = TCPConnector(ssl=client_tls)
    async with ClientSession(connector=connector) as session:
        url = URL(f"http://127.0.0.1:{site.port}/redirect").with_query(to=site.tls_url)
        headers = {"Authorization": "Bearer mine", "Cookie": "a=b"}
        async with session.ws_connect(url, headers=headers) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
    assert "Authorization" not in site.headers[0]
    assert "Cookie" not in site.headers[0]


async def test_middlewares_and_traces_see_the_handshake(site: Site) -> None:
    seen = []

    async def middleware(request: wherry.ClientRequest, handler: Any) -> wherry.ClientResponse:
        request.headers["X-Token"] = "t"
        response: wherry.ClientResponse = await handler(request)
        seen.append(response.status)
        return response

    async def on_end(*args: Any) -> None:
        seen.append(str(args[2].url))

    trace = wherry.TraceConfig()
    trace.on_request_end.append(on_end)
    async with (
        ClientSession(middlewares=[middleware], trace_configs=[trace]) as session,
        session.ws_connect(site.url) as socket,
    ):
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    assert seen == [101, site.url]
    assert site.headers[0]["X-Token"] == "t"


async def test_a_handshake_tells_listeners_and_middlewares_that_it_is_one(site: Site) -> None:
    """As aiohttp's does; a cache, for one, leaves it alone."""
    seen: list[tuple[str | None, str | None]] = []

    async def listen(session: Any, context: Any, params: Any) -> None:
        seen.append((params.headers.get("Connection"), params.headers.get("Upgrade")))

    async def look(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        seen.append((request.headers.get("Connection"), request.headers.get("Upgrade")))
        return await handler(request)

    config = wherry.TraceConfig()
    config.on_request_start.append(listen)
    config.on_request_headers_sent.append(listen)
    async with (
        wherry.CacheMiddleware() as cache,
        ClientSession(trace_configs=[config], middlewares=(look, cache)) as session,
    ):
        async with session.get(site.url.replace("ws:", "http:")) as response:
            assert await response.text() == "kept"
        seen.clear()
        for url in (site.url.replace("ws:", "http:"), site.url):
            async with session.ws_connect(url) as socket:
                await socket.send_str("x")
                assert await socket.receive_str() == "x"
                assert socket._response.request_info.headers["Upgrade"] == "websocket"
    assert seen == [("Upgrade", "websocket")] * 6


async def test_a_refused_handshake_says_why(session: ClientSession, site: Site) -> None:
    with pytest.raises(WSServerHandshakeError) as caught:
        await session.ws_connect(site.url + "/nothing", headers=CIMultiDict({"X": "y"}))
    error = caught.value
    assert error.status == 404
    assert error.message == "Invalid response status"
    assert error.headers is not None
    assert "Content-Type" in error.headers
    assert error.request_info.headers["X"] == "y"


async def test_a_request_override_of_tls_holds_for_websockets(
    site: Site, client_tls: ssl.SSLContext, ca: trustme.CA
) -> None:
    """S001-116"""
    async with ClientSession(connector=TCPConnector(ssl=ssl.create_default_context())) as session:
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await session.ws_connect(site.tls_url)
        for override in (client_tls, False):
            async with session.ws_connect(site.tls_url, ssl=override) as socket:
                await socket.send_bytes(b"x" * 100_000)
                assert len(await socket.receive_bytes(timeout=20)) == 100_000
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await session.ws_connect(site.tls_url, ssl=client_tls, server_hostname="other.example")


async def test_http2_carries_websockets(wherry_tls_server: LocalServer) -> None:
    """RFC 8441"""
    connector = TCPConnector(ssl=wherry_tls_server.client_context, protocols=("h2", "http/1.1"))
    async with ClientSession(connector=connector) as session:
        async with session.get(wherry_tls_server.url("/get")) as response:
            assert response.version == (2, 0)
        async with session.ws_connect(
            wherry_tls_server.url("/ws/echo"), protocols=("chat",)
        ) as socket:
            assert socket.protocol == "chat"
            for data in (b"x", b"x" * 200_000):
                await socket.send_bytes(data)
                assert await socket.receive_bytes(timeout=20) == data
        assert socket.close_code == 1000


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"compress": 8}, ValueError),
        ({"compress": 16}, ValueError),
        ({"max_msg_size": -1}, ValueError),
        ({"headers": {"X": "a\r\nb"}}, ValueError),
        ({"ssl": "yes"}, TypeError),
    ],
)
async def test_arguments_that_cannot_be_sent(
    session: ClientSession, options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await session.ws_connect("ws://127.0.0.1:9/", **options)


async def test_old_timeout_arguments_are_deprecated(session: ClientSession, site: Site) -> None:
    with pytest.warns(DeprecationWarning, match="timeout"):
        socket = await session.ws_connect(site.url, timeout=5.0, receive_timeout=0.01)
    with pytest.raises(TimeoutError):
        await socket.receive()
    await socket.close()


async def test_a_closed_session_opens_nothing(site: Site) -> None:
    session = ClientSession()
    await session.close()
    with pytest.raises(RuntimeError, match="closed"):
        await session.ws_connect(site.url)


# --- receiving ------------------------------------------------------------------------------------


async def test_waiting_twice_at_once_is_an_error_that_says_so(
    session: ClientSession, site: Site
) -> None:
    async with session.ws_connect(site.url) as socket:
        waiting = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="Concurrent"):
            await socket.receive()
        await socket.send_str("for the first")
        assert (await waiting).data == "for the first"


async def test_a_timeout_and_a_cancellation_lose_nothing(
    session: ClientSession, site: Site
) -> None:
    timeout = wherry.ClientWSTimeout(ws_receive=0.02, ws_close=5)
    async with session.ws_connect(site.url, timeout=timeout) as socket:
        with pytest.raises(TimeoutError):
            await socket.receive()
        waiting = asyncio.create_task(socket.receive(5))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await socket.send_str("still here")
        assert await socket.receive_str(timeout=20) == "still here"
        assert socket.close_code is None


async def test_the_wrong_type_is_an_error(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url) as socket:
        await socket.send_str("text")
        with pytest.raises(wherry.WSMessageTypeError, match="BINARY"):
            await socket.receive_bytes()
        await socket.send_bytes(b"bytes")
        with pytest.raises(wherry.WSMessageTypeError, match="TEXT"):
            await socket.receive_str()


async def test_text_is_bytes_if_it_is_not_to_be_decoded(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url, decode_text=False) as socket:
        await socket.send_str('{"a": "ü"}')
        message = await socket.receive()
        assert isinstance(message, WSMessageTextBytes)
        assert message.data == '{"a": "ü"}'.encode()
        assert message.json() == {"a": "ü"}
        await socket.send_str("[1]")
        assert await socket.receive_json(loads=json.loads) == [1]


async def test_pings_are_answered_while_nobody_receives(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url) as socket:
        await socket.send_str("ping")
        assert await socket.receive_str() == "PONG are you there"
        await socket.ping(b"mine")  # its pong is not shown
        await socket.send_str("after")
        assert await socket.receive_str() == "after"


async def test_without_autoping_a_program_sees_pings_and_pongs(
    session: ClientSession, site: Site
) -> None:
    async with session.ws_connect(site.url, autoping=False) as socket:
        await socket.send_str("ping")
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.PING, b"are you there")
        await socket.pong(message.data)
        assert await socket.receive_str() == "PONG are you there"
        await socket.ping(b"mine")
        assert (await socket.receive()).type is WSMsgType.PONG


# --- sending --------------------------------------------------------------------------------------


async def test_what_cannot_be_sent_is_refused(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url) as socket:
        with pytest.raises(TypeError, match="str"):
            await socket.send_str(b"bytes")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="bytes"):
            await socket.send_bytes("text")  # type: ignore[arg-type]
        with pytest.raises(UnicodeEncodeError):
            await socket.send_str("\ud800")
        with pytest.raises(ValueError, match="125"):
            await socket.ping(b"x" * 126)
        with pytest.raises(ValueError, match="1005"):
            await socket.close(code=1005)
        with pytest.raises(ValueError, match="123"):
            await socket.close(message=b"x" * 124)
        await socket.send_bytes(memoryview(b"fine"))
        assert await socket.receive_bytes() == b"fine"
        await socket.send_json_bytes([1], dumps=lambda value: json.dumps(value).encode())
        assert await socket.receive_bytes() == b"[1]"
        await socket.send_frame(b"raw", WSMsgType.BINARY)
        assert await socket.receive_bytes() == b"raw"


async def test_a_message_can_be_left_uncompressed(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url, compress=15) as socket:
        assert socket.compress == 15
        for compress in (None, 0, 15):
            await socket.send_str("hello " * 100, compress=compress)
            assert await socket.receive_str() == "hello " * 100


# --- the end --------------------------------------------------------------------------------------


async def test_the_server_closes(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url) as socket:
        await socket.send_str("close")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4001, "bye")
        assert socket.closed
        assert socket.close_code == 4001
        assert (await socket.receive()).type is WSMsgType.CLOSED
        assert await socket.close() is False
        with pytest.raises(wherry.ClientConnectionResetError):
            await socket.send_str("too late")


async def test_without_autoclose_the_program_answers_the_close_frame(
    session: ClientSession, site: Site
) -> None:
    async with session.ws_connect(site.url, autoclose=False) as socket:
        await socket.send_str("close")
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert not socket.closed
        assert (await socket.receive()).type is WSMsgType.CLOSED
        assert socket.closed


async def test_iteration_ends_with_the_websocket(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url) as socket:
        for text in ("one", "two", "close"):
            await socket.send_str(text)
        assert [message.data async for message in socket] == ["one", "two"]


async def test_closing_wakes_who_receives(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url) as socket:
        waiting = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        assert await socket.close(code=4000, message="done") is True
        assert (await waiting).type is WSMsgType.CLOSING
    assert site.codes == [4000]


async def test_a_lost_connection_is_no_clean_close(session: ClientSession, site: Site) -> None:
    async with session.ws_connect(site.url) as socket:
        await socket.send_str("one")
        assert await socket.receive_str() == "one"
        await socket.send_str("drop")
        assert (await socket.receive()).type is WSMsgType.CLOSED
        assert socket.close_code == 1006
        assert socket.closed
        assert isinstance(socket.exception(), ConnectionError)
        with pytest.raises(wherry.ClientConnectionResetError):
            await socket.send_str("x")


async def test_closing_the_session_closes_what_is_open(site: Site) -> None:
    session = ClientSession()
    idle = await session.ws_connect(site.url)
    busy = await session.ws_connect(site.url)
    waiting = asyncio.create_task(busy.receive())
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await session.close()
    assert idle.closed
    assert site.codes == [1001, 1001]
    assert (await waiting).type is WSMsgType.CLOSING
    with pytest.raises(wherry.ClientConnectionResetError):
        await idle.send_str("x")


async def test_a_ping_of_items_of_several_bytes_carries_all_of_them(
    session: ClientSession, site: Site
) -> None:
    async with session.ws_connect(site.url, autoping=False) as socket:
        await socket.ping(memoryview(array.array("I", [1, 2, 3])))
        assert (await socket.receive(timeout=20)).data == array.array("I", [1, 2, 3]).tobytes()


async def test_the_session_and_the_program_may_close_at_once(site: Site) -> None:
    """Both wait for the peer's Close frame, and both hear of it."""
    session = ClientSession()
    opened = asyncio.Event()

    async def listen() -> None:
        async with session.ws_connect(
            site.url, timeout=wherry.ClientWSTimeout(ws_close=None)
        ) as socket:
            opened.set()
            assert (await socket.receive()).type is WSMsgType.CLOSING

    listening = asyncio.create_task(listen())
    await opened.wait()
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await session.close()
        await listening


async def test_a_websocket_that_is_forgotten_warns_and_lets_go(
    session: ClientSession, site: Site
) -> None:
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    socket: Any = await session.ws_connect(site.url)
    channel = socket._channel
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del socket
        gc.collect()
    assert [
        str(warning.message)[:18] for warning in caught if warning.category is ResourceWarning
    ] == ["Unclosed WebSocket"]
    assert told == ["Unclosed WebSocket"]
    async with asyncio.timeout(20):
        while not channel.lost:
            await asyncio.sleep(0)
    assert not session._websockets


async def test_the_place_in_the_pool_is_given_back(site: Site) -> None:
    async with ClientSession(connector=TCPConnector(limit=1)) as session:
        for _ in range(3):
            async with asyncio.timeout(20), session.ws_connect(site.url) as socket:
                await socket.send_str("x")
                assert await socket.receive_str() == "x"


@pytest.mark.parametrize(("heartbeat", "compress"), [(None, 0), (5.0, 0), (None, 15)])
async def test_a_closed_websocket_is_freed_without_the_collector(
    session: ClientSession, site: Site, heartbeat: float | None, compress: int
) -> None:
    socket: Any = await session.ws_connect(site.url, heartbeat=heartbeat, compress=compress)
    await socket.send_str("x")
    assert await socket.receive_str() == "x"
    channel = weakref.ref(socket._channel)
    response = weakref.ref(socket)
    gc.collect()
    gc.disable()
    try:
        await socket.close()
        while not socket._channel.lost:
            await asyncio.sleep(0)
        del socket
        await asyncio.sleep(0)
        assert response() is None
        assert channel() is None
    finally:
        gc.enable()


async def test_a_subclass_takes_the_place_of_the_response(site: Site) -> None:
    class Mine(wherry.ClientWebSocketResponse):
        pass

    async with (
        ClientSession(ws_response_class=Mine) as session,
        session.ws_connect(site.url) as socket,
    ):
        assert type(socket) is Mine


async def test_the_session_timeout_is_for_the_handshake_alone(site: Site) -> None:
    async with (
        ClientSession(timeout=wherry.ClientTimeout(total=1, sock_read=1)) as session,
        session.ws_connect(site.url) as socket,
    ):
        with pytest.raises(TimeoutError):
            await socket.receive(1.2)
        await socket.send_str("x")
        assert await socket.receive_str(timeout=20) == "x"


async def test_whoever_receives_hears_first_that_another_closes() -> None:
    """A program whose receiver closes as well does not end before the one who closed."""
    told: list[str] = []

    async def echo(websocket: Any) -> None:
        async for message in websocket:
            await websocket.send(message)

    async with (
        serve(echo, "127.0.0.1", 0) as server,
        wherry.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/") as ws,
    ):

        async def receive() -> None:
            message = await ws.receive()
            told.append(message.type.name)
            told.append(f"receiver {await ws.close(code=4001)}")
            assert (await ws.receive()).type is wherry.WSMsgType.CLOSED

        receiving = asyncio.create_task(receive())
        while ws._channel.waiter is None:
            await asyncio.sleep(0)
        told.append(f"closer {await ws.close(code=4000)}")
        await receiving
        assert ws.closed
        assert ws.close_code == 4001
    assert told == ["CLOSING", "closer False", "receiver True"]


async def test_a_receiver_that_is_cancelled_holds_no_close_up() -> None:
    async def echo(websocket: Any) -> None:
        async for message in websocket:
            await websocket.send(message)

    async with (
        serve(echo, "127.0.0.1", 0) as server,
        wherry.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/") as ws,
    ):
        receiving = asyncio.create_task(ws.receive())
        while ws._channel.waiter is None:
            await asyncio.sleep(0)
        closing = asyncio.create_task(ws.close())
        await asyncio.sleep(0)
        receiving.cancel()
        assert await closing
        await asyncio.wait([receiving])
        assert await ws.receive() == (wherry.WSMsgType.CLOSED, None, None)
