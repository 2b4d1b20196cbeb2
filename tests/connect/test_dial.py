"""Sockets: what is tried, how it fails, and what the error says."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct

import pytest
import uvloop

from wherry.connect.connector import TCPConnector, UnixConnector
from wherry.errors import (
    ClientConnectorError,
    ClientOSError,
    ConnectionTimeoutError,
    ServerDisconnectedError,
    ServerTimeoutError,
    UnixClientConnectorError,
)

from .conftest import Serve

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])


@LOOPS
def test_every_address_and_its_error_are_in_the_message(
    get, resolver, closed_port, new_loop
) -> None:
    async def run() -> ClientConnectorError:
        async with TCPConnector(resolver=resolver("127.0.0.1", "127.0.0.2", "::1")) as connector:
            with pytest.raises(ClientConnectorError) as caught:
                await get(connector, f"http://name.test:{closed_port}/")
        return caught.value

    with asyncio.Runner(loop_factory=new_loop) as runner:
        error = runner.run(run())
    assert type(error) is ClientConnectorError
    assert isinstance(error, OSError)
    assert error.errno == errno.ECONNREFUSED
    assert (error.host, error.port, error.ssl) == ("name.test", closed_port, True)
    message = str(error)
    assert f"name.test:{closed_port}" in message
    for address in (f"127.0.0.1:{closed_port}", f"127.0.0.2:{closed_port}", f"[::1]:{closed_port}"):
        assert f"{address}: Connection refused" in message


async def test_an_address_out_of_reach_is_a_connector_error(get) -> None:
    async with TCPConnector() as connector:
        with pytest.raises(ClientConnectorError) as caught:
            await get(connector, "http://255.255.255.255:9/")
        assert "255.255.255.255:9: " in str(caught.value)
        with pytest.raises(ClientConnectorError):
            await get(connector, "http://[fe80::1%25no-such-zone]:9/")


@pytest.fixture
def blackhole():
    """A port whose backlog is full: a connection is neither taken nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield listener.getsockname()[1]
        for filler in fillers:
            filler.close()


async def test_a_blackhole_is_a_timeout_that_names_what_was_tried(get, blackhole) -> None:
    async with TCPConnector() as connector:
        with pytest.raises(ConnectionTimeoutError) as caught:
            await get(connector, f"http://127.0.0.1:{blackhole}/", sock_connect=0.05)
        assert isinstance(caught.value, ServerTimeoutError)
        assert isinstance(caught.value, TimeoutError)
        assert f"127.0.0.1:{blackhole}: no answer" in str(caught.value)
        assert "0.05 seconds" in str(caught.value)
        assert connector.stats().open == 0


async def test_a_server_that_is_silent_in_the_handshake_is_a_timeout(get, serve) -> None:
    async def answer(reader, writer) -> None:
        await reader.read()
        await asyncio.Event().wait()

    port = await serve(answer)
    async with TCPConnector() as connector:
        with pytest.raises(ConnectionTimeoutError):
            await get(connector, f"https://127.0.0.1:{port}/", sock_connect=0.05)


async def test_the_next_address_is_raced_when_the_first_is_silent(
    get, serve, blackhole, resolver
) -> None:
    """RFC 8305: the delay is all that a dead address costs."""
    await serve(host="127.0.0.2", port=blackhole)
    names = resolver("127.0.0.1", "127.0.0.2")
    async with TCPConnector(resolver=names, happy_eyeballs_delay=0.01) as connector:
        answer = await get(connector, f"http://name.test:{blackhole}/", sock_connect=5)
        assert answer.connection.transport.get_extra_info("peername")[0] == "127.0.0.2"


async def test_a_reset_is_a_client_os_error(get, serve) -> None:
    async def answer(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    port = await serve(answer)
    async with TCPConnector() as connector:
        with pytest.raises((ClientOSError, ServerDisconnectedError)):
            await get(connector, f"http://127.0.0.1:{port}/")
        assert connector.stats().open == 0


async def test_a_dial_that_is_cancelled_leaves_nothing(get, blackhole) -> None:
    async with TCPConnector(limit=1) as connector:
        task = asyncio.create_task(get(connector, f"http://127.0.0.1:{blackhole}/"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while connector.pool._dials:
            await asyncio.sleep(0)
        assert connector.stats().open == 0
        assert connector.pool.connection_limits.taken == 0


# --- what users give ------------------------------------------------------------------------------


@LOOPS
def test_socket_factory_makes_every_socket(get, new_loop) -> None:
    """S001-100, S001-101: it gets getaddrinfo's five fields, and its socket is used."""
    made: list[tuple[tuple, socket.socket]] = []

    def factory(addr_info: tuple) -> socket.socket:
        family, kind, proto, _, _ = addr_info
        sock = socket.socket(family=family, type=kind, proto=proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
        made.append((addr_info, sock))
        return sock

    async def run() -> None:
        serve = Serve()
        port = await serve()
        async with TCPConnector(socket_factory=factory, force_close=True) as connector:
            for _ in range(2):
                answer = await get(connector, f"http://127.0.0.1:{port}/")
                assert answer.status == 200
        await serve.stop()
        assert [info for info, _ in made] == [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))
        ] * 2

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


async def test_a_factory_that_fails_is_an_error_of_the_request(get) -> None:
    def factory(addr_info: tuple) -> socket.socket:
        raise OSError(errno.EMFILE, "too many")

    async with TCPConnector(socket_factory=factory) as connector:
        with pytest.raises(ClientConnectorError) as caught:
            await get(connector, "http://127.0.0.1:9/")
        assert caught.value.errno == errno.EMFILE


async def test_local_addr_binds(get, serve) -> None:
    seen = []

    async def answer(reader, writer) -> None:
        seen.append(writer.get_extra_info("peername")[0])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.read()

    port = await serve(answer)
    async with TCPConnector(local_addr=("127.0.0.3", 0)) as connector:
        await get(connector, f"http://127.0.0.1:{port}/")
    assert seen == ["127.0.0.3"]
    async with TCPConnector(local_addr=("192.0.2.1", 0)) as connector:
        with pytest.raises(ClientConnectorError, match="assign requested address"):
            await get(connector, f"http://127.0.0.1:{port}/")


async def test_a_request_is_not_held_back_for_more(get, serve) -> None:
    port = await serve()
    async with TCPConnector() as connector:
        answer = await get(connector, f"http://127.0.0.1:{port}/")
        sock = answer.connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- Unix sockets ---------------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("kind", ["file", "at", "zero"])
def test_unix_sockets(get, tmp_path, new_loop, kind) -> None:
    """S001-99: a path, or one of Linux's abstract names."""
    name = f"wherry-test-{tmp_path.name}"
    path = {"file": str(tmp_path / "s"), "at": f"@{name}", "zero": f"\0{name}"}[kind]

    async def run() -> None:
        serve = Serve()
        await serve.unix(f"\0{name}" if kind != "file" else path)
        async with UnixConnector(path=path) as connector:
            assert connector.path == path
            for _ in range(2):
                assert (await get(connector, "http://whatever/")).status == 200
            assert connector.stats().opened == 1
            assert "unix" in connector.allowed_protocol_schema_set
        await serve.stop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


async def test_tls_over_a_unix_socket(get, serve, tmp_path, server_context, client_context) -> None:
    path = str(tmp_path / "s")
    await serve.unix(path, ssl=server_context)
    async with UnixConnector(path) as connector:
        assert (await get(connector, "https://localhost/", ssl=client_context)).status == 200


async def test_a_unix_socket_that_is_not_there(get, tmp_path) -> None:
    path = str(tmp_path / "nobody")
    async with UnixConnector(path) as connector:
        with pytest.raises(UnixClientConnectorError) as caught:
            await get(connector, "http://localhost/")
    assert isinstance(caught.value, ClientConnectorError)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.path == path
    assert path in str(caught.value)


# --- timings --------------------------------------------------------------------------------------


async def test_each_step_is_timed(
    get, serve, server_context, client_context, resolver, tmp_path
) -> None:
    port = await serve(ssl=server_context)
    async with TCPConnector(ssl=client_context, resolver=resolver("127.0.0.1")) as connector:
        timings = (await get(connector, f"https://localhost:{port}/")).connection.timings
        assert timings.dns is not None
        assert timings.connect > 0
        assert timings.tls > 0
        plain = await serve()
        timings = (await get(connector, f"http://127.0.0.1:{plain}/")).connection.timings
        assert timings.connect > 0
        assert timings.tls is None
        assert timings.dns is None
