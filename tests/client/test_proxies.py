"""Which proxies a request passes, and what is told to whom."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import wherry
from wherry import BasicAuth, ClientSession


class Recorder:
    """A server that keeps the heads it gets, and answers by path: /to/PORT redirects there; it
    tunnels to itself.
    """

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.status = "200 OK"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                method, target, _ = head.split(" ", 2)
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                elif "/to/" in target:
                    where = f"http://127.0.0.1:{target.rpartition('/')[2]}/end"
                    writer.write(
                        f"HTTP/1.1 307 X\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()
                    )
                else:
                    writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 2\r\n\r\nok".encode())
        writer.close()


@contextlib.asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    made = Recorder()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def fetch(session: ClientSession, url: str, **options: object) -> str:
    async with session.get(url, **options) as response:
        return await response.text()


async def test_a_plain_request_goes_in_absolute_form_with_the_proxys_fields() -> None:
    """S001-117, S001-119; RFC 9112 3.2.2"""
    async with recorder() as proxy, ClientSession() as session:
        await fetch(
            session,
            "http://u:p@origin.test:81/a%20b?c=d#e",
            proxy=proxy.url,
            proxy_auth=BasicAuth("pu", "pp"),
            proxy_headers={"X-Proxy": "1"},
        )
    head = proxy.heads[0]
    assert head.startswith(
        "GET http://origin.test:81/a%20b?c=d HTTP/1.1\r\nHost: origin.test:81\r\n"
    )
    assert f"Proxy-Authorization: {basic('pu', 'pp')}\r\n" in head
    assert f"Authorization: {basic('u', 'p')}\r\n" in head
    assert head.count("X-Proxy: 1\r\n") == head.count("Proxy-Authorization") == 1


async def test_a_url_without_a_path_has_one_in_absolute_form() -> None:
    async with recorder() as proxy, ClientSession() as session:
        await fetch(session, "http://origin.test", proxy=proxy.url)
    assert proxy.heads[0].startswith("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n")


async def test_credentials_stay_on_their_side_of_a_tunnel() -> None:
    """S001-123: a Proxy-Authorization that a program wrote does not enter the tunnel either."""
    async with (
        recorder() as first,
        recorder() as second,
        ClientSession(headers={"Proxy-Authorization": "x"}) as session,
    ):
        chain = [first.url.replace("//", "//a:one@"), second.url.replace("//", "//b:two@")]
        await fetch(session, "http://origin.test/", proxy=chain, auth=BasicAuth("o", "three"))
    # `first` tunnels to itself, so it hears what the second hop is told, too.
    connect, forwarded = first.heads
    assert connect.startswith(f"CONNECT 127.0.0.1:{second.port} ")
    assert basic("a", "one") in connect
    assert basic("b", "two") not in connect
    assert basic("o", "three") not in connect
    assert "Authorization: x" not in connect
    assert basic("b", "two") in forwarded
    assert basic("a", "one") not in forwarded
    assert forwarded.count("Proxy-Authorization") == 1


async def test_a_field_for_a_proxy_never_enters_a_tunnel() -> None:
    """S001-123"""
    async with (
        recorder() as proxy,
        ClientSession(headers={"Proxy-Authorization": "session"}) as session,
    ):
        for secret in (None, {"Proxy-Authorization": "request"}):
            await fetch(session, "ws://origin.test/", proxy=proxy.url, headers=secret)
    connects = [head for head in proxy.heads if head.startswith("CONNECT ")]
    inside = [head for head in proxy.heads if not head.startswith("CONNECT ")]
    assert (len(connects), len(inside)) == (1, 2)
    assert "roxy-" not in "".join(proxy.heads)


async def test_an_iterator_of_hops_serves_redirects_and_defaults() -> None:
    """S000-10, S000-18"""
    async with recorder() as proxy, recorder() as origin, ClientSession() as session:
        await fetch(session, f"http://origin.test/to/{origin.port}", proxy=iter([proxy.url]))
        async with ClientSession(proxy=iter([(proxy.url, BasicAuth("a", "b"))])) as second:
            await fetch(second, "http://origin.test/1")
            await fetch(second, "http://origin.test/2")
    assert [head.split()[1] for head in proxy.heads] == [
        f"http://origin.test/to/{origin.port}",
        f"http://127.0.0.1:{origin.port}/end",
        "http://origin.test/1",
        "http://origin.test/2",
    ]
    assert all(basic("a", "b") in head for head in proxy.heads[2:])
    assert not origin.heads


async def test_what_is_no_proxy_is_told_before_anything_is_sent() -> None:
    """S000-12"""
    with pytest.raises(ValueError, match="not a kind of proxy"):
        ClientSession(proxy="ftp://h")
    async with ClientSession() as session:
        with pytest.raises(wherry.InvalidURL, match="not a kind of proxy"):
            await session.get("http://origin.test", proxy="gopher://h")
        with pytest.raises(ValueError, match="BasicAuth"):
            await session.get("http://origin.test", proxy="http://h", proxy_auth=("a", "b"))


@pytest.mark.parametrize("of", ["request", "session"])
async def test_a_refused_tunnel_tells_the_request(of: str) -> None:
    """S001-133: request_info and history are those of the request."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = {"proxy": f"http://u:s3cret@127.0.0.1:{port}"}
    async with server, ClientSession(**proxy if of == "session" else {}) as session:
        with pytest.raises(wherry.ClientHttpProxyError) as caught:
            await session.get("https://origin.test/path?q=1", **proxy if of == "request" else {})
    error = caught.value
    assert isinstance(error.request_info, wherry.RequestInfo)
    assert str(error.request_info.url) == "https://origin.test/path?q=1"
    assert str(error.request_info.real_url) == f"http://127.0.0.1:{port}"
    assert error.history == ()
    assert "s3cret" not in f"{error!r} {error.request_info!r}"


@pytest.mark.parametrize(
    "url", ["http://origin.test/", "https://origin.test/", "ws://origin.test/"]
)
@pytest.mark.parametrize(
    "proxy",
    ["http://127.0.0.1:1", "https://127.0.0.1:1", "socks5h://127.0.0.1:1", "http://no.invalid"],
)
async def test_an_unreachable_proxy(url: str, proxy: str) -> None:
    """S001-134: whether the proxy would forward or tunnel; and the error names the proxy."""
    async with ClientSession() as session:
        with pytest.raises(
            wherry.ClientProxyConnectionError, match=proxy.partition("://")[2]
        ) as caught:
            await session.get(url, proxy=proxy.replace("//", "//user:s3cret@"))
    assert (caught.value.host, caught.value.port) in {("127.0.0.1", 1), ("no.invalid", 80)}
    assert "s3cret" not in f"{caught.value} {caught.value!r}"


async def test_a_unix_socket_is_not_behind_a_proxy(tmp_path: Path) -> None:
    recorded = Recorder()
    server = await asyncio.start_unix_server(recorded.serve, tmp_path / "socket")
    connector = wherry.UnixConnector(str(tmp_path / "socket"))
    async with (
        server,
        ClientSession(connector=connector, proxy="http://u:p@127.0.0.1:1") as session,
    ):
        await fetch(session, "http://origin.test/a")
    assert recorded.heads[0].startswith("GET /a HTTP/1.1\r\n")
    assert "Proxy" not in recorded.heads[0]


# --- ~/.netrc -------------------------------------------------------------------------------------


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of $NETRC, and an environment without proxies."""
    for name in ("http", "https", "ws", "wss", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))
    return path


async def test_netrc_has_credentials_for_the_first_origin_only(netrc: Path) -> None:
    netrc.write_text("machine 127.0.0.1 login me password w0rd\n")
    async with recorder() as one, recorder() as two, ClientSession(trust_env=True) as session:
        await fetch(session, f"{one.url}/to/{two.port}")
        await fetch(session, one.url, auth=BasicAuth("own", "x"))
        await fetch(session, one.url, headers={"Authorization": "Bearer z"})
        netrc.unlink()
        await fetch(session, one.url)
    assert basic("me", "w0rd") in one.heads[0]
    assert "Authorization" not in two.heads[0]
    assert basic("own", "x") in one.heads[1]
    assert "Bearer z" in one.heads[2]
    assert basic("me", "w0rd") not in one.heads[1] + one.heads[2]
    assert basic("me", "w0rd") in one.heads[3], "the file is read once"


async def test_netrc_has_credentials_for_the_proxy_of_the_environment(
    netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S001-127, S001-128: and those of the URL win."""
    netrc.write_text("machine 127.0.0.1 login me password w0rd\n")
    async with recorder() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with ClientSession(trust_env=True) as session:
            await fetch(session, "http://origin.test/")
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//url:wins@"))
        async with ClientSession(trust_env=True) as session:
            await fetch(session, "http://origin.test/")
        async with ClientSession() as session:
            await fetch(session, "http://origin.test/", proxy=proxy.url)
    assert f"Proxy-Authorization: {basic('me', 'w0rd')}" in proxy.heads[0]
    assert f"Proxy-Authorization: {basic('url', 'wins')}" in proxy.heads[1]
    assert "Authorization" not in proxy.heads[2]
    assert "\r\nAuthorization" not in "".join(proxy.heads)


async def test_the_environment_is_not_read_without_trust_env(
    netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S001-124"""
    netrc.write_text("machine 127.0.0.1 login me password w0rd\n")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with recorder() as origin, ClientSession() as session:
        await fetch(session, origin.url)
    assert "Authorization" not in origin.heads[0]
