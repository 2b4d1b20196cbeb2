"""The way of one request: build, onion, send, head, decide, response.

Redirects and retries loop here and nowhere else.  `fetch` is the way of a whole request, over all its hops;
`send` is the heart of the onion, one exchange on one connection.  What is sent where is decided by pure
functions (`redirects.next_hop`, `ClientRequest.wire_head`); how bytes travel is the matter of the rooms below.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict
from yarl import URL

from wherry.body.coding import decoder_for
from wherry.body.payload import Payload
from wherry.body.stream import StreamReader
from wherry.client.acquire import EarlyStart, acquire
from wherry.client.failures import failed, leave, may_try_again
from wherry.client.head_fields import derive
from wherry.client.middleware import build_client_middlewares
from wherry.client.options import NO_OPTIONS, RequestOptions
from wherry.client.own_classes import Taken, response_for, sent_by_class, start
from wherry.client.redirects import REDIRECT_STATUSES, Hop, next_hop, split_credentials
from wherry.client.request import ClientRequest
from wherry.client.response import ClientResponse
from wherry.client.telling import tell_sent, tell_start, told_of_connection
from wherry.client.timeouts import ClientTimeout, TimedSink, TotalDeadline
from wherry.client.upload import upload_body
from wherry.connect.base import BaseConnector
from wherry.errors import (
    ClientConnectionError,
    ClientResponseError,
    TooManyRedirects,
)
from wherry.protocol.connection import Connection, Exchange
from wherry.protocol.heads import RequestHead, ResponseHead

if TYPE_CHECKING:
    from wherry.client.session import ClientSession
    from wherry.connect.route import Route


async def fetch_sending(
    session: ClientSession, method: str, url: URL, options: RequestOptions, payload: Payload | None
) -> ClientResponse:
    """Make a request with a body that must be closed at its end, or that a tracker follows; see `fetch`."""
    tracker = options.upload_tracker
    if tracker is not None:
        tracker.bind()
    try:
        response = await fetch(session, method, url, options)
    except BaseException:
        if payload is not None:
            await payload.close()
        raise
    finally:
        if tracker is not None:
            tracker.finalize()
    if payload is not None and not payload.autoclose:
        response._payload = payload
        response.on_settled(response._settle)
    return response


async def fetch(
    session: ClientSession,
    method: str,
    url: URL,
    options: RequestOptions,
    request: ClientRequest | None = None,
) -> ClientResponse:
    """Make a request, follow its redirects, and give back the last response.

    Args:
        session: Whose defaults, cookies and connections are used.
        method: The method, checked and in upper case.
        url: The absolute URL.
        options: What the program said besides.
        request: The request of the first hop, where one that was built before still holds.

    Raises:
        ClientError: The request failed.
        TimeoutError: `ClientTimeout.total` passed.
        ValueError: There are credentials in the URL and in `auth`.
    """
    auth = options.auth
    if url.raw_user is not None or url.raw_password is not None:
        if auth is not None:
            raise ValueError("Cannot combine AUTH argument with credentials encoded in URL")
        auth, url = split_credentials(url)
    timeout = options.timeout or session._timeout
    deadline: TotalDeadline | None = None
    if timeout.total:
        deadline = TotalDeadline(monotonic() + timeout.total, timeout.total, asyncio.current_task(), method, url)
        session._wheel.add(deadline)
    traces = session._traces_for(options) if session._trace_configs else None
    try:
        if request is not None:
            response = await _first_hop(session, request, options, timeout, traces)
        else:
            if session._trust_env and session._proxies.netrc is None:
                await session._proxies.read_netrc()
            hop = Hop(method, url, options.headers, session._payload(options), auth)
            response = await _follow(session, hop, options, timeout, traces)
    except BaseException as exc:
        error: BaseException = exc
        if deadline is not None:
            session._wheel.discard(deadline)
            if isinstance(exc, asyncio.CancelledError) and deadline.caused(exc):
                error = deadline.error()
        if traces is not None:
            await traces.request_exception(error)
        if error is exc:
            raise
        raise error from exc
    if deadline is not None:
        exchange = response._exchange
        if exchange is None or exchange.complete:
            session._wheel.discard(deadline)
        else:
            _watch_body(session, response, exchange, deadline)
    if traces is not None:
        try:
            await traces.request_end(response)
        except BaseException:
            response.close()
            raise
    return response


def _watch_body(session: ClientSession, response: ClientResponse, exchange: Exchange, deadline: TotalDeadline) -> None:
    """The deadline goes on while the body is read; it ends with the body, or with the response."""
    deadline.task = None
    deadline.exchange = exchange
    response.on_settled(lambda: session._wheel.discard(deadline))


async def _first_hop(
    session: ClientSession, request: ClientRequest, options: RequestOptions, timeout: ClientTimeout, traces: Any
) -> ClientResponse:
    """The usual request: built before, and mostly no redirect after it."""
    given = options.headers
    if traces is not None:
        given = headers = session._merged_headers(given)
        told = await tell_start(session, request, headers, traces)
        if told is None:
            return await _follow(
                session, Hop("GET", request.original_url, headers, None, None), options, timeout, traces
            )
        request = told
    onion = session._onion
    if onion is not None and options is not NO_OPTIONS:
        onion = build_client_middlewares(_Sender(options, timeout), session._middlewares)
    tries = 1
    while True:
        request._timeout = timeout  # others use a ready request too, each with limits of its own
        try:
            if onion is not None:
                request._max_body_size = _max_body_size(session, options)
                twin = request.again()
                try:
                    response = await onion(twin)
                finally:
                    twin._last = None
            else:
                response = await send(request, options, timeout)
            break
        except ClientConnectionError as exc:
            if not may_try_again(exc, tries):
                raise
            tries += 1
            if traces is not None:
                await traces.request_retry(tries, exc)
                # With what listeners may have added to the fields.
                hop = Hop(request.method, request.original_url, given, request._body, None)
                request = session._make_request(hop, options, traces=traces)
    if 300 < response.status < 309 and options.allow_redirects:
        hop = Hop(request.method, request.original_url, given, request._body, None)
        return await _follow(session, hop, options, timeout, traces, response)
    if options.raise_for_status is None and not session._raise_for_status:
        return response
    return await _accept(session, response, options)


async def _follow(
    session: ClientSession,
    hop: Hop,
    options: RequestOptions,
    timeout: ClientTimeout,
    traces: Any,
    response: ClientResponse | None = None,
) -> ClientResponse:
    """Go from hop to hop until a response is no redirect, or is not to be followed."""
    middlewares = session._middlewares if options.middlewares is None else options.middlewares
    history: list[ClientResponse] = []
    # After a ready request, a hop that has nothing but a URL is one as well.
    ready = response is not None and traces is None and not middlewares
    if traces is not None and not traces.started:
        # Listeners see the session's fields too, and what they add is sent.
        hop.headers = headers = session._merged_headers(options.headers)
        traces.follow(hop.method, hop.url, headers)
        await traces.request_start()
    while True:
        if response is None:
            request = session._ready_request(hop.url, NO_OPTIONS) if ready and hop.is_plain else None
            response = await _attempt(session, hop, options, timeout, middlewares, traces, history, request)
        following = None
        if options.allow_redirects and 300 < response.status < 309:
            following = await _redirected(session, hop, response, options, traces, history)
        if following is None:
            response._history = tuple(history)
            return await _accept(session, response, options)
        hop = following
        response = None
        if traces is not None:
            hop.headers = headers = CIMultiDict(hop.headers or ())
            traces.follow(hop.method, hop.url, headers)


async def _redirected(
    session: ClientSession,
    hop: Hop,
    response: ClientResponse,
    options: RequestOptions,
    traces: Any,
    history: list[ClientResponse],
) -> Hop | None:
    """The hop that a redirect asks for, None where there is nothing to follow; `response` joins the history."""
    if response.status not in REDIRECT_STATUSES:
        return None
    history.append(response)
    location = response.headers.get("Location") or response.headers.get("URI")
    try:
        if traces is not None:
            await traces.request_redirect(response)
        if location and options.max_redirects and len(history) >= options.max_redirects:
            raise TooManyRedirects(
                history[0].request_info,
                tuple(history),
                status=response.status,
                message=f"more than {options.max_redirects} redirects",
            )
        following = next_hop(hop, response.real_url, response.status, location, requote=session._requote_redirect_url)
    except BaseException:
        response.close()
        raise
    if following is None:
        history.pop()
    else:
        response.release()
    return following


async def _accept(session: ClientSession, response: ClientResponse, options: RequestOptions) -> ClientResponse:
    """Raise for a bad status where that was asked for."""
    rule = options.raise_for_status
    if rule is None:
        rule = session._raise_for_status
    if rule is True:
        response.raise_for_status()
    elif rule:
        try:
            await rule(response)
        except BaseException:
            response.release()
            raise
    return response


async def _attempt(
    session: ClientSession,
    hop: Hop,
    options: RequestOptions,
    timeout: ClientTimeout,
    middlewares: Any,
    traces: Any,
    history: list[ClientResponse],
    ready: ClientRequest | None,
) -> ClientResponse:
    """One hop, sent again if a kept connection turns out to be dead, or refused it, and nothing forbids it."""
    tries = 1
    while True:
        request = ready or session._make_request(hop, options, traces=traces)
        request._timeout = timeout
        try:
            if middlewares:
                request._max_body_size = _max_body_size(session, options)
                return await build_client_middlewares(_Sender(options, timeout), middlewares)(request)
            response = await send(request, options, timeout)
            if session._starts_responses:
                await start(response)
            return response
        except ClientConnectionError as exc:
            if not may_try_again(exc, tries) or not (request.payload is None or request.payload.replayable):
                raise
            tries += 1
            if traces is not None:
                await traces.request_retry(tries, exc)
        except ClientResponseError as exc:
            if not exc.history:
                exc.history = tuple(history)
            raise


class _Sender:
    """The innermost handler, for middlewares: sends a request with the call's options.

    A middleware that asks again has done with the answer before, unless it has read it: an unread body would hold
    its connection, and with it the place that the next try may be waiting for.
    """

    __slots__ = ("_last", "_options", "_timeout")

    def __init__(self, options: RequestOptions, timeout: ClientTimeout) -> None:
        self._options = options
        self._timeout = timeout
        self._last: ClientResponse | None = None

    async def __call__(self, request: ClientRequest) -> ClientResponse:
        _make_ready(request, self._last)
        self._last = response = await send(request, self._options, self._timeout)
        if request.session._starts_responses:
            await start(response)
        return response


def _make_ready(request: ClientRequest, last: ClientResponse | None) -> None:
    """Let go of what came for the last try, and of what was built before and does not hold any more."""
    if request._ready is not None and request.changed:
        request._ready = None  # a middleware has changed it
    if last is not None and not last.closed:
        last.release()


async def send_built(request: ClientRequest) -> ClientResponse:
    """The innermost handler of a session's own onion, for requests without options; see `_Sender`."""
    _make_ready(request, request._last)
    request._last = response = await send(request, NO_OPTIONS, request._timeout or request.session._timeout)
    return response


async def send(
    request: ClientRequest, options: RequestOptions, timeout: ClientTimeout, taken: Taken | None = None
) -> ClientResponse:
    """Carry one request over one connection (`taken`, where its class is sending it) until the response's head is here.

    Raises:
        ClientConnectorError: No connection could be made.
        ServerDisconnectedError: The connection ended without a response.
        ClientResponseError: What came is not HTTP.
    """
    session = request._session
    if session is None or (connector := session._connector) is None:
        raise RuntimeError("Session is closed")
    started = connected = monotonic()
    pool = connector.pool
    route, head = request._ready or (session._route_for(request), None)
    # What a connector of the program's own is shown it may still change.
    if head is None and (taken or not (request.sends_itself or connector.shows_requests)):
        head = _head_for(request, route, connector, taken and taken.connection)
    traces, timings, early, limit = request._traces, None, None, options.read_bufsize or session._read_bufsize
    if taken is not None:
        connection, (started, connected, timings) = taken.connection, taken.moments
    elif (free := pool.take(route)) and (not traces or await told_of_connection(free, pool, traces)):
        connection = free
    else:
        early = EarlyStart(head, limit)
        connection, timings = await acquire(request, connector, route, timeout, traces, early)
        connected = early.moment or monotonic()
    if head is None:
        if request.sends_itself:
            taken = Taken(connection, (started, connected, timings), response_for(request))
            return await sent_by_class(request, pool, taken, lambda: send(request, options, timeout, taken))
        head = _head_for(request, route, connector, connection)
    timed: TimedSink | None = None
    if early is not None and early.exchange is not None:
        content, exchange = early.content, early.exchange
    else:
        content = StreamReader(limit)
        timed = TimedSink(content, session._wheel, timeout.sock_read) if timeout.sock_read else None
        try:
            exchange = connection.start(head, timed or content)
        except BaseException:
            connector.pool.put_back(connection)
            raise
    upload = session._loop.create_task(upload_body(request, exchange, head)) if head.streamed else None
    if timed is not None:
        timed.watch_after(upload, exchange)
    response_head, cls, url = exchange.head, request.response_class or session._response_class, request.original_url
    try:
        if response_head is None or traces is not None:
            if traces is not None:
                await tell_sent(request, head, connection, exchange, traces)
            response_head = await exchange.receive_head()
        # A class of the program's own may fail.
        response = taken.response if taken else cls(request.method, url, loop=session._loop, session=session)
    except BaseException as exc:
        failure = failed(request, exchange, upload, exc)
        if failure is exc:
            raise
        raise failure from exc
    if response_head.status == 421 and exchange.reused and not taken and await leave(request, route, exchange, upload):
        return await send(request, options, timeout)
    response._begin(request, response_head, exchange, content, upload)
    response._moments = (started, connected, monotonic(), timings)
    _apply_head(session, request.url, response, response_head, exchange, options)
    return response


def _head_for(request: ClientRequest, route: Route, connector: BaseConnector, taken: Connection | None) -> RequestHead:
    """What goes out for a request that was not built before; if it cannot, what was taken for it goes back."""
    try:
        head = request.wire_head(route, connector.force_close)
    except BaseException:
        if taken is not None:
            connector.pool.put_back(taken)
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
    content, derived = response.content, head.derived or derive(head)
    if derived.set_cookies is not None:
        try:
            session._cookie_jar.store(derived.set_cookies, url)
        except BaseException:
            response.close()  # a jar of the program's own may fail
            raise
    if derived.content_encoding is not None:
        decompress = session._auto_decompress if options.auto_decompress is None else options.auto_decompress
        # A response without content has nothing to decode, whatever it says (RFC 9110 8.4, 9.3.2, 15.4.5).
        if decompress and not (exchange.complete and not content.total_raw_bytes):
            content.decoder = decoder_for(derived.content_encoding)
    limit = options.max_body_size if options.max_body_size is not None else session._max_body_size
    if limit is not None:
        content.max_size = limit


def _max_body_size(session: ClientSession, options: RequestOptions) -> int | None:
    """What holds for answers of middlewares; those that come from servers meet it in `_apply_head`."""
    return options.max_body_size if options.max_body_size is not None else session._max_body_size
