"""The snippets of "Client Tracing", in the documents' own words; each is awaited, which the page
leaves out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.client.conftest import Asked, Peer, Reply, reply
from tests.client.names import lead_to

import wherry as aiohttp


def _example(asked: Asked) -> Reply:
    if asked.target == "/some/redirect/":
        return reply(302, headers={"Location": "/some/other/url/"})
    return reply(200)


@pytest.fixture(autouse=True)
async def example_com(
    peer: Callable[..., Awaitable[Peer]], monkeypatch: pytest.MonkeyPatch
) -> Peer:
    """example.com on this machine."""
    server = await peer(_example)
    lead_to(monkeypatch, server.port)
    return server


async def test_client_tracing_start_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    """S001-73"""

    async def on_request_start(session: Any, trace_config_ctx: Any, params: Any) -> None:
        print("Starting request")

    async def on_request_end(session: Any, trace_config_ctx: Any, params: Any) -> None:
        print("Ending request")

    trace_config = aiohttp.TraceConfig()
    trace_config.on_request_start.append(on_request_start)
    trace_config.on_request_end.append(on_request_end)
    async with aiohttp.ClientSession(trace_configs=[trace_config]) as client:
        await client.get("http://example.com/some/redirect/")

    assert capsys.readouterr().out == "Starting request\nEnding request\n"


async def test_client_tracing_several_configs(capsys: pytest.CaptureFixture[str]) -> None:
    """S001-75"""

    class AuditRequest(aiohttp.TraceConfig):
        def __init__(self) -> None:
            super().__init__()
            self.on_request_start.append(self.note)

        async def note(self, session: Any, trace_config_ctx: Any, params: Any) -> None:
            print(type(self).__name__)

    class XRay(AuditRequest):
        pass

    async with aiohttp.ClientSession(trace_configs=[AuditRequest(), XRay()]) as client:
        await client.get("http://example.com/some/redirect/")

    assert capsys.readouterr().out == "AuditRequest\nXRay\n"


async def test_client_tracing_shared_state(capsys: pytest.CaptureFixture[str]) -> None:
    """S001-76, S001-77, S001-78"""

    async def on_request_start(session: Any, trace_config_ctx: Any, params: Any) -> None:
        trace_config_ctx.start = asyncio.get_event_loop().time()

    async def on_request_end(session: Any, trace_config_ctx: Any, params: Any) -> None:
        elapsed = asyncio.get_event_loop().time() - trace_config_ctx.start
        print(f"Request took {elapsed}")

    trace_config = aiohttp.TraceConfig()
    trace_config.on_request_start.append(on_request_start)
    trace_config.on_request_end.append(on_request_end)
    async with aiohttp.ClientSession(trace_configs=[trace_config]) as client:
        await client.get("http://example.com/some/redirect/")

    words = capsys.readouterr().out.split()
    assert words[:2] == ["Request", "took"]
    assert 0 < float(words[2]) < 10


async def test_client_tracing_trace_request_ctx(capsys: pytest.CaptureFixture[str]) -> None:
    """S001-80, S001-81"""

    async def on_request_start(session: Any, trace_config_ctx: Any, params: Any) -> None:
        print(trace_config_ctx.trace_request_ctx)

    trace_config = aiohttp.TraceConfig()
    trace_config.on_request_start.append(on_request_start)
    async with aiohttp.ClientSession(trace_configs=[trace_config]) as session:
        await session.get("http://example.com/some/redirect/", trace_request_ctx={"foo": "bar"})

    assert capsys.readouterr().out == "{'foo': 'bar'}\n"
