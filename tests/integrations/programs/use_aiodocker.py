"""aiodocker against a daemon on a Unix socket: JSON, a streamed log, and exec, whose 101 leaves a
raw stream.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from pathlib import Path

import aiodocker
from aiohttp import web
from server import serving


async def version(_request: web.Request) -> web.Response:
    return web.json_response({"ApiVersion": "1.44", "Version": "27.0"})


async def containers(_request: web.Request) -> web.Response:
    return web.json_response([{"Id": "c1", "Names": ["/harbour"]}])


async def container(_request: web.Request) -> web.Response:
    return web.json_response({"Id": "c1", "Config": {"Tty": False}})


async def logs(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "application/vnd.docker.multiplexed-stream"}
    )
    await response.prepare(request)
    for line in (b"one\n", b"two\n"):
        await response.write(framed(1, line))
    return response


async def create(request: web.Request) -> web.Response:
    assert (await request.json())["Cmd"] == ["cat"]
    return web.json_response({"Id": "e1"}, status=201)


async def start(request: web.Request) -> web.StreamResponse:
    """What the daemon does: 101, then frames until the other side has said all."""
    assert request.headers["Upgrade"] == "tcp"
    await request.read()
    transport = request.transport
    assert transport is not None
    transport.write(
        b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n"
        b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + framed(1, b"ready")
    )
    transport.set_protocol(Cat(transport))
    await asyncio.Event().wait()
    raise AssertionError


class Cat(asyncio.Protocol):
    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(framed(1, data[:3]) + framed(2, data[3:]))
        self.transport.write(framed(1, b"x" * 300_000))

    def eof_received(self) -> None:
        self.transport.close()


def framed(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


async def main() -> None:
    routes = (
        web.get("/version", version),
        web.get("/{v}/containers/json", containers),
        web.get("/{v}/containers/c1/json", container),
        web.get("/{v}/containers/c1/logs", logs),
        web.post("/{v}/containers/c1/exec", create),
        web.get("/{v}/exec/e1/json", container),
        web.post("/{v}/exec/e1/start", start),
    )
    path = str(Path(sys.argv[1]) / "docker.sock")
    async with serving(*routes, path=path) as url, aiodocker.Docker(url=url) as docker:
        (found,) = await docker.containers.list()
        lines = await found.log(stdout=True)
        execution = await found.exec(["cat"], stdin=True)
        said: list[object] = []
        async with execution.start() as stream:
            said.append((await stream.read_out()).data)
            await stream.write_in(b"outerr")
            for _ in range(2):
                message = await stream.read_out()
                said.append((message.stream, message.data))
            said.append(len((await stream.read_out()).data))
        said.append((await docker.containers.list())[0].id)
    print(lines, said)


asyncio.run(main())
