"""Puts middlewares round the sending of a request: the first in the list is the outermost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

ClientHandlerType = Callable[["ClientRequest"], Awaitable["ClientResponse"]]
ClientMiddlewareType = Callable[["ClientRequest", ClientHandlerType], Awaitable["ClientResponse"]]


def build_client_middlewares(
    handler: ClientHandlerType, middlewares: Sequence[ClientMiddlewareType]
) -> ClientHandlerType:
    """Put `middlewares` round `handler`.

    Args:
        handler: What sends the request.
        middlewares: The first one meets the request first and the response last.
    """
    for middleware in reversed(middlewares):
        handler = _layer(middleware, handler)
    return handler


def _layer(middleware: ClientMiddlewareType, inner: ClientHandlerType) -> ClientHandlerType:
    # Not a coroutine function: it would put one more coroutine round each middleware's own.
    def handler(request: ClientRequest) -> Awaitable[ClientResponse]:
        return middleware(request, inner)

    return handler
