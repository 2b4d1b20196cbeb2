"""Parts of a response (RFC 9110 14, RFC 9111 3.3, 3.4), and conditions (RFC 9111 4.3.2): what a
kept response answers to a request that wants a range of it, or wants it only if it is another.

Pure functions.  A part is kept as a response of status 206 with its Content-Range.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wherry.middlewares.cache_fields import Headers, StoredResponse, date, one_date
from wherry.protocol.content_range import ContentRange
from wherry.types import RawHeaders

# Numbers of more digits are beyond any file.
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_ENTITY_TAG = re.compile(r'(?:W/)?"[^"]*"')
# RFC 9110 15.4.5: what a 304 has to say, if the 200 would have.
_OF_A_304 = frozenset(
    {
        b"cache-control",
        b"content-location",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"vary",
        b"set-cookie",
    }
)


class Part(NamedTuple):
    """Which bytes a part has: from `first` to `last`, both among them, of `total` (None if
    unknown).
    """

    first: int
    last: int
    total: int | None

    def __str__(self) -> str:
        return f"bytes {self.first}-{self.last}/{'*' if self.total is None else self.total}"


class Wanted(NamedTuple):
    """A range that a request wants: from `first` to `last`, or the last `suffix` bytes."""

    first: int = 0
    last: int | None = None
    suffix: int | None = None


def part_of(fields: Headers) -> Part | None:
    """What a Content-Range says; None where there is none, or it makes no sense."""
    values = fields.getall("Content-Range", [])
    said = ContentRange.parse(values[0]) if len(values) == 1 else None
    if said is None or said.first is None or said.last is None:
        return None
    return Part(said.first, said.last, said.total)


def is_plain_part(fields: Headers) -> bool:
    """Whether a 206 has one part of what is kept: bytes, and not those of a content coding."""
    return part_of(fields) is not None and "Content-Encoding" not in fields


def wanted_range(headers: Headers) -> Wanted | None:
    """The one range of bytes that a request wants; None where it wants none, several or what we do
    not know.
    """
    values = headers.getall("Range", [])
    match = _RANGE.fullmatch(values[0].strip()) if len(values) == 1 else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return Wanted(suffix=int(match[2]))
    last = int(match[2]) if match[2] else None
    return None if last is not None and last < int(match[1]) else Wanted(int(match[1]), last)


def tags(value: str) -> list[str]:
    """The entity tags of a list (RFC 9110 8.8.3)."""
    return _ENTITY_TAG.findall(value)


def is_strong(tag: str) -> bool:
    """Whether it is a strong entity tag: equal bytes, and nothing less."""
    return tag.startswith('"') and _ENTITY_TAG.fullmatch(tag) is not None


def is_unmodified(stored: StoredResponse, headers: Headers) -> bool:
    """Whether a request's own condition is answered with 304 (RFC 9111 4.3.2, RFC 9110 13.2.2)."""
    if stored.status not in {200, 206}:
        return False
    fields = stored.fields()
    conditions = headers.getall("If-None-Match", [])
    if conditions:
        # RFC 9110 13.1.2: a weak comparison; If-Modified-Since counts for nothing beside it.
        listed = ",".join(conditions).strip()
        own = fields.get("ETag", "").removeprefix("W/")
        known = {tag.removeprefix("W/") for tag in tags(listed)}
        return listed == "*" or own in known
    since = one_date(headers, "If-Modified-Since")
    if since is None:
        return False
    modified = one_date(fields, "Last-Modified")
    if modified is None:
        modified = one_date(fields, "Date")
    return (stored.came_at if modified is None else modified) <= since


def is_same_for_range(stored: StoredResponse, headers: Headers) -> bool:
    """Whether If-Range, if there is one, names what is kept (RFC 9110 13.1.5): strongly, or by its
    exact date.
    """
    named = headers.get("If-Range")
    if named is None:
        return True
    fields = stored.fields()
    if '"' in named:
        return is_strong(named) and fields.get("ETag") == named
    wanted, modified = date(named), one_date(fields, "Last-Modified")
    return wanted is not None and wanted == modified


def answer(stored: StoredResponse, headers: Headers, *, decoded: bool) -> StoredResponse | None:
    """What a kept response, were it fresh, answers to a GET with these fields; None where it has
    not what is wanted.

    Args:
        stored: The kept response.
        headers: The request's fields.
        decoded: Whether content codings were undone: a range would be one of other bytes.
    """
    if is_unmodified(stored, headers):
        return stored._replace(
            status=304, reason="Not Modified", headers=_of_a_304(stored.headers), body=b""
        )
    if "Range" not in headers or stored.status not in {200, 206}:
        return stored if stored.status != 206 else None
    if not is_same_for_range(stored, headers):
        return stored if stored.status == 200 else None
    wanted = wanted_range(headers)
    if wanted is None or decoded:
        return None
    return _cut(stored, wanted)


def _of_a_304(headers: RawHeaders) -> RawHeaders:
    return tuple(
        pair
        for pair in headers
        if pair[0].lower() in _OF_A_304 or pair[0].lower().startswith(b"x-wherry-")
    )


def _cut(stored: StoredResponse, wanted: Wanted) -> StoredResponse | None:
    """The bytes that are wanted, as a 206; None where they are not all there."""
    body = stored.body
    if stored.status == 200:
        part = Part(0, len(body) - 1, len(body))
    else:
        found = part_of(stored.fields())
        if found is None:
            return None
        part = found
    if wanted.suffix is not None:
        if part.total is None or part.last != part.total - 1:
            return None
        count = min(wanted.suffix, part.total)
        if not 0 < count <= len(body):
            return None
        return _as_part(
            stored, body[len(body) - count :], Part(part.total - count, part.total - 1, part.total)
        )
    last = part.last if wanted.last is None else wanted.last
    if wanted.last is None and (part.total is None or part.last != part.total - 1):
        return None
    if part.total is not None:
        last = min(last, part.total - 1)
    if wanted.first < part.first or last > part.last:
        return None
    piece = body[wanted.first - part.first : last - part.first + 1]
    if not piece:
        return None
    return _as_part(stored, piece, Part(wanted.first, wanted.first + len(piece) - 1, part.total))


def _as_part(stored: StoredResponse, body: bytes, part: Part) -> StoredResponse:
    headers = (*_without_range(stored.headers), (b"Content-Range", str(part).encode()))
    return stored._replace(status=206, reason="Partial Content", headers=headers, body=body)


def _without_range(headers: RawHeaders) -> RawHeaders:
    return tuple(pair for pair in headers if pair[0].lower() != b"content-range")


def missing_range(stored: StoredResponse, most: int) -> dict[str, str] | None:
    """The fields that ask for what a kept part lacks of the whole; None where it cannot be
    completed so.

    Args:
        stored: What is kept.
        most: The largest whole that is worth it, in bytes.
    """
    if stored.status != 206:
        return None
    fields = stored.fields()
    part = part_of(fields)
    if part is None or part.total is None or part.total > most or part.first != 0:
        return None
    if len(stored.body) != part.last + 1 or part.last + 1 >= part.total:
        return None
    asked = {"Range": f"bytes={part.last + 1}-"}
    tag = fields.get("ETag", "")
    if is_strong(tag):
        asked["If-Range"] = tag
    return asked


def combined(
    old: StoredResponse, new: StoredResponse, headers: RawHeaders, most: int
) -> StoredResponse | None:
    """A kept response and a further part of it, as one (RFC 9111 3.4); None where they do not go
    together.

    Args:
        old: What is kept: all of it, or a part.
        new: The part that came.
        headers: The fields of both: what the new one says, and what else was kept.
        most: How many bytes are kept at most.
    """
    fields, news = old.fields(), new.fields()
    tag = fields.get("ETag", "")
    # RFC 9110 15.3.7.3: they belong together where they share a strong validator.
    if not is_strong(tag) or news.get("ETag") != tag:
        return None
    there = Part(0, len(old.body) - 1, len(old.body)) if old.status == 200 else part_of(fields)
    came = part_of(news)
    if (
        there is None
        or came is None
        or not (_is_exact(there, old.body) and _is_exact(came, new.body))
    ):
        return None
    total = there.total if came.total is None else came.total
    if there.total not in {None, total}:
        return None
    if came.first > there.last + 1 or there.first > came.last + 1:
        return None  # a gap between them
    first, last = min(there.first, came.first), max(there.last, came.last)
    if last - first + 1 > most:
        return None
    body = _joined(there, old.body, came, new.body)
    if body is None:
        return None
    whole = new._replace(headers=_without_range(headers), body=body, variant=old.variant)
    if first == 0 and total is not None and last == total - 1:
        return whole._replace(status=200, reason="OK")
    return _as_part(whole, body, Part(first, last, total))


def _is_exact(part: Part, body: bytes) -> bool:
    return len(body) == part.last - part.first + 1


def _joined(there: Part, old: bytes, came: Part, new: bytes) -> bytes | None:
    """The bytes of two parts that touch; None where they say different things of the same bytes."""
    if there.first > came.first:
        there, old, came, new = came, new, there, old
    start = came.first - there.first
    shared = min(len(old) - start, len(new))
    if old[start : start + shared] != new[:shared]:
        return None
    return old + new[shared:]
