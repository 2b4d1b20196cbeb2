"""A peer that does not read stops the body's source, for every kind of body, framing, way and
loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvloop

import wherry
from wherry.client.session import ClientSession
from wherry.client.timeouts import ClientTimeout

PIECE = bytes(64 * 1024)
TOTAL = 64 * 1024 * 1024
# What kernels, TLS and the transport may hold between the source and a peer that does not read:
# each of up to three kernels takes some megabytes.  A body that nobody holds back goes whole.
HELD = TOTAL * 3 // 4


class Source:
    """Gives pieces, and counts what was taken."""

    def __init__(self, piece: bytes = PIECE) -> None:
        self.piece = piece
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        while self.taken < TOTAL:
            self.taken += len(self.piece)
            yield self.piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


class CountingFile(io.RawIOBase):
    """A file that is no file of the system's."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.source.taken >= TOTAL:
            return b""
        data = bytes(len(PIECE) if size < 0 else min(size, len(PIECE)))
        self.source.taken += len(data)
        return data


def body(kind: str, source: Source) -> Any:
    if kind in {"async generator", "large pieces"}:
        return source.__aiter__()
    if kind == "file":
        return CountingFile(source)
    writer = wherry.MultipartWriter()
    writer.append(source.__aiter__(), {"Content-Type": "application/octet-stream"})
    return writer


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.get_running_loop().create_future()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    port = int(head.split()[1].rpartition(b":")[2])
    theirs, back = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    try:
        await asyncio.gather(pass_on(reader, back), pass_on(theirs, writer))
    finally:
        back.transport.abort()


@pytest.mark.parametrize("way", ["plain", "tls", "forwarding proxy", "tunnel", "tls in a tunnel"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("kind", ["async generator", "large pieces", "file", "multipart"])
@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_body_is_held_back_by_a_peer_that_does_not_read(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    kind: str,
    framing: str,
    way: str,
    ca: Any,
) -> None:
    """CVE-2024-12254: writelines of some CPythons never tells that the transport is full."""
    source = Source(bytes(1024 * 1024) if kind == "large pieces" else PIECE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)

    async def main() -> None:
        tasks = set()

        def watched(answering: Any) -> Any:
            async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.add(asyncio.current_task())
                with contextlib.suppress(asyncio.CancelledError):
                    await answering(reader, writer)
                writer.transport.abort()

            return run

        server = await asyncio.start_server(
            watched(deaf), "127.0.0.1", 0, ssl=context if way.startswith("tls") else None
        )
        proxy = await asyncio.start_server(
            watched(deaf if way == "forwarding proxy" else tunnel), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        through = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        options: dict[str, Any] = {}
        if way == "forwarding proxy":
            options["proxy"] = through
        elif way == "tunnel":
            options["proxy"] = [through, f"http://127.0.0.1:{port}"]
        elif way == "tls in a tunnel":
            options["proxy"] = through
        if framing == "length" and kind != "multipart":
            options["headers"] = {"Content-Length": str(TOTAL)}
        scheme = "https" if way.startswith("tls") else "http"
        timeout = ClientTimeout(total=0.4)
        async with ClientSession(timeout=timeout, trust_env=False) as session:
            with pytest.raises((TimeoutError, wherry.ClientError)):
                await session.post(
                    f"{scheme}://127.0.0.1:{port}/", data=body(kind, source), ssl=False, **options
                )
        for each in (server, proxy):
            each.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert 0 < source.taken < HELD
