"""`response.connection`: what a response shows of the connection under it."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from wherry.client.upgraded_stream import RawStream, UpgradedResponse
from wherry.protocol.connection import Exchange


class ConnectedResponse(UpgradedResponse, Protocol):
    """What is asked of a response whose connection is looked at."""

    status: int
    _raw_stream: RawStream | None

    def close(self) -> None: ...

    def release(self) -> Any: ...


class ResponseConnection:
    """What `ClientResponse.connection` shows: the transport under an exchange, and how to end
    it.
    """

    __slots__ = ("_exchange", "_response")

    def __init__(self, response: ConnectedResponse, exchange: Exchange) -> None:
        self._response = response
        self._exchange = exchange

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._exchange.connection.transport

    @property
    def protocol(self) -> Any:
        """What speaks on the transport; after a 101 a `RawStream`, for a parser of the program's
        own.
        """
        response = self._response
        if response.status != 101:
            return self._exchange.connection
        if response._raw_stream is None:
            response._raw_stream = RawStream(response, self._exchange)
        return response._raw_stream

    @property
    def closed(self) -> bool:
        transport = self.transport
        return transport is None or transport.is_closing()

    def close(self) -> None:
        self._response.close()

    def release(self) -> None:
        self._response.release()


class SocketParts:
    """What programs find under the private names of a WebSocket in aiohttp: its transport."""

    __slots__ = ("transport",)
    # The queue of messages that such programs empty by themselves where there is one.
    _payload = None

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self.transport: asyncio.Transport | None = transport

    @property
    def protocol(self) -> SocketParts:
        return self

    @property
    def closed(self) -> bool:
        return self.transport is None or self.transport.is_closing()


class _Noop:
    """What `release` gives back, so that programs which await it go on."""

    __slots__ = ()

    def __await__(self) -> Any:
        return
        yield


_NOOP = _Noop()
