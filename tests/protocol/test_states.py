"""The life of a connection: what its tables allow, and that connections live by them."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wherry
from wherry.protocol.heads import RequestHead
from wherry.protocol.http1.connection import Http1Connection
from wherry.protocol.http1.read_pacing import READING_MOVES, Reading
from wherry.protocol.http1.response_reader import MESSAGE_MOVES, MessageState
from wherry.protocol.states import (
    ACTIVE,
    AWAITING,
    CLOSE,
    CLOSED,
    COMPLETE,
    DRAIN,
    DRAINING,
    EXCHANGE_MOVES,
    FAILED,
    FINISH,
    IDLE,
    MOVES,
    NEW,
    RECEIVING,
    START,
    SWITCHED,
    ConnectionState,
    ExchangeState,
    IllegalMove,
)

from .frames import HEADERS, OK, Owner, Peer, Sink, Transport, frame

ALLOWED = {
    (NEW, START.event, ACTIVE),
    (IDLE, START.event, ACTIVE),
    (ACTIVE, FINISH.event, IDLE),
    (ACTIVE, DRAIN.event, DRAINING),
    (DRAINING, DRAIN.event, DRAINING),
    *((state, CLOSE.event, CLOSED) for state in ConnectionState),
}


def test_the_table() -> None:
    """The whole of it, so that a change here is one that somebody meant."""
    assert {
        (state, moves.event, target) for moves in MOVES for state, target in moves.items()
    } == ALLOWED
    # What is closed stays so, and what drains comes to nothing else.
    assert {target for moves in MOVES for state, target in moves.items() if state is CLOSED} == {
        CLOSED
    }
    assert {moves.get(DRAINING, CLOSED) for moves in MOVES} == {DRAINING, CLOSED}


def test_the_table_of_exchanges() -> None:
    assert {
        (state, moves.event, target) for moves in EXCHANGE_MOVES for state, target in moves.items()
    } == {
        (AWAITING, "answer", RECEIVING),
        (AWAITING, "end", COMPLETE),
        (RECEIVING, "end", COMPLETE),
        (RECEIVING, "switch", SWITCHED),
        (AWAITING, "fail", FAILED),
        (RECEIVING, "fail", FAILED),
        (FAILED, "answer", FAILED),
        (FAILED, "end", FAILED),
    }
    assert [state for state in ExchangeState if state.complete] == [COMPLETE, SWITCHED]
    assert [state for state in ExchangeState if state.ended] == [COMPLETE, SWITCHED, FAILED]


def test_the_table_of_messages() -> None:
    """What a response on an HTTP/1 connection may come to: a surplus only behind what is whole."""
    moves = {(s.name, t.name) for table in MESSAGE_MOVES for s, t in table.items()}
    assert moves == {
        ("UNREAD", "HEAD"),
        ("UNREAD", "COUNTED"),
        ("HEAD", "BODY"),
        ("BODY", "PARSED"),
        ("BODY", "COUNTED"),
        ("BODY", "SWITCHED"),
        ("BODY", "WHOLE"),
        ("PARSED", "WHOLE"),
        ("COUNTED", "WHOLE"),
        ("WHOLE", "SURPLUS"),
        ("SURPLUS", "SURPLUS"),
    }
    assert [state.name for state in MessageState if state.whole] == ["WHOLE", "SURPLUS"]


def test_neither_a_pause_nor_a_rest_undoes_the_other() -> None:
    """The table of reading, as two flags would have it."""
    flags = {"READING": (0, 0), "PAUSED": (1, 0), "RESTING": (0, 1), "HELD": (1, 1)}
    states = {pair: Reading[name] for name, pair in flags.items()}
    pause, resume, rest, wake = READING_MOVES
    for (paused, resting), state in states.items():
        assert pause[state] is states[1, resting]
        assert resume[state] is states[0, resting]
        assert wake[state] is states[paused, 0]
    assert dict(rest) == {states[0, 0]: states[0, 1]}


@pytest.mark.parametrize(
    ("what", "states", "tables"),
    [
        ("a connection", ConnectionState, MOVES),
        ("an exchange", ExchangeState, EXCHANGE_MOVES),
        ("a message", MessageState, MESSAGE_MOVES),
        ("reading", Reading, READING_MOVES),
    ],
)
def test_other_moves_are_refused_and_noted(what: str, states: Any, tables: Any) -> None:
    for moves in tables:
        for state in states:
            if state in moves:
                continue
            said = f"{what} that is {state.value} cannot {moves.event}"
            with pytest.raises(IllegalMove, match=said):
                moves[state]
            assert IllegalMove.noted == [said]
            IllegalMove.noted.clear()


def test_states_are_single() -> None:
    for state in (*ConnectionState, *ExchangeState, *MessageState, *Reading):
        assert pickle.loads(pickle.dumps(state)) is state
        assert type(state).__hash__ is str.__hash__, "looked up with each request"


class Life:
    """One connection over a transport in memory, and what a program and a server do to it."""

    def __init__(self, version: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.version = version
        self.connection: Any
        self.encoder: Any = None
        if version == "HTTP/2":
            peer = Peer()
            self.connection, self.encoder, self.transport = (
                peer.connection,
                peer.encoder,
                peer.transport,
            )
            self.say = peer.say
        else:
            self.connection = Http1Connection(self.loop)
            self.connection.owner = Owner()
            self.transport = Transport(self.connection)
            self.connection.connection_made(self.transport)
        self.exchanges: list[Any] = []
        self.seen = [self.connection.state]

    def say(self, data: bytes) -> None:
        self.connection.feed(data)

    def start(self) -> None:
        if not self.connection.is_usable():
            if self.transport.closing and self.connection.state is not CLOSED:
                return  # the loop is about to tell
            with pytest.raises((wherry.ClientConnectionResetError, RuntimeError)):
                self.connection.start(RequestHead("GET", "http", "h.test", "/"), Sink())
            return
        exchange = self.connection.start(RequestHead("GET", "http", "h.test", "/"), Sink())
        self.exchanges.append(exchange)

    def under_way(self) -> list[Any]:
        return [each for each in self.exchanges if not each.state.ended]

    def answer(self) -> None:
        if self.version == "HTTP/1.1":
            self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        elif exchanges := self.under_way():
            block = self.encoder.encode(OK)
            self.say(frame(HEADERS, 5, exchanges[0].stream_id, block))

    def answer_partly(self) -> None:
        if self.version == "HTTP/1.1":
            self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        elif exchanges := self.under_way():
            block = self.encoder.encode(OK)
            if exchanges[-1].head is None:
                self.say(frame(HEADERS, 4, exchanges[-1].stream_id, block))

    def nonsense(self) -> None:
        self.say(b"nonsense\r\n\r\n" * 4)

    def go_away(self) -> None:
        if self.version == "HTTP/2":
            last = 2 * len(self.exchanges) - 3
            self.say(frame(7, 0, 0, max(last, 0).to_bytes(4, "big") + bytes(4)))

    def cancel(self) -> None:
        if self.exchanges:
            self.exchanges[-1].cancel()

    def end(self) -> None:
        if not self.transport.closing and not self.connection.eof_received():
            self.transport.close()

    def lose(self) -> None:
        if not self.transport.closing:
            self.transport.closing = True
            self.loop.call_soon(self.connection.connection_lost, ConnectionResetError("reset"))

    def check(self) -> None:
        """What holds at any time."""
        connection, state = self.connection, self.connection.state
        if state is not self.seen[-1]:
            self.seen.append(state)
        for exchange in self.exchanges:
            assert (exchange.error is None) == (exchange.state is not FAILED)
            assert exchange.complete == (exchange.state is COMPLETE)
            assert exchange.head is None or exchange.state is not AWAITING
            assert exchange.state.value in repr(exchange)
        assert connection.is_idle == (not self.under_way())
        assert (state in (ACTIVE, DRAINING)) == bool(self.under_way())
        assert (connection.exchanges == 0) or state is not NEW
        if state in (DRAINING, CLOSED):
            assert connection.capacity == 0
            assert not connection.is_usable()
        if self.transport.closing:
            assert not connection.is_usable()
        assert f" {state.value} " in repr(connection) + " "


EVENTS = [
    "start", "start", "answer", "answer", "answer_partly", "nonsense", "go_away", "cancel",
    "end", "lose", "close", "abort", "retire", "turn",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(version=st.sampled_from(["HTTP/1.1", "HTTP/2"]), events=st.lists(st.sampled_from(EVENTS)))
def test_no_order_of_events_leaves_the_table(version: str, events: list[str]) -> None:
    async def main() -> None:
        life = Life(version)
        life.check()
        for event in events:
            if event == "turn":
                await asyncio.sleep(0)
            elif event in {"close", "abort", "retire"}:
                getattr(life.connection, event)()
            else:
                getattr(life, event)()
            life.check()
        life.connection.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        life.check()
        assert life.connection.state is CLOSED
        # Closed for good, and nothing came after draining.
        assert CLOSED not in life.seen[:-1]
        if DRAINING in life.seen:
            assert life.seen[life.seen.index(DRAINING) :] == [DRAINING, CLOSED]

    asyncio.run(main())
    assert IllegalMove.noted == []


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
async def test_a_life(version: str) -> None:
    life = Life(version)
    for event in ("start", "answer", "start", "answer_partly"):
        getattr(life, event)()
        life.check()
    life.connection.retire()
    life.check()
    life.cancel()
    life.check()
    assert life.seen == [NEW, ACTIVE, IDLE, ACTIVE, DRAINING, CLOSED]
    await asyncio.sleep(0)
