"""TLS over any transport: a loop's own, the far end of a tunnel, or TLS itself.

To the transport below it is a protocol, to the protocol above a transport, and between the two
there is one `ssl.SSLObject`.  Event loops have TLS of their own: this one takes less time for a
handshake and for a read, runs over whatever a proxy leaves, and tells an orderly end from one that
anybody on the way could have made.

How bytes go.  Up: the loop receives into one buffer that all connections of the loop share; the
bytes go into the incoming `MemoryBIO` at once, are decrypted as far as they make whole records, and
are pushed to the protocol.  Down: what the protocol writes is encrypted at once, and the outgoing
`MemoryBIO` is emptied into the transport below.  Nothing plain waits here, so back-pressure is
the transport's below: `pause_reading` stops that one, and its `pause_writing` is passed up.

How it ends.  `close_notify` is the only end that proves that nothing was cut off (RFC 8446 6.1).
An end of the socket without it is reported as such, and the protocol above decides whether its
message was whole by its framing.  `close` sends our `close_notify`, reads over what is under way
(up to `MAX_DISCARDED`) and waits for the peer's for a bounded time; `abort` asks nobody.

Whoever changes this must know: the handshake's last bytes and the first request may leave in one
write (`FLUSH_SECONDS`); TLS 1.3 tickets arrive after the handshake, with data; a peer may ask for a
key update or a client certificate at any read; and a protocol may close or replace itself within
any call that it gets from here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from wherry.connect.tls.sessions import shows_certificate
from wherry.protocol.debug_log import TLS
from wherry.protocol.receive_buffer import OnePerLoop, read_remaining

# Seconds that a handshake may take where nobody sets a limit, and that a peer may take to end in
# order.
HANDSHAKE_TIMEOUT = 60.0
SHUTDOWN_TIMEOUT = 30.0
# Seconds that the last words of a handshake wait for the first of what follows.
FLUSH_SECONDS = 0.001
# A peer that goes on sending after it was told of the end is heard out for so many bytes.
MAX_DISCARDED = 256 * 1024
# What is received at once, before it is decrypted.
RECEIVE_SIZE = 64 * 1024

_buffers = OnePerLoop(lambda: memoryview(bytearray(RECEIVE_SIZE)))


def _receive_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Where encrypted bytes are received: they leave it before anything else runs, so one does for
    a loop.
    """
    if sys.platform == "win32":  # reads are outstanding there while others run
        return memoryview(bytearray(RECEIVE_SIZE))
    return _buffers.of(loop)


class WrapsBio(Protocol):
    """A context, as far as a transport needs one."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        *,
        server_hostname: str | None = None,
    ) -> ssl.SSLObject: ...


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The client's side of TLS.

    Nothing is given to a protocol before `set_protocol`, which follows `secured`.  The extra info
    "truncated" tells whether the connection ended without the peer's close_notify.

    Args:
        loop: The event loop.
        context: A context, or what stands for one: it makes the TLS object.
        server_hostname: The name to send and to check.
        shutdown_timeout: Seconds that the peer may take to end in order, None for
            `SHUTDOWN_TIMEOUT`; 0 does not wait.
    """

    __slots__ = (
        "_backlog",
        "_below",
        "_buffered",
        "_closing",
        "_context",
        "_discarded",
        "_end_waits",
        "_ended",
        "_flushing",
        "_incoming",
        "_loop",
        "_lost",
        "_outgoing",
        "_paused",
        "_protocol",
        "_raw",
        "_secured",
        "_server_hostname",
        "_shutdown_timeout",
        "_timer",
        "_tls",
        "_truncated",
        "_waiter",
        "identified",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: WrapsBio,
        server_hostname: str,
        shutdown_timeout: float | None = None,
    ) -> None:
        self._loop = loop
        self._context = context
        self._shutdown_timeout = SHUTDOWN_TIMEOUT if shutdown_timeout is None else shutdown_timeout
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._server_hostname = server_hostname
        self._tls = cast("ssl.SSLObject", None)
        self._below = cast("asyncio.Transport", None)
        self._protocol: Any = None
        self._buffered = False
        self._raw = _receive_buffer(loop)
        self._waiter: asyncio.Future[None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.TimerHandle | None = None
        self._secured = False
        self._closing = False
        self._ended = False  # nothing more is taken from the peer
        self._end_waits = False  # until the protocol reads on
        self._truncated = False
        self._paused = False
        # Why there is no more, where it is not the transport's to say.
        self._lost: Exception | None = None
        # What waits for a handshake in the middle of the connection.
        self._backlog: list[memoryview] = []
        self._discarded = 0
        #: The server asked for a certificate, and was given one or none.
        self.identified: bool = False

    def __repr__(self) -> str:
        state = "closing" if self._closing else "open" if self._secured else "in handshake"
        return f"<TlsTransport {state} over {self._below!r}>"

    @property
    def below(self) -> asyncio.Transport:
        """What carries it."""
        return self._below

    # --- the handshake ----------------------------------------------------------------------------

    async def secured(self, timeout: float | None = None) -> None:
        """Return when the handshake is done; whatever goes wrong, the transport below is closed.

        Args:
            timeout: Seconds that it may take, None for `HANDSHAKE_TIMEOUT`.

        Raises:
            ssl.SSLError: It failed.
            OSError: The connection broke, or it took too long.
        """
        seconds = HANDSHAKE_TIMEOUT if timeout is None else timeout
        timer = self._loop.call_later(seconds, self._took_too_long, seconds)
        try:
            self._tls = self._wrapped()
            self._shake()
            await self._waiter
            if self.is_closing():
                # Its end came in the same turn of the loop: whoever takes it now would never hear
                # of that.
                raise ConnectionResetError(
                    errno.ECONNRESET, "the connection closed during the TLS handshake"
                )
        except BaseException:
            if not self._closing:
                self.abort()
            raise
        finally:
            timer.cancel()

    def _wrapped(self) -> ssl.SSLObject:
        """The TLS object.

        Raises:
            OSError: The name is none that TLS can send and check.
        """
        name = self._server_hostname
        try:
            return self._context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        except ValueError as exc:
            # Python's ssl encodes it by IDNA: no empty label, none of more than 63 bytes, no NUL.
            raise OSError(None, f"{name[:300]!r} is no host name for TLS: {exc}") from exc

    def _took_too_long(self, seconds: float) -> None:
        self._fail(
            ConnectionAbortedError(f"the TLS handshake did not end within {seconds} seconds")
        )

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._look_at_flight()
            self._flush()
            return
        except (ssl.SSLError, ssl.CertificateError) as exc:
            self._fail(exc)
            return
        self._look_at_flight()
        # What ends the handshake goes out with the first request, which is a moment away: one write
        # less.
        self._flushing = self._loop.call_later(FLUSH_SECONDS, self._flush)
        self._secured = True
        if TLS.on:
            session = "resumed" if self._tls.session_reused else "new"
            TLS.say(
                "%s: %s, %s, ALPN %s, a %s session", self._server_hostname, self._tls.version(),
                (self._tls.cipher() or ("no cipher",))[0],
                self._tls.selected_alpn_protocol(), session,
            )  # fmt: skip
        if not self._waiter.done():
            self._waiter.set_result(None)

    def _look_at_flight(self) -> None:
        """Whether the server has asked who the client is can be seen from what goes out only."""
        if self._outgoing.pending and not self.identified:
            flight = self._outgoing.read()
            self.identified = shows_certificate(flight, self._tls)
            self._outgoing.write(flight)

    def _fail(self, exc: Exception) -> None:
        """TLS is broken: the peer is told why, and nothing more is taken from it."""
        if TLS.on:
            TLS.say("%s: TLS failed: %s", self._server_hostname, exc)
        if self._lost is None:
            self._lost = exc
        self._closing = True
        self._end_handshake(exc)
        self._flush()
        self._below.close()

    def _end_handshake(self, exc: Exception) -> None:
        if not self._waiter.done():
            self._waiter.set_exception(exc)
            # A dial that was cancelled, or lost its race, never begins to wait for it.
            self._waiter.exception()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    # --- a protocol, to the transport below -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._raw

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(self._raw[:nbytes])
        if self._closing:
            self._discard()
        elif not self._secured:
            self._shake()
        elif self._protocol is not None:
            self._deliver()

    def read_now(self) -> None:
        """Take in what has come and the event loop has not read yet; nothing where that cannot be
        done.
        """
        below = self._below
        if isinstance(below, TlsTransport):
            below.read_now()
            return
        sock = below.get_extra_info("socket")
        if (
            sys.platform == "win32"
            or sock is None
            or self._paused
            or self._closing
            or below.is_closing()
        ):
            return
        with suppress(OSError):  # there is nothing, or an end: the loop will find it
            size = os.readv(sock.fileno(), [self._raw])
            if size:
                self.buffer_updated(size)

    def eof_received(self) -> bool:
        if self._secured and not self._closing:
            # Anybody on the way can end a TCP connection; only the peer can say close_notify (RFC
            # 8446 6.1).
            self._truncated = self._ended = True
            if self._protocol is not None:
                self._protocol.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._flushing):
            if timer is not None:
                timer.cancel()
        self._timer = self._flushing = None
        self._end_handshake(exc or ConnectionResetError("the peer closed the connection"))
        if self._lost is None and not self._closing:
            self._lost = exc
        self._closing = True
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(self._lost)

    def hear_out(self, receive: Callable[[memoryview], None]) -> None:
        """Give `receive` what the peer said before a write failed and nobody has read: while
        reading was stopped, or in the turn of the loop in which the write was.

        Nothing that comes so proves an end: the connection was lost, and its protocol says so.
        """
        if not self._secured or self._ended:
            return
        read_remaining(self._below, self._take_encrypted)
        with suppress(ssl.SSLError):  # there is no more that is whole
            while data := self._tls.read(RECEIVE_SIZE):
                receive(memoryview(data))
        self._ended = True

    def _take_encrypted(self, data: memoryview) -> None:
        self._incoming.write(data)

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    # --- what comes -------------------------------------------------------------------------------

    def _deliver(self) -> None:
        """Give the protocol what can be decrypted of what has come."""
        more = self._incoming.pending > 0 or self._tls.pending() > 0
        while more and not self._paused and not self._closing:
            protocol = self._protocol
            if self._buffered:
                size, more = self._read_into(protocol.get_buffer(-1))
                if size:
                    protocol.buffer_updated(size)
            else:
                # About as much as can come: to clear the whole size for each small message takes
                # half a microsecond.
                expected = self._incoming.pending + self._tls.pending()
                view = memoryview(bytearray(min(max(expected, 1), RECEIVE_SIZE)))
                size, more = self._read_into(view)
                if size:
                    protocol.data_received(bytes(view[:size]))
        if self._ended:
            self._end()
            return
        self._flush()  # RFC 8446 4.6.3: a KeyUpdate is answered
        if self._backlog:
            self._write_backlog()

    def _read_into(self, view: memoryview) -> tuple[int, bool]:
        """Decrypt into `view`: how many bytes, and whether there may be more."""
        size, at = len(view), 0
        try:
            while at < size:
                count = self._tls.read(size - at, view[at:] if at else view)
                if not count:
                    self._ended = True
                    return at, False
                at += cast("int", count)
                if not self._incoming.pending:
                    return at, at == size
        except ssl.SSLWantReadError:
            return at, False
        except ssl.SSLError as exc:
            self._ended = True
            self._lost = exc
            return at, False
        return at, True

    def _end(self) -> None:
        """There is no more to come: the peer said so, or what came is broken."""
        if self._closing:
            return
        if self._lost is not None:
            self._fail(self._lost)
            return
        protocol = self._protocol
        # Who has stopped reading may have something to see to before it hears of the end.
        self._end_waits = protocol is not None and protocol.eof_received() and self._paused
        if not self._end_waits:
            self.close()

    def _discard(self) -> None:
        """What comes after close() is read for the peer's own end, and for nothing else."""
        if self._below.is_closing():
            return
        scratch = memoryview(bytearray(RECEIVE_SIZE))
        try:
            while self._incoming.pending:
                count = cast("int", self._tls.read(len(scratch), scratch))
                self._discarded += count
                if not count:
                    self._below.close()
                    return
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._below.close()
            return
        except ssl.SSLError:
            self._below.abort()
            return
        if self._discarded > MAX_DISCARDED:
            self._below.abort()

    # --- a transport, to the protocol above -------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)
        if self._secured and (self._incoming.pending or self._tls.pending()):
            self._loop.call_soon(self._deliver_later)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self._protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        if not self._backlog:
            try:
                sent = self._tls.write(data)
            except ssl.SSLWantReadError:
                sent = 0
            except ssl.SSLError as exc:
                self._fail(exc)
                return
            self._below.write(self._outgoing.read())
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._backlog.append(memoryview(bytes(data)))

    def _write_backlog(self) -> None:
        """Send what could not be sent while TLS was shaking hands again (RFC 5246 7.4.1.1)."""
        waiting, self._backlog = self._backlog, []
        for data in waiting:
            self.write(data)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._secured or self._below.is_closing():
            self._below.close()
            return
        waits = False
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            waits = bool(self._shutdown_timeout)
        except ssl.SSLError:
            waits = bool(self._shutdown_timeout)  # there is something else to be read first
        self._flush()
        if not waits:
            self._below.close()
            return
        self._timer = self._loop.call_later(self._shutdown_timeout, self._below.abort)
        if self._paused:
            self._paused = False
            self._below.resume_reading()
        self._discard()

    def skip_closing_handshake(self) -> None:
        """From now on `close` tells the peer and does not wait for what it says to that (RFC 8446
        6.1), here and below.
        """
        self._shutdown_timeout = 0
        if isinstance(self._below, TlsTransport):
            self._below.skip_closing_handshake()

    def abort(self) -> None:
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        ended = self._ended and not self._end_waits
        return self._closing or ended or self._below.is_closing()

    def pause_reading(self) -> None:
        if not self._paused and not self._closing:
            self._paused = True
            self._below.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self._closing:
            self._paused = False
            self._below.resume_reading()
            if self._incoming.pending or self._tls.pending() or self._end_waits:
                self._loop.call_soon(self._deliver_later)

    def _deliver_later(self) -> None:
        if self._protocol is not None:
            self._deliver()

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._context if self._tls is None else self._tls.context
        if name == "peercert":
            return self._tls.getpeercert()
        if name == "cipher":
            return self._tls.cipher()
        if name == "compression":
            return self._tls.compression()
        if name == "truncated":
            return self._truncated
        return self._below.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size() + sum(map(len, self._backlog))

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._below.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        return False
