"""What a cluster fetches: lists of URLs, parted once so that each partition reads its own only.

The lists are read once, by as many workers as there are, and written anew as a list for each
partition, beside the output.  A partition that begins again, on another node, reads its own lists
and nothing else; nobody sends URLs to anybody, and no program has to stay alive to know them.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from wherry.bulk.cluster.partitions import partition_of
from wherry.bulk.cluster.shared_folder import SharedFolder

# Bytes of URLs that one reader keeps before it writes them.
_KEPT: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """One file of URLs, a line each.

    Args:
        path: A path, or a URL of fsspec's; `.gz` is undone.
        size: Its bytes, by which a change is noticed.
    """

    path: str
    size: int


def find_sources(patterns: Sequence[str]) -> list[Source]:
    """The files that paths, patterns and fsspec's URLs name, in a fixed order.

    Raises:
        FileNotFoundError: A pattern names no file.
        ImportError: There is a URL, and fsspec is not installed.
    """
    found: list[Source] = []
    for pattern in patterns:
        sources = _remote(pattern) if "://" in pattern else _local(pattern)
        if not sources:
            raise FileNotFoundError(f"{pattern} names no file")
        found += sources
    return found


def _local(pattern: str) -> list[Source]:
    # Path.glob() takes no absolute patterns.
    paths = [Path(each) for each in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    return [Source(str(path.absolute()), path.stat().st_size) for path in paths if path.is_file()]


def _remote(pattern: str) -> list[Source]:
    import fsspec

    system, path = fsspec.core.url_to_fs(pattern)
    found: dict[str, Any] = system.glob(path, detail=True)
    return [
        Source(system.unstrip_protocol(name), int(found[name].get("size") or 0))
        for name in sorted(found)
        if found[name]["type"] == "file"
    ]


def lines_of(source: Source) -> Iterator[str]:
    """The URLs of a file: no empty lines, no comments (`#`)."""
    with _open(source.path) as raw:
        binary = gzip.GzipFile(fileobj=raw) if source.path.endswith(".gz") else raw
        with io.TextIOWrapper(binary, "utf-8", "surrogateescape") as lines:
            yield from urls_among(lines)


def _open(path: str) -> IO[bytes]:
    if "://" not in path:
        return Path(path).open("rb")
    import fsspec

    file: IO[bytes] = fsspec.open(path, "rb").open()
    return file


def urls_among(lines: Iterable[str]) -> Iterator[str]:
    """The URLs among lines."""
    for line in lines:
        text = line.strip()
        if text and not text.startswith("#"):
            yield text


class PartedInput:
    """The lists of one input, one for each partition and source.

    Args:
        shared: Where they are kept.
        generation: Which input of this folder it is: another one gets another number.
        partitions: How many partitions there are.
    """

    def __init__(self, shared: SharedFolder, generation: int, partitions: int) -> None:
        self._shared = shared
        self._partitions = partitions
        self._folder = f"input-{generation:04}"

    def split(self, urls: Iterable[str], reader: int, kept: int = _KEPT) -> int:
        """Part the URLs of one source; whoever does it again writes the same files.

        Args:
            urls: The source's URLs, in their order.
            reader: The source's number.
            kept: Bytes to keep in memory before they are written.

        Returns:
            How many there are.
        """
        count = size = piece = 0
        lists: dict[int, list[str]] = {}
        for url in urls:
            lists.setdefault(partition_of(url, self._partitions), []).append(url)
            count += 1
            size += len(url) + 64  # what a string costs besides its letters
            if size >= kept:
                self._write(lists, reader, piece)
                lists, size, piece = {}, 0, piece + 1
        self._write(lists, reader, piece)
        self._shared.write(f"{self._folder}/split/{reader:06}", str(count).encode())
        return count

    def _write(self, lists: dict[int, list[str]], reader: int, piece: int) -> None:
        for partition, urls in lists.items():
            content = "\n".join(urls).encode("utf-8", "surrogateescape")
            # The same bytes each time: no time of day in them.
            packed = gzip.compress(content, compresslevel=1, mtime=0)
            self._shared.write(f"{self._of(partition)}/{reader:06}-{piece:06}.gz", packed)

    def is_split(self, reader: int) -> bool:
        """Whether the lists of a source are all there."""
        return self._shared.read(f"{self._folder}/split/{reader:06}") is not None

    def _of(self, partition: int) -> str:
        return f"{self._folder}/{partition:06}"

    def is_empty(self, partition: int) -> bool:
        """Whether a partition has no URL."""
        return not self._shared.names(self._of(partition))

    def pieces(self, partition: int) -> list[str]:
        """The names of a partition's lists, always in the same order."""
        return [f"{self._of(partition)}/{name}" for name in self._shared.names(self._of(partition))]

    def read(self, piece: str) -> list[str]:
        """The URLs of a list.

        Raises:
            FileNotFoundError: It is gone.
        """
        content = self._shared.read(piece)
        if content is None:
            raise FileNotFoundError(f"{piece} is gone from {self._shared!r}")
        return gzip.decompress(content).decode("utf-8", "surrogateescape").split("\n")


@dataclass(frozen=True, slots=True)
class Handed:
    """A URL whose redirects led to the host of another partition.

    Args:
        url: What was asked for.
        target: Where it goes on.
        hops: How many redirects there were.
    """

    url: str
    target: str
    hops: int


# Where what was handed over lies, for all partitions: one look says who was handed something.
_HANDED: Final = "handed"


def hand_over(shared: SharedFolder, handed: Sequence[Handed], partitions: int, name: str) -> None:
    """Write what goes on in other partitions, a list for each of them.

    Args:
        shared: Where the run's files are.
        handed: What goes on elsewhere.
        partitions: How many partitions there are.
        name: What no other list is named.
    """
    lists: dict[int, list[tuple[str, str, int]]] = {}
    for each in handed:
        to = partition_of(each.target, partitions)
        lists.setdefault(to, []).append((each.url, each.target, each.hops))
    for to, rows in lists.items():
        packed = gzip.compress(json.dumps(rows).encode("ascii"), compresslevel=1, mtime=0)
        shared.write(f"{_HANDED}/{to:06}-{name}.gz", packed)


def handed_lists(shared: SharedFolder) -> dict[int, list[str]]:
    """The names of the lists that partitions were handed, by the partition."""
    found: dict[int, list[str]] = {}
    for name in shared.names(_HANDED):
        found.setdefault(int(name.partition("-")[0]), []).append(name)
    return found


def read_handed(shared: SharedFolder, name: str) -> list[Handed]:
    """What such a list has.

    Raises:
        FileNotFoundError: It is gone.
    """
    content = shared.read(f"{_HANDED}/{name}")
    if content is None:
        raise FileNotFoundError(f"{_HANDED}/{name} is gone from {shared!r}")
    return [Handed(*row) for row in json.loads(gzip.decompress(content))]


def fingerprint(sources: Sequence[Source]) -> str:
    """What tells one input from another, as text."""
    return json.dumps([[source.path, source.size] for source in sources])
