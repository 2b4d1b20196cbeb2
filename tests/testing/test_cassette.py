"""Exchanges that are recorded once and played after."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import brotli
import pytest
from aiohttp import web
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.servers.application import serving
from tests.servers.raw import read_request, response

import wherry
from wherry.testing import Cassette, NotOnTape
from wherry.testing.cassette_filter import SecretFilter


async def asked(url, **options):
    async with (
        wherry.ClientSession() as session,
        session.request(options.pop("method", "GET"), url, **options) as answer,
    ):
        return answer.status, await answer.read()


async def test_what_was_recorded_is_played(tmp_path, wherry_server):
    path = tmp_path / "made" / "tape.json"
    urls = [
        wherry_server.url(way)
        for way in ("/get?a=1", "/gzip", "/bytes/300", "/status/404", "/stream/3")
    ]
    with Cassette(path):
        recorded = [await asked(url) for url in urls]
        posted = await asked(wherry_server.url("/post"), method="POST", json={"a": 1})
    before = wherry_server.requests
    with Cassette(path):
        assert [await asked(url) for url in urls] == recorded
        assert await asked(wherry_server.url("/post"), method="POST", json={"a": 1}) == posted
    assert json.loads(posted[1])["json"] == {"a": 1}
    assert wherry_server.requests == before


@pytest.mark.parametrize("name", ["X-Api-Key", "x-auth-token", "PRIVATE-TOKEN", "DPoP"])
async def test_fields_of_requests_that_are_secret_by_their_names_are_not_kept(
    tmp_path, raw_server, name
):
    server = await raw_server(
        [b"HTTP/1.1 200 OK\r\nX-Echo: s3cret-value\r\nContent-Length: 0\r\n\r\n"]
    )
    async with wherry.ClientSession() as session:
        with Cassette(tmp_path / "c.json"):
            async with session.get(server.url, headers={name: "s3cret-value", "X": "y"}) as answer:
                assert answer.headers["X-Echo"] == "s3cret-value"
        text = (tmp_path / "c.json").read_text()
        assert '"X"' in text
        assert "s3cret" not in text
        with Cassette(tmp_path / "c.json", "none"):
            async with session.get(server.url, headers={name: "s3cret-value"}) as answer:
                assert answer.status == 200


async def test_secrets_are_not_kept(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    options = {
        "headers": {"Authorization": "Bearer s3cret", "Cookie": "a=s3cret", "X-Key": "s3cret"}
    }
    hidden = {
        "filter_headers": ["X-Key"],
        "filter_query": ["key"],
        "filter_body": lambda body: b"gone",
    }
    with Cassette(path, **hidden):
        status, body = await asked(wherry_server.url("/get?key=s3cret"), **options)
    assert b"s3cret" in body
    assert "s3cret" not in path.read_text()
    with Cassette(path, **hidden):
        assert await asked(wherry_server.url("/get?key=another")) == (status, b"gone")


async def test_the_password_of_basic_credentials_is_left_out_of_echoes(tmp_path, raw_server):
    path = tmp_path / "tape.json"
    server = await raw_server([response(b"your password is s3cret-p4ss-w\xc3\xb6rd")] * 3)
    with Cassette(path):
        async with wherry.ClientSession() as session:
            for options in (
                {"auth": wherry.BasicAuth("ann", "s3cret-p4ss-wörd", encoding="utf-8")},
                {"headers": {"Authorization": "Basic not-base64"}},
                {"headers": {"Authorization": "Basic"}},
            ):
                async with session.get(server.url, **options) as answer:
                    assert (await answer.read()).endswith(b"rd")
    tape = json.loads(path.read_text())
    assert "s3cret" not in json.dumps(tape["exchanges"][0])


SECRET = "s3cret/v4lue+x"
QUOTED = "s3cret%2Fv4lue%2Bx"


@pytest.mark.parametrize("coding", ["identity", "gzip", "br"])
async def test_a_recording_holds_no_secret_wherever_it_stands(tmp_path, raw_server, coding):
    """In redirects, links, forms, JSON under a coding, echoes; and it plays as it was recorded."""
    path = tmp_path / "tape.json"
    inside = {
        "access": {"token": SECRET, "list": [{"key": SECRET, "n": 1}]},
        "next": f"https://h.test/?page=2&key={QUOTED}",
        "echo": {"headers": {"Authorization": f"Bearer {SECRET}"}},
        f"of {SECRET}": True,
    }
    body = json.dumps(inside).encode()
    body = {"gzip": gzip.compress, "br": brotli.compress, "identity": bytes}[coding](body)

    async def script(reader, writer):
        while True:
            asked = await read_request(reader)
            if asked.startswith(b"GET /start"):
                writer.write(
                    response(
                        status="302 Found",
                        fields=f"Location: /end?a=1&key={QUOTED}#key={QUOTED}\r\n"
                        f"Set-Cookie: session={SECRET}\r\n",
                    )
                )
                continue
            assert b"FILTERED" not in asked
            writer.write(
                response(
                    body,
                    fields=f"Content-Type: application/json\r\nContent-Encoding: {coding}\r\n"
                    f'Link: <https://h.test/?key={QUOTED}&page=2>; rel="next", </?KEY2=1>; rel=x\r\n'
                    f"Content-Location: /end?key={QUOTED}\r\nRefresh: 1; url=/?key={QUOTED}\r\n"
                    f"X-Echo: {SECRET}\r\n",
                )
            )

    server = await raw_server(script)
    form = wherry.FormData({"name": "me", "key": SECRET})
    parts = wherry.FormData({"name": "me", "key": SECRET}, default_to_multipart=True)
    calls = [
        ("GET", f"/start?key={QUOTED}", {}),
        ("POST", "/form", {"data": form}),
        ("POST", "/json", {"json": {"key": SECRET, "deep": [{"access": {"token": SECRET}}]}}),
        ("POST", "/text", {"data": f"key={QUOTED}&b=c".encode()}),
        ("POST", "/parts", {"data": parts}),
        ("GET", "/end?b=2", {"headers": {"Referer": f"https://h.test/?key={QUOTED}"}}),
    ]
    hidden = {"filter_query": ["key"], "filter_json": ["access.token", "$.deep.*.access.token"]}

    async def run(secret: str) -> list[tuple[int, Any]]:
        seen = []
        auth = {"Authorization": f"Bearer {secret}"}
        async with wherry.ClientSession(server.url, headers=auth) as session:
            for method, target, options in calls:
                async with session.request(method, target, **options) as answer:
                    text = await answer.text()
                    assert int(answer.headers["Content-Length"]) > 0
                    seen.append((answer.status, json.loads(text)))
        return seen

    with Cassette(path, **hidden):
        recorded = await run(SECRET)
    assert all(answer == (200, inside) for answer in recorded)
    tape = path.read_text()
    for spelling in (SECRET, QUOTED, SECRET.replace("/", "\\/"), "v4lue"):
        assert spelling not in tape
    for entry in json.loads(tape)["exchanges"]:
        for raw in (entry["request"].get("body_base64"), entry["response"].get("body_base64")):
            kept = base64.b64decode(raw or "")
            for opened in (bytes, gzip.decompress, brotli.decompress):
                with contextlib.suppress(Exception):
                    assert b"v4lue" not in opened(kept)
    connections = server.connections
    with Cassette(path, "none", **hidden) as cassette:
        played = await run("another-secret")
    cassette.assert_nothing_missing()
    assert server.connections == connections
    assert [status for status, _ in played] == [200] * len(calls)
    assert played[0][1]["access"] == {"token": "FILTERED", "list": [{"key": "FILTERED", "n": 1}]}
    assert played[0][1]["next"] == "https://h.test/?page=2&key=FILTERED"


@given(st.binary(max_size=200), st.text(min_size=8, max_size=20))
def test_what_has_no_secret_is_kept_byte_for_byte(body: bytes, secret: str) -> None:
    filtered = SecretFilter(["x"], ["key"], ["a.b"]).body(body, {secret})
    if b"key" not in body and secret.encode("utf-8", "surrogateescape") not in body:
        plain = body.decode("utf-8", "surrogateescape")
        assume(not plain.lstrip("\ufeff \t\r\n").startswith(("{", "[")))
        assert filtered == body
    assert filtered == SecretFilter(["x"], ["key"], ["a.b"]).body(filtered, {secret})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("key=1", "key=FILTERED"),
        ("a=1&key=1&b=2", "a=1&key=FILTERED&b=2"),
        ("monkey=1&key2=1&x-key=1", "monkey=1&key2=1&x-key=1"),
        ('{"key": null}', '{"key": "FILTERED"}'),
        ('{"u": "/?key=1\\u0026b=2"}', '{"u": "/?key=FILTERED&b=2"}'),
        ('{"a":1}', '{"a":1}'),
        ("[" * 100_000, "[" * 100_000),
        ('{"key": 1', '{"key": "FILTERED"'),
        ('data: {"key": "a\\"b", "n": 1}\n\n', 'data: {"key": "FILTERED", "n": 1}\n\n'),
        ('{"key":[1]}', '{"key": "FILTERED"}'),
    ],
    ids=lambda text: text[:20],
)
def test_parameters_and_members_by_name(text: str, kept: str) -> None:
    assert SecretFilter([], ["key"], []).body(text.encode()) == kept.encode()


async def test_a_cookie_that_is_set_is_not_kept(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    with Cassette(path):
        await asked(wherry_server.url("/cookies/set?a=1"), allow_redirects=False)
    assert "set-cookie" not in path.read_text().lower()


async def test_what_is_not_on_the_tape_fails_loudly(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    with Cassette(path):
        await asked(wherry_server.url("/get"))
    with Cassette(path) as cassette:
        await asked(wherry_server.url("/get"))
        with pytest.raises(NotOnTape, match=r"/get is not on the cassette(?s:.*)/get \(played\)"):
            await asked(wherry_server.url("/get"))
    with pytest.raises(NotOnTape):
        cassette.assert_nothing_missing()


async def test_modes(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    with Cassette(path, "none"), pytest.raises(NotOnTape):
        await asked(wherry_server.url("/get"))
    assert not path.exists()
    for mode, ways, length in [
        ("new", ["/get"], 1),
        ("new", ["/get", "/status/404"], 2),
        ("all", ["/get"], 1),
    ]:
        with Cassette(path, mode):
            for way in ways:
                await asked(wherry_server.url(way))
        assert len(json.loads(path.read_text())["exchanges"]) == length
    with pytest.raises(ValueError, match="mode"):
        Cassette(path, "some")


async def test_bodies_may_have_to_match(tmp_path, wherry_server):
    path, url = tmp_path / "tape.json", wherry_server.url("/post")
    with Cassette(path):
        await asked(url, method="POST", data=b"\xff1")
    with Cassette(path, match_body=True):
        with pytest.raises(NotOnTape):
            await asked(url, method="POST", data=b"\xff2")
        assert (await asked(url, method="POST", data=b"\xff1"))[0] == 200


async def test_a_server_that_cannot_be_reached_is_the_clients_own_error(tmp_path):
    with Cassette(tmp_path / "tape.json"), pytest.raises(wherry.ClientConnectorError):
        await asked("http://127.0.0.1:1/")
    assert not (tmp_path / "tape.json").exists()


@pytest.fixture
async def endless():
    """A server whose events come one by one, as they are let go, and never end; the other page says
    how long it is.
    """
    go = asyncio.Semaphore(0)

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"GET /events" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        number = 0
        try:
            while not writer.is_closing():
                await go.acquire()
                number += 1
                writer.write(b"id: %d\ndata: tide %d\n\n" % (number, number))
        except asyncio.CancelledError:
            pass  # the test has ended
        finally:
            writer.transport.abort()

    def begin(reader, writer):
        tasks.append(asyncio.ensure_future(answer(reader, writer)))

    tasks = []
    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", go
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)


async def tides(url, count, go):
    got = []
    async with wherry.ClientSession() as session, session.get(url) as response:
        if go is not None:
            go.release()
        async for event in response.sse():
            got.append(event.data)
            if len(got) == count:
                break
            if go is not None:
                go.release()
    return got


async def test_an_endless_stream_passes_as_it_comes_and_is_played_as_far_as_it_was_read(
    tmp_path, endless
):
    base, go = endless
    path = tmp_path / "tape.json"
    with Cassette(path):
        assert await tides(f"{base}/events", 2, go) == ["tide 1", "tide 2"]
    response = json.loads(path.read_text())["exchanges"][0]["response"]
    assert (response["body"], response["cut"]) == (
        "id: 1\ndata: tide 1\n\nid: 2\ndata: tide 2\n\n",
        True,
    )
    with Cassette(path, "none"):
        assert await tides(f"{base}/events", 2, None) == ["tide 1", "tide 2"]
    with Cassette(path, "none"):  # it wants more than there was
        assert await tides(f"{base}/events", 3, None) == ["tide 1", "tide 2"]


async def test_a_source_that_connects_again_is_told_that_the_tape_has_ended(tmp_path, endless):
    base, go = endless
    path = tmp_path / "tape.json"
    with Cassette(path):
        await tides(f"{base}/events", 1, go)
    with Cassette(path) as cassette:
        async with wherry.ClientSession() as session:
            with pytest.raises(NotOnTape):
                async for _ in session.events(f"{base}/events", reconnect=0.001, max_reconnects=2):
                    pass
        with pytest.raises(NotOnTape):
            cassette.assert_nothing_missing()


async def test_what_is_cut_short_is_never_played_as_whole(tmp_path, endless):
    base, go = endless
    path = tmp_path / "tape.json"

    async def read_first(url):
        async with wherry.ClientSession() as session, session.get(url) as response:
            go.release()
            return await response.content.readany()

    with Cassette(path):
        recorded = await read_first(f"{base}/long")
    with Cassette(path):
        assert await read_first(f"{base}/long") == recorded
    with Cassette(path):
        async with wherry.ClientSession(timeout=wherry.ClientTimeout(total=0.1)) as session:
            with pytest.raises(TimeoutError):
                await (await session.get(f"{base}/long")).read()


async def test_large_bodies_pass_at_the_readers_pace(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    url = wherry_server.url("/bytes/3000000")
    with Cassette(path):
        async with wherry.ClientSession(read_bufsize=1000) as session, session.get(url) as response:
            recorded = b"".join([piece async for piece in response.content.iter_chunked(100_000)])
    with Cassette(path, "none"):
        assert (await asked(url))[1] == recorded
    assert len(recorded) == 3_000_000


async def test_kept_connections_from_before_are_recorded_too(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    async with wherry.ClientSession() as session:
        for _ in range(2):
            await (await session.get(wherry_server.url("/get"))).read()
        with Cassette(path):
            await (await session.get(wherry_server.url("/get"))).read()
    assert len(json.loads(path.read_text())["exchanges"]) == 1


# --- WebSockets -----------------------------------------------------------------------------------


async def converse(url, *, secret="s3cret", last="bye"):
    """What a program hears that says a few things, and closes the WebSocket."""
    async with wherry.ClientSession() as session, session.ws_connect(url, compress=15) as socket:
        heard = []
        for said in ("hello", f"token={secret}", "\N{SNOWMAN}" * 100):
            await socket.send_str(said)
            heard.append(await socket.receive_str())
        await socket.send_bytes(b"\0\xff" * 40_000)
        heard.append(await socket.receive_bytes())
        await socket.ping()
        await socket.send_str(last)
    assert socket.close_code == 1000
    return heard


async def test_a_websocket_is_recorded_and_played(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    url = wherry_server.url("/ws/echo?key=mine", scheme="ws")
    filters = {"filter_query": ["key"], "filter_body": lambda data: data.replace(b"s3cret", b"***")}
    with Cassette(path, **filters):
        recorded = await converse(url)
    assert recorded[1] == "token=s3cret"
    (exchange,) = json.loads(path.read_text())["exchanges"]
    assert "s3cret" not in path.read_text()
    assert "mine" not in path.read_text()
    assert "sec-websocket-key" not in path.read_text().lower()
    messages = exchange["response"]["messages"]
    assert exchange["response"]["status"] == 101
    assert messages[:4] == [
        {"from": "client", "text": "hello"},
        {"from": "server", "text": "hello"},
        {"from": "client", "text": "token=***"},
        {"from": "server", "text": "token=***"},
    ]
    assert [sorted(message) for message in messages[6:8]] == [["base64", "from"]] * 2
    assert {"from": "client", "text": "bye"} in messages
    assert next(message for message in messages if "close" in message)["close"] == 1000
    with Cassette(path, "none", **filters) as cassette:
        played = await converse(url)
        cassette.assert_nothing_missing()
    assert played == ["hello", "token=***", *recorded[2:]]


@pytest.mark.parametrize(
    "change", [{"secret": "other"}, {"last": "something else"}], ids=["inside", "at the end"]
)
async def test_what_a_program_says_otherwise_than_on_the_tape_is_missing(
    tmp_path, wherry_server, change
):
    path = tmp_path / "tape.json"
    url = wherry_server.url("/ws/echo", scheme="ws")
    with Cassette(path):
        await converse(url)
    with Cassette(path, "none") as cassette:
        with contextlib.suppress(wherry.ClientError, TypeError, AssertionError):
            await converse(url, **change)
        with pytest.raises(NotOnTape, match=next(iter(change.values()))):
            cassette.assert_nothing_missing()


@contextlib.asynccontextmanager
async def ws_server(handler):
    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(app) as ports:
        yield f"ws://127.0.0.1:{ports[0]}/"


async def test_a_websocket_that_the_server_closes_is_played_so(tmp_path):
    async def handler(request):
        socket = web.WebSocketResponse(protocols=["chat"])
        socket.headers["X-Seen"] = "yes"
        socket.headers["Set-Cookie"] = "who=me"
        await socket.prepare(request)
        await socket.send_str("first")
        await socket.send_bytes(b"second")
        await socket.close(code=4001, message=b"enough")
        return socket

    async def listen(url):
        async with (
            wherry.ClientSession() as session,
            session.ws_connect(url, protocols=["chat"]) as socket,
        ):
            heard = [message.data async for message in socket]
            assert socket.protocol == "chat"
            return heard, socket.close_code, socket._response.headers.get("X-Seen")

    path = tmp_path / "tape.json"
    async with ws_server(handler) as url:
        with Cassette(path):
            recorded = await listen(url)
    assert recorded == (["first", b"second"], 4001, "yes")
    assert "who=me" not in path.read_text()
    messages = json.loads(path.read_text())["exchanges"][0]["response"]["messages"]
    assert messages[-1] == {"from": "server", "close": 4001, "reason": "enough"}
    with Cassette(path, "none") as cassette:
        assert await listen(url) == recorded
        cassette.assert_nothing_missing()


async def test_a_websocket_that_is_refused_or_breaks_is_played_so(tmp_path):
    async def handler(request):
        if "refuse" in request.query:
            return web.Response(status=403, text="not you")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("first")
        await socket.receive()
        request.transport.abort()
        return socket

    async def refused(url):
        async with wherry.ClientSession() as session:
            with pytest.raises(wherry.WSServerHandshakeError) as caught:
                await session.ws_connect(url + "?refuse=1")
            return caught.value.status

    async def broken(url):
        async with wherry.ClientSession() as session, session.ws_connect(url) as socket:
            heard = await socket.receive_str()
            await socket.send_str("go")
            return heard, (await socket.receive()).type, socket.close_code

    path = tmp_path / "tape.json"
    async with ws_server(handler) as url:
        with Cassette(path):
            recorded = await refused(url), await broken(url)
    assert recorded[0] == 403
    with Cassette(path, "none") as cassette:
        assert (await refused(url), await broken(url)) == recorded
        cassette.assert_nothing_missing()


def test_the_fixture_keeps_a_file_for_each_test(pytester, monkeypatch, wherry_server):
    monkeypatch.setenv("PYTHONPATH", str(Path(wherry.__file__).parents[1]))
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makepyfile(
        test_it=f"""
        import wherry

        async def test_it(wherry_cassette):
            async with wherry.ClientSession() as session:
                assert (await session.get("{wherry_server.url("/get")}")).status == 200
        """
    )
    pytester.plugins = ["pytest_wherry"]
    pytester.runpytest_subprocess("--wherry-cassettes=none").assert_outcomes(failed=1, errors=1)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
    before = wherry_server.requests
    pytester.runpytest_subprocess("--wherry-cassettes=none").assert_outcomes(passed=1)
    assert wherry_server.requests == before
    assert (pytester.path / "cassettes" / "test_it" / "test_it.json").exists()
