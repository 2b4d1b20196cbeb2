"""UDP of the simulation: datagrams that are lost, late, out of order or twice, a NAT that forgets, and
the sockets that the client sends them by.

A connector is given `Datagrams.socket` as its `socket_factory`; the loop's `add_reader` knows these
sockets by their numbers, which no real one has.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_FIRST_NUMBER = 1_000_000
_FIRST_PORT = 20_000
_MTU = 1_500
Address = tuple[str, int]
Server = Callable[[bytes, Address], None]


@dataclass(slots=True)
class Drizzle:
    """How bad UDP is: chances from 0 to 1 of each datagram, and times in virtual seconds.

    Args:
        latency: The longest time that a datagram takes.
        loss: The chance that it is lost.
        twice: The chance that it comes twice.
        rebinding: The chance that the NAT gives its socket another address.
        full: The chance that the system takes none now.
        blocked: Whether none comes through at all.
    """

    latency: float = 0.01
    loss: float = 0.0
    twice: float = 0.0
    rebinding: float = 0.0
    full: float = 0.0
    blocked: bool = False


class Datagrams:
    """The sockets, the NAT and the servers.

    Args:
        dice: Draws everything.
        drizzle: How bad it is.
    """

    def __init__(self, dice: random.Random, drizzle: Drizzle) -> None:
        self.dice = dice
        self.drizzle = drizzle
        self.servers: dict[Address, Server] = {}
        self.sockets: dict[int, DatagramSocket] = {}
        self._outside: dict[Address, DatagramSocket] = {}  # the NAT's table
        self._ports = _FIRST_PORT
        self.faults = 0

    def socket(self, info: Any) -> Any:
        """A socket as a program's `socket_factory` makes it."""
        made = DatagramSocket(self, _FIRST_NUMBER + len(self.sockets))
        self.sockets[made.fileno()] = made
        return made

    def _happens(self, chance: float) -> bool:
        happens = chance > 0 and self.dice.random() < chance
        self.faults += happens
        return happens

    def bound(self, sock: DatagramSocket) -> Address:
        """The address that others see of a socket, a new one now."""
        self._ports += 1
        address = ("10.8.0.1", self._ports)
        self._outside[address] = sock
        return address

    def leave(self, sock: DatagramSocket, data: bytes, to: Address) -> None:
        """A client's datagram goes out."""
        if self._happens(self.drizzle.rebinding):
            del self._outside[sock.outside]
            sock.outside = self.bound(sock)
        server = self.servers.get(to)
        if server is None:
            if not self.drizzle.blocked:
                self._later(sock.refuse)
            return
        source = sock.outside
        self._carry(lambda: server(data, source))

    def to_client(self, data: bytes, to: Address) -> None:
        """A server's datagram goes out."""

        def arrive() -> None:
            sock = self._outside.get(to)
            if sock is not None:
                sock.take(data)

        self._carry(arrive)

    def _carry(self, arrive: Callable[[], None]) -> None:
        drizzle = self.drizzle
        if drizzle.blocked or self._happens(drizzle.loss):
            return
        self._later(arrive)
        if self._happens(drizzle.twice):
            self._later(arrive)

    def _later(self, call: Callable[[], None]) -> None:
        # Each takes its own time, so one overtakes another.
        wait = self.dice.uniform(0, self.drizzle.latency)
        asyncio.get_running_loop().call_later(wait, call)

    def system_is_full(self) -> bool:
        return self._happens(self.drizzle.full)


class DatagramSocket:
    """A UDP socket, as far as a client uses one; and a number for TCP's."""

    def __init__(self, network: Datagrams, number: int) -> None:
        self._network = network
        self._number = number
        self._peer: Address = ("", 0)
        self._queue: deque[bytes | OSError] = deque()
        self.outside = network.bound(self)
        self.reader: Callable[[], None] | None = None
        self.writer: Callable[[], None] | None = None
        self.closed = False

    def fileno(self) -> int:
        return -1 if self.closed else self._number

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def setsockopt(self, *args: Any) -> None:
        """All are fine."""

    def bind(self, address: Any) -> None:
        """The NAT decides."""

    def connect(self, address: Any) -> None:
        self._peer = address[0], address[1]

    def getpeername(self) -> Address:
        return self._peer

    def getsockname(self) -> Address:
        return ("10.7.0.1", self._number - _FIRST_NUMBER)

    def send(self, data: Any) -> int:
        if self._network.system_is_full():
            raise BlockingIOError(11, "Resource temporarily unavailable")
        assert len(data) <= _MTU
        self._network.leave(self, bytes(data), self._peer)
        return len(data)

    def sendmsg(self, buffers: Any, ancillary: Any = ()) -> int:
        """UDP_SEGMENT: each buffer is a datagram, for the client gives them so."""
        if self._network.system_is_full():
            raise BlockingIOError(11, "Resource temporarily unavailable")
        for data in buffers:
            self._network.leave(self, bytes(data), self._peer)
        return sum(map(len, buffers))

    def recv(self, size: int) -> bytes:
        if not self._queue:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        found = self._queue.popleft()
        if isinstance(found, OSError):
            raise found
        return found

    def close(self) -> None:
        self.closed = True

    def take(self, data: bytes | OSError) -> None:
        """Something came."""
        if self.closed:
            return
        self._queue.append(data)
        if self.reader is not None:
            self.reader()

    def refuse(self) -> None:
        """ICMP says that nobody is there."""
        self.take(ConnectionRefusedError(111, "Connection refused"))


class DatagramLoop(asyncio.SelectorEventLoop):
    """What a loop has for these sockets."""

    datagrams: Datagrams

    def _add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
        if isinstance(fd, int) and fd >= _FIRST_NUMBER:
            self.datagrams.sockets[fd].reader = callback
            return None
        return super()._add_reader(fd, callback, *args)  # type: ignore[misc]

    def _remove_reader(self, fd: Any) -> Any:
        if isinstance(fd, int) and fd >= _FIRST_NUMBER:
            sock = self.datagrams.sockets[fd]
            had, sock.reader = sock.reader is not None, None
            return had
        return super()._remove_reader(fd)  # type: ignore[misc]

    def _add_writer(self, fd: Any, callback: Any, *args: Any) -> Any:
        if isinstance(fd, int) and fd >= _FIRST_NUMBER:
            sock = self.datagrams.sockets[fd]
            sock.writer = callback
            self.call_later(0.001, self._may_write, sock)
            return None
        return super()._add_writer(fd, callback, *args)  # type: ignore[misc]

    def _remove_writer(self, fd: Any) -> Any:
        if isinstance(fd, int) and fd >= _FIRST_NUMBER:
            sock = self.datagrams.sockets[fd]
            had, sock.writer = sock.writer is not None, None
            return had
        return super()._remove_writer(fd)  # type: ignore[misc]

    def _may_write(self, sock: DatagramSocket) -> None:
        if sock.writer is not None:
            sock.writer()
