"""The program's own functions of a page: plain ones and coroutines in the loop, and plain ones in
other processes where they would keep the loop from its work.

What such a function raises is the fault of its page.  What keeps the processes from working (no
main guard, a function that cannot be sent, a process that dies whatever it is given) is not: it
ends the run (`HooksError`), so that no page is noted as failed because of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import multiprocessing
import pickle
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from wherry.bulk.results import Page

Hook = Callable[[Page], Any] | Callable[[Page], Awaitable[Any]]
_Functions = tuple[Callable[[Page], Any] | None, ...]

_NO_START: Final = (
    "the processes of processes= do not start, and nothing was fetched. They read the program's "
    'file: start it under `if __name__ == "__main__":`, and have on_response= and follow= in a '
    "file, not in a prompt or a notebook. What they said is on standard error"
)


class HooksError(RuntimeError):
    """The processes of the program's functions do not work, whatever page they are given."""


def _ready(functions: _Functions) -> int:
    """In a process of the pool: it has read the functions, or this would not run."""
    return len(functions)


def _call(functions: _Functions, page: Page) -> bytes:
    """In a process of the pool: what each gives, pickled; an iterator comes as a list.

    Raises:
        HooksError: What they give cannot be sent.
        Exception: What they raise, or what says the same if that cannot be sent.
    """
    try:
        given = tuple(_listed(None if each is None else each(page)) for each in functions)
    except (Exception, SystemExit) as exc:
        if isinstance(exc, Exception) and _can_be_sent(exc):
            raise
        raise RuntimeError(f"{type(exc).__qualname__}: {exc}") from None
    try:
        return pickle.dumps(given)
    except Exception as exc:
        raise HooksError(
            f"what on_response= or follow= gave for {page.url} cannot be sent from its process: "
            f"{exc}. Give values that pickle can write, or leave processes= out"
        ) from None


def _can_be_sent(exc: Exception) -> bool:
    """An error that pickle reads back; one with arguments of its own would break the pool."""
    try:
        pickle.loads(pickle.dumps(exc))  # noqa: S301 - our own
    except Exception:
        return False
    return True


def _listed(value: Any) -> Any:
    return list(value) if inspect.isgenerator(value) else value


class Hooks:
    """Calls functions with each page.

    Args:
        functions: `on_response` and `follow`; None for what is not there.
        processes: How many processes the plain ones run in; 0 for the loop itself.

    Raises:
        TypeError: A coroutine function is to run in a process.
    """

    def __init__(self, functions: tuple[Hook | None, ...], processes: int = 0) -> None:
        self.functions: tuple[Hook | None, ...] = functions
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self.wanted: bool = any(each is not None for each in functions)
        # Where pages are looked at one by one, after some process died.
        self._alone = asyncio.Lock()
        self._cell: ProcessPoolExecutor | None = None
        self._good: Page | None = None  # the functions can do this one
        if processes and any(inspect.iscoroutinefunction(each) for each in functions):
            raise TypeError("a coroutine function runs in the event loop, not in processes")

    async def open(self) -> None:
        """Start a process, and see whether it knows the functions.

        Raises:
            TypeError: A function cannot be sent to a process.
            HooksError: The process did not start.
        """
        if not self._processes or not self.wanted:
            return
        for name, each in zip(("on_response", "follow"), self.functions, strict=True):
            try:
                pickle.dumps(each)
            except Exception as exc:
                raise TypeError(
                    f"{name}= runs in other processes (processes={self._processes}), which import "
                    "it by its name: make it a function that a file defines at its top, not a "
                    f"lambda or a function in a function, or leave processes= out ({exc})"
                ) from exc
        pool = self._pool = _pool(self._processes)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(pool, _ready, self.functions)
        except BrokenProcessPool as exc:
            raise HooksError(_NO_START) from exc

    async def call(self, page: Page) -> tuple[Any, ...]:
        """What each function gives for a page.

        Raises:
            HooksError: The processes do not work, whatever the page.
            Exception: What a function raised of this page.
        """
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
        if (pool := self._pool) is None:
            pool = self._pool = _pool(self._processes)
        try:
            return await self._call_in(pool, page)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
                pool.shutdown(wait=False, cancel_futures=True)
        # A process died, of another page perhaps.
        async with self._alone:
            with contextlib.suppress(BrokenProcessPool):
                return await self._in_the_cell(page)
        # The lock is fair, so those that wait go first: they may show that the processes work.
        async with self._alone:
            return await self._judged(page)

    async def _judged(self, page: Page) -> tuple[Any, ...]:
        """The last try of a page that has ended two processes: is it the page?"""
        good = self._good
        try:
            return await self._in_the_cell(page)
        except BrokenProcessPool as exc:
            why = f"{exc} (a crash, os._exit, or too little memory?)"
        try:
            if good is not None:
                await self._in_the_cell(good)
        except BrokenProcessPool:
            good = None
        if good is None:
            raise HooksError(
                f"on_response= or follow= ended the process at {page.url}, and no other page "
                f"shows that the processes work: {why}"
            )
        raise BrokenProcessPool(f"on_response= or follow= ended its process: {why}")

    async def _in_the_cell(self, page: Page) -> tuple[Any, ...]:
        """In a process that has no other page now."""
        if self._cell is None:
            self._cell = _pool(1)
        cell = self._cell
        try:
            return await self._call_in(cell, page)
        except BrokenProcessPool:
            self._cell = None
            cell.shutdown(wait=False, cancel_futures=True)
            raise

    async def _call_in(self, pool: ProcessPoolExecutor, page: Page) -> tuple[Any, ...]:
        loop = asyncio.get_running_loop()
        sent = await loop.run_in_executor(pool, _call, self.functions, page)
        try:
            given: tuple[Any, ...] = pickle.loads(sent)  # noqa: S301 - of our own process
        except Exception as exc:
            raise HooksError(
                f"what on_response= or follow= gave for {page.url} cannot be read back: {exc}"
            ) from exc
        self._good = page
        return given

    async def close(self) -> None:
        """End the processes."""
        pools = [pool for pool in (self._pool, self._cell) if pool is not None]
        self._pool = self._cell = None
        for pool in pools:
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)


def _pool(processes: int) -> ProcessPoolExecutor:
    # A fork of a process with threads may lock up.
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
