"""A connection that a program holds for itself, outside any request of a session."""

from __future__ import annotations

import asyncio

from wherry.connect.pool.exchange_reservation import Reservation
from wherry.connect.pool.pool import Pool
from wherry.protocol.connection import Connection


class BorrowedConnection:
    """A pooled connection in a program's hands, until `release` or `close`.

    Args:
        pool: Where it goes back to.
        connection: The connection.
        place: What keeps its place meanwhile, where an exchange is to start on it.
    """

    __slots__ = ("_connection", "_place", "_pool")

    def __init__(
        self, pool: Pool, connection: Connection, place: Reservation | None = None
    ) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._place = place

    @property
    def protocol(self) -> Connection | None:
        """What speaks on the transport; None once it was given back."""
        return self._connection

    @property
    def transport(self) -> asyncio.Transport | None:
        return None if self._connection is None else self._connection.transport

    @property
    def closed(self) -> bool:
        """Whether there is nothing to write to any more."""
        transport = self.transport
        return transport is None or transport.is_closing()

    def release(self) -> None:
        """Give the connection back; only where nothing was written to it."""
        connection, self._connection = self._connection, None
        if self._place is not None:
            self._place.give_back()
        elif connection is not None:
            self._pool.put_back(connection)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
