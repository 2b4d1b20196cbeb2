"""The client: a session for one API, whose verbs are one call with the method said."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, overload

from yarl import URL

from wherry import (
    ClientResponse,
    ClientSession,
    ClientTimeout,
    RateLimitMiddleware,
    RetryMiddleware,
    TCPConnector,
)
from wherry.rest.config import RestConfig
from wherry.rest.errors import RestError, failure_of

T = TypeVar("T")
# RFC 3986 3.1: a URL begins with its scheme; "://" elsewhere is part of a path or of a query.
_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)
# What other clients' requests take; in a query they are given by `query_param`.
_NOT_QUERIES = frozenset(
    {"allow_redirects", "auth", "cookies", "data", "json", "params", "proxy", "ssl", "timeout"}
)
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


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
    ) -> Awaitable[ClientResponse]: ...

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
    ) -> Awaitable[T]: ...


class _Method:
    """A verb of the client: `request` with the method said."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __get__(self, api: RestClient, owner: type[RestClient]) -> Verb:
        return functools.partial(_ask, api, self.method)


def _ask(
    api: RestClient,
    method: str,
    url: str,
    body: Any = None,
    *,
    model: Any = None,
    query_param: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    **query: Any,
) -> Any:
    _check_query(query)
    return api.request(
        url, method, {**(query_param or {}), **query} or None, headers, body, model=model
    )


def _check_query(names: Iterable[str]) -> None:
    """Refuse what is meant for something else: a password must not get into a URL, nor a time limit
    be none.

    Raises:
        TypeError: A name is an argument of other clients' requests.
    """
    if meant := _NOT_QUERIES.intersection(names):
        from wherry.rest.call_mistakes import not_a_query

        raise TypeError(not_a_query(min(meant)))


class RestClient:
    """A session for one API.

    Args:
        config: How it talks; `RestConfig()` by default.
        **options: Fields of `RestConfig` that differ from `config`.

    Raises:
        TypeError: An option is not one of `RestConfig`'s.

    Example:
        >>> async def name_of(number: int) -> str:
        ...     async with RestClient(base_url="http://127.0.0.1:8000/api") as api:
        ...         user = await api.get(f"/users/{number}", model=dict)
        ...     return user["name"]
    """

    def __init__(self, config: RestConfig | None = None, **options: Any) -> None:
        if config is not None and not isinstance(config, RestConfig):
            raise TypeError(
                f"RestClient takes a RestConfig, not {type(config).__name__}: "
                "say RestClient(base_url=...)"
            )
        if not options.keys() <= RestConfig.__dataclass_fields__.keys():
            from wherry.rest.call_mistakes import unknown_option

            raise TypeError(unknown_option(options, RestConfig.__dataclass_fields__))
        self.config: RestConfig = dataclasses.replace(config or RestConfig(), **options)
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session and its connections; harmless a second time."""
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> ClientSession:
        """The session behind it.

        Raises:
            RuntimeError: The client was not entered.
        """
        if self._session is None:
            raise RuntimeError("use the client in `async with RestClient(...) as api:`")
        return self._session

    def _open(self) -> ClientSession:
        config = self.config
        middlewares = list(config.middlewares)
        if config.retries:
            middlewares.append(RetryMiddleware(attempts=config.retries + 1))
        if config.requests_per_second is not None:
            middlewares.append(RateLimitMiddleware(config.requests_per_second))
        limits = config.timeout
        if isinstance(limits, (int, float)):
            limits = ClientTimeout(total=limits)
        options: dict[str, Any] = {} if limits is None else {"timeout": limits}
        base = config.base_url
        self._session = ClientSession(
            base if base is None or base.endswith("/") else f"{base}/",
            connector=TCPConnector(ssl=config.verify_ssl, limit=config.tcp_connections),
            headers=config.headers,
            auth=config.auth,
            json_serialize=config._text_of,
            middlewares=middlewares,
            proxy=config.proxy,
            trust_env=config.trust_env,
            max_body_size=config.max_body_size,
            **options,
        )
        return self._session

    # --- requests ---------------------------------------------------------------------------------

    @overload
    async def request(
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
    async def request(
        self,
        url: str,
        method: str = "get",
        query_param: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        model: None = None,
    ) -> ClientResponse: ...

    async def request(
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
        url = str(url)
        verb = method.upper() if isinstance(method, str) else str(method)
        if verb not in METHODS:
            raise ValueError(f"{method!r} is not a method: use one of {', '.join(sorted(METHODS))}")
        path = url if self.config.base_url is None or _ABSOLUTE.match(url) else _under_base(url)
        options: dict[str, Any] = {"params": query_param, "headers": headers}
        if body is not None:
            options["json"] = body
        async with self.session.request(verb, path, **options) as response:
            await response.read()
            if response.status >= 400:
                raise await failure_of(response, self.config.loads)
            if model is None:
                return response
            return await self._decoded(response, model)

    async def _decoded(self, response: ClientResponse, model: Any) -> Any:
        try:
            text = (await response.text()).removeprefix("\ufeff")
            if not text.strip():
                if model in (None, type(None)):
                    return None
                raise ValueError("it is empty")
            return self.config._made(self.config.loads(text), model)
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as exc:
            wanted = (
                "JSON"
                if model is Any
                else model.__name__
                if isinstance(model, type)
                else repr(model)
            )
            text = await response.text(errors="replace")
            raise RestError.of(response, f"the body is no {wanted}: {exc}", None, text) from exc

    get: _Method = _Method("GET")
    """GET, called as `Verb` says."""
    head: _Method = _Method("HEAD")
    """HEAD, called as `Verb` says."""
    options: _Method = _Method("OPTIONS")
    """OPTIONS, called as `Verb` says."""
    post: _Method = _Method("POST")
    """POST, called as `Verb` says."""
    put: _Method = _Method("PUT")
    """PUT, called as `Verb` says."""
    patch: _Method = _Method("PATCH")
    """PATCH, called as `Verb` says."""
    delete: _Method = _Method("DELETE")
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
    ) -> AsyncIterator[T]: ...

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
    ) -> AsyncIterator[Any]: ...

    async def pages(
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
    ) -> AsyncIterator[Any]:
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
        _check_query(query_param)
        query: dict[str, Any] | None = query_param or None
        for _ in range(max_pages):
            response = await self.request(url, "GET", query, headers)
            page = await self._decoded(response, Any)
            try:
                found = self.config._made(_member(page, items), list[model])
                mark = _member(page, cursor) if cursor is not None else None
            except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as exc:
                raise RestError.of(
                    response, f"the page is not as asked for: {exc}", None, await response.text()
                ) from exc
            for item in found:
                yield item
            if cursor is None:
                following = _next_page(response)
                if following is None:
                    return
                url, query = following, None
            elif mark:
                query = {**query_param, cursor_param: mark}
            else:
                return
        # A list that is cut off must not look like a whole one.
        raise RestError.of(response, f"more than {max_pages} pages", None, "")


def _under_base(path: str) -> str:
    """A path to join to the base: "./" keeps a colon in its first segment from being the end of a
    scheme (RFC 3986 4.2).
    """
    return f"./{path.lstrip('/')}"


def _member(page: Any, path: str | None) -> Any:
    """What `path` names in a page; None where a member on the way is null or not there."""
    for name in path.split(".") if path is not None else ():
        if page is None:
            return None
        if not isinstance(page, Mapping):
            raise TypeError(f"{path!r} leads into {type(page).__name__}")
        page = page.get(name)
    return page


def _next_page(response: ClientResponse) -> str | None:
    """Where the next page is.

    Raises:
        RestError: It is somewhere else: the API's credentials would go along.
    """
    link = response.links.get("next")
    if link is None:
        return None
    following = URL(str(link["url"]))
    asked = response.history[0].url if response.history else response.url
    try:
        there = following.origin()
    except ValueError as exc:
        raise RestError.of(
            response, f"its next page has no origin: {str(following)[:200]!r}", None, ""
        ) from exc
    upgraded = (
        asked.scheme == "http" and asked.with_scheme("https").with_port(None).origin() == there
    )
    if there != asked.origin() and not upgraded:
        raise RestError.of(response, f"its next page is at another origin, {there}", None, "")
    return str(following)
