"""The programs in examples/ run, and are as short as a newcomer's with only the documents."""

from __future__ import annotations

import ast
import difflib
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.test_docs import Proxy, as_json, chat

from wherry.testing import LocalServer

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
# Statements' lines that each may have, imports and blank lines aside.
LINES = {"polling_bot.py": 20, "typed_sdk.py": 28, "llm_stream.py": 20, "crawler.py": 20}


def run(name: str, *args: str, warnings: str = "error") -> str:
    environ = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-W", warnings, str(EXAMPLES / name), *args],
        capture_output=True, text=True, env=environ, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", LINES)
def test_an_example_is_short(name: str) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    tree = ast.parse(text)
    aside = {
        line
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) or node is tree.body[0]
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and number not in aside
    ]
    assert len(lines) <= LINES[name]


@pytest.fixture
def socks() -> Iterator[str]:
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"socks5://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()


def test_a_bot_polls_through_socks_and_goes_on(socks: str) -> None:
    asked: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked.append(scope["query_string"])
        if len(asked) == 1:
            raise RuntimeError("the line breaks")
        text = "hello" if len(asked) == 2 else "/stop"
        update = {"update_id": len(asked), "message": {"text": text}}
        await as_json(json.dumps({"ok": True, "result": [update]}).encode(), send)

    with LocalServer(app) as server:
        said = run("polling_bot.py", server.url("/bot/"), socks)
    assert said.splitlines()[0].startswith("again, after")
    assert said.splitlines()[1:] == ["got hello", "got /stop"]
    assert [query.split(b"&")[0] for query in asked] == [b"offset=0", b"offset=0", b"offset=3"]


def test_an_sdk_with_tokens_and_pages() -> None:
    tokens: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path, fields = scope["path"], dict(scope["headers"])
        if path == "/token":
            tokens.append(f"t{len(tokens)}")
            made = {"access_token": tokens[-1], "token_type": "Bearer", "expires_in": 3600}
            await as_json(json.dumps(made).encode(), send)
        elif fields.get(b"authorization") != f"Bearer {tokens[-1]}".encode() or len(tokens) < 2:
            # The first token ends at once: it is renewed.
            await send({"type": "http.response.start", "status": 401,
                        "headers": [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]})  # fmt: skip
            await send({"type": "http.response.body", "body": b""})
        elif path == "/users":
            more = b"cursor=" in scope["query_string"]
            page = [{"id": 2, "name": "bo"}] if more else [{"id": 1, "name": "ann"}]
            await as_json(json.dumps({"data": page, "next": None if more else "x"}).encode(), send)
        else:
            await as_json(b'{"id": 1, "name": "ann"}', send)

    with LocalServer(app) as server:
        said = run("typed_sdk.py", server.url(""))
    assert said == "User(id=1, name='ann')\n['ann', 'bo']\n"
    assert len(tokens) == 2


@pytest.mark.parametrize("silent", [False, True])
def test_a_stream_of_a_model_ends_or_is_given_up(silent: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if not silent:
            await chat(send)
            return
        fields = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b": wait\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    with LocalServer(app) as server:
        said = run("llm_stream.py", server.url("/chat"), "why?", "0.5" if silent else "40")
    assert said == ("(given up)\n" if silent else "one two three")


def test_a_script_of_requests_differs_by_one_line(wherry_server: LocalServer) -> None:
    before = (EXAMPLES / "report_requests.py").read_text("utf-8").splitlines()
    after = (EXAMPLES / "report.py").read_text("utf-8").splitlines()
    changed = [line for line in difflib.ndiff(before, after) if line[:2] in {"- ", "+ "}]
    assert changed == ["- import requests", "+ import wherry.sync as requests"]
    ours = run("report.py", wherry_server.url(""))
    assert ours.splitlines()[0] == "200 application/json {'page': '1'}"
    assert ours == run("report_requests.py", wherry_server.url(""), warnings="ignore")
