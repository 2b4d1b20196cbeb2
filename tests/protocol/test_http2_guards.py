"""What a server may not do: each rule broken ends the stream or the connection with the right code,
and clearly.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import httptools
import pytest
from tests.protocol.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OK,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PUSH,
    RST,
    SETTINGS,
    WINDOW,
    Peer,
    Sink,
    frame,
    settings,
    word,
)

from wherry.errors import BadHttpMessage, ClientPayloadError
from wherry.protocol.heads import RequestHead
from wherry.protocol.http2.flow_control import FlowOptions
from wherry.protocol.http2.frames import ErrorCode
from wherry.protocol.limits import Limits

PROTOCOL = ErrorCode.PROTOCOL_ERROR
SIZE = ErrorCode.FRAME_SIZE_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
CLOSED = ErrorCode.STREAM_CLOSED
CALM = ErrorCode.ENHANCE_YOUR_CALM


class Case(NamedTuple):
    """What a server says on a connection whose streams 1 and 3 are open, and what comes of it."""

    name: str
    say: Callable[[Peer], list[bytes]]
    code: ErrorCode
    words: str


CONNECTION_FAULTS = [
    Case("data on stream 0", lambda p: [p.data(0, b"x")], PROTOCOL, "nobody opened"),
    Case("data on an idle stream", lambda p: [p.data(5, b"x")], PROTOCOL, "nobody opened"),
    Case("data on a server's stream", lambda p: [p.data(2, b"x")], PROTOCOL, "nobody opened"),
    Case("headers on stream 0", lambda p: [p.head(0)], PROTOCOL, "nobody opened"),
    Case("headers on an idle stream", lambda p: [p.head(7)], PROTOCOL, "nobody opened"),
    Case(
        "headers begun on an idle stream",
        lambda p: [frame(HEADERS, 0, 7, b"\x88")],
        PROTOCOL,
        "nobody opened",
    ),
    Case(
        "data after the end",
        lambda p: [p.head(1, end=True), p.data(1, b"x")],
        CLOSED,
        "which has ended",
    ),
    Case(
        "headers after the end",
        lambda p: [p.head(1, end=True), p.head(1)],
        CLOSED,
        "which has ended",
    ),
    Case(
        "data after a reset",
        lambda p: [frame(RST, 0, 1, word(8)), p.data(1, b"x")],
        CLOSED,
        "has ended",
    ),
    Case(
        "data padded with nothing",
        lambda p: [p.head(1), frame(DATA, PADDED, 1)],
        SIZE,
        "padded and empty",
    ),
    Case(
        "more padding than data",
        lambda p: [p.head(1), frame(DATA, PADDED, 1, b"\2a")],
        PROTOCOL,
        "more padding",
    ),
    Case(
        "more padding than headers",
        lambda p: [frame(HEADERS, PADDED | END_HEADERS, 1, b"\x04" + p.block(OK))],
        PROTOCOL,
        "more padding",
    ),
    Case(
        "headers too short for priority",
        lambda p: [frame(HEADERS, PRIORITISED, 1, b"\0")],
        SIZE,
        "ends before",
    ),
    Case(
        "a frame that is too long",
        lambda p: [frame(DATA, 0, 1, b"x" * 16385)],
        SIZE,
        "a frame of 16385",
    ),
    Case(
        "a frame that says that it will be",
        lambda p: [frame(99, 0, 0, b"x" * 20000)[:9]],
        SIZE,
        "20000 bytes",
    ),
    Case(
        "settings on a stream", lambda p: [frame(SETTINGS, 0, 1)], PROTOCOL, "SETTINGS on stream 1"
    ),
    Case(
        "settings of five bytes", lambda p: [frame(SETTINGS, 0, 0, b"x" * 5)], SIZE, "SETTINGS of 5"
    ),
    Case(
        "a settings ack with a payload",
        lambda p: [frame(SETTINGS, ACK, 0, b"x" * 6)],
        SIZE,
        "payload",
    ),
    Case("push enabled", lambda p: [settings((2, 1))], PROTOCOL, "ENABLE_PUSH"),
    Case("a window of 2**31", lambda p: [settings((4, 2**31))], FLOW, "INITIAL_WINDOW_SIZE"),
    Case("small frames only", lambda p: [settings((5, 16383))], PROTOCOL, "MAX_FRAME_SIZE"),
    Case("huge frames", lambda p: [settings((5, 2**24))], PROTOCOL, "MAX_FRAME_SIZE"),
    Case("two connect protocols", lambda p: [settings((8, 2))], PROTOCOL, "CONNECT_PROTOCOL"),
    Case(
        "no connect protocol any more",
        lambda p: [settings((8, 1)), settings((8, 0))],
        PROTOCOL,
        "taken back",
    ),
    Case(
        "initial windows that overflow a stream",
        lambda p: [frame(WINDOW, 0, 1, word(2**31 - 1 - 65535)), settings((4, 65536))],
        FLOW,
        "too much for a stream",
    ),
    Case(
        "a push",
        lambda p: [frame(PUSH, END_HEADERS, 1, word(2) + p.block(OK))],
        PROTOCOL,
        "PUSH_PROMISE",
    ),
    Case(
        "a ping on a stream", lambda p: [frame(PING, 0, 1, b"x" * 8)], PROTOCOL, "PING on stream 1"
    ),
    Case("a ping of seven bytes", lambda p: [frame(PING, 0, 0, b"x" * 7)], SIZE, "PING of 7"),
    Case(
        "goaway on a stream",
        lambda p: [frame(GOAWAY, 0, 1, b"\0" * 8)],
        PROTOCOL,
        "GOAWAY on stream 1",
    ),
    Case("goaway of seven bytes", lambda p: [frame(GOAWAY, 0, 0, b"\0" * 7)], SIZE, "GOAWAY of 7"),
    Case(
        "goaway that takes more streams than before",
        lambda p: [frame(GOAWAY, 0, 0, word(1) + word(0)), frame(GOAWAY, 0, 0, word(3) + word(0))],
        PROTOCOL,
        "raises its last stream",
    ),
    Case(
        "a window update of three bytes",
        lambda p: [frame(WINDOW, 0, 0, b"\0" * 3)],
        SIZE,
        "WINDOW_UPDATE of 3",
    ),
    Case("a window update by 0", lambda p: [frame(WINDOW, 0, 0, word(0))], PROTOCOL, "by 0"),
    Case(
        "a window past its maximum",
        lambda p: [frame(WINDOW, 0, 0, word(2**31 - 1))],
        FLOW,
        "past 2",
    ),
    Case(
        "a window update on an idle stream",
        lambda p: [frame(WINDOW, 0, 9, word(1))],
        PROTOCOL,
        "nobody opened",
    ),
    Case("a reset of stream 0", lambda p: [frame(RST, 0, 0, word(0))], PROTOCOL, "nobody opened"),
    Case(
        "a reset of an idle stream",
        lambda p: [frame(RST, 0, 9, word(0))],
        PROTOCOL,
        "nobody opened",
    ),
    Case(
        "a reset of three bytes", lambda p: [frame(RST, 0, 1, b"\0" * 3)], SIZE, "RST_STREAM of 3"
    ),
    Case(
        "priority on stream 0",
        lambda p: [frame(PRIORITY, 0, 0, b"\0" * 5)],
        PROTOCOL,
        "PRIORITY on stream 0",
    ),
    Case(
        "continuation of nothing",
        lambda p: [frame(CONTINUATION, 4, 1, b"\x88")],
        PROTOCOL,
        "without HEADERS",
    ),
    Case(
        "data inside a header block",
        lambda p: [frame(HEADERS, 0, 1, b"\x88"), p.data(1, b"x")],
        PROTOCOL,
        "inside the header block",
    ),
    Case(
        "an unknown frame inside a header block",
        lambda p: [frame(HEADERS, 0, 1, b"\x88"), frame(99)],
        PROTOCOL,
        "inside the header block",
    ),
    Case(
        "the continuation of another stream",
        lambda p: [frame(HEADERS, 0, 1, b"\x88"), frame(CONTINUATION, 4, 3)],
        PROTOCOL,
        "inside the header block",
    ),
    Case(
        "a block that cannot be decoded",
        lambda p: [frame(HEADERS, END_HEADERS, 1, b"\x88\xff\xff")],
        ErrorCode.COMPRESSION_ERROR,
        "cannot be decoded",
    ),
    Case(
        "trailers that cannot be decoded",
        lambda p: [p.head(1), frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80")],
        ErrorCode.COMPRESSION_ERROR,
        "index 0",
    ),
]


@pytest.mark.parametrize("case", CONNECTION_FAULTS, ids=[case.name for case in CONNECTION_FAULTS])
async def test_a_broken_rule_ends_the_connection(case: Case) -> None:
    """RFC 9113 4 to 6"""
    peer = Peer()
    peer.get()
    exchange, sink = peer.get()
    peer.say(*case.say(peer))
    code, message = await peer.goaway()
    assert ErrorCode(code) == case.code
    assert case.words in message.decode()
    assert not peer.connection.is_usable()
    if exchange.unprocessed:  # GOAWAY had given it back
        return
    with pytest.raises(BadHttpMessage, match=case.words):
        await exchange.receive_head()
    peer.say(peer.head(3, end=True))  # and nothing that follows counts
    assert not sink.ended
    await peer.connection.wait_closed()


STREAM_FAULTS = [
    Case(
        "data before headers",
        lambda p: [p.data(1, b"x")],
        PROTOCOL,
        "before the response's header section",
    ),
    Case("no status", lambda p: [p.head(1, [("a", "b")])], PROTOCOL, "does not begin with :status"),
    Case("no field at all", lambda p: [p.head(1, [])], PROTOCOL, "does not begin with :status"),
    Case(
        "status after a field",
        lambda p: [p.head(1, [("a", "b"), *OK])],
        PROTOCOL,
        "does not begin with",
    ),
    Case("status twice", lambda p: [p.head(1, OK * 2)], PROTOCOL, "a field named b':status'"),
    Case(
        "status of four digits",
        lambda p: [p.head(1, [(":status", "2000")])],
        PROTOCOL,
        ":status is b'2000'",
    ),
    Case("status of letters", lambda p: [p.head(1, [(":status", "abc")])], PROTOCOL, ":status is"),
    Case("101", lambda p: [p.head(1, [(":status", "101")])], PROTOCOL, "does not have"),
    Case(
        "another pseudo-header",
        lambda p: [p.head(1, [*OK, (":path", "/")])],
        PROTOCOL,
        "a field named b':path'",
    ),
    Case(
        "an upper-case name",
        lambda p: [p.head(1, [*OK, ("X-A", "1")])],
        PROTOCOL,
        "a field named b'X-A'",
    ),
    Case("an empty name", lambda p: [p.head(1, [*OK, ("", "1")])], PROTOCOL, "a field named b''"),
    Case(
        "a name with a blank", lambda p: [p.head(1, [*OK, ("x a", "1")])], PROTOCOL, "a field named"
    ),
    Case(
        "a value with a line end",
        lambda p: [p.head(1, [*OK, ("a", "1\r\nb: 2")])],
        PROTOCOL,
        "has the value",
    ),
    Case(
        "a value with NUL", lambda p: [p.head(1, [*OK, ("a", "1\x00")])], PROTOCOL, "has the value"
    ),
    Case(
        "a value that begins with a blank",
        lambda p: [p.head(1, [*OK, ("a", " 1")])],
        PROTOCOL,
        "has the value",
    ),
    Case(
        "a value that ends with a tab",
        lambda p: [p.head(1, [*OK, ("a", "1\t")])],
        PROTOCOL,
        "has the value",
    ),
    Case(
        "connection", lambda p: [p.head(1, [*OK, ("connection", "x")])], PROTOCOL, "does not have"
    ),
    Case(
        "chunks",
        lambda p: [p.head(1, [*OK, ("transfer-encoding", "chunked")])],
        PROTOCOL,
        "does not have",
    ),
    Case("te", lambda p: [p.head(1, [*OK, ("te", "gzip")])], PROTOCOL, "does not have"),
    Case(
        "a length of letters",
        lambda p: [p.head(1, [*OK, ("content-length", "x")])],
        PROTOCOL,
        "content-length is",
    ),
    Case(
        "a length with a sign",
        lambda p: [p.head(1, [*OK, ("content-length", "+1")])],
        PROTOCOL,
        "content-length",
    ),
    Case(
        "two lengths",
        lambda p: [p.head(1, [*OK, ("content-length", "1"), ("content-length", "2")])],
        PROTOCOL,
        "content-length is b'2'",
    ),
    Case(
        "an interim response that ends",
        lambda p: [p.head(1, [(":status", "103")], end=True)],
        PROTOCOL,
        "103 ends",
    ),
    Case(
        "interim responses for ever",
        lambda p: [p.head(1, [(":status", "103")])] * 33,
        CALM,
        "more than 32 interim",
    ),
    Case(
        "too many fields",
        lambda p: [p.head(1, [*OK, *[("a", "b")] * 200])],
        PROTOCOL,
        "more than 128",
    ),
    Case(
        "a field that is too long",
        lambda p: [p.head(1, [*OK, ("a", "b" * 9000)])],
        PROTOCOL,
        "more than 8190 bytes",
    ),
    Case("a window update by 0", lambda p: [frame(WINDOW, 0, 1, word(0))], PROTOCOL, "by 0"),
    Case(
        "a window past its maximum",
        lambda p: [frame(WINDOW, 0, 1, word(2**31 - 1))],
        FLOW,
        "past 2",
    ),
    Case(
        "priority of four bytes",
        lambda p: [frame(PRIORITY, 0, 1, b"\0" * 4)],
        SIZE,
        "PRIORITY of 4",
    ),
]
BODY_FAULTS = [
    Case(
        "a body longer than its length",
        lambda p: [p.head(1, [*OK, ("content-length", "2")]), p.data(1, b"abc")],
        PROTOCOL,
        "longer than 2",
    ),
    Case(
        "a body shorter than its length",
        lambda p: [p.head(1, [*OK, ("content-length", "5")]), p.data(1, b"abc", end=True)],
        PROTOCOL,
        "3 bytes instead of 5",
    ),
    Case(
        "no body where a length was named",
        lambda p: [p.head(1, [*OK, ("content-length", "5")], end=True)],
        PROTOCOL,
        "0 bytes instead of 5",
    ),
    Case(
        "a body with 204",
        lambda p: [p.head(1, [(":status", "204")]), p.data(1, b"x")],
        PROTOCOL,
        "longer than 0",
    ),
    Case(
        "trailers that do not end",
        lambda p: [p.head(1), p.head(1, [("a", "b")])],
        PROTOCOL,
        "does not end",
    ),
    Case(
        "trailers with status",
        lambda p: [p.head(1), p.head(1, OK, end=True)],
        PROTOCOL,
        "a field named",
    ),
    Case(
        "data past the stream's window",
        lambda p: [p.head(1), *[p.data(1, b"x" * 16384)] * 33],
        FLOW,
        "passes the stream's window",
    ),
]


@pytest.mark.parametrize(
    "case", STREAM_FAULTS + BODY_FAULTS, ids=[case.name for case in STREAM_FAULTS + BODY_FAULTS]
)
async def test_a_malformed_response_ends_its_stream_alone(case: Case) -> None:
    """RFC 9113 8.1.1"""
    peer = Peer()
    (exchange, sink), (_, other) = peer.get(), peer.get()
    exchange.pause_reading()
    await peer.heard()
    peer.say(*case.say(peer))
    resets = [(stream, payload) for kind, _, stream, payload in await peer.heard() if kind == RST]
    assert resets == [(1, word(case.code))]
    if case in BODY_FAULTS:
        assert isinstance(sink.error, ClientPayloadError)
        assert case.words in str(sink.error)
    else:
        with pytest.raises(BadHttpMessage) as failure:
            await exchange.receive_head()
        assert case.words in failure.value.message
    assert not sink.ended
    peer.say(peer.head(3), peer.data(3, b"fine", end=True))
    assert other.data == b"fine"
    assert other.ended


async def test_the_table_stays_right_after_a_list_that_is_too_long() -> None:
    peer = Peer(limits=Limits(max_line_size=100, max_field_size=100, max_headers=10))
    (exchange, _), (other, _) = peer.get(), peer.get()
    peer.say(peer.head(1, [*OK, ("x-new", "1"), *[("a", "b" * 90)] * 200]))
    with pytest.raises(BadHttpMessage, match="more than 10 header fields"):
        await exchange.receive_head()
    peer.say(peer.head(3, [*OK, ("x-new", "1")], end=True))
    assert other.head.get(b"x-new") == b"1"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server speaks HTTP/1"),
        (frame(PING, 0, 0, b"12345678"), "does not begin with SETTINGS"),
        (frame(SETTINGS, ACK), "does not begin with SETTINGS"),
        (b"\x15\x03\x03\x00\x02\x02\x46 and so on", "does not begin with SETTINGS"),
    ],
)
async def test_a_server_that_speaks_something_else_is_told_apart(answer: bytes, words: str) -> None:
    """RFC 9113 3.4"""
    peer = Peer(begin=None)
    exchange, _ = peer.get()
    peer.say(answer)
    assert (await peer.goaway())[0] == PROTOCOL
    with pytest.raises(BadHttpMessage, match=words):
        await exchange.receive_head()


async def test_data_past_the_connections_window_ends_the_connection() -> None:
    """RFC 9113 6.9.1.  The window follows what comes, so only a frame larger than what is left
    passes it.
    """
    peer = Peer(flow=FlowOptions(connection_window=65535))
    peer.connection._reader.window = 100
    peer.get()
    peer.say(peer.head(1), peer.data(1, b"x" * 101))
    assert (await peer.goaway())[0] == FLOW


async def test_late_data_of_a_reset_stream_stays_within_its_window() -> None:
    peer = Peer(flow=FlowOptions(initial_window=20000))
    exchange, _ = peer.get()
    peer.say(peer.head(1))
    exchange.cancel()
    peer.say(peer.data(1, b"x" * 15000))
    assert not peer.transport.closing
    peer.say(peer.data(1, b"x" * 15000))
    code, message = await peer.goaway()
    assert code == FLOW
    assert b"window of stream 1" in message


FLOODS: list[tuple[str, Callable[[Peer], bytes]]] = [
    ("ping", lambda p: frame(PING, 0, 0, b"12345678")),
    ("ping answers", lambda p: frame(PING, ACK, 0, b"12345678")),
    ("settings", lambda p: settings()),
    ("settings answers", lambda p: frame(SETTINGS, ACK)),
    ("empty data", lambda p: p.data(1, b"")),
    ("data that is all padding", lambda p: frame(DATA, PADDED, 1, b"\x05" + b"\0" * 5)),
    ("priority", lambda p: frame(PRIORITY, 0, 1, b"\0" * 5)),
    ("window updates", lambda p: frame(WINDOW, 0, 1, word(1))),
    ("the connection's window updates", lambda p: frame(WINDOW, 0, 0, word(1))),
    ("resets of what has ended", lambda p: frame(RST, 0, 3, word(8))),
    ("goaways", lambda p: frame(GOAWAY, 0, 0, word(3) + word(0))),
    ("unknown frames", lambda p: frame(99, 0, 0, b"x")),
    ("trailers of what was reset", lambda p: p.head(5, [("a", "b")], end=True)),
]


@pytest.mark.parametrize(("name", "flood"), FLOODS, ids=[name for name, _ in FLOODS])
async def test_a_flood_is_cut(name: str, flood: Callable[[Peer], bytes]) -> None:
    """CVE-2019-9512, -9513, -9515, -9516, -9518 and their like"""
    peer = Peer(flow=FlowOptions(max_noise=50))
    exchange, sink = peer.get()
    peer.get()
    cancelled, _ = peer.get()
    peer.say(peer.head(1), peer.head(3, end=True))
    cancelled.cancel()
    piece = flood(peer)
    for _ in range(60):
        peer.say(piece)
    code, message = await peer.goaway()
    assert code == CALM
    assert b"more than 50 frames to no purpose" in message
    assert isinstance(sink.error, ClientPayloadError)
    assert exchange.error is sink.error


async def test_rapid_resets_by_the_server_are_cut() -> None:
    """CVE-2023-44487, from the other side: a server that resets whatever is asked"""
    peer = Peer(flow=FlowOptions(max_noise=50))
    for stream in range(1, 121, 2):
        if not peer.connection.is_usable():
            break
        peer.get()
        peer.say(frame(RST, 0, stream, word(8)))
    assert (await peer.goaway())[0] == CALM


async def test_a_slow_trickle_is_no_flood() -> None:
    peer = Peer(flow=FlowOptions(max_noise=5, noise_period=0.0))
    for _ in range(100):
        peer.say(frame(PING, 0, 0, b"12345678"))
    assert not peer.transport.closing


async def test_window_updates_for_what_we_send_are_no_flood() -> None:
    peer = Peer(flow=FlowOptions(max_noise=10))
    exchange, _ = peer.post()
    for _ in range(200):
        exchange.send(b"x")
        peer.say(frame(WINDOW, 0, 1, word(1)), frame(WINDOW, 0, 0, word(1)))
    assert not peer.transport.closing


@pytest.mark.parametrize("size", [0, 1, 16384])
async def test_a_continuation_flood_is_cut_and_keeps_no_memory(size: int) -> None:
    """CVE-2024-27316 and its like"""
    peer = Peer()
    peer.get()
    peer.say(frame(HEADERS, 0, 1, b"\x88"))
    piece = frame(CONTINUATION, 0, 1, b"\0" * size)
    tracemalloc.start()
    try:
        for _ in range(2000):
            peer.say(piece)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert (await peer.goaway())[0] == CALM


async def test_a_flood_that_is_answered_is_bounded_while_nothing_can_be_written() -> None:
    peer = Peer(flow=FlowOptions(max_noise=100))
    peer.connection.pause_writing()
    for _ in range(10_000):
        peer.say(frame(PING, 0, 0, b"12345678"))
    await asyncio.sleep(0)
    assert len(peer.transport.written) < 100 * 17 + 500


async def test_a_window_that_is_never_used_up_stays_within_bounds() -> None:
    """A reader that stops holds back one stream, and no more than a window of it is kept."""
    peer = Peer(flow=FlowOptions(initial_window=65536))
    exchange, sink = peer.get()
    exchange.pause_reading()
    peer.say(peer.head(1))
    for _ in range(10):
        peer.say(peer.data(1, b"x" * 16384))
    assert len(sink.data) == 65536
    assert isinstance(sink.error, ClientPayloadError)


async def test_a_transport_that_does_not_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.protocol.http2.connection._FAREWELL", 0.001)
    peer = Peer()
    monkeypatch.setattr(peer.transport, "close", lambda: None)
    monkeypatch.setattr(peer.transport, "abort", lambda: peer.connection.connection_lost(None))
    peer.say(frame(PING, 0, 1, b"12345678"))
    await peer.connection.wait_closed()


# --- SETTINGS by what they cost (RFC 9113 10.5) ---


async def test_the_last_value_of_each_setting_is_applied_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = Peer()
    exchanges = [peer.get()[0] for _ in range(20)]
    moved: list[int] = []
    resized: list[int] = []
    sender = type(peer.connection.sender)
    encoder = type(peer.connection.sender.encoder)
    resize_windows, resize = sender.resize_windows, encoder.resize
    monkeypatch.setattr(
        sender,
        "resize_windows",
        lambda self, initial, streams: (
            moved.append(initial),
            resize_windows(self, initial, streams),
        )[1],
    )
    monkeypatch.setattr(
        encoder, "resize", lambda self, limit: (resized.append(limit), resize(self, limit))[1]
    )
    pairs = [(4, 70000 + at) for at in range(900)] + [(1, at) for at in range(900, 0, -1)]
    pairs += [(3, at) for at in range(900)]
    peer.say(settings(*pairs))
    assert moved == [70899]
    assert resized == [1, 1]
    assert peer.connection.sender.initial_window == 70899
    assert {exchange.send_window for exchange in exchanges} == {70899}
    assert peer.connection.control.max_streams == 899


async def test_the_smallest_table_of_one_frame_is_told_of() -> None:
    """RFC 7541 4.2: the smallest size that was in force, then the last."""
    peer = Peer()
    peer.say(settings((1, 4096), (1, 0), (1, 100), (1, 4096)))
    peer.get()
    block = next(payload for kind, _, _, payload in await peer.heard() if kind == HEADERS)
    assert block.startswith(b"\x20\x3f\xe1\x1f")


@pytest.mark.parametrize("setting", [1, 3, 4, 99])
async def test_full_frames_of_settings_are_soon_too_many(setting: int) -> None:
    peer = Peer()
    full = settings(*[(setting, 70000 + at) for at in range(2730)])
    frames = 0
    while not peer.transport.closing and frames < 30:
        frames += 1
        peer.say(full)
    assert frames <= 12
    assert (await peer.goaway())[0] == CALM


async def test_windows_that_move_to_and_fro_cost_by_the_streams_they_move() -> None:
    def frames_borne(streams: int) -> int:
        peer = Peer(flow=FlowOptions(max_noise=200))
        for _ in range(streams):
            peer.get()
        frames = 0
        while not peer.transport.closing:
            frames += 1
            peer.say(settings((4, 70000 + frames % 2)))
        return frames

    assert frames_borne(1) == 201
    assert frames_borne(64) <= 201 // 4


async def test_a_usual_server_changes_its_settings_as_often_as_it_likes() -> None:
    peer = Peer()
    for at in range(900):
        peer.say(settings((3, 100), (4, 65535), (5, 16384), (1, 4096), (6, 65536 + at)))
    assert not peer.transport.closing


@pytest.mark.parametrize(
    ("flood", "words"),
    [
        (lambda p: frame(PING, 0, 0, b"12345678"), "to no purpose"),
        (lambda p: frame(PRIORITY, 0, 1, b"\0\0\0\0\1"), "to no purpose"),
        (lambda p: frame(WINDOW, 0, 0, word(1)), "to no purpose"),
        (lambda p: frame(WINDOW, 0, 1, word(1)), "to no purpose"),
        (lambda p: frame(DATA, 0, 1), "to no purpose"),
        (lambda p: frame(DATA, PADDED, 1, b"\3abc"), "to no purpose"),
        (lambda p: frame(SETTINGS, ACK, 0), "to no purpose"),
        (lambda p: frame(0xEE, 0, 0, b"x" * 100), "to no purpose"),
    ],
)
async def test_a_flood_ends_the_connection(flood: Callable[[Peer], bytes], words: str) -> None:
    peer = Peer()
    peer.get()
    peer.say(peer.head(1))
    piece = flood(peer)
    for _ in range(1002):
        if not peer.transport.closing:
            peer.say(piece)
    code, message = await peer.goaway()
    assert code == CALM
    assert words in message.decode()


async def test_a_flood_of_continuations_ends_the_connection() -> None:
    peer = Peer()
    peer.get()
    peer.say(frame(HEADERS, 0, 1, b"\x88"))
    for _ in range(10):
        if not peer.transport.closing:
            peer.say(frame(CONTINUATION, 0, 1))
    assert (await peer.goaway())[0] == CALM


async def test_a_header_list_that_goes_on_past_its_limit_ends_the_connection() -> None:
    peer = Peer()
    peer.get()
    peer.say(frame(HEADERS, END_HEADERS, 1, b"\x88" * 16000))
    assert (await peer.goaway())[0] == CALM


# --- a request's own limits ---


LIMITED = [
    (Limits(max_headers=3), [("a", "1")] * 4, "more than 3 header fields"),
    (Limits(max_field_size=10), [("a", "1" * 11)], "more than 10 bytes"),
    (Limits(max_line_size=10), [("a" * 11, "1")], "more than 10 bytes"),
]


@pytest.mark.parametrize(("limits", "fields", "words"), LIMITED)
@pytest.mark.parametrize("where", ["connection", "request"])
@pytest.mark.parametrize("part", ["head", "interim", "trailers"])
async def test_the_limits_of_connection_and_request(
    limits: Limits, fields: list[tuple[str, str]], words: str, where: str, part: str
) -> None:
    """And what one request may not have, another on the same connection may, known block or not."""
    peer = Peer(limits=limits if where == "connection" else None)

    def get(own: Limits | None) -> tuple[Any, Any]:
        sink = Sink()
        head = RequestHead("GET", "https", "a.example", "/")
        head.limits = own
        return peer.connection.start(head, sink), sink

    def answer(stream: int) -> list[bytes]:
        if part == "head":
            return [peer.head(stream, [*OK, *fields], end=True)]
        if part == "interim":
            return [peer.head(stream, [(":status", "103"), *fields]), peer.head(stream, end=True)]
        return [peer.head(stream), peer.head(stream, fields, end=True)]

    loose = Limits()
    for at in range(4):
        strict = at % 2 == 1
        own = (limits if where == "request" else None) if strict else loose
        exchange, sink = get(own)
        peer.say(*answer(exchange.stream_id))
        if strict:
            assert words in str(exchange.error)
            assert not sink.ended
        else:
            assert exchange.error is None
            assert sink.ended
    assert not peer.transport.closing


async def test_a_request_that_may_have_more_gets_more() -> None:
    """What is cut into CONTINUATION frames is measured by the request's own limits, too."""
    peer = Peer(limits=Limits(max_line_size=100, max_field_size=100, max_headers=10))
    head = RequestHead("GET", "https", "a.example", "/")
    head.limits = Limits(max_field_size=60_000)
    sink = Sink()
    exchange = peer.connection.start(head, sink)
    block = peer.block([*OK, ("a", "\x7e" * 40_000)])
    peer.say(frame(HEADERS, END_STREAM, 1, block[:16000]))
    for at in range(16000, len(block), 16000):
        last = END_HEADERS if at + 16000 >= len(block) else 0
        peer.say(frame(CONTINUATION, last, 1, block[at : at + 16000]))
    assert exchange.error is None
    assert sink.ended


@pytest.mark.parametrize("part", ["head", "trailers"])
async def test_no_control_character_is_in_a_value(part: str) -> None:
    """RFC 9110 5.5, whatever the version: HTTP/1.1's parser refuses the same bytes."""
    for octet in range(256):
        peer = Peer()
        exchange, _ = peer.get()
        block = b"\x00\x01a\x03x" + bytes([octet]) + b"y"
        if part == "head":
            peer.say(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88" + block))
        else:
            peer.say(peer.head(1), frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        refused = exchange.error is not None
        assert refused is ((octet < 0x20 and octet != 9) or octet == 0x7F), octet
        parser = httptools.HttpResponseParser(object())
        line = b"HTTP/1.1 200 OK\r\na: x" + bytes([octet]) + b"y\r\n\r\n"
        if refused:
            with pytest.raises(httptools.HttpParserError):
                parser.feed_data(line)
        else:
            parser.feed_data(line)
        assert not peer.transport.closing
