"""How many connections there may be: in all, and to one host.  It counts places, and never sees
what is in them.
"""

from __future__ import annotations

from wherry.connect.route import Origin


class ConnectionLimits:
    """Places for connections, those that are being made included.

    Args:
        limit: How many in all, 0 for no limit.
        limit_per_host: How many to one (host, port, is_ssl), 0 for no limit.
    """

    __slots__ = ("_taken_by", "limit", "limit_per_host", "taken")

    def __init__(self, limit: int, limit_per_host: int) -> None:
        self.limit: int = limit
        self.limit_per_host: int = limit_per_host
        self.taken: int = 0
        self._taken_by: dict[Origin, int] = {}

    def is_full(self) -> bool:
        """Whether the limit in all is reached."""
        return bool(self.limit) and self.taken >= self.limit

    def admits(self, origin: Origin) -> bool:
        """Whether the limit for one host leaves a place."""
        return not self.limit_per_host or self._taken_by.get(origin, 0) < self.limit_per_host

    def taken_by(self, origin: Origin) -> int:
        """How many places one host has."""
        return self._taken_by.get(origin, 0)

    def has(self, origin: Origin) -> bool:
        """Whether one more connection may be made."""
        return self.admits(origin) and not self.is_full()

    def take(self, origin: Origin) -> None:
        """Take a place, for a connection that is being made."""
        self.taken += 1
        self._taken_by[origin] = self._taken_by.get(origin, 0) + 1

    def give_back(self, origin: Origin) -> None:
        """Give a place back: its connection was not made, or is gone."""
        self.taken -= 1
        left = self._taken_by[origin] - 1
        if left:
            self._taken_by[origin] = left
        else:
            del self._taken_by[origin]
