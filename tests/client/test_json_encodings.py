"""JSON in the encodings that it comes in, and text of a body that was taken piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.servers.raw import RawServer, response

import wherry

Start = Callable[..., Awaitable[RawServer]]
VALUE = {"naïve": ["☃", "\U0001f40b", 1]}
TEXT = '{"naïve": ["☃", "\U0001f40b", 1]}'
ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "utf-32-be",
]
WHITE = ["", " ", "\r\n\t ", "\n" * 5]


UNTOLD = ["application/json", "application/problem+json", "text/json", "text/plain", "charset=odd"]


@pytest.mark.parametrize("kind", UNTOLD)
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_json_shows_its_encoding_whatever_its_type(
    raw_server: Start, kind: str, encoding: str
) -> None:
    told = "application/json; charset=odd" if kind == "charset=odd" else kind
    body = ("\n " + TEXT).encode(encoding)
    server = await raw_server([response(body, fields=f"Content-Type: {told}\r\n")])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert await reply.json(content_type=None) == VALUE


@pytest.mark.parametrize("kind", ["application/json", "application/problem+json", "no charset"])
@pytest.mark.parametrize(
    ("encoding", "mark"),
    [(encoding, "") for encoding in ENCODINGS]
    + [
        (encoding, "\ufeff")
        for encoding in ENCODINGS
        if encoding not in ("utf-8-sig", "utf-16", "utf-32")
    ],
)
async def test_json_of_any_encoding(raw_server: Start, kind: str, encoding: str, mark: str) -> None:
    """RFC 8259 8.1; UTF-16 and 32 as RFC 4627 3 lets tell them, or as the response says."""
    told = "application/json" if kind == "no charset" else f"{kind}; charset={encoding}"
    if "sig" in encoding:
        told = told.replace("-sig", "")
    answers = [
        response(
            (mark + before + TEXT + after).encode(encoding), fields=f"Content-Type: {told}\r\n"
        )
        for before in WHITE
        for after in WHITE
    ]
    server = await raw_server([*answers])
    async with wherry.ClientSession() as session:
        for _ in answers:
            async with session.get(server.url) as reply:
                assert await reply.json() == VALUE


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_white_space_is_no_json(raw_server: Start, encoding: str) -> None:
    told = "utf-8" if "sig" in encoding else encoding
    fields = f"Content-Type: application/json; charset={told}\r\n"
    server = await raw_server([response(" \r\n\t".encode(encoding), fields=fields), response(b"")])
    async with wherry.ClientSession() as session:
        async with session.get(server.url) as reply:
            assert await reply.json() is None
        async with session.get(server.url) as reply:
            assert await reply.json(content_type=None) is None


async def test_an_encoding_of_the_programs_choice(raw_server: Start) -> None:
    fields = "Content-Type: application/json\r\n"
    server = await raw_server([response("\ufeff [1] ".encode("utf-16-be"), fields=fields)])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert await reply.json(encoding="utf-16-be") == [1]


async def test_what_is_not_of_its_encoding_is_an_error(raw_server: Start) -> None:
    fields = "Content-Type: application/json; charset=utf-16\r\n"
    server = await raw_server([response(b"\xff\xfe{", fields=fields)])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        with pytest.raises(ValueError):
            await reply.json()


TAKERS: dict[str, Callable[[wherry.ClientResponse], Awaitable[Any]]] = {}


def taker(function: Callable[[wherry.ClientResponse], Awaitable[Any]]) -> Any:
    TAKERS[function.__name__] = function
    return function


@taker
async def lines(reply: wherry.ClientResponse) -> None:
    async for _ in reply.content:
        pass


@taker
async def chunks(reply: wherry.ClientResponse) -> None:
    async for _ in reply.content.iter_chunked(3):
        pass


@taker
async def any_pieces(reply: wherry.ClientResponse) -> None:
    async for _ in reply.content.iter_any():
        pass


@taker
async def exactly(reply: wherry.ClientResponse) -> None:
    await reply.content.readexactly(4)


@taker
async def all_at_once(reply: wherry.ClientResponse) -> None:
    await reply.content.read()


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS.keys())
@pytest.mark.parametrize("ask", ["text", "json", "read"])
@pytest.mark.parametrize("framing", ["length", "chunks", "end"])
async def test_a_body_that_was_taken_is_not_empty_text(
    raw_server: Start, take: Any, ask: str, framing: str
) -> None:
    kind = "Content-Type: application/json\r\n"
    server = await raw_server(
        [
            {
                "length": response(b"[1]\n", fields=kind),
                "chunks": (
                    f"HTTP/1.1 200 OK\r\n{kind}Transfer-Encoding: chunked\r\n\r\n"
                    "4\r\n[1]\n\r\n0\r\n\r\n"
                ).encode(),
                "end": f"HTTP/1.1 200 OK\r\n{kind}\r\n[1]\n".encode(),
            }[framing]
        ]
    )
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        await take(reply)
        for _ in range(2):
            with pytest.raises(wherry.ClientPayloadError, match="4 bytes were read piece by piece"):
                await getattr(reply, ask)()


async def test_what_is_left_of_a_body_is_read(raw_server: Start) -> None:
    """As with aiohttp: a first line that is no JSON may be skipped."""
    body = b")]}'\n[1]"
    server = await raw_server([response(body, fields="Content-Type: application/json\r\n")])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        await reply.content.readline()
        assert await reply.json() == [1]
        assert await reply.text() == "[1]"


@pytest.mark.parametrize("ask", ["text", "read"])
async def test_a_body_of_nothing_was_not_taken(raw_server: Start, ask: str) -> None:
    server = await raw_server([response(b"")])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert await reply.content.read() == b""
        assert not await getattr(reply, ask)()


@pytest.mark.parametrize(
    "text",
    ["{} x", "[1] [2]", "nul", '{"a":}', "1 2", '"x', "[1,]", "{'a': 1}", "-", "+1"],
)
async def test_what_is_no_json_fails_as_the_decoder_says(raw_server: Start, text: str) -> None:
    import json

    expected = None
    try:
        json.loads(text.removeprefix("\ufeff"))
    except ValueError as exc:
        expected = exc
    assert expected is not None
    fields = "Content-Type: application/json\r\n"
    server = await raw_server([response(text.encode(), fields=fields)])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        with pytest.raises(ValueError) as failed:
            await reply.json()
        assert (type(failed.value), str(failed.value)) == (type(expected), str(expected))
