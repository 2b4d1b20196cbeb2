"""The parser's side of an HTTP/1.1 connection: what llhttp's callbacks mean for the exchange under way.

It gathers a message and marks where it ends; what follows from that is the connection's matter.
"""

from __future__ import annotations

import httptools

from wherry.errors import BadHttpMessage
from wherry.protocol.connection import Connection, ResponseHead
from wherry.protocol.http1_exchange import Http1Exchange
from wherry.protocol.http1_head import Limits, persists
from wherry.types import HttpVersion10, HttpVersion11

MAX_INTERIM_RESPONSES = 32
_VERSIONS = {"1.1": HttpVersion11, "1.0": HttpVersion10}


class Http1Reading(Connection):
    """The state of the message that is being read, and the callbacks that change it.

    `_message_done` is set when a message is whole, `_surplus` when bytes follow that nobody asked for,
    `_keep_alive` when the message lets the connection go on.
    """

    __slots__ = (
        "_body_allowed",
        "_fields",
        "_interim",
        "_keep_alive",
        "_limits",
        "_message_done",
        "_parser",
        "_reason",
        "_surplus",
        "exchange",
    )

    def __init__(self, limits: Limits) -> None:
        self.exchange: Http1Exchange | None = None
        self._limits = limits
        self._parser = httptools.HttpResponseParser(self)
        self._body_allowed = True
        self._message_done = False
        self._keep_alive = False
        self._surplus = False
        self._interim = 0
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        if self._message_done:
            self._surplus = True
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason
        if len(self._reason) > self._limits.max_line_size:
            raise BadHttpMessage(f"the status line has more than {self._limits.max_line_size} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] in b" \t":
            value = value.rstrip(b" \t")
        self._fields.append((name, value))
        limits = self._limits
        if len(value) > limits.max_field_size or len(name) > limits.max_line_size:
            raise BadHttpMessage(f"the header field {name[:64]!r} has more than {limits.max_field_size} bytes")
        if len(self._fields) > limits.max_headers:
            raise BadHttpMessage(f"the response has more than {limits.max_headers} header fields")

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or self._message_done:
            self._surplus = True
            return
        parser = self._parser
        status = parser.get_status_code()
        version = _VERSIONS.get(parser.get_http_version())
        if version is None:
            raise BadHttpMessage(f"the response is of version {parser.get_http_version()}")
        head = ResponseHead(status, self._reason.decode("utf-8", "surrogateescape"), version, tuple(self._fields))
        self._fields = []
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise BadHttpMessage(f"more than {MAX_INTERIM_RESPONSES} interim responses")
            if exchange.informational is not None:
                exchange.informational(head)
            return
        if not self._body_allowed:
            self._keep_alive = persists(head)
            self._message_done = True
        exchange.head_arrived(head)

    def on_body(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None or self._message_done:
            self._surplus = True
        else:
            exchange.sink.feed_data(data)

    def on_chunk_complete(self) -> None:
        exchange = self.exchange
        if exchange is not None and not self._message_done:
            exchange.sink.chunk_ended()

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or exchange.head is None or self._message_done:
            return  # an interim response, or the no-body message that ended with its head
        self._message_done = True
        self._keep_alive = self._parser.should_keep_alive()
        if self._fields:
            exchange.trailers = tuple(self._fields)
            self._fields = []
