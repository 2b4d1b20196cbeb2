"""Proxies by pattern, or by a function of the URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.raw import RawServer, read_request, response
from yarl import URL

import wherry
from wherry.connect.proxy.url_patterns import ProxyChoice

Start = Callable[..., Awaitable[RawServer]]
A, B, C = "http://a.test:1", "http://b.test:2", "socks5://c.test:3"


def chosen(patterns: Any, url: str) -> str | None:
    hops = ProxyChoice(patterns).hops_for(URL(url))
    return None if not hops else hops[-1].host[0]


@pytest.mark.parametrize(
    ("patterns", "url", "expected"),
    [
        ({"all://": A}, "http://x.test/", "a"),
        ({"all://": A}, "wss://x.test/", "a"),
        ({"https://": A}, "http://x.test/", None),
        ({"https://": A}, "https://x.test/", "a"),
        ({"https://": A}, "wss://x.test/", "a"),
        ({"ws://": A}, "http://x.test/", "a"),
        ({"http": A, "https": B}, "https://x.test/", "b"),  # as requests has it
        ({"https://": A, "all://x.test": None}, "https://x.test/", None),
        ({"https://": A, "all://x.test": None}, "https://y.test/", "a"),
        ({"all://": A, "all://*.x.test": B}, "http://deep.y.x.test/", "b"),
        ({"all://": A, "all://*.x.test": B}, "http://x.test/", "a"),
        ({"all://": A, "all://*.x.test": B}, "http://prefix-x.test/", "a"),
        ({"all://*.x.test": A, "all://*.y.x.test": B}, "http://z.y.x.test/", "b"),
        ({"all://*.x.test": A, "all://y.x.test": B}, "http://y.x.test/", "b"),
        ({"all://x.test": A, "all://x.test:8080": B}, "http://x.test:8080/", "b"),
        ({"all://x.test": A, "http://x.test": B}, "http://x.test/", "b"),
        ({"all://x.test:443": A}, "https://x.test/", "a"),
        ({"all://x.test:443": A}, "http://x.test/", None),
        ({"all://X.Test": A}, "http://x.tEST/", "a"),
        ({"all://b\u00fccher.test": A}, "http://xn--bcher-kva.test/", "a"),
        ({"all://[::1]": A}, "http://[::1]:8080/", "a"),
        ({"all://127.0.0.1": A}, "http://127.0.0.1/", "a"),
        ({"all://*": A}, "http://x.test/", "a"),
        ({"all://": [A, B]}, "http://x.test/", "b"),
        ({"all://": C}, "http://x.test/", "c"),
        ({}, "http://x.test/", None),
        (lambda url: A if url.host == "x.test" else None, "http://x.test/", "a"),
        (lambda url: A if url.host == "x.test" else None, "http://y.test/", None),
    ],
)
def test_the_pattern_that_says_most_wins(patterns: Any, url: str, expected: str | None) -> None:
    assert chosen(patterns, url) == expected
    if isinstance(patterns, dict):
        assert chosen(dict(reversed(patterns.items())), url) == expected


@pytest.mark.parametrize(
    ("patterns", "kind", "word"),
    [
        ({"x.test": A}, ValueError, "begins with"),
        ({"ftp://": A}, ValueError, "begins with"),
        ({"all://a b": A}, ValueError, "no host"),
        ({"all://x.test/path": A}, ValueError, "no host"),
        ({"all://*x.test": A}, ValueError, "no host"),
        ({"all://x.test:port": A}, ValueError, "no host"),
        ({5: A}, TypeError, "a pattern is a str"),
        ({"all://": "nothing"}, ValueError, "kind"),
        ({"all://": 5}, TypeError, "proxy="),
    ],
)
async def test_what_is_no_pattern(patterns: Any, kind: type[Exception], word: str) -> None:
    with pytest.raises(kind, match=word):
        wherry.ClientSession(proxy=patterns)
    async with wherry.ClientSession() as session:
        with pytest.raises(kind, match=word):
            await session.get("http://x.test/", proxy=patterns)


async def test_what_does_not_go_with_patterns() -> None:
    with pytest.raises(ValueError, match="go with one proxy"):
        wherry.ClientSession(proxy={"all://": A}, proxy_auth=wherry.BasicAuth("a", "b"))
    with pytest.raises(ValueError, match="go with one proxy"):
        wherry.ClientSession(proxy=lambda _url: A, proxy_headers={"X": "y"})

    async def coroutine(_url: URL) -> str:
        return A

    with pytest.raises(TypeError, match="plain function"):
        wherry.ClientSession(proxy=coroutine)  # type: ignore[arg-type]


@given(st.text(max_size=20))
def test_any_text_is_a_pattern_or_a_value_error(text: str) -> None:
    try:
        choice = ProxyChoice({text: A, f"all://{text}": B})
    except ValueError:
        return
    choice.hops_for(URL("http://x.test/"))


@pytest.fixture
async def proxies(raw_server: Start) -> list[RawServer]:
    """Two proxies, which answer by their own: "0" and "1"; and an origin, "2"."""

    def script(name: bytes) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await read_request(reader)
                target = head.split(b" ")[1]
                if b"/leads-to-" in target:
                    host = target.partition(b"/leads-to-")[2].decode()
                    writer.write(
                        f"HTTP/1.1 302 Found\r\nLocation: http://{host}/\r\n"
                        "Content-Length: 0\r\n\r\n".encode()
                    )
                else:
                    writer.write(response(name))

        return serve

    return [await raw_server(script(b"%d" % number)) for number in range(3)]


@pytest.mark.parametrize("by", ["session", "request"])
@pytest.mark.parametrize("how", ["patterns", "function"])
async def test_each_request_and_each_redirect_goes_its_way(
    proxies: list[RawServer], by: str, how: str
) -> None:
    origin = proxies[2].url
    patterns = {"all://x.test": proxies[0].url, "all://y.test": proxies[1].url}
    proxy: Any = patterns if how == "patterns" else lambda url: patterns.get(f"all://{url.host}")
    mine = {"proxy": proxy} if by == "request" else {}
    async with wherry.ClientSession(proxy=None if mine else proxy) as session:
        for _ in range(2):
            for url, expected in (
                ("http://x.test/", "0"),
                ("http://y.test/", "1"),
                (origin, "2"),
                ("http://x.test/leads-to-y.test", "1"),
                (f"{origin}/leads-to-x.test", "0"),
            ):
                async with session.get(url, **mine) as reply:
                    assert await reply.text() == expected
        if not mine:
            async with session.get("http://z.test/", proxy=proxies[1].url) as reply:
                assert await reply.text() == "1"  # what a request says goes before


async def test_a_function_is_asked_for_each_request(proxies: list[RawServer]) -> None:
    """As proxies in turn are."""
    turn = iter([proxies[0].url, proxies[1].url, proxies[0].url])
    async with wherry.ClientSession(proxy=lambda _url: next(turn)) as session:
        seen = []
        for _ in range(3):
            async with session.get("http://x.test/same") as reply:
                seen.append(await reply.text())
    assert seen == ["0", "1", "0"]
