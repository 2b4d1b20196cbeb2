"""What every protocol offers: a `Connection` carries exchanges, an `Exchange` is one request and its response.

The rooms above see only these classes and never learn which HTTP version is spoken.  Data is pushed: a
connection gives the body to a `BodySink` as it arrives, and reports to its `ConnectionOwner` (the pool) the
moment that it can carry another exchange.  Nothing here knows URLs, cookies, sessions or pools.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from wherry.errors import ClientConnectionResetError
from wherry.types import HttpVersion, RawHeaders

FieldPairs = list[tuple[str, str]] | tuple[tuple[str, str], ...]


def has_bytes(text: str) -> bool:
    """Whether `text` can go out in a field: as UTF-8, and as the bytes that came where they were none (PEP 383).

    Half a surrogate pair, which JSON can hold, is neither.
    """
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


class FieldBlock:
    """Header fields that many requests have in common, so that each protocol encodes them once.

    Args:
        pairs: Names and values, already checked, in the order in which they are sent.
    """

    __slots__ = ("encoded_http1", "encoded_http2", "names", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = tuple(pairs)
        self.names = frozenset(name.lower() for name, _ in self.pairs)
        self.encoded_http1: bytes | None = None
        self.encoded_http2: Any = None


EMPTY_BLOCK = FieldBlock()


class RequestHead:
    """A request as a protocol needs it: everything but the body's bytes, unless these are at hand.

    Framing belongs to the protocol: `fields` must not have Content-Length, Transfer-Encoding, Host or
    Connection; they follow from `content_length`, `streamed`, `authority`, `close` and `upgrade`.

    Args:
        method: The method, a token in the case that is sent.
        scheme: "http" or "https".
        authority: The host, with the port where it is not the scheme's own: Host, or :authority.
        target: Origin-form, or absolute-form for a plain request through a proxy.
        shared: Fields that many requests of the session share.
        fields: Fields of this request alone; they follow the shared ones.
        body: The whole body when it is at hand, else None.
        streamed: The body follows by `Exchange.send` and `Exchange.end`.
        content_length: The body's length in bytes; None with `streamed` means that it is not known.
        expect_continue: Sends ``Expect: 100-continue``; the caller awaits `Exchange.wait_continue` first.
        upgrade: The protocol to upgrade to ("websocket"), None for an ordinary exchange.
        close: The connection ends with this exchange.
        version: The version that the user asked for; protocols other than HTTP/1 ignore it.
    """

    __slots__ = (
        "authority",
        "body",
        "close",
        "content_length",
        "encoded_http1",
        "encoded_http2",
        "expect_continue",
        "fields",
        "limits",
        "method",
        "scheme",
        "shared",
        "streamed",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: str,
        scheme: str,
        authority: str,
        target: str,
        shared: FieldBlock = EMPTY_BLOCK,
        fields: FieldPairs = (),
        body: bytes | None = None,
        *,
        streamed: bool = False,
        content_length: int | None = None,
        expect_continue: bool = False,
        upgrade: str | None = None,
        close: bool = False,
        version: HttpVersion | None = None,
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.authority = authority
        self.target = target
        self.shared = shared
        self.fields = fields
        self.body = body
        self.streamed = streamed
        self.content_length = content_length
        self.expect_continue = expect_continue
        self.upgrade = upgrade
        self.close = close
        self.version = version
        # What the response's head may hold, where that is not what the connection was made for.
        self.limits: Any = None
        # A head that is sent again and again is encoded once.
        self.encoded_http1: bytes | None = None
        # With the state of the compression that it was made in.
        self.encoded_http2: tuple[object, bytes] | None = None


class ResponseHead:
    """Status line and header fields, as they came; never changed, so one may serve several equal responses.

    Args:
        status: The status code.
        reason: The reason phrase ("" in HTTP/2 and 3).
        version: The version of the response.
        raw: The field lines in order, names in their original case, values without surrounding blanks.
    """

    __slots__ = ("derived", "raw", "reason", "status", "version")

    def __init__(self, status: int, reason: str, version: HttpVersion, raw: RawHeaders) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.raw = raw
        # What a room above made of the fields, kept for the next response with the same head.
        self.derived: Any = None

    def get(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower case), or None."""
        length = len(name)
        for field, value in self.raw:
            if len(field) == length and field.lower() == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case), in order."""
        length = len(name)
        return [value for field, value in self.raw if len(field) == length and field.lower() == name]


class FlowControl(Protocol):
    """What a body's reader tells the connection when it is full, and when it has room again."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class BodySink(Protocol):
    """Where a response's body goes, piece by piece.  `Connection.start` sets `flow`."""

    flow: FlowControl | None

    def feed_data(self, data: bytes) -> None: ...

    def feed_eof(self) -> None: ...

    def chunk_ended(self) -> None:
        """A chunk of the chunked coding ended here; other framings never say so."""

    def set_exception(self, exc: BaseException) -> None: ...


class Exchange(ABC):
    """One request and its response on a connection.

    `complete` is True once the response's last byte is in; `error` is what ended the exchange before that;
    `sent` is False while no byte of the request was handed to the transport; `reused` tells whether the
    connection had carried another exchange before.
    """

    __slots__ = (
        "_continue_waiter",
        "_head_waiter",
        "complete",
        "connection",
        "error",
        "head",
        "informational",
        "reused",
        "sent",
        "sink",
        "touched",
        "trailers",
        "unprocessed",
    )

    def __init__(self, connection: Connection, sink: BodySink, reused: bool) -> None:
        self.connection = connection
        self.sink = sink
        self.reused = reused
        self.sent = False
        self.head: ResponseHead | None = None
        self.trailers: RawHeaders = ()
        self.complete = False
        self.error: BaseException | None = None
        # Called with each interim (1xx) response; the final head comes by `receive_head`.
        self.informational: Callable[[ResponseHead], None] | None = None
        # Called when something of the response came, be it no head yet and no data.
        self.touched: Callable[[], None] | None = None
        # The protocol says that the server did nothing about the request (RFC 9113 8.7): it may be sent again.
        self.unprocessed = False
        self._head_waiter: asyncio.Future[None] | None = None
        self._continue_waiter: asyncio.Future[None] | None = None

    async def receive_head(self) -> ResponseHead:
        """Wait for the final response's head.

        Raises:
            ServerDisconnectedError: The connection ended first.
            ClientResponseError: What came is not HTTP.
        """
        if self.head is None:
            if self.error is not None:
                raise self.error
            self._head_waiter = waiter = self.connection.loop.create_future()
            try:
                await waiter
            finally:
                self._head_waiter = None
            assert self.head is not None
        return self.head

    def tell(self, waiter: asyncio.Future[Any]) -> None:
        """Wake `waiter` in place of `receive_head`: it is done when the head is here, or fails with the exchange."""
        if self.error is not None:
            waiter.set_exception(self.error)
        elif self.head is not None:
            waiter.set_result(None)
        else:
            self._head_waiter = waiter

    async def wait_continue(self, seconds: float) -> bool:
        """Wait for 100 (Continue), but not for ever (RFC 9110 10.1.1); whether the body should be sent now."""
        waiter = self._continue_waiter = self.connection.loop.create_future()

        def interim(head: ResponseHead) -> None:
            if head.status == 100:
                _wake(waiter)

        self.informational = interim
        if self.head is None and self.error is None:
            await asyncio.wait((waiter,), timeout=seconds)
        self.informational = self._continue_waiter = None
        return self.head is None and self.error is None

    def head_arrived(self, head: ResponseHead) -> None:
        """The protocol has the final head: wake who waits for it."""
        self.head = head
        waiter = self._head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._continue_waiter is not None:
            _wake(self._continue_waiter)

    def fail(self, exc: BaseException) -> None:
        """End the exchange with `exc`, for whoever waits now and whoever comes later."""
        if self.complete or self.error is not None:
            return
        self.error = exc
        waiter = self._head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(exc)
        if self._continue_waiter is not None:
            _wake(self._continue_waiter)
        self.sink.set_exception(exc)

    @abstractmethod
    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece of a streamed body; framing is added here.

        Raises:
            ClientConnectionResetError: The connection is gone.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Wait until the peer takes more data."""

    @abstractmethod
    def end(self, trailers: FieldPairs = ()) -> None:
        """The streamed body is whole."""

    @abstractmethod
    def cancel(self) -> None:
        """Give up: HTTP/1 closes the connection, HTTP/2 and 3 reset the stream.  Harmless when it is over.

        What `fail` was told stays the reason.
        """

    @abstractmethod
    def pause_reading(self) -> None:
        """The reader is full."""

    @abstractmethod
    def resume_reading(self) -> None:
        """The reader has room."""

    def upgrade(self, receiver: TunnelReceiver) -> Tunnel:
        """After a 101 (or a 2xx to an extended CONNECT): the bytes of both directions, raw.

        Args:
            receiver: Gets whatever arrives, beginning with bytes that came along with the head.

        Raises:
            RuntimeError: The exchange did not switch protocols.
        """
        raise RuntimeError("this exchange did not switch protocols")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class TunnelReceiver(Protocol):
    """Who reads a tunnel's bytes: pushed, in order."""

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> None: ...

    def connection_lost(self, exc: BaseException | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Tunnel(ABC):
    """The raw bytes of an upgraded exchange: an HTTP/1.1 connection after 101, or a stream of HTTP/2."""

    __slots__ = ()

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    @abstractmethod
    def pause_reading(self) -> None: ...

    @abstractmethod
    def resume_reading(self) -> None: ...

    @abstractmethod
    def is_closing(self) -> bool: ...

    @abstractmethod
    def close(self) -> None:
        """Close after what was written is out."""

    def leave(self) -> None:
        """Close where both sides have said all that they will."""
        self.close()

    @abstractmethod
    def abort(self) -> None:
        """Close at once."""

    @abstractmethod
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...

    @property
    @abstractmethod
    def transport(self) -> asyncio.Transport | None:
        """The connection's transport, where the tunnel has one to itself."""


class ConnectionOwner(Protocol):
    """Who shares a connection out: the pool.  Both calls are made synchronously, where the fact is known."""

    def connection_available(self, connection: Connection) -> None:
        """`capacity` rose from zero: another exchange may start."""

    def connection_lost(self, connection: Connection) -> None:
        """No exchange may start on the connection any more; called once."""

    def protocol_refused(self, connection: Connection) -> bool:
        """The peer wants HTTP/1.1 on this route; whether connections that are made from now on speak it."""

    def exchanges_refused(self, connection: Connection, carried: int) -> None:
        """The peer ends the connection after `carried` exchanges, and leaves undone those that came after them."""


def not_started(reason: str) -> ClientConnectionResetError:
    """The error of `Connection.start`: not a byte was written, so the request may be sent on another connection."""
    error = ClientConnectionResetError(reason)
    error.resend_safe = True
    return error


class Connection(ABC):
    """A live transport that speaks one protocol.

    `capacity` is how many exchanges may start now: HTTP/1 has one place, HTTP/2 as many as the peer allows.
    `start` takes a place; the end of an exchange gives it back and tells `owner`.
    """

    __slots__ = (
        "capacity",
        "companion",
        "exchanges",
        "idle_since",
        "loop",
        "owner",
        "promised",
        "route",
        "timings",
        "version",
    )

    capacity: int
    # What must live as long as the connection does: what a connector of the program's own had on the transport.
    companion: Any
    # Places that the pool has promised to requests which will start an exchange when their task runs.
    promised: int
    # The pool's key for this connection, for its owner and for messages.
    route: Any
    # How long the steps of setting it up took, as the dialler noted them.
    timings: Any
    loop: asyncio.AbstractEventLoop
    owner: ConnectionOwner | None
    idle_since: float
    exchanges: int
    version: HttpVersion

    @abstractmethod
    def start(self, head: RequestHead, sink: BodySink) -> Exchange:
        """Send `head` (and its body when it is at hand) and give back the exchange.

        Raises:
            ClientConnectionResetError: The connection has just ended: `not_started`.
        """

    @abstractmethod
    def is_usable(self) -> bool:
        """Whether a new exchange may start: open, and nothing has arrived that nobody asked for."""

    @property
    def carries_tunnels(self) -> bool:
        """Whether an upgrade may share the connection with other exchanges (RFC 8441)."""
        return False

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """No exchange is under way."""

    @abstractmethod
    def close(self) -> None:
        """Begin an orderly end (TLS close_notify, GOAWAY); exchanges under way fail."""

    def retire(self) -> None:
        """No exchange starts any more; close when those under way have ended."""
        self.capacity = 0
        if self.is_idle:
            self.close()

    def carry_at_most(self, exchanges: int) -> None:
        """Carry no more than so many exchanges, at least one, where many can be under way at a time."""
        self.capacity = min(self.capacity, exchanges)

    @abstractmethod
    def abort(self) -> None:
        """End at once."""

    @abstractmethod
    async def wait_closed(self) -> None:
        """Return when the transport is really closed."""

    @property
    @abstractmethod
    def transport(self) -> asyncio.Transport | None:
        """The transport, None once it is closed."""
