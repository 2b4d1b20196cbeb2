"""Resolvers, under the module name that programs know; and one that asks over HTTPS.

`DoHResolver` stands on top: it asks through a session of its own.  The others live where names are resolved.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from yarl import URL

from wherry.client.session import ClientSession
from wherry.client.timeouts import ClientTimeout
from wherry.connect.connector import TCPConnector
from wherry.connect.dns_message import NXDOMAIN, TYPE_A, TYPE_AAAA, question, read_answer
from wherry.connect.resolver import (
    AbstractResolver,
    AsyncResolver,
    DefaultResolver,
    ResolveResult,
    ThreadedResolver,
)
from wherry.cookies.abc import DummyCookieJar
from wherry.errors import ClientError

__all__ = ("AsyncResolver", "DefaultResolver", "DoHResolver", "ThreadedResolver")

_MEDIA_TYPE = "application/dns-message"
# RFC 8484 6: a DNS message never has more.
MAX_MESSAGE = 65535


class DoHResolver(AbstractResolver):
    """Asks a DNS server over HTTPS (RFC 8484), HTTP/2 where the server speaks it.

    Give it to a connector, which remembers the answers: ``TCPConnector(resolver=DoHResolver(url))``.

    Args:
        url: The server's, as in ``https://dns.example/dns-query``.
        addresses: The server's own addresses; without them the system resolves its name.
        ssl: TLS for the server: True, False, an SSLContext or a Fingerprint.
        timeout: Seconds that one question may take.

    Raises:
        ValueError: `url` is not an https URL.
    """

    def __init__(self, url: str | URL, *, addresses: Sequence[str] = (), ssl: Any = True, timeout: float = 5.0) -> None:
        self._url = URL(url)
        if self._url.scheme != "https" or not self._url.host:
            raise ValueError(f"DNS over HTTPS needs an https URL, not {url}")
        self._addresses = tuple(addresses)
        self._ssl = ssl
        self._timeout = timeout
        self._session: ClientSession | None = None
        self._closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`, IPv6 before IPv4 where both are asked for.

        Raises:
            OSError: The name has none, or the server did not say.
        """
        if self._closed:
            raise OSError(None, "the resolver is closed")
        kinds = {socket.AF_INET: (TYPE_A,), socket.AF_INET6: (TYPE_AAAA,)}.get(family, (TYPE_AAAA, TYPE_A))
        answers = await asyncio.gather(*(self._ask(host, kind) for kind in kinds), return_exceptions=True)
        results: list[ResolveResult] = []
        for kind, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, BaseException):
                continue
            results += [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if kind == TYPE_AAAA else socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in answer
            ]
        if results:
            return results
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        raise OSError(None, f"{host} has no address")

    async def _ask(self, host: str, kind: int) -> list[str]:
        try:
            message = question(host, kind)
            async with self._require_session().post(
                self._url, data=message, headers={"Content-Type": _MEDIA_TYPE, "Accept": _MEDIA_TYPE}
            ) as response:
                if response.status != 200 or response.content_type != _MEDIA_TYPE:
                    raise OSError(None, f"{self._url} answered {response.status} {response.content_type}")
                answer = read_answer(await response.content.read(MAX_MESSAGE + 1), kind)
        except (ClientError, TimeoutError, ValueError) as exc:
            raise OSError(None, f"{self._url} could not be asked for {host}: {exc or type(exc).__name__}") from exc
        if answer.code == NXDOMAIN:
            raise OSError(None, f"{host} does not exist")
        if answer.code:
            raise OSError(None, f"{self._url} refused to resolve {host}: code {answer.code}")
        return answer.addresses

    def _require_session(self) -> ClientSession:
        if self._session is None:
            own = _Fixed(self._addresses) if self._addresses else ThreadedResolver()
            connector = TCPConnector(resolver=own, ssl=self._ssl, protocols=("h2", "http/1.1"), limit_per_host=4)
            self._session = ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=self._timeout),
            )
        return self._session

    async def close(self) -> None:
        """Close the connections to the server."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Fixed(AbstractResolver):
    """Knows the addresses of one host."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
