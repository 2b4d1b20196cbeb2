"""What rooms ask of a response or a session that they are given and do not make.

`ClientResponse` and `ClientSession` are the only ones of their kind; but they know these rooms, so
the rooms know them by what they use.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Protocol

from multidict import CIMultiDictProxy
from yarl import URL

from wherry.body.stream.reader import StreamReader
from wherry.client.headers.disposition_and_link import ContentDisposition
from wherry.client.request_info import RequestInfo
from wherry.types import StrOrURL


class ReadableResponse(Protocol):
    """A response whose body is read, or written to a file."""

    content: StreamReader
    status: int
    reason: str | None

    @property
    def url(self) -> URL: ...

    @property
    def headers(self) -> CIMultiDictProxy[str]: ...

    @property
    def history(self) -> tuple[Any, ...]: ...

    @property
    def request_info(self) -> RequestInfo: ...

    @property
    def content_type(self) -> str: ...

    @property
    def charset(self) -> str | None: ...

    @property
    def content_length(self) -> int | None: ...

    @property
    def content_disposition(self) -> ContentDisposition | None: ...

    async def read(self) -> bytes: ...

    def close(self) -> None: ...

    def release(self) -> Any: ...


# All of a response's body, once `read` has read it.
body_so_far: Callable[[Any], bytes | None] = attrgetter("_body")


class RequestingSession(Protocol):
    """A session that is asked to make requests."""

    @property
    def closed(self) -> bool: ...

    @property
    def request(self) -> Callable[..., Any]: ...

    @property
    def get(self) -> Callable[..., Any]: ...


class DownloadDefaults(Protocol):
    """What a session was told, as far as a download goes by it."""

    auto_decompress: bool
    max_body_size: int | None


class UrlBuilder(Protocol):
    """What makes a session's requests, for who needs only their URLs."""

    @property
    def defaults(self) -> DownloadDefaults: ...

    def resolve_url(self, given: StrOrURL) -> URL: ...

    def completed(self, given: StrOrURL, kwargs: dict[str, Any]) -> dict[str, Any]: ...
