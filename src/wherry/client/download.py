"""A response's body into a file: under another name until it is whole, and from where it broke off
if told to.

What is on the disk under the wanted name is always a whole file: the body is written beside it and
renamed when its length and its digest are right.  Disk work runs in a thread, while the next pieces
arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wherry.errors import ClientError, ClientPayloadError, ClientResponseError

if TYPE_CHECKING:
    from yarl import URL

    from wherry.client.response import ClientResponse
    from wherry.client.session import ClientSession

__all__ = ("DownloadResult", "Progress", "download", "fetch_to_file")

# How much is gathered before a thread writes it; as much again arrives meanwhile.
BATCH: Final = 2**20
# Bytes of a name that a server chose: file systems take 255, and a part has some more.
LONGEST_NAME: Final = 200
# Control characters, the mark of alternate streams, and what makes a name look like another one.
_SPOOFING: Final = re.compile(r"[\x00-\x1f\x7f:\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CONTENT_RANGE: Final = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)\Z")

# Called with the bytes that the file has now and those that it will have, None where that is not
# known.
Progress = Callable[[int, "int | None"], object]


class DownloadResult(NamedTuple):
    """What a download has made.

    `resumed_from` is how many bytes were there already.
    """

    path: Path
    size: int
    resumed_from: int


class _Digest:
    """A digest to be met: "sha256:1f3a..."; any algorithm that hashlib knows."""

    __slots__ = ("_hash", "expected", "name")

    def __init__(self, wanted: str) -> None:
        self.name, colon, self.expected = wanted.strip().partition(":")
        if not colon or not re.fullmatch(r"[0-9a-fA-F]+", self.expected):
            raise ValueError(f"a digest is written as algorithm:hexadecimal, not {wanted!r}")
        self._hash = hashlib.new(self.name, usedforsecurity=False)
        if len(self.expected) != 2 * self._hash.digest_size:
            raise ValueError(f"not a {self.name} digest: {self.expected!r}")

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    def check(self, path: Path) -> None:
        found = self._hash.hexdigest()
        if found != self.expected.lower():
            raise ClientPayloadError(
                f"{path}: the {self.name} digest is {found}, expected {self.expected}"
            )


class _PartFile:
    """The file beside the wanted one; each method but `__init__` runs in a thread.

    Args:
        path: The wanted file.
        keep: Use a name by which the part is found again, and leave it there after a failure.
        digest: Is fed with all that the file has.
    """

    def __init__(self, path: Path, *, keep: bool, digest: _Digest | None) -> None:
        self.path = path
        self.keep = keep
        self.digest = digest
        self.part = path.with_name(
            f"{path.name}.part" if keep else f".{path.name}.{secrets.token_hex(4)}.part"
        )
        self.notes = path.with_name(f"{path.name}.part.json")
        self.size = 0
        self._fd: int | None = None

    def validator(self) -> str | None:
        """What If-Range must say for the part that is there (RFC 9110 13.1.5); None if there is
        none.
        """
        try:
            self.size = self.part.stat().st_size
            validator = json.loads(self.notes.read_text("utf-8"))["validator"]
        except (OSError, ValueError, KeyError, TypeError):
            self.size = 0
            return None
        if not self.size or not isinstance(validator, str):
            self.size = 0
            return None
        return validator

    def open(self, validator: str | None) -> None:
        """Open for appending to what is there if `size` says so, else anew."""
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NOFOLLOW", 0)
        if self.size:
            if self.digest is not None:
                self._digest_part(self.digest)
            self._fd = os.open(self.part, flags | os.O_APPEND)
            return
        self._fd = os.open(self.part, flags | (os.O_TRUNC if self.keep else os.O_EXCL), 0o666)
        if self.keep:
            self.notes.unlink(missing_ok=True)
            if validator is not None:
                self.notes.write_text(json.dumps({"validator": validator}), "utf-8")

    def _digest_part(self, digest: _Digest) -> None:
        with self.part.open("rb") as file:
            while piece := file.read(BATCH):
                digest.update(piece)

    def write(self, pieces: list[bytes]) -> None:
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        assert self._fd is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        if self.digest is not None:
            self.digest.update(data)
        self.size += len(data)

    def finish(self, total: int | None) -> None:
        """Check what is there and give it its name.

        Raises:
            ClientPayloadError: It has not the length or the digest that it should have.
        """
        self.close()
        try:
            if total is not None and self.size != total:
                raise ClientPayloadError(
                    f"{self.path}: {self.size} bytes came, {total} were announced"
                )
            if self.digest is not None:
                self.digest.check(self.path)
        except ClientPayloadError:
            # Going on from here could never give the right file.
            self.drop()
            raise
        self.part.replace(self.path)
        if self.keep:
            self.notes.unlink(missing_ok=True)

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def abandon(self) -> None:
        """End after a failure: the part file is kept only where it may be resumed."""
        self.close()
        if not self.keep:
            self.drop()

    def drop(self) -> None:
        for path in (self.part, self.notes) if self.keep else (self.part,):
            with contextlib.suppress(OSError):
                path.unlink()


async def download(
    response: ClientResponse,
    path: str | os.PathLike[str],
    *,
    digest: str | None = None,
    progress: Progress | None = None,
) -> DownloadResult:
    """Write the body of `response` to a file, which appears under its name when it is whole.

    Args:
        response: Whose body was not read, or was read whole.
        path: The file; one that is there is replaced.  For a directory the name is the one that the
            response gives, or its URL's last segment.
        digest: "sha256:..." or another of hashlib's; the file must have it.
        progress: Called as the file grows.

    Raises:
        ClientPayloadError: The body is not whole, or has another digest.
        OSError: The file cannot be written.
    """
    target = await asyncio.to_thread(_target, Path(path), response)
    file = _PartFile(target, keep=False, digest=None if digest is None else _Digest(digest))
    return await _receive(response, file, _body_size(response), progress)


def _target(path: Path, response: ClientResponse) -> Path:
    """The file that is meant; a directory gets a name that cannot lead out of it."""
    if not path.is_dir():
        return path
    disposition = response.content_disposition
    for name in (disposition.filename if disposition is not None else None, response.url.name):
        # Both are the peer's word.
        plain = re.split(r"[/\\]", name or "")[-1].strip().strip(".")
        plain = _SPOOFING.sub("_", plain)
        if plain:
            return path / _shortened(plain)
    return path / "download"


def _shortened(name: str) -> str:
    """The name without what makes it too long for file systems, its suffix kept."""
    if len(name.encode("utf-8", "surrogatepass")) <= LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 16:
        stem, dot, suffix = name, "", ""
    encoded = stem.encode("utf-8", "replace")[: LONGEST_NAME - 4 * len(suffix)]
    return encoded.decode("utf-8", "ignore") + dot + suffix


def _body_size(response: ClientResponse) -> int | None:
    """How many bytes will come; None where they are counted before decoding, or not at all."""
    return None if "Content-Encoding" in response.headers else response.content_length


async def _receive(
    response: ClientResponse,
    file: _PartFile,
    total: int | None,
    progress: Progress | None,
    validator: str | None = None,
) -> DownloadResult:
    """Take the body into `file`, and finish it."""
    start = file.size
    writing: asyncio.Task[None] | None = None
    try:
        await asyncio.to_thread(file.open, validator)
        async for pieces in _batches(response):
            if writing is not None:
                await writing
                _tell(progress, file.size, total)
            writing = asyncio.create_task(asyncio.to_thread(file.write, pieces))
        if writing is not None:
            await writing
        _tell(progress, file.size, total)
        await asyncio.to_thread(file.finish, total)
    except BaseException:
        response.close()
        if writing is not None:
            # A thread cannot be called back: the file is let go when it is through.
            await asyncio.wait([writing])
            writing.exception()
        file.abandon()
        raise
    return DownloadResult(file.path, file.size, start)


def _tell(progress: Progress | None, size: int, total: int | None) -> None:
    if progress is not None:
        progress(size, total)


async def _batches(response: ClientResponse) -> Any:
    """The body, in lists of pieces that a thread writes at once."""
    if response._body is not None:
        if body := await response.read():
            yield [body]
        return
    content = response.content
    content.set_read_chunk_size(BATCH)
    pieces: list[bytes] = []
    gathered = 0
    try:
        while piece := await content.readany():
            pieces.append(piece)
            gathered += len(piece)
            if gathered >= BATCH:
                yield pieces
                pieces = []
                gathered = 0
    except (ClientError, TimeoutError):
        # What came before the failure is there to go on from.
        if pieces:
            yield pieces
        raise
    if pieces:
        yield pieces


async def fetch_to_file(
    session: ClientSession,
    url: str | URL,
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    digest: str | None = None,
    progress: Progress | None = None,
    **kwargs: Any,
) -> DownloadResult:
    """Download `url` to a file; see `ClientSession.download`."""
    if not resume:
        asked = any(name.lower() == "range" for name, _ in _pairs(kwargs.get("headers")))
        async with session.get(url, **kwargs) as response:
            _require_file(response, ranged=asked)
            return await download(response, path, digest=digest, progress=progress)
    file = _PartFile(Path(path), keep=True, digest=None if digest is None else _Digest(digest))
    validator = await asyncio.to_thread(file.validator)
    headers = list(_pairs(kwargs.pop("headers", None)))
    # Only what comes unencoded can be gone on with at a byte.
    headers = [
        pair for pair in headers if pair[0].lower() not in {"range", "if-range", "accept-encoding"}
    ]
    headers.append(("Accept-Encoding", "identity"))
    if validator is not None:
        ranged = [*headers, ("Range", f"bytes={file.size}-"), ("If-Range", validator)]
        async with session.get(url, headers=ranged, **kwargs) as response:
            result = await _resume(response, file, validator, progress)
            if result is not None:
                return result
        file.size = 0
    async with session.get(url, headers=headers, **kwargs) as response:
        _require_file(response)
        return await _receive(
            response, file, _body_size(response), progress, _validator_of(response)
        )


async def _resume(
    response: ClientResponse, file: _PartFile, validator: str, progress: Progress | None
) -> DownloadResult | None:
    """Go on with the part, or begin again from a whole answer; None where the part is of no use."""
    if response.status == 206:
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if found is None or found[1] is None or int(found[1]) != file.size:
            came = response.headers.get("Content-Range")
            raise ClientPayloadError(
                f"{response.url} answered bytes={file.size}- with Content-Range {came!r}"
            )
        # There are servers that overlook an If-Range with an entity tag: what they send belongs to
        # another file.
        if _validator_of(response) not in {None, validator}:
            return None
        total = int(found[2]) + 1 if found[3] == "*" else int(found[3])
        return await _receive(response, file, total, progress)
    if response.status == 416:
        # RFC 9110 15.5.17: the part may be all there is, which only its length tells.
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if found is None or found[1] is not None or found[3] != str(file.size):
            return None
        start = file.size
        await asyncio.to_thread(file.open, None)
        await asyncio.to_thread(file.finish, start)
        _tell(progress, start, start)
        return DownloadResult(file.path, start, start)
    _require_file(response)
    file.size = 0
    return await _receive(response, file, _body_size(response), progress, _validator_of(response))


def _require_file(response: ClientResponse, *, ranged: bool = False) -> None:
    """Let nothing but a file take the place of one that is there: no redirect, no "not modified",
    no mere part.

    Raises:
        ClientResponseError: With the status that came.
    """
    response.raise_for_status()
    if not 200 <= response.status < 300 or (response.status == 206 and not ranged):
        raise ClientResponseError(
            response.request_info,
            response.history,
            status=response.status,
            message=f"{response.reason}: this is not the file",
            headers=response.headers,
        )


def _validator_of(response: ClientResponse) -> str | None:
    """What may stand in If-Range: a strong entity tag, else the date (RFC 9110 13.1.5)."""
    tag = response.headers.get("ETag")
    if tag is not None:
        return tag if tag.startswith('"') else None
    return response.headers.get("Last-Modified")


def _pairs(headers: Any) -> Any:
    if headers is None:
        return ()
    return headers.items() if hasattr(headers, "items") else headers
