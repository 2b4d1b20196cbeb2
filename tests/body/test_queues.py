"""The queues that aiohttp exports."""

from __future__ import annotations

import asyncio

import pytest

from wherry.body.stream.queues import DataQueue, FlowControlDataQueue
from wherry.body.stream.reader import EofStream, StreamReader


async def test_items_come_in_order_and_end():
    queue = DataQueue(asyncio.get_running_loop())
    queue.feed_data(1)
    task = asyncio.ensure_future(queue.read())
    assert await task == 1
    task = asyncio.ensure_future(queue.read())
    await asyncio.sleep(0)
    queue.feed_data(2)
    queue.feed_data(3)
    queue.feed_eof()
    assert await task == 2
    assert len(queue) == 1
    assert queue.is_eof()
    assert not queue.at_eof()
    assert [item async for item in queue] == [3]
    assert queue.at_eof()
    with pytest.raises(EofStream):
        await queue.read()


async def test_an_exception_comes_after_the_items():
    queue = DataQueue(asyncio.get_running_loop())
    queue.feed_data(1)
    queue.set_exception(ValueError("x"), OSError("cause"))
    assert await queue.read() == 1
    with pytest.raises(ValueError, match="x") as caught:
        await queue.read()
    assert isinstance(caught.value.__cause__, OSError)
    assert queue.exception() is caught.value


async def test_who_fills_a_queue_is_paused():
    calls = []

    class Flow:
        def pause_reading(self):
            calls.append("pause")

        def resume_reading(self):
            calls.append("resume")

    queue = FlowControlDataQueue(Flow(), 2, loop=asyncio.get_running_loop())
    for _ in range(3):
        queue.feed_data("x", 2)
    assert calls == ["pause"]
    await queue.read()
    assert calls == ["pause"]
    await queue.read()
    assert calls == ["pause", "resume"]


async def test_a_cancelled_read_leaves_the_queue_usable():
    queue = DataQueue(asyncio.get_running_loop())
    task = asyncio.ensure_future(queue.read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    queue.feed_data(1)
    assert await queue.read() == 1


@pytest.mark.parametrize("kind", [DataQueue, StreamReader])
async def test_an_end_may_be_told_by_a_class(kind):
    ended = kind(asyncio.get_running_loop()) if kind is DataQueue else kind(2**16)
    ended.set_exception(ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await ended.read()
