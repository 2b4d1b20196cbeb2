"""Resolvers: from a host's name to its addresses.

Each one asks somebody: the operating system in a thread, or DNS servers by aiodns.  None of them
remembers anything; `wherry.connect.dns.cache` does.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from abc import ABC, abstractmethod
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

if TYPE_CHECKING:
    from wherry.connect.dns.https_records import HttpsRecord

# Importing aiodns takes longer than many programs run; it waits for the first name to be resolved.
AIODNS_INSTALLED = find_spec("aiodns") is not None

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
# Some systems know flags that their own getaddrinfo refuses.
_CONFIGURED_FAMILIES = socket.AI_ADDRCONFIG & getattr(socket, "AI_MASK", socket.AI_ADDRCONFIG)


class ResolveResult(TypedDict):
    """One address of a host.

    Args:
        hostname: The name that was asked for.
        host: The address, in its numeric form.
        port: The port that was asked for.
        family: `socket.AF_INET` or `socket.AF_INET6`.
        proto: The protocol's number, 0 for any.
        flags: `getaddrinfo` flags that hold for `host`.
        ttl: Seconds that the answer may be kept (RFC 1035 3.2.1), where whoever was asked says so;
            a connector keeps it no longer than its own `ttl_dns_cache`.
    """

    hostname: str
    host: str
    port: int
    family: int
    proto: int
    flags: int
    ttl: NotRequired[float]


class AbstractResolver(ABC):
    """What a resolver offers; derive from it to bring one of your own."""

    @abstractmethod
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`.

        Args:
            host: The name.
            port: The port to put into the results.
            family: `socket.AF_UNSPEC` for both families.

        Raises:
            OSError: The name has no address, or nobody could be asked.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of what the resolver holds."""


class ThreadedResolver(AbstractResolver):
    """Asks the operating system (getaddrinfo) in a thread of the loop's executor.

    Args:
        loop: The event loop, by default the running one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`, of this `family`, as the system gives them; each with `port`."""
        try:
            rows = await self._ask(host, port, family, _CONFIGURED_FAMILIES)
        except socket.gaierror:
            # Windows without a network has no configured family at all, and localhost is still
            # there.
            if sys.platform != "win32" or host.rstrip(".").lower() != "localhost":
                raise
            rows = await self._ask(host, port, family, 0)
        results: list[ResolveResult] = []
        for found, _, proto, _, address in rows:
            numeric = cast("str", address[0])
            if found == socket.AF_INET6:
                if len(address) < 4:
                    continue  # a Python built without IPv6
                if cast("tuple[str, int, int, int]", address)[3] and "%" not in numeric:
                    # A link-local address means nothing without its zone (RFC 4007 11).
                    numeric, _ = await self._loop.getnameinfo(
                        cast("tuple[str, int, int, int]", address),
                        socket.NI_NUMERICHOST | socket.NI_NUMERICSERV,
                    )
            elif found != socket.AF_INET:
                continue
            results.append(_result(host, numeric, port, found, proto))
        return results

    async def _ask(
        self, host: str, port: int, family: socket.AddressFamily, flags: int
    ) -> list[Any]:
        return await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=flags
        )

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class AsyncResolver(AbstractResolver):
    """Asks DNS servers without threads, by aiodns (the extra `dns`).

    Args:
        loop: The event loop, by default the running one.
        args: Passed to `aiodns.DNSResolver`: nameservers first.
        kwargs: Passed too: nameservers, timeout, tries, rotate ...

    Raises:
        RuntimeError: aiodns is not installed.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, *args: Any, **kwargs: Any
    ) -> None:
        if not AIODNS_INSTALLED:
            raise RuntimeError("AsyncResolver needs aiodns: pip install wherry[dns]")
        self._loop = loop or asyncio.get_running_loop()
        if args:
            kwargs["nameservers"], args = args[0], args[1:]
        self._arguments: tuple[Any, dict[str, Any]] = (args, kwargs)
        # Made at first use: it opens sockets and reads /etc/resolv.conf.
        self._resolver: Any = None
        self._closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`, of this `family`, as the servers give them; each with `port`."""
        aiodns = await self._prepare()
        try:
            answer = await self._resolver.getaddrinfo(
                host, port=port, type=socket.SOCK_STREAM, family=family, flags=_CONFIGURED_FAMILIES
            )
        except aiodns.error.DNSError as exc:
            raise OSError(None, exc.args[1] if len(exc.args) > 1 else "DNS lookup failed") from exc
        results: list[ResolveResult] = []
        # The names that lead to an address may change before it does.
        ttls = [alias.ttl for alias in getattr(answer, "cnames", None) or ()]
        for node in answer.nodes:
            address = node.addr
            numeric = address[0].decode("ascii")
            if (
                node.family == socket.AF_INET6
                and len(address) > 3
                and address[3]
                and "%" not in numeric
            ):
                numeric = f"{numeric}%{address[3]}"
            result = _result(host, numeric, port, node.family, 0)
            # c-ares says 0 of what stands in the hosts file, too: that is kept as any other.
            if node.ttl > 0:
                result["ttl"] = min(node.ttl, *ttls) if ttls else node.ttl
            results.append(result)
        if not results:
            raise OSError(None, "DNS lookup failed")
        return results

    async def _prepare(self) -> Any:
        """The module aiodns, and its resolver is there."""
        if self._closed:
            raise OSError(None, "the resolver is closed")
        aiodns = await _load_aiodns(self._loop)
        if self._resolver is None:
            args, kwargs = self._arguments
            kwargs.setdefault("loop", self._loop)
            self._resolver = aiodns.DNSResolver(*args, **kwargs)
        return aiodns

    async def https_records(self, host: str, port: int = 443) -> list[HttpsRecord]:
        """What DNS says of the https origin at `host` and `port` (RFC 9460): protocols, ports and
        other names, the one to try first in front.  It takes aiodns 4; older ones give none.

        Aliases are followed, eight at most.  A target "" is the name that was asked for last.  No
        record is no error.

        Raises:
            OSError: The servers did not say, or what they said is malformed.
        """
        aiodns = await self._prepare()
        query = getattr(self._resolver, "query_dns", None)
        # pycares knows the type; aiodns 4.0 has no name for it in its table.
        kind = getattr(import_module("pycares"), "QUERY_TYPE_HTTPS", None)
        bare = host.rstrip(".").lower()
        if query is None or kind is None or bare == "localhost" or bare.endswith(".localhost"):
            return []
        aiodns.query_type_map.setdefault("HTTPS", kind)
        # Most programs never need them.
        from wherry.connect.dns.https_records import (
            follow_aliases,
            in_order,
            parse_record,
            wire_record,
        )

        async def ask(name: str) -> list[HttpsRecord]:
            try:
                result = await query(name, "HTTPS")
            except aiodns.error.DNSError as exc:
                if exc.args and exc.args[0] in {
                    aiodns.error.ARES_ENODATA,
                    aiodns.error.ARES_ENOTFOUND,
                }:
                    return []
                raise OSError(None, f"no HTTPS records of {name}: {exc.args[-1]}") from exc
            return in_order(
                record
                for found in result.answer
                if hasattr(found.data, "params")
                and (
                    record := parse_record(
                        wire_record(found.data.priority, found.data.target, found.data.params),
                        found.ttl,
                    )
                )
            )

        try:
            # RFC 9460 9.1, 2.3: another port is part of the name.
            return await follow_aliases(host if port == 443 else f"_{port}._https.{host}", ask)
        except ValueError as exc:
            raise OSError(None, f"no HTTPS records of {host}: {exc}") from exc

    async def close(self) -> None:
        """Cancel what is asked and close the sockets."""
        self._closed = True
        resolver, self._resolver = self._resolver, None
        if resolver is None:
            return
        close = getattr(resolver, "close", None)
        if close is None:
            resolver.cancel()
        else:
            await close()


async def _load_aiodns(loop: asyncio.AbstractEventLoop) -> Any:
    """The module; imported in a thread, for it takes long enough to hold a loop up."""
    module = sys.modules.get("aiodns")
    if hasattr(module, "DNSResolver"):  # not only half imported, by another thread
        return module
    return await loop.run_in_executor(None, import_module, "aiodns")


def _result(hostname: str, host: str, port: int, family: int, proto: int) -> ResolveResult:
    return ResolveResult(
        hostname=hostname, host=host, port=port, family=family, proto=proto, flags=_NUMERIC
    )


DefaultResolver: type[AsyncResolver | ThreadedResolver] = (
    AsyncResolver if AIODNS_INSTALLED else ThreadedResolver
)
