"""Sub-classing what the client is made of: each custom class is the one that is used."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import aiohttp
from aiohttp import web
from server import serving

warnings.filterwarnings("ignore", "Inheritance class", DeprecationWarning)


class Response(aiohttp.ClientResponse):
    async def json(self, **options: Any) -> Any:
        return {"mine": await super().json(**options)}

    def raise_for_status(self) -> None:
        if self.status == 418:
            raise Teapot(self.status)
        super().raise_for_status()


class Teapot(Exception):
    pass


class Request(aiohttp.ClientRequest):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.headers["X-Class"] = f"{type(self).__name__} {self.method}"


class Socket(aiohttp.ClientWebSocketResponse):
    async def shout(self, text: str) -> str:
        await self.send_str(text.upper())
        message = await self.receive()
        assert message.type is aiohttp.WSMsgType.TEXT
        return str(message.data)


class Session(aiohttp.ClientSession):
    def __init__(self, *args: Any, **options: Any) -> None:
        self.asked: list[str] = []
        super().__init__(
            *args,
            request_class=Request,
            response_class=Response,
            ws_response_class=Socket,
            **options,
        )

    async def _request(self, method: str, url: Any, **options: Any) -> Any:
        self.asked.append(method)
        options.setdefault("headers", {})["X-Session"] = "mine"
        return await super()._request(method, url, **options)


class Connector(aiohttp.TCPConnector):
    dialled = 0

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        self.dialled += 1
        return await super()._create_connection(*args, **options)

    async def close(self, **options: Any) -> None:
        self.was_closed = True
        await super().close(**options)


class Resolver(aiohttp.ThreadedResolver):
    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        return await super().resolve("127.0.0.1" if host == "harbour.test" else host, port, family)


class Jar(aiohttp.CookieJar):
    def filter_cookies(self, request_url: Any) -> Any:
        cookies = super().filter_cookies(request_url)
        cookies["jar"] = "mine"
        return cookies


async def page(request: web.Request) -> web.Response:
    status = int(request.query.get("status", 200))
    seen = {name: request.headers.get(name) for name in ("X-Class", "X-Session", "Cookie")}
    return web.json_response(seen, status=status)


async def socket(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in answer:
        assert message.type is aiohttp.WSMsgType.TEXT is web.WSMsgType.TEXT
        await answer.send_str(f"{message.data} {request.headers['X-Class']}")
    return answer


async def wrapped(base: str) -> str:
    """As instrumentation does it: the method of the class, replaced for all sessions."""
    usual = aiohttp.ClientSession._request
    seen = []

    async def spy(self: Any, method: str, url: Any, **options: Any) -> Any:
        seen.append(method)
        return await usual(self, method, url, **options)

    aiohttp.ClientSession._request = spy
    try:
        async with aiohttp.ClientSession(base) as session:
            for call in (
                session.get,
                session.post,
                session.put,
                session.patch,
                session.delete,
                session.options,
            ):
                async with call("/") as response:
                    assert type(response) is aiohttp.ClientResponse
            async with session.head("/"), session.request("GET", "/"):
                pass
    finally:
        aiohttp.ClientSession._request = usual
    return " ".join(seen)


async def main() -> None:
    async with serving(web.route("*", "/", page), web.get("/ws", socket)) as base:
        connector = Connector(resolver=Resolver())
        async with Session(base, connector=connector, cookie_jar=Jar(unsafe=True)) as session:
            async with session.get("/") as response:
                assert type(response) is Response
                mine = (await response.json())["mine"]
            assert mine == {"X-Class": "Request GET", "X-Session": "mine", "Cookie": "jar=mine"}, (
                mine
            )
            async with session.post("/", data={"a": "b"}) as response:
                assert (await response.json())["mine"]["X-Class"] == "Request POST"
            try:
                await session.get("/?status=418", raise_for_status=True)
            except Teapot as error:
                teapot = error.args
            async with session.ws_connect("/ws") as ws:
                assert type(ws) is Socket
                shouted = await ws.shout("ahoy")
            assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSED
            async with session.get(base.replace("127.0.0.1", "harbour.test")) as response:
                assert response.status == 200
            asked = session.asked
        assert connector.was_closed
        print(asked, teapot, shouted, connector.dialled)
        print(await wrapped(base))


asyncio.run(main())
