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
from math import isfinite
from os import PathLike, fspath
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from wherry.client.download.disk_thread import finished
from wherry.middlewares.cache_fields import StoredResponse
from wherry.private_files import make_private
from wherry.protocol.grammar import has_control, has_control_bytes, is_token_bytes

if TYPE_CHECKING:
    import sqlite3
    from concurrent.futures import ThreadPoolExecutor

_T = TypeVar("_T")
MEBIBYTE = 1024 * 1024
# How many variants of one URL are kept: a server that varies on something random must not fill the
# storage.
MAX_VARIANTS = 32


# For so long it is remembered that a URL was dropped: no request is under way for longer.
TOMBSTONE_SECONDS = 86400
# Of how many URLs at most; what was asked for before the oldest of them counts as dropped too.
_MAX_TOMBSTONES = 10_000


class CacheStorage(Protocol):
    """What a storage offers; write your own to keep responses elsewhere.

    One that several programs share should have `save_if_current` too, with the arguments of `save`:
    it keeps nothing that was asked for (`StoredResponse.asked_at`) before the key was last dropped,
    by whatever program.  Ours have it.
    """

    async def load(self, key: str) -> list[StoredResponse]:
        """All responses that are kept under `key`."""

    async def save(self, key: str, stored: StoredResponse) -> None:
        """Keep `stored` under `key`, in place of the response of the same `variant`."""

    async def drop(self, key: str) -> None:
        """Forget all responses under `key`."""

    async def close(self) -> None:
        """Let go of what the storage holds open."""


class MemoryCacheStorage:
    """Keeps responses in memory, for as long as the object lives; event loops in several threads
    may share it.

    Args:
        max_bytes: How much it keeps, 64 MiB by default.
    """

    def __init__(self, max_bytes: int = 64 * MEBIBYTE) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # By key, what was used longest ago first; its variants, the oldest first.
        self._kept: OrderedDict[str, list[StoredResponse]] = OrderedDict()
        self._dropped: OrderedDict[str, float] = OrderedDict()
        self._all_dropped = 0.0
        self._lock = Lock()

    async def load(self, key: str) -> list[StoredResponse]:
        """All responses that are kept under `key`."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return []
            self._kept.move_to_end(key)
            return list(found)

    async def save(self, key: str, stored: StoredResponse) -> None:
        """Keep `stored` under `key`, in place of the response of the same `variant`."""
        with self._lock:
            self._save(key, stored)

    async def save_if_current(self, key: str, stored: StoredResponse) -> None:
        """As `save`, unless `key` was dropped after the response was asked for."""
        with self._lock:
            if stored.asked_at > self._dropped.get(key, self._all_dropped):
                self._save(key, stored)

    def _save(self, key: str, stored: StoredResponse) -> None:
        kept = [each for each in self._forget(key) if each.variant != stored.variant]
        if stored.size <= self._max_bytes:  # else all others would go, and then it as well
            kept = [*kept, stored][-MAX_VARIANTS:]
        if kept:
            self._kept[key] = kept
            self._bytes += sum(each.size for each in kept)
        while self._bytes > self._max_bytes:
            oldest, variants = next(iter(self._kept.items()))
            self._bytes -= variants.pop(0).size
            if not variants:
                del self._kept[oldest]

    async def drop(self, key: str) -> None:
        """Forget all responses under `key`."""
        with self._lock:
            self._forget(key)
            self._dropped[key] = time.time()
            self._dropped.move_to_end(key)
            if len(self._dropped) > _MAX_TOMBSTONES:
                _, self._all_dropped = self._dropped.popitem(last=False)

    def _forget(self, key: str) -> list[StoredResponse]:
        gone = self._kept.pop(key, [])
        self._bytes -= sum(each.size for each in gone)
        return gone

    async def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._dropped.clear()
            self._bytes = 0


_PATIENCE = 10.0  # seconds that a lock of another process or storage is waited for
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT NOT NULL, variant TEXT NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL,
    size INTEGER NOT NULL, used REAL NOT NULL, PRIMARY KEY (key, variant)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON responses (used);
CREATE INDEX IF NOT EXISTS by_size ON responses (size);
CREATE TABLE IF NOT EXISTS dropped (key TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""


def _keep_a_log(database: sqlite3.Connection) -> None:
    """Have SQLite write ahead, so that readers wait for no writer; in the file it stays so.

    Of two that open a new file at once one is refused, and SQLite does not wait there: it would
    hold a lock meanwhile that the other wants.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
        except database.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > until:
                raise
            time.sleep(0.002)  # in the storage's own thread
        else:
            return


class SQLiteCacheStorage:
    """Keeps responses in an SQLite file, which several programs may share.

    All of SQLite runs in one thread of its own, never on the event loop.

    Args:
        path: The file; it is made if there is none, and nobody but its owner may read it.
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
            if self._path not in {"", ":memory:"}:
                # Answers hold secrets.  SQLite gives its journals the mode of the file.
                make_private(self._path)
            # A twentieth of the time that `import wherry` takes, for a storage that few use.
            database = import_module("sqlite3").connect(
                self._path, timeout=_PATIENCE, isolation_level=None
            )
            try:
                _keep_a_log(database)
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
            return [unpack(head, body) for head, body in rows]

        return await self._run(job)

    async def save(self, key: str, stored: StoredResponse) -> None:
        """Keep `stored` under `key`, in place of the response of the same `variant`."""
        await self._save(key, stored, only_if_current=False)

    async def save_if_current(self, key: str, stored: StoredResponse) -> None:
        """Keep `stored` unless some program dropped `key` after the response was asked for."""
        await self._save(key, stored, only_if_current=True)

    async def _save(self, key: str, stored: StoredResponse, *, only_if_current: bool) -> None:
        variant, head = json.dumps(stored.variant), pack_head(stored)
        row = (key, variant, head, stored.body, stored.size, time.time())

        def job(database: sqlite3.Connection) -> None:
            with _transaction(database):
                if only_if_current and _was_dropped_since(database, key, stored.asked_at):
                    return
                if stored.size > self._max_bytes:  # else all others would go, and then it as well
                    database.execute(
                        "DELETE FROM responses WHERE key = ? AND variant = ?", (key, variant)
                    )
                    return
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
            with _transaction(database):
                now = time.time()
                database.execute("DELETE FROM responses WHERE key = ?", (key,))
                database.execute("INSERT OR REPLACE INTO dropped VALUES (?, ?)", (key, now))
                database.execute("DELETE FROM dropped WHERE at < ?", (now - TOMBSTONE_SECONDS,))

        await self._run(job)

    async def close(self) -> None:
        """Close the file and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            job = asyncio.get_running_loop().run_in_executor(thread, self._close)
            try:
                await finished(job)
            finally:
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
        if exc_type is not None:
            self._database.execute("ROLLBACK")
            return
        try:
            self._database.execute("COMMIT")
        except BaseException:
            # Of a full disk, for example: without this no transaction could begin any more.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


def _was_dropped_since(database: sqlite3.Connection, key: str, moment: float) -> bool:
    row = database.execute("SELECT at FROM dropped WHERE key = ?", (key,)).fetchone()
    return row is not None and row[0] >= moment


def pack_head(stored: StoredResponse) -> str:
    """All of a response but its body, as one line of ASCII."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in stored.headers]
    return json.dumps(
        [stored.status, stored.reason, headers, stored.asked_at, stored.came_at, stored.variant]
    )


def unpack(head: str | bytes, body: bytes) -> StoredResponse:
    """What `pack_head` made, and the body, as a response again.

    Raises:
        ValueError: It was not made so: others may write to a storage too.
    """
    try:
        status, reason, headers, asked_at, came_at, variant = json.loads(head)
        raw = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
        selected = tuple((name, value) for name, value in variant)
    except (TypeError, AttributeError, RecursionError) as exc:
        raise ValueError(f"this is no kept response: {exc}") from exc
    stored = StoredResponse(status, reason, raw, body, asked_at, came_at, selected)
    if not _is_sound(stored):
        raise ValueError("this is no kept response")
    return stored


def _is_sound(stored: StoredResponse) -> bool:
    """Whether a response that was read is of the types, and of the characters, that one has."""
    return (
        type(stored.status) is int
        and 200 <= stored.status <= 999
        and isinstance(stored.reason, str)
        and not has_control(stored.reason)
        and isinstance(stored.body, bytes)
        and all(
            is_token_bytes(name) and not has_control_bytes(value) for name, value in stored.headers
        )
        and all(type(at) in (int, float) for at in (stored.asked_at, stored.came_at))
        and isfinite(stored.asked_at)
        and isfinite(stored.came_at)
        and all(isinstance(part, str) for pair in stored.variant for part in pair)
    )
