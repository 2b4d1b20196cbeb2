"""Byte streams of any kind, given to ours and to the h2 library: who refuses what, and every
difference explained.

Both are a client with two requests under way.  A frame is refused when it ends the connection or a
stream with an error.  h2 ends the connection where ours ends a stream (RFC 9113 5.4 allows both),
so that alone is no difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocol.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PUSH,
    RST,
    SETTINGS,
    WINDOW,
    Peer,
    frame,
    word,
)
from tests.protocol.frames import (
    settings as settings_frame,
)

from wherry.protocol.http2.flow_control import FlowOptions

ACCEPTED, REFUSED = "accepted", "refused"


class Frame(NamedTuple):
    """One frame, before it is bytes."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Said(NamedTuple):
    """What both said of the frame that came last, and of what was known before it."""

    item: Frame
    ours: str
    theirs: str
    goaway: bool  # the server had sent GOAWAY
    closed: frozenset[int]  # streams that had ended
    bare: frozenset[int]  # streams whose response is 204 or 304


# Why one may refuse what the other accepts: (who refuses, when, why).
DIFFERENCES: list[tuple[str, Callable[[Said], bool], str]] = [
    (
        "ours",
        lambda said: said.item.kind in {HEADERS, PUSH} and not said.item.flags & END_HEADERS,
        "h2 judges a header block at its end, ours where it begins: less is kept of what will be refused",
    ),
    (
        "ours",
        lambda said: said.item.kind == RST and said.item.stream in {2, 5, 7},
        "RFC 9113 6.4: RST_STREAM on an idle stream is a connection error; h2 ignores it",
    ),
    (
        "ours",
        lambda said: said.item.kind == HEADERS and bool(said.item.flags & END_STREAM),
        "RFC 9113 8.1.1: a head that names a length and ends the stream lacks its body; h2 counts with DATA only",
    ),
    (
        "ours",
        lambda said: said.item.kind in {DATA, HEADERS} and said.item.stream in said.closed,
        "RFC 9113 5.1: nothing follows the end or a reset that the server sent; h2 lets some of it pass",
    ),
    (
        "ours",
        lambda said: any(status in said.item.payload for status in BAD_STATUSES),
        "RFC 9113 8.3.2, RFC 9110 15: a status is three digits; h2 takes anything",
    ),
    (
        "ours",
        lambda said: said.goaway and said.item.kind == GOAWAY,
        "RFC 9113 6.8: a later GOAWAY never names a higher stream; h2 does not compare",
    ),
    (
        "ours",
        lambda said: said.item.kind == DATA and said.item.stream in said.bare,
        "RFC 9110 15.3.5, 15.4.5: 204 and 304 have no content; h2 takes it",
    ),
    (
        "theirs",
        lambda said: said.item.kind == PRIORITY,
        "RFC 9113 5.3 did away with priorities; h2 still has RFC 7540's rule that no stream depends on itself",
    ),
    (
        "theirs",
        lambda said: said.item.kind == HEADERS and bool(said.item.flags & PRIORITISED),
        "the same, for priority inside HEADERS",
    ),
    (
        "theirs",
        lambda said: (
            bool(said.item.flags & PADDED) and said.item.payload[1:] == b"\0" * said.item.payload[0]
        ),
        "RFC 9113 6.2: padding may be all that a frame holds; h2 wants a byte of the block beside it",
    ),
    (
        "theirs",
        lambda said: said.goaway,
        "RFC 9113 6.8: streams up to the last one go on after GOAWAY; h2 ends",
    ),
    (
        "theirs",
        lambda said: said.item.kind == WINDOW and said.item.stream in said.closed,
        "RFC 9113 5.1: WINDOW_UPDATE on a closed stream is ignored, whatever it says",
    ),
]


def play(frames: list[Frame]) -> Said:
    """Give each frame to both, up to the first that one of them refuses."""
    return asyncio.run(_play(frames))


async def _play(frames: list[Frame]) -> Said:
    peer = Peer(flow=FlowOptions(initial_window=65535, connection_window=65535))
    exchanges = {1: peer.get()[0], 3: peer.post()[0]}
    theirs = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    theirs.local_settings = h2.settings.Settings(client=True, initial_values={2: 0})
    theirs.initiate_connection()
    request = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", "/"),
    ]
    theirs.send_headers(1, request, end_stream=True)
    theirs.send_headers(3, request)
    theirs.receive_data(settings_frame() + frame(SETTINGS, ACK))
    peer.say(frame(SETTINGS, ACK))
    await peer.heard()
    said = Said(
        Frame(PING, 0, 0, b"12345678"),
        ACCEPTED,
        ACCEPTED,
        goaway=False,
        closed=frozenset(),
        bare=frozenset(),
    )
    for item in frames:
        goaway = bool(peer.connection.control.goaway)
        closed = frozenset(
            stream
            for stream, exchange in exchanges.items()
            if exchange.complete or exchange.error is not None
        )
        heads = {
            stream: exchange.head
            for stream, exchange in exchanges.items()
            if exchange.head is not None
        }
        bare = frozenset(stream for stream, head in heads.items() if head.status in {204, 304})
        data = frame(*item)
        peer.say(data)
        said = Said(item, await _ours(peer), _theirs(theirs, data), goaway, closed, bare)
        if REFUSED in {said.ours, said.theirs} or peer.transport.closing:
            break
    peer.connection.abort()
    await asyncio.sleep(0)
    return said


async def _ours(peer: Peer) -> str:
    for kind, _, _, payload in await peer.heard():
        if kind == GOAWAY and payload[4:8] != word(0):
            return REFUSED
        # CANCEL is no refusal: the response came before the request's end.
        if kind == RST and payload != word(8):
            return REFUSED
    return ACCEPTED


def _theirs(connection: h2.connection.H2Connection, data: bytes) -> str:
    try:
        events = connection.receive_data(data)
    except h2.exceptions.ProtocolError:
        return REFUSED
    for event in events:
        if isinstance(event, h2.events.StreamReset) and not event.remote_reset:
            return REFUSED
    return ACCEPTED


def block(*fields: tuple[str, str]) -> bytes:
    """A header block that leaves the tables as they are."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields])


OK = (":status", "200")
BAD_STATUSES = [block((":status", "abc")), block((":status", "")), block((":status", "101"))]
BLOCKS = [
    block(OK),
    block(OK, ("content-length", "5")),
    block((":status", "103")),
    block((":status", "204")),
    block((":status", "304"), ("content-length", "9")),
    block(("x", "y")),
    block(),
    *(
        block(OK, field)
        for field in [
            (":path", "/"),
            (":status", "200"),
            (":method", "GET"),
            ("X", "y"),
            ("", "y"),
            ("a b", "c"),
            ("a", " b"),
            ("a", "b\t"),
            ("a", "b\0"),
            ("a", "b\r\nc: d"),
            ("connection", "x"),
            ("keep-alive", "x"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("te", "trailers"),
            ("te", "gzip"),
            ("content-length", "x"),
        ]
    ),
    block(OK, ("content-length", "1"), ("content-length", "2")),
    *BAD_STATUSES,
    block(("a", "b"), OK),
    b"\x80",
    b"\xff",
    block(OK)[:-1],
]
streams = st.sampled_from([0, 1, 1, 1, 3, 3, 3, 2, 5, 7])
flags = st.sampled_from([0, 1, 4, 4, 5, 5, 8, 0x20, 0xD, 0x2D, 0x28])
SETTINGS_PAYLOADS = [
    b"",
    b"x",
    *(
        key.to_bytes(2, "big") + word(value)
        for key, value in [
            (1, 0),
            (2, 0),
            (2, 1),
            (3, 0),
            (4, 100),
            (4, 2**31 - 1),
            (4, 2**31),
            (5, 1),
            (5, 2**24 - 1),
            (6, 1),
            (8, 0),
            (8, 1),
            (8, 2),
            (0xFFFF, 1),
        ]
    ),
]


@st.composite
def header_frames(draw: st.DrawFn) -> Frame:
    kind, flag, stream = (
        draw(st.sampled_from([HEADERS, HEADERS, HEADERS, CONTINUATION, PUSH])),
        draw(flags),
        draw(streams),
    )
    payload = draw(st.sampled_from(BLOCKS[:2]) | st.sampled_from(BLOCKS))
    if kind == HEADERS and flag & PRIORITISED:
        payload = b"\0\0\0" + draw(st.sampled_from([b"\0\x10", b"\1\x10"])) + payload
    if kind != CONTINUATION and flag & PADDED:
        payload = draw(st.sampled_from([b"\2", b"\xf0"])) + payload + b"\0\0"
    if kind == PUSH:
        payload = word(2) + payload
    return Frame(kind, flag, stream, payload)


def frames_of(kind: int, payloads: list[bytes]) -> st.SearchStrategy[Frame]:
    return st.builds(Frame, st.just(kind), flags, streams, st.sampled_from(payloads))


any_frame = st.one_of(
    header_frames(),
    header_frames(),
    frames_of(
        DATA, [b"", b"hello", b"x" * 9, b"\2ab\0\0", b"\5ab", b"\0", b"x" * 16384, b"x" * 16385]
    ),
    frames_of(PRIORITY, [b"\0" * 5, b"\0" * 4, word(1) + b"\1", word(3) + b"\1"]),
    frames_of(RST, [word(0), word(7), word(8), b"", b"\0" * 5]),
    frames_of(SETTINGS, SETTINGS_PAYLOADS),
    frames_of(PING, [b"x" * 8, b"x" * 7, b""]),
    frames_of(
        GOAWAY,
        [
            word(0) + word(0),
            word(1) + word(0),
            word(3) + word(2) + b"debug",
            b"x",
            word(2**31 - 1) * 2,
        ],
    ),
    frames_of(WINDOW, [word(1), word(0), word(2**31 - 1), word(2**31), b"x"]),
    frames_of(99, [b"", b"x" * 10]),
)
good_heads = st.builds(
    Frame,
    st.just(HEADERS),
    st.just(END_HEADERS),
    st.sampled_from([1, 3]),
    st.sampled_from(BLOCKS[:2]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(good_heads, max_size=1), st.lists(any_frame, min_size=1, max_size=5))
def test_what_one_refuses_the_other_does_or_there_is_a_reason(
    begin: list[Frame], frames: list[Frame]
) -> None:
    said = play(begin + frames)
    if said.ours != said.theirs:
        who = "ours" if said.ours == REFUSED else "theirs"
        assert any(who == refuses and applies(said) for refuses, applies, _ in DIFFERENCES), said


EXAMPLES = [
    [Frame(HEADERS, 0, 5, block(OK))],
    [Frame(RST, 0, 5, word(8))],
    [Frame(HEADERS, END_HEADERS | END_STREAM, 1, block(OK, ("content-length", "5")))],
    [Frame(RST, 0, 1, word(0)), Frame(DATA, 0, 1, b"")],
    [Frame(HEADERS, END_HEADERS, 1, block((":status", "abc")))],
    [Frame(GOAWAY, 0, 0, word(1) + word(0)), Frame(GOAWAY, 0, 0, word(3) + word(0))],
    [Frame(HEADERS, END_HEADERS, 1, block((":status", "204"))), Frame(DATA, 0, 1, b"x")],
    [Frame(PRIORITY, 0, 1, word(1) + b"\1")],
    [Frame(HEADERS, END_HEADERS | PRIORITISED, 1, word(1) + b"\1" + block(OK))],
    [Frame(HEADERS, PADDED, 1, b"\2\0\0")],
    [Frame(GOAWAY, 0, 0, word(3) + word(0)), Frame(HEADERS, END_HEADERS, 1, block(OK))],
    [Frame(HEADERS, END_HEADERS | END_STREAM, 1, block(OK)), Frame(WINDOW, 0, 1, word(0))],
]


@pytest.mark.parametrize(("difference", "frames"), list(zip(DIFFERENCES, EXAMPLES, strict=True)))
def test_each_difference_is_real(
    difference: tuple[str, Callable[[Said], bool], str], frames: list[Frame]
) -> None:
    """A row whose difference is gone is to be taken out."""
    said = play(frames)
    refuses, applies, _ = difference
    assert (said.ours, said.theirs) == (
        (REFUSED, ACCEPTED) if refuses == "ours" else (ACCEPTED, REFUSED)
    )
    assert applies(said)
