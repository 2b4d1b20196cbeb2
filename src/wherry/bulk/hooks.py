"""The program's own functions of a page: plain ones and coroutines in the loop, and plain ones in
other processes where they would keep the loop from its work.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from wherry.bulk.results import Page

Hook = Callable[[Page], Any] | Callable[[Page], Awaitable[Any]]


def _call(functions: tuple[Callable[[Page], Any] | None, ...], page: Page) -> tuple[Any, ...]:
    """In a process of the pool: what each gives; an iterator comes as a list."""
    return tuple(_listed(None if each is None else each(page)) for each in functions)


def _listed(value: Any) -> Any:
    return list(value) if inspect.isgenerator(value) else value


class Hooks:
    """Calls functions with each page.

    Args:
        functions: The functions; None for what is not there.
        processes: How many processes the plain ones run in; 0 for the loop itself.

    Raises:
        TypeError: A coroutine function is to run in a process.
    """

    def __init__(self, functions: tuple[Hook | None, ...], processes: int = 0) -> None:
        self.functions: tuple[Hook | None, ...] = functions
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self.wanted: bool = any(each is not None for each in functions)
        if processes and any(inspect.iscoroutinefunction(each) for each in functions):
            raise TypeError("a coroutine function runs in the event loop, not in processes")

    async def call(self, page: Page) -> tuple[Any, ...]:
        """What each function gives for a page."""
        if self._processes:
            return await self._in_a_process(page)
        given = []
        for each in self.functions:
            value = None if each is None else each(page)
            if inspect.isawaitable(value):
                value = await value
            given.append(_listed(value))
        return tuple(given)

    async def _in_a_process(self, page: Page) -> tuple[Any, ...]:
        loop = asyncio.get_running_loop()
        for last in (False, True):
            if (pool := self._pool) is None:
                # A fork of a process with threads may lock up.
                context = multiprocessing.get_context("spawn")
                pool = self._pool = ProcessPoolExecutor(self._processes, mp_context=context)
            try:
                given: tuple[Any, ...] = await loop.run_in_executor(
                    pool, _call, self.functions, page
                )
            except BrokenProcessPool:
                # One of its processes died, of another page perhaps: this one has a second chance.
                if self._pool is pool:
                    self._pool = None
                    pool.shutdown(wait=False, cancel_futures=True)
                if last:
                    raise
            else:
                return given
        raise AssertionError("the second time raises or returns")

    async def close(self) -> None:
        """End the processes."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
