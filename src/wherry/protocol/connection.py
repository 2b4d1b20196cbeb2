"""What every protocol offers: a `Connection` carries exchanges, an `Exchange` is one request and
its response.

The rooms above see only these classes and never learn which HTTP version is spoken.  Data is
pushed: a connection gives the body to a `BodySink` as it arrives, and reports to its
`ConnectionOwner` (the pool) the moment that it can carry another exchange.  Nothing here knows
URLs, cookies, sessions or pools.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any, ClassVar, Protocol

from wherry.errors import ClientConnectionResetError
from wherry.protocol.debug_log import HTTP1, RoomLog
from wherry.protocol.heads import FieldPairs, RequestHead, ResponseHead
from wherry.protocol.states import (
    ACTIVE,
    ANSWER,
    AWAITING,
    CLOSED,
    DRAIN,
    DRAINING,
    FAIL,
    IDLE,
    NEW,
    ConnectionState,
    ExchangeState,
    Moves,
)
from wherry.types import HttpVersion, RawHeaders


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

    `state` says how far the response has come; `error` is what ended the exchange before it was
    complete; `sent` is False while no byte of the request was handed to the transport; `reused`
    tells whether the connection had carried another exchange before.
    """

    __slots__ = (
        "connection",
        "continue_waiter",
        "error",
        "head",
        "head_waiter",
        "informational",
        "reused",
        "sent",
        "sink",
        "state",
        "touched",
        "trailers",
        "unprocessed",
        "written",
    )

    def __init__(self, connection: Connection, sink: BodySink, reused: bool) -> None:
        self.connection: Connection = connection
        self.sink: BodySink = sink
        self.reused: bool = reused
        self.sent: bool = False
        self.written: int = 0  # bytes of a streamed body that were handed over
        self.head: ResponseHead | None = None
        self.trailers: RawHeaders = ()
        self.state: ExchangeState = AWAITING
        self.error: BaseException | None = None
        # Called with each interim (1xx) response; the final head comes by `receive_head`.
        self.informational: Callable[[ResponseHead], None] | None = None
        # Called when something of the response came, be it no head yet and no data.
        self.touched: Callable[[], None] | None = None
        # The protocol says that the server did nothing about the request (RFC 9113 8.7): it may be
        # sent again.
        self.unprocessed: bool = False
        self.head_waiter: asyncio.Future[None] | None = None
        self.continue_waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label()} {self.state.value}>"

    @property
    def complete(self) -> bool:
        """Whether the response's last byte is in."""
        return self.state.complete

    def _move(self, moves: Moves[ExchangeState]) -> None:
        """Change the state as the table of an event says; see `states`."""
        self.state = moves[self.state]

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the connection."""
        return self.connection.loop

    async def receive_head(self) -> ResponseHead:
        """Wait for the final response's head.

        Raises:
            ServerDisconnectedError: The connection ended first.
            ClientResponseError: What came is not HTTP.
        """
        if self.head is None:
            if self.error is not None:
                raise self.error
            self.head_waiter = waiter = self.connection.loop.create_future()
            try:
                await waiter
            finally:
                self.head_waiter = None
            assert self.head is not None
        return self.head

    def tell(self, waiter: asyncio.Future[Any]) -> None:
        """Wake `waiter` in place of `receive_head`: it is done when the head is here, or fails with
        the exchange.
        """
        if self.error is not None:
            waiter.set_exception(self.error)
        elif self.head is not None:
            waiter.set_result(None)
        else:
            self.head_waiter = waiter

    async def wait_continue(self, seconds: float) -> bool:
        """Wait for 100 (Continue), but not for ever (RFC 9110 10.1.1); whether the body should be
        sent now.
        """
        waiter = self.continue_waiter = self.connection.loop.create_future()

        def interim(head: ResponseHead) -> None:
            if head.status == 100:
                _wake(waiter)

        self.informational = interim
        if self.head is None and self.error is None:
            await asyncio.wait((waiter,), timeout=seconds)
        self.informational = self.continue_waiter = None
        return self.head is None and self.error is None

    def head_arrived(self, head: ResponseHead) -> None:
        """The protocol has the final head: wake who waits for it."""
        self.state = ANSWER[self.state]
        self.head = head
        if self.connection.log.on:
            self.log_head(head)
        waiter = self.head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self.continue_waiter is not None:
            self.go_on()

    def go_on(self) -> None:
        """End the wait for 100 (Continue): the answer is here, or there will be none."""
        if self.continue_waiter is not None:
            _wake(self.continue_waiter)

    def fail(self, exc: BaseException) -> None:
        """End the exchange with `exc`, for whoever waits now and whoever comes later."""
        if self.state.ended:
            return
        self._move(FAIL)
        self.error = exc
        if self.connection.log.on:
            self.connection.log.say("%s the exchange failed: %s", self.label(), exc)
        waiter = self.head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(exc)
        self.go_on()
        self.sink.set_exception(exc)

    def label(self) -> str:
        """What the debug log calls it: its connection's number, and its stream's where it has
        one.
        """
        stream_id = getattr(self, "stream_id", None)
        number = f"#{self.connection.number}"
        return number if stream_id is None else f"{number} stream {stream_id}"

    def log_start(self, head: RequestHead) -> None:
        """Tell the debug log that the request goes out."""
        size = "a streamed body" if head.streamed else f"{len(head.body or b'')} bytes of body"
        self.connection.log.say(
            "%s > %s %s, %s", self.label(), head.method, f"{head.authority} {head.target}", size
        )

    def log_head(self, head: ResponseHead) -> None:
        """Tell the debug log that the response's head came."""
        self.connection.log.say("%s < %s %s", self.label(), head.status, head.reason)

    def log_complete(self) -> None:
        """Tell the debug log that the response is whole."""
        self.connection.log.say("%s < the response is complete", self.label())

    @abstractmethod
    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece of a streamed body; framing is added here.

        Raises:
            ClientConnectionResetError: The connection is gone.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Wait until the peer takes more data."""

    def unsent(self) -> int:
        """How many bytes of the request were handed over and wait here for the peer; others on the
        same transport may be counted with them.
        """
        transport = self.connection.transport
        return 0 if transport is None else transport.get_write_buffer_size()

    @abstractmethod
    def end(self, trailers: FieldPairs = ()) -> None:
        """The streamed body is whole."""

    @abstractmethod
    def cancel(self) -> None:
        """Give up: HTTP/1 closes the connection, HTTP/2 and 3 reset the stream.  Harmless when it
        is over.

        What `fail` was told stays the reason.
        """

    @abstractmethod
    def pause_reading(self) -> None:
        """Stop the body: its reader has as much as it holds."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Let the body go on: its reader has room again."""

    def reprioritize(self, priority: bytes) -> bool:
        """Tell the peer how urgent the response is from now on (RFC 9218 7); whether that can be
        said.
        """
        return False

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
    """Who gets a tunnel's bytes, in order, as they arrive."""

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> None: ...

    def connection_lost(self, exc: BaseException | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Tunnel(ABC):
    """The raw bytes of an upgraded exchange: an HTTP/1.1 connection after 101, or a stream of
    HTTP/2.
    """

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

    @property
    def unsent(self) -> int:
        """Bytes that were written and wait here until they may leave."""
        return 0


class ConnectionOwner(Protocol):
    """Who gives a connection's places to requests: the pool.

    Each call is made the moment the connection knows, inside the read or write that told it.
    """

    def connection_available(self, connection: Connection) -> None:
        """`capacity` rose from zero: another exchange may start."""

    def connection_lost(self, connection: Connection) -> None:
        """No exchange may start on the connection any more; called once."""

    def protocol_refused(self, connection: Connection) -> bool:
        """The peer wants HTTP/1.1 on this route; whether connections that are made from now on
        speak it.
        """

    def exchanges_refused(self, connection: Connection, carried: int) -> None:
        """The peer ends the connection after `carried` exchanges, and leaves undone those that came
        after them.
        """


def not_started(reason: str) -> ClientConnectionResetError:
    """The error of `Connection.start`: not a byte was written, so the request may be sent on
    another connection.
    """
    error = ClientConnectionResetError(reason)
    error.resend_safe = True
    return error


_numbers = count(1)


class Connection(ABC):
    """A live transport that speaks one protocol.

    `capacity` is how many exchanges may start now: HTTP/1 has one place, HTTP/2 as many as the peer
    allows.  `start` takes a place; the end of an exchange gives it back and tells `owner`.

    Args:
        loop: The event loop.
        version: What it speaks.
        capacity: How many exchanges may start, to begin with.
    """

    __slots__ = (
        "_closed_waiter",
        "capacity",
        "companion",
        "exchanges",
        "idle_since",
        "loop",
        "number",
        "owner",
        "reserved",
        "route",
        "state",
        "timings",
        "version",
    )

    #: The debug log of what its exchanges do.
    log: ClassVar[RoomLog] = HTTP1

    def __init__(
        self, loop: asyncio.AbstractEventLoop, version: HttpVersion, capacity: int
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.version: HttpVersion = version
        self.capacity: int = capacity
        #: Where it is in its life; `_move` changes it.
        self.state: ConnectionState = NEW
        #: Which connection of this process it is, for people who look for a fault.
        self.number: int = next(_numbers)
        self.exchanges: int = 0  # that it has carried or carries
        # Places that are spoken for; only `Reservation` changes it.
        self.reserved: int = 0
        self.owner: ConnectionOwner | None = None
        # The pool's key for this connection, for its owner and for messages.
        self.route: Any = None
        # How long the steps of setting it up took, as the dialler noted them.
        self.timings: Any = None
        # What must live as long as the connection does: what a custom connector had on the
        # transport.
        self.companion: Any = None
        self.idle_since: float = loop.time()
        self._closed_waiter: asyncio.Future[None] | None = None

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
    def is_idle(self) -> bool:
        """No exchange is under way."""
        return self.state is not ACTIVE and self.state is not DRAINING

    @property
    def is_draining(self) -> bool:
        """Whether exchanges that are under way are the last."""
        return self.state is DRAINING

    def _move(self, moves: Moves[ConnectionState]) -> None:
        """Change the state as the table of an event says; see `states`."""
        self.state = moves[self.state]

    def __repr__(self) -> str:
        state = self.state
        said = [f"exchanges={self.exchanges}"]
        if state is IDLE:
            said.append(f"for {max(monotonic() - self.idle_since, 0.0):.1f} s")
        if self.reserved:
            said.append(f"reserved={self.reserved}")
        said += self._more_to_say()
        if (transport := self.transport) is not None and state is not CLOSED:
            said.append(f"peer={transport.get_extra_info('peername')!r}")
        return f"<{type(self).__name__} #{self.number} {self.route} {state.value} {' '.join(said)}>"

    def _more_to_say(self) -> list[str]:
        """What `repr` shows of the protocol."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Begin an orderly end (TLS close_notify, GOAWAY); exchanges under way fail."""

    def retire(self) -> None:
        """No exchange starts any more; close when those under way have ended."""
        self.capacity = 0
        if self.is_idle:
            self.close()
        else:
            self._move(DRAIN)

    def carry_at_most(self, exchanges: int) -> None:
        """Carry no more than so many exchanges, at least one, where many can be under way at a
        time.
        """
        self.capacity = min(self.capacity, exchanges)

    @property
    def at_a_time(self) -> int | None:
        """How many exchanges the peer carried at a time where it refused one more; None where it
        has not.
        """
        return None

    def carry_at_a_time(self, exchanges: int) -> None:
        """Carry no more than so many exchanges at a time for now: another connection learned it.

        Protocols that carry one at a time have nothing to do here.
        """
        self.capacity = min(self.capacity, exchanges)

    @abstractmethod
    def abort(self) -> None:
        """Close the transport at once; exchanges that are under way fail."""

    async def wait_closed(self) -> None:
        """Return when the transport is really closed."""
        if self.transport is None:
            return
        if self._closed_waiter is None:
            self._closed_waiter = self.loop.create_future()
        await asyncio.shield(self._closed_waiter)

    def _report_lost(self) -> None:
        """The transport is closed: tell who waits for that, and the owner."""
        if self._closed_waiter is not None and not self._closed_waiter.done():
            self._closed_waiter.set_result(None)
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.connection_lost(self)

    def _peer(self) -> str:
        """The server, as messages name it."""
        return "the server" if self.route is None else str(self.route.origin)

    @property
    @abstractmethod
    def transport(self) -> asyncio.Transport | None:
        """The transport, None once it is closed."""
