"""`LocalServer`: hypercorn in a thread and an event loop of its own, on a free port of loopback.

It knows hypercorn and trustme, and nothing of the client that talks to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wherry.testing import app as application
from wherry.testing.asgi_framework import Receive, Scope, Send

try:
    import hypercorn.asyncio
    import trustme
    from hypercorn.config import Config
except ImportError as _exc:  # pragma: no cover
    raise ImportError(
        "wherry.testing needs hypercorn and trustme: pip install 'wherry[testing]'"
    ) from _exc

__all__ = ("LocalServer",)

ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0


class LocalServer:
    """A server on loopback: HTTP/1.1, HTTP/2 (over TLS by ALPN, in the clear by prior knowledge)
    and WebSocket.

    Args:
        app: An ASGI application; the httpbin-like one of `wherry.testing.app` by default.
        tls: Whether it speaks TLS, with a certificate for localhost and 127.0.0.1 of an authority
            of its own.
        http2: Whether HTTP/2 is offered.

    Attributes:
        port: Its port, once it runs.
        requests: How many requests it has got.
        clients: The addresses (host, port) that requests came from: as many as connections.

    Example:
        >>> with LocalServer() as server:
        ...     print(server.url("/get"))  # doctest: +ELLIPSIS
        http://127.0.0.1:.../get
    """

    def __init__(
        self, app: ASGIApplication | None = None, *, tls: bool = False, http2: bool = True
    ) -> None:
        self._app: ASGIApplication = app if app is not None else application.app
        self._tls = tls
        self._http2 = http2
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._authority: trustme.CA | None = None
        self.port: int = 0
        self.requests: int = 0
        self.clients: set[tuple[str, int]] = set()

    def url(self, path: str = "/", *, scheme: str | None = None) -> str:
        """A URL of the server with this `path`; `scheme` may be given (ws, wss)."""
        return f"{scheme or ('https' if self._tls else 'http')}://127.0.0.1:{self.port}{path}"

    @property
    def client_context(self) -> ssl.SSLContext:
        """A context that trusts the server's certificate.

        Raises:
            RuntimeError: It does not speak TLS, or was never started.
        """
        if self._authority is None:
            raise RuntimeError("the server was not started with tls=True")
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    @property
    def authority_pem(self) -> bytes:
        """The certificate of its authority, as clients read it from a file."""
        if self._authority is None:
            raise RuntimeError("the server was not started with tls=True")
        return self._authority.cert_pem.bytes()

    def start(self) -> Self:
        """Start it; returns once it takes connections.

        Raises:
            RuntimeError: It runs already, or could not be started.
        """
        if self._thread is not None:
            raise RuntimeError("the server runs already")
        self._up.clear()
        self._failure = None
        if self._tls and self._authority is None:
            self._authority = trustme.CA()
        self._thread = threading.Thread(target=self._run, name="wherry-local-server", daemon=True)
        self._thread.start()
        if not self._up.wait(_START_SECONDS) or self._failure is not None:
            self.stop()
            raise RuntimeError("the local server could not be started") from self._failure
        return self

    def stop(self) -> None:
        """Stop it; returns when its thread has ended."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None and self._end is not None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed already
                self._loop.call_soon_threadsafe(self._end.set)
        thread.join(_STOP_SECONDS * 2)

    # --- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with contextlib.closing(asyncio.new_event_loop()) as loop:
                # A client that goes away in a handshake is its own business.
                loop.set_exception_handler(lambda _loop, _context: None)
                self._loop = loop
                loop.run_until_complete(self._serve())
        except BaseException as exc:  # it is raised where `start` was called
            self._failure = exc
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        with (
            socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
            tempfile.TemporaryDirectory() as place,
        ):
            self.port = listener.getsockname()[1]
            config = self._configuration(Path(place))
            # Hypercorn closes what it serves on: it gets a socket of its own.  By the socket, since
            # os.dup takes no sockets on Windows.
            config.bind = [f"fd://{listener.dup().detach()}"]
            serving = asyncio.ensure_future(
                hypercorn.asyncio.serve(self._counting, config, shutdown_trigger=self._end.wait)
            )
            await asyncio.wait([serving], timeout=0)
            self._up.set()
            ending = asyncio.ensure_future(self._end.wait())
            await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            # From Python 3.12 on a server waits for its connections, also for those that clients
            # keep idle.
            await asyncio.wait([serving], timeout=config.graceful_timeout)
            await _cancel_the_rest()
            if not serving.cancelled():
                serving.result()

    def _configuration(self, place: Path) -> Config:
        config = Config()
        config.accesslog = None
        config.errorlog = None
        config.graceful_timeout = 0.05
        config.shutdown_timeout = 0.05
        config.keep_alive_timeout = 60
        config.include_server_header = False
        config.websocket_max_message_size = 16 * 1024 * 1024
        config.alpn_protocols = ["h2", "http/1.1"] if self._http2 else ["http/1.1"]
        if self._authority is not None:
            certificate = self._authority.issue_cert("localhost", "127.0.0.1", "::1")
            chain = place / "server.pem"
            certificate.private_key_and_cert_chain_pem.write_to_path(chain)
            config.certfile = config.keyfile = str(chain)
        return config

    async def _counting(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self.requests += 1
            if scope.get("client"):
                self.clients.add(tuple(scope["client"]))
        await self._app(scope, receive, send)

    # --- as a context -----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)


async def _cancel_the_rest() -> None:
    """End every task but this one, as `asyncio.run` does."""
    tasks: set[asyncio.Task[Any]] = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_SECONDS)
