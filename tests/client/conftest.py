"""Peers that a test scripts: small HTTP/1.1 servers on loopback that keep what they were asked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
import trustme
from multidict import CIMultiDict
from tests.client.http2_peer import Http2Side

import wherry
from wherry.connect.dns.resolver import AbstractResolver, ResolveResult


class Asked(NamedTuple):
    """A request as a peer saw it."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes


Reply = tuple[int, list[tuple[str, str]], bytes]
Answering = Callable[[Asked], "Reply | Awaitable[Reply]"]


def reply(status: int = 200, body: bytes | str = b"", headers: Any = ()) -> Reply:
    """A response; its length is told unless `headers` tells of its framing."""
    pairs = list(headers.items()) if hasattr(headers, "items") else list(headers)
    return status, pairs, body.encode() if isinstance(body, str) else body


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape")
    first, *lines = head[:-4].split("\r\n")
    method, target, _ = first.split(" ")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    body = b""
    if headers.get("Transfer-Encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    elif "Content-Length" in headers:
        body = await reader.readexactly(int(headers["Content-Length"]))
    return Asked(method, target, headers, body)


class Peer:
    """One server: `asked` has its requests, `answer` gives its responses."""

    def __init__(self, answer: Answering, scheme: str, version: str = "HTTP/1.1") -> None:
        self.answer = answer
        self.version = version
        self.scheme = scheme
        self.port = 0
        self.asked: list[Asked] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/", host: str = "127.0.0.1", user: str = "") -> str:
        return f"{self.scheme}://{user + '@' if user else ''}{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                if self.version == "HTTP/2":
                    await Http2Side(reader, writer, self._answered).run()
                    return
                while True:
                    await self._one(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            self.tasks.discard(task)

    async def _answered(
        self, method: str, target: str, headers: CIMultiDict[str], body: bytes
    ) -> Reply:
        asked = Asked(method, target, headers, body)
        self.asked.append(asked)
        answer = self.answer(asked)
        return answer if isinstance(answer, tuple) else await answer

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await _read(reader)
        status, pairs, body = await self._answered(*asked)
        if status == 0:
            raise ConnectionError  # hang up without a word
        names = {name.lower() for name, _ in pairs}
        if not names & {"content-length", "transfer-encoding"} and status not in {204, 304}:
            pairs = [*pairs, ("Content-Length", str(len(body)))]
        lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
        head = f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode("utf-8", "surrogateescape")
        writer.write(head + (b"" if asked.method == "HEAD" else body))
        await writer.drain()


class Names(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0),
        ]

    async def close(self) -> None:
        """Nothing is held."""


AUTHORITY = trustme.CA()


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def server_tls(version: str = "HTTP/1.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2" if version == "HTTP/2" else "http/1.1"])
    AUTHORITY.issue_cert("127.0.0.1", "localhost", "a.test", "b.test", "c.test").configure_cert(
        context
    )
    return context


# These speak of HTTP/1.1 itself (chunks, the case of names), or bring a server or a connector of
# their own.
HTTP1_MODULES = {"test_snippets_cookies", "test_snippets_tracing", "test_proxy_digest"}
HTTP1_TESTS = {
    "test_odd_credentials_in_a_redirect_do_no_harm",
    "test_large_bodies_stream_past",
    "test_response_headers",
    "test_cookies_are_shared_with_websocket_handshakes",
    "test_a_cache_says_what_it_answers",
    "test_credentials_that_latin_1_cannot_write_go_out_in_utf_8",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Everything that `peer` and `session` serve is run over both versions."""
    if "version" in metafunc.fixturenames:
        module = metafunc.module.__name__.rsplit(".", 1)[-1]
        both = module not in HTTP1_MODULES and metafunc.function.__name__ not in HTTP1_TESTS
        metafunc.parametrize(
            "version", ["HTTP/1.1", "HTTP/2"] if both else ["HTTP/1.1"], indirect=True
        )


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    """Which version `peer` and `session` speak: nothing that a program sees depends on it."""
    chosen: str = request.param
    return chosen


@pytest.fixture
async def peer(version: str) -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """`await peer(answer, tls=False)` starts a server."""
    started: list[tuple[asyncio.Server, Peer]] = []

    async def start(answer: Answering = lambda _: reply(), *, tls: bool = False) -> Peer:
        made = Peer(answer, "https" if tls else "http", version)
        server = await asyncio.start_server(
            made.serve, "127.0.0.1", 0, ssl=server_tls(version) if tls else None
        )
        made.port = server.sockets[0].getsockname()[1]
        started.append((server, made))
        return made

    yield start
    for server, made in started:
        server.close()
        for task in made.tasks:
            task.cancel()
        if made.tasks:
            await asyncio.wait(made.tasks)
    await asyncio.sleep(0)


@pytest.fixture
async def session(version: str) -> AsyncIterator[Callable[..., wherry.ClientSession]]:
    """`session(**options)` makes a session for which every name is this machine; it is closed at
    the end.
    """
    made: list[wherry.ClientSession] = []
    protocols = ("h2", "h2c") if version == "HTTP/2" else ("http/1.1",)

    def make(*, limit: int = 100, **options: Any) -> wherry.ClientSession:
        connector = wherry.TCPConnector(
            resolver=Names(), ssl=client_tls(), limit=limit, protocols=protocols
        )
        options.setdefault("timeout", wherry.ClientTimeout(total=10))
        made.append(wherry.ClientSession(connector=connector, **options))
        return made[-1]

    yield make
    for each in made:
        await each.close()
