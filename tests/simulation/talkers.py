"""A WebSocket's peer, by the websockets library: it answers each message with one that follows from
it, and may ping, close or break off.  It talks on a connection of HTTP/1.1's, or on a stream of
HTTP/2 or HTTP/3 (RFC 8441, RFC 9220)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol

from .origins import Asked, Origin, body_of


def reply_of(number: int, said: bytes, size: int) -> bytes:
    """What a message is answered with."""
    return body_of(f"{number} {said[:20]!r}", size)


#: Answers that a stream may talk, with further fields.
Accept = Callable[[list[tuple[str, str]]], Awaitable[None]]


class StreamTunnel:
    """The bytes of one stream, as `Stream` has those of a connection.

    Args:
        write: Sends, as flow control has room.
        end: Says that no more comes from this side.
        reset: Breaks off.
    """

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        end: Callable[[], None],
        reset: Callable[[], None],
    ) -> None:
        self.write = write
        self.end = end
        self.reset = reset
        self._came = bytearray()
        self._ended = False
        self._changed = asyncio.Event()

    def came(self, data: bytes) -> None:
        """The client sent something."""
        self._came += data
        self._changed.set()

    def ended(self) -> None:
        """The client sends no more."""
        self._ended = True
        self._changed.set()

    async def some(self) -> bytes:
        """What has come; b"" at the end."""
        while not self._came and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._came)
        self._came.clear()
        return data


class SocketPeer:
    """Opens WebSockets for an origin.

    Args:
        origin: What answers.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._dice = origin.dice

    async def __call__(self, stream: Any, request: Asked, event: Any) -> None:
        dice = self._dice
        extensions = [ServerPerMessageDeflateFactory()] if dice.random() < 0.7 else []
        engine = ServerProtocol(extensions=extensions)
        lines = [f"{event.method.decode()} {event.target.decode()} HTTP/1.1"]
        lines += [f"{name.decode()}: {value.decode('latin-1')}" for name, value in event.headers]
        engine.receive_data("\r\n".join((*lines, "", "")).encode("latin-1"))
        for said in engine.events_received():
            if isinstance(said, Handshake):
                engine.send_response(engine.accept(said))
        self._origin.ledger.seen["WebSockets"] += 1
        await self._talk(stream, request, engine)

    async def over(self, stream: StreamTunnel, request: Asked, accept: Accept) -> None:
        """Talk on a stream that asks for a WebSocket by an extended CONNECT.

        Args:
            stream: Its bytes.
            request: What was asked.
            accept: Answers 200, with these fields.
        """
        dice = self._dice
        extensions = [ServerPerMessageDeflateFactory()] if dice.random() < 0.7 else []
        offered = Headers()
        if offer := request.fields.get("sec-websocket-extensions"):
            offered["Sec-WebSocket-Extensions"] = offer
        said, chosen = ServerProtocol(extensions=extensions).process_extensions(offered)
        engine = Protocol(Side.SERVER)
        engine.extensions = chosen
        await accept([("sec-websocket-extensions", said)] if said else [])
        self._origin.ledger.seen["WebSockets on streams"] += 1
        await self._talk(stream, request, engine)

    async def _talk(self, stream: Any, request: Asked, engine: Protocol) -> None:
        dice = self._dice
        left = dice.choice((1, 3, 1_000))  # messages until it ends, in whatever way
        while await self._flush(stream, engine):
            data = await stream.some()
            if data:
                engine.receive_data(data)
            else:
                engine.receive_eof()
            for frame in engine.events_received():
                if isinstance(frame, Frame) and frame.opcode in {Opcode.TEXT, Opcode.BINARY}:
                    left -= 1
                    self._answer(engine, request, frame)
            if left <= 0 and engine.state is State.OPEN:
                left = 1_000
                if not await self._end(stream, engine, dice):
                    return

    async def _flush(self, stream: Any, engine: Protocol) -> bool:
        """Send what there is; whether there can be more."""
        for data in engine.data_to_send():
            if data:
                await stream.write(data)
            else:
                stream.end()
        return (engine.state is not State.CLOSED and not engine.close_expected()) or (
            engine.state is State.CLOSING
        )

    def _answer(self, engine: Protocol, request: Asked, frame: Frame) -> None:
        dice = self._dice
        reply = reply_of(request.number, bytes(frame.data), request.size)
        try:
            if dice.random() < 0.2:
                engine.send_ping(b"there?")
            if frame.opcode is Opcode.TEXT:
                engine.send_text(reply.hex().encode())
            elif len(reply) > 100 and dice.random() < 0.5:
                engine.send_binary(reply[:50], fin=False)
                engine.send_continuation(reply[50:], fin=True)
            else:
                engine.send_binary(reply)
        except InvalidState:
            return  # the client has said that it closes

    async def _end(self, stream: Any, engine: Protocol, dice: random.Random) -> bool:
        """End in one of several ways; whether in an orderly one."""
        if dice.random() < 0.5:
            engine.send_close(1001, "enough")
            return True
        await self._flush(stream, engine)
        if dice.random() < 0.5:
            stream.reset()
        return False
