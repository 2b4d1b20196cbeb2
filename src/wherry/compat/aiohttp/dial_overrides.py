"""Custom connectors, which have methods of their own in the place of those that aiohttp's dial by.

`connect` gives a connection to a request, `_create_connection` makes a whole one,
`_create_direct_connection` one without proxies, `_wrap_create_connection` a transport to an address
that is given, `_resolve_host` finds these.  Whatever they make, HTTP is spoken on it by our own
connections, and further proxies are passed over it.  A connector with none of its own never comes
here.
"""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any, cast
from weakref import ref

from wherry.compat.aiohttp.private_names import overridden
from wherry.connect.connect_request import ConnectObserver, ConnectRequest
from wherry.connect.dial import (
    addr_info,
    addresses_of,
    checked,
    dial_route,
    finish,
    handshake_for,
    is_resolvers_limit,
)
from wherry.connect.dial_settings import DialSettings, connection_key, hop_key, server_name
from wherry.connect.dns.address_guard import is_literal
from wherry.connect.dns.resolver import ResolveResult
from wherry.connect.handshake_stream import HandshakeStream, TransportTaker
from wherry.connect.happy_eyeballs import AddrInfoType
from wherry.connect.protocol_of_transport import connection_for
from wherry.connect.route import ProxyHop
from wherry.connect.tls import contexts as tls
from wherry.connect.tls.start_tls import check_fingerprint
from wherry.errors import (
    ClientConnectionError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
    printable,
)
from wherry.protocol.connection import Connection
from wherry.types import ConnectionKey


def timeout_of(connect_request: ConnectRequest) -> Any:
    """The limits of `connect_request` under the names of a `ClientTimeout`."""
    return SimpleNamespace(
        total=None,
        connect=None,
        sock_connect=connect_request.sock_connect,
        sock_read=None,
        ceil_threshold=5.0,
    )


class DialOverrides:
    """Dials as a connector's own methods say.

    Args:
        connector: The connector; it is not kept alive.
        settings: Its own.
        creates: It has its own `_create_connection`.
        directs: It has its own `_create_direct_connection`.
        wraps: It has its own `_wrap_create_connection`.
    """

    __slots__ = ("_connector", "_creates", "_directs", "_settings", "_wraps")

    def __init__(
        self, connector: Any, settings: DialSettings, *, creates: bool, directs: bool, wraps: bool
    ) -> None:
        self._connector = ref(connector)
        self._settings = settings
        self._creates = creates
        self._directs = directs
        self._wraps = wraps

    def _require(self) -> Any:
        connector = self._connector()
        if connector is None:
            raise ClientConnectionError("Connector is closed")
        return connector

    async def __call__(self, connect_request: ConnectRequest) -> Connection:
        """A new connection for `connect_request`.

        Raises:
            ClientConnectorError: It could not be made.
            Exception: What the program's own code raises comes through as it is.
        """
        if not self._creates:
            return await self.usual(connect_request)
        made = await self._require()._create_connection(
            connect_request.request, [], timeout_of(connect_request)
        )
        if isinstance(made, Connection):
            return made
        return await self._take(made.transport, made, connect_request)

    async def usual(self, connect_request: ConnectRequest) -> Connection:
        """What `_create_connection` does where it is not overridden."""
        if self._directs and not connect_request.route.hops:
            transport, made = await self._require()._create_direct_connection(
                connect_request.request, [], timeout_of(connect_request)
            )
            return (
                made
                if isinstance(made, Connection)
                else await self._take(transport, made, connect_request)
            )
        return await self.straight(connect_request)

    async def straight(self, connect_request: ConnectRequest) -> Connection:
        """What `_create_direct_connection` does where it is not overridden, and what routes through
        proxies do.
        """
        route, settings = connect_request.route, self._settings
        if not self._wraps or route.path is not None:
            return await dial_route(route, settings, connect_request)
        if route.hops:
            target = (
                route
                if settings.allow_address is None
                else await checked(route, settings, connect_request)
            )
            from wherry.connect.proxy.tunnel import open_tunnel

            stream = await open_tunnel(
                target,
                target.hops,
                lambda hop: self._first(hop, connect_request),
                settings,
                connect_request,
            )
            return await finish(stream, route, settings, connect_request)
        origin = route.origin
        context = None
        if route.is_tls:
            # The transport is the program's to make, so no session of it can be kept.
            context = (await handshake_for(route, settings, connect_request)).context
        transport, protocol = await self._wrap(
            origin.host, origin.port, connection_key(route), connect_request, context
        )
        return await self._take(transport, protocol, connect_request)

    async def _first(self, hop: ProxyHop, connect_request: ConnectRequest) -> HandshakeStream:
        transport, protocol = await self._wrap(
            hop.host, hop.port, hop_key(hop), connect_request, None
        )
        return self._stream(transport, protocol)

    async def _wrap(
        self,
        host: str,
        port: int,
        key: ConnectionKey,
        connect_request: ConnectRequest,
        context: ssl.SSLContext | None,
    ) -> tuple[asyncio.Transport, Any]:
        loop = self._settings.loop
        failure = (
            ClientConnectorError
            if key.host == connect_request.route.origin.host
            else ClientProxyConnectionError
        )
        # The look-up, the program's own steps and those of proxies are one dial.
        limit = connect_request.time_limit()
        try:
            async with limit:
                infos = await self._addr_infos(host, port, key, connect_request)
        except TimeoutError as exc:
            if not limit.expired():
                raise  # the resolver's own
            raise _timed_out(host, port) from exc
        try:
            async with connect_request.time_limit():
                made = await self._require()._wrap_create_connection(
                    lambda: HandshakeStream(loop),
                    addr_infos=infos,
                    req=connect_request.request,
                    timeout=timeout_of(connect_request),
                    client_error=failure,
                    ssl=context,
                    server_hostname=None if context is None else server_name(connect_request.route),
                )
        except (ssl.SSLError, ssl.CertificateError) as exc:
            raise tls.client_error(key, exc) from exc
        except TimeoutError as exc:
            if isinstance(exc, ClientError):
                raise
            raise _timed_out(host, port) from exc
        except ClientError:
            raise
        except UnicodeError as exc:
            raise failure(key, OSError(None, f"{host[:300]!r} is no host name: {exc}")) from exc
        except OSError as exc:
            raise failure(key, exc) from exc
        return cast("tuple[asyncio.Transport, Any]", made)

    async def _addr_infos(
        self, host: str, port: int, key: ConnectionKey, connect_request: ConnectRequest
    ) -> list[AddrInfoType]:
        """Addresses; the connector's resolver may give the name itself in their place, for a proxy
        to resolve.
        """
        settings = self._settings
        if settings.allow_address is not None or settings.lookup is not None or is_literal(host):
            return [
                addr_info(result)
                for result in await addresses_of(host, port, settings, connect_request, key)
            ]
        if settings.names is None:
            raise ClientConnectorDNSError(key, OSError(None, "this connector resolves no names"))
        try:
            results = await settings.names.resolve(host, port, connect_request.observer)
        except OSError as exc:
            if is_resolvers_limit(exc):
                raise
            raise ClientConnectorDNSError(key, exc) from exc
        return [addr_info(result) for result in results]

    def _stream(self, transport: asyncio.Transport, protocol: Any) -> HandshakeStream:
        if isinstance(protocol, HandshakeStream):
            return protocol
        stream = HandshakeStream(self._settings.loop)
        transport.set_protocol(stream)
        stream.connection_made(transport)
        stream.companion = protocol
        return stream

    async def _take(
        self, transport: asyncio.Transport, protocol: Any, connect_request: ConnectRequest
    ) -> Connection:
        """Our own connection on a transport that the program's code made.

        Args:
            transport: The transport; TLS is added where it should have some and has not, unless it
                is no transport of an event loop, which nothing can be put on.
            protocol: What the program's code put on it; it lives as long as the connection.
            connect_request: Whose connection it will be.
        """
        route, settings = connect_request.route, self._settings
        stream = self._stream(transport, protocol)
        if route.is_tls and stream.can_leave and transport.get_extra_info("ssl_object") is None:
            connection = await finish(stream, route, settings, connect_request)
        else:
            try:
                if route.is_tls and isinstance(route.ssl, tls.Fingerprint):
                    check_fingerprint(route.ssl, transport, connection_key(route))
                connection = connection_for(transport, route, settings)
                stream.hand_over(cast("TransportTaker", connection))
            except BaseException:
                transport.abort()
                raise
        connection.companion = protocol
        return connection


def _timed_out(host: str, port: int) -> ConnectionTimeoutError:
    return ConnectionTimeoutError(printable(f"Connection timeout to host {host}:{port}"))


class ResolveOverride:
    """Finds addresses as a connector's class says.

    Args:
        connector: The connector; it is not kept alive.
    """

    __slots__ = ("_connector",)

    def __init__(self, connector: Any) -> None:
        self._connector = ref(connector)

    async def __call__(
        self, host: str, port: int, observer: ConnectObserver | None
    ) -> list[ResolveResult]:
        """What the connector's `_resolve_host` gives, for names and for literal addresses."""
        connector = self._connector()
        if connector is None:
            raise ClientConnectionError("Connector is closed")
        return list(await connector._resolve_host(host, port, traces=observer))


def detect(connector: Any) -> None:
    """Let a connector dial by the methods that are the program's own."""
    own = overridden(connector)
    if connector.dials_by_itself:
        own -= {"_create_direct_connection", "_wrap_create_connection"}
    settings = connector._settings
    creates, directs, wraps = (
        "_create_connection" in own,
        "_create_direct_connection" in own,
        "_wrap_create_connection" in own,
    )
    dials = creates or directs or wraps
    settings.overrides = (
        DialOverrides(connector, settings, creates=creates, directs=directs, wraps=wraps)
        if dials
        else None
    )
    settings.lookup = ResolveOverride(connector) if "_resolve_host" in own else None
    connector.overrides_connect = "connect" in own
    connector.shows_requests = dials or connector.overrides_connect
