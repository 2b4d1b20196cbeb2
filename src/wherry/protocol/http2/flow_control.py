"""Flow control and the frame-flood limit on an HTTP/2 connection, as pure arithmetic.

How large a window a stream needs is measured (`WindowTuner`), what a peer may add to ours is
checked (`widen`), and frames that move no request on are counted (`FrameFloodLimit`).  Knows no
frames, streams or clocks: callers pass them in.

There are two windows each way (RFC 9113 5.2): a stream's and the connection's.  What *we receive*
is bounded by what we granted.  A stream's window is widened as its reader takes bytes, so a reader
that pauses stops its own stream and no other.  The connection's window is widened as bytes arrive,
whoever they are for: were it tied to the readers, one slow reader would stop all streams.  Memory
stays bounded all the same, since no stream can hold more than its own window.  Bytes of a stream
that is over count for the connection too; to forget them would lose its window bit by bit.

What *we send* takes the smaller of the two windows.  A body that neither lets out waits in its
exchange; `Sender` lets those that wait take turns, so that one upload does not starve the others.

The peer's frames that move nothing on cost us work and the peer nothing.  They are counted, and a
peer that sends more than it may is cut off (CVE-2019-9511 to 9518, CVE-2023-44487 and their like).
What we send makes a peer answer, so it earns credit.
"""

from __future__ import annotations

from wherry.protocol.http2.frames import MAX_WINDOW


class FlowOptions:
    """How a connection receives, and keeps itself alive.

    Args:
        initial_window: What a stream may receive ahead of its reader at first, in bytes.
        max_window: The same at most, where the way is long and fast, in bytes.
        connection_window: What all streams may have under way together, in bytes.
        ping_interval: Seconds without any byte received after which a PING goes out; None sends
            none.
        ping_timeout: Seconds for the answer, after which the connection counts as dead.
        max_noise: Frames that move no request on, in `noise_period` seconds at most.
        noise_period: See there, in seconds.
    """

    __slots__ = (
        "connection_window",
        "initial_window",
        "max_noise",
        "max_window",
        "noise_period",
        "ping_interval",
        "ping_timeout",
    )

    def __init__(
        self,
        *,
        initial_window: int = 512 * 1024,
        max_window: int = 16 * 1024 * 1024,
        connection_window: int = 32 * 1024 * 1024,
        ping_interval: float | None = None,
        ping_timeout: float = 20.0,
        max_noise: int = 1000,
        noise_period: float = 10.0,
    ) -> None:
        self.initial_window: int = initial_window
        self.max_window: int = max_window
        self.connection_window: int = connection_window
        self.ping_interval: float | None = ping_interval
        self.ping_timeout: float = ping_timeout
        self.max_noise: int = max_noise
        self.noise_period: float = noise_period


DEFAULT_FLOW = FlowOptions()


class WindowTuner:
    """Finds how large a stream's window must be so that the peer never waits for it.

    While a stream uses up its window, a PING measures a round trip: when two thirds of the window
    or more came in during it, the window, not the way, is what holds the peer back, and it doubles.

    Args:
        start: The window at first, in bytes.
        maximum: The window at most, in bytes.
    """

    __slots__ = ("_received", "_stream", "maximum", "target")

    def __init__(self, start: int, maximum: int) -> None:
        self.target: int = start
        self.maximum: int = max(start, maximum)
        self._stream: object | None = None
        self._received = 0

    def begin(self, stream: object, received: int) -> bool:
        """A stream's window ran low, with `received` bytes so far: whether to send a PING now."""
        if self._stream is not None or self.target >= self.maximum:
            return False
        self._stream = stream
        self._received = received
        return True

    @property
    def measured(self) -> object | None:
        """The stream that is measured."""
        return self._stream

    def stop(self) -> None:
        """Measure no more."""
        self._stream = None

    def finish(self, received: int) -> None:
        """The PING came back, and `received` bytes have come on the stream by now."""
        self._stream = None
        if (received - self._received) * 3 >= self.target * 2:
            self.target = min(self.target * 2, self.maximum)


class FrameFloodLimit:
    """Counts frames that move no request on, as floods of PING, SETTINGS, RST_STREAM and empty DATA
    do.

    Args:
        limit: How many of them are borne.
        period: In how many seconds.
    """

    __slots__ = ("_count", "_limit", "_period", "_since")

    def __init__(self, limit: int, period: float, now: float) -> None:
        self._limit = limit
        self._period = period
        self._since = now
        self._count = 0

    def credit(self, frames: int) -> None:
        """Allow so many frames more: what we send makes the peer answer."""
        self._count -= frames

    def allows(self, now: float, cost: int = 1) -> bool:
        """Count a frame that costs as much as so many; False when it is one too many."""
        self._count += cost
        if self._count <= self._limit:
            return True
        if now - self._since < self._period:
            return False
        self._since = now
        self._count = 0
        return True


def widen(window: int, increment: int) -> int | None:
    """A send window after WINDOW_UPDATE; None where it passes 2**31-1 (RFC 9113 6.9.1)."""
    window += increment
    return None if window > MAX_WINDOW else window
