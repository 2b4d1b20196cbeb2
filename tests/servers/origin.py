"""An origin for tests of the way to it: it tells what arrived, in the clear and over TLS, by HTTP
and WebSocket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from asyncio.trsock import TransportSocket
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web
from tests.servers.application import serving


class Origin:
    """An origin that runs in the test's own loop.

    Args:
        plain_port: Its port without TLS.
        tls_port: Its port with TLS.
    """

    def __init__(self) -> None:
        self.plain_port = 0
        self.tls_port = 0
        self.requests: list[dict[str, str]] = []
        self._transports: set[asyncio.BaseTransport] = set()
        self._sockets: set[TransportSocket] = set()

    def url(self, scheme: str, path: str = "/", host: str = "127.0.0.1") -> str:
        port = self.tls_port if scheme in {"https", "wss"} else self.plain_port
        return f"{scheme}://{host}:{port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.note(request.transport)
        self.requests.append({name.lower(): value for name, value in request.headers.items()})
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self.echo(request)
        body = await request.read()
        return web.json_response(
            {
                "path": str(request.rel_url),
                "method": request.method,
                "body": body.decode(),
                "secure": request.secure,
            }
        )

    def note(self, transport: asyncio.BaseTransport | None) -> None:
        """Remember a connection, while it can be asked for its socket."""
        if transport is not None:
            self._transports.add(transport)
            sock = transport.get_extra_info("socket")
            if isinstance(sock, TransportSocket):  # uvloop's does not tell when it is closed
                self._sockets.add(sock)

    async def cut(self) -> None:
        """End every connection: aiohttp does not wait for the end of TLS, which comes late through
        proxies.
        """
        for transport in self._transports:
            # Python 3.11.2's TLS transport cannot be aborted once it is closed.
            with contextlib.suppress(AttributeError):
                transport.abort()  # type: ignore[attr-defined]
        for sock in self._sockets:
            # A TLS transport that was closed twice does not heed abort().
            if sock.fileno() >= 0:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(20):
            while any(sock.fileno() >= 0 for sock in self._sockets):
                await asyncio.sleep(0)  # the turns of the loop that closing takes
        for _ in range(5):
            await asyncio.sleep(0)

    async def echo(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                await websocket.send_str(f"echo {message.data}")
            elif message.type is WSMsgType.BINARY:
                await websocket.send_bytes(message.data)
        return websocket


@contextlib.asynccontextmanager
async def running_origin(context: ssl.SSLContext) -> AsyncIterator[Origin]:
    """An `Origin` while the block runs."""
    origin = Origin()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", origin.answer)
    try:
        async with serving(app, context, shutdown_timeout=0.1, access_log=None) as ports:
            origin.plain_port, origin.tls_port = ports
            yield origin
    finally:
        await origin.cut()
