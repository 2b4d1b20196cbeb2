"""Public names on this machine, so that a document's snippet runs as it is written."""

from __future__ import annotations

import pytest

import wherry
from wherry.connect.dns.resolver import AbstractResolver, ResolveResult


class ToPeer(AbstractResolver):
    """Leads every name, with port 80 too, to one server of a test."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=self.port, family=2, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


def lead_to(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Let sessions that make their own connector find every name at `port`."""
    real = wherry.TCPConnector
    monkeypatch.setattr(
        "wherry.client.session.TCPConnector",
        lambda **options: real(resolver=ToPeer(port), **options),
    )
