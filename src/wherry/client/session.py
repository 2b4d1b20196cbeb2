"""`ClientSession`: what a program holds.

It keeps the defaults, the cookies and the connector, and turns each call into a request for the
pipeline.
"""

from __future__ import annotations

import asyncio
import inspect
import json as json_module
import os
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib import import_module
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Never, Self, Unpack, cast

from multidict import CIMultiDict, MultiDict, istr
from yarl import URL

from wherry.argument_checks import whole_number
from wherry.auth.basic import BasicAuth
from wherry.body.payload.base import Payload
from wherry.client.headers.validation import check_method
from wherry.client.middleware import Auth, ClientMiddlewareType, check_auth, checked_middlewares
from wherry.client.options import (
    NO_OPTIONS,
    UNSET,
    RequestOptions,
    _EventOptions,
    _RequestOptions,
    _WithData,
    _WithRedirects,
    check_base_url,
    session_timeout,
)
from wherry.client.origin import base_origin_of
from wherry.client.request import ClientRequest
from wherry.client.request_context_manager import _RequestContextManager, _WSRequestContextManager
from wherry.client.response import ClientResponse
from wherry.client.sending import pipeline
from wherry.client.sending.proxy_choice import SessionProxies
from wherry.client.sending.request_builder import RequestBuilder
from wherry.client.sending.request_template import USUAL_METHODS
from wherry.client.session_defaults import SessionDefaults
from wherry.client.timeouts import ClientTimeout, Deadline
from wherry.client.tracing.signals import TraceConfig, Traces
from wherry.connect.base_connector import loop_of, running_loop
from wherry.connect.connector import BaseConnector, TCPConnector
from wherry.connect.hooks import CHANGES
from wherry.connect.proxy.proxy_argument import Proxy
from wherry.connect.tls.contexts import SSLOption
from wherry.cookies.abc import AbstractCookieJar, ForeignJar, as_jar
from wherry.cookies.jar import CookieJar
from wherry.protocol.connection import Exchange
from wherry.types import (
    HttpVersion,
    HttpVersion11,
    JSONBytesEncoder,
    JSONEncoder,
    LooseCookies,
    LooseHeaders,
    Query,
    StrOrURL,
)

if TYPE_CHECKING:
    from wherry.client.download import DownloadResult, Pace, Progress
    from wherry.client.events import EventSource
    from wherry.client.websocket.channel import WebSocketChannel
    from wherry.client.websocket.connect import _WSConnectOptions
    from wherry.client.websocket.websocket import ClientWebSocketResponse

# How long `close` waits for bodies whose classes close them asynchronously.
PAYLOAD_CLOSE_SECONDS = 1.0
# An empty set of its own would be a thirtieth of a session.
_NO_NAMES: frozenset[istr] = frozenset()


_CLOSED = "Session is closed: requests are made inside its `async with`, or before its close()"


class ClientSession:
    """The way to make requests: holds defaults, cookies and connections.

    Args:
        base_url: What relative URLs are relative to; a path in it must end with a slash.  `headers`
            with secrets (Authorization, Cookie, Proxy-Authorization), Host, `auth`, and cookies
            without a domain go to its origin alone then.
        connector: Makes and keeps connections; a `TCPConnector` by default.
        loop: Deprecated: the running loop is used.
        cookies: Cookies that are in the jar from the beginning.
        headers: Fields of every request; a copy is kept, see `headers`.
        proxy: A proxy, or a chain of them, for every request; patterns of URLs with proxies
            (``{"all://*.corp.example": None, "https://": url}``, the one that says most wins), or a
            function that gives a URL's.
        proxy_auth: Basic authentication for the proxy.
        proxy_headers: More fields for an HTTP proxy.
        proxy_ssl: TLS with an https:// proxy: True, False, an SSLContext or a Fingerprint; None for
            what holds for the origin.
        skip_auto_headers: Names of fields (User-Agent, Accept, ...) that are not made by
            themselves.
        auth: A `BasicAuth` for every request; or a function, plain or async, that is given the
            request and writes its credentials, or a middleware.  It is not for another origin,
            where a redirect may lead.
        json_serialize: Turns `json=` into text.
        json_serialize_bytes: Turns `json=` into bytes; goes before `json_serialize`.
        json: What writes `json=` and reads `response.json()`: "json", Python's own, or "orjson"
            (extra `speedups`), which is several times as fast and in some things stricter: keys are
            str, NaN goes out as null and is refused in an answer, integers have 64 bits.
        request_class: Makes requests; a subclass of `ClientRequest`.
        response_class: Makes responses; a subclass of `ClientResponse`.
        ws_response_class: Makes WebSockets; a subclass of `ClientWebSocketResponse`.
        version: HTTP/1.1 or HTTP/1.0.
        cookie_jar: Keeps cookies; a `CookieJar` by default.
        connector_owner: Whether closing the session closes the connector.
        raise_for_status: True raises for every status from 400 up; a coroutine function is called
            with the response.
        timeout: Limits in seconds; 300 in all and 30 for a dial by default.
        read_timeout: Deprecated: ``timeout=ClientTimeout(total=...)``.
        conn_timeout: Deprecated: ``timeout=ClientTimeout(connect=...)``.
        auto_decompress: Whether content codings are undone.
        trust_env: Whether proxies and credentials come from the environment and ~/.netrc.
        requote_redirect_url: Whether characters that no URL may hold are percent-encoded in the URL
            of a redirect.  What is percent-encoded already always stays as the server sent it.
        trace_configs: Who listens to the steps of requests.
        read_bufsize: Bytes of a body that are kept unread before the server is slowed down, 256 KiB
            by default.
        max_line_size: Bytes that the status line of a response may have, 8190 by default.
        max_field_size: Bytes that a header field of a response may have, 8190 by default.
        max_headers: Header fields that a response may have, 128 by default.
        max_body_size: Bytes of a decoded body after which reading fails; None for no limit.
        fallback_charset_resolver: Guesses the encoding of a text that does not say.
        middlewares: Round every request, the first outermost.
        ssl_shutdown_timeout: Without a meaning: the connector has it.
        params: Added to the query of every request, but for names that the request has itself; with
            a `base_url` for its origin alone.
        retries: How often a request is tried again that failed on the way, or was answered by 429,
            500, 502, 503 or 504, and that may be sent twice: a `RetryMiddleware`, the innermost;
            0 by default.

    Raises:
        RuntimeError: No event loop is running.
        ModuleNotFoundError: `json` names a library that is not installed.
        ValueError: `json` names none that is known, or `json_serialize` is given as well.
    """

    _closing: BaseConnector | None = None  # the connector whose end is waited for
    _closing_payloads: set[asyncio.Task[None]] | None = None

    def __init__(
        self,
        base_url: StrOrURL | None = None,
        *,
        connector: BaseConnector | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        cookies: LooseCookies | None = None,
        headers: LooseHeaders | None = None,
        proxy: Proxy = None,
        proxy_auth: BasicAuth | None = None,
        skip_auto_headers: Iterable[str] | None = None,
        auth: Auth | None = None,
        json_serialize: JSONEncoder = json_module.dumps,
        json_serialize_bytes: JSONBytesEncoder | None = None,
        json: Literal["json", "orjson"] = "json",
        request_class: type[ClientRequest] = ClientRequest,
        response_class: type[ClientResponse] = ClientResponse,
        ws_response_class: type[ClientWebSocketResponse] | None = None,
        version: HttpVersion = HttpVersion11,
        cookie_jar: AbstractCookieJar | None = None,
        connector_owner: bool = True,
        raise_for_status: bool | Callable[[ClientResponse], Awaitable[None]] = False,
        read_timeout: float | None = UNSET,
        conn_timeout: float | None = None,
        timeout: ClientTimeout | None = UNSET,
        auto_decompress: bool = True,
        trust_env: bool = False,
        requote_redirect_url: bool = True,
        trace_configs: list[TraceConfig] | None = None,
        read_bufsize: int = 2**18,
        max_line_size: int = 8190,
        max_field_size: int = 8190,
        max_headers: int = 128,
        max_body_size: int | None = None,
        fallback_charset_resolver: Callable[
            [ClientResponse, bytes], str
        ] = lambda _response, _body: "utf-8",
        middlewares: Sequence[ClientMiddlewareType] = (),
        ssl_shutdown_timeout: float | None = UNSET,
        proxy_headers: LooseHeaders | None = None,
        proxy_ssl: SSLOption | None = None,
        params: Query = None,
        retries: int = 0,
        **unknown: Never,
    ) -> None:
        if unknown:
            raise _unknown_argument(unknown)
        loop = _loop_of(loop, connector)
        self._defaults = defaults = SessionDefaults(loop, headers)
        self._builder = RequestBuilder(defaults, self)
        defaults.base_url = check_base_url(base_url)
        defaults.base_origin = (
            None if defaults.base_url is None else base_origin_of(defaults.base_url)
        )
        defaults.timeout = session_timeout(timeout, read_timeout, conn_timeout)
        if cookie_jar is None:
            cookie_jar = CookieJar()
        defaults.cookie_jar = as_jar(cookie_jar)
        if cookies is not None:
            defaults.cookie_jar.update_cookies(cookies)
        self._connector_owner = connector_owner
        defaults.auth = check_auth(auth)
        defaults.proxies = SessionProxies(
            proxy, proxy_auth, proxy_headers, proxy_ssl, trust_env=trust_env
        )
        defaults.may_pass_proxies = (
            bool(defaults.proxies.hops) or defaults.proxies.choice is not None or trust_env
        )
        defaults.version = version
        defaults.set_json(json, json_serialize, json_serialize_bytes)
        defaults.raise_for_status = raise_for_status
        defaults.auto_decompress = auto_decompress
        defaults.trust_env = trust_env
        defaults.requote_redirect_url = requote_redirect_url
        defaults.read_bufsize = whole_number("read_bufsize", read_bufsize)
        defaults.head_limits = (max_line_size, max_field_size, max_headers)
        if max_body_size is not None:
            max_body_size = whole_number("max_body_size", max_body_size, negative=False)
        defaults.max_body_size = max_body_size
        defaults.resolve_charset = fallback_charset_resolver
        defaults.request_class = request_class
        defaults.response_class = response_class
        self._own_ws_response_class = ws_response_class
        defaults.middlewares = _with_retries(checked_middlewares(middlewares), retries)
        if params:
            defaults.params = MultiDict(URL().extend_query(params).query)
        defaults.skip_auto_headers = (
            frozenset(map(istr, skip_auto_headers)) if skip_auto_headers else _NO_NAMES
        )
        self._websockets: set[WebSocketChannel] | None = None  # made by the first one
        defaults.trace_configs = _checked_listeners(trace_configs or [])
        self._source_traceback = (
            traceback.extract_stack(sys._getframe(1)) if loop.get_debug() else None
        )
        if response_class.start is not ClientResponse.start:
            defaults.starts_responses = True
        if defaults.is_unusual():
            defaults.is_plain = False
        self._connector = connector if connector is not None else TCPConnector(loop=loop)
        if connector_owner:
            self._warn_for_connector(True)

    def __init_subclass__(cls) -> None:
        warnings.warn(
            f"Inheritance class {cls.__name__} from ClientSession is discouraged",
            DeprecationWarning,
            stacklevel=2,
        )

    @property
    def _connector(self) -> BaseConnector | None:
        """The connector; what programs that trace others put here is asked for each request."""
        return self._defaults.connector

    @_connector.setter
    def _connector(self, connector: BaseConnector | None) -> None:
        self._defaults.take_connector(connector)

    def _warn_for_connector(self, warns: bool) -> None:
        """Whether this session says so itself where its connector is left open."""
        connector = self._defaults.connector
        if isinstance(connector, BaseConnector):
            connector.session_warns = warns

    def __del__(self, _warnings: Any = warnings) -> None:
        if getattr(self, "_connector", None) is None or self.closed:
            return
        _warnings.warn(
            f"Unclosed client session {self!r}", ResourceWarning, source=self, stacklevel=2
        )
        context: dict[str, Any] = {"client_session": self, "message": "Unclosed client session"}
        if self._source_traceback is not None:
            context["source_traceback"] = self._source_traceback
        if not self._defaults.loop.is_closed():
            self._defaults.wheel.close()
        connector = self._connector
        if connector is not None and self._connector_owner:
            connector.close()  # its sockets go with the session, and it need not warn too
        self._defaults.loop.call_exception_handler(context)

    # --- making requests --------------------------------------------------------------------------

    def request(
        self, method: str, url: StrOrURL, **kwargs: Unpack[_RequestOptions]
    ) -> _RequestContextManager:
        """Make a request; await the result or enter it with ``async with``.

        Args:
            method: The method, in any case.
            url: The URL; relative to `base_url` where there is one.
            params: Added to the query: a str, a mapping, or pairs.
            json: The body as JSON; not together with `data`.
            cookies: Cookies of this request alone.
            headers: Fields of this request; they replace the session's of the same name.
            skip_auto_headers: Names of fields (User-Agent, Accept, ...) that are not made by
                themselves.
            auth: A `BasicAuth`; or a function, plain or async, that is given the request and writes
                its credentials, or a middleware.  In place of the session's, and for this origin
                alone.
            allow_redirects: Whether redirects are followed; False for `head`.
            max_redirects: With so many the request fails (aiohttp counts so too), 10 by default; 0
                lets none through, None any number.
            compress: Compresses the body: True or "deflate", "gzip", "br", "zstd".
            data: The body: bytes, a str, a file, an async iterable, a `FormData`, or the fields of
                a form.
            files: Files of a multipart form, as requests and httpx take them: a mapping or pairs of
                a field's name and a file, its content, or (file name, content, type, fields);
                `data` has the other fields then.
            chunked: Sends the body in chunks although its length is known.
            expect100: Waits for 100 (Continue) before the body is sent.
            priority: How urgent the response is (RFC 9218): 0 (first) to 7, 3 is usual, or as
                "u=1, i"; servers of HTTP/2 and HTTP/3 send what is more urgent first.
            raise_for_status: As for the session.
            proxy: A proxy URL, ``(url, BasicAuth)``, or a chain of these; patterns
                (``{"all://*.corp.example": None, "https://": url}``); or a function of the URL.
            proxy_auth: Basic authentication for a single proxy.
            proxy_headers: More fields for a single HTTP proxy.
            proxy_ssl: TLS with an https:// proxy, as `ssl`; None for what holds for the origin.
            timeout: A `ClientTimeout`, or seconds in all.
            ssl: True, False (no checks), an SSLContext, or a Fingerprint.
            verify_ssl: Deprecated: False for ``ssl=False``.
            fingerprint: Deprecated: ``ssl=Fingerprint(fingerprint)``.
            ssl_context: Deprecated: ``ssl=context``.
            server_hostname: The name to check the certificate against.
            trace_request_ctx: Given to the session's `trace_configs` with each of their signals.
            read_bufsize: As for the session.
            read_until_eof: Without a meaning; there because aiohttp has it.
            auto_decompress: As for the session.
            max_line_size: Bytes that the status line of the response may have.
            max_field_size: Bytes that a header field of the response may have.
            max_headers: Header fields that the response may have.
            max_body_size: As for the session.
            middlewares: Instead of the session's; () for none.
            upload_tracker: An `UploadTracker`, which follows the upload of the body.
            upgrade: The protocol to switch to, as "tcp"; what a 101 brings is on
                `response.connection`.

        Raises:
            ClientError: The request failed.
            TimeoutError: A limit of `timeout` passed.
            ValueError: An argument cannot be sent.
        """
        return _RequestContextManager(self._request(method, url, **kwargs))

    async def _request(
        self, method: str, str_or_url: StrOrURL, **kwargs: Unpack[_RequestOptions]
    ) -> ClientResponse:
        try:
            builder, defaults = self._builder, self._defaults
            connector = defaults.connector
            if connector is None or connector.closed:
                raise RuntimeError(_CLOSED)
            if defaults.params is not None or (kwargs and defaults.base_origin is not None):
                kwargs = cast(
                    "_RequestOptions",
                    builder.completed(str_or_url, cast("dict[str, Any]", kwargs)),
                )
            options = NO_OPTIONS
            if kwargs:
                options = RequestOptions.of(kwargs)
            url: URL | str | None = None
            if type(str_or_url) is str and options.usual and defaults.is_plain:
                url = builder.plain_url(str_or_url, options.params)
            if url is None:
                url = builder.resolve_url(str_or_url)
                if options.params:
                    url = url.extend_query(options.params)
            configs = defaults.trace_configs
            traces = Traces(self, configs, options.trace_request_ctx) if configs else None
            if options.data is not None or options.upload_tracker is not None:
                options.data = payload = builder.payload(options)
                if options.upload_tracker is not None or (
                    payload is not None and not payload.autoclose
                ):
                    return await pipeline.fetch_sending(
                        builder, check_method(method), url, options, payload, traces
                    )
            if method not in USUAL_METHODS:
                method = check_method(method)
            return await pipeline.fetch(builder, method, url, options, traces)
        except BaseException as exc:
            tracker = kwargs.get("upload_tracker")
            if tracker is not None:
                tracker.give_up()  # who waits for it must not wait for ever
            self._explain(exc, "a request", str_or_url, kwargs, _RequestOptions)
            raise

    def _explain(
        self, exc: BaseException, call: str, url: object, given: Any, options: type
    ) -> None:
        """Raise what a person needs to hear where the interpreter has said it badly.

        Raises:
            TypeError: A keyword is no argument of this call, or of a form that it does not take.
        """
        if isinstance(exc, (TypeError, ValueError, AttributeError)):
            from wherry.client.call_mistakes import unknown_keyword, wrong_form

            message = unknown_keyword(call, given, options.__annotations__) or wrong_form(
                exc, url, given
            )
            if message is not None:
                raise TypeError(message) from None

    def get(
        self, url: StrOrURL, *, allow_redirects: bool = True, **kwargs: Unpack[_WithData]
    ) -> _RequestContextManager:
        """Make a GET request; see `request` for the arguments."""
        if not allow_redirects:
            cast("_RequestOptions", kwargs)["allow_redirects"] = False
        return _RequestContextManager(self._request("GET", url, **kwargs))

    def options(
        self, url: StrOrURL, *, allow_redirects: bool = True, **kwargs: Unpack[_WithData]
    ) -> _RequestContextManager:
        """Make an OPTIONS request; see `request` for the arguments."""
        return _RequestContextManager(
            self._request("OPTIONS", url, allow_redirects=allow_redirects, **kwargs)
        )

    def head(
        self, url: StrOrURL, *, allow_redirects: bool = False, **kwargs: Unpack[_WithData]
    ) -> _RequestContextManager:
        """Make a HEAD request, without redirects by default; see `request` for the arguments."""
        return _RequestContextManager(
            self._request("HEAD", url, allow_redirects=allow_redirects, **kwargs)
        )

    def post(
        self, url: StrOrURL, *, data: Any = None, **kwargs: Unpack[_WithRedirects]
    ) -> _RequestContextManager:
        """Make a POST request; see `request` for the arguments."""
        return _RequestContextManager(self._request("POST", url, data=data, **kwargs))

    def put(
        self, url: StrOrURL, *, data: Any = None, **kwargs: Unpack[_WithRedirects]
    ) -> _RequestContextManager:
        """Make a PUT request; see `request` for the arguments."""
        return _RequestContextManager(self._request("PUT", url, data=data, **kwargs))

    def patch(
        self, url: StrOrURL, *, data: Any = None, **kwargs: Unpack[_WithRedirects]
    ) -> _RequestContextManager:
        """Make a PATCH request; see `request` for the arguments."""
        return _RequestContextManager(self._request("PATCH", url, data=data, **kwargs))

    def delete(self, url: StrOrURL, **kwargs: Unpack[_RequestOptions]) -> _RequestContextManager:
        """Make a DELETE request; see `request` for the arguments."""
        return _RequestContextManager(self._request("DELETE", url, **kwargs))

    def events(self, url: StrOrURL, **kwargs: Unpack[_EventOptions]) -> EventSource:
        """Server-sent events of `url`; connects again when the stream breaks. See `EventSource`.

        Args:
            url: Where they come from.
            method: The request's method, GET by default.
            reconnect: Seconds before connecting again, 3 by default; None never connects again.
            max_reconnects: How often in a row without any event between; None for no limit.
            last_event_id: Where to begin: the ID of the last event that is known already.
            max_event_size: Characters that one event may have; 1 MiB (2**20) by default.
            **kwargs: As for `request` (``json=...``).
        """
        from wherry.client.events import EventSource

        return EventSource(self, url, **kwargs)

    async def download(
        self,
        url: StrOrURL,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        connections: int = 1,
        replace: bool = True,
        digest: str | None = None,
        progress: Progress | None = None,
        trust_length: bool = False,
        pace: Pace | None = None,
        **kwargs: Unpack[_RequestOptions],
    ) -> DownloadResult:
        """Download `url` to a file, which appears under its name only when it is whole.

        Args:
            url: What to GET.
            path: The file.  A directory takes a file of the name that the response gives, unless
                there is `resume` or more than one connection.
            resume: When the download breaks off, keep what came if the server named it by a strong
                validator, and go on from there the next time if the server says that it has the
                same still (RFC 9110 13.1.5, 14.2).  A file that is finished is not fetched again
                while the server has it so.  Parts and notes are in `.wherry-downloads` beside the
                file.
            connections: Fetch a large file in ranges over so many connections; in one piece where
                the server does not go along, or names no validator.
            replace: Whether a file that is there is replaced; False refuses, but for one that a
                download with `resume` has made.  A name that the server gives is numbered instead.
            digest: What the file must have: "sha256:1f3a...", or another of hashlib's.
            progress: Called with (bytes so far, bytes in all or None) as the file grows.
            trust_length: With `resume`, take a file that is finished for the server's where that
                has the same length and no strong validator.  A change that keeps the length goes
                unseen.
            pace: Awaited with the number of bytes that have come, before more are read: who sleeps
                in it limits the rate.
            **kwargs: As for `request`.

        Raises:
            ClientResponseError: The answer is no file: neither 200 nor 203, or a part that was not
                asked for.
            ClientPayloadError: The body is not whole, or has another digest.
            FileExistsError: Another download with `resume` makes this file; or there is one that
                must not be replaced.
            OSError: The file cannot be written; most of these come before anything is requested.
        """
        from wherry.client.download import fetch_to_file

        return await fetch_to_file(
            self,
            self._builder,
            url,
            path,
            resume=resume,
            connections=connections,
            replace=replace,
            digest=digest,
            progress=progress,
            trust_length=trust_length,
            pace=pace,
            **kwargs,
        )

    def ws_connect(
        self, url: StrOrURL, **kwargs: Unpack[_WSConnectOptions]
    ) -> _WSRequestContextManager:
        """Open a WebSocket; await the result or enter it with ``async with``.

        Args:
            url: A ws, wss, http or https URL; relative to `base_url` where there is one.
            method: The method of the handshake, GET.
            protocols: The subprotocols to offer, the best first.
            timeout: A `ClientWSTimeout`: seconds for one `receive`, and for the peer's answer to a
                Close frame.
            receive_timeout: Deprecated: ``timeout=ClientWSTimeout(ws_receive=...)``.
            autoclose: Whether the peer's Close frame is answered when it is received.
            autoping: Whether pings are answered, and pongs not shown.
            heartbeat: Seconds of silence after which a ping goes out; half of it later there must
                be an answer.
            auth: As for `request`.
            origin: The Origin field.
            params: Added to the query.
            headers: Fields of the handshake.
            proxy: As for `request`.
            proxy_auth: As for `request`.
            proxy_headers: As for `request`.
            proxy_ssl: As for `request`.
            ssl: As for `request`.
            verify_ssl: Deprecated: False for ``ssl=False``.
            fingerprint: Deprecated: ``ssl=Fingerprint(fingerprint)``.
            ssl_context: Deprecated: ``ssl=context``.
            server_hostname: The name to check the certificate against.
            compress: Offers permessage-deflate with a window of 9 to 15 bits; 0 for none.
            max_msg_size: The largest message, in bytes after inflation, 4 MiB by default; 0 for no
                limit.
            decode_text: Whether text is given as str; else as the bytes that came, unchecked.

        Raises:
            WSServerHandshakeError: The server did not open the WebSocket, or chose what was not
                offered.
            ClientError: The handshake failed otherwise.
            ValueError: An argument cannot be sent.
        """
        return _WSRequestContextManager(self._ws_connect(url, **kwargs))

    async def _ws_connect(
        self, url: StrOrURL, **kwargs: Unpack[_WSConnectOptions]
    ) -> ClientWebSocketResponse:
        from wherry.client.websocket.connect import _WSConnectOptions, connect_websocket

        try:
            if self._websockets is None:
                self._websockets = set()
            return await connect_websocket(
                self, self._defaults, self._websockets, self._ws_response_class, url, **kwargs
            )
        except TypeError as exc:
            self._explain(exc, "ws_connect", url, kwargs, _WSConnectOptions)
            raise

    @property
    def _ws_response_class(self) -> type[ClientWebSocketResponse]:
        """Loaded when it is asked for, for many programs open no WebSocket."""
        if self._own_ws_response_class is None:
            from wherry.client.websocket.websocket import ClientWebSocketResponse

            self._own_ws_response_class = ClientWebSocketResponse
        return self._own_ws_response_class

    @_ws_response_class.setter
    def _ws_response_class(self, value: type[ClientWebSocketResponse]) -> None:
        self._own_ws_response_class = value

    # --- what it was told -------------------------------------------------------------------------

    @property
    def connector(self) -> BaseConnector | None:
        """The connector, None once the session is closed."""
        return self._defaults.connector

    @property
    def cookie_jar(self) -> AbstractCookieJar:
        jar = self._defaults.cookie_jar
        return cast("AbstractCookieJar", jar.given) if isinstance(jar, ForeignJar) else jar

    @property
    def version(self) -> HttpVersion:
        return self._defaults.version

    @property
    def requote_redirect_url(self) -> bool:
        return self._defaults.requote_redirect_url

    @requote_redirect_url.setter
    def requote_redirect_url(self, value: bool) -> None:
        warnings.warn(
            "session.requote_redirect_url modification is deprecated #2778",
            DeprecationWarning,
            stacklevel=2,
        )
        self._defaults.requote_redirect_url = value

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop; deprecated, use `asyncio.get_running_loop`."""
        warnings.warn("client.loop property is deprecated", DeprecationWarning, stacklevel=2)
        return self._defaults.loop

    @property
    def timeout(self) -> ClientTimeout:
        return self._defaults.timeout

    @property
    def headers(self) -> CIMultiDict[str]:
        """Fields of every request; changes hold for the requests that follow."""
        return self._defaults.headers

    @property
    def skip_auto_headers(self) -> frozenset[str]:
        return self._defaults.skip_auto_headers

    @property
    def auth(self) -> Auth | None:
        return self._defaults.auth

    @property
    def json_serialize(self) -> JSONEncoder:
        return self._defaults.json_serialize

    @property
    def connector_owner(self) -> bool:
        return self._connector_owner

    @property
    def raise_for_status(self) -> bool | Callable[[ClientResponse], Awaitable[None]]:
        return self._defaults.raise_for_status

    @property
    def auto_decompress(self) -> bool:
        return self._defaults.auto_decompress

    @property
    def trust_env(self) -> bool:
        return self._defaults.trust_env

    @property
    def trace_configs(self) -> list[TraceConfig]:
        return self._defaults.trace_configs

    # --- what responses ask for -------------------------------------------------------------------

    @property
    def _resolve_charset(self) -> Callable[[ClientResponse, bytes], str]:
        return self._defaults.resolve_charset

    @_resolve_charset.setter
    def _resolve_charset(self, resolver: Callable[[ClientResponse, bytes], str]) -> None:
        self._defaults.resolve_charset = resolver

    def _drain(self, exchange: Exchange, seconds: float) -> None:
        """Let the rest of a released body run out, for a bounded time."""
        self._defaults.wheel.add(Deadline(monotonic() + seconds, exchange.cancel))
        exchange.resume_reading()

    # --- the end ----------------------------------------------------------------------------------

    def _close_payload(self, payload: Payload) -> asyncio.Task[None] | None:
        """Close a body whose class closes asynchronously; the session waits for that at its own
        end.
        """
        if self._defaults.loop.is_closed():
            return None
        if self._closing_payloads is None:
            self._closing_payloads = set()
        task = self._defaults.loop.create_task(pipeline.close_payload(payload))
        self._closing_payloads.add(task)
        task.add_done_callback(self._closing_payloads.discard)
        return task

    async def close(self) -> None:
        """Close the session and, if it owns it, the connector; returns when every transport is
        closed, at each call.
        """
        connector, self._connector = self._connector, None
        if connector is not None:
            self._closing = connector if self._connector_owner else None
            if self._connector_owner:
                self._defaults.wheel.close()
            else:
                # The connector goes on, and with it what is under way.
                self._defaults.wheel.retire()
            self._builder.forget()
            if self._websockets:
                from wherry.client.websocket.connect import close_websockets

                await close_websockets(self._websockets)
        if self._closing_payloads:
            # A custom class must not hold the session up for ever.
            _, late = await asyncio.wait(self._closing_payloads, timeout=PAYLOAD_CLOSE_SECONDS)
            for task in late:
                task.cancel()
        if self._closing is not None:
            await self._closing.close()
            self._closing = None

    def detach(self) -> None:
        """Let the connector go without closing it; the session is closed then."""
        self._warn_for_connector(False)
        self._connector = None
        self._defaults.wheel.retire()
        self._builder.forget()

    @property
    def closed(self) -> bool:
        return self._connector is None or self._connector.closed

    if not TYPE_CHECKING:  # a checker would take every name for an attribute

        def __getattr__(self, name: str) -> Any:
            # Only what is not there comes here.
            hint = ""
            if not name.startswith("_"):
                from wherry.client.call_mistakes import missing_attribute

                hint = missing_attribute("session", name)
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{hint}",
                name=name,
                obj=self,
            )

    def __enter__(self) -> None:
        raise TypeError("Use async with instead: async with ClientSession() as session:")

    def __exit__(self, *_: object) -> None:
        """Never reached: `__enter__` raises."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()


def _loop_of(
    loop: asyncio.AbstractEventLoop | None, connector: BaseConnector | None
) -> asyncio.AbstractEventLoop:
    """The loop of a new session: the one that is given, the connector's, or the running one.

    Raises:
        RuntimeError: The connector is another loop's.
        TypeError: It is none.
    """
    if connector is not None and not hasattr(connector, "_loop"):
        from wherry.client.call_mistakes import wrong_connector

        raise TypeError(wrong_connector(connector))
    if loop is None:
        loop = loop_of(connector) if connector is not None else running_loop("ClientSession")
    if connector is not None and loop_of(connector) is not loop:
        raise RuntimeError(
            "Session and connector has to use same event loop: make both in the same coroutine"
        )
    return loop


def _checked_listeners(configs: list[TraceConfig]) -> list[TraceConfig]:
    """Those of a session, which no longer change.

    Raises:
        TypeError: It is one alone, or a class.
    """
    for config in configs if isinstance(configs, Iterable) else [None]:
        if config is None or isinstance(config, type):
            raise TypeError("trace_configs= takes a list of objects: say [TraceConfig()]")
        config.freeze()
    return configs


def _with_retries(
    middlewares: Sequence[ClientMiddlewareType], retries: int
) -> tuple[ClientMiddlewareType, ...]:
    """The middlewares of a session, with one for `retries`."""
    retries = whole_number("retries", retries, negative=False)
    if not retries:
        return tuple(middlewares)
    # Upwards, and by its name: what stands round requests is no part of the core.
    made = import_module("wherry.middlewares.retry").RetryMiddleware(attempts=retries + 1)
    return (*middlewares, made)


def _unknown_argument(given: Iterable[str]) -> TypeError:
    """What to raise for keywords that a session has not."""
    from wherry.client.call_mistakes import unknown_keyword

    known = inspect.signature(ClientSession.__init__).parameters.keys() - {"self", "unknown"}
    requests = _RequestOptions.__annotations__
    return TypeError(unknown_keyword("ClientSession", given, known, requests))


class _NotSet:
    """A name that programs set on sessions of other clients; to keep it would be to ignore it.

    Others stay free, as in aiohttp: instrumentation keeps things of its own on sessions.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, session: ClientSession | None, owner: type[ClientSession]) -> Any:
        if session is not None and self.name in session.__dict__:
            return session.__dict__[self.name]
        raise AttributeError(self.name)  # what `__getattr__` says of it is said

    def __set__(self, session: ClientSession, value: Any) -> None:
        if type(session) is ClientSession:
            from wherry.client.call_mistakes import refused_attribute

            raise AttributeError(refused_attribute("ClientSession", self.name))
        session.__dict__[self.name] = value  # a subclass may mean something by it

    def __delete__(self, session: ClientSession) -> None:
        if session.__dict__.pop(self.name, self) is self:
            raise AttributeError(self.name)


class _ReadOnly(property):
    """A property that says how it is set."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __set__(self, session: Any, value: Any) -> None:
        from wherry.client.call_mistakes import refused_attribute

        takes = inspect.signature(ClientSession.__init__).parameters
        raise AttributeError(refused_attribute("ClientSession", self.name, takes))


for _name in (
    "base_url", "cert", "cookies", "event_hooks", "follow_redirects", "hooks", "max_redirects",
    "middlewares", "params", "proxies", "proxy", "retries", "stream", "verify",
):  # fmt: skip
    setattr(ClientSession, _name, _NotSet(_name))
for _name in ("auth", "connector", "cookie_jar", "headers", "raise_for_status", "timeout"):
    _told = _ReadOnly(vars(ClientSession)[_name].fget)
    _told.__set_name__(ClientSession, _name)
    setattr(ClientSession, _name, _told)
del _name, _told


def _class_changed(cls: type, _name: str) -> None:
    """A method of a request's or a response's class was replaced, or put back."""
    if issubclass(cls, (ClientRequest, ClientResponse)):
        starts = any(
            name == "start" and issubclass(each, ClientResponse) for each, name in CHANGES.replaced
        )
        builds = any(
            issubclass(each, ClientRequest) or name == "__init__" for each, name in CHANGES.replaced
        )
        SessionDefaults.starts_responses = starts
        SessionDefaults.is_plain = not (starts or builds)


CHANGES.listeners.append(_class_changed)
