"""Puts middlewares round the sending of a request: the first in the list is the outermost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

ClientHandlerType = Callable[["ClientRequest"], Awaitable["ClientResponse"]]
ClientMiddlewareType = Callable[["ClientRequest", ClientHandlerType], Awaitable["ClientResponse"]]


def checked_middlewares(
    middlewares: Sequence[ClientMiddlewareType],
) -> Sequence[ClientMiddlewareType]:
    """`middlewares` as they were given.

    Raises:
        TypeError: They are no sequence of things to call, or a class is among them.
    """
    if not isinstance(middlewares, Sequence):
        raise TypeError(
            f"middlewares= takes a list: middlewares=[...], not {type(middlewares).__name__}"
        )
    for each in middlewares:
        if isinstance(each, type):
            raise TypeError(
                f"the middleware {each.__name__} is a class: give an object, {each.__name__}()"
            )
        if not callable(each):
            raise TypeError(
                f"a middleware is called with (request, handler), and {type(each).__name__} "
                "cannot be called"
            )
    return middlewares


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
