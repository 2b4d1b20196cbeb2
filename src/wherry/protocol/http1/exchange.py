"""One request and its response on an HTTP/1.1 connection, and the raw bytes after a switch of
protocols.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Any

from wherry.errors import (
    ClientConnectionError,
    ClientConnectionResetError,
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ServerDisconnectedError,
)
from wherry.protocol.connection import Connection, Exchange, Tunnel, TunnelReceiver
from wherry.protocol.heads import FieldPairs, ResponseHead
from wherry.protocol.limits import Limits


class Http1Carrier(Connection):
    """What exchanges and tunnels ask of the connection that carries them."""

    __slots__ = ()

    exchange: Http1Exchange | None

    @abstractmethod
    async def drain(self) -> None:
        """Wait until the transport takes more data."""

    @abstractmethod
    def abandon(self) -> None:
        """Give up the exchange under way, and the connection with it."""

    @abstractmethod
    def pause_reading(self) -> None: ...

    @abstractmethod
    def resume_reading(self) -> None: ...

    @abstractmethod
    def open_tunnel(self, exchange: Http1Exchange, receiver: TunnelReceiver) -> Tunnel:
        """Hand the raw bytes to `receiver` (RFC 9110 7.8)."""

    @abstractmethod
    def eof_received(self) -> bool: ...

    @abstractmethod
    def connection_lost(self, exc: Exception | None) -> None: ...

    @abstractmethod
    def pause_writing(self) -> None: ...

    @abstractmethod
    def resume_writing(self) -> None: ...


# A chunk is copied to go out in one write up to so many bytes.
CHUNK_JOIN_LIMIT = 64 * 1024


class Http1Exchange(Exchange):
    """One request and its response on an HTTP/1 connection."""

    __slots__ = ("_ended", "asks_to_switch", "chunked", "expects_body", "limits")

    connection: Http1Carrier

    # Set by `Http1Connection.start`, which makes an exchange with one call.
    _ended: bool  # the request's body is out
    chunked: bool
    asks_to_switch: bool
    expects_body: bool  # RFC 9112 6.3: a response to HEAD has none, whatever its fields say
    limits: Limits  # what the server may send

    @property
    def request_ended(self) -> bool:
        return self._ended

    def send(self, data: bytes | bytearray | memoryview) -> None:
        if self._ended:
            raise RuntimeError("the request's body has ended")
        if not data:
            return  # an empty chunk would end the body
        transport = self._writable()
        if self.chunked:
            # Not `writelines`: CPython's of 3.12.0 to 3.12.8, 3.13.0 and 3.13.1 never tells the
            # protocol that the transport is full (CVE-2024-12254).
            if len(data) <= CHUNK_JOIN_LIMIT:
                transport.write(b"".join((b"%x\r\n" % len(data), data, b"\r\n")))
            else:
                transport.write(b"%x\r\n" % len(data))
                transport.write(data)
                transport.write(b"\r\n")
        else:
            transport.write(data)

    async def drain(self) -> None:
        await self.connection.drain()

    def end(self, trailers: FieldPairs = ()) -> None:
        if self._ended:
            return
        if self.chunked:
            lines = "".join([f"{name}: {value}\r\n" for name, value in trailers])
            self._writable().write(b"0\r\n%b\r\n" % lines.encode("utf-8", "surrogateescape"))
        self._ended = True

    def _writable(self) -> asyncio.Transport:
        transport = self.connection.transport
        if self.error is not None:
            raise self.error
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to a closing transport")
        return transport

    def cancel(self) -> None:
        if not self.state.complete and self.connection.exchange is self:
            self.fail(ClientConnectionError("Connection closed"))
            self.connection.abandon()

    def pause_reading(self) -> None:
        self.connection.pause_reading()

    def resume_reading(self) -> None:
        self.connection.resume_reading()

    def upgrade(self, receiver: TunnelReceiver) -> Tunnel:
        return self.connection.open_tunnel(self, receiver)


class Http1Tunnel(Tunnel):
    """The transport of an HTTP/1 connection after 101 Switching Protocols."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Http1Carrier) -> None:
        self._connection = connection

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._connection.transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        transport.write(data)

    def pause_reading(self) -> None:
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        self._connection.resume_reading()

    def is_closing(self) -> bool:
        transport = self._connection.transport
        return transport is None or transport.is_closing()

    def close(self) -> None:
        if not self.is_closing() and self._connection.transport is not None:
            self._connection.transport.close()

    def abort(self) -> None:
        if self._connection.transport is not None:
            self._connection.transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        transport = self._connection.transport
        return default if transport is None else transport.get_extra_info(name, default)

    @property
    def unsent(self) -> int:
        transport = self._connection.transport
        return 0 if transport is None else transport.get_write_buffer_size()


class _TunnelProtocol(asyncio.Protocol):
    """What the transport gives a tunnel's bytes to: they go straight to the receiver, in no buffer
    of the connection.

    Args:
        connection: Hears of all else, and passes it on.
        receiver: Takes the bytes.
    """

    __slots__ = ("_connection", "data_received")

    def __init__(self, connection: Http1Carrier, receiver: TunnelReceiver) -> None:
        self._connection = connection
        self.data_received = receiver.data_received  # type: ignore[method-assign]

    def eof_received(self) -> bool:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


def ended_early(head: ResponseHead | None, cause: Exception | None, peer: str) -> ClientError:
    """The error of an exchange whose connection ended before the response was whole.

    Args:
        head: The response's head, None where none came.
        cause: What the transport said, None for an orderly end.
        peer: The server's name, for the message.
    """
    error: ClientError
    if head is not None and head.status != 101:
        error = ClientPayloadError(
            f"Response payload is not completed: the connection to {peer} ended inside the body"
            + (f" ({cause!r})" if cause is not None else "")
        )
    elif cause is None:
        error = ServerDisconnectedError(f"Server disconnected: {peer} closed without a response")
    elif isinstance(cause, OSError):
        error = ClientOSError(cause.errno, f"{cause.strerror or cause} ({peer})")
    else:
        error = ClientConnectionError(f"{cause!r} ({peer})")
    error.__cause__ = cause
    return error
