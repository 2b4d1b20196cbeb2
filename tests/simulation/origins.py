"""Origins of the simulation: what they answer is a function of what they are asked, whatever carries
it, and they count what they executed.

A path is ``/NUMBER/SIZE/KIND``: the answer's body is `body_of` of the number and the size; the kind
says how it is framed, or which fault the peer has with it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from yarl import URL

from .tokens import Secrets

#: Faults of a peer, and those that only one behind TLS can have.
FAULTS = ("cut", "reset", "late", "silent", "early", "garbage", "gzipcut", "gzipshort")
TLS_FAULTS = ("untidy", "halfrecord")
KINDS = (
    *("length", "chunked", "close", "unavailable", "empty", "gzip", "gzipclose", "cookie"),
    *("fresh", "stale", "mine", "digest"),
)
REDIRECTS = ("redirect302", "redirect303", "redirect307")
#: What is added to a request's number where a redirect leads.
FURTHER = 500_000
#: How many events a stream has.
EVENT_COUNT = 12
#: How many pages a list has.
LIST_PAGES = 3
#: Bytes of a body that a reader leaves where it is, and how many of them may come all the same.
HUGE, MOST_AHEAD = 8 * 2**20, 4 * 2**20
#: A file is another one after so many seconds.
FILE_LIFE = 40.0


@lru_cache(maxsize=64)
def body_of(number: int | str, size: int) -> bytes:
    """The body of an answer: no two numbers have the same."""
    block = hashlib.sha256(str(number).encode()).digest()
    return (block * (size // len(block) + 1))[:size]


@lru_cache(maxsize=64)
def _zipped(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def event_of(number: int, count: int) -> str:
    """The data of an event."""
    return f"{number} {count} {hashlib.sha256(f'{number} {count}'.encode()).hexdigest()}"


def json_of(number: int, size: int) -> dict[str, Any]:
    """What an API says."""
    return {"number": number, "text": body_of(number, size).hex()}


class Ledger:
    """What the peers have done.

    Attributes:
        requests: How often each request was executed, by its number.
        bodies: The digest of the body that came with each.
        seen: What happened how often, for the count of states.
    """

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        self.bodies: dict[int, str] = {}
        self.seen: Counter[str] = Counter()


@dataclass
class Asked:
    """A request, as any protocol brings it.

    Attributes:
        method: Its method.
        number: Its number.
        size: How large the answer's body is.
        kind: Of which kind the answer is.
        to: Where a redirect leads.
        host: Whom it is for.
        fields: Its fields, with lower-case names.
    """

    method: str
    target: str
    number: int
    size: int
    kind: str
    to: str
    host: str
    fields: dict[str, str]


def asked(method: str, target: str, fields: dict[str, str]) -> Asked:
    """What a request line and its fields mean; the target may be a URL, as proxies get it."""
    url = URL(target)
    number, size, kind = url.path.strip("/").split("/")[:3]
    to = url.query.get("to", "")
    host = url.host or fields.get("host", "")
    return Asked(method, target, int(number), int(size), kind, to, host, fields)


@dataclass
class Answer:
    """An answer: `content` is None where there can be none."""

    status: int
    fields: list[tuple[str, str]]
    content: bytes | None


class Origin:
    """One origin: scheme, host and port.

    Args:
        name: "https host" or "http host", as secrets name it.
        dice: Draws when it closes, and how it cuts.
        ledger: Takes note of requests.
        secrets: Makes cookies.
        time: The loop's clock.
    """

    def __init__(
        self,
        name: str,
        dice: random.Random,
        ledger: Ledger,
        secrets: Secrets,
        time: Callable[[], float],
    ) -> None:
        self.name = name
        self.dice = dice
        self.ledger = ledger
        self.secrets = secrets
        self.time = time
        self.more_fields: list[tuple[str, str]] = []  # of every answer
        self.token_owners: list[str] = []  # who may see the access tokens that are given here

    def execute(self, request: Asked, body: bytes) -> Answer:
        """Do what is asked; the answer's body is whole here, whatever the fault."""
        self.ledger.requests[request.number] += 1
        self.ledger.bodies[request.number] = hashlib.sha256(body).hexdigest()
        self.ledger.seen[f"executed {request.kind}"] += 1
        answer = self._answer(request)
        answer.fields += self.more_fields
        return answer

    def look_at(self, fields: dict[str, str]) -> None:
        """Search decoded fields for what belongs to others."""
        for value in fields.values():
            if "tokenm" in value or "dG9rZW5tYXJr" in value:
                self.secrets.look(self.name, value.encode())

    def _answer(self, request: Asked) -> Answer:
        kind, number = request.kind, request.number
        content = body_of(number, request.size)
        if kind.startswith("redirect"):
            return Answer(int(kind[8:]), [("location", request.to)], b"")
        special = {
            "digest": self._digest,
            "file": self._file,
            "events": self._events,
            "pages": self._list,
            "json": self._json,
            "problem": self._problem,
            "huge": self._huge,
            "gzipshort": self._cut_coding,
        }
        if kind in special:
            return special[kind](request)
        match kind:
            case "empty":
                return Answer(204, [], None)
            case "unavailable":
                return Answer(503, [("retry-after", "1")], content)
            case "gzip" | "gzipclose" | "gzipcut":
                return Answer(200, [("content-encoding", "gzip")], _zipped(content))
            case "cookie":
                return Answer(200, [("set-cookie", self._cookie())], content)
            case "fresh":
                return Answer(200, [("cache-control", "max-age=30")], content)
            case "stale":
                return self._validated(request, content)
            case "mine":
                who = request.fields.get("authorization", "")
                fields = [("cache-control", "max-age=30")]
                return Answer(200, fields, body_of(f"{number} {who}", request.size))
            case "token":
                return self._token()
        return Answer(200, [], content)

    def _cookie(self) -> str:
        scheme, _, host = self.name.partition(" ")
        number = self.dice.randrange(4)
        secure = scheme == "https" and self.dice.random() < 0.5
        schemes = ("https",) if secure else ("https", "http")
        owners = [f"{scheme} {host}" for scheme in schemes]
        domain = ""
        if self.dice.random() < 0.3:
            domain = f"; Domain={host.partition('.')[2]}"
            near = [f"h{n}.{host.partition('.')[2]}" for n in range(3)]
            owners = [f"{scheme} {each}" for scheme in schemes for each in near]
        token = self.secrets.token(f"cookie {number} of {self.name}", with_wire(owners))
        return f"c{number}={token}; Path=/{domain}{'; Secure' if secure else ''}"

    def _validated(self, request: Asked, content: bytes) -> Answer:
        tag = f'"{request.number}"'
        fields = [("cache-control", "no-cache"), ("etag", tag)]
        if request.fields.get("if-none-match") == tag:
            return Answer(304, fields, None)
        return Answer(200, fields, content)

    def _token(self) -> Answer:
        token = self.secrets.token("an access token", self.token_owners)
        said = f'{{"access_token": "{token}", "token_type": "Bearer", "expires_in": 20}}'
        return Answer(200, [("content-type", "application/json")], said.encode())

    def _digest(self, request: Asked) -> Answer:
        said = request.fields.get("authorization", "")
        if said.startswith("Digest "):
            self.ledger.seen["digest answered"] += 1
            return Answer(200, [], body_of(request.number, request.size))
        challenge = f'Digest realm="r", nonce="n{request.number}", qop="auth", algorithm=SHA-256'
        return Answer(401, [("www-authenticate", challenge)], b"")

    def _json(self, request: Asked) -> Answer:
        said = json.dumps(json_of(request.number, request.size)).encode()
        return Answer(200, [("content-type", "application/json")], said)

    def _problem(self, request: Asked) -> Answer:
        return Answer(422, [("content-type", "application/problem+json")], b'{"title": "no"}')

    def _huge(self, request: Asked) -> Answer:
        return Answer(200, [], body_of("huge", HUGE))

    def _cut_coding(self, request: Asked) -> Answer:
        """Whole by its framing, and not by its coding."""
        zipped = _zipped(body_of(request.number, request.size))
        short = zipped[: self.dice.randrange(1, len(zipped))]
        return Answer(200, [("content-encoding", "gzip")], short)

    def _list(self, request: Asked) -> Answer:
        """A page of a list, and the cursor of the next."""
        page = int(URL(request.target).query.get("cursor", "0"))
        following = page + 1 if page + 1 < LIST_PAGES else None
        said = {"items": [f"{request.number} {page}"], "next": following}
        return Answer(200, [("content-type", "application/json")], json.dumps(said).encode())

    def _events(self, request: Asked) -> Answer:
        """What follows the last event that the client has, or some of that; 204 after the last."""
        last = int(request.fields.get("last-event-id") or 0)
        if last >= EVENT_COUNT:
            return Answer(204, [], None)
        text = "".join(
            f"id: {number}\ndata: {event_of(request.number, number)}\n\n"
            for number in range(last + 1, EVENT_COUNT + 1)
        )
        cut = self.dice.randrange(len(text)) if self.dice.random() < 0.5 else len(text)
        return Answer(200, [("content-type", "text/event-stream")], text[:cut].encode())

    def _file(self, request: Asked) -> Answer:
        version = int(self.time() / FILE_LIFE)
        content = body_of(f"file {request.number} {version}", request.size)
        tag = f'"{request.number}-{version}"'
        fields = [("etag", tag), ("accept-ranges", "bytes")]
        wanted = request.fields.get("range", "")
        if wanted.startswith("bytes=") and request.fields.get("if-range", tag) == tag:
            begin, _, end = wanted[6:].partition("-")
            first = int(begin)
            if first >= len(content):
                fields.append(("content-range", f"bytes */{len(content)}"))
                return Answer(416, fields, b"")
            last = min(int(end), len(content) - 1) if end else len(content) - 1
            self.ledger.seen["file resumed"] += 1
            fields.append(("content-range", f"bytes {first}-{last}/{len(content)}"))
            return Answer(206, fields, content[first : last + 1])
        return Answer(200, fields, content)


def with_wire(owners: list[str]) -> list[str]:
    """Whoever may have a secret in the clear shows it to the proxies on the way there."""
    return [*owners, "a proxy in the clear"] if any(map(_in_clear, owners)) else owners


def _in_clear(owner: str) -> bool:
    return owner.startswith("http ")


def fields_of(pairs: Any) -> dict[str, str]:
    """Fields as a table, from pairs of bytes or text; several of one name are joined."""
    table: dict[str, str] = {}
    for name, value in pairs:
        key = name.decode("latin-1") if isinstance(name, bytes) else name
        said = value.decode("latin-1") if isinstance(value, bytes) else value
        key = key.lower()
        table[key] = f"{table[key]}, {said}" if key in table else said
    return table
