"""Addresses that the command line gives for names: ``--resolve HOST:PORT:ADDRESS``."""

from __future__ import annotations

import ipaddress
import socket

import wherry
from wherry.abc import AbstractResolver, ResolveResult


class Resolved(AbstractResolver):
    """Answers for some names, and asks the system for the others.

    Args:
        known: Addresses by name and port; several are parted by commas.
    """

    def __init__(self, known: dict[tuple[str, int], str]) -> None:
        self._known = known
        self._others = wherry.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = self._known.get((host, port)) or self._known.get(("*", port))
        if addresses is None:
            return await self._others.resolve(host, port, family)
        found = []
        for text in addresses.split(","):
            address = ipaddress.ip_address(text.strip("[] "))
            kind = socket.AF_INET if address.version == 4 else socket.AF_INET6
            if family in {socket.AF_UNSPEC, kind}:
                found.append(
                    ResolveResult(
                        hostname=host, host=str(address), port=port, family=kind, proto=0,
                        flags=socket.AI_NUMERICHOST,
                    )
                )  # fmt: skip
        if not found:
            raise OSError(f"--resolve gives {host} no address of the family that was asked for")
        return found

    async def close(self) -> None:
        await self._others.close()
