"""Queues of parsed things with one reader, as aiohttp exports them; wherry itself uses none."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from wherry.body.stream.reader import AsyncStreamIterator, EofStream
from wherry.protocol.connection import FlowControl

_T = TypeVar("_T")


class DataQueue(Generic[_T]):
    """A queue that ends: `read` gives the items in order, then raises `EofStream` or what ended it.

    Args:
        loop: The loop in which it is read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._eof = False
        self._items: deque[tuple[_T, int]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._exception: BaseException | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __aiter__(self) -> AsyncStreamIterator[_T]:
        return AsyncStreamIterator(self.read)

    def is_eof(self) -> bool:
        """Whether nothing will be added."""
        return self._eof

    def at_eof(self) -> bool:
        """Whether nothing will be added and all was read."""
        return self._eof and not self._items

    def exception(self) -> BaseException | None:
        """What ended the queue, if it did not end well."""
        return self._exception

    def set_exception(
        self, exc: BaseException | type[BaseException], exc_cause: BaseException | None = None
    ) -> None:
        """End the queue with `exc`, which comes after the items that are there."""
        if isinstance(exc, type):
            exc = exc()
        if exc_cause is not None and exc.__cause__ is None:
            exc.__cause__ = exc_cause
        self._exception = exc
        self.feed_eof()

    def feed_data(self, data: _T, size: int = 0) -> None:
        """Add an item."""
        self._items.append((data, size))
        self._wake()

    def feed_eof(self) -> None:
        """Nothing will be added."""
        self._eof = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def read(self) -> _T:
        """The next item.

        Raises:
            EofStream: There is none and none will come.
        """
        item, _ = await self._next()
        return item

    async def _next(self) -> tuple[_T, int]:
        while not self._items and not self._eof:
            assert self._waiter is None, "read() called while another coroutine is already waiting"
            self._waiter = waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None
        if self._items:
            return self._items.popleft()
        if self._exception is not None:
            raise self._exception.with_traceback(None)
        raise EofStream


class FlowControlDataQueue(DataQueue[_T]):
    """A queue that pauses whoever fills it above twice `limit`, and resumes it below.

    Args:
        protocol: Who is paused and resumed.
        limit: In the sum of the items' sizes.
        loop: The loop in which it is read.
    """

    def __init__(
        self, protocol: FlowControl, limit: int, *, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop)
        self._protocol = protocol
        self._size = 0
        self._limit = limit * 2
        self._paused = False

    def feed_data(self, data: _T, size: int = 0) -> None:
        """Add an item of `size`."""
        super().feed_data(data, size)
        self._size += size
        if self._size > self._limit and not self._paused:
            self._paused = True
            self._protocol.pause_reading()

    async def read(self) -> _T:
        """The next item."""
        item, size = await self._next()
        self._size -= size
        if self._paused and self._size < self._limit:
            self._paused = False
            self._protocol.resume_reading()
        return item
