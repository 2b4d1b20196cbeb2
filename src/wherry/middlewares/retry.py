"""`RetryMiddleware`: tries again what may be tried again, and no more often than a sick server can
bear.

When to try, how long to wait and whether the budget allows it are decided by values and pure
functions; the middleware itself only waits and sends.  Nothing here knows connections: what was
sent is read off the errors.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from yarl import URL

from wherry.argument_checks import check_seconds, method_names
from wherry.client.headers.validation import IDEMPOTENT_METHODS
from wherry.client.origin import origin_of
from wherry.client.request import ClientRequest, extensions_of
from wherry.errors import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ConnectionTimeoutError,
    ServerFingerprintMismatch,
)
from wherry.protocol.grammar import decimal, http_date

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.response import ClientResponse

# RFC 6585 4, RFC 9110 15.5.9, 15.6.1 to 15.6.5: what another try may mend.
RETRY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_MAX_ORIGINS = 1024
# Seconds; larger numbers of a Retry-After count as this one.
_LONGEST_WAIT = 10**12 - 1


class RetryEvent(NamedTuple):
    """A try that was not good enough, and what comes now.

    Args:
        request: The request.
        attempt: Which try it was; the first is 1.
        delay: Seconds until the next.
        response: What came, or None.
        error: What was raised, or None.
    """

    request: ClientRequest
    attempt: int
    delay: float
    response: ClientResponse | None
    error: BaseException | None


class RetryBudget:
    """How many retries an origin may cost, as a bucket of tokens for each origin.

    Every retry takes a token, every first try puts back a part of one: in the long run retries are
    at most that part of the requests, so that clients do not bury a server that is dying already.

    Args:
        ratio: Tokens that a first try puts back; 0.2 lets one retry through for five requests.
        capacity: Tokens at the beginning, and at most.
    """

    __slots__ = ("_tokens", "capacity", "ratio")

    def __init__(self, ratio: float = 0.2, capacity: float = 10) -> None:
        if ratio < 0 or capacity < 0:
            raise ValueError(
                f"a retry budget has no negative parts: ratio={ratio}, capacity={capacity}"
            )
        self.ratio: float = ratio
        self.capacity: float = capacity
        self._tokens: dict[URL | str, float] = {}

    def deposit(self, origin: URL | str) -> None:
        """Count a first try at `origin`."""
        tokens = self._tokens.get(origin)
        if tokens is not None:
            tokens += self.ratio
            if tokens >= self.capacity:
                del self._tokens[origin]  # as good as unknown
            else:
                self._tokens[origin] = tokens

    def withdraw(self, origin: URL | str) -> bool:
        """Take a token for a retry at `origin`, if there is one."""
        tokens = self._tokens.get(origin, self.capacity)
        if tokens < 1:
            return False
        if origin not in self._tokens and len(self._tokens) >= _MAX_ORIGINS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[origin] = tokens - 1
        return True


def backoff_limit(attempt: int, base: float, cap: float) -> float:
    """The longest wait after try number `attempt`, in seconds; full jitter takes a random part of
    it.

    Args:
        attempt: The try that failed; the first is 1.
        base: The limit after the first, in seconds.
        cap: The limit of the limits, in seconds.
    """
    return min(cap, base * 2.0 ** min(attempt - 1, 64))


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a Retry-After field asks for (RFC 9110 10.2.3), None where it says nothing
    that can be read.

    Args:
        value: A number of seconds or a date.
        now: The time of day, in seconds since the epoch.
    """
    if value is None:
        return None
    value = value.strip(" \t")
    wait = decimal(value, _LONGEST_WAIT)
    if wait is not None:
        return float(wait)
    date = http_date(value)
    return None if date is None else max(0.0, date - now)


def may_try_again(
    request: ClientRequest, methods: Collection[str], error: BaseException | None
) -> bool:
    """Whether sending `request` again can do no harm.

    A request that may have reached the server is sent again only if its method is one of `methods`;
    one of which nothing was sent, always.  Either way its body must be there once more.

    Args:
        request: What was sent.
        methods: The methods that may be repeated.
        error: What ended the try, None for a response.
    """
    if request.payload is not None and not request.payload.replayable:
        return False
    if isinstance(error, (ClientConnectorCertificateError, ServerFingerprintMismatch)):
        return False  # whoever answers there is not who was meant, and will not be next time
    if isinstance(error, (ClientConnectorError, ConnectionTimeoutError)) or getattr(
        error, "resend_safe", False
    ):
        return True
    return request.method in methods


class RetryMiddleware:
    """Tries again after statuses that pass, and after connections that fail, with a growing random
    wait.

    Args:
        attempts: Tries in all, the first included.
        backoff: The longest wait after the first try, in seconds; it doubles with every further
            one.
        max_backoff: The longest wait at all, in seconds; a Retry-After beyond it ends the tries.
        statuses: Statuses to try again after.
        methods: Methods of which a request may reach the server twice (RFC 9110 9.2.2); "POST" if
            yours may.
        jitter: Whether a wait is a random part of its limit, so that clients do not come back all
            at once.
        respect_retry_after: Whether a Retry-After field, in seconds or as a date, sets the wait.
        budget: What bounds all retries together; one for each middleware by default, None for no
            bound.
        on_retry: Called, and awaited if it is a coroutine function, before each wait.  Traces hear
            of it too, by their `on_request_retry`.

    Raises:
        ValueError: A number is out of its range.

    When the tries are used up, the last response is returned or the last error raised.  A wait that
    would pass `ClientTimeout.total` is not begun.

    Example::

        async with ClientSession(middlewares=(RetryMiddleware(attempts=4),)) as session:
            async with session.get("https://example.com/flaky") as response:
                ...
    """

    def __init__(
        self,
        attempts: int = 3,
        backoff: float = 0.5,
        *,
        max_backoff: float = 30.0,
        statuses: Collection[int] = RETRY_STATUSES,
        methods: Collection[str] = IDEMPOTENT_METHODS,
        jitter: bool = True,
        respect_retry_after: bool = True,
        budget: RetryBudget | bool | None = True,
        on_retry: Callable[[RetryEvent], Awaitable[None] | None] | None = None,
    ) -> None:
        if attempts < 1:
            raise ValueError(
                f"attempts counts the first try too, so it is at least 1, not {attempts}"
            )
        check_seconds("backoff", backoff)
        check_seconds("max_backoff", max_backoff)
        if backoff < 0 or max_backoff < 0:
            raise ValueError(
                f"a wait cannot be negative: backoff={backoff}, max_backoff={max_backoff}"
            )
        self._attempts = attempts
        self._backoff = backoff
        self._max_backoff = max_backoff
        self._statuses = frozenset(statuses)
        self._methods = method_names(methods)
        self._jitter = jitter
        self._respect_retry_after = respect_retry_after
        self._budget = (
            (RetryBudget() if budget is True else None) if isinstance(budget, bool) else budget
        )
        self._on_retry = on_retry

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` until it is answered well, or no more may be tried.

        Raises:
            ClientError: The last try failed.
        """
        origin = origin_of(request.url)
        if self._budget is not None:
            self._budget.deposit(origin)
        loop = asyncio.get_running_loop()
        timeout = extensions_of(request).timeout
        total = None if timeout is None else timeout.total
        deadline = loop.time() + total if total else None
        attempt = 0
        while True:
            attempt += 1
            response: ClientResponse | None = None
            error: BaseException | None = None
            try:
                response = await handler(request)
            except (ClientConnectionError, ConnectionError) as exc:
                error = exc
            if response is not None and response.status not in self._statuses:
                return response
            delay = self._wait_after(request, attempt, response, error)
            if (
                delay is None
                or (deadline is not None and loop.time() + delay >= deadline)
                or (self._budget is not None and not self._budget.withdraw(origin))
            ):
                if error is not None:
                    raise error
                assert response is not None
                return response
            if response is not None:
                response.release()
            await self._tell(RetryEvent(request, attempt, delay, response, error))
            del response, error  # nothing holds a broken connection while we wait
            await asyncio.sleep(delay)

    def _wait_after(
        self,
        request: ClientRequest,
        attempt: int,
        response: ClientResponse | None,
        error: BaseException | None,
    ) -> float | None:
        """Seconds until the next try, None for no more."""
        if attempt >= self._attempts or not may_try_again(request, self._methods, error):
            return None
        if isinstance(error, ClientError) and request.session.closed:
            return None
        if response is not None and self._respect_retry_after:
            asked = retry_after(response.headers.get("Retry-After"), time.time())
            if asked is not None:
                return asked if asked <= self._max_backoff else None
        limit = backoff_limit(attempt, self._backoff, self._max_backoff)
        return random.uniform(0, limit) if self._jitter else limit  # noqa: S311  (it protects no secret)

    async def _tell(self, event: RetryEvent) -> None:
        traces = extensions_of(event.request).traces
        if traces is not None:
            await traces.request_retry(
                event.attempt + 1, event.error, event.response, event.request.headers
            )
        if self._on_retry is not None:
            outcome = self._on_retry(event)
            if inspect.isawaitable(outcome):
                await outcome
