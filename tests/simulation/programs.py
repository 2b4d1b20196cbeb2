"""Random programs over the public API, and what must hold of every one of them.

``run(seed)`` makes the network, the peers and the program from the seed, runs it in virtual time, and
raises `Broken` where an invariant does not hold:

- no answer of another request, no short or altered body passed off as whole;
- a request that is not idempotent is executed at most once;
- every wait ends within its limit, exactly;
- only documented exceptions;
- nothing is left: no task, timer, transport or place of the pool, and nothing is told to the loop's
  handler of exceptions;
- a secret goes to its own origin only.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import hashlib
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import wherry
from wherry.abc import AbstractResolver

from .network import Network, SimulatedLoop, Stuck, Weather
from .peers import FAULTS, KINDS, Executed, Http1Peer, Http2Peer, body_of

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Virtual seconds: deadlines share timers of 5 ms, and floats are rounded.
CLOSE_ENOUGH = 0.005 + 1e-6


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Report:
    """What a run was.

    Attributes:
        seed: From which it follows.
        requests: How many were made.
        answered: How many answers came whole.
        failed: How many ended by a documented exception.
        faults: How many faults the network had.
        seconds: Virtual seconds.
        story: What happened, in order; the same for the same seed.
    """

    seed: int
    requests: int = 0
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    faults: int = 0
    seconds: float = 0.0
    story: list[str] = field(default_factory=list)


class _Names(AbstractResolver):
    """Every name has one address; it takes a moment."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        await asyncio.sleep(self._dice.uniform(0, 0.01))
        if self._dice.random() < 0.01:
            raise OSError("the name servers are silent")
        return [
            {"hostname": host, "host": f"10.0.0.{host[1:].partition('.')[0]}", "port": port,
             "family": 2, "proto": 0, "flags": 0}
        ]  # fmt: skip

    async def close(self) -> None:
        pass


def weather_of(dice: random.Random) -> Weather:
    """A fine day, a bad one, or something between."""
    if dice.random() < 0.25:
        return Weather(latency=dice.choice((0.0, 0.02)), fragment=dice.choice((0.0, 1.0)))
    return Weather(
        latency=dice.choice((0.0, 0.01, 0.3)),
        fragment=dice.random(),
        stall=dice.choice((0.0, 0.02, 0.1)),
        reset=dice.choice((0.0, 0.1, 0.5)),
        refuse=dice.choice((0.0, 0.05, 0.3)),
        black_hole=dice.choice((0.0, 0.0, 0.1)),
    )


class Program:
    """One run.

    Args:
        seed: Everything follows from it.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.report = Report(seed)
        self.executed = Executed()
        self.network = Network(random.Random(seed + 1), weather_of(self.dice))
        self.told: list[dict[str, Any]] = []  # to the loop's handler of exceptions
        self.posted: dict[int, str] = {}  # the digest of what each request sent
        self.once: set[int] = set()  # those that must be executed once at most
        self.hosts: list[str] = []
        self.http2: set[str] = set()
        self.retries = False

    def say(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        self.report.story.append(f"{loop.time():10.6f} {text}")

    async def main(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.told.append(context))
        dice = self.dice
        for number in range(dice.randrange(1, 4)):
            host = f"h{number}.test"
            speaks_http2 = dice.random() < 0.4
            if speaks_http2:
                self.http2.add(host)
            kind = Http2Peer if speaks_http2 else Http1Peer
            peer = kind(random.Random(dice.random()), self.executed)
            self.network.listen(f"10.0.0.{number}", 80, peer)
            self.hosts.append(host)
        before = asyncio.all_tasks()
        await self._session()
        await self._nothing_is_left(before)
        self.report.seconds = loop.time()
        self.report.faults = self.network.faults

    async def _session(self) -> None:
        dice = self.dice
        middlewares: list[Any] = []
        if dice.random() < 0.2:
            self.retries = True
            middlewares.append(wherry.RetryMiddleware(attempts=3, backoff=0.05))
        connectors = [self._connector(("http/1.1",)), self._connector(("h2c",))]
        limits: list[wherry.TCPConnector] = connectors
        sessions = [
            wherry.ClientSession(
                connector=connector,
                timeout=wherry.ClientTimeout(
                    total=dice.choice((None, 0.5, 5.0, 60.0)), sock_connect=30.0
                ),
                middlewares=middlewares,
                read_bufsize=dice.choice((2**10, 2**16)),
            )
            for connector in connectors
        ]
        tasks = [
            asyncio.create_task(self._work(sessions, random.Random(dice.random())))
            for _ in range(dice.randrange(1, 8))
        ]
        watch = asyncio.create_task(self._watch(limits))
        try:
            # A program may close its session in the midst of everything.
            early = dice.random() < 0.1
            await asyncio.wait(tasks, timeout=dice.uniform(0, 5) if early else None)
        finally:
            for session in sessions:
                await session.close()
            for task in tasks:
                task.cancel()
            watch.cancel()
            await asyncio.gather(*tasks, watch, return_exceptions=True)
        if not watch.cancelled() and (error := watch.exception()) is not None:
            raise error
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def _connector(self, protocols: Any) -> wherry.TCPConnector:
        dice = self.dice
        options: dict[str, Any] = {"protocols": protocols, "resolver": _Names(dice)}
        if dice.random() < 0.9:
            options["limit"] = dice.choice((1, 2, 10, 100))
            options["limit_per_host"] = dice.choice((0, 1, 3))
            options["use_dns_cache"] = dice.random() < 0.7
            if dice.random() < 0.1:
                options["force_close"] = True
            elif dice.random() < 0.5:
                options["keepalive_timeout"] = 0.2
        return wherry.TCPConnector(**options)

    async def _watch(self, connectors: list[wherry.TCPConnector]) -> None:
        """The pool never passes its limits."""
        while True:
            await asyncio.sleep(0.01 + self.dice.random() / 10)
            for connector in connectors:
                stats = connector.stats()
                # HTTP/2 has many requests on one connection: what counts there is connections, too.
                if connector.limit and stats.open + stats.dialling > connector.limit:
                    raise Broken(f"{stats} passes the limit of {connector.limit}")
                for host, of_host in stats.by_host.items():
                    held = of_host.open + of_host.dialling
                    if connector.limit_per_host and held > connector.limit_per_host:
                        raise Broken(f"{host} has {held}, more than {connector.limit_per_host}")

    async def _work(self, sessions: list[wherry.ClientSession], dice: random.Random) -> None:
        """A task of the program: some requests, one after the other."""
        for _ in range(dice.randrange(1, 8)):
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.3, 20.0)))
            request = _Request(self, dice)
            session = sessions[request.host in self.http2]
            if session.closed:
                return
            task = asyncio.create_task(request.make(session))
            try:
                if dice.random() < 0.2:
                    await asyncio.wait([task], timeout=dice.uniform(0, 1))
                    task.cancel()
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait([task])
                raise
            if task.cancelled():
                self.report.cancelled += 1
            else:
                task.result()

    async def _nothing_is_left(self, before: set[asyncio.Task[Any]]) -> None:
        loop: Any = asyncio.get_running_loop()
        for _ in range(20):
            await asyncio.sleep(0)
        peers = self.network.peers
        if left := {t for t in asyncio.all_tasks() - before - peers if not t.done()}:
            left = {task for task in left if "_answer" not in repr(task.get_coro())}
            if left:
                raise Broken(f"tasks are left: {left}")
        for transport in self.network.transports:
            if not transport.is_closing():
                raise Broken(f"a connection is left open: {transport.protocol!r}")
        for number in self.once:
            if self.executed.requests[number] > 1:
                raise Broken(
                    f"request {number} was executed {self.executed.requests[number]} times"
                )
        for task in list(peers):
            task.cancel()
        await asyncio.gather(*peers, return_exceptions=True)
        timers = [each for each in loop._scheduled if not each.cancelled() and _is_ours(each)]
        if timers:
            raise Broken(f"timers are left: {timers}")
        gc.collect()
        await asyncio.sleep(0)
        if self.told:
            raise Broken(f"the loop was told: {self.told}")


def _is_ours(handle: Any) -> bool:
    """Whether a timer calls something of wherry's."""
    callback = handle._callback
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    named = callback if owner is None else type(owner)
    return str(getattr(named, "__module__", "")).startswith("wherry.")


class _Request:
    """One request: what is asked, how it is read, and how it is judged."""

    def __init__(self, program: Program, dice: random.Random) -> None:
        self.program = program
        self.dice = dice
        self.number = program.report.requests
        program.report.requests += 1
        self.host = dice.choice(program.hosts)
        self.method = dice.choice(("GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE"))
        self.size = dice.choice((0, 1, 100, 3_000, 70_000, 300_000))
        self.kind = dice.choice(KINDS * 3 + FAULTS)
        self.url = f"http://{self.host}/{self.number}/{self.size}/{self.kind}"
        self.total = dice.choice((None, None, 0.3, 2.0))
        self.slept = 0.0  # the program's own time, which no limit counts

    async def make(self, session: wherry.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        program, dice = self.program, self.dice
        options: dict[str, Any] = {}
        sent = b""
        if self.method in {"POST", "PUT"}:
            sent = body_of(self.number + 10**6, dice.choice((0, 10, 5_000, 200_000)))
            options["data"] = self._pieces(sent) if dice.random() < 0.3 else sent
        # A redirect makes a GET of a POST, and its number comes a second time.
        if self.method not in SAFE and self.kind != "redirect":
            program.once.add(self.number)
        if self.total is not None:
            options["timeout"] = wherry.ClientTimeout(total=self.total, sock_connect=30.0)
        limit = self.total if self.total is not None else session.timeout.total
        began = loop.time()
        program.say(f"{self.number} {self.method} {self.url}")
        try:
            async with session.request(self.method, self.url, **options) as response:
                await self._read(response)
                self._judge(response, sent)
            program.report.answered += 1
            program.say(f"{self.number} done")
        except (wherry.ClientError, TimeoutError) as exc:
            program.report.failed += 1
            program.say(f"{self.number} {type(exc).__name__}: {exc}")
        except RuntimeError as exc:
            if "Session is closed" not in str(exc):
                raise
        finally:
            took = loop.time() - began - self.slept
            if limit is not None and took > limit + CLOSE_ENOUGH:
                raise Broken(f"{self.url} took {took:.6f} s, more than its {limit} s")

    async def _pieces(self, data: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(data), 7_000):
            await asyncio.sleep(self.dice.choice((0.0, 0.0, 0.05)))
            yield data[at : at + 7_000]

    async def _read(self, response: wherry.ClientResponse) -> None:
        """Read all, some or nothing; what comes must be the beginning of what is right."""
        dice = self.dice
        self.whole = False
        self.seen = bytearray()
        way = dice.randrange(5)
        if way == 0:
            return
        if way == 1:
            self.seen += await response.read()
            self.whole = True
        elif way == 2:
            async for piece in response.content.iter_chunked(dice.choice((10, 1_000, 100_000))):
                self.seen += piece
                if dice.random() < 0.02:
                    return
                if dice.random() < 0.05:
                    seconds = dice.random()
                    self.slept += seconds
                    await asyncio.sleep(seconds)
            self.whole = True
        elif way == 3:
            self.seen += await response.content.read(dice.randrange(1, 1000))
        else:
            async for piece in response.content.iter_any():
                self.seen += piece
            self.whole = True

    def _judge(self, response: wherry.ClientResponse, sent: bytes) -> None:
        expected = body_of(self.number, self.size)
        if response.status not in {200, 204, 302, 413, 503}:
            raise Broken(f"{self.url} was answered {response.status}")
        if response.status == 413:
            expected = b"too much"
        if response.status == 204 or self.method == "HEAD":
            expected = b""
        seen = bytes(self.seen)
        if not expected.startswith(seen):
            raise Broken(f"{self.url} has bytes of something else: {seen[:40]!r}")
        if self.whole and seen != expected and not self._may_be_cut(response):
            raise Broken(f"{self.url} is short: {len(seen)} bytes of {len(expected)}")
        digest = self.program.executed.bodies.get(self.number)
        # A redirect turns a POST into a GET (RFC 9110 15.4.3).
        counts = digest and response.status in {200, 204} and not response.history
        if counts and digest != hashlib.sha256(sent).hexdigest():
            raise Broken(f"{self.url}: the peer got another body")

    def _may_be_cut(self, response: wherry.ClientResponse) -> bool:
        """A body that ends with its connection ends where the network says so: nobody can know."""
        return self.kind == "close" and self.host not in self.program.http2


@contextlib.contextmanager
def _virtual_clock(loop: SimulatedLoop) -> Iterator[None]:
    """`time.monotonic` is the loop's, wherever wherry has it."""
    real = time.monotonic
    changed = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("wherry.") and getattr(module, "monotonic", None) is real
    ]
    for module in changed:
        module.monotonic = loop.time  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in changed:
            module.monotonic = real  # type: ignore[attr-defined]


def run(seed: int) -> Report:
    """Run a program.

    Args:
        seed: From which everything follows.

    Raises:
        Broken: An invariant does not hold.
    """
    program = Program(seed)
    loop = SimulatedLoop(program.network)
    random.seed(seed)
    logging.disable(logging.CRITICAL)
    try:
        with _virtual_clock(loop), asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(program.main())
    except Stuck as exc:
        raise Broken(f"seed {seed}: {exc}") from exc
    except BaseException as exc:
        exc.add_note(f"seed {seed}; again by: python -m tests.simulation --seed {seed}")
        raise
    finally:
        logging.disable(logging.NOTSET)
    return program.report
