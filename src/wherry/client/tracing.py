"""Client tracing: signals that a program listens to, and the `Traces` of one request that send them.

A request without trace configs has no `Traces`, and pays nothing.  This room knows the names and the order of
the steps; where each is taken is known to the pipeline, and to the connector through `ConnectObserver`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar, dataclass_transform, overload

from aiosignal import Signal
from multidict import CIMultiDict
from yarl import URL

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


# --- what listeners are told ------------------------------------------------------------------------------------


@dataclass_transform(frozen_default=True)
class _Told:
    """Values under the names that a class annotates; they never change.

    Not a data class: to make twenty of these would be a tenth of the time that `import wherry` takes.
    """

    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._names = tuple(cls.__annotations__)

    def __init__(self, *values: Any, **named: Any) -> None:
        told = {**dict(zip(self._names, values, strict=False)), **named}
        if len(values) + len(named) != len(self._names) or told.keys() != set(self._names):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._names) or 'nothing'}")
        self.__dict__.update(told)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} never changes")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} never changes")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *map(id, self.__dict__.values())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


class TraceRequestStartParams(_Told):
    """A request begins.  Fields that are added to `headers` are sent."""

    method: str
    url: URL
    headers: CIMultiDict[str]


class TraceRequestHeadersSentParams(_Told):
    """The head of a request is on its way; once for each redirect and retry."""

    method: str
    url: URL
    headers: CIMultiDict[str]


class TraceRequestChunkSentParams(_Told):
    """A piece of a request's body is about to be sent."""

    method: str
    url: URL
    chunk: bytes


class TraceResponseChunkReceivedParams(_Told):
    """A response's body was read."""

    method: str
    url: URL
    chunk: bytes


class TraceRequestEndParams(_Told):
    """A request has its response; the body may still be coming."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    response: ClientResponse


class TraceRequestExceptionParams(_Told):
    """A request failed."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    exception: BaseException


class TraceRequestRedirectParams(_Told):
    """A response redirects the request."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    response: ClientResponse


class TraceRequestRetryParams(_Told):
    """A request is sent again: a kept connection was dead, or a retry was asked for.

    `attempt` counts from 1, so the first retry is 2; `exception` or `response` is how the try before ended.
    """

    method: str
    url: URL
    headers: CIMultiDict[str]
    attempt: int
    exception: BaseException | None
    response: ClientResponse | None


class TraceConnectionQueuedStartParams(_Told):
    """A request waits until there is room for its connection."""


class TraceConnectionQueuedEndParams(_Told):
    """The wait is over."""


class TraceConnectionCreateStartParams(_Told):
    """A connection is being made."""


class TraceConnectionCreateEndParams(_Told):
    """A connection was made."""


class TraceConnectionReuseconnParams(_Told):
    """A kept connection is used again."""


class TraceStreamStartParams(_Told):
    """A request has a stream of its own on a connection that carries many: HTTP/2 and later."""

    stream_id: int
    version: HttpVersion


class TraceCacheHitParams(_Told):
    """A stored response answers, and nothing is sent."""

    method: str
    url: URL


class TraceCacheMissParams(_Told):
    """A request that a cache could have answered goes on; `stale` if a stored response waits for validation."""

    method: str
    url: URL
    stale: bool


class TraceDnsResolveHostStartParams(_Told):
    """A name is being resolved."""

    host: str


class TraceDnsResolveHostEndParams(_Told):
    """A name was resolved."""

    host: str


class TraceDnsCacheHitParams(_Told):
    """A name's addresses were known."""

    host: str


class TraceDnsCacheMissParams(_Told):
    """A name's addresses were not known."""

    host: str


# --- who listens --------------------------------------------------------------------------------------------------

_Params = TypeVar("_Params")
_Signal: TypeAlias = "Signal[ClientSession, SimpleNamespace, _Params]"


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
    """Signals for the steps of requests; append coroutine functions ``(session, trace_config_ctx, params)``.

    A session freezes its configs when it is made.

    Args:
        trace_config_ctx_factory: Makes the context that the signals of one request share; it is called with the
            keyword `trace_request_ctx`, what the request was given under that name.
    """

    on_request_start = _SignalOf[TraceRequestStartParams]()
    on_request_chunk_sent = _SignalOf[TraceRequestChunkSentParams]()
    on_response_chunk_received = _SignalOf[TraceResponseChunkReceivedParams]()
    on_request_end = _SignalOf[TraceRequestEndParams]()
    on_request_exception = _SignalOf[TraceRequestExceptionParams]()
    on_request_redirect = _SignalOf[TraceRequestRedirectParams]()
    on_request_retry = _SignalOf[TraceRequestRetryParams]()
    on_connection_queued_start = _SignalOf[TraceConnectionQueuedStartParams]()
    on_connection_queued_end = _SignalOf[TraceConnectionQueuedEndParams]()
    on_connection_create_start = _SignalOf[TraceConnectionCreateStartParams]()
    on_connection_create_end = _SignalOf[TraceConnectionCreateEndParams]()
    on_connection_reuseconn = _SignalOf[TraceConnectionReuseconnParams]()
    on_stream_start = _SignalOf[TraceStreamStartParams]()
    on_cache_hit = _SignalOf[TraceCacheHitParams]()
    on_cache_miss = _SignalOf[TraceCacheMissParams]()
    on_dns_resolvehost_start = _SignalOf[TraceDnsResolveHostStartParams]()
    on_dns_resolvehost_end = _SignalOf[TraceDnsResolveHostEndParams]()
    on_dns_cache_hit = _SignalOf[TraceDnsCacheHitParams]()
    on_dns_cache_miss = _SignalOf[TraceDnsCacheMissParams]()
    on_request_headers_sent = _SignalOf[TraceRequestHeadersSentParams]()

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


_SIGNALS = tuple(name for name, attribute in vars(TraceConfig).items() if isinstance(attribute, _SignalOf))


# --- one request's --------------------------------------------------------------------------------------------------


class Traces:
    """The trace configs of one request, with their contexts: one coroutine for each step.

    It is the request's `ConnectObserver` too.

    Args:
        session: The first argument of every listener.
        configs: The session's configs, in order.
        trace_request_ctx: What the request was given under that name.
    """

    __slots__ = ("_configs", "_queued", "_request_ctx", "_session", "_started", "headers", "method", "url")

    def __init__(self, session: ClientSession, configs: list[TraceConfig], trace_request_ctx: object) -> None:
        self._session = session
        self._configs = configs
        self._request_ctx = trace_request_ctx
        # Who saw the start sees the end too, and nobody else.
        self._started: list[tuple[TraceConfig, Any]] = []
        self._queued = False
        self.method = ""
        self.url = URL()
        self.headers: CIMultiDict[str] = CIMultiDict()

    async def _emit(self, name: str, params_class: Callable[..., Any], *facts: object) -> None:
        """Call the listeners of a signal, config after config; without any, no params are made."""
        params: Any = None
        for config, context in self._started:
            signal = getattr(config, name)
            if signal:
                if params is None:
                    params = params_class(*facts)
                await signal.send(self._session, context, params)

    def follow(self, method: str, url: URL, headers: CIMultiDict[str]) -> None:
        """Say what is asked from here on: the request, or where a redirect led."""
        self.method = method
        # Listeners write URLs down; the credentials in them are nobody's business.
        self.url = url.with_user(None) if url.raw_user is not None or url.raw_password is not None else url
        self.headers = headers

    async def request_start(self) -> None:
        params = TraceRequestStartParams(self.method, self.url, self.headers)
        for config in self._configs:
            context = config.trace_config_ctx(trace_request_ctx=self._request_ctx)
            if config.on_request_start:
                await config.on_request_start.send(self._session, context, params)
            self._started.append((config, context))

    async def request_headers(self, method: str, url: URL, headers: CIMultiDict[str]) -> None:
        await self._emit("on_request_headers_sent", TraceRequestHeadersSentParams, method, url, headers)

    async def request_chunk_sent(self, method: str, url: URL, chunk: bytes) -> None:
        await self._emit("on_request_chunk_sent", TraceRequestChunkSentParams, method, url, chunk)

    async def response_chunk_received(self, method: str, url: URL, chunk: bytes) -> None:
        await self._emit("on_response_chunk_received", TraceResponseChunkReceivedParams, method, url, chunk)

    async def request_redirect(self, response: ClientResponse) -> None:
        await self._emit(
            "on_request_redirect", TraceRequestRedirectParams, self.method, self.url, self.headers, response
        )

    async def request_retry(
        self,
        attempt: int,
        exception: BaseException | None = None,
        response: ClientResponse | None = None,
        headers: CIMultiDict[str] | None = None,
    ) -> None:
        """A request goes out again.

        Args:
            attempt: Which try it will be; the first was 1.
            exception: What ended the one before, None for a response that was not good enough.
            response: That response.
            headers: The fields that will be sent, where a middleware sends the same request again.
        """
        if headers is None:
            headers = self.headers
        await self._emit(
            "on_request_retry",
            TraceRequestRetryParams,
            self.method,
            self.url,
            headers,
            attempt,
            exception,
            response,
        )

    async def request_end(self, response: ClientResponse) -> None:
        await self._emit("on_request_end", TraceRequestEndParams, self.method, self.url, self.headers, response)

    async def request_exception(self, exception: BaseException) -> None:
        await self._emit(
            "on_request_exception", TraceRequestExceptionParams, self.method, self.url, self.headers, exception
        )

    # --- ConnectObserver ------------------------------------------------------------------------------------------

    def connect_observer(self) -> Traces:
        """Who is told of the connector's steps."""
        return self

    async def connection_queued_start(self) -> None:
        self._queued = True
        await self._emit("on_connection_queued_start", TraceConnectionQueuedStartParams)

    async def connection_queued_end(self) -> None:
        """The wait is over, if there was one."""
        if self._queued:
            self._queued = False
            await self._emit("on_connection_queued_end", TraceConnectionQueuedEndParams)

    async def connection_acquired(self, *, reused: bool) -> None:
        """The request has its connection; `reused` if that has carried another exchange before."""
        await self.connection_queued_end()
        if reused:
            await self.connection_reuseconn()

    async def connection_create_start(self) -> None:
        await self.connection_queued_end()
        await self._emit("on_connection_create_start", TraceConnectionCreateStartParams)

    async def connection_create_end(self) -> None:
        await self._emit("on_connection_create_end", TraceConnectionCreateEndParams)

    async def connection_reuseconn(self) -> None:
        await self._emit("on_connection_reuseconn", TraceConnectionReuseconnParams)

    async def cache_hit(self, method: str, url: URL) -> None:
        await self._emit("on_cache_hit", TraceCacheHitParams, method, url)

    async def cache_miss(self, method: str, url: URL, *, stale: bool) -> None:
        await self._emit("on_cache_miss", TraceCacheMissParams, method, url, stale)

    async def stream_start(self, stream_id: int, version: HttpVersion) -> None:
        await self._emit("on_stream_start", TraceStreamStartParams, stream_id, version)

    async def dns_resolve_start(self, host: str) -> None:
        await self._emit("on_dns_resolvehost_start", TraceDnsResolveHostStartParams, host)

    async def dns_resolve_end(self, host: str) -> None:
        await self._emit("on_dns_resolvehost_end", TraceDnsResolveHostEndParams, host)

    async def dns_cache_hit(self, host: str) -> None:
        await self._emit("on_dns_cache_hit", TraceDnsCacheHitParams, host)

    async def dns_cache_miss(self, host: str) -> None:
        await self._emit("on_dns_cache_miss", TraceDnsCacheMissParams, host)
