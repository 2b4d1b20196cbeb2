"""Middlewares that hold requests back: so many a second (`RateLimitMiddleware`), so many at once
(`ConcurrencyLimit`).

Both count by origin.  The rate is the generic cell rate algorithm: one number for each origin, the
time at which its bucket will be full again, from which every wait follows; so waiting costs no task
and no timer but its own.
"""

from __future__ import annotations

import asyncio
import weakref
from math import inf
from typing import TYPE_CHECKING

from yarl import URL

from wherry.client.origin import origin_of

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

_SWEEP_AT = 1024
_LoopAndOrigin = tuple[asyncio.AbstractEventLoop, URL]
# Seconds; clocks and sums are no finer.
_SAME_MOMENT = 1e-9


class TokenBuckets:
    """A token bucket for each key, without a clock of its own.

    Args:
        interval: Seconds in which one token comes.
        burst: How many tokens a bucket holds.
    """

    __slots__ = ("_full_at", "_interval", "_slack")

    def __init__(self, interval: float, burst: int) -> None:
        self._interval = interval
        self._slack = interval * (burst - 1)
        self._full_at: dict[URL, float] = {}

    def take(self, key: URL, now: float) -> float:
        """Take a token, on credit if need be; gives the seconds after which it is there."""
        full_at = self._full_at
        if len(full_at) >= _SWEEP_AT and key not in full_at:
            for idle in [other for other, when in full_at.items() if when <= now]:
                del full_at[idle]
        start = max(full_at.get(key, now), now)
        full_at[key] = start + self._interval
        return max(0.0, start - self._slack - now)

    def due(self, key: URL, now: float) -> float:
        """The seconds after which a token is there that nobody has taken on credit."""
        full_at = self._full_at.get(key)
        if full_at is None:
            return 0.0
        # Nobody is further ahead than an empty bucket: a clock that went back (another loop's)
        # must not hold requests for as long as it did.
        emptied = now + self._slack + self._interval
        if full_at > emptied:
            full_at = self._full_at[key] = emptied
        return max(0.0, full_at - self._slack - now)

    def put_back(self, key: URL) -> None:
        """Give back a token that was not used."""
        if key in self._full_at:
            self._full_at[key] -= self._interval


class _Queue:
    """Who waits for a token of one bucket in one event loop, first come first served.

    Waiting costs no token: one is taken when it is a request's turn.  So who leaves the queue
    changes nothing but that those behind move up.

    Args:
        loop_and_origin: The event loop, and which bucket.
        buckets: Where the tokens are.
        lines: The lines with somebody in them; this one enters, and leaves when it is empty.
    """

    __slots__ = ("_buckets", "_key", "_loop", "_loop_and_origin", "_queues", "_timer", "_waiters")

    def __init__(
        self,
        loop_and_origin: _LoopAndOrigin,
        buckets: TokenBuckets,
        queues: dict[_LoopAndOrigin, _Queue],
    ) -> None:
        self._loop_and_origin = loop_and_origin
        self._loop, self._key = loop_and_origin
        self._buckets = buckets
        self._queues = queues
        queues[loop_and_origin] = self
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: dict[asyncio.Future[None], None] = {}

    async def wait(self) -> None:
        """Return when it is the caller's turn, and its token taken."""
        waiter = self._loop.create_future()
        self._waiters[waiter] = None
        if self._timer is None:
            self.serve()
        try:
            await waiter
        except BaseException:
            self._waiters.pop(waiter, None)
            if waiter.done() and not waiter.cancelled():
                self._buckets.put_back(self._key)  # its turn had come, and is not used
            self._queues.get(self._loop_and_origin, self).serve()
            raise

    def serve(self) -> None:
        """Let through who may go now, and set the timer for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        while self._waiters:
            delay = self._buckets.due(self._key, now)
            if delay > _SAME_MOMENT:
                self._timer = self._loop.call_later(delay, self.serve)
                return
            waiter = next(iter(self._waiters))
            del self._waiters[waiter]
            if not waiter.done():
                self._buckets.take(self._key, now)
                waiter.set_result(None)
        if self._queues.get(self._loop_and_origin) is self:
            del self._queues[self._loop_and_origin]


class RateLimitMiddleware:
    """Lets so many requests a second through to each origin; the others wait in line, first come
    first served.

    Args:
        rate: Requests in each `period`.
        period: Seconds, 1 by default.
        burst: How many may go at once after a pause; `rate` by default, at least 1.

    Raises:
        ValueError: A number is not positive.
    """

    def __init__(self, rate: float, period: float = 1.0, *, burst: int | None = None) -> None:
        if not (0 < rate < inf and 0 < period < inf) or (burst is not None and not burst >= 1):
            raise ValueError(
                f"a rate limit needs positive numbers: rate={rate}, period={period}, burst={burst}"
            )
        if burst is None:
            burst = max(1, int(rate))
        self._buckets = TokenBuckets(period / rate, burst)
        # Lines with somebody in them; a waiter belongs to the event loop that it waits in.
        self._queues: dict[_LoopAndOrigin, _Queue] = {}

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` when its turn has come."""
        origin = origin_of(request.url)
        loop = asyncio.get_running_loop()
        loop_and_origin = (loop, origin)
        queue = self._queues.get(loop_and_origin)
        if queue is None and self._buckets.due(origin, now := loop.time()) <= _SAME_MOMENT:
            self._buckets.take(origin, now)
        else:
            if queue is None:
                queue = _Queue(loop_and_origin, self._buckets, self._queues)
            await queue.wait()
        return await handler(request)


class ConcurrencyLimit:
    """Lets so many requests be on their way to each origin at once.

    A request is on its way until its response's body has ended, or the response was closed,
    released or forgotten.  A middleware outside of this one that asks again must release its first
    response before, as `RetryMiddleware` does.

    Args:
        limit: How many at once.
        per_origin: Whether each origin has its own limit, or all share one.

    Raises:
        ValueError: `limit` is not positive.
    """

    def __init__(self, limit: int, *, per_origin: bool = True) -> None:
        if limit < 1:
            raise ValueError(f"at least one request must be let through: limit={limit}")
        self._limit = limit
        self._per_origin = per_origin
        # An origin nobody asks for any more is forgotten with the last request that holds its
        # semaphore.
        self._semaphores: weakref.WeakValueDictionary[
            tuple[asyncio.AbstractEventLoop, URL | None], asyncio.Semaphore
        ] = weakref.WeakValueDictionary()

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` when there is a place for it."""
        # A semaphore belongs to an event loop, a middleware to none.
        loop = asyncio.get_running_loop()
        key = (loop, origin_of(request.url) if self._per_origin else None)
        semaphore = self._semaphores.get(key)
        if semaphore is None:
            semaphore = self._semaphores[key] = asyncio.Semaphore(self._limit)
        await semaphore.acquire()
        try:
            response = await handler(request)
        except BaseException:
            semaphore.release()
            raise
        response.on_settled(semaphore.release)
        return response
