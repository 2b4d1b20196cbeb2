"""What becomes of an exchange that gave no response: the error, and whether the request may be sent
once more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wherry.client.headers.validation import IDEMPOTENT_METHODS
from wherry.errors import (
    BadHttpMessage,
    ClientConnectionError,
    ClientOSError,
    ClientResponseError,
    ServerDisconnectedError,
)
from wherry.protocol.connection import Exchange
from wherry.protocol.debug_log import CLIENT

if TYPE_CHECKING:
    from wherry.body.payload.base import Payload
    from wherry.client.request import ClientRequest
    from wherry.connect.route import Route

# How often a request is sent that servers did not process (RFC 9113 8.7: REFUSED_STREAM, GOAWAY).
MAX_UNPROCESSED_TRIES = 10


def may_try_again(
    exc: ClientConnectionError | ClientResponseError, tries: int, payload: Payload | None
) -> bool:
    """Whether a request that failed `tries` times may be sent once more.

    Args:
        exc: How it failed; `failed` has said whether sending it twice does no harm.
        tries: How often it was sent.
        payload: Its body, which must be there still.
    """
    if not isinstance(exc, ClientConnectionError):
        return False
    often = tries < 2 or (exc.unprocessed and tries < MAX_UNPROCESSED_TRIES)
    return exc.resend_safe and often and (payload is None or payload.replayable)


def failed(
    request: ClientRequest,
    exchange: Exchange,
    upload: asyncio.Task[None] | None,
    exc: BaseException,
) -> BaseException:
    """What to raise for an exchange that gave no response; the exchange is given up."""
    exchange.cancel()
    if upload is not None and not upload.done():
        upload.cancel()
    if isinstance(exc, BadHttpMessage):
        return ClientResponseError(
            request.request_info,
            (),
            status=exc.code,
            message=f"{exc.message} (from {request.url.origin()})",
        )
    if isinstance(exc, (ClientOSError, ServerDisconnectedError)) and exchange.head is None:
        exc.unprocessed = exchange.unprocessed
        exc.resend_safe = exchange.unprocessed or (
            exchange.reused and (request.method in IDEMPOTENT_METHODS or not exchange.sent)
        )
    return exc


async def leave(
    request: ClientRequest, route: Route, exchange: Exchange, upload: asyncio.Task[None] | None
) -> bool:
    """Give up a connection whose server does not answer for the origin any more (RFC 9110 15.5.20).

    Returns:
        Whether the request can be sent over another; a kept one may be older than what its server
        is to answer for.
    """
    if route.forward is not None or not (request.payload is None or request.payload.replayable):
        return False  # the connection to a proxy is not the one that the answer is about
    if CLIENT.on:
        CLIENT.say("421 on #%s: is sent again by another connection", exchange.connection.number)
    exchange.cancel()
    exchange.connection.retire()
    if upload is not None:
        upload.cancel()
        await asyncio.wait((upload,))
    return True
