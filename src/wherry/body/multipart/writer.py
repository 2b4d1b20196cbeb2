"""Multipart bodies as they are sent (RFC 2046, RFC 7578): payloads between boundaries, streamed
part by part.

The length is known when every part knows its own.  A multipart is a payload, so multiparts nest.
"""

from __future__ import annotations

import binascii
import logging
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

from wherry.body.payload.base import Bytes, LookupError, Payload, get_payload  # noqa: A004
from wherry.body.payload.memory import JsonPayload, StringPayload
from wherry.protocol.grammar import is_token, quoted

__all__ = ("MultipartPayloadWriter", "MultipartWriter")

log: logging.Logger = logging.getLogger("wherry.client")

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# RFC 2046 5.1.1
LONGEST_BOUNDARY: Final = 70
# RFC 2045 6.8: lines of encoded data have at most 76 characters, which 57 bytes make.
_LINE: Final = 57
_BASE64_BLOCK: Final = _LINE * 1024

_NOT_CLOSED: Final = "part %d of a multipart could not be closed"

Part = tuple[Payload, str | None, str | None]


class MultipartWriter(Payload):
    """A body of parts.

    Args:
        subtype: "mixed", "form-data", "related" ...
        boundary: What stands between the parts; random by default.

    Raises:
        ValueError: The boundary is empty, longer than 70 characters, not ASCII or has control
            characters.
    """

    def __init__(self, subtype: str = "mixed", boundary: str | None = None) -> None:
        if boundary is None:
            boundary = secrets.token_hex(16)
        elif not boundary.isascii():
            raise ValueError("boundary should contain ASCII only chars")
        elif not 0 < len(boundary) <= LONGEST_BOUNDARY or boundary[-1] == " ":
            raise ValueError(
                f"a boundary has 1 to {LONGEST_BOUNDARY} characters and no blank at its end: "
                f"{boundary!r}"
            )
        elif _CONTROL.search(boundary):
            raise ValueError("boundary value contains invalid characters")
        self._boundary = boundary.encode("ascii")
        super().__init__(None, content_type=f"multipart/{subtype}; boundary={self._boundary_value}")
        self._parts: list[Part] = []
        self._is_form_data = subtype == "form-data"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Do nothing: parts are closed when the body was sent."""

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __bool__(self) -> bool:
        return True

    @property
    def boundary(self) -> str:
        """What stands between the parts, without the dashes."""
        return self._boundary.decode("ascii")

    @property
    def _boundary_value(self) -> str:
        """The boundary as the parameter of a media type: a token, or a quoted string."""
        value = self.boundary
        return value if is_token(value) else quoted(value)

    @property
    def consumed(self) -> bool:
        """Whether one of the parts cannot be written again."""
        return self._consumed or any(part.consumed for part, _, _ in self._parts)

    @property
    def autoclose(self) -> bool:
        """Whether there is nothing to close in any part."""
        return all(part.autoclose for part, _, _ in self._parts)

    @property
    def closes_later(self) -> bool:
        """Whether closing one of the parts must be awaited."""
        return any(part.closes_later for part, _, _ in self._parts)

    @property
    def replayable(self) -> bool:
        """Whether every part can be written now."""
        return not self._consumed and all(part.replayable for part, _, _ in self._parts)

    def append(self, obj: Any, headers: Mapping[str, str] | None = None) -> Payload:
        """Add a part for `obj`, anything that can be a body, with `headers` of its own.

        Raises:
            TypeError: Nothing is registered for its type.
        """
        if isinstance(obj, Payload):
            if headers:
                obj.headers.update(headers)
            return self.append_payload(obj)
        try:
            payload = get_payload(obj, headers=headers)
        except LookupError as exc:
            raise TypeError(f"Cannot create payload from {obj!r}") from exc
        return self.append_payload(payload)

    def append_payload(self, payload: Payload) -> Payload:
        """Add `payload` as a part.

        Its Content-Encoding (gzip, deflate) and Content-Transfer-Encoding (base64,
        quoted-printable) fields say how it is encoded on the way.

        Raises:
            RuntimeError: An encoding is unknown.
            ValueError: The part of a form has a field that RFC 7578 4.8 does not allow.
        """
        encoding: str | None = None
        transfer: str | None = None
        headers = payload.headers
        if self._is_form_data:
            for name in ("Content-Encoding", "Content-Length", "Content-Transfer-Encoding"):
                if name in headers:
                    raise ValueError(f"the part of a form must not have {name} (RFC 7578 4.8)")
            if "Content-Disposition" not in headers:
                payload.set_content_disposition("form-data", name=f"section-{len(self._parts)}")
        else:
            encoding = headers.get("Content-Encoding", "").lower()
            if encoding not in {"", "deflate", "gzip", "identity"}:
                raise RuntimeError(f"unknown content encoding: {encoding}")
            transfer = headers.get("Content-Transfer-Encoding", "").lower()
            if transfer not in {"", "base64", "quoted-printable", "binary", "7bit", "8bit"}:
                raise RuntimeError(f"unknown content transfer encoding: {transfer}")
            encoding = encoding if encoding in {"deflate", "gzip"} else None
            transfer = transfer if transfer in {"base64", "quoted-printable"} else None
            size = payload.size
            if size is not None and not (encoding or transfer):
                headers["Content-Length"] = str(size)
        self._parts.append((payload, encoding, transfer))
        return payload

    def append_json(self, obj: Any, headers: Mapping[str, str] | None = None) -> Payload:
        """Add a part of JSON: `obj`, with `headers` of its own."""
        return self.append_payload(JsonPayload(obj, headers=headers))

    def append_form(
        self,
        obj: Sequence[tuple[str, str]] | Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> Payload:
        """Add a part of urlencoded fields: `obj`, with `headers` of its own."""
        if isinstance(obj, Mapping):
            obj = list(obj.items())
        return self.append_payload(
            StringPayload(
                urlencode(obj, doseq=True),
                headers=headers,
                content_type="application/x-www-form-urlencoded",
            )
        )

    @property
    def size(self) -> int | None:
        """The length in bytes; None when a part does not know its own."""
        total = len(self._boundary) + 6
        for part, encoding, transfer in self._parts:
            size = part.size
            if size is None or encoding or transfer == "quoted-printable":
                return None
            if transfer:
                size = _base64_size(size)
            total += len(self._boundary) + 4 + len(part.encoded_headers) + size + 2
        return total

    @property
    def at_hand(self) -> bytes | None:
        """The whole body where all parts lie in memory and are small."""
        pieces: list[bytes] = []
        total = 0
        for part, encoding, transfer in self._parts:
            data = None if encoding or transfer else part.at_hand
            if data is None:
                return None
            total += len(data)
            if total > 2**20:
                return None
            pieces += (b"--", self._boundary, b"\r\n", part.encoded_headers, data, b"\r\n")
        return b"".join([*pieces, b"--", self._boundary, b"--\r\n"])

    async def write(self, writer: Any, close_boundary: bool = True) -> None:
        """Write the parts, one after the other.

        Args:
            writer: Has ``async def write(bytes)``.
            close_boundary: Whether to write the end as well.
        """
        # What stands between two bodies goes out in one piece.
        between = b""
        for part, encoding, transfer in self._parts:
            await writer.write(b"%b--%b\r\n%b" % (between, self._boundary, part.encoded_headers))
            if encoding or transfer:
                encoder = MultipartPayloadWriter(writer)
                if encoding:
                    encoder.enable_compression(encoding)
                if transfer:
                    encoder.enable_encoding(transfer)
                await part.write(encoder)
                await encoder.write_eof()
            else:
                await part.write(writer)
            between = b"\r\n"
        if close_boundary:
            await writer.write(b"%b--%b--\r\n" % (between, self._boundary))
        elif between:
            await writer.write(between)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text; parts that are files are read in the caller's thread."""
        pieces: list[str] = []
        for part, _, _ in self._parts:
            head = part.encoded_headers.decode(encoding, errors)
            pieces.append(f"--{self.boundary}\r\n{head}{part.decode(encoding, errors)}\r\n")
        return f"{''.join(pieces)}--{self.boundary}--\r\n"

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The body as it would be sent."""
        collected = _Collector()
        await self.write(collected)
        return bytes(collected.data)

    def _holding(self) -> Iterator[tuple[int, Payload]]:
        """The parts that hold something, once."""
        if self._consumed:
            return
        self._consumed = True
        for at, (part, _, _) in enumerate(self._parts):
            if not part.autoclose:
                yield at, part

    def _close(self) -> None:
        for at, part in self._holding():
            try:
                part._close()
            except Exception:
                log.exception(_NOT_CLOSED, at)

    async def close(self) -> None:
        """Close the parts that hold something."""
        for at, part in self._holding():
            try:
                await part.close()
            except Exception:
                log.exception(_NOT_CLOSED, at)


class _Collector:
    """A writer into memory."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, chunk: Bytes) -> None:
        self.data += chunk


def _base64_size(size: int) -> int:
    lines, rest = divmod(size, _LINE)
    encoded = lines * 76 + (rest + 2) // 3 * 4
    return encoded + 2 * max(0, lines - (not rest))


class MultipartPayloadWriter:
    """Encodes a part on its way: a content coding first, then a transfer encoding.

    Args:
        writer: Where it goes.
    """

    __slots__ = ("_begun", "_compressor", "_encoding", "_pending", "_writer")

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._compressor: Any = None
        self._encoding: str | None = None
        self._pending = bytearray()
        self._begun = False

    def enable_encoding(self, encoding: str) -> None:
        """Apply "base64" or "quoted-printable"."""
        if encoding in {"base64", "quoted-printable"}:
            self._encoding = encoding

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Apply "gzip", or "deflate" without zlib's wrapping, as the parts' readers of the field
        expect it.
        """
        self._compressor = zlib.compressobj(
            wbits=31 if encoding == "gzip" else -15, strategy=strategy or zlib.Z_DEFAULT_STRATEGY
        )

    async def write(self, chunk: Bytes) -> None:
        """Write a piece of the part."""
        if self._compressor is not None:
            chunk = self._compressor.compress(chunk)
        await self._encode(chunk)

    async def _encode(self, chunk: Bytes, *, last: bool = False) -> None:
        if self._encoding is None:
            if chunk:
                await self._writer.write(chunk)
            return
        pending = self._pending
        pending += chunk
        while len(pending) > _BASE64_BLOCK or (last and pending):
            # Never the last byte but at the end: what follows a block begins a new line.
            block = bytes(memoryview(pending)[:_BASE64_BLOCK])
            del pending[:_BASE64_BLOCK]
            encoded = _base64(block) if self._encoding == "base64" else _quoted_printable(block)
            if self._begun:
                encoded = (b"\r\n" if self._encoding == "base64" else b"=\r\n") + encoded
            self._begun = True
            await self._writer.write(encoded)

    async def write_eof(self) -> None:
        """End the part: give what its encoding still holds."""
        rest = b"" if self._compressor is None else self._compressor.flush()
        await self._encode(rest, last=True)


def _base64(data: bytes) -> bytes:
    return b"\r\n".join(
        [
            binascii.b2a_base64(data[at : at + _LINE], newline=False)
            for at in range(0, len(data), _LINE)
        ]
    )


def _quoted_printable(data: bytes) -> bytes:
    # Line ends are encoded as well: what is decoded is what was given, binary data included.  RFC
    # 2045 6.7 (5) wants soft line breaks of CRLF.
    return binascii.b2a_qp(data, istext=False).replace(b"=\n", b"=\r\n")
