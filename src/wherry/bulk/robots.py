"""robots.txt (RFC 9309): asked for once a day, kept in bounded memory, read by protego.

`Robots` knows origins and a session; it waits for nobody but the servers that it asks, and knows
no queue.  ``wherry fetch --robots`` and `Fetcher(robots=True)` share it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from yarl import URL

import wherry
from wherry.bulk.retry_rules import BACK_OFF

_SIZE: Final = 512 * 1024  # bytes: RFC 9309 2.5 asks for half a mebibyte at least
_AGE: Final = 24 * 3600.0  # seconds: RFC 9309 2.4
_AGE_UNREACHABLE: Final = 600.0  # seconds until who could not be asked is asked again
# RFC 9309 2.3.1.2 asks for five redirects at least; the client fails with so many.
_REDIRECTS: Final = 6
# Seconds: a server that asks for more would stop the downloads for good.
_LONGEST_DELAY: Final = 60.0
# What is kept in all: files, and their bytes.  Parsed rules are some times as large.
_MOST_FILES: Final = 4000
_MOST_BYTES: Final = 4 * 2**20


class RobotsRefused(Exception):
    """robots.txt forbids a download."""


class Rules:
    """What one origin's robots.txt says.

    Args:
        text: The file; None where nobody could be asked, which forbids everything.
        agent: Who we are there.
        expires: When it is to be asked for again.
        reason: Why nobody could be asked.
    """

    __slots__ = ("_agent", "_rules", "delay", "expires", "reason", "size")

    def __init__(
        self, text: str | None, agent: str, expires: float, reason: Exception | None = None
    ) -> None:
        self.expires: float = expires
        self.size: int = len(text or "")
        self.reason: Exception | None = reason
        self.delay: float = 0.0
        self._agent = agent
        self._rules: Any = None
        if text:
            from protego import Protego

            self._rules = Protego.parse(text)
            self.delay = heeded_delay(self._rules.crawl_delay(agent))

    def refusal(self, url: str) -> RobotsRefused | None:
        """Why a URL may not be asked for; None if it may."""
        if self.reason is not None:
            refused = RobotsRefused("robots.txt cannot be read, which forbids all")
            refused.__cause__ = self.reason
            return refused
        if self._rules is None or self._rules.can_fetch(url, self._agent):
            return None
        return RobotsRefused("robots.txt forbids it")


def heeded_delay(asked: float | None) -> float:
    """The seconds of Crawl-delay that are heeded; none where it is no number."""
    seconds = float(asked or 0.0)
    return min(seconds, _LONGEST_DELAY) if seconds > 0 else 0.0


class Robots:
    """The rules of many origins.

    Args:
        session: Asks for robots.txt.  It should have no secrets: any host may be asked.
        agent: Who we are there: the name that groups are chosen by.
        options: The options of each request.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        session: wherry.ClientSession,
        agent: str,
        options: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._agent = agent
        self._options = dict(options or {})
        self._clock = clock
        # The one used longest ago comes first.
        self._known: OrderedDict[str, Rules] = OrderedDict()
        self._bytes = 0
        self._asked: dict[str, asyncio.Task[Rules]] = {}

    def known(self, origin: str) -> Rules | None:
        """An origin's rules if they are here and not too old."""
        rules = self._known.get(origin)
        if rules is None:
            return None
        if rules.expires <= self._clock():
            self._forget(origin)
            return None
        self._known.move_to_end(origin)
        return rules

    async def rules_of(self, origin: str) -> Rules:
        """An origin's rules, which are asked for if need be; for all who want them at once, once.

        Args:
            origin: As ``https://a.example``.
        """
        if (rules := self.known(origin)) is not None:
            return rules
        if (task := self._asked.get(origin)) is None:
            task = self._asked[origin] = asyncio.ensure_future(self._read(origin))
        # Who is cancelled leaves the others their answer.
        return await asyncio.shield(task)

    async def _read(self, origin: str) -> Rules:
        try:
            rules = await self._ask(origin)
        finally:
            del self._asked[origin]
        self._known[origin] = rules
        self._bytes += rules.size
        while len(self._known) > _MOST_FILES or (
            self._bytes > _MOST_BYTES and len(self._known) > 1
        ):
            self._forget(next(iter(self._known)))
        return rules

    def _forget(self, origin: str) -> None:
        self._bytes -= self._known.pop(origin).size

    async def _ask(self, origin: str) -> Rules:
        """Who has no rules (4xx) forbids nothing, who cannot be asked (5xx, no connection) forbids
        all (RFC 9309 2.3.1).
        """
        now = self._clock()
        options = {**self._options, "allow_redirects": True, "max_redirects": _REDIRECTS}
        try:
            async with self._session.get(URL(origin) / "robots.txt", **options) as response:
                if response.ok:
                    text = (await _beginning(response)).decode("utf-8-sig", "replace")
                    return Rules(text, self._agent, now + _AGE)
                # 429 is among what is "unavailable" in the RFC's letter; it means to wait.
                if response.status < 500 and response.status not in BACK_OFF:
                    return Rules("", self._agent, now + _AGE)
                response.raise_for_status()
                raise AssertionError("a status from 400 up raises")
        except wherry.TooManyRedirects:
            # RFC 9309 2.3.1.2: it may be taken for one that is not there.
            return Rules("", self._agent, now + _AGE)
        except (wherry.ClientError, OSError, ValueError) as exc:
            return Rules(None, self._agent, now + _AGE_UNREACHABLE, exc)

    def forget(self, origin: str) -> None:
        """Ask again the next time."""
        if origin in self._known:
            self._forget(origin)

    async def close(self) -> None:
        """Give up what is still asked."""
        asked = list(self._asked.values())
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _beginning(response: wherry.ClientResponse) -> bytes:
    """As much of robots.txt as counts."""
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) >= _SIZE:
            break
    return bytes(content[:_SIZE])
