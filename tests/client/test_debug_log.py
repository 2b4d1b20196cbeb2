"""The debug log tells the whole story of a request, hides what is secret, and costs nothing when it
is off.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.client.conftest import reply
from tests.servers.authority import CertificateFiles
from tests.servers.raw import RawServer, read_request, response

import wherry
from wherry import ClientSession, TCPConnector
from wherry.protocol import debug_log

Start = Callable[..., Awaitable[RawServer]]


class Story:
    """What the loggers said: (room, message), ports and numbers of connections made plain."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def told(self, *rooms: str) -> list[str]:
        numbers: dict[str, str] = {}
        lines = []
        for record in self._caplog.records:
            room = record.name.removeprefix("wherry.")
            if not record.name.startswith("wherry.") or (rooms and room not in rooms):
                continue
            assert record.levelno == logging.DEBUG
            text = record.getMessage()
            text = re.sub(
                r"#(\d+)", lambda found: "#" + numbers.setdefault(found[1], str(len(numbers))), text
            )
            text = re.sub(r"(127\.0\.0\.1|localhost):\d+", r"\1", text)
            text = re.sub(r"\d+\.\d+ s", "N s", text)
            lines.append(f"{room}: {text}")
        return lines

    @property
    def text(self) -> str:
        return "\n".join(record.getMessage() for record in self._caplog.records)


@pytest.fixture
def story(caplog: pytest.LogCaptureFixture) -> Story:
    caplog.set_level(logging.DEBUG, "wherry")
    return Story(caplog)


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    yield
    debug_log.look_up_levels()


async def test_one_request_redirected(raw_server: Start, story: Story) -> None:
    """Dial, exchange, redirect, the same connection again, the end."""
    server = await raw_server(
        [response(status="302 Found", fields="Location: /next?page=2\r\n"), response(b"whole")]
    )
    async with ClientSession() as session, session.post(server.url + "/", data=b"abc") as got:
        assert await got.read() == b"whole"
    origin = "http://127.0.0.1"
    told = story.told()
    assert told[: told.index("http1: #0 > GET 127.0.0.1 /next?page=2, 0 bytes of body") + 1] == [
        f"client: POST {origin}/ begins",
        f"pool: dials {origin}",
        "dial: 127.0.0.1: 127.0.0.1",
        "dial: 127.0.0.1: connected",
        f"dial: #0 is connected: {origin}",
        f"pool: #0 to {origin} is new, by HTTP/1",
        "pool: #0 can carry a request",
        "pool: #0 goes to a request that waited N s",
        "http1: #0 > POST 127.0.0.1 /, 3 bytes of body",
        "http1: #0 < 302 Found",
        "http1: #0 < the response is complete",
        "pool: #0 can carry a request",
        f"client: 302 leads to GET {origin}/next?page=2",
        f"pool: #0 to {origin} is used again",
        "http1: #0 > GET 127.0.0.1 /next?page=2, 0 bytes of body",
    ]
    assert "http1: #0 < 200 OK" in told
    assert f"client: GET {origin}/next?page=2 is answered: 200 OK" in told
    assert told[-1] == "pool: #0 is gone"


async def test_a_dead_kept_connection_and_the_next_try(raw_server: Start, story: Story) -> None:
    """It dies under the second request, which goes again over another."""
    requests = itertools.count()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            if next(requests) == 1:
                return
            writer.write(response(b"whole"))

    server = await raw_server(script)
    async with ClientSession() as session:
        for _ in range(2):
            async with session.get(server.url + "/") as got:
                assert await got.read() == b"whole"
    told = story.told()
    failed = next(at for at, line in enumerate(told) if "the exchange failed" in line)
    assert told[failed].startswith("http1: #0 the exchange failed: ServerDisconnectedError: ")
    rest = told[failed:]
    again = next(at for at, line in enumerate(rest) if "is sent again (try 2)" in line)
    assert rest[again].startswith(
        "client: GET http://127.0.0.1/ is sent again (try 2): ServerDisconnectedError"
    )
    assert "pool: dials http://127.0.0.1" in rest[again:]
    assert "http1: #1 > GET 127.0.0.1 /, 0 bytes of body" in rest[again:]
    assert "http1: #1 < 200 OK" in rest[again:]


async def test_a_request_that_fails(story: Story, nobody: str) -> None:
    async with ClientSession() as session:
        with pytest.raises(wherry.ClientConnectorError):
            await session.get(nobody + "/")
    told = story.told()
    assert "dial: 127.0.0.1: Connection refused" in told
    assert any(
        line.startswith("pool: the dial of http://127.0.0.1 failed: Client") for line in told
    )
    assert any(line.startswith("client: GET http://127.0.0.1/ failed: Client") for line in told)


async def test_who_waits_and_is_served(raw_server: Start, story: Story) -> None:
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await gate.wait()
            writer.write(response(b"whole"))

    server = await raw_server(script)
    async with ClientSession(connector=TCPConnector(limit=1)) as session:

        async def one() -> None:
            async with session.get(server.url + "/") as got:
                await got.read()

        both = [asyncio.create_task(one()) for _ in range(2)]
        while not any("waits for a place" in line for line in story.told("pool")):
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*both)
    told = story.told("pool")
    waits = "pool: a request waits for a place: 1 taken of limit=1, 1 to http://127.0.0.1"
    assert f"{waits} of limit_per_host=0" in told
    assert told.count("pool: #0 goes to a request that waited N s") == 2


async def test_a_name_tls_and_a_proxy(
    story: Story, certificate_files: CertificateFiles, client_tls: ssl.SSLContext, ca: Any
) -> None:
    """Each has its logger; the proxy's user and password are not told."""
    from wherry.testing import LocalServer

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Proxy-Authorization" in head
        _, port = head.split(b" ")[1].rsplit(b":", 1)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        up, down = await asyncio.open_connection("127.0.0.1", int(port))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, down), pump(up, writer))

    with LocalServer(tls=True) as server:
        context = ssl.create_default_context(cadata=server.authority_pem.decode())
        running = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = running.sockets[0].getsockname()[1]
        async with (
            ClientSession(connector=TCPConnector(ssl=context)) as session,
            session.get(
                f"https://localhost:{server.port}/get",
                proxy=f"http://somebody:wordpass@localhost:{port}",
            ) as got,
        ):
            assert got.status == 200
            await got.read()
        running.close()
    told = story.told()
    assert any(line.startswith("dns: localhost is ") for line in told)
    assert "proxy: asks http://localhost for a tunnel to localhost" in told
    assert "proxy: http://localhost gave a tunnel to localhost" in told
    [secured] = [line for line in told if line.startswith("tls: ")]
    assert re.fullmatch(r"tls: localhost: TLSv1\.\d, \w+, ALPN \S+, a new session", secured)
    assert "pool: dials http://localhost -> https://localhost" in told
    assert "somebody" not in story.text
    assert "wordpass" not in story.text


async def test_http2_says_so(peer: Any, session: Any, story: Story, version: str) -> None:
    """The same story over HTTP/2, where a connection's exchanges have streams."""
    server = await peer(lambda _: reply(200, b"whole"))
    async with session() as client:
        for _ in range(2):
            async with client.get(server.url("/a")) as got:
                assert await got.read() == b"whole"
    told = story.told("http1", "http2")
    names = ["http2: #0 stream 1", "http2: #0 stream 3"]
    if version == "HTTP/1.1":
        names = ["http1: #0", "http1: #0"]
    else:
        assert any(line.startswith("http2: #0 < SETTINGS: ") for line in told)
        told = [line for line in told if " stream " in line]
    assert told == [
        line
        for name in names
        for line in (
            f"{name} > GET 127.0.0.1 /a, 0 bytes of body",
            f"{name} < 200 " + ("Status" if version == "HTTP/1.1" else ""),
            f"{name} < the response is complete",
        )
    ]


async def test_http3_says_so(
    story: Story, certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    pytest.importorskip("qh3")
    pytest.importorskip("aioquic")
    from tests.servers import http3

    def hello(peer: Any, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, http3.response(b"hello"))

    connector = TCPConnector(protocols=("h3",), ssl=client_tls)
    async with (
        http3.http3_server(hello, certificate_files) as server,
        ClientSession(connector=connector) as session,
        session.get(server.url()) as got,
    ):
        assert await got.read() == b"hello"
    assert story.told("http3") == [
        "http3: #0 stream 0 > GET localhost /, 0 bytes of body",
        "http3: #0 stream 0 < 200 ",
        "http3: #0 stream 0 < the response is complete",
    ]
    assert any(line.endswith("(UDP): connected, by QUIC") for line in story.told("dial"))


# --- what it never says ---------------------------------------------------------------------------

SECRET = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12, max_size=16).map(
    "S3cr3t".__add__
)


def hidden(secret: str, name: str, where: str, host: str) -> tuple[str, dict[str, Any]]:
    """A URL and options of a request that has `secret` at one place."""
    urls = {
        "user": f"http://{secret}:x@{host}/",
        "password": f"http://u:{secret}@{host}/",
        "query": f"http://{host}/?a=b&{name}={secret}#{name}={secret}",
    }
    options: dict[str, dict[str, Any]] = {
        "field": {"headers": {"Authorization": secret, f"X-{name}": secret}},
        "cookie": {"cookies": {"session": secret}},
        "body": {"data": secret.encode()},
        "form": {"data": {name: secret}},
    }
    return urls.get(where, f"http://{host}/"), options.get(where, {})


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    secret=SECRET,
    name=st.sampled_from(["access_token", "api_key", "password", "sig", "code", "X-Amz-Signature"]),
    where=st.sampled_from(
        ["user", "password", "query", "field", "cookie", "body", "form", "location", "answer"]
    ),
    fails=st.booleans(),
)
def test_no_secret_is_ever_told(
    caplog: pytest.LogCaptureFixture, secret: str, name: str, where: str, fails: bool
) -> None:
    """Wherever it was put, and also where the request fails."""
    caplog.clear()
    caplog.set_level(logging.DEBUG, "wherry")

    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            fields = f"Location: /next?{name}={secret}&{name}={secret}\r\n"
            fields += f"Set-Cookie: a={secret}\r\nX-{name}: {secret}\r\n"
            if where == "location":
                writer.write(response(status="302 Found", fields=fields))
                await read_request(reader)
            if not fails:
                writer.write(response(secret.encode(), fields=fields))

        server = await RawServer(script).start()
        url, options = hidden(secret, name, where, f"127.0.0.1:{server.port}")
        try:
            async with ClientSession() as session:
                with contextlib.suppress(wherry.ClientError):
                    async with session.post(url, **options) as got:
                        await got.read()
        finally:
            await server.stop()

    asyncio.run(main())
    assert len(caplog.records) > 8
    for record in caplog.records:
        if record.name.startswith("wherry"):
            assert secret not in record.getMessage(), record.name
            assert secret not in repr(record.args), record.name


async def test_what_a_server_says_begins_no_line(
    raw_server: Start, story: Story, nobody: str
) -> None:
    """A log is read by people at terminals, and by programs line for line."""
    server = await raw_server([response(status="200 a\x85wherry.pool\t\u2028b")])
    async with ClientSession() as session:
        with pytest.raises(wherry.ClientError):
            await session.get(nobody + "/%0Aevil")
        async with session.get(server.url + "/") as got:
            await got.read()
    for line in story.told():
        assert line.isprintable(), ascii(line)


# --- off ------------------------------------------------------------------------------------------


async def test_off_it_calls_nothing(
    raw_server: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    nobody: str,
) -> None:
    def say(*_: Any) -> None:
        raise AssertionError("nobody listens")

    monkeypatch.setattr(debug_log.RoomLog, "say", say)
    caplog.set_level(logging.INFO, "wherry")
    server = await raw_server([response(status="302 Found", fields="Location: /n\r\n"), response()])
    async with ClientSession() as session:
        async with session.get(server.url) as got:
            await got.read()
        with pytest.raises(wherry.ClientConnectorError):
            await session.get(nobody)


@pytest.mark.parametrize("name", ["", "wherry", "wherry.client"])
async def test_it_can_be_turned_on_in_a_program_that_runs(
    raw_server: Start, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """From the next request on, on a connection that was made before."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(b"whole"))

    server = await raw_server(script)
    story = Story(caplog)
    async with ClientSession() as session:

        async def one() -> None:
            async with session.get(server.url) as got:
                await got.read()

        await one()
        assert story.told() == []
        with caplog.at_level(logging.DEBUG, name or None):
            await one()
        told = story.told()
        assert told[0] == "client: GET http://127.0.0.1 begins"
        if name != "wherry.client":
            assert "pool: #0 to http://127.0.0.1 is used again" in told
            assert "http1: #0 < 200 OK" in told
        await one()
        assert story.told() == told


def test_each_room_has_its_logger() -> None:
    names = [room.logger.name for room in debug_log.ROOMS]
    assert len(set(names)) == len(names)
    assert {"wherry.pool", "wherry.http1", "wherry.http2", "wherry.http3", "wherry.dial"} <= {
        *names
    }
    assert {"wherry.tls", "wherry.dns", "wherry.client", "wherry.proxy"} <= {*names}
