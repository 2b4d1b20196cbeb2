"""What came: a response's URL, fields, cookies and links, each made on first touch out of the head
as it arrived.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from multidict import CIMultiDictProxy, MultiDictProxy
from yarl import URL

from wherry.body.charset import bom_encoding, known_charset, parse_mimetype
from wherry.body.stream.reader import StreamReader
from wherry.client.headers.derived import decoded_fields
from wherry.client.headers.structured import (
    ContentDisposition,
    parse_content_disposition_field,
    parse_links,
)
from wherry.client.plain_urls import UrlOfRequest
from wherry.client.tracing.timings import Timings
from wherry.connect.connect_request import ConnectTimings
from wherry.cookies.parse import parse_set_cookie
from wherry.protocol.connection import Exchange
from wherry.protocol.grammar import decimal
from wherry.protocol.heads import ResponseHead
from wherry.types import RawHeaders

if TYPE_CHECKING:
    from http.cookies import SimpleCookie

    from wherry.client.request import ClientRequest
    from wherry.client.request_info import RequestInfo
    from wherry.client.response import ClientResponse

# No body has so many bytes.
_LARGEST = 2**63


class ResponseMetadata:
    """The part of a response that its head tells; `ClientResponse` adds the body and the end."""

    content: StreamReader
    _url: URL = UrlOfRequest()  # type: ignore[assignment]
    _real_url: URL = UrlOfRequest()  # type: ignore[assignment]
    status: int = None  # type: ignore[assignment]
    _body: bytes | None = None
    _headers: CIMultiDictProxy[str] | None = None
    _raw_headers: RawHeaders | None = None
    _cookies: SimpleCookie | None = None
    _history: tuple[ClientResponse, ...] = ()
    _head: ResponseHead | None = None
    _exchange: Exchange | None = None
    _request: ClientRequest | None = None
    _request_info: RequestInfo | None = None
    _moments: tuple[float, float, float, ConnectTimings | None] | None = None
    _resolve_charset: Callable[[ClientResponse, bytes], str] = staticmethod(lambda *_: "utf-8")

    @property
    def timings(self) -> Timings | None:
        """How long each step took, in seconds; None for a response that no connection brought."""
        if self._moments is None:
            return None
        started, connected, head, steps = self._moments
        sent = None if self._request is None else self._request._sent
        return Timings(started, connected, head, sent=sent, ended=self.content.ended, steps=steps)

    @property
    def url(self) -> URL:
        """The URL that answered, without its fragment."""
        return self._url

    @property
    def url_obj(self) -> URL:
        warnings.warn("Deprecated, use .url #1654", DeprecationWarning, stacklevel=2)
        return self._url

    @property
    def real_url(self) -> URL:
        """The URL that answered, with its fragment."""
        return self._real_url

    @property
    def host(self) -> str:
        return self._url.host or ""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The header fields; names in any case, several values of one name."""
        headers = self._headers
        if headers is None:
            head = self._head
            headers = None if head is None else head.shown
            if headers is None:
                headers = decoded_fields(self.raw_headers)
                if head is not None:
                    head.shown = headers
            self._headers = headers
        return headers

    def _field(self, name: bytes) -> str | None:
        """The first value of the field `name` (lower case); for one the rest need not be made."""
        head = self._head
        if (
            self._headers is None
            and head is not None
            and head.shown is None
            and type(self).headers is _HEADERS
        ):
            value = head.get(name)
            return None if value is None else value.decode("utf-8", "surrogateescape")
        return self.headers.get(name.decode())

    @property
    def raw_headers(self) -> RawHeaders:
        """The header fields as they came: pairs of bytes."""
        if self._raw_headers is None:
            self._raw_headers = () if self._head is None else self._head.raw
        return self._raw_headers

    @property
    def trailers(self) -> CIMultiDictProxy[str]:
        """The fields that came after the body (RFC 9110 6.5); empty before it was read, and where
        none came.
        """
        raw = () if self._exchange is None else self._exchange.trailers
        return decoded_fields(raw)

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that this response sets."""
        if self._cookies is None:
            values = self._head.get_all(b"set-cookie") if self._head is not None else []
            self._cookies = parse_set_cookie(
                [value.decode("utf-8", "surrogateescape") for value in values]
            )
        return self._cookies

    @cookies.setter
    def cookies(self, cookies: SimpleCookie) -> None:
        self._cookies = cookies

    @property
    def request_info(self) -> RequestInfo:
        info = self._request_info
        if info is None:
            if self._request is None:
                raise RuntimeError("the response was made without a request")
            info = self._request_info = self._request.request_info
        return info

    @property
    def history(self) -> tuple[ClientResponse, ...]:
        """The responses of the redirects that led here, first to last."""
        return self._history

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def links(self) -> MultiDictProxy[MultiDictProxy[str | URL]]:
        """The Link fields (RFC 8288) by relation; each has its URL, made absolute, under "url"."""
        return parse_links(self.headers.getall("link", ()), self.url)

    # --- what the content type says ---------------------------------------------------------------

    @property
    def content_type(self) -> str:
        """The media type without parameters; application/octet-stream where none was sent, or what
        is none.
        """
        value = self._field(b"content-type")
        if value is None:
            return "application/octet-stream"
        essence = value.partition(";")[0].strip().lower()
        # What is no media type says nothing (RFC 9110 8.3.1, RFC 2046 4.5.1).
        return essence if essence.count("/") == 1 else "application/octet-stream"

    @property
    def charset(self) -> str | None:
        """The charset parameter of the content type."""
        value = self._field(b"content-type")
        return None if value is None else parse_mimetype(value).parameters.get("charset")

    @property
    def content_length(self) -> int | None:
        value = self._field(b"content-length")
        size = decimal(value, _LARGEST)
        return None if size == _LARGEST else size

    @property
    def content_disposition(self) -> ContentDisposition | None:
        value = self._field(b"content-disposition")
        return None if value is None else parse_content_disposition_field(value)

    def get_encoding(self) -> str:
        """The encoding of the text: the charset parameter, UTF-8 for JSON (UTF-16 and 32 where its
        first bytes tell them), a byte order mark, or a guess.

        Raises:
            RuntimeError: A guess is needed and the body was not read.
        """
        value = self._field(b"content-type")
        if value is not None:
            media = parse_mimetype(value)
            charset = known_charset(media.parameters.get("charset"))
            if charset is not None:
                return charset
            if media.type == "application" and media.subtype in ("json", "rdap"):
                # RFC 8259 8.1, RFC 7483: UTF-8.  Others are from before, and plain to see (RFC 4627
                # 3).
                return "utf-8" if self._body is None else json.detect_encoding(self._body)
        if self._body is None:
            raise RuntimeError("Cannot compute fallback encoding of a not yet read body")
        return bom_encoding(self._body) or self._resolve_charset(
            cast("ClientResponse", self), self._body
        )


# A class may have a way of its own to its fields.
_HEADERS = ResponseMetadata.headers
