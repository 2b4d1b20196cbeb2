"""Cookies as text: JSON of our own, aiohttp's JSON, and Netscape's cookies.txt.  Never pickle.

The formats are functions from records to text and back; `read` and `write` are the only places that
open files.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from http.cookies import CookieError
from os import PathLike
from pathlib import Path
from typing import Any

from wherry.cookies.cookie import Cookie, check_line
from wherry.cookies.parse import expiry, unquote
from wherry.private_files import write_private

__all__ = ("from_json", "from_netscape", "read", "to_json", "to_netscape", "write")

_VERSION = 1
_NEVER = float("inf")
_NETSCAPE_TITLE = "# Netscape HTTP Cookie File"
_HTTP_ONLY = "#HttpOnly_"
_TIME = re.compile(r"(-?[0-9]{1,300}(\.[0-9]*)?)?", re.ASCII).fullmatch
# Said anew by the record's own fields; "max-age" and "expires" would be counted from the time of
# loading.
_DERIVED = frozenset({"domain", "path", "secure", "max-age", "expires"})


def read(file_path: str | PathLike[str], *, in_lines: bool = False) -> str:
    """A cookie file's text.

    Args:
        file_path: The file.
        in_lines: Whether each line is a cookie; then bytes that are no UTF-8 concern theirs alone.

    Raises:
        ValueError: It is no text, and so no cookie file.
    """
    data = Path(file_path).read_bytes()
    try:
        return data.decode("utf-8", "surrogateescape" if in_lines or data[:1] == b"#" else "strict")
    except UnicodeDecodeError as exc:
        if data[:1] == b"\x80":
            raise _pickle_refused(file_path) from exc
        raise ValueError(f"{os.fspath(file_path)} is not a cookie file: it is not text") from exc


def _pickle_refused(file_path: str | PathLike[str]) -> ValueError:
    """What is raised for a pickle: the error that unpickling one with other classes raises, too."""
    import pickle

    class PickleRefused(ValueError, pickle.UnpicklingError):
        """A cookie file is a pickle, which may run any program when it is read."""

    return PickleRefused(
        f"{os.fspath(file_path)} is a pickle (Forbidden class: any), and no cookie file. "
        "Reading one may run any program. Load it where you trust it, and save its cookies as JSON."
    )


def write(file_path: str | PathLike[str], text: str) -> None:
    """Put `text` into a file that nobody else can read, whole or not at all."""
    write_private(file_path, text.encode("utf-8", "surrogateescape"))


def to_json(cookies: Iterable[Cookie]) -> str:
    """All cookies, those of the session included, as JSON."""
    return json.dumps(
        {"version": _VERSION, "cookies": [_as_object(cookie) for cookie in cookies]}, indent=1
    )


def _as_object(cookie: Cookie) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": cookie.name,
        "value": cookie.value,
        "coded": cookie.coded,
        "sent": cookie.sent,
        "domain": cookie.domain,
        "host_only": cookie.host_only,
        "path": cookie.path,
        "secure": cookie.secure,
        "received": cookie.received,
    }
    if cookie.expires != _NEVER:
        record["expires"] = cookie.expires
    attributes = {
        key: text for key, text in cookie.attributes.items() if text and key not in _DERIVED
    }
    if attributes:
        record["attributes"] = attributes
    return record


def from_json(text: str) -> list[Cookie]:
    """The cookies of a JSON file.

    Raises:
        ValueError: It is not one of ours, nor one of aiohttp's.
    """
    try:
        data = json.loads(text)
    except ValueError as exc:
        raise ValueError(f"not a cookie file: {exc}") from exc
    try:
        if (
            isinstance(data, dict)
            and data.get("version") == _VERSION
            and isinstance(data.get("cookies"), list)
        ):
            return [_from_object(record) for record in data["cookies"]]
        return _from_aiohttp(data)
    except (KeyError, TypeError, AttributeError, OverflowError) as exc:
        raise ValueError(f"not a cookie file: a record is malformed ({exc!r})") from exc


def _from_object(record: Mapping[str, Any]) -> Cookie:
    return Cookie(
        _text(record["name"]),
        _text(record["value"]),
        _text(record["coded"]),
        _text(record["sent"]),
        domain=_text(record["domain"]),
        host_only=bool(record["host_only"]),
        path=_text(record["path"]),
        secure=bool(record["secure"]),
        expires=_moment(record.get("expires")),
        attributes=_with_flags(record.get("attributes", {}), secure=bool(record["secure"])),
        received=bool(record["received"]),
    )


def _from_aiohttp(data: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Cookie]:
    """``{"domain|path": {name: {key, value, coded_value, attributes ...}}}``."""
    cookies, now = [], time.time()
    for place, records in data.items():
        domain, _, path = place.partition("|")
        for name, record in records.items():
            secure = bool(record.get("secure"))
            attributes = {
                key: text
                for key, text in record.items()
                if key not in {"key", "value", "coded_value", "host_only"}
            }
            coded = _text(record["coded_value"])
            cookies.append(
                Cookie(
                    _text(record["key"]),
                    _text(record["value"]),
                    coded,
                    coded,
                    domain=domain,
                    host_only=bool(record.get("host_only")),
                    path=_text(record.get("path") or f"{path.rstrip('/')}/"),
                    secure=secure,
                    expires=_ending(record, now, f"Cookie {name!r} in {place!r}"),
                    attributes=_with_flags(attributes, secure=secure),
                    received=True,
                )
            )
    return cookies


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is no text of a cookie")
    try:
        return check_line(value)
    except CookieError as exc:
        raise ValueError(f"not a cookie file: {exc}") from exc


def _ending(record: Mapping[str, Any], now: float, whose: str) -> float:
    """When a cookie of aiohttp's ends; its older files tell no more than what the server had
    said.
    """
    if "expires_timestamp" in record:
        try:
            return _moment(record["expires_timestamp"])
        except (OverflowError, TypeError, ValueError) as exc:
            raise ValueError(f"{whose}: expiration timestamp must be a finite number") from exc
    ends = expiry(record, now)
    return _NEVER if ends is None else ends


def _moment(value: Any) -> float:
    """A time in seconds since 1970, infinity for None."""
    if value is None:
        return _NEVER
    moment = float(value)
    if not math.isfinite(moment):
        raise TypeError("a time must be finite")
    return moment


def _with_flags(attributes: Mapping[str, Any], *, secure: bool) -> dict[str, Any]:
    kept = {key: text for key, text in attributes.items() if key not in _DERIVED}
    if secure:
        kept["secure"] = True
    return kept


def to_netscape(cookies: Iterable[Cookie]) -> str:
    """A cookies.txt.

    The format has no place for SameSite, for tabs, and for cookies without a domain or a name:
    these are left out.
    """
    lines = [_NETSCAPE_TITLE, ""]
    for cookie in cookies:
        fields = (
            cookie.domain if cookie.host_only else f".{cookie.domain}",
            "FALSE" if cookie.host_only else "TRUE",
            cookie.path,
            "TRUE" if cookie.secure else "FALSE",
            "0" if cookie.expires == _NEVER else str(max(1, int(cookie.expires))),
            cookie.name,
            cookie.sent,
        )
        if cookie.domain and cookie.name and not any("\t" in field for field in fields):
            lines.append(
                (_HTTP_ONLY if cookie.attributes.get("httponly") else "") + "\t".join(fields)
            )
    return "\n".join(lines) + "\n"


def from_netscape(text: str) -> list[Cookie]:
    """The cookies of a cookies.txt.

    A line that is no cookie is named in a warning, and the others count.

    Raises:
        ValueError: No line is a cookie, and one should be.
    """
    cookies: list[Cookie] = []
    faults: list[ValueError] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        try:
            cookie = _netscape_cookie(line.rstrip("\r"), number)
        except ValueError as exc:
            faults.append(exc)
        else:
            if cookie is not None:
                cookies.append(cookie)
    if faults and not cookies:
        raise faults[0]
    for fault in faults:
        warnings.warn(f"{fault}; it is left out", stacklevel=4)
    return cookies


def _netscape_cookie(line: str, number: int) -> Cookie | None:
    """One line's cookie; None for a comment, and for an empty line."""
    attributes: dict[str, Any] = {}
    if line.startswith(_HTTP_ONLY):
        line = line[len(_HTTP_ONLY) :]
        attributes["httponly"] = True
    elif line.startswith("#") or not line.strip():
        return None
    fields = line.split("\t")
    if len(fields) == 6:
        # curl leaves the last tab away where the value is empty.
        fields.append("")
    if len(fields) != 7:
        raise ValueError(f"line {number} of cookies.txt has {len(fields)} fields, not 7")
    try:
        domain, subdomains, path, secure, ends, name, value = (_text(field) for field in fields)
    except ValueError as exc:
        raise ValueError(f"line {number} of cookies.txt: {exc}") from exc
    # Browsers' extensions write the time as they have it, with a fraction.
    if _TIME(ends) is None:
        raise ValueError(f"line {number} of cookies.txt: {ends[:20]!r} is no time")
    return Cookie(
        name,
        unquote(value),
        value,
        value,
        domain=domain.removeprefix(".").lower(),
        host_only=subdomains.upper() != "TRUE",
        path=path if path.startswith("/") else "/",
        secure=secure.upper() == "TRUE",
        expires=float(ends or 0) or _NEVER,
        attributes=_with_flags(attributes, secure=secure.upper() == "TRUE"),
        received=True,
    )
