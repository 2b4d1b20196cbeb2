"""From addresses to a connection that speaks HTTP/3: sockets, the QUIC handshake, the certificate.

Addresses race as TCP's do (RFC 8305): the next one is tried when the one before it has failed, or
has been silent for the connector's `happy_eyeballs_delay`.

A session is resumed (RFC 8446 2.2), which shows no certificate again, only under all that it was
trusted under: the whole route, and what `ssl=` means at the moment, authorities included.  With
`early_data` the connection is there at once then, and requests that may be replayed go along with
the handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from hashlib import sha256
from typing import Any, NamedTuple

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.dial_settings import DialSettings, server_name, timed_out
from wherry.connect.handshake_stream import HandshakeStream
from wherry.connect.happy_eyeballs import AddrInfoType, interleaved, reason, show
from wherry.connect.proxy.http import authority
from wherry.connect.proxy.socks import Refusal
from wherry.connect.proxy.tunnel import proxy_failure
from wherry.connect.quic import race_with_tcp
from wherry.connect.quic.certificate_trust import CannotCarry, trust_for
from wherry.connect.quic.datagram_carrier import (
    CarriedTransport,
    DatagramCarrier,
    EndpointCarrier,
    open_endpoint,
)
from wherry.connect.quic.race_with_tcp import Heard, give_up
from wherry.connect.quic.socket import QuicTransport, open_socket
from wherry.connect.quic.through_proxy import (
    MASQUE,
    SOCKS,
    ProxyRefused,
    masque_carrier,
    socks_carrier,
)
from wherry.connect.route import ProxyHop, Route
from wherry.connect.tls.contexts import Fingerprint
from wherry.connect.tls.sessions import SessionTable
from wherry.errors import (
    ClientConnectionError,
    ClientConnectorAddressBlocked,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientSSLError,
    ServerFingerprintMismatch,
)
from wherry.protocol.connection import Connection
from wherry.protocol.debug_log import DIAL
from wherry.protocol.http3 import quic_engine
from wherry.protocol.http3.connection import Http3Connection
from wherry.protocol.http3.early_data import EarlyStart
from wherry.protocol.http3.quic_engine import QuicEnd, QuicEngine, QuicTrust, allows_early_data
from wherry.types import ConnectionKey

# RFC 8446 6.2.
_NO_APPLICATION_PROTOCOL = 120
# What an early handshake may take that has no time limit, in seconds.
_EARLY_SECONDS = 30.0


class _Tickets:
    """Where the tickets of one route are, under what is trusted at this moment.

    Args:
        table: The connector's.
        route: The whole way.
        trust: What `ssl=` means now.
    """

    __slots__ = ("_key", "_table", "last", "trust")

    def __init__(self, table: SessionTable, route: Route, trust: QuicTrust) -> None:
        # A certificate that was told by its fingerprint is not seen when a session is resumed.
        keeps = table.resumption is not False and not isinstance(route.ssl, Fingerprint)
        self._table = table if keeps else None
        self._key = "h3", route, trust
        self.trust: QuicTrust = trust
        # Used once, for all addresses that are tried.
        self.last: _Kept | None = table.take_ticket(self._key) if keeps else None

    def engine(self, name: str, address: Any, *, early: bool = False) -> QuicEngine:
        """An engine that resumes the last session, if there is one."""

        def keep(ticket: Any) -> None:
            kept = _Kept(ticket, address, engine.round_trip)
            if self._table is not None:
                self._table.keep_ticket(self._key, kept)

        last, keeps = self.last, None if self._table is None else keep
        ticket = None if last is None else last.ticket
        engine = quic_engine.Engine(name, self.trust, ticket=ticket, early=early, keep_ticket=keeps)
        return engine

    def forget(self) -> None:
        if self._table is not None:
            self._table.forget_tickets(self._key)


class _Kept(NamedTuple):
    """A ticket, which address it came from, and how long an answer from there took, in seconds."""

    ticket: Any
    address: Any
    round_trip: float


class _Handshake:
    """One address that is being tried: a `DatagramReceiver` until the handshake is over."""

    __slots__ = ("_address", "_heard", "_key", "done", "engine", "transport")

    is_busy = False

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        engine: QuicEngine,
        address: Any,
        key: ConnectionKey,
        heard: Heard,
    ) -> None:
        self.engine = engine
        self.done: asyncio.Future[None] = loop.create_future()
        self.transport: QuicTransport | None = None
        self._address = address
        self._key = key
        self._heard = heard

    @property
    def where(self) -> str:
        return show(self._address)

    def events_arrived(self) -> None:
        if self.transport is not None and self.transport.has_heard:
            self._heard.anything = True
        if self.done.done():
            return
        if self.engine.end is not None:
            self.done.set_exception(_failure(self._key, self.engine.end, show(self._address)))
        elif self.engine.handshake_done:
            self.done.set_result(None)

    def datagrams_sent(self) -> bool:
        return False

    def timer_passed(self, silence: float) -> None:
        """The handshake has the time limit of the dial."""

    def transport_failed(self, exc: OSError) -> None:
        if not self.done.done():
            said = f"{show(self._address)} (UDP): {reason(exc)}"
            self.done.set_exception(ClientConnectorError(self._key, OSError(exc.errno, said)))

    def transport_closed(self) -> None:
        self.transport_failed(ConnectionResetError("the socket was closed"))


def refuse_without_origin(route: Route, key: ConnectionKey) -> None:
    """HTTP/3 by prior knowledge goes to an https origin: straight, or through one proxy that
    carries UDP.

    Raises:
        ClientConnectorError: The route leads elsewhere.
    """
    if len(route.hops) > 1:
        why = "HTTP/3 goes through one proxy at most: allow h2 or http/1.1 for a chain"
    elif route.hops and not carries_udp(route.hops[0]):
        why = (
            "HTTP/3 goes through proxies of the kinds socks5, socks5h and masque+https only: allow "
            "h2 or http/1.1 for others"
        )
    elif route.path is not None:
        why = "HTTP/3 is spoken over UDP, not over Unix sockets or pipes"
    elif not route.is_tls:
        why = "HTTP/3 is spoken with https origins only: allow http/1.1 for plain ones"
    else:
        return
    raise ClientConnectorError(key, OSError(None, why))


def carries_udp(hop: ProxyHop) -> bool:
    """Whether QUIC can go through such a proxy."""
    return hop.scheme in SOCKS or hop.scheme == MASQUE


async def connect_quic(
    addresses: list[AddrInfoType],
    route: Route,
    settings: DialSettings,
    connect_request: ConnectRequest,
    key: ConnectionKey,
    heard: Heard | None = None,
) -> Http3Connection:
    """A connection to the first address that answers by QUIC.

    Args:
        addresses: Where the origin is; ports are UDP's.
        route: The way, which has no proxies.
        settings: The connector's.
        connect_request: Whose connection this will be.
        key: What errors show.
        heard: Learns that the server has sent something.

    Raises:
        ClientConnectorError: There is none; subclasses say what was wrong.
        ConnectionTimeoutError: The time limit passed.
        ServerFingerprintMismatch: The certificate is another one.
    """
    loop = settings.loop
    started = loop.time()
    trust = await _trust(route, key)
    ordered = interleaved(addresses, settings.interleave)
    tickets = _Tickets(settings.sessions, route, trust)
    if settings.early_data:
        limit = connect_request.sock_connect or _EARLY_SECONDS
        if heard is not None and tickets.last is not None:  # TCP would have its turn by then
            limit = max(race_with_tcp.HEAD_START, 3 * tickets.last.round_trip)
        early = await _start_early(ordered, tickets, route, settings, key, limit)
        if early is not None:
            return early

    def tried() -> str:
        return "; ".join(f"{show(info[4])} (UDP): no answer" for info in ordered)

    async with _limited(connect_request, key, tried):
        made = await _first(ordered, tickets, route, settings, key, heard or Heard())
    timings = connect_request.timings
    timings.connect = timings.quic = loop.time() - started
    return _speak(made, route, settings)


async def connect_through(
    host: str,
    route: Route,
    settings: DialSettings,
    connect_request: ConnectRequest,
    key: ConnectionKey,
    dial: Callable[[ProxyHop], Awaitable[HandshakeStream]],
    dial_masque: Callable[[ProxyHop], Awaitable[Connection]],
) -> Http3Connection:
    """A connection to the route's origin through its one proxy.

    Args:
        host: The origin's host as the proxy gets it: a name, or an address.
        route: The way.
        settings: The connector's.
        connect_request: Whose connection this will be.
        key: What errors show.
        dial: Opens a stream to a SOCKS proxy.
        dial_masque: Makes a connection to a MASQUE proxy.

    Raises:
        ClientProxyConnectionError: The proxy could not be reached, or carries no UDP.
        ClientConnectorError: There is no connection to the origin; subclasses say what was wrong.
        ConnectionTimeoutError: The time limit passed.
    """
    loop, (hop,), port = settings.loop, route.hops, route.origin.port
    started = loop.time()
    trust = await _trust(route, key)
    async with _limited(connect_request, key, lambda: f"no answer through {hop}"):
        carrier = await _carrier(hop, host, port, settings, dial, dial_masque)
        tickets = _Tickets(settings.sessions, route, trust)
        engine = tickets.engine(server_name(route), None)
        attempt = _Handshake(loop, engine, (host, port), key, Heard())
        attempt.transport = CarriedTransport(loop, carrier, engine, attempt)
        # The engine wants some address to be told apart from others.
        await _shake(attempt, ("0.0.0.0", port), route, key)  # noqa: S104
    timings = connect_request.timings
    timings.connect = timings.quic = loop.time() - started
    return _speak(attempt, route, settings)


@contextlib.asynccontextmanager
async def _limited(
    connect_request: ConnectRequest, key: ConnectionKey, tried: Callable[[], str]
) -> AsyncGenerator[None, None]:
    """Let a connection take its time, and no more.

    Args:
        connect_request: Whose time limit it is.
        key: What errors show.
        tried: Says what the error tells of the attempts.

    Raises:
        ConnectionTimeoutError: The time limit passed.
    """
    try:
        async with connect_request.time_limit():
            yield
    except TimeoutError as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise  # ETIMEDOUT: the system gave up, not our limit
        raise timed_out(key, connect_request, tried()) from exc


async def _carrier(
    hop: ProxyHop,
    host: str,
    port: int,
    settings: DialSettings,
    dial: Callable[[ProxyHop], Awaitable[HandshakeStream]],
    dial_masque: Callable[[ProxyHop], Awaitable[Connection]],
) -> DatagramCarrier:
    """Who carries datagrams to the origin.

    Raises:
        ClientConnectorAddressBlocked: `allow_address` refused the proxy, or its relay.
        ClientProxyConnectionError: Nobody.
    """
    towards = authority(host, port)
    try:
        if hop.scheme == MASQUE:
            return await masque_carrier(hop, host, port, await dial_masque(hop))
        return await socks_carrier(hop, host, port, dial, settings.loop, settings.allow_address)
    except Refusal as exc:
        raise proxy_failure(hop, OSError(exc.number, exc.reason), towards) from exc
    except ProxyRefused as exc:
        raise proxy_failure(hop, OSError(errno.ECONNREFUSED, str(exc)), towards) from exc
    except ClientConnectorAddressBlocked:
        raise
    except OSError as exc:
        if isinstance(exc, TimeoutError) and exc.errno is None:
            raise
        raise proxy_failure(hop, exc, towards) from exc
    except ClientConnectionError as exc:
        raise proxy_failure(hop, OSError(errno.EPROTO, str(exc)), towards) from exc


def _speak(made: _Handshake, route: Route, settings: DialSettings) -> Http3Connection:
    """Make a handshake that has succeeded a connection that speaks HTTP/3."""
    transport = made.transport
    assert transport is not None
    connection = Http3Connection(
        settings.loop, made.engine, transport, settings.limits, ping=_ping_of(settings)
    )
    connection.route = route
    transport.receiver = connection
    connection.events_arrived()
    return connection


async def _trust(route: Route, key: ConnectionKey) -> QuicTrust:
    try:
        return await trust_for(route.ssl)
    except CannotCarry as exc:
        said = f"this SSLContext cannot be used for HTTP/3: {exc}; allow h2 or http/1.1 for it"
        raise ClientConnectorSSLError(key, ssl.SSLError(0, said)) from exc


async def _start_early(
    addresses: list[AddrInfoType],
    tickets: _Tickets,
    route: Route,
    settings: DialSettings,
    key: ConnectionKey,
    seconds: float,
) -> Http3Connection | None:
    """A connection whose handshake has only begun; None where there can be none."""
    last = tickets.last
    if last is None or not allows_early_data(last.ticket):
        return None
    info = next((info for info in addresses if info[4] == last.address), None)
    if info is None:
        return None
    loop = settings.loop
    engine = tickets.engine(server_name(route), last.address, early=True)
    attempt = _Handshake(loop, engine, info[4], key, Heard())
    try:
        transport = await _open_transport(info, engine, attempt, settings, key)
    except ClientConnectorError:
        return None
    engine.connect(info[4], loop.time())
    if not engine.sends_early:
        transport.abort()
        return None
    early = EarlyStart(seconds, lambda: _check(engine, route, key), tickets.forget)
    connection = Http3Connection(
        loop, engine, transport, settings.limits, early, _ping_of(settings)
    )
    connection.route = route
    transport.receiver = connection
    if DIAL.on:
        DIAL.say("%s (UDP): resumes a session of QUIC, requests go along", show(info[4]))
    return connection


def _ping_of(settings: DialSettings) -> tuple[float, float] | None:
    """When quiet connections are asked for a sign of life, and how long it may take, in seconds."""
    options = settings.http2
    if options is None or options.ping_interval is None:
        return None
    return options.ping_interval, options.ping_timeout


async def _first(
    addresses: list[AddrInfoType],
    tickets: _Tickets,
    route: Route,
    settings: DialSettings,
    key: ConnectionKey,
    heard: Heard,
) -> _Handshake:
    """The first handshake that succeeds; the others are given up."""
    remaining = addresses[::-1]
    running: set[asyncio.Task[_Handshake]] = set()
    failures: list[BaseException] = []
    winner: _Handshake | None = None
    try:
        while winner is None and (remaining or running):
            if remaining:
                running.add(
                    settings.loop.create_task(
                        _handshake(remaining.pop(), tickets, route, settings, key, heard)
                    )
                )
            delay = settings.happy_eyeballs_delay if remaining else None
            done, running = await asyncio.wait(
                running, timeout=delay, return_when=asyncio.FIRST_COMPLETED
            )
            winner = _sorted_out(done, failures)
    finally:
        try:
            await give_up(running, _abort)
        except asyncio.CancelledError:
            if winner is not None:
                _abort(winner)
            raise
    if winner is not None:
        return winner
    try:
        raise _worst(failures)
    finally:
        failures.clear()


def _sorted_out(
    done: set[asyncio.Task[_Handshake]], failures: list[BaseException]
) -> _Handshake | None:
    winner: _Handshake | None = None
    for task in done:
        exc = task.exception()
        if exc is not None:
            failures.append(exc)
        elif winner is None:
            winner = task.result()
        else:
            _abort(task.result())
    return winner


def _abort(made: _Handshake) -> None:
    if made.transport is not None:
        made.transport.abort()


def _worst(failures: list[BaseException]) -> BaseException:
    """The failure to raise: what a peer said tells more than that another address was silent."""
    for failure in failures:
        if isinstance(failure, (ClientSSLError, ServerFingerprintMismatch)):
            return failure
    return failures[-1]


async def _handshake(
    info: AddrInfoType,
    tickets: _Tickets,
    route: Route,
    settings: DialSettings,
    key: ConnectionKey,
    heard: Heard,
) -> _Handshake:
    loop, address = settings.loop, info[4]
    engine = tickets.engine(server_name(route), address)
    attempt = _Handshake(loop, engine, address, key, heard)
    attempt.transport = await _open_transport(info, engine, attempt, settings, key)
    await _shake(attempt, address, route, key)
    return attempt


async def _shake(attempt: _Handshake, address: Any, route: Route, key: ConnectionKey) -> None:
    """Make the handshake, over a transport that is there."""
    engine, transport = attempt.engine, attempt.transport
    assert transport is not None
    where = attempt.where
    try:
        engine.connect(address, transport.loop.time())
        transport.flush()
        await attempt.done
        _check(engine, route, key)
        if DIAL.on:
            DIAL.say("%s (UDP): connected, by QUIC", where)
    except BaseException as exc:
        if DIAL.on:
            DIAL.say("%s (UDP): %s", where, exc)
        if attempt.done.done() and not attempt.done.cancelled():
            attempt.done.exception()
        _farewell(engine, transport)
        raise


async def _open_transport(
    info: AddrInfoType,
    engine: QuicEngine,
    receiver: _Handshake,
    settings: DialSettings,
    key: ConnectionKey,
) -> QuicTransport:
    """A socket that talks to one address.

    Raises:
        ClientConnectorError: There is no way there.
    """
    family, address = info[0], info[4]

    def opened() -> socket.socket:
        factory = settings.socket_factory
        made = None if factory is None else factory((family, socket.SOCK_DGRAM, 0, "", address))
        return open_socket(address, family, _local_address(family, settings), made)

    try:
        sock = opened()
    except OSError as exc:
        said = f"{show(address)} (UDP): {reason(exc)}"
        raise ClientConnectorError(key, OSError(exc.errno, said)) from exc
    reopen = opened if settings.local_addresses is None else None
    try:
        return QuicTransport(settings.loop, sock, engine, receiver, reopen)
    except NotImplementedError:
        sock.close()  # Windows' Proactor loop watches no sockets
    if settings.socket_factory is not None:
        said = "this event loop watches no UDP sockets, so it takes none of a socket_factory"
        raise ClientConnectorError(key, OSError(None, said))
    carrier = EndpointCarrier(settings.loop)
    try:
        local = _local_address(family, settings)
        await open_endpoint(carrier, settings.loop, address, family, local)
    except OSError as exc:
        said = f"{show(address)} (UDP): {reason(exc)}"
        raise ClientConnectorError(key, OSError(exc.errno, said)) from exc
    return CarriedTransport(settings.loop, carrier, engine, receiver)


def _farewell(engine: QuicEngine, transport: QuicTransport) -> None:
    """End a handshake that is not needed: the server may forget it, and nothing is left here."""
    engine.close(0x100)
    transport.flush()
    transport.abort()


def _check(engine: QuicEngine, route: Route, key: ConnectionKey) -> None:
    """The certificate is the one that was asked for, and the server speaks HTTP/3.

    Raises:
        ServerFingerprintMismatch: It is another one.
        ClientConnectorSSLError: The server speaks something else.
    """
    expected = route.ssl
    if isinstance(expected, Fingerprint):
        got = sha256(engine.certificate).digest()
        if not hmac.compare_digest(got, expected.fingerprint):
            raise ServerFingerprintMismatch(expected.fingerprint, got, key.host, key.port or 443)
    if engine.protocol != "h3":
        raise ClientConnectorSSLError(
            key, ssl.SSLError(0, f"the server chose {engine.protocol!r} by ALPN, wanted: h3")
        )


def _failure(key: ConnectionKey, end: QuicEnd, where: str) -> ClientConnectorError:
    """What a caller meets whose handshake ended so."""
    said = end.reason or "no reason given"
    if end.refuses_certificate:
        return ClientConnectorCertificateError(
            key, ssl.SSLCertVerificationError(1, f"certificate verify failed: {said}")
        )
    if end.alert == _NO_APPLICATION_PROTOCOL:
        return ClientConnectorSSLError(
            key, ssl.SSLError(0, f"{where} does not speak h3 (no_application_protocol)")
        )
    if end.alert is not None:
        return ClientConnectorSSLError(
            key, ssl.SSLError(0, f"{where} ended the handshake by alert {end.alert}: {said}")
        )
    who = "the server" if end.by_peer else "QUIC"
    return ClientConnectorError(
        key, OSError(None, f"{where} (UDP): {who} ended the handshake: {end.code:#x} {said}")
    )


def _local_address(family: int, settings: DialSettings) -> Any:
    for info in settings.local_addresses or ():
        if info[0] == family:
            return info[4]
    return None
