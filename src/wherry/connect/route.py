"""A `Route`: everything that must be equal for two requests to share a connection.

Routes are made once, hashed once, and are the pool's key.  Making one is pure: no name is resolved
here and no socket opened.
"""

from __future__ import annotations

from ssl import SSLContext
from typing import Any, NamedTuple
from urllib.parse import unquote


def decoded_host(host: str) -> str:
    """A URL's host as sockets know it: the zone of an IPv6 address is quoted there (RFC 6874 2).

    A zone that is not ("fe80::1%eth0") is what people write, and stays.
    """
    address, _, zone = host.partition("%25")
    return f"{address}%{unquote(zone)}" if zone and ":" in address else host


class Origin(NamedTuple):
    """A scheme ("http" or "https"), a host (IDNA-encoded, no brackets) and a port (RFC 6454 4)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class ProxyHop(NamedTuple):
    """One proxy on the way.

    Args:
        scheme: "http", "https", "socks4", "socks4a", "socks5" or "socks5h"; "masque+https" for
            HTTP/3 alone.
        host: Its host.
        port: Its port.
        username: The user name to give it, None for none.
        password: The password that goes with it.
        headers: More header fields for an HTTP proxy's CONNECT, as pairs.
        ssl: For https: True, False, an SSLContext or a Fingerprint; None for what holds for the
            origin.
        encoding: How an HTTP proxy's credentials become bytes (RFC 7617 2.1).
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    ssl: Any = None
    encoding: str = "latin1"

    def __repr__(self) -> str:
        """The hop without its credentials: tracebacks and logs show it."""
        return f"<ProxyHop {self}>"

    def __str__(self) -> str:
        """The hop without its credentials, as errors show it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Route:
    """The way to an origin.

    Args:
        origin: Where the connection ends: the origin, or the last proxy where that one forwards
            plain requests.
        hops: The proxies to pass, in order, each dialled through those before it.
        ssl: What the user said of TLS: True (the default context), False (no checks), an
            SSLContext, or a Fingerprint.
        server_hostname: The name to send by SNI and to check, None for the origin's host.
        protocols: ALPN identifiers in order of wish.
        forward: The proxy that `origin` is, where it forwards plain requests: they carry the whole
            URL as their target, and the fields that are for this proxy.
        path: A Unix socket's path, or a named pipe's, instead of a network address.
        asked_ssl: What the request itself said of TLS, which is what errors show.
        counted: Whose connection it is for the limit per host, where that is not `origin` but one
            behind the proxy that forwards to it; then other hosts do not share the connection.
    """

    __slots__ = (
        "_hash",
        "_identity",
        "absolute_form",
        "asked_ssl",
        "counted",
        "forward",
        "hops",
        "origin",
        "path",
        "protocols",
        "route_pool",
        "server_hostname",
        "ssl",
    )

    def __init__(
        self,
        origin: Origin,
        hops: tuple[ProxyHop, ...] = (),
        *,
        ssl: Any = True,
        server_hostname: str | None = None,
        protocols: tuple[str, ...] = ("http/1.1",),
        forward: ProxyHop | None = None,
        path: str | None = None,
        asked_ssl: Any = True,
        counted: Origin | None = None,
    ) -> None:
        self.asked_ssl: Any = asked_ssl
        self.origin: Origin = origin
        self.hops: tuple[ProxyHop, ...] = hops
        self.ssl: Any = ssl
        self.server_hostname: str | None = server_hostname
        self.protocols: tuple[str, ...] = protocols
        self.forward: ProxyHop | None = forward
        self.absolute_form: bool = forward is not None
        self.path: str | None = path
        self.counted: Origin = counted or origin
        # The pool's own place for this route, so that it need not look it up.
        self.route_pool: Any = None
        self._identity = (
            origin,
            hops,
            ssl,
            server_hostname,
            protocols,
            forward,
            path,
            self.counted,
        )
        self._hash = hash(self._identity)

    def offering(self, *protocols: str) -> Route:
        """The same way, with `protocols` in place of its own."""
        return Route(
            self.origin,
            self.hops,
            ssl=self.ssl,
            server_hostname=self.server_hostname,
            protocols=protocols,
            forward=self.forward,
            path=self.path,
            asked_ssl=self.asked_ssl,
            counted=self.counted,
        )

    @property
    def contexts(self) -> tuple[SSLContext, ...]:
        """The contexts of the program's by which this way's peers are checked."""
        said = (self.ssl, *(hop.ssl for hop in self.hops))
        return tuple(option for option in said if isinstance(option, SSLContext))

    @property
    def is_tls(self) -> bool:
        return self.origin.scheme == "https"

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Route) and self._identity == other._identity)

    def __repr__(self) -> str:
        return f"<Route {shown_route(self)}>"


def shown_route(route: Route) -> str:
    """The proxies on the way and the origin, without credentials."""
    return " -> ".join(map(str, (*route.hops, route.origin)))
