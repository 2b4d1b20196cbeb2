"""A place on a connection that is spoken for, until an exchange starts on it.

Whoever must wait between getting a connection and starting an exchange (a listener that is
notified, a custom class that sends, a task that has not run yet) holds a `Reservation` meanwhile.
Nobody else gets the place, and the connection is not closed as an idle one.  It ends once, however
often it is ended: `use` says that an exchange starts now, before anything else runs; `give_back`
that none will.  Leaving it as a context manager gives back what was not used.  Nothing else changes
`Connection.reserved`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from wherry.protocol.connection import Connection


class PlaceKeeper(Protocol):
    """Where a place goes back to: the pool."""

    def put_back(self, connection: Connection) -> None:
        """Take `connection` back, on which nothing was started."""


class Reservation:
    """One place of `connection`, kept for whoever holds this.

    Args:
        connection: The connection.
        keeper: Where the place goes back to if it is not used.
    """

    __slots__ = ("_held", "_keeper", "connection")

    def __init__(self, connection: Connection, keeper: PlaceKeeper) -> None:
        self.connection: Connection = connection
        self._keeper: PlaceKeeper | None = keeper
        self._held = True
        connection.reserved += 1

    def __repr__(self) -> str:
        state = "held" if self._held else "used" if self._keeper is not None else "given back"
        return f"<Reservation {state} {self.connection!r}>"

    def use(self) -> Connection:
        """The connection; an exchange starts on it before anything else runs.

        Raises:
            RuntimeError: The place was used or given back before.
        """
        if not self._held:
            raise RuntimeError("the place was used or given back already")
        self._held = False
        self.connection.reserved -= 1
        return self.connection

    def give_back(self) -> None:
        """Nothing was started, be it that the place was used in vain, and nothing will be.

        Harmless when it was given back before.
        """
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if self._held:
            self._held = False
            self.connection.reserved -= 1
        keeper.put_back(self.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._held:
            self.give_back()
