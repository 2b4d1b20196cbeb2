"""A WebSocket's peer, by the websockets library: it answers each message with one that follows from
it, and may ping, close or break off."""

from __future__ import annotations

import random
from typing import Any

from websockets.exceptions import InvalidState
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from .origins import Asked, Origin, body_of


def reply_of(number: int, said: bytes, size: int) -> bytes:
    """What a message is answered with."""
    return body_of(f"{number} {said[:20]!r}", size)


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

    async def _flush(self, stream: Any, engine: ServerProtocol) -> bool:
        """Send what there is; whether there can be more."""
        for data in engine.data_to_send():
            if data:
                await stream.write(data)
            else:
                stream.end()
        return (engine.state is not State.CLOSED and not engine.close_expected()) or (
            engine.state is State.CLOSING
        )

    def _answer(self, engine: ServerProtocol, request: Asked, frame: Frame) -> None:
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

    async def _end(self, stream: Any, engine: ServerProtocol, dice: random.Random) -> bool:
        """End in one of several ways; whether in an orderly one."""
        if dice.random() < 0.5:
            engine.send_close(1001, "enough")
            return True
        await self._flush(stream, engine)
        if dice.random() < 0.5:
            stream.reset()
        return False
