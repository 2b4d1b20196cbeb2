""".ci/test: a few failed tests run once more by themselves, and nothing else is forgiven."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="CI runs on Linux")
SCRIPT = Path(__file__).parent.parent / ".ci" / "test"
MAKEFILE = """\
test:
\t$(VENV)/bin/python -m pytest -q -p xdist.plugin -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)
"""
# Fails until it has run `times` times.
FAILS = """
import pathlib
import pytest

@pytest.mark.parametrize("name", {names})
def test_it(name):
    ran = pathlib.Path({folder!r}) / name
    ran.write_text((ran.read_text() if ran.exists() else "") + "x")
    assert len(ran.read_text()) > {times}

def test_another():
    ran = pathlib.Path({folder!r}) / "another"
    assert not ran.exists()
    ran.touch()
"""


def run(folder: Path, names: list[str], times: int, *more: tuple[str, str]) -> tuple[int, str]:
    """What `.ci/test` ends with and prints, where each of the tests fails so often at first."""
    shutil.rmtree(folder / "ran", ignore_errors=True)
    for each in (".ci", "venv/bin", "ran"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    shutil.copy(SCRIPT, folder / ".ci" / "test")
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    python = folder / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    source = FAILS.format(names=names, folder=str(folder / "ran"), times=times)
    (folder / "test_made.py").write_text(source)
    for name, text in more:
        (folder / name).write_text(text)
    done = subprocess.run(
        ["bash", ".ci/test", sys.executable, "venv"],
        cwd=folder,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TMPDIR": str(folder),
            "WORKERS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_what_passes_at_its_second_try_is_named_and_fails_nothing(tmp_path: Path) -> None:
    status, printed = run(tmp_path, ["a", "b"], 1)
    assert status == 0, printed
    assert "FAILED test_made.py::test_it[a]" in printed  # and why is above
    assert "== once more, by themselves: 2 tests" in printed
    assert printed.count("UNSTABLE: ") == 2
    assert "UNSTABLE: test_made.py::test_it[b]\n" in printed  # test_another ran once


def test_what_fails_again_fails_the_run(tmp_path: Path) -> None:
    status, printed = run(tmp_path, ["a"], 2)
    assert status != 0
    assert "FAILED AGAIN: test_made.py::test_it[a]\n" in printed
    assert "UNSTABLE" not in printed


def test_many_failures_are_not_tried_again(tmp_path: Path) -> None:
    status, printed = run(tmp_path, list("abcdef"), 1)
    assert status != 0
    assert "once more" not in printed


def test_a_module_that_cannot_be_read_is_not_forgiven(tmp_path: Path) -> None:
    status, printed = run(tmp_path, ["a"], 1, ("test_broken.py", "import nothing_of_the_kind"))
    assert status != 0
    assert "FAILED AGAIN: test_broken.py\n" in printed


def test_a_run_where_nothing_fails_runs_once(tmp_path: Path) -> None:
    status, printed = run(tmp_path, ["a"], 0)
    assert status == 0
    assert printed.count(" passed in ") == 1
