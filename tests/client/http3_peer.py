"""The scripted peer of tests/client over HTTP/3, by aioquic and its HTTP/3."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import trustme
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.events import QuicEvent
from aioquic.tls import load_pem_private_key, load_pem_x509_certificates
from multidict import CIMultiDict


class Http3Side(QuicConnectionProtocol):
    """One connection, served by `exchange`.

    Args:
        exchange: Takes method, target, fields and body, and gives status, pairs and body; status 0
            hangs up.
    """

    def __init__(self, *args: Any, exchange: Callable[..., Any], **options: Any) -> None:
        super().__init__(*args, **options)
        self._exchange = exchange
        self._http = H3Connection(self._quic)
        self._requests: dict[int, tuple[CIMultiDict[str], bytearray]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def quic_event_received(self, event: QuicEvent) -> None:
        for happened in self._http.handle_event(event):
            stream_id: int = happened.stream_id
            if isinstance(happened, HeadersReceived) and stream_id not in self._requests:
                self._requests[stream_id] = (_fields(happened.headers), bytearray())
            elif isinstance(happened, DataReceived):
                self._requests[stream_id][1].extend(happened.data)
            if happened.stream_ended or ":protocol" in self._requests[stream_id][0]:
                fields, body = self._requests.pop(stream_id)
                task = asyncio.ensure_future(self._answer(stream_id, fields, bytes(body)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer(self, stream_id: int, fields: CIMultiDict[str], body: bytes) -> None:
        method, target = fields.pop(":method"), fields.pop(":path")
        fields["Host"] = fields.pop(":authority")
        del fields[":scheme"]
        fields.pop(":protocol", None)
        status, pairs, content = await self._exchange(method, target, fields, body)
        if status == 0:
            self.close(error_code=0x100)
            return
        head = [(b":status", str(status).encode())]
        head += [
            (name.lower().encode(), value.encode("utf-8", "surrogateescape"))
            for name, value in pairs
        ]
        with contextlib.suppress(QuicConnectionError, AssertionError, ValueError):
            # The client may have given the stream up.
            bodyless = method == "HEAD" or status in {204, 304}
            self._http.send_headers(stream_id, head, end_stream=bodyless)
            if not bodyless:
                self._http.send_data(stream_id, content, end_stream=True)
            self.transmit()

    def end(self) -> None:
        """Be gone, and leave nothing of it to the loop."""
        for task in self._tasks:
            task.cancel()
        for handle in (self._transmit_task, self._timer):
            if handle is not None:
                handle.cancel()


def _fields(pairs: Any) -> CIMultiDict[str]:
    fields: CIMultiDict[str] = CIMultiDict()
    for name, value in pairs:
        fields.add(name.decode(), value.decode("utf-8", "surrogateescape"))
    crumbs = fields.popall("cookie", [])
    if crumbs:
        fields["Cookie"] = "; ".join(crumbs)
    return fields


class Http3Server:
    """A server on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.port = 0
        self._sides: list[Http3Side] = []
        self._server: Any = None

    async def start(self, exchange: Callable[..., Any], leaf: trustme.LeafCert) -> None:
        """Serve `exchange` under a certificate."""
        configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
        chain = [load_pem_x509_certificates(blob.bytes())[0] for blob in leaf.cert_chain_pems]
        configuration.certificate, configuration.certificate_chain = chain[0], chain[1:]
        configuration.private_key = load_pem_private_key(leaf.private_key_pem.bytes(), None)

        def side(*args: Any, **options: Any) -> Http3Side:
            self._sides.append(Http3Side(*args, exchange=exchange, **options))
            return self._sides[-1]

        self._server = await serve(
            "127.0.0.1", 0, configuration=configuration, create_protocol=side
        )
        self.port = self._server._transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        """Be gone."""
        for side in self._sides:
            side.end()
        self._server._transport.abort()
