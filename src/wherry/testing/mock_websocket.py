"""WebSockets of a mock: what the program meets there is a coroutine of its own, or a list of
messages.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Self

from wherry.testing.inprocess import InProcessExchange
from wherry.testing.inprocess_websocket import InProcessSocket

__all__ = ("MockWebSocket",)

Handler = Callable[["MockWebSocket"], Awaitable[None]]


class MockWebSocket:
    """The server's end of a WebSocket that a mock opened.  Iterate over it for what the program
    sends.

    Attributes:
        call: The request that opened it; its `messages` are what the program has sent.
    """

    def __init__(self, exchange: InProcessExchange, call: Any, failures: list[Exception]) -> None:
        self.call = call
        self._failures = failures
        self._socket = InProcessSocket(exchange)
        self._ended = False

    async def receive(self) -> str | bytes:
        """The program's next message.

        Raises:
            EOFError: It has closed the WebSocket.
        """
        while True:
            message = await self._socket.receive()
            kind = message["type"]
            if kind == "websocket.disconnect":
                self._ended = True
                raise EOFError("the client has closed the WebSocket")
            if kind == "websocket.receive":
                data: str | bytes = message["text"] if "text" in message else message["bytes"]
                self.call.messages.append(data)
                return data

    async def receive_json(self) -> Any:
        """The program's next message, as JSON."""
        return json.loads(await self.receive())

    async def send(self, data: Any) -> None:
        """Send `data`: text (str), bytes, or any other value as JSON."""
        if isinstance(data, (bytes, bytearray, memoryview)):
            await self._socket.send({"type": "websocket.send", "bytes": bytes(data)})
        else:
            text = data if isinstance(data, str) else json.dumps(data)
            await self._socket.send({"type": "websocket.send", "text": text})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it with `code` and `reason`, and wait for the program's answer."""
        await self._socket.send({"type": "websocket.close", "code": code, "reason": reason})
        while not self._ended:
            try:
                await self.receive()
            except EOFError:
                break

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except EOFError:
            raise StopAsyncIteration from None

    async def serve(
        self, messages: Iterable[Any], handler: Handler | None, protocol: str | None
    ) -> None:
        """Accept, send `messages`, and let `handler` talk; without one, take what comes until the
        program closes.
        """
        await self._socket.send({"type": "websocket.accept", "subprotocol": protocol})
        try:
            for message in messages:
                await self.send(message)
            if handler is not None:
                await handler(self)
                if not self._ended:
                    await self.close()
            else:
                async for _ in self:
                    pass
        except ConnectionResetError:
            pass  # the program has closed it, which is no failure
        except Exception as exc:
            self._failures.append(exc)
            if not self._ended:
                await self.close(1011, "the mock's handler failed")
        finally:
            self._socket.close()
