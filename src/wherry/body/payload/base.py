"""What a request's body is: a `Payload` knows its length, its type and whether it can be sent
twice.

The registry finds the payload for an object that a program gives as a body.  Payloads write
themselves to anything with `write(bytes)`; they know no request, no connection and no framing.
"""

from __future__ import annotations

import contextlib
import enum
import mimetypes
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

from multidict import CIMultiDict

from wherry.body.disposition import content_disposition_header
from wherry.errors import ClientPayloadError
from wherry.protocol.grammar import has_control

__all__ = (
    "PAYLOAD_REGISTRY",
    "AbstractStreamWriter",
    "LookupError",
    "Order",
    "Payload",
    "PayloadRegistry",
    "get_payload",
    "payload_type",
    "register_payload",
)

# The type of one piece of a body.
Bytes = bytes | bytearray | memoryview
HeadersLike = Mapping[str, str] | Iterable[tuple[str, str]] | None

_guess_type = getattr(mimetypes, "guess_file_type", mimetypes.guess_type)
_NOT_GIVEN: Final[Any] = object()


class AbstractStreamWriter(Protocol):
    """What a payload writes to."""

    async def write(self, chunk: Bytes, /) -> None: ...


class LookupError(Exception):  # noqa: A001  (the public API's name)
    """No payload is registered for the type of an object."""


class Order(enum.StrEnum):
    """When a registered payload is tried, among those whose type fits."""

    normal = "normal"
    try_first = "try_first"
    try_last = "try_last"


class Payload(ABC):
    """A body to send.

    A subclass must have `write` and `decode`; it should set `_size` when it knows its length, and
    must set `_consumed` when it cannot be written again.

    Args:
        value: What is sent.
        headers: Fields of the body's own, as a part of a multipart has them.
        content_type: The media type; by `filename`, or the class's default, when it is not given.
        filename: The name under which it is sent.
        encoding: The character encoding of a text.
    """

    _default_content_type: str = "application/octet-stream"
    _size: int | None = None
    _consumed: bool = False
    _autoclose: bool = False
    _made_headers: CIMultiDict[str] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_autoclose" not in vars(cls) and not vars(cls).keys().isdisjoint({"close", "_close"}):
            cls._autoclose = False  # it says what is to be done at the end

    def __init__(
        self,
        value: Any,
        headers: HeadersLike = None,
        content_type: str | None = _NOT_GIVEN,
        filename: str | None = None,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._value = value
        self._encoding = encoding
        self._filename = filename
        if content_type is not _NOT_GIVEN and content_type is not None:
            self._content_type = content_type
        elif filename is not None:
            self._content_type = _guess_type(filename)[0] or self._default_content_type
        else:
            self._content_type = self._default_content_type
        if headers:
            self.headers.update(headers)

    @property
    def size(self) -> int | None:
        """How many bytes `write` will write; None when that is not known."""
        return self._size

    @property
    def filename(self) -> str | None:
        """The name under which the body is sent."""
        return self._filename

    @property
    def encoding(self) -> str | None:
        """The character encoding of a text."""
        return self._encoding

    @property
    def headers(self) -> CIMultiDict[str]:
        """The body's own header fields, Content-Type among them."""
        made = self._made_headers
        if made is None:
            # Most bodies are no parts of a multipart: only their type is asked for.
            made = self._made_headers = CIMultiDict({"Content-Type": self._content_type})
        return made

    @property
    def _headers(self) -> CIMultiDict[str]:
        return self.headers

    @property
    def encoded_headers(self) -> bytes:
        """Its fields as a part of a multipart has them, up to and with the empty line.

        Raises:
            ValueError: A field has a control character.
        """
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.items()]
        for line in lines:
            if has_control(line[:-2]):
                raise ValueError(
                    f"a control character in a header field (header injection): {line!r}"
                )
        return "".join([*lines, "\r\n"]).encode("utf-8")

    @property
    def _binary_headers(self) -> bytes:
        return self.encoded_headers  # aiohttp's name of it

    @property
    def content_type(self) -> str:
        """The media type."""
        return (
            self._content_type if self._made_headers is None else self._made_headers["Content-Type"]
        )

    @property
    def consumed(self) -> bool:
        """Whether the body was written and cannot be written again."""
        return self._consumed

    @property
    def replayable(self) -> bool:
        """Whether `write` can write all of the body now, be it for the first or for another
        time.
        """
        return not self.consumed

    @property
    def autoclose(self) -> bool:
        """Whether there is nothing to close."""
        return self._autoclose

    @property
    def closes_later(self) -> bool:
        """Whether closing must be awaited: a class says how in `close`, and nothing in `_close`."""
        for cls in type(self).__mro__:
            if "_close" in vars(cls):
                return False
            if "close" in vars(cls):
                return True
        return False

    @property
    def sole_type(self) -> str | None:
        """The media type, when that is all that the body says of itself; None where it says more,
        or may.
        """
        return None

    @property
    def at_hand(self) -> bytes | None:
        """The whole body, when it lies in memory and is small enough for one write; else None."""
        return None

    def set_content_disposition(
        self, disptype: str, quote_fields: bool = True, _charset: str = "utf-8", **params: Any
    ) -> None:
        """Set the body's Content-Disposition field.

        Args:
            disptype: The type: "attachment", "form-data".
            quote_fields: Whether values are percent-encoded.
            **params: Its parameters, as ``filename="a.txt"``.
        """
        self.headers["Content-Disposition"] = content_disposition_header(
            disptype, quote_fields=quote_fields, _charset=_charset, **params
        )

    @abstractmethod
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text.

        Args:
            encoding: How its bytes are read.
            errors: As for `bytes.decode`.
        """

    @abstractmethod
    async def write(self, writer: Any) -> None:
        """Write the whole body to `writer`, from its beginning each time.

        Raises:
            ClientPayloadError: It was consumed before.
        """

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        """Write the body, at most `content_length` bytes of it.

        Args:
            writer: Has ``async def write(bytes)``.
            content_length: None for all.
        """
        if content_length is None:
            await self.write(writer)
            return
        with contextlib.suppress(_Enough):
            await self.write(_Clipped(writer, content_length))

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The body as bytes; what can be read only once is kept, and can be written afterwards.

        Args:
            encoding: How a text becomes bytes.
            errors: As for `str.encode`.
        """
        actual = self._encoding or encoding
        return self.decode(actual, errors).encode(actual)

    def rewind(self) -> None:
        """Make sure that the body can be written (again).

        Raises:
            ClientPayloadError: It was consumed; bytes, a seekable file or an object that can be
                iterated over more than once could be sent again.
        """
        if not self.replayable:
            raise self._consumed_error()

    def _consumed_error(self) -> ClientPayloadError:
        return ClientPayloadError(
            f"the request's body ({type(self._value).__name__}) was consumed and cannot be sent "
            "again: "
            "give bytes or a seekable file, or do not follow redirects"
        )

    def _close(self) -> None:  # noqa: B027  (most bodies hold nothing)
        """Close without waiting."""

    async def close(self) -> None:
        """Let go of what the body holds, without waiting for anything."""
        self._close()


def close_at_once(payload: Payload) -> None:
    """Let go of what a body holds, where that needs no waiting (`closes_later`)."""
    payload._close()


class _Enough(Exception):
    """Raised to stop a payload's `write`: enough of the body was written."""


class _Clipped:
    """Lets so many bytes through to a writer, and stops the payload after them."""

    __slots__ = ("left", "writer")

    def __init__(self, writer: Any, left: int) -> None:
        self.writer = writer
        self.left = left

    async def write(self, chunk: Bytes) -> None:
        view = memoryview(chunk)
        view = view.cast("B") if view.c_contiguous else memoryview(bytes(view))
        if view and not self.left:
            raise _Enough
        await self.writer.write(view[: self.left])
        self.left = max(0, self.left - len(view))


_P = TypeVar("_P", bound=type[Payload])


class PayloadRegistry:
    """Which payload stands for which type of object."""

    __slots__ = ("_exact", "_first", "_last", "_normal", "_unknown")

    def __init__(self) -> None:
        self._first: list[tuple[Callable[..., Payload], Any]] = []
        self._normal: list[tuple[Callable[..., Payload], Any]] = []
        self._last: list[tuple[Callable[..., Payload], Any]] = []
        self._exact: dict[Any, Callable[..., Payload]] = {}
        self._unknown: set[Any] = set()  # types for which none is registered, dict for one

    def get(self, data: Any, *args: Any, **kwargs: Any) -> Payload:
        """The payload for `data`; a payload is its own.

        Raises:
            LookupError: No registered type fits.
        """
        if self._first:
            for factory, kind in self._first:
                if isinstance(data, kind):
                    return factory(data, *args, **kwargs)
        exact = self._exact.get(type(data))
        if exact is not None:
            return exact(data, *args, **kwargs)
        unknown = self._unknown  # this one: `register`, in another thread, begins a new one
        if type(data) not in unknown:
            if isinstance(data, Payload):
                return data
            for order in (self._normal, self._last):
                for factory, kind in order:
                    if isinstance(data, kind):
                        return factory(data, *args, **kwargs)
            if type(data) in (dict, list, tuple):
                unknown.add(type(data))
        raise LookupError(f"no payload is registered for {type(data).__name__}")

    def register(
        self,
        factory: Callable[..., Payload],
        type: Any,  # noqa: A002  (the public API's name)
        *,
        order: Order = Order.normal,
    ) -> None:
        """Let `factory` make the payload for objects of `type` (a class, or a tuple of them)."""
        if order is Order.try_first:
            self._first.append((factory, type))
        elif order is Order.try_last:
            self._last.append((factory, type))
        elif order is Order.normal:
            self._normal.append((factory, type))
            for kind in type if isinstance(type, Iterable) else (type,):
                self._exact[kind] = factory
        else:
            raise ValueError(f"not an order: {order!r}")
        self._unknown = set()


PAYLOAD_REGISTRY: Final = PayloadRegistry()


def get_payload(data: Any, *args: Any, **kwargs: Any) -> Payload:
    """The payload for `data`, by the registry."""
    return PAYLOAD_REGISTRY.get(data, *args, **kwargs)


def register_payload(
    factory: Callable[..., Payload],
    type: Any,  # noqa: A002  (the public API's name)
    *,
    order: Order = Order.normal,
) -> None:
    """Let `factory` make the payload for objects of `type`."""
    PAYLOAD_REGISTRY.register(factory, type, order=order)


class payload_type:  # noqa: N801  (the public API's name)
    """Class decorator: the payload is for objects of `type`; `order` says who is asked first."""

    def __init__(self, type: Any, *, order: Order = Order.normal) -> None:  # noqa: A002
        self.type = type
        self.order = order

    def __call__(self, factory: _P) -> _P:
        register_payload(factory, self.type, order=self.order)
        return factory
