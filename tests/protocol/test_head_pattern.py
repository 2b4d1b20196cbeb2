"""Where the pattern of a usual head matches, the parser gives the same; and it matches in one way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocol.frames import Sink
from tests.protocol.test_http1_splits import Owner, Transport
from tests.servers.raw import response

from wherry.client.headers.response_headers import decoded_fields
from wherry.protocol.heads import RequestHead, ResponseHead
from wherry.protocol.http1 import connection as http1
from wherry.protocol.http1.connection import FIRST_READ, Http1Connection
from wherry.protocol.http1.head_pattern import LINES, MOST_LINES, match_head
from wherry.protocol.limits import Limits

USUAL = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 30 Nov 2026 23:15:34 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 5\r\nConnection: keep-alive\r\n"
    b'ETag: "62809f67"\r\nSet-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\nVary: \t Accept \t \r\n'
    b"Keep-Alive: timeout=5, max=100\r\nX-Empty:\r\nContent-Encoding: identity\r\n\r\nhello"
)

ASKED_FOR = (b"x", b"content-type", b"set-cookie", b"vary", b"ca", b"server", b"x-empty", b"c")


def _text_pairs(head: ResponseHead) -> list[tuple[str, str]]:
    """What a program is shown, by the quicker way where the head has one."""
    pairs = head.text_pairs()
    return list(decoded_fields(head.raw).items()) if pairs is None else pairs


def outcome(
    pieces: Sequence[bytes], limits: Limits, *, pattern: bool, method: str = "GET"
) -> tuple[Any, ...]:
    """What becomes of an answer that comes in these reads, with and without the pattern."""
    loop = asyncio.new_event_loop()
    matching: Callable[[bytes], Any] = match_head if pattern else lambda _: None
    try:
        with mock.patch.object(http1, "match_head", matching):
            connection = Http1Connection(loop, limits)
            transport, sink = Transport(), Sink()
            connection.connection_made(transport)  # type: ignore[arg-type]
            connection.owner = Owner()  # type: ignore[assignment]
            exchange = connection.start(RequestHead(method, "http", "h", "/"), sink)
            waiter = loop.create_future()
            exchange.tell(waiter)
            for piece in pieces:
                if transport.closed or connection.exchange is None:
                    break
                buffer = connection.get_buffer(-1)
                buffer[: len(piece)] = piece
                connection.buffer_updated(len(piece))
                buffer[: len(piece)] = b"\xaa" * len(piece)
        head = exchange.head
        if waiter.done():
            waiter.exception()
        return (
            # One field by itself first: it is searched where the rest was not made yet.
            head and [head.get(name) for name in ASKED_FOR],
            head and _text_pairs(head),
            head and (head.status, head.reason, head.version, head.raw, head.keep_alive),
            head and [head.get(name) for name in ASKED_FOR],
            sink.data,
            sink.ended,
            exchange.complete,
            repr(exchange.error),
            waiter.done(),
            transport.closed,
            connection.capacity,
            connection.is_idle,
        )
    finally:
        loop.close()


def same(pieces: Sequence[bytes], limits: Limits | None = None, method: str = "GET") -> None:
    limits = limits or Limits()
    assert outcome(pieces, limits, pattern=True, method=method) == outcome(
        pieces, limits, pattern=False, method=method
    )


def with_line(line: bytes, body: bytes = b"hello") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n%b\r\n\r\n%b" % (line, body)


# What hostile and odd servers say in the place of a usual answer.
ODD = {
    "usual": USUAL,
    "lower": USUAL.lower().replace(b"http/1.1", b"HTTP/1.1"),
    "upper": USUAL.upper(),
    "no length": response(b"").replace(b"Content-Length", b"X"),
    "two lengths": with_line(b"Content-Length: 5"),
    "two lengths that differ": with_line(b"content-length: 4"),
    "a list of lengths": with_line(b"X: a").replace(b": 5", b": 5, 5"),
    "a sign": with_line(b"X: a").replace(b": 5", b": +5"),
    "a negative length": with_line(b"X: a").replace(b": 5", b": -5"),
    "a hexadecimal length": with_line(b"X: a").replace(b": 5", b": 0x5"),
    "zeros before": with_line(b"X: a").replace(b": 5", b": 0000000005"),
    "blanks round": with_line(b"X: a").replace(b": 5", b":\t 5 \t"),
    "a blank in the length": with_line(b"X: a").replace(b": 5", b": 5 0"),
    "no digits": with_line(b"X: a").replace(b": 5", b":"),
    "nineteen digits": with_line(b"X: a").replace(b": 5", b": 9999999999999999999"),
    "thousands of digits": with_line(b"X: a").replace(b": 5", b": " + b"0" * 5000 + b"5"),
    "a blank before the colon": with_line(b"X : a"),
    "a blank before the length's colon": with_line(b"X: a").replace(b"h:", b"h :"),
    "a line that begins with a blank": with_line(b" X: a"),
    "obs-fold": with_line(b"X: a\r\n b"),
    "obs-fold of the length": with_line(b"Y: a").replace(b": 5\r\n", b":\r\n 5\r\n"),
    "no name": with_line(b": a"),
    "no colon": with_line(b"Xa"),
    "an empty value": with_line(b"X:"),
    "no token": with_line(b"X(a): b"),
    "obs-text in a name": with_line(b"X\xe9: b"),
    "obs-text in a value": with_line(b"X: \xe9\xff"),
    "a NUL": with_line(b"X: a\0b"),
    "a DEL": with_line(b"X: a\x7fb"),
    "a bare CR": with_line(b"X: a\rb"),
    "CR CR LF": with_line(b"X: a\r"),
    "LF alone": with_line(b"X: a").replace(b"\r\n", b"\n"),
    "LF alone in one line": with_line(b"X: a\nY: b"),
    "LF LF at the end": with_line(b"X: a").replace(b"\r\n\r\n", b"\n\n"),
    "chunked": with_line(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    "identity": with_line(b"transfer-encoding: identity"),
    "chunked without a length": with_line(
        b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"
    ).replace(b"Content-Length: 5\r\n", b""),
    "close": with_line(b"Connection: close"),
    "keep-alive, close": with_line(b"Connection: keep-alive, close"),
    "two of Connection": with_line(b"Connection: keep-alive\r\nConnection: close"),
    "Proxy-Connection": with_line(b"Proxy-Connection: close"),
    "Upgrade": with_line(b"Upgrade: h2c"),
    "Connection: Upgrade": with_line(b"Connection: Upgrade, keep-alive\r\nUpgrade: h2"),
    "two of Keep-Alive": with_line(b"Keep-Alive: timeout=7\r\nKeep-Alive: timeout=9"),
    "Keep-Alive of no number": with_line(b"Keep-Alive: timeout=x"),
    "names that begin like ours": with_line(b"Content-Lengthy: 7\r\nConnectionX: close\r\nC: d"),
    "two types": with_line(b"Content-Type: a/b\r\nContent-Type: application/json"),
    "two codings": with_line(b"Content-Encoding: gzip\r\nContent-Encoding: br"),
    "HTTP/1.0": with_line(b"X: a").replace(b"1.1", b"1.0"),
    "HTTP/1.2": with_line(b"X: a").replace(b"1.1", b"1.2"),
    "HTTP/2.0": with_line(b"X: a").replace(b"1.1", b"2.0"),
    "ICY": with_line(b"X: a").replace(b"HTTP/1.1", b"ICY"),
    "an empty line first": b"\r\n" + with_line(b"X: a"),
    "two blanks": with_line(b"X: a").replace(b" 200", b"  200"),
    "a tab": with_line(b"X: a").replace(b" 200 ", b"\t200\t"),
    "no reason": with_line(b"X: a").replace(b" OK", b""),
    "an empty reason": with_line(b"X: a").replace(b"OK", b""),
    "blanks in the reason": with_line(b"X: a").replace(b"OK", b"  a b  "),
    "obs-text in the reason": with_line(b"X: a").replace(b"OK", b"\xc3\xa9\xff"),
    "a control character in the reason": with_line(b"X: a").replace(b"OK", b"a\x01"),
    "four digits": with_line(b"X: a").replace(b"200", b"2000"),
    "two digits": with_line(b"X: a").replace(b"200", b"20"),
    "status 204": with_line(b"X: a").replace(b"200", b"204"),
    "status 304": with_line(b"X: a").replace(b"200", b"304"),
    "status 205": with_line(b"X: a").replace(b"200", b"205"),
    "status 101": with_line(b"X: a").replace(b"200", b"101"),
    "status 103": with_line(b"X: a").replace(b"200", b"103") + response(b"x"),
    "status 600": with_line(b"X: a").replace(b"200", b"600"),
    "more than the length": USUAL + b"X",
    "a line end more": USUAL + b"\r\n",
    "another answer behind it": USUAL + response(b"x"),
    "less than the length": USUAL[:-2],
    "the head alone": USUAL[:-5],
    "part of the head": USUAL[:50],
    "as many lines as may be": with_line(b"\r\n".join([b"X: a"] * (MOST_LINES - 1))),
    "a line more": with_line(b"\r\n".join([b"X: a"] * MOST_LINES)),
    "as many lines, and a fault": with_line(b"\r\n".join([b"C: a"] * (MOST_LINES - 2)) + b"\r\nX"),
    "a long value": with_line(b"X: " + b"a" * 8190),
    "a value that is too long": with_line(b"X: " + b"a" * 8191),
    "a long name": with_line(b"X" * 8191 + b": a"),
    "a large answer": b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + b"a" * 40000,
    "a part of a large answer": b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"a" * 40000,
}


@pytest.mark.parametrize("said", ODD.values(), ids=ODD.keys())
def test_an_odd_head_gives_what_the_parser_gives(said: bytes) -> None:
    same([said])
    same([said], method="HEAD")
    same([said], Limits(max_line_size=8, max_field_size=20, max_headers=3))
    for at in {1, 40, len(said) // 2, len(said) - 5, len(said) - 1} & set(range(1, len(said))):
        same([said[:at], said[at:]])


def test_what_is_usual_matches() -> None:
    """Or the tests above compare the parser with itself."""
    names = {name for name, said in ODD.items() if match_head(said[:FIRST_READ]) is not None}
    assert names >= {
        "usual",
        "lower",
        "blanks round",
        "zeros before",
        "an empty value",
        "obs-text in a value",
        "an empty reason",
        "blanks in the reason",
        "status 205",
        "Upgrade",
        "names that begin like ours",
        "as many lines as may be",
        "a large answer",
        "less than the length",
        "the head alone",
        "more than the length",
    }
    assert not names & {"a line more", "status 204", "chunked", "close", "HTTP/1.0"}


NAMES = st.sampled_from(
    [
        *(b"Content-Length", b"content-length", b"Content-Type", b"CONTENT-ENCODING"),
        *(b"Connection", b"Keep-Alive", b"Set-Cookie", b"Transfer-Encoding", b"Proxy-Connection"),
        *(b"X", b"Cache-Control", b"Server", b"c", b"Content-Length ", b"", b"X\xe9", b" X"),
    ]
)
VALUES = st.one_of(
    st.sampled_from([b"5", b"0", b"keep-alive", b"close", b"chunked", b"gzip", b"", b"a\r\n b"]),
    st.sampled_from([b"application/json", b"timeout=5", b"a=b; Path=/", b"6", b"05", b"5 "]),
    st.binary(max_size=6),
)
BLANKS = st.sampled_from([b" ", b"", b"\t", b"  "])
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b" \r\n", b"\r\n "])
LINE = st.tuples(NAMES, st.sampled_from([b":"] * 8 + [b" :", b""]), BLANKS, VALUES, BLANKS, ENDS)
ANSWERS = st.builds(
    lambda version, status, reason, lines, last, body: b"".join(
        [version, status, reason, *[b"".join(line) for line in lines], last, body]
    ),
    st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.3", b"http/1.1", b"\r\nHTTP/1.1"]),
    st.sampled_from([b" 200", b" 404", b" 500", b" 205", b" 204", b" 304", b" 100", b" 2000"]),
    st.sampled_from([b" OK\r\n", b" OK\r\nContent-Length: 5\r\n"] * 4 + [b"\r\n", b" O\0K\r\n"]),
    st.lists(LINE, max_size=5),
    st.sampled_from([b"\r\n"] * 8 + [b"\n", b""]),
    st.sampled_from([b"hello", b"hello", b"", b"hell", b"hello!", b"hello\r\n", b"0\r\n\r\n"]),
)


@settings(max_examples=400, deadline=None)
@given(said=ANSWERS, cut=st.integers(0, 120))
def test_any_head_gives_what_the_parser_gives(said: bytes, cut: int) -> None:
    same([said] if not 0 < cut < len(said) else [said[:cut], said[cut:]])


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, len(USUAL) - 1), put=st.binary(max_size=2), gone=st.integers(0, 2))
def test_a_usual_head_with_a_fault_gives_what_the_parser_gives(
    at: int, put: bytes, gone: int
) -> None:
    said = USUAL[:at] + put + USUAL[at + gone :]
    if said:
        same([said])


LINES_OF_ANY_KIND = st.one_of(
    st.builds(lambda *parts: b"".join(parts), NAMES, st.just(b":"), BLANKS, VALUES, BLANKS),
    st.binary(max_size=12),
)


@settings(max_examples=400, deadline=None)
@given(line=LINES_OF_ANY_KIND)
def test_no_line_is_of_two_kinds(line: bytes) -> None:
    """A head that does not match is gone through once then, and not in every combination."""
    kinds = [re.compile(re.sub(rb"\(\?\(\d\)\(\?!\)\)", b"", kind)) for kind in LINES]
    assert sum(kind.fullmatch(line) is not None for kind in kinds) <= 1
