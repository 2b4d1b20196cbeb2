"""OpenTelemetry for a session's requests: client spans, the duration metric, and the context in
their fields.

It listens by a `TraceConfig`, so it needs nothing but the public names, and follows the stable HTTP
semantic conventions (client spans and ``http.client.request.duration``).  Needs the extra
``opentelemetry``.

    session = wherry.ClientSession(trace_configs=[create_trace_config()])
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, propagate, trace
except ModuleNotFoundError as _exc:  # pragma: no cover
    raise ModuleNotFoundError(
        "traces need opentelemetry-api: pip install 'wherry[opentelemetry]'", name=_exc.name
    ) from _exc
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from yarl import URL

from wherry import (
    ClientResponse,
    RedirectClientError,
    TooManyRedirects,
    TraceConfig,
    TraceRequestEndParams,
    TraceRequestExceptionParams,
    TraceRequestHeadersSentParams,
    TraceRequestRedirectParams,
    TraceRequestRetryParams,
    TraceRequestStartParams,
    __version__,
)

__all__ = ("DURATION_BUCKETS", "create_trace_config", "redacted_url")

_SCHEMA = "https://opentelemetry.io/schemas/1.27.0"
# Seconds; the conventions ask for exactly these.
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# RFC 9110 9, RFC 5789; any other is "_OTHER", so that a caller cannot make attributes without end.
_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
# Parameters that grant access by themselves (the conventions' list for url.full and url.query).
_SECRET_PARAMETERS = frozenset({"AWSAccessKeyId", "Signature", "X-Goog-Signature", "sig"})
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

UrlFilter = Callable[[URL], str]
RequestHook = Callable[[Span, TraceRequestStartParams], None]
ResponseHook = Callable[[Span, TraceRequestEndParams | TraceRequestExceptionParams], None]


def redacted_url(url: URL) -> str:
    """The URL as ``url.full`` may have it: without fragment, with credentials and signatures made
    unreadable.
    """
    if url.raw_user is not None:
        url = url.with_user("REDACTED")
    if url.raw_password is not None:
        url = url.with_password("REDACTED")
    if url.raw_fragment:
        url = url.with_fragment(None)
    if url.raw_query_string and not _SECRET_PARAMETERS.isdisjoint(url.query):
        url = url.with_query(
            [(k, "REDACTED" if k in _SECRET_PARAMETERS else v) for k, v in url.query.items()]
        )
    return str(url)


class _Attempt:
    """One request on the wire: its span, and what its metric needs."""

    __slots__ = ("attributes", "ended_ns", "seconds", "span", "started")

    def __init__(self, span: Span, attributes: dict[str, Any]) -> None:
        self.span = span
        self.attributes = attributes
        self.started = time.perf_counter()
        self.ended_ns = 0
        self.seconds = 0.0

    def stop(self) -> None:
        """Take the time, once."""
        if not self.ended_ns:
            self.ended_ns = time.time_ns()
            self.seconds = time.perf_counter() - self.started


class _Context:
    """What the signals of one request share."""

    __slots__ = ("attempt", "redirected", "resends", "trace_request_ctx")

    def __init__(self, trace_request_ctx: Any = None) -> None:
        self.trace_request_ctx = trace_request_ctx
        self.attempt: _Attempt | None = None
        # The attempt whose redirect is being followed, until the next one is on its way.
        self.redirected: _Attempt | None = None
        self.resends = 0


class _Recorder:
    """Turns signals into spans and measurements: a span for each attempt, redirects and retries
    included.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        duration: metrics.Histogram,
        url_filter: UrlFilter,
        request_hook: RequestHook | None,
        response_hook: ResponseHook | None,
    ) -> None:
        self._tracer = tracer
        self._duration = duration
        self._url_filter = url_filter
        self._request_hook = request_hook
        self._response_hook = response_hook

    async def start(self, session: Any, context: _Context, params: TraceRequestStartParams) -> None:
        if not otel_context.get_value(
            otel_context._SUPPRESS_INSTRUMENTATION_KEY
        ) and not otel_context.get_value(otel_context._SUPPRESS_HTTP_INSTRUMENTATION_KEY):
            self._begin(context, params.method, params.url, params.headers)
            if self._request_hook is not None and context.attempt is not None:
                self._request_hook(context.attempt.span, params)

    async def redirect(
        self, session: Any, context: _Context, params: TraceRequestRedirectParams
    ) -> None:
        """The response ends one attempt, and the next begins, so that its context goes with its
        fields.
        """
        location = params.response.headers.get("Location")
        if context.attempt is None or not location:
            return
        try:
            url = params.url.join(URL(location))
        except (ValueError, IndexError):
            return  # it cannot be followed, and the exception is about to be told
        self._settle(context)
        self._take_response(context.attempt, params.response)
        context.attempt.stop()
        context.redirected = context.attempt
        context.resends += 1
        self._begin(context, params.method, url, params.headers)

    async def sent(
        self, session: Any, context: _Context, params: TraceRequestHeadersSentParams
    ) -> None:
        if context.attempt is not None:
            self._settle(context)
            if params.method != context.attempt.attributes["http.request.method"]:
                # The redirect changed the method (RFC 9110 15.4.4), or a middleware did.
                self._name(context.attempt, params.method)

    async def retry(self, session: Any, context: _Context, params: TraceRequestRetryParams) -> None:
        if context.attempt is None:
            return
        if params.exception is not None:
            self._take_failure(context.attempt, params.exception)
        if params.response is not None:
            self._take_response(context.attempt, params.response)
        self._settle(context)
        self._finish(context.attempt)
        context.resends += 1
        self._begin(context, params.method, params.url, params.headers)

    async def end(self, session: Any, context: _Context, params: TraceRequestEndParams) -> None:
        attempt = context.attempt
        if attempt is None:
            return
        self._settle(context)
        self._take_response(attempt, params.response)
        if self._response_hook is not None:
            self._response_hook(attempt.span, params)
        self._finish(attempt)

    async def exception(
        self, session: Any, context: _Context, params: TraceRequestExceptionParams
    ) -> None:
        attempt = context.attempt
        if attempt is None:
            return
        if context.redirected is not None and isinstance(
            params.exception, TooManyRedirects | RedirectClientError
        ):
            # Nothing was sent after the redirect: the failure is that of the response that
            # redirects.
            attempt = context.attempt = context.redirected
            context.redirected = None
        self._settle(context)
        self._take_failure(attempt, params.exception)
        if self._response_hook is not None:
            self._response_hook(attempt.span, params)
        self._finish(attempt)

    def _begin(self, context: _Context, method: str, url: URL, headers: Any) -> None:
        """Start the span of one attempt and put its context into the request's fields."""
        known = method if method in _METHODS else "_OTHER"
        attributes: dict[str, Any] = {
            "http.request.method": known,
            "server.address": url.host or "",
        }
        port = url.explicit_port or _DEFAULT_PORTS.get(url.scheme)
        if port is not None:
            attributes["server.port"] = port
        more: dict[str, Any] = {"url.full": self._url_filter(url)}
        if known != method:
            more["http.request.method_original"] = method
        if context.resends:
            more["http.request.resend_count"] = context.resends
        span = self._tracer.start_span(
            known if known == method else "HTTP",
            kind=SpanKind.CLIENT,
            attributes={**attributes, **more},
        )
        context.attempt = _Attempt(span, attributes)
        propagate.inject(headers, context=trace.set_span_in_context(span))

    @staticmethod
    def _name(attempt: _Attempt, method: str) -> None:
        known = method if method in _METHODS else "_OTHER"
        attempt.attributes["http.request.method"] = known
        attempt.span.set_attribute("http.request.method", known)
        attempt.span.update_name(known if known == method else "HTTP")

    @staticmethod
    def _take_response(attempt: _Attempt, response: ClientResponse) -> None:
        found: dict[str, Any] = {"http.response.status_code": response.status}
        version = response.version
        if version is not None:
            minor = f".{version.minor}" if version.major < 2 else ""
            found["network.protocol.version"] = f"{version.major}{minor}"
        if response.status >= 400:
            found["error.type"] = str(response.status)
            attempt.span.set_status(Status(StatusCode.ERROR))
        attempt.attributes.update(found)
        attempt.span.set_attributes(found)

    @staticmethod
    def _take_failure(attempt: _Attempt, exception: BaseException) -> None:
        kind = type(exception)
        name = (
            kind.__qualname__
            if kind.__module__ == "builtins"
            else f"{kind.__module__}.{kind.__qualname__}"
        )
        found: dict[str, Any] = {"error.type": name}
        status = getattr(exception, "status", None)
        if isinstance(status, int) and status >= 400:
            # `raise_for_status` turned a response into this exception.
            found = {"error.type": str(status), "http.response.status_code": status}
        attempt.attributes.update(found)
        attempt.span.set_attributes(found)
        # Not its message: that may have a URL with credentials in it.
        attempt.span.set_status(Status(StatusCode.ERROR, kind.__name__))

    def _settle(self, context: _Context) -> None:
        """The redirect was followed: end the span of the response that redirected."""
        if context.redirected is not None:
            self._finish(context.redirected)
            context.redirected = None

    def _finish(self, attempt: _Attempt) -> None:
        attempt.stop()
        attempt.span.end(attempt.ended_ns)
        self._duration.record(
            attempt.seconds, attempt.attributes, context=trace.set_span_in_context(attempt.span)
        )


def create_trace_config(
    url_filter: UrlFilter = redacted_url,
    request_hook: RequestHook | None = None,
    response_hook: ResponseHook | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> TraceConfig:
    """A `TraceConfig` that records each request, redirects and retries included, as a span and a
    measurement.

    A span ends when the response's head is here, as does the measured time.

    Args:
        url_filter: Makes ``url.full`` of a URL; `redacted_url` by default.
        request_hook: Called with the span and the params when a request begins.
        response_hook: Called with the span and the params when it ends or fails.
        tracer_provider: Makes the spans; the global one by default.
        meter_provider: Takes the measurements; the global one by default.
    """
    meter = metrics.get_meter("wherry", __version__, meter_provider, _SCHEMA)
    duration = meter.create_histogram(
        "http.client.request.duration",
        unit="s",
        description="Duration of HTTP client requests.",
        explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
    )
    tracer = trace.get_tracer("wherry", __version__, tracer_provider, _SCHEMA)
    recorder = _Recorder(tracer, duration, url_filter, request_hook, response_hook)
    config = TraceConfig(trace_config_ctx_factory=_Context)
    config.on_request_start.append(recorder.start)  # type: ignore[arg-type]
    config.on_request_redirect.append(recorder.redirect)  # type: ignore[arg-type]
    config.on_request_headers_sent.append(recorder.sent)  # type: ignore[arg-type]
    config.on_request_retry.append(recorder.retry)  # type: ignore[arg-type]
    config.on_request_end.append(recorder.end)  # type: ignore[arg-type]
    config.on_request_exception.append(recorder.exception)  # type: ignore[arg-type]
    return config
