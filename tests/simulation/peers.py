"""Peers of the simulation: HTTP/1.1 by h11 and HTTP/2 by h2, whose every answer is a function of the
request's path, and which count what they executed.

A path is ``/NUMBER/SIZE/KIND``: the answer's body is `body_of` of the number and the size; the kind
says how it is framed, or which fault the peer has with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

from .network import Stream

FAULTS = ("cut", "reset", "late", "silent", "early", "garbage")
KINDS = ("length", "chunked", "close", "redirect", "unavailable", "empty")


def body_of(number: int, size: int) -> bytes:
    """The body of an answer: no two numbers have the same."""
    block = hashlib.sha256(str(number).encode()).digest()
    return (block * (size // len(block) + 1))[:size]


class Executed:
    """What the peers have done.

    Attributes:
        requests: How often each request was executed, by its number.
        bodies: The digest of the body that came with each.
    """

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        self.bodies: dict[int, str] = {}


def _asked(path: str) -> tuple[int, int, str]:
    number, size, kind = path.partition("?")[0].strip("/").split("/")[:3]
    return int(number), int(size), kind


class Http1Peer:
    """Speaks HTTP/1.1, by h11.

    Args:
        dice: Draws how it cuts its answers, and when it closes.
        executed: Takes note of requests.
    """

    def __init__(self, dice: random.Random, executed: Executed) -> None:
        self._dice = dice
        self._executed = executed

    async def __call__(self, stream: Stream) -> None:
        engine = h11.Connection(h11.SERVER)
        try:
            while await self._answer(stream, engine):
                engine.start_next_cycle()
        except h11.RemoteProtocolError:
            # A client that was cancelled may have left in the midst of a request.
            return

    async def _next(self, stream: Stream, engine: h11.Connection) -> Any:
        while (event := engine.next_event()) is h11.NEED_DATA:
            engine.receive_data(await stream.some())
        return event

    async def _answer(self, stream: Stream, engine: h11.Connection) -> bool:
        event = await self._next(stream, engine)
        if not isinstance(event, h11.Request):
            return False
        number, size, kind = _asked(event.target.decode())
        if kind == "early":
            await self._respond(stream, engine, 413, b"too much", head=event.method == b"HEAD")
            return False
        body = bytearray()
        while isinstance(part := await self._next(stream, engine), h11.Data):
            body += part.data
        if not isinstance(part, h11.EndOfMessage):
            return False
        self._executed.requests[number] += 1
        self._executed.bodies[number] = hashlib.sha256(body).hexdigest()
        return await self._serve(stream, engine, event.method, number, size, kind)

    async def _serve(
        self,
        stream: Stream,
        engine: h11.Connection,
        method: bytes,
        number: int,
        size: int,
        kind: str,
    ) -> bool:
        content = body_of(number, size)
        head = method == b"HEAD"
        if kind == "silent":
            await asyncio.sleep(1_000)
            return False
        if kind == "late":
            await asyncio.sleep(self._dice.uniform(0, 3))
        if kind == "garbage":
            await stream.write(b"HTTP/1.1 2OO what\r\n\r\n")
            return False
        if kind in ("cut", "reset"):
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {size + 1}\r\n\r\n".encode()
            whole = head + content
            await stream.write(whole[: self._dice.randrange(len(whole) + 1)])
            if kind == "reset":
                stream.reset()
            return False
        if kind == "redirect":
            place = f"/{number}/{size}/length".encode()
            return await self._respond(stream, engine, 302, b"", [(b"location", place)])
        if kind == "unavailable":
            return await self._respond(stream, engine, 503, content, head=head)
        if kind == "empty":
            return await self._respond(stream, engine, 204, None)
        if kind == "close":
            await stream.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content)
            return False
        return await self._respond(
            stream, engine, 200, content, chunked=kind == "chunked", head=head
        )

    async def _respond(
        self,
        stream: Stream,
        engine: h11.Connection,
        status: int,
        content: bytes | None,
        fields: Any = (),
        *,
        chunked: bool = False,
        head: bool = False,
    ) -> bool:
        dice = self._dice
        ends = status == 413 or dice.random() < 0.1
        headers = [*fields]
        if content is not None:
            headers.append(
                (b"transfer-encoding", b"chunked")
                if chunked
                else (b"content-length", str(len(content)).encode())
            )
        if ends and dice.random() < 0.5:
            headers.append((b"connection", b"close"))
        out = engine.send(h11.Response(status_code=status, headers=headers)) or b""
        left = b"" if head else content or b""
        while left:
            size = dice.choice((1, 100, 5_000, 70_000))
            out += engine.send(h11.Data(data=left[:size])) or b""
            left = left[size:]
            if dice.random() < 0.5:
                await stream.write(out)
                out = b""
        out += engine.send(h11.EndOfMessage()) or b""
        await stream.write(out)
        return not ends and engine.our_state is h11.DONE


class Http2Peer:
    """Speaks HTTP/2 in the clear, by h2, several streams at once.

    Args:
        dice: Draws how it cuts its answers, and when it goes away.
        executed: Takes note of requests.
    """

    def __init__(self, dice: random.Random, executed: Executed) -> None:
        self._dice = dice
        self._executed = executed

    async def __call__(self, stream: Stream) -> None:
        await _Http2Connection(stream, self._dice, self._executed).run()


def _head_of(
    number: int, size: int, kind: str, content: bytes
) -> tuple[str, list[tuple[str, str]], bytes]:
    """The status, the fields and the body of an answer of a kind."""
    match kind:
        case "redirect":
            return "302", [("location", f"/{number}/{size}/length")], b""
        case "unavailable":
            return "503", [], content
        case "empty":
            return "204", [], b""
        case "length":
            return "200", [("content-length", str(len(content)))], content
    return "200", [], content


class _Http2Connection:
    def __init__(self, stream: Stream, dice: random.Random, executed: Executed) -> None:
        self._stream = stream
        self._dice = dice
        self._executed = executed
        self._engine = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._heads: dict[int, str] = {}
        self._bodies: dict[int, bytearray] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._room = asyncio.Event()
        self._away = False

    async def run(self) -> None:
        engine = self._engine
        engine.initiate_connection()
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
                self._heads[event.stream_id] = dict(event.headers)[b":path"].decode()
                self._bodies[event.stream_id] = bytearray()
            case h2.events.DataReceived():
                self._bodies[event.stream_id] += event.data
                self._engine.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            case h2.events.StreamEnded():
                task = asyncio.get_running_loop().create_task(self._answer(event.stream_id))
                self._tasks[event.stream_id] = task
                task.add_done_callback(lambda _: self._answered(event.stream_id))
            case h2.events.StreamReset():
                if task := self._tasks.get(event.stream_id):
                    task.cancel()

    def _answered(self, stream_id: int) -> None:
        self._tasks.pop(stream_id, None)
        if self._away and not self._tasks:
            self._stream.close()

    async def _answer(self, stream_id: int) -> None:
        dice, engine = self._dice, self._engine
        number, size, kind = _asked(self._heads[stream_id])
        self._executed.requests[number] += 1
        digest = hashlib.sha256(self._bodies[stream_id]).hexdigest()
        self._executed.bodies[number] = digest
        content = body_of(number, size)
        try:
            if kind == "silent":
                await asyncio.sleep(1_000)
            if kind == "late":
                await asyncio.sleep(dice.uniform(0, 3))
            if kind == "early" or (kind == "reset" and dice.random() < 0.5):
                engine.reset_stream(stream_id, error_code=2)
                await self._flush()
                return
            status, fields, content = _head_of(number, size, kind, content)
            cut = dice.randrange(len(content) + 1) if kind in ("cut", "garbage", "reset") else None
            engine.send_headers(stream_id, [(":status", status), *fields])
            await self._flush()
            sent = 0
            while sent < len(content) and (cut is None or sent < cut):
                self._room.clear()
                window = engine.local_flow_control_window(stream_id)
                size = min(
                    window, engine.max_outbound_frame_size, dice.choice((100, 5_000, 16_384))
                )
                if size <= 0:
                    await self._room.wait()
                    continue
                engine.send_data(stream_id, content[sent : sent + size])
                sent += size
                await self._flush()
            if cut is not None:
                engine.reset_stream(stream_id, error_code=2)
            else:
                engine.end_stream(stream_id)
            if dice.random() < 0.05:
                engine.close_connection()
                self._away = True
            await self._flush()
        except (h2.exceptions.ProtocolError, ConnectionError):
            return
