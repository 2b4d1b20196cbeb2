"""A session's properties, as programs read them.

Most of it never changes; `headers` may, and the requests that follow have what it says then.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from multidict import CIMultiDict

from wherry.auth.basic import BasicAuth
from wherry.client.sending.request_builder import RequestBuilder
from wherry.client.timeouts import ClientTimeout
from wherry.client.tracing.signals import TraceConfig
from wherry.connect.connector import BaseConnector
from wherry.cookies.abc import AbstractCookieJar, ForeignJar
from wherry.types import HttpVersion, JSONEncoder

if TYPE_CHECKING:
    from wherry.client.response import ClientResponse


class SessionProperties(RequestBuilder):
    """The part of a session that tells of it; `ClientSession` sets what it tells."""

    _timeout: ClientTimeout
    _requote_redirect_url: bool
    _connector_owner: bool
    _raise_for_status: bool | Callable[[ClientResponse], Awaitable[None]]
    _auto_decompress: bool
    _trace_configs: list[TraceConfig]

    @property
    def connector(self) -> BaseConnector | None:
        """The connector, None once the session is closed."""
        return self._held_connector

    @property
    def cookie_jar(self) -> AbstractCookieJar:
        jar = self._cookie_jar
        return cast("AbstractCookieJar", jar.given) if isinstance(jar, ForeignJar) else jar

    @property
    def version(self) -> HttpVersion:
        return self._version

    @property
    def requote_redirect_url(self) -> bool:
        return self._requote_redirect_url

    @requote_redirect_url.setter
    def requote_redirect_url(self, value: bool) -> None:
        warnings.warn(
            "session.requote_redirect_url modification is deprecated #2778",
            DeprecationWarning,
            stacklevel=2,
        )
        self._requote_redirect_url = value

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop; deprecated, use `asyncio.get_running_loop`."""
        warnings.warn("client.loop property is deprecated", DeprecationWarning, stacklevel=2)
        return self._loop

    @property
    def timeout(self) -> ClientTimeout:
        return self._timeout

    @property
    def headers(self) -> CIMultiDict[str]:
        """Fields of every request; changes hold for the requests that follow."""
        return self._default_headers

    @property
    def skip_auto_headers(self) -> frozenset[str]:
        return self._skip_auto_headers

    @property
    def auth(self) -> BasicAuth | None:
        return self._default_auth

    @property
    def json_serialize(self) -> JSONEncoder:
        return self._json_serialize

    @property
    def connector_owner(self) -> bool:
        return self._connector_owner

    @property
    def raise_for_status(self) -> bool | Callable[[ClientResponse], Awaitable[None]]:
        return self._raise_for_status

    @property
    def auto_decompress(self) -> bool:
        return self._auto_decompress

    @property
    def trust_env(self) -> bool:
        return self._trust_env

    @property
    def trace_configs(self) -> list[TraceConfig]:
        return self._trace_configs
