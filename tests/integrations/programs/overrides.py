"""What programs override that aiohttp does not document, and find there: look-ups, connections,
requests, answers.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
from aiohttp import web
from server import serving


class Guard(aiohttp.TCPConnector):
    """Against URLs that lead inside: each request and each address is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        self.asked.append(req.url.path)
        return await super().connect(req, traces, timeout)

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> Any:
        results = await super()._resolve_host(host, port, traces=traces)
        if any(result["host"] == "127.0.0.2" for result in results):
            raise aiohttp.ClientError(f"{host} is inside")
        return results


class Direct(aiohttp.TCPConnector):
    made = 0

    async def _create_direct_connection(self, *args: Any, **options: Any) -> Any:
        Direct.made += 1
        return await super()._create_direct_connection(*args, **options)


class Request(aiohttp.ClientRequest):
    async def send(self, conn: Any) -> Any:
        if self.url.path == "/a":
            self.url = self.url.with_path("/rewritten")
        return await super().send(conn)


class Response(aiohttp.ClientResponse):
    async def start(self, connection: Any) -> Any:
        peer = connection.transport.get_extra_info("peername")[0]
        response = await super().start(connection)
        self.noted = f"{self.status} {peer}"
        return response


async def page(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.path} {request.host.split(':')[0]}")


async def echo(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse(protocols=["v4.channel"])
    await answer.prepare(request)
    async for message in answer:
        await answer.send_str(message.data)
    return answer


async def patched(base: str) -> str:
    """As programs send a name elsewhere, for all sessions."""
    usual = aiohttp.TCPConnector._resolve_host

    async def resolve(self: Any, host: str, port: int, traces: Any = None) -> Any:
        if host != "boat.test":
            return await usual(self, host, port, traces)
        found = {
            "hostname": host,
            "host": "127.0.0.1",
            "port": port,
            "family": socket.AF_INET,
            "proto": 0,
            "flags": 0,
        }
        return [found]

    aiohttp.TCPConnector._resolve_host = resolve
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(base.replace("127.0.0.1", "boat.test")) as response,
        ):
            return await response.text()
    finally:
        aiohttp.TCPConnector._resolve_host = usual


async def main() -> None:
    async with serving(web.get("/ws", echo), web.get("/{path:.*}", page)) as base:
        guard = Guard()
        async with aiohttp.ClientSession(connector=guard) as session:
            for path in ("/1", "/2"):
                async with session.get(base + path) as response:
                    await response.read()
            try:
                await session.get(base.replace("127.0.0.1", "127.0.0.2"))
            except aiohttp.ClientError as error:
                print(error, guard.asked)
        async with aiohttp.ClientSession(
            connector=Direct(), request_class=Request, response_class=Response
        ) as session:
            async with session.get(base + "/a") as response:
                print(await response.text(), response.noted, Direct.made)
            # As ccxt looks for messages to take, and kubernetes_asyncio names its channels.
            ws = await session._ws_connect(
                base + "/ws", headers={"sec-websocket-protocol": "v4.channel"}
            )
            print(
                ws._conn.protocol._payload is None or ws._conn.protocol._payload._buffer, ws.closed
            )
            await ws.close()
        print(await patched(base))
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), cookies={"a": "b"}
        )
        async with session.get(base) as response:
            await response.read()
        session.cookie_jar._cookies.clear()
        connector = session.connector
        print(
            connector._limit,
            len(connector._acquired),
            len(connector._conns),
            dict(session.cookie_jar._cookies),
        )
        # As fsspec closes what it cannot await any more.
        connector._close()
        print(session.closed)
        await asyncio.sleep(0)


asyncio.run(main())
