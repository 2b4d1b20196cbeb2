"""Content-Range (RFC 9110 14.4): which bytes of a file an answer has."""

from __future__ import annotations

import re
from typing import NamedTuple


class ContentRange(NamedTuple):
    """A Content-Range (RFC 9110 14.4): first and last are None for "*", all for nonsense."""

    first: int | None = None
    last: int | None = None
    total: int | None = None

    @classmethod
    def read(cls, text: str | None) -> ContentRange | None:
        """The field's value as it is written, whether or not there can be such a range; None where
        there is no such field.
        """
        if text is None:
            return None
        found = _CONTENT_RANGE(text.strip())
        if found is None:
            return cls()
        return cls(*(int(group) if group else None for group in found.groups()))

    @classmethod
    def parse(cls, text: str | None) -> ContentRange | None:
        """The field's value; None where there is no such field."""
        written = cls.read(text)
        if written is None:
            return None
        first, last, total = written
        # RFC 9110 14.4: these are invalid.
        if (
            first is not None
            and last is not None
            and (not first <= last < (last + 1 if total is None else total))
        ):
            return cls()
        return written


_CONTENT_RANGE = re.compile(
    r"(?i:bytes)[ \t]+(?:([0-9]{1,18})-([0-9]{1,18})|\*)/(?:([0-9]{1,18})|\*)", re.ASCII
).fullmatch
