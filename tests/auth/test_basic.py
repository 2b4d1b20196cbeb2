"""Basic credentials, beside aiohttp's."""

from __future__ import annotations

import base64
import warnings

import aiohttp
import pytest
from yarl import URL

from wherry.auth.basic import BasicAuth, encode_basic_auth

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    PEER = aiohttp.BasicAuth


@pytest.mark.parametrize(
    ("login", "password"), [("u", "p"), ("", ""), ("u", ""), ("ü", "pä"), ("u", "a:b")]
)
def test_credentials_encode_and_decode(login: str, password: str) -> None:
    auth = BasicAuth(login, password)
    assert BasicAuth.decode(auth.encode()) == auth == (login, password, "latin1")
    assert encode_basic_auth(login, password) == aiohttp.encode_basic_auth(login, password)
    assert encode_basic_auth(login, password, "latin1") == auth.encode()


def test_parts_that_cannot_be_sent_are_refused() -> None:
    for arguments in ((None,), ("u", None), ("a:b", "c")):
        with pytest.raises(ValueError, match=r"not allowed"):
            BasicAuth(*arguments)
    with pytest.raises(ValueError, match="not allowed"):
        encode_basic_auth("a:b")


@pytest.mark.parametrize(
    "value", ["", "Basic", "Bearer eHk6eg==", "Basic !!!", "Basic dXNlcg==", "Basic é"]
)
def test_a_broken_field_is_a_value_error(value: str) -> None:
    with pytest.raises(ValueError):
        BasicAuth.decode(value)


def test_credentials_of_a_url() -> None:
    assert BasicAuth.from_url(URL("http://u%40x:p%3A1@h/")) == BasicAuth("u@x", "p:1")
    assert BasicAuth.from_url(URL("http://u@h/")) == BasicAuth("u")
    assert BasicAuth.from_url(URL("http://h/")) is None
    with pytest.raises(TypeError):
        BasicAuth.from_url("http://u@h/")  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for url in ("http://u%40x:p%3A1@h/", "http://u@h/", "http://:p@h/"):
            assert BasicAuth.from_url(URL(url)) == PEER.from_url(URL(url))


@pytest.mark.parametrize("encoding", ["latin1", "ISO-8859-1", "utf-8", "UTF8"])
@pytest.mark.parametrize(
    ("login", "password"), [("иван", "пароль"), ("me", "€"), ("名", ""), ("me", "\U0001f511")]
)
def test_what_latin_1_cannot_write_goes_out_in_utf_8(
    login: str, password: str, encoding: str
) -> None:
    sent = base64.b64decode(BasicAuth(login, password, encoding).encode().removeprefix("Basic "))
    assert sent == f"{login}:{password}".encode()


def test_what_latin_1_can_write_goes_out_as_it_did() -> None:
    assert base64.b64decode(BasicAuth("é", "ü").encode()[6:]) == b"\xe9:\xfc"


def test_bytes_of_a_command_line_stand_for_themselves() -> None:
    assert base64.b64decode(BasicAuth("me", "\udcff").encode()[6:]) == b"me:\xff"


def test_another_encoding_is_taken_at_its_word() -> None:
    assert base64.b64decode(BasicAuth("иван", "", "cp1251").encode()[6:]) == "иван:".encode(
        "cp1251"
    )
    with pytest.raises(UnicodeEncodeError):
        BasicAuth("名", "", "cp1251").encode()
