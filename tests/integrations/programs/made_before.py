"""Bodies, forms and credentials that were made, or whose classes were, before drop-in mode began."""

from __future__ import annotations

import asyncio
import io
import warnings
from typing import Any

import aiohttp
from aiohttp import payload, web
from server import serving

warnings.filterwarnings("ignore", "BasicAuth is deprecated", DeprecationWarning)
closed: list[str] = []


class Own(payload.Payload):
    def __init__(self, value: bytes) -> None:
        super().__init__(value, content_type="x/y")
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    async def write(self, writer: Any) -> None:
        await writer.write(self._value)

    async def close(self) -> None:
        closed.append(type(self).__name__)


class Sizeless(Own):
    @property
    def size(self) -> None:
        return None


class Bytes(payload.BytesPayload):
    pass


class Json(payload.JsonPayload):
    pass


class Form(aiohttp.FormData):
    pass


class Auth(aiohttp.BasicAuth):
    pass


form = aiohttp.FormData({"a": "b"})
form.add_field("f", b"abc", filename="x")
mixed = aiohttp.MultipartWriter("mixed")
mixed.append(b"abc")
mixed.append("x")
auth, own_auth = aiohttp.BasicAuth("u", "p"), Auth("u", "p")
bodies = (
    Own(b"abc"), Sizeless(b"abc"), Bytes(b"abc"), Json({"a": 1}),
    payload.IOBasePayload(io.BytesIO(b"abc")), Form({"a": "b"}), form, mixed,
)  # fmt: skip


async def told(request: web.Request) -> web.Response:
    kind = request.content_type
    if not kind.startswith("multipart/"):
        return web.Response(text=f"{kind} {request.content_length} {await request.text()}")
    parts = []
    async for part in await request.multipart():
        text = f"{part.name}={await part.text()}"
        if part.filename:
            text += f" {part.headers['Content-Disposition']}"
        parts.append(text)
    return web.Response(text=f"{kind} {parts}")


async def moved(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=307, headers={"Location": "/twice"})


async def twice(request: web.Request) -> web.Response:
    return web.Response(text=f"twice {await request.text()}")


async def credentials(request: web.Request) -> web.Response:
    return web.Response(text=request.headers["Authorization"])


async def main() -> None:
    in_form, in_mixed = aiohttp.FormData(), aiohttp.MultipartWriter("mixed")
    in_form.add_field("f", Own(b"abc"), filename="x")
    in_mixed.append(Own(b"abc"))
    routes = [
        web.post("/", told),
        web.post("/moved", moved),
        web.post("/twice", twice),
        web.get("/credentials", credentials),
    ]
    async with serving(*routes) as url, aiohttp.ClientSession() as session:
        for body in (*bodies, in_form, in_mixed):
            async with session.post(f"{url}/", data=body) as answer:
                print(await answer.text())
        async with session.post(f"{url}/moved", data=bodies[0]) as answer:
            print(await answer.text())
        print("closed", closed)
        seen = []
        for given in (auth, own_auth):
            async with session.get(f"{url}/credentials", auth=given) as answer:
                seen.append(await answer.text())
        async with (
            aiohttp.ClientSession(auth=auth) as other,
            other.get(f"{url}/credentials") as answer,
        ):
            seen.append(await answer.text())
        print(*seen)


if __name__ == "__main__":
    from wherry.dropin import install

    install()
    asyncio.run(main())
