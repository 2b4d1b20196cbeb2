"""``wherry URL``: one request, shown or saved."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

import wherry
from wherry.cli import show
from wherry.cli.ask import Ask
from wherry.cli.har import Recorder

# A body that is larger is not gathered to be made pretty or recorded: it goes through piece by piece.
MAX_GATHERED = 64 * 1024 * 1024


@dataclass(slots=True)
class Output:
    """What happens with what comes back.

    Args:
        path: The file, or None for standard output.
        resume: Go on with a download that broke off.
        verbose: Show heads and times.
        fail: A status from 400 up is an error.
        recorder: Records the exchange, if there is one.
    """

    path: Path | None = None
    resume: bool = False
    verbose: bool = False
    fail: bool = False
    recorder: Recorder | None = None


async def run_single(ask: Ask, output: Output) -> None:
    """Make the request and do with the response what was asked for.

    Raises:
        ClientError: The request failed, or has a status that counts as failure.
        OSError: A file cannot be written.
        ValueError: Something cannot be sent or shown.
    """
    connector = wherry.TCPConnector(protocols=ask.protocols)
    async with wherry.ClientSession(connector=connector, trust_env=True) as session:
        if output.resume:
            if output.path is None:
                raise ValueError("--continue needs -o FILE")
            if ask.method != "GET":
                raise ValueError(f"--continue goes with GET, not with {ask.method}")
            with show.progress_bars() as bars:
                await session.download(
                    ask.url, output.path, resume=True, progress=_advance(bars, output.path.name), **ask.options
                )
            return
        began = time.perf_counter()
        async with session.request(ask.method, ask.url, **ask.options) as response:
            first_byte = time.perf_counter() - began
            if output.verbose:
                show.heads(response)
            if output.fail:
                response.raise_for_status()
            content = await _take(response, output)
            seconds = show.seconds_of(response, first_byte, time.perf_counter() - began)
            if output.verbose:
                show.timings(seconds)
                stats = connector.stats()
                show.note(f"connections: opened {stats.opened}, reused {stats.reused}")
            if output.recorder is not None:
                output.recorder.add(ask, response, content, seconds)
    if output.recorder is not None:
        output.recorder.write()


def _advance(bars: Progress, name: str) -> Callable[[int, int | None], None]:
    task = bars.add_task(name, total=None)

    def advance(size: int, total: int | None) -> None:
        bars.update(task, completed=size, total=total)

    return advance


async def _take(response: wherry.ClientResponse, output: Output) -> bytes:
    """Save or show the body; gives it where it is recorded."""
    if output.path is not None:
        with show.progress_bars() as bars:
            result = await response.download(output.path, progress=_advance(bars, output.path.name))
        if output.recorder is not None and result.size <= MAX_GATHERED:
            return result.path.read_bytes()
        return b""
    if sys.stdout.isatty():
        content = await response.read()
        if content:
            show.body(response, content)
        return content
    gathered = bytearray()
    async for piece in response.content.iter_any():
        show.write_plain(piece)
        if output.recorder is not None and len(gathered) <= MAX_GATHERED:
            gathered += piece
    sys.stdout.buffer.flush()
    return bytes(gathered)
