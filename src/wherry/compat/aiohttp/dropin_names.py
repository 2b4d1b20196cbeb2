"""Which of wherry's objects stands for which name that aiohttp's submodules have and its package
has not.

Programs and libraries import these although no document promises them.  This is a table: `dropin`
puts it to use.
"""

from __future__ import annotations

from abc import ABC
from ssl import SSLContext
from types import NoneType
from typing import Any

from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.body.media_types import MimeType, parse_mimetype
from wherry.body.multipart.public_names import MultipartResponseWrapper
from wherry.body.payload.base import Order, PayloadRegistry, register_payload
from wherry.body.payload.memory import JsonBytesPayload
from wherry.body.stream.reader import AsyncStreamIterator, ChunkTupleAsyncStreamIterator
from wherry.client.headers.disposition_and_link import ContentDisposition
from wherry.client.middleware import build_client_middlewares
from wherry.client.oneshot import _SessionRequestContextManager
from wherry.client.options import UNSET, _RequestOptions
from wherry.client.request_context_manager import (
    _BaseRequestContextManager,
    _RequestContextManager,
    _WSRequestContextManager,
)
from wherry.client.sending.redirect_rules import split_credentials
from wherry.client.shown_connection import ResponseConnection
from wherry.client.timeouts import DEFAULT_TIMEOUT
from wherry.client.websocket.connect import _WSConnectOptions
from wherry.client.websocket.websocket import DEFAULT_WS_CLIENT_TIMEOUT
from wherry.connect.dns.resolver import AbstractResolver, ResolveResult
from wherry.connect.program_held_connection import BorrowedConnection
from wherry.connect.tls.contexts import Fingerprint
from wherry.protocol.websocket.handshake import WSHandshakeError
from wherry.types import ConnectionKey
from wherry.version import SERVER_SOFTWARE


class Connection(ABC):  # noqa: B024  (for isinstance and annotations)
    """What a connector's `connect` and a response's `connection` give."""


Connection.register(BorrowedConnection)
Connection.register(ResponseConnection)


def strip_auth_from_url(url: URL) -> tuple[URL, BasicAuth | None]:
    """(the URL without its credentials, these)."""
    if url.raw_user is None and url.raw_password is None:
        return url, None
    auth, bare = split_credentials(url)
    return bare, auth


_CONTEXTS = (_BaseRequestContextManager, _RequestContextManager, _WSRequestContextManager)
SSL_ALLOWED_TYPES = (SSLContext, bool, Fingerprint, NoneType)
_PAYLOADS = (JsonBytesPayload, Order, PayloadRegistry, register_payload)


def _named(*objects: Any) -> dict[str, Any]:
    return {each.__name__: each for each in objects}


#: By module, the names and what stands for them.
NAMES: dict[str, dict[str, Any]] = {
    "abc": _named(AbstractResolver, ResolveResult),
    "client": {
        **_named(*_CONTEXTS, _SessionRequestContextManager, _RequestOptions, _WSConnectOptions),
        **_named(build_client_middlewares, strip_auth_from_url, WSHandshakeError),
        "DEFAULT_TIMEOUT": DEFAULT_TIMEOUT,
        "DEFAULT_WS_CLIENT_TIMEOUT": DEFAULT_WS_CLIENT_TIMEOUT,
        "sentinel": UNSET,
        "URL": URL,
    },
    "client_middlewares": _named(build_client_middlewares),
    "client_reqrep": {
        **_named(ConnectionKey, ContentDisposition),
        "SSL_ALLOWED_TYPES": SSL_ALLOWED_TYPES,
    },
    "client_ws": {"DEFAULT_WS_CLIENT_TIMEOUT": DEFAULT_WS_CLIENT_TIMEOUT},
    "connector": _named(AbstractResolver, Connection, ResolveResult),
    "helpers": {**_named(MimeType, parse_mimetype, strip_auth_from_url), "sentinel": UNSET},
    "http": {**_named(WSHandshakeError), "SERVER_SOFTWARE": SERVER_SOFTWARE},
    "multipart": _named(MultipartResponseWrapper, parse_mimetype),
    "payload": _named(*_PAYLOADS, parse_mimetype),
    "resolver": _named(AbstractResolver, ResolveResult),
    "streams": _named(AsyncStreamIterator, ChunkTupleAsyncStreamIterator),
}
