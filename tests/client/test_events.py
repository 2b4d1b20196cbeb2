"""Server-sent events: the parser against the standard's cases, and the source against servers that
break off.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
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


# --- the standard's own reading, for whole streams ------------------------------------------------


def reference(data: bytes) -> tuple[list[Event], str]:
    """(events, last ID) as HTML 9.2.6 says it, of all bytes at once; written apart from the parser."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\r|\n", text)[:-1]  # what has no end is no line
    events: list[Event] = []
    data_buffer, type_buffer, id_buffer, last_id = "", "", "", ""
    retry: float | None = None
    for line in lines:
        if line == "":
            last_id = id_buffer
            if data_buffer:
                events.append(Event(data_buffer[:-1], type_buffer or "message", last_id, retry))
                retry = None
            data_buffer = type_buffer = ""
        elif line[0] != ":":
            field, colon, value = line.partition(":")
            if colon and value[:1] == " ":
                value = value[1:]
            if field == "event":
                type_buffer = value
            elif field == "data":
                data_buffer += value + "\n"
            elif field == "id" and "\0" not in value:
                id_buffer = value
            elif field == "retry" and re.fullmatch("[0-9]+", value):
                retry = min(int(value) / 1000, 86_400.0)
    return events, last_id


PARTS = st.sampled_from(
    [b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b"1",
     b"12", b"\0", b"\xef\xbb\xbf", "é€😀".encode(), b"\xff", b"\xe2\x82", b"data: a\n", b"id: 7\n",
     b"id\n", b"id: \x01\n", b": ping\n", b"retry: 5\n", b"retry: \xc2\xb2\n", b"event: add\n",
     b"data\n", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0b", b"\x0c", b"\x1c"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=40), st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=500)
def test_however_it_is_cut_it_reads_as_the_standard_says(
    parts: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(parts)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parser = EventParser()
    got = [event for begin, end in pairwise(places) for event in parser.feed(data[begin:end])]
    assert (got, parser.last_event_id) == reference(data)


# --- what is bounded, and what it costs -----------------------------------------------------------


def test_comments_and_waits_add_up_to_nothing() -> None:
    parser = EventParser(max_event_size=100)
    for _ in range(1000):
        assert parser.feed(b": still here\nretry: 100\nfoo: bar\nid: 1\nevent: a\n") == []
    assert parser.feed(b"data: x\n\n") == [Event("x", "a", "1", retry=0.1)]


def test_a_comment_may_be_of_any_length() -> None:
    parser = EventParser(max_event_size=100)
    for _ in range(1000):
        assert parser.feed(b": a comment that goes on and on ") == ([])
    assert sum(map(len, parser._pieces)) == 1
    assert parser.feed(b"\ndata: z\n\n") == [Event("z")]


def test_an_event_of_the_very_size_passes_and_one_more_does_not() -> None:
    assert EventParser(max_event_size=100).feed(b"data: " + b"x" * 100 + b"\n\n") == [
        Event("x" * 100)
    ]
    assert EventParser(max_event_size=100).feed(
        b"data: " + b"x" * 49 + b"\ndata: " + b"y" * 50 + b"\n\n"
    )
    for data in (
        b"data: " + b"x" * 101 + b"\n\n",
        b"data: " + b"x" * 50 + b"\ndata: " + b"y" * 51 + b"\n\n",
    ):
        with pytest.raises(wherry.ClientPayloadError, match="more than 100"):
            EventParser(max_event_size=100).feed(data)


def test_events_before_one_that_is_too_large_are_given_first() -> None:
    parser = EventParser(max_event_size=100)
    assert parser.feed(b"data: a\n\ndata: " + b"x" * 200 + b"\n\n") == [Event("a")]
    for _ in range(2):
        with pytest.raises(wherry.ClientPayloadError, match="more than 100"):
            parser.feed(b"")


def looked_at(size: int, piece: int) -> int:
    """Letters that the parser looks at or copies for one line of `size` in pieces."""
    count = 0

    class Counted(str):
        __slots__ = ()

        def replace(self, old: str, new: str, count_: Any = -1) -> Counted:  # type: ignore[override]
            nonlocal count
            count += len(self)
            return Counted(str.replace(self, old, new, count_))

        def split(self, *args: Any) -> Any:
            nonlocal count
            count += len(self)
            return [Counted(each) for each in str.split(self, *args)]

        def removeprefix(self, prefix: str, /) -> Counted:
            return Counted(str.removeprefix(self, prefix))

        def __add__(self, other: str) -> Counted:
            nonlocal count
            count += len(self) + len(other)
            return Counted(str.__add__(self, other))

    class Decoder:
        def decode(self, data: bytes, final: bool = False) -> str:
            return Counted(data.decode())

    parser = EventParser()
    parser._decoder = Decoder()  # type: ignore[assignment]
    for _ in range(size // piece):
        parser.feed(b"x" * piece)
    return count


def test_a_long_line_in_small_pieces_is_looked_at_once() -> None:
    assert looked_at(2**17, 64) <= 3.5 * 2**17
    assert looked_at(2**18, 64) <= 2.1 * looked_at(2**17, 64)


async def test_the_largest_event_is_an_argument(raw_server: Start) -> None:
    large = b"data: " + b"x" * (2**20 + 10) + b"\n\n"
    server = await raw_server(closing(*[HEAD + large] * 4))
    async with wherry.ClientSession() as session:
        async with session.events(server.url, max_event_size=2**21) as source:
            assert len((await anext(source)).data) == 2**20 + 10
        async with session.get(server.url) as reply:
            assert len((await anext(reply.sse(max_event_size=2**21))).data) == 2**20 + 10
        async with session.get(server.url) as reply, reply.sse() as stream:
            with pytest.raises(wherry.ClientPayloadError, match="more than 1048576"):
                await anext(stream)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


# --- IDs ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (b"id: 7\ndata: a\n\nid\ndata: b\n\n", None),
        (b"id: 7\ndata: a\n\nid:\n\n", None),
        (b"id: 7\ndata: a\n\nid: a\x01b\ndata: b\n\n", b"7"),
        (b"id: a\x1bb\ndata: b\n\n", None),
        (b"id: 7\ndata: a\n\nid: " + b"9" * 10_000 + b"\ndata: b\n\n", b"7"),
        ("id: é€\ndata: a\n\n".encode(), "é€".encode()),
        (b"id: \xff\ndata: a\n\n", "\ufffd".encode()),
        (b"id: a\tb\ndata: a\n\n", b"a\tb"),
    ],
)
async def test_the_last_id_goes_back_where_it_can(
    raw_server: Start, said: bytes, sent: bytes | None
) -> None:
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        writer.write(HEAD + said if len(asked) == 1 else b"HTTP/1.1 204 No Content\r\n\r\n")

    server = await raw_server(script)
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, reconnect=0.001) as source,
    ):
        assert [event async for event in source] == reference(said)[0]
    found = re.search(rb"Last-Event-ID: (.*)\r\n", asked[1])
    assert (found[1] if found else None) == sent


@pytest.mark.parametrize("wrong", ["a\nb", "\x01", "x" * 5000])
async def test_an_id_of_the_programs_that_cannot_be_sent_is_refused_at_once(wrong: str) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(ValueError, match="last_event_id"):
            session.events("http://a.test/", last_event_id=wrong)


def closing(*answers: bytes) -> Any:
    """A script that gives one answer on each connection, and ends it."""
    left = iter(answers)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(next(left))

    return script


# --- a wait that is given up, and taken up again --------------------------------------------------


@pytest.mark.parametrize("own", [True, False], ids=["source", "response"])
async def test_a_time_limit_round_one_event_loses_nothing(raw_server: Start, own: bool) -> None:
    more = asyncio.Event()
    waiting = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HEAD + b"data: a\n\ndata: b")
        waiting.set()
        await more.wait()
        writer.write(b"\n\ndata: c\n\n")

    server = await raw_server(script)
    async with wherry.ClientSession() as session, contextlib.AsyncExitStack() as stack:
        stream: Any
        if own:
            stream = await stack.enter_async_context(session.events(server.url, reconnect=None))
        else:
            stream = (await stack.enter_async_context(session.get(server.url))).sse()
        assert (await anext(stream)).data == "a"
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(stream)
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"another|called while"):
            await anext(stream)
        task.cancel()
        await asyncio.wait([task])
        more.set()
        assert [event.data async for event in stream] == ["b", "c"]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert server.connections == 1


async def test_a_time_limit_does_not_send_a_request_twice(raw_server: Start) -> None:
    answer = asyncio.Event()
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        await answer.wait()
        writer.write(HEAD + b"data: a\n\n")

    server = await raw_server(script)
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, method="POST", json={"stream": True}) as source,
    ):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(source)
        answer.set()
        assert [event.data async for event in source] == ["a"]
    assert len(asked) == 1


@pytest.mark.usefixtures("quick")
async def test_a_time_limit_does_not_begin_a_pause_anew(raw_server: Start) -> None:
    server = await raw_server(closing(HEAD + b"data: a\n\n", HEAD + b"data: b\n\n"))
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, reconnect=0.2) as source,
    ):
        assert (await anext(source)).data == "a"
        tries = 0
        while True:
            tries += 1
            try:
                async with asyncio.timeout(0.05):
                    event = await anext(source)
                break
            except TimeoutError:
                assert tries < 50
        assert event.data == "b"


@pytest.mark.parametrize("at", ["request", "stream", "pause"])
async def test_closing_ends_a_wait_in_another_task(raw_server: Start, at: str) -> None:
    arrived = asyncio.Event()
    gone = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if at != "request":
            writer.write(HEAD)
        arrived.set()
        if at != "pause":
            await reader.read()
            gone.set()

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        source = session.events(server.url, reconnect=60)
        task = asyncio.ensure_future(anext(source, None))
        await arrived.wait()
        if at == "pause":
            while source._pause is None:
                await asyncio.sleep(0)
        await source.aclose()
        assert await asyncio.wait_for(task, 20) is None
        await source.aclose()
        assert [event async for event in source] == []
        if at != "pause":
            await asyncio.wait_for(gone.wait(), 5)


async def test_a_source_that_is_forgotten_gives_up_its_request(raw_server: Start) -> None:
    gone = asyncio.Event()
    arrived = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await reader.read()
        gone.set()

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        source = session.events(server.url)
        task = asyncio.ensure_future(anext(source))
        await arrived.wait()
        task.cancel()
        await asyncio.wait([task])
        del source, task
        gc.collect()
        await asyncio.wait_for(gone.wait(), 5)


# --- what is sent again, and what is not ----------------------------------------------------------


async def test_a_post_brings_events_and_is_not_sent_again(raw_server: Start) -> None:
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        writer.write(HEAD + b"id: 1\ndata: a\n\ndata: [DONE]\n\n")

    server = await raw_server(script)
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, method="post", json={"stream": True}) as source,
    ):
        assert [event.data async for event in source] == ["a", "[DONE]"]
    (request,) = asked
    assert request.startswith(b"POST / HTTP/1.1\r\n")
    assert request.endswith(b'{"stream": true}')
    assert b"Accept: text/event-stream" in request
    assert b"Content-Type: application/json" in request


CUT = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\ndata: a\n\nda"


async def test_a_post_that_breaks_off_is_an_error(raw_server: Start) -> None:
    server = await raw_server(closing(CUT, CUT))
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, method="POST", data=b"x") as source,
    ):
        assert (await anext(source)).data == "a"
        with pytest.raises(wherry.ClientPayloadError):
            await anext(source)
        with pytest.raises(StopAsyncIteration):
            await anext(source)
    assert server.connections == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("method", "options", "times"),
    [
        ("GET", {}, 3),
        ("POST", {"reconnect": 0.001}, 3),
        ("GET", {"reconnect": None}, 1),
        ("PUT", {}, 1),
        ("DELETE", {}, 1),
        ("QUERY", {"reconnect": 0.001}, 3),
    ],
)
async def test_who_connects_again(
    raw_server: Start,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    options: dict[str, Any],
    times: int,
) -> None:
    monkeypatch.setattr(events, "RECONNECT_SECONDS", 0.001)
    server = await raw_server(
        closing(*[HEAD + b"data: a\n\n"] * 2, b"HTTP/1.1 204 No Content\r\n\r\n")
    )
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, method=method, **options) as source,
    ):
        got = [event.data async for event in source]
    assert server.connections == times
    assert got == ["a"] * min(times, 2)


async def test_the_time_between_events_can_be_limited(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HEAD + b"data: a\n\n")
        await reader.read()

    server = await raw_server(script)
    limit = wherry.ClientTimeout(sock_read=0.5)
    async with (
        wherry.ClientSession() as session,
        session.events(server.url, method="POST", json={}, timeout=limit) as source,
    ):
        assert (await anext(source)).data == "a"
        with pytest.raises(TimeoutError):
            await anext(source)
