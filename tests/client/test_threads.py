"""Several loops in several threads at once: what they share in the process stays whole.

Every thread has a loop and sessions of its own, as the documents say; templates of requests, known
response heads, HPACK's tables, decoders, look-ups and contexts of TLS are shared by all.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

import wherry
from wherry.testing import LocalServer

THREADS = 8
# A long run: WHERRY_THREAD_SECONDS=30 .venv/bin/python -m pytest tests/client/test_threads.py
SECONDS = float(os.environ.get("WHERRY_THREAD_SECONDS", "5"))
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture
def often() -> Any:
    """Threads take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


async def ask(session: wherry.ClientSession, base: str, mark: str, turn: int) -> None:
    """Requests whose answers show whether anything of another thread's came among them."""
    # What repeats, what nearly does, and what never comes again.
    for value in ("same", f"{mark}-{turn % 3}", f"{mark}-{turn}"):
        headers = {"X-Mark": mark, f"X-{value}": value, "Cookie": f"mark={value}"}
        async with session.get(f"{base}/get", params={"v": value}, headers=headers) as response:
            seen = await response.json()
        assert seen["args"] == {"v": value}
        fields = {name.lower(): text for name, text in seen["headers"].items()}
        assert fields["x-mark"] == mark
        assert fields[f"x-{value}".lower()] == value
        assert fields["cookie"] == f"mark={value}"
    body = f"{mark} {turn} ".encode() * 50
    async with session.post(f"{base}/post", data=body) as response:
        assert (await response.json())["length"] == len(body)
    async with session.get(f"{base}/gzip") as response:
        assert await response.json()
    async with session.get(f"{base}/bytes/{1000 + turn}") as response:
        assert len(await response.read()) == 1000 + turn


def work(
    number: int, server: LocalServer, loop: Callable[[], asyncio.AbstractEventLoop], end: float
) -> int:
    """One thread's life; a new session now and then, so that contexts and look-ups are made too."""
    protocols = ("h2", "http/1.1") if number % 2 else ("http/1.1",)
    base = server.url("").rstrip("/")
    turns = 0

    async def main() -> None:
        nonlocal turns
        while time.monotonic() < end or not turns:
            connector = wherry.TCPConnector(ssl=server.client_context, protocols=protocols)
            async with wherry.ClientSession(connector=connector) as session:
                for _ in range(10):
                    marks = [f"t{number}c{one}" for one in range(3)]
                    await asyncio.gather(*(ask(session, base, mark, turns) for mark in marks))
                    turns += 1
                    if time.monotonic() > end:
                        break

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    return turns


@pytest.mark.timeout(120 + 4 * SECONDS)
@pytest.mark.usefixtures("often")
def test_eight_threads_with_a_loop_each_share_the_process(wherry_tls_server: LocalServer) -> None:
    end = time.monotonic() + SECONDS
    turns: dict[int, int] = {}
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            kind = "uvloop" if number % 4 > 1 else "asyncio"
            turns[number] = work(number, wherry_tls_server, LOOPS[kind], end)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    assert set(turns) == set(range(THREADS))
