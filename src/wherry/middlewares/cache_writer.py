"""Keeping what comes: whether a response may be kept, reading it, and the storage that it goes to.

A storage that fails costs its service, not the request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDictProxy

from wherry.body.stream.reader import StreamReader
from wherry.client.interfaces import body_so_far
from wherry.errors import ClientPayloadError
from wherry.middlewares.cache_collapsing import Flight, Flights
from wherry.middlewares.cache_fields import Headers, StoredResponse
from wherry.middlewares.cache_key import Asker, credentials, variant_of
from wherry.middlewares.cache_key_of_route import PartitionNames
from wherry.middlewares.cache_policy import (
    is_kept_decoded,
    is_undone,
    kept_headers,
    may_store,
    updated,
)
from wherry.middlewares.cache_ranges import combined
from wherry.middlewares.cache_storage import CacheStorage
from wherry.middlewares.cache_tee import Tee

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse

_logger = logging.getLogger("wherry.client")


class Visit(NamedTuple):
    """A request as the cache met it: middlewares further inside may change what it holds now."""

    request: ClientRequest
    handler: ClientHandlerType
    key: str
    asker: Asker
    headers: CIMultiDictProxy[str]


class Keeper:
    """Puts responses into a storage.

    Args:
        storage: Where they are kept.
        partitions: Names which part of the cache a request belongs to.
        flights: What is under way.
        now: The time of day, in seconds since the epoch.
        max_body: The largest body that is kept, in bytes.
        heuristic: As for the cache.
        set_cookie: Whether Set-Cookie is kept too.
    """

    def __init__(
        self,
        storage: CacheStorage,
        partitions: PartitionNames,
        flights: Flights,
        now: Callable[[], float],
        *,
        max_body: int,
        heuristic: bool,
        set_cookie: bool,
    ) -> None:
        self.max_body = max_body
        self._storage = storage
        self._partitions = partitions
        self._flights = flights
        self._now = now
        self._heuristic = heuristic
        self._set_cookie = set_cookie
        # Bodies that are handed over while they come; they end with their responses.
        self._bodies: set[asyncio.Task[None]] = set()

    async def load(self, key: str) -> list[StoredResponse]:
        """All that is kept under `key`."""
        try:
            return await self._storage.load(key)
        except Exception as exc:
            _logger.warning("The cache could not be read: %r", exc)
            return []

    async def save(self, key: str, stored: StoredResponse, flight: Flight) -> None:
        """Keep a response, unless what it tells is gone by now."""
        if flight.outdated:
            return
        try:
            # A storage that others use too knows of their unsafe requests.
            await getattr(self._storage, "save_if_current", self._storage.save)(key, stored)
            if flight.outdated:
                await self._storage.drop(key)
        except Exception as exc:
            _logger.warning("The cache could not be written: %r", exc)

    async def drop(self, key: str) -> None:
        """Forget what is kept under `key`."""
        try:
            await self._storage.drop(key)
        except Exception as exc:
            _logger.warning("The cache could not be written: %r", exc)

    async def drop_unless_outdated(self, key: str, flight: Flight) -> None:
        """Forget what is kept, unless that came after `flight` set out."""
        if not flight.outdated:
            await self.drop(key)

    async def keep(
        self, visit: Visit, response: ClientResponse, asked_at: float, flight: Flight
    ) -> bool:
        """Keep a response if it may be kept, now or while it is read; it can be read as before."""
        made = self._may_keep(visit, response, asked_at)
        if made is None:
            return False
        content = response.content
        limit = self._limit(response)
        if (
            body_so_far(response) is None
            and limit is not None
            and isinstance(content, StreamReader)  # not a mock's, all of which is there
            and not content.is_eof()
        ):
            self._keep_while_read(visit.key, response, made, flight, limit)
            return True
        body = await self.read(response)
        if body is None:
            return False
        await self.save(visit.key, made._replace(body=body, came_at=self._now()), flight)
        self._flights.land(flight)
        return True

    def _may_keep(
        self, visit: Visit, response: ClientResponse, asked_at: float
    ) -> StoredResponse | None:
        """A response as it would be kept, without its body; None where it may not be."""
        headers = response.headers
        if not may_store(visit.headers, response.status, headers, heuristic=self._heuristic):
            return None
        if is_undone(headers) and getattr(response.content, "decoder", None) is None:
            return None  # raw content, because the program wanted it so: nobody else might
        request = visit.request
        if self._partitions.asker(request).partition != visit.asker.partition:
            return None  # it went another way than the one that it would be found by
        owned = _credentials_of(request.headers, visit) != _credentials_of(visit.headers, visit)
        if owned:
            self._partitions.note_inside(request)
        variant = variant_of(visit.headers, headers, visit.asker, owned=owned)
        if variant is None:
            return None
        kept = kept_headers(response.raw_headers, set_cookie=self._set_cookie)
        return StoredResponse(
            response.status, response.reason or "", kept, b"", asked_at, self._now(), variant
        )

    def _keep_while_read(
        self, key: str, response: ClientResponse, made: StoredResponse, flight: Flight, limit: int
    ) -> None:
        """Hand a response over as it comes, and keep it when it is whole."""

        async def keep(body: bytes) -> None:
            await self.save(key, made._replace(body=body, came_at=self._now()), flight)

        def passed() -> None:
            self._flights.note_passed(key)
            self._flights.land(flight)

        tee = Tee(response.content, limit, keep, passed)

        def ended(_: asyncio.Task[None]) -> None:
            flight.cancelled = tee.given_up
            self._flights.land(flight)

        response.content = tee.stream
        task = asyncio.get_running_loop().create_task(tee.run())
        self._bodies.add(task)
        task.add_done_callback(ended)
        task.add_done_callback(self._bodies.discard)

    def _limit(self, response: ClientResponse) -> int | None:
        """How large the body may be to be kept; None where it says that it is larger."""
        most = getattr(response.content, "max_size", None)
        limit = self.max_body if most is None else min(self.max_body, most)
        length = response.content_length
        return None if length is not None and length > limit else limit

    async def read(self, response: ClientResponse) -> bytes | None:
        """The body, which is then put back; None where it is larger than what is kept, bad, or was
        read in part.
        """
        whole = body_so_far(response)
        if whole is not None:  # a middleware further in has read it
            return whole if len(whole) <= self.max_body else None
        content = response.content
        if self._limit(response) is None:
            return None
        if not isinstance(content, StreamReader):
            body = await response.read()
            return body if len(body) <= self.max_body else None
        pieces = []
        size = 0
        try:
            while piece := await content.readany():
                pieces.append(piece)
                size += len(piece)
                if size > self.max_body:
                    break
        except ClientPayloadError:
            content.put_back(b"".join(pieces))
            return None  # whoever reads the response meets it, as without a cache
        except BaseException:
            response.close()
            raise
        body = b"".join(pieces)
        content.put_back(body)
        return body if size <= self.max_body and size == content.total_bytes else None

    async def joined(
        self, visit: Visit, stored: StoredResponse, response: ClientResponse, asked_at: float
    ) -> StoredResponse | None:
        """What is kept and a part that came, as one (RFC 9111 3.4)."""
        if is_kept_decoded(stored) or "Content-Encoding" in response.headers:
            return None
        body = await self.read(response)
        if body is None:
            return None
        news = kept_headers(response.raw_headers, set_cookie=self._set_cookie)
        part = StoredResponse(
            206, response.reason or "", news, body, asked_at, self._now(), stored.variant
        )
        return combined(stored, part, updated(stored.headers, news), self.max_body)


def _credentials_of(headers: Headers, visit: Visit) -> list[tuple[str, list[str]]]:
    """The fields that say who asks, with their values."""
    names = {*credentials(headers, visit.asker.credentials), "cookie"}
    return [(name, headers.getall(name, [])) for name in sorted(names)]
