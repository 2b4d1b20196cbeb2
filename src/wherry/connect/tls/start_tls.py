"""TLS over a stream that is there already: through proxies, over Unix sockets, inside TLS.

A handshake that fails, ends late or shows the wrong certificate closes the stream and raises the
error that the caller of a request knows.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Hashable
from typing import Any

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.dial_settings import DialSettings, timed_out, with_place
from wherry.connect.handshake_stream import HandshakeStream
from wherry.connect.tls import contexts as tls
from wherry.errors import ClientConnectorError, ServerFingerprintMismatch
from wherry.types import ConnectionKey


async def start_tls(
    stream: HandshakeStream,
    settings: DialSettings,
    connect_request: ConnectRequest,
    *,
    ssl_option: Any,
    server_hostname: str,
    protocols: tuple[str, ...],
    key: ConnectionKey,
    trust: Hashable = None,
    chosen: bool = False,
) -> None:
    """TLS over a stream, checked as `ssl_option` says; on failure the stream is closed.

    Args:
        stream: The bytes to run over, maybe TLS themselves.
        settings: The connector's.
        connect_request: Whose connection this will be.
        ssl_option: True, False, an SSLContext or a Fingerprint.
        server_hostname: The name to send and to check.
        protocols: ALPN identifiers in order of wish.
        key: What errors show.
        trust: Under what else a session is kept than the context and its policy; None to keep none.
        chosen: Whether `protocols` are offered by a context of the program's too, whatever they
            are.

    Raises:
        ClientSSLError: TLS failed.
        ConnectionTimeoutError: `connect_request.sock_connect` passed.
        ServerFingerprintMismatch: The certificate is not the one that was asked for.
    """
    handshake = await settings.sessions.handshake(ssl_option, protocols, trust, chosen=chosen)
    try:
        async with connect_request.time_limit():
            await stream.start_tls(
                handshake,
                server_hostname,
                timeout=_no_shorter(connect_request.sock_connect),
                shutdown_timeout=settings.ssl_shutdown_timeout,
            )
    except TimeoutError as exc:
        raise timed_out(key, connect_request, "the TLS handshake did not end") from exc
    except (ssl.SSLError, ssl.CertificateError) as exc:
        handshake.failed()
        raise tls.client_error(key, exc) from exc
    except OSError as exc:
        handshake.failed()
        raise ClientConnectorError(key, with_place(exc, "in the TLS handshake")) from exc
    if isinstance(ssl_option, tls.Fingerprint):
        try:
            check_fingerprint(ssl_option, stream.transport, key)
        except ServerFingerprintMismatch:
            handshake.failed()
            stream.abort()
            raise
    handshake.succeeded(stream.ssl_object, identified=stream.identified)


def check_fingerprint(
    fingerprint: tls.Fingerprint, transport: asyncio.BaseTransport, key: ConnectionKey
) -> None:
    try:
        fingerprint.check(transport)
    except ServerFingerprintMismatch as exc:
        raise ServerFingerprintMismatch(exc.expected, exc.got, key.host, key.port or 0) from None


def _no_shorter(seconds: float | None) -> float | None:
    """A loop's limit for a handshake: ours comes first, so it only has to be no shorter, and above
    zero.
    """
    return None if seconds is None else seconds + 1.0
