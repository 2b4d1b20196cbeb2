"""The server that the programs here talk to: the real aiohttp's, which drop-in mode leaves
alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web


@asynccontextmanager
async def serving(*routes: web.RouteDef, path: str | None = None) -> AsyncIterator[str]:
    """The URL of a server with these routes, on loopback or on a Unix socket; the client's names
    must be wherry's.
    """
    assert aiohttp.ClientSession.__module__.startswith("wherry.")
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0) if path is None else web.UnixSite(runner, path)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}" if path is None else f"unix://{path}"
    finally:
        await runner.cleanup()
