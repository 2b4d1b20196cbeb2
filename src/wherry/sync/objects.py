"""The classes and functions of `wherry.sync`: what threads have of the asynchronous ones.

scripts/make_sync.py wrote this file out of their sources: change those, and run it again.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Never, Self, Unpack

import wherry
from wherry.client.options import UNSET
from wherry.client.request import ClientRequest
from wherry.client.response import ClientResponse
from wherry.protocol.websocket.messages import WSCloseCode
from wherry.sync.delegation import (
    Held,
    HeldEvents,
    HeldResponse,
    HeldSession,
    Pieces,
    call,
    fetch_once,
    wait_for,
)
from wherry.types import HttpVersion11

if TYPE_CHECKING:
    import os
    from http.cookies import SimpleCookie

    from multidict import CIMultiDict, CIMultiDictProxy, MultiDictProxy
    from yarl import URL

    from wherry.auth.basic import BasicAuth
    from wherry.client.download import DownloadResult, Pace, Progress
    from wherry.client.headers.disposition_and_link import ContentDisposition
    from wherry.client.middleware import Auth, ClientMiddlewareType
    from wherry.client.options import _EventOptions, _RequestOptions, _WithData, _WithRedirects
    from wherry.client.request_info import RequestInfo
    from wherry.client.timeouts import ClientTimeout
    from wherry.client.tracing.signals import TraceConfig
    from wherry.client.tracing.timings import Timings
    from wherry.client.websocket.connect import _WSConnectOptions
    from wherry.client.websocket.websocket import ClientWebSocketResponse
    from wherry.connect.connector import BaseConnector
    from wherry.connect.proxy.proxy_argument import Proxy
    from wherry.connect.tls.contexts import SSLOption
    from wherry.cookies.abc import AbstractCookieJar
    from wherry.protocol.websocket.frames import Message
    from wherry.protocol.websocket.messages import WSMsgType
    from wherry.types import (
        HttpVersion,
        JSONBytesEncoder,
        JSONDecoder,
        JSONEncoder,
        LooseCookies,
        LooseHeaders,
        Query,
        RawHeaders,
        StrOrURL,
    )

__all__ = (
    "EventSource",
    "EventStream",
    "Response",
    "Session",
    "Stream",
    "WebSocket",
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "post",
    "put",
    "request",
)


class Stream(Held[wherry.StreamReader]):
    """The body of a response, to be read piece by piece; as `wherry.StreamReader`."""

    def __iter__(self) -> Iterator[bytes]:
        return Pieces(aiter(self._inner))

    @property
    def total_bytes(self) -> int:
        """How many bytes of the body there were so far, after decoding."""
        return self._inner.total_bytes

    @property
    def total_compressed_bytes(self) -> int | None:
        """How many encoded bytes arrived; None for a body without a content coding."""
        return self._inner.total_compressed_bytes

    def exception(self) -> BaseException | None:
        """What ended the stream, if it did not end well."""
        return call(self._inner.exception)

    def is_eof(self) -> bool:
        """Whether the last byte has arrived."""
        return call(self._inner.is_eof)

    def at_eof(self) -> bool:
        """Whether the last byte has arrived and was read."""
        return call(self._inner.at_eof)

    def iter_chunked(self, n: int) -> Iterator[bytes]:
        """Iterate over pieces of at most `n` bytes."""
        return Pieces(self._inner.iter_chunked(n))

    def iter_any(self) -> Iterator[bytes]:
        """Iterate over the pieces as they arrive."""
        return Pieces(self._inner.iter_any())

    def iter_chunks(self) -> Iterator[tuple[bytes, bool]]:
        """Iterate over what `readchunk` gives: (data, end_of_http_chunk)."""
        return Pieces(self._inner.iter_chunks())

    def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes, at least one unless the body has ended; everything when `n` is negative.

        Raises:
            ClientPayloadError: The body is not whole, cannot be decoded, or is larger than
                `max_size`.
            RuntimeError: Another coroutine is reading.
        """
        return wait_for(self._inner.read(n))

    def readany(self) -> bytes:
        """What has arrived, waiting for it if there is nothing; b"" at the end."""
        return wait_for(self._inner.readany())

    def readexactly(self, n: int) -> bytes:
        """Exactly `n` bytes.

        Raises:
            asyncio.IncompleteReadError: The body ended before; `partial` has what there was.
        """
        return wait_for(self._inner.readexactly(n))

    def readline(self, *, max_line_length: int | None = None) -> bytes:
        """One line, its ``\n`` included.

        Args:
            max_line_length: In bytes; twice the stream's limit by default.

        Raises:
            LineTooLong: The line is longer.
        """
        return wait_for(self._inner.readline(max_line_length=max_line_length))

    def readuntil(self, separator: bytes = b"\n", *, max_size: int | None = None) -> bytes:
        """All bytes up to and with `separator`, or what is left when the body ends without it.

        Raises:
            ValueError: The separator is empty.
            LineTooLong: There are more than `max_size` bytes (twice the stream's limit by default).
        """
        return wait_for(self._inner.readuntil(separator, max_size=max_size))

    def readchunk(self) -> tuple[bytes, bool]:
        """(data, end_of_http_chunk): the flag is True where an HTTP/1.1 chunk ends; (b"", False) is
        the end.
        """
        return wait_for(self._inner.readchunk())

    def read_nowait(self, n: int = -1) -> bytes:
        """What is there now, at most `n` bytes of it; of an encoded body as much as the limits
        allow.

        Raises:
            RuntimeError: A coroutine is waiting for data.
        """
        return call(self._inner.read_nowait, n)


class Response(HeldResponse):
    """A response; as `wherry.ClientResponse`.

    Its body is here already, but with `stream=True`.
    """

    @property
    def method(self) -> str:
        return self._inner.method

    @property
    def status(self) -> int:
        return self._inner.status

    @property
    def reason(self) -> str | None:
        return self._inner.reason

    @property
    def version(self) -> wherry.HttpVersion | None:
        return self._inner.version

    @property
    def status_code(self) -> int:
        """The status, by requests' name for it."""
        return self._inner.status

    @property
    def content(self) -> Stream:
        """The body, to be read piece by piece."""
        return Stream(self._inner.content)

    @property
    def timings(self) -> Timings | None:
        """How long each step took, in seconds; None for a response that no connection brought."""
        return self._inner.timings

    @property
    def url(self) -> URL:
        """The URL that answered, without its fragment."""
        return self._inner.url

    @property
    def real_url(self) -> URL:
        """The URL that answered, with its fragment."""
        return self._inner.real_url

    @property
    def host(self) -> str:
        return self._inner.host

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The header fields; names in any case, several values of one name."""
        return self._inner.headers

    @property
    def raw_headers(self) -> RawHeaders:
        """The header fields as they came: pairs of bytes."""
        return self._inner.raw_headers

    @property
    def trailers(self) -> CIMultiDictProxy[str]:
        """The fields that came after the body (RFC 9110 6.5); empty before it was read, and where
        none came.
        """
        return self._inner.trailers

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that this response sets."""
        return self._inner.cookies

    @property
    def request_info(self) -> RequestInfo:
        return self._inner.request_info

    @property
    def history(self) -> tuple[Response, ...]:
        """The responses of the redirects that led here, first to last."""
        return tuple(map(Response, self._inner.history))

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self._inner.ok

    @property
    def links(self) -> MultiDictProxy[MultiDictProxy[str | URL]]:
        """The Link fields (RFC 8288) by relation; each has its URL, made absolute, under "url"."""
        return self._inner.links

    @property
    def content_type(self) -> str:
        """The media type without parameters; application/octet-stream where none was sent, or what
        is none.
        """
        return self._inner.content_type

    @property
    def charset(self) -> str | None:
        """The charset parameter of the content type."""
        return self._inner.charset

    @property
    def content_length(self) -> int | None:
        return self._inner.content_length

    @property
    def content_disposition(self) -> ContentDisposition | None:
        return self._inner.content_disposition

    def get_encoding(self) -> str:
        """The encoding of the text: the charset parameter, UTF-8 for JSON (UTF-16 and 32 where its
        first bytes tell them), a byte order mark, or a guess.

        Raises:
            RuntimeError: A guess is needed and the body was not read.
        """
        return self._call(self._inner.get_encoding)

    def read(self) -> bytes:
        """The whole body, decoded from its content coding.

        Who gives up waiting (a time limit, a cancellation) inside `async with` may read again, and
        loses nothing; elsewhere the response is closed.

        Raises:
            ClientPayloadError: The body is not whole, or was taken piece by piece to its end.
            ClientConnectionError: The response was released.
        """
        return self._wait_for(self._inner.read())

    def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The body as text.

        Args:
            encoding: The encoding; None finds it (see `get_encoding`).
            errors: What to do with bytes that do not decode: "strict", "replace", "ignore".

        Raises:
            UnicodeDecodeError: The bytes are not of this encoding.
        """
        return self._wait_for(self._inner.text(encoding, errors))

    def json(
        self,
        *,
        encoding: str | None = None,
        loads: JSONDecoder | None = None,
        content_type: str | None = "application/json",
    ) -> Any:
        """The body as JSON; None for an empty one.

        Args:
            encoding: The text's encoding; None finds it.
            loads: What decodes the text; None for what the session's `json=` says, `json.loads` by
                default.
            content_type: The type that is expected; "application/json" takes every +json too, None
                takes all.

        Raises:
            ContentTypeError: The response is of another type; its body stays readable.
            ValueError: It is not JSON.
        """
        return self._wait_for(
            self._inner.json(encoding=encoding, loads=loads, content_type=content_type)
        )

    def sse(self, *, max_event_size: int = 2**20) -> EventStream:
        """The server-sent events of this response, as they come; `ClientSession.events` connects
        again too.

        Args:
            max_event_size: Characters that one event may have; 1 MiB (2**20) by default.

        Raises:
            ContentTypeError: The response is of another type than text/event-stream.
            ClientResponseError: Its status is not 200.
            ClientPayloadError: An event is larger than `max_event_size`.
        """
        return EventStream(self._inner.sse(max_event_size=max_event_size))

    def download(
        self,
        path: str | os.PathLike[str],
        *,
        digest: str | None = None,
        progress: Progress | None = None,
        pace: Pace | None = None,
    ) -> DownloadResult:
        """Write the body to a file, which appears under its name only when it is whole.

        Args:
            path: The file; one that is there is replaced.  In a directory the name is the one that
                the response gives, or its URL's last segment; such a name replaces nothing, but is
                numbered where it is taken.
            digest: What the file must have: "sha256:1f3a...", or another of hashlib's.
            progress: Called with (bytes so far, bytes in all or None) as the file grows.
            pace: Awaited with the number of bytes that have come, before more are read: who sleeps
                in it limits the rate.

        Raises:
            ClientPayloadError: The body is not whole, or has another digest.
            OSError: The file cannot be written.
        """
        return self._wait_for(
            self._inner.download(path, digest=digest, progress=progress, pace=pace)
        )

    def reprioritize(self, priority: int | str) -> bool:
        """Tell the server that what is left of the body is more urgent, or less (RFC 9218 7).

        Args:
            priority: As for a request: 0 (first) to 7, or as "u=1, i".

        Returns:
            Whether that could be said: over HTTP/2 and HTTP/3, while the body is still to come.

        Raises:
            ValueError: It is no priority.
        """
        return self._call(self._inner.reprioritize, priority)

    @property
    def closed(self) -> bool:
        """Whether the connection was given up or given back."""
        return self._inner.closed

    def close(self) -> None:
        """Close the connection unless the body has ended; what was not read is lost."""
        return self._call(self._inner.close)

    def release(self) -> Any:
        """Give the connection back: a short rest of the body is read over, a long one closes the
        connection.
        """
        return self._call(self._inner.release)

    def raise_for_status(self) -> Self:
        """Raise for a status of 400 and above.

        Returns:
            This response, so that calls may go on in one line.

        Raises:
            ClientResponseError: With the status, the reason and the fields.
        """
        self._call(self._inner.raise_for_status)
        return self


class WebSocket(Held[wherry.ClientWebSocketResponse]):
    """An open WebSocket; as `wherry.ClientWebSocketResponse`.

    A thread may send while another receives.
    """

    def __iter__(self) -> Iterator[Message]:
        return Pieces(aiter(self._inner))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed, by either side."""
        return self._inner.closed

    @property
    def close_code(self) -> int | None:
        """The peer's close code, 1006 for a connection that broke, None while open; 0 if the peer
        gave none.
        """
        return self._inner.close_code

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the server chose."""
        return self._inner.protocol

    @property
    def compress(self) -> int:
        """The window of our compression in bits; 0 for none."""
        return self._inner.compress

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows under `name` (as asyncio's `get_extra_info`), else `default`."""
        return call(self._inner.get_extra_info, name, default)

    def exception(self) -> BaseException | None:
        """What ended the WebSocket, if it was an error."""
        return call(self._inner.exception)

    def ping(self, message: bytes = b"") -> None:
        """Send a ping; `message` has at most 125 bytes."""
        return wait_for(self._inner.ping(message))

    def pong(self, message: bytes = b"") -> None:
        """Send a pong; `message` has at most 125 bytes."""
        return wait_for(self._inner.pong(message))

    def send_frame(self, message: bytes, opcode: WSMsgType, compress: int | None = None) -> None:
        """Send a frame of any type, and wait while the peer takes nothing.

        Args:
            message: The payload.
            opcode: TEXT, BINARY, PING, PONG or CLOSE.
            compress: As for `send_str`.

        Raises:
            ClientConnectionResetError: The WebSocket is closed.
            ValueError: A control frame is too long.
        """
        return wait_for(self._inner.send_frame(message, opcode, compress))

    def send_str(self, data: str, compress: int | None = None) -> None:
        """Send a text message, and wait while the peer takes nothing.

        Args:
            data: The text.
            compress: 0 leaves this message as it is; where compression was agreed on, all others
                are compressed.

        Raises:
            TypeError: It is no str.
            UnicodeEncodeError: It holds half of a surrogate pair.
            ClientConnectionResetError: The WebSocket is closed.
        """
        return wait_for(self._inner.send_str(data, compress))

    def send_bytes(self, data: bytes | bytearray | memoryview, compress: int | None = None) -> None:
        """Send a binary message, and wait while the peer takes nothing.

        Args:
            data: The bytes.
            compress: As for `send_str`.

        Raises:
            TypeError: It is not bytes, bytearray or memoryview.
            ClientConnectionResetError: The WebSocket is closed.
        """
        return wait_for(self._inner.send_bytes(data, compress))

    def send_json(
        self, data: Any, compress: int | None = None, *, dumps: JSONEncoder = json_module.dumps
    ) -> None:
        """Send `data` as JSON by `dumps`, in a text message; `compress` as for `send_str`."""
        return wait_for(self._inner.send_json(data, compress, dumps=dumps))

    def send_json_bytes(
        self, data: Any, compress: int | None = None, *, dumps: JSONBytesEncoder
    ) -> None:
        """Send `data` as JSON by `dumps`, in a binary message; `compress` as for `send_str`."""
        return wait_for(self._inner.send_json_bytes(data, compress, dumps=dumps))

    def receive(self, timeout: float | None = None) -> Message:
        """The next message.

        TEXT and BINARY bring data.  CLOSE is the peer's Close frame, CLOSING says that another task
        closes the WebSocket, CLOSED that it is closed, ERROR that the connection failed (`data` is
        the exception).

        Args:
            timeout: Seconds to wait, `ClientWSTimeout.ws_receive` by default.

        Raises:
            TimeoutError: Nothing came in time; the WebSocket stays open.
            RuntimeError: Another task is receiving.
        """
        return wait_for(self._inner.receive(timeout))

    def receive_str(self, *, timeout: float | None = None) -> Any:
        """The text of the next message, bytes with `decode_text=False`; `timeout` as for `receive`.

        Raises:
            WSMessageTypeError: The next message is not TEXT.
        """
        return wait_for(self._inner.receive_str(timeout=timeout))

    def receive_bytes(self, *, timeout: float | None = None) -> bytes:
        """The bytes of the next message; `timeout` as for `receive`.

        Raises:
            WSMessageTypeError: The next message is not BINARY.
        """
        return wait_for(self._inner.receive_bytes(timeout=timeout))

    def receive_json(
        self, *, loads: JSONDecoder = json_module.loads, timeout: float | None = None
    ) -> Any:
        """The next message, which is TEXT, as JSON that `loads` reads; `timeout` as for `receive`.

        Raises:
            WSMessageTypeError: The next message is not TEXT.
            ValueError: It is not JSON.
        """
        return wait_for(self._inner.receive_json(loads=loads, timeout=timeout))

    def close(self, *, code: int = WSCloseCode.OK, message: bytes | str = b"") -> bool:
        """Close the WebSocket: send a Close frame, wait for the peer's
        (`ClientWSTimeout.ws_close`), disconnect.

        Args:
            code: The close code.
            message: The reason, at most 123 bytes of UTF-8.

        Returns:
            False if it was closed before.

        Raises:
            ValueError: The code must not be sent (RFC 6455 7.4), or the reason is too long.
        """
        return wait_for(self._inner.close(code=code, message=message))


class EventStream(HeldEvents[wherry.EventStream]):
    """The server-sent events of one response; as `wherry.EventStream`."""


class EventSource(HeldEvents[wherry.EventSource]):
    """The server-sent events of a URL; as `wherry.EventSource`, which connects again."""


class Session(HeldSession):
    """The way to make requests from threads; as `wherry.ClientSession`, with its arguments.

    A `connector` is something to call that gives one, for it is made on the loop:
    ``Session(connector=lambda: wherry.TCPConnector(limit=10))``.
    Middlewares and traces run on the loop too.
    """

    def __init__(
        self,
        base_url: StrOrURL | None = None,
        *,
        connector: Callable[[], BaseConnector] | None = None,
        cookies: LooseCookies | None = None,
        headers: LooseHeaders | None = None,
        proxy: Proxy = None,
        proxy_auth: BasicAuth | None = None,
        skip_auto_headers: Iterable[str] | None = None,
        auth: Auth | None = None,
        json_serialize: JSONEncoder = json_module.dumps,
        json_serialize_bytes: JSONBytesEncoder | None = None,
        json: Literal["json", "orjson"] = "json",
        request_class: type[ClientRequest] = ClientRequest,
        response_class: type[ClientResponse] = ClientResponse,
        ws_response_class: type[ClientWebSocketResponse] | None = None,
        version: HttpVersion = HttpVersion11,
        cookie_jar: AbstractCookieJar | None = None,
        connector_owner: bool = True,
        raise_for_status: bool | Callable[[ClientResponse], Awaitable[None]] = False,
        read_timeout: float | None = UNSET,
        conn_timeout: float | None = None,
        timeout: ClientTimeout | None = UNSET,
        auto_decompress: bool = True,
        trust_env: bool = False,
        requote_redirect_url: bool = True,
        trace_configs: list[TraceConfig] | None = None,
        read_bufsize: int = 2**18,
        max_line_size: int = 8190,
        max_field_size: int = 8190,
        max_headers: int = 128,
        max_body_size: int | None = None,
        fallback_charset_resolver: Callable[
            [ClientResponse, bytes], str
        ] = lambda _response, _body: "utf-8",
        middlewares: Sequence[ClientMiddlewareType] = (),
        ssl_shutdown_timeout: float | None = UNSET,
        proxy_headers: LooseHeaders | None = None,
        proxy_ssl: SSLOption | None = None,
        params: Query = None,
        retries: int = 0,
        **unknown: Never,
    ) -> None:
        super().__init__(
            dict(
                base_url=base_url,
                connector=connector,
                cookies=cookies,
                headers=headers,
                proxy=proxy,
                proxy_auth=proxy_auth,
                skip_auto_headers=skip_auto_headers,
                auth=auth,
                json_serialize=json_serialize,
                json_serialize_bytes=json_serialize_bytes,
                json=json,
                request_class=request_class,
                response_class=response_class,
                ws_response_class=ws_response_class,
                version=version,
                cookie_jar=cookie_jar,
                connector_owner=connector_owner,
                raise_for_status=raise_for_status,
                read_timeout=read_timeout,
                conn_timeout=conn_timeout,
                timeout=timeout,
                auto_decompress=auto_decompress,
                trust_env=trust_env,
                requote_redirect_url=requote_redirect_url,
                trace_configs=trace_configs,
                read_bufsize=read_bufsize,
                max_line_size=max_line_size,
                max_field_size=max_field_size,
                max_headers=max_headers,
                max_body_size=max_body_size,
                fallback_charset_resolver=fallback_charset_resolver,
                middlewares=middlewares,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
                proxy_headers=proxy_headers,
                proxy_ssl=proxy_ssl,
                params=params,
                retries=retries,
                **unknown,
            )
        )

    def request(
        self, method: str, url: StrOrURL, *, stream: bool = False, **kwargs: Unpack[_RequestOptions]
    ) -> Response:
        """Make a request; a response, its body read.

        Args:
            stream: Leave the body to be read piece by piece; close the response then (``with``).
            method: The method, in any case.
            url: The URL; relative to `base_url` where there is one.
            params: Added to the query: a str, a mapping, or pairs.
            json: The body as JSON; not together with `data`.
            cookies: Cookies of this request alone.
            headers: Fields of this request; they replace the session's of the same name.
            skip_auto_headers: Names of fields (User-Agent, Accept, ...) that are not made by
                themselves.
            auth: A `BasicAuth`; or a function, plain or async, that is given the request and writes
                its credentials, or a middleware.  In place of the session's, and for this origin
                alone.
            allow_redirects: Whether redirects are followed; False for `head`.
            max_redirects: With so many the request fails (aiohttp counts so too), 10 by default; 0
                lets none through, None any number.
            compress: Compresses the body: True or "deflate", "gzip", "br", "zstd".
            data: The body: bytes, a str, a file, an async iterable, a `FormData`, or the fields of
                a form.
            files: Files of a multipart form, as requests and httpx take them: a mapping or pairs of
                a field's name and a file, its content, or (file name, content, type, fields);
                `data` has the other fields then.
            chunked: Sends the body in chunks although its length is known.
            expect100: Waits for 100 (Continue) before the body is sent.
            priority: How urgent the response is (RFC 9218): 0 (first) to 7, 3 is usual, or as
                "u=1, i"; servers of HTTP/2 and HTTP/3 send what is more urgent first.
            raise_for_status: As for the session.
            proxy: A proxy URL, ``(url, BasicAuth)``, or a chain of these; patterns
                (``{"all://*.corp.example": None, "https://": url}``); or a function of the URL.
            proxy_auth: Basic authentication for a single proxy.
            proxy_headers: More fields for a single HTTP proxy.
            proxy_ssl: TLS with an https:// proxy, as `ssl`; None for what holds for the origin.
            timeout: A `ClientTimeout`, or seconds in all.
            ssl: True, False (no checks), an SSLContext, or a Fingerprint.
            verify_ssl: Deprecated: False for ``ssl=False``.
            fingerprint: Deprecated: ``ssl=Fingerprint(fingerprint)``.
            ssl_context: Deprecated: ``ssl=context``.
            server_hostname: The name to check the certificate against.
            trace_request_ctx: Given to the session's `trace_configs` with each of their signals.
            read_bufsize: As for the session.
            read_until_eof: Without a meaning; there because aiohttp has it.
            auto_decompress: As for the session.
            max_line_size: Bytes that the status line of the response may have.
            max_field_size: Bytes that a header field of the response may have.
            max_headers: Header fields that the response may have.
            max_body_size: As for the session.
            middlewares: Instead of the session's; () for none.
            upload_tracker: An `UploadTracker`, which follows the upload of the body.
            upgrade: The protocol to switch to, as "tcp"; what a 101 brings is on
                `response.connection`.

        Raises:
            ClientError: The request failed.
            TimeoutError: A limit of `timeout` passed.
            ValueError: An argument cannot be sent.
        """
        return Response(self._fetch(self._inner.request(method, url, **kwargs), stream), not stream)

    def get(
        self,
        url: StrOrURL,
        *,
        allow_redirects: bool = True,
        stream: bool = False,
        **kwargs: Unpack[_WithData],
    ) -> Response:
        """Make a GET request; see `request` for the arguments."""
        return Response(
            self._fetch(self._inner.get(url, allow_redirects=allow_redirects, **kwargs), stream),
            not stream,
        )

    def options(
        self,
        url: StrOrURL,
        *,
        allow_redirects: bool = True,
        stream: bool = False,
        **kwargs: Unpack[_WithData],
    ) -> Response:
        """Make an OPTIONS request; see `request` for the arguments."""
        return Response(
            self._fetch(
                self._inner.options(url, allow_redirects=allow_redirects, **kwargs), stream
            ),
            not stream,
        )

    def head(
        self,
        url: StrOrURL,
        *,
        allow_redirects: bool = False,
        stream: bool = False,
        **kwargs: Unpack[_WithData],
    ) -> Response:
        """Make a HEAD request, without redirects by default; see `request` for the arguments."""
        return Response(
            self._fetch(self._inner.head(url, allow_redirects=allow_redirects, **kwargs), stream),
            not stream,
        )

    def post(
        self,
        url: StrOrURL,
        *,
        data: Any = None,
        stream: bool = False,
        **kwargs: Unpack[_WithRedirects],
    ) -> Response:
        """Make a POST request; see `request` for the arguments."""
        return Response(self._fetch(self._inner.post(url, data=data, **kwargs), stream), not stream)

    def put(
        self,
        url: StrOrURL,
        *,
        data: Any = None,
        stream: bool = False,
        **kwargs: Unpack[_WithRedirects],
    ) -> Response:
        """Make a PUT request; see `request` for the arguments."""
        return Response(self._fetch(self._inner.put(url, data=data, **kwargs), stream), not stream)

    def patch(
        self,
        url: StrOrURL,
        *,
        data: Any = None,
        stream: bool = False,
        **kwargs: Unpack[_WithRedirects],
    ) -> Response:
        """Make a PATCH request; see `request` for the arguments."""
        return Response(
            self._fetch(self._inner.patch(url, data=data, **kwargs), stream), not stream
        )

    def delete(
        self, url: StrOrURL, *, stream: bool = False, **kwargs: Unpack[_RequestOptions]
    ) -> Response:
        """Make a DELETE request; see `request` for the arguments."""
        return Response(self._fetch(self._inner.delete(url, **kwargs), stream), not stream)

    def events(self, url: StrOrURL, **kwargs: Unpack[_EventOptions]) -> EventSource:
        """Server-sent events of `url`; connects again when the stream breaks. See `EventSource`.

        Args:
            url: Where they come from.
            method: The request's method, GET by default.
            reconnect: Seconds before connecting again, 3 by default; None never connects again.
            max_reconnects: How often in a row without any event between; None for no limit.
            last_event_id: Where to begin: the ID of the last event that is known already.
            max_event_size: Characters that one event may have; 1 MiB (2**20) by default.
            **kwargs: As for `request` (``json=...``).
        """
        return EventSource(self._inner.events(url, **kwargs))

    def download(
        self,
        url: StrOrURL,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        connections: int = 1,
        replace: bool = True,
        digest: str | None = None,
        progress: Progress | None = None,
        trust_length: bool = False,
        pace: Pace | None = None,
        **kwargs: Unpack[_RequestOptions],
    ) -> DownloadResult:
        """Download `url` to a file, which appears under its name only when it is whole.

        Args:
            url: What to GET.
            path: The file.  A directory takes a file of the name that the response gives, unless
                there is `resume` or more than one connection.
            resume: When the download breaks off, keep what came if the server named it by a strong
                validator, and go on from there the next time if the server says that it has the
                same still (RFC 9110 13.1.5, 14.2).  A file that is finished is not fetched again
                while the server has it so.  Parts and notes are in `.wherry-downloads` beside the
                file.
            connections: Fetch a large file in ranges over so many connections; in one piece where
                the server does not go along, or names no validator.
            replace: Whether a file that is there is replaced; False refuses, but for one that a
                download with `resume` has made.  A name that the server gives is numbered instead.
            digest: What the file must have: "sha256:1f3a...", or another of hashlib's.
            progress: Called with (bytes so far, bytes in all or None) as the file grows.
            trust_length: With `resume`, take a file that is finished for the server's where that
                has the same length and no strong validator.  A change that keeps the length goes
                unseen.
            pace: Awaited with the number of bytes that have come, before more are read: who sleeps
                in it limits the rate.
            **kwargs: As for `request`.

        Raises:
            ClientResponseError: The answer is no file: neither 200 nor 203, or a part that was not
                asked for.
            ClientPayloadError: The body is not whole, or has another digest.
            FileExistsError: Another download with `resume` makes this file; or there is one that
                must not be replaced.
            OSError: The file cannot be written; most of these come before anything is requested.
        """
        return wait_for(
            self._inner.download(
                url,
                path,
                resume=resume,
                connections=connections,
                replace=replace,
                digest=digest,
                progress=progress,
                trust_length=trust_length,
                pace=pace,
                **kwargs,
            )
        )

    def ws_connect(self, url: StrOrURL, **kwargs: Unpack[_WSConnectOptions]) -> WebSocket:
        """Open a WebSocket; a response, its body read.

        Args:
            url: A ws, wss, http or https URL; relative to `base_url` where there is one.
            method: The method of the handshake, GET.
            protocols: The subprotocols to offer, the best first.
            timeout: A `ClientWSTimeout`: seconds for one `receive`, and for the peer's answer to a
                Close frame.
            receive_timeout: Deprecated: ``timeout=ClientWSTimeout(ws_receive=...)``.
            autoclose: Whether the peer's Close frame is answered when it is received.
            autoping: Whether pings are answered, and pongs not shown.
            heartbeat: Seconds of silence after which a ping goes out; half of it later there must
                be an answer.
            auth: As for `request`.
            origin: The Origin field.
            params: Added to the query.
            headers: Fields of the handshake.
            proxy: As for `request`.
            proxy_auth: As for `request`.
            proxy_headers: As for `request`.
            proxy_ssl: As for `request`.
            ssl: As for `request`.
            verify_ssl: Deprecated: False for ``ssl=False``.
            fingerprint: Deprecated: ``ssl=Fingerprint(fingerprint)``.
            ssl_context: Deprecated: ``ssl=context``.
            server_hostname: The name to check the certificate against.
            compress: Offers permessage-deflate with a window of 9 to 15 bits; 0 for none.
            max_msg_size: The largest message, in bytes after inflation, 4 MiB by default; 0 for no
                limit.
            decode_text: Whether text is given as str; else as the bytes that came, unchecked.

        Raises:
            WSServerHandshakeError: The server did not open the WebSocket, or chose what was not
                offered.
            ClientError: The handshake failed otherwise.
            ValueError: An argument cannot be sent.
        """
        return WebSocket(wait_for(self._inner.ws_connect(url, **kwargs)))

    @property
    def cookie_jar(self) -> AbstractCookieJar:
        return self._inner.cookie_jar

    @property
    def version(self) -> HttpVersion:
        return self._inner.version

    @property
    def timeout(self) -> ClientTimeout:
        return self._inner.timeout

    @property
    def headers(self) -> CIMultiDict[str]:
        """Fields of every request; changes hold for the requests that follow."""
        return self._inner.headers

    @property
    def skip_auto_headers(self) -> frozenset[str]:
        return self._inner.skip_auto_headers

    @property
    def auth(self) -> Auth | None:
        return self._inner.auth

    @property
    def json_serialize(self) -> JSONEncoder:
        return self._inner.json_serialize

    @property
    def raise_for_status(self) -> bool | Callable[[ClientResponse], Awaitable[None]]:
        return self._inner.raise_for_status

    @property
    def auto_decompress(self) -> bool:
        return self._inner.auto_decompress

    @property
    def trust_env(self) -> bool:
        return self._inner.trust_env

    @property
    def trace_configs(self) -> list[TraceConfig]:
        return self._inner.trace_configs


def request(
    method: str, url: StrOrURL, *, stream: bool = False, **kwargs: Unpack[_RequestOptions]
) -> Response:
    """Make a request; a response, its body read.

    Args:
        stream: Leave the body to be read piece by piece; close the response then (``with``).
        method: The method, in any case.
        url: The URL; relative to `base_url` where there is one.
        params: Added to the query: a str, a mapping, or pairs.
        json: The body as JSON; not together with `data`.
        cookies: Cookies of this request alone.
        headers: Fields of this request; they replace the session's of the same name.
        skip_auto_headers: Names of fields (User-Agent, Accept, ...) that are not made by
            themselves.
        auth: A `BasicAuth`; or a function, plain or async, that is given the request and writes
            its credentials, or a middleware.  In place of the session's, and for this origin
            alone.
        allow_redirects: Whether redirects are followed; False for `head`.
        max_redirects: With so many the request fails (aiohttp counts so too), 10 by default; 0
            lets none through, None any number.
        compress: Compresses the body: True or "deflate", "gzip", "br", "zstd".
        data: The body: bytes, a str, a file, an async iterable, a `FormData`, or the fields of
            a form.
        files: Files of a multipart form, as requests and httpx take them: a mapping or pairs of
            a field's name and a file, its content, or (file name, content, type, fields);
            `data` has the other fields then.
        chunked: Sends the body in chunks although its length is known.
        expect100: Waits for 100 (Continue) before the body is sent.
        priority: How urgent the response is (RFC 9218): 0 (first) to 7, 3 is usual, or as
            "u=1, i"; servers of HTTP/2 and HTTP/3 send what is more urgent first.
        raise_for_status: As for the session.
        proxy: A proxy URL, ``(url, BasicAuth)``, or a chain of these; patterns
            (``{"all://*.corp.example": None, "https://": url}``); or a function of the URL.
        proxy_auth: Basic authentication for a single proxy.
        proxy_headers: More fields for a single HTTP proxy.
        proxy_ssl: TLS with an https:// proxy, as `ssl`; None for what holds for the origin.
        timeout: A `ClientTimeout`, or seconds in all.
        ssl: True, False (no checks), an SSLContext, or a Fingerprint.
        verify_ssl: Deprecated: False for ``ssl=False``.
        fingerprint: Deprecated: ``ssl=Fingerprint(fingerprint)``.
        ssl_context: Deprecated: ``ssl=context``.
        server_hostname: The name to check the certificate against.
        trace_request_ctx: Given to the session's `trace_configs` with each of their signals.
        read_bufsize: As for the session.
        read_until_eof: Without a meaning; there because aiohttp has it.
        auto_decompress: As for the session.
        max_line_size: Bytes that the status line of the response may have.
        max_field_size: Bytes that a header field of the response may have.
        max_headers: Header fields that the response may have.
        max_body_size: As for the session.
        middlewares: Instead of the session's; () for none.
        upload_tracker: An `UploadTracker`, which follows the upload of the body.
        upgrade: The protocol to switch to, as "tcp"; what a 101 brings is on
            `response.connection`.

    Raises:
        ClientError: The request failed.
        TimeoutError: A limit of `timeout` passed.
        ValueError: An argument cannot be sent.
    """
    response = fetch_once(method, url, stream, dict(**kwargs))
    return Response(response, not stream)


def get(
    url: StrOrURL,
    *,
    allow_redirects: bool = True,
    stream: bool = False,
    **kwargs: Unpack[_WithData],
) -> Response:
    """Make a GET request; see `request` for the arguments."""
    response = fetch_once("GET", url, stream, dict(allow_redirects=allow_redirects, **kwargs))
    return Response(response, not stream)


def options(
    url: StrOrURL,
    *,
    allow_redirects: bool = True,
    stream: bool = False,
    **kwargs: Unpack[_WithData],
) -> Response:
    """Make an OPTIONS request; see `request` for the arguments."""
    response = fetch_once("OPTIONS", url, stream, dict(allow_redirects=allow_redirects, **kwargs))
    return Response(response, not stream)


def head(
    url: StrOrURL,
    *,
    allow_redirects: bool = False,
    stream: bool = False,
    **kwargs: Unpack[_WithData],
) -> Response:
    """Make a HEAD request, without redirects by default; see `request` for the arguments."""
    response = fetch_once("HEAD", url, stream, dict(allow_redirects=allow_redirects, **kwargs))
    return Response(response, not stream)


def post(
    url: StrOrURL, *, data: Any = None, stream: bool = False, **kwargs: Unpack[_WithRedirects]
) -> Response:
    """Make a POST request; see `request` for the arguments."""
    response = fetch_once("POST", url, stream, dict(data=data, **kwargs))
    return Response(response, not stream)


def put(
    url: StrOrURL, *, data: Any = None, stream: bool = False, **kwargs: Unpack[_WithRedirects]
) -> Response:
    """Make a PUT request; see `request` for the arguments."""
    response = fetch_once("PUT", url, stream, dict(data=data, **kwargs))
    return Response(response, not stream)


def patch(
    url: StrOrURL, *, data: Any = None, stream: bool = False, **kwargs: Unpack[_WithRedirects]
) -> Response:
    """Make a PATCH request; see `request` for the arguments."""
    response = fetch_once("PATCH", url, stream, dict(data=data, **kwargs))
    return Response(response, not stream)


def delete(url: StrOrURL, *, stream: bool = False, **kwargs: Unpack[_RequestOptions]) -> Response:
    """Make a DELETE request; see `request` for the arguments."""
    response = fetch_once("DELETE", url, stream, dict(**kwargs))
    return Response(response, not stream)
