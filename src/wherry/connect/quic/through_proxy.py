"""QUIC through a proxy: by SOCKS5's UDP ASSOCIATE (RFC 1928 7), and by MASQUE (RFC 9298), which
carries datagrams as capsules (RFC 9297) on a stream of HTTP/2 or HTTP/3.

Each makes a `DatagramCarrier` to one host and port.  The proxy sees that host and port, and
datagrams that only the origin can read.  A proxy that ends its side ends the carrier.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from wherry.connect.dial_settings import hop_key
from wherry.connect.dns.address_guard import AllowAddress, takes
from wherry.connect.handshake_stream import HandshakeStream
from wherry.connect.proxy.http import forward_fields
from wherry.connect.proxy.socks import IPV4, NAME, destination, literal, socks5_udp
from wherry.connect.proxy.tunnel import run_handshake
from wherry.connect.quic.datagram_carrier import DatagramCarrier, EndpointCarrier, open_endpoint
from wherry.connect.route import ProxyHop
from wherry.errors import ClientConnectorAddressBlocked
from wherry.protocol.connection import Connection, Exchange, FlowControl
from wherry.protocol.heads import EMPTY_BLOCK, RequestHead
from wherry.protocol.http3.frames import read_varint, varint

# What is passed by these kinds of hops.
SOCKS: Final = frozenset({"socks5", "socks5h"})
MASQUE: Final = "masque+https"
# RFC 9297 3.5: the type of a capsule that is a datagram; RFC 9298 5: UDP payloads have context 0.
_DATAGRAM: Final = 0
_LARGEST_DATAGRAM: Final = 65535 + 8
# Capsules of other types are skipped; one that says it is longer than this is none.
_LARGEST_CAPSULE: Final = 1024 * 1024


class ProxyRefused(Exception):
    """The proxy carries no UDP for us.

    Args:
        reason: What it said, for a person.
    """


# --- SOCKS5 ---------------------------------------------------------------------------------------


class SocksCarrier(EndpointCarrier):
    """Datagrams to a SOCKS5 relay, each under a header; the TCP connection that asked for the relay
    has to stay (RFC 1928 6).

    Args:
        loop: The event loop.
        host: Where datagrams go: an address, or a name that the proxy resolves.
        port: The port there.
        control: The TCP connection.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, host: str, port: int, control: HandshakeStream
    ) -> None:
        super().__init__(loop, b"\0\0\0" + destination(host) + port.to_bytes(2))
        self._control = control

    def datagram_received(self, data: bytes, addr: Any) -> None:
        payload = unwrapped(data)
        if payload is not None:
            super().datagram_received(payload, addr)

    def close(self) -> None:
        super().close()
        self._control.abort()

    # What the TCP connection tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not by its class: before Python 3.12 asyncio's own is no DatagramTransport.
        if hasattr(transport, "sendto"):
            super().connection_made(transport)

    def feed(self, data: bytes) -> None:
        """Drop what comes: nothing is to be said there any more."""

    data_received = feed

    def eof_received(self) -> None:
        self.ended(ConnectionResetError(errno.ECONNRESET, "the SOCKS proxy ended the relay"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._endpoint is not None and not self._endpoint.is_closing():
            self.eof_received()

    def pause_writing(self) -> None:
        """Nothing is written there."""

    resume_writing = pause_writing


def unwrapped(data: bytes) -> bytes | None:
    """What a datagram of a relay carries (RFC 1928 7); None for a fragment, and for none of it."""
    if len(data) < 5 or data[2]:
        return None
    kind = data[3]
    length = 1 + data[4] if kind == NAME else 4 if kind == IPV4 else 16
    start = 4 + length + 2
    return data[start:] if len(data) > start else None


async def socks_carrier(
    hop: ProxyHop,
    host: str,
    port: int,
    dial: Callable[[ProxyHop], Awaitable[HandshakeStream]],
    loop: asyncio.AbstractEventLoop,
    allow: AllowAddress | None = None,
) -> SocksCarrier:
    """A carrier through a SOCKS5 proxy.

    Args:
        hop: The proxy.
        host: Where to: an address, or a name that the proxy is to resolve.
        port: The port there.
        dial: Opens a stream to the proxy.
        loop: The event loop.
        allow: Asked about the address of the relay, which the proxy names (RFC 1928 7).

    Raises:
        ClientConnectorAddressBlocked: `allow` refused the relay.
        Refusal: The proxy said no, or does not speak SOCKS5.
        OSError: It, or its relay, could not be reached.
    """
    control = await dial(hop)
    try:
        relay: list[tuple[str, int]] = []
        await run_handshake(control, socks5_udp(relay, hop.username, hop.password))
        relay_host, relay_port = relay[0]
        address = literal(relay_host)
        if address is None or address.is_unspecified:
            # "Here", as the proxy sees it.
            relay_host = control.transport.get_extra_info("peername")[0]
            address = literal(relay_host)
        if allow is not None and (address is None or not takes(allow, address)):
            reason = f"allow_address refused {relay_host}, the UDP relay of {hop}"
            raise ClientConnectorAddressBlocked(hop_key(hop), OSError(None, reason))
        carrier = SocksCarrier(loop, host, port, control)
        family = socket.AF_INET6 if ":" in relay_host else socket.AF_INET
        await open_endpoint(carrier, loop, (relay_host, relay_port), family)
        control.hand_over(carrier)
    except BaseException:
        control.abort()
        raise
    return carrier


# --- MASQUE ---------------------------------------------------------------------------------------


class Capsules:
    """Datagrams out of a stream of capsules (RFC 9297 3.2), in any pieces."""

    __slots__ = ("_kept", "_skip")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._skip = 0  # bytes that are still to come of a capsule nobody knows

    def receive(self, data: bytes) -> list[bytes]:
        """The UDP payloads that are whole now.

        Raises:
            ValueError: A capsule is longer than any may be.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        buffer, position, found = self._kept, 0, []
        buffer += data
        while position < len(buffer):
            try:
                # No header is longer; a copy of all that waits would cost more with each piece.
                header = bytes(buffer[position : position + 16])
                kind, at = read_varint(header, 0)
                length, at = read_varint(header, at)
            except IndexError:
                break
            if length > (_LARGEST_DATAGRAM if kind == _DATAGRAM else _LARGEST_CAPSULE):
                raise ValueError(f"a capsule of {length} bytes")
            start = position + at
            end = start + length
            if kind != _DATAGRAM:
                self._skip = max(0, end - len(buffer))
            elif end > len(buffer):
                break
            elif length and (payload := _payload(bytes(buffer[start:end]))) is not None:
                found.append(payload)
            position = end
        del buffer[:position]
        return found


def _payload(datagram: bytes) -> bytes | None:
    """What is for UDP in an HTTP datagram (RFC 9298 5)."""
    try:
        context, start = read_varint(datagram, 0)
    except IndexError:
        return None
    return datagram[start:] if context == 0 else None


class MasqueCarrier(DatagramCarrier):
    """Datagrams as capsules on a stream of a proxy's.

    Args:
        connection: The connection to the proxy, which belongs to the carrier.
        name: The address of the other end, for who asks.
    """

    def __init__(self, connection: Connection, name: tuple[str, int]) -> None:
        self._connection = connection
        self._name = name
        self._capsules = Capsules()
        self._tunnel: Any = None
        self._full = False

    def begin(self, exchange: Exchange) -> None:
        """The proxy has agreed."""
        self._tunnel = exchange.upgrade(self)

    def send(self, datagram: bytes) -> None:
        # A full way loses datagrams; QUIC slows down then.
        if not self._full and self._tunnel is not None and not self._tunnel.is_closing():
            self._tunnel.write(b"\0" + varint(len(datagram) + 1) + b"\0" + datagram)

    def close(self) -> None:
        if self._tunnel is not None:
            self._tunnel.abort()
        self._connection.close()

    def get_extra_info(self, name: str) -> Any:
        if name == "peername":
            return self._name
        transport = self._connection.transport
        return None if transport is None else transport.get_extra_info(name)

    # What the tunnel tells.

    def data_received(self, data: bytes) -> None:
        try:
            datagrams = self._capsules.receive(data)
        except ValueError as exc:
            self.ended(OSError(errno.EPROTO, f"the proxy sent {exc}"))
            return
        if datagrams:
            self.arrived(datagrams)

    def eof_received(self) -> None:
        self.ended(ConnectionResetError(errno.ECONNRESET, "the proxy ended the tunnel"))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended(
            ConnectionResetError(errno.ECONNRESET, f"the proxy is gone: {exc}" if exc else "end")
        )

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False


class _NoBody:
    """Where the body of a proxy's refusal goes."""

    flow: FlowControl | None = None

    def feed_data(self, data: bytes) -> None: ...

    def feed_eof(self) -> None: ...

    def chunk_ended(self) -> None: ...

    def set_exception(self, exc: BaseException) -> None: ...


async def masque_carrier(
    hop: ProxyHop, host: str, port: int, connection: Connection
) -> MasqueCarrier:
    """A carrier through a MASQUE proxy (RFC 9298 3).

    Args:
        hop: The proxy.
        host: Where to: an address, or a name that the proxy resolves.
        port: The port there.
        connection: To the proxy, by HTTP/2 or HTTP/3; it belongs to the carrier.

    Raises:
        ProxyRefused: The proxy said no.
        ClientError: The connection failed.
    """
    # RFC 9298 2: the template that everybody knows.
    target = f"/.well-known/masque/udp/{quote(host, safe='')}/{port}/"
    shown = f"[{hop.host}]" if ":" in hop.host else hop.host
    head = RequestHead(
        "GET",
        "https",
        shown if hop.port == 443 else f"{shown}:{hop.port}",
        target,
        EMPTY_BLOCK,
        (("Capsule-Protocol", "?1"), *forward_fields(hop)),
        upgrade="connect-udp",
    )
    try:
        exchange = connection.start(head, _NoBody())
        answer = await exchange.receive_head()
        if not 200 <= answer.status < 300:
            raise ProxyRefused(f"it answered {answer.status} {answer.reason}".rstrip())
        carrier = MasqueCarrier(connection, (host, port))
        carrier.begin(exchange)
    except BaseException:
        connection.close()
        raise
    return carrier
