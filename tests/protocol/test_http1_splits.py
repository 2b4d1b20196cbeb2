"""What an answer is does not depend on how its bytes come: cut anywhere, it gives what it gives in
one read.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocol.frames import Sink
from tests.servers.raw import RawServer, read_request, response

import wherry
from wherry.protocol.heads import RequestHead
from wherry.protocol.http1.connection import Http1Connection
from wherry.protocol.limits import Limits

pytestmark = pytest.mark.usefixtures("each_parser")
Start = Callable[..., Awaitable[RawServer]]
CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"


class Case(NamedTuple):
    """What a server says, and what comes of it: a status and a body, or "error"; and whether the
    connection stays.
    """

    said: bytes
    status: int | str
    body: bytes = b""
    stays: bool = False
    asks: str | None = None
    method: str = "GET"


CASES = {
    "a length": Case(response(b"hello"), 200, b"hello", True),
    "no body": Case(response(b""), 200, b"", True),
    "204": Case(b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 204, b"", True),
    "304 with a length": Case(
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, b"", True
    ),
    "HEAD": Case(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, b"", True, None, "HEAD"),
    "HEAD with a body": Case(response(b"hello"), 200, b"", False, None, "HEAD"),
    "chunks": Case(
        f"{CHUNKED}\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n".encode(), 200, b"abcde", True
    ),
    "no reason": Case(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", True),
    "a status above 599": Case(b"HTTP/1.1 799 X\r\nContent-Length: 2\r\n\r\nok", 799, b"ok", True),
    "an obs-text reason": Case(
        b"HTTP/1.1 200 \xe9\tz\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", True
    ),
    "close": Case(response(fields="Connection: close\r\n"), 200, b"ok"),
    "interim responses": Case(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + response(),
        200,
        b"ok",
        True,
    ),
    "HTTP/1.0 that stays": Case(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        200,
        b"ok",
        True,
    ),
    "HTTP/1.0 with chunks": Case(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
        b"ok",
    ),
    "HTTP/1.0 with chunks, asked by HEAD": Case(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        200,
        b"",
        False,
        None,
        "HEAD",
    ),
    "a 101 behind a length": Case(response(b"hello") + SWITCH + b"raw", 200, b"hello"),
    "a 101 behind chunks": Case(
        f"{CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n".encode() + SWITCH + b"raw", 200, b"ok"
    ),
    "a 101 behind no body": Case(response(b"") + SWITCH, 200, b""),
    "a 101 behind 204": Case(b"HTTP/1.1 204 N\r\n\r\n" + SWITCH, 204),
    "a 101 behind HEAD": Case(b"HTTP/1.1 200 OK\r\n\r\n" + SWITCH, 200, b"", False, None, "HEAD"),
    "a 101 behind what was asked": Case(response(b"no") + SWITCH + b"raw", 200, b"no", False, "x"),
    "another answer behind it": Case(response(b"one") + response(b"two"), 200, b"one"),
    "an interim one behind it": Case(
        response(b"one") + b"HTTP/1.1 100 Continue\r\n\r\n", 200, b"one"
    ),
    "a byte behind it": Case(response(b"one") + b"X", 200, b"one"),
    "a line end behind it": Case(response(b"one") + b"\r\n", 200, b"one"),
    "a line feed behind a line": Case(response(b"one\n") + b"\n", 200, b"one\n"),
    "a body of line ends": Case(response(b"\r\n\r\n"), 200, b"\r\n\r\n", True),
    "line ends behind such a body": Case(response(b"\r\n") + b"\r\n", 200, b"\r\n"),
    "a line end behind chunks": Case(f"{CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n\r\n".encode(), 200, b"ok"),
    "a line feed behind chunks": Case(f"{CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n\n".encode(), 200, b"ok"),
    "a line end behind no chunks": Case(f"{CHUNKED}\r\n0\r\n\r\n\r\n".encode(), 200),
    "no chunks": Case(f"{CHUNKED}\r\n0\r\n\r\n".encode(), 200, b"", True),
    "no chunks, and trailers": Case(f"{CHUNKED}\r\n0\r\nT: v\r\n\r\n".encode(), 200, b"", True),
    "a line end behind trailers": Case(f"{CHUNKED}\r\n0\r\nT: v\r\n\r\n\r\n".encode(), 200),
    "a line end behind no body": Case(b"HTTP/1.1 204 N\r\n\r\n\r\n", 204),
    "a line end behind HEAD": Case(b"HTTP/1.1 200 OK\r\n\r\n\r\n", 200, b"", False, None, "HEAD"),
    "both framings": Case(
        f"{CHUNKED}Content-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n".encode(), "error"
    ),
    "status 000": Case(b"HTTP/1.1 000 X\r\nContent-Length: 2\r\n\r\nok", "error"),
    "status 099": Case(b"HTTP/1.1 099\r\nContent-Length: 2\r\n\r\nok", "error"),
    "RTSP": Case(b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "error"),
    "RTSP after 100": Case(
        b"HTTP/1.1 100 C\r\n\r\nRTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "error"
    ),
    "an empty line first": Case(b"\r\n" + response(), "error"),
    "a blank first": Case(b" " + response(), "error"),
    "a malformed interim response": Case(b"HTTP/1.1 100 C\r\nX : a\r\n\r\n" + response(), "error"),
    "too many interim responses": Case(b"HTTP/1.1 102 P\r\n\r\n" * 33 + response(), "error"),
    "an unasked 101": Case(SWITCH, "error"),
    "an unasked 101 after 100": Case(b"HTTP/1.1 100 C\r\n\r\n" + SWITCH + b"raw", "error"),
    "obs-fold": Case(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", "error"),
    "bare CR": Case(b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n", "error"),
    "NUL": Case(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", "error"),
    "NUL in the reason": Case(b"HTTP/1.1 200 a\0b\r\nContent-Length: 0\r\n\r\n", "error"),
    "LF alone": Case(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "error"),
    "a bad chunk": Case(f"{CHUNKED}\r\n2\r\nok\r\nzz\r\n".encode(), "error", b"ok"),
    "a chunk without its end": Case(
        f"{CHUNKED}\r\n2\r\nokay\r\n0\r\n\r\n".encode(), "error", b"ok"
    ),
}


class Transport:
    closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Owner:
    def connection_available(self, connection: Any) -> None:
        assert connection.capacity == 1


class Outcome(NamedTuple):
    head: Any
    interim: list[int]
    body: bytes
    ended: bool
    trailers: Any
    error: str | None
    closed: bool


def outcome(case: Case, pieces: Sequence[bytes]) -> Outcome:
    """What becomes of a request that is answered by `pieces`, each of them one read."""
    loop = asyncio.new_event_loop()
    try:
        connection = Http1Connection(loop, Limits())
        transport, sink = Transport(), Sink()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.owner = Owner()  # type: ignore[assignment]
        exchange = connection.start(
            RequestHead(case.method, "http", "h", "/", upgrade=case.asks), sink
        )
        interim: list[int] = []
        exchange.informational = lambda head: interim.append(head.status)
        for piece in pieces:
            if transport.closed:
                break
            buffer = connection.get_buffer(-1)
            buffer[: len(piece)] = piece
            connection.buffer_updated(len(piece))
            buffer[: len(piece)] = b"\xaa" * len(piece)
        head = exchange.head
        return Outcome(
            None if head is None else (head.status, head.reason, head.version, head.raw),
            interim,
            sink.data,
            sink.ended,
            exchange.trailers,
            None if exchange.error is None else type(exchange.error).__name__,
            transport.closed,
        )
    finally:
        loop.close()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_an_answer_is(case: Case) -> None:
    found = outcome(case, [case.said])
    if case.status == "error":
        assert found.error in {"BadHttpMessage", "ClientPayloadError"}
        assert found.closed
        assert not found.ended
        assert found.body == case.body
    else:
        assert found.error is None
        assert found.head[0] == case.status
        assert (found.body, found.ended) == (case.body, True)
        assert found.closed is not case.stays


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_cut_anywhere_changes_nothing(case: Case) -> None:
    whole = outcome(case, [case.said])
    for at in range(1, len(case.said)):
        assert outcome(case, [case.said[:at], case.said[at:]]) == whole, at
    assert outcome(case, [case.said[at : at + 1] for at in range(len(case.said))]) == whole


@settings(max_examples=200)
@given(case=st.sampled_from([*CASES.values()]), cuts=st.lists(st.integers(1, 200), max_size=6))
def test_cuts_anywhere_change_nothing(case: Case, cuts: list[int]) -> None:
    places = sorted({0, len(case.said), *(at for at in cuts if at < len(case.said))})
    pieces = [case.said[start:end] for start, end in itertools.pairwise(places)]
    assert outcome(case, pieces) == outcome(case, [case.said])


@pytest.mark.parametrize(
    "behind", ["a 101 behind a length", "a 101 behind chunks", "a 101 behind no body"]
)
@pytest.mark.parametrize("at", [None, 0.3, 0.6, 0.9])
async def test_a_switch_behind_a_response_ends_the_connection(
    raw_server: Start, behind: str, at: float | None
) -> None:
    """RFC 9112 9.2: the body is the response's, and nothing of what follows reaches this request or
    the next.
    """
    case = CASES[behind]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        cut = len(case.said) if at is None else int(len(case.said) * at)
        writer.write(case.said[:cut])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(case.said[cut:])
        await reader.read()

    server = await raw_server(script)
    async with wherry.ClientSession(timeout=wherry.ClientTimeout(total=20)) as session:
        for _ in range(2):
            async with session.get(server.url) as reply:
                assert await reply.read() == case.body
            await server.until(lambda server: server.lost == server.connections)
    assert server.connections == 2


@pytest.mark.parametrize("over_tls", [False, True])
async def test_an_answer_that_came_before_the_request_is_no_answer(
    raw_server: Start, over_tls: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """RFC 9112 9.2: bytes that were on a fresh connection when nothing had been asked yet."""
    said = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"unasked"))
        await writer.drain()
        said.set()
        await reader.read()

    async def wait(*_: Any) -> None:
        await said.wait()
        said.clear()

    tracing = wherry.TraceConfig()
    tracing.on_connection_create_end.append(wait)
    server = await raw_server(script, server_tls if over_tls else None)
    async with wherry.ClientSession(
        trace_configs=[tracing], timeout=wherry.ClientTimeout(total=20)
    ) as session:
        with pytest.raises(wherry.ClientConnectionError):
            await session.get(server.url, ssl=client_tls)
    assert not any(server.received)
