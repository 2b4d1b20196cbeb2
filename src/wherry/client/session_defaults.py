"""`SessionDefaults`: what holds for every request of a session, and what all of them share.

The session sets it, once; a builder of requests and the way of a request read it.  Nothing is done
here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Any

from multidict import CIMultiDict, MultiDict
from yarl import URL

from wherry.client.headers.validation import check_field, field_pairs
from wherry.client.middleware import Auth, ClientMiddlewareType
from wherry.client.options import json_library
from wherry.client.request import ClientRequest
from wherry.client.response import ClientResponse
from wherry.client.sending.proxy_choice import SessionProxies
from wherry.client.timeouts import ClientTimeout, DeadlineWheel
from wherry.client.tracing.signals import TraceConfig
from wherry.connect.base_connector import BaseConnector
from wherry.cookies.abc import AbstractCookieJar
from wherry.cookies.jar import CookieJar
from wherry.types import HttpVersion, JSONBytesEncoder, JSONDecoder, JSONEncoder, LooseHeaders


class SessionDefaults:
    """What a session was told, checked; see `ClientSession` for what each means.

    Args:
        loop: The event loop of the session.
        headers: Fields of every request; they are copied.

    Attributes:
        loop: The event loop.
        wheel: The time limits of all requests.
        connector: Makes and keeps connections; None once the session is closed.
        asks_connector: Whether that is a connector that is not ours, which is asked for each
            request.
        is_plain: Whether no class of the program's own has a say in requests, so that they may be
            made from templates.
        starts_responses: Whether responses have a `start` of their own.
        base_origin: The origin that the session's secrets are for; None for any.
        headers_any: The same dictionary as `headers`; multidict's types want it so.
        params: What is added to the query of every request; None for nothing.
        may_pass_proxies: Whether a request that says nothing of proxies may have some.
        head_limits: (line, field, count of fields) of a response's head.
    """

    # More attributes than Python keeps compactly in a `__dict__` (30).  What stands there is what
    # concerns every session at once (a method of `ClientRequest` that was replaced), and one alone.
    __slots__ = (
        "__dict__",
        "asks_connector",
        "auth",
        "auto_decompress",
        "base_origin",
        "base_url",
        "connector",
        "cookie_jar",
        "head_limits",
        "headers",
        "headers_any",
        "json_library",
        "json_loads",
        "json_serialize",
        "json_serialize_bytes",
        "loop",
        "max_body_size",
        "may_pass_proxies",
        "middlewares",
        "params",
        "proxies",
        "raise_for_status",
        "read_bufsize",
        "request_class",
        "requote_redirect_url",
        "resolve_charset",
        "response_class",
        "skip_auto_headers",
        "timeout",
        "trace_configs",
        "trust_env",
        "version",
        "wheel",
    )

    is_plain: bool = True
    starts_responses = False

    connector: BaseConnector | None
    base_url: URL | None
    base_origin: URL | None
    cookie_jar: AbstractCookieJar
    auth: Auth | None
    proxies: SessionProxies
    may_pass_proxies: bool
    trust_env: bool
    version: HttpVersion
    json_library: str
    json_loads: JSONDecoder
    json_serialize: JSONEncoder
    json_serialize_bytes: JSONBytesEncoder | None
    request_class: type[ClientRequest]
    response_class: type[ClientResponse]
    skip_auto_headers: frozenset[str]
    head_limits: tuple[int, int, int]
    timeout: ClientTimeout
    requote_redirect_url: bool
    raise_for_status: bool | Callable[[ClientResponse], Awaitable[None]]
    auto_decompress: bool
    read_bufsize: int
    max_body_size: int | None
    resolve_charset: Callable[[ClientResponse, bytes], str]
    middlewares: tuple[ClientMiddlewareType, ...]
    params: MultiDict[str] | None
    trace_configs: list[TraceConfig]

    def __init__(self, loop: asyncio.AbstractEventLoop, headers: LooseHeaders | None) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.wheel: DeadlineWheel = DeadlineWheel(loop)
        self.connector = None
        self.params = None
        self.asks_connector: bool = False
        self.headers: CIMultiDict[str] = CIMultiDict()
        if headers:
            for name, value in field_pairs(headers):
                check_field(name, value)
                self.headers.add(name, value)
        self.headers_any: Any = self.headers

    def shared(self) -> list[tuple[str, Any]]:
        """What sessions that are alike have in common: all but cookies and listeners."""
        return [(name, getattr(self, name)) for name in _SHARED]

    @staticmethod
    def with_shared(shared: list[tuple[str, Any]]) -> SessionDefaults:
        """Those of another session that is alike, with an empty jar."""
        defaults = object.__new__(SessionDefaults)
        for name, value in shared:
            setattr(defaults, name, value)
        defaults.cookie_jar = CookieJar()
        defaults.trace_configs = []
        return defaults

    def set_json(
        self, library: str, serialize: JSONEncoder, serialize_bytes: JSONBytesEncoder | None
    ) -> None:
        """Keep what writes and reads JSON: the functions that the session was given, or those of a
        library.

        Raises:
            ModuleNotFoundError: The library is not installed.
            ValueError: It is not known, or functions are given as well.
        """
        self.json_library = library
        self.json_serialize, self.json_serialize_bytes = serialize, serialize_bytes
        self.json_loads = json.loads
        if library != "json":
            if serialize_bytes is not None or serialize is not json.dumps:
                raise ValueError("json= says what writes: leave out json_serialize")
            self.json_serialize_bytes, self.json_loads = json_library(library)

    def is_unusual(self) -> bool:
        """Whether requests must be built one by one, whatever connector carries them."""
        return (
            self.request_class is not ClientRequest
            or "starts_responses" in self.__dict__
            or self.trust_env
            or self.proxies.choice is not None
        )

    def take_connector(self, connector: BaseConnector | None) -> None:
        """Go by another connector from here on."""
        self.connector = connector
        alternatives = getattr(connector, "alternatives", None)
        if alternatives is not None:
            self.cookie_jar.forget_with(alternatives)  # RFC 7838 9.4
        # The type says what it is: wrappers pass themselves off as what they wrap.
        asks = connector is not None and not issubclass(type(connector), BaseConnector)
        if asks or self.asks_connector:
            self.asks_connector = asks
            self.__dict__.pop("is_plain", None)
            if asks or self.is_unusual():
                self.is_plain = False


_SHARED = tuple(
    name
    for name in SessionDefaults.__slots__
    if name not in {"__dict__", "cookie_jar", "trace_configs"}
)


# What a session was told, for who offers private names of aiohttp's; programs do not see it.
defaults_of: Callable[[Any], SessionDefaults] = attrgetter("_defaults")
