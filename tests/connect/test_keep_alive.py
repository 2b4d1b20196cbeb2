"""`Keep-Alive: timeout=N`: a kept connection is not used in the last second of its server's."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from wherry.connect.connector import TCPConnector
from wherry.protocol.http1 import connection as http1
from wherry.protocol.http1.response_reader import keep_alive_seconds

from .conftest import fetch


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5),
        (b"timeout=5, max=100", 5),
        (b"max=100,timeout=5", 5),
        (b' max=100 , Timeout = "5" ', 5),
        (b"timeout=0", 0),
        (b"timeout=" + b"9" * 5000, 1_000_000),
        (b"", None),
        (b"timeout", None),
        (b"timeout=", None),
        (b"timeout=-1", None),
        (b"timeout=1.5", None),
        (b"timeout=\xb2", None),
        (b"max=100", None),
        (b"xtimeout=5", None),
    ],
)
def test_what_the_field_says(value: bytes, seconds: float | None) -> None:
    assert keep_alive_seconds(value) == seconds


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(
    ("field", "idle", "opened"),
    [
        ("Keep-Alive: timeout=5", 3.9, 1),
        ("Keep-Alive: timeout=5, max=7", 4.1, 2),
        ("keep-alive: max=7, timeout=5", 100.0, 2),
        ("Keep-Alive: timeout=1", 0.001, 2),
        ("Keep-Alive: timeout=x", 100.0, 1),
        ("X: timeout=1", 100.0, 1),
    ],
)
async def test_a_connection_is_not_used_in_its_last_second(
    serve, monkeypatch, field, idle, opened, same
) -> None:
    """By heads that were seen before, and by others."""
    answered = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                answered += 1
                other = f"\r\nN: {answered}" if not same else ""
                writer.write(
                    f"HTTP/1.1 200 OK\r\n{field}{other}\r\nContent-Length: 0\r\n\r\n".encode()
                )

    port = await serve(answer)
    later = 0.0
    clock = http1.monotonic
    monkeypatch.setattr(http1, "monotonic", lambda: clock() + later)
    async with TCPConnector(keepalive_timeout=None) as connector:
        for _ in range(3):
            await fetch(connector, f"http://127.0.0.1:{port}/")
            later = idle  # since a connection was used last, as it sees that
        stats: Any = connector.stats()
        assert stats.opened == (1 if opened == 1 else 3)
