"""A web site on loopback for crawls: many names, one port, and scripts for its paths."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import wherry
from wherry.abc import AbstractResolver


class Loopback(AbstractResolver):
    """Every name is this machine's, but for those of `.none`, which nobody has."""

    async def resolve(self, host, port=0, family=socket.AF_INET):
        if host.endswith(".none"):
            raise OSError(f"{host} is nobody")
        return [
            {
                "hostname": host, "host": "127.0.0.1", "port": port,
                "family": socket.AF_INET, "proto": 0, "flags": 0,
            }
        ]  # fmt: skip

    async def close(self):
        pass


def answer(body: bytes = b"hello", status: str = "200 OK", *fields: str) -> bytes:
    head = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Asked:
    host: str
    path: str
    head: bytes
    when: float


Script = bytes | Callable[[Asked], "bytes | Awaitable[bytes]"]


@dataclass
class Site:
    """What is asked for is answered by `scripts` (host and path, or path), else by 200."""

    scripts: dict[str, Script] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    active: Counter = field(default_factory=Counter)
    most: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    port: int = 0

    def url(self, path: str = "/", host: str = "a.test") -> str:
        return f"http://{host}:{self.port}{path}"

    def paths(self, host: str | None = None) -> list[str]:
        return [each.path for each in self.asked if host in {None, each.host}]

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split()[1].decode()
                host = head.lower().partition(b"\r\nhost: ")[2].split(b"\r\n")[0].decode()
                asked = Asked(host.partition(":")[0], path, head, asyncio.get_running_loop().time())
                self.asked.append(asked)
                for key in (asked.host, ""):
                    self.active[key] += 1
                    self.most[key] = max(self.most[key], self.active[key])
                try:
                    writer.write(await self.reply(asked))
                finally:
                    for key in (asked.host, ""):
                        self.active[key] -= 1
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def reply(self, asked: Asked) -> bytes:
        script = self.scripts.get(asked.host + asked.path) or self.scripts.get(asked.path)
        if script is None:
            return answer(f"this is {asked.path}".encode())
        if callable(script):
            script = script(asked)
        return script if isinstance(script, bytes) else await script


def connected(**options):
    """Options of a Fetcher that finds every name on loopback."""
    return {"connector_options": {"resolver": Loopback(), **options}}


def is_robots(result) -> bool:
    return isinstance(result.error, wherry.bulk.RobotsRefused)
