"""What a request does, step by step, for people who look for a fault: one logger for each room.

All of it is said at DEBUG, with the number of the connection ("#3") that it is about.  Off, which
is the rule, a step costs one look at an attribute (`if POOL.on:`) and no call.  Loggers tell nobody
when their level changes, so whether they are on is looked up where that costs nothing: for each
session, each dial and each timer of a pool; and once for each request by `wherry.client` alone.

What is said hides secrets as errors do, whatever a caller passes (`redaction`), and holds no
character that commands a terminal or begins a line.
"""

from __future__ import annotations

import logging

from wherry.errors import printable
from wherry.redaction import shown_url


class RoomLog:
    """One room's logger, and whether anybody listens to it.

    Args:
        name: The logger's name.
    """

    __slots__ = ("logger", "on")

    def __init__(self, name: str) -> None:
        self.logger: logging.Logger = logging.getLogger(name)
        self.on: bool = self.logger.isEnabledFor(logging.DEBUG)

    def say(self, message: str, *args: object) -> None:
        """Log a step; callers ask `on` first.

        Args:
            message: A text with "%s" for each of `args`.
            args: What to show: numbers as they are, all else as a text without secrets.
        """
        shown = [
            arg if isinstance(arg, (int, float)) else printable(shown_url(_text(arg)))
            for arg in args
        ]
        self.logger.debug(message, *shown, stacklevel=2)


def _text(arg: object) -> str:
    if isinstance(arg, BaseException):
        return f"{type(arg).__name__}: {arg}"
    return arg.decode("latin-1") if isinstance(arg, bytes) else str(arg)


CLIENT = RoomLog("wherry.client")  # requests: begun, redirected, sent again, answered
POOL = RoomLog("wherry.pool")  # connections: waited for, given, kept, let go
DIAL = RoomLog("wherry.dial")  # addresses and sockets
DNS = RoomLog("wherry.dns")  # names
PROXY = RoomLog("wherry.proxy")  # tunnels
TLS = RoomLog("wherry.tls")  # handshakes
HTTP1 = RoomLog("wherry.http1")  # exchanges, by protocol
HTTP2 = RoomLog("wherry.http2")
HTTP3 = RoomLog("wherry.http3")

ROOMS = (CLIENT, POOL, DIAL, DNS, PROXY, TLS, HTTP1, HTTP2, HTTP3)


def look_up_levels() -> None:
    """See who listens now."""
    for room in ROOMS:
        room.on = room.logger.isEnabledFor(logging.DEBUG)
