"""QUIC connections whose datagrams somebody else carries: an event loop that cannot watch sockets
(Windows' Proactor), or a proxy.

A `DatagramCarrier` takes datagrams, and gives those that come to its transport.  Everything else,
the one transmission in a turn of the loop and the timer, is `QuicTransport`'s.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from typing import Any, cast

from wherry.connect.quic.socket import DatagramReceiver, QuicTransport
from wherry.protocol.http3.quic_engine import QuicEngine


class DatagramCarrier(ABC):
    """Who carries datagrams to one server and back."""

    #: Who gets what comes; set by the transport.
    transport: CarriedTransport | None = None

    @abstractmethod
    def send(self, datagram: bytes) -> None:
        """Carry a datagram; it may be lost."""

    @abstractmethod
    def close(self) -> None:
        """Carry nothing more."""

    @abstractmethod
    def get_extra_info(self, name: str) -> Any:
        """What asyncio's transports know by these names."""

    def arrived(self, datagrams: list[bytes]) -> None:
        """Datagrams came."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.take(datagrams)

    def failed(self, exc: OSError) -> None:
        """The carrier reports an error, which need not be its end."""
        if self.transport is not None:
            self.transport.carrier_failed(exc)

    def ended(self, exc: OSError) -> None:
        """Nothing is carried any more."""
        if self.transport is not None:
            self.transport.carrier_ended(exc)


class CarriedTransport(QuicTransport):
    """A connection over a carrier.

    Args:
        loop: The event loop.
        carrier: It belongs to the transport from now on.
        engine: Whose datagrams these are.
        receiver: Who is told.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        carrier: DatagramCarrier,
        engine: QuicEngine,
        receiver: DatagramReceiver,
    ) -> None:
        self._carrier = carrier
        super().__init__(loop, cast("socket.socket", _Named(carrier)), engine, receiver)
        carrier.transport = self

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        found = self._carrier.get_extra_info(name)
        return default if found is None else found

    def carrier_failed(self, exc: OSError) -> None:
        self._failed(exc)

    def carrier_ended(self, exc: OSError) -> None:
        if self._sock is not None:
            self.receiver.transport_failed(exc)
            self.abort()

    def _watch(self, sock: socket.socket) -> None:
        """The carrier says when something comes."""

    def _forget(self, sock: socket.socket) -> None:
        self._carrier.close()

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            if self._sock is None:
                return
            self._carrier.send(datagram)


class _Named:
    """What `QuicTransport` asks of a socket when it is made."""

    __slots__ = ("_carrier",)

    def __init__(self, carrier: DatagramCarrier) -> None:
        self._carrier = carrier

    def getpeername(self) -> Any:
        return self._carrier.get_extra_info("peername")

    def getsockname(self) -> Any:
        return self._carrier.get_extra_info("sockname")


class EndpointCarrier(DatagramCarrier, asyncio.DatagramProtocol):
    """A UDP socket that the event loop reads and writes itself (`create_datagram_endpoint`).

    Args:
        loop: The event loop.
        prefix: What stands before each datagram on the way out: a relay's header.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, prefix: bytes = b"") -> None:
        self.loop = loop
        self._prefix = prefix
        self._endpoint: asyncio.DatagramTransport | None = None
        self._came: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._endpoint = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self._came:
            self.loop.call_soon(self._give)
        self._came.append(data)

    def _give(self) -> None:
        came, self._came = self._came, []
        self.arrived(came)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self.failed(exc)

    def send(self, datagram: bytes) -> None:
        if self._endpoint is not None and not self._endpoint.is_closing():
            self._endpoint.sendto(self._prefix + datagram)

    def close(self) -> None:
        if self._endpoint is not None:
            self._endpoint.abort()

    def get_extra_info(self, name: str) -> Any:
        return None if self._endpoint is None else self._endpoint.get_extra_info(name)


async def open_endpoint(
    carrier: EndpointCarrier,
    loop: asyncio.AbstractEventLoop,
    address: Any,
    family: int,
    local_address: Any = None,
) -> None:
    """Have the loop make a socket that talks to `address` alone, for a carrier.

    Raises:
        OSError: There is no way there, or the local address cannot be had.
    """
    host, port = address[:2]
    if len(address) == 4 and address[3] and "%" not in host:
        host = f"{host}%{address[3]}"
    await loop.create_datagram_endpoint(
        lambda: carrier,
        remote_addr=(host, port),
        local_addr=None if local_address is None else local_address[:2],
        family=family,
    )
