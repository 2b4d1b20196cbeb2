"""Basic credentials, beside aiohttp's."""

from __future__ import annotations

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
