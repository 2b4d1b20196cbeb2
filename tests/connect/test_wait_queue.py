"""Which waiter deserves a place that another route could keep: pure policy, with times and counts
of the test's own.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wherry.connect.pool.route_pool import RoutePool, Waiter
from wherry.connect.pool.wait_queue import (
    LONGEST_PAUSE,
    MOST_RELUCTANT,
    PAUSE,
    REQUESTS_A_MOVE,
    ROUTE_GRACE,
    WaitQueue,
)


class RoutePools:
    """A line, and route pools that have as many places as a test says."""

    def __init__(self) -> None:
        self.wait_queue = WaitQueue()
        self.now = 1000.0
        self.served = 0

    def route_pool(self, size: int) -> RoutePool:
        route_pool = RoutePool(cast("Any", SimpleNamespace(contexts=())), False)
        route_pool.dialling = size
        return route_pool

    def deserves(
        self, share: int, kept: int, *, stood: float, other_stood: float | None = 0.0
    ) -> bool:
        """Whether who has stood so long, of a route with `share` places, gets one of a route that
        has `kept`.
        """
        first = Waiter(
            self.route_pool(share),
            cast("Any", None),
            cast("asyncio.Future[Any]", None),
            self.now - stood,
        )
        since = None if other_stood is None else self.now - other_stood
        return self.wait_queue.deserves(first, self.route_pool(kept), self.now, self.served, since)

    def move_away(self) -> int:
        """How many requests are served until an equal share is given up, by who waits as long as it
        takes.
        """
        before = self.served
        while not self.deserves(2, 2, stood=1.0):
            self.served += 1
        return self.served - before

    def move_back(self) -> int:
        before = self.served
        while not self.deserves(1, 3, stood=1.0):
            self.served += 1
        return self.served - before


def test_a_route_without_places_gets_one_that_nobody_waits_for_at_once() -> None:
    route_pools = RoutePools()
    for _ in range(5):
        assert route_pools.deserves(0, 1, stood=0.0, other_stood=None)


def test_moves_that_are_taken_back_become_rare() -> None:
    """Hosts that are drawn by chance have queues that grow and shrink: shares stay as they are."""
    route_pools = RoutePools()
    apart = []
    for _ in range(10):
        apart.append(route_pools.move_away())
        assert route_pools.move_back() <= REQUESTS_A_MOVE
    assert apart[-1] == REQUESTS_A_MOVE * MOST_RELUCTANT
    assert sum(apart[5:]) >= 4 * REQUESTS_A_MOVE * MOST_RELUCTANT


def test_moves_that_stay_come_sooner_and_sooner() -> None:
    """A host that is really in demand gets places however even shares were before."""
    route_pools = RoutePools()
    for _ in range(10):
        route_pools.move_away()
        route_pools.move_back()
    apart = [route_pools.move_away() for _ in range(12)]
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] == REQUESTS_A_MOVE
    longer = [requests - REQUESTS_A_MOVE for requests in apart]
    assert sum(longer) < 2 * REQUESTS_A_MOVE * MOST_RELUCTANT


@pytest.mark.parametrize(("share", "longest"), [(0, PAUSE), (1, LONGEST_PAUSE), (2, LONGEST_PAUSE)])
def test_nobody_waits_for_ever_where_answers_take_long(share: int, longest: float) -> None:
    """Requests hardly pass: time does."""
    route_pools = RoutePools()
    for _ in range(10):
        route_pools.move_away()
        route_pools.move_back()
    start = route_pools.now
    while not route_pools.deserves(
        share, max(share, 1), stood=ROUTE_GRACE + route_pools.now - start
    ):
        route_pools.now += PAUSE
    assert route_pools.now - start <= longest + PAUSE


def test_even_shares_come_back_whatever_was_before() -> None:
    route_pools = RoutePools()
    for _ in range(10):
        route_pools.move_away()
        route_pools.move_back()
    for _ in range(50):
        assert route_pools.move_back() <= REQUESTS_A_MOVE


def test_who_waits_hardly_longer_than_others_gets_nothing_of_theirs() -> None:
    route_pools = RoutePools()
    assert not route_pools.deserves(2, 2, stood=1.0 + ROUTE_GRACE, other_stood=1.01)
    assert route_pools.deserves(2, 2, stood=1.01 + ROUTE_GRACE, other_stood=1.0)
