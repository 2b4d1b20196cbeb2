"""Names of files: those that a server chooses, made harmless, and targets that can be files at all.

Pure but for looking at what is on the disk.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ("check_target", "numbered", "safe_name", "shortened")

# Bytes of a name that a server chose: file systems take 255.
LONGEST_NAME: Final = 200
# Control characters, the mark of alternate streams, and what makes a name look like another one:
# ends of lines, what turns the direction of writing, and what has no width.
_SPOOFING: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f:\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
_OUTSIDE: Final = re.compile(r"\A[\s.]++|(?<![\s.])[\s.]++\Z")
# What Windows does not take in a name, and the names of its devices, whatever follows the dot.
_WINDOWS: Final = re.compile(r'[<>"|?*]')
_DEVICE: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3])(?: *\..*)?", re.IGNORECASE
)


def safe_name(text: str | None, *, windows: bool = os.name == "nt") -> str:
    """What a peer calls a file, as a name that leads nowhere else; "" if nothing is left of it.

    It never begins with a dot: such names are hidden, and those of our own files.
    """
    name = re.split(r"[/\\]", text or "")[-1]
    name = _SPOOFING.sub("_", name).encode("utf-8", "replace").decode()
    name = _OUTSIDE.sub("", name)
    if windows:
        name = _WINDOWS.sub("_", name)
        if _DEVICE.fullmatch(name):
            name = f"_{name}"
    return shortened(name)


def shortened(name: str) -> str:
    """The name without what makes it too long for file systems, its suffix kept."""
    if len(name.encode("utf-8", "surrogatepass")) <= LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 16:
        stem, dot, suffix = name, "", ""
    encoded = stem.encode("utf-8", "replace")[: LONGEST_NAME - 4 * len(suffix)]
    return encoded.decode("utf-8", "ignore") + dot + suffix


def numbered(path: Path) -> Iterator[Path]:
    """The path, then others beside it: name-2.txt, name-3.txt, ..."""
    yield path
    stem, dot, suffix = path.name.partition(".")
    for number in range(2, 10_000):
        yield path.with_name(f"{stem}-{number}{dot}{suffix}")


def check_target(path: Path) -> None:
    """See that a file can have this name, before anything is requested.

    Raises:
        IsADirectoryError: It is a directory.
        FileNotFoundError: Its directory does not exist.
        NotADirectoryError: What should be its directory is none.
        FileExistsError: It is a device, a pipe or a socket, which must not be replaced by a file.
        OSError: The name is too long.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        if not stat.S_ISDIR(path.parent.stat().st_mode):
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)
            ) from None
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        raise FileExistsError(
            errno.EEXIST, "this is no regular file, and is left as it is", str(path)
        )
