"""A form's fields: urlencoded when they are only that, multipart when a file is among them (RFC
7578).
"""

from __future__ import annotations

import mimetypes
import os
import re
import warnings
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, MutableMapping
from typing import IO, TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

from multidict import CIMultiDict, MultiDict, MultiDictProxy

from wherry.body.payload.files import guess_filename, is_file
from wherry.body.payload.memory import BytesPayload, Payload, get_payload
from wherry.body.payload.memory import LookupError as PayloadLookupError

if TYPE_CHECKING:
    from wherry.body.multipart.writer import MultipartWriter

__all__ = ("Files", "FormData", "form_with_files", "payload_of")

# What `files=` takes.
_Content: TypeAlias = (
    str | bytes | bytearray | memoryview | IO[Any] | AsyncIterable[bytes] | Payload
)
_File: TypeAlias = (
    _Content
    | tuple[str | None, _Content]
    | tuple[str | None, _Content, str | None]
    | tuple[str | None, _Content, str | None, Mapping[str, str]]
)
Files: TypeAlias = Mapping[str, _File] | Iterable[tuple[str, _File]]

_MEDIA_TYPE = re.compile(r"[a-z]+/[\w.+-]+", re.ASCII | re.IGNORECASE)


class FormData:
    """The fields of a form.

    Args:
        fields: A mapping, or (name, value) pairs, or files.
        quote_fields: Percent-encode file names; False sends them as UTF-8, which is what browsers
            do.
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
        self._fields: list[tuple[dict[str, str], MutableMapping[str, str], Any]] = []
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
            value: A str, or anything that can be a body; a field of None is left out.
            content_type: Its media type; makes the form multipart.
            filename: Its file name; makes the form multipart.
            content_transfer_encoding: Deprecated, and not sent (RFC 7578 4.7).

        Raises:
            TypeError: `filename` or `content_type` is no str, or `value` is a tuple that other
                clients take for a file.
        """
        if type(value) is str and filename is content_type is content_transfer_encoding is None:
            self._fields.append(({"name": name}, {}, value))
            return
        if value is None:
            return
        if isinstance(value, list | tuple):
            _refuse_file_tuple(name, value)
            value = [item for item in value if item is not None]
        if is_file(value):
            self._is_multipart = True
        elif (
            isinstance(value, bytes | bytearray | memoryview)
            and filename is None
            and not content_transfer_encoding
        ):
            warnings.warn(
                "bytes without a filename will not be sent as a file in future: pass filename=, or "
                "an io.BytesIO",
                DeprecationWarning,
                stacklevel=2,
            )
            filename = name
        _check_texts(filename, content_type, content_transfer_encoding)
        if filename is None and is_file(value):
            filename = guess_filename(value, name)
        disposition = {"name": name}
        headers: dict[str, str] = {}
        if filename is not None:
            disposition["filename"] = filename
            self._is_multipart = True
        if content_type is not None:
            headers["Content-Type"] = content_type
            self._is_multipart = True
        if content_transfer_encoding is not None:
            warnings.warn(
                "content_transfer_encoding is deprecated and not sent",
                DeprecationWarning,
                stacklevel=2,
            )
            self._is_multipart = True
        self._fields.append((disposition, headers, value))

    def _add_file(self, name: str, value: Any) -> None:
        """Add what `form_with_files` says of one file."""
        filename, content, content_type, more = guess_filename(value, name), value, None, ()
        if isinstance(value, tuple):
            if not 2 <= len(value) <= 4:
                raise TypeError(
                    f"a file ({name!r}) is (file name, content[, type[, fields]]): {len(value)} "
                    "values"
                )
            filename, content, content_type, more = (*value, None, None)[:4]
        if content is None:
            return
        if isinstance(content, list | tuple | dict) or not isinstance(filename, str | None):
            raise TypeError(
                f"a file ({name!r}) is a file, bytes, a str, or (file name, content[, type[, "
                "fields]])"
            )
        headers: CIMultiDict[str] = CIMultiDict(more or ())
        if content_type is None and filename is not None:
            content_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        if content_type is not None:
            headers.setdefault("Content-Type", content_type)
        disposition = {"name": name} if filename is None else {"name": name, "filename": filename}
        self._is_multipart = True
        self._fields.append((disposition, headers, content))

    def add_fields(self, *fields: Any) -> None:
        """Add `fields`: files, (name, value) pairs, or multidicts of them.

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
                    "Only io.IOBase, multidict and (name, file) pairs allowed, use .add_field() "
                    "for passing "
                    f"more complex parameters, got {field!r:.200}{_mend(field)}"
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
        for name, value in pairs:
            if isinstance(value, Mapping):
                # Its keys alone would be sent.
                raise TypeError(
                    f"the field {name!r} of a form cannot be a mapping: give json=, or fields of "
                    "its own"
                )
            for item in value if isinstance(value, list) else (value,):
                _refuse_streams(name, item)
        return BytesPayload(
            urlencode(pairs, doseq=True, encoding=charset).encode(), content_type=content_type
        )

    def _multipart(self) -> Payload:
        # The parts are made once: a file's part knows where the file stood, also when the form is
        # sent again.
        writer = self._writer
        if writer is None:
            from wherry.body.multipart.writer import MultipartWriter

            writer = self._writer = MultipartWriter("form-data")
        for disposition, headers, value in self._fields:
            # Several values of one name are fields of their own (RFC 7578 4.3).
            for item in value if isinstance(value, list) else (value,):
                writer.append_payload(self._part(disposition, headers, item))
        self._fields.clear()
        return writer

    def _part(
        self, disposition: dict[str, str], headers: MutableMapping[str, str], value: Any
    ) -> Payload:
        options: dict[str, Any] = {"headers": headers, "encoding": self._charset}
        if "Content-Type" in headers:
            options["content_type"] = headers["Content-Type"]
        try:
            part = get_payload(value, **options)
        except Exception as exc:
            raise TypeError(
                f"Can not serialize value type: {type(value)!r}\n headers: {headers!r}\n value: "
                f"{value!r}"
            ) from exc
        if part is value:
            part.headers.update(headers)
        part.set_content_disposition("form-data", quote_fields=self._quote_fields, **disposition)
        part.headers.popall("Content-Length", None)
        return part


def _check_texts(
    filename: str | None, content_type: str | None, content_transfer_encoding: str | None
) -> None:
    """What the arguments of a field must be.

    Raises:
        TypeError: One is no str.
        ValueError: The content type would break the part's head.
    """
    for what, text in (
        ("filename", filename),
        ("content_type", content_type),
        ("content_transfer_encoding", content_transfer_encoding),
    ):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{what} must be an instance of str. Got: {text!r}")
    if content_type is not None and any(char in content_type for char in "\r\n\0"):
        raise ValueError(f"a control character in the content type {content_type!r}")


def _refuse_file_tuple(name: str, value: list[Any] | tuple[Any, ...]) -> None:
    """What requests and httpx take for a file is no list of values: its parts would be sent one
    after the other.

    Raises:
        TypeError: `value` is, or has, such a tuple.
    """
    if isinstance(value, list):
        for item in value:
            if isinstance(item, tuple):
                _refuse_file_tuple(name, item)
        return
    strange = any(
        is_file(item) or isinstance(item, bytes | bytearray | memoryview | Mapping)
        for item in value
    )
    typed = (
        2 < len(value) < 5
        and all(isinstance(item, str) for item in value[:3])
        and not _MEDIA_TYPE.fullmatch(value[0])
        and _MEDIA_TYPE.fullmatch(value[2])
    )
    if strange or typed or (len(value) > 1 and value[0] is None):
        raise TypeError(
            f"the field {name!r} of a form is a tuple that looks like (file name, content, type): "
            "write "
            f"files={{{name!r}: (...)}}, or FormData().add_field({name!r}, content, filename=..., "
            f"content_type=...)"
        )


def _refuse_streams(name: str, value: Any) -> None:
    """What is read piece by piece has no text, but that of its `repr`.

    Raises:
        TypeError: `value` is of that kind.
    """
    if isinstance(value, str):
        return
    if isinstance(value, Payload) or any(
        callable(getattr(value, method, None)) for method in ("read", "__aiter__", "__next__")
    ):
        raise TypeError(
            f"the field {name!r} of a form is a {type(value).__name__}, which is read piece by "
            f"piece: give its content, or files={{{name!r}: ...}} with a file or an async generator"
        )


def form_with_files(data: Any, files: Any) -> FormData:
    """A form as requests and httpx are told of it.

    Args:
        data: The other fields: a mapping or pairs, None for none.
        files: A mapping or pairs of a field's name and what it has: a file, its content, or a tuple
            of file name (None for a field that is no file), content, media type, and a mapping of
            further fields of the part.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(data, FormData):
        raise TypeError(
            "files= goes with fields as data=, not with a FormData: add the files to it"
        )
    if data is not None and not isinstance(data, Mapping | list | tuple):
        raise TypeError(f"files= goes with fields as data=, not with {type(data).__name__}")
    form = FormData(default_to_multipart=True)
    for name, value in _pairs(data, "data"):
        form.add_field(name, value)
    for name, value in _pairs(files, "files"):
        form._add_file(name, value)
    return form


def _pairs(fields: Any, where: str) -> Iterable[tuple[str, Any]]:
    if fields is None:
        return ()
    pairs = list(fields.items() if isinstance(fields, Mapping) else fields)
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(
                f"{where}= takes a mapping or pairs of a name and a value, not "
                f"{type(pair).__name__}"
            )
    return pairs


def payload_of(data: Any) -> Payload:
    """The payload of any form of `data=` that the API takes; what no payload is registered for is a
    form.
    """
    if isinstance(data, Payload):
        return data
    if isinstance(data, FormData):
        return data()
    try:
        return get_payload(data, disposition=None)
    except PayloadLookupError:
        return FormData(data)()


def _mend(field: Any) -> str:
    """How what is no field of a form is sent."""
    if isinstance(field, os.PathLike):
        return ': send a file by data=open(path, "rb")'
    if isinstance(field, Iterator):
        return ": give an async generator of bytes, or b''.join(...)"
    if isinstance(field, Mapping | list | tuple | int | float):
        return ": json= sends it as JSON"
    return ": give bytes, a str, a file or a mapping, or json="
