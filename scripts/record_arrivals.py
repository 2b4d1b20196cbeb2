"""Records when the requests of a real run came and how long each was served, for the simulation of
the pool: `python scripts/record_arrivals.py > tests/connect/recorded_arrivals.txt`.

The run is a program of a hundred tasks that ask twenty servers on loopback, drawn by chance, with
work and pauses between: what the event loops and the system make of that is what is recorded.  The
pool has no limit here, so that nothing of its policy is in the recording.  A line is a request:
microseconds since the one before, the number of its server, microseconds until it was answered.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time

import wherry

REQUESTS = 3_000
HOSTS = 20
TASKS = 100
SERVED = 0.01  # seconds, on average
PAUSE = 0.05
BODY = json.dumps([{"number": number, "name": "x" * 20} for number in range(50)]).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(random.expovariate(1 / SERVED))
            writer.write(HEAD % len(BODY) + BODY)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve(ports: list[int], ready: threading.Event) -> None:
    async def main() -> None:
        for _ in range(HOSTS):
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await asyncio.Event().wait()

    asyncio.run(main())


async def record(ports: list[int]) -> list[tuple[float, int, float]]:
    made: list[tuple[float, int, float]] = []
    numbers = iter(range(REQUESTS + 500))  # the first ones dial

    async with wherry.ClientSession(connector=wherry.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for number in numbers:
                host = random.randrange(HOSTS)  # noqa: S311
                came = time.perf_counter()
                async with session.get(f"http://127.0.0.1:{ports[host]}/") as response:
                    rows = await response.json()
                if number >= 500:
                    made.append((came, host, time.perf_counter() - came))
                json.dumps(sorted(rows, key=lambda row: -row["number"]))
                await asyncio.sleep(random.expovariate(1 / PAUSE))

        await asyncio.gather(*(work() for _ in range(TASKS)))
    return sorted(made)


def main() -> None:
    ports: list[int] = []
    ready = threading.Event()
    threading.Thread(target=serve, args=(ports, ready), daemon=True).start()
    ready.wait()
    made = asyncio.run(record(ports))
    before = made[0][0]
    for came, host, served in made:
        sys.stdout.write(f"{(came - before) * 1e6:.0f} {host} {served * 1e6:.0f}\n")
        before = came


if __name__ == "__main__":
    main()
