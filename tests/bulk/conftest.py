from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.bulk.site import Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A site whose names are all on this machine."""
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, backlog=512)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    server.close()
