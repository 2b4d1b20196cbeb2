"""What listeners of a `TraceConfig` are given: one class for each signal, of values that never
change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from multidict import CIMultiDict, MultiMapping
from yarl import URL

from wherry.redaction import shown_fields, shown_url
from wherry.types import HttpVersion

if TYPE_CHECKING:
    from wherry.client.response import ClientResponse


@dataclass_transform(frozen_default=True)
class _Told:
    """Values under the names that a class annotates; they never change.

    Not a data class: to make twenty of these would be a tenth of the time that `import wherry`
    takes.  Those that each request may make write their `__init__` out, which is four times as fast
    as this one.
    """

    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._names = (*cls._names, *cls.__annotations__)

    def __init__(self, *values: Any, **named: Any) -> None:
        names = self._names
        if named or len(values) != len(names):
            rest = names[len(values) :]
            if len(values) > len(names) or named.keys() != set(rest):
                raise TypeError(f"{type(self).__name__} takes {', '.join(names) or 'nothing'}")
            values = (*values, *(named[name] for name in rest))
        self.__dict__.update(zip(names, values))  # noqa: B905  (they are as many)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} never changes")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} never changes")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *map(id, self.__dict__.values())))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={_shown(value)}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"


def _shown(value: Any) -> str:
    """A value without secrets: fields without those that let somebody in, bodies not at all."""
    if isinstance(value, MultiMapping):
        return shown_fields(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    return f"URL({shown_url(value)!r})" if isinstance(value, URL) else repr(value)


class _Head(_Told):
    method: str
    url: URL
    headers: CIMultiDict[str]

    def __init__(self, method: str, url: URL, headers: CIMultiDict[str]) -> None:
        traced = self.__dict__
        traced["method"] = method
        traced["url"] = url
        traced["headers"] = headers


class _Chunk(_Told):
    method: str
    url: URL
    chunk: bytes

    def __init__(self, method: str, url: URL, chunk: bytes) -> None:
        traced = self.__dict__
        traced["method"] = method
        traced["url"] = url
        traced["chunk"] = chunk


class TraceRequestStartParams(_Head):
    """A request begins.  Fields that are added to `headers` are sent."""


class TraceRequestHeadersSentParams(_Head):
    """The head of a request is on its way; once for each redirect and retry."""


class TraceRequestChunkSentParams(_Chunk):
    """A piece of a request's body is about to be sent."""


class TraceResponseChunkReceivedParams(_Chunk):
    """A response's body was read."""


class TraceRequestEndParams(_Told):
    """A request has its response; the body may still be coming."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    response: ClientResponse

    def __init__(
        self, method: str, url: URL, headers: CIMultiDict[str], response: ClientResponse
    ) -> None:
        traced = self.__dict__
        traced["method"] = method
        traced["url"] = url
        traced["headers"] = headers
        traced["response"] = response


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

    `attempt` counts from 1, so the first retry is 2; `exception` or `response` is how the try
    before ended.
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
    """A request has its connection, after it had to wait for one."""


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
    """A request that a cache could have answered goes on; `stale` if a stored response waits for
    validation.
    """

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


class TraceQuicHandshakeStartParams(_Told):
    """HTTP/3 is being tried.

    Args:
        host: Where: the origin's host, or that of an alternative.
        port: The UDP port.
        known_by: Why: "prior knowledge", "Alt-Svc", or "a guess" where every origin is tried.
    """

    host: str
    port: int
    known_by: str


class TraceQuicHandshakeEndParams(_Told):
    """HTTP/3 is there, or the request goes another way, or fails.

    Args:
        host: Where it was tried.
        port: The UDP port.
        exception: Why the request does not go by it, None where it does.
    """

    host: str
    port: int
    exception: BaseException | None
