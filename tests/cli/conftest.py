"""Runs the command line as a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import wherry


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    out: bytes
    err: str


def _environ(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": str(Path(wherry.__file__).parents[1]), "COLUMNS": "200", **more}


@pytest.fixture
def run() -> Callable[..., Ended]:
    """``run(*words)`` with pipes; ``env=`` adds to the environment, ``input=`` is standard input."""

    def run(*words: object, env: dict[str, str] | None = None, **options: object) -> Ended:
        command = [sys.executable, "-W", "error", "-m", "wherry.cli", *map(str, words)]
        environ = _environ(**(env or {}))
        done = subprocess.run(command, check=False, capture_output=True, timeout=30, env=environ, **options)
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    return run


@pytest.fixture
def run_on_terminal() -> Callable[..., tuple[int, str]]:
    """``run_on_terminal(*words)`` gives the status and all that the terminal got."""

    def run(*words: object) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "wherry.cli", *map(str, words)]
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=_environ(TERM="xterm-256color"), close_fds=True
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
