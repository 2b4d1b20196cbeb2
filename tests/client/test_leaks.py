"""What goes along when a redirect changes the scheme, the host, the port or only the path, and what
stays behind.

One table for every secret and every way.  The first origin is https://a.test; a way is a list of places, each of
which redirects to the next, and the table says for the last of them whether the secret was sent,
and why.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from yarl import URL

from wherry import BasicAuth, DigestAuthMiddleware
from wherry.client.origin import origin_of
from wherry.client.sending.redirect_rules import Leg, next_leg

from .conftest import Asked, Peer, Reply, reply


def basic(login: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


MINE = basic("me", "mine")

# Where each way leads: a place is (origin's letter, path).  S is the first origin, https://a.test.
WAYS = {
    "only the path": ["S", "S"],
    "the scheme, down": ["S", "DOWN"],
    "the scheme, up": ["DOWN", "S"],
    "the host": ["S", "HOST"],
    "the port": ["S", "PORT"],
    "away and back": ["S", "HOST", "S"],
    "the path, and then the host": ["S", "S", "HOST"],
    "another host's other path": ["S", "HOST", "HOST"],
}
# RFC 9110 15.4 6.1: a redirected request drops what is specific to the first target, Authorization
# and Cookie among them, where the origin changes; 11.5: a protection space is the (canonical) root
# URI's origin and a realm.
SAME_ORIGIN = "RFC 9110 11.5: the same origin, the same protection space"
OTHER_ORIGIN = "RFC 9110 15.4 (6.1): resource-specific fields are dropped for another origin"
STAYS_DROPPED = "who came between chose the way back: what was dropped stays dropped"

GIVEN = ["auth=", "session auth=", "headers=", "session headers", "URL userinfo", "netrc"]
AUTHORIZATION = {
    "only the path": (True, SAME_ORIGIN),
    "the scheme, down": (False, OTHER_ORIGIN),
    "the scheme, up": (False, OTHER_ORIGIN),
    "the host": (False, OTHER_ORIGIN),
    "the port": (False, OTHER_ORIGIN),
    "away and back": (False, STAYS_DROPPED),
    "the path, and then the host": (False, OTHER_ORIGIN),
    "another host's other path": (False, OTHER_ORIGIN),
}
# A cookie of the jar goes where RFC 6265bis 5.8.3 says, by the host and not by the way; this one is
# Secure.
JAR_COOKIE = {
    "only the path": (True, "RFC 6265bis 5.8.3: host and path match, and the connection is secure"),
    "the scheme, down": (False, "RFC 6265bis 5.8.3: Secure cookies need a secure connection"),
    "the scheme, up": (
        True,
        "RFC 6265bis 5.8.3: host and path match, and the connection is secure",
    ),
    "the host": (False, "RFC 6265bis 5.8.3: another host"),
    "the port": (True, "RFC 6265bis 8.5: cookies do not mind the port"),
    "away and back": (
        True,
        "RFC 6265bis 5.8.3: a cookie belongs to the host, whoever links to it (SameSite apart)",
    ),
    "the path, and then the host": (False, "RFC 6265bis 5.8.3: another host"),
    "another host's other path": (False, "RFC 6265bis 5.8.3: another host"),
}
# A digest is an answer to the origin's own nonce, not the secret: RFC 7616 3.3 lets it go to its
# protection space.
DIGEST = {
    **{way: (sent, why) for way, (sent, why) in AUTHORIZATION.items()},
    "away and back": (
        True,
        "RFC 7616 3.3: the answer to this origin's own challenge is good at this origin alone",
    ),
}

TABLE = [
    *((f"Authorization by {how}", how, way, *expected) for how in GIVEN for way, expected in AUTHORIZATION.items()),
    *((f"Cookie by {how}", how, way, *expected) for how in ("cookies=", "Cookie header", "session Cookie header")
      for way, expected in AUTHORIZATION.items()),
    *(("Cookie by the jar", "jar", way, *expected) for way, expected in JAR_COOKIE.items()),
    *((f"Proxy-Authorization by {how}", how, way, *expected)
      for how in ("Proxy-Authorization header", "session Proxy-Authorization header")
      for way, expected in AUTHORIZATION.items()),
    *(("Authorization by digest", "digest", way, *expected) for way, expected in DIGEST.items()),
]  # fmt: skip


class World(NamedTuple):
    """The places, and what the last request of a way brought."""

    urls: dict[str, URL]
    asked: list[tuple[str, Asked]]


def place_of(world: World, letter: str, way: str, step: int) -> URL:
    return world.urls[letter].with_path(f"/{way}/{step}").with_query({"way": way})


@pytest.fixture
async def world(peer: Any) -> World:
    made = World({}, [])

    def answer_as(letter: str) -> Callable[[Asked], Reply]:
        def answer(asked: Asked) -> Reply:
            made.asked.append((letter, asked))
            url = URL(asked.target)
            way, step = url.query["way"], int(url.path.rpartition("/")[2]) + 1
            places = WAYS[way.removeprefix("digest:")]
            guarded = way.startswith("digest:") and (letter == places[0] or step == len(places))
            if guarded and "Authorization" not in asked.headers:
                return reply(
                    401, "", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
                )
            if step == len(places):
                return reply(200)
            return reply(302, "", {"Location": str(place_of(made, places[step], way, step))})

        return answer

    for letter, host, tls in (("S", "a.test", True), ("DOWN", "a.test", False), ("HOST", "b.test", True),
                              ("PORT", "a.test", True)):  # fmt: skip
        server: Peer = await peer(answer_as(letter), tls=tls)
        made.urls[letter] = URL(server.url(host=host))
    return made


def trust_only_netrc(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that has credentials for a.test, and no proxies."""
    path.write_text("machine a.test login me password mine\n")
    monkeypatch.setenv("NETRC", str(path))
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.mark.parametrize(
    ("secret", "how", "way", "sent", "why"), TABLE, ids=[f"{row[0]}, {row[2]}" for row in TABLE]
)
async def test_secrets_over_redirects(
    world: World, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    secret: str, how: str, way: str, sent: bool, why: str,
) -> None:  # fmt: skip
    """S001-27, S001-28, S001-29"""
    options: dict[str, Any] = {}
    request: dict[str, Any] = {}
    name, _, _ = secret.partition(" by ")
    value = {"Authorization": MINE, "Cookie": "mine=1", "Proxy-Authorization": MINE}[name]
    first = place_of(world, WAYS[way][0], way, 0)
    match how:
        case "auth=":
            request["auth"] = BasicAuth("me", "mine")
        case "session auth=":
            options["auth"] = BasicAuth("me", "mine")
        case "headers=" | "Cookie header" | "Proxy-Authorization header":
            request["headers"] = {name: value}
        case "session headers" | "session Cookie header" | "session Proxy-Authorization header":
            options["headers"] = {name: value}
        case "URL userinfo":
            first = first.with_user("me").with_password("mine")
        case "netrc":
            trust_only_netrc(tmp_path / "netrc", monkeypatch)
            options["trust_env"] = True
        case "cookies=":
            request["cookies"] = {"mine": "1"}
        case "digest":
            options["middlewares"] = (DigestAuthMiddleware("me", "mine"),)
            first = place_of(world, WAYS[way][0], f"digest:{way}", 0)
    client = session(**options)
    if how == "jar":
        client.cookie_jar.store(["mine=1; Secure; Path=/"], URL("https://a.test/"))
    async with asyncio.timeout(10), client.get(first, **request) as response:
        assert response.status == (200 if how != "digest" or sent else 401)
        shown = [
            response.url,
            response.real_url,
            response.request_info.url,
            *(old.url for old in response.history),
        ]
        assert not any(url.raw_user or url.raw_password for url in shown)
    _, last = world.asked[-1]
    brought = last.headers.get(name)
    if how == "digest":
        assert (brought is not None) is sent, why
        assert brought is None or brought.startswith("Digest ")
    else:
        assert brought == (value if sent else None), why
    if how != "digest" and not (how == "jar" and way == "the scheme, up"):
        assert world.asked[0][1].headers.get(name) == value  # it was sent where it was meant to go


# --- credentials in a redirect's URL --------------------------------------------------------------


@pytest.mark.parametrize("host", ["a.test", "b.test"])
@pytest.mark.parametrize("given", ["auth=", "URL", "session auth=", "nothing"])
async def test_credentials_in_a_redirect_supersede(
    peer: Any, session: Any, host: str, given: str
) -> None:
    """S001-19, S001-20: and they hold for what follows on the same origin."""

    def answer(asked: Asked) -> Reply:
        port = server.port
        if asked.target == "/":
            return reply(302, "", {"Location": f"http://other:theirs@{host}:{port}/second"})
        if asked.target == "/second":
            return reply(302, "", {"Location": "/third"})
        if asked.target == "/third":
            return reply(302, "", {"Location": f"http://{host}:{port}/fourth"})
        return reply(200)

    server: Peer = await peer(answer)
    auth = BasicAuth("me", "mine")
    client = session(auth=auth if given == "session auth=" else None)
    url = server.url(host="a.test", user="me:mine" if given == "URL" else "")
    async with client.get(url, auth=auth if given == "auth=" else None) as response:
        assert response.status == 200
        assert not response.url.raw_user
    theirs = basic("other", "theirs")
    first = None if given == "nothing" else MINE
    assert [asked.headers.get("Authorization") for asked in server.asked] == [
        first,
        theirs,
        theirs,
        theirs,
    ]


async def test_credentials_of_a_redirect_stay_with_its_origin(peer: Any, session: Any) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.target == "/":
            return reply(302, "", {"Location": f"http://other:theirs@b.test:{server.port}/second"})
        if asked.target == "/second":
            return reply(302, "", {"Location": f"http://c.test:{server.port}/third"})
        return reply(200)

    server: Peer = await peer(answer)
    async with session().get(server.url(host="a.test")) as response:
        assert response.status == 200
    assert [asked.headers.get("Authorization") for asked in server.asked] == [
        None,
        basic("other", "theirs"),
        None,
    ]


async def test_netrc_knows_the_host_that_a_redirect_leads_to(
    peer: Any, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine's own entry is meant for it, whoever leads there; the default entry is for nobody a
    peer names.
    """
    (tmp_path / "netrc").write_text(
        "machine b.test login b password bb\nmachine a.test login a password aa\ndefault login x password xx\n"
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    def answer(asked: Asked) -> Reply:
        following = {"/": "b.test", "/b.test": "c.test", "/c.test": "a.test"}.get(asked.target)
        if following is None:
            return reply(200)
        return reply(302, "", {"Location": f"http://{following}:{server.port}/{following}"})

    server: Peer = await peer(answer)
    async with session(trust_env=True).get(server.url(host="a.test")) as response:
        assert response.status == 200
    assert [asked.headers.get("Authorization") for asked in server.asked] == [
        basic("a", "aa"),
        basic("b", "bb"),
        None,
        None,
    ]
    async with session(trust_env=True).get(server.url("/end", host="z.test")) as response:
        assert response.status == 200
    assert server.asked[-1].headers["Authorization"] == basic("x", "xx")


@pytest.mark.parametrize("start", ["https", "http"])
@pytest.mark.parametrize("to", ["https", "http"])
async def test_a_redirect_out_of_tls_sends_no_password_of_the_new_host_in_clear(
    peer: Any, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, to: str
) -> None:
    """Who leads there chooses the scheme: a password that is used over TLS must not be had by
    asking for it.
    """
    (tmp_path / "netrc").write_text("machine b.test login b password bb\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    second: Peer = await peer(
        lambda asked: (
            reply(302, "", {"Location": "/next"}) if asked.target == "/there" else reply()
        ),
        tls=to == "https",
    )
    first: Peer = await peer(
        lambda _: reply(302, "", {"Location": second.url("/there", "b.test")}), tls=start == "https"
    )
    async with session(trust_env=True).get(first.url("/", "a.test")) as response:
        assert response.status == 200
    sent = None if (start, to) == ("https", "http") else basic("b", "bb")
    assert [asked.headers.get("Authorization") for asked in second.asked] == [sent, sent]


async def test_a_netrc_password_that_was_kept_back_stays_back(
    peer: Any, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https to http to https: who answered in clear may have chosen the way."""
    (tmp_path / "netrc").write_text("machine b.test login b password bb\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    end: Peer = await peer(tls=True)
    clear: Peer = await peer(lambda _: reply(302, "", {"Location": end.url("/", "b.test")}))
    start: Peer = await peer(
        lambda _: reply(302, "", {"Location": clear.url("/", "b.test")}), tls=True
    )
    async with session(trust_env=True).get(start.url("/", "a.test")) as response:
        assert response.status == 200
    assert "Authorization" not in clear.asked[0].headers
    assert "Authorization" not in end.asked[0].headers


async def test_the_default_of_netrc_is_for_the_base_url_alone(
    peer: Any, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(
        "machine b.test login b password bb\ndefault login x password xx\n"
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server: Peer = await peer()
    client = session(trust_env=True, base_url=server.url("/", "a.test"))
    for given in ("/x", f"//c.test:{server.port}/", f"//b.test:{server.port}/"):
        async with client.get(given) as response:
            assert response.status == 200
    asked = [asked.headers.get("Authorization") for asked in server.asked]
    assert asked == [basic("x", "xx"), None, basic("b", "bb")]


async def test_netrc_comes_after_everything_else(
    peer: Any, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine a.test login a password aa\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server: Peer = await peer()
    url = server.url(host="a.test")
    client = session(trust_env=True)
    async with client.get(url, headers={"Authorization": "Bearer t"}):
        pass
    async with client.get(url, auth=BasicAuth("me", "mine")):
        pass
    async with client.get(server.url(host="a.test", user="me:mine")):
        pass
    async with session(trust_env=True, auth=BasicAuth("me", "mine")).get(url):
        pass
    async with session().get(url):
        pass
    assert [asked.headers.get("Authorization") for asked in server.asked] == [
        "Bearer t",
        MINE,
        MINE,
        MINE,
        None,
    ]


@pytest.mark.parametrize(
    ("start", "location", "same"),
    [
        ("http://h/", "http://h:80/x", True),
        ("https://h:443/", "https://H/x", True),
        ("http://h/", "http://h:8080/x", False),
        ("http://h:443/", "https://h/x", False),
        ("http://h/", "http://h./x", False),
        ("http://[::1]/", "http://[0:0::1]:80/x", True),
    ],
)
def test_an_origin_has_one_form(start: str, location: str, same: bool) -> None:
    """RFC 6454 4: a port that the scheme implies is no other port."""
    leg = Leg("GET", URL(start), {"Authorization": MINE}, None, BasicAuth("me", "mine"))
    following = next_leg(leg, URL(start), 302, location)
    assert following is not None
    assert following.trusted is same
    assert following.auth == (BasicAuth("me", "mine") if same else None)
    assert ("Authorization" in dict(following.headers or ())) is same
    assert (origin_of(URL(start)) == origin_of(URL(location))) is same
