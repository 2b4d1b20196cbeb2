"""The opening handshake of WebSocket (RFC 6455 4, RFC 7692 7, RFC 8441): what is asked, and what
may be answered.

Pure functions over field values.  Whatever was not offered is refused: a subprotocol, an extension,
a parameter.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from wherry.protocol.grammar import elements, match_token, read_parameters
from wherry.protocol.heads import ResponseHead
from wherry.protocol.websocket.deflate import SMALLEST_WINDOW, Deflater, Inflater

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFLATE = "permessage-deflate"
_BITS = re.compile(r"[89]|1[0-5]")


class WSHandshakeError(Exception):
    """The answer to an opening handshake is not one that may be given."""


class DeflateTerms(NamedTuple):
    """What was agreed on for permessage-deflate (RFC 7692 7.1): windows as powers of two, and
    whether they live on.
    """

    server_bits: int = 15
    client_bits: int = 15
    server_takeover: bool = True
    client_takeover: bool = True

    def inflater(self) -> Inflater:
        return Inflater(self.server_bits, self.server_takeover)

    def deflater(self) -> Deflater | None:
        """What compresses our messages; None if zlib cannot, and then messages go out as they are
        (RFC 7692 6).
        """
        return (
            None
            if self.client_bits < SMALLEST_WINDOW
            else Deflater(self.client_bits, self.client_takeover)
        )


def make_key() -> str:
    """A Sec-WebSocket-Key (RFC 6455 4.1)."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_for(key: str) -> str:
    """The Sec-WebSocket-Accept that answers `key` (RFC 6455 4.2.2)."""
    return base64.b64encode(
        hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    ).decode()


def deflate_offer(bits: int) -> str:
    """The Sec-WebSocket-Extensions that offers permessage-deflate.

    Args:
        bits: The server's window, 9 to 15.

    Raises:
        ValueError: zlib has no such window.
    """
    if not SMALLEST_WINDOW <= bits <= 15:
        raise ValueError(
            f"compress is a window of {SMALLEST_WINDOW} to 15 bits, or 0 for none; not {bits}"
        )
    limit = f"; server_max_window_bits={bits}" if bits < 15 else ""
    return f"{_DEFLATE}; client_max_window_bits{limit}"


def check_upgrade(head: ResponseHead, key: str) -> None:
    """Check that a response of HTTP/1.1 opens a WebSocket (RFC 6455 4.1).

    Raises:
        WSHandshakeError: It does not, and why.
    """
    if head.status != 101:
        raise WSHandshakeError("Invalid response status")
    if [value.strip().lower() for value in _items(head, b"upgrade")] != ["websocket"]:
        raise WSHandshakeError("Invalid upgrade header")
    if "upgrade" not in {value.lower() for value in _items(head, b"connection")}:
        raise WSHandshakeError("Invalid connection header")
    if _values(head, b"sec-websocket-accept") != [accept_for(key)]:
        raise WSHandshakeError("Invalid challenge response")


def agreed_protocol(head: ResponseHead, offered: Sequence[str]) -> str | None:
    """The subprotocol that the server chose, None for none.

    Raises:
        WSHandshakeError: It was not offered, or there are several.
    """
    chosen = _values(head, b"sec-websocket-protocol")
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in offered:
        raise WSHandshakeError(
            f"the server chose a subprotocol that was not offered: {', '.join(chosen)!r}"
        )
    return chosen[0]


def agreed_deflate(head: ResponseHead, offered_bits: int) -> DeflateTerms | None:
    """The terms of compression that the server agreed to, None for no compression.

    Args:
        head: The response.
        offered_bits: What `deflate_offer` was called with; 0 if nothing was offered.

    Raises:
        WSHandshakeError: An extension, or a parameter, that was not offered or is not valid (RFC
            7692 7.1).
    """
    terms = None
    for name, parameters in _extensions(", ".join(_values(head, b"sec-websocket-extensions"))):
        if name != _DEFLATE or not offered_bits:
            raise WSHandshakeError(f"the server chose an extension that was not offered: {name!r}")
        if terms is not None:
            raise WSHandshakeError(f"the server chose {name} twice")
        terms = _terms(parameters, offered_bits)
    return terms


def _terms(parameters: list[tuple[str, str | None]], offered_bits: int) -> DeflateTerms:
    given = dict(parameters)
    if len(given) != len(parameters):
        raise WSHandshakeError(f"a parameter of {_DEFLATE} is repeated")
    server_bits = client_bits = 15
    for name, value in given.items():
        if name in {"server_no_context_takeover", "client_no_context_takeover"}:
            if value is not None:
                raise WSHandshakeError(f"{name} of {_DEFLATE} has a value: {value!r}")
        elif name in {"server_max_window_bits", "client_max_window_bits"}:
            if value is None or _BITS.fullmatch(value) is None:
                raise WSHandshakeError(f"Invalid window size: {name}={value}")
            if name == "client_max_window_bits":
                client_bits = int(value)
            else:
                server_bits = int(value)
        else:
            raise WSHandshakeError(f"{_DEFLATE} has a parameter that was not offered: {name!r}")
    if offered_bits < 15 and not (
        "server_max_window_bits" in given and server_bits <= offered_bits
    ):
        # RFC 7692 7.1.2.1: a server that cannot keep to the window declines the offer.
        raise WSHandshakeError(
            f"the server's window is larger than the {offered_bits} bits that were offered"
        )
    return DeflateTerms(
        server_bits,
        client_bits,
        "server_no_context_takeover" not in given,
        "client_no_context_takeover" not in given,
    )


def _extensions(value: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """The extensions of a field, each with its parameters (RFC 6455 9.1)."""
    found: list[tuple[str, list[tuple[str, str | None]]]] = []
    for item in elements([value]):
        name = match_token(item, 0)
        parameters, end = ([], 0) if name is None else read_parameters(item, name.end())
        if name is None or end != len(item):
            raise WSHandshakeError(f"Sec-WebSocket-Extensions cannot be read: {value[:200]!r}")
        found.append((name[0], parameters))
    return found


def _values(head: ResponseHead, name: bytes) -> list[str]:
    return [value.decode("utf-8", "surrogateescape") for value in head.get_all(name)]


def _items(head: ResponseHead, name: bytes) -> list[str]:
    """The elements of a field that is a list, over all its lines."""
    return elements(_values(head, name))
