"""The line of requests that wait for room, and who of them deserves a place that another route could keep.

Places are few (`limit`), and a connection serves one route.  So a place that comes free is either kept, for the next
request to the same route, or given up for the first in line.  Dialling costs ten requests: who gives up too readily
does nothing else, and who keeps too long lets the others stand.  Pure policy: what time it is, callers say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from wherry.connect.lane import Lane, Waiter
from wherry.connect.route import Origin

# A waiter whose route has its share of places waits for one of them, until it has stood this many seconds (longer
# than the one who would be served).
PATIENCE = 0.05
# Seconds between two places that move to a route for its waiters' patience alone: under a load that makes all wait
# for longer than that, connections would be closed and dialled for nothing.
PAUSE = 0.005

# The line in which nobody has waited yet: a deque of its own would be a tenth of a session.
_NOBODY: deque[Waiter] = deque()


class Line:
    """Who waits: requests of all routes without room to dial.

    `waiters` are those who stand in it, oldest first, and some who have left it (no longer `queued`).
    """

    __slots__ = ("_moved_at", "waiters")

    def __init__(self) -> None:
        self.waiters = _NOBODY
        self._moved_at = 0.0

    def __bool__(self) -> bool:
        """Whether anybody stands in it; those at its head who have left it are dropped."""
        waiters = self.waiters
        while waiters and not waiters[0].queued:
            waiters.popleft()
        return bool(waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for waiter in self.waiters if waiter.queued)

    def append(self, waiter: Waiter) -> None:
        waiter.queued = True
        waiter.lane.queued += 1
        if self.waiters is _NOBODY:
            self.waiters = deque()
        self.waiters.append(waiter)

    def clear(self) -> None:
        self.waiters = _NOBODY

    def first(self, has_room: Callable[[Origin], bool]) -> Waiter | None:
        """The first whose host's own limit lets it have a connection."""
        return next((waiter for waiter in self if has_room(waiter.lane.route.origin)), None)

    def leave(self, waiter: Waiter) -> None:
        """`waiter` has been served, or has room now."""
        waiter.queued = False
        waiter.lane.queued -= 1
        if self.waiters and self.waiters[0] is waiter:
            self.waiters.popleft()

    def deserves(self, first: Waiter, keeper: Lane, now: float, since: float | None = None) -> bool:
        """Whether a place that `keeper` could keep should be that of `first`.

        Args:
            first: The first in line.
            keeper: The lane whose place it is.
            now: The time, in seconds.
            since: Since when somebody of `keeper`'s own waits for the place; None where nobody does.
        """
        share = first.lane.size
        if not share and since is None:
            return True
        if share + 1 < keeper.size:
            # It moves towards an even share, and will not move back.
            return since is None or first.since < since
        if (now if since is None else since) - first.since < PATIENCE or now - self._moved_at < PAUSE:
            return False
        self._moved_at = now
        return True
