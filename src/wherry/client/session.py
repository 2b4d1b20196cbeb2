"""`ClientSession`: what a program holds.

It keeps the defaults, the cookies and the connector, and turns each call into a request for the pipeline.
"""

from __future__ import annotations

import asyncio
import json as json_module
import os
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, cast

from multidict import CIMultiDict, getversion, istr
from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.body.coding import accept_encoding
from wherry.body.form import FormData
from wherry.body.payload import JsonBytesPayload, JsonPayload, Payload, get_payload
from wherry.body.payload import LookupError as PayloadLookupError
from wherry.client import pipeline
from wherry.client.download import DownloadResult, Progress, fetch_to_file
from wherry.client.middleware import ClientMiddlewareType
from wherry.client.options import NO_OPTIONS, RequestOptions, _RequestOptions, as_timeout
from wherry.client.origin import origin_of
from wherry.client.proxies import SessionProxies
from wherry.client.redirects import Hop
from wherry.client.request import ClientRequest, check_field, check_method, field_pairs
from wherry.client.response import ClientResponse
from wherry.client.timeouts import DEFAULT_TIMEOUT, ClientTimeout, Deadline, DeadlineWheel
from wherry.client.tracing import TraceConfig, Traces
from wherry.client.websocket import ClientWebSocketResponse
from wherry.client.websocket_channel import WebSocketChannel
from wherry.client.websocket_connect import _WSConnectOptions, close_websockets, connect_websocket
from wherry.connect.connector import BaseConnector, TCPConnector
from wherry.connect.route import Route
from wherry.cookies.abc import AbstractCookieJar
from wherry.cookies.jar import CookieJar
from wherry.errors import InvalidURL, InvalidUrlClientError, NonHttpUrlClientError
from wherry.protocol.connection import Exchange, FieldBlock
from wherry.types import (
    HttpVersion,
    HttpVersion11,
    JSONBytesEncoder,
    JSONEncoder,
    LooseCookies,
    LooseHeaders,
    StrOrURL,
)
from wherry.version import SERVER_SOFTWARE

_T = TypeVar("_T")
_UNSET: Any = object()
_ENGINE_FIELDS = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"})
_SECRET_FIELDS = frozenset({"authorization", "cookie", "proxy-authorization"})
_CACHED_URLS = 512


class _BaseRequestContextManager(Coroutine[Any, Any, _T], Generic[_T]):
    """What a verb gives: to be awaited for the response, or entered with ``async with``."""

    __slots__ = ("_coro", "_resp")

    def __init__(self, coro: Coroutine[Any, Any, _T]) -> None:
        self._coro = coro

    def send(self, value: Any) -> Any:
        return self._coro.send(value)

    def throw(self, *args: Any, **kwargs: Any) -> Any:
        return self._coro.throw(*args, **kwargs)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._coro.__await__()

    def __iter__(self) -> Generator[Any, Any, _T]:
        return self.__await__()

    async def __aenter__(self) -> _T:
        self._resp = await self._coro
        return await cast("Any", self._resp).__aenter__()  # type: ignore[no-any-return]

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await cast("Any", self._resp).__aexit__(exc_type, exc, tb)


class _RequestContextManager(_BaseRequestContextManager[ClientResponse]):
    """A request that was asked for."""

    __slots__ = ()

    async def __aenter__(self) -> ClientResponse:
        self._resp = response = await self._coro
        response._in_context = True
        return response

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        response = self._resp
        response._in_context = False
        if response._upload is not None:
            await response.wait_for_close()
        response.release()


class _WSRequestContextManager(_BaseRequestContextManager[ClientWebSocketResponse]):
    """A WebSocket that was asked for."""

    __slots__ = ()


class ClientSession:
    """The way to make requests: holds defaults, cookies and connections.

    Args:
        base_url: What relative URLs are relative to; a path in it must end with a slash.
        connector: Makes and keeps connections; a `TCPConnector` by default.
        cookies: Cookies that are in the jar from the beginning.
        headers: Fields of every request; a copy is kept, see `headers`.
        proxy: A proxy, or a chain of them, for every request.
        proxy_auth: Basic authentication for the proxy.
        skip_auto_headers: Names of fields (User-Agent, Accept, ...) that are not made by themselves.
        auth: Basic authentication for every request; it is not sent on to another origin.
        json_serialize: Turns `json=` into text.
        json_serialize_bytes: Turns `json=` into bytes; goes before `json_serialize`.
        version: HTTP/1.1 or HTTP/1.0.
        cookie_jar: Keeps cookies; a `CookieJar` by default.
        connector_owner: Whether closing the session closes the connector.
        raise_for_status: True raises for every status from 400 up; a coroutine function is called with the response.
        timeout: Limits in seconds; 300 in all and 30 for a dial by default.
        auto_decompress: Whether content codings are undone.
        trust_env: Whether proxies and credentials come from the environment and ~/.netrc.
        requote_redirect_url: Whether the URL of a redirect is quoted anew.
        trace_configs: Who listens to the steps of requests.
        read_bufsize: Bytes of a body that are kept unread before the server is slowed down, 256 KiB by default.
        max_body_size: Bytes of a decoded body after which reading fails; None for no limit.
        fallback_charset_resolver: Guesses the encoding of a text that does not say.
        middlewares: Round every request, the first outermost.

    Raises:
        RuntimeError: No event loop is running.
    """

    def __init__(
        self,
        base_url: StrOrURL | None = None,
        *,
        connector: BaseConnector | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        cookies: LooseCookies | None = None,
        headers: LooseHeaders | None = None,
        proxy: Any = None,
        proxy_auth: BasicAuth | None = None,
        skip_auto_headers: Iterable[str] | None = None,
        auth: BasicAuth | None = None,
        json_serialize: JSONEncoder = json_module.dumps,
        json_serialize_bytes: JSONBytesEncoder | None = None,
        request_class: type[ClientRequest] = ClientRequest,
        response_class: type[ClientResponse] = ClientResponse,
        ws_response_class: Any = None,
        version: HttpVersion = HttpVersion11,
        cookie_jar: AbstractCookieJar | None = None,
        connector_owner: bool = True,
        raise_for_status: bool | Callable[[ClientResponse], Awaitable[None]] = False,
        read_timeout: Any = _UNSET,
        conn_timeout: float | None = None,
        timeout: Any = _UNSET,
        auto_decompress: bool = True,
        trust_env: bool = False,
        requote_redirect_url: bool = True,
        trace_configs: list[TraceConfig] | None = None,
        read_bufsize: int = 2**18,
        max_line_size: int = 8190,
        max_field_size: int = 8190,
        max_headers: int = 128,
        max_body_size: int | None = None,
        fallback_charset_resolver: Callable[[ClientResponse, bytes], str] = lambda _response, _body: "utf-8",
        middlewares: Sequence[ClientMiddlewareType] = (),
        ssl_shutdown_timeout: Any = _UNSET,
        proxy_headers: LooseHeaders | None = None,
        proxy_ssl: Any = None,
    ) -> None:
        # Set first: a session whose making failed is closed without noise.
        self._connector: BaseConnector | None = None
        if loop is None:
            loop = connector._loop if connector is not None else asyncio.get_running_loop()
        if connector is not None and connector._loop is not loop:
            raise RuntimeError("Session and connector has to use same event loop")
        self._loop = loop
        self._base_url = _check_base_url(base_url)
        self._base_origin = None if self._base_url is None else origin_of(self._base_url)
        self._timeout = _session_timeout(timeout, read_timeout, conn_timeout)
        if cookie_jar is None:
            cookie_jar = CookieJar()
        self._cookie_jar = cookie_jar
        if cookies is not None:
            cookie_jar.update_cookies(cookies)
        self._connector_owner = connector_owner
        self._default_auth = _check_auth(auth)
        self._default_proxy = proxy
        self._default_proxy_auth = proxy_auth
        self._proxies = SessionProxies(proxy, proxy_auth, proxy_headers, proxy_ssl, trust_env=trust_env)
        # Whether a request that says nothing of proxies may have some.
        self._may_pass_proxies = bool(self._proxies.hops) or trust_env
        self._version = version
        self._json_serialize = json_serialize
        self._json_serialize_bytes = json_serialize_bytes
        self._raise_for_status = raise_for_status
        self._auto_decompress = auto_decompress
        self._trust_env = trust_env
        self._requote_redirect_url = requote_redirect_url
        self._read_bufsize = read_bufsize
        self._max_line_size = max_line_size
        self._max_field_size = max_field_size
        self._max_headers = max_headers
        self._max_body_size = max_body_size
        self._resolve_charset = fallback_charset_resolver
        self._request_class = request_class
        self._response_class = response_class
        self._ws_response_class = ws_response_class
        self._middlewares = middlewares
        self._skip_auto_headers = frozenset(istr(name) for name in skip_auto_headers or ())
        self._default_headers: CIMultiDict[str] = CIMultiDict()
        if headers:
            for name, value in field_pairs(headers):
                check_field(name, value)
                self._default_headers.add(name, value)
        self._default_headers_any: Any = self._default_headers  # for getversion, whose types want another one
        self._blocks: dict[bool, tuple[FieldBlock, tuple[tuple[str, str], ...]]] = {}
        self._blocks_version = -1
        self._urls: dict[str, URL] = {}
        # Requests that can be sent as they are, as long as headers and cookies stay what they were.
        self._ready: dict[StrOrURL, ClientRequest] = {}
        self._is_plain = request_class is ClientRequest and not trace_configs and not trust_env
        self._wheel = DeadlineWheel(loop)
        self._websockets: set[WebSocketChannel] = set()
        self._trace_configs = trace_configs or []
        for config in self._trace_configs:
            config.freeze()
        self._source_traceback = traceback.extract_stack(sys._getframe(1)) if loop.get_debug() else None
        self._connector = connector if connector is not None else TCPConnector(loop=loop)

    def __init_subclass__(cls) -> None:
        warnings.warn(
            f"Inheritance class {cls.__name__} from ClientSession is discouraged", DeprecationWarning, stacklevel=2
        )

    def __del__(self, _warnings: Any = warnings) -> None:
        if getattr(self, "_connector", None) is None or self.closed:
            return
        _warnings.warn(f"Unclosed client session {self!r}", ResourceWarning, source=self, stacklevel=2)
        context: dict[str, Any] = {"client_session": self, "message": "Unclosed client session"}
        if self._source_traceback is not None:
            context["source_traceback"] = self._source_traceback
        if not self._loop.is_closed():
            self._wheel.close()
        connector = self._connector
        if connector is not None and self._connector_owner:
            connector.close()  # its sockets go with the session, and it need not warn too
        self._loop.call_exception_handler(context)

    # --- making requests ------------------------------------------------------------------------------------

    def request(self, method: str, url: StrOrURL, **kwargs: Unpack[_RequestOptions]) -> _RequestContextManager:
        """Make a request; await the result or enter it with ``async with``.

        Args:
            method: The method, in any case.
            url: The URL; relative to `base_url` where there is one.
            params: Added to the query: a str, a mapping, or pairs.
            data: The body: bytes, str, a mapping or pairs (a form), a file, an async iterable, a `Payload`.
            json: The body as JSON; not together with `data`.
            cookies: Cookies of this request alone.
            headers: Fields of this request; they replace the session's of the same name.
            auth: Basic authentication.
            allow_redirects: Whether redirects are followed; False for `head`.
            max_redirects: How many, 10 by default.
            compress: Compresses the body: True or "deflate", "gzip", "br", "zstd".
            chunked: Sends the body in chunks although its length is known.
            expect100: Waits for 100 (Continue) before the body is sent.
            raise_for_status: As for the session.
            proxy: A proxy URL, ``(url, BasicAuth)``, or a chain of these.
            timeout: A `ClientTimeout`, or seconds in all.
            ssl: True, False (no checks), an SSLContext, or a Fingerprint.
            server_hostname: The name to check the certificate against.
            read_bufsize: As for the session.
            auto_decompress: As for the session.
            max_body_size: As for the session.
            middlewares: Instead of the session's; () for none.

        Raises:
            ClientError: The request failed.
            TimeoutError: A limit of `timeout` passed.
            ValueError: An argument cannot be sent.
        """
        return _RequestContextManager(self._request(method, url, **kwargs))

    async def _request(self, method: str, str_or_url: StrOrURL, **kwargs: Unpack[_RequestOptions]) -> ClientResponse:
        connector = self._connector
        if connector is None or connector.closed:
            raise RuntimeError("Session is closed")
        if not kwargs and self._is_plain and method == "GET":
            request = self._ready_request(str_or_url)
            if request is not None:
                return await pipeline.fetch(self, "GET", request.original_url, NO_OPTIONS, request)
        options = RequestOptions(**kwargs) if kwargs else NO_OPTIONS
        url = self._resolve_url(str_or_url)
        if options.params:
            url = url.extend_query(options.params)
        if options.data is not None or options.upload_tracker is not None:
            options.data = payload = self._payload(options)
            if options.upload_tracker is not None or (payload is not None and not payload.autoclose):
                return await self._upload(check_method(method), url, options, payload)
        return await pipeline.fetch(self, check_method(method), url, options)

    async def _upload(self, method: str, url: URL, options: RequestOptions, payload: Payload | None) -> ClientResponse:
        """A request with a body that must be closed at its end, or that a tracker follows."""
        tracker = options.upload_tracker
        if tracker is not None:
            tracker.bind()
        try:
            response = await pipeline.fetch(self, method, url, options)
        except BaseException:
            if payload is not None:
                await payload.close()
            raise
        finally:
            if tracker is not None:
                tracker.finalize()
        if payload is not None and not payload.autoclose:
            response._payload = payload
        return response

    def get(self, url: StrOrURL, *, allow_redirects: bool = True, **kwargs: Any) -> _RequestContextManager:
        """Make a GET request."""
        if not allow_redirects:
            kwargs["allow_redirects"] = False
        return _RequestContextManager(self._request("GET", url, **kwargs))

    def options(self, url: StrOrURL, *, allow_redirects: bool = True, **kwargs: Any) -> _RequestContextManager:
        """Make an OPTIONS request."""
        return _RequestContextManager(self._request("OPTIONS", url, allow_redirects=allow_redirects, **kwargs))

    def head(self, url: StrOrURL, *, allow_redirects: bool = False, **kwargs: Any) -> _RequestContextManager:
        """Make a HEAD request; redirects are not followed by default."""
        return _RequestContextManager(self._request("HEAD", url, allow_redirects=allow_redirects, **kwargs))

    def post(self, url: StrOrURL, *, data: Any = None, **kwargs: Any) -> _RequestContextManager:
        """Make a POST request."""
        return _RequestContextManager(self._request("POST", url, data=data, **kwargs))

    def put(self, url: StrOrURL, *, data: Any = None, **kwargs: Any) -> _RequestContextManager:
        """Make a PUT request."""
        return _RequestContextManager(self._request("PUT", url, data=data, **kwargs))

    def patch(self, url: StrOrURL, *, data: Any = None, **kwargs: Any) -> _RequestContextManager:
        """Make a PATCH request."""
        return _RequestContextManager(self._request("PATCH", url, data=data, **kwargs))

    def delete(self, url: StrOrURL, **kwargs: Any) -> _RequestContextManager:
        """Make a DELETE request."""
        return _RequestContextManager(self._request("DELETE", url, **kwargs))

    async def download(
        self,
        url: StrOrURL,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        digest: str | None = None,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> DownloadResult:
        """Download `url` to a file, which appears under its name only when it is whole.

        Args:
            url: What to GET.
            path: The file; one that is there is replaced.
            resume: Keep what came as ``path.part`` when the download breaks off, and go on from there the next
                time, if the server says that it still has the same (RFC 9110 13.1.5, 14.2).
            digest: What the file must have: "sha256:1f3a...", or another of hashlib's.
            progress: Called with (bytes so far, bytes in all or None) as the file grows.
            **kwargs: As for `request`.

        Raises:
            ClientResponseError: The status is 400 or above.
            ClientPayloadError: The body is not whole, or has another digest.
            OSError: The file cannot be written.
        """
        return await fetch_to_file(self, url, path, resume=resume, digest=digest, progress=progress, **kwargs)

    def ws_connect(self, url: StrOrURL, **kwargs: Unpack[_WSConnectOptions]) -> _WSRequestContextManager:
        """Open a WebSocket; await the result or enter it with ``async with``.

        Args:
            url: A ws, wss, http or https URL; relative to `base_url` where there is one.
            method: The method of the handshake, GET.
            protocols: The subprotocols to offer, the best first.
            timeout: A `ClientWSTimeout`: seconds for one `receive`, and for the peer's answer to a Close frame.
            autoclose: Whether the peer's Close frame is answered when it is received.
            autoping: Whether pings are answered, and pongs not shown.
            heartbeat: Seconds of silence after which a ping goes out; half of it later there must be an answer.
            auth: Basic authentication.
            origin: The Origin field.
            params: Added to the query.
            headers: Fields of the handshake.
            proxy: As for `request`; proxy_auth, proxy_headers, proxy_ssl too.
            ssl: As for `request`; server_hostname too.
            compress: Offers permessage-deflate with a window of 9 to 15 bits; 0 for none.
            max_msg_size: The largest message, in bytes after inflation, 4 MiB by default; 0 for no limit.
            decode_text: Whether text is given as str; else as the bytes that came, unchecked.

        Raises:
            WSServerHandshakeError: The server did not open the WebSocket, or chose what was not offered.
            ClientError: The handshake failed otherwise.
            ValueError: An argument cannot be sent.
        """
        return _WSRequestContextManager(connect_websocket(self, url, **kwargs))

    def _ready_request(self, given: StrOrURL) -> ClientRequest | None:
        """The request of a plain GET: nothing is built again while nothing that it is made of has changed."""
        request = self._ready.get(given)
        if (
            request is not None
            and getversion(self._default_headers_any) == request._headers_version
            and self._cookie_jar.cookie_header(request.url) == request._cookie_line
        ):
            return request
        url = self._resolve_url(given)
        if url.raw_user is not None or url.raw_password is not None:
            return None
        request = self._make_request(Hop("GET", url, None, None, None), NO_OPTIONS, traces=None)
        connector = self._require_connector()
        route = self._route_for(request)
        request._headers_version = self._blocks_version
        request._ready = route, request.wire_head(route, connector.force_close)
        if len(self._ready) >= _CACHED_URLS:
            self._ready.clear()
        self._ready[given] = request
        return request

    # --- what the pipeline asks for -------------------------------------------------------------------------

    def _resolve_url(self, given: StrOrURL) -> URL:
        """The absolute URL of a request, checked once for each text.

        Raises:
            InvalidUrlClientError: It is no URL, or has no host.
            NonHttpUrlClientError: It has a scheme that the connector does not speak.
        """
        if isinstance(given, str):
            url = self._urls.get(given)
            if url is not None:
                return url
        url = self._check_url(given)
        if isinstance(given, str):
            if len(self._urls) >= _CACHED_URLS:
                self._urls.clear()
            self._urls[given] = url
        return url

    def _check_url(self, given: StrOrURL) -> URL:
        try:
            url = self._build_url(given)
            host = url.raw_host
        except ValueError as exc:
            raise InvalidUrlClientError(given, str(exc)) from exc
        if url.scheme not in self._require_connector().allowed_protocol_schema_set:
            raise NonHttpUrlClientError(url)
        if url.scheme in ("http", "https", "ws", "wss") and not host:
            raise InvalidUrlClientError(url, "the URL has no host" if url.absolute else "the URL is relative")
        return url

    def _build_url(self, str_or_url: StrOrURL) -> URL:
        url = URL(str_or_url)
        if self._base_url is None or url.absolute:
            return url
        return self._base_url.join(url)

    def _require_connector(self) -> BaseConnector:
        connector = self._connector
        if connector is None:
            raise RuntimeError("Session is closed")
        return connector

    def _traces_for(self, options: RequestOptions) -> Any:
        return Traces(self, self._trace_configs, options.trace_request_ctx)

    def _merged_headers(self, own: LooseHeaders | None) -> CIMultiDict[str]:
        """The session's fields and a request's own, which replace those of the same name."""
        headers = self._default_headers.copy()
        if own:
            pairs = list(field_pairs(own))
            for name, _ in pairs:
                headers.popall(name, None)
            headers.extend(pairs)
        return headers

    def _payload(self, options: RequestOptions) -> Payload | None:
        """The body that the options ask for, made once for all hops and tries."""
        data = options.data
        if data is None:
            if options.json is None:
                return None
            if self._json_serialize_bytes is not None:
                return JsonBytesPayload(options.json, dumps=self._json_serialize_bytes)
            return JsonPayload(options.json, dumps=self._json_serialize)
        if isinstance(data, Payload):
            return data
        if isinstance(data, FormData):
            return data()
        try:
            return get_payload(data, disposition=None)
        except PayloadLookupError:
            return FormData(data)()

    def _shared_block(
        self, trusted: bool, skip: Iterable[str] | None
    ) -> tuple[FieldBlock, tuple[tuple[str, str], ...]]:
        """(the fields that all requests share, the session's own of which the engine must know)."""
        if skip:
            return self._make_block(trusted, frozenset(istr(name) for name in skip) | self._skip_auto_headers)
        version = getversion(self._default_headers_any)
        if version != self._blocks_version:
            self._blocks = {}
            self._blocks_version = version
        entry = self._blocks.get(trusted)
        if entry is None:
            entry = self._blocks[trusted] = self._make_block(trusted, self._skip_auto_headers)
        return entry

    def _make_block(self, trusted: bool, skip: frozenset[str]) -> tuple[FieldBlock, tuple[tuple[str, str], ...]]:
        pairs: list[tuple[str, str]] = []
        engine: list[tuple[str, str]] = []
        for name, value in self._default_headers.items():
            lower = check_field(name, value)
            if lower in _ENGINE_FIELDS:
                if trusted or lower != "host":
                    engine.append((name, value))
            elif trusted or lower not in _SECRET_FIELDS:
                pairs.append((str(name), value))
        skipped = {name.lower() for name in skip}
        present = {name.lower() for name, _ in pairs}
        for name, value in (
            ("Accept", "*/*"),
            ("Accept-Encoding", accept_encoding()),
            ("User-Agent", SERVER_SOFTWARE),
        ):
            if name.lower() not in present and name.lower() not in skipped:
                pairs.append((name, value))
        return FieldBlock(pairs), tuple(engine)

    def _make_request(self, hop: Hop, options: RequestOptions, *, traces: Any) -> ClientRequest:
        """The request of one hop, fresh for each try."""
        shared, engine = self._shared_block(hop.trusted, options.skip_auto_headers)
        headers = hop.headers
        if engine:
            own = list(field_pairs(headers)) if headers else []
            names = {name.lower() for name, _ in own}
            headers = [*(pair for pair in engine if pair[0].lower() not in names), *own]
        url = hop.url
        auth = hop.auth
        if auth is None and (self._default_auth is not None or self._trust_env):
            auth = self._auth_for(hop, shared)
        cookie_line = self._cookie_jar.cookie_header(url)
        request = self._request_class(
            hop.method,
            url,
            headers=headers,
            skip_auto_headers=options.skip_auto_headers,
            data=hop.data,
            cookies=options.cookies if hop.trusted else None,
            auth=auth,
            version=self._version,
            compress=options.compress,
            chunked=options.chunked,
            expect100=options.expect100,
            loop=self._loop,
            response_class=self._response_class,
            session=self,
            ssl=options.ssl,
            traces=traces,
            trust_env=self._trust_env,
            server_hostname=options.server_hostname,
            shared=shared,
            cookie_line=cookie_line,
            upgrade=options.upgrade,
        )
        if options.hops is not None or self._may_pass_proxies:
            request.hops = self._proxies.hops_for(url, options)
        request._cookie_line = cookie_line
        if options.upload_tracker is not None:
            request._upload_tracker = options.upload_tracker
            options.upload_tracker.start_attempt()
            if hop.data is None:
                options.upload_tracker.finish_attempt()
        return request

    def _auth_for(self, hop: Hop, shared: FieldBlock) -> BasicAuth | None:
        """The session's credentials for the first origin, or those that ~/.netrc has for the hop's host.

        Raises:
            ValueError: There are session-wide credentials and an Authorization field.
        """
        url = hop.url
        own = field_pairs(hop.headers) if hop.headers else ()
        told = "authorization" in shared.names or any(name.lower() == "authorization" for name, _ in own)
        default = self._default_auth
        if default is not None and hop.trusted and self._base_origin in (None, origin_of(url)):
            if told:
                raise ValueError("Cannot combine AUTHORIZATION header with AUTH argument of the session")
            return default
        netrc = self._proxies.netrc
        if told or not netrc or url.raw_host in hop.left:
            return None
        # Where a redirect leads, only the host's own entry counts: `default` would be for anybody who is named.
        return netrc.lookup(url.raw_host, default=hop.trusted)

    def _route_for(self, request: ClientRequest) -> Route:
        """The way that a request takes."""
        return self._require_connector().route_for(
            request.url, ssl=request.ssl, server_hostname=request.server_hostname, hops=request.hops
        )

    def _drain(self, exchange: Exchange, seconds: float) -> None:
        """Let the rest of a released body run out, for a bounded time."""
        self._wheel.add(Deadline(self._loop.time() + seconds, exchange.cancel))
        exchange.resume_reading()

    # --- the end --------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the session and, if it owns it, the connector; returns when every transport is closed."""
        if self.closed:
            return
        connector, self._connector = self._connector, None
        self._wheel.close()
        if self._websockets:
            await close_websockets(self._websockets)
        if connector is not None and self._connector_owner:
            await connector.close()

    def detach(self) -> None:
        """Let the connector go without closing it; the session is closed then."""
        self._connector = None
        self._wheel.close()

    @property
    def closed(self) -> bool:
        return self._connector is None or self._connector.closed

    def __enter__(self) -> None:
        raise TypeError("Use async with instead")

    def __exit__(self, *_: object) -> None:
        """Never reached: `__enter__` raises."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    # --- what the session was told --------------------------------------------------------------------------

    @property
    def connector(self) -> BaseConnector | None:
        """The connector, None once the session is closed."""
        return self._connector

    @property
    def cookie_jar(self) -> AbstractCookieJar:
        return self._cookie_jar

    @property
    def version(self) -> HttpVersion:
        return self._version

    @property
    def requote_redirect_url(self) -> bool:
        return self._requote_redirect_url

    @requote_redirect_url.setter
    def requote_redirect_url(self, value: bool) -> None:
        warnings.warn("session.requote_redirect_url modification is deprecated #2778", DeprecationWarning, stacklevel=2)
        self._requote_redirect_url = value

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop; deprecated, use `asyncio.get_running_loop`."""
        warnings.warn("client.loop property is deprecated", DeprecationWarning, stacklevel=2)
        return self._loop

    @property
    def timeout(self) -> ClientTimeout:
        return self._timeout

    @property
    def headers(self) -> CIMultiDict[str]:
        """Fields of every request; changes hold for the requests that follow."""
        return self._default_headers

    @property
    def skip_auto_headers(self) -> frozenset[str]:
        return self._skip_auto_headers

    @property
    def auth(self) -> BasicAuth | None:
        return self._default_auth

    @property
    def json_serialize(self) -> JSONEncoder:
        return self._json_serialize

    @property
    def connector_owner(self) -> bool:
        return self._connector_owner

    @property
    def raise_for_status(self) -> bool | Callable[[ClientResponse], Awaitable[None]]:
        return self._raise_for_status

    @property
    def auto_decompress(self) -> bool:
        return self._auto_decompress

    @property
    def trust_env(self) -> bool:
        return self._trust_env

    @property
    def trace_configs(self) -> list[TraceConfig]:
        return self._trace_configs


def _check_base_url(base_url: StrOrURL | None) -> URL | None:
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


def _check_auth(auth: BasicAuth | None) -> BasicAuth | None:
    if auth is not None and not isinstance(auth, BasicAuth):
        raise TypeError("BasicAuth() tuple is required instead")
    return auth


def _session_timeout(timeout: Any, read_timeout: Any, conn_timeout: float | None) -> ClientTimeout:
    if timeout is not _UNSET:
        if read_timeout is not _UNSET or conn_timeout is not None:
            raise ValueError("read_timeout and conn_timeout parameters conflict with timeout parameter")
        return as_timeout(timeout) or DEFAULT_TIMEOUT
    limits = DEFAULT_TIMEOUT
    if read_timeout is not _UNSET:
        warnings.warn("read_timeout is deprecated, use timeout instead", DeprecationWarning, stacklevel=3)
        limits = ClientTimeout(total=read_timeout, sock_connect=limits.sock_connect)
    if conn_timeout is not None:
        warnings.warn("conn_timeout is deprecated, use timeout instead", DeprecationWarning, stacklevel=3)
        limits = ClientTimeout(total=limits.total, connect=conn_timeout, sock_connect=limits.sock_connect)
    return limits


class _SessionRequestContextManager:
    """`wherry.request`: a session for one request, closed with it."""

    __slots__ = ("_coro", "_resp", "_session")

    def __init__(self, coro: Coroutine[Any, Any, ClientResponse], session: ClientSession) -> None:
        self._coro = coro
        self._session = session
        self._resp: ClientResponse | None = None

    async def __aenter__(self) -> ClientResponse:
        try:
            self._resp = await self._coro
        except BaseException:
            await self._session.close()
            raise
        return self._resp

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._resp is not None:
            self._resp.close()
        await self._session.close()


def request(
    method: str,
    url: StrOrURL,
    *,
    version: HttpVersion = HttpVersion11,
    connector: BaseConnector | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    **kwargs: Any,
) -> _SessionRequestContextManager:
    """Make one request with a session of its own, to be entered with ``async with``.

    Args:
        method: The method.
        url: The URL.
        version: HTTP/1.1 or HTTP/1.0.
        connector: Used and left open; by default one that closes with the response.
        loop: The event loop, the running one by default.
        **kwargs: As for `ClientSession.request`; `cookies` and `timeout` too.
    """
    owns = connector is None
    if connector is None:
        connector = TCPConnector(loop=loop, force_close=True)
    session = ClientSession(
        loop=loop,
        cookies=kwargs.pop("cookies", None),
        version=version,
        timeout=kwargs.pop("timeout", _UNSET),
        connector=connector,
        connector_owner=owns,
    )
    return _SessionRequestContextManager(session._request(method, url, **kwargs), session)
