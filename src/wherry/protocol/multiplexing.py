"""What HTTP/2 and HTTP/3 have in common: exchanges that are streams of one connection.

A `StreamExchange` keeps what belongs to its stream: how far the response has come, and the part of
the request's body that waits to be sent.  A `StreamConnection` knows the streams under way, and how
all of them end.  Frames, windows, places and what the peer may ask are each protocol's own.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from wherry.errors import (
    BadHttpMessage,
    ClientConnectionError,
    ClientConnectionResetError,
    ClientOSError,
    ClientPayloadError,
    ServerDisconnectedError,
)
from wherry.protocol.connection import BodySink, Connection, Tunnel, TunnelReceiver
from wherry.protocol.heads import FieldPairs, RequestHead, ResponseHead
from wherry.protocol.limits import Limits
from wherry.protocol.states import CLOSE
from wherry.protocol.stream_tunnel import StreamTunnel, TunnelledExchange, tunnel_of
from wherry.types import HttpVersion


class Section(NamedTuple):
    """A response's header section.

    Args:
        head: The response's head.
        length: Content-Length, -1 where there is none.
        limits: What it was checked against.
    """

    head: ResponseHead
    length: int
    limits: Limits


class SectionDecoder(Protocol):
    """What decodes blocks; `stable` says that a block means the same as when it came last."""

    stable: bool


class _NoTable:
    stable = True


# Without a dynamic table a block always means the same.
NO_TABLE: SectionDecoder = _NoTable()

_MEMO_BLOCK_SIZE = 2048
_MEMO_ITEMS = 64


class SectionReader(ABC):
    """Reads the header sections of one connection, and remembers them by their bytes while those
    keep their meaning.
    """

    __slots__ = ("_sections",)

    _decoder: SectionDecoder

    def __init__(self) -> None:
        self._sections: dict[bytes, Section] = {}

    def header_section(self, block: bytes, limits: Limits) -> Section:
        """The section at a response's beginning.

        Args:
            block: Its bytes.
            limits: What this response may have.

        Raises:
            StreamFault: The response is malformed, or its section too large.
            ConnectionFault: The block cannot be decoded.
        """
        section = self._sections.get(block)
        if section is None or section.limits is not limits:
            section = self._section(block, limits)
            if self._decoder.stable and len(block) <= _MEMO_BLOCK_SIZE:
                if len(self._sections) >= _MEMO_ITEMS:
                    self._sections.clear()
                self._sections[block] = section
        return section

    @abstractmethod
    def _section(self, block: bytes, limits: Limits) -> Section:
        """Decode a block, and check what is in it."""


def origin_form(target: str) -> str:
    """:path for a target in absolute form, and for "*" (RFC 9113 8.3.1, RFC 9114 4.3.1)."""
    if target[:1] == "/" or "://" not in target:
        return target
    rest = target.split("://", 1)[1]
    start = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=-1)
    if start < 0:
        return "/"
    return rest[start:] if rest[start] == "/" else "/" + rest[start:]


class StreamExchange(TunnelledExchange):
    """One request and its response on a stream.

    Protocols add fields, which their connections set: an exchange is made by one call.

    Args:
        connection: Its connection.
        sink: Where the response's body goes.
        reused: Whether the connection had carried another exchange before.
        bodyless: The response has no body whatever its fields say: the request is HEAD.
        tunnelled: The request is an extended CONNECT.
        limits: What the response's head and trailers may hold.
        stream_id: What stands for no stream, until there is one.
    """

    __slots__ = (
        "backlog",
        "bodyless",
        "expected",
        "interim",
        "limits",
        "paused",
        "received",
        "request_ended",
        "stream_id",
        "trailers_to_send",
        "writers",
    )

    connection: StreamConnection[Any]

    def __init__(
        self,
        connection: StreamConnection[Any],
        sink: BodySink,
        reused: bool,
        *,
        bodyless: bool,
        tunnelled: bool,
        limits: Limits,
        stream_id: int,
    ) -> None:
        super().__init__(connection, sink, reused)
        self.limits: Limits = limits
        self.stream_id: int = stream_id
        self.bodyless: bool = bodyless
        self.tunnelled = tunnelled
        self.tunnel: StreamTunnel | None = None
        self.paused: bool = False
        self.received: int = 0  # bytes of the response's body, padding left out
        self.expected: int = -1  # what Content-Length said
        self.interim: int = 0
        self.backlog: deque[memoryview] | None = None  # what may not go out yet
        self.backlog_size: int = 0
        self.ending: bool = False  # the request's body is whole, in the backlog or sent
        self.request_ended: bool = False  # its last byte is out, or the server wants no more
        self.trailers_to_send: FieldPairs = ()
        self.writers: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} stream={self.stream_id} {self.state.value}>"

    # --- the request's body -----------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> None:
        self._check_writable()
        if data and not self.request_ended:
            self.connection.send_body(
                self, memoryview(data if isinstance(data, bytes) else bytes(data))
            )

    async def drain(self) -> None:
        connection = self.connection
        while (self.backlog_size or connection.writing_paused) and not self.state.ended:
            waiter = connection.loop.create_future()
            if self.writers is None:
                self.writers = []
            self.writers.append(waiter)
            try:
                await waiter
            finally:
                self.writers.remove(waiter)
        if self.error is not None:
            raise self.error

    def end(self, trailers: FieldPairs = ()) -> None:
        if self.ending:
            return
        self._check_writable()
        self.ending = True
        self.trailers_to_send = trailers
        self.connection.send_body(self, None)

    def _check_writable(self) -> None:
        if self.error is not None:
            raise self.error
        if self.state.complete:
            raise ClientConnectionResetError(
                "Cannot send more of a request whose response is complete"
            )
        if self.ending:
            raise RuntimeError("the request's body has ended")

    def drop_backlog(self) -> None:
        """Nothing more of the request's body will be sent."""
        self.backlog = None
        self.backlog_size = 0
        self.wake_writers()

    def wake_writers(self) -> None:
        """The backlog is out, or the exchange is over."""
        for waiter in self.writers or ():
            if not waiter.done():
                waiter.set_result(None)
        if self.tunnel is not None:
            self.tunnel.backlog_changed()

    # --- how it ends ------------------------------------------------------------------------------

    def fail(self, exc: BaseException) -> None:
        if self.state.ended:
            return
        super().fail(exc)
        self.drop_backlog()

    def failure(self, reason: str, cause: BaseException | None) -> BaseException:
        """What to fail with, by how far the response had come."""
        error: BaseException
        if self.head is not None:
            error = ClientPayloadError(
                f"Response payload is not completed: {reason} after {self.received} bytes of the "
                "body" + (f" ({cause!r})" if isinstance(cause, OSError) else "")
            )
        elif isinstance(cause, BadHttpMessage):
            return cause
        elif isinstance(cause, OSError):
            error = ClientOSError(cause.errno, f"{cause.strerror or cause} ({reason})")
        elif cause is not None:
            error = ClientConnectionError(f"{cause!r} ({reason})")
        else:
            error = ServerDisconnectedError(f"Server disconnected: {reason} without a response")
        error.__cause__ = cause
        return error

    def cancel(self) -> None:
        if not self.state.complete:
            self.fail(ClientConnectionError("Connection closed"))
            self.connection.give_up(self)

    def pause_reading(self) -> None:
        self.paused = True

    def reprioritize(self, priority: bytes) -> bool:
        return self.stream_id >= 0 and self.connection.reprioritize(self, priority)

    def upgrade(self, receiver: TunnelReceiver) -> Tunnel:
        return tunnel_of(self, receiver)


E = TypeVar("E", bound=StreamExchange)


class StreamConnection(Connection, Generic[E]):
    """A connection whose exchanges are streams.

    Args:
        loop: The event loop.
        version: What it speaks.
        capacity: How many exchanges may start, to begin with.
    """

    __slots__ = ("_active", "_given_up", "_held", "streams")

    #: Which RFC has WebSockets over it, for messages.
    tunnel_rfc: ClassVar[str]

    def __init__(
        self, loop: asyncio.AbstractEventLoop, version: HttpVersion, capacity: int
    ) -> None:
        super().__init__(loop, version, capacity)
        self.streams: dict[int, E] = {}
        self._active: int = 0  # exchanges under way: streams, and what waits to become one
        self._held: list[tuple[E, RequestHead]] = []  # tunnels that wait for the server's SETTINGS
        self._given_up: bool = False  # nobody is there any more

    def _more_to_say(self) -> list[str]:
        said = [f"streams={self._active}", f"places={self.capacity}"]
        return [*said, "in doubt"] if self.is_in_doubt else said

    @property
    @abstractmethod
    def is_in_doubt(self) -> bool:
        """Whether the server was asked if it is there, and has not answered."""

    # --- what exchanges ask for -------------------------------------------------------------------

    @property
    def writing_paused(self) -> bool:
        """The transport is full."""
        return False

    @abstractmethod
    def reprioritize(self, exchange: E, priority: bytes) -> bool:
        """Send PRIORITY_UPDATE for a stream (RFC 9218 7); whether that could be done."""

    @abstractmethod
    def send_body(self, exchange: E, data: memoryview | None) -> None:
        """Send a piece of a body, None for its end."""

    @abstractmethod
    def give_up(self, exchange: E) -> None:
        """End a stream in which nobody is interested any more."""

    # --- tunnels that wait for SETTINGS -----------------------------------------------------------

    @abstractmethod
    def _open(self, exchange: E, head: RequestHead) -> None:
        """Give an exchange its stream, and send its head."""

    @abstractmethod
    def _release(self, exchange: E) -> None:
        """An exchange is over: its place is free."""

    def _open_held(self, offered: bool) -> None:
        """The server's SETTINGS are here: open the tunnels that waited, where it offers any."""
        held, self._held = self._held, []
        for exchange, head in held:
            if offered:
                self._open(exchange, head)
            else:
                self._refuse_tunnel(exchange)

    def _refuse_tunnel(self, exchange: E) -> None:
        exchange.fail(
            ClientConnectionError(
                f"{self._peer()} does not offer extended CONNECT ({self.tunnel_rfc})"
            )
        )
        self._release(exchange)

    # --- how all of them end ----------------------------------------------------------------------

    def abort(self) -> None:
        self._end_all(ClientConnectionError("Connection closed"))
        transport = self.transport
        if transport is not None:
            transport.abort()

    def _end_drained(self) -> None:
        """Close once the last exchange is over; in order, where somebody is there for it."""
        if self._active:
            return
        if self._given_up:
            self.abort()
        else:
            self.close()

    def _no_answer(self) -> None:
        """Retire the connection: what is under way has time limits of its own.  Nobody is there for
        an orderly end.
        """
        self._given_up = True
        if self.log.on:
            self.log.say("#%s no answer to PING", self.number)
        if self._active:
            self.retire()
        else:
            self.abort()

    def _fail_all(self, reason: str, cause: BaseException | None) -> None:
        """The connection is of no use any more: every exchange under way fails."""
        for exchange in self._take_all():
            exchange.unprocessed = not exchange.sent
            exchange.fail(exchange.failure(reason, cause))

    def _end_all(self, error: ClientConnectionError) -> None:
        """We close the connection: every exchange under way fails with `error`."""
        for exchange in self._take_all():
            exchange.fail(error)

    def _take_all(self) -> list[E]:
        """Every exchange under way, none of which is so from here on."""
        exchanges = [*self.streams.values(), *(exchange for exchange, _ in self._held)]
        self.streams.clear()
        self._held = []
        self._active = 0
        self.capacity = 0
        self._move(CLOSE)
        return exchanges
