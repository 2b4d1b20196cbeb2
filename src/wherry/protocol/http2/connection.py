"""HTTP/2 on the wire (RFC 9113): many exchanges at a time on a connection, each a stream.

`Http2Connection` is an asyncio `BufferedProtocol` over the loop's one buffer.  It cuts frames by
hand, acts at once on the two that every response is made of, and leaves what goes out to `Sender`,
the frames that steer the connection to `state`, and a stream's own state to `Http2Exchange`.
"""

from __future__ import annotations

import asyncio
import select
from time import monotonic
from typing import Any, ClassVar, cast

from wherry.errors import (
    BadHttpMessage,
    ClientConnectionError,
    ServerDisconnectedError,
)
from wherry.protocol.connection import BodySink, ConnectionOwner, Exchange, not_started
from wherry.protocol.debug_log import HTTP2, RoomLog
from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.heads import RequestHead
from wherry.protocol.http2.exchange import Http2Exchange
from wherry.protocol.http2.flow_control import DEFAULT_FLOW, FlowOptions
from wherry.protocol.http2.frame_handlers import FRAME_ACTIONS
from wherry.protocol.http2.frames import (
    DEFAULT_WINDOW,
    MAX_STREAM_ID,
    PREFACE,
    ErrorCode,
    Setting,
    goaway,
    ping,
    priority_update,
    rst_stream,
    settings_frame,
    window_update,
)
from wherry.protocol.http2.receiver import ALIVE, CHECK, Reader, StreamKeeper
from wherry.protocol.http2.sender import Sender
from wherry.protocol.http2.state import Control
from wherry.protocol.limits import DEFAULT_LIMITS, Limits
from wherry.protocol.ping_checks import SILENCE, KeepAlive, PeerCheck
from wherry.protocol.receive_buffer import read_remaining, receive_buffer
from wherry.protocol.states import (
    ACTIVE,
    CLOSED,
    DRAIN,
    DRAINING,
    END,
    FINISH,
    START,
    ConnectionState,
)
from wherry.protocol.tcp_progress import LineProgress, line_progress
from wherry.types import HttpVersion20

# RFC 9113 5.1.2 recommends no less; what a server allows is known once its SETTINGS are in.
ASSUMED_STREAMS = 100
# A server that refused streams is tried with one more at a time when it has served so many times
# what it bears: few are refused again.
SERVED_FOR_ONE_MORE = 4
# Seconds after a fault in which the transport may still bring GOAWAY out.
_FAREWELL = 1.0
_HANG_UP = getattr(select, "POLLRDHUP", 0)


class Http2Connection(StreamKeeper, asyncio.BufferedProtocol):
    """A transport that speaks HTTP/2.

    Args:
        loop: The event loop.
        limits: What a server may send in a response's head.
        flow: Windows, keep-alive and flood limits.
    """

    __slots__ = (
        "_alive",
        "_at_a_time",
        "_buffer",
        "_check",
        "_farewell",
        "_flow",
        "_heard_at",
        "_last_id",
        "_limits",
        "_poll",
        "_reader",
        "_served",
        "_transport",
        "control",
        "next_id",
        "sender",
    )

    log: ClassVar[RoomLog] = HTTP2
    tunnel_rfc: ClassVar[str] = "RFC 8441"
    capacity: int
    owner: ConnectionOwner | None
    exchanges: int
    state: ConnectionState

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits = DEFAULT_LIMITS,
        flow: FlowOptions = DEFAULT_FLOW,
    ) -> None:
        super().__init__(loop, HttpVersion20, ASSUMED_STREAMS)
        self.control: Control = Control(ASSUMED_STREAMS, limits.max_head_size)
        self._flow = flow
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._buffer = receive_buffer(loop)
        self.sender: Sender = Sender(loop)
        self._reader = Reader(self, FRAME_ACTIONS, limits, flow)
        # Streams that the server bears at a time, where it has refused more without having said so;
        # and how many it has served since.
        self._at_a_time = MAX_STREAM_ID
        self._served = 0
        self.next_id = 1
        self._last_id = MAX_STREAM_ID - 1
        self._farewell: asyncio.TimerHandle | None = None
        self._alive: KeepAlive | None = None
        self._check: PeerCheck | None = None  # while the peer is in doubt
        self._heard_at = monotonic()  # when something came last
        self._poll: Any = None

    @property
    def is_in_doubt(self) -> bool:
        return self._check is not None

    # --- what the pool and the pipeline see -------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    @property
    def carries_tunnels(self) -> bool:
        return self.control.connect_protocol

    @property
    def writing_paused(self) -> bool:
        return self.sender.paused

    def is_usable(self) -> bool:
        transport = self._transport
        if transport is None or self.capacity <= 0 or transport.is_closing():
            return False
        return bool(self._active) or not self.exchanges or not self._has_hung_up(transport)

    def _has_hung_up(self, transport: asyncio.Transport) -> bool:
        """Whether the peer has closed its side without the event loop having read that yet.

        Unread bytes alone say nothing here: a server may send PING or SETTINGS whenever it likes.
        """
        poll = self._poll
        if poll is None:
            sock = transport.get_extra_info("socket")
            if sock is None or not _HANG_UP:
                return False
            poll = self._poll = select.poll()
            poll.register(sock.fileno(), _HANG_UP)
        return bool(poll.poll(0))

    def start(self, head: RequestHead, sink: BodySink) -> Exchange:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise not_started(f"Connection to {self._peer()} is closed")
        if self.capacity <= 0:
            raise not_started(f"Connection to {self._peer()} takes no more streams")
        exchange = Http2Exchange(
            self,
            sink,
            self.exchanges > 0,
            bodyless=head.method == "HEAD",
            tunnelled=head.upgrade is not None,
            limits=head.limits or self._limits,
            stream_id=0,
        )
        exchange.beside = exchange.receive_window = exchange.send_window = 0
        if not self._active:
            self.state = START[self.state]
        self.capacity -= 1
        self.exchanges += 1
        self._active += 1
        sink.flow = exchange
        if exchange.tunnelled and not self.control.connect_protocol:
            if self.control.settings_seen:
                self._refuse_tunnel(exchange)
            else:
                self._held.append((exchange, head))
        else:
            self._open(exchange, head)
        return exchange

    def _open(self, exchange: Http2Exchange, head: RequestHead) -> None:
        stream_id = exchange.stream_id = self.next_id
        self.next_id: int = stream_id + 2
        self.streams[stream_id] = exchange
        exchange.receive_window = self._flow.initial_window
        exchange.beside = self._active
        self.sender.open(exchange, head)
        if HTTP2.on:
            exchange.log_start(head)
        if stream_id >= self._last_id:
            self.retire()

    def carry_at_most(self, exchanges: int) -> None:
        super().carry_at_most(exchanges)
        self._last_id = 2 * exchanges - 1

    @property
    def at_a_time(self) -> int | None:
        return None if self._at_a_time == MAX_STREAM_ID else self._at_a_time

    def carry_at_a_time(self, exchanges: int) -> None:
        self._at_a_time = min(self._at_a_time, exchanges)
        self.capacity = min(self.capacity, self._at_a_time)

    def close(self) -> None:
        self._end_all(ClientConnectionError("Connection closed"))
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self.sender.write(goaway(ErrorCode.NO_ERROR))
            self.sender.flush()
            transport.close()

    # --- what exchanges ask for -------------------------------------------------------------------

    def give_up(self, exchange: Http2Exchange) -> None:
        self.reset(exchange, ErrorCode.CANCEL)

    def send_body(self, exchange: Http2Exchange, data: memoryview | None) -> None:
        self.sender.send_body(exchange, data)

    def reset(self, exchange: Http2Exchange, code: ErrorCode) -> None:
        """End one stream at once, if that is still to be done; the others never notice (RFC 9113
        5.4.2).
        """
        if self.streams.get(exchange.stream_id) is not exchange:
            if all(held is not exchange for held, _ in self._held):
                return
        else:
            self._reader.closed.remember(exchange.stream_id, exchange.receive_window)
            if self._transport is not None and not self._transport.is_closing():
                self.sender.write(rst_stream(exchange.stream_id, code))
        if code == ErrorCode.CANCEL and not exchange.paused:
            self._doubt()
        self._release(exchange)

    def reprioritize(self, exchange: Http2Exchange, priority: bytes) -> bool:
        if not exchange.stream_id or self._transport is None or self._transport.is_closing():
            return False
        self.sender.write(priority_update(exchange.stream_id, priority))
        return True

    def replenish(self, exchange: Http2Exchange) -> None:
        self._reader.replenish(exchange)

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self.sender.transport = cast("asyncio.Transport", transport)
        flow = self._flow
        settings = {
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: flow.initial_window,
            Setting.MAX_HEADER_LIST_SIZE: self.control.max_block_size,
        }
        self.sender.write(PREFACE + settings_frame(settings))
        if flow.connection_window > DEFAULT_WINDOW:
            self._reader.window = flow.connection_window
            self.sender.write(window_update(0, flow.connection_window - DEFAULT_WINDOW))
        if flow.ping_interval is not None:
            self._alive = KeepAlive(
                self.loop,
                flow.ping_interval,
                flow.ping_timeout,
                self._ask_for_life,
                self._answerless,
                self._progress,
                lambda: self._heard_at,
            )

    def get_buffer(self, sizehint: int) -> memoryview:
        buffer = self._buffer
        if buffer.borrower is not None:
            buffer.take_back()
        return buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        self._heard_at = monotonic()
        self._reader.receive(self._buffer.view[:nbytes])

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived before this connection was the transport's protocol."""
        if data:
            self._heard_at = monotonic()
            self._reader.receive(data)

    def eof_received(self) -> bool:
        self._lose(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self.streams:
            # RFC 9113 9.1: a write has failed, but the server may have answered before it closed.
            self.capacity = 0
            self._move(DRAIN)  # whatever ends now, nothing starts
            read_remaining(self._transport, self._reader.receive)
        self._lose(exc)
        self._transport = self.sender.transport = None
        self._reader.let_go()
        if self._alive is not None:
            self._alive.stop()
        if self._farewell is not None:
            self._farewell.cancel()
        if self._check is not None:
            self._check.stop()
            self._check = None
        self._report_lost()

    def pause_writing(self) -> None:
        self.sender.paused = True

    def resume_writing(self) -> None:
        self.sender.resume()
        for exchange in tuple(self.streams.values()):
            if exchange.writers and not exchange.backlog_size:
                exchange.wake_writers()

    # --- what frames that steer the connection ask for --------------------------------------------

    def settings_applied(self, first: bool) -> None:
        """The server's SETTINGS are in force: room may have changed, and tunnels may wait for the
        first.
        """
        if HTTP2.on:
            HTTP2.say("#%s < SETTINGS: %s streams", self.number, self.control.max_streams)
        if first:
            self._open_held(self.control.connect_protocol)
        self._make_place()

    def give_back(self, last_stream_id: int, reason: str, *, orderly: bool) -> None:
        """GOAWAY: streams after the last one were not and will not be processed (RFC 9113 6.8)."""
        self.capacity = 0
        if self._active:
            self._move(DRAIN)
        if HTTP2.on:
            HTTP2.say("#%s < %s, the last stream is %s", self.number, reason, last_stream_id)
        refused = [
            exchange
            for exchange in (*(exchange for exchange, _ in self._held), *self.streams.values())
            if not 0 < exchange.stream_id <= last_stream_id
        ]
        if refused and orderly and self.owner is not None:
            self.owner.exchanges_refused(self, (last_stream_id + 1) // 2)
        for exchange in refused:
            exchange.unprocessed = True
            exchange.fail(
                ServerDisconnectedError(f"{self._peer()} did not process the request: {reason}")
            )
            self._release(exchange)
        if not self._active:
            self.close()

    def give_way(self) -> bool:
        """The server wants HTTP/1.1 (RFC 9113 7): whether the next connection will speak it."""
        return self.owner is not None and self.owner.protocol_refused(self)

    def stream_reset(self, exchange: Http2Exchange, code: int, name: str) -> None:
        """The server reset a stream."""
        if exchange.head is None:
            # Who is asked to come again by HTTP/1.1 has not been served (RFC 9113 7, 9.2.1).
            exchange.unprocessed = code == ErrorCode.REFUSED_STREAM or (
                code == ErrorCode.HTTP_1_1_REQUIRED and self.give_way()
            )
            if code == ErrorCode.REFUSED_STREAM:
                self._bear_less(exchange)
        exchange.fail(exchange.failure(f"{self._peer()} reset the stream: {name}", None))
        self._release(exchange)

    def _bear_less(self, refused: Http2Exchange) -> None:
        """The server refused a stream (RFC 9113 5.1.2, 8.7): so many at a time were one too many.

        Who is refused tries again at once, and would be refused again as long as the others are
        there.  It waits for a place instead, or goes by another connection.
        """
        if refused.beside > 1:
            self._at_a_time = min(self._at_a_time, refused.beside - 1)
            self._served = 0
        else:
            self.retire()  # not even one

    def _bear_more(self) -> None:
        """The server has served many within what it bears: try one more."""
        self._served += 1
        if self._served >= SERVED_FOR_ONE_MORE * self._at_a_time:
            self._served = 0
            self._at_a_time += 1

    # --- how streams, and the connection, end -----------------------------------------------------

    def finish(self, exchange: Http2Exchange) -> None:
        """The response is whole: give its place back, here and now, before its reader even
        wakes.
        """
        if exchange.received != exchange.expected >= 0 and not exchange.bodyless:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR,
                f"the body has {exchange.received} bytes instead of {exchange.expected}",
            )
        if not exchange.request_ended:
            # RFC 9113 8.1: the response does not wait for the rest of the request, and nor do we.
            self.sender.write(rst_stream(exchange.stream_id, ErrorCode.CANCEL))
        exchange.state = END[exchange.state]
        if HTTP2.on:
            exchange.log_complete()
        if self._at_a_time < MAX_STREAM_ID:
            self._bear_more()
        exchange.sink.feed_eof()
        if exchange.backlog:
            exchange.backlog = None
            exchange.backlog_size = 0
            exchange.wake_writers()
        self._release(exchange)

    def _release(self, exchange: Http2Exchange) -> None:
        """A stream is over: its place is free."""
        if self.streams.pop(exchange.stream_id, None) is None:
            self._held = [entry for entry in self._held if entry[0] is not exchange]
        self._active -= 1
        if not self._active and self.state is ACTIVE:
            self.state = FINISH[ACTIVE]
        self.sender.forget(exchange)
        self._make_place()

    def _make_place(self) -> None:
        control = self.control
        if self.state is CLOSED:
            return
        if self.state is DRAINING:
            self._end_drained()
            return
        if self._check is not None:
            return  # nothing more starts until the peer has answered
        before = self.capacity
        left = (self._last_id - self.next_id) // 2 + 1
        most = min(control.max_streams, self._at_a_time)
        self.capacity = max(min(most - self._active, left), 0)
        if not control.max_streams and not self._active:
            self.close()  # of no use to anyone, and a place of the pool
        if self.owner is not None and self.capacity and (before <= 0 or not self._active):
            self.idle_since: float = self.loop.time()
            self.owner.connection_available(self)

    def stream_broken(self, stream_id: int, fault: StreamFault) -> None:
        """The peer broke a rule on one stream: that stream ends, the others go on."""
        exchange = self.streams.get(stream_id)
        if exchange is not None:
            exchange.fail(exchange.failure(str(fault), BadHttpMessage(str(fault))))
            self.reset(exchange, fault.code)

    def broken(self, fault: ConnectionFault) -> None:
        """The peer does not speak HTTP/2: say so, and trust nothing from here on (RFC 9113
        5.4.1).
        """
        if HTTP2.on:
            HTTP2.say("#%s the server broke the protocol: %s", self.number, fault)
        self.sender.write(goaway(fault.code, str(fault)))
        self.sender.flush()
        self._fail_all(str(fault), BadHttpMessage(str(fault)))
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.close()
            self._farewell = self.loop.call_later(_FAREWELL, transport.abort)

    def _lose(self, exc: Exception | None) -> None:
        """The connection is gone: every exchange under way fails."""
        reason = f"the connection to {self._peer()} ended"
        if self.control.goaway:
            reason += f" after {self.control.goaway}"
        self._fail_all(reason, exc)

    # --- whether the peer is there ----------------------------------------------------------------

    def _doubt(self) -> None:
        """An exchange is given up.  If nothing has come for long, ask along with its RST_STREAM
        whether anybody is there; no other starts before there is an answer.
        """
        if (
            self._check is None
            and self._transport is not None
            and not self._transport.is_closing()
            and monotonic() - self._heard_at >= SILENCE
        ):
            self.capacity = 0
            if HTTP2.on:
                HTTP2.say("#%s > PING: is anybody there?", self.number)
            self.sender.write(ping(CHECK))
            self._check = PeerCheck(
                self.loop, lambda: self._heard_at, self._flow.ping_timeout, self._no_answer
            )

    def peer_answered(self) -> bool:
        if self._check is None:
            return False
        self._check.stop()
        self._check = None
        self._make_place()
        return True

    def _ask_for_life(self) -> None:
        self.sender.write(ping(ALIVE))

    def _progress(self) -> LineProgress:
        transport = self._transport
        if transport is None:
            return LineProgress()
        return line_progress(transport.get_extra_info, transport.get_write_buffer_size())

    def _answerless(self) -> None:
        self._fail_all(
            f"{self._peer()} did not answer PING within {self._flow.ping_timeout:g} seconds", None
        )
        if self._transport is not None:
            self._transport.abort()
