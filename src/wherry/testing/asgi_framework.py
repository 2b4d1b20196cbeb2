"""The little of ASGI that the embedded application needs: a request, an answer, and a table of
routes.

It knows nothing of what the endpoints do, and nothing of the server that runs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Fields = list[tuple[str, str]]

# What one request may bring: the server is for tests, and keeps bodies in memory.
MAX_BODY = 256 * 1024 * 1024
_SEGMENT = re.compile(r"\{(\w+)(?::(int))?\}")


class Request:
    """A request as an endpoint sees it."""

    __slots__ = ("_receive", "body", "fields", "method", "path", "query", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope: Scope = scope
        self._receive = receive
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.query: list[tuple[str, str]] = parse_qsl(
            scope["query_string"].decode("latin-1"), keep_blank_values=True
        )
        self.fields: Fields = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        self.body: bytes = b""

    async def read(self) -> bytes:
        """Read the whole body.

        Raises:
            OverflowError: It is larger than `MAX_BODY`.
        """
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                break
            part = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY:
                raise OverflowError("the body is too large for this server")
            parts.append(part)
            more = message.get("more_body", False)
        self.body = b"".join(parts)
        return self.body

    def field(self, name: str, default: str = "") -> str:
        """The first value of a header field."""
        return next((value for known, value in self.fields if known == name), default)

    def argument(self, name: str, default: str = "") -> str:
        """The first value of a name in the query."""
        return next((value for known, value in self.query if known == name), default)

    def number(self, name: str, default: float) -> float:
        """The same as a number.

        Raises:
            ValueError: It is none.
        """
        return float(self.argument(name) or default)

    @property
    def url(self) -> str:
        query = self.scope["query_string"].decode("latin-1")
        host = self.field("host", "localhost")
        return f"{self.scope['scheme']}://{host}{self.path}" + (f"?{query}" if query else "")


class Answer:
    """A status, header fields, and a body in one piece or in many.

    Args:
        body: Bytes, sent with their length; or an iterator, sent as it comes.
        status: The status.
        fields: Header fields.
    """

    __slots__ = ("body", "fields", "status")

    def __init__(
        self,
        body: bytes | AsyncIterator[bytes] = b"",
        status: int = 200,
        fields: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.body: bytes | AsyncIterator[bytes] = body
        self.status: int = status
        self.fields: list[tuple[str, str]] = list(fields)

    async def send(self, send: Send, *, without_body: bool) -> None:
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.fields
        ]
        body = self.body
        # RFC 9110 8.6: neither 1xx nor 204 has a Content-Length; 304's would be that of the 200 it
        # stands for.
        if isinstance(body, bytes) and self.status not in (204, 304):
            fields.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        if isinstance(body, bytes):
            await send({"type": "http.response.body", "body": b"" if without_body else body})
            return
        if not without_body:
            async for part in body:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def json_answer(value: Any, status: int = 200, fields: Iterable[tuple[str, str]] = ()) -> Answer:
    body = json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
    return Answer(body, status, [("content-type", "application/json"), *fields])


def problem(status: int, detail: str) -> Answer:
    """An error, told as text."""
    return Answer(f"{detail}\n".encode(), status, [("content-type", "text/plain; charset=utf-8")])


Endpoint = Callable[..., Awaitable[Answer]]


class Routes:
    """Paths and their endpoints; ``{name}`` is a segment, ``{name:int}`` a number."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, re.Pattern[str], frozenset[str], Endpoint]] = []

    def add(self, path: str, endpoint: Endpoint, methods: str = "GET HEAD") -> None:
        pattern = _SEGMENT.sub(
            lambda found: f"(?P<{found[1]}>{r'[0-9]{1,12}' if found[2] else '[^/]+'})", path
        )
        self._rows.append((path, re.compile(pattern), frozenset(methods.split()), endpoint))

    @property
    def paths(self) -> list[str]:
        return [path for path, *_ in self._rows]

    async def answer(self, request: Request) -> Answer:
        """Find the endpoint and let it answer; mistakes of the client become 4xx."""
        allowed: set[str] = set()
        for _, pattern, methods, endpoint in self._rows:
            found = pattern.fullmatch(request.path)
            if found is None:
                continue
            if request.method not in methods:
                allowed |= methods
                continue
            try:
                await request.read()
                return await endpoint(request, **found.groupdict())
            except OverflowError as exc:
                return problem(413, str(exc))
            except ValueError as exc:
                return problem(400, str(exc))
        if allowed:
            refusal = problem(405, f"{request.method} is not for {request.path}")
            refusal.fields.append(("allow", ", ".join(sorted(allowed))))
            return refusal
        return problem(404, f"nothing is at {request.path}")
