"""One call of `Fetcher.fetch`: the input is read, workers fetch, pages are kept, results come out.

- The reader takes URLs from the input while the scheduler has room for them.
- Workers ask the scheduler for a job, fetch it, and say what it came to.  There are as many as may
  be in flight, made when they are needed.
- Pages go to the sink one at a time.  The committer makes them visible every few seconds, and only
  then are their results given to the caller.

Knows the session, the scheduler, the sink and the checkpoint; what each of them decides is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Container, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from yarl import URL

import wherry
from wherry.bulk.backlog_on_disk import Backlog, Overflow, Seen, key_of
from wherry.bulk.checkpoint import Checkpoint, Outcome, key_of_job
from wherry.bulk.hooks import Hooks, HooksError
from wherry.bulk.hosts import (
    Breaker,
    Host,
    HostDown,
    Job,
    canonical,
    joined,
    origin_end,
    origin_text,
)
from wherry.bulk.report import Report, write_prometheus
from wherry.bulk.results import Page, Result, page_of_state
from wherry.bulk.retry_rules import BACK_OFF, TRANSIENT, is_unreachable, may_pass
from wherry.bulk.robots import Robots, RobotsRefused, Rules
from wherry.bulk.scheduler import Scheduler, SchedulerLimits
from wherry.bulk.sinks.base import Sink
from wherry.client.download.disk_thread import finished
from wherry.client.response import brought_by_connection
from wherry.client.sending.redirect_rules import REDIRECT_STATUSES, redirect_url
from wherry.middlewares.retry import RetryBudget, backoff_limit, retry_after

# Results that are not committed, at most: then it is time, whatever the clock says.
_MOST_UNCOMMITTED: Final = 5000
# Bytes of the bodies that the caller has not taken yet; above it nothing more is begun.
_MOST_OUT_BYTES: Final = 256 * 2**20
_MOST_COMMITTED: Final = 20_000  # and those that the caller has not taken
_TURN: Final = 64  # URLs that are read before the others have their turn


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run keeps to; `Fetcher` says what each means."""

    in_flight: int
    limits: SchedulerLimits
    retries: int
    backoff: float
    max_pause: float
    breaker: Breaker
    unique: bool
    unique_bodies: bool
    keep: Container[int] | None
    max_redirects: int
    max_depth: int | None
    max_pages: int | None
    commit_every: float
    progress: Callable[[Report], object] | None
    progress_every: float
    metrics: Path | None
    robots: bool


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run works with; all of it is `Fetcher`'s.

    Args:
        session: Asks for what the caller named.
        stranger: Asks for what others named, and has no secrets.
        robots: The rules of robots.txt, for what others named.
        own_robots: The same for what the caller named.
        ssl: How TLS is checked where the caller named a host; None as everywhere.
        hooks: `on_response` and `follow`.
        checkpoint: What is done.
        report: The counters.
    """

    session: wherry.ClientSession
    stranger: wherry.ClientSession
    robots: Robots
    own_robots: Robots
    ssl: Any
    hooks: Hooks
    checkpoint: Checkpoint | None
    report: Report = field(default_factory=Report)


class Run:
    """Fetches all of an input.

    Args:
        settings: What it keeps to.
        tools: What it works with.
        urls: The input.
        sink: Where pages go; None for the caller.
        on_end: Called when it has ended.
    """

    def __init__(
        self,
        settings: Settings,
        tools: Tools,
        urls: Iterable[str | URL] | AsyncIterable[str | URL],
        sink: Sink | None,
        on_end: Callable[[Run], object],
    ) -> None:
        self._on_end = on_end
        self._settings = settings
        self._tools = tools
        self._urls = urls
        self._sink = sink
        self.report: Report = tools.report
        self._loop = asyncio.get_running_loop()
        self._clock = time.monotonic
        self._overflow = Overflow()
        self.scheduler: Scheduler = Scheduler(settings.limits, self._overflow)
        self._seen = Seen(self._overflow, "seen")
        self._bodies = Seen(self._overflow, "bodies")
        self._links = Backlog(self._overflow)
        self._found: list[tuple[str, int, bool]] = []  # links that no commit has written
        # Jobs that another partition began, and the redirects that they had then.
        self._came: dict[str, int] = {}
        self._budget = RetryBudget(0.5, 20)
        self._pages_before = 0  # of earlier starts
        # Workers, and who of them has nothing to do.
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = 0
        self._busy = 0
        self._resting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._reader: asyncio.Future[None] | None = None
        self._link_reader: asyncio.Future[None] | None = None
        self._input_ended = False
        self._finished = asyncio.Event()
        # Results, and who waits for them.
        self._sink_lock = asyncio.Lock()
        self._uncommitted: list[tuple[Result | None, Outcome]] = []
        self._commit_due = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._out: deque[Result] = deque()
        self._out_bytes = 0
        self._most_out = 2 * settings.in_flight if sink is None else _MOST_COMMITTED
        self._out_waiter: asyncio.Future[None] | None = None
        self._taken: list[Outcome] = []
        self._failure: BaseException | None = None
        self._opened = False
        self._draining = False
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    # --- the caller's side ------------------------------------------------------------------------

    async def results(self) -> AsyncGenerator[Result, None]:
        """What became of each URL, as it is known.

        Raises:
            OSError: The sink cannot write.
            CheckpointError: The checkpoint cannot.
            RuntimeError: The processes of the hooks do not work.
        """
        try:
            await self._open()
            self._start(self._read())
            if self._tools.hooks.functions[1] is not None or self._links_may_be_left():
                self._start(self._read_links())
            self._committer = self._start(self._commit_in_time())
            self._start(self._tell_in_time())
            while True:
                while self._out:
                    result = self._out.popleft()
                    was_heavy = self._out_bytes >= _MOST_OUT_BYTES
                    self._out_bytes -= _weight(result)
                    is_light_again = was_heavy and self._out_bytes < _MOST_OUT_BYTES
                    if is_light_again or len(self._out) == self._most_out - 1:
                        self._go_on()
                    yield result
                    if self._sink is None and self._tools.checkpoint is not None:
                        # The caller has come back for more: it is done with this one.
                        self._taken.append(self._outcome(result, result.page))
                if self._failure is not None:
                    raise self._failure
                if self._finished.is_set():
                    await finished(self._loop.create_task(self._commit()))
                    if not self._out:
                        break
                    continue
                await self._more()
        finally:
            await self.close()

    def drain(self) -> None:
        """Start nothing more: the results end when what is under way has ended."""
        self._draining = True
        self._finish_if_done()

    def _go_on(self) -> None:
        """Set workers and the reader going: there is room for results again."""
        self._kick()
        if self._reader is not None and self._allowance():
            self._wake_reader()

    async def _more(self) -> None:
        """Wait until there are results, or the end."""
        self._out_waiter = self._loop.create_future()
        try:
            await self._out_waiter
        finally:
            self._out_waiter = None

    def _wake_caller(self) -> None:
        if self._out_waiter is not None and not self._out_waiter.done():
            self._out_waiter.set_result(None)

    async def _open(self) -> None:
        checkpoint, sink = self._tools.checkpoint, self._sink
        self._opened = True
        where = "no sink" if sink is None else sink.where
        if checkpoint is not None and where is not None:
            checkpoint.bind(where)
        name = f"{os.urandom(4).hex()}.1" if checkpoint is None else checkpoint.begin()
        if sink is not None:
            await sink.open(name)
        if checkpoint is not None:
            await checkpoint.recover(None if sink is None else sink.present)
            self._pages_before = checkpoint.count()[0]
        if sink is not None:
            await sink.discard()

    def _links_may_be_left(self) -> bool:
        checkpoint = self._tools.checkpoint
        return checkpoint is not None and checkpoint.was_used

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if not self._closed:
                self._fail(RuntimeError("a task of a bulk run was cancelled by somebody else"))
        elif (exc := task.exception()) is not None:
            self._fail(exc)

    def _fail(self, exc: BaseException) -> None:
        if self._failure is None:
            if isinstance(exc, sqlite3.Error):
                # The checkpoint tells of its own by itself.
                cause, exc = exc, OSError(f"no room on disk for the URLs that wait: {exc}")
                exc.__cause__ = cause
            self._failure = exc
        self._wake_caller()

    async def close(self) -> None:
        """End, at once or at the end; what is in the sink is committed unless something failed.

        Who is cancelled meanwhile is so once all has ended: a commit that has begun is not broken
        off, and nothing stays behind.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await finished(self._closing)

    async def _close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = self._tasks - {self._committer}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A commit that has begun is not broken off.
        self._commit_due.set()
        if self._committer is not None:
            await asyncio.gather(self._committer, return_exceptions=True)
        try:
            if self._failure is None:
                await self._commit()
        finally:
            try:
                if self._sink is not None and self._opened:
                    await self._sink.close()
            finally:
                self._overflow.close()
                self._on_end(self)
                self._tell()

    # --- reading ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        """The links that an earlier start found, and then the input."""
        checkpoint = self._tools.checkpoint
        if checkpoint is not None and checkpoint.was_used:
            for url, depth, trusted in checkpoint.found():
                if self._seen.add(key_of(url)):
                    self._links.push(Job(url, depth, trusted))
        if isinstance(self._urls, AsyncIterable):
            async for text in self._urls:
                await self._room()
                self._admit(text)
        else:
            left = 0
            for text in self._urls:
                if not left:
                    await asyncio.sleep(0)  # the others have their turn
                    while not (left := self._allowance()):
                        await self._wait_to_read()
                left -= 1
                self._admit(text)
        self._input_ended = True
        self._finish_if_done()

    async def _read_links(self) -> None:
        """The links that pages have."""
        while True:
            if not self._links:
                self._finish_if_done()
                self._link_reader = self._loop.create_future()
                await self._link_reader
                continue
            await self._room()
            self._schedule(self._links.pop())

    def _allowance(self) -> int:
        """How many URLs may be read before this is asked again."""
        if len(self._out) >= self._most_out or len(self._uncommitted) >= 2 * _MOST_UNCOMMITTED:
            return 0  # of an input that gives nothing but mistakes
        starving = bool(self._resting) or self._workers < self._settings.in_flight
        return min(self.scheduler.allowance(self._clock(), starving=starving), _TURN)

    async def _room(self) -> None:
        """Wait until one more URL may be read."""
        while not self._allowance():
            await self._wait_to_read()

    async def _wait_to_read(self) -> None:
        if self._reader is None:
            self._reader = self._loop.create_future()
        await asyncio.shield(self._reader)

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.set_result(None)

    def _admit(self, text: str | URL | Job) -> None:
        """Take in a URL of the input, or a job that another partition of a cluster began."""
        report = self.report
        report.read += 1
        if isinstance(text, Job):
            if self._is_new(text.url, text.hops):
                self._came[text.url] = text.hops
                self.scheduler.again(text, self._clock())  # what waits on disk is not begun
                self._kick()
            return
        try:
            job = self.scheduler.hosts.job(text)
        except wherry.InvalidURL as exc:
            self._refuse(Job(str(text)), exc)
            return
        if self._is_new(job.url):
            self._schedule(job)

    def _is_new(self, url: str, came: int = 0) -> bool:
        checkpoint = self._tools.checkpoint
        if not self._settings.unique and checkpoint is None:
            return True
        key = key_of_job(url, came)
        if self._seen.add(key) and not (checkpoint is not None and checkpoint.is_done(key)):
            return True
        self.report.known += 1
        return False

    def _schedule(self, job: Job) -> None:
        self.scheduler.add(job, self._clock())
        if self._resting or self._workers < self._settings.in_flight:
            self._kick()

    def _refuse(self, job: Job, exc: Exception) -> None:
        """Give up a URL that cannot be asked for at all."""
        self._give(Result(job.url, error=exc), None)

    # --- workers ----------------------------------------------------------------------------------

    def _kick(self) -> None:
        """Wake a worker for each host that may be asked now."""
        ready = self.scheduler.ready
        while ready and self._resting:
            waiter = self._resting.pop()
            if not waiter.done():
                waiter.set_result(None)
                ready -= 1
        if ready and self._workers < self._settings.in_flight:
            self._workers += 1
            self._start(self._work())
        elif self._resting:
            self._set_timer()

    def _set_timer(self) -> None:
        """Set the timer to when the next job may start."""
        when = self.scheduler.next_time()
        if when is None or (self._timer is not None and self._wakes_at <= when):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(when - self._clock(), self._on_time)
        self._wakes_at = when

    def _on_time(self) -> None:
        self._timer = None
        self.scheduler.rouse(self._clock())
        self._kick()
        self._set_timer()

    async def _work(self) -> None:
        scheduler = self.scheduler
        while True:
            now = self._clock()
            taken = scheduler.take(now) if self._may_start() else None
            if taken is None:
                waiter = self._loop.create_future()
                self._resting.append(waiter)
                if self._reader is not None and self._allowance():
                    self._wake_reader()
                self._set_timer()
                self._finish_if_done()
                await waiter
                continue
            if self._reader is not None and self._is_low():
                self._wake_reader()
            self._busy += 1
            try:
                await self._fetch(*taken, now)
            finally:
                self._busy -= 1

    def _is_low(self) -> bool:
        """Whether who reads should be woken: not for each URL."""
        limits = self._settings.limits
        return 4 * self.scheduler.queued <= 3 * limits.buffer and self._allowance() > 0

    def _may_start(self) -> bool:
        if self._draining:
            return False
        most = self._settings.max_pages
        if most is not None and self._pages_before + self.report.pages + self._busy >= most:
            return False
        return len(self._out) < self._most_out and self._out_bytes < _MOST_OUT_BYTES

    def _finish_if_done(self) -> None:
        """End the run if nothing is left to do, or enough is done."""
        if self._busy:
            return
        most = self._settings.max_pages
        enough = most is not None and self._pages_before + self.report.pages >= most
        if (
            enough
            or self._draining
            or (self._input_ended and self.scheduler.idle and not self._links)
        ):
            self._finished.set()
            self._wake_caller()

    def _options_of(self, job: Job) -> dict[str, Any]:
        options: dict[str, Any] = {"allow_redirects": False}
        if job.trusted and self._tools.ssl is not None:
            options["ssl"] = self._tools.ssl
        return options

    async def _fetch(self, job: Job, host: Host, now: float) -> None:
        """One try of one job, and what follows from it."""
        if host.dead_until > now:
            self.scheduler.finished(host, now)
            self._refuse_or_fail(job, HostDown(f"{host.name} was given up for a while"))
            return
        if self._settings.robots and not await self._is_allowed(job, host):
            return
        job.attempts += 1
        self.report.requests += 1
        session = self._tools.session if job.trusted else self._tools.stranger
        try:
            async with session.get(job.target, **self._options_of(job)) as response:
                body = await response.read()
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if self._closed or task is None or task.cancelling():
                raise
            self._failed(job, host, wherry.ClientConnectionError("it was given up"), exc)
        except Exception as exc:
            self._failed(job, host, exc)
        else:
            self.report.statuses[response.status] += 1
            if response.status in TRANSIENT and self._try_later(job, host, response):
                return
            began, now = now, self._clock()
            if response.status not in BACK_OFF:
                host.reached()
            self._budget.deposit(host.name)
            if response.status in REDIRECT_STATUSES and "Location" in response.headers:
                self._redirect(job, host, response)
                return
            self.scheduler.finished(host, now)
            await self._answered(job, response, body, now - began)

    async def _is_allowed(self, job: Job, host: Host) -> bool:
        """Whether a job may go on; if robots.txt forbids it, or had to be asked, it is seen to."""
        robots, scheduler = self._robots_for(job), self.scheduler
        if job.allowed:
            job.allowed = False
            return True
        origin = origin_text(job.target)
        rules = robots.known(origin)
        if rules is not None:
            host.delay = rules.delay
            if (refused := rules.refusal(job.target)) is None:
                return True
            scheduler.finished(host, self._clock())
            self._forbidden(job, refused)
            return False
        scheduler.hold(host)
        try:
            rules = await robots.rules_of(origin)
        finally:
            now = self._clock()
            scheduler.release(host, now)
            scheduler.finished(host, now)
        self._rules_came(job, host, rules, now)
        return False

    def _robots_for(self, job: Job) -> Robots:
        return self._tools.own_robots if job.trusted else self._tools.robots

    def _forbidden(self, job: Job, refused: RobotsRefused) -> None:
        self.report.robots_refused += 1
        self._refuse_or_fail(job, refused)

    def _rules_came(self, job: Job, host: Host, rules: Rules, now: float) -> None:
        """robots.txt was asked for: the job comes back after its delay, or after a pause."""
        host.delay = rules.delay
        host.next_at = max(host.next_at, now + max(self._settings.limits.interval, rules.delay))
        reason = rules.reason
        if reason is not None:
            if is_unreachable(reason):
                host.unreachable(self._settings.breaker, now)
            job.attempts += 1
            if job.attempts <= self._settings.retries and may_pass(reason):
                # It may be there in a moment: ask again, rather than take all for forbidden.
                self._robots_for(job).forget(origin_text(job.target))
                self.report.retries += 1
                self.scheduler.again(job, now, self._pause(job, reason))
                return
        if (refused := rules.refusal(job.target)) is not None:
            self._forbidden(job, refused)
            return
        job.allowed = True
        self.scheduler.again(job, now)

    def _pause(self, job: Job, exc: Exception | None = None) -> float:
        """Seconds until a further try of a job: a part of the limit, by chance."""
        fields = getattr(exc, "headers", None) or {}
        asked = retry_after(fields.get("Retry-After"), time.time())
        limit = backoff_limit(job.attempts, self._settings.backoff, self._settings.max_pause)
        pause = random.uniform(limit / 2, limit)  # noqa: S311
        return max(pause, min(asked or 0.0, self._settings.max_pause))

    def _failed(
        self, job: Job, host: Host, exc: Exception, cause: BaseException | None = None
    ) -> None:
        """A try brought no answer: try again later, or give the URL up."""
        now = self._clock()
        if cause is not None:
            exc.__cause__ = cause
        if is_unreachable(exc):
            host.unreachable(self._settings.breaker, now)
        if (
            job.attempts <= self._settings.retries
            and may_pass(exc)
            and self._budget.withdraw(host.name)
        ):
            self.report.retries += 1
            self.scheduler.again(job, now, self._pause(job))
            self.scheduler.finished(host, now)
            return
        self.scheduler.finished(host, now)
        self._refuse_or_fail(job, exc)

    def _try_later(self, job: Job, host: Host, response: wherry.ClientResponse) -> bool:
        """An answer that may be another one later; False if the job has no further try."""
        settings, now = self._settings, self._clock()
        if response.status in BACK_OFF:
            # All of the host rests, and so this asks for no part of the budget.
            asked = retry_after(response.headers.get("Retry-After"), time.time())
            pause = backoff_limit(host.strikes + 1, settings.backoff, settings.max_pause)
            host.rest(pause if asked is None else asked, now, settings.max_pause)
            if job.attempts > settings.retries:
                return False
            delay = 0.0
        elif job.attempts > settings.retries or not self._budget.withdraw(host.name):
            return False
        else:
            delay = self._pause(job)
        self.report.retries += 1
        self.scheduler.again(job, now, delay)
        self.scheduler.finished(host, now)
        return True

    def _redirect(self, job: Job, host: Host, response: wherry.ClientResponse) -> None:
        """The job goes on to where an answer sends it, by the rules of the host there."""
        now = self._clock()
        before = job.target
        job.hops += 1
        job.attempts -= 1
        try:
            if job.hops > self._settings.max_redirects:
                raise wherry.TooManyRedirects(
                    response.request_info, (response,), status=response.status,
                    message=f"more than {self._settings.max_redirects} redirects",
                )  # fmt: skip
            target = canonical(redirect_url(URL(before), response.headers["Location"]))
        except (wherry.ClientError, ValueError) as exc:
            job.attempts += 1
            self.scheduler.finished(host, now)
            self._refuse_or_fail(job, exc, response.status)
            return
        job.target = target
        if target[: origin_end(target)] != before[: origin_end(before)]:
            job.trusted = False  # for the rest of the chain: see `redirect_rules`
        self.report.redirects += 1
        checkpoint = self._tools.checkpoint
        if checkpoint is not None and not checkpoint.owns(target):
            self.scheduler.finished(host, now)
            came = self._came.pop(job.url, 0)
            self._keep(None, Outcome(job.url, handed=target, hops=job.hops, came=came))
            return
        self.scheduler.again(job, now)
        self.scheduler.finished(host, now)
        if self._resting:
            self._kick()

    def _refuse_or_fail(self, job: Job, exc: Exception, status: int | None = None) -> None:
        """Give the result of a URL that has failed for good."""
        self._give(Result(job.url, status, 0, exc, job.attempts), None)

    # --- pages ------------------------------------------------------------------------------------

    async def _answered(
        self, job: Job, response: wherry.ClientResponse, body: bytes, elapsed: float
    ) -> None:
        """A whole answer came: make it a page, or an error if its status is not kept."""
        keep = self._settings.keep
        self.report.bytes += len(body)
        if keep is not None and response.status not in keep:
            error = wherry.ClientResponseError(
                response.request_info, (), status=response.status,
                message=response.reason or "", headers=response.headers,
            )  # fmt: skip
            self._give(Result(job.url, response.status, len(body), error, job.attempts), None)
            return
        page = _FetchedPage(job, response, body, elapsed)
        result = Result(job.url, page.status, len(body), None, job.attempts)
        if self._tools.hooks.wanted:
            try:
                page.extracted, found = await self._tools.hooks.call(page)
                links = self._links_of(job, page, found)
            except HooksError:
                raise  # of no page: it ends the run
            except Exception as exc:
                # It is the page's fault, or the hook's: the others go on.
                result.error = exc
                self._give(result, None)
                return
            if links:
                self._follow(job, page, links)
        result.extracted = page.extracted
        if self._sink is None:
            result.page = page
            if self._settings.unique_bodies:
                result.duplicate = self._is_duplicate(page)
            self._give(result, page)
            return
        async with self._sink_lock:
            if self._settings.unique_bodies and self._is_duplicate(page):
                result.duplicate = True
            else:
                result.place = await self._sink.add(page)
            self._give(result, page)
            if self._sink.full:
                self._commit_due.set()

    def _is_duplicate(self, page: Page) -> bool:
        """Whether a body like that is there already."""
        key = bytes.fromhex(page.digest)[:16]
        checkpoint = self._tools.checkpoint
        known = not self._bodies.add(key) or (
            checkpoint is not None and checkpoint.knows_digest(key)
        )
        self.report.duplicates += known
        return known

    def _links_of(self, job: Job, page: Page, found: Iterable[str | URL] | None) -> list[str]:
        """The URLs among what a hook found, unless a job is too deep already."""
        most = self._settings.max_depth
        if not found or (most is not None and job.depth >= most):
            return []
        base = URL(page.final_url)
        return [url for link in found if (url := joined(base, link)) is not None]

    def _follow(self, job: Job, page: Page, links: list[str]) -> None:
        """Take in the links of a page that are new."""
        depth = job.depth + 1
        origin = page.final_url[: origin_end(page.final_url)]
        for url in links:
            if not self._is_new(url):
                continue
            self.report.read += 1
            trusted = job.trusted and url[: origin_end(url)] == origin
            self._links.push(Job(url, depth, trusted))
            if self._tools.checkpoint is not None:
                self._found.append((url, depth, trusted))
        if self._links and self._link_reader is not None and not self._link_reader.done():
            self._link_reader.set_result(None)

    def _give(self, result: Result, page: Page | None) -> None:
        """Count a result, and keep it for the caller, who sees it once it is committed."""
        report = self.report
        if result.error is None:
            report.pages += 1
        else:
            report.failed += 1
            report.errors[type(result.error).__name__] += 1
        if self._sink is None:
            self._out.append(result)
            self._out_bytes += _weight(result)
            self._wake_caller()
            return
        self._keep(result, self._outcome(result, page))

    def _keep(self, result: Result | None, outcome: Outcome) -> None:
        """Something is to be committed."""
        self._uncommitted.append((result, outcome))
        if len(self._uncommitted) >= _MOST_UNCOMMITTED:
            self._commit_due.set()

    def _outcome(self, result: Result, page: Page | None) -> Outcome:
        error = result.error
        return Outcome(
            result.url,
            None if error is None else f"{type(error).__name__}: {error}",
            result.place,
            page.digest if page is not None and self._settings.unique_bodies else None,
            result.status,
            result.bytes,
            result.attempts,
            came=self._came.pop(result.url, 0),
        )

    # --- commits ----------------------------------------------------------------------------------

    async def _commit_in_time(self) -> None:
        while not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.commit_every):
                    await self._commit_due.wait()
            self._commit_due.clear()
            await self._commit()

    async def _commit(self) -> None:
        """Make what is in the sink visible, and give its results to the caller.

        A checkpoint knows of it before and after: `prepared`, `committed`.
        """
        checkpoint, sink = self._tools.checkpoint, self._sink
        async with self._sink_lock:
            batch, self._uncommitted = self._uncommitted, []
            outcomes = [outcome for _, outcome in batch]
            taken, self._taken = self._taken, []
            outcomes += taken
            if not outcomes:
                return
            shards = [] if sink is None else await sink.prepare()
            found, self._found = self._found, []
            if checkpoint is not None:
                await asyncio.to_thread(checkpoint.prepared, shards, outcomes, found)
            if sink is not None:
                await sink.publish(shards)
            if checkpoint is not None:
                await asyncio.to_thread(checkpoint.committed)
            self.report.committed += len(outcomes)
            self._out.extend(result for result, _ in batch if result is not None)
        self._wake_caller()
        if not self._closed:
            self._go_on()

    # --- telling ----------------------------------------------------------------------------------

    async def _tell_in_time(self) -> None:
        if self._settings.progress is None and self._settings.metrics is None:
            return
        while True:
            await asyncio.sleep(self._settings.progress_every)
            self._tell()

    def refresh(self) -> Report:
        """The counters, with those that are only known when they are asked for."""
        report, scheduler = self.report, self.scheduler
        report.queued = scheduler.pending + len(self._links)
        report.spilled = scheduler.spilled
        report.active = scheduler.active
        report.hosts = len(scheduler.hosts)
        report.seconds = time.time() - report.started
        return report

    def _tell(self) -> None:
        report = self.refresh()
        if self._settings.progress is not None:
            self._settings.progress(report)
        if self._settings.metrics is not None:
            write_prometheus(report, self._settings.metrics)


def _weight(result: Result) -> int:
    """Bytes that a result holds: with a sink it has no page."""
    return 0 if result.page is None else result.bytes


class _FetchedPage(Page):
    """A page of a response, of which what costs most is made when it is asked for."""

    __slots__ = ("_response",)

    def __init__(
        self, job: Job, response: wherry.ClientResponse, body: bytes, elapsed: float
    ) -> None:
        self._response = response
        self.url = job.url
        self.final_url = job.target
        self.status = response.status
        self.reason = response.reason or ""
        self.body = body
        self.http_version = _version(response)
        self.request_method = response.method
        self.ip = _address(response)
        self.fetched_at = datetime.now(UTC)
        self.elapsed = elapsed
        self.extracted = None

    def __getattr__(self, name: str) -> Any:
        """A field that was not asked for yet."""
        value: Any
        if name == "headers":
            value = self._response.headers
        elif name == "raw_headers":
            value = tuple(self._response.raw_headers)
        elif name == "request_headers":
            value = self._response.request_info.headers
        elif name == "charset":
            value = self._response.charset
        elif name == "digest":
            value = sha256(self.body).hexdigest()
        else:
            raise AttributeError(name)
        setattr(self, name, value)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return page_of_state, (self.__getstate__(),)


def _version(response: wherry.ClientResponse) -> str:
    """1.1, 2 or 3 (RFC 9110 2.5: those above have no minor version)."""
    version = response.version
    if version is None:
        return ""
    return str(version.major) if version.major > 1 else f"{version.major}.{version.minor}"


def _address(response: wherry.ClientResponse) -> str | None:
    """The address of who answered; None where that is a proxy."""
    brought = brought_by_connection(response)
    if brought is None:
        return None
    connection = brought[1].connection
    route = connection.route
    if connection.transport is None or (route is not None and (route.hops or route.forward)):
        return None
    peer = connection.transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else None
