"""WebSockets of a cassette: what both ends say is written down in order, and the server's part
played from it later.

A message on the tape is ``{"from": "server", "text": ...}``, with ``"base64"`` in place of
``"text"`` for a binary one, ``"close"`` (the code) and ``"reason"`` for the end, or ``"lost":
true`` where the connection broke.  PING and PONG are not kept, and nothing is compressed: the real
server is not offered that.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from wherry.protocol.connection import Exchange, Tunnel
from wherry.protocol.websocket.frames import FrameReader, FrameWriter
from wherry.protocol.websocket.messages import WSMsgType
from wherry.testing.inprocess import InProcessExchange
from wherry.testing.inprocess_websocket import InProcessSocket

__all__ = ("TapedSocket",)

Taped = dict[str, Any]
# The server is stopped while so many of its messages wait for the program.
_FULL = 64
_NO_STATUS = 1005
_NOT_ON_TAPE = 1011


class TapedSocket(InProcessSocket):
    """The program's WebSocket, recorded or played.

    Args:
        exchange: Of which it is the tunnel.
        tape: The messages, to be added to or to be played.
        keep: What is kept of a message's bytes.
    """

    __slots__ = ("_keep", "_paused", "_tape", "_tunnel", "_writer")

    def __init__(
        self, exchange: InProcessExchange, tape: list[Taped], keep: Callable[[bytes], bytes]
    ) -> None:
        super().__init__(exchange)
        self._tape = tape
        self._keep = keep
        self._writer = FrameWriter()
        self._tunnel: Tunnel | None = None
        self._paused = False

    def _unread(self) -> Iterator[dict[str, Any]]:
        """What the program said that nobody has received: it may close, and be gone, at any
        time.
        """
        while not self._queue.empty():
            yield self._queue.get_nowait()

    def _taped(self, who: str, message: dict[str, Any]) -> Taped:
        if "text" in message:
            return {"from": who, "text": self._keep(message["text"].encode()).decode()}
        return {"from": who, "base64": base64.b64encode(self._keep(message["bytes"])).decode()}

    # --- recording --------------------------------------------------------------------------------

    async def record(self, real: Exchange, max_size: int) -> None:
        """Pass on what both ends say, until one of them ends it; `real` is the exchange with the
        server.
        """
        self._tunnel = tunnel = real.upgrade(_Far(self, FrameReader(max_size)))
        try:
            while await self._pass_on(await self.receive(), tunnel):
                pass
            await asyncio.sleep(0)  # a Close of the program's is answered first
        except ConnectionResetError:
            pass  # the program has closed it
        finally:
            for message in self._unread():
                if not message["type"].startswith("server"):
                    self._pass_to_server(message, tunnel)
            tunnel.close()
            self.close()

    def tell(self, kind: str, **facts: Any) -> None:
        """The server said something, or is gone."""
        self._queue.put_nowait({"type": kind, **facts})
        if self._queue.qsize() > _FULL and self._tunnel is not None and not self._paused:
            self._paused = True
            self._tunnel.pause_reading()

    async def _pass_on(self, message: dict[str, Any], tunnel: Tunnel) -> bool:
        """Whether there may be more."""
        if self._paused and self._queue.empty():
            self._paused = False
            tunnel.resume_reading()
        kind = message["type"]
        if kind == "server.ping":
            tunnel.write(self._writer.encode(WSMsgType.PONG, message["bytes"]))
        elif kind == "server.message":
            self._tape.append(self._taped("server", message))
            await self.send({**message, "type": "websocket.send"})
        elif kind == "server.close":
            self._tape.append(
                {"from": "server", "close": message["code"], "reason": message["reason"]}
            )
            await self._say_close(message["code"], message["reason"])
        elif kind == "server.lost":
            if not self._is_over:
                self._tape.append({"from": "server", "lost": True})
            return False
        else:
            return self._pass_to_server(message, tunnel)
        return True

    def _pass_to_server(self, message: dict[str, Any], tunnel: Tunnel) -> bool:
        kind = message["type"]
        if kind == "websocket.connect" or tunnel.is_closing():
            return True
        if kind == "websocket.receive":
            self._tape.append(self._taped("client", message))
            text = message.get("text")
            opcode, data = (
                (WSMsgType.BINARY, message["bytes"])
                if text is None
                else (WSMsgType.TEXT, text.encode())
            )
            tunnel.write(self._writer.encode(opcode, data))
            return True
        code, reason = message["code"], message["reason"]
        if not self._is_over:
            self._tape.append({"from": "client", "close": code, "reason": reason})
        with suppress(ValueError):  # it is gone without a word, or with one that must not be sent
            empty = code == _NO_STATUS
            tunnel.write(
                self._writer.encode(WSMsgType.CLOSE, b"")
                if empty
                else self._writer.encode_close(code, reason.encode())
            )
        return False

    @property
    def _is_over(self) -> bool:
        return bool(self._tape) and "close" in self._tape[-1]

    async def _say_close(self, code: int, reason: str) -> None:
        if code == _NO_STATUS:
            self._give(WSMsgType.CLOSE, b"")
        else:
            await self.send({"type": "websocket.close", "code": code, "reason": reason})

    # --- playing ----------------------------------------------------------------------------------

    async def play(self, complain: Callable[[str], None]) -> None:
        """Say what the server said, each after what the program had said before it.

        Args:
            complain: Told of a message of the program's that is not on the tape, which then closes
                with 1011.
        """
        script = iter(self._tape)
        try:
            for taped in script:
                if taped["from"] == "server":
                    if "lost" in taped:
                        break
                    await self._say(taped)
                elif not await self._hears(taped, complain):
                    break
            else:
                await self._hears(None, complain)
            await asyncio.sleep(0)
        except ConnectionResetError:
            pass  # the program has closed it
        finally:
            said = [
                self._taped("client", each)
                for each in self._unread()
                if each["type"] == "websocket.receive"
            ]
            left = [taped for taped in script if taped["from"] == "client" and "close" not in taped]
            if said != left[: len(said)]:
                complain(str(said))
            self.close()

    async def _say(self, taped: Taped) -> None:
        if "close" in taped:
            await self._say_close(taped["close"], taped["reason"])
        elif "text" in taped:
            await self.send({"type": "websocket.send", "text": taped["text"]})
        else:
            await self.send({"type": "websocket.send", "bytes": base64.b64decode(taped["base64"])})

    async def _hears(self, wanted: Taped | None, complain: Callable[[str], None]) -> bool:
        """Whether the program says what it said then; False as well when it has closed the
        WebSocket.
        """
        while (message := await self.receive())["type"] == "websocket.connect":
            pass
        if message["type"] == "websocket.disconnect":
            return False
        said = self._taped("client", message)
        if said == wanted:
            return True
        complain(str(said))
        await self._say_close(_NOT_ON_TAPE, "not on the cassette")
        while (await self.receive())["type"] != "websocket.disconnect":
            pass
        return False


class _Far:
    """Who reads what the real server sends."""

    def __init__(self, socket: TapedSocket, reader: FrameReader) -> None:
        self._socket = socket
        self._reader = reader

    def data_received(self, data: bytes) -> None:
        tell, reader = self._socket.tell, self._reader
        while True:
            for message in reader.receive(data):
                kind: WSMsgType = message.type
                if kind is WSMsgType.TEXT:
                    tell("server.message", text=message.data)
                elif kind is WSMsgType.BINARY:
                    tell("server.message", bytes=bytes(message.data))
                elif kind is WSMsgType.PING:
                    tell("server.ping", bytes=bytes(message.data))
                elif kind is WSMsgType.CLOSE:
                    tell(
                        "server.close", code=message.data or _NO_STATUS, reason=message.extra or ""
                    )
            if reader.error is not None:
                tell("server.lost")
            if not (reader.eventful and reader.stalled):
                return
            data = b""

    def eof_received(self) -> None:
        """Its end follows."""

    def connection_lost(self, exc: BaseException | None) -> None:
        self._socket.tell("server.lost")

    def pause_writing(self) -> None:
        """Tests say little at a time."""

    def resume_writing(self) -> None:
        """Nothing was paused."""
