"""The standard streams as commands may rely on them: there, and able to take every letter.

A shell may close them (``<&-``, ``>&-``, ``2>&-``).  Python sets the stream to None then, and the
next socket gets its descriptor: what was printed would go to a server.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from typing import Any, Final

_NAMES: Final = ("stdin", "stdout", "stderr")


_CLOSED: Final[dict[str, io.TextIOWrapper]] = {}  # what stands for streams that were closed


class _ClosedOutput(io.RawIOBase):
    """Standard output that is closed: who writes a body to it must hear so."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, data: Any, /) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


def prepare() -> None:
    """Put something in the place of each stream that is closed.

    Input has nothing in it, output refuses what is written, and errors go nowhere.
    """
    for descriptor, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            _occupy(descriptor)
            _CLOSED[name] = _replacement(name)
            setattr(sys, name, _CLOSED[name])


def _occupy(descriptor: int) -> None:
    """See that no socket and no file can get the descriptor of a standard stream."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _replacement(name: str) -> io.TextIOWrapper:
    if name == "stdout":
        # Nothing stays in a buffer, where it would fail again when the interpreter ends.
        raw: Any = _ClosedOutput()
        return io.TextIOWrapper(raw, "utf-8", write_through=True)
    silent = os.open(os.devnull, os.O_RDWR)
    null = io.FileIO(silent, "r" if name == "stdin" else "w", closefd=False)
    if name == "stdin":
        return io.TextIOWrapper(io.BufferedReader(null), "utf-8")
    return io.TextIOWrapper(io.BufferedWriter(null), "utf-8")


def output_is_closed() -> bool:
    """Whether standard output was closed from the beginning."""
    return sys.stdout is _CLOSED.get("stdout", False)


def input_is_closed() -> bool:
    """Whether standard input was closed from the beginning."""
    return sys.stdin is _CLOSED.get("stdin", False)


def somebody_is_there() -> bool:
    """Whether there is a terminal on which a password can be asked for."""
    if not input_is_closed() and sys.stdin.isatty():
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


def input_has_body() -> bool:
    """Whether standard input is a file or a pipe, whose content may be meant as a body."""
    if input_is_closed():
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def replace_letters() -> None:
    """A stream that has not all letters gets a "?" in their place: that is no failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def silence_errors() -> None:
    """Nobody wants to hear of errors: only the status tells."""
    sys.stderr = _replacement("stderr")


def let_go() -> None:
    """Forget what cannot be written any more, lest it fail again when the interpreter ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, sys.stdout.fileno())
            os.close(silent)
            sys.stdout.flush()
