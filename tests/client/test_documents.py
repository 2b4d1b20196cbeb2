"""What only the older pages say, and how they say it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.servers.raw import RawServer, read_request, response

import wherry
from wherry.testing import LocalServer

Start = Callable[..., Awaitable[RawServer]]
WITHOUT_EXTRAS = """
import asyncio, sys
for name in ("uvloop", "isal", "zlib_ng", "orjson", "brotli", "aiodns", "backports", "jh2", "websockets",
             "certifi", "truststore", "publicsuffixlist"):
    sys.modules[name] = None  # as if it were not installed
import wherry
async def main():
    async with wherry.ClientSession() as session:
        async with session.get(sys.argv[1]) as response:
            print(response.status, "ok" if await response.json() else "empty")
asyncio.run(main())
"""


async def test_the_client_works_without_the_extras_packages(wherry_server: LocalServer) -> None:
    """S003-01"""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        WITHOUT_EXTRAS,
        wherry_server.url("/gzip"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(wherry.__file__).parents[1])},
    )
    out, err = await process.communicate()
    assert (out.decode().strip(), err.decode()) == ("200 ok", "")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
async def test_the_environments_proxy_in_any_case(
    raw_server: Start, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """S002-06, S003-18"""
    server = await raw_server([response(b"by the proxy")])
    for each in (
        "HTTP_PROXY",
        "http_proxy",
        "NO_PROXY",
        "no_proxy",
        "ALL_PROXY",
        "all_proxy",
        "REQUEST_METHOD",
    ):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, server.url)
    async with (
        wherry.ClientSession(trust_env=True) as session,
        session.get("http://nowhere.test/x") as reply,
    ):
        assert await reply.text() == "by the proxy"
    assert bytes(server.received[0]).startswith(b"GET http://nowhere.test/x HTTP/1.1\r\n")


async def test_a_session_wide_context_in_one_expression(wherry_tls_server: LocalServer) -> None:
    """S004-01"""
    context = wherry_tls_server.client_context
    async with wherry.ClientSession(connector=wherry.TCPConnector(ssl=context)) as session:
        assert (await session.get(wherry_tls_server.url("/get"))).status == 200
        assert (
            await session.request("GET", wherry_tls_server.url("/get"), ssl=context)
        ).status == 200


async def test_a_redirects_response_that_is_only_awaited(raw_server: Start) -> None:
    """S004-02"""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            first = b"/some/redirect/" in request
            fields = "Location: /some/other/url/\r\n" if first else ""
            writer.write(response(b"", status="301 Moved" if first else "200 OK", fields=fields))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        resp = await session.get(server.url + "/some/redirect/")
        assert resp.status == 200
        assert str(resp.url) == server.url + "/some/other/url/"
        assert len(resp.history) == 1
        assert resp.history[0].status == 301
        assert str(resp.history[0].url) == server.url + "/some/redirect/"
