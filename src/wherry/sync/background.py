"""The event loop behind `wherry.sync`: one for the process, on a thread of its own.

Any thread gives it a coroutine and waits for what comes of it.  The loop begins with the first
call, and ends with the interpreter.  A child of a fork has no threads but one (POSIX), so it begins
with a loop of its own; what it inherited is left alone, for those sockets are its parent's too.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine, Generator
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from wherry import ClientConnectionError, TCPConnector
from wherry.client.oneshot import SingleCalls

if TYPE_CHECKING:
    from wherry.connect.pool.pool import Pool

__all__ = ("Background", "background", "give", "now", "run")

T = TypeVar("T")
# Seconds that the end of the interpreter waits for connections to be closed.
END_SECONDS = 2.0


class Background:
    """An event loop, and the thread that it runs on."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = _new_loop()
        # What calls without a session share; made on the loop when the first of them runs.
        self.connector: TCPConnector | None = None
        self._single_calls: SingleCalls | None = None
        # What calls with a connector of their own have left open: a stream that is being read.
        self._own_pools: WeakSet[Pool] = WeakSet()
        self._thread = threading.Thread(target=self._run, name="wherry.sync", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def is_here(self) -> bool:
        """Whether the caller is on the loop's own thread."""
        return threading.get_ident() == self._thread.ident

    def single_calls(self) -> SingleCalls:
        """What makes the sessions of calls without one; for the loop's thread."""
        calls = self._single_calls
        if calls is None:
            self.connector = TCPConnector()
            calls = self._single_calls = SingleCalls(self.connector)
        return calls

    def own_connector(self) -> TCPConnector:
        """A connector for one call, which no other will use; for the loop's thread."""
        connector = TCPConnector()
        self._own_pools.add(connector.pool)
        return connector

    def end(self) -> None:
        """Close what is open, and stop; in bounded time."""
        if not self._thread.is_alive():
            return
        ended = asyncio.run_coroutine_threadsafe(self._close(), self.loop)
        try:
            ended.result(END_SECONDS)
        except TimeoutError:
            return  # a custom class does not end; the thread goes with the process
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(END_SECONDS)
        if not self._thread.is_alive():
            self.loop.close()

    async def _close(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_SECONDS / 2)
        for pool in list(self._own_pools):
            for connection in list(pool.all_connections()):
                connection.close()
        if self.connector is not None:
            await self.connector.close()
        await self.loop.shutdown_asyncgens()


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, where it is installed."""
    try:
        uvloop: Any = import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class _State:
    """What the process has: its loop, and those of its parents, which must not be collected here:
    closing them would reach into the parent's selector.
    """

    lock = threading.Lock()
    current: Background | None = None
    inherited: list[Background] = []  # noqa: RUF012


def background() -> Background:
    """The loop of this process, which begins with the first call."""
    current = _State.current
    if current is None:
        with _State.lock:
            current = _State.current
            if current is None:
                current = _State.current = Background()
    return current


def _forked() -> None:
    # Another thread of the parent may have held the lock.
    _State.lock = threading.Lock()
    if _State.current is not None:
        _State.inherited.append(_State.current)
        _State.current = None


def _end() -> None:
    current, _State.current = _State.current, None
    if current is not None:
        current.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(_end)


class _Call:
    """A coroutine that a thread waits for."""

    __slots__ = ("_coroutine", "_done", "_loop", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop):
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        # A bare lock: half of what a `concurrent.futures.Future` costs.
        self._done = threading.Lock()
        self._done.acquire()

    def begin(self) -> None:
        """Start it; on the loop's thread."""
        task = self._task = self._loop.create_task(self._coroutine)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._done.release()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def wait(self) -> Any:
        """What came of it; an interrupt (Ctrl-C) cancels it first."""
        try:
            self._done.acquire()
        except BaseException:
            self._loop.call_soon_threadsafe(self._cancel)
            self._done.acquire(timeout=END_SECONDS)
            if self._task is not None and self._task.done() and not self._task.cancelled():
                self._task.exception()  # nobody will ask for it
            raise
        task = self._task
        assert task is not None
        if task.cancelled():
            raise ClientConnectionError("the event loop of wherry.sync has ended")
        return task.result()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on the loop, and wait for what comes of it.

    Raises:
        RuntimeError: The caller is on the loop's own thread, which would wait for itself.
    """
    current = background()
    if current.is_here():
        coroutine.close()
        raise RuntimeError(
            "wherry.sync was called in a coroutine of its own event loop (a middleware, a trace): "
            "await the asynchronous session there"
        )
    call = _Call(coroutine, current.loop)
    try:
        current.loop.call_soon_threadsafe(call.begin)
    except RuntimeError:
        coroutine.close()
        raise ClientConnectionError("the event loop of wherry.sync has ended") from None
    result: T = call.wait()
    return result


def give(function: Any, *args: Any) -> None:
    """Have the loop call `function`, and do not wait; for what collectors of garbage do.

    Without a loop, or in a child of a fork, there is nothing to be done: the process ends, or the
    connection is the parent's.
    """
    current = _State.current
    if current is not None:
        try:
            current.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return  # it has been closed meanwhile


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, without the loop; returns what it gives."""
    step: Generator[Any, Any, T] = coroutine  # type: ignore[assignment]
    try:
        step.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("this must not wait")
