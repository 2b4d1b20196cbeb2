"""A server that says exactly the bytes that a test gives it, and keeps what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def until_all_has_come(connection: socket.socket) -> None:
    """Return when the client's kernel has all that a blocking server sent: before it closes.

    What a closed socket still had to send is lost when the client's next write draws a reset: then
    there would be no last words to hear, by whatever client.  Only Linux says so.
    """
    if sys.platform != "linux":
        return
    import fcntl
    import termios

    limit = time.monotonic() + 10
    while any(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))):
        assert time.monotonic() < limit, "the client's kernel does not take it"
        time.sleep(0.0005)


class _RecordingReader(asyncio.StreamReader):
    """Keeps what arrives before anybody reads it."""

    def __init__(self, record: bytearray, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=2**24, loop=loop)
        self._record = record

    def feed_data(self, data: Any) -> None:
        self._record += data
        super().feed_data(data)


class RawServer:
    """A loopback server under a script.

    Args:
        script: An async function of (reader, writer), called for each connection, which is closed
            when it returns; or a list of bytes: each answers one request, in the order they come,
            on whatever connection, and the connection that brought the last one is closed behind
            it.

    Attributes:
        received: What each connection brought, in the order they were accepted.
        lost: How many connections the client has closed or the server has ended.
    """

    def __init__(self, script: Script | Sequence[bytes]) -> None:
        self._script: Script = script if callable(script) else self._answer_from(list(script))
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._secure = False
        self.received: list[bytearray] = []
        self.lost = 0

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return len(self.received)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self._secure else 'http'}://127.0.0.1:{self.port}"

    async def start(self, context: ssl.SSLContext | None = None, **options: Any) -> RawServer:
        loop = asyncio.get_running_loop()
        self._secure = context is not None

        def make() -> asyncio.StreamReaderProtocol:
            # With TLS the handshake comes first: a connection counts once its protocol is made.
            record = bytearray()
            self.received.append(record)
            return asyncio.StreamReaderProtocol(
                _RecordingReader(record, loop), self._serve, loop=loop
            )

        self._server = await loop.create_server(
            make, "127.0.0.1", options.pop("port", 0), ssl=context, **options
        )
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._tell()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await self._script(reader, writer)
                await writer.drain()
                writer.close()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            if not writer.transport.is_closing():
                writer.transport.abort()
            self._tasks.discard(task)
            self.lost += 1
            self._tell()

    def _answer_from(self, answers: list[bytes]) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while answers:
                await read_request(reader)
                writer.write(answers.pop(0))
                await writer.drain()

        return script

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[RawServer], bool], seconds: float = 5.0) -> None:
        """Wait until `condition` holds; it is looked at whenever a connection begins or ends."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                await self._changed.wait()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # The transports tell their protocols of the end in the loop's next turn.
        await asyncio.sleep(0)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request: its head, and as much body as its Content-Length says.

    Raises:
        asyncio.IncompleteReadError: The client left.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


def response(body: bytes = b"ok", *, status: str = "200 OK", fields: str = "") -> bytes:
    """A whole HTTP/1.1 response; `fields` are lines that end with CR LF."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body
