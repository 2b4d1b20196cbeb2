"""Which proxy the environment names for an origin: HTTP_PROXY and its family, and NO_PROXY.

Pure functions over a mapping, and one function that reads the process's own environment.  Nothing
is dialled here, and nothing is remembered but the last environment seen.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, NoReturn

from yarl import URL

from wherry.connect.proxy.proxy_argument import proxy_hops, without_credentials
from wherry.errors import InvalidURL

# The schemes of a request, and the name that is asked before ALL_PROXY.
SCHEMES = ("http", "https", "ws", "wss")
# What variables are called, in any case of letters, as urllib reads them too.
VARIABLES = frozenset(f"{name}_proxy" for name in (*SCHEMES, "all", "no"))
PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _system() -> Any:
    """What knows the system's own settings.  Only Windows and macOS have any, and importing it
    takes 5 ms.
    """
    return import_module("urllib.request")


class NoProxy:
    """The hosts that are reached directly, as NO_PROXY lists them.

    Args:
        text: Entries between commas or blanks: ``*``; a name, which means its subdomains too, with
            or without a dot or ``*.`` before it; an address; a network (``10.0.0.0/8``); and each
            but the last with ``:port`` after it.
    """

    __slots__ = ("_everything", "_names", "_networks")

    def __init__(self, text: str = "") -> None:
        self._everything = False
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[Network, int | None]] = []
        for entry in text.replace(",", " ").split():
            if entry == "*":
                self._everything = True
                continue
            network, port = as_network(entry)
            if network is not None:
                self._networks.append((network, port))
                continue
            name, port = split_port(entry)
            name = name.lower().removeprefix("*").strip(".")
            if name:
                self._names.append((ascii_name(name), port))

    def matches(self, host: str, port: int) -> bool:
        """Whether `host` (a name, or an address without brackets) at `port` is to be reached
        directly.
        """
        if self._everything:
            return True
        if self._networks and (address := as_address(host)) is not None:
            return any(
                (only is None or only == port)
                and address.version == network.version
                and address in network
                for network, only in self._networks
            )
        host = ascii_name(host.lower().rstrip("."))
        return any(
            (only is None or only == port) and (host == name or host.endswith("." + name))
            for name, only in self._names
        )

    def __bool__(self) -> bool:
        return self._everything or bool(self._names) or bool(self._networks)


class ProxySettings:
    """What an environment says of proxies.

    Args:
        proxies: Proxy URLs by the scheme of the request, and "all".
        no_proxy: The hosts to reach directly.
        ask_system: Ask the operating system's own list of exceptions too.
        variables: Where each of `proxies` was read, for messages.
    """

    __slots__ = ("_no_proxy", "_proxies", "_variables", "ask_system")

    def __init__(
        self,
        proxies: Mapping[str, str],
        no_proxy: str = "",
        *,
        ask_system: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._proxies = dict(proxies)
        self._variables = dict(variables or {})
        self._no_proxy = NoProxy(no_proxy)
        self.ask_system: bool = ask_system

    def __bool__(self) -> bool:
        return bool(self._proxies)

    def proxy_for(self, scheme: str, host: str, port: int | None = None) -> str | None:
        """The URL of the proxy for an origin, None to reach it directly.

        Args:
            scheme: "http", "https", "ws" or "wss".
            host: The origin's host, without brackets.
            port: The origin's port, None for the scheme's own.

        Raises:
            InvalidURL: (a ValueError) The environment has something that is not a proxy's URL.
        """
        found = scheme if self._proxies.get(scheme) else "all"
        proxy = self._proxies.get(found)
        if not proxy:
            return None
        if self._no_proxy and self._no_proxy.matches(host, port or PORTS.get(scheme, 0)):
            return None
        if self.ask_system and _system().proxy_bypass(host):
            return None
        variable = self._variables.get(found, "the system's settings")
        return with_scheme(proxy, variable)


def read_environment(environ: Mapping[str, str]) -> ProxySettings:
    """The settings of an environment.

    Args:
        environ: Variables; each is looked for in lower case, then in upper case, then in any other.
            The first that is there counts, and an empty one as none.
    """
    spelled = spellings(environ)
    if "REQUEST_METHOD" in environ:
        # CVE-2016-5385: in a CGI program HTTP_PROXY is the request's own header "Proxy".
        spelled["http_proxy"] = "http_proxy"
    proxies, variables = {}, {}
    for scheme in (*SCHEMES, "all"):
        variable = spelled.get(f"{scheme}_proxy", "")
        value = environ.get(variable)
        if value and value.strip():
            value = value.strip()
            if any(mark.isspace() or not mark.isprintable() for mark in value):
                refuse(value, variable, "it is no URL")
            proxies[scheme], variables[scheme] = value, variable
    return ProxySettings(proxies, no_proxy_of(environ), variables=variables)


def spellings(environ: Mapping[str, str]) -> dict[str, str]:
    """The name that counts for each of `VARIABLES` that is in `environ`."""
    spelled: dict[str, str] = {}
    for name in environ:
        lower = name.lower()
        if lower in VARIABLES:
            other = spelled.get(lower)
            if other is None or _rank(name) < _rank(other):
                spelled[lower] = name
    return spelled


def _rank(name: str) -> tuple[bool, bool, str]:
    """Lower case goes first, as in curl and urllib, and then upper case."""
    return name != name.lower(), name != name.upper(), name


def no_proxy_of(environ: Mapping[str, str]) -> str:
    """What NO_PROXY says, "" where it is not there."""
    return environ.get(spellings(environ).get("no_proxy", ""), "")


def environment_proxies() -> ProxySettings:
    """The settings of this process: its environment, or else those of the operating system.

    It is looked at anew each time, so that a change of ``os.environ`` holds from then on.
    """
    get = os.environ.get
    # Iterating takes a copy of the names: another thread may change the environment.
    names = [name for name in os.environ if name[-6:].lower() == "_proxy"]
    return settings_of(
        tuple([(name, get(name, "")) for name in names]), "REQUEST_METHOD" in os.environ
    )


@lru_cache(maxsize=4)
def settings_of(variables: tuple[tuple[str, str], ...], is_cgi: bool) -> ProxySettings:
    environ = dict(variables)
    if is_cgi:
        environ["REQUEST_METHOD"] = ""
    settings = read_environment(environ)
    if settings or sys.platform not in {"darwin", "win32"}:
        return settings
    named = _system().getproxies()
    system = {scheme: url for scheme, url in named.items() if scheme in {*SCHEMES, "all"}}
    return ProxySettings(system, no_proxy_of(environ), ask_system=True)


@lru_cache(maxsize=64)
def with_scheme(value: str, variable: str) -> str:
    """A proxy as the environment may name it: without a scheme it is an HTTP proxy.

    Args:
        value: What the variable says.
        variable: Its name, for messages.

    Raises:
        InvalidURL: (a ValueError) It names no proxy; the message names the variable.
    """
    if value.startswith("//"):
        url = "http:" + value
    elif value[:8].lower() == "socks://":
        url = "socks5://" + value[8:]  # so GNOME writes it, and means any SOCKS proxy
    else:
        url = value if "://" in value else "http://" + value
    try:
        proxy_hops(url)
    except InvalidURL as exc:
        refuse(value, variable, str(exc.description))
    except ValueError as exc:
        refuse(value, variable, str(exc))
    return url


def refuse(value: str, variable: str, reason: str) -> NoReturn:
    shown = without_credentials(value)
    # `from None`: the parser's error shows the credentials.
    raise InvalidURL(shown, f"{variable} names this as a proxy: {reason}") from None


@lru_cache(maxsize=1024)
def ascii_name(name: str) -> str:
    """A host's name by its A-labels (RFC 5890 2.3.2.1), which is what URLs have; what is none stays
    as it is.
    """
    if name.isascii():
        return name
    try:
        return URL.build(scheme="http", host=name).raw_host or name
    except ValueError:
        return name


def as_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `text` is; an IPv4 address mapped into IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def as_network(entry: str) -> tuple[Network | None, int | None]:
    """The network, or the one address, that an entry of NO_PROXY is, and its port."""
    if "/" in entry:
        try:
            return ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False), None
        except ValueError:
            return None, None
    # An IPv6 address without brackets has colons and no port.
    host, port = (
        (entry, None) if entry.count(":") > 1 and not entry.startswith("[") else split_port(entry)
    )
    address = as_address(host)
    return (ipaddress.ip_network(address), port) if address is not None else (None, None)


def split_port(entry: str) -> tuple[str, int | None]:
    """``host:port`` in its parts; a port that is no number belongs to the name."""
    host, colon, port = entry.rpartition(":")
    if colon and host and port.isascii() and port.isdigit() and not host.endswith(":"):
        return host, int(port)
    return entry, None
