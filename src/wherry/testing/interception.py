"""Makes the connections of every session of the process while it is entered: mocks and cassettes
stand on it.

Connections that were kept from before would pass it by: they carry what they carry to the end, and
nothing more.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self

from wherry.connect.base_connector import BaseConnector, loop_of
from wherry.connect.connect_request import ConnectRequest
from wherry.connect.dial_settings import DialSettings
from wherry.connect.hooks import HOOKS, Dial, all_connectors
from wherry.connect.route import Route
from wherry.protocol.connection import Connection

__all__ = ("Dial", "Interception")


class Interception(ABC):
    """A context manager that makes the connections of every session while it is entered."""

    _before: Dial | None = None

    @abstractmethod
    async def _dial(
        self, route: Route, settings: Any, connect_request: ConnectRequest, really: Dial
    ) -> Connection:
        """A connection; `really` makes one as it would have been made."""

    def __enter__(self) -> Self:
        if self._before is not None:
            raise RuntimeError(f"this {type(self).__name__} is entered already")
        self._before = really = HOOKS.dial

        def dial(
            route: Route, settings: DialSettings, connect_request: ConnectRequest
        ) -> Awaitable[Connection]:
            return self._dial(route, settings, connect_request, really)

        HOOKS.dial = dial
        _retire_connections()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._before is not None:
            HOOKS.dial, self._before = self._before, None
        _retire_connections()


def _retire_connections() -> None:
    """Let no kept connection carry another request.  Loops of other threads hear of it in their
    next turn.
    """
    running = asyncio._get_running_loop()
    for connector in all_connectors():
        loop = loop_of(connector)
        if connector.closed or loop.is_closed():
            continue
        if loop is running or not loop.is_running():
            _retire_all(connector)
        else:
            loop.call_soon_threadsafe(_retire_all, connector)


def _retire_all(connector: BaseConnector) -> None:
    for connection in list(connector.pool.all_connections()):
        if connection.is_idle or connection.version.major > 1:
            connection.retire()
        elif connection.owner is not None:
            connection.owner = _LastOwner(connection.owner)


class _LastOwner:
    """Owns a connection that carries its last exchange."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def connection_available(self, connection: Connection) -> None:
        connection.owner = self._owner
        connection.close()

    def connection_lost(self, connection: Connection) -> None:
        self._owner.connection_lost(connection)

    def exchanges_refused(self, connection: Connection, carried: int) -> None:
        self._owner.exchanges_refused(connection, carried)

    def protocol_refused(self, connection: Connection) -> bool:
        refused: bool = self._owner.protocol_refused(connection)
        return refused
