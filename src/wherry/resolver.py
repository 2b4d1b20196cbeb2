"""Resolvers, under the module name that programs know; and one that asks over HTTPS.

`DoHResolver` stands on top: it asks through a session of its own.  The others live where names are
resolved.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from yarl import URL

from wherry.client.session import ClientSession
from wherry.client.timeouts import ClientTimeout
from wherry.connect.connector import TCPConnector
from wherry.connect.dns.https_records import (
    HttpsRecord,
    follow_aliases,
    https_question,
    read_https_records,
)
from wherry.connect.dns.message import (
    NXDOMAIN,
    TYPE_A,
    TYPE_AAAA,
    TYPE_HTTPS,
    Answer,
    question,
    read_answer,
)
from wherry.connect.dns.resolver import (
    AbstractResolver,
    AsyncResolver,
    DefaultResolver,
    ResolveResult,
    ThreadedResolver,
)
from wherry.connect.tls.contexts import SSLOption
from wherry.cookies.abc import DummyCookieJar
from wherry.errors import ClientError, without_credentials

__all__ = ("AsyncResolver", "DefaultResolver", "DoHResolver", "ThreadedResolver")

_MEDIA_TYPE = "application/dns-message"
# RFC 8484 6: a DNS message never has more.
MAX_MESSAGE = 65535
# So many aliases of HTTPS records are followed.
_LOOPBACK = ("::1", "127.0.0.1")


class DoHResolver(AbstractResolver):
    """Asks a DNS server over HTTPS (RFC 8484), HTTP/2 where the server speaks it.

    Give it to a connector, which remembers the answers as long as they say (`ttl_dns_cache` at
    most):
    ``TCPConnector(resolver=DoHResolver(url))``.  An answer that is not whole, or to another
    question, and a redirect, count as no answer.  `localhost` is this machine and never asked about
    (RFC 6761 6.3).

    Args:
        url: The server's, as in ``https://dns.example/dns-query``; a template's
            ``{?dns}`` at its end is left out.
        addresses: The server's own addresses; without them the system resolves its name.
        ssl: TLS for the server: True, False, an SSLContext or a Fingerprint.
        timeout: Seconds that one question may take.

    Raises:
        ValueError: `url` is not an https URL.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        addresses: Sequence[str] = (),
        ssl: SSLOption = True,
        timeout: float = 5.0,
    ) -> None:
        self._url = url if isinstance(url, URL) else URL(url.removesuffix("{?dns}"))
        if self._url.scheme != "https" or not self._url.host:
            raise ValueError(f"DNS over HTTPS needs an https URL, not {without_credentials(url)}")
        self._shown = without_credentials(self._url)
        self._addresses = tuple(addresses)
        self._ssl = ssl
        self._timeout = timeout
        self._session: ClientSession | None = None
        self._closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`, each with `port`; IPv6 first where `family` is both.

        Raises:
            OSError: The name has none, or the server did not say.
        """
        if self._closed:
            raise OSError(None, "the resolver is closed")
        if _is_localhost(host):
            return await _Fixed(_LOOPBACK).resolve(host, port, family)
        kinds = {socket.AF_INET: (TYPE_A,), socket.AF_INET6: (TYPE_AAAA,)}.get(
            family, (TYPE_AAAA, TYPE_A)
        )
        answers = await asyncio.gather(
            *(self._ask(host, kind) for kind in kinds), return_exceptions=True
        )
        results: list[ResolveResult] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                continue
            for address in answer.addresses:
                result = _result(host, address, port)
                result["ttl"] = answer.ttl
                results.append(result)
        if results:
            return results
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        raise OSError(None, f"{host} has no address")

    async def https_records(self, host: str, port: int = 443) -> list[HttpsRecord]:
        """What DNS says of the https origin at `host` and `port`: protocols, ports and other names,
        the one to try first in front.

        Aliases (RFC 9460 2.4.2) are followed, eight at most.  A target "" is the name that was
        asked for last, `host` where no alias led on.  No record is no error.

        Raises:
            OSError: The server did not say, or what it said is malformed.
        """
        if self._closed:
            raise OSError(None, "the resolver is closed")
        if _is_localhost(host):
            return []
        try:
            first = https_question(host, port)
        except ValueError as exc:
            raise OSError(None, f"{self._shown} could not be asked for {host}: {exc}") from exc

        async def ask(name: str) -> list[HttpsRecord]:
            message = first if name == host else question(name, TYPE_HTTPS)
            code, records = read_https_records(await self._send(message, name), message)
            if code and code != NXDOMAIN:
                raise OSError(None, f"{self._shown} refused to resolve {name}: code {code}")
            return records

        try:
            return await follow_aliases(host, ask)
        except ValueError as exc:
            raise OSError(None, f"{self._shown} could not be asked for {host}: {exc}") from exc

    async def _ask(self, host: str, kind: int) -> Answer:
        try:
            message = question(host, kind)
            answer = read_answer(await self._send(message, host), message)
        except ValueError as exc:
            raise OSError(None, f"{self._shown} could not be asked for {host}: {exc}") from exc
        if answer.code == NXDOMAIN:
            raise OSError(None, f"{host} does not exist")
        if answer.code:
            raise OSError(None, f"{self._shown} refused to resolve {host}: code {answer.code}")
        return answer

    async def _send(self, message: bytes, host: str) -> bytes:
        """The server's answer to `message`, which asks about `host`."""
        try:
            async with self._require_session().post(
                self._url, data=message, allow_redirects=False
            ) as response:
                # RFC 8484 4.2.1: any 2xx may bring an answer.
                if not 200 <= response.status < 300 or response.content_type != _MEDIA_TYPE:
                    raise OSError(
                        None, f"{self._shown} answered {response.status} {response.content_type}"
                    )
                return await response.read()
        except (ClientError, TimeoutError) as exc:
            raise OSError(
                None, f"{self._shown} could not be asked for {host}: {exc or type(exc).__name__}"
            ) from exc
        except RuntimeError as exc:  # the session was closed meanwhile
            raise OSError(None, "the resolver is closed") from exc

    def _require_session(self) -> ClientSession:
        if self._closed:
            raise RuntimeError("the resolver is closed")
        if self._session is None:
            own = _Fixed(self._addresses) if self._addresses else ThreadedResolver()
            connector = TCPConnector(
                resolver=own, ssl=self._ssl, protocols=("h2", "http/1.1"), limit_per_host=4
            )
            self._session = ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                headers={"Content-Type": _MEDIA_TYPE, "Accept": _MEDIA_TYPE},
                max_body_size=MAX_MESSAGE,
                timeout=ClientTimeout(total=self._timeout),
            )
        return self._session

    async def close(self) -> None:
        """Close the connections to the server."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _is_localhost(host: str) -> bool:
    """Whether a name is this machine's by definition (RFC 6761 6.3)."""
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _result(hostname: str, host: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return ResolveResult(
        hostname=hostname, host=host, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
    )


class _Fixed(AbstractResolver):
    """Knows the addresses of one host."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = [_result(host, address, port) for address in self._addresses]
        return [result for result in results if family in (socket.AF_UNSPEC, result["family"])]

    async def close(self) -> None:
        """Nothing is held."""
