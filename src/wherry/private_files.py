"""Files that may hold secrets: from their first byte nobody else can read them.

A mode that is set after a file was made comes too late, for whoever has opened it in between reads
on.  On Windows the directory's permissions decide, as they do for all files there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

__all__ = ("make_private", "open_private", "write_private")

_SAFELY = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def make_private(path: str | os.PathLike[str]) -> None:
    """See that there is a file for others to fill that nobody else can read; make an empty one if
    there is none.

    One that belongs to somebody else stays as it is.

    Raises:
        OSError: It cannot be made.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600))
    except FileExistsError:
        found = Path(path).stat()
        if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
            with contextlib.suppress(PermissionError):
                Path(path).chmod(0o600)


def open_private(path: str | os.PathLike[str]) -> int:
    """A descriptor for writing a file from its beginning; what was in it is gone.

    Raises:
        OSError: It cannot be made.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | _SAFELY, 0o600)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)
            if hasattr(os, "fchmod"):
                os.fchmod(fd, 0o600)  # one that was there already
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_private(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` into a file, whole or not at all; into a pipe or a terminal as it is.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(path)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as file:
                file.write(data)
            return
    unfinished = path.with_name(f".{secrets.token_hex(8)}.tmp")
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
