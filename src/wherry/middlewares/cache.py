"""`CacheMiddleware`: an HTTP cache (RFC 9111) that belongs to the program, as a client middleware.

What may be kept and served is `cache_policy`'s to say, where it lies `cache_storage`'s; here
requests go out, and responses are read, kept and made from what was kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from multidict import CIMultiDictProxy

from wherry.client.response import ClientResponse
from wherry.errors import ClientConnectionError, ClientError, ClientPayloadError
from wherry.middlewares.cache_policy import (
    StoredResponse,
    Verdict,
    cache_key,
    conditions,
    directives,
    freshened,
    invalidated,
    is_about,
    is_for_cache,
    judge,
    kept_headers,
    may_be_shared,
    may_serve_on_error,
    may_store,
    select,
    served_headers,
    variant_of,
)
from wherry.middlewares.cache_storage import MEBIBYTE, CacheStorage, MemoryCacheStorage

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.request import ClientRequest

_logger = logging.getLogger("wherry.client")
# How long a validation behind a served response may take, in seconds.
_BACKGROUND_SECONDS = 60.0
_SERVER_ERRORS = frozenset({500, 502, 503, 504})
# What servers usually vary on: requests that differ in one of these do not wait for one another.
_USUAL_VARIANTS = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Cookie",
    "Origin",
    "User-Agent",
)
# Of how many URLs it is remembered that their answers may not be kept, so that nobody waits for one
# in vain.
_MAX_PASSED = 1024


class _Lead:
    """A request that is on its way, and that equal ones wait for."""

    __slots__ = ("cancelled", "done")

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.cancelled = False


# The leads that the running task is within: a middleware's own request never waits for the one that
# it serves.
_leading: ContextVar[tuple[_Lead, ...]] = ContextVar("wherry_cache_leading", default=())


class CacheMiddleware:
    """Answers GET requests from what was answered before, as far as RFC 9111 lets a private cache.

    A response that comes from here has a `Cache-Status` field (RFC 9211) and an `Age`; cookies are
    not kept.  What a request's Authorization is makes another variant, so that users of one session
    are not mixed up.  Put it before (outside of) middlewares that change the URL, and after those
    that add what a server varies on.

    Of equal requests at the same time one goes out; the others wait until its answer is kept, and
    are served from it (RFC 9111 4).  Where it may not be, or the request failed, each goes out by
    itself.

    Args:
        storage: Where responses are kept; in memory by default.
        max_body: The largest body that is kept, in bytes, 8 MiB by default.
        heuristic: Whether a response that does not say how long it is fresh counts as fresh for a
            tenth of the time since it was changed (RFC 9111 4.2.2); otherwise the server is asked
            each time.

    `await cache.close()` ends what is still being validated, and closes the storage.

    Example::

        cache = CacheMiddleware()
        async with ClientSession(middlewares=(cache,)) as session:
            async with session.get("https://example.com/") as response:
                ...
    """

    def __init__(
        self,
        storage: CacheStorage | None = None,
        *,
        max_body: int = 8 * MEBIBYTE,
        heuristic: bool = False,
    ) -> None:
        self._storage: CacheStorage = MemoryCacheStorage() if storage is None else storage
        self._max_body = max_body
        self._heuristic = heuristic
        self._validating: dict[str, asyncio.Task[None]] = {}
        self._leads: dict[tuple[Any, ...], _Lead] = {}
        # The URLs whose last answer was not kept.
        self._passed: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is still being validated, and close the storage."""
        tasks = list(self._validating.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            self._validating.clear()
        await self._storage.close()

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Answer from the cache, or send `request` and keep the answer."""
        headers = request.headers
        if request.payload is not None or not is_for_cache(request.method, headers):
            return await self._past(request, handler)
        key = cache_key(request.url)
        status, alone = "hit", False
        while True:
            stored = select(await self._load(key), headers)
            if stored is not None:
                verdict, age = judge(stored, headers, time.time(), heuristic=self._heuristic)
                if verdict is not Verdict.VALIDATE:
                    return await self._serve(
                        key, stored, age, request, handler, verdict=verdict, status=status
                    )
            place = None if alone else self._place(key, stored, request)
            lead = None if place is None else self._leads.get(place)
            if lead is None or lead in _leading.get():
                break
            status = f"fwd={'miss' if stored is None else 'stale'}; collapsed"  # RFC 9211 2.6
            await lead.done.wait()
            # Who was cancelled says nothing about the answer: the first of those who waited goes in
            # its place.
            alone = not lead.cancelled
        if place is None or lead is not None:
            return await self._go(key, stored, request, handler)
        lead = self._leads[place] = _Lead()
        within = _leading.get()
        _leading.set((*within, lead))
        try:
            return await self._go(key, stored, request, handler)
        except asyncio.CancelledError:
            lead.cancelled = True
            raise
        finally:
            _leading.set(within)
            del self._leads[place]
            lead.done.set()

    def _place(
        self, key: str, stored: StoredResponse | None, request: ClientRequest
    ) -> tuple[Any, ...] | None:
        """Where equal requests meet; None for one that no other's answer can be good for."""
        headers = request.headers
        if key in self._passed or not may_be_shared(stored, headers, heuristic=self._heuristic):
            return None
        return (asyncio.get_running_loop(), key, *(headers.get(name) for name in _USUAL_VARIANTS))

    async def _serve(
        self,
        key: str,
        stored: StoredResponse,
        age: float,
        request: ClientRequest,
        handler: ClientHandlerType,
        *,
        verdict: Verdict,
        status: str,
    ) -> ClientResponse:
        if request._traces is not None:
            await request._traces.cache_hit(request.method, request.url)
        response = _made(request, stored, age, status)
        if verdict is Verdict.STALE_WHILE_REVALIDATE:
            self._validate_later(key, stored, request, response, handler)
        return response

    async def _go(
        self,
        key: str,
        stored: StoredResponse | None,
        request: ClientRequest,
        handler: ClientHandlerType,
    ) -> ClientResponse:
        """What the cache has does not do: ask, unless the request forbids it."""
        if request._traces is not None:
            await request._traces.cache_miss(request.method, request.url, stale=stored is not None)
        if "only-if-cached" in directives(request.headers):
            # RFC 9111 5.2.1.7.
            return _class_of(request).from_parts(request, 504, "Gateway Timeout", ())
        if stored is None:
            return await self._fetch(key, request, handler)
        return await self._validate(key, stored, request, handler)

    # A storage that fails costs its service, not the request.

    async def _load(self, key: str) -> list[StoredResponse]:
        try:
            return await self._storage.load(key)
        except Exception as exc:
            _logger.warning("The cache could not be read: %r", exc)
            return []

    async def _save(self, key: str, stored: StoredResponse) -> None:
        try:
            await self._storage.save(key, stored)
        except Exception as exc:
            _logger.warning("The cache could not be written: %r", exc)

    async def _drop(self, key: str) -> None:
        try:
            await self._storage.drop(key)
        except Exception as exc:
            _logger.warning("The cache could not be written: %r", exc)

    async def _past(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """A request that is none of the cache's, but for what it makes invalid."""
        method, url = request.method, request.url
        response = await handler(request)
        for key in invalidated(method, url, response.status, response.headers):
            await self._drop(key)
        return response

    async def _fetch(
        self, key: str, request: ClientRequest, handler: ClientHandlerType
    ) -> ClientResponse:
        asked_at = time.time()
        response = await handler(request)
        self._passed.pop(key, None)
        if (
            not await self._keep(key, request, response, asked_at)
            and response.content.exception() is None
        ):
            if len(self._passed) >= _MAX_PASSED:
                del self._passed[next(iter(self._passed))]
            self._passed[key] = None
        return response

    async def _keep(
        self, key: str, request: ClientRequest, response: ClientResponse, asked_at: float
    ) -> bool:
        """Keep a response if it may be kept; it can be read as before."""
        headers = response.headers
        if not may_store(request.headers, response.status, headers, heuristic=self._heuristic):
            return False
        if "Content-Encoding" in headers and response.content.decoder is None:
            return False  # raw content, because the program wanted it so: nobody else might
        variant = variant_of(request.headers, headers)
        body = await self._read(response)
        if body is None or variant is None:
            return False
        await self._save(
            key,
            StoredResponse(
                response.status,
                response.reason or "",
                kept_headers(response.raw_headers),
                body,
                asked_at,
                time.time(),
                variant,
            ),
        )
        return True

    async def _read(self, response: ClientResponse) -> bytes | None:
        """The body, which is then put back; None where it is larger than what is kept, bad, or was
        read in part.
        """
        if response._body is not None:  # a middleware further in has read it
            return response._body if len(response._body) <= self._max_body else None
        content = response.content
        limit = (
            self._max_body if content.max_size is None else min(self._max_body, content.max_size)
        )
        length = response.content_length
        if length is not None and length > limit:
            return None
        pieces = []
        size = 0
        try:
            while piece := await content.readany():
                pieces.append(piece)
                size += len(piece)
                if size > self._max_body:
                    break
        except ClientPayloadError:
            return None  # whoever reads the response meets it, as without a cache
        except BaseException:
            response.close()
            raise
        body = b"".join(pieces)
        content.put_back(body)
        return body if size <= self._max_body and size == content.total_bytes else None

    async def _validate(
        self, key: str, stored: StoredResponse, request: ClientRequest, handler: ClientHandlerType
    ) -> ClientResponse:
        """Ask whether a stored response is still good; what is given back is it, or what came
        instead.
        """
        headers = request.headers
        asked = conditions(stored)
        headers.update(asked)
        asked_at = time.time()
        try:
            response = await handler(request)
        except ClientConnectionError:
            response = None
            if not may_serve_on_error(stored, headers, time.time(), heuristic=self._heuristic):
                raise
        finally:
            for name in asked:
                headers.popall(name, None)
        if response is None or response.status in _SERVER_ERRORS:
            now = time.time()
            if response is None or may_serve_on_error(
                stored, headers, now, heuristic=self._heuristic
            ):
                if response is not None:
                    response.release()
                _, age = judge(stored, headers, now, heuristic=self._heuristic)
                return _made(request, stored, age, "hit; fwd=stale; detail=error")
            return response
        if response.status == 304:
            if not is_about(stored, response.headers):
                response.release()
                await self._drop(key)
                return await self._fetch(key, request, handler)
            stored = freshened(stored, response.raw_headers, asked_at, time.time())
            response.release()
            await self._save(key, stored)
            _, age = judge(stored, headers, stored.came_at, heuristic=self._heuristic)
            return _made(request, stored, age, "fwd=stale; fwd-status=304")
        kept = await self._keep(key, request, response, asked_at)
        if not kept and response.status < 500 and response.content.exception() is None:
            await self._drop(key)
        return response

    def _validate_later(
        self,
        key: str,
        stored: StoredResponse,
        request: ClientRequest,
        response: ClientResponse,
        handler: ClientHandlerType,
    ) -> None:
        """Ask behind a response that was served, once at a time for each key."""
        if key in self._validating:
            return
        # The response tells of the request as it was, not with the conditions that come now.
        headers = CIMultiDictProxy(request.headers.copy())
        response._request_info = request.request_info._replace(headers=headers)
        task = asyncio.create_task(self._validate_quietly(key, stored, request, handler))
        self._validating[key] = task
        task.add_done_callback(lambda _: self._validating.pop(key, None))

    async def _validate_quietly(
        self, key: str, stored: StoredResponse, request: ClientRequest, handler: ClientHandlerType
    ) -> None:
        try:
            async with asyncio.timeout(_BACKGROUND_SECONDS):
                response = await self._validate(key, stored, request, handler)
            response.release()
        except (ClientError, TimeoutError, OSError, RuntimeError) as exc:
            # RuntimeError: the session was closed meanwhile.
            _logger.debug("Validating %s failed; it stays stale: %r", key, exc)


def _class_of(request: ClientRequest) -> type[ClientResponse]:
    """The session's own class of responses."""
    return request.response_class or ClientResponse


def _made(
    request: ClientRequest, stored: StoredResponse, age: float, status: str
) -> ClientResponse:
    """A response from what was kept."""
    return _class_of(request).from_parts(
        request, stored.status, stored.reason, served_headers(stored, age, status), stored.body
    )
