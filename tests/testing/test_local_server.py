"""The embedded server: each endpoint, over HTTP/1.1 and TLS, and its beginning and end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import time
import zlib
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import wherry
from wherry.testing import LocalServer


@pytest.fixture
async def session(wherry_server):
    async with wherry.ClientSession(wherry_server.url("/")) as session:
        yield session


async def test_get_tells_what_it_saw(session):
    async with session.get(
        "/get", params=[("a", "1"), ("a", "2"), ("b", "3")], headers={"X-One": "1"}
    ) as answer:
        seen = await answer.json()
    assert answer.status == 200
    assert seen["args"] == {"a": ["1", "2"], "b": "3"}
    assert seen["headers"]["x-one"] == "1"
    assert seen["http_version"] == "1.1"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
async def test_bodies_come_back(session, method):
    async with getattr(session, method)(f"/{method}", json={"a": [1, "é"]}) as answer:
        seen = await answer.json()
    assert seen["json"] == {"a": [1, "é"]}
    assert seen["method"] == method.upper()


async def test_a_form_comes_back(session):
    async with session.post("/post", data={"a": "1", "b": "ü"}) as answer:
        assert (await answer.json())["form"] == {"a": "1", "b": "ü"}


async def test_an_upload_is_described(session):
    form = wherry.FormData()
    form.add_field("note", "hello")
    form.add_field("file", b"content", filename="a.txt", content_type="text/plain")
    async with session.post("/upload", data=form) as answer:
        seen = await answer.json()
    assert seen["form"] == {"note": "hello"}
    assert seen["files"]["file"] == {
        "filename": "a.txt",
        "content_type": "text/plain",
        "length": 7,
        "content": "content",
    }


async def test_headers_and_cookies(session):
    async with session.get("/headers", headers={"X-Two": "2"}) as answer:
        assert (await answer.json())["headers"]["x-two"] == "2"
    async with session.get("/cookies", cookies={"a": "1"}) as answer:
        assert (await answer.json())["cookies"]["a"] == "1"
    async with session.get("/cookies/set?b=2", allow_redirects=False) as answer:
        assert answer.status == 302
        assert answer.cookies["b"].value == "2"


async def test_redirects_end_at_get(session):
    async with session.get("/redirect/3") as answer:
        assert answer.url.path == "/get"
        assert len(answer.history) == 3
    async with session.get("/redirect-to?url=/json&status_code=307") as answer:
        assert [old.status for old in answer.history] == [307]
        assert answer.url.path == "/json"


@pytest.mark.parametrize("status", [200, 204, 304, 404, 418, 503])
async def test_statuses(session, status):
    async with session.get(f"/status/{status}") as answer:
        assert answer.status == status
        assert await answer.read() == b""


async def test_bytes_are_the_same_each_time_and_in_ranges(session):
    async with session.get("/bytes/200000") as answer:
        whole = await answer.read()
        assert answer.content_length == len(whole) == 200_000
    async with session.get("/bytes/200000", headers={"Range": "bytes=150000-"}) as answer:
        assert answer.status == 206
        assert await answer.read() == whole[150_000:]
    async with session.get("/bytes/200000", headers={"Range": "bytes=-10"}) as answer:
        assert await answer.read() == whole[-10:]
    async with session.get("/bytes/10", headers={"Range": "bytes=10-"}) as answer:
        assert answer.status == 416
        assert answer.headers["Content-Range"] == "bytes */10"
    async with session.get(
        "/bytes/10", headers={"Range": "bytes=5-", "If-Range": '"other"'}
    ) as answer:
        assert answer.status == 200


async def test_streams_and_drips(session):
    async with session.get("/stream/5") as answer:
        assert [json.loads(line)["id"] async for line in answer.content] == [0, 1, 2, 3, 4]
    async with session.get("/drip?numbytes=5&duration=0.05") as answer:
        assert await answer.read() == b"*****"


@pytest.mark.parametrize(
    ("path", "coding"),
    [("gzip", "gzip"), ("deflate", "deflate"), ("brotli", "br"), ("zstd", "zstd")],
)
async def test_codings(session, path, coding):
    async with session.get(f"/{path}") as answer:
        assert answer.headers["Content-Encoding"] == coding
        assert (await answer.json())["coding"] == coding


async def test_deflate_is_in_zlib_form(session):
    """RFC 9110 8.4.1.2"""
    async with session.get("/deflate", auto_decompress=False) as answer:
        assert json.loads(zlib.decompress(await answer.read()))["coding"] == "deflate"


async def test_basic_credentials_are_asked_for(session):
    async with session.get("/basic-auth/user/secret") as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    async with session.get(
        "/basic-auth/user/secret", auth=wherry.BasicAuth("user", "secret")
    ) as answer:
        assert await answer.json() == {"authenticated": True, "user": "user"}


@pytest.mark.parametrize("qop", ["auth", "auth-int", "none"])
@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-512"])
async def test_digests_are_checked(wherry_server, qop, algorithm):
    path = f"/digest-auth/{qop}/user/secret/{algorithm}"
    for password, status in (("secret", 200), ("wrong", 401)):
        digest = wherry.DigestAuthMiddleware("user", password)
        async with (
            wherry.ClientSession(wherry_server.url("/"), middlewares=(digest,)) as session,
            session.get(path) as answer,
        ):
            assert answer.status == status


def test_a_digest_for_another_path_is_refused(wherry_server):
    nonce = hashlib.md5(b"made up").hexdigest()
    line = f'Digest username="user", realm="r", nonce="{nonce}", uri="/other", response="0"'
    with socket.create_connection(("127.0.0.1", wherry_server.port)) as sock:
        sock.sendall(
            f"GET /digest-auth/none/user/secret HTTP/1.0\r\nAuthorization: {line}\r\n\r\n".encode()
        )
        assert sock.recv(12).endswith(b" 401")


async def test_delay_waits(session):
    begin = time.monotonic()
    async with session.get("/delay/0.05") as answer:
        assert answer.status == 200
    assert time.monotonic() - begin >= 0.05


async def test_events_go_on_behind_the_last_one(session):
    async with session.get("/sse?count=2", headers={"Last-Event-ID": "4"}) as answer:
        assert answer.content_type == "text/event-stream"
        text = await answer.text()
    assert text == "id: 5\nevent: tick\ndata: event 5\n\nid: 6\nevent: tick\ndata: event 6\n\n"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/absent", 404),
        ("DELETE", "/get", 405),
        ("GET", "/status/999", 400),
        ("GET", "/redirect-to", 400),
        ("GET", "/redirect-to?url=/&status_code=200", 400),
        ("GET", "/bytes/99999999999", 400),
        ("GET", "/digest-auth/auth/u/p/CRC32", 404),
        ("GET", "/delay/soon", 400),
    ],
)
async def test_mistakes_of_clients_are_told(session, method, path, status):
    async with session.request(method, path) as answer:
        assert answer.status == status
        assert (await answer.text()).strip()


async def test_head_has_no_body(session):
    async with session.head("/bytes/1000") as answer:
        assert answer.content_length == 1000
        assert await answer.read() == b""


async def test_the_index_names_every_endpoint(session):
    async with session.get("/") as answer:
        paths = (await answer.json())["endpoints"]
    assert {"/get", "/upload", "/drip", "/zstd", "/ws/echo", "/sse"} <= set(paths)


async def test_tls(wherry_tls_server):
    assert b"BEGIN CERTIFICATE" in wherry_tls_server.authority_pem
    async with (
        wherry.ClientSession() as session,
        session.get(wherry_tls_server.url("/get"), ssl=wherry_tls_server.client_context) as answer,
    ):
        assert (await answer.json())["url"].startswith("https://127.0.0.1:")


async def test_http2_by_alpn_and_by_prior_knowledge(wherry_server, wherry_tls_server):
    for server, protocol in ((wherry_server, "h2c"), (wherry_tls_server, "h2")):
        tls = wherry_tls_server.client_context
        connector = wherry.TCPConnector(protocols=(protocol,), ssl=tls)
        async with (
            wherry.ClientSession(connector=connector) as session,
            session.get(server.url("/get")) as answer,
        ):
            assert (await answer.json())["http_version"] == "2"


async def test_it_counts_requests_and_clients():
    async with LocalServer() as server, wherry.ClientSession() as session:
        for _ in range(3):
            async with session.get(server.url("/get")) as answer:
                await answer.read()
        assert server.requests == 3
        assert len(server.clients) == 1


async def test_an_application_of_ones_own():
    async def app(scope, receive, send):
        if scope["type"] == "http":
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-length", b"2")],
                }
            )
            await send({"type": "http.response.body", "body": b"me"})

    with LocalServer(app) as server:
        async with wherry.ClientSession() as session, session.get(server.url()) as answer:
            assert await answer.text() == "me"


def test_stopping_ends_the_thread_though_a_client_stays():
    server = LocalServer().start()
    thread = server._thread
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /get HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 3
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_starting_twice_is_refused():
    with LocalServer() as server, pytest.raises(RuntimeError, match="runs already"):
        server.start()


def test_without_tls_there_is_nobody_to_trust():
    with pytest.raises(RuntimeError, match="tls=True"):
        _ = LocalServer().client_context


async def test_many_at_once(session):
    async def one(number):
        async with session.get("/get", params={"n": number}) as answer:
            return (await answer.json())["args"]["n"]

    assert await asyncio.gather(*(one(str(n)) for n in range(50))) == [str(n) for n in range(50)]


async def test_websockets_echo(wherry_server):
    async with connect(
        wherry_server.url("/ws/echo", scheme="ws"), subprotocols=["chat"], proxy=None
    ) as socket:
        assert socket.subprotocol == "chat"
        for message in ("text", b"bytes"):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send("close")
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (1000, "asked for")


async def test_websockets_elsewhere_are_refused(wherry_server):
    with pytest.raises(InvalidStatus):
        async with connect(wherry_server.url("/get", scheme="ws"), proxy=None):
            pass


def test_the_plugin_gives_its_fixtures_to_other_programs(pytester, monkeypatch):
    """Loaded by its entry point, by name, or both, it is one plugin."""
    monkeypatch.setenv("PYTHONPATH", str(Path(wherry.__file__).parents[1]))
    pytester.makeconftest('pytest_plugins = ["pytest_wherry"]')
    pytester.makepyfile(
        "def test_it(wherry_server):\n    assert wherry_server.url('/').startswith('http://')\n"
    )
    pytester.runpytest_subprocess("-p", "pytest_wherry").assert_outcomes(passed=1)
