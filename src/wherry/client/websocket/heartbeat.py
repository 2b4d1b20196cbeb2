"""The heartbeat of a WebSocket: a ping after silence, and the end of a peer that does not
answer.

A ping that stands behind a large message on a slow line cannot be answered in time.  So a peer is
alive while bytes leave or come, and it is asked again; it is dead when neither has moved for the
time that an answer may take.

Nothing is asked while reading is stopped because the program is slow.  The answer could not be
heard.  And a peer that has said its last words and closed its socket answers a ping by a reset,
which takes away all that its system had still to send, its close code included.  When the program
reads again, a whole time of silence begins anew.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from wherry.errors import ClientConnectionResetError, ServerTimeoutError
from wherry.protocol.tcp_progress import LineProgress
from wherry.protocol.websocket.masking import Buffer
from wherry.protocol.websocket.messages import WSMsgType
from wherry.protocol.write_gate import WriteGate


class Watched(Protocol):
    """What a heartbeat asks of its channel."""

    heard_at: float
    write_gate: WriteGate

    @property
    def is_paused(self) -> bool: ...

    def send(self, opcode: int, payload: Buffer) -> None: ...

    def progress(self) -> LineProgress: ...

    def fail(self, error: BaseException) -> None: ...


class Heartbeat:
    """Sends a ping after a time of silence, and ends a channel whose peer stays silent after that.

    Args:
        channel: The channel.
        loop: The event loop.
        seconds: The time of silence; half of it is the time for the answer.
    """

    __slots__ = ("_channel", "_loop", "_seconds", "_timer")

    def __init__(self, channel: Watched, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._channel = channel
        self._loop = loop
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._channel.heard_at = self._loop.time()
        self._timer = self._loop.call_at(self._channel.heard_at + self._seconds, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        """One timer for all: data that came moves a time stamp, and the timer looks at that when it
        fires.
        """
        channel = self._channel
        now = self._loop.time()
        due = channel.heard_at + self._seconds
        if now < due:
            self._timer = self._loop.call_at(due, self._tick)
        elif channel.is_paused:
            self._timer = self._loop.call_at(now + self._seconds, self._tick)
        else:
            self._ask(channel.progress())

    def _ask(self, before: LineProgress) -> None:
        """Send a ping, where the peer takes anything, and look for its answer later.

        Args:
            before: How far the line was before the ping.
        """
        channel = self._channel
        if not channel.write_gate.paused:
            # A connection that is about to be lost is heard out first, and `connection_lost` stops
            # the heartbeat; if that does not come, there is no answer either.
            with suppress(ClientConnectionResetError):
                channel.send(WSMsgType.PING, b"")
        self._timer = self._loop.call_later(
            self._seconds / 2, self._expect, self._loop.time(), before
        )

    def _expect(self, asked_at: float, before: LineProgress) -> None:
        """The answer must be here; whatever came counts, and nothing can have come while reading is
        stopped.
        """
        channel = self._channel
        if channel.is_paused:
            channel.heard_at = self._loop.time()
        if channel.heard_at >= asked_at:
            self._timer = self._loop.call_at(channel.heard_at + self._seconds, self._tick)
            return
        now = channel.progress()
        if now.moved_since(before):
            self._ask(now)
        else:
            self._timer = None
            channel.fail(
                ServerTimeoutError(f"No PONG received after {self._seconds / 2:g} seconds")
            )
