"""Messages that aiohttp's programs match on: the same here, whatever else follows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from ssl import SSLCertVerificationError

import pytest
from yarl import URL

import wherry
from wherry.client.sending.redirect_rules import redirect_url
from wherry.protocol.websocket.frames import FrameReader
from wherry.types import ConnectionKey


@pytest.mark.parametrize(
    "fields", [{"X-A": "a\r\nB: c"}, {"X-A": "a\0"}, {"X\rA": "a"}, {"X\nA": "a"}]
)
def test_fields_of_a_part_that_would_inject_others(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header injection"):
        _ = wherry.BytesPayload(b"", headers=fields)._binary_headers


@pytest.mark.parametrize("location", ["http:///", "http:///example.com", "https:///a?b"])
def test_a_redirect_to_no_host(location: str) -> None:
    with pytest.raises(
        wherry.InvalidUrlRedirectClientError,
        match=f"^{re.escape(location)} - Invalid redirect URL origin",
    ):
        redirect_url(URL("http://a.example/"), location)


async def _pieces() -> AsyncIterator[bytes]:
    yield b""


async def test_arguments_of_the_wrong_kind() -> None:
    with pytest.raises(TypeError, match=r"^Unable to decode - content not cached"):
        wherry.AsyncIterablePayload(_pieces()).decode()
    async with wherry.ClientSession() as session:
        with pytest.raises(TypeError, match=r"^ssl should be SSLContext, .* got 42 instead\.$"):
            await session.get("https://a.example/", ssl=42)
        with pytest.raises(ValueError, match=r"^proxy_auth must be None or BasicAuth\(\) tuple$"):
            await session.get("http://a.example/", proxy="http://b.example", proxy_auth=("a", "b"))
    with pytest.raises(TypeError, match=r"^ssl should be SSLContext, .* got 42 instead\.$"):
        wherry.TCPConnector(ssl=42)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"timeout": 1.0},
            (
                "parameter 'timeout' of type 'float' is deprecated, "
                "please use 'timeout=ClientWSTimeout(ws_close=...)'"
            ),
        ),
        (
            {"receive_timeout": 1.0},
            (
                "float parameter 'receive_timeout' is deprecated, "
                "please use parameter 'timeout=ClientWSTimeout(ws_receive=...)'"
            ),
        ),
    ],
)
async def test_time_limits_of_websockets(
    unused_tcp_port: int, options: dict[str, float], message: str
) -> None:
    async with wherry.ClientSession() as session:
        with (
            pytest.warns(DeprecationWarning, match=f"^{re.escape(message)}$"),
            pytest.raises(wherry.ClientConnectorError),
        ):
            await session.ws_connect(f"http://127.0.0.1:{unused_tcp_port}/", **options)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (b"\xb1\x00", "Received frame with non-zero reserved bits"),
        (b"\xc1\x00", "Received frame with non-zero reserved bits"),
        (b"\xc9\x00", "Received frame with non-zero reserved bits"),
        (b"\x83\x00", "Unexpected opcode=3"),
        (b"\x8b\x00", "Unexpected opcode=11"),
        (b"\x09\x00", "Received fragmented control frame"),
        (b"\x89\x7e\x00\x7e", "Control frame payload cannot be larger than 125 bytes"),
        (b"\x80\x00", "Continuation frame for non started message"),
        (b"\x01\x01a\x81\x01b", "The opcode in non-fin frame is expected to be zero, got 1"),
        (b"\x88\x02\x03\xed", "Invalid close code: 1005"),
        (b"\x88\x01\x03", "Invalid close frame"),
        (b"\x81\x01\xff", "Invalid UTF-8 text message"),
        (b"\x82\x7e\x10\x00", "Message size 4096 exceeds limit 1024"),
    ],
)
def test_frames_that_break_the_protocol(frames: bytes, message: str) -> None:
    reader = FrameReader(1024)
    reader.receive(frames)
    assert isinstance(reader.error, wherry.WebSocketError)
    assert str(reader.error).startswith(message)


def test_a_certificate_that_was_refused() -> None:
    key = ConnectionKey("a.example", 443, True, True, None, None, None)
    error = wherry.ClientConnectorCertificateError(
        key, SSLCertVerificationError(1, "verify failed")
    )
    assert str(error) == (
        "Cannot connect to host a.example:443 ssl:True "
        "[SSLCertVerificationError: (1, 'verify failed')]"
    )
