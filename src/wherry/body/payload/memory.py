"""Bodies that lie in memory, and all the payload classes under one roof.

Text and JSON become bytes when they are made: their length is known, and they can be sent any
number of times.  Importing this module fills the registry.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterable
from typing import IO, Any, Final

from wherry.body.media_types import text_type
from wherry.body.payload.base import (
    PAYLOAD_REGISTRY,
    AbstractStreamWriter,
    Bytes,
    HeadersLike,
    LookupError,  # noqa: A004
    Order,
    Payload,
    PayloadRegistry,
    get_payload,
    payload_type,
    register_payload,
)
from wherry.body.payload.files import (
    BufferedReaderPayload,
    BytesIOPayload,
    FileLike,
    IOBasePayload,
    TextIOPayload,
    file_payload,
)
from wherry.body.payload.streams import AsyncIterablePayload, StreamReaderPayload, streamer
from wherry.body.stream.reader import StreamReader
from wherry.types import JSONBytesEncoder, JSONEncoder

__all__ = (
    "PAYLOAD_REGISTRY",
    "AbstractStreamWriter",
    "AsyncIterablePayload",
    "BufferedReaderPayload",
    "BytesIOPayload",
    "BytesPayload",
    "IOBasePayload",
    "JsonBytesPayload",
    "JsonPayload",
    "LookupError",
    "Order",
    "Payload",
    "PayloadRegistry",
    "StreamReaderPayload",
    "StringIOPayload",
    "StringPayload",
    "TextIOPayload",
    "get_payload",
    "payload_type",
    "register_payload",
    "streamer",
)

# A body up to this size is handed over in one piece; a larger one in pieces of `PIECE`, with pauses
# between.
AT_HAND_LIMIT: Final = 2**20
PIECE: Final = 2**18


class BytesPayload(Payload):
    """A body of bytes that are at hand.

    Raises:
        TypeError: `value` is neither bytes, bytearray nor memoryview.
    """

    _autoclose = True

    def __init__(
        self,
        value: Bytes,
        headers: HeadersLike = None,
        content_type: str | None = "application/octet-stream",
        filename: str | None = None,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(value, bytes | bytearray):
            self._size = len(value)
        elif isinstance(value, memoryview):
            self._size = value.nbytes
            if not value.c_contiguous:
                value = bytes(value)
        else:
            raise TypeError(
                f"the body must be bytes, bytearray or memoryview, not {type(value).__name__}"
            )
        # What Payload.__init__ does, without its cost where only a type is given: most requests
        # with a body.
        if content_type is None:
            super().__init__(value, headers, content_type, filename, encoding)
            return
        self._value = value
        self._encoding = encoding
        self._filename = filename
        self._content_type = content_type
        if headers:
            self.headers.update(headers)

    @property
    def sole_type(self) -> str | None:
        return self._content_type if self._made_headers is None and type(self) in _OWN else None

    @property
    def at_hand(self) -> bytes | None:
        """The body, up to 1 MiB."""
        value: Bytes = self._value
        if self._size is None or self._size > AT_HAND_LIMIT:
            return None
        return value if isinstance(value, bytes) else bytes(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return bytes(self._value).decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The body itself."""
        value: Bytes = self._value
        return value if isinstance(value, bytes) else bytes(value)

    async def write(self, writer: Any) -> None:
        """Write the body; a large one in pieces."""
        size = self._size or 0
        if size <= PIECE:
            await writer.write(self._value)
            return
        view = memoryview(self._value).cast("B")
        for at in range(0, size, PIECE):
            await writer.write(view[at : at + PIECE])


class StringPayload(BytesPayload):
    """Text, encoded as `encoding` or the content type's charset says, UTF-8 by default."""

    def __init__(
        self,
        value: str,
        headers: HeadersLike = None,
        content_type: str | None = None,
        filename: str | None = None,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        content_type, encoding = text_type(content_type, encoding)
        super().__init__(value.encode(encoding), headers, content_type, filename, encoding)


class StringIOPayload(StringPayload):
    """What is left to read of an `io.StringIO`."""

    def __init__(self, value: IO[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(value.read(), *args, **kwargs)


class JsonPayload(BytesPayload):
    """A value as JSON.

    Args:
        value: What `dumps` takes.
        encoding: Of the text that `dumps` gives.
        content_type: "application/json" by default.
        dumps: Makes a str.
    """

    def __init__(
        self,
        value: Any,
        encoding: str = "utf-8",
        content_type: str = "application/json",
        dumps: JSONEncoder = json.dumps,
        headers: HeadersLike = None,
        filename: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dumps(value).encode(encoding), headers, content_type, filename, encoding)


class JsonBytesPayload(BytesPayload):
    """A value as JSON, by an encoder that gives bytes (orjson, msgspec)."""

    def __init__(
        self,
        value: Any,
        dumps: JSONBytesEncoder,
        content_type: str = "application/json",
        headers: HeadersLike = None,
        filename: str | None = None,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dumps(value), headers, content_type, filename, encoding)


# Custom classes may say something else each time that they are asked.
_OWN = frozenset({BytesPayload, StringPayload, StringIOPayload, JsonPayload, JsonBytesPayload})

PAYLOAD_REGISTRY.register(BytesPayload, (bytes, bytearray, memoryview))
PAYLOAD_REGISTRY.register(StringPayload, str)
PAYLOAD_REGISTRY.register(StringIOPayload, io.StringIO)
PAYLOAD_REGISTRY.register(TextIOPayload, io.TextIOBase)
PAYLOAD_REGISTRY.register(BytesIOPayload, io.BytesIO)
PAYLOAD_REGISTRY.register(BufferedReaderPayload, (io.BufferedReader, io.BufferedRandom))
PAYLOAD_REGISTRY.register(IOBasePayload, io.IOBase)
PAYLOAD_REGISTRY.register(StreamReaderPayload, StreamReader)
PAYLOAD_REGISTRY.register(file_payload, FileLike, order=Order.try_last)
# Last, so that more special things which can be iterated over come first, a multipart's part for
# one.
PAYLOAD_REGISTRY.register(AsyncIterablePayload, AsyncIterable, order=Order.try_last)
