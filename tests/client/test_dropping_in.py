"""What programs, and the libraries that instrument them, do with aiohttp's objects beside their
documented use: the same happens here.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from tests.client.conftest import reply
from websockets.asyncio.server import serve as serve_websocket

import wherry
from wherry import (
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DigestAuthMiddleware,
    TCPConnector,
)
from wherry.body.stream.reader import EmptyStreamReader

# --- what is open outlives its session and its connector ------------------------------------------


async def echo(websocket: Any) -> None:
    async for message in websocket:
        await websocket.send(message)


async def all_closed(pool: Any) -> None:
    await asyncio.gather(*(each.wait_closed() for each in pool.all_connections()))
    assert pool.stats().open == 0


async def test_a_websocket_outlives_a_detached_session() -> None:
    async with serve_websocket(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        session = ClientSession()
        websocket = await session.ws_connect(f"ws://127.0.0.1:{port}/")
        assert session.connector is not None
        pool = session.connector.pool
        session.detach()
        del session
        gc.collect()
        for _ in range(3):
            await websocket.send_str("ahoy")
            assert await websocket.receive_str(timeout=5) == "ahoy"
        assert pool.stats().busy == 1
        await websocket.close()
        await all_closed(pool)


async def test_a_body_outlives_a_detached_session(peer, session) -> None:
    body = b"x" * 3_000_000
    server = await peer(lambda asked: reply(200, body if asked.target == "/big" else b"small"))
    client = session()
    pool = client.connector.pool
    async with client.get(server.url("/small")) as response:
        await response.read()
    response = await client.get(server.url("/big"))
    client.detach()
    gc.collect()
    assert await response.read() == body
    await all_closed(pool)  # nobody can use the connection any more


async def test_a_body_outlives_a_connector_that_nobody_holds(peer, version) -> None:
    body = b"x" * 3_000_000
    server = await peer(lambda _: reply(200, body))
    protocols = ("h2c",) if version == "HTTP/2" else ("http/1.1",)
    client = ClientSession(
        connector=TCPConnector(protocols=protocols),
        connector_owner=False,
        timeout=ClientTimeout(total=10),
    )
    response = await client.get(server.url())
    await client.close()
    del client
    gc.collect()
    assert await response.read() == body


# --- streams and jars of a program's own ----------------------------------------------------------


class OnlyRead:
    """All that a stand-in for a body needs to have."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body


class Overriding(EmptyStreamReader):
    """As mocks derive theirs from the stream that is always at its end."""

    async def read(self, n: int = -1) -> bytes:
        return b'{"a": 1}'


@pytest.mark.parametrize("made", ["by parts", "by hand", "by the network"])
@pytest.mark.parametrize("stream", [lambda: OnlyRead(b'{"a": 1}'), Overriding])
@pytest.mark.parametrize(
    "own", [(), (wherry.CacheMiddleware(),), (DigestAuthMiddleware("a", "b"),)]
)
async def test_a_stream_of_the_programs_own_needs_only_read(
    peer, session, made: str, stream: Any, own: Any
) -> None:
    async def mock(request: ClientRequest, handler: Any) -> ClientResponse:
        if made == "by hand":
            response = request.session._response_class(
                request.method, request.url, session=request.session
            )
            response.status, response.reason = 200, "OK"
            response._headers = CIMultiDictProxy(
                CIMultiDict({"Content-Type": "application/json", "Cache-Control": "max-age=9"})
            )
        elif made == "by parts":
            response = ClientResponse.from_parts(
                request, 200, "OK", ((b"Content-Type", b"application/json"),)
            )
        else:
            response = await handler(request)
        response.content = stream()
        return response

    server = await peer(lambda _: reply(200, b"[]", {"Content-Type": "application/json"}))
    async with session(middlewares=(*own, mock)) as client:
        for _ in range(2):
            async with client.get(server.url()) as response:
                assert await response.json() == {"a": 1}
                assert await response.read() == b'{"a": 1}'
            response = await client.get(server.url())
            response.release()
            response = await client.get(server.url())
            response.close()
            response.raise_for_status()


async def test_a_wrapper_round_the_stream_is_read_to_its_end(peer, session) -> None:
    body = b"x" * 300_000

    class Counted:
        seen = 0

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def read(self, n: int = -1) -> bytes:
            data: bytes = await self._stream.read(n)
            Counted.seen += len(data)
            return data

    class Response(ClientResponse):
        async def start(self, connection: Any) -> ClientResponse:
            await super().start(connection)
            self.content = Counted(self.content)  # type: ignore[assignment]
            return self

    server = await peer(lambda _: reply(200, body))
    async with session(response_class=Response) as client:
        for _ in range(2):
            async with client.get(server.url()) as response:
                assert await response.read() == body
        assert client.connector is not None
        assert client.connector.stats().opened == 1
    assert Counted.seen == 2 * len(body)


# --- what aiohttp refuses, and what it has by default ---------------------------------------------


async def pieces() -> Any:
    yield b"abc"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "options",
    [
        {"data": pieces},
        {"data": b"abc", "chunked": True},
        {"data": b"abc", "compress": True},
        {"data": b"abc", "compress": "gzip"},
    ],
)
@pytest.mark.parametrize("where", ["request", "session"])
async def test_chunks_that_a_program_announces_itself_are_refused(
    peer, session, method: str, options: dict[str, Any], where: str
) -> None:
    server = await peer()
    if callable(options["data"]):
        options = {**options, "data": options["data"]()}
    coding = {"transfer-encoding": "Chunked"}
    async with session(headers=coding if where == "session" else None) as client:
        with pytest.raises(ValueError, match="Transfer-Encoding: chunked"):
            await client.request(
                method, server.url(), headers=coding if where == "request" else None, **options
            )
        assert server.asked == []


async def test_the_websocket_class_is_a_class_by_default(session) -> None:
    assert session()._ws_response_class is wherry.ClientWebSocketResponse
