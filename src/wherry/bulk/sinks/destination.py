"""Where shards lie: a folder of this machine, or one that fsspec knows (`s3://bucket/pages`).

A shard is written aside as a local file, and gets its final name when it is whole.  In a folder
that is a second name for the same file (`link`, which never replaces what is there), and the
folder is synced.  In an object store it is one put, which is atomic; elsewhere it is a put under
another name and a move.  Everything here blocks, and knows no page: sinks call it in their thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from wherry.redaction import shown_url

__all__ = ("Destination", "destination_at", "local_path", "puts_whole", "sync_file", "sync_folder")

# Stores whose put shows an object whole or not at all, by fsspec's names.
_ATOMIC_PUT: Final = frozenset(
    {"abfs", "abfss", "adl", "az", "gcs", "gs", "oci", "oss", "s3", "s3a", "tos"}
)
# `stem.number`, as `Sink.open` says; it becomes a part of names.
_RUN: Final = re.compile(r"[A-Za-z0-9_][\w.+=@-]{0,99}", re.ASCII)
_TEMPORARY_PREFIX: Final = "wherry-"


def destination_at(where: str | os.PathLike[str], options: Mapping[str, Any] | None) -> Destination:
    """The place of that path or URL; nothing is made yet."""
    text = os.fspath(where)
    folder = local_path(text)
    return Remote(text, dict(options or {})) if folder is None else Folder(folder)


def local_path(where: str) -> Path | None:
    """The folder of this machine that a path or URL names; None where fsspec knows it."""
    for scheme in ("file://", "local://"):
        if where.startswith(scheme):
            return Path(where.removeprefix(scheme))
    return None if "://" in where else Path(where)


def puts_whole(system: Any) -> bool:
    """Whether a file system of fsspec's shows what is put there whole, or not at all."""
    protocol = system.protocol
    names = {protocol} if isinstance(protocol, str) else set(protocol)
    return bool(names & _ATOMIC_PUT)


def stem_of(run: str) -> str:
    """The stem of a run, which all starts of one checkpoint share."""
    stem, _, number = run.rpartition(".")
    return stem if stem and number.isdigit() else run


def sync_file(path: Path) -> None:
    """See that a file outlives a power cut."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(fd)
    except OSError:  # Windows syncs no file that is open for reading only
        if os.name != "nt":
            raise
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """See that the names in a folder outlive a power cut; Windows does so by itself."""
    if os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Destination(ABC):
    """A folder in which files of one run are written aside and published.

    A *name* is what a file has in the end, below the place.  Its *temporary* is where it is until
    then: a path, relative to the folder if it lies there.
    """

    def __init__(self) -> None:
        self._run = ""

    def open(self, run: str) -> None:
        """Make the folder, if it is not there.

        Raises:
            ValueError: The run's name cannot be part of a file's.
            OSError: Nothing can be written there.
        """
        if not _RUN.fullmatch(run):
            raise ValueError(f"the name of a run cannot be part of a file's: {run!r}")
        self._run = run

    def _pattern(self, run: str | None) -> str:
        """What names aside begin with: those of one run, or of all starts with this stem."""
        if run is not None:
            return re.escape(run)
        stem = stem_of(self._run)
        return re.escape(stem) + (r"\.[0-9]+" if stem != self._run else "")

    @abstractmethod
    def aside(self, name: str) -> str:
        """The temporary of a file that gets this name."""

    @abstractmethod
    def path(self, temporary: str) -> Path:
        """Where the file is that has this temporary."""

    @abstractmethod
    def publish(self, temporary: str, name: str, size: int) -> None:
        """Give a file its final name; nothing happens if it has it.

        Raises:
            FileExistsError: Another file has that name.
            OSError: It cannot be done.
        """

    @abstractmethod
    def settle(self) -> None:
        """See that the names that were published outlive a power cut."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """The bytes of a file that has its final name; None if there is none.

        Raises:
            OSError: It is not known.
        """

    def exists(self, name: str) -> bool:
        """Whether there is a file under its final name."""
        return self.size(name) is not None

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file that has its final name, if there is one."""

    @abstractmethod
    def leftovers(self, run: str | None = None) -> list[str]:
        """The temporaries that are aside: of this run, or without one of all starts of its stem."""

    def drop(self, temporary: str) -> None:
        """Remove what is aside, a file or a folder."""
        path = self.path(temporary)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:  # noqa: B027
        """Remove what dead starts left beside their files."""

    def close(self) -> None:  # noqa: B027
        """End; what is aside has been dropped."""


class Folder(Destination):
    """A folder of this machine: what is aside lies in it, with a dot before its name."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self._touched: set[Path] = set()

    def open(self, run: str) -> None:
        super().open(run)
        self._make(self.root)
        probe = self.root / f".{run}.probe"
        probe.touch()
        probe.unlink()

    def _make(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            self._touched.add(each.parent)

    def aside(self, name: str) -> str:
        return f".{PurePosixPath(name).name}.part"

    def path(self, temporary: str) -> Path:
        return self.root / temporary

    def publish(self, temporary: str, name: str, size: int) -> None:
        source, final = self.root / temporary, self.root / name
        self._make(final.parent)
        try:
            _link(source, final)
        except FileNotFoundError:
            if not final.exists():
                raise
        except FileExistsError:
            # Killed between the two steps: the file has both names.
            if not source.exists() or not final.samefile(source):
                raise
        source.unlink(missing_ok=True)
        self._touched.add(final.parent)

    def settle(self) -> None:
        while self._touched:
            sync_folder(next(iter(self._touched)))
            self._touched.pop()

    def size(self, name: str) -> int | None:
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def leftovers(self, run: str | None = None) -> list[str]:
        ours = re.compile(rf"\.{self._pattern(run)}-[0-9]{{5,}}\.[\w.]*\.part")
        return sorted(each.name for each in self.root.iterdir() if ours.fullmatch(each.name))


def _link(source: Path, final: Path) -> None:
    """Give a file a second name, which nothing may have; where a file system knows no second names,
    another one.
    """
    try:
        os.link(source, final)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        if final.exists():
            raise FileExistsError(f"{final} is there already") from None
        source.rename(final)


class Remote(Destination):
    """A folder that fsspec knows: what is aside lies in a private folder of this machine."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        super().__init__()
        self._url, self._options = url, options
        self._fs: Any = None
        self._root = ""
        self._aside: Path | None = None

    def open(self, run: str) -> None:
        super().open(run)
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError as exc:
            raise ModuleNotFoundError(
                f"{shown_url(self._url)} needs fsspec: pip install 'wherry[fsspec]'", name="fsspec"
            ) from exc
        self._fs, root = url_to_fs(self._url, **self._options)
        self._root = root.rstrip("/")
        if not puts_whole(self._fs):
            self._fs.makedirs(self._root, exist_ok=True)
        self._aside = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY_PREFIX}{run}-"))

    def _folder(self) -> Path:
        if self._aside is None:
            raise RuntimeError("the sink is not open")
        return self._aside

    def aside(self, name: str) -> str:
        return str(self._folder() / f"{PurePosixPath(name).name}.part")

    def path(self, temporary: str) -> Path:
        return Path(temporary)

    def publish(self, temporary: str, name: str, size: int) -> None:
        source, final = Path(temporary), f"{self._root}/{name}"
        there = self.size(name)
        if there is None:
            self._put(source, final)
        elif there != size:
            raise FileExistsError(f"{final} is there already, and is another one")
        source.unlink(missing_ok=True)

    def _put(self, source: Path, final: str) -> None:
        if puts_whole(self._fs):
            self._fs.put_file(str(source), final)
            return
        folder, _, name = final.rpartition("/")
        self._fs.makedirs(folder, exist_ok=True)
        unfinished = f"{folder}/.{name}.part"
        self._fs.put_file(str(source), unfinished)
        self._fs.mv(unfinished, final)

    def size(self, name: str) -> int | None:
        self._fs.invalidate_cache()
        try:
            return int(self._fs.info(f"{self._root}/{name}")["size"] or 0)
        except FileNotFoundError:
            return None

    def settle(self) -> None:
        """A store says that it has an object when it is safe."""

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    def leftovers(self, run: str | None = None) -> list[str]:
        return [
            str(each)
            for folder in self._folders(run)
            for each in sorted(folder.iterdir())
            if each.name.endswith(".part")
        ]

    def _folders(self, run: str | None) -> list[Path]:
        """Folders of ours, of this run or of all starts with its stem; nobody else's."""
        ours = re.compile(rf"{_TEMPORARY_PREFIX}{self._pattern(run)}-[a-z0-9_]{{8}}")
        found = [each for each in self._folder().parent.iterdir() if ours.fullmatch(each.name)]
        return [each for each in found if _is_own_folder(each)]

    def sweep(self) -> None:
        for folder in self._folders(None):
            if folder != self._aside:
                shutil.rmtree(folder)

    def close(self) -> None:
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside = None


def _is_own_folder(path: Path) -> bool:
    """Whether it is a folder and no link, and this user's: others can make names there too."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and (os.name == "nt" or found.st_uid == os.getuid())
