"""What bulk fetching gives: a `Page` to sinks and hooks, a `Result` to the caller.

Plain values, which can be pickled: they cross processes and clusters.  Nothing here knows a
session, a sink or a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from wherry.body.media_types import known_charset


@dataclass(slots=True)
class Page:
    """One finished answer, whole.

    Args:
        url: What was asked for.
        final_url: Where its redirects led; `url` where there were none.
        status: The status code.
        reason: The reason phrase.
        headers: The response's fields.
        body: The body, its content coding undone.
        raw_headers: The response's fields as bytes, in their order.
        http_version: "1.1", "2", "3".
        request_method: The request's method.
        request_headers: The request's fields, as they were sent.
        ip: The server's address; None where a proxy hides it.
        fetched_at: When the answer was whole, in UTC.
        elapsed: Seconds from the request to the end of the body.
        digest: SHA-256 of `body`, in hexadecimal.
        charset: The charset that Content-Type names.
        extracted: What `on_response` gave.
    """

    url: str
    final_url: str
    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes
    raw_headers: tuple[tuple[bytes, bytes], ...]
    http_version: str
    request_method: str
    request_headers: CIMultiDictProxy[str]
    ip: str | None
    fetched_at: datetime
    elapsed: float
    digest: str
    charset: str | None = None
    extracted: object | None = None

    def text(self) -> str:
        """The body as text: by its charset, else UTF-8; what cannot be read is U+FFFD."""
        # A server names it: Python has codecs that no page is in, and that take long or make more.
        return self.body.decode(known_charset(self.charset) or "utf-8", "replace")

    def __getstate__(self) -> dict[str, Any]:
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("headers", "request_headers"):
            state[name] = tuple(state[name].items())  # a proxy cannot be pickled
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            if name in {"headers", "request_headers"}:
                value = CIMultiDictProxy(CIMultiDict(value))
            setattr(self, name, value)


def page_of_state(state: dict[str, Any]) -> Page:
    """A page out of what `__getstate__` gave."""
    page = Page.__new__(Page)
    page.__setstate__(state)
    return page


@dataclass(slots=True)
class Result:
    """What became of one URL: it is committed, or has failed for good.

    Args:
        url: What was asked for.
        status: The status code of the last try; None where none came.
        bytes: The size of the body.
        error: Why there is no page; None if there is.
        attempts: How often it was asked for.
        place: Where the sink keeps it (`shard#offset`); None without a sink, or a page.
        extracted: What `on_response` gave.
        page: The page itself where there is no sink.
        duplicate: Whether the sink was spared it, for it has a page with the same body.
    """

    url: str
    status: int | None = None
    bytes: int = 0
    error: Exception | None = None
    attempts: int = 0
    place: str | None = None
    extracted: object | None = None
    page: Page | None = field(default=None, repr=False)
    duplicate: bool = False

    @property
    def ok(self) -> bool:
        """Whether the page is there."""
        return self.error is None
