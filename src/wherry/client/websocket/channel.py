"""`WebSocketChannel`: a WebSocket on a tunnel; bytes come in, messages are kept until somebody
takes them.

It is what a tunnel pushes its bytes to.  It answers pings, watches the heartbeat, stops a peer that
sends faster than the program reads, and closes in bounded time.  What a program sees of it is
`ClientWebSocketResponse`; the channel never knows that one, so a program that forgets its WebSocket
can be told so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from math import inf
from sys import getsizeof
from typing import Any

from wherry.client.websocket.heartbeat import Heartbeat
from wherry.client.websocket.threaded_compression import LargeMessages
from wherry.errors import ClientConnectionResetError, WebSocketError
from wherry.protocol.connection import Tunnel
from wherry.protocol.tcp_progress import LineProgress, line_progress
from wherry.protocol.websocket.frames import FrameReader, FrameWriter, Message
from wherry.protocol.websocket.masking import Buffer
from wherry.protocol.websocket.messages import WSCloseCode, WSMessage, WSMsgType, may_be_sent
from wherry.protocol.write_gate import WriteGate

# Bytes that messages hold which nobody has taken, after which the peer is stopped: as they are in
# memory, inflated and decoded, and with what each costs beside its data.
HIGH_WATER = 256 * 1024
MESSAGE_COST = 100
# How long a connection may take to close after its last Close frame, in seconds.
LINGER_SECONDS = 1.0
# How long a ping may wait for its answer while the program is behind with reading, in seconds.
LATE_PONG_SECONDS = 1.0

CLOSED_MESSAGE = WSMessage(WSMsgType.CLOSED, None, None)
CLOSING_MESSAGE = WSMessage(WSMsgType.CLOSING, None, None)


class State(Enum):
    """Where a WebSocket stands: who has sent a Close frame (RFC 6455 7), and whether there is a
    connection.
    """

    NEW = "new"  # not on a tunnel yet
    OPEN = "open"
    CLOSING = "closing"  # our Close frame is sent, the peer's is due
    CLOSE_RECEIVED = "close received"  # the peer's is here, ours is due
    CLOSED = "closed"  # both are; the connection ends
    FAILED = "failed"  # it is being aborted: nothing is sent, and nothing counts that comes
    LOST = "lost"  # the connection is gone


MOVES: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.OPEN}),
    State.OPEN: frozenset({State.CLOSING, State.CLOSE_RECEIVED, State.FAILED, State.LOST}),
    State.CLOSING: frozenset({State.CLOSED, State.FAILED, State.LOST}),
    State.CLOSE_RECEIVED: frozenset({State.CLOSED, State.LOST}),
    State.CLOSED: frozenset({State.LOST}),
    State.FAILED: frozenset({State.LOST}),
    State.LOST: frozenset(),
}
# Our Close frame is sent, or none will be.
_CLOSE_SENT = frozenset({State.CLOSING, State.CLOSED, State.FAILED})
_CAN_SEND = frozenset({State.NEW, State.OPEN, State.CLOSE_RECEIVED})


class WebSocketChannel:
    """Both directions of an open WebSocket.

    Args:
        loop: The event loop.
        reader: Turns bytes into messages.
        writer: Turns messages into frames.
        autoping: Whether pings are answered, and pongs swallowed, here.
        heartbeat: Seconds of silence after which a ping goes out; half of it later there must be an
            answer.
        on_end: Called once, when the channel is lost.
    """

    __slots__ = (
        "__weakref__",
        "_autoping",
        "_backlog",
        "_close_waiter",
        "_early",
        "_feed",
        "_finished",
        "_late_pong",
        "_late_pong_timer",
        "_linger",
        "_loop",
        "_loss",
        "_lost_early",
        "_on_end",
        "_paused",
        "_read_again_at",
        "_reader",
        "_resumed",
        "_size",
        "close_code",
        "encode",
        "exception",
        "heard_at",
        "heartbeat",
        "held",
        "is_closing",
        "large",
        "messages",
        "peer_close",
        "sealed",
        "state",
        "tunnel",
        "waiter",
        "write",
        "write_gate",
        "writer",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reader: FrameReader,
        writer: FrameWriter,
        *,
        autoping: bool = True,
        heartbeat: float | None = None,
        on_end: Callable[[WebSocketChannel], None] | None = None,
    ) -> None:
        self.messages: deque[Message] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.write_gate: WriteGate = WriteGate()
        self.state: State = State.NEW
        self.peer_close: Message | None = None
        # Nothing can be sent any more: a Close frame was, or the peer is gone.
        self.sealed: bool = False
        # Something waits for the messages to be taken: the peer, more messages, or the end.
        self.held: bool = False
        self.close_code: int | None = None
        self.exception: BaseException | None = None
        self.heartbeat = Heartbeat(self, loop, heartbeat) if heartbeat else None
        self.heard_at: float = 0.0
        self._loop = loop
        self._reader = reader
        self.writer: FrameWriter = writer
        self.encode: Callable[..., bytes] = writer.encode
        # None where nothing is compressed, and all messages are sent in one step.
        self.large = None if writer.deflater is None else LargeMessages(self, writer.deflater)
        self._autoping = autoping
        self._on_end = on_end
        self._size = 0  # what the messages hold that nobody has taken
        # What came while nobody took them: a stream of HTTP/2 sends on what its window allows.
        self._backlog: deque[bytes] = deque()
        self._paused = False
        self._loss: BaseException | None = None  # what ended the connection
        self._finished = False
        self._late_pong: bytes | None = None
        self._late_pong_timer: asyncio.TimerHandle | None = None
        self._read_again_at = -inf  # when reading went on after it was stopped
        self._resumed = 0  # how often the peer took bytes again after it took none
        self._close_waiter: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self.tunnel: Tunnel | None = None
        # Until `attach`, bytes that come early are kept; then each one is a call of the part in
        # question itself.
        self._early: list[bytes] = []
        self._lost_early: tuple[BaseException | None] | None = None
        self._feed: Callable[[bytes], list[Message]] = self._keep_early
        self.write: Callable[[Any], None] = _no_tunnel
        self.is_closing: Callable[[], bool] = bool

    def attach(self, tunnel: Tunnel) -> None:
        """Begin, on the tunnel that this channel is the receiver of."""
        self._move(State.OPEN)
        self.tunnel = tunnel
        transport = tunnel.transport
        self.write = tunnel.write if transport is None else transport.write
        self.is_closing = tunnel.is_closing if transport is None else transport.is_closing
        self._feed = self._reader.receive
        if self.heartbeat is not None:
            self.heartbeat.start()
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)
        if self._lost_early is not None:
            self.connection_lost(*self._lost_early)

    def _move(self, to: State) -> None:
        """The one place where the state changes."""
        assert to in MOVES[self.state], f"a WebSocket is not {to.value} after {self.state.value}"
        self.state = to
        self.sealed = to not in _CAN_SEND

    @property
    def lost(self) -> bool:
        """The connection is gone."""
        return self.state is State.LOST

    @property
    def close_sent(self) -> bool:
        """Our Close frame is sent, or none will be."""
        return self.state in _CLOSE_SENT

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if self.tunnel is None or self._finished:
            return default
        return self.tunnel.get_extra_info(name, default)

    @property
    def ended(self) -> bool:
        """It was closed, or the peer is gone and all that it sent was taken."""
        return self._finished or (self.lost and len(self.messages) <= 1 and not self._has_more())

    # --- bytes come in ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.heartbeat is not None:
            self.heard_at = self._loop.time()
        if self.held and self.messages and self.peer_close is None:
            # What is not decoded yet cannot grow: the peer is stopped, or told so.
            self._backlog.append(data)
        else:
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        """Decode `data`, and put what it brings to the other messages."""
        reader = self._reader
        while True:
            messages = self._feed(data)
            eventful = reader.eventful
            if eventful:
                messages = self._sort_out(messages)
            if self.messages:
                self._size += _held_by(messages)
                self.messages.extend(messages)
            elif messages:
                waiter = self.waiter
                alone = waiter is not None and len(messages) == 1  # it is taken at once
                self._size = len(data) if alone else _held_by(messages)
                self.messages.extend(messages)
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)
            if not (eventful and reader.stalled) or self.messages or self._feed is _drop:
                break
            data = b""  # these were pings: nobody will take them and ask for the rest
        if eventful and reader.error is not None:
            self._refuse(reader.error)
        elif self._size + reader.unfinished > HIGH_WATER or (eventful and reader.stalled):
            self._hold()

    def _has_more(self) -> bool:
        """Whether something came that is not decoded yet."""
        return self._feed is not _drop and (self._reader.stalled or bool(self._backlog))

    def _take_more(self) -> None:
        """Decode the next piece of what came and was left as it is."""
        self._take_in(b"" if self._reader.stalled else self._backlog.popleft())

    def taken(self) -> None:
        """The last message was taken, and `held` is set: what comes next may come."""
        while not self.messages and self._has_more():
            self._take_more()
        if self.messages:
            return
        if self.lost:
            self._note_loss()
            self.messages.append(CLOSED_MESSAGE)
        else:
            self._resume()

    def _resume(self) -> None:
        self.held = False
        if self._paused:
            self._paused = False
            self.heard_at = self._read_again_at = self._loop.time()
            if self.tunnel is not None:
                self.tunnel.resume_reading()

    def _hold(self) -> None:
        """Stop the peer, unless there is nothing to take before it goes on."""
        if self._finished or not self.messages:
            return
        self.held = True
        if not self._paused and self.tunnel is not None and self.peer_close is None:
            self._paused = True
            self.tunnel.pause_reading()

    def _keep_early(self, data: bytes) -> list[Message]:
        self._early.append(data)
        return []

    def _sort_out(self, messages: list[Message]) -> list[Message]:
        """See to the control frames; give what is left for the program, in order."""
        if not self._reader.controls:
            return messages
        kept = []
        for message in messages:
            kind = message[0]
            if kind is WSMsgType.CLOSE:
                self.peer_close = message
                if self.state is State.OPEN:
                    self._move(State.CLOSE_RECEIVED)
                elif self.state is State.CLOSING:
                    self._move(State.CLOSED)
                self._feed = _drop
                if self.heartbeat is not None:
                    self.heartbeat.stop()
                if self._close_waiter is not None and not self._close_waiter.done():
                    self._close_waiter.set_result(None)
            elif self._autoping and kind is WSMsgType.PING:
                self._pong(message[1])
                continue
            elif self._autoping and kind is WSMsgType.PONG:
                continue
            kept.append(message)
        return kept

    def _pong(self, payload: bytes) -> None:
        """Answer a ping; only the last one of those that must wait (RFC 6455 5.5.3).

        It waits while the peer takes nothing.  It also waits while the program is behind with
        reading: a peer that has closed its socket meanwhile answers anything by a reset, which
        takes away what its system had still to send.  What says that it closed is on its way then.
        """
        self._late_pong = payload
        if not self._paused and self._loop.time() >= self._read_again_at + LATE_PONG_SECONDS:
            self._answer()
        elif self._late_pong_timer is None:
            self._late_pong_timer = self._loop.call_later(LATE_PONG_SECONDS, self._answer)

    def _answer(self) -> None:
        """Answer the last ping now, if the peer takes it; not if it has closed (RFC 6455 5.5.2)."""
        self._late_pong_timer = None
        payload = self._late_pong
        if payload is None or self.write_gate.paused or self.peer_close is not None:
            return
        self._late_pong = None
        if not self.sealed and not self.is_closing():
            self.write(self.encode(WSMsgType.PONG, payload))

    def _refuse(self, error: WebSocketError) -> None:
        """The peer broke the protocol: say so and let go, when it has had the time to read it (RFC
        6455 7.1.7).
        """
        if self._feed is _drop:
            return
        self._feed = _drop
        self.exception = error
        self.close_code = error.code
        if self.lost:
            # It was said before the connection was lost, and is read only now: the end comes next.
            self._announce(WSMessage(WSMsgType.ERROR, error, None))
            return
        self._resume()
        if self.close_sent:
            self._end_now(WSMessage(WSMsgType.ERROR, error, None))
            return
        self.send_close(error.code, str(error).encode()[:120].decode(errors="ignore").encode())
        self._close_within(LINGER_SECONDS)
        self._announce(WSMessage(WSMsgType.ERROR, error, None))

    def eof_received(self) -> None:
        """The peer sends no more; `connection_lost` follows."""
        if self.tunnel is not None and not self.is_closing():
            self.tunnel.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.tunnel is None:
            self._lost_early = (exc,)
            return
        if self.lost:
            return
        self._move(State.LOST)
        self.held = True
        self.stop_timers()
        if self._close_waiter is not None and not self._close_waiter.done():
            self._close_waiter.set_result(None)
        self._loss = exc
        self.write_gate.lose()
        self.heartbeat = self.large = None
        if not self._has_more():
            self._note_loss()
            self._announce(CLOSED_MESSAGE)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)

    def _note_loss(self) -> None:
        """The connection is gone, and all that came of it is decoded: was that its end?"""
        self._feed = _drop
        if self.peer_close is None and self.close_code is None:
            self.close_code = WSCloseCode.ABNORMAL_CLOSURE
            if self.exception is None:
                self.exception = self._loss or ClientConnectionResetError(
                    "the connection ended without a Close frame"
                )

    def _announce(self, message: WSMessage) -> None:
        self.messages.append(message)
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def interrupt(self) -> None:
        """Wake whoever receives, because the WebSocket is being closed."""
        if self.waiter is not None:
            self._announce(CLOSING_MESSAGE)

    # --- messages go out --------------------------------------------------------------------------

    def send(self, opcode: int, payload: Buffer, compress: int | None = None) -> None:
        """Send one message or control frame.

        Raises:
            ClientConnectionResetError: The WebSocket is closing, or its connection is gone.
        """
        if self.sealed or self.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        if isinstance(payload, memoryview):
            payload = bytes(payload)  # its items may be of several bytes
        self.write(self.encode(opcode, payload, compress))

    def send_close(self, code: int, reason: bytes = b"") -> None:
        """Send the Close frame, if none was sent and there is a way."""
        if not self.close_sent:
            frame = self.writer.encode_close(code, reason)
            if self.lost:
                return
            self._move(State.CLOSING if self.state is State.OPEN else State.CLOSED)
            if not self.is_closing():
                self.write(frame)

    async def drain(self) -> None:
        """Wait until the peer takes more."""
        await self.write_gate.wait()

    def pause_writing(self) -> None:
        self.write_gate.paused = True

    def resume_writing(self) -> None:
        self.write_gate.paused = False
        self._resumed += 1
        if self._late_pong_timer is None:
            self._answer()
        self.write_gate.resume()

    # --- the end ----------------------------------------------------------------------------------

    async def finish(self, code: int, reason: bytes, seconds: float | None) -> None:
        """Close: send a Close frame, wait for the peer's, end the connection.

        Args:
            code: The close code; where the peer closed first, its code is echoed.
            reason: UTF-8, at most 123 bytes.
            seconds: How long the peer may take; None for as long as it likes.
        """
        self._finished = True
        if self.heartbeat is not None:
            self.heartbeat.stop()
        peer_close = self.peer_close
        if peer_close is not None and may_be_sent(peer_close.data):
            code = peer_close.data
        self.send_close(code, reason)
        if self.lost:
            self._look_for_close()
            self._note_loss()
        elif peer_close is None and self._linger is None:
            await self._await_close(seconds)
        if self.peer_close is not None:
            self.close_code = self.peer_close.data
        if self.lost:
            return
        # A peer that has answered our Close frame has had all that we said.
        self.end(answered=peer_close is None and self.peer_close is not None)

    async def _await_close(self, seconds: float | None) -> None:
        """Drop what comes, until the peer's Close frame."""
        waiter = self._close_waiter
        if waiter is None:  # the program and its session may wait at once
            self._close_waiter = waiter = self._loop.create_future()
        self._look_for_close()
        self._resume()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(waiter)
        except BaseException as exc:
            self.close_code = WSCloseCode.ABNORMAL_CLOSURE
            if not isinstance(exc, TimeoutError):
                self.abort()
                raise
            self.exception = exc
            self.abort()

    def _look_for_close(self) -> None:
        """From now on nothing counts but the peer's Close frame; it may be here."""
        if self._feed == self._reader.receive:
            self._feed = self._find_close
            self._take_in(b"")
            while self._has_more():
                self._take_more()

    def _find_close(self, data: bytes) -> list[Message]:
        """Look for the Close frame in what comes, and drop all else."""
        reader = self._reader
        found = [message for message in reader.receive(data) if message[0] is WSMsgType.CLOSE]
        while reader.stalled:
            found += [message for message in reader.receive(b"") if message[0] is WSMsgType.CLOSE]
        reader.controls = len(found)
        reader.eventful = bool(found) or reader.error is not None
        return found

    def end(self, *, answered: bool = False) -> None:
        """Close the connection once what was written is out; at once, if the peer takes nothing.

        Args:
            answered: Both sides have said all that they will.
        """
        self.stop_timers()
        if self.tunnel is not None and not self.lost:
            if self.write_gate.paused:
                self.tunnel.abort()
            else:
                if answered:
                    self.tunnel.leave()
                else:
                    self.tunnel.close()
                self._close_within(LINGER_SECONDS)

    def _close_within(self, seconds: float) -> None:
        if self._linger is None and not self.lost:
            self._linger = self._loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        """End the connection at once."""
        self.stop_timers()
        if self.tunnel is not None and not self.lost:
            self.tunnel.abort()

    def fail(self, error: BaseException) -> None:
        """End the connection: the heartbeat found that the peer is dead."""
        if self.state in (State.OPEN, State.CLOSING):
            self.exception = error
            self.close_code = WSCloseCode.ABNORMAL_CLOSURE
            self._end_now(WSMessage(WSMsgType.ERROR, error, None))

    def _end_now(self, message: WSMessage) -> None:
        self._move(State.FAILED)
        self._feed = _drop
        self._announce(message)
        self.abort()

    def stop_timers(self) -> None:
        if self.heartbeat is not None:
            self.heartbeat.stop()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._late_pong_timer is not None:
            self._late_pong_timer.cancel()
            self._late_pong_timer = None

    def progress(self) -> LineProgress:
        """How far the bytes of both directions have come."""
        tunnel = self.tunnel
        if tunnel is None:
            return LineProgress()
        now = line_progress(tunnel.get_extra_info, tunnel.unsent, self._resumed)
        # What comes on a connection of HTTP/2 may be any other stream's.
        return now if tunnel.transport is not None else now._replace(came=0)

    @property
    def is_paused(self) -> bool:
        """The peer is stopped, because nobody takes what it sent."""
        return self._paused


def _held_by(messages: list[Message]) -> int:
    """How much memory messages hold, in bytes."""
    return sum(map(getsizeof, [message[1] for message in messages])) + MESSAGE_COST * len(messages)


def _drop(data: bytes) -> list[Message]:
    """Ignore what comes now."""
    return []


def _no_tunnel(data: bytes) -> None:
    raise ClientConnectionResetError("Cannot write to closing transport")
