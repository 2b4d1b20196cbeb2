"""Which URL is fetched next: at most so many of a host at once, a host's rate, and fairness.

Hosts that may be asked now stand in a ring, and each turn takes one URL of the first: a host with
a million URLs gets no more turns than one with ten.  A host that must wait (its rate, Retry-After,
a rest) stands in a heap until its time, and holds up nobody.  What waits is bounded in memory: a
host keeps a few URLs there and the rest on disk, and the input is read only while there is room or
somebody could work and has nothing to do.

A state machine without I/O: the time is an argument, so it runs in virtual time as well.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Final

from wherry.bulk.backlog_on_disk import Overflow
from wherry.bulk.hosts import Host, Hosts, Job

# URLs of one host in memory while there is room for all.
_OF_ONE_HOST: Final = 64
# A host with so many that wait for a further try starts nothing new: it is not well.
_MOST_WAITING: Final = 16


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """What a scheduler keeps to.

    Args:
        per_host: URLs of one host at once.
        interval: Seconds between two starts at one host, at least.
        buffer: URLs in memory that wait, about.
        hosts: Hosts that may be known at once.
    """

    per_host: int = 4
    interval: float = 0.0
    buffer: int = 2000
    hosts: int = 50_000


class Scheduler:
    """Says what to fetch next.

    Args:
        limits: What it keeps to.
        overflow: Where queues go that are too long for memory.
    """

    def __init__(self, limits: SchedulerLimits, overflow: Overflow) -> None:
        self._limits = limits
        self._overflow = overflow
        self.hosts: Hosts = Hosts(limits.hosts)
        self.queued: int = 0  # in memory
        self.spilled: int = 0  # on disk
        self.active: int = 0
        self.waiting: int = 0  # for a further try
        self._ready: deque[Host] = deque()
        # (when, number, host, job): a job whose time for a further try has come, or a host alone.
        self._wakes: list[tuple[float, int, Host, Job | None]] = []
        self._number = 0

    @property
    def pending(self) -> int:
        """URLs that wait, wherever."""
        return self.queued + self.spilled + self.waiting

    @property
    def idle(self) -> bool:
        """Whether nothing waits, and nothing is being fetched."""
        return not (self.active or self.pending)

    @property
    def ready(self) -> int:
        """How many hosts may be asked now."""
        return len(self._ready)

    def allowance(self, now: float, *, starving: bool) -> int:
        """How many URLs should be read from the input.

        Args:
            now: The time.
            starving: Whether somebody has nothing to do.
        """
        room = self._limits.buffer - self.queued
        if room <= 0:
            room = int(starving and not self._ready)
        return room if room and self.hosts.has_room(now) else 0

    def add(self, job: Job, now: float) -> None:
        """A job comes in, behind the others of its host."""
        host = self.hosts.of(job.target, now)
        queue = host.queue
        most = _OF_ONE_HOST if self.queued < self._limits.buffer else 1
        if host.spilled or len(queue) >= most:
            self._overflow.push(host.number, job)
            host.spilled += 1
            self.spilled += 1
        else:
            queue.append(job)
            self.queued += 1
            if not host.listed:
                self._place(host, now)

    def again(self, job: Job, now: float, delay: float = 0.0) -> None:
        """A job that was begun comes back, before the others of its host.

        Args:
            job: The job.
            now: The time.
            delay: Seconds until it may start.
        """
        host = self.hosts.of(job.target, now)
        if delay > 0:
            host.waiting += 1
            self.waiting += 1
            self._wake(now + delay, host, job)
        else:
            host.queue.appendleft(job)
            self.queued += 1
            self._place(host, now)

    def take(self, now: float) -> tuple[Job, Host] | None:
        """The job that starts now; None if none may."""
        if self._wakes and self._wakes[0][0] <= now:
            self.rouse(now)
        while self._ready:
            host = self._ready.popleft()
            host.listed = False
            if host.held or max(host.next_at, host.rests_until) > now:
                self._place(host, now)
                continue
            if not host.queue:
                self._refill(host)
            job = host.queue.popleft()
            self.queued -= 1
            self.active += 1
            host.active += 1
            interval = max(self._limits.interval, host.delay)
            if interval and host.dead_until <= now:
                host.next_at = now + interval
            self._place(host, now)
            return job, host
        return None

    def finished(self, host: Host, now: float) -> None:
        """A job of a host is no longer being fetched."""
        host.active -= 1
        self.active -= 1
        if not host.listed:
            self._place(host, now)

    def hold(self, host: Host) -> None:
        """Start nothing of a host."""
        host.held = True

    def release(self, host: Host, now: float) -> None:
        """What is held may start again."""
        host.held = False
        self._place(host, now)

    def next_time(self) -> float | None:
        """When something may start that may not now; None if time changes nothing."""
        return self._wakes[0][0] if self._wakes else None

    def _place(self, host: Host, now: float) -> None:
        """Put a host in the ring if it may be asked, or in the heap if it may later."""
        if host.listed or host.held or not (host.queue or host.spilled):
            return
        if host.dead_until <= now:
            # Who is not well is tried by one alone.
            most = 1 if host.trips or host.strikes else self._limits.per_host
            if host.active >= most or host.waiting >= _MOST_WAITING:
                return
            when = max(host.next_at, host.rests_until)
            if when > now:
                host.listed = True
                self._wake(when, host, None)
                return
        host.listed = True
        self._ready.append(host)

    def _wake(self, when: float, host: Host, job: Job | None) -> None:
        self._number += 1
        heapq.heappush(self._wakes, (when, self._number, host, job))

    def rouse(self, now: float) -> None:
        """Those whose time has come."""
        while self._wakes and self._wakes[0][0] <= now:
            _, _, host, job = heapq.heappop(self._wakes)
            if job is None:
                host.listed = False
            else:
                host.waiting -= 1
                self.waiting -= 1
                host.queue.appendleft(job)
                self.queued += 1
            self._place(host, now)

    def _refill(self, host: Host) -> None:
        host.queue = jobs = self._overflow.pop(host.number, _OF_ONE_HOST)
        host.spilled -= len(jobs)
        self.spilled -= len(jobs)
        self.queued += len(jobs)
