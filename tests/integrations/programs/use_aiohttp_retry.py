"""aiohttp-retry: statuses and errors tried again, a custom session, evaluation of the
body.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web
from aiohttp_retry import ExponentialRetry, ListRetry, RetryClient
from server import serving

asked: list[str] = []


async def flaky(request: web.Request) -> web.Response:
    asked.append(request.method)
    if len(asked) % 3:
        return web.Response(status=503)
    return web.json_response({"tries": len(asked), "body": await request.text()})


async def cut(request: web.Request) -> web.Response:
    asked.append("cut")
    if asked.count("cut") == 1:
        assert request.transport is not None
        request.transport.close()
    return web.Response(text="whole")


async def main() -> None:
    options = ExponentialRetry(attempts=4, start_timeout=0.01, exceptions={aiohttp.ClientError})
    async with serving(web.route("*", "/flaky", flaky), web.post("/cut", cut)) as base:
        async with RetryClient(retry_options=options, raise_for_status=False) as client:
            async with client.get(f"{base}/flaky") as response:
                got = await response.json()
            async with client.post(f"{base}/flaky", data="cargo") as response:
                sent = await response.json()
            async with client.post(f"{base}/cut") as response:
                whole = await response.text()
        async with aiohttp.ClientSession(base) as session:
            client = RetryClient(session, retry_options=ListRetry([0.01, 0.01]))
            response = await client.get("/flaky")
            last = response.status
            response.release()
    print(got["tries"], sent, whole, last)


asyncio.run(main())
