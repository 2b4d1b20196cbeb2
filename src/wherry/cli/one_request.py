"""``wherry URL``: one request, shown or saved."""

from __future__ import annotations

import asyncio
import stat
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import wherry
from wherry.cli import show
from wherry.cli.argument_values import RequestArguments

if TYPE_CHECKING:
    from wherry.cli.har_recorder import Recorder
    from wherry.cli.named_sessions import NamedSession
    from wherry.cli.progress_bars import Bars

# A body that is larger is not gathered to be made pretty or recorded: it goes through piece by
# piece.
MAX_GATHERED = 64 * 1024 * 1024


@dataclass(slots=True)
class Output:
    """What happens with what comes back.

    Args:
        path: The file, or None for standard output.  A device, a pipe or a descriptor (/dev/fd/3)
            is written to, as curl does it; everything else becomes a file when it is whole.
        resume: Go on with a download that broke off.
        verbose: Show heads, the request's body and times.
        fail: A status from 400 up is an error.
        recorder: Records the exchange, if there is one.
        fail_after: As `fail`, but the body is shown or saved first.
        parts: What is written to standard output: letters of "HBhbm", for the head and the body of
            the request, those of the response, and the times.
        pretty: "all", "colors", "format" or "none"; None for "all" on a terminal and "none" else.
        write_out: What is printed in the end, in curl's words.
        dump: A file for the heads of the responses.
        rate: Bytes of the body a second; None for no limit.
        bars: Whether progress is drawn.
    """

    path: Path | None = None
    resume: bool = False
    verbose: bool = False
    fail: bool = False
    recorder: Recorder | None = None
    fail_after: bool = False
    parts: str = "b"
    pretty: str | None = None
    write_out: str | None = None
    dump: Path | None = None
    rate: int | None = None
    bars: bool = True

    def pace(self) -> Callable[[int], Awaitable[object]] | None:
        """What waits between the pieces of a body."""
        if self.rate is None:
            return None
        from wherry.cli.fetch.politeness import RateLimit

        return RateLimit(self.rate).took

    @property
    def style(self) -> str:
        """How bodies are shown on standard output."""
        return self.pretty or ("all" if sys.stdout.isatty() else "none")

    @property
    def shows(self) -> bool:
        """Whether a body is gathered, to be shown as a person reads it."""
        return self.path is None and (sys.stdout.isatty() or self.style != "none")


async def run_single(wanted: RequestArguments, output: Output, named: NamedSession | None) -> None:
    """Make the request and do with the response what was asked for.

    Args:
        wanted: The request.
        output: What happens with what comes back.
        named: The named session that the request belongs to.

    Raises:
        ClientError: The request failed, or has a status that counts as failure.
        OSError: A file cannot be written.
        ValueError: Something cannot be sent or shown.
    """
    connector = wanted.connector()
    jar = named.cookies() if named is not None else _jar(wanted)
    async with wherry.ClientSession(
        connector=connector,
        trust_env=True,
        cookie_jar=jar,
        middlewares=_middlewares(wanted, named),
        trace_configs=[_quic_notes()] if output.verbose else None,
    ) as session:
        try:
            if output.resume:
                await _go_on(session, wanted, output)
            else:
                await _exchange(session, wanted, output)
        finally:
            # What the server gave counts, whatever became of the rest.
            if named is not None:
                named.keep(wanted, jar)
            elif wanted.cookies_to is not None:
                _keep_cookies(jar, wanted.cookies_to)


def _jar(wanted: RequestArguments) -> wherry.CookieJar:
    """The cookies to begin with; as with curl, hosts that are addresses have some, too."""
    jar = wherry.CookieJar(unsafe=True)
    # The first of many runs finds no file where it is to write one.
    is_first = wanted.cookies == wanted.cookies_to and not Path(wanted.cookies or "").exists()
    if wanted.cookies is not None and not is_first:
        jar.load_cookies_txt(wanted.cookies)
    return jar


def _keep_cookies(jar: wherry.CookieJar, path: str) -> None:
    if path == "-":
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "cookies.txt"
            jar.save_cookies_txt(file)
            show.write_plain(file.read_bytes())
    else:
        jar.save_cookies_txt(path)


def _middlewares(
    wanted: RequestArguments, named: NamedSession | None
) -> list[wherry.ClientMiddlewareType]:
    middlewares: list[wherry.ClientMiddlewareType] = []
    if named is not None:
        middlewares.append(named.guard(wanted))
    if wanted.retries:
        middlewares.append(wherry.RetryMiddleware(attempts=wanted.retries + 1))
    if wanted.digest and wanted.user is not None:
        middlewares.append(wherry.DigestAuthMiddleware(*wanted.user))
    return middlewares


async def _go_on(session: wherry.ClientSession, wanted: RequestArguments, output: Output) -> None:
    """Download to a file, from where it broke off."""
    if output.path is None:
        raise ValueError("--continue needs -o FILE")
    if _is_stream(output.path):
        raise ValueError(f"--continue needs a file, and {output.path} is none")
    if wanted.method != "GET":
        raise ValueError(f"--continue goes with GET, not with {wanted.method}")
    with _bars(output) as bars:
        await session.download(
            wanted.url,
            output.path,
            resume=True,
            pace=output.pace(),
            progress=bars.bar(output.path.name).advance,
            **wanted.options,
        )


async def _exchange(
    session: wherry.ClientSession, wanted: RequestArguments, output: Output
) -> None:
    # What a terminal shows is gathered first.
    limit = MAX_GATHERED if output.shows else None
    began = time.perf_counter()
    answered = False
    try:
        async with session.request(
            wanted.method, wanted.url, max_body_size=limit, **wanted.options
        ) as response:
            answered = True
            await _answered(session, wanted, output, response, began)
    except (wherry.ClientError, TimeoutError, OSError) as exc:
        if output.write_out is not None and not answered:
            from wherry.cli.write_out import written_for_nothing

            took = time.perf_counter() - began
            text = written_for_nothing(output.write_out, wanted, took, show.describe(exc))
            show.write_plain(text.encode("utf-8", "surrogateescape"))
        raise


async def _answered(
    session: wherry.ClientSession,
    wanted: RequestArguments,
    output: Output,
    response: wherry.ClientResponse,
    began: float,
) -> None:
    """Do with a response what was asked for; the request was made at `began`."""
    first_byte = time.perf_counter() - began
    _show_heads(wanted, response, output)
    if output.fail and not response.ok:
        _write_out(output, response, show.seconds_of(response, first_byte, first_byte), 0)
        response.raise_for_status()
    content, size = await _take(response, output)
    seconds = show.seconds_of(response, first_byte, time.perf_counter() - began)
    if output.verbose or "m" in output.parts:
        show.timings(seconds)
    if output.verbose:
        assert session.connector is not None
        stats = session.connector.stats()
        show.note(f"connections: opened {stats.opened}, reused {stats.reused}")
    if output.recorder is not None:
        output.recorder.add(wanted, response, content, seconds)
        output.recorder.write()
    _write_out(output, response, seconds, size)
    if output.fail_after:
        response.raise_for_status()


def _write_out(
    output: Output, response: wherry.ClientResponse, seconds: show.Seconds, size: int
) -> None:
    """What -w asks for, which counts for failures, too."""
    if output.write_out is not None:
        from wherry.cli.write_out import written_out

        text = written_out(output.write_out, response, seconds, size)
        show.write_plain(text.encode("utf-8", "surrogateescape"))


def _show_heads(wanted: RequestArguments, response: wherry.ClientResponse, output: Output) -> None:
    """What is told before the body: heads, where they were asked for, and on a terminal the
    status.
    """
    if output.verbose:
        show.heads(response, wanted.body)
    if output.dump is not None:
        output.dump.write_bytes(show.head_bytes(response))
    if "H" in output.parts:
        show.request_head(response)
    if "B" in output.parts and wanted.body is not None:
        show.write_plain(wanted.body + b"\n\n")
    if "h" in output.parts:
        show.head(response)
    elif not output.verbose and output.shows and sys.stdout.isatty():
        show.status(response)


def _quic_notes() -> wherry.TraceConfig:
    """Says whether a request goes by HTTP/3, and why."""

    async def started(
        session: object, context: SimpleNamespace, params: wherry.TraceQuicHandshakeStartParams
    ) -> None:
        context.quic_began = time.perf_counter()
        show.note(f"HTTP/3: trying {_place(params.host, params.port)} by QUIC ({params.known_by})")

    async def ended(
        session: object, context: SimpleNamespace, params: wherry.TraceQuicHandshakeEndParams
    ) -> None:
        took = (time.perf_counter() - context.quic_began) * 1000
        place = _place(params.host, params.port)
        if params.exception is None:
            show.note(f"HTTP/3: connected to {place} in {took:.1f} ms")
        else:
            show.note(f"HTTP/3: not with {place}: {show.describe(params.exception)}")

    traces = wherry.TraceConfig()
    traces.on_quic_handshake_start.append(started)
    traces.on_quic_handshake_end.append(ended)
    return traces


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_stream(path: Path) -> bool:
    """Whether what the user named is there to be written to, not to be replaced by a file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return not path.is_dir()
    except OSError:
        return False  # there is nothing, or the download says what is wrong
    # /dev/stdout and /dev/fd/1 lead to the file of a shell's redirection, too.
    return path.is_symlink() and path.absolute().parts[1:2] in {("dev",), ("proc",)}


def _bars(output: Output) -> Bars:
    """Bars for a file; a body that is shown loads nothing for them."""
    from wherry.cli.progress_bars import Bars

    return Bars(shown=output.bars)


async def _take(response: wherry.ClientResponse, output: Output) -> tuple[bytes | None, int]:
    """Save or show the body, and say how large it was.

    The body is given where it is recorded, None if it is too large for that.
    """
    if output.path is not None and _is_stream(output.path):
        with output.path.open("wb") as file, _bars(output) as bars:
            advance = bars.bar(output.path.name).advance
            return await _pour(response, output, file.write, advance)
    if output.path is not None:
        with _bars(output) as bars:
            result = await response.download(
                output.path, progress=bars.bar(output.path.name).advance, pace=output.pace()
            )
        if output.recorder is None or result.size > MAX_GATHERED:
            return None, result.size
        return await asyncio.to_thread(result.path.read_bytes), result.size
    if "b" not in output.parts:
        content = await response.read()
        return content, len(content)
    if output.shows:
        return await _show_body(response, output)
    gathered = await _pour(response, output, show.write_plain, None)
    sys.stdout.buffer.flush()
    return gathered


async def _show_body(response: wherry.ClientResponse, output: Output) -> tuple[bytes | None, int]:
    """Show a body as a person reads it."""
    from wherry.cli import pretty_print

    if pretty_print.is_event_stream(response):
        # It ends when the server likes.
        writer = show.TextWriter()
        try:
            return await _pour(response, output, writer.write, None)
        finally:
            writer.end()
    content = await response.read()
    style = output.style
    if content:
        pretty_print.print_body(
            response,
            content,
            formats=style in {"all", "format"},
            colours=style in {"all", "colors"},
        )
        if sys.stdout.isatty() and (problem := pretty_print.problem_of(response, content)):
            show.note(problem)
    elif sys.stdout.isatty() and response.method != "HEAD":
        show.note("the body is empty")
    return content, len(content)


async def _pour(
    response: wherry.ClientResponse,
    output: Output,
    write: Callable[[bytes], object],
    advance: Callable[[int, int | None], None] | None,
) -> tuple[bytes | None, int]:
    """Write the body as it comes, and say how large it was; gives it where it is recorded and not
    too large for that.
    """
    total = None if "Content-Encoding" in response.headers else response.content_length
    gathered = bytearray() if output.recorder is not None else None
    size = 0
    pace = output.pace()
    async for piece in response.content.iter_any():
        write(piece)
        size += len(piece)
        if pace is not None:
            await pace(len(piece))
        if advance is not None:
            advance(size, total)
        if gathered is not None:
            gathered += piece
            if len(gathered) > MAX_GATHERED:
                gathered = None
    return None if gathered is None else bytes(gathered), size
