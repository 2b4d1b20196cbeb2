"""Where `CacheMiddleware` keeps responses: in memory, or in an SQLite file.

A storage keeps and finds; it judges nothing.  Both forget what was used longest ago when they are
full.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from wherry.middlewares.cache_fields import StoredResponse

if TYPE_CHECKING:
    import sqlite3
    from concurrent.futures import ThreadPoolExecutor

_T = TypeVar("_T")
MEBIBYTE = 1024 * 1024
# How many variants of one URL are kept: a server that varies on something random must not fill the
# storage.
MAX_VARIANTS = 32


class CacheStorage(Protocol):
    """What a storage offers; write your own to keep responses elsewhere."""

    async def load(self, key: str) -> list[StoredResponse]:
        """All responses that are kept under `key`."""

    async def save(self, key: str, stored: StoredResponse) -> None:
        """Keep a response; it takes the place of the one of the same `variant`."""

    async def drop(self, key: str) -> None:
        """Forget all responses under `key`."""

    async def close(self) -> None:
        """Let go of what the storage holds open."""


class MemoryCacheStorage:
    """Keeps responses in memory, for as long as the object lives.

    Args:
        max_bytes: How much it keeps, 64 MiB by default.
    """

    def __init__(self, max_bytes: int = 64 * MEBIBYTE) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, list[StoredResponse]] = OrderedDict()

    async def load(self, key: str) -> list[StoredResponse]:
        """All responses that are kept under `key`."""
        found = self._kept.get(key)
        if found is None:
            return []
        self._kept.move_to_end(key)
        return found

    async def save(self, key: str, stored: StoredResponse) -> None:
        """Keep a response; it takes the place of the one of the same `variant`."""
        others = [each for each in self._forget(key) if each.variant != stored.variant]
        kept = [*others, stored][-MAX_VARIANTS:]
        self._kept[key] = kept
        self._bytes += sum(each.size for each in kept)
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    async def drop(self, key: str) -> None:
        """Forget all responses under `key`."""
        self._forget(key)

    def _forget(self, key: str) -> list[StoredResponse]:
        gone = self._kept.pop(key, [])
        self._bytes -= sum(each.size for each in gone)
        return gone

    async def close(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._bytes = 0


_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT NOT NULL, variant TEXT NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL,
    size INTEGER NOT NULL, used REAL NOT NULL, PRIMARY KEY (key, variant)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON responses (used);
"""


class SQLiteCacheStorage:
    """Keeps responses in an SQLite file, which several programs may share.

    All of SQLite runs in one thread of its own, never on the event loop.

    Args:
        path: The file; it is made if there is none.
        max_bytes: How much it keeps, 256 MiB by default.
    """

    def __init__(self, path: str | PathLike[str], max_bytes: int = 256 * MEBIBYTE) -> None:
        self._path = fspath(path)
        self._max_bytes = max_bytes
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    async def _run(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._thread is None:
            self._thread = import_module("concurrent.futures").ThreadPoolExecutor(
                max_workers=1, thread_name_prefix="wherry-cache"
            )
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: job(self._open())
        )

    def _open(self) -> sqlite3.Connection:
        database = self._database
        if database is None:
            # A twentieth of the time that `import wherry` takes, for a storage that few use.
            database = import_module("sqlite3").connect(
                self._path, timeout=10, isolation_level=None
            )
            try:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=NORMAL")
                database.executescript(_SCHEMA)
            except BaseException:
                database.close()
                raise
            self._database = database
        return database

    async def load(self, key: str) -> list[StoredResponse]:
        """All responses that are kept under `key`."""

        def job(database: sqlite3.Connection) -> list[StoredResponse]:
            rows = database.execute(
                "SELECT head, body FROM responses WHERE key = ?", (key,)
            ).fetchall()
            if rows:
                database.execute("UPDATE responses SET used = ? WHERE key = ?", (time.time(), key))
            return [_unpack(head, body) for head, body in rows]

        return await self._run(job)

    async def save(self, key: str, stored: StoredResponse) -> None:
        """Keep a response; it takes the place of the one of the same `variant`."""
        row = (
            key,
            json.dumps(stored.variant),
            _pack(stored),
            stored.body,
            stored.size,
            time.time(),
        )

        def job(database: sqlite3.Connection) -> None:
            with _transaction(database):
                database.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?)", row)
                database.execute(
                    "DELETE FROM responses WHERE key = ? AND variant NOT IN "
                    "(SELECT variant FROM responses WHERE key = ? ORDER BY used DESC LIMIT ?)",
                    (key, key, MAX_VARIANTS),
                )
                self._make_place(database)

        await self._run(job)

    def _make_place(self, database: sqlite3.Connection) -> None:
        (total,) = database.execute("SELECT total(size) FROM responses").fetchone()
        while total > self._max_bytes:
            key, variant, size = database.execute(
                "SELECT key, variant, size FROM responses ORDER BY used LIMIT 1"
            ).fetchone()
            database.execute("DELETE FROM responses WHERE key = ? AND variant = ?", (key, variant))
            total -= size

    async def drop(self, key: str) -> None:
        """Forget all responses under `key`."""

        def job(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM responses WHERE key = ?", (key,))

        await self._run(job)

    async def close(self) -> None:
        """Close the file and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


class _transaction:  # noqa: N801  (reads as a statement)
    """All of it, or nothing."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, exc_type: Any, *_: object) -> None:
        self._database.execute("COMMIT" if exc_type is None else "ROLLBACK")


def _pack(stored: StoredResponse) -> str:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in stored.headers]
    return json.dumps(
        [stored.status, stored.reason, headers, stored.asked_at, stored.came_at, stored.variant]
    )


def _unpack(head: str, body: bytes) -> StoredResponse:
    status, reason, headers, asked_at, came_at, variant = json.loads(head)
    raw = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
    return StoredResponse(
        status,
        reason,
        raw,
        body,
        asked_at,
        came_at,
        tuple((name, value) for name, value in variant),
    )
