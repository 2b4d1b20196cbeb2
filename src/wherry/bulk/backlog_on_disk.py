"""What does not fit in memory: a temporary database for queues that are too long, and for the URLs
that were seen.

It belongs to one run and has no name: SQLite removes it when it is closed, and the system when we
are killed.  What must outlive a run is the checkpoint's.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from hashlib import blake2b
from typing import Final

from wherry.bulk.hosts import Job

_BATCH: Final = 500
_CACHE: Final = 16 * 1024  # KiB that SQLite may hold in memory


def key_of(text: str) -> bytes:
    """What stands for a URL or a digest where many are remembered: 128 bits, so that two of a
    billion are alike with a chance of one to 10**20.
    """
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


class Overflow:
    """Queues on disk, each first in, first out."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._batch: list[tuple[int, int, str, int, bool]] = []
        self._count = 0

    @property
    def connection(self) -> sqlite3.Connection:
        """The database, which is made when it is first needed."""
        if self._connection is None:
            # An empty name: a temporary file that only SQLite knows.
            connection = sqlite3.connect("", isolation_level=None)
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA cache_size = -{_CACHE}")
            connection.execute(
                "CREATE TABLE queued (host INT, number INT, url TEXT, depth INT, trusted INT,"
                " PRIMARY KEY (host, number)) WITHOUT ROWID"
            )
            # One transaction that never ends: nothing here is to be kept.
            connection.execute("BEGIN")
            self._connection = connection
        return self._connection

    def push(self, queue: int, job: Job) -> None:
        """Put a job that was not tried yet at the end of a queue."""
        self._count += 1
        self._batch.append((queue, self._count, job.url, job.depth, job.trusted))
        if len(self._batch) >= _BATCH:
            self._write()

    def _write(self) -> None:
        self.connection.executemany("INSERT INTO queued VALUES (?, ?, ?, ?, ?)", self._batch)
        self._batch.clear()

    def pop(self, queue: int, count: int) -> deque[Job]:
        """Take the first of a queue, at most so many."""
        if self._batch:
            self._write()
        rows = self.connection.execute(
            "SELECT number, url, depth, trusted FROM queued WHERE host = ? ORDER BY number LIMIT ?",
            (queue, count),
        ).fetchall()
        if rows:
            self.connection.execute(
                "DELETE FROM queued WHERE host = ? AND number <= ?", (queue, rows[-1][0])
            )
        return deque(Job(url, depth, bool(trusted)) for _, url, depth, trusted in rows)

    def close(self) -> None:
        """End, and leave nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Backlog:
    """One queue, its first part in memory, the rest on disk.

    Args:
        overflow: Where the rest goes, as queue 0.
        most: How many jobs are in memory.
    """

    def __init__(self, overflow: Overflow, most: int = 5000) -> None:
        self._overflow = overflow
        self._most = most
        self._memory: deque[Job] = deque()
        self._spilled = 0

    def __len__(self) -> int:
        return len(self._memory) + self._spilled

    def push(self, job: Job) -> None:
        """Put a job at the end."""
        if self._spilled or len(self._memory) >= self._most:
            self._overflow.push(0, job)
            self._spilled += 1
        else:
            self._memory.append(job)

    def pop(self) -> Job:
        """Take the first.

        Raises:
            IndexError: There is none.
        """
        if not self._memory and self._spilled:
            self._memory = self._overflow.pop(0, self._most)
            self._spilled -= len(self._memory)
        return self._memory.popleft()


class Seen:
    """The keys that were seen: the first in memory, and when they are many all on disk.

    Args:
        overflow: Where they go.
        table: The name of their table there.
        most: How many stay in memory.
    """

    def __init__(self, overflow: Overflow, table: str, most: int = 250_000) -> None:
        self._overflow = overflow
        self._insert = f"INSERT OR IGNORE INTO {table} VALUES (?)"  # noqa: S608 - our own name
        self._create = f"CREATE TABLE {table} (key BLOB PRIMARY KEY) WITHOUT ROWID"
        self._most = most
        self._memory: set[bytes] | None = set()

    def add(self, key: bytes) -> bool:
        """Remember a key; False if it was seen before."""
        memory = self._memory
        if memory is None:
            return self._overflow.connection.execute(self._insert, (key,)).rowcount == 1
        if key in memory:
            return False
        memory.add(key)
        if len(memory) >= self._most:
            self._overflow.connection.execute(self._create)
            self._overflow.connection.executemany(
                self._insert, ((each,) for each in sorted(memory))
            )
            self._memory = None
        return True
