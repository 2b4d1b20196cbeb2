"""DigestAuthMiddleware over real sockets: a server that checks every answer by arithmetic of its
own.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from multidict import CIMultiDict
from tests.client.conftest import Asked, Peer, Reply, reply
from yarl import URL

from wherry import ClientError, ClientSession, DigestAuthMiddleware
from wherry.auth.challenge import parse_params
from wherry.middlewares.digest import PROOF_LIMIT, in_space, protection_space

HASHES: dict[str, Callable[[bytes], Any]] = {
    "MD5": hashlib.md5,
    "SHA": hashlib.sha1,
    "SHA-256": hashlib.sha256,
    "SHA-512": hashlib.sha512,
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
}


class Guard:
    """A server that demands Digest, keeps nonce counts, and refuses replays."""

    def __init__(
        self, algorithm: str = "SHA-256", qop: str = "auth", extra: str = "", **options: Any
    ) -> None:
        self.algorithm = algorithm
        self.qop = qop
        self.extra = extra
        self.user, self.password, self.realm = "user", "secret", "the realm"
        self.nonces = (f"nonce-{number}" for number in itertools.count())
        self.valid: set[str] = set()
        self.counts: set[tuple[str, str]] = set()
        self.fresh_nonce_each_time = options.get("fresh_nonce_each_time", False)
        self.lie = options.get("lie", False)
        self.schemes: list[str] = []

    def challenge(self, stale: bool = False) -> Reply:
        nonce = next(self.nonces)
        self.valid.add(nonce)
        value = f'Digest realm="{self.realm}", nonce="{nonce}", opaque="o p"'
        if self.algorithm:
            value += f", algorithm={self.algorithm}"
        if self.qop:
            value += f', qop="{self.qop}"'
        if stale:
            value += ", stale=true"
        return reply(401, "who?", [("WWW-Authenticate", value + self.extra)])

    def expected(self, asked: Asked, params: dict[str, str], *, proof: bool = False) -> str:
        name = (self.algorithm or "MD5").upper()
        function = HASHES[name.removesuffix("-SESS")]

        def hashed(text: bytes | str) -> str:
            return function(text.encode() if isinstance(text, str) else text).hexdigest()

        a1 = hashed(f"{self.user}:{self.realm}:{self.password}")
        if name.endswith("-SESS"):
            a1 = hashed(f"{a1}:{params['nonce']}:{params['cnonce']}")
        a2 = f"{'' if proof else asked.method}:{asked.target}"
        qop = params.get("qop", "")
        if qop == "auth-int":
            a2 += f":{hashed(b'welcome ' + asked.body if proof else asked.body)}"
        middle = (
            f"{params['nonce']}:{params['nc']}:{params['cnonce']}:{qop}" if qop else params["nonce"]
        )
        return hashed(f"{a1}:{middle}:{hashed(a2)}")

    def __call__(self, asked: Asked) -> Reply:
        value = asked.headers.get("Authorization", "")
        self.schemes.append(value.partition(" ")[0])
        if not value.startswith("Digest "):
            return self.challenge()
        params = parse_params(value.removeprefix("Digest "))
        if params["nonce"] not in self.valid:
            return self.challenge(stale=True)
        use = (params["nonce"], params.get("nc", ""))
        good = params["response"] == self.expected(asked, params) and params["uri"] == asked.target
        if not good or params["opaque"] != "o p" or (use in self.counts and use[1]):
            return self.challenge()
        self.counts.add(use)
        info = ""
        if params.get("qop"):
            proof = self.expected(asked, params, proof=True)
            proof = proof[::-1] if self.lie else proof
            info = f'rspauth="{proof}", cnonce="{params["cnonce"]}", nc={params["nc"]}, qop={params["qop"]}'
        if self.fresh_nonce_each_time:
            self.valid.discard(params["nonce"])
            following = next(self.nonces)
            self.valid.add(following)
            info += f'{", " if info else ""}nextnonce="{following}"'
        return reply(200, b"welcome " + asked.body, [("Authentication-Info", info)] if info else [])


@pytest.mark.parametrize("qop", ["auth", "auth-int", "auth,auth-int", ""])
@pytest.mark.parametrize("sess", ["", "-sess"])
@pytest.mark.parametrize("algorithm", [*HASHES, ""])
async def test_every_algorithm_and_quality(
    peer: Any, session: Any, algorithm: str, sess: str, qop: str
) -> None:
    """S001-13, S001-14, S001-15, S001-16"""
    if sess and not algorithm:
        algorithm = "MD5"
    guard = Guard(algorithm + sess, qop)
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    async with client.post(server.url("/a%20b/c?x=%2F&y=a+b&z=%22"), data=b"the body") as response:
        assert (response.status, await response.read()) == (200, b"welcome the body")
    async with client.get(server.url("/odd;p?;=%3F&&")) as response:
        assert (response.status, await response.read()) == (200, b"welcome ")
    assert guard.schemes == ["", "Digest", "Digest"]  # the second request knew what to say


async def test_a_proof_of_the_content_leaves_it_to_be_read_in_any_way(
    peer: Any, session: Any
) -> None:
    guard = Guard(qop="auth-int")
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    for _ in range(2):
        async with client.post(server.url(), data=b"x" * 300_000) as response:
            assert (
                b"".join([piece async for piece in response.content.iter_chunked(1000)])
                == b"welcome " + b"x" * 300_000
            )
        async with client.get(server.url()) as response:
            assert await response.content.readline() == b"welcome "
            assert await response.content.read() == b""


@pytest.mark.parametrize("qop", ["auth", "auth-int"])
@pytest.mark.parametrize("lie", [False, True])
async def test_authentication_info_may_come_as_a_trailer(
    raw_server: Any, qop: str, lie: bool
) -> None:
    """RFC 7616 3.5, RFC 7615 4."""
    guard = Guard(qop=qop, fresh_nonce_each_time=True, lie=lie)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = CIMultiDict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
            status, pairs, body = guard(Asked("GET", head.split(" ")[1], fields, b""))
            if status == 401:
                ((_, value),) = pairs
                writer.write(
                    f"HTTP/1.1 401 No\r\nWWW-Authenticate: {value}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                continue
            writer.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Authentication-Info\r\n\r\n"
            )
            await writer.drain()
            writer.write(b"%x\r\n%b\r\n0\r\n" % (len(body), body))
            writer.write(
                f"Authentication-Info: {dict(pairs)['Authentication-Info']}\r\n\r\n".encode()
            )

    server = await raw_server(script)
    async with ClientSession(middlewares=(DigestAuthMiddleware("user", "secret"),)) as client:
        if lie:
            with pytest.raises(ClientError, match="did not prove"):
                await client.get(server.url + "/")
            return
        for _ in range(3):
            async with client.get(server.url + "/") as response:
                assert [piece async for piece in response.content.iter_any()] == [b"welcome "]
    assert guard.schemes == ["", "Digest", "Digest", "Digest"]  # each next nonce was taken


def _asked(head: bytes) -> Asked:
    text = head.decode()
    fields = CIMultiDict(line.split(": ", 1) for line in text.split("\r\n")[1:-2])
    return Asked("GET", text.split(" ")[1], fields, b"")


@pytest.mark.parametrize("info", ["as a trailer", "in the head"])
@pytest.mark.parametrize("piece", [b"x" * 65536, b"x" * 64])
async def test_an_endless_body_is_not_held_for_its_proof(
    raw_server: Any, info: str, piece: bytes
) -> None:
    """The response is there while the body goes on, and the server is stopped as for any reader
    that does not read.
    """
    guard = Guard(qop="auth-int")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            status, pairs, _ = guard(_asked(await reader.readuntil(b"\r\n\r\n")))
            ((_, value),) = pairs
            if status == 401:
                writer.write(
                    f"HTTP/1.1 401 No\r\nWWW-Authenticate: {value}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                continue
            tells = (
                "Trailer: Authentication-Info"
                if info == "as a trailer"
                else f"Authentication-Info: {value}"
            )
            writer.write(
                f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{tells}\r\n\r\n".encode()
            )
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece) * (65536 // len(piece))
            while True:
                writer.write(chunk)
                await writer.drain()

    server = await raw_server(script)
    async with (
        ClientSession(
            middlewares=(DigestAuthMiddleware("user", "secret"),), read_bufsize=4096
        ) as client,
        client.get(server.url + "/") as response,
    ):
        assert response.status == 200
        # And what one read of the socket brings.
        assert response.content._size <= PROOF_LIMIT + 2**19
        assert await response.content.readexactly(2 * PROOF_LIMIT) == b"x" * 2 * PROOF_LIMIT


@pytest.mark.parametrize("ends", ["proven", "lying", "without"])
async def test_a_slow_body_is_handed_over_and_its_trailer_looked_at_when_it_comes(
    raw_server: Any, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr("wherry.middlewares.digest.PROOF_SECONDS", 0.02)
    guard = Guard(fresh_nonce_each_time=True, lie=ends == "lying")
    go_on = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            status, pairs, body = guard(_asked(await reader.readuntil(b"\r\n\r\n")))
            ((_, value),) = pairs
            if status == 401:
                writer.write(
                    f"HTTP/1.1 401 No\r\nWWW-Authenticate: {value}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                continue
            writer.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Authentication-Info\r\n\r\n"
            )
            writer.write(b"%x\r\n%b\r\n" % (len(body), body))
            await go_on.wait()
            trailer = b"" if ends == "without" else f"Authentication-Info: {value}\r\n".encode()
            writer.write(b"0\r\n%b\r\n" % trailer)

    server = await raw_server(script)
    async with ClientSession(middlewares=(DigestAuthMiddleware("user", "secret"),)) as client:
        async with client.get(server.url + "/") as response:
            assert await response.content.readany() == b"welcome "
            go_on.set()
            if ends == "lying":
                with pytest.raises(ClientError, match="did not prove"):
                    await response.content.read()
                return
            assert await response.content.read() == b""
        async with client.get(server.url + "/") as response:
            assert await response.read() == b"welcome "
    nonce_was_taken = ["", "Digest", "Digest"]
    assert guard.schemes == (nonce_was_taken if ends == "proven" else [*nonce_was_taken, "Digest"])


async def test_the_documented_snippet(peer: Any, session: Any) -> None:
    """S001-13: the snippet of "Authentication"."""
    server: Peer = await peer(Guard())
    digest_auth = DigestAuthMiddleware(login="user", password="secret")
    client = session(middlewares=(digest_auth,))
    async with client.get(server.url("/protected")) as resp:
        assert await resp.text() == "welcome "


async def test_on_one_request(peer: Any, session: Any) -> None:
    """S001-17"""
    guard = Guard()
    server: Peer = await peer(guard)
    client = session()
    async with client.get(
        server.url(), middlewares=(DigestAuthMiddleware("user", "secret"),)
    ) as response:
        assert response.status == 200
    async with client.get(server.url()) as response:
        assert response.status == 401
    assert guard.schemes == ["", "Digest", ""]


async def test_wrong_credentials_end_with_the_401(peer: Any, session: Any) -> None:
    """S001-18"""
    guard = Guard()
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "wrong"),))
    for _ in range(2):
        async with client.get(server.url()) as response:
            assert response.status == 401
            assert await response.text() == "who?"
    assert guard.schemes == ["", "Digest", "Digest", "Digest"]


async def test_without_preemption_each_request_is_asked(peer: Any, session: Any) -> None:
    guard = Guard()
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret", preemptive=False),))
    for _ in range(2):
        async with client.get(server.url()) as response:
            assert response.status == 200
    assert guard.schemes == ["", "Digest", "", "Digest"]


async def test_a_stale_nonce_is_replaced(peer: Any, session: Any) -> None:
    guard = Guard()
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    for _ in range(2):
        async with client.get(server.url()) as response:
            assert response.status == 200
        guard.valid.clear()
    assert guard.schemes == ["", "Digest", "Digest", "Digest"]


async def test_the_next_nonce_is_used(peer: Any, session: Any) -> None:
    guard = Guard(fresh_nonce_each_time=True)
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    for _ in range(3):
        async with client.get(server.url()) as response:
            assert response.status == 200
    assert guard.schemes == ["", "Digest", "Digest", "Digest"]


async def test_concurrent_requests_never_share_a_count(peer: Any, session: Any) -> None:
    guard = Guard(qop="auth-int")
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    async with client.get(server.url()) as response:
        assert response.status == 200

    async def post(number: int) -> int:
        async with client.post(server.url(), data=b"%d" % number) as response:
            return response.status

    assert set(await asyncio.gather(*(post(number) for number in range(40)))) == {200}
    assert guard.schemes.count("") == 1  # nobody was refused for a count that had been seen
    assert len(guard.counts) == 41


async def test_concurrent_first_requests_are_all_answered(peer: Any, session: Any) -> None:
    guard = Guard()
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))

    async def get() -> int:
        async with client.get(server.url()) as response:
            return response.status

    assert set(await asyncio.gather(*(get() for _ in range(20)))) == {200}


@pytest.mark.parametrize("qop", ["auth", "auth-int"])
async def test_a_server_that_does_not_know_the_password_is_found_out(
    peer: Any, session: Any, qop: str
) -> None:
    server: Peer = await peer(Guard(qop=qop, lie=True))
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    with pytest.raises(ClientError, match="rspauth"):
        await client.get(server.url())


async def test_behind_other_schemes_in_one_field_and_in_several(peer: Any, session: Any) -> None:
    guard = Guard(extra=', Basic realm="x"')
    original = guard.challenge

    def challenge(stale: bool = False) -> Reply:
        status, headers, body = original(stale)
        return status, [("WWW-Authenticate", "Negotiate, NTLM abc="), *headers], body

    guard.challenge = challenge  # type: ignore[method-assign]
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    async with client.get(server.url()) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "value",
    ["", "Digest", "Basic realm=x", 'Digest realm="r"', 'Digest realm="r", nonce="n", algorithm=X'],
)
async def test_a_challenge_that_cannot_be_answered_is_the_response(
    peer: Any, session: Any, value: str
) -> None:
    server: Peer = await peer(
        lambda _: reply(401, "no", [("WWW-Authenticate", value)] if value else [])
    )
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    async with client.get(server.url()) as response:
        assert (response.status, await response.text()) == (401, "no")
    assert len(server.asked) == 1


async def test_a_body_that_was_consumed_is_a_clear_error(peer: Any, session: Any) -> None:
    server: Peer = await peer(Guard())
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))

    async def stream() -> AsyncIterator[bytes]:
        yield b"once"

    with pytest.raises(ClientError, match="cannot be sent again"):
        await client.post(server.url(), data=stream())
    # Once the challenge is known, a stream goes out with the first try.
    async with client.post(server.url(), data=stream()) as response:
        assert (response.status, await response.read()) == (200, b"welcome once")


async def test_a_stream_under_auth_int_is_read_before_it_is_sent(peer: Any, session: Any) -> None:
    server: Peer = await peer(Guard(qop="auth-int"))
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))

    async def stream() -> AsyncIterator[bytes]:
        yield b"on"
        yield b"ce"

    async with client.get(server.url()) as response:
        assert response.status == 200
    async with client.post(server.url(), data=stream()) as response:
        assert (response.status, await response.read()) == (200, b"welcome once")


async def test_the_refused_response_gives_its_place_back(peer: Any, session: Any) -> None:
    guard = Guard()
    long = b"x" * 300_000
    guard.challenge = lambda stale=False: (  # type: ignore[method-assign]
        401,
        [
            (
                "WWW-Authenticate",
                'Digest realm="the realm", nonce="n", opaque="o p", algorithm=SHA-256',
            )
        ],
        long,
    )
    guard.valid.add("n")
    guard.qop = ""
    server: Peer = await peer(guard)
    client = session(limit=1, middlewares=(DigestAuthMiddleware("user", "secret"),))
    async with client.get(server.url()) as response:
        assert response.status == 200


# --- to whom an answer goes -----------------------------------------------------------------------


async def test_another_origin_is_not_answered_after_a_redirect(peer: Any, session: Any) -> None:
    thief: Peer = await peer(Guard())
    home: Peer = await peer(lambda _: reply(302, "", {"Location": thief.url()}))
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    async with client.get(home.url()) as response:
        assert response.status == 401
    assert [asked.headers.get("Authorization") for asked in thief.asked] == [None]


async def test_another_origin_is_not_answered_when_asked_directly(peer: Any, session: Any) -> None:
    home, other = await peer(Guard()), await peer(Guard())
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    async with client.get(home.url()) as response:
        assert response.status == 200
    async with client.get(other.url()) as response:
        assert response.status == 401
    async with client.get(home.url(host="localhost")) as response:
        assert response.status == 401
    assert len(other.asked) == 1


async def test_the_home_may_name_another_server(peer: Any, session: Any) -> None:
    friend_guard = Guard()
    friend: Peer = await peer(friend_guard)
    home: Peer = await peer(Guard(extra=f', domain="/ {friend.url("/in")}"'))
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    async with client.get(friend.url("/in")) as response:
        # A friend before anybody said so is the home itself.
        assert response.status == 200
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    friend_guard.schemes.clear()
    for url, status in (
        (home.url(), 200),
        (friend.url("/in/x"), 200),
        (friend.url("/inside"), 401),
    ):
        async with client.get(url) as response:
            assert response.status == status


async def test_a_friend_cannot_widen_the_space(peer: Any, session: Any) -> None:
    thief: Peer = await peer(Guard())
    friend: Peer = await peer(Guard(extra=f', domain="{thief.url()}"'))
    home: Peer = await peer(Guard(extra=f', domain="/ {friend.url()}"'))
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    for url, status in ((home.url(), 200), (friend.url(), 200), (thief.url(), 401)):
        async with client.get(url) as response:
            assert response.status == status


async def test_outside_the_listed_space_nothing_goes_unasked(peer: Any, session: Any) -> None:
    guard = Guard(extra=', domain="/private"')
    server: Peer = await peer(guard)
    client = session(middlewares=(DigestAuthMiddleware("user", "secret"),))
    for path in ("/private", "/private/x", "/public", "/private2"):
        async with client.get(server.url(path)) as response:
            assert response.status == 200
    assert guard.schemes == ["", "Digest", "Digest", "", "Digest", "", "Digest"]


async def test_a_challenge_of_where_a_middleware_sent_the_request_is_not_answered(
    peer: Any, session: Any
) -> None:
    home, other = await peer(Guard()), await peer(Guard())

    async def elsewhere(request: Any, handler: Any) -> Any:
        request.url = URL(other.url())
        return await handler(request)

    client = session(middlewares=(DigestAuthMiddleware("user", "secret"), elsewhere))
    async with client.get(home.url()) as response:
        assert response.status == 401
    assert [asked.headers.get("Authorization") for asked in other.asked] == [None]


def test_what_a_protection_space_is() -> None:
    home = URL("https://h/x")
    origin = home.origin()
    assert protection_space(
        origin, ("/a", "https://o/b", "http://o/b", "http://h/", "//[bad", "mailto:x")
    ) == (
        URL("https://h/a"),
        URL("https://o/b"),
    )
    space = protection_space(origin, ("/a", "/b/"))
    for path, inside in {
        "/a": 1,
        "/a/": 1,
        "/a/c": 1,
        "/ab": 0,
        "/b": 0,
        "/b/": 1,
        "/b/c?q": 1,
        "/": 0,
    }.items():
        assert in_space(URL(f"https://h{path}"), space) is bool(inside), path
    assert not in_space(URL("http://h/a"), space)
    assert not in_space(URL("https://h:444/a"), space)
    assert in_space(URL("https://h"), protection_space(origin, ("/",)))


@pytest.mark.parametrize("arguments", [(None, "p"), ("u", None), ("a:b", "p")])
def test_credentials_that_cannot_be_used_are_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        DigestAuthMiddleware(*arguments)
