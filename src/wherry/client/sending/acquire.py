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
from wherry.client.hooks import AcquiredConnection
from wherry.client.request import ClientRequest, PreparedRequest, extensions_of
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

    def __init__(self, head: RequestHead | None, limit: int) -> None:
        self._head = head
        self._limit = limit
        self.exchange: Exchange | None = None
        self.content: StreamReader | None = None
        self.moment: float = 0.0

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
        self.content = content = StreamReader(self._limit)
        self.exchange = exchange = connection.start(self._head, content)
        exchange.tell(waiter)


async def acquire(
    prepared: PreparedRequest,
    connector: Any,
    route: Route | None,
    free: Connection | None,
    head: RequestHead | None,
    timeout: ClientTimeout,
    limit: int,
) -> AcquiredConnection:
    """A connection for a request that finds none free, or whose listeners are to be notified.

    Args:
        prepared: Who asks.
        connector: Whose connection it will be.
        route: The way to go; None where the connector is asked by its own `connect`.
        free: A connection that was taken already.
        head: What is sent, None where that is not known yet.
        timeout: Of which `connect` and `sock_connect` count.
        limit: How much of the response's body is kept unread, in bytes.

    Returns:
        The connection; with an exchange where that could be started at once: the response's head
        is there then.

    Raises:
        ClientError: There is none, or an exchange that was started at once failed.
        ConnectionTimeoutError: `timeout.connect` passed.
    """
    traces, started, request = prepared.traces, monotonic(), prepared.request
    pool: Any
    if free is not None and route is not None:
        pool = connector.pool
        if await emit_connection(free, pool, traces):
            return AcquiredConnection(free, pool, route, None, None, started, started, None)
    while True:
        early = ExchangeStarter(head, limit)
        connect_request = ConnectRequest(
            cast("Route", route),
            timeout.sock_connect or None,
            None if traces is None else traces.connect_observer(),
            request,
            early if early.suits(timeout, traces) else None,
            extensions_of(request).proxy_answer,
        )
        connection = await _wait_for(request, connector, route, timeout, connect_request, early)
        pool = connection.owner if route is None else connector.pool
        if traces is None or await emit_connection(
            connection, pool, traces, reused=connection.exchanges > 0
        ):
            break
    timings = connect_request.timings
    # Another request's dial may have come first: its steps were not this one's.
    if connection.timings is not timings:
        timings.dns = timings.connect = timings.tls = None
    return AcquiredConnection(
        connection,
        pool,
        connection.route if route is None else route,
        early.exchange,
        early.content,
        started,
        early.moment or monotonic(),
        timings,
    )


async def _wait_for(
    request: ClientRequest,
    connector: Any,
    route: Route | None,
    timeout: ClientTimeout,
    connect_request: ConnectRequest,
    early: ExchangeStarter,
) -> Connection:
    """The connection that comes first, a freed one or one that is dialled, in time; see
    `acquire`.
    """
    taking = (
        _held(connector.connect(request, [], timeout))
        if route is None
        else connector.pool.acquire(connect_request)
    )
    try:
        if timeout.connect:
            async with asyncio.timeout(timeout.connect):
                connection: Connection = await taking
        else:
            connection = await taking
        return connection
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
