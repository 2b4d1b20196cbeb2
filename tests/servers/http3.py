"""HTTP/3 servers on aioquic, in the test's own loop: one that keeps the rules and answers what a test
says, and one that sends whatever bytes a test wants.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pylsqpack
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from tests.servers.authority import CertificateFiles

from wherry.protocol.http3.frames import DATA, HEADERS, frame

Script = Callable[["Peer", int, bytes], None]
SETTINGS = b"\x00" + frame(0x04, b"\x06\x80\x01\x00\x00" + b"\x21\x05")


def headers(*fields: tuple[bytes, bytes]) -> bytes:
    """A HEADERS frame, by ls-qpack's encoder."""
    encoder = pylsqpack.Encoder()
    encoder.apply_settings(0, 0)
    block: bytes = encoder.encode(0, list(fields))[1]
    return frame(HEADERS, block)


def response(body: bytes = b"", *fields: tuple[bytes, bytes], status: int = 200) -> bytes:
    """A whole response."""
    head = headers((b":status", str(status).encode()), *fields)
    return head + (frame(DATA, body) if body else b"")


class Peer(QuicConnectionProtocol):
    """One connection of the server's.

    It opens a control stream with SETTINGS by itself unless `Http3Server.quiet` is set, collects
    each request's bytes, and calls the server's script when one is whole.
    """

    def __init__(self, *args: Any, server: Http3Server, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server = server
        self.requests: dict[int, bytes] = {}
        self.streams: dict[int, bytes] = {}  # the client's unidirectional ones
        self.answered = 0  # for scripts to count
        server.peers.append(self)

    def quic_event_received(self, event: QuicEvent) -> None:
        server = self.server
        if isinstance(event, HandshakeCompleted):
            if not server.quiet:
                self.uni(server.settings)
        elif isinstance(event, StreamDataReceived):
            if event.stream_id & 3:
                self.streams[event.stream_id] = self.streams.get(event.stream_id, b"") + event.data
                server.happened.set()
                return
            server.received += len(event.data)
            self.requests[event.stream_id] = self.requests.get(event.stream_id, b"") + event.data
            if event.end_stream or server.early:
                server.script(self, event.stream_id, self.requests[event.stream_id])
        elif isinstance(event, (StreamReset, StopSendingReceived)):
            server.resets.append((type(event).__name__, event.stream_id, event.error_code))
            server.happened.set()
        elif isinstance(event, ConnectionTerminated):
            server.ends.append((event.error_code, event.reason_phrase))
            server.happened.set()

    def uni(self, data: bytes, *, fin: bool = False) -> int:
        """A unidirectional stream of the server's."""
        stream_id: int = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self.send(stream_id, data, fin=fin)
        return stream_id

    def send(self, stream_id: int, data: bytes, *, fin: bool = True) -> None:
        self._quic.send_stream_data(stream_id, data, fin)
        self.transmit()

    def reset(self, stream_id: int, code: int) -> None:
        self._quic.reset_stream(stream_id, code)
        self.transmit()

    def stop(self, stream_id: int, code: int) -> None:
        self._quic.stop_stream(stream_id, code)
        self.transmit()

    @property
    def unsent(self) -> int:
        """What waits on all streams for the client's credit."""
        return sum(
            stream.sender._buffer_stop - stream.sender._buffer_start
            for stream in self._quic._streams.values()
        )


class Http3Server:
    """A server; `script` is called with each whole request."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.quiet = False
        self.settings = SETTINGS  # the control stream
        self.early = False  # the script is called with each piece of a request
        self.peers: list[Peer] = []
        self.received = 0
        self.resets: list[tuple[str, int, int]] = []
        self.ends: list[tuple[int, str]] = []
        self.happened = asyncio.Event()
        self.port = 0
        self.quic: Any = None
        self.gone = False

    def url(self, path: str = "/") -> str:
        return f"https://localhost:{self.port}{path}"

    def vanish(self) -> None:
        """Be gone without a word, as after a crash."""
        self.gone = True
        self.quic._transport.abort()
        for peer in self.peers:
            for handle in (peer._transmit_task, peer._timer):
                if handle is not None:
                    handle.cancel()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for resets and ends."""
        while not condition():
            self.happened.clear()
            await asyncio.wait_for(self.happened.wait(), 10)


@contextlib.asynccontextmanager
async def http3_server(
    script: Script,
    files: CertificateFiles,
    *,
    port: int = 0,
    tickets: dict[bytes, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Http3Server]:
    """A server on a free port of 127.0.0.1.

    Args:
        script: What to do about a request.
        files: Its certificate.
        port: Where to listen; 0 for anywhere.
        tickets: Where sessions are kept that may be resumed; None for none.
        **options: For aioquic's QuicConfiguration.
    """
    server = Http3Server(script)
    options.setdefault("alpn_protocols", ["h3"])
    configuration = QuicConfiguration(is_client=False, **options)
    configuration.load_cert_chain(str(files.chain), str(files.key))
    server.quic = await serve(
        "127.0.0.1",
        port,
        configuration=configuration,
        create_protocol=lambda *args, **kwargs: Peer(*args, server=server, **kwargs),
        session_ticket_fetcher=None if tickets is None else tickets.get,
        session_ticket_handler=None
        if tickets is None
        else lambda ticket: tickets.update({ticket.ticket: ticket}),
    )
    server.port = server.quic._transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        if not server.gone:
            server.quic.close()
            server.vanish()
