"""`ClientResponse`: a response whose head is here and whose body is read when the program likes.

It is made when the head has arrived and builds nothing that nobody asked for: header dictionaries,
cookies, links and the request's summary appear on first touch.  The connection goes back to the
pool by itself, when the last byte is in; a response that is closed or forgotten gives its place
back.
"""

from __future__ import annotations

import asyncio
import json as json_module
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from enum import IntEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, Self

from multidict import CIMultiDict, CIMultiDictProxy, MultiDictProxy
from yarl import URL

from wherry.body.media_types import bom_encoding, known_charset, parse_mimetype
from wherry.body.payload.base import close_at_once
from wherry.body.stream.reader import StreamReader
from wherry.client.headers.disposition_and_link import (
    ContentDisposition,
    parse_content_disposition_field,
    parse_links,
)
from wherry.client.headers.priority import priority_field
from wherry.client.headers.response_headers import decoded_fields, type_matches
from wherry.client.plain_urls import UrlWhenAsked
from wherry.client.request import PreparedRequest, extensions_of
from wherry.client.shown_connection import _NOOP, ResponseConnection
from wherry.client.tracing.timings import Timings
from wherry.connect.connect_request import ConnectTimings
from wherry.connect.hooks import WatchedClass
from wherry.cookies.parse import parse_set_cookie
from wherry.errors import (
    ClientConnectionError,
    ClientPayloadError,
    ClientResponseError,
    ContentTypeError,
    NestedTooDeeply,
)
from wherry.protocol.connection import Exchange, Tunnel, TunnelReceiver
from wherry.protocol.grammar import decimal
from wherry.protocol.heads import ResponseHead
from wherry.protocol.states import COMPLETE
from wherry.redaction import shown_fields, shown_url
from wherry.types import HttpVersion, HttpVersion11, JSONDecoder, RawHeaders

if TYPE_CHECKING:
    from http.cookies import SimpleCookie

    from wherry.body.payload.base import Payload
    from wherry.client.download import DownloadResult, Pace, Progress
    from wherry.client.events import EventStream
    from wherry.client.request import ClientRequest
    from wherry.client.request_info import RequestInfo
    from wherry.client.upgraded_stream import RawStream

# A response that is released with no more than this many bytes to come is read to its end instead
# of closed.
DRAIN_LIMIT = 64 * 1024
DRAIN_SECONDS = 1.0
_SAID_CLOSED = (
    "Connection closed: the response was released before its body was read; read it before the "
    "block of `async with` ends, and before release() or close()"
)
# No body has so many bytes.
_LARGEST = 2**63


class ResponseState(IntEnum):
    """Where a response is in its life."""

    WAITING = 0  # made by a class of the program's own: its head is not here yet
    OPEN = 1  # the head is here; the body comes, or is here
    HANDED_OVER = 2  # what it came on is a WebSocket's now
    RELEASED = 3  # the connection was given back, or is when the rest of the body is over
    CLOSED = 4  # the connection was closed, unless the body had ended


# The table of moves.  A response that is closed before its head comes stays closed.
MOVES: dict[ResponseState, frozenset[ResponseState]] = {
    ResponseState.WAITING: frozenset(
        {ResponseState.OPEN, ResponseState.RELEASED, ResponseState.CLOSED}
    ),
    ResponseState.OPEN: frozenset(
        {ResponseState.HANDED_OVER, ResponseState.RELEASED, ResponseState.CLOSED}
    ),
    ResponseState.HANDED_OVER: frozenset({ResponseState.RELEASED, ResponseState.CLOSED}),
    ResponseState.RELEASED: frozenset({ResponseState.CLOSED}),
    ResponseState.CLOSED: frozenset({ResponseState.CLOSED}),
}
_WAITING, _OPEN = ResponseState.WAITING, ResponseState.OPEN
_RELEASED, _CLOSED = ResponseState.RELEASED, ResponseState.CLOSED


class SessionOfResponse(Protocol):
    """What a response asks of the session that it belongs to."""

    _source_traceback: traceback.StackSummary | None
    _defaults: Any

    @property
    def _resolve_charset(self) -> Callable[[Any, bytes], str]: ...

    def _drain(self, exchange: Exchange, seconds: float) -> None: ...

    def _close_payload(self, payload: Payload) -> asyncio.Task[None] | None: ...


class CharsetOfSession:
    """What guesses the encoding of a response's text, unless the response has its own: that of its
    session.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        session = None if instance is None else instance._session
        return _guess_utf8 if session is None else session._resolve_charset


def _guess_utf8(_response: Any, _body: bytes) -> str:
    return "utf-8"


class UrlOfRequest(UrlWhenAsked):
    """A URL of a response: its request's."""

    def made_for(self, instance: Any) -> URL | None:
        request = instance._request
        return None if request is None else request.original_url


class NoEncoding:
    """What `encoding` is on responses: requests' is set before `text`, and ours would not heed it.

    It is kept on what derives from the class that says this, which may mean something by it.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner

    def __get__(self, response: Any, owner: type) -> Any:
        if response is not None and "encoding" in response.__dict__:
            return response.__dict__["encoding"]
        raise AttributeError("encoding")  # what `__getattr__` says of it is said

    def __set__(self, response: Any, value: Any) -> None:
        own = type(response)
        if own is not self._owner and not own.__module__.startswith("wherry."):
            response.__dict__["encoding"] = value
            return
        raise AttributeError("a response has no encoding to set: say text(encoding=...)")


class ClientResponse(metaclass=WatchedClass):
    """A response.

    Args:
        method: The method of the request.
        url: The URL that answered.
        request_info: What was asked.
        loop: The event loop.
        session: The session.
    """

    method: str
    # Doubles in programs' tests are made after the class, and must find these there.
    status: int = None  # type: ignore[assignment]
    reason: str | None = None
    version: HttpVersion | None = None
    # What the body is read from.  Programs put streams of their own here, of which `read` is asked.
    content: StreamReader = None  # type: ignore[assignment]
    # What every response sets.  The class has none of these: Python finds an attribute at once
    # where only the instance has it.
    _stream: StreamReader | None  # what the connection feeds, whatever `content` is now
    _state: ResponseState
    _in_context: bool
    _body: bytes | None
    _headers: CIMultiDictProxy[str] | None
    _head: ResponseHead | None
    _exchange: Exchange | None
    _prepared: PreparedRequest | None
    _history: tuple[ClientResponse, ...]
    _moments: Moments | None
    _upload: asyncio.Task[None] | None
    _payload: Payload | None
    _on_close: Callable[[], None] | None
    # And what few of them do.
    _url: URL = UrlOfRequest()  # type: ignore[assignment]
    _real_url: URL = UrlOfRequest()  # type: ignore[assignment]
    _resolve_charset: Callable[[ClientResponse, bytes], str] = CharsetOfSession()  # type: ignore[assignment]
    _raw_headers: RawHeaders | None = None
    _cookies: SimpleCookie | None = None
    _request_info: RequestInfo | None = None
    _upload_complete: asyncio.Future[None] | None = None
    _payload_closing: asyncio.Task[None] | None = None
    _raw_stream: RawStream | None = None
    _gave_up_read = False
    # What brings the head, where the request's class sends it; or that `start` was called.
    _starting: Any = None
    _source_traceback: traceback.StackSummary | None = None

    def __init__(
        self,
        method: str,
        url: URL,
        *,
        writer: Any = None,
        continue100: Any = None,
        timer: Any = None,
        request_info: RequestInfo | None = None,
        traces: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        session: SessionOfResponse | None = None,
        stream_writer: Any = None,
    ) -> None:
        self.method = method
        self._real_url = url
        self._url = url.with_fragment(None) if url.raw_fragment else url
        self._request_info = request_info
        self._loop = loop
        self._session = session
        self._state = _WAITING
        self._in_context = False
        self._body = self._headers = self._head = self._exchange = self._prepared = None
        self._stream = self._moments = self._upload = self._payload = self._on_close = None
        self._history = ()

    @property
    def _request(self) -> ClientRequest | None:
        """The request that it answers; made when somebody looks, where nobody has before."""
        prepared = self._prepared
        return None if prepared is None else prepared.request

    @classmethod
    def from_parts(
        cls,
        request: ClientRequest,
        status: int,
        reason: str,
        headers: RawHeaders,
        body: bytes = b"",
        *,
        version: HttpVersion = HttpVersion11,
    ) -> ClientResponse:
        """A response that did not come over a connection: a middleware's own answer, from a cache
        or a mock.

        Args:
            request: The request that it answers.
            status: The status code.
            reason: The reason phrase.
            headers: Field lines as byte pairs.
            body: The whole body, decoded.
            version: The version to show.
        """
        session = request.session
        response = cls(request.method, request.original_url, loop=request.loop, session=session)
        content = StreamReader(max(len(body), 1))
        content.max_size = extensions_of(request).max_body_size
        if body:
            content.feed_data(body)
        content.feed_eof()
        head = ResponseHead(status, reason, version, headers)
        begin(response, PreparedRequest.of(request), head, None, content)
        return response

    def __del__(self) -> None:
        try:
            exchange = self._exchange
        except AttributeError:
            return  # a class of a program's own has failed to make it
        if exchange is None or exchange.state is COMPLETE:
            return
        if exchange.state.complete or self._state > _OPEN:
            return
        failed = exchange.error is not None
        self._give_up()
        if not failed and self._loop is not None and self._loop.get_debug():
            warnings.warn(f"Unclosed response {self!r}", ResourceWarning, source=self, stacklevel=2)
            context: dict[str, Any] = {"client_response": self, "message": "Unclosed response"}
            if self._source_traceback is not None:
                context["source_traceback"] = self._source_traceback
            self._loop.call_exception_handler(context)

    def __repr__(self) -> str:
        url = shown_url(self.url).encode("ascii", "backslashreplace").decode()
        reason = (self.reason or "").encode("ascii", "backslashreplace").decode()
        headers = shown_fields(self.headers if self._head or self._headers else None)
        return (
            f"<{type(self).__name__}({url}) [{self.status} {reason}] {self._said()}>\n{headers}\n"
        )

    def _said(self) -> str:
        """The state, in words."""
        exchange, state = self._exchange, self._state
        if state is not _OPEN or exchange is None:
            return state.name.lower().replace("_", " ")
        if exchange.error is not None:
            return "failed"
        return "complete" if exchange.state.complete else "open"

    def _move(self, to: ResponseState) -> None:
        """The one place where the state changes, but for two that every response passes."""
        assert to in MOVES[self._state], f"a response is not {to.name} after {self._state.name}"
        self._state = to

    # --- what its head tells ----------------------------------------------------------------------

    @property
    def timings(self) -> Timings | None:
        """How long each step took, in seconds; None for a response that no connection brought."""
        if self._moments is None:
            return None
        started, connected, head, steps = self._moments
        sent = None if self._request is None else extensions_of(self._request).sent
        return Timings(started, connected, head, sent=sent, ended=self.content.ended, steps=steps)

    @property
    def url(self) -> URL:
        """The URL that answered, without its fragment."""
        return self._url

    @property
    def url_obj(self) -> URL:
        warnings.warn("Deprecated, use .url #1654", DeprecationWarning, stacklevel=2)
        return self._url

    @property
    def real_url(self) -> URL:
        """The URL that answered, with its fragment."""
        return self._real_url

    @property
    def host(self) -> str:
        return self._url.host or ""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The header fields; names in any case, several values of one name."""
        headers = self._headers
        if headers is None:
            head = self._head
            headers = None if head is None else head.shown
            if headers is None:
                pairs = None if head is None or self._raw_headers else head.text_pairs()
                if pairs is None:
                    headers = decoded_fields(self.raw_headers)
                else:
                    headers = CIMultiDictProxy(CIMultiDict(pairs))
                if head is not None:
                    head.shown = headers
            self._headers = headers
        return headers

    @property
    def raw_headers(self) -> RawHeaders:
        """The header fields as they came: pairs of bytes."""
        if self._raw_headers is None:
            self._raw_headers = () if self._head is None else self._head.raw
        return self._raw_headers

    @property
    def trailers(self) -> CIMultiDictProxy[str]:
        """The fields that came after the body (RFC 9110 6.5); empty before it was read, and where
        none came.
        """
        raw = () if self._exchange is None else self._exchange.trailers
        return decoded_fields(raw)

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that this response sets."""
        if self._cookies is None:
            values = self._head.get_all(b"set-cookie") if self._head is not None else []
            self._cookies = parse_set_cookie(
                [value.decode("utf-8", "surrogateescape") for value in values]
            )
        return self._cookies

    @cookies.setter
    def cookies(self, cookies: SimpleCookie) -> None:
        self._cookies = cookies

    @property
    def request_info(self) -> RequestInfo:
        info = self._request_info
        if info is None:
            if self._request is None:
                raise RuntimeError("the response was made without a request")
            info = self._request_info = self._request.request_info
        return info

    @property
    def history(self) -> tuple[ClientResponse, ...]:
        """The responses of the redirects that led here, first to last."""
        return self._history

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def links(self) -> MultiDictProxy[MultiDictProxy[str | URL]]:
        """The Link fields (RFC 8288) by relation; each has its URL, made absolute, under "url"."""
        return parse_links(self.headers.getall("link", ()), self.url)

    # --- what the content type says ---------------------------------------------------------------

    @property
    def content_type(self) -> str:
        """The media type without parameters; application/octet-stream where none was sent, or what
        is none.
        """
        value = first_field(self, b"content-type")
        if value is None:
            return "application/octet-stream"
        essence = value.partition(";")[0].strip().lower()
        # What is no media type says nothing (RFC 9110 8.3.1, RFC 2046 4.5.1).
        return essence if essence.count("/") == 1 else "application/octet-stream"

    @property
    def charset(self) -> str | None:
        """The charset parameter of the content type."""
        value = first_field(self, b"content-type")
        return None if value is None else parse_mimetype(value).parameters.get("charset")

    @property
    def content_length(self) -> int | None:
        value = first_field(self, b"content-length")
        size = decimal(value, _LARGEST)
        return None if size == _LARGEST else size

    @property
    def content_disposition(self) -> ContentDisposition | None:
        value = first_field(self, b"content-disposition")
        return None if value is None else parse_content_disposition_field(value)

    def get_encoding(self) -> str:
        """The encoding of the text: the charset parameter, UTF-8 for JSON (UTF-16 and 32 where its
        first bytes tell them), a byte order mark, or a guess.

        Raises:
            RuntimeError: A guess is needed and the body was not read.
        """
        value = first_field(self, b"content-type")
        if value is not None:
            media = parse_mimetype(value)
            charset = known_charset(media.parameters.get("charset"))
            if charset is not None:
                return charset
            if media.type == "application" and media.subtype in ("json", "rdap"):
                # RFC 8259 8.1, RFC 7483: UTF-8.  Others are from before, and plain to see (RFC 4627
                # 3).
                return "utf-8" if self._body is None else json_module.detect_encoding(self._body)
        if self._body is None:
            raise RuntimeError("Cannot compute fallback encoding of a not yet read body")
        return bom_encoding(self._body) or self._resolve_charset(self, self._body)

    # --- the body ---------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """The whole body, decoded from its content coding.

        Who gives up waiting (a time limit, a cancellation) inside `async with` may read again, and
        loses nothing; elsewhere the response is closed.

        Raises:
            ClientPayloadError: The body is not whole, or was taken piece by piece to its end.
            ClientConnectionError: The response was released.
        """
        if self._body is None:
            content = self.content
            body: bytes | None = b""
            if type(content) is StreamReader:
                body = content.take_whole()
            elif content is not None:
                body = None
            if body is None:
                try:
                    body = await content.read()
                except BaseException as exc:
                    if self._may_read_again(exc):
                        self._gave_up_read = True
                    else:
                        self.close()
                    raise
            if not body and isinstance(content, StreamReader) and content.total_bytes:
                raise self._taken(content.total_bytes)
            self._body = body  # first: a listener may fail, or be cancelled
            traces = None if self._prepared is None else self._prepared.traces
            if traces is not None:
                await traces.response_chunk_received(self.method, self._url, body)
        elif self._state >= _RELEASED:
            raise ClientConnectionError(_SAID_CLOSED)
        return self._body

    def _may_read_again(self, exc: BaseException) -> bool:
        """Whether a read that ended so leaves the response open: what came stays with the stream.

        Only in a context, whose end gives the connection back.  Elsewhere nothing may do so for
        long: the traceback of the cancellation holds the response, and the program may hold that.
        """
        return (
            isinstance(exc, asyncio.CancelledError)
            and self._in_context
            and isinstance(self.content, StreamReader)
        )

    def _taken(self, size: int) -> ClientPayloadError:
        return ClientPayloadError(
            f"nothing is left of the body of {self.method} {self._url.origin()}: its {size} bytes"
            " were read piece by piece from response.content; keep the pieces, or await"
            " response.read() first, which keeps the body"
        )

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The body as text.

        Args:
            encoding: The encoding; None finds it (see `get_encoding`).
            errors: What to do with bytes that do not decode: "strict", "replace", "ignore".

        Raises:
            UnicodeDecodeError: The bytes are not of this encoding.
        """
        body = self._body
        if body is None:
            body = await self.read()
        if encoding is None:
            encoding = self.get_encoding()
        return body.decode(encoding, errors)

    async def json(
        self,
        *,
        encoding: str | None = None,
        loads: JSONDecoder | None = None,
        content_type: str | None = "application/json",
    ) -> Any:
        """The body as JSON; None for an empty one.

        Args:
            encoding: The text's encoding; None finds it.
            loads: What decodes the text; None for what the session's `json=` says, `json.loads` by
                default.
            content_type: The type that is expected; "application/json" takes every +json too, None
                takes all.

        Raises:
            ContentTypeError: The response is of another type; its body stays readable.
            ValueError: It is not JSON.
        """
        body = self._body
        if body is None:
            body = await self.read()
        head = self._head
        facts = None if head is None else head.facts
        plain = facts is not None and facts.is_json
        if not (plain and content_type == "application/json"):
            self._check_type(content_type)
        if not body:
            return None
        if encoding is None:
            # UTF-8 shows in the first two bytes: JSON begins with ASCII, a mark with none, and
            # UTF-16 and 32 have a NUL there.
            usual = plain and 0 < body[0] < 0x80 and body[1:2] != b"\0"
            encoding = "utf-8" if usual else self._json_encoding(body)
        # RFC 8259 8.1: a byte order mark may be passed over.
        text = body.decode(encoding).removeprefix("\ufeff").strip(" \t\n\r\v\f")
        if not text:
            return None
        try:
            if loads is None:
                loads, session = _LOADS, self._session
                # Asked so, a double of a session in a program's tests says nothing.
                if session is not None and session._defaults.json_library == "orjson":
                    loads = session._defaults.json_loads
            if loads is _LOADS and text[0] != "\ufeff":
                # As `json.loads` would, but that searches for blanks, of which there are none.
                value, end = _decode(text)
                if end == len(text):
                    return value
            return loads(text)
        except RecursionError:
            raise NestedTooDeeply from None
        except ValueError as exc:
            from wherry.client.call_mistakes import body_beginning

            exc.add_note(
                f"the body of {self.method} {self._url.origin()} begins: {body_beginning(text)}"
            )
            raise

    def _check_type(self, expected: str | None) -> None:
        """Raise a `ContentTypeError` if the response is of another type than `expected`."""
        if not type_matches(self.content_type, expected):
            from wherry.client.call_mistakes import error_body

            error = ContentTypeError(
                self.request_info,
                self.history,
                status=self.status,
                message=f"Attempt to decode JSON with unexpected mimetype: {self.content_type}",
                headers=self.headers,
            )
            if beginning := error_body(self, self._body):
                error.add_note(f"the body of the answer begins: {beginning}")
            error.add_note("json(content_type=None) reads it whatever its type is")
            raise error

    def _json_encoding(self, body: bytes) -> str:
        """The encoding of JSON that is of another type than usual, or whose first bytes are odd."""
        if b"\0" in body[:4] and known_charset(self.charset) is None:
            # No text of UTF-8 has a NUL that JSON could begin with, whatever the type (RFC 4627 3).
            return json_module.detect_encoding(body)
        return self.get_encoding()

    def sse(self, *, max_event_size: int = 2**20) -> EventStream:
        """The server-sent events of this response, as they come; `ClientSession.events` connects
        again too.

        Args:
            max_event_size: Characters that one event may have; 1 MiB (2**20) by default.

        Raises:
            ContentTypeError: The response is of another type than text/event-stream.
            ClientResponseError: Its status is not 200.
            ClientPayloadError: An event is larger than `max_event_size`.
        """
        from wherry.client.events import EventParser, EventStream

        return EventStream(self, EventParser(max_event_size=max_event_size))

    async def download(
        self,
        path: str | os.PathLike[str],
        *,
        digest: str | None = None,
        progress: Progress | None = None,
        pace: Pace | None = None,
    ) -> DownloadResult:
        """Write the body to a file, which appears under its name only when it is whole.

        Args:
            path: The file; one that is there is replaced.  In a directory the name is the one that
                the response gives, or its URL's last segment; such a name replaces nothing, but is
                numbered where it is taken.
            digest: What the file must have: "sha256:1f3a...", or another of hashlib's.
            progress: Called with (bytes so far, bytes in all or None) as the file grows.
            pace: Awaited with the number of bytes that have come, before more are read: who sleeps
                in it limits the rate.

        Raises:
            ClientPayloadError: The body is not whole, or has another digest.
            OSError: The file cannot be written.
        """
        from wherry.client.download import download

        return await download(self, path, digest=digest, progress=progress, pace=pace)

    # --- the end ----------------------------------------------------------------------------------

    async def start(self, _connection: Any) -> ClientResponse:
        """Wait for the head; for custom classes to override."""
        if isinstance(self._starting, asyncio.Task):
            await self._starting
        return self

    @property
    def connection(self) -> ResponseConnection | None:
        """The connection while the response uses it, else None."""
        exchange = self._exchange
        if (
            exchange is None
            or self._state > _OPEN
            or (exchange.state.complete and self.status != 101)
        ):
            return None
        return ResponseConnection(self, exchange)

    def reprioritize(self, priority: int | str) -> bool:
        """Tell the server that what is left of the body is more urgent, or less (RFC 9218 7).

        Args:
            priority: As for a request: 0 (first) to 7, or as "u=1, i".

        Returns:
            Whether that could be said: over HTTP/2 and HTTP/3, while the body is still to come.

        Raises:
            ValueError: It is no priority.
        """
        field = priority_field(priority).encode()
        exchange = self._exchange
        if exchange is None or exchange.complete or exchange.error is not None:
            return False
        return exchange.reprioritize(field)

    @property
    def closed(self) -> bool:
        """Whether the connection was given up or given back."""
        return (
            self._state > _OPEN
            or self._exchange is None
            or self._exchange.state.complete
            or self._exchange.error is not None
        )

    def close(self) -> None:
        """Close the connection unless the body has ended; what was not read is lost."""
        is_first = self._state < _RELEASED
        self._move(_CLOSED)
        if is_first:
            self._stop_content()
        self._give_up()

    def _give_up(self) -> None:
        exchange = self._exchange
        if (
            exchange is not None
            and not exchange.state.complete
            and not exchange.connection.loop.is_closed()
        ):
            exchange.cancel()
        self._settle()

    def _settle(self) -> None:
        if self._upload is not None:
            if not self._upload.done() and not self._upload.get_loop().is_closed():
                self._upload.cancel()
            self._upload = None
        if self._payload is not None:
            # As a program expects that gave an open file away: it is closed with the response.
            payload, self._payload = self._payload, None
            if payload.closes_later and self._session is not None:
                self._payload_closing = self._session._close_payload(payload)
            else:
                close_at_once(payload)
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def on_settled(self, callback: Callable[[], object]) -> None:
        """Call `callback` once: when the last byte is in, or the response is closed, released or
        forgotten.
        """
        exchange = self._exchange
        if exchange is None or exchange.state.complete or self._state > _OPEN:
            callback()
            return
        once = _Once(callback, self._on_close)
        self._on_close = once
        if self._stream is not None:
            self._stream.on_eof(once)

    def release(self) -> Any:
        """Give the connection back: a short rest of the body is read over, a long one closes the
        connection.
        """
        if self._state < _RELEASED:
            exchange = self._exchange
            if (
                exchange is None
                or exchange.state is COMPLETE  # nearly always
                or exchange.state.complete
                or self._drain(exchange)
            ):
                if (
                    self._on_close is not None
                    or self._upload is not None
                    or self._payload is not None
                ):
                    self._settle()
            else:
                self._give_up()
            if self._state is not _CLOSED:  # by what was called meanwhile
                self._state = _RELEASED  # as by `_move`, with a call less for each response
            if self._body is None:
                self._stop_content()
        return _NOOP

    def _drain(self, exchange: Exchange) -> bool:
        """Whether the little that is to come is worth waiting for in the background."""
        head = self._head
        if (
            head is None
            or self._session is None
            or self._stream is None
            or exchange.error is not None
            or self._upload is not None
            or (self._gave_up_read and self._body is None)  # it was waited for long enough
        ):
            return False
        length = head.get(b"content-length")
        size = None if length is None else decimal(length.decode("latin-1"), 2**62)
        if size is None or size - self._stream.total_raw_bytes > DRAIN_LIMIT:
            return False
        self._session._drain(exchange, DRAIN_SECONDS)
        return True

    def _stop_content(self) -> None:
        """From here on reading is an error, except of what `read` has kept."""
        if self._body is not None:
            return
        stream, content = self._stream, self.content
        if stream is not None:
            stream.drop(stream.exception() or ClientConnectionError(_SAID_CLOSED))
        # A copy of it; a stream of the program's own is left alone.
        if content is not stream and isinstance(content, StreamReader):
            content.drop(content.exception() or ClientConnectionError(_SAID_CLOSED))

    @property
    def output_size(self) -> int:
        """Bytes of the request's body that were sent; deprecated, use an `UploadTracker`."""
        warnings.warn(
            "ClientResponse.output_size is deprecated, use UploadTracker",
            DeprecationWarning,
            stacklevel=2,
        )
        request = self._request
        if request is None:
            return 0
        writer = extensions_of(request).writer
        if writer is not None:
            return int(writer.output_size)
        return (request.payload.size or 0) if request.payload is not None else 0

    @property
    def upload_complete(self) -> asyncio.Future[None]:
        """Done when the request's body is sent; deprecated, use an `UploadTracker`."""
        warnings.warn(
            "ClientResponse.upload_complete is deprecated, use UploadTracker",
            DeprecationWarning,
            stacklevel=2,
        )
        done = self._upload_complete
        if done is None:
            upload, done = self._upload, asyncio.get_running_loop().create_future()
            self._upload_complete = done
            if upload is None or upload.done():
                done.set_result(None)
            else:
                upload.add_done_callback(lambda _: None if done.done() else done.set_result(None))
        return done

    def raise_for_status(self) -> Self:
        """Raise for a status of 400 and above.

        Returns:
            This response, so that calls may go on in one line.

        Raises:
            ClientResponseError: With the status, the reason and the fields.
        """
        if not self.ok:
            from wherry.client.call_mistakes import error_body, standard_reason

            beginning = error_body(self, self._body)
            # In a context the response is released at its end, and may still be read there.
            if not self._in_context:
                self.release()
            error = ClientResponseError(
                self.request_info,
                self.history,
                status=self.status,
                message=self.reason or standard_reason(self.status),
                headers=self.headers,
            )
            if beginning:
                error.add_note(f"the body of the answer begins: {beginning}")
            raise error
        return self

    if not TYPE_CHECKING:  # a checker would take every name for an attribute
        encoding = NoEncoding()

        def __getattr__(self, name: str) -> Any:
            # Only what is not there comes here, most often what another client's responses have.
            hint = ""
            if not name.startswith("_"):
                from wherry.client.call_mistakes import missing_attribute

                hint = missing_attribute("response", name)
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{hint}",
                name=name,
                obj=self,
            )

    async def wait_for_close(self) -> None:
        """Wait for the request's body to be sent, and let the connection go."""
        if self._upload is not None:
            await asyncio.wait([self._upload])
        self.release()
        if self._payload_closing is not None:
            await asyncio.wait([self._payload_closing])

    async def __aenter__(self) -> Self:
        self._in_context = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._in_context = False
        self.release()
        if self._payload_closing is not None:
            await asyncio.wait([self._payload_closing])


_LOADS = json_module.loads
_decode = json_module.JSONDecoder().raw_decode


# What the rooms that send a request ask of its response besides; programs do not see these.  Most
# are asked for each request: an `attrgetter` calls nothing of ours.
exchange_of: Callable[[ClientResponse], Exchange | None] = attrgetter("_exchange")
history_of: Callable[[ClientResponse], tuple[ClientResponse, ...]] = attrgetter("_history")
state_of: Callable[[ClientResponse], ResponseState] = attrgetter("_state")
starting_of: Callable[[ClientResponse], Any] = attrgetter("_starting")

# When a request began to ask for a connection, when it had one, when the head was there, in seconds
# of `time.monotonic`; and how long the steps of a dial took.
Moments = tuple[float, float, float, ConnectTimings | None]


def begin(
    response: ClientResponse,
    prepared: PreparedRequest,
    head: ResponseHead,
    exchange: Exchange | None,
    content: StreamReader,
    upload: asyncio.Task[None] | None = None,
    moments: Moments | None = None,
) -> None:
    """Give a response what has arrived; once."""
    if response._state is _WAITING:
        response._move(_OPEN)
    elif exchange is not None:
        exchange.cancel()  # its class has closed it before there was anything to close
    response._prepared = prepared
    response._head = head
    response._exchange = exchange
    response.content = response._stream = content
    response.status = head.status
    response.reason = head.reason
    response.version = head.version
    response._moments = moments
    if upload is not None and not upload.done():
        response._upload = upload
        content.on_eof(response._settle)
    if response._session is not None and response._session._source_traceback is not None:
        response._source_traceback = traceback.extract_stack(sys._getframe(1))


def arrived(
    prepared: PreparedRequest,
    head: ResponseHead,
    exchange: Exchange,
    content: StreamReader,
    moments: Moments,
) -> ClientResponse:
    """A response of our own class whose head is here: as `__init__` and `begin` make it, but for
    its URL, which nobody has asked for yet.
    """
    response = object.__new__(ClientResponse)
    response.method = prepared.method
    response._loop = exchange.connection.loop
    response._session = session = prepared.session
    response._state = _OPEN
    response._in_context = False
    response._prepared = prepared
    response._head = head
    response._exchange = exchange
    response.content = response._stream = content
    response.status = head.status
    response.reason = head.reason
    response.version = head.version
    response._moments = moments
    response._body = response._headers = None
    response._upload = response._payload = response._on_close = None
    response._history = prepared.leg.history
    if session is not None and session._source_traceback is not None:
        response._source_traceback = traceback.extract_stack(sys._getframe(1))
    return response


def first_field(response: ClientResponse, name: bytes) -> str | None:
    """The first value of the field `name` (lower case); for one the rest need not be made."""
    head = response._head
    if (
        response._headers is None
        and head is not None
        and head.shown is None
        and type(response).headers is _HEADERS
    ):
        value = head.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")
    return response.headers.get(name.decode())


def asked_of(response: ClientResponse) -> URL | str:
    """The URL that was asked; as the text that it was made of while nobody needs more."""
    prepared = response._prepared
    if prepared is not None and prepared.text is not None and type(response) is ClientResponse:
        return prepared.text
    return response.real_url


def put_history(response: ClientResponse, history: tuple[ClientResponse, ...]) -> None:
    """Tell a response which redirects led to it."""
    response._history = history


def show_request(response: ClientResponse, info: RequestInfo) -> None:
    """Let a response tell of its request so, whatever becomes of that."""
    response._request_info = info


def note_start(response: ClientResponse, starting: Any) -> None:
    """Keep what brings the head of a response, or that it has been started."""
    response._starting = starting


def end_as(response: ClientResponse, state: ResponseState) -> None:
    """Say that a response is over, for who has ended it in a way of its own."""
    response._move(state)


def keep_payload(response: ClientResponse, payload: Payload) -> None:
    """Close a request's body with the response to it, as a program expects that gave an open file
    away.
    """
    response._payload = payload
    response.on_settled(response._settle)


def brought_by_connection(response: ClientResponse) -> tuple[ResponseHead, Exchange] | None:
    """The head of a response and its exchange; None for a middleware's own answer."""
    head, exchange = response._head, response._exchange
    return None if head is None or exchange is None else (head, exchange)


def hand_over(response: ClientResponse, receiver: TunnelReceiver) -> Tunnel:
    """Give the exchange of a response that switched protocols to who speaks the other one.

    Args:
        response: The response; a stream of HTTP/2 is not its own to end from here on.
        receiver: Gets what comes.
    """
    exchange = response._exchange
    assert exchange is not None
    tunnel = exchange.upgrade(receiver)
    response._settle()  # the request is over: no deadline watches it any more
    if not exchange.state.complete:
        response._move(ResponseState.HANDED_OVER)
    return tunnel


class _Once:
    """Calls a callback the first time it is called, and the one it stands before."""

    __slots__ = ("_before", "_callback")

    def __init__(self, callback: Callable[[], object], before: Callable[[], None] | None) -> None:
        self._callback: Callable[[], object] | None = callback
        self._before = before

    def __call__(self) -> None:
        callback, self._callback = self._callback, None
        before, self._before = self._before, None
        if before is not None:
            before()
        if callback is not None:
            callback()


# A class may have a way of its own to its fields.
_HEADERS = ClientResponse.headers
