"""QUIC (RFC 9000, 9001, 9002) for HTTP/3: the one module that imports qh3.

qh3's packets, recovery, streams and TLS are used, nothing of its HTTP/3.  Its facade makes the
handshake; everything else goes to its core, which grants flow-control credit as events are taken:
whoever takes none holds the server back, and the facade always takes all.  The core's names are
outside qh3's promises, so the extra pins its version and `tests/protocol/test_quic_engine.py` holds
what is used.  Where one of them is missing all the same, `FacadeEngine` does with what qh3
promises, and holds nobody back.  No sockets and no clock: datagrams and times come in as arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any, Final, NamedTuple

from qh3 import tls
from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionError
from qh3.quic.tls_bridge import QuicTlsBridgeError

# RFC 9000 20.1: 0x100 and a TLS alert.
_CRYPTO_ERROR: Final = 0x100
_PROTOCOL_VIOLATION: Final = 0x0A
# RFC 8446 6.2, and of QUIC's own codes what a person reads.
_ALERT_CERTIFICATE: Final = frozenset({42, 43, 44, 45, 46, 48})
_CERT_NONE, _CERT_REQUIRED = 0, 2

# An event is its kind and what belongs to it: of "stream_data" the stream, the bytes and whether
# they are the last, of "stream_reset" and "stop_sending" the stream and the code; of
# "streams_available" nothing counts.  Others may be ignored.
Event = tuple[Any, ...]


class QuicTrust(NamedTuple):
    """Whose certificates are taken.

    Args:
        verified: Whether they are checked at all.
        authorities: Who may sign them, as PEM.
    """

    verified: bool
    authorities: bytes


class QuicEnd(NamedTuple):
    """Why a connection ended.

    Args:
        code: QUIC's or the application's error code.
        is_application: Whether HTTP/3 said so, not QUIC.
        by_peer: Whether the server did, not we.
        reason: What was said about it.
    """

    code: int
    is_application: bool
    by_peer: bool
    reason: str

    @property
    def alert(self) -> int | None:
        """The TLS alert that the handshake failed with (RFC 9001 4.8)."""
        if not self.is_application and 0 <= self.code - _CRYPTO_ERROR < 0x100:
            return self.code - _CRYPTO_ERROR
        return None

    @property
    def refuses_certificate(self) -> bool:
        """Whether we refused the server's certificate."""
        return not self.by_peer and self.alert in _ALERT_CERTIFICATE


class _Handshaking(QuicConnection):
    """qh3's facade, whose events go to `QuicEngine` instead of being unpacked."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        engine: QuicEngine,
        keep_ticket: Callable[[Any], None] | None,
    ) -> None:
        super().__init__(configuration=configuration, session_ticket_handler=keep_ticket)
        self._engine = engine

    def _drain_core(self) -> None:
        self._engine.advance_handshake()


class QuicEngine:
    """One client connection.

    Args:
        server_name: For SNI and for the certificate's check.
        trust: Whose certificates are taken.
        window: What the server may have under way on all streams together, in bytes.
        stream_window: The same on one stream.
        idle_timeout: Seconds without anything received after which the connection ends.
        ticket: A session to resume (RFC 8446 2.2), which checks no certificate again.
        early: Whether data may be sent before the handshake is over, where the ticket allows it.
        keep_ticket: Called with each ticket that the server sends.
    """

    __slots__ = (
        "_address",
        "_configuration",
        "_core",
        "_early",
        "_keep_ticket",
        "_quic",
        "end",
        "handshake_done",
        "protocol",
    )

    def __init__(
        self,
        server_name: str,
        trust: QuicTrust,
        *,
        window: int = 16 * 1024 * 1024,
        stream_window: int = 4 * 1024 * 1024,
        idle_timeout: float = 30.0,
        ticket: Any = None,
        early: bool = False,
        keep_ticket: Callable[[Any], None] | None = None,
    ) -> None:
        if ticket is not None and not early and ticket.max_early_data_size is not None:
            ticket = replace(ticket, max_early_data_size=None)
        self._configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=["h3"],
            server_name=server_name,
            cadata=trust.authorities if trust.verified else None,
            verify_mode=_CERT_REQUIRED if trust.verified else _CERT_NONE,
            max_data=window,
            max_stream_data=stream_window,
            idle_timeout=idle_timeout,
            session_ticket=ticket,
        )
        self._keep_ticket = keep_ticket
        self._quic = _Handshaking(self._configuration, self, keep_ticket)
        self._core: Any = None  # qh3's core, from the handshake's end on
        self._address: Any = None
        self._early: deque[Event] = deque()  # events that came with the handshake
        self.handshake_done: bool = False
        #: What ALPN chose (RFC 7301).
        self.protocol: str | None = None
        #: Why the connection ended; the first reason stays.
        self.end: QuicEnd | None = None

    # --- datagrams and time -----------------------------------------------------------------------

    def connect(self, address: Any, now: float) -> None:
        """Begin the handshake with a server at `address`, a socket's (host, port)."""
        self._address = address[:2]
        try:
            self._quic.connect(self._address, now)
        except ValueError:  # BufferWriteError is one
            if self._configuration.session_ticket is None:
                raise
            # A ClientHello with a large ticket does not fit into what qh3 has for it: without one.
            self._configuration.session_ticket = None
            self._quic = _Handshaking(self._configuration, self, self._keep_ticket)
            self._quic.connect(self._address, now)

    def receive(self, datagrams: list[bytes], now: float) -> None:
        """Take datagrams that came."""
        if self._core is not None:
            self._core.receive_many_datagrams(datagrams, self._address, now)
            return
        for datagram in datagrams:
            if self._core is not None:
                self._core.receive_datagram(datagram, self._address, now)
            elif self.end is None:
                self._receive_early(datagram, now)

    def _receive_early(self, datagram: bytes, now: float) -> None:
        try:
            self._quic.receive_datagram(datagram, self._address, now)
        except (ValueError, RuntimeError, LookupError, AssertionError, QuicConnectionError) as exc:
            # The facade lets out what a malformed handshake makes it stumble over.
            if self.end is None:
                self.end = QuicEnd(_PROTOCOL_VIOLATION, False, False, f"{exc!r:.200}")

    def datagrams(self, now: float) -> list[bytes]:
        """What is to be sent now."""
        out: list[bytes] = []
        core = self._quic._core
        if core is not None:
            poll = core.poll_transmit
            while (made := poll(now)) is not None:
                out.append(made[0])
        return out

    def timer(self) -> tuple[str, float] | None:
        """What is due next and when: ("idle", ...), ("pto", ...) and others."""
        core = self._quic._core
        timer: tuple[str, float] | None = None if core is None else core.get_timer()
        return timer

    def handle_timer(self, now: float) -> None:
        """A timer is due."""
        core = self._quic._core
        if core is not None:
            core.handle_timer(now)
            if self._core is None:
                self.advance_handshake()

    # --- the handshake ----------------------------------------------------------------------------

    def advance_handshake(self) -> None:
        """Give TLS what came for it, and keep what came for HTTP."""
        core: Any = self._quic._core
        while self._core is None and (event := core.next_event()) is not None:
            if event[0] == "crypto_data":
                self._receive_crypto(event)
            else:
                self._early.append(event)
        # The packets of one datagram are taken one by one; an end may stand among what is early.
        if not self.handshake_done:
            for event in self._early:
                self._note_end(event)

    def _receive_crypto(self, event: Event) -> None:
        quic = self._quic
        core: Any = quic._core
        bridge: Any = quic._tls
        try:
            bridge.receive_crypto(tls.Epoch(event[1]), event[3], event[2], version=core.version)
            quic._drain_tls()
        except QuicTlsBridgeError as exc:
            # What follows fails because of this one, and says less about it.
            if self.end is None:
                self.end = QuicEnd(exc.error_code, False, False, exc.reason_phrase)
                core.close(exc.error_code, int(exc.frame_type), exc.reason_phrase.encode())
            return
        if quic._handshake_complete and not self.handshake_done:
            self.handshake_done = True
            self.protocol = bridge.tls.alpn_negotiated
            self._core = core

    @property
    def sends_early(self) -> bool:
        """Whether streams may be opened before the handshake is over (RFC 9001 4.6.1)."""
        quic = self._quic
        if self.handshake_done or not quic._early_data_attempted:
            return False
        return quic._remembered_transport_parameters() is not None and self.stream_limit > 0

    @property
    def resumed(self) -> bool:
        """Whether the server has taken up the session, so that no certificate was shown."""
        bridge: Any = self._quic._tls
        return bool(bridge.tls.session_resumed)

    @property
    def took_early(self) -> bool:
        """Whether the server has taken the early data; what it has not, was sent again."""
        bridge: Any = self._quic._tls
        return bool(bridge.tls.early_data_accepted)

    @property
    def round_trip(self) -> float:
        """How long an answer takes, smoothed, in seconds; 0 where that is not known yet."""
        core = self._quic._core
        return 0.0 if core is None else core.smoothed_rtt or 0.0

    @property
    def certificate(self) -> bytes:
        """The certificate that the server showed, in DER form."""
        shown = self._quic.get_peercert()
        return b"" if shown is None else bytes(shown.public_bytes())

    # --- events -----------------------------------------------------------------------------------

    def next_event(self) -> Event | None:
        """What happened next that concerns HTTP; taking data grants the server credit for more."""
        take = self.events()
        while (event := take()) is not None and not self.concerns_http(event):
            pass
        return event

    def events(self) -> Callable[[], Event | None]:
        """What gives the next event, whether it concerns HTTP or not; for one loop."""
        return self._take_early if self._early else self._core.next_event

    def _take_early(self) -> Event | None:
        early = self._early
        return early.popleft() if early else self._core.next_event()

    def concerns_http(self, event: Event) -> bool:
        """Do what QUIC has to do about an event, and say whether it is news for HTTP as well."""
        kind = event[0]
        if kind in {"stream_data", "streams_available"}:
            return True
        if kind == "stream_finished":
            return False  # its last byte said so
        if kind == "crypto_data":
            self._receive_crypto(event)  # session tickets
            return False
        if kind == "handshake_done":
            self._quic._handshake_confirmed = True
            self._core.handshake_confirmed()
            return False
        self._note_end(event)
        return True

    def _note_end(self, event: Event) -> None:
        if self.end is not None:
            return
        kind = event[0]
        if kind == "peer_closed":
            reason = event[4].decode("utf-8", "replace")
            self.end = QuicEnd(event[2], bool(event[1]), True, reason)
        elif kind == "protocol_error":
            self.end = QuicEnd(event[1], False, False, str(event[3]))
        elif kind == "connection_terminated":
            reason = event[3].decode("utf-8", "replace")
            self.end = QuicEnd(event[1], False, False, reason)

    # --- streams ----------------------------------------------------------------------------------

    def send(self, stream_id: int, data: bytes, fin: bool) -> bool:
        """Send on a stream, which opens it; whether the peer still takes it.

        Args:
            stream_id: Its number.
            data: The bytes, copied.
            fin: Whether they are the last ones.
        """
        core = self._core
        if core is None:
            return self._send_early(stream_id, data, fin)
        try:
            core.send_stream(stream_id, data, fin)
        except (ValueError, RuntimeError):
            return False
        return True

    def _send_early(self, stream_id: int, data: bytes, fin: bool) -> bool:
        # The facade keeps early data, for a server that wants to see our address first (Retry).
        try:
            self._quic.send_stream_data(stream_id, data, fin)
        except (ValueError, RuntimeError, QuicConnectionError):
            return False
        return True

    def reset(self, stream_id: int, code: int) -> None:
        """Send no more on a stream; harmless where it is over."""
        core: Any = self._quic._core
        try:
            core.reset_stream(stream_id, code)
        except (ValueError, RuntimeError):
            return

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Ask the server to send no more on a stream; harmless where it is over."""
        core: Any = self._quic._core
        try:
            core.stop_sending(stream_id, code)
        except (ValueError, RuntimeError):
            return

    def unsent(self, stream_id: int) -> int:
        """How many bytes of a stream wait for credit, for congestion or for the next turn."""
        core = self._core
        size: int = (self._quic if core is None else core).get_send_buffer_size(stream_id)
        return size

    @property
    def stream_limit(self) -> int:
        """How many request streams the server lets us open in all (RFC 9000 4.6)."""
        core: Any = self._quic._core
        limit: int = core.stream_limits[0]
        return limit

    @property
    def probes(self) -> int:
        """How many probe time-outs have passed in a row (RFC 9002 6.2)."""
        core = self._quic._core
        return 0 if core is None else int(core.pto_count)

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed the connection."""
        core = self._core
        if core is None:
            return self.end is None and self.sends_early
        return self.end is None and core.state in _OPEN_STATES

    def ping(self) -> None:
        """Make the server say that it is there."""
        core: Any = self._quic._core
        core.send_ping(0)

    @property
    def may_move(self) -> bool:
        """Whether the connection may go on from another address of ours (RFC 9000 9)."""
        bridge: Any = self._quic._tls
        parameters = bridge.remote_transport_parameters
        return (
            self._quic._handshake_confirmed
            and self.is_open
            and not parameters.disable_active_migration
        )

    def moved(self) -> None:
        """Datagrams leave from another address: call the connection by another name there, so that
        nobody on the way can tell that it is the same (RFC 9000 9.5), and let the server see it.
        """
        with suppress(ValueError, RuntimeError):  # the server may have given us no other
            self._core.change_connection_id()
        self.ping()

    def close(self, code: int, reason: str = "") -> None:
        """End the connection; what says so is among `datagrams`."""
        core = self._quic._core
        if core is None:
            return
        if self.end is None:
            self.end = QuicEnd(code, True, False, reason)
        try:
            if self._core is None:
                # RFC 9000 10.2.3: before the handshake is over the application has no say.
                core.close(0, 0, b"")
            else:
                core.close(code, None, reason.encode())
        except (ValueError, RuntimeError):
            return


def allows_early_data(ticket: Any) -> bool:
    """Whether a server that gave this ticket may take early data."""
    return ticket.max_early_data_size is not None


_OPEN_STATES: Final = frozenset({"idle", "connected"})


class FacadeEngine(QuicEngine):
    """The same by qh3's facade alone, for a qh3 whose core has other names.

    The facade takes all that comes at once and says less about it: a slow reader does not hold a
    server back, how often a probe was sent is not known (a dead server is found by the idle
    time-out, and by PING where that is asked for), and nothing goes before the handshake is over.
    """

    __slots__ = ("_facade", "_limit")

    handshake_done: bool
    protocol: str | None
    end: QuicEnd | None

    def __init__(self, server_name: str, trust: QuicTrust, **options: Any) -> None:
        options["early"] = False
        super().__init__(server_name, trust, **options)
        self._facade: Any = self._new_facade()
        self._limit = 0  # of streams, as HTTP knows it

    def _new_facade(self) -> Any:
        return QuicConnection(
            configuration=self._configuration, session_ticket_handler=self._keep_ticket
        )

    def connect(self, address: Any, now: float) -> None:
        self._address = address[:2]
        try:
            self._facade.connect(self._address, now)
        except ValueError:
            if self._configuration.session_ticket is None:
                raise
            self._configuration.session_ticket = None  # it does not fit
            self._facade = self._new_facade()
            self._facade.connect(self._address, now)

    def receive(self, datagrams: list[bytes], now: float) -> None:
        try:
            for datagram in datagrams:
                self._facade.receive_datagram(datagram, self._address, now)
        except (ValueError, RuntimeError, LookupError, AssertionError, QuicConnectionError) as exc:
            if self.end is None:
                self.end = QuicEnd(_PROTOCOL_VIOLATION, False, False, f"{exc!r:.200}")
        self._unpack()

    def _unpack(self) -> None:
        while (event := self._facade.next_event()) is not None:
            if isinstance(event, events.HandshakeCompleted):
                self.handshake_done, self.protocol = True, event.alpn_protocol
                self._limit = self.stream_limit
            elif isinstance(event, events.StreamDataReceived):
                self._early.append(("stream_data", event.stream_id, event.data, event.end_stream))
            elif isinstance(event, events.StreamReset):
                self._early.append(("stream_reset", event.stream_id, event.error_code))
            elif isinstance(event, events.StopSendingReceived):
                self._early.append(("stop_sending", event.stream_id, event.error_code))
            elif isinstance(event, events.ConnectionTerminated):
                self._ended(event)
        if self.handshake_done and self.stream_limit > self._limit:
            self._limit = self.stream_limit
            self._early.append(("streams_available",))

    def _ended(self, event: events.ConnectionTerminated) -> None:
        if self.end is None:
            # An application's end names no frame (RFC 9000 19.19).
            by_application = event.frame_type is None
            code, reason = event.error_code, event.reason_phrase
            failed = not self.handshake_done and _CRYPTO_ERROR <= code < 2 * _CRYPTO_ERROR
            self.end = QuicEnd(code, by_application and not failed, not failed, reason)
        self._early.append(("connection_terminated",))

    def datagrams(self, now: float) -> list[bytes]:
        return [data for data, _ in self._facade.datagrams_to_send(now)]

    def timer(self) -> tuple[str, float] | None:
        at = self._facade.get_timer()
        return None if at is None else ("unknown", at)

    def handle_timer(self, now: float) -> None:
        self._facade.handle_timer(now)
        self._unpack()

    def advance_handshake(self) -> None:
        """The facade does."""

    @property
    def sends_early(self) -> bool:
        return False

    @property
    def resumed(self) -> bool:
        return self.handshake_done and self._facade.get_peercert() is None

    @property
    def took_early(self) -> bool:
        return False

    @property
    def round_trip(self) -> float:
        return 0.0

    @property
    def certificate(self) -> bytes:
        shown = self._facade.get_peercert()
        return b"" if shown is None else bytes(shown.public_bytes())

    def events(self) -> Callable[[], Event | None]:
        return self._take_early

    def _take_early(self) -> Event | None:
        return self._early.popleft() if self._early else None

    def concerns_http(self, event: Event) -> bool:
        return True

    def send(self, stream_id: int, data: bytes, fin: bool) -> bool:
        try:
            self._facade.send_stream_data(stream_id, data, fin)
        except (ValueError, RuntimeError, QuicConnectionError):
            return False
        return True

    def reset(self, stream_id: int, code: int) -> None:
        with suppress(ValueError, RuntimeError, QuicConnectionError):
            self._facade.reset_stream(stream_id, code)

    def stop_sending(self, stream_id: int, code: int) -> None:
        with suppress(ValueError, RuntimeError, QuicConnectionError):
            self._facade.stop_stream(stream_id, code)

    def unsent(self, stream_id: int) -> int:
        size: int = self._facade.get_send_buffer_size(stream_id)
        return size

    @property
    def stream_limit(self) -> int:
        limit: int = self._facade.max_concurrent_bidi_streams
        return limit

    @property
    def probes(self) -> int:
        return 0

    @property
    def is_open(self) -> bool:
        return self.end is None and self.handshake_done

    def ping(self) -> None:
        self._facade.send_ping(0)

    @property
    def may_move(self) -> bool:
        return self.is_open

    def moved(self) -> None:
        with suppress(ValueError, RuntimeError, QuicConnectionError):
            self._facade.change_connection_id()
        self.ping()

    def close(self, code: int, reason: str = "") -> None:
        application = self.handshake_done
        if self.end is None:
            self.end = QuicEnd(code, True, False, reason)
        with suppress(ValueError, RuntimeError, QuicConnectionError):
            self._facade.close(code if application else 0, None if application else 0, reason)


# What is used of the core, and of the facade's inside: where one is missing, `FacadeEngine` does.
_CORE_NAMES: Final = (
    "change_connection_id",
    "close",
    "get_send_buffer_size",
    "get_timer",
    "handle_timer",
    "handshake_confirmed",
    "next_event",
    "poll_transmit",
    "pto_count",
    "receive_datagram",
    "receive_many_datagrams",
    "reset_stream",
    "send_ping",
    "send_stream",
    "smoothed_rtt",
    "state",
    "stop_sending",
    "stream_limits",
)
_FACADE_NAMES: Final = ("_drain_core",)


def engine_class(facade: type = QuicConnection, core: object = None) -> type[QuicEngine]:
    """Which of the two engines suits a qh3.

    Args:
        facade: Its connection.
        core: Its core; by default what it has under the name that is known.
    """
    if core is None:
        core = getattr(import_module("qh3._hazmat"), "QuicConnectionCore", None)
    known = all(hasattr(core, name) for name in _CORE_NAMES) and all(
        hasattr(facade, name) for name in _FACADE_NAMES
    )
    return QuicEngine if known else FacadeEngine


#: The engine of this qh3.
Engine: type[QuicEngine] = engine_class()
