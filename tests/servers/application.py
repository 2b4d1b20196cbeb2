"""An application of aiohttp's server, in the test's own loop: another's parser and writer at the
other end.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web


@contextlib.asynccontextmanager
async def serving(
    app: web.Application, context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[list[int]]:
    """The ports on which `app` answers while the block runs: in the clear and, with `context`, over
    TLS.
    """
    runner = web.AppRunner(app, **options)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        if context is not None:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield [address[1] for address in runner.addresses]
    finally:
        await runner.cleanup()
