"""HTTP/3 by prior knowledge with real servers (RFC 9114)."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from tests.servers.http_servers import Caddy

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")


@pytest.fixture
async def session(client_tls: ssl.SSLContext) -> Any:
    connector = wherry.TCPConnector(protocols=("h3",), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        yield session


async def test_a_request_goes_by_http3(session: Any, caddy: Caddy) -> None:
    async with session.get(f"https://localhost:{caddy.tls}/x?y") as response:
        assert response.version == (3, 0)
        assert (response.status, await response.text()) == (200, "HTTP/3.0 GET /x?y")
