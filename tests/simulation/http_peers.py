"""Peers that speak HTTP/1.1 by h11 and HTTP/2 by h2 for an origin, correctly or with its faults."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import h11

from .network import Stream
from .origins import Answer, Asked, Origin, asked, fields_of
from .talkers import SocketPeer, StreamTunnel
from .tls import TlsStream

#: Writes to an HTTP/1.1 connection that is no more HTTP; whether it did.
Upgrades = Any


class Http1Peer:
    """Speaks HTTP/1.1, by h11.

    Args:
        origin: What answers.
        upgrade: Takes the connection over for a request that is none of HTTP's own.
    """

    def __init__(self, origin: Origin, upgrade: Upgrades = None) -> None:
        self._origin = origin
        self._dice = origin.dice
        self._upgrade = upgrade

    async def __call__(self, stream: Stream | TlsStream) -> None:
        engine = h11.Connection(h11.SERVER)
        try:
            while await self._answer(stream, engine):
                engine.start_next_cycle()
        except h11.RemoteProtocolError:
            # A client that was cancelled may have left in the midst of a request.
            return

    async def _next(self, stream: Any, engine: h11.Connection) -> Any:
        while (event := engine.next_event()) is h11.NEED_DATA:
            engine.receive_data(await stream.some())
        return event

    async def _answer(self, stream: Any, engine: h11.Connection) -> bool:
        event = await self._next(stream, engine)
        if not isinstance(event, h11.Request):
            return False
        fields = fields_of(event.headers)
        self._look_at(fields)
        request = asked(event.method.decode(), event.target.decode(), fields)
        if request.kind == "early":
            await self._respond(stream, engine, request, Answer(413, [], b"too much"))
            return False
        if self._upgrade is not None and request.kind == "socket":
            await self._upgrade(stream, request, event)
            return False
        body = bytearray()
        while isinstance(part := await self._next(stream, engine), h11.Data):
            body += part.data
        if not isinstance(part, h11.EndOfMessage):
            return False
        answer = self._execute(request, bytes(body))
        if request.kind in {"silent", "late", "garbage", "cut", "reset", "gzipcut"} and (
            not await self._fault(stream, request, answer)
        ):
            return False
        if request.kind in {"close", "gzipclose", "untidy", "halfrecord"}:
            await self._until_close(stream, request, answer)
            return False
        return await self._respond(stream, engine, request, answer)

    def _execute(self, request: Asked, body: bytes) -> Answer:
        return self._origin.execute(request, body)

    def _look_at(self, fields: dict[str, str]) -> None:
        self._origin.look_at(fields)

    async def _fault(self, stream: Any, request: Asked, answer: Answer) -> bool:
        """Do something wrong; whether the answer follows all the same."""
        kind, content = request.kind, answer.content or b""
        if kind == "silent":
            await asyncio.sleep(1_000)
            return False
        if kind == "late":
            await asyncio.sleep(self._dice.uniform(0, 3))
            return True
        if kind == "garbage":
            await stream.write(b"HTTP/1.1 2OO what\r\n\r\n")
            return False
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.fields)
        whole = (
            f"HTTP/1.1 200 OK\r\nContent-Length: {len(content) + 1}\r\n{head}\r\n".encode()
            + content
        )
        await stream.write(whole[: self._dice.randrange(len(whole) + 1)])
        if kind == "reset":
            stream.reset()
        return False

    async def _until_close(self, stream: Any, request: Asked, answer: Answer) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.fields)
        content = b"" if request.method == "HEAD" else answer.content or b""
        kind = request.kind
        if kind in {"untidy", "halfrecord"}:
            content = content[: self._dice.randrange(len(content) + 1)]
        await stream.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n".encode() + content)
        if isinstance(stream, TlsStream) and kind in {"untidy", "halfrecord"}:
            stream.cut(within=kind == "halfrecord")

    async def _respond(
        self, stream: Any, engine: h11.Connection, request: Asked, answer: Answer
    ) -> bool:
        dice = self._dice
        ends = answer.status == 413 or dice.random() < 0.1
        headers = list(answer.fields)
        if answer.content is not None:
            chunked = request.kind == "chunked" or (request.kind == "gzip" and dice.random() < 0.5)
            headers.append(
                ("transfer-encoding", "chunked")
                if chunked
                else ("content-length", str(len(answer.content)))
            )
        if ends and dice.random() < 0.5:
            headers.append(("connection", "close"))
        out = engine.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        left = b"" if request.method == "HEAD" else answer.content or b""
        # Many pieces find no more than some do, and cost more.
        size = max(dice.choice((100, 5_000, 70_000, 70_000)), len(left) // 40)
        for at in range(0, len(left), size):
            out += engine.send(h11.Data(data=left[at : at + size])) or b""
            if dice.random() < 0.3:
                await stream.write(out)
                out = b""
        out += engine.send(h11.EndOfMessage()) or b""
        await stream.write(out)
        return not ends and engine.our_state is h11.DONE


class Http2Peer:
    """Speaks HTTP/2, by h2, several streams at once.

    Args:
        origin: What answers.
        sockets: Whether it takes WebSockets (RFC 8441).
    """

    def __init__(self, origin: Origin, sockets: bool = False) -> None:
        self._origin = origin
        self._sockets = sockets

    async def __call__(self, stream: Stream | TlsStream) -> None:
        await _Http2Connection(stream, self._origin, self._sockets).run()


class _Http2Connection:
    def __init__(self, stream: Any, origin: Origin, sockets: bool) -> None:
        self._talker = SocketPeer(origin) if sockets else None
        self._tunnels: dict[int, StreamTunnel] = {}
        self._stream = stream
        self._origin = origin
        self._dice = origin.dice
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._engine = h2.connection.H2Connection(config)
        self._heads: dict[int, Asked] = {}
        self._bodies: dict[int, bytearray] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._room = asyncio.Event()
        self._away = False

    async def run(self) -> None:
        engine = self._engine
        if self._talker is not None:
            connect = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
            engine.local_settings[connect] = 1
            engine.local_settings.acknowledge()
        engine.initiate_connection()
        if self._dice.random() < 0.3:
            # Said after the connection's first words, so that it holds from the client's answer on.
            most = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._dice.choice((1, 2))}
            engine.update_settings(most)
        try:
            await self._flush()
            while data := await self._stream.some():
                for event in engine.receive_data(data):
                    self._heard(event)
                await self._flush()
                if self._away and not self._tasks:
                    return
        except h2.exceptions.ProtocolError:
            await self._flush()
            # The engine takes nothing more once it has said GOAWAY.
            if not self._away:
                raise
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _flush(self) -> None:
        if data := self._engine.data_to_send():
            await self._stream.write(data)

    def _heard(self, event: Any) -> None:
        self._room.set()
        match event:
            case h2.events.RequestReceived():
                fields = fields_of(event.headers)
                self._origin.look_at(fields)
                head = asked(fields[":method"], fields[":path"], fields)
                self._heads[event.stream_id] = head
                self._bodies[event.stream_id] = bytearray()
                if head.method == "CONNECT":
                    self._connect(event.stream_id, head)
            case h2.events.DataReceived():
                if tunnel := self._tunnels.get(event.stream_id):
                    tunnel.came(event.data)
                self._bodies[event.stream_id] += event.data
                self._engine.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            case h2.events.StreamEnded() if tunnel := self._tunnels.get(event.stream_id):
                tunnel.ended()
            case h2.events.StreamEnded():
                self._start(event.stream_id, self._answer(event.stream_id))
            case h2.events.StreamReset():
                if task := self._tasks.get(event.stream_id):
                    task.cancel()

    def _start(self, stream_id: int, answering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(answering)
        self._tasks[stream_id] = task
        task.add_done_callback(lambda _: self._answered(stream_id))

    def _connect(self, stream_id: int, head: Asked) -> None:
        assert self._talker is not None
        engine = self._engine

        async def write(data: bytes) -> None:
            await self._data(stream_id, data, 16_384)

        async def accept(fields: list[tuple[str, str]]) -> None:
            engine.send_headers(stream_id, [(":status", "200"), *fields])
            await self._flush()

        self._tunnels[stream_id] = tunnel = StreamTunnel(
            write,
            lambda: engine.end_stream(stream_id),
            lambda: engine.reset_stream(stream_id, error_code=2),
        )
        self._start(stream_id, self._talk(tunnel, head, accept, self._talker))

    async def _talk(
        self, tunnel: StreamTunnel, head: Asked, accept: Any, talker: SocketPeer
    ) -> None:
        try:
            await talker.over(tunnel, head, accept)
            await self._flush()
            tunnel.end()
            await self._flush()
        except (h2.exceptions.ProtocolError, ConnectionError):
            return  # it was ended or reset meanwhile

    def _answered(self, stream_id: int) -> None:
        self._tasks.pop(stream_id, None)
        if self._away and not self._tasks:
            self._stream.close()

    async def _answer(self, stream_id: int) -> None:
        dice, engine = self._dice, self._engine
        request = self._heads[stream_id]
        kind = request.kind
        answer = self._origin.execute(request, bytes(self._bodies[stream_id]))
        try:
            if kind == "silent":
                await asyncio.sleep(1_000)
            if kind == "late":
                await asyncio.sleep(dice.uniform(0, 3))
            if kind == "early" or (kind == "reset" and dice.random() < 0.5):
                engine.reset_stream(stream_id, error_code=2)
                await self._flush()
                return
            await self._send(stream_id, request, answer)
            if dice.random() < 0.05:
                engine.close_connection()
                self._away = True
            await self._flush()
        except (h2.exceptions.ProtocolError, ConnectionError):
            return

    async def _send(self, stream_id: int, request: Asked, answer: Answer) -> None:
        dice, engine, kind = self._dice, self._engine, request.kind
        content = b"" if request.method == "HEAD" else answer.content or b""
        broken = kind in {"cut", "garbage", "reset", "gzipcut", "untidy", "halfrecord"}
        cut = dice.randrange(len(content) + 1) if broken else None
        fields = [(":status", str(answer.status)), *answer.fields]
        if kind == "length":
            fields.append(("content-length", str(len(answer.content or b""))))
        engine.send_headers(stream_id, fields)
        await self._flush()
        largest = max(dice.choice((100, 5_000, 16_384, 16_384)), len(content) // 40)
        await self._data(stream_id, content if cut is None else content[:cut], largest)
        if cut is not None:
            engine.reset_stream(stream_id, error_code=2)
        else:
            engine.end_stream(stream_id)

    async def _data(self, stream_id: int, content: bytes, largest: int) -> None:
        """Send, as flow control has room."""
        engine, sent = self._engine, 0
        while sent < len(content):
            self._room.clear()
            window = engine.local_flow_control_window(stream_id)
            size = min(window, engine.max_outbound_frame_size, largest)
            if size <= 0:
                await self._room.wait()
                continue
            engine.send_data(stream_id, content[sent : sent + size])
            sent += size
            await self._flush()
