"""From a route to a live connection: name, socket, proxies, TLS, and the protocol that was agreed
on.

Each step that fails raises the error its caller knows, with the host, the port and every address
that was tried.  Nothing here counts or keeps connections (`pool` does) or knows what requests are.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from wherry.connect.connect_request import ConnectObserver, ConnectRequest, ended_at_once
from wherry.connect.dial_settings import (
    DialSettings,
    connection_key,
    hop_key,
    server_name,
    timed_out,
    with_place,
)
from wherry.connect.dns.address_guard import is_canonical, is_literal, parse_literal, takes
from wherry.connect.dns.resolver import ResolveResult
from wherry.connect.handshake_stream import HandshakeStream, TransportTaker
from wherry.connect.happy_eyeballs import (
    AddrInfoType,
    Attempts,
    Factory,
    connect_first,
    connect_plain,
    interleaved,
    is_scoped,
    reason,
    show,
)
from wherry.connect.protocol_of_transport import connection_for, protocol_factory
from wherry.connect.route import Origin, ProxyHop, Route, shown_route
from wherry.connect.tls import contexts as tls
from wherry.connect.tls.sessions import Handshake
from wherry.connect.tls.start_tls import check_fingerprint, start_tls
from wherry.connect.tls.transport import TlsTransport
from wherry.errors import (
    ClientConnectorAddressBlocked,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientProxyConnectionError,
    ClientSSLError,
    ConnectionTimeoutError,
    InvalidUrlClientError,
    ServerFingerprintMismatch,
    UnixClientConnectorError,
)
from wherry.protocol.connection import Connection
from wherry.protocol.debug_log import DIAL
from wherry.types import ConnectionKey


async def dial(route: Route, settings: DialSettings, connect_request: ConnectRequest) -> Connection:
    """A new connection along `route`.

    Raises:
        ClientConnectorError: It could not be made; subclasses say which step failed.
        ConnectionTimeoutError: `connect_request.sock_connect` passed.
        ServerFingerprintMismatch: The certificate is not the one that was asked for.
        ServerDisconnectedError: The connection was made, and the server has ended it or allows no
            request.
    """
    observer = connect_request.observer
    if observer is not None:
        await observer.connection_create_start()
    connect_request.begin_dial()
    try:
        if settings.overrides is None:
            connection = await dial_route(route, settings, connect_request)
        else:
            connection = await settings.overrides(connect_request)
    except ClientConnectorError as exc:
        if route.forward is None or isinstance(exc, ClientProxyConnectionError):
            raise
        from wherry.connect.proxy.tunnel import proxy_failure

        raise proxy_failure(route.forward, exc) from exc
    connection.timings = connect_request.timings
    if observer is not None:
        try:
            await observer.connection_create_end()
        except BaseException:
            connection.abort()
            raise
    if DIAL.on:
        DIAL.say("#%s is connected: %s", connection.number, shown_route(route))
    if not connection.is_usable():
        # Whoever owns it from here on would never hear of an end that is past.
        connection.abort()
        raise ended_at_once(connect_request)
    return connection


async def dial_route(
    route: Route, settings: DialSettings, connect_request: ConnectRequest
) -> Connection:
    """What `dial` does where the connector has no way of its own."""
    if "h3" in route.protocols:
        if len(route.protocols) == 1:
            return await _dial_quic(route, settings, connect_request)
        return await _dial_raced(route, settings, connect_request)
    if route.hops:
        for hop in route.hops:
            if hop.scheme == "masque+https":
                from wherry.connect.proxy.tunnel import proxy_failure

                why = 'it carries HTTP/3 alone: TCPConnector(protocols=("h3",))'
                raise proxy_failure(hop, OSError(None, why))
        return await _dial_through(route, settings, connect_request)
    if route.path is not None:
        return await _dial_path(route, settings, connect_request)
    return await _dial_direct(route, settings, connect_request)


# --- straight to the origin, or to a path ---------------------------------------------------------


async def _dial_direct(
    route: Route, settings: DialSettings, connect_request: ConnectRequest
) -> Connection:
    origin = route.origin
    key = connection_key(route)
    handshake: Handshake | None = None
    if route.is_tls:
        handshake = await handshake_for(route, settings, connect_request)
    dialled = _Dialled(origin.host, origin.port, key, ClientConnectorError)
    return cast(
        "Connection",
        await dialled.connect(
            settings,
            connect_request,
            protocol_factory(route, settings),
            handshake=handshake,
            route=route,
        ),
    )


async def _dial_quic(
    route: Route, settings: DialSettings, connect_request: ConnectRequest
) -> Connection:
    """Dial by QUIC alone: the route allows nothing else."""
    key = connection_key(route)
    quic = await _quic_dialler(settings.loop)
    quic.refuse_without_origin(route, key)
    host, port = route.origin.host, route.origin.port
    observer = connect_request.observer
    if observer is not None:
        await observer.quic_handshake_start(host, port, "prior knowledge")
    try:
        made: Connection
        if route.hops:
            made = await _quic_through(quic, route, settings, connect_request, key)
        else:
            dialled = _Dialled(host, port, key, ClientConnectorError)
            addresses = await dialled.addresses(settings, connect_request)
            made = await quic.connect_quic(addresses, route, settings, connect_request, key)
    except Exception as exc:
        if observer is not None:
            await observer.quic_handshake_end(host, port, exc)
        raise
    return await _quic_ended(made, host, port, observer, None)


async def _quic_through(
    quic: Any,
    route: Route,
    settings: DialSettings,
    connect_request: ConnectRequest,
    key: ConnectionKey,
) -> Connection:
    """Dial by QUIC through the one proxy of the route."""

    async def dial_first(hop: ProxyHop) -> HandshakeStream:
        return await dial_stream(hop.host, hop.port, settings, connect_request, key=hop_key(hop))

    async def dial_masque(hop: ProxyHop) -> Connection:
        trusted = route.ssl if hop.ssl is None else hop.ssl
        end = Origin("https", hop.host, hop.port)
        by_quic = Route(end, (), ssl=trusted, protocols=("h3",))
        by_tcp = Route(end, (), ssl=trusted, protocols=("h2",))

        async def over_quic(heard: Any) -> Connection:
            dialled = _Dialled(hop.host, hop.port, hop_key(hop), ClientProxyConnectionError)
            found = await dialled.addresses(settings, connect_request)
            made = await quic.connect_quic(
                found, by_quic, settings, connect_request, hop_key(hop), heard
            )
            return cast("Connection", made)

        from wherry.connect.quic.race_with_tcp import race

        return await race(
            over_quic, lambda: _dial_direct(by_tcp, settings, connect_request), lambda: None
        )

    host = route.origin.host
    if settings.allow_address is not None:
        host = (await checked(route, settings, connect_request)).origin.host
    elif route.hops[0].scheme == "socks5":  # "socks5h" and MASQUE leave names to the proxy
        dialled = _Dialled(host, route.origin.port, key, ClientConnectorError)
        addresses = await dialled.addresses(settings, connect_request)
        # A proxy with IPv6 has IPv4 too; the contrary is common.
        host = min(addresses, key=lambda info: info[0] != socket.AF_INET)[4][0]
    return cast(
        "Connection",
        await quic.connect_through(
            host, route, settings, connect_request, key, dial_first, dial_masque
        ),
    )


async def _dial_raced(
    route: Route, settings: DialSettings, connect_request: ConnectRequest
) -> Connection:
    """Dial by QUIC where the origin is known to speak HTTP/3, and by TCP if that is faster."""
    # Most programs never need these.
    from wherry.connect.alt_svc import AlternativeTrial
    from wherry.connect.quic.race_with_tcp import Heard, race

    store = settings.alternatives
    by_tcp = route.offering(*(name for name in route.protocols if name != "h3"))
    key = None if store is None else store.key(route)
    found = None if store is None else store.find(key, settings.loop.time())
    if store is None or found is None:
        return await _dial_direct(by_tcp, settings, connect_request)
    trial = AlternativeTrial(store, key, settings.loop.time)
    quic = await _quic_dialler(settings.loop)
    observer = connect_request.observer
    if observer is not None:
        await observer.quic_handshake_start(*found)
    failures: list[Exception] = []

    async def by_quic(heard: Heard) -> Connection:
        shown = connection_key(route)
        dialled = _Dialled(found.host, found.port, shown, ClientConnectorError)
        try:
            addresses = await dialled.addresses(settings, connect_request)
            made = await quic.connect_quic(
                addresses, route, settings, connect_request, shown, heard
            )
        except Exception as exc:
            failures.append(exc)
            raise
        made.trial = trial
        return cast("Connection", made)

    try:
        made = await race(
            by_quic, lambda: _dial_direct(by_tcp, settings, connect_request), trial.failed
        )
    except Exception as exc:
        if observer is not None:
            await observer.quic_handshake_end(found.host, found.port, next(iter(failures), exc))
        failures.clear()
        raise
    failure: Exception | None = None
    if made.version.major == 3:
        connect_request.timings.tls = None  # TCP's, which was nearly there
    else:
        failure = next(iter(failures), TimeoutError("TCP was there first"))
    return await _quic_ended(made, found.host, found.port, observer, failure)


async def _quic_ended(
    made: Connection,
    host: str,
    port: int,
    observer: ConnectObserver | None,
    failure: Exception | None,
) -> Connection:
    """Tell how the QUIC handshake ended, now that there is a connection."""
    if observer is not None:
        try:
            await observer.quic_handshake_end(host, port, failure)
        except BaseException:
            made.abort()
            raise
    return made


# The module that dials by QUIC, once it is whole.
_QUIC_DIALLER: list[Any] = []


async def _quic_dialler(loop: asyncio.AbstractEventLoop) -> Any:
    """The module that dials by QUIC.  What it imports needs the extra http3, and takes a tenth of a
    second the first time: not on the event loop.
    """
    if not _QUIC_DIALLER:
        name = "wherry.connect.quic.dial"
        _QUIC_DIALLER[:] = [await loop.run_in_executor(None, import_module, name)]
    return _QUIC_DIALLER[0]


async def handshake_for(
    route: Route, settings: DialSettings, connect_request: ConnectRequest
) -> Handshake:
    """The TLS handshake with the origin of a route."""
    return await settings.sessions.handshake(
        route.ssl,
        route.protocols,
        trust_of(route, connect_request),
        chosen=settings.chooses_protocols,
    )


def trust_of(route: Route, connect_request: ConnectRequest) -> Route | None:
    """What a session with the route's origin is kept under: the route, unless that does not name
    the proxies' users.
    """
    return route if connect_request.answer is None else None


async def _dial_path(
    route: Route, settings: DialSettings, connect_request: ConnectRequest
) -> Connection:
    loop = settings.loop
    path = cast("str", route.path)
    key = connection_key(route)
    if DIAL.on:
        DIAL.say("connects to %s", path)
    started = loop.time()
    stream = HandshakeStream(loop)
    full: list[BlockingIOError] = []
    try:
        async with connect_request.time_limit():
            pipe = getattr(loop, "create_pipe_connection", None)
            if pipe is not None:
                await pipe(lambda: stream, path)
            else:
                await _connect_unix(loop, stream, path, full)
    except TimeoutError as exc:
        if full:
            raise UnixClientConnectorError(
                path, key, OSError(full[0].errno, "the listener's backlog stayed full")
            ) from exc
        raise timed_out(key, connect_request, f"{path}: no answer") from exc
    except (OSError, AttributeError) as exc:
        error = (
            exc
            if isinstance(exc, OSError)
            else OSError(None, f"this event loop has no connections to {path}")
        )
        raise UnixClientConnectorError(path, key, OSError(error.errno, reason(error))) from exc
    connect_request.timings.connect = loop.time() - started
    return await finish(stream, route, settings, connect_request)


async def _connect_unix(
    loop: asyncio.AbstractEventLoop,
    stream: HandshakeStream,
    path: str,
    full: list[BlockingIOError],
) -> None:
    # "@name" (or a zero byte and the name) is an abstract socket of Linux: no file.  Loops differ
    # in whether they take one, so the socket is made here.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await _connect_when_taken(sock, "\0" + path[1:] if path.startswith("@") else path, full)
    except BaseException:
        sock.close()
        raise
    await loop.create_unix_connection(lambda: stream, sock=sock)


async def _connect_when_taken(sock: socket.socket, path: str, full: list[BlockingIOError]) -> None:
    # It is done at once, or the backlog is full: then EAGAIN says that nothing is in progress
    # (connect(2)), and an event loop's sock_connect would take the socket for connected.
    pause = 0.001
    while True:
        try:
            sock.connect(path)
        except BlockingIOError as exc:
            full[:] = [exc]
        else:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)


async def _dial_through(
    route: Route, settings: DialSettings, connect_request: ConnectRequest
) -> Connection:
    async def dial_first(hop: ProxyHop) -> HandshakeStream:
        return await dial_stream(hop.host, hop.port, settings, connect_request, key=hop_key(hop))

    from wherry.connect.proxy.tunnel import open_tunnel

    loop = settings.loop
    started = loop.time()
    target = (
        route if settings.allow_address is None else await checked(route, settings, connect_request)
    )
    stream = await open_tunnel(target, target.hops, dial_first, settings, connect_request)
    connect_request.timings.connect = loop.time() - started
    return await finish(stream, route, settings, connect_request)


async def dial_stream(
    host: str,
    port: int,
    settings: DialSettings,
    connect_request: ConnectRequest,
    *,
    key: ConnectionKey,
    failure: type[ClientConnectorError] = ClientProxyConnectionError,
) -> HandshakeStream:
    """A plain connection to (host, port), for a handshake: how a proxy is reached.

    Args:
        host: A name, or an address.
        port: The port.
        settings: The connector's.
        connect_request: Whose connection this will be.
        key: What errors show.
        failure: What is raised when no socket connects.
    """
    dialled = _Dialled(host, port, key, failure)
    return cast(
        "HandshakeStream",
        await dialled.connect(settings, connect_request, lambda: HandshakeStream(settings.loop)),
    )


async def finish(
    stream: HandshakeStream, route: Route, settings: DialSettings, connect_request: ConnectRequest
) -> Connection:
    """TLS with the origin where there is any, then the connection takes the transport."""
    try:
        if route.is_tls:
            started = settings.loop.time()
            await start_tls(
                stream,
                settings,
                connect_request,
                ssl_option=route.ssl,
                server_hostname=server_name(route),
                protocols=route.protocols,
                key=connection_key(route),
                trust=trust_of(route, connect_request),
                chosen=settings.chooses_protocols,
            )
            connect_request.timings.tls = settings.loop.time() - started
        connection = connection_for(stream.transport, route, settings)
        stream.hand_over(cast("TransportTaker", connection))
    except OSError as exc:
        stream.abort()
        if isinstance(exc, (ClientConnectorError, TimeoutError)):
            raise
        raise ClientConnectorError(connection_key(route), exc) from exc
    except BaseException:
        stream.abort()
        raise
    return connection


# --- one host, all its addresses ------------------------------------------------------------------


class _Dialled:
    """One host that is being dialled: its addresses are tried until one of them carries the
    connection.
    """

    __slots__ = ("attempts", "failure", "host", "key", "port")

    def __init__(
        self, host: str, port: int, key: ConnectionKey, failure: type[ClientConnectorError]
    ) -> None:
        # A name may end with one dot (fully qualified), never with more.
        self.host = host.rstrip(".") + "." if host.endswith("..") else host
        self.port = port
        self.key = key
        self.failure = failure

    async def connect(
        self,
        settings: DialSettings,
        connect_request: ConnectRequest,
        factory: Factory,
        *,
        handshake: Handshake | None = None,
        route: Route | None = None,
    ) -> Any:
        """A protocol of `factory` (or another, if ALPN says so) on a connected transport."""
        loop = settings.loop
        remaining = await self.addresses(settings, connect_request)
        if DIAL.on:
            DIAL.say("%s: %s", self.host, ", ".join(show(info[4]) for info in remaining))
        last: Exception | None = None
        while remaining:
            attempts = Attempts(loop)
            try:
                return await self._attempt(
                    remaining, attempts, settings, connect_request, factory, handshake, route
                )
            except (ClientConnectorError, ConnectionTimeoutError, ServerFingerprintMismatch) as exc:
                # What a peer said is worth more than that another address was silent.
                if last is None or not isinstance(
                    last, (ClientSSLError, ServerFingerprintMismatch)
                ):
                    last = exc
            # A socket that connected and then failed at TLS is one bad peer among several, maybe.
            tried = set(attempts.tried)
            remaining = [info for info in remaining if info[4] not in tried] if tried else []
            if connect_request.time_is_up:
                break
        assert last is not None
        try:
            raise last
        finally:
            last = None

    async def addresses(
        self, settings: DialSettings, connect_request: ConnectRequest
    ) -> list[AddrInfoType]:
        """Look up the addresses of the host."""
        started = settings.loop.time()
        limit = connect_request.time_limit()
        try:
            async with limit:
                results = await addresses_of(
                    self.host, self.port, settings, connect_request, self.key
                )
        except TimeoutError as exc:
            if not limit.expired():
                raise
            said = f"the look-up of {self.host} did not end"
            raise timed_out(self.key, connect_request, said) from exc
        if not is_literal(self.host):
            connect_request.timings.dns = settings.loop.time() - started
        return [addr_info(result) for result in results]

    async def _attempt(
        self,
        addresses: list[AddrInfoType],
        attempts: Attempts,
        settings: DialSettings,
        connect_request: ConnectRequest,
        factory: Factory,
        handshake: Handshake | None,
        route: Route | None,
    ) -> Any:
        loop = settings.loop
        started = loop.time()
        transport: TlsTransport | None = None
        try:
            async with connect_request.time_limit():
                if handshake is None or route is None:
                    protocol = await self._connect(addresses, attempts, settings, factory)
                    connect_request.timings.connect = loop.time() - started
                    return protocol
                name, waits = server_name(route), settings.ssl_shutdown_timeout
                transport = await self._connect(
                    addresses,
                    attempts,
                    settings,
                    lambda: TlsTransport(loop, handshake, name, waits),
                )
                connected = loop.time()
                connect_request.timings.connect = connected - started
                await transport.secured()
                connect_request.timings.tls = loop.time() - connected
        except TimeoutError as exc:
            self._report(attempts, settings)
            if isinstance(exc, OSError) and exc.errno is not None:
                # ETIMEDOUT: the system gave up, not our limit.
                raise self.failure(self.key, OSError(exc.errno, self._told(exc, attempts))) from exc
            raise timed_out(self.key, connect_request, attempts.describe()) from exc
        except (ssl.SSLError, ssl.CertificateError) as exc:
            if handshake is not None:
                handshake.failed()
            raise tls.client_error(self.key, exc) from exc
        except (OSError, RuntimeError) as exc:
            self._report(attempts, settings)
            if transport is not None and handshake is not None:
                handshake.failed()
                raise self.failure(
                    self.key, with_place(exc, f"in the TLS handshake with {show(attempts.reached)}")
                ) from exc
            errno = exc.errno if isinstance(exc, OSError) else None
            raise self.failure(self.key, OSError(errno, self._told(exc, attempts))) from exc
        return self._accept(cast("TlsTransport", transport), handshake, route, settings)

    async def _connect(
        self,
        addresses: list[AddrInfoType],
        attempts: Attempts,
        settings: DialSettings,
        factory: Factory,
    ) -> Any:
        """A protocol of `factory` on a transport to the first address that answers."""
        delay = settings.happy_eyeballs_delay
        if (
            settings.plain_sockets
            and (delay is not None or len(addresses) == 1)
            and not any(map(is_scoped, addresses))
        ):
            ordered = interleaved(addresses, settings.interleave)
            _, protocol = await connect_plain(ordered, attempts, factory, delay or 0.0)
        else:
            sock = await connect_first(
                addresses,
                attempts,
                local_addresses=settings.local_addresses,
                delay=delay,
                interleave=settings.interleave,
                factory=settings.socket_factory,
            )
            try:
                _, protocol = await settings.loop.create_connection(factory, sock=sock)
            except BaseException:
                sock.close()  # a custom factory may make sockets of another kind
                raise
        self._report(attempts, settings)
        return protocol

    def _accept(
        self, transport: TlsTransport, handshake: Handshake, route: Route, settings: DialSettings
    ) -> Connection:
        """The certificate is the right one, and the connection speaks what ALPN chose."""
        try:
            if isinstance(route.ssl, tls.Fingerprint):
                check_fingerprint(route.ssl, transport, self.key)
            connection = connection_for(transport, route, settings)
        except BaseException:
            handshake.failed()
            transport.abort()
            raise
        handshake.succeeded(transport.get_extra_info("ssl_object"), identified=transport.identified)
        transport.set_protocol(cast("asyncio.BaseProtocol", connection))
        cast("TransportTaker", connection).connection_made(transport)
        return connection

    def _report(self, attempts: Attempts, settings: DialSettings) -> None:
        """What was learned of each address serves the next dial."""
        names = settings.names
        if names is None:
            return
        for address, _ in attempts.failed:
            names.mark_failed(self.host, self.port, address[0])
        if attempts.failed and attempts.reached is not None:
            names.mark_good(self.host, self.port, attempts.reached[0])

    @staticmethod
    def _told(exc: Exception, attempts: Attempts) -> str:
        if attempts.failed:
            return attempts.describe()
        return reason(exc)


async def addresses_of(
    host: str,
    port: int,
    settings: DialSettings,
    connect_request: ConnectRequest,
    key: ConnectionKey,
) -> list[ResolveResult]:
    """The addresses of `host` that may be connected to, in the order to try them.

    Raises:
        ClientConnectorDNSError: There are none.
        ClientConnectorAddressBlocked: There are, and `allow_address` refused each of them.
        InvalidUrlClientError: A literal that is no address, or is written in a way that programs
            read differently.
    """
    allow, lookup = settings.allow_address, settings.lookup
    if allow is not None and lookup is None and is_literal(host):
        literal = parse_literal(host)
        if literal is not None and not takes(allow, literal):
            raise _blocked(key, [str(literal)])
        allow = None
    try:
        if lookup is not None:
            results = await lookup(host, port, connect_request.observer)
        else:
            results = await resolved(host, port, settings, connect_request.observer)
        if allow is None:
            return results
        addresses = [_parsed(result["host"]) for result in results]
    except OSError as exc:
        if is_resolvers_limit(exc):
            raise
        raise ClientConnectorDNSError(key, exc) from exc
    allowed = [
        result for result, address in zip(results, addresses, strict=True) if takes(allow, address)
    ]
    if not allowed:
        raise _blocked(key, [str(address) for address in addresses])
    return allowed


def is_resolvers_limit(exc: OSError) -> bool:
    """Whether a look-up failed by a time limit of its resolver's own, which stays what it is."""
    return isinstance(exc, TimeoutError) and exc.errno is None


async def resolved(
    host: str, port: int, settings: DialSettings, observer: ConnectObserver | None
) -> list[ResolveResult]:
    """The addresses of `host`, in the order to try them; of a literal address, that one.

    Raises:
        OSError: There are none.
        InvalidUrlClientError: A literal that is no address, or is written in a way that programs
            read differently.
    """
    if is_literal(host):
        if not is_canonical(host):
            raise InvalidUrlClientError(host, "is not a canonical IPv4 address")
        if parse_literal(host) is None:
            # "[v1.x:y]" (RFC 3986 3.2.2): nobody must take it for a name that was asked about.
            raise InvalidUrlClientError(host, "is not an IP address")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]
    if settings.names is None:
        raise OSError(None, "this connector resolves no names")
    results = await settings.names.resolve(host, port, observer)
    try:
        usable = [
            result
            for result in results
            if not settings.family
            or (socket.AF_INET6 if ":" in result["host"] else socket.AF_INET) == settings.family
        ]
        for result in usable:
            _parsed(result["host"])
            int(result["port"])
    except (ValueError, TypeError, KeyError) as exc:
        raise OSError(None, f"the resolver gave no addresses: {exc!r}") from exc
    if not usable:
        raise OSError(None, f"{host} has no address of the wanted family")
    return usable


async def checked(route: Route, settings: DialSettings, connect_request: ConnectRequest) -> Route:
    """`route` with names replaced by addresses that `allow_address` took, so that no proxy resolves
    them otherwise.

    The first hop is dialled here and asked about then.  The name of an https hop stays: its
    certificate needs it.
    """
    hops = [route.hops[0]]
    for hop in route.hops[1:]:
        results = await addresses_of(hop.host, hop.port, settings, connect_request, hop_key(hop))
        hops.append(hop if hop.scheme == "https" else hop._replace(host=results[0]["host"]))
    origin = route.origin
    results = await addresses_of(
        origin.host, origin.port, settings, connect_request, connection_key(route)
    )
    return Route(
        origin._replace(host=results[0]["host"]),
        tuple(hops),
        ssl=route.ssl,
        server_hostname=server_name(route),
        protocols=route.protocols,
        asked_ssl=route.asked_ssl,
    )


# --- small things ---------------------------------------------------------------------------------


# Names keep their addresses, and reading one takes 3 us.
_parsed = lru_cache(maxsize=1024)(ipaddress.ip_address)


def addr_info(result: ResolveResult) -> AddrInfoType:
    host, port = result["host"], result["port"]
    if ":" not in host:
        return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
    bare, _, zone = host.partition("%")
    scope = 0
    if zone:
        try:
            digits = zone.isascii() and zone.isdigit()
            scope = int(zone) if digits else socket.if_nametoindex(zone)
        except (OSError, OverflowError, ValueError):
            bare = host
    return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (bare, port, 0, scope))


def _blocked(key: ConnectionKey, addresses: list[str]) -> ClientConnectorAddressBlocked:
    return ClientConnectorAddressBlocked(
        key, OSError(None, f"allow_address refused {', '.join(addresses)}")
    )
