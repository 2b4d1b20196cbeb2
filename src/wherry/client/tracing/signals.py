"""Client tracing: signals that a program listens to, and the `Traces` of one request that send
them.

A request without trace configs has no `Traces`, and pays nothing.  This room knows the names and
the order of the steps; where each is taken is known to the pipeline, and to the connector through
`ConnectObserver`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from aiosignal import Signal
from multidict import CIMultiDict
from yarl import URL

from wherry.client.tracing.params import (
    TraceCacheHitParams,
    TraceCacheMissParams,
    TraceConnectionCreateEndParams,
    TraceConnectionCreateStartParams,
    TraceConnectionQueuedEndParams,
    TraceConnectionQueuedStartParams,
    TraceConnectionReuseconnParams,
    TraceDnsCacheHitParams,
    TraceDnsCacheMissParams,
    TraceDnsResolveHostEndParams,
    TraceDnsResolveHostStartParams,
    TraceQuicHandshakeEndParams,
    TraceQuicHandshakeStartParams,
    TraceRequestChunkSentParams,
    TraceRequestEndParams,
    TraceRequestExceptionParams,
    TraceRequestHeadersSentParams,
    TraceRequestRedirectParams,
    TraceRequestRetryParams,
    TraceRequestStartParams,
    TraceResponseChunkReceivedParams,
    TraceStreamStartParams,
)
from wherry.types import HttpVersion

if TYPE_CHECKING:
    from wherry.client.response import ClientResponse
    from wherry.client.session import ClientSession

__all__ = (
    "TraceCacheHitParams",
    "TraceCacheMissParams",
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
    "TraceQuicHandshakeEndParams",
    "TraceQuicHandshakeStartParams",
    "TraceRequestChunkSentParams",
    "TraceRequestEndParams",
    "TraceRequestExceptionParams",
    "TraceRequestHeadersSentParams",
    "TraceRequestRedirectParams",
    "TraceRequestRetryParams",
    "TraceRequestStartParams",
    "TraceResponseChunkReceivedParams",
    "TraceStreamStartParams",
    "Traces",
)


# --- who listens ----------------------------------------------------------------------------------

_Params = TypeVar("_Params")
_Signal: TypeAlias = "Signal[ClientSession, SimpleNamespace, _Params]"
_Listener: TypeAlias = Callable[..., Awaitable[object]]


class _SignalOf(Generic[_Params]):
    """A signal of a `TraceConfig`, as a read-only attribute."""

    __slots__ = ("_name",)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    @overload
    def __get__(self, config: None, owner: type) -> _SignalOf[_Params]: ...

    @overload
    def __get__(self, config: TraceConfig, owner: type) -> _Signal[_Params]: ...

    def __get__(self, config: TraceConfig | None, owner: type) -> Any:
        return self if config is None else config.__dict__[self._name]

    def __set__(self, config: TraceConfig, value: object) -> None:
        raise AttributeError(f"{self._name[1:]} cannot be replaced; append listeners to it")


class TraceConfig:
    """Signals for the steps of requests; append coroutine functions ``(session, trace_config_ctx,
    params)``.

    A session freezes its configs when it is made.

    Args:
        trace_config_ctx_factory: Makes the context that the signals of one request share; it is
            called with the keyword `trace_request_ctx`, what the request was given under that name.
    """

    on_request_start: _SignalOf[TraceRequestStartParams] = _SignalOf[TraceRequestStartParams]()
    on_request_chunk_sent: _SignalOf[TraceRequestChunkSentParams] = _SignalOf[
        TraceRequestChunkSentParams
    ]()
    on_response_chunk_received: _SignalOf[TraceResponseChunkReceivedParams] = _SignalOf[
        TraceResponseChunkReceivedParams
    ]()
    on_request_end: _SignalOf[TraceRequestEndParams] = _SignalOf[TraceRequestEndParams]()
    on_request_exception: _SignalOf[TraceRequestExceptionParams] = _SignalOf[
        TraceRequestExceptionParams
    ]()
    on_request_redirect: _SignalOf[TraceRequestRedirectParams] = _SignalOf[
        TraceRequestRedirectParams
    ]()
    on_request_retry: _SignalOf[TraceRequestRetryParams] = _SignalOf[TraceRequestRetryParams]()
    on_connection_queued_start: _SignalOf[TraceConnectionQueuedStartParams] = _SignalOf[
        TraceConnectionQueuedStartParams
    ]()
    on_connection_queued_end: _SignalOf[TraceConnectionQueuedEndParams] = _SignalOf[
        TraceConnectionQueuedEndParams
    ]()
    on_connection_create_start: _SignalOf[TraceConnectionCreateStartParams] = _SignalOf[
        TraceConnectionCreateStartParams
    ]()
    on_connection_create_end: _SignalOf[TraceConnectionCreateEndParams] = _SignalOf[
        TraceConnectionCreateEndParams
    ]()
    on_connection_reuseconn: _SignalOf[TraceConnectionReuseconnParams] = _SignalOf[
        TraceConnectionReuseconnParams
    ]()
    on_stream_start: _SignalOf[TraceStreamStartParams] = _SignalOf[TraceStreamStartParams]()
    on_cache_hit: _SignalOf[TraceCacheHitParams] = _SignalOf[TraceCacheHitParams]()
    on_cache_miss: _SignalOf[TraceCacheMissParams] = _SignalOf[TraceCacheMissParams]()
    on_dns_resolvehost_start: _SignalOf[TraceDnsResolveHostStartParams] = _SignalOf[
        TraceDnsResolveHostStartParams
    ]()
    on_dns_resolvehost_end: _SignalOf[TraceDnsResolveHostEndParams] = _SignalOf[
        TraceDnsResolveHostEndParams
    ]()
    on_dns_cache_hit: _SignalOf[TraceDnsCacheHitParams] = _SignalOf[TraceDnsCacheHitParams]()
    on_dns_cache_miss: _SignalOf[TraceDnsCacheMissParams] = _SignalOf[TraceDnsCacheMissParams]()
    on_quic_handshake_start: _SignalOf[TraceQuicHandshakeStartParams] = _SignalOf[
        TraceQuicHandshakeStartParams
    ]()
    on_quic_handshake_end: _SignalOf[TraceQuicHandshakeEndParams] = _SignalOf[
        TraceQuicHandshakeEndParams
    ]()
    on_request_headers_sent: _SignalOf[TraceRequestHeadersSentParams] = _SignalOf[
        TraceRequestHeadersSentParams
    ]()

    def __init__(self, trace_config_ctx_factory: Callable[..., Any] = SimpleNamespace) -> None:
        self._trace_config_ctx_factory = trace_config_ctx_factory
        for name in _SIGNALS:
            self.__dict__[f"_{name}"] = Signal(self)

    def trace_config_ctx(self, trace_request_ctx: Any = None) -> Any:
        """A new context, for one request."""
        return self._trace_config_ctx_factory(trace_request_ctx=trace_request_ctx)

    def freeze(self) -> None:
        """Take no more listeners."""
        for name in _SIGNALS:
            getattr(self, name).freeze()


_SIGNALS = tuple(
    name for name, attribute in vars(TraceConfig).items() if isinstance(attribute, _SignalOf)
)


def listeners_of(config: Any) -> dict[str, tuple[_Listener, ...]]:
    """Who listens to what, from now on; signals that nobody listens to are left out.

    Args:
        config: A `TraceConfig`, or one that instrumentation for aiohttp has made: it lacks the
            signals that we add.
    """
    subscribed: dict[str, tuple[_Listener, ...]] | None = getattr(config, "_subscribed", None)
    if subscribed is None:
        config.freeze()
        subscribed = config._subscribed = {
            name: tuple(found) for name in _SIGNALS if (found := getattr(config, name, None))
        }
    return subscribed


# --- one request's --------------------------------------------------------------------------------


class _Nothing:
    """What is awaited where nobody listens."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_NOTHING = _Nothing()
_NO_URL = URL()
_NO_HEADERS: CIMultiDict[str] = CIMultiDict()


class Traces:
    """The trace configs of one request, with their contexts: one method for each step, whose result
    is awaited.

    It is the request's `ConnectObserver` too.

    Args:
        session: The first argument of every listener.
        configs: The session's configs, in order.
        trace_request_ctx: What the request was given under that name.
    """

    __slots__ = (
        "_configs",
        "_request_ctx",
        "_session",
        "_started",
        "headers",
        "method",
        "queued",
        "subscribed",
        "url",
    )

    def __init__(
        self, session: ClientSession, configs: list[TraceConfig], trace_request_ctx: object
    ) -> None:
        self._session = session
        self._configs = configs
        self._request_ctx = trace_request_ctx
        # Who saw the start sees the end too, and nobody else.
        self._started: list[tuple[dict[str, tuple[_Listener, ...]], Any]] = []
        self.queued: bool = False
        # The names of the signals that anybody listens to.
        self.subscribed: Collection[str] = ()
        self.method: str = ""
        self.url: URL = _NO_URL
        self.headers: CIMultiDict[str] = _NO_HEADERS

    def _emit(
        self, name: str, params_class: Callable[..., Any], *facts: object
    ) -> Awaitable[object]:
        """Call the listeners of a signal, config after config; without any, no params are made."""
        if name not in self.subscribed:
            return _NOTHING
        params = params_class(*facts)
        calls = [
            (listener, context)
            for subscribed, context in self._started
            for listener in subscribed.get(name, ())
        ]
        if len(calls) > 1:
            return self._call(calls, params)
        # The usual case: what is awaited is what the listener gives, with nothing round it.
        listener, context = calls[0]
        return listener(self._session, context, params)

    async def _call(self, calls: list[tuple[_Listener, Any]], params: object) -> None:
        for listener, context in calls:
            await listener(self._session, context, params)

    @property
    def started(self) -> bool:
        """Whether listeners were notified that the request begins."""
        return bool(self._started)

    def follow(self, method: str, url: URL, headers: CIMultiDict[str]) -> None:
        """Say what is asked from here on: the request, or where a redirect led."""
        self.method = method
        # Listeners write URLs down; the credentials in them are nobody's business.
        self.url = (
            url.with_user(None) if url.raw_user is not None or url.raw_password is not None else url
        )
        self.headers = headers

    async def request_start(self) -> None:
        params: Any = None
        for config in self._configs:
            subscribed = listeners_of(config)
            context = config.trace_config_ctx(trace_request_ctx=self._request_ctx)
            for listener in subscribed.get("on_request_start", ()):
                if params is None:
                    params = TraceRequestStartParams(self.method, self.url, self.headers)
                await listener(self._session, context, params)
            self._started.append((subscribed, context))
            self.subscribed = {*self.subscribed, *subscribed} if self.subscribed else subscribed

    def request_headers(
        self, method: str, url: URL, headers: CIMultiDict[str]
    ) -> Awaitable[object]:
        return self._emit(
            "on_request_headers_sent", TraceRequestHeadersSentParams, method, url, headers
        )

    def request_chunk_sent(self, method: str, url: URL, chunk: bytes) -> Awaitable[object]:
        return self._emit("on_request_chunk_sent", TraceRequestChunkSentParams, method, url, chunk)

    def response_chunk_received(self, method: str, url: URL, chunk: bytes) -> Awaitable[object]:
        return self._emit(
            "on_response_chunk_received", TraceResponseChunkReceivedParams, method, url, chunk
        )

    def request_redirect(self, response: ClientResponse) -> Awaitable[object]:
        return self._emit(
            "on_request_redirect",
            TraceRequestRedirectParams,
            self.method,
            self.url,
            self.headers,
            response,
        )

    def request_retry(
        self,
        attempt: int,
        exception: BaseException | None = None,
        response: ClientResponse | None = None,
        headers: CIMultiDict[str] | None = None,
    ) -> Awaitable[object]:
        """A request goes out again.

        Args:
            attempt: Which try it will be; the first was 1.
            exception: What ended the one before, None for a response that was not good enough.
            response: That response.
            headers: The fields that will be sent, where a middleware sends the same request again.
        """
        if headers is None:
            headers = self.headers
        return self._emit(
            "on_request_retry",
            TraceRequestRetryParams,
            self.method,
            self.url,
            headers,
            attempt,
            exception,
            response,
        )

    def request_end(self, response: ClientResponse) -> Awaitable[object]:
        return self._emit(
            "on_request_end", TraceRequestEndParams, self.method, self.url, self.headers, response
        )

    def request_exception(self, exception: BaseException) -> Awaitable[object]:
        return self._emit(
            "on_request_exception",
            TraceRequestExceptionParams,
            self.method,
            self.url,
            self.headers,
            exception,
        )

    # --- ConnectObserver --------------------------------------------------------------------------

    def connect_observer(self) -> Traces:
        """Who is notified of the connector's steps."""
        return self

    def connection_queued_start(self) -> Awaitable[object]:
        self.queued = True
        return self._emit("on_connection_queued_start", TraceConnectionQueuedStartParams)

    async def connection_queued_end(self) -> None:
        """Emit `on_connection_queued_end`, if the request had to wait."""
        if self.queued:
            self.queued = False
            await self._emit("on_connection_queued_end", TraceConnectionQueuedEndParams)

    async def connection_acquired(self, *, reused: bool) -> None:
        """The request has its connection; `reused` if that has carried another exchange before."""
        await self.connection_queued_end()
        if reused:
            await self.connection_reuseconn()

    async def connection_create_start(self) -> None:
        await self.connection_queued_end()
        await self._emit("on_connection_create_start", TraceConnectionCreateStartParams)

    def connection_create_end(self) -> Awaitable[object]:
        return self._emit("on_connection_create_end", TraceConnectionCreateEndParams)

    def connection_reuseconn(self) -> Awaitable[object]:
        return self._emit("on_connection_reuseconn", TraceConnectionReuseconnParams)

    def cache_hit(self, method: str, url: URL) -> Awaitable[object]:
        return self._emit("on_cache_hit", TraceCacheHitParams, method, url)

    def cache_miss(self, method: str, url: URL, *, stale: bool) -> Awaitable[object]:
        return self._emit("on_cache_miss", TraceCacheMissParams, method, url, stale)

    def stream_start(self, stream_id: int, version: HttpVersion) -> Awaitable[object]:
        return self._emit("on_stream_start", TraceStreamStartParams, stream_id, version)

    def dns_resolve_start(self, host: str) -> Awaitable[object]:
        return self._emit("on_dns_resolvehost_start", TraceDnsResolveHostStartParams, host)

    def dns_resolve_end(self, host: str) -> Awaitable[object]:
        return self._emit("on_dns_resolvehost_end", TraceDnsResolveHostEndParams, host)

    def dns_cache_hit(self, host: str) -> Awaitable[object]:
        return self._emit("on_dns_cache_hit", TraceDnsCacheHitParams, host)

    def dns_cache_miss(self, host: str) -> Awaitable[object]:
        return self._emit("on_dns_cache_miss", TraceDnsCacheMissParams, host)

    def quic_handshake_start(self, host: str, port: int, known_by: str) -> Awaitable[object]:
        return self._emit(
            "on_quic_handshake_start", TraceQuicHandshakeStartParams, host, port, known_by
        )

    def quic_handshake_end(
        self, host: str, port: int, exception: BaseException | None
    ) -> Awaitable[object]:
        return self._emit(
            "on_quic_handshake_end", TraceQuicHandshakeEndParams, host, port, exception
        )
