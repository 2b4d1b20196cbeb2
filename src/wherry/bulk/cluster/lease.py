"""How long a worker may go on unheard, so that a partition never has two.

A driver that hears no more of a worker cannot tell whether it is dead, slow or cut off, and one
that starts another too early doubles the load on every host of the partition.  So each call of the
driver's allows the worker to go on for `lease` seconds, counted from the answer before it, which
the worker gave before the driver called.  The driver counts from its call, which is later: when its
count has run out, the worker's has too, whatever the network did in between.  Both clocks must run
at the same speed, and nothing else is asked of them.

Where the worker's process is on the driver's machine and has ended, nobody needs to wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Lease:
    """What a worker may still do; it begins with `seconds`.

    Args:
        seconds: How long it may go on without a call.
        clock: Tells the time, in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._answered = clock()
        self.ends: float = self._answered + seconds

    def called(self) -> None:
        """The driver calls: it has heard the answer before."""
        self.ends = self._answered + self._seconds

    def answered(self) -> None:
        """The worker answers now."""
        self._answered = self._clock()

    @property
    def left(self) -> float:
        """The seconds until it ends; below zero once it has."""
        return self.ends - self._clock()


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A process among all of all machines.

    Args:
        machine: This start of the machine, and the namespace of its numbers.
        pid: Its number.
        began: When it began, in ticks of the machine; numbers are given again.
    """

    machine: str
    pid: int
    began: str

    @staticmethod
    def of(pid: int) -> ProcessName | None:
        """The process of this machine with a number; None if there is none, or nobody can tell."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
            space = Path("/proc/self/ns/pid").readlink()
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        # proc(5): the name is in parentheses and may have some in it; the state comes third, the
        # beginning is field 22.
        fields = stat.rpartition(b")")[2].split()
        if fields[0] in {b"Z", b"X"}:
            return None  # it has ended, and its parent has not looked
        return ProcessName(f"{boot} {space}", pid, fields[19].decode())

    @staticmethod
    def own() -> ProcessName | None:
        """The process that asks."""
        return ProcessName.of(os.getpid())

    def has_ended(self) -> bool:
        """Whether it is known to have ended: only a process of this machine can be."""
        mine = ProcessName.own()
        return mine is not None and mine.machine == self.machine and self.of(self.pid) != self
