"""Small peers and a small client for the rooms that connect: no session is needed to test them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
import trustme
from yarl import URL

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.connector import BaseConnector
from wherry.connect.dns.resolver import AbstractResolver, ResolveResult
from wherry.protocol.connection import Connection
from wherry.protocol.heads import RequestHead


class Sink:
    """Keeps a body, and tells when it is whole."""

    flow: Any = None

    def __init__(self) -> None:
        self.data = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def feed_data(self, data: bytes) -> None:
        self.data += data

    def feed_eof(self) -> None:
        self.done.set_result(None)

    def chunk_ended(self) -> None:
        pass

    def set_exception(self, exc: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(exc)
            self.done.exception()


class Answer(NamedTuple):
    status: int
    body: bytes
    connection: Connection
    connect_request: ConnectRequest
    version: tuple[int, int]


async def fetch(
    connector: BaseConnector,
    url: str,
    *,
    sock_connect: float | None = 5,
    observer: Any = None,
    **route_options: Any,
) -> Answer:
    """One GET by the pool's interface, as a session makes it."""
    address = URL(url)
    route = connector.route_for(address, **route_options)
    connect_request = ConnectRequest(route, sock_connect, observer)
    connection = connector.pool.take(route) or await connector.pool.acquire(connect_request)
    sink = Sink()
    exchange = connection.start(
        RequestHead("GET", route.origin.scheme, address.authority, address.raw_path_qs), sink
    )
    head = await exchange.receive_head()
    await sink.done
    return Answer(
        head.status,
        sink.data,
        connection,
        connect_request,
        (head.version.major, head.version.minor),
    )


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with the peer's port, until the client leaves."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            body = str(
                writer.get_extra_info("peername")[1] if writer.get_extra_info("peername") else 0
            ).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
    writer.close()


Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Serve:
    """Starts servers on loopback; `await serve()` gives a port."""

    def __init__(self) -> None:
        self.servers: list[asyncio.Server] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def __call__(
        self, answering: Answering = answer_ok, host: str = "127.0.0.1", **options: Any
    ) -> int:
        server = await asyncio.start_server(
            self.watched(answering), host, options.pop("port", 0), **options
        )
        self.servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def unix(self, path: str, answering: Answering = answer_ok, **options: Any) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        self.servers.append(
            await asyncio.start_unix_server(self.watched(answering), sock=sock, **options)
        )

    def watched(self, answering: Answering) -> Answering:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.add(task)
            try:
                await answering(reader, writer)
            except asyncio.CancelledError:
                pass
            finally:
                writer.transport.abort()
                self.tasks.discard(task)

        return run

    async def stop(self) -> None:
        for server in self.servers:
            server.close()
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        await asyncio.sleep(0)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    started = Serve()
    # A client that refuses a certificate is no failure of the server.
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: (
            None
            if "incoming connection" in context["message"]
            else loop.default_exception_handler(context)
        )
    )
    yield started
    await started.stop()


@pytest.fixture
def server_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def on(
    new_loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Awaitable[None]]
) -> None:
    async def run() -> None:
        await main()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


class FakeResolver(AbstractResolver):
    """Gives what it was told, counts, and can be made to wait."""

    def __init__(self, *addresses: str, ports: dict[str, int] | None = None) -> None:
        self.addresses = list(addresses)
        self.asked: list[tuple[str, int]] = []
        self.gate: asyncio.Event | None = None
        self.error: BaseException | None = None
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append((host, port))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def get() -> Callable[..., Awaitable[Answer]]:
    return fetch


@pytest.fixture
def resolver() -> Callable[..., FakeResolver]:
    return FakeResolver


@pytest.fixture
def closed_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def quic_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine TCP would be there first now and then."""
    from wherry.connect.quic import race_with_tcp

    monkeypatch.setattr(race_with_tcp, "SILENT_HEAD_START", 30.0)
    monkeypatch.setattr(race_with_tcp, "HEAD_START", 60.0)
