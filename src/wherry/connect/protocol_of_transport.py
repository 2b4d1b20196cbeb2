"""Which protocol a transport speaks: what is known beforehand, and what ALPN chose."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

from wherry.connect.dial_settings import DialSettings, connection_key
from wherry.connect.route import Route
from wherry.connect.tls import contexts as tls
from wherry.errors import ClientConnectorError, ClientConnectorSSLError
from wherry.protocol.connection import Connection
from wherry.protocol.http1.connection import Http1Connection
from wherry.types import ConnectionKey


def protocol_factory(route: Route, settings: DialSettings) -> Callable[[], Any]:
    """The connection of a route without TLS, where what it speaks is known beforehand (RFC 9113
    3.3).
    """
    loop, limits = settings.loop, settings.limits
    if "h2c" in route.protocols:
        return lambda: _http2(settings)
    return lambda: Http1Connection(loop, limits)


def connection_for(
    transport: asyncio.Transport, route: Route, settings: DialSettings
) -> Connection:
    """The connection that speaks what was agreed on (RFC 7301), or what was known beforehand."""
    if not route.is_tls:
        return cast("Connection", protocol_factory(route, settings)())
    chosen = tls.selected_protocol(transport)
    if chosen == "h2" and "h2" in route.protocols:
        return _http2(settings)
    if chosen is None or (chosen == "http/1.1" and chosen in route.protocols):
        return Http1Connection(settings.loop, settings.limits)
    raise wrong_protocol(connection_key(route), chosen, route)


def _http2(settings: DialSettings) -> Connection:
    # Most programs never speak it, and its modules are half of what importing the others takes: so
    # not before.
    from wherry.protocol.http2.connection import Http2Connection

    if settings.http2 is None:
        return Http2Connection(settings.loop, settings.limits)
    return Http2Connection(settings.loop, settings.limits, settings.http2)


def wrong_protocol(key: ConnectionKey, chosen: str, route: Route) -> ClientConnectorError:
    wanted = ", ".join(route.protocols)
    return ClientConnectorSSLError(
        key, ssl.SSLError(0, f"the server chose {chosen!r} by ALPN, wanted: {wanted}")
    )
