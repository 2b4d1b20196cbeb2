"""Mistakes of the first hour: the message names the mistake and the mend."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import re
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.raw import RawServer, read_request, response

import wherry
import wherry.sync
from wherry.client.call_mistakes import body_beginning, unknown_keyword
from wherry.client.options import _RequestOptions
from wherry.rest import RestClient
from wherry.rest import client as rest_client
from wherry.rest.call_mistakes import NOT_QUERIES

Start = Callable[..., Awaitable[RawServer]]
SOURCE = Path(wherry.__file__).parents[1]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(response(b"ok"))


# What was said, and what the message must say.
REQUESTS: list[tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = [
    ({"timeuot": 5}, TypeError, ("'timeuot'", "timeout=")),
    ({"verify": False}, TypeError, ("'verify'", "ssl=False")),
    ({"cert": "a"}, TypeError, ("'cert'", "ssl=", "load_cert_chain")),
    ({"content": b"x"}, TypeError, ("'content'", "data=")),
    ({"body": b"x"}, TypeError, ("'body'", "data=")),
    ({"proxies": {}}, TypeError, ("'proxies'", "proxy=")),
    ({"follow_redirects": True}, TypeError, ("'follow_redirects'", "allow_redirects=")),
    ({"stream": True}, TypeError, ("'stream'", "response.content")),
    ({"trust_env": True}, TypeError, ("'trust_env'", "ClientSession")),
    ({"quite_unknown": True}, TypeError, ("a request has no argument 'quite_unknown'",)),
    ({"auth": ("a", "b")}, TypeError, ("auth=BasicAuth(login, password)", "function")),
    (
        {"middlewares": [wherry.RetryMiddleware]},
        TypeError,
        ("RetryMiddleware is a class", "RetryMiddleware()"),
    ),
    (
        {"middlewares": wherry.RetryMiddleware()},
        TypeError,
        ("middlewares=[...]", "RetryMiddleware"),
    ),
    ({"middlewares": ["retry"]}, TypeError, ("(request, handler)", "str")),
    ({"headers": "X: y"}, TypeError, ("headers=", "mapping", "str")),
    ({"cookies": "a=b"}, TypeError, ("cookies=", "mapping", "str")),
    ({"timeout": (3, 5)}, ValueError, ("ClientTimeout(sock_connect=3, sock_read=5)",)),
    ({"timeout": "5"}, ValueError, ("ClientTimeout(...)",)),
    ({"params": {"b": 1, "a": None}}, TypeError, ("'a'", "not None", "leave it out")),
    ({"params": {"a": True}}, TypeError, ("'a'", "not True", "str")),
    ({"params": {"a": [1, {}]}}, TypeError, ("'a'", "not dict")),
    ({"params": [("b", "x"), ("a", None)]}, TypeError, ("'a'", "not None")),
    ({"retries": 3}, TypeError, ("'retries'", "an argument of ClientSession")),
    ({"form": {"a": "b"}}, TypeError, ("'form'", "data=")),
    ({"resolver": {}}, TypeError, ("TCPConnector(resolver=", "ClientSession")),
    ({"rate_limit": 3}, TypeError, ("RateLimitMiddleware", "ClientSession")),
    ({"raise_for_status": lambda _: None}, TypeError, ("raise_for_status=", "async def")),
    ({"headers": {"X": None}}, TypeError, ("field X", "leave the field out")),
    ({"headers": {"Authorization": "Bearer t\n"}}, ValueError, ("Authorization", "by strip()")),
    ({"ssl": "/etc/ca.pem"}, TypeError, ("create_default_context(cafile=...)",)),
    ({"proxy": "127.0.0.1:8080"}, wherry.InvalidURL, ("'127.0.0.1'", "say http://HOST:PORT")),
    ({"data": [{"a": 1}]}, TypeError, ("json= sends it as JSON",)),
    ({"data": 5}, TypeError, ("json= sends it as JSON",)),
    ({"data": object()}, TypeError, ("bytes, a str, a file or a mapping",)),
    ({"data": Path("a")}, TypeError, ('data=open(path, "rb")',)),
    ({"data": iter([b"a"])}, TypeError, ("an async generator",)),
]


def named(value: object) -> str:
    """A value as a test's name has it, without the addresses of objects: each process has its own."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:40]


@pytest.mark.parametrize(("options", "kind", "words"), REQUESTS, ids=named)
async def test_requests(
    raw_server: Start,
    tmp_path: Path,
    options: dict[str, Any],
    kind: type[Exception],
    words: tuple[str, ...],
) -> None:
    server = await raw_server(answer)
    async with wherry.ClientSession() as session:
        with pytest.raises(kind) as caught:
            await session.get(server.url, **options)
        for word in words:
            assert word in str(caught.value)
        with pytest.raises(kind) as again:
            async with wherry.request("POST", server.url, **options):
                pass
        assert str(again.value) == str(caught.value)
        if options.keys() <= _RequestOptions.__annotations__.keys():
            return
        with pytest.raises(TypeError, match=re.escape(words[0])):
            await session.download(server.url, tmp_path / "file", **options)
        with pytest.raises(TypeError, match=re.escape(words[0])):
            await anext(session.events(server.url, **options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ping_interval": 5}, ("ws_connect has no argument 'ping_interval'", "heartbeat=")),
        ({"subprotocols": ["a"]}, ("protocols=",)),
        ({"max_size": 5}, ("max_msg_size=",)),
        ({"heartbaet": 5}, ("heartbeat=",)),
    ],
)
async def test_websockets(raw_server: Start, options: dict[str, Any], words: Any) -> None:
    server = await raw_server(answer)
    async with wherry.ClientSession() as session:
        with pytest.raises(TypeError) as caught:
            await session.ws_connect(server.url, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"verify": False}, ("ClientSession has no argument 'verify'", "ssl=")),
        ({"proxies": {}}, ("proxy=",)),
        ({"limits": 5}, ("TCPConnector(limit=",)),
        ({"http2": True}, ("protocols=",)),
        ({"event_hooks": {}}, ("middlewares=",)),
        ({"timeuot": 5}, ("timeout=",)),
        ({"follow_redirects": True}, ("allow_redirects= of a request",)),
        ({"max_redirects": 3}, ("max_redirects= is an argument of a request",)),
        ({"data": b""}, ("data= is an argument of a request",)),
        ({"ssl": False}, ("connector=TCPConnector(ssl=", "of a request")),
        ({"resolver": {}}, ("connector=TCPConnector(resolver=",)),
        ({"rate_limit": 3}, ("RateLimitMiddleware",)),
        ({"cookie_jar": "cookies.json"}, ("takes a CookieJar, not str", "CookieJar.load(path)")),
        ({"cookie_jar": {"a": "b"}}, ("not dict", "cookies=")),
        ({"headers": "X: y"}, ("headers=", "mapping", "str")),
        ({"headers": 5}, ("headers=", "mapping", "int")),
        ({"cookies": b"a=b"}, ("cookies=", "mapping", "bytes")),
        ({"middlewares": [wherry.RetryMiddleware]}, ("is a class", "RetryMiddleware()")),
        ({"auth": ("a", "b")}, ("auth=BasicAuth(login, password)",)),
        ({"connector": "http://p.test"}, ("connector=", "not str", "proxy=")),
        ({"connector": wherry.TCPConnector}, ("say connector=TCPConnector()",)),
        ({"trace_configs": wherry.TraceConfig()}, ("trace_configs=", "[TraceConfig()]")),
        ({"trace_configs": [wherry.TraceConfig]}, ("trace_configs=", "[TraceConfig()]")),
    ],
)
async def test_sessions(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(TypeError) as caught:
        wherry.ClientSession(**options)
    for word in words:
        assert word in str(caught.value)


async def test_every_argument_of_a_request_is_named_as_one_at_a_session() -> None:
    sessions = inspect.signature(wherry.ClientSession.__init__).parameters
    for name in _RequestOptions.__annotations__.keys() - sessions.keys():
        with pytest.raises(TypeError, match="of a request"):
            wherry.ClientSession(**{name: 1})


@pytest.mark.parametrize(
    "name",
    ["auth", "connector", "cookie_jar", "headers", "raise_for_status", "timeout"],
)
async def test_what_a_session_was_told_is_not_set_later(name: str) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(AttributeError, match=rf"say ClientSession\({name}=\.\.\.\)"):
            setattr(session, name, None)


async def test_a_base_url_without_its_scheme() -> None:
    with pytest.raises(ValueError, match="base_url begins with https:// or http://"):
        wherry.ClientSession("a.test")


async def test_a_method_in_place_of_a_url() -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.InvalidURL, match=r"say request\(method, url\)"):
            await session.request("http://a.test/", "GET")


async def test_the_encoding_of_a_text_is_said_where_it_is_read(raw_server: Start) -> None:
    server = await raw_server(answer)
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        with pytest.raises(AttributeError, match=r"say text\(encoding=\.\.\.\)"):
            reply.encoding = "latin-1"  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match=r"has get_encoding\(\)"):
            _ = reply.encoding  # type: ignore[attr-defined]
        with pytest.raises(wherry.ContentTypeError) as caught:
            await reply.json()
        assert any("content_type=None" in note for note in caught.value.__notes__)


async def test_await_and_async_with_in_a_script(raw_server: Start) -> None:
    server = await raw_server(answer)
    reply = await asyncio.to_thread(wherry.sync.get, server.url)
    with pytest.raises(TypeError, match="leave out `await`"):
        await reply  # type: ignore[misc]
    with pytest.raises(TypeError, match="use `with`"):
        async with reply:  # type: ignore[attr-defined]
            pass
    with wherry.sync.Session() as session, pytest.raises(TypeError, match="use `with`"):
        async with session:  # type: ignore[attr-defined]
            pass
    with pytest.raises(TypeError, match="connector=lambda: wherry"):
        wherry.sync.Session(connector=object())  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match=r"has content\.iter_chunked"):
        reply.iter_content()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"`for line in response\.content`"):
        reply.iter_lines()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"say text\(encoding=\.\.\.\)"):
        reply.encoding = "latin-1"  # type: ignore[attr-defined]


async def test_a_number_of_seconds_for_a_session() -> None:
    with pytest.raises(ValueError, match=r"timeout=ClientTimeout\(total=5\)"):
        wherry.ClientSession(timeout=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "options", "words"),
    [
        (wherry.TCPConnector, {"http2": True}, ('protocols=("h2", "http/1.1")',)),
        (wherry.TCPConnector, {"resolver": {"a": "b"}}, ("not dict", "wherry.ThreadedResolver")),
        (wherry.ClientTimeout, {"read": 5}, ("no argument 'read'", "sock_read=")),
        (wherry.ClientTimeout, {"pool": 5}, ("connect=",)),
        (wherry.ClientTimeout, {"totl": 5}, ("did you mean total=?",)),
        (wherry.ClientTimeout, {"x": 5}, ("sock_connect, sock_read, total",)),
        (RestClient, {"config": "http://a.test"}, ("RestClient(base_url=...)",)),
        (RestClient, {"token": "t"}, ("auth=wherry.BearerToken(...)",)),
        (RestClient, {"verify": False}, ("verify_ssl=",)),
        (RestClient, {"rate_limit": 3}, ("requests_per_second=",)),
        (RestClient, {"retrise": 3}, ("did you mean retries=?",)),
        (RestClient, {"x": 3}, ("RestClient has no argument 'x': it takes auth, base_url",)),
    ],
)
async def test_what_else_is_made(made: Any, options: dict[str, Any], words: Any) -> None:
    with pytest.raises(TypeError) as caught:
        made(**options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", sorted(NOT_QUERIES))
async def test_what_is_meant_for_a_request_does_not_get_into_the_url(
    raw_server: Start, name: str
) -> None:
    server = await raw_server(answer)
    async with RestClient(base_url=server.url) as api:
        for verb in (api.get, api.post):
            with pytest.raises(TypeError) as caught:
                await verb("/a", **{name: "secret"})  # type: ignore[call-overload]
            assert f"no argument {name!r}: say " in str(caught.value)
            assert f"query_param={{{name!r}: ...}}" in str(caught.value)
            assert "secret" not in str(caught.value)
        with pytest.raises(TypeError, match=name):
            await anext(api.pages("/a", **{name: "secret"}))  # type: ignore[call-overload]
        assert not server.received
        await api.get("/a", query_param={name: "x"}, q=1)
    assert f"GET /a?{name}=x&q=1 ".encode() in bytes(server.received[0])


def test_what_verbs_refuse_has_a_hint() -> None:
    assert set(NOT_QUERIES) == rest_client._NOT_QUERIES


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("", wherry.InvalidURL, ("the URL is empty",)),
        ("example.com", wherry.InvalidURL, ("no scheme", "https://example.com")),
        ("/users", wherry.InvalidURL, ("relative", "base_url")),
        (None, TypeError, ("str or a yarl.URL", "NoneType")),
        (b"http://a.test/", TypeError, ("str or a yarl.URL", "bytes")),
    ],
)
async def test_urls(url: Any, kind: type[Exception], words: tuple[str, ...]) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(kind) as caught:
            await session.get(url)
    for word in words:
        assert word in str(caught.value)


async def test_what_must_be_entered_with_async_with(raw_server: Start) -> None:
    server = await raw_server(answer)
    async with wherry.ClientSession() as session:
        with (
            pytest.raises(TypeError, match="use `async with` for a request"),
            session.get(server.url),
        ):
            pass
        with (
            pytest.raises(TypeError, match="use `async with` for a WebSocket"),
            session.ws_connect(server.url),
        ):
            pass
        with pytest.raises(TypeError, match=r"async with ClientSession\(\) as session"), session:
            pass
        websocket = session.ws_connect(server.url)
        with pytest.raises(AttributeError, match="it becomes a WebSocket by"):
            _ = websocket.send_str
        websocket.close()
    with pytest.raises(TypeError, match=r"use `async with wherry\.request"):
        await wherry.request("GET", server.url)
    with (
        pytest.raises(TypeError, match=r"use `async with wherry\.request"),
        wherry.request("GET", server.url),
    ):
        pass
    with pytest.raises(RuntimeError, match="inside its `async with`"):
        await session.get(server.url)


async def test_a_body_that_is_read_too_late(raw_server: Start) -> None:
    server = await raw_server(answer)
    async with wherry.ClientSession() as session:
        async with session.get(server.url) as late:
            pass
        for read in (late.read, late.text, late.json, late.content.read):
            with pytest.raises(wherry.ClientConnectionError, match="before its body was read"):
                await read()


def test_no_loop_and_another_loop() -> None:
    with pytest.raises(
        RuntimeError, match=r"ClientSession inside a coroutine.*asyncio\.run.*wherry\.sync"
    ):
        wherry.ClientSession()

    async def make() -> wherry.ClientSession:
        return wherry.ClientSession()

    async def use(session: wherry.ClientSession) -> None:
        with pytest.raises(wherry.ClientConnectionError, match="another event loop"):
            await session.get("http://127.0.0.1:9/")

    first = asyncio.new_event_loop()
    try:
        session = first.run_until_complete(make())
        asyncio.run(use(session))
        first.run_until_complete(session.close())
    finally:
        first.close()


# --- names that other clients have ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("get", "wherry.sync.get(url)"),
        ("post", "session.post(url)"),
        ("Session", "wherry.sync.Session"),
        ("AsyncClient", "wherry.ClientSession"),
        ("Timeout", "wherry.ClientTimeout"),
        ("HTTPStatusError", "wherry.ClientResponseError"),
    ],
)
def test_names_of_the_package(name: str, word: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(wherry, name)
    assert name in str(caught.value)
    assert word in str(caught.value)


async def test_attributes_of_responses_and_sessions(raw_server: Start) -> None:
    server = await raw_server(answer)
    async with wherry.ClientSession() as session:
        async with session.get(server.url) as reply:
            for name, word in {
                "status_code": "status",
                "iter_content": "content.iter_chunked(size)",
                "iter_lines": "async for",
                "reason_phrase": "reason",
            }.items():
                with pytest.raises(AttributeError) as caught:
                    getattr(reply, name)
                assert f"{name!r}: a response of wherry has " in str(caught.value)
                assert word in str(caught.value)
            assert not hasattr(reply, "quite_unknown")
            assert getattr(reply, "_quite_unknown", 5) == 5
        for name, word in {"send": "request(", "mount": "connector=", "stream": "get(url)"}.items():
            with pytest.raises(AttributeError) as caught:
                getattr(session, name)
            assert word in str(caught.value)


NOT_TO_SET = {
    "base_url": "Session(base_url=...)",
    "middlewares": "Session(middlewares=...)",
    "proxy": "Session(proxy=...)",
    "retries": "Session(retries=...)",
    "proxies": "proxy=",
    "verify": "TCPConnector(ssl=False)",
    "cert": "load_cert_chain",
    "params": "params=",
    "cookies": "cookies=",
    "max_redirects": "max_redirects= of a request",
    "follow_redirects": "allow_redirects= of a request",
    "stream": "stream",
    "hooks": "middlewares=",
    "event_hooks": "middlewares=",
}


@pytest.mark.parametrize(("name", "word"), NOT_TO_SET.items())
async def test_attributes_that_would_be_ignored_are_not_set(name: str, word: str) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(AttributeError) as caught:
            setattr(session, name, {})
        assert f"ClientSession has no attribute {name!r} to set: say " in str(caught.value)
        assert word in str(caught.value)
        assert not hasattr(session, name)
        with pytest.raises(AttributeError):
            delattr(session, name)
    with wherry.sync.Session() as plain:
        with pytest.raises(AttributeError) as again:
            setattr(plain, name, {})
        assert f"Session has no attribute {name!r} to set: say " in str(again.value)
        assert word in str(again.value)


def test_what_a_session_of_the_loop_refuses_is_what_has_a_hint() -> None:
    from wherry.client.call_mistakes import NOT_SET

    assert {name for name in NOT_SET if name in vars(wherry.ClientSession)} == set(NOT_SET)
    assert set(NOT_SET) == set(NOT_TO_SET)


async def test_what_programs_keep_on_a_session_stays() -> None:
    """aiohttp warns of it in debug mode only; tracers and tests do it."""
    async with wherry.ClientSession() as session:
        session.of_a_tracer = 5  # type: ignore[attr-defined]
        session.get = session.post  # type: ignore[method-assign]
        assert session.of_a_tracer == 5  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="discouraged"):

        class Mine(wherry.ClientSession):
            params: dict[str, str]

    async with Mine() as mine:
        mine.params = {"a": "1"}
        assert mine.params == {"a": "1"}
        del mine.params
        assert not hasattr(mine, "params")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", ("Session has no attribute 'nonsense' to set",)),
        ("auth", ("Session(auth=...)",)),
        ("timeout", ("Session(timeout=...)",)),
        ("headers", ("session.headers.update(",)),
        ("chunked", ("an argument of a request",)),
    ],
)
def test_a_session_of_threads_takes_no_other_attributes(name: str, words: tuple[str, ...]) -> None:
    with wherry.sync.Session() as session, pytest.raises(AttributeError) as caught:
        setattr(session, name, "x")
    for word in words:
        assert word in str(caught.value)


def test_a_class_of_ones_own_has_its_attributes() -> None:
    class Api(wherry.sync.Session):
        def __init__(self) -> None:
            super().__init__()
            self.token = "t"

    with Api() as api:
        assert api.token == "t"
        with pytest.raises(AttributeError, match="proxy="):
            api.proxies = {}  # type: ignore[attr-defined]
        api.get = api.post  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("RequestException", "wherry.ClientError"),
        ("HTTPError", "wherry.ClientResponseError"),
        ("ConnectionError", "wherry.ClientConnectionError"),
        ("Timeout", "TimeoutError"),
        ("exceptions", "wherry.ClientError"),
        ("codes", "http.HTTPStatus"),
        ("session", "wherry.sync.Session"),
        ("auth", "wherry.BasicAuth"),
    ],
)
def test_names_of_the_package_for_threads(name: str, word: str) -> None:
    with pytest.raises(AttributeError, match=f"'wherry.sync' has no attribute {name!r}: say ") as e:
        getattr(wherry.sync, name)
    assert word in str(e.value)
    assert not hasattr(wherry.sync, "quite_unknown")


def test_what_others_have_is_not_ours_and_what_is_named_is() -> None:
    """A hint that names what is there already, or is not there, is worse than none."""
    from wherry.client import call_mistakes

    takes = set(_RequestOptions.__annotations__)
    assert not takes & set(call_mistakes._ARGUMENTS)
    assert not {name for name in call_mistakes._NAMES if hasattr(wherry, name)}
    for ours in call_mistakes._OF_RESPONSES.values():
        word = ours.split(",")[0].split("(")[0].split(".")[0].split("[")[0].split()[0]
        assert word == "the" or hasattr(wherry.ClientResponse, word), ours
    assert not {name for name in call_mistakes._SYNC_NAMES if hasattr(wherry.sync, name)}
    for ours in (*call_mistakes._NAMES.values(), *call_mistakes._SYNC_NAMES.values()):
        if ours.startswith("wherry."):
            word = ours.removeprefix("wherry.").split("(")[0].split(",")[0].split()[0]
            word = word.removeprefix("sync.")
            if hasattr(wherry.sync, word):
                continue
            assert hasattr(wherry, word), ours


@given(st.text(min_size=1), st.sets(st.text(min_size=1), max_size=5))
def test_any_name_gives_a_message_or_none(name: str, known: set[str]) -> None:
    message = unknown_keyword("a call", [name], known)
    assert (message is None) == (name in known)
    assert message is None or repr(name) in message


# --- what the network says ------------------------------------------------------------------------


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks4"])
async def test_a_dead_proxy(scheme: str) -> None:
    port = unused_port()
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientProxyConnectionError) as caught:
            await session.get("http://a.test/", proxy=f"{scheme}://me:mine@127.0.0.1:{port}")
    said = str(caught.value)
    assert f"the proxy 127.0.0.1:{port}" in said
    assert "ssl:" not in said
    assert "mine" not in said


async def test_https_to_a_port_of_http(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientConnectorSSLError) as caught:
            await session.get(server.url.replace("http:", "https:"))
    assert "does not speak TLS on this port" in str(caught.value)
    assert "is it http://" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (18, ("self-made", "cafile=", "--cacert", "ssl=False")),
        (20, ("cafile=",)),
        (10, ("expired",)),
        (9, ("not valid yet", "clock")),
        (62, ("another name", "server_hostname=")),
    ],
)
def test_certificates(code: int, words: tuple[str, ...]) -> None:
    from wherry.types import ConnectionKey

    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "self-made"
    key = ConnectionKey("a.test", 443, True, True, None, None, None)
    said = str(wherry.ClientConnectorCertificateError(key, error))
    for word in words:
        assert word in said


# --- error answers --------------------------------------------------------------------------------


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error))


@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_an_error_answer_shows_its_reason_and_its_beginning(
    raw_server: Start, entered: bool, coding: str
) -> None:
    body = json.dumps({"error": "no such user", "token": "hidden-one"}).encode()
    sent = gzip.compress(body) if coding else body

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(
                b"HTTP/1.1 404 \r\nContent-Type: application/json\r\n"
                + (b"Content-Encoding: gzip\r\n" if coding else b"")
                + b"Content-Length: %d\r\n\r\n" % len(sent)
                + sent
            )

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        reply = await session.get(server.url)
        if entered:
            async with reply:
                with pytest.raises(wherry.ClientResponseError) as caught:
                    reply.raise_for_status()
                # What was shown is there to be read, in pieces too.
                assert b"".join([piece async for piece in reply.content.iter_any()]) == body
        else:
            with pytest.raises(wherry.ClientResponseError) as caught:
                reply.raise_for_status()
        assert caught.value.message == "Not Found"
        assert reply.reason == ""
        assert "no such user" in shown(caught.value)
        assert "hidden-one" not in shown(caught.value)
        with pytest.raises(wherry.ClientResponseError, match="Not Found"):
            await session.get(server.url, raise_for_status=True)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: image/png\r\nContent-Length: 4\r\n\r\n\x89PNG",
        b"Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
        b"Content-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_an_error_answer_with_nothing_to_show(raw_server: Start, head: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 599 \r\n" + head)

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientResponseError) as caught:
            await session.get(server.url, raise_for_status=True)
    assert caught.value.message == ""
    assert not hasattr(caught.value, "__notes__")


@given(st.text(), st.text(alphabet="ab", min_size=8))
def test_a_beginning_is_short_and_hides_secrets(text: str, secret: str) -> None:
    begins = body_beginning(text)
    assert begins.isprintable()
    assert "\n" not in begins
    assert secret not in body_beginning(json.dumps({"password": secret}))
    assert len(body_beginning("x" * 10_000)) < 300


# --- extras that are missing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("wherry.integrations.opentelemetry", "opentelemetry", "opentelemetry"),
        ("wherry.integrations.aiogram", "certifi", "aiogram"),
        ("wherry.testing.server", "hypercorn", "testing"),
    ],
)
def test_a_missing_extra_is_named(module: str, missing: str, extra: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); sys.modules[{missing!r}] = None\n"
        f"import {module}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pip install 'wherry[{extra}]'" in done.stderr
