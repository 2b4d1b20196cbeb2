"""Notes on parts and finished files, and the lock that keeps two downloads of one file apart.

They lie in a hidden directory beside the file, which only its owner may enter: no name that a
server or a list of URLs gives begins with a dot, and what is in it is named by a digest.  A note
tells what a part was trusted under.  URLs are kept as digests only, for they may hold secrets.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from wherry.client.download.plan import Held

__all__ = ("DIRECTORY", "Note", "Notes", "digest_of")

DIRECTORY: Final = ".wherry-downloads"
_VERSION: Final = 1
_SAFELY: Final = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
# Another may remove the lock's file between our opening and locking it.
_TRIES: Final = 20


def digest_of(text: str) -> str:
    """A text as it stands in notes."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Note(NamedTuple):
    """What was noted: for which URL, what there is, a part's digest, a finished file's stamp."""

    asked: str
    held: Held
    digest: str
    stamp: list[int]


class Notes:
    """The notes on one file.

    Args:
        path: The wanted file.
    """

    def __init__(self, path: Path) -> None:
        self._directory = path.parent / DIRECTORY
        name = hashlib.sha256(os.fsencode(os.path.normcase(path.name))).hexdigest()[:32]
        self.part: Path = self._directory / f"{name}.part"
        self._file = self._directory / f"{name}.json"
        self._lock_file = self._directory / f"{name}.lock"
        self._shown = path
        self._lock: int | None = None

    # --- the lock -------------------------------------------------------------------------------

    def lock(self) -> None:
        """Be the only download of the file.

        Raises:
            FileExistsError: Another one is under way.
            PermissionError: The directory is another user's, or others may write to it.
        """
        for _ in range(_TRIES):
            self._make_directory()
            try:
                fd = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | _SAFELY, 0o600)
            except FileNotFoundError:
                continue  # the directory was just removed as empty
            try:
                _lock_now(fd)
                # What was locked must be what others find, too.
                if os.path.samestat(os.fstat(fd), self._lock_file.lstat()):
                    self._lock = fd
                    return
            except FileNotFoundError:
                pass
            except BlockingIOError:
                os.close(fd)
                raise FileExistsError(
                    errno.EEXIST, "another download is making this file", str(self._shown)
                ) from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise FileExistsError(
            errno.EEXIST, "other downloads are making this file", str(self._shown)
        )

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(0o700)
        except FileExistsError:
            found = self._directory.lstat()
            foreign = hasattr(os, "geteuid") and (
                found.st_uid != os.geteuid() or found.st_mode & 0o022
            )
            if not stat.S_ISDIR(found.st_mode) or foreign:
                raise PermissionError(
                    errno.EACCES,
                    "this must be a directory of yours that nobody else may write to",
                    str(self._directory),
                ) from None

    def unlock(self) -> None:
        """Let others have it; a directory without notes goes too."""
        fd, self._lock = self._lock, None
        if fd is None:
            return
        with contextlib.suppress(OSError):
            # While it is locked: whoever opened it before finds that it is not the one any more.
            self._lock_file.unlink()
        os.close(fd)
        with contextlib.suppress(OSError):
            if os.name == "nt":
                self._lock_file.unlink()  # there, an open file cannot go
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    # --- the notes ------------------------------------------------------------------------------

    @property
    def exist(self) -> bool:
        """Whether there is a note of ours, whatever it says: what lies beside it is ours too."""
        return self._load() is not None

    def read(self) -> Note | None:
        """What was noted of the file; None for nothing of use."""
        data = self._load()
        try:
            found: Any = json.loads(data or b"")
            if found["wherry_download"] != _VERSION:
                return None
            held = Held(*(found[name] for name in Held._fields))
            note = Note(found["asked"], held, found["digest"], found["stamp"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return note if _is_sound(note) else None

    def _load(self) -> bytes | None:
        try:
            fd = os.open(self._file, os.O_RDONLY | _SAFELY | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                return None
            return file.read(2**16)

    def write(self, asked: str, held: Held, digest: str, stamp: list[int] | None = None) -> None:
        """Note what there is; whole or not at all."""
        note = {
            "wherry_download": _VERSION,
            "asked": asked,
            **held._asdict(),
            "digest": digest,
            "stamp": stamp or [],
        }
        unfinished = self._directory / f"{secrets.token_hex(8)}.tmp"
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump(note, file)
            unfinished.replace(self._file)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise

    def forget(self) -> None:
        """There is nothing to be noted any more."""
        with contextlib.suppress(OSError):
            self._file.unlink()


def _is_sound(note: Note) -> bool:
    held = note.held
    return (
        _is_size(held.size)
        and (held.total is None or (_is_size(held.total) and held.size <= held.total))
        and (held.validator is None or isinstance(held.validator, str))
        and isinstance(held.coding, str)
        and isinstance(held.place, str)
        and isinstance(held.finished, bool)
        and isinstance(note.digest, str)
        and isinstance(note.stamp, list)
    )


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _lock_now(fd: int) -> None:
    """Lock a file, or fail: the lock ends with the process, however that ends.

    Raises:
        BlockingIOError: Another has it.
    """
    if os.name == "nt":
        windows = import_module("msvcrt")
        try:
            windows.locking(fd, windows.LK_NBLCK, 1)
        except OSError as exc:
            raise BlockingIOError(*exc.args) from exc
        return
    fcntl = import_module("fcntl")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as exc:
        if exc.errno in {errno.EAGAIN, errno.EACCES}:
            raise BlockingIOError(*exc.args) from exc
        raise OSError(
            exc.errno, f"{exc.strerror}: without locks, download without resume="
        ) from exc
