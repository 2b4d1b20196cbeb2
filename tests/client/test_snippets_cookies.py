"""The snippets of "Custom Cookies", "Response Headers and Cookies" and "Cookie Jar", in the
documents' own words.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.client.conftest import Asked, Peer, Reply, reply
from tests.client.names import lead_to
from yarl import URL

import wherry as aiohttp


def _httpbin(asked: Asked) -> Reply:
    url = URL(f"http://peer{asked.target}")
    if url.path == "/cookies":
        pairs = [pair.split("=", 1) for pair in asked.headers.get("Cookie", "").split("; ") if pair]
        return reply(
            200, json.dumps({"cookies": dict(pairs)}), {"Content-Type": "application/json"}
        )
    if url.path == "/cookies/set":
        fields = [("Set-Cookie", f"{name}={value}; Path=/") for name, value in url.query.items()]
        return reply(302, headers=[*fields, ("Location", "/cookies")])
    if url.path == "/some/cookie/setting/url":
        return reply(200, headers={"Set-Cookie": "example_cookie_name=value"})
    return reply(200)


@pytest.fixture
async def ClientSession(  # noqa: N802
    peer: Callable[..., Awaitable[Peer]], monkeypatch: pytest.MonkeyPatch
) -> type[aiohttp.ClientSession]:
    """The session, with httpbin.org and example.com on this machine."""
    server = await peer(_httpbin)
    lead_to(monkeypatch, server.port)
    return aiohttp.ClientSession


async def test_custom_cookies_of_the_session(ClientSession: Any) -> None:  # noqa: N803
    """S001-48"""
    url = "http://httpbin.org/cookies"
    cookies = {"cookies_are": "working"}
    async with ClientSession(cookies=cookies) as session, session.get(url) as resp:
        assert await resp.json() == {"cookies": {"cookies_are": "working"}}


async def test_custom_cookies_shared_between_requests(ClientSession: Any) -> None:  # noqa: N803
    """S001-03"""
    async with aiohttp.ClientSession() as session:
        async with session.get(
            "http://httpbin.org/cookies/set?my_cookie=my_value", allow_redirects=False
        ) as resp:
            assert resp.cookies["my_cookie"].value == "my_value"
        async with session.get("http://httpbin.org/cookies") as r:
            json_body = await r.json()
            assert json_body["cookies"]["my_cookie"] == "my_value"


async def test_custom_cookies_shared_between_requests_as_in_3_4(ClientSession: Any) -> None:  # noqa: N803
    """S002-01"""
    async with aiohttp.ClientSession() as session:
        await session.get("http://httpbin.org/cookies/set?my_cookie=my_value")
        with pytest.warns(DeprecationWarning, match="URL"):
            filtered = session.cookie_jar.filter_cookies("http://httpbin.org")
        assert filtered["my_cookie"].value == "my_value"
        async with session.get("http://httpbin.org/cookies") as r:
            json_body = await r.json()
            assert json_body["cookies"]["my_cookie"] == "my_value"


async def test_response_cookies(ClientSession: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: N803
    """S001-55"""
    async with aiohttp.ClientSession() as session:
        url = "http://example.com/some/cookie/setting/url"
        async with session.get(url) as resp:
            print(resp.cookies["example_cookie_name"])
    assert capsys.readouterr().out == "Set-Cookie: example_cookie_name=value\n"


async def test_cookie_jar_safety() -> None:
    """S001-61"""
    jar = aiohttp.CookieJar(unsafe=True)
    session = aiohttp.ClientSession(cookie_jar=jar)
    assert session.cookie_jar is jar
    await session.close()


async def test_cookie_jar_quoting_routine() -> None:
    """S001-64"""
    jar = aiohttp.CookieJar(quote_cookie=False)
    session = aiohttp.ClientSession(cookie_jar=jar)
    assert session.cookie_jar is jar
    await session.close()


async def test_cookie_jar_dummy() -> None:
    """S001-65"""
    jar = aiohttp.DummyCookieJar()
    session = aiohttp.ClientSession(cookie_jar=jar)
    assert session.cookie_jar is jar
    await session.close()
