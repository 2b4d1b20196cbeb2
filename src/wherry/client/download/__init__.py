"""A response's body into a file: under another name until it is whole, resumed where it broke off.

`plan` decides, `part_file` and `resume_notes` keep what is on the disk, `receive` brings one body
there, `parallel_ranges` several at once.  This module is the loop round them: ask, decide, receive,
judge.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wherry.argument_checks import whole_number
from wherry.client.download import parallel_ranges
from wherry.client.download.disk_thread import in_thread
from wherry.client.download.file_names import check_target, safe_name
from wherry.client.download.part_file import Digest, Existing, KeptPart, Part
from wherry.client.download.plan import (
    Answer,
    Held,
    Move,
    Request,
    Step,
    ask,
    decide,
    judge,
    same_length,
)
from wherry.client.download.receive import ExcessError, Pace, Progress, receive
from wherry.client.download.resume_notes import digest_of
from wherry.errors import ClientError, ClientPayloadError, ClientResponseError

if TYPE_CHECKING:
    from yarl import URL

    from wherry.client.interfaces import ReadableResponse, RequestingSession, UrlBuilder

__all__ = ("DownloadResult", "Pace", "Progress", "download", "fetch_to_file")

# What a download says itself.
_OWN_FIELDS: Final = frozenset(
    {"range", "if-range", "accept-encoding", "if-none-match", "if-modified-since"}
)


class DownloadResult(NamedTuple):
    """What a download has made.

    Attributes:
        path: The file.
        size: Its bytes.
        resumed_from: How many bytes were there already: all of them, if the file was.
    """

    path: Path
    size: int
    resumed_from: int


async def download(
    response: ReadableResponse,
    path: str | os.PathLike[str],
    *,
    digest: str | None = None,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> DownloadResult:
    """Write the body of `response` to a file; see `ClientResponse.download`."""
    wanted = None if digest is None else Digest(digest)
    target, existing = await in_thread(_target, Path(path), response, "replace")
    part = Part(target, existing=existing, digest=wanted, decode=False)
    return await _save(response, part, progress, pace)


def _check_place(path: Path, existing: Existing) -> None:
    """See that `path` can be a file, or is a directory that a file goes into."""
    if path.is_dir():
        return
    check_target(path)
    if existing == "refuse" and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _target(path: Path, response: ReadableResponse, existing: Existing) -> tuple[Path, Existing]:
    """(the file that is meant, what becomes of one that is there).

    A name that the server chose never replaces a file.
    """
    if not path.is_dir():
        _check_place(path, existing)
        return path, existing
    disposition = response.content_disposition
    # Both are the peer's word.
    for name in (disposition.filename if disposition is not None else None, response.url.name):
        if safe := safe_name(name):
            return path / safe, "number"
    return path / "download", "number"


async def _save(
    response: ReadableResponse, part: Part, progress: Progress | None, pace: Pace | None
) -> DownloadResult:
    """The body of one response, decoded as the session does it, as a file."""
    # How many bytes will come is not known where they are counted before decoding.
    total = None if "Content-Encoding" in response.headers else response.content_length
    try:
        await in_thread(part.open)
        await in_thread(part.begin, Held(total=total))
        # What comes may be more than `total`: the framing is the engine's matter.
        await receive(response, part, 0, None, _teller(progress, total), pace)
        size = await in_thread(part.finish)
    except BaseException as exc:
        response.close()
        await _end(part.abandon, exc)
        raise
    return DownloadResult(part.path, size, 0)


def _teller(progress: Progress | None, total: int | None) -> Any:
    return (lambda size: None) if progress is None else (lambda size: progress(size, total))


async def _end(function: Any, exc: BaseException) -> None:
    """Let go, in a thread; a coroutine that is thrown away cannot wait for one."""
    if isinstance(exc, GeneratorExit):
        function()
    else:
        await in_thread(function)


async def fetch_to_file(
    session: RequestingSession,
    builder: UrlBuilder,
    url: str | URL,
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    connections: int = 1,
    replace: bool = True,
    digest: str | None = None,
    progress: Progress | None = None,
    trust_length: bool = False,
    pace: Pace | None = None,
    **kwargs: Any,
) -> DownloadResult:
    """Download `url` to a file; see `ClientSession.download`."""
    existing: Existing = "replace" if replace else "refuse"
    wanted = None if digest is None else Digest(digest)
    connections = whole_number("connections", connections)
    if connections < 1:
        raise ValueError(f"connections is 1 or more, not {connections}")
    target = Path(path)
    if not resume and connections == 1:
        return await _fetch_once(session, url, target, existing, wanted, progress, pace, kwargs)
    await in_thread(check_target, target)
    if not resume:
        await in_thread(_check_place, target, existing)
    job = _Job(session, builder, url, target, existing, wanted, progress, kwargs, resume=resume)
    job.trust_length, job.pace = trust_length, pace
    error: BaseException = GeneratorExit()
    try:
        return await job.run(connections)
    except BaseException as exc:
        error = exc
        await _end(job.part.abandon, exc)
        raise
    finally:
        await _end(job.part.close, error)


async def _fetch_once(
    session: RequestingSession,
    url: str | URL,
    path: Path,
    existing: Existing,
    digest: Digest | None,
    progress: Progress | None,
    pace: Pace | None,
    kwargs: dict[str, Any],
) -> DownloadResult:
    """A download that is not gone on with, by one request."""
    await in_thread(_check_place, path, existing)
    ranged = any(name.lower() == "range" for name, _ in _pairs(kwargs.get("headers")))
    async with session.get(url, **kwargs) as response:
        is_part = ranged and response.status == 206
        if not is_part and decide(Held(), Request(), _answer(response, "")).step is Step.ERROR:
            raise _no_file(response)
        target, existing = await in_thread(_target, path, response, existing)
        part = Part(target, existing=existing, digest=digest, decode=False)
        return await _save(response, part, progress, pace)


class _Job:
    """A download by ranges: one that is gone on with, or one over several connections."""

    def __init__(
        self,
        session: RequestingSession,
        builder: UrlBuilder,
        url: str | URL,
        path: Path,
        existing: Existing,
        digest: Digest | None,
        progress: Progress | None,
        kwargs: dict[str, Any],
        *,
        resume: bool,
    ) -> None:
        self.session = session
        self.start = 0  # how much was there already
        self.pace: Pace | None = None
        self.trust_length = False  # whether a finished file is known by its length, too
        self.url = builder.resolve_url(url)
        headers = _pairs(kwargs.pop("headers", None))
        self.headers = [pair for pair in headers if pair[0].lower() not in _OWN_FIELDS]
        # Only what comes unencoded can be gone on with at a byte that means something in the file;
        # what comes encoded all the same is kept so, and decoded in the end.
        self.headers.append(("Accept-Encoding", "identity"))
        decode = kwargs.pop("auto_decompress", None)
        limit = kwargs.get("max_body_size")
        # A status of 416 is an answer here, whatever the session says of errors.
        self.options = {**kwargs, "auto_decompress": False, "raise_for_status": False}
        self.progress = progress
        asked = self.url
        if params := builder.completed(url, kwargs).get("params"):
            asked = asked.extend_query(params)
        self.asked = digest_of(str(asked.with_fragment(None)))
        options: dict[str, Any] = {
            "existing": existing,
            "digest": digest,
            "decode": builder.defaults.auto_decompress if decode is None else decode,
            "max_size": builder.defaults.max_body_size if limit is None else limit,
        }
        self.part: Part = KeptPart(path, self.asked, **options) if resume else Part(path, **options)

    async def run(self, connections: int) -> DownloadResult:
        """Ask, decide, receive and judge, until the file is whole."""
        part = self.part
        await in_thread(part.open)
        if isinstance(part, KeptPart) and await in_thread(part.has_digest):
            return await self._stays(part)
        self.start = part.held.size
        slice_size = parallel_ranges.SLICE if connections > 1 else None
        while True:
            step = await self._step(slice_size)
            if step is Step.DONE:
                if isinstance(part, KeptPart) and part.held.finished:
                    return await self._stays(part)
                return await self._whole()
            if step is Step.ASK_AGAIN or part.held.total is None:
                slice_size = None  # there is nothing to share out
            if slice_size is not None:
                if await parallel_ranges.fetch(self, connections):
                    return await self._whole()
                # The server does not go along: what is missing is asked for in one piece.
                slice_size = None

    async def _step(self, slice_size: int | None) -> Step:
        """One request and what it brings; DONE, APPEND for more, or ASK_AGAIN."""
        part = self.part
        request = ask(part.held, slice_size)
        before = part.held.size
        async with self.get(request) as response:
            answer = self.answer(response)
            if self.trust_length and same_length(part.held, answer):
                response.close()
                return Step.DONE
            move = decide(part.held, request, answer)
            if move.step is Step.ERROR:
                raise _no_file(response)
            if move.step is Step.ASK_AGAIN:
                part.forget()
                self.start = 0
                return move.step
            if move.step is Step.DONE:
                response.close()  # what it may bring is here already
                return move.step
            if move.step is not Step.APPEND:
                self.start = min(self.start, move.at)
            try:
                await self._take(response, answer, move)
            except ExcessError:
                raise
            except (ClientError, TimeoutError):
                # One slice of many: what is missing of it is asked for with the others.
                if slice_size is None or not part.held.validator or part.held.size <= before:
                    raise
        # A body that begins the file anew need not be longer than what was there.
        step = judge(part.held, -1 if move.step is Step.BEGIN_AGAIN else before)
        if step is Step.ERROR:
            raise ClientPayloadError(
                f"{self.url.origin()} sends no more than {part.held.size} bytes of "
                f"{part.held.total}"
            )
        return step

    async def _take(self, response: ReadableResponse, answer: Answer, move: Move) -> None:
        """Bring the body of an answer into the part."""
        part = self.part
        if move.step is Step.BEGIN_AGAIN:
            held = Held(0, move.total, answer.validator, answer.coding or "", answer.place)
        elif part.held.size:
            held = part.held._replace(size=move.at, total=move.total)
        else:
            held = Held(0, move.total, answer.validator, answer.coding or "", answer.place)
        await in_thread(part.begin, held)
        place = await receive(
            response,
            part,
            held.size,
            move.end,
            lambda size: self._tell(size, move.total),
            self.pace,
        )
        if move.step is Step.BEGIN_AGAIN and move.total is None:
            # Its end is known now: the framing has told it.
            part.held = part.held._replace(total=place)

    def get(self, request: Request) -> Any:
        """Send a request."""
        headers = [*self.headers, *request.fields]
        return self.session.get(self.url, headers=headers, **self.options)

    def answer(self, response: ReadableResponse) -> Answer:
        """What a head says, its place included."""
        place = self.asked
        if response.history:
            # Where redirects lead may be signed anew each time, in the query.
            place = digest_of(str(response.url.with_query(None)))
        return _answer(response, place)

    def failure(self, response: ReadableResponse) -> ClientError:
        """What an answer that is no file raises."""
        return _no_file(response)

    def _tell(self, size: int, total: int | None) -> None:
        if self.progress is not None:
            self.progress(size, total)

    async def _whole(self) -> DownloadResult:
        if self.start == self.part.held.size:
            self._tell(self.start, self.start)  # nothing came that would have told it
        size = await in_thread(self.part.finish)
        return DownloadResult(self.part.path, size, self.start)

    async def _stays(self, part: KeptPart) -> DownloadResult:
        size = await in_thread(part.stay)
        self._tell(size, size)
        return DownloadResult(part.path, size, size)


def _answer(response: ReadableResponse, place: str) -> Answer:
    return Answer.of(response.status, response.headers, place, response.content_length)


def _no_file(response: ReadableResponse) -> ClientResponseError:
    """What came is no file: a redirect, a "not modified" or a mere part takes no file's place."""
    from wherry.client.call_mistakes import standard_reason

    message = response.reason or standard_reason(response.status)
    if response.status < 400:
        message = f"{message}: this is not the file".lstrip(": ")
    return ClientResponseError(
        response.request_info,
        response.history,
        status=response.status,
        message=message,
        headers=response.headers,
    )


def _pairs(headers: Any) -> list[tuple[str, str]]:
    if headers is None:
        return []
    return list(headers.items() if hasattr(headers, "items") else headers)
