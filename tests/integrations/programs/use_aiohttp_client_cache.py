"""aiohttp-client-cache: its session overrides `_request`; answers come from memory and from
SQLite.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web
from aiohttp_client_cache import CacheBackend, CachedSession, SQLiteBackend
from server import serving

asked: list[str] = []


async def page(request: web.Request) -> web.Response:
    asked.append(request.query_string)
    response = web.json_response(
        {"asked": len(asked)}, headers={"ETag": '"1"', "Link": '</next>; rel="next"'}
    )
    response.set_cookie("deck", "a")
    return response


async def moved(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/page?moved")


async def use(session: CachedSession, base: str) -> list[object]:
    found: list[object] = []
    for path in ("/page?a", "/page?a", "/moved", "/moved", "/page?b"):
        async with session.get(base + path) as response:
            found.append((response.from_cache, (await response.json())["asked"]))
    response = await session.get(f"{base}/page?a")
    assert response.headers["ETag"] == '"1"'
    assert response.cookies["deck"].value == "a"
    assert str(response.links["next"]["url"]) == f"{base}/next"
    assert response.ok
    chunks = [chunk async for chunk in response.content.iter_chunked(4)]
    assert b"".join(chunks) == await response.read()
    async with session.disabled():
        found.append((await (await session.get(f"{base}/page?a")).json())["asked"])
    return found


async def main() -> None:
    async with serving(web.get("/page", page), web.get("/moved", moved)) as base:
        async with CachedSession(cache=CacheBackend(expire_after=60)) as session:
            memory = await use(session, base)
        file = Path(sys.argv[1]) / "cache.sqlite"
        async with CachedSession(cache=SQLiteBackend(str(file))) as session:
            disk = await use(session, base)
        async with CachedSession(cache=SQLiteBackend(str(file))) as session:
            kept = (await session.get(f"{base}/page?a")).from_cache
    print(memory, disk, kept)


asyncio.run(main())
