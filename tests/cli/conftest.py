"""Runs the command line: here, in a process of its own, or on a terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import wherry
from wherry.cli.app import run_cli


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    out: bytes
    err: str


def _environ(**more: str) -> dict[str, str]:
    # asyncio's debug mode says in stderr what took its time.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name != "PYTHONASYNCIODEBUG"
    }
    return {**kept, "PYTHONPATH": str(Path(wherry.__file__).parents[1]), "COLUMNS": "200", **more}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """``run(*words)`` runs the command line here, with pipes for its streams.

    ``env=`` adds to the environment, ``stdin=`` is standard input.
    """

    def run(*words: object, env: dict[str, str] | None = None, stdin: bytes = b"") -> Ended:
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        with monkeypatch.context() as patch:
            for name in os.environ.keys() - _environ().keys():
                patch.delenv(name)
            for name, value in {"COLUMNS": "200", **(env or {})}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                run_cli([str(word) for word in words])
            except SystemExit as end:
                status = end.code
            else:
                status = 0
            out.flush()
            err.flush()
        assert isinstance(out.buffer, io.BytesIO)
        assert isinstance(err.buffer, io.BytesIO)
        return Ended(int(status or 0), out.buffer.getvalue(), err.buffer.getvalue().decode())

    return run


@pytest.fixture
def run_process() -> Callable[..., Ended]:
    """The same in a process of its own."""

    def run(*words: object, env: dict[str, str] | None = None, **options: object) -> Ended:
        command = [sys.executable, "-W", "error", "-m", "wherry.cli", *map(str, words)]
        environ = _environ(**(env or {}))
        done = subprocess.run(
            command, check=False, capture_output=True, timeout=200, env=environ, **options
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    return run


@pytest.fixture
def run_on_terminal() -> Callable[..., tuple[int, str]]:
    """``run_on_terminal(*words)`` gives the status and all that the terminal got."""

    def run(*words: object, columns: int = 200) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        command = [sys.executable, "-m", "wherry.cli", *map(str, words)]
        process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=_environ(TERM="xterm-256color", COLUMNS=str(columns)),
            close_fds=True,
        )
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65536):
                seen += piece
        except OSError:
            pass  # Linux tells the end of a terminal so
        finally:
            os.close(ours)
        return process.wait(30), seen.decode("utf-8", "replace")

    return run
