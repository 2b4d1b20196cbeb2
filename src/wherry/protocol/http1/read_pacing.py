"""When an HTTP/1.1 connection reads: back-pressure, and short rests in large bodies.

A reader that holds as much as it may *pauses* the connection.  The kernel's buffers then fill, and
TCP stops the peer: whoever reads slowly is sent to slowly, and no memory grows.

A connection that reads a large body also *rests*: it reads nothing for a millisecond after a read
that emptied the socket.  A fast peer then wakes the event loop once for many bytes, and not each
time for a few.  Where a rest gains nothing, the next reads do without.

Both stop the same transport, and neither may undo the other: hence four states.

    READING --pause--> PAUSED        READING --rest--> RESTING
    RESTING --pause--> HELD          HELD ---wake----> PAUSED
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final

from wherry.protocol.states import Moves

# How long a connection rests.
REST_SECONDS = 0.001
# A rest was worth it if so many bytes came by its end.
REST_YIELD = 128 * 1024
# After one that was not, so many reads go without.
RESTLESS_READS = 64


class Reading(StrEnum):
    """Whether the transport reads, and if not, why."""

    READING = "reading"
    PAUSED = "paused"  # its reader has enough
    RESTING = "resting"  # for a moment, so that more gathers
    HELD = "resting and paused"  # both


READING, PAUSED, RESTING, HELD = Reading

_WHAT = "reading"
#: The reader has enough.
PAUSE: Final = Moves("pause", {READING: PAUSED, RESTING: HELD, PAUSED: PAUSED, HELD: HELD}, _WHAT)
#: The reader has room again.
RESUME: Final = Moves(
    "resume", {PAUSED: READING, HELD: RESTING, READING: READING, RESTING: RESTING}, _WHAT
)
#: Much is left of a body, and nothing of it is here.
REST: Final = Moves("rest", {READING: RESTING}, _WHAT)
#: The rest is over.
WAKE: Final = Moves(
    "wake", {RESTING: READING, HELD: PAUSED, READING: READING, PAUSED: PAUSED}, _WHAT
)

READING_MOVES: Final = (PAUSE, RESUME, REST, WAKE)


class ReadPacer:
    """Stops the reading of one connection's transport, and lets it go on.

    Args:
        loop: The event loop.
    """

    __slots__ = ("_loop", "_restless", "rested", "state", "transport")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: The connection's, None before it is made and once it is lost.
        self.transport: asyncio.Transport | None = None
        self.state: Reading = READING
        #: Whether the last read followed a rest.
        self.rested: bool = False
        self._restless = 0  # how many more reads go on without a rest

    @property
    def is_paused(self) -> bool:
        """Whether the reader has enough."""
        return self.state is PAUSED or self.state is HELD

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self.transport is not None:
            before, self.state = self.state, PAUSE[self.state]
            if before is READING:
                self.transport.pause_reading()

    def resume(self) -> None:
        """Read on, at the end of the rest if there is one."""
        self._go_on(RESUME)

    def rest(self, size: int) -> None:
        """Rest, if that is worth it, after a read of `size` bytes that emptied the socket while
        much is to follow.
        """
        transport = self.transport
        if self._restless:
            self._restless -= 1
        elif self.rested and size < REST_YIELD:
            self.rested = False
            self._restless = RESTLESS_READS
        elif transport is not None and self.state is READING and not transport.is_closing():
            if transport.get_extra_info("ssl_object") is not None:
                return  # decrypting takes so long that much has come by then anyway
            self.state = REST[self.state]
            self.rested = True
            transport.pause_reading()
            self._loop.call_later(REST_SECONDS, self.wake)

    def wake(self) -> None:
        """End the rest."""
        self._go_on(WAKE)

    def _go_on(self, moves: Moves[Reading]) -> None:
        before, self.state = self.state, moves[self.state]
        transport = self.transport
        if (
            self.state is READING
            and before is not READING
            and transport is not None
            and not transport.is_closing()
        ):
            transport.resume_reading()
