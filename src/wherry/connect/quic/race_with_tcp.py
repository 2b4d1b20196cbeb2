"""QUIC and TCP to one origin that is known to speak HTTP/3: whoever is there first is kept.

QUIC begins, for it is wanted; TCP follows soon enough that a network without UDP costs no more than
a moment, once.  An error of the one is no error as long as there is the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from wherry.protocol.connection import Connection

# Seconds after which TCP begins: without any datagram of the server's, and in all.
SILENT_HEAD_START = 0.1
HEAD_START = 0.2

_T = TypeVar("_T")
Dial = Coroutine[Any, Any, Connection]


class Heard:
    """Whether the server has sent anything by UDP."""

    __slots__ = ("anything",)

    def __init__(self) -> None:
        self.anything: bool = False


async def race(
    quic: Callable[[Heard], Dial], tcp: Callable[[], Dial], failed: Callable[[], None]
) -> Connection:
    """The connection that was made first.

    Args:
        quic: Dials by QUIC.
        tcp: Dials by TCP.
        failed: Called where QUIC failed, or was too late.

    Raises:
        Exception: What TCP failed with, where QUIC has failed as well.
    """
    heard = Heard()
    tasks = [asyncio.ensure_future(quic(heard))]
    first = tasks[0]
    winner: asyncio.Future[Connection] | None = None
    try:
        await asyncio.wait(tasks, timeout=SILENT_HEAD_START)
        if not first.done() and heard.anything:
            await asyncio.wait(tasks, timeout=HEAD_START - SILENT_HEAD_START)
        if not _succeeded(first):
            tasks.append(asyncio.ensure_future(tcp()))
            running = [task for task in tasks if not task.done()]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if not any(map(_succeeded, tasks)):
                await asyncio.wait(tasks)  # one has failed, so the other decides
        winner = first if _succeeded(first) else tasks[-1]
        if winner is not first:
            failed()
        made = await winner
    finally:
        others = [task for task in tasks if task is not winner]
        try:
            await give_up(others, lambda made: made.abort())
        except asyncio.CancelledError:
            if winner is not None and _succeeded(winner):
                winner.result().abort()
            raise
    return made


def _succeeded(task: asyncio.Future[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def give_up(tasks: Iterable[asyncio.Future[_T]], dispose: Callable[[_T], object]) -> None:
    """End tasks and wait for their end.

    Args:
        tasks: What is under way, or done.
        dispose: Gets what one of them made all the same.

    Raises:
        CancelledError: This was cancelled meanwhile; the tasks have ended all the same.
    """
    cancelled: asyncio.CancelledError | None = None
    pending = set(tasks)
    for task in pending:
        task.cancel()
    ended = set(pending)
    while pending:
        try:
            _, pending = await asyncio.wait(pending)
        except asyncio.CancelledError as exc:
            cancelled = exc
            pending = {task for task in pending if not task.done()}
    for task in ended:
        if not task.cancelled() and task.exception() is None:
            dispose(task.result())
    if cancelled is not None:
        raise cancelled
