"""HTTP/3 by prior knowledge with real servers (RFC 9114)."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.servers.authority import CertificateFiles
from tests.servers.http_servers import Caddy
from tests.servers.process import free_port

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


async def test_caddy_says_where_it_speaks_http3(
    client_tls: ssl.SSLContext, caddy: Caddy, quic_has_time: None
) -> None:
    """RFC 7838: the first request goes by TCP, the next ones by what its answer named."""
    connector = wherry.TCPConnector(protocols=("h3", "h2", "http/1.1"), ssl=client_tls)
    async with wherry.ClientSession(connector=connector) as session:
        for version in ((2, 0), (3, 0), (3, 0)):
            async with session.get(f"https://localhost:{caddy.tls}/x") as response:
                assert response.version == version
                assert await response.text() == f"HTTP/{version[0]}.0 GET /x"
        assert connector.stats().opened == 2


async def test_files_come_whole(session: Any, caddy: Caddy) -> None:
    body = random.Random(1).randbytes(5_000_000)
    (caddy.files / "big").write_bytes(body)
    async with session.get(f"https://localhost:{caddy.tls}/files/big") as response:
        assert response.headers["content-length"] == "5000000"
        assert await response.read() == body
    async with session.get(
        f"https://localhost:{caddy.tls}/files/big", headers={"Range": "bytes=10-19"}
    ) as response:
        assert (response.status, await response.read()) == (206, body[10:20])
    async with session.get(f"https://localhost:{caddy.tls}/files/none") as response:
        assert response.status == 404


APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": body[::-1]})
"""


async def test_hypercorn_too(
    certificate_files: CertificateFiles, session: Any, tmp_path: Path
) -> None:
    """An ASGI server on aioquic: bodies both ways."""
    (tmp_path / "inverse.py").write_text(APP)
    port = free_port(socket.SOCK_DGRAM)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hypercorn", "inverse:app", "--quic-bind", f"127.0.0.1:{port}"),
        *("--certfile", certificate_files.chain, "--keyfile", certificate_files.key),
        *("--bind", f"127.0.0.1:{free_port()}"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(200):  # until it listens
            try:
                async with session.post(
                    f"https://127.0.0.1:{port}/", data=b"abc" * 100_000
                ) as response:
                    assert response.version == (3, 0)
                    assert await response.read() == b"cba" * 100_000
                    return
            except wherry.ClientConnectorError:
                await asyncio.sleep(0.1)
        pytest.fail("hypercorn does not listen")
    finally:
        process.kill()
        await process.wait()
