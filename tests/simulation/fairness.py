"""First come, first served: who waits for a connection of a route gets one before who came later."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from wherry.connect.pool.pool import Pool

from .checks import Broken


@contextlib.contextmanager
def first_come_first_served() -> Iterator[None]:
    """Watch every pool.

    Raises:
        Broken: Somebody was served before who waited longer for the same.
    """
    overtaken: list[str] = []
    hand, take = Pool._hand, Pool.take

    def watched_hand(self: Pool, connection: Any, waiter: Any) -> None:
        for other in waiter.route_pool.waiters:
            if other.since < waiter.since and not other.future.done():
                overtaken.append(f"one who waited since {other.since}, by one since {waiter.since}")
        hand(self, connection, waiter)

    def watched_take(self: Pool, route: Any) -> Any:
        connection = take(self, route)
        if connection is not None:
            waiting = [each for each in route.route_pool.waiters if not each.future.done()]
            if waiting:
                overtaken.append(f"{len(waiting)} who waited, by one who just came")
        return connection

    Pool._hand, Pool.take = watched_hand, watched_take  # type: ignore[method-assign]
    try:
        yield
    finally:
        Pool._hand, Pool.take = hand, take  # type: ignore[method-assign]
    if overtaken:
        raise Broken(f"overtaken: {overtaken[0]}")
