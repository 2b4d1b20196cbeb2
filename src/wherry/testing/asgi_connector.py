"""`ASGIConnector`: a session's requests go to an ASGI 3 application in the same event loop, without
a socket.

It speaks ASGI's http, websocket and lifespan scopes; what an exchange is, `inprocess` knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from wherry import BaseConnector
from wherry.connect.connect_request import ConnectRequest
from wherry.protocol.connection import Connection
from wherry.testing.asgi_framework import Receive, Scope, Send
from wherry.testing.inprocess import InProcessConnection, InProcessExchange, reason_of
from wherry.testing.inprocess_websocket import InProcessSocket

__all__ = ("ASGIConnector",)

_STOP_SECONDS = 2.0


class ASGIConnector(BaseConnector):
    """Serves every request, whatever its host, by calling an ASGI application.

    The application starts (lifespan) with the first request and stops when the connector is
    closed.  An exception of the application is raised where the request was made.

    Args:
        app: The ASGI 3 application.
        root_path: Where the application is mounted.
        client: The address that it sees requests come from.

    Example:
        ``async with ClientSession("http://app/", connector=ASGIConnector(app)) as session: ...``
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        *,
        root_path: str = "",
        client: tuple[str, int] = ("127.0.0.1", 123),
    ) -> None:
        self._app = app
        self._root_path = root_path
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()
        self._lifespan = _Lifespan(app)
        super().__init__(limit=0)

    def _dialler(self) -> Callable[[ConnectRequest], Awaitable[Connection]]:
        return self._reach

    async def _reach(self, connect_request: ConnectRequest) -> Connection:
        await self._lifespan.start()
        return InProcessConnection(connect_request, self._call, self._tasks, outlives=True)

    async def _finish_close(self) -> None:
        await super()._finish_close()
        tasks = set(self._tasks)
        if tasks:
            # Each was told of the disconnect; what does not listen is cancelled.
            _, pending = await asyncio.wait(tasks, timeout=self._close_timeout)
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending, timeout=_STOP_SECONDS)
        await self._lifespan.stop()

    async def _call(self, exchange: InProcessExchange) -> None:
        if exchange.request.upgrade is not None:
            socket = InProcessSocket(exchange)
            scope = self._scope(exchange)
            del scope["method"], scope["extensions"]
            offered = exchange.fields.get("Sec-WebSocket-Protocol", "")
            scope.update(
                type="websocket",
                scheme="wss" if scope["scheme"] == "https" else "ws",
                subprotocols=[name.strip() for name in offered.split(",") if name.strip()],
            )
            try:
                await self._app(scope, socket.receive, socket.send)
            finally:
                if exchange.head is not None:
                    socket.close()
            return
        answer = _Answer(exchange)
        await self._app(self._scope(exchange), answer.receive, answer.send)

    def _scope(self, exchange: InProcessExchange) -> dict[str, Any]:
        url = exchange.url
        raw_path = url.raw_path or "/"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": exchange.request.method,
            "scheme": url.scheme,
            "path": self._root_path + unquote(raw_path),
            "raw_path": (self._root_path + raw_path).encode("ascii"),
            "query_string": url.raw_query_string.encode("ascii"),
            "root_path": self._root_path,
            "headers": [
                (name.lower().encode("latin-1"), value.encode("utf-8", "surrogateescape"))
                for name, value in exchange.fields.items()
            ],
            "client": self._client,
            "server": (url.raw_host, url.port),
            "state": self._lifespan.state.copy(),
            "extensions": {"http.response.trailers": {}},
        }


class _Answer:
    """What an application's `receive` and `send` do to an exchange."""

    def __init__(self, exchange: InProcessExchange) -> None:
        self._exchange = exchange
        self._body_told = False
        self._has_trailers = False
        self._trailers: list[tuple[bytes, bytes]] = []

    async def receive(self) -> dict[str, Any]:
        if not self._body_told:
            following = await self._exchange.next_part()
            if following is not None:
                part, more = following
                self._body_told = not more
                return {"type": "http.request", "body": part, "more_body": more}
        await self._exchange.disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        exchange, kind = self._exchange, message["type"]
        if kind == "http.response.start":
            if exchange.head is not None:
                raise RuntimeError("the application began its response twice")
            status = message["status"]
            reason = reason_of(status)
            self._has_trailers = message.get("trailers", False)
            fields = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            exchange.respond(status, fields, reason)
        elif kind == "http.response.body":
            if exchange.head is None and exchange.error is None:
                raise RuntimeError("the application sent a body before http.response.start")
            await exchange.write(bytes(message.get("body", b"")))
            if not message.get("more_body", False) and not self._has_trailers:
                exchange.finish()
        elif kind == "http.response.trailers":
            self._trailers += [
                (bytes(name), bytes(value)) for name, value in message.get("headers", ())
            ]
            if not message.get("more_trailers", False):
                exchange.finish(self._trailers)
        else:
            raise RuntimeError(
                f"the application sent {kind!r}, which has no place in an http scope"
            )


class _Lifespan:
    """The application's life: started once, stopped once."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._started = asyncio.Event()
        self._failure = ""
        self._known = False
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Start the application, or wait for another request to have done so.

        Raises:
            RuntimeError: It said that it could not start.
        """
        if self._task is None:
            self._to_app.put_nowait({"type": "lifespan.startup"})
            self._task = asyncio.ensure_future(self._run())
        await self._started.wait()
        if self._failure:
            raise RuntimeError(f"the application did not start: {self._failure}")

    async def stop(self) -> None:
        """Stop it, in bounded time.

        Raises:
            RuntimeError: It said that it could not stop.
        """
        task, self._task = self._task, None
        if task is None:
            return
        if self._known and not task.done():
            self._to_app.put_nowait({"type": "lifespan.shutdown"})
            await asyncio.wait([task], timeout=_STOP_SECONDS)
        task.cancel()
        await asyncio.wait([task], timeout=_STOP_SECONDS)
        if self._failure:
            raise RuntimeError(f"the application did not stop: {self._failure}")

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._to_app.get, self._send)
        except Exception as exc:
            # ASGI: an application that raises before it has started does not know of lifespans, and
            # goes without.
            if self._known:
                self._failure = repr(exc)
        finally:
            self._started.set()

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            self._known = True
            self._started.set()
        if kind.endswith(".failed"):
            self._failure = message.get("message", "") or "no reason was given"
