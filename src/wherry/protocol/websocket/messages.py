"""The words of WebSocket (RFC 6455): message types, close codes, and the message that a program
receives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from wherry.errors import NestedTooDeeply


class WSMsgType(IntEnum):
    """What a message is: the opcodes of RFC 6455 11.8, and three that never come over the wire."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

    CLOSING = 0x100
    CLOSED = 0x101
    ERROR = 0x102

    text = TEXT
    binary = BINARY
    close = CLOSE
    ping = PING
    pong = PONG
    closing = CLOSING
    closed = CLOSED
    error = ERROR


class WSCloseCode(IntEnum):
    """Why a WebSocket ends (RFC 6455 7.4.1 and its registry); ABNORMAL_CLOSURE never comes over the
    wire.
    """

    OK = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL_CLOSURE = 1006
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


class WSMessage(NamedTuple):
    """What was received: `data` is str for TEXT, bytes for BINARY, PING and PONG, the code for
    CLOSE.

    `type` is a `WSMsgType`, `extra` the reason that came with CLOSE.
    """

    type: WSMsgType
    data: Any
    extra: str | None

    def json(self, *, loads: Callable[[Any], Any] = json.loads) -> Any:
        """The data as JSON, by `loads`."""
        try:
            return loads(self.data)
        except RecursionError:
            raise NestedTooDeeply from None


class WSMessageTextBytes(NamedTuple):
    """A TEXT message whose data is left as bytes (`decode_text=False`)."""

    type: WSMsgType
    data: Any
    extra: str | None

    def json(self, *, loads: Callable[[Any], Any] = json.loads) -> Any:
        """The data as JSON, by `loads`."""
        try:
            return loads(self.data)
        except RecursionError:
            raise NestedTooDeeply from None


WSMessageDecodeText = WSMessage
WSMessageNoDecodeText = WSMessage | WSMessageTextBytes

_LAST_REGISTERED = 1014
_NEVER_SENT = frozenset({1004, 1005, 1006})


def may_be_sent(code: int) -> bool:
    """Whether a Close frame may carry `code` (RFC 6455 7.4)."""
    return (1000 <= code <= _LAST_REGISTERED and code not in _NEVER_SENT) or 3000 <= code <= 4999
