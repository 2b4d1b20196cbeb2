"""The way of one request: build, middlewares, send, head, decide, response.

`fetch` is all of it: its deadline, its listeners, and its first hop, which for most requests is the
only one.  Further hops are a `RedirectLoop`; one exchange on one connection is `attempt.send`.
Redirects and retries loop here and in `redirect_loop`, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from yarl import URL

from wherry.body.payload.memory import Payload
from wherry.client.middleware import build_client_middlewares
from wherry.client.options import NO_OPTIONS, RequestOptions
from wherry.client.request import ClientRequest
from wherry.client.response import ClientResponse
from wherry.client.sending.attempt import Sender, max_body_size, send
from wherry.client.sending.redirect_loop import RedirectLoop, accepted
from wherry.client.sending.redirect_rules import Hop, split_credentials
from wherry.client.sending.retry_rules import may_try_again
from wherry.client.timeouts import ClientTimeout, TotalDeadline
from wherry.client.tracing.emit import emit_start
from wherry.errors import ClientConnectionError
from wherry.protocol.connection import Exchange

if TYPE_CHECKING:
    from wherry.client.session import ClientSession

log = logging.getLogger("wherry.client")


async def fetch_sending(
    session: ClientSession, method: str, url: URL, options: RequestOptions, payload: Payload | None
) -> ClientResponse:
    """Make a request with a body that must be closed at its end, or that a tracker follows; see
    `fetch`.
    """
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


async def close_payload(payload: Payload) -> None:
    """Close a custom body class; what goes wrong there is no fault of the request."""
    try:
        await payload.close()
    except Exception:
        log.exception("a request's body could not be closed")


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
    if asyncio.get_running_loop() is not session._loop:
        raise ClientConnectionError(
            "The session belongs to another event loop, whose connections and timers it has; "
            "make a session in each loop"
        )
    auth = options.auth
    if url.raw_user is not None or url.raw_password is not None:
        if auth is not None:
            raise ValueError("Cannot combine AUTH argument with credentials encoded in URL")
        auth, url = split_credentials(url)
    timeout = options.timeout or session._timeout
    deadline: TotalDeadline | None = None
    if timeout.total:
        deadline = TotalDeadline(
            monotonic() + timeout.total, timeout.total, asyncio.current_task(), method, url
        )
        session._wheel.add(deadline)
    traces = session._traces_for(options) if session._trace_configs else None
    try:
        if request is not None:
            response = await _first_hop(session, request, options, timeout, traces)
        else:
            if session._trust_env and session._proxies.netrc is None:
                await session._proxies.read_netrc()
            hop = Hop(method, url, options.headers, session._payload(options), auth)
            response = await RedirectLoop(session, options, timeout, traces).follow(hop)
    except BaseException as exc:
        error: BaseException = exc
        if deadline is not None:
            session._wheel.discard(deadline)
            if deadline.settle() and isinstance(exc, asyncio.CancelledError):
                error = deadline.error()
        if traces is not None:
            await traces.request_exception(error)
        if error is exc:
            raise
        raise error from exc
    if deadline is not None:
        if deadline.expired:
            deadline.settle()  # a middleware has kept the cancellation to itself
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


def _watch_body(
    session: ClientSession, response: ClientResponse, exchange: Exchange, deadline: TotalDeadline
) -> None:
    """The deadline goes on while the body is read; it ends with the body, or with the response."""
    deadline.task = None
    deadline.exchange = exchange
    response.on_settled(lambda: session._wheel.discard(deadline))


async def _first_hop(
    session: ClientSession,
    request: ClientRequest,
    options: RequestOptions,
    timeout: ClientTimeout,
    traces: Any,
) -> ClientResponse:
    """The usual request: built before, and mostly no redirect after it."""
    given = options.headers
    if traces is not None:
        given = headers = session._merged_headers(given, request.url)
        traced = await emit_start(session, request, headers, traces)
        if traced is None:
            hop = Hop("GET", request.original_url, headers, None, None)
            return await RedirectLoop(session, options, timeout, traces).follow(hop)
        request = traced
    onion = session._onion
    if onion is not None and options is not NO_OPTIONS:
        onion = build_client_middlewares(Sender(options, timeout), session._middlewares)
    tries = 1
    while True:
        request._timeout = timeout  # others use a ready request too, each with limits of its own
        try:
            if onion is not None:
                request._max_body_size = max_body_size(session, options)
                copy = request.copy()
                try:
                    response = await onion(copy)
                finally:
                    copy._last = None
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
        return await RedirectLoop(session, options, timeout, traces).follow(hop, response)
    if options.raise_for_status is None and not session._raise_for_status:
        return response
    return await accepted(session, response, options)
