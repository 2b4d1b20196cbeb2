"""The lives of a connection and of an exchange: their states, and the only moves between them.

What lives inside one module has its table at the top of that: see `http1.response_reader` (a
message) and `http1.read_pacing` (reading).

    NEW ----start---> ACTIVE <--start---- IDLE
                      |  |  ----finish----^
                      |  drain
                      |  v
                      |  DRAINING         and from each of them: close -> CLOSED

    AWAITING --answer--> RECEIVING --end------> COMPLETE
        |                 |   |
        |                 |   switch -> SWITCHED
        |---- fail -----> FAILED          and where all comes in one read: AWAITING -> COMPLETE

A move is named by what happens, and its table says where that leads from each state in which it may
happen.  Everything that happens at all stands here: what is not in a table is a fault of ours, is
raised where it is made, and noted in `IllegalMove.noted`, for tests to find it where something
between has swallowed it.

A `_move` moves each.  The moves that each request makes are made without a call, by the same
look-up: `self.state = START[self.state]`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final, TypeVar


class ConnectionState(StrEnum):
    """Where a connection is in its life.  A text, whose hash is no call, as `Enum`'s is."""

    NEW = "new"  # it has carried nothing yet
    IDLE = "idle"  # it has, and carries nothing now
    ACTIVE = "active"  # exchanges, or a tunnel, are under way
    DRAINING = "draining"  # nothing starts any more; what is under way goes on
    CLOSED = "closed"  # or on its way to that: nothing is under way


class ExchangeState(StrEnum):
    """How far the response of an exchange has come."""

    AWAITING = "awaiting its head"
    RECEIVING = "receiving"  # the head is here, and the body, or a tunnel, is under way
    COMPLETE = "complete"
    SWITCHED = "switched"  # the connection's bytes are a tunnel's: as complete as it will be
    FAILED = "failed"

    complete: bool  # the response's last byte is in
    ended: bool  # so or otherwise

    def __init__(self, word: str) -> None:
        self.complete = word in {"complete", "switched"}
        self.ended = self.complete or word == "failed"


class IllegalMove(RuntimeError):
    """A connection or an exchange was to do what its state does not allow: a fault of wherry's."""

    noted: ClassVar[list[str]] = []


S = TypeVar("S", bound=StrEnum)


class Moves(dict[S, S]):
    """Where one kind of event leads, by the state in which it happens.

    Args:
        event: What happens.
        table: From which state to which.
        what: What has the states, for the error.
    """

    __slots__ = ("event", "what")

    def __init__(self, event: str, table: dict[S, S], what: str = "a connection") -> None:
        super().__init__(table)
        self.event: str = event
        self.what: str = what

    def __missing__(self, state: S) -> S:
        error = IllegalMove(f"{self.what} that is {state.value} cannot {self.event}")
        IllegalMove.noted.append(str(error))
        raise error


NEW, IDLE, ACTIVE, DRAINING, CLOSED = ConnectionState
AWAITING, RECEIVING, COMPLETE, SWITCHED, FAILED = ExchangeState

#: An exchange starts where none is under way.
START: Final = Moves("start", {NEW: ACTIVE, IDLE: ACTIVE})
#: The last exchange ends, and another may start.
FINISH: Final = Moves("finish", {ACTIVE: IDLE})
#: Nothing starts any more, and something is under way; `retire` closes where nothing is.
DRAIN: Final = Moves("drain", {ACTIVE: DRAINING, DRAINING: DRAINING})
#: The end: what is under way has ended or fails.
CLOSE: Final = Moves("close", dict.fromkeys(ConnectionState, CLOSED))

#: The final head is here; of what has failed, whatever comes changes nothing.
ANSWER: Final = Moves("answer", {AWAITING: RECEIVING, FAILED: FAILED}, "an exchange")
#: The response's last byte is in, perhaps with its first.
END: Final = Moves("end", {AWAITING: COMPLETE, RECEIVING: COMPLETE, FAILED: FAILED}, "an exchange")
#: The connection's bytes are somebody else's from here on (RFC 9110 7.8).
SWITCH: Final = Moves("switch", {RECEIVING: SWITCHED}, "an exchange")
#: There will be no more of the response.
FAIL: Final = Moves("fail", {AWAITING: FAILED, RECEIVING: FAILED}, "an exchange")

MOVES: Final = (START, FINISH, DRAIN, CLOSE)
EXCHANGE_MOVES: Final = (ANSWER, END, SWITCH, FAIL)
