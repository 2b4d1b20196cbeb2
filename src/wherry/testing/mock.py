"""`Mock`: answers for URLs, given inside the process; what nobody foresaw fails loudly.

It answers below the client, as a connection: requests and responses are the real ones, and so are
redirects, cookies, middlewares and time limits.  It knows nothing of pytest.
"""

from __future__ import annotations

import asyncio
import inspect
import json as json_module
import re
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict
from yarl import URL

from wherry import BaseConnector
from wherry.connect.connect_request import ConnectRequest
from wherry.connect.route import Route
from wherry.protocol.connection import Connection
from wherry.testing.inprocess import InProcessConnection, InProcessExchange, reason_of
from wherry.testing.interception import Dial, Interception
from wherry.testing.mock_websocket import Handler, MockWebSocket

__all__ = ("Call", "Mock", "MockRoute", "Reply", "UnmatchedRequest")

Pattern = str | URL | re.Pattern[str]
Query = str | Mapping[str, Any] | Sequence[tuple[str, Any]]
_PLACE = re.compile(r"\{\w+\}")
_PORT_PLACE = re.compile(r"^([^/?#]*://[^/?#]*):\{\w+\}(?=[/?#]|$)")
_SCHEME_PLACE = re.compile(r"^\{\w+\}(?=://)")
# Stands for a template's place while its URL is normalised: nothing of it is quoted or lowered.
_STAND_IN = "0wherryplace0"


class UnmatchedRequest(AssertionError):
    """A request that no route answers."""


def _normal(url: URL) -> str:
    """A URL without user, query and fragment as any client writes it (RFC 3986 6.2.2, 6.2.3): its
    host in lower case and ASCII, its default port and escapes that need not be left out, its empty
    path a slash.
    """
    normal = URL(str(url)).with_user(None).with_query(None).with_fragment(None)
    text = str(normal)
    return text if "/" in text.partition("://")[2] else f"{text}/"


def _expression_of(template: str) -> re.Pattern[str]:
    """The expression of the URLs that a template matches: ``{name}`` is a part of one segment."""
    text, schemes = _SCHEME_PLACE.subn("http", template)
    text, ports = _PORT_PLACE.subn(r"\1", text)
    url = _normal(_absolute(_PLACE.sub(_STAND_IN, text)))
    if ports:
        scheme, slashes, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        found = re.escape(f"{scheme}{slashes}{authority}") + r"(?::\d+)?" + re.escape(slash + path)
    else:
        found = re.escape(url)
    if schemes:
        found = "[^/?]+" + found.removeprefix("http")
    return re.compile(found.replace(_STAND_IN, "[^/?]+"))


def _absolute(text: str) -> URL:
    url = URL(text)
    if not url.absolute:
        raise ValueError(f"a route's URL is absolute: {text!r}")
    return url


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _query_of(query: Query) -> MultiDict[str]:
    """A query's names and values as a client that is given it sends them."""
    return MultiDict(URL("http://localhost/").with_query(query).query)


class Call:
    """A request as it was sent.

    Attributes:
        method: Its method, in upper case.
        url: Its URL, with the query.
        headers: Its header fields.
        body: Its whole body.
        messages: What was sent over the WebSocket that it opened, str or bytes.
    """

    __slots__ = ("body", "headers", "messages", "method", "url")

    def __init__(self, method: str, url: URL, headers: CIMultiDict[str], body: bytes) -> None:
        self.method: str = method
        self.url: URL = url
        self.headers: CIMultiDictProxy[str] = CIMultiDictProxy(headers)
        self.body: bytes = body
        self.messages: list[str | bytes] = []

    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json_module.loads(self.body)

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.url}>"


class Reply:
    """What a route answers.

    Args:
        status: The status.
        json: A value to send as JSON.
        text: Text to send as UTF-8.
        body: Bytes, or an iterable of bytes (async or not) that is streamed.
        headers: Header fields.
        exception: Raised at the request, in place of an answer.

    Raises:
        ValueError: More than one body.
    """

    __slots__ = ("body", "exception", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        *,
        json: Any = None,
        text: str | None = None,
        body: bytes | Iterable[bytes] | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        exception: BaseException | type[BaseException] | None = None,
    ) -> None:
        if sum(given is not None for given in (json, text, body)) > 1:
            raise ValueError("a reply has one body: json, text or body")
        self.status: int = status
        self.headers: CIMultiDict[str] = CIMultiDict(headers)
        self.exception: BaseException | type[BaseException] | None = exception
        if json is not None:
            body = json_module.dumps(json).encode()
            self.headers.setdefault("Content-Type", "application/json")
        elif text is not None:
            body = text.encode()
            self.headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        self.body: bytes | Iterable[bytes] | AsyncIterable[bytes] = b"" if body is None else body

    async def send(self, exchange: InProcessExchange) -> None:
        """Give it to `exchange`."""
        if self.exception is not None:
            raise self.exception
        body = self.body
        if isinstance(body, bytes) and self.status not in (204, 304):
            self.headers.setdefault("Content-Length", str(len(body)))
        reason = reason_of(self.status)
        exchange.respond(
            self.status,
            [(name.encode(), value.encode("utf-8")) for name, value in self.headers.items()],
            reason,
        )
        if isinstance(body, bytes):
            await exchange.write(body)
        elif isinstance(body, AsyncIterable):
            async for part in body:
                await exchange.write(part)
        else:
            for part in body:
                await exchange.write(part)
        exchange.finish()


class MockRoute:
    """One row of the table: which requests it takes, and what it answers.

    Attributes:
        calls: The requests that it answered.
    """

    def __init__(
        self,
        method: str,
        url: Pattern,
        query: Query | None,
        replies: list[Any],
        times: int | None,
    ) -> None:
        self.method: str = method.upper()
        self.pattern = url
        self.calls: list[Call] = []
        self._replies = replies
        self._times = times
        self._query: MultiDict[str] | None = None if query is None else _query_of(query)
        self._exact = False
        self._expression = self._compile(url)

    def _compile(self, url: Pattern) -> re.Pattern[str]:
        if isinstance(url, re.Pattern):
            return url
        text, question, query = str(url).partition("#")[0].partition("?")
        if query:
            if isinstance(url, str) and _PLACE.search(query):
                raise ValueError("give the query of a path template as query=")
            self._exact = True
            asked = _absolute(f"http://localhost/{question}{query}").query
            self._query = MultiDict([*asked.items(), *(self._query or {}).items()])
        if isinstance(url, URL):
            return re.compile(re.escape(_normal(_absolute(text))))
        return _expression_of(text)

    @property
    def exhausted(self) -> bool:
        """Whether it has answered as often as it may."""
        return self._times is not None and len(self.calls) >= self._times

    def matches(self, method: str, url: URL) -> bool:
        """Whether it is for a request of `method` to `url`."""
        if self.method not in ("*", method):
            return False
        if isinstance(self.pattern, re.Pattern):
            if self._expression.search(str(url)) is None:
                return False
        elif self._expression.fullmatch(_normal(url)) is None:
            return False
        if self._query is None:
            return True
        wanted, sent = Counter(self._query.items()), Counter(url.query.items())
        return wanted == sent if self._exact else wanted <= sent

    async def answer(self, exchange: InProcessExchange, call: Call) -> None:
        """Answer a request that matches."""
        await (await self.reply(call)).send(exchange)

    async def reply(self, call: Call) -> Reply:
        """The answer to `call`: the next of a sequence, whose last one stays."""
        reply = self._replies[min(len(self.calls), len(self._replies) - 1)]
        self.calls.append(call)
        if callable(reply):
            reply = reply(call)
            if inspect.isawaitable(reply):
                reply = await reply
        if not isinstance(reply, Reply):
            raise TypeError(f"a callback of a mocked route gives a Reply, not {reply!r}")
        return reply

    def __repr__(self) -> str:
        pattern = (
            self.pattern.pattern if isinstance(self.pattern, re.Pattern) else str(self.pattern)
        )
        query = "" if self._query is None or self._exact else f" query={dict(self._query)}"
        return f"{self.method} {pattern}{query}" + (" (used up)" if self.exhausted else "")


class SocketRoute(MockRoute):
    """A row whose requests open WebSockets."""

    async def answer(self, exchange: InProcessExchange, call: Call) -> None:
        """Open the WebSocket, and talk."""
        self.calls.append(call)
        if exchange.request.upgrade is None:
            await Reply(426, headers={"Upgrade": "websocket"}).send(exchange)
            return
        handler, messages, protocol, failures = self._replies
        await MockWebSocket(exchange, call, failures).serve(messages, handler, protocol)


class Mock(Interception):
    """A table of URLs and answers.

    As a context manager it answers for every session that dials meanwhile, in whatever code;
    `connector()` gives a connector for one session, and nothing else is touched.

    Args:
        passthrough: Hosts that are really asked.

    Attributes:
        routes: The routes, in the order in which they are tried.
        calls: Every request, in order.
        unmatched: The requests that no route answered.
        failures: What WebSockets' handlers raised.
    """

    def __init__(self, *, passthrough: Iterable[str] = ()) -> None:
        self.passthrough: set[str] = set(passthrough)
        self.routes: list[MockRoute] = []
        self.calls: list[Call] = []
        self.unmatched: list[Call] = []
        self.failures: list[Exception] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def add(
        self,
        method: str,
        url: Pattern,
        *replies: Reply | Callable[[Call], Any],
        query: Query | None = None,
        times: int | None = None,
        **reply: Any,
    ) -> MockRoute:
        """Answer requests.

        Args:
            method: A method, or "*" for all.
            url: A URL (its query, where it has one, must be equal), a template
                (``https://h/users/{id}``), or an expression that is searched for in the URL. URLs
                and templates are normalised as those that are asked for: ``https://H:443/ü`` is
                ``https://h/%C3%BC``.
            replies: Answers one after the other, the last for all that follow; a callable (async or
                not) takes the `Call` and gives a `Reply`.
            query: What the query must have among others, as for `params=` of a request: numbers
                and lists too.
            times: How often the route answers; None for always.
            reply: The arguments of one `Reply`, in place of `replies`.
        """
        if replies and reply:
            raise ValueError("give replies or the arguments of one, not both")
        route = MockRoute(method, url, query, list(replies) or [Reply(**reply)], times)
        self.routes.append(route)
        return route

    def get(self, url: Pattern, *replies: Any, **options: Any) -> MockRoute:
        """Answer GET; see `add`."""
        return self.add("GET", url, *replies, **options)

    def post(self, url: Pattern, *replies: Any, **options: Any) -> MockRoute:
        """Answer POST; see `add`."""
        return self.add("POST", url, *replies, **options)

    def put(self, url: Pattern, *replies: Any, **options: Any) -> MockRoute:
        """Answer PUT; see `add`."""
        return self.add("PUT", url, *replies, **options)

    def patch(self, url: Pattern, *replies: Any, **options: Any) -> MockRoute:
        """Answer PATCH; see `add`."""
        return self.add("PATCH", url, *replies, **options)

    def delete(self, url: Pattern, *replies: Any, **options: Any) -> MockRoute:
        """Answer DELETE; see `add`."""
        return self.add("DELETE", url, *replies, **options)

    def head(self, url: Pattern, *replies: Any, **options: Any) -> MockRoute:
        """Answer HEAD; see `add`."""
        return self.add("HEAD", url, *replies, **options)

    def websocket(
        self,
        url: Pattern,
        handler: Handler | None = None,
        *,
        messages: Iterable[Any] = (),
        protocol: str | None = None,
        query: Query | None = None,
        times: int | None = None,
    ) -> MockRoute:
        """Open WebSockets.

        Args:
            url: A ws or wss URL, as for `add`.
            handler: Talks to the program (an async function that takes a `MockWebSocket`); the
                WebSocket is closed when it returns. None keeps it open until the program closes it.
            messages: Sent first: str, bytes, or values that are sent as JSON.
            protocol: The subprotocol to choose.
            query: As for `add`.
            times: As for `add`.
        """
        route = SocketRoute(
            "GET", url, query, [handler, list(messages), protocol, self.failures], times
        )
        self.routes.append(route)
        return route

    # --- afterwards -------------------------------------------------------------------------------

    def assert_all_called(self) -> None:
        """Fail if there are routes that nobody asked for.

        Raises:
            AssertionError: There are.
        """
        unused = [repr(route) for route in self.routes if not route.calls]
        if unused:
            raise AssertionError("mocked, but never requested: " + ", ".join(unused))

    def assert_all_matched(self) -> None:
        """Fail if a request found no route, even if the program took the error for another, or a
        handler failed.

        Raises:
            UnmatchedRequest: One did.
            Exception: What the handler of a WebSocket raised.
        """
        if self.unmatched:
            raise UnmatchedRequest(self._complaint(self.unmatched[0]))
        if self.failures:
            raise self.failures[0]

    def _complaint(self, call: Call) -> str:
        known = "".join(f"\n  {route!r}" for route in self.routes) or " none"
        return f"no mocked route answers {call.method} {call.url}; there are:{known}"

    # --- answering --------------------------------------------------------------------------------

    async def _answer(self, exchange: InProcessExchange) -> None:
        url, method = exchange.url, exchange.request.method
        if exchange.request.upgrade is not None:
            url = url.with_scheme("wss" if url.scheme == "https" else "ws")
        call = Call(method, url, exchange.fields, await exchange.read_body())
        self.calls.append(call)
        route = next(
            (row for row in self.routes if not row.exhausted and row.matches(method, url)), None
        )
        if route is None:
            self.unmatched.append(call)
            raise UnmatchedRequest(self._complaint(call))
        await route.answer(exchange, call)

    def _reach(self, connect_request: ConnectRequest) -> Connection:
        # A WebSocket's handler sees its client go; any other answer is not wanted any more then.
        is_socket = getattr(connect_request.request, "upgrade", None) is not None
        return InProcessConnection(connect_request, self._answer, self._tasks, outlives=is_socket)

    def connector(self) -> BaseConnector:
        """A connector for a session that asks this table; nothing else is touched."""
        return _MockConnector(self)

    async def _dial(
        self, route: Route, settings: Any, connect_request: ConnectRequest, really: Dial
    ) -> Connection:
        # A request that a proxy forwards has the proxy for its origin; who is asked stands in the
        # request.
        host = (
            getattr(getattr(connect_request.request, "url", None), "raw_host", None)
            or route.origin.host
        )
        if host in {URL(f"http://{_bracketed(name)}").raw_host for name in self.passthrough}:
            return await really(route, settings, connect_request)
        return self._reach(connect_request)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc, tb)
        for task in self._tasks:
            if not task.get_loop().is_closed():
                task.cancel()  # a WebSocket's handler that its client left


class _MockConnector(BaseConnector):
    """Serves every request from a mock's table."""

    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        super().__init__(limit=0)

    def _dialler(self) -> Any:
        async def reach(connect_request: ConnectRequest) -> Connection:
            return self._mock._reach(connect_request)

        return reach
