"""What programs import from aiohttp-socks, over wherry: for drop-in mode.

aiohttp-socks reaches into aiohttp's connector, so it cannot run over another client; its public names can.  Each
connector is a `TCPConnector` whose every route passes its proxies.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from wherry import (
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
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

# There, three kinds of error; here, what the same failures raise.  A tuple serves in an except clause as a class does.
ProxyError = (ClientHttpProxyError, ClientProxyConnectionError)
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


class ThroughProxies(TCPConnector):
    """A connector all of whose connections pass the same proxies."""

    _hops: tuple[ProxyHop, ...] = ()

    def route_for(
        self, url: Any, *, ssl: Any = True, server_hostname: str | None = None, hops: tuple[ProxyHop, ...] = ()
    ) -> Any:
        """The way to `url`, through the proxies unless the request has its own."""
        return super().route_for(url, ssl=ssl, server_hostname=server_hostname, hops=hops or self._hops)


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
        self._hops = (hop_of(ProxyInfo(proxy_type, host, port, username, password, rdns), proxy_ssl),)

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
    kind = {"http": ProxyType.HTTP, "socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}.get(hop.scheme)
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
        ProxyHop(scheme, info.host, info.port, info.username or None, info.password or None, (), proxy_ssl)
    )
    return hop
