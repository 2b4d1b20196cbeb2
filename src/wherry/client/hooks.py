"""What may look into requests and responses from outside the core: who sees to methods of a
program's own, of the classes of requests and responses.

The core knows this protocol and not who is behind it; sessions that know only our classes never
come here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from yarl import URL

from wherry.protocol.connection import Connection, Exchange

if TYPE_CHECKING:
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse


class AcquiredConnection(NamedTuple):
    """What a request that sends itself goes on with.

    Attributes:
        connection: The connection that was acquired for it.
        moments: When that began, when there was one, and the steps in between.
        response: The response, still without a head.
    """

    connection: Connection
    moments: tuple[float, float, Any]
    response: ClientResponse


class RequestHooks(Protocol):
    """Sees that requests and responses go by the methods that are a program's own."""

    def class_made(self, cls: type[ClientRequest]) -> None:
        """A request's class was made: set its `_built_by_class`, `_routed_by_class` and
        `_written_by_class`.
        """

    def build(self, request: ClientRequest, auth: Any, data: Any) -> None:
        """Give a request of a class that is `_built_by_class` its fields and its body."""

    def put_body(self, request: ClientRequest, data: Any) -> None:
        """Give such a request another body."""

    def route_url(self, request: ClientRequest) -> URL:
        """Where a request of a class that is `_routed_by_class` is sent."""

    async def write_body(self, request: ClientRequest, writer: Any, exchange: Exchange) -> None:
        """Write the body of a request of a class that is `_written_by_class`."""

    async def send(
        self,
        request: ClientRequest,
        pool: Any,
        taken: AcquiredConnection,
        carry: Callable[[], Coroutine[Any, Any, ClientResponse]],
    ) -> ClientResponse:
        """Let a request send itself and its response start itself.

        Args:
            request: The request; it has a `send` of its own.
            pool: Where the connection goes back to if nothing is sent.
            taken: The connection, and the rest.
            carry: Sends the request on the connection, and gives the response its head.
        """

    async def start(self, response: ClientResponse) -> None:
        """Let a response start itself, unless that was done; its head is here."""


class _NoHooks:
    """Every request and response is as it is written here."""

    def class_made(self, cls: type[ClientRequest]) -> None:
        """Nothing to see."""


class ClientHooks:
    """What stands at the hooks, for the whole process."""

    __slots__ = ("requests",)

    def __init__(self) -> None:
        # Nothing but `class_made` is asked where no class says that it wants more.
        self.requests: RequestHooks = _NoHooks()  # type: ignore[assignment]


HOOKS = ClientHooks()
