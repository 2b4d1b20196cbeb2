"""`ClientRequest`: one request as it will be sent, and everything a middleware may still change
about it.

Header fields are kept in two parts, the block that all requests of the session share and the few
that are this request's own; the dictionary of them is made only when somebody looks.  Either way
the same fields go out in the same order.  Framing (Content-Length, Transfer-Encoding) belongs to
the engine: what a program sets must agree with the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from collections.abc import Set as AbstractSet
from io import IOBase
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.body.payload.encoders import compression_of
from wherry.body.payload.form import payload_of
from wherry.body.payload.memory import Payload
from wherry.client.headers.framing import (
    METHODS_WITHOUT_CONTENT,
    body_framing,
    connection_options,
    parted,
)
from wherry.client.headers.validation import (
    ENGINE_FIELDS,
    check_field,
    check_method,
    field_pairs,
    is_engines,
    target_of,
    without_proxy_credentials,
)
from wherry.client.hooks import HOOKS
from wherry.client.origin import authority_of
from wherry.client.plain_urls import UrlOfText
from wherry.client.request_info import RequestInfo
from wherry.connect.hooks import WatchedClass
from wherry.connect.proxy.http import forward_fields
from wherry.connect.proxy.proxy_argument import hops_of
from wherry.connect.route import ProxyHop, Route
from wherry.cookies.cookie_header import merge_cookie_lines, request_cookie_line
from wherry.protocol.connection import Exchange
from wherry.protocol.heads import EMPTY_BLOCK, FieldBlock, RequestHead
from wherry.redaction import shown_url
from wherry.types import HttpVersion, HttpVersion10, HttpVersion11, LooseCookies, LooseHeaders

if TYPE_CHECKING:
    from wherry.client.response import ClientResponse
    from wherry.client.session import ClientSession
    from wherry.connect.base_connector import BaseConnector

_UNTYPED = (str, bytes, bytearray, memoryview, IOBase)


class RequestExtensions:  # noqa: PLW1641  (it changes: there is no hash)
    """What travels with a request for those who send it, and is no part of what programs see.

    Attributes:
        traces: Who listens.
        timeout: The limits that hold.
        limits: What the response's head may hold (`Limits`), None for the usual.
        max_body_size: How much of a middleware's own answer may be read.
        proxy_answer: What a middleware answers proxies with (`connect_request.ProxyAnswer`).
        upload_tracker: Follows the upload of the body.
        writer: What writes a streamed body, once it has begun.
        sent: When that was over, in seconds of `time.monotonic`.
        carry: What sends it, while its class does so in a way of its own.
    """

    # Most of these few requests have; the class has them for the others.
    traces: Any = None
    timeout: Any = None
    limits: Any = None
    max_body_size: int | None = None
    proxy_answer: Any = None
    upload_tracker: Any = None
    writer: Any = None
    sent: float | None = None
    carry: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestExtensions) and self.__dict__ == other.__dict__

    def copy(self) -> RequestExtensions:
        copy = RequestExtensions()
        copy.__dict__.update(self.__dict__)
        return copy


class ClientRequest(metaclass=WatchedClass):
    """One request, before it is sent.

    A middleware may change `method`, `url`, `headers` (a CIMultiDict) and, by `update_body`, the
    body.

    Args:
        method: The method.
        url: Where to; user name and password in it become Basic authentication.
        params: Added to the query.
        headers: Fields of this request.
        skip_auto_headers: Names of fields that are not made by themselves.
        data: The body: bytes, str, a mapping, a file, an async iterable, a `Payload` ...
        cookies: Cookies of this request.
        auth: Basic authentication.
        version: HTTP/1.1 or HTTP/1.0.
        compress: Compresses the body: True or "deflate", "gzip", "br", "zstd".
        chunked: Sends the body in chunks although its length is known.
        expect100: Waits for 100 (Continue) before the body is sent.
        shared: The session's fields, already checked.
        cookie_line: The jar's cookies for `url`.
    """

    GET_METHODS = METHODS_WITHOUT_CONTENT
    POST_METHODS = frozenset({"PATCH", "POST", "PUT"})
    ALL_METHODS = GET_METHODS | POST_METHODS | {"DELETE"}

    url: URL = UrlOfText()  # type: ignore[assignment]
    original_url: URL = UrlOfText()  # type: ignore[assignment]
    auth: BasicAuth | None = None
    response: ClientResponse | None = None
    chunked: bool | None = None
    compress: str | bool | None = None
    upgrade: str | None = None
    proxy_auth: BasicAuth | None = None
    proxy_headers: LooseHeaders | None = None
    hops: tuple[ProxyHop, ...] = ()  # the proxies to pass, in order
    # What `auth=` calls to write the credentials, round all middlewares.
    authorize: Any = None
    _body: Payload | None = None
    _headers: CIMultiDict[str] | None = None
    _engine: dict[str, str] | None = None
    _auto_host = ""
    # Whether the class has methods of a program's own for its fields and its body, for where it is
    # sent, and for writing the body; see `RequestHooks`.
    _built_by_class = False
    _routed_by_class = False
    _written_by_class = False

    def __init__(
        self,
        method: str,
        url: URL,
        *,
        params: Any = None,
        headers: LooseHeaders | None = None,
        skip_auto_headers: Iterable[str] | None = None,
        data: Any = None,
        cookies: LooseCookies | None = None,
        auth: BasicAuth | None = None,
        version: HttpVersion = HttpVersion11,
        compress: str | bool | None = None,
        chunked: bool | None = None,
        expect100: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        response_class: type[ClientResponse] | None = None,
        proxy: Any = None,
        proxy_auth: BasicAuth | None = None,
        timer: Any = None,
        session: ClientSession | None = None,
        ssl: Any = True,
        proxy_headers: LooseHeaders | None = None,
        traces: Any = None,
        trust_env: bool = False,
        server_hostname: str | None = None,
        shared: FieldBlock = EMPTY_BLOCK,
        cookie_line: str = "",
        upgrade: str | None = None,
    ) -> None:
        if params:
            url = url.extend_query(params)
        if url.raw_user is not None or url.raw_password is not None:
            auth, url = _credentials_of(url, auth)
        self.original_url = url
        self.method = method
        self.url = url.with_fragment(None) if url.raw_fragment else url
        self.version = version
        self.ssl = ssl
        self.server_hostname = server_hostname
        self.expect100 = expect100
        self.response_class = response_class
        self.trust_env = trust_env
        self._session = session
        self.loop = loop
        self._skip_auto_headers = skip_auto_headers
        self._shared = shared
        fields: list[tuple[str, str]] = []
        self._fields = fields
        if proxy is not None:
            self.proxy_auth, self.proxy_headers = proxy_auth, proxy_headers
            self.hops = hops_of(proxy, proxy_auth, proxy_headers)
        self.upgrade = upgrade
        self._extensions = extensions = RequestExtensions()
        if traces is not None:
            extensions.traces = traces
        names = self._take_headers(headers) if headers else frozenset()
        if cookie_line or cookies:
            self._take_cookies(cookie_line, cookies)
        if chunked or (data is not None and chunked is not None):
            self.chunked = chunked
        if compress and data is not None:
            self.compress = compress
        if self._built_by_class:
            HOOKS.requests.build(self, auth, data)
        elif auth is not None:
            self._take_auth(auth, names)
        if data is not None and not self._built_by_class:
            self._take_body(data)
        if self._engine is not None and "transfer-encoding" in self._engine:
            self._check_own_coding()

    def __init_subclass__(cls) -> None:
        HOOKS.requests.class_made(cls)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {shown_url(self.url)}>"

    def copy(self) -> Self:
        """A twin of a request that was not sent: middlewares may change it, and this one stays as
        it is.
        """
        copy = object.__new__(type(self))
        copy.__dict__ = fields = self.__dict__.copy()
        fields["_fields"] = self._fields.copy()
        fields["_extensions"] = self._extensions.copy()
        return copy

    def is_as(self, built: ClientRequest) -> bool:
        """Whether nothing of a request was changed since it was like `built`."""
        mine, before = self.__dict__, built.__dict__
        if len(mine) != len(before):
            # A URL that was a text is made when somebody looks at it, which changes nothing.
            for name in ("url", "original_url"):
                if name in mine:
                    getattr(built, name)
        return mine == before

    # --- taking in what the user said -------------------------------------------------------------

    def _take_headers(self, headers: LooseHeaders) -> frozenset[str]:
        """Keep the request's own fields; they replace the shared ones of the same name."""
        fields = self._fields
        names = set()
        for name, value in field_pairs(headers):
            lower = check_field(name, value)
            if lower in ENGINE_FIELDS and is_engines(lower, value):
                if self._engine is None:
                    self._engine = {}
                self._engine[lower] = value
                continue
            names.add(lower)
            fields.append((name, value))
        if not names.isdisjoint(self._shared.names):
            self._shared = FieldBlock(
                pair for pair in self._shared.pairs if pair[0].lower() not in names
            )
        return frozenset(names)

    def _take_cookies(self, line: str, cookies: LooseCookies | None) -> None:
        """Make one Cookie field of the program's own field, the jar's line and the argument, each
        over those before.
        """
        own = [value for name, value in self._fields if name.lower() == "cookie"]
        if own:
            self._fields = [pair for pair in self._fields if pair[0].lower() != "cookie"]
        elif "cookie" in self._shared.names:
            own = [value for name, value in self._shared.pairs if name.lower() == "cookie"]
            self._shared = FieldBlock(
                pair for pair in self._shared.pairs if pair[0].lower() != "cookie"
            )
        if own:
            line = merge_cookie_lines("; ".join(own), line)
        if cookies:
            jar = None if self._session is None else self._session._defaults.cookie_jar
            quote, secure = (
                (True, ()) if jar is None else (jar.quote_cookie, jar.treat_as_secure_origin)
            )
            line = request_cookie_line(
                line, cookies, quote_cookie=quote, url=self.url, secure_origins=secure
            )
        if line:
            self._fields.append(("Cookie", line))

    def _take_auth(self, auth: BasicAuth, names: frozenset[str]) -> None:
        if not isinstance(auth, BasicAuth):
            raise TypeError(
                "BasicAuth() tuple is required instead: auth=BasicAuth(login, password); or a "
                "function that is given the request"
            )
        if "authorization" in names:
            raise ValueError(
                "Cannot combine AUTHORIZATION header with AUTH argument or credentials encoded in "
                "URL"
            )
        if "authorization" in self._shared.names:
            self._shared = FieldBlock(
                pair for pair in self._shared.pairs if pair[0].lower() != "authorization"
            )
        self.auth = auth
        self._fields.append(("Authorization", auth.encode()))

    def _take_body(self, data: Any) -> None:
        """Make the payload, and the fields that tell of it."""
        self._body = payload = payload_of(data)
        present = {name.lower() for name, _ in self._fields}
        skipped = {name.lower() for name in self._skip_auto_headers or ()}
        for name, value in payload.headers.items():
            lower = check_field(name, value)
            if (
                lower in present
                or lower in skipped
                or lower in self._shared.names
                or lower in ENGINE_FIELDS
            ):
                continue
            self._fields.append((str(name), value))
        coding = compression_of(self.compress)
        if coding is not None:
            if "content-encoding" in present:
                raise ValueError("compress can not be set if Content-Encoding header is set")
            self._fields.append(("Content-Encoding", coding))
            self.chunked = True

    def _check_own_coding(self) -> None:
        """Refuse a Transfer-Encoding of the program's own beside the engine's.

        Raises:
            ValueError: The body would go in chunks anyway.
        """
        payload, sends_none = self._body, self.method in METHODS_WITHOUT_CONTENT
        if self.chunked or (payload is not None and payload.size is None):
            if payload is None and sends_none:
                return
            raise ValueError(
                'chunked can not be set if "Transfer-Encoding: chunked" header is set: the body is '
                "sent in chunks without it"
            )

    # --- what the user sees -----------------------------------------------------------------------

    @property
    def headers(self) -> CIMultiDict[str]:
        """All fields that will be sent; changes hold."""
        headers = self._headers
        if headers is None:
            headers = self._headers = CIMultiDict()
            engine = self._engine or {}
            self._auto_host = authority_of(self.url)
            headers["Host"] = engine.get("host", self._auto_host)
            headers.extend(self._shared.pairs)
            for name, value in self._fields:
                headers.add(name, value)
            for lower, value in engine.items():
                if lower not in ("host", "content-length", "transfer-encoding"):
                    headers[lower.title()] = value
            if self.expect100:
                headers["Expect"] = "100-continue"
            self._announce_body(headers)
        return headers

    @headers.setter
    def headers(self, headers: LooseHeaders) -> None:
        self._headers = CIMultiDict(headers)

    def _announce_body(self, headers: CIMultiDict[str]) -> None:
        engine = self._engine or {}
        length, chunked = body_framing(
            self._body, engine, self.method, self.version, chunked=bool(self.chunked)
        )
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif length is not None:
            headers["Content-Length"] = str(length)

    @property
    def request_info(self) -> RequestInfo:
        return RequestInfo(self.url, self.method, CIMultiDictProxy(self.headers), self.original_url)

    @property
    def session(self) -> ClientSession:
        if self._session is None:
            raise RuntimeError("the request was made without a session")
        return self._session

    @property
    def body(self) -> Payload | bytes:
        """The body; b"" where there is none."""
        return b"" if self._body is None else self._body

    @property
    def skip_auto_headers(self) -> CIMultiDict[None]:
        return CIMultiDict((name, None) for name in sorted(self._skip_auto_headers or ()))

    @property
    def host(self) -> str:
        return self.url.host or ""

    @property
    def port(self) -> int | None:
        return self.url.port

    @property
    def sends_itself(self) -> bool:
        """Whether the program has a `send` of its own, of the class or of this request."""
        return type(self).send is not _PLAIN_SEND or "send" in self.__dict__

    async def send(self, _conn: Any) -> ClientResponse:
        """Write the request to the connection that it has, and give its response; for classes that
        override it.
        """
        carry = self._extensions.carry
        if carry is None:
            raise RuntimeError("a request is sent by its session")
        response: ClientResponse = await carry()
        return response

    async def update_body(self, body: Any) -> None:
        """Put another body in the place of this one; the fields that told of the old one change
        with it.

        Args:
            body: Anything that `data=` takes, None for no body.  Text, bytes and files say nothing
                of their type: a Content-Type that is there stays.
        """
        headers = self.headers  # from here on the dictionary is what counts
        if self._body is not None and self._body is not body:
            if not isinstance(body, _UNTYPED):
                for name, value in self._body.headers.items():
                    if headers.get(name) == value:
                        del headers[name]
            await self._body.close()
        for name in ("Content-Length", "Transfer-Encoding"):
            headers.popall(name, None)
        self._engine = None
        self._body = None
        if self.compress:
            headers.popall("Content-Encoding", None)
        else:
            self.chunked = None
        if self._built_by_class:
            HOOKS.requests.put_body(self, body)
        else:
            take_body(self, body)

    # --- what the engine sees ---------------------------------------------------------------------

    @property
    def payload(self) -> Payload | None:
        return self._body

    @property
    def proxy(self) -> URL | None:
        """The proxy that is next to the origin, without its credentials."""
        return URL(str(self.hops[-1])) if self.hops else None

    def wire_head(self, route: Route, close: bool = False) -> RequestHead:
        """What the protocol needs to send this request along `route`."""
        check_method(self.method)  # a middleware may have set it
        if self.upgrade is not None:
            check_field("Upgrade", self.upgrade)
        url, engine, upgrade, shared = self.url, self._engine, self.upgrade, self._shared
        fields: list[tuple[str, str]] = self._fields
        if self._headers is not None:
            shared = EMPTY_BLOCK
            fields, engine = parted(self._headers)
            if engine.get("host") == self._auto_host:
                del engine["host"]  # the URL may have changed since
        authority = authority_of(url)
        if engine is not None:
            authority = engine.get("host", authority)
            close, upgrade, fields = connection_options(engine, fields, upgrade, close)
        payload = self._body
        if payload is None and engine is None:
            length: int | None = None if self.method in METHODS_WITHOUT_CONTENT else 0
            chunked = False
        else:
            length, chunked = body_framing(
                payload, engine or {}, self.method, self.version, chunked=bool(self.chunked)
            )
        at_hand, expects = None, self.expect100 or (engine is not None and "expect" in engine)
        if payload is not None and not chunked and not self.compress and not expects:
            is_watched = self._written_by_class or self._extensions.upload_tracker is not None
            at_hand = None if is_watched else payload.at_hand
        target = target_of(url)
        if route.forward is not None:
            # RFC 9112 3.2.2
            target = f"{url.scheme}://{authority_of(url)}{target}"
        if route.forward is not None or route.hops:
            shared, fields = _fields_past_proxies(route, shared, fields)
        if self.method == "CONNECT":
            target = f"{url.host_subcomponent}:{url.port}"  # RFC 9112 3.2.3
        head = RequestHead(
            self.method,
            route.origin.scheme,
            authority,
            target,
            shared,
            fields,
            at_hand,
            streamed=payload is not None and at_hand is None,
            content_length=length,
            close=close,
        )
        head.limits = self._extensions.limits
        if expects:
            head.expect_continue = payload is not None
        head.upgrade = upgrade
        if self.version is not HttpVersion11 and self.version == HttpVersion10:
            head.version = self.version
        return head

    async def close(self) -> None:
        """Let go of the body's resources."""
        if self._body is not None:
            await self._body.close()


# What the rooms that send a request ask of it besides; programs do not see these.
extensions_of: Callable[[ClientRequest], RequestExtensions] = attrgetter("_extensions")


def take_body(request: ClientRequest, body: Any) -> None:
    """Take a body into a request's `headers`, which tell of none."""
    headers = request.headers
    if body is not None:
        shared, fields = request._shared, request._fields
        request._shared = EMPTY_BLOCK
        request._fields = list(headers.items())
        before = len(request._fields)
        request._take_body(body)
        headers.extend(request._fields[before:])
        request._shared, request._fields = shared, fields
    request._announce_body(headers)


def engine_fields(request: ClientRequest) -> Collection[str]:
    """The names of fields that the program said itself and the engine must know, in lower case."""
    return request._engine or ()


def leave_shared_only(request: ClientRequest, shared: FieldBlock) -> None:
    """Leave a request the fields that all share, and none of its own."""
    request._shared, request._fields, request.auth = shared, [], None


def route_for(request: ClientRequest, connector: BaseConnector) -> Route:
    """The `Route` of a request: its origin, its proxies, and what it says of TLS."""
    url = HOOKS.requests.route_url(request) if request._routed_by_class else request.url
    return connector.route_for(
        url, ssl=request.ssl, server_hostname=request.server_hostname, hops=request.hops
    )


def write_body(
    request: ClientRequest, payload: Payload, writer: Any, exchange: Exchange
) -> Awaitable[None]:
    """Write the body of a request, by its class where that has a way of its own."""
    if request._written_by_class:
        return HOOKS.requests.write_body(request, writer, exchange)
    return payload.write(writer)


class RequestShape:
    """What requests of one method and origin have in common: the `ClientRequest` of each is made
    from it.

    Args:
        request: Such a request, without fields or a body of its own; it stays as it is.
    """

    __slots__ = ("_attributes",)

    def __init__(self, request: ClientRequest) -> None:
        self._attributes = attributes = request.__dict__.copy()
        attributes.pop("url", None)  # each has its own, or the text of one
        attributes.pop("original_url", None)
        # A session that nobody holds goes at once, with its templates.
        attributes.pop("_session", None)

    @property
    def names(self) -> frozenset[str]:
        """The names of the fields that all share, in lower case."""
        names: frozenset[str] = self._attributes["_shared"].names
        return names

    @property
    def is_usual(self) -> bool:
        """Whether the engine has to know no field of it, and nobody has changed one."""
        attributes = self._attributes
        return attributes.get("_engine") is None and attributes.get("_headers") is None

    def without(self, replaced: AbstractSet[str]) -> tuple[RequestShape, FieldBlock]:
        """The shape of requests that say these shared fields themselves, and what they share."""
        shape = object.__new__(RequestShape)
        shape._attributes = attributes = self._attributes.copy()
        attributes["_shared"] = block = FieldBlock(
            pair for pair in attributes["_shared"].pairs if pair[0].lower() not in replaced
        )
        return shape, block

    def make(self, prepared: PreparedRequest) -> ClientRequest:
        """The request that was prepared, as it would be built by itself."""
        assert prepared.head is not None
        leg = prepared.leg
        request = object.__new__(ClientRequest)
        request.__dict__ = attributes = self._attributes.copy()
        attributes["_fields"] = prepared.head.fields
        attributes["_session"] = prepared.session
        attributes["_extensions"] = extensions = self._attributes["_extensions"].copy()
        extensions.timeout = prepared.timeout
        if prepared.traces is not None:
            extensions.traces = prepared.traces
        if leg.text is not None:
            attributes["_text"] = leg.text
        else:
            attributes["original_url"] = url = leg.url
            attributes["url"] = url.with_fragment(None) if url.raw_fragment else url
        if prepared.auth is not None:
            attributes["auth"] = prepared.auth
        if leg.data is not None:
            attributes["_body"] = leg.data
        return request


class PreparedRequest:
    """A request on its way: its route and its head where a template has made them, and the
    `ClientRequest` that programs see, made when somebody looks.

    Attributes:
        route: The way; None where that is found out for it.
        head: What is sent; None where that is made of `request`.
        method: The method.
        text: The URL, where that is a text (`plain_urls`); else None.
        session: Whose request it is.
        traces: Who listens.
        timeout: The limits that hold.
        auth: Its credentials.
        template: The `RequestTemplate` that has made its head.
        leg: The `Leg` that it was prepared for.
        made: The `ClientRequest`, once it is there.
    """

    __slots__ = (
        "auth",
        "head",
        "leg",
        "made",
        "method",
        "route",
        "session",
        "template",
        "text",
        "timeout",
        "traces",
    )

    route: Route | None
    head: RequestHead | None
    method: str
    text: str | None
    session: Any
    traces: Any
    timeout: Any
    made: ClientRequest | None
    template: Any
    leg: Any
    auth: Any

    @classmethod
    def of(cls, request: ClientRequest) -> PreparedRequest:
        """A request that was built by itself, or that a middleware has changed."""
        prepared = cls()
        prepared.route = prepared.head = prepared.text = None
        prepared.made = request
        prepared.method = request.method
        prepared.session = request._session
        prepared.traces = request._extensions.traces
        prepared.timeout = request._extensions.timeout
        return prepared

    @property
    def request(self) -> ClientRequest:
        """The request as programs see it."""
        request = self.made
        if request is None:
            request = self.made = self.template.show(self)
            assert request is not None
        return request

    @property
    def payload(self) -> Payload | None:
        """The body."""
        if self.made is not None:
            return self.made.payload
        data: Payload | None = self.leg.data
        return data


def _credentials_of(url: URL, auth: BasicAuth | None) -> tuple[BasicAuth, URL]:
    """The credentials in a URL, and the URL without them.

    Raises:
        ValueError: There are others.
    """
    if auth is not None:
        raise ValueError("Cannot combine AUTH argument with credentials encoded in URL")
    return BasicAuth(url.user or "", url.password or ""), url.with_user(None)


def _fields_past_proxies(
    route: Route, shared: FieldBlock, fields: list[tuple[str, str]]
) -> tuple[FieldBlock, list[tuple[str, str]]]:
    """The fields of a request that passes proxies: with those of a proxy that forwards it, and
    without credentials for a proxy that will not see it.
    """
    if route.forward is None:
        # RFC 9110 11.7.2: meant for a proxy, and at the end of a tunnel there is none.
        return without_proxy_credentials(shared, fields)
    # What is for the proxy goes with each request, and to this one only.
    own = forward_fields(route.forward)
    if any(name.lower() == "proxy-authorization" for name, _ in own):
        shared, fields = without_proxy_credentials(shared, fields)
    return shared, [*fields, *own]


_PLAIN_SEND = ClientRequest.send
