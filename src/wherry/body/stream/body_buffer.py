"""`BodyBuffer`: the bytes of a body that are ready to be read, and `ChunkMarks`: where the chunks
of HTTP/1.1 end among them.

A stream makes them when it needs them; most bodies are taken whole, and have neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

__all__ = ("NOTHING_READY", "BodyBuffer", "ChunkMarks")


class BodyBuffer:
    """Decoded bytes that nobody has read, in the pieces that they came in.

    Attributes:
        size: How many bytes there are.
        pieces: The pieces.
        offset: How much of the first piece was read.
    """

    __slots__ = ("offset", "pieces", "size")

    def __init__(self) -> None:
        self.size: int = 0
        self.pieces: deque[bytes] = deque()
        self.offset: int = 0

    def append(self, data: bytes) -> None:
        """Put a piece behind the others."""
        self.pieces.append(data)
        self.size += len(data)

    def extend(self, pieces: Iterable[bytes], size: int) -> None:
        """Put pieces behind the others, which have `size` bytes together."""
        self.pieces.extend(pieces)
        self.size += size

    def put_back(self, data: bytes) -> None:
        """Let what was taken be the first again."""
        pieces = self.pieces
        if self.offset:
            pieces[0] = pieces[0][self.offset :]
            self.offset = 0
        pieces.appendleft(data)
        self.size += len(data)

    def take(self, n: int) -> bytes:
        """Take `n` bytes, or all where there are fewer, or `n` is negative."""
        pieces = self.pieces
        if not pieces:
            return b""
        offset = self.offset
        if n < 0 or n >= self.size:
            if offset:
                pieces[0] = pieces[0][offset:]
                self.offset = 0
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self.size = 0
            return data
        first = pieces[0]
        end = offset + n
        if end < len(first):
            data = first[offset:end]
            self.offset = end
        elif end == len(first):
            data = first[offset:] if offset else first
            pieces.popleft()
            self.offset = 0
        else:
            data = self._gather(n)
        self.size -= n
        return data

    def _gather(self, n: int) -> bytes:
        """Take `n` bytes that lie in several pieces."""
        pieces = self.pieces
        taken = [pieces.popleft()[self.offset :]]
        n -= len(taken[0])
        while n >= len(pieces[0]):
            taken.append(pieces.popleft())
            n -= len(taken[-1])
            if not n:
                break
        if n:
            taken.append(pieces[0][:n])
        self.offset = n
        return b"".join(taken)


# Of a stream that has no bytes ready yet: it holds none, and is never put into.
NOTHING_READY = BodyBuffer()


class ChunkMarks:
    """Where chunks of the chunked coding end, for who reads chunk by chunk.

    Attributes:
        raw: The ends, in bytes as they arrived; for a body without a content coding these are the
            bytes that are read.
        decoded: The ends that the decoder has come to, in decoded bytes.
    """

    __slots__ = ("decoded", "raw")

    def __init__(self) -> None:
        self.raw: deque[int] = deque()
        self.decoded: deque[int] = deque()

    def end(self, at: int) -> bool:
        """A chunk ended after `at` raw bytes; False if it had none."""
        raw = self.raw
        if at == (raw[-1] if raw else 0):
            return False
        raw.append(at)
        return True

    def decoder_came_to(self, consumed: int, decoded: int, cursor: int) -> None:
        """The decoder has taken `consumed` raw bytes and given `decoded`; `cursor` were read."""
        raw, ends = self.raw, self.decoded
        while raw and raw[0] <= consumed:
            raw.popleft()
            if decoded != (ends[-1] if ends else cursor):
                ends.append(decoded)

    def ends(self, *, encoded: bool) -> deque[int]:
        """The ends, in bytes that are read."""
        return self.decoded if encoded else self.raw

    def forget_before(self, cursor: int, *, encoded: bool) -> None:
        """What lies before the bytes that are read next is of no use any more."""
        ends = self.decoded if encoded else self.raw
        while ends and ends[0] < cursor:
            ends.popleft()
