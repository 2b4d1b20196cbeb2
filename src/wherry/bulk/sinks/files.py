"""`Files`: each page a file of its own, and an index that says which came from where.

Files of one shard lie aside in a folder, numbered, with their index.  They get their names one by
one and the index gets its own last: what the index of a shard names is there.  Names have a mark
that no other file has, so whoever finds the rest of a dead run can remove what it had shown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from wherry.bulk.results import Page
from wherry.bulk.sinks.base import Shard
from wherry.bulk.sinks.destination import Destination, sync_file
from wherry.bulk.sinks.file_names import file_name, is_file_name
from wherry.bulk.sinks.rolling import RollingSink, ShardWriter
from wherry.bulk.sinks.without_secrets import field_pairs, json_line, public_url

__all__ = ("Files",)

# The folder of the indexes: no host's name begins like that.
_INDEXES: Final = "_index"
_INDEX: Final = "index.jsonl"
# Files after which a shard is ended, whatever their size.
_MOST_FILES: Final = 1000


class Files(RollingSink):
    """Writes pages into files of their own: `example.org/docs/page-0123456789abcdef.html`.

    Names tell where a page came from, and cannot be chosen so that they lead elsewhere, are taken,
    or trouble Windows.  `_index/RUN-NUMBER.jsonl` says for each file (`file`) its `url`,
    `final_url`, `status`, `headers`, `bytes`, `digest` (SHA-256), `fetched_at`, and `extracted` if
    `on_response` gave something.  A page's place is `INDEX#FILE`.

    Args:
        place: The folder, as a path or a URL of fsspec's (`s3://bucket/pages`).
        roll: Bytes after which what was written aside gets its names, 128 MiB; 1000 files at most.
        storage_options: What fsspec is told of the place.
    """

    suffix = ".jsonl"

    def shard_name(self, run: str, number: int) -> str:
        return f"{_INDEXES}/{super().shard_name(run, number)}"

    def new_writer(self, path: Path, name: str) -> ShardWriter:
        """What writes a shard of this kind."""
        return _Folder(path, name)

    def publish_shard(self, where: Destination, shard: Shard) -> None:
        folder = where.path(shard.temporary)
        if not folder.is_dir():
            if not where.exists(shard.name):
                raise FileNotFoundError(f"{shard.name} is neither there nor aside")
            return
        index = folder / _INDEX
        if index.exists() and where.size(shard.name) not in {None, index.stat().st_size}:
            raise FileExistsError(f"{shard.name} is there already, and is another one")
        for number, row in _rows(folder):
            where.publish(f"{shard.temporary}/{number}", row["file"], row["bytes"])
        where.settle()
        if index.exists():
            where.publish(f"{shard.temporary}/{_INDEX}", shard.name, index.stat().st_size)
        where.drop(shard.temporary)

    def drop_shard(self, where: Destination, temporary: str) -> None:
        name = f"{_INDEXES}/{Path(temporary).name.removeprefix('.').removesuffix('.part')}"
        folder = where.path(temporary)
        if folder.is_dir() and not where.exists(name):
            for _, row in _rows(folder):
                if is_file_name(row["file"]):  # its mark says that it is this shard's
                    where.remove(row["file"])
        where.drop(temporary)

    @property
    def full(self) -> bool:
        count = sum(shard.count for shard in self._ended)
        if self._writer is not None:
            count += self._writer.count
        return count >= _MOST_FILES or super().full


def _rows(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """What the index of a folder says; nothing if it was never ended."""
    try:
        lines = (folder / _INDEX).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return list(enumerate(map(json.loads, lines)))


class _Folder(ShardWriter):
    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        self._rows: list[bytes] = []
        self._bodies: list[bytes] = []
        self._written = 0

    def take(self, page: Page) -> str:
        content_type = page.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        unique = f"{self.name}\0{self.count}\0{page.url}"
        name = file_name(page.final_url, content_type, unique)
        row: dict[str, object] = {
            "file": name,
            "url": public_url(page.url),
            "final_url": public_url(page.final_url),
            "status": page.status,
            "headers": field_pairs(page),
            "bytes": len(page.body),
            "digest": page.digest,
            "fetched_at": page.fetched_at.isoformat(),
        }
        if page.extracted is not None:
            row["extracted"] = page.extracted
        line = json_line(row, page.url)
        self._rows.append(line)
        self._bodies.append(page.body)
        self.waiting += len(page.body) + len(line)
        self.count += 1
        return name

    def write(self) -> None:
        self.path.mkdir(exist_ok=self._written > 0)
        bodies, self._bodies = self._bodies, []
        for body in bodies:
            with (self.path / str(self._written)).open("xb", buffering=0) as file:
                view = memoryview(body)
                while view:
                    view = view[file.write(view) :]
            self._written += 1
        self.size += self.waiting
        self.waiting = 0

    def end(self) -> None:
        self.write()
        for number in range(self._written):
            sync_file(self.path / str(number))
        # Last, and whole at once: a folder with an index is one that was ended.
        unfinished = self.path / f"{_INDEX}.part"
        unfinished.write_bytes(b"".join(self._rows))
        sync_file(unfinished)
        unfinished.replace(self.path / _INDEX)

    def abandon(self) -> None:
        """Nothing is open."""
