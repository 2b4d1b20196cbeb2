"""When listeners are notified of a request's steps, and what must hold while they listen.

What a request passes on its way calls these, and only for requests that somebody listens to.  What
the steps are called, and who is notified, `signals` knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from wherry.client.tracing.signals import Traces
from wherry.connect.pool.exchange_reservation import Reservation
from wherry.protocol.connection import Connection, Exchange
from wherry.protocol.heads import RequestHead

if TYPE_CHECKING:
    from wherry.client.request import ClientRequest
    from wherry.client.sending.redirect_rules import Leg


async def emit_start(leg: Leg, headers: CIMultiDict[str], traces: Traces) -> None:
    """The request begins; what listeners add to `headers` is sent."""
    traces.follow(leg.method, leg.url, headers)
    await traces.request_start()


async def emit_connection(
    connection: Connection, pool: Any, traces: Traces, *, reused: bool = True
) -> bool:
    """Notify listeners of a connection that was taken, while its place is kept.

    Args:
        connection: The connection.
        pool: Where it was taken from.
        traces: Who listens.
        reused: Whether it has carried another exchange before.

    Returns:
        Whether an exchange can still be started on it.
    """
    if not traces.queued and not (reused and "on_connection_reuseconn" in traces.subscribed):
        return True
    with Reservation(connection, pool) as place:
        await traces.connection_acquired(reused=reused)
        place.use()
    if not connection.is_usable():
        connection.retire()
        return False
    return connection.capacity > 0


async def emit_sent(
    request: ClientRequest,
    head: RequestHead,
    connection: Connection,
    exchange: Exchange,
    traces: Traces,
) -> None:
    """The head is on its way, and with it a body that was at hand."""
    subscribed = traces.subscribed
    if "on_stream_start" in subscribed:
        stream_id = getattr(exchange, "stream_id", None)
        if stream_id:
            await traces.stream_start(stream_id, connection.version)
    if "on_request_headers_sent" in subscribed:
        await traces.request_headers(request.method, request.url, request.headers)
    if head.body is not None:
        await traces.request_chunk_sent(request.method, request.url, head.body)
