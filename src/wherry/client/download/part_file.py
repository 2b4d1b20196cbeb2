"""A file that is being made: its part under another name, and how it gets its own.

What stands under the wanted name is always a whole file.  The part is opened so that no link is
followed and nothing is overwritten that a download has not made, and what is checked at the end is
the file itself.  All methods wait for the disk, and belong into a thread (`disk_thread`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import threading
from pathlib import Path
from typing import Any, Final, Literal

from wherry.body.stream.decoders import decoder_for
from wherry.client.download.file_names import numbered
from wherry.client.download.plan import Held
from wherry.client.download.resume_notes import Notes
from wherry.errors import ClientPayloadError

__all__ = ("Digest", "Existing", "KeptPart", "Part")

Existing = Literal["replace", "number", "refuse"]

BATCH: Final = 2**20
# After so many bytes what has come is noted: a process that is killed loses no more.
NOTE_AFTER: Final = 2**24
NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL
OLD: Final = os.O_RDWR
SAFELY: Final = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # whoever put a pipe there does not hold us up
)


class Digest:
    """A digest that a file must have.

    Args:
        wanted: "sha256:1f3a..."; any algorithm that hashlib knows.

    Raises:
        ValueError: It is written in another way, or the algorithm is not known.
    """

    __slots__ = ("expected", "name")

    name: str

    def __init__(self, wanted: str) -> None:
        self.name, colon, expected = wanted.strip().partition(":")
        self.expected: str = expected.lower()
        if not colon or not re.fullmatch(r"[0-9a-f]+", self.expected):
            raise ValueError(f"a digest is written as algorithm:hexadecimal, not {wanted!r}")
        size = hashlib.new(self.name, usedforsecurity=False).digest_size
        if len(self.expected) != 2 * size:
            raise ValueError(f"not a {self.name} digest: {self.expected!r}")

    def of(self, path: Path) -> str:
        """What the file at `path` has."""
        with path.open("rb") as file:
            return hashlib.file_digest(
                file, lambda: hashlib.new(self.name, usedforsecurity=False)
            ).hexdigest()

    def check(self, path: Path, shown: Path) -> None:
        """See that the file at `path` has it.

        Raises:
            ClientPayloadError: It has another one.
        """
        found = self.of(path)
        if found != self.expected:
            raise ClientPayloadError(
                f"{shown}: the {self.name} digest is {found}, expected {self.expected}"
            )


class Part:
    """A part that nobody will go on with: it is gone if the download fails.

    Args:
        path: The wanted file.
        existing: What to do where there is a file: replace it, number the new one, or refuse.
        digest: What the file must have.
        decode: Whether to undo the coding that `held.coding` names, at the end.
        max_size: The most bytes that the file may have; None for no limit.
    """

    def __init__(
        self,
        path: Path,
        *,
        existing: Existing = "replace",
        digest: Digest | None = None,
        decode: bool = True,
        max_size: int | None = None,
    ) -> None:
        self.path: Path = path
        self.existing = existing
        self.digest = digest
        self.decode = decode
        self.max_size = max_size
        self.held: Held = Held()
        self.part: Path = path.with_name(f".{secrets.token_hex(8)}.part")
        self._fd: int | None = None
        self._lock = threading.Lock()
        self._ahead: dict[int, int] = {}  # what was written behind gaps: from where to where

    def open(self) -> None:
        """Make the part.

        Raises:
            OSError: It cannot be made.
        """
        self._fd = os.open(self.part, NEW | SAFELY, self._mode())
        self._take_mode(self.part)

    def _mode(self) -> int:
        """With what a part is made: what its owner alone may read is so from its first byte."""
        with contextlib.suppress(OSError):
            return stat.S_IMODE(self.path.stat().st_mode) & 0o777
        return 0o666

    def _take_mode(self, source: Path) -> None:
        """A file that only its owner may read stays so when it is replaced."""
        with contextlib.suppress(OSError):
            source.chmod(stat.S_IMODE(self.path.stat().st_mode) & 0o777)

    def begin(self, held: Held) -> None:
        """Take what comes from `held.size` on, and forget what is behind."""
        assert self._fd is not None
        with self._lock:
            os.ftruncate(self._fd, held.size)
            self._ahead.clear()
            self.held = held

    def forget(self) -> None:
        """What is there is of no use; the next body takes its place when it comes."""
        self.held = Held()

    def write(self, at: int, pieces: list[bytes]) -> int:
        """Write `pieces` at a place; gives the place behind them.

        Raises:
            ClientPayloadError: The file would have more than `max_size` bytes.
            OSError: The disk takes no more.
        """
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        end = at + len(data)
        self._check_size(end)
        with self._lock:
            if self._fd is None:
                return at
            self._write(self._fd, at, data)
            if at == self.held.size:
                self._grow(end, data)
            elif at > self.held.size:
                begin = next((a for a, b in self._ahead.items() if b == at), at)
                self._ahead[begin] = end
            while (stop := self._ahead.pop(self.held.size, None)) is not None:
                self._grow(stop, None)
        return end

    def _check_size(self, size: int) -> None:
        if self.max_size is not None and size > self.max_size:
            raise ClientPayloadError(f"the body is larger than max_body_size={self.max_size}")

    def _write(self, fd: int, at: int, data: bytes) -> None:
        os.lseek(fd, at, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def _grow(self, end: int, data: bytes | None) -> None:
        """What is there without gaps reaches to `end`: by `data`, or by what was written before."""
        self.held = self.held._replace(size=end)

    def finish(self) -> int:
        """Check what is there and give it its name; the size of the file.

        Raises:
            ClientPayloadError: It has not the length or the digest that it should have.
            OSError: It cannot have its name.
        """
        total = self.held.total
        assert self._fd is not None
        size = os.fstat(self._fd).st_size
        if total is not None and not size == self.held.size == total:
            size = min(size, self.held.size)
            raise ClientPayloadError(f"{self.path}: {size} bytes came, {total} were announced")
        self._shut()
        source = self._decoded() or self.part
        try:
            if self.digest is not None:
                self.digest.check(source, self.path)
            size = source.stat().st_size
            self._name(source)
        except BaseException:
            if source != self.part:
                _unlink(source)
            raise
        if source != self.part:
            _unlink(self.part)
        return size

    def _decoded(self) -> Path | None:
        """The part with its coding undone, in another file; None where there is nothing to undo."""
        decoder = decoder_for(self.held.coding) if self.decode and self.held.coding else None
        if decoder is None:
            return None
        path = self.part.with_name(f".{secrets.token_hex(8)}.part")
        size = 0
        try:
            fd = os.open(path, NEW | SAFELY, self._mode())
            with self.part.open("rb") as packed, os.fdopen(fd, "wb") as file:
                while piece := packed.read(BATCH):
                    while piece or not decoder.needs_input:
                        size += file.write(decoder.decode(piece, BATCH))
                        piece = b""
                        self._check_size(size)
            if self.held.size:
                decoder.finish()
            path.chmod(stat.S_IMODE(self.part.stat().st_mode))
        except BaseException:
            _unlink(path)
            raise
        return path

    def _name(self, source: Path) -> None:
        """Give the file its name."""
        if self.existing == "replace":
            self._take_mode(source)
            source.replace(self.path)
            return
        for path in numbered(self.path) if self.existing == "number" else [self.path]:
            with contextlib.suppress(FileExistsError):
                _move(source, path)
                self.path = path
                return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path))

    def _shut(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, None
            if fd is not None:
                os.close(fd)

    def abandon(self) -> None:
        """The download failed: nothing stays."""
        self._shut()
        _unlink(self.part)

    def close(self) -> None:
        """Let go of everything; called in the end, however it was."""
        self._shut()


class KeptPart(Part):
    """A part that is gone on with: it stays, with a note, if the server named it by a validator.

    It lies in a directory of its own beside the file (`resume_notes`), under a name that is made of
    the file's by a digest.

    Args:
        path: The wanted file.
        asked: The URL that is asked, by a digest: a part of another one is of no use.
        **options: As for `Part`.
    """

    def __init__(self, path: Path, asked: str, **options: Any) -> None:
        super().__init__(path, **options)
        self._notes = Notes(path)
        self._asked = asked
        self.part: Path = self._notes.part
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._noted = 0
        self._begun = False

    def open(self) -> None:
        """Take the lock, and find what can be gone on with.

        Raises:
            FileExistsError: Another download makes this file, or what lies there is not ours.
            OSError: The directory cannot be written.
        """
        self._notes.lock()
        note = self._notes.read()
        made = note is not None and note.held.finished and self._is_finished(note.stamp)
        if made:
            self.existing = "replace"  # it is a download's, not the user's
        elif self.existing == "refuse" and os.path.lexists(self.path):
            raise FileExistsError(
                errno.EEXIST, "no download has made this file, and it stays", str(self.path)
            )
        if note is None or note.asked != self._asked:
            return
        if note.held.finished:
            if made:
                self.held: Held = note.held
            return
        with contextlib.suppress(FileNotFoundError):
            self._open_part()
            # What was written after the last note is cut off.
            super().begin(self._verified(note.held, note.digest))

    def _open_part(self) -> None:
        """Open the part that is there.

        Raises:
            FileNotFoundError: There is none.
            FileExistsError: It is not ours.
        """
        fd = os.open(self.part, OLD | SAFELY)
        found = os.fstat(fd)
        if not self._notes.exist or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(fd)
            raise FileExistsError(
                errno.EEXIST, "this was not made by a download; remove it", str(self.part)
            )
        self._fd = fd

    def _is_finished(self, stamp: list[int]) -> bool:
        """Whether the file that a note tells of is there as it was."""
        try:
            return _stamp(self.path) == stamp
        except OSError:
            return False

    def _verified(self, held: Held, digest: str) -> Held:
        """What there is of the part that the note vouches for."""
        assert self._fd is not None
        self._hash_to(held.size)
        whole = os.fstat(self._fd).st_size >= held.size
        return held if whole and self._hash.hexdigest() == digest else Held()

    def begin(self, held: Held) -> None:
        """Take what comes from `held.size` on, and forget what is behind."""
        if self._fd is None:
            try:
                self._open_part()
            except FileNotFoundError:
                if not self._notes.exist:
                    # First the note: a part without one is not ours.
                    self._notes.write(self._asked, Held(), "")
                self._fd = os.open(self.part, NEW | SAFELY, self._mode())
        self._begun = True
        super().begin(held)
        self._hash_to(held.size)
        self._note()

    def _hash_to(self, end: int) -> None:
        """Let the digest be of what the part has up to `end`."""
        assert self._fd is not None
        if self._hashed > end:
            self._hash, self._hashed = hashlib.sha256(), 0
        os.lseek(self._fd, self._hashed, os.SEEK_SET)
        while self._hashed < end and (piece := os.read(self._fd, min(BATCH, end - self._hashed))):
            self._hash.update(piece)
            self._hashed += len(piece)

    def _grow(self, end: int, data: bytes | None) -> None:
        if data is not None:
            self._hash.update(data)
            self._hashed = end
        else:
            self._hash_to(end)
        super()._grow(end, data)
        if end - self._noted >= NOTE_AFTER:
            self._note()

    def _note(self) -> None:
        self._noted = self.held.size
        self._notes.write(self._asked, self.held, self._hash.hexdigest())

    def finish(self) -> int:
        """Check what is there, give it its name, and note that it is finished."""
        try:
            size = super().finish()
        except ClientPayloadError:
            # Going on from here could never give the right file.
            self.drop()
            raise
        held = self.held._replace(finished=True)
        self._notes.write(self._asked, held, "", _stamp(self.path))
        return size

    def stay(self) -> int:
        """The file that is there is the one: gives its size.

        Raises:
            ClientPayloadError: It has not the digest that it should have.
        """
        if self.digest is not None:
            self.digest.check(self.path, self.path)
        self._shut()
        _unlink(self.part)
        return self.path.stat().st_size

    def has_digest(self) -> bool:
        """Whether the file is there already, by its digest."""
        try:
            return self.digest is not None and self.digest.of(self.path) == self.digest.expected
        except OSError:
            return False

    def abandon(self) -> None:
        """The download failed: keep what can be gone on with."""
        if self._fd is None or not self._begun:
            self._shut()  # it is as it was
            return
        if self.held.validator is None or not self.held.size:
            self.drop()
            return
        with self._lock:
            os.ftruncate(self._fd, self.held.size)  # behind a gap, others may have written
            self._note()
        self._shut()

    def drop(self) -> None:
        """Nothing of it is of any use."""
        self._shut()
        _unlink(self.part)
        self._notes.forget()

    def close(self) -> None:
        """Let go of the lock too."""
        super().close()
        self._notes.unlock()


def _stamp(path: Path) -> list[int]:
    """By what a file is known again."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _move(source: Path, path: Path) -> None:
    """Give a file a name that is free.

    Raises:
        FileExistsError: It is not.
    """
    try:
        os.link(source, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        # A file system without hard links: the name is taken first, by an empty file.
        os.close(os.open(path, NEW | SAFELY, 0o666))
        source.replace(path)
    else:
        _unlink(source)
