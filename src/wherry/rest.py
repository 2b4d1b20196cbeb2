"""A REST client: JSON in, typed objects out, problems as exceptions.

It stands on the public names of wherry alone and adds no way of its own to make a request.
"""

from __future__ import annotations

import dataclasses
import json as json_module
import types
import typing
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from wherry import (
    BasicAuth,
    ClientMiddlewareType,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    RateLimitMiddleware,
    RetryMiddleware,
    TCPConnector,
)

__all__ = ("RestClient", "RestConfig", "RestError", "decode")

T = TypeVar("T")
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
PROBLEM = "application/problem+json"


class RestError(ClientResponseError):
    """A response of status 400 or above, or one that is not what was asked for.

    `problem` is the problem document (RFC 9457) or whatever JSON the body was, None for neither; `text` is the body.
    """

    problem: Any = None
    text: str = ""

    @classmethod
    def of(cls, response: ClientResponse, message: str, problem: Any, text: str) -> RestError:
        error = cls(
            response.request_info, response.history, status=response.status, message=message, headers=response.headers
        )
        error.problem, error.text = problem, text
        return error

    @property
    def url(self) -> str:
        """The URL that answered."""
        return str(self.request_info.real_url)


@dataclasses.dataclass(frozen=True)
class RestConfig:
    """How a `RestClient` talks.

    Args:
        base_url: What paths are relative to; a path in it is kept, with or without a slash at its end.
        verify_ssl: Whether certificates are checked; an SSLContext or a Fingerprint serves too.
        tcp_connections: Connections at most.
        timeout: A `ClientTimeout`, or seconds in all; the session's default where it is None.
        headers: Fields of every request.
        auth: Basic authentication for every request.
        retries: How often a request that failed is tried again, where that is safe.
        requests_per_second: A limit to each origin, None for none.
        middlewares: More middlewares, outside these two.
        dumps: Makes JSON.
        loads: Reads JSON.
    """

    base_url: str | None = None
    verify_ssl: Any = True
    tcp_connections: int = 5
    timeout: ClientTimeout | float | None = None
    headers: Mapping[str, str] | None = None
    auth: BasicAuth | None = None
    retries: int = 0
    requests_per_second: float | None = None
    middlewares: Sequence[ClientMiddlewareType] = ()
    dumps: Callable[[Any], str] = json_module.dumps
    loads: Callable[[str], Any] = json_module.loads


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
        self.config = dataclasses.replace(config or RestConfig(), **options)
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
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
        options: dict[str, Any] = {} if config.timeout is None else {"timeout": config.timeout}
        base = config.base_url
        self._session = ClientSession(
            base if base is None or base.endswith("/") else f"{base}/",
            connector=TCPConnector(ssl=config.verify_ssl, limit=config.tcp_connections),
            headers=config.headers,
            auth=config.auth,
            json_serialize=config.dumps,
            middlewares=middlewares,
            **options,
        )
        return self._session

    # --- requests -------------------------------------------------------------------------------------------

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
            model: What the body is to be: a dataclass, a msgspec or pydantic model, ``list[Model]``, dict ...

        Raises:
            RestError: The status is 400 or above, or the body is not of the model.
            ValueError: The method is none.
            ClientError: No response came.
        """
        verb = method.upper() if isinstance(method, str) else str(method)
        if verb not in METHODS:
            raise ValueError(f"{method!r} is not a method: use one of {', '.join(sorted(METHODS))}")
        path = url.lstrip("/") if self.config.base_url is not None and "://" not in url else url
        options: dict[str, Any] = {"params": query_param, "headers": headers}
        if body is not None:
            options["json"] = body
        async with self.session.request(verb, path, **options) as response:
            await response.read()
            if response.status >= 400:
                raise await self._failure(response)
            if model is None:
                return response
            return await self._decoded(response, model)

    async def _failure(self, response: ClientResponse) -> RestError:
        text = await response.text(errors="replace")
        problem: Any = None
        if "json" in response.content_type:
            try:
                problem = self.config.loads(text)
            except ValueError:
                problem = None
        told = problem if isinstance(problem, Mapping) else {}
        message = told.get("detail") or told.get("title") or told.get("message") or response.reason or ""
        return RestError.of(response, str(message), problem, text)

    async def _decoded(self, response: ClientResponse, model: Any) -> Any:
        text = await response.text()
        if not text.strip():
            if model in (None, type(None)):
                return None
            raise RestError.of(response, "the body is empty", None, text)
        try:
            return decode(self.config.loads(text), model)
        except (ValueError, TypeError, KeyError) as exc:
            raise RestError.of(response, f"the body is not {model!r}: {exc}", None, text) from exc

    async def get(self, url: str, *, model: Any = None, **query_param: Any) -> Any:
        """GET; further keywords are the query."""
        return await self.request(url, "GET", query_param or None, model=model)

    async def delete(self, url: str, *, model: Any = None, **query_param: Any) -> Any:
        """DELETE; further keywords are the query."""
        return await self.request(url, "DELETE", query_param or None, model=model)

    async def head(self, url: str, **query_param: Any) -> ClientResponse:
        """HEAD; further keywords are the query."""
        return await self.request(url, "HEAD", query_param or None)

    async def options(self, url: str, **query_param: Any) -> ClientResponse:
        """OPTIONS; further keywords are the query."""
        return await self.request(url, "OPTIONS", query_param or None)

    async def post(self, url: str, body: Any = None, *, model: Any = None) -> Any:
        """POST `body` as JSON."""
        return await self.request(url, "POST", body=body, model=model)

    async def put(self, url: str, body: Any = None, *, model: Any = None) -> Any:
        """PUT `body` as JSON."""
        return await self.request(url, "PUT", body=body, model=model)

    async def patch(self, url: str, body: Any = None, *, model: Any = None) -> Any:
        """PATCH with `body` as JSON."""
        return await self.request(url, "PATCH", body=body, model=model)

    async def pages(
        self,
        url: str,
        *,
        model: Any = Any,
        items: str | None = None,
        cursor: str | None = None,
        cursor_param: str = "cursor",
        max_pages: int = 1000,
        **query_param: Any,
    ) -> AsyncIterator[Any]:
        """The items of all pages, one after the other.

        Args:
            url: The first page.
            model: What each item is.
            items: The member of a page that has the items; None where the page is the list.
            cursor: The member that has the next page's cursor; None follows ``Link: <...>; rel="next"`` (RFC 8288).
            cursor_param: The query parameter that takes the cursor.
            max_pages: Pages at most; a server that never ends must not keep a program for ever.
            **query_param: The query.
        """
        query: dict[str, Any] | None = query_param or None
        for _ in range(max_pages):
            response = await self.request(url, "GET", query)
            page = self.config.loads(await response.text())
            for item in page if items is None else page[items]:
                yield decode(item, model)
            if cursor is not None:
                mark = page.get(cursor)
                if not mark:
                    return
                query = {**query_param, cursor_param: mark}
            else:
                following = response.links.get("next")
                if following is None:
                    return
                url, query = str(following["url"]), None


def decode(value: Any, model: Any) -> Any:
    """Make a `model` out of decoded JSON.

    Dataclasses, lists, dicts, tuples, optional and union types are made here; models that know how (pydantic's
    ``model_validate``, msgspec's structs) do it themselves.  Members that a dataclass does not have are passed over.

    Raises:
        ValueError: The value does not fit.

    >>> decode([1, 2], list[int])
    [1, 2]
    """
    if model is Any or model is object:
        return value
    if hasattr(model, "model_validate"):
        return model.model_validate(value)
    if hasattr(model, "__struct_fields__"):
        import msgspec

        return msgspec.convert(value, model)
    origin = typing.get_origin(model)
    if origin is not None:
        return _decode_generic(value, model, origin, typing.get_args(model))
    if dataclasses.is_dataclass(model) and isinstance(model, type):
        return _decode_dataclass(value, model)
    if model is None or model is type(None):
        if value is not None:
            raise ValueError(f"expected null, got {value!r}")
        return None
    if model is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, model) or (isinstance(value, bool) and model is int):
        raise ValueError(f"expected {model.__name__}, got {value!r}")
    return value


def _decode_dataclass(value: Any, model: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object for {model.__name__}, got {value!r}")  # noqa: TRY004
    hints = typing.get_type_hints(model)
    known: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        if field.name in value:
            try:
                known[field.name] = decode(value[field.name], hints[field.name])
            except ValueError as exc:
                raise ValueError(f"{model.__name__}.{field.name}: {exc}") from exc
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{model.__name__}.{field.name} is missing")
    return model(**known)


def _decode_generic(value: Any, model: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    if origin in (typing.Union, types.UnionType):
        for choice in arguments:
            try:
                return decode(value, choice)
            except ValueError:
                continue
        raise ValueError(f"expected {model}, got {value!r}")
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"expected one of {arguments}, got {value!r}")
        return value
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object, got {value!r}")  # noqa: TRY004
        return {key: decode(each, arguments[1]) for key, each in value.items()}
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got {value!r}")  # noqa: TRY004
    if origin is tuple and arguments[-1] is not ...:
        return tuple(decode(each, kind) for each, kind in zip(value, arguments, strict=True))
    made = [decode(each, arguments[0]) for each in value]
    return origin(made) if origin in (tuple, set, frozenset) else made
