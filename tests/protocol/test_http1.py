"""HTTP/1.1 against servers that break it: each gives its error within its time, and the next
request works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.servers.raw import RawServer, read_request, response

import wherry

pytestmark = pytest.mark.usefixtures("each_parser")
Start = Callable[..., Awaitable[RawServer]]
OK = response(b"next")
SWITCH = {"Connection": "Upgrade", "Upgrade": "x"}


async def _bad_then_good(
    raw_server: Start, answer: bytes, method: str = "GET", **options: Any
) -> BaseException:
    """Ask a server that answers `answer` and closes; then, of the same session, one that
    behaves.
    """
    bad = await raw_server([answer])
    good = await raw_server([OK])
    async with wherry.ClientSession(timeout=wherry.ClientTimeout(total=20)) as session:
        with pytest.raises(wherry.ClientError) as caught:
            async with session.request(method, bad.url, **options) as reply:
                await reply.read()
        async with session.get(good.url) as reply:
            assert await reply.text() == "next"
    return caught.value


BROKEN_HEADS = {
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, the other way round": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "conflicting lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
    "empty name": b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 129 + b"Content-Length: 0\r\n\r\n",
    "a field too long": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a reason too long": b"HTTP/1.1 200 " + b"a" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"ICY 200 OK\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a version before 1.0": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status 000": b"HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099\r\nContent-Length: 0\r\n\r\n",
    "status 0 of HTTP/1.0": b"HTTP/1.0 001 OK\r\n\r\nbody",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICE": b"ICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "RTSP after an interim response": b"HTTP/1.1 100 Continue\r\n\r\nRTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 000 after an interim response": b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "LF alone in an interim response": b"HTTP/1.1 100 Continue\n\n" + response(),
    "LF alone and nothing after an interim response": b"HTTP/1.1 103 Early\r\nLink: </a>\n\n",
    "bare CR in an interim response": b"HTTP/1.1 103 Early\r\nX: a\rb\r\r",
    "an empty line first": b"\r\n\r\n" + response(),
    "a line end between interim and final": b"HTTP/1.1 100 Continue\r\n\r\n\r\n" + response(),
    "a blank first": b" " + response(),
    "a byte order mark first": b"\xef\xbb\xbf" + response(),
    "a folded first field": b"HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 0\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "ESC in the reason": b"HTTP/1.1 200 \x1b]8;;http://evil\x1b\\\r\nContent-Length: 0\r\n\r\n",
    "bare CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "LF alone after the status": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a switch that nobody asked for": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "a switch to nothing that nobody asked for": b"HTTP/1.1 101 Switching\r\n\r\n",
    "a switch after an interim response": b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 101 S\r\n\r\n",
    "bytes of no protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a coding inside the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a coding inside the chunks, in another line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: GZip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n7\r\n2\r\nhi\r\n\r\n0\r\n\r\n",
    "chunks in chunks, in two lines": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a coding to the end of the connection": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
    "a coding round the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a coding of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: deflate\r\n\r\nhi",
    "chunks with a parameter": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "an empty element after the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "an empty line after the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a coding without a name": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "nothing but a list's commas": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ,\r\n\r\nhi",
    "HTML without a head": b"<html>hello</html>",
    "too many interim responses": b"HTTP/1.1 102 Processing\r\n\r\n" * 40 + response(),
}


@pytest.mark.parametrize("answer", BROKEN_HEADS.values(), ids=BROKEN_HEADS.keys())
async def test_a_broken_head_is_a_response_error(raw_server: Start, answer: bytes) -> None:
    error = await _bad_then_good(raw_server, answer)
    assert isinstance(error, wherry.ClientResponseError)
    assert error.status == 400
    assert "127.0.0.1" in error.message


CUT_BODIES = {
    "short of its length": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "nothing of its length": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
    "chunks without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    "no last empty line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "a bad chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nxx\r\n0\r\n\r\n",
    "a negative chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with 0x": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
    "huge chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("answer", CUT_BODIES.values(), ids=CUT_BODIES.keys())
async def test_a_body_that_is_not_whole_is_a_payload_error(
    raw_server: Start, answer: bytes
) -> None:
    error = await _bad_then_good(raw_server, answer)
    assert isinstance(error, wherry.ClientPayloadError)
    assert "not completed" in str(error)


async def test_an_endless_head_ends_in_bounded_memory(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"a" * 65536)
            await writer.drain()

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientResponseError, match="head does not end"):
            await session.get(server.url)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nConte"], ids=["nothing", "half a head"]
)
async def test_a_close_before_the_head_is_a_disconnect(raw_server: Start, answer: bytes) -> None:
    error = await _bad_then_good(raw_server, answer)
    assert isinstance(error, wherry.ServerDisconnectedError)


async def test_a_body_that_ends_with_the_connection_is_whole(raw_server: Start) -> None:
    server = await raw_server([b"HTTP/1.0 200 OK\r\n\r\nhello"])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert await reply.read() == b"hello"
        assert reply.version == wherry.HttpVersion10


@pytest.mark.parametrize("extra", [b"X", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"])
@pytest.mark.parametrize("framing", ["length", "chunked", "known head"])
async def test_bytes_after_the_body_never_reach_the_next_request(
    raw_server: Start, extra: bytes, framing: str
) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    whole = chunked if framing == "chunked" else response(b"ok")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if framing == "known head":
            for _ in range(3):
                await read_request(reader)
                writer.write(whole)
        await read_request(reader)
        writer.write(whole + extra)
        await read_request(reader)
        writer.write(response(b"never"))

    server = await raw_server(script)
    other = await raw_server([OK])
    async with wherry.ClientSession() as session:
        for _ in range(4 if framing == "known head" else 1):
            async with session.get(server.url) as reply:
                assert await reply.read() == b"ok"
        await server.until(lambda s: s.lost == 1)  # the client closed it
        async with session.get(other.url) as reply:
            assert await reply.read() == b"next"
    assert server.connections == 1


async def test_bytes_on_an_idle_connection_never_reach_the_next_request(raw_server: Start) -> None:
    """The event loop has not read them when the connection is taken: the pool looks."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    loop = asyncio.get_running_loop()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    def answer(peer: socket.socket, data: bytes) -> None:
        peer.recv(65536)
        peer.sendall(data)

    async with wherry.ClientSession() as session:
        first = asyncio.create_task(session._request("GET", url))
        peer, _ = await loop.run_in_executor(None, listener.accept)
        await loop.run_in_executor(None, answer, peer, response(b"first"))
        async with await first as reply:
            assert await reply.read() == b"first"
        # Straight into the kernel's buffer, without a turn of the loop in between.
        peer.sendall(response(b"poison", status="408 Request Timeout"))
        second = asyncio.create_task(session._request("GET", url))
        other, _ = await loop.run_in_executor(None, listener.accept)
        await loop.run_in_executor(None, answer, other, response(b"second"))
        async with await second as reply:
            assert await reply.read() == b"second"
        assert session.connector is not None
        assert session.connector.stats().opened == 2
    for sock in (peer, other, listener):
        sock.close()


async def test_a_dead_kept_connection_costs_a_get_nothing(raw_server: Start) -> None:
    """The server closes a kept connection as the second request arrives: a GET is sent again,
    once.
    """
    asked = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        writer.write(response(b"ok"))
        if len(asked) == 1:
            asked.append(await read_request(reader))  # and no answer

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        for _ in range(2):
            async with session.get(server.url) as reply:
                assert await reply.read() == b"ok"
    assert len(asked) == 3
    assert server.connections == 2


async def test_a_post_that_may_have_arrived_is_not_sent_again(raw_server: Start) -> None:
    asked = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        writer.write(response(b"ok"))
        asked.append(await read_request(reader))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        await (await session.get(server.url)).read()
        with pytest.raises(wherry.ServerDisconnectedError):
            await session.post(server.url, data=b"once")
    assert len(asked) == 2
    assert server.connections == 1


async def test_a_post_on_a_connection_seen_dead_goes_to_a_new_one(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(b"ok"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        await (await session.get(server.url)).read()
        await server.until(lambda s: s.lost == 1)
        async with session.post(server.url, data=b"x") as reply:
            assert await reply.read() == b"ok"
    assert server.connections == 2


async def test_a_get_is_not_sent_a_third_time(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if server.connections == 1:
            writer.write(response(b"ok"))
            await read_request(reader)

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        await (await session.get(server.url)).read()
        with pytest.raises(wherry.ServerDisconnectedError):
            await session.get(server.url)
    assert server.connections == 2


@pytest.mark.parametrize("coding", [b"chunked", b"CHUNKED", b"  chunked  "])
async def test_chunks_alone_are_undone(raw_server: Start, coding: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n2\r\nhi\r\n0\r\n\r\n" % coding
    server = await raw_server([answer])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert await reply.read() == b"hi"


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"304 Not Modified"), ("GET", b"204 No")]
)
async def test_codings_of_no_body_do_not_matter(
    raw_server: Start, method: str, status: bytes
) -> None:
    answer = b"HTTP/1.1 %b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" % status
    server = await raw_server([answer])
    async with wherry.ClientSession() as session, session.request(method, server.url) as reply:
        assert await reply.read() == b""


async def test_interim_responses_are_passed_over(raw_server: Start) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    server = await raw_server([early + response(b"final"), early, OK])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert (reply.status, await reply.read()) == (200, b"final")
        assert "Link" not in reply.headers


NO_BODIES = {
    "HEAD with a length": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"),
    "HEAD with chunks": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "HEAD without framing": ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
    "HEAD of a coded body": (
        "HEAD",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\n\r\n",
    ),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304 with a length": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n"),
    "empty": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "answer"), NO_BODIES.values(), ids=NO_BODIES.keys())
async def test_a_response_without_a_body_ends_with_its_head(
    raw_server: Start, method: str, answer: bytes
) -> None:
    server = await raw_server([answer, answer, OK])
    async with wherry.ClientSession() as session:
        for _ in range(2):
            async with session.request(method, server.url) as reply:
                assert await reply.read() == b""
        async with session.get(server.url) as reply:
            assert await reply.read() == b"next"
    assert server.connections == 1, "the connection is used again"


async def test_bytes_after_a_head_response_are_not_an_answer(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        await read_request(reader)

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        async with session.head(server.url) as reply:
            assert await reply.read() == b""
        await server.until(lambda s: s.lost == 1)


@pytest.mark.parametrize(
    ("fields", "version", "kept"),
    [
        ("", "1.1", True),
        ("Connection: close\r\n", "1.1", False),
        ("Connection: keep-alive, CLOSE\r\n", "1.1", False),
        ("", "1.0", False),
        ("Connection: Keep-Alive\r\n", "1.0", True),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_persistence(
    raw_server: Start, fields: str, version: str, kept: bool, method: str
) -> None:
    """RFC 9112 9.3"""
    answer = f"HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{fields}\r\n".encode()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        for _ in range(2):
            async with session.request(method, server.url) as reply:
                await reply.read()
    assert server.connections == (1 if kept else 2)


async def test_trailers(raw_server: Start) -> None:
    body = b"2\r\nhi\r\n0\r\nX-Sum: 42\r\nX-More: a\r\n\r\n"
    server = await raw_server([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body])
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert await reply.read() == b"hi"
        assert dict(reply.trailers) == {"X-Sum": "42", "X-More": "a"}
        assert "X-Sum" not in reply.headers


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_response_in_pieces(raw_server: Start, size: int) -> None:
    whole = b"HTTP/1.1 200 Fine Day\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for at in range(0, len(whole), size):
            writer.write(whole[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)

    server = await raw_server(script)
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert (reply.reason, reply.headers["x-a"]) == ("Fine Day", "b")
        assert await reply.read() == b"abcdefg"


async def test_a_known_head_with_a_body_in_two_reads(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await read_request(reader)
            writer.write(response(b"hello"))
        await read_request(reader)
        whole = response(b"HELLO")
        writer.write(whole[:-2])
        await gate.wait()
        writer.write(whole[-2:])

    gate = asyncio.Event()
    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        for _ in range(3):
            async with session.get(server.url) as reply:
                assert await reply.read() == b"hello"
        async with session.get(server.url) as reply:
            gate.set()
            assert await reply.read() == b"HELLO"


FRAMING_WITHOUT_END = {
    "a chunk extension": (b"3;a=", b"x"),
    "zeros before a chunk's size": (b"", b"0"),
    "extensions of many chunks": (b"", b"1;" + b"x" * 8000 + b"\r\na\r\n"),
    "a trailer's value": (b"1\r\na\r\n0\r\nX: ", b"v"),
    "a trailer's name": (b"1\r\na\r\n0\r\n", b"n"),
}


@pytest.mark.parametrize(
    ("start", "more"), FRAMING_WITHOUT_END.values(), ids=FRAMING_WITHOUT_END.keys()
)
async def test_framing_without_end_is_not_borne(
    raw_server: Start, start: bytes, more: bytes
) -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await writer.drain()
        writer.write(start)
        piece = more * (65536 // len(more))
        while not writer.transport.is_closing():
            writer.write(piece)
            sent += len(piece)
            await writer.drain()
            await asyncio.sleep(0)

    server = await raw_server(script)
    async with wherry.ClientSession(timeout=wherry.ClientTimeout(total=10)) as session:
        with pytest.raises(wherry.ClientPayloadError, match="are no data"):
            async with session.get(server.url) as reply:
                await reply.read()
        await server.until(lambda server: server.lost == 1)
    assert sent < 16 * 2**20  # most of it lies in the sockets' buffers


async def test_small_chunks_and_their_extensions_are_borne(raw_server: Start) -> None:
    pieces = [b"1;sig=" + b"x" * 10 + b"\r\na\r\n"] * 20_000 + [
        b"0\r\n",
        b"X: " + b"v" * 8000 + b"\r\n\r\n",
    ]
    server = await raw_server(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(pieces)]
    )
    async with wherry.ClientSession() as session, session.get(server.url) as reply:
        assert await reply.read() == b"a" * 20_000
        assert reply.trailers["X"] == "v" * 8000


async def test_a_switch_of_protocols_leaves_the_connection_to_the_program(
    raw_server: Start,
) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    server = await raw_server([answer])
    async with wherry.ClientSession() as session, session.get(server.url, headers=SWITCH) as reply:
        assert reply.status == 101
        assert reply.connection is not None


@pytest.mark.parametrize("fields", [b"", b"Upgrade: x\r\n", b"Connection: upgrade\r\n"])
async def test_a_switch_to_no_protocol_has_no_body_to_wait_for(
    raw_server: Start, fields: bytes
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n")
        await reader.read()

    server = await raw_server(script)
    async with wherry.ClientSession(timeout=wherry.ClientTimeout(total=20)) as session:
        async with session.get(server.url, headers=SWITCH) as reply:
            assert reply.status == 101
            assert await reply.read() == b""
        await server.until(lambda server: server.lost == 1)


async def test_a_switch_to_no_protocol_takes_no_place(raw_server: Start) -> None:
    server = await raw_server([b"HTTP/1.1 101 Switching Protocols\r\n\r\n", OK])
    connector = wherry.TCPConnector(limit=1)
    async with wherry.ClientSession(
        connector=connector, timeout=wherry.ClientTimeout(total=20)
    ) as session:
        odd = await session.get(server.url, headers=SWITCH)
        assert (odd.status, await odd.read()) == (101, b"")
        async with session.get(server.url) as reply:
            assert await reply.text() == "next"


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        ("max_headers", b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 20 + b"Content-Length: 0\r\n\r\n"),
        (
            "max_field_size",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100 + b"\r\nContent-Length: 0\r\n\r\n",
        ),
        ("max_line_size", b"HTTP/1.1 200 " + b"a" * 100 + b"\r\nContent-Length: 0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("of_the_session", [True, False])
async def test_limits_of_session_and_request(
    raw_server: Start, limit: str, answer: bytes, of_the_session: bool
) -> None:
    server = await raw_server([answer, answer, answer])
    options: Any = {limit: 10}
    async with wherry.ClientSession(**(options if of_the_session else {})) as session:
        if not of_the_session:
            # The head is known now, but not under that limit.
            await (await session.get(server.url)).read()
        with pytest.raises(wherry.ClientResponseError, match="more than 10"):
            await session.get(server.url, **({} if of_the_session else options))
        loose: Any = {limit: 8190}
        async with session.get(server.url, **loose) as reply:
            assert reply.status == 200
