"""TLS sessions: which handshake may take up which, and who may keep one.

OpenSSL checks neither chain nor name when it takes up a session (RFC 8446 2.2), so one is found by
all that it was trusted under: the way to the peer with the users of the proxies on it, what was
said of TLS, the context, and the policy of that context at the moment.  What nobody can see, the
certificates and authorities of a context that a program made, counts as changed unless the program
promises otherwise.  Knows nothing of sockets.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Hashable
from typing import Any

from wherry.connect.tls.contexts import AlpnContext, alpn_names, context_for, offered, policy_of

# Sessions that are kept; each may hold some 30 KiB of OpenSSL's memory.
MAX_SESSIONS = 64
# QUIC's tickets that are kept of one server; most give one or two with each handshake.
MAX_TICKETS = 4
# Seconds in which one session is taken up again and again before a newer one is asked for.
SESSION_REUSE = 60.0
# Types of records, and of a handshake's message (RFC 8446 B.1, B.3).
_CHANGE_CIPHER_SPEC, _HANDSHAKE, _APPLICATION_DATA, _CERTIFICATE = 20, 22, 23, 11


class Resumable:
    """What is kept of the last handshakes under one key.

    Asking OpenSSL for a session costs as much as half a handshake, so one that was taken up lately
    is taken again.  Not for long: who reuses a ticket can be recognized by it (RFC 8446 C.4).
    """

    __slots__ = ("asked", "session", "wrapped")

    def __init__(self, wrapped: ssl.SSLObject) -> None:
        self.session: ssl.SSLSession | None = None
        self.asked: float = 0.0
        self.succeed(wrapped)

    def succeed(self, wrapped: ssl.SSLObject) -> None:
        """Another handshake went well: if it had to begin from nothing, the old session is of no
        use any more.
        """
        self.wrapped: ssl.SSLObject = wrapped
        if not wrapped.session_reused:
            self.session = None
        if self.session is None and wrapped.version() == "TLSv1.2":
            # It is there already.  What the server asks for when it shakes hands again must not get
            # into it.
            self.session, self.asked = wrapped.session, time.monotonic()

    def last_session(self) -> ssl.SSLSession | None:
        """The session to take up; TLS 1.3 sends it after the handshake, so it is asked for as late
        as can be.
        """
        now = time.monotonic()
        if self.session is None or now - self.asked > SESSION_REUSE:
            self.session, self.asked = self.wrapped.session, now
        return self.session


class Handshake:
    """One handshake that is about to be made: gives the TLS object, and learns how it ended.

    Args:
        context: The context, `AlpnContext` or another.
        table: Where sessions are kept; None where none may be.
        trust: What the session would be trusted under, besides the context and its policy.
    """

    __slots__ = ("_key", "_table", "_trust", "context")

    def __init__(
        self, context: ssl.SSLContext, table: SessionTable | None = None, trust: Hashable = None
    ) -> None:
        self.context: ssl.SSLContext = context
        self._table = table
        self._trust = trust
        self._key: Hashable = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        *,
        server_hostname: str | None = None,
    ) -> ssl.SSLObject:
        """The context's TLS object, with the last session where there is one that may be taken
        up.
        """
        session = None
        if self._table is not None:
            # The key is of this moment: OpenSSL checks neither chain nor name when it takes up a
            # session.
            context = self.context.inner if isinstance(self.context, AlpnContext) else self.context
            self._key = self._trust, self.context, policy_of(context), server_hostname
            session = self._table.find(self._key)
        try:
            return self.context.wrap_bio(incoming, outgoing, False, server_hostname, session)
        except ValueError:
            if session is None:
                raise
            return self.context.wrap_bio(incoming, outgoing, False, server_hostname)

    def succeeded(self, wrapped: ssl.SSLObject | None, *, identified: bool) -> None:
        """The handshake went well: its session may be taken up by the next one with the same key.

        Args:
            wrapped: The TLS object.
            identified: The server asked for a certificate of ours.  Who the client was is a part of
                the session then (RFC 8446 4.6.2), and no part of the key.
        """
        if self._table is None or self._key is None or wrapped is None:
            return
        if identified or self.context.post_handshake_auth:
            self._table.forget(self._key)
        else:
            self._table.remember(self._key, wrapped)

    def failed(self) -> None:
        """Drop the session: the next handshake is a full one."""
        if self._table is not None:
            self._table.forget(self._key)


class SessionTable:
    """The TLS sessions of one connector, each found by all that it was trusted under.

    Args:
        resumption: True to keep custom sessions contexts as well, False to keep none,
            None to keep those of contexts that were made here.  What certificates and authorities a
            context has cannot be seen, so only the program can promise that they stay the same.
    """

    __slots__ = ("_alpn", "_known", "_tickets", "resumption")

    def __init__(self, resumption: bool | None = None) -> None:
        self.resumption: bool | None = resumption
        self._known: dict[Hashable, Resumable] = {}
        self._alpn: dict[tuple[ssl.SSLContext, tuple[str, ...]], AlpnContext] = {}
        self._tickets: dict[Hashable, list[Any]] = {}

    async def handshake(
        self, ssl_option: Any, protocols: tuple[str, ...], trust: Hashable, *, chosen: bool = False
    ) -> Handshake:
        """A handshake as a user's `ssl=` says.

        Args:
            ssl_option: True, False, an SSLContext or a Fingerprint.
            protocols: ALPN identifiers in order of wish.
            trust: The way to the peer, with the users of the proxies on it, and all that was said
                of TLS; None for a handshake that must begin from nothing.
            chosen: Whether `protocols` are to be offered by a context of the program's too,
                whatever they are.
        """
        own = isinstance(ssl_option, ssl.SSLContext)
        context = await context_for(ssl_option, protocols)
        if own and (names := tuple(alpn_names(protocols) or ()) if chosen else offered(protocols)):
            context = self.offering(context, names)
        keeps = self.resumption or (self.resumption is None and not own)
        return Handshake(context, self if keeps and trust is not None else None, trust)

    def offering(self, context: ssl.SSLContext, names: tuple[str, ...]) -> ssl.SSLContext:
        """A context of the program's that offers `names`; itself stays as it is."""
        found = self._alpn.get((context, names))
        if found is None:
            found = self._alpn[context, names] = AlpnContext(context, names)
            if len(self._alpn) > MAX_SESSIONS:
                del self._alpn[next(iter(self._alpn))]
        return found

    def find(self, key: Hashable) -> ssl.SSLSession | None:
        known = self._known.get(key)
        return None if known is None else known.last_session()

    def remember(self, key: Hashable, wrapped: ssl.SSLObject) -> None:
        known = self._known.get(key)
        if known is not None:
            known.succeed(wrapped)
            self._known[key] = self._known.pop(key)  # the latest used is last
            return
        self._known[key] = Resumable(wrapped)
        if len(self._known) > MAX_SESSIONS:
            del self._known[next(iter(self._known))]

    def forget(self, key: Hashable) -> None:
        self._known.pop(key, None)

    # QUIC's sessions are tickets, each of which is used once (RFC 8446 C.4).

    def keep_ticket(self, key: Hashable, ticket: Any) -> None:
        """A server of QUIC may be asked to take this session up.

        Args:
            key: All that it is trusted under.
            ticket: What the engine made of it.
        """
        self._tickets[key] = [*self._tickets.pop(key, ()), ticket][-MAX_TICKETS:]
        if len(self._tickets) > MAX_SESSIONS:
            del self._tickets[next(iter(self._tickets))]

    def take_ticket(self, key: Hashable) -> Any:
        """The newest ticket, which is kept no more; None where there is none."""
        kept = self._tickets.get(key)
        return kept.pop() if kept else None

    def forget_tickets(self, key: Hashable) -> None:
        self._tickets.pop(key, None)

    def clear(self) -> None:
        self._known.clear()
        self._alpn.clear()
        self._tickets.clear()

    def __len__(self) -> int:
        return len(self._known)


def shows_certificate(flight: bytes, wrapped: ssl.SSLObject) -> bool:
    """Whether the client answers a CertificateRequest by what it sends, be it with no certificate
    at all.

    OpenSSL does not tell; but an answer is a message of its own (RFC 8446 4.4.2, RFC 5246 7.4.6),
    in a record of its own.  Where that cannot be told apart, it counts as an answer.

    Args:
        flight: What goes out in one step of the handshake: whole records.
        wrapped: The TLS object.
    """
    at, sealed = 0, []
    while at + 5 < len(flight):
        size = int.from_bytes(flight[at + 3 : at + 5])
        if flight[at] == _HANDSHAKE and flight[at + 5] == _CERTIFICATE:
            return True  # TLS 1.2 says so in the clear, before its ChangeCipherSpec
        if flight[at] == _CHANGE_CIPHER_SPEC and wrapped.version() != "TLSv1.3":
            return False
        if flight[at] == _APPLICATION_DATA:
            sealed.append(size)
        at += 5 + size
    if not sealed:
        return False
    # TLS 1.3: Finished alone is a header of 4 bytes and a hash, sealed with one byte of type and 16
    # of tag.
    cipher = wrapped.cipher()
    return sealed != [
        4 + (48 if cipher is not None and cipher[0].endswith("SHA384") else 32) + 1 + 16
    ]
