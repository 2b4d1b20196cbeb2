"""A WebSocket inside the process: the tunnel of an exchange, whose other end is an ASGI
application.

The client's frames (RFC 6455 5.2) are read here, and the application's are made; it agrees to no
extension.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from typing import Any

from wherry.errors import ClientConnectionResetError
from wherry.protocol.connection import Tunnel, TunnelReceiver
from wherry.testing.inprocess import InProcessExchange

__all__ = ("InProcessSocket",)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


class InProcessSocket(Tunnel):
    """Both ends of a WebSocket: the client writes frames, the application receives and sends ASGI's
    messages.
    """

    __slots__ = (
        "_buffer",
        "_closed",
        "_exchange",
        "_message",
        "_opcode",
        "_queue",
        "_receiver",
        "_room",
        "_waiting",
    )

    def __init__(self, exchange: InProcessExchange) -> None:
        self._exchange = exchange
        self._receiver: TunnelReceiver | None = None
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._queue.put_nowait({"type": "websocket.connect"})
        self._buffer = bytearray()
        self._message = bytearray()
        self._opcode = 0
        self._waiting: list[bytes] = []  # frames from before the client took the tunnel
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        exchange.socket = self

    # --- the application's side -------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        return await self._queue.get()

    async def send(self, message: Any) -> None:
        kind, exchange = message["type"], self._exchange
        if self._closed or exchange.disconnected.is_set():
            raise ConnectionResetError("the client has closed the WebSocket")
        if kind == "websocket.accept":
            key = exchange.fields.get("Sec-WebSocket-Key", "").encode()
            accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
            fields = [
                (b"Upgrade", b"websocket"),
                (b"Connection", b"Upgrade"),
                (b"Sec-WebSocket-Accept", accept),
            ]
            if message.get("subprotocol"):
                fields.append((b"Sec-WebSocket-Protocol", message["subprotocol"].encode()))
            fields += [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            exchange.respond(101, fields, "Switching Protocols")
        elif kind == "websocket.close" and exchange.head is None:
            exchange.respond(403, [], "Forbidden")  # ASGI: refused before it was accepted
            exchange.finish()
        elif kind == "websocket.close":
            code = struct.pack("!H", message.get("code", 1000))
            self._give(_CLOSE, code + (message.get("reason") or "").encode())
        elif kind == "websocket.send":
            text = message.get("text")
            self._give(_TEXT, text.encode()) if text is not None else self._give(
                _BINARY, bytes(message["bytes"])
            )
            await self._room.wait()
        else:
            raise RuntimeError(
                f"the application sent {kind!r}, which has no place in a websocket scope"
            )

    def _give(self, opcode: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = bytes((0x80 | opcode, size))
        elif size < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
        if self._receiver is None:
            self._waiting.append(head + data)
        else:
            self._receiver.data_received(head + data)

    # --- the client's side ------------------------------------------------------------------------

    def attach(self, receiver: TunnelReceiver) -> None:
        """The client takes the tunnel; what was sent before follows as soon as it waits for it."""
        asyncio.get_running_loop().call_soon(self._open, receiver)

    def _open(self, receiver: TunnelReceiver) -> None:
        self._receiver = receiver
        waiting, self._waiting = self._waiting, []
        for frame in waiting:
            receiver.data_received(frame)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._buffer += data
        while self._next_frame():
            pass

    def _next_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, at = buffer[1] & 0x7F, 2
        if size > 125:
            at = 4 if size == 126 else 10
            if len(buffer) < at:
                return False
            size = int.from_bytes(buffer[2:at])
        if len(buffer) < at + 4 + size:
            return False
        # RFC 6455 5.3: what a client sends is masked.
        key = (bytes(buffer[at : at + 4]) * (size // 4 + 1))[:size]
        plain = (int.from_bytes(buffer[at + 4 : at + 4 + size]) ^ int.from_bytes(key)).to_bytes(
            size
        )
        first = buffer[0]
        del buffer[: at + 4 + size]
        self._take(first & 0x0F, bool(first & 0x80), plain)
        return True

    def _take(self, opcode: int, final: bool, data: bytes) -> None:
        if opcode == _PING:
            asyncio.get_running_loop().call_soon(self._give, _PONG, data)
        elif opcode == _CLOSE:
            code = int.from_bytes(data[:2]) if data else 1005
            # Before the application wakes: its end cuts what is not answered yet.
            asyncio.get_running_loop().call_soon(self._answer_close, data)
            self._queue.put_nowait(
                {"type": "websocket.disconnect", "code": code, "reason": data[2:].decode()}
            )
        elif opcode != _PONG:
            self._opcode = opcode or self._opcode
            self._message += data
            if final:
                whole = bytes(self._message)
                self._message.clear()
                kept = {"text": whole.decode()} if self._opcode == _TEXT else {"bytes": whole}
                self._queue.put_nowait({"type": "websocket.receive", **kept})

    def _answer_close(self, data: bytes) -> None:
        if not self._closed:
            self._give(_CLOSE, data)
            self.close()

    def pause_reading(self) -> None:
        self._room.clear()

    def resume_reading(self) -> None:
        self._room.set()

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._room.set()
        self._queue.put_nowait({"type": "websocket.disconnect", "code": 1006, "reason": ""})
        self._exchange.finish()
        if self._receiver is not None:
            self._receiver.connection_lost(None)

    def abort(self) -> None:
        self.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    @property
    def transport(self) -> None:
        return None
