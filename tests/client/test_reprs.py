"""No repr and no message of an error holds a secret, whichever way it was given and whatever shows
it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import time
import traceback
from collections.abc import Callable
from http.cookies import BaseCookie, CookieError, Morsel
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

import wherry
from wherry.auth.digest import DigestChallenge, respond
from wherry.auth.netrc import read_netrc
from wherry.connect.proxy.proxy_argument import proxy_hops
from wherry.connect.proxy.tunnel import TunnelInfo
from wherry.cookies.parse import parse_one
from wherry.cookies.storage_rules import Offered
from wherry.errors import without_credentials
from wherry.integrations.aiohttp_socks import ProxyInfo, ProxyType
from wherry.middlewares.cache_fields import StoredResponse
from wherry.protocol.limits import DEFAULT_LIMITS
from wherry.protocol.multiplexed_response_fields import check_fields
from wherry.redaction import shown_fields, shown_head, shown_url
from wherry.rest import RestClient
from wherry.rest.config import RestConfig
from wherry.testing import Cassette

from .conftest import Asked, Peer, reply

MINE = "Sesame"
GIVEN = {
    "Authorization": f"Bearer {MINE}",
    "cookie": f"id={MINE}",
    "Proxy-Authorization": f"Basic {MINE}",
    "X-API-Key": MINE,
    "X-Auth-Token": MINE,
    "X-Amz-Security-Token": MINE,
    "DPoP": MINE,
    "Referer": f"https://me:{MINE}@h.test/?page=1&access_token={MINE}",
}
CAME = [
    ("Set-Cookie", f"id={MINE}; HttpOnly"),
    ("Location", f"/next?token={MINE}"),
    ("Link", f'<https://h.test/?page=2&api_key={MINE}>; rel="next"'),
    ("X-Seen", "plain"),
]


def shows(thing: object) -> str:
    """Everything that a log, a debugger or a traceback would show."""
    # `str` of a cookie is what goes into a field.
    texts = (
        [repr(thing)]
        if isinstance(thing, (BaseCookie, Morsel))
        else [repr(thing), str(thing), f"{thing}"]
    )
    if isinstance(thing, BaseException):
        texts += traceback.format_exception(thing)
    if isinstance(thing, wherry.ClientResponseError):
        texts += [repr(thing.args)]
    return "\n".join(texts)


@pytest.mark.parametrize("redirected", [False, True])
async def test_errors_and_responses_show_no_secret(
    peer: Any, session: Any, redirected: bool
) -> None:
    def answer(asked: Asked) -> Any:
        if redirected and asked.target.startswith("/?"):
            return reply(302, "", CAME)
        return reply(403, "no", [*CAME[:1], *CAME[2:]])

    server: Peer = await peer(answer)
    told: list[Any] = []
    trace = wherry.TraceConfig()
    for signal in (
        "on_request_start",
        "on_request_end",
        "on_request_redirect",
        "on_request_headers_sent",
    ):

        async def hear(_session: Any, _context: Any, params: Any) -> None:
            told.append(params)

        getattr(trace, signal).append(hear)
    client = session(trace_configs=[trace], cookies={"mine": MINE}, auth=None)
    url = URL(server.url("/", user=f"me:{MINE}")).with_query(token=MINE, page="1")
    fields = {name: value for name, value in GIVEN.items() if name != "Authorization"}
    response = await client.get(url, headers=fields)
    with pytest.raises(wherry.ContentTypeError) as typed:
        await response.json()
    with pytest.raises(wherry.ClientResponseError) as caught:
        response.raise_for_status()
    things = [
        response, response.request_info, response.cookies, list(response.cookies.values()), caught.value, typed.value,
        *response.history, client.cookie_jar, list(client.cookie_jar), client.cookie_jar.filter_cookies(url), *told,
        response.method, client, client.connector,
    ]  # fmt: skip
    for thing in things:
        assert MINE not in shows(thing), type(thing)
    assert "'x-seen': 'plain'" in repr(response).lower()
    assert "page=1" in repr(response.request_info)
    # They are hidden where they are shown, and nowhere else.
    assert response.request_info.headers["X-API-Key"] == MINE
    assert response.headers["Set-Cookie"].startswith(f"id={MINE}")
    assert response.cookies["id"].value == MINE
    assert str(response.cookies["id"]).startswith(f"Set-Cookie: id={MINE}")


async def test_requests_show_no_secret(peer: Any, session: Any) -> None:
    seen: list[str] = []

    async def look(request: wherry.ClientRequest, handler: Any) -> wherry.ClientResponse:
        seen.append(shows(request) + shows(request.request_info))
        response: wherry.ClientResponse = await handler(request)
        return response

    server: Peer = await peer()
    client = session(middlewares=(look,), headers=GIVEN)
    async with client.get(server.url(f"/?apikey={MINE}"), data=MINE.encode()) as response:
        assert response.status == 200
    assert "/?apikey=***" in seen[0]
    assert MINE not in seen[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: wherry.BasicAuth("me", MINE),
        lambda: proxy_hops(f"http://me:{MINE}@p.test:1", None, {"Proxy-Authorization": MINE}, None),
        lambda: ProxyInfo(ProxyType.SOCKS5, "p.test", 1, "me", MINE),
        lambda: RestConfig(
            "http://h.test",
            headers=GIVEN,
            auth=wherry.BasicAuth("me", MINE),
            proxy=f"http://me:{MINE}@p.test",
        ),
        lambda: RestClient(base_url="http://h.test", headers=GIVEN).config,
        lambda: TunnelInfo(
            URL("http://h.test"),
            "CONNECT",
            CIMultiDictProxy(CIMultiDict(GIVEN)),
            URL("http://p.test"),
        ),
        lambda: wherry.DigestAuthMiddleware("me", MINE),
        lambda: wherry.ProxyDigestAuthMiddleware("me", MINE),
        lambda: wherry.OAuth2ClientCredentials("https://h.test/token", "me", MINE),
        lambda: respond(DigestChallenge("r", "n"), "me", MINE, "GET", "/"),
        lambda: parse_one(f"id={MINE}; Path=/"),
        lambda: Offered("id", MINE, MINE, MINE, {}, True),
        lambda: StoredResponse(
            200, "OK", ((b"Set-Cookie", MINE.encode()),), MINE.encode(), 0.0, 0.0
        ),
        lambda: wherry.InvalidURL(f"http://me:{MINE}@h.test:x/?token={MINE}", "no"),
        lambda: wherry.NonHttpUrlClientError(URL(f"gopher://me:{MINE}@h.test/?token={MINE}")),
        lambda: Cassette("/nowhere/tape.json"),
    ],
    ids=lambda make: "",
)
def test_what_holds_a_secret_does_not_show_it(make: Callable[[], Any]) -> None:
    made = make()
    assert MINE not in shows(made)
    if dataclasses.is_dataclass(made):
        assert "h.test" in repr(made)


def test_a_command_lines_request_shows_no_secret() -> None:
    arguments = pytest.importorskip("wherry.cli.argument_values")
    made = arguments.RequestArguments(
        URL(f"http://me:{MINE}@h.test/"), headers=list(GIVEN.items()), body=MINE.encode(), user=("me", MINE),
        form=[("password", MINE.encode(), None)], proxies=[f"http://me:{MINE}@p.test"], proxy_user=("me", MINE),
    )  # fmt: skip
    assert MINE not in shows(made)


@pytest.mark.parametrize("value", [f"{MINE}\n", f"{MINE}\0", f"{MINE}\ud800", MINE.encode()])
@pytest.mark.parametrize("name", ["Authorization", "Cookie"])
async def test_a_field_that_is_refused_is_not_quoted(
    peer: Any, session: Any, name: str, value: Any
) -> None:
    server: Peer = await peer()
    client = session()
    with pytest.raises((ValueError, TypeError)) as caught:
        await client.get(server.url(), headers={name: value})
    assert MINE not in "\n".join(map(str, (caught.value, repr(caught.value))))
    assert name in str(caught.value)


async def test_a_cookie_that_is_refused_is_not_quoted(peer: Any, session: Any) -> None:
    server: Peer = await peer()
    with pytest.raises(CookieError, match="cookie") as caught:
        await session().get(server.url(), cookies={"id": f"{MINE}\ud800"})
    assert MINE not in repr(caught.value)


def test_a_netrc_file_that_cannot_be_read_is_not_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "netrc"
    path.write_text(f"machine h.test login me password my {MINE}\n")
    with caplog.at_level(logging.DEBUG):
        assert not read_netrc(path)
    assert "line" in caplog.text
    assert MINE not in caplog.text


@given(
    st.sampled_from(
        ["Authorization", "COOKIE", "set-cookie", "x-my-token", "Api_Key", "client-secret"]
    ),
    st.text(min_size=1),
    st.sampled_from([dict, CIMultiDict, lambda pairs: CIMultiDictProxy(CIMultiDict(pairs)), list]),
)
def test_fields_are_shown_in_any_form_without_what_is_secret(
    name: str, value: str, form: Any
) -> None:
    shown = shown_fields(form([("A", "b"), (name, f"<<{value}>>")]))
    assert repr(f"<<{value}>>")[1:-1] not in shown
    assert "'A'" in shown
    assert "'b'" in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/a?b=c#d", "http://h/a?b=c#d"),
        ("http://u@h/", "http://***@h/"),
        ("http://u:p%40@h/?q=a@b", "http://***@h/?q=a@b"),
        ("http://h/?q=http://u:p@x/&r=1", "http://h/?q=http://***@x/&r=1"),
        ("/x?Access_Token=1&a=2", "/x?Access_Token=***&a=2"),
        ("/x?a=2;sig=1", "/x?a=2;sig=***"),
        ("/cb#access_token=1&state=2", "/cb#access_token=***&state=2"),
        ("/x?token=", "/x?token="),
        ("/x?monkey=1&keyboard=2&tokens_left=3", "/x?monkey=1&keyboard=2&tokens_left=***"),
        ("", ""),
    ],
)
def test_urls_are_shown_without_what_is_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown


# --- what cannot be read --------------------------------------------------------------------------

# Heads that are broken behind, inside and before a secret.
BROKEN = [
    f"HTTP/1.1 200 OK\r\nSet-Cookie: id={MINE}\r\nBad\0: x\r\n\r\n",
    f"HTTP/1.1 200 OK\r\nset-cookie:id={MINE}\n\r\n\r\n",
    f"HTTP/1.1 200 OK\r\nX: y\r\nSet-Cookie: id={MINE}; a=\x01\r\n\r\n",
    f"HTTP/1.1 200 OK\r\nSet-Cookie : id={MINE}\r\n\r\n",
    f"HTTP/1.1 302 OK\r\nLocation: http://me:{MINE}@h\0/\r\n\r\n",
    f"HTTP/1.1 302 OK\r\nLocation: /?access_token={MINE}\r\nX\x01:\r\n\r\n",
    f"HTTP/1.1 103 OK\r\nLink: </a>\r\nX-Api-Key: {MINE}\n\r\n",
    f"HTTP/1.1 103 OK\r\nX-Api-Key: {MINE}\r\n\r\nX-Api-Key: {MINE}\r\n\r\n",
    f"ICY 200 OK\r\nX-Api-Key: {MINE}\r\n\r\n",
    f'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{{"token": "{MINE}"}}\r\n',
    f"HTTP/1.1 200 OK\r\nX-Token: {MINE}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("size", [1, 29, 40, 10_000])
@pytest.mark.parametrize("said", BROKEN)
async def test_what_came_of_a_broken_response_is_shown_without_its_secrets(
    raw_server: Any, said: str, size: int
) -> None:
    data = said.encode("latin-1")

    async def script(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientError) as caught:
            async with session.get(server.url) as response:
                await response.read()
    assert MINE not in shows(caught.value)
    for part in (MINE[:4], MINE[2:]):
        assert part not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "begins", "shown"),
    [
        (b"HTTP/1.1 200 OK\r\nX: y\0", True, b"HTTP/1.1 200 OK\r\nX: y\0"),
        (b"Cookie:a\nX:b\rAuthorization: c", True, b"Cookie: ***\nX:b\rAuthorization: ***"),
        (b"\tCookie : a", True, b"\tCookie : ***"),
        (b"a=b; c\r\nX: y", False, b"***\r\nX: y"),
        (b"\r\nX: y", False, b"***\r\nX: y"),
        (b"A: http://me:mi", True, b"A: http://***@"),
        (b"A: \xff?sig=1&b=2", True, b"A: \xff?sig=***&b=2"),
        (b"", True, b""),
        (b"x" * 63 + b"yz", True, b"x" * 63 + b"y"),
        # A secret is hidden before the rest is cut off, however long it is.
        (b"Cookie: " + b"a" * 2000, True, b"Cookie: ***"),
    ],
)
def test_heads_that_cannot_be_read_are_shown_without_what_is_secret(
    data: bytes, begins: bool, shown: bytes
) -> None:
    assert shown_head(data, begins=begins) == shown


NO_URLS = [
    f"http://me:{MINE}@\u2100.test/",  # urllib quotes what stands before the host
    f"http://{MINE}@\u2100.test/",
    f"http://\uff20me:a'{MINE}@h:x",
    f"http://me:{MINE}@[/",
    f"http://me:{MINE}@h:port/",
    f"http://me:{MINE}@h:99999/",
    f"http://me:{MINE}@[::1]:43@/",  # an IndexError of the parser
    f"//me:{MINE}@h:x/",
    f"http://h:x/?token={MINE}",
    f"http://me:{MINE}@xn--\udcff.test/",
]


@pytest.mark.parametrize("url", NO_URLS)
async def test_a_url_that_is_none_is_shown_without_its_password(
    peer: Any, session: Any, url: str
) -> None:
    server: Peer = await peer(lambda _: reply(302, headers={"Location": url}))
    with pytest.raises(wherry.ClientError) as redirected:
        await session().get(server.url())
    with pytest.raises((wherry.ClientError, ValueError)) as asked:
        await session().get(url)
    with pytest.raises((wherry.ClientError, ValueError)) as proxied:
        await session().get(server.url(), proxy=url)
    with pytest.raises((wherry.ClientError, ValueError)) as based:
        session(base_url=url)
    for caught in (redirected, asked, proxied, based):
        # The line of this test that made the call is in a traceback as well, but has names only.
        assert MINE not in shows(caught.value)


async def test_a_broken_answer_of_a_proxy_is_shown_without_its_secrets(raw_server: Any) -> None:
    said = f"HTTP/1.1 407 No\r\nSet-Cookie : id={MINE}\r\n\r\n".encode()
    server = await raw_server([said])
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientError, match="no header field") as caught:
            await session.get("https://a.test/", proxy=server.url)
    assert MINE not in shows(caught.value)


@pytest.mark.parametrize("name", [b"set-cookie", b"x-api-key"])
def test_a_broken_field_of_http_2_and_3_is_named_but_not_quoted(name: bytes) -> None:
    with pytest.raises(ValueError, match=name.decode()) as caught:
        check_fields(((name, b"Sesame\x01"),), 0, DEFAULT_LIMITS, "HTTP/2", ValueError)
    assert MINE not in str(caught.value)
    with pytest.raises(ValueError, match="open"):
        check_fields(((b"x-seen", b"open\x01"),), 0, DEFAULT_LIMITS, "HTTP/2", ValueError)


@given(st.text(":/@?#a\u00e4", max_size=30))
def test_what_stands_before_a_host_is_hidden_however_it_is_written(text: str) -> None:
    """From the first colon or "//" to the last "@" that no path, query or fragment comes before."""
    shown = without_credentials(text)
    run = re.split("[/?#]", text)[0]
    before, colon, rest = run.partition(":")
    if colon and "@" in rest:
        assert shown.startswith(f"{before}:***@{rest.rpartition('@')[2]}")
    elif "//" not in text:
        assert shown == text


@pytest.mark.parametrize("piece", [":", "a:", "//", "/:", "://", "//:"])
def test_a_long_location_costs_no_more_than_its_length(piece: str) -> None:
    """Steps of Python do not show what `re` does: it began anew at each colon, and took 5 s."""
    value = piece * (2**16 // len(piece))
    began = time.thread_time()
    without_credentials(value)
    # A millisecond is needed.
    assert time.thread_time() - began < 0.5
