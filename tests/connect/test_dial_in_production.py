"""What people met when they connected in production: environments, proxies, hanging look-ups, full
backlogs, and limits that began anew at each step.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from wherry.client.session import ClientSession
from wherry.client.timeouts import ClientTimeout
from wherry.connect.connect_request import ConnectRequest
from wherry.connect.connector import TCPConnector, UnixConnector
from wherry.connect.dns.cache import DNSCache
from wherry.connect.proxy.environment import NoProxy, read_environment
from wherry.connect.proxy.proxy_argument import proxy_hops
from wherry.connect.route import Origin, ProxyHop, Route
from wherry.errors import (
    ClientConnectionError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
    InvalidURL,
    UnixClientConnectorError,
)

from .conftest import Serve, answer_ok, fetch, on

LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]


# --- the environment --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["socks://p:1080/", "SOCKS://p:1080", "socks://p:1080"])
@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "https_proxy"])
def test_gnomes_socks_is_socks5(variable: str, value: str) -> None:
    named = read_environment({variable: value}).proxy_for("https", "h.test")
    assert proxy_hops(named) == (ProxyHop("socks5", "p", 1080),)


@pytest.mark.parametrize(
    "value",
    [
        "ftp://u:s3cret@h",
        "http://",
        "http://u:s3cret@h:99999",
        "u:s3cret@h:x",
        "http://u:s3c%3Aret@h:p",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_what_is_wrong_in_the_environment_names_the_variable(variable: str, value: str) -> None:
    settings = read_environment({variable: value})
    if variable != "ALL_PROXY":
        assert settings.proxy_for("http", "h") is None, "what is not needed does no harm"
    with pytest.raises(InvalidURL, match=variable) as caught:
        settings.proxy_for("https", "h")
    shown, cause = repr(caught.value) + str(caught.value), caught.value.__cause__
    assert "s3c" not in shown
    assert cause is None


@pytest.mark.parametrize("mark", [" ", "\t", "\x01", "\x7f", "\u200b"])
def test_a_blank_in_the_environment_names_the_variable(mark: str) -> None:
    with pytest.raises(InvalidURL, match="all_proxy") as caught:
        read_environment({"all_proxy": f"http://u:s3cret{mark}@h"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    ["bücher.test", ".bücher.test", "*.BÜCHER.test", "xn--bcher-kva.test", "Bücher.test:443"],
)
@pytest.mark.parametrize(
    "host",
    [
        "bücher.test",
        "www.bücher.test",
        "xn--bcher-kva.test",
        "a.b.xn--bcher-kva.test",
        "BÜCHER.test.",
    ],
)
def test_names_in_no_proxy_may_be_of_any_script(entry: str, host: str) -> None:
    assert NoProxy(entry).matches(host, 443)
    assert not NoProxy(entry).matches("ücher.test", 443)
    assert not NoProxy(entry).matches("xbücher.test", 443)


async def test_an_empty_proxy_is_none(monkeypatch, serve, closed_port) -> None:
    """For a session, and for a request: whatever the session or the environment says."""
    url = f"http://127.0.0.1:{await serve()}/"
    bad = f"http://127.0.0.1:{closed_port}"
    monkeypatch.setenv("http_proxy", bad)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with ClientSession(proxy="", trust_env=True) as session, session.get(url) as response:
        assert response.status == 200
    for options in ({"trust_env": True}, {"proxy": bad}, {"proxy": [bad, bad]}):
        async with ClientSession(**options) as session:
            async with session.get(url, proxy="") as response:
                assert response.status == 200
            with pytest.raises(ClientProxyConnectionError):
                await session.get(url)


# --- answers to CONNECT -------------------------------------------------------------------------------


def speaking(*parts: bytes) -> Any:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        await answer_ok(reader, writer)

    return proxy


HEADS = [
    b"HTTP/1.1 200 OK\n\n",
    b"HTTP/1.1 200 OK\nA: b\nC: d\n\n",
    b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"\n\nHTTP/1.1 200 OK\n\n",
    b"\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n",
    b"HTTP/1.1 103 Hints\n\nHTTP/1.1 200 OK\n\n",
]


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("new_loop", LOOPS)
def test_lines_of_an_answer_to_connect_may_end_with_lf(new_loop, head, size) -> None:
    """RFC 9112 2.2: a recipient may take that; it must not wait for what never comes."""

    async def main() -> None:
        serve = Serve()
        parts = [head[at : at + size] for at in range(0, len(head), size)]
        hops = (ProxyHop("http", "127.0.0.1", await serve(speaking(*parts))),)
        second = (*hops, ProxyHop("http", "127.0.0.1", 1))
        async with TCPConnector() as connector, asyncio.timeout(10):
            # Through the first by CONNECT; the second is what answers, so the first ends it.
            assert (await fetch(connector, "http://h.test/", hops=second)).status == 200
        await serve.stop()

    on(new_loop, main)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", b"HTTP/1.1 200 OK\nA: b\r\r\n\n", b"x\n\n"]
)
async def test_a_head_of_both_kinds_is_refused_at_once(serve, head) -> None:
    hops = (ProxyHop("http", "127.0.0.1", await serve(speaking(head))), ProxyHop("http", "h", 1))
    async with TCPConnector() as connector, asyncio.timeout(10):
        with pytest.raises(ClientProxyConnectionError):
            await fetch(connector, "http://h.test/", hops=hops, sock_connect=None)


# --- one dial, one limit ---------------------------------------------------------------------------


async def test_sock_connect_is_for_all_proxies_together(serve) -> None:
    """Each of three proxies takes more than half of it: it has passed before the second answers."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            for _ in range(4):
                await reader.readuntil(b"\r\n\r\n")
                asked.append(asyncio.get_running_loop().time())
                await asyncio.sleep(0.12)
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    asked: list[float] = []
    port = await serve(slow)
    hops = (ProxyHop("http", "127.0.0.1", port), *(ProxyHop("http", f"p{n}", 1) for n in range(3)))
    async with TCPConnector() as connector:
        with pytest.raises(ConnectionTimeoutError):
            await fetch(connector, "http://h.test/", hops=hops, sock_connect=0.2)
    assert len(asked) == 2


async def test_sock_connect_covers_the_look_up(resolver) -> None:
    names = resolver("127.0.0.1")
    names.gate = asyncio.Event()
    for hops in ((), (ProxyHop("http", "p.test", 1),), (ProxyHop("socks5", "127.0.0.1", 1),)):
        async with TCPConnector(resolver=names) as connector:
            with pytest.raises((ConnectionTimeoutError, ClientProxyConnectionError)):
                await fetch(connector, "https://h.test/", hops=hops, sock_connect=0.05)


async def test_sock_connect_is_for_all_addresses_together(serve, resolver, server_context) -> None:
    """TLS that hangs at one address, and then at the next: it is one dial."""
    heard = []

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(writer.get_extra_info("sockname")[0])
        await reader.read(1)
        await asyncio.sleep(0.12)  # then it hangs up, and the next address is tried

    port = await serve(deaf)
    for number in range(2, 6):
        await serve(deaf, host=f"127.0.0.{number}", port=port)
    names = resolver(*(f"127.0.0.{number}" for number in range(1, 6)))
    async with TCPConnector(resolver=names) as connector:
        with pytest.raises(ConnectionTimeoutError):
            await fetch(connector, f"https://h.test:{port}/", ssl=False, sock_connect=0.2)
    assert len(heard) in {1, 2}  # of five; one where the machine is busy


async def test_a_new_dial_has_the_whole_time() -> None:
    request = ConnectRequest(Route(Origin("http", "h.test", 80)), 5.0)
    request.begin_dial()
    first = request.time_limit().when()
    await asyncio.sleep(0.01)
    assert request.time_limit().when() == first
    request.begin_dial()
    assert request.time_limit().when() > first


# --- look-ups ----------------------------------------------------------------------------------------


async def test_a_look_up_that_nobody_waits_for_is_ended(resolver) -> None:
    """Else whoever asks later joins one that hangs."""
    names = resolver("127.0.0.1")
    names.gate = asyncio.Event()
    cache = DNSCache(names)
    waiting = [asyncio.ensure_future(cache.resolve("h.test", 80)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    lookup = next(iter(cache._lookups.values()))
    for task in waiting[:2]:
        task.cancel()
    await asyncio.wait(waiting[:2])
    assert not lookup.cancelling(), "one still waits"
    waiting[2].cancel()
    await asyncio.wait(waiting)
    assert not cache._lookups
    assert not cache._waiting
    names.gate.set()
    assert (await cache.resolve("h.test", 80))[0]["host"] == "127.0.0.1"
    assert len(names.asked) == 2
    await asyncio.wait([lookup])
    assert lookup.cancelled()


async def test_a_name_that_was_not_found_is_asked_for_again(resolver) -> None:
    names = resolver("127.0.0.1")
    cache = DNSCache(names)
    names.error = OSError(None, "not found")
    with pytest.raises(OSError, match="not found"):
        await cache.resolve("h.test", 80)
    names.error = None
    assert await cache.resolve("h.test", 80)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks: see CONTRIBUTING")
def test_a_look_up_that_fails_at_once_is_asked_for_again_in_the_same_turn(resolver) -> None:
    """An eager task has ended before anybody could wait for it."""

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        names = resolver("127.0.0.1")
        cache = DNSCache(names)
        names.error = OSError(None, "not found")
        for _ in range(2):
            with pytest.raises(OSError, match="not found"):
                await cache.resolve("h.test", 80)
        names.error = None
        assert await cache.resolve("h.test", 80)
        assert await cache.resolve("h.test", 80)
        assert len(names.asked) == 3

    on(asyncio.SelectorEventLoop, main)


@pytest.mark.parametrize("step", ["the look-up", "the program's own", "both"])
async def test_a_dial_of_the_programs_own_is_one_dial_too(serve, resolver, step) -> None:
    """Look-up and `_wrap_create_connection` have `sock_connect` seconds together."""
    names = resolver("127.0.0.1")
    slow = 0.3 if step == "both" else 60
    resolve = names.resolve

    async def late(*args: Any, **options: Any) -> Any:
        if step != "the program's own":
            await asyncio.sleep(slow)
        return await resolve(*args, **options)

    names.resolve = late

    class Own(TCPConnector):
        async def _wrap_create_connection(self, *args: Any, **options: Any) -> Any:
            if step != "the look-up":
                await asyncio.sleep(slow)
            return await super()._wrap_create_connection(*args, **options)

    url = f"http://h.test:{await serve()}/"
    async with Own(resolver=names) as connector:
        with pytest.raises(ConnectionTimeoutError, match=r"h\.test"):
            await fetch(connector, url, sock_connect=0.4)


# --- SOCKS: every address ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["socks5", "socks4"])
async def test_a_socks_proxy_is_given_every_address(serve, resolver, scheme) -> None:
    given: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            if scheme == "socks5":
                await reader.readexactly(3)
                writer.write(b"\x05\x00")
                head = await reader.readexactly(4)
                address = (await reader.readexactly((4 if head[3] == 1 else 16) + 2))[:-2]
                given.append(address)
                good = address == bytes([127, 0, 0, 9])
                writer.write(b"\x05\x00\x00\x01" + bytes(6) if good else b"\x05\x05")
            else:
                address = (await reader.readexactly(9))[4:8]
                given.append(address)
                good = address == bytes([127, 0, 0, 9])
                writer.write(b"\x00" + (b"\x5a" if good else b"\x5b") + bytes(6))
            if good:
                await answer_ok(reader, writer)

    hops = (ProxyHop(scheme, "127.0.0.1", await serve(proxy)),)
    names = resolver("127.0.0.7", "127.0.0.8", "127.0.0.9")
    async with TCPConnector(resolver=names) as connector:
        assert (await fetch(connector, "http://h.test/", hops=hops)).status == 200
    assert given == [bytes([127, 0, 0, number]) for number in (7, 8, 9)]
    given.clear()
    names.addresses = ["127.0.0.1", "127.0.0.2"]
    async with TCPConnector(resolver=names) as connector:
        with pytest.raises(ClientProxyConnectionError):
            await fetch(connector, "http://h.test/", hops=hops)
    assert len(given) == 2


async def test_a_socks_proxy_that_refuses_the_user_is_asked_once(serve, resolver) -> None:
    asked = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(10))
        writer.write(b"\x05\xff")

    hops = (ProxyHop("socks5", "127.0.0.1", await serve(proxy)),)
    async with TCPConnector(resolver=resolver("127.0.0.7", "127.0.0.8")) as connector:
        with pytest.raises(ClientProxyConnectionError):
            await fetch(connector, "http://h.test/", hops=hops)
    assert len(asked) == 1


# --- Unix sockets --------------------------------------------------------------------------------------


@pytest.fixture
async def short_path() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory(prefix="w") as folder:
        yield os.path.join(folder, "sö")


@pytest.mark.parametrize("kind", [os.fsencode, Path, str])
async def test_a_unix_sockets_path_may_be_bytes(serve, short_path, kind) -> None:
    await serve.unix(short_path)
    async with UnixConnector(kind(short_path)) as connector:
        assert (await fetch(connector, "http://h.test/")).status == 200
        assert connector.path == short_path


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_full_backlog_is_waited_for(new_loop) -> None:
    """EAGAIN of connect() means that nothing is in progress (connect(2))."""

    async def main() -> None:
        with (
            tempfile.TemporaryDirectory(prefix="w") as folder,
            socket.socket(socket.AF_UNIX) as listener,
        ):
            path = os.path.join(folder, "s")
            listener.bind(path)
            listener.listen(0)
            listener.setblocking(False)
            fillers = []
            while True:
                filler = socket.socket(socket.AF_UNIX)
                filler.setblocking(False)
                fillers.append(filler)
                try:
                    filler.connect(path)
                except BlockingIOError:
                    break
            async with UnixConnector(path) as connector:
                with pytest.raises(UnixClientConnectorError) as caught:
                    await fetch(connector, "http://h.test/", sock_connect=0.1)
                assert caught.value.errno == errno.EAGAIN
                assert "backlog" in str(caught.value)
                task = asyncio.ensure_future(fetch(connector, "http://h.test/", sock_connect=10))
                await asyncio.sleep(0)
                for _ in range(len(fillers) - 1):
                    listener.accept()[0].close()
                loop = asyncio.get_running_loop()
                accepted, _ = await loop.sock_accept(listener)
                accepted.setblocking(False)
                await loop.sock_recv(accepted, 1000)
                await loop.sock_sendall(accepted, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                assert (await task).status == 200
                accepted.close()
            for filler in fillers:
                filler.close()

    on(new_loop, main)


# --- a second event loop -------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_session_in_a_second_event_loop_says_so(new_loop, closed, used) -> None:
    first = new_loop()

    async def begin() -> ClientSession:
        made = ClientSession(timeout=ClientTimeout(total=None))
        if used:
            server = await asyncio.start_server(answer_ok, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with made.get(f"http://127.0.0.1:{port}/") as response:
                await response.read()
            server.close()
        return made

    session = first.run_until_complete(begin())
    if closed:
        first.run_until_complete(session.close())
        session = first.run_until_complete(begin())

    async def use() -> None:
        for method in ("GET", "POST"):
            with pytest.raises(ClientConnectionError, match="another event loop"):
                await session.request(method, "http://127.0.0.1:1/")
        with pytest.raises(ClientConnectionError, match="another event loop"):
            await session.ws_connect("http://127.0.0.1:1/")

    on(new_loop, use)
    first.run_until_complete(session.close())
    first.close()
