"""Reads one response from a connection's bytes: what llhttp's callbacks mean for its exchange.

`feed` takes each read, gives the head and the body to the exchange, and `state` says how far the
message has come.  It knows no transport: what follows from a message's end is the connection's
matter.

    UNREAD -begin-> HEAD -head-> BODY -parse-> PARSED -end-> WHOLE -more-> SURPLUS
       |                          |---------end------------> WHOLE
       |                          |-count--> COUNTED -end--> WHOLE
       |                          `-switch-> SWITCHED
       `--count (where `head_pattern` has read the head)---> COUNTED

How a message begins and ends is looked at here, for llhttp does not tell: it knows RTSP too, and
passes over empty lines around a message.  `docs/decisions/whose-bytes.md` has the reasons.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final

from wherry.errors import BadHttpMessage
from wherry.protocol.grammar import decimal
from wherry.protocol.heads import ResponseHead
from wherry.protocol.http1 import parser_backend
from wherry.protocol.http1.content_length_body import COUNT_FROM, CountedBody
from wherry.protocol.http1.exchange import Http1Exchange
from wherry.protocol.http1.head_writing import can_decode, persists
from wherry.protocol.limits import DEFAULT_LIMITS, MAX_INTERIM_RESPONSES, Limits
from wherry.protocol.states import Moves
from wherry.redaction import shown_head
from wherry.types import HttpVersion10, HttpVersion11

# What a chunk's size and line ends take.
CHUNK_FRAME = 16
_VERSIONS = {"1.1": HttpVersion11, "1.0": HttpVersion10}
_BEGINNING = b"HTTP/1."
# llhttp passes over these between messages without a word; they are surplus like any other bytes.
LINE_END = b"\r\n"
# RFC 9112 2.2: a line that ends otherwise than with CRLF is refused, as in a final response.
_broken_line = re.compile(rb"(?<!\r)\n|\r[^\n]").search
# RFC 9112 4: a reason phrase has no control characters but the tab.
_bad_reason = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
# Seconds past which it does not matter how long a server keeps a connection.
MAX_KEEP_ALIVE = 1_000_000


class MessageState(StrEnum):
    """How far the response has come."""

    UNREAD = "unread"  # nothing shows that it begins as a final response must
    HEAD = "head"
    BODY = "body"  # the head is here, and no read has ended since
    PARSED = "parsed body"  # llhttp finds its end
    COUNTED = "counted body"  # its end is so many bytes away
    SWITCHED = "switched"  # the bytes behind the head are another protocol's
    WHOLE = "whole"  # the last byte is in
    SURPLUS = "whole, and more"  # bytes follow that nobody asked for

    whole: bool

    def __init__(self, word: str) -> None:
        self.whole = word.startswith("whole")


UNREAD, HEAD, BODY, PARSED, COUNTED, SWITCHED, WHOLE, SURPLUS = MessageState

#: The first line begins as a final response's does.
BEGIN: Final = Moves("begin", {UNREAD: HEAD}, "a message")
#: The final head is complete.
HEAD_ENDS: Final = Moves("have its head", {HEAD: BODY}, "a message")
#: A read has ended inside the body: llhttp goes on with it,
PARSE: Final = Moves("be parsed on", {BODY: PARSED}, "a message")
#: or its bytes are counted.
COUNT: Final = Moves("be counted", {UNREAD: COUNTED, BODY: COUNTED}, "a message")
#: The last byte is in.
END: Final = Moves("end", {BODY: WHOLE, PARSED: WHOLE, COUNTED: WHOLE}, "a message")
#: More came than the message.
MORE: Final = Moves("have more behind it", {WHOLE: SURPLUS, SURPLUS: SURPLUS}, "a message")
#: The connection speaks another protocol from here on (RFC 9110 7.8).
SWITCH: Final = Moves("switch", {BODY: SWITCHED}, "a message")

MESSAGE_MOVES: Final = (BEGIN, HEAD_ENDS, PARSE, COUNT, END, MORE, SWITCH)


class ResponseParser:
    """Reads the responses of a connection, one at a time.

    Args:
        counted: Takes bodies that need no parsing.
    """

    __slots__ = (
        "_beginning",
        "_chunks",
        "_counted",
        "_excess",
        "_fed",
        "_fields",
        "_head_size",
        "_interim",
        "_limits",
        "_llhttp",
        "_persists",
        "_reason",
        "early",
        "exchange",
        "state",
    )

    def __init__(self, counted: CountedBody) -> None:
        self._counted = counted
        # Made when it is needed first: most connections never see a head that needs it, and it
        # takes a fifth of what an idle connection holds.
        self._llhttp: Any = None
        self._limits: Limits = DEFAULT_LIMITS
        #: Whose response is read; None between messages.
        self.exchange: Http1Exchange | None = None
        self.state: MessageState = UNREAD
        #: What came behind the head of a response that switched protocols.
        self.early: bytes = b""
        self._beginning: bytearray | None = None  # what came, while that is UNREAD
        self._head_size = 0
        self._interim = 0
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._persists = False  # the message lets the connection go on
        # Bytes of the body that came through llhttp since they were last looked at,
        self._fed = 0
        self._chunks = 0  # how many chunks ended,
        # and what came with chunks and after them that was neither data nor the least they need.
        self._excess = 0

    def begin(self, exchange: Http1Exchange) -> None:
        """What is fed from here on is the response of `exchange`."""
        self.exchange = exchange
        self.state = UNREAD
        self._limits = exchange.limits
        self._interim = self._head_size = 0
        self._beginning = None

    def begin_counting(self, exchange: Http1Exchange, left: int) -> None:
        """The head and some of the body were read elsewhere; `left` bytes are to come."""
        self.exchange = exchange
        self.state = COUNT[UNREAD]
        self._persists = True
        self._counted.begin(exchange.sink, left)

    def end(self) -> bool:
        """Part with a message that is whole.

        Returns:
            Whether another exchange may follow on the connection.
        """
        exchange, self.exchange = self.exchange, None
        if exchange is not None and not exchange.expects_body:
            # llhttp may wait for a body that will never come.
            self._llhttp = None
        return self._persists and self.state is not SURPLUS

    def leave(self) -> None:
        """The exchange has ended otherwise, perhaps inside one of its callbacks: what is fed still
        is nobody's.
        """
        self.exchange = None
        self._counted.leave()

    def close(self) -> None:
        """Let go of llhttp, which holds its callbacks."""
        self.leave()
        self._llhttp = None

    def take_early(self) -> bytes:
        """What came behind a switch of protocols."""
        early, self.early = self.early, b""
        return early

    # --- bytes ------------------------------------------------------------------------------------

    def feed(self, data: memoryview) -> BadHttpMessage | None:
        """Read on, to the end of `data`.

        Returns:
            Why nothing on this connection can be trusted any more; None where all is well.
        """
        state = self.state
        if state is COUNTED:
            left = self._counted.take(data)
            if left <= 0:
                self._counted_body_ends(left)
            return None
        if state is SWITCHED:
            self.early += bytes(data)  # bounded: reading is paused
            return None
        size = len(data)
        try:
            if state is UNREAD:
                data = self._from_beginning(data)
                self._parse(data)
                if self.state is WHOLE and data[-1] in LINE_END and self._ends_before(data):
                    self._move(MORE)
            elif size > 1 and data[-1] in LINE_END:
                self._parse_but_last(data)
            else:
                self._parse(data)
        except parser_backend.HttpParserUpgrade as switch:
            # Behind a whole message it is another one's, and so nobody's (RFC 9112 9.2).
            if self.state is SWITCHED:
                self.early = bytes(data[switch.args[0] :])
        except (BadHttpMessage, parser_backend.HttpParserError) as exc:
            if refusal := self._refusal(exc, data):
                return refusal
        exchange, state = self.exchange, self.state
        if state is WHOLE or exchange is None or state is SURPLUS or state is SWITCHED:
            return None
        return self._goes_on(exchange, size)

    def _parse(self, data: memoryview | bytes) -> None:
        """Let llhttp read on; it calls the callbacks below."""
        if self._llhttp is None:
            self._llhttp = parser_backend.HttpResponseParser(self)
        self._llhttp.feed_data(data)

    def _counted_body_ends(self, left: int) -> None:
        if self.exchange is not None:  # it was not given up with the last bytes
            self._move(END)
            if left:
                self._move(MORE)

    def _from_beginning(self, data: memoryview) -> memoryview:
        """What is to be parsed of a read, while the message is UNREAD."""
        # Nearly always all of the first line is there, and no interim response.
        start = bytes(data[:10])
        if self._beginning is None and start[:7] == _BEGINNING and start[9:] not in (b"", b"1"):
            self.state = BEGIN[self.state]
            return data
        return self._begin(data)

    def _begin(self, data: memoryview) -> memoryview:
        """Look at how messages begin, which llhttp does not tell: it knows other protocols than
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
                self._move(BEGIN)
                self._beginning = None
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
            self._parse(head)

    def _parse_but_last(self, data: memoryview) -> None:
        """Parse a read that ends with CR or LF: whether that is of the message shows when it is
        parsed by itself.
        """
        self._parse(data[:-1])
        if self.state.whole:
            self._move(MORE)
            return
        try:
            self._parse(data[-1:])
        except parser_backend.HttpParserUpgrade:
            raise parser_backend.HttpParserUpgrade(len(data)) from None

    def _ends_before(self, data: memoryview) -> bool:
        """Whether a message that came whole in one read, `data`, ends before `data` does."""
        whole = bytes(data)
        head = self.exchange.head if self.exchange is not None else None
        if head is not None and head.get(b"transfer-encoding") is not None:
            return not whole.endswith(b"\r\n\r\n") or whole[-5] in LINE_END
        return len(whole) != whole.find(b"\r\n\r\n") + 4 + self._fed

    def _refusal(
        self, exc: BadHttpMessage | parser_backend.HttpParserError, data: memoryview
    ) -> BadHttpMessage | None:
        """Why llhttp, or a callback of it, has refused what came; None where that stands behind the
        message.
        """
        if isinstance(exc, parser_backend.HttpParserError) and self.state.whole:
            self._move(MORE)
            return None
        cause = exc.__context__ if isinstance(exc, parser_backend.HttpParserCallbackError) else exc
        if isinstance(cause, BadHttpMessage):
            return cause
        # Of a body nothing is shown, for it is content.
        in_head = self.state is UNREAD or self.state is HEAD
        shown = shown_head(bytes(data[:512]), begins=not self._head_size) if in_head else b""
        return BadHttpMessage(str(exc), shown)

    def _goes_on(self, exchange: Http1Exchange, size: int) -> BadHttpMessage | None:
        """A read of `size` bytes did not end the message; `feed` gives back what this does."""
        limit = self._limits.max_head_size
        if exchange.head is None:
            self._head_size += size
            if self._head_size > limit:
                return BadHttpMessage(
                    f"the response's head does not end within {self._head_size} bytes"
                )
        elif exchange.head.status == 101:
            self._move(SWITCH)
        elif self.state is BODY:
            self._count_or_parse(exchange, exchange.head)
        elif self._is_padding(size):
            return BadHttpMessage(f"more than {limit} bytes of the body's framing are no data")
        if exchange.touched is not None:
            exchange.touched()
        return None

    def _count_or_parse(self, exchange: Http1Exchange, head: ResponseHead) -> None:
        """A read has ended inside the body for the first time: its bytes are counted from here on,
        if they are many and have a length.
        """
        length = head.get(b"content-length")
        if length is not None and head.get(b"transfer-encoding") is None:
            # llhttp has checked the digits; `int` takes no more than 4300, zeros and all.
            left = int(length.lstrip(b"0") or b"0") - self._fed
            if left >= COUNT_FROM:
                self._persists = self._llhttp.should_keep_alive()
                # This one still waits for the body.
                self._llhttp = None
                self._move(COUNT)
                self._counted.begin(exchange.sink, left)
                return
        self._move(PARSE)

    def _is_padding(self, size: int) -> bool:
        """Whether too much of what comes is no data, now that `size` bytes were read (RFC 9112
        7.1.1, 7.1.2).

        Chunk extensions, zeros before a size and trailers cost the peer nothing, and llhttp
        keeps a trailer's value until it ends.  A chunk may have as much again as twice its data,
        and a few bytes.
        """
        excess = self._excess + size - 3 * self._fed - CHUNK_FRAME * self._chunks
        self._fed = self._chunks = 0
        self._excess = excess = max(excess, 0)
        return excess > self._limits.max_head_size

    def _move(self, moves: Moves[MessageState]) -> None:
        self.state = moves[self.state]

    # --- llhttp's callbacks -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.state is WHOLE:
            self._move(MORE)
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
        exchange, state = self.exchange, self.state
        if state is WHOLE or state is SURPLUS:
            self._move(MORE)
            return
        if exchange is None:
            return
        parser = self._llhttp
        status = parser.get_status_code()
        version = _VERSIONS.get(parser.get_http_version())
        if version is None or status < 100 or (self._reason and _bad_reason(self._reason)):
            raise self._odd_status_line()
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
        self.state = HEAD_ENDS[self.state]
        if not exchange.expects_body and status != 101:
            self._persists = persists(head)
            self._move(END)
        elif not can_decode(head):
            codings = b", ".join(head.get_all(b"transfer-encoding"))
            raise BadHttpMessage(
                f"the response has a transfer coding that nobody asked for: {codings[:64]!r}"
            )
        self._fed = self._chunks = self._excess = 0
        exchange.head_arrived(head)

    def _odd_status_line(self) -> BadHttpMessage:
        version, status = self._llhttp.get_http_version(), self._llhttp.get_status_code()
        if version not in _VERSIONS:
            return BadHttpMessage(f"the response is of version {version}")
        if status < 100:  # RFC 9110 15: there is no such class, and above 599 all count as 5xx
            return BadHttpMessage(f"the response's status is {status:03}")
        return BadHttpMessage(f"the reason phrase has a control character: {self._reason[:64]!r}")

    def on_body(self, data: bytes) -> None:
        exchange, state = self.exchange, self.state
        if state is BODY or state is PARSED:
            if exchange is not None:
                self._fed += len(data)
                exchange.sink.feed_data(data)
        elif state is WHOLE or state is SURPLUS:
            self._move(MORE)
        else:
            raise BadHttpMessage("an interim response has content (RFC 9110 15.2)")

    def on_chunk_complete(self) -> None:
        exchange, state = self.exchange, self.state
        if exchange is not None and (state is BODY or state is PARSED):
            self._chunks += 1
            exchange.sink.chunk_ended()

    def on_message_complete(self) -> None:
        exchange, state = self.exchange, self.state
        if exchange is None or not (state is BODY or state is PARSED):
            return  # an interim response, or the no-body message that ended with its head
        head = exchange.head
        assert head is not None
        if self._fields:
            exchange.trailers = tuple(self._fields)
            self._fields = []
        if head.status == 101:
            # RFC 9110 15.2: no content, be the switch to a protocol that it names (which llhttp
            # tells) or to none.
            self._persists = False
            if self._llhttp.should_upgrade():
                self._move(SWITCH)
                exchange.pause_reading()
                exchange.sink.feed_eof()
                return
        else:
            self._persists = self._llhttp.should_keep_alive() and (
                head.version is HttpVersion11 or persists(head)
            )
        self.state = END[self.state]


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
