"""aioresponses: it patches the class's `_request` and answers with responses that it makes by
hand.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aioresponses import CallbackResult, aioresponses


async def main() -> None:
    assert aiohttp.ClientSession.__module__.startswith("wherry.")
    found: list[object] = []
    with aioresponses() as mock:
        mock.get("http://x.test/a", payload={"a": 1}, headers={"X-Hold": "full"})
        mock.get("http://x.test/b", status=500)
        mock.get("http://x.test/c", exception=aiohttp.ClientConnectionError("no"))
        mock.post(
            "http://x.test/d", callback=lambda _url, **_asked: CallbackResult(body=b"zz" * 10)
        )
        async with aiohttp.ClientSession() as session:
            async with session.get("http://x.test/a") as response:
                found += [response.status, await response.json(), response.headers["X-Hold"]]
            response = await session.get("http://x.test/b")
            try:
                response.raise_for_status()
            except aiohttp.ClientResponseError as error:
                found.append(error.status)
            try:
                await session.get("http://x.test/c")
            except aiohttp.ClientConnectionError as error:
                found.append(str(error))
            async with session.post("http://x.test/d", data="x") as response:
                found.append([len(chunk) async for chunk in response.content.iter_chunked(7)])
        mock.assert_called_with("http://x.test/d", method="POST", data="x")
    print(*found)


asyncio.run(main())
