"""Custom classes: requests that send themselves, responses that start themselves, and what neither
can.

Sessions that know only our classes never come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.client.response_connection import ResponseConnection
from wherry.connect.borrowed_connection import BorrowedConnection
from wherry.protocol.connection import Connection

if TYPE_CHECKING:
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

# Methods of a request in aiohttp that are never called here: what they do is done otherwise.
NEVER_CALLED = frozenset(
    {
        "update_auth", "update_auto_headers", "update_body_from_data", "update_content_encoding",
        "update_cookies", "update_expect_continue", "update_headers", "update_host", "update_proxy",
        "update_transfer_encoding", "update_version", "write_bytes",
    }
)  # fmt: skip


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


def response_for(request: ClientRequest) -> ClientResponse:
    """A response of the session's class, still without a head."""
    session = request.session
    return (request.response_class or session._response_class)(
        request.method, request.original_url, loop=session._loop, session=session
    )


async def sent_by_class(
    request: ClientRequest,
    pool: Any,
    taken: AcquiredConnection,
    carry: Callable[[], Coroutine[Any, Any, ClientResponse]],
) -> ClientResponse:
    """Let a request send itself and its response start itself, each by whatever its class says.

    As in aiohttp, `send` returns when the request is written, and `start` waits for the response's
    head.

    Args:
        request: The request.
        pool: Where the connection goes back to if nothing is sent.
        taken: The connection, and the rest.
        carry: Sends the request on the connection, and gives the response its head.
    """
    connection, response = taken.connection, taken.response
    held = BorrowedConnection(pool, connection)
    connection.reserved += 1  # its place is kept, however long the class takes

    async def go() -> ClientResponse:
        connection.reserved -= 1
        return await carry()

    async def carry_once() -> ClientResponse:
        if response._starting is not None:
            raise RuntimeError(f"{request!r} was sent on this connection already")
        response._starting = task = asyncio.get_running_loop().create_task(go())
        task.add_done_callback(_retrieved)
        await asyncio.sleep(0)  # its first step writes the request
        if task.done():
            task.result()
        return response

    request._carry = carry_once
    try:
        answer = await request.send(held)
        await answer.start(held)
        if answer._starting is None:
            answer._starting = _STARTED
        elif isinstance(answer._starting, asyncio.Task):
            await answer._starting  # a class that does not call what it overrides
        return answer
    except BaseException:
        if isinstance(response._starting, asyncio.Task) and not response._starting.done():
            response._starting.cancel()
            await asyncio.wait([response._starting])
        response.close()
        raise
    finally:
        request._carry = None
        if response._starting is None:  # nothing was sent
            connection.reserved -= 1
            held.release()


def _retrieved(task: asyncio.Task[ClientResponse]) -> None:
    """Whoever waits for the head has its error; a class that failed by itself, or was cancelled,
    does not ask.
    """
    if not task.cancelled():
        task.exception()


async def start(response: ClientResponse) -> None:
    """Let a response start itself, unless that was done; its head is here."""
    if response._starting is not None:
        return
    response._starting = _STARTED
    exchange = response._exchange
    try:
        await response.start(None if exchange is None else ResponseConnection(response, exchange))
    except BaseException:
        response.close()
        raise


_STARTED = object()
