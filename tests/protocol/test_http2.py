"""What exchanges on an HTTP/2 connection do, frame by frame."""

from __future__ import annotations

import asyncio
import gc

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
    RST,
    SETTINGS,
    WINDOW,
    Peer,
    frame,
    settings,
    word,
)

from wherry.errors import (
    ClientConnectionError,
    ClientConnectionResetError,
    ClientPayloadError,
    ServerDisconnectedError,
)
from wherry.protocol.heads import FieldBlock
from wherry.protocol.http2.connection import Http2Connection
from wherry.protocol.http2.flow_control import FlowOptions
from wherry.types import HttpVersion20

MAX_STREAMS, INITIAL_WINDOW, FRAME_SIZE, CONNECT_PROTOCOL = 3, 4, 5, 8


async def test_a_connection_begins_with_preface_settings_and_a_wide_window() -> None:
    """RFC 9113 3.4"""
    peer = Peer()
    kinds = [(kind, stream) for kind, _, stream, _ in await peer.heard()]
    assert kinds == [(SETTINGS, 0), (WINDOW, 0), (SETTINGS, 0)]


async def test_a_request_and_its_response() -> None:
    peer = Peer()
    exchange, sink = peer.get(
        "/a?b", shared=FieldBlock([("User-Agent", "w")]), fields=(("X-One", "1"),)
    )
    await peer.heard()
    peer.say(
        peer.head(1, [(":status", "200"), ("x", "y")]),
        peer.data(1, b"ab"),
        peer.data(1, b"cd", end=True),
    )
    head = await exchange.receive_head()
    assert (head.status, head.version, head.reason, head.raw) == (
        200,
        HttpVersion20,
        "",
        ((b"x", b"y"),),
    )
    assert (sink.data, sink.ended, exchange.complete) == (b"abcd", True, True)
    assert peer.connection.is_idle


async def test_a_requests_fields_come_in_order_and_without_those_of_a_connection() -> None:
    """RFC 9113 8.2.2, 8.3.1"""
    peer = Peer()
    await peer.heard()
    peer.get("/p", fields=(("Cookie", "a=1; b=2"), ("Connection", "close"), ("TE", "trailers")))
    [(kind, flags, stream, payload)] = await peer.heard()
    assert (kind, flags, stream) == (HEADERS, END_STREAM | END_HEADERS, 1)
    assert [tuple(field) for field in peer.decoder.decode(payload)] == [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", "/p"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
    ]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://a.example/x?y", "/x?y"),
        ("http://a.example", "/"),
        ("http://a.example?q", "/?q"),
        ("*", "*"),
    ],
)
async def test_targets_of_other_forms_become_a_path(target: str, path: str) -> None:
    peer = Peer()
    await peer.heard()
    peer.get(target)
    [(_, _, _, payload)] = await peer.heard()
    assert dict(peer.decoder.decode(payload))[":path"] == path


async def test_connect_names_its_end_and_no_path() -> None:
    """RFC 9113 8.5"""
    peer = Peer()
    await peer.heard()
    peer.get("b.example:25", method="CONNECT", fields=[("x-a", "1")])
    [(_, _, _, payload)] = await peer.heard()
    assert peer.decoder.decode(payload) == [
        (":method", "CONNECT"),
        (":authority", "b.example:25"),
        ("x-a", "1"),
    ]


async def test_requests_of_one_turn_go_out_in_one_write() -> None:
    peer = Peer()
    await peer.heard()
    writes = []
    peer.transport.write = writes.append  # type: ignore[method-assign,assignment]
    for _ in range(5):
        peer.get()
    await asyncio.sleep(0)
    assert len(writes) == 1


@pytest.mark.parametrize("size", [1, 2, 7, 10, 100])
async def test_frames_may_come_in_any_pieces(size: int) -> None:
    peer = Peer(begin=None)
    exchange, sink = peer.get()
    stream = settings() + peer.head(1) + peer.data(1, b"x" * 50) + frame(PING, 0, 0, b"12345678")
    stream += peer.data(1, b"y" * 50, end=True)
    peer.say(*(stream[at : at + size] for at in range(0, len(stream), size)))
    assert sink.data == b"x" * 50 + b"y" * 50
    assert exchange.complete


async def test_a_read_may_hold_many_large_frames() -> None:
    peer = Peer()
    _, sink = peer.get()
    peer.say(
        peer.head(1)
        + b"".join(peer.data(1, bytes([at]) * 16384) for at in range(20))
        + peer.data(1, b"", end=True)
    )
    assert sink.data == b"".join(bytes([at]) * 16384 for at in range(20))


async def test_streams_are_interleaved_without_being_mixed_up() -> None:
    peer = Peer()
    pairs = [peer.get() for _ in range(3)]
    peer.say(*(peer.head(stream) for stream in (5, 1, 3)))
    peer.say(
        peer.data(3, b"3a"),
        peer.data(1, b"1a"),
        peer.data(5, b"5", end=True),
        peer.data(3, b"3b", end=True),
    )
    assert [sink.data for _, sink in pairs] == [b"1a", b"3a3b", b"5"]
    assert [exchange.complete for exchange, _ in pairs] == [False, True, True]


async def test_padding_and_priority_are_cut_off() -> None:
    peer = Peer()
    exchange, sink = peer.get()
    block = b"\x03" + b"\0\0\0\0\x10" + peer.block(OK) + b"\0" * 3
    peer.say(frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, block))
    peer.say(
        frame(DATA, PADDED, 1, b"\x05ab" + b"\0" * 5), frame(DATA, PADDED | END_STREAM, 1, b"\0cd")
    )
    assert (await exchange.receive_head()).status == 200
    assert sink.data == b"abcd"


async def test_continuation_carries_the_rest_of_a_block() -> None:
    """RFC 9113 6.10"""
    peer = Peer()
    exchange, sink = peer.get()
    block = peer.block([*OK, ("x", "y" * 50)])
    peer.say(
        frame(HEADERS, END_STREAM, 1, block[:5]),
        frame(CONTINUATION, 0, 1, block[5:20]),
        frame(CONTINUATION, END_HEADERS, 1, block[20:]),
    )
    assert (await exchange.receive_head()).get(b"x") == b"y" * 50
    assert sink.ended


async def test_interim_responses_are_told_apart_from_the_final_one() -> None:
    """RFC 9113 8.1; RFC 9110 15.2"""
    peer = Peer()
    exchange, _ = peer.get()
    seen: list[int] = []
    exchange.informational = lambda head: seen.append(head.status)
    peer.say(
        peer.head(1, [(":status", "103"), ("link", "</a>")]), peer.head(1, [(":status", "100")])
    )
    assert exchange.head is None
    peer.say(peer.head(1, end=True))
    assert (await exchange.receive_head()).status == 200
    assert seen == [103, 100]


async def test_trailers_come_with_the_end() -> None:
    """RFC 9113 8.1"""
    peer = Peer()
    exchange, sink = peer.get()
    peer.say(peer.head(1), peer.data(1, b"ab"), peer.head(1, [("x-sum", "1")], end=True))
    assert exchange.trailers == ((b"x-sum", b"1"),)
    assert sink.ended


async def test_head_has_no_body_whatever_its_length_says() -> None:
    """RFC 9113 8.1.1"""
    peer = Peer()
    exchange, sink = peer.get(method="HEAD")
    peer.say(peer.head(1, [*OK, ("content-length", "100")], end=True))
    assert sink.ended
    assert exchange.error is None


async def test_304_may_name_a_length() -> None:
    peer = Peer()
    exchange, sink = peer.get()
    peer.say(peer.head(1, [(":status", "304"), ("content-length", "100")], end=True))
    assert sink.ended
    assert exchange.error is None


# --- sending --------------------------------------------------------------------------------------


async def test_a_body_at_hand_goes_with_its_head() -> None:
    peer = Peer()
    await peer.heard()
    peer.post(b"body")
    (kind, flags, _, _), (_, end, _, payload) = await peer.heard()
    assert (kind, flags, end, payload) == (HEADERS, END_HEADERS, END_STREAM, b"body")


async def test_an_empty_body_ends_with_the_head() -> None:
    peer = Peer()
    await peer.heard()
    peer.post(b"")
    [(_, flags, _, payload)] = await peer.heard()
    assert flags & END_STREAM
    assert ("content-length", "0") in [tuple(field) for field in peer.decoder.decode(payload)]


async def test_a_streamed_body_ends_when_it_is_told_to() -> None:
    peer = Peer()
    await peer.heard()
    exchange, _ = peer.post()
    exchange.send(b"a")
    exchange.send(bytearray(b"b"))
    exchange.send(b"")
    exchange.end()
    exchange.end()
    frames = await peer.heard()
    assert [(flags, payload) for _, flags, _, payload in frames[1:]] == [
        (0, b"a"),
        (0, b"b"),
        (END_STREAM, b""),
    ]
    with pytest.raises(RuntimeError, match="ended"):
        exchange.send(b"more")


async def test_what_is_sent_is_taken_at_once() -> None:
    """The caller may use its buffer again."""
    peer = Peer()
    await peer.heard()
    exchange, _ = peer.post()
    buffer = bytearray(b"abc")
    exchange.send(buffer)
    buffer[:] = b"xyz"
    assert (await peer.heard())[1][3] == b"abc"


async def test_a_requests_trailers_end_it() -> None:
    """RFC 9113 8.1"""
    peer = Peer()
    await peer.heard()
    exchange, _ = peer.post()
    exchange.send(b"a")
    exchange.end((("X-Sum", "1"),))
    frames = await peer.heard()
    assert [kind for kind, *_ in frames] == [HEADERS, DATA, HEADERS]
    assert frames[2][1] == END_STREAM | END_HEADERS
    peer.decoder.decode(frames[0][3])
    assert [tuple(field) for field in peer.decoder.decode(frames[2][3])] == [("x-sum", "1")]


async def test_a_long_head_is_continued() -> None:
    peer = Peer()
    await peer.heard()
    peer.get(fields=(("x", "y" * 40000),))
    frames = await peer.heard()
    assert [(kind, flags) for kind, flags, *_ in frames] == [
        (HEADERS, END_STREAM),
        (CONTINUATION, 0),
        (CONTINUATION, END_HEADERS),
    ]
    assert (
        dict(peer.decoder.decode(b"".join(payload for *_, payload in frames)))["x"] == "y" * 40000
    )


async def test_the_peers_windows_hold_a_body_back_and_let_it_go_on() -> None:
    """RFC 9113 6.9"""
    peer = Peer(begin=settings((INITIAL_WINDOW, 10)))
    await peer.heard()
    _exchange, _ = peer.post(b"x" * 30)
    frames = await peer.heard()
    assert [len(payload) for kind, _, _, payload in frames if kind == DATA] == [10]
    peer.say(frame(WINDOW, 0, 1, word(15)))
    assert [(flags, len(payload)) for _, flags, _, payload in await peer.heard()] == [(0, 15)]
    peer.say(settings((INITIAL_WINDOW, 20)))  # 6.9.2: open windows move by the difference
    assert [
        (flags, len(payload)) for kind, flags, _, payload in await peer.heard() if kind == DATA
    ] == [(END_STREAM, 5)]


async def test_a_smaller_initial_window_can_take_a_window_below_zero() -> None:
    """RFC 9113 6.9.2"""
    peer = Peer(begin=settings((INITIAL_WINDOW, 10)))
    peer.post(b"x" * 30)
    await peer.heard()
    peer.say(settings((INITIAL_WINDOW, 0)), frame(WINDOW, 0, 1, word(10)))
    assert [kind for kind, *_ in await peer.heard()] == [SETTINGS]
    peer.say(frame(WINDOW, 0, 1, word(5)))
    assert [len(payload) for *_, payload in await peer.heard()] == [5]


async def test_the_connections_window_is_shared_in_turns() -> None:
    peer = Peer(begin=settings((INITIAL_WINDOW, 2**20)))
    await peer.heard()
    exchanges = [peer.post()[0] for _ in range(3)]
    exchanges[0].send(b"0" * 65535)
    for exchange in exchanges:
        exchange.send(b"x" * 200_000)
    await peer.heard()
    peer.say(frame(WINDOW, 0, 0, word(3 * 65536)))
    sent = {1: 0, 3: 0, 5: 0}
    for kind, _, stream, payload in await peer.heard():
        if kind == DATA:
            sent[stream] += len(payload)
    assert sent == {1: 65536, 3: 65536, 5: 65536}


async def test_drain_waits_for_the_window() -> None:
    peer = Peer(begin=settings((INITIAL_WINDOW, 10)))
    exchange, _ = peer.post()
    exchange.send(b"x" * 30)
    drain = asyncio.ensure_future(exchange.drain())
    await asyncio.sleep(0)
    peer.say(frame(WINDOW, 0, 1, word(10)))
    await asyncio.sleep(0)
    assert not drain.done()
    peer.say(frame(WINDOW, 0, 1, word(10)))
    await drain


async def test_drain_waits_for_the_transport() -> None:
    peer = Peer()
    exchange, _ = peer.post()
    peer.connection.pause_writing()
    exchange.send(b"x")
    drain = asyncio.ensure_future(exchange.drain())
    await asyncio.sleep(0)
    assert not drain.done()
    assert not [frame for frame in await peer.heard() if frame[0] == DATA]
    peer.connection.resume_writing()
    await drain
    assert [payload for kind, *_, payload in await peer.heard() if kind == DATA] == [b"x"]


async def test_drain_fails_with_the_exchange() -> None:
    peer = Peer(begin=settings((INITIAL_WINDOW, 0)))
    exchange, _ = peer.post()
    exchange.send(b"x")
    drain = asyncio.ensure_future(exchange.drain())
    await asyncio.sleep(0)
    peer.say(frame(RST, 0, 1, word(2)))
    with pytest.raises(ServerDisconnectedError, match="INTERNAL_ERROR"):
        await drain
    with pytest.raises(ServerDisconnectedError):
        exchange.send(b"y")


async def test_larger_frames_are_sent_where_the_peer_takes_them() -> None:
    peer = Peer(begin=settings((INITIAL_WINDOW, 2**20), (FRAME_SIZE, 30000)))
    await peer.heard()
    peer.post(b"x" * 50000)
    assert [len(payload) for kind, *_, payload in await peer.heard() if kind == DATA] == [
        30000,
        20000,
    ]


async def test_an_early_answer_ends_the_upload() -> None:
    """RFC 9113 8.1: the response counts, whatever becomes of the request."""
    peer = Peer(begin=settings((INITIAL_WINDOW, 10)))
    exchange, sink = peer.post()
    exchange.send(b"x" * 100)
    drain = asyncio.ensure_future(exchange.drain())
    await peer.heard()
    peer.say(peer.head(1, [(":status", "413")], end=True))
    assert await peer.names() == ["RST:1"]
    assert (exchange.head.status, sink.ended, exchange.error) == (413, True, None)
    await drain
    with pytest.raises(ClientConnectionResetError):
        exchange.send(b"more")
    peer.say(frame(RST, 0, 1, word(0)))  # and the server may say that it wants no more
    assert not peer.transport.closing


# --- receiving at the reader's pace ---------------------------------------------------------------


async def test_a_reader_that_keeps_up_gets_more_window_and_one_that_does_not_gets_none() -> None:
    peer = Peer(flow=FlowOptions(initial_window=20000, max_window=20000))
    (_first, _), (second, sink) = peer.get(), peer.get()
    second.pause_reading()
    peer.say(peer.head(1), peer.head(3), peer.data(1, b"x" * 12000), peer.data(3, b"x" * 12000))
    updates = [
        (stream, int.from_bytes(payload, "big"))
        for kind, _, stream, payload in await peer.heard()
        if kind == WINDOW
    ]
    assert updates[-1:] == [(1, 12000)]
    assert len(sink.data) == 12000
    second.resume_reading()
    assert [(stream, payload) for _, _, stream, payload in await peer.heard()] == [(3, word(12000))]


async def test_the_connections_window_follows_what_came_whoever_reads() -> None:
    peer = Peer(flow=FlowOptions(connection_window=70000))
    exchange, _ = peer.get()
    exchange.pause_reading()
    await peer.heard()
    peer.say(peer.head(1), *(peer.data(1, b"x" * 16000) for _ in range(3)))
    assert [(stream, payload) for _, _, stream, payload in await peer.heard()] == [(0, word(48000))]


async def test_a_window_that_holds_the_peer_back_doubles() -> None:
    peer = Peer(flow=FlowOptions(initial_window=20000, max_window=40000))
    peer.get()
    peer.say(peer.head(1), peer.data(1, b"x" * 12000))
    pings = [payload for kind, _, _, payload in await peer.heard() if kind == PING]
    assert len(pings) == 1
    peer.say(peer.data(1, b"x" * 14000), frame(PING, ACK, 0, pings[0]), peer.data(1, b"x" * 12000))
    updates = [payload for kind, _, stream, payload in await peer.heard() if kind == WINDOW]
    assert updates == [word(14000), word(20000 + 12000)]


async def test_a_slow_way_leaves_the_window_as_it_is() -> None:
    peer = Peer(flow=FlowOptions(initial_window=20000, max_window=40000))
    peer.get()
    peer.say(peer.head(1), peer.data(1, b"x" * 12000))
    [ping] = [payload for kind, _, _, payload in await peer.heard() if kind == PING]
    peer.say(frame(PING, ACK, 0, ping), peer.data(1, b"x" * 12000))
    assert [payload for kind, _, _, payload in await peer.heard() if kind == WINDOW] == [
        word(12000)
    ]


# --- how many, and how it ends --------------------------------------------------------------------


async def test_capacity_follows_the_servers_limit() -> None:
    """RFC 9113 5.1.2, 6.5.2"""
    peer = Peer(begin=None)
    assert peer.connection.capacity == 100
    peer.say(settings((MAX_STREAMS, 2)))
    assert peer.connection.capacity == 2
    peer.get()
    peer.get()
    assert (peer.connection.capacity, peer.connection.is_usable()) == (0, False)
    with pytest.raises(ClientConnectionResetError, match="no more streams"):
        peer.get()
    peer.owner.available.clear()
    peer.say(peer.head(1, end=True))
    assert peer.owner.available == [1]
    peer.say(settings((MAX_STREAMS, 0)))
    assert peer.connection.capacity == 0
    peer.say(settings((MAX_STREAMS, 5)))
    assert peer.owner.available == [1, 4]
    peer.say(peer.head(3, end=True))
    assert peer.owner.available == [1, 4, 5]


async def test_a_cancelled_exchange_resets_its_stream_and_no_other() -> None:
    peer = Peer()
    (first, sink), (second, other) = peer.get(), peer.get()
    peer.say(peer.head(1), peer.data(1, b"ab"))
    await peer.heard()
    first.cancel()
    first.cancel()
    assert [(kind, stream, payload) for kind, _, stream, payload in await peer.heard()] == [
        (RST, 1, word(8))
    ]
    assert isinstance(sink.error, ClientConnectionError)
    # What was on its way still counts for the windows and the table, and for nothing else.
    peer.say(peer.data(1, b"late"), peer.head(1, [("x-late", "1")], end=True))
    peer.say(peer.head(3, [*OK, ("x-late", "1")], end=True))
    assert second.head.get(b"x-late") == b"1"
    assert (sink.data, other.ended, peer.transport.closing) == (b"ab", True, False)


@pytest.mark.parametrize("answered", [False, True])
async def test_an_exchange_that_is_failed_from_above_gives_its_stream_back(answered: bool) -> None:
    """Time limits and uploads say why, and then give up."""
    peer = Peer(begin=settings((3, 1)))
    exchange, sink = peer.get()
    if answered:
        peer.say(peer.head(1))
    await peer.heard()
    exchange.fail(TimeoutError("too late"))
    exchange.cancel()
    exchange.cancel()
    assert await peer.names() == ["RST:1"]
    assert isinstance(sink.error, TimeoutError)
    assert (peer.connection.capacity, peer.connection.is_idle) == (1, True)


async def test_a_tunnel_that_is_failed_before_settings_came_gives_its_place_back() -> None:
    peer = Peer(begin=None)
    exchange, _ = peer.get(upgrade="websocket")
    exchange.fail(TimeoutError("too late"))
    exchange.cancel()
    exchange.cancel()
    assert peer.connection.is_idle


async def test_a_refused_stream_was_not_processed() -> None:
    """RFC 9113 8.7"""
    peer = Peer()
    exchange, _ = peer.post(b"x")
    peer.say(frame(RST, 0, 1, word(7)))
    with pytest.raises(ServerDisconnectedError, match="REFUSED_STREAM"):
        await exchange.receive_head()
    assert exchange.unprocessed


async def test_any_other_reset_may_have_been_processed() -> None:
    peer = Peer()
    exchange, _ = peer.get()
    peer.say(frame(RST, 0, 1, word(0x99)))
    with pytest.raises(ServerDisconnectedError, match="error code 0x99"):
        await exchange.receive_head()
    assert not exchange.unprocessed


async def test_a_reset_inside_a_body_is_never_short_data() -> None:
    peer = Peer()
    _exchange, sink = peer.get()
    peer.say(peer.head(1), peer.data(1, b"abc"), frame(RST, 0, 1, word(0)))
    assert isinstance(sink.error, ClientPayloadError)
    assert "NO_ERROR after 3 bytes" in str(sink.error)
    assert not sink.ended


@pytest.mark.parametrize(
    ("last", "code"), [(1, 0xB), (2**31 - 1, 0)], ids=["a complaint", "nothing refused"]
)
async def test_goaway_tells_how_much_a_connection_carries_only_where_it_is_for_that(
    last: int, code: int
) -> None:
    peer = Peer()
    peer.get(), peer.get()
    peer.say(frame(GOAWAY, 0, 0, word(last) + word(code)))
    assert peer.owner.refused == []


async def test_a_connection_carries_no_more_than_it_may() -> None:
    peer = Peer()
    peer.connection.carry_at_most(3)
    assert peer.connection.capacity == 3
    for left in (2, 1):
        _, sink = peer.get()
        stream = 2 * peer.connection.exchanges - 1
        peer.say(peer.head(stream), peer.data(stream, b"whole", end=True))
        assert sink.data == b"whole"
        assert peer.connection.capacity == left
    _, sink = peer.get()
    assert not peer.connection.is_usable()
    assert not peer.transport.closing
    peer.say(peer.head(5), peer.data(5, b"whole", end=True))
    assert sink.data == b"whole"
    assert peer.transport.closing


async def test_goaway_gives_back_what_was_not_processed_and_lets_the_rest_end() -> None:
    """RFC 9113 6.8"""
    peer = Peer()
    (first, sink), (second, _), (third, _) = peer.get(), peer.post(b"x"), peer.get()
    peer.say(frame(GOAWAY, 0, 0, word(1) + word(0) + b"bye"))
    for exchange in (second, third):
        assert exchange.unprocessed
        with pytest.raises(
            ServerDisconnectedError, match="not process the request: GOAWAY NO_ERROR b'bye'"
        ):
            await exchange.receive_head()
    assert not peer.connection.is_usable()
    assert not peer.transport.closing
    assert peer.owner.refused == [1]
    peer.say(peer.head(1), peer.data(1, b"whole", end=True))
    assert sink.data == b"whole"
    assert sink.ended
    assert first.error is None
    assert peer.transport.closing
    await peer.connection.wait_closed()
    assert peer.owner.lost == 1


async def test_goaway_in_two_steps_is_a_drain() -> None:
    peer = Peer()
    exchange, sink = peer.get()
    peer.say(frame(GOAWAY, 0, 0, word(2**31 - 1) + word(0)))
    assert (exchange.error, peer.connection.capacity) == (None, 0)
    peer.say(frame(GOAWAY, 0, 0, word(1) + word(0)), peer.head(1, end=True))
    assert sink.ended
    assert peer.transport.closing


async def test_what_goaway_said_is_told_when_the_connection_is_lost() -> None:
    peer = Peer()
    exchange, _ = peer.get()
    peer.say(frame(GOAWAY, 0, 0, word(1) + word(11) + b"too_many_pings"))
    peer.connection.connection_lost(None)
    with pytest.raises(
        ServerDisconnectedError, match="ENHANCE_YOUR_CALM b'too_many_pings' without a response"
    ):
        await exchange.receive_head()
    assert not exchange.unprocessed


async def test_an_idle_connection_closes_on_goaway() -> None:
    peer = Peer()
    peer.say(frame(GOAWAY, 0, 0, word(0) + word(0)))
    assert peer.transport.closing


async def test_a_lost_connection_fails_what_is_under_way() -> None:
    peer = Peer()
    (_first, one), (second, _) = peer.get(), peer.get()
    peer.say(peer.head(1), peer.data(1, b"ab"))
    drained = asyncio.ensure_future(peer.connection.wait_closed())
    await asyncio.sleep(0)
    peer.connection.eof_received()
    peer.connection.connection_lost(ConnectionResetError(104, "reset"))
    assert isinstance(one.error, ClientPayloadError)
    with pytest.raises(ServerDisconnectedError):
        await second.receive_head()
    await drained
    assert peer.owner.lost == 1
    assert not peer.connection.is_usable()


async def test_a_closed_connection_leaves_no_garbage() -> None:
    others = {id(found) for found in gc.get_objects() if isinstance(found, Http2Connection)}
    peer = Peer(flow=FlowOptions(initial_window=20000, max_window=40000))
    peer.get()
    peer.say(peer.head(1), peer.data(1, b"x" * 12000))  # and a PING is under way
    connection = peer.connection
    connection.close()
    await connection.wait_closed()
    await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    try:
        del peer, connection
        left = [found for found in gc.get_objects() if isinstance(found, Http2Connection)]
        assert not [found for found in left if id(found) not in others]
    finally:
        gc.enable()


async def test_close_says_goodbye() -> None:
    peer = Peer()
    await peer.heard()
    exchange, _ = peer.get()
    peer.connection.close()
    kind, _, _, payload = (await peer.heard())[-1]
    assert (kind, payload) == (GOAWAY, word(0) + word(0))
    with pytest.raises(ClientConnectionError, match="Connection closed"):
        await exchange.receive_head()
    await peer.connection.wait_closed()


async def test_a_retired_connection_ends_with_its_last_exchange() -> None:
    peer = Peer()
    (_, one), (_, two) = peer.get(), peer.get()
    peer.connection.retire()
    assert not peer.connection.is_usable()
    peer.say(peer.head(1, end=True))
    assert not peer.transport.closing
    peer.say(peer.head(3, end=True))
    assert peer.transport.closing
    assert one.ended
    assert two.ended


async def test_the_last_stream_number_retires_the_connection() -> None:
    """RFC 9113 5.1.1"""
    peer = Peer()
    peer.connection.next_id = 2**31 - 1
    _, sink = peer.get()
    assert peer.connection.capacity == 0
    peer.say(peer.head(2**31 - 1, end=True))
    assert sink.ended
    assert peer.transport.closing


async def test_exchanges_know_whether_the_connection_was_used_before() -> None:
    peer = Peer()
    assert [peer.get()[0].reused for _ in range(2)] == [False, True]


async def test_ping_is_answered() -> None:
    """RFC 9113 6.7"""
    peer = Peer()
    await peer.heard()
    peer.say(frame(PING, 0, 0, b"12345678"))
    assert await peer.heard() == [(PING, ACK, 0, b"12345678")]


async def test_keep_alive_pings_after_a_silence_and_gives_up_after_another() -> None:
    peer = Peer(flow=FlowOptions(ping_interval=0.001, ping_timeout=0.001))
    exchange, _ = peer.get()
    with pytest.raises(ServerDisconnectedError, match=r"did not answer PING within 0.001 seconds"):
        await exchange.receive_head()
    await peer.connection.wait_closed()
    assert b"wherry-k" in peer.transport.written


async def test_keep_alive_is_content_with_any_byte() -> None:
    peer = Peer(flow=FlowOptions(ping_interval=0.001, ping_timeout=0.2))
    for _ in range(3):
        asked = peer.transport.written.count(b"wherry-k")
        while peer.transport.written.count(b"wherry-k") == asked:
            await asyncio.sleep(0)
        peer.say(frame(PING, ACK, 0, b"wherry-k"))
    assert not peer.transport.closing
    peer.connection.close()
    await peer.connection.wait_closed()


# --- extended CONNECT -----------------------------------------------------------------------------


class Receiver:
    def __init__(self) -> None:
        self.data = b""
        self.events: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append(f"lost {type(exc).__name__}")

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


async def test_a_tunnel_waits_for_settings_and_carries_bytes_both_ways() -> None:
    """RFC 8441 4, 5"""
    peer = Peer(begin=None)
    exchange, _ = peer.get(
        "/chat", upgrade="websocket", fields=(("Sec-WebSocket-Key", "k"), ("X", "y"))
    )
    plain, _ = peer.get()
    await peer.heard()
    peer.say(settings((CONNECT_PROTOCOL, 1)))
    frames = await peer.heard()
    [(_, flags, stream, _block)] = [frame for frame in frames if frame[0] == HEADERS]
    assert (flags, stream, plain.stream_id) == (END_HEADERS, 3, 1)
    peer.say(peer.head(3), peer.data(3, b"early"))
    assert (await exchange.receive_head()).status == 200
    receiver = Receiver()
    tunnel = exchange.upgrade(receiver)
    assert receiver.data == b"early"
    peer.say(peer.data(3, b" bird"))
    tunnel.write(b"out")
    assert receiver.data == b"early bird"
    assert [(kind, payload) for kind, _, _, payload in await peer.heard()] == [(DATA, b"out")]
    tunnel.close()
    assert tunnel.is_closing()
    await asyncio.sleep(0)
    assert [(kind, flags) for kind, flags, _, _ in await peer.heard()] == [(DATA, END_STREAM)]
    peer.say(peer.data(3, b"", end=True))
    assert receiver.events == ["eof", "lost NoneType"]
    assert not peer.transport.closing


async def test_the_request_of_a_tunnel_has_protocol_and_no_key() -> None:
    peer = Peer(begin=settings((CONNECT_PROTOCOL, 1)))
    await peer.heard()
    peer.get(
        "/chat",
        upgrade="websocket",
        fields=(("Sec-WebSocket-Key", "k"), ("Sec-WebSocket-Version", "13")),
    )
    [(_, _flags, _, block)] = await peer.heard()
    assert [tuple(field) for field in peer.decoder.decode(block)] == [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ]


async def test_a_server_without_extended_connect_is_not_asked() -> None:
    """RFC 8441 3"""
    peer = Peer(begin=None)
    exchange, _ = peer.get(upgrade="websocket")
    peer.say(settings())
    with pytest.raises(ClientConnectionError, match="does not offer extended CONNECT"):
        await exchange.receive_head()
    later, _ = peer.get(upgrade="websocket")
    with pytest.raises(ClientConnectionError, match="does not offer extended CONNECT"):
        await later.receive_head()
    assert "HEADERS:1" not in await peer.names()
    assert peer.connection.is_idle


async def test_a_refused_tunnel_is_an_ordinary_response() -> None:
    peer = Peer(begin=settings((CONNECT_PROTOCOL, 1)))
    exchange, sink = peer.get(upgrade="websocket")
    peer.say(peer.head(1, [(":status", "403")]), peer.data(1, b"no", end=True))
    assert (exchange.head.status, sink.data, sink.ended) == (403, b"no", True)
    with pytest.raises(RuntimeError, match="did not switch"):
        exchange.upgrade(Receiver())


async def test_a_tunnels_writer_is_paused_by_the_peers_window() -> None:
    peer = Peer(begin=settings((CONNECT_PROTOCOL, 1), (INITIAL_WINDOW, 10)))
    exchange, _ = peer.get(upgrade="websocket")
    peer.say(peer.head(1))
    receiver = Receiver()
    tunnel = exchange.upgrade(receiver)
    tunnel.write(b"x" * 100_000)
    assert receiver.events == ["pause"]
    peer.say(frame(WINDOW, 0, 1, word(100_000)), frame(WINDOW, 0, 0, word(100_000)))
    assert receiver.events == ["pause", "resume"]


async def test_a_tunnels_reader_is_told_of_a_reset() -> None:
    peer = Peer(begin=settings((CONNECT_PROTOCOL, 1)))
    exchange, _ = peer.get(upgrade="websocket")
    peer.say(peer.head(1))
    receiver = Receiver()
    tunnel = exchange.upgrade(receiver)
    peer.say(frame(RST, 0, 1, word(8)))
    assert receiver.events == ["lost ClientPayloadError"]
    with pytest.raises(ClientConnectionResetError):
        tunnel.write(b"x")
    tunnel.abort()
    tunnel.close()
