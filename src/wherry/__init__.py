"""wherry: an asyncio HTTP client."""

from wherry import errors
from wherry.auth.basic import BasicAuth, encode_basic_auth
from wherry.body.form import FormData
from wherry.client.digest import DigestAuthMiddleware
from wherry.client.middleware import ClientHandlerType, ClientMiddlewareType
from wherry.client.request import ClientRequest, RequestInfo
from wherry.client.response import ClientResponse
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
from wherry.connect.connector import BaseConnector, TCPConnector, UnixConnector
from wherry.connect.proxy_hops import proxy_hops
from wherry.connect.route import ProxyHop
from wherry.connect.tls import Fingerprint
from wherry.cookies.abc import AbstractCookieJar, DummyCookieJar
from wherry.cookies.jar import CookieJar
from wherry.errors import *
from wherry.version import __version__

__all__ = (
    "AbstractCookieJar",
    "BaseConnector",
    "BasicAuth",
    "ClientHandlerType",
    "ClientMiddlewareType",
    "ClientRequest",
    "ClientResponse",
    "ClientSession",
    "ClientTimeout",
    "CookieJar",
    "DigestAuthMiddleware",
    "DummyCookieJar",
    "Fingerprint",
    "FormData",
    "ProxyHop",
    "RequestInfo",
    "TCPConnector",
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
    "__version__",
    "encode_basic_auth",
    "proxy_hops",
    "request",
    *errors.__all__,
)
