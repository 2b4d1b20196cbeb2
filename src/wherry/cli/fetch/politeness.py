"""How `wherry fetch` spares servers: a rate in bytes, waits between downloads, and robots.txt,
which `wherry.bulk` reads.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from yarl import URL

import wherry
from wherry.bulk.robots import Robots


class RateLimit:
    """So many bytes a second, for all downloads together.

    Args:
        rate: Bytes a second.
        clock: Tells the time, in seconds.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._free_at = 0.0

    def after(self, size: int) -> float:
        """Take note of `size` bytes; gives the seconds until more may be read."""
        now = self._clock()
        self._free_at = max(self._free_at, now) + size / self._rate
        return self._free_at - now

    async def took(self, size: int) -> None:
        """Take note of `size` bytes, and wait until more may be read."""
        await asyncio.sleep(self.after(size))


class Politeness:
    """Waits between downloads from one host, and what its robots.txt asks for.

    Args:
        session: Fetches robots.txt.
        wait: Seconds between two downloads from one host, from half of it to one and a half.
        robots: Whether robots.txt is heeded (RFC 9309).
        agent: Who we are there: the name that its groups are chosen by.
        options: The options of each request for robots.txt.
    """

    def __init__(
        self,
        session: wherry.ClientSession,
        wait: float,
        robots: bool,
        agent: str,
        options: dict[str, Any],
    ) -> None:
        self._wait = wait
        self._next: dict[URL, float] = {}
        self._robots = Robots(session, agent, options) if robots else None

    async def ask(self, url: URL) -> None:
        """Wait until a download may begin.

        Raises:
            RobotsRefused: It may not at all.
        """
        origin = url.origin()
        seconds = self._wait * random.uniform(0.5, 1.5) if self._wait else 0.0  # noqa: S311
        if self._robots is not None:
            rules = await self._robots.rules_of(str(origin))
            if (refused := rules.refusal(str(url))) is not None:
                raise refused
            seconds = max(seconds, rules.delay)
        if seconds:
            now = time.monotonic()
            begin = max(self._next.get(origin, now), now)
            self._next[origin] = begin + seconds
            await asyncio.sleep(begin - now)

    async def close(self) -> None:
        """Give up what is still asked."""
        if self._robots is not None:
            await self._robots.close()
