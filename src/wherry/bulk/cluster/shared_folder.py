"""A folder that every node can read and write: of a file system that they share, or any that fsspec
knows.  What is written there is whole, or not there.

It knows names and bytes, nothing of what they mean.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from wherry.bulk.sinks.destination import local_path, puts_whole, sync_folder
from wherry.private_files import open_private


class SharedFolder(Protocol):
    """A folder of small files."""

    def read(self, name: str) -> bytes | None:
        """What a file has; None if there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Make a file, or put another in its place; nobody sees half of it."""

    def names(self, folder: str) -> list[str]:
        """The names of the files of a folder, sorted; none if there is no such folder."""

    def remove(self, name: str) -> None:
        """Remove a file that may be there."""


def shared_folder_at(url: str) -> SharedFolder:
    """The folder that a path or URL names.

    Raises:
        ImportError: It is a URL, and fsspec is not installed.
    """
    folder = local_path(url)
    return RemoteFolder(url) if folder is None else LocalFolder(folder)


class LocalFolder:
    """A folder of a file system.

    Args:
        folder: It is made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()  # a worker has another working directory

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with os.fdopen(open_private(aside), "wb") as file:  # URLs may have secrets
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)

    def names(self, folder: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            entries = [entry.name for entry in os.scandir(self._folder / folder) if entry.is_file()]
            return sorted(name for name in entries if not name.startswith("."))
        return []

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def __repr__(self) -> str:
        return f"<LocalFolder {self._folder}>"


class RemoteFolder:
    """A folder of a file system of fsspec's.

    Args:
        url: As `s3://bucket/pages/`.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def _open(self) -> tuple[Any, str]:
        import fsspec

        # It has instances of its own for each process.
        system, path = fsspec.core.url_to_fs(self._url)
        return system, path

    def read(self, name: str) -> bytes | None:
        system, path = self._open()
        system.invalidate_cache()
        try:
            content: bytes = system.cat_file(f"{path}/{name}")
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        system, path = self._open()
        target = f"{path}/{name}"
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        if puts_whole(system):
            system.pipe_file(target, content)
            return
        aside = f"{target}.{uuid4().hex}.part"
        system.pipe_file(aside, content)
        system.mv(aside, target)

    def names(self, folder: str) -> list[str]:
        system, path = self._open()
        system.invalidate_cache()
        try:
            entries = system.ls(f"{path}/{folder}", detail=True)
        except FileNotFoundError:
            return []
        names = [entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file"]
        return sorted(name for name in names if not name.endswith(".part"))

    def remove(self, name: str) -> None:
        system, path = self._open()
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{path}/{name}")

    def __repr__(self) -> str:
        return f"<RemoteFolder {self._url}>"
