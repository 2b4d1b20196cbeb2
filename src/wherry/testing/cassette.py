"""`Cassette`: real exchanges are recorded once to a JSON file, and played from it afterwards.

It stands where connections are made, so it sees what goes over the wire, bodies still coded.
Secrets are left out before anything is kept.  It knows nothing of pytest.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from multidict import CIMultiDict

from wherry.body.stream.decoders import Decoder, decoder_for
from wherry.client.headers.validation import SECRET_FIELDS
from wherry.connect.connect_request import ConnectRequest
from wherry.connect.route import Route
from wherry.errors import ClientConnectionError
from wherry.private_files import write_private
from wherry.protocol.connection import Connection, Exchange, FlowControl
from wherry.protocol.heads import RequestHead
from wherry.testing.cassette_filter import SecretFilter
from wherry.testing.cassette_websocket import TapedSocket
from wherry.testing.inprocess import InProcessConnection, InProcessExchange
from wherry.testing.interception import Dial, Interception

__all__ = ("Cassette", "NotOnTape")

Mode = Literal["once", "none", "all", "new"]
_FORMAT = 1
_MAX_BODY = 64 * 1024 * 1024
_FULL = 256 * 1024
# What is another for each WebSocket, and what its server's end says by itself.
_OF_ONE_HANDSHAKE = frozenset({"sec-websocket-key", "sec-websocket-accept"})
_OF_AN_UPGRADE = frozenset(
    {"connection", "upgrade", "sec-websocket-protocol", "sec-websocket-accept"}
)


class NotOnTape(AssertionError):
    """A request that the cassette has no exchange for."""


def _is_exchange(entry: Any) -> bool:
    """Whether an entry of a file that people edit has what is looked up in it."""
    if not isinstance(entry, dict):
        return False
    request, answer = entry.get("request"), entry.get("response")
    return (
        isinstance(request, dict)
        and {"method", "url"} <= request.keys()
        and isinstance(answer, dict)
    )


class Cassette(Interception):
    """Records and plays the exchanges of every session that dials while it is entered.

    Each exchange is played once, in the order of recording among equal ones.

    Args:
        path: The file; its folder is made.
        mode: "once" records if there is no file, else plays; "none" only plays; "new" plays what is
            there and records the rest; "all" records anew.
        filter_headers: Fields to leave out, beside Authorization, Proxy-Authorization, Cookie and
            Set-Cookie.
        filter_query: Names of parameters whose values are left out: in queries, in every field that
            has a URL (Location, Link ...), in forms, and of members of JSON at any depth.
        filter_json: Where in JSON there are more secrets: `"data.*.token"`, names joined by dots.
        filter_body: Takes the bytes of a request's or response's body, or of a WebSocket's message,
            and gives what is kept of them.
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
        filter_json: Iterable[str] = (),
        filter_body: Callable[[bytes], bytes] | None = None,
        match_body: bool = False,
    ) -> None:
        if mode not in ("once", "none", "all", "new"):
            raise ValueError(f"a cassette's mode is once, none, all or new; not {mode!r}")
        self.path: Path = Path(path)
        self.mode = mode
        fields = ("set-cookie", *SECRET_FIELDS, *(name.lower() for name in filter_headers))
        self._secrets = SecretFilter(fields, filter_query, filter_json)
        # What requests and responses had of secrets: later answers may repeat it.
        self._known: set[str] = set()
        self._filter_body = filter_body
        self._match_body = match_body
        self._tape: list[dict[str, Any]] = []
        self._played: set[int] = set()
        self._records = True
        self._changed = False
        self._tasks: set[asyncio.Task[None]] = set()
        # What is being recorded: (entry, the body so far).
        self._recording: dict[int, tuple[dict[str, Any], bytearray]] = {}
        #: The requests that were not on the tape.
        self.missing: list[str] = []

    # --- the tape ---------------------------------------------------------------------------------

    def _load(self) -> None:
        exists = self.path.exists()
        self._records = self.mode in ("all", "new") or (self.mode == "once" and not exists)
        self._tape, self._played, self._changed, self.missing = [], set(), False, []
        if exists and self.mode != "all":
            try:
                kept = json.loads(self.path.read_text("utf-8"))
            except (ValueError, RecursionError) as exc:
                raise ValueError(f"{self.path} is no cassette: {exc}") from exc
            if not isinstance(kept, dict) or kept.get("wherry_cassette") != _FORMAT:
                raise ValueError(f"{self.path} is no cassette of this version")
            tape = kept.get("exchanges")
            if not isinstance(tape, list) or not all(map(_is_exchange, tape)):
                raise ValueError(
                    f"{self.path} is no cassette: an exchange lacks its request or response"
                )
            self._tape = tape

    def _save(self) -> None:
        if not self._changed:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {"wherry_cassette": _FORMAT, "exchanges": self._tape}, indent=2, ensure_ascii=False
        )
        # Filters may miss something.
        write_private(self.path, (text + "\n").encode())

    def _request(self, exchange: InProcessExchange, body: bytes) -> dict[str, Any]:
        # Its own secrets only: what it is found by must not depend on what was asked before.
        secrets = self._secrets_of(exchange)
        headers = self._secrets.request_fields(exchange.fields.items(), _OF_ONE_HANDSHAKE, secrets)
        kept = self._body(body, headers, secrets)
        return {
            "method": exchange.request.method,
            "url": self._secrets.url(exchange.url, secrets),
            "headers": headers,
            **kept,
        }

    def _secrets_of(self, exchange: InProcessExchange) -> set[str]:
        return self._secrets.secrets_of(exchange.url, exchange.fields.items())

    def _keep(self, body: bytes) -> bytes:
        return body if self._filter_body is None or not body else self._filter_body(body)

    def _body(
        self, body: bytes, headers: list[list[str]], secrets: Iterable[str]
    ) -> dict[str, str]:
        """A body as it is kept; `headers` tell of it before and after."""
        kept = self._filtered(self._keep(body), headers, secrets)
        if kept != body:
            for pair in headers:
                if pair[0].lower() == "content-length":
                    pair[1] = str(len(kept))
        try:
            return {"body": kept.decode()}
        except UnicodeDecodeError:
            return {"body_base64": base64.b64encode(kept).decode()}

    def _filtered(self, body: bytes, headers: list[list[str]], secrets: Iterable[str]) -> bytes:
        """The body without secrets; what hides under a content coding is kept without it."""
        coding = ",".join(value for name, value in headers if name.lower() == "content-encoding")
        decoder = decoder_for(coding) if coding and body else None
        if decoder is None:
            return self._secrets.body(body, secrets)
        plain = _decoded(decoder, body)
        filtered = self._secrets.body(plain, secrets)
        if filtered == plain:
            return body
        headers[:] = [pair for pair in headers if pair[0].lower() != "content-encoding"]
        return filtered

    def _find(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        keys = ["method", "url", *(("body", "body_base64") if self._match_body else ())]
        for entry in self._tape:
            request = entry["request"]
            if id(entry) not in self._played and all(
                request.get(key) == wanted.get(key) for key in keys
            ):
                self._played.add(id(entry))
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
            f"\n  {entry['request']['method']} {entry['request']['url']}"
            + (" (played)" if id(entry) in self._played else "")
            for entry in self._tape
        )
        return (
            f"{name} is not on the cassette {self.path} (mode {self.mode!r}); there "
            f"are:{rows or ' none'}"
        )

    # --- exchanges --------------------------------------------------------------------------------

    async def _serve(
        self, exchange: InProcessExchange, dial: Callable[[], Awaitable[Connection]]
    ) -> None:
        body = await exchange.read_body() if exchange.request.upgrade is None else b""
        wanted = self._request(exchange, body)
        found = self._find(wanted)
        if found is not None and "messages" in found:
            await self._play_socket(exchange, found, f"{wanted['method']} {wanted['url']}")
            return
        if found is not None:
            raw = (
                found["body"].encode()
                if "body" in found
                else base64.b64decode(found["body_base64"])
            )
            fields = [
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in found["headers"]
            ]
            exchange.respond(found["status"], fields, found["reason"])
            await exchange.write(raw)
            if found.get("cut") and "Content-Length" in CIMultiDict(found["headers"]):
                # The recording ends where the program had enough; there is no telling what a reader
                # of more would get.
                await exchange.disconnected.wait()
            exchange.finish()
            return
        if not self._records:
            name = f"{wanted['method']} {wanted['url']}"
            self.missing.append(name)
            raise NotOnTape(self._complaint(name))
        await self._record(exchange, wanted, body, await dial())

    async def _record(
        self,
        exchange: InProcessExchange,
        wanted: dict[str, Any],
        body: bytes,
        connection: Connection,
    ) -> None:
        sink = _Passing()
        entry: dict[str, Any] = {"request": wanted, "response": {}}
        taken = bytearray()
        is_whole = False
        try:
            real = connection.start(_with_body(exchange.request, body), sink)
            head = await real.receive_head()
            came = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.raw]
            self._known |= self._secrets_of(exchange) | self._secrets.secrets_of(None, came)
            fields = self._secrets.fields(came, _OF_ONE_HANDSHAKE, self._known)
            entry["response"] = {"status": head.status, "reason": head.reason, "headers": fields}
            self._played.add(id(entry))
            self._tape.append(entry)
            if exchange.request.upgrade is not None and head.status in (101, 200):
                await self._record_socket(exchange, entry["response"], real)
                return
            self._recording[id(entry)] = entry, taken
            exchange.respond(head.status, head.raw, head.reason)
            while (piece := await sink.next()) is not None:
                taken += piece
                if len(taken) > _MAX_BODY:
                    raise ClientConnectionError("the response is too large for a cassette")
                await exchange.write(piece)
            is_whole = True
            exchange.finish(real.trailers)
        except ConnectionResetError:
            if not exchange.disconnected.is_set():
                raise
        except Exception:
            if self._recording.pop(id(entry), None) is not None:
                self._tape = [kept for kept in self._tape if kept is not entry]
            raise
        finally:
            # What was said last in a WebSocket still has to go out.
            connection.retire() if "messages" in entry["response"] else connection.abort()
            if is_whole:
                self._finish_entry(entry, taken)

    async def _record_socket(
        self, exchange: InProcessExchange, response: dict[str, Any], real: Exchange
    ) -> None:
        self._changed = True
        response["messages"] = messages = list[dict[str, Any]]()
        assert real.head is not None
        socket = TapedSocket(exchange, messages, self._message_filter(exchange))
        if real.head.status == 101:
            exchange.respond(101, real.head.raw, real.head.reason)
        else:  # RFC 8441 5: the program's own handshake is HTTP/1.1's
            await socket.send(_accepting(response["headers"]))
        await socket.record(real, _MAX_BODY)

    def _message_filter(self, exchange: InProcessExchange) -> Callable[[bytes], bytes]:
        """What is kept of a WebSocket's message, recorded or played."""
        secrets = self._secrets_of(exchange)
        return lambda data: self._secrets.body(self._keep(data), secrets)

    async def _play_socket(
        self, exchange: InProcessExchange, response: dict[str, Any], name: str
    ) -> None:
        socket = TapedSocket(exchange, response["messages"], self._message_filter(exchange))
        await socket.send(_accepting(response["headers"]))
        await socket.play(lambda said: self.missing.append(f"{name}: the message {said}"))

    def _finish_entry(self, entry: dict[str, Any], taken: bytearray, *, cut: bool = False) -> None:
        if self._recording.pop(id(entry), None) is None:
            return
        response = entry["response"]
        response.update(self._body(bytes(taken), response["headers"], self._known))
        if cut:
            entry["response"]["cut"] = True
        self._changed = True

    async def _dial(
        self, route: Route, settings: Any, connect_request: ConnectRequest, really: Dial
    ) -> Connection:
        return InProcessConnection(
            connect_request,
            lambda exchange: self._serve(
                exchange, lambda: really(route, settings, connect_request)
            ),
            self._tasks,
        )

    def __enter__(self) -> Self:
        self._load()
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc, tb)
        for entry, taken in list(self._recording.values()):
            self._finish_entry(entry, taken, cut=True)  # the program had enough of it
        self._save()


def _decoded(decoder: Decoder, body: bytes) -> bytes:
    """A body without its content coding, as far as it came."""
    pieces = [decoder.decode(body, _MAX_BODY)]
    while not decoder.needs_input and sum(map(len, pieces)) <= _MAX_BODY:
        pieces.append(decoder.decode(b"", _MAX_BODY))
    return b"".join(pieces)


def _with_body(head: RequestHead, body: bytes) -> RequestHead:
    """The same request, its body at hand."""
    length = None if head.content_length is None and not body else len(body)
    # Messages of a WebSocket are kept as they are read: compression is not offered.
    fields = [
        pair
        for pair in head.fields
        if head.upgrade is None or pair[0].lower() != "sec-websocket-extensions"
    ]
    real = RequestHead(
        head.method, head.scheme, head.authority, head.target, head.shared, fields, body or None,
        content_length=length, close=head.upgrade is None, upgrade=head.upgrade,
    )  # fmt: skip
    real.limits = head.limits
    return real


def _accepting(headers: list[list[str]]) -> dict[str, Any]:
    """How a server's end accepts a WebSocket with these fields; those of the handshake it makes
    itself.
    """
    protocol = next(
        (value for name, value in headers if name.lower() == "sec-websocket-protocol"), None
    )
    kept = [pair for pair in headers if pair[0].lower() not in _OF_AN_UPGRADE]
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept]
    return {"type": "websocket.accept", "subprotocol": protocol, "headers": pairs}


class _Passing:
    """A sink whose pieces go on to a reader as they come; it stops the peer while the reader is
    behind.
    """

    def __init__(self) -> None:
        self.flow: FlowControl | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._came = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None

    async def next(self) -> bytes | None:
        """The next piece, None at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._came.clear()
            await self._came.wait()
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if not self._pieces and not self._ended and self.flow is not None:
            self.flow.resume_reading()
        return piece

    def feed_data(self, data: bytes) -> None:
        self._pieces.append(bytes(data))
        self._size += len(data)
        if self._size > _FULL and self.flow is not None:
            self.flow.pause_reading()
        self._came.set()

    def feed_eof(self) -> None:
        self._ended = True
        self._came.set()

    def chunk_ended(self) -> None:
        """Chunks are not kept apart."""

    def set_exception(self, exc: BaseException) -> None:
        self._error = exc
        self._came.set()
