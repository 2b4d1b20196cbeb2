"""Writes docs/terminal-80.svg and docs/terminal-120.svg: commands on terminals of these widths."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

from wherry.testing import LocalServer

DOCS = Path(__file__).parents[1] / "docs"
COMMANDS = [
    ["PUT", ":8000/anything", "name=Ann", "age:=36", "q==rain", "--print", "Bhb"],
    [":8000/status/404"],
    ["fetch", "-o", "{folder}", ":8000/bytes/20000", ":8000/bytes/300", ":8000/status/404"],
    ["fetch", "-o", "{folder}", ":8000/bytes/20000", ":8000/bytes/300"],
    ["help", "items"],
]


def seen(words: list[str], width: int) -> str:
    """What a terminal shows after a command."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(width)}
    process = subprocess.Popen(  # noqa: S603 - commands of our own
        [sys.executable, "-m", "wherry", *words],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    told = b""
    try:
        while piece := os.read(ours, 65536):
            told += piece
    except OSError:
        pass  # Linux tells the end of a terminal so
    os.close(ours)
    process.wait(30)
    text = told.decode().replace("\r\n", "\n")
    # What was drawn while it went on, and wiped out again.
    return re.sub(r"\x1b\[\?25[hl]|\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*", "", text)


def write(width: int) -> None:
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    with LocalServer() as server, tempfile.TemporaryDirectory() as folder:
        port = server.url("").rpartition(":")[2].strip("/")
        for words in COMMANDS:
            told = " ".join(f"'{word}'" if re.search(r"[\s&?]", word) else word for word in words)
            console.print(Text("$ wherry " + told.replace("{folder}", "pages"), "bold"))
            real = [word.replace(":8000", f":{port}").replace("{folder}", folder) for word in words]
            console.print(Text.from_ansi(seen(real, width).replace(port, "8000")))
    svg = re.sub(r"\s*@font-face \{.*?\}", "", console.export_svg(title="wherry"), flags=re.DOTALL)
    # The picture must not fetch its letters from a third party.
    svg = svg.replace("Fira Code", "ui-monospace, DejaVu Sans Mono")
    (DOCS / f"terminal-{width}.svg").write_text(svg, "utf-8")


if __name__ == "__main__":
    for columns in (80, 120):
        write(columns)
