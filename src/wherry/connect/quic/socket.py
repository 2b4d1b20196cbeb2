"""A UDP socket that belongs to one QUIC connection: datagrams in and out, and one timer.

Datagrams are read as the loop reports them and handed to the engine together; what the engine has
to say goes out once in a turn of the loop, after the tasks that a read woke have run, so that
acknowledgements ride with new requests.  Knows no HTTP.

A connection outlives the address it was made from (RFC 9000 9).  When the system says that there is
no way out any more, or probes go unanswered, and a new socket to the same server would have another
address, that one takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol

from wherry.protocol.http3.quic_engine import QuicEngine

# Datagrams that are read before the loop has its turn.
_BATCH = 64
_LARGEST = 65535
# What the system may keep for the socket, in bytes, where it lets us ask for so much.
_RECEIVE_BUFFER, _SEND_BUFFER = 4 * 1024 * 1024, 1024 * 1024
# RFC 9002 6.1.2: timers are no finer than this, in seconds.
_GRANULARITY = 0.001
# After the handshake so many reports in a row that nobody is there (ICMP) count as an end: one may
# be of a server that is being restarted.
_MAX_REFUSALS = 3
# Linux's UDP generic segmentation offload (udp(7)): one call for many datagrams.  Without it the
# system says one of these; EIO comes from network cards that cannot make the checksums.
_SOL_UDP, _UDP_SEGMENT, _MOST_SEGMENTS = 17, 103, 64
_NO_SEGMENTS = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
_GONE = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH})
# What the system says when the socket's own address is of no use any more.
_NO_WAY_OUT = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EINVAL}
)
# After so many probe time-outs in a row it is looked up whether our address has changed.
_PROBES_BEFORE_MOVE = 2


class DatagramReceiver(Protocol):
    """Who is told of what came: the dialler during the handshake, then an `Http3Connection`."""

    def events_arrived(self) -> None: ...

    def datagrams_sent(self) -> bool: ...

    def timer_passed(self, silence: float) -> None: ...

    def transport_failed(self, exc: OSError) -> None: ...

    def transport_closed(self) -> None: ...

    @property
    def is_busy(self) -> bool: ...


def open_socket(
    address: Any, family: int, local_address: Any = None, made: socket.socket | None = None
) -> socket.socket:
    """A UDP socket that talks to `address` alone.

    Raises:
        OSError: There is no way there, or the local address cannot be had.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM) if made is None else made
    try:
        sock.setblocking(False)
        for option, size in ((socket.SO_RCVBUF, _RECEIVE_BUFFER), (socket.SO_SNDBUF, _SEND_BUFFER)):
            sock.setsockopt(socket.SOL_SOCKET, option, size)
        if local_address is not None:
            sock.bind(local_address)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _read(sock: socket.socket) -> tuple[list[bytes], OSError | None]:
    """The datagrams that are there, a batch at most, and what the system reported after them."""
    datagrams: list[bytes] = []
    take, receive = datagrams.append, sock.recv
    try:
        for _ in range(_BATCH):
            take(receive(_LARGEST))
    except (BlockingIOError, InterruptedError):
        return datagrams, None
    except OSError as exc:
        return datagrams, exc
    return datagrams, None


def _segment_end(datagrams: list[bytes], start: int) -> int:
    """Where the datagrams end that may go out as one: all of one size, the last may be smaller."""
    size = len(datagrams[start])
    end = start + 1
    most = min(len(datagrams), start + min(_MOST_SEGMENTS, _LARGEST // size))
    while end < most and len(datagrams[end]) == size:
        end += 1
    if end < most and len(datagrams[end]) < size:
        end += 1
    return end


class QuicTransport(asyncio.Transport):
    """The socket of one connection.

    Args:
        loop: The event loop; it must be able to watch sockets (`add_reader`).
        sock: Connected; it belongs to the transport from now on.
        engine: Whose datagrams these are.
        receiver: Who is told.
        reopen: Makes another socket to the same server; None where the connection has to stay
            where it is.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        engine: QuicEngine,
        receiver: DatagramReceiver,
        reopen: Callable[[], socket.socket] | None = None,
    ) -> None:
        super().__init__()
        self._reopen = reopen
        self.loop: asyncio.AbstractEventLoop = loop
        self._sock: socket.socket | None = sock
        self._engine = engine
        self.receiver = receiver
        self._unsent: list[bytes] = []  # what the system did not take
        self._segments = sys.platform == "linux"  # datagrams of one size may go out together
        self._flushing = False
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._ping_at = math.inf  # when to say that we are still there
        self.heard_at: float = loop.time()  # when a datagram came last
        self.has_heard: bool = False  # whether anything came at all
        # Since when, and for how long, the loop came late to what was due: what it had no time for
        # is no silence of the server's.
        self._late_since = self.heard_at
        self._late = 0.0
        self._refusals = 0
        self._extra = {"peername": sock.getpeername(), "sockname": sock.getsockname()}
        self._watch(sock)

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "closing" if self._closing else "open"
        return f"<QuicTransport {self._extra['peername']} {state}>"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket" and self._sock is not None:
            return self._sock
        return self._extra.get(name, default)

    def get_write_buffer_size(self) -> int:
        """How many bytes the system has not taken yet."""
        return sum(map(len, self._unsent))

    # --- in ---------------------------------------------------------------------------------------

    def _watch(self, sock: socket.socket) -> None:
        self.loop.add_reader(sock.fileno(), self._readable)

    def _forget(self, sock: socket.socket) -> None:
        """Nothing more comes from a socket, nor goes out by it."""
        if not self.loop.is_closed():
            self.loop.remove_reader(sock.fileno())
            self.loop.remove_writer(sock.fileno())
        sock.close()

    def _readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        datagrams, failure = _read(sock)
        if datagrams:
            self.take(datagrams)
        if failure is not None:
            self._failed(failure)

    def take(self, datagrams: list[bytes]) -> None:
        """Datagrams came."""
        now = self.heard_at = self.loop.time()
        self.has_heard = True
        self._refusals = 0
        try:
            self._engine.receive(datagrams, now)
            self.receiver.events_arrived()
        except BaseException:
            self.abort()  # as asyncio does it: nobody waits for what cannot come any more
            raise
        if self._sock is not None and not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush_later)

    def _failed(self, exc: OSError) -> None:
        if self._sock is None or (exc.errno in _NO_WAY_OUT and self._move()):
            return
        # EMSGSIZE answers a probe for a larger MTU (RFC 9000 14.3); in the handshake the smallest
        # that QUIC knows does not pass.
        too_large = exc.errno == errno.EMSGSIZE and not self._engine.handshake_done
        if exc.errno not in _GONE and not too_large:
            return  # a lost datagram is QUIC's daily bread
        self._refusals += 1
        if not self._engine.handshake_done or self._refusals >= _MAX_REFUSALS:
            self.receiver.transport_failed(exc)
            self.abort()

    # --- another address of ours ------------------------------------------------------------------

    def _move(self) -> bool:
        """Go on from another address, if this system has another one for the server now."""
        if self._reopen is None or self._sock is None:
            return False
        try:
            sock = self._reopen()
        except OSError:
            return False
        if sock.getsockname()[0] == self._extra["sockname"][0]:
            sock.close()
            return False
        if not self._engine.may_move:
            # The server wants none of it (RFC 9000 18.2), or does not know us yet.
            sock.close()
            self.receiver.transport_failed(OSError(errno.ENETDOWN, "our own address has changed"))
            self.abort()
            return True
        old, self._sock = self._sock, sock
        self._forget(old)
        self._extra["sockname"] = sock.getsockname()
        self._unsent = []  # as if it were lost on the way
        self._refusals = 0
        self._watch(sock)
        self._engine.moved()
        self.flush_soon()
        return True

    # --- out --------------------------------------------------------------------------------------

    def flush_soon(self) -> None:
        """Send what the engine has, when the tasks that are ready have run."""
        if not self._flushing and self._sock is not None:
            self._flushing = True
            self.loop.call_soon(self.flush)

    def _flush_later(self) -> None:
        # The tasks that the read woke are before this in the loop's queue.
        self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what the engine has."""
        self._flushing = False
        if self._sock is None:
            return
        if not self._unsent:
            now = self.loop.time()
            try:
                self._send(self._engine.datagrams(now))
                while (
                    not self._unsent and self._sock is not None and self.receiver.datagrams_sent()
                ) and (more := self._engine.datagrams(now)):
                    self._send(more)
            except ValueError as exc:
                self._engine_failed(exc)
        if self._sock is not None:
            self._arm_timer()

    def _engine_failed(self, exc: ValueError) -> None:
        """The engine contradicts itself, so what it holds is not to be trusted any more.  qh3 says
        "reserved stream is missing" where a stream has ended whose bytes it wants to send again.
        """
        self.receiver.transport_failed(OSError(errno.EPROTO, f"the QUIC engine failed: {exc}"))
        self.abort()

    def _send(self, datagrams: list[bytes]) -> None:
        sock = self._sock
        position = 0
        while position < len(datagrams):
            if sock is None:
                return
            end = _segment_end(datagrams, position) if self._segments else position + 1
            try:
                if end == position + 1:
                    sock.send(datagrams[position])
                else:
                    size = len(datagrams[position]).to_bytes(2, sys.byteorder)
                    sock.sendmsg(datagrams[position:end], [(_SOL_UDP, _UDP_SEGMENT, size)])
            except (BlockingIOError, InterruptedError):
                if not self._closing:
                    self._unsent = datagrams[position:]
                    self.loop.add_writer(sock.fileno(), self._writable)
                return
            except OSError as exc:
                if end > position + 1 and exc.errno in _NO_SEGMENTS:
                    self._segments = False  # this system, or this way out, has no such offload
                    continue
                self._failed(exc)
                sock = self._sock
            position = end

    def _writable(self) -> None:
        if self._sock is None:
            return
        self.loop.remove_writer(self._sock.fileno())
        rest, self._unsent = self._unsent, []
        self._send(rest)
        if not self._unsent:
            self.flush()

    # --- time -------------------------------------------------------------------------------------

    def _arm_timer(self) -> None:
        """Set the timer; a handle that is early enough is kept, for making one costs time."""
        due = self._engine.timer()
        if due is None:
            return
        kind, at = due
        self._ping_at = math.inf
        if kind == "idle" and self.receiver.is_busy:
            # RFC 9000 10.1.2: whoever waits for a slow answer says that it is still there.
            now = self.loop.time()
            at = self._ping_at = now + (at - now) / 2
        if self._timer is None or at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(at, self._timer_due)
            self._timer_at = at

    def _timer_due(self) -> None:
        self._timer = None
        if self._sock is None:
            return
        engine = self._engine
        due = engine.timer()
        now = self.loop.time()
        if due is not None:
            _, at = due
            if at <= now + _GRANULARITY:
                engine.handle_timer(max(now, at))
                if self._late_since != self.heard_at:
                    self._late_since, self._late = self.heard_at, 0.0
                self._late += max(0.0, now - at)
                self.receiver.timer_passed(now - self.heard_at - self._late)
                if engine.probes >= _PROBES_BEFORE_MOVE and engine.handshake_done:
                    self._move()
                if self._sock is not None:
                    self.receiver.events_arrived()
            elif now >= self._ping_at - _GRANULARITY and self.receiver.is_busy:
                engine.ping()
        self.flush()

    # --- the end ----------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing or self._sock is None

    def close(self) -> None:
        """Send what there is (CONNECTION_CLOSE), and close the socket in the next turn."""
        if self._closing or self._sock is None:
            return
        self._closing = True
        self.loop.call_soon(self.abort)
        if not self._unsent:
            with contextlib.suppress(ValueError):  # as in `flush`; it is over anyway
                self._send(self._engine.datagrams(self.loop.time()))

    def abort(self) -> None:
        """Close the socket now."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._forget(sock)
        self.receiver.transport_closed()
