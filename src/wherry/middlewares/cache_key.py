"""By what a kept response is found: its URL, and everything that it was trusted under.

A key is the URL in one form.  What else selects a response is its variant: the fields that the
server varies on, who asked (credentials), and over which way it came (TLS policy, proxies, Host).
Values are kept as hashes, so that no secret gets into a storage.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from yarl import URL

from wherry.client.origin import url_of
from wherry.middlewares.cache_fields import Headers, StoredResponse, directives
from wherry.protocol.grammar import split

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Fields that say who asks, whatever a server calls them: X-Api-Key, X-Auth-Token, X-Session-Id, ...
_CREDENTIAL = re.compile(
    r"auth|api-?key|token|secret|passw|credential|session|jwt|signature"
    r"|(?:^|[-_])(?:key|user|userid|username|account|tenant|login|identity|principal|email|cert"
    r"|customer|consumer|client|org|organization|on-behalf-of|impersonate)(?:$|[-_])"
)
_NO_CREDENTIAL = frozenset({"user-agent", "idempotency-key", "sec-websocket-key"})
# Members of a variant that are no fields: which way a response came, and whose session asked.
_PARTITION = ":way"
_OWNER = ":owner"


class Asker(NamedTuple):
    """Who asks, and over which way, beyond the header fields of a request.

    Args:
        partition: TLS policy, proxies and Host, as a hash; "" where all are as usual.
        session: What stands for the session, where credentials come in further inside than the
            cache sees.
        is_known_inside: Whether they did before: then what was kept without them is another's.
        credentials: Lower-case names of further fields that say who asks.
    """

    partition: str = ""
    session: str = ""
    is_known_inside: bool = False
    credentials: frozenset[str] = frozenset()


NOBODY = Asker()


def cache_key(url: URL) -> str:
    """Under which name the responses to a GET of `url` are kept (RFC 9111 2).

    URLs that RFC 9110 4.2.3 counts as equal have one key: case of scheme and host, a port that the
    scheme implies, an empty path, octets that need not be percent-encoded.
    """
    scheme, host, port = url.scheme.lower(), (url.raw_host or "").lower(), url.explicit_port
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != {"http": 80, "https": 443}.get(scheme):
        host = f"{host}:{port}"
    query = f"?{_normal(url.raw_query_string)}" if url.raw_query_string else ""
    return f"{scheme}://{host}{_normal(url.raw_path) or '/'}{query}"


def _normal(text: str) -> str:
    """Percent-encoding in one form (RFC 3986 6.2.2)."""
    return _ENCODED.sub(_normal_octet, text) if "%" in text else text


def _normal_octet(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def credentials(headers: Headers, more: frozenset[str] = frozenset()) -> frozenset[str]:
    """The lower-case names of a request's fields that say who asks; Cookie is not among them."""
    names = {name.lower() for name in headers}
    return frozenset(
        name
        for name in names
        if name in more or (_CREDENTIAL.search(name) is not None and name not in _NO_CREDENTIAL)
    )


def variant_of(
    headers: Headers, response_headers: Headers, asker: Asker = NOBODY, *, owned: bool = False
) -> tuple[tuple[str, str], ...] | None:
    """What of a request selects a response (RFC 9111 4.1); None where nothing can (``Vary: *``).

    Credentials always count, so that a session that speaks for many never mixes them.  So do
    cookies where the response is private, or does not say how long it may be used: such an answer
    is for whoever asked.

    Args:
        headers: The request's fields, as the cache met them.
        response_headers: The response's.
        asker: Who asked, and over which way.
        owned: Whether credentials were added further inside: then it is for this session alone.
    """
    names = {
        name.strip().lower()
        for value in response_headers.getall("Vary", [])
        for name in value.split(",")
    }
    if "*" in names:
        return None
    names.discard("")
    names |= credentials(headers, asker.credentials)
    if _is_personal(response_headers):
        names.add("cookie")
    variant = [(name, _fingerprint(headers, name)) for name in sorted(names)]
    if asker.partition:
        variant.append((_PARTITION, asker.partition))
    if owned:
        variant.append((_OWNER, asker.session))
    return tuple(variant)


def _is_personal(response_headers: Headers) -> bool:
    control = directives(response_headers)
    if "private" in control:
        return True
    return not (control.keys() & {"public", "max-age", "s-maxage"} or "Expires" in response_headers)


def _fingerprint(headers: Headers, name: str) -> str:
    lines = headers.getall(name, [])
    if not lines:
        return ""
    # Blanks round commas say nothing in a list (RFC 9110 5.6.1), but may tell two secrets apart.
    exact = name == "cookie" or _CREDENTIAL.search(name) is not None
    values = lines if exact else [part.strip() for line in lines for part in split(line, ",")]
    if name == "accept-language":
        # Order and case say nothing, the weights do (RFC 9110 12.5.4).
        values = sorted(f"{language};{weight:g}" for language, weight in languages(headers))
    joined = "\n".join(values).encode("utf-8", "surrogateescape")
    return hashlib.sha256(joined).hexdigest()[:32]


def languages(headers: Headers) -> list[tuple[str, float]]:
    """(language range in lower case, weight) of Accept-Language (RFC 9110 12.5.4)."""
    found = []
    for value in headers.getall("Accept-Language", []):
        for part in value.split(","):
            language, _, rest = part.partition(";")
            name, _, text = rest.partition("=")
            weight = 1.0
            if name.strip().lower() == "q":
                try:
                    weight = min(1.0, max(0.0, float(text)))
                except ValueError:
                    weight = 0.0
            if language.strip():
                found.append((language.strip().lower(), weight))
    return found


def _is_preferred(stored: StoredResponse, headers: Headers) -> bool:
    """Whether a response is in the language that a request likes best: no server could do
    better.
    """
    wanted = languages(headers)
    spoken = stored.fields().get("Content-Language", "").strip().lower()
    best = max((weight for _, weight in wanted), default=0.0)
    return best > 0.0 and any(language == spoken for language, weight in wanted if weight == best)


def select(
    stored: Iterable[StoredResponse], headers: Headers, asker: Asker = NOBODY
) -> StoredResponse | None:
    """The stored response for a request with these fields; of several the newest (RFC 9111 4.1)."""
    needed = credentials(headers, asker.credentials)
    fitting = [each for each in stored if _fits(each, headers, needed, asker)]
    return max(fitting, key=lambda each: each.came_at, default=None)


def _fits(stored: StoredResponse, headers: Headers, needed: frozenset[str], asker: Asker) -> bool:
    variant = dict(stored.variant)
    owner = variant.pop(_OWNER, None if asker.is_known_inside else asker.session)
    if variant.pop(_PARTITION, "") != asker.partition or owner != asker.session:
        return False
    if not needed <= variant.keys():
        return False
    return all(
        _fingerprint(headers, name) == value
        or (name == "accept-language" and _is_preferred(stored, headers))
        for name, value in variant.items()
    )


def invalidated(method: str, url: URL, status: int, headers: Mapping[str, str]) -> list[str]:
    """The keys that an exchange makes invalid: those of an unsafe method that succeeded (RFC 9111
    4.4).
    """
    if method in _SAFE or not 200 <= status < 400:
        return []
    keys = [cache_key(url)]
    for name in ("Location", "Content-Location"):
        named = named_url(url, headers.get(name))
        # Nobody invalidates what another origin gave.
        if named is not None and _origin(named) == _origin(url):
            keys.append(cache_key(named))
    return keys


def named_url(base: URL, value: str | None) -> URL | None:
    """The URL that a peer names in a field, None where it is none."""
    if value is None:
        return None
    try:
        return url_of(value, base)
    except ValueError:
        return None


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme.lower(), (url.raw_host or "").lower(), url.port
