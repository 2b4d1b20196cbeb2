"""Opening a WebSocket: the handshake goes the way of every request, and its answer is checked to
the letter.

Middlewares, cookies, tracing, redirects and proxies are the pipeline's; what a server may answer is
decided by the pure functions of `protocol.websocket.handshake`.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypedDict

import attrs
from multidict import CIMultiDict

from wherry.argument_checks import check_seconds, whole_number
from wherry.auth.basic import BasicAuth
from wherry.client.options import _RequestOptions
from wherry.client.response import ClientResponse, brought_by_connection, hand_over
from wherry.client.websocket.channel import WebSocketChannel
from wherry.client.websocket.websocket import (
    DEFAULT_WS_CLIENT_TIMEOUT,
    ClientWebSocketResponse,
    ClientWSTimeout,
)
from wherry.errors import ClientConnectionError, WSServerHandshakeError
from wherry.protocol.websocket.frames import FrameReader, FrameWriter
from wherry.protocol.websocket.handshake import (
    DeflateTerms,
    WSHandshakeError,
    agreed_deflate,
    agreed_protocol,
    check_upgrade,
    deflate_offer,
    make_key,
)
from wherry.protocol.websocket.messages import WSCloseCode
from wherry.types import LooseHeaders, Query, StrOrURL

if TYPE_CHECKING:
    from ssl import SSLContext

    from wherry.client.interfaces import RequestingSession
    from wherry.client.middleware import Auth
    from wherry.client.session_defaults import SessionDefaults
    from wherry.connect.proxy.proxy_argument import Proxy
    from wherry.connect.tls.contexts import SSLOption

_UNSET: Any = object()
# How long the session waits for a peer's Close frame when it is closed over open WebSockets, in
# seconds.
SHUTDOWN_SECONDS = 2.0


async def connect_websocket(
    session: RequestingSession,
    defaults: SessionDefaults,
    channels: set[WebSocketChannel],
    cls: type[ClientWebSocketResponse],
    url: StrOrURL,
    *,
    method: str = "GET",
    protocols: Iterable[str] = (),
    timeout: ClientWSTimeout | float = _UNSET,
    receive_timeout: float | None = None,
    autoclose: bool = True,
    autoping: bool = True,
    heartbeat: float | None = None,
    auth: Auth | None = None,
    origin: str | None = None,
    params: Query = None,
    headers: LooseHeaders | None = None,
    proxy: Proxy = None,
    proxy_auth: BasicAuth | None = None,
    ssl: SSLOption = True,
    verify_ssl: bool | None = None,
    fingerprint: bytes | None = None,
    ssl_context: SSLContext | None = None,
    server_hostname: str | None = None,
    proxy_headers: LooseHeaders | None = None,
    proxy_ssl: SSLOption | None = None,
    compress: int = 0,
    max_msg_size: int = 4 * 1024 * 1024,
    decode_text: bool = True,
) -> ClientWebSocketResponse:
    """Open a WebSocket; see `ClientSession.ws_connect`."""
    if session.closed:
        raise RuntimeError("Session is closed")
    limits = _timeouts(timeout, receive_timeout)
    check_seconds("heartbeat", heartbeat)
    max_msg_size = whole_number("max_msg_size", max_msg_size)
    offered = tuple(protocols)
    if max_msg_size < 0:
        raise ValueError("max_msg_size is a number of bytes, or 0 for no limit")
    key = make_key()
    options: _RequestOptions = {
        "headers": _handshake_fields(headers, key, offered, origin, compress),
        "upgrade": "websocket",
    }
    given: _RequestOptions = {
        "params": params,
        "auth": auth,
        "proxy": proxy,
        "proxy_auth": proxy_auth,
        "proxy_headers": proxy_headers,
        "proxy_ssl": proxy_ssl,
        "verify_ssl": verify_ssl,
        "fingerprint": fingerprint,
        "ssl_context": ssl_context,
        "server_hostname": server_hostname,
    }
    options.update({name: value for name, value in given.items() if value is not None})  # type: ignore[typeddict-item]
    if ssl is not True:
        options["ssl"] = ssl
    # By the methods that programs override: what they do with requests they do with this one.
    response = await session.request(method, url, **options)
    try:
        protocol, terms = _agreed(response, key, compress)
        reader = FrameReader(
            max_msg_size, None if terms is None else terms.inflater(), decode_text=decode_text
        )
        channel = _open(session, defaults, channels, response, reader, terms, autoping, heartbeat)
    except BaseException:
        response.close()
        raise
    return cls(
        channel,
        channel.writer,
        protocol,
        response,
        limits,
        autoclose,
        autoping,
        defaults.loop,
        heartbeat=heartbeat,
        compress=0 if terms is None else terms.client_bits,
        client_notakeover=terms is not None and not terms.client_takeover,
    )


def _timeouts(timeout: Any, receive_timeout: float | None) -> ClientWSTimeout:
    if timeout is _UNSET:
        limits = DEFAULT_WS_CLIENT_TIMEOUT
    elif isinstance(timeout, ClientWSTimeout):
        limits = timeout
    elif hasattr(timeout, "ws_close"):
        limits = ClientWSTimeout(ws_receive=timeout.ws_receive, ws_close=timeout.ws_close)
    else:
        warnings.warn(
            "parameter 'timeout' of type 'float' is deprecated, "
            "please use 'timeout=ClientWSTimeout(ws_close=...)'",
            DeprecationWarning,
            stacklevel=3,
        )
        limits = ClientWSTimeout(ws_close=timeout)
    if receive_timeout is not None:
        warnings.warn(
            "float parameter 'receive_timeout' is deprecated, "
            "please use parameter 'timeout=ClientWSTimeout(ws_receive=...)'",
            DeprecationWarning,
            stacklevel=3,
        )
        limits = attrs.evolve(limits, ws_receive=receive_timeout)
    return limits


def _handshake_fields(
    headers: LooseHeaders | None,
    key: str,
    protocols: tuple[str, ...],
    origin: str | None,
    compress: int,
) -> CIMultiDict[str]:
    """The request's own fields: the program's, and those of RFC 6455 4.1."""
    fields: CIMultiDict[str] = CIMultiDict(headers or ())
    fields["Connection"] = "Upgrade"
    fields["Upgrade"] = "websocket"
    fields.setdefault("Sec-WebSocket-Version", "13")
    fields["Sec-WebSocket-Key"] = key
    if protocols:
        fields["Sec-WebSocket-Protocol"] = ",".join(protocols)
    if origin is not None:
        fields["Origin"] = origin
    if compress:
        fields["Sec-WebSocket-Extensions"] = deflate_offer(compress)
    return fields


def _agreed(
    response: ClientResponse, key: str, compress: int
) -> tuple[str | None, DeflateTerms | None]:
    """The subprotocol and the compression that the server agreed to.

    Raises:
        WSServerHandshakeError: It did not open the WebSocket, or chose what was not offered.
    """
    brought = brought_by_connection(response)
    try:
        if brought is None:
            raise WSHandshakeError("Invalid response status")  # a middleware's own answer
        head, _ = brought
        if head.version.major < 2:
            check_upgrade(head, key)
        elif not 200 <= head.status < 300:  # RFC 8441 5
            raise WSHandshakeError("Invalid response status")
        return agreed_protocol(head, _offered_protocols(response)), agreed_deflate(head, compress)
    except WSHandshakeError as exc:
        raise WSServerHandshakeError(
            response.request_info,
            response.history,
            message=exc.args[0],
            status=response.status,
            headers=response.headers,
        ) from exc


def _offered_protocols(response: ClientResponse) -> list[str]:
    """What the request that was answered offered: programs name subprotocols among its headers,
    too.
    """
    fields = response.request_info.headers.getall("Sec-WebSocket-Protocol", ())
    return [name.strip() for field in fields for name in field.split(",")]


def _open(
    session: RequestingSession,
    defaults: SessionDefaults,
    channels: set[WebSocketChannel],
    response: ClientResponse,
    reader: FrameReader,
    terms: DeflateTerms | None,
    autoping: bool,
    heartbeat: float | None,
) -> WebSocketChannel:
    """Put a channel on the exchange's tunnel."""
    if session.closed:
        raise ClientConnectionError("the session was closed while the WebSocket was opened")
    channel = WebSocketChannel(
        defaults.loop,
        reader,
        FrameWriter(None if terms is None else terms.deflater()),
        autoping=autoping,
        heartbeat=heartbeat,
        on_end=channels.discard,
    )
    tunnel = hand_over(response, channel)
    channels.add(channel)
    channel.attach(tunnel)
    return channel


async def close_websockets(channels: set[WebSocketChannel]) -> None:
    """Close what a session leaves open, all at once and in bounded time."""
    open_ones = list(channels)
    for channel in open_ones:
        channel.interrupt()
    await asyncio.gather(
        *(channel.finish(WSCloseCode.GOING_AWAY, b"", SHUTDOWN_SECONDS) for channel in open_ones),
        return_exceptions=True,
    )


class _WSConnectOptions(TypedDict, total=False):  # noqa: PYI049  (the session's signature)
    """The keywords of `ClientSession.ws_connect`, for type checkers."""

    method: str
    """The method of the handshake, GET."""
    protocols: Iterable[str]
    """The subprotocols to offer, the best first."""
    timeout: ClientWSTimeout | float
    """A `ClientWSTimeout`: seconds for one `receive`, and for the answer to a Close frame."""
    receive_timeout: float | None
    """Deprecated: `timeout=ClientWSTimeout(ws_receive=...)`."""
    autoclose: bool
    """Whether the peer's Close frame is answered when it is received."""
    autoping: bool
    """Whether pings are answered, and pongs not shown."""
    heartbeat: float | None
    """Seconds of silence after which a ping goes out; half of it later there must be an answer."""
    auth: Auth | None
    """A `BasicAuth`, or a function (or middleware) that writes the handshake's credentials."""
    origin: str | None
    """The Origin field."""
    params: Query
    """Added to the query: a str, a mapping, or pairs."""
    headers: LooseHeaders | None
    """Fields of the handshake."""
    proxy: Proxy
    """A proxy's URL, (URL, BasicAuth), a `ProxyHop`, or a chain of these; "" for none.  Or patterns
    of URLs with these, or a function of the URL."""
    proxy_auth: BasicAuth | None
    """Basic authentication for a single proxy."""
    ssl: SSLOption
    """True checks the certificate, False does not; or an SSLContext, or a Fingerprint."""
    verify_ssl: bool | None
    """Deprecated: False for `ssl=False`."""
    fingerprint: bytes | None
    """Deprecated: `ssl=Fingerprint(fingerprint)`."""
    ssl_context: SSLContext | None
    """Deprecated: `ssl=context`."""
    server_hostname: str | None
    """The name to check the certificate against, instead of the URL's."""
    proxy_headers: LooseHeaders | None
    """More fields for a single HTTP proxy."""
    proxy_ssl: SSLOption | None
    """TLS with an https:// proxy, as `ssl`; None for what holds for the origin."""
    compress: int
    """Offers permessage-deflate with a window of 9 to 15 bits; 0 for none."""
    max_msg_size: int
    """The largest message, in bytes after inflation, 4 MiB by default; 0 for no limit."""
    decode_text: bool
    """Whether text is given as str; else as the bytes that came, unchecked."""
