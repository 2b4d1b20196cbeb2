"""What APIs ask for beside passwords: bearer tokens, keys, and names for repeated requests.

Each of these middlewares knows for which origins its secret is, and gives it to no other, whoever
redirects there.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from yarl import URL

from wherry.argument_checks import method_names
from wherry.client.headers.validation import check_field
from wherry.client.origin import origin_of, origins_of
from wherry.redaction import SecretText

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

TokenSource = Callable[[], "str | Awaitable[str]"]


class _ForOrigins:
    """A secret, and to whom it may go.

    Args:
        origins: URLs, of which scheme, host and port count; None for the first request's origin.
    """

    def __init__(self, origins: str | URL | Iterable[str | URL] | None) -> None:
        self._origins = origins_of(origins)

    def _may_go_to(self, request: ClientRequest) -> bool:
        origin = origin_of(request.url)
        if self._origins is None:
            self._origins = frozenset({origin})
        return origin in self._origins

    def __repr__(self) -> str:
        named = ", ".join(map(str, self._origins or ())) or "the first origin that it meets"
        return f"<{type(self).__name__} for {named}>"


class BearerToken(_ForOrigins):
    """Sends a bearer token (RFC 6750), and asks for another when it is refused.

    Args:
        source: The token; or what gives one, a function or a coroutine function.  It is called at
            the first request, and once for all who wait when a server answers 401.
        origins: Where the token may go; by default to the origin of the first request.

    Example::

        bearer = BearerToken(read_token, origins=["https://api.example.com"])
        async with ClientSession(middlewares=(bearer,)) as session:
            ...
    """

    def __init__(
        self,
        source: str | TokenSource,
        *,
        origins: str | URL | Iterable[str | URL] | None = None,
    ) -> None:
        super().__init__(origins)
        self._source = None if isinstance(source, str) else source
        self._token = source if isinstance(source, str) else None
        # A lock belongs to an event loop, the token to none.
        self._asking: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` with the token; once more with a new one if it is refused.

        Raises:
            ValueError: The token cannot be sent.
        """
        if not self._may_go_to(request):
            return await handler(request)
        origin = origin_of(request.url)
        token = await self._current(None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = await handler(request)
        replayable = request.payload is None or request.payload.replayable
        refused = response.status == 401 and origin_of(request.url) == origin and replayable
        if self._source is None or not refused:
            return response
        # The answer goes first: the source may need the connection that it holds.
        response.release()
        request.headers["Authorization"] = f"Bearer {await self._current(token)}"
        return await handler(request)

    async def _current(self, refused: str | None) -> str:
        if self._token is not None and self._token != refused:
            return self._token
        assert self._source is not None
        lock = self._asking.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        # Who comes first asks for all; if it is cancelled or fails, the next in line does.
        async with lock:
            if self._token is None or self._token == refused:
                given = self._source()
                token = await given if inspect.isawaitable(given) else given
                if not isinstance(token, str) or not token:
                    raise TypeError(f"a token is text, not {type(token).__name__}")
                check_field("Authorization", token)
                self._token = token
            return self._token


class ApiKey(_ForOrigins):
    """Sends an API key, in a header field or in the query.

    A key in the query is added where the request is sent: `response.url`, errors and logs show the
    URL as the program gave it.

    Args:
        key: The key.
        header: The field's name.
        query: The parameter's name, instead of a field.
        origins: Where the key may go; by default to the origin of the first request.

    Raises:
        ValueError: Neither or both of `header` and `query` are given, or the key cannot be sent.
    """

    def __init__(
        self,
        key: str,
        *,
        header: str | None = None,
        query: str | None = None,
        origins: str | URL | Iterable[str | URL] | None = None,
    ) -> None:
        super().__init__(origins)
        if (header is None) == (query is None):
            raise ValueError("an API key goes into a header or into the query: name one of them")
        if header is not None:
            check_field(header, key)
        self._key = key
        self._header = header
        self._query = query

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` with the key."""
        if not self._may_go_to(request):
            return await handler(request)
        if self._header is not None:
            request.headers[self._header] = SecretText(self._key)
            return await handler(request)
        assert self._query is not None
        shown = request.url
        request.url = sent = shown.update_query({self._query: self._key})
        try:
            return await handler(request)
        finally:
            if request.url == sent:
                request.url = shown


class IdempotencyKeys:
    """Names each request that changes something, so that a server does it once for all tries.

    All tries of one request have the same key, if this middleware is outside of the one that tries
    again: ``middlewares=(IdempotencyKeys(), RetryMiddleware(methods=("GET", "POST")))``.

    Args:
        methods: The methods that need it; others may be repeated anyway (RFC 9110 9.2.2).
        header: The field's name.
    """

    def __init__(
        self, methods: Collection[str] = ("POST", "PATCH"), header: str = "Idempotency-Key"
    ) -> None:
        check_field(header, "")
        self._methods = method_names(methods)
        self._header = header

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` with a key, unless it has one."""
        if request.method in self._methods and self._header not in request.headers:
            request.headers[self._header] = f'"{uuid.uuid4()}"'  # a String of RFC 9651 3.3.3
        return await handler(request)
