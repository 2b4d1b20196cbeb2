"""The parser in plain Python takes and refuses what llhttp does, whatever the pieces."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wherry.protocol.http1 import plain_parser

STATUS_LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No",
    b"HTTP/1.1 304 N", b"HTTP/1.1 101 S", b"HTTP/1.1 100 C", b"HTTP/1.1 199 x", b"HTTP/2.0 200 x",
    b"HTTP/0.9 200 x", b"HTTP/1.2 200 x", b"HTTP/1.1 20 x", b"HTTP/1.1 2000 x", b"HTTP/1.1  200 x",
    b"http/1.1 200 x", b"HTTP/1.1 200 \xff\0x", b"ICY 200 OK",
]  # fmt: skip
FIELDS = [
    b"Content-Length: 5", b"Content-Length: 0", b"content-length:5 ", b"Content-Length: ",
    b"Content-Length: 5 5", b"Content-Length: 18446744073709551615", b"Content-Length: +5",
    b"Content-Length: 18446744073709551616", b"Content-Length: 00005",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: ",
    b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: CHUNKED ",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked,", b"Connection: close",
    b"Connection: keep-alive, Upgrade", b"Connection: ,close", b"Connection: closed",
    b"Upgrade: websocket", b"Proxy-Connection: close", b"X: y", b"X:", b"X: \ty\t ", b"x y: z",
    b"X : y", b": y", b"nonsense", b" X: y", b"X: a\x7fb", b"X: a\xffb", b"X: a\tb", b"X: a\0b",
]  # fmt: skip
BODIES = [
    b"", b"hello", b"hello world", b"5\r\nhello\r\n0\r\n\r\n", b"\r\n", b"g\r\n",
    b"5;a=b;c\r\nhello\r\n0\r\nT: x\r\n\r\n", b'5;a="q\\"x"\r\nhello\r\n0\r\n\r\n',
    b"5 \r\nhello\r\n0\r\n\r\n", b"5;\r\nhello\r\n0\r\n\r\n", b"5; a=b\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n", b"05\r\nhello\r\n00\r\nContent-Length: 5\r\n\r\n",
    b"ffffffffffffffff\r\nx", b"10000000000000000\r\nx", b"5\r\nhelloX\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b"5;a=\r\nhello\r\n0\r\n\r\n",
    b'5;a="x"y\r\nhello\r\n0\r\n\r\n', b"0\r\nConnection: close\r\n\r\n",
]  # fmt: skip


class Events:
    """What a parser says of some bytes; pieces of a body, and of a reason, are one."""

    def __init__(self, module: Any) -> None:
        self.seen: list[list[Any]] = []
        self.refused = False
        self._module = module
        self._parser = module.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.seen.append(["begin"])

    def on_status(self, reason: bytes) -> None:
        self._add("status", reason)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.seen.append([name, value])

    def on_headers_complete(self) -> None:
        parser = self._parser
        self.seen.append(["head", parser.get_status_code(), parser.get_http_version()])

    def on_body(self, data: bytes) -> None:
        self._add("body", data)

    def on_chunk_complete(self) -> None:
        self.seen.append(["chunk"])

    def on_message_complete(self) -> None:
        parser = self._parser
        self.seen.append(["done", parser.should_keep_alive(), parser.should_upgrade()])

    def _add(self, name: str, data: bytes) -> None:
        if self.seen[-1][0] == name:
            self.seen[-1][1] += data
        else:
            self.seen.append([name, data])

    def feed(self, pieces: list[bytes]) -> Events:
        for number, piece in enumerate(pieces):
            try:
                self._parser.feed_data(piece)
            except self._module.HttpParserUpgrade as switch:
                self.seen.append(["switch", number, switch.args[0]])
                break
            except self._module.HttpParserError:
                self.refused = True
                break
        return self


@st.composite
def responses(draw: st.DrawFn) -> list[bytes]:
    """Pieces of a response that is right, or nearly."""
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=3))
    data = b"\r\n".join([draw(st.sampled_from(STATUS_LINES)), *fields]) + b"\r\n\r\n"
    data += draw(st.sampled_from(BODIES)) + draw(st.sampled_from([b"", b"", *BODIES]))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(data) - 1))
        byte = draw(st.sampled_from([b"", b"\0", b"\n", b"\r", b" ", b";", b":", b"=", b"\x7f"]))
        data = data[:place] + byte + data[place + draw(st.integers(0, 1)) :]
    cuts = draw(st.one_of(st.just(range(len(data))), st.lists(st.integers(0, len(data)))))
    ends = sorted({0, len(data), *cuts})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


@settings(max_examples=1500, derandomize=True)
@given(responses())
@example([b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nmore"])
@example([b"HTTP/1.1 101 S\r\nContent-Length: 5\r\n\r\nhello"])
def test_it_says_what_llhttp_says(pieces: list[bytes]) -> None:
    compiled = Events(httptools).feed(pieces)
    plain = Events(plain_parser).feed(pieces)
    if b"chunked\t" in b"".join(pieces).lower():
        return  # llhttp sees no chunks there; RFC 9110 5.5 does
    assert plain.refused == compiled.refused
    if not plain.refused:
        assert plain.seen == compiled.seen


def test_an_error_of_a_callback_is_the_context() -> None:
    class Failing(Events):
        def on_header(self, name: bytes, value: bytes) -> None:
            raise LookupError("mine")

    parser = plain_parser.HttpResponseParser(Failing(plain_parser))
    with pytest.raises(plain_parser.HttpParserCallbackError) as caught:
        parser.feed_data(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n")
    assert isinstance(caught.value.__context__, LookupError)
    with pytest.raises(plain_parser.HttpParserCallbackError):
        parser.feed_data(b"more")  # it stays broken


def test_a_line_in_many_pieces_is_looked_at_once() -> None:
    """Linear: only the bytes that came last are searched for the line's end."""
    parser = plain_parser.HttpResponseParser(Events(plain_parser))
    parser.feed_data(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(1000):
        parser.feed_data(b"y" * 10)
        assert parser._searched == len(parser._line)
    parser.feed_data(b"\r")
    assert parser._searched == len(parser._line) - 1
    with pytest.raises(plain_parser.HttpParserError):
        parser.feed_data(b"z")


CODE = """
import asyncio, sys
sys.modules["httptools"] = None
import wherry
from wherry.protocol.http1 import parser_backend, plain_parser
assert parser_backend.HttpResponseParser is plain_parser.HttpResponseParser

async def serve(reader, writer):
    while await reader.readuntil(b"\\r\\n\\r\\n"):
        writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\n\\r\\n")

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with wherry.ClientSession() as session:
        for _ in range(2):
            async with session.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as answer:
                assert await answer.text() == "hello"
        assert session.connector.stats().opened == 1
    server.close()

asyncio.run(main())
print("good")
"""


def test_wherry_works_where_there_is_no_httptools() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=False
    )
    assert done.stdout == "good\n", done.stderr
