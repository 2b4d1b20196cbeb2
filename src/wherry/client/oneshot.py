"""One request with a session of its own: `wherry.request`, and calls of `wherry.sync`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack, cast

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from wherry.client.options import _RequestOptions
from wherry.client.origin import base_origin_of
from wherry.client.response import ClientResponse
from wherry.client.session import ClientSession
from wherry.client.session_defaults import SessionDefaults
from wherry.connect.connector import BaseConnector, TCPConnector
from wherry.types import HttpVersion, HttpVersion11, LooseCookies, StrOrURL


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


class SingleCalls:
    """A session for each of many calls, over one connector.

    They share what has nothing of a caller in it: connections, how the fields of every request are
    written, what requests to an origin have in common, the timer.  A session's cookies are its own,
    and its `headers`, which would be everybody's, refuse changes.

    Args:
        connector: Stays open.
    """

    def __init__(self, connector: BaseConnector) -> None:
        self._made_by: object = ClientSession.__init__
        session = ClientSession(connector=connector, connector_owner=False)
        self._attributes = session.__dict__.copy()
        self._connector = connector
        self._builder = session._builder
        defaults = session._defaults
        defaults.headers = cast("CIMultiDict[str]", CIMultiDictProxy(CIMultiDict()))
        defaults.headers_any = defaults.headers
        self._shared = defaults.shared()
        session.detach()

    def begin(self, url: StrOrURL, cookies: LooseCookies | None) -> ClientSession:
        """A session for one call.

        Args:
            url: What the call asks for.
            cookies: What the program gave for it, None for nothing.
        """
        if ClientSession.__init__ is not self._made_by:
            # Instrumentation has put itself there, or has gone: it is to see each session.
            return session_for_call(self._connector, url, cookies)
        session = object.__new__(ClientSession)
        session.__dict__.update(self._attributes)
        session._defaults = defaults = SessionDefaults.with_shared(self._shared)
        session._builder = self._builder.for_one_call(defaults, session)
        if cookies is not None:
            _take_cookies(session, url, cookies)
        return session

    @staticmethod
    def end(session: ClientSession) -> None:
        """Close a session that `begin` gave; what is under way goes on."""
        session._defaults.connector = None


def session_for_call(
    connector: BaseConnector, url: StrOrURL, cookies: LooseCookies | None
) -> ClientSession:
    """A session for one call that shares nothing; its connector stays open."""
    session = ClientSession(connector=connector, connector_owner=False)
    if cookies is not None:
        _take_cookies(session, url, cookies)
    return session


def _take_cookies(session: ClientSession, url: StrOrURL, cookies: LooseCookies) -> None:
    """Keep `cookies` for the origin of `url`: a redirect may renew them, and must not carry them
    elsewhere.
    """
    session._defaults.cookie_jar.update_cookies(cookies)
    with suppress(ValueError, TypeError, IndexError):  # the request says what is wrong with it
        session._defaults.base_origin = base_origin_of(URL(url))
