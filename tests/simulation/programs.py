"""Random programs over the public API, and what must hold of every one of them.

``run(seed)`` makes the network, the peers and the program from the seed, runs it in virtual time, and
raises `Broken` where an invariant does not hold:

- no answer of another request, no short or altered body passed off as whole;
- a request that is not idempotent is executed at most once, and never by who only claims to be its
  origin;
- every wait ends within its limit, exactly;
- only documented exceptions;
- the pool never passes its limits, and serves in the order of asking;
- what the client takes in ahead of a reader is bounded;
- nothing is left: no task, timer, transport, descriptor or place of the pool; nothing is told to the
  loop's handler of exceptions, nothing is logged as an error, no state left by a way that is none;
- a secret comes only to whom it belongs.
"""

from __future__ import annotations

import asyncio
import functools
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wherry
from wherry.abc import AbstractResolver

from . import quic_peer, tls
from .activities import CLOSE_TIMEOUT, Activity, Download, Events, SlowReader, WebSocket
from .checks import (
    Broken,
    Report,
    Variation,
    dice_of,
    nothing_is_left,
    virtual_chance,
    virtual_clock,
)
from .fairness import first_come_first_served
from .http_peers import Http1Peer, Http2Peer
from .layers import Crawl, Rest
from .network import Network, SimulatedLoop, Stuck, Weather
from .origins import Ledger, Origin, with_wire
from .proxies import PROXY_FAULTS, SCHEMES, Proxy
from .requests import Request
from .talkers import SocketPeer
from .tokens import Secrets
from .udp import Drizzle

HOSTS = ("h0.one.test", "h1.one.test", "h2.two.test")
PROXIES = ("p0.proxy.test", "p1.proxy.test", "p2.proxy.test")
#: What sessions speak.
PROTOCOLS = {
    "http/1.1": ("http/1.1",),
    "h2c": ("h2c",),
    "tls": ("h2", "http/1.1"),
    "h3": ("h3",),
    "raced": ("h3", "h2", "http/1.1"),
}
#: Seconds that a peer may take to end TLS in order.
SHUTDOWN_TIMEOUT = 0.5


class _Names(AbstractResolver):
    """Names and their addresses; it takes a moment, and may fail."""

    def __init__(self, program: Program) -> None:
        self._program = program

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        dice = self._program.dice_of("name", host)
        await asyncio.sleep(dice.uniform(0, 0.01))
        if self._program.network.dice.random() < 0.01:
            raise OSError("the name servers are silent")
        found = [self._program.addresses[host]]
        if host in self._program.doubled:
            found.insert(0, "10.9.9.9")  # where nobody is
        return [
            {"hostname": host, "host": address, "port": port,
             "family": 2, "proto": 0, "flags": 0}
            for address in found
        ]  # fmt: skip

    async def close(self) -> None:
        pass


def weather_of(dice: random.Random, without: frozenset[str]) -> Weather:
    """A fine day, a bad one, or something between."""
    if dice.random() < 0.25:
        weather = Weather(latency=dice.choice((0.0, 0.02)), fragment=dice.choice((0.0, 0.0, 1.0)))
    else:
        weather = Weather(
            latency=dice.choice((0.0, 0.01, 0.3)),
            fragment=dice.random() ** 2,
            stall=dice.choice((0.0, 0.02, 0.1)),
            reset=dice.choice((0.0, 0.1, 0.5)),
            refuse=dice.choice((0.0, 0.05, 0.3)),
            black_hole=dice.choice((0.0, 0.0, 0.1)),
        )
    for name in without & set(Weather.__dataclass_fields__):
        setattr(weather, name, 0.0)
    return weather


def drizzle_of(dice: random.Random, without: frozenset[str]) -> Drizzle:
    """The same for UDP."""
    drizzle = Drizzle(
        latency=dice.choice((0.0, 0.01, 0.2)),
        loss=dice.choice((0.0, 0.01, 0.1, 0.3)),
        twice=dice.choice((0.0, 0.0, 0.1)),
        rebinding=dice.choice((0.0, 0.0, 0.01)),
        full=dice.choice((0.0, 0.0, 0.05)),
        blocked=dice.random() < 0.05,
    )
    for name in without & set(Drizzle.__dataclass_fields__):
        setattr(drizzle, name, 0)
    return drizzle


class Client:
    """A session of a program.

    Attributes:
        kind: What it speaks.
        name: What it speaks, and through what.
        session: It.
        connector: Its connector.
        origins: What it can talk to: "https host", "http host".
        own_secrets: Whether the Authorization of a request is what its caller says.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        session: wherry.ClientSession,
        connector: wherry.TCPConnector,
        origins: list[str],
        own_secrets: bool,
    ) -> None:
        self.kind = kind
        self.own_secrets = own_secrets
        self.name = name
        self.session = session
        self.connector = connector
        self.origins = origins

    def check_limits(self) -> None:
        """The pool never passes its limits.

        Raises:
            Broken: It does.
        """
        connector, stats = self.connector, self.connector.stats()
        if connector.limit and stats.open + stats.dialling > connector.limit:
            raise Broken(f"{stats} passes the limit of {connector.limit}")
        if connector.limit_per_host:
            for host, of_host in stats.by_host.items():
                if of_host.open + of_host.dialling > connector.limit_per_host:
                    raise Broken(f"{host} has more than {connector.limit_per_host}: {of_host}")

    def check_places(self) -> None:
        """Nobody waits, and nothing is under way, when nothing is being asked.

        Raises:
            Broken: A place was lost.
        """
        stats = self.connector.stats()
        if stats.waiting or stats.dialling:
            raise Broken(f"nothing is asked, and {stats}")


class Program:
    """One run.

    Args:
        seed: Everything follows from it.
        variation: What is left out.
        folder: Where it downloads to.
    """

    def __init__(self, seed: int, variation: Variation, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        self.variation = variation
        self.without = variation.without
        self.report = Report(seed)
        self.ledger = Ledger()
        self.secrets = Secrets()
        weather = weather_of(dice_of(seed, "weather"), self.without)
        drizzle = drizzle_of(dice_of(seed, "drizzle"), self.without)
        self.network = Network(str(seed), weather, drizzle)
        self.network.holes.add("10.9.9.9")
        self.told: list[dict[str, Any]] = []  # to the loop's handler of exceptions
        self.broken: list[Broken] = []  # where nobody could be told
        self.once: set[int] = set()  # those that must be executed once at most
        self.never: set[int] = set()
        self.origins: dict[str, Origin] = {}
        self.speaks_h2c: set[str] = set()
        self.impostors: set[str] = set()  # hosts whose certificate is another's
        self.addresses: dict[str, str] = {}
        self.doubled: set[str] = set()  # names with an address where nobody is
        self.api = ""  # whose access tokens the endpoint gives
        self.clients: list[Client] = []
        self.proxies: list[Proxy] = []

    def dice_of(self, *names: object) -> random.Random:
        return dice_of(self.seed, *names)

    def say(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        self.report.story.append(f"{loop.time():10.6f} {text}")

    def failed(self, number: int, exc: BaseException) -> None:
        """An action ended by a documented exception."""
        self.report.failed += 1
        self.report.seen[type(exc).__name__] += 1
        self.say(f"{number} {type(exc).__name__}: {exc}")

    # --- the world --------------------------------------------------------------------------------

    def _build(self) -> None:
        dice = self.dice_of("world")
        self.network.on_dial = self._on_dial
        self.network.on_received = self.secrets.received
        hosts = HOSTS[: dice.randrange(1, 4)]
        for number, host in enumerate(hosts):
            self.addresses[host] = f"10.0.0.{number}"
            self._build_host(host, self.addresses[host], self.dice_of("host", host))
        for number, host in enumerate(PROXIES):
            self.addresses[host] = f"10.1.0.{number}"
            self._build_proxy(number, host, self.dice_of("proxy", host))
        self._build_token_endpoint("auth.test", dice)
        if self.network.weather.black_hole:
            self.doubled = {host for host in self.addresses if dice.random() < 0.5}

    def _origin(self, name: str) -> Origin:
        time = asyncio.get_running_loop().time
        made = Origin(name, self.dice_of(name), self.ledger, self.secrets, time)
        self.origins[name] = made
        return made

    def _build_host(self, host: str, address: str, dice: random.Random) -> None:
        plain, secured = self._origin(f"http {host}"), self._origin(f"https {host}")
        if dice.random() < 0.4:
            self.speaks_h2c.add(host)
        socket = SocketPeer(plain)
        sockets = dice.random() < 0.7
        h2c = Http2Peer(plain, sockets)
        peer = h2c if host in self.speaks_h2c else Http1Peer(plain, socket)
        self.network.listen(address, 80, plain.name, peer)
        names = tls.NAMES
        if dice.random() < 0.06 and "tls-faults" not in self.without:
            self.impostors.add(host)
            names = tls.OTHER_NAMES
        protocols = dice.choice((("http/1.1",), ("h2", "http/1.1")))
        context = tls.server_context(protocols, names, dice.choice(("1.2", "1.3", "1.3")))
        http1 = Http1Peer(secured, SocketPeer(secured))
        peers = {None: http1, "http/1.1": http1, "h2": Http2Peer(secured, sockets)}
        inside = tls.Secured(context, secured.name, peers, self._shook_hands)
        self.network.listen(address, 443, f"the wire to {host}", inside)
        if dice.random() < 0.7:
            quic_peer.listen(self.network.datagrams, (address, 443), secured, names)
            # Who says so is asked so the next time (RFC 7838).
            secured.more_fields = [("alt-svc", 'h3=":443"; ma=60')]

    def _build_token_endpoint(self, host: str, dice: random.Random) -> None:
        """Who gives access tokens, which are for one origin of all."""
        self.addresses[host] = "10.2.0.0"
        origin = self._origin(f"https {host}")
        self.api = dice.choice(sorted(name for name in self.origins if name != origin.name))
        origin.token_owners = with_wire([self.api])
        peer = tls.Secured(
            tls.server_context(("http/1.1",)),
            origin.name,
            dict.fromkeys((None, "http/1.1"), Http1Peer(origin)),
            self._shook_hands,
        )
        self.network.listen(self.addresses[host], 443, f"the wire to {host}", peer)

    def _shook_hands(self, how: str, protocol: str | None) -> None:
        self.report.seen[f"TLS {how} {protocol}"] += 1

    def _build_proxy(self, number: int, host: str, dice: random.Random) -> None:
        name = f"p{number}"
        fault = dice.choice(PROXY_FAULTS) if dice.random() < 0.2 else None
        if "proxy-faults" in self.without:
            fault = None
        scheme = dice.choice(SCHEMES)
        credentials = None
        if dice.random() < 0.6:
            owners = [name]  # and, in a chain, whoever carries them on
            user = self.secrets.token(f"the user of {name}", owners + self._before(number, scheme))
            password = self.secrets.token(
                f"the password of {name}", owners + self._before(number, scheme)
            )
            credentials = user, password
        proxy = Proxy(
            name,
            scheme,
            fault,
            credentials,
            self.network,
            self.addresses.__getitem__,
            lambda host: self.origins[f"http {host or HOSTS[0]}"],
            self.dice_of("proxy's dice", number),
        )
        self.proxies.append(proxy)
        self.secrets.relays.add(name)
        if scheme == "https":
            context = tls.server_context(("http/1.1",))
            secured = tls.Secured(
                context, name, dict.fromkeys((None, "http/1.1"), proxy), self._shook_hands
            )
            self.network.listen(self.addresses[host], 3128, f"the wire to {name}", secured)
        else:
            self.network.listen(self.addresses[host], 3128, name, proxy)

    def _before(self, number: int, scheme: str) -> list[str]:
        """Who carries a proxy's credentials to it in a chain: chains go by rising numbers."""
        return [] if scheme == "https" else [f"p{other}" for other in range(number)]

    def _on_dial(self) -> None:
        for client in self.clients:
            try:
                client.check_limits()
            except Broken as exc:
                self.broken.append(exc)

    # --- sessions ---------------------------------------------------------------------------------

    def _client(self, kind: str) -> Client | None:
        """A session: "http/1.1", "h2c", or "tls", which speaks what ALPN chooses."""
        dice = self.dice_of("session", kind)
        plain = [f"http {host}" for host in self.speaks_h2c] if kind == "h2c" else [
            f"http {host}" for host in HOSTS
            if f"http {host}" in self.origins and host not in self.speaks_h2c
        ]  # fmt: skip
        secured = [f"https {host}" for host in HOSTS if f"https {host}" in self.origins]
        origins = sorted({"h2c": plain, "h3": secured}.get(kind, plain + secured))
        if not origins:
            return None
        protocols = PROTOCOLS[kind]
        connector = self._connector(dice, protocols)
        middlewares = self._middlewares(dice, kind)
        hops = None if kind in {"h2c", "h3", "raced"} else self._proxies(dice)
        session = wherry.ClientSession(
            connector=connector,
            timeout=wherry.ClientTimeout(
                total=dice.choice((None, 0.5, 5.0, 60.0)),
                sock_connect=30.0,
                connect=dice.choice((None, None, 2.0)),
                sock_read=dice.choice((None, None, 1.0, 10.0)),
            ),
            middlewares=middlewares,
            read_bufsize=dice.choice((2**10, 2**16)),
            proxy=hops,
        )
        # Both put theirs in the place of what the program says.
        signers = (wherry.DigestAuthMiddleware, wherry.OAuth2ClientCredentials)
        own_secrets = not any(isinstance(each, signers) for each in middlewares)
        name = f"{kind} through {hops[-1][0].partition(':')[0]}" if hops else kind
        return Client(kind, name, session, connector, origins, own_secrets)

    def _connector(self, dice: random.Random, protocols: tuple[str, ...]) -> wherry.TCPConnector:
        options: dict[str, Any] = {
            "protocols": protocols,
            "resolver": _Names(self),
            "ssl": tls.client_context(),
            "ssl_shutdown_timeout": SHUTDOWN_TIMEOUT,
            "tls_resumption": dice.choice((True, None)),
        }
        if "h3" in protocols:
            options["socket_factory"] = self.network.datagrams.socket
        if dice.random() < 0.9:
            options["limit"] = dice.choice((1, 2, 10, 100))
            options["limit_per_host"] = dice.choice((0, 1, 3))
            options["use_dns_cache"] = dice.random() < 0.7
            if dice.random() < 0.1:
                options["force_close"] = True
            elif dice.random() < 0.5:
                options["keepalive_timeout"] = 0.2
        return wherry.TCPConnector(**options)

    def _proxies(self, dice: random.Random) -> Any:
        if dice.random() < 0.5 or "proxies" in self.without:
            return None
        count = dice.choice((1, 1, 2, 3))
        chosen = sorted(dice.sample(range(len(self.proxies)), count))
        hops = []
        for number in chosen:
            proxy = self.proxies[number]
            url = f"{proxy.scheme}://{PROXIES[number]}:3128"
            auth = None if proxy.credentials is None else wherry.BasicAuth(*proxy.credentials)
            hops.append((url, auth))
        return hops

    def _middlewares(self, dice: random.Random, kind: str) -> list[Any]:
        if "middlewares" in self.without:
            return []
        made: list[Any] = []
        if dice.random() < 0.2:
            made.append(wherry.CacheMiddleware())
        if dice.random() < 0.2:
            made.append(wherry.RetryMiddleware(attempts=3, backoff=0.05))
        if dice.random() < 0.1:
            made.append(wherry.ConcurrencyLimit(dice.choice((1, 3))))
        if dice.random() < 0.1:
            made += [wherry.RateLimitMiddleware(5, 1.0, burst=2), _Rate(5, 1.0, 2)]
        if dice.random() < 0.3:
            password = self.secrets.token("the password of Digest", [])
            made.append(wherry.DigestAuthMiddleware("user", password))
        elif dice.random() < 0.2 and kind in {"http/1.1", "tls"}:
            made.append(self._oauth(dice))
        self.report.seen.update(type(each).__name__ for each in made)
        return made

    def _oauth(self, dice: random.Random) -> Any:
        user = self.secrets.token("the client of OAuth", ["https auth.test"])
        secret = self.secrets.token("the secret of OAuth", ["https auth.test"])
        return wherry.OAuth2ClientCredentials(
            "https://auth.test/999999/0/token",
            user,
            secret,
            origins=self.api.replace(" ", "://"),
            auth_method=dice.choice(("basic", "post")),
        )

    # --- the run ----------------------------------------------------------------------------------

    async def main(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.told.append(context))
        self._build()
        before = asyncio.all_tasks()
        await self._session()
        await self._nothing_is_left(before)
        self.report.seconds = loop.time()
        self.report.faults = self.network.faults + self.network.datagrams.faults
        self.report.seen.update(self.ledger.seen)

    async def _session(self) -> None:
        dice = self.dice_of("program")
        # Most programs are short, for many short ones find more than few long ones do.
        kinds = dice.sample(list(PROTOCOLS), dice.choice((1, 2, 2, len(PROTOCOLS))))
        made = [self._client(kind) for kind in (*kinds, "tls")]
        self.clients = [client for client in made if client is not None]
        count = dice.choice((1, 1, 1, 2, 2, 5))
        tasks = [asyncio.create_task(self._work(number)) for number in range(count)]
        try:
            # A program may close its session in the midst of everything.
            early = dice.random() < 0.1 and "early-close" not in self.without
            await asyncio.wait(tasks, timeout=dice.uniform(0, 5) if early else None)
            if not early:
                if any(client.connector.stats().dialling for client in self.clients):
                    await asyncio.sleep(31)  # a dial may outlive who asked for it, not its limit
                for client in self.clients:
                    client.check_places()
        finally:
            for client in self.clients:
                await self._close(client)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _close(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await client.session.close()
        # Open WebSockets are given their time for the closing handshake first.
        if (took := loop.time() - began) > CLOSE_TIMEOUT + SHUTDOWN_TIMEOUT + 1.0 + 0.01:
            raise Broken(f"close took {took} s")

    async def _work(self, task: int) -> None:
        """A task of the program: some requests, one after the other."""
        dice = self.dice_of("task", task)
        for number in range(dice.choice((1, 1, 2, 3, 5))):
            own = self.dice_of("action", task, number)
            await asyncio.sleep(own.choice((0.0, 0.0, 0.3, 20.0)))
            if self.variation.keep is not None and f"{task}.{number}" not in self.variation.keep:
                continue
            client = own.choice(self.clients)
            if client.session.closed:
                return
            doing: list[type[Request | Activity]] = [Request]
            if own.random() < 0.3:
                doing = [Download, Events, WebSocket, WebSocket, Rest, Rest, Crawl]
                if client.kind not in {"h3", "raced"}:  # their windows are larger than its body
                    doing.append(SlowReader)
            action = own.choice(doing)(self, client, task * 100 + number)
            if not await self._act(action.make, own):
                self.report.cancelled += 1

    async def _act(self, make: Callable[[], Any], dice: random.Random) -> bool:
        """Do something, perhaps not to its end; whether it came there."""
        made: asyncio.Task[None] = asyncio.create_task(make())
        try:
            if dice.random() < 0.2 and "cancellation" not in self.without:
                await asyncio.wait([made], timeout=dice.choice((0, dice.random(), dice.random())))
                made.cancel()
            await asyncio.wait([made])
        except asyncio.CancelledError:
            made.cancel()
            await asyncio.wait([made])
            raise
        if made.cancelled():
            return False
        made.result()
        return True

    async def _nothing_is_left(self, before: set[asyncio.Task[Any]]) -> None:
        loop: Any = asyncio.get_running_loop()
        for _ in range(20):
            await asyncio.sleep(0)
        peers = self.network.peers
        left = {task for task in asyncio.all_tasks() - before if not task.done() and _ours(task)}
        if left:
            raise Broken(f"tasks are left: {left}")
        self._judge_the_end()
        for task in list(peers):
            task.cancel()
        await asyncio.gather(*peers, return_exceptions=True)
        timers = [each for each in loop.timers() if _is_ours(each)]
        if timers:
            raise Broken(f"timers are left: {timers}")
        await asyncio.sleep(0)
        if self.told:
            raise Broken(f"the loop was told: {self.told}")
        if self.broken:
            raise self.broken[0]
        # Whoever keeps them keeps what nobody has asked for, which the last look finds.
        self.network.transports.clear()
        self.network.datagrams.sockets.clear()

    def _judge_the_end(self) -> None:
        """What is left of connections, and what was executed and seen, in all."""
        if open_still := [s for s in self.network.datagrams.sockets.values() if not s.closed]:
            raise Broken(f"{len(open_still)} sockets are left open")
        for transport in self.network.transports:
            if not transport.is_closing():
                raise Broken(f"a connection is left open: {transport.protocol!r}")
        executed = self.ledger.requests
        if twice := [number for number in self.once if executed[number] > 1]:
            raise Broken(f"requests {twice} were executed {[executed[n] for n in twice]} times")
        if self.never & set(executed):
            raise Broken(f"requests {self.never & set(executed)} went to an impostor")
        if self.secrets.leaks:
            raise Broken("; ".join(self.secrets.leaks[:3]))


class _Rate:
    """Inside a rate limit: counts what it lets through.

    Args:
        rate: How many in a period.
        period: In seconds.
        burst: How many at once.
    """

    def __init__(self, rate: int, period: float, burst: int) -> None:
        self._rate, self._period, self._burst = rate, period, burst
        self._passed: dict[Any, list[float]] = {}

    async def __call__(self, request: wherry.ClientRequest, handler: Any) -> Any:
        passed = self._passed.setdefault(request.url.origin(), [])
        now = asyncio.get_running_loop().time()
        passed.append(now)
        for back, since in enumerate(reversed(passed)):
            allowed = self._burst + (now - since) * self._rate / self._period + 1e-6
            if back + 1 > allowed:
                raise Broken(f"{back + 1} requests in {now - since:.6f} s: {allowed:.3f} allowed")
        return await handler(request)


def _ours(task: asyncio.Task[Any]) -> bool:
    """Whether a task runs wherry's code or the program's, and no peer's."""
    code = getattr(task.get_coro(), "cr_code", None)
    name = getattr(code, "co_filename", "")
    if "aioquic" in name:
        return False
    peers = ("network.py", "http_peers.py", "proxies.py", "tls.py", "talkers.py", "quic_peer.py")
    return not ("simulation" in name and name.endswith(peers))


def _is_ours(handle: Any) -> bool:
    """Whether a timer calls something of wherry's."""
    callback = handle._callback
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    named = callback if owner is None else type(owner)
    return str(getattr(named, "__module__", "")).startswith("wherry.")


def run(seed: int, variation: Variation | None = None) -> Report:
    """Run a program.

    Args:
        seed: From which everything follows.
        variation: What is left out; nothing by default.

    Raises:
        Broken: An invariant does not hold.
    """
    variation = variation or Variation()
    folder = tempfile.TemporaryDirectory()
    program = Program(seed, variation, Path(folder.name))
    try:
        with folder, first_come_first_served(), nothing_is_left():
            loop = SimulatedLoop(program.network)
            runner = asyncio.Runner(loop_factory=lambda: loop)
            with virtual_clock(loop.time), virtual_chance(seed), runner:
                runner.run(program.main())
        # What is told when the last of it goes.
        if program.told:
            raise Broken(f"the loop was told: {program.told}")
    except Stuck as exc:
        raise Broken(f"seed {seed}: {exc}") from exc
    except BaseException as exc:
        words = f"--seed {seed} {variation.arguments()}".strip()
        exc.add_note(f"again by: python -m tests.simulation {words}")
        exc.story = program.report.story  # type: ignore[attr-defined]
        raise
    program.report.runs = 1
    return program.report
