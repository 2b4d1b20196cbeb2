"""The snippets and sentences of "Authentication", each under its own name."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

import wherry
from wherry import BasicAuth

from .conftest import Peer, reply

BASIC = BasicAuth("me", "mine").encode()


def sent(server: Peer) -> list[str | None]:
    return [asked.headers.get("Authorization") for asked in server.asked]


async def test_basic_auth_of_the_session(peer: Any, session: Any) -> None:
    """S001-10"""
    server: Peer = await peer()
    client = session(auth=BasicAuth(login="me", password="mine"))
    assert client.auth == BasicAuth("me", "mine")
    async with client.get(server.url()), client.post(server.url()):
        pass
    assert sent(server) == [BASIC, BASIC]


async def test_basic_auth_of_a_request(peer: Any, session: Any) -> None:
    """S001-11"""
    server: Peer = await peer()
    client = session()
    async with client.get(server.url(), auth=BasicAuth("me", "mine")), client.get(server.url()):
        pass
    assert sent(server) == [BASIC, None]


async def test_a_requests_auth_wins_over_the_sessions(peer: Any, session: Any) -> None:
    """S001-12"""
    server: Peer = await peer()
    async with session(auth=BasicAuth("other", "x")).get(
        server.url(), auth=BasicAuth("me", "mine")
    ):
        pass
    assert sent(server) == [BASIC]


async def test_auth_and_credentials_in_the_url_is_a_value_error(peer: Any, session: Any) -> None:
    """S001-21"""
    server: Peer = await peer()
    with pytest.raises(
        ValueError, match="Cannot combine AUTH argument with credentials encoded in URL"
    ):
        await session().get(server.url(user="a:b"), auth=BasicAuth("me", "mine"))
    assert not server.asked


@pytest.mark.parametrize("where", ["request", "session"])
async def test_auth_and_an_authorization_header_is_a_value_error(
    peer: Any, session: Any, where: str
) -> None:
    server: Peer = await peer()
    auth = BasicAuth("me", "mine")
    client = session(auth=auth if where == "session" else None)
    with pytest.raises(ValueError, match="Cannot combine AUTHORIZATION header"):
        await client.get(
            server.url(),
            headers={"authorization": "Bearer t"},
            auth=auth if where == "request" else None,
        )
    with pytest.raises(ValueError, match="Cannot combine AUTHORIZATION header"):
        await session().get(server.url(user="a:b"), headers={"Authorization": "Bearer t"})
    assert not server.asked


@pytest.mark.parametrize(
    ("user", "auth"),
    [
        ("me:mine", BasicAuth("me", "mine")),
        ("me", BasicAuth("me")),
        (":mine", BasicAuth("", "mine")),
        ("m%40e:m%3A%2Fine", BasicAuth("m@e", "m:/ine")),
    ],
)
async def test_credentials_in_the_url_are_sent_as_basic(
    peer: Any, session: Any, user: str, auth: BasicAuth
) -> None:
    """S001-22"""
    server: Peer = await peer()
    async with session().get(server.url(user=user)) as response:
        assert response.url == URL(server.url())
    assert sent(server) == [auth.encode()]


async def test_the_authorization_header_set_directly(peer: Any, session: Any) -> None:
    """S001-23"""
    server: Peer = await peer()
    headers = {"Authorization": "Bearer eyJh...0M30"}
    async with session(headers=headers).get(server.url()):
        pass
    assert sent(server) == ["Bearer eyJh...0M30"]


async def test_the_session_headers_may_be_updated(peer: Any, session: Any) -> None:
    """S001-24"""
    server: Peer = await peer()
    client = session(headers={"Authorization": "Bearer eyJh...0M30"})
    async with client.get(server.url()):
        pass
    client.headers["Authorization"] = "Bearer eyJh...1OH0"
    async with client.get(server.url()):
        pass
    assert sent(server) == ["Bearer eyJh...0M30", "Bearer eyJh...1OH0"]


async def test_the_session_headers_are_a_copy(peer: Any, session: Any) -> None:
    """S001-25"""
    server: Peer = await peer()
    headers = {"Authorization": "Bearer one"}
    client = session(headers=headers)
    assert type(client.headers) is CIMultiDict
    headers["Authorization"] = "Bearer two"
    async with client.get(server.url()):
        pass
    assert sent(server) == ["Bearer one"]


async def test_a_task_renews_the_session_headers(peer: Any, session: Any) -> None:
    """S001-26"""
    server: Peer = await peer()
    client = session(headers={"Authorization": "Bearer 0"})
    asked, renewed = asyncio.Event(), asyncio.Event()

    async def renew() -> None:
        await asked.wait()
        client.headers["Authorization"] = "Bearer 1"
        renewed.set()

    task = asyncio.create_task(renew())
    async with client.get(server.url()):
        asked.set()
    await renewed.wait()
    async with client.get(server.url()):
        await task
    assert sent(server) == ["Bearer 0", "Bearer 1"]


@pytest.mark.parametrize("target", ["http://a%3Ab:c@b.test/", "http://a%0D%0Ab:c@b.test/"])
async def test_odd_credentials_in_a_redirect_do_no_harm(
    peer: Any, session: Any, target: str
) -> None:
    server: Peer = await peer(
        lambda asked: (
            reply(302, "", {"Location": f"{target[:-1]}:{server.port}/x"})
            if asked.target == "/"
            else reply()
        )
    )
    try:
        async with session().get(server.url()) as response:
            assert response.status == 200
    except ValueError as exc:
        assert "a:b" not in str(exc)  # noqa: PT017
    for asked in server.asked:
        assert asked.headers.keys() <= {
            "Host",
            "Accept",
            "Accept-Encoding",
            "User-Agent",
            "Authorization",
        }


ODD_URLS = (
    "http://me:hidden@h.test:99999/",
    "http://me:hidden@[bad/",
    "http://me:hidden@/",
    "ftp://me:hidden@h.test/",
)


@pytest.mark.parametrize(
    ("url", "redirected"),
    [
        *((url, redirected) for url in ODD_URLS for redirected in (False, True)),
        ("me:hidden@h.test/", False),
        ("//me:hidden@h.test/", False),
    ],
)
async def test_the_error_of_a_url_does_not_show_its_credentials(
    peer: Any, session: Any, url: str, redirected: bool
) -> None:
    server: Peer = await peer(lambda _: reply(302, "", {"Location": url}))
    with pytest.raises(wherry.ClientError) as caught:
        await session().get(server.url() if redirected else url)
    assert "hidden" not in f"{caught.value} {caught.value!r}"
    assert "***@" in str(caught.value)
    assert "hidden" in str(caught.value.args[0])  # the program itself may know


def test_credentials_do_not_show_their_password() -> None:
    assert "hidden" not in f"{BasicAuth('me', 'hidden')!r} {[BasicAuth('me', 'hidden')]}"


@pytest.mark.parametrize("how", ["auth=", "session auth=", "URL", "netrc", "redirect", "proxy"])
async def test_credentials_that_latin_1_cannot_write_go_out_in_utf_8(
    peer: Any, session: Any, how: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from browsers and curl (RFC 7617 2.1): wherever a name is given, it arrives."""
    (tmp_path / "netrc").write_text("machine a.test login иван password пароль\n", "utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    server: Peer = await peer()
    auth = wherry.BasicAuth("иван", "пароль")
    url = URL(server.url("/", "a.test"))
    named = url.with_user("иван").with_password("пароль")
    client = session(
        auth=auth if how == "session auth=" else None,
        trust_env=how == "netrc",
        proxy=URL(server.url()) if how == "proxy" else None,
        proxy_auth=auth if how == "proxy" else None,
    )
    if how == "redirect":
        server.answer = lambda asked: (
            reply(302, "", {"Location": str(named.with_path("/x"))})
            if asked.target == "/"
            else reply()
        )
    async with client.get(named if how == "URL" else url, auth=auth if how == "auth=" else None):
        pass
    name = "Proxy-Authorization" if how == "proxy" else "Authorization"
    sent = server.asked[-1].headers[name].removeprefix("Basic ")
    assert base64.b64decode(sent) == "иван:пароль".encode()
