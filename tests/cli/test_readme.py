"""The command lines of the README and of docs/command-line.md, run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "command-line.md")


def commands() -> list[str]:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [
        line.partition("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line.startswith("wherry ")
    ]


def test_the_readme_shows_the_command_line():
    assert len(commands()) >= 3


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_works(run, wherry_server, tmp_path, monkeypatch, command):
    """Its URLs are those of the embedded server."""
    monkeypatch.chdir(tmp_path)
    Path("report.pdf").write_bytes(b"%PDF-1.7")
    Path("urls.txt").write_text(wherry_server.url("/bytes/10") + "\n")
    here = wherry_server.url("/anything")
    words = [re.sub(r"^(https?://\S+|URL)$", here, word) for word in shlex.split(command)]
    words = [re.sub(r"^wss?://\S+$", wherry_server.url("/ws/echo", scheme="ws"), word) for word in words]
    done = run(*words[1:])
    assert done.status == 0, done.err
