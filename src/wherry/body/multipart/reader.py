"""Multipart bodies as they come: parts that are streamed one after the other, multiparts inside of
them too.

A part is read while it arrives and never held whole unless the program asks for all of it.  What
the next part is can only be known when the one before has passed: asking for it drops the rest of
the last one.
"""

from __future__ import annotations

import inspect
import json
import sys
from abc import ABCMeta
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qsl

from multidict import CIMultiDictProxy

from wherry.body.disposition import content_disposition_filename, parse_content_disposition
from wherry.body.media_types import known_charset, parse_mimetype
from wherry.body.multipart.part_decoding import decode_whole, undo_steps
from wherry.body.multipart.scanner import BadMultipart, Scanner, State, UnknownEncoding
from wherry.body.payload.base import Payload, payload_type
from wherry.errors import NestedTooDeeply
from wherry.protocol.grammar import decimal

__all__ = ("BodyPartReader", "BodyPartReaderPayload", "MultipartReader", "MultipartResponseWrapper")

CHUNK: Final = 2**13
LARGE_CHUNK: Final = 2**16
# Line ends and other bytes inside of one quartet; more are no base64.
_MOST_BLANKS = 64
_BASE64: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_NOT_BASE64: Final = bytes(byte for byte in range(256) if byte not in _BASE64)


class BodyPartReader(metaclass=ABCMeta):  # noqa: B024  (what is like it registers)
    """One part of a multipart.

    Args:
        boundary: What ends the part, its two dashes included.
        headers: The part's header fields.
        content: Where the part's bytes come from.
        subtype: Of the multipart: in "form-data" parts are not encoded (RFC 7578 4.8).
        default_charset: For text whose content type names none.
        max_decompress_size: How many bytes one step of decoding gives at most.
        client_max_size: `read` and what builds on it refuse more bytes than this.
        max_size_error_cls: What they raise then.
    """

    chunk_size: ClassVar[int] = CHUNK

    def __init__(
        self,
        boundary: bytes,
        headers: CIMultiDictProxy[str],
        content: Any,
        *,
        subtype: str = "mixed",
        default_charset: str | None = None,
        max_decompress_size: int = 2**18,
        client_max_size: int = sys.maxsize,
        max_size_error_cls: type[Exception] = ValueError,
    ) -> None:
        self.headers = headers
        if not isinstance(content, Scanner):
            # A part may be made for its fields alone.
            read: Any = getattr(content, "read", None)
            content = Scanner(read, boundary.removeprefix(b"--"), State.BODY)
        self._scanner: Scanner = content
        self._default_charset = default_charset
        self._is_form_data = subtype == "form-data"
        self._at_eof = False
        self._carry = b""
        # What `readline` read ahead; up to `_begin` it was given away.
        self._lines = bytearray()
        self._begin = 0
        self._length = None if self._is_form_data else _part_length(headers)
        self._came = 0
        self._disposition: dict[str, str] | None = None
        self._max_decompress_size = max_decompress_size
        self._client_max_size = client_max_size
        self._max_size_error_cls = max_size_error_cls

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read_chunk(LARGE_CHUNK)
        if not piece:
            raise StopAsyncIteration
        return piece

    async def next(self) -> bytes | None:
        """All that is left of the part, None if nothing is."""
        return await self.read() or None

    def at_eof(self) -> bool:
        """Whether the part was read to its end."""
        return self._at_eof and not self._lines

    async def read(self, *, decode: bool = False) -> bytes:
        """All that is left of the part.

        Args:
            decode: Undo its Content-Transfer-Encoding and Content-Encoding.

        Raises:
            BadMultipart: The body ended before the part did.
            ValueError: The part is larger than `client_max_size` (`max_size_error_cls`).
        """
        data = bytearray()
        pieces = self._decoded() if decode else self
        async for piece in pieces:
            data += piece
            if len(data) > self._client_max_size:
                raise self._max_size_error_cls(self._client_max_size)
        return bytes(data)

    async def read_chunk(self, size: int = CHUNK) -> bytes:
        """Up to `size` bytes of the part as it was sent; b"" at its end.

        What is base64 comes in whole quartets, so that each piece can be decoded by itself; line
        ends inside of one may make a piece some bytes longer than `size`.

        Raises:
            ValueError: `size` is not positive.
        """
        if size < 1:
            raise ValueError(f"a chunk has at least one byte, not {size}")
        if self._lines:
            piece = bytes(memoryview(self._lines)[self._begin : self._begin + size])
            self._begin += len(piece)
            if self._begin >= len(self._lines):
                self._clear_lines()
            return piece
        if self.headers.get("Content-Transfer-Encoding", "").lower() == "base64":
            return await self._read_quartets(size)
        return await self._raw(size)

    async def _raw(self, size: int) -> bytes:
        if self._at_eof:
            return b""
        piece = await self._scanner.body(size)
        self._came += len(piece)
        if piece:
            self._at_eof = self._scanner.state is not State.BODY and self._length in {
                None,
                self._came,
            }
        else:
            self._at_eof = True
            if self._length is not None and self._came != self._length:
                raise BadMultipart(
                    f"a part has {self._came} bytes, its Content-Length says {self._length}"
                )
        return piece

    async def _read_quartets(self, size: int) -> bytes:
        chunk = self._carry
        self._carry = b""
        while not self._at_eof:
            missing = 4 - len(chunk.translate(None, _NOT_BASE64))
            if missing <= 0 or len(chunk) >= (size if size < 4 else size + _MOST_BLANKS):
                break
            # Line ends inside of a quartet (RFC 2045 6.8) make it longer than was asked for.
            most = missing if size >= 4 else size - len(chunk)
            chunk += await self._raw(max(most, size - len(chunk)))
        if self._at_eof:
            return chunk
        left = len(chunk.translate(None, _NOT_BASE64)) % 4
        cut = len(chunk)
        while left:
            cut -= 1
            left -= chunk[cut] in _BASE64
        if not cut:
            # So few bytes were asked for that no quartet fits.
            return chunk
        self._carry = chunk[cut:]
        return chunk[:cut]

    async def readline(self) -> bytes:
        """One line of the part with its line end; b"" at the end."""
        lines, begin = self._lines, self._begin
        at = lines.find(b"\n", begin)
        while at < 0:
            searched = len(lines)
            piece = await self._raw(CHUNK)
            if not piece:
                at = len(lines) - 1
                break
            # Only what came is searched, and what was given away goes in one move.
            if begin:
                del lines[:begin]
                searched -= begin
                begin = self._begin = 0
            lines += piece
            if len(lines) > self._client_max_size:
                raise self._max_size_error_cls(self._client_max_size)
            at = lines.find(b"\n", searched)
        line = bytes(memoryview(lines)[begin : at + 1])
        self._begin = at + 1
        if self._begin >= len(lines):
            self._clear_lines()
        return line

    def _clear_lines(self) -> None:
        self._lines.clear()
        self._begin = 0

    async def release(self) -> None:
        """Drop what is left of the part."""
        self._carry = b""
        self._clear_lines()
        while not self._at_eof:
            await self._raw(LARGE_CHUNK)

    async def text(self, *, encoding: str | None = None) -> str:
        """All of the part as text, decoded.

        Args:
            encoding: By default what the part's content type says, else UTF-8.
        """
        data = await self.read(decode=True)
        return data.decode(encoding or self.get_charset("utf-8"))

    async def json(self, *, encoding: str | None = None) -> Any:
        """All of the part as JSON, None if it is empty; None for `encoding` finds it."""
        data = await self.read(decode=True)
        text = data.decode(encoding or self.get_charset(json.detect_encoding(data)))
        try:
            return json.loads(text.removeprefix("\ufeff")) if text.strip() else None
        except RecursionError:
            raise NestedTooDeeply from None

    async def form(self, *, encoding: str | None = None) -> list[tuple[str, str]]:
        """All of the part as urlencoded fields; None for `encoding` finds it.

        Raises:
            ValueError: It is no text in that encoding.
        """
        data = await self.read(decode=True)
        charset = encoding or self.get_charset("utf-8")
        try:
            text = data.rstrip().decode(charset)
        except UnicodeDecodeError as exc:
            raise ValueError(f"data cannot be decoded with {charset} encoding") from exc
        return parse_qsl(text, keep_blank_values=True, encoding=charset)

    async def _decoded(self) -> AsyncIterator[bytes]:
        steps = undo_steps(self.headers, is_form_data=self._is_form_data)
        if steps is None:
            async for piece in self:
                yield piece
            return
        while piece := await self.read_chunk(LARGE_CHUNK):
            for data in steps.decode(piece, self._max_decompress_size):
                yield data
        for data in steps.finish(self._max_decompress_size):
            yield data

    def decode(self, data: bytes) -> bytes:
        """Undo the part's encodings on `data`, all of its bytes.

        Raises:
            RuntimeError: An encoding is unknown.
            ClientPayloadError: The data is not in it.
        """
        return decode_whole(
            self.headers, data, is_form_data=self._is_form_data, max_size=self._max_decompress_size
        )

    async def decode_iter(self, data: bytes) -> AsyncIterator[bytes]:
        """Undo the part's encodings on `data`, all of its bytes, step by step."""
        steps = undo_steps(self.headers, is_form_data=self._is_form_data)
        if steps is None:
            yield data
            return
        for piece in steps.decode(data, self._max_decompress_size):
            yield piece
        for piece in steps.finish(self._max_decompress_size):
            yield piece

    def get_charset(self, default: str) -> str:
        """The charset of the part's content type, else that of the form, else `default`; an unknown
        one is none.
        """
        named = parse_mimetype(self.headers.get("Content-Type", "")).parameters.get("charset")
        for charset in (named, self._default_charset):
            codec = known_charset(charset)
            if charset is not None and codec is not None:
                # Under the name that was sent where Python knows it by that; it does not know all
                # labels.
                return (
                    charset
                    if charset.lower() in {codec, codec.replace("iso8859", "iso-8859")}
                    else codec
                )
        return default

    def _parameters(self) -> dict[str, str]:
        if self._disposition is None:
            _, self._disposition = parse_content_disposition(
                self.headers.get("Content-Disposition")
            )
        return self._disposition

    @property
    def name(self) -> str | None:
        """The field's name, None if the part has none that can be understood."""
        return content_disposition_filename(self._parameters(), "name")

    @property
    def filename(self) -> str | None:
        """The file's name, None if the part has none.  It is the sender's word: never open a path
        by it.
        """
        return content_disposition_filename(self._parameters(), "filename")


def _part_length(headers: Mapping[str, str]) -> int | None:
    length = headers.get("Content-Length")
    if length is None:
        return None
    size = decimal(length, 2**63)
    if size is None:
        raise BadMultipart(f"invalid Content-Length of a part: {length[:100]!r}")
    return size


@payload_type(BodyPartReader)
class BodyPartReaderPayload(Payload):
    """A part that came, as a body to send."""

    def __init__(self, value: BodyPartReader, *args: Any, **kwargs: Any) -> None:
        super().__init__(value, *args, **kwargs)
        names = {"name": value.name, "filename": value.filename}
        params = {key: text for key, text in names.items() if text is not None}
        if params:
            self.set_content_disposition("attachment", True, **params)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: there is no text before the part is read.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a part that is still to come cannot be decoded")

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Refuse: a part is streamed, never held whole.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a part is streamed: use write()")

    async def write(self, writer: Any) -> None:
        """Write the part, decoded."""
        if self._consumed:
            raise self._consumed_error()
        self._consumed = True
        async for piece in self._value._decoded():
            await writer.write(piece)


class MultipartReader(metaclass=ABCMeta):
    """The parts of a multipart body, in order.

    Args:
        headers: Have the Content-Type with its boundary.
        content: A StreamReader, or the part that the multipart is in.
        client_max_size: How many bytes of a part `read` takes.
        max_field_size: How long a header field of a part may be, in bytes.
        max_headers: How many of them a part may have.
        max_size_error_cls: What is raised when a part is larger.

    Raises:
        BadMultipart: (a ValueError) The type is no multipart, or its boundary is missing or longer
            than 70 characters.
    """

    #: What `from_response` gives.
    response_wrapper_cls: type[MultipartResponseWrapper]
    #: The reader of a multipart in a part; the reader's own type by default.
    multipart_reader_cls: type[MultipartReader] | None = None
    #: The reader of any other part.
    part_reader_cls: type[BodyPartReader] = BodyPartReader

    def __init__(
        self,
        headers: Mapping[str, str],
        content: Any,
        *,
        client_max_size: int = sys.maxsize,
        max_field_size: int = 8190,
        max_headers: int = 128,
        max_size_error_cls: type[Exception] = ValueError,
    ) -> None:
        content_type = headers.get("Content-Type", "")
        self._mimetype = parse_mimetype(content_type)
        if self._mimetype.type != "multipart":
            raise BadMultipart(f"multipart/* content type expected, not {content_type!r}")
        boundary = self._mimetype.parameters.get("boundary")
        if not boundary:
            raise BadMultipart(f"boundary missed for Content-Type: {content_type}")
        if len(boundary) > 70:
            raise BadMultipart(f"boundary {boundary!r} is too long (70 chars max)")
        self.headers = headers
        self._boundary = b"--" + boundary.encode("utf-8", "surrogateescape")
        read = content._raw if isinstance(content, BodyPartReader) else content.read
        self._scanner = Scanner(read, self._boundary[2:])
        self._client_max_size = client_max_size
        self._max_field_size = max_field_size
        self._max_headers = max_headers
        self._max_size_error_cls = max_size_error_cls
        self._default_charset: str | None = None
        self._last: BodyPartReader | None = None
        self._first = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MultipartReader | BodyPartReader:
        part = await self.next()
        if part is None:
            raise StopAsyncIteration
        return part

    @classmethod
    def from_response(cls, response: Any) -> MultipartResponseWrapper:
        """The parts of a response's body."""
        return cls.response_wrapper_cls(response, cls(response.headers, response.content))

    def at_eof(self) -> bool:
        """Whether the last boundary has passed."""
        return self._scanner.state is State.CLOSED

    async def next(self) -> MultipartReader | BodyPartReader | None:
        """The next part, None after the last; what was not read of the one before is dropped.

        Raises:
            BadMultipart: The body ended before the last boundary, or a part's head is malformed.
        """
        if self._last is not None:
            await self._last.release()
            self._last = None
        while self._scanner.state is State.PREAMBLE:
            await self._scanner.body(LARGE_CHUNK)
        if self.at_eof():
            return None
        part = await self.fetch_next_part()
        first, self._first = self._first, False
        is_form = self._mimetype.subtype == "form-data"
        if first and is_form and isinstance(part, BodyPartReader) and part.name == "_charset_":
            # RFC 7578 4.6: a field of this name, before all others, tells their charset.
            charset = await part.read_chunk(32)
            if len(charset) > 31:
                raise UnknownEncoding("Invalid default charset")
            self._default_charset = charset.strip().decode("latin-1")
            return await self.next()
        return part

    async def fetch_next_part(self) -> MultipartReader | BodyPartReader:
        """Read the head of the part that begins here, and give its reader."""
        headers = await self._scanner.head(self._max_field_size, self._max_headers)
        limits: dict[str, Any] = {
            "client_max_size": self._client_max_size,
            "max_size_error_cls": self._max_size_error_cls,
        }
        nested = parse_mimetype(headers.get("Content-Type", "")).type == "multipart"
        kind = BodyPartReader if nested else self.part_reader_cls
        self._last = part = kind(
            self._boundary,
            headers,
            self._scanner,
            subtype=self._mimetype.subtype,
            default_charset=self._default_charset,
            **limits,
        )
        if not nested:
            return part
        reader = self.multipart_reader_cls or type(self)
        return reader(
            headers,
            part,
            max_field_size=self._max_field_size,
            max_headers=self._max_headers,
            **limits,
        )

    async def release(self) -> None:
        """Drop all parts that are left."""
        while await self.next() is not None:
            pass


class MultipartResponseWrapper:
    """The parts of a response; the response is released when the last boundary has passed."""

    def __init__(self, resp: Any, stream: MultipartReader) -> None:
        self.resp = resp
        self.stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MultipartReader | BodyPartReader:
        part = await self.next()
        if part is None:
            raise StopAsyncIteration
        return part

    def at_eof(self) -> bool:
        """Whether all of the response was read."""
        return bool(self.resp.content.at_eof())

    async def next(self) -> MultipartReader | BodyPartReader | None:
        """The next part, None after the last."""
        part = await self.stream.next()
        if self.stream.at_eof():
            await self.release()
        return part

    async def release(self) -> None:
        """Let go of the response."""
        released = self.resp.release()
        if inspect.isawaitable(released):
            await released


MultipartReader.response_wrapper_cls = MultipartResponseWrapper
