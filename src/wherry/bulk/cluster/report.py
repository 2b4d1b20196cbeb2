"""What a cluster's run says of itself at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class ClusterReport:
    """What became of all URLs, those of earlier starts of the same run too.

    Args:
        urls: How many URLs are done: each counts once.
        pages: How many of them gave a page.
        bytes: The size of the pages' bodies.
        statuses: How often each status code came.
        errors: How often each kind of error ended a URL.
        seconds: How long this start took.
        starts: How many workers were started.
        lost: How many workers were lost, with their node or alone.
        moved: How often a partition moved to a node that was added.
        failed_partitions: Why partitions were given up, by their number; the same call tries
            them again.
    """

    urls: int = 0
    pages: int = 0
    bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    starts: int = 0
    lost: int = 0
    moved: int = 0
    failed_partitions: dict[int, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """How many URLs gave no page."""
        return self.urls - self.pages

    @property
    def ok(self) -> bool:
        """Whether every URL is done; some may have failed."""
        return not self.failed_partitions

    def add(self, counts: Counts) -> None:
        """Take in a partition."""
        self.urls += counts.urls
        self.pages += counts.pages
        self.bytes += counts.bytes
        self.statuses.update(counts.statuses)
        self.errors.update(counts.errors)


@dataclass(slots=True)
class Counts:
    """What became of a partition's URLs."""

    urls: int = 0
    pages: int = 0
    bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
