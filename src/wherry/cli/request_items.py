"""Request items, as httpie has them: ``name=value``, ``n:=1``, ``q==x``, ``H:v``, ``f@file``.

`parse_words` reads a whole line of them; `Items.put_into` makes them a request's query, header
fields and body.  Pure but for reading files that an item names.
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from wherry.cli.argument_values import (
    FormField,
    RequestArguments,
    UsageProblem,
    parse_json,
    read_data,
)

# The longest first: of those that stand at the same place it is meant.
_SEPARATORS: Final = (":=@", "==@", ":=", "==", "=@", ":@", "@", "=", ":")
_METHODS: Final = frozenset(
    {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE", "CONNECT"}
)
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://").match
_NESTED: Final = re.compile(r"[^\[\]\\]*(?:\[[^\[\]\\]*\])+").fullmatch
_NOTHING: Final = object()  # a place that no field has filled
_MOST_PLACES: Final = 10_000
_ACCEPTS_JSON: Final = "application/json, */*;q=0.5"


@dataclass(slots=True)
class Items:
    """What the items of a command line ask for.

    Args:
        query: Pairs to add to the URL's query.
        headers: Fields; a value of None leaves the usual field out.
        fields: The body's fields, in their order: text, or a value of JSON.
        files: Files to upload: (name, path, content type or None).
        raw: The file that is the body, or "-" for standard input.
    """

    query: list[tuple[str, str]] = field(default_factory=list)
    headers: list[tuple[str, str | None]] = field(default_factory=list)
    fields: list[tuple[str, Any]] = field(default_factory=list)
    files: list[tuple[str, str, str | None]] = field(default_factory=list)
    raw: str | None = None

    @property
    def has_body(self) -> bool:
        return bool(self.fields or self.files or self.raw is not None)

    def put_into(self, wanted: RequestArguments, *, as_form: bool = False) -> None:
        """Add the items to a request, which has no body yet if they have one.

        Args:
            wanted: The request.
            as_form: Fields are a form's, not the members of an object of JSON.

        Raises:
            UsageProblem: They cannot go together, or a file cannot be read.
        """
        if self.query:
            wanted.url = wanted.url.extend_query(self.query)
        for name, value in self.headers:
            if value is None:
                wanted.without.append(name)
            else:
                wanted.headers.append((name, value))
        if not self.has_body:
            return
        if wanted.body is not None or wanted.form:
            raise UsageProblem("give items, or one of --data, --json and --form")
        names = {name.lower() for name in (*dict(wanted.headers), *wanted.without)}
        if self.raw is not None:
            self._put_raw(wanted, names)
        elif self.files:
            wanted.form = [FormField(name, _as_text(name, value)) for name, value in self.fields]
            wanted.form += [
                FormField(name, read_data("@" + path), path, kind or _type_of(path))
                for name, path, kind in self.files
            ]
        elif as_form:
            pairs = [(name, _as_text(name, value)) for name, value in self.fields]
            wanted.body = urlencode(pairs).encode()
            _set(wanted, names, "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
        else:
            wanted.body = json.dumps(nested(self.fields)).encode()
            _set(wanted, names, "Content-Type", "application/json")
            _set(wanted, names, "Accept", _ACCEPTS_JSON)

    def _put_raw(self, wanted: RequestArguments, names: set[str]) -> None:
        if self.fields or self.files:
            raise UsageProblem("@FILE alone is the whole body: no other field goes with it")
        assert self.raw is not None
        wanted.body = read_data("@" + self.raw)
        if (kind := mimetypes.guess_type(self.raw)[0]) is not None:
            _set(wanted, names, "Content-Type", kind)


def parse_words(words: Sequence[str]) -> tuple[str | None, str, Items]:
    """The method, the URL and the items of a command line: ``[METHOD] URL [ITEM]...``.

    Raises:
        UsageProblem: There is no URL, or a word is no item.
    """
    left = list(words)
    method = None
    if len(left) > 1 and (left[0].upper() in _METHODS or re.fullmatch("[A-Z]+", left[0])):
        method = left.pop(0).upper()
    if not left or not left[0].strip():
        raise UsageProblem("Missing argument 'URL': wherry [OPTIONS] [METHOD] URL [ITEM]...")
    url = left.pop(0)
    items = Items()
    for text in left:
        _add(items, text)
    return method, url, items


def _add(items: Items, text: str) -> None:
    if _ABSOLUTE(text):
        raise UsageProblem(f"one URL at a time: {text!r} is a second one; see `wherry fetch`")
    name, separator, value = split_item(text)
    if separator == ":":
        if not name:
            raise UsageProblem(f"{text!r}: a field needs a name")
        items.headers.append((name, value.strip() or None))
    elif separator == ":@":
        items.headers.append((name, _file_text(value).strip()))
    elif separator == "":
        if not name.endswith(";") or len(name) == 1:
            raise UsageProblem(
                f"{text!r} is no item: write name=value, n:=1, q==x, Header:value or file@path"
            )
        items.headers.append((name[:-1], ""))
    elif separator == "@":
        path, _, kind = value.partition(";type=")
        if name:
            items.files.append((name, path, kind or None))
        else:
            items.raw = path
    elif separator.startswith("=="):
        items.query.append((name, _file_text(value) if separator == "==@" else value))
    else:
        items.fields.append((name, _value_of(text, separator, value)))


def _value_of(text: str, separator: str, value: str) -> Any:
    """A body's field: text, or JSON where there is a colon."""
    if separator.endswith("@"):
        value = _file_text(value)
    if not separator.startswith(":"):
        return value
    return parse_json(value, f"{text!r}: behind := there is JSON")


def split_item(text: str) -> tuple[str, str, str]:
    r"""An item in three: its name, its separator and its value.

    The first separator counts.  A backslash before one makes it a letter of the name:
    ``a\=b=c`` is ``a=b`` with the value ``c``.
    """
    name: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] in {":", "=", "@", ";", "\\"}:
            name.append(text[at + 1])
            at += 2
            continue
        for separator in _SEPARATORS:
            if text.startswith(separator, at):
                return "".join(name), separator, text[at + len(separator) :]
        name.append(text[at])
        at += 1
    return "".join(name), "", ""


def nested(fields: Sequence[tuple[str, Any]]) -> Any:
    """One value of JSON for all fields: ``a[b]=1`` is a member of a member, ``a[]=1`` the next of a
    list, ``a[0]=1`` one of its places, ``[]=1`` a list of its own.  A backslash makes a bracket a
    letter.

    Raises:
        UsageProblem: Two fields want one place to be different things.
    """
    whole: list[Any] = [_NOTHING]
    for name, value in fields:
        steps = _steps(name)
        place: Any = whole
        key: Any = 0
        for step in steps:
            if place[key] is _NOTHING:
                place[key] = {} if isinstance(step, str) else []
            place, key = place[key], step
            if not isinstance(place, dict if isinstance(step, str) else list):
                raise UsageProblem(f"{name}: another field has made this place something else")
            if isinstance(place, list):
                key = len(place) if step is None else step
                place += [_NOTHING] * (key + 1 - len(place))
            else:
                place.setdefault(key, _NOTHING)
        place[key] = value
    return _with_nulls(whole[0])


def _steps(name: str) -> list[str | int | None]:
    """The way to a field's place: names, numbers of a list, and None for its end."""
    if _NESTED(name) is None:
        return [name.replace("\\[", "[").replace("\\]", "]")]
    first, *inner = name.replace("]", "").split("[")
    steps: list[str | int | None] = [first] if first else []
    for text in inner:
        number = int(text) if re.fullmatch("[0-9]{1,9}", text) else None
        if number is not None and number > _MOST_PLACES:
            raise UsageProblem(f"{name}: a list has at most {_MOST_PLACES} places here")
        steps.append(number if number is not None else text or None)
    return steps


def _with_nulls(value: Any) -> Any:
    """Places of lists that no field has filled are null."""
    if isinstance(value, list):
        return [None if each is _NOTHING else _with_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_nulls(each) for name, each in value.items()}
    return value


def _set(wanted: RequestArguments, names: set[str], name: str, value: str) -> None:
    """A field that the user has not said."""
    if name.lower() not in names:
        wanted.headers.append((name, value))


def _as_text(name: str, value: Any) -> bytes:
    """A form's field: text, or what JSON writes for a number."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, dict | list):
        raise UsageProblem(f"{name}: a form has no objects and no lists")
    return json.dumps(value).encode()


def _file_text(path: str) -> str:
    try:
        return read_data("@" + path).decode()
    except UnicodeDecodeError as exc:
        raise UsageProblem(f"{path} is no text: {exc.reason}") from exc


def _type_of(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
