"""wherry: an asyncio HTTP client."""

from wherry import errors
from wherry.auth.basic import BasicAuth, encode_basic_auth
from wherry.body.form import FormData
from wherry.client.digest import DigestAuthMiddleware
from wherry.client.middleware import ClientHandlerType, ClientMiddlewareType
from wherry.client.oauth2 import OAuth2ClientCredentials, OAuth2Error
from wherry.client.ratelimit import ConcurrencyLimit, RateLimitMiddleware
from wherry.client.request import ClientRequest, RequestInfo
from wherry.client.response import ClientResponse
from wherry.client.retry import RetryBudget, RetryEvent, RetryMiddleware
from wherry.client.session import ClientSession, request
from wherry.client.timeouts import ClientTimeout
from wherry.client.tracing import (
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
    TraceRequestChunkSentParams,
    TraceRequestEndParams,
    TraceRequestExceptionParams,
    TraceRequestHeadersSentParams,
    TraceRequestRedirectParams,
    TraceRequestRetryParams,
    TraceRequestStartParams,
    TraceResponseChunkReceivedParams,
)
from wherry.client.websocket import ClientWebSocketResponse, ClientWSTimeout
from wherry.connect.address import public_addresses_only
from wherry.connect.connector import (
    AddrInfoType,
    BaseConnector,
    NamedPipeConnector,
    SocketFactoryType,
    TCPConnector,
    UnixConnector,
)
from wherry.connect.proxy_hops import proxy_hops
from wherry.connect.route import ProxyHop
from wherry.connect.tls import Fingerprint
from wherry.cookies.abc import AbstractCookieJar, DummyCookieJar
from wherry.cookies.jar import CookieJar
from wherry.errors import *
from wherry.protocol.websocket_messages import WSCloseCode, WSMessage, WSMsgType
from wherry.resolver import AsyncResolver, DefaultResolver, DoHResolver, ThreadedResolver
from wherry.version import __version__

__all__ = (
    "AbstractCookieJar",
    "AddrInfoType",
    "AsyncResolver",
    "BaseConnector",
    "BasicAuth",
    "ClientHandlerType",
    "ClientMiddlewareType",
    "ClientRequest",
    "ClientResponse",
    "ClientSession",
    "ClientTimeout",
    "ClientWSTimeout",
    "ClientWebSocketResponse",
    "CookieJar",
    "DefaultResolver",
    "DigestAuthMiddleware",
    "DoHResolver",
    "DummyCookieJar",
    "Fingerprint",
    "FormData",
    "NamedPipeConnector",
    "ProxyHop",
    "RequestInfo",
    "SocketFactoryType",
    "TCPConnector",
    "ThreadedResolver",
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
    "TraceRequestChunkSentParams",
    "TraceRequestEndParams",
    "TraceRequestExceptionParams",
    "TraceRequestHeadersSentParams",
    "TraceRequestRedirectParams",
    "TraceRequestRetryParams",
    "TraceRequestStartParams",
    "TraceResponseChunkReceivedParams",
    "UnixConnector",
    "WSCloseCode",
    "WSMessage",
    "WSMsgType",
    "__version__",
    "encode_basic_auth",
    "proxy_hops",
    "public_addresses_only",
    "request",
    "OAuth2ClientCredentials",
    "OAuth2Error",
    "ConcurrencyLimit",
    "RateLimitMiddleware",
    "RetryBudget",
    "RetryEvent",
    "RetryMiddleware",
    *errors.__all__,
)
