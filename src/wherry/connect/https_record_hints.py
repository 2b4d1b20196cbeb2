"""HTTPS records of the DNS (RFC 9460) as hints that an origin speaks HTTP/3.

For connectors that learn who speaks HTTP/3, and whose resolver can be asked for such records.  A
first request waits for the answer, a twentieth of a second at most; one that comes later serves the
requests after it.  What a record says is tried beside TCP, as all that is learned: DNS vouches for
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from wherry.connect.alt_svc import Alternative, AltSvcStore, TrustKey
from wherry.connect.dns.address_guard import is_literal

if TYPE_CHECKING:
    from wherry.connect.dns.https_records import HttpsRecord
    from wherry.connect.route import Route

# Seconds that a request waits for the records (as Happy Eyeballs version 3 does).
PATIENCE: Final = 0.05
# For how many seconds it is remembered that there is no such record, and that nobody answered.
_NONE_KEPT, _FAILURE_KEPT = 300.0, 30.0
# A record is believed for no longer than this, in seconds.
_LONGEST: Final = 24 * 60 * 60

AskRecords = Callable[[str, int], Awaitable[Sequence["HttpsRecord"]]]


class RecordHints:
    """Asks for records, each origin once, and tells the store.

    Args:
        loop: The event loop.
        store: What is told.
        ask: The resolver's `https_records`.
    """

    __slots__ = ("_ask", "_lookups", "_loop", "_store")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, store: AltSvcStore, ask: AskRecords
    ) -> None:
        self._loop = loop
        self._store = store
        self._ask = ask
        # What is being asked, and until when requests wait for it.
        self._lookups: dict[TrustKey, tuple[asyncio.Task[None], float]] = {}

    async def wait_for(self, route: Route) -> None:
        """Ask about a route's origin, if that is to be done, and wait for the answer a moment."""
        if not route.is_tls or route.hops or route.path is not None:
            return
        origin = route.origin
        key, now = self._store.key(route), self._loop.time()
        if is_literal(origin.host) or not self._store.may_ask(key, now):
            return
        lookup = self._lookups.get(key)
        if lookup is None:
            task = self._loop.create_task(self._look_up(key))
            if task.done():
                return  # an eager one that asked nobody
            lookup = self._lookups[key] = task, now + PATIENCE
            task.add_done_callback(lambda _: self._lookups.pop(key, None))
        if now < lookup[1]:
            await asyncio.wait((lookup[0],), timeout=lookup[1] - now)

    async def _look_up(self, key: TrustKey) -> None:
        origin = key.origin
        try:
            records = await self._ask(origin.host, origin.port)
        except OSError:  # TimeoutError is one
            self._store.learn_record(key, None, _FAILURE_KEPT, self._loop.time())
            return
        found, seconds = None, _NONE_KEPT
        for record in records:
            if "h3" in record.protocols:
                place = record.target or origin.host, record.port or origin.port
                found, seconds = Alternative(*place, "HTTPS record"), min(record.ttl, _LONGEST)
                break
        self._store.learn_record(key, found, seconds, self._loop.time())

    def stop(self) -> list[asyncio.Task[None]]:
        """End what is being asked; gives back what to wait for."""
        tasks = [task for task, _ in self._lookups.values()]
        for task in tasks:
            task.cancel()
        return tasks
