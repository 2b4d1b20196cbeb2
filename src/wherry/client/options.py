"""`RequestOptions`: what a program says of one request besides its method and URL.

A request without options shares one object, so the usual call builds nothing here.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from yarl import URL

from wherry.argument_checks import whole_number
from wherry.auth.basic import BasicAuth
from wherry.body.payload.form import form_with_files
from wherry.client.middleware import ClientMiddlewareType
from wherry.client.timeouts import DEFAULT_TIMEOUT, ClientTimeout
from wherry.connect.proxy.hops import hops_of
from wherry.connect.tls.contexts import one_ssl
from wherry.errors import InvalidURL
from wherry.types import LooseCookies, LooseHeaders, Query, StrOrURL

if TYPE_CHECKING:
    from wherry.client.response import ClientResponse

RaiseForStatus = bool | Callable[["ClientResponse"], Awaitable[None]]


class _RequestOptions(  # noqa: PYI049  (the session's signature)
    TypedDict, total=False
):
    """The keywords of `ClientSession.request` and its verbs, for type checkers."""

    params: Query
    data: Any
    files: Any
    json: Any
    cookies: LooseCookies | None
    headers: LooseHeaders | None
    skip_auto_headers: Iterable[str] | None
    auth: BasicAuth | None
    allow_redirects: bool
    max_redirects: int | None
    compress: str | bool | None
    chunked: bool | None
    expect100: bool
    raise_for_status: RaiseForStatus | None
    read_until_eof: bool
    proxy: Any
    proxy_auth: BasicAuth | None
    proxy_headers: LooseHeaders | None
    proxy_ssl: Any
    timeout: ClientTimeout | float | None
    verify_ssl: bool | None
    fingerprint: bytes | None
    ssl_context: Any
    ssl: Any
    server_hostname: str | None
    trace_request_ctx: object
    read_bufsize: int | None
    auto_decompress: bool | None
    max_line_size: int | None
    max_field_size: int | None
    max_headers: int | None
    max_body_size: int | None
    middlewares: Sequence[ClientMiddlewareType] | None
    upload_tracker: Any
    upgrade: str | None


UNSET: Any = object()


def as_timeout(value: Any) -> ClientTimeout | None:
    """A `timeout=` of any form that the API takes; None for "the session's".

    Raises:
        ValueError: It is neither a ClientTimeout nor a number.
    """
    if value is UNSET:
        return None
    if isinstance(value, ClientTimeout):
        return value
    if value is None:
        return ClientTimeout()
    if isinstance(value, (int, float)):
        return ClientTimeout(total=float(value))
    if hasattr(value, "total"):
        return ClientTimeout(
            **{
                name: getattr(value, name)
                for name in ("total", "connect", "sock_read", "sock_connect", "ceil_threshold")
                if hasattr(value, name)
            }
        )
    # As aiohttp's sessions.
    raise ValueError(
        f"timeout parameter cannot be of {type(value)} type, "
        "please use 'timeout=ClientTimeout(...)'"
    )


class RequestOptions:
    """The keywords of one request, checked; see `ClientSession.request` for what each means."""

    __slots__ = (
        "allow_redirects",
        "auth",
        "auto_decompress",
        "chunked",
        "compress",
        "cookies",
        "data",
        "expect100",
        "headers",
        "hops",
        "json",
        "limits",
        "max_body_size",
        "max_redirects",
        "middlewares",
        "params",
        "proxy",
        "proxy_auth",
        "proxy_headers",
        "proxy_ssl",
        "raise_for_status",
        "read_bufsize",
        "server_hostname",
        "skip_auto_headers",
        "ssl",
        "timeout",
        "trace_request_ctx",
        "upgrade",
        "upload_tracker",
        "usual",
    )

    def __init__(
        self,
        *,
        params: Query = None,
        data: Any = None,
        files: Any = None,
        json: Any = None,
        cookies: LooseCookies | None = None,
        headers: LooseHeaders | None = None,
        skip_auto_headers: Iterable[str] | None = None,
        auth: BasicAuth | None = None,
        allow_redirects: bool = True,
        max_redirects: int | None = 10,
        compress: str | bool | None = None,
        chunked: bool | None = None,
        expect100: bool = False,
        raise_for_status: RaiseForStatus | None = None,
        read_until_eof: bool = True,
        proxy: Any = None,
        proxy_auth: BasicAuth | None = None,
        timeout: Any = UNSET,
        verify_ssl: bool | None = None,
        fingerprint: bytes | None = None,
        ssl_context: Any = None,
        ssl: Any = True,
        server_hostname: str | None = None,
        proxy_headers: LooseHeaders | None = None,
        proxy_ssl: Any = None,
        trace_request_ctx: object = None,
        read_bufsize: int | None = None,
        auto_decompress: bool | None = None,
        max_line_size: int | None = None,
        max_field_size: int | None = None,
        max_headers: int | None = None,
        max_body_size: int | None = None,
        middlewares: Sequence[ClientMiddlewareType] | None = None,
        upload_tracker: Any = None,
        upgrade: str | None = None,
    ) -> None:
        if data is not None and json is not None:
            raise ValueError("data and json parameters can not be used at the same time")
        if files is not None:
            if json is not None:
                raise ValueError("files and json parameters can not be used at the same time")
            data = form_with_files(data, files)
        if (
            ssl is not True
            or verify_ssl is not None
            or fingerprint is not None
            or ssl_context is not None
        ):
            if ssl is None:
                warnings.warn(
                    "ssl=None is deprecated, please use ssl=True", DeprecationWarning, stacklevel=5
                )
            ssl = one_ssl(ssl, verify_ssl, ssl_context, fingerprint, stacklevel=5)
        self.params = params
        self.data = data
        self.json = json
        self.cookies: LooseCookies | None = _kept(cookies)
        self.headers: LooseHeaders | None = _kept(headers)
        self.skip_auto_headers = None if skip_auto_headers is None else tuple(skip_auto_headers)
        self.auth = auth
        self.allow_redirects = allow_redirects
        self.max_redirects = max_redirects
        self.compress = compress
        self.chunked = chunked
        self.expect100 = expect100
        self.raise_for_status = raise_for_status
        self.proxy = proxy
        # Made here and once: an iterator gives its hops only once, and redirects need them again.
        self.hops = None if proxy is None else hops_of(proxy, proxy_auth, proxy_headers, proxy_ssl)
        self.proxy_auth = proxy_auth
        self.proxy_headers = proxy_headers
        self.proxy_ssl = proxy_ssl
        self.timeout = as_timeout(timeout)
        self.ssl = ssl
        self.server_hostname = server_hostname
        self.trace_request_ctx = trace_request_ctx
        self.read_bufsize = (
            read_bufsize if read_bufsize is None else whole_number("read_bufsize", read_bufsize)
        )
        self.auto_decompress = auto_decompress
        if max_body_size is not None:
            max_body_size = whole_number("max_body_size", max_body_size, negative=False)
        self.max_body_size = max_body_size
        self.middlewares = middlewares
        # (line, field, headers) as far as the request says them.
        self.limits = (max_line_size, max_field_size, max_headers)
        self.upload_tracker = upload_tracker
        self.upgrade = upgrade
        # Whether nothing but `USUAL_OPTIONS` was said; whoever read the keywords knows.
        self.usual = False


def _kept(pairs: Any) -> Any:
    """`pairs`, to be gone through more than once: redirects and further tries need what an iterator
    gives only once.
    """
    return list(pairs) if hasattr(pairs, "__next__") else pairs


NO_OPTIONS = RequestOptions()
NO_OPTIONS.usual = True

# What a program usually says of a request; what else there is (`cookies`, `ssl`, `proxy`,
# ...) is rare, and such a request is built by itself.
USUAL_OPTIONS = frozenset(
    {
        "allow_redirects",
        "auth",
        "auto_decompress",
        "data",
        "headers",
        "json",
        "max_body_size",
        "max_redirects",
        "middlewares",
        "params",
        "raise_for_status",
        "read_bufsize",
        "timeout",
        "trace_request_ctx",
    }
)


def check_base_url(base_url: StrOrURL | None) -> URL | None:
    if base_url is None:
        return None
    url = base_url if isinstance(base_url, URL) else URL(base_url)
    if not url.absolute:
        raise ValueError("Only absolute URLs are supported")
    if not url.path.endswith("/"):
        raise ValueError("base_url must have a trailing '/'")
    if not url.raw_host:
        raise InvalidURL(url, "base_url has no host")
    return url


def check_auth(auth: BasicAuth | None) -> BasicAuth | None:
    if auth is not None and not isinstance(auth, BasicAuth):
        raise TypeError("BasicAuth() tuple is required instead")
    return auth


def session_timeout(timeout: Any, read_timeout: Any, conn_timeout: float | None) -> ClientTimeout:
    if timeout is not UNSET:
        if read_timeout is not UNSET or conn_timeout is not None:
            raise ValueError(
                "read_timeout and conn_timeout parameters conflict with timeout parameter"
            )
        if isinstance(timeout, (int, float)):
            # A request takes a number; a session, whose limits hold for years, says which it means.
            raise ValueError(
                f"timeout parameter cannot be of {type(timeout)} type, "
                "please use 'timeout=ClientTimeout(...)'"
            )
        return as_timeout(timeout) or DEFAULT_TIMEOUT
    limits = DEFAULT_TIMEOUT
    if read_timeout is not UNSET:
        warnings.warn(
            "read_timeout is deprecated, use timeout instead", DeprecationWarning, stacklevel=3
        )
        limits = ClientTimeout(total=read_timeout, sock_connect=limits.sock_connect)
    if conn_timeout is not None:
        warnings.warn(
            "conn_timeout is deprecated, use timeout instead", DeprecationWarning, stacklevel=3
        )
        limits = ClientTimeout(
            total=limits.total, connect=conn_timeout, sock_connect=limits.sock_connect
        )
    return limits
