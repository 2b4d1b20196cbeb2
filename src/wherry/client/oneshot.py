"""`wherry.request`: one request with a session of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from wherry.client.options import _RequestOptions
from wherry.client.response import ClientResponse
from wherry.client.session import ClientSession
from wherry.connect.connector import BaseConnector, TCPConnector
from wherry.types import HttpVersion, HttpVersion11, StrOrURL


class _SessionRequestContextManager:
    """`wherry.request`: a session for one request, closed with it."""

    __slots__ = ("_coro", "_resp", "_session")

    def __init__(self, coro: Coroutine[Any, Any, ClientResponse], session: ClientSession) -> None:
        self._coro = coro
        self._session = session
        self._resp: ClientResponse | None = None

    if not TYPE_CHECKING:  # a checker finds the mistake itself

        def __await__(self) -> Any:
            raise self._misused("await")

        def __enter__(self) -> None:
            raise self._misused("with")

        def __exit__(self, *_: object) -> None:
            """Never reached: `__enter__` raises."""

        def __getattr__(self, name: str) -> Any:
            hint = (
                "; it becomes a response by `async with`" if hasattr(ClientResponse, name) else ""
            )
            raise AttributeError(
                f"what wherry.request() gives has no attribute {name!r}{hint}", name=name, obj=self
            )

        def _misused(self, word: str) -> TypeError:
            self._coro.close()
            connector = self._session.connector
            if self._session.connector_owner and connector is not None:
                connector.close()  # nothing is open: this says that nobody forgot it
            self._session.detach()
            return TypeError(
                f"use `async with wherry.request(...) as response:`, in place of `{word}`: the "
                "session behind it ends with the block"
            )

    async def __aenter__(self) -> ClientResponse:
        try:
            self._resp = await self._coro
        except BaseException:
            await self._session.close()
            raise
        return self._resp

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._resp is not None:
            self._resp.close()
        await self._session.close()


def request(
    method: str,
    url: StrOrURL,
    *,
    version: HttpVersion = HttpVersion11,
    connector: BaseConnector | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    **kwargs: Unpack[_RequestOptions],
) -> _SessionRequestContextManager:
    """Make one request with a session of its own, to be entered with ``async with``.

    Args:
        method: The method.
        url: The URL.
        version: HTTP/1.1 or HTTP/1.0.
        connector: Used and left open; by default one that closes with the response.
        loop: The event loop, the running one by default.
        **kwargs: As for `ClientSession.request`; `cookies` too.
    """
    owns = connector is None
    if connector is None:
        connector = TCPConnector(loop=loop, force_close=True)
    session = ClientSession(
        loop=loop,
        cookies=kwargs.pop("cookies", None),
        version=version,
        connector=connector,
        connector_owner=owns,
    )
    return _SessionRequestContextManager(session._request(method, url, **kwargs), session)
