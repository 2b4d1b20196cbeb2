"""An ASGI application that is called without a socket."""

from __future__ import annotations

import asyncio

import pytest

import wherry
from wherry.testing import ASGIConnector, app


def connected(application):
    return wherry.ClientSession("http://app.test/", connector=ASGIConnector(application))


async def test_requests_reach_the_application_with_their_fields_and_bodies():
    async with (
        connected(app.app) as session,
        session.post(
            "/anything", params={"q": "ü"}, json={"a": 1}, headers={"X-One": "1"}
        ) as answer,
    ):
        seen = await answer.json()
    assert (answer.status, answer.reason) == (200, "OK")
    assert seen["json"] == {"a": 1}
    assert seen["args"] == {"q": "ü"}
    assert seen["headers"]["x-one"] == "1"
    assert seen["headers"]["host"] == "app.test"


async def test_redirects_cookies_and_codings_are_the_clients_own():
    async with connected(app.app) as session:
        async with session.get("/redirect/2") as answer:
            assert (answer.status, len(answer.history)) == (200, 2)
        await (await session.get("/cookies/set", params={"a": "1"})).read()
        async with session.get("/cookies") as answer:
            assert (await answer.json())["cookies"] == {"a": "1"}
        async with session.get("/gzip") as answer:
            assert await answer.json()
        async with session.head("/get") as answer:
            assert await answer.read() == b""


async def test_a_body_streams_both_ways_with_back_pressure():
    written = []

    async def echo(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            written.append(len(message["body"]))
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        await send({"type": "http.response.body"})

    async def parts():
        for _ in range(100):
            yield b"x" * 65536

    async with connected(echo) as session, session.post("/", data=parts()) as answer:
        first = await answer.content.readexactly(10)
        # Nobody reads on: the application stands still far before the end.
        assert sum(written) < 50 * 65536
        assert len(first + await answer.read()) == 100 * 65536


async def test_an_exception_of_the_application_is_raised_at_the_request():
    async def broken(scope, receive, send):
        raise LookupError("no such user")

    async with connected(broken) as session:
        with pytest.raises(LookupError, match="no such user"):
            await session.get("/")


async def test_an_application_that_ends_too_early_is_no_whole_answer():
    async def short(scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/head":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async with connected(short) as session:
        with pytest.raises(wherry.ServerDisconnectedError):
            await session.get("/")
        async with session.get("/head") as answer:
            with pytest.raises(wherry.ClientPayloadError):
                await answer.read()


async def test_the_application_lives_as_long_as_the_connector():
    told = []

    async def living(scope, receive, send):
        if scope["type"] == "lifespan":
            told.append((await receive())["type"])
            scope["state"]["db"] = 7
            await send({"type": "lifespan.startup.complete"})
            told.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(scope["state"]["db"]).encode()})

    async with connected(living) as session:
        async with session.get("/") as answer:
            assert await answer.text() == "7"
        assert told == ["lifespan.startup"]
    assert told == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_application_that_cannot_start_says_why():
    async def unable(scope, receive, send):
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    session = connected(unable)
    with pytest.raises(RuntimeError, match="no database"):
        await session.get("/")
    with pytest.raises(RuntimeError, match="no database"):
        await session.close()


async def test_closing_a_response_is_a_disconnect():
    gone = asyncio.Event()

    async def endless(scope, receive, send):
        if scope["type"] != "http":
            return
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with connected(endless) as session:
        answer = await session.get("/")
        answer.close()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_time_limit_is_a_disconnect_too():
    gone = asyncio.Event()

    async def silent(scope, receive, send):
        if scope["type"] == "http":
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            gone.set()

    async with connected(silent) as session:
        with pytest.raises(TimeoutError):
            await session.get("/", timeout=wherry.ClientTimeout(total=0.02))
        await asyncio.wait_for(gone.wait(), 5)


async def test_closing_ends_an_application_that_does_not_listen():
    async def deaf(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.Event().wait()

    session = connected(deaf)
    session.connector._close_timeout = 0.05
    answer = await session.get("/")
    await session.close()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    answer.close()


async def test_a_websocket_needs_no_socket_either():
    async with connected(app.app) as session:
        async with session.ws_connect("/ws/echo", protocols=["chat"], compress=15) as ws:
            assert ws.protocol == "chat"
            for text in ("", "hello", "x" * 70_000):
                await ws.send_str(text)
                assert (await ws.receive(timeout=20)).data == text
            await ws.send_bytes(b"\xff" * 300)
            assert (await ws.receive(timeout=20)).data == b"\xff" * 300
            await ws.send_str("close")
            assert (await ws.receive(timeout=20)).type is wherry.WSMsgType.CLOSE
        ws = await session.ws_connect("/ws/echo")
        await asyncio.wait_for(ws.close(), 5)
        assert ws.close_code == 1000
        with pytest.raises(wherry.WSServerHandshakeError):
            await session.ws_connect("/ws/other")
