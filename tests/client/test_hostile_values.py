"""What a peer sends reaches parsers and encoders: each failure is a ClientError, or the value is absent."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
from typing import Any

import pytest
from tests.client.conftest import Asked, Names, Reply, reply
from tests.servers.raw import RawServer, response
from yarl import URL

import wherry
from wherry import DigestAuthMiddleware
from wherry.client.headers.response_headers import decoded_fields
from wherry.client.origin import url_of
from wherry.connect.dial import addr_info
from wherry.connect.dns.resolver import ResolveResult
from wherry.middlewares.cache_policy import invalidated
from wherry.middlewares.digest import protection_space
from wherry.middlewares.oauth2 import OAuth2ClientCredentials, OAuth2Error
from wherry.middlewares.retry import RetryMiddleware
from wherry.rest import RestClient, RestError
from wherry.testing import Cassette

# What yarl answers with an IndexError, a UnicodeError, a TypeError or only when it is looked at.
NO_URLS = [
    "https://[::1]:43@/",
    "https://[::1]:43@x/",
    "http://[",
    "http://[::1",
    "http://a:99999999/",
    "http://a:²/",
    "http://\u2100.test/",
    "http://xn--\udcff.test/",
    f"http://{'a' * 70}.ä.test/",
    "//[::1]:43@/",
    "https://[::1]:@[/",
]
DEEP = "[" * 200_000


@pytest.mark.parametrize("location", NO_URLS)
async def test_no_location_is_more_than_an_error_of_redirects(
    peer: Any, session: Any, location: str
) -> None:
    server = await peer(
        lambda asked: reply(302, headers={"Location": location}) if asked.target == "/" else reply()
    )
    with pytest.raises(wherry.ClientError):
        async with session().get(server.url(), timeout=wherry.ClientTimeout(total=20)):
            pass


@pytest.mark.parametrize("text", NO_URLS)
async def test_no_link_is_more_than_absent(peer: Any, session: Any, text: str) -> None:
    server = await peer(
        lambda _: reply(
            headers={"Link": f'<{text}>; rel=next, </b>; rel=b; url="http://evil.test/["'}
        )
    )
    async with session().get(server.url()) as got:
        assert got.links["b"]["url"] == got.url.join(URL("/b"))
        for link in got.links.values():
            assert isinstance(link["url"], URL)


@pytest.mark.parametrize("text", NO_URLS)
def test_no_url_of_a_peer_is_more_than_a_value_error(text: str) -> None:
    try:
        url = url_of(text, URL("http://a.test/"))
    except ValueError:
        return
    assert url.raw_host is not None


@pytest.mark.parametrize("text", NO_URLS)
def test_domains_and_invalidations_pass_over_what_is_no_url(text: str) -> None:
    home = URL("http://a.test/")
    assert protection_space(home, (text, "/x"))[-1:] == (URL("http://a.test/x"),)
    assert invalidated("POST", home, 200, {"Location": text})[:1]


# --- challenges -------------------------------------------------------------------------------------------------


def challenged(value: str) -> Any:
    def answer(asked: Asked) -> Reply:
        if "Authorization" in asked.headers:
            return reply(200, asked.headers["Authorization"].encode("utf-8", "surrogateescape"))
        return reply(401, headers={"WWW-Authenticate": value})

    return answer


@pytest.mark.parametrize(
    "value",
    [
        'Digest realm="\udcff", nonce="n", qop="auth"',
        'Digest realm="r", nonce="\udcff\udcfe", qop="auth", opaque="\udc80", userhash=true',
        'Digest realm="ä\udcff", nonce="n", charset=ISO-8859-1',
        'Digest realm="\udcff", nonce="n", qop="auth", algorithm=SHA-256-sess, domain="https://[::1]:43@/ /"',
    ],
)
async def test_bytes_that_are_no_text_are_answered_as_they_came(
    peer: Any, session: Any, value: str
) -> None:
    server = await peer(challenged(value))
    client = session(middlewares=(DigestAuthMiddleware("user", "pass"),))
    async with client.get(server.url()) as got:
        assert got.status == 200
        echoed = (await got.read()).decode("utf-8", "surrogateescape")
    realm = value.partition('realm="')[2].partition('"')[0]
    assert f'realm="{realm}"' in echoed


@pytest.mark.parametrize("name", ["realm", "nonce", "opaque"])
async def test_a_challenge_with_control_characters_is_no_response(
    session: Any, peer: Any, name: str
) -> None:
    values = {"realm": "r", "nonce": "n", "opaque": "o", name: "a\x01b"}
    server = await peer(
        challenged("Digest " + ", ".join(f'{key}="{text}"' for key, text in values.items()))
    )
    client = session(middlewares=(DigestAuthMiddleware("user", "pass"),))
    with pytest.raises(wherry.ClientResponseError):
        await client.get(server.url())


async def test_a_charset_that_lacks_the_password_is_a_client_error(peer: Any, session: Any) -> None:
    server = await peer(challenged('Digest realm="r", nonce="n", charset=ISO-8859-1'))
    client = session(middlewares=(DigestAuthMiddleware("user", "пароль"),))
    with pytest.raises(wherry.ClientError, match="LATIN-1") as caught:
        await client.get(server.url())
    assert "пароль" not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize(
    "info", ['rspauth="\udcff"', 'rspauth="é", cnonce="\udcff"', "nextnonce=\x7f", "\udcff"]
)
async def test_a_proof_of_odd_bytes_is_a_wrong_proof_or_none(
    peer: Any, session: Any, info: str
) -> None:
    def answer(asked: Asked) -> Reply:
        if "Authorization" in asked.headers:
            return reply(headers={"Authentication-Info": info})
        return reply(401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})

    server = await peer(answer)
    client = session(middlewares=(DigestAuthMiddleware("user", "pass"),))
    try:
        async with client.get(server.url()) as got:
            assert got.status == 200
    except wherry.ClientError:
        pass


async def test_credentials_in_a_location_that_latin_1_lacks_are_sent_or_refused(
    peer: Any, session: Any
) -> None:
    server = await peer(lambda asked: reply())
    port = server.port
    server.answer = lambda asked: (
        reply(302, headers={"Location": f"http://€:☃@b.test:{port}/x"})
        if asked.target == "/"
        else reply()
    )
    try:
        async with session().get(server.url()) as got:
            assert got.status == 200
    except wherry.ClientError:
        pass


# --- numbers and dates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["²", "٣", "9" * 5000, "-1", "1e9", "Wed, 21 Oct 99999999999 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 +99999999",
     "\udcff", ""],
)  # fmt: skip
async def test_no_retry_after_ends_more_than_the_wait(peer: Any, session: Any, value: str) -> None:
    server = await peer(lambda _: reply(503, headers={"Retry-After": value}))
    client = session(middlewares=(RetryMiddleware(attempts=2, backoff=0.001),))
    async with client.get(server.url()) as got:
        assert got.status == 503


@pytest.mark.parametrize("length", ["²", "9" * 5000, "+3", "1_0", "", "-1"])
async def test_content_length_is_a_number_or_absent(peer: Any, session: Any, length: str) -> None:
    """What HTTP's parsers refuse can still come from a cassette, a cache or a mock."""
    server = await peer()
    async with session().get(server.url()) as got:
        await got.read()
        got._headers = decoded_fields(((b"Content-Length", length.encode()),))
        assert got.content_length is None


# --- JSON -------------------------------------------------------------------------------------------------------


async def test_json_that_is_nested_too_deeply_is_an_error_of_both_families(
    peer: Any, session: Any
) -> None:
    server = await peer(lambda _: reply(body=DEEP, headers={"Content-Type": "application/json"}))
    async with session().get(server.url()) as got:
        with pytest.raises(wherry.NestedTooDeeply) as caught:
            await got.json()
        assert isinstance(caught.value, wherry.ClientError)
        assert isinstance(caught.value, json.JSONDecodeError)
        assert len(await got.text()) == len(DEEP)


JSON = "Content-Type: application/json\r\n"


async def test_rest_takes_no_recursion(raw_server: Any) -> None:
    deep = DEEP.encode()
    server = await raw_server(
        [
            response(deep, fields=JSON),
            response(deep, status="400 No", fields=JSON),
            response(deep, fields=JSON),
        ]
    )
    async with RestClient(base_url=server.url) as api:
        with pytest.raises(RestError):
            await api.get("/x", model=dict)
        with pytest.raises(RestError):
            await api.get("/x", model=dict)
        with pytest.raises(RestError):
            _ = [page async for page in api.pages("/x")]


@pytest.mark.parametrize("number", ["1e999", "9" * 400, "9" * 5000])
async def test_rest_takes_no_number_that_is_none(raw_server: Any, number: str) -> None:
    server = await raw_server([response(number.encode(), fields=JSON)])
    async with RestClient(base_url=server.url) as api:
        try:
            assert isinstance(await api.get("/x", model=float), float)
        except RestError as exc:
            assert "float" in str(exc)  # noqa: PT017


@pytest.mark.parametrize(
    "link", ["<mailto:x>; rel=next", "<data:,x>; rel=next", "<https://[::1]:43@/>; rel=next"]
)
async def test_rest_pages_go_to_origins_only(raw_server: Any, link: str) -> None:
    server = await raw_server([response(b"[1]", fields=f"{JSON}Link: {link}\r\n")])
    async with RestClient(base_url=server.url) as api:
        try:
            assert [page async for page in api.pages("/x")] == [1]
        except RestError as exc:
            assert "next page" in str(exc)  # noqa: PT017


# --- OAuth ------------------------------------------------------------------------------------------------------


def issuer(body: bytes | str, status: int = 200) -> Any:
    return lambda asked: (
        reply(status, body, {"Content-Type": "application/json"})
        if asked.method == "POST"
        else reply()
    )


@pytest.mark.parametrize(
    "lifetime",
    [
        "9" * 400,
        '"' + "9" * 400 + '"',
        "1e999",
        "-1e999",
        "NaN",
        "true",
        '"²"',
        "[]",
        "null",
        '"soon"',
    ],
)
async def test_no_lifetime_of_a_token_is_more_than_a_guess(
    peer: Any, session: Any, lifetime: str
) -> None:
    server = await peer(issuer(f'{{"access_token": "t", "expires_in": {lifetime}}}'))
    client = session(middlewares=(OAuth2ClientCredentials(server.url("/token"), "id", "secret"),))
    async with client.get(server.url()) as got:
        assert got.status == 200


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"access_token": "a\xff"}',
        '{"access_token": "a\\r\\nX: y"}',
        '{"access_token": "\\ud800"}',
        '{"access_token": "a b"}',
        '{"access_token": "ä"}',
        '{"access_token": "\\u0000"}',
        '{"access_token": {}}',
        '{"access_token": "t", "token_type": {"a": 1}}',
        '{"access_token": "t", "token_type": "\\u001b[31m"}',
        '{"access_token": "t", "expires_in": ' + "9" * 5000 + "}",
        '{"error": "\\u001b]8;;http://evil.test\\u0007x", "error_description": "\\u001b[2J\\ud800"}',
        '{"error": ["x"], "error_description": {"a": "\\u001b"}}',
        "[]",
        "",
        "1" * 5000,
    ],
)
async def test_no_answer_of_a_token_endpoint_is_more_than_no_token(
    peer: Any, session: Any, body: Any
) -> None:
    server = await peer(issuer(body))
    client = session(middlewares=(OAuth2ClientCredentials(server.url("/token"), "id", "secret"),))
    with pytest.raises(OAuth2Error) as caught:
        await client.get(server.url("/x"))
    shown = f"{caught.value}{caught.value!r}{caught.value.error}"
    assert shown.isprintable()
    shown.encode()


# --- names of files and of charsets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "attachment; filename*=utf-7''%2B2AA-",
        "attachment; filename*=punycode''x",
        "attachment; filename*=utf-16''%D8%00",
        "attachment; filename*=unicode_escape''%5Cud800",
        "attachment; filename*0*=utf-7''%2B2AA-; filename*1=x",
        "attachment; filename*0*=idna''x",
        "attachment; filename*0=\udcff; filename*1=x",
        "attachment; filename*0*=utf-8''%ED%A0%80",
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
async def test_no_file_name_has_half_a_surrogate_pair(peer: Any, session: Any, value: str) -> None:
    server = await peer(lambda _: reply(headers={"Content-Disposition": value}))
    async with session().get(server.url()) as got:
        name = got.content_disposition.filename
        assert name is None or name.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "charset",
    ["punycode", "idna", "unicode_escape", "raw_unicode_escape", "rot13", "base64", "bz2", "zip", "hex", "uu", "utf-7",
     "undefined", "mbcs", "quopri", "a\udcff", "x" * 5_000, "../x", "hz", "cp037"],
)  # fmt: skip
async def test_a_server_may_choose_text_encodings_only(
    peer: Any, session: Any, charset: str
) -> None:
    server = await peer(
        lambda _: reply(
            body=b"a-" * 10, headers={"Content-Type": f'text/plain; charset="{charset}"'}
        )
    )
    async with session().get(server.url()) as got:
        assert await got.text() == "a-" * 10
        assert got.get_encoding() == "utf-8"


# --- hosts ------------------------------------------------------------------------------------------------------

HOSTS = [".com", "a..b.test", f"{'a' * 64}.test", f"{'a.' * 130}test", ".", "..", "a." * 3 + "."]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "way", ["system", "own", "strict", "http proxy", "socks5", "socks5h", "socks4a", "doh"]
)
async def test_no_host_is_more_than_an_error_of_connecting(
    raw_server: Any, host: str, scheme: str, way: str
) -> None:
    class Strict(Names):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> Any:
            host.encode("idna")
            return await super().resolve(host, port, family)

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(100)
        if asked.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        elif asked[:1] == b"\x05":
            writer.write(b"\x05\x00")
            await reader.read(400)
            writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")
        elif asked[:1] == b"\x04":
            writer.write(b"\0\x5a\0\0\0\0\0\0")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read(1000)

    server: RawServer = await raw_server(tunnel)
    resolvers: dict[str, Any] = {
        "own": Names(),
        "strict": Strict(),
        "doh": wherry.DoHResolver(f"https://127.0.0.1:{server.port}/"),
    }
    names = {"http proxy": "http", "socks5": "socks5", "socks5h": "socks5h", "socks4a": "socks4a"}
    proxy = f"{names[way]}://127.0.0.1:{server.port}" if way in names else None
    resolver = resolvers.get(way) or (Names() if way == "socks5" else wherry.ThreadedResolver())
    connector = wherry.TCPConnector(resolver=resolver)
    async with wherry.ClientSession(
        connector=connector, timeout=wherry.ClientTimeout(total=20)
    ) as session:
        try:
            async with session.get(f"{scheme}://{host}:{server.port}/", proxy=proxy) as got:
                await got.read()
        except wherry.ClientError as exc:
            str(exc), repr(exc)
    await resolver.close()
    await resolvers["doh"].close()


# --- JSON elsewhere -------------------------------------------------------------------------------


async def test_a_websocket_takes_no_recursion(wherry_server: Any) -> None:
    async with (
        wherry.ClientSession() as session,
        session.ws_connect(wherry_server.url("/ws/echo")) as socket,
    ):
        for _ in range(2):
            await socket.send_str(DEEP)
        with pytest.raises(wherry.NestedTooDeeply):
            await socket.receive_json()
        with pytest.raises(wherry.NestedTooDeeply):
            (await socket.receive()).json()


async def test_a_part_takes_no_recursion() -> None:
    content = wherry.StreamReader(2**20)
    content.feed_data(
        b"--A\r\nContent-Type: application/json\r\n\r\n" + DEEP.encode() + b"\r\n--A--"
    )
    content.feed_eof()
    part = await wherry.MultipartReader(
        {"Content-Type": "multipart/mixed; boundary=A"}, content
    ).next()
    with pytest.raises(wherry.NestedTooDeeply):
        await part.json()


def test_the_error_of_nesting_pickles() -> None:
    error = pickle.loads(pickle.dumps(wherry.NestedTooDeeply()))
    assert str(error) == "the JSON is nested too deeply"
    assert isinstance(error, wherry.ClientPayloadError)


@pytest.mark.parametrize(
    "text", [DEEP, "{", "\ufeff", "[]", '{"wherry_cassette": 1}', '{"wherry_cassette": 1, "exchanges": [{}]}',
             '{"wherry_cassette": 1, "exchanges": {"a": 1}}', '{"wherry_cassette": 1, "exchanges": [[]]}']
)  # fmt: skip
async def test_a_cassette_that_is_none_says_so(tmp_path: Any, text: str) -> None:
    path = tmp_path / "tape.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is no cassette"), Cassette(path):
        pass


# --- a line without an end ------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [1, 1000])
async def test_lines_of_a_part_cost_what_they_are_long(
    monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    copied = 0

    class Counted(bytearray):
        def __iadd__(self, other: Any) -> Any:
            nonlocal copied
            copied += len(other)
            return super().__iadd__(other)

        def find(self, *args: Any) -> int:
            nonlocal copied
            copied += len(self) - (args[1] if len(args) > 1 else 0)
            return super().find(*args)

        def __delitem__(self, key: Any) -> None:
            nonlocal copied
            copied += len(self)
            super().__delitem__(key)

    async def cost(size: int) -> int:
        nonlocal copied
        content = wherry.StreamReader(2**22)
        body = (b"x" * (size // lines - 1) + b"\n") * lines if lines > 1 else b"x" * size
        content.feed_data(b"--A\r\n\r\n" + body + b"\r\n--A--")
        content.feed_eof()
        reader = wherry.MultipartReader({"Content-Type": "multipart/mixed; boundary=A"}, content)
        part: Any = await reader.next()
        part._lines = Counted()
        copied = got = 0
        while line := await part.readline():
            got += len(line)
        assert got == len(body)
        return copied

    small, large = await cost(2**18), await cost(2**19)
    assert large <= 2.2 * small
    assert large <= 12 * 2**19 + lines * 2**13


@pytest.mark.parametrize("zone", ["²", "9" * 5000, "9" * 30, "no-such-zone", "a\0b"])
def test_a_zone_that_a_resolver_names_and_nobody_knows_fails_when_it_is_dialled(zone: str) -> None:
    result = ResolveResult(
        hostname="a.test", host=f"fe80::1%{zone}", port=1, family=10, proto=0, flags=0
    )
    assert addr_info(result)[0] == socket.AF_INET6
