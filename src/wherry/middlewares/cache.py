"""`CacheMiddleware`: an HTTP cache (RFC 9111) that belongs to the program, as a client middleware.

What may be kept and served is `cache_policy`'s to say, where it lies `cache_storage`'s; here
requests go out, and responses are read, kept and made from what was kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Self

from multidict import CIMultiDictProxy

from wherry.body.stream.reader import StreamReader
from wherry.client.request import ClientRequest, extensions_of
from wherry.client.response import ClientResponse, show_request
from wherry.errors import ClientConnectionError, ClientError
from wherry.middlewares.cache_collapsing import Flight, Flights, Group, leading
from wherry.middlewares.cache_fields import StoredResponse, directives
from wherry.middlewares.cache_key import (
    cache_key,
    credentials,
    invalidated,
    named_url,
    select,
)
from wherry.middlewares.cache_key_of_route import PartitionNames
from wherry.middlewares.cache_policy import (
    OWN_CONDITIONS,
    Verdict,
    conditions,
    freshened,
    is_about,
    is_conditional,
    is_for_cache,
    is_fresh_by_its_word,
    is_kept_decoded,
    judge,
    may_be_shared,
    may_serve_on_error,
    may_store,
    served_headers,
)
from wherry.middlewares.cache_ranges import answer, missing_range
from wherry.middlewares.cache_storage import MEBIBYTE, CacheStorage, MemoryCacheStorage
from wherry.middlewares.cache_tee import CopiedStream
from wherry.middlewares.cache_writer import Keeper, Visit

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType

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


class CacheMiddleware:
    """Answers GET requests from what was answered before, as far as RFC 9111 lets a private cache.

    A response that comes from here has a `Cache-Status` field (RFC 9211) and an `Age`.  Content is
    kept decoded, without its Content-Encoding (`detail=decoded` in `Cache-Status`).  Put it before
    (outside of) middlewares that change the URL, and after those that add what a server varies on.

    What is kept serves only requests that go the same way and ask as the same user: another TLS
    policy (`ssl=`, `server_hostname=`), other proxies or another Host never share it, nor do other
    values of Authorization and of fields that look like credentials (X-Api-Key, X-Auth-Token, ...);
    answers that are private, or do not say how long they may be used, are kept for each value of
    Cookie.

    Of equal requests at the same time one goes out; the others wait until its answer is kept, and
    are served from it (RFC 9111 4).  Where it may not be, or the request failed, each goes out by
    itself.

    Args:
        storage: Where responses are kept; in memory by default.
        max_body: The largest body that is kept, in bytes, 8 MiB by default.
        heuristic: Whether a response that does not say how long it is fresh counts as fresh for a
            tenth of the time since it was changed (RFC 9111 4.2.2); otherwise the server is asked
            each time.
        keep_set_cookie: Whether Set-Cookie is kept and served again, False by default: a cookie
            belongs to the exchange that brought it.
        credential_headers: Names of further fields that say who asks, beside those that look like
            it.

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
        keep_set_cookie: bool = False,
        credential_headers: Iterable[str] = (),
    ) -> None:
        self._storage: CacheStorage = MemoryCacheStorage() if storage is None else storage
        self._heuristic = heuristic
        self._partitions = PartitionNames(frozenset(name.lower() for name in credential_headers))
        # Validations behind responses that were served: what they validate, and all of them.
        self._validating: dict[tuple[str, Any], asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # What is being forgotten, which must not be cut short.
        self._dropping: set[asyncio.Task[None]] = set()
        self._flights = Flights()
        self._keeper = Keeper(
            self._storage,
            self._partitions,
            self._flights,
            _now,
            max_body=max_body,
            heuristic=heuristic,
            set_cookie=keep_set_cookie,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is still being validated, and close the storage."""
        for task in self._tasks:
            task.cancel()
        if self._tasks or self._dropping:
            await asyncio.wait(self._tasks | self._dropping)
            self._validating.clear()
        await self._storage.close()

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Answer from the cache, or send `request` and keep the answer."""
        headers = CIMultiDictProxy(request.headers.copy())
        asker = self._partitions.asker(request)
        visit = Visit(request, handler, cache_key(request.url), asker, headers)
        if request.payload is not None or not is_for_cache(request.method, headers):
            return await self._past(visit)
        status, alone = "hit", False
        while True:
            stored = select(await self._keeper.load(visit.key), headers, asker)
            if stored is not None:
                served = await self._serve(visit, stored, status)
                if served is not None:
                    return served
            group = None if alone else self._group(visit, stored)
            lead = None if group is None else self._flights.lead(group)
            if lead is None or lead in leading.get():
                break
            status = f"fwd={'miss' if stored is None else 'stale'}; collapsed"  # RFC 9211 2.6
            await lead.done.wait()
            # Who was cancelled says nothing about the answer: the first of those who waited goes in
            # its place.
            alone = not lead.cancelled
        return await self._lead(visit, stored, group if lead is None else None)

    def _group(self, visit: Visit, stored: StoredResponse | None) -> Group | None:
        """Where equal requests meet; None for one that no other's answer can be good for."""
        headers = visit.headers
        if self._flights.was_passed(visit.key) or not may_be_shared(
            stored, headers, heuristic=self._heuristic
        ):
            return None
        names = sorted({*_USUAL_VARIANTS, *credentials(headers, visit.asker.credentials)})
        values = (tuple(headers.getall(name, ())) for name in names)
        return (
            asyncio.get_running_loop(),
            visit.key,
            visit.asker,
            *zip(names, values, strict=True),
        )

    async def _lead(
        self, visit: Visit, stored: StoredResponse | None, group: Group | None
    ) -> ClientResponse:
        """Ask; equal requests wait for the answer at `group`."""
        flight = self._flights.begin(visit.key, group)
        within = leading.get()
        leading.set((*within, flight))
        streaming = False
        try:
            response = await self._go(visit, stored, flight)
            streaming = isinstance(response.content, CopiedStream)
            return response
        except asyncio.CancelledError:
            flight.cancelled = True
            raise
        finally:
            leading.set(within)
            if not streaming:
                self._flights.land(flight)

    async def _serve(
        self, visit: Visit, stored: StoredResponse, status: str
    ) -> ClientResponse | None:
        """A response from what was kept, if it may be used without asking."""
        ready = answer(stored, visit.headers, decoded=is_kept_decoded(stored))
        verdict, age = judge(stored, visit.headers, time.time(), heuristic=self._heuristic)
        if ready is None or verdict is Verdict.VALIDATE:
            return None
        request = visit.request
        traces = extensions_of(request).traces
        if traces is not None:
            await traces.cache_hit(request.method, request.url)
        response = _made(request, ready, age, status)
        if verdict is Verdict.STALE_WHILE_REVALIDATE:
            self._validate_later(visit, stored, response)
        return response

    async def _go(
        self, visit: Visit, stored: StoredResponse | None, flight: Flight
    ) -> ClientResponse:
        """What the cache has does not do: ask, unless the request forbids it."""
        request, headers = visit.request, visit.headers
        traces = extensions_of(request).traces
        if traces is not None:
            await traces.cache_miss(request.method, request.url, stale=stored is not None)
        if "only-if-cached" in directives(headers):
            # RFC 9111 5.2.1.7.
            return _class_of(request).from_parts(request, 504, "Gateway Timeout", ())
        if stored is None:
            return await self._fetch(visit, flight)
        if is_conditional(headers) or "If-Range" in headers:
            return await self._fetch(visit, flight, stored)
        if answer(stored, headers, decoded=is_kept_decoded(stored)) is None:
            return await self._complete(visit, stored, flight)
        return await self._validate(visit, stored, flight)

    async def _past(self, visit: Visit) -> ClientResponse:
        """A request that is none of the cache's, but for what it makes invalid."""
        request = visit.request
        method, url = request.method, request.url
        response = await visit.handler(request)
        keys = invalidated(method, url, response.status, response.headers)
        if not keys:
            return response
        for key in keys:
            self._outdate(key)
        # Whoever is cancelled here has changed something all the same: what is kept must go.
        dropping = _started(self._drop_all(keys), self._dropping)
        try:
            await asyncio.shield(dropping)
            if method == "POST" and self._is_for_later_gets(visit, response):
                flight = self._flights.begin(visit.key)
                if not await self._keeper.keep(visit, response, time.time(), flight):
                    self._flights.land(flight)
        except BaseException:
            response.close()
            raise
        return response

    async def _drop_all(self, keys: list[str]) -> None:
        for key in keys:
            await self._keeper.drop(key)

    def _is_for_later_gets(self, visit: Visit, response: ClientResponse) -> bool:
        """RFC 9110 9.3.3: a POST's answer that is one to a later GET, and says how long it is."""
        named = named_url(visit.request.url, response.headers.get("Content-Location"))
        return (
            response.status == 200
            and named is not None
            and cache_key(named) == visit.key
            and is_fresh_by_its_word(response.headers)
        )

    def _outdate(self, key: str) -> None:
        """What is under way for `key` may be kept no more, and nobody may join it."""
        self._flights.outdate(key)
        for known in [known for known in self._validating if known[0] == key]:
            del self._validating[known]

    async def _fetch(
        self, visit: Visit, flight: Flight, stored: StoredResponse | None = None
    ) -> ClientResponse:
        """Ask as the program did.

        Args:
            visit: The request.
            flight: Its way.
            stored: What is kept, and does not do: an answer to the program's own condition or range
                may say something of it.
        """
        asked_at = time.time()
        response = await visit.handler(visit.request)
        self._flights.forget_passed(visit.key)
        if stored is not None and response.status == 304:
            # The program's own condition was met; the news are of what is kept if they name it.
            if "ETag" in response.headers and is_about(stored, response.headers):
                news = freshened(stored, response.raw_headers, asked_at, time.time())
                await self._keeper.save(visit.key, news, flight)
            return response
        if stored is not None and response.status == 206:
            return await self._combine(visit, stored, response, asked_at, flight)
        kept = await self._keeper.keep(visit, response, asked_at, flight)
        if not kept and response.status != 304 and not is_broken(response):
            self._flights.note_passed(visit.key)
        return response

    async def _complete(
        self, visit: Visit, stored: StoredResponse, flight: Flight
    ) -> ClientResponse:
        """Ask for what a kept part lacks, or for all if that does not do."""
        request = visit.request
        verdict, _ = judge(stored, visit.headers, time.time(), heuristic=self._heuristic)
        lacking = None if "Range" in visit.headers else missing_range(stored, self._keeper.max_body)
        if lacking is None or verdict is Verdict.VALIDATE:
            return await self._fetch(visit, flight, stored)
        asked_at = time.time()
        response = await self._with(visit, lacking)
        if response.status not in {206, 416}:
            await self._keeper.keep(visit, response, asked_at, flight)
            return response
        whole = None
        if response.status == 206:
            whole = await self._keeper.joined(visit, stored, response, asked_at)
        response.release()
        if whole is None or whole.status != 200:
            return await self._fetch(visit, flight)
        await self._keeper.save(visit.key, whole, flight)
        return _made(request, whole, 0.0, "fwd=partial; fwd-status=206; stored")

    async def _with(self, visit: Visit, more: dict[str, str]) -> ClientResponse:
        """Ask with further fields, which the program does not see afterwards."""
        headers = visit.request.headers
        headers.update(more)
        try:
            return await visit.handler(visit.request)
        finally:
            for name in more:
                visit.request.headers.popall(name, None)

    async def _combine(
        self,
        visit: Visit,
        stored: StoredResponse,
        response: ClientResponse,
        asked_at: float,
        flight: Flight,
    ) -> ClientResponse:
        """A part came: it goes together with what is kept, or takes its place."""
        both = None
        if may_store(visit.headers, 206, response.headers, heuristic=self._heuristic):
            both = await self._keeper.joined(visit, stored, response, asked_at)
        if both is None:
            if not await self._keeper.keep(visit, response, asked_at, flight):
                await self._keeper.drop_unless_outdated(visit.key, flight)
            return response
        await self._keeper.save(visit.key, both, flight)
        ready = answer(both, visit.headers, decoded=False)
        if ready is None or ready.status != 206:
            return response
        response.release()
        return _made(visit.request, ready, 0.0, "fwd=partial; fwd-status=206; stored")

    async def _validate(
        self, visit: Visit, stored: StoredResponse, flight: Flight
    ) -> ClientResponse:
        """Ask whether a stored response is still good; what is given back is it, or what came
        instead.
        """
        headers = visit.headers
        asked_at = time.time()
        response: ClientResponse | None
        try:
            response = await self._with(visit, conditions(stored))
        except ClientConnectionError:
            response = None
            if not may_serve_on_error(stored, headers, time.time(), heuristic=self._heuristic):
                raise
        if response is None or response.status in _SERVER_ERRORS:
            return self._on_error(visit, stored, response)
        if response.status == 304:
            if not is_about(stored, response.headers):
                response.release()
                await self._keeper.drop_unless_outdated(visit.key, flight)
                return await self._fetch(visit, flight)
            stored = freshened(stored, response.raw_headers, asked_at, time.time())
            response.release()
            await self._keeper.save(visit.key, stored, flight)
            _, age = judge(stored, headers, stored.came_at, heuristic=self._heuristic)
            ready = answer(stored, headers, decoded=is_kept_decoded(stored))
            return _made(
                visit.request, stored if ready is None else ready, age, "fwd=stale; fwd-status=304"
            )
        if response.status == 206:
            return await self._combine(visit, stored, response, asked_at, flight)
        kept = await self._keeper.keep(visit, response, asked_at, flight)
        if not kept and response.status < 500 and not is_broken(response):
            await self._keeper.drop_unless_outdated(visit.key, flight)
        return response

    def _on_error(
        self, visit: Visit, stored: StoredResponse, response: ClientResponse | None
    ) -> ClientResponse:
        """The origin fails: what is kept, if it may be used then, or its error (RFC 5861 4)."""
        now = time.time()
        if response is not None:
            if not may_serve_on_error(stored, visit.headers, now, heuristic=self._heuristic):
                return response
            response.release()
        _, age = judge(stored, visit.headers, now, heuristic=self._heuristic)
        ready = answer(stored, visit.headers, decoded=is_kept_decoded(stored))
        return _made(
            visit.request, stored if ready is None else ready, age, "hit; fwd=stale; detail=error"
        )

    def _validate_later(
        self, visit: Visit, stored: StoredResponse, response: ClientResponse
    ) -> None:
        """Ask behind a response that was served, once at a time for each variant of each key."""
        known = (visit.key, stored.variant)
        if known in self._validating:
            return
        # The response tells of the request as it was, not with the conditions that come now.
        request = visit.request
        show_request(response, request.request_info._replace(headers=visit.headers))
        # The whole is asked about, whatever part of it this request wanted.
        for name in (*OWN_CONDITIONS, "Range", "If-Range"):
            request.headers.popall(name, None)
        visit = visit._replace(headers=CIMultiDictProxy(request.headers.copy()))
        self._validating[known] = task = _started(
            self._validate_quietly(visit, stored), self._tasks
        )

        def ended(_: asyncio.Task[None]) -> None:
            if self._validating.get(known) is task:
                del self._validating[known]

        task.add_done_callback(ended)

    async def _validate_quietly(self, visit: Visit, stored: StoredResponse) -> None:
        flight = self._flights.begin(visit.key)
        try:
            async with asyncio.timeout(_BACKGROUND_SECONDS):
                response = await self._validate(visit, stored, flight)
                if isinstance(response.content, CopiedStream):
                    await response.read()  # nobody else will: it is kept while it is read
            response.release()
        except (ClientError, TimeoutError, OSError, RuntimeError) as exc:
            # RuntimeError: the session was closed meanwhile.
            _logger.debug("Validating %s failed; it stays stale: %r", visit.key, exc)
        finally:
            self._flights.land(flight)


def _now() -> float:
    return time.time()


def _started(
    work: Coroutine[Any, Any, None], running: set[asyncio.Task[None]]
) -> asyncio.Task[None]:
    """Run something beside the request; it is among `running` until it ends."""
    task = asyncio.get_running_loop().create_task(work)
    running.add(task)
    task.add_done_callback(running.discard)
    return task


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


def is_broken(response: ClientResponse) -> bool:
    """Whether the body has failed; a stream of a program's own has nothing to tell."""
    content = response.content
    return isinstance(content, StreamReader) and content.exception() is not None
