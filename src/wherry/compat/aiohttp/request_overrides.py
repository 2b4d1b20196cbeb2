"""Custom classes: requests that send themselves, responses that start themselves, and what neither
can.

Sessions that know only our classes never come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.body.payload.memory import BytesPayload, StringPayload
from wherry.client.headers.validation import field_pairs
from wherry.client.hooks import AcquiredConnection
from wherry.client.origin import authority_of
from wherry.client.request import ClientRequest, engine_fields, extensions_of, take_body
from wherry.client.response import ClientResponse, exchange_of, note_start, starting_of
from wherry.client.shown_connection import ResponseConnection, SocketParts
from wherry.compat.aiohttp.private_names import warn_of_never_called
from wherry.connect.hooks import CHANGES
from wherry.connect.pool.exchange_reservation import Reservation
from wherry.connect.program_held_connection import BorrowedConnection
from wherry.protocol.connection import Connection, Exchange
from wherry.types import LooseHeaders

# Methods of a request in aiohttp that are never called here: what they do is done otherwise.
NEVER_CALLED = frozenset(
    {
        "update_auto_headers", "update_content_encoding", "update_cookies",
        "update_expect_continue", "update_host", "update_proxy", "update_transfer_encoding",
        "update_version",
    }
)  # fmt: skip


async def sent_by_class(
    request: ClientRequest,
    acquired: AcquiredConnection,
    carry: Callable[[], Coroutine[Any, Any, ClientResponse]],
) -> ClientResponse:
    """Let a request send itself and its response start itself, each by whatever its class says.

    As in aiohttp, `send` returns when the request is written, and `start` waits for the response's
    head.

    Args:
        request: The request.
        acquired: Its connection, and its response, still without a head.
        carry: Sends the request on the connection, and gives the response its head.
    """
    connection: Connection = acquired.connection
    response: ClientResponse = acquired.response
    place = Reservation(connection, acquired.pool)  # kept, however long the class takes
    held = BorrowedConnection(acquired.pool, connection, place)

    async def go() -> ClientResponse:
        place.use()
        return await carry()

    async def carry_once() -> ClientResponse:
        if starting_of(response) is not None:
            raise RuntimeError(f"{request!r} was sent on this connection already")
        task = asyncio.get_running_loop().create_task(go())
        note_start(response, task)
        task.add_done_callback(_retrieved)
        await asyncio.sleep(0)  # its first step writes the request
        if task.done():
            task.result()
        return response

    extensions = extensions_of(request)
    extensions.carry = carry_once
    with place:
        try:
            answer = await request.send(held)
            await answer.start(held)
            starting = starting_of(answer)
            if starting is None:
                note_start(answer, _STARTED)
            elif isinstance(starting, asyncio.Task):
                await starting  # a class that does not call what it overrides
            return answer
        except BaseException:
            starting = starting_of(response)
            if isinstance(starting, asyncio.Task) and not starting.done():
                starting.cancel()
                await asyncio.wait([starting])
            response.close()
            raise
        finally:
            extensions.carry = None


def _retrieved(task: asyncio.Task[ClientResponse]) -> None:
    """Whoever waits for the head has its error; a class that failed by itself, or was cancelled,
    does not ask.
    """
    if not task.cancelled():
        task.exception()


async def start(response: ClientResponse) -> None:
    """Let a response start itself, unless that was done; its head is here."""
    if starting_of(response) is not None:
        return
    note_start(response, _STARTED)
    exchange = exchange_of(response)
    try:
        await response.start(None if exchange is None else ResponseConnection(response, exchange))
    except BaseException:
        response.close()
        raise


_STARTED = object()


# --- methods of aiohttp's requests that programs override, or put others in the place of ----------


class RequestMethods:
    """What a request has besides, by `install`; the engine asks these only where they were
    overridden.
    """

    def is_ssl(self: Any) -> bool:
        """Whether the request goes over TLS."""
        return self.url.scheme in _TLS_SCHEMES

    def update_headers(self: Any, headers: LooseHeaders | None) -> None:
        """Begin the fields anew: Host, and these."""
        fields: CIMultiDict[str] = CIMultiDict()
        self._auto_host = fields["Host"] = authority_of(self.url)
        for name, value in field_pairs(headers) if headers else ():
            if name.lower() == "host":
                fields[name] = value
            else:
                fields.add(name, value)
        self.headers = fields

    def update_auth(self: Any, auth: BasicAuth | None, _trust_env: bool = False) -> None:
        """Put Basic authentication into the fields."""
        auth = self.auth if auth is None else auth
        if auth is None:
            return
        if not isinstance(auth, BasicAuth):
            raise TypeError("BasicAuth() tuple is required instead")
        self.auth = auth
        self.headers["Authorization"] = auth.encode()

    def update_body_from_data(self: Any, body: Any, _stacklevel: int = 3) -> None:
        """Take a body, and the fields that tell of it; those of the one before go."""
        if self._body is not None:
            for name, value in self._body.headers.items():
                if self.headers.get(name) == value:
                    del self.headers[name]
        for name in ("Content-Length", "Transfer-Encoding"):
            self.headers.popall(name, None)
        self._body = None
        take_body(self, body)

    async def write_bytes(
        self: Any, writer: Any, _conn: Any, _content_length: int | None = None
    ) -> None:
        """Write the body, and end it."""
        if self._body is not None:
            await self._body.write(writer)
        await writer.write_eof()


_TLS_SCHEMES = frozenset({"https", "wss"})
_OTHER_SCHEME = {"http": "https", "https": "http", "ws": "wss", "wss": "ws"}
_METHODS = {
    name: method for name, method in vars(RequestMethods).items() if not name.startswith("__")
}
_BUILDING = ("update_headers", "update_auth", "update_body_from_data")
_FLAGS = {
    "is_ssl": "_routed_by_class",
    "write_bytes": "_written_by_class",
    **dict.fromkeys(_BUILDING, "_built_by_class"),
}


class RequestMethod:
    """A method of requests that tells when a program puts another on one request: a middleware does
    so, or a connector.  Usual requests never come here.

    Args:
        name: Its name.
        plain: What it does where nothing is put there.
    """

    def __init__(self, name: str, plain: Callable[..., Any]) -> None:
        self._name = name
        self.plain = plain

    def __get__(self, request: Any, cls: Any = None) -> Any:
        if request is None:
            return self.plain
        return request.__dict__.get(self._name) or self.plain.__get__(request, cls)

    def __set__(self, request: Any, method: Any) -> None:
        request.__dict__[self._name] = method
        request.__dict__[_FLAGS[self._name]] = True

    def __delete__(self, request: Any) -> None:
        if self._name not in request.__dict__:
            raise AttributeError(self._name)
        del request.__dict__[self._name]


_methods_of_one = {name: RequestMethod(name, plain) for name, plain in _METHODS.items()}


def _as_given(data: Any) -> Any:
    """Bytes and text as the program gave them; the session has made a payload of them."""
    if type(data) is BytesPayload and data.content_type == "application/octet-stream":
        return data.at_hand
    if type(data) is StringPayload and data.content_type == "text/plain; charset=utf-8":
        return data.decode()
    return data


class RequestOverrides:
    """The `RequestHooks` of programs that know aiohttp's requests."""

    def class_made(self, cls: type[ClientRequest]) -> None:
        """See which methods are the program's own, and warn of those that nobody will call."""
        warn_of_never_called(cls, NEVER_CALLED, stacklevel=6)
        self.look_at(cls)

    def look_at(self, cls: type[ClientRequest]) -> None:
        """Note in a class which methods are the program's own."""
        own = {name for name, plain in _METHODS.items() if getattr(cls, name, plain) is not plain}
        flags = {_FLAGS[name] for name in own}
        for flag in _FLAGS.values():
            if getattr(cls, flag) is not (flag in flags):
                type.__setattr__(cls, flag, flag in flags)

    def class_changed(self, cls: type, name: str) -> None:
        """A method of a class was replaced, or put back: those derived from it have that too."""
        if name in _METHODS and issubclass(cls, ClientRequest):
            if cls.__dict__.get(name) is _METHODS[name]:
                # Put back as a plain function, which is what one sees of it.
                setattr(cls, name, _methods_of_one[name])
                return
            self.look_at(cls)
            for derived in cls.__subclasses__():
                self.class_changed(derived, name)

    def build(self, request: Any, auth: BasicAuth | None, data: Any) -> None:
        """Fields, credentials and body in aiohttp's order, each by the class's own method."""
        fields = request.headers.copy()
        engine = engine_fields(request)
        for name in ("Content-Length", "Transfer-Encoding"):
            if name.lower() not in engine:
                fields.popall(name, None)  # the body's, which is not there yet
        if auth is not None and "Authorization" in fields:
            raise ValueError(
                "Cannot combine AUTHORIZATION header with AUTH argument or credentials encoded in "
                "URL"
            )
        request.update_headers(fields)
        request.update_auth(auth, request.trust_env)
        if data is not None:
            request.update_body_from_data(_as_given(data))
        else:
            take_body(request, None)

    def put_body(self, request: Any, data: Any) -> None:
        """Another body, by the class's own method."""
        request.update_body_from_data(data)

    def route_url(self, request: Any) -> URL:
        """The request's URL, with or without TLS as `is_ssl` says; the port stays."""
        url: URL = request.url
        other = _OTHER_SCHEME.get(url.scheme)
        if other is None or bool(request.is_ssl()) is (url.scheme in _TLS_SCHEMES):
            return url
        return url.with_scheme(other).with_port(url.port)

    async def write_body(self, request: Any, writer: Any, exchange: Exchange) -> None:
        """The body, by the class's own `write_bytes`."""
        await request.write_bytes(writer, SocketParts(exchange.connection.transport), writer.length)

    async def send(
        self,
        request: ClientRequest,
        acquired: AcquiredConnection,
        carry: Callable[[], Coroutine[Any, Any, ClientResponse]],
    ) -> ClientResponse:
        """See `sent_by_class`."""
        return await sent_by_class(request, acquired, carry)

    async def start(self, response: ClientResponse) -> None:
        """See `start`."""
        await start(response)


def install(overrides: RequestOverrides) -> None:
    """Give requests these methods, and notice when programs put others in their place."""
    for name, method in _methods_of_one.items():
        type.__setattr__(ClientRequest, name, method)
    CHANGES.listeners.append(overrides.class_changed)
