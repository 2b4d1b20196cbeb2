"""Server-sent events (HTML standard, 9.2): a parser without I/O, the events of one response, and a
source that connects again by itself.

Both iterators are classes, not generators: whoever stops waiting for an event (a time limit, a
cancellation) can wait again, and loses nothing.
"""

from __future__ import annotations

import asyncio
import codecs
import random
import re
from collections import deque
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs
from multidict import CIMultiDict

from wherry.argument_checks import check_seconds
from wherry.client.headers.validation import check_method, field_pairs
from wherry.client.timeouts import ClientTimeout
from wherry.errors import (
    ClientConnectionError,
    ClientPayloadError,
    ClientResponseError,
    ContentTypeError,
)
from wherry.protocol.grammar import decimal, has_control
from wherry.types import StrOrURL

if TYPE_CHECKING:
    from wherry.client.interfaces import ReadableResponse, RequestingSession

EVENT_STREAM = "text/event-stream"
MAX_EVENT_SIZE = 2**20
# Whatever a server asks, seconds: "retry: 0" would have it asked as fast as it answers.
SHORTEST_WAIT = 0.5
LONGEST_WAIT = 86_400.0
# A wait is up to so much longer by chance: those whom a server lost together must not come back
# together.
JITTER = 0.25
# Letters of an ID that is sent back: servers refuse longer fields.
LONGEST_ID = 4096
_FIELD_NAME = re.compile("(?:data|event): ?")
# Requests that may be made again unasked when a stream ends (RFC 9110 9.2.1: they change nothing).
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "QUERY"})
# Browsers wait some seconds before they connect again; a server says otherwise by `retry`.
RECONNECT_SECONDS = 3.0


@attrs.frozen
class ServerSentEvent:
    """One event.

    Args:
        data: Its lines of data, joined by line feeds.
        event: Its type, "message" where the server named none.
        id: The last event ID as of this event, "" for none.
        retry: Seconds that the server asked to wait before connecting again, None where it said
            nothing.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: float | None = None


class EventTooLarge(ClientPayloadError):
    """An event is larger than it may be; it would be so again."""


class EventParser:
    """Turns the bytes of an event stream into events (HTML standard, 9.2.6), in linear time.

    Args:
        last_event_id: The ID that holds until the stream sets one.
        max_event_size: Characters that an event may have: its data and its type, and any one line
            that has not ended.  Comments, and fields before them, count for nothing.
    """

    __slots__ = (
        "_data",
        "_decoder",
        "_event",
        "_failure",
        "_held",
        "_id",
        "_max",
        "_pending_cr",
        "_pieces",
        "_retry",
        "_size",
        "_started",
        "last_event_id",
    )

    last_event_id: str

    def __init__(self, last_event_id: str = "", *, max_event_size: int = MAX_EVENT_SIZE) -> None:
        self.last_event_id = self._id = last_event_id
        self._max = max_event_size
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # The line that has not ended yet, as it came, and how long it is.
        self._pieces: list[str] = []
        self._held = 0
        self._data: list[str] = []
        self._event = ""
        self._retry: float | None = None
        self._size = 0  # of the data
        self._started = False
        self._pending_cr = False
        self._failure: EventTooLarge | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take in bytes, however they are cut, and give the events that they complete.

        Raises:
            ClientPayloadError: An event is larger than `max_event_size`.  Those before it are given
                first, and this is raised by the next call.
        """
        if self._failure is not None:
            raise self._failure
        text = self._decoder.decode(data)
        if not text:
            return []
        if not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        if self._pending_cr:
            # The line ended with the piece before; a line feed would belong to that same end.
            text = text.removeprefix("\n")
        self._pending_cr = text.endswith("\r")
        # A line that goes on is not looked at again: only what came now is searched for its end.
        first, *lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._hold(first)
        events: list[ServerSentEvent] = []
        try:
            for line in lines:
                self._check(self._held, of_line=True)
                event = self._take("".join(self._pieces))
                self._pieces.clear()
                self._held = 0
                if event is not None:
                    events.append(event)
                self._hold(line)
            self._check(self._held, of_line=True)
        except EventTooLarge as exc:
            self._failure = exc
            if not events:
                raise
        return events

    def _hold(self, piece: str) -> None:
        if piece and not (self._pieces and self._pieces[0].startswith(":")):
            # Of a comment no more is kept than that it is one.
            self._pieces.append(piece if piece[0] != ":" or self._pieces else ":")
            self._held += len(self._pieces[-1])

    def _check(self, more: int, *, of_line: bool = False) -> None:
        if of_line and not more:
            return  # a line that has not begun
        total = self._size + len(self._event) + more
        if of_line and total > self._max:
            # The field's name is no part of the event.
            name = _FIELD_NAME.match("".join(self._pieces[:8]))
            total -= 0 if name is None else name.end()
        if total > self._max:
            raise EventTooLarge(f"a server-sent event has more than {self._max} characters")

    def _take(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._check(len(value))
            self._size += len(value) + 1
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and (milliseconds := decimal(value, 10**15)) is not None:
            self._retry = min(milliseconds / 1000, LONGEST_WAIT)
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, event, retry = self._data, self._event, self._retry
        self._data, self._event, self._size = [], "", 0
        # Only here: an event that is cut off behind its id was not received, and must come again.
        self.last_event_id = self._id
        if not data:
            return None
        self._retry = None
        return ServerSentEvent("\n".join(data), event or "message", self.last_event_id, retry)

    @property
    def retry(self) -> float | None:
        """The reconnection time that the stream has set since the last event, in seconds."""
        return self._retry


def reconnect_after(seconds: float) -> float:
    """How long to wait where `seconds` are asked for: that at least (HTML standard, 9.2.3)."""
    return seconds * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311  (it protects no secret)


def may_be_sent(last_event_id: str) -> bool:
    """Whether an ID can go into a Last-Event-ID field (RFC 9110 5.5)."""
    return len(last_event_id) <= LONGEST_ID and not has_control(last_event_id)


def check_event_stream(response: ReadableResponse) -> None:
    """Raise unless a response is an event stream.

    Raises:
        ClientResponseError: Its status is not 200.
        ContentTypeError: It is of another type.
    """
    if response.status != 200:
        raise ClientResponseError(
            response.request_info,
            response.history,
            status=response.status,
            message=f"no event stream: {response.reason}",
            headers=response.headers,
        )
    if response.content_type != EVENT_STREAM:
        raise ContentTypeError(
            response.request_info,
            response.history,
            status=response.status,
            message=f"Attempt to read events from unexpected mimetype: {response.content_type}",
            headers=response.headers,
        )


class EventStream:
    """The events of one response, as they come; one that the stream's end cuts off is dropped.

    An asynchronous iterator, and a context manager that closes the response.

    Args:
        response: The response.
        parser: What reads its bytes.
    """

    def __init__(self, response: ReadableResponse, parser: EventParser) -> None:
        self._response = response
        self._parser = parser
        self._events: deque[ServerSentEvent] = deque()
        self._checked = False
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerSentEvent:
        if not self._checked:
            check_event_stream(self._response)
            self._checked = True
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            # Nothing is lost where this wait is given up: bytes stay with the response until then.
            piece = await self._response.content.readany()
            try:
                # Without bytes it says whether what came last was too large.
                self._events.extend(self._parser.feed(piece))
            except EventTooLarge:
                self._ended = True
                self._response.close()  # nobody knows how much is to come
                raise
            self._ended = not piece
        return self._events.popleft()

    async def aclose(self) -> None:
        """Leave the stream; the response is closed."""
        self._ended = True
        self._events.clear()
        self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class EventSource:
    """Events of a URL: connects again when the stream ends or breaks, from where it stopped.

    An asynchronous iterator whose wait can be taken up again: a time limit round one event loses
    nothing, neither the stream nor a request that is under way.  A status other than 200, or
    another type, is an error and ends it; 204 (No Content) ends it without one.

    Args:
        session: Makes the requests.
        url: Where the events come from.
        method: The request's method.  What changes something (POST) is not sent again unless
            `reconnect` is given: the end of its stream is the end, and a break of it an error.
        reconnect: Seconds before connecting again, as long as the server says nothing else; what it
            says counts from half a second to a day.  Up to a quarter is added by chance.  3 by
            default; None never connects again.
        max_reconnects: How often in a row without any event between; None for no limit.
        last_event_id: Where to begin: the ID of the last event that is known already.
        max_event_size: Characters that one event may have; 1 MiB (2**20) by default.
        options: As for `ClientSession.request`: `json`, `headers`, `params`, `timeout` ...  There
            is no limit to the time in all unless `timeout` has one.

    Raises:
        ValueError: `last_event_id` has control characters, or more than 4096 letters.
    """

    def __init__(
        self,
        session: RequestingSession,
        url: StrOrURL,
        *,
        method: str = "GET",
        reconnect: float | EllipsisType | None = ...,
        max_reconnects: int | None = None,
        last_event_id: str = "",
        max_event_size: int = MAX_EVENT_SIZE,
        **options: Any,
    ) -> None:
        self._session = session
        self._url = url
        self._method = check_method(method)
        self._headers = CIMultiDict(field_pairs(options.pop("headers", None) or {}))
        self._headers.setdefault("Accept", EVENT_STREAM)
        self._headers.setdefault("Cache-Control", "no-store")
        self._options = options
        self._options.setdefault("timeout", ClientTimeout(sock_connect=30))
        self.last_event_id: str = last_event_id or self._headers.get("Last-Event-ID", "")
        if not may_be_sent(self.last_event_id):
            raise ValueError("last_event_id is too long, or has characters that no field may have")
        # The last ID that can be sent back, where `last_event_id` cannot.
        self._resume_from = self.last_event_id
        self.reconnect: float = RECONNECT_SECONDS
        self._reconnects = self._method in SAFE_METHODS
        if not isinstance(reconnect, EllipsisType):
            check_seconds("reconnect", reconnect)
            self._reconnects = reconnect is not None and reconnect != float("inf")
            self.reconnect = RECONNECT_SECONDS if reconnect is None else float(reconnect)
        self._max_reconnects = max_reconnects
        self._max_event_size = max_event_size
        self._failures = 0
        self._waiting = False
        self._ended = False
        # What it is about: a pause until a moment, then a request, then a stream.
        self._pause_until: float | None = None
        self._pause: asyncio.Future[None] | None = None
        self._request: asyncio.Task[ReadableResponse] | None = None
        self._response: ReadableResponse | None = None
        self._parser = EventParser()
        self._stream: EventStream | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerSentEvent:
        if self._waiting:
            raise RuntimeError("another task waits for the next event of this source")
        self._waiting = True
        try:
            while True:
                if self._ended:
                    raise StopAsyncIteration
                if self._stream is None:
                    await self._connect()
                    continue
                event = await self._next_of(self._stream)
                if event is not None:
                    return event
        finally:
            self._waiting = False

    async def _next_of(self, stream: EventStream) -> ServerSentEvent | None:
        """The next event of a stream; None where there is none, and another stream is to be had."""
        try:
            event = await anext(stream)
        except StopAsyncIteration:
            self._lost(None)
            return None
        except EventTooLarge:
            self._end()
            raise
        except (ClientConnectionError, ClientPayloadError, TimeoutError) as exc:
            self._lost(exc)
            return None
        except Exception:
            self._end()
            raise
        self._failures = 0
        self._remember(event.id)
        if event.retry is not None:
            self.reconnect = max(event.retry, SHORTEST_WAIT)
        return event

    def _remember(self, last_event_id: str) -> None:
        self.last_event_id = last_event_id
        if may_be_sent(last_event_id):
            # One that cannot be sent leaves the one before: events may come twice, none is missed.
            self._resume_from = last_event_id

    def _lost(self, error: Exception | None) -> None:
        """The stream ended, or no response came: connect again, where that is right.

        Raises:
            Exception: `error`, where it is not.
        """
        if self._stream is not None:
            if self._parser.retry is not None:
                self.reconnect = max(self._parser.retry, SHORTEST_WAIT)
            self._remember(self._parser.last_event_id)
        self._leave()
        if self._ended:
            return  # it was closed meanwhile
        self._failures += 1
        most = self._max_reconnects
        if not self._reconnects or (most is not None and self._failures > most):
            self._ended = True
            if error is not None:
                raise error
            return
        self._pause_until = asyncio.get_running_loop().time() + reconnect_after(self.reconnect)

    async def _connect(self) -> None:
        """Wait as long as is to be waited, then ask, or go on with what an earlier wait began."""
        if self._pause_until is not None:
            await self._sleep_until(self._pause_until)
            self._pause_until = None
            return
        if self._request is None:
            self._headers.pop("Last-Event-ID", None)
            known = self.last_event_id
            if last_event_id := known if may_be_sent(known) else self._resume_from:
                self._headers["Last-Event-ID"] = last_event_id
            asking = _ask(self._session, self._method, self._url, self._headers, self._options)
            self._request = asyncio.get_running_loop().create_task(asking)
        task = self._request
        # A task of its own: a time limit round one event must not send a request twice.
        await asyncio.wait((task,))
        if self._request is not task:
            return  # it was closed meanwhile
        self._request = None
        try:
            if task.cancelled():
                raise ClientConnectionError("the request for events was cancelled")
            response = task.result()
        except (ClientConnectionError, ClientPayloadError, TimeoutError) as exc:
            self._lost(exc)
            return
        except BaseException:
            self._ended = True
            raise
        self._response = response
        if response.status == 204:
            self._end()
            return
        self._parser = EventParser(self.last_event_id, max_event_size=self._max_event_size)
        self._stream = EventStream(response, self._parser)

    async def _sleep_until(self, moment: float) -> None:
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        timer = loop.call_at(moment, _wake, self._pause)
        try:
            await self._pause
        finally:
            timer.cancel()
            self._pause = None

    def _leave(self) -> None:
        """Let go of the stream; its connection is used again where the stream came to its end."""
        response, self._response, self._stream = self._response, None, None
        if response is not None:
            response.release()

    def _end(self) -> None:
        self._ended = True
        self._leave()

    async def aclose(self) -> None:
        """Leave the stream, or stop waiting for one; returns when nothing is under way any more."""
        self._ended = True
        task, self._request = self._request, None
        if self._pause is not None:
            _wake(self._pause)
        if self._response is not None:
            self._response.close()
        self._leave()
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            _forget(task)

    def __del__(self) -> None:
        # Nobody waits for it any more: a request that is under way has nobody to answer to.
        task: asyncio.Task[ReadableResponse] | None = getattr(self, "_request", None)
        if task is not None and not task.get_loop().is_closed():
            task.cancel()
            task.add_done_callback(_forget)
        response: ReadableResponse | None = getattr(self, "_response", None)
        if response is not None:
            response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()


async def _ask(
    session: RequestingSession,
    method: str,
    url: StrOrURL,
    headers: CIMultiDict[str],
    options: dict[str, Any],
) -> ReadableResponse:
    response: ReadableResponse = await session.request(method, url, headers=headers, **options)
    return response


def _wake(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


def _forget(task: asyncio.Task[ReadableResponse]) -> None:
    """A request that nobody wants ended: its response is closed, its error is nobody's."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
