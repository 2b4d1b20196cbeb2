"""HTTP/1.1 on the wire (RFC 9112): one exchange at a time on a connection.

`Http1Connection` is an asyncio `BufferedProtocol`.  It receives into one buffer that all
connections of its loop share, so that a read takes no memory.  What comes goes one of two ways:

- The usual answer, whole or with the first part of its body in one read, is taken at a look
  (`head_pattern`), and ends its exchange at once.
- Everything else goes to the `ResponseParser`, which strictly reads one message after the other.

The connection knows whose the bytes are.  Bytes that nobody asked for end it, and are never given
to the next exchange (RFC 9112 9.2, 11.2): a message that ended lets another exchange start only if
nothing followed it in the same read.  The `ReadPacer` says when the transport reads.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from time import monotonic
from typing import Any, cast

from wherry.errors import (
    BadHttpMessage,
    ClientConnectionError,
    ClientConnectionResetError,
    ClientPayloadError,
)
from wherry.protocol.connection import (
    BodySink,
    ConnectionOwner,
    Exchange,
    Tunnel,
    TunnelReceiver,
    not_started,
)
from wherry.protocol.debug_log import HTTP1
from wherry.protocol.heads import RequestHead, ResponseHead
from wherry.protocol.http1.content_length_body import CountedBody
from wherry.protocol.http1.exchange import (
    Http1Carrier,
    Http1Exchange,
    Http1Tunnel,
    _TunnelProtocol,
    ended_early,
)
from wherry.protocol.http1.head_pattern import MOST_LINES, MatchedHead, match_head
from wherry.protocol.http1.head_writing import encode_head, is_framed
from wherry.protocol.http1.read_pacing import READING, ReadPacer
from wherry.protocol.http1.response_reader import (
    SURPLUS,
    UNREAD,
    WHOLE,
    ResponseParser,
    keep_alive_seconds,
)
from wherry.protocol.limits import DEFAULT_LIMITS, Limits
from wherry.protocol.receive_buffer import read_remaining, receive_buffer
from wherry.protocol.states import (
    ACTIVE,
    CLOSE,
    CLOSED,
    DRAIN,
    DRAINING,
    END,
    FINISH,
    IDLE,
    NEW,
    START,
    SWITCH,
    ConnectionState,
)
from wherry.protocol.write_gate import WriteGate
from wherry.types import HttpVersion11

# A body up to this size goes out with its head in one write; copying it is cheaper than a second
# system call.
JOIN_LIMIT = 32 * 1024
# So much of a first read is looked at for its head, and copied at once with what follows it.
FIRST_READ = 16 * 1024
_new_poll = getattr(select, "poll", None)  # Windows has none
# A server that keeps a connection for so many seconds may end it a moment before they are over.
LAST_SECOND = 1.0


class Http1Connection(Http1Carrier, asyncio.BufferedProtocol):
    """A transport that speaks HTTP/1.1, or 1.0 where the server does.

    Args:
        loop: The event loop.
        limits: What a server may send.
    """

    __slots__ = (
        "_buffer",
        "_counted",
        "_keeps_seconds",
        "_limits",
        "_pacer",
        "_poll",
        "_response",
        "_transport",
        "_tunnel",
        "_write_gate",
        "exchange",
    )

    owner: ConnectionOwner | None
    exchanges: int
    state: ConnectionState

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(loop, HttpVersion11, 1)
        self.exchange: Http1Exchange | None = None
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._buffer = receive_buffer(loop)
        self._pacer = ReadPacer(loop)
        self._counted = CountedBody(self._buffer, self._pacer)
        self._response = ResponseParser(self._counted)
        self._write_gate = WriteGate()
        self._tunnel: TunnelReceiver | None = None
        self._keeps_seconds: float | None = None  # how long the server keeps it idle
        self._poll: Any = None  # looks for unread bytes; made when it is first used again

    # --- what the pool and the pipeline see -------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    def is_usable(self) -> bool:
        transport = self._transport
        state = self.state
        if transport is None or (state is not IDLE and state is not NEW) or transport.is_closing():
            return False
        seconds = self._keeps_seconds
        if seconds is not None and monotonic() - self.idle_since > seconds - LAST_SECOND:
            return False  # the server is about to end it: a request would meet that on its way
        poll = self._poll
        return not (self._has_unread(transport) if poll is None else poll.poll(0))

    def _has_unread(self, transport: asyncio.Transport) -> bool:
        """Whether bytes, or the end, have come that the event loop has not read yet: nobody asked
        for them.
        """
        if self.exchanges == 0 and transport.get_extra_info("ssl_object") is not None:
            # RFC 8446 4.6.1: a fresh one may hold tickets.  Only who decrypts it knows whether
            # there is an answer, too.
            read_now = getattr(transport, "read_now", None)
            if read_now is not None:
                read_now()
            return self.state is CLOSED or transport.is_closing()
        sock = transport.get_extra_info("socket")
        if sock is None or _new_poll is None:
            return False
        poll = self._poll = _new_poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def start(self, head: RequestHead, sink: BodySink) -> Exchange:
        transport = self._transport
        state = self.state
        if transport is None or state is CLOSED:
            raise not_started(f"Connection to {self._peer()} is closed")
        if state is ACTIVE or state is DRAINING:
            raise RuntimeError("HTTP/1.1 carries one exchange at a time")
        data = head.encoded_http1
        if data is None:
            data = head.encoded_http1 = encode_head(head)
        self.state = START[state]
        self.capacity = 0
        exchange = Http1Exchange(self, sink, self.exchanges > 0)
        exchange._ended = not head.streamed
        exchange.chunked = head.content_length is None
        exchange.asks_to_switch = head.upgrade is not None
        self.exchanges += 1
        self.exchange = exchange
        sink.flow = exchange
        exchange.expects_body = head.method != "HEAD"
        exchange.limits = head.limits or self._limits
        body = head.body
        exchange.sent = True
        if not body:
            transport.write(data)
        elif len(body) <= JOIN_LIMIT:
            transport.write(data + body)
        else:
            transport.write(data)
            transport.write(body)
        if HTTP1.on:
            exchange.log_start(head)
        return exchange

    def close(self) -> None:
        self._retire(ClientConnectionError("Connection closed"))
        self._close_once()

    def abort(self) -> None:
        self._retire(ClientConnectionError("Connection closed"))
        if self._transport is not None:
            self._transport.abort()

    def abandon(self) -> None:
        """The exchange under way is given up: what follows on this transport belongs to nobody."""
        self._retire(ClientConnectionError("Connection closed"))
        if self._write_gate.paused and self._transport is not None:
            self._transport.abort()
        else:
            self._close_once()

    async def drain(self) -> None:
        """Wait until the transport takes more data, or fail with the connection."""
        await self._write_gate.wait()

    def open_tunnel(self, exchange: Http1Exchange, receiver: TunnelReceiver) -> Tunnel:
        """Hand the raw bytes to `receiver` (RFC 9110 7.8)."""
        if exchange is not self.exchange or exchange.head is None or exchange.head.status != 101:
            if exchange.error is not None:
                raise exchange.error  # the connection is gone
            raise RuntimeError("this exchange did not switch protocols")
        if self._transport is None:
            raise ClientConnectionResetError(f"Connection to {self._peer()} is closed")
        exchange.state = SWITCH[exchange.state]
        self._part()
        self._tunnel = receiver
        if early := self._response.take_early():
            receiver.data_received(early)
        self._transport.set_protocol(_TunnelProtocol(self, receiver))
        self.resume_reading()
        return Http1Tunnel(self)

    def pause_reading(self) -> None:
        self._pacer.pause()

    def resume_reading(self) -> None:
        self._pacer.resume()

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._pacer.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        buffer = self._buffer
        if buffer.borrower is not None:
            late = buffer.take_back()
            if late is not None:
                self._counted.was_late(late)
        return buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self.exchange
        if (
            exchange is not None
            and self._response.exchange is None  # nothing of the answer has come
            and exchange.expects_body
            and self._take_usual(exchange, nbytes)
        ):
            return
        self._receive(self._buffer.view[:nbytes])

    def _take_usual(self, exchange: Http1Exchange, nbytes: int) -> bool:
        """Whether the first read of an answer begins with a whole and usual head, and is taken by
        it; see `head_pattern`.

        What is left of the body is counted, so that the parser sees nothing of this answer.
        """
        view = self._buffer.view
        data = bytes(view[:nbytes] if nbytes <= FIRST_READ else view[:FIRST_READ])
        found = match_head(data)
        if found is None:
            return False
        groups = found.groups()
        length, said = groups[2], groups[6]
        if length is None:
            return False
        size, limits = found.end(), exchange.limits
        if size > limits.unquestioned or (
            limits.max_headers < MOST_LINES and data.count(b"\n", 0, size) - 2 > limits.max_headers
        ):
            return False  # a line of it may be too long
        left = int(length) - (nbytes - size)
        head = MatchedHead(data[:size], groups)
        if said is not None:
            head.keep_alive = keep_alive_seconds(said)
        if left:  # below zero: more than was asked for
            return left > 0 and self._take_first_part(exchange, head, view[size:nbytes], left)
        self.exchange = None
        exchange.head = head
        exchange.state = END[exchange.state]
        sink = exchange.sink
        if size < nbytes:
            sink.feed_data(bytes(view[size:nbytes]))
            # Its reader may have enough, and has all of it: the next answer is another's.
            if self._pacer.state is not READING:
                self._pacer.resume()
        sink.feed_eof()
        waiter = exchange.head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if exchange.continue_waiter is not None:
            exchange.go_on()
        if HTTP1.on:
            exchange.log_head(head)
            exchange.log_complete()
        owner = self.owner
        if self.state is ACTIVE and owner is not None and exchange._ended:
            self.state = FINISH[ACTIVE]
            self._keeps_seconds = head.keep_alive
            self.capacity = 1
            owner.connection_available(self)
        else:
            self._drop()
        return True

    def _take_first_part(
        self, exchange: Http1Exchange, head: ResponseHead, part: memoryview, left: int
    ) -> bool:
        """Take a usual head and the first part of its body; the rest is counted as it comes."""
        exchange.head_arrived(head)
        self._response.begin_counting(exchange, left)
        if part:
            exchange.sink.feed_data(bytes(part))
        if exchange.touched is not None:
            exchange.touched()
        return True

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived before this connection was the transport's protocol."""
        if data:
            self._receive(memoryview(data))

    def _receive(self, data: memoryview) -> None:
        exchange = self.exchange
        if exchange is None:
            self._drop()  # nobody asked for these bytes
            return
        response = self._response
        if response.exchange is None:
            response.begin(exchange)
        error = response.feed(data)
        if error is not None:
            self._broken(error)
        elif response.state is WHOLE or response.state is SURPLUS:
            self._message_ended(exchange)

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.eof_received()
            return False
        exchange = self.exchange
        if exchange is not None and exchange.head is not None and exchange.head.status == 101:
            # Over TLS the end may come in one read with the switch.  Who takes the tunnel reads on,
            # has what was said before, and hears of the end then.
            return True
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        # RFC 9112 9.5: a write has failed, but the server may have said why before it closed.
        if exc is not None and self._tunnel is not None:
            # Where reading was stopped, too: a receiver that has enough keeps these last bytes as
            # they are.
            read_remaining(self._transport, self._receive_for_tunnel)
        elif exc is not None and self.exchange is not None and not self._pacer.is_paused:
            self._move(DRAIN)  # whatever ends now, nothing starts
            self._counted.lend_no_more()
            read_remaining(self._transport, self._receive)
        self._ended(exc)
        self._transport = self._pacer.transport = None
        if self._tunnel is not None:
            self._tunnel.connection_lost(exc)
            self._tunnel = None
        self._write_gate.lose()
        self._report_lost()
        self._response.close()

    def _receive_for_tunnel(self, data: memoryview) -> None:
        if self._tunnel is not None:
            self._tunnel.data_received(bytes(data))

    def pause_writing(self) -> None:
        self._write_gate.paused = True
        if self._tunnel is not None:
            self._tunnel.pause_writing()

    def resume_writing(self) -> None:
        self._write_gate.resume()
        if self._tunnel is not None:
            self._tunnel.resume_writing()

    # --- how an exchange ends ---------------------------------------------------------------------

    def _message_ended(self, exchange: Http1Exchange) -> None:
        """The response is whole: give the connection back, here and now, before its reader even
        wakes.
        """
        head = exchange.head
        assert head is not None
        self.exchange = None
        exchange.state = END[exchange.state]
        persists = self._response.end()
        if self._pacer.state is not READING:
            self._pacer.resume()
        if HTTP1.on:
            exchange.log_complete()
        exchange.sink.feed_eof()
        if persists and exchange.request_ended and self.state is ACTIVE and self.owner is not None:
            self._move(FINISH)
            self._keeps_seconds = head.keep_alive
            self.capacity = 1
            self.owner.connection_available(self)
        else:
            self._drop()

    def _ended(self, exc: Exception | None) -> None:
        """The peer has closed its side: whole bodies end here, cut ones fail."""
        self.capacity = 0
        self._move(CLOSE)
        exchange = self.exchange
        if exchange is None:
            return
        head = exchange.head
        if head is not None and exc is None and head.status != 101 and not is_framed(head):
            # RFC 9112 6.3 (8): a response without length or chunks ends with its connection.  Over
            # TLS (9.8) it is the peer who must have said that this is the end.
            if self._transport is None or not self._transport.get_extra_info("truncated"):
                self._message_ended(exchange)
                return
            exc = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "there was no close_notify (RFC 9112 9.8)")
        self._part()
        exchange.fail(ended_early(head, exc, self._peer()))

    def _broken(self, error: BadHttpMessage) -> None:
        """The peer does not speak HTTP: nothing on this transport can be trusted from here on."""
        exchange = self._part()
        self.capacity = 0
        self._move(CLOSE)
        if exchange is not None:
            if exchange.head is None:
                exchange.fail(error)
            else:
                payload_error = ClientPayloadError(
                    f"Response payload is not completed: {error} ({self._peer()})"
                )
                payload_error.__cause__ = error
                exchange.fail(payload_error)
        if self._transport is not None:
            self._transport.abort()

    def _drop(self) -> None:
        if HTTP1.on:
            HTTP1.say("#%s carries no more", self.number)
        self.capacity = 0
        self._move(CLOSE)
        self._close_once()

    def _close_once(self) -> None:
        # asyncio's TLS transport loses hold of its protocol at a second close(), and could not be
        # aborted then.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def _retire(self, error: ClientConnectionError) -> None:
        self.capacity: int = 0
        self._move(CLOSE)
        exchange = self._part()
        if exchange is not None:
            exchange.fail(error)

    def _part(self) -> Http1Exchange | None:
        """Let go of the exchange, which failed, was given up, or became a tunnel."""
        exchange, self.exchange = self.exchange, None
        self._response.leave()
        return exchange

    def _more_to_say(self) -> list[str]:
        said = []
        if self._response.state is not UNREAD and self.exchange is not None:
            said.append(f"response={self._response.state.value!r}")
        if self._pacer.state is not READING:
            said.append(self._pacer.state.value)
        return said
