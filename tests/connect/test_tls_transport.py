"""TLS over any transport: against an `ssl.SSLObject` of the server's side, byte by byte, and
against real peers.
"""

from __future__ import annotations

import asyncio
import gc
import random
import ssl
import subprocess
from typing import Any

import pytest
from tests.servers.process import find_program, free_ports

from wherry import ClientPayloadError, ClientSession, TCPConnector
from wherry.connect.tls import transport as tls_transport
from wherry.connect.tls.transport import TlsTransport


class Below(asyncio.Transport):
    """A transport that keeps what is written, and tells what is asked of it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 443)})
        self.written = b""
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.written += bytes(data)
        self.calls.append("write")

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class Keeper(asyncio.Protocol):
    """Keeps what a protocol is told."""

    def __init__(self) -> None:
        self.data = b""
        self.told: list[Any] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.told.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)


class BufferKeeper(asyncio.BufferedProtocol):
    """The same by a buffer that is small enough to need several turns."""

    def __init__(self) -> None:
        self.data = b""
        self.view = memoryview(bytearray(1000))
        self.told: list[Any] = []

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.data += bytes(self.view[:nbytes])

    def eof_received(self) -> bool:
        self.told.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)


class Pair:
    """A `TlsTransport` whose peer is a server's `SSLObject`."""

    def __init__(
        self, client: ssl.SSLContext, server: ssl.SSLContext, shutdown_timeout: float = 5.0
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.below = Below()
        self.near = TlsTransport(self.loop, client, "localhost", shutdown_timeout)
        self.near.connection_made(self.below)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.far = server.wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def shake(self, protocol: Any = None) -> Any:
        done = asyncio.ensure_future(self.near.secured(5))
        while not done.done():
            await asyncio.sleep(0)
            self.carry()
            self._try(self.far.do_handshake)
            self.deliver()
        await done
        self.near._flush()
        self.carry()
        self._try(self.far.do_handshake)
        keeper = protocol or Keeper()
        self.near.set_protocol(keeper)
        self.deliver()
        return keeper

    def carry(self) -> None:
        """What was written reaches the peer."""
        self.incoming.write(self.below.written)
        self.below.written = b""

    def deliver(self, size: int | None = None) -> None:
        """What the peer wrote arrives, in pieces of at most `size` bytes."""
        data = self.outgoing.read()
        size = size or tls_transport.RECEIVE_SIZE
        for at in range(0, len(data), size):
            self.arrive(data[at : at + size])

    def arrive(self, data: bytes) -> None:
        self.near.get_buffer(-1)[: len(data)] = data
        self.near.buffer_updated(len(data))

    def heard(self) -> bytes:
        """What the peer has received."""
        self.carry()
        data = b""
        while piece := self._try(self.far.read, 65536):
            data += piece
        return data

    @staticmethod
    def _try(call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except ssl.SSLWantReadError:
            return None


@pytest.fixture
async def pair(client_context, server_context) -> Pair:
    return Pair(client_context, server_context)


async def test_what_ends_the_handshake_goes_out_with_what_follows_or_a_moment_later(
    pair, monkeypatch
) -> None:
    monkeypatch.setattr(
        "wherry.connect.tls.transport.FLUSH_SECONDS", 60
    )  # on a busy machine the moment is over at once
    done = asyncio.ensure_future(pair.near.secured(5))
    await asyncio.sleep(0)
    assert pair.below.calls == ["write"]
    pair.carry()
    pair._try(pair.far.do_handshake)
    pair.deliver()
    await done
    assert pair.below.calls == ["write"]
    pair.near.write(b"GET")
    assert pair.below.calls == ["write", "write"]
    pair.carry()
    pair.far.do_handshake()
    assert pair.far.read(10) == b"GET"


async def test_an_end_that_nobody_waits_for_is_no_error_of_the_loop(pair) -> None:
    """A dial that is cancelled, or loses its race, has a transport whose handshake has not
    begun.
    """
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    pair.near.connection_lost(None)
    with pytest.raises(ConnectionResetError, match="closed the connection"):
        await pair.near.secured(5)
    again = TlsTransport(asyncio.get_running_loop(), pair.near._context, "localhost", 1)
    again.connection_lost(None)
    del again
    gc.collect()
    await asyncio.sleep(0)
    assert told == []


async def test_the_handshake_is_finished_even_if_nothing_is_sent(pair) -> None:
    done = asyncio.ensure_future(pair.near.secured(5))
    await asyncio.sleep(0)
    pair.carry()
    pair._try(pair.far.do_handshake)
    pair.deliver()
    await done
    while not pair.below.written:
        await asyncio.sleep(0)
    pair.carry()
    pair.far.do_handshake()


@pytest.mark.parametrize("keeper", [Keeper, BufferKeeper])
async def test_any_cut_of_the_bytes_gives_the_same_data(pair, keeper) -> None:
    kept = await pair.shake(keeper())
    dice = random.Random(7)
    data = dice.randbytes(200_000)
    for at in range(0, len(data), 7001):
        pair.far.write(data[at : at + 7001])
        pair.deliver(dice.choice((1, 5, 333, 20_000)))
    pair.far.write(b"last")
    pair._try(pair.far.unwrap)
    pair.deliver()
    assert kept.data == data + b"last"
    assert kept.told == ["eof"]
    assert pair.near.is_closing()


async def test_what_is_written_arrives_whole(pair) -> None:
    await pair.shake()
    data = random.Random(8).randbytes(100_000)
    pair.near.write(data)
    pair.near.write(b"")
    pair.near.writelines([b"one ", bytearray(b"two "), memoryview(b"three")])
    assert pair.heard() == data + b"one two three"


async def test_a_paused_reader_gets_nothing_and_then_everything(pair) -> None:
    class Slow(Keeper):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            pair.near.pause_reading()

    kept = await pair.shake(Slow())
    data = bytes(range(256)) * 1000
    for at in range(0, len(data), 16_000):
        pair.far.write(data[at : at + 16_000])
    pair.deliver()
    assert 0 < len(kept.data) < len(data)
    assert not pair.near.is_reading()
    while len(kept.data) < len(data):
        assert "pause" in pair.below.calls
        pair.near.resume_reading()
        await asyncio.sleep(0)
    assert kept.data == data


async def test_the_protocol_may_change_between_two_reads(pair) -> None:
    first = await pair.shake(Keeper())
    pair.far.write(b"to the first")
    pair.deliver()
    second = BufferKeeper()
    pair.near.set_protocol(second)
    assert pair.near.get_protocol() is second
    pair.far.write(b"to the second")
    pair.deliver()
    assert (first.data, second.data) == (b"to the first", b"to the second")


async def test_an_end_without_close_notify_is_told_and_seen(pair) -> None:
    """RFC 8446 6.1"""
    kept = await pair.shake()
    assert pair.near.get_extra_info("truncated") is False
    assert pair.near.eof_received() is False
    assert pair.near.get_extra_info("truncated") is True
    assert pair.near.is_closing()
    pair.near.connection_lost(None)
    assert kept.told == ["eof", None]


async def test_bytes_that_are_no_tls_end_the_connection_with_their_error(pair) -> None:
    kept = await pair.shake()
    pair.far.write(b"whole")
    pair.deliver()
    pair.arrive(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert pair.below.calls[-1] == "close"
    pair.near.connection_lost(None)
    assert kept.data == b"whole"
    assert isinstance(kept.told[-1], ssl.SSLError)
    with pytest.raises(ssl.SSLError):  # the peer is told by an alert (RFC 8446 6.2)
        pair.heard()


async def test_close_says_so_and_waits_for_the_peer(pair) -> None:
    """RFC 8446 6.1"""
    kept = await pair.shake()
    pair.near.close()
    pair.near.close()
    pair.near.write(b"too late")
    pair.near.pause_reading()
    assert pair.heard() == b""
    pair.far.write(b"on its way already")
    pair.deliver()
    assert not pair.below.is_closing()
    pair._try(pair.far.unwrap)
    pair.deliver()
    assert pair.below.calls[-1] == "close"
    pair.near.connection_lost(None)
    assert (kept.data, kept.told) == (b"", [None])


async def test_close_waits_for_nobody_longer_than_it_was_told(
    client_context, server_context
) -> None:
    pair = Pair(client_context, server_context, 0.01)
    await pair.shake()
    pair.near.close()
    async with asyncio.timeout(20):
        while pair.below.calls[-1] != "abort":
            await asyncio.sleep(0.001)
    pair = Pair(client_context, server_context, 0)
    await pair.shake()
    pair.near.close()
    assert pair.below.calls[-2:] == ["write", "close"]


async def test_a_peer_that_goes_on_after_close_is_cut(pair) -> None:
    await pair.shake()
    pair.near.close()
    sent = 0
    while not pair.below.is_closing():
        assert sent <= tls_transport.MAX_DISCARDED
        pair.far.write(b"x" * 16_000)
        sent += 16_000
        pair.deliver()
    assert pair.below.calls[-1] == "abort"


async def test_a_handshake_that_takes_too_long_is_cut(pair) -> None:
    with pytest.raises(ConnectionAbortedError, match=r"did not end within 0\.01 seconds"):
        await pair.near.secured(0.01)
    assert pair.below.is_closing()


async def test_a_refused_certificate_is_told_to_the_peer(server_context) -> None:
    pair = Pair(ssl.create_default_context(), server_context)
    with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"):
        await pair.shake()
    assert pair.below.calls[-2:] == ["write", "close"]
    with pytest.raises(ssl.SSLCertVerificationError):
        await pair.near._waiter


async def test_the_end_of_the_transport_ends_a_handshake(pair) -> None:
    done = asyncio.ensure_future(pair.near.secured(5))
    await asyncio.sleep(0)
    pair.near.eof_received()
    pair.near.connection_lost(None)
    with pytest.raises(ConnectionResetError, match="closed"):
        await done


@pytest.mark.parametrize("end", ["eof", "lost"])
async def test_an_end_that_comes_with_the_last_of_the_handshake_is_an_error(pair, end: str) -> None:
    """Before the task that waits for the handshake runs: nobody would be told of it later."""
    done = asyncio.ensure_future(pair.near.secured(5))
    await asyncio.sleep(0)
    pair.carry()
    pair._try(pair.far.do_handshake)
    pair.deliver()
    pair.near.eof_received()
    if end == "lost":
        pair.below.close()
        pair.near.connection_lost(None)
    with pytest.raises(ConnectionResetError, match="closed during the TLS handshake"):
        await done
    assert pair.below.is_closing()


async def test_a_cancelled_handshake_cuts_the_transport(pair) -> None:
    done = asyncio.ensure_future(pair.near.secured(5))
    await asyncio.sleep(0)
    done.cancel()
    with pytest.raises(asyncio.CancelledError):
        await done
    assert pair.below.calls[-1] == "abort"


async def test_it_tells_of_itself_what_transports_tell(pair, client_context) -> None:
    """S001-97"""
    kept = await pair.shake()
    tell = pair.near.get_extra_info
    assert tell("ssl_object").version() == "TLSv1.3"
    assert tell("sslcontext") is client_context
    assert tell("peercert")["subjectAltName"] == (("DNS", "localhost"), ("IP Address", "127.0.0.1"))
    assert tell("cipher")[1] == "TLSv1.3"
    assert tell("compression") is None
    assert tell("peername") == ("192.0.2.1", 443)
    assert tell("nothing", 5) == 5
    assert pair.near.below is pair.below
    assert not pair.near.can_write_eof()
    assert "open over" in repr(pair.near)
    pair.near.abort()
    pair.near.connection_lost(None)
    assert kept.told == [None]


# --- real peers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "command"),
    [("-tls1_3", b"K\n"), ("-tls1_2", b"R\n")],
)
async def test_the_peer_may_change_keys_in_the_middle(
    ca, client_context, tmp_path, version, command
) -> None:
    """RFC 8446 4.6.3, RFC 5246 7.4.1.1: openssl's own server asks for it between two messages."""
    leaf = ca.issue_cert("localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "leaf.pem"))
    (port,) = free_ports(1)
    server = await asyncio.create_subprocess_exec(
        find_program("openssl"),
        *("s_server", version, "-accept", f"127.0.0.1:{port}", "-cert", str(tmp_path / "leaf.pem")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        async with asyncio.timeout(10):
            await server.stdout.readuntil(b"ACCEPT")
            loop = asyncio.get_running_loop()
            near = TlsTransport(loop, client_context, "localhost")
            await loop.create_connection(lambda: near, "127.0.0.1", port)
            await near.secured()
            kept = Keeper()
            near.set_protocol(kept)
            server.stdin.write(command)
            told = asyncio.ensure_future(server.stdout.readuntil(b"SSL_do_handshake -> 1"))
            while not told.done():  # what is written meanwhile waits for the new keys
                near.write(b".")
                await asyncio.sleep(0)
            server.stdin.write(b"after\n")
            while not kept.data:
                await asyncio.sleep(0)
            near.write(b"the end")
            await server.stdout.readuntil(b"the end")
        assert kept.data == b"after\n"
        near.abort()
    finally:
        server.kill()
        await server.communicate()


@pytest.mark.parametrize(
    ("head", "says_so", "whole"),
    [
        ("Connection: close", True, True),
        ("Connection: close", False, False),
        ("Content-Length: 4", False, True),
    ],
)
async def test_a_body_that_ends_with_its_connection_needs_close_notify(
    serve, server_context, client_context, head, says_so, whole
) -> None:
    """RFC 9112 9.8: anybody on the way could have cut it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\nbody".encode())
        await writer.drain()
        if not says_so:
            writer.transport._ssl_protocol._transport.close()  # type: ignore[attr-defined]
            return
        writer.close()
        await writer.wait_closed()

    url = f"https://localhost:{await serve(answer, ssl=server_context)}/"
    async with (
        ClientSession(connector=TCPConnector(ssl=client_context)) as session,
        session.get(url) as response,
    ):
        if whole:
            assert await response.text() == "body"
        else:
            with pytest.raises(ClientPayloadError, match="close_notify"):
                await response.read()
