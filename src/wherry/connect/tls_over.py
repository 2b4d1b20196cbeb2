"""TLS over a transport that is there already, where an event loop's own `start_tls` will not do.

It is asyncio's TLS, run over any transport: one of a loop that takes only its own, or one that is TLS itself on a
Python whose TLS inside TLS breaks when it fails.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from asyncio import sslproto
from typing import Any, cast

# Up to 3.12.1 a failure inside was passed on to the transport outside by a call that it does not understand: a
# TypeError came out instead of what had happened.
BREAKS_INSIDE_TLS = len(inspect.signature(cast("Any", sslproto.SSLProtocol)._abort).parameters) == 1
TlsTransport: type = cast("Any", sslproto)._SSLProtocolTransport


class NestedTls(sslproto.SSLProtocol):
    """asyncio's TLS, which ends the transport under it by nothing but `abort`, as every transport has it."""

    _loop: asyncio.AbstractEventLoop
    _transport: asyncio.Transport | None

    def _fatal_error(self, exc: BaseException, message: str = "TLS failed") -> None:
        if self._transport is not None:
            self._transport.abort()
        # What the network or the peer's TLS did is told to whoever waits, or reads; the rest is somebody's mistake.
        if not isinstance(exc, (OSError, asyncio.CancelledError)):
            self._loop.call_exception_handler({"message": message, "exception": exc, "protocol": self})


def needs_own_tls(transport: asyncio.BaseTransport) -> bool:
    """Whether `loop.start_tls` over this transport would break."""
    return BREAKS_INSIDE_TLS and isinstance(transport, TlsTransport)


async def start_tls_over(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    server_hostname: str,
    **limits: float | None,
) -> asyncio.Transport:
    """As `loop.start_tls`, over any transport.

    Args:
        loop: The event loop.
        transport: What to run over; on failure it is the caller's to close.
        protocol: Who gets what comes out; its `connection_made` is not called.
        context: The TLS settings.
        server_hostname: The name to send and to check.
        **limits: `ssl_handshake_timeout` and `ssl_shutdown_timeout`, seconds or None.

    Raises:
        ssl.SSLError: TLS failed.
        OSError: The connection broke, or the handshake took too long.
    """
    done = loop.create_future()
    tls: Any = cast("Any", NestedTls)(
        loop, protocol, context, done, False, server_hostname, call_connection_made=False, **limits
    )
    transport.pause_reading()
    transport.set_protocol(tls)
    tls.connection_made(transport)
    transport.resume_reading()
    await done
    return cast("asyncio.Transport", tls._app_transport)
