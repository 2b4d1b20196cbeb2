"""Peers of a few lines for the body's tests."""

from __future__ import annotations

import pytest


class Sink:
    """A writer that keeps what is written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, chunk: bytes) -> None:
        self.pieces.append(bytes(chunk))

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@pytest.fixture
def sink() -> Sink:
    return Sink()
