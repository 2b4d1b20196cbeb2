"""A Scrapy download handler: Scrapy's crawls, over wherry's connections.

    DOWNLOAD_HANDLERS = {
        "http": "wherry.integrations.scrapy.WherryDownloadHandler",
        "https": "wherry.integrations.scrapy.WherryDownloadHandler",
    }
    WHERRY_PROTOCOLS = ["h2", "http/1.1"]    # as TCPConnector(protocols=); unset, HTTP/1.1 alone

It sends one request and gives one response.  Redirects, cookies, compression, retries, proxies from
the environment and robots.txt stay Scrapy's middlewares', and so do limits of concurrency.  Needs
Scrapy 2.15 or newer, on asyncio (its default).  Only wherry's public names are used.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import ssl
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

try:
    from scrapy import signals
    from scrapy.core.downloader.handlers.base import BaseDownloadHandler
    from scrapy.exceptions import (
        CannotResolveHostError,
        DownloadCancelledError,
        DownloadConnectionRefusedError,
        DownloadFailedError,
        DownloadTimeoutError,
        NotConfigured,
        ResponseDataLossError,
        StopDownload,
        UnsupportedURLSchemeError,
    )
    from scrapy.http import Headers
    from scrapy.responsetypes import responsetypes
    from scrapy.utils.asyncio import is_asyncio_available
except ImportError as _exc:
    raise ImportError(
        f"the download handler needs Scrapy 2.15 or newer: pip install 'scrapy>=2.15' ({_exc})"
    ) from _exc
from twisted.internet.ssl import Certificate
from twisted.python.failure import Failure
from yarl import URL

from wherry import (
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidUrlClientError,
    NonHttpUrlClientError,
    TCPConnector,
)

__all__ = ("WherryDownloadHandler",)

_logger: Final = logging.getLogger(__name__)

# What Scrapy says itself in a request, or leaves out.
_NOT_BY_US: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# Framing is the connection's; what is a proxy's goes to it alone.
_NOT_SENT: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"proxy-authorization"}
)
_TLS_VERSIONS: Final = {
    "TLSv1.0": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_PROTOCOLS: Final = {2: "h2", 3: "h3"}


class _Response(ClientResponse):
    """Remembers who answered: a connection is given back when its body has come."""

    peer: tuple[Any, ...] | None = None
    certificate: bytes | None = None

    async def start(self, connection: Any) -> ClientResponse:
        """Note the peer, and go on."""
        transport = connection.transport
        if transport is not None:
            peer = transport.get_extra_info("peername")
            self.peer = peer if isinstance(peer, tuple) else None
            tls = transport.get_extra_info("ssl_object")
            self.certificate = None if tls is None else tls.getpeercert(binary_form=True)
        return await super().start(connection)


class WherryDownloadHandler(BaseDownloadHandler):
    """Downloads what Scrapy asks for.

    Settings: `WHERRY_PROTOCOLS`, and Scrapy's own `DOWNLOAD_MAXSIZE`, `DOWNLOAD_WARNSIZE`,
    `DOWNLOAD_TIMEOUT`, `DOWNLOAD_FAIL_ON_DATALOSS`, `DOWNLOAD_BIND_ADDRESS`,
    `DOWNLOAD_VERIFY_CERTIFICATES`, `DOWNLOAD_TLS_MIN_VERSION`, `DOWNLOAD_TLS_MAX_VERSION`,
    `DOWNLOADER_CLIENT_TLS_CIPHERS` and `DNSCACHE_ENABLED`.  In a request's meta: `proxy`,
    `download_timeout`, `download_maxsize`, `download_warnsize`, `download_fail_on_dataloss`.

    Raises:
        NotConfigured: Scrapy does not run on asyncio.
    """

    lazy = True

    def __init__(self, crawler: Any) -> None:
        if not is_asyncio_available():
            raise NotConfigured(
                "WherryDownloadHandler needs Scrapy on asyncio: leave TWISTED_REACTOR as it is"
            )
        super().__init__(crawler)
        settings = crawler.settings
        self._maxsize: int = settings.getint("DOWNLOAD_MAXSIZE")
        self._warnsize: int = settings.getint("DOWNLOAD_WARNSIZE")
        self._timeout: float = settings.getfloat("DOWNLOAD_TIMEOUT")
        self._fail_on_dataloss: bool = settings.getbool("DOWNLOAD_FAIL_ON_DATALOSS")
        self._auth_encoding: str = settings.get("HTTPPROXY_AUTH_ENCODING") or "latin-1"
        self._tls = _tls_context(settings)
        self._warned: set[str] = set()
        self._session: ClientSession | None = None

    def _open_session(self) -> ClientSession:
        """The session, made by the first request: then the loop runs."""
        if self._session is None:
            settings = self.crawler.settings
            address = settings.get("DOWNLOAD_BIND_ADDRESS")
            connector = TCPConnector(
                limit=0,  # Scrapy's own limits hold, and time out nobody who waits for a place
                limit_per_host=0,
                ssl=self._tls,
                protocols=tuple(settings.getlist("WHERRY_PROTOCOLS")) or ("http/1.1",),
                local_addr=(address, 0) if isinstance(address, str) else address,
                use_dns_cache=settings.getbool("DNSCACHE_ENABLED"),
            )
            self._session = ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_NOT_BY_US,
                response_class=_Response,
            )
        return self._session

    async def download_request(self, request: Any) -> Any:
        """Send a Scrapy request; its response."""
        timeout = float(request.meta.get("download_timeout") or self._timeout)
        if request.meta.get("bindaddress"):
            self._warn("bindaddress", "bindaddress of a request's meta is passed over: only the"
                       " setting DOWNLOAD_BIND_ADDRESS is heard")  # fmt: skip
        with _as_scrapys_errors(request, timeout):
            return await self._download(request, timeout)

    async def _download(self, request: Any, timeout: float) -> Any:
        started = time.monotonic()
        async with self._sent(request, timeout) as response:
            request.meta["download_latency"] = time.monotonic() - started
            headers = Headers()
            for name, value in response.raw_headers:
                headers.appendlist(name, value)
            download = _Download(request, response, headers)
            stopped = self._check_head(download)
            if stopped is None:
                stopped = await self._read(download)
            return download.result(stopped)

    @asynccontextmanager
    async def _sent(self, request: Any, timeout: float) -> AsyncIterator[ClientResponse]:
        headers = [
            (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
            for name, values in request.headers.items()
            for value in values
            if name.lower() not in _NOT_SENT
        ]
        url = request.url
        async with self._open_session().request(
            request.method,
            # Scrapy has quoted it as it shall be.
            URL(url, encoded=True) if url.isascii() else URL(url),
            data=request.body or None,
            headers=headers,
            timeout=ClientTimeout(total=timeout or None),
            allow_redirects=False,
            **self._proxy(request),
        ) as response:
            yield response

    def _proxy(self, request: Any) -> dict[str, Any]:
        """The proxy that the request's meta names, with what lets us in there."""
        proxy = request.meta.get("proxy")
        if not proxy:
            return {"proxy": None}
        url = URL(proxy if "://" in proxy else f"http://{proxy}")
        # HttpProxyMiddleware takes credentials out of the URL and puts them here.
        credentials = request.headers.get(b"Proxy-Authorization")
        if credentials is None:
            return {"proxy": url}
        scheme, _, token = credentials.decode("latin-1").partition(" ")
        if scheme.lower() != "basic":
            return {"proxy": url, "proxy_headers": {"Proxy-Authorization": credentials.decode()}}
        user, _, password = b64decode(token).decode(self._auth_encoding).partition(":")
        return {"proxy": url.with_user(user).with_password(password or None)}

    # --- one download -----------------------------------------------------------------------------

    def _check_head(self, download: _Download) -> Any:
        """What the head alone says: too large, large, or that a listener has seen enough."""
        expected = download.response.content_length
        if expected is not None:
            self._check_size(download, expected, "Expected to receive")
        return self._heard(
            signals.headers_received,
            download.request,
            headers=download.headers,
            body_length=expected,
        )

    async def _read(self, download: _Download) -> Any:
        """Read the body; why it ended early, if a listener has seen enough.

        Raises:
            DownloadCancelledError: It is larger than it may be.
            ResponseDataLossError: It is not whole, and must be.
        """
        try:
            async for piece in download.response.content.iter_any():
                download.body += piece
                stopped = self._heard(signals.bytes_received, download.request, data=piece)
                if stopped is not None:
                    return stopped
                self._check_size(download, len(download.body), "Received")
        except ClientPayloadError as exc:
            meta = download.request.meta
            if meta.get("download_fail_on_dataloss", self._fail_on_dataloss):
                self._warn(
                    "dataloss",
                    f"Got data loss in {download.request.url}: DOWNLOAD_FAIL_ON_DATALOSS = False"
                    " lets broken responses through; this is said once",
                )
                raise ResponseDataLossError(str(exc)) from exc
            download.flags.append("dataloss")
        return None

    def _check_size(self, download: _Download, size: int, what: str) -> None:
        meta = download.request.meta
        maxsize = meta.get("download_maxsize", self._maxsize)
        warnsize = meta.get("download_warnsize", self._warnsize)
        if maxsize and size > maxsize:
            download.body.clear()
            message = (
                f"{what} {size} bytes which is larger than download max size ({maxsize}) in"
                f" request {download.request}."
            )
            _logger.warning(message)
            raise DownloadCancelledError(message)
        if warnsize and size > warnsize and not download.warned:
            download.warned = True
            _logger.warning(
                "%s %s bytes which is larger than download warn size (%s) in request %s.",
                what, size, warnsize, download.request,
            )  # fmt: skip

    def _heard(self, signal: object, request: Any, **facts: Any) -> Any:
        """Tell listeners of a signal; the StopDownload of one that has seen enough."""
        told = self.crawler.signals.send_catch_log(
            signal=signal, request=request, spider=self.crawler.spider, **facts
        )
        for _, result in told:
            if isinstance(result, Failure) and isinstance(result.value, StopDownload):
                return result.value
        return None

    def _warn(self, of: str, message: str) -> None:
        if of not in self._warned:
            self._warned.add(of)
            _logger.warning(message)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


class _Download:
    """A response that is being read."""

    def __init__(self, request: Any, response: ClientResponse, headers: Any) -> None:
        self.request, self.response, self.headers = request, response, headers
        self.body = bytearray()
        self.flags: list[str] = []
        self.warned = False

    def result(self, stopped: Any) -> Any:
        """Scrapy's response.

        Raises:
            StopDownload: A listener wanted the download to fail.
        """
        url, body = self.request.url, bytes(self.body)
        of_type = responsetypes.from_args(headers=self.headers, url=url, body=body)
        made = of_type(
            url=url,
            status=self.response.status,
            headers=self.headers,
            body=body,
            flags=self.flags,
            protocol=_protocol(self.response),
            **_who(self.response),
        )
        if stopped is not None:
            made.flags.append("download_stopped")
            if stopped.fail:
                stopped.response = made
                raise stopped
        return made


def _protocol(response: ClientResponse) -> str:
    version = response.version
    if version is None:
        return "HTTP/1.1"
    return _PROTOCOLS.get(version.major, f"HTTP/{version.major}.{version.minor}")


def _who(response: ClientResponse) -> dict[str, Any]:
    """The address and the certificate of who answered."""
    if not isinstance(response, _Response):
        return {}
    found: dict[str, Any] = {}
    if response.peer is not None:
        found["ip_address"] = ipaddress.ip_address(response.peer[0].partition("%")[0])
    if response.certificate is not None:
        found["certificate"] = Certificate.load(response.certificate)
    return found


def _tls_context(settings: Any) -> ssl.SSLContext:
    """TLS as Scrapy's settings say: they verify nothing unless DOWNLOAD_VERIFY_CERTIFICATES."""
    context = ssl.create_default_context()
    if not settings.getbool("DOWNLOAD_VERIFY_CERTIFICATES"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for name, limit in (("MIN", "minimum_version"), ("MAX", "maximum_version")):
        version = settings.get(f"DOWNLOAD_TLS_{name}_VERSION")
        if version:
            if version not in _TLS_VERSIONS:
                raise ValueError(f"DOWNLOAD_TLS_{name}_VERSION is no version of TLS: {version}")
            setattr(context, limit, _TLS_VERSIONS[version])
    ciphers = settings.get("DOWNLOADER_CLIENT_TLS_CIPHERS")
    if ciphers:
        context.set_ciphers(ciphers)
    return context


@contextmanager
def _as_scrapys_errors(request: Any, timeout: float) -> Iterator[None]:
    """Raise what Scrapy's middlewares know: its retries go by these classes."""
    try:
        yield
    except TimeoutError as exc:
        raise DownloadTimeoutError(
            f"Getting {request.url} took longer than {timeout} seconds: {exc}"
        ) from exc
    except (InvalidUrlClientError, NonHttpUrlClientError) as exc:
        raise UnsupportedURLSchemeError(str(exc)) from exc
    except ClientConnectorDNSError as exc:
        raise CannotResolveHostError(str(exc)) from exc
    except ClientConnectorError as exc:
        if exc.errno == errno.ECONNREFUSED:
            raise DownloadConnectionRefusedError(str(exc)) from exc
        raise DownloadFailedError(str(exc)) from exc
    except ClientError as exc:
        raise DownloadFailedError(str(exc)) from exc
