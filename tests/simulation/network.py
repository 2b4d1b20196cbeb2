"""An event loop whose time is virtual, and a network in memory whose faults follow from a seed.

The loop's clock stands still while anything is ready to run, and jumps to the next timer when nothing
is.  The network has no sockets: the client's `create_connection` gets a `Transport` whose other end
belongs to a peer on the same loop.  Every latency, fragment, stall, reset and refusal is drawn from
one `random.Random`, so that a seed is a run.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from .udp import DatagramLoop, Datagrams, Drizzle

Peer = Callable[["Stream"], Awaitable[None]]


# Seconds that a turn of the loop takes.
_TURN = 1e-7


class Stuck(BaseException):
    """Nothing can happen any more, and the program has not ended."""


class _NoFiles(selectors.BaseSelector):
    """Watches nothing: the loop's own pipe is for calls from threads, of which there are none."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[Any]:
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, -1, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self._keys


class SimulatedLoop(DatagramLoop):
    """An event loop in virtual time, on a simulated network.

    Its turn is asyncio's, without what waits for the system: that costs less, and who is due at one
    moment runs in the order of asking.

    Args:
        network: What connects.
    """

    def __init__(self, network: Network) -> None:
        self.datagrams = network.datagrams
        self.network = network
        self._now = 0.0
        self._asked = 0  # timers so far
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._reached: dict[socket.socket, tuple[str, int]] = {}
        super().__init__(_NoFiles())

    def time(self) -> float:
        return self._now

    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that will run."""
        return [handle for _, _, handle in self._timers if not handle.cancelled()]

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._asked += 1
        heappush(self._timers, (when, self._asked, handle))
        return handle

    def _run_once(self) -> None:
        timers, ready = self._timers, self._ready  # type: ignore[attr-defined]
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            while timers and timers[0][2].cancelled():
                heappop(timers)
            if not timers:
                raise Stuck(f"at {self._now:.6f} s nothing can happen any more: {self._waiting()}")
            self._now = max(self._now, timers[0][0])
        # A turn takes a moment too, or who looks whether it is time already would look for ever.
        self._now = now = self._now + _TURN
        while timers and timers[0][0] <= now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _waiting(self) -> str:
        stacks = [task.get_stack() for task in asyncio.all_tasks(self)]
        frames = [stack[-1] for stack in stacks if stack]
        return ", ".join(sorted(f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frame in frames))

    async def create_connection(  # type: ignore[override]
        self,
        factory: Callable[[], Any],
        host: str = "",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        if sock is not None:
            return self.network.attach(factory, *self._reached.pop(sock), sock)
        await self.network.reach(host, port)
        return self.network.attach(factory, host, port)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        await self.network.reach(*address[:2])
        self._reached[sock] = address[:2]

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> Any:  # type: ignore[override]
        """At once: a thread would have a time of its own."""
        future = self.create_future()
        try:
            future.set_result(function(*args))
        except Exception as exc:
            future.set_exception(exc)
        return future


@dataclass(slots=True)
class Weather:
    """How bad the network is: chances from 0 to 1, and times in virtual seconds.

    Args:
        latency: The longest time that a piece takes.
        fragment: The chance that a piece is cut into small ones.
        stall: The chance that a piece waits for long.
        stall_seconds: The longest of these waits.
        reset: The chance that a connection is reset at some byte.
        refuse: The chance that a connection is refused.
        black_hole: The chance that a connection never comes about.
    """

    latency: float = 0.01
    fragment: float = 0.0
    stall: float = 0.0
    stall_seconds: float = 5.0
    reset: float = 0.0
    refuse: float = 0.0
    black_hole: float = 0.0


class Network:
    """Listeners by host and port, and the connections to them.

    Args:
        seed: What draws everything begins with it.
        weather: How bad it is.
        drizzle: How bad UDP is.
    """

    def __init__(self, seed: str, weather: Weather, drizzle: Drizzle) -> None:
        self.datagrams = Datagrams(random.Random(f"{seed}/datagrams"), drizzle)
        self.seed = seed
        self.dice = random.Random(f"{seed}/network")
        self.weather = weather
        self.listeners: dict[tuple[str, int], tuple[str, Peer]] = {}
        self.holes: set[str] = set()  # addresses where nobody is, and nobody says so
        self.transports: list[Transport] = []  # the client's ends
        self.peers: set[asyncio.Task[None]] = set()
        self.faults = 0
        self.taken = 0  # bytes that the client has taken in
        self._made = 0
        #: Called when the client dials.
        self.on_dial: Callable[[], None] = lambda: None
        #: Called with who received something, from which connection, and what.
        self.on_received: Callable[[str, object, bytes], None] = lambda who, stream, data: None

    def listen(self, host: str, port: int, name: str, peer: Peer) -> None:
        """Let `peer` answer at an address; what arrives there is received by `name`."""
        self.listeners[host, port] = name, peer

    def fault(self, chance: float, dice: random.Random) -> bool:
        happens = chance > 0 and dice.random() < chance
        self.faults += happens
        return happens

    async def reach(self, host: str, port: int) -> None:
        """What happens until a connection is there.

        Raises:
            ConnectionRefusedError: Nobody is there, and somebody says so.
        """
        dice, weather = self.dice, self.weather
        self.on_dial()
        await asyncio.sleep(dice.uniform(0, weather.latency))
        if host in self.holes or self.fault(weather.black_hole, dice):
            await asyncio.get_running_loop().create_future()
        if (host, port) not in self.listeners or self.fault(weather.refuse, dice):
            raise ConnectionRefusedError(111, "Connection refused")

    def attach(
        self,
        factory: Callable[[], Any],
        host: str,
        port: int,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.Transport, Any]:
        """The client's end of a connection to a listener."""
        protocol = factory()
        ours, dice = self._pair("client", host, port), self.dice
        ours.sock = sock
        if self.fault(self.weather.reset, dice):
            ours.reset_after = dice.choice(
                (0, 1, dice.randrange(300), dice.randrange(5_000), dice.randrange(100_000))
            )
        self.transports.append(ours)
        ours.start(protocol)
        return ours, protocol

    def open(self, host: str, port: int) -> Stream:
        """A peer's own connection to a listener: how a proxy goes on.

        Raises:
            ConnectionRefusedError: Nobody is there.
        """
        if (host, port) not in self.listeners:
            raise ConnectionRefusedError(111, "Connection refused")
        ours = self._pair("proxy", host, port)
        stream = Stream(ours, "")
        ours.start(stream)
        return stream

    def _pair(self, name: str, host: str, port: int) -> Transport:
        receiver, peer = self.listeners[host, port]
        self._made += 1
        dice = random.Random(f"{self.seed}/connection {self._made}")
        ours, theirs = Transport(self, name, dice), Transport(self, "peer", dice)
        ours.other, theirs.other = theirs, ours
        stream = Stream(theirs, receiver)
        theirs.start(stream)
        task = asyncio.get_running_loop().create_task(self._serve(peer, stream))
        self.peers.add(task)
        task.add_done_callback(self.peers.discard)
        return ours

    async def _serve(self, peer: Peer, stream: Stream) -> None:
        try:
            await peer(stream)
        except ConnectionError:
            pass
        finally:
            stream.close()


class Transport(asyncio.Transport):
    """One end of a connection in memory.

    Args:
        network: Draws what happens to what is sent.
        name: "client", "proxy" or "peer".
        dice: Draws what happens on this connection.
    """

    HIGH_WATER = 65536

    def __init__(self, network: Network, name: str, dice: random.Random) -> None:
        super().__init__({"peername": ("127.0.0.1", 80), "sockname": ("127.0.0.1", 50000)})
        self.network = network
        self._dice = dice
        self.sock: socket.socket | None = None  # what the client dialled by, which is ours now
        self._loop = asyncio.get_running_loop()
        self.name = name
        self.other: Transport
        self.protocol: Any = None
        self.lost = False
        self.reset_after: int | None = None  # bytes of both directions until a reset
        self._closing = False
        self._paused = False
        self._writing_paused = False
        self._arrived: deque[bytes] = deque()  # for our protocol
        self._in_flight = 0  # bytes that we sent and that have not been read
        self._eof_sent = False
        self._eof_came = False
        self._free_at = 0.0  # when what we sent last arrives

    # --- what a protocol sees ---------------------------------------------------------------------

    def start(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.connection_made(self)

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        return self._in_flight

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self.HIGH_WATER // 4, self.HIGH_WATER

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        data = bytes(data)
        if self._closing or self._eof_sent or not data:
            return
        dice, weather = self._dice, self.network.weather
        pieces = [data]
        if self.network.fault(weather.fragment, dice):
            cuts = sorted(dice.randrange(len(data)) for _ in range(dice.randrange(1, 6)))
            ends = [*cuts, len(data)]
            pieces = [data[a:b] for a, b in zip([0, *cuts], ends, strict=True) if a < b]
        for piece in pieces:
            self._in_flight += len(piece)
            self._send_later(self.other._came, piece)
        if self._in_flight > self.HIGH_WATER and not self._writing_paused:
            self._writing_paused = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(bytes(data) for data in list_of_data))

    def write_eof(self) -> None:
        if not self._eof_sent and not self._closing:
            self._eof_sent = True
            self._send_later(self.other._end_came)

    def close(self) -> None:
        if self._closing:
            return
        if not self._eof_sent:
            self._eof_sent = True
            self._send_later(self.other._end_came)
        self._closing = True
        self._arrived.clear()
        self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self._closing = True
        self._arrived.clear()
        self.other._cut(ConnectionResetError(104, "Connection reset by peer"))
        self._loop.call_soon(self._lose, None)

    # --- what the network does --------------------------------------------------------------------

    def _send_later(self, call: Callable[..., None], *args: Any) -> None:
        """Nothing overtakes what was sent before it."""
        dice, weather = self._dice, self.network.weather
        wait = dice.uniform(0, weather.latency)
        if self.network.fault(weather.stall, dice):
            wait += dice.uniform(0, weather.stall_seconds)
        # The loop does not keep the order of timers that are due at the same moment.
        self._free_at = max(self._free_at + 1e-9, self._loop.time() + wait)
        self._loop.call_at(self._free_at, call, *args)

    def _came(self, data: bytes) -> None:
        if self._closing or self.lost:
            # Data for one who has closed draws a reset.
            if not self.other.lost:
                self.other._cut(ConnectionResetError(104, "Connection reset by peer"))
            return
        client = self if self.name == "client" else self.other
        if client.reset_after is not None:
            client.reset_after -= len(data)
            if client.reset_after < 0:
                client.reset_after = None
                error = ConnectionResetError(104, "Connection reset by peer")
                self._cut(error)
                self.other._cut(error)
                return
        self._arrived.append(data)
        self._deliver()

    def _end_came(self) -> None:
        self._eof_came = True
        self._deliver()

    def _cut(self, error: ConnectionError) -> None:
        if not self.lost and not self._closing:
            self._closing = True
            self._arrived.clear()
            self._loop.call_soon(self._lose, error)

    def _deliver(self) -> None:
        while self._arrived and not self._paused and not self._closing:
            data = self._arrived.popleft()
            self._take(data)
            self.other._read(len(data))
        if self._eof_came and not self._arrived and not self._paused and not self._closing:
            self._eof_came = False
            if not self.protocol.eof_received():
                self.close()

    def _take(self, data: bytes) -> None:
        protocol = self.protocol
        if self.name == "client":
            self.network.taken += len(data)
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        while data and not self._closing:
            buffer = memoryview(protocol.get_buffer(len(data))).cast("B")
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            data = data[size:]
            protocol.buffer_updated(size)
            if data and self._paused:
                self._arrived.appendleft(data)
                return

    def _read(self, size: int) -> None:
        self._in_flight = max(0, self._in_flight - size)
        if self._writing_paused and self._in_flight <= self.HIGH_WATER // 4 and not self.lost:
            self._writing_paused = False
            self.protocol.resume_writing()

    def _lose(self, error: BaseException | None) -> None:
        if not self.lost:
            self.lost = True
            if self.sock is not None:
                self.sock.close()
            self.protocol.connection_lost(error)


class Stream(asyncio.Protocol):
    """A peer's end: bytes to read, and to write with back-pressure.

    Args:
        transport: What it is on.
        name: Who receives what comes.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self.transport = transport
        self.name = name
        self._buffer = bytearray()
        self._ended = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        if self.name:
            self.transport.network.on_received(self.name, self, data)
        self._buffer += data
        self._changed.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._changed.set()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self._ended = True
        self._error = exc or ConnectionResetError(104, "closed")
        self._changed.set()
        self._may_write.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def some(self) -> bytes:
        """What has come; b"" at the end."""
        while not self._buffer and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if not self._buffer and self._error is not None:
            raise ConnectionResetError(104, "Connection reset by peer")
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def send(self, data: bytes) -> None:
        """Write, and wait for nothing."""
        if self._error is not None:
            raise ConnectionResetError(104, "Connection reset by peer")
        self.transport.write(data)

    async def write(self, data: bytes) -> None:
        self.send(data)
        await self._may_write.wait()

    async def drained(self) -> None:
        await self._may_write.wait()

    def end(self) -> None:
        """There is nothing more from this side."""
        self.transport.write_eof()

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        self.transport.abort()
