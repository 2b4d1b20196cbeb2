"""What tests of middlewares share: the scripted peers and sessions of tests/client, over HTTP/1.1 and
HTTP/2, a cache over each storage that needs no server, and the clock that it goes by.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import Asked, Reply, peer, pytest_generate_tests, reply, session, version

from wherry.middlewares.cache import CacheMiddleware
from wherry.middlewares.cache_storage import MemoryCacheStorage, SQLiteCacheStorage

__all__ = [
    "Clock",
    "cache",
    "clock",
    "numbered",
    "peer",
    "pytest_generate_tests",
    "session",
    "version",
]


@pytest.fixture(params=["memory", "sqlite"])
async def cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CacheMiddleware]:
    storage = (
        MemoryCacheStorage()
        if request.param == "memory"
        else SQLiteCacheStorage(tmp_path / "cache.db")
    )
    async with CacheMiddleware(storage) as made:
        yield made


class Clock:
    """The time of day, which the test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("wherry.middlewares.cache.time", made)
    return made


def numbered(**headers: str) -> Any:
    """Answers with a number that grows, so that a repeated answer shows."""
    count = [0]
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(_: Asked) -> Reply:
        count[0] += 1
        return reply(200, str(count[0]), fields)

    return answer
