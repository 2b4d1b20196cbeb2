"""What a download does next: from what is on the disk, what was asked and what came.

Pure: it opens no file and sends nothing.  A download is a loop of three steps: `ask` says what to
request, `decide` looks at the head that came, `judge` at what there is when the body has ended.

The problem is that a part, a validator and an answer may each belong to another file: the server's
file changes, caches and proxies answer for it, some servers overlook If-Range, some send a slice
with status 200.  A mistake is a wrong file under the right name, and nobody is told.  The rule:
bytes are put behind others only if both were named by one strong validator, at one place, in one
coding and with one length.  Whatever else comes makes the download begin again by a request without
a range; that request takes a whole file or fails, so a download cannot go round in a circle.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from wherry.protocol.content_range import ContentRange
from wherry.protocol.grammar import http_date

__all__ = (
    "MOVES",
    "Answer",
    "Asked",
    "Came",
    "ContentRange",
    "Held",
    "Move",
    "Request",
    "Step",
    "There",
    "ask",
    "asked",
    "classify",
    "decide",
    "judge",
    "same_length",
    "strong_validator",
    "there",
)


class There(enum.Enum):
    """What is on the disk."""

    NOTHING = "nothing"  # or nothing that can be gone on with
    PART = "part"
    FINISHED = "finished"


class Asked(enum.Enum):
    """What was requested."""

    WHOLE = "whole"
    RANGE = "range"
    CHANGES = "changes"  # the file, if it is another than the one we have (RFC 9110 13.1.2)


class Came(enum.Enum):
    """What the answer is, beside what is on the disk."""

    WHOLE = "whole"  # 200: all of the file
    SAME = "same"  # 200: all of the file that is finished here already
    MISLABELLED = "mislabelled"  # 200 with the Content-Range of a slice
    NEXT = "next"  # 206: goes on exactly where we are
    EARLIER = "earlier"  # 206: begins before, and goes on behind
    FOREIGN = "foreign"  # 206: another file's, or nowhere near
    ALL_THERE = "all there"  # 416: the part is as long as the file
    OUT_OF_RANGE = "out of range"  # 416: it is not
    UNCHANGED = "unchanged"  # 304
    FAILURE = "failure"  # no file: an error, a redirect that is not followed, "accepted", ...


class Step(enum.Enum):
    """What to do with the answer."""

    APPEND = "append"  # put the body behind what is there
    CUT_BACK = "cut back"  # shorten the part to where the body begins, and append
    BEGIN_AGAIN = "begin again"  # empty the part, and take this body
    ASK_AGAIN = "ask again"  # empty the part, and request the whole file
    DONE = "done"  # what is there is the file
    ERROR = "error"


# The table.  A row for each answer, and in it a step for each situation that there can be.
_SITUATIONS: Final = (
    (There.NOTHING, Asked.WHOLE),
    (There.NOTHING, Asked.RANGE),  # the first slice of a download over several connections
    (There.PART, Asked.RANGE),
    (There.FINISHED, Asked.CHANGES),
)
_S: Final = Step
_ROWS: Final[dict[Came, tuple[Step, Step, Step, Step]]] = {
    #                   nothing/whole   nothing/range   part/range      finished/changes
    Came.WHOLE:        (_S.BEGIN_AGAIN, _S.BEGIN_AGAIN, _S.BEGIN_AGAIN, _S.BEGIN_AGAIN),
    Came.SAME:         (_S.BEGIN_AGAIN, _S.BEGIN_AGAIN, _S.BEGIN_AGAIN, _S.DONE),
    # A slice that calls itself whole would become the file.
    Came.MISLABELLED:  (_S.ERROR,       _S.ASK_AGAIN,   _S.ASK_AGAIN,   _S.ASK_AGAIN),
    # A range that nobody asked for is not the file (RFC 9110 15.3.7).
    Came.NEXT:         (_S.ERROR,       _S.APPEND,      _S.APPEND,      _S.ASK_AGAIN),
    # There are servers that send from the beginning of a block.
    Came.EARLIER:      (_S.ERROR,       _S.ASK_AGAIN,   _S.CUT_BACK,    _S.ASK_AGAIN),
    Came.FOREIGN:      (_S.ERROR,       _S.ASK_AGAIN,   _S.ASK_AGAIN,   _S.ASK_AGAIN),
    # With If-Range a 416 is about the file that we have a part of (RFC 9110 13.1.5, 15.5.17).
    Came.ALL_THERE:    (_S.ERROR,       _S.ASK_AGAIN,   _S.DONE,        _S.ASK_AGAIN),
    Came.OUT_OF_RANGE: (_S.ERROR,       _S.ASK_AGAIN,   _S.ASK_AGAIN,   _S.ASK_AGAIN),
    Came.UNCHANGED:    (_S.ERROR,       _S.ASK_AGAIN,   _S.ASK_AGAIN,   _S.DONE),
    # What is there stays for the next time.
    Came.FAILURE:      (_S.ERROR,       _S.ERROR,       _S.ERROR,       _S.ERROR),
}  # fmt: skip
MOVES: Final[dict[tuple[There, Asked, Came], Step]] = {
    (*situation, came): step
    for came, steps in _ROWS.items()
    for situation, step in zip(_SITUATIONS, steps, strict=True)
}


class Held(NamedTuple):
    """What is on the disk, and what it was trusted under.

    `total` is the length that was told, `place` names the URL that it came from in the end.
    """

    size: int = 0
    total: int | None = None
    validator: str | None = None
    coding: str = ""
    place: str = ""
    finished: bool = False


class Request(NamedTuple):
    """What is asked: from `first` to `last`, all where `first` is None."""

    first: int | None = None
    last: int | None = None
    validator: str | None = None
    changes: bool = False

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The header fields that say so."""
        if self.changes and self.validator is not None:
            # RFC 9110 13.1.2, 13.1.3: a date goes by If-Modified-Since.
            name = "If-None-Match" if self.validator.startswith('"') else "If-Modified-Since"
            return [(name, self.validator)]
        if self.first is None:
            return []
        last = "" if self.last is None else self.last
        fields = [("Range", f"bytes={self.first}-{last}")]
        if self.validator is not None:
            fields.append(("If-Range", self.validator))
        return fields


class Answer(NamedTuple):
    """What the head of a response says that matters here.

    `length` is the body's, before any coding is undone.
    """

    status: int
    range: ContentRange | None = None
    etag: str | None = None
    modified: str | None = None
    date: str | None = None
    coding: str | None = None
    place: str = ""
    length: int | None = None
    ranges: bool = False

    @classmethod
    def of(
        cls, status: int, headers: Mapping[str, str], place: str = "", length: int | None = None
    ) -> Answer:
        """What `headers` (of names in any case) say."""
        return cls(
            status,
            ContentRange.parse(headers.get("Content-Range")),
            headers.get("ETag"),
            headers.get("Last-Modified"),
            headers.get("Date"),
            coding_of(headers.get("Content-Encoding")),
            place,
            length,
            headers.get("Accept-Ranges", "").strip().lower() == "bytes",
        )

    @property
    def validator(self) -> str | None:
        """What may stand in If-Range for what came."""
        return strong_validator(self.etag, self.modified, self.date)


class Move(NamedTuple):
    """What to do: `at` is where the body belongs, `end` where it must not go beyond."""

    step: Step
    at: int = 0
    end: int | None = None
    total: int | None = None


def coding_of(value: str | None) -> str | None:
    """A Content-Encoding as it is compared; None where the field is not there."""
    if value is None:
        return None
    names = [name.strip().lower() for name in value.split(",")]
    return ",".join(name for name in names if name not in {"", "identity"})


def strong_validator(etag: str | None, modified: str | None, date: str | None) -> str | None:
    """What If-Range may say (RFC 9110 13.1.5): a strong entity tag, or a strong date and no tag.

    A date is strong if the response was made a second after it or later (RFC 9110 8.8.2.2): within
    the second the file could change again and keep its date.
    """
    if etag is not None:
        etag = etag.strip()
        return etag if _STRONG_TAG(etag) else None
    if modified is None or date is None:
        return None
    changed, made = http_date(modified), http_date(date)
    if changed is None or made is None or made - changed < 1:
        return None
    return modified.strip()


# RFC 9110 8.8.3.
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\U0010ffff]*"').fullmatch


def there(held: Held) -> There:
    """What there is to go on with."""
    if held.finished:
        return There.FINISHED if held.validator is not None else There.NOTHING
    return There.PART if held.size and held.validator is not None else There.NOTHING


def asked(request: Request) -> Asked:
    """What kind of request it is."""
    if request.changes:
        return Asked.CHANGES
    return Asked.WHOLE if request.first is None else Asked.RANGE


def ask(held: Held, slice_size: int | None = None) -> Request:
    """What to request.

    Args:
        held: What is on the disk.
        slice_size: Ask for so many bytes only, for others will ask for the rest.
    """
    situation = there(held)
    if situation is There.FINISHED:
        return Request(validator=held.validator, changes=True)
    if situation is There.PART:
        last = None if slice_size is None else held.size + slice_size - 1
        return Request(held.size, last, held.validator)
    return Request() if slice_size is None else Request(0, slice_size - 1)


def decide(held: Held, request: Request, answer: Answer) -> Move:
    """What to do with an answer."""
    came = classify(held, request, answer)
    step = MOVES[there(held), asked(request), came]
    if step is Step.BEGIN_AGAIN:
        return Move(step, total=answer.length, end=answer.length)
    if step in {Step.APPEND, Step.CUT_BACK} and answer.range is not None:
        first, last, total = answer.range
        assert first is not None
        assert last is not None
        end = last + 1 if request.last is None else min(last, request.last) + 1
        return Move(step, first, end, total if total is not None else held.total)
    return Move(step, held.size)


def classify(held: Held, request: Request, answer: Answer) -> Came:
    """Which row of the table an answer belongs to."""
    match answer.status:
        # RFC 9110 15.3.4: 203 is a 200 that a proxy has changed.
        case 200 | 203:
            return _classify_whole(held, answer)
        case 206:
            return _classify_range(held, request, answer)
        case 304:
            # A redirect may lead elsewhere today, and equal tags of two URLs say nothing.
            return Came.UNCHANGED if answer.place == held.place else Came.FOREIGN
        case 416:
            return _classify_beyond(held, answer)
    return Came.FAILURE


def _classify_whole(held: Held, answer: Answer) -> Came:
    found = answer.range
    if found is not None and (
        found.first != 0 or found.last is None or found.last + 1 != found.total
    ):
        return Came.MISLABELLED
    same = held.finished and _is_same(held, answer) and answer.validator == held.validator
    return Came.SAME if same else Came.WHOLE


def _classify_range(held: Held, request: Request, answer: Answer) -> Came:
    found = answer.range
    if found is None or found.first is None or found.last is None or request.first is None:
        return Came.FOREIGN
    if not _is_same(held, answer) or found.first > request.first:
        return Came.FOREIGN
    if answer.length is not None and answer.length > found.last - found.first + 1:
        return Came.FOREIGN
    if request.validator is None and not (answer.validator or found.last + 1 == found.total):
        return Came.FOREIGN  # nothing would tie what comes next to this
    if found.first == request.first:
        return Came.NEXT
    # What brings nothing new would cost what is there, each time.
    return Came.EARLIER if found.last >= request.first else Came.FOREIGN


def _classify_beyond(held: Held, answer: Answer) -> Came:
    found = answer.range
    total = held.total if found is None else found.total
    whole = total == held.size and held.total in {None, total} and answer.place == held.place
    return Came.ALL_THERE if whole else Came.OUT_OF_RANGE


def _is_same(held: Held, answer: Answer) -> bool:
    """Whether the answer can be of the file that is here; an empty `held` is at one with all."""
    if held.place and answer.place != held.place:
        return False
    if held.validator is None:
        return True
    if held.validator.startswith('"'):
        # RFC 9110 15.3.7: a 206 has the ETag that the 200 would have had.
        tied = answer.etag is not None and answer.etag.strip() == held.validator
    else:
        # It need not have Last-Modified again; a tag is one that the file had not.
        tied = answer.etag is None and answer.modified in {None, held.validator}
    told = answer.range.total if answer.range is not None else answer.length
    return (
        tied
        and answer.coding in {None, held.coding}
        and (told is None or held.total is None or told == held.total)
    )


def same_length(held: Held, answer: Answer) -> bool:
    """Whether an answer is of a file as long as the finished one, and neither has a validator.

    It may be another file all the same: only who asked for it takes that for an answer.
    """
    told = answer.length if answer.range is None else answer.range.total
    return (
        held.finished
        and held.validator is None
        and answer.validator is None
        and answer.status in {200, 203, 206}
        and answer.place == held.place
        and (answer.coding or "") == held.coding
        and told is not None
        and told == held.total
    )


def judge(held: Held, before: int) -> Step:
    """What to do when a body has ended as its framing says.

    Args:
        held: What is on the disk now.
        before: How much it was when the request was made.

    Returns:
        DONE, APPEND (request what is missing), or ERROR: nothing came, or too much.
    """
    if held.total is not None and held.size >= held.total:
        return Step.DONE if held.size == held.total else Step.ERROR
    return Step.APPEND if held.size > before else Step.ERROR
