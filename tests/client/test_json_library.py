"""`json=` of a session: the library that writes request bodies and reads responses."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import orjson
import pytest
from tests.servers.raw import RawServer, read_request, response

import wherry
from wherry.client.headers.response_headers import decoded_fields

Start = Callable[..., Awaitable[RawServer]]
VALUE = {"na\u00efve": ["\u2603", 1, None, 2.5], "b": {"c": True}}
TYPE = "Content-Type: application/json\r\n"


@dataclasses.dataclass
class Point:
    x: int


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await read_request(reader):
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        )
        body = head.partition(b"\r\n\r\n")[2]
        body += await reader.readexactly(int(fields[b"content-length"]) - len(body))
        assert fields[b"content-type"] == b"application/json"
        writer.write(response(body, fields=TYPE))


async def test_both_ways_go_by_the_library(raw_server: Start) -> None:
    server = await raw_server(echo)
    async with wherry.ClientSession(json="orjson") as session:
        async with session.post(server.url, json=VALUE) as reply:
            assert await reply.read() == orjson.dumps(VALUE)
            assert await reply.json() == VALUE
        # What orjson writes and Python's own does not.
        async with session.post(server.url, json=Point(3)) as reply:
            assert await reply.json() == {"x": 3}
        async with session.post(server.url, json=float("nan")) as reply:
            assert await reply.json() is None
        with pytest.raises(TypeError):
            await session.post(server.url, json={1: 2})


@pytest.mark.parametrize("library", ["json", "orjson"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
async def test_encodings_and_blanks_are_the_same(
    raw_server: Start, library: Any, encoding: str
) -> None:
    text = "\n " + json.dumps(VALUE, ensure_ascii=False) + "\r\n"
    server = await raw_server([response(text.encode(encoding), fields=TYPE)])
    async with wherry.ClientSession(json=library) as session, session.get(server.url) as reply:
        assert await reply.json() == VALUE


@pytest.mark.parametrize("library", ["json", "orjson"])
@pytest.mark.parametrize("body", [b"", b" \n"])
async def test_an_empty_body_is_none(raw_server: Start, library: Any, body: bytes) -> None:
    server = await raw_server([response(body, fields=TYPE)])
    async with wherry.ClientSession(json=library) as session, session.get(server.url) as reply:
        assert await reply.json() is None


@pytest.mark.parametrize("library", ["json", "orjson"])
@pytest.mark.parametrize("body", [b"{", b"nul", b"{} {}", b'"\xff"', b"[1,]"])
async def test_what_is_no_json_is_a_value_error(
    raw_server: Start, library: Any, body: bytes
) -> None:
    server = await raw_server([response(body, fields=TYPE)])
    async with wherry.ClientSession(json=library) as session, session.get(server.url) as reply:
        with pytest.raises(ValueError):
            await reply.json()
        assert await reply.read() == body


async def test_what_a_call_says_goes_before_the_session(raw_server: Start) -> None:
    server = await raw_server([response(b"NaN", fields=TYPE)] * 4)
    async with wherry.ClientSession(json="orjson") as session, session.get(server.url) as reply:
        with pytest.raises(orjson.JSONDecodeError):
            await reply.json()
        assert str(await reply.json(loads=json.loads)) == "nan"
        assert await reply.json(loads=lambda text: [text]) == ["NaN"]
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert str(await reply.json()) == "nan"
        assert str(await reply.json(loads=None)) == "nan"


async def test_a_library_that_is_not_there_is_named_with_its_extra() -> None:
    with (
        mock.patch.dict(sys.modules, {"orjson": None}),
        pytest.raises(ModuleNotFoundError, match=r"wherry\[speedups\]") as missing,
    ):
        wherry.ClientSession(json="orjson")
    assert missing.value.name == "orjson"


@pytest.mark.parametrize(
    "said",
    [
        {"json": "ujson"},
        {"json": None},
        {"json": orjson},
        {"json": "orjson", "json_serialize": repr},
        {"json": "orjson", "json_serialize_bytes": orjson.dumps},
    ],
)
async def test_what_cannot_be_meant_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="json"):
        wherry.ClientSession(**said)


async def test_a_double_of_a_session_has_no_library() -> None:
    """Programs test their own code with responses of sessions that are none."""
    reply = wherry.ClientResponse(
        "GET", wherry.client.response.URL("http://h.test/"), session=mock.MagicMock()
    )
    reply._body = b'{"a": 1}'
    reply._headers = decoded_fields(((b"Content-Type", b"application/json; charset=utf-8"),))
    assert await reply.json() == {"a": 1}
