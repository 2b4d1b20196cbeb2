"""WebSocket echo: CPU of the client for a message, wherry beside its peers.

The server (picows) runs in a process of its own on the last core, each client in a fresh process on
the first one.  Rounds are interleaved; the figure is the median of the clients' process time
divided by the messages, in microseconds.

    python benchmarks/websocket.py [--rounds 5] [--connections 32] [--size 256 65536] [--plain-mask]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

CLIENTS = ("wherry", "aiohttp", "picows", "websockets")
LOOPS = ("asyncio", "uvloop")
Echo = Callable[[str, bytes, int], Awaitable[None]]


def pin(core: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


# --- the server -----------------------------------------------------------------------------------


def serve() -> None:
    """Echo until standard input ends; the port is the first line of output."""
    import picows
    import uvloop

    pin(-1)

    class EchoListener(picows.WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == picows.WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code(), b"")
                transport.disconnect()
            else:
                transport.send(frame.msg_type, frame.get_payload_as_bytes())

    async def run() -> None:
        server = await picows.ws_create_server(lambda _: EchoListener(), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    uvloop.run(run())


# --- the clients: each sends a binary message and receives it, so many times ----------------------


async def wherry_client(
    url: str, payload: bytes, connections: int
) -> Callable[[int], Awaitable[None]]:
    import wherry

    session = wherry.ClientSession()
    sockets = [await session.ws_connect(url) for _ in range(connections)]

    async def one(websocket: Any, count: int) -> None:
        for _ in range(count):
            await websocket.send_bytes(payload)
            await websocket.receive_bytes()

    async def run(count: int) -> None:
        await asyncio.gather(*(one(websocket, count) for websocket in sockets))
        if count < 0:
            await session.close()

    return run


async def aiohttp_client(
    url: str, payload: bytes, connections: int
) -> Callable[[int], Awaitable[None]]:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    sockets = [await session.ws_connect(url) for _ in range(connections)]

    async def one(websocket: Any, count: int) -> None:
        for _ in range(count):
            await websocket.send_bytes(payload)
            await websocket.receive_bytes()

    async def run(count: int) -> None:
        await asyncio.gather(*(one(websocket, count) for websocket in sockets))
        if count < 0:
            await session.close()

    return run


async def websockets_client(
    url: str, payload: bytes, connections: int
) -> Callable[[int], Awaitable[None]]:
    from websockets.asyncio.client import connect

    sockets = [await connect(url, compression=None) for _ in range(connections)]

    async def one(websocket: Any, count: int) -> None:
        for _ in range(count):
            await websocket.send(payload)
            await websocket.recv()

    async def run(count: int) -> None:
        await asyncio.gather(*(one(websocket, count) for websocket in sockets))

    return run


async def picows_client(
    url: str, payload: bytes, connections: int
) -> Callable[[int], Awaitable[None]]:
    """Its listener is called back, there is no task to wake: the least that can be done."""
    import picows

    class Client(picows.WSListener):
        left = 0
        done: Any = None

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            frame.get_payload_as_bytes()
            self.left -= 1
            if self.left > 0:
                transport.send(picows.WSMsgType.BINARY, payload)
            else:
                self.done.set_result(None)

    pairs = [await picows.ws_connect(Client, url) for _ in range(connections)]

    async def run(count: int) -> None:
        if count <= 0:
            return
        loop = asyncio.get_running_loop()
        for transport, listener in pairs:
            listener.left, listener.done = count, loop.create_future()
            transport.send(picows.WSMsgType.BINARY, payload)
        await asyncio.gather(*(listener.done for _, listener in pairs))

    return run


def measure(client: str, loop: str, url: str, size: int, connections: int) -> None:
    """Print the microseconds of CPU that a message costs."""
    pin(0)
    payload = bytes(index % 251 for index in range(size))
    per_connection = max((3000 if size > 10_000 else 30_000) // connections, 1)

    async def run() -> None:
        echo = await globals()[f"{client}_client"](url, payload, connections)
        await echo(max(per_connection // 5, 1))
        before = time.process_time()
        await echo(per_connection)
        spent = time.process_time() - before
        print(spent / (per_connection * connections) * 1e6)
        await echo(-1)

    if loop == "uvloop":
        import uvloop

        uvloop.run(run())
    else:
        asyncio.run(run())


# --- the comparison -------------------------------------------------------------------------------


def compare(
    rounds: int, sizes: list[int], connections: int, clients: list[str], plain_mask: bool
) -> None:
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    environment = {**os.environ, "WHERRY_BENCH_PLAIN_MASK": "1" if plain_mask else ""}
    try:
        assert server.stdout is not None
        url = f"ws://127.0.0.1:{server.stdout.readline().strip()}/"
        results: dict[tuple[int, str, str], list[float]] = {}
        for _ in range(rounds):
            for size in sizes:
                for loop in LOOPS:
                    for client in clients:
                        command = [
                            sys.executable,
                            __file__,
                            "--client",
                            client,
                            loop,
                            url,
                            str(size),
                            str(connections),
                        ]
                        out = subprocess.run(
                            command, capture_output=True, text=True, check=True, env=environment
                        )
                        results.setdefault((size, loop, client), []).append(
                            float(out.stdout.split()[0])
                        )
    finally:
        server.terminate()
        server.wait()
    print(
        f"| message, {connections} connections | loop | "
        + " | ".join(clients)
        + " | wherry / aiohttp |"
    )
    print("|" + "---|" * (len(clients) + 3))
    for size in sizes:
        for loop in LOOPS:
            medians = {client: statistics.median(results[size, loop, client]) for client in clients}
            cells = " | ".join(f"{medians[client]:.1f}" for client in clients)
            ratio = f"{medians['wherry'] / medians['aiohttp']:.2f}" if "aiohttp" in medians else ""
            print(f"| {size} bytes | {loop} | {cells} | {ratio} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--size", type=int, nargs="+", default=[256, 65536])
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS))
    parser.add_argument("--plain-mask", action="store_true", help="wherry without compiled masking")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    elif options.client:
        if os.environ.get("WHERRY_BENCH_PLAIN_MASK") and options.client[0] == "wherry":
            sys.modules["websockets"] = None  # type: ignore[assignment]
        client, loop, url, size, connections = options.client
        measure(client, loop, url, int(size), int(connections))
    else:
        compare(
            options.rounds, options.size, options.connections, options.clients, options.plain_mask
        )


if __name__ == "__main__":
    main()
