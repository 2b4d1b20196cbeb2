"""Connections to real servers: nginx, haproxy, stunnel, dnsmasq, unbound."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

import wherry
from wherry.resolver import AsyncResolver, ThreadedResolver


def told(text: str) -> dict[str, str]:
    """What nginx saw, by name."""
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


@pytest.mark.parametrize(("port", "version"), [("tls12", "TLSv1.2"), ("tls13", "TLSv1.3")])
async def test_tls_versions_and_resumption(nginx, client_tls, port: str, version: str) -> None:
    """A new connection to a known host takes up the last session: nginx says so."""
    connector = wherry.TCPConnector(ssl=client_tls, force_close=True, tls_resumption=True)
    async with wherry.ClientSession(connector=connector) as session:
        resumed = []
        for _ in range(4):
            async with session.get(f"https://localhost:{getattr(nginx, port)}/") as response:
                seen = told(await response.text())
                assert seen["tls"] == version
                resumed.append(seen["resumed"])
        assert resumed == [".", "r", "r", "r"]
        assert connector.stats().opened == 4


@pytest.mark.parametrize("front", ["haproxy", "stunnel"])
async def test_tls_fronts(request, front: str, client_tls) -> None:
    server = request.getfixturevalue(front)
    async with wherry.ClientSession(connector=wherry.TCPConnector(ssl=client_tls)) as session:
        for _ in range(3):
            async with session.get(f"https://localhost:{server.port}/json") as response:
                assert response.status == 200
                assert (await response.json())["count"] == 12345
        assert session.connector.stats().opened == 1


async def test_client_certificates(nginx, client_tls, client_tls_with_cert) -> None:
    """S001-112, S002-03, S002-04: for one request, beside a context without."""
    url = f"https://localhost:{nginx.client_cert}/"
    async with wherry.ClientSession() as session:
        async with session.get(url, ssl=client_tls_with_cert) as response:
            assert "tests-client" in told(await response.text())["client"]
        async with session.get(url, ssl=client_tls) as response:
            assert response.status == 400
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await session.get(url)


async def test_a_unix_socket(nginx) -> None:
    """S001-99"""
    async with wherry.ClientSession(
        connector=wherry.UnixConnector(path=str(nginx.socket_path))
    ) as session:
        for _ in range(2):
            async with session.get("http://localhost/") as response:
                assert told(await response.text())["request"]
        assert session.connector.stats().opened == 1


async def test_a_server_that_closes_after_five_requests(nginx) -> None:
    async with wherry.ClientSession() as session:
        for number in range(17):
            async with session.get(f"http://127.0.0.1:{nginx.five_requests}/") as response:
                assert told(await response.text())["request"] == str(number % 5 + 1)
        assert session.connector.stats().opened == 4


async def test_requests_at_once_to_a_server_that_closes_often(nginx) -> None:
    async def get(session: wherry.ClientSession) -> int:
        async with session.get(f"http://127.0.0.1:{nginx.five_requests}/json") as response:
            await response.read()
            return response.status

    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=7)) as session:
        assert await asyncio.gather(*(get(session) for _ in range(300))) == [200] * 300
        stats = session.connector.stats()
        assert stats.opened >= 60
        assert stats.busy == stats.waiting == 0


async def test_plain_http_to_a_tls_port(nginx) -> None:
    async with (
        wherry.ClientSession() as session,
        session.get(f"http://127.0.0.1:{nginx.tls13}/") as response,
    ):
        assert response.status == 400


async def test_tls_to_a_plain_port(nginx) -> None:
    async with wherry.ClientSession() as session:
        with pytest.raises(wherry.ClientConnectorSSLError) as caught:
            await session.get(f"https://127.0.0.1:{nginx.port}/")
        assert isinstance(caught.value, ssl.SSLError)


@pytest.mark.parametrize("server", ["dnsmasq", "unbound"])
async def test_name_servers(request, nginx, server: str) -> None:
    """S001-96, S001-97: AsyncResolver(nameservers=...), of the resolver module."""
    names = AsyncResolver(nameservers=[f"127.0.0.1:{request.getfixturevalue(server).port}"])
    rows = await names.resolve("two.test", 80, socket.AF_INET)
    assert sorted(row["host"] for row in rows) == ["127.0.0.1", "127.0.0.2"]
    async with wherry.ClientSession(connector=wherry.TCPConnector(resolver=names)) as session:
        # nginx listens on 127.0.0.1 alone; of the others' refusals nothing is seen.
        for name in ("origin.test", "two.test"):
            async with session.get(f"http://{name}:{nginx.port}/json") as response:
                assert response.status == 200
        with pytest.raises(wherry.ClientConnectorDNSError):
            await session.get(f"http://absent.test:{nginx.port}/")
    await names.close()


async def test_a_connector_may_be_shared(nginx) -> None:
    """S001-83 to 85: the session owns and closes its connector, unless connector_owner=False."""
    async with wherry.TCPConnector() as connector:
        for _ in range(2):
            session = wherry.ClientSession(connector=connector, connector_owner=False)
            async with session, session.get(f"http://127.0.0.1:{nginx.port}/json") as response:
                assert response.status == 200
            assert not connector.closed
        assert connector.stats().opened == 1
    session = wherry.ClientSession(connector=(owned := wherry.TCPConnector()))
    assert session.connector is owned
    await session.close()
    assert owned.closed


async def test_timings_and_stats(nginx, client_tls) -> None:
    names = ThreadedResolver()
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(ssl=client_tls, resolver=names)
    ) as session:
        url = f"https://localhost:{nginx.tls13}/json"
        async with session.get(url) as response:
            await response.read()
            timings = response.timings
        assert timings.dns > 0
        assert timings.connect > 0
        assert timings.tls > 0
        assert timings.first_byte > 0
        assert timings.total >= timings.dns + timings.connect + timings.tls + timings.first_byte
        assert (timings.queued, timings.send) == (None, None)
        async with session.get(url) as response:
            await response.read()
        timings = response.timings
        assert (timings.dns, timings.connect, timings.tls, timings.queued) == (
            None,
            None,
            None,
            None,
        )
        assert timings.total >= timings.first_byte > 0
        stats = session.connector.stats()
        assert (stats.open, stats.idle, stats.opened, stats.reused) == (1, 1, 1, 1)


async def test_queueing_and_sending_are_timed(serve) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"chunked" in head:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.01)
        yield b"b"

    url = f"http://127.0.0.1:{await serve(answer)}/"
    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=1)) as session:
        first, second = await asyncio.gather(session.post(url, data=body()), session.get(url))
        assert first.timings.send >= 0.01
        assert second.timings.queued >= 0.01
        assert second.timings.connect is None


async def test_the_guard_follows_redirects(nginx, raw_server) -> None:
    server = await raw_server(
        [
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            % nginx.port
        ]
    )

    asked = []

    def only_the_first(address) -> bool:
        asked.append(str(address))
        return len(asked) == 1

    async with wherry.ClientSession(
        connector=wherry.TCPConnector(allow_address=only_the_first)
    ) as session:
        with pytest.raises(wherry.ClientConnectorAddressBlocked) as caught:
            await session.get(f"http://127.0.0.1:{server.port}/")
        assert caught.value.port == nginx.port
        assert asked == ["127.0.0.1", "127.0.0.1"]
    async with wherry.ClientSession(
        connector=wherry.TCPConnector(allow_address=wherry.public_addresses_only)
    ) as session:
        for host in ("127.0.0.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "localhost"):
            with pytest.raises(wherry.ClientConnectorAddressBlocked):
                await session.get(f"http://{host}:{nginx.port}/")


async def test_an_unclosed_session_warns_once_and_its_sockets_close(nginx, recwarn) -> None:
    loop = asyncio.get_running_loop()
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.set_debug(True)
    try:
        session = wherry.ClientSession()
        async with session.get(f"http://127.0.0.1:{nginx.port}/json") as response:
            await response.read()
        connection = next(session.connector.pool.all_connections())
        del session, response
        gc.collect()
        await connection.wait_closed()
    finally:
        loop.set_debug(False)
    assert [str(warning.message)[:24] for warning in recwarn.list] == ["Unclosed client session "]
    assert [context["message"] for context in contexts] == ["Unclosed client session"]
    assert "source_traceback" in contexts[0]


@pytest.mark.parametrize(
    "verb", ["get", "options", "head", "post", "put", "patch", "delete", "ws_connect"]
)
async def test_a_requests_ssl_wins_for_every_verb(nginx, client_tls, verb: str) -> None:
    """S001-116: where TLS succeeds, nginx answers a WebSocket's handshake with something else than
    101.
    """
    url = f"https://localhost:{nginx.tls13}/json"
    async with wherry.ClientSession(connector=wherry.TCPConnector(ssl=client_tls)) as session:
        connect_request = getattr(session, verb)
        with pytest.raises(wherry.ServerFingerprintMismatch):
            await connect_request(url, ssl=wherry.Fingerprint(b"0" * 32))
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await connect_request(url, ssl=ssl.create_default_context())
        if verb == "ws_connect":
            with pytest.raises(wherry.WSServerHandshakeError):
                await connect_request(url, ssl=False)
        else:
            async with connect_request(url, ssl=False) as response:
                assert response.status in {200, 405}
