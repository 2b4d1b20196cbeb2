"""The way of one request: build, middlewares, send, head, decide, response.

`fetch` is all of it: its deadline, its listeners, and its legs.  Redirects and further tries are
`redirects_and_resends.follow`'s; one exchange on one connection is `attempt.send`.
"""

from __future__ import annotations

import asyncio
import logging

from yarl import URL

from wherry.body.payload.memory import Payload
from wherry.client.middleware import Auth
from wherry.client.options import RequestOptions
from wherry.client.response import ClientResponse, exchange_of, keep_payload
from wherry.client.sending.redirect_rules import Leg, split_credentials
from wherry.client.sending.redirects_and_resends import follow
from wherry.client.sending.request_builder import RequestBuilder
from wherry.client.timeouts import TotalDeadline
from wherry.client.tracing.signals import Traces
from wherry.errors import ClientConnectionError
from wherry.protocol.connection import Exchange
from wherry.protocol.debug_log import CLIENT, look_up_levels
from wherry.protocol.states import COMPLETE

log: logging.Logger = CLIENT.logger
_is_enabled_for = log.isEnabledFor


async def fetch_sending(
    builder: RequestBuilder,
    method: str,
    url: URL | str,
    options: RequestOptions,
    payload: Payload | None,
    traces: Traces | None,
) -> ClientResponse:
    """Make a request with a body that must be closed at its end, or that a tracker follows; see
    `fetch`.
    """
    tracker = options.upload_tracker
    if tracker is not None:
        tracker.bind()
    try:
        response = await fetch(builder, method, url, options, traces)
    except BaseException:
        if payload is not None:
            await payload.close()
        raise
    finally:
        if tracker is not None:
            tracker.finalize()
    if payload is not None and not payload.autoclose:
        keep_payload(response, payload)
    return response


async def close_payload(payload: Payload) -> None:
    """Close a custom body class; what goes wrong there is no fault of the request."""
    try:
        await payload.close()
    except Exception:
        log.exception("a request's body could not be closed")


async def fetch(
    builder: RequestBuilder,
    method: str,
    url: URL | str,
    options: RequestOptions,
    traces: Traces | None,
) -> ClientResponse:
    """Make a request, follow its redirects, and give back the last response.

    Args:
        builder: Builds the requests of a session, whose defaults and connections are used.
        method: The method, checked and in upper case.
        url: The absolute URL; or a text that is one already (`plain_urls`).
        options: What the program said besides.
        traces: Who listens, None for nobody.

    Raises:
        ClientError: The request failed.
        TimeoutError: `ClientTimeout.total` passed.
        ValueError: There are credentials in the URL and in `auth`.
    """
    defaults = builder.defaults
    if asyncio.get_running_loop() is not defaults.loop:
        raise ClientConnectionError(
            "The session belongs to another event loop, whose connections and timers it has; "
            "make a session in each loop"
        )
    auth = options.auth
    if isinstance(url, URL) and (url.raw_user is not None or url.raw_password is not None):
        auth, url = _credentials_of(url, auth)
    if _is_enabled_for(logging.DEBUG) or CLIENT.on:
        _log_begin(method, url)
    leg = Leg(method, url, options.headers, None, auth)
    timeout = options.timeout or defaults.timeout
    seconds = timeout.total
    deadline = TotalDeadline(seconds, leg, defaults.wheel) if seconds else None
    try:
        if defaults.trust_env and defaults.proxies.netrc is None:
            await defaults.proxies.read_netrc()
        if options.data is not None or options.json is not None:
            leg.data = builder.payload(options)
        response = await follow(builder, leg, options, timeout, traces)
    except BaseException as exc:
        await _fail(method, url, deadline, traces, exc)
        raise
    if deadline is not None:
        if deadline.expired:
            deadline.settle()  # a middleware has kept the cancellation to itself
        exchange = exchange_of(response)
        if exchange is None or exchange.state is COMPLETE:
            defaults.wheel.discard(deadline)
        else:
            _watch_body(response, exchange, deadline)
    if traces is not None:
        await _notify_of_end(traces, response)
    return response


def _credentials_of(url: URL, auth: Auth | None) -> tuple[Auth | None, URL]:
    """The credentials in a URL, and the URL without them.

    Raises:
        ValueError: There are others.
    """
    if auth is not None:
        raise ValueError("Cannot combine AUTH argument with credentials encoded in URL")
    return split_credentials(url)


async def _fail(
    method: str,
    url: URL | str,
    deadline: TotalDeadline | None,
    traces: Traces | None,
    exc: BaseException,
) -> None:
    """Stop the clock of a request that failed, and notify its listeners.

    Raises:
        TimeoutError: The total time is over: in place of the cancellation `exc`, which is the
            cause.
    """
    error: BaseException = exc
    if deadline is not None:
        deadline.wheel.discard(deadline)
        if deadline.settle() and isinstance(exc, asyncio.CancelledError):
            error = deadline.error()
    if CLIENT.on:
        CLIENT.say("%s %s failed: %s", method, url, error)
    if traces is not None:
        await traces.request_exception(error)
    if error is not exc:
        raise error from exc


async def _notify_of_end(traces: Traces, response: ClientResponse) -> None:
    """Notify listeners of the response; one that fails ends it."""
    try:
        await traces.request_end(response)
    except BaseException:
        response.close()
        raise


def _log_begin(method: str, url: URL | str) -> None:
    """Somebody listens, or has done so until now."""
    look_up_levels()
    if CLIENT.on:
        CLIENT.say("%s %s begins", method, url)


def _watch_body(response: ClientResponse, exchange: Exchange, deadline: TotalDeadline) -> None:
    """The deadline goes on while the body is read; it ends with the body, or with the response."""
    deadline.task = None
    deadline.exchange = exchange
    response.on_settled(lambda: deadline.wheel.discard(deadline))
