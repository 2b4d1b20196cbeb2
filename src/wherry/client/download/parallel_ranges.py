"""One file over several connections: slices of it, each by a range request.

The first slice has told how long the file is and by which validator each further one is asked
(RFC 9110 13.1.5).  Slices are taken in order, so that what there is without gaps is almost all
there is, and a download that breaks off is resumed.  Whoever gets no slice (too many connections, a
server that is busy) leaves it to the others; where the last one fails, the download fails.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Protocol

from wherry.client.download.part_file import Part
from wherry.client.download.plan import Answer, Request, Step, decide
from wherry.client.download.receive import ExcessError, Pace, receive
from wherry.errors import ClientError

__all__ = ("SLICE", "fetch")

# Large against the cost of a request, small against what a connection may be behind the others.
SLICE: Final = 2**22
# Of one slice, without a byte of progress.
TRIES: Final = 3


class Job(Protocol):
    """What fetches: its part, and how to ask."""

    part: Part
    pace: Pace | None

    def get(self, request: Request) -> Any: ...

    def answer(self, response: Any) -> Answer: ...

    def failure(self, response: Any) -> ClientError: ...

    def _tell(self, size: int, total: int | None) -> None: ...


class _Refused(Exception):
    """The server does not go along with ranges."""


async def fetch(job: Job, connections: int) -> bool:
    """Fetch all that is missing behind `job.part.held.size`.

    Returns:
        False where the server does not answer with the ranges that are asked for.

    Raises:
        ClientError: The last connection failed.
        OSError: The disk takes no more.
    """
    return await _Fetch(job, connections).run()


async def _end(tasks: list[asyncio.Task[None]]) -> asyncio.CancelledError | None:
    """Cancel tasks and wait for their end, whoever cancels meanwhile: that is given back."""
    cancelled = None
    for task in tasks:
        task.cancel()
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled


class _Fetch:
    def __init__(self, job: Job, connections: int) -> None:
        held = job.part.held
        assert held.total is not None
        self._job = job
        self._held = held
        self._missing = deque(
            (first, min(first + SLICE, held.total)) for first in range(held.size, held.total, SLICE)
        )
        self._workers = min(connections, len(self._missing))
        self._size = held.size
        self._error: BaseException | None = None

    async def run(self) -> bool:
        workers = self._workers
        while self._missing:
            before = self._size
            failures = await self._together(workers)
            # Of tasks that fail together the first one tells why.
            if any(isinstance(failure, _Refused) for failure in failures):
                return False
            if failures:
                raise failures[0]
            if self._missing and self._size == before:
                assert self._error is not None
                raise self._error
            # What was left by one when the others had ended.
            workers = 1
        return True

    async def _together(self, workers: int) -> list[BaseException]:
        """Let so many work until all are done or one fails, which ends the others.

        No `asyncio.TaskGroup`: up to Python 3.12 one that fails cannot be told from one whose own
        task was cancelled.

        Returns:
            How those failed that failed.
        """
        tasks = [asyncio.create_task(self._work()) for _ in range(workers)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            cancelled = await _end(tasks)
            endings = [None if task.cancelled() else task.exception() for task in tasks]
            failures = [failure for failure in endings if failure is not None]
        if cancelled is not None:
            raise cancelled
        return failures

    async def _work(self) -> None:
        """Take slices until there are none."""
        while self._missing:
            first, end = self._missing.popleft()
            tries = 0
            while first < end:
                try:
                    got = await self._slice(first, end)
                except (ClientError, TimeoutError) as exc:
                    got, self._error = first, exc
                if got > first:
                    first, tries = got, 0
                    continue
                tries += 1
                if tries == TRIES:
                    # Others may have more luck; what is missing goes before all else.
                    self._missing.appendleft((first, end))
                    return

    async def _slice(self, first: int, end: int) -> int:
        """Ask for a slice; gives how far it came."""
        held = self._held._replace(size=first)
        request = Request(first, end - 1, held.validator)
        reached = first

        def tell(offset: int) -> None:
            nonlocal reached
            self._size += offset - reached
            reached = offset
            self._job._tell(self._size, held.total)

        async with self._job.get(request) as response:
            answer = self._job.answer(response)
            move = decide(held, request, answer)
            if move.step is Step.ERROR:
                raise self._job.failure(response)
            if move.step is not Step.APPEND:
                response.close()
                raise _Refused
            try:
                return await receive(
                    response, self._job.part, first, move.end, tell, self._job.pace
                )
            except ExcessError:
                raise _Refused from None
            except (ClientError, TimeoutError) as exc:
                self._error = exc
                return reached
