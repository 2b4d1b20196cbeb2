"""What is kept serves only requests that go the same way, and ask as the same user."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from tests.client.conftest import AUTHORITY, Asked, Names, Peer, Reply, client_tls, reply
from tests.middlewares.conftest import numbered
from yarl import URL

import wherry
from wherry.middlewares.cache import CacheMiddleware
from wherry.middlewares.cache_key import cache_key, credentials, variant_of


async def text(client: wherry.ClientSession, url: str | URL, **options: Any) -> str:
    async with client.get(url, **options) as response:
        return await response.text()


def fingerprint(port: int) -> wherry.Fingerprint:
    certificate = ssl.get_server_certificate(("127.0.0.1", port))
    return wherry.Fingerprint(hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest())


async def test_an_answer_that_was_not_checked_serves_nobody_who_checks(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"), tls=True)
    client = session(middlewares=(cache,))
    url = server.url(host="a.test")
    right = await asyncio.to_thread(fingerprint, server.port)
    own, other = client_tls(), client_tls()
    ways = [False, True, right, own, other]
    assert [await text(client, url, ssl=way) for way in ways] == ["1", "2", "3", "4", "5"]
    # Each way has its own, and keeps it.
    assert [await text(client, url, ssl=way) for way in ways] == ["1", "2", "3", "4", "5"]


async def test_a_wrong_fingerprint_meets_the_server_not_the_cache(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"), tls=True)
    client = session(middlewares=(cache,))
    url = server.url(host="a.test")
    assert await text(client, url, ssl=False) == "1"
    with pytest.raises(wherry.ServerFingerprintMismatch):
        await text(client, url, ssl=wherry.Fingerprint(b"\0" * 32))


async def test_the_connectors_policy_counts_as_the_requests(
    peer: Any, cache: CacheMiddleware, version: str
) -> None:
    protocols = ("h2",) if version == "HTTP/2" else ("http/1.1",)
    server: Peer = await peer(numbered(Cache_Control="max-age=60"), tls=True)
    url = server.url(host="a.test")
    found = []
    for option in (False, client_tls(), True):
        connector = wherry.TCPConnector(resolver=Names(), ssl=option, protocols=protocols)
        async with wherry.ClientSession(connector=connector, middlewares=(cache,)) as client:
            try:
                found.append(await text(client, url))
            except wherry.ClientConnectorCertificateError:
                found.append("refused")
    assert found == ["1", "2", "refused"]


@pytest.mark.parametrize("change", ["verify_mode", "check_hostname", "options", "maximum_version"])
async def test_a_context_that_was_changed_is_another(
    peer: Any, session: Any, cache: CacheMiddleware, change: str
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"), tls=True)
    client = session(middlewares=(cache,))
    url = server.url(host="a.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    AUTHORITY.configure_trust(context)
    assert [await text(client, url, ssl=context) for _ in range(2)] == ["1", "1"]
    if change == "verify_mode":
        context.verify_mode = ssl.CERT_REQUIRED
    elif change == "check_hostname":
        context.check_hostname = True
    elif change == "options":
        context.options |= ssl.OP_NO_RENEGOTIATION
    else:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await text(client, url, ssl=context) == "2"


async def test_another_name_to_check_is_another_way(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"), tls=True)
    client = session(middlewares=(cache,))
    url = server.url(host="a.test")
    names = [None, "b.test", None, "b.test"]
    assert [await text(client, url, server_hostname=name) for name in names] == ["1", "2", "1", "2"]


async def test_what_is_said_of_tls_does_not_count_where_there_is_none(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    client = session(middlewares=(cache,))
    assert [await text(client, server.url(), ssl=way) for way in (True, False, client_tls())] == [
        "1"
    ] * 3


async def test_proxies_and_their_users_do_not_share(
    raw_server: Any, cache: CacheMiddleware
) -> None:
    count = [0]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            count[0] += 1
            body = str(count[0]).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )

    proxies = [await raw_server(script), await raw_server(script)]
    one, two = (str(proxy.url).rstrip("/") for proxy in proxies)
    ways: list[dict[str, Any]] = [
        {"proxy": one},
        {"proxy": two},
        {"proxy": one, "proxy_auth": wherry.BasicAuth("a", "1")},
        {"proxy": one, "proxy_auth": wherry.BasicAuth("a", "2")},
        {"proxy": one, "proxy_headers": {"X-Team": "red"}},
        {"proxy": one, "headers": {"Proxy-Authorization": "Basic eDp5"}},
        {},
    ]
    direct = str((await raw_server(script)).url)
    async with wherry.ClientSession(middlewares=(cache,)) as client:
        expected = [str(number) for number in range(1, 8)]
        assert [await text(client, direct, **way) for way in ways] == expected
        assert [await text(client, direct, **way) for way in ways] == expected


async def test_a_host_that_the_request_names_otherwise_is_another(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    client = session(middlewares=(cache,))
    url = server.url(host="a.test")
    hosts: list[dict[str, str]] = [
        {"Host": "evil.test"},
        {"Host": "good.test"},
        {},
        {"Host": f"A.test:{server.port}"},
    ]
    assert [await text(client, url, headers=fields) for fields in hosts] == ["1", "2", "3", "3"]
    assert [await text(client, url, headers=fields) for fields in hosts] == ["1", "2", "3", "3"]


USERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"headers": {"Authorization": "Bearer a"}}, {"headers": {"Authorization": "Bearer b"}}),
    ({"auth": wherry.BasicAuth("a", "1")}, {"auth": wherry.BasicAuth("a", "2")}),
    ({"headers": {"X-Api-Key": "a"}}, {"headers": {"X-Api-Key": "b"}}),
    ({"headers": {"apikey": "a"}}, {"headers": {"apikey": "b"}}),
    ({"headers": {"X-Auth-Token": "a"}}, {"headers": {"X-Auth-Token": "b"}}),
    ({"headers": {"X-Amz-Security-Token": "a"}}, {"headers": {"X-Amz-Security-Token": "b"}}),
    ({"headers": {"Private-Token": "a"}}, {"headers": {"Private-Token": "b"}}),
    ({"headers": {"X-Forwarded-User": "a"}}, {"headers": {"X-Forwarded-User": "b"}}),
]


@pytest.mark.parametrize("control", ["max-age=60", "private, max-age=60", "public, max-age=60"])
@pytest.mark.parametrize(("one", "other"), USERS)
async def test_users_never_share(
    peer: Any, session: Any, cache: CacheMiddleware, one: Any, other: Any, control: str
) -> None:
    server: Peer = await peer(numbered(Cache_Control=control))
    client = session(middlewares=(cache,))
    users = [one, other, {}, one, other, {}]
    assert [await text(client, server.url(), **user) for user in users] == ["1", "2", "3"] * 2


async def test_user_names_in_urls_and_netrc_count(
    peer: Any, session: Any, cache: CacheMiddleware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Peer = await peer(
        lambda asked: reply(
            200, asked.headers.get("Authorization", ""), {"Cache-Control": "max-age=9"}
        )
    )
    client = session(middlewares=(cache,))
    shown = [await text(client, server.url(user=user)) for user in ("a:1", "a:2", "", "a:1")]
    basic = ["Basic " + base64.b64encode(pair).decode() for pair in (b"a:1", b"a:2")]
    assert shown == [basic[0], basic[1], "", basic[0]]
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login n password 3\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    trusting = session(middlewares=(cache,), trust_env=True)
    assert await text(trusting, server.url()) == "Basic " + base64.b64encode(b"n:3").decode()


@pytest.mark.parametrize(
    ("control", "shared"),
    [
        ("private, max-age=60", False),
        ('private="set-cookie", max-age=60', False),
        ("PRIVATE, max-age=60", False),
        ("max-age=60", True),
        ("public, max-age=60", True),
        ("max-age=60, no-transform", True),
    ],
)
async def test_a_private_answer_is_for_the_cookies_that_asked(
    peer: Any, session: Any, cache: CacheMiddleware, control: str, shared: bool
) -> None:
    server: Peer = await peer(numbered(Cache_Control=control))
    client = session(middlewares=(cache,), cookie_jar=wherry.DummyCookieJar())
    users: list[dict[str, Any]] = [
        {"cookies": {"s": "a"}},
        {"cookies": {"s": "b"}},
        {},
        {"headers": {"Cookie": "s=a"}},
    ]
    expected = ["1", "1", "1", "1"] if shared else ["1", "2", "3", "1"]
    assert [await text(client, server.url(), **user) for user in users] == expected


async def test_an_answer_whose_life_is_guessed_is_for_the_cookies_that_asked(
    peer: Any, session: Any
) -> None:
    server: Peer = await peer(numbered(Last_Modified="Thu, 01 Jan 1970 00:16:40 GMT"))
    async with CacheMiddleware(heuristic=True) as cache:
        client = session(middlewares=(cache,))
        users: list[dict[str, Any]] = [
            {"cookies": {"s": "a"}},
            {"cookies": {"s": "b"}},
            {"cookies": {"s": "a"}},
        ]
        assert [await text(client, server.url(), **user) for user in users] == ["1", "2", "1"]


async def test_a_program_names_further_fields_that_say_who_asks(peer: Any, session: Any) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    async with CacheMiddleware(credential_headers=["X-Ward"]) as cache:
        client = session(middlewares=(cache,))
        wards = ["a", "b", "a"]
        assert [await text(client, server.url(), headers={"X-Ward": ward}) for ward in wards] == [
            "1",
            "2",
            "1",
        ]
    async with CacheMiddleware() as cache:
        client = session(middlewares=(cache,))
        assert [await text(client, server.url(), headers={"X-Ward": ward}) for ward in wards] == [
            "3",
            "3",
            "3",
        ]


def bearer(token: str) -> Any:
    async def add(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        request.headers["Authorization"] = f"Bearer {token}"
        return await handler(request)

    return add


async def test_credentials_that_are_added_inside_keep_sessions_apart(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(
        lambda asked: reply(
            200, f"{asked.headers.get('Authorization')}", {"Cache-Control": "max-age=60"}
        )
    )
    a, b = (session(middlewares=(cache, bearer(token))) for token in "ab")
    plain = session(middlewares=(cache,))
    for _ in range(2):
        assert [await text(each, server.url()) for each in (a, b, plain)] == [
            "Bearer a",
            "Bearer b",
            "None",
        ]
    assert len(server.asked) == 3


async def test_a_request_that_is_sent_another_way_inside_is_not_kept(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"), tls=True)

    async def unchecked(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        request.ssl = False
        return await handler(request)

    url = server.url(host="a.test")
    careless, careful = session(middlewares=(cache, unchecked)), session(middlewares=(cache,))
    assert [await text(each, url) for each in (careless, careful, careful)] == ["1", "2", "2"]


async def test_concurrent_requests_of_different_users_do_not_join(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    both = asyncio.Event()

    async def answer(asked: Asked) -> Reply:
        if len(server.asked) == 3:
            both.set()
        await both.wait()
        return reply(
            200, asked.headers.get("X-Api-Key", "none"), {"Cache-Control": "private, max-age=60"}
        )

    server: Peer = await peer(answer)
    client = session(middlewares=(cache,))
    keys: list[dict[str, str]] = [{"X-Api-Key": "a"}, {"X-Api-Key": "b"}, {}]
    asking = asyncio.gather(*(text(client, server.url(), headers=fields) for fields in keys))
    assert await asking == ["a", "b", "none"]


async def test_an_unsafe_request_drops_what_every_user_and_way_has(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    client = session(middlewares=(cache,))
    users: list[dict[str, Any]] = [
        {},
        {"headers": {"Authorization": "Bearer a"}},
        {"headers": {"Host": "other.test"}},
    ]
    assert [await text(client, server.url(), **user) for user in users] == ["1", "2", "3"]
    async with client.post(server.url(), data=b"x"):
        pass
    assert [await text(client, server.url(), **user) for user in users] == ["5", "6", "7"]


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://h", "http://h/"),
        ("http://h:80/a", "http://h/a"),
        ("https://h:443/a", "https://h/a"),
        ("HTTP://H.Example/a", "http://h.example/a"),
        ("http://h/%7Eme/%41", "http://h/~me/A"),
        ("http://h/%c3%a9", "http://h/%C3%A9"),
        ("http://h/?q=%7e%2b", "http://h/?q=~%2B"),
        ("http://u:p@h/a", "http://h/a"),
        ("http://h/a#one", "http://h/a#two"),
        ("http://[::1]:80/", "http://[::1]/"),
    ],
)
@pytest.mark.parametrize("encoded", [False, True])
def test_equal_urls_have_one_key(one: str, other: str, encoded: bool) -> None:
    """RFC 9110 4.2.3"""
    assert cache_key(URL(one, encoded=encoded)) == cache_key(URL(other, encoded=encoded))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://h/", "https://h/"),
        ("http://h:443/", "https://h:443/"),
        ("http://h/a", "http://h/A"),
        ("http://h/a%2Fb", "http://h/a/b"),
        ("http://h/a?b", "http://h/a%3Fb"),
        ("http://h/a/", "http://h/a"),
        ("http://h:8080/", "http://h/"),
        ("http://h/?a=1&b=2", "http://h/?b=2&a=1"),
    ],
)
def test_other_urls_have_other_keys(one: str, other: str) -> None:
    assert cache_key(URL(one, encoded=True)) != cache_key(URL(other, encoded=True))


async def test_one_answer_serves_all_forms_of_its_url(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    client = session(middlewares=(cache,))
    bare = f"http://127.0.0.1:{server.port}"
    urls = [bare, f"{bare}/", f"HTTP://127.0.0.1:{server.port}/#x"]
    assert [await text(client, url) for url in urls] == ["1"] * 3
    forms = [
        URL(f"{bare}/%7ea", encoded=True),
        URL(f"{bare}/~a", encoded=True),
        URL(f"{bare}/%7Ea", encoded=True),
    ]
    assert [await text(client, url) for url in forms] == ["2"] * 3


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_key_is_the_key_of_itself(path: str, query: str) -> None:
    url = URL.build(scheme="http", host="h", path="/" + path, query_string=query)
    key = cache_key(url)
    assert cache_key(URL(key, encoded=True)) == key


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("Authorization", "Key a, b", "Key a,b"),
        ("X-Api-Key", "a ,b", "a,b"),
        ("Cookie", "a=1, 2", "a=1,2"),
        ("X-Color", '"red, blue"', '"red,blue"'),
    ],
)
def test_what_is_no_list_is_compared_as_it_is(name: str, one: str, other: str) -> None:
    answer = CIMultiDict({"Vary": name, "Cache-Control": "max-age=9"})
    variants = [variant_of(CIMultiDict({name: value}), answer) for value in (one, other)]
    assert variants[0] != variants[1]


def test_blanks_and_lines_of_a_list_do_not_count() -> None:
    answer = CIMultiDict({"Vary": "X-Color", "Cache-Control": "max-age=9"})
    one = CIMultiDict([("X-Color", "red"), ("X-Color", "blue")])
    other = CIMultiDict({"X-Color": "red ,  blue"})
    assert variant_of(one, answer) == variant_of(other, answer)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("Authorization", True),
        ("X-API-KEY", True),
        ("Ocp-Apim-Subscription-Key", True),
        ("X-Session-Id", True),
        ("X-CSRF-Token", True),
        ("X-Account", True),
        ("X-Customer-Id", True),
        ("X-Consumer-Username", True),
        ("X-On-Behalf-Of", True),
        ("X-MS-Client-Principal", True),
        ("X-Client-Cert", True),
        ("X-Org-Id", True),
        ("X-Email", True),
        ("Signature", True),
        ("User-Agent", False),
        ("Idempotency-Key", False),
        ("Sec-WebSocket-Key", False),
        ("Accept", False),
        ("X-Monkey", False),
        ("X-Keyboard", False),
        ("Cookie", False),
    ],
)
def test_which_fields_say_who_asks(name: str, counts: bool) -> None:
    assert (name.lower() in credentials(CIMultiDict({name: "x"}))) is counts
