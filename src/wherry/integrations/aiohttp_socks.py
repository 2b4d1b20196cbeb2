"""What programs import from aiohttp-socks, over wherry: for drop-in mode.

Where the package is not there, or came before drop-in mode, these are its names: each connector is
a `TCPConnector` whose every route passes its proxies.  Where it is there, its own connectors are
`adopt`ed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from wherry import (
    ClientConnectorError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ClientSSLError,
    ConnectionTimeoutError,
    DefaultResolver,
    ProxyHop,
    TCPConnector,
    proxy_hops,
)

__all__ = (
    "ChainProxyConnector",
    "ProxyConnectionError",
    "ProxyConnector",
    "ProxyError",
    "ProxyInfo",
    "ProxyTimeoutError",
    "ProxyType",
    "parse_proxy_url",
)

# There, three kinds of error; here, what the same failures raise.  A tuple serves in an except
# clause as a class does.
ProxyError: tuple[type[ClientHttpProxyError], type[ClientProxyConnectionError]] = (
    ClientHttpProxyError,
    ClientProxyConnectionError,
)
ProxyConnectionError = ClientProxyConnectionError
ProxyTimeoutError = ConnectionTimeoutError


class ProxyType(enum.Enum):
    """The kinds of proxies that aiohttp-socks knows."""

    SOCKS4 = 1
    SOCKS5 = 2
    HTTP = 3


class ProxyInfo(NamedTuple):
    """One proxy of a chain.

    Args:
        proxy_type: Its kind.
        host: Its host.
        port: Its port.
        username: The user name to give it.
        password: The password that goes with it.
        rdns: Whether it resolves names; None lets SOCKS5 do so and SOCKS4 not.
    """

    proxy_type: ProxyType
    host: str
    port: int
    username: str | None = None
    password: str | None = None
    rdns: bool | None = None

    def __repr__(self) -> str:
        """The proxy without its credentials: tracebacks and logs show it."""
        return f"<ProxyInfo {self.proxy_type.name.lower()}://{self.host}:{self.port}>"


class ThroughProxies(TCPConnector):
    """A connector all of whose connections pass the same proxies."""

    _hops: tuple[ProxyHop, ...] = ()
    _forwards = False

    def route_for(
        self,
        url: Any,
        *,
        ssl: Any = True,
        server_hostname: str | None = None,
        hops: tuple[ProxyHop, ...] = (),
    ) -> Any:
        """The way to `url`, through the proxies unless the request has its own."""
        return super().route_for(
            url, ssl=ssl, server_hostname=server_hostname, hops=hops or self._hops
        )


class ProxyConnector(ThroughProxies):
    """A connector through one proxy.

    Args:
        host: The proxy's host.
        port: The proxy's port.
        proxy_type: Its kind, SOCKS5 by default.
        username: The user name to give it.
        password: The password that goes with it.
        rdns: Whether it resolves names.
        proxy_ssl: An SSLContext for an HTTP proxy that is spoken to by TLS.
        **kwargs: For `TCPConnector`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        proxy_type: ProxyType = ProxyType.SOCKS5,
        username: str | None = None,
        password: str | None = None,
        rdns: bool | None = None,
        proxy_ssl: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._hops = (
            hop_of(ProxyInfo(proxy_type, host, port, username, password, rdns), proxy_ssl),
        )

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """A connector through the proxy of that URL.

        Raises:
            ValueError: It is not a proxy's URL.
        """
        proxy_type, host, port, username, password = parse_proxy_url(url)
        return cls(host, port, proxy_type, username, password, **kwargs)


class ChainProxyConnector(ThroughProxies):
    """A connector through a chain of proxies.

    Args:
        proxy_infos: The proxies in the order in which they are passed.
        **kwargs: For `TCPConnector`.
    """

    def __init__(self, proxy_infos: Iterable[ProxyInfo], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._hops = tuple(hop_of(info) for info in proxy_infos)

    @classmethod
    def from_urls(cls, urls: Iterable[str], **kwargs: Any) -> Self:
        """A connector through the proxies of these URLs.

        Raises:
            ValueError: One of them is not a proxy's URL.
        """
        return cls([ProxyInfo(*parse_proxy_url(url)) for url in urls], **kwargs)


def parse_proxy_url(url: str) -> tuple[ProxyType, str, int, str, str]:
    """A proxy's URL in its parts: kind, host, port, user name and password ("" for none).

    Raises:
        ValueError: It is not a proxy's URL.
    """
    (hop,) = proxy_hops(url)
    kind = {"http": ProxyType.HTTP, "socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}.get(
        hop.scheme
    )
    if kind is None:
        raise ValueError(f"Invalid scheme component: {hop.scheme}")
    return kind, hop.host, hop.port, hop.username or "", hop.password or ""


def hop_of(info: ProxyInfo, proxy_ssl: Any = None) -> ProxyHop:
    """The hop that a `ProxyInfo` means."""
    kind = ProxyType(getattr(info.proxy_type, "value", info.proxy_type))
    if kind is ProxyType.HTTP:
        scheme = "http" if proxy_ssl is None else "https"
    elif kind is ProxyType.SOCKS4:
        scheme = "socks4a" if info.rdns else "socks4"
    else:
        scheme = "socks5" if info.rdns is False else "socks5h"
    (hop,) = proxy_hops(
        ProxyHop(
            scheme,
            info.host,
            info.port,
            info.username or None,
            info.password or None,
            (),
            proxy_ssl,
        )
    )
    return hop


# --- the package's own classes --------------------------------------------------------------------


def adopt(package: Any) -> None:
    """Let the connectors of aiohttp-socks, derived from ours, pass their proxies as ours do.

    Their classes, arguments and errors stay; what they raise is one of our errors too.

    Args:
        package: The module, imported in drop-in mode.

    Raises:
        AttributeError: It is made otherwise than the versions that we know; its connectors then
            dial for themselves.
    """
    module, shared = package.connector, package.connector._BaseProxyConnector
    unreached = _both(ClientProxyConnectionError, package.ProxyConnectionError)
    failed = _both(ClientProxyConnectionError, package.ProxyError)
    refused = _both(ClientHttpProxyError, package.ProxyError)
    late = _both(ConnectionTimeoutError, package.ProxyTimeoutError)

    def route_for(self: Any, url: Any, *, hops: tuple[ProxyHop, ...] = (), **options: Any) -> Any:
        mine = self.__dict__.get("_hops")
        if mine is None:
            mine = self._hops = _hops_of(self)
        return TCPConnector.route_for(self, url, hops=mine + hops, **options)

    async def create_connection(self: Any, req: Any, traces: Any, timeout: Any) -> Any:
        try:
            return await TCPConnector._create_connection(self, req, traces, timeout)
        except ClientHttpProxyError as exc:
            error = refused(
                exc.request_info,
                exc.history,
                status=exc.status,
                message=exc.message,
                headers=exc.headers,
            )
            error.error_code = exc.status
            raise error from exc
        except ClientSSLError:
            raise  # the origin's, inside the tunnel
        except ClientConnectorError as exc:
            was_reached = isinstance(exc, ClientProxyConnectionError) and not isinstance(
                exc.__cause__, ClientConnectorError
            )
            raise (failed if was_reached else unreached)(exc._conn_key, exc._os_error) from exc
        except ConnectionTimeoutError as exc:
            raise late(*exc.args) from exc

    shared._forwards = False
    shared.route_for = route_for
    shared._create_connection = create_connection
    shared.dials_by_itself = True
    # A proxy's own name is resolved here, as any other.
    module.NoResolver = DefaultResolver


def _both(ours: type[Exception], theirs: type[Exception]) -> Any:
    """An error that both families' except clauses catch."""
    return type(
        theirs.__name__, (ours, theirs), {"__module__": theirs.__module__, "error_code": None}
    )


def _hops_of(connector: Any) -> tuple[ProxyHop, ...]:
    """What a connector of the package was told."""
    infos = getattr(connector, "_proxy_infos", None)
    if infos is not None:
        return tuple(hop_of(info) for info in infos)
    told = ProxyInfo(
        connector._proxy_type,
        connector._proxy_host,
        connector._proxy_port,
        connector._proxy_username,
        connector._proxy_password,
        connector._rdns,
    )
    return (hop_of(told, connector._proxy_ssl),)
