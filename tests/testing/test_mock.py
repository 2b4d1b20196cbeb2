"""Answers that are given in the process, and requests that nobody foresaw."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import threading
from pathlib import Path

import pytest
from yarl import URL

import wherry
from wherry.testing import Mock, MockWebSocket, Reply, UnmatchedRequest

API = "https://api.example.org"


@pytest.fixture
def mock():
    return Mock()


@pytest.fixture
async def session(mock):
    async with wherry.ClientSession(API, connector=mock.connector()) as session:
        yield session


async def test_an_answer_is_a_real_response(mock, session):
    mock.get(f"{API}/users/1", json={"name": "Ann"}, status=201, headers={"X-One": "1"})
    async with session.get("/users/1") as answer:
        assert isinstance(answer, wherry.ClientResponse)
        assert (answer.status, answer.reason, answer.headers["X-One"]) == (201, "Created", "1")
        assert answer.content_type == "application/json"
        assert await answer.json() == {"name": "Ann"}


@pytest.mark.parametrize(
    ("pattern", "query", "found"),
    [
        (f"{API}/a", None, True),
        (URL(f"{API}/a"), {"x": "1"}, True),
        (f"{API}/a", {"x": "2"}, False),
        (f"{API}/a?x=1", None, False),
        (f"{API}/a?y=2&x=1", None, True),
        (f"{API}/{{name}}", None, True),
        (f"{API}/{{name}}/b", None, False),
        (re.compile(r"/a\?"), None, True),
        (f"{API}/", None, False),
    ],
)
async def test_patterns(mock, session, pattern, query, found):
    route = mock.get(pattern, query=query)
    mock.add("*", re.compile(""), status=404)
    async with session.get("/a", params={"x": "1", "y": "2"}) as answer:
        assert answer.status == (200 if found else 404)
    assert len(route.calls) == found


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("https://h.example/ünï", "https://h.example/ünï"),
        ("https://h.example/ünï", "https://h.example/%C3%BCn%C3%AF"),
        ("https://h.example/%c3%bcn%c3%af", "https://h.example/ünï"),
        ("https://h.example/ünï/{id}", "https://h.example/ünï/7"),
        ("https://h.example/{id}/ünï", "https://h.example/ü/ünï"),
        ("https://h.example/a b", "https://h.example/a b"),
        ("https://h.example/a b/{id}", "https://h.example/a%20b/1%202"),
        ("https://h.example/a+b/{id}", "https://h.example/a+b/1"),
        ("https://h.example/%7Euser/{id}", "https://h.example/~user/1"),
        ("https://h.example/a%2fb/{id}", "https://h.example/a%2Fb/1"),
        ("https://h.example/(1)/{id}", "https://h.example/(1)/1"),
        ("https://h.example/a{b", "https://h.example/a{b"),
        ("https://h.example/v{n}.json", "https://h.example/v2.json"),
        ("HTTPS://H.Example/A/{id}", "https://h.example/A/1"),
        ("https://h.example/A", "https://H.EXAMPLE/A"),
        (URL("https://H.Example/A"), "https://h.example/A"),
        (URL("https://H.Example:443", encoded=True), "https://h.example"),
        ("https://h.example:443/a", "https://h.example/a"),
        ("https://h.example/{id}", "https://h.example:443/1"),
        ("https://h.example:443/{id}", "https://h.example/1"),
        ("http://h.example:8080/{id}", "http://h.example:8080/1"),
        ("https://h.example", "https://h.example"),
        ("https://h.example", "https://h.example/"),
        ("https://h.example/", "https://h.example"),
        ("https://h.example?a=1", "https://h.example/?a=1"),
        ("https://h.example/ü?ä=ö b", "https://h.example/%c3%bc?%C3%A4=%C3%B6+b"),
        ("https://h.example/{id}?a=1", "https://h.example/x?a=1"),
        ("https://h.example/a#part", "https://h.example/a"),
        ("https://h.example/a/../b/{id}", "https://h.example/b/1"),
        ("https://bücher.example/{id}", "https://xn--bcher-kva.example/1"),
        ("https://xn--bcher-kva.example/{id}", "https://Bücher.example/1"),
        ("https://{tenant}.example.org/a", "https://ann.example.org/a"),
        ("http://h.example:{port}/a", "http://h.example:8080/a"),
        ("http://h.example:{port}/a", "http://h.example/a"),
        ("{scheme}://h.example/a", "https://h.example/a"),
        ("http://[::1]:80/{id}", "http://[0:0:0:0:0:0:0:1]/1"),
        ("https://h.example/a", URL("https://h.example/%61", encoded=True)),
    ],
)
async def test_patterns_are_normalised_as_urls_are(mock, pattern, asked):
    """RFC 3986 6.2.2 and 6.2.3."""
    mock.get(pattern, text="found")
    async with (
        wherry.ClientSession(connector=mock.connector()) as session,
        session.get(asked) as answer,
    ):
        assert await answer.text() == "found"


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("https://h.example/a", "http://h.example/a"),
        ("https://h.example/a", "https://h.example:444/a"),
        ("https://h.example/A", "https://h.example/a"),
        ("https://h.example/a", "https://h.example/a/"),
        ("https://h.example/a%2Fb", "https://h.example/a/b"),
        ("https://h.example/{id}", "https://h.example/a/b"),
        ("https://h.example/{id}", "https://h.example/"),
        ("https://{tenant}.example.org/a", "https://.example.org.evil/a"),
        ("https://h.example/{id}.json", "https://h.example/axjson"),
        ("https://h.example/{id}?a=1", "https://h.example/x?a=1&b=2"),
    ],
)
async def test_other_urls_are_others(mock, pattern, asked):
    route = mock.get(pattern)
    assert not route.matches("GET", URL(asked))


@pytest.mark.parametrize(
    ("query", "asked", "found"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": "1", "b": 2}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1.5}, {"a": 1.5}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [1, 1]}, {"a": 1}, False),
        ({"a": (1, "x")}, [("a", "x"), ("a", 1)], True),
        ([("a", 1), ("a", 2)], {"a": [1, 2, 3]}, True),
        ("a=1&b=ü x", {"b": "ü x", "a": 1}, True),
        ({"ü": "ä&="}, {"ü": "ä&="}, True),
        ({"a": ""}, {"a": ""}, True),
        ({"a": ""}, {}, False),
        ({}, {"a": 1}, True),
    ],
)
async def test_queries_are_what_a_client_sends(mock, session, query, asked, found):
    route = mock.get(f"{API}/a", query=query)
    mock.add("*", re.compile(""), status=404)
    async with session.get("/a", params=asked) as answer:
        assert answer.status == (200 if found else 404)
    assert len(route.calls) == found


async def test_what_no_client_sends_is_refused_where_it_is_given(mock, session):
    with pytest.raises(TypeError, match="True"):
        mock.get(f"{API}/a", query={"a": True})
    with pytest.raises(TypeError, match="True"):
        await session.get("/a", params={"a": True})
    for pattern in ("/a", "/a/{id}", "a"):
        with pytest.raises(ValueError, match="absolute"):
            mock.get(pattern)
    with pytest.raises(ValueError, match="query="):
        mock.get(f"{API}/a?b={{id}}")


async def test_calls_are_recorded_with_their_bodies(mock, session):
    async def parts():
        yield b'{"a"'
        yield b": 1}"

    route = mock.post(f"{API}/", text="ok")
    await session.post("/", data=parts(), headers={"X-One": "1"})
    (call,) = route.calls
    assert (call.method, call.url, call.json(), call.headers["x-one"]) == (
        "POST",
        URL(f"{API}/"),
        {"a": 1},
        "1",
    )
    assert mock.calls == [call]


async def test_replies_follow_one_another_and_the_last_stays(mock, session):
    mock.get(f"{API}/", Reply(503), Reply(exception=wherry.ServerDisconnectedError), Reply(200))
    assert (await session.get("/")).status == 503
    with pytest.raises(wherry.ServerDisconnectedError):
        await session.get("/")
    assert [(await session.get("/")).status for _ in range(2)] == [200, 200]


async def test_callbacks_may_be_async(mock, session):
    async def later(call):
        return Reply(json=call.json())

    mock.post(f"{API}/", later, times=1)
    mock.post(f"{API}/", lambda call: Reply(text=call.text().upper()))
    assert await (await session.post("/", json="a")).json() == "a"
    assert await (await session.post("/", json="a")).text() == '"A"'


async def test_a_callback_ends_with_its_request(mock, session):
    ended = asyncio.Event()

    async def never(call):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    mock.get(f"{API}/", never)
    with pytest.raises(TimeoutError):
        await session.get("/", timeout=wherry.ClientTimeout(total=0.02))
    await asyncio.wait_for(ended.wait(), 5)


async def test_bodies_stream(mock, session):
    async def parts():
        for _ in range(3):
            yield b"x" * 100_000
        raise wherry.ClientPayloadError("cut")

    mock.get(f"{API}/whole", body=iter([b"a", b"b"]))
    mock.get(f"{API}/cut", body=parts())
    assert await (await session.get("/whole")).read() == b"ab"
    with pytest.raises(wherry.ClientPayloadError, match="cut"):
        await (await session.get("/cut")).read()


async def test_redirects_and_cookies_are_the_clients_own(mock, session):
    mock.get(f"{API}/from", status=302, headers={"Location": "/to", "Set-Cookie": "a=1; Path=/"})
    target = mock.get(f"{API}/to", text="there")
    async with session.get("/from") as answer:
        assert await answer.text() == "there"
    assert target.calls[0].headers["Cookie"] == "a=1"


async def test_an_unmatched_request_names_the_routes(mock, session):
    mock.get(f"{API}/users/{{id}}")
    with pytest.raises(
        UnmatchedRequest,
        match=r"POST https://api.example.org/users/1(?s:.*)GET https://\S+/users/\{id\}",
    ):
        await session.post("/users/1")
    with pytest.raises(UnmatchedRequest):
        mock.assert_all_matched()
    with pytest.raises(AssertionError, match="never requested: GET"):
        mock.assert_all_called()


async def test_a_context_catches_every_session_and_lets_hosts_pass(wherry_server):
    with Mock(passthrough=["127.0.0.1"]) as mock:
        mock.get(f"{API}/", text="mocked")
        async with wherry.ClientSession() as session:
            assert await (await session.get(f"{API}/")).text() == "mocked"
            assert (await session.get(wherry_server.url("/get"))).status == 200
            # A plain request by way of a proxy names its URL whole.
            mock.get("http://plain.example/a", text="by proxy")
            answer = await session.get("http://plain.example/a", proxy="http://proxy.example:3128")
            assert await answer.text() == "by proxy"
    async with wherry.ClientSession() as session:
        assert (await session.get(wherry_server.url("/get"))).status == 200


def test_the_fixture_fails_a_test_that_swallowed_an_unmatched_request(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(wherry.__file__).parents[1]))
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makepyfile(
        """
        import wherry

        async def test_good(wherry_mock):
            wherry_mock.get("https://h.example/", text="ok")
            async with wherry.ClientSession() as session:
                assert await (await session.get("https://h.example/")).text() == "ok"

        async def test_swallowed(wherry_mock):
            async with wherry.ClientSession() as session:
                try:
                    await session.get("https://h.example/")
                except Exception:
                    pass
        """
    )
    pytester.plugins = ["pytest_wherry"]
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(
        ["*UnmatchedRequest: no mocked route answers GET https://h.example/*"]
    )


# --- connections from before ----------------------------------------------------------------------


@pytest.mark.parametrize("protocols", [("http/1.1",), ("h2c",)])
async def test_connections_kept_from_before_do_not_pass_it_by(wherry_server, protocols):
    url = wherry_server.url("/get")
    async with wherry.ClientSession(connector=wherry.TCPConnector(protocols=protocols)) as session:
        assert (await session.get(url)).status == 200
        async with session.get(wherry_server.url("/drip?numbytes=2&duration=0.1")) as busy:
            with Mock() as mock:
                mock.get(url, text="mocked")
                assert await (await session.get(url)).text() == "mocked"
                assert await busy.read() == b"**"
                assert await (await session.get(url)).text() == "mocked"
        async with session.get(url) as answer:
            assert (await answer.json())["url"] == url


def test_those_of_other_threads_neither(wherry_server):
    url = wherry_server.url("/get")
    asked, mocked = threading.Event(), threading.Event()

    async def ask() -> str:
        async with wherry.ClientSession() as session:
            await (await session.get(url)).read()
            asked.set()
            await asyncio.to_thread(mocked.wait, 60)
            await asyncio.sleep(0)  # the loop of another thread hears of it in its next turn
            async with session.get(url) as answer:
                return await answer.text()

    with concurrent.futures.ThreadPoolExecutor() as threads:
        answer = threads.submit(asyncio.run, ask())
        assert asked.wait(60)
        with Mock() as mock:
            mock.get(url, text="mocked")
            mocked.set()
            assert answer.result(60) == "mocked"


# --- WebSockets -----------------------------------------------------------------------------------


async def test_a_websocket_brings_its_messages_and_keeps_the_programs(mock, session):
    route = mock.websocket(
        "wss://api.example.org/feed", messages=["hello", b"\x00", {"a": 1}], protocol="v2"
    )
    async with session.ws_connect("wss://api.example.org/feed", protocols=["v1", "v2"]) as socket:
        assert socket.protocol == "v2"
        assert [await socket.receive_str(), await socket.receive_bytes()] == ["hello", b"\x00"]
        assert await socket.receive_json() == {"a": 1}
        await socket.send_json({"op": "subscribe"})
        await socket.send_bytes(b"\x01")
    assert route.calls[0].messages == ['{"op": "subscribe"}', b"\x01"]
    assert mock.calls[0].url == URL("wss://api.example.org/feed")
    mock.assert_all_called()


async def test_a_websockets_handler_talks_to_the_program_and_closes(mock, session):
    seen = []

    async def echo(socket):
        assert isinstance(socket, MockWebSocket)
        async for message in socket:
            seen.append(message)
            await socket.send(message.upper())
            if message == "last":
                return
        seen.append("never")

    mock.websocket(f"{API.replace('https', 'wss')}/{{room}}", echo)
    async with session.ws_connect("wss://api.example.org/bay?x=1") as socket:
        for text in ("ahoy", "last"):
            await socket.send_str(text)
            assert await socket.receive_str() == text.upper()
        assert (await socket.receive()).type is wherry.WSMsgType.CLOSE
        assert socket.close_code == 1000
    assert seen == ["ahoy", "last"]


async def test_a_websockets_handler_sees_the_program_close(mock, session):
    ended = asyncio.Event()

    async def listen(socket):
        async for _ in socket:
            pass
        ended.set()

    mock.websocket("wss://api.example.org/", listen)
    async with session.ws_connect("wss://api.example.org/") as socket:
        await socket.send_str("a")
    await asyncio.wait_for(ended.wait(), 5)
    assert mock.calls[0].messages == ["a"]


async def test_what_a_handler_raises_fails_the_test(mock, session):
    async def fail(socket):
        assert await socket.receive_json() == {"a": 2}

    mock.websocket("wss://api.example.org/", fail)
    async with session.ws_connect("wss://api.example.org/") as socket:
        await socket.send_json({"a": 1})
        assert (await socket.receive()).type is wherry.WSMsgType.CLOSE
        assert socket.close_code == 1011
    with pytest.raises(AssertionError):
        mock.assert_all_matched()


async def test_a_websocket_can_be_refused_and_is_no_page(mock, session):
    mock.get("wss://api.example.org/private", status=403)
    mock.websocket("wss://api.example.org/open")
    mock.get(f"{API}/open", text="a page")
    with pytest.raises(wherry.WSServerHandshakeError) as caught:
        await session.ws_connect("wss://api.example.org/private")
    assert caught.value.status == 403
    assert await (await session.get("/open")).text() == "a page"
    with pytest.raises(UnmatchedRequest, match="GET wss://api"):
        await session.ws_connect("wss://api.example.org/none")


async def test_every_session_meets_the_mocks_websockets():
    with Mock() as mock:
        mock.websocket("ws://stream.example/", messages=["a"])
        async with (
            wherry.ClientSession() as session,
            session.ws_connect("ws://stream.example/") as socket,
        ):
            assert await socket.receive_str() == "a"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (416, "Range Not Satisfiable"),
        (422, "Unprocessable Content"),
        (404, "Not Found"),
        (799, ""),
    ],
)
async def test_reason_phrases_are_those_of_rfc_9110_on_every_python(status, reason):
    with Mock() as mock:
        mock.get("http://a.test/", status=status)
        async with wherry.ClientSession() as session, session.get("http://a.test/") as answer:
            assert answer.reason == reason
