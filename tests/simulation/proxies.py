"""Proxies of the simulation: HTTP (tunnels, and plain requests that it forwards), SOCKS4a and SOCKS5,
each in the clear or behind TLS, correct ones and ones with a fault.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import random
from collections.abc import Callable
from typing import Any

from .http_peers import Http1Peer
from .network import Network
from .origins import Answer, Asked, Origin

SCHEMES = ("http", "https", "socks5", "socks5h", "socks4a")
#: What a proxy can have wrong: `None` is a correct one.
PROXY_FAULTS = ("silent", "closes", "garbage", "refuses", "slow", "cuts")


class Proxy:
    """One proxy.

    Args:
        name: "p0", as secrets name it.
        scheme: What it speaks.
        fault: What is wrong with it.
        credentials: The user and the password that it asks for, None for nothing.
        network: Where it goes on.
        addresses: Of names, for those that it is given.
        origin: Gives the origin that a forwarded request is for, by its host.
        dice: Draws its faults.
    """

    def __init__(
        self,
        name: str,
        scheme: str,
        fault: str | None,
        credentials: tuple[str, str] | None,
        network: Network,
        addresses: Callable[[str], str],
        origin: Callable[[str], Origin],
        dice: random.Random,
    ) -> None:
        self.name = name
        self.scheme = scheme
        self.credentials = credentials
        self._fault = fault
        self._network = network
        self._addresses = addresses
        self._origin = origin
        self._dice = dice

    async def __call__(self, stream: Any) -> None:
        reader = _Reader(stream)
        if self._fault == "silent":
            await asyncio.sleep(1_000)
        if self._fault == "slow":
            await asyncio.sleep(self._dice.uniform(0, 10))
        if self._fault == "garbage":
            await reader.more()
            await stream.write(bytes(self._dice.randrange(256) for _ in range(40)))
            return
        if self._fault == "closes" and self._dice.random() < 0.5:
            return
        if self.scheme.startswith("socks5"):
            target = await self._socks5(reader)
        elif self.scheme == "socks4a":
            target = await self._socks4(reader)
        else:
            target = await self._http(reader)
        if target and self._fault != "closes":
            await self._relay(reader, target)

    # --- what is asked ----------------------------------------------------------------------------

    async def _http(self, reader: _Reader) -> Any:
        head = await reader.until(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        if not line.startswith("CONNECT "):
            reader.put_back(head)
            await _Forwarding(self, self._origin, self._dice)(reader)
            return None
        fields = {name.lower(): value.strip() for name, _, value in map(_parted, lines)}
        if not self.lets_in(fields.get("proxy-authorization", "")):
            await reader.stream.write(
                b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm=p\r\n"
                b"Content-Length: 0\r\n\r\n"
            )
            return None
        host, _, port = line.split(" ")[1].rpartition(":")
        upstream = self._open(host.strip("[]"), int(port))
        if upstream is None:
            await reader.stream.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return None
        answer = b"HTTP/1.1 200 Connected\r\n\r\n"
        if self._dice.random() < 0.2:
            answer = b"HTTP/1.1 100 Continue\r\n\r\n" + answer
        return await self._said(reader, answer) and upstream

    def lets_in(self, said: str) -> bool:
        """Whether credentials are right: Basic ones, where any are asked for."""
        if self.credentials is None:
            return True
        expected = base64.b64encode(":".join(self.credentials).encode()).decode()
        return said == f"Basic {expected}"

    async def _socks5(self, reader: _Reader) -> Any:
        version, count = await reader.exactly(2)
        methods = await reader.exactly(count)
        if version != 5:
            return None
        wanted = 0 if self.credentials is None else 2
        if wanted not in methods:
            await reader.stream.write(b"\x05\xff")
            return None
        await reader.stream.write(bytes((5, wanted)))
        if wanted == 2:
            _, length = await reader.exactly(2)
            user = await reader.exactly(length)
            password = await reader.exactly((await reader.exactly(1))[0])
            right = (user.decode(), password.decode()) == self.credentials
            await reader.stream.write(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                return None
        _, _, _, kind = await reader.exactly(4)
        if kind == 3:
            host = (await reader.exactly((await reader.exactly(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await reader.exactly(4 if kind == 1 else 16)))
        upstream = self._open(host, int.from_bytes(await reader.exactly(2)))
        code = b"\x05" if upstream is None else b"\x00"
        bound = self._dice.choice((b"\x01" + bytes(4), b"\x03\x04name", b"\x04" + bytes(16)))
        said = await self._said(reader, b"\x05" + code + b"\x00" + bound + bytes(2))
        return said and upstream

    async def _socks4(self, reader: _Reader) -> Any:
        _, _, *packed = await reader.exactly(8)
        port, address = int.from_bytes(bytes(packed[:2])), bytes(packed[2:])
        user = (await reader.until(b"\x00"))[:-1].decode()
        host = str(ipaddress.IPv4Address(address))
        if address[:3] == bytes(3):
            host = (await reader.until(b"\x00"))[:-1].decode()
        right = self.credentials is None or user == self.credentials[0]
        upstream = self._open(host, port) if right else None
        code = 91 if upstream is None else 90
        return await self._said(reader, bytes((0, code)) + bytes(6)) and upstream

    def _open(self, host: str, port: int) -> Any:
        if self._fault == "refuses":
            return None
        try:
            return self._network.open(self._addresses(host), port)
        except (ConnectionError, LookupError):
            return None

    async def _said(self, reader: _Reader, answer: bytes) -> bool:
        """Answer, or as much of it as a faulty proxy says; whether it was all."""
        if self._fault == "cuts":
            await reader.stream.write(answer[: self._dice.randrange(len(answer))])
            return False
        await reader.stream.write(answer)
        return True

    # --- and then ---------------------------------------------------------------------------------

    async def _relay(self, reader: _Reader, upstream: Any) -> None:
        forth = asyncio.ensure_future(_copy(reader, upstream))
        back = asyncio.ensure_future(_copy(upstream, reader.stream))
        try:
            await asyncio.wait([forth, back])
        finally:
            for task in (forth, back):
                task.cancel()
            await asyncio.gather(forth, back, return_exceptions=True)
            upstream.close()


class _Forwarding(Http1Peer):
    """Plain requests through a proxy, which answers for their origins."""

    def __init__(self, proxy: Proxy, origin: Callable[[str], Origin], dice: random.Random) -> None:
        super().__init__(origin(""))
        self._proxy = proxy
        self._of_host = origin
        self._dice = dice

    def _execute(self, request: Asked, body: bytes) -> Answer:
        if not self._proxy.lets_in(request.fields.get("proxy-authorization", "")):
            return Answer(407, [("proxy-authenticate", "Basic realm=p")], b"")
        return self._of_host(request.host).execute(request, body)

    def _look_at(self, fields: dict[str, str]) -> None:
        """The bytes were searched when they came."""


class _Reader:
    """A stream, of which exact pieces can be read."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._buffer = b""

    async def more(self) -> None:
        data = await self.stream.some()
        if not data:
            raise ConnectionAbortedError(103, "the client has gone")
        self._buffer += data

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self.more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            await self.more()
        return await self.exactly(self._buffer.index(end) + len(end))

    def put_back(self, data: bytes) -> None:
        self._buffer = data + self._buffer

    async def some(self) -> bytes:
        """What was read too far first; then as the stream has it."""
        if self._buffer:
            return await self.exactly(len(self._buffer))
        return bytes(await self.stream.some())

    async def write(self, data: bytes) -> None:
        await self.stream.write(data)

    def reset(self) -> None:
        self.stream.reset()


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(":")


async def _copy(source: Any, sink: Any) -> None:
    try:
        while data := await source.some():
            await sink.write(data)
        sink.end()
    except ConnectionError:
        sink.close()
