"""The family of errors that a caller of wherry can meet.

Every failure of a request is a `ClientError`, or is in the `TimeoutError` family too.  Names,
inheritance and attributes are those of aiohttp's client, so an ``except`` clause written for it
holds here.  This room knows no other room: whatever an error carries (a request's summary, a
connection's key) it carries as it was given.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from multidict import CIMultiDict, CIMultiDictProxy

from wherry.redaction import shown_fields, shown_url

if TYPE_CHECKING:
    from multidict import MultiMapping

    from wherry.types import ConnectionKey, StrOrURL

__all__ = (
    "BadHttpMessage",
    "ClientConnectionError",
    "ClientConnectionResetError",
    "ClientConnectorAddressBlocked",
    "ClientConnectorCertificateError",
    "ClientConnectorDNSError",
    "ClientConnectorError",
    "ClientConnectorSSLError",
    "ClientError",
    "ClientHttpProxyError",
    "ClientOSError",
    "ClientPayloadError",
    "ClientProxyConnectionError",
    "ClientResponseError",
    "ClientSSLError",
    "ConnectionTimeoutError",
    "ContentTypeError",
    "FingerprintMismatch",
    "InvalidURL",
    "InvalidUrlClientError",
    "InvalidUrlRedirectClientError",
    "NestedTooDeeply",
    "NonHttpUrlClientError",
    "NonHttpUrlRedirectClientError",
    "RedirectClientError",
    "ServerConnectionError",
    "ServerDisconnectedError",
    "ServerFingerprintMismatch",
    "ServerTimeoutError",
    "SocketTimeoutError",
    "TooManyRedirects",
    "UnixClientConnectorError",
    "UploadAbortedError",
    "WSMessageTypeError",
    "WSServerHandshakeError",
    "WebSocketError",
)


class ClientError(Exception):
    """Base of every error of a request."""


def printable(text: str) -> str:
    r"""A text from outside as it may be shown: a URL, or what a peer said, can hold what commands a
    terminal.

    >>> printable("b\xfccher\x1b[31m")
    'b\xfccher\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


class PastResponse(NamedTuple):
    """What is left of a response in the `history` of an error that was pickled or copied deeply.

    Args:
        method: The method of its request.
        url: The URL that answered.
        status: The status code.
        reason: The reason phrase.
        headers: The header fields.
    """

    method: str
    url: Any
    status: int
    reason: str | None
    headers: Any

    def __repr__(self) -> str:
        answer = f"{shown_url(self.url)}) [{self.status} {self.reason}]"
        return f"<{type(self).__name__}({answer}>\n{shown_fields(self.headers)}\n"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self[:4], _PackedFields.of(self.headers))


def _past(response: Any) -> Any:
    """A response of a history as it can leave its session; what is none of ours stays as it is."""
    if isinstance(response, PastResponse) or not hasattr(response, "status"):
        return response
    return PastResponse(
        getattr(response, "method", ""),
        getattr(response, "url", None),
        response.status,
        getattr(response, "reason", None),
        getattr(response, "headers", None),
    )


class _PackedFields:
    """Header fields in a pickle or a deep copy, both of which multidict's proxies refuse."""

    def __init__(self, fields: CIMultiDictProxy[str]) -> None:
        self._pairs = list(fields.items())

    @classmethod
    def of(cls, fields: Any) -> Any:
        return cls(fields) if isinstance(fields, CIMultiDictProxy) else fields

    def __reduce__(self) -> tuple[Any, ...]:
        return proxied, (self._pairs,)


def proxied(pairs: Iterable[tuple[str, str]]) -> CIMultiDictProxy[str]:
    """Header fields that cannot be changed."""
    return CIMultiDictProxy(CIMultiDict(pairs))


def _restored(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    """An exception as it was, whatever its class's `__init__` takes."""
    made = cls.__new__(cls)
    made.args = args
    made.__dict__.update(state)
    return made


# --- a response came, and it is the error ---------------------------------------------------------


class ClientResponseError(ClientError):
    """A response arrived and could not be accepted.

    Args:
        request_info: What was asked (url, method, headers, real_url).
        history: The responses of the redirects before this one.
        status: The status code, 0 where none came.
        message: The reason phrase, or what was wrong.
        headers: The response's header fields.
    """

    def __init__(
        self,
        request_info: Any,
        history: tuple[Any, ...],
        *,
        code: int | None = None,
        status: int | None = None,
        message: str = "",
        headers: MultiMapping[str] | None = None,
    ) -> None:
        self.request_info = request_info
        if code is not None and status is not None:
            raise ValueError("both code and status are given; code is the old name of status")
        self.status: int = status if status is not None else code if code is not None else 0
        self.message = message
        self.headers = headers
        self.history = history
        self.args: tuple[Any, ...] = (request_info, history)

    def __str__(self) -> str:
        url = getattr(self.request_info, "real_url", None)
        return f"{self.status}, message={self.message!r}, url={shown_url(url)!r}"

    def __repr__(self) -> str:
        more = "".join(
            f", {name}={shown}"
            for name, shown, said in (
                ("status", self.status, self.status),
                ("message", repr(self.message), self.message),
                ("headers", shown_fields(self.headers), self.headers is not None),
            )
            if said
        )
        return f"{type(self).__name__}({self.request_info!r}, {self.history!r}{more})"

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickles and deep copies: a response belongs to its session, a summary to nobody."""
        history = tuple(map(_past, self.history))
        state = {**self.__dict__, "history": history, "headers": _PackedFields.of(self.headers)}
        return _restored, (type(self), (self.args[0], history, *self.args[2:]), state)

    def __copy__(self) -> Self:
        copied: Self = _restored(type(self), self.args, self.__dict__)
        return copied

    @property
    def code(self) -> int:
        """The status code, under its old name."""
        return self.status

    @code.setter
    def code(self, value: int) -> None:
        self.status = value


class ContentTypeError(ClientResponseError):
    """The content type is not the one that was asked for."""


class WSServerHandshakeError(ClientResponseError):
    """The server answered a WebSocket handshake with something else than an upgrade."""


class ClientHttpProxyError(ClientResponseError):
    """An HTTP proxy refused to open a tunnel."""


class TooManyRedirects(ClientResponseError):
    """More redirects than `max_redirects` followed one another."""


# --- no connection, or one that broke -------------------------------------------------------------


class ClientConnectionError(ClientError):
    """A connection could not be made, or broke.

    `resend_safe` is True where the request may be sent again: nothing of it reached the server, or
    the server did nothing about it, or doing it twice is the same as once.  `unprocessed` is True
    where the server, or the protocol, says that nothing was done (RFC 9113 8.7): however often that
    happens, nothing is done twice.
    """

    resend_safe: bool = False
    unprocessed: bool = False


class ClientConnectionResetError(ClientConnectionError, ConnectionResetError):
    """The connection was lost while the request was written."""


class ClientOSError(ClientConnectionError, OSError):
    """The operating system reported an error on a connection."""


class ClientConnectorError(ClientOSError):
    """No connection could be made.

    Args:
        connection_key: Where to (host, port, is_ssl, ssl ...).
        os_error: What the operating system, or TLS, said.
    """

    def __init__(self, connection_key: ConnectionKey, os_error: OSError) -> None:
        self._conn_key = connection_key
        self._os_error = os_error
        super().__init__(os_error.errno, os_error.strerror)
        self.args: tuple[Any, ...] = (connection_key, os_error)

    @property
    def os_error(self) -> OSError:
        return self._os_error

    @property
    def host(self) -> str:
        return self._conn_key.host

    @property
    def port(self) -> int | None:
        return self._conn_key.port

    @property
    def ssl(self) -> Any:
        return self._conn_key.ssl

    def __str__(self) -> str:
        mode = "default" if self.ssl is True else self.ssl
        return printable(
            f"Cannot connect to host {self.host}:{self.port} ssl:{mode} "
            f"[{self.strerror or self._os_error}]"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_conn_key"}
        return type(self), tuple(_portable(value) for value in self.args), state


def _portable(value: Any) -> Any:
    """An SSLContext in a connection's key cannot go to another process; what it is called can."""
    said = getattr(value, "ssl", None)
    return value._replace(ssl=repr(said)) if isinstance(said, ssl.SSLContext) else value


class ClientConnectorDNSError(ClientConnectorError):
    """The host's name could not be resolved."""


class ClientConnectorAddressBlocked(ClientConnectorError):
    """The connector's `allow_address` refused every address of the host."""


class UnixClientConnectorError(ClientConnectorError):
    """A Unix socket, or a named pipe, could not be connected to.

    Args:
        path: The socket's path.
        connection_key: Where to.
        os_error: What the operating system said.
    """

    def __init__(self, path: str, connection_key: ConnectionKey, os_error: OSError) -> None:
        super().__init__(connection_key, os_error)
        self._path = path
        self.args: tuple[Any, ...] = (path, connection_key, os_error)

    @property
    def path(self) -> str:
        return self._path

    def __str__(self) -> str:
        mode = "default" if self.ssl is True else self.ssl
        return printable(
            f"Cannot connect to unix socket {self.path} ssl:{mode} "
            f"[{self.strerror or self._os_error}]"
        )


class ClientProxyConnectionError(ClientConnectorError):
    """A proxy could not be reached, or did not speak its protocol."""

    def __str__(self) -> str:
        return printable(
            f"Cannot connect to the proxy {self.host}:{self.port} "
            f"[{self.strerror or self._os_error}]"
        )


class ClientSSLError(ClientConnectorError):
    """TLS could not be set up."""


# What OpenSSL says of bytes that are no TLS at all.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})


class ClientConnectorSSLError(ClientSSLError, ssl.SSLError):
    """The TLS handshake failed."""

    def __str__(self) -> str:
        hint = ""
        if getattr(self._os_error, "reason", None) in _NO_TLS:
            hint = ": the server does not speak TLS on this port; is it http:// (ws://)?"
        return f"{super().__str__()}{hint}"


class ClientConnectorCertificateError(ClientSSLError, ssl.CertificateError):
    """The server's certificate was refused."""

    def __init__(self, connection_key: ConnectionKey, certificate_error: Exception) -> None:
        os_error = (
            certificate_error
            if isinstance(certificate_error, OSError)
            else OSError(None, str(certificate_error))
        )
        super().__init__(connection_key, os_error)
        self._certificate_error = certificate_error
        self.args: tuple[Any, ...] = (connection_key, certificate_error)

    @property
    def ssl(self) -> bool:
        """Whether the connection was to be TLS."""
        return self._conn_key.is_ssl

    @property
    def certificate_error(self) -> Exception:
        return self._certificate_error

    def __str__(self) -> str:
        return printable(
            f"Cannot connect to host {self.host}:{self.port} ssl:{self.ssl} "
            f"[{type(self._certificate_error).__name__}: {self._certificate_error.args}]"
            f"{_certificate_hint(self._certificate_error)}"
        )


# OpenSSL's numbers for what is wrong with a certificate (x509_vfy.h), as far as there is a mend.
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})
_EXPIRED, _NOT_YET = 10, 9
_WRONG_NAME = frozenset({62, 64})


def _certificate_hint(error: Exception) -> str:
    """Which check failed, and what to do about it."""
    code = getattr(error, "verify_code", None)
    said = getattr(error, "verify_message", None) or "it was refused"
    if code in _UNTRUSTED:
        return (
            f": nobody who is trusted has signed the certificate ({said}); trust its authority by "
            "ssl=ssl.create_default_context(cafile=...) (--cacert of the command), or check "
            "nothing by ssl=False"
        )
    if code in _WRONG_NAME:
        return (
            f": the certificate is for another name ({said}); server_hostname= says which name to "
            "check"
        )
    if code == _EXPIRED:
        return ": the certificate has expired; the server needs a new one (is your clock right?)"
    if code == _NOT_YET:
        return ": the certificate is not valid yet; is your clock right?"
    return ""


class ServerConnectionError(ClientConnectionError):
    """The server's side of a connection failed."""


class ServerDisconnectedError(ServerConnectionError):
    """The server closed the connection before its response was whole.

    Args:
        message: What was seen, for a person.
    """

    def __init__(self, message: Any = None) -> None:
        self.message = "Server disconnected" if message is None else message
        self.args: tuple[Any, ...] = (self.message,)


class ServerFingerprintMismatch(ServerConnectionError):
    """The certificate's SHA-256 is not the one that was asked for."""

    def __init__(self, expected: bytes, got: bytes, host: str, port: int) -> None:
        self.expected = expected
        self.got = got
        self.host = host
        self.port = port
        self.args: tuple[Any, ...] = (expected, got, host, port)

    def __repr__(self) -> str:
        name, where = type(self).__name__, f"host={self.host!r} port={self.port!r}"
        return f"<{name} expected={self.expected!r} got={self.got!r} {where}>"

    def __str__(self) -> str:
        shown = (
            f"{self.host}:{self.port} showed a certificate {self.got.hex()}, expected "
            f"{self.expected.hex()}"
        )
        return printable(shown)


FingerprintMismatch = ServerFingerprintMismatch


class ServerTimeoutError(ServerConnectionError, TimeoutError):
    """A time limit of `ClientTimeout` passed."""


class ConnectionTimeoutError(ServerTimeoutError):
    """`ClientTimeout.connect` or `sock_connect` passed."""


class SocketTimeoutError(ServerTimeoutError):
    """`ClientTimeout.sock_read` passed."""


# --- bodies ---------------------------------------------------------------------------------------


class ClientPayloadError(ClientError):
    """A response's body is not whole, or cannot be decoded."""


class NestedTooDeeply(ClientPayloadError, JSONDecodeError):
    """JSON that is nested so deeply that it cannot be read (Python's decoder would raise a
    RecursionError).

    Who expects `ValueError`, or `json.JSONDecodeError`, of what is no JSON gets this too.
    """

    def __init__(
        self, msg: str = "the JSON is nested too deeply", doc: str = "", pos: int = 0
    ) -> None:
        JSONDecodeError.__init__(self, msg, doc, pos)

    def __str__(self) -> str:
        return self.msg

    def __reduce__(self) -> tuple[Any, ...]:
        """`JSONDecodeError` leaves attributes behind."""
        return _restored, (type(self), self.args, self.__dict__)


class UploadAbortedError(ClientError):
    """An upload was stopped before its end."""


class BadHttpMessage(Exception):
    """What came is not HTTP.  A request that meets it raises `ClientResponseError` with this
    message.

    Args:
        message: What is wrong.
        data: The bytes in question, as far as they help.
    """

    code = 400

    def __init__(self, message: str, data: bytes = b"") -> None:
        self.message: str = f"{message}: {data!r}" if data else message
        super().__init__(self.message)


# --- addresses ------------------------------------------------------------------------------------


# The first colon alone: where no "@" follows that, none follows a later one, and a peer may write
# thousands.
_CREDENTIALS = re.compile(r"(//|^[^/?#:]*+:)[^/?#]*@")


def without_credentials(url: StrOrURL) -> str:
    """A URL, be it none, as it may be shown: what stands before the host goes into logs otherwise.

    >>> without_credentials("http://me:secret@example.org:port/")
    'http://***@example.org:port/'
    """
    try:
        text = str(url)
    except ValueError:  # a URL that was made with encoded=True may be none
        return f"<{type(url).__name__} with an invalid host or port>"
    return shown_url(_CREDENTIALS.sub(r"\1***@", text, count=1))


class InvalidURL(ClientError, ValueError):
    """The URL cannot be requested.

    Args:
        url: The URL as it was given.
        description: What is wrong with it.
    """

    def __init__(self, url: StrOrURL, description: str | None = None) -> None:
        self._url = url
        self._description = description
        if description:
            super().__init__(url, description)
        else:
            super().__init__(url)

    @property
    def url(self) -> StrOrURL:
        return self._url

    @property
    def description(self) -> str | None:
        return self._description

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        shown = without_credentials(self._url)
        return printable(f"{shown} - {self._description}" if self._description else shown)


class InvalidUrlClientError(InvalidURL):
    """The URL that the caller gave is invalid."""


class RedirectClientError(ClientError):
    """A redirect cannot be followed."""


class NonHttpUrlClientError(ClientError):
    """The URL has a scheme that is not http, https, ws or wss."""

    def __repr__(self) -> str:
        if not self.args:
            return super().__repr__()
        url, *others = self.args
        shown = repr(without_credentials(url))
        first = shown if isinstance(url, str) else f"{type(url).__name__}({shown})"
        return f"{type(self).__name__}({', '.join((first, *map(repr, others)))})"

    def __str__(self) -> str:
        if len(self.args) != 1:
            return super().__str__()
        return printable(
            f"{without_credentials(self.args[0])} - the scheme is not http, https, ws or wss"
        )


class InvalidUrlRedirectClientError(InvalidUrlClientError, RedirectClientError):
    """A redirect points to an invalid URL."""


class NonHttpUrlRedirectClientError(NonHttpUrlClientError, RedirectClientError):
    """A redirect points to a URL that is not http or https."""


# --- WebSocket ------------------------------------------------------------------------------------


class WSMessageTypeError(TypeError):
    """The next WebSocket message is not of the type that was asked for."""


class WebSocketError(Exception):
    """The peer broke the WebSocket protocol.

    Args:
        code: The close code to send (RFC 6455 7.4.1).
        message: What was wrong.
    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(code, message)

    def __str__(self) -> str:
        return str(self.args[1])
