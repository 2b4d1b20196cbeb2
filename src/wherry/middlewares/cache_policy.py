"""RFC 9111 for a private cache, as pure functions: what may be kept, how fresh it is, and what is
to be asked.

Times are seconds since the epoch and come in as arguments.  No clock, no storage and no request
object is known here.
"""

from __future__ import annotations

import enum

from wherry.body.stream.decoders import decoder_for
from wherry.middlewares.cache_fields import (
    FOREVER,
    Headers,
    StoredResponse,
    date,
    directives,
    fields_of,
    one_date,
    seconds,
)
from wherry.middlewares.cache_key import cache_key, invalidated, select, variant_of
from wherry.middlewares.cache_ranges import is_plain_part
from wherry.types import RawHeaders

__all__ = (
    "AGE_AT_ARRIVAL",
    "OWN_CONDITIONS",
    "StoredResponse",
    "Verdict",
    "age",
    "cache_key",
    "conditions",
    "date",
    "directives",
    "freshened",
    "invalidated",
    "is_about",
    "is_conditional",
    "is_for_cache",
    "is_fresh_by_its_word",
    "is_kept_decoded",
    "is_undone",
    "judge",
    "kept_headers",
    "lifetime",
    "may_be_shared",
    "may_serve_on_error",
    "may_store",
    "seconds",
    "select",
    "served_headers",
    "updated",
    "variant_of",
)

# RFC 9110 15.1, of what a GET is answered with: kept without being told so, given a validator.
_CACHEABLE = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# RFC 9111 3.1, and what belongs to one exchange or is nobody else's business.
_NOT_KEPT = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Conditions that only the origin can judge (RFC 9110 13.1.1, 13.1.4).
_ORIGINS_OWN = ("If-Match", "If-Unmodified-Since")
# Those that whoever keeps a response can judge too (RFC 9111 4.3.2).
OWN_CONDITIONS = ("If-None-Match", "If-Modified-Since")
# What makes an answer the asker's own: nobody waits for it.
_OWN = (*OWN_CONDITIONS, "If-Range", "Range")
# The Age field that a response came with is kept under this name: the one it is served with is
# another.
AGE_AT_ARRIVAL = "X-Wherry-Age"
# The content codings that were undone before the content was kept.
UNDONE_CODINGS = "X-Wherry-Undone"
_MARKERS = frozenset({AGE_AT_ARRIVAL.lower(), UNDONE_CODINGS.lower()})
# What tells of the bytes that are kept, which a 304 or another part does not change (RFC 9111 3.2).
_OF_THE_BYTES = frozenset({b"content-encoding", b"content-range", UNDONE_CODINGS.lower().encode()})
_HEURISTIC_PART = 0.1
_HEURISTIC_MOST = 7 * 24 * 3600.0


class Verdict(enum.Enum):
    """What to do with a stored response."""

    FRESH = "serve it"
    STALE_WHILE_REVALIDATE = "serve it, and ask behind its back"
    VALIDATE = "ask before serving it"


def is_for_cache(method: str, headers: Headers) -> bool:
    """Whether a cache may answer a request at all."""
    return (
        method == "GET"
        and not any(name in headers for name in _ORIGINS_OWN)
        and "no-store" not in directives(headers)
        and "Upgrade" not in headers
    )


def is_conditional(headers: Headers) -> bool:
    """Whether a request brings a condition of its own."""
    return any(name in headers for name in OWN_CONDITIONS)


def lifetime(stored: StoredResponse, fields: Headers, *, heuristic: bool) -> float:
    """For how many seconds a response is fresh (RFC 9111 4.2.1), by a guess where it does not say
    and one is wanted.
    """
    control = directives(fields)
    if "max-age" in control:
        # An argument that cannot be read makes the response stale.
        return seconds(control["max-age"]) or 0.0
    born = one_date(fields, "Date")
    if born is None:
        born = stored.came_at
    if "Expires" in fields:
        # RFC 9111 5.3: one that is invalid, or of several lines, means "expired already".
        expires = one_date(fields, "Expires")
        return 0.0 if expires is None else max(0.0, expires - born)
    modified = one_date(fields, "Last-Modified")
    # RFC 9111 4.2.2: of other statuses only where they are marked as cacheable.
    guessable = stored.status in _CACHEABLE or "public" in control
    if heuristic and modified is not None and guessable:
        return min(_HEURISTIC_MOST, max(0.0, (born - modified) * _HEURISTIC_PART))
    return 0.0


def age(stored: StoredResponse, fields: Headers, now: float) -> float:
    """How old a stored response is (RFC 9111 4.2.3), in seconds."""
    born = one_date(fields, "Date")
    apparent = max(0.0, stored.came_at - born) if born is not None else 0.0
    # RFC 9111 5.1: of a list the first member counts, and what is no number is ignored.
    told = seconds(fields.get(AGE_AT_ARRIVAL, "").partition(",")[0].strip()) or 0.0
    corrected = told + max(0.0, stored.came_at - stored.asked_at)
    return max(apparent, corrected) + max(0.0, now - stored.came_at)


def may_store(headers: Headers, status: int, response_headers: Headers, *, heuristic: bool) -> bool:
    """Whether the response to a GET with these fields may be kept, and is worth it (RFC 9111 3)."""
    control = directives(response_headers)
    if status < 200 or status == 304 or "no-store" in directives(headers):
        return False
    if not _storing_is_allowed(control, status):
        return False
    if status == 206 and not ("Range" in headers and is_plain_part(response_headers)):
        return False
    if response_headers.get("Content-Type", "").lower().startswith("text/event-stream"):
        return False
    if variant_of(headers, response_headers) is None:
        return False
    if is_fresh_by_its_word(response_headers):
        return True
    validators = "ETag" in response_headers or "Last-Modified" in response_headers
    known = status in _CACHEABLE or status == 206
    return validators and (known or "public" in control or "private" in control)


def _storing_is_allowed(control: dict[str, str | None], status: int) -> bool:
    """RFC 9111 5.2.2.3: must-understand lifts no-store, for who understands the status."""
    if "must-understand" in control:
        return status in _CACHEABLE
    return "no-store" not in control


def is_fresh_by_its_word(response_headers: Headers) -> bool:
    """Whether a response says itself how long it is fresh."""
    return "max-age" in directives(response_headers) or "Expires" in response_headers


def may_be_shared(stored: StoredResponse | None, headers: Headers, *, heuristic: bool) -> bool:
    """Whether the answer to another request like this one could serve it (RFC 9111 4, "collapse
    requests").

    Args:
        stored: What is kept and must be validated; None where nothing is.
        headers: The request's fields.
        heuristic: As for the cache.
    """
    asked = directives(headers)
    if asked.keys() & {"no-cache", "max-age", "only-if-cached"} or any(
        name in headers for name in _OWN
    ):
        return False
    if stored is None:
        return True
    fields = stored.fields()
    return (
        "no-cache" not in directives(fields) and lifetime(stored, fields, heuristic=heuristic) > 0
    )


def kept_headers(raw: RawHeaders, *, set_cookie: bool = False) -> RawHeaders:
    """The fields of a response that are kept (RFC 9111 3.1).

    Those that ``no-cache="..."`` names may not be used again without asking (5.2.2.4), so they are
    not.  A Content-Encoding that was undone is kept under a name of our own; one that nobody here
    can undo stays.

    Args:
        raw: The fields.
        set_cookie: Whether Set-Cookie is kept too.
    """
    fields = fields_of(raw)
    control = directives(fields)
    left_out = {
        option.strip().lower()
        for value in (*fields.getall("Connection", []), control.get("no-cache") or "")
        for option in value.split(",")
    }
    left_out |= _NOT_KEPT | _MARKERS
    if not set_cookie:
        left_out.add("set-cookie")
    undone = is_undone(fields)
    kept = []
    for name, value in raw:
        lower = name.decode("latin-1").lower()
        if lower == "age":
            kept.append((AGE_AT_ARRIVAL.encode(), value))
        elif lower == "content-encoding" and undone:
            kept.append((UNDONE_CODINGS.encode(), value))
        elif lower not in left_out:
            kept.append((name, value))
    return tuple(kept)


def is_undone(fields: Headers) -> bool:
    """Whether content with these fields is decoded before a program reads it."""
    codings = ",".join(fields.getall("Content-Encoding", []))
    return decoder_for(codings) is not None


def judge(
    stored: StoredResponse, headers: Headers, now: float, *, heuristic: bool = False
) -> tuple[Verdict, float]:
    """(what to do with a stored response for a request with these fields, its age in seconds) (RFC
    9111 4).
    """
    fields = stored.fields()
    asked, told = directives(headers), directives(fields)
    old = age(stored, fields, now)
    left = lifetime(stored, fields, heuristic=heuristic) - old
    if "no-cache" in asked or ("no-cache" in told and not told["no-cache"]):
        return Verdict.VALIDATE, old
    if "max-age" in asked and old > (seconds(asked["max-age"]) or 0.0):
        return Verdict.VALIDATE, old
    if left > (seconds(asked.get("min-fresh")) or 0.0):
        return Verdict.FRESH, old
    # From here on it is stale, or not fresh for long enough.
    if "must-revalidate" not in told and "min-fresh" not in asked:
        if "max-stale" in asked:
            # Without an argument any staleness will do (RFC 9111 5.2.1.2).
            limit = FOREVER if asked["max-stale"] is None else seconds(asked["max-stale"]) or 0.0
            if -left <= limit:
                return Verdict.FRESH, old
        if -left < (seconds(told.get("stale-while-revalidate")) or 0.0):  # RFC 5861 3
            return Verdict.STALE_WHILE_REVALIDATE, old
    return Verdict.VALIDATE, old


def may_serve_on_error(
    stored: StoredResponse, headers: Headers, now: float, *, heuristic: bool = False
) -> bool:
    """Whether a stale response may be served since the origin cannot be reached (RFC 5861 4)."""
    fields = stored.fields()
    told = directives(fields)
    if "must-revalidate" in told or "no-cache" in told or "no-cache" in directives(headers):
        return False
    stale_for = age(stored, fields, now) - lifetime(stored, fields, heuristic=heuristic)
    windows = (told.get("stale-if-error"), directives(headers).get("stale-if-error"))
    return any(stale_for < (seconds(window) or 0.0) for window in windows)


def conditions(stored: StoredResponse) -> dict[str, str]:
    """The fields that ask whether a stored response is still good (RFC 9111 4.3.1)."""
    fields = stored.fields()
    found = {}
    if "ETag" in fields:
        found["If-None-Match"] = fields["ETag"]
    if "Last-Modified" in fields:
        found["If-Modified-Since"] = fields["Last-Modified"]
    return found


def is_about(stored: StoredResponse, response_headers: Headers) -> bool:
    """Whether a 304 speaks of this stored response (RFC 9111 4.3.4), and not of another variant."""
    told = response_headers.get("ETag")
    return told is None or told.removeprefix("W/") == stored.fields().get("ETag", "").removeprefix(
        "W/"
    )


def freshened(
    stored: StoredResponse, raw: RawHeaders, asked_at: float, came_at: float
) -> StoredResponse:
    """A stored response after a 304 (RFC 9111 3.2): what the 304 says takes the place of what was
    kept.
    """
    return stored._replace(
        headers=updated(stored.headers, kept_headers(raw)), asked_at=asked_at, came_at=came_at
    )


def updated(old: RawHeaders, news: RawHeaders) -> RawHeaders:
    """Kept fields, with those of a newer response in the place of theirs (RFC 9111 3.2, 3.4)."""
    news = tuple(pair for pair in news if pair[0].lower() not in _OF_THE_BYTES)
    names = {name.lower() for name, _ in news} | {AGE_AT_ARRIVAL.lower().encode()}
    return tuple(pair for pair in old if pair[0].lower() not in names) + news


def served_headers(stored: StoredResponse, old: float, status: str) -> RawHeaders:
    """The fields of a response that comes from the cache: with its Age, and Cache-Status (RFC
    9211).
    """
    kept = tuple(
        pair for pair in stored.headers if pair[0].lower().decode("latin-1") not in _MARKERS
    )
    if is_kept_decoded(stored) and "detail=" not in status:
        status = f"{status}; detail=decoded"
    return (
        *kept,
        (b"Content-Length", b"%d" % len(stored.body)),
        (b"Age", b"%d" % old),
        (b"Cache-Status", f"wherry; {status}".encode()),
    )


def is_kept_decoded(stored: StoredResponse) -> bool:
    """Whether content codings were undone before the content was kept."""
    marker = UNDONE_CODINGS.lower().encode()
    return any(name.lower() == marker for name, _ in stored.headers)
