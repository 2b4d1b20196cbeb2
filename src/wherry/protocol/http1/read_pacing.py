"""When an HTTP/1.1 connection reads: not while its reader is behind, and now and then a moment
later than it could.

The rest between two reads of a large body lets a fast peer wake the loop once for much, not each
time for little.
"""

from __future__ import annotations

import asyncio

from wherry.protocol.http1.exchange import Http1Carrier
from wherry.types import HttpVersion11

# How long a connection rests that has read all there was of a body of which much is left, and how
# many bytes must have gathered by then for it to be worth it; if they did not, so many reads follow
# without a rest.
REST_SECONDS = 0.001
REST_YIELD = 128 * 1024
RESTLESS_READS = 64


class Http1ReadPacing(Http1Carrier):
    """The part of a connection that stops its transport's reading and lets it go on."""

    __slots__ = ("_paused", "_rested", "_resting", "_restless", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, HttpVersion11, 1)
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._resting = False
        self._rested = False  # before the last read
        self._restless = 0  # how many more reads go on without a rest

    def pause_reading(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            if not self._resting:
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._read_on()

    def _read_on(self) -> None:
        transport = self._transport
        if (
            not self._paused
            and not self._resting
            and transport is not None
            and not transport.is_closing()
        ):
            transport.resume_reading()

    def _rest(self, size: int) -> None:
        """Stop reading for a moment, after a read of `size` bytes that emptied the socket while
        much is to follow.
        """
        transport = self._transport
        if self._restless:
            self._restless -= 1
        elif self._rested and size < REST_YIELD:
            self._rested = False
            self._restless = RESTLESS_READS
        elif transport is not None and not self._paused and not transport.is_closing():
            if transport.get_extra_info("ssl_object") is not None:
                return  # decrypting takes so long that much has come by then anyway
            self._resting = self._rested = True
            transport.pause_reading()
            self.loop.call_later(REST_SECONDS, self._end_rest)

    def _end_rest(self) -> None:
        self._resting = False
        self._read_on()
