"""`WriteGate`: whether a connection's transport takes more bytes, and who waits until it does."""

from __future__ import annotations

import asyncio

from wherry.errors import ClientConnectionResetError


class WriteGate:
    """Holds writers back while the transport is full; `paused` says whether it is."""

    __slots__ = ("_waiters", "paused")

    def __init__(self) -> None:
        self.paused: bool = False
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return when the transport takes more.

        Raises:
            ClientConnectionResetError: The connection was lost meanwhile.
        """
        if not self.paused:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def resume(self) -> None:
        """The transport takes more."""
        self.paused = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def lose(self) -> None:
        """The connection is gone."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(ClientConnectionResetError("Connection lost"))
