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
from typing import Any, NotRequired, TypedDict, cast

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
        """Nothing is held."""


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
        if self._closed:
            raise OSError(None, "the resolver is closed")
        aiodns = await _load_aiodns(self._loop)
        if self._resolver is None:
            args, kwargs = self._arguments
            kwargs.setdefault("loop", self._loop)
            self._resolver = aiodns.DNSResolver(*args, **kwargs)
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
