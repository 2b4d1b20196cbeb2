"""Type aliases and small value types that every room may use; no behaviour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from http.cookies import BaseCookie, Morsel
from typing import Any, NamedTuple, SupportsInt

from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

StrOrURL = str | URL
LooseHeaders = (
    Mapping[str, str]
    | Mapping[istr, str]
    | CIMultiDict[str]
    | CIMultiDictProxy[str]
    | Iterable[tuple[str | istr, str]]
)
RawHeaders = tuple[tuple[bytes, bytes], ...]
QueryValue = str | SupportsInt | float
Query = (
    str
    | Mapping[str, QueryValue | Sequence[QueryValue]]
    | Sequence[tuple[str, QueryValue | Sequence[QueryValue]]]
    | None
)
LooseCookies = (
    Mapping[str, "str | BaseCookie[str] | Morsel[Any]"]
    | Iterable[tuple[str, "str | BaseCookie[str] | Morsel[Any]"]]
    | BaseCookie[str]
)
JSONEncoder = Callable[[Any], str]
JSONBytesEncoder = Callable[[Any], bytes]
JSONDecoder = Callable[[str], Any]


class HttpVersion(NamedTuple):
    """A protocol version: `major` and `minor`, as in ``HTTP/1.1``."""

    major: int
    minor: int


HttpVersion10: HttpVersion = HttpVersion(1, 0)
HttpVersion11: HttpVersion = HttpVersion(1, 1)
HttpVersion20: HttpVersion = HttpVersion(2, 0)
HttpVersion30: HttpVersion = HttpVersion(3, 0)


class ConnectionKey(NamedTuple):
    """Where a connection goes, as errors show it."""

    host: str
    port: int | None
    is_ssl: bool
    ssl: Any
    proxy: URL | None
    proxy_auth: Any
    proxy_headers_hash: int | None


class ETag(NamedTuple):
    """An entity tag (RFC 9110 8.8.3): its `value` without quotes, and whether it `is_weak`."""

    value: str
    is_weak: bool = False
