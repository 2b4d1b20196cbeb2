"""DNS over HTTPS against servers that are slow, wrong or hostile, over TLS, HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import dnslib
import hypercorn.asyncio
import pytest
import trustme
from hypercorn.config import Config
from tests.servers.process import free_ports

import wherry
from wherry.connect.dns.message import TYPE_A
from wherry.resolver import DoHResolver

MESSAGE = "application/dns-message"
ADDRESSES = {"A": "192.0.2.1", "AAAA": "2001:db8::1"}


def answer_to(asked: bytes, *rows: str) -> bytes:
    """The answer of a good server, where `rows` say nothing else."""
    record = dnslib.DNSRecord.parse(asked)
    reply = record.reply()
    kind = dnslib.QTYPE[record.q.qtype]
    for row in rows or (f"{record.q.qname} 60 {kind} {ADDRESSES[kind]}",):
        reply.add_answer(*dnslib.RR.fromZone(row))
    return bytes(reply.pack())


def http(body: bytes, *fields: str, status: str = "200 OK", kind: str = MESSAGE) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *fields,
        "",
        "",
    ]
    return "\r\n".join(head).encode() + body


class Server:
    """Speaks raw bytes inside TLS: `answer` gets a question and a writer, and gives what to write
    or does so itself.
    """

    def __init__(self, answer: Callable[..., Any]) -> None:
        self._answer = answer
        self.asked: list[bytes] = []
        self.heads: list[bytes] = []
        self.open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                self.asked.append(await reader.readexactly(length))
                said = self._answer(self.asked[-1], writer)
                if isinstance(said, bytes):
                    writer.write(said)
                else:
                    await said
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1


Resolving = Callable[..., Awaitable[tuple[DoHResolver, Server]]]


@pytest.fixture
async def resolving(
    serve: Any, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> AsyncIterator[Resolving]:
    """`await resolving(answer)` gives a resolver and the server that it asks."""
    made: list[DoHResolver] = []

    async def start(answer: Callable[..., Any], **options: Any) -> tuple[DoHResolver, Server]:
        server = Server(answer)
        port = await serve(server, ssl=server_context)
        options = {"ssl": client_context, "addresses": ["127.0.0.1"], "timeout": 5.0, **options}
        made.append(DoHResolver(f"https://localhost:{port}/dns-query", **options))
        return made[-1], server

    yield start
    for each in made:
        await each.close()


async def test_what_is_asked_and_how(resolving: Resolving) -> None:
    """RFC 8484 4.1"""
    resolver, server = await resolving(lambda asked, _: http(answer_to(asked)))
    rows = await resolver.resolve("www.example.test", 443, socket.AF_UNSPEC)
    assert [(row["host"], row["family"], row["port"]) for row in rows] == [
        ("2001:db8::1", socket.AF_INET6, 443),
        ("192.0.2.1", socket.AF_INET, 443),
    ]
    head = server.heads[0].lower()
    assert head.startswith(b"post /dns-query http/1.1\r\n")
    assert b"\r\ncontent-type: application/dns-message\r\n" in head
    assert b"\r\naccept: application/dns-message\r\n" in head
    assert [row["host"] for row in await resolver.resolve("six.test", 1, socket.AF_INET6)] == [
        "2001:db8::1"
    ]


@pytest.mark.parametrize("pieces", [2, 5, 1000])
async def test_an_answer_may_come_in_pieces(resolving: Resolving, pieces: int) -> None:
    async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
        size = max(1, len(data) // pieces)
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)

    resolver, _ = await resolving(lambda asked, writer: drip(writer, http(answer_to(asked))))
    assert [row["host"] for row in await resolver.resolve("a.test")] == ["192.0.2.1"]


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {MESSAGE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + body
    )


GOOD: dict[str, Callable[[bytes], bytes]] = {
    "with parameters of the type": lambda asked: http(answer_to(asked), kind=f"{MESSAGE}; x=y"),
    "type in upper case": lambda asked: http(answer_to(asked), kind=MESSAGE.upper()),
    "another success": lambda asked: http(answer_to(asked), status="203 Transformed"),
    "gzip": lambda asked: http(gzip.compress(answer_to(asked)), "Content-Encoding: gzip"),
    "in chunks": lambda asked: chunked(answer_to(asked)[:20], answer_to(asked)[20:], b""),
    "old": lambda asked: http(answer_to(asked), "Age: 100000", "Cache-Control: max-age=1"),
    "with cookies": lambda asked: http(answer_to(asked), "Set-Cookie: who=me"),
}


@pytest.mark.parametrize("name", GOOD)
async def test_answers_that_are_good(resolving: Resolving, name: str) -> None:
    resolver, server = await resolving(lambda asked, _: GOOD[name](asked))
    for _ in range(2):
        assert [row["host"] for row in await resolver.resolve("a.test")] == ["192.0.2.1"]
    assert not any(b"\r\ncookie:" in head.lower() for head in server.heads)


def bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(64)), packer.flush()])


BOMB = bomb()
BAD: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda asked: http(b""),
    "cut": lambda asked: http(answer_to(asked)[:-3]),
    "less than was said": lambda asked: http(answer_to(asked)).replace(
        b"Content-Length: ", b"Content-Length: 9"
    ),
    "the question": http,
    "another id": lambda asked: http(b"\1\1" + answer_to(asked)[2:]),
    "another question": lambda asked: http(answer_to(asked.replace(b"a\4test", b"b\4test"))),
    "addresses of another name": lambda asked: http(answer_to(asked, "b.test 60 A 192.0.2.1")),
    "aliases without end": lambda asked: http(
        answer_to(asked, "a.test 60 CNAME b.test", "b.test 60 CNAME a.test")
    ),
    "ten thousand records": lambda asked: http(
        answer_to(asked)[:6] + b"\x27\x10" + answer_to(asked)[8:]
    ),
    "large": lambda asked: http(answer_to(asked) + bytes(70_000)),
    "large in chunks": lambda asked: chunked(answer_to(asked), *[bytes(30_000)] * 3, b""),
    "compressed zeros": lambda asked: http(BOMB, "Content-Encoding: gzip"),
    "another type": lambda asked: http(answer_to(asked), kind="text/html"),
    "no type": lambda asked: http(answer_to(asked)).replace(b"Content-Type", b"X-Type"),
    "client's error": lambda asked: http(answer_to(asked), status="400 Bad Request"),
    "server's error": lambda asked: http(answer_to(asked), status="503 Service Unavailable"),
    "no http": lambda asked: b"220 mail.test ESMTP\r\n",
    "no such name": lambda asked: http(asked[:2] + b"\x81\x83" + asked[4:]),
    "failure": lambda asked: http(asked[:2] + b"\x81\x82" + asked[4:]),
    "refusal": lambda asked: http(asked[:2] + b"\x81\x85" + asked[4:]),
    "no address": lambda asked: http(asked[:2] + b"\x81\x80" + asked[4:]),
}


@pytest.mark.parametrize("name", BAD)
async def test_answers_that_are_bad_are_dns_errors(resolving: Resolving, name: str) -> None:
    resolver, _ = await resolving(lambda asked, _: BAD[name](asked), timeout=1.0)
    async with wherry.ClientSession(connector=wherry.TCPConnector(resolver=resolver)) as session:
        with pytest.raises(wherry.ClientConnectorDNSError):
            await session.get("http://a.test/")


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_redirect_leads_nowhere(
    resolving: Resolving, serve: Any, scheme: str, status: str
) -> None:
    """Who may learn what is looked up is who was named, over TLS."""
    reached: list[int] = []

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(1)

    port = await serve(other)
    location = f"Location: {scheme}://localhost:{port}/dns-query"
    resolver, _ = await resolving(
        lambda asked, _: http(b"", location, status=f"{status} Elsewhere")
    )
    with pytest.raises(OSError, match=f"answered {status}"):
        await resolver.resolve("a.test")
    assert not reached


@pytest.mark.parametrize("silence", ["at once", "after the head", "without end"])
async def test_a_question_takes_no_longer_than_it_may(resolving: Resolving, silence: str) -> None:
    async def dawdle(asked: bytes, writer: asyncio.StreamWriter) -> None:
        if silence == "after the head":
            writer.write(http(answer_to(asked))[:-1])
        if silence == "without end":
            writer.write(http(bytes(60_000))[:-60_000])
            while True:
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    resolver, _ = await resolving(dawdle, timeout=0.2)
    async with asyncio.timeout(20):
        with pytest.raises(OSError, match="could not be asked"):
            await resolver.resolve("a.test", 0, socket.AF_UNSPEC)


async def test_one_family_may_fail(resolving: Resolving) -> None:
    def answer(asked: bytes, _: Any) -> bytes:
        return (
            http(answer_to(asked))
            if asked[-4:-2] == TYPE_A.to_bytes(2)
            else http(b"", status="500 No")
        )

    resolver, _ = await resolving(answer)
    assert [row["host"] for row in await resolver.resolve("a.test", 0, socket.AF_UNSPEC)] == [
        "192.0.2.1"
    ]


async def test_closing_ends_look_ups_and_none_begins_after_it(resolving: Resolving) -> None:
    gate, asked_for = asyncio.Event(), asyncio.Event()

    async def wait(asked: bytes, writer: asyncio.StreamWriter) -> None:
        asked_for.set()
        await gate.wait()

    resolver, server = await resolving(wait)
    under_way = asyncio.ensure_future(resolver.resolve("a.test", 0, socket.AF_UNSPEC))
    await asked_for.wait()
    late = asyncio.ensure_future(resolver.resolve("b.test", 0, socket.AF_UNSPEC))
    await asyncio.sleep(0)  # its questions are tasks that have not begun
    async with asyncio.timeout(20):
        await resolver.close()
        for each in (under_way, late):
            with pytest.raises(OSError, match="closed"):
                await each
    assert resolver._session is None
    gate.set()
    async with asyncio.timeout(20):
        while server.open:
            await asyncio.sleep(0.001)


async def test_a_look_up_that_is_cancelled_leaves_nothing(resolving: Resolving) -> None:
    asked_for = asyncio.Event()

    async def wait(asked: bytes, writer: asyncio.StreamWriter) -> None:
        asked_for.set()
        await asyncio.Event().wait()

    resolver, _ = await resolving(wait)
    before = asyncio.all_tasks()
    look_up = asyncio.ensure_future(resolver.resolve("a.test", 0, socket.AF_UNSPEC))
    await asked_for.wait()
    look_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look_up
    assert resolver._session is not None
    async with asyncio.timeout(20):
        while resolver._session.connector.stats().busy:  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
        while {
            task
            for task in asyncio.all_tasks() - before
            if "resolve" in repr(task) or "_ask" in repr(task)
        }:
            await asyncio.sleep(0.001)


async def test_many_look_ups_share_few_connections(resolving: Resolving) -> None:
    resolver, server = await resolving(lambda asked, _: http(answer_to(asked)))
    answers = await asyncio.gather(*(resolver.resolve(f"n{at}.test") for at in range(200)))
    assert [rows[0]["hostname"] for rows in answers] == [f"n{at}.test" for at in range(200)]
    assert len(server.asked) == 200
    assert server.open <= 4


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:7f00:1", "10.0.0.1", "fe80::1", "169.254.169.254"]
)
async def test_what_it_says_is_nothing_that_the_guard_lets_pass(
    resolving: Resolving, address: str
) -> None:
    kind = "AAAA" if ":" in address else "A"

    def answer(asked: bytes, _: Any) -> bytes:
        record = dnslib.DNSRecord.parse(asked)
        wanted = dnslib.QTYPE[record.q.qtype] == kind
        return http(
            answer_to(asked, f"a.test 60 {kind} {address}")
            if wanted
            else asked[:2] + b"\x81\x80" + asked[4:]
        )

    resolver, _ = await resolving(answer)
    connector = wherry.TCPConnector(resolver=resolver, allow_address=wherry.public_addresses_only)
    async with wherry.ClientSession(connector=connector) as session:
        with pytest.raises(wherry.ClientConnectorAddressBlocked):
            await session.get("http://a.test/")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "app.localhost"])
async def test_localhost_is_this_machine_and_nobody_is_asked(
    resolving: Resolving, name: str
) -> None:
    """RFC 6761 6.3"""
    resolver, server = await resolving(lambda asked, _: http(answer_to(asked)))
    rows = await resolver.resolve(name, 80, socket.AF_UNSPEC)
    assert [row["host"] for row in rows] == ["::1", "127.0.0.1"]
    assert [row["host"] for row in await resolver.resolve(name, 80)] == ["127.0.0.1"]
    assert not server.asked


async def test_the_servers_own_name_is_the_systems_to_resolve(resolving: Resolving) -> None:
    """The connector that asks by a resolver is not the one that the resolver asks by."""
    resolver, _ = await resolving(lambda asked, _: http(answer_to(asked)), addresses=())
    assert [row["host"] for row in await resolver.resolve("a.test")] == ["192.0.2.1"]


async def test_a_password_in_the_url_is_in_no_error(client_context: ssl.SSLContext) -> None:
    resolver = DoHResolver(
        "https://me:secret@localhost:1/dns-query", addresses=["127.0.0.1"], ssl=client_context
    )
    with pytest.raises(OSError, match="could not be asked") as caught:
        await resolver.resolve("a.test")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="needs an https URL") as refused:
        DoHResolver("http://me:secret@dns.test/")
    assert "secret" not in str(refused.value)
    await resolver.close()


def test_a_template_is_its_url() -> None:
    """RFC 8484 4.1: for POST it has no variables."""
    assert str(DoHResolver("https://dns.test/dns-query{?dns}")._url) == "https://dns.test/dns-query"


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
async def test_hypercorn_is_asked(
    ca: trustme.CA, client_context: ssl.SSLContext, tmp_path: Any, protocol: str
) -> None:
    versions = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        versions.add(scope["http_version"])
        asked = b""
        while True:
            event = await receive()
            asked += event.get("body", b"")
            if not event.get("more_body"):
                break
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", MESSAGE.encode())],
            }
        )
        said = answer_to(asked)
        await send({"type": "http.response.body", "body": said[:20], "more_body": True})
        await send({"type": "http.response.body", "body": said[20:]})

    leaf = ca.issue_cert("localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "leaf.pem")
    config, (port,) = Config(), free_ports(1)
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile = config.keyfile = str(tmp_path / "leaf.pem")
    config.alpn_protocols = [protocol]
    config.loglevel = "CRITICAL"
    ended = asyncio.Event()
    serving = asyncio.ensure_future(
        hypercorn.asyncio.serve(app, config, shutdown_trigger=ended.wait)
    )
    resolver = DoHResolver(
        f"https://localhost:{port}/dns-query", addresses=["127.0.0.1"], ssl=client_context
    )
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    first = await resolver.resolve("a.test")
                    break
                except OSError:  # it has not begun to listen
                    await asyncio.sleep(0.01)
            assert first[0]["host"] == "192.0.2.1"
            answers = await asyncio.gather(
                *(resolver.resolve(f"n{at}.test", 0, socket.AF_UNSPEC) for at in range(50))
            )
            assert all(len(rows) == 2 for rows in answers)
            assert versions == {"2" if protocol == "h2" else "1.1"}
    finally:
        await resolver.close()
        ended.set()
        await serving
