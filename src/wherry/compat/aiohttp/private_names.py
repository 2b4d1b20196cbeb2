"""Names of aiohttp's connectors, sessions and responses that are private there, and that programs
look into, or turn at, all the same.

Views of the pool, made when somebody looks; nothing of ours uses them.  Whoever derives a class and
overrides what is never called here is told so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from types import MethodType
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict
from yarl import URL

from wherry.client.response import ClientResponse, ResponseState, end_as, state_of
from wherry.client.session import ClientSession
from wherry.client.session_defaults import defaults_of
from wherry.connect.base_connector import BaseConnector
from wherry.connect.connector import TCPConnector
from wherry.connect.hooks import HOOKS
from wherry.connect.pool.pool import Pool
from wherry.connect.route import Origin, Route
from wherry.protocol.connection import Connection
from wherry.types import LooseHeaders, StrOrURL

if TYPE_CHECKING:
    from wherry.connect.pool.route_pool import Waiter


# Methods of a connector in aiohttp that are never called here.
NEVER_CALLED = frozenset(
    {
        "_available_connections", "_create_proxy_connection", "_get", "_get_ssl_context",
        "_release", "_start_tls_connection", "_wrap_existing_connection",
    }
)  # fmt: skip


# Methods that are called, be they a class's own or put on one connector.
HONOURED = frozenset(
    {
        "connect",
        "_create_connection",
        "_create_direct_connection",
        "_resolve_host",
        "_wrap_create_connection",
    }
)


# The functions that stand there as long as nobody has put another in their place.
_PLAIN = {name: getattr(TCPConnector, name) for name in HONOURED}


def overridden(connector: Any) -> set[str]:
    """Which of `HONOURED` are the program's own, of the connector's class or put on it alone."""
    found = set()
    for name, plain in _PLAIN.items():
        method = getattr(connector, name, None)
        # What wraps a method (wrapt's objects, for one) passes itself off as that method.
        is_plain = type(method) is MethodType and method.__func__ is plain
        if method is not None and not is_plain:
            found.add(name)
    return found


def warn_of_never_called(cls: type, names: Iterable[str], stacklevel: int) -> None:
    """Warn where a class is made that overrides some of these methods.

    Args:
        cls: The class.
        names: The methods that are never called.
        stacklevel: How many calls above the class is made.
    """
    for name in sorted(set(names) & cls.__dict__.keys()):
        warnings.warn(
            f"{cls.__qualname__}.{name} will not be called: wherry does in another way what "
            "aiohttp does by it",
            RuntimeWarning,
            stacklevel=stacklevel,
        )


class PrivateNames:
    """The private names that every connector has, by `install`."""

    pool: Pool

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in HONOURED and "pool" in self.__dict__:
            HOOKS.connectors.connector_made(self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name in HONOURED and "pool" in self.__dict__:
            HOOKS.connectors.connector_made(self)

    @property
    def _conns(self) -> dict[Route, list[tuple[Connection, float]]]:
        """(connection, idle since) of what is free, by route."""
        route_pools = self.pool.route_pools.items()
        return {
            route: [(made, made.idle_since) for made in route_pool.free]
            for route, route_pool in route_pools
            if route_pool.free
        }

    @property
    def _acquired(self) -> set[Connection]:
        """The connections that carry exchanges."""
        return {connection for connection in self.pool.all_connections() if not connection.is_idle}

    @property
    def _acquired_per_host(self) -> dict[Origin, set[Connection]]:
        """The connections that carry exchanges, by origin."""
        found: dict[Origin, set[Connection]] = {}
        for connection in self._acquired:
            found.setdefault(connection.route.origin, set()).add(connection)
        return found

    @property
    def _waiters(self) -> dict[Route, list[Waiter]]:
        """Who waits for a connection, by route."""
        return {
            route: list(route_pool.waiters)
            for route, route_pool in self.pool.route_pools.items()
            if route_pool.waiters
        }

    @property
    def _limit(self) -> int:
        return self.pool.connection_limits.limit

    @_limit.setter
    def _limit(self, limit: int) -> None:
        self.pool.connection_limits.limit = limit

    @property
    def _limit_per_host(self) -> int:
        return self.pool.connection_limits.limit_per_host

    @_limit_per_host.setter
    def _limit_per_host(self, limit: int) -> None:
        self.pool.connection_limits.limit_per_host = limit

    @property
    def _force_close(self) -> bool:
        return self.pool.force_close


# --- sessions -------------------------------------------------------------------------------------


class DefaultOfSession:
    """A private name of aiohttp's sessions, for what `SessionDefaults` has.

    Args:
        name: What it is called there.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, session: Any, owner: type | None = None) -> Any:
        return self if session is None else getattr(defaults_of(session), self._name)

    def __set__(self, session: Any, value: Any) -> None:
        setattr(defaults_of(session), self._name, value)


SESSION_NAMES = {
    "_auto_decompress": "auto_decompress",
    "_base_url": "base_url",
    "_cookie_jar": "cookie_jar",
    "_default_auth": "auth",
    "_default_headers": "headers",
    "_json_serialize": "json_serialize",
    "_json_serialize_bytes": "json_serialize_bytes",
    "_loop": "loop",
    "_middlewares": "middlewares",
    "_raise_for_status": "raise_for_status",
    "_read_bufsize": "read_bufsize",
    "_request_class": "request_class",
    "_requote_redirect_url": "requote_redirect_url",
    "_response_class": "response_class",
    "_skip_auto_headers": "skip_auto_headers",
    "_timeout": "timeout",
    "_trace_configs": "trace_configs",
    "_trust_env": "trust_env",
    "_version": "version",
}


class SessionMethods:
    """Methods that aiohttp's sessions have under private names; programs call them."""

    def _build_url(self: Any, str_or_url: StrOrURL) -> URL:
        """A URL, put under the session's `base_url` where it is relative."""
        url: URL = self._builder.join(str_or_url)
        return url

    def _prepare_headers(self: Any, headers: LooseHeaders | None) -> CIMultiDict[str]:
        """The session's fields, and a request's own."""
        merged: CIMultiDict[str] = self._builder.merged_headers(headers)
        return merged


# --- responses ------------------------------------------------------------------------------------


class FlagOfResponse:
    """One of the flags by which aiohttp's responses say how far they have come.

    Args:
        least: The first state in which it is set.
    """

    def __init__(self, least: ResponseState) -> None:
        self._least = least

    def __get__(self, response: Any, owner: type | None = None) -> Any:
        return self if response is None else state_of(response) >= self._least

    def __set__(self, response: Any, value: bool) -> None:
        if value and state_of(response) < self._least:
            end_as(response, max(self._least, ResponseState.RELEASED))


RESPONSE_FLAGS = {"_closed": ResponseState.HANDED_OVER, "_released": ResponseState.RELEASED}


def install() -> None:
    """Give connectors, sessions and responses these names."""
    for name, value in vars(PrivateNames).items():
        if name in {"__setattr__", "__delattr__"} or (
            name.startswith("_") and not name.startswith("__")
        ):
            type.__setattr__(BaseConnector, name, value)
    for name, of_defaults in SESSION_NAMES.items():
        setattr(ClientSession, name, DefaultOfSession(of_defaults))
    for name in ("_build_url", "_prepare_headers"):
        setattr(ClientSession, name, vars(SessionMethods)[name])
    for name, least in RESPONSE_FLAGS.items():
        type.__setattr__(ClientResponse, name, FlagOfResponse(least))
