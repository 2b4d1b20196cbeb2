"""A server's side of HTTP/2 in a few lines: raw frames, and a transport in memory that notes what
is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import hpack

from wherry.protocol.heads import FieldBlock, RequestHead
from wherry.protocol.http2.connection import Http2Connection
from wherry.protocol.http2.flow_control import FlowOptions
from wherry.protocol.http2.frames import PREFACE, pack_header, unpack_header
from wherry.protocol.limits import Limits

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
NAMES = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST",
    "SETTINGS",
    "PUSH",
    "PING",
    "GOAWAY",
    "WINDOW",
    "CONTINUATION",
]
ACK = END_STREAM = 1
END_HEADERS, PADDED, PRIORITISED = 4, 8, 0x20
OK = [(":status", "200")]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return pack_header(len(payload) << 8 | kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(
        SETTINGS,
        0,
        0,
        b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs),
    )


def word(value: int) -> bytes:
    return value.to_bytes(4, "big")


def cut(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Frames as (type, flags, stream, payload)."""
    frames = []
    while data:
        length_and_kind, flags, stream = unpack_header(data)
        end = 9 + (length_and_kind >> 8)
        frames.append((length_and_kind & 0xFF, flags, stream, data[9:end]))
        assert len(data) >= end
        data = data[end:]
    return frames


class Transport(asyncio.Transport):
    """Notes what is written; `close` ends the connection in the next turn of the loop, as real ones
    do.
    """

    def __init__(self, protocol: Http2Connection) -> None:
        super().__init__()
        self.written = b""
        self.protocol = protocol
        self.closing = False
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        assert not self.closing
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()


class Sink:
    """A response's body, as it comes."""

    def __init__(self) -> None:
        self.flow: Any = None
        self.data = b""
        self.ended = False
        self.error: BaseException | None = None

    def feed_data(self, data: bytes) -> None:
        assert not self.ended
        assert isinstance(data, bytes)
        self.data += data

    def feed_eof(self) -> None:
        assert not self.ended
        self.ended = True

    def chunk_ended(self) -> None: ...

    def set_exception(self, exc: BaseException) -> None:
        self.error = exc


class Owner:
    """A pool that notes what it is told."""

    def __init__(self) -> None:
        self.available: list[int] = []
        self.lost = 0
        self.refused: list[int] = []

    def connection_available(self, connection: Any) -> None:
        self.available.append(connection.capacity)

    def connection_lost(self, connection: Any) -> None:
        self.lost += 1

    def exchanges_refused(self, connection: Any, carried: int) -> None:
        self.refused.append(carried)

    def protocol_refused(self, connection: Any) -> bool:
        return False


class Peer:
    """A scripted server with a connection to it.

    Args:
        begin: What the server says first; None for nothing.
    """

    def __init__(
        self,
        *,
        flow: FlowOptions | None = None,
        limits: Limits | None = None,
        begin: bytes | None = settings(),
    ) -> None:
        loop = asyncio.get_running_loop()
        self.connection = Http2Connection(loop, limits or Limits(), flow or FlowOptions())
        self.owner: Any = Owner()
        self.connection.owner = self.owner
        self.transport = Transport(self.connection)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self._read = 0
        self.connection.connection_made(self.transport)
        if begin is not None:
            self.say(begin)

    def say(self, *data: bytes) -> None:
        """Send bytes, as the loop would bring them: through the buffer, or what is left of it."""
        for piece in data:
            if self.connection.transport is None or self.transport.closing:
                self.connection.feed(piece)
                continue
            rest = memoryview(piece)
            while rest:
                buffer = self.connection.get_buffer(-1)
                size = min(len(buffer), len(rest))
                buffer[:size] = rest[:size]
                self.connection.buffer_updated(size)
                buffer[:size] = b"\xaa" * size  # whoever kept a view of the shared buffer sees it
                rest = rest[size:]

    def block(self, fields: Iterable[tuple[str, str]]) -> bytes:
        return self.encoder.encode(list(fields))

    def head(
        self, stream: int, fields: Iterable[tuple[str, str]] = OK, *, end: bool = False
    ) -> bytes:
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(fields))

    def data(self, stream: int, data: bytes, *, end: bool = False) -> bytes:
        return frame(DATA, END_STREAM if end else 0, stream, data)

    async def heard(self) -> list[tuple[int, int, int, bytes]]:
        """The frames that came since the last time, the preface left out."""
        await asyncio.sleep(0)
        data = self.transport.written[self._read :]
        if not self._read and data:
            assert data.startswith(PREFACE)
            data = data[len(PREFACE) :]
        self._read = len(self.transport.written)
        return cut(data)

    async def names(self) -> list[str]:
        return [f"{NAMES[kind]}:{stream}" for kind, _, stream, _ in await self.heard()]

    def get(self, path: str = "/", **options: Any) -> tuple[Any, Sink]:
        sink = Sink()
        options.setdefault("shared", FieldBlock())
        method = options.pop("method", "GET")
        exchange = self.connection.start(
            RequestHead(method, "https", "a.example", path, **options), sink
        )
        return exchange, sink

    def post(self, body: bytes | None = None, **options: Any) -> tuple[Any, Sink]:
        if body is not None:
            options["content_length"] = len(body)
        return self.get(method="POST", body=body, streamed=body is None, **options)

    async def goaway(self) -> tuple[int, bytes]:
        """The code and the message of the GOAWAY that ended the connection."""
        frames = await self.heard()
        assert frames, "nothing was said"
        kind, _, stream, payload = frames[-1]
        assert (kind, stream) == (GOAWAY, 0), frames
        assert self.transport.closing
        return int.from_bytes(payload[4:8], "big"), payload[8:]
