"""Requests that a server wants on another connection: by HTTP/1.1 (RFC 9113 7), or a new one (RFC
9110 15.5.20).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from tests.servers.apache import Apache
from tests.servers.raw import RawServer, read_request, response

import wherry
from wherry import ClientSession, TCPConnector

REQUIRED = h2.errors.ErrorCodes.HTTP_1_1_REQUIRED
BOTH = ("h2", "http/1.1")
StartServer = Callable[..., Awaitable[RawServer]]


class Server:
    """Speaks what ALPN chose; by HTTP/2 it serves /open, lets /slow wait for `go`, and wants
    HTTP/1.1 for the rest.

    Attributes:
        seen: The requests, as "2 GET /path" or "1 GET /path".
        refuse: What becomes of a stream that should be HTTP/1.1.
        go: Lets /slow be answered.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.go = asyncio.Event()
        self.slow = asyncio.Event()
        self.refuse: Callable[[h2.connection.H2Connection, int], None] = lambda server, stream: (
            server.reset_stream(stream, REQUIRED)
        )

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            await self._http2(reader, writer)
            return
        while True:
            asked = await read_request(reader)
            self.seen.append("1 " + asked.partition(b" HTTP")[0].decode())
            writer.write(response(asked.rpartition(b"\r\n\r\n")[2] or b"by 1"))

    async def _http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        server.initiate_connection()
        writer.write(server.data_to_send())
        waiting: set[asyncio.Task[None]] = set()

        async def answer(stream: int) -> None:
            self.slow.set()
            await self.go.wait()
            server.send_headers(stream, [(":status", "200")])
            server.send_data(stream, b"by 2", end_stream=True)
            writer.write(server.data_to_send())

        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for event in server.receive_data(data):
                    if not isinstance(event, h2.events.RequestReceived):
                        continue
                    fields = dict(event.headers)
                    self.seen.append(f"2 {fields[':method']} {fields[':path']}")
                    if fields[":path"] == "/slow":
                        waiting.add(asyncio.ensure_future(answer(event.stream_id)))
                    elif fields[":path"] == "/open":
                        server.send_headers(event.stream_id, [(":status", "204")], end_stream=True)
                    else:
                        self.refuse(server, event.stream_id)
                writer.write(server.data_to_send())


@pytest.fixture
async def server(raw_server: StartServer, server_tls: ssl.SSLContext) -> tuple[Server, str]:
    server_tls.set_alpn_protocols(["h2", "http/1.1"])
    made = Server()
    started = await raw_server(made, server_tls)
    return made, started.url


def client(context: ssl.SSLContext, *protocols: str, **options: Any) -> ClientSession:
    return ClientSession(
        connector=TCPConnector(ssl=context, protocols=protocols or BOTH, **options)
    )


async def get(
    session: ClientSession, url: str, method: str = "GET", **options: Any
) -> tuple[int, int, str]:
    async with session.request(method, url, **options) as answer:
        return answer.version.major, answer.status, await answer.text()


# --- HTTP_1_1_REQUIRED ----------------------------------------------------------------------------


async def test_a_request_that_must_be_http1_is_sent_so_and_the_route_remembers(
    server: tuple[Server, str], client_tls: ssl.SSLContext
) -> None:
    made, url = server
    async with client(client_tls) as session:
        slow = asyncio.ensure_future(get(session, f"{url}/slow"))
        await made.slow.wait()
        assert await get(session, f"{url}/closed") == (1, 200, "by 1")
        assert await get(session, f"{url}/closed", "POST", data=b"a body") == (1, 200, "a body")
        assert await get(session, f"{url}/open") == (1, 200, "by 1")
        made.go.set()
        assert await slow == (2, 200, "by 2")  # the stream that was under way ends where it began
        assert session.connector.stats().opened == 2
        # An equal route, made anew.
        again = [get(session, f"{url}/closed", ssl=client_tls) for _ in range(3)]
        assert await asyncio.gather(*again) == [(1, 200, "by 1")] * 3
    assert [line for line in made.seen if line[0] == "2"] == ["2 GET /slow", "2 GET /closed"]


async def test_a_post_is_sent_again_where_its_body_can_be(
    server: tuple[Server, str], client_tls: ssl.SSLContext
) -> None:
    made, url = server

    async def once() -> AsyncIterator[bytes]:
        yield b"a body"

    async with client(client_tls) as session:
        with pytest.raises(wherry.ServerDisconnectedError, match="HTTP_1_1_REQUIRED"):
            await get(
                session, f"{url}/closed", "POST", data=once(), headers={"Content-Length": "6"}
            )
        assert await get(session, f"{url}/closed", "POST", data=b"a body") == (1, 200, "a body")
    async with client(client_tls) as session:
        assert await get(session, f"{url}/closed", "POST", data=b"a body") == (1, 200, "a body")
    assert made.seen == ["2 POST /closed", "1 POST /closed", "2 POST /closed", "1 POST /closed"]


async def test_goaway_may_say_so_for_the_whole_connection(
    server: tuple[Server, str], client_tls: ssl.SSLContext
) -> None:
    made, url = server
    made.refuse = lambda server, stream: server.close_connection(REQUIRED, last_stream_id=0)
    async with client(client_tls, limit=1) as session:
        asked = [get(session, f"{url}/closed") for _ in range(5)]
        assert await asyncio.gather(*asked) == [(1, 200, "by 1")] * 5
        assert session.connector.stats().opened == 2


async def test_who_speaks_http2_alone_is_told_at_once(
    server: tuple[Server, str], client_tls: ssl.SSLContext
) -> None:
    made, url = server
    async with client(client_tls, "h2") as session:
        with pytest.raises(wherry.ServerDisconnectedError, match="HTTP_1_1_REQUIRED"):
            await get(session, f"{url}/closed")
        assert await get(session, f"{url}/open") == (2, 204, "")
    assert made.seen == ["2 GET /closed", "2 GET /open"]


async def test_a_response_that_began_is_not_asked_for_again(
    server: tuple[Server, str], client_tls: ssl.SSLContext
) -> None:
    made, url = server

    def refuse(server: h2.connection.H2Connection, stream: int) -> None:
        server.send_headers(stream, [(":status", "200")])
        server.reset_stream(stream, REQUIRED)

    made.refuse = refuse
    async with client(client_tls) as session:
        with pytest.raises(wherry.ClientPayloadError, match="HTTP_1_1_REQUIRED"):
            await get(session, f"{url}/closed")
    assert made.seen == ["2 GET /closed"]


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_apache_asks_for_a_certificate_by_http1(
    apache: Apache, client_tls_with_cert: ssl.SSLContext, newest: ssl.TLSVersion
) -> None:
    """By renegotiation in TLS 1.2, after the handshake in TLS 1.3: HTTP/2 allows neither (RFC 9113
    9.2).
    """
    client_tls_with_cert.maximum_version = newest
    client_tls_with_cert.post_handshake_auth = True
    base = f"https://localhost:{apache.tls}"
    async with client(client_tls_with_cert) as session:
        assert (await get(session, f"{base}/index.txt"))[:2] == (2, 200)
        assert (await get(session, f"{base}/certified/index.txt"))[:2] == (1, 200)
        assert (await get(session, f"{base}/certified/index.txt", "POST", data=b"abc"))[:2] == (
            1,
            200,
        )


# --- 421 ------------------------------------------------------------------------------------------


async def moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serves one request on a connection, and says of all others that they belong elsewhere."""
    body = (await read_request(reader)).rpartition(b"\r\n\r\n")[2]
    writer.write(response(body or b"here"))
    while await read_request(reader):
        writer.write(response(b"not here", status="421 Misdirected Request"))


async def test_a_kept_connection_that_is_not_the_right_one_any_more_is_left(
    raw_server: StartServer,
) -> None:
    server = await raw_server(moved)
    async with ClientSession() as session:
        assert await get(session, f"{server.url}/") == (1, 200, "here")
        assert await get(session, f"{server.url}/") == (1, 200, "here")
        assert await get(session, f"{server.url}/", "POST", data=b"a body") == (1, 200, "a body")
        assert (session.connector.stats().open, server.connections) == (1, 3)


async def test_a_fresh_connection_or_a_body_that_is_gone_ends_it(raw_server: StartServer) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader):
            writer.write(response(b"not here", status="421 Misdirected Request"))

    async def once() -> AsyncIterator[bytes]:
        yield b"a body"

    server = await raw_server(never)
    async with ClientSession() as session:
        assert await get(session, f"{server.url}/") == (1, 421, "not here")
        assert await get(session, f"{server.url}/") == (1, 421, "not here")
        assert server.connections == 2
        length = {"Content-Length": "6"}
        assert await get(session, f"{server.url}/", "POST", data=once(), headers=length) == (
            1,
            421,
            "not here",
        )
        assert server.connections == 2
