"""Loops without add_reader, as Windows' Proactor is: requests go as they do elsewhere.

Simulated: a loop that refuses what a Proactor loop does not have.  What only Windows itself could
show, docs/platforms.md names.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import wherry
from wherry.testing import LocalServer


class NoReadiness(asyncio.SelectorEventLoop):
    """Tells no program when a socket is ready, and knows no Unix sockets and no signals.

    asyncio's own `sock_connect` and its kin, which a Proactor has too, do their work as before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []


def refusing(name: str) -> Callable[..., Any]:
    own = getattr(asyncio.SelectorEventLoop, name)

    def method(self: NoReadiness, *args: Any, **kwargs: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"].startswith("asyncio."):
            return own(self, *args, **kwargs)
        self.refused.append(name)
        raise NotImplementedError(name)

    return method


for _name in (
    "add_reader",
    "add_writer",
    "remove_reader",
    "remove_writer",
    "add_signal_handler",
    "create_unix_connection",
    "create_unix_server",
):
    setattr(NoReadiness, _name, refusing(_name))


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loops: list[NoReadiness] = []

    def make() -> NoReadiness:
        loops.append(NoReadiness())
        return loops[0]

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())
    assert loops[0].refused == []


async def ask(session: wherry.ClientSession, base: str) -> None:
    """What a client does in a day."""
    async with session.get(f"{base}/json") as response:
        assert await response.json()
    async with session.post(f"{base}/post", data=b"x" * 300_000) as response:
        assert (await response.json())["length"] == 300_000
    async with session.post(f"{base}/post", json={"a": 1}) as response:
        assert (await response.json())["json"] == {"a": 1}
    async with session.get(f"{base}/redirect/2") as response:
        assert len(response.history) == 2
    async with session.get(f"{base}/gzip") as response:
        assert await response.read()
    async with session.get(f"{base}/bytes/2000000") as response:
        assert (
            sum([len(piece) async for piece in response.content.iter_chunked(65536)]) == 2_000_000
        )
    async with session.ws_connect(f"{base}/ws/echo") as ws:
        await ws.send_str("ahoy")
        assert await ws.receive_str() == "ahoy"
    with pytest.raises(TimeoutError):
        await session.get(f"{base}/delay/5", timeout=wherry.ClientTimeout(total=0.05))
    many = await asyncio.gather(*(session.get(f"{base}/get") for _ in range(20)))
    for response in many:
        assert response.status == 200
        await response.read()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("protocols", [("http/1.1",), ("h2", "http/1.1")], ids=["http1", "http2"])
def test_a_day_of_requests(
    request: pytest.FixtureRequest, tls: bool, protocols: tuple[str, ...]
) -> None:
    server: LocalServer = request.getfixturevalue("wherry_tls_server" if tls else "wherry_server")

    async def main() -> None:
        context = server.client_context if tls else True
        connector = wherry.TCPConnector(protocols=protocols, ssl=context)
        async with wherry.ClientSession(connector=connector) as session:
            await ask(session, server.url("").rstrip("/"))

    run(main)


def test_through_proxies(proxies: Any, wherry_server: LocalServer) -> None:
    async def main() -> None:
        for proxy in (proxies.squid.url, proxies.microsocks.url, [proxies.squid.url] * 2):
            async with wherry.ClientSession(proxy=proxy) as session:
                for _ in range(2):
                    async with session.get(wherry_server.url("/json")) as response:
                        assert response.status == 200

    run(main)


def test_an_origin_that_is_not_there_and_names_that_are_none(wherry_server: LocalServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    async def main() -> None:
        async with wherry.ClientSession() as session:
            with pytest.raises(wherry.ClientConnectorError):
                await session.get(f"http://127.0.0.1:{port}/")

    run(main)


def test_a_download_goes_into_its_file(wherry_server: LocalServer, tmp_path: Any) -> None:
    async def main() -> None:
        async with wherry.ClientSession() as session:
            await session.download(wherry_server.url("/bytes/300000"), tmp_path / "a")
            with (tmp_path / "a").open("rb") as file:
                async with session.post(wherry_server.url("/post"), data=file) as response:
                    assert (await response.json())["length"] == 300_000
        assert (tmp_path / "a").stat().st_size == 300_000

    run(main)


def test_the_loop_refuses_what_it_says(wherry_server: LocalServer) -> None:
    """The other tests cannot pass because nothing is refused."""
    loop = NoReadiness()
    try:
        with pytest.raises(NotImplementedError), socket.socket() as sock:
            loop.add_reader(sock, print)
        assert loop.refused == ["add_reader"]
    finally:
        loop.close()
