"""What `response.connection.protocol` is after a 101: the raw bytes of both directions, for a
parser of the program's.

Programs that speak another protocol on an upgraded connection (Docker's exec, for one) know these
names from aiohttp.  Nothing is read before a parser is there, so that nothing is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

from wherry.errors import ClientConnectionResetError
from wherry.protocol.connection import Exchange, Tunnel
from wherry.protocol.write_gate import WriteGate


class UpgradedResponse(Protocol):
    """What a raw stream asks of its response."""

    _on_close: Callable[[], None] | None

    def _settle(self) -> None: ...


class RawParser(Protocol):
    """What a program gives: takes the bytes as they come, and says where its protocol ends."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take `data`; (whether all has come, what is left over)."""

    def feed_eof(self) -> None:
        """No more will come."""


class RawStream:
    """The bytes of an exchange that switched protocols.

    Args:
        response: The 101; when it is closed or forgotten, so is this.
        exchange: Its exchange.
    """

    __slots__ = (
        "_exchange",
        "_parser",
        "_payload",
        "_reading_paused",
        "_response",
        "_tunnel",
        "_write_gate",
    )

    def __init__(self, response: UpgradedResponse, exchange: Exchange) -> None:
        self._response = ref(response, self._forgotten)
        self._exchange = exchange
        self._tunnel: Tunnel | None = None
        self._parser: RawParser | None = None
        self._payload: Any = None
        self._reading_paused = False
        self._write_gate = WriteGate()

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport, None once it is closed."""
        return self._exchange.connection.transport

    @property
    def connected(self) -> bool:
        """Whether there is a transport that is not closing."""
        transport = self.transport
        return transport is not None and not transport.is_closing()

    def set_parser(self, parser: RawParser, payload: Any) -> None:
        """Begin to read: what comes, and what came with the head, goes to `parser`.

        Args:
            parser: Takes the bytes.
            payload: Where it puts what it has parsed; told by `set_exception` if the connection
                breaks.

        Raises:
            ClientConnectionResetError: The connection is gone.
        """
        self._parser = parser
        self._payload = payload
        response = self._response()
        if self._tunnel is None and response is not None:
            self._tunnel = self._exchange.upgrade(self)
            response._settle()  # the request is over: no deadline watches it any more
            response._on_close = self.close

    def force_close(self) -> None:
        """Nothing to do: a connection that switched protocols is never used again."""

    def close(self) -> None:
        """Close after what was written is out."""
        if self._tunnel is not None:
            self._tunnel.close()

    def abort(self) -> None:
        """Close at once."""
        if self._tunnel is not None:
            self._tunnel.abort()

    def pause_reading(self) -> None:
        """Stop reading: the program has enough for now."""
        self._reading_paused = True
        if self._tunnel is not None:
            self._tunnel.pause_reading()

    def resume_reading(self) -> None:
        """Read on: the program has room again."""
        self._reading_paused = False
        if self._tunnel is not None:
            self._tunnel.resume_reading()

    async def _drain_helper(self) -> None:
        """Wait until the transport takes more; the name is the one that programs know.

        Raises:
            ClientConnectionResetError: The connection is gone.
        """
        if not self.connected:
            raise ClientConnectionResetError("Connection lost")
        await self._write_gate.wait()

    def _forgotten(self, _gone: object) -> None:
        transport = self.transport
        if transport is not None:
            self.close()

    # --- what the tunnel says ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes for the parser; after its end, or its failure, they are nobody's."""
        parser = self._parser
        if parser is None:
            return
        try:
            ended, _ = parser.feed_data(data)
        except Exception as exc:
            self._parser = None
            self._fail(exc)
            self.close()
            return
        if ended:
            self._parser = None

    def eof_received(self) -> None:
        """The peer has said all; `connection_lost` follows."""

    def connection_lost(self, exc: BaseException | None) -> None:
        parser, self._parser = self._parser, None
        if parser is not None:
            if exc is not None:
                self._fail(exc)
            with contextlib.suppress(Exception):
                parser.feed_eof()
        self._write_gate.lose()

    def pause_writing(self) -> None:
        self._write_gate.paused = True

    def resume_writing(self) -> None:
        self._write_gate.resume()

    def _fail(self, exc: BaseException) -> None:
        tell = getattr(self._payload, "set_exception", None)
        if tell is not None:
            tell(exc)
