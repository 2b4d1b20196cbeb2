"""How `wherry fetch` spares servers: a rate in bytes, waits between downloads, and robots.txt."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from yarl import URL

import wherry

_ROBOTS_SIZE = 512 * 1024  # bytes: RFC 9309 2.5 asks for half a mebibyte at least


# Seconds: a server that asks for more would stop the downloads for good.
_LONGEST_DELAY = 60.0


def _delay(asked: float | None) -> float:
    """The Crawl-delay that is heeded; none where it is no number."""
    seconds = float(asked or 0.0)
    return min(seconds, _LONGEST_DELAY) if seconds > 0 else 0.0


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


class RobotsRefused(Exception):
    """robots.txt forbids a download."""


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
        self._session = session
        self._wait = wait
        self._agent = agent
        self._options = options
        self._next: dict[URL, float] = {}
        self._rules: dict[URL, asyncio.Future[Any]] | None = {} if robots else None

    async def ask(self, url: URL) -> None:
        """Wait until a download may begin.

        Raises:
            RobotsRefused: It may not at all.
        """
        origin = url.origin()
        seconds = self._wait * random.uniform(0.5, 1.5) if self._wait else 0.0  # noqa: S311
        if self._rules is not None:
            rules = await self._rules_of(origin)
            if not rules.can_fetch(str(url), self._agent):
                raise RobotsRefused("robots.txt forbids it")
            seconds = max(seconds, _delay(rules.crawl_delay(self._agent)))
        if seconds:
            now = time.monotonic()
            begin = max(self._next.get(origin, now), now)
            self._next[origin] = begin + seconds
            await asyncio.sleep(begin - now)

    async def _rules_of(self, origin: URL) -> Any:
        """A host's rules, which are asked for once."""
        assert self._rules is not None
        if (known := self._rules.get(origin)) is None:
            known = self._rules[origin] = asyncio.ensure_future(self._read(origin))
        # Who is cancelled leaves the others their answer.
        return await asyncio.shield(known)

    async def _read(self, origin: URL) -> Any:
        from protego import Protego

        text = "User-agent: *\nDisallow: /"
        try:
            # RFC 9309 2.3.1: five redirects at most; who has none (4xx) forbids nothing,
            # who cannot be asked (5xx, no connection) forbids all.
            async with self._session.get(
                origin / "robots.txt", **{**self._options, "max_redirects": 5}
            ) as response:
                if response.ok:
                    text = (await _beginning(response)).decode("utf-8", "replace")
                elif response.status < 500:
                    text = ""
        except (wherry.ClientError, OSError, ValueError):
            pass
        return Protego.parse(text)

    async def close(self) -> None:
        """Give up what is still asked."""
        asked = [] if self._rules is None else list(self._rules.values())
        for future in asked:
            future.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _beginning(response: wherry.ClientResponse) -> bytes:
    """As much of robots.txt as counts."""
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) >= _ROBOTS_SIZE:
            break
    return bytes(content[:_ROBOTS_SIZE])
