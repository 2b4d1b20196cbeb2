"""The connectors that users make: TCP, Unix sockets, named pipes; their parameters and what these
turn into.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from ssl import SSLContext
from types import SimpleNamespace
from typing import Any

import aiohappyeyeballs

from wherry.argument_checks import check_seconds, whole_number
from wherry.connect.base_connector import HTTP_SCHEMES, UNSET, BaseConnector, Unset, running_loop
from wherry.connect.dial import dial_route, resolved
from wherry.connect.dial_settings import DialSettings
from wherry.connect.dns.address_guard import AllowAddress
from wherry.connect.dns.cache import DNSCache
from wherry.connect.dns.resolver import AbstractResolver, DefaultResolver, ResolveResult
from wherry.connect.happy_eyeballs import AddrInfoType, Attempts, SocketFactoryType, connect_first
from wherry.connect.tls.contexts import DEFAULT_PROTOCOLS, SSLOption, one_ssl
from wherry.protocol.http2.flow_control import FlowOptions
from wherry.protocol.limits import DEFAULT_LIMITS, Limits

__all__ = (
    "AddrInfoType",
    "BaseConnector",
    "NamedPipeConnector",
    "SocketFactoryType",
    "TCPConnector",
    "UnixConnector",
)

# Seconds that closing waits for a peer to answer close_notify before the transport is cut.
SSL_SHUTDOWN_TIMEOUT = 1.0


class TCPConnector(BaseConnector):
    """Connects by TCP, with TLS where the URL says so.

    Args:
        verify_ssl: Deprecated: `ssl=False` for False.
        fingerprint: Deprecated: `ssl=Fingerprint(...)`.
        use_dns_cache: Whether resolved names are remembered.
        ttl_dns_cache: Seconds that they are at most, None for no such limit; an answer of DNS that
            says how long it holds (TTL) is kept no longer than that.
        stale_dns_cache: Seconds after that in which an old answer is still used, while it is asked
            for anew.
        dns_cache_max_size: Hosts that are remembered at most.
        family: The address family, by default both.
        ssl_context: Deprecated: `ssl=context`.
        ssl: True for strict checks, False for none, an SSLContext, or a Fingerprint.
        local_addr: (host, port) to bind sockets to.
        resolver: Who resolves names, by default AsyncResolver where aiodns is installed, else
            ThreadedResolver.
        keepalive_timeout: Seconds that an unused connection is kept, by default 15; None for ever.
        force_close: Connections carry one request each.
        limit: Connections at most, 0 for no limit.
        limit_per_host: Connections at most to one (host, port, is_ssl), 0 for no limit.
        enable_cleanup_closed: Accepted for compatibility: transports that do not end are always
            cut.
        loop: The event loop, by default the running one.
        timeout_ceil_threshold: Accepted for compatibility.
        happy_eyeballs_delay: Seconds before the next address is tried beside those before it (RFC
            8305), None for one after the other.
        interleave: How many addresses of the first family come before one of the other (RFC 8305).
        socket_factory: Makes the sockets, given an `AddrInfoType`.
        ssl_shutdown_timeout: Seconds that a closing TLS handshake may take, by default 1; 0 cuts at
            once.
        protocols: What to speak, in order of wish: "http/1.1", "h2" (by ALPN), "h2c" (HTTP/2
            without TLS), "h3" (HTTP/3, which needs the extra http3: with servers that say so by
            Alt-Svc, and where it stands alone with all, by prior knowledge).
        http2: Windows, and whether quiet connections are asked for a sign of life: `Http2Options`,
            whose `ping_interval` and `ping_timeout` hold for HTTP/3 as well.
        allow_address: Asked with each `ipaddress` address before it is connected to, proxies' too,
            redirects' too; `public_addresses_only` makes untrusted
            URLs safe.
        limits: What a server may send in a response's head.
        tls_resumption: Whether TLS sessions are resumed, which checks no certificate again (RFC
            8446 2.2).  None, the default: those of contexts that wherry made, for nobody else can
            change them.  True: those of SSLContexts of your own as well, which promises that their
            certificates and authorities stay the same.  False: none.  Over HTTP/3 a context's
            authorities are seen, and part of what a session is kept under.
        early_data: Whether requests with a safe method and no body go out before the handshake is
            over where an HTTP/3 session is resumed (0-RTT).  Whoever sees the network can send them
            again, to be done twice: only for servers that take that into account (RFC 8470).
    """

    allowed_protocol_schema_set: frozenset[str] = HTTP_SCHEMES | {"tcp"}

    def __init__(
        self,
        *,
        verify_ssl: bool = True,
        fingerprint: bytes | None = None,
        use_dns_cache: bool = True,
        ttl_dns_cache: float | None = 10,
        stale_dns_cache: float = 0.0,
        dns_cache_max_size: int = 1000,
        family: int = socket.AF_UNSPEC,
        ssl_context: SSLContext | None = None,
        ssl: SSLOption = True,
        local_addr: tuple[str, int] | None = None,
        resolver: AbstractResolver | None = None,
        keepalive_timeout: float | Unset | None = UNSET,
        force_close: bool = False,
        limit: int | None = 100,
        limit_per_host: int | None = 0,
        enable_cleanup_closed: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout_ceil_threshold: float = 5,
        happy_eyeballs_delay: float | None = 0.25,
        interleave: int | None = None,
        socket_factory: SocketFactoryType | None = None,
        ssl_shutdown_timeout: float | Unset | None = UNSET,
        protocols: tuple[str, ...] = DEFAULT_PROTOCOLS,
        allow_address: AllowAddress | None = None,
        limits: Limits = DEFAULT_LIMITS,
        http2: FlowOptions | None = None,
        tls_resumption: bool | None = None,
        early_data: bool = False,
    ) -> None:
        loop = loop or running_loop(type(self).__name__)
        if http2 is not None and not isinstance(http2, FlowOptions):
            raise TypeError(
                f"http2 is given as Http2Options(...), not {type(http2).__name__}: {http2!r:.100}; "
                'to speak it, say protocols=("h2", "http/1.1")'
            )
        if resolver is not None and not hasattr(resolver, "resolve"):
            raise TypeError(
                f"resolver= takes an object with a coroutine resolve(), not "
                f"{type(resolver).__name__}: derive from wherry.ThreadedResolver"
            )
        check_seconds("ttl_dns_cache", ttl_dns_cache)
        check_seconds("stale_dns_cache", stale_dns_cache)
        check_seconds("happy_eyeballs_delay", happy_eyeballs_delay)
        ssl_option = one_ssl(ssl, verify_ssl, ssl_context, fingerprint, stacklevel=3)
        self._resolver = DefaultResolver(loop=loop) if resolver is None else resolver
        self._resolver_owner = resolver is None
        self._family = family
        self._names = DNSCache(
            self._resolver,
            family=family,
            enabled=use_dns_cache,
            ttl=ttl_dns_cache,
            stale=stale_dns_cache,
            max_size=whole_number("dns_cache_max_size", dns_cache_max_size),
        )
        if isinstance(ssl_shutdown_timeout, Unset):
            ssl_shutdown_timeout = SSL_SHUTDOWN_TIMEOUT
        check_seconds("ssl_shutdown_timeout", ssl_shutdown_timeout)
        self._ssl_shutdown_timeout = ssl_shutdown_timeout
        self._local_addresses = aiohappyeyeballs.addr_to_addr_infos(local_addr)
        self._happy_eyeballs_delay = happy_eyeballs_delay
        self._interleave = interleave
        self._socket_factory = socket_factory
        super().__init__(
            keepalive_timeout=keepalive_timeout,
            force_close=force_close,
            limit=limit,
            limit_per_host=limit_per_host,
            enable_cleanup_closed=enable_cleanup_closed,
            loop=loop,
            timeout_ceil_threshold=timeout_ceil_threshold,
            protocols=protocols,
            limits=limits,
            dial_settings=DialSettings(
                loop,
                self._names,
                family=family,
                local_addresses=self._local_addresses,
                happy_eyeballs_delay=happy_eyeballs_delay,
                interleave=interleave,
                socket_factory=socket_factory,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
                allow_address=allow_address,
                http2=http2,
                tls_resumption=tls_resumption,
                early_data=early_data,
            ),
        )
        self._ssl = ssl_option
        if ssl_shutdown_timeout is not None:
            # The loop's own limit should end a handshake first; ours is for whatever is left.
            self._close_timeout = ssl_shutdown_timeout + 1.0

    def _ssl_of_proxies(self, ssl: Any) -> Any:
        if type(self)._update_proxy_auth_header_and_build_proxy_req is _PLAIN_PROXY_REQUEST:
            return ssl
        return self._update_proxy_auth_header_and_build_proxy_req(
            SimpleNamespace(ssl=ssl, _ssl=ssl)
        )._ssl

    def _update_proxy_auth_header_and_build_proxy_req(self, req: Any) -> Any:
        """What a proxy would be asked by: botocore's connector overrides it, to give proxies a TLS
        of their own.
        """
        return SimpleNamespace(ssl=req.ssl, _ssl=req.ssl, headers={})

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        """The addresses of a host that is about to be dialled: programs override it to refuse some.

        Args:
            host: A name, or a literal address.
            port: The port.
            traces: Who is notified of the look-up.

        Raises:
            OSError: There are none.
        """
        return await resolved(host, port, self._settings, traces or None)

    async def _create_direct_connection(
        self, req: Any, traces: Any, timeout: Any, *, client_error: Any = None
    ) -> tuple[asyncio.Transport | None, Any]:
        """A connection without proxies, as (transport, what speaks on it); programs override it, to
        try again for one.

        Args:
            req: As for `connect`.
            traces: Taken for compatibility.
            timeout: As for `connect`.
            client_error: Taken for compatibility.
        """
        own, connect_request = self._settings.overrides, self._connect_request_for(req, timeout)
        made = await (
            dial_route(connect_request.route, self._settings, connect_request)
            if own is None
            else own.straight(connect_request)
        )
        return made.transport, made

    async def _wrap_create_connection(
        self,
        factory: Any,
        *args: Any,
        addr_infos: list[AddrInfoType],
        req: Any,
        timeout: Any,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """A protocol of `factory` on a transport: what custom connectors override, or
        come back to.

        Args:
            factory: Makes the protocol.
            *args: For the loop's `create_connection`.
            addr_infos: The addresses to try.
            req: Who asks.
            timeout: A `ClientTimeout`, of which `sock_connect` counts.
            **kwargs: For the loop's `create_connection`: `ssl`, `server_hostname`.
        """
        kwargs.pop("client_error", None)
        async with asyncio.timeout(timeout.sock_connect):
            sock = await connect_first(
                addr_infos,
                Attempts(self._loop),
                local_addresses=self._local_addresses,
                delay=self._happy_eyeballs_delay,
                interleave=self._interleave,
                factory=self._socket_factory,
            )
            try:
                return await self._loop.create_connection(factory, *args, sock=sock, **kwargs)
            except BaseException:
                sock.close()
                raise

    @property
    def family(self) -> int:
        """The address family of the sockets; `socket.AF_UNSPEC` is both."""
        return self._family

    @property
    def use_dns_cache(self) -> bool:
        """Whether resolved names are remembered."""
        return self._names.enabled

    @property
    def cached_hosts(self) -> Mapping[tuple[str, int], list[ResolveResult]]:
        """The names that are remembered, by (host, port); read-only."""
        return self._names.hosts

    def clear_dns_cache(self, host: str | None = None, port: int | None = None) -> None:
        """Forget `host` and `port`, or all.

        Raises:
            ValueError: Only one of them is given.
        """
        if host is None and port is None:
            self._names.clear()
        elif host is None or port is None:
            raise ValueError("either both host and port or none of them are allowed")
        else:
            self._names.clear((host, port))

    def _begin_close(self, abort: bool) -> None:
        super()._begin_close(abort or self._ssl_shutdown_timeout == 0)
        self._lookups = self._names.shut()
        self._settings.sessions.clear()

    async def _finish_close(self) -> None:
        await super()._finish_close()
        if self._lookups:
            await asyncio.wait(self._lookups)
        if self._resolver_owner:
            await self._resolver.close()


_PLAIN_PROXY_REQUEST = TCPConnector._update_proxy_auth_header_and_build_proxy_req


class UnixConnector(BaseConnector):
    """Connects to a Unix socket, whatever the URL's host.

    Args:
        path: The socket's path, as text, bytes or an `os.PathLike`; "@name" (or a zero byte and a
            name) is an abstract socket of Linux.
        force_close: Connections carry one request each.
        keepalive_timeout: Seconds that an unused connection is kept, by default 15; None for ever.
        limit: Connections at most, 0 for no limit.
        limit_per_host: Connections at most to one (host, port, is_ssl), 0 for no limit.
        loop: The event loop, by default the running one.
        protocols: What to speak; see `TCPConnector`.
    """

    allowed_protocol_schema_set: frozenset[str] = HTTP_SCHEMES | {"unix"}

    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        force_close: bool = False,
        keepalive_timeout: float | Unset | None = UNSET,
        limit: int | None = 100,
        limit_per_host: int | None = 0,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        protocols: tuple[str, ...] = DEFAULT_PROTOCOLS,
    ) -> None:
        self._path = os.fsdecode(path)
        super().__init__(
            force_close=force_close,
            keepalive_timeout=keepalive_timeout,
            limit=limit,
            limit_per_host=limit_per_host,
            loop=loop,
            protocols=protocols,
        )

    @property
    def path(self) -> str:
        """The socket's path."""
        return self._path

    def _route_path(self) -> str:
        return self._path


class NamedPipeConnector(BaseConnector):
    r"""Connects to a named pipe of Windows, whatever the URL's host.

    Args:
        path: The pipe's path, as in ``\\.\pipe\name``.
        force_close: Connections carry one request each.
        keepalive_timeout: Seconds that an unused connection is kept, by default 15; None for ever.
        limit: Connections at most, 0 for no limit.
        limit_per_host: Connections at most to one (host, port, is_ssl), 0 for no limit.
        loop: The event loop, by default the running one.

    Raises:
        RuntimeError: The loop is not Windows' proactor loop.
    """

    allowed_protocol_schema_set: frozenset[str] = HTTP_SCHEMES | {"npipe"}

    def __init__(
        self,
        path: str,
        force_close: bool = False,
        keepalive_timeout: float | Unset | None = UNSET,
        limit: int | None = 100,
        limit_per_host: int | None = 0,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        loop = loop or running_loop(type(self).__name__)
        proactor = getattr(asyncio, "ProactorEventLoop", None)
        if proactor is None or not isinstance(loop, proactor):
            raise RuntimeError("Named Pipes only available in proactor loop under windows")
        self._path = path
        super().__init__(
            force_close=force_close,
            keepalive_timeout=keepalive_timeout,
            limit=limit,
            limit_per_host=limit_per_host,
            loop=loop,
        )

    @property
    def path(self) -> str:
        """The pipe's path."""
        return self._path

    def _route_path(self) -> str:
        return self._path
