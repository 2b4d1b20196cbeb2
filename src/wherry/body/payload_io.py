"""Bodies that are files: never loaded whole, and read where a slow disk stops nobody.

A file's size counts from where it stood when it became a body, and there each sending begins.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import errno
import io
import os
import stat
import threading
from pathlib import PurePath
from typing import IO, Any, Final, cast

from wherry.body.charset import text_type
from wherry.body.payload_base import HeadersLike, Payload
from wherry.errors import ClientPayloadError

__all__ = ("BufferedReaderPayload", "BytesIOPayload", "IOBasePayload", "TextIOPayload", "guess_filename")

# How much a thread reads at a time: large enough that the trips weigh nothing, small against memory.
READ_SIZE: Final = 2**18
# How much is read where no thread is needed: what malloc gives without asking the system (128 KiB and more is
# mapped anew each time), and what one send passes on before its peer wakes and both fight for the socket.
CACHED_SIZE: Final = 112 * 1024
_NO_WAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_preadv: Final[Any] = getattr(os, "preadv", None) if _NO_WAIT else None


def guess_filename(file: Any, default: str | None = None) -> str | None:
    """The last part of a file's name; `default` where it has none, as a pipe or a stream in memory."""
    name = getattr(file, "name", None)
    if isinstance(name, str) and name and name[0] != "<" and name[-1] != ">":
        return PurePath(name).name
    return default


class IOBasePayload(Payload):
    """A file, or what behaves like one.

    Args:
        value: Has `read`; with `seek` and `tell` it can be sent twice.
        disposition: For the Content-Disposition field, when there is a file name; None for no field.
    """

    def __init__(
        self,
        value: IO[Any],
        disposition: str | None = "attachment",
        headers: HeadersLike = None,
        content_type: str | None = None,
        filename: str | None = None,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value, headers, content_type, filename or guess_filename(value), encoding)
        self._begun = False
        self._turn = 0  # which writing it is
        self._lock = threading.Lock()
        try:
            self._start: int | None = value.tell()
        except (OSError, AttributeError, ValueError):
            self._start = None
        if self._filename is not None and disposition is not None and "Content-Disposition" not in self.headers:
            self.set_content_disposition(disposition, filename=self._filename)

    @property
    def size(self) -> int | None:
        """The bytes from where the file stood to its end; None unless it is a regular file."""
        fd = _regular_fd(self._value)
        if fd is None or self._start is None:
            return None
        return max(0, os.fstat(fd).st_size - self._start)

    @property
    def consumed(self) -> bool:
        """Whether it was read and cannot be read again."""
        return self._consumed or (self._begun and self._start is None) or _is_closed(self._value)

    def _consumed_error(self) -> ClientPayloadError:
        if not self._consumed and _is_closed(self._value):
            return ClientPayloadError(f"the request's body ({type(self._value).__name__}) is a closed file")
        return super()._consumed_error()

    def _to_start(self) -> int:
        """Go to where the file stood at first; gives the turn that reading belongs to."""
        if self.consumed:
            raise self._consumed_error()
        with self._lock:
            self._turn += 1
            if self._begun:
                try:
                    self._value.seek(self._start)
                except (OSError, AttributeError, ValueError):
                    self._consumed = True
                    raise self._consumed_error() from None
            self._begun = True
            return self._turn

    def _read(self, size: int, turn: int) -> Any:
        # A writing that was given up may have left a thread behind: it must not move the file under the next one.
        with self._lock:
            return self._value.read(size) if turn == self._turn else None

    async def write(self, writer: Any) -> None:
        """Write the file, piece by piece."""
        fd = _regular_fd(self._value)
        if fd is not None and self._start is not None:
            await self._write_regular(writer, fd, self._start)
            return
        loop = asyncio.get_running_loop()
        turn = self._to_start()
        while data := await loop.run_in_executor(None, self._read, READ_SIZE, turn):
            await writer.write(data)

    async def _write_regular(self, writer: Any, fd: int, start: int) -> None:
        """Read by position: what the page cache has comes at once, the rest through a thread."""
        if self.consumed:
            raise self._consumed_error()
        self._begun = True
        loop = asyncio.get_running_loop()
        # What the file grows by meanwhile is not part of the promised size.
        left = os.fstat(fd).st_size - start
        at = start
        cached = _preadv is not None
        while left > 0:
            data: bytes | bytearray | memoryview | None = None
            if cached:
                data, cached = _read_cached(fd, min(CACHED_SIZE, left), at)
            if data is None:
                data = await loop.run_in_executor(None, os.pread, fd, min(READ_SIZE, left), at)
            if not data:
                break
            await writer.write(data)
            at += len(data)
            left -= len(data)

    def _read_all(self) -> bytes:
        self._to_start()
        data: bytes = self._value.read()
        return data

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The file as text; this reads it in the caller's thread."""
        return self._read_all().decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The whole file, read in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, self._read_all)

    def _close(self) -> None:
        if not _is_closed(self._value) and hasattr(self._value, "close"):
            self._consumed = True
            with contextlib.suppress(OSError):
                # Closing what was only read does not wait for the disk.
                self._value.close()


class BufferedReaderPayload(IOBasePayload):
    """A file that was opened for reading bytes."""


class BytesIOPayload(IOBasePayload):
    """An `io.BytesIO`, from where it stands."""

    _autoclose = True

    def __init__(self, value: io.BytesIO, *args: Any, **kwargs: Any) -> None:
        super().__init__(cast("IO[Any]", value), *args, **kwargs)
        self._size = max(0, value.getbuffer().nbytes - (self._start or 0))

    @property
    def size(self) -> int | None:
        """The bytes from where it stood to its end."""
        return self._size

    async def write(self, writer: Any) -> None:
        """Write it, piece by piece."""
        self._to_start()
        at = self._start or 0
        while True:
            # Two writings may follow each other closely, and there is but one position.
            self._value.seek(at)
            data = self._value.read(CACHED_SIZE)
            if not data:
                return
            at += len(data)
            await writer.write(data)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """All of it, from where it stood."""
        return self._read_all()

    def _close(self) -> None:
        """It stays as it is: it is the program's, and holds nothing but memory."""


class TextIOPayload(IOBasePayload):
    """A file that was opened for reading text, encoded as the content type's charset says, UTF-8 by default.

    Where that is the encoding of the file itself its bytes are sent as they are, and the size is known.
    """

    def __init__(
        self,
        value: IO[str],
        disposition: str | None = "attachment",
        headers: HeadersLike = None,
        content_type: str | None = None,
        filename: str | None = None,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        content_type, encoding = text_type(content_type, encoding)
        super().__init__(value, disposition, headers, content_type, filename, encoding)
        self._text_encoding = encoding

    def _as_it_is(self) -> int | None:
        """The descriptor of the file, if its bytes are what is to be sent."""
        value = self._value
        if not isinstance(value, io.TextIOWrapper) or self._start != 0:
            return None
        same = codecs.lookup(value.encoding).name in {codecs.lookup(self._text_encoding).name, "ascii"}
        return _regular_fd(value.buffer) if same else None

    @property
    def size(self) -> int | None:
        """The file's size where its bytes are sent as they are."""
        fd = self._as_it_is()
        return None if fd is None else os.fstat(fd).st_size

    async def write(self, writer: Any) -> None:
        """Write the text, piece by piece."""
        fd = self._as_it_is()
        if fd is not None:
            await self._write_regular(writer, fd, 0)
            return
        loop = asyncio.get_running_loop()
        turn = self._to_start()
        encoder = codecs.getincrementalencoder(self._text_encoding)()
        while text := await loop.run_in_executor(None, self._read, READ_SIZE, turn):
            if data := encoder.encode(text):
                await writer.write(data)
        if data := encoder.encode("", final=True):
            await writer.write(data)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text; this reads it in the caller's thread."""
        self._to_start()
        text: str = self._value.read()
        return text

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The whole text, read in a thread and encoded."""
        fd = self._as_it_is()
        loop = asyncio.get_running_loop()
        if fd is not None:
            return await loop.run_in_executor(None, os.pread, fd, os.fstat(fd).st_size, 0)
        text = await loop.run_in_executor(None, self.decode)
        return text.encode(self._text_encoding, errors)


def _is_closed(file: Any) -> bool:
    return getattr(file, "closed", False) is True


def _regular_fd(file: Any) -> int | None:
    """The descriptor of a regular file whose bytes are those that reading gives; None for all else."""
    # A GzipFile, a file in an archive and the like have a descriptor too, of other bytes.
    raw = file.raw if type(file) in {io.BufferedReader, io.BufferedRandom} else file
    if type(raw) is not io.FileIO or raw.closed or not hasattr(os, "pread"):
        return None
    if type(file) is io.BufferedRandom:
        file.flush()
    fd = raw.fileno()
    return fd if stat.S_ISREG(os.fstat(fd).st_mode) else None


def _read_cached(fd: int, size: int, at: int) -> tuple[bytearray | memoryview | None, bool]:
    """(what the page cache has of `size` bytes at `at`, whether to ask it again); None where the disk must be read."""
    data = bytearray(size)
    try:
        got = _preadv(fd, [data], at, _NO_WAIT)
    except OSError as exc:
        # EOPNOTSUPP: the file system cannot tell.
        return None, exc.errno == errno.EAGAIN
    return (data if got == size else memoryview(data)[:got] if got else None), True
