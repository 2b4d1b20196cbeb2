"""`RequestOptions`: what a program says of one request besides its method and URL.

A request without options shares one object, so the usual call builds nothing here.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from yarl import URL

from wherry.argument_checks import whole_number
from wherry.auth.basic import BasicAuth
from wherry.body.payload.form import form_with_files
from wherry.client.headers.priority import with_priority
from wherry.client.middleware import Auth, ClientMiddlewareType, checked_middlewares
from wherry.client.timeouts import DEFAULT_TIMEOUT, ClientTimeout
from wherry.connect.proxy.url_patterns import ProxyChoice, way_of
from wherry.connect.route import ProxyHop
from wherry.connect.tls.contexts import one_ssl
from wherry.errors import InvalidURL
from wherry.redaction import shown_reason
from wherry.types import (
    JSONBytesEncoder,
    JSONDecoder,
    LooseCookies,
    LooseHeaders,
    Query,
    StrOrURL,
)

if TYPE_CHECKING:
    from ssl import SSLContext

    from wherry.body.payload.form import Files
    from wherry.body.payload.writer import UploadTracker
    from wherry.client.response import ClientResponse
    from wherry.connect.proxy.hops import Proxy
    from wherry.connect.route import ProxyHop
    from wherry.connect.tls.contexts import SSLOption

RaiseForStatus = bool | Callable[["ClientResponse"], Awaitable[None]]


class _EveryOption(TypedDict, total=False):
    """The keywords that every verb takes, for editors and type checkers."""

    params: Query
    """Added to the query: a str, a mapping, or pairs."""
    files: Files | None
    """Files of a multipart form: a mapping or pairs of a field's name and a file, its content, or
    (file name, content, type, fields)."""
    json: Any
    """The body as JSON; not together with `data`."""
    cookies: LooseCookies | None
    """Cookies of this request alone."""
    headers: LooseHeaders | None
    """Fields of this request; they replace the session's of the same name."""
    skip_auto_headers: Iterable[str] | None
    """Names of fields (User-Agent, Accept, ...) that are not made by themselves."""
    auth: Auth | None
    """A `BasicAuth`, or a function (or middleware) that writes the request's credentials; instead
    of the session's, and never for another origin."""
    max_redirects: int | None
    """With so many redirects the request fails, 10 by default; None lets any number through."""
    compress: str | bool | None
    """Compresses the body: True or "deflate", "gzip", "br", "zstd"."""
    chunked: bool | None
    """Sends the body in chunks although its length is known."""
    expect100: bool
    """Waits for 100 (Continue) before the body is sent."""
    raise_for_status: RaiseForStatus | None
    """True raises for every status from 400 up; a coroutine function gets the response."""
    read_until_eof: bool
    """Without a meaning; there because aiohttp has it."""
    proxy: Proxy
    """A proxy's URL, (URL, BasicAuth), a `ProxyHop`, or a chain of these; "" for none.  Or patterns
    of URLs with these, or a function of the URL."""
    proxy_auth: BasicAuth | None
    """Basic authentication for a single proxy."""
    proxy_headers: LooseHeaders | None
    """More fields for a single HTTP proxy."""
    proxy_ssl: SSLOption | None
    """TLS with an https:// proxy, as `ssl`; None for what holds for the origin."""
    timeout: ClientTimeout | float | None
    """A `ClientTimeout`, or seconds in all; None for no limit."""
    verify_ssl: bool | None
    """Deprecated: False for `ssl=False`."""
    fingerprint: bytes | None
    """Deprecated: `ssl=Fingerprint(fingerprint)`."""
    ssl_context: SSLContext | None
    """Deprecated: `ssl=context`."""
    ssl: SSLOption
    """True checks the certificate, False does not; or an SSLContext, or a Fingerprint."""
    server_hostname: str | None
    """The name to check the certificate against, instead of the URL's."""
    trace_request_ctx: object
    """Given to the session's `trace_configs` with each of their signals."""
    read_bufsize: int | None
    """Bytes of the body that are kept unread before the server is slowed down."""
    auto_decompress: bool | None
    """Whether content codings are undone."""
    max_line_size: int | None
    """Bytes that the status line of the response may have."""
    max_field_size: int | None
    """Bytes that a header field of the response may have."""
    max_headers: int | None
    """Header fields that the response may have."""
    max_body_size: int | None
    """Bytes of the decoded body after which reading fails."""
    middlewares: Sequence[ClientMiddlewareType] | None
    """Instead of the session's; () for none."""
    priority: int | str | None
    """How urgent the response is (RFC 9218): 0 (first) to 7, 3 is usual; or as "u=1, i"."""
    upload_tracker: UploadTracker | None
    """Follows the upload of the body."""
    upgrade: str | None
    """The protocol to switch to, as "tcp": what a 101 brings is on `response.connection`."""


class _WithData(_EveryOption, total=False):
    """The keywords of `ClientSession.get`, `head` and `options`, which say themselves whether they
    follow redirects.
    """

    data: Any
    """The body: bytes, a str, a file, an async iterable, a `FormData`, or a form's fields."""


class _WithRedirects(_EveryOption, total=False):
    """The keywords of `ClientSession.post`, `put` and `patch`, which say `data` themselves."""

    allow_redirects: bool
    """Whether redirects are followed."""


class _RequestOptions(_WithData, total=False):
    """The keywords of `ClientSession.request` and `delete`."""

    allow_redirects: bool
    """Whether redirects are followed."""


class _EventOptions(_RequestOptions, total=False):
    """The keywords of `ClientSession.events`."""

    method: str
    """The request's method, GET by default."""
    reconnect: float | None
    """Seconds before connecting again, 3 by default; None never connects again."""
    max_reconnects: int | None
    """How often in a row without any event between; None for no limit."""
    last_event_id: str
    """Where to begin: the ID of the last event that is known already."""
    max_event_size: int
    """Characters that one event may have; 1 MiB (2**20) by default."""


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
        f"please use 'timeout=ClientTimeout({_limits_meant(value)})'"
    )


def _limits_meant(value: Any) -> str:
    """What a `ClientTimeout` would have to say for seconds, or for a pair (connect, read)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"total={value!r:.20}"
    if isinstance(value, tuple) and len(value) == 2:
        return f"sock_connect={value[0]!r:.20}, sock_read={value[1]!r:.20}"
    return "..."


# No limits of a head's (line, field, headers) that the request says itself.
_NO_LIMITS = (None, None, None)


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

    params: Query
    data: Any
    json: Any
    cookies: LooseCookies | None
    headers: LooseHeaders | None
    skip_auto_headers: tuple[str, ...] | None
    auth: Auth | None
    allow_redirects: bool
    max_redirects: int | None
    compress: str | bool | None
    chunked: bool | None
    expect100: bool
    raise_for_status: RaiseForStatus | None
    proxy: Any
    proxy_auth: BasicAuth | None
    proxy_headers: LooseHeaders | None
    proxy_ssl: Any
    hops: tuple[ProxyHop, ...] | ProxyChoice | None
    timeout: ClientTimeout | None
    ssl: Any
    server_hostname: str | None
    trace_request_ctx: object
    read_bufsize: int | None
    auto_decompress: bool | None
    max_body_size: int | None
    middlewares: Sequence[ClientMiddlewareType] | None
    # (line, field, headers) as far as the request says them.
    limits: tuple[int | None, int | None, int | None]
    upload_tracker: Any
    upgrade: str | None
    # Whether nothing but `USUAL_OPTIONS` was said.
    usual: bool

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
        auth: Auth | None = None,
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
        priority: Any = None,
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
                    "ssl=None is deprecated, please use ssl=True", DeprecationWarning, stacklevel=6
                )
            ssl = one_ssl(ssl, verify_ssl, ssl_context, fingerprint, stacklevel=6)
        self.params = params
        self.data = data
        self.json = json
        self.cookies = _kept(cookies)
        self.headers = _kept(headers)
        if priority is not None:
            self.headers = with_priority(self.headers, priority)
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
        self.hops = None if proxy is None else way_of(proxy, proxy_auth, proxy_headers, proxy_ssl)
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
        self.middlewares = None if middlewares is None else checked_middlewares(middlewares)
        self.limits = (max_line_size, max_field_size, max_headers)
        self.upload_tracker = upload_tracker
        self.upgrade = upgrade
        self.usual = False

    @classmethod
    def of(cls, kwargs: Mapping[str, Any]) -> RequestOptions:
        """The options of these keywords; the usual ones by a shorter way to the same.

        Raises:
            ValueError: Two of them do not go together, or one has no such value.
            TypeError: One is unknown, or of another type.
        """
        if not kwargs.keys() <= USUAL_OPTIONS:
            return cls(**kwargs)
        options = object.__new__(cls)
        options.usual = options.allow_redirects = options.ssl = True
        options.expect100 = False
        options.max_redirects = 10
        options.limits = _NO_LIMITS
        options.params = options.data = options.json = options.cookies = options.headers = None
        options.skip_auto_headers = options.auth = options.compress = options.chunked = None
        options.raise_for_status = options.proxy = options.proxy_auth = None
        options.proxy_headers = options.proxy_ssl = options.hops = options.timeout = None
        options.server_hostname = options.trace_request_ctx = options.read_bufsize = None
        options.auto_decompress = options.max_body_size = options.middlewares = None
        options.upload_tracker = options.upgrade = None
        for name, value in kwargs.items():
            setattr(options, name, value)
        if options.data is not None and options.json is not None:
            raise ValueError("data and json parameters can not be used at the same time")
        headers = options.headers
        if headers is not None and type(headers) is not dict:
            options.headers = _kept(headers)
        if "timeout" in kwargs:
            options.timeout = as_timeout(kwargs["timeout"])
        if options.read_bufsize is not None:
            options.read_bufsize = whole_number("read_bufsize", options.read_bufsize)
        if options.max_body_size is not None:
            size = whole_number("max_body_size", options.max_body_size, negative=False)
            options.max_body_size = size
        if options.middlewares is not None:
            checked_middlewares(options.middlewares)
        return options


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
    try:
        url = base_url if isinstance(base_url, URL) else URL(base_url)
    except (ValueError, IndexError) as exc:
        raise InvalidURL(base_url, shown_reason(exc)) from None
    if not url.absolute:
        raise ValueError("Only absolute URLs are supported")
    if not url.path.endswith("/"):
        raise ValueError("base_url must have a trailing '/'")
    if not url.raw_host:
        raise InvalidURL(url, "base_url has no host")
    return url


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
                f"please use 'timeout=ClientTimeout({_limits_meant(timeout)})'"
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


def json_library(name: str) -> tuple[JSONBytesEncoder, JSONDecoder]:
    """What writes and reads JSON in a session that names a library for it.

    Raises:
        ModuleNotFoundError: It is not installed.
        ValueError: It is not known here.
    """
    if name != "orjson":
        raise ValueError(f'json must be "json" or "orjson", not {name!r}')
    try:
        import orjson
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            "json=\"orjson\" needs the package orjson: pip install 'wherry[speedups]'",
            name="orjson",
        ) from exc
    return orjson.dumps, orjson.loads
