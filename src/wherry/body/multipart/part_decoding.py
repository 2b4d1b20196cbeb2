"""The encodings of a part: Content-Transfer-Encoding (RFC 2045) first, then Content-Encoding."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from typing import Final

from wherry.body.multipart.scanner import UnknownEncoding
from wherry.body.stream.decoders import Decoder, decoder_for
from wherry.errors import ClientPayloadError

__all__ = ("UndoSteps", "decode_whole", "undo_steps")

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
LONGEST_LINE: Final = 2**13
_NOT_BASE64: Final = bytes(byte for byte in range(256) if byte not in _ALPHABET)


class UndoSteps:
    """Undoes a part's encodings as its bytes come.

    Args:
        transfer: "base64", "quoted-printable" or "" for none.
        decoder: Of the content coding, None for none.
    """

    __slots__ = ("_decoder", "_fed", "_rest", "_transfer")

    def __init__(self, transfer: str, decoder: Decoder | None) -> None:
        self._transfer = transfer
        self._decoder = decoder
        self._rest = b""
        self._fed = False

    def decode(self, data: bytes, max_length: int) -> Iterator[bytes]:
        """Take `data` in and give what comes out, at most `max_length` bytes at a time."""
        data = self._untransfer(data, last=False)
        if data:
            yield from self._uncode(data, max_length)

    def finish(self, max_length: int) -> Iterator[bytes]:
        """The part has ended: give the rest.

        Raises:
            ClientPayloadError: The content coding has not.
        """
        data = self._untransfer(b"", last=True)
        if data:
            yield from self._uncode(data, max_length)
        if self._decoder is not None and self._fed:
            self._decoder.finish()

    def _untransfer(self, data: bytes, *, last: bool) -> bytes:
        if not self._transfer:
            return data
        data = self._rest + data
        if self._transfer == "base64":
            data = data.translate(None, _NOT_BASE64)
            cut = len(data) if last else len(data) // 4 * 4
            self._rest = data[cut:]
            try:
                return binascii.a2b_base64(data[:cut])
            except binascii.Error as exc:
                raise ClientPayloadError(
                    f"cannot decode content-transfer-encoding base64: {exc}"
                ) from exc
        # A line's blanks at its end are no part of it, so only whole lines can be decoded.
        cut = len(data) if last else data.rfind(b"\n") + 1
        if not cut and len(data) > LONGEST_LINE:
            # Not a line as RFC 2045 6.7 has them: only an escape must stay in one piece.
            cut = len(data) - (3 if b"=" in data[-2:] else 0)
        self._rest = data[cut:]
        return binascii.a2b_qp(data[:cut])

    def _uncode(self, data: bytes, max_length: int) -> Iterator[bytes]:
        decoder = self._decoder
        if decoder is None:
            yield data
            return
        self._fed = True
        while True:
            piece = decoder.decode(data, max_length)
            data = b""
            if piece:
                yield piece
            if decoder.needs_input:
                return


def undo_steps(headers: Mapping[str, str], *, is_form_data: bool = False) -> UndoSteps | None:
    """What undoes the encodings that a part's fields name; None where there are none.

    Raises:
        UnknownEncoding: (a RuntimeError) One of them is unknown.
    """
    transfer = headers.get("Content-Transfer-Encoding", "").strip().lower()
    if transfer in {"binary", "7bit", "8bit"}:
        transfer = ""
    elif transfer not in {"", "base64", "quoted-printable"}:
        raise UnknownEncoding(f"unknown content transfer encoding: {transfer}")
    # RFC 7578 4.8: the parts of a form have no other fields.
    coding = "" if is_form_data else headers.get("Content-Encoding", "").strip().lower()
    decoder = decoder_for(coding)
    if decoder is None and coding not in {"", "identity"}:
        raise UnknownEncoding(f"unknown content encoding: {coding}")
    return UndoSteps(transfer, decoder) if transfer or decoder is not None else None


def decode_whole(
    headers: Mapping[str, str], data: bytes, *, is_form_data: bool, max_size: int
) -> bytes:
    """Undo a part's encodings on all of its bytes."""
    steps = undo_steps(headers, is_form_data=is_form_data)
    if steps is None:
        return data
    return b"".join([*steps.decode(data, max_size), *steps.finish(max_size)])
