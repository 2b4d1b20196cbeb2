"""`Cassette`: real exchanges are recorded once to a JSON file, and played from it afterwards.

It stands where connections are made, so it sees what goes over the wire, bodies still coded.  Secrets are left out
before anything is kept.  It knows nothing of pytest.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from yarl import URL

from wherry.client.field_rules import SECRET_FIELDS
from wherry.connect import base
from wherry.connect.ask import ConnectAsk
from wherry.connect.route import Route
from wherry.errors import ClientConnectionError
from wherry.protocol.connection import Connection, FlowControl, RequestHead
from wherry.testing.inprocess import InProcessConnection, InProcessExchange

__all__ = ("Cassette", "NotOnTape")

Mode = Literal["once", "none", "all", "new"]
_DIALLING: Any = base
_FORMAT = 1
_FILTERED = "FILTERED"
_MAX_BODY = 64 * 1024 * 1024


class NotOnTape(AssertionError):
    """A request that the cassette has no exchange for."""


class Cassette:
    """Records and plays the exchanges of every session that dials while it is entered.

    Each exchange is played once, in the order of recording among equal ones.

    Args:
        path: The file; its folder is made.
        mode: "once" records if there is no file, else plays; "none" only plays; "new" plays what is there and records
            the rest; "all" records anew.
        filter_headers: Fields to leave out, beside Authorization, Proxy-Authorization, Cookie and Set-Cookie.
        filter_query: Names in the query whose values are left out.
        filter_body: Takes the bytes of a request's or response's body, and gives what is kept of them.
        match_body: Whether requests must have the same body, beside method and URL.

    Raises:
        ValueError: The mode is not known, or the file is no cassette.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "once",
        *,
        filter_headers: Iterable[str] = (),
        filter_query: Iterable[str] = (),
        filter_body: Callable[[bytes], bytes] | None = None,
        match_body: bool = False,
    ) -> None:
        if mode not in ("once", "none", "all", "new"):
            raise ValueError(f"a cassette's mode is once, none, all or new; not {mode!r}")
        self.path = Path(path)
        self.mode = mode
        self._secret_fields = {"set-cookie", *SECRET_FIELDS, *(name.lower() for name in filter_headers)}
        self._secret_names = frozenset(filter_query)
        self._filter_body = filter_body
        self._match_body = match_body
        self._tape: list[dict[str, Any]] = []
        self._played: set[int] = set()
        self._records = True
        self._changed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._before: Any = None
        #: The requests that were not on the tape.
        self.missing: list[str] = []

    # --- the tape ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        exists = self.path.exists()
        self._records = self.mode in ("all", "new") or (self.mode == "once" and not exists)
        self._tape, self._played, self._changed, self.missing = [], set(), False, []
        if exists and self.mode != "all":
            kept = json.loads(self.path.read_text("utf-8"))
            if not isinstance(kept, dict) or kept.get("wherry_cassette") != _FORMAT:
                raise ValueError(f"{self.path} is no cassette of this version")
            self._tape = kept["exchanges"]

    def _save(self) -> None:
        if not self._changed:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"wherry_cassette": _FORMAT, "exchanges": self._tape}, indent=2, ensure_ascii=False)
        unfinished = self.path.with_name(self.path.name + ".part")
        unfinished.write_text(text + "\n", "utf-8")
        unfinished.replace(self.path)

    def _request(self, exchange: InProcessExchange, body: bytes) -> dict[str, Any]:
        return {
            "method": exchange.request.method,
            "url": self._without_secrets(exchange.url),
            "headers": self._fields(exchange.fields.items()),
            **self._body(body),
        }

    def _without_secrets(self, url: URL) -> str:
        if self._secret_names.intersection(url.query):
            url = url.with_query(
                [(name, _FILTERED if name in self._secret_names else value) for name, value in url.query.items()]
            )
        return str(url)

    def _fields(self, pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
        return [[name, value] for name, value in pairs if name.lower() not in self._secret_fields]

    def _body(self, body: bytes) -> dict[str, str]:
        if self._filter_body is not None and body:
            body = self._filter_body(body)
        try:
            return {"body": body.decode()}
        except UnicodeDecodeError:
            return {"body_base64": base64.b64encode(body).decode()}

    def _find(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        keys = ["method", "url", *(("body", "body_base64") if self._match_body else ())]
        for number, entry in enumerate(self._tape):
            request = entry["request"]
            if number not in self._played and all(request.get(key) == wanted.get(key) for key in keys):
                self._played.add(number)
                response: dict[str, Any] = entry["response"]
                return response
        return None

    def assert_nothing_missing(self) -> None:
        """Fail if a request was not on the tape, even if the program took the error for another.

        Raises:
            NotOnTape: One was not.
        """
        if self.missing:
            raise NotOnTape(self._complaint(self.missing[0]))

    def _complaint(self, name: str) -> str:
        rows = "".join(
            f"\n  {entry['request']['method']} {entry['request']['url']}" + (" (played)" if n in self._played else "")
            for n, entry in enumerate(self._tape)
        )
        return f"{name} is not on the cassette {self.path} (mode {self.mode!r}); there are:{rows or ' none'}"

    # --- exchanges --------------------------------------------------------------------------------------------

    async def _serve(self, exchange: InProcessExchange, dial: Callable[[], Awaitable[Connection]]) -> None:
        if exchange.request.upgrade is not None:
            raise ClientConnectionError("a cassette does not record WebSockets")
        body = await exchange.read_body()
        wanted = self._request(exchange, body)
        found = self._find(wanted)
        if found is not None:
            raw = found["body"].encode() if "body" in found else base64.b64decode(found["body_base64"])
            fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found["headers"]]
            exchange.respond(found["status"], fields, found["reason"])
            await exchange.write(raw)
            exchange.finish()
            return
        if not self._records:
            name = f"{wanted['method']} {wanted['url']}"
            self.missing.append(name)
            raise NotOnTape(self._complaint(name))
        await self._record(exchange, wanted, body, await dial())

    async def _record(
        self, exchange: InProcessExchange, wanted: dict[str, Any], body: bytes, connection: Connection
    ) -> None:
        sink = _Collected(connection.loop)
        try:
            asked = exchange.request
            real = connection.start(_with_body(asked, body), sink)
            head = await real.receive_head()
            raw = await sink.whole
        finally:
            connection.abort()
        response = {
            "status": head.status,
            "reason": head.reason,
            "headers": self._fields((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.raw),
            **self._body(raw),
        }
        self._played.add(len(self._tape))
        self._tape.append({"request": wanted, "response": response})
        self._changed = True
        exchange.respond(head.status, head.raw, head.reason)
        await exchange.write(raw)
        exchange.finish()

    def __enter__(self) -> Self:
        if self._before is not None:
            raise RuntimeError("this cassette is entered already")
        self._load()
        before: Callable[[Route, Any, ConnectAsk], Awaitable[Connection]] = _DIALLING.dial
        self._before = before

        async def dial(route: Route, settings: Any, ask: ConnectAsk) -> Connection:
            return InProcessConnection(
                ask, lambda exchange: self._serve(exchange, lambda: before(route, settings, ask)), self._tasks
            )

        _DIALLING.dial = dial
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        _DIALLING.dial, self._before = self._before, None
        self._save()


def _with_body(head: RequestHead, body: bytes) -> RequestHead:
    """The same request, its body at hand."""
    length = None if head.content_length is None and not body else len(body)
    real = RequestHead(
        head.method, head.scheme, head.authority, head.target, head.shared, head.fields, body or None,
        content_length=length, close=True,
    )  # fmt: skip
    real.limits = head.limits
    return real


class _Collected:
    """A sink that keeps a whole body."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.flow: FlowControl | None = None
        self.whole: asyncio.Future[bytes] = loop.create_future()
        self._parts = bytearray()

    def feed_data(self, data: bytes) -> None:
        self._parts += data
        if len(self._parts) > _MAX_BODY:
            self.set_exception(ClientConnectionError("the response is too large for a cassette"))

    def feed_eof(self) -> None:
        if not self.whole.done():
            self.whole.set_result(bytes(self._parts))

    def chunk_ended(self) -> None:
        """Chunks are not kept apart."""

    def set_exception(self, exc: BaseException) -> None:
        if not self.whole.done():
            self.whole.set_exception(exc)
            self.whole.exception()  # whoever waited for the head raises it already
