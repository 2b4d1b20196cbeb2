"""A session from the outside: what the tutorial and the first sections of the documents say."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from multidict import CIMultiDict
from tests.servers.raw import RawServer, read_request, response
from yarl import URL

import wherry
from wherry.testing import LocalServer

Start = Callable[..., Awaitable[RawServer]]


async def test_requests_of_a_session_share_connections(raw_server: Start) -> None:
    """S001-02"""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(b"ok"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        for _ in range(10):
            async with session.get(server.url) as reply:
                assert await reply.text() == "ok"
    assert server.connections == 1


async def test_default_headers_go_with_every_request_and_give_way(
    wherry_server: LocalServer,
) -> None:
    """S001-06, S001-07"""
    headers = {"X-App": "session", "X-Both": "session"}
    async with wherry.ClientSession(headers=headers) as session:
        for _ in range(2):
            async with session.get(
                wherry_server.url("/headers"), headers={"x-both": "request"}
            ) as reply:
                sent = CIMultiDict((await reply.json())["headers"])
        assert sent["X-App"] == "session"
        assert sent.getall("X-Both") == ["request"]


@pytest.mark.parametrize("verb", ["get", "post", "put", "delete", "options", "patch"])
async def test_every_verb(wherry_server: LocalServer, verb: str) -> None:
    """S003-04"""
    path = {"options": "/get"}.get(verb, f"/{verb}")
    async with (
        wherry.ClientSession() as session,
        getattr(session, verb)(wherry_server.url(path)) as reply,
    ):
        assert reply.method == verb.upper()
        assert reply.status in (200, 204, 405)


async def test_head_does_not_follow_redirects(wherry_server: LocalServer) -> None:
    """S003-04"""
    async with wherry.ClientSession() as session:
        async with session.head(wherry_server.url("/redirect/1")) as reply:
            assert reply.status == 302
        async with session.head(wherry_server.url("/redirect/1"), allow_redirects=True) as reply:
            assert reply.status == 200


async def test_the_basic_example(
    wherry_server: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """S003-02"""
    async with wherry.ClientSession() as session, session.get(wherry_server.url("/json")) as reply:
        print("Status:", reply.status)
        print("Content-type:", reply.headers["content-type"])
        html = await reply.text()
        print("Body:", html[:15], "...")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Status: 200"
    assert out[1].startswith("Content-type: application/json")
    assert out[2].startswith("Body: {")


@pytest.mark.parametrize(
    ("base", "given", "meant"),
    [
        ("http://h.test", "/get", "http://h.test/get"),
        ("http://h.test/", "get", "http://h.test/get"),
        ("http://h.test/api/v1/", "users?x=1", "http://h.test/api/v1/users?x=1"),
        ("http://h.test/api/v1/", "/users", "http://h.test/users"),
        ("http://h.test/api/", "http://other.test/x", "http://other.test/x"),
        ("https://h.test/api/", "//other.test/x", "https://other.test/x"),
    ],
)
async def test_base_url(base: str, given: str, meant: str) -> None:
    """S003-05"""
    async with wherry.ClientSession(base) as session:
        assert session._builder.resolve_url(given) == URL(meant)


async def test_a_base_url_that_cannot_be_one_is_refused() -> None:
    for base in ("/relative", "http://h.test/api"):
        with pytest.raises(ValueError, match=r"absolute|trailing"):
            wherry.ClientSession(base)


@pytest.mark.parametrize(
    ("status", "raises"), [(200, False), (304, False), (399, False), (400, True), (500, True)]
)
async def test_raise_for_status(wherry_server: LocalServer, status: int, raises: bool) -> None:
    """S003-06"""
    async with wherry.ClientSession() as session:
        async with session.get(wherry_server.url(f"/status/{status}")) as reply:
            assert reply.ok is not raises
            if raises:
                with pytest.raises(wherry.ClientResponseError) as caught:
                    reply.raise_for_status()
                assert caught.value.status == status
            else:
                assert reply.raise_for_status() is reply
        if raises:
            with pytest.raises(wherry.ClientResponseError):
                await session.get(wherry_server.url(f"/status/{status}"), raise_for_status=True)


async def test_raise_for_status_as_a_callable(wherry_server: LocalServer) -> None:
    async def rule(reply: wherry.ClientResponse) -> None:
        if reply.status == 404:
            raise LookupError(str(reply.url))

    async with wherry.ClientSession(raise_for_status=rule) as session:
        with pytest.raises(LookupError, match="/status/404"):
            await session.get(wherry_server.url("/status/404"))
        async with session.get(wherry_server.url("/status/500")) as reply:
            assert reply.status == 500
        async with session.get(wherry_server.url("/status/404"), raise_for_status=False) as reply:
            assert reply.status == 404


async def test_params(wherry_server: LocalServer) -> None:
    """S003-07, S003-08"""
    async with wherry.ClientSession() as session:
        url = wherry_server.url("/get")
        async with session.get(url, params={"key1": "value1", "key2": "value2"}) as reply:
            assert str(reply.url) == f"{url}?key1=value1&key2=value2"
        async with session.get(url, params=[("k", "a b"), ("k", "ü&=")]) as reply:
            assert str(reply.url) == f"{url}?k=a+b&k=%C3%BC%26%3D"
            assert (await reply.json())["args"]["k"] == ["a b", "ü&="]
        async with session.get(f"{url}?x=1", params={"y": 2}) as reply:
            assert str(reply.url) == f"{url}?x=1&y=2"
        async with session.get(f"{url}/ä b", params="q=1") as reply:
            assert str(reply.url) == f"{url}/%C3%A4%20b?q=1"


async def test_json_in_and_out(wherry_server: LocalServer) -> None:
    """S003-09, S003-10"""
    async with (
        wherry.ClientSession() as session,
        session.post(wherry_server.url("/post"), json={"a": [1, None]}) as reply,
    ):
        assert (await reply.json())["json"] == {"a": [1, None]}


async def test_json_that_is_none_raises(raw_server: Start) -> None:
    """S003-10"""
    server = await raw_server([response(b"{nope", fields="Content-Type: application/json\r\n")])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        with pytest.raises(json.JSONDecodeError):
            await reply.json()


async def test_data_and_json_exclude_each_other() -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(ValueError, match="data and json"):
            await session.post("http://h.test/", data=b"x", json={})


async def test_a_session_is_passed_around(wherry_server: LocalServer) -> None:
    """S003-11"""

    async def fetch(session: wherry.ClientSession, url: str) -> Any:
        async with session.get(url) as reply:
            return await reply.json()

    async with wherry.ClientSession() as session:
        assert await fetch(session, wherry_server.url("/json"))


async def test_at_most_a_hundred_connections_and_all_are_served() -> None:
    """S003-12, S001-88"""
    now = 0
    most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            while True:
                await read_request(reader)
                writer.write(response(b"ok"))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            now -= 1
            writer.close()

    servers = [await asyncio.start_server(serve, "127.0.0.1", 0) for _ in range(5)]
    urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/" for server in servers]

    async def one(session: wherry.ClientSession, at: int) -> str:
        async with session.get(urls[at % len(urls)]) as reply:
            return await reply.text()

    for limit, bound in ((None, 100), (10, 10), (0, 600)):
        most = 0
        connector = wherry.TCPConnector() if limit is None else wherry.TCPConnector(limit=limit)
        async with wherry.ClientSession(connector=connector) as session:
            answers = await asyncio.gather(*[one(session, at) for at in range(600)])
        assert answers == ["ok"] * 600
        assert most <= bound
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_sessions_have_queues_of_their_own(raw_server: Start) -> None:
    """S003-13"""
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if b"/slow" in request:
            await gate.wait()
        writer.write(response(b"ok"))

    server = await raw_server(script)
    async with (
        wherry.ClientSession(connector=wherry.TCPConnector(limit=1)) as low,
        wherry.ClientSession() as high,
    ):
        slow = asyncio.create_task(low._request("GET", server.url + "/slow"))
        async with high.get(server.url) as reply:
            assert await reply.text() == "ok"
        assert not slow.done()
        gate.set()
        async with await slow as reply:
            assert await reply.text() == "ok"


def test_a_session_in_each_thread(wherry_server: LocalServer) -> None:
    """S003-14"""
    got: list[int] = []

    async def main() -> None:
        async with wherry.ClientSession() as session:
            for _ in range(20):
                async with session.get(wherry_server.url("/json")) as reply:
                    await reply.json()
                    got.append(reply.status)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [200] * 80


async def test_get_waits_for_the_head_and_text_for_the_body(raw_server: Start) -> None:
    """S003-15"""
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo")
        await gate.wait()
        writer.write(b"dy")

    server = await raw_server(script)
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert reply.status == 200
        text = asyncio.create_task(reply.text())
        await asyncio.sleep(0)
        assert not text.done()
        gate.set()
        assert await text == "body"


async def test_leaving_closes_everything(raw_server: Start) -> None:
    """S003-16"""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(b"ok"))
        await reader.read()

    server = await raw_server(script)
    session = wherry.ClientSession()
    async with session as entered:
        assert entered is session
        assert server.connections == 0, "entering does no I/O"
        async with session.get(server.url) as reply:
            await reply.read()
    assert session.closed
    assert session.connector is None
    await server.until(lambda s: s.lost == 1)
    with pytest.raises(RuntimeError, match="closed"):
        await session.get(server.url)
    await session.close()


class SlowToClose(wherry.TCPConnector):
    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def _finish_close(self) -> None:
        await self.gate.wait()
        await super()._finish_close()


async def test_a_second_close_of_a_session_waits_for_the_end_too() -> None:
    connector = SlowToClose()
    session = wherry.ClientSession(connector=connector)
    first, second = asyncio.create_task(session.close()), asyncio.create_task(session.close())
    for _ in range(5):
        await asyncio.sleep(0)
    assert session.closed
    assert not first.done()
    assert not second.done()
    first.cancel()  # one that gives up leaves the end to the others
    for _ in range(5):
        await asyncio.sleep(0)
    assert first.cancelled()
    third = asyncio.create_task(session.close())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not third.done()
    connector.gate.set()
    await asyncio.gather(second, third)
    await session.close()


async def test_other_tasks_run_meanwhile(wherry_server: LocalServer) -> None:
    """S003-17"""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    async with wherry.ClientSession() as session, session.get(wherry_server.url("/json")) as reply:
        await reply.read()
    counter.cancel()
    assert turns > 1


def test_a_session_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="running event loop"):
        wherry.ClientSession()


async def test_sync_with_is_refused() -> None:
    session = wherry.ClientSession()
    with pytest.raises(TypeError, match="async with"), session:  # type: ignore[attr-defined]
        pass
    await session.close()


async def test_session_loop_is_there_and_deprecated() -> None:
    """S002-02"""
    async with wherry.ClientSession() as session:
        with pytest.warns(DeprecationWarning, match="loop"):
            assert session.loop is asyncio.get_running_loop()


async def test_one_shot_request(wherry_server: LocalServer) -> None:
    async with wherry.request("GET", wherry_server.url("/get"), params={"q": "1"}) as reply:
        assert (await reply.json())["args"] == {"q": "1"}


async def test_detach_leaves_the_connector_open() -> None:
    connector = wherry.TCPConnector()
    session = wherry.ClientSession(connector=connector)
    session.detach()
    assert session.closed
    assert not connector.closed
    await connector.close()


@pytest.mark.parametrize(
    ("url", "error", "told"),
    [
        ("http://", wherry.InvalidURL, "no host"),
        (
            "/relative",
            wherry.InvalidUrlClientError,
            "/relative - the URL is relative, and the session has no base_url",
        ),
        ("h.test/x", wherry.InvalidUrlClientError, "no scheme: is it https://h.test/x"),
        ("//h.test/x", wherry.InvalidUrlClientError, "no scheme: is it https://h.test/x"),
        ("ftp://h.test/x", wherry.NonHttpUrlClientError, "ftp://h.test/x - the scheme is not http"),
        ("http://[::1/", wherry.InvalidURL, "IPv6"),
        ("http://h.test:99999/", wherry.InvalidURL, "ort"),
    ],
)
async def test_urls_that_cannot_be_requested(url: str, error: type[Exception], told: str) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(error, match=told):
            await session.get(url)


async def test_what_only_a_response_has_is_told_of_a_request() -> None:
    async with wherry.ClientSession() as session:
        asked = session.get("http://h.test/")
        with pytest.raises(
            AttributeError, match=r"no attribute 'status'; it becomes a response by `async with`"
        ):
            _ = asked.status
        with pytest.raises(AttributeError, match=r"no attribute 'other'$"):
            _ = asked.other
        asked.close()


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ({"X": "a\r\nY: b"}, ValueError),
        ({"X": "a\nb"}, ValueError),
        ({"X": "a\0b"}, ValueError),
        ({"X": "a\x01b"}, ValueError),
        ({"X": "a\x7fb"}, ValueError),
        ({"X": "a\ud800b"}, ValueError),
        ({"X": "c\udd00d"}, ValueError),
        ({"X\r\nY": "a"}, ValueError),
        ({"X Y": "a"}, ValueError),
        ({"": "a"}, ValueError),
        ({"X": 1}, TypeError),
        ({"Content-Length": "5"}, ValueError),
        ({"Content-Length": "abc"}, ValueError),
        ({"Transfer-Encoding": "gzip"}, ValueError),
    ],
)
async def test_headers_that_cannot_be_sent(
    raw_server: Start, headers: Any, what: type[Exception]
) -> None:
    server = await raw_server([response()])
    async with wherry.ClientSession() as session:
        with pytest.raises(what):
            await session.get(server.url, headers=headers)
    assert not server.received


async def test_bytes_that_came_as_no_text_can_be_sent_back(raw_server: Start) -> None:
    """PEP 383: what a response's field had beside UTF-8 goes out as it came."""
    server = await raw_server([response()])
    url = URL(f"{server.url}/\udcff", encoded=True)
    async with wherry.ClientSession() as session, session.get(url, headers={"X": "a\udcffb"}):
        assert server.received[0].startswith(b"GET /\xff HTTP/1.1\r\n")
        assert b"\r\nX: a\xffb\r\n" in server.received[0]


@pytest.mark.parametrize("path", ["a b", "a\0b", "a\x7f", "a\ud800", "a?b c"])
async def test_targets_that_cannot_be_sent(raw_server: Start, path: str) -> None:
    """RFC 9112 3.2; nothing is dialled for them."""
    server = await raw_server([response()])
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.InvalidURL, match="percent-encoded"):
            await session.get(URL(f"{server.url}/{path}", encoded=True))
        assert session.connector.stats().opened == 0


@pytest.mark.parametrize("method", ["GE T", "GET\r\nX: y", "", "GÉT"])
async def test_methods_that_cannot_be_sent(method: str) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(ValueError, match="Method"):
            await session.request(method, "http://h.test/")


async def test_the_zone_of_an_address_is_not_sent() -> None:
    """RFC 6874 4"""
    connector = wherry.TCPConnector()
    async with wherry.ClientSession(connector=connector) as session:
        request = wherry.ClientRequest("GET", URL("http://[fe80::1%25eth0]:81/"), session=session)
        assert request.wire_head(connector.route_for(request.url)).authority == "[fe80::1]:81"
        assert request.headers["Host"] == "[fe80::1]:81"


async def test_none_is_no_limit() -> None:
    """S001-88"""
    connector: Any = wherry.TCPConnector
    async with connector(limit=None, limit_per_host=None) as made:
        assert (made.limit, made.limit_per_host) == (0, 0)


async def test_session_repeats_no_auto_header_that_is_skipped(raw_server: Start) -> None:
    server = await raw_server([response(), response()])
    async with wherry.ClientSession(skip_auto_headers=["user-agent"]) as session:
        await (await session.get(server.url)).read()
        await (await session.get(server.url, skip_auto_headers=["Accept"])).read()
    first, second = bytes(server.received[0]).split(b"\r\n\r\n")[:2]
    assert b"User-Agent" not in first
    assert b"Accept: " in first
    assert b"User-Agent" not in second
    assert b"Accept: " not in second


async def test_a_subclass_that_wraps_request(wherry_server: LocalServer) -> None:
    with pytest.warns(DeprecationWarning, match="discouraged"):

        class Session(wherry.ClientSession):
            asked: list[str]

            async def _request(self, method: str, url: Any, **kwargs: Any) -> wherry.ClientResponse:  # type: ignore[override]
                self.asked.append(method)
                return await super()._request(method, url, **kwargs)

    async with Session() as session:
        session.asked = []
        async with session.get(wherry_server.url("/json")) as reply:
            await reply.json()
        async with session.post(wherry_server.url("/post"), data=b"x") as reply:
            await reply.json()
    assert session.asked == ["GET", "POST"]


def test_a_session_is_one_class_that_has_what_it_is_made_of() -> None:
    """Not a row of classes derived from one another."""
    assert wherry.ClientSession.__mro__ == (wherry.ClientSession, object)


async def test_a_forgotten_session_says_so_at_once_though_it_has_made_requests(
    raw_server: Callable[..., Awaitable[RawServer]],
) -> None:
    """What it keeps for the requests that follow must not keep the session."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = await raw_server(script)
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context))
    session = wherry.ClientSession()
    async with session.get(f"{server.url}/") as response:
        assert await response.text() == "ok"
    del response
    gc.disable()
    try:
        with pytest.warns(ResourceWarning, match="Unclosed client session"):
            del session
    finally:
        gc.enable()
    assert [context["message"] for context in said] == ["Unclosed client session"]
