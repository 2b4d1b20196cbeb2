"""The life of a connection: five states, and the only moves between them.

    NEW ----start---> ACTIVE <--start---- IDLE
                      |  |  ----finish----^
                      |  drain
                      |  v
                      |  DRAINING         and from each of them: close -> CLOSED

A move is named by what happens, and its table says where that leads from each state in which it may
happen.  Everything that happens at all stands here: what is not in a table is a fault of ours, is
raised where it is made, and noted in `IllegalMove.noted`, for tests to find it where something
between has swallowed it.

`Connection._move` moves.  The two moves that each request makes are made without a call, by the
same look-up: `self.state = START[self.state]`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final


class ConnectionState(StrEnum):
    """Where a connection is in its life.  A text, whose hash is no call, as `Enum`'s is."""

    NEW = "new"  # it has carried nothing yet
    IDLE = "idle"  # it has, and carries nothing now
    ACTIVE = "active"  # exchanges, or a tunnel, are under way
    DRAINING = "draining"  # nothing starts any more; what is under way goes on
    CLOSED = "closed"  # or on its way to that: nothing is under way


class IllegalMove(RuntimeError):
    """A connection was to do what its state does not let it do: a fault of wherry's."""

    noted: ClassVar[list[str]] = []


class Moves(dict[ConnectionState, ConnectionState]):
    """Where one kind of event leads, by the state in which it happens.

    Args:
        event: What happens.
        table: From which state to which.
    """

    __slots__ = ("event",)

    def __init__(self, event: str, table: dict[ConnectionState, ConnectionState]) -> None:
        super().__init__(table)
        self.event: str = event

    def __missing__(self, state: ConnectionState) -> ConnectionState:
        error = IllegalMove(f"a connection that is {state.value} cannot {self.event}")
        IllegalMove.noted.append(str(error))
        raise error


NEW, IDLE, ACTIVE, DRAINING, CLOSED = ConnectionState

#: An exchange starts where none is under way.
START: Final = Moves("start", {NEW: ACTIVE, IDLE: ACTIVE})
#: The last exchange ends, and another may start.
FINISH: Final = Moves("finish", {ACTIVE: IDLE})
#: Nothing starts any more, and something is under way; `retire` closes where nothing is.
DRAIN: Final = Moves("drain", {ACTIVE: DRAINING, DRAINING: DRAINING})
#: The end: what is under way has ended or fails.
CLOSE: Final = Moves("close", dict.fromkeys(ConnectionState, CLOSED))

MOVES: Final = (START, FINISH, DRAIN, CLOSE)
