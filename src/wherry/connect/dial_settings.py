"""What a connector says of every connection that it makes, and how errors name what was dialled.

Values only: nothing here does any I/O.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol

from yarl import URL

from wherry.connect.connect_request import ConnectObserver, ConnectRequest
from wherry.connect.dns.address_guard import AllowAddress
from wherry.connect.dns.cache import DNSCache
from wherry.connect.dns.resolver import ResolveResult
from wherry.connect.happy_eyeballs import AddrInfoType, SocketFactoryType, reason
from wherry.connect.route import ProxyHop, Route
from wherry.connect.tls.sessions import SessionTable
from wherry.errors import ConnectionTimeoutError, printable
from wherry.protocol.connection import Connection
from wherry.protocol.http2.flow_control import FlowOptions
from wherry.protocol.limits import DEFAULT_LIMITS, Limits
from wherry.types import ConnectionKey

if TYPE_CHECKING:
    from wherry.connect.alt_svc import AltSvcStore


class DialOverrides(Protocol):
    """How a custom connector dials."""

    async def __call__(self, connect_request: ConnectRequest) -> Connection:
        """The connection for `connect_request`, made as the connector's class says."""

    async def usual(self, connect_request: ConnectRequest) -> Connection:
        """As calling it, but without asking an overridden `_create_connection`."""

    async def straight(self, connect_request: ConnectRequest) -> Connection:
        """As its class says, `_create_connection` and `_create_direct_connection` left aside."""


class Lookup(Protocol):
    """How a custom connector finds addresses."""

    async def __call__(
        self, host: str, port: int, observer: ConnectObserver | None
    ) -> list[ResolveResult]:
        """The addresses of `host`, as the connector's class finds them.

        Raises:
            OSError: There are none.
        """


class DialSettings:
    """What a connector says of every connection that it makes.

    Args:
        loop: The event loop.
        names: Where names are resolved.
        family: The address family, `socket.AF_UNSPEC` for both.
        local_addresses: What sockets are bound to.
        happy_eyeballs_delay: Seconds before the next address is tried beside those before it, None
            for never.
        interleave: How many addresses of the first family come before one of the other.
        socket_factory: Makes the sockets.
        ssl_shutdown_timeout: Seconds that the closing TLS handshake may take.
        allow_address: Asked before any address is connected to; None allows all.
        limits: What a server may send in a head.
        http2: Windows and flood limits of HTTP/2 connections, None for the usual.
        tls_resumption: Which TLS sessions are resumed; see `SessionTable`.
        chooses_protocols: Whether the connector names the protocols to offer by ALPN, whatever a
            context offers.
        early_data: Whether safe requests may go before QUIC's handshake is over.

    A connector that dials in a way of its own puts it in `overrides`, and its own look-up of hosts
    in `lookup`.
    """

    __slots__ = (
        "allow_address",
        "alternatives",
        "chooses_protocols",
        "early_data",
        "family",
        "happy_eyeballs_delay",
        "http2",
        "interleave",
        "limits",
        "local_addresses",
        "lookup",
        "loop",
        "names",
        "overrides",
        "plain_sockets",
        "sessions",
        "socket_factory",
        "ssl_shutdown_timeout",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        names: DNSCache | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        local_addresses: list[AddrInfoType] | None = None,
        happy_eyeballs_delay: float | None = 0.25,
        interleave: int | None = None,
        socket_factory: SocketFactoryType | None = None,
        ssl_shutdown_timeout: float | None = None,
        allow_address: AllowAddress | None = None,
        limits: Limits = DEFAULT_LIMITS,
        http2: FlowOptions | None = None,
        tls_resumption: bool | None = None,
        chooses_protocols: bool = False,
        early_data: bool = False,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.names: DNSCache | None = names
        self.family: int = family
        self.local_addresses: list[AddrInfoType] | None = local_addresses
        self.happy_eyeballs_delay: float | None = happy_eyeballs_delay
        self.interleave: int | None = interleave
        self.socket_factory: SocketFactoryType | None = socket_factory
        self.ssl_shutdown_timeout: float | None = ssl_shutdown_timeout
        self.allow_address: AllowAddress | None = allow_address
        self.limits: Limits = limits
        self.http2: FlowOptions | None = http2
        # Nothing but an address is asked of a socket.
        self.plain_sockets: bool = local_addresses is None and socket_factory is None
        self.overrides: DialOverrides | None = None
        self.lookup: Lookup | None = None
        self.sessions: SessionTable = SessionTable(tls_resumption)
        self.chooses_protocols: bool = chooses_protocols
        self.early_data: bool = early_data
        # Where HTTP/3 is spoken, for connectors that learn it.
        self.alternatives: AltSvcStore | None = None


def server_name(route: Route) -> str:
    """The name for SNI and for the certificate's check."""
    return certificate_name(route.server_hostname or route.origin.host)


def certificate_name(host: str) -> str:
    """What a certificate may call `host`: a name without a last dot, an address without zone (RFC
    9110 4.3.5).
    """
    host = host.rstrip(".")
    return host.partition("%")[0] if ":" in host else host


def connection_key(route: Route) -> ConnectionKey:
    """The `ConnectionKey` of a route, which errors show."""
    origin = route.origin
    proxy = URL(str(route.hops[-1])) if route.hops else None
    return ConnectionKey(origin.host, origin.port, route.is_tls, route.asked_ssl, proxy, None, None)


def hop_key(hop: ProxyHop) -> ConnectionKey:
    """The `ConnectionKey` of a proxy, which errors show."""
    ssl = True if hop.ssl is None else hop.ssl
    return ConnectionKey(hop.host, hop.port, hop.scheme == "https", ssl, None, None, None)


def timed_out(
    key: ConnectionKey, connect_request: ConnectRequest, tried: str
) -> ConnectionTimeoutError:
    said = (
        f"Connection timeout to host {key.host}:{key.port} after {connect_request.sock_connect} "
        f"seconds [{tried}]"
    )
    return ConnectionTimeoutError(printable(said))


def with_place(exc: BaseException, where: str) -> OSError:
    """`exc` as an OSError that says where it happened."""
    return OSError(getattr(exc, "errno", None), f"{reason(exc)} ({where})")
