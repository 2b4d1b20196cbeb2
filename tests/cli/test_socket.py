"""``wherry ws``: what is sent, what is printed, how it ends."""

from __future__ import annotations

import asyncio
import re

from wherry.testing import LocalServer


def test_lines_go_out_and_messages_come_back(run_process, wherry_server):
    done = run_process(
        "ws",
        "-w",
        "5",
        "-n",
        "3",
        wherry_server.url("/ws/echo", scheme="ws"),
        input="a\nbé\n\n".encode(),
    )
    assert done == (0, "a\nbé\n\n".encode(), "")


def test_silence_after_the_last_message_ends_it(run, wherry_server):
    done = run(
        "ws", "-m", "one", "-m", "two", "-w", "0.2", wherry_server.url("/ws/echo", scheme="ws")
    )
    assert done == (0, b"one\ntwo\n", "")


def test_how_it_opens_and_closes_is_told(run, wherry_server):
    done = run(
        "ws",
        "-v",
        "-s",
        "chat",
        "-m",
        "close",
        "-w",
        "5",
        wherry_server.url("/ws/echo", scheme="ws"),
    )
    assert done.status == 0
    assert done.err == "* open, subprotocol chat\n* closed by the peer with 1000 asked for\n"


def test_ping_times_are_told(run, wherry_server):
    done = run(
        "ws", "-p", "0.05", "-m", "a", "-w", "0.3", wherry_server.url("/ws/echo", scheme="ws")
    )
    assert done[:2] == (0, b"a\n")
    lines = done.err.splitlines()
    assert len(lines) > 1
    assert all(re.fullmatch(r"\* pong after \d+\.\d ms", line) for line in lines)


def test_a_refused_handshake_is_one_line(run, wherry_server):
    done = run("ws", "-m", "a", wherry_server.url("/get", scheme="ws"))
    assert done.status == 1
    assert done.err.startswith("wherry: ")
    assert done.err.count("\n") == 1


async def test_a_close_for_an_error_is_an_error(run):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1011, "reason": "broken"})

    with LocalServer(app) as server:
        done = await asyncio.to_thread(
            run, "ws", "-m", "a", "-w", "5", server.url("/", scheme="ws")
        )
    assert done.status == 1
    assert done.err == "wherry: the WebSocket was closed with 1011 broken\n"


async def test_the_handshake_has_a_time_limit(run, raw_server):
    async def silent(reader, writer):
        await reader.read()

    server = await raw_server(silent)
    done = await asyncio.to_thread(
        run, "ws", "-m", "a", "--timeout", "0.05", server.url.replace("http", "ws")
    )
    assert done.status == 1
    assert done.err == "wherry: the time is up\n"


def test_any_bytes_go_out_as_binary_messages(run_process, wherry_server):
    octets = bytes(set(range(256)) - {10, 13})
    url = wherry_server.url("/ws/echo", scheme="ws")
    done = run_process("ws", "--binary", "-w", "20", "-n", "1", url, input=octets + b"\n")
    assert (done.status, done.err) == (0, "")
    assert done.out.removesuffix(b"\n") == octets


def test_what_is_no_text_is_not_sent_as_text(run_process, wherry_server):
    url = wherry_server.url("/ws/echo", scheme="ws")
    done = run_process("ws", "-w", "3", url, input=b"one\nt\xffo\nthree\n")
    assert done.out == b"one\n"
    assert (done.status, done.err) == (
        1, "wherry: a text message must be UTF-8; --binary sends any bytes\n"
    )  # fmt: skip


def test_a_line_without_an_end_is_not_sent(run_process, wherry_server):
    url = wherry_server.url("/ws/echo", scheme="ws")
    done = run_process("ws", "-w", "3", url, input=b"one\n" + b"x" * (17 << 20))
    assert done.out == b"one\n"
    assert (done.status, done.err) == (1, "wherry: a line of standard input is over 16 MiB\n")
