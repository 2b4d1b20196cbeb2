"""Standard streams that are closed, full, or without some letters."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Ended, _environ
from tests.servers.raw import read_request, response


def shell(words: str, streams: str, **env: str) -> Ended:
    """A command line with what a shell does to its streams."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -W error -m wherry.cli {words} {streams}"],
        check=False,
        capture_output=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
        env=_environ(**env),
    )
    return Ended(done.returncode, done.stdout, done.stderr.decode())


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_downloads_need_no_stream(wherry_server, tmp_path, streams):
    url = wherry_server.url("/bytes/3000")
    for words in (f"fetch -o {tmp_path}/many {url}", f"-o {tmp_path}/one {url}"):
        done = shell(words, streams)
        assert (done.status, done.err) == (0, ""), words
    assert (tmp_path / "one").stat().st_size == (tmp_path / "many/3000").stat().st_size == 3000


@pytest.mark.parametrize("streams", ["<&-", "2>&-", "<&- 2>&-"])
def test_a_body_is_written_though_other_streams_are_closed(wherry_server, streams):
    done = shell(wherry_server.url("/bytes/3000"), streams)
    assert (done.status, len(done.out), done.err) == (0, 3000, "")


@pytest.mark.parametrize("streams", [">&-", ">/dev/full"])
@pytest.mark.parametrize(
    "words", ["{url}", "--version", "--help", "--curl {url}", "completion bash", "demo -n 1 -c 1"]
)
def test_a_body_that_cannot_be_written_is_an_error_in_one_line(wherry_server, streams, words):
    """Bytes that are lost are never a success, and no socket gets what was meant for a stream."""
    if "full" in streams and not Path("/dev/full").exists():
        pytest.skip("there is no disk that is always full here")
    done = shell(words.format(url=wherry_server.url("/bytes/3000")), streams)
    message = "standard output is closed" if "&" in streams else "No space left on device"
    assert (done.status, done.out, done.err) == (1, b"", f"wherry: {message}\n")


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_an_error_that_nobody_can_read_is_a_status(wherry_server, streams):
    assert shell(wherry_server.url("/status/404") + " -f", streams) == Ended(1, b"", "")


def test_input_that_is_closed_is_no_empty_body(wherry_server):
    done = shell(f"-d @- {wherry_server.url('/post')}", "<&-")
    assert (done.status, done.out) == (1, b"")
    assert done.err == "wherry: cannot read standard input: it is closed\n"


def test_a_list_on_input_that_is_closed_is_empty(tmp_path):
    done = shell(f"fetch -i - -o {tmp_path}", "<&-")
    assert done.status == 1
    assert done.err.startswith("wherry: there are no URLs")


def test_a_websocket_without_input_closes(wherry_server):
    done = shell(f"ws --wait 0.1 {wherry_server.url('/ws/echo', scheme='ws')}", "<&-")
    assert done == Ended(0, b"", "")


@pytest.mark.parametrize("words", ["--help | head -1", "completion bash | head -1"])
def test_who_reads_help_may_leave(words):
    done = shell(words, "")
    assert done.err == ""


@pytest.mark.parametrize("coding", ["ascii", "latin-1", "ascii:strict"])
def test_a_stream_without_the_letters_gets_others(wherry_server, tmp_path, coding):
    url = wherry_server.url("/bytes/5/%D1%84%D0%B0%D0%B9%D0%BB")
    report = tmp_path / "report"
    names = [wherry_server.url("/anything/%D1%84%D0%B0%D0%B9%D0%BB"), url]
    done = shell(
        f"fetch -o {tmp_path}/out --retries 0 --report {report} {' '.join(names)}",
        "",
        PYTHONIOENCODING=coding,
    )
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(rows) == 2
    assert "????" in done.out.decode("ascii")
    assert "Traceback" not in done.err
    assert done.status == (1 if any(row["error"] for row in rows) else 0)


async def test_a_terminal_without_the_letters_shows_bodies_and_bars(
    run_on_terminal, raw_server, tmp_path, monkeypatch
):
    async def script(reader, writer):
        await read_request(reader)
        fields = "Content-Type: text/plain\r\nX-Word: \u0444\r\nConnection: close\r\n"
        writer.write(response("\u0444 \u2713 \U0001f6f6\n".encode(), fields=fields))

    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    server = await raw_server(script)
    url = f"{server.url}/%D1%84.txt"
    for words in ((url,), ("fetch", "-o", tmp_path, url), ("-v", "-o", tmp_path / "file", url)):
        status, seen = await asyncio.to_thread(run_on_terminal, *words)
        assert status == 0, seen
        assert seen.isascii()
        assert "?" in seen
    assert (tmp_path / "\u0444.txt").read_text("utf-8") == "\u0444 \u2713 \U0001f6f6\n"
