"""QUIC and TCP racing to one origin, with dials that are scripts: whoever wins, nothing else stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wherry.connect.quic.race_with_tcp import Heard, give_up, race

HANG = 60.0


class Made:
    """A connection that was made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Dials:
    """Two dials: after how many seconds each succeeds, or with which error it fails."""

    def __init__(self, quic: tuple[float, bool], tcp: tuple[float, bool], heard: bool = False):
        self.script = {"quic": quic, "tcp": tcp}
        self.heard = heard
        self.made: list[Made] = []
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.failures = 0

    async def dial(self, name: str) -> Any:
        self.begun.append(name)
        seconds, succeeds = self.script[name]
        try:
            await asyncio.sleep(seconds)
            if not succeeds:
                raise OSError(name)
            self.made.append(Made(name))
            return self.made[-1]
        finally:
            self.ended.append(name)

    async def by_quic(self, heard: Heard) -> Any:
        heard.anything = self.heard
        return await self.dial("quic")

    def failed(self) -> None:
        self.failures += 1

    async def run(self) -> Any:
        return await race(self.by_quic, lambda: self.dial("tcp"), self.failed)

    def check_nothing_stays(self, kept: Any = None) -> None:
        assert sorted(self.begun) == sorted(self.ended)
        assert [made for made in self.made if not made.aborted] == ([kept] if kept else [])


@pytest.mark.parametrize(
    ("quic", "tcp", "winner", "failures"),
    [
        ((0.0, True), (0.0, True), "quic", 0),
        ((0.0, False), (0.0, True), "tcp", 1),
        ((HANG, True), (0.0, True), "tcp", 1),
        ((0.15, True), (HANG, True), "quic", 0),
        ((0.15, True), (0.0, False), "quic", 0),
        ((0.15, False), (0.1, True), "tcp", 1),
    ],
)
async def test_the_first_one_is_kept(
    quic: tuple[float, bool], tcp: tuple[float, bool], winner: str, failures: int
) -> None:
    dials = Dials(quic, tcp)
    made = await dials.run()
    assert (made.name, dials.failures) == (winner, failures)
    dials.check_nothing_stays(made)


@pytest.mark.parametrize(("quic", "tcp"), [(0.0, 0.0), (0.15, 0.0), (0.0, 0.1)])
async def test_when_both_fail_the_error_is_that_of_tcp(quic: float, tcp: float) -> None:
    dials = Dials((quic, False), (tcp, False))
    with pytest.raises(OSError, match="tcp"):
        await dials.run()
    assert dials.failures == 1
    dials.check_nothing_stays()


async def test_tcp_does_not_begin_where_quic_is_quick() -> None:
    dials = Dials((0.0, True), (0.0, True))
    await dials.run()
    assert dials.begun == ["quic"]


async def test_a_server_that_says_something_gets_a_longer_start() -> None:
    dials = Dials((0.15, True), (0.0, True), heard=True)
    made = await dials.run()
    assert made.name == "quic"
    assert dials.begun == ["quic"]


@pytest.mark.parametrize("after", [0.0, 0.05, 0.12, 0.16])
async def test_cancelling_ends_both(after: float) -> None:
    dials = Dials((HANG, True), (HANG, True))
    task = asyncio.ensure_future(dials.run())
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    dials.check_nothing_stays()


@pytest.mark.parametrize("turns", range(8))
async def test_cancelling_at_the_finish_loses_neither_cancellation_nor_connection(
    turns: int,
) -> None:
    dials = Dials((0.11, True), (0.0, True))
    task = asyncio.ensure_future(dials.run())
    while not dials.made:
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    cancelled = task.cancel()
    await asyncio.wait((task,))
    if cancelled and task.cancelled():
        dials.check_nothing_stays()
    else:
        dials.check_nothing_stays(task.result())


async def test_giving_up_waits_for_the_end_although_it_is_cancelled() -> None:
    ended = asyncio.Event()

    async def stubborn() -> Made:
        try:
            await asyncio.sleep(HANG)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
        ended.set()
        return made

    made = Made("late")
    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    giving = asyncio.ensure_future(give_up([task], Made.abort))
    await asyncio.sleep(0)
    giving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await giving
    assert ended.is_set()
    assert made.aborted
