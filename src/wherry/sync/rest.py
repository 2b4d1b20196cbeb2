"""`RestClient` for threads: as `wherry.rest.RestClient`, whose calls it makes on the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, overload

from wherry import ClientResponse
from wherry.rest import RestClient as AsyncRestClient
from wherry.rest import RestConfig
from wherry.sync.background import give, run
from wherry.sync.delegation import Pieces, wait_for
from wherry.sync.objects import Response

__all__ = ("RestClient", "Verb")

T = TypeVar("T")


class Verb(Protocol):
    """How each verb is called; as `wherry.rest.client.Verb`.

    Args:
        url: A URL, or a path under `base_url`.
        body: Sent as JSON: a dict or a list, a dataclass or a model.
        model: What the body is to be; without it the response itself comes, its body read.
        query_param: The query.
        headers: Fields of this request.
        **query: More of the query, for names that are Python's too.

    Raises:
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


class _Method:
    """A verb of the client: the asynchronous one's, waited for."""

    def __set_name__(self, owner: type[RestClient], name: str) -> None:
        self._name = name

    def __get__(self, api: RestClient, owner: type[RestClient]) -> Verb:
        verb = getattr(api.asynchronous, self._name)
        return lambda *args, **kwargs: _shown(wait_for(verb(*args, **kwargs)))


def _shown(result: Any) -> Any:
    return Response(result, whole=True) if isinstance(result, ClientResponse) else result


async def _enter(api: AsyncRestClient) -> None:
    await api.__aenter__()


class RestClient:
    """A session for one API; enter it by ``with``.

    Args:
        config: How it talks; `RestConfig()` by default.
        **options: Fields of `RestConfig` that differ from `config`.

    Raises:
        TypeError: An option is not one of `RestConfig`'s.
    """

    get: _Method = _Method()
    """GET, called as `Verb` says."""
    head: _Method = _Method()
    """HEAD, called as `Verb` says."""
    options: _Method = _Method()
    """OPTIONS, called as `Verb` says."""
    post: _Method = _Method()
    """POST, called as `Verb` says."""
    put: _Method = _Method()
    """PUT, called as `Verb` says."""
    patch: _Method = _Method()
    """PATCH, called as `Verb` says."""
    delete: _Method = _Method()
    """DELETE, called as `Verb` says."""

    def __init__(self, config: RestConfig | None = None, **options: Any) -> None:
        self.asynchronous: AsyncRestClient = AsyncRestClient(config, **options)
        self._entered = False

    def __enter__(self) -> Self:
        run(_enter(self.asynchronous))
        self._entered = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the session and its connections; harmless a second time."""
        if self._entered:
            self._entered = False
            run(self.asynchronous.close())

    def __del__(self) -> None:
        if getattr(self, "_entered", False):
            give(_forget, self.asynchronous)

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

    def pages(self, url: str, **options: Any) -> Iterator[Any]:
        """The items of all pages, one after the other; as `wherry.rest.RestClient.pages`."""
        return Pieces(self.asynchronous.pages(url, **options))


def _forget(api: AsyncRestClient) -> None:
    """Drop the last reference on the loop's thread, where its session may warn and close."""
