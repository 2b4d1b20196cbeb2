"""Ways to iterate over a body: a reading method is called until it gives nothing more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

__all__ = ("AsyncStreamIterator", "ChunkTupleAsyncStreamIterator", "EofStream")

_T = TypeVar("_T")


class ChunkReader(Protocol):
    """A stream that gives its body chunk by chunk."""

    async def readchunk(self) -> tuple[bytes, bool]: ...


class EofStream(Exception):
    """A queue or stream has ended."""


class AsyncStreamIterator(Generic[_T]):
    """Calls a reading method until it gives b"" or raises `EofStream`."""

    __slots__ = ("read_func",)

    def __init__(self, read_func: Callable[[], Awaitable[_T]]) -> None:
        self.read_func: Callable[[], Awaitable[_T]] = read_func

    def __aiter__(self) -> AsyncStreamIterator[_T]:
        return self

    async def __anext__(self) -> _T:
        try:
            piece = await self.read_func()
        except EofStream:
            raise StopAsyncIteration from None
        if piece == b"":
            raise StopAsyncIteration
        return piece


class ChunkTupleAsyncStreamIterator:
    """Calls `StreamReader.readchunk` until the end."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ChunkReader) -> None:
        self._stream = stream

    def __aiter__(self) -> ChunkTupleAsyncStreamIterator:
        return self

    async def __anext__(self) -> tuple[bytes, bool]:
        piece = await self._stream.readchunk()
        if piece == (b"", False):
            raise StopAsyncIteration
        return piece
