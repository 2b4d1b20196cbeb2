"""``wherry ws`` for a person at a terminal, and for a program that listens."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pty
import select
import stat
import subprocess
import sys

import pytest
from tests.cli.conftest import _environ
from tests.client.test_last_words import switching
from tests.protocol.websocket_cases import BINARY, TEXT, close, frame
from tests.servers.raw import read_request


class Terminal:
    """A command on a terminal, which somebody types into."""

    def __init__(self, *words, env):
        self._ours, theirs = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wherry.cli", *map(str, words)],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=_environ(TERM="xterm-256color", **env),
        )  # fmt: skip
        os.close(theirs)

    def type(self, text):
        os.write(self._ours, text.encode())

    def wait_for(self, text):
        """Read until `text` has come, and forget it; gives what came before."""
        while text not in self.seen:
            assert select.select([self._ours], [], [], 30)[0], self.seen
            self.seen += os.read(self._ours, 65536).decode("utf-8", "replace")
        before, _, self.seen = self.seen.partition(text)
        return before

    def end(self):
        try:
            while os.read(self._ours, 65536):
                pass
        except OSError:
            pass
        os.close(self._ours)
        return self.process.wait(30)


def test_lines_are_edited_and_kept(wherry_server, tmp_path):
    url = wherry_server.url("/ws/echo", scheme="ws")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    terminal = Terminal("ws", "--wait", "0.1", url, env=env)
    terminal.wait_for("> ")
    terminal.type("hellp\x7fo\n")
    terminal.wait_for("hello\r\n")  # what came: what was typed had a slip in it
    terminal.wait_for("> ")
    terminal.type("\x1b[A, you\n")
    terminal.wait_for("hello, you\r\n")
    terminal.wait_for("hello, you\r\n")
    terminal.wait_for("> ")  # before it is drawn, the terminal reads whole lines
    terminal.type("\x04")
    assert terminal.end() == 0
    history = tmp_path / "wherry/ws_history"
    assert history.read_text() == "hello\nhello, you\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    # The next conversation has it.
    terminal = Terminal("ws", "--wait", "0.1", url, env=env)
    terminal.wait_for("> ")
    terminal.type("\x1b[A\n")
    terminal.wait_for("hello, you\r\n")
    terminal.wait_for("hello, you\r\n")
    terminal.wait_for("> ")  # before it is drawn, the terminal reads whole lines
    terminal.type("\x04")
    assert terminal.end() == 0


def test_a_password_is_asked_for_and_not_shown(wherry_server):
    url = wherry_server.url("/basic-auth/ann/secret")
    terminal = Terminal("-f", "-u", "ann", url, env={})
    terminal.wait_for("Password for ann at 127.0.0.1: ")
    terminal.type("secret\n")
    assert terminal.wait_for("HTTP/1.1 200 OK") == "\r\n\x1b[32m"  # nothing of what was typed
    assert terminal.end() == 0


def test_messages_go_out_as_bytes_and_come_as_json(run, wherry_server):
    url = wherry_server.url("/ws/echo", scheme="ws")
    done = run("ws", "--binary", "-m", "h\u00e4", "-n", 1, url)
    assert (done.status, done.out) == (0, "h\u00e4".encode())
    assert run("ws", "--listen", "-m", "x", url).err.startswith("wherry: --listen sends nothing")


async def test_who_listens_gets_lines_of_json(run, raw_server):
    async def script(reader, writer):
        writer.write(switching(await read_request(reader)))
        writer.write(frame(TEXT, "\u00e4".encode()) + frame(BINARY, b"\0\1") + close(4001, b"so"))
        await reader.read()

    url = (await raw_server(script)).url
    done = await asyncio.to_thread(run, "ws", "--listen", url)
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"type": "text", "data": "\u00e4"},
        {"type": "binary", "data": base64.b64encode(b"\0\1").decode()},
        {"type": "close", "code": 4001, "reason": "so"},
    ]
    assert done.status == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x", "not 'x'"),
        ("1005", "not '1005'"),
        ("99999", "not"),
        ("1000:" + "x" * 124, "123 bytes"),
    ],
)
def test_codes_that_cannot_be_sent_are_told(run, text, told):
    done = run("ws", "--close", text, "ws://127.0.0.1:1/")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert told in done.err
