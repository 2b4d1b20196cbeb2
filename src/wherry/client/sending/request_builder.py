"""How a session makes a `ClientRequest` out of its defaults and what the program says of one
request.

The fields that all requests share are put together once, and what usual requests to one origin
have in common too (`request_template`).  Nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import ref

from multidict import CIMultiDict, getversion, istr
from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.body.compression_backends import accept_encoding
from wherry.body.payload.form import payload_of
from wherry.body.payload.memory import JsonBytesPayload, JsonPayload, Payload
from wherry.client.headers.validation import ENGINE_FIELDS, ORIGIN_FIELDS, check_field, field_pairs
from wherry.client.middleware import Auth, check_auth
from wherry.client.options import NO_OPTIONS, RequestOptions
from wherry.client.origin import base_origin_of
from wherry.client.plain_urls import is_plain_target, plain_origin, plain_query
from wherry.client.request import (
    ClientRequest,
    PreparedRequest,
    RequestShape,
    extensions_of,
    leave_shared_only,
    route_for,
)
from wherry.client.sending.redirect_rules import Leg
from wherry.client.sending.request_template import USUAL_METHODS, RequestTemplate
from wherry.client.session_defaults import SessionDefaults
from wherry.connect.connector import BaseConnector
from wherry.cookies.jar import CookieJar
from wherry.errors import InvalidUrlClientError, NonHttpUrlClientError, without_credentials
from wherry.protocol.heads import FieldBlock
from wherry.protocol.limits import DEFAULT_LIMITS, Limits
from wherry.redaction import shown_reason
from wherry.types import LooseHeaders, StrOrURL
from wherry.version import SERVER_SOFTWARE

_MOST_ORIGINS = 512
_MOST_TEMPLATES = 512
_USUAL_LIMITS = (
    DEFAULT_LIMITS.max_line_size,
    DEFAULT_LIMITS.max_field_size,
    DEFAULT_LIMITS.max_headers,
)


_NO_ONE = BasicAuth("")
_UNKNOWN: Any = object()


class RequestBuilder:
    """Makes requests of a session's defaults and of what the program says of each.

    Args:
        defaults: What holds for all requests.
        session: Whom requests show as theirs.  It is not held: a session that is forgotten must go
            at once, to say that it was not closed.
    """

    __slots__ = (
        "_blocks",
        "_blocks_version",
        "_limits",
        "_origins",
        "_session",
        "_templates",
        "_templates_version",
        "defaults",
    )

    def __init__(self, defaults: SessionDefaults, session: Any) -> None:
        self.defaults: SessionDefaults = defaults
        self._session = ref(session)
        self._blocks: dict[bool, tuple[FieldBlock, tuple[tuple[str, str], ...]]] = {}
        self._blocks_version = -1
        # Origins of URLs, as programs and yarl both write them.
        self._origins: dict[str, None] = {}
        self._limits: dict[tuple[int, int, int], Limits] = {}
        # By (method, origin); None where there can be none.
        self._templates: dict[tuple[str, str], RequestTemplate | None] = {}
        self._templates_version = -1

    def for_one_call(self, defaults: SessionDefaults, session: Any) -> RequestBuilder:
        """One for another session with the same defaults, which knows what this one knows and adds
        to it; neither has headers that change.
        """
        other = object.__new__(RequestBuilder)
        other.defaults, other._session = defaults, ref(session)
        other._blocks, other._origins, other._limits = self._blocks, self._origins, self._limits
        other._templates = self._templates
        other._blocks_version = other._templates_version = getversion(defaults.headers_any)
        return other

    def _connector(self) -> BaseConnector:
        connector = self.defaults.connector
        if connector is None:
            raise RuntimeError("Session is closed")
        return connector

    def build(self, leg: Leg, options: RequestOptions, traces: Any) -> PreparedRequest:
        """A new request for one leg of a chain of redirects, with its way and head where a template
        has made them; each try has its own.
        """
        defaults = self.defaults
        usual = options.usual and defaults.is_plain and leg.trusted and leg.method in USUAL_METHODS
        connector = defaults.connector
        if not usual or connector is None or connector.shows_requests:
            return PreparedRequest.of(self._make_request(leg, options, traces=traces))
        version = getversion(defaults.headers_any)
        if version != self._templates_version:
            self._templates.clear()
            self._templates_version = version
        text = leg.text
        if text is not None:
            origin = text[: text.find("/", 8)]
        else:
            origin = f"{leg.url.scheme}://{leg.url.raw_authority}"
        key = leg.method, origin
        template = self._templates.get(key, _UNKNOWN)
        if template is _UNKNOWN:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            template = self._templates[key] = self._new_template(leg.method, leg.url)
        if template is not None:
            jar = defaults.cookie_jar
            # Without cookies nobody needs the URL.
            none = type(jar) is CookieJar and jar.is_empty()
            cookies = "" if none else self._cookies_for(leg.url)
            prepared: PreparedRequest | None = template.prepare(
                leg, self._session(), cookies, traces
            )
            if prepared is not None:
                return prepared
        return PreparedRequest.of(self._make_request(leg, options, traces=traces))

    def _new_template(self, method: str, url: URL) -> RequestTemplate | None:
        """What requests to the origin of `url` have in common; None where that is not enough."""
        if url.raw_user is not None or url.raw_password is not None:
            return None
        trusted = self._is_at_base(url)
        shared, engine = self._shared_block(trusted, None)
        if engine:
            return None
        # Which credentials go out, and whether they may, each request says for itself; cookies too.
        leg = Leg(method, url, None, None, _NO_ONE)
        request = self._make_request(leg, NO_OPTIONS, traces=None)
        leave_shared_only(request, shared)
        connector = self._connector()
        route = route_for(request, connector)
        head = request.wire_head(route, connector.force_close)
        shape = RequestShape(request)
        if not RequestTemplate.fits(shape, route, head):
            return None
        return RequestTemplate(shape, route, head, self.defaults.auth if trusted else None)

    def _cookies_for(self, url: URL) -> str:
        """The jar's Cookie line for `url`; cookies without a domain are for `base_url` alone."""
        line = self.defaults.cookie_jar.cookie_header(url)
        if line and not self._is_at_base(url):
            line = self.defaults.cookie_jar.cookie_header_without_shared(url)
        return line

    def forget(self) -> None:
        """Let go of what was built, which holds the session: without that its end would wait for
        the collector.
        """
        self._templates.clear()

    def resolve_url(self, given: StrOrURL) -> URL:
        """The absolute URL of a request, checked.

        Raises:
            InvalidUrlClientError: It is no URL, or has no host.
            NonHttpUrlClientError: It has a scheme that the connector does not speak.
        """
        url = self._check_url(given)
        if type(given) is str and (origin := plain_origin(given, url)) is not None:
            if len(self._origins) >= _MOST_ORIGINS:
                self._origins.clear()
            self._origins[origin] = None
        return url

    def plain_url(self, text: str, params: Any) -> str | None:
        """The URL of a request as text, where that needs no second look; see `plain_urls`."""
        at = text.find("/", 8)
        if text[:at] not in self._origins or is_plain_target(text, at) is None:
            return None
        if params:
            query = plain_query(params)
            if query is None:
                return None
            text = f"{text}{'&' if '?' in text else '?'}{query}"
        return text

    def _check_url(self, given: StrOrURL) -> URL:
        try:
            url = self.join(given)
            host = url.raw_host
        except (ValueError, IndexError) as exc:  # yarl of https://[::1]:43@/
            # Without its cause, which quotes what stands before the host.
            raise InvalidUrlClientError(given, shown_reason(exc)) from None
        if url.scheme not in self._connector().allowed_protocol_schema_set:
            raise NonHttpUrlClientError(url)
        if not url.scheme or (not host and url.scheme in ("http", "https", "ws", "wss")):
            raise InvalidUrlClientError(url, _why_not(url))
        return url

    def join(self, str_or_url: StrOrURL) -> URL:
        """A URL, put under the session's `base_url` where it is relative."""
        url = URL(str_or_url)
        # A reference may begin with a host (RFC 3986 4.2): what it lacks then is the scheme.
        if self.defaults.base_url is None or (url.absolute and url.scheme):
            return url
        return self.defaults.base_url.join(url)

    def merged_headers(self, own: LooseHeaders | None, url: URL | None = None) -> CIMultiDict[str]:
        """The session's fields, as far as they may go to `url`, and a request's own, which replace
        their like.
        """
        headers = self.defaults.headers.copy()
        if url is not None and not self._is_at_base(url):
            for name in ORIGIN_FIELDS:
                headers.popall(name, None)
        if own:
            pairs = list(field_pairs(own))
            for name, _ in pairs:
                headers.popall(name, None)
            headers.extend(pairs)
        return headers

    def payload(self, options: RequestOptions) -> Payload | None:
        """The body that the options ask for, made once for all legs and tries."""
        data = options.data
        if data is None:
            if options.json is None:
                return None
            if self.defaults.json_serialize_bytes is not None:
                return JsonBytesPayload(options.json, dumps=self.defaults.json_serialize_bytes)
            return JsonPayload(options.json, dumps=self.defaults.json_serialize)
        return payload_of(data)

    def _shared_block(
        self, trusted: bool, skip: Iterable[str] | None
    ) -> tuple[FieldBlock, tuple[tuple[str, str], ...]]:
        """(the fields that all requests share, the session's own of which the engine must know)."""
        if skip:
            return self._make_block(
                trusted, frozenset(istr(name) for name in skip) | self.defaults.skip_auto_headers
            )
        version = getversion(self.defaults.headers_any)
        if version != self._blocks_version:
            self._blocks = {}
            self._blocks_version = version
        entry = self._blocks.get(trusted)
        if entry is None:
            entry = self._blocks[trusted] = self._make_block(
                trusted, self.defaults.skip_auto_headers
            )
        return entry

    def _make_block(
        self, trusted: bool, skip: frozenset[str]
    ) -> tuple[FieldBlock, tuple[tuple[str, str], ...]]:
        pairs: list[tuple[str, str]] = []
        engine: list[tuple[str, str]] = []
        for name, value in self.defaults.headers.items():
            lower = check_field(name, value)
            if lower in ENGINE_FIELDS:
                if trusted or lower != "host":
                    engine.append((name, value))
            elif trusted or lower not in ORIGIN_FIELDS:
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

    def _make_request(self, leg: Leg, options: RequestOptions, *, traces: Any) -> ClientRequest:
        """A new `ClientRequest` for one leg of a chain of redirects; each try has its own."""
        shared, engine = self._shared_block(
            leg.trusted and self._is_at_base(leg.url), options.skip_auto_headers
        )
        headers = leg.headers
        if engine:
            own = list(field_pairs(headers)) if headers else []
            names = {str(name).lower() for name, _ in own}
            headers = [*(pair for pair in engine if pair[0].lower() not in names), *own]
        url = leg.url
        auth = leg.auth
        if auth is None and (self.defaults.auth is not None or self.defaults.trust_env):
            auth = self._auth_for(leg, shared)
        authorize = None
        if auth is not None and not isinstance(auth, BasicAuth):
            authorize, auth = check_auth(auth), None
        cookie_line = self._cookies_for(url)
        request = self.defaults.request_class(
            leg.method,
            url,
            headers=headers,
            skip_auto_headers=options.skip_auto_headers,
            data=leg.data,
            cookies=options.cookies if leg.trusted else None,
            auth=auth,
            version=self.defaults.version,
            compress=options.compress,
            chunked=options.chunked,
            expect100=options.expect100,
            loop=self.defaults.loop,
            response_class=self.defaults.response_class,
            session=self._session(),
            # Another origin is trusted as the session says, and shown no certificate that was meant
            # for the first.
            ssl=options.ssl if leg.keeps_tls else True,
            traces=traces,
            trust_env=self.defaults.trust_env,
            server_hostname=options.server_hostname if leg.keeps_tls else None,
            shared=shared,
            cookie_line=cookie_line,
            upgrade=options.upgrade,
        )
        if authorize is not None:
            request.authorize = authorize
        if options.hops is not None or self.defaults.may_pass_proxies:
            request.hops = self.defaults.proxies.hops_for(url, options)
        if self.defaults.head_limits != _USUAL_LIMITS or options.limits != (None, None, None):
            extensions_of(request).limits = self._limits_for(options)
        if options.upload_tracker is not None:
            extensions_of(request).upload_tracker = options.upload_tracker
        return request

    def _limits_for(self, options: RequestOptions) -> Limits:
        """What a response's head may hold: the request's word goes before the session's."""
        line, field, headers = (
            own if own is not None else default
            for own, default in zip(options.limits, self.defaults.head_limits, strict=True)
        )
        limits = self._limits.get((line, field, headers))
        if limits is None:
            limits = self._limits[line, field, headers] = Limits(line, field, headers)
        return limits

    def _auth_for(self, leg: Leg, shared: FieldBlock) -> Auth | None:
        """The session's credentials for the first origin, or those that ~/.netrc has for the leg's
        host.

        Raises:
            ValueError: There are session-wide credentials and an Authorization field.
        """
        url = leg.url
        own = field_pairs(leg.headers) if leg.headers else ()
        traced = "authorization" in shared.names or any(
            isinstance(name, str) and name.lower() == "authorization" for name, _ in own
        )
        default = self.defaults.auth
        trusted = leg.trusted and self._is_at_base(url)
        if default is not None and trusted:
            if traced:
                raise ValueError(
                    "Cannot combine AUTHORIZATION header with AUTH argument of the session"
                )
            return default
        netrc = self.defaults.proxies.netrc
        if traced or not netrc or url.raw_host in leg.left:
            return None
        # Where a redirect leads, only the host's own entry counts: `default` would be for anybody
        # who is named.
        return netrc.lookup(url.raw_host, default=trusted)

    def _is_at_base(self, url: URL) -> bool:
        """Whether session-wide secrets may go to `url`: with a `base_url`, they are for its
        origin.
        """
        return self.defaults.base_origin is None or base_origin_of(url) == self.defaults.base_origin

    def completed(self, given: StrOrURL, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a request as the session makes them: with its `params`, and without
        secrets that would go elsewhere.
        """
        if kwargs and self.defaults.base_origin is not None:
            kwargs = self.without_secrets(given, kwargs)
        return kwargs if self.defaults.params is None else self.with_params(given, kwargs)

    def with_params(self, given: StrOrURL, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a request, with what the session adds to each query.

        What the request names itself goes before; with a `base_url`, another origin gets nothing.
        """
        defaults = self.defaults.params
        assert defaults is not None
        try:
            url = URL(given)
            if self.defaults.base_origin is not None and not self._is_at_base(self.join(url)):
                return kwargs
        except (ValueError, TypeError, IndexError):
            return kwargs  # `resolve_url` says what is wrong with it
        own = URL().extend_query(kwargs.get("params")).query
        merged = [
            (name, value)
            for name, value in defaults.items()
            if name not in own and name not in url.query
        ]
        return {**kwargs, "params": [*merged, *own.items()]}

    def without_secrets(self, given: StrOrURL, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a request, without its own secrets where a reference like ``//host/x``
        leads off.

        Who writes a path under `base_url` does not expect another server behind it (RFC 3986 4.2),
        and the path may come from somebody else.  A whole URL says what it means, and is taken at
        its word.
        """
        try:
            url = URL(given)
            if not url.absolute or url.scheme or self._is_at_base(self.join(url)):
                return kwargs
        except (ValueError, TypeError, IndexError):
            return kwargs  # `resolve_url` says what is wrong with it
        kept = {name: value for name, value in kwargs.items() if name not in ("auth", "cookies")}
        if kept.get("headers"):
            kept["headers"] = [
                pair
                for pair in field_pairs(kept["headers"])
                if pair[0].lower() not in ORIGIN_FIELDS
            ]
        return kept


def _why_not(url: URL) -> str:
    """What is wrong with a URL that lacks its scheme or its host, as a person who wrote it needs to
    know.
    """
    if url.scheme:
        return "the URL has no host"
    if not str(url):
        return "the URL is empty"
    if str(url).upper() in USUAL_METHODS:
        return "this is a method: say request(method, url)"
    if not url.absolute and url.raw_path.startswith("/"):
        return "the URL is relative, and the session has no base_url"
    return f"the URL has no scheme: is it https://{without_credentials(url).removeprefix('//')}?"
