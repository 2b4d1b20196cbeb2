"""Cookies through real sessions: what is taken from responses, and what goes with requests, over
redirects too.
"""

from collections.abc import Awaitable, Callable
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict, CIMultiDictProxy
from tests.client.conftest import Asked, Peer, Reply, reply
from yarl import URL

import wherry
from wherry import AbstractCookieJar, CookieJar, DummyCookieJar

Start = Callable[..., Awaitable[Peer]]
Make = Callable[..., wherry.ClientSession]


def httpbin(asked: Asked) -> Reply:
    """``/set?name=value`` sets cookies, ``/go?to=/path&name=value`` sets them and redirects."""
    url = URL(f"http://peer{asked.target}")
    fields = [
        ("Set-Cookie", f"{name}={value}; Path=/")
        for name, value in url.query.items()
        if name != "to"
    ]
    if url.path == "/go":
        return reply(302, headers=[*fields, ("Location", url.query["to"])])
    return reply(200, headers=fields)


def sent(asked: Asked) -> str | None:
    """The request's only Cookie field, None without one."""
    values = asked.headers.getall("Cookie", [])
    assert len(values) < 2
    return values[0] if values else None


async def test_cookies_of_the_session_go_with_every_request(peer: Start, session: Make) -> None:
    """S001-48"""
    server = await peer()
    http = session(cookies={"a": "1", "b": "x,y"})
    for host in ("a.test", "127.0.0.1"):
        async with http.get(server.url("/deep/path", host=host)):
            pass
    assert [sent(asked) for asked in server.asked] == ['a=1; b="x\\054y"'] * 2
    assert {m.key for m in http.cookie_jar} == {"a", "b"}


async def test_cookies_are_shared_between_requests(peer: Start, session: Make) -> None:
    """S001-03, S001-55"""
    server = await peer(httpbin)
    http = session()
    async with http.get(
        server.url("/set?my_cookie=my_value", host="a.test"), allow_redirects=False
    ) as response:
        assert isinstance(response.cookies, SimpleCookie)
        assert isinstance(response.cookies["my_cookie"], Morsel)
        assert response.cookies["my_cookie"].value == "my_value"
        assert response.cookies["my_cookie"]["path"] == "/"
    async with http.get(server.url(host="a.test")):
        pass
    async with http.get(server.url(host="b.test")):
        pass
    assert [sent(asked) for asked in server.asked] == [None, "my_cookie=my_value", None]


async def test_the_jar_has_the_cookies_of_all_hops_and_the_response_its_own(
    peer: Start, session: Make
) -> None:
    """S001-56, S001-57"""
    server = await peer(httpbin)
    http = session()
    async with http.get(
        server.url("/go?a=1&to=/go%3Fb%3D2%26to%3D/set%3Fc%3D3", host="a.test")
    ) as response:
        assert list(response.cookies) == ["c"]
        assert [list(past.cookies) for past in response.history] == [["a"], ["b"]]
        assert [past.status for past in response.history] == [302, 302]
        assert [past.url.path for past in response.history] == ["/go", "/go"]
    assert {m.key: m.value for m in http.cookie_jar} == {"a": "1", "b": "2", "c": "3"}
    # What one hop set goes with the next.
    assert [sent(asked) for asked in server.asked] == [None, "a=1", "a=1; b=2"]


async def test_no_history_without_redirects(peer: Start, session: Make) -> None:
    """S001-58, S001-59"""
    server = await peer(httpbin)
    http = session()
    async with http.get(server.url()) as response:
        assert response.history == ()
    async with http.get(server.url("/go?to=/"), allow_redirects=False) as response:
        assert response.history == ()
        assert response.status == 302


async def test_response_headers(peer: Start, session: Make) -> None:
    """S001-50, S001-51, S001-52, S001-53, S001-54"""
    server = await peer(
        lambda _: reply(
            headers=[
                ("Content-Type", "text/x"),
                ("X-Two", "1"),
                ("x-two", "2"),
                ("X-Odd", "ü\udcff"),
            ]
        )
    )
    async with session().get(server.url()) as response:
        headers = response.headers
        assert isinstance(headers, CIMultiDictProxy)
        with pytest.raises(TypeError):
            headers["a"] = "b"  # type: ignore[index]
        assert headers["content-TYPE"] == headers.get("Content-Type") == "text/x"
        assert headers.getall("X-TWO") == ["1", "2"]
        assert headers["X-Odd"] == "ü\udcff"
        assert headers == CIMultiDict(
            [
                ("CONTENT-TYPE", "text/x"),
                ("X-TWO", "1"),
                ("X-TWO", "2"),
                ("X-ODD", "ü\udcff"),
                ("CONTENT-LENGTH", "0"),
            ]
        )
        assert response.raw_headers == (
            (b"Content-Type", b"text/x"),
            (b"X-Two", b"1"),
            (b"x-two", b"2"),
            (b"X-Odd", b"\xc3\xbc\xff"),
            (b"Content-Length", b"0"),
        )


async def test_octets_that_are_no_utf8_go_back_as_they_came(peer: Start, session: Make) -> None:
    server = await peer(lambda _: reply(headers=[("Set-Cookie", 'a=\udcff"ü"')]))
    http = session()
    for _ in range(2):
        async with http.get(server.url(host="a.test")):
            pass
    assert sent(server.asked[1]) == 'a=\udcff"ü"'


async def test_cookies_of_addresses_are_refused(peer: Start, session: Make) -> None:
    """S001-60"""
    server = await peer(httpbin)
    http = session()
    for _ in range(2):
        async with http.get(server.url("/set?a=1")) as response:
            assert response.cookies["a"].value == "1"
    assert sent(server.asked[1]) is None
    assert len(http.cookie_jar) == 0


async def test_an_unsafe_jar_takes_them_and_an_empty_jar_is_a_jar(
    peer: Start, session: Make
) -> None:
    """S001-61, S001-49"""
    server = await peer(httpbin)
    jar = CookieJar(unsafe=True)
    assert not jar
    http = session(cookie_jar=jar)
    assert http.cookie_jar is jar
    for _ in range(2):
        async with http.get(server.url("/set?a=1")):
            pass
    assert sent(server.asked[1]) == "a=1"
    assert len(jar) == 1


async def test_two_sessions_may_share_a_jar(peer: Start, session: Make) -> None:
    """S001-49"""
    server = await peer(httpbin)
    jar = CookieJar()
    async with session(cookie_jar=jar).get(server.url("/set?a=1", host="a.test")):
        pass
    async with session(cookie_jar=jar).get(server.url(host="a.test")):
        pass
    assert sent(server.asked[1]) == "a=1"


async def test_quoting_works_both_ways(peer: Start, session: Make) -> None:
    """S001-62, S001-63"""
    server = await peer(
        lambda asked: reply(headers=[("Set-Cookie", f"{asked.headers['Cookie']}; Path=/")])
    )
    value = 'a;b,c "d" \\ é\x01'
    http = session()
    async with http.get(server.url(host="a.test"), cookies={"q": value}) as response:
        assert response.cookies["q"].value == value
    assert sent(server.asked[0]) == 'q="a\\073b\\054c \\"d\\" \\\\ \\351\\001"'
    async with http.get(server.url(host="a.test")):
        pass
    assert sent(server.asked[1]) == sent(server.asked[0])


async def test_without_quoting_values_go_as_they_are(peer: Start, session: Make) -> None:
    """S001-64"""
    server = await peer()
    http = session(cookie_jar=CookieJar(quote_cookie=False), cookies={"s": "a b,c"})
    async with http.get(server.url(), cookies={"r": 'x "y"'}):
        pass
    assert sent(server.asked[0]) == 's=a b,c; r=x "y"'


async def test_a_dummy_jar_keeps_and_sends_nothing(peer: Start, session: Make) -> None:
    """S001-65"""
    server = await peer(httpbin)
    http = session(cookie_jar=DummyCookieJar(), cookies={"b": "2"})
    for _ in range(2):
        async with http.get(server.url("/set?a=1", host="a.test")) as response:
            assert response.cookies["a"].value == "1"
    async with http.get(server.url(host="a.test"), cookies={"c": "3"}):
        pass
    assert [sent(asked) for asked in server.asked] == [None, None, "c=3"]
    assert len(http.cookie_jar) == 0


async def test_cookies_of_one_request_are_its_own_and_win(peer: Start, session: Make) -> None:
    server = await peer(httpbin)
    http = session(cookies={"a": "session", "b": "session"})
    async with http.get(server.url("/go?to=/"), cookies={"a": "request"}):
        pass
    async with http.get(server.url()):
        pass
    # The request's cookies go along a redirect within the origin.
    assert [sent(asked) for asked in server.asked] == ["b=session; a=request"] * 2 + [
        "a=session; b=session"
    ]
    assert {m.value for m in http.cookie_jar} == {"session"}


async def test_cookies_of_one_request_do_not_go_to_another_origin(
    peer: Start, session: Make
) -> None:
    """RFC 9110 15.4: a field that was made for one origin is not for another."""
    server = await peer(httpbin)
    http = session()
    target = server.url("/end", host="b.test")
    headers = {"Cookie": "field=1"}
    async with http.get(
        URL(server.url("/go", host="a.test")).with_query(to=target),
        cookies={"own": "2"},
        headers=headers,
    ):
        pass
    assert [sent(asked) for asked in server.asked] == ["field=1; own=2", None]


async def test_a_cookie_field_of_the_programs_own_joins_the_jars(
    peer: Start, session: Make
) -> None:
    server = await peer()
    for options in ({"headers": {"Cookie": "field=1; both=field"}}, {}):
        http = session(cookies={"jar": "2", "both": "jar"}, **options)
        own = {} if options else {"cookie": "field=1; both=field"}
        async with http.get(server.url(), headers=own, cookies={"own": "3"}):
            pass
    assert [sent(asked) for asked in server.asked] == ["field=1; jar=2; both=jar; own=3"] * 2


@pytest.mark.parametrize(
    "cookies",
    [{"a": "1"}, [("a", "1")], SimpleCookie({"a": "1"}), {"a": SimpleCookie({"a": "1"})["a"]}],
)
async def test_every_kind_of_cookies_is_taken(peer: Start, session: Make, cookies: Any) -> None:
    server = await peer()
    async with session(cookies=cookies).get(server.url()):
        pass
    async with session().get(server.url(), cookies=cookies):
        pass
    assert [sent(asked) for asked in server.asked] == ["a=1", "a=1"]


async def test_secure_cookies_go_by_tls_only(peer: Start, session: Make) -> None:
    secure = await peer(
        lambda _: reply(headers=[("Set-Cookie", "s=1; Secure; Path=/"), ("Set-Cookie", "p=2")]),
        tls=True,
    )
    plain = await peer()
    http = session()
    for url in (secure.url(host="a.test"), secure.url(host="a.test"), plain.url(host="a.test")):
        async with http.get(url):
            pass
    assert [sent(asked) for asked in (*secure.asked, *plain.asked)] == [None, "s=1; p=2", "p=2"]


async def test_a_requests_own_secure_cookies_go_where_the_jars_do(
    peer: Start, session: Make
) -> None:
    """Without TLS only to what the jar treats as secure, and not once they have ended."""
    server = await peer()
    trusted = server.url(host="dev.test")
    http = session(cookie_jar=CookieJar(treat_as_secure_origin=trusted))
    own = SimpleCookie("s=1; Secure")
    own.load("old=2; Secure; Max-Age=0")
    own.load("p=3")
    for url in (trusted, server.url(host="other.test")):
        async with http.get(url, cookies=own):
            pass
    assert [sent(asked) for asked in server.asked] == ["s=1; p=3", "p=3"]


async def test_a_jar_that_fails_costs_no_place(peer: Start, session: Make) -> None:
    class Broken(CookieJar):
        def update_cookies_from_headers(self, headers: Any, response_url: URL) -> None:
            raise ZeroDivisionError

    server = await peer(lambda _: reply(headers=[("Set-Cookie", "a=1")], body=b"x" * 2_000_000))
    http = session(cookie_jar=Broken(), limit=1, timeout=wherry.ClientTimeout(total=20))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            await http.get(server.url())
        assert caught.value.__traceback__ is not None  # keeps the response alive


async def test_cookies_are_shared_with_websocket_handshakes(session: Make) -> None:
    """S001-04"""
    seen: list[str] = []

    async def chat(request: web.Request) -> web.WebSocketResponse:
        seen.append(request.headers.get("Cookie", ""))
        socket = web.WebSocketResponse()
        socket.set_cookie("by_ws", "1")
        await socket.prepare(request)
        await socket.send_str("hello")
        await socket.close()
        return socket

    async def page(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie", ""))
        return web.Response(headers={"Set-Cookie": "by_page=2; Path=/"})

    app = web.Application()
    app.router.add_get("/chat", chat)
    app.router.add_get("/page", page)
    async with TestServer(app) as server:
        http = session(cookies={"own": "0"})
        for path in ("/page", "/chat", "/page"):
            url = URL(f"http://a.test:{server.port}{path}")
            if path == "/chat":
                async with http.ws_connect(url) as socket:
                    assert await socket.receive_str() == "hello"
            else:
                async with http.get(url):
                    pass
    assert [sorted(line.split("; ")) for line in seen] == [
        ["own=0"],
        ["by_page=2", "own=0"],
        ["by_page=2", "by_ws=1", "own=0"],
    ]


async def test_a_jar_of_the_programs_own(peer: Start, session: Make) -> None:
    class Log(AbstractCookieJar):
        """Keeps everything, sends one cookie."""

        def __init__(self) -> None:
            super().__init__()
            self.taken: list[tuple[str, URL]] = []

        def __iter__(self) -> Any:
            return iter(())

        def __len__(self) -> int:
            return 0

        def clear(self, predicate: Any = None) -> None:
            self.taken.clear()

        def clear_domain(self, domain: str) -> None:
            self.taken.clear()

        def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008
            self.taken += [(f"{name}={morsel.value}", response_url) for name, morsel in cookies]

        def filter_cookies(self, request_url: URL) -> SimpleCookie:
            return SimpleCookie({"mine": request_url.path.strip("/") or "root"})

    server = await peer(httpbin)
    jar = Log()
    async with session(cookie_jar=jar).get(server.url("/set?a=1&a=2")) as response:
        pass
    assert sent(server.asked[0]) == "mine=set"
    assert jar.taken == [("a=1", response.url), ("a=2", response.url)]


async def test_the_cookies_of_a_response_can_be_passed_on(peer: Start, session: Make) -> None:
    server = await peer(
        lambda _: reply(
            headers=[("Set-Cookie", 'a={"k": 1}; Path=/'), ("Set-Cookie", "b=2; Path=/x")]
        )
    )
    async with session().get(server.url()) as response:
        pass
    async with session().get(server.url("/y"), cookies=response.cookies):
        pass
    assert sent(server.asked[1]) == 'a={"k": 1}'


async def test_a_hostile_response_does_no_harm(peer: Start, session: Make) -> None:
    fields = [("Set-Cookie", f"c{n}=" + "x" * n * 50) for n in range(100)]
    fields += [("Set-Cookie", "=;"), ("Set-Cookie", ""), ("Set-Cookie", "ok=1; Path=/")]
    server = await peer(lambda _: reply(headers=fields[-28:]))
    http = session()
    for _ in range(2):
        async with http.get(server.url(host="a.test")) as response:
            assert response.cookies["ok"].value == "1"
    line = sent(server.asked[1])
    assert line is not None
    assert len(line) <= 8190
