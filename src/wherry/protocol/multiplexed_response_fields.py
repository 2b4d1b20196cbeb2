"""What HTTP/2 and HTTP/3 demand alike of a response's fields (RFC 9113 8.2, 8.3; RFC 9114 4.2).

Pure.  Either version says by `malformed` what its error is; how a header section is decoded, and
bounded while that is done, is its own affair.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from wherry.protocol.grammar import LOWER_TCHAR
from wherry.protocol.limits import Limits
from wherry.redaction import HIDDEN, is_secret_name

Field = tuple[bytes, bytes]
Malformed = Callable[[str], Exception]

# RFC 9110 5.1: a token, here without upper case.
_is_name = re.compile(f"[{LOWER_TCHAR}]+".encode()).fullmatch
# RFC 9110 5.5: no control characters but the tab, as HTTP/1.1's parser has it.
_bad_value = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\A[ \t]|[ \t]\Z").search
# Values that have none, one to a line.
_are_good_lines = re.compile(rb"[\t\n\x20-\x7e\x80-\xff]*+").fullmatch
# Names that were looked at before, and are good with any good value.
LONGEST_USUAL = 64
MOST_USUAL = 512
_usual_names: set[bytes] = set()
_is_status = re.compile(rb"[1-9][0-9][0-9]").fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch
# RFC 9113 8.2.2, RFC 9114 4.2.
_FORBIDDEN = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)


def check_status(fields: tuple[Field, ...], version: str, malformed: Malformed) -> int:
    """Check that a response's header section begins with its status, and give that back."""
    if not fields or fields[0][0] != b":status":
        raise malformed("the response's header section does not begin with :status")
    status = fields[0][1]
    if not _is_status(status):
        raise malformed(f"the response's :status is {status[:32]!r}")
    if status == b"101":
        # RFC 9113 8.6, RFC 9114 4.5.
        raise malformed(f"the response's :status is 101, which {version} does not have")
    return int(status)


def check_fields(
    fields: tuple[Field, ...], start: int, limits: Limits, version: str, malformed: Malformed
) -> int:
    """Check ordinary fields, and give back Content-Length or -1.

    Args:
        fields: The section.
        start: Where ordinary fields begin in it.
        limits: What may come.
        version: "HTTP/2" or "HTTP/3", for messages.
        malformed: Makes the error of a malformed message.
    """
    if len(fields) - start > limits.max_headers:
        raise malformed(limits.too_many())
    if start:
        fields = fields[start:]
    plain = _plain_length(fields, limits)
    if plain is not None:
        return plain
    length = -1
    for name, value in fields:
        if not _is_name(name):
            raise malformed(f"the response has a field named {name[:64]!r}")
        if name in _FORBIDDEN or (name == b"te" and value != b"trailers"):
            raise malformed(
                f"the response has the field {name.decode()!r}, which {version} does not have"
            )
        if _bad_value(value):
            shown = HIDDEN if is_secret_name(name.decode()) else value[:64]
            raise malformed(f"the response's field {name.decode()!r} has the value {shown!r}")
        if len(value) > limits.max_field_size or len(name) > limits.max_line_size:
            raise malformed(limits.too_long(name))
        if name == b"content-length":
            if not _is_length(value) or length not in (-1, int(value)):
                raise malformed(f"the response's content-length is {value[:64]!r}")
            length = int(value)
    _remember(fields)
    return length


def _remember(fields: tuple[Field, ...]) -> None:
    """Keep the names of good fields; peers choose them, so not all of them and not for ever."""
    for name, _ in fields:
        if len(name) <= LONGEST_USUAL and name != b"te":
            if len(_usual_names) >= MOST_USUAL:
                _usual_names.clear()
            _usual_names.add(name)


def _plain_length(fields: tuple[Field, ...], limits: Limits) -> int | None:
    """Content-Length, or -1, of fields that one look at all of them shows to be good; None for
    those that must be looked at one by one.
    """
    names = [name for name, _ in fields]
    if limits.max_line_size < LONGEST_USUAL or not _usual_names.issuperset(names):
        return None
    values = [value for _, value in fields]
    lines = b"\n".join(values)
    if (
        len(lines) > limits.max_field_size
        or lines.count(b"\n") != len(names) - 1
        or _are_good_lines(lines) is None
        or [value.strip(b" \t") for value in values] != values
    ):
        return None
    count = names.count(b"content-length")
    if not count:
        return -1
    value = fields[names.index(b"content-length")][1]
    return int(value) if count == 1 and _is_length(value) else None
