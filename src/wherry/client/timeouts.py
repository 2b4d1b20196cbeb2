"""Time limits: `ClientTimeout`, what a user asks for, and the wheel that holds every deadline of a
session.

No request has a timer of its own.  A wheel holds one timer for all of them, set to the earliest
deadline; a request that ends in time costs two operations on a set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Never, Protocol

import attrs
from yarl import URL

from wherry.argument_checks import check_seconds
from wherry.body.stream.reader import StreamReader
from wherry.errors import SocketTimeoutError
from wherry.protocol.connection import Exchange, FlowControl
from wherry.protocol.receive_buffer import Borrower

# The timer does not fire more often than this, in seconds, however many deadlines fall close
# together.
GRAIN = 0.005
# How often in `sock_read` it is looked at whether the peer takes more of a request.
LOOKS = 4


@attrs.frozen(init=False)
class ClientTimeout:
    """Limits of a request, in seconds; None (or 0) is no limit.

    Args:
        total: The whole request, from the call to the last byte of the body.
        connect: Getting a connection: the wait in the pool's line and the dial.
        sock_read: Between two reads of the response, and from the last byte of the request that the
            peer took to the first of the response.  It stands still while this side has nothing to
            send yet, and while it does not read.
        sock_connect: Dialling one connection.
        ceil_threshold: Kept for compatibility; deadlines are exact to some milliseconds.

    Raises:
        TypeError: There is no such limit.
        ValueError: A limit is NaN, or no number (a TypeError too).
    """

    total: float | None = None
    connect: float | None = None
    sock_read: float | None = None
    sock_connect: float | None = None
    ceil_threshold: float = 5

    def __init__(
        self,
        total: float | None = None,
        connect: float | None = None,
        sock_read: float | None = None,
        sock_connect: float | None = None,
        ceil_threshold: float = 5,
        **unknown: Never,
    ) -> None:
        if unknown:
            from wherry.client.call_mistakes import unknown_keyword

            known = [each.name for each in attrs.fields(ClientTimeout)]
            raise TypeError(unknown_keyword("ClientTimeout", unknown, known))
        self.__attrs_init__(total, connect, sock_read, sock_connect, ceil_threshold)

    def __attrs_post_init__(self) -> None:
        for name in ("total", "connect", "sock_read", "sock_connect"):
            check_seconds(name, getattr(self, name))


DEFAULT_TIMEOUT = ClientTimeout(total=5 * 60, sock_connect=30)


class Deadline:
    """A moment after which `expire` is called, unless it is taken out of its wheel before.

    Args:
        when: By `time.monotonic`.
        expire: What happens then.
    """

    __slots__ = ("expire", "when")

    def __init__(self, when: float, expire: Callable[[], None]) -> None:
        self.when: float = when
        self.expire: Callable[[], None] = expire


class Asked(Protocol):
    """What a time limit says of the request that it was for."""

    method: str
    text: str | None

    @property
    def url(self) -> URL: ...


class TotalDeadline(Deadline):
    """`ClientTimeout.total`: cancels the task while it makes the request, ends the body while it is
    read.

    It is in its wheel from the beginning.

    Args:
        seconds: From now on.
        asked: What the program has asked for, for the message.
        wheel: Where it lives.
    """

    __slots__ = (
        "_asked",
        "_cancelling",
        "exchange",
        "expired",
        "seconds",
        "task",
        "wheel",
    )

    def __init__(self, seconds: float, asked: Asked, wheel: DeadlineWheel) -> None:
        self.when: float = monotonic() + seconds
        self.seconds: float = seconds
        self.task: asyncio.Task[object] | None = (task := asyncio.current_task())
        self.wheel: DeadlineWheel = wheel
        self.exchange: Exchange | None = None
        self.expired: bool = False
        self._asked = asked
        # Counted now: who cancels in the turn of the loop in which time runs out has asked before
        # `expire` looks.
        self._cancelling = 0 if task is None else task.cancelling()
        # As `DeadlineWheel.add`, with a call less for each request.
        wheel._active.add(self)
        if self.when < wheel._wakes_at:
            wheel._set_timer(self.when)

    def expire(self) -> None:
        self.expired = True
        exchange = self.exchange
        if exchange is not None:
            is_late = not exchange.state.ended
            error = self.error()
            exchange.fail(error)
            if is_late and isinstance(exchange.sink, StreamReader):
                # Whoever takes what came in small steps would not hear of it for long after.
                exchange.sink.drop(error)
            exchange.cancel()
        elif self.task is not None:
            self.task.cancel()

    def error(self) -> TimeoutError:
        return TimeoutError(
            f"Timeout of {self.seconds:g} seconds in all passed for {self._asked.method} "
            f"{self._asked.text or self._asked.url}"
        )

    def settle(self) -> bool:
        """Take back what `expire` asked of the task; called once, when the request has ended one
        way or the other.

        Returns:
            Whether this deadline has asked for the task's end, and nobody else.  Otherwise a
            cancellation is not the deadline's to turn into a timeout: whoever else cancelled would
            wait for ever.
        """
        if not self.expired or self.task is None:
            return False
        return self.task.uncancel() <= self._cancelling


class DeadlineWheel:
    """All deadlines of a session, and the one timer that watches them."""

    __slots__ = ("_active", "_loop", "_timer", "_wakes_at", "discard")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._active: set[Deadline] = set()
        # Take a deadline out: the set's own, for each request does it.
        self.discard: Callable[[Deadline], None] = self._active.discard
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")

    def add(self, deadline: Deadline) -> None:
        self._active.add(deadline)
        if deadline.when < self._wakes_at:
            self._set_timer(deadline.when)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = when
        self._timer = self._loop.call_later(when - monotonic(), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._wakes_at = float("inf")
        now = monotonic()
        due = [deadline for deadline in self._active if deadline.when <= now]
        for deadline in due:
            self._active.discard(deadline)
            deadline.expire()
        if self._active:
            earliest = min(deadline.when for deadline in self._active)
            if earliest < self._wakes_at and earliest != float("inf"):
                self._set_timer(max(earliest, now + GRAIN))

    def retire(self) -> None:
        """Nobody enters it any more: let go of the timer, unless it is needed for what is under
        way.
        """
        if not self._active:
            self.close()

    def close(self) -> None:
        """Cancel the timer; deadlines that are left never pass."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._active.clear()


class TimedSink:
    """A body's sink under `sock_read`: whatever arrives moves the deadline; a paused reader stops
    it.

    Before the response's head, what the peer takes of the request moves it too, and it stands still
    while the program has not made more of the body.  Nobody tells when the operating system takes
    bytes of ours, so the deadline comes several times in `seconds` to look.

    Args:
        sink: The body's own sink.
        wheel: Where the deadline lives.
        seconds: `ClientTimeout.sock_read`.
    """

    __slots__ = (
        "_deadline",
        "_exchange",
        "_flow",
        "_moved_at",
        "_progress",
        "_seconds",
        "_sink",
        "_upload",
        "_wheel",
    )

    def __init__(self, sink: Borrower, wheel: DeadlineWheel, seconds: float) -> None:
        self._sink = sink
        self._wheel = wheel
        self._seconds = seconds
        self._flow: FlowControl | None = None
        self._exchange: Exchange | None = None
        self._deadline = Deadline(float("inf"), self._expire)
        self._upload: asyncio.Task[None] | None = None
        self._progress = (0, 0)  # bytes of the request that were handed over, and that wait still
        self._moved_at = 0.0  # when that was last seen to change

    def watch_after(self, upload: asyncio.Task[None] | None, exchange: Exchange) -> None:
        """Begin to count.

        Args:
            upload: Sends the request's body, None where all was sent with the head.
            exchange: Whose response this is.
        """
        if exchange.state.ended:
            return
        self._exchange = exchange
        exchange.touched = self._touched
        if upload is not None:
            self._upload = upload
            upload.add_done_callback(self._upload_ended)
        self._begin_to_look(exchange)

    def _upload_ended(self, _: asyncio.Task[None]) -> None:
        self._upload = None
        exchange = self._exchange
        if exchange is not None and exchange.head is None:
            self._begin_to_look(exchange)

    def _begin_to_look(self, exchange: Exchange) -> None:
        now = self._moved_at = monotonic()
        unsent = exchange.unsent()
        self._progress = (exchange.written, unsent)
        often = unsent or self._upload is not None
        self._deadline.when = now + (self._seconds / LOOKS if often else self._seconds)
        self._wheel.add(self._deadline)

    def _is_sending(self, exchange: Exchange) -> bool:
        """Whether the request still moves, or waits for the program; if so, look again later."""
        now = monotonic()
        unsent = exchange.unsent()
        progress = (exchange.written, unsent)
        if progress != self._progress or (self._upload is not None and not unsent):
            self._progress, self._moved_at = progress, now
        left = self._moved_at + self._seconds - now
        if left <= 0:
            return False
        self._deadline.when = now + min(left, self._seconds / LOOKS)
        self._wheel.add(self._deadline)
        return True

    def resume_count(self) -> None:
        self._deadline.when = monotonic() + self._seconds
        self._wheel.add(self._deadline)

    def _expire(self) -> None:
        exchange = self._exchange
        if exchange is None or (exchange.head is None and self._is_sending(exchange)):
            return
        if exchange.head is None and exchange.unsent():
            said = "writing data to socket: nothing of the request was taken"
        else:
            said = "reading data from socket: nothing came"
        exchange.fail(SocketTimeoutError(f"Timeout on {said} for {self._seconds:g} s"))
        exchange.cancel()

    @property
    def flow(self) -> FlowControl | None:
        return self._flow

    @flow.setter
    def flow(self, flow: FlowControl | None) -> None:
        self._flow = flow
        self._sink.flow = None if flow is None else self

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return getattr(self._flow, "loop", None)

    def pause_reading(self) -> None:
        self._wheel.discard(self._deadline)
        if self._flow is not None:
            self._flow.pause_reading()

    def resume_reading(self) -> None:
        if self._exchange is not None:
            self.resume_count()
        if self._flow is not None:
            self._flow.resume_reading()

    def _touched(self) -> None:
        self._deadline.when = monotonic() + self._seconds

    def feed_data(self, data: bytes) -> None:
        self._deadline.when = monotonic() + self._seconds
        self._sink.feed_data(data)

    def lend(self, data: memoryview, stop: bool) -> bool:
        self._deadline.when = monotonic() + self._seconds
        return self._sink.lend(data, stop)

    def keep_lent(self) -> bool:
        return self._sink.keep_lent()

    def chunk_ended(self) -> None:
        self._sink.chunk_ended()

    def feed_eof(self) -> None:
        self._end()
        self._sink.feed_eof()

    def set_exception(self, exc: BaseException) -> None:
        self._end()
        self._sink.set_exception(exc)

    def _end(self) -> None:
        self._wheel.discard(self._deadline)
        self._exchange = self._upload = None
        self._flow = None
