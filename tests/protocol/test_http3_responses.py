"""A response means the same however its bytes come: at once, which has a way of its own, or in
pieces.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")

from wherry.protocol.heads import RequestHead
from wherry.protocol.http3.connection import Http3Connection
from wherry.protocol.http3.frames import DATA, HEADERS, frame, varint
from wherry.protocol.http3.qpack import SECTION_PREFIX, encode_fields


class Engine:
    """QUIC whose events are a list, and a transport that sends nothing."""

    end = None
    stream_limit = 100
    is_open = True
    heard_at = float("inf")

    def __init__(self) -> None:
        self.list: list[tuple[Any, ...]] = []
        self.closed: list[int] = []
        self.ended: list[tuple[int, int]] = []

    def events(self) -> Callable[[], tuple[Any, ...] | None]:
        return lambda: self.list.pop(0) if self.list else None

    def concerns_http(self, event: tuple[Any, ...]) -> bool:
        return True

    def send(self, *_: object) -> bool:
        return True

    def close(self, code: int = 0, reason: str = "") -> None:
        self.closed.append(code)

    def stop_sending(self, stream_id: int, code: int) -> None:
        self.ended.append((stream_id, code))

    def ignore(self, *_: object) -> None:
        pass

    reset = flush_soon = abort = ping = ignore

    def is_closing(self) -> bool:
        return False


class Body:
    flow: Any = None

    def __init__(self) -> None:
        self.data = b""
        self.whole = False
        self.error: BaseException | None = None

    def feed_data(self, data: bytes) -> None:
        self.data += data

    def feed_eof(self) -> None:
        self.whole = True

    def set_exception(self, exc: BaseException) -> None:
        self.error = exc

    def chunk_ended(self) -> None:
        pass


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def outcome(loop: Any, pieces: list[bytes], method: str = "GET") -> tuple[Any, ...]:
    """What a client sees of a response, and what its server is told."""
    engine, body = Engine(), Body()
    connection = Http3Connection(loop, engine, engine)  # type: ignore[arg-type]
    exchange = connection.start(RequestHead(method, "https", "a.test", "/"), body)
    for at, piece in enumerate(pieces, 1):
        engine.list.append(("stream_data", 0, piece, at == len(pieces)))
    connection.events_arrived()
    head = exchange.head
    return (
        None if head is None else (head.status, head.raw),
        # How much of a body had come before a fault is a matter of pieces.
        body.data if exchange.error is None else b"",
        body.whole,
        exchange.complete,
        re.sub(r"after \d+ bytes", "", repr(exchange.error)),
        exchange.trailers,
        engine.closed,
        engine.ended,
        connection.is_idle,
    )


def section(status: int, *fields: tuple[bytes, bytes]) -> bytes:
    pseudo = [(b":status", str(status).encode())]
    return frame(HEADERS, SECTION_PREFIX + encode_fields([*pseudo, *fields]))


def long_frame(kind: int, payload: bytes) -> bytes:
    """A frame whose length takes eight bytes, which it need not (RFC 9000 16)."""
    return varint(kind) + (len(payload) | 0xC0 << 56).to_bytes(8) + payload


statuses = st.sampled_from([100, 103, 200, 204, 304, 404])
lengths = st.sampled_from([b"0", b"3", b"5", b"x", b"-1", b"70", b"20000"])
fields = st.lists(
    st.one_of(
        st.tuples(st.just(b"content-length"), lengths),
        st.tuples(st.sampled_from([b"a", b"x-long"]), st.binary(max_size=80)),
    ),
    max_size=3,
)
heads = st.builds(lambda status, fields: section(status, *fields), statuses, fields)
bodies = st.sampled_from([b"", b"abc", b"abcde", b"a" * 70, b"b" * 20000])
frames = st.one_of(
    heads,
    st.builds(frame, st.sampled_from([DATA, 0x21, 0x07, 0x04]), bodies),
    st.builds(long_frame, st.sampled_from([DATA, HEADERS]), bodies),
    st.binary(max_size=6),
)
responses = st.tuples(heads, st.lists(frames, max_size=3)).map(lambda r: b"".join((r[0], *r[1])))


@given(responses, st.lists(st.integers(0, 300), max_size=3), st.sampled_from(["GET", "HEAD"]))
@example(section(200), [], "GET")
@example(section(200) + frame(DATA, b"abc"), [1], "GET")
@example(section(200, (b"content-length", b"3")) + frame(DATA, b"abc"), [4], "HEAD")
@example(section(204) + frame(DATA, b"abc"), [4], "GET")
@example(section(200) + frame(DATA, b"") + frame(DATA, b"abc"), [], "GET")
@example(section(200, (b"content-length", b"5")) + frame(DATA, b"abc"), [2], "GET")
@example(section(100), [3], "GET")
@example(section(200) + b"\x00", [3], "GET")
def test_a_response_means_the_same_in_any_pieces(
    loop: Any, data: bytes, cuts: list[int], method: str
) -> None:
    at_once = outcome(loop, [data], method)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert outcome(loop, [*pieces, b""], method) == at_once
    assert outcome(loop, [data[:1], data[1:]], method) == at_once


def test_a_response_at_once_is_whole(loop: Any) -> None:
    data = section(200, (b"content-length", b"3"), (b"a", b"b")) + frame(DATA, b"abc")
    head, body, *rest = outcome(loop, [data])
    assert head == (200, ((b"content-length", b"3"), (b"a", b"b")))
    assert (body, rest) == (b"abc", [True, True, "None", (), [], [], True])
