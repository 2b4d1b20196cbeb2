"""What `session.get(...)` gives: something to await, or to enter with ``async with``."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from wherry.client.response import ClientResponse

_T = TypeVar("_T")


class _BaseRequestContextManager(Coroutine[Any, Any, _T], Generic[_T]):
    """What a verb gives: to be awaited for the response, or entered with ``async with``."""

    __slots__ = ("_coro", "_resp")

    def __init__(self, coro: Coroutine[Any, Any, _T]) -> None:
        self._coro = coro

    def send(self, value: Any) -> Any:
        return self._coro.send(value)

    def throw(self, *args: Any, **kwargs: Any) -> Any:
        return self._coro.throw(*args, **kwargs)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._coro.__await__()

    def __iter__(self) -> Generator[Any, Any, _T]:
        return self.__await__()

    async def __aenter__(self) -> _T:
        self._resp = await self._coro
        return await cast("Any", self._resp).__aenter__()  # type: ignore[no-any-return]

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await cast("Any", self._resp).__aexit__(exc_type, exc, tb)


class _NothingToAwait:
    """The end of a context that was there when it was asked for: no coroutine is made for it."""

    __slots__ = ()
    # An iterator at its end, which gives itself: nothing of ours is called for each request.
    __await__: Any = iter(()).__iter__


_NOTHING_TO_AWAIT: Any = _NothingToAwait()


class _RequestContextManager(_BaseRequestContextManager[ClientResponse]):
    """A request that was asked for."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a checker would take every name for an attribute

        def __getattr__(self, name: str) -> Any:
            # Only what is not there comes here, most often what a response has.
            hint = (
                "; it becomes a response by `async with` or `await`"
                if hasattr(ClientResponse, name)
                else ""
            )
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{hint}",
                name=name,
                obj=self,
            )

        def __enter__(self) -> None:
            self.close()
            raise TypeError("use `async with` for a request, in place of `with`")

        def __exit__(self, *_: object) -> None:
            """Never reached: `__enter__` raises."""

    async def __aenter__(self) -> ClientResponse:
        self._resp = response = await self._coro
        try:  # noqa: SIM105  (the hot path)
            response._in_context = True
        except AttributeError:
            pass  # not ours: a session's own `_request` may answer with what it likes
        return response

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        response = self._resp
        try:
            response._in_context = False
            waits = response._upload or response._payload_closing or response._payload is not None
        except AttributeError:
            waits = None
        if waits:
            return self._end(response)
        response.release()
        return _NOTHING_TO_AWAIT  # type: ignore[no-any-return]

    async def _end(self, response: ClientResponse) -> None:
        await response.wait_for_close()
        response.release()


if TYPE_CHECKING:
    from wherry.client.websocket.websocket import ClientWebSocketResponse

    _ForWebSockets = _BaseRequestContextManager[ClientWebSocketResponse]
else:
    _ForWebSockets = _BaseRequestContextManager


class _WSRequestContextManager(_ForWebSockets):
    """A WebSocket that was asked for."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a checker finds the mistake itself

        def __getattr__(self, name: str) -> Any:
            from wherry.client.websocket.websocket import ClientWebSocketResponse

            hint = (
                "; it becomes a WebSocket by `async with` or `await`"
                if hasattr(ClientWebSocketResponse, name)
                else ""
            )
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{hint}",
                name=name,
                obj=self,
            )

        def __enter__(self) -> None:
            self.close()
            raise TypeError("use `async with` for a WebSocket, in place of `with`")

        def __exit__(self, *_: object) -> None:
            """Never reached: `__enter__` raises."""
