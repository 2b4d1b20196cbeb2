"""The fields that are the engine's: what a request says of its body's length, of its connection,
and of what it asks.

A program may set them, where that agrees with what is sent; everything here takes values and gives
values.
"""

from __future__ import annotations

from multidict import CIMultiDict

from wherry.body.payload.memory import Payload
from wherry.client.headers.validation import check_field, is_engines
from wherry.types import HttpVersion, HttpVersion11

# RFC 9110 9.3: for these, content has no defined meaning, so none is announced when there is none.
METHODS_WITHOUT_CONTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})


def parted(headers: CIMultiDict[str]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """(the fields that are sent as they are, the engine's by their lower-case names).

    Raises:
        ValueError: A field cannot be sent; see `check_field`.
    """
    fields = []
    engine: dict[str, str] = {}
    for name, value in headers.items():
        lower = check_field(name, value)
        if is_engines(lower, value):
            engine[lower] = value
        else:
            fields.append((str(name), value))
    return fields, engine


def body_framing(
    payload: Payload | None,
    engine: dict[str, str],
    method: str,
    version: HttpVersion,
    *,
    chunked: bool,
) -> tuple[int | None, bool]:
    """The body's (length, whether it goes in chunks), checked against what the program set (RFC
    9112 6).

    Raises:
        ValueError: A framing field does not agree with the body.
    """
    coding = engine.get("transfer-encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        raise ValueError(f"Transfer-Encoding belongs to the engine; it cannot be {coding!r}")
    promised = engine.get("content-length")
    if promised is not None and not (promised.isascii() and promised.isdigit()):
        raise ValueError(f"Content-Length must be a number of bytes, not {promised!r}")
    chunked = chunked or coding is not None
    if chunked and promised is not None:
        raise ValueError("Content-Length can not be set together with chunked")
    if payload is None:
        if promised is not None and int(promised):
            raise ValueError(f"Content-Length is {promised} but there is no body")
        if promised is None and method in METHODS_WITHOUT_CONTENT:
            return None, False
        return 0, False
    size = payload.size
    if promised is not None:
        if size is not None and size != int(promised):
            raise ValueError(f"Content-Length is {promised} but the body has {size} bytes")
        return int(promised), False
    if chunked or size is None:
        if version < HttpVersion11:
            raise ValueError("Using chunked encoding is forbidden for HTTP/1.0")
        return None, True
    return size, False


def connection_options(
    engine: dict[str, str], fields: list[tuple[str, str]], upgrade: str | None, close: bool
) -> tuple[bool, str | None, list[tuple[str, str]]]:
    """(close, upgrade, fields), now that a program's own Connection and Upgrade count (RFC 9110
    7.6.1, 7.8).
    """
    connection = engine.get("connection", "")
    options = [option.strip().lower() for option in connection.split(",")]
    if "upgrade" in options and "upgrade" in engine:
        return close, engine["upgrade"], fields
    if "close" in options:
        return True, upgrade, fields
    if connection and upgrade is None:
        fields = [*fields, ("Connection", connection)]
    return close, upgrade, fields
