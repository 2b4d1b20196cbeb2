"""A body that tells how far it has been sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multidict import CIMultiDict

from wherry.body.payload.base import Bytes, Payload, get_payload
from wherry.body.payload.form import FormData

__all__ = ("ProgressPayload",)


class ProgressPayload(Payload):
    """Any body, which reports what is sent of it.

    Args:
        value: Anything that can be a body: bytes, a file, an async iterable, a payload, a form.
        progress: Called with (bytes sent so far, bytes in all or None) before the first piece and
            after each; from zero again when the body is sent again.
        **kwargs: As for the payload of `value`.
    """

    def __init__(
        self, value: Any, progress: Callable[[int, int | None], object], **kwargs: Any
    ) -> None:
        self._inner = inner = (
            value() if isinstance(value, FormData) else get_payload(value, **kwargs)
        )
        super().__init__(value, None, inner.content_type, inner.filename, inner.encoding)
        self._progress = progress

    @property
    def headers(self) -> CIMultiDict[str]:
        """The body's own header fields."""
        return self._inner.headers

    @property
    def content_type(self) -> str:
        """The media type."""
        return self._inner.content_type

    @property
    def size(self) -> int | None:
        """How many bytes will be sent; None when that is not known."""
        return self._inner.size

    @property
    def consumed(self) -> bool:
        """Whether the body cannot be sent again."""
        return self._inner.consumed

    @property
    def replayable(self) -> bool:
        """Whether all of the body can be sent now."""
        return self._inner.replayable

    @property
    def autoclose(self) -> bool:
        """Whether there is nothing to close."""
        return self._inner.autoclose

    @property
    def closes_later(self) -> bool:
        """Whether closing must be awaited."""
        return self._inner.closes_later

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._inner.decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The body as bytes."""
        return await self._inner.as_bytes(encoding, errors)

    async def write(self, writer: Any) -> None:
        """Write the body, reporting each piece."""
        total = self.size
        self._progress(0, total)
        await self._inner.write(_Counting(writer, self._progress, total))

    def _close(self) -> None:
        self._inner._close()

    async def close(self) -> None:
        """Let go of what the body holds."""
        await self._inner.close()


class _Counting:
    """Passes pieces on to a writer, and what has been passed to a callback."""

    __slots__ = ("_progress", "_sent", "_total", "_writer")

    def __init__(
        self, writer: Any, progress: Callable[[int, int | None], object], total: int | None
    ) -> None:
        self._writer = writer
        self._progress = progress
        self._total = total
        self._sent = 0

    async def write(self, chunk: Bytes) -> None:
        await self._writer.write(chunk)
        self._sent += chunk.nbytes if isinstance(chunk, memoryview) else len(chunk)
        self._progress(self._sent, self._total)
