"""Custom classes whose requests send themselves, and whose responses start
themselves.
"""

from __future__ import annotations

import asyncio
import warnings
from types import MethodType
from typing import Any

import pytest
from tests.client.conftest import reply

from wherry import (
    ClientRequest,
    ClientResponse,
    ClientTimeout,
    ServerDisconnectedError,
    TraceConfig,
)
from wherry.connect.hooks import CHANGES


class Rewritten(ClientRequest):
    """As programs sign or move a request at the last moment."""

    async def send(self, conn: Any) -> ClientResponse:
        self.url = self.url.with_path("/elsewhere")
        self.headers["X-Signed"] = f"{self.method} {conn.transport.get_extra_info('peername')[0]}"
        return await super().send(conn)


class Gated(ClientResponse):
    """As programs wait, or count, round an answer."""

    gate = asyncio.Lock()

    async def start(self, connection: Any) -> ClientResponse:
        async with self.gate:
            response = await super().start(connection)
        self.seen = self.status
        return response


@pytest.mark.parametrize("request_class", [ClientRequest, Rewritten])
@pytest.mark.parametrize("response_class", [ClientResponse, Gated])
async def test_each_request_goes_through_its_class(
    peer, session, request_class: Any, response_class: Any
) -> None:
    server = await peer(lambda asked: reply(200 if asked.method == "GET" else 201, asked.body))
    heard = []
    config = TraceConfig()
    config.on_request_headers_sent.append(lambda _session, _context, params: note(params))

    async def note(params: Any) -> None:
        heard.append((params.url.path, params.headers.get("X-Signed")))

    for traces in ([], [config]):
        async with session(
            request_class=request_class, response_class=response_class, trace_configs=traces
        ) as client:
            for data in (None, b"x" * 100_000):
                for _ in range(2):
                    async with client.request(
                        "GET" if data is None else "POST", server.url("/a"), data=data
                    ) as response:
                        assert await response.read() == (data or b"")
                        assert type(response) is response_class
                        assert getattr(response, "seen", response.status) == response.status
                        assert response.timings.first_byte > 0
            assert client.connector is not None
            assert client.connector.stats().opened == 1
    moved = request_class is Rewritten
    assert {asked.target for asked in server.asked} == {"/elsewhere" if moved else "/a"}
    signs = [asked.headers.get("X-Signed") for asked in server.asked]
    assert signs == (["GET 127.0.0.1"] * 2 + ["POST 127.0.0.1"] * 2) * 2 if moved else [None] * 8
    assert len(heard) == 4
    if moved:
        assert heard[0] == ("/elsewhere", "GET 127.0.0.1")


async def test_send_returns_before_the_answer_is_there(peer, session) -> None:
    written = asyncio.Event()

    class Watched(ClientRequest):
        async def send(self, conn: Any) -> ClientResponse:
            response = await super().send(conn)
            written.set()
            return response

    async def answer(_asked: Any) -> Any:
        await written.wait()
        return reply(200, b"late")

    server = await peer(answer)
    async with session(request_class=Watched) as client, client.get(server.url()) as response:
        assert await response.text() == "late"


async def test_a_request_that_refuses_to_go_gives_its_connection_back(peer, session) -> None:
    class Refusing(ClientRequest):
        async def send(self, conn: Any) -> ClientResponse:
            if self.url.path == "/no":
                raise PermissionError("no")
            return await super().send(conn)

    server = await peer(lambda _: reply())
    async with session(request_class=Refusing) as client:
        for _ in range(3):
            with pytest.raises(PermissionError):
                await client.get(server.url("/no"))
        async with client.get(server.url("/yes")) as response:
            assert response.status == 200
        assert client.connector is not None
        assert client.connector.stats().opened == 1
    assert len(server.asked) == 1


async def test_a_request_that_answers_by_itself_sends_nothing(peer, session) -> None:
    class Canned(ClientRequest):
        async def send(self, conn: Any) -> ClientResponse:
            return ClientResponse.from_parts(self, 200, "OK", ((b"A", b"b"),), b"canned")

    server = await peer(lambda _: reply())
    async with session(request_class=Canned) as client:
        for _ in range(2):
            async with client.get(server.url()) as response:
                assert await response.text() == "canned"
        assert client.connector is not None
        assert client.connector.stats().opened == 1
    assert server.asked == []


async def test_a_response_that_does_not_start_costs_its_connection_alone(peer, session) -> None:
    class Fussy(ClientResponse):
        async def start(self, connection: Any) -> ClientResponse:
            await super().start(connection)
            if self.status != 200:
                raise LookupError(self.status)
            return self

    server = await peer(lambda asked: reply(200 if asked.target == "/" else 500, b"x" * 100_000))
    async with session(response_class=Fussy) as client:
        with pytest.raises(LookupError):
            await client.get(server.url("/bad"))
        async with client.get(server.url()) as response:
            assert len(await response.read()) == 100_000
        assert client.connector is not None
        assert client.connector.stats().busy == 0


@pytest.mark.parametrize("request_class", [ClientRequest, Rewritten])
async def test_errors_and_limits_are_the_usual_ones(peer, session, request_class: Any) -> None:
    async def answer(asked: Any) -> Any:
        if asked.method == "POST":
            return reply(0)
        await asyncio.Event().wait()
        return reply()

    server = await peer(answer)
    async with session(request_class=request_class, response_class=Gated) as client:
        with pytest.raises(ServerDisconnectedError):
            await client.post(server.url())
        with pytest.raises(TimeoutError):
            await client.get(server.url(), timeout=ClientTimeout(total=0.05))
        with pytest.raises(ValueError, match="Content-Length"):
            await client.post(server.url(), data=b"ab", headers={"Content-Length": "7"})
        assert client.connector is not None
        assert client.connector.stats().busy == 0


def test_overriding_what_is_never_called_is_told() -> None:
    with pytest.warns(RuntimeWarning, match=r"Deaf\.update_cookies will not be called"):

        class Deaf(ClientRequest):
            def update_cookies(self, auth: Any) -> None:
                """OAuth signs here."""

    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Heard(Deaf):
            async def update_body(self, body: Any) -> None:
                """This one is called."""


async def test_without_a_session_nothing_is_sent() -> None:
    from yarl import URL

    with pytest.raises(RuntimeError, match="by its session"):
        await ClientRequest("GET", URL("http://127.0.0.1/")).send(None)


async def write_twice(self: Any, writer: Any, _conn: Any, _length: int | None = None) -> None:
    """As programs that count or change what is uploaded."""
    await writer.write(b"abc")
    await writer.write(b"def")
    await writer.write_eof()


@pytest.mark.parametrize("where", ["middleware", "session middleware", "connector", "class"])
async def test_a_method_that_is_put_on_one_request_is_heard(peer, session, where: str) -> None:
    server = await peer(lambda asked: reply(200, asked.body))

    def put(request: Any) -> None:
        request.write_bytes = MethodType(write_twice, request)

    async def middleware(request: ClientRequest, handler: Any) -> ClientResponse:
        put(request)
        return await handler(request)

    class Request(ClientRequest):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            put(self)

    given: dict[str, Any] = {}
    if where == "class":
        given["request_class"] = Request
    elif where == "session middleware":
        given["middlewares"] = [middleware]
    asked = {"middlewares": [middleware]} if where == "middleware" else {}
    async with session(**given) as client:
        if where == "connector":
            connect = client.connector.connect

            async def putting(request: Any, *args: Any) -> Any:
                put(request)
                return await connect(request, *args)

            client.connector.connect = putting
        for body in (b"123456", "123456", pieces()):
            async with client.post(server.url("/"), data=body, **asked) as response:
                assert await response.read() == b"abcdef"


async def pieces() -> Any:
    yield b"123"
    yield b"456"


async def test_another_body_for_one_request_goes_by_the_method_put_on_it(peer, session) -> None:
    server = await peer(lambda asked: reply(200, asked.body))

    async def middleware(request: Any, handler: Any) -> ClientResponse:
        plain = request.update_body_from_data
        request.update_body_from_data = lambda body: plain(body + b", signed")
        await request.update_body(b"other")
        del request.update_body_from_data
        with pytest.raises(AttributeError):
            del request.update_body_from_data
        assert request.update_body_from_data == plain
        return await handler(request)

    async with (
        session(middlewares=[middleware]) as client,
        client.post(server.url("/"), data=b"mine") as response,
    ):
        assert await response.read() == b"other, signed"


async def test_where_one_request_is_sent_is_its_own_is_ssl_to_say(peer, session) -> None:
    server = await peer(lambda asked: reply(200, asked.target.encode()))

    async def middleware(request: Any, handler: Any) -> ClientResponse:
        request.is_ssl = lambda: False
        return await handler(request)

    url = server.url("/").replace("http:", "https:")
    async with session(middlewares=[middleware]) as client, client.get(url) as response:
        assert response.status == 200


@pytest.mark.parametrize("name", ["is_ssl", "update_headers", "write_bytes"])
def test_a_method_that_is_put_back_as_it_was_seen_is_forgotten(name: str) -> None:
    plain, stored = getattr(ClientRequest, name), ClientRequest.__dict__[name]
    before = dict(CHANGES.replaced)  # what other tests of this process have left
    setattr(ClientRequest, name, lambda *_: None)
    assert any(key == (ClientRequest, name) for key in CHANGES.replaced)
    setattr(ClientRequest, name, plain)
    assert CHANGES.replaced == before
    assert ClientRequest.__dict__[name] is stored
    assert not ClientRequest._built_by_class
    assert not ClientRequest._routed_by_class
    assert not ClientRequest._written_by_class
