"""`Fetcher`: fetches the URLs of any iterable, politely, in bounded memory, and resumably.

It checks what it is given, owns the sessions and the checkpoint, and has a `Run` for each call of
`fetch`.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Container, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Never, Self

from yarl import URL

import wherry
from wherry.argument_checks import whole_number
from wherry.bulk.checkpoint import Checkpoint
from wherry.bulk.hooks import Hook, Hooks
from wherry.bulk.hosts import Breaker
from wherry.bulk.opentelemetry_meters import observe
from wherry.bulk.report import Report
from wherry.bulk.results import Result
from wherry.bulk.robots import Robots
from wherry.bulk.run import Run, Settings, Tools
from wherry.bulk.scheduler import SchedulerLimits
from wherry.bulk.sinks.base import Sink
from wherry.bulk.sinks.from_text import parse_sink
from wherry.client.call_mistakes import unknown_keyword
from wherry.client.headers.validation import ORIGIN_FIELDS, field_pairs

if sys.platform != "win32":
    import resource

_AGENT: Final = f"wherry/{wherry.__version__}"
_OK: Final = range(200, 300)
# Seconds: a page that takes longer holds its place in vain.
_TIMEOUT: Final = wherry.ClientTimeout(total=120, sock_connect=30)
# Connections that are kept, beside those in use: a crawl goes from host to host, and comes back.
_KEPT: Final = 1024
# What of a session's options is its secret, and goes to no host that the caller did not name.
_SECRETS: Final = frozenset({"auth", "cookies", "params"})

# Words that others have for these limits, and what stands for them here.
_ARGUMENTS: Final = {
    "concurrency": "in_flight= for all hosts, per_host= for one",
    "delay": "rate_per_host=: requests a second to one host",
    "headers": 'session_options={"headers": ...}',
    "into": "into= of fetch",
    "limit": "in_flight= for all hosts, per_host= for one",
    "limit_per_host": "per_host=",
    "max_connections": "in_flight=",
    "proxy": 'session_options={"proxy": ...}',
    "rate": "rate_per_host=: requests a second to one host",
    "rate_limit": "rate_per_host=: requests a second to one host",
    "rps": "rate_per_host=: requests a second to one host",
    "workers": "in_flight=, or processes= for on_response= and follow=",
}


class Fetcher:
    """Fetches many pages, as an asynchronous context manager.

    Args:
        per_host: URLs of one host that are fetched at once, 4 by default.
        in_flight: URLs that are fetched at once, of all hosts, 100 by default.
        rate_per_host: Requests a second to one host; None, the default, for no limit.
        retries: Further tries of a URL that failed in a way that may pass, 2 by default.  In the
            long run they are at most half of a host's requests.
        backoff: Seconds of the first pause before a further try, 0.5 by default; each one is twice
            as long.
        max_pause: Seconds of the longest pause, 300 by default.  A host whose Retry-After asks for
            more is given up until then: what waits for it fails at once.
        breaker: When a host that cannot be reached rests, and is given up.
        robots: Whether robots.txt is heeded (RFC 9309), and its Crawl-delay; needs protego.  False
            by default.
        checkpoint: A file that knows what is done: whoever starts again with it loses nothing and
            fetches nothing twice that was committed.  An open `Checkpoint` is closed with this.
        retry_failed: Whether what failed at an earlier start is fetched again; False by default.
        unique: Whether a URL that comes twice is fetched once, as by default.  With a checkpoint it
            always is.
        unique_bodies: Whether the sink is spared pages whose body was there already; False by
            default.
        keep: The statuses whose answers are pages, 200 to 299 by default; others fail.  None for
            every status, as archives want it.
        on_response: Called with each `Page`; what it gives is `extracted`.  A coroutine function
            is awaited.
        follow: Called with each `Page`; the URLs that it gives, which may be relative to the page,
            are fetched as well.
        processes: Processes that `on_response` and `follow` run in, if they are costly; 0 for the
            event loop.  They read the program's file: start it under
            ``if __name__ == "__main__":``.
        max_depth: How many links deep `follow` goes; None, the default, for any number.
        max_pages: Pages after which it is enough, those of earlier starts included; None, the
            default, for all.
        max_redirects: Redirects of one URL that are followed, 10 by default.
        max_body: Bytes of a decoded body after which it fails, 64 MiB by default.
        timeout: Limits of one request in seconds; 120 in all, 30 for a dial.
        user_agent: The name that servers and robots.txt know this program by.
        commit_every: Seconds between two commits of a sink that is not full before, 5 by default.
        progress: Called with the `Report` so far, every `progress_every` seconds and at the end.
        progress_every: Seconds between two such calls, 0.5 by default.
        metrics: A file that gets the report in Prometheus' text format.
        telemetry: Whether OpenTelemetry's meters show the report; needs opentelemetry-api.  False
            by default.
        buffer: URLs that wait in memory, about 2000 by default; more wait on disk, or in the input.
        max_hosts: Hosts at once that something waits for, 20,000 by default; the input waits where
            there are more.  As many again are remembered that must be left alone for a while.
        connector: Makes the connections; it is not closed.
        connector_options: Arguments of the `TCPConnector` where there is no `connector`.
        session_options: Arguments of the `ClientSession`.  Secrets in them (`auth`, cookies,
            Authorization) go to the hosts of the input, and to nobody that a redirect or a link
            names.  `ssl`, as a request has it, holds for the hosts of the input alone as well; in
            `connector_options` it would hold for everybody.

    Raises:
        ValueError: A number is out of its range.
        TypeError: There is no such argument, or `on_response` or `follow` cannot run in processes.
        RuntimeError: The processes of `processes` do not start.

    Example::

        async with Fetcher(per_host=2, rate_per_host=1.0, robots=True) as fetcher:
            async for result in fetcher.fetch(urls, into=Jsonl("pages/")):
                print(result.url, result.status, result.bytes, result.error)
    """

    def __init__(
        self,
        *,
        per_host: int = 4,
        in_flight: int = 100,
        rate_per_host: float | None = None,
        retries: int = 2,
        backoff: float = 0.5,
        max_pause: float = 300.0,
        breaker: Breaker = Breaker(),  # noqa: B008 - it never changes
        robots: bool = False,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        retry_failed: bool = False,
        unique: bool = True,
        unique_bodies: bool = False,
        keep: Container[int] | None = _OK,
        on_response: Hook | None = None,
        follow: Hook | None = None,
        processes: int = 0,
        max_depth: int | None = None,
        max_pages: int | None = None,
        max_redirects: int = 10,
        max_body: int = 64 * 2**20,
        timeout: wherry.ClientTimeout = _TIMEOUT,
        user_agent: str = _AGENT,
        commit_every: float = 5.0,
        progress: Callable[[Report], object] | None = None,
        progress_every: float = 0.5,
        metrics: str | os.PathLike[str] | None = None,
        telemetry: bool = False,
        buffer: int = 2000,
        max_hosts: int = 20_000,
        connector: wherry.BaseConnector | None = None,
        connector_options: Mapping[str, Any] | None = None,
        session_options: Mapping[str, Any] | None = None,
        **unknown: Never,
    ) -> None:
        if unknown:
            raise _unknown_argument(unknown)
        for name, number, least in (
            ("per_host", per_host, 1),
            ("in_flight", in_flight, 1),
            ("retries", retries, 0),
            ("processes", processes, 0),
            ("max_redirects", max_redirects, 0),
            ("max_body", max_body, 1),
            ("buffer", buffer, 1),
            ("max_hosts", max_hosts, 1),
        ):
            if whole_number(name, number) < least:
                raise ValueError(f"{name} is at least {least}, not {number}")
        if rate_per_host is not None and not 0 < rate_per_host < float("inf"):
            raise ValueError(f"rate_per_host is a positive number, not {rate_per_host}")
        for name, seconds in (
            ("backoff", backoff),
            ("max_pause", max_pause),
            ("commit_every", commit_every),
            ("progress_every", progress_every),
        ):
            if not 0 < seconds < float("inf"):
                raise ValueError(f"{name} is a positive number of seconds, not {seconds}")
        self._hooks = Hooks((on_response, follow), processes)
        self._settings = Settings(
            in_flight=in_flight,
            limits=SchedulerLimits(
                per_host, 0.0 if rate_per_host is None else 1 / rate_per_host, buffer, max_hosts
            ),
            retries=retries,
            backoff=backoff,
            max_pause=max_pause,
            breaker=breaker,
            unique=unique or follow is not None,
            unique_bodies=unique_bodies,
            keep=keep,
            max_redirects=max_redirects,
            max_depth=max_depth,
            max_pages=max_pages,
            commit_every=commit_every,
            progress=progress,
            progress_every=progress_every,
            metrics=None if metrics is None else Path(metrics),
            robots=robots,
        )
        self._checkpoint_of = checkpoint
        self._retry_failed = retry_failed
        self._telemetry = telemetry
        self._connector = connector
        self._connector_options = dict(connector_options or {})
        self._session_options: dict[str, Any] = {
            "timeout": timeout,
            "max_body_size": max_body,
            **(session_options or {}),
        }
        self._agent = user_agent
        self._checkpoint: Checkpoint | None = None
        self._sessions: list[wherry.ClientSession] = []
        self._ssl: Any = None
        self._robots: (
            tuple[()] | tuple[Robots, Robots]
        ) = ()  # for what others named, and for the input
        self._owned: wherry.BaseConnector | None = None
        self._runs: list[Run] = []
        self._report = Report()

    # --- as a context -----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._hooks.open()
            self._open()
        except BaseException:
            await self.close()
            raise
        return self

    def _open(self) -> None:
        known = self._checkpoint_of
        if known is not None:
            self._checkpoint = known if isinstance(known, Checkpoint) else Checkpoint(Path(known))
            if self._retry_failed:
                self._checkpoint.forget_failures()
        connector = self._connector
        if connector is None:
            in_flight = self._settings.in_flight
            options = {
                "limit": in_flight + _kept_connections(),
                "ttl_dns_cache": 300,
                "dns_cache_max_size": 10_000,
                **self._connector_options,
            }
            connector = self._owned = wherry.TCPConnector(**options)
        options = dict(self._session_options)
        self._ssl = options.pop("ssl", None)
        options.setdefault("cookie_jar", wherry.DummyCookieJar())
        pairs = list(field_pairs(options.pop("headers", None) or {}))
        if not any(name.lower() == "user-agent" for name, _ in pairs):
            pairs.append(("User-Agent", self._agent))
        for is_stranger in (False, True):
            if is_stranger:
                options = {name: each for name, each in options.items() if name not in _SECRETS}
                pairs = [pair for pair in pairs if pair[0].lower() not in ORIGIN_FIELDS]
            self._sessions.append(
                wherry.ClientSession(
                    connector=connector, connector_owner=False, headers=pairs, **options
                )
            )
        robots = Robots(self._sessions[1], self._agent)
        self._robots = robots, robots
        if self._ssl is not None:
            # Nobody's rules come by a connection that is checked less than theirs.
            own = Robots(self._sessions[1], self._agent, {"ssl": self._ssl})
            self._robots = robots, own
        if self._telemetry:
            observe(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is under way, commit what is there, and close all connections."""
        try:
            for run in list(self._runs):
                await run.close()
        finally:
            for robots in self._robots:
                await robots.close()
            await self._hooks.close()
            while self._sessions:
                await self._sessions.pop().close()
            if self._owned is not None:
                await self._owned.close()
            if self._checkpoint is not None:
                self._checkpoint.close()
                self._checkpoint = None

    # --- fetching ---------------------------------------------------------------------------------

    def fetch(
        self, urls: Iterable[str | URL] | AsyncIterable[str | URL], into: Sink | str | None = None
    ) -> AsyncGenerator[Result, None]:
        """Fetch all of `urls`, and give what became of each, as it is known.

        The input is read as it is needed, so it may be of any length.  Who stops in the middle
        (``break``) stops the fetching: what is in the sink is committed when the generator or the
        Fetcher is closed.

        Args:
            urls: The URLs; http or https.
            into: Where the pages go, a sink or its text (``"parquet:pages/"``), and then a result
                comes once its page is committed.  None for the results themselves: `result.page`;
                with a checkpoint a page is done when the next result is asked for.

        Raises:
            RuntimeError: The Fetcher is not entered, or is fetching already, or the processes of
                `processes` do not work.
            TypeError: `urls` is one URL, or `into` is no sink.
            ValueError: The text of `into` is no sink.
            OSError: The sink cannot write.
            CheckpointError: The checkpoint cannot be used.
        """
        if not self._sessions or not self._robots:
            raise RuntimeError("a Fetcher is entered first: async with Fetcher() as fetcher")
        if self._runs:
            raise RuntimeError("this Fetcher is fetching already; make another one beside it")
        if isinstance(urls, str | bytes | URL):
            raise TypeError(f"give a list of URLs, not one of them: fetch([{urls!r}])")
        if not isinstance(urls, Iterable | AsyncIterable):
            raise TypeError(f"give a list of URLs, or another iterable, not {type(urls).__name__}")
        sink = parse_sink(into) if isinstance(into, str) else into
        if sink is not None and not isinstance(sink, Sink):
            raise TypeError(f'into= is a sink, as Jsonl("pages/"), not {type(sink).__name__}')
        session, stranger = self._sessions
        robots, own_robots = self._robots
        tools = Tools(
            session, stranger, robots, own_robots, self._ssl, self._hooks, self._checkpoint
        )
        run = Run(self._settings, tools, urls, sink, self._ended)
        self._runs.append(run)
        self._report = run.report
        return run.results()

    def _ended(self, run: Run) -> None:
        if run in self._runs:
            self._runs.remove(run)

    def drain(self) -> None:
        """Start nothing more: `fetch` ends when what is under way has ended, and is committed.

        With a checkpoint the same call goes on from there.
        """
        for run in self._runs:
            run.drain()

    @property
    def report(self) -> Report:
        """The counters of the run under way, or of the last one; of this start only."""
        for run in self._runs:
            run.refresh()
        return self._report


def _unknown_argument(given: Iterable[str]) -> TypeError:
    """What to raise for keywords that a Fetcher has not."""
    known = inspect.signature(Fetcher.__init__).parameters.keys() - {"self", "unknown"}
    for name in given:
        if ours := _ARGUMENTS.get(name):
            return TypeError(f"Fetcher has no argument {name!r}: say {ours}")
    return TypeError(unknown_keyword("Fetcher", given, known))


def _kept_connections() -> int:
    """Connections that may be kept: half of the files that the process may open, at most."""
    if sys.platform == "win32":  # pragma: no cover
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_KEPT, soft // 2 if soft > 0 else _KEPT)
