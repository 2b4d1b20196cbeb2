"""HTTP/3 on the wire (RFC 9114): many exchanges at a time on a QUIC connection, each a stream.

`Http3Connection` opens and ends streams, and says how many may start.  What comes in is
`Receiver`'s, what goes out `Sender`'s, and a stream's own state `Http3Exchange`'s; `QuicEngine`
speaks QUIC, and whoever owns the UDP socket (`DatagramTransport`) brings datagrams and calls.

A reader that pauses gets one window more.  The engine knows no credit by stream that could be
withheld: it grants both kinds as its events are taken, which come in one order.  So the connection
starts nothing new then (the pool dials another), and takes from the engine what others on it wait
for, as long as paused readers hold `MAX_WITHHELD` at most; beyond that, and when nobody else waits,
it takes nothing, and the server gets no credit.  It goes on when a reader does.

A connection that resumes a session may be used before its handshake is over; see `early`.

An exchange that is given up in silence sends a PING along; nothing new starts before something
comes (RFC 9000 10.1.2, 13.2.1), and a connection on which nothing does is given up.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, Protocol, cast

from wherry.errors import BadHttpMessage, ClientConnectionError, ServerDisconnectedError
from wherry.protocol.connection import BodySink, ConnectionOwner, Exchange, not_started
from wherry.protocol.debug_log import HTTP3, RoomLog
from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.heads import RequestHead
from wherry.protocol.http3.early_data import EarlyExchange, EarlyStart, TooEarly, may_be_early
from wherry.protocol.http3.exchange import Http3Exchange
from wherry.protocol.http3.frames import ErrorCode, code_name
from wherry.protocol.http3.quic_engine import Event, QuicEnd, QuicEngine
from wherry.protocol.http3.receiver import Receiver, StreamKeeper
from wherry.protocol.http3.sender import Sender
from wherry.protocol.limits import DEFAULT_LIMITS, Limits
from wherry.protocol.ping_checks import ANSWER_SECONDS, SILENCE, KeepAlive
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
from wherry.types import HttpVersion30

# What a stream may get whose reader has paused, in bytes.
PAUSED_WINDOW = 512 * 1024
# What all paused readers of a connection may hold so that the others get on, in bytes.
MAX_WITHHELD = 16 * 1024 * 1024
# An idle connection this close to its idle time-out may be over on the other side, in seconds.
_IDLE_MARGIN = 1.0
# So many probe time-outs in a row, and so many seconds of silence: the server is gone (a restarted
# one does not know the connection, and may not say so).
_MAX_PROBES = 6
_MAX_SILENCE = 5.0


class DatagramTransport(Protocol):
    """Who owns the UDP socket."""

    #: When a datagram came last, by the loop's clock.
    heard_at: float

    def flush_soon(self) -> None:
        """The engine has something to send: in this turn of the loop, or the next."""

    def close(self) -> None:
        """Send what there is, then close the socket; `Http3Connection.transport_closed` follows."""

    def abort(self) -> None:
        """Close the socket; `Http3Connection.transport_closed` follows."""

    def is_closing(self) -> bool: ...


class Trial(Protocol):
    """Who wants to know whether the server answers by HTTP/3 at all."""

    def passed(self) -> None: ...

    def failed(self) -> None: ...


class Http3Connection(StreamKeeper):
    """A QUIC connection that speaks HTTP/3.

    Args:
        loop: The event loop.
        engine: Its QUIC, the handshake done.
        transport: Who owns the socket.
        limits: What a server may send in a response's head.
        early: Where the handshake is not over yet.
        ping: Seconds of silence before a PING, and seconds for its answer; None sends none.
    """

    __slots__ = (
        "_asked_after",
        "_check",
        "_early",
        "_engine",
        "_held_back",
        "_last",
        "_limits",
        "_next_id",
        "_ping",
        "_receiver",
        "_sender",
        "_transport",
        "trial",
    )

    log: ClassVar[RoomLog] = HTTP3
    tunnel_rfc: ClassVar[str] = "RFC 9220"
    owner: ConnectionOwner | None
    exchanges: int
    state: ConnectionState

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        engine: QuicEngine,
        transport: DatagramTransport,
        limits: Limits = DEFAULT_LIMITS,
        early: EarlyStart | None = None,
        ping: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(loop, HttpVersion30, engine.stream_limit)
        #: Set while the server, whom we came to by a hint, has not given a whole response.
        self.trial: Trial | None = None
        self._engine = engine
        self._transport: DatagramTransport | None = transport
        self._limits = limits
        self._receiver = Receiver(self, PAUSED_WINDOW)
        self._sender = Sender(engine)
        self._next_id = 0
        self._last: int | None = None  # how many exchanges it may carry in all
        self._held_back: set[Http3Exchange] = set()  # whose readers hold a whole window
        self._check: asyncio.TimerHandle | None = None  # while the server is in doubt
        self._asked_after = 0.0  # when something had come last before it was
        self._early = early
        if early is not None:
            early.begin(loop, self._handshake_late)
        self._ping: KeepAlive | None = None
        if ping is not None:
            self._ping = KeepAlive(
                loop, *ping, self._ask_quietly, self._no_ping, None, self._heard_at
            )
        self._sender.open_control_streams(limits.max_head_size)
        transport.flush_soon()

    @property
    def is_in_doubt(self) -> bool:
        return self._check is not None

    # --- what the pool and the pipeline see -------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport | None:
        return cast("asyncio.Transport | None", self._transport)

    def is_usable(self) -> bool:
        transport = self._transport
        if (
            transport is None
            or self.capacity <= 0
            or transport.is_closing()
            or not self._engine.is_open
        ):
            return False
        if not self._active and self.exchanges:
            timer = self._engine.timer()
            if timer is not None and timer[0] == "idle":
                return timer[1] - self.loop.time() > _IDLE_MARGIN
        return True

    def start(self, head: RequestHead, sink: BodySink) -> Exchange:
        transport = self._transport
        if transport is None or transport.is_closing() or self.state is CLOSED:
            raise not_started(f"Connection to {self._peer()} is closed")
        if self.capacity <= 0:
            raise not_started(f"Connection to {self._peer()} takes no more streams")
        early = self._early is not None and head.upgrade is None
        exchange = (EarlyExchange if early else Http3Exchange)(
            self,
            sink,
            # What a hint led to is trusted no more than a kept connection: a request that it lets
            # down may go again, if it is idempotent.
            self.exchanges > 0 or self.trial is not None,
            bodyless=head.method == "HEAD",
            tunnelled=head.upgrade is not None,
            limits=head.limits or self._limits,
            stream_id=-1,
        )
        exchange.frames = None
        exchange.trailers_seen = False
        exchange.withheld = 0
        sink.flow = exchange
        if not self._active:
            self.state = START[self.state]
        self.capacity -= 1
        self.exchanges += 1
        self._active += 1
        if early:
            self._start_early(cast("EarlyExchange", exchange), head)
        elif exchange.tunnelled and not self._receiver.offers_tunnels:
            if self._receiver.settings is None:
                self._held.append((exchange, head))
            else:
                self._refuse_tunnel(exchange)
        else:
            self._open(exchange, head)
            transport.flush_soon()
        if self._last is not None and self.exchanges >= self._last:
            self.retire()
        return exchange

    def _open(self, exchange: Http3Exchange, head: RequestHead) -> None:
        stream_id = exchange.stream_id = self._next_id
        self._next_id = stream_id + 4
        self.streams[stream_id] = exchange
        self._sender.open(exchange, head)
        if HTTP3.on:
            exchange.log_start(head)

    def settings_arrived(self) -> None:
        if self._held:
            self._open_held(self._receiver.offers_tunnels)
            if self._transport is not None:
                self._transport.flush_soon()

    @property
    def carries_tunnels(self) -> bool:
        return self._receiver.offers_tunnels and self.state is not DRAINING

    def carry_at_most(self, exchanges: int) -> None:
        super().carry_at_most(exchanges)
        self._last = exchanges

    def close(self) -> None:
        self._end_all(ClientConnectionError("Connection closed"))
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._engine.close(ErrorCode.NO_ERROR)
            transport.close()

    # --- what exchanges ask for -------------------------------------------------------------------

    def give_up(self, exchange: Http3Exchange) -> None:
        self.reset(exchange, ErrorCode.REQUEST_CANCELLED)

    def send_body(self, exchange: Http3Exchange, data: memoryview | None) -> None:
        self._sender.send_body(exchange, data)
        if self._transport is not None:
            self._transport.flush_soon()

    def unsent(self, exchange: Http3Exchange) -> int:
        if exchange.stream_id < 0:
            return exchange.backlog_size  # it has no stream yet
        return exchange.backlog_size + self._engine.unsent(exchange.stream_id)

    def reset(self, exchange: Http3Exchange, code: ErrorCode) -> None:
        """End one stream at once, if that is still to be done; the others never notice (RFC 9114
        4.1.1).
        """
        if self.streams.get(exchange.stream_id) is exchange:
            if not exchange.request_ended:
                self._engine.reset(exchange.stream_id, code)
            self.stop_sending(exchange.stream_id, code)
        elif all(held is not exchange for held, _ in self._held):
            return
        if code == ErrorCode.REQUEST_CANCELLED and not exchange.paused:
            self._doubt()
        self._release(exchange)

    def stop_sending(self, stream_id: int, code: ErrorCode) -> None:
        self._engine.stop_sending(stream_id, code)
        if self._transport is not None:
            self._transport.flush_soon()

    def hold_back(self, exchange: Http3Exchange) -> None:
        self._held_back.add(exchange)
        self.capacity = 0

    def reprioritize(self, exchange: Http3Exchange, priority: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        self._sender.update_priority(exchange, priority)
        transport.flush_soon()
        return True

    def reader_resumed(self, exchange: Http3Exchange) -> None:
        self._let_go_on(exchange)

    def _let_go_on(self, exchange: Http3Exchange) -> None:
        held = self._held_back
        if held:
            held.discard(exchange)
            # In the next turn: who resumes may be inside a read of its own.
            self.loop.call_soon(self._go_on)

    @property
    def _holds_back(self) -> bool:
        """Whether nothing more is taken from the engine, so that the server has to wait."""
        if not self._held_back:
            return False
        withheld, wanted = 0, False
        for exchange in self.streams.values():
            withheld += exchange.withheld
            wanted = wanted or not exchange.paused
        return not wanted or withheld >= MAX_WITHHELD

    def _go_on(self) -> None:
        if self._holds_back or self.state is CLOSED:
            return
        self.events_arrived()
        self._make_place()
        if self._transport is not None:
            self._transport.flush_soon()

    # --- the transport's side ---------------------------------------------------------------------

    def events_arrived(self) -> None:
        """Datagrams came or a timer was due: take from the engine what there is."""
        if self._early is not None and not self._handshake_over(self._early):
            return
        engine = self._engine
        take, stream_data, held_back = engine.events(), self._receiver.stream_data, self._held_back
        more_places = False
        try:
            while not (held_back and self._holds_back) and self.state is not CLOSED:
                event = take()
                if event is None:
                    break
                kind = event[0]
                if kind == "stream_data":
                    stream_data(event[1], event[2], event[3])
                elif kind == "streams_available":
                    more_places = True  # servers say so for each stream that has ended
                elif kind != "stream_finished" and engine.concerns_http(event):
                    self._rare_event(event)
        except ConnectionFault as fault:
            self._broken(fault)
        if more_places:
            self._make_place()
        if engine.end is not None and self.state is not CLOSED:
            self._lose(engine.end)
        if self._check is not None:
            self._note_answer(self._check)

    def _rare_event(self, event: Event) -> None:
        kind = event[0]
        if kind == "stream_reset":
            self._stream_reset(event[1], event[2])
        elif kind == "stop_sending":
            self._sending_stopped(event[1])

    def datagrams_sent(self) -> bool:
        """Datagrams went out; whether there are more to be made."""
        return self._sender.advance_waiting()

    @property
    def is_busy(self) -> bool:
        """Whether the connection must not go to sleep: exchanges wait for the server."""
        return bool(self._active)

    def timer_passed(self, silence: float) -> None:
        """A timer was due, after so many seconds without a datagram."""
        if (
            self._engine.probes >= _MAX_PROBES
            and silence >= _MAX_SILENCE
            and self.state is not CLOSED
        ):
            self._fail_all(f"{self._peer()} has not answered for {silence:.1f} seconds", None)
            if self._transport is not None:
                self._transport.abort()

    def transport_failed(self, exc: OSError) -> None:
        """The socket reports that nobody is there."""
        if self._early is not None:
            self._handshake_failed(self._early, exc.strerror or str(exc))
        elif self.state is not CLOSED:
            self._fail_all(f"the connection to {self._peer()} ended ({exc.strerror or exc})", None)

    def transport_closed(self) -> None:
        """The socket is closed."""
        if self._early is not None:
            self._early.stop()
            self._early = None
        if self.state is not CLOSED:
            self._fail_all(f"the connection to {self._peer()} ended", None)
        self._transport = None
        if self._check is not None:
            self._check.cancel()
            self._check = None
        if self._ping is not None:
            self._ping.stop()
            self._ping = None
        self._report_lost()

    # --- before the handshake is over -------------------------------------------------------------

    def _start_early(self, exchange: EarlyExchange, head: RequestHead) -> None:
        exchange.again = head if may_be_early(head) else None
        if exchange.again is None:
            self._held.append((exchange, head))
        else:
            self._open(exchange, head)
            if self._transport is not None:
                self._transport.flush_soon()

    def _handshake_over(self, early: EarlyStart) -> bool:
        """Whether the handshake has succeeded, now that something came."""
        end = self._engine.end
        if end is not None:
            self._handshake_failed(early, end.reason or f"QUIC error {end.code:#x}")
            return False
        if not self._engine.handshake_done:
            return False
        refusal = early.over()
        if refusal is not None:
            self._handshake_failed(early, refusal)
            return False
        self._early = None
        if HTTP3.on:
            taken = "taken" if self._engine.took_early else "not taken, and sent again"
            HTTP3.say("#%s the handshake is over, early data was %s", self.number, taken)
        held, self._held = self._held, []
        for exchange, head in held:
            if exchange.tunnelled:
                self._held.append((exchange, head))
            else:
                self._open(exchange, head)
        self._make_place()
        if self._transport is not None:
            self._transport.flush_soon()
        return True

    def _handshake_late(self) -> None:
        if self._early is not None:
            said = f"no QUIC handshake within {self._early.seconds:.1f} seconds"
            self._handshake_failed(self._early, said)

    def _handshake_failed(self, early: EarlyStart, reason: str) -> None:
        """Nothing was done about any request, or nothing that does harm when it is done again."""
        self._early = None
        early.stop()
        early.failed()
        if self.trial is not None:
            self.trial.failed()
            self.trial = None
        said = f"the handshake with {self._peer()} failed: {reason}"
        for exchange in self._take_all():
            exchange.unprocessed = True
            exchange.fail(exchange.failure(said, None))
        self._engine.close(ErrorCode.NO_ERROR)
        if self._transport is not None:
            self._transport.close()

    def _ask_again(self, exchange: EarlyExchange) -> None:
        """RFC 8470 5.2: 425 (Too Early) is answered by the same request, once, on a handshake that
        is over.
        """
        head, exchange.again = exchange.again, None
        if head is None or self._transport is None:
            return
        if HTTP3.on:
            HTTP3.say("%s < 425 Too Early: is sent again", exchange.label())
        self.streams.pop(exchange.stream_id, None)
        self.stop_sending(exchange.stream_id, ErrorCode.REQUEST_CANCELLED)
        exchange.frames = None
        exchange.request_ended = exchange.ending = False
        exchange.received, exchange.expected, exchange.interim = 0, -1, 0
        if self._engine.stream_limit > self._next_id // 4:
            self._open(exchange, head)
            self._transport.flush_soon()
        else:
            self._active -= 1
            exchange.unprocessed = True
            exchange.fail(exchange.failure("Too Early, and no place for another try", None))

    # --- the life and death of streams ------------------------------------------------------------

    def finish(self, exchange: Http3Exchange) -> None:
        exchange.state = END[exchange.state]
        if HTTP3.on:
            exchange.log_complete()
        if self.trial is not None:
            self.trial.passed()
            self.trial = None
        if not exchange.request_ended:
            self._end_request(exchange)
        exchange.sink.feed_eof()
        self._release(exchange)

    def _end_request(self, exchange: Http3Exchange) -> None:
        """The server has said all that it will, and the request is not out."""
        if exchange.is_tunnel and not exchange.backlog:
            self._engine.send(exchange.stream_id, b"", True)  # RFC 9114 4.4: as TCP's FIN
            exchange.request_ended = True
        else:
            # RFC 9114 4.1: it has answered without the rest of the request.
            self._engine.reset(exchange.stream_id, ErrorCode.REQUEST_CANCELLED)
            exchange.drop_backlog()

    def _release(self, exchange: Http3Exchange) -> None:
        if self.streams.pop(exchange.stream_id, None) is None:
            if exchange.stream_id >= 0:
                return  # it was released before
            self._held = [entry for entry in self._held if entry[0] is not exchange]
        self._active -= 1
        if not self._active and self.state is ACTIVE:
            self.state = FINISH[ACTIVE]
        if self._sender.waiting:
            self._sender.forget(exchange)
        if self._held_back:
            self._let_go_on(exchange)
        # RFC 9000 4.6: the end of a stream makes no place for another; the server's word does.
        if not self._active or self.state is DRAINING:
            self._make_place()

    def _make_place(self) -> None:
        """Say how many exchanges may start (RFC 9000 4.6: the server's limit counts all that ever
        did).
        """
        if self.state is CLOSED:
            return
        if self.state is DRAINING:
            self._end_drained()
            return
        if self._check is not None:
            return  # nothing more starts until something has come
        before = self.capacity
        left = self._engine.stream_limit - self._next_id // 4 - len(self._held)
        if self._last is not None:
            left = min(left, self._last - self.exchanges)
        self.capacity = 0 if self._held_back else max(left, 0)
        if self.owner is not None and self.capacity and (before <= 0 or not self._active):
            self.idle_since: float = self.loop.time()
            self.owner.connection_available(self)

    def stream_broken(self, exchange: Http3Exchange, fault: StreamFault) -> None:
        """The server broke a rule on one stream: that stream ends, the others go on."""
        if isinstance(fault, TooEarly) and isinstance(exchange, EarlyExchange):
            self._ask_again(exchange)
            return
        exchange.fail(exchange.failure(str(fault), BadHttpMessage(str(fault))))
        self.reset(exchange, fault.code)

    def _stream_reset(self, stream_id: int, code: int) -> None:
        exchange = self.streams.get(stream_id)
        if exchange is None:
            if stream_id & 3 == 3:
                self._receiver.server_stream_ended(stream_id)
            return
        if exchange.head is None:
            # RFC 9114 4.1.1: it may be sent again.
            exchange.unprocessed = code == ErrorCode.REQUEST_REJECTED or (
                code == ErrorCode.VERSION_FALLBACK
                and self.owner is not None
                and self.owner.protocol_refused(self)
            )
        name = code_name(code)
        exchange.fail(exchange.failure(f"{self._peer()} reset the stream: {name}", None))
        if not exchange.request_ended:
            self._engine.reset(stream_id, ErrorCode.REQUEST_CANCELLED)
        self._release(exchange)

    def _sending_stopped(self, stream_id: int) -> None:
        exchange = self.streams.get(stream_id)
        if exchange is not None:
            self._sender.stop(exchange)
        elif stream_id & 3 == 2:
            raise ConnectionFault(
                ErrorCode.CLOSED_CRITICAL_STREAM, "the server stopped one of our control streams"
            )

    def going_away(self, first_unprocessed: int) -> None:
        self.capacity = 0
        if self._active:
            self._move(DRAIN)
        if HTTP3.on:
            HTTP3.say("#%s < GOAWAY, stream %s is not served", self.number, first_unprocessed)
        refused = [e for e in self.streams.values() if e.stream_id >= first_unprocessed]
        refused += [exchange for exchange, _ in self._held]
        if refused and self.owner is not None:
            self.owner.exchanges_refused(self, first_unprocessed // 4)
        for exchange in refused:
            exchange.unprocessed = True
            exchange.fail(
                ServerDisconnectedError(f"{self._peer()} did not process the request: GOAWAY")
            )
            self.reset(exchange, ErrorCode.REQUEST_CANCELLED)
        if not self._active:
            self.close()

    def _broken(self, fault: ConnectionFault) -> None:
        """The server does not speak HTTP/3: say so, and trust nothing from here on (RFC 9114 8)."""
        if HTTP3.on:
            HTTP3.say("#%s the server broke the protocol: %s", self.number, fault)
        self._fail_all(str(fault), BadHttpMessage(str(fault)))
        self._engine.close(fault.code, str(fault))
        if self._transport is not None:
            self._transport.close()

    def _lose(self, end: QuicEnd) -> None:
        """The QUIC connection is over: every exchange under way fails."""
        name = code_name(end.code) if end.is_application else f"QUIC error {end.code:#x}"
        who = "the server closed" if end.by_peer else "QUIC ended"
        said = f": {end.reason[:200]}" if end.reason else ""
        self._fail_all(f"{who} the connection to {self._peer()} ({name}{said})", None)
        if self._transport is not None:
            self._transport.close()

    def _fail_all(self, reason: str, cause: BaseException | None) -> None:
        if self.trial is not None and self.exchanges:
            self.trial.failed()
            self.trial = None
        super()._fail_all(reason, cause)

    def _take_all(self) -> list[Http3Exchange]:
        self._held_back.clear()
        return super()._take_all()

    # --- whether the server is there --------------------------------------------------------------

    def _heard_at(self) -> float:
        return 0.0 if self._transport is None else self._transport.heard_at

    def _ask_quietly(self) -> None:
        if self._transport is not None and self._engine.is_open:
            self._engine.ping()
            self._transport.flush_soon()

    def _no_ping(self) -> None:
        if self.state is not CLOSED:
            self._fail_all(f"{self._peer()} did not answer PING in time", None)
        if self._transport is not None:
            self._transport.abort()

    def _doubt(self) -> None:
        """An exchange is given up.  If nothing has come for long, ask along with its reset whether
        anybody is there; no other starts before something comes.
        """
        transport = self._transport
        if (
            self._check is None
            and transport is not None
            and not transport.is_closing()
            and self.loop.time() - transport.heard_at >= SILENCE
        ):
            self.capacity: int = 0
            self._asked_after = transport.heard_at
            if HTTP3.on:
                HTTP3.say("#%s > PING: is anybody there?", self.number)
            self._engine.ping()
            self._check = self.loop.call_later(ANSWER_SECONDS, self._no_answer)

    def _note_answer(self, check: asyncio.TimerHandle) -> None:
        """Go on if a datagram has come since the question: RFC 9000 13.2.1 has it acknowledged."""
        if self._transport is not None and self._transport.heard_at != self._asked_after:
            check.cancel()
            self._check = None
            self._make_place()

    def _no_answer(self) -> None:
        if self.state is CLOSED:
            return
        if self.trial is not None:
            self.trial.failed()
            self.trial = None
        super()._no_answer()
