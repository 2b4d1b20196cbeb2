"""What runs on a node: one task for as long as the driver is heard.

A worker is asked for what has come (`take`), again and again.  Who asks allows it to go on, so one
that nobody asks ends by itself, before the driver gives its partition to another (`lease`).  It
knows no engine: whatever can call its methods can run it.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from wherry.bulk.cluster.lease import Lease, ProcessName


class Channel:
    """What a task has of its worker.

    Args:
        limit: How many items may wait to be taken.
        lease: How long the worker may go on.
    """

    def __init__(self, limit: int, lease: Lease) -> None:
        self._lease = lease
        self.stopping: asyncio.Event = asyncio.Event()  # the partition is to move: end soon
        self.progress: int = 0  # what the task has done for good
        self.settle: float = 0.0  # seconds that its successor must wait before it begins
        self._limit = limit
        self._items: deque[Any] = deque()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, item: Any) -> None:
        """Give an item to the driver; waits while too many are waiting."""
        await self._room.wait()
        self._items.append(item)
        self._filled.set()
        if len(self._items) >= self._limit:
            self._room.clear()

    def taken(self, limit: int) -> list[Any]:
        """The oldest items, at most so many; there is room for others then."""
        count = min(limit, len(self._items))
        items = [self._items.popleft() for _ in range(count)]
        if len(self._items) < self._limit:
            self._room.set()
        if not self._items:
            self._filled.clear()
        return items

    def may_go_on(self) -> bool:
        """Whether the task is still the worker's to do."""
        return self._lease.left > 0

    async def filled(self) -> None:
        """Wait until there is an item."""
        await self._filled.wait()

    @property
    def is_empty(self) -> bool:
        """Whether all items were taken."""
        return not self._items


class Task(ABC):
    """What a worker does; it can be pickled, and run again after a worker that was lost."""

    @abstractmethod
    async def run(self, channel: Channel) -> Any:
        """Do it.  What it gives comes to the driver when every item was taken.

        Whatever it began has ended when it ends, and when it is cancelled.
        """


@dataclass(slots=True)
class Batch:
    """A worker's answer.

    Args:
        items: What the task has given since.
        progress: What the task has done for good so far.
        settle: Seconds that its successor must wait.
        ended: Whether the task has ended, and all of its items were taken.
        value: What the task gave in the end.
        error: Why it failed; None if it did not.
        stopped: Whether it ended because it was asked to.
    """

    items: list[Any] = field(default_factory=list)
    progress: int = 0
    settle: float = 0.0
    ended: bool = False
    value: Any = None
    error: str | None = None
    stopped: bool = False


class Worker:
    """Runs one task.

    Args:
        task: What it does.
        lease: Seconds that it goes on without a call.
        limit: Items that may wait to be taken.
    """

    def __init__(self, task: Task, lease: float, limit: int = 2000) -> None:
        self._task = task
        self._seconds = lease
        self._limit = limit
        # Made on the node, inside its loop.
        self._lease: Lease | None = None
        self._channel: Channel | None = None
        self._running: asyncio.Task[Any] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def begin(self) -> ProcessName | None:
        """Answer that the worker is there; the task begins with the first `take`, so that a driver
        that never got the answer starts nothing.
        """
        self._lease = Lease(self._seconds)
        self._lease.answered()
        self._channel = Channel(self._limit, self._lease)
        return ProcessName.own()

    async def take(self, limit: int, wait: float) -> Batch:
        """What has come.

        Args:
            limit: Items to give at most.
            wait: Seconds to wait for the first one.
        """
        lease, channel = self._lease, self._channel
        assert lease is not None
        assert channel is not None
        if lease.left <= 0:
            # The call was long under way, and the partition may be another's by now.
            return Batch(ended=True, error="its lease is over")
        lease.called()
        if self._running is None:
            self._running = asyncio.ensure_future(self._task.run(channel))
            self._watching = asyncio.ensure_future(self._watch(lease, self._running))
        if channel.is_empty and not self._running.done():
            await self._something(channel, self._running, wait)
        batch = self._batch(channel, self._running, limit)
        lease.answered()
        return batch

    async def stop(self) -> None:
        """Ask the task to end soon."""
        if self._channel is not None:
            self._channel.stopping.set()

    async def end(self) -> None:
        """End the task now, and wait until it has."""
        if self._watching is not None:
            self._watching.cancel()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _something(
        self, channel: Channel, running: asyncio.Task[Any], seconds: float
    ) -> None:
        """Wait until there is an item, or the task has ended."""
        filled = asyncio.ensure_future(channel.filled())
        try:
            await asyncio.wait(
                {filled, running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            filled.cancel()

    def _batch(self, channel: Channel, running: asyncio.Task[Any], limit: int) -> Batch:
        batch = Batch(channel.taken(limit), channel.progress, channel.settle)
        if not running.done() or not channel.is_empty:
            return batch
        batch.ended = True
        batch.stopped = channel.stopping.is_set()
        if running.cancelled():
            batch.error = "its lease is over"
        elif (exc := running.exception()) is not None:
            batch.error = "".join(traceback.format_exception(exc))
        else:
            batch.value = running.result()
        if self._watching is not None:
            self._watching.cancel()
        return batch

    async def _watch(self, lease: Lease, running: asyncio.Task[Any]) -> None:
        """End the task when its lease does."""
        while (left := lease.left) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(running), left)
                return
        running.cancel()
