"""What goes before a body: the head of a request and of a response, and the fields that many
requests share.

Values only: how they are written belongs to each protocol, and what they mean to the rooms above.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wherry.types import HttpVersion, RawHeaders

FieldPairs = list[tuple[str, str]] | tuple[tuple[str, str], ...]


def has_bytes(text: str) -> bool:
    """Whether `text` can go out in a field: as UTF-8, and as the bytes that came where they were
    none (PEP 383).

    Half a surrogate pair, which JSON can hold, is neither.
    """
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


class FieldBlock:
    """Header fields that many requests have in common, so that each protocol encodes them once.

    Args:
        pairs: Names and values, already checked, in the order in which they are sent.
    """

    __slots__ = ("encoded_http1", "encoded_http2", "encoded_http3", "names", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs: tuple[tuple[str, str], ...] = tuple(pairs)
        self.names: frozenset[str] = frozenset(name.lower() for name, _ in self.pairs)
        self.encoded_http1: bytes | None = None
        self.encoded_http2: Any = None
        self.encoded_http3: bytes | None = None


EMPTY_BLOCK = FieldBlock()


class RequestHead:
    """A request as a protocol needs it: everything but the body's bytes, unless these are at hand.

    Framing belongs to the protocol: `fields` must not have Content-Length, Transfer-Encoding, Host
    or Connection; they follow from `content_length`, `streamed`, `authority`, `close` and
    `upgrade`.

    Args:
        method: The method, a token in the case that is sent.
        scheme: "http" or "https".
        authority: The host, with the port where it is not the scheme's own: Host, or :authority.
        target: Origin-form, or absolute-form for a plain request through a proxy.
        shared: Fields that many requests of the session share.
        fields: Fields of this request alone; they follow the shared ones.
        body: The whole body when it is at hand, else None.
        streamed: The body follows by `Exchange.send` and `Exchange.end`.
        content_length: The body's length in bytes; None with `streamed` means that it is not known.
        expect_continue: Sends ``Expect: 100-continue``; the caller awaits `Exchange.wait_continue`
            first.
        upgrade: The protocol to upgrade to ("websocket"), None for an ordinary exchange.
        close: The connection ends with this exchange.
        version: The version that the user asked for; protocols other than HTTP/1 ignore it.
    """

    __slots__ = (
        "authority",
        "body",
        "close",
        "content_length",
        "encoded_http1",
        "encoded_http2",
        "expect_continue",
        "fields",
        "limits",
        "method",
        "scheme",
        "shared",
        "streamed",
        "target",
        "template",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: str,
        scheme: str,
        authority: str,
        target: str,
        shared: FieldBlock = EMPTY_BLOCK,
        fields: FieldPairs = (),
        body: bytes | None = None,
        *,
        streamed: bool = False,
        content_length: int | None = None,
        expect_continue: bool = False,
        upgrade: str | None = None,
        close: bool = False,
        version: HttpVersion | None = None,
    ) -> None:
        self.method: str = method
        self.scheme: str = scheme
        self.authority: str = authority
        self.target: str = target
        self.shared: FieldBlock = shared
        self.fields: FieldPairs = fields
        self.body: bytes | None = body
        self.streamed: bool = streamed
        self.content_length: int | None = content_length
        self.expect_continue: bool = expect_continue
        self.upgrade: str | None = upgrade
        self.close: bool = close
        self.version: HttpVersion | None = version
        # What the response's head may hold, where that is not what the connection was made for.
        self.limits: Any = None
        # The head that this one was made like; see `from_template`.
        self.template: RequestHead | None = None
        # A head that is sent again and again is encoded once.
        self.encoded_http1: bytes | None = None
        # With the state of the compression that it was made in; HTTP/3 keeps its block here too,
        # under a state of its own.
        self.encoded_http2: tuple[object, bytes] | None = None

    def from_template(self, target: str, fields: FieldPairs, body: bytes | None) -> RequestHead:
        """A head that has only target, fields and body of its own; what both have in common is
        encoded once.
        """
        head = object.__new__(RequestHead)  # a call less for each request
        head.method = self.method
        head.scheme = self.scheme
        head.authority = self.authority
        head.target = target
        head.shared = self.shared
        head.fields = fields
        head.body = body
        head.streamed = head.expect_continue = head.close = False
        head.content_length = self.content_length if body is None else len(body)
        head.upgrade = head.version = head.encoded_http1 = head.encoded_http2 = None
        head.limits = self.limits
        head.template = self
        return head


class HeadFacts:
    """What a client itself must know of a response's fields; heads that say the same share one."""

    __slots__ = ("asks", "content_encoding", "is_json", "set_cookies")

    def __init__(
        self, set_cookies: list[str] | None, content_encoding: str | None, is_json: bool
    ) -> None:
        # Whether anything is to be done.
        self.asks: bool = set_cookies is not None or content_encoding is not None
        self.set_cookies: list[str] | None = set_cookies
        self.content_encoding: str | None = content_encoding
        self.is_json: bool = is_json  # plainly: application/json without parameters


class ResponseHead:
    """Status line and header fields, as they came; never changed, so one may serve several equal
    responses.

    Args:
        status: The status code.
        reason: The reason phrase ("" in HTTP/2 and 3).
        version: The version of the response.
        raw: The field lines in order, names in their original case, values without surrounding
            blanks.
    """

    __slots__ = ("facts", "keep_alive", "raw", "reason", "shown", "status", "version")

    def __init__(self, status: int, reason: str, version: HttpVersion, raw: RawHeaders) -> None:
        self.status: int = status
        self.reason: str = reason
        self.version: HttpVersion = version
        self.raw: RawHeaders = raw
        # What the client must know of the fields; None until somebody has looked.
        self.facts: HeadFacts | None = None
        # What a room above made of the fields, kept for the next response with the same head.
        self.shown: Any = None
        # For how many seconds the server wants to keep the connection, where it said that.
        self.keep_alive: float | None = None

    def get(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower case), or None."""
        length = len(name)
        for field, value in self.raw:
            if len(field) == length and field.lower() == name:
                return value
        return None

    def text_pairs(self) -> list[tuple[str, str]] | None:
        """Names and values as text, where a head gives them quicker than by `raw`; else None."""
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case), in order."""
        length = len(name)
        return [
            value for field, value in self.raw if len(field) == length and field.lower() == name
        ]
