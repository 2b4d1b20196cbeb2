"""Proxies by pattern, or by a function: which hops the way to a URL has.

Pure but for the program's own function.  A pattern is ``scheme://host:port``, each part of which
may be left out: ``all://`` and ``https://`` are patterns, and so are ``all://*.corp.example`` and
``http://localhost:8080``.  The one that says most wins: port, then host, then scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, NamedTuple

from yarl import URL

from wherry.connect.proxy.proxy_argument import Credentials, hops_of
from wherry.connect.route import ProxyHop, decoded_host
from wherry.types import LooseHeaders

__all__ = ("ProxyChoice", "way_of")

Hops = tuple[ProxyHop, ...]
_SCHEMES = frozenset({"all", "http", "https", "ws", "wss"})
# A WebSocket's handshake is a request (RFC 6455 4.1).
_SAME = {"ws": "http", "wss": "https"}


class _Pattern(NamedTuple):
    """A pattern, and the hops of what it matches.

    Args:
        port: None for any.
        host: "" for any; with a dot in front for the names below it.
        scheme: "" for any.
        hops: The way, () for none.
    """

    port: int | None
    host: str
    scheme: str
    hops: Hops

    def matches(self, scheme: str, host: str, port: int | None) -> bool:
        return (
            self.scheme in {"", scheme}
            and self.port in {None, port}
            and (not self.host or host == self.host or self._is_below(host))
        )

    def _is_below(self, host: str) -> bool:
        return self.host.startswith(".") and host.endswith(self.host)

    def weight(self) -> tuple[bool, bool, int, bool]:
        """How exact the pattern is; of those that match, the most exact wins."""
        exact = bool(self.host) and not self.host.startswith(".")
        return self.port is not None, exact, len(self.host), bool(self.scheme)


class ProxyChoice:
    """What chooses the hops for a URL.

    Args:
        choose: Gives what `proxy=` may be for a URL, None for no proxy; or patterns.

    Raises:
        ValueError: A pattern is none, or names no proxy.
        TypeError: The function is a coroutine function.
    """

    __slots__ = ("_choose", "_patterns")

    def __init__(self, choose: Callable[[URL], Any] | Mapping[str, Any]) -> None:
        self._patterns: list[_Pattern] = []
        self._choose: Callable[[URL], Any] | None = None
        if isinstance(choose, Mapping):
            made = [_pattern(text, proxy) for text, proxy in choose.items()]
            self._patterns = sorted(made, key=_Pattern.weight, reverse=True)
        elif iscoroutinefunction(choose):
            raise TypeError("proxy= takes a plain function of a URL, not a coroutine function")
        else:
            self._choose = choose

    def hops_for(self, url: URL) -> Hops:
        """The hops of the way to `url`; none are ()."""
        if self._choose is not None:
            chosen = self._choose(url)
            return () if chosen is None else hops_of(chosen)
        scheme = _SAME.get(url.scheme, url.scheme)
        host = decoded_host(url.raw_host or "").lower()
        for pattern in self._patterns:
            if pattern.matches(scheme, host, url.port):
                return pattern.hops
        return ()


def _pattern(text: Any, proxy: Any) -> _Pattern:
    hops = () if proxy is None else hops_of(proxy)
    shown = f"proxy={{{text!r}: ...}}"
    if not isinstance(text, str):
        raise TypeError(f"{shown}: a pattern is a str such as 'https://' or 'all://*.example.org'")
    scheme, mark, rest = text.partition("://")
    if not mark and scheme in _SCHEMES:
        mark = "://"  # requests' way to say it
    if not mark or scheme.lower() not in _SCHEMES:
        raise ValueError(
            f"{shown}: a pattern begins with {', '.join(sorted(f'{each}://' for each in _SCHEMES))}"
        )
    scheme = _SAME.get(scheme.lower(), scheme.lower())
    host, port = _place(rest, shown)
    return _Pattern(port, host, "" if scheme == "all" else scheme, hops)


def _place(rest: str, shown: str) -> tuple[str, int | None]:
    """(host, port) of a pattern's second part."""
    if not rest or rest in {"*", "/"}:
        return "", None
    if not rest.isprintable() or " " in rest:
        raise ValueError(f"{shown}: {rest!r} is no host")
    below = rest.startswith("*.")
    try:
        url = URL(f"http://{rest.removeprefix('*.')}")
        port = url.explicit_port
    except ValueError:
        raise ValueError(f"{shown}: {rest!r} is no host") from None
    if not url.raw_host or url.raw_path not in {"", "/"} or url.raw_user or "*" in url.raw_host:
        raise ValueError(f"{shown}: {rest!r} is no host")
    host = decoded_host(url.raw_host).lower()
    return (f".{host}" if below else host), port


def way_of(
    proxy: Any,
    proxy_auth: Credentials | None = None,
    proxy_headers: LooseHeaders | None = None,
    proxy_ssl: Any = None,
) -> Hops | ProxyChoice:
    """The hops that `proxy=` means, or what chooses them for each URL.

    Raises:
        ValueError: It names something that is no proxy; or one proxy's `proxy_auth` or
            `proxy_headers` are given for many.
        TypeError: It is nothing that `proxy=` takes.
    """
    if not isinstance(proxy, Mapping) and not callable(proxy):
        return hops_of(proxy, proxy_auth, proxy_headers, proxy_ssl)
    if proxy_auth is not None or proxy_headers:
        raise ValueError(
            "proxy_auth= and proxy_headers= go with one proxy; where patterns or a function "
            "choose, write (url, BasicAuth), or a ProxyHop with its headers"
        )
    return ProxyChoice(proxy)
