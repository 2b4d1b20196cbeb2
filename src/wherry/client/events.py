"""Server-sent events (HTML standard, 9.2): a parser without I/O, and a source that connects again
by itself.
"""

from __future__ import annotations

import asyncio
import codecs
import random
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs
from multidict import CIMultiDict

from wherry.client.headers.validation import field_pairs
from wherry.client.timeouts import ClientTimeout
from wherry.errors import (
    ClientConnectionError,
    ClientPayloadError,
    ClientResponseError,
    ContentTypeError,
)
from wherry.types import StrOrURL

if TYPE_CHECKING:
    from wherry.client.response import ClientResponse
    from wherry.client.session import ClientSession

EVENT_STREAM = "text/event-stream"
MAX_EVENT_SIZE = 2**20
# Whatever a server asks, seconds: "retry: 0" would have it asked as fast as it answers.
SHORTEST_WAIT = 0.5
LONGEST_WAIT = 86_400.0
# A wait is up to so much longer by chance: those whom a server lost together must not come back
# together.
JITTER = 0.25
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
    """Turns the bytes of an event stream into events (HTML standard, 9.2.6).

    Args:
        last_event_id: The ID that holds until the stream sets one.
        max_event_size: Characters of one event at most.
    """

    __slots__ = (
        "_data",
        "_decoder",
        "_event",
        "_id",
        "_line",
        "_max",
        "_pending_cr",
        "_retry",
        "_size",
        "_started",
        "last_event_id",
    )

    def __init__(self, last_event_id: str = "", *, max_event_size: int = MAX_EVENT_SIZE) -> None:
        self.last_event_id = self._id = last_event_id
        self._max = max_event_size
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._data: list[str] = []
        self._event = ""
        self._retry: float | None = None
        self._size = 0
        self._started = False
        self._pending_cr = False

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take in bytes, however they are cut, and give the events that they complete.

        Raises:
            ClientPayloadError: An event is larger than `max_event_size`.
        """
        text = self._decoder.decode(data)
        if not text:
            return []
        if not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        if self._pending_cr:
            # The line ended with the piece before; a line feed would belong to that same end.
            self._pending_cr = False
            text = text.removeprefix("\n")
        self._pending_cr = text.endswith("\r")
        lines = (self._line + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._line = lines.pop()
        events = [event for line in lines if (event := self._take(line)) is not None]
        if self._size + len(self._line) > self._max:
            raise EventTooLarge(f"a server-sent event has more than {self._max} characters")
        return events

    def _take(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        self._size += len(line)
        if self._size > self._max:
            raise EventTooLarge(f"a server-sent event has more than {self._max} characters")
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            # int() refuses thousands of digits, and a float has no place for hundreds.
            self._retry = min(int(value) / 1000, LONGEST_WAIT) if len(value) < 16 else LONGEST_WAIT
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


def check_event_stream(response: ClientResponse) -> None:
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


async def read_events(
    response: ClientResponse, parser: EventParser
) -> AsyncIterator[ServerSentEvent]:
    """The events of one response, as they come; an event that the stream's end cuts off is
    dropped.
    """
    check_event_stream(response)
    async for piece in response.content.iter_any():
        for event in parser.feed(piece):
            yield event


class EventSource:
    """Events of a URL: connects again when the stream ends or breaks, from where it stopped.

    A status other than 200, or another type, is an error and ends it; 204 (No Content) ends it
    without one.

    Args:
        session: Makes the requests.
        url: Where the events come from.
        reconnect: Seconds before connecting again, as long as the server says nothing else; what it
            says counts from half a second to a day.  Up to a quarter is added by chance.
        max_reconnects: How often in a row without any event between; None for no limit.
        options: As for `ClientSession.request`.
    """

    def __init__(
        self,
        session: ClientSession,
        url: StrOrURL,
        *,
        reconnect: float = RECONNECT_SECONDS,
        max_reconnects: int | None = None,
        last_event_id: str = "",
        **options: Any,
    ) -> None:
        self._session = session
        self._url = url
        self._options = options
        self._options.setdefault("timeout", ClientTimeout(sock_connect=30))
        self._headers = CIMultiDict(field_pairs(options.pop("headers", None) or {}))
        self._headers.setdefault("Accept", EVENT_STREAM)
        self._headers.setdefault("Cache-Control", "no-store")
        self.last_event_id = last_event_id
        self.reconnect = reconnect
        self._max_reconnects = max_reconnects
        self._events = self._run()

    async def _run(self) -> AsyncIterator[ServerSentEvent]:
        failures = 0
        while True:
            error: Exception | None = None
            parser = EventParser(self.last_event_id)
            try:
                if self.last_event_id:
                    self._headers["Last-Event-ID"] = self.last_event_id
                async with self._session.request(
                    "GET", self._url, headers=self._headers, **self._options
                ) as response:
                    if response.status == 204:
                        return
                    async for event in read_events(response, parser):
                        failures = 0
                        self.last_event_id = event.id
                        if event.retry is not None:
                            self.reconnect = max(event.retry, SHORTEST_WAIT)
                        yield event
            except EventTooLarge:
                raise
            except (ClientConnectionError, ClientPayloadError, TimeoutError) as exc:
                error = exc
            if parser.retry is not None:
                self.reconnect = max(parser.retry, SHORTEST_WAIT)
            self.last_event_id = parser.last_event_id
            failures += 1
            if self._max_reconnects is not None and failures > self._max_reconnects:
                if error is not None:
                    raise error
                return
            await asyncio.sleep(reconnect_after(self.reconnect))

    def __aiter__(self) -> AsyncIterator[ServerSentEvent]:
        return self._events

    async def aclose(self) -> None:
        """Close the connection to the stream; iteration ends."""
        await self._events.aclose()  # type: ignore[attr-defined]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()
