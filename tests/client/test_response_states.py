"""A response says where it is in its life, and moves by a table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.servers.raw import RawServer, read_request
from yarl import URL

import wherry
from wherry.client.response import MOVES, ResponseState

Start = Callable[..., Awaitable[RawServer]]


def state_in(response: wherry.ClientResponse) -> str:
    """What `repr` says."""
    return repr(response).partition("]")[2].partition(">")[0].strip()


async def half_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\nhalf")
    await reader.read()


async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await read_request(reader):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def test_the_state_of_a_response_is_shown(raw_server: Start) -> None:
    unfinished, finished = await raw_server(half_a_body), await raw_server(whole)
    async with wherry.ClientSession() as session:
        response = await session.get(unfinished.url)
        assert state_in(response) == "open"
        response.close()
        assert state_in(response) == "closed"
        response.release()
        assert state_in(response) == "closed"

        response = await session.get(unfinished.url)
        response.release()
        assert state_in(response) == "released"
        response.close()
        assert state_in(response) == "closed"

        response = await session.get(finished.url)
        assert await response.read() == b"ok"
        assert state_in(response) == "complete"
        assert response.closed
        response.release()
        assert state_in(response) == "released"


async def test_a_broken_response_shows_that(raw_server: Start) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        writer.close()

    server = await raw_server(broken)
    async with wherry.ClientSession() as session:
        response = await session.get(server.url)
        with pytest.raises(wherry.ClientPayloadError):
            await response.content.readexactly(9)
        assert state_in(response) == "failed"
        response.close()
        assert state_in(response) == "closed"


def test_a_response_without_a_head_waits() -> None:
    response = wherry.ClientResponse("GET", URL("http://h.test/"))
    assert state_in(response) == "waiting"
    response.close()
    assert state_in(response) == "closed"


@pytest.mark.parametrize("before", ResponseState)
@pytest.mark.parametrize("after", ResponseState)
def test_a_response_moves_by_the_table(before: ResponseState, after: ResponseState) -> None:
    response = wherry.ClientResponse("GET", URL("http://h.test/"))
    response._state = before
    if after in MOVES[before]:
        response._move(after)
        assert response._state is after
    else:
        with pytest.raises(AssertionError, match=after.name):
            response._move(after)
        assert response._state is before


@pytest.mark.parametrize("before", ResponseState)
@pytest.mark.parametrize("verb", ["close", "release"])
def test_every_state_can_be_left_by_both_verbs(before: ResponseState, verb: str) -> None:
    """What they write without `_move` is in the table too."""
    response = wherry.ClientResponse("GET", URL("http://h.test/"))
    response._state = before
    getattr(response, verb)()
    assert response._state is before or response._state in MOVES[before]
    assert response._state >= ResponseState.RELEASED


async def test_a_closed_response_whose_head_comes_stays_closed(raw_server: Start) -> None:
    """A class that closes its response before the head: the connection is not left open."""
    ended = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await half_a_body(reader, writer)
        ended.set()

    server = await raw_server(script)
    made: list[Any] = []

    class Closing(wherry.ClientResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)
            self.close()

    async with wherry.ClientSession(response_class=Closing) as session:
        response = await session.get(server.url)
        assert response is made[0]
        assert state_in(response) == "closed"
        async with asyncio.timeout(20):
            await ended.wait()
