"""Sockets: from a list of addresses to the first one that connects (RFC 8305), and a record of the others.

Knows addresses and loops, nothing of names, TLS or routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any, cast

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType, SocketFactoryType


class Attempts:
    """The addresses that were tried, and how each ended.

    It stands in for the loop where aiohappyeyeballs connects a socket, for that is where the address and its
    error are both known.

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
            self.failed.append((address, exc))
            raise
        self.reached = address

    def describe(self) -> str:
        """Every address with what became of it, for an error's message."""
        ends = {show(address): reason(exc) for address, exc in self.failed}
        return "; ".join(f"{show(address)}: {ends.get(show(address), 'no answer')}" for address in self.tried)


def reason(exc: BaseException) -> str:
    """What went wrong, in the system's words; loops have different ones of their own."""
    number = getattr(exc, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    if said := getattr(exc, "strerror", None) or str(exc):
        return str(said)
    return "the peer closed the connection" if isinstance(exc, ConnectionResetError) else type(exc).__name__


def show(address: Any) -> str:
    """An address as people write it."""
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)


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
        delay: Seconds before the next address is tried beside those before it, None for one after the other.
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
        # A request is one write: waiting for more to fill a segment only costs time.  A factory's socket may be of
        # another family that has no such option.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
