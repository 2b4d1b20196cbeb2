"""A first request, by a wherry installed without extras, to a server of asyncio's."""

from __future__ import annotations

import asyncio

import wherry


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n")
    writer.write(b'{"ok": 200}')
    await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    async with server, wherry.ClientSession() as session, session.get(url) as response:
        print(response.status, await response.json(), wherry.__file__)  # noqa: T201


asyncio.run(main())
