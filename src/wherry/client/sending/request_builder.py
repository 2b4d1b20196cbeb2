"""How a session makes a `ClientRequest` out of its defaults and what the program says of one
request.

The fields that all requests share are put together once, and a plain GET is built once for as long
as nothing that it is made of has changed.  Nothing is sent from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from multidict import CIMultiDict, getversion, istr
from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.body.backends import accept_encoding
from wherry.body.payload.form import payload_of
from wherry.body.payload.memory import JsonBytesPayload, JsonPayload, Payload
from wherry.client.headers.validation import ENGINE_FIELDS, SECRET_FIELDS, check_field, field_pairs
from wherry.client.hooks import HOOKS
from wherry.client.options import RequestOptions
from wherry.client.origin import base_origin_of
from wherry.client.request import ClientRequest
from wherry.client.sending.proxy_choice import SessionProxies
from wherry.client.sending.redirect_rules import Hop
from wherry.client.sending.request_template import RequestTemplate, plain_key, template_key_of
from wherry.connect.connector import BaseConnector
from wherry.connect.route import Route
from wherry.cookies.abc import AbstractCookieJar
from wherry.errors import InvalidUrlClientError, NonHttpUrlClientError, without_credentials
from wherry.protocol.heads import FieldBlock
from wherry.protocol.limits import DEFAULT_LIMITS, Limits
from wherry.types import HttpVersion, JSONBytesEncoder, JSONEncoder, LooseHeaders, StrOrURL
from wherry.version import SERVER_SOFTWARE

if TYPE_CHECKING:
    from wherry.client.response import ClientResponse
    from wherry.client.session import ClientSession

_CACHED_URLS = 512
_USUAL_LIMITS = (
    DEFAULT_LIMITS.max_line_size,
    DEFAULT_LIMITS.max_field_size,
    DEFAULT_LIMITS.max_headers,
)


class RequestBuilder:
    """The part of a session that builds; `ClientSession` sets what it builds from."""

    # A session has more attributes than Python keeps compactly in a `__dict__` (30): what is read
    # here is in slots.
    __slots__ = (
        "_base_origin",
        "_base_url",
        "_blocks",
        "_blocks_version",
        "_cookie_jar",
        "_default_auth",
        "_default_headers",
        "_default_headers_any",
        "_head_limits",
        "_held_connector",
        "_json_serialize",
        "_json_serialize_bytes",
        "_limits",
        "_loop",
        "_may_pass_proxies",
        "_proxies",
        "_ready",
        "_request_class",
        "_response_class",
        "_skip_auto_headers",
        "_templates",
        "_trust_env",
        "_urls",
        "_version",
    )

    _loop: asyncio.AbstractEventLoop
    _held_connector: BaseConnector | None
    _base_url: URL | None
    _base_origin: URL | None
    _cookie_jar: AbstractCookieJar
    _default_auth: BasicAuth | None
    _proxies: SessionProxies
    _may_pass_proxies: bool
    _trust_env: bool
    _version: HttpVersion
    _json_serialize: JSONEncoder
    _json_serialize_bytes: JSONBytesEncoder | None
    _request_class: type[ClientRequest]
    _response_class: type[ClientResponse]
    _skip_auto_headers: frozenset[str]
    _head_limits: tuple[int, int, int]

    def __init__(self, headers: LooseHeaders | None) -> None:
        self._default_headers: CIMultiDict[str] = CIMultiDict()
        if headers:
            for name, value in field_pairs(headers):
                check_field(name, value)
                self._default_headers.add(name, value)
        # For getversion, whose types want another one.
        self._default_headers_any: Any = self._default_headers
        self._blocks: dict[bool, tuple[FieldBlock, tuple[tuple[str, str], ...]]] = {}
        self._blocks_version = -1
        self._urls: dict[str, URL] = {}
        self._limits: dict[tuple[int, int, int], Limits] = {}
        # Requests that can be sent as they are, as long as headers and cookies stay what they were.
        self._ready: dict[Any, ClientRequest] = {}
        # What further requests of each kind are made like.
        self._templates: dict[Any, RequestTemplate] = {}

    def _require_connector(self) -> BaseConnector:
        connector = self._held_connector
        if connector is None:
            raise RuntimeError("Session is closed")
        return connector

    def _ready_request(self, given: StrOrURL, options: RequestOptions) -> ClientRequest | None:
        """The request of a plain GET: nothing is built again while nothing that it is made of has
        changed.

        Args:
            given: The URL as the program gave it.
            options: None but `READY_OPTIONS`.

        Returns:
            None where the request must be built afresh.
        """
        headers, params = options.headers, options.params
        key: Any = given
        if headers or params:
            key = plain_key((given,), headers, params)
            if key is None:
                return None
        request = self._ready.get(key)
        if (
            request is not None
            and getversion(self._default_headers_any) == request._headers_version
            and self._cookie_jar.cookie_header(request.url) == request._cookie_line
        ):
            return request
        url = self._resolve_url(given)
        if params:
            url = url.extend_query(params)
        request = self._request_of_kind("GET", url, options, None)
        if request is None:
            return None
        request._built = request
        request._last = None  # its twins' dicts need not grow for it
        if len(self._ready) >= _CACHED_URLS:
            self._ready.clear()
        self._ready[key] = request
        return request

    def _request_of_kind(
        self, method: str, url: URL, options: RequestOptions, payload: Payload | None
    ) -> ClientRequest | None:
        """A request that can be sent as it is, made like the last of its kind; see
        `RequestTemplate`.

        Args:
            method: The method.
            url: The URL, with the query of `params`.
            options: None but `READY_OPTIONS`, and a body.
            payload: The body.

        Returns:
            None where requests are built one by one.
        """
        template_key = template_key_of(method, url, options.headers, payload)
        if template_key is None:
            return None
        template = self._templates.get(template_key)
        if template is not None and self._still_holds(template.built, url):
            return template.request(url, payload)
        request = self._built_ready(method, url, options, payload)
        if RequestTemplate.fits(request):
            if len(self._templates) >= _CACHED_URLS:
                self._templates.clear()
            self._templates[template_key] = RequestTemplate(request)
        return request

    def _built_ready(
        self, method: str, url: URL, options: RequestOptions, payload: Payload | None
    ) -> ClientRequest:
        """A request with its route and its head."""
        hop = Hop(method, url, options.headers or None, payload, None)
        request = self._make_request(hop, options, traces=None)
        route = self._route_for(request)
        request._headers_version = self._blocks_version
        request._ready = route, request.wire_head(route, self._require_connector().force_close)
        return request

    def _forget_requests(self) -> None:
        """Let go of what was built, which holds the session: without that its end would wait for
        the collector.
        """
        for request in self._ready.values():
            request._built = None
        self._ready.clear()
        self._templates.clear()

    def _still_holds(self, request: ClientRequest, url: URL) -> bool:
        """Whether what a ready request was made of is what one for `url` would be made of now."""
        return (
            getversion(self._default_headers_any) == request._headers_version
            and self._cookie_jar.cookie_header(url) == request._cookie_line
        )

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
        if not url.scheme or (not host and url.scheme in ("http", "https", "ws", "wss")):
            raise InvalidUrlClientError(url, _why_not(url))
        return url

    def _build_url(self, str_or_url: StrOrURL) -> URL:
        url = URL(str_or_url)
        # A reference may begin with a host (RFC 3986 4.2): what it lacks then is the scheme.
        if self._base_url is None or (url.absolute and url.scheme):
            return url
        return self._base_url.join(url)

    def _merged_headers(self, own: LooseHeaders | None, url: URL | None = None) -> CIMultiDict[str]:
        """The session's fields, as far as they may go to `url`, and a request's own, which replace
        their like.
        """
        headers = self._default_headers.copy()
        if url is not None and not self._is_at_base(url):
            for name in (*SECRET_FIELDS, "host"):
                headers.popall(name, None)
        if own:
            pairs = list(field_pairs(own))
            for name, _ in pairs:
                headers.popall(name, None)
            headers.extend(pairs)
        return headers

    # The name that sessions derived from aiohttp's call it by.
    _prepare_headers = _merged_headers

    def _payload(self, options: RequestOptions) -> Payload | None:
        """The body that the options ask for, made once for all hops and tries."""
        data = options.data
        if data is None:
            if options.json is None:
                return None
            if self._json_serialize_bytes is not None:
                return JsonBytesPayload(options.json, dumps=self._json_serialize_bytes)
            return JsonPayload(options.json, dumps=self._json_serialize)
        return payload_of(data)

    def _shared_block(
        self, trusted: bool, skip: Iterable[str] | None
    ) -> tuple[FieldBlock, tuple[tuple[str, str], ...]]:
        """(the fields that all requests share, the session's own of which the engine must know)."""
        if skip:
            return self._make_block(
                trusted, frozenset(istr(name) for name in skip) | self._skip_auto_headers
            )
        version = getversion(self._default_headers_any)
        if version != self._blocks_version:
            self._blocks = {}
            self._blocks_version = version
        entry = self._blocks.get(trusted)
        if entry is None:
            entry = self._blocks[trusted] = self._make_block(trusted, self._skip_auto_headers)
        return entry

    def _make_block(
        self, trusted: bool, skip: frozenset[str]
    ) -> tuple[FieldBlock, tuple[tuple[str, str], ...]]:
        pairs: list[tuple[str, str]] = []
        engine: list[tuple[str, str]] = []
        for name, value in self._default_headers.items():
            lower = check_field(name, value)
            if lower in ENGINE_FIELDS:
                if trusted or lower != "host":
                    engine.append((name, value))
            elif trusted or lower not in SECRET_FIELDS:
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
        """A new `ClientRequest` for one hop of a chain of redirects; each try has its own."""
        shared, engine = self._shared_block(
            hop.trusted and self._is_at_base(hop.url), options.skip_auto_headers
        )
        headers = hop.headers
        if engine:
            own = list(field_pairs(headers)) if headers else []
            names = {name.lower() for name, _ in own}
            headers = [*(pair for pair in engine if pair[0].lower() not in names), *own]
        url = hop.url
        auth = hop.auth
        if auth is None and (self._default_auth is not None or self._trust_env):
            auth = self._auth_for(hop, shared)
        known = cookie_line = self._cookie_jar.cookie_header(url)
        if cookie_line and not self._is_at_base(url):
            cookie_line = self._cookie_jar.cookie_header_without_shared(url)
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
            session=cast("ClientSession", self),
            # Another origin is trusted as the session says, and shown no certificate that was meant
            # for the first.
            ssl=options.ssl if hop.keeps_tls else True,
            traces=traces,
            trust_env=self._trust_env,
            server_hostname=options.server_hostname if hop.keeps_tls else None,
            shared=shared,
            cookie_line=cookie_line,
            upgrade=options.upgrade,
        )
        if options.hops is not None or self._may_pass_proxies:
            request.hops = self._proxies.hops_for(url, options)
        request._cookie_line = known
        if self._head_limits != _USUAL_LIMITS or options.limits != (None, None, None):
            request._limits = self._limits_for(options)
        if options.upload_tracker is not None:
            request._upload_tracker = options.upload_tracker
        return request

    def _limits_for(self, options: RequestOptions) -> Limits:
        """What a response's head may hold: the request's word goes before the session's."""
        line, field, headers = (
            own if own is not None else default
            for own, default in zip(options.limits, self._head_limits, strict=True)
        )
        limits = self._limits.get((line, field, headers))
        if limits is None:
            limits = self._limits[line, field, headers] = Limits(line, field, headers)
        return limits

    def _auth_for(self, hop: Hop, shared: FieldBlock) -> BasicAuth | None:
        """The session's credentials for the first origin, or those that ~/.netrc has for the hop's
        host.

        Raises:
            ValueError: There are session-wide credentials and an Authorization field.
        """
        url = hop.url
        own = field_pairs(hop.headers) if hop.headers else ()
        traced = "authorization" in shared.names or any(
            name.lower() == "authorization" for name, _ in own
        )
        default = self._default_auth
        trusted = hop.trusted and self._is_at_base(url)
        if default is not None and trusted:
            if traced:
                raise ValueError(
                    "Cannot combine AUTHORIZATION header with AUTH argument of the session"
                )
            return default
        netrc = self._proxies.netrc
        if traced or not netrc or url.raw_host in hop.left:
            return None
        # Where a redirect leads, only the host's own entry counts: `default` would be for anybody
        # who is named.
        return netrc.lookup(url.raw_host, default=trusted)

    def _is_at_base(self, url: URL) -> bool:
        """Whether session-wide secrets may go to `url`: with a `base_url`, they are for its
        origin.
        """
        return self._base_origin is None or base_origin_of(url) == self._base_origin

    def _given_away(self, given: StrOrURL, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a request, without its own secrets where a reference like ``//host/x``
        leads off.

        Who writes a path under `base_url` does not expect another server behind it (RFC 3986 4.2),
        and the path may come from somebody else.  A whole URL says what it means, and is taken at
        its word.
        """
        try:
            url = URL(given)
            if not url.absolute or url.scheme or self._is_at_base(self._build_url(url)):
                return kwargs
        except (ValueError, TypeError):
            return kwargs  # `_resolve_url` says what is wrong with it
        kept = {name: value for name, value in kwargs.items() if name not in ("auth", "cookies")}
        if kept.get("headers"):
            secrets = SECRET_FIELDS | {"host"}
            kept["headers"] = [
                pair for pair in field_pairs(kept["headers"]) if pair[0].lower() not in secrets
            ]
        return kept

    def _route_for(self, request: ClientRequest) -> Route:
        """The `Route` of a request: its origin, its proxies, and what it says of TLS."""
        url = HOOKS.requests.route_url(request) if request._routed_by_class else request.url
        return self._require_connector().route_for(
            url, ssl=request.ssl, server_hostname=request.server_hostname, hops=request.hops
        )


def _why_not(url: URL) -> str:
    """What is wrong with a URL that lacks its scheme or its host, as a person who wrote it needs to
    know.
    """
    if url.scheme:
        return "the URL has no host"
    if not url.absolute and url.raw_path.startswith("/"):
        return "the URL is relative, and the session has no base_url"
    return f"the URL has no scheme: is it https://{without_credentials(url).removeprefix('//')}?"
