"""PING finds out that the peer of an HTTP/2 or HTTP/3 connection is gone (RFC 9113 6.7, RFC 9000
10.1.2): by the clock, while nothing is asked of it (`KeepAlive`), and when a request was given up
in silence (`PeerCheck`).

Neither costs anything for what comes: when that was last is looked up when the time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from wherry.protocol.tcp_progress import LineProgress

# A request that is given up after so many seconds in which nothing at all came puts its connection
# in doubt.  Longer than nearly every round trip: who cancels sooner has learned nothing.
SILENCE = 0.1
# In so many seconds something must come after the PING.
ANSWER_SECONDS = 3.0


class KeepAlive:
    """Sends a PING after a silence, and gives up after another, unless bytes leave meanwhile: the
    PING may stand behind a large body on a slow line.

    Args:
        loop: The event loop.
        interval: Seconds of silence before a PING.
        timeout: Seconds for anything to come after it.
        ask: Sends the PING.
        give_up: Called when nothing came.
        progress: Says how far the line is; None where nobody sees that.
        heard_at: Says when something came last, by the loop's clock.
    """

    __slots__ = (
        "_ask",
        "_before",
        "_give_up",
        "_heard_at",
        "_interval",
        "_line",
        "_loop",
        "_progress",
        "_timeout",
        "_timer",
        "_until",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float,
        timeout: float,
        ask: Callable[[], None],
        give_up: Callable[[], None],
        progress: Callable[[], LineProgress] | None,
        heard_at: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._ask = ask
        self._give_up = give_up
        self._progress = progress or LineProgress
        self._heard_at = heard_at
        # Of the PING that is out: what was known then, and how long it may stay unanswered.
        self._before = self._until = 0.0
        self._line = LineProgress()
        self._timer = loop.call_later(interval, self._look)

    def _look(self) -> None:
        left = self._heard_at() + self._interval - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._question(self._progress())

    def _question(self, line: LineProgress) -> None:
        self._line, self._before = line, self._heard_at()
        now = self._loop.time()
        self._until = now + self._timeout
        self._wait(now)
        self._ask()

    def _wait(self, now: float) -> None:
        pause = min(self._interval, self._until - now)
        self._timer = self._loop.call_later(pause, self._look_again)

    def _look_again(self) -> None:
        now = self._loop.time()
        if self._heard_at() != self._before:
            self._look()
        elif now < self._until:
            self._wait(now)
        elif (line := self._progress()).moved_since(self._line):
            self._question(line)
        else:
            self._give_up()

    def stop(self) -> None:
        self._timer.cancel()


class PeerCheck:
    """One PING after a request that was given up in silence; until it is answered, its connection
    is in doubt.

    Why not close at once?  The peer may only be slow with that one answer, and other exchanges may
    be under way.  Why not go on?  A path that drops packets says nothing, and every request would
    wait for its own time limit on the same dead connection.

    Args:
        loop: The event loop.
        heard_at: Says when something came last, by `time.monotonic`.
        longest: Seconds for the answer where other things do come.
        give_up: Called once when there was no answer.
    """

    __slots__ = ("_give_up", "_heard_at", "_looked", "_loop", "_timer", "_until")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard_at: Callable[[], float],
        longest: float,
        give_up: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._heard_at = heard_at
        self._give_up = give_up
        self._looked = monotonic()
        self._until = self._looked + longest
        self._timer = loop.call_later(min(ANSWER_SECONDS, longest), self._look)

    def _look(self) -> None:
        now = monotonic()
        # The answer may stand behind much else that is on its way.
        if self._heard_at() > self._looked and now < self._until:
            self._looked = now
            self._timer = self._loop.call_later(min(ANSWER_SECONDS, self._until - now), self._look)
        else:
            self._give_up()

    def stop(self) -> None:
        self._timer.cancel()
