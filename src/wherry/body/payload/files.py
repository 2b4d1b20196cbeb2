"""Bodies that are files: never loaded whole, and read where a slow disk stops nobody.

A file's size counts from where it stood when it became a body, and there each sending begins.

Other code may close the file, open another or read on in this one while the body goes out, for
threads read it and the server may answer early.  A number of a descriptor is nobody's once its file
is closed, and a file has but one position: so a regular file is read by position from a descriptor
of our own, and all else is put where we were before each read, under a lock that all bodies of that
file share.
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
import weakref
from inspect import iscoroutinefunction
from typing import IO, Any, Final, cast

from wherry.body.media_types import text_type
from wherry.body.payload.base import HeadersLike, Payload
from wherry.errors import ClientPayloadError

__all__ = (
    "BufferedReaderPayload",
    "BytesIOPayload",
    "FileLike",
    "IOBasePayload",
    "TextIOPayload",
    "file_payload",
    "guess_filename",
    "is_file",
)

# How much a thread reads at a time: large enough that the trips weigh nothing, small against
# memory.
READ_SIZE: Final = 2**18
# How much is read where no thread is needed: what malloc gives without asking the system (128 KiB
# and more is mapped anew each time), and what one send passes on before its peer wakes and both
# fight for the socket.
CACHED_SIZE: Final = 112 * 1024
_SEPARATORS: Final = os.sep + (os.altsep or "")
_NO_WAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_preadv: Final[Any] = getattr(os, "preadv", None) if _NO_WAIT else None


def guess_filename(file: Any, default: str | None = None) -> str | None:
    """The last part of a file's name; `default` where it has none, as a pipe or a stream in
    memory.
    """
    name = getattr(file, "name", None)
    if isinstance(name, str) and name and name[0] != "<" and name[-1] != ">":
        return os.path.split(name.rstrip(_SEPARATORS))[1]
    return default


class IOBasePayload(Payload):
    """A file, or what behaves like one.

    Args:
        value: Has `read`; with `seek` and `tell` it can be sent twice.
        disposition: For the Content-Disposition field, when there is a file name; None for no
            field.
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
        self._access: _FileAccess | None = None  # since a thread reads
        try:
            self._start: int | None = value.tell()
        except (OSError, AttributeError, ValueError):
            self._start = None
        if (
            self._filename is not None
            and disposition is not None
            and "Content-Disposition" not in self.headers
        ):
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
            return ClientPayloadError(
                f"the request's body ({type(self._value).__name__}) is a closed file: "
                "keep it open until the response is read"
            )
        return super()._consumed_error()

    def _begin(self) -> int:
        """Begin a turn of reading from where the file stood; gives the turn's number."""
        if self.consumed:
            raise self._consumed_error()
        self._begun = True
        self._turn += 1
        return self._turn

    def _read(self, size: int, turn: int, at: int | None) -> tuple[Any, int | None]:
        """Up to `size` of what is at `at`, and where it ends; b"" where another writing has begun
        meanwhile.
        """
        value = self._value
        access = self._access or _access_to(value)
        with access:
            # A writing that was given up may have left a thread behind.
            if turn != self._turn:
                return b"", at
            try:
                if at is not None:
                    self._go_to(at)
                data = value.read(size)
                return data, None if at is None else value.tell()
            except ValueError:
                if _is_closed(value):
                    raise self._consumed_error() from None
                raise

    def _go_to(self, at: int) -> None:
        """Put the file where reading goes on; a file that cannot be put anywhere can be read
        once.
        """
        if self._value.tell() == at:
            return
        try:
            self._value.seek(at)
        except (OSError, AttributeError, ValueError):
            if not _is_closed(self._value):
                self._consumed = True
            raise self._consumed_error() from None

    async def write(self, writer: Any) -> None:
        """Write the file, piece by piece."""
        size = self.size
        own = None if size is None else _OwnDescriptor.of(_regular_fd(self._value))
        if own is not None and size is not None:
            await self._write_regular(writer, own, self._start or 0, size)
        else:
            await self._write_by_reading(writer, size)

    async def _write_by_reading(
        self, writer: Any, left: int | None, encoding: str | None = None
    ) -> None:
        """Let the file read, in a thread.

        Args:
            writer: Where the pieces go.
            left: So much at most: what the file grows by meanwhile is not part of the promised
                size.
            encoding: For text.
        """
        loop = asyncio.get_running_loop()
        turn, at = self._begin(), self._start
        self._access = _access_to(self._value)
        raw = _OwnDescriptor.of(_raw_fd(self._value)) if at is None else None
        encoder = codecs.getincrementalencoder(encoding or self._encoding or "utf-8")()
        try:
            while left is None or left > 0:
                size = READ_SIZE if left is None else min(READ_SIZE, left)
                if raw is not None:
                    data: Any = await loop.run_in_executor(None, raw.read, size, None)
                else:
                    data, at = await loop.run_in_executor(None, self._read, size, turn, at)
                if not data:
                    break
                if left is not None:
                    left -= len(data)
                if isinstance(data, str):
                    data = encoder.encode(data)
                if data:
                    await writer.write(data)
        finally:
            if raw is not None:
                raw.close()
        if data := encoder.encode("", final=True):
            await writer.write(data)

    async def _write_regular(self, writer: Any, own: _OwnDescriptor, start: int, size: int) -> None:
        """Read by position: what the page cache has comes at once, the rest through a thread."""
        with own:
            self._begin()
            loop = asyncio.get_running_loop()
            write = getattr(writer, "write_own", writer.write)
            # What the file grows by meanwhile is not part of the promised size.
            left, at, cached = size, start, _preadv is not None
            while left > 0:
                data: bytes | bytearray | memoryview | None = None
                if cached:
                    data, cached = own.read_cached(min(CACHED_SIZE, left), at)
                if data is None:
                    data = await loop.run_in_executor(None, own.read, min(READ_SIZE, left), at)
                if not data:
                    # A chunked body has promised no length that would tell the peer.
                    raise ClientPayloadError(
                        f"the file of the request's body has become shorter than the {size} bytes "
                        f"that it had: it ends after {size - left}"
                    )
                await write(data)
                at += len(data)
                left -= len(data)

    def _read_all(self) -> Any:
        """All from where it stood."""
        return self._read(-1, self._begin(), self._start)[0]

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The file as text; this reads it in the caller's thread."""
        data = self._read_all()
        text: str = data if isinstance(data, str) else data.decode(encoding, errors)
        return text

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The whole file, read in a thread."""
        data = await asyncio.get_running_loop().run_in_executor(None, self._read_all)
        return data.encode(self._encoding or encoding, errors) if isinstance(data, str) else data

    def _close(self) -> None:
        if not _is_closed(self._value) and hasattr(self._value, "close"):
            self._consumed = True
            # Closing what was only read does not wait for the disk; but a buffered pipe would wait
            # for the thread that waits for the pipe.
            (self._access or _access_to(self._value)).close(self._value)


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
        self._begin()
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
        data: bytes = self._read_all()
        return data

    def _close(self) -> None:
        """It stays as it is: it is the program's, and holds nothing but memory."""


class TextIOPayload(IOBasePayload):
    """A file that was opened for reading text, encoded as the content type's charset says, UTF-8 by
    default.

    Where that is the encoding of the file itself its bytes are sent as they are, and the size is
    known.
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
        value = _unwrapped(self._value)
        if not isinstance(value, io.TextIOWrapper) or self._start != 0 or not hasattr(os, "pread"):
            return None
        same = codecs.lookup(value.encoding).name in {
            codecs.lookup(self._text_encoding).name,
            "ascii",
        }
        return _regular_fd(value.buffer) if same else None

    @property
    def size(self) -> int | None:
        """The file's size where its bytes are sent as they are."""
        fd = self._as_it_is()
        return None if fd is None else os.fstat(fd).st_size

    async def write(self, writer: Any) -> None:
        """Write the text, piece by piece."""
        fd = self._as_it_is()
        own = _OwnDescriptor.of(fd)
        if own is not None:
            await self._write_regular(writer, own, 0, own.size())
            return
        await self._write_by_reading(writer, None, self._text_encoding)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text; this reads it in the caller's thread."""
        if not self._begun and self._start is not None and not _is_closed(self._value):
            self._start = self._value.tell()  # no size was told of a text
        text: str = self._read_all()
        return text

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The whole text, read in a thread and encoded."""
        own = _OwnDescriptor.of(self._as_it_is())
        loop = asyncio.get_running_loop()
        if own is not None:
            with own:
                return await loop.run_in_executor(None, own.read_all)
        text = await loop.run_in_executor(None, self.decode)
        return text.encode(self._text_encoding, errors)


class _OwnDescriptor:
    """A second descriptor of an open file: whatever becomes of the first, it reads that file and no
    other.

    `close` waits for no thread: one that is reading closes it at its end.
    """

    __slots__ = ("_closed", "_fd", "_lock", "_readers")

    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)
        self._lock = threading.Lock()
        self._readers = 0
        self._closed = False

    @classmethod
    def of(cls, fd: int | None) -> _OwnDescriptor | None:
        """One for `fd`; None where there is none, or no more can be had: then the file itself is
        asked.
        """
        if fd is None or not hasattr(os, "pread"):
            return None
        try:
            return cls(fd)
        except OSError:
            return None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self._readers:
                os.close(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, size: int, at: int | None) -> bytes:
        """Up to `size` bytes at `at`, or those that come next where that is None; b"" once it is
        closed.
        """
        with self._lock:
            if self._closed:
                return b""
            self._readers += 1
        try:
            return os.read(self._fd, size) if at is None else os.pread(self._fd, size, at)
        finally:
            with self._lock:
                self._readers -= 1
                if self._closed and not self._readers:
                    os.close(self._fd)

    def read_all(self) -> bytes:
        """All that the file has now."""
        pieces: list[bytes] = []
        at = 0
        while piece := self.read(max(READ_SIZE, self.size() - at), at):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def read_cached(self, size: int, at: int) -> tuple[bytearray | memoryview | None, bool]:
        """(what the page cache has of `size` bytes at `at`, whether to ask again); None: read the
        disk.
        """
        data = bytearray(size)
        try:
            got = _preadv(self._fd, [data], at, _NO_WAIT)
        except OSError as exc:
            # EOPNOTSUPP: the file system cannot tell.
            return None, exc.errno == errno.EAGAIN
        return (data if got == size else memoryview(data)[:got] if got else None), True


class _FileAccess:
    """What all bodies that are made of one file read under, as a context manager: the file has but
    one position.
    """

    __slots__ = ("_ended", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Any = None  # the file, once it is to be closed

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._ended is not None:
            self.close(self._ended)

    def close(self, file: Any) -> None:
        """Close the file, now or when the thread that reads it is through; waits for nobody."""
        self._ended = file  # first: who lets go of the lock looks at it after that
        if not self._lock.acquire(blocking=False):
            return
        try:
            with contextlib.suppress(OSError):
                file.close()
        finally:
            self._ended = None
            self._lock.release()


_accesses: weakref.WeakKeyDictionary[Any, _FileAccess] = weakref.WeakKeyDictionary()
_accesses_guard = threading.Lock()


def _access_to(file: Any) -> _FileAccess:
    try:
        with _accesses_guard:
            access = _accesses.get(file)
            if access is None:
                access = _accesses[file] = _FileAccess()
            return access
    except TypeError:
        return _FileAccess()  # it cannot be found again; a body reads one piece at a time


def _is_closed(file: Any) -> bool:
    return getattr(file, "closed", False) is True


def _unwrapped(file: Any) -> Any:
    """The file inside one of `tempfile.NamedTemporaryFile`."""
    kind = type(file)
    return (
        file.file
        if kind.__module__ == "tempfile" and kind.__name__ == "_TemporaryFileWrapper"
        else file
    )


def _regular_fd(file: Any) -> int | None:
    """The descriptor of a regular file whose bytes are those that reading gives; None for all
    else.
    """
    # A GzipFile, a file in an archive and the like have a descriptor too, of other bytes.
    file = _unwrapped(file)
    raw = file.raw if type(file) in {io.BufferedReader, io.BufferedRandom} else file
    if type(raw) is not io.FileIO or raw.closed:
        return None
    if type(file) is io.BufferedRandom:
        file.flush()
    fd = raw.fileno()
    return fd if stat.S_ISREG(os.fstat(fd).st_mode) else None


def _raw_fd(file: Any) -> int | None:
    """The descriptor of an unbuffered file: a pipe, a terminal, a device."""
    return file.fileno() if type(file) is io.FileIO and not file.closed else None


class _FileLikeType(type):
    def __instancecheck__(cls, value: object) -> bool:
        read = getattr(value, "read", None)
        return (
            callable(read)
            and isinstance(getattr(value, "mode", None), str)
            # Those of aiofiles and the like are async iterables.
            and not hasattr(value, "__aiter__")
            and not iscoroutinefunction(read)
        )


class FileLike(metaclass=_FileLikeType):
    """What has `read` and a mode as files do, and is no `io.IOBase`: what `tempfile` and `codecs`
    give, for two.
    """


def is_file(value: Any) -> bool:
    """Whether a form takes `value` for a file."""
    return isinstance(value, io.IOBase | FileLike)


def file_payload(value: Any, *args: Any, **kwargs: Any) -> IOBasePayload:
    """The payload of a `FileLike`, by its mode."""
    kind = IOBasePayload if "b" in value.mode else TextIOPayload
    return kind(value, *args, **kwargs)
