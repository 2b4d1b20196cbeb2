"""What may look into requests and responses from outside the core: who sees to methods of a
program's own, of the classes of requests and responses.

The core knows this protocol and not who is behind it; sessions that know only our classes never
come here.  Requests and responses are any here: their classes know this room.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from yarl import URL

from wherry.protocol.connection import Connection, Exchange

if TYPE_CHECKING:
    from wherry.body.stream.reader import StreamReader
    from wherry.connect.route import Route


class AcquiredConnection(NamedTuple):
    """A connection that was not simply free, and what is known of the way to it.

    Attributes:
        connection: The connection.
        pool: Where it goes back to if nothing is started on it.
        route: The way that it goes.
        exchange: The exchange, where it was started already.
        content: The body of that exchange.
        started: When the request began to ask for a connection, in seconds of `time.monotonic`.
        connected: When there was one.
        timings: How long the steps of making it took (`ConnectTimings`), None if it was made
            before.
        response: The response, still without a head, where the request's class sends it.
    """

    connection: Connection
    pool: Any
    route: Route
    exchange: Exchange | None
    content: StreamReader | None
    started: float
    connected: float
    timings: Any
    response: Any = None


class RequestHooks(Protocol):
    """Sees that requests and responses go by the methods that are a program's own."""

    def class_made(self, cls: type[Any]) -> None:
        """A request's class was made: set its `_built_by_class`, `_routed_by_class` and
        `_written_by_class`.
        """

    def build(self, request: Any, auth: Any, data: Any) -> None:
        """Give a request of a class that is `_built_by_class` its fields and its body."""

    def put_body(self, request: Any, data: Any) -> None:
        """Give such a request another body."""

    def route_url(self, request: Any) -> URL:
        """Where a request of a class that is `_routed_by_class` is sent."""

    async def write_body(self, request: Any, writer: Any, exchange: Exchange) -> None:
        """Write the body of a request of a class that is `_written_by_class`."""

    async def send(
        self,
        request: Any,
        acquired: AcquiredConnection,
        carry: Callable[[], Coroutine[Any, Any, Any]],
    ) -> Any:
        """Let a request send itself and its response start itself.

        Args:
            request: The request; it has a `send` of its own.
            acquired: Its connection, and its response, still without a head.
            carry: Sends the request on the connection, and gives the response its head.
        """

    async def start(self, response: Any) -> None:
        """Let a response start itself, unless that was done; its head is here."""


class _NoHooks:
    """Every request and response is as it is written here."""

    def class_made(self, cls: type[Any]) -> None:
        """Nothing to see."""


class ClientHooks:
    """What stands at the hooks, for the whole process."""

    __slots__ = ("requests",)

    def __init__(self) -> None:
        # Nothing but `class_made` is asked where no class says that it wants more.
        self.requests: RequestHooks = _NoHooks()  # type: ignore[assignment]


HOOKS = ClientHooks()
