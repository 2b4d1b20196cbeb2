"""Which proxies a request passes: its own, the session's, or those of the environment.

Pure but for the looks at the environment and at ~/.netrc; hops are made once where they can be, so
that a request without a word about proxies pays one comparison.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.connect.proxy.environment import environment_proxies
from wherry.connect.proxy.proxy_argument import proxy_hops
from wherry.connect.proxy.url_patterns import ProxyChoice, way_of
from wherry.connect.route import ProxyHop
from wherry.types import LooseHeaders

if TYPE_CHECKING:
    from wherry.auth.netrc import Netrc
    from wherry.client.options import RequestOptions

Hops = tuple[ProxyHop, ...]


class SessionProxies:
    """What a session says of proxies.

    Args:
        proxy: The default proxy, or chain.
        proxy_auth: Credentials for it; without a default proxy, for the proxies of requests.
        proxy_headers: More header fields for it, likewise.
        proxy_ssl: TLS with https:// proxies; None for what holds for the origin.
        trust_env: Whether the environment is asked where nothing else says.

    Raises:
        ValueError: The proxy is none.
    """

    __slots__ = (
        "asks_environment",
        "auth",
        "choice",
        "headers",
        "hops",
        "netrc",
        "ssl",
        "trust_env",
    )

    def __init__(
        self,
        proxy: Any = None,
        proxy_auth: BasicAuth | None = None,
        proxy_headers: LooseHeaders | None = None,
        proxy_ssl: Any = None,
        *,
        trust_env: bool = False,
    ) -> None:
        way = way_of(proxy, proxy_auth, proxy_headers, proxy_ssl)
        self.hops: Hops = way if isinstance(way, tuple) else ()
        self.choice: ProxyChoice | None = None if isinstance(way, tuple) else way
        self.auth: BasicAuth | None = proxy_auth
        self.headers: LooseHeaders | None = proxy_headers
        self.ssl: Any = proxy_ssl
        self.trust_env: bool = trust_env
        # `proxy=""` says that there is none, whatever the environment says.
        self.asks_environment: bool = trust_env and proxy is None
        # Read at the first request of a session that trusts the environment.
        self.netrc: Netrc | None = None

    async def read_netrc(self) -> None:
        """Read ~/.netrc, or what $NETRC names, once and in a thread."""
        from wherry.auth.netrc import read_netrc

        self.netrc = await asyncio.to_thread(read_netrc)

    def hops_for(self, url: URL, options: RequestOptions) -> Hops:
        """The proxies that a request to `url` passes.

        Args:
            url: Where to; a redirect may change what the environment says.
            options: What the request says.

        Raises:
            ValueError: The environment, or the request, names something that is not a proxy.
        """
        auth, headers, ssl = options.proxy_auth, options.proxy_headers, options.proxy_ssl
        if options.hops is not None and not isinstance(options.hops, tuple):
            hops = options.hops.hops_for(url)
            return hops if ssl is None else proxy_hops(hops, proxy_ssl=ssl)
        if options.hops is not None:
            if self.hops or len(options.hops) != 1:
                # The session's credentials belong to the session's proxy, and never go to another.
                return options.hops
            return proxy_hops(
                options.hops,
                self.auth if auth is None else None,
                self.headers if headers is None else None,
                self.ssl if ssl is None else None,
            )
        hops = self.hops if self.choice is None else self.choice.hops_for(url)
        if not hops and self.asks_environment and url.raw_host is not None:
            named = environment_proxies().proxy_for(url.scheme, url.raw_host, url.port)
            if named is not None:
                hops = hops_of_environment(named)
                auth, headers, ssl = (
                    auth or self.auth,
                    headers or self.headers,
                    self.ssl if ssl is None else ssl,
                )
                if auth is None and self.netrc and hops[0].username is None:
                    auth = self.netrc.lookup(hops[0].host)
        if hops and (auth is not None or headers or ssl is not None):
            hops = proxy_hops(hops, auth, headers, ssl)
        return hops


@lru_cache(maxsize=32)
def hops_of_environment(named: str) -> Hops:
    """The hop that a variable of the environment names."""
    return proxy_hops(named)
