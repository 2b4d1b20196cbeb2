"""`RestClient` for threads; as `wherry.rest.RestClient`, which it runs on the loop.

scripts/make_sync.py wrote this file out of rest/client.py: change that, and run it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar, overload

from wherry.sync.delegation import Pieces
from wherry.sync.objects import Response
from wherry.sync.rest_delegation import HeldRest, Method, waited

__all__ = ("RestClient", "Verb")

T = TypeVar("T")


class Verb(Protocol):
    """How each verb is called.

    Args:
        url: A URL, or a path under `base_url`.
        body: Sent as JSON: a dict or a list, a dataclass or a model.
        model: What the body is to be; without it the response itself comes, its body read.
        query_param: The query.
        headers: Fields of this request.
        **query: More of the query, for names that are Python's too and no option of a request.

    Raises:
        TypeError: A name of `query` is `auth`, `timeout`, `json` or another that says something
            else of a request; such a parameter goes into `query_param`.
        RestError: The status is 400 or above, or the body is not of the model.
        ClientError: No response came.
    """

    @overload
    def __call__(
        self,
        url: str,
        body: Any = None,
        *,
        model: None = None,
        query_param: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Response: ...

    @overload
    def __call__(
        self,
        url: str,
        body: Any = None,
        *,
        model: type[T],
        query_param: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> T: ...


class RestClient(HeldRest):
    """A session for one API; enter it by ``with``.

    Args:
        config: How it talks; `RestConfig()` by default.
        **options: Fields of `RestConfig` that differ from `config`.

    Raises:
        TypeError: An option is not one of `RestConfig`'s.
    """

    @overload
    def request(
        self,
        url: str,
        method: str = "get",
        query_param: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        model: type[T],
    ) -> T: ...
    @overload
    def request(
        self,
        url: str,
        method: str = "get",
        query_param: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        model: None = None,
    ) -> Response: ...
    def request(
        self,
        url: str,
        method: str = "get",
        query_param: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        model: Any = None,
    ) -> Any:
        """Make a request; the response comes with its body read.

        Args:
            url: A URL, or a path under `base_url`.
            method: The method, in any case.
            query_param: Added to the query.
            headers: Fields of this request.
            body: Sent as JSON; with any method.
            model: What the body is to be: a dataclass, a msgspec or pydantic model,
                ``list[Model]``, dict ...

        Raises:
            RestError: The status is 400 or above, or the body is not of the model.
            ValueError: The method is none.
            ClientError: No response came.
        """
        return waited(
            self.asynchronous.request(url, method, query_param, headers, body, model=model)
        )

    get: Method[Verb] = Method()
    """GET, called as `Verb` says."""
    head: Method[Verb] = Method()
    """HEAD, called as `Verb` says."""
    options: Method[Verb] = Method()
    """OPTIONS, called as `Verb` says."""
    post: Method[Verb] = Method()
    """POST, called as `Verb` says."""
    put: Method[Verb] = Method()
    """PUT, called as `Verb` says."""
    patch: Method[Verb] = Method()
    """PATCH, called as `Verb` says."""
    delete: Method[Verb] = Method()
    """DELETE, called as `Verb` says."""

    @overload
    def pages(
        self,
        url: str,
        *,
        model: type[T],
        items: str | None = None,
        cursor: str | None = None,
        cursor_param: str = "cursor",
        max_pages: int = 1000,
        headers: Mapping[str, str] | None = None,
        **query_param: Any,
    ) -> Iterator[T]: ...
    @overload
    def pages(
        self,
        url: str,
        *,
        model: Any = Any,
        items: str | None = None,
        cursor: str | None = None,
        cursor_param: str = "cursor",
        max_pages: int = 1000,
        headers: Mapping[str, str] | None = None,
        **query_param: Any,
    ) -> Iterator[Any]: ...
    def pages(
        self,
        url: str,
        *,
        model: Any = Any,
        items: str | None = None,
        cursor: str | None = None,
        cursor_param: str = "cursor",
        max_pages: int = 1000,
        headers: Mapping[str, str] | None = None,
        **query_param: Any,
    ) -> Iterator[Any]:
        """The items of all pages, one after the other.

        Args:
            url: The first page.
            model: What each item is.
            items: The member of a page that has the items, ``"data.rows"`` for one in another; None
                where the page is the list.
            cursor: The member that has the next page's cursor; None follows ``Link: <...>;
                rel="next"`` (RFC 8288).
            cursor_param: The query parameter that takes the cursor.
            max_pages: Pages at most; a server that never ends must not keep a program for ever.
            headers: Fields of each request.
            **query_param: The query.

        Raises:
            TypeError: As for `Verb`.
            RestError: A page is a failure or not what was asked for, leads to another origin, or is
                one too many.
            ClientError: No response came.
        """
        return Pieces(
            self.asynchronous.pages(
                url,
                model=model,
                items=items,
                cursor=cursor,
                cursor_param=cursor_param,
                max_pages=max_pages,
                headers=headers,
                **query_param,
            )
        )
