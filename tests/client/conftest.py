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


def certificate() -> trustme.LeafCert:
    names = ("a.test", "b.test", "c.test", "h.test", "dev.test", "logapi.example")
    return AUTHORITY.issue_cert("127.0.0.1", "localhost", *names)


def server_tls(version: str = "HTTP/1.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2" if version == "HTTP/2" else "http/1.1"])
    certificate().configure_cert(context)
    return context


# These speak of HTTP/1.1 itself (chunks, the case of names), or bring a server or a connector of
# their own.
HTTP1_MODULES = {
    "test_auth_functions",
    "test_proxy_digest",
    "test_snippets_cookies",
    "test_snippets_tracing",
}
HTTP1_TESTS = {
    "test_odd_credentials_in_a_redirect_do_no_harm",
    "test_large_bodies_stream_past",
    "test_response_headers",
    "test_cookies_are_shared_with_websocket_handshakes",
    "test_a_cache_says_what_it_answers",
    "test_credentials_that_latin_1_cannot_write_go_out_in_utf_8",
}


# What a client does with requests and responses is tested over HTTP/3 too.
HTTP3_MODULES = {
    "test_authentication",
    "test_cookies",
    "test_hostile_values",
    "test_middlewares",
    "test_portable_errors",
    "test_priority",
    "test_redirects",
    "test_reprs",
    "test_request_overrides",
}
# These need http URLs, which HTTP/3 has none of.
PLAIN_TESTS = {
    "test_a_location_may_begin_with_a_host",
    "test_a_redirect_away_and_back_has_no_secret_of_the_base_url",
    "test_a_requests_own_secure_cookies_go_where_the_jars_do",
    "test_a_sessions_secrets_stay_at_its_base_url",
    "test_cookies_without_a_domain_do_not_follow_a_redirect_from_the_base_url",
    "test_cookies_without_a_domain_stay_at_the_base_url",
    "test_secure_cookies_go_by_tls_only",
    "test_where_one_request_is_sent_is_its_own_is_ssl_to_say",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Everything that `peer` and `session` serve is run over all versions."""
    if "version" in metafunc.fixturenames:
        module, name = metafunc.module.__name__.rsplit(".", 1)[-1], metafunc.function.__name__
        versions = ["HTTP/1.1"]
        if module not in HTTP1_MODULES and name not in HTTP1_TESTS:
            versions.append("HTTP/2")
            if module in HTTP3_MODULES and name not in PLAIN_TESTS:
                versions.append("HTTP/3")
        metafunc.parametrize("version", versions, indirect=True)


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    """Which version `peer` and `session` speak: nothing that a program sees depends on it."""
    chosen: str = request.param
    return chosen


@pytest.fixture
async def peer(version: str) -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """`await peer(answer, tls=False)` starts a server."""
    started: list[tuple[Any, Peer]] = []

    async def start(answer: Answering = lambda _: reply(), *, tls: bool = False) -> Peer:
        made = Peer(answer, "https" if tls or version == "HTTP/3" else "http", version)
        if version == "HTTP/3":
            pytest.importorskip(
                "qh3", reason="HTTP/3 needs the extra http3, whose package is not here"
            )
            pytest.importorskip(
                "aioquic", reason="the HTTP/3 servers of the tests are made of aioquic"
            )
            from tests.client.http3_peer import Http3Server

            http3 = Http3Server()
            await http3.start(made._answered, certificate())
            made.port = http3.port
            started.append((http3, made))
            return made
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
    protocols = {"HTTP/2": ("h2", "h2c"), "HTTP/3": ("h3",)}.get(version, ("http/1.1",))

    def make(*, limit: int = 100, **options: Any) -> wherry.ClientSession:
        connector = wherry.TCPConnector(
            resolver=Names(), ssl=client_tls(), limit=limit, protocols=protocols
        )
        options.setdefault("timeout", wherry.ClientTimeout(total=60))
        made.append(wherry.ClientSession(connector=connector, **options))
        return made[-1]

    yield make
    for each in made:
        await each.close()
