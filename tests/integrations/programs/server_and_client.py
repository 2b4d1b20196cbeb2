"""A program that is a server and a client: each meets objects and errors of the other's."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from server import serving

gone = asyncio.Event()
seen: list[object] = []


async def upload(request: web.Request) -> web.Response:
    reader = await request.multipart()
    seen.append(isinstance(reader, aiohttp.MultipartReader))
    async for part in reader:
        assert isinstance(part, aiohttp.BodyPartReader)
        seen.append((part.name, await part.text()))
    return web.Response(body=aiohttp.BytesPayload(b"taken"))


async def parts(_request: web.Request) -> web.Response:
    with aiohttp.MultipartWriter("mixed", boundary="b") as writer:
        writer.append("ahoy")
    return web.Response(body=writer)


async def frames(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace;boundary=b"})
    await answer.prepare(request)
    for number in range(2):
        with aiohttp.MultipartWriter("image/jpeg", boundary="b") as writer:
            writer.append(str(number).encode(), {"Content-Type": "image/jpeg"})
            await writer.write(answer, close_boundary=False)
    return answer


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    try:
        while True:
            await answer.write(b"x" * 100_000)
            await asyncio.sleep(0)
    except aiohttp.ClientConnectionResetError:
        gone.set()
    return answer


async def tagged(request: web.Request) -> web.Response:
    tags = request.if_none_match
    return web.Response(status=304 if tags == (aiohttp.ETag("v"),) else 200)


async def passed_on(request: web.Request) -> web.Response:
    """A reverse proxy: what comes is sent on as it comes."""
    async with aiohttp.ClientSession() as session:
        headers = {"Content-Type": request.headers["Content-Type"]}
        async with session.post(
            request.url.with_path("/upload"), data=request.content, headers=headers
        ) as answer:
            return web.Response(body=await answer.read())


def form() -> aiohttp.FormData:
    made = aiohttp.FormData()
    made.add_field("a", "1")
    made.add_field("b", b"2", filename="b.txt")
    return made


async def main() -> None:
    routes = [
        web.post("/upload", upload),
        web.post("/on", passed_on),
        web.get("/parts", parts),
        web.get("/frames", frames),
        web.get("/endless", endless),
        web.get("/tagged", tagged),
    ]
    async with serving(*routes) as base, aiohttp.ClientSession(base) as session:
        for path in ("/upload", "/on"):
            async with session.post(path, data=form()) as response:
                print(await response.text(), seen)
                seen.clear()
        for path in ("/parts", "/frames"):
            async with session.get(path) as response:
                reader = aiohttp.MultipartReader.from_response(response)
                print(
                    [await part.text() async for part in reader]
                    if path == "/parts"
                    else len(await response.read())
                )
        async with session.get("/tagged", headers={"If-None-Match": '"v"'}) as response:
            print(response.status)
        response = await session.get("/endless")
        await response.content.readany()
        response.close()
        await asyncio.wait_for(gone.wait(), 5)

    # The test client of aiohttp's is made of the client's classes.
    app = web.Application()
    app.add_routes(routes)
    login = aiohttp.BasicAuth("ann", "secret")
    async with TestClient(
        TestServer(app), timeout=aiohttp.ClientTimeout(total=5), auth=login
    ) as client:
        response = await client.post("/upload", data=form())
        assert isinstance(response, aiohttp.ClientResponse)
        print(type(client.session) is aiohttp.ClientSession, await response.text())


asyncio.run(main())
