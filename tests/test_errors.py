"""What errors say, wherever what they tell of came from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.raw import RawServer, read_request, response
from yarl import URL

import wherry
from wherry.errors import printable
from wherry.types import ConnectionKey

Start = Callable[..., Awaitable[RawServer]]


@pytest.mark.parametrize(
    "url",
    [
        "http://example\x1b[31m.test:port]/",
        "http://\ud800.test/",
        "http://ex\u202eample.test/",
        "http://example\x9b31m.test/",
        "http://b\u00fccher\x07.test:99999/",
        "http://[fe80::1%\x1b]/",
        "http://x\x7f.invalid/",
        "gopher\x1b://me:secret@example.test/",
    ],
    ids=ascii,
)
async def test_a_url_in_an_error_cannot_command_the_terminal(url: str) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientError) as caught:
            await session.get(url)
    for said in (str(caught.value), repr(caught.value)):
        assert said.isprintable()
        assert "secret" not in said
    if isinstance(caught.value, wherry.InvalidURL):
        assert isinstance(caught.value.url, URL) or caught.value.url == url


async def test_a_redirect_in_an_error_cannot_command_the_terminal(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(status="302 Found", fields="Location: http://\x9b31m]/\r\n"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.InvalidURL) as caught:
            await session.get(server.url)
    assert str(caught.value).isprintable()


def test_letters_of_all_languages_are_shown_as_they_are() -> None:
    assert (
        str(wherry.InvalidURL("http://b\u00fccher.de:x/", "no")) == "http://b\u00fccher.de:x/ - no"
    )


@given(st.text())
def test_what_is_shown_is_printable_and_can_be_encoded(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert not text.isprintable() or shown == text


HOST = ConnectionKey("a\x1b[2J\ud800", 80, False, True, None, None, None)
SYSTEM = OSError(1, "said\r\nso")


@pytest.mark.parametrize(
    "error",
    [
        wherry.ClientConnectorError(HOST, SYSTEM),
        wherry.ClientConnectorDNSError(HOST, SYSTEM),
        wherry.ClientConnectorCertificateError(HOST, ValueError("a\x1bname")),
        wherry.UnixClientConnectorError("/a\x1bpath", HOST, SYSTEM),
        wherry.ServerFingerprintMismatch(b"a", b"b", HOST.host, 80),
        wherry.InvalidURL("http://\x1b", "with \x07"),
        wherry.NonHttpUrlClientError("x\x1b://"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_hosts_and_what_systems_said_are_shown_printable(error: Exception) -> None:
    assert str(error).isprintable()
    assert repr(error).isprintable()


@pytest.mark.parametrize(
    "url", ["foo\x1b://me:secret@h/", "foo://me:secret@h/'\"", URL("foo://me:secret@h/")], ids=ascii
)
def test_the_repr_of_a_scheme_that_is_not_spoken_hides_the_password(url: str | URL) -> None:
    error = wherry.NonHttpUrlClientError(url)
    assert "secret" not in repr(error)
    assert repr(error).startswith("NonHttpUrlClientError(")
    assert error.args == (url,)
