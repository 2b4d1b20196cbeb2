"""`ConnectRequest`: what one request tells the pool and the dialler about the connection that it
needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from wherry.connect.route import ProxyHop, Route
from wherry.errors import ClientConnectionError, ServerDisconnectedError, printable
from wherry.protocol.connection import Connection


class ConnectTimings:
    """Seconds that the steps of getting a connection took; None for a step that was not needed."""

    __slots__ = ("connect", "dns", "queued", "quic", "tls")

    def __init__(self) -> None:
        self.queued: float | None = None
        self.dns: float | None = None
        self.connect: float | None = None
        self.quic: float | None = None
        self.tls: float | None = None


class ConnectObserver(Protocol):
    """Who is notified of the steps: the request's traces."""

    def connection_queued_start(self) -> Awaitable[object]:
        """The limits leave no place: the request waits in the queue."""

    def connection_create_start(self) -> Awaitable[object]: ...

    def connection_create_end(self) -> Awaitable[object]: ...

    def dns_resolve_start(self, host: str) -> Awaitable[object]: ...

    def dns_resolve_end(self, host: str) -> Awaitable[object]: ...

    def dns_cache_hit(self, host: str) -> Awaitable[object]: ...

    def dns_cache_miss(self, host: str) -> Awaitable[object]: ...

    def quic_handshake_start(self, host: str, port: int, known_by: str) -> Awaitable[object]:
        """HTTP/3 is tried at a host and UDP port; `known_by` is why."""

    def quic_handshake_end(
        self, host: str, port: int, exception: BaseException | None
    ) -> Awaitable[object]:
        """It is there, or `exception` says why the request does not go by it."""


class Start(Protocol):
    """Starts an exchange on a connection that is free now; `waiter` is done when the response's
    head is there.
    """

    def __call__(self, connection: Connection, waiter: asyncio.Future[Any]) -> None: ...


class ProxyAnswer(Protocol):
    """Says who asks, to a proxy that wants to know more than Basic tells."""

    def __call__(self, hop: ProxyHop, target: str, challenges: Sequence[str]) -> str | None:
        """A Proxy-Authorization field for a CONNECT to `target`; None where there is nothing to
        say.

        Args:
            hop: The proxy.
            target: What CONNECT names.
            challenges: Its Proxy-Authenticate fields; none before it was asked anything.
        """


class ConnectRequest:
    """One request's need of a connection.

    Args:
        route: The way to go.
        sock_connect: Seconds that dialling one address chain may take, None for no limit.
        observer: Told of the steps, None when nobody listens.
        request: Who asks: nothing to us, shown to custom connectors.
        start: What begins the exchange on the connection that the request gets, before its task
            runs; None where more than that is to be done first.
        answer: Answers the challenges of proxies, None where nobody does.
    """

    __slots__ = (
        "_until",
        "answer",
        "observer",
        "request",
        "route",
        "sock_connect",
        "start",
        "timings",
    )

    def __init__(
        self,
        route: Route,
        sock_connect: float | None = None,
        observer: ConnectObserver | None = None,
        request: Any = None,
        start: Start | None = None,
        answer: ProxyAnswer | None = None,
    ) -> None:
        self.answer: ProxyAnswer | None = answer
        self.start: Start | None = start
        self.request: Any = request
        self.route: Route = route
        self.sock_connect: float | None = sock_connect
        self._until: float | None = None
        self.observer: ConnectObserver | None = observer
        self.timings: ConnectTimings = ConnectTimings()

    def begin_dial(self) -> None:
        """A new dial begins: names, sockets, proxies and TLS have `sock_connect` seconds for all
        that.
        """
        seconds = self.sock_connect
        now = asyncio.get_running_loop().time()
        self._until = None if seconds is None else now + seconds

    def time_limit(self) -> asyncio.Timeout:
        """What is left of these seconds, as a context manager."""
        if self._until is None:
            self.begin_dial()
        return asyncio.timeout_at(self._until)

    @property
    def time_is_up(self) -> bool:
        """Whether these seconds have passed."""
        return self._until is not None and asyncio.get_running_loop().time() >= self._until


def dial_error(connect_request: ConnectRequest, cause: BaseException) -> Exception | None:
    """What a request meets whose dial failed; None for what ends the program.

    A dial may be cancelled although its request waits on: a resolver or a listener has waited for
    what was cancelled.
    """
    if not isinstance(cause, asyncio.CancelledError):
        return cause if isinstance(cause, Exception) else None
    error = ClientConnectionError(f"Cannot connect to {connect_request.route.origin}: {cause!r}")
    error.__cause__ = cause
    return error


def ended_at_once(connect_request: ConnectRequest) -> ServerDisconnectedError:
    """What a request meets whose new connection was over before it could begin."""
    said = (
        f"Server disconnected: {connect_request.route.origin} takes no request on a new connection"
    )
    error = ServerDisconnectedError(printable(said))
    error.resend_safe = True
    return error
