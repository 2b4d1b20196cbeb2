"""The parser's side of an HTTP/1.1 connection: what llhttp's callbacks mean for the exchange under
way.

It gathers a message and marks where it ends; what follows from that is the connection's matter.  A
large body of known length needs no parser: its bytes are counted, and lent to a reader that waits
for them.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast

from wherry.errors import BadHttpMessage
from wherry.protocol.grammar import decimal
from wherry.protocol.heads import ResponseHead
from wherry.protocol.http1 import message_parser
from wherry.protocol.http1.encoding import can_decode, persists
from wherry.protocol.http1.exchange import Http1Exchange
from wherry.protocol.http1.read_pacing import Http1ReadPacing
from wherry.protocol.limits import MAX_INTERIM_RESPONSES, Limits
from wherry.protocol.receive_buffer import Borrower, ReceiveBuffer
from wherry.redaction import shown_head
from wherry.types import HttpVersion10, HttpVersion11

# The least that must be left of a body for its bytes to be counted, and the least that is lent of
# it.
COUNT_FROM = 256 * 1024
# What a chunk's size and line ends take.
CHUNK_FRAME = 16
ZERO_COPY_FROM = 32 * 1024
_VERSIONS = {"1.1": HttpVersion11, "1.0": HttpVersion10}
_BEGINNING = b"HTTP/1."
# The parser passes over these between messages without a word; they are surplus like any other
# bytes.
LINE_END = b"\r\n"
# RFC 9112 2.2: a line that ends otherwise than with CRLF is refused, as in a final response.
_broken_line = re.compile(rb"(?<!\r)\n|\r[^\n]").search
# RFC 9112 4: a reason phrase has no control characters but the tab.
_bad_reason = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search


# Seconds past which it does not matter how long a server keeps a connection.
MAX_KEEP_ALIVE = 1_000_000


class Http1Parsing(Http1ReadPacing):
    """The state of the message that is being read, and the callbacks that change it.

    `_message_done` is set when a message is whole, `_surplus` when bytes follow that nobody asked
    for, `_keep_alive` when the message lets the connection go on.
    """

    __slots__ = (
        "_beginning",
        "_begun",
        "_body_allowed",
        "_borrower",
        "_buffer",
        "_chunks",
        "_excess",
        "_fed",
        "_fields",
        "_interim",
        "_keep_alive",
        "_left",
        "_limits",
        "_message_done",
        "_parser",
        "_reads_ahead",
        "_reason",
        "_surplus",
        "exchange",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, buffer: ReceiveBuffer
    ) -> None:
        super().__init__(loop)
        self.exchange: Http1Exchange | None = None
        self._limits = limits
        self._parser = message_parser.HttpResponseParser(self)
        self._begun = False  # the final response is known to begin as one must
        self._beginning: bytearray | None = None  # what came of messages before that is known
        self._body_allowed = True
        self._message_done = False
        self._keep_alive = False
        self._surplus = False
        self._interim = 0
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._buffer = buffer
        # Bytes of the body that came through the parser since they were last looked at.
        self._fed = 0
        self._chunks = 0  # and how many chunks ended
        # What came with chunks and after them and was neither data nor the least they need.
        self._excess = 0
        self._left = 0  # bytes of the body that are still to be counted; -1 while nobody has looked
        self._borrower: Borrower | None = None
        self._reads_ahead = False  # the loop has read again before who was waiting could run

    def _begin(self, data: memoryview) -> memoryview:
        """Look at how messages begin, which the parser does not tell: it knows other protocols than
        HTTP/1 too.

        Interim responses are parsed here, each by itself, so that what follows each is looked at as
        well.

        Returns:
            What there is of the final response, nothing before its status is there.

        Raises:
            BadHttpMessage: This is not HTTP/1.
        """
        known = self._beginning
        if known is None:
            known = self._beginning = bytearray()
        searched = max(len(known) - 3, 0)
        known += data
        while True:
            # RFC 9112 2.2 lets a server pass over an empty line before a message; a client has no
            # such leave.
            if not _BEGINNING.startswith(known[:7]):
                raise BadHttpMessage("this is no HTTP/1 response", shown_head(bytes(known)))
            status = known[9:12]
            if not status or (status[:1] == b"1" and len(status) < 3):
                return data[:0]
            if status[:1] != b"1" or status == b"101":
                self._begun, self._beginning = True, None
                return memoryview(bytes(known))
            end = known.find(b"\r\n\r\n", searched)
            if end < 0:
                if broken := _broken_line(known, searched):
                    line = known[known.rfind(b"\n", 0, broken.start()) + 1 : broken.end()]
                    raise BadHttpMessage(
                        "a line of the head does not end with CRLF", shown_head(bytes(line))
                    )
                return data[:0]
            head = bytes(known[: end + 4])
            del known[: end + 4]
            searched = 0
            self._parser.feed_data(head)

    def _feed_but_last(self, data: memoryview) -> None:
        """Parse a read that ends with CR or LF: whether that is of the message shows when it is
        parsed by itself.
        """
        self._parser.feed_data(data[:-1])
        if self._message_done:
            self._surplus = True
            return
        try:
            self._parser.feed_data(data[-1:])
        except message_parser.HttpParserUpgrade:
            raise message_parser.HttpParserUpgrade(len(data)) from None

    def _ends_before(self, data: memoryview) -> bool:
        """Whether a message that came whole in one read, `data`, ends before `data` does."""
        whole = bytes(data)
        head = self.exchange.head if self.exchange is not None else None
        if head is not None and head.get(b"transfer-encoding") is not None:
            return not whole.endswith(b"\r\n\r\n") or whole[-5] in LINE_END
        return len(whole) != whole.find(b"\r\n\r\n") + 4 + self._fed

    def on_message_begin(self) -> None:
        if self._message_done:
            self._surplus = True
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason
        if len(self._reason) > self._limits.max_line_size:
            raise BadHttpMessage(
                f"the status line has more than {self._limits.max_line_size} bytes"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] in b" \t":
            value = value.rstrip(b" \t")
        self._fields.append((name, value))
        limits = self._limits
        if len(value) > limits.max_field_size or len(name) > limits.max_line_size:
            raise BadHttpMessage(limits.too_long(name))
        if len(self._fields) > limits.max_headers:
            raise BadHttpMessage(limits.too_many())

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
        if status < 100:  # RFC 9110 15: there is no such class, and above 599 all count as 5xx
            raise BadHttpMessage(f"the response's status is {status:03}")
        if self._reason and _bad_reason(self._reason):
            raise BadHttpMessage(
                f"the reason phrase has a control character: {self._reason[:64]!r}"
            )
        head = ResponseHead(
            status, self._reason.decode("utf-8", "surrogateescape"), version, tuple(self._fields)
        )
        self._fields = []
        if (said := head.get(b"keep-alive")) is not None:
            head.keep_alive = keep_alive_seconds(said)
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise BadHttpMessage(f"more than {MAX_INTERIM_RESPONSES} interim responses")
            if exchange.informational is not None:
                exchange.informational(head)
            return
        if status == 101 and not exchange.asks_to_switch:
            raise BadHttpMessage(
                "the response is 101 to a request that asked for no other protocol (RFC 9110 7.8)"
            )
        if not self._body_allowed:
            self._keep_alive = persists(head)
            self._message_done = True
        elif not can_decode(head):
            codings = b", ".join(head.get_all(b"transfer-encoding"))
            raise BadHttpMessage(
                f"the response has a transfer coding that nobody asked for: {codings[:64]!r}"
            )
        self._fed = self._chunks = self._excess = 0
        self._left = -1
        exchange.head_arrived(head)

    def on_body(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None or self._message_done:
            self._surplus = True
        else:
            self._fed += len(data)
            exchange.sink.feed_data(data)

    def on_chunk_complete(self) -> None:
        exchange = self.exchange
        if exchange is not None and not self._message_done:
            self._chunks += 1
            exchange.sink.chunk_ended()

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or exchange.head is None or self._message_done:
            return  # an interim response, or the no-body message that ended with its head
        head = exchange.head
        self._message_done = True
        self._keep_alive = self._parser.should_keep_alive() and (
            head.version is HttpVersion11 or persists(head)
        )
        if self._fields:
            exchange.trailers = tuple(self._fields)
            self._fields = []
        if head.status == 101:
            # RFC 9110 15.2: no content, be the switch to a protocol that it names (which the parser
            # tells) or to none.
            self._keep_alive = False
            if self._parser.should_upgrade():
                exchange.pause_reading()
                exchange.sink.feed_eof()

    def _begin_to_count(self, head: ResponseHead) -> None:
        """A read has ended inside the body: from here on its bytes are counted, if they are many
        and have a length.
        """
        self._left = 0
        length = head.get(b"content-length")
        exchange = self.exchange
        if length is None or exchange is None or head.get(b"transfer-encoding") is not None:
            return
        # The parser has checked the digits; `int` takes no more than 4300, zeros and all.
        left = int(length.lstrip(b"0") or b"0") - self._fed
        if left >= COUNT_FROM:
            self._keep_alive = self._parser.should_keep_alive()
            self._count(exchange, left)

    def _count(self, exchange: Http1Exchange, left: int) -> None:
        """From here on the bytes of the body are counted; many of them may be lent."""
        self._left = left
        sink = exchange.sink
        self._borrower = (
            cast("Borrower", sink)
            if left >= COUNT_FROM and self._buffer.lends and hasattr(sink, "lend")
            else None
        )

    def _is_padding(self, size: int) -> bool:
        """Whether too much of what comes is no data, now that `size` bytes were read (RFC 9112
        7.1.1, 7.1.2).

        Chunk extensions, zeros before a size and trailers cost the peer nothing, and the parser
        keeps a trailer's value until it ends.  A chunk may have as much again as twice its data,
        and a few bytes.
        """
        excess = self._excess + size - 3 * self._fed - CHUNK_FRAME * self._chunks
        self._fed = self._chunks = 0
        self._excess = excess = max(excess, 0)
        return excess > self._limits.max_head_size

    def _receive_counted(self, exchange: Http1Exchange, data: memoryview) -> None:
        size = len(data)
        self._left = left = self._left - size
        if left > 0:
            borrower = self._borrower
            full = size == len(self._buffer.view)
            # A loop that reads on does so after a read that left no room.
            if (
                size >= ZERO_COPY_FROM
                and borrower is not None
                and borrower.lend(data, full and self._reads_ahead)
            ):
                self._buffer.borrower = borrower
                if full:
                    self._rested = False
                elif left >= COUNT_FROM:
                    self._rest(size)
            else:
                exchange.sink.feed_data(bytes(data))
            return
        self._left = 0
        self._borrower = None
        if self._begun:  # the parser still waits for the body
            self._parser = message_parser.HttpResponseParser(self)
        exchange.sink.feed_data(bytes(data[: size + left]))
        if self.exchange is exchange:
            self._message_done = True
            self._surplus = left < 0


def keep_alive_seconds(value: bytes) -> float | None:
    """How long a server keeps an idle connection, as `Keep-Alive: timeout=N` says (RFC 2068
    19.7.1.1); None where it does not.
    """
    for part in value.split(b","):
        name, _, number = part.strip(b" \t").partition(b"=")
        if name.strip().lower() == b"timeout":
            seconds = decimal(number.strip(b' \t"').decode("latin-1"), MAX_KEEP_ALIVE)
            return None if seconds is None else float(seconds)
    return None
