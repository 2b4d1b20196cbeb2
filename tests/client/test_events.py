"""Server-sent events: the parser against the standard's cases, and the source against servers that
break off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.raw import RawServer, read_request, response

import wherry
from wherry import ServerSentEvent as Event
from wherry.client import events
from wherry.client.events import EventParser
from wherry.testing import LocalServer

Start = Callable[..., Awaitable[RawServer]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"

CASES = {
    "two lines": ("data: a\ndata: b\n\n", [Event("a\nb")]),
    "a comment, a type, an id": (": hi\nevent: add\nid: 1\ndata: x\n\n", [Event("x", "add", "1")]),
    "one space is taken off": ("data:  x\n\ndata:y\n\n", [Event(" x"), Event("y")]),
    "a field without a colon": ("data\n\ndata\ndata\n\n", [Event(""), Event("\n")]),
    "an id stays": ("id: 7\ndata: a\n\ndata: b\n\n", [Event("a", id="7"), Event("b", id="7")]),
    "an empty id forgets": ("id: 7\ndata: a\n\nid\ndata: b\n\n", [Event("a", id="7"), Event("b")]),
    "an id with NUL is passed over": ("id: 7\0\ndata: a\n\n", [Event("a")]),
    "no data, no event": ("event: x\n\ndata: a\n\n", [Event("a")]),
    "what is cut off is dropped": ("data: a\n\ndata: b\n", [Event("a")]),
    "retry": ("retry: 1500\ndata: a\n\nretry: x\ndata: b\n\n", [Event("a", retry=1.5), Event("b")]),
    "a byte order mark": ("\ufeffdata: a\n\n", [Event("a")]),
    "unknown fields": ("foo: bar\ndata: a\n\n", [Event("a")]),
    "empty": ("", []),
}


@pytest.mark.parametrize(("text", "events"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CRLF"])
def test_parser(text: str, events: list[Event], end: str) -> None:
    data = text.replace("\n", end).encode()
    assert EventParser().feed(data) == events
    parser = EventParser()
    assert [event for byte in data for event in parser.feed(bytes([byte]))] == events


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    st.integers(1, 7),
)
def test_data_comes_back_however_it_is_cut(lines: list[str], size: int) -> None:
    data = ("".join(f"data: {line}\r\n" for line in lines) + "\r\n").encode()
    parser = EventParser()
    got = [event for at in range(0, len(data), size) for event in parser.feed(data[at : at + size])]
    assert got == ([Event("\n".join(lines))] if lines else [])


def test_an_endless_event_is_an_error() -> None:
    parser = EventParser(max_event_size=1000)
    with pytest.raises(wherry.ClientPayloadError, match="more than 1000"):
        for _ in range(1000):
            parser.feed(b"data: xxxxxxxx\n")
    with pytest.raises(wherry.ClientPayloadError, match="more than 1000"):
        EventParser(max_event_size=1000).feed(b"x" * 2000)


async def test_a_response_gives_its_events(wherry_server: LocalServer) -> None:
    async with wherry.ClientSession() as session, session.get(wherry_server.url("/sse")) as reply:
        events = [event async for event in reply.sse()]
    assert events
    assert all(isinstance(event, Event) for event in events)


async def test_other_types_and_statuses_are_errors(raw_server: Start) -> None:
    json = response(b"{}", fields="Content-Type: application/json\r\n")
    server = await raw_server([json, response(status="500 No")])
    async with wherry.ClientSession() as session:
        async with session.get(server.url) as reply:
            with pytest.raises(wherry.ContentTypeError, match="application/json"):
                await anext(aiter(reply.sse()))
        with pytest.raises(wherry.ClientResponseError, match="no event stream"):
            await anext(aiter(session.events(server.url)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may ask for any wait, as long as it is one."""
    monkeypatch.setattr(events, "SHORTEST_WAIT", 0.001)


@pytest.mark.usefixtures("quick")
async def test_a_source_goes_on_where_it_stopped(raw_server: Start) -> None:
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        if len(asked) == 1:
            writer.write(HEAD + b"retry: 1\nid: 1\ndata: one\n\nid: 2\ndata: two\n\ndata: cut")
        elif len(asked) == 2:
            return  # without a response
        elif len(asked) == 3:
            writer.write(HEAD + b"id: 3\ndata: three\n\n")
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = await raw_server(script)
    async with wherry.ClientSession() as session, session.events(server.url) as source:
        events = [event.data async for event in source]
    assert events == ["one", "two", "three"]
    assert [b"Last-Event-ID: 2" in request for request in asked] == [False, True, True, False]
    assert b"Last-Event-ID: 3" in asked[3]
    assert all(b"Accept: text/event-stream" in request for request in asked)


@pytest.mark.usefixtures("quick")
async def test_an_event_that_was_cut_off_comes_again(raw_server: Start) -> None:
    """Its id came, but its end did not (HTML 9.2.6: the ID is set when an event is dispatched)."""
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        if len(asked) == 1:
            writer.write(HEAD + b"retry: 1\n\nid: 1\ndata: one\n\nid: 2\ndata: tw")
        elif len(asked) == 2:
            writer.write(HEAD + b"id: 2\ndata: two\n\nid: 3\n\n")
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = await raw_server(script)
    async with wherry.ClientSession() as session, session.events(server.url) as source:
        assert [event.data async for event in source] == ["one", "two"]
    assert b"Last-Event-ID: 1\r\n" in asked[1]
    assert b"Last-Event-ID: 3\r\n" in asked[2]  # an id alone counts


@pytest.mark.parametrize("digits", ["9" * 15, "9" * 400, "9" * 5000])
def test_a_server_cannot_ask_to_wait_for_ever(digits: str) -> None:
    (event,) = EventParser().feed(f"retry: {digits}\ndata: a\n\n".encode())
    assert event.retry == 86_400


@pytest.mark.parametrize(
    "said", ["retry: 0\n\n", "retry: 0\ndata: x\n\n", "retry: 000\ndata: x\n\nretry: 1\n\n"]
)
async def test_a_server_cannot_have_itself_asked_without_a_pause(
    raw_server: Start, said: str
) -> None:
    asked: list[float] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.append(asyncio.get_running_loop().time())
        writer.write(HEAD + said.encode() if len(asked) < 3 else b"HTTP/1.1 204 No Content\r\n\r\n")

    server = await raw_server(script)
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, reconnect=0.001) as source,
    ):
        async for event in source:
            assert event.retry == 0.0  # what it said is told all the same
        assert source.reconnect == events.SHORTEST_WAIT
    assert all(later - earlier > 0.45 for earlier, later in pairwise(asked))


def test_a_wait_is_longer_by_chance_and_never_shorter() -> None:
    waits = [events.reconnect_after(2.0) for _ in range(1000)]
    assert 2.0 <= min(waits) < 2.1
    assert 2.4 < max(waits) <= 2.5
    assert events.reconnect_after(0.0) == 0.0


async def test_a_source_does_not_fetch_an_endless_event_again(raw_server: Start) -> None:
    server = await raw_server([HEAD + b"data: " + b"x" * (2**20 + 1)] * 2)
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, reconnect=0.001) as source,
    ):
        with pytest.raises(wherry.ClientPayloadError, match="more than 1048576"):
            await anext(aiter(source))
    assert server.connections == 1


async def test_a_source_gives_up_when_told_to(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        source = session.events(server.url, reconnect=0.001, max_reconnects=2)
        with pytest.raises(wherry.ServerDisconnectedError):
            await anext(aiter(source))
    assert server.connections == 3
