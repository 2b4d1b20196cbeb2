"""What the classes of `wherry.sync` are made of: each holds the asynchronous object of its name,
and has its coroutines run by the loop in the background.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from inspect import signature
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, cast

from wherry import BasicAuth, ClientResponse, ClientSession, ServerSentEvent, TCPConnector
from wherry.client.oneshot import session_for_call
from wherry.client.options import _RequestOptions
from wherry.client.response import NoEncoding
from wherry.sync.background import background, give, now, run

if TYPE_CHECKING:
    from wherry.sync.background import Background

__all__ = ("Held", "HeldEvents", "HeldResponse", "HeldSession", "Pieces", "fetch_once", "wait_for")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_END: Any = object()


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def wait_for(work: Awaitable[T]) -> T:
    """What comes of something to await."""
    return run(_awaited(work))


async def _called(function: Callable[..., T], args: tuple[Any, ...]) -> T:
    return function(*args)


def call(function: Callable[..., T], *args: Any) -> T:
    """What a function gives that must run on the loop's thread."""
    return run(_called(function, args))


async def _next(source: AsyncIterator[T]) -> T:
    try:
        return await anext(source)
    except StopAsyncIteration:
        return _END  # type: ignore[no-any-return]


class Pieces(Iterator[T], Generic[T]):
    """What an asynchronous iterator gives, for a `for` loop."""

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source

    def __next__(self) -> T:
        item = run(_next(self._source))
        if item is _END:
            raise StopIteration
        return item

    def __del__(self) -> None:
        # A generator of the loop's must end there, too.
        end = getattr(self._source, "aclose", None)
        if end is not None:
            give(_end_soon, end)


def _end_soon(end: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    asyncio.get_running_loop().create_task(end())


class Held(Generic[T]):
    """An object of the loop's, for other threads.

    `asynchronous` is the object itself, for coroutines of the loop (middlewares, traces).
    """

    def __init__(self, asynchronous: T) -> None:
        self.asynchronous: T = asynchronous

    def __repr__(self) -> str:
        return f"<wherry.sync {self.asynchronous!r}>"

    @property
    def _inner(self) -> T:
        return self.asynchronous

    if not TYPE_CHECKING:  # a checker finds the mistake itself

        def __await__(self) -> Any:
            raise TypeError("leave out `await`: wherry.sync gives what is there already")

        async def __aenter__(self) -> None:
            raise TypeError("use `with` in place of `async with`: wherry.sync waits by itself")

        async def __aexit__(self, *_: object) -> None:
            """Never reached: `__aenter__` raises."""


async def _whole(request: Awaitable[ClientResponse], stream: bool) -> ClientResponse:
    response = await request
    if not stream:
        await response.read()
    return response


class HeldResponse(Held[ClientResponse]):
    """What every response of `wherry.sync` can: be read, closed and forgotten on any thread."""

    def __init__(self, asynchronous: ClientResponse, whole: bool = False) -> None:
        super().__init__(asynchronous)
        self._whole = whole  # its body was read when it was made

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        # A body that is here needs no loop.
        return now(work) if self._whole else run(work)

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args) if self.asynchronous.closed else call(function, *args)

    if not TYPE_CHECKING:  # a checker would take every name for an attribute
        encoding = NoEncoding()

        def __getattr__(self, name: str) -> Any:
            # Only what is not there comes here, most often what another client's responses have.
            hint = ""
            if not name.startswith("_"):
                from wherry.client.call_mistakes import missing_attribute

                hint = missing_attribute("response", name, asynchronous=False)
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{hint}",
                name=name,
                obj=self,
            )

    def __enter__(self) -> Self:
        now(self.asynchronous.__aenter__())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        run(self.asynchronous.__aexit__(exc_type, exc, tb))

    def __del__(self) -> None:
        response = getattr(self, "asynchronous", None)
        if response is not None and not response.closed:
            give(response.close)


class _Events(Protocol[T_co]):
    """What gives events, asynchronously, and is left by `aclose`."""

    def __anext__(self) -> Awaitable[T_co]: ...

    async def aclose(self) -> None: ...


E = TypeVar("E", bound=_Events[ServerSentEvent])


class HeldEvents(Held[E], Iterator[ServerSentEvent]):
    """Server-sent events: a `for` loop takes them, a `with` block leaves them."""

    def __next__(self) -> ServerSentEvent:
        item = run(_next(cast("AsyncIterator[ServerSentEvent]", self.asynchronous)))
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        """Leave the stream; returns when nothing is under way any more."""
        run(self.asynchronous.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        give(_end_soon, self.asynchronous.aclose)


class HeldSession:
    """A session, made on the loop when it is first needed; in a child of a fork anew.

    Args:
        options: The keywords of `wherry.ClientSession`; a `connector` is something to call there
            that gives one.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._lock_home: Background | None = None
        self._made: ClientSession | None = None
        self._closed = False
        self._session()  # what is wrong with the arguments is wrong here

    def _session(self) -> ClientSession:
        home = background()
        made = self._made
        if made is None or self._lock_home is not home:
            if made is not None:
                _inherited.append(made)  # its sockets are the parent's
                self._options["cookie_jar"] = made.cookie_jar
                self._options.pop("cookies", None)
            self._made = made = run(_make(self._options))
            self._lock_home = home
        return made

    @property
    def asynchronous(self) -> ClientSession:
        """The session itself, for coroutines of the loop (middlewares, traces)."""
        return self._session()

    @property
    def _inner(self) -> ClientSession:
        return self._session()

    if not TYPE_CHECKING:  # a checker would let every name be set

        def __setattr__(self, name: str, value: Any) -> None:
            # Without this `session.proxies = ...` is kept, and the requests go out directly.
            if not name.startswith("_"):
                _check_set(type(self), name)
            super().__setattr__(name, value)

    def _fetch(self, request: Awaitable[ClientResponse], stream: bool) -> ClientResponse:
        return run(_whole(request, stream))

    def close(self) -> None:
        """Close the session; returns when every connection is closed."""
        made = self._made
        if made is not None and not self._closed and self._lock_home is background():
            run(made.close())
        self._closed = True

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    if not TYPE_CHECKING:  # a checker finds the mistake itself
        __aenter__, __aexit__ = Held.__aenter__, Held.__aexit__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        made = getattr(self, "_made", None)
        if made is None or self._closed:
            return
        warnings.warn(f"Unclosed session {self!r}", ResourceWarning, source=self, stacklevel=2)
        give(_end_soon, made.close)


def _check_set(cls: type, name: str) -> None:
    """Refuse an attribute that does nothing; a program's own class may have more of them.

    Raises:
        AttributeError: It is none of a session's.
    """
    from wherry.client.call_mistakes import NOT_SET, refused_attribute

    there = getattr(cls, name, None)
    if there is not None and not (isinstance(there, property) and there.fset is None):
        return  # a method that a test replaces, or what a subclass has
    if there is None and not cls.__module__.startswith("wherry.") and name not in NOT_SET:
        return
    takes = signature(ClientSession.__init__).parameters.keys() - {"self", "unknown"}
    requests = _RequestOptions.__annotations__
    raise AttributeError(refused_attribute("Session", name, takes, requests))


# Sessions of a parent: to collect them would close what is the parent's.
_inherited: list[ClientSession] = []


async def _make(options: dict[str, Any]) -> ClientSession:
    options = dict(options)
    if (connector := options.get("connector")) is not None:
        if not callable(connector):
            raise TypeError(
                "connector= takes something to call, for a connector is made on the loop: say "
                "connector=lambda: wherry.TCPConnector(...)"
            )
        options["connector"] = connector()
    return ClientSession(**options)


async def _once(
    method: str, url: Any, stream: bool, options: dict[str, Any], home: Background
) -> ClientResponse:
    # A session and a jar that no other call has: the cookies of a redirect must not be there for
    # whoever calls next.
    cookies = options.pop("cookies", None)
    if _reaches_its_session(options):
        return await _apart(method, url, stream, options, cookies, home.own_connector())
    if options.get("allow_redirects") is True:
        del options["allow_redirects"]  # as always
    calls = home.single_calls()
    session = calls.begin(url, cookies)
    try:
        return await _whole(session.request(method, url, **options), stream)
    finally:
        calls.end(session)


async def _apart(
    method: str, url: Any, stream: bool, options: dict[str, Any], cookies: Any, own: TCPConnector
) -> ClientResponse:
    """A call whose session a program's own code sees: what that says to it, and to its connector,
    and the work that it leaves in the background, must not be there for whoever calls next.
    """
    session = session_for_call(own, url, cookies)
    try:
        response = await _whole(session.request(method, url, **options), stream)
        if stream:
            own.pool.drain()  # the response is read yet; its connection closes after it
        return response
    finally:
        session.detach()
        own.close()


def _reaches_its_session(options: dict[str, Any]) -> bool:
    """Whether code of the program's is given the request, and with it session and connector.

    Such code may also log a connection in (NTLM, Negotiate: RFC 4559 6), and then every request on
    it is its user's.
    """
    auth = options.get("auth")
    return bool(options.get("middlewares")) or not (auth is None or isinstance(auth, BasicAuth))


def fetch_once(method: str, url: Any, stream: bool, options: dict[str, Any]) -> ClientResponse:
    """One request without a session, over the connections that such requests share."""
    return run(_once(method, url, stream, options, background()))
