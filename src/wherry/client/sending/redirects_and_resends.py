"""One request from leg to leg: redirects are followed, and what a dead kept connection
lost is sent again.

Where a redirect leads, and what may go there, is `redirect_rules.next_leg`'s to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from multidict import CIMultiDict

from wherry.client.middleware import ClientMiddlewareType, auth_layer, build_client_middlewares
from wherry.client.options import RaiseForStatus, RequestOptions
from wherry.client.request import ClientRequest, PreparedRequest, extensions_of
from wherry.client.response import (
    ClientResponse,
    asked_of,
    first_field,
    history_of,
    put_history,
)
from wherry.client.sending.attempt import Sender, max_body_size, send
from wherry.client.sending.redirect_rules import REDIRECT_STATUSES, Leg, next_leg
from wherry.client.sending.request_builder import RequestBuilder
from wherry.client.sending.retry_rules import may_try_again
from wherry.client.session_defaults import SessionDefaults
from wherry.client.timeouts import ClientTimeout
from wherry.client.tracing.emit import emit_start
from wherry.client.tracing.signals import Traces
from wherry.errors import ClientConnectionError, ClientResponseError, TooManyRedirects
from wherry.protocol.debug_log import CLIENT


async def follow(
    builder: RequestBuilder,
    leg: Leg,
    options: RequestOptions,
    timeout: ClientTimeout,
    traces: Traces | None,
) -> ClientResponse:
    """Go from leg to leg until a response is no redirect, or is not to be followed.

    A leg is sent again if a kept connection turns out to be dead, or refused it, and nothing
    forbids it (`retry_rules`); each try is built anew.

    Args:
        builder: Builds the requests of a session, whose defaults and connections are used.
        leg: The first one.
        options: What the program said besides.
        timeout: The limits that hold.
        traces: Who listens, None for nobody.
    """
    defaults = builder.defaults
    middlewares = defaults.middlewares if options.middlewares is None else options.middlewares
    if traces is not None:
        # Listeners see the session's fields too, and what they add is sent.
        leg.headers = builder.merged_headers(leg.headers, leg.url)
        await emit_start(leg, leg.headers, traces)
    tries = 1
    while True:
        prepared = builder.build(leg, options, traces)
        prepared.timeout = timeout
        try:
            layers = (
                middlewares if prepared.head is not None else _layers(prepared.request, middlewares)
            )
            if layers:
                response = await _through(layers, prepared, defaults, options)
            else:
                response = await send(prepared, defaults, options)
        except (ClientConnectionError, ClientResponseError) as exc:
            if not may_try_again(exc, tries, prepared.payload):
                _tell_history(exc, leg)
                raise
            tries += 1
            await _tell_of_retry(leg, tries, exc, traces)
            continue
        if options.allow_redirects and response.status in REDIRECT_STATUSES:
            if traces is not None:
                await _tell_of_redirect(response, traces)
            following = _redirected(defaults, leg, response, options, traces)
            if following is not None:
                leg, tries = following, 1
                continue
        if history_of(response) is not leg.history:
            put_history(response, leg.history)
        if CLIENT.on:
            CLIENT.say(
                "%s %s is answered: %s %s", leg.method, leg.url, response.status, response.reason
            )
        rule = options.raise_for_status
        if rule is None:
            rule = defaults.raise_for_status
        return await accepted(response, rule) if rule else response


def _layers(
    request: ClientRequest, middlewares: Sequence[ClientMiddlewareType]
) -> Sequence[ClientMiddlewareType]:
    """The middlewares, inside of what writes the request's credentials: a cache must see them."""
    if request.authorize is None:
        return middlewares
    return (auth_layer(request.authorize), *middlewares)


def _tell_history(exc: Exception, leg: Leg) -> None:
    """Show in an error which redirects led to it."""
    if leg.history and isinstance(exc, ClientResponseError) and not exc.history:
        exc.history = leg.history


async def _tell_of_retry(leg: Leg, tries: int, exc: Exception, traces: Any) -> None:
    if CLIENT.on:
        CLIENT.say("%s %s is sent again (try %s): %s", leg.method, leg.url, tries, exc)
    if traces is not None:
        await traces.request_retry(tries, exc)


def _through(
    middlewares: Sequence[ClientMiddlewareType],
    prepared: PreparedRequest,
    defaults: SessionDefaults,
    options: RequestOptions,
) -> Awaitable[ClientResponse]:
    request = prepared.request
    extensions = extensions_of(request)
    extensions.timeout = prepared.timeout
    extensions.max_body_size = max_body_size(defaults, options)
    sender = Sender(prepared, defaults, options, request.copy())
    return build_client_middlewares(sender, middlewares)(request)


async def _tell_of_redirect(response: ClientResponse, traces: Any) -> None:
    try:
        await traces.request_redirect(response)
    except BaseException:
        response.close()
        raise


def _redirected(
    defaults: SessionDefaults,
    leg: Leg,
    response: ClientResponse,
    options: RequestOptions,
    traces: Any,
) -> Leg | None:
    """The leg that a redirect asks for, with `response` in its history; None where there is nothing
    to follow.
    """
    history = (*leg.history, response)
    location = first_field(response, b"location") or first_field(response, b"uri")
    try:
        most = options.max_redirects
        if location and most is not None and len(history) >= most:
            raise TooManyRedirects(
                history[0].request_info,
                history,
                status=response.status,
                message=f"more than {most} redirects",
            )
        following = next_leg(
            leg,
            asked_of(response),
            response.status,
            location,
            requote=defaults.requote_redirect_url,
            handshake=options.upgrade == "websocket",
        )
    except BaseException:
        response.close()
        raise
    if following is None:
        return None
    following.history = history
    response.release()
    if CLIENT.on:
        CLIENT.say("%s leads to %s %s", response.status, following.method, following.url)
    if traces is not None:
        following.headers = headers = CIMultiDict(following.headers or ())
        traces.follow(following.method, following.url, headers)
    return following


async def accepted(response: ClientResponse, rule: RaiseForStatus) -> ClientResponse:
    """Raise for a bad status, by the program's own rule where it has one."""
    if rule is True:
        response.raise_for_status()
    elif rule:
        try:
            await rule(response)
        except BaseException:
            response.release()
            raise
    return response
