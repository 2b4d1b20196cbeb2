"""What is loaded before a command begins: by names and counts, for time is the machine's."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cli.conftest import _environ

# Each costs some milliseconds, and most commands need none of them.
DEAR = {
    "rich.console", "rich.progress", "rich.syntax", "rich.table", "pygments", "sqlite3",
    "wherry.testing", "wherry.cli.demo", "wherry.cli.fetch", "wherry.cli.har_recorder", "wherry.cli.live.websocket",
}  # fmt: skip
_PROGRAM = """
import atexit, os, sys
before = set(sys.modules)
atexit.register(lambda: print("MODULES", *sorted(set(sys.modules) - before), file=sys.stderr))
from wherry.cli import main
main()
"""


def loaded_by(*words: str) -> set[str]:
    """The modules that a command line loads."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
        check=False, capture_output=True, text=True, timeout=200, env=_environ(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["fetch", "--help"], ["completion", "bash"]]
)
def test_help_and_version_load_what_they_show(words):
    loaded = loaded_by(*words)
    assert not loaded & (DEAR | {"wherry.cli.one_request", "uvloop"})
    # What `import wherry` and click load, and the commands' own few modules.
    own = {name for name in loaded if name.startswith("wherry.cli.")}
    assert len(own) <= 8, own


def test_a_request_in_a_pipe_draws_nothing_and_loads_no_drawing(wherry_server):
    assert not loaded_by(wherry_server.url("/get")) & DEAR


def test_the_command_line_loads_little_beside_the_client():
    """Click, and what it brings: the numbers may fall."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; import wherry; print(len(sys.modules))"],
        check=True, capture_output=True, text=True, timeout=200, env=_environ(),
    )  # fmt: skip
    client = int(done.stdout)
    assert len(loaded_by("--help")) <= client + 60
    assert len(loaded_by("--version")) <= client + 60
