"""A peer that speaks HTTP/3 for an origin, by aioquic, correctly or with the origin's faults."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3Connection, ProtocolError
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent, StreamReset

from .origins import Asked, Origin, asked, fields_of
from .talkers import SocketPeer, StreamTunnel
from .tls import certificate
from .udp import Address, Datagrams

_NO_ERROR, _INTERNAL_ERROR = 0x100, 0x102


class _Connection(QuicConnectionProtocol):
    """One connection of a peer's."""

    def __init__(self, *args: Any, origin: Origin, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._origin = origin
        self._http: H3Connection | None = None
        self._heads: dict[int, Asked] = {}
        self._bodies: dict[int, bytearray] = {}
        self._tunnels: dict[int, StreamTunnel] = {}
        self._answers: set[asyncio.Task[None]] = set()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
            self._origin.ledger.seen["QUIC handshakes"] += 1
        if isinstance(event, StreamReset):
            self._heads.pop(event.stream_id, None)
            if tunnel := self._tunnels.get(event.stream_id):
                tunnel.ended()
        if self._http is None:
            return
        for said in self._http.handle_event(event):
            if isinstance(said, HeadersReceived) and said.stream_id not in self._heads:
                fields = fields_of(said.headers)
                self._origin.look_at(fields)
                head = asked(fields[":method"], fields[":path"], fields)
                self._heads[said.stream_id] = head
                self._bodies[said.stream_id] = bytearray()
                if head.method == "CONNECT":
                    del self._heads[said.stream_id]
                    self._connect(said.stream_id, head)
            elif isinstance(said, DataReceived) and said.stream_id in self._tunnels:
                self._tunnels[said.stream_id].came(said.data)
            elif isinstance(said, DataReceived) and said.stream_id in self._bodies:
                self._bodies[said.stream_id] += said.data
            if getattr(said, "stream_ended", False) and said.stream_id in self._heads:
                self._execute(said.stream_id)
            elif getattr(said, "stream_ended", False) and said.stream_id in self._tunnels:
                self._tunnels[said.stream_id].ended()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for tunnel in self._tunnels.values():
            tunnel.ended()

    def _connect(self, stream_id: int, head: Asked) -> None:
        """A WebSocket on a stream (RFC 9220)."""
        http, quic = self._http, self._quic
        assert http is not None

        async def write(data: bytes) -> None:
            http.send_data(stream_id, data, end_stream=False)
            self.transmit()

        async def accept(fields: list[tuple[str, str]]) -> None:
            said = [(name.encode(), value.encode()) for name, value in fields]
            http.send_headers(stream_id, [(b":status", b"200"), *said])
            self.transmit()

        def end() -> None:
            http.send_data(stream_id, b"", end_stream=True)
            self.transmit()

        def reset() -> None:
            quic.reset_stream(stream_id, _INTERNAL_ERROR)
            self.transmit()

        self._tunnels[stream_id] = tunnel = StreamTunnel(write, end, reset)
        talk = self._talk(tunnel, head, accept)
        task = asyncio.get_running_loop().create_task(talk)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _talk(self, tunnel: StreamTunnel, head: Asked, accept: Any) -> None:
        # The engine refuses to send on a stream that has ended, or that the client has reset.
        with contextlib.suppress(RuntimeError, ValueError, AssertionError, ProtocolError):
            await SocketPeer(self._origin).over(tunnel, head, accept)
            tunnel.end()

    def _execute(self, stream_id: int) -> None:
        request = self._heads.pop(stream_id)
        body = bytes(self._bodies.pop(stream_id))
        task = asyncio.get_running_loop().create_task(self._answer(stream_id, request, body))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, stream_id: int, request: Asked, body: bytes) -> None:
        # The engine refuses to send on a stream that the client has reset.
        with contextlib.suppress(RuntimeError, ValueError):
            await self._send(stream_id, request, body)

    async def _send(self, stream_id: int, request: Asked, body: bytes) -> None:
        dice, kind, http = self._origin.dice, request.kind, self._http
        assert http is not None
        answer = self._origin.execute(request, body)
        if kind == "silent":
            await asyncio.sleep(1_000)  # the others go then, and so does this one
            self._quic.reset_stream(stream_id, _INTERNAL_ERROR)
            self.transmit()
            return
        if kind == "late":
            await asyncio.sleep(dice.uniform(0, 3))
        if kind == "early" or (kind == "reset" and dice.random() < 0.5):
            self._quic.reset_stream(stream_id, _INTERNAL_ERROR)
            self.transmit()
            return
        content = b"" if request.method == "HEAD" else answer.content or b""
        fields = [(b":status", str(answer.status).encode())]
        fields += [(name.encode(), value.encode()) for name, value in answer.fields]
        if kind == "length":
            fields.append((b"content-length", str(len(answer.content or b"")).encode()))
        http.send_headers(stream_id, fields)
        if kind in {"cut", "garbage", "reset", "gzipcut", "untidy", "halfrecord"}:
            cut = dice.randrange(len(content) + 1)
            http.send_data(stream_id, content[:cut], end_stream=False)
            self._quic.reset_stream(stream_id, _INTERNAL_ERROR)
        else:
            http.send_data(stream_id, content, end_stream=True)
        self.transmit()
        if dice.random() < 0.03:
            self._quic.close(error_code=_NO_ERROR)
            self.transmit()


class _Sending(asyncio.DatagramTransport):
    """By what a peer sends."""

    def __init__(self, network: Datagrams) -> None:
        super().__init__()
        self._network = network

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._network.to_client(bytes(data), addr)


@cache
def _configuration(names: tuple[str, ...]) -> QuicConfiguration:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    chain, key, _ = certificate(names, "RSA")
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        Path(file.name).write_bytes(chain + key)
        configuration.load_cert_chain(file.name, file.name)
    return configuration


def listen(
    network: Datagrams, address: Address, origin: Origin, names: tuple[str, ...]
) -> None:  # fmt: skip
    """Let an origin answer by HTTP/3.

    Args:
        network: Where.
        address: At which address.
        origin: What answers.
        names: Whom its certificate names.
    """
    server = QuicServer(
        configuration=_configuration(names),
        create_protocol=lambda *args, **kwargs: _Connection(*args, origin=origin, **kwargs),
    )
    server.connection_made(_Sending(network))
    network.servers[address] = server.datagram_received
