"""PING finds out that a server of HTTP/3 is gone while nothing is asked of it, as over HTTP/2 (RFC
9000 10.1.2): after a silence, and the connection is over when nothing comes for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class QuietPing:
    """Asks for a sign of life.

    It costs nothing for each datagram: when one came last is looked up when the time is over.

    Args:
        loop: The event loop.
        interval: Seconds of silence before a PING.
        timeout: Seconds for anything to come after it.
        heard_at: Says when something came last, by the loop's clock.
        ask: Sends the PING.
        give_up: Called when nothing came.
    """

    __slots__ = ("_ask", "_give_up", "_heard_at", "_interval", "_loop", "_timeout", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float,
        timeout: float,
        heard_at: Callable[[], float],
        ask: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._heard_at = heard_at
        self._ask = ask
        self._give_up = give_up
        self._timer = loop.call_later(interval, self._look)

    def _look(self) -> None:
        left = self._heard_at() + self._interval - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        now = self._loop.time()
        self._await_answer(self._heard_at(), now, now + self._timeout)
        self._ask()

    def _await_answer(self, before: float, now: float, until: float) -> None:
        pause = min(self._interval, until - now)
        self._timer = self._loop.call_later(pause, self._look_again, before, until)

    def _look_again(self, before: float, until: float) -> None:
        now = self._loop.time()
        if self._heard_at() != before:
            self._look()
        elif now >= until:
            self._give_up()
        else:
            self._await_answer(before, now, until)

    def stop(self) -> None:
        self._timer.cancel()
