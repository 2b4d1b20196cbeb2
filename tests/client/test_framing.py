"""What a request says of its body and of its connection (RFC 9112 6, RFC 9110 7.6.1 and 7.8):
tables of cases.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from multidict import CIMultiDict

from wherry.body.payload.memory import AsyncIterablePayload, BytesPayload, Payload
from wherry.client.headers.framing import body_framing, connection_options, parted
from wherry.types import HttpVersion10, HttpVersion11


async def _pieces() -> AsyncIterator[bytes]:
    yield b"hello"


KINDS: dict[str, Callable[[], Payload | None]] = {
    "nothing": lambda: None,
    "five bytes": lambda: BytesPayload(b"hello"),
    "a stream": lambda: AsyncIterablePayload(_pieces()),
}
LENGTH = "content-length"
CODING = "transfer-encoding"


@pytest.mark.parametrize(
    ("method", "body", "engine", "chunked", "told"),
    [
        ("GET", "nothing", {}, False, (None, False)),
        ("POST", "nothing", {}, False, (0, False)),
        ("GET", "nothing", {LENGTH: "0"}, False, (0, False)),
        ("GET", "nothing", {}, True, (None, False)),
        ("GET", "five bytes", {}, False, (5, False)),
        ("POST", "five bytes", {}, False, (5, False)),
        ("POST", "five bytes", {LENGTH: "5"}, False, (5, False)),
        ("POST", "five bytes", {}, True, (None, True)),
        ("POST", "five bytes", {CODING: "Chunked "}, False, (None, True)),
        ("POST", "a stream", {}, False, (None, True)),
        ("POST", "a stream", {LENGTH: "7"}, False, (7, False)),
    ],
)
async def test_length_or_chunks(method, body, engine, chunked, told):
    assert body_framing(KINDS[body](), engine, method, HttpVersion11, chunked=chunked) == told


@pytest.mark.parametrize(
    ("body", "engine", "chunked", "spoken", "why"),
    [
        ("five bytes", {LENGTH: "4"}, False, HttpVersion11, "is 4 but the body has 5 bytes"),
        ("nothing", {LENGTH: "4"}, False, HttpVersion11, "there is no body"),
        ("five bytes", {LENGTH: "+5"}, False, HttpVersion11, "a number of bytes"),
        ("five bytes", {LENGTH: "\u0665"}, False, HttpVersion11, "a number of bytes"),
        ("five bytes", {CODING: "gzip, chunked"}, False, HttpVersion11, "belongs to the engine"),
        ("five bytes", {LENGTH: "5"}, True, HttpVersion11, "together with chunked"),
        (
            "five bytes",
            {LENGTH: "5", CODING: "chunked"},
            False,
            HttpVersion11,
            "together with chunked",
        ),
        ("a stream", {}, False, HttpVersion10, "forbidden for HTTP/1.0"),
    ],
)
async def test_framing_fields_that_do_not_agree_with_the_body_are_refused(
    body, engine, chunked, spoken, why
):
    with pytest.raises(ValueError, match=why):
        body_framing(KINDS[body](), engine, "POST", spoken, chunked=chunked)


@pytest.mark.parametrize(
    ("engine", "upgrade", "told"),
    [
        ({}, None, (False, None, [])),
        ({"connection": "Close"}, None, (True, None, [])),
        ({"connection": "te, close"}, "websocket", (True, "websocket", [])),
        ({"connection": "Upgrade", "upgrade": "tls/1.0"}, None, (False, "tls/1.0", [])),
        ({"connection": "keep-alive"}, None, (False, None, [("Connection", "keep-alive")])),
        ({"connection": "keep-alive"}, "websocket", (False, "websocket", [])),
        ({"upgrade": "h2c"}, None, (False, None, [])),
    ],
)
def test_connection_options_of_the_program(engine, upgrade, told):
    assert connection_options(engine, [], upgrade, False) == told


def test_fields_of_the_engine_are_kept_apart():
    headers = CIMultiDict([("Host", "h"), ("X-A", "1"), ("content-length", "3"), ("X-A", "2")])
    assert parted(headers) == ([("X-A", "1"), ("X-A", "2")], {"host": "h", "content-length": "3"})
