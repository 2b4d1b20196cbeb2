"""How urgent a response is (RFC 9218)."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from multidict import CIMultiDict
from tests.client.conftest import Asked, reply
from tests.servers.authority import CertificateFiles

import wherry
from wherry.client.headers.priority import priority_field


@pytest.mark.parametrize(
    ("priority", "field"),
    [
        (0, "u=0"),
        (7, "u=7"),
        ("u=1", "u=1"),
        ("i", "i"),
        ("u=5, i", "u=5, i"),
        ("i=?0,u=2", "i=?0,u=2"),
    ],
)
def test_what_a_priority_may_be(priority: Any, field: str) -> None:
    assert priority_field(priority) == field


@pytest.mark.parametrize(
    "priority", [-1, 8, "", "u=8", "u", "u=1;", "u=1,", "i=1", "high", "u=1\r\nX: y", "u=1, i\n"]
)
async def test_what_is_no_priority_is_refused(priority: Any) -> None:
    with pytest.raises(ValueError, match="priority is 0 to 7"):
        priority_field(priority)
    async with wherry.ClientSession() as session:
        with pytest.raises(ValueError, match="priority is 0 to 7"):
            await session.get("http://127.0.0.1:1/", priority=priority)


@pytest.mark.parametrize("priority", [True, 1.0, b"u=1", ["i"]])
def test_what_has_another_type_is_refused(priority: Any) -> None:
    with pytest.raises(TypeError, match="priority is an int or a str"):
        priority_field(priority)


def said(asked: Asked) -> list[str]:
    return list(asked.headers.getall("Priority", []))


async def test_a_request_says_it(peer: Any, session: Any) -> None:
    """RFC 9218 5: whatever the version, and to whom a redirect leads as well."""

    def answer(asked: Asked) -> Any:
        return reply(302, "", {"Location": "/end"}) if asked.target == "/hop" else reply()

    server = await peer(answer)
    client = session(headers={"Priority": "u=6"})
    own: dict[str, Any]
    for own in (
        {"priority": 1},
        {"priority": 1, "headers": {"priority": "u=7", "X": "y"}},
        {"priority": "u=1", "headers": CIMultiDict([("X", "y"), ("PRIORITY", "i")])},
        {"priority": "u=1", "headers": iter([("X", "y")])},
    ):
        async with client.get(server.url("/hop"), **own) as response:
            assert response.status == 200
        hop, end = server.asked[-2:]
        assert said(hop) == said(end) == ["u=1"]
        assert hop.headers.get("X") == ("y" if "headers" in own else None)
    async with client.post(server.url("/"), data=b"x"):
        assert said(server.asked[-1]) == ["u=6"]


async def test_there_is_nothing_to_say_any_more(peer: Any, session: Any) -> None:
    server = await peer(lambda asked: reply(200, b"whole"))
    async with session().get(server.url("/")) as response:
        await response.read()
        assert response.reprioritize(1) is False
        with pytest.raises(ValueError, match="priority is 0 to 7"):
            response.reprioritize(9)
    assert response.reprioritize(1) is False


async def test_http1_has_no_words_for_it(raw_server: Any) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await reader.read()

    server = await raw_server(script)
    async with wherry.ClientSession() as session, session.get(server.url) as response:
        assert response.reprioritize(1) is False


async def test_http2_is_told_anew() -> None:
    """RFC 9218 7.1: a frame of type 16 on stream 0."""
    updates: list[tuple[int, bytes]] = []
    told = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0\0\4\0\0\0\0\0")  # SETTINGS
        await reader.readexactly(24)
        while len(updates) < 2:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3]))
            if head[3] == 1:
                writer.write(b"\0\0\1\1\4" + head[5:9] + b"\x88")  # HEADERS: 200
            elif head[3] == 16:
                assert head[4:9] == bytes(5)
                updates.append((int.from_bytes(payload[:4]), payload[4:]))
        writer.write(b"\0\0\2\0\1\0\0\0\1ok")
        told.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    connector = wherry.TCPConnector(protocols=("h2c",))
    async with (
        wherry.ClientSession(connector=connector) as session,
        session.get(url, priority=0) as response,
    ):
        assert response.reprioritize(6)
        assert response.reprioritize("u=2, i")
        await asyncio.wait_for(told.wait(), 30)
        assert await response.read() == b"ok"
    assert updates == [(1, b"u=6"), (1, b"u=2, i")]
    server.close()


async def test_http3_is_told_anew(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext
) -> None:
    """RFC 9218 7.2: a frame of type 0xF0700 on the control stream."""
    pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
    pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")
    from tests.servers.http3 import Peer, headers, http3_server

    from wherry.protocol.http3.frames import DATA, PRIORITY_UPDATE, frame

    def script(peer: Peer, stream_id: int, request: bytes) -> None:
        peer.send(stream_id, headers((b":status", b"200")), fin=stream_id == 0)

    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with (
        http3_server(script, certificate_files) as server,
        wherry.ClientSession(connector=connector) as session,
    ):
        async with session.get(server.url()) as response:
            await response.read()
        async with session.get(server.url()) as response:
            assert response.reprioritize(6)
            (peer,) = server.peers
            update = frame(PRIORITY_UPDATE, b"\x04u=6")
            await server.until(lambda: update in peer.streams[2])
            peer.send(4, frame(DATA, b"ok"))
            assert await response.read() == b"ok"
