"""Lines typed on a terminal: with editing, a history, and messages that come in between.

The history is kept from one conversation to the next, in a file that only its owner can read: what
was typed may have secrets in it.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import click

from wherry.private_files import make_private

_PROMPT: Final = "> "
_LONGEST_HISTORY: Final = 1000
_state: dict[str, bool] = {"editing": False}
# Held while a prompt is drawn or a message printed: two threads write on one terminal.
_drawing = threading.Lock()


def _readline() -> ModuleType | None:
    """The editor, where Python was built with it."""
    try:
        import readline
    except ImportError:
        return None
    return readline


def is_possible() -> bool:
    """Whether lines can be edited: a person sits at both ends, and there is an editor."""
    return sys.stdin.isatty() and sys.stdout.isatty() and _readline() is not None


def start(put: Callable[[str | None], None]) -> None:
    """Hand on the lines that are typed, and None at the end.

    Args:
        put: Called in a thread; a RuntimeError of it ends the typing.
    """
    import termios

    settings = termios.tcgetattr(sys.stdin)
    # The thread may be in the midst of a line when the program ends.
    atexit.register(termios.tcsetattr, sys.stdin, termios.TCSADRAIN, settings)
    threading.Thread(target=_type, args=(put,), daemon=True, name="wherry-typing").start()


def _type(put: Callable[[str | None], None]) -> None:
    readline = _readline()
    assert readline is not None
    history = Path(click.get_app_dir("wherry")) / "ws_history"
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(_LONGEST_HISTORY)
    readline.set_pre_input_hook(_prompt_is_drawn)
    with contextlib.suppress(RuntimeError):
        try:
            while True:
                _drawing.acquire()
                try:
                    line = input(_PROMPT)
                finally:
                    _typed()
                _keep(readline, history)
                put(line)
        except (EOFError, OSError):
            put(None)


def _prompt_is_drawn() -> None:
    """Readline's hook: from now on a message goes above the line."""
    _state["editing"] = True
    _drawing.release()


def _typed() -> None:
    """A line is there, or there will be none."""
    if not _state["editing"]:
        _drawing.release()  # it ended before its prompt was drawn
    _state["editing"] = False


def _keep(readline: ModuleType, history: Path) -> None:
    with contextlib.suppress(OSError):
        history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_private(history)
        readline.write_history_file(history)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Print something above the line that is being typed."""
    with _drawing:
        readline = _readline() if _state["editing"] else None
        if readline is not None:
            sys.stdout.write("\r\x1b[K")
        yield
        if readline is not None:
            sys.stdout.write(_PROMPT + readline.get_line_buffer())
        sys.stdout.flush()
