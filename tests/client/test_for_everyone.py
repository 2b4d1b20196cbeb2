"""What who knows httpx and requests looks for: `params` and `retries` of a session, and what a body
that is no JSON was.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.servers.raw import RawServer, read_request, response

import wherry

Start = Callable[..., Awaitable[RawServer]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the target of each request."""
    while True:
        head = await read_request(reader)
        writer.write(response(head.split(b" ")[1]))


@pytest.mark.parametrize(
    ("defaults", "url", "params", "target"),
    [
        ({"a": 1}, "", None, "/?a=1"),
        ({"a": 1}, "", {"b": 2}, "/?a=1&b=2"),
        ({"a": 1}, "", {"a": 2}, "/?a=2"),
        ({"a": 1, "b": 2}, "?a=3", None, "/?a=3&b=2"),
        ([("a", "1"), ("a", "2")], "", [("b", "3")], "/?a=1&a=2&b=3"),
        ("a=1&b=2", "", "b=3", "/?a=1&b=3"),
        ({"a": "ä b"}, "", None, "/?a=%C3%A4+b"),
        ({}, "", {"b": 2}, "/?b=2"),
        (None, "", None, "/"),
    ],
)
async def test_params_of_a_session(
    raw_server: Start, defaults: Any, url: str, params: Any, target: str
) -> None:
    server = await raw_server(echo)
    async with wherry.ClientSession(params=defaults) as session:
        for _ in range(2):
            async with session.get(f"{server.url}/{url}", params=params) as reply:
                assert await reply.text() == target
        async with session.post(f"{server.url}/{url}", params=params, data=b"x") as reply:
            assert await reply.text() == target


async def test_params_of_a_session_with_a_base_stay_at_its_origin(raw_server: Start) -> None:
    server, other = await raw_server(echo), await raw_server(echo)
    async with wherry.ClientSession(f"{server.url}/api/", params={"key": "mine"}) as session:
        async with session.get("users") as reply:
            assert await reply.text() == "/api/users?key=mine"
        for url in (f"{other.url}/x", f"//{other.url.removeprefix('http://')}/x"):
            async with session.get(url, params={"a": "b"}) as reply:
                assert await reply.text() == "/x?a=b"


async def test_retries_of_a_session(raw_server: Start) -> None:
    asked = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await read_request(reader)
            asked += 1
            writer.write(
                b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
                if asked % 3
                else response(b"ok")
            )

    server = await raw_server(script)
    async with wherry.ClientSession(retries=2) as session:
        async with session.get(server.url) as reply:
            assert (reply.status, asked) == (200, 3)
        # A POST is not sent twice by itself.
        async with session.post(server.url, data=b"x") as reply:
            assert (reply.status, asked) == (503, 4)
        async with session.get(server.url, middlewares=()) as reply:
            assert (reply.status, asked) == (503, 5)
    async with wherry.ClientSession(retries=0) as session:
        asked = 0
        async with session.get(server.url) as reply:
            assert (reply.status, asked) == (503, 1)


async def test_retries_are_a_number() -> None:
    for wrong in (-1, "three", None):
        with pytest.raises((TypeError, ValueError), match="retries is"):
            wherry.ClientSession(retries=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Bad gateway</html>", ("begins: <html>Bad gateway",)),
        (b'{"a": 1', ("begins: {",)),
        (b"[1] 2", ("begins: [1] 2",)),
        (json.dumps({"password": "hidden-one"}).encode() + b"!", ("***",)),
    ],
)
@pytest.mark.parametrize("kind", [b"application/json", b"text/html"])
async def test_what_is_no_json_shows_how_it_begins(
    raw_server: Start, body: bytes, words: tuple[str, ...], kind: bytes
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
            + body
        )

    server = await raw_server(script)
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        with pytest.raises((ValueError, wherry.ContentTypeError)) as caught:
            await reply.json()
        shown = "".join(traceback.format_exception_only(caught.value))
        for word in words:
            assert word in shown
        assert "hidden-one" not in shown
        assert await reply.read() == body
