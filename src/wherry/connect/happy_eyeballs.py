"""Sockets: from a list of addresses to the first one that connects (RFC 8305), and a record of the
others.

Knows addresses and loops, nothing of names, TLS or routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, TypeAlias, cast

import aiohappyeyeballs

from wherry.protocol.debug_log import DIAL

Factory = Callable[[], Any]
Made = tuple[asyncio.Transport, Any]

# What `getaddrinfo` says of an address: family, kind, protocol, canonical name, socket address.
AddrInfoType: TypeAlias = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]
]
SocketFactoryType: TypeAlias = Callable[[AddrInfoType], socket.socket]


class Attempts:
    """The addresses that were tried, and how each ended.

    It stands in for the loop where aiohappyeyeballs connects a socket, for that is where the
    address and its error are both known.

    Args:
        loop: The event loop.
    """

    __slots__ = ("_loop", "failed", "reached", "tried")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.tried: list[Any] = []
        self.failed: list[tuple[Any, BaseException]] = []
        self.reached: Any = None

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self.tried.append(address)
        try:
            await self._loop.sock_connect(sock, address)
        except (OSError, RuntimeError) as exc:
            self._ended(address, exc)
            raise
        self._ended(address)

    async def connect_only(self, info: AddrInfoType, factory: Factory) -> Made:
        """A transport to one address with a protocol of `factory` on it, made by the loop in one
        step.
        """
        address = info[4]
        self.tried.append(address)
        try:
            made = await self._loop.create_connection(
                factory, address[0], address[1], family=info[0]
            )
        except (OSError, RuntimeError) as exc:
            self._ended(address, exc)
            raise
        self._ended(address)
        return made

    def _ended(self, address: Any, exc: BaseException | None = None) -> None:
        if exc is None:
            self.reached = address
        else:
            self.failed.append((address, exc))
        if DIAL.on:
            DIAL.say("%s: %s", show(address), "connected" if exc is None else reason(exc))

    def describe(self) -> str:
        """Every address with what became of it, for an error's message."""
        ends = {show(address): reason(exc) for address, exc in self.failed}
        return "; ".join(
            f"{show(address)}: {ends.get(show(address), 'no answer')}" for address in self.tried
        )


def reason(exc: BaseException) -> str:
    """What went wrong, in the system's words; loops have different ones of their own."""
    number = getattr(exc, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    if said := getattr(exc, "strerror", None) or str(exc):
        return str(said)
    return (
        "the peer closed the connection"
        if isinstance(exc, ConnectionResetError)
        else type(exc).__name__
    )


def show(address: Any) -> str:
    """An address as people write it."""
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)


def is_scoped(info: AddrInfoType) -> bool:
    """Whether it is an IPv6 address of one link (RFC 4007 6), which only a socket can be told."""
    return len(info[4]) > 2 and bool(info[4][3])


async def connect_plain(
    addresses: list[AddrInfoType], attempts: Attempts, factory: Factory, delay: float
) -> Made:
    """A transport to the first address that answers, and its protocol; nothing special is asked of
    the sockets.

    Loops connect and make a transport in one step for less than the two take one by one (on uvloop
    80 us less), so the first address, which nearly always answers, is left to them; the others race
    as sockets do.

    Args:
        addresses: What to try, in order, the families interleaved.
        attempts: Learns what was tried.
        factory: Makes a protocol; it may be called for an attempt that comes to nothing.
        delay: Seconds before the other addresses are tried beside the first.

    Raises:
        OSError: None answered; `attempts` has the details.
    """
    if len(addresses) == 1:
        return await attempts.connect_only(addresses[0], factory)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(attempts.connect_only(addresses[0], factory))]
    try:
        await asyncio.wait(tasks, timeout=delay)
        if not tasks[0].done() or tasks[0].exception() is not None:
            tasks.append(loop.create_task(_connect_others(addresses[1:], attempts, factory, delay)))
        while not (ended := [task for task in tasks if task.done() and task.exception() is None]):
            running = [task for task in tasks if not task.done()]
            if not running:
                return tasks[0].result()
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        winner = ended[0]
        tasks.remove(winner)
        return winner.result()
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_drop)


async def _connect_others(
    addresses: list[AddrInfoType], attempts: Attempts, factory: Factory, delay: float
) -> Made:
    sock = await connect_first(
        addresses, attempts, local_addresses=None, delay=delay, interleave=0, factory=None
    )
    return await asyncio.get_running_loop().create_connection(factory, sock=sock)


def _drop(attempt: asyncio.Task[Made]) -> None:
    """Close what an attempt made that came too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].abort()


def interleaved(addresses: list[AddrInfoType], count: int | None) -> list[AddrInfoType]:
    """`addresses` with the families in turn (RFC 8305 4).

    Args:
        addresses: In order of wish.
        count: How many of the first family come before the first of the other, None for 1, 0 to
            leave them as they are.
    """
    if count == 0 or len(addresses) < 3:
        return addresses
    count = count or 1
    first = [info for info in addresses if info[0] == addresses[0][0]]
    other = [info for info in addresses if info[0] != addresses[0][0]]
    head, first = first[: count - 1], first[count - 1 :]
    pairs = zip_longest(first, other)
    return head + [info for pair in pairs for info in pair if info is not None]


async def connect_first(
    addresses: list[AddrInfoType],
    attempts: Attempts,
    *,
    local_addresses: list[AddrInfoType] | None,
    delay: float | None,
    interleave: int | None,
    factory: SocketFactoryType | None,
) -> socket.socket:
    """A connected socket to the first address that answers.

    Args:
        addresses: What to try, in order.
        attempts: Learns what was tried.
        local_addresses: What to bind to.
        delay: Seconds before the next address is tried beside those before it, None for one after
            the other.
        interleave: How many addresses of the first family come before one of the other.
        factory: Makes the sockets.

    Raises:
        OSError: None answered; `attempts` has the details.
    """
    sock = await aiohappyeyeballs.start_connection(
        addresses,
        local_addr_infos=local_addresses,
        happy_eyeballs_delay=delay,
        interleave=interleave,
        loop=cast("asyncio.AbstractEventLoop", attempts),
        socket_factory=factory,
    )
    with contextlib.suppress(OSError, ValueError):
        # A request is one write: waiting for more to fill a segment only costs time.  A factory's
        # socket may be of another family that has no such option.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
