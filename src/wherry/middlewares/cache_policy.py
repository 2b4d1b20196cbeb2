"""RFC 9111 for a private cache, as pure functions: what may be kept, how fresh it is, and what is
to be asked.

Times are seconds since the epoch and come in as arguments.  No clock, no storage and no request
object is known here.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping
from yarl import URL

from wherry.client.origin import origin_of, url_of
from wherry.protocol.grammar import decimal, elements, match_token, read_string
from wherry.protocol.grammar import http_date as date
from wherry.types import RawHeaders

Headers = MultiMapping[str]

# RFC 9110 15.1, of what a GET is answered with: kept without being told so, given a validator.
_CACHEABLE = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# RFC 9111 3.1, and what belongs to one exchange or is nobody else's business.
_NOT_KEPT = frozenset(
    {
        "age",
        "connection",
        "content-encoding",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# A request that asks its own condition, or for a part, is not for a cache to answer.
_CONDITIONS = (
    "If-None-Match",
    "If-Modified-Since",
    "If-Match",
    "If-Unmodified-Since",
    "If-Range",
    "Range",
)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# Real servers leave quotes out where a token would not do.
_BARE = re.compile(r"[^\s,;]*+")
# RFC 9111 1.2.2: larger numbers count as this one.
_FOREVER = 2**31
# The Age field that a response came with is kept under this name: the one it is served with is
# another.
AGE_AT_ARRIVAL = "X-Wherry-Age"
_HEURISTIC_PART = 0.1
_HEURISTIC_MOST = 7 * 24 * 3600.0


class Verdict(enum.Enum):
    """What to do with a stored response."""

    FRESH = "serve it"
    STALE_WHILE_REVALIDATE = "serve it, and ask behind its back"
    VALIDATE = "ask before serving it"


class StoredResponse(NamedTuple):
    """A response that is kept.

    Args:
        status: The status code.
        reason: The reason phrase.
        headers: The fields, without those that belong to one exchange.
        body: The content, its codings undone.
        asked_at: When the request was sent.
        came_at: When the response arrived.
        variant: What of the request selected it: lower-case names of fields, and hashes of their
            values.
    """

    status: int
    reason: str
    headers: RawHeaders
    body: bytes
    asked_at: float
    came_at: float
    variant: tuple[tuple[str, str], ...] = ()

    def fields(self) -> CIMultiDictProxy[str]:
        """The header fields by name."""
        return CIMultiDictProxy(
            CIMultiDict([(name.decode("latin-1"), _text(value)) for name, value in self.headers])
        )

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return (
            len(self.body) + sum(len(name) + len(value) + 64 for name, value in self.headers) + 512
        )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def directives(headers: Headers) -> dict[str, str | None]:
    """The directives of Cache-Control by lower-case name; of two of one name the first counts (RFC
    9111 4.2.1).
    """
    found: dict[str, str | None] = {}
    values = headers.getall("Cache-Control", [])
    for value in values:
        for name, argument in _directives_in(value):
            found.setdefault(name.lower(), argument)
    if not values and "no-cache" in headers.get("Pragma", "").lower():
        found["no-cache"] = None
    return found


def _directives_in(value: str) -> Iterator[tuple[str, str | None]]:
    """The directives of one line, leniently: semicolons part them too, and what is no directive is
    passed over.
    """
    for element in elements([value]):
        at = 0
        while at < len(element):
            name = match_token(element, at)
            if name is None:
                at += 1
                continue
            at = name.end()
            argument = None
            if element.startswith("=", at):
                string = read_string(element, at + 1)
                bare = _BARE.match(element, at + 1) if string is None else None
                argument, at = string or (bare[0] if bare else "", bare.end() if bare else at + 1)
            yield name[0], argument


def seconds(value: str | None) -> float | None:
    """A delta-seconds argument (RFC 9111 1.2.2), None where it is none."""
    found = decimal(value, _FOREVER)
    return None if found is None else float(found)


def is_for_cache(method: str, headers: Headers) -> bool:
    """Whether a cache may answer a request at all."""
    return (
        method == "GET"
        and not any(name in headers for name in _CONDITIONS)
        and "no-store" not in directives(headers)
        and "Upgrade" not in headers
    )


def variant_of(headers: Headers, response_headers: Headers) -> tuple[tuple[str, str], ...] | None:
    """What of a request selects a response (RFC 9111 4.1); None where nothing can (``Vary: *``).

    Authorization always counts, so that a session that speaks for many never mixes them.  Values
    are kept as hashes: no secret gets into a storage.
    """
    names = {
        name.strip().lower()
        for value in response_headers.getall("Vary", [])
        for name in value.split(",")
    }
    if "*" in names:
        return None
    names.discard("")
    if "Authorization" in headers:
        names.add("authorization")
    return tuple((name, _fingerprint(headers, name)) for name in sorted(names))


def _fingerprint(headers: Headers, name: str) -> str:
    values = [part.strip() for value in headers.getall(name, []) for part in value.split(",")]
    return (
        hashlib.sha256("\n".join(values).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        if values
        else ""
    )


def select(stored: Iterable[StoredResponse], headers: Headers) -> StoredResponse | None:
    """The stored response for a request with these fields; of several the newest (RFC 9111 4.1)."""
    private = "Authorization" in headers
    fitting = [
        each
        for each in stored
        if all(_fingerprint(headers, name) == value for name, value in each.variant)
        and private == any(name == "authorization" for name, _ in each.variant)
    ]
    return max(fitting, key=lambda each: each.came_at, default=None)


def lifetime(stored: StoredResponse, fields: Headers, *, heuristic: bool) -> float:
    """For how many seconds a response is fresh (RFC 9111 4.2.1), by a guess where it does not say
    and one is wanted.
    """
    control = directives(fields)
    if "max-age" in control:
        # An argument that cannot be read makes the response stale.
        return seconds(control["max-age"]) or 0.0
    born = date(fields.get("Date"))
    if born is None:
        born = stored.came_at
    if "Expires" in fields:
        expires = date(fields["Expires"])
        return 0.0 if expires is None else max(0.0, expires - born)
    modified = date(fields.get("Last-Modified"))
    if heuristic and modified is not None and stored.status in _CACHEABLE:
        return min(_HEURISTIC_MOST, max(0.0, (born - modified) * _HEURISTIC_PART))
    return 0.0


def age(stored: StoredResponse, fields: Headers, now: float) -> float:
    """How old a stored response is (RFC 9111 4.2.3), in seconds."""
    born = date(fields.get("Date"))
    apparent = max(0.0, stored.came_at - born) if born is not None else 0.0
    told = seconds(fields.get(AGE_AT_ARRIVAL)) or 0.0
    corrected = told + max(0.0, stored.came_at - stored.asked_at)
    return max(apparent, corrected) + max(0.0, now - stored.came_at)


def may_store(headers: Headers, status: int, response_headers: Headers, *, heuristic: bool) -> bool:
    """Whether the response to a GET with these fields may be kept, and is worth it (RFC 9111 3)."""
    control = directives(response_headers)
    if (
        status < 200
        or status in {206, 304}
        or "no-store" in control
        or "no-store" in directives(headers)
    ):
        return False
    if "must-understand" in control and status not in _CACHEABLE:
        return False
    if response_headers.get("Content-Type", "").lower().startswith("text/event-stream"):
        return False
    if variant_of(headers, response_headers) is None:
        return False
    if "max-age" in control or "Expires" in response_headers:
        return True
    validators = "ETag" in response_headers or "Last-Modified" in response_headers
    return validators and (status in _CACHEABLE or "public" in control or "private" in control)


def may_be_shared(stored: StoredResponse | None, headers: Headers, *, heuristic: bool) -> bool:
    """Whether the answer to another request like this one could serve it (RFC 9111 4, "collapse
    requests").

    Args:
        stored: What is kept and must be validated; None where nothing is.
        headers: The request's fields.
        heuristic: As for the cache.
    """
    asked = directives(headers)
    if "no-cache" in asked or "max-age" in asked or "only-if-cached" in asked:
        return False
    if stored is None:
        return True
    fields = stored.fields()
    return (
        "no-cache" not in directives(fields) and lifetime(stored, fields, heuristic=heuristic) > 0
    )


def kept_headers(raw: RawHeaders) -> RawHeaders:
    """The fields of a response that are kept (RFC 9111 3.1).

    Those that ``no-cache="..."`` names may not be used again without asking (5.2.2.4), so they are
    not.
    """
    named = {
        option.strip().lower()
        for name, value in raw
        if name.lower() == b"connection"
        for option in value.decode("latin-1").split(",")
    }
    control = CIMultiDict(
        [
            ("Cache-Control", value.decode("latin-1"))
            for name, value in raw
            if name.lower() == b"cache-control"
        ]
    )
    named |= {
        option.strip().lower() for option in (directives(control).get("no-cache") or "").split(",")
    }
    kept = []
    for name, value in raw:
        lower = name.decode("latin-1").lower()
        if lower == "age":
            kept.append((AGE_AT_ARRIVAL.encode(), value))
        elif lower not in _NOT_KEPT and lower not in named and lower != AGE_AT_ARRIVAL.lower():
            kept.append((name, value))
    return tuple(kept)


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
    if left <= 0 and "must-revalidate" not in told and "min-fresh" not in asked:
        if "max-stale" in asked:
            # Without an argument any staleness will do (RFC 9111 5.2.1.2).
            limit = _FOREVER if asked["max-stale"] is None else seconds(asked["max-stale"]) or 0.0
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
    news = kept_headers(raw)
    names = {name.lower() for name, _ in news} | {AGE_AT_ARRIVAL.lower().encode()}
    kept = tuple(pair for pair in stored.headers if pair[0].lower() not in names)
    return stored._replace(headers=kept + news, asked_at=asked_at, came_at=came_at)


def served_headers(stored: StoredResponse, old: float, status: str) -> RawHeaders:
    """The fields of a response that comes from the cache: with its Age, and Cache-Status (RFC
    9211).
    """
    marker = AGE_AT_ARRIVAL.lower().encode()
    kept = tuple(pair for pair in stored.headers if pair[0].lower() != marker)
    return (
        *kept,
        (b"Content-Length", b"%d" % len(stored.body)),
        (b"Age", b"%d" % old),
        (b"Cache-Status", f"wherry; {status}".encode()),
    )


def cache_key(url: URL) -> str:
    """Under which name the responses to a GET of `url` are kept (RFC 9111 2)."""
    return str(url.with_fragment(None) if url.raw_fragment else url)


def invalidated(method: str, url: URL, status: int, headers: Mapping[str, str]) -> list[str]:
    """The keys that an exchange makes invalid: those of an unsafe method that succeeded (RFC 9111
    4.4).
    """
    if method in _SAFE or not 200 <= status < 400:
        return []
    keys = [cache_key(url)]
    for name in ("Location", "Content-Location"):
        value = headers.get(name)
        if value is None:
            continue
        try:
            named = url_of(value, url)
            # Nobody invalidates what another origin gave.
            if origin_of(named) == origin_of(url):
                keys.append(cache_key(named))
        except ValueError:
            continue
    return keys
