"""Exchanges inside the process: a `Connection` whose other end is a coroutine of the program, with
no socket.

Everything above it (redirects, cookies, middlewares, tracing, time limits, streams) is the client's
own and does not notice.  A connection carries one exchange, so nothing is ever sent a second time
because a kept one was dead.
"""

from __future__ import annotations

import asyncio
import http
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from wherry.connect.connect_request import ConnectRequest
from wherry.errors import ClientConnectionError, ClientPayloadError, ServerDisconnectedError
from wherry.protocol.connection import (
    BodySink,
    Connection,
    ConnectionOwner,
    Exchange,
    Tunnel,
    TunnelReceiver,
)
from wherry.protocol.heads import FieldPairs, RequestHead, ResponseHead
from wherry.protocol.states import CLOSE, CLOSED, END, START
from wherry.types import HttpVersion11, RawHeaders

__all__ = ("InProcessConnection", "InProcessExchange", "Serve", "reason_of")

# A body that is sent waits for its reader beyond this many bytes.
_FULL = 64 * 1024

# RFC 9110's, where older Pythons have those of RFC 7231.
_REASONS = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
_REASONS = {status.value: status.phrase for status in http.HTTPStatus} | _REASONS


def reason_of(status: int) -> str:
    """The reason phrase of a status, "" for one that nobody registered."""
    return _REASONS.get(status, "")


class InProcessExchange(Exchange):
    """One request and its response; the serving side reads by `next_part` and answers by `respond`
    and `write`.
    """

    __slots__ = (
        "_arrived",
        "_parts",
        "_room",
        "_sent_size",
        "_took",
        "_whole",
        "disconnected",
        "request",
        "socket",
    )

    trailers: RawHeaders

    def __init__(
        self, connection: InProcessConnection, sink: BodySink, request: RequestHead
    ) -> None:
        super().__init__(connection, sink, reused=False)
        self.request: RequestHead = request
        self.sent = True
        #: Set once the client wants no more of the response.
        self.disconnected: asyncio.Event = asyncio.Event()
        self.socket: Any = None  # the tunnel, where the serving side switched protocols
        self._parts: deque[bytes] = deque([request.body] if request.body else [])
        self._sent_size = len(request.body or b"")
        self._whole = not request.streamed
        self._arrived = asyncio.Event()  # a part, or the end of the body
        self._took = asyncio.Event()  # the serving side took a part
        self._room = asyncio.Event()  # the reader takes more
        self._room.set()

    # --- the client's side ------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> None:
        if self.error is not None:
            raise self.error
        if data:
            self._parts.append(bytes(data))
            self._sent_size += len(data)
            self._arrived.set()

    async def drain(self) -> None:
        while self._sent_size > _FULL and self.error is None and not self.state.complete:
            self._took.clear()
            await self._took.wait()

    def unsent(self) -> int:
        return self._sent_size

    def end(self, trailers: FieldPairs = ()) -> None:
        self._whole = True
        self._arrived.set()

    def cancel(self) -> None:
        if not self.state.ended:
            self.fail(ClientConnectionError("Connection closed"))

    def fail(self, exc: BaseException) -> None:
        super().fail(exc)
        self._finish()

    def pause_reading(self) -> None:
        self._room.clear()

    def resume_reading(self) -> None:
        self._room.set()

    def upgrade(self, receiver: TunnelReceiver) -> Tunnel:
        if self.socket is None:
            return super().upgrade(receiver)
        self.socket.attach(receiver)
        tunnel: Tunnel = self.socket
        return tunnel

    # --- the serving side -------------------------------------------------------------------------

    @property
    def url(self) -> URL:
        """The URL that was asked for."""
        head = self.request
        if head.target.startswith("/"):
            return URL(f"{head.scheme}://{head.authority}{head.target}", encoded=True)
        return URL(head.target, encoded=True)  # RFC 9112 3.2.2: what goes to a proxy names it whole

    @property
    def fields(self) -> CIMultiDict[str]:
        """The request's header fields, Host and Content-Length too."""
        head = self.request
        fields = CIMultiDict((("Host", head.authority), *head.shared.pairs, *head.fields))
        if head.content_length is not None:
            fields["Content-Length"] = str(head.content_length)
        return fields

    async def next_part(self) -> tuple[bytes, bool] | None:
        """The next bytes of the request's body, and whether more may follow; None once the client
        is gone.
        """
        while not self._parts and not self._whole and not self.disconnected.is_set():
            self._arrived.clear()
            await self._arrived.wait()
        if self.disconnected.is_set():
            return None
        part = self._parts.popleft() if self._parts else b""
        self._sent_size -= len(part)
        self._took.set()
        return part, bool(self._parts) or not self._whole

    async def read_body(self) -> bytes:
        """The request's whole body."""
        parts = []
        while (following := await self.next_part()) is not None:
            parts.append(following[0])
            if not following[1]:
                break
        return b"".join(parts)

    def respond(self, status: int, fields: Iterable[tuple[bytes, bytes]], reason: str = "") -> None:
        """Give the response's head."""
        if self.error is None:
            self.head_arrived(ResponseHead(status, reason, HttpVersion11, tuple(fields)))

    async def write(self, data: bytes) -> None:
        """Give a piece of the body; waits while the reader is full.

        Raises:
            OSError: The client is gone.
        """
        if self.disconnected.is_set():
            raise ConnectionResetError("the client has closed the exchange")
        if data and self._has_content():
            self.sink.feed_data(data)
            await self._room.wait()

    def finish(self, trailers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """The response is whole."""
        if self.state.ended:
            return
        self.trailers = tuple(trailers)
        self._move(END)
        self.sink.feed_eof()
        self._finish()

    def _has_content(self) -> bool:
        # RFC 9110 6.4.1: these have no content, whatever the application gives.
        return (
            self.request.method != "HEAD"
            and self.head is not None
            and self.head.status not in (204, 304)
        )

    def _finish(self) -> None:
        self.disconnected.set()
        for event in (self._arrived, self._took, self._room):
            event.set()
        self.connection.close()


Serve = Callable[[InProcessExchange], Awaitable[None]]


class InProcessConnection(Connection):
    """A connection to `serve`, for one exchange.

    Args:
        connect_request: Whose need it meets.
        serve: Answers the exchange; what it raises is raised where the request was made.
        tasks: The tasks that serve are kept here while they run.
        outlives: Whether `serve` goes on when the client is gone, and sees `disconnected`; else it
            is cancelled.
    """

    __slots__ = ("_exchange", "_outlives", "_serve", "_task", "_tasks")

    owner: ConnectionOwner | None

    def __init__(
        self,
        connect_request: ConnectRequest,
        serve: Serve,
        tasks: set[asyncio.Task[None]],
        *,
        outlives: bool = False,
    ) -> None:
        super().__init__(asyncio.get_running_loop(), HttpVersion11, 1)
        self.route: Any = connect_request.route
        self.timings: Any = connect_request.timings
        self._serve = serve
        self._outlives = outlives
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._exchange: InProcessExchange | None = None

    def start(self, head: RequestHead, sink: BodySink) -> Exchange:
        self._move(START)
        self.capacity = 0
        self.exchanges: int = 1
        self._exchange = exchange = InProcessExchange(self, sink, head)
        sink.flow = exchange
        self._task = task = self.loop.create_task(self._run(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return exchange

    async def _run(self, exchange: InProcessExchange) -> None:
        try:
            await self._serve(exchange)
        except asyncio.CancelledError:
            exchange.fail(
                ServerDisconnectedError("Server disconnected: the application was cancelled")
            )
            raise
        except (
            Exception
        ) as exc:  # the client's task raises it; once the client is gone nobody wants it
            exchange.fail(exc)
        if exchange.head is None:
            exchange.fail(
                ServerDisconnectedError("Server disconnected: the application gave no response")
            )
        elif not exchange.state.complete:
            exchange.fail(
                ClientPayloadError(
                    "Response payload is not completed: the application ended inside the body"
                )
            )

    def is_usable(self) -> bool:
        return self.state is not CLOSED and self.capacity > 0

    def close(self) -> None:
        if self.state is CLOSED:
            return
        self._move(CLOSE)
        self.capacity: int = 0
        if self._exchange is not None:
            self._exchange.cancel()
            if (
                not self._outlives
                and self._task is not None
                and self._task is not asyncio.current_task(self.loop)
            ):
                self._task.cancel()
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.connection_lost(self)

    def abort(self) -> None:
        self.close()
        if self._task is not None:
            self._task.cancel()

    async def wait_closed(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task])

    @property
    def transport(self) -> Any:
        return None
