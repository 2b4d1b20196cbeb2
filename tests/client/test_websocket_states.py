"""The states of a WebSocket: the table holds, whatever comes in whatever order, and shows in
repr().
"""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any, cast

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.protocol.websocket_cases import BINARY, PING, close, frame
from tests.servers.application import serving

import wherry
from wherry import ClientConnectionResetError, ClientSession
from wherry.client.websocket.channel import MOVES, State, WebSocketChannel
from wherry.protocol.websocket.frames import FrameReader, FrameWriter


class Nowhere:
    """A tunnel that leads nowhere."""

    transport = None

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.gone = False

    def write(self, data: bytes) -> None:
        assert not self.gone
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.gone

    def pause_reading(self) -> None:
        """Nothing is read."""

    resume_reading = close = leave = pause_reading

    def abort(self) -> None:
        self.gone = True


def new_channel(loop: asyncio.AbstractEventLoop) -> tuple[WebSocketChannel, Nowhere]:
    channel = WebSocketChannel(loop, FrameReader(), FrameWriter())
    tunnel = Nowhere()
    channel.attach(cast("Any", tunnel))
    return channel, tunnel


@pytest.fixture
def loop() -> Any:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(State)
    reached = {State.NEW}.union(*MOVES.values())
    assert reached == set(State)
    assert not MOVES[State.LOST]


@pytest.mark.parametrize(("start", "to"), list(product(State, State)))
def test_a_move_that_is_not_in_the_table_is_refused(
    loop: asyncio.AbstractEventLoop, start: State, to: State
) -> None:
    channel, _ = new_channel(loop)
    channel.state = start
    if to in MOVES[start]:
        channel._move(to)
        assert channel.state is to
    else:
        with pytest.raises(AssertionError, match=to.value):
            channel._move(to)
        assert channel.state is start


EVENTS = {
    "data": lambda channel: channel.data_received(frame(BINARY, b"x")),
    "much": lambda channel: channel.data_received(frame(BINARY, bytes(300_000))),
    "ping": lambda channel: channel.data_received(frame(PING, b"x")),
    "bad": lambda channel: channel.data_received(frame(3)),
    "close": lambda channel: channel.data_received(close(4000)),
    "all at once": lambda channel: channel.data_received(frame(BINARY) + close(4000) + b"junk"),
    "send_close": lambda channel: channel.send_close(1000),
    "send": lambda channel: channel.send(BINARY, b"x"),
    "fail": lambda channel: channel.fail(TimeoutError()),
    "lost": lambda channel: channel.connection_lost(None),
    "reset": lambda channel: channel.connection_lost(ConnectionResetError()),
    "end": lambda channel: channel.end(),
    "abort": lambda channel: channel.abort(),
    "search": lambda channel: channel._look_for_close(),
}


def take(channel: WebSocketChannel) -> None:
    """What `receive` does with a message that is there."""
    if channel.messages:
        channel.messages.popleft()
        if channel.held and not channel.messages:
            channel.taken()


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*EVENTS, "take"]), max_size=12))
@example(["much", "bad", "lost"])
@example(["much", "bad", "reset", "take"])
def test_whatever_comes_in_whatever_order_the_table_holds(events: list[str]) -> None:
    loop = asyncio.new_event_loop()
    try:
        channel, tunnel = new_channel(loop)
        for name in events:
            if name == "take":
                take(channel)
                continue
            try:
                EVENTS[name](channel)
            except ClientConnectionResetError:
                assert name == "send"
                assert channel.sealed or tunnel.gone
            if channel.lost:
                tunnel.gone = True
        assert channel.sealed is (channel.state not in (State.OPEN, State.CLOSE_RECEIVED))
        if channel.lost:
            left = 100
            while channel.messages[0].type is not wherry.WSMsgType.CLOSED:
                take(channel)
                left -= 1
                assert left  # there is an end
        channel.stop_timers()
    finally:
        loop.close()


async def test_repr_shows_the_state() -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.close(code=4000)
        return socket

    app = web.Application()
    app.router.add_get("/", answer)
    async with serving(app) as ports, ClientSession() as session:
        socket: Any = await session.ws_connect(f"ws://127.0.0.1:{ports[0]}/", autoclose=False)
        assert repr(socket).endswith(" open>")
        await socket.send_str("go")
        message = await socket.receive()
        assert message.type is wherry.WSMsgType.CLOSE
        assert repr(socket).endswith(" close received>")
        await socket.close()
        assert repr(socket).endswith(" closed>")
