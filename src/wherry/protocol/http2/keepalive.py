"""PING keep-alive: finds out that a peer is gone while nothing is asked of it (RFC 9113 6.7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class KeepAlive:
    """Sends a PING after a silence, and gives up after another.

    Args:
        loop: The event loop.
        interval: Seconds of silence before a PING.
        timeout: Seconds for anything to come after it.
        ask: Sends the PING.
        give_up: Is called when nothing came.
    """

    __slots__ = ("_ask", "_give_up", "_interval", "_loop", "_timeout", "_timer", "silent")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float,
        timeout: float,
        ask: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._ask = ask
        self._give_up = give_up
        self.silent = False  # nothing has come since the timer looked last
        self._timer = loop.call_later(interval, self._look)

    def _look(self) -> None:
        if self.silent:
            self._ask()
            self._timer = self._loop.call_later(self._timeout, self._look_again)
        else:
            self.silent = True
            self._timer = self._loop.call_later(self._interval, self._look)

    def _look_again(self) -> None:
        if self.silent:
            self._give_up()
        else:
            self._look()

    def stop(self) -> None:
        self._timer.cancel()
