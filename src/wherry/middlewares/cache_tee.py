"""A body that goes two ways: to the program as it comes, and into the cache once it is whole.

`Tee` reads a response's stream and feeds another, which the program reads.  As long as it keeps
what comes, the server's pace is its own; then the program's.  It ends with the stream that it
reads, so with the response: it holds no response, and keeps no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from wherry.body.stream.reader import StreamReader
from wherry.errors import ClientConnectionError


class CopiedStream(StreamReader):
    """What the program reads; whoever ends it ends what it comes from."""

    __slots__ = ("source",)

    def __init__(self, source: StreamReader) -> None:
        super().__init__()
        self.source: StreamReader = source

    @property
    def total_compressed_bytes(self) -> int | None:
        """How many encoded bytes arrived; None for a body without a content coding."""
        return self.source.total_compressed_bytes

    def set_exception(
        self, exc: BaseException | type[BaseException], exc_cause: BaseException | None = None
    ) -> None:
        """End both streams with `exc`."""
        flow = self.flow
        super().set_exception(exc, exc_cause)
        if self.source.exception() is None:
            self.source.set_exception(exc, exc_cause)
        if flow is not None:
            flow.resume_reading()  # who waits for room finds the end


class Tee:
    """Feeds `stream` with what `source` gives, and keeps it.

    Args:
        source: The response's own stream.
        limit: How many bytes are kept at most.
        keep: Called with the whole body before the program meets its end, so that who has read it
            finds it in the cache.
        passed: Called once it is clear that the body is not kept.
    """

    def __init__(
        self,
        source: StreamReader,
        limit: int,
        keep: Callable[[bytes], Awaitable[None]],
        passed: Callable[[], None],
    ) -> None:
        self.stream: CopiedStream = CopiedStream(source)
        self.stream.flow = self
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._source = source
        self._limit = limit
        self._keep = keep
        self._passed = passed
        self._open = asyncio.Event()
        self._open.set()
        self.given_up: bool = False

    # The program's stream is full, or has room again.

    def pause_reading(self) -> None:
        """Wait before the next piece, unless it is to be kept."""
        self._open.clear()

    def resume_reading(self) -> None:
        """Go on."""
        self._open.set()

    async def run(self) -> None:
        """Until the body has ended, or nobody wants it."""
        source, stream = self._source, self.stream
        kept: list[bytes] | None = []
        size = 0
        try:
            while piece := await source.readany():
                size += len(piece)
                if kept is not None:
                    kept.append(piece)
                    if size > self._limit:
                        kept = None
                        self._passed()
                stream.feed_data(piece)
                if kept is None:
                    await self._open.wait()
            if kept is not None and size == source.total_bytes:  # nobody had read of it before
                await self._keep(b"".join(kept))
            stream.trailers = source.trailers
        except Exception as exc:
            # Whoever reads the response meets it, as without a cache.
            self.given_up = isinstance(exc, (ClientConnectionError, TimeoutError))
            self._fail(exc)
        except BaseException:
            self.given_up = True
            self._fail(ClientConnectionError("Connection closed"))
            raise
        else:
            if stream.exception() is None:
                stream.feed_eof()

    def _fail(self, exc: BaseException) -> None:
        if self.stream.exception() is None:
            self.stream.set_exception(exc)
