"""Content codings undone: gzip, deflate, br and zstd, as far as a reader asks.

A decoder takes pieces of a body and gives at most as many bytes as it is asked for; it needs input
again only when it has nothing more to give.  So memory is bounded by what is asked for, whatever
the ratio.  Decoders run in the loop or in a thread; they know nothing of streams, and of no message
but the name of its coding.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from wherry.body import compression_backends
from wherry.errors import ClientPayloadError

__all__ = ("Decoder", "decoder_for")

# A decompressor keeps a copy of what it did not consume, so large input is given to it in windows.
# After the end of a member the window is small and grows: a stream of tiny members would be copied
# over and over.
WINDOW: Final = 2**14
SMALL_WINDOW: Final = 2**7
# What one coding hands to the next where several were applied.
BETWEEN: Final = 2**16
# As many as curl takes; more is an attack (each coding multiplies the ratio).
MOST_CODINGS: Final = 5
# RFC 9659 3: a zstd body must not need a larger window than 8 MiB.
ZSTD_WINDOW_LOG: Final = 23


class Decoder(ABC):
    """Undoes one content coding, or several."""

    __slots__ = ("needs_input",)

    def __init__(self) -> None:
        self.needs_input: bool = True

    @abstractmethod
    def decode(self, data: bytes, max_length: int) -> bytes:
        """Take `data` in and give at most `max_length` bytes.

        Args:
            data: More of the body; b"" while `needs_input` is False, to get what was held back.
            max_length: At least 1.

        Raises:
            ClientPayloadError: The data is not in this coding.
        """

    @abstractmethod
    def finish(self) -> None:
        """End the body; refuse one whose coding has not ended.

        Raises:
            ClientPayloadError: The coding has not.
        """

    def whole(self, data: bytes, max_length: int) -> bytes | None:
        """All of a body at once, before anything else was decoded; None where it takes more than
        one step.

        Args:
            data: The whole body.
            max_length: More than this is not decoded.
        """
        return None


class _MemberDecoder(Decoder):
    """Decodes one member after another, feeding its decompressor by windows."""

    __slots__ = ("_at", "_between", "_errors", "_full", "_input", "_over", "_window", "name")

    def __init__(self, name: str, *errors: type[Exception]) -> None:
        super().__init__()
        self.name = name
        self._errors = errors
        self._input = memoryview(b"")
        self._at = 0
        self._window = WINDOW
        self._full = False  # the decompressor may hold more output
        self._between = True  # no member is under way
        self._over = False  # what follows is no member

    @abstractmethod
    def _begin(self) -> bool:
        """Get ready for a member that begins at the input's place; False if none can begin
        there.
        """

    @abstractmethod
    def _step(self, window: memoryview, max_length: int) -> tuple[bytes, int, bool, bool]:
        """Decompress: (output, how much of the window was consumed, whether the member has ended,
        or may have more).
        """

    def decode(self, data: bytes, max_length: int) -> bytes:
        rest = self._input[self._at :]
        if data:
            self._input = memoryview(bytes(rest) + data if rest else data)
            self._at = 0
        size = len(self._input)
        pieces: list[bytes] = []
        room = max_length
        try:
            while room and (self._full or self._at < size):
                if self._between:
                    if self._over or not self._begin():
                        break
                    self._between = False
                window = self._input[self._at : self._at + self._window]
                piece, consumed, ended, more = self._step(window, room)
                self._at += consumed
                self._full = more and not ended
                if piece:
                    pieces.append(piece)
                    room -= len(piece)
                if ended:
                    self._between = True
                    self._window = SMALL_WINDOW
                elif self._window < WINDOW:
                    self._window *= 2
        except self._errors as exc:
            raise ClientPayloadError(f"cannot decode content-encoding {self.name}: {exc}") from exc
        if (self._at == size and not self._full) or self._over:
            self._input = memoryview(b"")
            self._at = 0
        self.needs_input = self._at == len(self._input) and not self._full
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        if not self._between:
            raise ClientPayloadError(f"the body ended before its content-encoding {self.name} did")

    def _ignore_rest(self) -> bool:
        """What follows the last member is not in the coding: padding, which all clients pass
        over.
        """
        self._over = True
        return False


class _ZlibDecoder(_MemberDecoder):
    """gzip (RFC 1952) and deflate (RFC 1950, and bare RFC 1951 as some servers send it)."""

    __slots__ = ("_begun", "_inner", "_wbits", "_zlib")

    def __init__(self, name: str) -> None:
        self._zlib = compression_backends.inflater()
        super().__init__(name, zlib.error, self._zlib.error)
        self._wbits = 31 if name == "gzip" else 0
        self._begun = False
        self._inner: Any = None

    def _begin(self) -> bool:
        first = self._input[self._at]
        if self._wbits == 31:
            if self._begun and first != 0x1F:
                return self._ignore_rest()
        elif self._begun:
            if self._wbits < 0 or first & 0x8F != 8:
                return self._ignore_rest()
        elif len(self._input) - self._at < 2:
            return self._hold_first_byte()
        else:
            # RFC 1950 2.2: the low half of the first byte is 8, and both bytes together a multiple
            # of 31.
            second = self._input[self._at + 1]
            self._wbits = 15 if first & 15 == 8 and (first * 256 + second) % 31 == 0 else -15
        self._begun = True
        self._inner = self._zlib.decompressobj(wbits=self._wbits)
        return True

    def _hold_first_byte(self) -> bool:
        """Two bytes tell which deflate it is; the one that is there waits for the other."""
        return False

    def _step(self, window: memoryview, max_length: int) -> tuple[bytes, int, bool, bool]:
        inner = self._inner
        piece = inner.decompress(window, max_length)
        ended = bool(inner.eof)
        left = inner.unused_data if ended else inner.unconsumed_tail
        # Output that just fits may not be all there is.
        return piece, len(window) - len(left), ended, len(piece) == max_length

    def decode(self, data: bytes, max_length: int) -> bytes:
        piece = super().decode(data, max_length)
        if not self._begun:
            # A lone first byte is kept, and more is needed all the same.
            self.needs_input = True
        return piece

    def finish(self) -> None:
        if not self._begun:
            raise ClientPayloadError(
                f"the body ended before its content-encoding {self.name} began"
            )
        super().finish()

    def whole(self, data: bytes, max_length: int) -> bytes | None:
        wbits = self._wbits
        if not wbits:
            if len(data) < 2 or data[0] & 15 != 8 or (data[0] * 256 + data[1]) % 31:
                return None
            wbits = 15
        inner = self._zlib.decompressobj(wbits=wbits)
        try:
            body: bytes = inner.decompress(data, max_length)
        except self._errors:
            return None
        if not inner.eof or inner.unused_data:
            return None
        self._begun = True
        return body


class _ZstdDecoder(_MemberDecoder):
    """Zstandard frames (RFC 8878), one or many."""

    __slots__ = ("_inner",)

    def __init__(self, name: str) -> None:
        super().__init__(name, compression_backends.zstd().ZstdError)
        self._inner: Any = None

    def _begin(self) -> bool:
        module = compression_backends.zstd()
        options = {module.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        self._inner = module.ZstdDecompressor(options=options)
        return True

    def _step(self, window: memoryview, max_length: int) -> tuple[bytes, int, bool, bool]:
        inner = self._inner
        # What it does not consume it keeps, and takes no more until that is used up.
        take = bool(inner.needs_input)
        piece = inner.decompress(window if take else b"", max_length)
        consumed = (len(window) if take else 0) - len(inner.unused_data)
        return piece, consumed, bool(inner.eof), not inner.needs_input


class _BrotliDecoder(_MemberDecoder):
    """Brotli (RFC 7932): a single stream."""

    __slots__ = ("_inner", "_spare")

    def __init__(self, name: str) -> None:
        super().__init__(name, compression_backends.brotli().error)
        self._inner: Any = None
        self._spare = b""

    def _begin(self) -> bool:
        if self._inner is not None:
            raise ClientPayloadError(
                f"{len(self._input)} bytes follow the end of the content-encoding br"
            )
        self._inner = compression_backends.brotli().Decompressor()
        return True

    def _step(self, window: memoryview, max_length: int) -> tuple[bytes, int, bool, bool]:
        inner = self._inner
        piece = self._spare
        take = not piece and inner.can_accept_more_data()
        if not piece:
            # The limit is passed by up to a block of the module's buffer: what is over is kept.
            piece = inner.process(window if take else b"", output_buffer_limit=max_length)
        self._spare = piece[max_length:]
        ended = not self._spare and inner.is_finished()
        # It does not tell whether it holds output back: only a call that gives nothing shows that
        # there is none.
        more = bool(piece) or not inner.can_accept_more_data()
        return piece[:max_length], len(window) if take else 0, ended, more


class _ChainDecoder(Decoder):
    """Undoes `outer`, the coding that was applied last, then `inner`."""

    __slots__ = ("inner", "outer")

    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        super().__init__()
        self.outer = outer
        self.inner = inner

    def decode(self, data: bytes, max_length: int) -> bytes:
        outer, inner = self.outer, self.inner
        pieces: list[bytes] = []
        room = max_length
        while room:
            middle = b""
            if inner.needs_input:
                if outer.needs_input and not data:
                    break
                middle = outer.decode(data, BETWEEN)
                data = b""
                if not middle:
                    continue
            piece = inner.decode(middle, room)
            if piece:
                pieces.append(piece)
                room -= len(piece)
        self.needs_input = outer.needs_input and inner.needs_input
        return b"".join(pieces)

    def finish(self) -> None:
        self.outer.finish()
        self.inner.finish()


class _MissingDecoder(Decoder):
    """Stands for a coding that the server used though it was not asked for."""

    __slots__ = ("_message",)

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def decode(self, data: bytes, max_length: int) -> bytes:
        raise ClientPayloadError(self._message)

    def finish(self) -> None:
        """A coding that cannot be undone here has no end to check."""


def _brotli_decoder(name: str) -> Decoder:
    if compression_backends.brotli() is None:
        return _MissingDecoder("cannot decode content-encoding br: install Brotli 1.2 or later")
    return _BrotliDecoder(name)


def _zstd_decoder(name: str) -> Decoder:
    if compression_backends.zstd() is None:
        return _MissingDecoder("cannot decode content-encoding zstd: install backports.zstd")
    return _ZstdDecoder(name)


_DECODERS: Final[dict[str, Callable[[str], Decoder]]] = {
    "gzip": _ZlibDecoder,
    "deflate": _ZlibDecoder,
    "br": _brotli_decoder,
    "zstd": _zstd_decoder,
}


def decoder_for(content_encoding: str) -> Decoder | None:
    """The decoder for a Content-Encoding value (RFC 9110 8.4): codings in the order in which they
    were applied.

    Returns:
        None where there is nothing to undo, or where a coding is unknown and the body stays as it
        is.
    """
    made = _DECODERS.get(content_encoding)
    if made is not None:
        return made(content_encoding)
    names = [name for name in map(_coding_name, content_encoding.split(",")) if name != "identity"]
    if not names or not all(name in _DECODERS for name in names):
        return None
    if len(names) > MOST_CODINGS:
        return _MissingDecoder(
            f"{len(names)} content codings were applied, at most {MOST_CODINGS} are undone"
        )
    decoder = _DECODERS[names[0]](names[0])
    for name in names[1:]:
        decoder = _ChainDecoder(_DECODERS[name](name), decoder)
    return decoder


def _coding_name(text: str) -> str:
    name = text.strip().lower()
    # RFC 9110 8.4.1.3: x-gzip is gzip.  An empty list element counts for nothing.
    return "gzip" if name == "x-gzip" else name or "identity"
