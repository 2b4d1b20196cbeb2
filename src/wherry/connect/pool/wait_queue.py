"""The queue of requests that wait for a place, and who of them deserves one that another route
could keep.

Places are few (`limit`), and a connection serves one route.  So a place that comes free is either
kept, for the next request to the same route, or given up for the first in the queue.  Dialling
costs ten requests: who gives up too readily does nothing else, and who keeps too long lets the
others stand.  Pure policy: what time it is, callers say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from wherry.connect.pool.route_pool import RoutePool, Waiter
from wherry.connect.route import Origin

# A waiter whose route has its share of places waits for one of them, until it has stood this many
# seconds (longer than the one who would be served).
ROUTE_GRACE = 0.05
# A place that one route could keep moves to another once in so many seconds, or once in so many
# requests that were served meanwhile: where demand goes from host to host, each would else give up
# what it needs again at once.
PAUSE = 0.05
REQUESTS_A_MOVE = 30
# A move away from even shares is that much rarer while such moves are taken back again, which is
# how demand looks that goes from host to host by chance; while they are not, one host is really in
# demand, and the next may come sooner.
# More reluctance costs fewer dials and makes the slowest requests slower: by these, one request in
# fifty dials at most, and the slowest hundredth waits four times the median.
RELUCTANCE = 4.0
MOST_RELUCTANT = 4.0
# Where answers take long few requests are served, and dialling costs little beside them: the pause
# grows less.
LONGEST_PAUSE = 0.2

# The queue in which nobody has waited yet: a deque of its own would be a tenth of a session.
_NOBODY: deque[Waiter] = deque()
_NEVER = (0.0, 0)


class WaitQueue:
    """Who waits: requests of all routes without room to dial.

    `waiters` are those who stand in it, oldest first, and some who have left it (no longer
    `queued`).
    """

    __slots__ = ("_moved", "_reluctance", "waiters")

    def __init__(self) -> None:
        self.waiters: deque[Waiter] = _NOBODY
        self._moved = _NEVER  # when a place moved, and how many requests had been served by then
        self._reluctance = RELUCTANCE

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
        waiter.route_pool.queued += 1
        if self.waiters is _NOBODY:
            self.waiters = deque()
        self.waiters.append(waiter)

    def clear(self) -> None:
        self.waiters = _NOBODY

    def first(self, has_room: Callable[[Origin], bool]) -> Waiter | None:
        """The first whose host's own limit lets it have a connection."""
        return next((waiter for waiter in self if has_room(waiter.route_pool.route.counted)), None)

    def leave(self, waiter: Waiter) -> None:
        """Take `waiter` out: it has a connection, or a place to dial one."""
        waiter.queued = False
        waiter.route_pool.queued -= 1
        if self.waiters and self.waiters[0] is waiter:
            self.waiters.popleft()

    def deserves(
        self, first: Waiter, keeper: RoutePool, now: float, served: int, since: float | None = None
    ) -> bool:
        """Whether a place that `keeper` could keep should be that of `first`.

        Args:
            first: The first in the queue.
            keeper: The route pool whose place it is.
            now: The time, in seconds.
            served: How many requests kept connections have served so far.
            since: Since when somebody of `keeper`'s own waits for the place; None where nobody
                does.
        """
        share = first.route_pool.size
        if not share and since is None:
            return True
        if share + 1 < keeper.size:
            # It moves towards an even share, and will not move back.
            if (since is not None and first.since >= since) or not self._may_move(now, served):
                return False
            self._reluctance = min(self._reluctance * 4, MOST_RELUCTANT)
            return True
        if (now if since is None else since) - first.since < ROUTE_GRACE:
            return False
        return self._may_move_away(now, served) if share else self._may_move(now, served)

    def is_due(self, first: Waiter, now: float, served: int) -> bool:
        """Whether an idle connection of another route, whichever, is to make room for `first`."""
        return not first.route_pool.size or (
            now - first.since >= ROUTE_GRACE and self._may_move_away(now, served)
        )

    def _may_move_away(self, now: float, served: int) -> bool:
        """Whether a place may go to another route though that makes shares less even."""
        if not self._may_move(now, served, self._reluctance):
            return False
        self._reluctance = max(self._reluctance / 2, 1.0)
        return True

    def _may_move(self, now: float, served: int, reluctance: float = 1.0) -> bool:
        """Whether a place may go to another route again; if so, it goes."""
        moved_at, served_by_then = self._moved
        pause = min(PAUSE * reluctance, LONGEST_PAUSE)
        if now - moved_at < pause and served - served_by_then < REQUESTS_A_MOVE * reluctance:
            return False
        self._moved = now, served
        return True
