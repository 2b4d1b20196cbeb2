"""The scripted peer of tests/client over HTTP/2, by the h2 library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from multidict import CIMultiDict


class Http2Side:
    """One connection, served by `answer`.

    Args:
        reader: Its bytes in.
        writer: Its bytes out.
        exchange: Takes method, target, fields and body, and gives status, pairs and body; status 0
            hangs up.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        exchange: Callable[..., Any],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._exchange = exchange
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        self._requests: dict[int, tuple[CIMultiDict[str], bytearray]] = {}
        self._waiting: dict[int, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        self._h2.initiate_connection()
        self._flush()
        try:
            while data := await self._reader.read(65536):
                for event in self._h2.receive_data(data):
                    self._take(event)
                for stream in tuple(self._waiting):
                    self._send_body(stream)
                self._flush()
        finally:
            for task in self._tasks:
                task.cancel()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields: CIMultiDict[str] = CIMultiDict()
            for name, value in event.headers:
                fields.add(name.decode(), value.decode("utf-8", "surrogateescape"))
            crumbs = fields.popall("cookie", [])
            if crumbs:
                fields["Cookie"] = "; ".join(crumbs)
            self._requests[event.stream_id] = (fields, bytearray())
        elif isinstance(event, h2.events.DataReceived):
            self._requests[event.stream_id][1].extend(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            fields, body = self._requests.pop(event.stream_id)
            task = asyncio.ensure_future(self._answer(event.stream_id, fields, bytes(body)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(event, h2.events.StreamReset):
            self._requests.pop(event.stream_id, None)
            self._waiting.pop(event.stream_id, None)

    async def _answer(self, stream: int, fields: CIMultiDict[str], body: bytes) -> None:
        method, target = fields.pop(":method"), fields.pop(":path")
        fields["Host"] = fields.pop(":authority")
        del fields[":scheme"]
        status, pairs, content = await self._exchange(method, target, fields, body)
        if status == 0:
            self._writer.transport.abort()
            return
        head = [(b":status", str(status).encode())]
        head += [
            (name.lower().encode(), value.encode("utf-8", "surrogateescape"))
            for name, value in pairs
        ]
        try:
            if method == "HEAD" or status in {204, 304}:
                self._h2.send_headers(stream, head, end_stream=True)
            else:
                self._h2.send_headers(stream, head)
                self._waiting[stream] = content
                self._send_body(stream)
        except h2.exceptions.ProtocolError:  # the client gave the stream up
            return
        self._flush()

    def _send_body(self, stream: int) -> None:
        body = self._waiting[stream]
        while True:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            piece, body = body[:room], body[room:]
            if body and not piece:
                self._waiting[stream] = body
                return
            self._h2.send_data(stream, piece, end_stream=not body)
            if not body:
                del self._waiting[stream]
                return
