"""From a command to its exit status: the event loop, and errors as one line."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import wherry
from wherry.cli import show, standard_streams

INTERRUPTED = 130


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed: a library leaves that to the program, and this is one."""
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run(work: Coroutine[Any, Any, int | None]) -> NoReturn:
    """Run a command and end the program: with 0, with the status that it gives, or with 1 and a
    line for an error.
    """
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            status = runner.run(work) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = 1  # who read from us has gone
    except (wherry.ClientError, TimeoutError, OSError, ValueError, ImportError) as exc:
        show.fail(show.describe(exc))
        status = 1
    standard_streams.let_go()
    sys.exit(status)
