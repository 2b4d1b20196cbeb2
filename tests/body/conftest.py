"""Peers of a few lines for the body's tests."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web
from tests.servers.application import serving
from yarl import URL

import wherry


class Sink:
    """A writer that keeps what is written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, chunk: bytes) -> None:
        self.pieces.append(bytes(chunk))

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def session():
    async with wherry.ClientSession() as session:
        yield session


@pytest.fixture
async def raw_server():
    """Starts servers that are a coroutine over (reader, writer) each; gives their URLs."""
    servers = []

    async def start(peer) -> URL:
        async def serve(reader, writer):
            try:
                await peer(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        return URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def answer(raw_server):
    """A server that gives the same bytes to each request that has no body, and closes."""

    async def start(data: bytes) -> URL:
        async def peer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()

        return await raw_server(peer)

    return start


@pytest.fixture
async def web_server():
    """Starts servers of aiohttp: another's parser and writer at the other end."""
    async with contextlib.AsyncExitStack() as running:

        async def start(handler, **options) -> URL:
            app = web.Application(client_max_size=2**28, **options)
            app.router.add_route("*", "/{tail:.*}", handler)
            ports = await running.enter_async_context(serving(app, auto_decompress=True))
            return URL(f"http://127.0.0.1:{ports[0]}/")

        yield start
