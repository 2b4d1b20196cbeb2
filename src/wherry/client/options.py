"""`RequestOptions`: what a program says of one request besides its method and URL.

A request without options shares one object, so the usual call builds nothing here.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypedDict

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

    from wherry.body.payload.body_writer import UploadTracker
    from wherry.body.payload.form import Files
    from wherry.client.response import ClientResponse
    from wherry.connect.proxy.proxy_argument import Proxy
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


class RequestOptions:
    """The keywords of one request, checked; see `ClientSession.request` for what each means.

    Here each has its default.  One that is checked has a function in `_CHECKED`, and one that means
    something together with others in `_COMBINED`.  What was not said is the class's, so that the
    usual call sets next to nothing.
    """

    params: Query = None
    data: Any = None
    files: Any = None
    json: Any = None
    cookies: LooseCookies | None = None
    headers: LooseHeaders | None = None
    skip_auto_headers: tuple[str, ...] | None = None
    auth: Auth | None = None
    allow_redirects: bool = True
    max_redirects: int | None = 10
    compress: str | bool | None = None
    chunked: bool | None = None
    expect100: bool = False
    raise_for_status: RaiseForStatus | None = None
    proxy: Any = None
    proxy_auth: BasicAuth | None = None
    proxy_headers: LooseHeaders | None = None
    proxy_ssl: Any = None
    timeout: ClientTimeout | None = None  # the session's
    verify_ssl: bool | None = None
    fingerprint: bytes | None = None
    ssl_context: Any = None
    ssl: Any = True
    server_hostname: str | None = None
    trace_request_ctx: object = None
    read_bufsize: int | None = None
    auto_decompress: bool | None = None
    max_line_size: int | None = None
    max_field_size: int | None = None
    max_headers: int | None = None
    max_body_size: int | None = None
    middlewares: Sequence[ClientMiddlewareType] | None = None
    upload_tracker: Any = None
    upgrade: str | None = None
    priority: int | str | None = None

    # Made of these: the proxies, and (line, field, headers) as far as the request says them.
    hops: tuple[ProxyHop, ...] | ProxyChoice | None = None
    limits: tuple[int | None, int | None, int | None] = (None, None, None)
    # Whether nothing but `USUAL_OPTIONS` was said.
    usual: bool = True

    def __new__(cls, **said: Any) -> Self:
        return cls.of(said)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """The options of these keywords.

        Raises:
            ValueError: Two of them do not go together, or one has no such value.
            TypeError: One is unknown, or of another type.
        """
        options = object.__new__(cls)
        options.__dict__.update(said)
        if options.data is not None and options.json is not None:
            raise ValueError("data and json parameters can not be used at the same time")
        headers = options.headers
        if headers is not None and type(headers) is not dict:  # nearly always one
            options.headers = _kept(headers)
        for name, value in said.items():
            check = _CHECKED.get(name)
            if check is not None and (value is not None or name == "timeout"):
                setattr(options, name, check(value))
        if not said.keys() <= USUAL_OPTIONS:
            options.usual = False
            for name in said:
                if name not in _RequestOptions.__annotations__:
                    raise TypeError(f"a request has no argument {name!r}")
            for combine in dict.fromkeys(_COMBINED[name] for name in said if name in _COMBINED):
                combine(options)
        return options


def _kept(pairs: Any) -> Any:
    """`pairs`, to be gone through more than once: redirects and further tries need what an iterator
    gives only once.
    """
    return list(pairs) if hasattr(pairs, "__next__") else pairs


# What is made of a value by itself: a checked one, or one of another form.
_CHECKED: dict[str, Callable[[Any], Any]] = {
    "cookies": _kept,
    "max_body_size": partial(whole_number, "max_body_size", negative=False),
    "middlewares": checked_middlewares,
    "read_bufsize": partial(whole_number, "read_bufsize"),
    "skip_auto_headers": tuple,
    "timeout": as_timeout,  # None is a value there: no limit
}


def _combine_files(options: RequestOptions) -> None:
    if options.files is not None:
        if options.json is not None:
            raise ValueError("files and json parameters can not be used at the same time")
        options.data = form_with_files(options.data, options.files)


def _combine_priority(options: RequestOptions) -> None:
    if options.priority is not None:
        options.headers = with_priority(options.headers, options.priority)


def _combine_proxy(options: RequestOptions) -> None:
    if options.proxy is not None:
        # Once: an iterator gives its hops only once, and redirects need them again.
        options.hops = way_of(
            options.proxy, options.proxy_auth, options.proxy_headers, options.proxy_ssl
        )


def _combine_ssl(options: RequestOptions) -> None:
    """What is said of TLS by today's name and by those of before."""
    if options.ssl is None:
        warnings.warn(
            "ssl=None is deprecated, please use ssl=True", DeprecationWarning, stacklevel=6
        )
    options.ssl = one_ssl(
        options.ssl, options.verify_ssl, options.ssl_context, options.fingerprint, stacklevel=6
    )


def _combine_limits(options: RequestOptions) -> None:
    options.limits = (options.max_line_size, options.max_field_size, options.max_headers)


# What is made of several values; none of `USUAL_OPTIONS`.
_COMBINED: dict[str, Callable[[RequestOptions], None]] = {
    "files": _combine_files,
    "priority": _combine_priority,
    "proxy": _combine_proxy,
    **dict.fromkeys(("ssl", "verify_ssl", "ssl_context", "fingerprint"), _combine_ssl),
    **dict.fromkeys(("max_line_size", "max_field_size", "max_headers"), _combine_limits),
}


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


NO_OPTIONS = RequestOptions()


def check_base_url(base_url: StrOrURL | None) -> URL | None:
    if base_url is None:
        return None
    try:
        url = base_url if isinstance(base_url, URL) else URL(base_url)
    except (ValueError, IndexError) as exc:
        raise InvalidURL(base_url, shown_reason(exc)) from None
    if not url.absolute:
        raise ValueError(
            "Only absolute URLs are supported: base_url begins with https:// or http://"
        )
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
