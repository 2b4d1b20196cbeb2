"""What is told of a run, what may be left out of one, and what a broken invariant is."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pkgutil
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import wherry
from wherry.protocol.states import IllegalMove

# What is imported within a run would take that run's clock for the process's.
for room in ("body", "client", "connect", "middlewares", "protocol", "rest"):
    path = [f"{wherry.__path__[0]}/{room}"]
    for found in pkgutil.walk_packages(path, f"wherry.{room}."):
        import_module(found.name)
import_module("wherry.bulk")  # its engines for clusters are no part of a run

#: When the wall clock of a run begins, in seconds since 1970.
EPOCH = 1_800_000_000.0


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Report:
    """What a run was.

    Attributes:
        seed: From which it follows.
        runs: How many runs are counted in.
        requests: How many were made.
        answered: How many answers came whole.
        failed: How many ended by a documented exception.
        cancelled: How many were cancelled.
        faults: How many faults the network had.
        seconds: Virtual seconds.
        story: What happened, in order; the same for the same seed.
        seen: What happened how often: peers' answers, ways of reading, errors.
    """

    seed: int
    runs: int = 0
    requests: int = 0
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    faults: int = 0
    seconds: float = 0.0
    story: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, other: Report) -> None:
        """Count another run in."""
        for name in ("runs", "requests", "answered", "failed", "cancelled", "faults", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seen.update(other.seen)


@dataclass(frozen=True)
class Variation:
    """What of a seed's run is left out: how a failing one becomes a short one.

    Attributes:
        keep: The actions that are made, by task and number ("3.0"); None is all.
        without: Names of what does not happen: a kind of the network's faults, or "proxies",
            "middlewares", "cancellation", "fading", "early-close", "tls-faults".
    """

    keep: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def arguments(self) -> str:
        """As the command line takes it."""
        words = []
        if self.keep is not None:
            words.append(f"--keep {','.join(sorted(self.keep))}")
        if self.without:
            words.append(f"--without {','.join(sorted(self.without))}")
        return " ".join(words)


def dice_of(seed: int, *names: object) -> random.Random:
    """Dice for one part of a run: what is left out elsewhere changes nothing here."""
    return random.Random("/".join(map(str, (seed, *names))))


@contextlib.contextmanager
def virtual_chance(seed: int) -> Iterator[None]:
    """What is drawn at random follows from the seed, but for what OpenSSL draws."""
    dice = random.Random(seed)
    random.seed(seed)
    real = os.urandom
    os.urandom = random._urandom = dice.randbytes  # type: ignore[attr-defined]
    try:
        yield
    finally:
        os.urandom = random._urandom = real  # type: ignore[attr-defined]


@contextlib.contextmanager
def virtual_clock(now: Callable[[], float]) -> Iterator[None]:
    """The process's clocks are the loop's."""
    virtual: dict[Any, Callable[[], float]] = {
        time.monotonic: now,
        time.time: lambda: EPOCH + now(),
    }
    changed = _clocks(len(sys.modules))
    for module, name, real in changed:
        setattr(module, name, virtual[real])
    try:
        yield
    finally:
        for module, name, real in changed:
            setattr(module, name, real)


@lru_cache(maxsize=1)
def _clocks(modules: int) -> list[tuple[ModuleType, str, Callable[[], float]]]:
    """Where the process's clocks are: module, name and clock, anew when there are more modules."""
    return [
        (module, name, found)
        for key, module in list(sys.modules.items())
        if key.startswith("wherry.") or key == "time"
        for name in ("monotonic", "time")
        if (found := getattr(module, name, None)) in (time.monotonic, time.time)
    ]


class _Errors(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


@contextlib.contextmanager
def nothing_is_left() -> Iterator[None]:
    """Nothing is logged as an error, nothing is told to nobody, no descriptor stays open, and no
    state was left by a way that is none.

    Raises:
        Broken: It was.
    """
    unraisable: list[str] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda told: unraisable.append(repr(told))
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    automatic = gc.isenabled()
    gc.disable()  # when it runs must not depend on what ran before
    gc.freeze()
    open_before = _descriptors()
    IllegalMove.noted.clear()
    try:
        yield
        gc.collect()
        if unraisable:
            raise Broken(f"nobody was told: {unraisable}")
        if errors.told:
            raise Broken(f"logged as errors: {errors.told}")
        if IllegalMove.noted:
            raise Broken(f"states: {IllegalMove.noted}")
        if (left := _descriptors() - open_before) > 0:
            raise Broken(f"{left} descriptors are left open")
    finally:
        IllegalMove.noted.clear()
        gc.unfreeze()
        if automatic:
            gc.enable()
        logging.getLogger().removeHandler(errors)
        sys.unraisablehook = hook
