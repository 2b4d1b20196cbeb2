"""Bodies that come while they are sent: async iterables, another response's stream, writer
coroutines.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

from wherry.body.payload.base import HeadersLike, Payload, payload_type
from wherry.body.stream.reader import StreamReader

__all__ = ("AsyncIterablePayload", "StreamReaderPayload", "StreamWrapperPayload", "streamer")


class AsyncIterablePayload(Payload):
    """The pieces that an async iterable gives.

    An iterator, an async generator for one, can be sent once; an object that makes a new iterator
    each time can be sent again.

    Raises:
        TypeError: `value` is no async iterable.
    """

    _autoclose = True

    def __init__(
        self,
        value: AsyncIterable[bytes],
        headers: HeadersLike = None,
        content_type: str | None = "application/octet-stream",
        filename: str | None = None,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(value, AsyncIterable):
            raise TypeError(f"the body must be an async iterable, not {type(value).__name__}")
        super().__init__(value, headers, content_type, filename, encoding)
        self._kept: list[bytes] | None = None

    def _begin(self) -> AsyncIterator[Any]:
        if self._consumed:
            raise self._consumed_error()
        iterator: AsyncIterator[Any] = aiter(self._value)
        # RFC 9110 9.2.2 lets nothing be sent again of which a part may be missing: an iterator is
        # spent from the first step on, even if the sending breaks off.
        self._consumed = iterator is self._value
        return iterator

    async def write(self, writer: Any) -> None:
        """Write the pieces as they come."""
        if self._kept is not None:
            for piece in self._kept:
                await writer.write(piece)
            return
        iterator = self._begin()
        try:
            async for piece in iterator:
                if isinstance(piece, bytes | bytearray | memoryview):
                    await writer.write(piece)
                else:
                    raise TypeError(f"a body's pieces must be bytes, not {type(piece).__name__}")
        finally:
            # A generator's own `finally` runs now, not when the collector comes by.
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text, once `as_bytes` was called.

        Raises:
            TypeError: It was not.
        """
        if self._kept is None:
            raise TypeError("Unable to decode - content not cached. Await as_bytes() first.")
        return b"".join(self._kept).decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """All pieces joined; they are kept, so that the body can still be sent."""
        if self._kept is None:
            self._kept = [bytes(piece) async for piece in self._begin()]
            self._consumed = False
        return b"".join(self._kept)


class StreamReaderPayload(AsyncIterablePayload):
    """What another response's stream gives: a download that becomes an upload."""

    def __init__(self, value: StreamReader, *args: Any, **kwargs: Any) -> None:
        super().__init__(value.iter_any(), *args, **kwargs)


class Written:
    """A writer coroutine with its arguments."""

    __slots__ = ("args", "coroutine", "kwargs")

    def __init__(self, coroutine: Callable[..., Awaitable[None]], args: Any, kwargs: Any) -> None:
        self.coroutine: Callable[..., Awaitable[None]] = coroutine
        self.args: Any = args
        self.kwargs: Any = kwargs

    async def __call__(self, writer: Any) -> None:
        await self.coroutine(writer, *self.args, **self.kwargs)


class streamer:  # noqa: N801  (the public API's name)
    """Decorator: `coro`, ``async def body(writer, ...)``, writes a body; deprecated: use an async
    generator.
    """

    def __init__(self, coro: Callable[..., Awaitable[None]]) -> None:
        warnings.warn(
            "@streamer is deprecated, use async generators instead",
            DeprecationWarning,
            stacklevel=2,
        )
        self.coro = coro

    def __call__(self, *args: Any, **kwargs: Any) -> Written:
        return Written(self.coro, args, kwargs)


@payload_type(Written)
class StreamWrapperPayload(Payload):
    """What a writer coroutine writes; called again, it is expected to write the same."""

    async def write(self, writer: Any) -> None:
        """Let the coroutine write."""
        await self._value(writer)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: what a coroutine writes is not known before.

        Raises:
            TypeError: Always.
        """
        raise TypeError("what a coroutine writes cannot be decoded")


@payload_type(streamer)
class StreamPayload(StreamWrapperPayload):
    """A writer coroutine without arguments."""

    def __init__(self, value: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(value(), *args, **kwargs)
