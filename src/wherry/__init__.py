"""wherry: an asyncio HTTP client."""

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

# What an import makes stays for good.  To look through it for garbage again and again meanwhile
# costs a fifth of the import.
_collects = gc.isenabled()
gc.disable()
try:
    from wherry import abc as abc
    from wherry import connector as connector
    from wherry import errors, hdrs
    from wherry.auth.basic import BasicAuth, encode_basic_auth
    from wherry.body.compression_backends import set_zlib_backend
    from wherry.body.disposition import (
        BadContentDispositionHeader,
        BadContentDispositionParam,
        content_disposition_filename,
        parse_content_disposition,
    )
    from wherry.body.payload.body_writer import UploadTracker
    from wherry.body.payload.form import FormData
    from wherry.body.payload.memory import (
        PAYLOAD_REGISTRY,
        AsyncIterablePayload,
        BufferedReaderPayload,
        BytesIOPayload,
        BytesPayload,
        IOBasePayload,
        JsonPayload,
        Payload,
        StringIOPayload,
        StringPayload,
        TextIOPayload,
        get_payload,
        payload_type,
        streamer,
    )
    from wherry.body.stream.reader import EMPTY_PAYLOAD, EofStream, StreamReader
    from wherry.client.middleware import ClientHandlerType, ClientMiddlewareType
    from wherry.client.oneshot import request
    from wherry.client.request import ClientRequest
    from wherry.client.request_info import RequestInfo
    from wherry.client.response import ClientResponse
    from wherry.client.session import ClientSession
    from wherry.client.timeouts import ClientTimeout
    from wherry.client.tracing.signals import (
        TraceCacheHitParams,
        TraceCacheMissParams,
        TraceConfig,
        TraceConnectionCreateEndParams,
        TraceConnectionCreateStartParams,
        TraceConnectionQueuedEndParams,
        TraceConnectionQueuedStartParams,
        TraceConnectionReuseconnParams,
        TraceDnsCacheHitParams,
        TraceDnsCacheMissParams,
        TraceDnsResolveHostEndParams,
        TraceDnsResolveHostStartParams,
        TraceQuicHandshakeEndParams,
        TraceQuicHandshakeStartParams,
        TraceRequestChunkSentParams,
        TraceRequestEndParams,
        TraceRequestExceptionParams,
        TraceRequestHeadersSentParams,
        TraceRequestRedirectParams,
        TraceRequestRetryParams,
        TraceRequestStartParams,
        TraceResponseChunkReceivedParams,
        TraceStreamStartParams,
    )
    from wherry.compat.aiohttp.hooks import install as _install_overrides
    from wherry.connect.connector import (
        AddrInfoType,
        BaseConnector,
        NamedPipeConnector,
        SocketFactoryType,
        TCPConnector,
        UnixConnector,
    )
    from wherry.connect.dns.address_guard import public_addresses_only
    from wherry.connect.proxy.proxy_argument import proxy_hops
    from wherry.connect.route import ProxyHop
    from wherry.connect.tls.contexts import Fingerprint
    from wherry.cookies.abc import AbstractCookieJar, DummyCookieJar
    from wherry.cookies.jar import CookieJar
    from wherry.errors import *
    from wherry.protocol.http2.flow_control import FlowOptions as Http2Options
    from wherry.types import ETag, HttpVersion, HttpVersion10, HttpVersion11
    from wherry.version import __version__
finally:
    if _collects:
        gc.enable()

if TYPE_CHECKING:
    from wherry.body.multipart.public_names import BodyPartReader, MultipartReader, MultipartWriter
    from wherry.body.payload.progress import ProgressPayload
    from wherry.body.stream.queues import DataQueue, FlowControlDataQueue
    from wherry.client.download import DownloadResult
    from wherry.client.events import EventSource, EventStream, ServerSentEvent
    from wherry.client.websocket.websocket import ClientWebSocketResponse, ClientWSTimeout
    from wherry.middlewares.cache import CacheMiddleware
    from wherry.middlewares.cache_redis import RedisCacheStorage
    from wherry.middlewares.cache_storage import MemoryCacheStorage, SQLiteCacheStorage
    from wherry.middlewares.digest import DigestAuthMiddleware
    from wherry.middlewares.oauth2 import OAuth2ClientCredentials, OAuth2Error
    from wherry.middlewares.proxy_digest import ProxyDigestAuthMiddleware
    from wherry.middlewares.ratelimit import ConcurrencyLimit, RateLimitMiddleware
    from wherry.middlewares.retry import RetryBudget, RetryEvent, RetryMiddleware
    from wherry.middlewares.signatures import MessageSignatures, hmac_sha256
    from wherry.middlewares.tokens_and_keys import ApiKey, BearerToken, IdempotencyKeys
    from wherry.protocol.websocket.messages import WSCloseCode, WSMessage, WSMsgType
    from wherry.resolver import AsyncResolver, DefaultResolver, DoHResolver, ThreadedResolver

__all__ = (
    "ApiKey",
    "MessageSignatures",
    "hmac_sha256",
    "BearerToken",
    "IdempotencyKeys",
    "hdrs",
    "AbstractCookieJar",
    "AddrInfoType",
    "AsyncIterablePayload",
    "AsyncResolver",
    "BadContentDispositionHeader",
    "BadContentDispositionParam",
    "BaseConnector",
    "BasicAuth",
    "BodyPartReader",
    "BufferedReaderPayload",
    "BytesIOPayload",
    "BytesPayload",
    "ClientHandlerType",
    "ClientMiddlewareType",
    "ClientRequest",
    "ClientResponse",
    "ClientSession",
    "ClientTimeout",
    "ClientWSTimeout",
    "ClientWebSocketResponse",
    "ConcurrencyLimit",
    "CookieJar",
    "DataQueue",
    "DefaultResolver",
    "DigestAuthMiddleware",
    "DoHResolver",
    "DownloadResult",
    "DummyCookieJar",
    "EMPTY_PAYLOAD",
    "ETag",
    "EofStream",
    "EventSource",
    "EventStream",
    "Fingerprint",
    "FlowControlDataQueue",
    "FormData",
    "Http2Options",
    "HttpVersion",
    "HttpVersion10",
    "HttpVersion11",
    "IOBasePayload",
    "JsonPayload",
    "MultipartReader",
    "MultipartWriter",
    "NamedPipeConnector",
    "OAuth2ClientCredentials",
    "OAuth2Error",
    "PAYLOAD_REGISTRY",
    "Payload",
    "ProgressPayload",
    "ProxyDigestAuthMiddleware",
    "ProxyHop",
    "RateLimitMiddleware",
    "RequestInfo",
    "RetryBudget",
    "RetryEvent",
    "RetryMiddleware",
    "ServerSentEvent",
    "SocketFactoryType",
    "StreamReader",
    "StringIOPayload",
    "StringPayload",
    "TCPConnector",
    "TextIOPayload",
    "ThreadedResolver",
    "TraceCacheHitParams",
    "TraceCacheMissParams",
    "TraceConfig",
    "TraceConnectionCreateEndParams",
    "TraceConnectionCreateStartParams",
    "TraceConnectionQueuedEndParams",
    "TraceConnectionQueuedStartParams",
    "TraceConnectionReuseconnParams",
    "TraceDnsCacheHitParams",
    "TraceDnsCacheMissParams",
    "TraceDnsResolveHostEndParams",
    "TraceDnsResolveHostStartParams",
    "TraceQuicHandshakeEndParams",
    "TraceQuicHandshakeStartParams",
    "TraceRequestChunkSentParams",
    "TraceRequestEndParams",
    "TraceRequestExceptionParams",
    "TraceRequestHeadersSentParams",
    "TraceRequestRedirectParams",
    "TraceRequestRetryParams",
    "TraceRequestStartParams",
    "TraceResponseChunkReceivedParams",
    "TraceStreamStartParams",
    "UnixConnector",
    "UploadTracker",
    "WSCloseCode",
    "WSMessage",
    "WSMsgType",
    "__version__",
    "content_disposition_filename",
    "encode_basic_auth",
    "get_payload",
    "parse_content_disposition",
    "payload_type",
    "proxy_hops",
    "public_addresses_only",
    "request",
    "set_zlib_backend",
    "streamer",
    "CacheMiddleware",
    "MemoryCacheStorage",
    "RedisCacheStorage",
    "SQLiteCacheStorage",
    *errors.__all__,
)

# What few programs use is loaded when it is asked for.
_LATER = {
    "ApiKey": "wherry.middlewares.tokens_and_keys",
    "AsyncResolver": "wherry.resolver",
    "BearerToken": "wherry.middlewares.tokens_and_keys",
    "BodyPartReader": "wherry.body.multipart.public_names",
    "CacheMiddleware": "wherry.middlewares.cache",
    "ClientWSTimeout": "wherry.client.websocket.websocket",
    "ClientWebSocketResponse": "wherry.client.websocket.websocket",
    "ConcurrencyLimit": "wherry.middlewares.ratelimit",
    "DataQueue": "wherry.body.stream.queues",
    "DefaultResolver": "wherry.resolver",
    "DigestAuthMiddleware": "wherry.middlewares.digest",
    "DoHResolver": "wherry.resolver",
    "DownloadResult": "wherry.client.download",
    "EventSource": "wherry.client.events",
    "EventStream": "wherry.client.events",
    "FlowControlDataQueue": "wherry.body.stream.queues",
    "IdempotencyKeys": "wherry.middlewares.tokens_and_keys",
    "MemoryCacheStorage": "wherry.middlewares.cache_storage",
    "MessageSignatures": "wherry.middlewares.signatures",
    "MultipartReader": "wherry.body.multipart.public_names",
    "MultipartWriter": "wherry.body.multipart.public_names",
    "OAuth2ClientCredentials": "wherry.middlewares.oauth2",
    "OAuth2Error": "wherry.middlewares.oauth2",
    "ProgressPayload": "wherry.body.payload.progress",
    "ProxyDigestAuthMiddleware": "wherry.middlewares.proxy_digest",
    "RateLimitMiddleware": "wherry.middlewares.ratelimit",
    "RedisCacheStorage": "wherry.middlewares.cache_redis",
    "RetryBudget": "wherry.middlewares.retry",
    "RetryEvent": "wherry.middlewares.retry",
    "RetryMiddleware": "wherry.middlewares.retry",
    "SQLiteCacheStorage": "wherry.middlewares.cache_storage",
    "ServerSentEvent": "wherry.client.events",
    "ThreadedResolver": "wherry.resolver",
    "WSCloseCode": "wherry.protocol.websocket.messages",
    "WSMessage": "wherry.protocol.websocket.messages",
    "WSMsgType": "wherry.protocol.websocket.messages",
    "hmac_sha256": "wherry.middlewares.signatures",
}


_MODULES = frozenset({"middlewares", "resolver"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"wherry.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'wherry' has no attribute {name!r}{_hint(name)}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


def _hint(name: str) -> str:
    """What stands here for a name of another client's."""
    if name.startswith("_"):
        return ""
    hint: str = import_module("wherry.client.call_mistakes").name_hint(name)
    return hint


# For programs that reach inside aiohttp: the core itself knows nothing of them.
_install_overrides()
