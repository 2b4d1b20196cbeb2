"""One attempt: one exchange of a request on one connection, until the response's head is here.

What is sent is decided by `ClientRequest.wire_head`; how bytes travel is the matter of the rooms
below.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from yarl import URL

from wherry.body.stream.decoders import decoder_for
from wherry.body.stream.reader import StreamReader
from wherry.client.headers.response_headers import derive
from wherry.client.hooks import HOOKS, AcquiredConnection
from wherry.client.options import RequestOptions
from wherry.client.request import ClientRequest, PreparedRequest, extensions_of, route_for
from wherry.client.response import ClientResponse, Moments, arrived, begin
from wherry.client.sending.acquire import acquire
from wherry.client.sending.retry_rules import failed, leave
from wherry.client.sending.upload import upload_body
from wherry.client.session_defaults import SessionDefaults
from wherry.client.timeouts import TimedSink
from wherry.client.tracing.emit import emit_sent
from wherry.protocol.connection import Connection, Exchange
from wherry.protocol.heads import RequestHead, ResponseHead

if TYPE_CHECKING:
    from wherry.connect.route import Route


async def send(
    prepared: PreparedRequest,
    defaults: SessionDefaults,
    options: RequestOptions,
    acquired: AcquiredConnection | None = None,
) -> ClientResponse:
    """Carry one request over one connection until the response's head is here.

    Four steps: take a connection, start the exchange, await the head, apply it.  The straight way,
    that of a request made from a template over a kept connection, is written out here and calls as
    little as it can: each further function, and each further coroutine twice, is paid for with
    every request.  What is rare has a function of its own.

    Args:
        prepared: What is sent; of its time limits those for connecting and for reading count here.
        defaults: What its session was told.
        options: What the program said of it.
        acquired: The connection of a request whose class has its own `send`: that calls back here
            for the rest (`_send_by_class`).

    Raises:
        ClientConnectorError: No connection could be made.
        ServerDisconnectedError: The connection ended without a response.
        ClientResponseError: What came is not HTTP.
    """
    connector: Any = defaults.connector
    if connector is None:
        raise RuntimeError("Session is closed")
    traces, timeout = prepared.traces, prepared.timeout
    limit = options.read_bufsize or defaults.read_bufsize
    pool: Any
    route: Any  # none at first where the connector gives its connection by itself
    exchange: Exchange | None
    content: Any
    while True:
        # Take: a free connection at once, else what comes first of a freed one and a dial.  From
        # here to the start nothing is awaited, or the place would have to be reserved.
        started = connected = monotonic()
        exchange = upload = timings = None
        as_built = not defaults.asks_connector and connector.alternatives is None
        route, head = (
            (prepared.route, prepared.head)
            if as_built and prepared.head is not None
            else await _plan(prepared, defaults, connector)
        )
        pool = None if route is None else connector.pool
        connection = None if route is None or acquired is not None else pool.take(route)
        if connection is None or traces is not None:
            way = acquired or await acquire(
                prepared, connector, route, connection, head, timeout, limit
            )
            connection, pool, route, exchange, content, started, connected, timings, _ = way
        if (
            head is None
            and (head := _late_head(prepared.request, pool, route, connection, acquired)) is None
        ):
            way = AcquiredConnection(
                connection, pool, route, None, None, started, connected, timings
            )
            return await _send_by_class(prepared, defaults, options, way)
        try:
            # Start: the head goes out, and with it a body that is at hand.
            if exchange is None:
                content, read = StreamReader(limit), timeout.sock_read
                sink = TimedSink(content, defaults.wheel, read) if read else content
                exchange = connection.start(head, sink)
                if head.streamed or read:
                    upload = _accompany(prepared, defaults, exchange, head, sink)
            # Await the head; it is here already where the exchange was started early.
            if traces is not None:
                await emit_sent(prepared.request, head, connection, exchange, traces)
            if exchange.head is None:
                exchange.tell(waiter := defaults.loop.create_future())
                await waiter
        except BaseException as exc:
            _give_up(prepared, pool, connection, exchange, upload, exc)
            raise
        answer = exchange.head
        assert answer is not None
        if (not as_built or answer.status == 421) and await _goes_elsewhere(
            prepared.request, defaults, connector, route, exchange, upload, again=acquired is None
        ):
            continue
        break
    moments = started, connected, monotonic(), timings
    response = _apply(prepared, defaults, options, exchange, content, upload, acquired, moments)
    if defaults.starts_responses:
        await HOOKS.requests.start(response)
    return response


async def _plan(
    prepared: PreparedRequest, defaults: SessionDefaults, connector: Any
) -> tuple[Route | None, RequestHead | None]:
    """The route of a request and its head, as far as they are known before there is a connection.

    There is no route where the connector is asked by a `connect` of its own, which gives the
    connection and with it route and pool.  There is no head where a program's own code may still
    change the request: `_late_head`.
    """
    if defaults.asks_connector or connector.overrides_connect:
        return None, None
    route, head, request = prepared.route, prepared.head, prepared.request
    if route is None:
        route = route_for(request, connector)
    if connector.alternatives is not None and request.url.scheme == "https":
        if (hints := connector.record_hints) is not None:
            await hints.wait_for(route)  # the DNS may say whether the origin speaks HTTP/3
        route = connector.preferred_route(route)
    if head is None and not (request.sends_itself or connector.shows_requests):
        head = _head_for(request, route, connector.pool, None)
    return route, head


def _late_head(
    request: ClientRequest,
    pool: Any,
    route: Route,
    connection: Connection,
    acquired: AcquiredConnection | None,
) -> RequestHead | None:
    """The head of a request that a program's own code could change until there was a connection;
    None where its class sends it, and has not begun.
    """
    if acquired is None and request.sends_itself:
        return None
    return _head_for(request, route, pool, connection)


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
    tracker = extensions_of(request).upload_tracker
    if tracker is not None:
        tracker.start_attempt(head.streamed)
    return head


async def _send_by_class(
    prepared: PreparedRequest,
    defaults: SessionDefaults,
    options: RequestOptions,
    acquired: AcquiredConnection,
) -> ClientResponse:
    """Let a request that has its own `send` go by that; the rest of the way it asks for."""
    request = prepared.request
    cls = request.response_class or defaults.response_class
    response = cls(
        request.method, request.original_url, loop=defaults.loop, session=request.session
    )
    acquired = acquired._replace(response=response)
    answer: ClientResponse = await HOOKS.requests.send(
        request, acquired, lambda: send(prepared, defaults, options, acquired)
    )
    if defaults.starts_responses:
        await HOOKS.requests.start(answer)
    return answer


def _accompany(
    prepared: PreparedRequest,
    defaults: SessionDefaults,
    exchange: Exchange,
    head: RequestHead,
    sink: StreamReader | TimedSink,
) -> asyncio.Task[None] | None:
    """Begin what goes on beside the wait for the answer: the upload of a streamed body, and the
    count of `sock_read`.
    """
    upload = None
    if head.streamed:
        upload = defaults.loop.create_task(upload_body(prepared, exchange, head))
    if isinstance(sink, TimedSink):
        sink.watch_after(upload, exchange)
    return upload


def _give_up(
    prepared: PreparedRequest,
    pool: Any,
    connection: Connection,
    exchange: Exchange | None,
    upload: asyncio.Task[None] | None,
    exc: BaseException,
) -> None:
    """End an exchange that gave no response, or give back the connection that did not start one.

    Raises:
        ClientResponseError: What came is not HTTP: in place of `exc`, which is the cause.
    """
    if exchange is None:
        pool.put_back(connection)
        return
    failure = failed(prepared.request, exchange, upload, exc)
    if failure is not exc:
        raise failure from exc


async def _goes_elsewhere(
    request: ClientRequest,
    defaults: SessionDefaults,
    connector: Any,
    route: Route,
    exchange: Exchange,
    upload: asyncio.Task[None] | None,
    *,
    again: bool,
) -> bool:
    """Take in what an answer says of where its origin is served (RFC 7838, RFC 9110 15.5.20).

    Args:
        request: What was answered.
        defaults: What its session was told.
        connector: Keeps what it learns.
        route: The way that was taken.
        exchange: Has the answer.
        upload: Sends the body, if that is streamed.
        again: Whether the request may be sent over another connection at all.

    Returns:
        Whether it shall be, now: the answer does not count then.
    """
    head = exchange.head
    assert head is not None
    asked = defaults.asks_connector or connector.overrides_connect
    if not asked and connector.alternatives is not None:
        connector.learn_alternatives(head, exchange.connection)
    if head.status != 421 or not (again and exchange.reused):
        return False
    return await leave(request, route, exchange, upload)


def _apply(
    prepared: PreparedRequest,
    defaults: SessionDefaults,
    options: RequestOptions,
    exchange: Exchange,
    content: StreamReader,
    upload: asyncio.Task[None] | None,
    acquired: AcquiredConnection | None,
    moments: Moments,
) -> ClientResponse:
    """Make the response of an exchange whose head is here, and do what the head asks for."""
    head = exchange.head
    assert head is not None
    if prepared.text is not None and defaults.response_class is ClientResponse:
        response = arrived(prepared, head, exchange, content, moments)
    else:
        response = _custom_response(prepared, defaults, exchange, upload, acquired)
        begin(response, prepared, head, exchange, content, upload, moments)
    most = options.max_body_size if options.max_body_size is not None else defaults.max_body_size
    if most is not None:
        content.max_size = most
    if (head.facts or derive(head)).asks:
        _apply_fields(defaults, prepared.request.url, response, head, exchange, options)
    return response


def _custom_response(
    prepared: PreparedRequest,
    defaults: SessionDefaults,
    exchange: Exchange,
    upload: asyncio.Task[None] | None,
    acquired: AcquiredConnection | None,
) -> ClientResponse:
    """The response that a class of the program's own makes, or has made; if that fails, the
    exchange is given up.
    """
    if acquired is not None and acquired.response is not None:
        response: ClientResponse = acquired.response
        return response
    request = prepared.request
    cls = request.response_class or defaults.response_class
    try:
        return cls(
            request.method, request.original_url, loop=defaults.loop, session=request.session
        )
    except BaseException as exc:
        failed(request, exchange, upload, exc)
        raise


def _apply_fields(
    defaults: SessionDefaults,
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
            defaults.cookie_jar.store(facts.set_cookies, url)
        except BaseException:
            response.close()  # a custom jar may fail
            raise
    if facts.content_encoding is not None:
        decompress = (
            defaults.auto_decompress if options.auto_decompress is None else options.auto_decompress
        )
        # A response without content has nothing to decode, whatever it says (RFC 9110 8.4, 9.3.2,
        # 15.4.5).
        if decompress and not (exchange.state.complete and not content.total_raw_bytes):
            content.decoder = decoder_for(facts.content_encoding)


def max_body_size(defaults: SessionDefaults, options: RequestOptions) -> int | None:
    """What holds for answers of middlewares; those that come from servers meet it in `send`."""
    return options.max_body_size if options.max_body_size is not None else defaults.max_body_size


class Sender:
    """The innermost handler, for middlewares: sends a request with the call's options.

    A middleware that asks again has done with the answer before, unless it has read it: an unread
    body would hold its connection, and with it the place that the next try may be waiting for.
    """

    __slots__ = ("_built", "_defaults", "_last", "_options", "_prepared")

    def __init__(
        self,
        prepared: PreparedRequest,
        defaults: SessionDefaults,
        options: RequestOptions,
        built: ClientRequest,
    ) -> None:
        self._prepared = prepared
        self._defaults = defaults
        self._options = options
        self._built = built  # the request as it was before the middlewares
        self._last: ClientResponse | None = None

    async def __call__(self, request: ClientRequest) -> ClientResponse:
        prepared = self._prepared
        # What was encoded holds as long as no middleware has changed the request.
        if prepared.request is not request or (
            prepared.head is not None and not request.is_as(self._built)
        ):
            timeout = prepared.timeout
            self._prepared = prepared = PreparedRequest.of(request)
            prepared.timeout = timeout
        last = self._last
        if last is not None and not last.closed:
            last.release()
        self._last = response = await send(prepared, self._defaults, self._options)
        return response
