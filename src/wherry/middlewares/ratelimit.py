"""Middlewares that hold requests back: so many a second (`RateLimitMiddleware`), so many at once
(`ConcurrencyLimit`).

Both count by origin.  The rate is the generic cell rate algorithm: one number for each origin, the
time at which its bucket will be full again, from which every wait follows; so waiting costs no task
and no timer but its own.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

from yarl import URL

from wherry.client.origin import origin_of

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

_SWEEP_AT = 1024


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

    def put_back(self, key: URL) -> None:
        """Give back a token that was not used."""
        if key in self._full_at:
            self._full_at[key] -= self._interval


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
        if burst is None:
            burst = max(1, int(rate))
        if rate <= 0 or period <= 0 or burst < 1:
            raise ValueError(
                f"a rate limit needs positive numbers: rate={rate}, period={period}, burst={burst}"
            )
        self._buckets = TokenBuckets(period / rate, burst)

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` when its turn has come."""
        origin = origin_of(request.url)
        wait = self._buckets.take(origin, asyncio.get_running_loop().time())
        if wait:
            try:
                await asyncio.sleep(wait)
            except BaseException:
                self._buckets.put_back(origin)
                raise
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
        self._places: weakref.WeakValueDictionary[URL | None, asyncio.Semaphore] = (
            weakref.WeakValueDictionary()
        )

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` when there is a place for it."""
        key = origin_of(request.url) if self._per_origin else None
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = asyncio.Semaphore(self._limit)
        await places.acquire()
        try:
            response = await handler(request)
        except BaseException:
            places.release()
            raise
        response.on_settled(places.release)
        return response
