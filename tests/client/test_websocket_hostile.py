"""WebSockets against a server that is a script of raw bytes: what breaks the rules, and what
strains them.
"""

from __future__ import annotations

import asyncio
import re
import socket as socket_module
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop
from tests.protocol.websocket_cases import (
    BINARY,
    CASES,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Case,
    close,
    frame,
)

import wherry
from wherry import ClientSession, ClientWSTimeout, WSMsgType, WSServerHandshakeError
from wherry.client.websocket import channel as websocket_channel
from wherry.client.websocket.channel import WebSocketChannel
from wherry.protocol.websocket.deflate import Inflater
from wherry.protocol.websocket.frames import FrameReader, FrameWriter
from wherry.protocol.websocket.handshake import accept_for

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def switching(request: bytes, fields: str = "") -> bytes:
    """101, and what answers the request's key."""
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert found is not None
    accept = accept_for(found[1].decode())
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
    ).encode()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """(first byte, payload) of a frame of the client, which must be masked."""
    first, second = await reader.readexactly(2)
    assert second & 0x80
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8), "big")
    key = await reader.readexactly(4)
    payload = await reader.readexactly(length)
    return first, bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@pytest.fixture
def serve(raw_server: Any) -> Callable[..., Awaitable[str]]:
    """``await serve(script, fields="")`` opens a WebSocket for each handshake, and goes on with the
    script.
    """

    async def start(script: Script, fields: str = "", early: bytes = b"") -> str:
        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(switching(request, fields) + early)
            await script(reader, writer)

        server = await raw_server(serve_one)
        return f"ws://127.0.0.1:{server.port}/"

    return start


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as made:
        yield made


async def until_eof(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


# --- every rule of the protocol -------------------------------------------------------------------


async def test_autobahn_cases_over_a_connection(session: ClientSession, serve: Any) -> None:
    """Groups 1 to 7: the messages arrive, an illegal frame is answered with the right code, and
    then all is over.
    """
    cases = [case for case in CASES if len(case.data) < 70_000]
    todo = iter(cases)
    answers: asyncio.Queue[list[tuple[int, bytes]]] = asyncio.Queue()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        case = next(todo)
        writer.write(case.data)
        if case.error is None and not any(kind == CLOSE for kind, _ in case.messages):
            writer.write(close(4321))
        frames = []
        while True:
            first, payload = await read_frame(reader)
            frames.append((first, payload))
            if first == 0x80 | CLOSE:
                break
        await answers.put(frames)

    url = await serve(script)
    for case in cases:
        await check_case(session, url, case, answers)


async def check_case(
    session: ClientSession, url: str, case: Case, answers: asyncio.Queue[list[tuple[int, bytes]]]
) -> None:
    async with asyncio.timeout(20), session.ws_connect(url) as socket:
        for kind, data in case.messages:
            if kind in (TEXT, BINARY):
                message = await socket.receive()
                assert (message.type, message.data) == (kind, data), case.name
        last = await socket.receive()
        *others, (_, closing) = await answers.get()
        code = int.from_bytes(closing[:2], "big")
        pings = [(0x80 | PONG, data) for kind, data in case.messages if kind == PING]
        assert others == pings, case.name
        if case.error is not None:
            assert last.type is WSMsgType.ERROR, case.name
            assert isinstance(last.data, wherry.WebSocketError)
            assert code == last.data.code == socket.close_code == case.error, case.name
            assert socket.exception() is last.data
        else:
            assert last.type is WSMsgType.CLOSE, case.name
            assert code == (last.data or 1000), case.name
        assert (await socket.receive()).type is WSMsgType.CLOSED
    assert socket.closed


async def test_an_error_is_answered_though_nobody_receives(
    session: ClientSession, serve: Any
) -> None:
    told: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(TEXT, b"good") + frame(3))
        told.set_result(await read_frame(reader))

    async with session.ws_connect(await serve(script)) as socket:
        async with asyncio.timeout(20):
            assert (await told)[1][:2] == (1002).to_bytes(2, "big")
        assert (await socket.receive()).data == "good"
        assert (await socket.receive()).type is WSMsgType.ERROR
        assert (await socket.receive()).type is WSMsgType.CLOSED


async def test_a_peer_that_does_not_leave_after_an_error_is_left(
    session: ClientSession, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_channel, "LINGER_SECONDS", 0.05)
    gone = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(3))
        await until_eof(reader)
        gone.set()

    socket = await session.ws_connect(await serve(script))
    async with asyncio.timeout(20):
        await gone.wait()
        assert (await socket.receive()).type is WSMsgType.ERROR


# --- handshakes -----------------------------------------------------------------------------------

GOOD = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"


@pytest.mark.parametrize(
    ("answer", "options", "message"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", {}, "status"),
        ("HTTP/1.1 101 X\r\n" + GOOD.replace("websocket", "h2c"), {}, "upgrade header"),
        ("HTTP/1.1 101 X\r\n" + GOOD.replace("{accept}", "rubbish"), {}, "challenge"),
        (
            "HTTP/1.1 101 X\r\n" + GOOD + "Sec-WebSocket-Protocol: other\r\n",
            {"protocols": ["chat"]},
            "subprotocol",
        ),
        ("HTTP/1.1 101 X\r\n" + GOOD + "Sec-WebSocket-Protocol: chat\r\n", {}, "subprotocol"),
        (
            "HTTP/1.1 101 X\r\n" + GOOD + "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            {},
            "extension",
        ),
        (
            "HTTP/1.1 101 X\r\n" + GOOD + "Sec-WebSocket-Extensions: x-other\r\n",
            {"compress": 15},
            "extension",
        ),
        (
            "HTTP/1.1 101 X\r\n"
            + GOOD
            + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=7\r\n",
            {"compress": 15},
            "window",
        ),
    ],
)
async def test_a_handshake_that_is_not_right_is_refused(
    session: ClientSession, raw_server: Any, answer: str, options: Any, message: str
) -> None:
    gone = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
        assert found is not None
        writer.write((answer.replace("{accept}", accept_for(found[1].decode())) + "\r\n").encode())
        if "101" in answer:
            await until_eof(reader)  # the connection is not kept
        gone.set()

    server = await raw_server(script)
    with pytest.raises(WSServerHandshakeError, match=message) as caught:
        await session.ws_connect(f"ws://127.0.0.1:{server.port}/", **options)
    assert caught.value.headers is not None
    async with asyncio.timeout(20):
        await gone.wait()


async def test_a_connection_that_ends_inside_the_handshake_is_an_error(
    session: ClientSession, raw_server: Any
) -> None:
    server = await raw_server([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: web"])
    with pytest.raises(wherry.ClientError):
        await session.ws_connect(f"ws://127.0.0.1:{server.port}/")


async def test_frames_that_come_with_the_handshake_are_not_lost(
    session: ClientSession, serve: Any
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await read_frame(reader) == (0x80 | PONG, b"early")
        await read_frame(reader)

    url = await serve(script, early=frame(TEXT, b"hello") + frame(PING, b"early") + close(1000))
    async with asyncio.timeout(20), session.ws_connect(url) as socket:
        assert await socket.receive_str() == "hello"
        assert (await socket.receive()).type is WSMsgType.CLOSE


# --- compression and size -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms",
    ["", "; client_no_context_takeover; server_no_context_takeover", "; client_max_window_bits=9"],
)
async def test_terms_of_compression_are_kept(
    session: ClientSession, serve: Any, terms: str
) -> None:
    received = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inflater = zlib.decompressobj(-9 if "9" in terms else -15)
        while True:
            first, payload = await read_frame(reader)
            if first == 0x80 | CLOSE:
                writer.write(close())
                return
            assert first == 0xC1
            received.append(inflater.decompress(payload + b"\0\0\xff\xff"))
            if "no_context" in terms:
                inflater = zlib.decompressobj(-15)

    url = await serve(script, f"Sec-WebSocket-Extensions: permessage-deflate{terms}\r\n")
    async with session.ws_connect(url, compress=15) as socket:
        assert socket.client_notakeover is ("no_context" in terms)
        assert socket.compress == (9 if "9" in terms else 15)
        for _ in range(3):
            await socket.send_str("again and again " * 100)
    assert received == [b"again and again " * 100] * 3


async def test_a_compressed_bomb_is_answered_with_1009(session: ClientSession, serve: Any) -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = (stream.compress(bytes(64 << 20)) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
    told: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(BINARY, bomb, rsv=4))
        told.set_result(await read_frame(reader))

    url = await serve(script, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
    async with asyncio.timeout(20), session.ws_connect(url, compress=15) as socket:
        message = await socket.receive()
        assert message.data.code == 1009
        assert (await told)[1][:2] == (1009).to_bytes(2, "big")


async def test_max_msg_size_is_a_limit_and_zero_is_none(session: ClientSession, serve: Any) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(BINARY, bytes(5 << 20)))
        await until_eof(reader)

    url = await serve(script)
    for limit, expected in (
        (None, WSMsgType.ERROR),
        (5 << 20, WSMsgType.BINARY),
        (0, WSMsgType.BINARY),
    ):
        socket = await session.ws_connect(
            url,
            timeout=ClientWSTimeout(ws_close=0.01),
            **({} if limit is None else {"max_msg_size": limit}),
        )
        assert (await socket.receive(5)).type is expected
        await socket.close()


# --- flow -----------------------------------------------------------------------------------------


async def test_a_slow_reader_stops_the_peer(session: ClientSession, serve: Any) -> None:
    """What nobody takes does not pile up, and nothing of it is lost."""
    total = 400
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.get_extra_info("socket").setsockopt(
            socket_module.SOL_SOCKET, socket_module.SO_SNDBUF, 65536
        )
        for number in range(total):
            writer.write(frame(BINARY, number.to_bytes(4, "big") + bytes(65532)))
            await writer.drain()
            sent += 1
        await until_eof(reader)

    async with session.ws_connect(
        await serve(script), timeout=ClientWSTimeout(ws_close=0.01)
    ) as socket:
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.05)
        assert 0 < sent < total
        assert sum(len(message.data) for message in socket._messages) < 1 << 20
        for number in range(total):
            data = await socket.receive_bytes(timeout=20)
            assert len(data) == 65536
            assert int.from_bytes(data[:4], "big") == number


def packed(payload: bytes) -> bytes:
    """`payload` by permessage-deflate, without a window that lives on."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def held_by(socket: wherry.ClientWebSocketResponse) -> int:
    """How much memory the messages hold that nobody has taken, and what is to become messages."""
    reader = socket._channel._reader
    messages = sum(
        sys.getsizeof(message) + sys.getsizeof(message[1]) for message in socket._messages
    )
    return messages + reader.unfinished + len(reader._pending)


FRUGAL = {
    "compressed": (BINARY, frame(BINARY, packed(bytes(100_000)), rsv=4), 100_000),
    "compressed text": (TEXT, frame(TEXT, packed(b"a" * 100_000), rsv=4), 100_000),
    "wide text": (TEXT, frame(TEXT, packed("\N{GRINNING FACE}".encode() * 25_000), rsv=4), 25_000),
    "fragments": (
        BINARY,
        frame(BINARY, packed(bytes(100_000))[:50], fin=False, rsv=4)
        + frame(PING, b"between")
        + frame(0, packed(bytes(100_000))[50:]),
        100_000,
    ),
    "nothing in it": (BINARY, frame(BINARY), 0),
    "nothing in it, compressed": (BINARY, frame(BINARY, b"\0", rsv=4), 0),
    "small": (TEXT, frame(TEXT, b"tick"), 4),
}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", FRUGAL)
async def test_unread_messages_are_bounded_by_what_they_hold(
    session: ClientSession, serve: Any, kind: str, loop: str
) -> None:
    """Not by what came: 2 bytes or 100 may become a message of 100,000."""
    opcode, data, size = FRUGAL[kind]
    total = 20_000 if size < 100 else 500

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, total, 20):
            writer.write(data * min(20, total - start))
            await writer.drain()
        writer.write(close(4000))
        await until_eof(reader)

    url = await serve(
        script, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
    )

    async def client() -> None:
        async with ClientSession() as session, asyncio.timeout(30):
            socket = await session.ws_connect(url, compress=15)
            while not socket._channel.is_paused:
                await asyncio.sleep(0.005)
            assert held_by(socket) < 1 << 20
            most = 0
            for _ in range(total):
                message = await socket.receive()
                most = max(most, len(socket._messages))
                assert (message.type, len(message.data)) == (opcode, size)
            assert most * (100 + size) < 1 << 20
            assert (await socket.receive()).data == 4000

    if loop == "asyncio":
        await client()
    else:
        await asyncio.to_thread(uvloop.run, client())


async def test_what_comes_after_the_peer_was_told_to_stop_is_left_as_it_came() -> None:
    """A stream of HTTP/2 goes on for as long as its window lets it, and TLS to the record's end."""
    tunnel = Told()
    reader = FrameReader(4 << 20, Inflater(15, takeover=False))
    channel = WebSocketChannel(asyncio.get_running_loop(), reader, FrameWriter())
    channel.attach(cast("Any", tunnel))
    data = frame(BINARY, packed(bytes(100_000)), rsv=4)
    for _ in range(1000):
        channel.data_received(data)
    channel.data_received(close(4001))
    assert tunnel.paused
    assert sum(len(message[1]) for message in channel.messages) < 1 << 20
    channel.connection_lost(None)
    taken = 0
    while channel.messages[0].type is WSMsgType.BINARY:
        assert not channel.ended
        channel.messages.popleft()
        taken += 1
        if not channel.messages:
            channel.taken()
    assert taken == 1000
    last = channel.messages.popleft()
    assert (last.type, last.data) == (WSMsgType.CLOSE, 4001)
    assert channel.exception is None


class Told:
    """A tunnel that goes nowhere."""

    transport = None

    def __init__(self) -> None:
        self.paused = False
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        """Nothing is open."""

    abort = leave = close


async def test_a_flood_of_pings_is_answered_without_keeping_it() -> None:
    tunnel = Told()
    channel = WebSocketChannel(asyncio.get_running_loop(), FrameReader(), FrameWriter())
    channel.attach(cast("Any", tunnel))
    channel.data_received(frame(PING, b"x") * 5000 + frame(TEXT, b"last"))
    assert len(tunnel.written) == 5000
    assert [message.data for message in channel.messages] == ["last"]
    assert not tunnel.paused


async def test_closing_looks_through_what_was_left_as_it_came() -> None:
    tunnel = Told()
    reader = FrameReader(4 << 20, Inflater(15, takeover=False))
    channel = WebSocketChannel(asyncio.get_running_loop(), reader, FrameWriter())
    channel.attach(cast("Any", tunnel))
    for _ in range(100):
        channel.data_received(frame(BINARY, packed(bytes(100_000)), rsv=4))
    channel.data_received(close(4002))
    assert channel.peer_close is None
    async with asyncio.timeout(20):
        await channel.finish(1000, b"", 1.0)
    assert channel.close_code == 4002
    assert not tunnel.paused


async def test_sending_waits_for_a_peer_that_does_not_read(
    session: ClientSession, serve: Any
) -> None:
    go_on = asyncio.Event()
    received = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        transport: Any = writer.transport
        transport.pause_reading()
        await go_on.wait()
        transport.resume_reading()
        while received < 100 << 18:
            head = await reader.readexactly(14)
            assert head[:2] == b"\x82\xff"
            received += len(await reader.readexactly(int.from_bytes(head[2:10], "big")))
        await read_frame(reader)
        writer.write(close())

    sent = 0
    async with session.ws_connect(await serve(script)) as socket:

        async def send() -> None:
            nonlocal sent
            for _ in range(100):
                await socket.send_bytes(bytes(1 << 18))
                sent += 1

        sender = asyncio.create_task(send())
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.02)
        assert sent < 100
        go_on.set()
        async with asyncio.timeout(20):
            await sender
    assert received == 100 << 18


async def test_pings_to_a_peer_that_reads_nothing_do_not_pile_up(
    session: ClientSession, serve: Any
) -> None:
    """RFC 6455 5.5.3: the last one is enough."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(1000):
            writer.write(frame(PING, number.to_bytes(4, "big") * 30))
        writer.write(frame(TEXT, b"done"))
        await until_eof(reader)

    socket = await session.ws_connect(await serve(script), timeout=ClientWSTimeout(ws_close=0.01))
    socket._channel.pause_writing()
    written: list[bytes] = []
    socket._channel.write = written.append
    assert await socket.receive_str(timeout=20) == "done"
    assert written == []
    socket._channel.resume_writing()
    assert len(written) == 1
    await socket.close()


# --- time -----------------------------------------------------------------------------------------


async def test_a_heartbeat_keeps_a_live_peer_and_ends_a_dead_one(
    session: ClientSession, serve: Any
) -> None:
    pings = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal pings
        while pings < 3:
            first, payload = await read_frame(reader)
            assert first == 0x80 | PING
            pings += 1
            writer.write(frame(PONG, payload))
        await until_eof(reader)

    async with session.ws_connect(await serve(script), heartbeat=0.04) as socket:
        message = await socket.receive(5)
        assert pings == 3
        assert message.type is WSMsgType.ERROR
        assert isinstance(message.data, wherry.ServerTimeoutError)
        assert "PONG" in str(message.data)
        assert socket.exception() is message.data
        assert socket.close_code == 1006
        assert socket.closed
        assert (await socket.receive()).type is WSMsgType.CLOSED


async def test_data_is_as_good_as_a_pong_and_a_stopped_peer_is_not_dead(
    session: ClientSession, serve: Any
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(8):
            writer.write(frame(TEXT, b"tick"))
            await asyncio.sleep(0.02)
        writer.write(frame(BINARY, bytes(1 << 20)) * 4)
        await until_eof(reader)

    socket = await session.ws_connect(
        await serve(script), heartbeat=0.05, timeout=ClientWSTimeout(ws_close=0.01), max_msg_size=0
    )
    for _ in range(8):
        assert await socket.receive_str(timeout=20) == "tick"
    while not socket._channel.is_paused:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # several heartbeats
    assert not socket.closed
    for _ in range(4):
        assert len(await socket.receive_bytes(timeout=20)) == 1 << 20
    await socket.close()


async def test_a_peer_that_never_answers_a_close_is_left(
    session: ClientSession, serve: Any
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            writer.write(frame(TEXT, b"and another thing"))
            await asyncio.sleep(0.005)

    socket = await session.ws_connect(await serve(script), timeout=ClientWSTimeout(ws_close=0.05))
    async with asyncio.timeout(20):
        assert await socket.close() is True
    assert socket.close_code == 1006
    assert isinstance(socket.exception(), TimeoutError)


async def test_closing_finds_the_close_frame_behind_what_nobody_read(
    session: ClientSession, serve: Any
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(BINARY, bytes(1 << 20)) * 20 + close(4005))
        await until_eof(reader)

    socket = await session.ws_connect(await serve(script))
    while not socket._channel.is_paused:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        await socket.close()
    assert socket.close_code == 4005


async def test_cancelling_close_ends_the_connection(session: ClientSession, serve: Any) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_frame(reader)
        asked.set()
        await until_eof(reader)
        gone.set()

    socket = await session.ws_connect(await serve(script))
    closing = asyncio.create_task(socket.close())
    await asked.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    async with asyncio.timeout(20):
        await gone.wait()


async def test_the_session_leaves_a_peer_that_does_not_answer(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.client.websocket.connect.SHUTDOWN_SECONDS", 0.05)
    frames = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames.append(await read_frame(reader))
        await until_eof(reader)

    session = ClientSession()
    socket = await session.ws_connect(await serve(script))
    async with asyncio.timeout(20):
        await session.close()
    assert socket.closed
    assert frames == [(0x80 | CLOSE, (1001).to_bytes(2, "big"))]


async def test_a_message_cut_short_is_no_message(session: ClientSession, serve: Any) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(TEXT, b"whole") + frame(TEXT, b"cut short")[:-3])

    async with asyncio.timeout(20), session.ws_connect(await serve(script)) as socket:
        assert await socket.receive_str() == "whole"
        assert (await socket.receive()).type is WSMsgType.CLOSED
        assert socket.close_code == 1006


async def test_a_reset_wakes_who_waits_to_send(session: ClientSession, serve: Any) -> None:
    full = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await full.wait()
        writer.transport.abort()

    async def send_on(socket: wherry.ClientWebSocketResponse) -> None:
        while True:
            await socket.send_bytes(bytes(1 << 18))

    async with asyncio.timeout(20), session.ws_connect(await serve(script)) as socket:
        sending = asyncio.create_task(send_on(socket))
        while not socket._channel.write_gate._waiters:
            await asyncio.sleep(0)
        full.set()
        with pytest.raises(ConnectionResetError):
            await sending
        assert (await socket.receive()).type is WSMsgType.CLOSED
