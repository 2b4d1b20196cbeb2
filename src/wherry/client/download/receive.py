"""From a response's body into a part: a thread writes what came while the next pieces arrive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

from wherry.client.download.disk_thread import finished, in_thread, start_thread
from wherry.client.download.part_file import BATCH, Part
from wherry.client.interfaces import body_so_far
from wherry.errors import ClientError, ClientPayloadError

if TYPE_CHECKING:
    from wherry.client.interfaces import ReadableResponse

__all__ = ("ExcessError", "Pace", "Progress", "receive")

# Called with the bytes that the file has now and those that it will have, None where that is not
# known.
Progress = Callable[[int, "int | None"], object]
Pace = Callable[[int], Awaitable[object]]


class ExcessError(ClientPayloadError):
    """A body has more bytes than its head has room for."""


async def receive(
    response: ReadableResponse,
    part: Part,
    at: int,
    end: int | None,
    tell: Callable[[int], object],
    pace: Pace | None = None,
) -> int:
    """Write the body from `at` on; gives the offset behind it.

    Args:
        response: Whose body was not read, or was read whole.
        part: Where it goes.
        at: The offset of the body's first byte.
        end: Where it must end at the latest; None where that is not known.
        tell: Called with the offset behind what is written, each time that it grows.
        pace: Awaited with the size of what has come, before more is read.

    Raises:
        ClientPayloadError: The body broke off, or goes beyond `end`; what came before is written.
        OSError: The disk takes no more.
    """
    writing: asyncio.Future[int] | None = None
    offset = at
    excess = False
    try:
        async with contextlib.aclosing(_batches(response)) as batches:
            async for pieces in batches:
                size = sum(map(len, pieces))
                excess = end is not None and offset + size > end
                if excess:
                    break
                if writing is not None:
                    tell(await finished(writing))
                writing = start_thread(part.write, offset, pieces)
                offset += size
                if pace is not None:
                    await pace(size)
    finally:
        # What came before a failure counts.
        if writing is not None:
            tell(await finished(writing))
    if excess:
        # Nothing of such a body can be trusted.
        await in_thread(part.begin, part.held._replace(size=min(at, part.held.size)))
        raise ExcessError(f"{response.url.origin()} sent more bytes than it announced")
    if writing is None:
        tell(offset)
    return offset


async def _batches(response: ReadableResponse) -> AsyncGenerator[list[bytes]]:
    """The body, in lists of pieces that a thread writes at once."""
    if body_so_far(response) is not None:
        if body := await response.read():
            yield [body]
        return
    content = response.content
    content.set_read_chunk_size(BATCH)
    pieces: list[bytes] = []
    gathered = 0
    try:
        while piece := await content.readany():
            pieces.append(piece)
            gathered += len(piece)
            if gathered >= BATCH:
                yield pieces
                pieces = []
                gathered = 0
    except (ClientError, TimeoutError):
        # What came before the failure is there to go on from.
        if pieces:
            yield pieces
        raise
    if pieces:
        yield pieces
