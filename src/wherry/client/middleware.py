"""Puts middlewares round the sending of a request: the first in the list is the outermost.

What `auth=` calls is put round them all: they see what it wrote, as they see Basic authentication.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from wherry.auth.basic import BasicAuth

if TYPE_CHECKING:
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

ClientHandlerType = Callable[["ClientRequest"], Awaitable["ClientResponse"]]
ClientMiddlewareType = Callable[["ClientRequest", ClientHandlerType], Awaitable["ClientResponse"]]
# What writes a request's credentials: called with the request, at once or as a coroutine.
AuthFunction = Callable[["ClientRequest"], "ClientRequest | Awaitable[ClientRequest | None] | None"]
Auth = BasicAuth | AuthFunction | ClientMiddlewareType


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


def check_auth(auth: Auth | None) -> Auth | None:
    """`auth` as it was given.

    Raises:
        TypeError: It is neither a `BasicAuth` nor something to call with the request.
    """
    if auth is None or isinstance(auth, BasicAuth):
        return auth
    if isinstance(auth, type):
        raise TypeError(f"auth={auth.__name__} is a class: give an object, {auth.__name__}(...)")
    if not callable(auth):
        raise TypeError(
            "BasicAuth() tuple is required instead: auth=BasicAuth(login, password); or a function "
            "that is given the request"
        )
    return auth


def auth_layer(auth: Any) -> ClientMiddlewareType:
    """A middleware of what `auth=` calls: with the request, or as a middleware is called.

    Raises:
        TypeError: It takes other arguments.
    """
    try:
        arguments = inspect.signature(auth)
    except ValueError:
        return _Authorizer(auth)  # of C, without a signature
    for given, layer in (((None,), _Authorizer(auth)), ((None, None), auth)):
        try:
            arguments.bind(*given)
        except TypeError:
            continue
        return layer
    raise TypeError("auth= is called with (request), or with (request, handler) as a middleware is")


class _Authorizer:
    """Lets a function change a request before it goes on."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        changed = self._function(request)
        if inspect.isawaitable(changed):
            changed = await changed
        # A function of requests' kind gives back what it was given.
        if changed is not None and changed is not request:
            raise TypeError(
                "auth= changes the request that it is given, and returns nothing or the same, not "
                f"{type(changed).__name__}"
            )
        return await handler(request)
