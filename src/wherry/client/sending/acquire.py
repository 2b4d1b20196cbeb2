"""A connection for a request, from the pool's queue or by a dial, and the start of its exchange.

The pool decides who waits for what.  Here a request says what it needs, and that its exchange may
start when there is a connection, before its task runs: that then wakes once, with the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from wherry.body.stream.reader import StreamReader
from wherry.client.request import ClientRequest
from wherry.client.request_info import RequestInfo
from wherry.client.sending.retry_rules import failed
from wherry.client.timeouts import ClientTimeout
from wherry.client.tracing.emit import emit_connection
from wherry.connect.connect_request import ConnectRequest
from wherry.errors import ClientError, ClientHttpProxyError, ConnectionTimeoutError
from wherry.protocol.connection import Connection, Exchange
from wherry.protocol.heads import RequestHead
from wherry.redaction import shown_url

if TYPE_CHECKING:
    from wherry.connect.route import Route


class ExchangeStarter:
    """Starts a request's exchange where the pool has a connection for it, before its task runs
    again.

    Args:
        head: What is sent, body and all; None where that is not known yet.
        limit: How much of the response's body is kept unread, in bytes.
    """

    __slots__ = ("_head", "_limit", "content", "exchange", "moment")

    content: StreamReader

    def __init__(self, head: RequestHead | None, limit: int) -> None:
        self._head = head
        self._limit = limit
        self.exchange: Exchange | None = None
        self.moment = 0.0

    def suits(self, timeout: ClientTimeout, traces: Any) -> bool:
        """Whether nothing has to be done between the connection and the answer."""
        head = self._head
        return not (
            head is None
            or head.streamed
            or traces is not None
            or timeout.connect
            or timeout.sock_read
        )

    def __call__(self, connection: Connection, waiter: asyncio.Future[Any]) -> None:
        assert self._head is not None
        self.moment = monotonic()
        self.content = StreamReader(self._limit)
        self.exchange = exchange = connection.start(self._head, self.content)
        exchange.tell(waiter)


async def acquire(
    request: ClientRequest,
    connector: Any,
    route: Route | None,
    timeout: ClientTimeout,
    traces: Any,
    early: ExchangeStarter,
) -> tuple[Connection, Any]:
    """A connection for `request`, and how long the steps took.

    Args:
        request: Who asks.
        connector: Whose connection it will be.
        route: The way to go; None where the connector is asked by its own `connect`.
        timeout: Of which `connect` and `sock_connect` count.
        traces: Who listens, None for nobody.
        early: Starts the exchange where that can be done at once; if it did, the response's head is
            there.

    Raises:
        ClientError: There is none, or what `early` started failed.
        ConnectionTimeoutError: `timeout.connect` passed.
    """
    observer = None if traces is None else traces.connect_observer()
    start = early if early.suits(timeout, traces) else None
    connect_request = ConnectRequest(
        cast("Route", route),
        timeout.sock_connect or None,
        observer,
        request,
        start,
        request._proxy_answer,
    )
    try:
        taking = (
            _held(connector.connect(request, [], timeout))
            if route is None
            else connector.pool.acquire(connect_request)
        )
        if timeout.connect:
            async with asyncio.timeout(timeout.connect):
                connection = await taking
        else:
            connection = await taking
    except ClientHttpProxyError as exc:
        exc.request_info = RequestInfo(*exc.request_info)._replace(url=request.url)
        raise
    except TimeoutError as exc:
        if isinstance(exc, ClientError):
            raise
        raise _late(request, timeout, exc) from exc
    except BaseException as exc:
        if early.exchange is None:
            raise
        failure = failed(request, early.exchange, None, exc)
        if failure is exc:
            raise
        raise failure from exc
    pool: Any = connection.owner if route is None else connector.pool
    if traces is not None and not await emit_connection(
        connection, pool, traces, reused=connection.exchanges > 0
    ):
        return await acquire(request, connector, route, timeout, traces, early)
    # Another request's dial may have come first: its steps were not this one's.
    if connection.timings is not connect_request.timings:
        connect_request.timings.dns = connect_request.timings.connect = (
            connect_request.timings.tls
        ) = None
    return connection, connect_request.timings


def _late(request: ClientRequest, timeout: ClientTimeout, exc: TimeoutError) -> Exception:
    """What a request meets whose connection was not there in time: by `timeout.connect`, or by a
    limit that a resolver or a connector of the program's own has.
    """
    said = f"no connection within {timeout.connect:g} seconds" if timeout.connect else str(exc)
    return ConnectionTimeoutError(
        f"Connection timeout to host {shown_url(request.url)}: {said or 'it took too long'}"
    )


async def _held(connecting: Awaitable[Any]) -> Connection:
    """The connection that a connector's own `connect` gives, in its hands since then."""
    connection = (await connecting).protocol
    if not isinstance(connection, Connection):
        raise TypeError(f"connect() gives what super().connect() gave, not {connection!r}")
    return connection
