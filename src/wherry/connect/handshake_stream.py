"""A `HandshakeStream`: bytes in both directions over a transport, before anything speaks HTTP on
it.

Proxy handshakes and TLS upgrades run over a stream; then the transport is handed to the connection
that keeps it.  A custom transport may know no protocol but the one that it was made with: this
stream stays on it, and passes on what it is told.  It knows nothing of routes or protocols.  It
never holds more than a handshake may need: past that, reading stops until somebody reads.
"""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from contextlib import suppress
from typing import Any, Protocol, cast

from wherry.connect.tls.transport import TlsTransport, WrapsBio

_NO_SET_PROTOCOL = asyncio.BaseTransport.set_protocol

# The end of a head's last line, and an empty one.
_HEAD_END = re.compile(rb"\n\r?\n")
# Handshakes are small; a peer that sends more without being read is stopped.
HIGH_WATER = 64 * 1024


class TransportTaker(Protocol):
    """What a stream can be handed to: a connection of any protocol."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def eof_received(self) -> Any: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def feed(self, data: bytes) -> None: ...


class _PushingTransport:
    """A custom transport that pushes its bytes: what it does not offer, it need not
    do.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        with suppress(NotImplementedError, AttributeError):
            return self._transport.get_extra_info(name, default)
        return default

    def pause_reading(self) -> None:
        with suppress(NotImplementedError, AttributeError):
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        with suppress(NotImplementedError, AttributeError):
            self._transport.resume_reading()

    def abort(self) -> None:
        try:
            self._transport.abort()
        except (NotImplementedError, AttributeError):
            self._transport.close()


class HandshakeStream(asyncio.Protocol):
    """A byte stream on a transport, for handshakes.

    Args:
        loop: The event loop.
    """

    __slots__ = (
        "_buffer",
        "_ended",
        "_error",
        "_loop",
        "_paused",
        "_taker",
        "_waiter",
        "companion",
        "transport",
    )

    transport: asyncio.Transport
    # What must live as long as the stream does.
    companion: Any

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = bytearray()
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        # Who is told, where the transport cannot be handed over.
        self._taker: TransportTaker | None = None

    # --- what handshakes use ----------------------------------------------------------------------

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes.

        Raises:
            ConnectionError: The peer closed first.
        """
        while len(self._buffer) < size:
            await self._wait_for_data(f"{size} bytes")
        return self._take(size)

    async def read_until(self, separator: bytes, limit: int = HIGH_WATER) -> bytes:
        """Everything up to `separator`, and with it.

        Args:
            separator: What ends the read.
            limit: Bytes after which the peer counts as broken.

        Raises:
            ConnectionError: The peer closed first.
            ValueError: `limit` bytes came without the separator.
        """
        searched = 0
        while (found := self._buffer.find(separator, searched)) < 0:
            if len(self._buffer) >= limit:
                raise ValueError(f"{separator!r} did not come within {limit} bytes")
            searched = max(0, len(self._buffer) - len(separator) + 1)
            await self._wait_for_data(f"{separator!r}")
        if found + len(separator) > limit:
            raise ValueError(f"{separator!r} did not come within {limit} bytes")
        return self._take(found + len(separator))

    async def read_head(self, limit: int = HIGH_WATER) -> bytes:
        """Everything up to the first empty line, and with it; lines may end with LF alone (RFC 9112
        2.2), and empty ones before the first are passed over.

        Args:
            limit: Bytes after which the peer counts as broken.

        Raises:
            ConnectionError: The peer closed first.
            ValueError: `limit` bytes came without an empty line.
        """
        blank = searched = 0
        while True:
            while blank < len(self._buffer) and self._buffer[blank] in b"\r\n":
                blank += 1
            found = _HEAD_END.search(self._buffer, max(blank, searched))
            if found is not None or len(self._buffer) >= limit:
                break
            searched = max(0, len(self._buffer) - 2)  # the end is three bytes at most
            await self._wait_for_data("the end of a head")
        if found is None or found.end() > limit:
            raise ValueError(f"the head did not end within {limit} bytes")
        return self._take(found.end())

    def write(self, data: bytes) -> None:
        """Send `data`.

        Raises:
            ConnectionError: The connection is gone.
        """
        self._check()
        self.transport.write(data)

    async def start_tls(
        self,
        context: WrapsBio,
        server_hostname: str,
        timeout: float | None = None,
        shutdown_timeout: float | None = None,
    ) -> None:
        """Go on inside TLS, which works inside TLS too.  On failure the transport is closed.

        Args:
            context: A context, or what stands for one.
            server_hostname: The name to send and to check.
            timeout: Seconds that the handshake may take, None for 60.
            shutdown_timeout: Seconds that the closing handshake may take, None for 30.

        Raises:
            ssl.SSLError: TLS failed.
            OSError: The connection broke, or the handshake took too long.
        """
        self._check()
        if self._buffer:
            # Bytes from before the handshake must never be taken for bytes from inside it.
            self.abort()
            raise ConnectionResetError(
                errno.ECONNRESET, "the peer sent data before the TLS handshake"
            )
        below = self.transport
        upgraded = TlsTransport(self._loop, context, server_hostname, shutdown_timeout)
        below.set_protocol(upgraded)
        upgraded.connection_made(below)
        await upgraded.secured(timeout)
        self.transport = upgraded
        upgraded.set_protocol(self)

    def hand_over(self, connection: TransportTaker) -> None:
        """Give the transport, and bytes that are left, to `connection`; the stream is done.

        Raises:
            ConnectionError: The connection is gone.
        """
        self._check()
        transport, left = self.transport, bytes(self._buffer)
        self._buffer.clear()
        if self.can_leave:
            transport.set_protocol(cast("asyncio.BaseProtocol", connection))
        else:
            self._taker = connection
            transport = cast("asyncio.Transport", _PushingTransport(transport))
        connection.connection_made(transport)
        if left:
            connection.feed(left)
        if self._paused:
            self._paused = False
            transport.resume_reading()

    def close(self) -> None:
        """Close in order, in the background."""
        if hasattr(self, "transport") and not self.transport.is_closing():
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if hasattr(self, "transport"):
            self.transport.abort()

    @property
    def can_leave(self) -> bool:
        """Whether the transport takes another protocol: a program's own that pushes its bytes at
        the stream may not.
        """
        return (
            getattr(type(self.transport), "set_protocol", _NO_SET_PROTOCOL) is not _NO_SET_PROTOCOL
        )

    @property
    def unread(self) -> int:
        """Bytes that came and were not read."""
        return len(self._buffer)

    @property
    def peer(self) -> Any:
        """The peer's address, as `socket.getpeername` gives it."""
        return self.transport.get_extra_info("peername")

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The innermost TLS session, None outside TLS."""
        return cast("ssl.SSLObject | None", self.transport.get_extra_info("ssl_object"))

    @property
    def identified(self) -> bool:
        """Whether the innermost TLS peer asked for a certificate of ours."""
        return isinstance(self.transport, TlsTransport) and self.transport.identified

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._taker is not None:
            self._taker.feed(data)
            return
        self._buffer += data
        if len(self._buffer) >= HIGH_WATER and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        if self._taker is not None:
            return bool(self._taker.eof_received())
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._error = exc
        self._wake()
        if self._taker is not None:
            self._taker.connection_lost(exc)

    def set_exception(self, exc: Exception) -> None:
        """What aiohttp's protocols are told by that their transport has failed; the request raises
        it as it is.
        """
        exchange = getattr(self._taker, "exchange", None)
        if exchange is not None:
            exchange.fail(exc)
        self.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._taker is not None:
            self._taker.pause_writing()

    def resume_writing(self) -> None:
        if self._taker is not None:
            self._taker.resume_writing()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait_for_data(self, what: str) -> None:
        if self._ended:
            if isinstance(self._error, OSError):
                raise self._error
            got = bytes(self._buffer[:64])
            raise ConnectionResetError(
                errno.ECONNRESET, f"the peer closed, {what} expected, {got!r} came"
            )
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _check(self) -> None:
        if self._error is not None and isinstance(self._error, OSError):
            raise self._error
        if self._ended or self.transport.is_closing():
            raise ConnectionResetError(errno.ECONNRESET, "the peer closed the connection")
