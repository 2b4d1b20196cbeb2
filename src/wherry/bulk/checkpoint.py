"""What is done: a SQLite file that agrees with the output whenever the process is killed.

A commit has two phases.  `prepared` writes which URLs are in which shards, while no shard is
visible yet; `committed` is written when all are.  Whoever starts after a kill in between asks the
sink which shards are visible (`recover`): their URLs are done, the others wait again.  Links are
written before the page that has them is done, so that none is lost.

Knows URLs, keys and shards; never a session or a queue.  `committed` and `prepared` may be called
in a thread of their own.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wherry.bulk.backlog_on_disk import key_of
from wherry.bulk.sinks.base import Shard, shard_of
from wherry.private_files import make_private

_VERSION: Final = "1"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (key BLOB PRIMARY KEY, failed INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (key BLOB PRIMARY KEY, url TEXT, error TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digests (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS found
    (number INTEGER PRIMARY KEY, url TEXT, depth INT, trusted INT, key BLOB UNIQUE);
CREATE TABLE IF NOT EXISTS prepared (key BLOB PRIMARY KEY, failed INT, shard TEXT, digest BLOB);
CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY, temporary TEXT, count INT, bytes INT);
"""


class CheckpointError(Exception):
    """A checkpoint cannot be used: another process has it, or it is none of ours."""


@dataclass(slots=True)
class Outcome:
    """What is to be written of one URL.

    Args:
        url: The URL, in its one form.
        error: What was said of its failure; None if the page is there.
        place: Where the sink has it; None where it has not.
        digest: The body's digest where bodies are compared.
        status: The status code of the last try; None where none came.
        bytes: The size of the body.
        attempts: How often it was asked for.
        handed: Where its redirects led, if the host there is another's to ask; its end is theirs.
        hops: How many redirects that were.
        came: How many there were when we were handed it; 0 for a URL of the input.
    """

    url: str
    error: str | None = None
    place: str | None = None
    digest: str | None = None
    status: int | None = None
    bytes: int = 0
    attempts: int = 0
    handed: str | None = None
    hops: int = 0
    came: int = 0


def key_of_job(url: str, came: int) -> bytes:
    """The key of a URL, or of what is left of it after some redirects, which may lead back."""
    return key_of(f"{url}\n{came}" if came else url)


def _row_of(outcome: Outcome) -> tuple[bytes, bool, str | None, bytes | None]:
    place, digest = outcome.place, outcome.digest
    return (
        key_of_job(outcome.url, outcome.came),
        outcome.error is not None,
        None if place is None else shard_of(place),
        None if digest is None else bytes.fromhex(digest)[:16],
    )


class Checkpoint:
    """A file that knows what is done.

    Args:
        path: The file; it is made if it is not there.

    Raises:
        CheckpointError: Another process uses it, or it is not a checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        # Who commits in a thread is the only one who writes.
        try:
            make_private(path)  # URLs may have secrets; SQLite's further files have its mode
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=0
            )
        except (sqlite3.Error, OSError) as exc:
            raise CheckpointError(f"the checkpoint {path} cannot be used: {exc}") from exc
        try:
            self._open()
        except sqlite3.Error as exc:
            self._connection.close()
            why = "another process uses it" if "locked" in str(exc) else str(exc)
            raise CheckpointError(f"the checkpoint {path} cannot be used: {why}") from exc
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> None:
        execute = self._connection.execute
        # Who else opens it finds it locked, for as long as we live.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA cache_size = -16384")
        execute("BEGIN IMMEDIATE")
        known = {row[0] for row in execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if known and "about" not in known:
            raise CheckpointError(f"{self._path} is a database, and no checkpoint")
        execute("COMMIT")
        self._connection.executescript(_SCHEMA)
        execute("BEGIN IMMEDIATE")
        if self._about("version", _VERSION) != _VERSION:
            raise CheckpointError(f"the checkpoint {self._path} is of another version of wherry")
        self._stem = self._about("run", secrets.token_hex(4))
        self._starts = int(self._about("starts", "0"))
        execute("COMMIT")
        self.was_used: bool = False  # whether an earlier start may have done anything

    def _about(self, name: str, default: str) -> str:
        self._connection.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, default))
        row = self._connection.execute("SELECT value FROM about WHERE name = ?", (name,))
        return str(row.fetchone()[0])

    def bind(self, where: str) -> None:
        """Say where the pages of this start go: what is done is there, and would be missing from
        another place.

        Args:
            where: As `Sink.where` says it.

        Raises:
            CheckpointError: Something was done, and is in another place.
        """
        with self._transaction():
            known = self._about("into", where)
            if known == where:
                return
            if self._connection.execute("SELECT 1 FROM done LIMIT 1").fetchone() is not None:
                raise CheckpointError(
                    f"the checkpoint {self._path} is of a run into {known}, and what it has done "
                    f"is not in {where}: go on with that place, or begin with another checkpoint"
                )
            self._connection.execute("UPDATE about SET value = ? WHERE name = 'into'", (where,))

    def begin(self) -> str:
        """Begin a new start; returns its name, which no other start of any checkpoint has."""
        self.was_used = self._starts > 0
        self._starts += 1
        with self._transaction():
            self._connection.execute(
                "UPDATE about SET value = ? WHERE name = 'starts'", (str(self._starts),)
            )
        return f"{self._stem}.{self._starts}"

    async def recover(
        self, present: Callable[[Sequence[Shard]], Awaitable[Collection[str]]] | None
    ) -> None:
        """Settle what a dead run had prepared.

        Args:
            present: Gives the names of those shards that are visible; None where there is no sink.
        """
        rows = self._connection.execute("SELECT name, temporary, count, bytes FROM shards")
        shards = [Shard(*row) for row in rows]
        visible: Collection[str] = ()
        if shards and present is not None:
            visible = await present(shards)
        missing = [(shard.name,) for shard in shards if shard.name not in visible]
        with self._transaction():
            self._connection.executemany("DELETE FROM prepared WHERE shard = ?", missing)
            self._settle()

    def owns(self, url: str) -> bool:
        """Whether the host of a URL is ours to ask: on one machine all are."""
        return True

    def forget_failures(self) -> None:
        """Have the URLs that failed fetched again."""
        with self._transaction():
            self._connection.execute("DELETE FROM done WHERE failed")
            self._connection.execute("DELETE FROM failures")

    def is_done(self, key: bytes) -> bool:
        """Whether a URL was done by an earlier start."""
        if not self.was_used:
            return False
        with self._lock:
            found = self._connection.execute("SELECT 1 FROM done WHERE key = ?", (key,))
            return found.fetchone() is not None

    def knows_digest(self, key: bytes) -> bool:
        """Whether an earlier start has kept a body with this digest."""
        if not self.was_used:
            return False
        with self._lock:
            found = self._connection.execute("SELECT 1 FROM digests WHERE key = ?", (key,))
            return found.fetchone() is not None

    def count(self) -> tuple[int, int]:
        """How many pages are there, and how many URLs have failed."""
        with self._lock:
            found = self._connection.execute(
                "SELECT count(*) - ifnull(sum(failed), 0), ifnull(sum(failed), 0) FROM done"
            ).fetchone()
        return int(found[0]), int(found[1])

    def failures(self) -> Iterator[tuple[str, str]]:
        """The URLs that failed for good, and why."""
        with self._lock:
            yield from self._connection.execute("SELECT url, error FROM failures").fetchall()

    def found(self) -> Iterator[tuple[str, int, bool]]:
        """The links that earlier starts found and did not fetch: URL, depth, whether trusted."""
        last = 0
        while True:
            with self._lock:
                rows = self._connection.execute(
                    "SELECT number, url, depth, trusted FROM found WHERE number > ?"
                    " AND NOT EXISTS (SELECT 1 FROM done WHERE done.key = found.key)"
                    " ORDER BY number LIMIT 500",
                    (last,),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for _, url, depth, trusted in rows:
                yield url, depth, bool(trusted)

    def prepared(
        self,
        shards: Sequence[Shard],
        outcomes: Sequence[Outcome],
        found: Sequence[tuple[str, int, bool]] = (),
    ) -> None:
        """The first phase: which URLs are in which shards, none of them visible yet.

        Args:
            shards: The shards.
            outcomes: What became of the URLs since the last commit.
            found: The links that were found since then: URL, depth, whether trusted.
        """
        with self._transaction():
            write = self._connection.executemany
            write(
                "INSERT INTO shards VALUES (?, ?, ?, ?)",
                [(each.name, each.temporary, each.count, each.bytes) for each in shards],
            )
            write("INSERT OR REPLACE INTO prepared VALUES (?, ?, ?, ?)", map(_row_of, outcomes))
            write(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?)",
                [
                    (key_of_job(each.url, each.came), each.url, each.error)
                    for each in outcomes
                    if each.error
                ],
            )
            write(
                "INSERT OR IGNORE INTO found (url, depth, trusted, key) VALUES (?, ?, ?, ?)",
                [(*link, key_of(link[0])) for link in found],
            )

    def committed(self) -> None:
        """The second phase: all that was prepared is visible, or has nothing to show."""
        with self._transaction():
            self._settle()

    def _settle(self) -> None:
        execute = self._connection.execute
        execute("INSERT OR REPLACE INTO done SELECT key, failed FROM prepared")
        execute(
            "INSERT OR IGNORE INTO digests SELECT digest FROM prepared WHERE digest IS NOT NULL"
        )
        execute("DELETE FROM prepared")
        execute("DELETE FROM shards")

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection, self._lock, self._path)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


class _Transaction:
    """A transaction of SQLite: all or nothing, and no other writer meanwhile.

    Raises:
        CheckpointError: It cannot be written; its disk is full, for one.
    """

    __slots__ = ("_connection", "_lock", "_path")

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock, path: Path) -> None:
        self._connection = connection
        self._lock = lock
        self._path = path

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException as exc:
            self._lock.release()
            self._tell(exc)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            error = exc
        finally:
            if self._connection.in_transaction:  # SQLite ends it by itself where a disk is full
                self._connection.execute("ROLLBACK")
            self._lock.release()
        self._tell(error)

    def _tell(self, exc: BaseException | None) -> None:
        if isinstance(exc, sqlite3.Error):
            raise CheckpointError(f"the checkpoint {self._path} cannot be written: {exc}") from exc
