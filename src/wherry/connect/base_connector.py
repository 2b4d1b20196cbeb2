"""What every connector does: routes of URLs, a pool, and an end in order.

A connector makes routes, owns a pool, and tells the dialler how to connect.  It knows neither
requests nor responses.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Generator
from importlib.util import find_spec
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from yarl import URL

from wherry.argument_checks import check_seconds, whole_number
from wherry.connect.connect_request import ConnectRequest
from wherry.connect.dial import dial_route
from wherry.connect.dial_settings import DialSettings
from wherry.connect.handshake_stream import HandshakeStream
from wherry.connect.hooks import CHANGES, HOOKS, WatchedClass, all_connectors, note_connector
from wherry.connect.pool.pool import Pool
from wherry.connect.pool.route_pool import PoolStats
from wherry.connect.program_held_connection import BorrowedConnection
from wherry.connect.route import Origin, ProxyHop, Route, decoded_host
from wherry.connect.tls.contexts import (
    DEFAULT_PROTOCOLS,
    SSL_ALLOWED_TYPES,
    Fingerprint,
    wrong_ssl,
)
from wherry.connect.tls.transport import TlsTransport
from wherry.protocol.connection import Connection
from wherry.protocol.heads import ResponseHead
from wherry.protocol.limits import DEFAULT_LIMITS, Limits
from wherry.protocol.malloc_tuning import tune_malloc

if TYPE_CHECKING:
    from wherry.connect.alt_svc import AltSvcStore
    from wherry.connect.https_record_hints import RecordHints

HTTP_SCHEMES = frozenset({"", "http", "https", "ws", "wss"})
_SCHEME_OF = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# Routes are remembered for as many origins; a crawler's millions must not stay.
MAX_ROUTES = 1024
KEEPALIVE_TIMEOUT = 15.0
PROTOCOLS = frozenset({"http/1.1", "h2", "h2c", "h3"})


class Unset:
    def __repr__(self) -> str:
        return "<not given>"


UNSET = Unset()


class Closing:
    """What `close()` gives: closing has begun; await it to see the end.

    Args:
        finish: Waits for the end; not called where nobody awaits.
    """

    __slots__ = ("_finish",)

    def __init__(self, finish: Callable[[], Awaitable[None]] | None = None) -> None:
        self._finish = finish

    def __await__(self) -> Generator[Any, None, None]:
        finish, self._finish = self._finish, None
        if finish is not None:
            yield from finish().__await__()


class BaseConnector(metaclass=WatchedClass):
    """What all connectors have in common.  Made inside a running event loop.

    Args:
        keepalive_timeout: Seconds that an unused connection is kept, by default 15; None for ever.
        force_close: Connections carry one request each.
        limit: Connections at most, 0 for no limit.
        limit_per_host: Connections at most to one (host, port, is_ssl), 0 for no limit.
        enable_cleanup_closed: Accepted for compatibility: transports that do not end are always
            cut.
        loop: The event loop, by default the running one.
        timeout_ceil_threshold: Accepted for compatibility.
        protocols: What to speak, in order of wish: "http/1.1", "h2" (by ALPN), "h2c" (HTTP/2
            without TLS), "h3" (HTTP/3, which needs the extra http3: with servers that say so by
            Alt-Svc, and where it stands alone with all, by prior knowledge).
        limits: What a server may send in a response's head.
        dial_settings: How connections are made; by default plainly, and without a resolver.

    Raises:
        ValueError: `keepalive_timeout` with `force_close`, or a protocol that is not known.
        ModuleNotFoundError: "h3" is asked for without the extra http3.
        RuntimeError: No event loop is running.
    """

    allowed_protocol_schema_set = HTTP_SCHEMES

    _closed = True  # until __init__ is through
    _ending = False  # there is, or was, an end to wait for
    #: Whether requests are shown to a custom class, which may change them.
    shows_requests = False
    #: Whether such a class, or the program, has a `connect` of its own, which is asked for each
    #: request.
    overrides_connect = False
    #: Whether an HTTP proxy gets plain requests themselves; else it is asked for a tunnel, as for
    #: all others.
    _forwards = True
    #: Whether it is dialled as everywhere else, whatever its class overrides of that.
    dials_by_itself: bool = False
    _source_traceback: traceback.StackSummary | None = None
    #: Where HTTP/3 is spoken, as servers say; None where the connector does not learn it.
    alternatives: AltSvcStore | None = None
    #: Asks the DNS who speaks it; None where nobody can be asked.
    record_hints: RecordHints | None = None

    # A session owns this connector, and says so itself when it is left open.
    session_warns = False

    def __init__(
        self,
        *,
        keepalive_timeout: float | Unset | None = UNSET,
        force_close: bool = False,
        limit: int | None = 100,
        limit_per_host: int | None = 0,
        enable_cleanup_closed: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout_ceil_threshold: float = 5,
        protocols: tuple[str, ...] = DEFAULT_PROTOCOLS,
        limits: Limits = DEFAULT_LIMITS,
        dial_settings: DialSettings | None = None,
    ) -> None:
        if force_close and keepalive_timeout not in {None, UNSET}:
            raise ValueError("keepalive_timeout cannot be set if force_close is True")
        if not protocols or not PROTOCOLS.issuperset(protocols):
            raise ValueError(
                f"protocols are some of {', '.join(sorted(PROTOCOLS))}; not {protocols!r}"
            )
        if "h3" in protocols:
            _check_http3()
        # None is no limit too.
        limit, limit_per_host = (
            whole_number("limit", limit or 0),
            whole_number("limit_per_host", limit_per_host or 0),
        )
        if keepalive_timeout is not UNSET:
            check_seconds("keepalive_timeout", keepalive_timeout)
        if limit < 0 or limit_per_host < 0:
            raise ValueError("a limit is 0 (none) or more")
        self._loop = loop or running_loop(type(self).__name__)
        self._protocols = protocols = tuple(protocols)
        self.alternatives = None
        by_tcp = tuple(name for name in protocols if name != "h3")
        if "h3" in protocols:
            # HTTP/3 is for origins that say so; everything else is as if it were not named.
            self._protocols = by_tcp or ("h3",)
            self.alternatives = _new_store(self._loop) if by_tcp else None
        tune_malloc()
        self._limits = _as_limits(limits)
        self._ssl: Any = True
        self._keepalive_timeout = (
            KEEPALIVE_TIMEOUT if isinstance(keepalive_timeout, Unset) else keepalive_timeout
        )
        self._routes: dict[tuple[str, str | None, int | None, tuple[ProxyHop, ...]], Route] = {}
        self._settings = dial_settings or DialSettings(self._loop)
        self._settings.limits = self._limits
        self._settings.chooses_protocols = self._protocols != DEFAULT_PROTOCOLS
        self._settings.alternatives = self.alternatives
        if self.alternatives is not None and self._settings.names is not None:
            self.record_hints = _hints_of(
                self._loop, self.alternatives, self._settings.names.resolver
            )
        self._by_http3: dict[Route, Route] = {}
        self._close_timeout = 2.0
        self._hint_lookups: list[asyncio.Task[None]] = []
        #: The connections; the client takes and acquires here.
        self.pool: Pool = Pool(
            self._loop,
            self._dialler(),
            limit=limit,
            limit_per_host=limit_per_host,
            keepalive_timeout=None if force_close else self._keepalive_timeout,
            force_close=force_close,
        )
        if self._loop.get_debug():
            self._source_traceback = traceback.extract_stack(sys._getframe(1))
        HOOKS.connectors.connector_made(self)
        note_connector(self)
        self._closed = False

    def __init_subclass__(cls) -> None:
        HOOKS.connectors.class_made(cls)

    def _dialler(self) -> Callable[[ConnectRequest], Awaitable[Connection]]:
        """The dialler of the pool's connections."""
        return _Dialler(self._settings)

    def _ssl_of_proxies(self, ssl: Any) -> Any:
        """TLS for https proxies that have none of their own: as for the origin, `ssl`."""
        return ssl

    async def connect(
        self, req: Any, traces: Any = None, timeout: Any = None
    ) -> BorrowedConnection:
        """Take a connection for a request out of the pool, or dial one; for programs that speak on
        it themselves.

        Args:
            req: Has `url`, `ssl`, `server_hostname` and, where proxies are to be passed, `hops`.
            traces: Taken for compatibility.
            timeout: A `ClientTimeout`, of which `sock_connect` counts; None for no limit.

        Raises:
            ClientConnectorError: No connection could be made.
        """
        return BorrowedConnection(
            self.pool, await self.pool.acquire(self._connect_request_for(req, timeout))
        )

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        """Dial for a request: what custom connectors override.

        Args:
            req: As for `connect`.
            traces: Taken for compatibility.
            timeout: As for `connect`.

        Returns:
            A connection; where it is overridden, anything with a `transport`.

        Raises:
            ClientConnectorError: No connection could be made.
        """
        own, connect_request = self._settings.overrides, self._connect_request_for(req, timeout)
        return await (
            dial_route(connect_request.route, self._settings, connect_request)
            if own is None
            else own.usual(connect_request)
        )

    def _connect_request_for(self, req: Any, timeout: Any) -> ConnectRequest:
        route = self.route_for(
            req.url, ssl=req.ssl, server_hostname=req.server_hostname, hops=getattr(req, "hops", ())
        )
        return ConnectRequest(
            route, None if timeout is None else timeout.sock_connect or None, None, req
        )

    def _factory(self) -> HandshakeStream:
        """Make a protocol for a transport that a custom connector makes."""
        return HandshakeStream(self._loop)

    # --- routes -----------------------------------------------------------------------------------

    def route_for(
        self,
        url: URL,
        *,
        ssl: Any = True,
        server_hostname: str | None = None,
        hops: tuple[ProxyHop, ...] = (),
    ) -> Route:
        """The way to `url`: what its requests share connections by.

        Args:
            url: An absolute URL of scheme http, https, ws or wss.
            ssl: What the request says of TLS; anything but True wins over the connector's.
            server_hostname: The name to check certificates against, None for the URL's host.
            hops: The proxies to pass, in order.
        """
        shares = self._protocols != DEFAULT_PROTOCOLS or self.alternatives is not None
        if shares and url.scheme in {"ws", "wss"}:
            # RFC 8441: a WebSocket is a stream of an HTTP/2 connection whose server offers that,
            # else it goes by HTTP/1.1, where that is allowed.
            url_of_requests = url.with_scheme(_SCHEME_OF[url.scheme])
            shared = self.route_for(
                url_of_requests, ssl=ssl, server_hostname=server_hostname, hops=hops
            )
            if not shared.absolute_form:
                # RFC 9220: the same over HTTP/3.
                by_http3 = self.preferred_route(shared)
                if by_http3 is not shared and self.pool.carries_tunnels(by_http3):
                    return by_http3
                if "http/1.1" not in self._protocols or self.pool.carries_tunnels(shared):
                    return shared
        if ssl is True and server_hostname is None:
            key = (url.scheme, url.raw_host, url.port, hops)
            try:
                return self._routes[key]
            except KeyError:
                if len(self._routes) >= MAX_ROUTES:
                    self._routes.clear()
                route = self._routes[key] = self._make_route(url, ssl, None, hops)
                return route
        return self._make_route(url, ssl, server_hostname, hops)

    def _make_route(
        self, url: URL, ssl: Any, server_hostname: str | None, hops: tuple[ProxyHop, ...]
    ) -> Route:
        if not isinstance(ssl, SSL_ALLOWED_TYPES):
            raise wrong_ssl(ssl)
        asked = True if ssl is None else ssl
        if asked is True:
            ssl = self._ssl
        path = self._route_path()
        if path is not None:
            hops = ()  # what is on this machine is not behind a proxy
        if hops:
            hops = tuple(_with_ssl(hop, self._ssl_of_proxies(ssl)) for hop in hops)
        scheme = _SCHEME_OF.get(url.scheme, "http")
        is_websocket = url.scheme in {"ws", "wss"}
        origin = Origin(scheme, decoded_host(url.raw_host or ""), url.port or 0)
        forwards = (
            bool(hops)
            and scheme == "http"
            and not is_websocket
            and hops[-1].scheme in {"http", "https"}
        )
        if forwards and self._forwards and self._settings.allow_address is None:
            # RFC 9112 3.2.2: a plain request to an HTTP proxy names its URL whole; the connection
            # ends at the proxy.  With a guard it goes through a tunnel, to an address that was
            # asked about.
            last = hops[-1]
            return Route(
                Origin(last.scheme, last.host, last.port),
                hops[:-1],
                ssl=True if last.ssl is None else last.ssl,
                protocols=DEFAULT_PROTOCOLS,
                forward=last,
                # The limit for a host is of the host that answers, as it is through a tunnel.
                counted=origin if self.limit_per_host else None,
            )
        # A WebSocket begins as an HTTP/1.1 request (RFC 6455 4.1).
        protocols = DEFAULT_PROTOCOLS if is_websocket else self._protocols
        is_tls = scheme == "https"
        return Route(
            origin,
            hops,
            # Plain connections are shared whatever was said of TLS.
            ssl=ssl if is_tls else True,
            server_hostname=server_hostname if is_tls else None,
            protocols=protocols,
            path=path,
            asked_ssl=asked,
        )

    def preferred_route(self, route: Route) -> Route:
        """`route`, or the way by HTTP/3 where its origin is known to speak that."""
        store = self.alternatives
        if (
            store is None
            or not route.is_tls
            or route.hops
            or route.path is not None
            or self._settings.overrides is not None
            or store.find(store.key(route), self._loop.time()) is None
        ):
            return route
        known = self._by_http3.get(route)
        if known is None:
            if len(self._by_http3) >= MAX_ROUTES:
                self._by_http3.clear()
            known = self._by_http3[route] = route.offering("h3", *route.protocols)
        return known

    def learn_alternatives(self, head: ResponseHead, connection: Connection) -> None:
        """Note what a response says of other ways to its origin (RFC 7838).

        Args:
            head: The response's head.
            connection: What it came on.
        """
        store, route = self.alternatives, connection.route
        if store is not None and route is not None:
            by_http3 = connection.version.major == 3
            place = None
            if connection.exchanges == 1 and not route.hops and connection.transport is not None:
                place = connection.transport.get_extra_info("sockname")
            # With a connection's first answer: what was learned on another network may be wrong on
            # this one.
            if isinstance(place, tuple):
                store.connected_from(store.key(route), place[0])
            store.hear(route, head, by_http3=by_http3, now=self._loop.time())
            if isinstance(place, tuple):
                store.connected_from(store.key(route), place[0])

    def _route_path(self) -> str | None:
        return None

    # --- what users look at -----------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def limits(self) -> Limits:
        """What a server may send in a response's head, on connections made from now on."""
        return self._settings.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._settings.limits = _as_limits(limits)

    @property
    def force_close(self) -> bool:
        """Whether connections carry one request each."""
        return self.pool.force_close

    @property
    def limit(self) -> int:
        """Connections at most, 0 for no limit."""
        return self.pool.connection_limits.limit

    @property
    def limit_per_host(self) -> int:
        """Connections at most to one (host, port, is_ssl), 0 for no limit."""
        return self.pool.connection_limits.limit_per_host

    def stats(self) -> PoolStats:
        """What the connector has (open, idle, busy, waiting, dialling, closing, by route and by
        host) and has done (opened, reused); its `repr` shows the hosts where most wait.
        """
        return self.pool.stats()

    # --- the end ----------------------------------------------------------------------------------

    def close(self, *, abort_ssl: bool = False) -> Awaitable[None]:
        """Close all connections; await what this gives to see them closed.

        Args:
            abort_ssl: Cut TLS connections without a closing handshake.
        """
        if self._closed:
            # Whoever closes it twice, or first without waiting, sees the end too.
            return Closing(self._finish_close if self._ending else None)
        self._closed = True
        self._routes.clear()
        if self._loop.is_closed():
            _close_without_loop(list(self.pool.all_connections()))
            return Closing()
        self._ending = True
        self._begin_close(abort_ssl)
        return Closing(self._finish_close)

    def _close(self, *, abort_ssl: bool = False) -> list[Awaitable[None]]:
        """As `close`, for programs that look behind it because their event loop is gone; what is
        left to wait for.
        """
        return [BaseConnector.close(self, abort_ssl=abort_ssl)]

    def _begin_close(self, abort: bool) -> None:
        self._hint_lookups = [] if self.record_hints is None else self.record_hints.stop()
        connections = self.pool.shut()
        if abort:
            for connection in connections:
                if (
                    connection.transport is not None
                    and connection.transport.get_extra_info("ssl_object") is not None
                ):
                    connection.abort()

    async def _finish_close(self) -> None:
        await self.pool.close(self._close_timeout)
        if self._hint_lookups:
            await asyncio.wait(self._hint_lookups)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        exc_traceback: TracebackType | None = None,
    ) -> None:
        await self.close()

    def __enter__(self) -> Self:
        warnings.warn("use async with for a connector", DeprecationWarning, stacklevel=2)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._closed:
            return
        connections = list(self.pool.all_connections())
        if not connections:
            return
        self._closed = not self.session_warns  # for a session that is collected after this
        if self._loop.is_closed():
            _close_without_loop(connections)
        elif self.session_warns:
            self.pool.shut()
        else:
            # Responses and WebSockets live on without their connector, as those of a session that
            # was detached do; only what nobody uses is left behind.
            connections = self.pool.drain()
            if not connections:
                return
        names = [repr(connection) for connection in connections]
        if self.session_warns:
            return  # both go at once, in whatever order: one warning is enough
        _warn(f"Unclosed connector {self!r}", ResourceWarning, source=self)
        context: dict[str, Any] = {
            "connector": self,
            "connections": names,
            "message": "Unclosed connector",
        }
        if self._source_traceback is not None:
            context["source_traceback"] = self._source_traceback
        self._loop.call_exception_handler(context)


def _class_changed(cls: type, name: str) -> None:
    """A method of a connector's class was replaced, or put back: its connectors are looked at."""
    if issubclass(cls, BaseConnector):
        for connector in all_connectors():
            if isinstance(connector, cls):
                HOOKS.connectors.connector_made(connector)


CHANGES.listeners.append(_class_changed)


class _Dialler:
    """Dials with a connector's settings, without keeping the connector alive."""

    __slots__ = ("_settings",)

    def __init__(self, settings: DialSettings) -> None:
        self._settings = settings

    def __call__(self, connect_request: ConnectRequest) -> Awaitable[Connection]:
        return HOOKS.dial(connect_request.route, self._settings, connect_request)


def _new_store(loop: asyncio.AbstractEventLoop) -> AltSvcStore:
    # Most programs never need it.
    from wherry.connect.alt_svc import AltSvcStore

    return AltSvcStore(clock=loop.time)


def _hints_of(
    loop: asyncio.AbstractEventLoop, store: AltSvcStore, resolver: object
) -> RecordHints | None:
    """Make what asks for HTTPS records; None where the resolver cannot."""
    ask = getattr(resolver, "https_records", None)
    if ask is None:
        return None
    # Most programs never need it.
    from wherry.connect.https_record_hints import RecordHints

    return RecordHints(loop, store, ask)


def _check_http3() -> None:
    if find_spec("qh3") is None:
        raise ModuleNotFoundError(
            "HTTP/3 needs the package qh3: pip install 'wherry[http3]'", name="qh3"
        )


def _as_limits(limits: Any) -> Limits:
    if not isinstance(limits, Limits):
        raise TypeError(
            f"limits are given as Limits(...), not {type(limits).__name__}: {limits!r:.100}"
        )
    return limits


# The loop that a connector was made in; programs do not see it.
loop_of: Callable[[BaseConnector], asyncio.AbstractEventLoop] = attrgetter("_loop")


def running_loop(name: str) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"no running event loop: make a {name} inside a coroutine (async def main(): ...), "
            "which asyncio.run(main()) runs; scripts without one have wherry.sync"
        ) from None


def _close_without_loop(connections: list[Connection]) -> None:
    """The loop is gone, so transports cannot close in order any more; their sockets can."""
    for connection in connections:
        transport: Any = connection.transport
        while isinstance(transport, TlsTransport):
            transport = transport.below
        # Of a connector that dials in a way of its own.
        tls = getattr(transport, "_ssl_protocol", None)
        if tls is not None:
            transport = tls._transport
        # What asyncio's transports do at their end; without it each of them would warn for itself.
        end = getattr(transport, "_call_connection_lost", None)
        with contextlib.suppress(RuntimeError):
            if end is not None:
                end(None)
            elif transport is not None:
                transport.abort()


def _with_ssl(hop: ProxyHop, ssl: Any) -> ProxyHop:
    """A hop that knows its TLS: what holds for the origin, where nothing was said of the proxy."""
    if hop.scheme != "https" or hop.ssl is not None:
        return hop
    # A fingerprint is of one certificate, and that is the origin's.
    return hop._replace(ssl=True if isinstance(ssl, Fingerprint) else ssl)
