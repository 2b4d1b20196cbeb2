"""A form's fields: urlencoded when they are only that, multipart when a file is among them (RFC 7578)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from multidict import MultiDict, MultiDictProxy

from wherry.body.multipart_writer import MultipartWriter
from wherry.body.payload import BytesPayload, Payload, get_payload
from wherry.body.payload import LookupError as PayloadLookupError
from wherry.body.payload_io import guess_filename, is_file

__all__ = ("FormData", "payload_of")


class FormData:
    """The fields of a form.

    Args:
        fields: A mapping, or (name, value) pairs, or files.
        quote_fields: Percent-encode file names; False sends them as UTF-8, which is what browsers do.
        charset: For text; UTF-8 by default.
        default_to_multipart: Be multipart even without a file.
    """

    def __init__(
        self,
        fields: Iterable[Any] = (),
        quote_fields: bool = True,
        charset: str | None = None,
        *,
        default_to_multipart: bool = False,
    ) -> None:
        self._fields: list[tuple[dict[str, str], dict[str, str], Any]] = []
        self._is_multipart = default_to_multipart
        self._quote_fields = quote_fields
        self._charset = charset
        self._writer: MultipartWriter | None = None
        if isinstance(fields, Mapping) and not isinstance(fields, MultiDict | MultiDictProxy):
            for name, value in fields.items():
                self.add_field(name, value)
        else:
            self.add_fields(*fields if isinstance(fields, list | tuple) else (fields,))

    @property
    def is_multipart(self) -> bool:
        """Whether the body will be multipart."""
        return self._is_multipart

    def add_field(
        self,
        name: str,
        value: Any,
        *,
        content_type: str | None = None,
        filename: str | None = None,
        content_transfer_encoding: str | None = None,
    ) -> None:
        """Add a field.

        Args:
            name: Its name; control characters in it are encoded, never sent.
            value: A str, or anything that can be a body.
            content_type: Its media type; makes the form multipart.
            filename: Its file name; makes the form multipart.
            content_transfer_encoding: Deprecated, and not sent (RFC 7578 4.7).

        Raises:
            TypeError: `filename` or `content_type` is no str.
        """
        if type(value) is str and filename is content_type is content_transfer_encoding is None:
            self._fields.append(({"name": name}, {}, value))
            return
        if is_file(value):
            self._is_multipart = True
        elif isinstance(value, bytes | bytearray | memoryview) and filename is None and not content_transfer_encoding:
            warnings.warn(
                "bytes without a filename will not be sent as a file in future: pass filename=, or an io.BytesIO",
                DeprecationWarning,
                stacklevel=2,
            )
            filename = name
        for what, text in (("filename", filename), ("content_type", content_type)):
            if text is not None and not isinstance(text, str):
                raise TypeError(f"{what} must be an instance of str. Got: {text!r}")
        if filename is None and is_file(value):
            filename = guess_filename(value, name)
        disposition = {"name": name}
        headers: dict[str, str] = {}
        if filename is not None:
            disposition["filename"] = filename
            self._is_multipart = True
        if content_type is not None:
            if any(char in content_type for char in "\r\n\0"):
                raise ValueError(f"a control character in the content type {content_type!r}")
            headers["Content-Type"] = content_type
            self._is_multipart = True
        if content_transfer_encoding is not None:
            if not isinstance(content_transfer_encoding, str):
                raise TypeError(
                    f"content_transfer_encoding must be an instance of str. Got: {content_transfer_encoding!r}"
                )
            warnings.warn("content_transfer_encoding is deprecated and not sent", DeprecationWarning, stacklevel=2)
            self._is_multipart = True
        self._fields.append((disposition, headers, value))

    def add_fields(self, *fields: Any) -> None:
        """Add files, (name, value) pairs, or multidicts of them.

        Raises:
            TypeError: It is none of these.
        """
        for field in fields:
            if is_file(field):
                self.add_field(guess_filename(field, "unknown") or "unknown", field)
            elif isinstance(field, MultiDict | MultiDictProxy):
                self.add_fields(*field.items())
            elif isinstance(field, list | tuple) and len(field) == 2:
                self.add_field(field[0], field[1])
            else:
                raise TypeError(
                    "Only io.IOBase, multidict and (name, file) pairs allowed, use .add_field() for passing "
                    f"more complex parameters, got {field!r}"
                )

    def __call__(self) -> Payload:
        """The form as a body.

        Raises:
            TypeError: A value can be no part of a body.
        """
        return self._multipart() if self._is_multipart else self._urlencoded()

    def _urlencoded(self) -> Payload:
        charset = self._charset or "utf-8"
        content_type = "application/x-www-form-urlencoded"
        if charset != "utf-8":
            content_type += f"; charset={charset}"
        pairs = [(disposition["name"], value) for disposition, _, value in self._fields]
        return BytesPayload(urlencode(pairs, doseq=True, encoding=charset).encode(), content_type=content_type)

    def _multipart(self) -> Payload:
        # The parts are made once: a file's part knows where the file stood, also when the form is sent again.
        writer = self._writer
        if writer is None:
            writer = self._writer = MultipartWriter("form-data")
        for disposition, headers, value in self._fields:
            options: dict[str, Any] = {"headers": headers, "encoding": self._charset}
            if headers:
                options["content_type"] = headers["Content-Type"]
            try:
                part = get_payload(value, **options)
            except Exception as exc:
                raise TypeError(
                    f"Can not serialize value type: {type(value)!r}\n headers: {headers!r}\n value: {value!r}"
                ) from exc
            part.set_content_disposition("form-data", quote_fields=self._quote_fields, **disposition)
            part.headers.popall("Content-Length", None)
            writer.append_payload(part)
        self._fields.clear()
        return writer


def payload_of(data: Any) -> Payload:
    """The payload of any form of `data=` that the API takes; what no payload is registered for is a form."""
    if isinstance(data, Payload):
        return data
    if isinstance(data, FormData):
        return data()
    try:
        return get_payload(data, disposition=None)
    except PayloadLookupError:
        return FormData(data)()
