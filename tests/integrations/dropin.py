"""Runs a program of `programs/` in drop-in mode, in a process of its own: that mode replaces
modules for a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import wherry

PROGRAMS = Path(__file__).parent / "programs"
# What a program that left something open, or lost an error, says on stderr.
COMPLAINTS = (
    "Unclosed",
    "never retrieved",
    "never awaited",
    "Exception ignored",
    "Traceback",
    "ResourceWarning",
)


def run_program(name: str, *arguments: str, by_itself: bool = False) -> str:
    """What the program printed; it must end well and leave nothing behind.

    Args:
        name: Its file's.
        arguments: Its arguments.
        by_itself: It goes into drop-in mode when it likes.
    """
    mode = () if by_itself else ("-m", "wherry.dropin")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "always::ResourceWarning",
            *mode,
            str(PROGRAMS / name),
            *arguments,
        ],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": str(Path(wherry.__file__).parents[1]),
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not any(words in done.stderr for words in COMPLAINTS), done.stderr
    return done.stdout.strip()
