"""Where a redirect leads, and how: the table of RFC 9110 15.4, every form of Location, and what
ends a chain.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from tests.client.conftest import Peer, reply
from yarl import URL

import wherry
from wherry.client.sending.redirect_rules import redirect_url

BASE = URL("http://h.test:81/a/b?q=1")


@pytest.mark.parametrize(
    ("location", "meant"),
    [
        ("/x", "http://h.test:81/x"),
        ("x", "http://h.test:81/a/x"),
        ("../x", "http://h.test:81/x"),
        ("?y=2", "http://h.test:81/a/b?y=2"),
        ("//other.test/x", "http://other.test/x"),
        ("//other.test:82", "http://other.test:82"),
        ("https://other.test/x", "https://other.test/x"),
        ("HTTP://OTHER.test/x", "http://other.test/x"),
        ("/a b", "http://h.test:81/a%20b"),
        ("/\u00e9", "http://h.test:81/%C3%A9"),
        ("/%41%2F", "http://h.test:81/%41%2F"),
        ("/x#part", "http://h.test:81/x#part"),
        ("http:x", "http://h.test:81/a/x"),
    ],
)
def test_what_a_location_means(location: str, meant: str) -> None:
    assert redirect_url(BASE, location) == URL(meant, encoded=True)


def test_the_network_path_of_a_secure_page_is_secure() -> None:
    assert redirect_url(URL("https://h.test/"), "//other.test/x") == URL("https://other.test/x")


def test_a_fragment_goes_on_until_another_comes() -> None:
    """RFC 9110 10.2.2"""
    base = BASE.with_fragment("old")
    assert redirect_url(base, "/x").fragment == "old"
    assert redirect_url(base, "/x#new").fragment == "new"


@pytest.mark.parametrize(
    "location", ["http://", "https://", "http:///x", "http://[bad", "http://h:99999/", "https:/x"]
)
def test_a_location_that_is_no_url(location: str) -> None:
    with pytest.raises(wherry.InvalidUrlRedirectClientError):
        redirect_url(BASE, location)


@pytest.mark.parametrize(
    "location", ["ftp://h/", "file:///etc/passwd", "javascript:alert(1)", "mailto:a@b", "ws://h/"]
)
def test_a_location_of_another_scheme(location: str) -> None:
    with pytest.raises(wherry.NonHttpUrlRedirectClientError):
        redirect_url(BASE, location)


KEPT = {"GET": "GET", "HEAD": "HEAD", "POST": "POST", "PUT": "PUT", "DELETE": "DELETE"}


@pytest.mark.parametrize("method", KEPT)
@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (301, {"POST": "GET"}),
        (302, {"POST": "GET"}),
        (303, {"POST": "GET", "PUT": "GET", "DELETE": "GET"}),
        (307, {}),
        (308, {}),
    ],
)
async def test_the_method_and_the_body(
    peer: Any, session: Any, status: int, changes: dict[str, str], method: str
) -> None:
    server: Peer = await peer(
        lambda asked: (
            reply(status, "old", {"Location": "/new"}) if asked.target == "/" else reply(200, "new")
        )
    )
    data = b"body" if method in {"POST", "PUT"} else None
    async with session().request(method, server.url(), data=data, headers={"X-A": "b"}) as response:
        assert response.status == 200
        assert [past.status for past in response.history] == [status]
        assert response.url == URL(server.url("/new"))
    asked = server.asked[1]
    expected = (KEPT | changes)[method]
    assert (response.method, asked.method, asked.headers["X-A"]) == (expected, expected, "b")
    assert asked.body == (data if data and expected == method else b"")
    assert ("Content-Type" in asked.headers) == bool(asked.body)


@pytest.mark.parametrize("status", [300, 304, 305, 306])
async def test_what_is_no_redirect_is_given_as_it_is(peer: Any, session: Any, status: int) -> None:
    server: Peer = await peer(lambda _: reply(status, "", {"Location": "/new"}))
    async with session().get(server.url()) as response:
        assert (response.status, response.history) == (status, ())
    assert len(server.asked) == 1


async def test_a_redirect_to_nowhere_is_given_as_it_is(peer: Any, session: Any) -> None:
    server: Peer = await peer(lambda _: reply(302, "here"))
    async with session().get(server.url()) as response:
        assert (response.status, response.history) == (302, ())
        assert await response.text() == "here"


async def test_a_location_may_begin_with_a_host(peer: Any, session: Any) -> None:
    server: Peer = await peer(
        lambda asked: (
            reply(302, "", {"Location": f"//b.test:{server.port}/new"})
            if asked.target == "/"
            else reply()
        )
    )
    async with session().get(server.url(), headers={"Authorization": "Bearer x"}) as response:
        assert response.url == URL(f"http://b.test:{server.port}/new")
    assert "Authorization" not in server.asked[1].headers


@pytest.mark.parametrize("most", [1, 2, 10])
async def test_no_more_redirects_than_that(peer: Any, session: Any, most: int) -> None:
    server: Peer = await peer(lambda asked: reply(302, "", {"Location": f"{asked.target}x"}))
    client = session(limit=1)
    with pytest.raises(wherry.TooManyRedirects) as caught:
        await client.get(server.url(), max_redirects=most)
    assert len(server.asked) == most
    assert [str(past.url) for past in caught.value.history] == [
        server.url("/" + "x" * at) for at in range(most)
    ]
    assert caught.value.status == 302
    server.answer = lambda _: reply(200, "fine")
    async with client.get(server.url()) as response:
        assert await response.text() == "fine"


@pytest.mark.parametrize("options", [{}, {"headers": {"X": "1"}}, {"data": b"x"}])
async def test_zero_redirects_let_none_through(
    peer: Any, session: Any, options: dict[str, Any]
) -> None:
    """aiohttp documents a maximum of redirects to follow; that its 0 follows them for ever is
    nowhere said.
    """
    server: Peer = await peer(
        lambda asked: (
            reply(307, "", {"Location": "/x"}) if asked.target == "/" else reply(200, "there")
        )
    )
    client = session(limit=1)
    for method in ("GET", "POST"):
        with pytest.raises(wherry.TooManyRedirects, match="more than 0 redirects"):
            await client.request(method, server.url(), max_redirects=0, **options)
        async with client.request(method, server.url("/x"), max_redirects=0, **options) as response:
            assert await response.text() == "there"
        async with client.request(method, server.url(), max_redirects=None, **options) as response:
            assert await response.text() == "there"
        async with client.request(
            method, server.url(), max_redirects=0, allow_redirects=False, **options
        ) as response:
            assert response.status == 307


async def test_a_bad_location_costs_nothing_but_its_request(peer: Any, session: Any) -> None:
    server: Peer = await peer(
        lambda asked: reply(302, "", {"Location": "ftp://h/"}) if asked.target == "/" else reply()
    )
    client = session(limit=1)
    for _ in range(3):
        with pytest.raises(wherry.RedirectClientError):
            await client.get(server.url())
    async with client.get(server.url("/fine")) as response:
        assert response.status == 200


async def test_a_redirect_is_not_followed_when_told_so(peer: Any, session: Any) -> None:
    """S001-59"""
    server: Peer = await peer(lambda _: reply(302, "old", {"Location": "/new"}))
    async with session().get(server.url(), allow_redirects=False) as response:
        assert (response.status, response.history, await response.text()) == (302, (), "old")


# --- what goes with the content -------------------------------------------------------------------

TELLS_OF_CONTENT = {
    "Content-Digest": "sha-256=:AAAA:",
    "content-md5": "AAAA",
    "REPR-DIGEST": "sha-256=:AAAA:",
    "Digest": "SHA-256=AAAA",
    "Content-Type": "text/plain",
    "Content-Language": "de",
    "Content-Location": "/c",
    "Content-Disposition": "attachment",
    "Content-Range": "bytes 0-1/2",
    "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT",
    "Trailer": "X-Sum",
    "Idempotency-Key": '"k"',
    "Signature": "s=:AAAA:",
    "Signature-Input": "s=()",
}
STAYS = {
    "X-Content": "1",
    "Accept": "text/plain",
    "If-Match": '"e"',
    "Want-Repr-Digest": "sha-256=1",
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("as_pairs", [False, True])
async def test_what_tells_of_content_goes_with_it(
    peer: Any, session: Any, status: int, method: str, as_pairs: bool
) -> None:
    """RFC 9110 15.4: the second request says nothing of what it does not bring, and everything of
    what it does.
    """
    server: Peer = await peer(
        lambda asked: reply(status, "", {"Location": "/x"}) if asked.target == "/" else reply()
    )
    fields: Any = TELLS_OF_CONTENT | STAYS
    if as_pairs:
        fields = list(fields.items())
    async with session().request(
        method, server.url(), data=b"xy", headers=fields, allow_redirects=True
    ) as response:
        assert response.status == 200
    first, second = server.asked
    assert first.body == b"xy"
    goes = status == 303 or (method == "POST" and status in (301, 302))
    assert second.body == (b"" if goes else b"xy")
    kept = {name.lower() for name in second.headers}
    assert {name.lower() for name in STAYS} <= kept
    assert {name.lower() for name in TELLS_OF_CONTENT} & kept == (
        set() if goes else {name.lower() for name in TELLS_OF_CONTENT}
    )
    assert second.headers.get("Content-Length", "0") == str(len(second.body))


@pytest.mark.parametrize("by", ["request", "session", "base_url"])
async def test_what_was_signed_for_one_origin_is_not_for_another(
    peer: Any, session: Any, by: str
) -> None:
    other: Peer = await peer()
    server: Peer = await peer(lambda _: reply(307, "", {"Location": other.url("/", "b.test")}))
    fields = {
        "Signature": "s=:A:",
        "Signature-Input": "s=()",
        "DPoP": "a.b.c",
        "Content-Digest": "sha-256=:A:",
    }
    start = server.url("/", "a.test")
    if by == "request":
        client = session()
    else:
        client = session(headers=fields, base_url=start if by == "base_url" else None)
    own = fields if by == "request" else None
    async with client.post(start, data=b"x", headers=own) as response:
        assert response.status == 200
    assert {"Signature", "Signature-Input", "DPoP"} <= server.asked[0].headers.keys()
    assert not {"Signature", "Signature-Input", "DPoP"} & other.asked[0].headers.keys()
    assert other.asked[0].headers["Content-Digest"] == "sha-256=:A:"


# --- base_url: whose secrets go where -------------------------------------------------------------

EVIL = "b.test"
LEADING_OFF = [
    "//{evil}/x",
    " //{evil}/x",
    "/\t/{evil}/x",
    "\n/\r/{evil}/x",
    "//@{evil}/x",
    "//{evil}",
    "//{evil}?//h.test/",
    "http://{evil}/x",
    "HTTP://{evil}/x",
]
STAYING = [
    "///{evil}/x",
    "////{evil}/x",
    "\\\\{evil}/x",
    "/\\{evil}/x",
    "http:{evil}/x",
    "http:/{evil}/x",
    "http:///{evil}/x",
    "%2F%2F{evil}/x",
    "/%2F{evil}/x",
    "/..//{evil}/x",
    "/.//{evil}/x",
    "?//{evil}/x",
    "//h.test:{port}/x",
    "http://h.test:{port}/x",
]


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("given", LEADING_OFF + STAYING)
async def test_a_sessions_secrets_stay_at_its_base_url(
    peer: Any, session: Any, given: str, heard: bool
) -> None:
    server: Peer = await peer()
    host = f"h.test:{server.port}"
    reference = given.format(evil=f"{EVIL}:{server.port}", port=server.port)
    secrets = {
        "Authorization": "Bearer s",
        "Cookie": "c=s",
        "Proxy-Authorization": "Basic s",
        "X": "1",
    }
    listeners = [wherry.TraceConfig()] if heard else []
    if heard:

        async def listen(*_: Any) -> None:
            """Whoever listens has fields made that are else not made."""

        listeners[0].on_request_start.append(listen)
    client = session(base_url=f"http://{host}/p/", headers=secrets, trace_configs=listeners)
    said: list[dict[str, Any]] = [
        {},
        {"headers": {"Y": "2"}},
        {"params": {"a": "b"}},
        {"data": b"x"},
    ]
    for options, target in itertools.product(said, (reference, URL(reference))):
        async with client.get(target, **options) as response:
            assert response.status == 200
        asked = server.asked[-1]
        assert asked.headers["X"] == "1"
        if given in STAYING:
            assert asked.headers["Host"] == host
            assert (asked.headers["Authorization"], asked.headers["Cookie"]) == ("Bearer s", "c=s")
        else:
            assert asked.headers["Host"] == f"{EVIL}:{server.port}"
            assert not {"Authorization", "Cookie", "Proxy-Authorization"} & asked.headers.keys()


@pytest.mark.parametrize(
    "given", [given for given in LEADING_OFF if not given.lower().startswith("http")]
)
async def test_a_reference_that_leads_off_takes_no_secret_of_the_request_along(
    peer: Any, session: Any, given: str
) -> None:
    server: Peer = await peer()
    reference = given.format(evil=f"{EVIL}:{server.port}")
    client = session(base_url=server.url("/", "h.test"), auth=wherry.BasicAuth("u", "p"))
    for secrets in (
        {"headers": {"aUTHORIZATION": "Bearer s", "Host": "h.test", "X": "1"}},
        {"headers": iter([("Cookie", "c=s"), ("Authorization", "t"), ("X", "1")])},
        {"auth": wherry.BasicAuth("u", "p"), "cookies": {"c": "s"}, "headers": {"X": "1"}},
    ):
        async with client.post(reference, **secrets) as response:
            assert response.status == 200
        asked = server.asked[-1]
        assert (asked.headers["Host"], asked.headers["X"]) == (f"{EVIL}:{server.port}", "1")
        assert not {"Authorization", "Cookie"} & asked.headers.keys()


@pytest.mark.parametrize("given", LEADING_OFF)
async def test_cookies_without_a_domain_stay_at_the_base_url(
    peer: Any, session: Any, given: str
) -> None:
    server: Peer = await peer(lambda _: reply(200, "", {"Set-Cookie": "theirs=1; Path=/"}))
    client = session(base_url=server.url("/", "h.test"), cookies={"ours": "s"})
    reference = given.format(evil=f"{EVIL}:{server.port}")
    for _ in range(2):
        for target in ("/", reference):
            async with client.get(target) as response:
                assert response.status == 200
    told = [asked.headers.get("Cookie", "") for asked in server.asked]
    assert told[:2] == ["ours=s", ""]
    assert sorted(told[2].split("; ")) == ["ours=s", "theirs=1"]
    assert told[3] == "theirs=1"


async def test_cookies_without_a_domain_do_not_follow_a_redirect_from_the_base_url(
    peer: Any, session: Any
) -> None:
    server: Peer = await peer(
        lambda asked: (
            reply(307, "", {"Location": server.url("/y", EVIL)})
            if asked.target == "/x"
            else reply()
        )
    )
    client = session(base_url=server.url("/", "h.test"), cookies={"ours": "s"})
    async with client.post("/x", data=b"1") as response:
        assert response.url == URL(server.url("/y", EVIL))
    assert [asked.headers.get("Cookie") for asked in server.asked] == ["ours=s", None]


async def test_a_whole_url_is_taken_at_its_word(peer: Any, session: Any) -> None:
    """What is given with it is for it; what the session says for all is not."""
    server: Peer = await peer()
    client = session(base_url=server.url("/", "h.test"), headers={"Authorization": "Bearer s"})
    async with client.get(
        server.url("/", EVIL), headers={"Authorization": "Bearer t"}, cookies={"c": "d"}
    ) as response:
        assert response.status == 200
    assert (server.asked[0].headers["Authorization"], server.asked[0].headers["Cookie"]) == (
        "Bearer t",
        "c=d",
    )


async def test_a_redirect_away_and_back_has_no_secret_of_the_base_url(
    peer: Any, session: Any
) -> None:
    server: Peer = await peer(
        lambda asked: (
            reply(302, "", {"Location": server.url("/y", "h.test")})
            if asked.target == "/x"
            else reply()
        )
    )
    client = session(base_url=server.url("/", "h.test"), headers={"Authorization": "Bearer s"})
    async with client.get(f"//{EVIL}:{server.port}/x") as response:
        assert response.url == URL(server.url("/y", "h.test"))
    assert not any("Authorization" in asked.headers for asked in server.asked)


async def test_the_bytes_of_a_location_are_asked_for_as_they_came(raw_server: Any) -> None:
    lines: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines.append(head.partition(b"\r\n")[0])
            if len(lines) == 1:
                writer.write(
                    b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9/A_%26_B d?x=%2b\r\n"
                    b"Content-Length: 0\r\n\r\n"
                )
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = await raw_server(script)
    async with wherry.ClientSession() as session, session.get(server.url + "/") as response:
        assert response.status == 200
    assert lines[1] == b"GET /caf%E9/A_%26_B%20d?x=%2b HTTP/1.1"
