"""Rules that a peer of HTTP/2 or HTTP/3 breaks, on one stream or for the whole connection."""

from __future__ import annotations

from typing import Any


class ConnectionFault(Exception):
    """The peer broke a rule so that the connection must end.

    Args:
        code: An `ErrorCode` of the protocol, for GOAWAY (HTTP/2) or CONNECTION_CLOSE (HTTP/3).
        message: What was wrong, for a person.
    """

    def __init__(self, code: Any, message: str) -> None:
        super().__init__(message)
        self.code: Any = code


class StreamFault(Exception):
    """The peer broke a rule on one stream.

    Args:
        code: An `ErrorCode` of the protocol, for RST_STREAM (HTTP/2), or RESET_STREAM and
            STOP_SENDING (HTTP/3).
        message: What was wrong, for a person.
    """

    def __init__(self, code: Any, message: str) -> None:
        super().__init__(message)
        self.code: Any = code
