"""``wherry URL``: one request, shown or saved."""

from __future__ import annotations

import asyncio
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import wherry
from wherry.cli import show
from wherry.cli.arguments import RequestArguments

if TYPE_CHECKING:
    from wherry.cli.bars import Bars
    from wherry.cli.har import Recorder

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
        verbose: Show heads and times.
        fail: A status from 400 up is an error.
        recorder: Records the exchange, if there is one.
        fail_after: As `fail`, but the body is shown or saved first.
        head: Write the head before the body, on standard output.
        bars: Whether progress is drawn.
    """

    path: Path | None = None
    resume: bool = False
    verbose: bool = False
    fail: bool = False
    recorder: Recorder | None = None
    fail_after: bool = False
    head: bool = False
    bars: bool = True


async def run_single(wanted: RequestArguments, output: Output) -> None:
    """Make the request and do with the response what was asked for.

    Raises:
        ClientError: The request failed, or has a status that counts as failure.
        OSError: A file cannot be written.
        ValueError: Something cannot be sent or shown.
    """
    connector = wanted.connector()
    traces = [_quic_notes()] if output.verbose else None
    async with wherry.ClientSession(
        connector=connector, trust_env=True, trace_configs=traces
    ) as session:
        if output.resume:
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
                    progress=bars.bar(output.path.name).advance,
                    **wanted.options,
                )
            return
        # What a terminal shows is gathered first.
        limit = MAX_GATHERED if _shows(output) else None
        began = time.perf_counter()
        async with session.request(
            wanted.method, wanted.url, max_body_size=limit, **wanted.options
        ) as response:
            first_byte = time.perf_counter() - began
            if output.verbose:
                show.heads(response)
            if output.fail:
                response.raise_for_status()
            if output.head:
                show.head(response)
            content = await _take(response, output)
            seconds = show.seconds_of(response, first_byte, time.perf_counter() - began)
            if output.verbose:
                show.timings(seconds)
                stats = connector.stats()
                show.note(f"connections: opened {stats.opened}, reused {stats.reused}")
            if output.recorder is not None:
                output.recorder.add(wanted, response, content, seconds)
            refused = output.fail_after and not response.ok
    if output.recorder is not None:
        output.recorder.write()
    if refused:
        response.raise_for_status()


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
    from wherry.cli.bars import Bars

    return Bars(shown=output.bars)


def _shows(output: Output) -> bool:
    return output.path is None and sys.stdout.isatty()


async def _take(response: wherry.ClientResponse, output: Output) -> bytes | None:
    """Save or show the body; gives it where it is recorded, None if it is too large for that."""
    if output.path is not None and _is_stream(output.path):
        with output.path.open("wb") as file, _bars(output) as bars:
            advance = bars.bar(output.path.name).advance
            return await _pour(response, output, file.write, advance)
    if output.path is not None:
        with _bars(output) as bars:
            result = await response.download(
                output.path, progress=bars.bar(output.path.name).advance
            )
        if output.recorder is None or result.size > MAX_GATHERED:
            return None
        return await asyncio.to_thread(result.path.read_bytes)
    if _shows(output):
        content = await response.read()
        if content:
            show.body(response, content)
        return content
    gathered = await _pour(response, output, show.write_plain, None)
    sys.stdout.buffer.flush()
    return gathered


async def _pour(
    response: wherry.ClientResponse,
    output: Output,
    write: Callable[[bytes], object],
    advance: Callable[[int, int | None], None] | None,
) -> bytes | None:
    """Write the body as it comes; gives it where it is recorded and not too large for that."""
    total = None if "Content-Encoding" in response.headers else response.content_length
    gathered = bytearray() if output.recorder is not None else None
    size = 0
    async for piece in response.content.iter_any():
        write(piece)
        size += len(piece)
        if advance is not None:
            advance(size, total)
        if gathered is not None:
            gathered += piece
            if len(gathered) > MAX_GATHERED:
                gathered = None
    return None if gathered is None else bytes(gathered)
