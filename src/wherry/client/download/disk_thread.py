"""Work for the disk in a thread, and whoever is cancelled meanwhile waits until it is through.

A thread cannot be called back.  If its file were given up while it writes, what it writes would
land in the file of whoever comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ("finished", "in_thread", "start_thread")

_P = ParamSpec("_P")
_T = TypeVar("_T")


def start_thread(
    function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> asyncio.Future[_T]:
    """Let a thread call `function`; the future must be given to `finished`."""
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(None, lambda: function(*args, **kwargs))


async def finished(job: asyncio.Future[_T]) -> _T:
    """What the thread gives.

    Raises:
        asyncio.CancelledError: When the thread is through, if the task was cancelled before.
    """
    cancelled: asyncio.CancelledError | None = None
    while not job.done():
        try:
            await asyncio.wait([job])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        if not job.cancelled():
            job.exception()
        raise cancelled
    return job.result()


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `function` in a thread; see `finished`."""
    return await finished(start_thread(function, *args, **kwargs))
