"""What reads a peer's bytes, one target each: any bytes give a value, or an error that is documented.

A target takes bytes and returns; what it lets out is a finding.  `tests/fuzz/test_targets.py` runs each
for a moment, ``make fuzz MINUTES=10`` for longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from wherry.auth.challenge import parse_challenges
from wherry.auth.digest import choose_challenge, proves, read_authentication_info, respond
from wherry.auth.netrc import read_netrc
from wherry.body.disposition import content_disposition_filename, parse_content_disposition
from wherry.body.html_start_tags import start_tags
from wherry.body.media_types import is_json_type, known_charset, parse_mimetype
from wherry.body.multipart.reader import MultipartReader
from wherry.body.stream.decoders import decoder_for
from wherry.body.stream.reader import StreamReader
from wherry.client.events import EventParser, EventTooLarge
from wherry.client.headers.disposition_and_link import parse_links
from wherry.client.headers.validation import check_field
from wherry.client.origin import url_of
from wherry.client.sending.redirect_rules import Leg, next_leg
from wherry.connect.alt_svc import AltSvcStore, parse_alt_svc
from wherry.connect.dns.message import question, read_answer
from wherry.connect.proxy.http import connect_answer
from wherry.connect.proxy.socks import Refusal, socks4, socks5
from wherry.connect.route import Origin
from wherry.cookies.jar import CookieJar
from wherry.cookies.parse import parse_set_cookie
from wherry.cookies.storage import from_json, from_netscape, to_json, to_netscape
from wherry.errors import BadHttpMessage, ClientError
from wherry.middlewares.cache_policy import (
    StoredResponse,
    invalidated,
    judge,
    kept_headers,
    may_store,
)
from wherry.middlewares.cache_storage import pack_head, unpack
from wherry.middlewares.digest import protection_space
from wherry.middlewares.oauth2 import OAuth2ClientCredentials
from wherry.middlewares.retry import retry_after
from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.grammar import decimal, elements, http_date
from wherry.protocol.heads import RequestHead, ResponseHead
from wherry.protocol.http1.connection import Http1Connection
from wherry.protocol.http2.connection import Http2Connection
from wherry.protocol.http2.hpack import HeaderDecoder
from wherry.protocol.http3.frames import FrameReader, FrameTooLarge, read_settings
from wherry.protocol.http3.headers import FieldReader
from wherry.protocol.http3.qpack import DecoderStream, EncoderStream, QpackStreamError
from wherry.protocol.limits import DEFAULT_LIMITS
from wherry.protocol.websocket.frames import FrameReader as WebSocketFrameReader
from wherry.protocol.websocket.handshake import (
    WSHandshakeError,
    agreed_deflate,
    agreed_protocol,
    check_upgrade,
)
from wherry.rest.models import decode
from wherry.types import HttpVersion11

HOME = URL("https://a.test/x/y?z")
Target = Callable[[bytes], object]
TARGETS: dict[str, Target] = {}


def target(function: Target) -> Target:
    TARGETS[function.__name__] = function
    return function


def text_of(data: bytes) -> str:
    """A field's value as it comes to the rooms above."""
    return data.decode("utf-8", "surrogateescape")


def pieces_of(data: bytes) -> list[bytes]:
    """The bytes in pieces; the first byte says how they are cut."""
    size = data[0] % 17 + 1 if data else 1
    rest = data[1:]
    return [rest[at : at + size] for at in range(0, len(rest), size)]


# --- fields -------------------------------------------------------------------------------------


@target
def content_disposition(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in ("", "attachment; ", "attachment; filename=", "attachment; filename*="):
            name = content_disposition_filename(parse_content_disposition(start + text_of(data))[1])
            assert name is None or name.encode("utf-8", "surrogateescape") is not None


@target
def content_type(data: bytes) -> None:
    value = text_of(data)
    charset = known_charset(parse_mimetype(value).parameters.get("charset"))
    known = known_charset(value)
    for name in (charset, known):
        if name is not None:
            data.decode(name, "replace").encode("utf-8")
    is_json_type(value)


@target
def link(data: bytes) -> None:
    for found in parse_links([text_of(data), f"<{text_of(data)}>; rel=x"], HOME).values():
        assert isinstance(found["url"], URL)


@target
def url(data: bytes) -> None:
    for base in (None, HOME):
        with contextlib.suppress(ValueError):
            assert url_of(text_of(data), base) is not None


@target
def location(data: bytes) -> None:
    leg = Leg("GET", HOME, None, None, None)
    with contextlib.suppress(ClientError):
        found = next_leg(leg, HOME, 302, text_of(data))
        if found is not None and found.auth is not None:
            found.auth.encode()


@target
def invalidation(data: bytes) -> None:
    invalidated("POST", HOME, 200, {"Location": text_of(data)})
    protection_space(HOME, tuple(text_of(data).split()))


@target
def challenge(data: bytes) -> None:
    for start in (b"", b'Digest realm="r", nonce="n", ', b'Digest realm="'):
        value = text_of(start + data)
        chosen = choose_challenge(parse_challenges([value]))
        if chosen is None:
            continue
        with contextlib.suppress(ClientError):
            check_field("Authorization", respond(chosen, "user", "pässword", "GET", "/").value)


@target
def authentication_info(data: bytes) -> None:
    chosen = choose_challenge(parse_challenges(['Digest realm="r", nonce="n", qop="auth"']))
    assert chosen is not None
    answer = respond(chosen, "user", "password", "GET", "/")
    for start in ("", 'rspauth="'):
        proves(answer, read_authentication_info(start + text_of(data)))


@target
def caching(data: bytes) -> None:
    names = (
        b"Cache-Control",
        b"Expires",
        b"Date",
        b"Age",
        b"Vary",
        b"Last-Modified",
        b"Connection",
    )
    for name in names:
        raw = kept_headers(((b"ETag", b'"x"'), (name, data)))
        stored = StoredResponse(200, "OK", raw, b"", 1.0, 2.0)
        fields = stored.fields()
        may_store(CIMultiDict(), 200, fields, heuristic=True)
        judge(stored, CIMultiDict({"Cache-Control": text_of(data)}), 3.0, heuristic=True)


@target
def numbers_and_dates(data: bytes) -> None:
    value = text_of(data)
    for start in ("", "Wed, 21 Oct ", "Wednesday, 21-Oct-", "Wed Oct 21 "):
        http_date(start + value)
        retry_after(start + value, 0.0)
    assert decimal(value, 10) is None or value.isascii()
    elements([value])


@target
def alt_svc(data: bytes) -> None:
    value = text_of(data)
    store = AltSvcStore()
    for start in ("", 'h3="', 'h3=":443"; ', 'h3=":443"; ma='):
        store.learn("", Origin("https", "a.test", 443), parse_alt_svc([start + value]), 0.0)
        found = store.find("", 0.0)
        assert found is None or (found.host and 0 < found.port < 65536)


@target
def set_cookie(data: bytes) -> None:
    value = text_of(data)
    jar = CookieJar(loop=LOOP)
    for start in ("", "a=b; ", "a=b; expires=", "a=b; domain=", "a=b; max-age="):
        parsed = parse_set_cookie([start + value])
        jar.update_cookies(parsed, HOME)
        jar.filter_cookies(HOME)


@target
def websocket_handshake(data: bytes) -> None:
    for name in (b"Sec-WebSocket-Extensions", b"Sec-WebSocket-Protocol", b"Upgrade", b"Connection"):
        for start in (b"", b"permessage-deflate; "):
            head = ResponseHead(101, "", HttpVersion11, ((name, start + data),))
            for call in (
                lambda head: agreed_deflate(head, 15),
                lambda head: agreed_protocol(head, ("a",)),
                lambda head: check_upgrade(head, "key"),
            ):
                with contextlib.suppress(WSHandshakeError):
                    call(head)


# --- messages -----------------------------------------------------------------------------------


@target
def hpack(data: bytes) -> None:
    decoder = HeaderDecoder()
    for piece in (data, data[1:]):
        try:
            decoder.decode(piece)
        except ValueError:
            return


@target
def qpack(data: bytes) -> None:
    reader = FieldReader()
    for block in (data, b"\x00\x00" + data, b"\x00\x00\xd9" + data):
        with contextlib.suppress(ConnectionFault, StreamFault):
            assert reader.header_section(block, DEFAULT_LIMITS).head.status
        with contextlib.suppress(ConnectionFault, StreamFault):
            reader.trailer_section(block, DEFAULT_LIMITS)
    for stream in (EncoderStream(), DecoderStream()):
        with contextlib.suppress(QpackStreamError):
            for piece in pieces_of(data):
                stream.receive(piece)


@target
def http3_frames(data: bytes) -> None:
    with contextlib.suppress(ConnectionFault):
        read_settings(data)
    reader = FrameReader()
    with contextlib.suppress(FrameTooLarge):
        for piece in pieces_of(data):
            reader.receive(piece, 64)


@target
def websocket_frames(data: bytes) -> None:
    reader = WebSocketFrameReader(2**16)
    for piece in pieces_of(data):
        reader.receive(piece)
        if reader.error is not None:
            return


@target
def dns(data: bytes) -> None:
    asked = question("a.test", 1)
    for message in (
        data,
        asked[:2] + b"\x81\x80" + data,
        asked[:2] + b"\x81\x80" + asked[4:] + data,
    ):
        with contextlib.suppress(ValueError):
            read_answer(message, asked)


@target
def connect(data: bytes) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n"):
        with contextlib.suppress(ValueError):
            connect_answer(start + data)


@target
def socks(data: bytes) -> None:
    for steps in (socks4("a.test", 1), socks5("a.test", 1), socks5("::1", 1, "user", "pass")):
        rest = data
        with contextlib.suppress(Refusal, StopIteration):
            _, size = next(steps)
            while len(rest) >= size:
                piece, rest = rest[:size], rest[size:]
                _, size = steps.send(piece)


@target
def server_sent_events(data: bytes) -> None:
    parser = EventParser(max_event_size=64)
    with contextlib.suppress(EventTooLarge):
        for piece in pieces_of(data):
            parser.feed(piece)


class _Engine:
    """A QUIC engine whose events are a list."""

    end = None
    stream_limit = 100
    is_open = True
    heard_at = float("inf")

    def __init__(self, events: list[tuple[object, ...]]) -> None:
        self.list = events

    def take(self) -> tuple[object, ...] | None:
        return self.list.pop(0) if self.list else None

    def events(self) -> Callable[[], tuple[object, ...] | None]:
        return self.take

    def concerns_http(self, event: tuple[object, ...]) -> bool:
        return True

    def send(self, *_: object) -> bool:
        return True

    def ignore(self, *_: object) -> None:
        pass

    reset = stop_sending = close = flush_soon = abort = ignore

    def is_closing(self) -> bool:
        return False


class _Sink:
    flow = None

    def ignore(self, *_: object) -> None:
        pass

    feed_data = feed_eof = chunk_ended = set_exception = ignore


if find_spec("qh3") is not None:

    @target
    def http3_connection(data: bytes) -> None:
        """A whole connection: each byte that is not a piece's says where the piece goes."""
        from wherry.protocol.heads import RequestHead
        from wherry.protocol.http3.connection import Http3Connection

        for start in (b"", b"\x01\x03\x00\x00\xd9", b"\x01\x03\x00\x00\xd9\x00\x05abc"):
            engine = _Engine([])
            connection = Http3Connection(LOOP, engine, engine)  # type: ignore[arg-type]
            exchanges = [
                connection.start(RequestHead("GET", "https", "a", "/"), _Sink()) for _ in range(2)
            ]
            engine.list += [
                ("stream_data", 3, b"\x00\x04\x00", False),
                ("stream_data", 0, start, False),
            ]
            for piece in pieces_of(data):
                kind, stream_id = piece[0] >> 5, (0, 3, 4, 7, 11, 1, 2, 15)[piece[0] & 7]
                if kind == 0:
                    engine.list.append(("stream_reset", stream_id, 0x100 + (piece[0] >> 3)))
                elif kind == 1:
                    engine.list.append(("stop_sending", stream_id, 0x100))
                else:
                    fin = kind == 2
                    engine.list.append(("stream_data", stream_id, piece[1:], fin))
            connection.events_arrived()
            connection.transport_closed()
            for exchange in exchanges:
                assert exchange.complete or exchange.error is not None

    @target
    def masque_capsules(data: bytes) -> None:
        """What a MASQUE proxy sends, and the datagrams of a SOCKS relay."""
        from wherry.connect.quic.through_proxy import Capsules, unwrapped

        for start in (b"", b"\x00\x05\x00ab", b"\x21\x44\x00"):
            reader = Capsules()
            with contextlib.suppress(ValueError):
                for piece in [start, *pieces_of(data)]:
                    for payload in reader.receive(piece):
                        assert len(payload) < 65544
            unwrapped(start + data)


# --- bodies -------------------------------------------------------------------------------------

LOOP = asyncio.new_event_loop()


def fed(data: bytes) -> StreamReader:
    reader = StreamReader(2**16, loop=LOOP)
    for piece in pieces_of(data):
        reader.feed_data(piece)
    reader.feed_eof()
    return reader


@target
def multipart(data: bytes) -> None:
    async def read(subtype: str, start: bytes) -> None:
        content = fed(bytes([data[0] if data else 1]) + start + data[1:])
        kind = {"Content-Type": f"multipart/{subtype}; boundary=A"}
        reader = MultipartReader(kind, content)
        with contextlib.suppress(ClientError, ValueError, RuntimeError):
            async for part in reader:
                if isinstance(part, MultipartReader):
                    continue
                _ = part.name, part.filename
                await part.readline()
                await part.text()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for subtype in ("mixed", "form-data"):
            for start in (b"", b"--A\r\n", b"--A\r\n\r\n"):
                LOOP.run_until_complete(read(subtype, start))


@target
def content_coding(data: bytes) -> None:
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, deflate"):
        decoder = decoder_for(coding)
        assert decoder is not None
        with contextlib.suppress(ClientError):
            for piece in pieces_of(data):
                decoder.decode(piece, 1024)
                for _ in range(8):
                    if decoder.needs_input:
                        break
                    decoder.decode(b"", 1024)
            decoder.finish()


@target
def oauth_answers(data: bytes) -> None:
    asking = OAuth2ClientCredentials("https://a.test/token", "id", "secret")
    for text in (
        data,
        b'{"access_token": "t", "expires_in": ' + data + b"}",
        b'{"access_token": ' + data + b"}",
    ):
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            continue
        with contextlib.suppress(ClientError):
            token, lifetime = asking._read(200, answer if isinstance(answer, dict) else {})
            check_field("Authorization", f"Bearer {token}")
            assert 0 <= lifetime < 2**32


@target
def kept_responses(data: bytes) -> None:
    for text in (data, b'[200, "OK", [["A", "b"]], 1, 1, ' + data + b"]", b"[" + data + b"]"):
        with contextlib.suppress(ValueError):
            stored = unpack(text, b"body")
            stored.fields()
            assert unpack(pack_head(stored), b"body") == stored


@target
def cookie_files(data: bytes) -> None:
    text = text_of(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in ("", ".a.test\tTRUE\t/\tFALSE\t0\t", ".a.test\tTRUE\t/\tFALSE\t"):
            with contextlib.suppress(ValueError):
                assert "\n\n\n" not in to_netscape(from_netscape(start + text))
        record = '{"version": 1, "cookies": [{"name": "n", "value": "v", "coded": "v", "sent": "v",'
        for start in ("", record, '{"a.test|/": {"n": {"key": "n", "coded_value": "v", '):
            with contextlib.suppress(ValueError):
                cookies = from_json(start + text)
                to_json(cookies)
                to_netscape(cookies)


@target
def netrc(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for start in (b"", b"machine a.test login me password "):
            path = Path(directory) / "netrc"
            path.write_bytes(start + data)
            found = read_netrc(path).lookup("a.test")
            assert found is None or found.encode()


# --- connections --------------------------------------------------------------------------------


class Transport(asyncio.Transport):
    """Takes everything, and ends when it is told to."""

    closing = False

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Body:
    """Counts how a body ends: once at most."""

    flow: Any = None

    def __init__(self) -> None:
        self.size = 0
        self.ends = 0

    def feed_data(self, data: bytes) -> None:
        assert not self.ends
        self.size += len(data)

    def feed_eof(self) -> None:
        self.ends += 1
        assert self.ends == 1

    def chunk_ended(self) -> None:
        pass

    def set_exception(self, exc: BaseException) -> None:
        assert isinstance(exc, ClientError | BadHttpMessage)  # which the client room turns into one
        self.ends += 1
        assert self.ends == 1


def received(connection: Any, pieces: list[bytes]) -> tuple[Any, Body]:
    """What an exchange on `connection` gets when these pieces come, and then the end."""
    body = Body()
    connection.connection_made(Transport())
    exchange = connection.start(RequestHead("GET", "https", "a.test", "/"), body)
    for piece in pieces:
        if connection.transport is None or connection.transport.closing:
            break
        buffer = connection.get_buffer(-1)
        buffer[: len(piece)] = piece
        connection.buffer_updated(len(piece))
    connection.eof_received()
    connection.connection_lost(None)
    assert exchange.error is None or isinstance(exchange.error, ClientError | BadHttpMessage)
    assert exchange.complete or exchange.error is not None
    return exchange, body


@target
def http1(data: bytes) -> None:
    """However the bytes are cut, the same comes of them."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for start in (
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ):
            said = start + data[1:]
            size = data[0] % 17 + 1 if data else 1
            cuts = [said[at : at + size] for at in range(0, len(said), size)]
            whole, one = received(Http1Connection(loop), [said] if said else [])
            parts, other = received(Http1Connection(loop), cuts)
            assert whole.complete == parts.complete, (said, size)
            if whole.complete:
                assert (whole.head.status, whole.head.raw) == (parts.head.status, parts.head.raw)
                assert one.size == other.size

    LOOP.run_until_complete(run())


@target
def http2(data: bytes) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        beginning = b"\0\0\0\4\0\0\0\0\0"  # SETTINGS
        size = data[0] % 17 + 1 if data else 1
        rest = data[1:]
        for start in (
            b"",
            beginning,
            beginning + b"\0\0\1\1\4\0\0\0\1\x88",  # HEADERS: 200
            beginning + b"\0\0\1\1\0\0\0\0\1\x88",  # the same, to be continued
            beginning + b"\0\0%c\1\5\0\0\0\1" % min(len(rest), 255),
            beginning + b"\0\0%c\4\0\0\0\0\0" % min(len(rest), 255),
            beginning + b"\0\0%c" % min(max(len(rest) - 6, 0), 255),
        ):
            said = start + rest
            cuts = [said[at : at + size] for at in range(0, len(said), size)]
            received(Http2Connection(loop), cuts)

    LOOP.run_until_complete(run())


@target
def html(data: bytes) -> None:
    for name, attributes in start_tags(text_of(data), {"a", "base"}):
        assert name in {"a", "base"}
        assert len(name) + sum(map(len, attributes)) <= len(data)


@target
def rest_models(data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(data)
        for model in (dict, list[int], float, int, str | None, dict[str, float], set[int]):
            with contextlib.suppress(ValueError, TypeError, KeyError, ArithmeticError):
                decode(value, model)
