"""`RequestInfo`: what was asked for, as errors and responses show it."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from multidict import CIMultiDictProxy
from yarl import URL

from wherry.errors import proxied
from wherry.redaction import shown_fields, shown_url


class _RequestInfo(NamedTuple):
    url: URL
    method: str
    headers: CIMultiDictProxy[str]
    real_url: URL


class RequestInfo(_RequestInfo):
    """What was asked for, as errors and responses show it.

    Args:
        url: The URL that was sent, without fragment and credentials.
        method: The method.
        headers: The fields that were sent.
        real_url: The URL as the program gave it; `url` by default.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        pairs = [*self.headers.items()]
        return _from_pairs, (type(self), self.url, self.method, pairs, self.real_url)

    def __repr__(self) -> str:
        """As errors show it: without what the fields, or the URLs, hold of secrets."""
        return (
            f"{type(self).__name__}(url=URL({shown_url(self.url)!r}), method={self.method!r}, "
            f"headers={shown_fields(self.headers)}, real_url=URL({shown_url(self.real_url)!r}))"
        )

    def __new__(
        cls, url: URL, method: str, headers: CIMultiDictProxy[str], real_url: URL | None = None
    ) -> Self:
        return super().__new__(cls, url, method, headers, url if real_url is None else real_url)


def _from_pairs(
    cls: type[RequestInfo], url: URL, method: str, pairs: list[tuple[str, str]], real_url: URL
) -> RequestInfo:
    """A copy, or what comes out of a pickle: multidict's proxies go through neither."""
    return cls(url, method, proxied(pairs), real_url)
