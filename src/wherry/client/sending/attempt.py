"""One attempt: one exchange of a request on one connection, until the response's head is here.

What is sent is decided by `ClientRequest.wire_head`; how bytes travel is the matter of the rooms
below.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from yarl import URL

from wherry.body.stream.decoders import decoder_for
from wherry.body.stream.reader import StreamReader
from wherry.client.headers.derived import derive
from wherry.client.hooks import HOOKS, AcquiredConnection
from wherry.client.options import RequestOptions
from wherry.client.request import ClientRequest
from wherry.client.response import ClientResponse
from wherry.client.sending.acquire import ExchangeStarter, acquire
from wherry.client.sending.retry_rules import failed, leave
from wherry.client.sending.upload import upload_body
from wherry.client.timeouts import ClientTimeout, TimedSink
from wherry.client.tracing.emit import emit_connection, emit_sent
from wherry.protocol.connection import Connection, Exchange
from wherry.protocol.heads import RequestHead, ResponseHead

if TYPE_CHECKING:
    from wherry.client.session import ClientSession
    from wherry.connect.route import Route


async def send(
    request: ClientRequest,
    options: RequestOptions,
    timeout: ClientTimeout,
    taken: AcquiredConnection | None = None,
) -> ClientResponse:
    """Carry one request over one connection (`taken`, where its class is sending it) until the
    response's head is here.

    Raises:
        ClientConnectorError: No connection could be made.
        ServerDisconnectedError: The connection ended without a response.
        ClientResponseError: What came is not HTTP.
    """
    session = request._session
    if session is None or (connector := session._held_connector) is None:
        raise RuntimeError("Session is closed")
    started = connected = monotonic()
    # A connector with a `connect` of its own gives the connection, and with it route and pool.
    pool: Any = None
    route: Route | None = None
    head: RequestHead | None = None
    learns = False
    if not (session._asks_connector or connector.overrides_connect):
        pool = connector.pool
        route, head = request._ready or (session._route_for(request), None)
        learns = connector.alternatives is not None
        if learns and not taken and request.url.scheme == "https":
            route = connector.preferred_route(route)
        # What a custom connector is shown it may still change.
        if head is None and not (taken or request.sends_itself or connector.shows_requests):
            head = _head_for(request, route, pool, None)
    traces, timings, early, limit = (
        request._traces,
        None,
        None,
        options.read_bufsize or session._read_bufsize,
    )
    if taken is not None:
        connection, (started, connected, timings) = taken.connection, taken.moments
    elif (
        pool
        and (free := pool.take(route))
        and (not traces or await emit_connection(free, pool, traces))
    ):
        connection = free
    else:
        early = ExchangeStarter(head, limit)
        connection, timings = await acquire(request, connector, route, timeout, traces, early)
        connected = early.moment or monotonic()
    if pool is None or route is None:
        pool, route = connection.owner, connection.route
    if head is None:
        if taken is None and request.sends_itself:
            cls = request.response_class or session._response_class
            response = cls(
                request.method, request.original_url, loop=session._loop, session=session
            )
            taken = AcquiredConnection(connection, (started, connected, timings), response)
            response = await HOOKS.requests.send(
                request, pool, taken, lambda: send(request, options, timeout, taken)
            )
            if session._starts_responses:
                await HOOKS.requests.start(response)
            return response
        head = _head_for(request, route, pool, connection)
    timed: TimedSink | None = None
    if early is not None and early.exchange is not None:
        content, exchange = early.content, early.exchange
    else:
        content = StreamReader(limit)
        timed = TimedSink(content, session._wheel, timeout.sock_read) if timeout.sock_read else None
        try:
            exchange = connection.start(head, timed or content)
        except BaseException:
            pool.put_back(connection)
            raise
    upload = (
        session._loop.create_task(upload_body(request, exchange, head)) if head.streamed else None
    )
    if timed is not None:
        timed.watch_after(upload, exchange)
    response_head = exchange.head
    try:
        if traces is not None:
            await emit_sent(request, head, connection, exchange, traces)
        if response_head is None:
            exchange.tell(waiter := session._loop.create_future())
            await waiter
            response_head = exchange.head
            assert response_head is not None
        # A custom class may fail.
        response = taken.response if taken else _new_response(request, session)
    except BaseException as exc:
        failure = failed(request, exchange, upload, exc)
        if failure is exc:
            raise
        raise failure from exc
    if learns:
        connector.learn_alternatives(response_head, connection)
    if (
        response_head.status == 421
        and exchange.reused
        and not taken
        and await leave(request, route, exchange, upload)
    ):
        return await send(request, options, timeout)
    response._begin(request, response_head, exchange, content, upload)
    response._moments = (started, connected, monotonic(), timings)
    most = options.max_body_size if options.max_body_size is not None else session._max_body_size
    if most is not None:
        content.max_size = most
    if (response_head.facts or derive(response_head)).asks:
        _apply_head(session, request.url, response, response_head, exchange, options)
    if session._starts_responses and not taken:
        await HOOKS.requests.start(response)
    return response


def _new_response(request: ClientRequest, session: ClientSession) -> ClientResponse:
    cls = request.response_class or session._response_class
    if cls is ClientResponse and "original_url" not in request.__dict__:
        # As its `__init__` does, but for the URL, which nobody has asked for yet.
        response = object.__new__(ClientResponse)
        response.method = request.method
        response._loop = session._loop
        response._session = session
        response._resolve_charset = session._resolve_charset
        return response
    return cls(request.method, request.original_url, loop=session._loop, session=session)


def _head_for(
    request: ClientRequest, route: Route, pool: Any, taken: Connection | None
) -> RequestHead:
    """What goes out for a request that was not built before; if it cannot, what was taken for it
    goes back.
    """
    try:
        head = request.wire_head(route, pool.force_close)
    except BaseException:
        if taken is not None:
            pool.put_back(taken)
        raise
    if request._upload_tracker is not None:
        request._upload_tracker.start_attempt(head.streamed)
    return head


def _apply_head(
    session: ClientSession,
    url: URL,
    response: ClientResponse,
    head: ResponseHead,
    exchange: Exchange,
    options: RequestOptions,
) -> None:
    """What the fields ask of the client: cookies go to the jar, a content coding is undone."""
    content, facts = response.content, head.facts
    assert facts is not None
    if facts.set_cookies is not None:
        try:
            session._cookie_jar.store(facts.set_cookies, url)
        except BaseException:
            response.close()  # a custom jar may fail
            raise
    if facts.content_encoding is not None:
        decompress = (
            session._auto_decompress if options.auto_decompress is None else options.auto_decompress
        )
        # A response without content has nothing to decode, whatever it says (RFC 9110 8.4, 9.3.2,
        # 15.4.5).
        if decompress and not (exchange.complete and not content.total_raw_bytes):
            content.decoder = decoder_for(facts.content_encoding)


def max_body_size(session: ClientSession, options: RequestOptions) -> int | None:
    """What holds for answers of middlewares; those that come from servers meet it in `send`."""
    return options.max_body_size if options.max_body_size is not None else session._max_body_size


class Sender:
    """The innermost handler, for middlewares: sends a request with the call's options.

    A middleware that asks again has done with the answer before, unless it has read it: an unread
    body would hold its connection, and with it the place that the next try may be waiting for.
    """

    __slots__ = ("_built", "_last", "_options", "_timeout")

    def __init__(
        self, options: RequestOptions, timeout: ClientTimeout, built: ClientRequest
    ) -> None:
        self._options = options
        self._timeout = timeout
        self._built = built  # the request as it was before the middlewares
        self._last: ClientResponse | None = None

    async def __call__(self, request: ClientRequest) -> ClientResponse:
        if request._ready is not None and not request.is_as(self._built):
            request._ready = None  # a middleware has changed it
        last = self._last
        if last is not None and not last.closed:
            last.release()
        self._last = response = await send(request, self._options, self._timeout)
        return response
